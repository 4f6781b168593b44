/* The conformance suite of struct kv; see kv_suite.h. */
#include "tests/unit/common/env/kv_suite.h"

#include "common/base/check.h"
#include "common/base/err.h"

#include <stdio.h>
#include <stdlib.h>

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

struct waiting {
    struct kv_write_req write;
    struct kv_flush_req flush;
    int calls;
};

static void on_write(struct kv_write_req *req)
{
    container_of(req, struct waiting, write)->calls++;
}

static void on_flush(struct kv_flush_req *req)
{
    container_of(req, struct waiting, flush)->calls++;
}

int kv_suite_commit(struct kv_suite *s, struct kv_batch *batch)
{
    if (s->mode == KV_STATE) {
        int err = s->kv->ops->write(s->kv, &batch);
        assert_null(batch);
        return err;
    }
    struct waiting w = {.write = {.cb = on_write, .batch = batch}};
    int err = s->kv->ops->write_start(s->kv, &w.write);
    if (err != OK) {
        kv_batch_free(w.write.batch);
        return err;
    }
    assert_int_equal(w.calls, 0); /* never inside the start */
    assert_null(w.write.batch);
    s->pump(s);
    assert_int_equal(w.calls, 1);
    return w.write.err;
}

int kv_suite_flush(struct kv_suite *s)
{
    struct waiting w = {.flush = {.cb = on_flush}};
    int err = s->kv->ops->flush_start(s->kv, &w.flush);
    if (err != OK)
        return err;
    assert_int_equal(w.calls, 0);
    s->pump(s);
    assert_int_equal(w.calls, 1);
    return w.flush.err;
}

int kv_suite_put(struct kv_suite *s, enum kv_family family, const char *key, const char *value)
{
    struct kv_batch *b = kv_batch_new();
    kv_batch_put(b, family, slice_cstr(key), slice_cstr(value));
    return kv_suite_commit(s, b);
}

const char *kv_suite_get(struct kv_suite *s, enum kv_family family, const char *key)
{
    static char text[256];
    struct buf b = {0};
    int err = s->kv->ops->get(s->kv, NULL, family, slice_cstr(key), &b);
    if (err == ERR_NOT_FOUND) {
        buf_fini(&b);
        return NULL;
    }
    assert_int_equal(err, OK);
    snprintf(text, sizeof(text), "%.*s", (int)b.len, b.ptr ? (const char *)b.ptr : "");
    buf_fini(&b);
    return text;
}

const char *kv_suite_dump(struct kv_suite *s, const struct kv_snapshot *snap, enum kv_family family,
                          const char *lower, const char *upper)
{
    static char text[65536];
    size_t len = 0;
    text[0] = 0;
    struct kv_iter *it =
        s->kv->ops->iter_new(s->kv, snap, family, slice_cstr(lower), slice_cstr(upper));
    assert_non_null(it);
    for (it->ops->seek(it, SLICE_EMPTY); it->ops->valid(it); it->ops->next(it)) {
        struct slice k = it->ops->key(it), v = it->ops->value(it);
        len += (size_t)snprintf(text + len, sizeof(text) - len, "%s%.*s=%.*s", len ? " " : "",
                                (int)k.len, (const char *)k.ptr, (int)v.len, (const char *)v.ptr);
        assert_true(len < sizeof(text));
    }
    assert_int_equal(it->ops->error(it), OK);
    it->ops->free(it);
    return text;
}

/* ---- against a model: an array indexed by key ---- */
#define MODEL_KEYS 300
#define MODEL_SNAPS 3

struct model {
    int value[KV_FAMILY_COUNT][MODEL_KEYS]; /* 0: absent */
};

static uint64_t next_random(uint64_t *seed)
{
    *seed = *seed * 6364136223846793005ull + 1442695040888963407ull;
    return *seed >> 33;
}

static struct slice model_key(int i, char text[16])
{
    /* A long common beginning: the RocksDB store remembers places by it. */
    return SLICE(text, (size_t)snprintf(text, 16, "model%04d", i));
}

/* Bodies from a few bytes to some KiB: below and above what goes to blob files. */
static struct slice model_value(int v, char *text, size_t size)
{
    int n = snprintf(text, size, "v%d ", v);
    size_t len = (size_t)n + (size_t)(v % 5 == 0 ? v % 3000 : v % 50);
    memset(text + n, 'x', len - (size_t)n);
    return SLICE(text, len);
}

static void model_compare(struct kv_suite *s, const struct kv_snapshot *snap, const struct model *m,
                          uint64_t *seed)
{
    char lo[16], hi[16], value[8192];
    enum kv_family f = (enum kv_family)(next_random(seed) % KV_FAMILY_COUNT);
    int a = (int)(next_random(seed) % MODEL_KEYS), b = (int)(next_random(seed) % (MODEL_KEYS + 50));
    struct slice upper = b >= MODEL_KEYS ? SLICE_EMPTY : model_key(b, hi);
    struct kv_iter *it = s->kv->ops->iter_new(s->kv, snap, f, model_key(a, lo), upper);
    assert_non_null(it);
    it->ops->seek(it, SLICE_EMPTY);
    for (int i = a; i < MODEL_KEYS && i < b; i++) {
        if (!m->value[f][i])
            continue;
        assert_true(it->ops->valid(it));
        assert_true(slice_eq(it->ops->key(it), model_key(i, lo)));
        assert_true(slice_eq(it->ops->value(it), model_value(m->value[f][i], value, sizeof(value))));
        it->ops->next(it);
    }
    assert_false(it->ops->valid(it));
    assert_int_equal(it->ops->error(it), OK);
    it->ops->free(it);
    struct buf got = {0};
    int err = s->kv->ops->get(s->kv, snap, f, model_key(a, lo), &got);
    assert_int_equal(err, m->value[f][a] ? OK : ERR_NOT_FOUND);
    if (err == OK)
        assert_true(slice_eq(buf_view(&got), model_value(m->value[f][a], value, sizeof(value))));
    buf_fini(&got);
}

static void model_batch(struct kv_suite *s, struct model *m, uint64_t *seed, int *next_value)
{
    char lo[16], hi[16], value[8192];
    struct kv_batch *b = kv_batch_new();
    unsigned ops = 1 + (unsigned)(next_random(seed) % 8);
    while (ops--) {
        enum kv_family f = (enum kv_family)(next_random(seed) % KV_FAMILY_COUNT);
        int i = (int)(next_random(seed) % MODEL_KEYS);
        /* Ranges are deleted in log stores only. */
        switch (next_random(seed) % 10 + (s->mode == KV_STATE)) {
        case 0: {
            int end = i + (int)(next_random(seed) % 30);
            bool open = end >= MODEL_KEYS;
            kv_batch_delete_range(b, f, model_key(i, lo), open ? SLICE_EMPTY : model_key(end, hi));
            for (int k = i; k < MODEL_KEYS && (open || k < end); k++)
                m->value[f][k] = 0;
            break;
        }
        case 1:
        case 2:
            kv_batch_delete(b, f, model_key(i, lo));
            m->value[f][i] = 0;
            break;
        default:
            m->value[f][i] = ++*next_value;
            kv_batch_put(b, f, model_key(i, lo), model_value(*next_value, value, sizeof(value)));
        }
    }
    assert_int_equal(kv_suite_commit(s, b), OK);
}

void kv_suite_model(struct kv_suite *s, uint64_t seed, unsigned steps)
{
    static struct model now, then[MODEL_SNAPS];
    const struct kv_snapshot *snaps[MODEL_SNAPS] = {NULL};
    memset(&now, 0, sizeof(now));
    int next_value = 0;
    for (unsigned i = 0; i < steps; i++) {
        model_batch(s, &now, &seed, &next_value);
        unsigned at = (unsigned)(next_random(&seed) % MODEL_SNAPS);
        if (next_random(&seed) % 20 == 0) {
            s->kv->ops->snapshot_free(s->kv, snaps[at]);
            snaps[at] = s->kv->ops->snapshot_new(s->kv);
            assert_non_null(snaps[at]);
            then[at] = now;
        }
        if (next_random(&seed) % 50 == 0)
            assert_int_equal(kv_suite_flush(s), OK);
        model_compare(s, NULL, &now, &seed);
        if (snaps[at])
            model_compare(s, snaps[at], &then[at], &seed);
    }
    for (unsigned i = 0; i < MODEL_SNAPS; i++)
        s->kv->ops->snapshot_free(s->kv, snaps[i]);
}

/* ---- single rules ---- */
void kv_suite_iterators(struct kv_suite *s)
{
    for (const char *k = "bdfhj"; *k; k++)
        assert_int_equal(kv_suite_put(s, KV_INDEX, (char[]){*k, 0}, "1"), OK);
    assert_int_equal(kv_suite_put(s, KV_BODY, "e", "body"), OK);
    assert_string_equal(kv_suite_dump(s, NULL, KV_INDEX, "", ""), "b=1 d=1 f=1 h=1 j=1");
    assert_string_equal(kv_suite_dump(s, NULL, KV_INDEX, "d", "h"), "d=1 f=1");
    assert_string_equal(kv_suite_dump(s, NULL, KV_INDEX, "k", ""), "");
    assert_string_equal(kv_suite_dump(s, NULL, KV_INDEX, "f", "f"), "");
    assert_string_equal(kv_suite_dump(s, NULL, KV_BODY, "", ""), "e=body");

    struct kv_iter *it =
        s->kv->ops->iter_new(s->kv, NULL, KV_INDEX, SLICE_LIT("c"), SLICE_LIT("i"));
    it->ops->seek_last(it);
    assert_true(it->ops->valid(it) && slice_eq(it->ops->key(it), SLICE_LIT("h")));
    it->ops->next(it);
    assert_false(it->ops->valid(it));
    it->ops->seek(it, SLICE_LIT("a")); /* below the lower bound: clamped */
    assert_true(it->ops->valid(it) && slice_eq(it->ops->key(it), SLICE_LIT("d")));
    it->ops->seek(it, SLICE_LIT("e"));
    assert_true(it->ops->valid(it) && slice_eq(it->ops->key(it), SLICE_LIT("f")));
    it->ops->seek(it, SLICE_LIT("i"));
    assert_false(it->ops->valid(it));
    it->ops->free(it);

    it = s->kv->ops->iter_new(s->kv, NULL, KV_INDEX, SLICE_LIT("k"), SLICE_EMPTY);
    it->ops->seek_last(it);
    assert_false(it->ops->valid(it));
    it->ops->free(it);
    it = s->kv->ops->iter_new(s->kv, NULL, KV_INDEX, SLICE_EMPTY, SLICE_EMPTY);
    it->ops->seek_last(it);
    assert_true(slice_eq(it->ops->key(it), SLICE_LIT("j")));
    it->ops->free(it);
}

void kv_suite_snapshots(struct kv_suite *s)
{
    kv_suite_put(s, KV_INDEX, "a", "1");
    kv_suite_put(s, KV_INDEX, "b", "1");
    const struct kv_snapshot *snap = s->kv->ops->snapshot_new(s->kv);
    struct kv_iter *it =
        s->kv->ops->iter_new(s->kv, NULL, KV_INDEX, SLICE_EMPTY, SLICE_EMPTY);
    kv_suite_put(s, KV_INDEX, "a", "2");
    kv_suite_put(s, KV_INDEX, "c", "2");
    struct kv_batch *b = kv_batch_new();
    kv_batch_delete(b, KV_INDEX, SLICE_LIT("b"));
    assert_int_equal(kv_suite_commit(s, b), OK);
    assert_string_equal(kv_suite_dump(s, snap, KV_INDEX, "", ""), "a=1 b=1");
    assert_string_equal(kv_suite_dump(s, NULL, KV_INDEX, "", ""), "a=2 c=2");
    /* An iterator sees the store as it was when it was made. */
    it->ops->seek(it, SLICE_LIT("b"));
    assert_true(it->ops->valid(it) && slice_eq(it->ops->key(it), SLICE_LIT("b")));
    it->ops->free(it);
    s->kv->ops->snapshot_free(s->kv, snap);
}

void kv_suite_batches(struct kv_suite *s)
{
    struct kv_batch *b = kv_batch_new();
    kv_batch_put(b, KV_INDEX, SLICE_LIT("a"), SLICE_LIT("1"));
    kv_batch_put2(b, KV_INDEX, SLICE_LIT("a"), SLICE_LIT("head-"), SLICE_LIT("tail"));
    kv_batch_put(b, KV_INDEX, SLICE_LIT("b"), SLICE_EMPTY);
    kv_batch_put(b, KV_BODY, SLICE_LIT("a"), SLICE_LIT("other family"));
    kv_batch_delete_range(b, KV_INDEX, SLICE_LIT("z"), SLICE_LIT("a")); /* turned around: nothing */
    assert_int_equal(kv_batch_count(b), 4);
    assert_int_equal(kv_suite_commit(s, b), OK);
    assert_string_equal(kv_suite_dump(s, NULL, KV_INDEX, "", ""), "a=head-tail b=");
    assert_string_equal(kv_suite_get(s, KV_BODY, "a"), "other family");

    b = kv_batch_new();
    kv_batch_delete_range(b, KV_INDEX, SLICE_LIT("a"), SLICE_EMPTY);
    kv_batch_put(b, KV_INDEX, SLICE_LIT("b"), SLICE_LIT("after"));
    assert_true(kv_batch_deletes_ranges(b));
    if (s->mode == KV_STATE) {
        assert_int_equal(kv_suite_commit(s, b), ERR_UNIMPLEMENTED);
        assert_string_equal(kv_suite_dump(s, NULL, KV_INDEX, "", ""), "a=head-tail b=");
    } else {
        assert_int_equal(kv_suite_commit(s, b), OK);
        assert_string_equal(kv_suite_dump(s, NULL, KV_INDEX, "", ""), "b=after");
    }

    b = kv_batch_new();
    char big[KV_KEY_BYTES_MAX + 1] = {0};
    kv_batch_put(b, KV_INDEX, SLICE(big, sizeof(big)), SLICE_EMPTY);
    kv_batch_put(b, KV_INDEX, SLICE_LIT("never"), SLICE_EMPTY);
    assert_int_equal(kv_batch_error(b), ERR_INVAL);
    assert_int_equal(kv_suite_commit(s, b), ERR_INVAL);
    assert_null(kv_suite_get(s, KV_INDEX, "never"));

    if (s->mode == KV_STATE) {
        struct kv_write_req req = {.cb = on_write, .batch = kv_batch_new()};
        assert_int_equal(s->kv->ops->write_start(s->kv, &req), ERR_UNIMPLEMENTED);
        assert_non_null(req.batch);
        kv_batch_free(req.batch);
    }
}

static void export_to(struct kv_suite *s, enum kv_family f, const char *lower, const char *upper,
                      const char *path, bool empty)
{
    const struct kv_snapshot *snap = s->kv->ops->snapshot_new(s->kv);
    uint64_t bytes = 77;
    assert_int_equal(s->kv->ops->export_range(s->kv, snap, f, slice_cstr(lower), slice_cstr(upper),
                                              path, &bytes), OK);
    assert_int_equal(bytes == 0, empty);
    s->kv->ops->snapshot_free(s->kv, snap);
}

void kv_suite_replace(struct kv_suite *s)
{
    char index[512], body[512], none[512], big[2001];
    snprintf(index, sizeof(index), "%s/index.sst", s->dir);
    snprintf(body, sizeof(body), "%s/body.sst", s->dir);
    snprintf(none, sizeof(none), "%s/none.sst", s->dir);
    memset(big, 'B', 2000);
    big[2000] = 0;
    kv_suite_put(s, KV_INDEX, "a", "outside");
    kv_suite_put(s, KV_INDEX, "m1", "1");
    kv_suite_put(s, KV_INDEX, "m2", "2");
    kv_suite_put(s, KV_BODY, "m1", big);
    kv_suite_put(s, KV_INDEX, "z", "outside");
    export_to(s, KV_INDEX, "m", "n", index, false);
    export_to(s, KV_BODY, "m", "n", body, false);
    export_to(s, KV_INDEX, "x", "y", none, true);
    kv_suite_put(s, KV_INDEX, "m1", "changed");
    kv_suite_put(s, KV_INDEX, "m3", "later");
    kv_suite_put(s, KV_BODY, "m4", "later");

    const char *const paths[KV_FAMILY_COUNT] = {index, body};
    struct kv_batch *extra = kv_batch_new();
    kv_batch_put(extra, KV_INDEX, SLICE_LIT("a-applied"), SLICE_LIT("9"));
    assert_int_equal(s->kv->ops->replace_range(s->kv, SLICE_LIT("m"), SLICE_LIT("n"), paths, &extra),
                     OK);
    assert_null(extra);
    assert_string_equal(kv_suite_dump(s, NULL, KV_INDEX, "", ""),
                        "a=outside a-applied=9 m1=1 m2=2 z=outside");
    struct buf got = {0};
    assert_int_equal(s->kv->ops->get(s->kv, NULL, KV_BODY, SLICE_LIT("m1"), &got), OK);
    assert_true(slice_eq(buf_view(&got), slice_cstr(big)));
    buf_fini(&got);
    assert_null(kv_suite_get(s, KV_BODY, "m4"));

    /* A file that reaches outside the range, or is none, changes nothing. */
    int err = s->kv->ops->replace_range(s->kv, SLICE_LIT("m2"), SLICE_LIT("n"), paths, NULL);
    assert_int_equal(err, ERR_CORRUPT);
    const char *const missing[KV_FAMILY_COUNT] = {none, NULL};
    err = s->kv->ops->replace_range(s->kv, SLICE_LIT("m"), SLICE_LIT("n"), missing, NULL);
    assert_int_equal(err, ERR_NOT_FOUND);
    assert_string_equal(kv_suite_dump(s, NULL, KV_INDEX, "", ""),
                        "a=outside a-applied=9 m1=1 m2=2 z=outside");

    /* No files: the range is emptied, with the rest of the key space up to the end. */
    const char *const no_paths[KV_FAMILY_COUNT] = {NULL, NULL};
    assert_int_equal(s->kv->ops->replace_range(s->kv, SLICE_LIT("m"), SLICE_EMPTY, no_paths, NULL), OK);
    assert_string_equal(kv_suite_dump(s, NULL, KV_INDEX, "", ""), "a=outside a-applied=9");
    assert_string_equal(kv_suite_dump(s, NULL, KV_BODY, "", ""), "");
}
