/* The record cache: its two rules, its bounds, and what happens when memory runs out. */
#include "gateway/cache/cache.h"

#include "common/base/check.h"
#include "common/base/mutant.h"

#include <stdio.h>
#include <stdlib.h>

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

static struct cache_key object_key(const char *key)
{
    return (struct cache_key){CAIRN__RECORD_KIND__RECORD_OBJECT, 7, slice_cstr(key)};
}

static Cairn__Record *object_record(uint64_t version)
{
    Cairn__Record r = CAIRN__RECORD__INIT;
    Cairn__ObjectRecord o = CAIRN__OBJECT_RECORD__INIT;
    uint8_t packed[256];
    o.version = version;
    o.etag = (char *)(uintptr_t) "etag";
    r.present = version != 0;
    r.object = version ? &o : NULL;
    size_t n = cairn__record__pack(&r, packed);
    return cairn__record__unpack(NULL, n, packed);
}

static struct cache_entry *fill(struct cache *c, const char *key, uint64_t as_of, uint64_t version)
{
    struct cache_key k = object_key(key);
    Cairn__Record *r = object_record(version);
    struct cache_entry *e = NULL;
    assert_int_equal(cache_fill(c, &k, 1, as_of, &r, (struct payload){0}, false, &e), OK);
    assert_null(r);
    cache_check(c);
    return e;
}

static uint64_t version_of(const struct cache_entry *e)
{
    return e->record->present ? e->record->object->version : 0;
}

static struct cache *new_cache(uint64_t bytes, uint64_t bodies)
{
    struct cache_config config = {.bytes_max = bytes, .body_bytes_max = bodies, .seed = 3};
    struct cache *c = NULL;
    assert_int_equal(cache_new(&config, &c), OK);
    return c;
}

static void found_by_kind_bucket_and_key(void **state)
{
    (void)state;
    struct cache *c = new_cache(1 << 20, 0);
    struct cache_entry *e = fill(c, "a", 10, 5);
    struct cache_key k = object_key("a");
    assert_ptr_equal(cache_find(c, &k), e);
    k.bucket_id = 8;
    assert_null(cache_find(c, &k));
    k = object_key("a");
    k.kind = CAIRN__RECORD_KIND__RECORD_BUCKET;
    assert_null(cache_find(c, &k));
    cache_entry_unref(e);
    /* Absence is an entry too. */
    e = fill(c, "nothing", 10, 0);
    k = object_key("nothing");
    assert_ptr_equal(cache_find(c, &k), e);
    assert_false(e->record->present);
    cache_entry_unref(e);
    cache_free(c);
}

static void late_fill_never_replaces(void **state)
{
    (void)state;
    struct cache *c = new_cache(1 << 20, 0);
    struct cache_key k = object_key("a");
    cache_entry_unref(fill(c, "a", 20, 20));
    struct cache_entry *late = fill(c, "a", 10, 5);
    assert_int_equal(version_of(late), 5); /* the one who read it may use it */
    assert_int_equal(version_of(cache_find(c, &k)), 20);
    cache_entry_unref(late);
    /* An entry that was raised beyond a fill's as_of counts as it was raised. */
    cache_raise(c, cache_find(c, &k), 40);
    cache_entry_unref(fill(c, "a", 30, 25));
    assert_int_equal(version_of(cache_find(c, &k)), 20);
    cache_entry_unref(fill(c, "a", 41, 41));
    assert_int_equal(version_of(cache_find(c, &k)), 41);
    assert_int_equal(cache_stats(c)->late_fills, 2);
    cache_free(c);
}

/* The planted bug's story: a question about entry A is under way; A is evicted; a read that began
 * long ago fills an older state B under the same key; the answer about A comes.  B must stay as it
 * is. */
static bool other_entry_is_raised(void)
{
    struct cache *c = new_cache(1 << 20, 0);
    struct cache_key k = object_key("a");
    struct cache_entry *asked = fill(c, "a", 20, 20);
    cache_clear(c);
    cache_entry_unref(fill(c, "a", 10, 5));
    cache_raise(c, asked, 30);
    bool wrong = cache_find(c, &k)->as_of != 10;
    assert_true(wrong || asked->as_of == 30);
    cache_entry_unref(asked);
    cache_free(c);
    return wrong;
}

static void raised_is_only_what_was_asked_about(void **state)
{
    (void)state;
    assert_false(other_entry_is_raised());
    mutant_active = MUTANT_RAISE_OTHER_ENTRY;
    assert_true(other_entry_is_raised());
    mutant_active = MUTANT_NONE;
}

static void raise_never_lowers(void **state)
{
    (void)state;
    struct cache *c = new_cache(1 << 20, 0);
    struct cache_entry *e = fill(c, "a", 20, 20);
    cache_raise(c, e, 15);
    assert_int_equal(e->as_of, 20);
    cache_entry_unref(e);
    cache_free(c);
}

static void least_recently_used_leaves(void **state)
{
    (void)state;
    struct cache *c = new_cache(64 << 10, 0);
    char name[16];
    struct cache_key first = object_key("0");
    for (int i = 0; i < 1000; i++) {
        snprintf(name, sizeof(name), "%d", i);
        cache_entry_unref(fill(c, name, 10, 5));
        assert_non_null(cache_find(c, &first)); /* in use all the time */
    }
    assert_true(cache_stats(c)->evictions > 500);
    struct cache_key k = object_key("1");
    assert_null(cache_find(c, &k));
    /* A reference keeps an entry that has left. */
    struct cache_entry *e = cache_entry_ref(cache_find(c, &first));
    cache_clear(c);
    assert_int_equal(version_of(e), 5);
    cache_entry_unref(e);
    cache_free(c);
}

static void bodies_are_bounded_and_go_first(void **state)
{
    (void)state;
    struct cache *c = new_cache(1 << 20, 10000);
    char name[16];
    for (int i = 0; i < 20; i++) {
        struct rcbuf *b = rcbuf_new(4000);
        memset(b->data, i, 4000);
        b->len = 4000;
        snprintf(name, sizeof(name), "%d", i);
        struct cache_key k = object_key(name);
        Cairn__Record *r = object_record(5);
        struct cache_entry *e;
        struct payload p = {b, SLICE(b->data, b->len)};
        assert_int_equal(cache_fill(c, &k, 1, 10, &r, p, true, &e), OK);
        rcbuf_unref(b);
        cache_entry_unref(e);
        cache_check(c);
    }
    struct cache_key old = object_key("3"), recent = object_key("19");
    assert_false(cache_find(c, &old)->has_body); /* its record is still there */
    assert_true(cache_find(c, &recent)->has_body);
    assert_int_equal(cache_find(c, &recent)->body.bytes.ptr[0], 19);
    assert_true(cache_stats(c)->body_bytes <= 10000);
    /* The same state, read again with its body: the entry that is there gets it. */
    struct rcbuf *b = rcbuf_copy(SLICE_LIT("body"));
    Cairn__Record *r = object_record(5);
    struct cache_entry *e;
    cache_fill(c, &old, 1, 10, &r, (struct payload){b, SLICE(b->data, 4)}, true, &e);
    assert_true(cache_find(c, &old)->has_body);
    cache_entry_unref(e);
    rcbuf_unref(b);
    cache_check(c);
    cache_free(c);
}

/* Larger than all the cache may take: used once, and not kept. */
static void too_large_an_entry_is_not_kept(void **state)
{
    (void)state;
    struct cache *c = new_cache(4096, 2000);
    struct rcbuf *b = rcbuf_new(3000);
    b->len = 3000;
    memset(b->data, 1, 3000);
    struct cache_key k = object_key("big");
    Cairn__Record *r = object_record(5);
    struct cache_entry *e;
    assert_int_equal(
        cache_fill(c, &k, 1, 10, &r, (struct payload){b, SLICE(b->data, 3000)}, true, &e), OK);
    cache_check(c);
    assert_int_equal(version_of(e), 5);
    cache_entry_unref(e);
    rcbuf_unref(b);
    cache_free(c);
}

static unsigned freed;
static void count_freed(void *parsed)
{
    (void)parsed;
    freed++;
}

/* What was made of a record counts like it, is freed once, and lives as long as who holds it. */
static void parsed_goes_with_its_entry(void **state)
{
    (void)state;
    struct cache *c = new_cache(8192, 0);
    int thing;
    freed = 0;
    struct cache_entry *a = fill(c, "a", 5, 1), *b = fill(c, "b", 5, 1);
    uint64_t before = cache_stats(c)->bytes;
    cache_set_parsed(c, a, CACHE_PARSED_BUCKET, &thing, 1000, count_freed);
    cache_check(c);
    assert_true(cache_stats(c)->bytes >= before + 1000);
    assert_ptr_equal(cache_parsed(a, CACHE_PARSED_BUCKET), &thing);
    assert_null(cache_parsed(a, CACHE_PARSED_PRINCIPAL));
    cache_entry_unref(a);
    cache_entry_unref(fill(c, "a", 6, 2)); /* takes its place */
    assert_int_equal(freed, 1);
    assert_int_equal(cache_stats(c)->bytes, before);
    cache_set_parsed(c, b, CACHE_PARSED_PRINCIPAL, &thing, 9000,
                     count_freed); /* too much: it leaves itself */
    cache_check(c);
    assert_int_equal(cache_stats(c)->entries, 1);
    assert_int_equal(freed, 1);
    assert_ptr_equal(cache_parsed(b, CACHE_PARSED_PRINCIPAL), &thing);
    cache_entry_unref(b);
    assert_int_equal(freed, 2);
    cache_free(c);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(found_by_kind_bucket_and_key),
        cmocka_unit_test(late_fill_never_replaces),
        cmocka_unit_test(raised_is_only_what_was_asked_about),
        cmocka_unit_test(raise_never_lowers),
        cmocka_unit_test(least_recently_used_leaves),
        cmocka_unit_test(bodies_are_bounded_and_go_first),
        cmocka_unit_test(too_large_an_entry_is_not_kept),
        cmocka_unit_test(parsed_goes_with_its_entry),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
