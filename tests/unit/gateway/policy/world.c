/* See world.h. */
#include "tests/unit/gateway/policy/world.h"

#include <stdio.h>
#include <stdlib.h>

#define L(s)                                                                                       \
    {                                                                                              \
        (const uint8_t *)(s), sizeof(s) - 1                                                        \
    }
#define CANON1 "1111111111111111111111111111111111111111111111111111111111111111"
#define CANON2 "2222222222222222222222222222222222222222222222222222222222222222"

const struct world_caller world_callers[] = {
    {"anon", {.type = POLICY_ANONYMOUS}},
    {"root",
     {.type = POLICY_ROOT,
      .account = L("111111111111"),
      .canonical_id = L(CANON1),
      .arn = L("arn:aws:iam::111111111111:root"),
      .user_id = L("111111111111")}},
    {"alice",
     {.type = POLICY_USER,
      .account = L("111111111111"),
      .canonical_id = L(CANON1),
      .arn = L("arn:aws:iam::111111111111:user/alice"),
      .unique_id = L("AIDAALICE00000000001"),
      .user_id = L("AIDAALICE00000000001"),
      .user_name = L("alice")}},
    {"carol",
     {.type = POLICY_USER,
      .account = L("111111111111"),
      .canonical_id = L(CANON1),
      .arn = L("arn:aws:iam::111111111111:user/division/carol"),
      .unique_id = L("AIDACAROL00000000001"),
      .user_id = L("AIDACAROL00000000001"),
      .user_name = L("carol")}},
    {"app",
     {.type = POLICY_ROLE_SESSION,
      .account = L("111111111111"),
      .canonical_id = L(CANON1),
      .arn = L("arn:aws:sts::111111111111:assumed-role/app/s1"),
      .role_arn = L("arn:aws:iam::111111111111:role/app"),
      .unique_id = L("AROAAPP0000000000001"),
      .user_id = L("AROAAPP0000000000001:s1")}},
    {"root2",
     {.type = POLICY_ROOT,
      .account = L("222222222222"),
      .canonical_id = L(CANON2),
      .arn = L("arn:aws:iam::222222222222:root"),
      .user_id = L("222222222222")}},
    {"bob",
     {.type = POLICY_USER,
      .account = L("222222222222"),
      .canonical_id = L(CANON2),
      .arn = L("arn:aws:iam::222222222222:user/bob"),
      .unique_id = L("AIDABOB0000000000001"),
      .user_id = L("AIDABOB0000000000001"),
      .user_name = L("bob")}},
    {"guest",
     {.type = POLICY_ROLE_SESSION,
      .account = L("222222222222"),
      .canonical_id = L(CANON2),
      .arn = L("arn:aws:sts::222222222222:assumed-role/guest/g1"),
      .role_arn = L("arn:aws:iam::222222222222:role/guest"),
      .unique_id = L("AROAGUEST00000000001"),
      .user_id = L("AROAGUEST00000000001:g1")}},
};
const size_t world_caller_count = ARRAY_COUNT(world_callers);

const struct policy_caller *world_caller(const char *name)
{
    for (size_t i = 0; i < world_caller_count; i++)
        if (strcmp(world_callers[i].name, name) == 0)
            return &world_callers[i].caller;
    fprintf(stderr, "there is no caller %s\n", name);
    abort();
}

bool world_principal_exists(void *arg, const struct policy_principal *p)
{
    (void)arg;
    CHECK(p->kind != POLICY_PRINCIPAL_ANY && p->kind != POLICY_PRINCIPAL_SERVICE &&
          p->kind != POLICY_PRINCIPAL_FEDERATED);
    return !slice_eq(p->value, SLICE_LIT("arn:aws:iam::111111111111:user/nobody"));
}

enum policy_error world_parse(struct arena *arena, enum policy_kind kind, struct slice document,
                              const struct policy **ret, char reason[POLICY_REASON_BYTES_MAX])
{
    const struct policy_parse_options o = {.kind = kind,
                                           .bucket = SLICE_LIT(WORLD_BUCKET),
                                           .principal_exists = world_principal_exists};
    return policy_parse(arena, &o, document, ret, reason);
}

bool world_values(void *context, struct slice key, struct policy_values *ret)
{
    const struct world_context *c = context;
    for (size_t i = 0; i < c->count; i++)
        if (policy_eq_ignore_case(c->keys[i].key, key)) {
            *ret =
                (struct policy_values){.items = c->keys[i].values, .count = c->keys[i].value_count};
            return true;
        }
    return false;
}

char *world_read(const char *name)
{
    char path[256];
    snprintf(path, sizeof(path), "tests/unit/gateway/policy/%s", name);
    FILE *f = fopen(path, "rb");
    if (!f) {
        fprintf(stderr, "cannot read %s\n", path);
        abort();
    }
    enum { BYTES_MAX = 1 << 20 };
    char *text = malloc(BYTES_MAX);
    CHECK(text);
    size_t n = fread(text, 1, BYTES_MAX - 1, f);
    CHECK(n > 0 && n < BYTES_MAX - 1);
    text[n] = '\0';
    fclose(f);
    return text;
}
