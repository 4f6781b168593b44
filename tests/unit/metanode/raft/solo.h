#pragma once
/* One core under test, fed by hand: for the tests of single rules. */
#include "common/base/check.h"
#include "metanode/raft/raft.h"

#define MS 1000000ull

struct solo {
    struct raft *r;
    struct raft_effects fx;
    uint64_t now_ns;
    uint64_t random;
};

struct raft_options solo_options(uint32_t voters);
/* Replica 1 of `voters`, with a log of these terms and the given hard state. */
void solo_open(struct solo *s, const struct raft_options *o, uint64_t term, uint64_t vote,
               const uint64_t *terms, uint32_t count);
void solo_close(struct solo *s);
int solo_step(struct solo *s, struct raft_event ev);
int solo_receive(struct solo *s, struct raft_message m); /* `to` and, if 0, `from` (2) are filled */
int solo_tick(struct solo *s, uint64_t after_ns);
/* Everything written up to now, and by this step, is durable. */
void solo_sync(struct solo *s);
/* A completion of an earlier write. */
void solo_synced(struct solo *s, uint64_t seq, uint64_t index, uint64_t term);
int solo_propose(struct solo *s, uint32_t count);
int solo_read(struct solo *s, uint64_t ctx);
/* Elected in the next term, no-op written, synced; not yet committed. */
void solo_lead(struct solo *s);
/* The message of this type to `to` among the last effects; NULL: none. */
const struct raft_message *solo_sent(const struct solo *s, enum raft_message_type type,
                                     uint64_t to);
