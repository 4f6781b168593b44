/* Formats, the rules of replay, the allocator against a plain count, batches, and the judgement of
 * tails. */
#include "common/base/check.h"
#include "common/base/hash.h"
#include "storagenode/extent/alloc.h"
#include "storagenode/extent/batch.h"
#include "storagenode/extent/record.h"
#include "storagenode/extent/scan.h"

#include <stdlib.h>

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

static struct id128 id_of(unsigned n)
{
    struct id128 id = {{1}};
    id.bytes[15] = (uint8_t)n;
    id.bytes[14] = (uint8_t)(n >> 8);
    return id;
}

static struct extent_header header_of(uint32_t id)
{
    return (struct extent_header){.id = id, .generation = 3, .salt = 0x5a17, .bytes = 64 * FRAME_ALIGN,
                                  .disk_id = id_of(99)};
}

/* ---- formats ---- */

static void a_header_survives_the_loss_of_one_copy(void **state)
{
    (void)state;
    struct extent_header h = header_of(7), back;
    uint8_t block[EXTENT_HEADER_BYTES];
    extent_header_encode(&h, block);
    for (size_t bit = 0; bit < 64 * 8; bit++) {
        block[bit / 8] ^= (uint8_t)(1u << bit % 8);
        memset(&back, 0, sizeof(back));
        assert_int_equal(extent_header_decode(SLICE(block, sizeof(block)), &back), OK);
        assert_int_equal(back.generation, 3);
        assert_int_equal(back.salt, 0x5a17);
        block[bit / 8] ^= (uint8_t)(1u << bit % 8);
    }
    block[20] ^= 1;
    block[2048 + 40] ^= 1;
    assert_int_equal(extent_header_decode(SLICE(block, sizeof(block)), &back), ERR_CORRUPT);
    assert_int_equal(extent_header_decode(SLICE(block, 100), &back), ERR_CORRUPT);
}

static uint32_t crcs[SHARD_BLOCKS_MAX];

static struct frame_head head_of(const struct extent_header *x, uint64_t offset, uint64_t batch,
                                 uint64_t seq, struct slice data)
{
    struct frame_head h = {.kind = FRAME_SHARD, .extent_id = x->id, .generation = x->generation,
                           .salt = x->salt, .offset = offset, .batch_start = batch, .seq = seq,
                           .data_bytes = data.len};
    for (uint32_t i = 0; i < shard_blocks(data.len); i++) {
        size_t at = (size_t)i * SHARD_BLOCK_BYTES;
        crcs[i] = crc32c(0, SLICE(data.ptr + at, MIN(data.len - at, SHARD_BLOCK_BYTES)));
    }
    h.info = (struct shard_info){.blob_id = id_of((unsigned)seq), .shard_index = 4, .scheme = 1,
                                 .pg = 77, .pg_epoch = 5, .time_ms = 123456, .bytes = data.len,
                                 .owner = {.bucket_id = 8, .key = SLICE_LIT("photos/a.jpg"),
                                           .upload_id = id_of(5), .write_id = id_of(6),
                                           .part_number = 10000, .segment_number = 3,
                                           .body_bytes = 16777217},
                                 .data_shards = 5, .parity_shards = 4, .blob_bytes = 4000000,
                                 .blob_crc32c = 0x12345678, .block_crcs = crcs};
    return h;
}

static void a_head_round_trips_and_no_bit_may_flip(void **state)
{
    (void)state;
    struct extent_header x = header_of(7);
    uint8_t data[5000], block[FRAME_HEAD_BYTES];
    struct frame_head back;
    memset(data, 'd', sizeof(data));
    struct frame_head h = head_of(&x, 8192, 4096, 42, SLICE(data, sizeof(data)));
    frame_head_encode(&h, block);
    assert_int_equal(frame_head_decode(SLICE(block, sizeof(block)), &back), OK);
    assert_true(frame_head_fits(&back, &x, 8192));
    assert_false(frame_head_fits(&back, &x, 12288));
    assert_true(id128_eq(back.info.blob_id, id_of(42)));
    assert_true(slice_eq(back.info.owner.key, SLICE_LIT("photos/a.jpg")));
    assert_true(id128_eq(back.info.owner.upload_id, id_of(5)));
    assert_true(id128_eq(back.info.owner.write_id, id_of(6)));
    assert_int_equal(back.info.owner.part_number, 10000);
    assert_int_equal(back.info.owner.segment_number, 3);
    assert_int_equal(back.info.owner.bucket_id, 8);
    assert_int_equal(back.info.pg, 77);
    assert_int_equal(back.info.pg_epoch, 5);
    assert_int_equal(back.info.time_ms, 123456);
    assert_int_equal(back.info.shard_index, 4);
    assert_int_equal(back.info.data_shards, 5);
    assert_int_equal(back.info.parity_shards, 4);
    assert_int_equal(back.info.blob_bytes, 4000000);
    assert_int_equal(back.info.owner.body_bytes, 16777217);
    assert_int_equal(back.info.blob_crc32c, 0x12345678);
    assert_int_equal(back.batch_start, 4096);
    assert_int_equal(frame_data_verify(&back, SLICE(data, sizeof(data))), OK);
    data[4999] ^= 1;
    assert_int_equal(frame_data_verify(&back, SLICE(data, sizeof(data))), ERR_CHECKSUM);
    for (size_t bit = 0; bit < FRAME_HEAD_BYTES * 8; bit += 7) {
        block[bit / 8] ^= (uint8_t)(1u << bit % 8);
        assert_int_not_equal(frame_head_decode(SLICE(block, sizeof(block)), &back), OK);
        block[bit / 8] ^= (uint8_t)(1u << bit % 8);
    }
    x.salt++; /* another life */
    assert_int_equal(frame_head_decode(SLICE(block, sizeof(block)), &back), OK);
    assert_false(frame_head_fits(&back, &x, 8192));
    x = header_of(7);
    x.bytes = 12288; /* it would end behind the extent */
    assert_false(frame_head_fits(&back, &x, 8192));
}

static void names_parse_back(void **state)
{
    (void)state;
    char name[EXTENT_NAME_BYTES + 1];
    uint32_t id = 0;
    extent_name(0x2a, name);
    assert_string_equal(name, "x0000002a.extent");
    assert_true(extent_name_parse(name, &id));
    assert_int_equal(id, 0x2a);
    assert_false(extent_name_parse("x00000000.extent", &id));
    assert_false(extent_name_parse("x0000002A.extent", &id));
    assert_false(extent_name_parse("x0000002a.extent2", &id));
    assert_false(extent_name_parse("LOCK", &id));
}

/* ---- replay: any order of frames gives the same record ---- */

static void replay_does_not_depend_on_order(void **state)
{
    (void)state;
    srand(1);
    for (unsigned round = 0; round < 2000; round++) {
        struct { bool mark; uint64_t seq; uint16_t index; } ops[6];
        struct blob_record want = {0}, have = {0};
        struct shard_record old, removed[SHARDS_PER_BLOB_MAX];
        uint32_t count;
        for (unsigned i = 0; i < 6; i++) {
            ops[i].mark = rand() % 3 == 0;
            ops[i].seq = i + 1;
            ops[i].index = (uint16_t)(rand() % 2);
        }
        for (unsigned pass = 0; pass < 2; pass++) {
            struct blob_record *r = pass ? &have : &want;
            for (unsigned i = 0; pass && i < 6; i++) { /* shuffled */
                unsigned j = (unsigned)rand() % 6;
                typeof(ops[0]) t = ops[i];
                ops[i] = ops[j];
                ops[j] = t;
            }
            for (unsigned i = 0; i < 6; i++) {
                struct shard_record s = {.shard_index = ops[i].index, .extent_id = 1,
                                         .bytes = 1, .seq = ops[i].seq};
                if (ops[i].mark)
                    blob_record_mark(r, ops[i].seq, ops[i].seq * 10, removed, &count);
                else
                    blob_record_take(r, &s, &old);
            }
        }
        for (uint16_t index = 0; index < 2; index++) {
            struct shard_record *a = blob_record_find(&want, index);
            struct shard_record *b = blob_record_find(&have, index);
            assert_true((a == NULL) == (b == NULL));
            assert_true(!a || a->seq == b->seq);
        }
        assert_int_equal(want.deleted, have.deleted);
        assert_true(!want.deleted || want.seq == have.seq);
        uint8_t bytes[RECORD_BYTES_MAX];
        struct blob_record back;
        size_t len = blob_record_encode(&have, bytes);
        assert_int_equal(blob_record_decode(SLICE(bytes, len), &back), OK);
        assert_int_equal(blob_record_decode(SLICE(bytes, len - 1), &back), ERR_CORRUPT);
    }
}

static void small_records_come_back(void **state)
{
    (void)state;
    uint8_t bytes[NODE_RECORD_BYTES_MAX];
    struct id128 id = {{1, 2, 3}}, other;
    uint32_t pg;
    uint16_t index;
    uint64_t epoch;
    struct record_key k = record_key_group(7, id, 300), next = record_key_group(7, id, 301);
    assert_true(record_key_group_parse(record_key_slice(&k), &pg, &other, &index));
    assert_true(pg == 7 && index == 300 && id128_eq(id, other));
    assert_true(k.len == next.len && memcmp(k.bytes, next.bytes, k.len) < 0);
    assert_false(record_key_blob_parse(record_key_slice(&k), &other));
    k = record_key_closed(9);
    assert_true(record_key_closed_parse(record_key_slice(&k), &pg) && pg == 9);
    k = record_key_node(id);
    assert_true(record_key_node_parse(record_key_slice(&k), &other) && id128_eq(id, other));
    struct group_record g = {.time_ms = 5, .crcs_digest = 6, .damaged = true}, g2;
    group_record_encode(&g, bytes);
    assert_int_equal(group_record_decode(SLICE(bytes, GROUP_RECORD_BYTES), &g2), OK);
    assert_true(g2.time_ms == 5 && g2.crcs_digest == 6 && g2.damaged && !g2.confirmed);
    g = (struct group_record){.time_ms = 5, .confirmed = true};
    group_record_encode(&g, bytes);
    assert_int_equal(group_record_decode(SLICE(bytes, GROUP_RECORD_BYTES), &g2), OK);
    assert_true(!g2.damaged && g2.confirmed);
    assert_int_equal(group_record_decode(SLICE(bytes, GROUP_RECORD_BYTES - 1), &g2), ERR_CORRUPT);
    closed_record_encode(1ull << 40, bytes);
    assert_int_equal(closed_record_decode(SLICE(bytes, CLOSED_RECORD_BYTES), &epoch), OK);
    assert_true(epoch == 1ull << 40);
    uint8_t deep[DEEP_RECORD_BYTES];
    uint64_t since[DEEP_BUCKETS], since2[DEEP_BUCKETS];
    for (unsigned i = 0; i < DEEP_BUCKETS; i++)
        since[i] = (i * 77777ull << 20) + i;
    deep_record_encode(since, deep);
    assert_int_equal(deep_record_decode(SLICE(deep, sizeof(deep)), since2), OK);
    for (unsigned i = 0; i < DEEP_BUCKETS; i++)
        assert_true(since2[i] == since[i] / 1000 * 1000);
    assert_int_equal(deep_record_decode(SLICE(deep, sizeof(deep) - 1), since2), ERR_CORRUPT);
    assert_int_equal(deep_record_decode(SLICE_EMPTY, since2), ERR_CORRUPT);
    deep[0] = 9;
    assert_int_equal(deep_record_decode(SLICE(deep, sizeof(deep)), since2), ERR_VERSION);
    struct node_record n = {.lost = true, .path = "/mnt/a"}, n2;
    size_t len = node_record_encode(&n, bytes);
    assert_int_equal(node_record_decode(SLICE(bytes, len), &n2), OK);
    assert_true(n2.lost);
    assert_string_equal(n2.path, "/mnt/a");
    assert_int_equal(node_record_decode(SLICE(bytes, len - 1), &n2), ERR_CORRUPT);
    bytes[0] = 9;
    assert_int_equal(node_record_decode(SLICE(bytes, len), &n2), ERR_VERSION);
}

/* ---- allocator ---- */

static void the_reserve_is_for_marks_and_copies(void **state)
{
    (void)state;
    struct alloc a;
    struct extent *x;
    uint64_t frame = 20 * FRAME_ALIGN;
    alloc_init(&a, 64 * FRAME_ALIGN, 4, 1);
    assert_int_equal(alloc_room(&a, ALLOC_PUT, frame), ALLOC_WAITS);
    for (uint32_t id = 1; id <= 4; id++) {
        struct extent_header h = header_of(id);
        assert_int_equal(alloc_next_id(&a), id);
        assert_int_equal(alloc_add(&a, &h, &x), OK);
        assert_int_equal(alloc_add(&a, &h, &x), ERR_EXISTS);
    }
    unsigned puts = 0, marks = 0;
    for (; alloc_room(&a, ALLOC_PUT, frame) != ALLOC_NONE; puts++) {
        if (alloc_room(&a, ALLOC_PUT, frame) == ALLOC_NEXT)
            alloc_advance(&a);
        extent_append(&a, a.active, frame);
    }
    assert_int_equal(puts, 9); /* three to an extent, one extent in reserve */
    assert_int_equal(alloc_pressure(&a), ALLOC_FULL);
    for (; alloc_room(&a, ALLOC_SYSTEM, frame) != ALLOC_NONE; marks++) {
        if (alloc_room(&a, ALLOC_SYSTEM, frame) == ALLOC_NEXT)
            alloc_advance(&a);
        extent_append(&a, a.active, frame);
        /* An extent of the reserve that was begun is none of the puts' either. */
        assert_int_equal(alloc_room(&a, ALLOC_PUT, frame), ALLOC_NONE);
    }
    assert_int_equal(marks, 3);
    alloc_check(&a);
    alloc_fini(&a);
}

static void the_emptiest_extent_is_reclaimed_first(void **state)
{
    (void)state;
    struct alloc a;
    struct extent *x[4];
    alloc_init(&a, 64 * FRAME_ALIGN, 20, 1);
    for (uint32_t i = 0; i < 4; i++) {
        struct extent_header h = header_of(i + 1);
        alloc_add(&a, &h, &x[i]);
        alloc_advance(&a);
        extent_append(&a, x[i], 60 * FRAME_ALIGN);
        extent_account(&a, x[i], 60 * FRAME_ALIGN, 3);
    }
    assert_null(alloc_victim(&a, false));
    extent_account(&a, x[0], -(int64_t)(25 * FRAME_ALIGN), -1); /* more than half lives */
    assert_null(alloc_victim(&a, false));
    assert_ptr_equal(alloc_victim(&a, true), x[0]);
    extent_account(&a, x[1], -(int64_t)(40 * FRAME_ALIGN), -2);
    assert_ptr_equal(alloc_victim(&a, false), x[1]);
    extent_move(&a, x[1], EXTENT_RECLAIMING);
    assert_null(alloc_victim(&a, false));
    extent_account(&a, x[1], -(int64_t)(20 * FRAME_ALIGN), -1);
    extent_move(&a, x[1], EXTENT_EMPTIED);
    extent_move(&a, x[1], EXTENT_FREEING);
    struct extent_header next = x[1]->header;
    next.generation++;
    extent_reborn(&a, x[1], &next);
    assert_int_equal(x[1]->state, EXTENT_FREE);
    alloc_check(&a);
    alloc_fini(&a);
}

/* ---- batches ---- */

static void a_batch_is_bounded_and_names_a_blob_once(void **state)
{
    (void)state;
    struct batch b;
    struct id128 ids[3] = {id_of(1), id_of(2), id_of(2)};
    assert_int_equal(batch_init(&b, 100000, 3), OK);
    batch_begin(&b);
    assert_int_equal(batch_admit_put(&b, id_of(1), 1000000), BATCH_TAKE); /* the first: any size */
    batch_take_put(&b, id_of(1), 1000000);
    assert_int_equal(batch_admit_put(&b, id_of(2), 1), BATCH_FULL);
    assert_int_equal(batch_admit_delete(&b, ids, 2), BATCH_CONFLICT);
    assert_int_equal(batch_admit_put(&b, id_of(1), 1), BATCH_CONFLICT);
    batch_begin(&b);
    assert_int_equal(batch_admit_delete(&b, ids, 3), BATCH_TAKE);
    assert_true(batch_take_mark(&b, ids[0]));
    assert_true(batch_take_mark(&b, ids[1]));
    assert_false(batch_take_mark(&b, ids[2]));
    assert_int_equal(b.marks, 2);
    assert_int_equal(batch_admit_put(&b, id_of(2), 1), BATCH_CONFLICT);
    for (unsigned n = 10; n < 13; n++) {
        assert_int_equal(batch_admit_put(&b, id_of(n), 1), BATCH_TAKE);
        batch_take_put(&b, id_of(n), 1);
    }
    assert_int_equal(batch_admit_put(&b, id_of(13), 1), BATCH_FULL);
    batch_fini(&b);
}

/* ---- tails ---- */

static uint8_t image[64 * FRAME_ALIGN];

/* Frames of 2 blocks of 4 KiB data each: batches {1,2}, {3}, {4,5}. */
static void image_make(const struct extent_header *x)
{
    static const unsigned batch_of[] = {0, 0, 2, 3, 3};
    uint8_t data[8000];
    memset(image, 0, sizeof(image));
    extent_header_encode(x, image);
    for (unsigned i = 0; i < 5; i++) {
        uint64_t at = 4096 + i * 12288, batch = 4096 + batch_of[i] * 12288;
        memset(data, 'a' + (int)i, sizeof(data));
        struct frame_head h = head_of(x, at, batch, i + 1, SLICE(data, sizeof(data)));
        frame_head_encode(&h, image + at);
        memcpy(image + at + FRAME_HEAD_BYTES, data, sizeof(data));
    }
}

static unsigned scan_all(const struct extent_header *x, struct scan *s, bool later)
{
    unsigned seen = 0;
    enum scan_event e;
    uint64_t offset = 0, len = 0;
    scan_init(s, x, EXTENT_HEADER_BYTES);
    while ((e = scan_step(s, offset, SLICE(image + offset, len))) != SCAN_END) {
        if (e == SCAN_FRAME) {
            seen |= 1u << s->frame.seq;
            continue;
        }
        offset = s->need_offset; /* no more than was asked for */
        len = s->need_bytes;
        assert_true(offset + len <= sizeof(image));
    }
    scan_judge(s, later);
    return seen;
}

static unsigned damaged_count(const struct scan *s)
{
    unsigned n = 0;
    for (size_t i = 0; i < s->bad_count; i++)
        n += s->bad[i].damaged;
    return n;
}

static void tails_are_judged_by_batches(void **state)
{
    (void)state;
    static const struct {
        unsigned frame, at;    /* where the bit flips */
        unsigned seen;         /* frames found whole */
        unsigned damaged;      /* proved */
        bool later;
    } cases[] = {
        {1, 5000, 1u << 2 | 1u << 3 | 1u << 4 | 1u << 5, 1, false},
        {1, 10, 1u << 2 | 1u << 3 | 1u << 4 | 1u << 5, 1, false},
        {3, 5000, 1u << 1 | 1u << 2 | 1u << 4 | 1u << 5, 1, false},
        {3, 10, 1u << 1 | 1u << 2 | 1u << 4 | 1u << 5, 1, false},
        /* Of the last batch: torn, though a whole frame follows. */
        {4, 5000, 1u << 1 | 1u << 2 | 1u << 3 | 1u << 5, 0, false},
        {4, 10, 1u << 1 | 1u << 2 | 1u << 3 | 1u << 5, 0, false},
        {5, 5000, 1u << 1 | 1u << 2 | 1u << 3 | 1u << 4, 0, false},
        /* Unless another extent was begun after this one. */
        {5, 5000, 1u << 1 | 1u << 2 | 1u << 3 | 1u << 4, 1, true},
    };
    struct extent_header x = header_of(7);
    for (size_t i = 0; i < ARRAY_COUNT(cases); i++) {
        struct scan s;
        image_make(&x);
        image[4096 + (cases[i].frame - 1) * 12288 + cases[i].at] ^= 4;
        assert_int_equal(scan_all(&x, &s, cases[i].later), cases[i].seen);
        assert_int_equal(damaged_count(&s), cases[i].damaged);
        assert_int_equal(s.end, 4096 + 5 * 12288); /* torn data is not written over either */
        scan_fini(&s);
    }
}

static void frames_of_another_life_are_not_there(void **state)
{
    (void)state;
    struct extent_header x = header_of(7), before = header_of(7);
    struct scan s;
    before.salt++;
    image_make(&before); /* same id and generation even, but another salt */
    assert_int_equal(scan_all(&x, &s, true), 0);
    assert_int_equal(s.end, EXTENT_HEADER_BYTES);
    assert_int_equal(damaged_count(&s), 0);
    scan_fini(&s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_header_survives_the_loss_of_one_copy),
        cmocka_unit_test(a_head_round_trips_and_no_bit_may_flip),
        cmocka_unit_test(names_parse_back),
        cmocka_unit_test(replay_does_not_depend_on_order),
        cmocka_unit_test(small_records_come_back),
        cmocka_unit_test(the_reserve_is_for_marks_and_copies),
        cmocka_unit_test(the_emptiest_extent_is_reclaimed_first),
        cmocka_unit_test(a_batch_is_bounded_and_names_a_blob_once),
        cmocka_unit_test(tails_are_judged_by_batches),
        cmocka_unit_test(frames_of_another_life_are_not_there),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
