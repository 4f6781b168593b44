#pragma once
/* The engine under multi-step operations: one struct, one state, one step function (docs/style.md).
 *
 * op_wake() runs the step until it answers OP_WAIT or OP_DONE; a wake inside the step is remembered,
 * not nested.  Waits are level-triggered.  op_move() checks the transition table.  All on one loop. */
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum op_next { OP_WAIT, OP_AGAIN, OP_DONE };

struct op;

struct op_type {
    const char *name;
    const char *const *state_names;
    const uint32_t *transitions;           /* transitions[s]: bit mask of the states s may move to */
    int state_count;
    enum op_next (*step)(struct op *);
    void (*check)(const struct op *);      /* invariants, on each move; may be NULL */
    void (*done)(struct op *);             /* frees; called once, outside the step */
};

struct op {
    const struct op_type *type;
    int state;
    bool running, woken, finished;
    uint64_t id;        /* for logs; 0: none */
    uint64_t parent_id;
};

#define OP_TRACE_COUNT 64
struct op_trace { /* ring of the last moves of a thread, for core dumps and tests */
    const struct op_type *type;
    uint64_t id;
    int16_t from, to;
};
extern _Thread_local struct op_trace op_trace_ring[OP_TRACE_COUNT];
extern _Thread_local unsigned op_trace_next;

void op_init(struct op *op, const struct op_type *type, int state, uint64_t id, uint64_t parent_id);
/* Runs the step; frees through type->done when it says OP_DONE.  Do not touch op afterwards. */
void op_wake(struct op *op);
/* Moves to `state` (a CHECK fails on an illegal move), then OP_AGAIN: `return op_move(...)`. */
enum op_next op_move(struct op *op, int state);

/* Counts the outcomes of a fan-out: needs `need` successes of `total`. */
struct gather {
    unsigned total, need, won, failed;
    int last_err;
};
static inline void gather_init(struct gather *g, unsigned total, unsigned need)
{
    *g = (struct gather){.total = total, .need = need};
}
static inline void gather_add(struct gather *g, int err)
{
    if (err == 0) {
        g->won++;
    } else {
        g->failed++;
        g->last_err = err;
    }
}
static inline bool gather_won(const struct gather *g) { return g->won >= g->need; }
static inline bool gather_lost(const struct gather *g) { return g->total - g->failed < g->need; }
static inline bool gather_done(const struct gather *g) { return g->won + g->failed >= g->total; }
