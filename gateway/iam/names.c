/* Names, ids, ARNs. */
#include "gateway/iam/names.h"

#include "common/base/check.h"
#include "common/crypto/codec.h"
#include "gateway/s3/request.h"

static bool is_digit(uint8_t c)
{
    return c >= '0' && c <= '9';
}

static bool is_word(uint8_t c)
{
    return is_digit(c) || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_';
}

static bool is_name(uint8_t c)
{
    return is_word(c) || c == '+' || c == '=' || c == ',' || c == '.' || c == '@' || c == '-';
}

bool iam_account_id_valid(struct slice s)
{
    for (size_t i = 0; i < s.len; i++)
        if (!is_digit(s.ptr[i]))
            return false;
    return s.len == IAM_ACCOUNT_DIGITS;
}

bool iam_name_valid(struct slice s, size_t max)
{
    for (size_t i = 0; i < s.len; i++)
        if (!is_name(s.ptr[i]))
            return false;
    return s.len >= 1 && s.len <= max;
}

bool iam_word_valid(struct slice s, size_t min, size_t max)
{
    for (size_t i = 0; i < s.len; i++)
        if (!is_word(s.ptr[i]))
            return false;
    return s.len >= min && s.len <= max;
}

static bool all_between(struct slice s, uint8_t low, uint8_t high)
{
    for (size_t i = 0; i < s.len; i++)
        if (s.ptr[i] < low || s.ptr[i] > high)
            return false;
    return true;
}

bool iam_path_valid(struct slice s)
{
    return s.len >= 1 && s.len <= 512 && s.ptr[0] == '/' && s.ptr[s.len - 1] == '/' && s.len != 2 &&
           all_between(s, 0x21, 0x7e);
}

bool iam_policy_path_valid(struct slice s)
{
    if (!iam_path_valid(s))
        return false;
    for (size_t i = 1; i < s.len; i++)
        if (s.ptr[i] == '/' ? s.ptr[i - 1] == '/' : !is_name(s.ptr[i]))
            return false;
    return true;
}

bool iam_path_prefix_valid(struct slice s)
{
    return s.len >= 1 && s.len <= 512 && s.ptr[0] == '/' && all_between(s, 0x21, 0x7f);
}

/* The model takes letters, numbers and separators of any language, and some signs of ASCII. */
static bool tag_valid(struct slice s, size_t min, size_t max)
{
    size_t chars = 0;
    if (!utf8_valid(s))
        return false;
    for (size_t i = 0; i < s.len; i++) {
        uint8_t c = s.ptr[i];
        chars += (c & 0xc0) != 0x80;
        if (c < 0x80 && !is_name(c) && c != ' ' && c != ':' && c != '/')
            return false;
        if (c == ',')
            return false;
    }
    return chars >= min && chars <= max;
}

bool iam_tag_key_valid(struct slice s)
{
    return tag_valid(s, 1, 128);
}

bool iam_tag_value_valid(struct slice s)
{
    return tag_valid(s, 0, 256);
}

bool iam_text_valid(struct slice s, size_t max)
{
    for (size_t i = 0; i < s.len; i++)
        if (s.ptr[i] < 0x20 || s.ptr[i] == 0x7f)
            return false;
    return s.len <= max && utf8_valid(s);
}

bool iam_description_valid(struct slice s)
{
    size_t chars = 0;
    for (size_t i = 0; i < s.len; i++) {
        uint8_t c = s.ptr[i];
        chars += (c & 0xc0) != 0x80;
        if ((c < 0x20 && c != '\t' && c != '\n' && c != '\r') || c == 0x7f)
            return false;
    }
    return chars <= 1000 && utf8_valid(s);
}

bool iam_secret_valid(struct slice s)
{
    return s.len >= 16 && s.len <= 128 && all_between(s, 0x21, 0x7e);
}

void iam_id_make(const char prefix[4], const uint8_t *random, size_t chars, char *ret)
{
    static const char letters[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZ234567";
    memcpy(ret, prefix, 4);
    for (size_t i = 4; i < chars; i++)
        ret[i] = letters[random[i - 4] & 31];
    ret[chars] = 0;
}

void iam_secret_make(const uint8_t random[30], char ret[IAM_SECRET_CHARS])
{
    base64_encode(SLICE(random, 30), ret);
}

static const char *const types[] = {
    [IAM_ARN_USER] = "user/",
    [IAM_ARN_GROUP] = "group/",
    [IAM_ARN_ROLE] = "role/",
    [IAM_ARN_POLICY] = "policy/",
    [IAM_ARN_ASSUMED_ROLE] = "assumed-role/",
};

/* "/path/name" of what follows the type. */
static bool split_path(struct slice rest, struct iam_arn *ret)
{
    size_t cut = rest.len;
    while (cut > 1 && rest.ptr[cut - 1] != '/')
        cut--;
    ret->path = SLICE(rest.ptr, cut);
    ret->name = SLICE(rest.ptr + cut, rest.len - cut);
    return iam_path_valid(ret->path) && iam_name_valid(ret->name, IAM_POLICY_NAME_MAX);
}

static bool split_session(struct slice rest, struct iam_arn *ret)
{
    const uint8_t *slash = memchr(rest.ptr, '/', rest.len);
    size_t front = slash ? (size_t)(slash - rest.ptr) : 0;
    ret->path = SLICE_EMPTY;
    ret->name = rest;
    return slash && iam_name_valid(SLICE(rest.ptr, front), IAM_ROLE_NAME_MAX) &&
           iam_name_valid(SLICE(slash + 1, rest.len - front - 1), 64);
}

bool iam_arn_parse(struct slice s, struct iam_arn *ret)
{
    static const struct slice head = {(const uint8_t *)"arn:aws:iam::", 13};
    static const struct slice sts = {(const uint8_t *)"arn:aws:sts::", 13};
    bool session = slice_has_prefix(s, sts);
    if (s.len > IAM_ARN_BYTES_MAX || (!session && !slice_has_prefix(s, head)))
        return false;
    struct slice rest = SLICE(s.ptr + head.len, s.len - head.len);
    const uint8_t *colon = rest.len ? memchr(rest.ptr, ':', rest.len) : NULL;
    if (!colon)
        return false;
    *ret = (struct iam_arn){.account = SLICE(rest.ptr, (size_t)(colon - rest.ptr))};
    rest = SLICE(colon + 1, rest.len - ret->account.len - 1);
    if (!iam_account_id_valid(ret->account) && !slice_eq(ret->account, SLICE_LIT("aws")))
        return false;
    if (!session && slice_eq(rest, SLICE_LIT("root"))) {
        ret->type = IAM_ARN_ROOT;
        return true;
    }
    for (size_t t = IAM_ARN_USER; t <= IAM_ARN_ASSUMED_ROLE; t++) {
        struct slice word = slice_cstr(types[t]);
        if (session != (t == IAM_ARN_ASSUMED_ROLE) || !slice_has_prefix(rest, word))
            continue;
        ret->type = (enum iam_arn_type)t;
        if (session)
            return split_session(SLICE(rest.ptr + word.len, rest.len - word.len), ret);
        /* The path begins with the slash behind the type. */
        return split_path(SLICE(rest.ptr + word.len - 1, rest.len - word.len + 1), ret);
    }
    return false;
}

char *iam_arn_make(struct arena *arena, enum iam_arn_type type, const char *account,
                   const char *path, const char *name)
{
    struct buf b = {0};
    buf_cstr(&b, type == IAM_ARN_ASSUMED_ROLE ? "arn:aws:sts::" : "arn:aws:iam::");
    buf_cstr(&b, account);
    buf_u8(&b, ':');
    if (type == IAM_ARN_ROOT) {
        buf_cstr(&b, "root");
    } else {
        buf_cstr(&b, types[type]);
        if (type != IAM_ARN_ASSUMED_ROLE && path[0] == '/')
            buf_cstr(&b, path + 1);
        buf_cstr(&b, name);
    }
    struct slice copy = b.failed ? SLICE_EMPTY : arena_copy(arena, buf_view(&b));
    buf_fini(&b);
    return copy.ptr ? (char *)(uintptr_t)copy.ptr : NULL;
}

char *iam_lower(struct arena *arena, struct slice s)
{
    char *p = arena_alloc(arena, s.len + 1);
    if (!p)
        return NULL;
    for (size_t i = 0; i < s.len; i++)
        p[i] = (char)ascii_lower(s.ptr[i]);
    p[s.len] = 0;
    return p;
}
