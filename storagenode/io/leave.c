/* Dropping what the node holds of groups that it has left.  See leave.h. */
#include "storagenode/io/leave.h"

#include "common/base/check.h"

#include <stdlib.h>

#define LOOK_NS NS_PER_SEC       /* has the map changed? */
#define AGAIN_NS (60 * NS_PER_SEC) /* if it has not: what was late may have come since */
#define TURN_NS (50 * NS_PER_MS) /* between two handfuls of shards */
#define GROUPS_PER_TURN 256u

struct leave {
    struct env *env;
    struct disks *disks;
    struct map_client *map;
    char node_id[NET_NODE_ID_MAX];
    struct env_timer timer;
    uint64_t walking, walked; /* versions of the map */
    size_t next;              /* the group to look at, of the map that is walked */
    uint64_t walked_ns;       /* when that was */
    bool again;               /* some group could not be left yet */
};

static bool has_left(const struct leave *l, const Cairn__PlacementGroup *pg)
{
    for (size_t i = 0; i < pg->n_members; i++)
        if (strcmp(pg->members[i], l->node_id) == 0)
            return false;
    return pg->n_next_members == 0 && pg->n_members > 0;
}

/* True: a turn is over, and there is more to do. */
static bool walk(struct leave *l, const Cairn__ClusterMap *map)
{
    for (unsigned n = 0; l->next < map->n_pgs; n++) {
        const Cairn__PlacementGroup *pg = map->pgs[l->next];
        bool more = false;
        if (n == GROUPS_PER_TURN)
            return true;
        if (has_left(l, pg) &&
            disks_group_leave(l->disks, pg->id, pg->epoch, map->created_ms, &more) != OK)
            l->again = true;
        if (more)
            return true;
        l->next++;
    }
    return false;
}

static void on_time(struct env_timer *t)
{
    struct leave *l = container_of(t, struct leave, timer);
    const Cairn__ClusterMap *map = map_client_map(l->map);
    uint64_t now = env_now_ns(l->env);
    bool more = false;
    if (map && (map->version != l->walked || now - l->walked_ns >= AGAIN_NS)) {
        if (map->version != l->walking) {
            l->walking = map->version;
            l->next = 0;
            l->again = false;
        }
        more = walk(l, map);
        if (!more && !l->again) {
            l->walked = map->version;
            l->walked_ns = now;
        }
        if (!more)
            l->walking = 0;
    }
    env_timer_start(&l->timer, more ? TURN_NS : LOOK_NS);
}

int leave_new(struct env *env, struct disks *disks, struct map_client *map, const char *node_id,
              struct leave **ret)
{
    size_t len = strlen(node_id);
    if (len >= NET_NODE_ID_MAX)
        return ERR_INVAL;
    struct leave *l = calloc(1, sizeof(*l));
    if (!l)
        return ERR_NOMEM;
    l->env = env;
    l->disks = disks;
    l->map = map;
    memcpy(l->node_id, node_id, len + 1);
    env_timer_init(env, &l->timer, on_time);
    env_timer_start(&l->timer, LOOK_NS);
    *ret = l;
    return OK;
}

void leave_free(struct leave *l)
{
    if (!l)
        return;
    env_timer_stop(&l->timer);
    free(l);
}
