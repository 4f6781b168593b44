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
#include "gateway/op/gateway.h"

#include <errno.h>
#include <malloc.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define LOOPS_MAX 16
#define SEEDS_MAX 64
#define DOMAINS_MAX 16
#define NODES_SHOWN_MAX 256
#define PUBLISH_NS (500 * NS_PER_MS)
#define PROBE_NS (50 * NS_PER_MS)

static const struct config_param params[] = {
    {"http_listen", CONFIG_ADDRESS, NULL, 0, 0, NULL, "where clients speak S3", CONFIG_REQUIRED},
    {"http_tls_cert", CONFIG_STRING, NULL, 0, 0, NULL,
     "PEM certificate chain for clients; without it HTTP is not encrypted", 0},
    {"http_tls_key", CONFIG_STRING, NULL, 0, 0, NULL, "PEM key of http_tls_cert", 0},
    {"region", CONFIG_STRING, NULL, 0, 0, NULL,
     "region that signatures must name; default: the cluster file's", 0},
    {"base_domains", CONFIG_STRING, NULL, 0, 0, NULL,
     "host names, separated by commas, under which buckets are subdomains", 0},
    {"loops", CONFIG_INT, "0", 0, LOOPS_MAX, "threads", "event loops; 0: a thread a CPU, at most 4", 0},
    {"cache_bytes", CONFIG_BYTES, "64MiB", 1 << 20, 1ll << 40, NULL,
     "index records and small objects cached, all loops together", 0},
    {"body_bytes_max", CONFIG_BYTES, "256MiB", 32 << 20, 1ll << 40, NULL,
     "bodies under way, all loops together; beyond it uploads hear SlowDown", 0},
    {"body_bytes_eager", CONFIG_BYTES, "32MiB", 0, 1ll << 40, NULL,
     "beyond it a body keeps only one segment in memory; 0: no such bound", 0},
    {"inline_bytes_max", CONFIG_BYTES, "16KiB", 0, 1 << 20, NULL,
     "objects and parts up to this size are kept in the index", 0},
    {"segment_bytes", CONFIG_BYTES, "4MiB", 64 << 10, BLOB_BYTES_MAX, NULL,
     "larger ones are cut into blobs of this size", 0},
    {"replicate_bytes_max", CONFIG_BYTES, "384KiB", 1, BLOB_BYTES_MAX, NULL,
     "blobs up to this size are replicated though there are coded groups", 0},
    {"part_bytes_min", CONFIG_BYTES, "5MiB", 1, 5ll << 30, NULL,
     "least size of an upload's part, but for the last", 0},
    {"request_timeout", CONFIG_DURATION, "15s", 100, 600000, NULL,
     "for each step of a request on the index or on storage nodes", 0},
    {"bucket_resume_after", CONFIG_DURATION, "10s", 100, 3600000, NULL,
     "a bucket deletion that stands still for so long is taken over", 0},
    {"connections_max", CONFIG_INT, "8192", 1, 1 << 20, NULL, "from clients, all loops together", 0},
    {"body_rate_min", CONFIG_BYTES, "1KiB", 0, 1 << 30, NULL,
     "bytes a second that a client must send of a body while it is waited for; 0: any", 0},
    {"response_rate_min", CONFIG_BYTES, "1KiB", 0, 1 << 30, NULL,
     "bytes a second that a client must take of a response while some is to be sent; 0: any", 0},
    {"rate_grace", CONFIG_DURATION, "20s", 100, 3600000, NULL,
     "waiting for a client's body, or for it to take a response, before its rate counts", 0},
    {"rate_window", CONFIG_DURATION, "30s", 100, 3600000, NULL,
     "waiting over which its rate is averaged from then on", 0},
    {"drain_grace", CONFIG_DURATION, "5s", 0, 600000, NULL,
     "for requests under way when the process is told to stop", 0},
    {"witness_check", CONFIG_BOOL, "on", 0, 0, NULL,
     "ask a witness whether cached records are fresh; off: read every one at its leader", 0},
    {"witness_hedge", CONFIG_DURATION, "60ms", 1, 60000, NULL,
     "after which another zone's witness is asked too", 0},
    {"access_log", CONFIG_BOOL, "off", 0, 0, NULL, "a line for every request", 0},
};

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
    X(blob, stragglers_dropped, "blob_stragglers", "Last copies given up as too slow.")            \
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
    struct http_server *http;
    struct meta_read probe;
    bool probing, probed;
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
    struct gateway_metrics metrics;
    struct metric_counter *counters[COUNTER_COUNT];
    struct slice domains[DOMAINS_MAX];
    struct meta_seed seeds[SEEDS_MAX];
    struct meta_config meta;
    unsigned loop_count, loops_left;
    struct loop loops[LOOPS_MAX];
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

static void probe_cb(struct meta_read *read)
{
    struct loop *l = container_of(read, struct loop, probe);
    l->probing = false;
    l->probed = read->err == OK;
    if (l->probed)
        atomic_store(&l->ready, true);
    meta_read_fini(read);
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
            .access_key = SLICE_LIT("-"),
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
    if (l->gateway.under_way || !meta_client_idle(l->mc) || !blob_client_idle(l->bc)) {
        env_timer_start(timer, 10 * NS_PER_MS);
        return;
    }
    rpc_close(l->rpc, rpc_closed, l);
}

static void http_closed(void *arg)
{
    struct loop *l = arg;
    publish(l);
    l->http = NULL;
    env_timer_stop(&l->timer);
    env_timer_init(&l->env.env, &l->timer, quiet_cb);
    env_timer_start(&l->timer, 0);
}

static void loop_drain(struct env_uv_post *post)
{
    struct loop *l = container_of(post, struct loop, drain_post);
    unsigned grace = (unsigned)config_duration_ms(l->service->proc.config, "drain_grace");
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

static int loop_open_clients(struct loop *l)
{
    struct service *s = l->service;
    struct config *c = s->proc.config;
    struct env *env = &l->env.env;
    struct net_tls_options options = {.on_problem = on_net_problem};
    struct rpc_config rpc = {.node_id = s->proc.node_id};
    struct blob_config blob = {.zone = s->proc.zone,
                               .replicate_bytes_max = config_bytes(c, "replicate_bytes_max")};
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
        err = blob_client_new(env, l->rpc, l->mc, &blob, &l->bc);
    if (err == OK)
        err = gateway_init(&l->gateway, &s->config, &s->metrics, env, l->mc, l->bc);
    l->gateway_open = err == OK;
    return err;
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

static void read_domains(struct service *s)
{
    const char *at = config_string(s->proc.config, "base_domains");
    size_t count = 0;
    while (*at && count < DOMAINS_MAX) {
        size_t len = strcspn(at, ", ");
        if (len)
            s->domains[count++] = SLICE(at, len);
        at += len + (at[len] != 0);
    }
    s->config.addressing.base_domains = s->domains;
    s->config.addressing.base_domain_count = count;
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
    read_domains(s);
    s->config.inline_bytes_max = config_bytes(c, "inline_bytes_max");
    s->config.segment_bytes = config_bytes(c, "segment_bytes");
    s->config.part_bytes_min = config_bytes(c, "part_bytes_min");
    s->config.body_bytes_max = config_bytes(c, "body_bytes_max") / s->loop_count;
    s->config.body_bytes_eager = config_bytes(c, "body_bytes_eager") / s->loop_count;
    s->config.timeout_ms = config_duration_ms(c, "request_timeout");
    s->config.bucket_resume_ms = config_duration_ms(c, "bucket_resume_after");
    s->config.access_log = config_bool(c, "access_log");
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
        log_error("config.cluster", 0, L_STR("what", "cluster_file names no metanode"));
        return ERR_CONFIG;
    }
    return OK;
}

static void register_metrics(struct service *s)
{
#define X(source, field, name, help)                                                               \
    s->counters[COUNTER_##source##_##field] =                                                      \
        metric_counter_new("cairn_gateway_" name "_total", NULL, help);
    COUNTERS(X)
#undef X
    gateway_metrics_init(&s->metrics);
}

static int start(struct service *s)
{
    int err = read_config(s);
    if (err == OK)
        err = open_tls(s);
    if (err == OK)
        err = check_port_is_free(s);
    if (err != OK)
        return err;
    register_metrics(s);
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
    if (!proc_init(&s.proc, "cairn-gateway", argc, argv, params, ARRAY_COUNT(params), &status))
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
