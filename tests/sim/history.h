#pragma once
/* Histories of registers and whether they are linearizable (Wing and Gong 1993, with the memory of
 * visited configurations of Lowe 2017).  A register is one key; 0 is its absence; every write's
 * value is unique.  Used by the simulator and by tests/chaos on real processes. */
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define HISTORY_PENDING UINT64_MAX

enum history_kind {
    HISTORY_READ,
    HISTORY_PUT,
    HISTORY_PUT_IF_ABSENT,
    HISTORY_PUT_IF_MATCH,
    HISTORY_DELETE
};

struct history_op {
    enum history_kind kind;
    uint32_t client;
    uint64_t value;  /* put: written; read: seen */
    uint64_t expect; /* put_if_match: the value that must be there */
    bool refused;    /* the condition was said not to hold; nothing was written */
    uint64_t start;
    uint64_t end; /* HISTORY_PENDING: the outcome is not known; it may have happened, once, at any
                     time after start, or never */
};

struct history {
    struct history_op *ops;
    size_t count, cap;
};

void history_fini(struct history *h);
/* Returns the op's position; it may be completed later through h->ops[position]. */
size_t history_add(struct history *h, struct history_op op);

enum history_verdict { HISTORY_OK, HISTORY_VIOLATION, HISTORY_UNDECIDED };
/* initial: the register's value before the first op.  steps_max bounds the search; UNDECIDED
 * beyond. On a violation *ret_stuck (may be NULL) is the op that no order could place. */
enum history_verdict history_check(const struct history *h, uint64_t initial, uint64_t steps_max,
                                   size_t *ret_stuck);
/* One line an op, for a report. */
void history_print(const struct history *h, const char *name, void (*line)(void *arg, const char *),
                   void *arg);
