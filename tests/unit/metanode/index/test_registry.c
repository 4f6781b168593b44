/* The registry: what ChangeRows does to rows, all or nothing, what it refuses, and how rows are
 * listed; against a table, too, over random changes with retries and crashes among them. */
#include "proto/registry.h"
#include "world.h"

#include <stdio.h>
#include <stdlib.h>

struct changes {
    struct cmd c;
    Cairn__ChangeRows op;
    Cairn__RowChange change[INDEX_CHANGES_MAX + 1], *ptrs[INDEX_CHANGES_MAX + 1];
    uint64_t touches[4 * INDEX_CHANGES_MAX];
};

static void changes_init(struct world *w, struct changes *x)
{
    cmd_init(w, &x->c);
    cairn__change_rows__init(&x->op);
    x->op.changes = x->ptrs;
    x->c.msg.touches = x->touches;
    x->c.msg.op_case = CAIRN__COMMAND__OP_CHANGE_ROWS;
    x->c.msg.change_rows = &x->op;
}

static Cairn__RowChange *add(struct changes *x, unsigned kind, const char *scope, const char *name,
                             uint64_t expected, struct slice value)
{
    Cairn__RowChange *c = x->ptrs[x->op.n_changes] = &x->change[x->op.n_changes];
    x->op.n_changes++;
    cairn__row_change__init(c);
    c->kind = kind;
    c->scope = str(scope);
    c->name = str(name);
    c->expected_version = expected;
    c->value = bin(value);
    return c;
}

static void touch(struct changes *x, uint64_t hash)
{
    x->touches[x->c.msg.n_touches++] = hash;
}

/* One change of a row that touches nothing. */
static int change(struct world *w, const char *scope, const char *name, uint64_t expected,
                  const char *value)
{
    struct changes x;
    changes_init(w, &x);
    Cairn__RowChange *c = add(&x, CAIRN__ROW_KIND__ROW_JOB, scope, name, expected,
                              value ? slice_cstr(value) : SLICE_EMPTY);
    c->remove = value == NULL;
    return world_run(w, &x.c);
}

static Cairn__ListRowsResponse *rows(struct world *w, Cairn__ListRowsRequest *req)
{
    struct index_view view;
    struct index_reply reply = {0};
    req->epoch = EPOCH;
    index_view_init(&view, w->index, NULL);
    assert_int_equal(index_list_rows(&view, req, &reply), OK);
    ProtobufCMessage *msg = over_the_wire(&reply.msg.base);
    index_reply_fini(&reply);
    return (Cairn__ListRowsResponse *)(void *)msg;
}

/* "scope/name=value@version " each. */
static void describe(struct world *w, Cairn__ListRowsRequest *req, const char *want)
{
    struct buf got = {0};
    Cairn__ListRowsResponse *r = rows(w, req);
    assert_int_equal(r->as_of, index_applied(w->index));
    for (size_t i = 0; i < r->n_rows; i++) {
        assert_int_equal(r->rows[i]->kind, req->kind);
        buf_printf(&got, "%s/%s=%.*s@%llu ", r->rows[i]->scope, r->rows[i]->name,
                   (int)r->rows[i]->value.len, (const char *)r->rows[i]->value.data,
                   (unsigned long long)r->rows[i]->version);
    }
    if (r->more)
        buf_printf(&got, "more");
    buf_u8(&got, 0);
    assert_string_equal((const char *)got.ptr, want);
    buf_fini(&got);
    cairn__list_rows_response__free_unpacked(r, NULL);
}

static Cairn__ListRowsRequest of(const char *scope)
{
    Cairn__ListRowsRequest req = CAIRN__LIST_ROWS_REQUEST__INIT;
    req.kind = CAIRN__ROW_KIND__ROW_JOB;
    req.scope = str(scope);
    return req;
}

static void bucket_delete(struct world *w, const char *name, uint64_t id, bool with_jobs)
{
    struct cmd c;
    cmd_init(w, &c);
    cairn__begin_delete_bucket__init(&c.begin);
    c.begin.name = str(name);
    c.begin.id = id;
    c.msg.op_case = CAIRN__COMMAND__OP_BEGIN_DELETE_BUCKET;
    c.msg.begin_delete_bucket = &c.begin;
    c.touches[c.msg.n_touches++] = keyhash_bucket(slice_cstr(name));
    assert_int_equal(world_run(w, &c), OK);
    cmd_init(w, &c);
    cairn__finish_delete_bucket__init(&c.finish);
    c.finish.name = str(name);
    c.finish.id = id;
    c.finish.settings_version = w->out->settings_version;
    c.finish.with_jobs = with_jobs;
    c.msg.op_case = CAIRN__COMMAND__OP_FINISH_DELETE_BUCKET;
    c.msg.finish_delete_bucket = &c.finish;
    c.touches[c.msg.n_touches++] = keyhash_bucket(slice_cstr(name));
    assert_int_equal(world_run(w, &c), OK);
}

/* With those of earlier gateways nothing else goes: every release applies an entry alike. */
static void rows_of_jobs_go_with_their_bucket(void **state)
{
    (void)state;
    static const char *const scopes[] = {"4000000000000000", "8000000000000000",
                                         "80000000000000000", "8000000000000001"};
    struct world w;
    struct cmd c;
    world_init(&w, ROOT_PARTITION);
    for (int i = 0; i < 2; i++) {
        cmd_create_bucket(&w, &c, i ? "second" : "first");
        assert_int_equal(world_run(&w, &c), OK);
    }
    for (size_t i = 0; i < ARRAY_COUNT(scopes); i++) {
        assert_int_equal(change(&w, scopes[i], "inventory/a", 0, "1"), OK);
        assert_int_equal(change(&w, scopes[i], "lifecycle", 0, "1"), OK);
    }
    for (size_t i = 0; i < ARRAY_COUNT(scopes); i++) {
        if (i == 0)
            bucket_delete(&w, "second", UINT64_C(1) << 62, false);
        else if (i == 1)
            bucket_delete(&w, "first", UINT64_C(1) << 63, true);
        for (size_t k = 0; k < ARRAY_COUNT(scopes); k++) {
            Cairn__ListRowsRequest req = of(scopes[k]);
            Cairn__ListRowsResponse *r = rows(&w, &req);
            assert_int_equal(r->n_rows, k == 1 && i >= 1 ? 0 : 2);
            cairn__list_rows_response__free_unpacked(r, NULL);
        }
    }
    world_fini(&w);
}

static void rows_are_swapped_by_version(void **state)
{
    (void)state;
    struct world w;
    Cairn__ListRowsRequest s = of("s");
    world_init(&w, ROOT_PARTITION);
    assert_int_equal(change(&w, "s", "a", 1, "x"), ERR_PRECONDITION);
    assert_int_equal(change(&w, "s", "a", 1, NULL), ERR_PRECONDITION);
    assert_int_equal(change(&w, "s", "a", 0, "x"), OK);
    uint64_t v = w.out->index;
    assert_int_equal(v, index_applied(w.index));
    assert_int_equal(change(&w, "s", "a", 0, "y"), ERR_PRECONDITION);
    assert_int_equal(change(&w, "s", "a", v + 1, "y"), ERR_PRECONDITION);
    assert_int_equal(change(&w, "s", "a", v, ""), OK);
    char want[64];
    snprintf(want, sizeof(want), "s/a=@%llu ", (unsigned long long)w.out->index);
    describe(&w, &s, want);
    world_reopen(&w);
    describe(&w, &s, want);
    assert_int_equal(change(&w, "s", "a", v, NULL), ERR_PRECONDITION);
    assert_int_equal(change(&w, "s", "a", w.out->index - 1, NULL), OK);
    describe(&w, &s, "");
    assert_int_equal(change(&w, "s", "a", 0, "x"), OK);
    world_fini(&w);
}

static void all_or_nothing(void **state)
{
    (void)state;
    struct world w;
    struct changes x;
    Cairn__ListRowsRequest s = of("s");
    char want[64];
    world_init(&w, ROOT_PARTITION);
    assert_int_equal(change(&w, "s", "b", 0, "1"), OK);
    uint64_t v = w.out->index;
    snprintf(want, sizeof(want), "s/b=1@%llu ", (unsigned long long)v);
    for (int i = 0; i < 3; i++) { /* each of them stops all */
        changes_init(&w, &x);
        add(&x, CAIRN__ROW_KIND__ROW_JOB, "s", "a", i == 0 ? 5 : 0, SLICE_LIT("2"));
        add(&x, CAIRN__ROW_KIND__ROW_JOB, "s", "b", v + (i == 1), SLICE_EMPTY)->remove = true;
        add(&x, CAIRN__ROW_KIND__ROW_JOB, "s", "c", i == 2, SLICE_EMPTY)->keep = true;
        assert_int_equal(world_run(&w, &x.c), ERR_PRECONDITION);
        assert_int_equal(w.out->detail, i);
        describe(&w, &s, want);
    }
    changes_init(&w, &x);
    add(&x, CAIRN__ROW_KIND__ROW_JOB, "s", "a", 0, SLICE_LIT("2"));
    add(&x, CAIRN__ROW_KIND__ROW_JOB, "s", "b", v, SLICE_EMPTY)->remove = true;
    add(&x, CAIRN__ROW_KIND__ROW_JOB, "s", "c", 0, SLICE_EMPTY)->keep = true;
    assert_int_equal(world_run(&w, &x.c), OK);
    snprintf(want, sizeof(want), "s/a=2@%llu ", (unsigned long long)w.out->index);
    describe(&w, &s, want);
    assert_int_equal(world_run(&w, &x.c), OK); /* a retry: what it decided the first time */
    assert_true(w.out->index < index_applied(w.index));
    describe(&w, &s, want);
    /* A guard of a row that is there leaves it as it is. */
    v = w.out->index;
    changes_init(&w, &x);
    add(&x, CAIRN__ROW_KIND__ROW_JOB, "s", "a", v, SLICE_EMPTY)->keep = true;
    assert_int_equal(world_run(&w, &x.c), OK);
    describe(&w, &s, want);
    world_fini(&w);
}

static int try(struct world *w, unsigned kind, const char *scope, const char *name, size_t bytes,
               bool keep, bool remove, uint64_t expected)
{
    struct changes x;
    struct buf value = {0};
    changes_init(w, &x);
    for (size_t i = 0; i < bytes; i++)
        buf_u8(&value, 'v');
    add(&x, CAIRN__ROW_KIND__ROW_QUOTA, "", "first", 0, SLICE_EMPTY)->keep = true;
    Cairn__RowChange *c = add(&x, kind, scope, name, expected, buf_view(&value));
    c->keep = keep;
    c->remove = remove;
    int err = world_run(w, &x.c);
    assert_int_equal(w->out->detail, err ? 1 : 0);
    buf_fini(&value);
    return err;
}

static void what_cannot_be_is_refused(void **state)
{
    (void)state;
    enum { JOB = CAIRN__ROW_KIND__ROW_JOB };
    struct world w;
    struct changes x;
    char name[INDEX_ROW_NAME_BYTES_MAX + 2], scope[INDEX_ROW_SCOPE_BYTES_MAX + 2];
    memset(name, 'n', sizeof(name));
    memset(scope, 's', sizeof(scope));
    name[sizeof(name) - 1] = scope[sizeof(scope) - 1] = 0;
    world_init(&w, ROOT_PARTITION);
    assert_int_equal(try(&w, 0, "", "a", 0, false, false, 0), ERR_INVAL);
    assert_int_equal(try(&w, 1 << 16, "", "a", 0, false, false, 0), ERR_INVAL);
    assert_int_equal(try(&w, JOB, "", "", 0, false, false, 0), ERR_INVAL);
    assert_int_equal(try(&w, JOB, "", name, 0, false, false, 0), ERR_INVAL);
    assert_int_equal(try(&w, JOB, "", name + 1, 0, false, false, 0), OK);
    assert_int_equal(try(&w, JOB, scope, "a", 0, false, false, 0), ERR_INVAL);
    assert_int_equal(try(&w, JOB, scope + 1, "a", 0, false, false, 0), OK);
    assert_int_equal(try(&w, JOB, "", "a", INDEX_ROW_VALUE_BYTES_MAX + 1, false, false, 0),
                     ERR_LIMIT);
    assert_int_equal(try(&w, JOB, "", "a", INDEX_ROW_VALUE_BYTES_MAX, false, false, 0), OK);
    assert_int_equal(try(&w, JOB, "", "b", 1, true, false, 0), ERR_INVAL);
    assert_int_equal(try(&w, JOB, "", "b", 0, true, true, 0), ERR_INVAL);
    assert_int_equal(try(&w, JOB, "", "b", 0, false, true, 0), ERR_INVAL);
    assert_int_equal(try(&w, CAIRN__ROW_KIND__ROW_QUOTA, "", "first", 0, false, false, 0),
                     ERR_INVAL); /* the same row twice */
    changes_init(&w, &x);
    assert_int_equal(world_run(&w, &x.c), ERR_INVAL);
    changes_init(&w, &x);
    for (size_t i = 1; i <= INDEX_CHANGES_MAX + 1; i++)
        add(&x, JOB, "m", name + i, 0, SLICE_EMPTY);
    assert_int_equal(world_run(&w, &x.c), ERR_LIMIT);
    changes_init(&w, &x);
    for (size_t i = 1; i <= INDEX_CHANGES_MAX; i++)
        add(&x, JOB, "m", name + i, 0, SLICE_EMPTY);
    assert_int_equal(world_run(&w, &x.c), OK);
    /* All values of a command together. */
    struct buf value = {0};
    for (size_t i = 0; i < INDEX_ROW_VALUE_BYTES_MAX; i++)
        buf_u8(&value, 'v');
    changes_init(&w, &x);
    add(&x, JOB, "v", "a", 0, buf_view(&value));
    add(&x, JOB, "v", "b", 0, buf_view(&value));
    add(&x, JOB, "v", "c", 0, SLICE_LIT("1"));
    assert_int_equal(world_run(&w, &x.c), ERR_LIMIT);
    assert_int_equal(w.out->detail, 2);
    buf_fini(&value);
    world_fini(&w);
    /* Only the root has a registry. */
    world_init(&w, 3);
    assert_int_equal(change(&w, "s", "a", 0, "x"), ERR_REFUSED);
    world_fini(&w);
}

/* ---- what witnesses are told ---- */

static struct slice key_row(struct buf *b, const char *account)
{
    Cairn__AccessKeyRow row = CAIRN__ACCESS_KEY_ROW__INIT;
    row.access_key_id = str("AK");
    row.account_id = str(account);
    buf_clear(b);
    buf_reserve(b, 256);
    b->len = cairn__access_key_row__pack(&row, b->ptr);
    return buf_view(b);
}

/* Refused with each of the hashes left out, then done with all of them. */
static void needs_touches(struct world *w, unsigned kind, const char *scope, const char *name,
                          uint64_t expected, struct slice value, bool remove, uint64_t *hashes,
                          size_t count)
{
    for (size_t without = 0; without <= count; without++) {
        struct changes x;
        changes_init(w, &x);
        add(&x, kind, scope, name, expected, value)->remove = remove;
        for (size_t i = 0; i < count; i++)
            if (i != without)
                touch(&x, hashes[i]);
        assert_int_equal(world_run(w, &x.c), without < count ? ERR_INVAL : OK);
    }
}

static void changes_of_principals_are_told(void **state)
{
    (void)state;
    static const unsigned scoped[] = {CAIRN__ROW_KIND__ROW_USER, CAIRN__ROW_KIND__ROW_GROUP,
                                      CAIRN__ROW_KIND__ROW_ROLE, CAIRN__ROW_KIND__ROW_POLICY};
    struct world w;
    struct buf v = {0};
    uint64_t one = keyhash_account(SLICE_LIT("1")), two = keyhash_account(SLICE_LIT("2"));
    uint64_t ak = keyhash_access_key(SLICE_LIT("AK"));
    world_init(&w, ROOT_PARTITION);
    needs_touches(&w, CAIRN__ROW_KIND__ROW_ACCOUNT, "", "1", 0, SLICE_LIT("x"), false, &one, 1);
    for (size_t i = 0; i < ARRAY_COUNT(scoped); i++) {
        needs_touches(&w, scoped[i], "1", "n", 0, SLICE_LIT("x"), false, &one, 1);
        needs_touches(&w, scoped[i], "1", "n", w.out->index, SLICE_EMPTY, true, &one, 1);
    }
    const unsigned quota = CAIRN__ROW_KIND__ROW_QUOTA;
    needs_touches(&w, quota, QUOTAS_OF_ACCOUNTS, "1", 0, SLICE_LIT("x"), false, &one, 1);
    needs_touches(&w, quota, QUOTAS_OF_ACCOUNTS, "1", w.out->index, SLICE_EMPTY, true, &one, 1);
    const unsigned key = CAIRN__ROW_KIND__ROW_ACCESS_KEY;
    needs_touches(&w, key, "", "AK", 0, key_row(&v, "1"), false, (uint64_t[]){ak, one}, 2);
    needs_touches(&w, key, "", "AK", w.out->index, key_row(&v, "1"), false, (uint64_t[]){ak, one},
                  2);
    needs_touches(&w, key, "", "AK", w.out->index, key_row(&v, "2"), false,
                  (uint64_t[]){ak, one, two}, 3);
    needs_touches(&w, key, "", "AK", w.out->index, SLICE_EMPTY, true, (uint64_t[]){ak, two}, 2);
    /* A key of nobody, a value that is no key, one with a scope, an account with one. */
    static const struct {
        unsigned kind;
        const char *scope;
        struct slice value;
    } bad[] = {{CAIRN__ROW_KIND__ROW_ACCESS_KEY, "", SLICE("", 0)},
               {CAIRN__ROW_KIND__ROW_ACCESS_KEY, "", SLICE("\x1a\x05x", 3)},
               {CAIRN__ROW_KIND__ROW_ACCESS_KEY, "1",
                SLICE("\x1a\x01"
                      "1",
                      3)},
               {CAIRN__ROW_KIND__ROW_ACCOUNT, "1", SLICE("x", 1)}};
    for (size_t i = 0; i < ARRAY_COUNT(bad); i++) {
        struct changes x;
        changes_init(&w, &x);
        add(&x, bad[i].kind, bad[i].scope, "AK", 0, bad[i].value);
        touch(&x, ak);
        touch(&x, one);
        touch(&x, keyhash_account(SLICE_EMPTY));
        touch(&x, keyhash_account(SLICE_LIT("AK")));
        assert_int_equal(world_run(&w, &x.c), ERR_INVAL);
    }
    /* A guard changes nothing that anybody need be told. */
    struct changes x;
    changes_init(&w, &x);
    add(&x, key, "", "AK", 0, SLICE_EMPTY)->keep = true;
    assert_int_equal(world_run(&w, &x.c), OK);
    buf_fini(&v);
    world_fini(&w);
}

/* ---- lists ---- */

static void lists_are_in_order_and_in_pages(void **state)
{
    (void)state;
    struct world w;
    world_init(&w, ROOT_PARTITION);
    /* Scopes of which one begins with the other, the empty one; another kind beside them. */
    static const char *const scopes[] = {"", "a", "aa", "b"}, *const names[] = {"x", "xx", "y"};
    for (size_t i = 0; i < ARRAY_COUNT(scopes); i++)
        for (size_t j = 0; j < ARRAY_COUNT(names); j++)
            assert_int_equal(change(&w, scopes[3 - i], names[2 - j], 0, "v"), OK);
    struct changes x;
    changes_init(&w, &x);
    add(&x, CAIRN__ROW_KIND__ROW_QUOTA, "a", "x", 0, SLICE_LIT("q"));
    add(&x, CAIRN__ROW_KIND__ROW_KMS_KEY, "a", "x", 0, SLICE_LIT("k"));
    assert_int_equal(world_run(&w, &x.c), OK);
    Cairn__ListRowsRequest r = of("a");
    describe(&w, &r, "a/x=v@9 a/xx=v@8 a/y=v@7 ");
    r.rows_max = 1;
    describe(&w, &r, "a/x=v@9 more");
    r.after = str("x");
    describe(&w, &r, "a/xx=v@8 more");
    r.after = str("xxx");
    describe(&w, &r, "a/y=v@7 ");
    r.after = str("z");
    describe(&w, &r, "");
    r = of("a");
    r.name = str("xx");
    describe(&w, &r, "a/xx=v@8 ");
    r.name = str("xxx");
    describe(&w, &r, "");
    r = of("");
    r.all_scopes = true;
    describe(&w, &r,
             "/x=v@12 /xx=v@11 /y=v@10 a/x=v@9 a/xx=v@8 a/y=v@7 aa/x=v@6 aa/xx=v@5 "
             "aa/y=v@4 b/x=v@3 b/xx=v@2 b/y=v@1 ");
    r.after_scope = str("a");
    r.after = str("xx");
    r.rows_max = 2;
    describe(&w, &r, "a/y=v@7 aa/x=v@6 more");
    r.after_scope = str("");
    r.after = str("y");
    describe(&w, &r, "a/x=v@9 a/xx=v@8 more");
    /* What cannot be asked. */
    struct index_view view;
    struct index_reply reply = {0};
    index_view_init(&view, w.index, NULL);
    r = of("a");
    assert_int_equal(index_list_rows(&view, &r, &reply), ERR_EPOCH);
    r.epoch = EPOCH;
    r.kind = 0;
    assert_int_equal(index_list_rows(&view, &r, &reply), ERR_INVAL);
    r.kind = 1 << 16;
    assert_int_equal(index_list_rows(&view, &r, &reply), ERR_INVAL);
    view.partition = 3;
    r.kind = 1;
    assert_int_equal(index_list_rows(&view, &r, &reply), ERR_INVAL);
    index_reply_fini(&reply);
    world_fini(&w);
}

/* Large rows end a page. */
static void pages_are_bounded(void **state)
{
    (void)state;
    enum { ROWS = 20 };
    struct world w;
    struct buf value = {0};
    world_init(&w, ROOT_PARTITION);
    for (size_t i = 0; i + 1 < INDEX_ROW_VALUE_BYTES_MAX; i++)
        buf_u8(&value, 'v');
    buf_u8(&value, 0);
    for (int i = 0; i < ROWS; i++) {
        char name[16];
        snprintf(name, sizeof(name), "%02d", i);
        assert_int_equal(change(&w, "s", name, 0, (const char *)value.ptr), OK);
    }
    Cairn__ListRowsRequest r = of("s");
    int pages = 0, found = 0;
    char after[8] = "";
    for (bool more = true; more; pages++) {
        r.after = after;
        Cairn__ListRowsResponse *page = rows(&w, &r);
        assert_in_range(page->n_rows, 1, 9);
        found += (int)page->n_rows;
        more = page->more;
        snprintf(after, sizeof(after), "%s", page->rows[page->n_rows - 1]->name);
        cairn__list_rows_response__free_unpacked(page, NULL);
    }
    assert_int_equal(found, ROWS);
    assert_true(pages >= 3);
    buf_fini(&value);
    world_fini(&w);
}

/* ---- against a table ---- */

enum { TABLE = 12, STEPS = 3000 };

static void random_changes(struct world *w, struct rng *r, uint64_t *version, unsigned *stamp,
                           struct buf *retry, int *retry_err, int *counts)
{
    struct changes x;
    uint64_t next[TABLE];
    char text[TABLE][16];
    static const char *const names[] = {"a", "ab", "b"};
    int bad = -1;
    size_t n = 1 + rng_below(r, 3), at = rng_below(r, TABLE);
    memcpy(next, version, sizeof(next));
    changes_init(w, &x);
    uint64_t index = index_applied(w->index) + 1;
    for (size_t i = 0; i < n; i++, at = (at + 1) % TABLE) {
        static const char *const scopes[] = {"p", "q", "r", "s"};
        uint64_t expected = version[at] + (rng_below(r, 8) == 0);
        snprintf(text[i], sizeof(text[i]), "v%u", ++*stamp);
        Cairn__RowChange *c = add(&x, CAIRN__ROW_KIND__ROW_JOB, scopes[at / 3], names[at % 3],
                                  expected, slice_cstr(text[i]));
        c->keep = rng_below(r, 5) == 0;
        c->remove = !c->keep && expected && rng_below(r, 3) == 0;
        c->value.len = c->keep || c->remove ? 0 : c->value.len;
        if (bad < 0 && expected != version[at])
            bad = (int)i;
        next[at] = c->keep ? next[at] : c->remove ? 0 : index;
    }
    struct buf data = {0};
    index_entry_pack(&x.c.msg, SLICE_EMPTY, &data);
    int err = world_apply_data(w, buf_view(&data));
    assert_int_equal(err, bad < 0 ? OK : ERR_PRECONDITION);
    assert_int_equal(w->out->detail, MAX(bad, 0));
    counts[bad < 0]++;
    if (bad < 0)
        memcpy(version, next, sizeof(next));
    buf_fini(retry);
    *retry = data;
    *retry_err = err;
}

static void compare(struct world *w, const uint64_t *version)
{
    static const char *const names[] = {"a", "ab", "b"};
    Cairn__ListRowsRequest req = of("");
    req.all_scopes = true;
    Cairn__ListRowsResponse *got = rows(w, &req);
    size_t at = 0;
    for (size_t i = 0; i < TABLE; i++) {
        if (!version[i])
            continue;
        assert_true(at < got->n_rows);
        const Cairn__Row *row = got->rows[at++];
        assert_int_equal(row->version, version[i]);
        assert_int_equal(row->scope[0], 'p' + (int)(i / 3));
        assert_string_equal(row->name, names[i % 3]);
    }
    assert_int_equal(at, got->n_rows);
    cairn__list_rows_response__free_unpacked(got, NULL);
}

static void agrees_with_a_table(void **state)
{
    (void)state;
    struct world w, replica;
    struct rng r = {77};
    uint64_t version[TABLE] = {0};
    unsigned stamp = 0;
    struct buf retry = {0};
    int retry_err = OK, counts[2] = {0};
    world_init(&w, ROOT_PARTITION);
    w.keep_log = true;
    for (int i = 0; i < STEPS; i++) {
        if (retry.len && rng_below(&r, 6) == 0)
            assert_int_equal(world_apply_data(&w, buf_view(&retry)), retry_err);
        random_changes(&w, &r, version, &stamp, &retry, &retry_err, counts);
        if (rng_below(&r, 50) == 0)
            world_reopen(&w);
        compare(&w, version);
    }
    assert_true(counts[0] > STEPS / 10 && counts[1] > STEPS / 3);
    /* Another replica ends with the same bytes. */
    struct buf da = {0}, db = {0};
    world_init(&replica, ROOT_PARTITION);
    for (size_t i = 0; i < w.log_count; i++)
        assert_int_equal(
            index_apply(replica.index, w.log[i].index, 1, buf_view(&w.log[i].data), NULL), OK);
    dump(w.store, ROOT_PARTITION, &da);
    dump(replica.store, ROOT_PARTITION, &db);
    assert_true(slice_eq(buf_view(&da), buf_view(&db)));
    buf_fini(&da);
    buf_fini(&db);
    buf_fini(&retry);
    world_fini(&replica);
    world_fini(&w);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(rows_are_swapped_by_version),
        cmocka_unit_test(rows_of_jobs_go_with_their_bucket),
        cmocka_unit_test(all_or_nothing),
        cmocka_unit_test(what_cannot_be_is_refused),
        cmocka_unit_test(changes_of_principals_are_told),
        cmocka_unit_test(lists_are_in_order_and_in_pages),
        cmocka_unit_test(pages_are_bounded),
        cmocka_unit_test(agrees_with_a_table),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
