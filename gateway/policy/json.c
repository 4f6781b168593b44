/* A recursive descent whose depth is bounded by the caller; one function a kind of value. */
#include "gateway/policy/json.h"

#include "common/base/check.h"
#include "common/base/err.h"

struct reader {
    struct arena *arena;
    struct slice text;
    size_t at;
    unsigned depth_left;
};

static int read_value(struct reader *r, struct policy_json *v);

/* The next byte, or -1. */
static int peek(const struct reader *r)
{
    return r->at < r->text.len ? r->text.ptr[r->at] : -1;
}

static void skip_space(struct reader *r)
{
    while (peek(r) == ' ' || peek(r) == '\t' || peek(r) == '\n' || peek(r) == '\r')
        r->at++;
}

static bool take(struct reader *r, const char *word)
{
    struct slice w = slice_cstr(word);
    if (!slice_has_prefix(SLICE(r->text.ptr + r->at, r->text.len - r->at), w))
        return false;
    r->at += w.len;
    return true;
}

/* Length of the UTF-8 sequence at p; 0: none (overlong, a surrogate, cut off). */
static size_t utf8_length(const uint8_t *p, size_t left)
{
    if (p[0] < 0x80)
        return 1;
    size_t n = p[0] >= 0xf0 ? 4 : p[0] >= 0xe0 ? 3 : 2;
    if (p[0] < 0xc2 || p[0] > 0xf4 || left < n)
        return 0;
    for (size_t i = 1; i < n; i++)
        if ((p[i] & 0xc0) != 0x80)
            return 0;
    if ((p[0] == 0xe0 && p[1] < 0xa0) || (p[0] == 0xed && p[1] > 0x9f) ||
        (p[0] == 0xf0 && p[1] < 0x90) || (p[0] == 0xf4 && p[1] > 0x8f))
        return 0;
    return n;
}

static bool read_hex4(struct reader *r, uint32_t *ret)
{
    uint32_t v = 0;
    if (r->text.len - r->at < 4)
        return false;
    for (size_t i = 0; i < 4; i++) {
        uint8_t c = r->text.ptr[r->at++];
        if (c >= '0' && c <= '9')
            v = v << 4 | (uint32_t)(c - '0');
        else if ((c | 32) >= 'a' && (c | 32) <= 'f')
            v = v << 4 | (uint32_t)((c | 32) - 'a' + 10);
        else
            return false;
    }
    *ret = v;
    return true;
}

/* What follows "\u", as UTF-8.  Returns its length; 0: not a character (or NUL). */
static size_t read_escaped_point(struct reader *r, uint8_t *to)
{
    uint32_t c, low;
    if (!read_hex4(r, &c) || c == 0 || (c >= 0xdc00 && c <= 0xdfff))
        return 0;
    if (c >= 0xd800 && c <= 0xdbff) {
        if (!take(r, "\\u") || !read_hex4(r, &low) || low < 0xdc00 || low > 0xdfff)
            return 0;
        c = 0x10000 + ((c - 0xd800) << 10) + (low - 0xdc00);
    }
    if (c < 0x80) {
        to[0] = (uint8_t)c;
        return 1;
    }
    size_t n = c < 0x800 ? 2 : c < 0x10000 ? 3 : 4;
    for (size_t i = n - 1; i > 0; i--, c >>= 6)
        to[i] = (uint8_t)(0x80 | (c & 0x3f));
    to[0] = (uint8_t)((n == 2 ? 0xc0u : n == 3 ? 0xe0u : 0xf0u) | c);
    return n;
}

/* Behind a backslash.  Returns the number of bytes written; 0: no such escape. */
static size_t read_escape(struct reader *r, uint8_t *to)
{
    static const char from[] = "\"\\/bfnrt", into[] = "\"\\/\b\f\n\r\t";
    int c = peek(r);
    r->at++;
    if (c == 'u')
        return read_escaped_point(r, to);
    const char *found = c > 0 ? strchr(from, c) : NULL;
    if (!found)
        return 0;
    to[0] = (uint8_t)into[found - from];
    return 1;
}

/* How long the string at r->at (behind its quote) is as written, and has it escapes? */
static int string_extent(const struct reader *r, size_t *ret_len, bool *ret_escapes)
{
    *ret_escapes = false;
    for (size_t at = r->at; at < r->text.len;) {
        const uint8_t *p = r->text.ptr + at;
        if (*p == '"') {
            *ret_len = at - r->at;
            return OK;
        }
        size_t n = *p == '\\' ? 2 : utf8_length(p, r->text.len - at);
        if (*p < 0x20 || n == 0)
            return ERR_INVAL;
        *ret_escapes |= *p == '\\';
        at += n;
    }
    return ERR_INVAL;
}

static int read_string(struct reader *r, struct slice *ret)
{
    size_t raw, n = 0;
    bool escapes;
    if (!take(r, "\""))
        return ERR_INVAL;
    int err = string_extent(r, &raw, &escapes);
    if (err != OK)
        return err;
    size_t end = r->at + raw;
    if (!escapes) {
        *ret = SLICE(r->text.ptr + r->at, raw);
        r->at = end + 1;
        return OK;
    }
    /* An escape is never shorter than what it stands for. */
    uint8_t *to = arena_alloc(r->arena, raw);
    if (!to)
        return ERR_NOMEM;
    while (r->at < end) {
        uint8_t c = r->text.ptr[r->at++];
        if (c != '\\') {
            to[n++] = c;
            continue;
        }
        size_t wrote = read_escape(r, to + n);
        if (wrote == 0 || r->at > end)
            return ERR_INVAL;
        n += wrote;
    }
    CHECK(n <= raw);
    *ret = SLICE(to, n);
    r->at = end + 1;
    return OK;
}

static bool read_digits(struct reader *r)
{
    size_t start = r->at;
    while (peek(r) >= '0' && peek(r) <= '9')
        r->at++;
    return r->at > start;
}

static int read_number(struct reader *r, struct slice *ret)
{
    size_t start = r->at;
    (void)take(r, "-");
    bool zero = peek(r) == '0';
    size_t digits = r->at;
    if (!read_digits(r) || (zero && r->at - digits > 1))
        return ERR_INVAL;
    if (take(r, ".") && !read_digits(r))
        return ERR_INVAL;
    if (take(r, "e") || take(r, "E")) {
        if (!take(r, "+"))
            (void)take(r, "-");
        if (!read_digits(r))
            return ERR_INVAL;
    }
    *ret = SLICE(r->text.ptr + start, r->at - start);
    return OK;
}

static bool has_member(const struct policy_json *object, struct slice name)
{
    for (const struct policy_json *m = object->first; m; m = m->next)
        if (slice_eq(m->name, name))
            return true;
    return false;
}

/* One member's name and its colon. */
static int read_name(struct reader *r, const struct policy_json *object, struct slice *ret)
{
    int err = read_string(r, ret);
    if (err != OK)
        return err;
    if (has_member(object, *ret))
        return ERR_INVAL;
    skip_space(r);
    return take(r, ":") ? OK : ERR_INVAL;
}

/* Items or members up to the closing bracket; the opening one has been taken. */
static int read_items(struct reader *r, struct policy_json *v)
{
    const char *close = v->type == POLICY_JSON_OBJECT ? "}" : "]";
    struct policy_json **end = &v->first;
    skip_space(r);
    if (take(r, close))
        return OK;
    for (;;) {
        struct slice name = SLICE_EMPTY;
        skip_space(r);
        int err = v->type == POLICY_JSON_OBJECT ? read_name(r, v, &name) : OK;
        if (err != OK)
            return err;
        struct policy_json *item = arena_zalloc(r->arena, sizeof(*item));
        if (!item)
            return ERR_NOMEM;
        item->name = name;
        err = read_value(r, item);
        if (err != OK)
            return err;
        *end = item;
        end = &item->next;
        v->count++;
        skip_space(r);
        if (take(r, close))
            return OK;
        if (!take(r, ","))
            return ERR_INVAL;
    }
}

static int read_value(struct reader *r, struct policy_json *v)
{
    skip_space(r);
    size_t start = r->at;
    if (peek(r) == '"') {
        v->type = POLICY_JSON_STRING;
        return read_string(r, &v->text);
    }
    if (peek(r) == '{' || peek(r) == '[') {
        v->type = peek(r) == '{' ? POLICY_JSON_OBJECT : POLICY_JSON_ARRAY;
        if (r->depth_left == 0)
            return ERR_INVAL;
        r->at++;
        r->depth_left--;
        int err = read_items(r, v);
        r->depth_left++;
        return err;
    }
    if (take(r, "true") || take(r, "false") || take(r, "null")) {
        v->type = r->text.ptr[start] == 'n' ? POLICY_JSON_NULL : POLICY_JSON_BOOL;
        v->text = SLICE(r->text.ptr + start, r->at - start);
        return OK;
    }
    v->type = POLICY_JSON_NUMBER;
    return read_number(r, &v->text);
}

int policy_json_parse(struct arena *arena, struct slice text, unsigned depth_max,
                      const struct policy_json **ret)
{
    struct reader r = {.arena = arena, .text = text, .depth_left = depth_max};
    struct policy_json *v = arena_zalloc(arena, sizeof(*v));
    if (!v)
        return ERR_NOMEM;
    int err = read_value(&r, v);
    if (err != OK)
        return err;
    CHECK(r.depth_left == depth_max);
    skip_space(&r);
    if (r.at != text.len)
        return ERR_INVAL;
    *ret = v;
    return OK;
}
