/* A cluster of Raft cores in memory: see cluster.h. */
#include "cluster.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include "common/base/check.h"
#include "common/base/err.h"

const char *message_name(enum raft_message_type t)
{
    static const char *const names[] = {"vote",           "vote-reply",      "pre-vote",
                                        "pre-vote-reply", "append",          "append-reply",
                                        "heartbeat",      "heartbeat-reply", "timeout-now"};
    return names[t];
}

const char *role_name(enum raft_role r)
{
    static const char *const names[] = {"follower", "pre-candidate", "candidate", "leader"};
    return names[r];
}

uint64_t cluster_random(struct cluster *c)
{
    uint64_t z = c->rng += 0x9e3779b97f4a7c15ull; /* splitmix64 */
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9ull;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebull;
    return z ^ (z >> 31);
}

void cluster_say(struct cluster *c, const char *fmt, ...)
{
    if (!c->trace)
        return;
    char line[512];
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(line, sizeof(line), fmt, ap);
    va_end(ap);
    buf_cstr(c->trace, line);
    buf_cstr(c->trace, "\n");
}

void cluster_violated(struct cluster *c, const char *fmt, ...)
{
    if (c->violation[0])
        return;
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(c->violation, sizeof(c->violation), fmt, ap);
    va_end(ap);
    cluster_say(c, "  VIOLATED: %s", c->violation);
}

/* ---- life ---- */

void cluster_init(struct cluster *c, uint32_t nodes, uint64_t seed)
{
    CHECK(nodes >= 1 && nodes <= CLUSTER_NODES_MAX);
    memset(c, 0, sizeof(*c));
    c->rng = seed;
    c->node_count = nodes;
    c->now_ns = 1000 * MS;
    c->options = (struct raft_options){.election_timeout_ns = 100 * MS,
                                       .heartbeat_interval_ns = 20 * MS,
                                       .lease_ns = 80 * MS,
                                       .drift_ppm = 50000,
                                       .lease_enabled = true};
    for (uint32_t i = 0; i < nodes; i++) {
        struct node *n = &c->nodes[i];
        n->id = i + 1;
        n->disk.at = calloc(CLUSTER_LOG_MAX, sizeof(struct entry));
        n->log.at = calloc(CLUSTER_LOG_MAX, sizeof(struct entry));
        c->options.config.voters[i] = i + 1;
    }
    c->options.config.voter_count = nodes;
}

static void pending_clear(struct node *n)
{
    for (uint32_t i = 0; i < n->pending_count; i++)
        free(n->pending[i].entries);
    n->pending_count = 0;
}

static void packet_fini(struct packet *p)
{
    free(p->entries);
    free(p->metas);
}

void cluster_fini(struct cluster *c)
{
    for (uint32_t i = 0; i < c->node_count; i++) {
        struct node *n = &c->nodes[i];
        raft_free(n->raft);
        pending_clear(n);
        free(n->pending);
        free(n->disk.at);
        free(n->log.at);
    }
    for (uint32_t i = 0; i < c->net_count; i++)
        packet_fini(&c->net[i]);
    free(c->net);
}

struct node *cluster_node(struct cluster *c, uint64_t id)
{
    CHECK(id >= 1 && id <= c->node_count);
    return &c->nodes[id - 1];
}

uint64_t node_now(const struct cluster *c, const struct node *n)
{
    int64_t drift = (int64_t)(c->now_ns / 1000000) * n->clock_ppm;
    return n->clock_offset_ns + (uint64_t)((int64_t)c->now_ns + drift);
}

/* ---- disks ---- */

static void log_apply(struct disk_log *d, const struct raft_write *w, const struct entry *entries)
{
    if (w->reset_index) {
        d->compact_index = d->last = w->reset_index;
        d->compact_term = w->reset_term;
    }
    if (w->truncate_from)
        d->last = w->truncate_from - 1;
    for (uint32_t i = 0; i < w->entry_count; i++)
        d->at[w->first_index + i] = entries[i];
    if (w->entry_count)
        d->last = w->first_index + w->entry_count - 1;
    CHECK(d->last == w->last_index);
}

static void write_reaches_disk(struct node *n, const struct pending_write *p)
{
    if (p->w.has_hard_state) {
        n->term = p->w.term;
        n->vote = p->w.vote;
    }
    log_apply(&n->disk, &p->w, p->entries);
}

static void pending_shift(struct node *n, uint32_t count)
{
    for (uint32_t i = 0; i < count; i++)
        free(n->pending[i].entries);
    n->pending_count -= count;
    memmove(n->pending, n->pending + count, n->pending_count * sizeof(*n->pending));
}

void cluster_sync(struct cluster *c, uint64_t id, uint32_t count)
{
    struct node *n = cluster_node(c, id);
    count = MIN(count, n->pending_count);
    if (count == 0)
        return;
    for (uint32_t i = 0; i < count; i++)
        write_reaches_disk(n, &n->pending[i]);
    struct raft_write last = n->pending[count - 1].w;
    pending_shift(n, count);
    cluster_say(c, "%d: synced #%d, last %d/%d", (int)id, (int)last.seq, (int)last.last_index,
                (int)last.last_term);
    struct raft_event ev = {
        .type = RAFT_EV_SYNCED,
        .synced = {.seq = last.seq, .last_index = last.last_index, .last_term = last.last_term}};
    cluster_step(c, n, &ev, NULL);
}

static void say_write(struct cluster *c, const struct node *n, const struct raft_write *w)
{
    char line[200];
    int at = snprintf(line, sizeof(line), "  %d writes #%d:", (int)n->id, (int)w->seq);
    if (w->has_hard_state)
        at += snprintf(line + at, sizeof(line) - (size_t)at, " term %d vote %d", (int)w->term,
                       (int)w->vote);
    if (w->reset_index)
        at += snprintf(line + at, sizeof(line) - (size_t)at, " reset to %d/%d", (int)w->reset_index,
                       (int)w->reset_term);
    if (w->truncate_from)
        at += snprintf(line + at, sizeof(line) - (size_t)at, " truncate from %d",
                       (int)w->truncate_from);
    if (w->entry_count)
        snprintf(line + at, sizeof(line) - (size_t)at, " %s %d..%d", w->noop ? "no-op" : "entries",
                 (int)w->first_index, (int)(w->first_index + w->entry_count - 1));
    cluster_say(c, "%s", line);
}

static void take_write(struct cluster *c, struct node *n, const struct raft_event *ev,
                       const struct packet *p)
{
    const struct raft_write *w = &c->fx.write;
    say_write(c, n, w);
    if (w->truncate_from && raft_role(n->raft) == RAFT_LEADER)
        cluster_violated(c, "leader append-only: %d truncates from %d", (int)n->id,
                         (int)w->truncate_from);
    struct entry *entries = calloc(w->entry_count + 1, sizeof(*entries));
    for (uint32_t i = 0; i < w->entry_count; i++) {
        CHECK(w->first_index + i < CLUSTER_LOG_MAX);
        if (w->noop)
            entries[i] = (struct entry){.term = w->term_of_entries, .kind = RAFT_ENTRY_NOOP};
        else if (ev->type == RAFT_EV_PROPOSE)
            entries[i] = (struct entry){.term = w->term_of_entries,
                                        .value = ++c->next_value,
                                        .kind = ev->propose.entries[i].kind,
                                        .bytes = ev->propose.entries[i].bytes};
        else
            entries[i] = p->entries[w->entry_offset + i];
    }
    log_apply(&n->log, w, entries);
    if (n->pending_count == n->pending_cap) {
        n->pending_cap = n->pending_cap ? n->pending_cap * 2 : 8;
        n->pending = realloc(n->pending, n->pending_cap * sizeof(*n->pending));
    }
    n->pending[n->pending_count++] = (struct pending_write){.w = *w, .entries = entries};
}

int cluster_start(struct cluster *c, uint64_t id)
{
    struct node *n = cluster_node(c, id);
    CHECK(!n->raft);
    struct disk_log *d = &n->disk;
    if (n->applied_durable >
        d->last) { /* as raft.h tells: applied here before it was synced here */
        d->compact_index = d->last = n->applied_durable;
        d->compact_term = n->applied_durable_term;
        if (n->term < d->compact_term) {
            n->term = d->compact_term;
            n->vote = 0;
        }
    }
    struct raft_options o = c->options;
    o.id = id;
    struct raft_durable durable = {.term = n->term,
                                   .vote = n->vote,
                                   .compact_index = d->compact_index,
                                   .compact_term = d->compact_term,
                                   .applied = n->applied_durable};
    int err = raft_new(&o, &durable, &n->raft);
    if (err)
        return err;
    for (uint64_t i = d->compact_index + 1; i <= d->last; i++) {
        err = raft_restore(n->raft, d->at[i].term, d->at[i].bytes);
        CHECK(err == OK);
    }
    memcpy(n->log.at, d->at, (d->last + 1) * sizeof(*d->at));
    n->log = (struct disk_log){.compact_index = d->compact_index,
                               .compact_term = d->compact_term,
                               .last = d->last,
                               .at = n->log.at};
    n->applied = n->seen_commit = raft_commit(n->raft);
    n->last_role = RAFT_FOLLOWER;
    n->last_term = n->term;
    n->life++;
    memset(n->heard, 0, sizeof(n->heard));
    return raft_start(n->raft, node_now(c, n), cluster_random(c));
}

void cluster_crash(struct cluster *c, uint64_t id, uint32_t keep)
{
    struct node *n = cluster_node(c, id);
    if (!n->raft)
        return;
    keep = MIN(keep, n->pending_count);
    for (uint32_t i = 0; i < keep; i++)
        write_reaches_disk(n, &n->pending[i]);
    pending_clear(n);
    raft_free(n->raft);
    n->raft = NULL;
    n->read_count = 0;
}

/* ---- invariants ---- */

static void check_leader(struct cluster *c, struct node *n)
{
    uint64_t term = raft_term(n->raft);
    CHECK(term < CLUSTER_TERMS_MAX);
    if (c->leader_of_term[term] && c->leader_of_term[term] != n->id)
        cluster_violated(c, "election safety: %d and %d lead term %d", (int)c->leader_of_term[term],
                         (int)n->id, (int)term);
    c->leader_of_term[term] = n->id;
    c->leaders_elected++;
    for (uint64_t i = n->log.compact_index + 1; i < CLUSTER_LOG_MAX && c->committed[i].known; i++) {
        if (i > n->log.last || n->log.at[i].term != c->committed[i].term)
            cluster_violated(c, "leader completeness: %d leads term %d without committed %d",
                             (int)n->id, (int)term, (int)i);
    }
}

static void check_lease(struct cluster *c, struct node *n)
{
    if (n->raft && raft_lease_valid(n->raft, node_now(c, n)) &&
        raft_commit(n->raft) < c->acknowledged)
        cluster_violated(c, "lease: %d would read %d where %d was acknowledged", (int)n->id,
                         (int)raft_commit(n->raft), (int)c->acknowledged);
}

static void check_commit(struct cluster *c, struct node *n)
{
    uint64_t commit = raft_commit(n->raft);
    for (uint64_t i = MAX(n->seen_commit, n->log.compact_index) + 1; i <= commit; i++) {
        struct committed *known = &c->committed[i];
        const struct entry *e = &n->log.at[i];
        if (known->known && (known->term != e->term || known->value != e->value))
            cluster_violated(c, "state machine safety: %d commits %d as %d/%d, was %d/%d",
                             (int)n->id, (int)i, (int)e->term, (int)e->value, (int)known->term,
                             (int)known->value);
        *known = (struct committed){.known = true, .term = e->term, .value = e->value};
    }
    n->seen_commit = commit;
    if (raft_role(n->raft) != RAFT_LEADER || commit <= c->acknowledged)
        return;
    c->acknowledged = commit;
    for (uint32_t i = 0; i < c->node_count; i++)
        check_lease(c, &c->nodes[i]);
}

/* Two logs that have an entry of the same index and term are the same up to it.  A difference would
 * come in with the entries just appended, so it is enough to look a little below the first common
 * one. */
#define MATCHING_DEPTH 48

static void check_log_matching(struct cluster *c, const struct node *n)
{
    for (uint32_t k = 0; k < c->node_count; k++) {
        const struct node *o = &c->nodes[k];
        if (o == n || !o->raft)
            continue;
        uint64_t low = MAX(o->log.compact_index, n->log.compact_index);
        uint32_t same = 0;
        for (uint64_t i = MIN(o->log.last, n->log.last); i > low && same < MATCHING_DEPTH; i--) {
            const struct entry *a = &o->log.at[i], *b = &n->log.at[i];
            if (same && (a->term != b->term || a->value != b->value))
                cluster_violated(c, "log matching: %d and %d differ at %d below a common entry",
                                 (int)n->id, (int)o->id, (int)i);
            if (a->term == b->term && a->value != b->value)
                cluster_violated(c, "log matching: %d and %d hold different %d/%d", (int)n->id,
                                 (int)o->id, (int)i, (int)a->term);
            same += same || a->term == b->term;
        }
    }
}

/* ---- effects ---- */

static void net_push(struct cluster *c, struct packet p)
{
    if (c->net_count == c->net_cap) {
        c->net_cap = c->net_cap ? c->net_cap * 2 : 64;
        c->net = realloc(c->net, c->net_cap * sizeof(*c->net));
    }
    if (c->slow_percent && cluster_random(c) % 100 < c->slow_percent)
        p.not_before_ns = c->now_ns + cluster_random(c) % (300 * MS);
    c->net[c->net_count++] = p;
}

static bool is_heartbeat(const struct raft_message *m)
{
    return m->type == RAFT_HEARTBEAT || m->type == RAFT_HEARTBEAT_REPLY;
}

static void say_message(struct cluster *c, const struct raft_message *m, const char *what)
{
    if (is_heartbeat(m) && !c->trace_heartbeats)
        return;
    char line[300];
    int at = snprintf(line, sizeof(line), "%s%d->%d %s term %d", what, (int)m->from, (int)m->to,
                      message_name(m->type), (int)m->term);
    char *to = line + at;
    size_t left = sizeof(line) - (size_t)at;
    if (m->type == RAFT_APPEND)
        snprintf(to, left, " prev %d/%d entries %d commit %d", (int)m->index, (int)m->log_term,
                 (int)m->entry_count, (int)m->commit);
    else if (m->type == RAFT_APPEND_REPLY && m->reject)
        snprintf(to, left, " rejected %d, hint %d/%d", (int)m->index, (int)m->hint,
                 (int)m->log_term);
    else if (m->type == RAFT_APPEND_REPLY)
        snprintf(to, left, " matched %d", (int)m->index);
    else if (m->type == RAFT_VOTE || m->type == RAFT_PRE_VOTE)
        snprintf(to, left, " last %d/%d%s", (int)m->index, (int)m->log_term,
                 m->campaign_transfer ? " (transfer)" : "");
    else if (m->type == RAFT_VOTE_REPLY || m->type == RAFT_PRE_VOTE_REPLY)
        snprintf(to, left, " %s", m->reject ? "refused" : "granted");
    else if (m->type == RAFT_HEARTBEAT)
        snprintf(to, left, " round %d match %d/%d commit %d%s", (int)m->round, (int)m->index,
                 (int)m->log_term, (int)m->commit, m->sleep ? ", sleep" : "");
    else if (m->type == RAFT_HEARTBEAT_REPLY)
        snprintf(to, left, " round %d%s", (int)m->round, m->sleep ? ", asleep" : "");
    cluster_say(c, "%s", line);
}

static void take_message(struct cluster *c, struct node *n, const struct raft_message *m)
{
    struct packet p = {.m = *m};
    bool lost = m->to > c->node_count || c->cut[m->from][m->to];
    say_message(c, m, "  ");
    if (lost)
        return;
    if (m->entry_count) {
        if (m->index < n->log.compact_index)
            return; /* compacted meanwhile: dropped, as raft.h says */
        CHECK(m->index + m->entry_count <= n->log.last);
        p.entries = calloc(m->entry_count, sizeof(*p.entries));
        p.metas = calloc(m->entry_count, sizeof(*p.metas));
        for (uint32_t i = 0; i < m->entry_count; i++) {
            p.entries[i] = n->log.at[m->index + 1 + i];
            p.metas[i] = (struct raft_entry_meta){
                .term = p.entries[i].term, .kind = p.entries[i].kind, .bytes = p.entries[i].bytes};
        }
    }
    net_push(c, p);
}

static void take_snapshot_request(struct cluster *c, struct node *n, uint64_t peer)
{
    struct packet p = {.snapshot = true};
    p.m = (struct raft_message){
        .from = n->id, .to = peer, .term = raft_term(n->raft), .index = n->applied};
    bool known = raft_term_at(n->raft, n->applied, &p.m.log_term);
    CHECK(known);
    cluster_say(c, "  %d streams snapshot %d/%d to %d", (int)n->id, (int)p.m.index,
                (int)p.m.log_term, (int)peer);
    net_push(c, p);
}

static void take_read(struct cluster *c, struct node *n, const struct raft_read *r)
{
    uint64_t floor = 0;
    for (uint32_t i = 0; i < n->read_count; i++) {
        if (n->reads[i].ctx != r->ctx)
            continue;
        floor = n->reads[i].floor;
        n->reads[i] = n->reads[--n->read_count];
        break;
    }
    bool ready = r->status == RAFT_READ_READY;
    cluster_say(c, "  %d read %d %s, commit %d visible %d", (int)n->id, (int)r->ctx,
                ready ? "ready" : "dropped", (int)r->commit, (int)r->visible);
    n->reads_served += ready;
    n->reads_dropped += !ready;
    if (ready && r->commit < floor)
        cluster_violated(c, "read %d at %d sees %d where %d was acknowledged", (int)r->ctx,
                         (int)n->id, (int)r->commit, (int)floor);
}

static void apply(struct cluster *c, struct node *n)
{
    if (raft_role(n->raft) == RAFT_LEADER && !c->visible_by_hand)
        raft_set_visible(n->raft, raft_commit(n->raft));
    n->applied = MAX(n->applied, raft_visible(n->raft));
    raft_set_applied(n->raft, n->applied);
    raft_set_quiet(n->raft, true);
}

/* A leader sleeps only when every log is the same as its own. */
static void check_sleep(struct cluster *c, const struct node *n)
{
    if (!raft_is_asleep(n->raft) || raft_role(n->raft) != RAFT_LEADER)
        return;
    for (uint32_t k = 0; k < c->node_count; k++) {
        const struct raft *o = c->nodes[k].raft;
        if (o && raft_term(o) <= raft_term(n->raft) &&
            raft_last_index(o) < raft_last_index(n->raft))
            cluster_violated(c, "sleep: %d sleeps while %d lacks entries", (int)n->id, (int)k + 1);
    }
}

static void say_sleep(struct cluster *c, const struct node *n, bool slept)
{
    bool sleeps = raft_is_asleep(n->raft);
    if (sleeps == slept)
        return;
    cluster_say(c, "  %d %s", (int)n->id, sleeps ? "falls asleep" : "wakes");
    c->fell_asleep += sleeps;
}

int cluster_step(struct cluster *c, struct node *n, struct raft_event *ev, const struct packet *p)
{
    ev->now_ns = node_now(c, n);
    ev->random = cluster_random(c);
    bool slept = raft_is_asleep(n->raft);
    ev->heard_ns = slept && raft_leader(n->raft) ? n->heard[raft_leader(n->raft)].ns : 0;
    int err = raft_step(n->raft, ev, &c->fx);
    const struct raft_effects *fx = &c->fx;
    if (err)
        cluster_say(c, "  %d says %s", (int)n->id, err_name(err));
    if (fx->write.present)
        take_write(c, n, ev, p);
    for (uint32_t i = 0; i < fx->message_count; i++)
        take_message(c, n, &fx->messages[i]);
    if (fx->role_changed)
        cluster_say(c, "  %d is %s in term %d, leader %d", (int)n->id,
                    role_name(raft_role(n->raft)), (int)raft_term(n->raft),
                    (int)raft_leader(n->raft));
    bool won = raft_role(n->raft) == RAFT_LEADER &&
               (n->last_role != RAFT_LEADER || n->last_term != raft_term(n->raft));
    if (won)
        check_leader(c, n);
    n->last_role = raft_role(n->raft);
    n->last_term = raft_term(n->raft);
    if (fx->commit_changed) {
        cluster_say(c, "  %d commits %d", (int)n->id, (int)raft_commit(n->raft));
        check_commit(c, n);
    }
    for (uint32_t i = 0; i < fx->read_count; i++)
        take_read(c, n, &fx->reads[i]);
    for (uint32_t i = 0; i < fx->snapshot_peer_count; i++)
        take_snapshot_request(c, n, fx->snapshot_peers[i]);
    apply(c, n);
    say_sleep(c, n, slept);
    raft_check(n->raft);
    check_sleep(c, n);
    check_lease(c, n);
    if (fx->write.present && fx->write.entry_count)
        check_log_matching(c, n);
    if (c->fx.more)
        cluster_tick(c, n->id);
    return err;
}

/* ---- events ---- */

int cluster_tick(struct cluster *c, uint64_t id)
{
    struct raft_event ev = {.type = RAFT_EV_TICK};
    return cluster_step(c, cluster_node(c, id), &ev, NULL);
}

int cluster_lost(struct cluster *c, uint64_t id, uint64_t peer)
{
    struct raft_event ev = {.type = RAFT_EV_NODE_LOST, .peer = peer};
    return cluster_step(c, cluster_node(c, id), &ev, NULL);
}

static void hear(struct cluster *c, struct node *n, const struct node *from)
{
    bool other = n->heard[from->id].life != 0 && n->heard[from->id].life != from->life;
    n->heard[from->id].life = from->life;
    n->heard[from->id].ns = node_now(c, n);
    n->heard[from->id].lost = false;
    if (other)
        cluster_lost(c, n->id, from->id);
}

void cluster_beat(struct cluster *c)
{
    for (uint32_t i = 0; i < c->node_count; i++) {
        struct node *n = &c->nodes[i];
        for (uint32_t k = 0; n->raft && k < c->node_count; k++) {
            const struct node *from = &c->nodes[k];
            if (from == n)
                continue;
            if (from->raft && !c->cut[from->id][n->id]) {
                hear(c, n, from);
            } else if (n->heard[from->id].life != 0 && !n->heard[from->id].lost &&
                       node_now(c, n) - n->heard[from->id].ns >= c->options.election_timeout_ns) {
                n->heard[from->id].lost = true;
                cluster_lost(c, n->id, from->id);
            }
        }
    }
}

int cluster_propose(struct cluster *c, uint64_t id, enum raft_entry_kind kind, uint32_t bytes,
                    uint32_t count)
{
    struct raft_entry_meta metas[64];
    CHECK(count <= ARRAY_COUNT(metas));
    for (uint32_t i = 0; i < count; i++)
        metas[i] = (struct raft_entry_meta){.kind = kind, .bytes = bytes};
    struct raft_event ev = {.type = RAFT_EV_PROPOSE, .propose = {.entries = metas, .count = count}};
    return cluster_step(c, cluster_node(c, id), &ev, NULL);
}

int cluster_read(struct cluster *c, uint64_t id, uint64_t ctx)
{
    struct node *n = cluster_node(c, id);
    if (n->read_count == RAFT_READS_MAX)
        return ERR_LIMIT;
    n->reads[n->read_count].ctx = ctx;
    n->reads[n->read_count++].floor = c->acknowledged;
    struct raft_event ev = {.type = RAFT_EV_READ, .read = {.ctx = ctx}};
    int err = cluster_step(c, n, &ev, NULL);
    if (err)
        n->read_count--;
    return err;
}

int cluster_compact(struct cluster *c, uint64_t id, uint64_t index)
{
    struct node *n = cluster_node(c, id);
    uint64_t term = 0;
    if (!raft_term_at(n->raft, index, &term) || index > n->applied_durable)
        return ERR_INVAL;
    int err = raft_compact(n->raft, index);
    if (err)
        return err;
    n->log.compact_index = n->disk.compact_index = index;
    n->log.compact_term = n->disk.compact_term = term;
    return OK;
}

static void snapshot_sent(struct cluster *c, const struct packet *p, bool ok)
{
    struct node *from = cluster_node(c, p->m.from);
    if (!from->raft)
        return;
    struct raft_event ev = {.type = RAFT_EV_SNAPSHOT_SENT,
                            .snapshot = {.peer = p->m.to, .index = p->m.index, .ok = ok}};
    cluster_step(c, from, &ev, NULL);
}

static void snapshot_arrives(struct cluster *c, const struct packet *p)
{
    struct node *n = cluster_node(c, p->m.to);
    cluster_say(c, "%d->%d snapshot %d/%d", (int)p->m.from, (int)p->m.to, (int)p->m.index,
                (int)p->m.log_term);
    struct raft_event ev = {
        .type = RAFT_EV_SNAPSHOT_OFFERED,
        .snapshot = {
            .peer = p->m.from, .term = p->m.term, .index = p->m.index, .log_term = p->m.log_term}};
    int err = cluster_step(c, n, &ev, NULL);
    if (err == OK && p->m.index > n->applied) {
        n->applied = n->applied_durable = p->m.index;
        n->applied_durable_term = p->m.log_term;
        n->seen_commit = MAX(n->seen_commit, p->m.index);
        ev.type = RAFT_EV_SNAPSHOT_INSTALLED;
        cluster_step(c, n, &ev, NULL);
    }
    snapshot_sent(c, p, err == OK || err == ERR_EXISTS);
}

static struct packet net_take(struct cluster *c, uint32_t i)
{
    CHECK(i < c->net_count);
    struct packet p = c->net[i];
    memmove(c->net + i, c->net + i + 1, (c->net_count - i - 1) * sizeof(p));
    c->net_count--;
    return p;
}

void cluster_drop(struct cluster *c, uint32_t i)
{
    struct packet p = net_take(c, i);
    if (p.snapshot)
        snapshot_sent(c, &p, false);
    packet_fini(&p);
}

static struct packet packet_copy(const struct packet *p)
{
    struct packet copy = *p;
    if (p->m.entry_count) {
        copy.entries = calloc(p->m.entry_count, sizeof(*copy.entries));
        copy.metas = calloc(p->m.entry_count, sizeof(*copy.metas));
        memcpy(copy.entries, p->entries, p->m.entry_count * sizeof(*copy.entries));
        memcpy(copy.metas, p->metas, p->m.entry_count * sizeof(*copy.metas));
    }
    return copy;
}

void cluster_deliver(struct cluster *c, uint32_t i, bool keep_copy)
{
    struct packet p = net_take(c, i);
    struct node *n = cluster_node(c, p.m.to);
    if (keep_copy && !p.snapshot)
        net_push(c, packet_copy(&p));
    if (!n->raft) { /* a cut stops what is sent, not what is under way */
        if (p.snapshot)
            snapshot_sent(c, &p, false);
    } else if (p.snapshot) {
        snapshot_arrives(c, &p);
    } else {
        say_message(c, &p.m, "");
        struct raft_event ev = {.type = RAFT_EV_MESSAGE, .message = p.m};
        ev.message.entries = p.metas;
        cluster_step(c, n, &ev, &p);
    }
    packet_fini(&p);
}

void cluster_settle(struct cluster *c, uint32_t rounds)
{
    for (uint32_t round = 0; round < rounds; round++) {
        bool idle = c->net_count == 0;
        for (uint32_t i = 0; i < c->node_count; i++) {
            if (!c->nodes[i].raft || c->nodes[i].pending_count == 0)
                continue;
            idle = false;
            cluster_sync(c, c->nodes[i].id, UINT32_MAX);
        }
        if (idle)
            return;
        for (uint32_t left = c->net_count; left > 0; left--)
            cluster_deliver(c, 0, false);
    }
}

void cluster_run(struct cluster *c, uint64_t ns)
{
    uint64_t end = c->now_ns + ns;
    while (c->now_ns < end) {
        c->now_ns += MIN(c->options.heartbeat_interval_ns / 2, end - c->now_ns);
        cluster_beat(c);
        for (uint32_t i = 0; i < c->node_count; i++) {
            struct node *n = &c->nodes[i];
            if (n->raft && raft_next_deadline(n->raft) <= node_now(c, n))
                cluster_tick(c, n->id);
        }
        cluster_settle(c, 100);
    }
}

uint64_t cluster_leader(struct cluster *c)
{
    uint64_t leader = 0, term = 0;
    for (uint32_t i = 0; i < c->node_count; i++) {
        struct node *n = &c->nodes[i];
        if (n->raft && raft_role(n->raft) == RAFT_LEADER && raft_term(n->raft) > term) {
            leader = n->id;
            term = raft_term(n->raft);
        }
    }
    return leader;
}
