/* Presigned URLs and forms of Signature Version 2: parsing, the string to sign, and the comparison.
 *
 * Of a URL not all of the query is signed, and what is signed of it is decoded.  So two things are
 * looked after here that version 4 has by itself: every parameter that an operation is chosen by is
 * signed, whether or not S3's list has it; and no value may read like several parameters. */
#include "gateway/s3/sigv2.h"

#include "common/base/check.h"
#include "common/crypto/codec.h"
#include "gateway/s3/hoist.h"
#include "gateway/s3/time.h"

#include <stdlib.h>

#define ACCESS_KEY_CHARS_MAX 128
#define TO_SIGN_BYTES 512

static bool is_amz(struct slice name)
{
    return slice_has_prefix_nocase(name, SLICE_LIT("x-amz-"));
}

/* Fields that were sent, without those that the query has. */
static size_t sent_count(const struct s3_request *r)
{
    return r->fields.count - r->hoisted;
}

/* ---- which parameters are signed ---- */

/* S3's list, but for what s3_names_subresource() knows.  Nobody signs "list-type": it only chooses
 * between two ways to write the same list. */
static bool is_signed_param(struct slice name)
{
    static const char *const names[] = {
        "defaultObjectAcl",
        "id",
        "response-cache-control",
        "response-content-disposition",
        "response-content-encoding",
        "response-content-language",
        "response-content-type",
        "response-expires",
        "select-type",
        "storageClass",
        "versionId",
    };
    for (size_t i = 0; i < ARRAY_COUNT(names); i++)
        if (slice_eq(name, slice_cstr(names[i])))
            return true;
    return s3_names_subresource(name) && !slice_eq(name, SLICE_LIT("list-type"));
}

/* "x&versionId=1": without this value and with that parameter the same would be signed. */
static bool reads_as_several(struct slice value)
{
    for (size_t i = 0; i < value.len; i++) {
        if (value.ptr[i] != '&')
            continue;
        size_t end = i + 1;
        while (end < value.len && value.ptr[end] != '=' && value.ptr[end] != '&')
            end++;
        if (is_signed_param(SLICE(value.ptr + i + 1, end - i - 1)))
            return true;
    }
    return false;
}

/* ---- parsing ---- */

/* A parameter that must be there exactly once, and say something. */
static struct slice single(const struct s3_request *r, const char *name)
{
    struct slice found = SLICE_EMPTY, want = slice_cstr(name);
    unsigned count = 0;
    for (size_t i = 0; i < r->param_count; i++) {
        if (!slice_eq(r->params[i].name, want))
            continue;
        found = r->params[i].value;
        count++;
    }
    return count == 1 ? found : SLICE_EMPTY;
}

/* A field or a parameter, either of which is signed; an empty one is one. */
static enum s3_code parse_token(const struct s3_request *r, struct sigv4_auth *a,
                                struct s3_fault *fault)
{
    struct slice name = SLICE_LIT("x-amz-security-token");
    unsigned count = 0;
    for (size_t i = 0; i < sent_count(r); i++) {
        if (!slice_eq_nocase(r->fields.ptr[i].name, name))
            continue;
        a->token = r->fields.ptr[i].value;
        count++;
    }
    for (size_t i = 0; i < r->param_count; i++) {
        if (!slice_eq_nocase(r->params[i].name, name))
            continue;
        a->token = r->params[i].value;
        count++;
    }
    if (count > 1)
        return s3_fault_set(fault, S3_INVALID_TOKEN, NULL);
    if (count == 1 && !a->token.ptr)
        a->token = SLICE("", 0);
    return S3_OK;
}

static enum s3_code parse_expires(const struct s3_request *r, struct slice text,
                                  struct sigv4_auth *a, struct s3_fault *fault)
{
    struct buf b = {0};
    a->timestamp = text;
    if (parse_u64(text, &a->expires_s) && a->expires_s <= UINT64_MAX / 1000)
        return S3_OK;
    s3_fault_set(fault, S3_ACCESS_DENIED, "Invalid date (should be seconds since epoch)");
    buf_cstr(&b, "Invalid date (should be seconds since epoch): ");
    buf_slice(&b, text);
    if (!b.failed)
        fault->message = arena_copy(r->arena, buf_view(&b));
    buf_fini(&b);
    return S3_ACCESS_DENIED;
}

/* What is signed must read one way only. */
static enum s3_code check_fields(const struct s3_request *r, struct s3_fault *fault)
{
    static const char *const positional[] = {"content-md5", "content-type"};
    for (size_t i = 0; i < ARRAY_COUNT(positional); i++) {
        if (http_fields_count(r->fields, positional[i]) < 2)
            continue;
        s3_fault_set(fault, S3_INVALID_REQUEST, "A header was sent more than once.");
        s3_fault_extra(fault, "Header", slice_cstr(positional[i]));
        return S3_INVALID_REQUEST;
    }
    for (size_t i = 0; i < sent_count(r); i++) {
        enum s3_code code = is_amz(r->fields.ptr[i].name) ? sigv4_check_once(r, i, fault) : S3_OK;
        if (code != S3_OK)
            return code;
    }
    return S3_OK;
}

static enum s3_code check_params(const struct s3_request *r, struct s3_fault *fault)
{
    for (size_t i = 0; i < r->param_count; i++) {
        const struct s3_param *p = &r->params[i];
        const char *message = NULL;
        if (is_amz(p->name) && !s3_can_be_field(p->name, p->value))
            message = "The query parameter cannot be represented as a header.";
        else if (is_signed_param(p->name) && reads_as_several(p->value))
            message = "The value reads like several parameters. Please use AWS4-HMAC-SHA256.";
        if (!message)
            continue;
        s3_fault_set(fault, S3_INVALID_ARGUMENT, message);
        s3_fault_extra(fault, "ArgumentName", p->name);
        return S3_INVALID_ARGUMENT;
    }
    return S3_OK;
}

enum s3_code sigv2_parse(const struct s3_request *r, struct sigv4_auth *ret, struct s3_fault *fault)
{
    struct slice key = single(r, "AWSAccessKeyId"), expires = single(r, "Expires");
    ret->presigned = true;
    ret->version_2 = true;
    ret->service = SLICE_LIT("s3");
    ret->access_key = key;
    ret->signature_text = single(r, "Signature");
    if (r->op == S3_OP_ADMIN)
        return s3_fault_set(fault, S3_INVALID_REQUEST, SIGV4_ONLY);
    if (!key.len || !ret->signature_text.len || !expires.len)
        return s3_fault_set(fault, S3_ACCESS_DENIED,
                            "Query-string authentication requires the Signature, Expires and "
                            "AWSAccessKeyId parameters");
    if (key.len > ACCESS_KEY_CHARS_MAX)
        return sigv4_unknown_key(ret, fault);
    enum s3_code code = parse_expires(r, expires, ret, fault);
    if (code == S3_OK)
        code = parse_token(r, ret, fault);
    if (code == S3_OK)
        code = check_fields(r, fault);
    return code == S3_OK ? check_params(r, fault) : code;
}

enum s3_code sigv2_parse_form(struct http_fields form, struct sigv4_auth *ret,
                              struct s3_fault *fault)
{
    CHECK(ret->version_2 && !ret->presigned);
    ret->service = SLICE_LIT("s3");
    if (!SIGV4_FORM_FIELD(form, "policy", &ret->policy, fault) ||
        !SIGV4_FORM_FIELD(form, "AWSAccessKeyId", &ret->access_key, fault) ||
        !SIGV4_FORM_FIELD(form, "signature", &ret->signature_text, fault))
        return S3_INVALID_ARGUMENT;
    return ret->access_key.len > ACCESS_KEY_CHARS_MAX ? sigv4_unknown_key(ret, fault) : S3_OK;
}

enum s3_code sigv2_check_time(const struct s3_request *r, const struct sigv4_auth *a,
                              uint64_t now_ms, struct s3_fault *fault)
{
    CHECK(a->version_2);
    if (a->policy.ptr || now_ms <= a->expires_s * 1000)
        return S3_OK;
    char *text = arena_alloc(r->arena, 2 * (ISO8601_MS_CHARS + 1));
    s3_fault_set(fault, S3_REQUEST_EXPIRED, NULL);
    if (text) {
        iso8601_format(a->expires_s * 1000, text);
        iso8601_format(now_ms, text + ISO8601_MS_CHARS + 1);
        s3_fault_extra(fault, "Expires", SLICE(text, ISO8601_MS_CHARS));
        s3_fault_extra(fault, "ServerTime", SLICE(text + ISO8601_MS_CHARS + 1, ISO8601_MS_CHARS));
    }
    return S3_REQUEST_EXPIRED;
}

/* ---- the string to sign ---- */

struct named {
    struct slice name, value;
    size_t order; /* as they came */
};

static int named_cmp(const void *a, const void *b)
{
    const struct named *x = a, *y = b;
    for (size_t i = 0; i < x->name.len && i < y->name.len; i++) {
        int c = ascii_lower(x->name.ptr[i]) - ascii_lower(y->name.ptr[i]);
        if (c)
            return c;
    }
    if (x->name.len != y->name.len)
        return x->name.len < y->name.len ? -1 : 1;
    return x->order < y->order ? -1 : x->order > y->order;
}

/* Has a field been sent that says the same as this parameter?  Then it is signed once. */
static bool was_sent(const struct s3_request *r, const struct s3_param *p)
{
    for (size_t i = 0; i < sent_count(r); i++)
        if (slice_eq_nocase(r->fields.ptr[i].name, p->name) &&
            slice_eq(slice_trim(r->fields.ptr[i].value), slice_trim(p->value)))
            return true;
    return false;
}

/* Fields that were sent, and those that the query has, also the ones that mean nothing here. */
static size_t amz_fields(const struct s3_request *r, struct named *ret)
{
    size_t count = 0;
    for (size_t i = 0; i < sent_count(r); i++)
        if (is_amz(r->fields.ptr[i].name)) {
            ret[count] =
                (struct named){r->fields.ptr[i].name, slice_trim(r->fields.ptr[i].value), count};
            count++;
        }
    for (size_t i = 0; i < r->param_count; i++)
        if (is_amz(r->params[i].name) && !was_sent(r, &r->params[i])) {
            ret[count] = (struct named){r->params[i].name, slice_trim(r->params[i].value), count};
            count++;
        }
    return count;
}

static void append_amz_fields(struct buf *b, const struct s3_request *r)
{
    size_t max = sent_count(r) + r->param_count;
    struct named *all = max ? arena_alloc(r->arena, max * sizeof(*all)) : NULL;
    if (max && !all)
        b->failed = true;
    size_t count = all ? amz_fields(r, all) : 0;
    if (count)
        qsort(all, count, sizeof(*all), named_cmp);
    for (size_t i = 0; i < count; i++) {
        if (i && slice_eq_nocase(all[i].name, all[i - 1].name)) {
            buf_u8(b, ',');
        } else {
            if (i)
                buf_u8(b, '\n');
            for (size_t k = 0; k < all[i].name.len; k++)
                buf_u8(b, ascii_lower(all[i].name.ptr[k]));
            buf_u8(b, ':');
        }
        buf_slice(b, all[i].value);
    }
    if (count)
        buf_u8(b, '\n');
}

static int param_cmp(const void *a, const void *b)
{
    const struct s3_param *x = *(const struct s3_param *const *)a,
                          *y = *(const struct s3_param *const *)b;
    int c = slice_cmp(x->name, y->name);
    return c ? c : x < y ? -1 : x > y; /* as they came */
}

/* The bucket, wherever it was said; the path as it was sent; and of the query what is asked for. */
static void append_resource(struct buf *b, const struct s3_request *r)
{
    const struct s3_param *params[S3_PARAMS_MAX];
    size_t count = 0;
    if (r->virtual_host) {
        buf_u8(b, '/');
        buf_slice(b, r->bucket);
    }
    buf_slice(b, r->raw_path);
    /* Of a bucket alone S3 has the slash signed that the host would be followed by, as clients
     * know. */
    if (!r->virtual_host && r->raw_path.len > 1 &&
        !memchr(r->raw_path.ptr + 1, '/', r->raw_path.len - 1))
        buf_u8(b, '/');
    for (size_t i = 0; i < r->param_count && count < S3_PARAMS_MAX; i++)
        if (is_signed_param(r->params[i].name))
            params[count++] = &r->params[i];
    if (count)
        qsort(params, count, sizeof(params[0]), param_cmp);
    for (size_t i = 0; i < count; i++) {
        buf_u8(b, i ? '&' : '?');
        buf_slice(b, params[i]->name);
        if (params[i]->has_value) {
            buf_u8(b, '=');
            buf_slice(b, params[i]->value);
        }
    }
}

void sigv2_string_to_sign(struct buf *b, const struct s3_request *r, const struct sigv4_auth *a)
{
    if (a->policy.ptr) {
        buf_slice(b, a->policy);
        return;
    }
    buf_slice(b, r->method);
    buf_u8(b, '\n');
    buf_slice(b, slice_trim(http_fields_get(r->fields, "content-md5")));
    buf_u8(b, '\n');
    buf_slice(b, slice_trim(http_fields_get(r->fields, "content-type")));
    buf_u8(b, '\n');
    buf_slice(b, a->timestamp);
    buf_u8(b, '\n');
    append_amz_fields(b, r);
    append_resource(b, r);
}

enum s3_code sigv2_verify(const struct s3_request *r, const struct sigv4_auth *a,
                          struct slice secret, struct s3_fault *fault)
{
    uint8_t mac[SHA1_BYTES], signature[SHA1_BYTES] = {0};
    struct buf to_sign = {0};
    enum s3_code code = S3_OK;
    CHECK(a->version_2 && !a->anonymous);
    buf_reserve(&to_sign, TO_SIGN_BYTES);
    sigv2_string_to_sign(&to_sign, r, a);
    if (to_sign.failed) {
        code = s3_fault_set(fault, S3_INTERNAL_ERROR, NULL);
    } else {
        bool whole = base64_decode(a->signature_text, signature, SHA1_BYTES) == SHA1_BYTES;
        hmac_sha1(secret, buf_view(&to_sign), mac);
        if (!crypto_equal(mac, signature, SHA1_BYTES) || !whole)
            code = sigv4_mismatch(r, a, SLICE_EMPTY, buf_view(&to_sign), fault);
    }
    crypto_wipe(mac, sizeof(mac));
    buf_fini(&to_sign);
    return code;
}
