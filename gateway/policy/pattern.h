#pragma once
/* Text of policies against text of requests: wildcards, policy variables, ARNs.  Pure, allocates
 * nothing.
 *
 * A variable's value stands for itself: a '*' in it is no wildcard.  A variable without a value
 * (not in the request, or more than one there) and without a default matches nothing. */
#include "gateway/policy/policy.h"

/* Values of a key of the request's context.  items NULL and count 1: `one`. */
struct policy_values {
    const struct slice *items;
    size_t count;
    struct slice one;
};
static inline struct slice policy_values_at(const struct policy_values *v, size_t i)
{
    return v->items ? v->items[i] : v->one;
}

/* Where variables get their values. */
struct policy_scope {
    bool (*values)(void *arg, struct slice key, struct policy_values *ret);
    void *arg;
    uint64_t *steps_left; /* of all that is asked in this scope; NULL: there is no bound */
};

/* Steps: bytes looked at, more or less; what a value of the context is looked up for. */
#define POLICY_LOOKUP_STEPS 64
/* Takes them off.  false: there are not so many left, and from now on none. */
static inline bool policy_spend(uint64_t *left, uint64_t steps)
{
    if (!left)
        return true;
    *left = *left > steps ? *left - steps : 0;
    return *left > 0;
}

struct policy_match_options {
    bool wildcards;                   /* '*' and '?' of the pattern are such */
    bool ignore_case;                 /* of ASCII letters */
    const struct policy_scope *scope; /* NULL: "${" is text */
    uint64_t *steps_left;             /* NULL: there is no bound */
};

enum policy_match {
    POLICY_DIFFERS,
    POLICY_MATCHES,
    /* It has a variable without a value, or too few steps were left: it matches nothing. */
    POLICY_UNRESOLVED,
};

/* '?' is one character (of UTF-8), '*' any number of bytes.
 * At most len(pattern) * len(text) steps; linear for texts of up to 1,536 bytes and patterns
 * without '?' that mind the case.  Takes some 10 KiB of stack. */
enum policy_match policy_match(struct slice pattern, struct slice text,
                               const struct policy_match_options *o);

/* "*", or the six parts of an ARN each on its own (the last one is all that is left): a wildcard
 * does not reach over a colon of the first five.  Text that is no ARN differs. */
enum policy_match policy_match_arn(struct slice pattern, struct slice text,
                                   const struct policy_match_options *o);

#define POLICY_ARN_PARTS 6
/* Split at the first five colons that are not in "${...}".  false: fewer parts. */
bool policy_arn_split(struct slice arn, struct slice ret[POLICY_ARN_PARTS]);

/* Could a pattern match a text that begins with this prefix?  Variables may become anything. */
bool policy_may_begin(struct slice pattern, struct slice prefix, bool variables);

/* Are all "${" of it variables: "${key}", "${key, 'default'}", "${*}", "${?}", "${$}"? */
bool policy_variables_valid(struct slice text);
bool policy_has_variable(struct slice text); /* one with a key */

static inline uint8_t policy_lower(uint8_t c)
{
    return c >= 'A' && c <= 'Z' ? (uint8_t)(c + 32) : c;
}
bool policy_eq_ignore_case(struct slice a, struct slice b);
