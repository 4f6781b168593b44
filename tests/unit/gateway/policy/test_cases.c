/* cases.txt: what policies mean, one decision and its reason a line. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#include "tests/unit/gateway/policy/world.h"

enum { POLICIES_MAX = 128, NAMED_MAX = 8 };

static struct named_policy {
    char name[64];
    const struct policy *policy;
} policies[POLICIES_MAX];
static size_t policy_count;
static struct arena arena;
static size_t decisions, refusals, publics, wrong;

static void differs(size_t line, const char *want, const char *got)
{
    if (strcmp(want, got) == 0)
        return;
    wrong++;
    fprintf(stderr, "cases.txt:%zu: expected: %s\n%*sgot: %s\n", line, want, 13, "", got);
}

static const struct policy *find(size_t line, const char *name)
{
    for (size_t i = 0; i < policy_count; i++)
        if (strcmp(policies[i].name, name) == 0)
            return policies[i].policy;
    fprintf(stderr, "cases.txt:%zu: there is no policy %s\n", line, name);
    abort();
}

static enum policy_kind kind_of(const char *word)
{
    static const char *const words[] = {"bucket", "managed", "inline", "session", "trust"};
    for (size_t i = 0; i < ARRAY_COUNT(words); i++)
        if (strcmp(words[i], word) == 0)
            return (enum policy_kind)i;
    fprintf(stderr, "there is no kind %s\n", word);
    abort();
}

/* In place: %20 becomes a blank. */
static struct slice value(char *s)
{
    for (char *at = s; (at = strstr(at, "%20"));) {
        *at++ = ' ';
        memmove(at, at + 2, strlen(at + 2) + 1);
    }
    return slice_cstr(s);
}

static void read_context(char *text, struct world_context *c)
{
    char *save = NULL;
    for (char *word = strtok_r(text, " ", &save); word; word = strtok_r(NULL, " ", &save)) {
        char *equals = strchr(word, '=');
        CHECK(equals && c->count < WORLD_KEYS_MAX);
        *equals = '\0';
        size_t k = c->count++;
        c->keys[k].key = slice_cstr(word);
        for (char *at = equals + 1; at;) {
            char *end = strchr(at, ';');
            if (end)
                *end = '\0';
            CHECK(c->keys[k].value_count < WORLD_VALUES_MAX);
            c->keys[k].values[c->keys[k].value_count++] = value(at);
            at = end ? end + 1 : NULL;
        }
    }
}

struct given {
    struct policy_bundle bundle;
    const struct policy *identity[NAMED_MAX], *session[NAMED_MAX];
};

static void read_policies(size_t line, char *text, struct given *g)
{
    char *save = NULL;
    struct policy_bundle *b = &g->bundle;
    b->identity = g->identity;
    b->session = g->session;
    for (char *word = strtok_r(text, " ", &save); word; word = strtok_r(NULL, " ", &save)) {
        if (strcmp(word, "acl") == 0) {
            b->acl_allows = true;
        } else if (strcmp(word, "restrict") == 0) {
            b->restrict_public_buckets = true;
        } else if (strncmp(word, "boundary=", 9) == 0) {
            b->boundary = find(line, word + 9);
        } else {
            const struct policy *p = find(line, word);
            b->resource_must_allow |= p->kind == POLICY_TRUST;
            if (p->kind == POLICY_BUCKET || p->kind == POLICY_TRUST)
                b->resource = p;
            else if (p->kind == POLICY_SESSION)
                g->session[b->session_count++] = p;
            else
                g->identity[b->identity_count++] = p;
        }
    }
}

static void decide(size_t line, char *text, const char *want)
{
    struct given g = {0};
    struct world_context context = {0};
    struct buf arn = {0}, got = {0};
    char *bar = strchr(text, '|'), *second = bar ? strchr(bar + 1, '|') : NULL;
    CHECK(bar && second);
    *bar = *second = '\0';
    char *save = NULL, *who = strtok_r(text, " ", &save), *action = strtok_r(NULL, " ", &save),
         *resource = strtok_r(NULL, " ", &save);
    CHECK(who && action && resource);
    read_context(bar + 1, &context);
    read_policies(line, second + 1, &g);
    if (strcmp(resource, "*") != 0 && strncmp(resource, "arn:", 4) != 0)
        buf_cstr(&arn, "arn:aws:s3:::");
    buf_cstr(&arn, resource);
    bool of_t = strncmp(action, "t:", 2) == 0 || strcmp(action, "s3:ListAllMyBuckets") == 0;
    const struct policy_request r = {
        .caller = world_caller(who),
        .action = slice_cstr(action),
        .resource = buf_view(&arn),
        .resource_account = of_t ? SLICE_EMPTY : SLICE_LIT(WORLD_ACCOUNT),
        .values = world_values,
        .arg = &context,
    };
    struct policy_decision d = policy_decide(&r, &g.bundle);
    if (policy_allowed(&d) != (strncmp(want, "allow: ", 7) == 0))
        wrong++;
    policy_decision_write(&d, &got);
    buf_u8(&got, 0);
    differs(line, want, (const char *)got.ptr);
    buf_fini(&got);
    buf_fini(&arn);
    decisions++;
}

static void is_public(size_t line, char *text, const char *want)
{
    char got[64] = "not public", name[64];
    size_t statement = 0;
    CHECK(sscanf(text, "%63s", name) == 1);
    if (policy_is_public(find(line, name), &statement))
        snprintf(got, sizeof(got), "public, statement %zu", statement + 1);
    differs(line, want, got);
    publics++;
}

static void ask(size_t line, char *text)
{
    char *arrow = strstr(text, " => ");
    CHECK(arrow);
    *arrow = '\0';
    if (strncmp(text, "public ", 7) == 0)
        is_public(line, text + 7, arrow + 4);
    else
        decide(line, text, arrow + 4);
}

/* A document has ended; want: the reason of its refusal, or NULL. */
static void document(size_t line, const char *head, struct slice text, const char *want)
{
    char first[64] = "", second[64] = "", reason[POLICY_REASON_BYTES_MAX];
    const struct policy *p = NULL;
    CHECK(sscanf(head, "%63s %63s", first, second) == 2);
    bool refuse = strcmp(first, "refuse") == 0;
    enum policy_error err = world_parse(&arena, kind_of(refuse ? second : first), text, &p, reason);
    if (refuse) {
        assert_non_null(want);
        assert_int_equal(err, POLICY_MALFORMED);
        assert_null(p);
        differs(line, want, reason);
        refusals++;
        return;
    }
    differs(line, "", reason);
    if (err != POLICY_OK)
        return;
    CHECK(policy_count < POLICIES_MAX);
    snprintf(policies[policy_count].name, sizeof(policies[0].name), "%s", second);
    policies[policy_count++].policy = p;
}

static void cases(void **state)
{
    (void)state;
    char *text = world_read("cases.txt");
    char head[160] = "";
    struct buf doc = {0};
    size_t line = 0, begun = 0;
    for (char *at = text, *end; *at; at = end + 1) {
        end = strchr(at, '\n');
        CHECK(end);
        *end = '\0';
        line++;
        bool mark = *at == '?' || *at == '#' || *at == '\0' || strncmp(at, "==", 2) == 0 ||
                    strncmp(at, "=> ", 3) == 0;
        if (!mark) {
            if (doc.len)
                buf_u8(&doc, '\n');
            buf_cstr(&doc, at);
            continue;
        }
        if (doc.len) {
            document(begun, head, buf_view(&doc), at[0] == '=' && at[1] == '>' ? at + 3 : NULL);
            buf_clear(&doc);
        }
        if (strncmp(at, "== ", 3) == 0) {
            snprintf(head, sizeof(head), "%s", at + 3);
            begun = line;
        } else if (*at == '?') {
            ask(line, at + 2);
        }
    }
    buf_fini(&doc);
    free(text);
    arena_fini(&arena);
    print_message("%zu decisions, %zu refusals, %zu times public\n", decisions, refusals, publics);
    assert_int_equal(wrong, 0);
    assert_true(decisions >= 250 && refusals >= 50 && publics >= 15);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(cases)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
