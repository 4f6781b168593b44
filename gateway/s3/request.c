/* Addressing, the query table, and the choice of the operation. */
#include "gateway/s3/request.h"

#include "common/base/check.h"

static const char *const op_names[S3_OP_COUNT] = {[S3_OP_NONE] = "-",
#define X(NAME, name) [S3_OP_##NAME] = name,
                                                  S3_OP_TABLE(X)
#undef X
};

const char *s3_op_name(enum s3_op op)
{
    CHECK((unsigned)op < S3_OP_COUNT);
    return op_names[op];
}

const struct s3_param *s3_request_param(const struct s3_request *r, const char *name)
{
    struct slice want = slice_cstr(name);
    for (size_t i = 0; i < r->param_count; i++)
        if (slice_eq(r->params[i].name, want))
            return &r->params[i];
    return NULL;
}

struct slice s3_request_value(const struct s3_request *r, const char *name)
{
    const struct s3_param *p = s3_request_param(r, name);
    return p ? p->value : SLICE_EMPTY;
}

enum s3_code s3_request_number(const struct s3_request *r, const char *name, uint64_t min,
                               uint64_t max, uint64_t missing, uint64_t *ret,
                               struct s3_fault *fault)
{
    const struct s3_param *p = s3_request_param(r, name);
    uint64_t v = 0;
    if (!p) {
        *ret = missing;
        return S3_OK;
    }
    if (!parse_u64(p->value, &v) || v > INT32_MAX)
        return s3_fault_argument(fault, "Provided argument is not an integer within the range.",
                                 name, p->value);
    if (v < min || v > max)
        return s3_fault_argument(fault, "Argument is out of range.", name, p->value);
    *ret = v;
    return S3_OK;
}

/* ---- which operation ---- */

enum { ON_BUCKET = 1, ON_OBJECT = 2 };

/* Subresources that S3 knows and that are not offered here.  `harmless`: its GET only asks for a
 * configuration that nobody can have set, so later work may answer it with S3's own "none". */
static const struct {
    const char *name;
    int on;
    bool harmless;
} subresources[] = {
    {"abac", ON_BUCKET, false},
    {"accelerate", ON_BUCKET, true},
    {"acl", ON_BUCKET | ON_OBJECT, true},
    {"analytics", ON_BUCKET, true},
    {"cors", ON_BUCKET, true},
    {"encryption", ON_BUCKET | ON_OBJECT, true},
    {"intelligent-tiering", ON_BUCKET, true},
    {"inventory", ON_BUCKET, true},
    {"legal-hold", ON_OBJECT, true},
    {"lifecycle", ON_BUCKET, true},
    {"logging", ON_BUCKET, true},
    {"metadataConfiguration", ON_BUCKET, true},
    {"metadataInventoryTable", ON_BUCKET, false},
    {"metadataJournalTable", ON_BUCKET, false},
    {"metadataTable", ON_BUCKET, true},
    {"metrics", ON_BUCKET, true},
    {"notification", ON_BUCKET, true},
    {"object-lock", ON_BUCKET, true},
    {"ownershipControls", ON_BUCKET, true},
    {"policy", ON_BUCKET, true},
    {"policyStatus", ON_BUCKET, true},
    {"publicAccessBlock", ON_BUCKET, true},
    {"renameObject", ON_OBJECT, false},
    {"replication", ON_BUCKET, true},
    {"requestPayment", ON_BUCKET, true},
    {"restore", ON_OBJECT, false},
    {"retention", ON_OBJECT, true},
    {"select", ON_OBJECT, false},
    {"session", ON_BUCKET, false},
    {"tagging", ON_BUCKET | ON_OBJECT, true},
    {"torrent", ON_OBJECT, false},
    {"versioning", ON_BUCKET, true},
    {"versions", ON_BUCKET, true},
    {"website", ON_BUCKET, true},
};

/* Parameters that select no subresource, whether or not they have a value. */
static const char *const known_params[] = {
    "attributes",
    "bucket-region",
    "continuation-token",
    "delete",
    "delimiter",
    "encoding-type",
    "fetch-owner",
    "key-marker",
    "list-type",
    "location",
    "marker",
    "max-buckets",
    "max-keys",
    "max-parts",
    "max-uploads",
    "part-number-marker",
    "partNumber",
    "prefix",
    "start-after",
    "upload-id-marker",
    "uploadId",
    "uploads",
    "versionId",
    "x-id",
};

static bool is_known(struct slice name)
{
    for (size_t i = 0; i < ARRAY_COUNT(known_params); i++)
        if (slice_eq(name, slice_cstr(known_params[i])))
            return true;
    return slice_has_prefix(name, SLICE_LIT("response-")) ||
           slice_has_prefix_nocase(name, SLICE_LIT("x-amz-"));
}

/* A parameter without a value that nobody knows is taken for a subresource of later times: to
 * ignore it could turn, say, the change of a setting into the overwriting of an object.  Unknown
 * parameters with a value are ignored, as S3 does. */
static enum s3_code check_subresources(struct s3_request *r, struct s3_fault *fault)
{
    int here = r->key.len ? ON_OBJECT : ON_BUCKET;
    for (size_t i = 0; i < r->param_count; i++) {
        const struct s3_param *p = &r->params[i];
        for (size_t k = 0; k < ARRAY_COUNT(subresources); k++) {
            if (!slice_eq(p->name, slice_cstr(subresources[k].name)) ||
                !(subresources[k].on & here))
                continue;
            r->subresource = subresources[k].name;
            r->subresource_harmless =
                subresources[k].harmless && slice_eq(r->method, SLICE_LIT("GET"));
            s3_fault_set(fault, S3_NOT_IMPLEMENTED, NULL);
            s3_fault_extra(fault, "Query", p->name);
            return S3_NOT_IMPLEMENTED;
        }
        if (p->name.len && p->value.len == 0 && !is_known(p->name)) {
            s3_fault_set(fault, S3_NOT_IMPLEMENTED, NULL);
            s3_fault_extra(fault, "Query", p->name);
            return S3_NOT_IMPLEMENTED;
        }
    }
    return S3_OK;
}

static enum s3_code found(struct s3_request *r, enum s3_op op)
{
    r->op = op;
    return S3_OK;
}

static enum s3_code not_allowed(const struct s3_request *r, const char *kind,
                                struct s3_fault *fault)
{
    s3_fault_set(fault, S3_METHOD_NOT_ALLOWED, NULL);
    s3_fault_extra(fault, "Method", r->method);
    s3_fault_extra(fault, "ResourceType", slice_cstr(kind));
    return S3_METHOD_NOT_ALLOWED;
}

static bool method_is(const struct s3_request *r, const char *name)
{
    return slice_eq(r->method, slice_cstr(name));
}

static enum s3_code bucket_op(struct s3_request *r, struct s3_fault *fault)
{
    const struct s3_param *list_type = s3_request_param(r, "list-type");
    if (method_is(r, "GET")) {
        if (s3_request_param(r, "location"))
            return found(r, S3_OP_GET_BUCKET_LOCATION);
        if (s3_request_param(r, "uploads"))
            return found(r, S3_OP_LIST_MULTIPART_UPLOADS);
        if (!list_type)
            return found(r, S3_OP_LIST_OBJECTS);
        if (slice_eq(list_type->value, SLICE_LIT("1")))
            return found(r, S3_OP_LIST_OBJECTS);
        if (slice_eq(list_type->value, SLICE_LIT("2")))
            return found(r, S3_OP_LIST_OBJECTS_V2);
        return s3_fault_argument(fault, "Invalid List Type specified in Request", "list-type",
                                 list_type->value);
    }
    if (method_is(r, "POST")) {
        if (s3_request_param(r, "delete"))
            return found(r, S3_OP_DELETE_OBJECTS);
        return s3_fault_set(fault, S3_NOT_IMPLEMENTED,
                            "Uploads by HTML form (POST Object) are not implemented.");
    }
    static const char *const on_others[] = {"delete", "location", "uploads", "uploadId",
                                            "partNumber"};
    for (size_t i = 0; i < ARRAY_COUNT(on_others); i++)
        if (s3_request_param(r, on_others[i]))
            return not_allowed(r, "BUCKET", fault);
    if (method_is(r, "PUT"))
        return found(r, S3_OP_CREATE_BUCKET);
    if (method_is(r, "HEAD"))
        return found(r, S3_OP_HEAD_BUCKET);
    if (method_is(r, "DELETE"))
        return found(r, S3_OP_DELETE_BUCKET);
    return not_allowed(r, "BUCKET", fault);
}

/* Without versioning every object has one version, which S3 calls "null". */
static enum s3_code check_version(const struct s3_request *r, struct s3_fault *fault)
{
    const struct s3_param *p = s3_request_param(r, "versionId");
    if (!p || slice_eq(p->value, SLICE_LIT("null")))
        return S3_OK;
    return s3_fault_argument(fault,
                             p->value.len ? "Invalid version id specified"
                                          : "Version id cannot be the empty string",
                             "versionId", p->value);
}

static enum s3_code object_put_op(struct s3_request *r, bool upload_id, bool part_number,
                                  struct s3_fault *fault)
{
    bool copy = http_fields_find(r->fields, "x-amz-copy-source") != NULL;
    if (upload_id != part_number)
        return s3_fault_argument(fault, "partNumber and uploadId must be given together.",
                                 upload_id ? "partNumber" : "uploadId", SLICE_EMPTY);
    if (upload_id)
        return found(r, copy ? S3_OP_UPLOAD_PART_COPY : S3_OP_UPLOAD_PART);
    if (s3_request_param(r, "uploads") || s3_request_param(r, "attributes"))
        return not_allowed(r, "OBJECT", fault);
    return found(r, copy ? S3_OP_COPY_OBJECT : S3_OP_PUT_OBJECT);
}

static enum s3_code object_op(struct s3_request *r, struct s3_fault *fault)
{
    bool upload_id = s3_request_param(r, "uploadId") != NULL;
    bool part_number = s3_request_param(r, "partNumber") != NULL;
    bool uploads = s3_request_param(r, "uploads") != NULL;
    enum s3_code code = check_version(r, fault);
    if (code != S3_OK)
        return code;
    if (method_is(r, "PUT"))
        return object_put_op(r, upload_id, part_number, fault);
    if (method_is(r, "POST")) {
        if (uploads)
            return found(r, S3_OP_CREATE_MULTIPART_UPLOAD);
        if (upload_id)
            return found(r, S3_OP_COMPLETE_MULTIPART_UPLOAD);
        return not_allowed(r, "OBJECT", fault);
    }
    if (uploads)
        return not_allowed(r, "OBJECT", fault);
    if (method_is(r, "GET")) {
        if (upload_id)
            return found(r, S3_OP_LIST_PARTS);
        if (s3_request_param(r, "attributes"))
            return found(r, S3_OP_GET_OBJECT_ATTRIBUTES);
        return found(r, S3_OP_GET_OBJECT);
    }
    if (method_is(r, "HEAD"))
        return found(r, S3_OP_HEAD_OBJECT);
    if (method_is(r, "DELETE"))
        return found(r, upload_id ? S3_OP_ABORT_MULTIPART_UPLOAD : S3_OP_DELETE_OBJECT);
    return not_allowed(r, "OBJECT", fault);
}

/* The operator's questions: under a path that no bucket can have, whatever the host says. */
static bool is_admin(const struct s3_request *r)
{
    return slice_has_prefix(r->raw_path, SLICE_LIT(S3_ADMIN_PREFIX));
}

static enum s3_code admin_op(struct s3_request *r, struct s3_fault *fault)
{
    size_t prefix = sizeof(S3_ADMIN_PREFIX) - 1;
    if (!s3_percent_decode(r->arena, r->raw_path, false, &r->path) || !utf8_valid(r->path))
        return s3_fault_set(fault, S3_INVALID_URI, NULL);
    r->key = SLICE(r->path.ptr + prefix, r->path.len - prefix);
    if (!method_is(r, "GET") && !method_is(r, "POST"))
        return not_allowed(r, "ADMIN", fault);
    return found(r, S3_OP_ADMIN);
}

static enum s3_code choose_op(struct s3_request *r, struct s3_fault *fault)
{
    if (method_is(r, "OPTIONS"))
        return s3_fault_set(fault, S3_NOT_IMPLEMENTED, "CORS is not implemented.");
    if (r->bucket.len == 0)
        return method_is(r, "GET") ? found(r, S3_OP_LIST_BUCKETS)
                                   : not_allowed(r, "SERVICE", fault);
    if (r->key.len > S3_KEY_BYTES_MAX) {
        s3_fault_set(fault, S3_KEY_TOO_LONG, NULL);
        s3_fault_extra(fault, "MaxSizeAllowed", SLICE_LIT("1024"));
        return S3_KEY_TOO_LONG;
    }
    enum s3_code code = check_subresources(r, fault);
    if (code != S3_OK)
        return code;
    return r->key.len ? object_op(r, fault) : bucket_op(r, fault);
}

/* ---- target and host ---- */

/* Path and query of the origin form; of the absolute form, what follows the authority. */
static bool split_target(struct slice target, struct s3_request *r)
{
    size_t at = 0;
    for (int i = 0; i < 2; i++) {
        struct slice scheme = i ? SLICE_LIT("https://") : SLICE_LIT("http://");
        if (slice_has_prefix_nocase(target, scheme)) {
            at = scheme.len;
            while (at < target.len && target.ptr[at] != '/' && target.ptr[at] != '?')
                at++;
            if (at == target.len || target.ptr[at] == '?')
                return false;
        }
    }
    struct slice rest = SLICE(target.ptr + at, target.len - at);
    if (rest.len == 0 || rest.ptr[0] != '/')
        return false;
    const uint8_t *mark = memchr(rest.ptr, '?', rest.len);
    size_t path_len = mark ? (size_t)(mark - rest.ptr) : rest.len;
    r->raw_path = SLICE(rest.ptr, path_len);
    r->raw_query = mark ? SLICE(mark + 1, rest.len - path_len - 1) : SLICE_EMPTY;
    return true;
}

/* One "name=value" at *at; false at the end. */
static bool next_pair(struct slice query, size_t *at, struct s3_param *ret)
{
    while (*at < query.len && query.ptr[*at] == '&')
        ++*at;
    if (*at >= query.len)
        return false;
    const uint8_t *start = query.ptr + *at;
    const uint8_t *end = memchr(start, '&', query.len - *at);
    size_t len = end ? (size_t)(end - start) : query.len - *at;
    const uint8_t *equals = memchr(start, '=', len);
    size_t name_len = equals ? (size_t)(equals - start) : len;
    *ret = (struct s3_param){.raw_name = SLICE(start, name_len), .has_value = equals != NULL};
    ret->raw_value = equals ? SLICE(equals + 1, len - name_len - 1) : SLICE_EMPTY;
    *at += len;
    return true;
}

static enum s3_code parse_query(struct s3_request *r, struct s3_fault *fault)
{
    struct s3_param param;
    size_t count = 0;
    for (size_t at = 0; next_pair(r->raw_query, &at, &param);)
        count++;
    if (count > S3_PARAMS_MAX)
        return s3_fault_set(fault, S3_INVALID_URI, "Too many query parameters.");
    r->params = count ? arena_alloc(r->arena, count * sizeof(*r->params)) : NULL;
    if (count && !r->params)
        return s3_fault_set(fault, S3_INTERNAL_ERROR, NULL);
    for (size_t at = 0; next_pair(r->raw_query, &at, &param);) {
        if (!s3_percent_decode(r->arena, param.raw_name, true, &param.name) ||
            !s3_percent_decode(r->arena, param.raw_value, true, &param.value) ||
            !utf8_valid(param.name) || !utf8_valid(param.value))
            return s3_fault_set(fault, S3_INVALID_URI, NULL);
        r->params[r->param_count++] = param;
    }
    return S3_OK;
}

/* Host without its port; an IPv6 literal keeps its brackets. */
static struct slice host_name(struct slice host)
{
    if (host.len && host.ptr[0] == '[') {
        const uint8_t *end = memchr(host.ptr, ']', host.len);
        return end ? SLICE(host.ptr, (size_t)(end - host.ptr) + 1) : host;
    }
    const uint8_t *colon = host.len ? memchr(host.ptr, ':', host.len) : NULL;
    return colon ? SLICE(host.ptr, (size_t)(colon - host.ptr)) : host;
}

/* The part of the host before one of our domains; empty: path style. */
static struct slice host_bucket(const struct s3_addressing *addressing, struct slice host)
{
    struct slice best = SLICE_EMPTY;
    for (size_t i = 0; i < addressing->base_domain_count; i++) {
        struct slice base = addressing->base_domains[i];
        if (slice_eq_nocase(host, base))
            return SLICE_EMPTY;
        if (base.len == 0 || host.len < base.len + 2)
            continue;
        size_t front = host.len - base.len;
        if (host.ptr[front - 1] != '.' || !slice_eq_nocase(SLICE(host.ptr + front, base.len), base))
            continue;
        if (!best.ptr || front - 1 < best.len) /* the longest domain that matches */
            best = SLICE(host.ptr, front - 1);
    }
    return best;
}

/* Host names have no case; bucket names are lower case. */
static struct slice lower_copy(struct arena *arena, struct slice s)
{
    uint8_t *p = arena_alloc(arena, s.len);
    if (!p)
        return SLICE_EMPTY;
    for (size_t i = 0; i < s.len; i++)
        p[i] = ascii_lower(s.ptr[i]);
    return SLICE(p, s.len);
}

static enum s3_code locate(const struct s3_addressing *addressing, struct s3_request *r,
                           struct s3_fault *fault)
{
    struct slice rest = r->raw_path, bucket = host_bucket(addressing, r->host);
    if (!s3_percent_decode(r->arena, r->raw_path, false, &r->path) || !utf8_valid(r->path))
        return s3_fault_set(fault, S3_INVALID_URI, NULL);
    rest.ptr++;
    rest.len--;
    if (bucket.len) {
        r->virtual_host = true;
        r->bucket = lower_copy(r->arena, bucket);
        if (!r->bucket.ptr)
            return s3_fault_set(fault, S3_INTERNAL_ERROR, NULL);
    } else {
        const uint8_t *slash = rest.len ? memchr(rest.ptr, '/', rest.len) : NULL;
        size_t len = slash ? (size_t)(slash - rest.ptr) : rest.len;
        /* The path as a whole decodes, so each piece of it does. */
        if (!s3_percent_decode(r->arena, SLICE(rest.ptr, len), false, &r->bucket))
            return s3_fault_set(fault, S3_INTERNAL_ERROR, NULL);
        if (len == 0 && slash)
            return s3_fault_set(fault, S3_INVALID_BUCKET_NAME, NULL);
        rest = slash ? SLICE(slash + 1, rest.len - len - 1) : SLICE_EMPTY;
    }
    if (!s3_percent_decode(r->arena, rest, false, &r->key))
        return s3_fault_set(fault, S3_INTERNAL_ERROR, NULL);
    if (!utf8_valid(r->key))
        return s3_fault_set(fault, S3_INVALID_URI, NULL);
    if (r->bucket.len && !s3_bucket_name_valid(r->bucket)) {
        s3_fault_set(fault, S3_INVALID_BUCKET_NAME, NULL);
        s3_fault_extra(fault, "BucketName", r->bucket);
        return S3_INVALID_BUCKET_NAME;
    }
    return S3_OK;
}

enum s3_code s3_request_parse(struct arena *arena, const struct s3_addressing *addressing,
                              struct slice method, struct slice target, struct http_fields fields,
                              struct s3_request *ret, struct s3_fault *fault)
{
    *ret = (struct s3_request){.method = method, .fields = fields, .arena = arena};
    *fault = (struct s3_fault){0};
    if (!split_target(target, ret))
        return s3_fault_set(fault, S3_INVALID_URI, NULL);
    ret->path = ret->raw_path; /* until it is decoded */
    if (http_fields_count(fields, "host") > 1)
        return s3_fault_set(fault, S3_INVALID_REQUEST, "More than one Host header was sent.");
    ret->host = host_name(http_fields_get(fields, "host"));
    enum s3_code code = parse_query(ret, fault);
    if (code != S3_OK)
        return code;
    if (is_admin(ret))
        return admin_op(ret, fault);
    code = locate(addressing, ret, fault);
    if (code != S3_OK)
        return code;
    return choose_op(ret, fault);
}
