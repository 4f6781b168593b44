/* Sealed bodies, wrapped keys, master keys: what was sealed opens, whatever pieces it came in, and
 * nothing else does. */
#include "gateway/crypt/kms.h"

#include "common/base/check.h"
#include "common/crypto/codec.h"
#include "tests/unit/common/alloc_fail.h"

#include <stdio.h>
#include <stdlib.h>

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#define PLAIN_MAX (3 * SEALED_CHUNK_BYTES + 1000)
static uint8_t plain[PLAIN_MAX], stored[PLAIN_MAX + 100], out[PLAIN_MAX];
static const uint8_t key_a[32] = {1}, key_b[32] = {2}, salt_a[16] = {3}, salt_b[16] = {4};

static int setup(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof(plain); i++)
        plain[i] = (uint8_t)(i * 13 + i / 777);
    return 0;
}

/* In pieces of `step` bytes.  Returns: what it takes. */
static size_t seal(const uint8_t key[32], size_t total, size_t step)
{
    struct sealer s = {0};
    size_t at = 0, wrote, n;
    assert_int_equal(sealer_init(&s, key, total), OK);
    for (size_t done = 0; done < total; done += n) {
        n = sealer_push(&s, SLICE(plain + done, MIN(step, total - done)), stored + at,
                        sealed_bytes(total) - at, &wrote);
        assert_true(n > 0);
        at += wrote;
    }
    sealer_fini(&s);
    assert_int_equal(at, sealed_bytes(total));
    return at;
}

static int open_range(const uint8_t key[32], size_t total, uint64_t first, size_t from, size_t to)
{
    struct opener o = {0};
    size_t bytes = 0;
    assert_int_equal(opener_init(&o, key, total), OK);
    int err = opener_open(&o, first, SLICE(stored + from, to - from), out, &bytes);
    opener_fini(&o);
    if (err == OK)
        assert_memory_equal(out, plain + first * SEALED_CHUNK_BYTES, bytes);
    return err;
}

static void any_size_in_any_pieces(void **state)
{
    static const size_t sizes[] = {1,
                                   15,
                                   16,
                                   1000,
                                   SEALED_CHUNK_BYTES - 1,
                                   SEALED_CHUNK_BYTES,
                                   SEALED_CHUNK_BYTES + 1,
                                   3 * SEALED_CHUNK_BYTES,
                                   PLAIN_MAX};
    static const size_t steps[] = {997, 4096, SEALED_CHUNK_BYTES, SEALED_BLOCK_BYTES, PLAIN_MAX};
    (void)state;
    assert_int_equal(sealed_bytes(0), 0);
    for (size_t i = 0; i < ARRAY_COUNT(sizes); i++)
        for (size_t k = 0; k < ARRAY_COUNT(steps); k++) {
            size_t n = seal(key_a, sizes[i], steps[k]), count = sealed_chunks(sizes[i]);
            assert_int_equal(open_range(key_a, sizes[i], 0, 0, n), OK);
            for (size_t c = 0; c < count; c++) /* each by itself */
                assert_int_equal(open_range(key_a, sizes[i], c, c * SEALED_BLOCK_BYTES,
                                            MIN((c + 1) * SEALED_BLOCK_BYTES, n)),
                                 OK);
        }
}

static void what_is_not_what_was_sealed(void **state)
{
    size_t total = PLAIN_MAX, n = seal(key_a, total, 5000), block = SEALED_BLOCK_BYTES;
    uint8_t other[SEALED_BLOCK_BYTES];
    (void)state;
    assert_int_equal(open_range(key_b, total, 0, 0, n), ERR_CORRUPT);
    for (size_t at = 0; at < n; at += 9973) { /* a bit anywhere, tags included */
        stored[at] ^= 4;
        assert_int_equal(open_range(key_a, total, 0, 0, n), ERR_CORRUPT);
        stored[at] ^= 4;
    }
    stored[block - 1] ^= 1;
    assert_int_equal(open_range(key_a, total, 0, 0, block), ERR_CORRUPT);
    memset(other, 0, sizeof(other));
    assert_memory_equal(out, other, SEALED_CHUNK_BYTES); /* nothing of it is left to be given out */
    stored[block - 1] ^= 1;
    /* In another place; cut, at a chunk's end too; longer; of a body of another size. */
    assert_int_equal(open_range(key_a, total, 1, 0, block), ERR_CORRUPT);
    assert_int_equal(open_range(key_a, total, 0, 0, n - 1), ERR_CORRUPT);
    assert_int_equal(open_range(key_a, 3 * SEALED_CHUNK_BYTES, 0, 0, 3 * block), ERR_CORRUPT);
    assert_int_equal(open_range(key_a, total + 1, 0, 0, block), ERR_CORRUPT);
    assert_int_equal(open_range(key_a, total, 4, 0, block), ERR_CORRUPT);
    assert_int_equal(open_range(key_a, total, 0, 0, 10), ERR_CORRUPT);
    memcpy(other, stored, block); /* swapped */
    memcpy(stored, stored + block, block);
    memcpy(stored + block, other, block);
    assert_int_equal(open_range(key_a, total, 0, 0, n), ERR_CORRUPT);
}

static void bodies_have_keys_of_their_own(void **state)
{
    uint8_t a[32], b[32], c[32];
    (void)state;
    seal_body_key(key_a, salt_a, a);
    seal_body_key(key_a, salt_b, b);
    seal_body_key(key_b, salt_a, c);
    assert_memory_not_equal(a, b, 32);
    assert_memory_not_equal(a, c, 32);
    assert_memory_not_equal(a, key_a, 32);
}

/* ---- wrapping ---- */

static void wrapped_keys(void **state)
{
    uint8_t w[CRYPT_WRAPPED_BYTES], got[32];
    struct buf context = {0}, other = {0};
    (void)state;
    key_context_object(&context, 7, 2, SLICE_LIT("key"), 3, SLICE_LIT("c"));
    assert_int_equal(key_wrap(key_a, salt_a, buf_view(&context), key_b, w), OK);
    assert_int_equal(key_unwrap(key_a, SLICE(w, sizeof(w)), buf_view(&context), got), OK);
    assert_memory_equal(got, key_b, 32);
    assert_int_equal(key_unwrap(key_b, SLICE(w, sizeof(w)), buf_view(&context), got), ERR_AUTH);
    assert_int_equal(key_unwrap(key_a, SLICE(w, sizeof(w) - 1), buf_view(&context), got), ERR_AUTH);
    for (size_t i = 0; i < sizeof(w); i++) {
        w[i] ^= 0x80;
        assert_int_equal(key_unwrap(key_a, SLICE(w, sizeof(w)), buf_view(&context), got), ERR_AUTH);
        w[i] ^= 0x80;
    }
    /* Another bucket, mode, key, version, encryption context; a boundary moved. */
    for (int i = 0; i < 6; i++) {
        buf_clear(&other);
        key_context_object(&other, i == 0 ? 8 : 7, i == 1 ? 1 : 2,
                           i == 2   ? SLICE_LIT("kez")
                           : i == 5 ? SLICE_LIT("ke")
                                    : SLICE_LIT("key"),
                           i == 3 ? 4 : 3, i == 4 ? SLICE_LIT("d") : SLICE_LIT("c"));
        assert_int_equal(key_unwrap(key_a, SLICE(w, sizeof(w)), buf_view(&other), got), ERR_AUTH);
    }
    buf_fini(&context);
    buf_fini(&other);
}

static void versions_of_kms_keys(void **state)
{
    struct master_keys m = {.count = 2,
                            .keys = {{.id = "new", .key = {9}}, {.id = "old", .key = {8}}}};
    Cairn__KmsVersion v = CAIRN__KMS_VERSION__INIT;
    Cairn__MasterCheck used = CAIRN__MASTER_CHECK__INIT, *list[] = {&used};
    Cairn__MasterRow row = CAIRN__MASTER_ROW__INIT;
    uint8_t w[CRYPT_WRAPPED_BYTES], got[32], check[MASTER_CHECK_BYTES];
    const char *id = NULL;
    (void)state;
    v.number = 1;
    assert_int_equal(kms_version_wrap(&v, "name", &m.keys[1], salt_a, key_a, w), OK);
    assert_string_equal(v.master_id, "old");
    assert_int_equal(kms_version_unwrap(&v, "name", &m, got), OK);
    assert_memory_equal(got, key_a, 32);
    assert_int_equal(kms_version_unwrap(&v, "eman", &m, got), ERR_AUTH);
    v.number = 2;
    assert_int_equal(kms_version_unwrap(&v, "name", &m, got), ERR_AUTH);
    v.number = 1;
    m.count = 1;
    assert_int_equal(kms_version_unwrap(&v, "name", &m, got), ERR_NOT_FOUND);
    m.count = 2;
    master_key_check(&m.keys[1], check);
    used.id = v.master_id;
    used.check = (ProtobufCBinaryData){sizeof(check), check};
    row.used = list;
    row.n_used = 1;
    assert_int_equal(master_row_check(&row, &m, &id), OK);
    assert_true(master_row_has(&row, "old") && !master_row_has(&row, "new"));
    m.keys[1].key[31] = 1;
    assert_int_equal(master_row_check(&row, &m, &id), ERR_AUTH);
    m.count = 1;
    assert_int_equal(master_row_check(&row, &m, &id), ERR_NOT_FOUND);
    assert_string_equal(id, "old");
}

/* ---- the file of master keys ---- */

#define HEX64 "000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f"
#define BASE64 "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8="

static void master_keys_are_read(void **state)
{
    static const struct {
        const char *text;
        unsigned line;
    } bad[] = {{"", 0},
               {"# nothing\n\n", 2},
               {HEX64, 1},
               {"a:" HEX64 "\na:" HEX64, 2},
               {"a:" HEX64 "0", 1},
               {"a:abcd", 1},
               {":" HEX64, 1},
               {"a b:" HEX64, 1},
               {"a:" HEX64 "\n\nb:x", 3},
               {"a:zz0102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f", 1}};
    struct master_keys m;
    unsigned line;
    const char *why;
    (void)state;
    assert_int_equal(
        master_keys_parse(SLICE_LIT("# c\n\n new : " HEX64 " \r\nold:" BASE64), &m, &line, &why),
        OK);
    assert_int_equal(m.count, 2);
    assert_string_equal(m.keys[0].id, "new");
    assert_string_equal(m.keys[1].id, "old");
    assert_memory_equal(m.keys[0].key, m.keys[1].key, 32);
    assert_int_equal(m.keys[0].key[31], 31);
    assert_ptr_equal(master_keys_find(&m, SLICE_LIT("old")), &m.keys[1]);
    assert_null(master_keys_find(&m, SLICE_LIT("ol")));
    assert_int_equal(master_keys_parse(SLICE_LIT("a:" HEX64 ",b:" BASE64), &m, &line, &why), OK);
    assert_int_equal(m.count, 2);
    for (size_t i = 0; i < ARRAY_COUNT(bad); i++) {
        assert_int_equal(master_keys_parse(slice_cstr(bad[i].text), &m, &line, &why), ERR_INVAL);
        assert_int_equal(line, bad[i].line);
        assert_non_null(why);
        assert_null(strstr(why, "0102"));
        assert_int_equal(m.count, 0);
    }
}

static void the_nth_allocation_fails(void **state)
{
    (void)state;
    for (uint64_t n = 0;; n++) {
        struct sealer s = {0};
        struct opener o = {0};
        struct buf context = {0};
        uint8_t w[CRYPT_WRAPPED_BYTES], got[32];
        alloc_fail_at(n);
        int err = sealer_init(&s, key_a, 100);
        if (err == OK)
            err = opener_init(&o, key_a, 100);
        key_context_object(&context, 1, 1, SLICE_LIT("k"), 1, SLICE_EMPTY);
        if (err == OK && context.failed)
            err = ERR_NOMEM;
        if (err == OK)
            err = key_wrap(key_a, salt_a, buf_view(&context), key_b, w);
        if (err == OK)
            err = key_unwrap(key_a, SLICE(w, sizeof(w)), buf_view(&context), got);
        bool failed = alloc_fail_end();
        sealer_fini(&s);
        opener_fini(&o);
        buf_fini(&context);
        assert_true(err == OK || err == ERR_NOMEM);
        if (!failed) {
            assert_int_equal(err, OK);
            break;
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(any_size_in_any_pieces),
        cmocka_unit_test(what_is_not_what_was_sealed),
        cmocka_unit_test(bodies_have_keys_of_their_own),
        cmocka_unit_test(wrapped_keys),
        cmocka_unit_test(versions_of_kms_keys),
        cmocka_unit_test(master_keys_are_read),
        cmocka_unit_test(the_nth_allocation_fails),
    };
    return cmocka_run_group_tests(tests, setup, NULL);
}
