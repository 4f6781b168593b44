/* A pattern is read through a cursor that yields one token after the other, variables replaced as
 * they come.  So what it takes does not grow with the variables and their values: no pattern with
 * more characters than the text has bytes is read to its end. */
#include "gateway/policy/pattern.h"

#include "common/base/check.h"

enum { TOKEN_END = -1, TOKEN_ANY = -2, TOKEN_ONE = -3, TOKEN_BAD = -4 }; /* else a byte */

struct cursor {
    struct slice pattern;
    size_t at;
    struct slice value; /* of the variable that is being read */
    size_t value_at;
    const struct policy_match_options *options;
};

struct variable {
    struct slice key; /* "*", "?" and "$" are escapes */
    struct slice missing;
    bool has_missing;
    size_t len; /* with its brackets */
};

static bool key_byte(uint8_t c)
{
    return (c >= '0' && c <= '9') || ((c | 32) >= 'a' && (c | 32) <= 'z') ||
           (c && strchr(":/-_.+=@", c));
}

/* The variable that begins at the "${" at `at`.  false: none. */
static bool read_variable(struct slice text, size_t at, struct variable *ret)
{
    struct variable v = {0};
    const uint8_t *p = text.ptr;
    size_t i = at + 2, start = i;
    if (text.len - at < 4)
        return false;
    if (strchr("*?$", p[i]) && p[i] && p[i + 1] == '}') {
        *ret = (struct variable){.key = SLICE(p + i, 1), .len = 4};
        return true;
    }
    while (i < text.len && key_byte(p[i]))
        i++;
    v.key = SLICE(p + start, i - start);
    if (v.key.len == 0)
        return false;
    while (i < text.len && p[i] == ' ')
        i++;
    if (i < text.len && p[i] == ',') {
        i++;
        while (i < text.len && p[i] == ' ')
            i++;
        const uint8_t *open = i < text.len && p[i] == '\'' ? p + i + 1 : NULL;
        const uint8_t *close = open ? memchr(open, '\'', text.len - i - 1) : NULL;
        if (!close)
            return false;
        v.missing = SLICE(open, (size_t)(close - open));
        v.has_missing = true;
        i = (size_t)(close - p) + 1;
        while (i < text.len && p[i] == ' ')
            i++;
    }
    if (i >= text.len || p[i] != '}')
        return false;
    v.len = i + 1 - at;
    *ret = v;
    return true;
}

static bool variable_starts(struct slice text, size_t at)
{
    return text.ptr[at] == '$' && at + 1 < text.len && text.ptr[at + 1] == '{';
}

static bool spend(const struct policy_match_options *o, size_t steps)
{
    return policy_spend(o->steps_left, steps);
}

/* Enter the variable at the cursor.  false: it has no value. */
static bool enter_variable(struct cursor *c)
{
    struct variable v;
    struct policy_values values = {0};
    (void)spend(c->options, POLICY_LOOKUP_STEPS);
    if (!read_variable(c->pattern, c->at, &v))
        return false;
    c->at += v.len;
    if (v.key.len == 1 && v.len == 4 && strchr("*?$", v.key.ptr[0]))
        c->value = v.key;
    else if (c->options->scope->values(c->options->scope->arg, v.key, &values) && values.count == 1)
        c->value = policy_values_at(&values, 0);
    else if (v.has_missing)
        c->value = v.missing;
    else
        return false;
    c->value_at = 0;
    return true;
}

static int next(struct cursor *c)
{
    for (;;) {
        if (c->value_at < c->value.len)
            return c->value.ptr[c->value_at++];
        if (c->at >= c->pattern.len)
            return TOKEN_END;
        if (!c->options->scope || !variable_starts(c->pattern, c->at))
            break;
        if (!enter_variable(c))
            return TOKEN_BAD;
    }
    uint8_t b = c->pattern.ptr[c->at++];
    if (c->options->wildcards && (b == '*' || b == '?'))
        return b == '*' ? TOKEN_ANY : TOKEN_ONE;
    return b;
}

static size_t character_length(struct slice text, size_t at)
{
    size_t n = 1;
    if (text.ptr[at] >= 0xc0)
        while (n < 4 && at + n < text.len && (text.ptr[at + n] & 0xc0) == 0x80)
            n++;
    return n;
}

/* The pattern is read to its end only when it matches: what lies behind may be unresolved. */
static bool has_unresolved(struct cursor c)
{
    for (;;) {
        int t = next(&c);
        if (t == TOKEN_BAD || !spend(c.options, 1))
            return true;
        if (t == TOKEN_END)
            return false;
        c.value_at = c.value.len; /* the rest of a value needs no reading */
    }
}

/* ---- short texts: resources, and most values ----
 *
 * Their patterns are written out, variables replaced, and taken apart at the '*': each piece is
 * looked for at the leftmost place behind the one before, a piece without '?' by memmem(), which is
 * linear. What a tenant writes into a policy, others wait for: read token by token, 20 KiB of
 * "*aaaab" against a long key of nothing but 'a' would take a tenth of a second, for each request.
 */

#define SHORT_TEXT_MAX 1536
#define TOKENS_MAX (2 * SHORT_TEXT_MAX + 2)

struct tokens {
    int16_t kind[TOKENS_MAX]; /* as of next() */
    uint8_t byte[TOKENS_MAX];
    size_t count;
};

/* false: the pattern wants more characters than the text has bytes. */
static bool write_out(struct cursor c, size_t text_len, struct tokens *t)
{
    size_t wanted = 0;
    t->count = 0;
    for (int k; (k = next(&c)) != TOKEN_END;) {
        CHECK(k != TOKEN_BAD);
        if (k == TOKEN_ANY && t->count && t->kind[t->count - 1] == TOKEN_ANY)
            continue;
        if (k != TOKEN_ANY && ++wanted > text_len)
            return false;
        CHECK(t->count < TOKENS_MAX);
        t->kind[t->count] = (int16_t)k;
        t->byte[t->count++] = k >= 0 ? (uint8_t)k : 0;
    }
    return true;
}

/* Where a match of tokens from..to that begins at `at` ends; SIZE_MAX: none does, or there are no
 * steps left to see. */
static size_t match_piece(const struct tokens *t, size_t from, size_t to, struct slice text,
                          size_t at, const struct policy_match_options *o)
{
    size_t i = from;
    for (; i < to && at < text.len; i++) {
        uint8_t b = text.ptr[at];
        if (t->kind[i] == TOKEN_ONE) {
            at += character_length(text, at);
            continue;
        }
        if (o->ignore_case ? policy_lower(t->byte[i]) != policy_lower(b) : t->byte[i] != b)
            break;
        at++;
    }
    return spend(o, i - from + 1) && i == to ? at : SIZE_MAX;
}

/* The end of the leftmost match at or behind `at`; SIZE_MAX: none. */
static size_t find_piece(const struct tokens *t, size_t from, size_t to, struct slice text,
                         size_t at, const struct policy_match_options *o)
{
    bool literal = !o->ignore_case;
    for (size_t i = from; i < to && literal; i++)
        literal = t->kind[i] >= 0;
    if (literal) {
        const uint8_t *found =
            text.len > at ? memmem(text.ptr + at, text.len - at, t->byte + from, to - from) : NULL;
        return found ? (size_t)(found - text.ptr) + (to - from) : SIZE_MAX;
    }
    for (; at + (to - from) <= text.len && spend(o, 1); at++) {
        size_t end = match_piece(t, from, to, text, at, o);
        if (end != SIZE_MAX)
            return end;
    }
    return SIZE_MAX;
}

/* Does the last piece, behind a '*', match the text's end? */
static bool ends_with(const struct tokens *t, size_t from, struct slice text, size_t at,
                      const struct policy_match_options *o)
{
    size_t n = t->count - from, most = 4 * n; /* bytes of n characters */
    if (text.len - at > most)
        at = text.len - most;
    for (; at + n <= text.len && spend(o, 1); at++)
        if (match_piece(t, from, t->count, text, at, o) == text.len)
            return true;
    return false;
}

static bool match_short(const struct tokens *t, struct slice text,
                        const struct policy_match_options *o)
{
    size_t from = 0, at = 0;
    for (size_t i = 0; i < t->count; i++) {
        if (t->kind[i] != TOKEN_ANY)
            continue;
        if (i > from || from == 0)
            at = from == 0 ? match_piece(t, 0, i, text, 0, o) : find_piece(t, from, i, text, at, o);
        if (at == SIZE_MAX)
            return false;
        from = i + 1;
    }
    if (from == 0)
        return match_piece(t, 0, t->count, text, 0, o) == text.len;
    return ends_with(t, from, text, at, o);
}

/* ---- long ones, without memory ---- */

static bool match_long(struct cursor c, struct slice text)
{
    const struct policy_match_options *o = c.options;
    struct cursor star = {0};
    bool starred = false;
    size_t at = 0, star_at = 0;
    while (spend(o, 2)) { /* slower ones */
        int t = next(&c);
        CHECK(t != TOKEN_BAD);
        if (t == TOKEN_ANY) {
            starred = true;
            star = c;
            star_at = at;
            continue;
        }
        if (t == TOKEN_END && at == text.len)
            return true;
        if (t == TOKEN_ONE && at < text.len) {
            at += character_length(text, at);
            continue;
        }
        if (t >= 0 && at < text.len &&
            (o->ignore_case ? policy_lower((uint8_t)t) == policy_lower(text.ptr[at])
                            : t == text.ptr[at])) {
            at++;
            continue;
        }
        if (!starred || star_at >= text.len)
            return false;
        at = ++star_at;
        c = star;
    }
    return false;
}

enum policy_match policy_match(struct slice pattern, struct slice text,
                               const struct policy_match_options *o)
{
    struct cursor c = {.pattern = pattern, .options = o};
    struct tokens t;
    /* What is linear: writing it out, and looking for its pieces. */
    if (!spend(o, 1 + pattern.len + text.len / 16) || (o->scope && has_unresolved(c)))
        return POLICY_UNRESOLVED;
    bool same = text.len > SHORT_TEXT_MAX ? match_long(c, text)
                                          : write_out(c, text.len, &t) && match_short(&t, text, o);
    if (!same && !spend(o, 0))
        return POLICY_UNRESOLVED;
    return same ? POLICY_MATCHES : POLICY_DIFFERS;
}

bool policy_arn_split(struct slice arn, struct slice ret[POLICY_ARN_PARTS])
{
    size_t part = 0, start = 0;
    unsigned in_variable = 0;
    for (size_t i = 0; i < arn.len && part < POLICY_ARN_PARTS - 1; i++) {
        if (variable_starts(arn, i))
            in_variable = 1;
        else if (arn.ptr[i] == '}')
            in_variable = 0;
        if (arn.ptr[i] != ':' || in_variable)
            continue;
        ret[part++] = SLICE(arn.ptr + start, i - start);
        start = i + 1;
    }
    if (part < POLICY_ARN_PARTS - 1)
        return false;
    ret[part] = SLICE(arn.ptr + start, arn.len - start);
    return true;
}

enum policy_match policy_match_arn(struct slice pattern, struct slice text,
                                   const struct policy_match_options *o)
{
    struct slice want[POLICY_ARN_PARTS], have[POLICY_ARN_PARTS];
    enum policy_match all = POLICY_MATCHES;
    if (slice_eq(pattern, SLICE_LIT("*")))
        return POLICY_MATCHES;
    if (!policy_arn_split(pattern, want) || !policy_arn_split(text, have))
        return POLICY_DIFFERS;
    for (size_t i = 0; i < POLICY_ARN_PARTS; i++) {
        enum policy_match m = policy_match(want[i], have[i], o);
        if (m == POLICY_UNRESOLVED)
            return m;
        if (m == POLICY_DIFFERS)
            all = m;
    }
    return all;
}

bool policy_may_begin(struct slice pattern, struct slice prefix, bool variables)
{
    size_t at = 0;
    for (size_t i = 0; i < pattern.len && at < prefix.len; i++) {
        uint8_t b = pattern.ptr[i];
        if (b == '*' || (variables && variable_starts(pattern, i)))
            return true;
        if (b == '?')
            at += character_length(prefix, at);
        else if (b == prefix.ptr[at])
            at++;
        else
            return false;
    }
    return at >= prefix.len;
}

bool policy_variables_valid(struct slice text)
{
    struct variable v;
    for (size_t i = 0; i < text.len; i++) {
        if (!variable_starts(text, i))
            continue;
        if (!read_variable(text, i, &v))
            return false;
        i += v.len - 1;
    }
    return true;
}

bool policy_has_variable(struct slice text)
{
    struct variable v;
    for (size_t i = 0; i < text.len; i++)
        if (variable_starts(text, i)) {
            if (!read_variable(text, i, &v) || v.len != 4 || !strchr("*?$", v.key.ptr[0]))
                return true;
            i += v.len - 1;
        }
    return false;
}

bool policy_eq_ignore_case(struct slice a, struct slice b)
{
    if (a.len != b.len)
        return false;
    for (size_t i = 0; i < a.len; i++)
        if (policy_lower(a.ptr[i]) != policy_lower(b.ptr[i]))
            return false;
    return true;
}
