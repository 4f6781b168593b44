/* Runs in which data are destroyed: nodes and disks come back empty, or never; bits flip; members
 * of groups change.  What holds at any moment, as long as no more is destroyed than losses.h says:
 *
 *   - of a blob that a record refers to as many shards are left as it takes to read it;
 *   - when it is first seen, no zone being declared down, that is so whatever zone is taken away;
 *   - a member that has its shard goes on having it, unless it was destroyed;
 *   - members change only when each old one in reach has closed its epoch, and each new one then
 * has what it should;
 *   - no member has what has left the deletion queue, and nothing that was deleted comes back.
 *
 * Of nodes that are not up what they had when they were seen last is taken as being there, and of
 * members among them what they may have been given since. */
#include "common/base/check.h"
#include "storagenode/op/disks.h"
#include "tests/sim/shards_impl.h"

#include <stdio.h>

/* So long after a loss, a change of members or the end of a zone's being down, what is seen for the
 * first time may have been written by the rules that held before: a part's upload and its proposal
 * take a few seconds each. */
#define OLD_RULES_NS (12 * NS_PER_SEC)

static struct sim_node *node_of(const struct sim_shards *s, size_t n)
{
    return &s->cluster->stores[n];
}

static const struct group *group_of(const struct sim_shards *s, const struct blob *b)
{
    CHECK(b->pg < PGS_MAX && s->pgs[b->pg].known);
    return &s->pgs[b->pg];
}

static size_t zone_of(const struct sim_shards *s, size_t n)
{
    return n / s->cluster->stores_per_zone;
}

static bool is_among(const size_t *list, unsigned count, size_t n)
{
    for (unsigned i = 0; i < count; i++)
        if (list[i] == n)
            return true;
    return false;
}

bool redundancy_is_member(const struct sim_shards *s, const struct blob *b, size_t node)
{
    const struct group *g = group_of(s, b);
    return is_among(g->store, g->count, node) || is_among(g->next, g->next_count, node);
}

/* ---- the map ---- */

void redundancy_node(struct sim_shards *s, const Cairn__NodeRecord *r)
{
    size_t n = 0;
    while (n < sim_store_count(s->cluster) && strcmp(node_of(s, n)->id, r->node_id) != 0)
        n++;
    if (n == sim_store_count(s->cluster))
        return; /* no storage node */
    s->node[n].up = r->state == CAIRN__NODE_STATE__NODE_UP;
    s->node[n].draining = r->draining;
    s->node[n].missed = false;
    for (size_t i = 0; r->state == CAIRN__NODE_STATE__NODE_LOST && i < r->n_disks; i++)
        s->node[n].missed |= r->disks[i]->state != CAIRN__DISK_STATE__DISK_LOST;
}

static void zones_look(struct sim_shards *s)
{
    for (size_t z = 0; z < s->cluster->zones; z++) {
        bool up = false;
        for (size_t i = 0; i < s->cluster->stores_per_zone; i++)
            up |= s->node[z * s->cluster->stores_per_zone + i].up;
        if (up)
            continue;
        s->zone_down_ns[z] = world_now(s->cluster->world);
    }
}

/* ---- changes of members ---- */

/* It has been in reach since before the last look. */
static bool was_in_reach(const struct sim_shards *s, size_t n, uint32_t up)
{
    struct sim_node *node = node_of(s, n);
    return (up & 1u << n) && s->node[n].up && s->node[n].was_up && s->node[n].boot == node->boot &&
           !host_paused(node->host) &&
           (!node->emptied_ns || world_now(s->cluster->world) - node->emptied_ns > OLD_RULES_NS);
}

static void change_ended(struct sim_shards *s, uint32_t pg, const struct group *old, uint32_t up)
{
    char text[160];
    s->stats.changes++;
    for (unsigned i = 0; i < old->count; i++) {
        size_t n = old->store[i];
        if (!was_in_reach(s, n, up) || disks_epoch_closed(node_of(s, n)->disks, pg) >= old->epoch)
            continue;
        snprintf(text, sizeof(text), "group %u has new members, and %s has not closed epoch %llu",
                 pg, node_of(s, n)->id, (unsigned long long)old->epoch - 1);
        s->cluster->problem(s->cluster->problem_arg, text);
    }
}

/* ---- wrong bits ---- */

struct lookup {
    const struct sim_shard *shard;
    bool found;
};

static void compare_place(void *arg, const struct sim_shard *shard)
{
    struct lookup *l = arg;
    l->found |= shard->drive == l->shard->drive && shard->index == l->shard->index &&
                shard->extent_id == l->shard->extent_id && shard->offset == l->shard->offset &&
                id128_eq(shard->blob_id, l->shard->blob_id);
}

/* Those that are no longer in a living shard are forgotten. */
static void flips_look(struct sim_shards *s, uint32_t up)
{
    for (size_t i = 0; i < s->flip_count;) {
        struct flip *f = &s->flips[i];
        struct lookup l = {&f->shard, false};
        if (up & 1u << f->node) {
            sim_store_each(node_of(s, f->node), compare_place, &l);
            if (!l.found) {
                *f = s->flips[--s->flip_count];
                continue;
            }
        }
        struct blob *b = shards_blob(s, f->shard.blob_id);
        b->whole[f->node] &= (uint16_t) ~(1u << f->shard.index);
        i++;
    }
}

struct choice { /* of a shard: each as likely as any other */
    struct sim_shards *shards;
    struct sim_shard shard;
    uint64_t seen;
};

static void maybe_choose(void *arg, const struct sim_shard *shard)
{
    struct choice *c = arg;
    if (!shard->damaged && world_below(c->shards->cluster->world, ++c->seen) == 0)
        c->shard = *shard;
}

unsigned sim_shards_flip(struct sim_shards *s, size_t node, unsigned count)
{
    unsigned done = 0;
    for (; done < count && s->flip_count < FLIPS_MAX; done++) {
        struct choice c = {.shards = s};
        sim_store_each(node_of(s, node), maybe_choose, &c);
        if (c.seen == 0)
            break;
        struct blob *b = shards_blob(s, c.shard.blob_id);
        s->struck_ns = world_now(s->cluster->world);
        sim_store_flip(node_of(s, node), &c.shard);
        s->flips[s->flip_count++] = (struct flip){node, c.shard};
        s->stats.flips++;
        b->held &= ~(1u << node); /* a crash may take it: a tail with damage is cut there */
        b->whole[node] &= (uint16_t) ~(1u << c.shard.index);
    }
    return done;
}

void sim_shards_emptied(struct sim_shards *s, size_t node)
{
    s->struck_ns = world_now(s->cluster->world);
    for (size_t i = 0; i < s->cap; i++) {
        s->blobs[i].held &= ~(1u << node);
        s->blobs[i].whole[node] = s->blobs[i].damaged[node] = 0;
    }
    for (size_t i = 0; i < s->flip_count;)
        if (s->flips[i].node == node)
            s->flips[i] = s->flips[--s->flip_count];
        else
            i++;
}

void redundancy_emptied(void *arg, struct sim_node *store)
{
    struct sim_shards *s = arg;
    sim_shards_emptied(s, (size_t)(store - s->cluster->stores));
}

/* ---- at each look ---- */

void redundancy_look(struct sim_shards *s, uint32_t up)
{
    for (uint32_t pg = 0; pg < PGS_MAX; pg++)
        if (s->pgs_before[pg].next_count && s->pgs[pg].epoch == s->pgs_before[pg].epoch + 1)
            change_ended(s, pg, &s->pgs_before[pg], up);
    zones_look(s);
    flips_look(s, up);
    for (size_t n = 0; n < sim_store_count(s->cluster); n++) {
        s->node[n].was_up = (up & 1u << n) && s->node[n].up;
        s->node[n].boot = node_of(s, n)->boot;
    }
}

/* The shards that exist, or may, outside of one zone. */
static uint32_t shards_left(const struct sim_shards *s, const struct blob *b, uint32_t up,
                            size_t without_zone)
{
    const struct group *g = group_of(s, b);
    uint32_t ret = 0;
    for (size_t n = 0; n < sim_store_count(s->cluster); n++)
        if (!node_of(s, n)->gone && zone_of(s, n) != without_zone)
            ret |= b->whole[n];
    for (unsigned i = 0; i < g->count + g->next_count; i++) {
        size_t n = i < g->count ? g->store[i] : g->next[i - g->count];
        if (!(up & 1u << n) && !node_of(s, n)->gone && zone_of(s, n) != without_zone &&
            !node_of(s, n)->emptied_ns)
            ret |= 1u << (i < g->count ? i : i - g->count);
    }
    return ret;
}

static void judge_first(struct sim_shards *s, const struct blob *b, uint32_t up)
{
    const struct group *g = group_of(s, b);
    uint64_t now = world_now(s->cluster->world);
    uint64_t before = now - MIN(now, OLD_RULES_NS);
    if ((g->epoch > 1 && g->changed_ns > before) || sim_shards_zone_was_down(s, SIZE_MAX, before))
        return;
    for (size_t n = 0; n < sim_store_count(s->cluster); n++)
        if (node_of(s, n)->emptied_ns && now - node_of(s, n)->emptied_ns < OLD_RULES_NS)
            return;
    for (size_t i = 0; i < s->flip_count; i++)
        if (id128_eq(s->flips[i].shard.blob_id, b->id))
            return;
    for (size_t z = 0; z < s->cluster->zones; z++)
        if ((uint32_t)__builtin_popcount(shards_left(s, b, up, z)) < g->data)
            shards_problem(s, b, "was acknowledged, and would not survive the loss of a zone", "");
}

static void judge_referred_to(struct sim_shards *s, struct blob *b, uint32_t up)
{
    const struct group *g = group_of(s, b);
    for (size_t n = 0; n < sim_store_count(s->cluster); n++) {
        if (!(up & 1u << n) || !redundancy_is_member(s, b, n))
            continue;
        if (sim_store_marked(node_of(s, n), b->id))
            shards_problem(s, b, "is referred to, and marked as deleted at ", node_of(s, n)->id);
        else if (~b->lives & b->held & 1u << n)
            shards_problem(s, b, "is referred to, and was lost at ", node_of(s, n)->id);
    }
    if ((uint32_t)__builtin_popcount(shards_left(s, b, up, SIZE_MAX)) < g->data)
        shards_problem(s, b, "is referred to, and cannot be read any more", "");
    if (!b->seen) {
        judge_first(s, b, up);
        s->stats.coded += g->data > 1;
    }
    b->seen = true;
}

void redundancy_judge(struct sim_shards *s, struct blob *b, uint32_t up)
{
    if (b->standing == REFERRED_TO)
        judge_referred_to(s, b, up);
    for (size_t n = 0; n < sim_store_count(s->cluster) && b->known; n++) {
        uint32_t bit = 1u << n;
        b->left_behind &= b->lives | ~up | ~bit;
        if (!redundancy_is_member(s, b, n)) {
            b->left_behind |= b->lives & bit;
            b->held &= ~bit; /* it may drop what it has, and be given it again */
            continue;
        }
        if ((b->lives & bit) && (b->gone & bit))
            shards_problem(s, b, "was gone, and is back at ", node_of(s, n)->id);
        else if (b->lives & ~b->left_behind & bit && b->standing == NOWHERE)
            shards_problem(s, b, "has left the deletion queue, and lives at ", node_of(s, n)->id);
        if (b->standing != REFERRED_TO)
            b->gone |= b->held & up & ~b->lives & bit;
        /* What is damaged may go when the node starts again; and one that is only becoming a member
         * may still be dropping what it had when it left, until its map is as new. */
        bool is_member = is_among(group_of(s, b)->store, group_of(s, b)->count, n);
        b->held |= b->whole[n] && is_member ? bit : 0;
    }
}

/* ---- full redundancy ---- */

struct damage {
    struct sim_shards *shards;
    struct sim_node *node;
    struct sim_shard found;
    bool any;
};

static void verify(void *arg, const struct sim_shard *shard)
{
    struct damage *d = arg;
    if (d->any || shards_blob(d->shards, shard->blob_id)->standing != REFERRED_TO ||
        sim_store_whole(d->node, shard))
        return; /* nobody repairs what nothing refers to */
    d->any = true;
    d->found = *shard;
}

/* Who is no member has nothing. */
static bool others_are_empty(struct sim_shards *s, const struct blob *b, struct buf *ret_why)
{
    for (size_t n = 0; n < sim_store_count(s->cluster); n++) {
        if (!(b->lives & 1u << n) || redundancy_is_member(s, b, n))
            continue;
        char id[ID_HEX_CHARS + 1];
        id128_hex(b->id, id);
        buf_printf(ret_why, "%s has left group %u, and still has blob %s", node_of(s, n)->id, b->pg,
                   id);
        return false;
    }
    return true;
}

static bool places_are_full(struct sim_shards *s, const struct blob *b, struct buf *ret_why)
{
    const struct group *g = group_of(s, b);
    for (unsigned i = 0; i < g->count; i++) {
        size_t n = g->store[i];
        /* A copy is a copy, whatever its number. */
        if (node_of(s, n)->gone || (g->data == 1 ? b->whole[n] != 0 : b->whole[n] & 1u << i))
            continue;
        char id[ID_HEX_CHARS + 1];
        id128_hex(b->id, id);
        buf_printf(ret_why, "shard %u of blob %s of group %u is not whole at %s", i, id, b->pg,
                   node_of(s, n)->id);
        return false;
    }
    return true;
}

static bool is_full(struct sim_shards *s, struct buf *ret_why)
{
    for (size_t n = 0; n < sim_store_count(s->cluster); n++) {
        if (node_of(s, n)->gone || (sim_store_up(node_of(s, n)) && s->node[n].up))
            continue;
        buf_printf(ret_why, "%s is not up", node_of(s, n)->id);
        return false;
    }
    for (uint32_t pg = 0; pg < PGS_MAX; pg++) {
        if (!s->pgs[pg].next_count)
            continue;
        buf_printf(ret_why, "the members of group %u are changing", pg);
        return false;
    }
    for (size_t i = 0; i < s->cap; i++)
        if (s->blobs[i].standing == REFERRED_TO && !places_are_full(s, &s->blobs[i], ret_why))
            return false;
    return true;
}

bool redundancy_is_full(struct sim_shards *s, struct buf *ret_why)
{
    if (!is_full(s, ret_why))
        return false;
    for (size_t i = 0; i < s->cap; i++)
        if (s->blobs[i].standing == REFERRED_TO && !others_are_empty(s, &s->blobs[i], ret_why))
            return false;
    for (size_t n = 0; n < sim_store_count(s->cluster); n++) {
        struct damage d = {.shards = s, .node = node_of(s, n)};
        if (d.node->gone)
            continue;
        sim_store_each(d.node, verify, &d);
        if (!d.any)
            continue;
        char id[ID_HEX_CHARS + 1];
        id128_hex(d.found.blob_id, id);
        buf_printf(ret_why, "shard %u of blob %s lies damaged at %s", d.found.index, id,
                   d.node->id);
        return false;
    }
    return true;
}

struct owner {
    struct sim_node *node;
    struct id128 blob_id;
    bool told;
};

static void look_for_owner(void *arg, const struct sim_shard *shard)
{
    struct owner *o = arg;
    o->told |= id128_eq(shard->blob_id, o->blob_id) && sim_store_head_whole(o->node, shard);
}

bool redundancy_has_owner(const struct sim_shards *s, const struct blob *b)
{
    struct owner o = {.blob_id = b->id};
    for (size_t n = 0; n < sim_store_count(s->cluster) && !o.told; n++) {
        o.node = node_of(s, n);
        if (b->lives & 1u << n)
            sim_store_each(o.node, look_for_owner, &o);
    }
    return o.told;
}

/* It was there when data were destroyed last, and no record has ever referred to it: nobody repairs
 * it before one does. */
static bool is_under_way(const struct sim_shards *s, const struct blob *b)
{
    bool exists = false;
    for (size_t n = 0; n < sim_store_count(s->cluster); n++)
        exists |= !node_of(s, n)->gone && b->whole[n];
    return exists && !b->known && s->struck_ns && b->met_ns <= s->struck_ns + LOOK_NS;
}

bool sim_shards_full(struct sim_shards *s)
{
    struct buf why = {0};
    bool full = shards_look(s) && is_full(s, &why);
    for (size_t i = 0; full && i < s->cap; i++)
        full = id128_is_zero(s->blobs[i].id) || !is_under_way(s, &s->blobs[i]);
    buf_fini(&why);
    return full;
}

bool sim_shards_is_up(const struct sim_shards *s, size_t node)
{
    return s->node[node].up;
}

bool sim_shards_draining(const struct sim_shards *s, size_t node)
{
    return s->node[node].draining;
}

bool sim_shards_missed(const struct sim_shards *s, size_t node)
{
    return s->node[node].missed;
}

bool sim_shards_zone_was_down(const struct sim_shards *s, size_t zone, uint64_t since_ns)
{
    for (size_t z = 0; z < s->cluster->zones; z++)
        if (z != zone && s->zone_down_ns[z] && s->zone_down_ns[z] >= since_ns)
            return true;
    return false;
}
