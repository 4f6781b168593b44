#pragma once
/* Control entries of one partition's log: their encoding, what they say of witnesses, and the header
 * that carries it past a compaction point.
 *
 * Attach and Detach count from the moment they are appended (metanode/visible holds the rule; here are
 * the addresses).  Register and Death, in the root's log only, count from commit: the registry.  A
 * plain state machine: no I/O, no time. */
#include "metanode/visible/visible.h"
#include "proto/command.pb-c.h"
#include "proto/raft.pb-c.h"

#define WITNESS_NAME_MAX 64
#define WITNESS_ADDR_MAX 128
#define REGISTRY_MAX VISIBLE_ATTACH_MAX /* registered and not dead */
#define REGISTRY_DEAD_MAX 4096 /* remembered, the newest: far more than any request's life */

struct witness_ref {
    struct id128 incarnation;
    char name[WITNESS_NAME_MAX], addr[WITNESS_ADDR_MAX], zone[WITNESS_NAME_MAX];
};

/* ERR_INVAL: an id of the wrong size, a field too long. */
int witness_ref_unpack(const Cairn__WitnessRef *m, struct witness_ref *ret);
/* *ret borrows from ref. */
void witness_ref_pack(struct witness_ref *ref, Cairn__WitnessRef *ret);

enum control_kind {
    CONTROL_NONE, /* nothing but its place in the log */
    CONTROL_ATTACH,
    CONTROL_DETACH,
    CONTROL_RAISE_FLOOR,
    CONTROL_REGISTER,
    CONTROL_DEATH,
};

struct control_entry {
    enum control_kind kind;
    uint64_t time_ms;
    struct witness_ref ref; /* detach, death: the incarnation only */
    uint64_t floor;
};

/* Bytes that do not parse are CONTROL_NONE: the same on every replica. */
void control_entry_parse(struct slice data, struct control_entry *ret);
void control_entry_pack(struct control_entry *e, struct buf *ret);

/* What the root's committed log says: who is registered, who is dead for ever. */
struct registration {
    struct witness_ref ref;
    uint64_t index; /* of its Register */
    /* The leader's, in memory only: */
    uint64_t lease_until_ns; /* it may hold a lease until then, on our clock */
    bool stopped;            /* never renewed again by this leader */
    bool released;           /* that very incarnation gave its lease up */
    bool burying;            /* its Death is in our log */
};

struct registry {
    uint64_t version; /* index of the last Register or Death; 0: none */
    unsigned count;
    struct registration live[REGISTRY_MAX];
    unsigned dead_count;
    struct id128 *dead; /* oldest first */
};

struct registration *registry_find(struct registry *g, struct id128 incarnation);
bool registry_is_dead(const struct registry *g, struct id128 incarnation);

/* A control entry that waits for its commit (root only). */
struct control_pending {
    uint64_t index;
    struct control_entry entry;
};

struct control {
    bool root;
    uint64_t last_index; /* newest control entry in the log */
    uint64_t time_ms;    /* no entry of the log is later */
    unsigned ref_count;
    struct witness_ref refs[VISIBLE_SLOTS_MAX]; /* of all that visible's table holds, and others */
    struct registry registry;
    struct control_pending *pending;
    size_t pending_count, pending_cap;
};

void control_init(struct control *c, bool root);
void control_fini(struct control *c);

/* Begins behind a header (empty: nothing has ever been): visible_restore() with `index`, then what the
 * header says.  Returns: OK; ERR_CORRUPT; ERR_LIMIT; ERR_NOMEM. */
int control_restore(struct control *c, struct visible *v, struct slice header, uint64_t index,
                    uint64_t visible);

/* One entry was appended: its control part, and visible_append().  time_ms: the entry's; 0: none.
 * Returns: OK; ERR_LIMIT; ERR_NOMEM. */
int control_append(struct control *c, struct visible *v, uint64_t index, bool is_control,
                   struct slice data, uint64_t time_ms);
void control_truncate(struct control *c, struct visible *v, uint64_t index);

/* The commit index rose: visible_commit() and the registry.  Returns: true when the registry changed. */
bool control_commit(struct control *c, struct visible *v, uint64_t index);

/* Where an incarnation of visible's table is reached; NULL: not known. */
struct witness_ref *control_ref(struct control *c, struct id128 incarnation);

/* The header as of `index` (<= commit), appended packed to *ret. */
void control_header(struct control *c, const struct visible *v, uint64_t index, uint64_t term,
                    uint64_t epoch, const uint64_t *voters, size_t voter_count, struct buf *ret);
