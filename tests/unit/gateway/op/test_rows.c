/* The registry as gateways use it: rows proposed, read back at the root's leader, and what the
 * witness hears of them. */
#include "gateway/meta/rows.h"

#include "common/base/check.h"
#include "proto/keyhash.h"
#include "tests/unit/gateway/op/stand.h"

static char *str(const char *s)
{
    return (char *)(uintptr_t)s;
}

struct changing {
    struct meta_propose p;
    Cairn__ChangeRows op;
    Cairn__RowChange change[3], *ptrs[3];
    bool done;
};

static void changed(struct meta_propose *p)
{
    container_of(p, struct changing, p)->done = true;
}

static Cairn__RowChange *add(struct changing *x, unsigned kind, const char *scope, const char *name,
                             uint64_t expected, struct slice value)
{
    Cairn__RowChange *c = x->ptrs[x->op.n_changes] = &x->change[x->op.n_changes];
    x->op.n_changes++;
    cairn__row_change__init(c);
    c->kind = kind;
    c->scope = str(scope);
    c->name = str(name);
    c->expected_version = expected;
    c->value = (ProtobufCBinaryData){value.len, (uint8_t *)(uintptr_t)value.ptr};
    return c;
}

static void init(struct changing *x)
{
    memset(x, 0, sizeof(*x));
    cairn__change_rows__init(&x->op);
    x->op.changes = x->ptrs;
}

static int run(struct stand *s, struct changing *x)
{
    cairn__command__init(&x->p.command);
    x->p.command.op_case = CAIRN__COMMAND__OP_CHANGE_ROWS;
    x->p.command.change_rows = &x->op;
    x->p.root = true;
    x->p.deadline_ns = s->f.now_ns + 5 * NS_PER_SEC;
    x->p.cb = changed;
    meta_propose_start(s->mc, &x->p);
    fake_run_until(&s->f, &x->done, 20 * NS_PER_SEC);
    assert_true(x->done);
    return x->p.err;
}

struct reading {
    struct meta_rows r;
    bool done;
};

static void rows_read(struct meta_rows *r)
{
    container_of(r, struct reading, r)->done = true;
}

static int read_rows(struct stand *s, struct reading *x)
{
    x->done = false;
    x->r.deadline_ns = s->f.now_ns + 5 * NS_PER_SEC;
    x->r.cb = rows_read;
    meta_rows_start(s->mc, &x->r);
    assert_false(x->done);
    fake_run_until(&s->f, &x->done, 20 * NS_PER_SEC);
    assert_true(x->done);
    return x->r.err;
}

static struct slice pack_key(struct buf *b, const char *account)
{
    Cairn__AccessKeyRow row = CAIRN__ACCESS_KEY_ROW__INIT;
    row.access_key_id = str("AK");
    row.account_id = str(account);
    buf_clear(b);
    buf_reserve(b, 64);
    b->len = cairn__access_key_row__pack(&row, b->ptr);
    return buf_view(b);
}

static void rows_are_changed_and_read(void **state)
{
    (void)state;
    struct stand s;
    struct changing x;
    struct reading r = {.r = {.kind = CAIRN__ROW_KIND__ROW_JOB, .scope = "s"}};
    stand_init(&s);
    init(&x);
    add(&x, CAIRN__ROW_KIND__ROW_JOB, "s", "a", 0, SLICE_LIT("1"));
    add(&x, CAIRN__ROW_KIND__ROW_JOB, "s", "b", 0, SLICE_LIT("2"));
    assert_int_equal(run(&s, &x), OK);
    uint64_t version = x.p.outcome->index;
    meta_propose_fini(&x.p);
    assert_int_equal(read_rows(&s, &r), OK);
    assert_int_equal(r.r.row_count, 2);
    assert_false(r.r.more);
    assert_string_equal(r.r.rows[1]->name, "b");
    assert_int_equal(r.r.rows[1]->version, version);
    assert_memory_equal(r.r.rows[1]->value.data, "2", 1);
    meta_rows_fini(&r.r);
    /* One by one; one by name; none by that name. */
    r.r.rows_max = 1;
    assert_int_equal(read_rows(&s, &r), OK);
    assert_true(r.r.row_count == 1 && r.r.more);
    meta_rows_fini(&r.r);
    r.r.name = "b";
    assert_int_equal(read_rows(&s, &r), OK);
    assert_true(r.r.row_count == 1 && !r.r.more);
    meta_rows_fini(&r.r);
    r.r.name = "c";
    assert_int_equal(read_rows(&s, &r), OK);
    assert_int_equal(r.r.row_count, 0);
    meta_rows_fini(&r.r);
    /* Who saw an older version hears which row it was. */
    init(&x);
    add(&x, CAIRN__ROW_KIND__ROW_JOB, "s", "a", version, SLICE_EMPTY)->keep = true;
    add(&x, CAIRN__ROW_KIND__ROW_JOB, "s", "b", version - 1, SLICE_LIT("3"));
    assert_int_equal(run(&s, &x), ERR_PRECONDITION);
    assert_int_equal(x.p.outcome->detail, 1);
    meta_propose_fini(&x.p);
    r.r.kind = 0;
    assert_int_equal(read_rows(&s, &r), ERR_INVAL);
    meta_rows_fini(&r.r);
    stand_fini(&s);
}

static bool told(const struct stand *s, uint64_t hash, uint64_t index)
{
    return s->slots[0][hash % 4096] == index;
}

static void witnesses_are_told(void **state)
{
    (void)state;
    struct stand s;
    struct changing x;
    struct buf v = {0};
    uint64_t one = keyhash_account(SLICE_LIT("1")), key = keyhash_access_key(SLICE_LIT("AK"));
    stand_init(&s);
    init(&x);
    add(&x, CAIRN__ROW_KIND__ROW_ACCOUNT, "", "2", 0, SLICE_LIT("x"));
    add(&x, CAIRN__ROW_KIND__ROW_USER, "1", "u", 0, SLICE_LIT("x"));
    add(&x, CAIRN__ROW_KIND__ROW_ACCESS_KEY, "", "AK", 0, pack_key(&v, "3"));
    assert_int_equal(run(&s, &x), OK);
    uint64_t at = x.p.outcome->index;
    assert_true(told(&s, keyhash_account(SLICE_LIT("2")), at) && told(&s, one, at) &&
                told(&s, key, at) && told(&s, keyhash_account(SLICE_LIT("3")), at));
    meta_propose_fini(&x.p);
    /* Without its value a key is not removed: nobody would tell its account. */
    init(&x);
    add(&x, CAIRN__ROW_KIND__ROW_ACCESS_KEY, "", "AK", at, SLICE_EMPTY)->remove = true;
    assert_int_equal(run(&s, &x), ERR_INVAL);
    meta_propose_fini(&x.p);
    init(&x);
    add(&x, CAIRN__ROW_KIND__ROW_USER, "1", "u", at, SLICE_EMPTY)->keep = true;
    add(&x, CAIRN__ROW_KIND__ROW_ACCESS_KEY, "", "AK", at, pack_key(&v, "3"))->remove = true;
    assert_int_equal(run(&s, &x), OK);
    assert_true(told(&s, keyhash_account(SLICE_LIT("3")), x.p.outcome->index) &&
                told(&s, key, x.p.outcome->index) && told(&s, one, at));
    meta_propose_fini(&x.p);
    buf_fini(&v);
    stand_fini(&s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(rows_are_changed_and_read),
        cmocka_unit_test(witnesses_are_told),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
