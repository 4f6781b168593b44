/* The map followed, epochs closed, reports sent. */
#include "storagenode/io/follow.h"

#include "common/base/check.h"
#include "proto/methods.h"
#include "storagenode/io/report.h"

#include <stdlib.h>

#define REPORT_NS (2 * NS_PER_SEC)

struct follow {
    struct env *env;
    struct disks *disks;
    char node_id[NET_NODE_ID_MAX];
    struct id128 boot_id;
    uint64_t report_ns;
    void (*on_refused)(void *arg, int err);
    void (*on_report)(void *arg, Cairn__NodeReport *report);
    void (*on_disk_lost)(void *arg, const struct id128 *disk_id);
    void *arg;
    struct map_client *map;
    struct repair_agent *repair; /* NULL: none yet */
    uint64_t closed_version;           /* all epochs of this map are closed */
    struct env_timer timer;
    struct leader_call call;
    struct report report;
    Cairn__NodeReportRequest request;
    bool calling, stopped, refused;
};

/* ---- epochs ---- */

static bool names(char *const *members, size_t count, const char *node_id)
{
    for (size_t i = 0; i < count; i++)
        if (strcmp(members[i], node_id) == 0)
            return true;
    return false;
}

/* Epoch 1 is a group's first: there is nothing to close below it. */
static bool concerns(struct follow *f, const Cairn__PlacementGroup *pg)
{
    return pg->epoch > 1 &&
           (names(pg->members, pg->n_members, f->node_id) ||
            names(pg->next_members, pg->n_next_members, f->node_id) ||
            disks_epoch_closed(f->disks, pg->id) > 0 || disks_has_group(f->disks, pg->id));
}

static void epochs_close(struct follow *f)
{
    const Cairn__ClusterMap *map = map_client_map(f->map);
    bool all = true;
    if (!map || map->version == f->closed_version)
        return;
    for (size_t i = 0; i < map->n_pgs; i++)
        if (concerns(f, map->pgs[i]))
            all &= disks_epoch_close(f->disks, map->pgs[i]->id, map->pgs[i]->epoch) == OK;
    if (all) /* else with the next report */
        f->closed_version = map->version;
}

static void lost_disks_look(struct follow *f)
{
    const Cairn__NodeRecord *own = map_client_node(f->map, f->node_id);
    struct id128 id;
    for (size_t i = 0; own && f->on_disk_lost && i < own->n_disks; i++) {
        const Cairn__DiskRecord *d = own->disks[i];
        if (d->state == CAIRN__DISK_STATE__DISK_LOST &&
            id128_from_slice(SLICE(d->disk_id.data, d->disk_id.len), &id))
            f->on_disk_lost(f->arg, &id);
    }
}

static void on_map(void *arg)
{
    struct follow *f = arg;
    if (f->stopped)
        return;
    lost_disks_look(f);
    epochs_close(f);
}

/* ---- reports ---- */

static void on_report(struct leader_call *call)
{
    struct follow *f = container_of(call, struct follow, call);
    int err = call->err;
    leader_call_fini(call);
    report_fini(&f->report);
    f->calling = false;
    bool refused = err_class(err) == ERR_CLASS_PERMANENT && err != ERR_UNIMPLEMENTED;
    if (refused && !f->refused && f->on_refused)
        f->on_refused(f->arg, err);
    f->refused = refused;
    if (!f->stopped)
        env_timer_start(&f->timer, f->report_ns);
}

static void on_time(struct env_timer *t)
{
    struct follow *f = container_of(t, struct follow, timer);
    epochs_close(f);
    if (!map_client_map(f->map) || report_init(&f->report, f->disks, f->repair) != OK) {
        env_timer_start(&f->timer, f->report_ns);
        return;
    }
    cairn__node_report_request__init(&f->request);
    f->report.message.node_id = f->node_id;
    f->report.message.boot_id = (ProtobufCBinaryData){ID_BYTES, f->boot_id.bytes};
    if (f->on_report)
        f->on_report(f->arg, &f->report.message);
    f->request.report = &f->report.message;
    f->call = (struct leader_call){.method = &method_root_node_report,
                                   .request = &f->request.base,
                                   .root = true,
                                   .deadline_ns = env_now_ns(f->env) + f->report_ns,
                                   .cb = on_report};
    f->calling = true;
    leader_call_start(f->map, &f->call);
}

/* ---- life ---- */

int follow_new(struct rpc *rpc, struct disks *disks, const struct follow_config *config,
               struct follow **ret)
{
    size_t len = strlen(config->node_id);
    if (len >= NET_NODE_ID_MAX)
        return ERR_INVAL;
    struct follow *f = calloc(1, sizeof(*f));
    if (!f)
        return ERR_NOMEM;
    f->env = rpc_env(rpc);
    f->disks = disks;
    memcpy(f->node_id, config->node_id, len + 1);
    f->report_ns = config->report_ns ? config->report_ns : REPORT_NS;
    f->on_refused = config->on_refused;
    f->on_report = config->on_report;
    f->on_disk_lost = config->on_disk_lost;
    f->arg = config->arg;
    env_random(f->env, &f->boot_id, sizeof(f->boot_id));
    env_timer_init(f->env, &f->timer, on_time);
    struct map_client_config map = {.metanode_ids = config->metanode_ids,
                                    .metanode_addrs = config->metanode_addrs,
                                    .metanode_count = config->metanode_count,
                                    .on_change = on_map,
                                    .arg = f};
    int err = map_client_new(rpc, &map, &f->map);
    if (err) {
        free(f);
        return err;
    }
    env_timer_start(&f->timer, f->report_ns);
    *ret = f;
    return OK;
}

void follow_report_repair(struct follow *f, struct repair_agent *repair)
{
    f->repair = repair;
}

void follow_stop(struct follow *f)
{
    f->stopped = true;
    env_timer_stop(&f->timer);
    map_client_stop(f->map);
}

struct map_client *follow_map(struct follow *f)
{
    return f->map;
}

bool follow_idle(const struct follow *f)
{
    return !f->calling && map_client_idle(f->map);
}

void follow_free(struct follow *f)
{
    if (!f)
        return;
    env_timer_stop(&f->timer);
    map_client_free(f->map);
    report_fini(&f->report);
    free(f);
}
