/* Queries, names, ARNs, the policies of AWS. */
#include "tests/unit/gateway/iam/world.h"

#include "common/base/check.h"

static void queries(void **state)
{
    (void)state;
    struct arena arena = {0};
    struct iam_query q;
    static char many[8192];
#define PARSE(text) iam_query_parse(&arena, slice_cstr(text), &q)
    assert_int_equal(
        PARSE("Action=A+b%21&Empty=&Flag&L.member.2=two&L.member.1=one&L.member.1.K=k"),
        IAM_QUERY_OK);
    assert_true(slice_eq(iam_query_value(&q, "Action"), SLICE_LIT("A b!")));
    assert_true(iam_query_value(&q, "Empty").ptr && iam_query_value(&q, "Empty").len == 0);
    assert_non_null(iam_query_value(&q, "Flag").ptr);
    assert_null(iam_query_value(&q, "action").ptr);
    assert_true(slice_eq(iam_query_member(&q, "L", 2, NULL), SLICE_LIT("two")));
    assert_true(slice_eq(iam_query_member(&q, "L", 1, "K"), SLICE_LIT("k")));
    assert_null(iam_query_member(&q, "L", 3, NULL).ptr);
    assert_int_equal(PARSE(""), IAM_QUERY_OK);
    assert_null(iam_query_value(&q, "x").ptr);
    assert_int_equal(PARSE("a=1&a=2"), IAM_QUERY_MALFORMED);
    assert_int_equal(PARSE("a=%4"), IAM_QUERY_MALFORMED);
    assert_int_equal(PARSE("a=%ff"), IAM_QUERY_MALFORMED);
    assert_int_equal(PARSE("=1"), IAM_QUERY_MALFORMED);
    memset(many, '&', IAM_PARAMS_MAX + 1);
    assert_int_equal(PARSE(many), IAM_QUERY_MALFORMED);
    arena_fini(&arena);
}

static void names(void **state)
{
    (void)state;
    assert_true(iam_name_valid(SLICE_LIT("a+=,.@-_Z9"), 64));
    assert_false(iam_name_valid(SLICE_LIT("a/b"), 64));
    assert_false(iam_name_valid(SLICE_LIT(""), 64));
    assert_false(iam_name_valid(SLICE_LIT("abc"), 2));
    assert_true(iam_path_valid(SLICE_LIT("/")));
    assert_true(iam_path_valid(SLICE_LIT("/a!/")));
    assert_false(iam_path_valid(SLICE_LIT("//")));
    assert_false(iam_path_valid(SLICE_LIT("/a")));
    assert_false(iam_path_valid(SLICE_LIT("a/")));
    assert_false(iam_path_valid(SLICE_LIT("/a b/")));
    assert_true(iam_policy_path_valid(SLICE_LIT("/a/b/")));
    assert_false(iam_policy_path_valid(SLICE_LIT("/a//b/")));
    assert_false(iam_policy_path_valid(SLICE_LIT("/a!/")));
    assert_true(iam_tag_key_valid(SLICE_LIT("K\xc3\xa4se:x/y z")));
    assert_false(iam_tag_key_valid(SLICE_LIT("a,b")));
    assert_false(iam_tag_key_valid(SLICE_LIT("")));
    assert_true(iam_tag_value_valid(SLICE_LIT("")));
    assert_true(iam_account_id_valid(SLICE_LIT("012345678901")));
    assert_false(iam_account_id_valid(SLICE_LIT("01234567890")));
    assert_false(iam_secret_valid(SLICE_LIT("with blanks in it it is none")));
}

static void arns(void **state)
{
    (void)state;
    struct arena arena = {0};
    struct iam_arn a;
    static const char *const good[] = {
        "arn:aws:iam::111111111111:user/a",       "arn:aws:iam::111111111111:user/p/q/a",
        "arn:aws:iam::aws:policy/service-role/P", "arn:aws:iam::111111111111:role/r",
        "arn:aws:iam::111111111111:group/g",
    };
    static const char *const bad[] = {
        "",
        "arn:aws:iam::111111111111",
        "arn:aws:iam::11111111111:user/a",
        "arn:aws:iam::111111111111:user/",
        "arn:aws:iam::111111111111:user",
        "arn:aws:iam::111111111111:user//",
        "arn:aws:iam::111111111111:cat/a",
        "arn:aws:s3:::bucket",
        "arn:aws:iam::111111111111:assumed-role/r/s",
        "arn:aws:sts::111111111111:assumed-role/r",
        "arn:aws:sts::111111111111:user/a",
        "arn:aws:sts::111111111111:root",
    };
    for (size_t i = 0; i < ARRAY_COUNT(good); i++) {
        assert_true(iam_arn_parse(slice_cstr(good[i]), &a));
        char account[16] = {0}, path[64] = {0}, name[64] = {0};
        memcpy(account, a.account.ptr, a.account.len);
        memcpy(path, a.path.ptr, a.path.len);
        memcpy(name, a.name.ptr, a.name.len);
        assert_string_equal(iam_arn_make(&arena, a.type, account, path, name), good[i]);
    }
    for (size_t i = 0; i < ARRAY_COUNT(bad); i++)
        assert_false(iam_arn_parse(slice_cstr(bad[i]), &a));
    assert_true(iam_arn_parse(SLICE_LIT("arn:aws:iam::111111111111:root"), &a));
    assert_int_equal(a.type, IAM_ARN_ROOT);
    assert_true(iam_arn_parse(SLICE_LIT("arn:aws:sts::111111111111:assumed-role/r/s"), &a));
    assert_true(slice_eq(a.name, SLICE_LIT("r/s")));
    arena_fini(&arena);
}

static void managed(void **state)
{
    (void)state;
    struct arena arena = {0};
    for (size_t i = 0; iam_aws_policy_at(i); i++) {
        const struct iam_aws_policy *p = iam_aws_policy_at(i);
        assert_non_null(iam_aws_policy_parse(&arena, slice_cstr(p->arn)));
        assert_string_equal(iam_arn_name(p->arn), p->name);
        assert_true(i == 0 || strcmp(p->name, iam_aws_policy_at(i - 1)->name) > 0);
        assert_int_equal(strlen(p->unique_id), IAM_UNIQUE_ID_CHARS);
    }
    assert_null(iam_aws_policy_parse(&arena, SLICE_LIT("arn:aws:iam::aws:policy/No")));
    arena_fini(&arena);
}

/* Every action of the table has another name, and none is given twice. */
static void actions(void **state)
{
    (void)state;
    for (size_t i = 1; iam_action_at(i); i++) {
        const struct iam_action *a = iam_action_at(i), *b = iam_action_at(i - 1);
        assert_true(a->service != b->service || strcmp(b->name, a->name) < 0);
        assert_ptr_equal(iam_action_find(a->service, slice_cstr(a->name)), a);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(queries), cmocka_unit_test(names),   cmocka_unit_test(arns),
        cmocka_unit_test(managed), cmocka_unit_test(actions),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
