/* Disks of a model that come and go: pulled, put back with what they had, given up, replaced by an
 * empty one; and indexes that are lost while their extents stay.
 *
 * While a disk is missing and has not been given up, what lies there alone cannot be had (an error
 * that says so, never "not found") and no delete is acknowledged.  Once given up, what lay there
 * alone is gone, and the disk serves no more, whatever comes back with it. */
#include "tests/model/model_impl.h"

#include "common/env/disk_mem.h"
#include "common/env/kv_mem.h"
#include "storagenode/op/store_impl.h"

static void indexes_empty(struct model *m);

static struct kv *kv_new(struct model *m)
{
    struct kv_mem_config config = {.mode = KV_STATE, .flush_delay_ns = m->kv_flush_ns};
    struct kv *kv = kv_mem_new(&m->fake.env, &config);
    CHECK(kv);
    return kv;
}

void unit_add(struct model *m, unsigned bay)
{
    struct disk_mem_config config = *m->disk_config;
    CHECK(m->unit_count < UNITS_MAX);
    struct unit *u = &m->units[m->unit_count];
    config.seed += (uint64_t)m->unit_count << 32;
    *u = (struct unit){.disk = disk_mem_new(&m->fake.env, &config),
                       .kv = kv_new(m),
                       .bytes_total = config.bytes_total};
    CHECK(u->disk);
    m->bay[bay] = (int)m->unit_count++;
}

void units_free(struct model *m)
{
    for (unsigned i = 0; i < m->unit_count; i++) {
        disk_mem_free(m->units[i].disk);
        kv_mem_free(m->units[i].kv);
    }
}

static int bay_of(const struct model *m, unsigned unit)
{
    for (unsigned i = 0; i < m->bays; i++)
        if (m->bay[i] == (int)unit)
            return (int)i;
    return -1;
}

/* It serves, unless it fails in this life. */
static bool serves(const struct model *m, unsigned unit)
{
    return bay_of(m, unit) >= 0 && !m->units[unit].lost;
}

static bool away(const struct model *m, unsigned unit)
{
    const struct unit *u = &m->units[unit];
    return bay_of(m, unit) < 0 && !u->lost && !id128_is_zero(u->id);
}

bool units_out(struct model *m)
{
    for (unsigned i = 0; i < m->unit_count; i++)
        if (away(m, i))
            return true;
    return false;
}

unsigned units_serving(struct model *m)
{
    unsigned n = 0;
    for (unsigned i = 0; i < m->unit_count; i++)
        n += serves(m, i);
    return n;
}

uint32_t units_serving_bits(struct model *m)
{
    uint32_t bits = 0;
    for (unsigned i = 0; i < m->unit_count; i++)
        bits |= (uint32_t)serves(m, i) << i;
    return bits;
}

/* ---- what is where, who knows what ---- */

void units_look(struct model *m)
{
    if (!disks_are_open(m->disks))
        return;
    for (unsigned i = 0; i < BLOBS; i++)
        m->blobs[i].unheard = false;
    for (unsigned bay = 0; bay < m->bays; bay++) {
        struct store *s = store_of(m, bay);
        for (unsigned i = 0; s && i < BLOBS; i++) {
            struct blob *b = &m->blobs[i];
            struct store_look look;
            uint32_t bit = 1u << m->bay[bay];
            if (store_look(s, b->id, shard_of(b->id), &look) != OK)
                continue;
            b->units = look.found ? b->units | bit : b->units & ~bit;
        }
    }
}

static uint32_t lost_bits(const struct model *m)
{
    uint32_t bits = 0;
    for (unsigned i = 0; i < m->unit_count; i++)
        bits |= (uint32_t)m->units[i].lost << i;
    return bits;
}

/* Those who were told by their notes need not be told again. */
size_t units_lost(struct model *m, struct id128 ret[UNITS_MAX])
{
    uint32_t known = 0;
    size_t n = 0;
    for (unsigned i = 0; i < m->unit_count; i++)
        if (serves(m, i))
            known |= m->units[i].knows;
    for (unsigned i = 0; i < m->unit_count; i++)
        if (m->units[i].lost && (!(known & 1u << i) || model_below(m, 2)))
            ret[n++] = m->units[i].id;
    for (unsigned pg = 0; pg < PGS; pg++) {
        m->reported[pg] = 0;
        for (unsigned i = 0; i < m->unit_count; i++)
            if (serves(m, i))
                m->reported[pg] = MAX(m->reported[pg], m->units[i].closed[pg]);
    }
    return n;
}

void units_opened(struct model *m)
{
    for (unsigned bay = 0; bay < m->bays; bay++) {
        struct unit *u = unit_in(m, bay);
        if (!store_of(m, bay))
            continue;
        struct id128 id = store_disk_id(store_of(m, bay));
        if (!id128_is_zero(u->id) && !id128_eq(id, u->id))
            FAIL(m, "a disk has another id than before");
        u->id = id;
        u->knows |= lost_bits(m);
        for (unsigned pg = 0; pg < PGS; pg++)
            u->closed[pg] = MAX(u->closed[pg], m->reported[pg]);
    }
    struct disks_counts counts;
    disks_count(m->disks, &counts);
    if (counts.up != units_serving(m))
        FAIL(m, "%u disks are up, of %u that should be", counts.up, units_serving(m));
    if (!units_out(m) && counts.out > 0 && m->bays == units_serving(m))
        FAIL(m, "a disk is missed that nobody took away");
}

/* ---- changes, between two lives ---- */

static int choose(struct model *m, bool (*fits)(const struct model *, unsigned unit))
{
    unsigned first = (unsigned)model_below(m, m->unit_count);
    for (unsigned i = 0; i < m->unit_count; i++) {
        unsigned unit = (first + i) % m->unit_count;
        if (fits(m, unit))
            return (int)unit;
    }
    return -1;
}

static bool spare(const struct model *m, unsigned unit)
{
    return bay_of(m, unit) < 0 && !id128_is_zero(m->units[unit].id);
}

/* A bay for another disk: one that is empty, or holds one that was given up.  -1: none. */
static int bay_free(const struct model *m)
{
    for (unsigned i = 0; i < m->bays; i++)
        if (m->bay[i] < 0 || m->units[m->bay[i]].lost)
            return (int)i;
    return -1;
}

static void pull(struct model *m)
{
    int unit = choose(m, serves);
    if (units_serving(m) < 2 || unit < 0 || id128_is_zero(m->units[unit].id))
        return;
    TRACE(m, "    pull disk %d\n", unit);
    m->bay[bay_of(m, (unsigned)unit)] = -1;
    SEEN(m, PULLED);
}

static void put_back(struct model *m)
{
    int unit = choose(m, spare), bay = bay_free(m);
    if (unit < 0 || bay < 0)
        return;
    TRACE(m, "    put disk %d back%s\n", unit, m->units[unit].lost ? ", which was given up" : "");
    m->bay[bay] = unit;
    if (m->units[unit].lost)
        SEEN(m, REFUSED);
    else
        SEEN(m, RETURNED);
}

static void give_up(struct model *m)
{
    for (unsigned unit = 0; unit < m->unit_count; unit++) {
        if (!away(m, unit))
            continue;
        TRACE(m, "    give disk %u up\n", unit);
        m->units[unit].lost = true;
        SEEN(m, GIVEN_UP);
    }
    uint32_t lost = lost_bits(m);
    for (unsigned i = 0; i < BLOBS; i++) {
        struct blob *b = &m->blobs[i];
        if (b->is != PRESENT || (b->units & ~lost) || !(b->units & lost))
            continue;
        b->is = b->unheard ? UNKNOWN : ABSENT;
        SEEN(m, LOST);
    }
}

static void replace(struct model *m)
{
    int bay = bay_free(m);
    if (bay < 0 || m->unit_count == UNITS_MAX)
        return;
    TRACE(m, "    an empty disk %u\n", m->unit_count);
    unit_add(m, (unsigned)bay);
    SEEN(m, REPLACED);
}

/* Nobody knows any more what was not acknowledged as put; what was, stays. */
static void doubt(struct model *m)
{
    for (unsigned n = 0; n < BLOBS; n++) {
        struct blob *b = &m->blobs[n];
        if (b->is == PRESENT || b->changes == 0)
            continue;
        b->is = UNKNOWN;
        b->tainted = true;
    }
    m->retired_count = 0;
    m->strays = m->damaged = true;
}

/* Some extent but this one names the disk, even if the index is lost. */
static bool id_stays(const struct store *s, uint32_t but)
{
    for (uint32_t i = 0; i < s->alloc.slots; i++) {
        const struct extent *x = s->alloc.extents[i];
        if (x && x->header.id != but && x->state != EXTENT_BROKEN && !x->header_bad)
            return true;
    }
    return false;
}

/* The extent that one of the blobs lies in; what lies there is damaged from then on. */
static void extent_doom(struct model *m)
{
    unsigned first = (unsigned)model_below(m, BLOBS), bay = (unsigned)model_below(m, m->bays);
    uint32_t doomed = 0, extent;
    uint64_t offset, bytes;
    for (unsigned i = 0; store_of(m, bay) && i < BLOBS; i++) {
        struct blob *b = &m->blobs[(first + i) % BLOBS];
        if (store_locate(store_of(m, bay), b->id, shard_of(b->id), &extent, &offset, &bytes) != OK)
            continue;
        if (!doomed)
            doomed = extent;
        b->tainted |= extent == doomed;
    }
    if (!doomed || !id_stays(store_of(m, bay), doomed))
        return;
    unit_in(m, bay)->doomed = doomed;
    unit_in(m, bay)->header_only = model_below(m, 2);
}

static void on_unlinked(struct disk_req *req)
{
    req->cb = NULL;
}

static void file_remove(struct model *m, struct unit *u, const char *name)
{
    struct disk_req req = {.kind = DISK_UNLINK, .cb = on_unlinked};
    memcpy(req.name, name, strlen(name) + 1);
    disk_start(u->disk, &req);
    while (req.cb)
        fake_env_step(&m->fake);
    CHECK(req.err == OK);
    SEEN(m, EXTENT_LOST);
}

/* Its file is gone; or both copies of its header cannot be read, and the index that would know it
 * is lost with them. */
static void extents_lose(struct model *m)
{
    for (unsigned i = 0; i < m->unit_count; i++) {
        struct unit *u = &m->units[i];
        char name[EXTENT_NAME_BYTES + 1];
        if (!u->doomed)
            continue;
        TRACE(m, "    disk %u loses extent %u\n", i, u->doomed);
        extent_name(u->doomed, name);
        u->doomed = 0;
        doubt(m);
        if (!u->header_only) {
            file_remove(m, u, name);
            continue;
        }
        for (uint64_t at = 0; at < EXTENT_HEADER_BYTES; at += 32)
            disk_mem_flip(u->disk, name, at, 3);
        u->rewound = true;
        SEEN(m, HEADER_LOST);
    }
    indexes_empty(m);
}

/* The extents of a disk rebuild its index.  What was deleted may come back, if the extent with its
 * mark has been reclaimed; a frame that was dropped as torn, and has others behind it now, looks
 * damaged; the node's notes go with it, if no other disk has them.  What was acknowledged stays. */
static void index_lose(struct model *m)
{
    int unit = choose(m, serves);
    if (units_out(m) || unit < 0)
        return;
    m->units[unit].rewound = id_stays(store_of(m, (unsigned)bay_of(m, (unsigned)unit)), 0);
}

static void indexes_empty(struct model *m)
{
    for (unsigned i = 0; i < m->unit_count; i++) {
        struct unit *u = &m->units[i];
        if (!u->rewound)
            continue;
        TRACE(m, "    disk %u loses its index\n", i);
        kv_mem_free(u->kv);
        u->kv = kv_new(m);
        u->rewound = false;
        u->knows = 0;
        memset(u->closed, 0, sizeof(u->closed));
        doubt(m);
        SEEN(m, INDEX_LOST);
    }
}

void units_change(struct model *m, enum model_op_kind kind)
{
    static void (*const changes[MODEL_OP_KINDS])(struct model *) = {
        [MODEL_DISK_PULLED] = pull,         [MODEL_DISK_RETURNED] = put_back,
        [MODEL_DISK_GIVEN_UP] = give_up,    [MODEL_DISK_REPLACED] = replace,
        [MODEL_EXTENT_LOST] = extents_lose, [MODEL_INDEX_LOST] = indexes_empty};
    if (kind == MODEL_EXTENT_LOST)
        extent_doom(m);
    if (kind == MODEL_INDEX_LOST)
        index_lose(m); /* while it can be asked */
    world_crash(m, changes[kind]);
    if (kind == MODEL_DISK_RETURNED && !m->failed)
        check_digests(m); /* what was put meanwhile is there twice now, perhaps, and counts once */
}
