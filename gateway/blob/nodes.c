/* Storage nodes as the map has them, and as this client finds them: who does not answer, and who
 * answers far more slowly than the others. */
#include "common/base/check.h"
#include "gateway/blob/internal.h"

#include <stdlib.h>

/* Averages forget within some tens of calls, and count from SAMPLES_MIN calls on. */
#define LATENCY_WEIGHT (1.0 / 16)
#define SAMPLES_MIN 16u
/* Slow: so many times the median of all nodes, and this much longer at least (one disk's hiccup is
 * no slow node); for so long, then it is given another chance. */
#define SLOW_FACTOR 5.0
#define SLOW_LEAST_NS (20.0 * NS_PER_MS)
#define SLOW_FOR_NS (30 * NS_PER_SEC)
#define COMPARE_EVERY_NS (NS_PER_SEC / 2)
#define TOLD_FOR_NS (60 * NS_PER_SEC) /* what a node said of its space is believed for so long */
#define COMPARED_MIN 3u               /* nodes that it takes to say what is usual */
#define COMPARED_MAX 256u

static bool zone_index(struct blob_client *bc, const char *zone, unsigned *ret)
{
    for (unsigned i = 0; i < bc->zone_count; i++) {
        if (strcmp(bc->zones[i].name, zone) == 0) {
            *ret = i;
            return true;
        }
    }
    void *p = realloc(bc->zones, (bc->zone_count + 1) * sizeof(*bc->zones));
    if (!p || strlen(zone) >= sizeof(bc->zones[0].name)) {
        bc->zones = p ? p : bc->zones;
        return false;
    }
    bc->zones = p;
    bc->zones[bc->zone_count] = (struct blob_zone){.down = false};
    strcpy(bc->zones[bc->zone_count].name, zone);
    *ret = bc->zone_count++;
    return true;
}

struct blob_node *node_by_id(struct blob_client *bc, const char *id)
{
    for (size_t i = 0; i < bc->node_count; i++)
        if (strcmp(bc->nodes[i]->id, id) == 0)
            return bc->nodes[i];
    return NULL;
}

static bool node_take(struct blob_client *bc, const Cairn__NodeRecord *r)
{
    struct blob_node *n = node_by_id(bc, r->node_id);
    if (strlen(r->node_id) >= sizeof(n->id))
        return true; /* no certificate can bear it: never reachable */
    if (!n) {
        struct blob_node **p =
            realloc(bc->nodes, (bc->node_count + 1) * sizeof(struct blob_node *));
        if (!p)
            return false;
        bc->nodes = p;
        n = calloc(1, sizeof(*n));
        if (!n)
            return false;
        strcpy(n->id, r->node_id);
        bc->nodes[bc->node_count++] = n;
    }
    struct rpc_peer *peer = rpc_peer_get(bc->rpc, r->addr, r->node_id);
    n->peer = peer ? peer : n->peer;
    n->own_zone = bc->config.zone && strcmp(bc->config.zone, r->zone) == 0;
    n->down = r->state != CAIRN__NODE_STATE__NODE_UP;
    n->lost = r->state == CAIRN__NODE_STATE__NODE_LOST;
    n->draining = r->draining;
    n->bytes_total = r->bytes_total;
    return n->peer && zone_index(bc, r->zone, &n->zone);
}

int nodes_update(struct blob_client *bc, const Cairn__ClusterMap *map)
{
    for (size_t i = 0; i < map->n_nodes; i++)
        if (map->nodes[i]->role == NET_ROLE_STORAGENODE && !node_take(bc, map->nodes[i]))
            return ERR_NOMEM;
    for (unsigned i = 0; i < bc->zone_count; i++)
        bc->zones[i].down = true;
    for (size_t i = 0; i < map->n_nodes; i++) {
        const struct blob_node *n = node_by_id(bc, map->nodes[i]->node_id);
        if (n && map->nodes[i]->role == NET_ROLE_STORAGENODE && !n->down)
            bc->zones[n->zone].down = false;
    }
    return OK;
}

bool node_is_usable(const struct blob_client *bc, const struct blob_node *n)
{
    return n && n->peer && !n->down && rpc_peer_is_up(n->peer) &&
           env_now_ns(bc->env) >= n->suspect_until_ns;
}

bool node_takes_writes(const struct blob_client *bc, const struct blob_node *n)
{
    return node_is_usable(bc, n) && env_now_ns(bc->env) >= n->full_until_ns;
}

bool node_is_slow(const struct blob_client *bc, const struct blob_node *n)
{
    return env_now_ns(bc->env) < n->slow_until_ns;
}

uint64_t node_space(const struct blob_client *bc, const struct blob_node *n)
{
    bool fresh = n->told_ns && env_now_ns(bc->env) - n->told_ns < TOLD_FOR_NS;
    return fresh ? MAX(n->bytes_free, 1) : n->bytes_total;
}

/* ---- slow nodes ---- */

static int double_cmp(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

/* Marks the nodes whose average of one kind of call is far above the others'.  `offset`: of that
 * average in the node. */
static void compare(struct blob_client *bc, size_t offset)
{
    double all[COMPARED_MAX];
    size_t count = 0;
    for (size_t i = 0; i < bc->node_count && count < COMPARED_MAX; i++) {
        const struct node_latency *l = (const void *)((const char *)bc->nodes[i] + offset);
        if (l->samples >= SAMPLES_MIN && !bc->nodes[i]->down)
            all[count++] = l->ns;
    }
    if (count < COMPARED_MIN)
        return;
    qsort(all, count, sizeof(all[0]), double_cmp);
    double usual = all[(count - 1) / 2];
    for (size_t i = 0; i < bc->node_count; i++) {
        struct node_latency *l = (void *)((char *)bc->nodes[i] + offset);
        if (l->samples < SAMPLES_MIN || l->ns < usual * SLOW_FACTOR ||
            l->ns < usual + SLOW_LEAST_NS)
            continue;
        bc->nodes[i]->slow_until_ns = env_now_ns(bc->env) + SLOW_FOR_NS;
        bc->nodes[i]->slow_ns = l->ns;
        bc->nodes[i]->usual_ns = usual;
        *l = (struct node_latency){0}; /* it hardly shows itself meanwhile, and begins anew then */
    }
}

void node_learn(struct blob_client *bc, struct blob_node *n, struct node_latency *which,
                uint64_t took_ns, bool given_up)
{
    uint64_t now = env_now_ns(bc->env);
    double weight = which->samples < SAMPLES_MIN ? 1.0 / (which->samples + 1) : LATENCY_WEIGHT;
    CHECK(which == &n->reads || which == &n->writes);
    if (given_up && (double)took_ns <= which->ns)
        return; /* it took this long at least: nothing new */
    which->ns += ((double)took_ns - which->ns) * weight;
    which->samples = MIN(which->samples + 1, SAMPLES_MIN);
    if (now - bc->compared_ns < COMPARE_EVERY_NS)
        return;
    bc->compared_ns = now;
    compare(bc, offsetof(struct blob_node, reads));
    compare(bc, offsetof(struct blob_node, writes));
}

bool blob_client_node(const struct blob_client *bc, size_t index, struct blob_node_view *ret)
{
    if (index >= bc->node_count)
        return false;
    const struct blob_node *n = bc->nodes[index];
    *ret = (struct blob_node_view){n->id,
                                   (uint64_t)n->reads.ns,
                                   (uint64_t)n->writes.ns,
                                   node_is_slow(bc, n),
                                   (uint64_t)n->slow_ns,
                                   (uint64_t)n->usual_ns};
    return true;
}
