/* What the scrub promises, case by case; the model test mixes it with everything else. */
#include "common/base/hash.h"
#include "common/env/disk_mem.h"
#include "common/env/kv_mem.h"
#include "storagenode/op/store.h"
#include "tests/unit/common/env/fake_env.h"

#include <stdlib.h>

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#define MIB (1ull << 20)
#define HELD_MAX 4
#define STEPS_MAX 200000u /* until what is waited for must have happened */
#define DAY_NS (86400 * NS_PER_SEC)

/* Between the store and the disk: sees what the scrub reads, and holds back what a test wants. */
struct between {
    struct disk disk;
    struct disk *inner;
    bool hold_scrub, hold_writes;
    struct disk_req *scrub;            /* held */
    struct disk_req *writes[HELD_MAX]; /* held: of frames, and of an extent's header beside them */
    unsigned write_count;
    uint64_t scrub_reads;
};

struct world {
    struct fake_env fake;
    struct between between;
    struct kv *kv;
    struct store *store;
    struct store_config config;
    bool opened;
    unsigned told;
    struct store_damage last;
};

static void between_start(struct disk *d, struct disk_req *r)
{
    struct between *b = container_of(d, struct between, disk);
    bool scrub = r->kind == DISK_READ && r->flags & DISK_UNCACHED;
    if (scrub) {
        assert_int_equal((r->offset | r->bytes | (uintptr_t)r->buffer) % 4096, 0);
        assert_in_range(r->bytes, 4096, MIB + 4096);
        b->scrub_reads++;
    }
    if (scrub && b->hold_scrub) {
        assert_null(b->scrub);
        b->scrub = r;
    } else if (r->kind == DISK_WRITE && b->hold_writes) {
        assert_true(b->write_count < HELD_MAX);
        b->writes[b->write_count++] = r;
    } else {
        disk_start(b->inner, r);
    }
}

static void between_file_close(struct disk *d, struct disk_file *f)
{
    disk_file_close(container_of(d, struct between, disk)->inner, f);
}

static const struct disk_ops between_ops = {between_start, between_file_close, NULL};

static void let_go(struct between *b, struct disk_req **held)
{
    struct disk_req *r = *held;
    assert_non_null(r);
    *held = NULL;
    disk_start(b->inner, r);
}

static void writes_let_go(struct between *b)
{
    b->hold_writes = false;
    for (unsigned i = 0; i < b->write_count; i++)
        disk_start(b->inner, b->writes[i]);
    b->write_count = 0;
}

/* The write of a frame; the header of an extent lies at 0. */
static bool frame_held(const struct between *b)
{
    for (unsigned i = 0; i < b->write_count; i++)
        if (b->writes[i]->offset > 0)
            return true;
    return false;
}

static void on_open(void *arg, int err)
{
    assert_int_equal(err, OK);
    ((struct world *)arg)->opened = true;
}

static void on_damage(void *arg, const struct store_damage *damage)
{
    struct world *w = arg;
    w->told++;
    w->last = *damage;
}

static void open_store(struct world *w)
{
    w->opened = false;
    assert_int_equal(store_new(&w->fake.env, &w->between.disk, w->kv, &w->config, &w->store), OK);
    store_open_start(w->store, on_open, w);
    while (!w->opened)
        assert_true(fake_env_step(&w->fake));
}

static void steps(struct world *w, unsigned n)
{
    while (n-- > 0)
        assert_true(fake_env_step(&w->fake));
}

static void idle(struct world *w)
{
    for (unsigned n = 0; !store_is_idle(w->store); n++) {
        assert_true(n < STEPS_MAX);
        steps(w, 1);
    }
}

static void world_init(struct world *w, uint64_t extent_bytes, unsigned extents)
{
    /* Puts are held for days. */
    *w = (struct world){.config = {.tombstone_retention_ms = 40ull * 24 * 3600 * 1000,
                                   .extent_bytes = extent_bytes,
                                   .capacity_bytes = extents * extent_bytes,
                                   .extents_reserve = 2,
                                   .flush_interval_ms = 400ull * 86400 * 1000,
                                   .flush_bytes = 1ull << 40,
                                   .on_damage = on_damage,
                                   .arg = w}};
    fake_env_init(&w->fake);
    w->fake.now_ns = 1000 * DAY_NS;
    w->between = (struct between){
        .disk.ops = &between_ops,
        .inner = disk_mem_new(
            &w->fake.env,
            &(struct disk_mem_config){.seed = 7, .bytes_total = 2 * extents * extent_bytes})};
    w->kv = kv_mem_new(&w->fake.env, &(struct kv_mem_config){.mode = KV_STATE});
    open_store(w);
    idle(w);
}

static void power_off(struct world *w)
{
    disk_mem_crash(w->between.inner, true);
    kv_mem_crash(w->kv, NULL, NULL);
    store_free(w->store);
}

static void world_fini(struct world *w)
{
    power_off(w);
    disk_mem_free(w->between.inner);
    kv_mem_free(w->kv);
}

/* The index goes back to its last flush. */
static void crash(struct world *w)
{
    power_off(w);
    open_store(w);
}

static void flush(struct world *w)
{
    store_flush_now(w->store);
    idle(w);
}

static struct store_stats stats(struct world *w)
{
    struct store_stats st;
    store_stats_get(w->store, &st);
    return st;
}

static uint64_t now_ms(struct world *w)
{
    return env_wall_ms(&w->fake.env);
}

static void run_for(struct world *w, uint64_t ns)
{
    for (uint64_t end = w->fake.now_ns + ns; w->fake.now_ns < end;)
        steps(w, 1);
}

static void pass_end(struct world *w, uint64_t passes_before)
{
    for (unsigned n = 0; stats(w).scrub_passes == passes_before; n++) {
        assert_true(n < 50 * STEPS_MAX);
        steps(w, 1);
    }
}

static void pass(struct world *w)
{
    uint64_t before = stats(w).scrub_passes;
    store_scrub_start_now(w->store);
    pass_end(w, before);
}

/* ---- blobs ---- */

static struct id128 blob(unsigned n)
{
    struct id128 id = {{0xb1, 0x0b}};
    id.bytes[14] = (uint8_t)(n >> 8);
    id.bytes[15] = (uint8_t)n;
    return id;
}

struct put {
    struct store_put put;
    uint8_t *data;
    uint32_t crcs[SHARD_BLOCKS_MAX];
    bool done;
};

static void on_put(struct store_put *put)
{
    container_of(put, struct put, put)->done = true;
}

static void put_begin(struct world *w, struct put *p, unsigned n, uint32_t bytes)
{
    *p = (struct put){.data = malloc(bytes)};
    memset(p->data, (int)n, bytes);
    for (uint32_t i = 0; i < shard_blocks(bytes); i++) {
        size_t at = (size_t)i * SHARD_BLOCK_BYTES;
        p->crcs[i] = crc32c(0, SLICE(p->data + at, MIN(bytes - at, SHARD_BLOCK_BYTES)));
    }
    p->put.info = (struct shard_info){.blob_id = blob(n),
                                      .time_ms = now_ms(w),
                                      .bytes = bytes,
                                      .owner.key = SLICE_LIT("key"),
                                      .block_crcs = p->crcs};
    p->put.payload.bytes = SLICE(p->data, bytes);
    p->put.cb = on_put;
    assert_int_equal(store_put_start(w->store, &p->put), OK);
}

static void put_end(struct world *w, struct put *p)
{
    for (unsigned n = 0; !p->done; n++) {
        assert_true(n < STEPS_MAX);
        steps(w, 1);
    }
    assert_int_equal(p->put.err, OK);
    free(p->data);
}

static void put(struct world *w, unsigned n, uint32_t bytes)
{
    struct put p;
    put_begin(w, &p, n, bytes);
    put_end(w, &p);
}

static bool done;
static void on_get(struct store_get *get)
{
    (void)get;
    done = true;
}

static int get(struct world *w, unsigned n)
{
    struct store_get g = {.blob_id = blob(n), .cb = on_get};
    done = false;
    int err = store_get_start(w->store, &g);
    for (unsigned turn = 0; !err && !done; turn++) {
        assert_true(turn < STEPS_MAX);
        steps(w, 1);
    }
    err = err ? err : g.err;
    for (size_t i = 0; err == OK && i < g.payload.bytes.len; i++)
        assert_int_equal(g.payload.bytes.ptr[i], (uint8_t)n);
    payload_unref(&g.payload);
    return err;
}

static void on_delete(struct store_delete *del)
{
    (void)del;
    done = true;
}

static void del(struct world *w, unsigned n)
{
    struct id128 id = blob(n);
    struct store_delete d = {.blob_ids = &id, .count = 1, .cb = on_delete};
    done = false;
    assert_int_equal(store_delete_start(w->store, &d), OK);
    for (unsigned turn = 0; !done; turn++) {
        assert_true(turn < STEPS_MAX);
        steps(w, 1);
    }
    assert_int_equal(d.err, OK);
}

static void flip(struct world *w, unsigned n, uint64_t at)
{
    uint32_t extent;
    uint64_t offset, bytes;
    char name[EXTENT_NAME_BYTES + 1];
    assert_int_equal(store_locate(w->store, blob(n), 0, &extent, &offset, &bytes), OK);
    extent_name(extent, name);
    assert_true(disk_mem_flip(w->between.inner, name, offset + at, 3));
}

/* ---- tests ---- */

static uint64_t random_state = 42;
static uint64_t below(uint64_t n)
{
    random_state = random_state * 6364136223846793005ull + 1442695040888963407ull;
    return (random_state >> 33) % n;
}

/* 1,000 bits flip, wherever they fall: all that they damaged is found by one pass, and nothing
 * else. */
static void a_thousand_flipped_bits(void **state)
{
    (void)state;
    enum { BLOBS = 1500, FLIPS = 1000 };
    static struct {
        uint32_t extent;
        uint64_t offset, bytes;
        bool hit;
    } places[BLOBS];
    struct world w;
    unsigned hits = 0, extents = 0;
    world_init(&w, MIB, 60);
    for (unsigned n = 0; n < BLOBS; n++) {
        uint64_t frame;
        uint32_t bytes = 1 + (uint32_t)(n % 50 ? below(20000) : below(300000));
        put(&w, n, bytes);
        assert_int_equal(
            store_locate(w.store, blob(n), 0, &places[n].extent, &places[n].offset, &frame), OK);
        places[n].bytes = FRAME_HEAD_BYTES + bytes; /* what follows is padding */
        extents = MAX(extents, places[n].extent);
    }
    pass(&w);
    assert_int_equal(stats(&w).scrub_found, 0);
    assert_true(extents > 20);
    for (unsigned i = 0; i < FLIPS; i++) {
        char name[EXTENT_NAME_BYTES + 1];
        uint32_t extent = 1 + (uint32_t)below(extents);
        uint64_t at = EXTENT_HEADER_BYTES + below(MIB - EXTENT_HEADER_BYTES);
        extent_name(extent, name);
        assert_true(disk_mem_flip(w.between.inner, name, at, (unsigned)below(8)));
        for (unsigned n = 0; n < BLOBS; n++)
            if (places[n].extent == extent && at >= places[n].offset &&
                at - places[n].offset < places[n].bytes)
                places[n].hit = true;
    }
    for (unsigned n = 0; n < BLOBS; n++)
        hits += places[n].hit;
    assert_in_range(hits, 300, FLIPS);
    pass(&w);
    assert_int_equal(stats(&w).scrub_found, hits);
    assert_int_equal(w.told, hits);
    for (unsigned n = 0; n < BLOBS; n++)
        assert_int_equal(get(&w, n), places[n].hit ? ERR_CORRUPT : OK);
    assert_int_equal(stats(&w).corruptions, hits);
    world_fini(&w);
}

static void damage_is_told_once_and_healed_by_a_put(void **state)
{
    (void)state;
    struct world w;
    world_init(&w, 256 * 1024, 8);
    put(&w, 1, 5000);
    put(&w, 2, 5000);
    flip(&w, 2, FRAME_HEAD_BYTES + 7);
    pass(&w);
    assert_int_equal(w.told, 1);
    assert_memory_equal(&w.last.blob_id, blob(2).bytes, ID_BYTES);
    assert_int_equal(w.last.err, ERR_CHECKSUM);
    pass(&w);
    assert_int_equal(w.told, 1);
    assert_int_equal(stats(&w).scrub_found, 1);
    assert_int_equal(get(&w, 2), ERR_CORRUPT);
    put(&w, 2, 5000);
    flip(&w, 1, 20); /* its head */
    pass(&w);
    assert_int_equal(w.told, 2);
    assert_int_equal(w.last.err, ERR_CORRUPT);
    assert_int_equal(get(&w, 2), OK);
    world_fini(&w);
}

static void large_frames_are_read_in_pieces(void **state)
{
    (void)state;
    struct world w;
    world_init(&w, 8 * MIB, 8);
    put(&w, 1, 3 * MIB + 70000);
    pass(&w);
    assert_int_equal(w.between.scrub_reads, 4);
    assert_int_equal(stats(&w).scrub_bytes, 3 * MIB + 18 * 4096 + FRAME_HEAD_BYTES);
    assert_int_equal(w.told, 0);
    flip(&w, 1, FRAME_HEAD_BYTES + 3 * MIB + 69999);
    pass(&w);
    assert_int_equal(w.told, 1);
    world_fini(&w);
}

static void what_is_deleted_or_moved_meanwhile_is_no_damage(void **state)
{
    (void)state;
    for (unsigned moved = 0; moved < 2; moved++) {
        struct world w;
        world_init(&w, 256 * 1024, 8);
        put(&w, 1, 5000);
        if (moved) { /* something dead, and the extent sealed: it is reclaimed */
            put(&w, 2, 100000);
            put(&w, 3, 100000);
            put(&w, 4, 100000);
            del(&w, 2);
        }
        w.between.hold_scrub = true;
        store_scrub_start_now(w.store);
        while (!w.between.scrub)
            steps(&w, 1);
        uint32_t before, after;
        uint64_t offset, bytes;
        assert_int_equal(store_locate(w.store, blob(1), 0, &before, &offset, &bytes), OK);
        char name[EXTENT_NAME_BYTES + 1];
        extent_name(before, name);
        if (moved) {
            store_reclaim_now(w.store);
            for (after = before; after == before;) {
                steps(&w, 1);
                assert_int_equal(store_locate(w.store, blob(1), 0, &after, &(uint64_t){0}, &bytes),
                                 OK);
            }
        } else {
            del(&w, 1);
        }
        assert_true(disk_mem_flip(w.between.inner, name, offset + FRAME_HEAD_BYTES, 1));
        w.between.hold_scrub = false;
        let_go(&w.between, &w.between.scrub);
        pass_end(&w, 0);
        assert_int_equal(w.told, 0);
        assert_int_equal(stats(&w).corruptions, 0);
        assert_int_equal(get(&w, 1), moved ? OK : ERR_NOT_FOUND);
        world_fini(&w);
    }
}

/* The extent waits for the reader, as for any other, before its next life. */
static void an_extent_that_is_read_is_not_reused(void **state)
{
    (void)state;
    struct world w;
    uint32_t extent;
    uint64_t offset, bytes;
    char name[EXTENT_NAME_BYTES + 1];
    uint8_t header[EXTENT_HEADER_BYTES];
    struct extent_header h;
    world_init(&w, 256 * 1024, 8);
    for (unsigned n = 1; n < 4; n++)
        put(&w, n, 100000);
    assert_int_equal(store_locate(w.store, blob(1), 0, &extent, &offset, &bytes), OK);
    extent_name(extent, name);
    w.between.hold_scrub = true;
    store_scrub_start_now(w.store);
    while (!w.between.scrub)
        steps(&w, 1);
    del(&w, 1);
    del(&w, 2);
    store_reclaim_now(w.store);
    steps(&w, 500);
    assert_true(disk_mem_peek(w.between.inner, name, 0, header, sizeof(header)));
    assert_int_equal(extent_header_decode(SLICE(header, sizeof(header)), &h), OK);
    assert_int_equal(h.generation, 1);
    w.between.hold_scrub = false;
    let_go(&w.between, &w.between.scrub);
    pass_end(&w, 0);
    run_for(&w, 5 * NS_PER_SEC);
    assert_true(disk_mem_peek(w.between.inner, name, 0, header, sizeof(header)));
    assert_int_equal(extent_header_decode(SLICE(header, sizeof(header)), &h), OK);
    assert_int_equal(h.generation, 2);
    assert_int_equal(stats(&w).corruptions, 0);
    world_fini(&w);
}

static void failed_reads_are_damage_and_want_of_memory_is_not(void **state)
{
    (void)state;
    struct world w;
    world_init(&w, 256 * 1024, 8);
    put(&w, 1, 5000);
    disk_mem_fail(w.between.inner, DISK_READ, 1, ERR_NOMEM, false);
    pass(&w);
    assert_int_equal(w.told, 0);
    assert_int_equal(w.between.scrub_reads, 2);
    disk_mem_fail(w.between.inner, DISK_READ, 1, ERR_IO, false);
    pass(&w);
    assert_int_equal(w.told, 1);
    assert_int_equal(w.last.err, ERR_IO);
    assert_int_equal(stats(&w).state, STORE_UP);
    assert_int_equal(get(&w, 1), ERR_CORRUPT);
    world_fini(&w);
}

static void others_go_first_until_it_is_late(void **state)
{
    (void)state;
    struct world w;
    struct put first, second;
    world_init(&w, 256 * 1024, 8);
    put(&w, 1, 5000);
    w.between.hold_writes = true;
    put_begin(&w, &first, 2, 5000);
    while (!frame_held(&w.between))
        steps(&w, 1);
    put_begin(&w, &second, 3, 5000); /* waits for the next commit */
    store_scrub_start_now(w.store);
    run_for(&w, 60 * NS_PER_SEC);
    assert_int_equal(w.between.scrub_reads, 0);
    w.fake.now_ns += 13 * DAY_NS;
    steps(&w, 100);
    assert_true(w.between.scrub_reads > 0);
    assert_false(first.done || second.done);
    writes_let_go(&w.between);
    put_end(&w, &first);
    put_end(&w, &second);
    pass_end(&w, 0);
    pass(&w);
    assert_int_equal(get(&w, 2), OK);
    assert_int_equal(get(&w, 3), OK);
    idle(&w);
    store_check(w.store);
    world_fini(&w);
}

/* Wherever the scrub is, and in either order of the writes. */
static void a_write_may_end_whenever_it_does(void **state)
{
    (void)state;
    unsigned scrub_held = 0, both_held = 0;
    for (unsigned n = 0; n < 120; n++) {
        struct world w;
        struct put first, second;
        world_init(&w, 256 * 1024, 8);
        put(&w, 1, 5000);
        w.between.hold_writes = true;
        w.between.hold_scrub = n % 3 == 0;
        put_begin(&w, &first, 2, 5000);
        while (!frame_held(&w.between))
            steps(&w, 1);
        put_begin(&w, &second, 3, 250000); /* into the next extent */
        store_scrub_start_now(w.store);
        w.fake.now_ns += 13 * DAY_NS;
        steps(&w, n);
        w.between.hold_scrub = false;
        if (n % 2 && w.between.write_count > 1) {
            struct disk_req *r = w.between.writes[0];
            w.between.writes[0] = w.between.writes[1];
            w.between.writes[1] = r;
        }
        scrub_held += w.between.scrub != NULL;
        both_held += w.between.write_count > 1;
        writes_let_go(&w.between);
        put_end(&w, &first);
        put_end(&w, &second);
        if (w.between.scrub)
            let_go(&w.between, &w.between.scrub);
        pass(&w);
        assert_int_equal(stats(&w).scrub_found, 0);
        assert_int_equal(get(&w, 3), OK);
        idle(&w);
        store_check(w.store);
        world_fini(&w);
    }
    assert_true(scrub_held > 20 && both_held > 40);
}

static void a_pass_reads_at_the_allowed_rate(void **state)
{
    (void)state;
    struct world w;
    world_init(&w, MIB, 20);
    w.config.scrub_bytes_per_sec_max = 100000;
    crash(&w);
    for (unsigned n = 0; n < 20; n++)
        put(&w, n, 200000);
    uint64_t began = w.fake.now_ns;
    pass(&w);
    uint64_t took = (w.fake.now_ns - began) / NS_PER_SEC, bytes = stats(&w).scrub_bytes;
    assert_in_range(bytes, 20 * 200000, 20 * 210000);
    assert_in_range(took, bytes / 100000 - 1, bytes / 100000 + 12);
    world_fini(&w);
}

/* A small store is left alone, then read in time; new bytes count from when they came. */
static void all_is_read_within_the_period(void **state)
{
    (void)state;
    struct world w;
    world_init(&w, MIB, 20);
    w.config.scrub_period_ms = 1600 * 1000;
    flush(&w);
    crash(&w);
    for (unsigned n = 0; n < 20; n++)
        put(&w, n, 200000);
    run_for(&w, 1300 * NS_PER_SEC);
    assert_int_equal(stats(&w).scrub_bytes, 0);
    assert_in_range(stats(&w).scrub_oldest_age_s, 1299, 1302);
    put(&w, 30, 900000);
    for (unsigned i = 0; i < 4000; i++) {
        run_for(&w, NS_PER_SEC);
        assert_true(stats(&w).scrub_oldest_age_s <= 1600);
    }
    assert_in_range(stats(&w).scrub_bytes, 13 * 1000000, 5 * 4900000);
    assert_in_range(stats(&w).scrub_passes, 2, 5);
    world_fini(&w);
}

static void a_pass_that_is_asked_for_begins_anew(void **state)
{
    (void)state;
    struct world w;
    world_init(&w, MIB, 8);
    for (unsigned n = 0; n < 8; n++)
        put(&w, n, 50000);
    w.between.hold_scrub = true;
    store_scrub_start_now(w.store);
    for (unsigned i = 0; i < 4; i++) {
        while (!w.between.scrub)
            steps(&w, 1);
        if (i < 3)
            let_go(&w.between, &w.between.scrub);
    }
    flip(&w, 0, 100); /* read already */
    store_scrub_start_now(w.store);
    w.between.hold_scrub = false;
    let_go(&w.between, &w.between.scrub);
    pass_end(&w, 0);
    assert_int_equal(w.told, 1);
    assert_int_equal(stats(&w).scrub_passes, 1);
    world_fini(&w);
}

static void an_empty_store_has_nothing_unverified(void **state)
{
    (void)state;
    struct world w;
    world_init(&w, MIB, 8);
    assert_int_equal(stats(&w).scrub_oldest_ms, now_ms(&w));
    pass(&w);
    assert_int_equal(stats(&w).scrub_passes, 1);
    put(&w, 1, 100);
    uint64_t put_ms = now_ms(&w);
    run_for(&w, 100 * NS_PER_SEC);
    assert_true(stats(&w).scrub_oldest_ms <= put_ms);
    del(&w, 1);
    run_for(&w, 11 * NS_PER_SEC);
    assert_int_equal(stats(&w).scrub_oldest_age_s, 0);
    put(&w, 2,
        100); /* into the same extent, whose older bytes were not verified: never too young */
    assert_true(stats(&w).scrub_oldest_ms <= now_ms(&w));
    world_fini(&w);
}

static void a_crash_makes_nothing_younger(void **state)
{
    (void)state;
    struct world w;
    world_init(&w, 256 * 1024, 8);
    put(&w, 1, 5000);
    uint64_t put_ms = now_ms(&w);
    flush(&w);
    w.fake.now_ns += DAY_NS;
    steps(&w, 10);
    uint64_t pass_ms = now_ms(&w);
    pass(&w);
    assert_in_range(stats(&w).scrub_oldest_ms, pass_ms, pass_ms + 1);
    crash(&w); /* the index knows nothing of the pass */
    assert_in_range(stats(&w).scrub_oldest_ms, put_ms - 10, put_ms);
    w.fake.now_ns += DAY_NS;
    steps(&w, 10);
    pass_ms = now_ms(&w);
    pass(&w);
    flush(&w);
    crash(&w);
    assert_in_range(stats(&w).scrub_oldest_ms, pass_ms, pass_ms + 1);
    world_fini(&w);
}

/* Extents that the index forgot with all that was in them. */
static void an_unknown_life_is_as_old_as_what_is_known(void **state)
{
    (void)state;
    struct world w;
    world_init(&w, 256 * 1024, 8);
    put(&w, 1, 5000);
    flush(&w);
    uint64_t known_ms = now_ms(&w);
    w.fake.now_ns += DAY_NS;
    steps(&w, 10);
    for (unsigned n = 2; n < 9; n++) /* three more extents */
        put(&w, n, 100000);
    uint64_t put_ms = now_ms(&w);
    del(&w, 1);
    w.fake.now_ns += DAY_NS;
    crash(&w);
    del(&w, 2);
    del(&w, 3);
    run_for(&w, 11 * NS_PER_SEC); /* until it looks again: the extent that is known holds nothing */
    assert_true(stats(&w).scrub_oldest_ms <= put_ms);
    assert_true(stats(&w).scrub_oldest_ms + 1000 >= known_ms);
    for (unsigned n = 4; n < 9; n++)
        assert_int_equal(get(&w, n), OK);
    idle(&w);
    store_check(w.store);
    world_fini(&w);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_thousand_flipped_bits),
        cmocka_unit_test(damage_is_told_once_and_healed_by_a_put),
        cmocka_unit_test(large_frames_are_read_in_pieces),
        cmocka_unit_test(what_is_deleted_or_moved_meanwhile_is_no_damage),
        cmocka_unit_test(an_extent_that_is_read_is_not_reused),
        cmocka_unit_test(failed_reads_are_damage_and_want_of_memory_is_not),
        cmocka_unit_test(others_go_first_until_it_is_late),
        cmocka_unit_test(a_write_may_end_whenever_it_does),
        cmocka_unit_test(a_pass_reads_at_the_allowed_rate),
        cmocka_unit_test(all_is_read_within_the_period),
        cmocka_unit_test(a_pass_that_is_asked_for_begins_anew),
        cmocka_unit_test(an_empty_store_has_nothing_unverified),
        cmocka_unit_test(a_crash_makes_nothing_younger),
        cmocka_unit_test(an_unknown_life_is_as_old_as_what_is_known),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
