/* What must hold whatever the policies are, over random ones: a Deny more never allows more, an
 * Allow more never allows less, a decision names the statement that made it; and the matcher agrees
 * with a matcher that is too simple to be wrong. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#include "tests/unit/gateway/policy/world.h"

enum { ROUNDS = 4000, MATCHES = 60000, EACH_MAX = 3 };

static uint64_t rng = 88172645463325252ull;

static size_t below(size_t n)
{
    rng ^= rng << 13;
    rng ^= rng >> 7;
    rng ^= rng << 17;
    return (size_t)(rng % n);
}

#define PICK(array) ((array)[below(ARRAY_COUNT(array))])

/* ---- random documents ---- */

static const char *const principals[] = {
    "\"*\"",
    "{\"AWS\":\"*\"}",
    "{\"AWS\":\"111111111111\"}",
    "{\"AWS\":\"222222222222\"}",
    "{\"AWS\":[\"arn:aws:iam::111111111111:user/alice\",\"arn:aws:iam::111111111111:root\"]}",
    "{\"AWS\":\"arn:aws:iam::222222222222:user/bob\"}",
    "{\"AWS\":\"arn:aws:iam::111111111111:role/app\"}",
    "{\"AWS\":\"arn:aws:sts::111111111111:assumed-role/app/s1\"}",
    "{\"Service\":\"a.amazonaws.com\"}",
};
static const char *const actions[] = {"\"s3:*\"", "\"s3:GetObject\"", "[\"s3:Get*\",\"s3:Put*\"]",
                                      "\"s3:DeleteObject\"", "\"s3:P?tObject\""};
static const char *const resources[] = {"\"arn:aws:s3:::photos/*\"", "\"*\"",
                                        "[\"arn:aws:s3:::photos/a/*\",\"arn:aws:s3:::photos/b*\"]",
                                        "\"arn:aws:s3:::photos/${aws:username}/*\"",
                                        "\"arn:aws:s3:::photos/a\""};
static const char *const operators[] = {
    "StringEquals",
    "StringNotEquals",
    "StringLike",
    "StringNotLike",
    "StringEqualsIfExists",
    "StringNotEqualsIgnoreCase",
    "ForAllValues:StringLike",
    "ForAnyValue:StringNotEquals",
    "ForAllValues:StringNotLikeIfExists",
};
static const char *const texts[] = {
    "\"a\"",           "[\"a\",\"b*\"]", "\"${aws:username}\"",
    "\"${aws:none}\"", "\"*\"",          "[\"${aws:none, 'a'}\",\"c\"]"};
static const char *const keys[] = {"aws:x", "aws:y", "aws:none", "aws:PrincipalType", "aws:userid"};

static void random_condition(struct buf *b)
{
    switch (below(6)) {
    case 0:
        buf_printf(b, "\"%s\":{\"aws:n\":\"%zu\"}",
                   below(2) ? "NumericLessThan" : "NumericNotEquals", below(4));
        break;
    case 1:
        buf_printf(b, "\"%s\":{\"aws:ip\":\"10.0.%zu.0/24\"}",
                   below(2) ? "IpAddress" : "NotIpAddress", below(3));
        break;
    case 2:
        buf_printf(b, "\"Null\":{\"%s\":\"%s\"}", PICK(keys), below(2) ? "true" : "false");
        break;
    default: buf_printf(b, "\"%s\":{\"%s\":%s}", PICK(operators), PICK(keys), PICK(texts));
    }
}

static void random_statement(struct buf *b, bool who, bool deny)
{
    buf_printf(b, "{\"Effect\":\"%s\"", deny ? "Deny" : "Allow");
    if (who)
        buf_printf(b, ",\"%sPrincipal\":%s", below(5) ? "" : "Not", PICK(principals));
    buf_printf(b, ",\"%sAction\":%s", below(5) ? "" : "Not", PICK(actions));
    buf_printf(b, ",\"%sResource\":%s", below(5) ? "" : "Not", PICK(resources));
    if (below(2)) {
        buf_cstr(b, ",\"Condition\":{");
        random_condition(b);
        buf_cstr(b, "}");
    }
    buf_cstr(b, "}");
}

static const struct policy *random_policy(struct arena *a, enum policy_kind kind, size_t statements,
                                          bool may_deny, bool must_deny)
{
    struct buf b = {0};
    const struct policy *p = NULL;
    char reason[POLICY_REASON_BYTES_MAX];
    buf_printf(&b, "{\"Version\":\"%s\",\"Statement\":[", below(4) ? "2012-10-17" : "2008-10-17");
    for (size_t i = 0; i < statements; i++) {
        if (i)
            buf_cstr(&b, ",");
        random_statement(&b, kind == POLICY_BUCKET, must_deny || (may_deny && below(4) == 0));
    }
    buf_cstr(&b, "]}");
    enum policy_error err = world_parse(a, kind, buf_view(&b), &p, reason);
    if (err != POLICY_OK)
        fprintf(stderr, "%s\n%.*s\n", reason, (int)b.len, (const char *)b.ptr);
    assert_int_equal(err, POLICY_OK);
    buf_fini(&b);
    return p;
}

/* ---- random requests ---- */

struct round {
    struct arena arena;
    struct policy_request request;
    struct policy_bundle bundle;
    const struct policy *identity[EACH_MAX + 1], *session[EACH_MAX];
    struct world_context context;
};

static void random_context(struct world_context *c)
{
    static const struct {
        struct slice key, values[4];
    } vocabulary[] = {
        {SLICE_LIT("aws:x"), {SLICE_LIT("a"), SLICE_LIT("bb"), SLICE_LIT("alice"), SLICE_LIT("*")}},
        {SLICE_LIT("aws:y"), {SLICE_LIT("c"), SLICE_LIT("a"), SLICE_LIT("A"), SLICE_LIT("")}},
        {SLICE_LIT("aws:n"), {SLICE_LIT("0"), SLICE_LIT("2"), SLICE_LIT("two"), SLICE_LIT("9")}},
        {SLICE_LIT("aws:ip"),
         {SLICE_LIT("10.0.1.1"), SLICE_LIT("10.0.2.9"), SLICE_LIT("::1"), SLICE_LIT("x")}},
    };
    for (size_t i = 0; i < ARRAY_COUNT(vocabulary); i++) {
        size_t n = below(3);
        if (n == 0)
            continue;
        size_t k = c->count++;
        c->keys[k].key = vocabulary[i].key;
        for (size_t v = 0; v < n; v++)
            c->keys[k].values[c->keys[k].value_count++] = vocabulary[i].values[below(4)];
    }
}

static void random_round(struct round *r)
{
    static const char *const asked[] = {"s3:GetObject", "s3:PutObject", "s3:DeleteObject",
                                        "s3:GetObjectAcl"};
    static const char *const arns[] = {"arn:aws:s3:::photos/a", "arn:aws:s3:::photos/a/b",
                                       "arn:aws:s3:::photos/alice/x", "arn:aws:s3:::photos/zoo"};
    struct policy_bundle *b = &r->bundle;
    *r = (struct round){0};
    random_context(&r->context);
    const struct policy_caller *c = &world_callers[below(world_caller_count)].caller;
    r->request = (struct policy_request){.caller = c,
                                         .action = slice_cstr(PICK(asked)),
                                         .resource = slice_cstr(PICK(arns)),
                                         .resource_account = SLICE_LIT(WORLD_ACCOUNT),
                                         .values = world_values,
                                         .arg = &r->context};
    b->identity = r->identity;
    b->session = r->session;
    b->acl_allows = below(6) == 0;
    b->restrict_public_buckets = below(4) == 0;
    if (below(4))
        b->resource = random_policy(&r->arena, POLICY_BUCKET, 1 + below(3), true, false);
    if (c->type == POLICY_ANONYMOUS)
        return;
    while (b->identity_count < EACH_MAX && below(2))
        r->identity[b->identity_count++] =
            random_policy(&r->arena, POLICY_MANAGED, 1 + below(3), true, false);
    if (below(4) == 0)
        b->boundary = random_policy(&r->arena, POLICY_MANAGED, 1 + below(3), true, false);
    while (c->type == POLICY_ROLE_SESSION && b->session_count < EACH_MAX && below(3) == 0)
        r->session[b->session_count++] =
            random_policy(&r->arena, POLICY_SESSION, 1 + below(3), true, false);
}

/* One statement more, somewhere among the others. */
static const struct policy *with_one_more(struct arena *a, const struct policy *p, bool deny)
{
    const struct policy *more = random_policy(a, p->kind, 1, deny, deny);
    struct policy *both = arena_alloc(a, sizeof(*both));
    struct policy_statement *s = arena_alloc(a, (p->statement_count + 1) * sizeof(*s));
    size_t at = below(p->statement_count + 1);
    CHECK(both && s);
    memcpy(s, p->statements, at * sizeof(*s));
    s[at] = more->statements[0];
    memcpy(s + at + 1, p->statements + at, (p->statement_count - at) * sizeof(*s));
    *both = *p;
    both->statements = s;
    both->statement_count++;
    return both;
}

/* To one of the policies there are.  false: there are none. */
static bool change_one(struct round *r, bool deny)
{
    struct policy_bundle *b = &r->bundle;
    const struct policy **slots[2 + 2 * EACH_MAX];
    size_t n = 0;
    if (b->resource)
        slots[n++] = &b->resource;
    if (b->boundary)
        slots[n++] = &b->boundary;
    for (size_t i = 0; i < b->identity_count; i++)
        slots[n++] = &r->identity[i];
    for (size_t i = 0; i < b->session_count; i++)
        slots[n++] = &r->session[i];
    if (n == 0)
        return false;
    const struct policy **slot = slots[below(n)];
    *slot = with_one_more(&r->arena, *slot, deny);
    return true;
}

static void sound(const struct round *r, const struct policy_decision *d)
{
    const struct policy_bundle *b = &r->bundle;
    assert_int_equal(d->reason == POLICY_BY_STATEMENT, d->source != POLICY_OF_NONE);
    if (d->outcome == POLICY_EXPLICIT_DENY)
        assert_int_equal(d->reason, POLICY_BY_STATEMENT);
    if (d->reason != POLICY_BY_STATEMENT)
        return;
    const struct policy *p = d->source == POLICY_OF_RESOURCE   ? b->resource
                             : d->source == POLICY_OF_BOUNDARY ? b->boundary
                             : d->source == POLICY_OF_IDENTITY ? b->identity[d->policy]
                                                               : b->session[d->policy];
    assert_non_null(p);
    assert_true(d->statement < p->statement_count);
    assert_int_equal(p->statements[d->statement].deny, d->outcome == POLICY_EXPLICIT_DENY);
}

static void a_deny_more_never_allows_more(void **state)
{
    (void)state;
    size_t allowed = 0, taken = 0;
    for (size_t i = 0; i < ROUNDS; i++) {
        struct round r;
        random_round(&r);
        struct policy_decision before = policy_decide(&r.request, &r.bundle), after;
        sound(&r, &before);
        bool own = r.request.caller->type != POLICY_ANONYMOUS;
        if (!change_one(&r, true) && own)
            r.identity[r.bundle.identity_count++] =
                random_policy(&r.arena, POLICY_MANAGED, 1, true, true);
        after = policy_decide(&r.request, &r.bundle);
        sound(&r, &after);
        assert_true(policy_allowed(&before) || !policy_allowed(&after));
        allowed += policy_allowed(&before);
        taken += policy_allowed(&before) && !policy_allowed(&after);
        arena_fini(&r.arena);
    }
    /* It means something only when much is allowed, and a Deny often takes it. */
    assert_true(allowed > ROUNDS / 10 && taken > ROUNDS / 100);
}

static void an_allow_more_never_allows_less(void **state)
{
    (void)state;
    size_t refused = 0, given = 0;
    for (size_t i = 0; i < ROUNDS; i++) {
        struct round r;
        random_round(&r);
        r.bundle.restrict_public_buckets = false; /* one more can make a policy public */
        struct policy_decision before = policy_decide(&r.request, &r.bundle), after;
        if (change_one(&r, false)) {
            after = policy_decide(&r.request, &r.bundle);
            sound(&r, &after);
            assert_true(!policy_allowed(&before) || policy_allowed(&after));
            refused += !policy_allowed(&before);
            given += !policy_allowed(&before) && policy_allowed(&after);
        }
        arena_fini(&r.arena);
    }
    assert_true(refused > ROUNDS / 10 && given > ROUNDS / 200);
}

/* ---- the matcher ---- */

static bool simple_match(const char *p, const char *s)
{
    if (*p == '\0')
        return *s == '\0';
    if (*p == '*')
        return simple_match(p + 1, s) || (*s && simple_match(p, s + 1));
    return *s && (*p == '?' || *p == *s) && simple_match(p + 1, s + 1);
}

static void random_text(char *to, size_t max, const char *letters)
{
    size_t n = below(max);
    for (size_t i = 0; i < n; i++)
        to[i] = letters[below(strlen(letters))];
    to[n] = '\0';
}

static void matcher_agrees_with_a_simple_one(void **state)
{
    (void)state;
    const struct policy_match_options o = {.wildcards = true};
    size_t matched = 0;
    for (size_t i = 0; i < MATCHES; i++) {
        char pattern[10], text[14];
        random_text(pattern, sizeof(pattern), "ab*?");
        random_text(text, sizeof(text), "ab");
        bool want = simple_match(pattern, text);
        assert_int_equal(policy_match(slice_cstr(pattern), slice_cstr(text), &o),
                         want ? POLICY_MATCHES : POLICY_DIFFERS);
        matched += want;
        /* A long text takes another way, and ends the same. */
        char longer[2048], more[32];
        size_t pad = sizeof(longer) - sizeof(text);
        memset(longer, 'a', pad);
        snprintf(longer + pad, sizeof(text), "%s", text);
        snprintf(more, sizeof(more), "*b%s", pattern);
        longer[pad - 1] = 'b';
        bool far = policy_match(slice_cstr(more), slice_cstr(longer), &o) == POLICY_MATCHES;
        snprintf(longer, sizeof(longer), "b%s", text);
        assert_int_equal(far, policy_match(slice_cstr(more), slice_cstr(longer), &o));
        /* What a pattern can begin with: what it matches begins so. */
        if (want && text[0])
            assert_true(
                policy_may_begin(slice_cstr(pattern), SLICE(text, 1 + below(strlen(text))), false));
    }
    assert_true(matched > MATCHES / 20);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_deny_more_never_allows_more),
        cmocka_unit_test(an_allow_more_never_allows_less),
        cmocka_unit_test(matcher_agrees_with_a_simple_one),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
