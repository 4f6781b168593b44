/* cairn-gateway: S3 over HTTP in front of the index and the storage nodes.  Keeps nothing but caches.
 *
 * Several event loops, one a thread, share the S3 port (SO_REUSEPORT).  Each has its own connections to
 * the other nodes, cache and requests, and never looks at another's.  The process's main loop has the
 * signals and the admin server; what loops count reaches it through atomic metrics.
 *
 * SIGTERM: no new connections, requests under way end (cut off after drain_grace), then each loop
 * closes its own and its thread ends. */
#include "common/base/check.h"
#include "common/env_uv/env_uv.h"
#include "common/env_uv/net_tls.h"
#include "common/obs/log.h"
#include "common/proc/proc.h"
#include "common/proc/proc_crash.h"
#include "gateway/op/access_log.h"
#include "gateway/work/deliver.h"
#include "gateway/op/gateway.h"
#include "gateway/work/inventory.h"
#include "gateway/op/master_check.h"
#include "gateway/work/jobs.h"
#include "gateway/work/lifecycle.h"
#include "gateway/work/params.h"
#include "gateway/op/quota.h"
#include "gateway/work/quota_measure.h"
#include "gateway/work/reencode.h"
#include "gateway/out/http_curl.h"
#include "gateway/out/targets.h"

#include <curl/curl.h>
#include <errno.h>
#include <malloc.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define SEEDS_MAX 64
#define DOMAINS_MAX 16
#define NODES_SHOWN_MAX 256
#define PUBLISH_NS (500 * NS_PER_MS)
#define PROBE_NS (50 * NS_PER_MS)

/* Counted by the clients of a loop, published as differences. */
#define COUNTERS(X)                                                                                \
    X(meta, reads, "meta_reads", "Reads of the records that a request needs.")                     \
    X(meta, read_fresh, "meta_reads_fresh", "Of these, served from the cache.")                    \
    X(meta, read_stale, "meta_reads_stale", "Of these, cached but not fresh.")                     \
    X(meta, read_miss, "meta_reads_missed", "Of these, not cached.")                               \
    X(meta, checks, "witness_checks", "Frames of questions to witnesses.")                         \
    X(meta, check_questions, "witness_questions", "Records asked about in them.")                  \
    X(meta, check_hedges, "witness_hedges", "Second witnesses asked.")                             \
    X(meta, check_failures, "witness_failures", "Frames that no witness answered.")                \
    X(meta, leader_reads, "leader_reads", "Reads at partition leaders.")                           \
    X(meta, route_retries, "route_retries", "Calls to leaders sent again.")                        \
    X(meta, proposals, "proposals", "Proposals.")                                                  \
    X(meta, propose_retries, "proposals_retried", "Proposals sent more than once.")                \
    X(meta, unknown_outcomes, "unknown_outcomes", "Proposals that may have happened.")             \
    X(meta, map_loads, "map_loads", "New cluster maps.")                                           \
    X(blob, writes, "blob_writes", "Blobs written.")                                               \
    X(blob, coded_writes, "blob_coded_writes", "Of these, as the shards of a code.")               \
    X(blob, write_retries, "blob_write_retries", "Writes that went to another group.")             \
    X(blob, write_failures, "blob_write_failures", "Writes that failed.")                          \
    X(blob, proofs_failed, "blob_proofs_failed",                                                   \
      "Shards that did not decode to what came in.")                                               \
    X(blob, stragglers_dropped, "blob_stragglers", "Last copies given up as too slow.")            \
    X(blob, hints, "blob_hints", "Blobs written without a shard, told to a member to be mended.")  \
    X(blob, hints_dropped, "blob_hints_dropped",                                                   \
      "Such blobs that nobody was told of: passes over their groups find them.")                   \
    X(blob, reads, "blob_reads", "Reads of blobs.")                                                \
    X(blob, read_failovers, "blob_read_failovers", "Tries that failed.")                           \
    X(blob, read_hedges, "blob_read_hedges", "Second members asked because the first was slow.")   \
    X(blob, read_corrupt, "blob_read_corrupt", "Damaged data found in answers.")                   \
    X(blob, read_decodes, "blob_read_decodes", "Ranges rebuilt from other shards.")                \
    X(blob, read_failures, "blob_read_failures", "Reads that failed.")                             \
    X(blob, bytes_written, "blob_bytes_written", "User bytes written to blobs.")                   \
    X(blob, bytes_read, "blob_bytes_read", "User bytes read from blobs.")                          \
    X(cache, fills, "cache_fills", "Records put into the cache.")                                  \
    X(cache, late_fills, "cache_late_fills", "Fills that came after a later one.")                 \
    X(cache, evictions, "cache_evictions", "Records that left for lack of space.")                 \
    X(http, accepted, "http_connections", "Connections accepted.")                                 \
    X(http, requests, "http_requests", "HTTP requests.")                                           \
    X(http, rejected, "http_rejected", "Malformed HTTP requests.")                                 \
    X(http, timeouts, "http_timeouts", "Connections closed as too slow.")                          \
    X(http, evicted, "http_evicted",                                                               \
      "Connections without a request closed to make room for others.")                             \
    X(http, bytes_in, "http_bytes_in", "Bytes from clients.")                                      \
    X(http, bytes_out, "http_bytes_out", "Bytes to clients.")

enum {
#define X(source, field, name, help) COUNTER_##source##_##field,
    COUNTERS(X)
#undef X
    COUNTER_COUNT
};

struct service;

struct loop {
    struct service *service;
    unsigned number;
    uv_loop_t uv;
    struct env_uv env;
    bool env_open;
    uv_thread_t thread;
    bool running;
    struct net *net;
    struct rpc *rpc;
    struct cache *cache;
    struct meta_client *mc;
    struct blob_client *bc;
    struct gateway gateway;
    bool gateway_open;
    struct reencode *reencode; /* of the first loop only */
    struct jobs *jobs;         /* likewise */
    struct deliver *deliver;   /* likewise, if there are destinations */
    struct http_client *out;   /* NULL: there are none */
    uint64_t settle_until_ns, logs_until_ns;
    struct http_server *http;
    struct meta_read probe;
    bool probing, probed;
    struct master_check masters; /* of the first loop only */
    struct env_timer timer;             /* publishing, and the probe before */
    uint64_t published[COUNTER_COUNT];
    struct {
        struct metric_gauge *read_us, *write_us; /* NULL: not shown */
        bool slow;
    } nodes[NODES_SHOWN_MAX];
    struct metric_gauge *cache_bytes;
    int64_t cache_bytes_shown;
    struct env_uv_post drain_post, ended_post;
    atomic_bool ready;
};

struct service {
    struct proc proc;
    struct net_tls_ctx *tls;
    struct ssl_ctx_st *http_tls;
    struct gateway_config config;
    struct gateway_class classes[CLUSTER_CLASSES_MAX];
    struct master_keys masters;
    struct blob_config blob;
    struct gateway_metrics metrics;
    struct reencode_metrics reencode_metrics;
    struct jobs_metrics jobs_metrics;
    struct lifecycle_metrics lifecycle_metrics;
    struct lifecycle lifecycle;
    struct inventory_metrics inventory_metrics;
    struct inventory inventory;
    struct quotas_metrics quotas_metrics;
    struct quotas *quotas;
    struct quota_measure_metrics quota_measure_metrics;
    struct quota_measure quota_measure;
    const struct job_kind *job_kinds[JOB_KINDS_MAX];
    struct targets webhooks, remotes;
    struct deliver_metrics deliver_metrics;
    struct access_log_metrics access_log_metrics;
    struct metric_counter *counters[COUNTER_COUNT];
    struct slice domains[DOMAINS_MAX], website_domains[DOMAINS_MAX];
    struct meta_seed seeds[SEEDS_MAX];
    struct meta_config meta;
    unsigned loop_count, loops_left;
    struct loop loops[GATEWAY_LOOPS_MAX];
};

/* ---- what a loop shows of itself ---- */

/* A name that needs no escaping, as those of all nodes whose certificates we made. */
static bool is_plain(const char *id)
{
    for (const char *p = id; *p; p++)
        if (!strchr("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-", *p))
            return false;
    return true;
}

/* Storage nodes as this loop finds them; of the loops, whoever published last is shown. */
static void publish_nodes(struct loop *l)
{
    struct blob_node_view view;
    char labels[32 + NET_NODE_ID_MAX];
    for (size_t i = 0; i < NODES_SHOWN_MAX && blob_client_node(l->bc, i, &view); i++) {
        if (!l->nodes[i].read_us && is_plain(view.id)) {
            snprintf(labels, sizeof(labels), "node=\"%s\"", view.id);
            l->nodes[i].read_us =
                metric_gauge_new("cairn_gateway_node_read_us", labels,
                                 "Moving average of reads at a storage node, microseconds.");
            l->nodes[i].write_us =
                metric_gauge_new("cairn_gateway_node_write_us", labels,
                                 "Moving average of writes at a storage node, microseconds.");
        }
        if (l->nodes[i].read_us) {
            metric_set(l->nodes[i].read_us, (int64_t)(view.read_ns / 1000));
            metric_set(l->nodes[i].write_us, (int64_t)(view.write_ns / 1000));
        }
        if (view.slow && !l->nodes[i].slow)
            log_warn("gateway.node_slow", 0, L_STR("node", view.id), L_UINT("loop", l->number),
                     L_UINT("took_us", view.slow_ns / 1000), L_UINT("usual_us", view.usual_ns / 1000));
        l->nodes[i].slow = view.slow;
    }
}

static void publish(struct loop *l)
{
    const struct meta_stats *meta = meta_client_stats(l->mc);
    const struct blob_stats *blob = blob_client_stats(l->bc);
    const struct cache_stats *cache = cache_stats(l->cache);
    const struct http_stats none = {0}, *http = l->http ? http_server_stats(l->http) : &none;
    struct metric_counter **counters = l->service->counters;
#define X(source, field, name, help)                                                               \
    if (source->field > l->published[COUNTER_##source##_##field]) {                                \
        metric_add(counters[COUNTER_##source##_##field],                                           \
                   source->field - l->published[COUNTER_##source##_##field]);                      \
        l->published[COUNTER_##source##_##field] = source->field;                                  \
    }
    COUNTERS(X)
#undef X
    publish_nodes(l);
    metric_gauge_add(l->cache_bytes, (int64_t)cache->bytes - l->cache_bytes_shown);
    l->cache_bytes_shown = (int64_t)cache->bytes;
}

/* Encrypted data are no use to a gateway without the keys that they need, and keys that it made under
 * another master key would be none to the others: it does not run. */
static void masters_cb(struct master_check *m)
{
    struct loop *l = container_of(m, struct loop, masters);
    l->probing = false;
    if (m->refused) {
        log_error("gateway.master_key", 0, L_STR("master_key", m->id), L_STR("what", m->why));
        fprintf(stderr, "cairn-gateway: master key '%s': %s\n", m->id, m->why);
        _exit(1);
    }
    l->probed = m->err == OK;
    if (l->probed)
        atomic_store(&l->ready, true);
}

static void probe_cb(struct meta_read *read)
{
    struct loop *l = container_of(read, struct loop, probe);
    l->probing = false;
    bool answered = read->err == OK;
    meta_read_fini(read);
    if (answered && l->number == 0) {
        l->probing = true;
        master_check_start(&l->masters, &l->env.env, l->mc, &l->service->masters, masters_cb);
        return;
    }
    l->probed = answered;
    if (l->probed)
        atomic_store(&l->ready, true);
}

/* A gateway is ready once each of its loops has had an answer from the root's leader. */
static void timer_cb(struct env_timer *timer)
{
    struct loop *l = container_of(timer, struct loop, timer);
    publish(l);
    budget_trim(l->gateway.budget);
    if (!l->probed && !l->probing) {
        l->probing = true;
        l->probe = (struct meta_read){
            .principal = SLICE_LIT("-"),
            .deadline_ns = env_now_ns(&l->env.env) + NS_PER_SEC,
            .cb = probe_cb,
        };
        meta_read_start(l->mc, &l->probe);
    }
    env_timer_start(timer, l->probed ? PUBLISH_NS : PROBE_NS);
}

/* ---- the end of a loop ---- */

static void loop_ended(struct env_uv_post *post)
{
    struct loop *l = container_of(post, struct loop, ended_post);
    struct service *s = l->service;
    uv_thread_join(&l->thread);
    if (--s->loops_left == 0)
        proc_drained(&s->proc);
}

static void net_closed(void *arg)
{
    struct loop *l = arg;
    l->net = NULL;
    uv_stop(&l->uv);
}

static void rpc_closed(void *arg)
{
    struct loop *l = arg;
    l->rpc = NULL;
    publish(l);
    env_timer_stop(&l->timer);
    reencode_free(l->reencode);
    jobs_free(l->jobs);
    deliver_free(l->deliver);
    access_log_free(l->gateway.access_log);
    l->gateway.access_log = NULL;
    http_curl_free(l->out);
    gateway_fini(&l->gateway);
    l->gateway_open = false;
    blob_client_free(l->bc);
    meta_client_free(l->mc);
    cache_free(l->cache);
    net_tls_close(l->net, net_closed, l);
}

/* What runs on behalf of no connection (a bucket deletion taken over) ends by its own deadlines. */
static void quiet_cb(struct env_timer *timer)
{
    struct loop *l = container_of(timer, struct loop, timer);
    meta_client_stop(l->mc);
    blob_client_stop(l->bc);
    if (l->out)
        http_curl_stop(l->out);
    if (l->gateway.under_way || !meta_client_idle(l->mc) || !blob_client_idle(l->bc) ||
        (l->reencode && !reencode_idle(l->reencode)) || (l->jobs && !jobs_idle(l->jobs)) ||
        (l->deliver && !deliver_idle(l->deliver)) || !access_log_idle(l->gateway.access_log) ||
        (l->out && !http_curl_idle(l->out))) {
        env_timer_start(timer, 10 * NS_PER_MS);
        return;
    }
    rpc_close(l->rpc, rpc_closed, l);
}

/* Segments that are being written again may come to their end: what was written is then moved, not
 * left behind; and jobs are given back.  Not beyond the grace. */
static void settle_cb(struct env_timer *timer)
{
    struct loop *l = container_of(timer, struct loop, timer);
    bool idle = (!l->reencode || reencode_idle(l->reencode)) && (!l->jobs || jobs_idle(l->jobs)) &&
                (!l->deliver || deliver_idle(l->deliver));
    uint64_t now = env_now_ns(&l->env.env);
    bool logged = access_log_idle(l->gateway.access_log) || now >= l->logs_until_ns;
    bool settled = (idle || now >= l->settle_until_ns) && logged;
    if (settled)
        env_timer_init(&l->env.env, &l->timer, quiet_cb);
    env_timer_start(&l->timer, settled ? 0 : 10 * NS_PER_MS);
}

static void http_closed(void *arg)
{
    struct loop *l = arg;
    l->http = NULL; /* what it counted last is gone with it */
    publish(l);
    l->logs_until_ns = MAX(l->settle_until_ns, env_now_ns(&l->env.env) + NS_PER_SEC);
    access_log_stop(l->gateway.access_log);
    env_timer_stop(&l->timer);
    env_timer_init(&l->env.env, &l->timer, settle_cb);
    env_timer_start(&l->timer, 0);
}

static void loop_drain(struct env_uv_post *post)
{
    struct loop *l = container_of(post, struct loop, drain_post);
    unsigned grace = (unsigned)config_duration_ms(l->service->proc.config, "drain_grace");
    l->settle_until_ns = env_now_ns(&l->env.env) + grace * NS_PER_MS;
    if (l->reencode)
        reencode_stop(l->reencode);
    if (l->jobs)
        jobs_stop(l->jobs);
    if (l->deliver)
        deliver_stop(l->deliver);
    http_server_close(l->http, grace, http_closed, l);
}

static void drain(void *arg)
{
    struct service *s = arg;
    log_info("gateway.drain", 0);
    for (unsigned i = 0; i < s->loop_count; i++) {
        s->loops[i].drain_post.fn = loop_drain;
        env_uv_post(&s->loops[i].env.env, &s->loops[i].drain_post);
    }
}

static void loop_thread(void *arg)
{
    struct loop *l = arg;
    (void)proc_crash_stack(); /* without it, only an overflow of this stack goes unreported */
    uv_run(&l->uv, UV_RUN_DEFAULT);
    env_uv_fini(&l->env);
    uv_run(&l->uv, UV_RUN_DEFAULT);
    if (uv_loop_close(&l->uv) != 0)
        log_warn("gateway.loop_not_closed", 0, L_UINT("loop", l->number));
    l->ended_post.fn = loop_ended;
    env_uv_post(l->service->proc.env, &l->ended_post);
}

/* ---- the start ---- */

static void on_net_problem(void *arg, const char *addr, int err, const char *text)
{
    (void)arg;
    log_warn("net.problem", 0, L_STR("addr", addr), L_ERR(err), L_STR("what", text));
}

/* Background work on buckets: one kind after the other, in the order of the table. */
static int loop_open_jobs(struct loop *l)
{
    struct service *s = l->service;
    struct config *c = s->proc.config;
    size_t count = 0;
    struct lifecycle_config lifecycle = {
        .interval_ms = config_duration_ms(c, "lifecycle_interval"),
        .rate = (uint64_t)config_int(c, "lifecycle_rate"),
        .parallel = (unsigned)config_int(c, "lifecycle_parallel"),
    };
    s->job_kinds[count++] = lifecycle_init(&s->lifecycle, &lifecycle, &s->lifecycle_metrics);
    struct inventory_config inventory = {
        .day_ms = s->config.lifecycle_day_ms,
        .rate = (uint64_t)config_int(c, "inventory_rate"),
        .file_bytes = config_bytes(c, "inventory_file_bytes"),
    };
    s->job_kinds[count++] = inventory_init(&s->inventory, &inventory, &s->inventory_metrics);
    struct quota_measure_config quotas = {
        .interval_ms = config_duration_ms(c, "quota_interval"),
        .rate = (uint64_t)config_int(c, "quota_rate"),
    };
    quota_measure_init(&s->quota_measure, &quotas, &s->quota_measure_metrics);
    s->job_kinds[count++] = &s->quota_measure.of_buckets;
    s->job_kinds[count++] = &s->quota_measure.of_accounts;
    struct jobs_config jobs = {
        .interval_ms = config_duration_ms(c, "jobs_interval"),
        .lease_ms = config_duration_ms(c, "jobs_lease"),
        .parallel = (unsigned)config_int(c, "jobs_parallel"),
        .node_id = s->proc.node_id,
        .kinds = s->job_kinds,
        .kind_count = count,
    };
    return jobs_new(&l->gateway, &jobs, &s->jobs_metrics, &l->jobs);
}

/* Where the operator has named nobody, nothing is ever sent and no queue is looked for. */
static int loop_open_deliver(struct loop *l)
{
    struct service *s = l->service;
    struct config *c = s->proc.config;
    struct deliver_config config = {
        .interval_ms = config_duration_ms(c, "event_interval"),
        .retry_max_ms = config_duration_ms(c, "event_retry_max"),
        .give_up_ms = config_duration_ms(c, "replication_give_up"),
        .parallel = (unsigned)config_int(c, "event_parallel"),
        .queues_max = DELIVER_QUEUES_MAX,
        .running_max = DELIVER_RUNNING_MAX,
        .window_max = DELIVER_WINDOW_MAX,
    };
    if (s->webhooks.count == 0 && s->remotes.count == 0)
        return OK;
    int err = http_curl_new(&l->env.env, &l->out);
    l->gateway.out = l->out;
    if (err == OK && l->number == 0)
        err = deliver_new(&l->gateway, &config, &s->deliver_metrics, &l->deliver);
    return err;
}

static int loop_open_clients(struct loop *l)
{
    struct service *s = l->service;
    struct config *c = s->proc.config;
    struct env *env = &l->env.env;
    struct net_tls_options options = {.on_problem = on_net_problem};
    struct rpc_config rpc = {.node_id = s->proc.node_id};
    struct cache_config cache = {.bytes_max = config_bytes(c, "cache_bytes") / s->loop_count};
    env_random(env, &cache.seed, sizeof(cache.seed));
    int err = net_tls_new(&l->env, s->tls, &options, &l->net);
    if (err == OK)
        err = rpc_new(env, l->net, &rpc, &l->rpc);
    if (err == OK)
        err = cache_new(&cache, &l->cache);
    if (err == OK)
        err = meta_client_new(env, l->rpc, l->cache, &s->meta, &l->mc);
    if (err == OK)
        err = blob_client_new(env, l->rpc, l->mc, &s->blob, &l->bc);
    if (err == OK)
        err = gateway_init(&l->gateway, &s->config, &s->metrics, env, l->mc, l->bc);
    l->gateway_open = err == OK;
    l->gateway.quotas = s->quotas;
    struct reencode_config reencode = {
        .interval_ms = config_duration_ms(c, "reencode_interval"),
        .parallel = (unsigned)config_int(c, "reencode_parallel"),
        .bytes_per_s = config_bytes(c, "reencode_rate"),
    };
    struct access_log_config logs = {
        .interval_ms = config_duration_ms(c, "access_log_interval"),
        .object_bytes = config_bytes(c, "access_log_bytes"),
    };
    if (err == OK)
        err = access_log_new(&l->gateway, &logs, &s->access_log_metrics, &l->gateway.access_log);
    if (err == OK && l->number == 0)
        err = reencode_new(&l->gateway, &reencode, &s->reencode_metrics, &l->reencode);
    if (err == OK && l->number == 0)
        err = loop_open_jobs(l);
    return err == OK ? loop_open_deliver(l) : err;
}

static int loop_listen(struct loop *l)
{
    struct service *s = l->service;
    struct config *c = s->proc.config;
    char host[256];
    unsigned port;
    if (!config_address_split(config_address(c, "http_listen"), host, sizeof(host), &port))
        return ERR_CONFIG;
    struct http_server_config config = {
        .host = host,
        .port = (uint16_t)port,
        .reuse_port = true,
        .tls = s->http_tls,
        .handler = &gateway_http_handler,
        .arg = &l->gateway,
    };
    http_limits_init(&config.limits);
    config.limits.connections_max =
        (unsigned)config_int(c, "connections_max") / s->loop_count + 1;
    config.limits.body_rate_min = config_bytes(c, "body_rate_min");
    config.limits.response_rate_min = config_bytes(c, "response_rate_min");
    config.limits.rate_grace_ms = (unsigned)config_duration_ms(c, "rate_grace");
    config.limits.rate_window_ms = (unsigned)config_duration_ms(c, "rate_window");
    int err = http_server_new(&l->uv, &config, &l->http);
    if (err != OK)
        log_error("gateway.listen", 0, L_STR("addr", config_address(c, "http_listen")), L_ERR(err));
    return err;
}

/* The loops share the port, which would also let them share it with another gateway that somebody
 * forgot to stop: clients would reach either.  A socket that does not share finds that one. */
static int check_port_is_free(struct service *s)
{
    const char *text = config_address(s->proc.config, "http_listen");
    struct sockaddr_storage addr = {0};
    char host[256];
    unsigned port;
    int on = 1;
    if (!config_address_split(text, host, sizeof(host), &port) ||
        (uv_ip4_addr(host, (int)port, (struct sockaddr_in *)(void *)&addr) != 0 &&
         uv_ip6_addr(host, (int)port, (struct sockaddr_in6 *)(void *)&addr) != 0)) {
        log_error("gateway.listen", 0, L_STR("addr", text), L_STR("why", "not a numeric address"));
        return ERR_CONFIG;
    }
    socklen_t len = addr.ss_family == AF_INET6 ? sizeof(struct sockaddr_in6) : sizeof(struct sockaddr_in);
    int fd = socket(addr.ss_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
    bool is_free = fd >= 0 && setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on)) == 0 &&
                   bind(fd, (const struct sockaddr *)&addr, len) == 0 && listen(fd, 1) == 0;
    if (!is_free)
        log_error("gateway.listen", 0, L_STR("addr", text), L_STR("why", strerror(errno)));
    if (fd >= 0)
        close(fd);
    return is_free ? OK : ERR_IO;
}

static int loop_open(struct loop *l)
{
    int err = uv_loop_init(&l->uv) == 0 ? OK : ERR_IO;
    if (err == OK)
        err = env_uv_init(&l->env, &l->uv);
    if (err == OK)
        err = loop_open_clients(l);
    if (err == OK)
        err = loop_listen(l);
    if (err != OK)
        return err;
    l->cache_bytes = metric_gauge_new("cairn_gateway_cache_bytes", NULL, "Taken by cached records.");
    env_timer_init(&l->env.env, &l->timer, timer_cb);
    env_timer_start(&l->timer, 0);
    return OK;
}

static int open_tls(struct service *s)
{
    struct config *c = s->proc.config;
    struct buf text = {0};
    struct net_tls_config tls = {.ca_file = config_string(c, "tls_ca"),
                                 .cert_file = config_string(c, "tls_cert"),
                                 .key_file = config_string(c, "tls_key")};
    int err = net_tls_ctx_new(&tls, &s->tls, &text);
    if (err != OK)
        log_error("config.tls", 0, L_ERR(err), L_BYTES("what", buf_view(&text)));
    buf_fini(&text);
    if (err != OK)
        return err;
    const struct net_identity *own = net_tls_ctx_identity(s->tls);
    if (own->role != NET_ROLE_GATEWAY || strcmp(own->node_id, s->proc.node_id) != 0) {
        log_error("config.tls", 0, L_STR("what", "tls_cert is another node's"),
                  L_STR("certificate_node", own->node_id), L_STR("node_id", s->proc.node_id));
        return ERR_CONFIG;
    }
    const char *cert = config_string(c, "http_tls_cert"), *key = config_string(c, "http_tls_key");
    if (cert[0] || key[0])
        err = http_tls_context_new(cert, key, &s->http_tls);
    if (err != OK)
        log_error("config.http_tls", 0, L_ERR(err), L_STR("http_tls_cert", cert));
    return err;
}

static size_t read_domains(struct service *s, const char *name, struct slice ret[DOMAINS_MAX])
{
    const char *at = config_string(s->proc.config, name);
    size_t count = 0;
    while (*at && count < DOMAINS_MAX) {
        size_t len = strcspn(at, ", ");
        if (len)
            ret[count++] = SLICE(at, len);
        at += len + (at[len] != 0);
    }
    return count;
}

/* STANDARD's schemes, and those of other storage classes, as the cluster file says. */
static void read_classes(struct service *s)
{
    const struct cluster_config *c = &s->proc.cluster;
    _Static_assert(CLUSTER_CLASSES_MAX <= BLOB_SCHEMES_MAX && CLUSTER_SCHEMES_MAX <= BLOB_SCHEMES_MAX,
                   "all fit");
    for (size_t i = 0; i < c->scheme_count; i++)
        s->blob.standard[s->blob.standard_count++] =
            (struct blob_scheme){c->schemes[i].data, c->schemes[i].parity};
    for (size_t i = 0; i < c->class_count; i++) {
        struct blob_scheme scheme = {c->classes[i].scheme.data, c->classes[i].scheme.parity};
        s->blob.classes[s->blob.class_count++] = scheme;
        s->classes[i] = (struct gateway_class){slice_cstr(c->classes[i].name), scheme};
    }
    s->config.classes = s->classes;
    s->config.class_count = c->class_count;
}

/* The text of the master keys is secret: it is wiped, and no message repeats any of it. */
static int read_masters(struct service *s)
{
    const char *file = config_string(s->proc.config, "master_key_file");
    const char *text = config_string(s->proc.config, "master_key"), *why = NULL;
    char content[MASTER_FILE_BYTES_MAX + 1];
    unsigned line = 0;
    int err = OK;
    if (file[0] && text[0])
        why = "master_key and master_key_file are both set";
    else if (file[0])
        why = master_file_read(file, content, &text);
    if (!why && (file[0] || text[0]))
        err = master_keys_parse(slice_cstr(text), &s->masters, &line, &why);
    if (!why && s->config.sse_default && s->masters.count == 0)
        why = "sse_default is on, and there is no master key";
    crypto_wipe(content, sizeof(content));
    if (!why)
        return err;
    log_error("config.master_key", 0, L_STR("file", file), L_UINT("line", line), L_STR("what", why));
    return ERR_CONFIG;
}

static int read_targets(struct service *s, const char *name, bool remote, struct targets *ret)
{
    struct buf why = {0};
    int err = targets_parse(config_string(s->proc.config, name), remote, ret, &why);
    if (err != OK)
        log_error("config.targets", 0, L_STR("parameter", name), L_ERR(err),
                  L_BYTES("what", buf_view(&why)));
    buf_fini(&why);
    return err;
}

static int read_events(struct service *s)
{
    struct config *c = s->proc.config;
    struct buf why = {0};
    int fit = gateway_params_check(c, &why);
    if (fit != OK)
        log_error("config.gateway", 0, L_BYTES("why", buf_view(&why)));
    buf_fini(&why);
    if (fit != OK)
        return fit;
    s->config.webhooks = &s->webhooks;
    s->config.remotes = &s->remotes;
    s->config.event_queue_max = (uint64_t)config_int(c, "event_queue_max");
    s->config.event_timeout_ms = config_duration_ms(c, "event_timeout");
    int err = read_targets(s, "webhooks", false, &s->webhooks);
    if (err == OK)
        err = read_targets(s, "replication_targets", true, &s->remotes);
    if (err == OK && (s->webhooks.count || s->remotes.count) &&
        curl_global_init(CURL_GLOBAL_DEFAULT) != CURLE_OK)
        err = ERR_NOMEM;
    return err;
}

static int read_config(struct service *s)
{
    struct config *c = s->proc.config;
    const char *region = config_string(c, "region");
    long cpus = sysconf(_SC_NPROCESSORS_ONLN);
    if (!region[0] && s->proc.cluster.region)
        region = s->proc.cluster.region;
    s->loop_count = (unsigned)config_int(c, "loops");
    if (s->loop_count == 0)
        s->loop_count = (unsigned)MAX(1, MIN(cpus, 4));
    s->config.region = slice_cstr(region);
    s->config.addressing = (struct s3_addressing){
        .base_domains = s->domains,
        .base_domain_count = read_domains(s, "base_domains", s->domains),
        .website_domains = s->website_domains,
        .website_domain_count = read_domains(s, "website_domains", s->website_domains),
    };
    read_classes(s);
    s->blob.zone = s->proc.zone;
    s->blob.replicate_bytes_max = config_bytes(c, "replicate_bytes_max");
    s->config.inline_bytes_max = config_bytes(c, "inline_bytes_max");
    s->config.segment_bytes = config_bytes(c, "segment_bytes");
    s->config.part_bytes_min = config_bytes(c, "part_bytes_min");
    s->config.body_bytes_max = config_bytes(c, "body_bytes_max") / s->loop_count;
    s->config.body_bytes_eager = config_bytes(c, "body_bytes_eager") / s->loop_count;
    s->config.timeout_ms = config_duration_ms(c, "request_timeout");
    s->config.write_age_ms_max =
        s->proc.cluster.orphan_age_ms - s->proc.cluster.clock_difference_ms;
    s->config.keepalive_ms = config_duration_ms(c, "complete_keepalive");
    s->config.bucket_resume_ms = config_duration_ms(c, "bucket_resume_after");
    s->config.lifecycle_day_ms = config_duration_ms(c, "lifecycle_day");
    s->config.access_log = config_bool(c, "access_log");
    s->config.masters = &s->masters;
    s->config.sse_require_tls = config_bool(c, "sse_require_tls");
    s->config.sse_default = config_bool(c, "sse_default");
    s->meta = (struct meta_config){
        .zone = s->proc.zone,
        .seeds = s->seeds,
        .witness_check_off = !config_bool(c, "witness_check"),
        .witness_hedge_ms = (uint32_t)config_duration_ms(c, "witness_hedge"),
    };
    const struct cluster_node *n;
    for (size_t pos = 0; (n = cluster_node_next(&s->proc.cluster, NET_ROLE_METANODE, &pos)) != NULL;)
        if (s->meta.seed_count < SEEDS_MAX)
            s->seeds[s->meta.seed_count++] = (struct meta_seed){n->id, n->addr};
    if (s->meta.seed_count == 0) {
        log_error("config.cluster", 0,
                  L_STR("what", "cluster_file is not set, or names no metanode"));
        return ERR_CONFIG;
    }
    return read_events(s);
}

static void register_metrics(struct service *s)
{
#define X(source, field, name, help)                                                               \
    s->counters[COUNTER_##source##_##field] =                                                      \
        metric_counter_new("cairn_gateway_" name "_total", NULL, help);
    COUNTERS(X)
#undef X
    gateway_metrics_init(&s->metrics);
    reencode_metrics_init(&s->reencode_metrics);
    jobs_metrics_init(&s->jobs_metrics);
    lifecycle_metrics_init(&s->lifecycle_metrics);
    inventory_metrics_init(&s->inventory_metrics);
    quotas_metrics_init(&s->quotas_metrics);
    quota_measure_metrics_init(&s->quota_measure_metrics);
    deliver_metrics_init(&s->deliver_metrics);
    access_log_metrics_init(&s->access_log_metrics);
}

static int start(struct service *s)
{
    int err = read_config(s);
    if (err == OK)
        err = read_masters(s);
    if (err == OK)
        err = open_tls(s);
    if (err == OK)
        err = check_port_is_free(s);
    if (err != OK)
        return err;
    register_metrics(s);
    err = quotas_new(config_duration_ms(s->proc.config, "quota_interval"), &s->quotas_metrics,
                     &s->quotas);
    if (err != OK)
        return err;
    for (unsigned i = 0; i < s->loop_count; i++) {
        s->loops[i].service = s;
        s->loops[i].number = i;
        err = loop_open(&s->loops[i]);
        if (err != OK) {
            log_error("gateway.start", 0, L_ERR(err), L_UINT("loop", i));
            return err;
        }
    }
    for (unsigned i = 0; i < s->loop_count; i++) {
        if (uv_thread_create(&s->loops[i].thread, loop_thread, &s->loops[i]) != 0)
            return ERR_NOMEM;
        s->loops_left++;
    }
    return OK;
}

static bool ready(void *arg, struct buf *ret_reason)
{
    struct service *s = arg;
    for (unsigned i = 0; i < s->loop_count; i++) {
        if (!atomic_load(&s->loops[i].ready)) {
            buf_cstr(ret_reason, "no answer from the root partition's leader yet");
            return false;
        }
    }
    return true;
}

/* Segments go back to the system when their loop has no more use for them (budget_trim()), instead
 * of staying behind in a heap for each thread; smaller buffers are kept, since fresh pages for each would cost more than their use. */
static void tune_malloc(void)
{
    (void)mallopt(M_MMAP_THRESHOLD, 2 << 20);
    (void)mallopt(M_TRIM_THRESHOLD, 8 << 20);
}

int main(int argc, char **argv)
{
    static struct service s;
    int status;
    if (!proc_init(&s.proc, "cairn-gateway", argc, argv, gateway_params, gateway_param_count, &status))
        return status;
    tune_malloc();
    /* A start that fails ends the process: nothing is kept that would have to be closed. */
    if (start(&s) != OK)
        return 1;
    s.proc.on_drain = drain;
    s.proc.ready = ready;
    s.proc.arg = &s;
    s.proc.drain_timeout_ms = config_duration_ms(s.proc.config, "drain_grace") +
                              config_duration_ms(s.proc.config, "request_timeout") + 2000;
    status = proc_run(&s.proc);
    return status;
}
