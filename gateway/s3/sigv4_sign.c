/* Canonical request, string to sign, signing keys, and the comparison. */
#include "gateway/s3/sigv4.h"

#include "common/base/check.h"
#include "common/crypto/codec.h"

#include <stdlib.h>

/* What these texts take of most requests: taken at once, not piece by piece. */
#define CANONICAL_BYTES 1024
#define TO_SIGN_BYTES 256

/* ---- canonical query ---- */

struct pair {
    struct slice name, value; /* encoded again, in one buffer */
};

static int pair_cmp(const void *a, const void *b)
{
    const struct pair *x = a, *y = b;
    int c = slice_cmp(x->name, y->name);
    return c ? c : slice_cmp(x->value, y->value);
}

/* Names and values are decoded and encoded again, so that every way to write the same request has
 * one canonical form; sorting is by what was encoded. */
static void canonical_query(struct buf *b, const struct s3_request *r, bool presigned)
{
    struct pair pairs[S3_PARAMS_MAX];
    size_t offset[S3_PARAMS_MAX][2], count = 0;
    struct buf text = {0};
    for (size_t i = 0; i < r->param_count && count < S3_PARAMS_MAX; i++) {
        const struct s3_param *p = &r->params[i];
        if (presigned && slice_eq(p->name, SLICE_LIT("X-Amz-Signature")))
            continue;
        offset[count][0] = text.len;
        s3_percent_encode(&text, p->name, false);
        offset[count][1] = text.len;
        s3_percent_encode(&text, p->value, false);
        count++;
    }
    if (text.failed)
        b->failed = true;
    for (size_t i = 0; i < count && !text.failed; i++) {
        size_t end = i + 1 < count ? offset[i + 1][0] : text.len;
        pairs[i].name = SLICE(text.ptr + offset[i][0], offset[i][1] - offset[i][0]);
        pairs[i].value = SLICE(text.ptr + offset[i][1], end - offset[i][1]);
    }
    if (!text.failed && count) {
        qsort(pairs, count, sizeof(pairs[0]), pair_cmp);
        for (size_t i = 0; i < count; i++) {
            if (i)
                buf_u8(b, '&');
            buf_slice(b, pairs[i].name);
            buf_u8(b, '=');
            buf_slice(b, pairs[i].value);
        }
    }
    buf_fini(&text);
}

/* ---- canonical headers ---- */

static bool is_blank(uint8_t c)
{
    return c == ' ' || c == '\t';
}

/* Runs of white space become one space, word by word. */
static void append_collapsed(struct buf *b, struct slice value)
{
    bool any = false;
    for (size_t i = 0; i < value.len;) {
        size_t from = i;
        while (i < value.len && !is_blank(value.ptr[i]))
            i++;
        if (i > from) {
            if (any)
                buf_u8(b, ' ');
            buf_append(b, value.ptr + from, i - from);
            any = true;
        }
        while (i < value.len && is_blank(value.ptr[i]))
            i++;
    }
}

/* Every field of this name that was sent, joined with commas in the order they came. */
static void append_header(struct buf *b, const struct s3_request *r, struct slice name)
{
    bool first = true;
    buf_slice(b, name);
    buf_u8(b, ':');
    for (size_t i = 0; i < r->fields.count - r->hoisted; i++) {
        if (!slice_eq_nocase(r->fields.ptr[i].name, name))
            continue;
        if (!first)
            buf_u8(b, ',');
        append_collapsed(b, r->fields.ptr[i].value);
        first = false;
    }
    buf_u8(b, '\n');
}

void sigv4_canonical_request(struct buf *b, const struct s3_request *r, const struct sigv4_auth *a)
{
    buf_slice(b, r->method);
    buf_u8(b, '\n');
    s3_percent_encode(b, r->path, true);
    buf_u8(b, '\n');
    canonical_query(b, r, a->presigned);
    buf_u8(b, '\n');
    struct slice list = a->signed_headers;
    for (size_t at = 0; at < list.len;) {
        const uint8_t *end = memchr(list.ptr + at, ';', list.len - at);
        size_t len = end ? (size_t)(end - (list.ptr + at)) : list.len - at;
        append_header(b, r, SLICE(list.ptr + at, len));
        at += len + 1;
    }
    buf_u8(b, '\n');
    buf_slice(b, list);
    buf_u8(b, '\n');
    buf_slice(b, a->payload_text);
}

void sigv4_string_to_sign(struct buf *b, const struct sigv4_auth *a, struct slice canonical)
{
    uint8_t hash[SHA256_BYTES];
    char hex[HEX_CHARS(SHA256_BYTES)];
    sha256(canonical, hash);
    hex_encode(SLICE(hash, sizeof(hash)), hex);
    buf_cstr(b, "AWS4-HMAC-SHA256\n");
    buf_slice(b, a->timestamp);
    buf_u8(b, '\n');
    buf_slice(b, a->scope);
    buf_u8(b, '\n');
    buf_append(b, hex, sizeof(hex));
}

/* "41 57 53 34": so that an invisible difference can be seen. */
static struct slice spelled_bytes(struct arena *arena, struct slice s)
{
    char *text = s.len ? arena_alloc(arena, s.len * 3) : NULL;
    if (!text)
        return SLICE_EMPTY;
    for (size_t i = 0; i < s.len; i++) {
        hex_encode(SLICE(s.ptr + i, 1), text + 3 * i);
        text[3 * i + 2] = ' ';
    }
    return SLICE(text, s.len * 3 - 1);
}

enum s3_code sigv4_mismatch(const struct s3_request *r, const struct sigv4_auth *a,
                            struct slice canonical, struct slice to_sign, struct s3_fault *fault)
{
    struct slice text = arena_copy(r->arena, to_sign);
    struct slice request = arena_copy(r->arena, canonical);
    s3_fault_set(fault, S3_SIGNATURE_DOES_NOT_MATCH, NULL);
    s3_fault_extra(fault, "AWSAccessKeyId", a->access_key);
    s3_fault_extra(fault, "StringToSign", text);
    s3_fault_extra(fault, "SignatureProvided", a->signature_text);
    s3_fault_extra(fault, "StringToSignBytes", spelled_bytes(r->arena, text));
    if (a->version_2)
        return S3_SIGNATURE_DOES_NOT_MATCH;
    s3_fault_extra(fault, "CanonicalRequest", request);
    s3_fault_extra(fault, "CanonicalRequestBytes", spelled_bytes(r->arena, request));
    return S3_SIGNATURE_DOES_NOT_MATCH;
}

enum s3_code sigv4_verify(const struct s3_request *r, const struct sigv4_auth *a,
                          const uint8_t signing_key[SHA256_BYTES], struct s3_fault *fault)
{
    struct buf canonical = {0}, to_sign = {0};
    buf_reserve(&to_sign, TO_SIGN_BYTES);
    if (!a->policy.ptr)
        buf_reserve(&canonical, CANONICAL_BYTES);
    uint8_t mac[SHA256_BYTES];
    enum s3_code code = S3_OK;
    CHECK(!a->anonymous && !a->version_2);
    if (a->policy.ptr) {
        buf_slice(&to_sign, a->policy);
    } else {
        sigv4_canonical_request(&canonical, r, a);
        sigv4_string_to_sign(&to_sign, a, buf_view(&canonical));
    }
    if (canonical.failed || to_sign.failed) {
        code = s3_fault_set(fault, S3_INTERNAL_ERROR, NULL);
    } else {
        hmac_sha256(SLICE(signing_key, SHA256_BYTES), buf_view(&to_sign), mac);
        if (!crypto_equal(mac, a->signature, SHA256_BYTES))
            code = sigv4_mismatch(r, a, buf_view(&canonical), buf_view(&to_sign), fault);
    }
    buf_fini(&canonical);
    buf_fini(&to_sign);
    return code;
}

/* ---- signing keys ---- */

#define SECRET_BYTES_MAX 256

void sigv4_signing_key(struct slice secret, struct slice date, struct slice region,
                       struct slice service, uint8_t ret[SHA256_BYTES])
{
    uint8_t first[4 + SECRET_BYTES_MAX] = "AWS4", key[SHA256_BYTES];
    size_t len = MIN(secret.len, (size_t)SECRET_BYTES_MAX);
    if (len)
        memcpy(first + 4, secret.ptr, len);
    hmac_sha256(SLICE(first, 4 + len), date, key);
    hmac_sha256(SLICE(key, sizeof(key)), region, key);
    hmac_sha256(SLICE(key, sizeof(key)), service, key);
    hmac_sha256(SLICE(key, sizeof(key)), SLICE_LIT("aws4_request"), ret);
    crypto_wipe(first, sizeof(first));
    crypto_wipe(key, sizeof(key));
}

/* The tag is a keyed hash of everything that the signing key is made of, so that a hit needs no
 * comparison of secrets and the cache keeps none. */
void sigv4_cached_key(struct sigv4_cache *c, struct slice secret, const struct sigv4_auth *a,
                      uint8_t ret[SHA256_BYTES])
{
    uint8_t text[2 + SECRET_BYTES_MAX + 128], tag[SHA256_BYTES];
    size_t len = MIN(secret.len, (size_t)SECRET_BYTES_MAX);
    if (a->scope.len > 128) {
        sigv4_signing_key(secret, a->scope_date, a->region, a->service, ret);
        return;
    }
    text[0] = (uint8_t)(len >> 8);
    text[1] = (uint8_t)len;
    if (len)
        memcpy(text + 2, secret.ptr, len);
    memcpy(text + 2 + len, a->scope.ptr, a->scope.len);
    hmac_sha256(SLICE(c->salt, sizeof(c->salt)), SLICE(text, 2 + len + a->scope.len), tag);
    crypto_wipe(text, sizeof(text));
    struct sigv4_cache_slot *slot = &c->slot[tag[0] % SIGV4_CACHE_SLOTS];
    if (!slot->used || !crypto_equal(slot->tag, tag, sizeof(tag))) {
        sigv4_signing_key(secret, a->scope_date, a->region, a->service, slot->key);
        memcpy(slot->tag, tag, sizeof(tag));
        slot->used = true;
    }
    memcpy(ret, slot->key, SHA256_BYTES);
}

void sigv4_cache_fini(struct sigv4_cache *c)
{
    crypto_wipe(c, sizeof(*c));
}
