/* What refers to shards, what lies on storage nodes, and whether the two agree. */
#include "tests/sim/shards_impl.h"

#include "common/base/check.h"
#include "metanode/index/state.h"
#include "metanode/op/node.h"

#include <stdio.h>
#include <stdlib.h>

#define BUCKETS_MAX 16            /* that exist at once */

struct look { /* one walk over the rows */
    struct sim_shards *shards;
    struct kv *kv;
    uint32_t partition;
    uint64_t queued,
        unowned; /* items, parts and manifests in a queue; rows that belong to nothing */
    uint64_t buckets[BUCKETS_MAX]; /* those that exist, when looking for what others have left */
    size_t bucket_count;
    uint64_t left;
};

void shards_problem(struct sim_shards *s, const struct blob *b, const char *what, const char *where)
{
    char id[ID_HEX_CHARS + 1], text[200];
    id128_hex(b->id, id);
    snprintf(text, sizeof(text), "blob %s of group %u %s%s", id, b->pg, what, where);
    s->cluster->problem(s->cluster->problem_arg, text);
}

/* ---- blobs by id ---- */

static struct blob *place_of(struct blob *blobs, size_t cap, struct id128 id)
{
    uint64_t hash;
    memcpy(&hash, id.bytes, sizeof(hash)); /* ids are random */
    size_t i = hash & (cap - 1);
    while (!id128_is_zero(blobs[i].id) && !id128_eq(blobs[i].id, id))
        i = (i + 1) & (cap - 1);
    return &blobs[i];
}

struct blob *shards_blob(struct sim_shards *s, struct id128 id)
{
    if (2 * (s->count + 1) > s->cap) {
        size_t cap = s->cap ? 2 * s->cap : 1024;
        struct blob *grown = calloc(cap, sizeof(*grown));
        CHECK(grown);
        for (size_t i = 0; i < s->cap; i++)
            if (!id128_is_zero(s->blobs[i].id))
                *place_of(grown, cap, s->blobs[i].id) = s->blobs[i];
        free(s->blobs);
        s->blobs = grown;
        s->cap = cap;
    }
    struct blob *b = place_of(s->blobs, s->cap, id);
    if (id128_is_zero(b->id)) {
        b->id = id;
        b->met_ns = world_now(s->cluster->world);
        s->count++;
    }
    return b;
}

static void stands(struct sim_shards *s, uint32_t pg, ProtobufCBinaryData id_bytes,
                   enum standing standing)
{
    struct id128 id;
    CHECK(id128_from_slice(bytes_of(id_bytes), &id));
    struct blob *b = shards_blob(s, id);
    b->pg = pg;
    s->stats.blobs += !b->known;
    b->known = true;
    b->standing = MAX(b->standing, standing);
}

static void segments_stand(struct sim_shards *s, Cairn__Segment *const *segments, size_t count,
                           enum standing standing)
{
    for (size_t i = 0; i < count; i++)
        stands(s, segments[i]->pg, segments[i]->blob_id, standing);
}

/* ---- the rows of a partition ---- */

static void each_row(struct look *l, enum kv_family family, enum index_table table,
                     void (*row)(struct look *l, struct slice key, struct slice value))
{
    struct key lower, upper;
    key_table(&lower, l->partition, table, SLICE_EMPTY);
    upper = lower;
    key_successor(&upper);
    struct kv_iter *it =
        l->kv->ops->iter_new(l->kv, NULL, family, key_view(&lower), key_view(&upper));
    CHECK(it);
    for (it->ops->seek(it, SLICE_EMPTY); it->ops->valid(it); it->ops->next(it))
        row(l, it->ops->key(it), it->ops->value(it));
    it->ops->free(it);
}

/* The row of `table` for what a longer row's key says behind its prefix.  false: there is none. */
static bool row_find(struct look *l, enum index_table table, struct slice suffix, struct buf *ret)
{
    struct key key;
    key_table(&key, l->partition, table, suffix);
    buf_clear(ret);
    return l->kv->ops->get(l->kv, NULL, KV_INDEX, key_view(&key), ret) == OK;
}

static Cairn__ObjectRecord *object_find(struct look *l, struct slice base)
{
    struct buf suffix = {0}, value = {0};
    Cairn__ObjectRecord *record = NULL;
    buf_slice(&suffix, base);
    buf_be64(&suffix, OBJECT_SUFFIX_CURRENT);
    if (row_find(l, TABLE_OBJECT, buf_view(&suffix), &value))
        record = cairn__object_record__unpack(NULL, value.len, value.ptr);
    buf_fini(&suffix);
    buf_fini(&value);
    return record;
}

static struct slice behind_prefix(struct slice key, size_t tail)
{
    return SLICE(key.ptr + KEY_PREFIX_BYTES, key.len - KEY_PREFIX_BYTES - tail);
}

static uint32_t count_chosen(struct look *l, struct slice upload, ProtobufCBinaryData chosen)
{
    struct key lower, upper;
    uint32_t count = 0;
    key_table(&lower, l->partition, TABLE_PART, upload);
    upper = lower;
    key_successor(&upper);
    struct kv_iter *it =
        l->kv->ops->iter_new(l->kv, NULL, KV_INDEX, key_view(&lower), key_view(&upper));
    CHECK(it);
    for (it->ops->seek(it, SLICE_EMPTY); it->ops->valid(it); it->ops->next(it)) {
        struct slice key = it->ops->key(it);
        count += part_is_chosen(chosen, load_be16(key.ptr + key.len - 2));
    }
    it->ops->free(it);
    return count;
}

/* The object that a completed upload made has its manifest and all of its parts. */
static void manifest_check(struct look *l, struct slice base, const Cairn__ObjectRecord *r)
{
    struct buf upload = {0}, value = {0};
    struct sim_cluster *c = l->shards->cluster;
    uint32_t found = 0;
    buf_slice(&upload, base);
    buf_slice(&upload, bytes_of(r->manifest_id));
    if (row_find(l, TABLE_MANIFEST, buf_view(&upload), &value)) {
        Cairn__UploadRecord *u = cairn__upload_record__unpack(NULL, value.len, value.ptr);
        CHECK(u);
        found = count_chosen(l, buf_view(&upload), u->chosen);
        cairn__upload_record__free_unpacked(u, NULL);
    }
    if (found != r->part_count)
        c->problem(c->problem_arg, "an object has not the parts that it was completed with");
    buf_fini(&upload);
    buf_fini(&value);
}

static void object_row(struct look *l, struct slice key, struct slice value)
{
    Cairn__ObjectRecord *r = cairn__object_record__unpack(NULL, value.len, value.ptr);
    CHECK(r);
    segments_stand(l->shards, r->segments, r->n_segments, REFERRED_TO);
    if (r->kind == CAIRN__DATA_KIND__DATA_MANIFEST)
        manifest_check(l, behind_prefix(key, 8), r);
    cairn__object_record__free_unpacked(r, NULL);
}

/* The object of that key is the one that the upload made. */
static bool object_is_of(struct look *l, struct slice upload)
{
    Cairn__ObjectRecord *r = object_find(l, SLICE(upload.ptr, upload.len - ID_BYTES));
    bool is = r && slice_eq(bytes_of(r->manifest_id),
                            SLICE(upload.ptr + upload.len - ID_BYTES, ID_BYTES));
    if (r)
        cairn__object_record__free_unpacked(r, NULL);
    return is;
}

/* An object consists of the manifest's chosen parts. */
static enum standing part_of_manifest(struct look *l, struct slice upload, uint32_t number,
                                      const struct buf *manifest)
{
    Cairn__UploadRecord *u = cairn__upload_record__unpack(NULL, manifest->len, manifest->ptr);
    CHECK(u);
    enum standing standing = !object_is_of(l, upload)            ? NOWHERE
                             : part_is_chosen(u->chosen, number) ? REFERRED_TO
                                                                 : QUEUED;
    cairn__upload_record__free_unpacked(u, NULL);
    return standing;
}

static void part_row(struct look *l, struct slice key, struct slice value)
{
    struct slice upload = behind_prefix(key, 2);
    struct buf owner = {0};
    Cairn__PartRecord *part = cairn__part_record__unpack(NULL, value.len, value.ptr);
    CHECK(part);
    enum standing standing = NOWHERE;
    if (row_find(l, TABLE_DEAD, upload, &owner))
        standing = QUEUED;
    else if (row_find(l, TABLE_UPLOAD, upload, &owner))
        standing = REFERRED_TO;
    else if (row_find(l, TABLE_MANIFEST, upload, &owner))
        standing = part_of_manifest(l, upload, part->number, &owner);
    l->queued += standing == QUEUED;
    l->unowned += standing == NOWHERE;
    segments_stand(l->shards, part->segments, part->n_segments, standing);
    cairn__part_record__free_unpacked(part, NULL);
    buf_fini(&owner);
}

static void manifest_row(struct look *l, struct slice key, struct slice value)
{
    struct slice upload = behind_prefix(key, 0);
    struct buf ignored = {0};
    (void)value;
    if (row_find(l, TABLE_DEAD, upload, &ignored))
        l->queued++;
    else
        l->unowned += !object_is_of(l, upload);
    buf_fini(&ignored);
}

/* Inline data: of the very version that is there, */
static void object_body_row(struct look *l, struct slice key, struct slice value)
{
    Cairn__ObjectRecord *r = object_find(l, behind_prefix(key, 8));
    l->unowned += !r || r->kind != CAIRN__DATA_KIND__DATA_INLINE || r->size != value.len ||
                  r->version != ~load_be64(key.ptr + key.len - 8);
    if (r)
        cairn__object_record__free_unpacked(r, NULL);
}

/* or of a part that is there. */
static void part_body_row(struct look *l, struct slice key, struct slice value)
{
    struct buf packed = {0};
    Cairn__PartRecord *part = NULL;
    if (row_find(l, TABLE_PART, behind_prefix(key, 0), &packed))
        part = cairn__part_record__unpack(NULL, packed.len, packed.ptr);
    l->unowned += !part || part->kind != CAIRN__DATA_KIND__DATA_INLINE || part->size != value.len;
    if (part)
        cairn__part_record__free_unpacked(part, NULL);
    buf_fini(&packed);
}

static void deletion_row(struct look *l, struct slice key, struct slice value)
{
    (void)key;
    Cairn__DeletionItem *item = cairn__deletion_item__unpack(NULL, value.len, value.ptr);
    CHECK(item);
    l->queued++;
    for (size_t i = 0; i < item->n_blobs; i++)
        stands(l->shards, item->blobs[i]->pg, item->blobs[i]->blob_id, QUEUED);
    cairn__deletion_item__free_unpacked(item, NULL);
}

/* ---- placement groups ---- */

static unsigned members_find(const struct sim_cluster *c, char *const *ids, size_t count,
                             size_t ret[PG_MEMBERS_MAX])
{
    unsigned found = 0;
    for (size_t i = 0; i < count; i++)
        for (size_t n = 0; n < sim_store_count(c); n++)
            if (strcmp(c->stores[n].id, ids[i]) == 0)
                ret[found++] = n;
    CHECK(found == count);
    return found;
}

static void node_row(struct look *l, struct slice key, struct slice value)
{
    (void)key;
    Cairn__NodeRecord *r = cairn__node_record__unpack(NULL, value.len, value.ptr);
    CHECK(r);
    redundancy_node(l->shards, r);
    cairn__node_record__free_unpacked(r, NULL);
}

static void pg_row(struct look *l, struct slice key, struct slice value)
{
    (void)key;
    struct sim_shards *s = l->shards;
    struct sim_cluster *c = s->cluster;
    Cairn__PlacementGroup *pg = cairn__placement_group__unpack(NULL, value.len, value.ptr);
    CHECK(pg && pg->id < PGS_MAX && pg->n_members <= PG_MEMBERS_MAX);
    struct group *g = &s->pgs[pg->id];
    if (g->epoch != pg->epoch)
        g->changed_ns = world_now(c->world);
    g->known = true;
    g->data = pg->data_shards;
    g->epoch = pg->epoch;
    g->count = members_find(c, pg->members, pg->n_members, g->store);
    g->next_count = members_find(c, pg->next_members, pg->n_next_members, g->next);
    cairn__placement_group__free_unpacked(pg, NULL);
}

/* ---- a look at everything ---- */

/* The metanode whose replica of the partition has applied most; NULL: none runs, or it has fallen
 * behind what was applied before. */
static struct sim_node *most_applied(struct sim_shards *s, size_t at, uint32_t *ret_partition)
{
    struct sim_cluster *c = s->cluster;
    struct sim_node *best = NULL;
    uint64_t applied = 0;
    for (size_t z = 0; z < c->zones; z++) {
        struct meta_partition_info p;
        struct sim_node *n = &c->metas[z];
        if (!n->meta || n->failed || at >= meta_node_partition_count(n->meta))
            continue;
        meta_node_partition_info(n->meta, at, &p);
        if (!p.running || (best && p.applied <= applied))
            continue;
        best = n;
        applied = p.applied;
        *ret_partition = p.partition;
    }
    if (applied < s->applied[at])
        return NULL;
    s->applied[at] = applied;
    return best;
}

/* What refers to blobs, from the rows of all partitions.  false: the truth is not to be had now. */
static bool look_at_records(struct sim_shards *s, struct look *ret)
{
    struct sim_node *nodes[SIM_PARTITIONS_MAX];
    uint32_t partitions[SIM_PARTITIONS_MAX];
    size_t count = 0;
    for (size_t z = 0; z < s->cluster->zones; z++)
        if (s->cluster->metas[z].meta)
            count = MAX(count, meta_node_partition_count(s->cluster->metas[z].meta));
    CHECK(count <= SIM_PARTITIONS_MAX);
    for (size_t i = 0; i < count; i++)
        if (!(nodes[i] = most_applied(s, i, &partitions[i])))
            return false;
    for (size_t i = 0; i < s->cap; i++)
        s->blobs[i].standing = NOWHERE;
    *ret = (struct look){.shards = s};
    for (size_t i = 0; i < count; i++) {
        ret->kv = nodes[i]->state_kv;
        ret->partition = partitions[i];
        if (partitions[i] == ROOT_PARTITION) {
            memcpy(s->pgs_before, s->pgs, sizeof(s->pgs));
            each_row(ret, KV_INDEX, TABLE_PG, pg_row);
            each_row(ret, KV_INDEX, TABLE_NODE, node_row);
            continue;
        }
        each_row(ret, KV_INDEX, TABLE_OBJECT, object_row);
        each_row(ret, KV_INDEX, TABLE_PART, part_row);
        each_row(ret, KV_INDEX, TABLE_DELETION, deletion_row);
        each_row(ret, KV_INDEX, TABLE_MANIFEST, manifest_row);
        each_row(ret, KV_BODY, TABLE_OBJECT_BODY, object_body_row);
        each_row(ret, KV_BODY, TABLE_PART_BODY, part_body_row);
    }
    return count > 0;
}

struct store_look {
    struct sim_shards *shards;
    size_t node;
};

static void shard_lives(void *arg, const struct sim_shard *shard)
{
    struct store_look *l = arg;
    struct blob *b = shards_blob(l->shards, shard->blob_id);
    b->lives |= 1u << l->node;
    *(shard->damaged ? &b->damaged[l->node] : &b->whole[l->node]) |= (uint16_t)(1u << shard->index);
}

static void look_at_stores(struct sim_shards *s, uint32_t *ret_up)
{
    size_t count = sim_store_count(s->cluster);
    *ret_up = 0;
    for (size_t n = 0; n < count; n++)
        *ret_up |= sim_store_up(&s->cluster->stores[n]) ? 1u << n : 0;
    for (size_t i = 0; i < s->cap; i++) {
        struct blob *b = &s->blobs[i];
        b->lives = 0;
        for (size_t n = 0; n < count; n++)
            if (*ret_up & 1u << n)
                b->whole[n] = b->damaged[n] = 0;
    }
    for (size_t n = 0; n < count; n++) {
        struct store_look l = {s, n};
        if (*ret_up & 1u << n)
            sim_store_each(&s->cluster->stores[n], shard_lives, &l);
    }
}

static void judge_referred_to(struct sim_shards *s, const struct blob *b, uint32_t up)
{
    struct sim_cluster *c = s->cluster;
    uint32_t zones = 0;
    CHECK(b->pg < PGS_MAX && s->pgs[b->pg].known);
    for (unsigned i = 0; i < s->pgs[b->pg].count; i++) {
        size_t n = s->pgs[b->pg].store[i];
        uint32_t bit = 1u << n;
        if ((b->lives & bit) || !(up & bit))
            zones |= 1u << n / c->stores_per_zone;
        else if (sim_store_marked(&c->stores[n], b->id))
            shards_problem(s, b, "is referred to, and marked as deleted at ", c->stores[n].id);
        else if (b->held & bit)
            shards_problem(s, b, "is referred to, and was lost at ", c->stores[n].id);
    }
    if ((zones & (zones - 1)) == 0)
        shards_problem(s, b, "is referred to, and not in two zones", "");
}

static void judge(struct sim_shards *s, struct blob *b, uint32_t up)
{
    struct sim_cluster *c = s->cluster;
    if (c->mends) {
        redundancy_judge(s, b, up);
        return;
    }
    if (b->standing == REFERRED_TO)
        judge_referred_to(s, b, up);
    for (size_t n = 0; n < sim_store_count(c); n++) {
        uint32_t bit = 1u << n;
        if ((b->lives & bit) && (b->gone & bit))
            shards_problem(s, b, "was gone, and is back at ", c->stores[n].id);
        else if ((b->lives & bit) && b->known && b->standing == NOWHERE)
            shards_problem(s, b, "has left the deletion queue, and lives at ", c->stores[n].id);
    }
    b->held |= b->lives;
    b->gone |= b->held & up & ~b->lives;
}

/* false: the truth is not to be had now. */
static bool look_at_all(struct sim_shards *s, struct look *l)
{
    uint32_t up;
    if (!look_at_records(s, l))
        return false;
    look_at_stores(s, &up);
    if (s->cluster->mends)
        redundancy_look(s, up);
    for (size_t i = 0; i < s->cap; i++)
        if (!id128_is_zero(s->blobs[i].id))
            judge(s, &s->blobs[i], up);
    s->stats.looks++;
    return true;
}

bool shards_look(struct sim_shards *s)
{
    struct look l;
    return look_at_all(s, &l);
}

void sim_shards_check(struct sim_shards *s)
{
    struct look l;
    uint32_t ignored;
    uint64_t now = world_now(s->cluster->world);
    if (now >= s->next_look_ns) {
        s->next_look_ns = now + LOOK_NS;
        (void)look_at_all(s, &l);
        return;
    }
    for (size_t i = 0; i < SIM_PARTITIONS_MAX; i++)
        (void)most_applied(s, i, &ignored);
}

void sim_shards_calm(struct sim_shards *s)
{
    s->calm = true;
}

void sim_shards_acknowledged(struct sim_shards *s, struct id128 blob_id)
{
    shards_blob(s, blob_id)->acknowledged = true;
}

void sim_shards_discarded(struct sim_shards *s, struct id128 blob_id)
{
    shards_blob(s, blob_id)->discarded_in_calm |= s->calm;
}

/* ---- when all is over ---- */

static void bucket_row(struct look *l, struct slice key, struct slice value)
{
    (void)key;
    Cairn__BucketRecord *r = cairn__bucket_record__unpack(NULL, value.len, value.ptr);
    CHECK(r && l->bucket_count < BUCKETS_MAX);
    l->buckets[l->bucket_count++] = r->id;
    cairn__bucket_record__free_unpacked(r, NULL);
}

static void row_of_bucket(struct look *l, struct slice key, struct slice value)
{
    (void)value;
    uint64_t id = load_be64(key.ptr + KEY_PREFIX_BYTES);
    for (size_t i = 0; i < l->bucket_count; i++)
        if (l->buckets[i] == id)
            return;
    l->left++;
}

/* Rows of buckets that no longer exist, their fences excepted. */
static uint64_t count_leftovers(struct sim_shards *s)
{
    static const struct {
        enum kv_family family;
        enum index_table table;
    } tables[] = {
        {KV_INDEX, TABLE_OBJECT},   {KV_INDEX, TABLE_UPLOAD}, {KV_INDEX, TABLE_MANIFEST},
        {KV_INDEX, TABLE_PART},     {KV_INDEX, TABLE_DEAD},   {KV_BODY, TABLE_OBJECT_BODY},
        {KV_BODY, TABLE_PART_BODY},
    };
    struct look l = {.shards = s};
    for (size_t i = 0; i < meta_node_partition_count(s->cluster->metas[0].meta); i++) {
        struct sim_node *n = most_applied(s, i, &l.partition);
        CHECK(n);
        l.kv = n->state_kv;
        if (l.partition == ROOT_PARTITION) /* the first of all */
            each_row(&l, KV_INDEX, TABLE_BUCKET, bucket_row);
        for (size_t t = 0; l.partition != ROOT_PARTITION && t < ARRAY_COUNT(tables); t++)
            each_row(&l, tables[t].family, tables[t].table, row_of_bucket);
    }
    return l.left;
}

static bool leaves_nothing(struct sim_shards *s, struct buf *ret_why)
{
    s->stats.orphans = s->stats.let_go = 0;
    for (size_t i = 0; i < s->cap; i++) {
        const struct blob *b = &s->blobs[i];
        s->stats.let_go += b->known && b->standing == NOWHERE;
        if (!b->lives || b->standing == REFERRED_TO)
            continue;
        if (s->cluster->mends && !redundancy_has_owner(s, b)) {
            s->stats.orphans++; /* a damaged head: for the operator */
            continue;
        }
        if (s->cluster->mends || b->known || b->acknowledged || b->discarded_in_calm) {
            char id[ID_HEX_CHARS + 1];
            id128_hex(b->id, id);
            buf_printf(ret_why, "blob %s of group %u, which nothing refers to, is still there (%x)", id,
                       b->pg, b->lives);
            return false;
        }
        s->stats.orphans++;
    }
    return true;
}

bool sim_shards_settled(struct sim_shards *s, struct buf *ret_why)
{
    struct look l;
    for (size_t n = 0; n < sim_store_count(s->cluster); n++) {
        if (s->cluster->stores[n].gone)
            continue;
        if (!sim_store_up(&s->cluster->stores[n])) {
            buf_printf(ret_why, "%s has not recovered", s->cluster->stores[n].id);
            return false;
        }
        sim_store_check(&s->cluster->stores[n]);
    }
    if (!look_at_all(s, &l)) {
        buf_cstr(ret_why, "a partition has fallen behind what was applied");
        return false;
    }
    uint64_t rows = count_leftovers(s);
    if (l.queued || l.unowned || rows) {
        buf_printf(ret_why,
                   "deletion queues hold %llu items, %llu rows belong to nothing, buckets that "
                   "are gone have %llu rows",
                   (unsigned long long)l.queued, (unsigned long long)l.unowned,
                   (unsigned long long)rows);
        return false;
    }
    return leaves_nothing(s, ret_why) && (!s->cluster->mends || redundancy_is_full(s, ret_why));
}

struct sim_shards *sim_shards_new(struct sim_cluster *c)
{
    struct sim_shards *s = calloc(1, sizeof(*s));
    CHECK(s && sim_store_count(c) <= 32);
    s->cluster = c;
    c->emptied = redundancy_emptied;
    c->emptied_arg = s;
    return s;
}

const struct sim_shards_stats *sim_shards_stats(const struct sim_shards *s)
{
    return &s->stats;
}
