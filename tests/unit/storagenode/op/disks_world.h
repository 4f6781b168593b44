#pragma once
/* Three simulated disks as one node, for the tests of storagenode/op/disks*.c: included once by
 * each program. */
#include "common/base/hash.h"
#include "common/env/disk_mem.h"
#include "common/env/kv_mem.h"
#include "storagenode/op/disks.h"
#include "tests/unit/common/env/fake_env.h"

#include <stdio.h>
#include <stdlib.h>

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#define EXTENT_BYTES (64u * FRAME_ALIGN)
#define BLOB_BYTES 20000u
#define DISKS 3u
#define ROUNDS_MAX 100000u
#define PENDING 1 /* no error */

static struct fake_env fake;
static struct disk *disk[DISKS];
static struct kv *kv[DISKS];
static struct disks *disks;
static struct id128 disk_ids[DISKS];
static bool called;
static unsigned failures;
static size_t failed_disk;
static unsigned damages;
static size_t damaged_disk;
static struct id128 damaged_blob;
static bool from_peer; /* what is put */
static uint8_t bytes[BLOB_BYTES];

static inline struct id128 blob(unsigned n)
{
    return (struct id128){{(uint8_t)n, 0xb1, (uint8_t)(n >> 8), 7}};
}

static inline void wait(void)
{
    for (unsigned n = 0; !called; n++) {
        assert_true(n < ROUNDS_MAX);
        assert_true(fake_env_step(&fake));
    }
}

static inline void on_open(void *arg, int err)
{
    called = true;
    *(int *)arg = err;
}

static inline void on_failed(void *arg, size_t at, int err)
{
    (void)arg;
    (void)err;
    failures++;
    failed_disk = at;
}

static inline void on_damage(void *arg, size_t at, const struct store_damage *d)
{
    (void)arg;
    damages++;
    damaged_disk = at;
    damaged_blob = d->blob_id;
}

/* Opens the node with the disks of the mask. */
static inline int open_with(unsigned mask, const struct id128 *lost, size_t lost_count)
{
    static const char *const paths[DISKS] = {"/a", "/b", "/c"};
    struct disks_member members[DISKS];
    size_t count = 0;
    for (unsigned i = 0; i < DISKS; i++)
        if (mask & 1u << i)
            members[count++] = (struct disks_member){disk[i], kv[i], paths[i], OK};
    struct disks_config config = {.store = {.extent_bytes = EXTENT_BYTES,
                                            .capacity_bytes = 6 * EXTENT_BYTES,
                                            .extents_reserve = 2,
                                            .flush_interval_ms = 3600 * 1000,
                                            .flush_bytes = 1ull << 40},
                                  .members = members,
                                  .count = count,
                                  .lost = lost,
                                  .lost_count = lost_count,
                                  .on_failed = on_failed,
                                  .on_damage = on_damage};
    int err = disks_new(&fake.env, &config, &disks);
    assert_int_equal(err, OK);
    called = false;
    disks_open_start(disks, on_open, &err);
    wait();
    return err;
}

/* Power loss: the indexes go back to their last flush. */
static inline void power_loss(void)
{
    for (unsigned i = 0; i < DISKS; i++) {
        disk_mem_crash(disk[i], true);
        disk_mem_fail_clear(disk[i]);
        kv_mem_crash(kv[i], NULL, NULL);
    }
    disks_free(disks);
    disks = NULL;
}

static inline void again_with(unsigned mask, const struct id128 *lost, size_t lost_count)
{
    power_loss();
    assert_int_equal(open_with(mask, lost, lost_count), OK);
}

static inline int setup(void **state)
{
    (void)state;
    struct disks_status st;
    fake_env_init(&fake);
    fake.now_ns = 1000000 * NS_PER_SEC;
    failures = damages = 0;
    for (unsigned i = 0; i < DISKS; i++) {
        disk[i] =
            disk_mem_new(&fake.env, &(struct disk_mem_config){.seed = 7 + i,
                                                              .bytes_total = 16 * EXTENT_BYTES,
                                                              .delay_ns_max = NS_PER_MS});
        kv[i] = kv_mem_new(&fake.env, &(struct kv_mem_config){.mode = KV_STATE});
    }
    for (size_t i = 0; i < BLOB_BYTES; i++)
        bytes[i] = (uint8_t)(i * 31);
    assert_int_equal(open_with(7, NULL, 0), OK);
    for (size_t pos = 0, i = 0; disks_status_next(disks, &pos, &st); i++)
        disk_ids[i] = st.id;
    return 0;
}

static inline int teardown(void **state)
{
    (void)state;
    power_loss();
    for (unsigned i = 0; i < DISKS; i++) {
        disk_mem_free(disk[i]);
        kv_mem_free(kv[i]);
    }
    return 0;
}

/* ---- calls ---- */

static inline void on_put(struct disks_put *p)
{
    (void)p;
    called = true;
}

static inline void on_store_put(struct store_put *p)
{
    (void)p;
    called = true;
}

static inline void on_get(struct store_get *g)
{
    (void)g;
    called = true;
}

static inline void on_delete(struct disks_delete *d)
{
    (void)d;
    called = true;
}

struct put {
    struct disks_put put;
    uint32_t crcs[1];
};

static inline int put_start(struct put *p, unsigned n, uint16_t index, uint32_t pg, uint64_t epoch)
{
    size_t len = from_peer ? 1 : BLOB_BYTES;
    *p = (struct put){.put.put = {.info = {.blob_id = blob(n),
                                           .shard_index = index,
                                           .pg = pg,
                                           .pg_epoch = epoch,
                                           .time_ms = env_wall_ms(&fake.env),
                                           .bytes = len,
                                           .owner.key = SLICE_LIT("key"),
                                           .block_crcs = p->crcs},
                                  .payload.bytes = SLICE(bytes, len)},
                      .put.cb = on_put,
                      .put.any_epoch = from_peer,
                      .crcs = {crc32c(0, SLICE(bytes, len))}};
    called = false;
    return disks_put_start(disks, &p->put);
}

static inline int put_of(unsigned n, uint16_t index, uint32_t pg, uint64_t epoch)
{
    struct put p;
    int err = put_start(&p, n, index, pg, epoch);
    if (err)
        return err;
    wait();
    return p.put.err;
}

/* Of a single byte. */
static inline int put_of_peer(unsigned n, uint32_t pg, uint64_t epoch)
{
    from_peer = true;
    int err = put_of(n, 0, pg, epoch);
    from_peer = false;
    return err;
}

static inline int put(unsigned n)
{
    return put_of(n, 0, 1, 1);
}

static inline int get(unsigned n)
{
    struct store_get g = {.blob_id = blob(n), .cb = on_get};
    called = false;
    int err = disks_get_start(disks, &g);
    if (err)
        return err;
    wait();
    if (!g.err)
        assert_memory_equal(g.payload.bytes.ptr, bytes, BLOB_BYTES);
    payload_unref(&g.payload);
    return g.err;
}

static inline int del(unsigned n)
{
    struct id128 id = blob(n);
    struct disks_delete d = {.blob_ids = &id, .count = 1, .cb = on_delete};
    called = false;
    int err = disks_delete_start(disks, &d);
    if (err)
        return err;
    wait();
    return d.err;
}

static inline uint64_t shards_on(size_t at)
{
    struct store_stats st;
    store_stats_get(disks_store(disks, at), &st);
    return st.shards;
}

/* DISKS: none has it. */
static inline size_t holder(unsigned n)
{
    size_t found = DISKS;
    for (size_t i = 0; i < disks_members(disks); i++) {
        struct store_look look;
        assert_int_equal(store_look(disks_store(disks, i), blob(n), 0, &look), OK);
        if (look.found) {
            assert_int_equal(found, DISKS); /* at most one */
            found = i;
        }
    }
    return found;
}

static inline enum disks_shard look_at(unsigned n)
{
    enum disks_shard state;
    assert_int_equal(disks_look(disks, blob(n), 0, &state), OK);
    return state;
}

static inline bool writes_on(size_t at)
{
    struct store_stats st;
    store_stats_get(disks_store(disks, at), &st);
    return st.state == STORE_UP;
}

/* Puts until the disk's next write has failed. */
static inline void fail_disk(size_t at, unsigned first)
{
    disk_mem_fail(disk[at], DISK_WRITE, 1, ERR_IO, true);
    for (unsigned n = first; writes_on(at); n++) {
        assert_true(n < first + 60);
        assert_int_equal(put(n), OK); /* the others take it */
    }
}

static inline void idle(void)
{
    for (unsigned n = 0, busy = 1; busy; n++) {
        assert_true(n < ROUNDS_MAX);
        busy = 0;
        for (size_t i = 0; i < disks_members(disks); i++)
            busy |= !store_is_idle(disks_store(disks, i));
        if (busy)
            assert_true(fake_env_step(&fake));
    }
}

static inline int raw_put_start(struct store_put *p, size_t at, unsigned n, const uint32_t *crc)
{
    *p = (struct store_put){.info = {.blob_id = blob(n),
                                     .pg = 1,
                                     .pg_epoch = 1,
                                     .time_ms = env_wall_ms(&fake.env),
                                     .bytes = BLOB_BYTES,
                                     .owner.key = SLICE_LIT("key"),
                                     .block_crcs = crc},
                            .payload.bytes = SLICE(bytes, BLOB_BYTES),
                            .cb = on_store_put,
                            .err = PENDING};
    called = false;
    return store_put_start(disks_store(disks, at), p);
}

#define CASE(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
