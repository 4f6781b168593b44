/* cairn-metanode: holds replicas of the index's partitions, each a Raft group; partition 0 is the root
 * (DESIGN sections 1, 3 and 4).  This file only wires: configuration, stores, RPC, admin pages. */
#include "common/base/check.h"
#include "common/env_uv/kv_rocksdb.h"
#include "common/obs/log.h"
#include "common/obs/metrics.h"
#include "common/proc/proc_rpc.h"
#include "metanode/io/files_posix.h"
#include "metanode/op/node.h"

#include <errno.h>
#include <fcntl.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#define CREDENTIALS_BYTES_MAX 4096
#define TIB (1ll << 40)
#define QUIET_WAIT_NS (2 * NS_PER_SEC) /* for the stores to end what is under way, at the end */

static const struct config_param params[] = {
    {"root_credentials_file", CONFIG_STRING, "", 0, 0, NULL,
     "access_key_id=... and secret_access_key=... of the root user, for a cluster's first start", 0},
    {"root_access_key", CONFIG_STRING, "", 0, 0, NULL, "instead of the file: the access key id", 0},
    {"root_secret_key", CONFIG_STRING, "", 0, 0, NULL, "instead of the file: the secret",
     CONFIG_SECRET},
    {"heartbeat_interval", CONFIG_DURATION, "100ms", 10, 10000, NULL, "of Raft leaders", 0},
    {"election_timeout", CONFIG_DURATION, "1200ms", 100, 60000, NULL,
     "a voter's promise; elections start after one to two of it", 0},
    {"raft_lease", CONFIG_DURATION, "900ms", 10, 60000, NULL,
     "a leader reads without a round for so long after its last one", 0},
    {"lease_reads", CONFIG_BOOL, "true", 0, 0, NULL, "false: every read makes a ReadIndex round", 0},
    {"witness_lease", CONFIG_DURATION, "2s", 400, 60000, NULL, "granted by the root", 0},
    {"witness_call_timeout", CONFIG_DURATION, "500ms", 10, 10000, NULL,
     "for one message of a stream to a witness", 0},
    {"witness_report_after", CONFIG_DURATION, "500ms", 10, 10000, NULL,
     "a witness that holds writes back so long is reported to the root", 0},
    {"clock_drift_ppm", CONFIG_INT, "10000", 0, 99999, "ppm", "how far the rate of any clock may be off",
     0},
    {"clock_ahead_max", CONFIG_DURATION, "30s", 100, 3600000, NULL,
     "entries whose time is further ahead of this node's clock are refused", 0},
    {"state_flush_interval", CONFIG_DURATION, "30s", 100, 3600000, NULL,
     "between flushes of the applied state; bounds what a restart replays", 0},
    {"leader_balance_interval", CONFIG_DURATION, "5m", 1000, 86400000, NULL,
     "leadership is moved back to its preferred node no more often than this", 0},
    {"sleep_after", CONFIG_DURATION, "5s", 0, 86400000, NULL,
     "a partition without reads and writes for so long needs no heartbeats until the next; 0: never",
     0},
    {"deletion_grace", CONFIG_DURATION, "60s", 0, 86400000, NULL,
     "blobs outlive their record by this, for reads in flight", 0},
    {"event_claim", CONFIG_DURATION, "15s", 500, 600000, NULL,
     "a bucket's queue of events that its gateway is silent about is given to another after this", 0},
    {"interim_claim", CONFIG_DURATION, "60s", 100, 3600000, NULL,
     "a segment that a gateway is to write again as shards is given to another after this", 0},
    {"node_down_after", CONFIG_DURATION, "10s", 4000, 3600000, NULL,
     "a storage node that has not reported for so long is down", 0},
    {"node_lost_after", CONFIG_DURATION, "15m", 5000, 604800000, NULL,
     "and after this its places are given to others", 0},
    {"placement_changes_max", CONFIG_INT, "8", 0, 1024, "groups",
     "whose members change at one time; 0: changes are planned and shown, not begun", 0},
    {"block_cache_bytes", CONFIG_BYTES, "32MiB", 1 << 20, 128 * TIB, NULL,
     "of the stores, in all", 0},
    {"log_buffer_bytes", CONFIG_BYTES, "16MiB", 1 << 20, 128 * TIB, NULL,
     "of the logs, before they go to tables", 0},
    {"state_buffer_bytes", CONFIG_BYTES, "48MiB", 1 << 20, 128 * TIB, NULL,
     "of the applied state; bodies fill it, and each time that it is full rows are merged", 0},
    {"log_cache_bytes", CONFIG_BYTES, "8MiB", 1 << 16, 128 * TIB, NULL,
     "recent log entries kept in memory", 0},
    {"log_bytes_keep", CONFIG_BYTES, "16MiB", 0, 128 * TIB, NULL,
     "a partition's log up to this size is not truncated", 0},
    {"log_bytes_max", CONFIG_BYTES, "128MiB", 1 << 16, 128 * TIB, NULL,
     "a larger one is, even if a replica that is away needs it", 0},
    {"proposal_bytes_max", CONFIG_BYTES, "64MiB", 1 << 20, 128 * TIB, NULL,
     "proposals under way, per partition", 0},
    {"snapshot_bytes_per_s", CONFIG_BYTES, "64MiB", 1 << 20, 128 * TIB, NULL,
     "sent to replicas that are far behind", 0},
};

struct service {
    struct proc proc;
    struct proc_rpc rpc;
    struct kv *log_kv, *state_kv;
    struct meta_node *node;
    struct meta_config config;
    char *access_key, *secret_key;
    char snapshot_dir[512];
    struct env_timer quiet_timer;
    uint64_t quiet_until_ns;
    bool rpc_open;
};

/* ---- the root user's credentials ---- */

static char *dup_slice(struct slice s)
{
    char *text = malloc(s.len + 1);
    if (text) {
        memcpy(text, s.ptr, s.len);
        text[s.len] = '\0';
    }
    return text;
}

static struct slice trim(struct slice s)
{
    while (s.len > 0 && (s.ptr[0] == ' ' || s.ptr[0] == '\t'))
        s = SLICE(s.ptr + 1, s.len - 1);
    while (s.len > 0 && (s.ptr[s.len - 1] == ' ' || s.ptr[s.len - 1] == '\t' ||
                         s.ptr[s.len - 1] == '\r'))
        s.len--;
    return s;
}

/* One line: "access_key_id = X" (or with an aws_ before it), or a bare value: the id, then the secret. */
static void take_line(struct service *s, struct slice line)
{
    const uint8_t *equals = memchr(line.ptr, '=', line.len);
    struct slice name = equals ? trim(SLICE(line.ptr, (size_t)(equals - line.ptr))) : SLICE_EMPTY;
    if (slice_has_prefix(name, SLICE_LIT("aws_")))
        name = SLICE(name.ptr + 4, name.len - 4);
    bool is_id = slice_eq(name, SLICE_LIT("access_key_id"));
    bool is_secret = slice_eq(name, SLICE_LIT("secret_access_key"));
    /* A bare secret may hold '='; a name that is neither makes the line a bare value. */
    struct slice value = is_id || is_secret
                             ? trim(SLICE(equals + 1, line.len - (size_t)(equals + 1 - line.ptr)))
                             : line;
    if (value.len == 0 || line.ptr[0] == '#' || line.ptr[0] == '[')
        return;
    char **to = is_id                           ? &s->access_key
                : is_secret || s->access_key    ? &s->secret_key
                                                : &s->access_key;
    if (!*to)
        *to = dup_slice(value);
}

static int read_credentials(struct service *s)
{
    struct config *c = s->proc.config;
    const char *path = config_string(c, "root_credentials_file");
    char bytes[CREDENTIALS_BYTES_MAX];
    if (config_string(c, "root_access_key")[0]) {
        s->access_key = strdup(config_string(c, "root_access_key"));
        s->secret_key = strdup(config_string(c, "root_secret_key"));
    }
    if (s->access_key || !path[0])
        return OK;
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    ssize_t n = fd >= 0 ? read(fd, bytes, sizeof(bytes)) : -1;
    if (fd >= 0)
        close(fd);
    if (n < 0) {
        log_error("config.root_credentials", 0, L_STR("file", path), L_STR("why", strerror(errno)));
        return ERR_CONFIG;
    }
    for (size_t at = 0, len = (size_t)n; at < len;) {
        const char *end = memchr(bytes + at, '\n', len - at);
        size_t line_len = end ? (size_t)(end - (bytes + at)) : len - at;
        take_line(s, trim(SLICE(bytes + at, line_len)));
        at += line_len + 1;
    }
    explicit_bzero(bytes, sizeof(bytes));
    if (!s->access_key || !s->secret_key) {
        log_error("config.root_credentials", 0, L_STR("file", path),
                  L_STR("why", "it must hold access_key_id=... and secret_access_key=..."));
        return ERR_CONFIG;
    }
    return OK;
}

/* ---- failures ---- */

static void store_failed(void *arg, int err, const char *text)
{
    struct service *s = arg;
    (void)err;
    proc_fail(&s->proc, 1, "store.failed", text);
}

static void node_failed(void *arg, int err, const char *what)
{
    struct service *s = arg;
    char text[160];
    snprintf(text, sizeof(text), "%s: %s", what, err_text(err));
    proc_fail(&s->proc, 1, "metanode.stopped", text);
}

/* ---- start ---- */

static int open_store(struct service *s, enum kv_mode mode, const char *name, struct kv **ret)
{
    struct config *c = s->proc.config;
    struct buf text = {0};
    char path[512];
    snprintf(path, sizeof(path), "%s/%s", s->proc.data_dir, name);
    struct kv_rocksdb_config config = {
        .mode = mode,
        .path = path,
        .cache_bytes = config_bytes(c, "block_cache_bytes"),
        .write_buffer_bytes =
            config_bytes(c, mode == KV_LOG ? "log_buffer_bytes" : "state_buffer_bytes"),
        .on_failed = store_failed,
        .arg = s,
    };
    int err = kv_rocksdb_open(s->proc.env, &config, ret, &text);
    if (err != OK)
        log_error("store.open", 0, L_STR("path", path), L_BYTES("text", buf_view(&text)), L_ERR(err));
    buf_fini(&text);
    return err;
}

static uint32_t duration(struct service *s, const char *name)
{
    return (uint32_t)config_duration_ms(s->proc.config, name);
}

static int configure(struct service *s)
{
    struct config *c = s->proc.config;
    struct meta_config *m = &s->config;
    struct buf why = {0};
    meta_config_defaults(m);
    m->node_id = s->proc.node_id;
    m->cluster = &s->proc.cluster;
    m->root_access_key = s->access_key ? s->access_key : "";
    m->root_secret_key = s->secret_key ? s->secret_key : "";
    snprintf(s->snapshot_dir, sizeof(s->snapshot_dir), "%s/snapshots", s->proc.data_dir);
    m->snapshot_dir = s->snapshot_dir;
    m->lease_reads = config_bool(c, "lease_reads");
    m->timeouts.heartbeat = duration(s, "heartbeat_interval");
    m->timeouts.election = duration(s, "election_timeout");
    m->timeouts.raft_lease = duration(s, "raft_lease");
    m->timeouts.witness_lease = duration(s, "witness_lease");
    m->timeouts.witness_call = duration(s, "witness_call_timeout");
    m->timeouts.witness_report = duration(s, "witness_report_after");
    m->timeouts.drift_ppm = (uint32_t)config_int(c, "clock_drift_ppm");
    m->timeouts.clock_ahead = duration(s, "clock_ahead_max");
    m->timeouts.flush = duration(s, "state_flush_interval");
    m->timeouts.balance = duration(s, "leader_balance_interval");
    m->timeouts.sleep_after = duration(s, "sleep_after");
    m->timeouts.deletion_grace = duration(s, "deletion_grace");
    m->timeouts.event_claim = duration(s, "event_claim");
    m->timeouts.interim_claim = duration(s, "interim_claim");
    m->timeouts.node_down = duration(s, "node_down_after");
    m->timeouts.node_lost = duration(s, "node_lost_after");
    m->limits.pg_changes_max = (uint32_t)config_int(c, "placement_changes_max");
    m->limits.log_cache_bytes = config_bytes(c, "log_cache_bytes");
    m->limits.log_bytes_keep = config_bytes(c, "log_bytes_keep");
    m->limits.log_bytes_max = config_bytes(c, "log_bytes_max");
    m->limits.proposal_bytes_max = config_bytes(c, "proposal_bytes_max");
    m->limits.snapshot_bytes_per_s = config_bytes(c, "snapshot_bytes_per_s");
    m->on_failed = node_failed;
    m->arg = s;
    int err = meta_config_check(m, &why);
    if (err != OK)
        log_error("config.metanode", 0, L_BYTES("why", buf_view(&why)));
    buf_fini(&why);
    return err;
}

static int check_node(struct service *s)
{
    const struct cluster_node *node = cluster_node_by_id(&s->proc.cluster, s->proc.node_id);
    if (node && node->role == NET_ROLE_METANODE)
        return OK;
    log_error("config.cluster", 0, L_STR("node_id", s->proc.node_id),
              L_STR("why", "cluster_file is not set, or names no metanode of this id"));
    return ERR_CONFIG;
}

static int start(struct service *s)
{
    int err = check_node(s);
    if (err == OK)
        err = read_credentials(s);
    if (err == OK)
        err = configure(s);
    if (err == OK && (err = files_posix_prepare(s->snapshot_dir)) != OK)
        log_error("store.open", 0, L_STR("path", s->snapshot_dir), L_STR("why", strerror(errno)));
    if (err == OK)
        err = open_store(s, KV_LOG, "log", &s->log_kv);
    if (err == OK)
        err = open_store(s, KV_STATE, "state", &s->state_kv);
    if (err == OK)
        err = proc_rpc_open(&s->proc, NET_ROLE_METANODE, &s->rpc);
    s->rpc_open = err == OK;
    if (err == OK) {
        err = meta_node_new(s->rpc.rpc, s->log_kv, s->state_kv, files_posix(), &s->config, &s->node);
        if (err != OK)
            log_error("metanode.start", 0, L_ERR(err));
    }
    if (err == OK)
        err = proc_rpc_listen(&s->proc, &s->rpc);
    return err;
}

/* ---- readiness, end ---- */

static bool ready(void *arg, struct buf *ret_reason)
{
    struct service *s = arg;
    return meta_node_ready(s->node, ret_reason);
}

static void quiet_check(struct env_timer *timer)
{
    struct service *s = container_of(timer, struct service, quiet_timer);
    if (meta_node_idle(s->node) || env_now_ns(s->proc.env) >= s->quiet_until_ns)
        proc_drained(&s->proc);
    else
        env_timer_start(timer, 5 * NS_PER_MS);
}

static void closed(void *arg)
{
    struct service *s = arg;
    s->rpc_open = false;
    s->quiet_until_ns = env_now_ns(s->proc.env) + QUIET_WAIT_NS;
    env_timer_init(s->proc.env, &s->quiet_timer, quiet_check);
    env_timer_start(&s->quiet_timer, 0);
}

static void drained(void *arg)
{
    struct service *s = arg;
    proc_rpc_close(&s->rpc, closed, s);
}

static void drain(void *arg)
{
    struct service *s = arg;
    log_info("metanode.drain", 0);
    meta_node_drain(s->node, drained, s);
}

/* The loop has ended.  After a failure, or when the stores did not become quiet in time, what is under
 * way still points into the node: the process ends as it is. */
static void stopped(void *arg)
{
    struct service *s = arg;
    if (s->rpc_open || !meta_node_idle(s->node))
        return;
    meta_node_free(s->node);
    s->node = NULL;
    s->state_kv->ops->close(s->state_kv);
    s->log_kv->ops->close(s->log_kv);
    explicit_bzero(s->secret_key ? s->secret_key : s->snapshot_dir,
                   s->secret_key ? strlen(s->secret_key) : 0);
    free(s->access_key);
    free(s->secret_key);
}

/* ---- metrics ---- */

static double stat_value(void *field)
{
    return (double)*(const uint64_t *)field;
}

static void register_stats(struct meta_node *n)
{
    uint64_t *stats = (uint64_t *)(uintptr_t)meta_node_stats(n);
#define STAT(field, name, help) {offsetof(struct meta_stats, field), name, help}
    static const struct {
        size_t offset;
        const char *name, *help;
    } table[] = {
        STAT(proposals, "cairn_meta_proposals_total", "Commands taken for a log."),
        STAT(proposals_refused, "cairn_meta_proposals_refused_total", "Commands refused at once."),
        STAT(proposals_dropped, "cairn_meta_proposals_dropped_total",
             "Commands whose outcome is unknown: leadership was lost."),
        STAT(entries_applied, "cairn_meta_entries_applied_total", "Log entries applied."),
        STAT(bytes_applied, "cairn_meta_bytes_applied_total", "Bytes of log entries applied."),
        STAT(reads_lease, "cairn_meta_reads_lease_total", "Reads under the Raft lease."),
        STAT(reads_round, "cairn_meta_reads_round_total", "Reads after a ReadIndex round."),
        STAT(reads_retried, "cairn_meta_reads_retried_total", "Reads whose lease ended meanwhile."),
        STAT(lists, "cairn_meta_lists_total", "List pages read."),
        STAT(elections_won, "cairn_meta_elections_won_total", "Elections won by this node."),
        STAT(leaderships_lost, "cairn_meta_leaderships_lost_total", "Leaderships lost."),
        STAT(transfers, "cairn_meta_leader_transfers_total", "Leaderships handed on."),
        STAT(fell_asleep, "cairn_meta_fell_asleep_total", "Replicas that fell asleep, idle."),
        STAT(woken, "cairn_meta_woken_total", "Replicas that woke."),
        STAT(peers_lost, "cairn_meta_peers_lost_total",
             "Times another metanode fell silent, or came back as another process."),
        STAT(stream_opens, "cairn_meta_stream_opens_total", "Streams opened to witnesses."),
        STAT(stream_appends, "cairn_meta_stream_appends_total", "Stream messages sent."),
        STAT(stream_failures, "cairn_meta_stream_failures_total", "Stream messages that failed."),
        STAT(stream_acks, "cairn_meta_stream_acks_total", "Stream messages acknowledged."),
        STAT(witness_reports, "cairn_meta_witness_reports_total", "Witnesses reported to the root."),
        STAT(leases_granted, "cairn_meta_witness_leases_granted_total", "Witness leases granted."),
        STAT(leases_refused, "cairn_meta_witness_leases_refused_total", "Witness leases refused."),
        STAT(witness_deaths, "cairn_meta_witness_deaths_total", "Witnesses declared dead."),
        STAT(registrations, "cairn_meta_witness_registrations_total", "Witnesses registered."),
        STAT(snapshots_sent, "cairn_meta_snapshots_sent_total", "Snapshots sent."),
        STAT(snapshots_installed, "cairn_meta_snapshots_installed_total", "Snapshots installed."),
        STAT(snapshot_bytes_sent, "cairn_meta_snapshot_bytes_total", "Bytes of snapshots sent."),
        STAT(batches_sent, "cairn_meta_raft_batches_sent_total", "Raft frames sent."),
        STAT(messages_sent, "cairn_meta_raft_messages_sent_total", "Raft messages sent."),
        STAT(messages_refused, "cairn_meta_raft_messages_refused_total", "Raft messages refused."),
        STAT(compactions, "cairn_meta_log_truncations_total", "Truncations of a log."),
        STAT(state_flushes, "cairn_meta_state_flushes_total", "Flushes of the applied state."),
        STAT(interim_claims, "cairn_meta_interim_claims_total",
             "Segments handed out to be written again as shards."),
        STAT(blobs_deleted, "cairn_meta_blobs_deleted_total", "Blobs deleted at all members."),
    };
#undef STAT
    for (size_t i = 0; i < ARRAY_COUNT(table); i++)
        metric_function_new(table[i].name, NULL, table[i].help, true, stat_value,
                            stats + table[i].offset / sizeof(uint64_t));
}

/* One gauge of one partition. */
struct partition_metric {
    struct meta_node *node;
    size_t partition;
    double (*value)(const struct meta_partition_info *);
};

static double partition_value(void *arg)
{
    const struct partition_metric *m = arg;
    struct meta_partition_info info;
    meta_node_partition_info(m->node, m->partition, &info);
    return m->value(&info);
}

static double value_leader(const struct meta_partition_info *i) { return i->leader; }
static double value_running(const struct meta_partition_info *i) { return i->running; }
static double value_asleep(const struct meta_partition_info *i) { return i->asleep; }
static double value_term(const struct meta_partition_info *i) { return (double)i->term; }
static double value_commit(const struct meta_partition_info *i) { return (double)i->commit; }
static double value_visible(const struct meta_partition_info *i) { return (double)i->visible; }
static double value_applied(const struct meta_partition_info *i) { return (double)i->applied; }
static double value_lag(const struct meta_partition_info *i)
{
    return (double)(i->commit - MIN(i->applied, i->commit));
}
static double value_log_bytes(const struct meta_partition_info *i) { return (double)i->log_bytes; }
static double value_proposals(const struct meta_partition_info *i) { return (double)i->proposals; }
static double value_deletions(const struct meta_partition_info *i) { return (double)i->deletions; }
static double value_interim(const struct meta_partition_info *i) { return (double)i->interim; }
static double value_witnesses(const struct meta_partition_info *i) { return i->witnesses_needed; }

static void register_partitions(struct meta_node *n)
{
    static const struct {
        const char *name, *help;
        double (*value)(const struct meta_partition_info *);
    } table[] = {
        {"cairn_meta_partition_leader", "1 where this node leads.", value_leader},
        {"cairn_meta_partition_running", "0 when the replica is quarantined.", value_running},
        {"cairn_meta_partition_asleep", "1 while it is idle and sleeps.", value_asleep},
        {"cairn_meta_partition_term", "Raft term.", value_term},
        {"cairn_meta_partition_commit", "Commit index.", value_commit},
        {"cairn_meta_partition_visible", "Visible index.", value_visible},
        {"cairn_meta_partition_applied", "Applied index.", value_applied},
        {"cairn_meta_partition_apply_lag", "Committed entries not applied.", value_lag},
        {"cairn_meta_partition_log_bytes", "Bytes in the log.", value_log_bytes},
        {"cairn_meta_partition_proposals", "Proposals under way.", value_proposals},
        {"cairn_meta_partition_deletions", "Items in the deletion queue.", value_deletions},
        {"cairn_meta_partition_interim", "Segments to be written again as shards of a code.",
         value_interim},
        {"cairn_meta_partition_witnesses", "Witnesses that writes wait for.", value_witnesses},
    };
    size_t count = meta_node_partition_count(n);
    struct partition_metric *all = calloc(count * ARRAY_COUNT(table) + 1, sizeof(*all));
    for (size_t i = 0; all && i < count; i++) {
        struct meta_partition_info info;
        char labels[48];
        meta_node_partition_info(n, i, &info);
        snprintf(labels, sizeof(labels), "partition=\"%u\"", info.partition);
        for (size_t k = 0; k < ARRAY_COUNT(table); k++) {
            struct partition_metric *m = &all[i * ARRAY_COUNT(table) + k];
            *m = (struct partition_metric){n, i, table[k].value};
            metric_function_new(table[k].name, labels, table[k].help, false, partition_value, m);
        }
    }
    /* They live as long as the process: a scrape may come at any time. */
}

static double value_up(const struct meta_placement_info *i) { return i->nodes_up; }
static double value_down(const struct meta_placement_info *i) { return i->nodes_down; }
static double value_lost(const struct meta_placement_info *i) { return i->nodes_lost; }
static double value_changing(const struct meta_placement_info *i) { return i->changing; }
static double value_planned(const struct meta_placement_info *i) { return i->planned; }
static double value_stuck(const struct meta_placement_info *i) { return i->stuck; }

struct placement_metric {
    struct meta_node *node;
    double (*value)(const struct meta_placement_info *);
};

static double placement_value(void *arg)
{
    const struct placement_metric *m = arg;
    struct meta_placement_info info;
    meta_node_placement_info(m->node, &info);
    return m->value(&info);
}

static void register_placement(struct meta_node *n)
{
    static const struct {
        const char *name, *labels, *help;
        double (*value)(const struct meta_placement_info *);
    } table[] = {
        {"cairn_placement_nodes", "state=\"up\"", "Storage nodes, where the root's leader runs.",
         value_up},
        {"cairn_placement_nodes", "state=\"down\"", "Storage nodes, where the root's leader runs.",
         value_down},
        {"cairn_placement_nodes", "state=\"lost\"", "Storage nodes, where the root's leader runs.",
         value_lost},
        {"cairn_placement_groups_changing", NULL, "Groups whose members are being changed.",
         value_changing},
        {"cairn_placement_groups_planned", NULL, "Groups whose members are to change next.",
         value_planned},
        {"cairn_placement_groups_stuck", NULL,
         "Groups with a lost or draining member for whom there is no place.", value_stuck},
    };
    static struct placement_metric metrics[ARRAY_COUNT(table)];
    for (size_t i = 0; i < ARRAY_COUNT(table); i++) {
        metrics[i] = (struct placement_metric){n, table[i].value};
        metric_function_new(table[i].name, table[i].labels, table[i].help, false, placement_value,
                            &metrics[i]);
    }
}

static double store_value(struct kv *kv, size_t offset)
{
    struct kv_rocksdb_stats stats;
    kv_rocksdb_stats(kv, &stats);
    return (double)*(const uint64_t *)((const char *)&stats + offset);
}

static double store_fsyncs(void *kv)
{
    return store_value(kv, offsetof(struct kv_rocksdb_stats, group_commits));
}

static double store_sync_seconds(void *kv)
{
    return store_value(kv, offsetof(struct kv_rocksdb_stats, sync_ns)) * 1e-9;
}

static double store_synced_writes(void *kv)
{
    return store_value(kv, offsetof(struct kv_rocksdb_stats, synced_writes));
}

static double store_synced_bytes(void *kv)
{
    return store_value(kv, offsetof(struct kv_rocksdb_stats, synced_bytes));
}

static void register_metrics(struct service *s)
{
    register_stats(s->node);
    register_partitions(s->node);
    register_placement(s->node);
    metric_function_new("cairn_meta_log_fsyncs_total", NULL, "Synced group commits of the Raft logs.",
                        true, store_fsyncs, s->log_kv);
    metric_function_new("cairn_meta_log_sync_seconds_total", NULL, "Time spent in them.", true,
                        store_sync_seconds, s->log_kv);
    metric_function_new("cairn_meta_log_writes_total", NULL, "Log writes that they carried.", true,
                        store_synced_writes, s->log_kv);
    metric_function_new("cairn_meta_log_bytes_total", NULL, "Bytes that they carried.", true,
                        store_synced_bytes, s->log_kv);
}

int main(int argc, char **argv)
{
    static struct service s;
    int status;
    if (!proc_init(&s.proc, "cairn-metanode", argc, argv, params, ARRAY_COUNT(params), &status))
        return status;
    if (start(&s) != OK)
        return 1;
    register_metrics(&s);
    s.proc.on_drain = drain;
    s.proc.ready = ready;
    s.proc.on_stop = stopped;
    s.proc.arg = &s;
    return proc_run(&s.proc);
}
