/* Directed faults.  Each kind is a step function, called every POLL_NS while the scenario runs, and
 * says above itself what it provokes and which rules keep that harmless. */
#include "tests/sim/scenario.h"

#include "common/base/check.h"
#include "metanode/op/node.h"
#include "witness/op/witness_node.h"

#include <stdlib.h>

#define POLL_NS (100 * NS_PER_US)
#define NOBODY SIZE_MAX
#define SLOW_DISK_NS (40 * NS_PER_MS)
#define DISK_NS (2 * NS_PER_MS)

/* ---- what it sees and does ---- */

static uint64_t below(struct scenario *s, uint64_t n)
{
    return world_below(s->cluster->world, n);
}

static uint64_t now(const struct scenario *s)
{
    return world_now(s->cluster->world);
}

static struct sim_node *meta(struct scenario *s, size_t zone)
{
    return &s->cluster->metas[zone];
}

static bool info(struct scenario *s, size_t zone, size_t partition, struct meta_partition_info *ret)
{
    struct sim_node *n = meta(s, zone);
    if (!n->running || n->failed || !n->meta)
        return false;
    meta_node_partition_info(n->meta, partition, ret);
    return true;
}

/* The zone whose metanode leads the partition in the newest term. */
static size_t leader_of(struct scenario *s, size_t partition)
{
    struct meta_partition_info p;
    size_t found = NOBODY;
    uint64_t term = 0;
    for (size_t z = 0; z < s->cluster->zones; z++) {
        if (!info(s, z, partition, &p) || !p.leader || p.term <= term)
            continue;
        found = z;
        term = p.term;
    }
    return found;
}

static void block_way(struct scenario *s, struct sim_node *from, struct sim_node *to, bool on)
{
    world_block(s->cluster->world, from->host, to->host, on);
}

static void block_both(struct scenario *s, struct sim_node *a, struct sim_node *b, bool on)
{
    block_way(s, a, b, on);
    block_way(s, b, a, on);
}

/* From one metanode to the two others. */
static void block_out(struct scenario *s, size_t zone, bool on)
{
    for (size_t z = 0; z < s->cluster->zones; z++)
        if (z != zone)
            block_way(s, meta(s, zone), meta(s, z), on);
}

static void block_in(struct scenario *s, size_t zone, bool on)
{
    for (size_t z = 0; z < s->cluster->zones; z++)
        if (z != zone)
            block_way(s, meta(s, z), meta(s, zone), on);
}

static void sever(struct scenario *s, struct sim_node *a, struct sim_node *b)
{
    block_both(s, a, b, true);
    world_break(s->cluster->world, a->host, b->host);
}

static void slow_disk(struct scenario *s, size_t zone, bool on)
{
    kv_mem_set_delays(meta(s, zone)->log_kv, on ? SLOW_DISK_NS : DISK_NS, 5 * NS_PER_MS);
}

struct reboot {
    struct sim_node *node;
};

static void reboot(void *arg)
{
    struct reboot *r = arg;
    if (!r->node->running && !r->node->gone)
        sim_boot(r->node);
    free(r);
}

void scenario_crash(struct sim_cluster *c, struct sim_node *n, bool silent, uint64_t down_ns)
{
    struct reboot *r = calloc(1, sizeof(*r));
    CHECK(r);
    r->node = n;
    if (n->running)
        sim_crash(n, silent);
    world_call(c->world, down_ns, reboot, r);
}

/* The metanode that leads neither the partition nor the root; when one leads both, any other. */
static void choose_roles(struct scenario *s)
{
    size_t root = leader_of(s, 0), first = (s->leader + 1) % 3, second = (s->leader + 2) % 3;
    bool swap = root == s->leader || root == NOBODY ? below(s, 2) : root == first;
    s->other = swap ? second : first;
    s->third = swap ? first : second;
}

static bool passed(const struct scenario *s)
{
    return now(s) >= s->until_ns;
}

static bool go(struct scenario *s, unsigned step, uint64_t for_ns)
{
    s->step = step;
    s->until_ns = now(s) + for_ns;
    return true;
}

/* ---- kinds: each returns false at its end ---- */

/* A leader that reaches witnesses and gateways, but not its followers: what it streams is never
 * committed (through, and where the next leader resumes). */
static bool isolated_leader(struct scenario *s)
{
    if (s->step == 0) {
        block_out(s, s->leader, true);
        if (below(s, 2))
            block_in(s, s->leader, true);
        return go(s, 1, 10 * NS_PER_MS + below(s, 400 * NS_PER_MS));
    }
    if (!passed(s))
        return true;
    if (s->step ==
        1) { /* often no more than a few entries: the next leader's soon have their indexes */
        for (size_t z = 0; z < s->cluster->zones && below(s, 3); z++)
            block_way(s, &s->cluster->gateways[z], meta(s, s->leader), true);
        return go(s, 2, 2 * NS_PER_SEC + below(s, 2 * NS_PER_SEC));
    }
    return false;
}

/* The followers and one witness, or all, do not hear of one another. */
static void block_witnesses(struct scenario *s, bool on)
{
    for (size_t z = 0; z < s->cluster->zones; z++) {
        if (!s->flag && z != s->witness)
            continue;
        block_both(s, meta(s, s->other), &s->cluster->witnesses[z], on);
        block_both(s, meta(s, s->third), &s->cluster->witnesses[z], on);
    }
}

/* Nobody comes to the leader any more.  What is under way in some of the gateways that still did is
 * not soon sent to the next one. */
static void abandon_leader(struct scenario *s)
{
    for (size_t z = 0; z < s->cluster->zones; z++) {
        struct sim_node *gateway = &s->cluster->gateways[z];
        sever(s, gateway, meta(s, s->leader));
        if ((s->gateways >> z & 1) && below(s, 2))
            host_pause(gateway->host, now(s) + NS_PER_SEC + below(s, 3 * NS_PER_SEC));
    }
}

/* An isolated leader, to which some gateways still come, streams a few entries to the witnesses,
 * which nobody else ever has.  The next one gives the same indexes to other entries before it
 * reaches them: had it to resume behind what they received, they would call entries of the caches
 * fresh that those have changed. */
static bool replaced_entries(struct scenario *s)
{
    struct meta_partition_info p;
    size_t at;
    switch (s->step) {
    case 0:
        s->flag = below(s, 2);
        s->gateways = 1 + (unsigned)below(s, 7);
        for (size_t z = 0; z < s->cluster->zones; z++)
            if (!(s->gateways >> z & 1))
                sever(s, &s->cluster->gateways[z], meta(s, s->leader));
        block_out(s, s->leader, true);
        s->mark = 3 + below(s, 4);
        return go(s, 1, 900 * NS_PER_MS);
    case 1:
        if (!info(s, s->leader, s->partition, &p) || !p.leader)
            return false;
        if (p.last < p.commit + s->mark && !passed(s))
            return true;
        if (p.last < p.commit + 2) /* the next leader's first entry has one index of them */
            return false;
        s->term = p.term;
        s->mark = p.last;
        abandon_leader(s);
        return go(s, 2, 5 * NS_PER_SEC);
    case 2:
        at = leader_of(s, s->partition);
        if (at == NOBODY || at == s->leader || !info(s, at, s->partition, &p) || p.term <= s->term)
            return !passed(s);
        block_witnesses(s, p.last < s->mark);
        return p.last < s->mark ? !passed(s) : go(s, 3, NS_PER_SEC + below(s, NS_PER_SEC));
    default: return !passed(s);
    }
}

/* A witness that some leaders reach and others do not: it is reported, dies, lives again. */
static bool pair_cut(struct scenario *s)
{
    if (s->step == 0) {
        sever(s, meta(s, below(s, 2) ? s->leader : s->other), &s->cluster->witnesses[s->witness]);
        return go(s, 1, NS_PER_SEC + below(s, 7 * NS_PER_SEC));
    }
    return !passed(s);
}

/* A witness loses its tables; what it is told again begins where the leaders' logs do.  A gateway
 * that slept meanwhile comes with questions about older times. */
static bool blank_witness(struct scenario *s)
{
    struct sim_cluster *c = s->cluster;
    if (s->step == 0) {
        bool sleeps = below(s, 3) != 0;
        if (sleeps)
            host_pause(c->gateways[s->witness].host,
                       now(s) + 2500 * NS_PER_MS + below(s, 3 * NS_PER_SEC));
        return go(s, 1, sleeps ? 500 * NS_PER_MS + below(s, 2 * NS_PER_SEC) : 0);
    }
    if (!passed(s))
        return true;
    if (s->step == 1) {
        scenario_crash(c, &c->witnesses[s->witness], below(s, 2), below(s, 300 * NS_PER_MS));
        return go(s, 2, 2 * NS_PER_SEC + below(s, 2 * NS_PER_SEC));
    }
    return false;
}

/* The next leader does not reach a witness that the last one streamed to. */
static bool handover(struct scenario *s)
{
    struct sim_node *w = &s->cluster->witnesses[s->witness];
    if (s->step == 0) {
        sever(s, meta(s, s->other), w);
        if (leader_of(s, 0) == s->leader)
            sever(s, meta(s, s->third), w);
        return go(s, 1, below(s, 300 * NS_PER_MS));
    }
    if (!passed(s))
        return true;
    if (s->step == 1) {
        if (below(s, 2))
            scenario_crash(s->cluster, meta(s, s->leader), below(s, 2),
                           2 * NS_PER_SEC + below(s, 4 * NS_PER_SEC));
        else
            host_pause(meta(s, s->leader)->host,
                       now(s) + 2 * NS_PER_SEC + below(s, 3 * NS_PER_SEC));
        return go(s, 2, 5 * NS_PER_SEC);
    }
    return false;
}

static bool witness_is_ready(struct scenario *s)
{
    const struct sim_node *w = &s->cluster->witnesses[s->witness];
    struct meta_partition_info p;
    if (!w->running || w->boot == s->boot || !witness_node_holds_lease(w->witness) ||
        !info(s, s->leader, s->partition, &p))
        return false;
    const struct witness_partition *t = witness_find(witness_node_core(w->witness), p.partition);
    return t && t->ready && t->listening;
}

/* A witness is attached, is ready, and the leader is lost before the others know more of it than
 * the tail of their logs; or the Attach never gets into their logs. */
static bool attach_and_lose(struct scenario *s)
{
    struct sim_node *w = &s->cluster->witnesses[s->witness];
    switch (s->step) {
    case 0:
        s->boot = w->boot;
        s->flag = below(s, 2);
        sever(s, meta(s, s->other), w);
        if (leader_of(s, 0) == s->leader && !s->flag)
            sever(s, meta(s, s->third), w);
        scenario_crash(s->cluster, w, false, 5 * NS_PER_MS);
        return go(s, 1, 2 * NS_PER_SEC);
    case 1:
        if (s->flag && w->running && w->boot != s->boot) {
            block_out(s, s->leader, true);
            return go(s, 2, 5 * NS_PER_SEC);
        }
        if (!s->flag && witness_is_ready(s)) {
            scenario_crash(s->cluster, meta(s, s->leader), below(s, 2), 3 * NS_PER_SEC);
            return go(s, 2, 5 * NS_PER_SEC);
        }
        return !passed(s);
    default: return !passed(s);
    }
}

/* Some gateways, never all, lose the leader: they write to the next one while the others still read
 * from this one. */
static void lose_gateways(struct scenario *s)
{
    for (size_t z = 0; z < s->cluster->zones; z++)
        if (z != s->witness && below(s, 3) != 0)
            sever(s, &s->cluster->gateways[z], meta(s, s->leader));
}

/* Answers to a leader's round arrive late, and after that nothing: a lease counted from their
 * arrival would last beyond the next election. */
static bool late_round(struct scenario *s)
{
    switch (s->step) {
    case 0:
        block_in(s, s->leader, true);
        return go(s, 1, 20 * NS_PER_MS + below(s, 130 * NS_PER_MS));
    case 1:
        if (passed(s)) {
            block_out(s, s->leader, true);
            lose_gateways(s);
            return go(s, 2, 600 * NS_PER_MS + below(s, 550 * NS_PER_MS));
        }
        return true;
    case 2:
        if (passed(s)) {
            block_in(s, s->leader, false);
            return go(s, 3, 40 * NS_PER_MS);
        }
        return true;
    case 3:
        if (passed(s)) {
            block_in(s, s->leader, true);
            return go(s, 4, 2 * NS_PER_SEC);
        }
        return true;
    default: return !passed(s);
    }
}

/* One follower lags; the other one, with a slow disk, and the leader crash at once. */
static bool lost_pages(struct scenario *s)
{
    switch (s->step) {
    case 0:
        block_both(s, meta(s, s->leader), meta(s, s->third), true);
        slow_disk(s, s->other, true);
        return go(s, 1, 300 * NS_PER_MS + below(s, 700 * NS_PER_MS));
    case 1:
        if (!passed(s))
            return true;
        scenario_crash(s->cluster, meta(s, s->other), false, 10 * NS_PER_MS);
        scenario_crash(s->cluster, meta(s, s->leader), false, 4 * NS_PER_SEC);
        block_both(s, meta(s, s->leader), meta(s, s->third), false);
        return go(s, 2, 4 * NS_PER_SEC);
    default: return !passed(s);
    }
}

/* A voter crashes while its vote is on the way to its disk; then somebody else asks for its vote.
 */
static bool lost_vote(struct scenario *s)
{
    size_t at = leader_of(s, s->partition);
    struct meta_partition_info p;
    switch (s->step) {
    case 0:
        if (!info(s, s->leader, s->partition, &p))
            return false;
        s->term = p.term;
        block_in(s, s->leader, true);
        block_out(s, s->leader, true);
        slow_disk(s, s->other, true);
        slow_disk(s, s->third, true);
        return go(s, 1, 5 * NS_PER_SEC);
    case 1:
        if (at == NOBODY || at == s->leader || !info(s, at, s->partition, &p) || p.term <= s->term)
            return !passed(s);
        s->mark = at == s->other ? s->third : s->other; /* who voted for it */
        scenario_crash(s->cluster, meta(s, s->mark), false, 5 * NS_PER_MS);
        block_both(s, meta(s, s->other), meta(s, s->third), true);
        block_both(s, meta(s, s->leader), meta(s, s->mark), false);
        return go(s, 2, 4 * NS_PER_SEC);
    default: return !passed(s);
    }
}

/* Figure 8 of the Raft paper: an entry of an old term reaches a quorum under a new leader, which is
 * lost before it commits anything of its own; a third, with a newer entry, then takes over. */
static bool figure_8(struct scenario *s)
{
    struct meta_partition_info p;
    size_t at;
    if (s->step != 0 && passed(s))
        return false;
    switch (s->step) {
    case 0: /* entries that only the leader has */
        block_out(s, s->leader, true);
        return go(s, 1, 2 * NS_PER_SEC);
    case 1:
        if (!info(s, s->leader, s->partition, &p) || !p.leader)
            return false;
        if (p.last < p.commit + 2)
            return true;
        s->term = p.term;
        block_in(s, s->leader, true);
        return go(s, 2, 5 * NS_PER_SEC);
    case 2: /* another one is elected, and is alone with its no-op */
        at = leader_of(s, s->partition);
        if (at == NOBODY || at == s->leader || !info(s, at, s->partition, &p) || p.term <= s->term)
            return true;
        s->third = at;
        s->other = 3 - s->leader - at;
        s->term = p.term;
        block_both(s, meta(s, s->third), meta(s, s->other), true);
        block_both(s, meta(s, s->leader), meta(s, s->other), false);
        if (!info(s, s->leader, s->partition, &p))
            return false;
        s->mark = p.commit;
        return go(s, 3, 8 * NS_PER_SEC);
    case 3: /* the first one leads again: what it had alone is on two disks */
        if (!info(s, s->leader, s->partition, &p) || !p.leader || p.term <= s->term ||
            p.commit == s->mark)
            return true;
        block_both(s, meta(s, s->leader), meta(s, s->other), true);
        block_both(s, meta(s, s->third), meta(s, s->other), false);
        return go(s, 4, 4 * NS_PER_SEC);
    default: return true;
    }
}

/* A leader that sleeps is lost to its sleeping followers: dead, cut off, or standing still and cut
 * off, and with it a gateway that still believes in it. */
static bool sleeping_leader(struct scenario *s)
{
    struct meta_partition_info p;
    switch (s->step) {
    case 0: return go(s, 1, 5 * NS_PER_SEC);
    case 1:
        if (!info(s, s->leader, s->partition, &p) || !p.leader || passed(s))
            return false;
        if (!p.asleep)
            return true;
        s->flag = below(s, 2);
        if (below(s, 3) == 0) {
            scenario_crash(s->cluster, meta(s, s->leader), below(s, 2), below(s, 4 * NS_PER_SEC));
            return go(s, 2, 4 * NS_PER_SEC);
        }
        block_out(s, s->leader, true);
        block_in(s, s->leader, true);
        uint64_t stands_still = 1500 * NS_PER_MS + below(s, 2500 * NS_PER_MS);
        if (s->flag) {
            host_pause(meta(s, s->leader)->host, now(s) + stands_still);
            host_pause(s->cluster->gateways[s->witness].host, now(s) + stands_still);
        }
        return go(s, 2, stands_still + 1500 * NS_PER_MS);
    default: return !passed(s);
    }
}

static const struct {
    const char *name;
    bool (*step)(struct scenario *s);
} kinds[SCENARIO_COUNT] = {
    {"isolated leader", isolated_leader},
    {"replaced entries", replaced_entries},
    {"pair cut", pair_cut},
    {"blank witness", blank_witness},
    {"handover", handover},
    {"attach and lose", attach_and_lose},
    {"late round", late_round},
    {"lost pages", lost_pages},
    {"lost vote", lost_vote},
    {"figure 8", figure_8},
    {"sleeping leader", sleeping_leader},
};

const char *scenario_name(unsigned kind)
{
    CHECK(kind < SCENARIO_COUNT);
    return kinds[kind].name;
}

/* ---- life ---- */

void scenario_init(struct scenario *s, struct sim_cluster *c)
{
    *s = (struct scenario){.cluster = c};
}

void scenario_stop(struct scenario *s)
{
    if (!s->active)
        return;
    s->active = false;
    world_heal(s->cluster->world);
    for (size_t z = 0; z < s->cluster->zones; z++)
        slow_disk(s, z, false);
}

static void poll(void *arg)
{
    struct scenario *s = arg;
    if (!s->active)
        return;
    if (kinds[s->kind].step(s))
        world_call(s->cluster->world, POLL_NS, poll, s);
    else
        scenario_stop(s);
}

bool scenario_start(struct scenario *s, unsigned kind)
{
    struct sim_cluster *c = s->cluster;
    CHECK(kind < SCENARIO_COUNT);
    if (s->active || c->zones != 3)
        return false;
    for (size_t z = 0; z < c->zones; z++)
        if (!c->metas[z].running || c->metas[z].failed)
            return false;
    s->kind = kind;
    s->step = 0;
    s->partition = below(s, meta_node_partition_count(c->metas[0].meta));
    s->leader = leader_of(s, s->partition);
    s->witness = below(s, c->zones);
    if (s->leader == NOBODY)
        return false;
    choose_roles(s);
    world_heal(c->world);
    s->active = true;
    world_call(c->world, POLL_NS, poll, s);
    return true;
}
