/* Content fields, user metadata, overrides of the response, copy sources, and small parameters. */
#include "gateway/s3/headers.h"

#include "common/base/check.h"
#include "common/crypto/codec.h"
#include "gateway/s3/version.h"

#include <stdio.h>

/* The next item of a list separated by commas; false at its end. */
static bool next_item(struct slice list, size_t *at, struct slice *ret)
{
    if (*at >= list.len)
        return false;
    const uint8_t *comma = memchr(list.ptr + *at, ',', list.len - *at);
    size_t len = comma ? (size_t)(comma - (list.ptr + *at)) : list.len - *at;
    *ret = slice_trim(SLICE(list.ptr + *at, len));
    *at += len + 1;
    return true;
}

static enum s3_code header_not_implemented(struct s3_fault *fault, struct slice name)
{
    s3_fault_set(fault, S3_NOT_IMPLEMENTED,
                 "A header you provided implies functionality that is not implemented");
    s3_fault_extra(fault, "Header", name);
    return S3_NOT_IMPLEMENTED;
}

/* To ignore one of these would promise what is not kept: each means something to one operation. */
static enum s3_code check_unsupported(const struct s3_request *r, struct s3_fault *fault)
{
    static const struct {
        const char *prefix;
        enum s3_op op;
    } known[] = {
        {"x-amz-write-offset-bytes", S3_OP_PUT_OBJECT},
        {"x-amz-rename-source", S3_OP_RENAME_OBJECT},
    };
    for (size_t i = 0; i < r->fields.count; i++) {
        const struct http_field *f = &r->fields.ptr[i];
        for (size_t k = 0; k < ARRAY_COUNT(known); k++)
            if (r->op != known[k].op &&
                slice_has_prefix_nocase(f->name, slice_cstr(known[k].prefix)))
                return header_not_implemented(fault, f->name);
    }
    return S3_OK;
}

/* Archive classes would need a restore before each read, so they are refused rather than kept as a
 * mere name. */
bool s3_storage_class_known(struct slice s)
{
    static const char *const classes[] = {"STANDARD",   "REDUCED_REDUNDANCY",  "STANDARD_IA",
                                          "ONEZONE_IA", "INTELLIGENT_TIERING", "GLACIER_IR"};
    for (size_t i = 0; i < ARRAY_COUNT(classes); i++)
        if (slice_eq(s, slice_cstr(classes[i])))
            return true;
    return s.len == 0;
}

enum s3_code s3_storage_class_refuse(struct slice storage_class, struct s3_fault *fault)
{
    s3_fault_set(fault, S3_INVALID_STORAGE_CLASS, NULL);
    s3_fault_extra(fault, "StorageClassRequested", storage_class);
    return S3_INVALID_STORAGE_CLASS;
}

/* Without aws-chunked, which says how the request was sent, not what the object is. */
static bool parse_content_encoding(const struct s3_request *r, struct slice *ret)
{
    struct slice value = http_fields_get(r->fields, "content-encoding"), item;
    bool chunked = false;
    for (size_t at = 0; next_item(value, &at, &item);)
        chunked |= slice_eq_nocase(item, SLICE_LIT("aws-chunked"));
    *ret = value;
    if (!chunked)
        return true;
    uint8_t *out = arena_alloc(r->arena, value.len);
    size_t n = 0;
    if (!out)
        return false;
    for (size_t at = 0; next_item(value, &at, &item);) {
        if (item.len == 0 || slice_eq_nocase(item, SLICE_LIT("aws-chunked")))
            continue;
        if (n)
            out[n++] = ',';
        memcpy(out + n, item.ptr, item.len);
        n += item.len;
    }
    *ret = SLICE(out, n);
    return true;
}

#define META_PREFIX "x-amz-meta-"

static struct http_field *find_user(struct s3_metadata *m, struct slice name)
{
    for (size_t i = 0; i < m->user_count; i++)
        if (slice_eq_nocase(m->user[i].name, name))
            return &m->user[i];
    return NULL;
}

static bool add_user(struct arena *arena, struct s3_metadata *m, struct slice name,
                     struct slice value)
{
    struct http_field *old = find_user(m, name);
    if (old) {
        uint8_t *joined = arena_alloc(arena, old->value.len + 1 + value.len);
        if (!joined)
            return false;
        memcpy(joined, old->value.ptr, old->value.len);
        joined[old->value.len] = ',';
        if (value.len)
            memcpy(joined + old->value.len + 1, value.ptr, value.len);
        old->value = SLICE(joined, old->value.len + 1 + value.len);
        return true;
    }
    uint8_t *lower = arena_alloc(arena, name.len + 1);
    if (!lower)
        return false;
    for (size_t i = 0; i < name.len; i++)
        lower[i] = ascii_lower(name.ptr[i]);
    m->user[m->user_count++] = (struct http_field){SLICE(lower, name.len), value};
    return true;
}

static enum s3_code parse_user(const struct s3_request *r, struct s3_metadata *m,
                               struct s3_fault *fault)
{
    size_t count = 0, bytes = 0;
    struct slice prefix = SLICE_LIT(META_PREFIX);
    for (size_t i = 0; i < r->fields.count; i++) {
        const struct http_field *f = &r->fields.ptr[i];
        if (!slice_has_prefix_nocase(f->name, prefix))
            continue;
        count++;
        bytes += f->name.len - prefix.len + f->value.len;
    }
    if (bytes > S3_USER_METADATA_BYTES_MAX || count > S3_USER_METADATA_MAX) {
        s3_fault_set(fault, S3_METADATA_TOO_LARGE, NULL);
        s3_fault_extra(fault, "MaxSizeAllowed", SLICE_LIT("2048"));
        return S3_METADATA_TOO_LARGE;
    }
    if (count == 0)
        return S3_OK;
    m->user = arena_alloc(r->arena, count * sizeof(*m->user));
    if (!m->user)
        return s3_fault_set(fault, S3_INTERNAL_ERROR, NULL);
    for (size_t i = 0; i < r->fields.count; i++) {
        const struct http_field *f = &r->fields.ptr[i];
        if (slice_has_prefix_nocase(f->name, prefix) &&
            !add_user(r->arena, m, SLICE(f->name.ptr + prefix.len, f->name.len - prefix.len),
                      f->value))
            return s3_fault_set(fault, S3_INTERNAL_ERROR, NULL);
    }
    return S3_OK;
}

enum s3_code s3_metadata_parse(const struct s3_request *r, struct s3_metadata *ret,
                               struct s3_fault *fault)
{
    *ret = (struct s3_metadata){0};
    enum s3_code code = check_unsupported(r, fault);
    if (code != S3_OK)
        return code;
    ret->content_type = http_fields_get(r->fields, "content-type");
    ret->content_disposition = http_fields_get(r->fields, "content-disposition");
    ret->content_language = http_fields_get(r->fields, "content-language");
    ret->cache_control = http_fields_get(r->fields, "cache-control");
    ret->expires = http_fields_get(r->fields, "expires");
    ret->storage_class = http_fields_get(r->fields, "x-amz-storage-class");
    ret->website_redirect = http_fields_get(r->fields, "x-amz-website-redirect-location");
    if (ret->website_redirect.len && !slice_has_prefix(ret->website_redirect, SLICE_LIT("/")) &&
        !slice_has_prefix(ret->website_redirect, SLICE_LIT("http://")) &&
        !slice_has_prefix(ret->website_redirect, SLICE_LIT("https://")))
        return s3_fault_argument(fault,
                                 "The website redirect location must have a prefix of 'http://' or "
                                 "'https://' or '/'.",
                                 "x-amz-website-redirect-location", ret->website_redirect);
    if (!parse_content_encoding(r, &ret->content_encoding))
        return s3_fault_set(fault, S3_INTERNAL_ERROR, NULL);
    return parse_user(r, ret, fault);
}

/* ---- overrides ---- */

enum s3_code s3_overrides_parse(const struct s3_request *r, bool anonymous,
                                struct s3_overrides *ret, struct s3_fault *fault)
{
    *ret = (struct s3_overrides){0};
    const struct {
        const char *name;
        struct slice *slot;
    } known[] = {
        {"response-content-type", &ret->content_type},
        {"response-content-language", &ret->content_language},
        {"response-expires", &ret->expires},
        {"response-cache-control", &ret->cache_control},
        {"response-content-disposition", &ret->content_disposition},
        {"response-content-encoding", &ret->content_encoding},
    };
    for (size_t i = 0; i < ARRAY_COUNT(known); i++) {
        const struct s3_param *p = s3_request_param(r, known[i].name);
        if (!p)
            continue;
        if (anonymous)
            return s3_fault_set(fault, S3_INVALID_REQUEST,
                                "Request specific response headers cannot be used for anonymous "
                                "GET requests.");
        if (!http_value_valid(p->value))
            return s3_fault_argument(fault, "Header value cannot be represented.", known[i].name,
                                     SLICE_EMPTY);
        *known[i].slot = p->value;
    }
    return S3_OK;
}

/* ---- copies ---- */

static enum s3_code parse_directives(const struct s3_request *r, struct s3_copy_source *ret,
                                     struct s3_fault *fault)
{
    const struct http_field *f = http_fields_find(r->fields, "x-amz-metadata-directive");
    if (f) {
        ret->replace_metadata = slice_eq(f->value, SLICE_LIT("REPLACE"));
        if (!ret->replace_metadata && !slice_eq(f->value, SLICE_LIT("COPY")))
            return s3_fault_argument(fault, "Unknown metadata directive.",
                                     "x-amz-metadata-directive", f->value);
    }
    f = http_fields_find(r->fields, "x-amz-tagging-directive");
    if (!f)
        return S3_OK;
    ret->replace_tags = slice_eq(f->value, SLICE_LIT("REPLACE"));
    return ret->replace_tags || slice_eq(f->value, SLICE_LIT("COPY"))
               ? S3_OK
               : s3_fault_argument(fault, "Unknown tagging directive.", "x-amz-tagging-directive",
                                   f->value);
}

enum s3_code s3_copy_source_parse(const struct s3_request *r, struct s3_copy_source *ret,
                                  struct s3_fault *fault)
{
    static const char name[] = "x-amz-copy-source";
    struct slice version = SLICE_LIT("?versionId="), text = http_fields_get(r->fields, name), path;
    *ret = (struct s3_copy_source){0};
    const uint8_t *mark = text.len ? memchr(text.ptr, '?', text.len) : NULL;
    struct slice query = SLICE_EMPTY;
    path = text;
    if (mark) {
        path = SLICE(text.ptr, (size_t)(mark - text.ptr));
        query = SLICE(mark, text.len - path.len);
        if (!slice_has_prefix(query, version))
            return s3_fault_argument(fault, "Invalid copy source encoding.", name, text);
        ret->version_id = SLICE(query.ptr + version.len, query.len - version.len);
        if (!s3_version_id_parse(ret->version_id, &ret->version))
            return s3_fault_argument(fault, "Invalid version id specified", name, text);
    }
    /* S3 reads '+' here as a space, and clients write %2B. */
    if (!s3_percent_decode(r->arena, path, true, &path) || !utf8_valid(path))
        return s3_fault_argument(fault, "Invalid copy source encoding.", name, text);
    if (path.len && path.ptr[0] == '/')
        path = SLICE(path.ptr + 1, path.len - 1);
    const uint8_t *slash = path.len ? memchr(path.ptr, '/', path.len) : NULL;
    if (!slash || slash == path.ptr || slash + 1 == path.ptr + path.len)
        return s3_fault_argument(
            fault, "Copy Source must mention the source bucket and key: sourcebucket/sourcekey",
            name, text);
    ret->bucket = SLICE(path.ptr, (size_t)(slash - path.ptr));
    ret->key = SLICE(slash + 1, path.len - ret->bucket.len - 1);
    if (!s3_bucket_name_valid(ret->bucket))
        return s3_fault_set(fault, S3_INVALID_BUCKET_NAME, NULL);
    if (ret->key.len > S3_KEY_BYTES_MAX)
        return s3_fault_set(fault, S3_KEY_TOO_LONG, NULL);
    return parse_directives(r, ret, fault);
}

/* ---- renames ---- */

enum s3_code s3_rename_source_parse(const struct s3_request *r, struct s3_copy_source *ret,
                                    struct s3_fault *fault)
{
    static const char name[] = "x-amz-rename-source";
    struct slice text = http_fields_get(r->fields, name), path;
    *ret = (struct s3_copy_source){.bucket = r->bucket};
    if (!text.len || !s3_percent_decode(r->arena, text, true, &path) || !utf8_valid(path))
        return s3_fault_argument(fault, "Invalid rename source encoding.", name, text);
    bool absolute = path.ptr[0] == '/';
    ret->key = path;
    if (absolute)
        path = SLICE(path.ptr + 1, path.len - 1);
    bool named = slice_has_prefix(path, r->bucket) && path.len > r->bucket.len + 1 &&
                 path.ptr[r->bucket.len] == '/';
    if (absolute && !named)
        return s3_fault_set(fault, S3_INVALID_REQUEST,
                            "The source of a rename must be an object of the same bucket.");
    if (named)
        ret->key = SLICE(path.ptr + r->bucket.len + 1, path.len - r->bucket.len - 1);
    if (ret->key.len > S3_KEY_BYTES_MAX)
        return s3_fault_set(fault, S3_KEY_TOO_LONG, NULL);
    if (slice_eq(ret->key, r->key))
        return s3_fault_set(fault, S3_INVALID_REQUEST, "An object cannot be renamed to itself.");
    return S3_OK;
}

enum s3_code s3_client_token_parse(const struct s3_request *r, struct slice *ret,
                                   struct s3_fault *fault)
{
    enum { TOKEN_BYTES_MAX = 64 };
    static const char name[] = "x-amz-client-token";
    const struct http_field *f = http_fields_find(r->fields, name);
    *ret = f ? f->value : SLICE_EMPTY;
    bool ok = !f || (ret->len >= 1 && ret->len <= TOKEN_BYTES_MAX);
    for (size_t i = 0; ok && i < ret->len; i++)
        ok = ret->ptr[i] >= 33 && ret->ptr[i] <= 126;
    return ok ? S3_OK : s3_fault_argument(fault, NULL, name, *ret);
}

/* ---- small ones ---- */

bool s3_checksum_mode_enabled(const struct s3_request *r)
{
    return slice_eq_nocase(http_fields_get(r->fields, "x-amz-checksum-mode"), SLICE_LIT("ENABLED"));
}

static enum s3_code number_field(const struct s3_request *r, const char *name, uint64_t missing,
                                 uint32_t *ret, struct s3_fault *fault)
{
    const struct http_field *f = http_fields_find(r->fields, name);
    uint64_t v = missing;
    if (f && (!parse_u64(f->value, &v) || v > INT32_MAX))
        return s3_fault_argument(fault, NULL, name, f->value);
    *ret = (uint32_t)v;
    return S3_OK;
}

enum s3_code s3_attributes_parse(const struct s3_request *r, struct s3_attributes *ret,
                                 struct s3_fault *fault)
{
    static const struct {
        const char *name;
        unsigned bit;
    } known[] = {{"ETag", S3_ATTRIBUTE_ETAG},
                 {"Checksum", S3_ATTRIBUTE_CHECKSUM},
                 {"ObjectParts", S3_ATTRIBUTE_PARTS},
                 {"StorageClass", S3_ATTRIBUTE_STORAGE_CLASS},
                 {"ObjectSize", S3_ATTRIBUTE_SIZE}};
    struct slice want = SLICE_LIT("x-amz-object-attributes"), item;
    *ret = (struct s3_attributes){0};
    for (size_t i = 0; i < r->fields.count; i++) {
        const struct http_field *f = &r->fields.ptr[i];
        if (!slice_eq_nocase(f->name, want))
            continue;
        for (size_t at = 0; next_item(f->value, &at, &item);) {
            unsigned bit = 0;
            for (size_t k = 0; k < ARRAY_COUNT(known); k++)
                if (slice_eq(item, slice_cstr(known[k].name)))
                    bit = known[k].bit;
            if (!bit)
                return s3_fault_argument(fault, "Invalid attribute name specified.",
                                         "x-amz-object-attributes", item);
            ret->mask |= bit;
        }
    }
    if (!ret->mask)
        return s3_fault_set(fault, S3_INVALID_REQUEST,
                            "The x-amz-object-attributes header specifying the attributes to be "
                            "retrieved is either missing or empty");
    enum s3_code code = number_field(r, "x-amz-max-parts", 1000, &ret->parts_max, fault);
    if (code == S3_OK)
        code = number_field(r, "x-amz-part-number-marker", 0, &ret->part_marker, fault);
    ret->parts_max = MIN(ret->parts_max, 1000u);
    return code;
}

enum s3_code s3_part_number_parse(const struct s3_request *r, bool *ret_given, uint32_t *ret,
                                  struct s3_fault *fault)
{
    const struct s3_param *p = s3_request_param(r, "partNumber");
    uint64_t v = 0;
    *ret_given = p != NULL;
    if (!p)
        return S3_OK;
    if (!parse_u64(p->value, &v) || v < 1 || v > S3_PART_NUMBER_MAX)
        return s3_fault_argument(fault,
                                 "Part number must be an integer between 1 and 10000, inclusive",
                                 "partNumber", p->value);
    *ret = (uint32_t)v;
    return S3_OK;
}

enum s3_code s3_upload_id_parse(const struct s3_request *r, uint8_t ret[16], struct s3_fault *fault)
{
    struct slice text = s3_request_value(r, "uploadId");
    if (hex_decode(text, ret, 16))
        return S3_OK;
    s3_fault_set(fault, S3_NO_SUCH_UPLOAD, NULL);
    s3_fault_extra(fault, "UploadId", text);
    return S3_NO_SUCH_UPLOAD;
}

enum s3_code s3_body_length(const struct s3_request *r, uint64_t max, uint64_t *ret,
                            struct s3_fault *fault)
{
    const struct http_field *f = http_fields_find(r->fields, "content-length");
    uint64_t v = 0;
    if (!f || !parse_u64(f->value, &v))
        return s3_fault_set(fault, S3_MISSING_CONTENT_LENGTH, NULL);
    if (v > max) {
        char *text = arena_alloc(r->arena, 24);
        s3_fault_set(fault, S3_ENTITY_TOO_LARGE, NULL);
        s3_fault_extra(fault, "ProposedSize", f->value);
        if (text) {
            int n = snprintf(text, 24, "%llu", (unsigned long long)max);
            s3_fault_extra(fault, "MaxSizeAllowed", SLICE(text, (size_t)n));
        }
        return S3_ENTITY_TOO_LARGE;
    }
    *ret = v;
    return S3_OK;
}
