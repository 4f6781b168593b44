/* Row keys: order, round trip, and the field numbers that readers rely on. */
#include "metanode/index/keys.h"
#include "proto/common.pb-c.h"
#include "world.h"

#include <stdio.h>

static size_t random_key(struct rng *r, uint8_t *ret, size_t max)
{
    static const uint8_t alphabet[] = {0, 0, 1, 2, 'a', '/', 0xFE, 0xFF, 0xFF};
    size_t n = 1 + rng_below(r, max);
    for (size_t i = 0; i < n; i++)
        ret[i] = alphabet[rng_below(r, sizeof(alphabet))];
    return n;
}

static int sign(int c)
{
    return (c > 0) - (c < 0);
}

static void test_order(void **state)
{
    (void)state;
    struct rng r = {42};
    for (int i = 0; i < 20000; i++) {
        uint8_t a[8], b[8];
        struct slice ka = SLICE(a, random_key(&r, a, sizeof(a)));
        struct slice kb = SLICE(b, random_key(&r, b, sizeof(b)));
        struct key ra, rb, past;
        uint64_t bucket_a = rng_below(&r, 3), bucket_b = rng_below(&r, 3);
        key_object(&ra, 1, bucket_a, ka);
        key_object(&rb, 1, bucket_b, kb);
        int want = bucket_a != bucket_b ? (bucket_a > bucket_b ? 1 : -1) : slice_cmp(ka, kb);
        assert_int_equal(sign(slice_cmp(key_view(&ra), key_view(&rb))), sign(want));
        /* All keys with prefix ka, and no others, lie in [escaped(ka), its successor). */
        key_table_be64(&rb, 1, TABLE_OBJECT, bucket_a);
        key_escaped(&rb, ka);
        past = rb;
        key_successor(&past);
        key_object(&ra, 1, bucket_a, kb);
        bool inside = slice_cmp(key_view(&ra), key_view(&rb)) >= 0 &&
                      slice_cmp(key_view(&ra), key_view(&past)) < 0;
        assert_int_equal(inside, slice_has_prefix(kb, ka));
    }
}

static void test_round_trip(void **state)
{
    (void)state;
    struct rng r = {43};
    for (int i = 0; i < 5000; i++) {
        uint8_t a[OBJECT_KEY_BYTES_MAX], back[OBJECT_KEY_BYTES_MAX];
        struct slice key = SLICE(a, random_key(&r, a, i % 50 ? 20 : sizeof(a)));
        struct key row;
        struct slice rest;
        size_t n;
        key_object(&row, 1, BUCKET, key);
        assert_int_equal(key_decode(key_view(&row), back, &n, &rest), OK);
        assert_true(slice_eq(key, SLICE(back, n)) && rest.len == 8);
        /* Damage is an error or another key, never a read outside (the sanitizer watches). */
        row.bytes[rng_below(&r, row.len)] ^= (uint8_t)(1 + rng_below(&r, 255));
        (void)key_decode(SLICE(row.bytes, rng_below(&r, row.len + 1)), back, &n, &rest);
    }
    uint8_t zeros[OBJECT_KEY_BYTES_MAX] = {0}, back[OBJECT_KEY_BYTES_MAX];
    struct key row;
    struct slice rest;
    size_t n;
    struct id128 id = {{1}};
    key_part(&row, 1, TABLE_PART, BUCKET, SLICE(zeros, sizeof(zeros)), id128_slice(&id), 10000);
    assert_int_equal(key_decode(key_view(&row), back, &n, &rest), OK);
    assert_true(n == sizeof(zeros) && rest.len == ID_BYTES + 2);
}

static void expect_bytes(const struct key *k, const char *hex)
{
    char got[2 * KEY_BYTES_MAX + 1] = "";
    for (size_t i = 0; i < k->len; i++)
        snprintf(got + 2 * i, 3, "%02x", k->bytes[i]);
    assert_string_equal(got, hex);
}

/* What is on disks: docs/formats/index.md. */
static void test_format(void **state)
{
    (void)state;
    struct key k;
    struct id128 id = {{0xAA, 0xBB}};
    struct slice key = SLICE("a\0/", 3);
    key_object(&k, 0x01020304, BUCKET, key);
    expect_bytes(&k, "01020304"
                     "10"
                     "8000000000000000"
                     "6100ff2f"
                     "0001"
                     "0000000000000000");
    key_object_body(&k, 1, 2, key, 3);
    expect_bytes(&k, "00000001"
                     "18"
                     "0000000000000002"
                     "6100ff2f"
                     "0001"
                     "fffffffffffffffc");
    key_upload(&k, 1, TABLE_UPLOAD, 2, key, id128_slice(&id));
    expect_bytes(&k, "00000001"
                     "11"
                     "0000000000000002"
                     "6100ff2f"
                     "0001"
                     "aabb0000000000000000000000000000");
    key_part(&k, 1, TABLE_PART, 2, key, id128_slice(&id), 10000);
    expect_bytes(&k, "00000001"
                     "13"
                     "0000000000000002"
                     "6100ff2f"
                     "0001"
                     "aabb0000000000000000000000000000"
                     "2710");
    key_table_be64(&k, 1, TABLE_DELETION, 5);
    expect_bytes(&k, "00000001"
                     "20"
                     "0000000000000005");
    key_table(&k, 0, TABLE_BUCKET, SLICE_LIT("abc"));
    expect_bytes(&k, "00000000"
                     "64"
                     "616263");
    key_registry(&k, 0, 6, SLICE_LIT("s"), SLICE_LIT("nm"));
    expect_bytes(&k, "00000000"
                     "67"
                     "0006"
                     "73"
                     "0001"
                     "6e6d"
                     "0001");
    const uint8_t tables[] = {
        TABLE_HEADER,   TABLE_DESCRIPTOR, TABLE_OBJECT,   TABLE_UPLOAD,     TABLE_MANIFEST,
        TABLE_PART,     TABLE_DEAD,       TABLE_DELETION, TABLE_OUTCOME,    TABLE_OUTCOME_TIME,
        TABLE_FENCE,    TABLE_CONDEMNED,  TABLE_CLUSTER,  TABLE_NODE,       TABLE_PARTITION,
        TABLE_PG,       TABLE_BUCKET,     TABLE_USER,     TABLE_ACCESS_KEY, TABLE_OBJECT_BODY,
        TABLE_PART_BODY, TABLE_REGISTRY};
    const uint8_t want[] = {0x01, 0x02, 0x10, 0x11, 0x12, 0x13, 0x14, 0x20, 0x30, 0x31, 0x40,
                            0x50, 0x60, 0x61, 0x62, 0x63, 0x64, 0x65, 0x66, 0x18, 0x19, 0x67};
    assert_memory_equal(tables, want, sizeof(want));
}

/* The scanners name fields by number: they must be those of the messages. */
static void test_field_numbers(void **state)
{
    (void)state;
    const struct {
        const ProtobufCMessageDescriptor *type;
        const char *name;
        uint32_t number;
    } fields[] = {
        {&cairn__object_record__descriptor, "version", 1},
        {&cairn__object_record__descriptor, "size", 2},
        {&cairn__object_record__descriptor, "mtime_ms", 3},
        {&cairn__object_record__descriptor, "etag", 4},
        {&cairn__object_record__descriptor, "kind", 5},
        {&cairn__object_record__descriptor, "checksum", 9},
        {&cairn__object_record__descriptor, "owner_id", 19},
        {&cairn__object_record__descriptor, "storage_class", 20},
        {&cairn__object_record__descriptor, "versioned", 22},
        {&cairn__object_record__descriptor, "delete_marker", 23},
        {&cairn__object_record__descriptor, "null_at", 24},
        {&cairn__list_entry__descriptor, "is_latest", 11},
        {&cairn__list_entry__descriptor, "delete_marker", 12},
        {&cairn__list_entry__descriptor, "versioned", 13},
        {&cairn__interim_segment__descriptor, "version", 6},
        {&cairn__checksum__descriptor, "algorithm", 1},
        {&cairn__checksum__descriptor, "type", 2},
        {&cairn__upload_record__descriptor, "chosen", 8},
        {&cairn__part_record__descriptor, "size", 2},
        {&cairn__part_record__descriptor, "kind", 5},
        {&cairn__part_record__descriptor, "segments", 6},
        {&cairn__bucket_record__descriptor, "owner_id", 4},
        {&cairn__list_entry__descriptor, "version", 10},
        {&cairn__list_response__descriptor, "entries", 2},
        {&cairn__read_response__descriptor, "records", 2},
        {&cairn__list_uploads_response__descriptor, "entries", 2},
        {&cairn__list_parts_response__descriptor, "upload", 2},
        {&cairn__list_parts_response__descriptor, "parts", 3},
        {&cairn__list_buckets_response__descriptor, "buckets", 2},
        {&cairn__list_rows_response__descriptor, "rows", 2},
        {&cairn__row__descriptor, "version", 5},
        {&cairn__command__descriptor, "time_ms", 3},
        {&cairn__command__descriptor, "touches", 6},
    };
    for (size_t i = 0; i < ARRAY_COUNT(fields); i++) {
        const ProtobufCFieldDescriptor *f = NULL;
        for (unsigned j = 0; j < fields[i].type->n_fields; j++)
            if (strcmp(fields[i].type->fields[j].name, fields[i].name) == 0)
                f = &fields[i].type->fields[j];
        if (!f)
            fail_msg("%s has no field %s", fields[i].type->name, fields[i].name);
        assert_int_equal(f->id, fields[i].number);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_order),
        cmocka_unit_test(test_round_trip),
        cmocka_unit_test(test_format),
        cmocka_unit_test(test_field_numbers),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
