#pragma once
/* The callers of the tests, and their policies. */
#include "common/base/check.h"
#include "common/base/err.h"
#include "gateway/policy/decide.h"

#define WORLD_BUCKET "photos"
#define WORLD_ACCOUNT "111111111111"

struct world_caller {
    const char *name;
    struct policy_caller caller;
};
extern const struct world_caller world_callers[];
extern const size_t world_caller_count;
const struct policy_caller *world_caller(const char *name); /* fails the test when there is none */

/* All but users that are named nobody. */
bool world_principal_exists(void *arg, const struct policy_principal *p);

/* Parses as the kind says; the policy lies in the arena. */
enum policy_error world_parse(struct arena *arena, enum policy_kind kind, struct slice document,
                              const struct policy **ret, char reason[POLICY_REASON_BYTES_MAX]);

/* A request's context: keys and values. */
#define WORLD_KEYS_MAX 16
#define WORLD_VALUES_MAX 8
struct world_context {
    size_t count;
    struct {
        struct slice key, values[WORLD_VALUES_MAX];
        size_t value_count;
    } keys[WORLD_KEYS_MAX];
};
bool world_values(void *context, struct slice key, struct policy_values *ret);

/* The whole of a file below tests/unit/gateway/policy, NUL-terminated; free() it. */
char *world_read(const char *name);
