/* Parameters of the list calls, and continuation tokens. */
#include "gateway/s3/list.h"

#include "common/base/check.h"
#include "common/base/hash.h"
#include "common/crypto/codec.h"
#include "gateway/s3/version.h"

/* ---- tokens: base64url of version, flag, CRC32C (big-endian), position ---- */

#define TOKEN_VERSION 1
#define TOKEN_HEADER_BYTES 6

static uint32_t token_check(struct slice scope, struct slice position, bool is_prefix)
{
    uint8_t head[2] = {TOKEN_VERSION, is_prefix};
    uint32_t crc = crc32c(0, SLICE(head, sizeof(head)));
    return crc32c(crc32c(crc, scope), position);
}

void s3_token_encode(struct buf *b, struct slice scope, struct slice position, bool is_prefix)
{
    struct buf plain = {0};
    buf_u8(&plain, TOKEN_VERSION);
    buf_u8(&plain, is_prefix);
    buf_be32(&plain, token_check(scope, position, is_prefix));
    buf_slice(&plain, position);
    if (plain.failed || buf_reserve(b, BASE64_CHARS(plain.len)) != 0)
        b->failed = true;
    else
        b->len += base64url_encode(buf_view(&plain), (char *)b->ptr + b->len);
    buf_fini(&plain);
}

bool s3_token_decode(struct arena *arena, struct slice scope, struct slice token,
                     struct slice *ret_position, bool *ret_is_prefix)
{
    if (token.len == 0 || token.len > S3_TOKEN_CHARS_MAX)
        return false;
    uint8_t *plain = arena_alloc(arena, token.len);
    ssize_t n = plain ? base64url_decode(token, plain, token.len) : -1;
    if (n < TOKEN_HEADER_BYTES || plain[0] != TOKEN_VERSION || plain[1] > 1)
        return false;
    uint32_t check =
        (uint32_t)plain[2] << 24 | (uint32_t)plain[3] << 16 | (uint32_t)plain[4] << 8 | plain[5];
    struct slice position = SLICE(plain + TOKEN_HEADER_BYTES, (size_t)n - TOKEN_HEADER_BYTES);
    if (check != token_check(scope, position, plain[1]))
        return false;
    *ret_position = position;
    *ret_is_prefix = plain[1];
    return true;
}

static void list_scope(struct buf *b, const struct s3_request *r, const struct s3_list_params *p)
{
    buf_slice(b, r->bucket);
    buf_u8(b, 0);
    buf_slice(b, p->prefix);
    buf_u8(b, 0);
    buf_slice(b, p->delimiter);
}

void s3_list_token(struct buf *b, const struct s3_request *r, const struct s3_list_params *p,
                   struct slice position, bool is_prefix)
{
    struct buf scope = {0};
    list_scope(&scope, r, p);
    s3_token_encode(b, buf_view(&scope), position, is_prefix);
    if (scope.failed)
        b->failed = true;
    buf_fini(&scope);
}

static void buckets_scope(struct buf *b, const struct s3_list_buckets_params *p)
{
    buf_cstr(b, "buckets");
    buf_u8(b, 0);
    buf_slice(b, p->prefix);
}

void s3_list_buckets_token(struct buf *b, const struct s3_list_buckets_params *p,
                           struct slice position)
{
    struct buf scope = {0};
    buckets_scope(&scope, p);
    s3_token_encode(b, buf_view(&scope), position, false);
    if (scope.failed)
        b->failed = true;
    buf_fini(&scope);
}

static enum s3_code bad_token(struct s3_fault *fault, struct slice token)
{
    return s3_fault_argument(fault, "The continuation token provided is incorrect",
                             "continuation-token", token);
}

/* ---- parameters ---- */

static enum s3_code parse_encoding(const struct s3_request *r, bool *ret, struct s3_fault *fault)
{
    const struct s3_param *p = s3_request_param(r, "encoding-type");
    *ret = p && slice_eq_nocase(p->value, SLICE_LIT("url"));
    if (p && p->value.len && !*ret)
        return s3_fault_argument(fault, "Invalid Encoding Method specified in Request",
                                 "encoding-type", p->value);
    return S3_OK;
}

/* max-keys and its like: absent or empty is the largest, more than the largest too. */
static enum s3_code parse_max(const struct s3_request *r, const char *name, uint32_t largest,
                              uint64_t min, uint32_t *ret, struct s3_fault *fault)
{
    const struct s3_param *p = s3_request_param(r, name);
    uint64_t v = largest;
    if (p && p->value.len) {
        enum s3_code code = s3_request_number(r, name, min, INT32_MAX, largest, &v, fault);
        if (code != S3_OK)
            return code;
    }
    *ret = (uint32_t)MIN(v, (uint64_t)largest);
    return S3_OK;
}

static bool contains(struct slice s, struct slice needle, size_t *ret_at)
{
    const uint8_t *p = needle.len && s.len ? memmem(s.ptr, s.len, needle.ptr, needle.len) : NULL;
    if (p)
        *ret_at = (size_t)(p - s.ptr);
    return p != NULL;
}

/* The common prefix of this very listing that the marker is, as NextMarker can be, or lies in;
 * empty: none.  S3 gives no common prefix that is not greater than the marker. */
static struct slice common_prefix_of(struct slice marker, struct slice prefix,
                                     struct slice delimiter)
{
    if (!slice_has_prefix(marker, prefix))
        return SLICE_EMPTY;
    struct slice rest = SLICE(marker.ptr + prefix.len, marker.len - prefix.len);
    size_t at = 0;
    if (!contains(rest, delimiter, &at))
        return SLICE_EMPTY;
    struct slice common = SLICE(marker.ptr, prefix.len + at + delimiter.len);
    return common.len <= S3_KEY_BYTES_MAX ? common : SLICE_EMPTY; /* no key is below a longer one */
}

static enum s3_code parse_v1_marker(const struct s3_request *r, struct s3_list_params *ret)
{
    const struct s3_param *p = s3_request_param(r, "marker");
    ret->has_marker = p != NULL;
    if (p)
        ret->marker = p->value;
    ret->skip_prefix = common_prefix_of(ret->marker, ret->prefix, ret->delimiter);
    return S3_OK;
}

static enum s3_code parse_v2_marker(const struct s3_request *r, struct s3_list_params *ret,
                                    struct s3_fault *fault)
{
    const struct s3_param *p = s3_request_param(r, "start-after");
    ret->has_start_after = p != NULL;
    if (p)
        ret->marker = ret->start_after = p->value;
    ret->skip_prefix = common_prefix_of(ret->marker, ret->prefix, ret->delimiter);
    p = s3_request_param(r, "continuation-token");
    ret->has_token = p != NULL;
    if (!p)
        return S3_OK;
    struct buf scope = {0};
    ret->continuation_token = p->value;
    list_scope(&scope, r, ret);
    bool is_prefix = false;
    bool ok = !scope.failed &&
              s3_token_decode(r->arena, buf_view(&scope), p->value, &ret->marker, &is_prefix);
    /* A position within a common prefix says that nothing of it has been given yet. */
    ret->skip_prefix = is_prefix ? ret->marker : SLICE_EMPTY;
    buf_fini(&scope);
    return ok ? S3_OK : bad_token(fault, p->value);
}

enum s3_code s3_list_params_parse(const struct s3_request *r, struct s3_list_params *ret,
                                  struct s3_fault *fault)
{
    *ret = (struct s3_list_params){.v2 = r->op == S3_OP_LIST_OBJECTS_V2};
    ret->prefix = s3_request_value(r, "prefix");
    ret->delimiter = s3_request_value(r, "delimiter");
    ret->has_delimiter = ret->delimiter.len > 0;
    ret->fetch_owner = slice_eq_nocase(s3_request_value(r, "fetch-owner"), SLICE_LIT("true"));
    enum s3_code code = parse_encoding(r, &ret->encode_url, fault);
    if (code == S3_OK)
        code = parse_max(r, "max-keys", S3_LIST_MAX, 0, &ret->max_keys, fault);
    if (code == S3_OK)
        code = ret->v2 ? parse_v2_marker(r, ret, fault) : parse_v1_marker(r, ret);
    return code;
}

enum s3_code s3_list_versions_params_parse(const struct s3_request *r,
                                           struct s3_list_versions_params *ret,
                                           struct s3_fault *fault)
{
    static const char name[] = "version-id-marker";
    *ret = (struct s3_list_versions_params){0};
    ret->prefix = s3_request_value(r, "prefix");
    ret->delimiter = s3_request_value(r, "delimiter");
    ret->key_marker = s3_request_value(r, "key-marker");
    ret->version_id_marker = s3_request_value(r, name);
    enum s3_code code = parse_encoding(r, &ret->encode_url, fault);
    if (code == S3_OK)
        code = parse_max(r, "max-keys", S3_LIST_MAX, 0, &ret->max_keys, fault);
    if (code != S3_OK)
        return code;
    if (ret->version_id_marker.len && !ret->key_marker.len)
        return s3_fault_argument(fault,
                                 "A version-id marker cannot be specified without a key marker.",
                                 name, ret->version_id_marker);
    if (ret->version_id_marker.len && !s3_version_id_parse(ret->version_id_marker, &ret->version))
        return s3_fault_argument(fault, "Invalid version id specified", name,
                                 ret->version_id_marker);
    ret->skip_prefix = common_prefix_of(ret->key_marker, ret->prefix, ret->delimiter);
    return S3_OK;
}

enum s3_code s3_list_uploads_params_parse(const struct s3_request *r,
                                          struct s3_list_uploads_params *ret,
                                          struct s3_fault *fault)
{
    *ret = (struct s3_list_uploads_params){0};
    ret->prefix = s3_request_value(r, "prefix");
    ret->delimiter = s3_request_value(r, "delimiter");
    ret->key_marker = s3_request_value(r, "key-marker");
    enum s3_code code = parse_encoding(r, &ret->encode_url, fault);
    if (code == S3_OK)
        code = parse_max(r, "max-uploads", S3_LIST_MAX, 1, &ret->max_uploads, fault);
    if (code != S3_OK)
        return code;
    /* Without a key marker S3 ignores the upload id. */
    struct slice id = s3_request_value(r, "upload-id-marker");
    if (id.len == 0 || ret->key_marker.len == 0)
        return S3_OK;
    if (!hex_decode(id, ret->upload_id, sizeof(ret->upload_id)))
        return s3_fault_argument(fault, "Invalid uploadId marker", "upload-id-marker", id);
    ret->upload_id_marker = id;
    ret->has_upload_id_marker = true;
    return S3_OK;
}

enum s3_code s3_list_parts_params_parse(const struct s3_request *r,
                                        struct s3_list_parts_params *ret, struct s3_fault *fault)
{
    uint64_t marker = 0;
    *ret = (struct s3_list_parts_params){0};
    enum s3_code code = parse_encoding(r, &ret->encode_url, fault);
    if (code == S3_OK)
        code = parse_max(r, "max-parts", S3_LIST_MAX, 0, &ret->max_parts, fault);
    if (code == S3_OK && s3_request_value(r, "part-number-marker").len)
        code = s3_request_number(r, "part-number-marker", 0, INT32_MAX, 0, &marker, fault);
    ret->marker = (uint32_t)marker;
    return code;
}

enum s3_code s3_list_buckets_params_parse(const struct s3_request *r,
                                          struct s3_list_buckets_params *ret,
                                          struct s3_fault *fault)
{
    *ret = (struct s3_list_buckets_params){0};
    ret->prefix = s3_request_value(r, "prefix");
    ret->region = s3_request_value(r, "bucket-region");
    ret->has_max = s3_request_param(r, "max-buckets") != NULL;
    enum s3_code code = parse_max(r, "max-buckets", 10000, 1, &ret->max_buckets, fault);
    if (code != S3_OK)
        return code;
    const struct s3_param *p = s3_request_param(r, "continuation-token");
    ret->has_token = p != NULL;
    if (!p)
        return S3_OK;
    struct buf scope = {0};
    bool is_prefix = false;
    ret->continuation_token = p->value;
    buckets_scope(&scope, ret);
    bool ok = !scope.failed &&
              s3_token_decode(r->arena, buf_view(&scope), p->value, &ret->start_after, &is_prefix);
    buf_fini(&scope);
    return ok ? S3_OK : bad_token(fault, p->value);
}
