/* The disks of a node, one to three, against a reference map.
 *
 * The reference knows of each blob whether it must be there (an acknowledged put), must not be
 * (an acknowledged delete, or never put), or may be either (under way when the world ended; settled
 * by the first look after the next recovery).  A fault hits one disk: the others go on, and what
 * lies there can be read.  The inventory of the placement groups says the same as the reference.  A
 * flipped bit turns "must be there" into "its bytes or an error"; a pass of the scrub leaves no frame
 * that is bad on the disk and not marked.  At the end all is deleted, and the space must come back. */
#include "tests/unit/storagenode/op/model_impl.h"

#include "common/base/hash.h"
#include "common/env/disk_mem.h"
#include "common/env/kv_mem.h"

#include <stdlib.h>

#define STEPS_MAX 200000

enum call_kind { PUT, GET, DELETE };

struct call {
    struct list node;
    struct model *m;
    enum call_kind kind;
    struct blob *blob;
    uint64_t changes_before;
    bool expect_present, expect_absent, expect_refused, other_bytes;
    uint8_t *data;
    uint32_t *crcs;
    struct disks_put put;
    struct store_get get;
    struct disks_delete del;
    struct id128 ids[3];
    struct blob *more[3];
};

static uint64_t rnd(struct model *m)
{
    uint64_t z = (m->rng += 0x9e3779b97f4a7c15ull);
    z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9ull;
    z = (z ^ z >> 27) * 0x94d049bb133111ebull;
    return z ^ z >> 31;
}

static uint64_t below(struct model *m, uint64_t n)
{
    return rnd(m) % n;
}
static uint64_t kv_rng(void *arg)
{
    return rnd(arg);
}

static bool idle(struct model *m)
{
    for (unsigned i = 0; i < m->disk_count; i++)
        if (!store_is_idle(store_of(m, i)))
            return false;
    return true;
}

static int locate(struct model *m, struct id128 id, unsigned *ret_disk, uint32_t *ret_extent,
                  uint64_t *ret_offset, uint64_t *ret_bytes)
{
    for (unsigned i = 0; i < m->disk_count; i++) {
        int err =
            store_locate(store_of(m, i), id, id.bytes[0] % 3, ret_extent, ret_offset, ret_bytes);
        *ret_disk = i;
        if (err != ERR_NOT_FOUND)
            return err;
    }
    return ERR_NOT_FOUND;
}

static void hex(struct id128 id, char ret[ID_HEX_CHARS + 1])
{
    id128_hex(id, ret);
}

/* ---- blobs and their bytes ---- */

static void blob_new(struct model *m, struct blob *b)
{
    *b = (struct blob){.is = ABSENT};
    for (unsigned i = 0; i < ID_BYTES; i++)
        b->id.bytes[i] = (uint8_t)rnd(m);
    uint64_t kind = below(m, 10);
    b->bytes = 1 + (uint32_t)(kind < 2   ? below(m, 300)
                              : kind < 8 ? below(m, 30000)
                              : kind < 9 ? below(m, 90000)
                                         : below(m, SHARD_MAX));
    if (below(m, 8) == 0)
        b->bytes = (b->bytes + FRAME_ALIGN - 1) / FRAME_ALIGN * FRAME_ALIGN;
    b->time_ms = env_wall_ms(&m->fake.env);
}

/* The bytes follow from the id; one pattern in three is all the same byte, so that torn writes over
 * older frames of the same content are met, too. */
void model_blob_fill(const struct blob *b, uint8_t *to, bool other)
{
    uint64_t x;
    memcpy(&x, b->id.bytes, sizeof(x));
    if (b->id.bytes[9] % 3 == 0)
        memset(to, 'a' + other, b->bytes);
    else
        for (uint32_t i = 0; i < b->bytes; i += 8) {
            x = x * 6364136223846793005ull + 1442695040888963407ull + other;
            memcpy(to + i, &x, MIN(8, b->bytes - i));
        }
    to[b->bytes - 1] = (uint8_t)(b->id.bytes[8] + other);
}

static bool bytes_right(const struct blob *b, uint64_t first, struct slice s)
{
    uint8_t *want = malloc(b->bytes);
    model_blob_fill(b, want, false);
    bool right = first + s.len <= b->bytes && memcmp(want + first, s.ptr, s.len) == 0;
    free(want);
    return right;
}

/* ---- calls ---- */

static struct call *call_new(struct model *m, enum call_kind kind, struct blob *b)
{
    struct call *c = calloc(1, sizeof(*c));
    c->m = m;
    c->kind = kind;
    c->blob = b;
    list_push_back(&m->calls, &c->node);
    m->under_way++;
    return c;
}

static void call_free(struct call *c)
{
    c->m->under_way--;
    list_remove(&c->node);
    free(c->data);
    free(c->crcs);
    free(c);
}

static void put_settle(struct call *c, int err)
{
    struct model *m = c->m;
    struct blob *b = c->blob;
    char name[ID_HEX_CHARS + 1];
    hex(b->id, name);
    b->puts--;
    if (c->other_bytes) {
        if (err == OK && !(b->deletes || b->marked))
            FAIL(m, "blob %s: other bytes under the same id were accepted", name);
        return;
    }
    if (c->expect_refused && err == OK)
        FAIL(m, "blob %s: a late put brought it back", name);
    if (err == OK && b->is == DELETED)
        FAIL(m, "blob %s: put accepted after its delete was acknowledged", name);
    else if (err == OK && b->deletes == 0 && b->is != UNKNOWN)
        b->is = PRESENT;
    else if (err == OK)
        b->is = UNKNOWN;
    else if (err == ERR_IO && b->is == ABSENT)
        b->is = UNKNOWN;
    else if (err == ERR_CONDEMNED && !b->marked)
        FAIL(m, "blob %s: refused as deleted, but nobody deleted it", name);
    else if (err == ERR_EXISTS && !b->tainted)
        FAIL(m, "blob %s: the same bytes were refused as others", name);
    m->totals->nospace += err == ERR_NOSPACE;
    if (err == OK) {
        b->stored_ms = env_wall_ms(&m->fake.env);
        b->reread_at = model_reread(m);
    }
}

static void on_put(struct disks_put *put)
{
    struct call *c = container_of(put, struct call, put);
    put_settle(c, put->err);
    call_free(c);
}

static void put_start(struct model *m, struct blob *b, bool other)
{
    struct call *c = call_new(m, PUT, b);
    c->data = malloc(b->bytes);
    c->crcs = malloc(shard_blocks(b->bytes) * sizeof(uint32_t));
    model_blob_fill(b, c->data, other);
    for (uint32_t i = 0; i < shard_blocks(b->bytes); i++) {
        size_t at = (size_t)i * SHARD_BLOCK_BYTES;
        c->crcs[i] = crc32c(0, SLICE(c->data + at, MIN(b->bytes - at, SHARD_BLOCK_BYTES)));
    }
    c->other_bytes = other;
    c->expect_refused = b->is == DELETED;
    c->put.put.info =
        (struct shard_info){.blob_id = b->id,
                            .shard_index = b->id.bytes[0] % 3,
                            .pg = pg_of(b->id),
                            .pg_epoch = 1,
                            .time_ms = b->time_ms,
                            .bytes = b->bytes,
                            .owner = {.bucket_id = 9, .key = SLICE_LIT("a/key"), .write_id = b->id},
                            .block_crcs = c->crcs};
    c->put.put.payload = (struct payload){NULL, SLICE(c->data, b->bytes)};
    c->put.cb = on_put;
    b->puts++;
    b->changes++;
    m->totals->puts++;
    int err = disks_put_start(m->disks, &c->put);
    if (err) {
        put_settle(c, err == ERR_IO ? ERR_NOT_READY : err);
        call_free(c);
    }
}

static void get_settle(struct call *c, int err)
{
    struct model *m = c->m;
    struct blob *b = c->blob;
    bool quiet = b->changes == c->changes_before;
    char name[ID_HEX_CHARS + 1];
    hex(b->id, name);
    if (err == OK && (c->get.shard_bytes != b->bytes ||
                      !bytes_right(b, c->get.first_byte, c->get.payload.bytes)))
        FAIL(m, "blob %s: wrong bytes", name);
    if (err == OK && (c->get.first_byte > c->get.offset || c->get.first_byte % SHARD_BLOCK_BYTES))
        FAIL(m, "blob %s: wrong range", name);
    for (uint32_t i = 0; err == OK && i < c->get.block_count; i++) {
        struct slice p = c->get.payload.bytes;
        size_t at = (size_t)i * SHARD_BLOCK_BYTES;
        if (crc32c(0, SLICE(p.ptr + at, MIN(p.len - at, SHARD_BLOCK_BYTES))) !=
            c->get.block_crcs[i])
            FAIL(m, "blob %s: wrong CRC", name);
    }
    if (err == OK && c->expect_absent && quiet)
        FAIL(m, "blob %s: it came back", name);
    if (err != OK && c->expect_present && quiet && !b->tainted && !m->read_faults &&
        err != ERR_OVERLOAD && err != ERR_SHUTDOWN)
        FAIL(m, "blob %s: acknowledged, but %s", name, err_name(err));
    if (err != OK && err != ERR_NOT_FOUND && c->expect_absent && quiet && !b->tainted &&
        !m->read_faults && err != ERR_OVERLOAD && err != ERR_SHUTDOWN)
        FAIL(m, "blob %s: gone, but %s instead of not found", name, err_name(err));
}

static void on_get(struct store_get *get)
{
    struct call *c = container_of(get, struct call, get);
    get_settle(c, get->err);
    payload_unref(&get->payload);
    call_free(c);
}

static void get_start(struct model *m, struct blob *b, bool ranged)
{
    struct call *c = call_new(m, GET, b);
    c->expect_present = b->is == PRESENT && !b->deletes;
    c->expect_absent = (b->is == ABSENT || b->is == DELETED) && !b->puts;
    c->changes_before = b->changes;
    c->get.blob_id = b->id;
    c->get.shard_index = b->id.bytes[0] % 3;
    c->get.cb = on_get;
    if (ranged) {
        c->get.offset = below(m, b->bytes);
        c->get.bytes = 1 + below(m, b->bytes);
    }
    m->totals->gets++;
    int err = disks_get_start(m->disks, &c->get);
    if (err) {
        get_settle(c, err);
        call_free(c);
    }
}

static void delete_settle(struct call *c, int err)
{
    struct model *m = c->m;
    for (uint32_t i = 0; i < c->del.count; i++) {
        struct blob *b = c->more[i];
        b->deletes--;
        if (err == OK)
            b->is = DELETED;
        else if (err != ERR_REFUSED && b->is == PRESENT)
            b->is = UNKNOWN; /* some disk may have taken it */
    }
    m->totals->nospace += err == ERR_NOSPACE;
}

static void on_delete(struct disks_delete *del)
{
    struct call *c = container_of(del, struct call, del);
    delete_settle(c, del->err);
    call_free(c);
}

static void delete_start(struct model *m, struct blob *b)
{
    struct call *c = call_new(m, DELETE, b);
    unsigned count = 1 + (unsigned)below(m, 3);
    for (unsigned i = 0; i < count; i++) {
        c->more[i] = i == 0 ? b : &m->blobs[below(m, BLOBS)];
        c->ids[i] = c->more[i]->id;
        c->more[i]->deletes++;
        c->more[i]->changes++;
        c->more[i]->marked = true;
    }
    c->del.blob_ids = c->ids;
    c->del.count = count;
    c->del.cb = on_delete;
    m->totals->deletes++;
    int err = disks_delete_start(m->disks, &c->del);
    if (err) {
        m->totals->nospace += err == ERR_NOSPACE;
        delete_settle(c, ERR_REFUSED); /* by all: nothing happened */
        call_free(c);
    }
}

/* ---- the world ---- */

static void steps(struct model *m, uint64_t n)
{
    while (n-- > 0 && !m->failed && fake_env_step(&m->fake))
        ;
}

static void run_until(struct model *m, const bool *flag)
{
    for (unsigned n = 0; !*flag && !m->failed; n++) {
        if (n > STEPS_MAX)
            FAIL(m, "no end in sight: under way %u", m->under_way);
        fake_env_step(&m->fake);
    }
}

void model_run_idle(struct model *m)
{
    for (unsigned n = 0; !m->failed && (m->under_way > 0 || !idle(m)); n++) {
        if (n > STEPS_MAX)
            FAIL(m, "never idle: under way %u", m->under_way);
        fake_env_step(&m->fake);
    }
}

static void stats_take(struct model *m)
{
    struct store_stats st;
    model_stats_check(m);
    for (unsigned i = 0; i < m->disk_count; i++) {
        store_stats_get(store_of(m, i), &st);
        m->totals->reclaimed += st.extents_reclaimed;
        m->totals->recovered += st.recovered_frames;
        m->totals->torn += st.torn_frames;
        m->totals->corruptions += st.corruptions;
        m->totals->scrub_passes += st.scrub_passes;
        m->totals->scrub_found += st.scrub_found;
    }
    m->reread = model_reread(m);
}

static void on_open(void *arg, int err)
{
    struct model *m = arg;
    m->opened = true;
    m->open_err = err;
}

static void on_close(void *arg, int err)
{
    struct model *m = arg;
    (void)err;
    m->closed = true;
}

/* Everything of this life is gone; what was under way may or may not have happened. */
static void world_end(struct model *m, bool lose)
{
    stats_take(m);
    for (unsigned i = 0; i < m->disk_count; i++) {
        disk_mem_crash(m->disk[i], lose);
        disk_mem_fail_clear(m->disk[i]);
        kv_mem_crash(m->kv[i], lose && below(m, 2) ? NULL : kv_rng, m);
    }
    disks_free(m->disks);
    m->disks = NULL;
    while (!list_empty(&m->calls)) {
        struct call *c = container_of(m->calls.next, struct call, node);
        if (c->kind == PUT) {
            c->blob->puts--;
            if (c->blob->is == ABSENT && !c->other_bytes)
                c->blob->is = UNKNOWN;
        }
        for (uint32_t i = 0; c->kind == DELETE && i < c->del.count; i++) {
            c->more[i]->deletes--;
            if (c->more[i]->is != DELETED)
                c->more[i]->is = UNKNOWN;
        }
        call_free(c);
    }
}

static int look(struct model *m, struct blob *b)
{
    struct call *c = call_new(m, GET, b);
    bool done = false;
    int err;
    c->get.blob_id = b->id;
    c->get.shard_index = b->id.bytes[0] % 3;
    c->get.cb = on_get;
    c->changes_before = b->changes;
    err = disks_get_start(m->disks, &c->get);
    if (err) {
        call_free(c);
        return err;
    }
    (void)done;
    while (m->under_way > 0 && !m->failed)
        fake_env_step(&m->fake);
    return OK;
}

/* After a recovery everything is known again, and stays as it is. */
static void settle_unknown(struct model *m)
{
    for (unsigned i = 0; i < BLOBS && !m->failed; i++) {
        struct blob *b = &m->blobs[i];
        if (b->is != UNKNOWN)
            continue;
        int err = look(m, b);
        if (err == ERR_NOT_FOUND && b->tainted)
            blob_new(m, b);
        else if (err == ERR_NOT_FOUND)
            b->is = b->marked ? DELETED : ABSENT;
        else
            b->is = PRESENT;
        /* Not found, and a delete was on its way: deleted, or never put and not deleted either. */
        if (b->is == DELETED && err == ERR_NOT_FOUND)
            blob_new(m, b);
    }
}

static void store_begin(struct model *m)
{
    m->opened = false;
    struct disks_member members[MODEL_DISKS_MAX];
    for (unsigned i = 0; i < m->disk_count; i++)
        members[i] = (struct disks_member){m->disk[i], m->kv[i], "", OK};
    struct disks_config config = {.store = m->config, .members = members, .count = m->disk_count};
    int err = disks_new(&m->fake.env, &config, &m->disks);
    CHECK(err == OK);
    disks_open_start(m->disks, on_open, m);
}

static void world_begin(struct model *m)
{
    store_begin(m);
    while (below(m, 4) == 0) { /* crashes while recovering */
        steps(m, below(m, 60));
        m->totals->crashes++;
        world_end(m, below(m, 2));
        store_begin(m);
    }
    run_until(m, &m->opened);
    if (m->failed)
        return;
    if (m->open_err || failure_of(m)) {
        FAIL(m, "does not open: %s", err_name(m->open_err ? m->open_err : failure_of(m)));
        return;
    }
    settle_unknown(m);
    if (m->failed)
        return;
    for (unsigned i = 0; i < BLOBS && !m->failed; i++)
        get_start(m, &m->blobs[i], false);
    model_run_idle(m);
    model_all_check(m);
    model_stats_check(m);
}

static void crash(struct model *m)
{
    m->totals->crashes++;
    world_end(m, below(m, 3) > 0);
    world_begin(m);
}

/* After a clean close nothing needs to be recovered. */
static void close_and_open(struct model *m)
{
    struct store_stats st;
    bool recovered = false;
    m->closed = false;
    disks_close_start(m->disks, on_close, m);
    run_until(m, &m->closed);
    if (m->failed)
        return;
    if (m->under_way > 0)
        FAIL(m, "closed with calls under way");
    bool clean = true;
    for (unsigned i = 0; i < m->disk_count; i++) {
        store_stats_get(store_of(m, i), &st);
        clean &= st.failure == OK;
    }
    m->totals->closes++;
    world_end(m, true);
    store_begin(m);
    run_until(m, &m->opened);
    if (m->failed)
        return;
    for (unsigned i = 0; i < m->disk_count; i++) {
        store_stats_get(store_of(m, i), &st);
        recovered |= st.recovered_frames > 0;
    }
    if (m->open_err)
        FAIL(m, "does not open: %s", err_name(m->open_err));
    else if (clean && recovered)
        FAIL(m, "frames to recover after a clean close");
    else
        settle_unknown(m);
}

/* ---- operations ---- */

static void retire(struct model *m, struct blob *b)
{
    if (b->is != DELETED || b->puts || b->deletes)
        return;
    if (m->under_way > 0)
        return;
    m->retired[m->retired_count % RETIRED] = b->id;
    m->retired_ms[m->retired_count++ % RETIRED] = env_wall_ms(&m->fake.env);
    blob_new(m, b);
}

/* Nothing that was deleted is there. */
static void retired_check(struct model *m)
{
    uint32_t extent;
    uint64_t offset, bytes;
    for (unsigned i = 0; i < MIN(m->retired_count, RETIRED) && !m->failed; i++) {
        unsigned at;
        int err = locate(m, m->retired[i], &at, &extent, &offset, &bytes);
        if (err != ERR_NOT_FOUND)
            FAIL(m, "a deleted blob came back: %s", err_name(err));
    }
}

static void flip(struct model *m)
{
    struct blob *b = &m->blobs[below(m, BLOBS)];
    uint32_t extent;
    uint64_t offset, bytes;
    char name[EXTENT_NAME_BYTES + 1];
    unsigned at = (unsigned)below(m, m->disk_count);
    if (below(m, 6) == 0) { /* one copy of a header: nobody may notice */
        extent_name(1 + (uint32_t)below(m, 6), name);
        disk_mem_flip(m->disk[at], name, below(m, 64), (unsigned)below(m, 8));
        return;
    }
    if (locate(m, b->id, &at, &extent, &offset, &bytes) != OK)
        return;
    extent_name(extent, name);
    disk_mem_flip(m->disk[at], name, offset + below(m, bytes), (unsigned)below(m, 8));
    b->tainted = true;
    m->totals->flips++;
}

static void fault(struct model *m)
{
    static const enum disk_kind kinds[] = {DISK_WRITE, DISK_WRITE, DISK_OPEN, DISK_ALLOCATE,
                                           DISK_KIND_COUNT};
    uint64_t which = below(m, 7);
    unsigned at = (unsigned)below(m, m->disk_count);
    m->totals->failures++;
    if (which == 5) {
        kv_mem_fail_nth(m->kv[at], 1 + below(m, 6), ERR_IO);
    } else if (which == 6) {
        m->read_faults = true;
        disk_mem_fail(m->disk[at], DISK_READ, 1 + (uint32_t)below(m, 6), ERR_IO, false);
    } else {
        enum disk_kind kind = kinds[which];
        m->read_faults |= kind == DISK_KIND_COUNT;
        disk_mem_fail(m->disk[at], kind, 1 + (uint32_t)below(m, 6),
                      kind == DISK_ALLOCATE && below(m, 2) ? ERR_NOSPACE : ERR_IO, below(m, 2));
    }
}

static void operate(struct model *m)
{
    struct blob *b = &m->blobs[below(m, BLOBS)];
    uint64_t what = below(m, 100);
    if (what < 34) {
        if (b->is == ABSENT || below(m, 4) == 0)
            put_start(m, b, false);
        else if (b->is == DELETED)
            retire(m, b);
    } else if (what < 36) {
        if (b->is == PRESENT && !b->puts && !b->deletes && !b->tainted)
            put_start(m, b, true);
    } else if (what < 56) {
        get_start(m, b, what < 46);
    } else if (what < 70) {
        delete_start(m, b);
    } else if (what < 75) {
        store_flush_now(store_of(m, (unsigned)below(m, m->disk_count)));
    } else if (what < 79) {
        store_reclaim_now(store_of(m, (unsigned)below(m, m->disk_count)));
    } else if (what < 88) {
        steps(m, below(m, 30));
    } else if (what < 89) {
        store_scrub_start_now(store_of(m, (unsigned)below(m, m->disk_count))); /* beside the rest */
    } else if (what < 90) {
        model_scrub_all(m);
    } else if (what < 94) {
        model_run_idle(m);
        model_all_check(m);
        retired_check(m);
        model_stats_check(m);
    } else if (what < 95) {
        m->fake.now_ns += below(m, 400) * NS_PER_SEC;
    } else if (what < 97 && m->flips) {
        for (uint64_t n = 1 + below(m, 4); n > 0; n--)
            flip(m);
        if (below(m, 2))
            model_scrub_all(m);
    } else if (what < 97 && m->faults) {
        fault(m);
    } else if (what == 98 && below(m, 2)) {
        close_and_open(m);
    } else if (what == 99) {
        crash(m);
    }
    steps(m, below(m, 6));
}

/* All is deleted: what the store had taken is free again, and a put is taken. */
static void space_returns(struct model *m)
{
    struct store_stats st;
    for (unsigned i = 0; i < m->disk_count; i++) {
        disk_mem_fail_clear(m->disk[i]);
        kv_mem_fail_nth(m->kv[i], 0, ERR_IO);
    }
    if (failure_of(m) != OK)
        crash(m);
    steps(m, 100); /* long enough to look again at a file system that was full */
    for (unsigned i = 0; i < BLOBS && !m->failed; i++) {
        delete_start(m, &m->blobs[i]);
        if (i % 4 == 0)
            model_run_idle(m);
    }
    model_run_idle(m);
    for (unsigned i = 0; i < 4 * m->disk_count && !m->failed; i++) {
        store_reclaim_now(store_of(m, i % m->disk_count));
        model_run_idle(m);
    }
    if (m->failed)
        return;
    retired_check(m);
    model_all_check(m);
    for (unsigned i = 0; i < BLOBS && !m->failed; i++)
        if (m->blobs[i].is != DELETED)
            FAIL(m, "a delete was refused with space for marks");
    for (unsigned i = 0; i < m->disk_count && !m->failed && !m->flips; i++) {
        store_stats_get(store_of(m, i), &st);
        if (st.live_bytes > 0 || st.extents_free + 2 < st.bytes_total / EXTENT_BYTES)
            FAIL(m, "space did not come back: live %llu, free %llu of %llu extents",
                 (unsigned long long)st.live_bytes, (unsigned long long)st.extents_free,
                 (unsigned long long)st.extents);
    }
    struct blob fresh;
    blob_new(m, &fresh);
    put_start(m, &fresh, false);
    model_run_idle(m);
    if (!m->failed && fresh.is != PRESENT)
        FAIL(m, "no room for a put after everything was deleted");
}

static void model_init(struct model *m, uint64_t seed)
{
    uint64_t world = seed % 8;
    m->rng = seed * 2654435761u + 1;
    m->seed = seed;
    fake_env_init(&m->fake);
    m->fake.random ^= seed << 20 | 1;
    m->fake.now_ns = 1000000 * NS_PER_SEC;
    list_init(&m->calls);
    m->faults = world == 4;
    m->flips = world == 5;
    m->small = world == 6 || world == 4;
    m->disk_count = 1 + (unsigned)(seed / 8 % MODEL_DISKS_MAX);
    unsigned extents = m->small ? 7 : 14;
    m->config = (struct store_config){.extent_bytes = EXTENT_BYTES,
                                      .capacity_bytes = extents * EXTENT_BYTES,
                                      .extents_reserve = 2,
                                      .extents_ready = 1 + (uint32_t)below(m, 2),
                                      .queue_bytes_max = 600000,
                                      .batch_bytes_max = 20000 + below(m, 200000),
                                      .batch_frames_max = 1 + (uint32_t)below(m, 8),
                                      .flush_bytes = 100000 + below(m, 2000000),
                                      .flush_interval_ms = 1 + below(m, 100000)};
    struct disk_mem_config disk = {.seed = seed,
                                   .bytes_total = (extents + below(m, 2)) * EXTENT_BYTES,
                                   .delay_ns_max = below(m, 2) ? 0 : 2 * NS_PER_MS,
                                   .sector_bytes = world == 7 ? 1 : 512};
    struct kv_mem_config kv = {.mode = KV_STATE, .flush_delay_ns = below(m, 20) * NS_PER_MS};
    for (unsigned i = 0; i < m->disk_count; i++) {
        disk.seed = seed + ((uint64_t)i << 32);
        m->disk[i] = disk_mem_new(&m->fake.env, &disk);
        m->kv[i] = kv_mem_new(&m->fake.env, &kv);
        CHECK(m->disk[i] && m->kv[i]);
    }
    for (unsigned i = 0; i < BLOBS; i++)
        blob_new(m, &m->blobs[i]);
}

bool model_run(uint64_t seed, unsigned operations, char *ret_why, size_t why_len,
               struct model_totals *totals)
{
    struct model m = {.why = ret_why, .why_len = why_len, .totals = totals};
    model_init(&m, seed);
    world_begin(&m);
    for (unsigned i = 0; i < operations && !m.failed; i++) {
        operate(&m);
        int failure = failure_of(&m);
        if (failure && !m.faults)
            FAIL(&m, "failed without a fault: %s", err_name(failure));
        else if (failure && below(&m, 8) == 0)
            crash(&m);
    }
    if (!m.failed)
        space_returns(&m);
    world_end(&m, true);
    for (unsigned i = 0; i < m.disk_count; i++) {
        disk_mem_free(m.disk[i]);
        kv_mem_free(m.kv[i]);
    }
    return !m.failed;
}
