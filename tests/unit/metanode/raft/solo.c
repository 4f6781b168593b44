/* One core under test: see solo.h. */
#include "solo.h"

#include <string.h>

#include "common/base/err.h"

struct raft_options solo_options(uint32_t voters)
{
    struct raft_options o = {.id = 1,
                             .election_timeout_ns = 100 * MS,
                             .heartbeat_interval_ns = 20 * MS,
                             .lease_ns = 80 * MS,
                             .drift_ppm = 50000,
                             .lease_enabled = true};
    for (uint32_t i = 0; i < voters; i++)
        o.config.voters[i] = i + 1;
    o.config.voter_count = voters;
    return o;
}

void solo_open(struct solo *s, const struct raft_options *o, uint64_t term, uint64_t vote,
               const uint64_t *terms, uint32_t count)
{
    memset(s, 0, sizeof(*s));
    s->now_ns = 5000 * MS;
    struct raft_durable d = {.term = term, .vote = vote};
    CHECK(raft_new(o, &d, &s->r) == OK);
    for (uint32_t i = 0; i < count; i++)
        CHECK(raft_restore(s->r, terms[i], 10) == OK);
    CHECK(raft_start(s->r, s->now_ns, 0) == OK);
}

void solo_close(struct solo *s)
{
    raft_free(s->r);
}

int solo_step(struct solo *s, struct raft_event ev)
{
    ev.now_ns = s->now_ns;
    ev.random = s->random;
    int err = raft_step(s->r, &ev, &s->fx);
    raft_check(s->r);
    return err;
}

int solo_receive(struct solo *s, struct raft_message m)
{
    m.to = 1;
    m.from = m.from ? m.from : 2;
    return solo_step(s, (struct raft_event){.type = RAFT_EV_MESSAGE, .message = m});
}

int solo_tick(struct solo *s, uint64_t after_ns)
{
    s->now_ns += after_ns;
    return solo_step(s, (struct raft_event){.type = RAFT_EV_TICK});
}

void solo_synced(struct solo *s, uint64_t seq, uint64_t index, uint64_t term)
{
    solo_step(s,
              (struct raft_event){.type = RAFT_EV_SYNCED,
                                  .synced = {.seq = seq, .last_index = index, .last_term = term}});
}

void solo_sync(struct solo *s)
{
    struct raft_write w = s->fx.write;
    CHECK(w.present);
    solo_synced(s, w.seq, w.last_index, w.last_term);
}

int solo_propose(struct solo *s, uint32_t count)
{
    struct raft_entry_meta e[64] = {{.kind = RAFT_ENTRY_NORMAL, .bytes = 10}};
    for (uint32_t i = 0; i < count; i++)
        e[i] = e[0];
    return solo_step(
        s, (struct raft_event){.type = RAFT_EV_PROPOSE, .propose = {.entries = e, .count = count}});
}

int solo_read(struct solo *s, uint64_t ctx)
{
    return solo_step(s, (struct raft_event){.type = RAFT_EV_READ, .read = {.ctx = ctx}});
}

void solo_lead(struct solo *s)
{
    uint64_t due = raft_next_deadline(s->r);
    solo_tick(s, due > s->now_ns ? due - s->now_ns : 0);
    uint64_t term = raft_term(s->r) + 1;
    for (uint64_t from = 2; raft_role(s->r) == RAFT_PRE_CANDIDATE; from++)
        solo_receive(
            s, (struct raft_message){.type = RAFT_PRE_VOTE_REPLY, .term = term, .from = from});
    solo_sync(s);
    for (uint64_t from = 2; raft_role(s->r) == RAFT_CANDIDATE; from++)
        solo_receive(s, (struct raft_message){.type = RAFT_VOTE_REPLY, .term = term, .from = from});
    CHECK(raft_role(s->r) == RAFT_LEADER && s->fx.write.noop);
    solo_sync(s);
}

const struct raft_message *solo_sent(const struct solo *s, enum raft_message_type type, uint64_t to)
{
    for (uint32_t i = 0; i < s->fx.message_count; i++) {
        if (s->fx.messages[i].type == type && s->fx.messages[i].to == to)
            return &s->fx.messages[i];
    }
    return NULL;
}
