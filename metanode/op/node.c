/* A metanode's life: what it opens, its timers, its turn, how it ends. */
#include "metanode/op/internal.h"

#include <stdlib.h>

/* ---- configuration ---- */

void meta_config_defaults(struct meta_config *c)
{
    memset(c, 0, sizeof(*c));
    c->root_access_key = c->root_secret_key = "";
    c->snapshot_dir = ".";
    c->lease_reads = true;
    /* Why these hold together: docs/decisions/0003-timeouts.md. */
    c->timeouts = (struct meta_timeouts){
        .heartbeat = 100,
        .election = 1200,
        .raft_lease = 900,
        .witness_lease = 2000,
        .witness_call = 500,
        .witness_report = 500,
        .witness_poll = 500,
        .tick = 100,
        .flush = 30000,
        .balance = 300000,
        .deletion_grace = 60000,
        .deletion_pause = 1000,
        .interim_claim = 60000,
        .event_claim = 15000,
        .prune = 120000,
        .node_down = 10000,
        .node_lost = 900000,
        .placement = 1000,
        .drain = 3000,
        .sleep_after = 5000,
        .drift_ppm = 10000,
        .clock_ahead = 30000,
    };
    c->limits = (struct meta_limits){
        .proposals_max = 4096,
        .proposal_bytes_max = 64u << 20,
        .reads_max = 8192,
        .lists_max = 4,
        .apply_entries_max = 256,
        .append_entries_max = BATCH_ENTRIES_MAX,
        .log_bytes_keep = 16u << 20,
        .log_bytes_max = 128u << 20,
        .log_entries_max = 400000,
        .log_cache_bytes = 8u << 20,
        .snapshot_chunk_bytes = 256u << 10,
        .snapshot_bytes_per_s = 64u << 20,
        .pg_changes_max = 8,
    };
}

int meta_config_check(const struct meta_config *c, struct buf *ret_error)
{
    const struct meta_timeouts *t = &c->timeouts;
    const struct meta_limits *l = &c->limits;
    uint64_t million = 1000000;
    const char *what = NULL;
    if (t->heartbeat == 0 || t->heartbeat * 3u > t->election)
        what = "heartbeat_interval must be at most a third of election_timeout";
    else if (t->drift_ppm >= 100000)
        what = "clock_drift_ppm must be below 100000";
    else if (t->raft_lease == 0 ||
             t->raft_lease * (million + t->drift_ppm) >= t->election * (million - t->drift_ppm))
        what = "raft_lease must be shorter than election_timeout by more than the drift";
    else if (t->witness_lease < 4u * t->tick || t->witness_call == 0 || t->witness_report == 0)
        what = "witness_lease must be at least four ticks, witness_call and witness_report above 0";
    else if (t->tick == 0 || t->witness_poll == 0 || t->clock_ahead == 0)
        what = "tick, witness_poll and clock_ahead must be above 0";
    else if (t->placement == 0 || t->node_down < 2 * t->placement || t->node_lost <= t->node_down)
        what = "node_down_after must be at least two placement intervals, and node_lost_after longer";
    else if (l->proposals_max == 0 || l->reads_max == 0 || l->lists_max == 0 ||
             l->apply_entries_max == 0 || l->append_entries_max == 0 ||
             l->append_entries_max > BATCH_ENTRIES_MAX || l->log_entries_max == 0 ||
             l->log_bytes_max < l->log_bytes_keep || l->proposal_bytes_max == 0)
        what = "limits must be above 0, and log_bytes_max at least log_bytes_keep";
    else if (l->snapshot_chunk_bytes == 0 || l->snapshot_chunk_bytes > (8u << 20) ||
             l->snapshot_bytes_per_s < l->snapshot_chunk_bytes)
        what = "snapshot_chunk_bytes must be up to 8 MiB and at most snapshot_bytes_per_s";
    else if (!c->node_id || !c->cluster)
        what = "node_id and the cluster file are needed";
    if (!what)
        return OK;
    if (ret_error)
        buf_cstr(ret_error, what);
    return ERR_CONFIG;
}

uint64_t node_drift_ns(const struct meta_node *n, uint32_t ms)
{
    /* The other clock may be slow by the drift while ours is fast by it. */
    uint64_t million = 1000000, drift = n->config.timeouts.drift_ppm;
    return ms_to_ns(ms) * (million + drift) / (million - drift) + NS_PER_MS;
}

/* ---- small things ---- */

uint64_t node_random(struct meta_node *n)
{
    /* splitmix64: only the cores' timeouts hang on it. */
    uint64_t z = (n->random[0] += 0x9e3779b97f4a7c15u);
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
    return z ^ (z >> 31) ^ n->random[1];
}

struct replica *node_replica(struct meta_node *n, uint32_t partition)
{
    size_t lo = 0, hi = n->replica_count;
    while (lo < hi) {
        size_t mid = lo + (hi - lo) / 2;
        if (n->replicas[mid]->partition < partition)
            lo = mid + 1;
        else
            hi = mid;
    }
    return lo < n->replica_count && n->replicas[lo]->partition == partition ? n->replicas[lo] : NULL;
}

void node_fail(struct meta_node *n, int err, const char *what)
{
    if (n->failed || n->stopped)
        return;
    n->failed = true;
    n->fail_err = err;
    n->fail_what = what;
    env_timer_stop(&n->deadline_timer);
    env_timer_stop(&n->turn_timer);
    env_timer_stop(&n->tick_timer);
    sleep_stop(n);
    env_timer_start(&n->fail_timer, 0);
}

static void fail_fired(struct env_timer *timer)
{
    struct meta_node *n = container_of(timer, struct meta_node, fail_timer);
    log_error("metanode.failed", 0, L_STR("what", n->fail_what), L_ERR(n->fail_err));
    if (n->config.on_failed)
        n->config.on_failed(n->config.arg, n->fail_err, n->fail_what);
}

/* ---- timers ---- */

/* The timer never fires too late; too early does no harm: it is set anew then. */
static void deadline_set(struct meta_node *n, uint64_t due)
{
    uint64_t now = env_now_ns(n->env);
    if (n->stopped || n->failed || due == UINT64_MAX ||
        (n->deadline_timer.active && n->deadline_ns <= due))
        return;
    n->deadline_ns = due;
    env_timer_start(&n->deadline_timer, due > now ? due - now : 0);
}

void node_deadline_changed(struct meta_node *n, const struct replica *r)
{
    if (replica_runs(r))
        deadline_set(n, raft_next_deadline(r->raft));
}

static void deadline_find(struct meta_node *n)
{
    uint64_t due = UINT64_MAX;
    replica_set_for_each(i, &n->awake) due = MIN(due, raft_next_deadline(n->replicas[i]->raft));
    deadline_set(n, due);
}

static void deadline_fired(struct env_timer *timer)
{
    struct meta_node *n = container_of(timer, struct meta_node, deadline_timer);
    uint64_t now = env_now_ns(n->env);
    replica_set_for_each(i, &n->awake)
    {
        struct replica *r = n->replicas[i];
        struct raft_event ev = {.type = RAFT_EV_TICK};
        if (raft_next_deadline(r->raft) <= now && !n->failed)
            replica_step(r, &ev, NULL);
    }
    deadline_find(n);
}

static void turn_fired(struct env_timer *timer)
{
    struct meta_node *n = container_of(timer, struct meta_node, turn_timer);
    n->turn_armed = false;
    replica_set_for_each(i, &n->dirty)
    {
        if (n->failed || n->stopped)
            break;
        replica_set_put(&n->dirty, i, false);
        replica_turn(n->replicas[i]);
    }
    transport_flush(n);
}

static void drain_check(struct meta_node *n);

static void tick_fired(struct env_timer *timer)
{
    struct meta_node *n = container_of(timer, struct meta_node, tick_timer);
    uint64_t now = env_now_ns(n->env), tick = ms_to_ns(n->config.timeouts.tick);
    /* Later than twice the interval: this process stood still. */
    uint64_t gap = now - n->last_tick_ns, stalled = gap > 2 * tick ? gap - tick : 0;
    n->last_tick_ns = now;
    env_timer_start(&n->tick_timer, tick);
    transport_tick(n);
    witness_set_tick(n);
    status_map_tick(n);
    replica_set_for_each(i, &n->awake)
    {
        struct replica *r = n->replicas[i];
        if (n->failed)
            break;
        if (r->partition == ROOT_PARTITION)
            root_tick(r, stalled);
        stream_tick(r, stalled);
        balance_tick(r);
        deletion_tick(r);
        replica_wake(r);
    }
    sleep_tick(n);
    truncate_tick(n);
    drain_check(n);
}

/* ---- start ---- */

static int add_peers(struct meta_node *n)
{
    const struct cluster_config *c = n->config.cluster;
    for (size_t i = 0; i < c->node_count; i++) {
        const struct cluster_node *node = &c->nodes[i];
        if (node->role != NET_ROLE_METANODE || strcmp(node->id, n->config.node_id) == 0)
            continue;
        if (n->peer_count == META_PEERS_MAX)
            return ERR_CONFIG;
        struct meta_peer *p = &n->peers[n->peer_count++];
        p->node = n;
        p->raft_id = topology_raft_id(node->id);
        p->node_id = strdup(node->id);
        p->addr = strdup(node->addr);
        p->out = calloc(OUTBOX_MESSAGES_MAX, sizeof(*p->out));
        p->rpc = rpc_peer_get(n->rpc, node->addr, node->id);
        if (!p->node_id || !p->addr || !p->out || !p->rpc)
            return ERR_NOMEM;
        if (p->raft_id == n->raft_id)
            return ERR_CONFIG; /* two names with one hash: rename one */
    }
    return OK;
}

static bool is_member(const struct meta_node *n, const Cairn__PartitionDescriptor *d)
{
    for (size_t i = 0; i < d->n_replicas; i++)
        if (strcmp(d->replicas[i]->node_id, n->config.node_id) == 0)
            return true;
    return false;
}

static int add_replicas(struct meta_node *n)
{
    for (size_t i = 0; i < n->topology->n_partitions; i++) {
        const Cairn__PartitionDescriptor *d = n->topology->partitions[i];
        if (!is_member(n, d))
            continue;
        if (n->replica_count == META_PARTITIONS_MAX)
            return ERR_CONFIG;
        int err = replica_new(n, d, &n->replicas[n->replica_count]);
        if (err != OK)
            return err;
        sleep_noted(n->replicas[n->replica_count++]);
    }
    return OK;
}

static int serve(struct meta_node *n)
{
    static const struct {
        const struct rpc_method *method;
        rpc_handler handler;
    } table[] = {
        {&method_meta_propose, propose_serve},
        {&method_meta_read, read_serve},
        {&method_meta_list, read_serve},
        {&method_meta_list_uploads, read_serve},
        {&method_meta_list_parts, read_serve},
        {&method_meta_read_part_body, read_serve},
        {&method_meta_list_buckets, read_serve},
        {&method_meta_rows, read_serve},
        {&method_meta_blob_refs, read_serve},
        {&method_meta_list_segments, read_serve},
        {&method_meta_interim, interim_serve},
        {&method_meta_list_events, read_serve},
        {&method_meta_event_queues, event_queues_serve},
        {&method_meta_cluster_map, status_serve_map},
        {&method_meta_status, status_serve},
        {&method_raft_snapshot_chunk, snapshot_receive},
        {&method_raft_batch, transport_batch},
        {&method_root_lease, root_serve_lease},
        {&method_root_report_witness, root_serve_report},
        {&method_root_witness_set, root_serve_witness_set},
        {&method_root_node_report, placement_serve_report},
        {&method_root_cluster_status, read_serve},
        {&method_root_drain_node, placement_serve_drain},
    };
    for (size_t i = 0; i < ARRAY_COUNT(table); i++) {
        int err = rpc_serve(n->rpc, table[i].method, table[i].handler, n);
        if (err != OK)
            return err;
    }
    return OK;
}

static void log_failed(void *ctx, int err)
{
    node_fail(ctx, err, "log write");
}

static int start(struct meta_node *n)
{
    struct raft_logstore_options o = {
        .cache_bytes_max = n->config.limits.log_cache_bytes,
        .failed = log_failed,
        .ctx = n,
    };
    int err = raft_logstore_new(n->log_kv, n->env, &o, &n->logs);
    if (err == OK)
        err = witness_set_init(n);
    if (err == OK)
        err = add_peers(n);
    if (err == OK)
        err = topology_load(n);
    if (err == OK)
        err = add_replicas(n);
    if (err == OK)
        err = serve(n);
    return err;
}

int meta_node_new(struct rpc *rpc, struct kv *log_kv, struct kv *state_kv, struct meta_files *files,
                  const struct meta_config *config, struct meta_node **ret)
{
    int err = meta_config_check(config, NULL);
    if (err != OK)
        return err;
    struct meta_node *n = calloc(1, sizeof(*n));
    if (!n)
        return ERR_NOMEM;
    n->rpc = rpc;
    n->env = rpc_env(rpc);
    n->log_kv = log_kv;
    n->state_kv = state_kv;
    n->files = files;
    n->config = *config;
    n->raft_id = topology_raft_id(config->node_id);
    env_random(n->env, n->random, sizeof(n->random));
    env_timer_init(n->env, &n->deadline_timer, deadline_fired);
    env_timer_init(n->env, &n->turn_timer, turn_fired);
    env_timer_init(n->env, &n->tick_timer, tick_fired);
    env_timer_init(n->env, &n->fail_timer, fail_fired);
    sleep_init(n);
    n->started_ns = n->last_tick_ns = env_now_ns(n->env);
    n->flush_due_ns = n->started_ns + ms_to_ns(config->timeouts.flush);
    err = start(n);
    if (err != OK) {
        n->stopped = true;
        meta_node_free(n);
        return err;
    }
    env_timer_start(&n->tick_timer, ms_to_ns(config->timeouts.tick));
    sleep_start(n);
    deadline_find(n);
    *ret = n;
    return OK;
}

/* ---- end ---- */

static bool hand_over(struct replica *r)
{
    struct meta_node *n = r->node;
    const struct raft_config *c = raft_config(r->raft);
    uint64_t best = 0, best_match = 0;
    if (!replica_runs(r) || !r->leading)
        return true;
    if (raft_transferee(r->raft) != 0)
        return false;
    for (uint32_t i = 0; i < c->voter_count; i++) {
        struct raft_peer_status status;
        if (c->voters[i] != n->raft_id && raft_peer(r->raft, c->voters[i], &status) &&
            status.active && status.match >= best_match) {
            best = c->voters[i];
            best_match = status.match;
        }
    }
    if (best == 0)
        return true; /* nobody to hand it to */
    struct raft_event ev = {.type = RAFT_EV_TRANSFER, .peer = best};
    (void)replica_step(r, &ev, NULL);
    return false;
}

/* Draining: leadership first, then a flush, so that the next start replays little. */
static void drain_check(struct meta_node *n)
{
    bool handed = true;
    if (!n->draining || !n->drain_done)
        return;
    for (size_t i = 0; i < n->replica_count && !n->failed; i++)
        handed &= hand_over(n->replicas[i]);
    bool late = env_now_ns(n->env) >= n->drain_until_ns;
    bool flushed = true;
    for (size_t i = 0; i < n->replica_count; i++)
        flushed &= !replica_runs(n->replicas[i]) ||
                   index_applied(n->replicas[i]->index) <= n->replicas[i]->flushed;
    if (!n->failed && !late && (!handed || !flushed || n->flush_running))
        return;
    if (n->flush_running && !n->failed)
        return; /* the store must be quiet before it is closed */
    void (*done)(void *) = n->drain_done;
    n->drain_done = NULL;
    meta_node_stop(n);
    done(n->drain_arg);
}

void meta_node_drain(struct meta_node *n, void (*done)(void *arg), void *arg)
{
    CHECK(!n->draining);
    n->draining = true;
    n->drain_done = done;
    n->drain_arg = arg;
    n->drain_until_ns = env_now_ns(n->env) + ms_to_ns(n->config.timeouts.drain);
    env_timer_start(&n->tick_timer, 0);
}

void meta_node_stop(struct meta_node *n)
{
    if (n->stopped)
        return;
    n->stopped = true;
    env_timer_stop(&n->deadline_timer);
    env_timer_stop(&n->turn_timer);
    env_timer_stop(&n->tick_timer);
    env_timer_stop(&n->fail_timer);
    sleep_stop(n);
    transport_flush(n);
    for (size_t i = 0; i < n->replica_count; i++)
        replica_stop(n->replicas[i]);
    witness_set_stop(n);
    if (n->map_asking)
        rpc_call_cancel(&n->map_call);
}

bool meta_node_idle(const struct meta_node *n)
{
    bool idle = n->stopped && raft_logstore_idle(n->logs) && !n->flush_running &&
                !n->topology_writing && n->lists_under_way == 0;
    for (size_t i = 0; i < n->peer_count; i++)
        idle &= !n->peers[i].store_writing;
    for (size_t i = 0; i < n->replica_count; i++) {
        idle &= n->replicas[i]->receiver == NULL;
        for (unsigned k = 0; k < META_REPLICAS_MAX; k++)
            idle &= n->replicas[i]->senders[k] == NULL;
    }
    return idle;
}

void meta_node_free(struct meta_node *n)
{
    if (!n)
        return;
    CHECK(n->stopped);
    for (size_t i = 0; i < n->replica_count; i++)
        replica_free(n->replicas[i]);
    for (size_t i = 0; i < n->peer_count; i++) {
        struct meta_peer *p = &n->peers[i];
        for (unsigned k = 0; k < p->payload_count; k++)
            payload_unref(&p->payload[k]);
        free(p->node_id);
        free(p->addr);
        free(p->out);
    }
    if (n->logs)
        raft_logstore_free(n->logs);
    if (n->topology)
        cairn__cluster_map__free_unpacked(n->topology, NULL);
    if (n->map)
        cairn__cluster_map__free_unpacked(n->map, NULL);
    free(n->witnesses.dead);
    interim_free(n);
    event_claims_free(n);
    free(n);
}

/* ---- questions ---- */

bool meta_node_ready(struct meta_node *n, struct buf *ret_reason)
{
    struct buf ignored = {0};
    struct buf *why = ret_reason ? ret_reason : &ignored;
    size_t before = why->len;
    if (n->failed)
        buf_cstr(why, "failed");
    for (size_t i = 0; i < n->replica_count && why->len == before; i++) {
        struct replica *r = n->replicas[i];
        if (!replica_runs(r))
            buf_printf(why, "partition %u is quarantined: %s", r->partition, r->quarantine_reason);
        else if (raft_leader(r->raft) == 0)
            buf_printf(why, "partition %u has no leader", r->partition);
        else if (r->leading && visible_serving(&r->visible) == 0)
            buf_printf(why, "partition %u: leader waits for its witnesses", r->partition);
        else if (index_applied(r->index) == 0 ||
                 visible_apply_limit(&r->visible) > index_applied(r->index) + 10000)
            buf_printf(why, "partition %u has not caught up", r->partition);
    }
    if (why->len == before && !status_map(n))
        buf_cstr(why, "the cluster is not bootstrapped");
    bool ready = why->len == before;
    buf_fini(&ignored);
    return ready;
}

size_t meta_node_partition_count(const struct meta_node *n)
{
    return n->replica_count;
}

void meta_node_partition_info(struct meta_node *n, size_t i, struct meta_partition_info *ret)
{
    CHECK(i < n->replica_count);
    struct replica *r = n->replicas[i];
    *ret = (struct meta_partition_info){.partition = r->partition, .leader_id = ""};
    ret->quarantined = r->state == REPLICA_QUARANTINED;
    ret->running = !ret->quarantined;
    if (!ret->running)
        return;
    ret->leader = r->leading;
    ret->asleep = raft_is_asleep(r->raft);
    ret->lease_valid = raft_lease_valid(r->raft, env_now_ns(n->env));
    ret->leader_id = status_leader_id(r);
    ret->term = raft_term(r->raft);
    ret->noop = raft_term_start(r->raft);
    ret->first = raft_compact_index(r->raft);
    ret->last = raft_last_index(r->raft);
    ret->synced = raft_synced_index(r->raft);
    ret->commit = raft_commit(r->raft);
    ret->visible = raft_visible(r->raft);
    ret->applied = index_applied(r->index);
    ret->log_bytes = raft_log_bytes(r->raft);
    ret->proposals = r->propose.count;
    ret->reads = r->read.count;
    ret->deletions = index_deletion_count(r->index);
    ret->interim = index_interim_count(r->index);
    ret->outcomes = index_outcome_count(r->index);
    for (unsigned k = 0; k < r->visible.slot_count; k++)
        ret->witnesses_attached += r->visible.slots[k].detached_index == 0;
    ret->witnesses_needed = visible_needed_count(&r->visible);
}

const struct meta_stats *meta_node_stats(struct meta_node *n)
{
    struct raft_logstore_stats log;
    raft_logstore_stats(n->logs, &log);
    n->stats.log_batches = log.batches;
    n->stats.log_writes = log.writes;
    n->stats.log_bytes = log.bytes_written;
    return &n->stats;
}
