/* Policies from any bytes, and what they say of a request: nothing crashes, memory stays within
 * what the header promises, a refusal has a reason, a decision names a statement that there is, and
 * a Deny of everything besides leaves nothing allowed, and whoever may spend less is told the same
 * or is denied.
 *
 * Input: "KIND CALLER ACTION RESOURCE KEY VALUE" in one line (a digit each for kind and caller),
 * then the document. */
#include "common/base/check.h"
#include "gateway/policy/decide.h"
#include "gateway/policy/json.h"

#include <stdio.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { WORDS = 6 };

static const struct policy_caller callers[] = {
    {.type = POLICY_ANONYMOUS},
    {.type = POLICY_ROOT,
     .account = {(const uint8_t *)"111111111111", 12},
     .arn = {(const uint8_t *)"arn:aws:iam::111111111111:root", 30}},
    {.type = POLICY_USER,
     .account = {(const uint8_t *)"111111111111", 12},
     .arn = {(const uint8_t *)"arn:aws:iam::111111111111:user/alice", 36},
     .user_id = {(const uint8_t *)"AIDAALICE00000000001", 20},
     .unique_id = {(const uint8_t *)"AIDAALICE00000000001", 20},
     .user_name = {(const uint8_t *)"alice", 5}},
    {.type = POLICY_ROLE_SESSION,
     .account = {(const uint8_t *)"222222222222", 12},
     .arn = {(const uint8_t *)"arn:aws:sts::222222222222:assumed-role/r/s", 42},
     .role_arn = {(const uint8_t *)"arn:aws:iam::222222222222:role/r", 32},
     .user_id = {(const uint8_t *)"AROAR000000000000001:s", 22}},
};

/* KEY has two values when it begins with '2', one otherwise. */
static bool values(void *arg, struct slice key, struct policy_values *ret)
{
    static struct slice two[2];
    const struct slice *word = arg;
    bool pair = word[4].len && word[4].ptr[0] == '2';
    if (!policy_eq_ignore_case(key, pair ? SLICE(word[4].ptr + 1, word[4].len - 1) : word[4]))
        return false;
    two[0] = two[1] = word[5];
    *ret = pair ? (struct policy_values){.items = two, .count = 2}
                : (struct policy_values){.count = 1, .one = word[5]};
    return true;
}

static void check_decision(const struct policy_decision *d, const struct policy_bundle *b)
{
    struct buf text = {0};
    policy_decision_write(d, &text);
    CHECK(text.len > 0);
    buf_fini(&text);
    if (d->reason != POLICY_BY_STATEMENT)
        return;
    const struct policy *p = d->source == POLICY_OF_RESOURCE   ? b->resource
                             : d->source == POLICY_OF_BOUNDARY ? b->boundary
                             : d->source == POLICY_OF_SESSION  ? b->session[d->policy]
                                                               : b->identity[d->policy];
    CHECK(d->statement < p->statement_count);
    CHECK(p->statements[d->statement].deny == (d->outcome == POLICY_EXPLICIT_DENY));
}

static const struct policy *deny_all(struct arena *a)
{
    const struct policy_parse_options o = {.kind = POLICY_BUCKET, .bucket = SLICE_LIT("photos")};
    const struct policy *p = NULL;
    char reason[POLICY_REASON_BYTES_MAX];
    CHECK(policy_parse(a, &o,
                       SLICE_LIT("{\"Statement\":{\"Effect\":\"Deny\",\"Principal\":\"*\","
                                 "\"Action\":\"*\",\"Resource\":\"*\"}}"),
                       &p, reason) == POLICY_OK);
    return p;
}

/* Does it end within what it may take, and is nothing else decided with less? */
static void check_steps(const struct policy_request *r, const struct policy_bundle *b,
                        const struct policy_decision *d)
{
    struct policy_request less = *r;
    CHECK(d->steps <= POLICY_STEPS_MAX);
    for (less.steps_max = 1; less.steps_max < 2 * d->steps + 2; less.steps_max *= 3) {
        struct policy_decision e = policy_decide(&less, b);
        CHECK(e.steps <= less.steps_max);
        CHECK(e.reason == POLICY_TOO_COSTLY
                  ? e.outcome == POLICY_IMPLICIT_DENY
                  : e.outcome == d->outcome && e.reason == d->reason && e.steps == d->steps);
    }
}

static void ask(struct arena *a, const struct policy *p, const struct slice word[WORDS])
{
    const struct policy_caller *c =
        &callers[word[1].len ? word[1].ptr[0] % ARRAY_COUNT(callers) : 0];
    const struct policy_request r = {.caller = c,
                                     .action = word[2],
                                     .resource = word[3],
                                     .resource_account = SLICE_LIT("111111111111"),
                                     .values = values,
                                     .arg = (void *)(uintptr_t)word};
    bool of_resource = p->kind == POLICY_BUCKET || p->kind == POLICY_TRUST;
    struct policy_bundle b = {.acl_allows = true, .resource_must_allow = p->kind == POLICY_TRUST};
    if (of_resource)
        b.resource = p;
    else if (c->type == POLICY_ANONYMOUS)
        return;
    else
        b.boundary = p;
    b.identity = b.session = &p;
    b.identity_count = p->kind == POLICY_MANAGED || p->kind == POLICY_INLINE;
    b.session_count = p->kind == POLICY_SESSION;
    struct policy_decision d = policy_decide(&r, &b);
    check_decision(&d, &b);
    check_steps(&r, &b, &d);
    (void)policy_is_public(p, NULL);
    if (of_resource)
        return;
    /* A resource that is denied to all is denied whatever else is said. */
    b.resource = deny_all(a);
    d = policy_decide(&r, &b);
    check_decision(&d, &b);
    CHECK(!policy_allowed(&d) || d.reason == POLICY_BY_OWNER);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    const uint8_t *end = size ? memchr(data, '\n', size) : NULL;
    if (!end || size > 1 << 17)
        return 0;
    struct slice word[WORDS] = {{NULL, 0}};
    const uint8_t *at = data;
    for (size_t i = 0; i < WORDS && at <= end; i++) {
        const uint8_t *blank = i < WORDS - 1 ? memchr(at, ' ', (size_t)(end - at)) : NULL;
        word[i] = SLICE(at, (size_t)((blank ? blank : end) - at));
        at = (blank ? blank : end) + 1;
    }
    struct slice document = SLICE(end + 1, size - (size_t)(end + 1 - data));
    const struct policy_parse_options o = {
        .kind = (enum policy_kind)(word[0].len ? word[0].ptr[0] % POLICY_KIND_COUNT : 0),
        .bucket = SLICE_LIT("photos"),
    };
    const struct policy *p = NULL;
    char reason[POLICY_REASON_BYTES_MAX];
    struct arena a = {0};
    enum policy_error err = policy_parse(&a, &o, document, &p, reason);
    CHECK(err != POLICY_NO_MEMORY && (err == POLICY_OK) == (p != NULL));
    CHECK((err == POLICY_OK) == (reason[0] == '\0'));
    CHECK(a.bytes <= 16 * document.len + 1024);
    if (p)
        ask(&a, p, word);
    arena_fini(&a);
    return 0;
}
