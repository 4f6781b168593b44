/* What a decision may take: the worst that can be written into policies is denied in bounded time,
 * all that IAM's quotas let a user have is decided, and fewer steps never say anything else. */
#include "world.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <time.h>

#include <cmocka.h>

/* Far more than it takes, sanitizers and a busy machine included; without a bound it was minutes.
 */
#define SECONDS_MAX 3.0

static const struct policy *policy_of(struct arena *a, enum policy_kind kind, const struct buf *b)
{
    const struct policy *p = NULL;
    char reason[POLICY_REASON_BYTES_MAX];
    assert_false(b->failed);
    if (world_parse(a, kind, buf_view(b), &p, reason) != POLICY_OK)
        fail_msg("%s: %.200s", reason, (const char *)b->ptr);
    return p;
}

static char *repeated(const char *s, size_t bytes)
{
    char *text = malloc(bytes + 1);
    size_t n = strlen(s);
    assert_non_null(text);
    for (size_t i = 0; i < bytes; i++)
        text[i] = s[i % n];
    text[bytes] = 0;
    return text;
}

static struct policy_decision decide_timed(const struct policy_request *r,
                                           const struct policy_bundle *b)
{
    struct timespec from, to;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &from);
    struct policy_decision d = policy_decide(r, b);
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &to);
    double s = (double)(to.tv_sec - from.tv_sec) + (double)(to.tv_nsec - from.tv_nsec) / 1e9;
    print_message("%10llu steps, %.1f ms: %d\n", (unsigned long long)d.steps, s * 1e3, d.reason);
    assert_true(d.steps <= POLICY_STEPS_MAX);
    assert_true(s < SECONDS_MAX);
    return d;
}

/* One statement of a policy: what makes it hard to say whether it applies. */
struct hard {
    const char *name;
    const char
        *resource; /* the piece that it is made of, behind "arn:aws:s3:::photos/"; NULL: "*" */
    const char *condition, *piece; /* behind the operator and key, before its value; NULL: none */
    const char *key;               /* of the object: the piece it is made of */
    size_t value_bytes;            /* of aws:UserAgent */
    bool too_costly, always;       /* as much as a user can have of it; one bucket's policy, too */
};

static const struct hard hards[] = {
    {"question marks", "*????????????????????????????????b", NULL, NULL, "a", 0, true, false},
    {"question marks and letters", "*a?a?a?a?a?a?a?a?a?a?ab", NULL, NULL, "a", 0, true, false},
    {"stars", "*aaaaaaaab", NULL, NULL, "a", 0, false, false},
    {"long values", NULL, "\"StringLike\":{\"aws:UserAgent\":\"", "*aaaaaaaab", "a", 8192, true,
     false},
    {"question marks against long values", NULL, "\"StringLike\":{\"aws:UserAgent\":\"",
     "*a?a?a?a?ab", "a", 8192, true, false},
    {"variables in backtracking", NULL, "\"StringLike\":{\"aws:UserAgent\":\"", "*a${aws:username}",
     "a", 8192, true, true},
    {"variables in short values", "*?${aws:username}", NULL, NULL, "a", 0, true, false},
    {"variables that have no value", "${aws:Nothing, 'a'}b", NULL, NULL, "a", 0, false, false},
    {"long names", "*?${aws:PrincipalArn}", NULL, NULL, "a", 0, false, false},
};

static bool agent(void *arg, struct slice key, struct policy_values *ret)
{
    *ret = (struct policy_values){.count = 1, .one = slice_cstr(arg)};
    return policy_eq_ignore_case(key, SLICE_LIT("aws:UserAgent"));
}

/* A document of many such statements, up to so many bytes. */
static void hard_document(struct buf *b, const struct hard *h, bool bucket, const char *effect,
                          size_t bytes)
{
    size_t room = 900;
    buf_cstr(b, "{\"Version\":\"2012-10-17\",\"Statement\":[");
    for (bool first = true; b->len + 1400 < bytes; first = false) {
        buf_printf(b, "%s{\"Effect\":\"%s\",%s\"Action\":\"s3:GetObject\",\"Resource\":\"",
                   first ? "" : ",", effect, bucket ? "\"Principal\":\"*\"," : "");
        char *hard = repeated(h->resource ? h->resource : h->piece,
                              room / strlen(h->resource ? h->resource : h->piece) *
                                  strlen(h->resource ? h->resource : h->piece));
        if (h->resource)
            buf_printf(b, "arn:aws:s3:::photos/%s\"", hard);
        else
            buf_printf(b, "arn:aws:s3:::photos/*\",\"Condition\":{%s%s\"}}", h->condition, hard);
        buf_cstr(b, "}");
        free(hard);
    }
    buf_cstr(b, "]}");
}

static void hard_ask(const struct hard *h, const struct policy *const *policies, size_t count,
                     bool bucket)
{
    char *key = repeated(h->key, 1024 - 20), *value = repeated("a", h->value_bytes);
    struct buf resource = {0};
    buf_printf(&resource, "arn:aws:s3:::photos/%s", key);
    struct policy_request r = {.caller = world_caller("alice"),
                               .action = SLICE_LIT("s3:GetObject"),
                               .resource = buf_view(&resource),
                               .resource_account = SLICE_LIT(WORLD_ACCOUNT),
                               .values = agent,
                               .arg = value};
    struct policy_bundle b = {.acl_allows = true};
    if (bucket)
        b.resource = policies[0];
    else
        b.identity = policies, b.identity_count = count;
    struct policy_decision d = decide_timed(&r, &b);
    /* None of the statements applies, so the ACL lets in who is not stopped by the bound. */
    assert_int_equal(d.outcome,
                     d.reason == POLICY_TOO_COSTLY ? POLICY_IMPLICIT_DENY : POLICY_ALLOW);
    assert_int_equal(d.reason == POLICY_TOO_COSTLY, !bucket || h->always ? h->too_costly : 0);
    for (r.steps_max = 1; r.steps_max < d.steps; r.steps_max *= 16) {
        struct policy_decision less = policy_decide(&r, &b);
        assert_int_equal(less.outcome, POLICY_IMPLICIT_DENY);
        assert_int_equal(less.reason, POLICY_TOO_COSTLY);
    }
    buf_fini(&resource);
    free(key);
    free(value);
}

/* In a bucket's policy, and in all the policies that quotas let a user have. */
static void the_worst_is_bounded(void **state)
{
    (void)state;
    enum { MANY = 111 };
    for (size_t i = 0; i < ARRAY_COUNT(hards); i++) {
        struct arena a = {0};
        struct buf bucket = {0}, own = {0};
        const struct policy *one, *many[MANY];
        print_message("%s\n", hards[i].name);
        hard_document(&bucket, &hards[i], true, "Deny", POLICY_BUCKET_BYTES_MAX);
        one = policy_of(&a, POLICY_BUCKET, &bucket);
        hard_ask(&hards[i], &one, 1, true);
        hard_document(&own, &hards[i], false, "Deny", POLICY_MANAGED_BYTES_MAX);
        for (size_t k = 0; k < MANY; k++)
            many[k] = policy_of(&a, POLICY_MANAGED, &own);
        hard_ask(&hards[i], many, MANY, false);
        buf_fini(&bucket);
        buf_fini(&own);
        arena_fini(&a);
    }
}

/* Policies as people write them, as many and as large as they can be: decided, not refused. */
static void quotas_fit(void **state)
{
    (void)state;
    enum { MANY = 131 }; /* managed ones and, as long, inline ones */
    struct arena a = {0};
    struct buf b = {0}, resource = {0};
    const struct policy *many[MANY];
    char *key = repeated("reports/2026-01-01/", 1000);
    buf_cstr(&b, "{\"Version\":\"2012-10-17\",\"Statement\":[");
    for (size_t i = 0; b.len + 400 < POLICY_MANAGED_BYTES_MAX; i++)
        buf_printf(&b,
                   "%s{\"Effect\":\"Deny\",\"Action\":[\"s3:Get*\",\"s3:PutObject\"],\"Resource\":"
                   "[\"arn:aws:s3:::photos/home/${aws:username}/%zu/*\","
                   "\"arn:aws:s3:::photos/????_?_/*.log\"],\"Condition\":{\"StringLike\":"
                   "{\"aws:UserAgent\":[\"*curl*\",\"Boto3/*\"]}}}",
                   i ? "," : "", i);
    buf_cstr(&b, "]}");
    for (size_t k = 0; k < MANY; k++)
        many[k] = policy_of(&a, POLICY_MANAGED, &b);
    buf_printf(&resource, "arn:aws:s3:::photos/%s", key);
    char *value = repeated("aws-sdk-rust/1 ", 200);
    struct policy_request r = {.caller = world_caller("alice"),
                               .action = SLICE_LIT("s3:GetObject"),
                               .resource = buf_view(&resource),
                               .resource_account = SLICE_LIT(WORLD_ACCOUNT),
                               .values = agent,
                               .arg = value};
    struct policy_bundle all = {.identity = many, .identity_count = MANY, .acl_allows = true};
    struct policy_decision d = decide_timed(&r, &all);
    assert_int_equal(d.reason, POLICY_BY_ACL);
    assert_true(d.steps < POLICY_STEPS_MAX / 2);
    buf_fini(&b);
    buf_fini(&resource);
    arena_fini(&a);
    free(key);
    free(value);
}

static void unreadable_ones_deny(void **state)
{
    (void)state;
    static const char *const mends[] = {"s3:GetBucketPolicy", "s3:PutBucketPolicy",
                                        "s3:DeleteBucketPolicy"};
    struct policy_request r = {.caller = world_caller("root"),
                               .action = SLICE_LIT("s3:GetObject"),
                               .resource = SLICE_LIT("arn:aws:s3:::photos/a"),
                               .resource_account = SLICE_LIT(WORLD_ACCOUNT)};
    struct policy_bundle b = {.acl_allows = true, .unreadable = true};
    for (size_t i = 0; i < world_caller_count; i++) {
        r.caller = &world_callers[i].caller;
        assert_int_equal(policy_decide(&r, &b).reason, POLICY_UNREADABLE);
        assert_int_equal(policy_decide(&r, &b).outcome, POLICY_IMPLICIT_DENY);
    }
    r.caller = world_caller("root");
    for (size_t i = 0; i < ARRAY_COUNT(mends); i++) {
        r.action = slice_cstr(mends[i]);
        assert_int_equal(policy_decide(&r, &b).reason, POLICY_BY_OWNER);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(quotas_fit),
        cmocka_unit_test(unreadable_ones_deny),
        cmocka_unit_test(the_worst_is_bounded),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
