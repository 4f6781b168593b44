/* cairn-witness: knows, per partition and hash slot, when something last changed, so that gateways
 * may serve from their caches (DESIGN section 4).  Keeps nothing on disk. */
#include "common/base/check.h"
#include "common/obs/log.h"
#include "common/obs/metrics.h"
#include "common/proc/proc_rpc.h"
#include "witness/op/witness_node.h"

#include <stddef.h>
#include <stdlib.h>

static const struct config_param params[] = {
    {"slot_bits", CONFIG_INT, "18", 8, WITNESS_SLOT_BITS_MAX, "bits",
     "hash slots per partition, as a power of two; 8 bytes each, on first use", 0},
    {"partitions_max", CONFIG_INT, "256", 1, WITNESS_PARTITIONS_MAX, NULL,
     "partitions that it can keep", 0},
    {"lease_renew_interval", CONFIG_DURATION, "400ms", 10, 60000, NULL,
     "between renewals of the lease", 0},
    {"root_call_timeout", CONFIG_DURATION, "500ms", 10, 60000, NULL,
     "for one request to the root partition's leader", 0},
};

struct service {
    struct proc proc;
    struct proc_rpc rpc;
    struct witness_node *node;
};

static bool ready(void *arg, struct buf *ret_reason)
{
    struct service *s = arg;
    if (!witness_node_holds_lease(s->node))
        buf_cstr(ret_reason, "no lease from the root partition");
    else if (witness_node_core(s->node)->partition_count == 0)
        buf_cstr(ret_reason, "no leader has opened a stream yet");
    else if (!witness_node_ready(s->node))
        buf_cstr(ret_reason, "a stream has not caught up yet");
    return ret_reason->len == 0;
}

static void closed(void *arg)
{
    struct service *s = arg;
    proc_drained(&s->proc);
}

static void released(void *arg)
{
    struct service *s = arg;
    proc_rpc_close(&s->rpc, closed, s);
}

/* Giving the lease up first lets leaders go on at once instead of waiting it out. */
static void drain(void *arg)
{
    struct service *s = arg;
    log_info("witness.drain", 0);
    witness_node_release(s->node, released, s);
}

static double stat_value(void *field)
{
    return (double)*(const uint64_t *)field;
}

static double lease_held(void *arg)
{
    return witness_node_holds_lease(arg) ? 1 : 0;
}

static double partitions_ready(void *arg)
{
    const struct witness *w = witness_node_core(arg);
    unsigned n = 0;
    for (uint32_t i = 0; i < w->partition_count; i++)
        n += w->partitions[i].ready;
    return n;
}

static void register_metrics(struct witness_node *n)
{
    /* The stats are plain numbers of the main loop, where scrapes run too. */
    uint64_t *stats = (uint64_t *)(uintptr_t)witness_node_stats(n);
    static const struct {
        size_t offset;
        const char *name, *help;
    } table[] = {
        {offsetof(struct witness_stats, questions), "cairn_witness_questions_total",
         "Records asked about by gateways."},
        {offsetof(struct witness_stats, fresh), "cairn_witness_fresh_total",
         "Questions answered with: fresh."},
        {offsetof(struct witness_stats, entries), "cairn_witness_entries_total",
         "Log entries received from leaders."},
        {offsetof(struct witness_stats, opens), "cairn_witness_stream_opens_total",
         "Streams that leaders opened."},
        {offsetof(struct witness_stats, refused_streams), "cairn_witness_streams_refused_total",
         "Stream messages of another term, life or open."},
        {offsetof(struct witness_stats, lives), "cairn_witness_lives_total",
         "Incarnations of this process."},
        {offsetof(struct witness_stats, leases_granted), "cairn_witness_leases_granted_total",
         "Leases granted by the root."},
    };
    for (size_t i = 0; i < ARRAY_COUNT(table); i++)
        metric_function_new(table[i].name, NULL, table[i].help, true, stat_value,
                            stats + table[i].offset / sizeof(uint64_t));
    metric_function_new("cairn_witness_lease_held", NULL, "1 while it holds its lease.", false,
                        lease_held, n);
    metric_function_new("cairn_witness_partitions_ready", NULL,
                        "Partitions whose stream has caught up.", false, partitions_ready, n);
}

/* Where others find this witness: as the cluster file says.  `listen` may be any address ("0.0.0.0:7000"), or that
 * behind which a network translates. */
static const char *own_address(const struct proc *p)
{
    const struct cluster_node *own = cluster_node_by_id(&p->cluster, p->node_id);
    return own && own->addr[0] ? own->addr : config_address(p->config, "listen");
}

static int start(struct service *s)
{
    struct proc *p = &s->proc;
    const char *ids[WITNESS_ROOTS_MAX], *addrs[WITNESS_ROOTS_MAX];
    struct witness_config config = {
        .name = p->node_id,
        .addr = own_address(p),
        .zone = p->zone,
        .metanode_ids = ids,
        .metanode_addrs = addrs,
        .slot_bits = (unsigned)config_int(p->config, "slot_bits"),
        .partitions_max = (uint32_t)config_int(p->config, "partitions_max"),
        .renew_ns = config_duration_ms(p->config, "lease_renew_interval") * NS_PER_MS,
        .call_timeout_ns = config_duration_ms(p->config, "root_call_timeout") * NS_PER_MS,
    };
    const struct cluster_node *node;
    for (size_t pos = 0; (node = cluster_node_next(&p->cluster, NET_ROLE_METANODE, &pos)) != NULL;) {
        if (config.metanode_count == WITNESS_ROOTS_MAX)
            break;
        ids[config.metanode_count] = node->id;
        addrs[config.metanode_count++] = node->addr;
    }
    if (config.metanode_count == 0) {
        log_error("config.cluster", 0,
                  L_STR("what", "cluster_file is not set, or names no metanode"));
        return ERR_CONFIG;
    }
    int err = proc_rpc_open(p, NET_ROLE_WITNESS, &s->rpc);
    if (err == OK)
        err = witness_node_new(s->rpc.rpc, &config, &s->node);
    if (err == OK)
        err = proc_rpc_listen(p, &s->rpc);
    return err;
}

int main(int argc, char **argv)
{
    static struct service s;
    int status;
    if (!proc_init(&s.proc, "cairn-witness", argc, argv, params, ARRAY_COUNT(params), &status))
        return status;
    if (start(&s) != OK)
        return 1;
    register_metrics(s.node);
    s.proc.on_drain = drain;
    s.proc.ready = ready;
    s.proc.arg = &s;
    status = proc_run(&s.proc);
    witness_node_free(s.node);
    return status;
}
