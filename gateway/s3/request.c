/* Addressing, the query table, and the choice of the operation. */
#include "gateway/s3/request.h"

#include "common/base/check.h"
#include "gateway/s3/hoist.h"
#include "gateway/s3/version.h"

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

/* Subresources that S3 knows, and the operations on them; S3_OP_NONE: not offered.  With `list`,
 * GET without an id asks for all. */
static const struct subresource {
    const char *name;
    int on;
    enum s3_op get, put, del, list;
} subresources[] = {
    {"abac", ON_BUCKET, S3_OP_NONE, S3_OP_NONE, S3_OP_NONE, S3_OP_NONE},
    {"accelerate", ON_BUCKET, S3_OP_GET_BUCKET_ACCELERATE, S3_OP_PUT_BUCKET_ACCELERATE, S3_OP_NONE,
     S3_OP_NONE},
    {"acl", ON_BUCKET, S3_OP_GET_BUCKET_ACL, S3_OP_PUT_BUCKET_ACL, S3_OP_NONE, S3_OP_NONE},
    {"acl", ON_OBJECT, S3_OP_GET_OBJECT_ACL, S3_OP_PUT_OBJECT_ACL, S3_OP_NONE, S3_OP_NONE},
    {"analytics", ON_BUCKET, S3_OP_GET_BUCKET_ANALYTICS, S3_OP_PUT_BUCKET_ANALYTICS,
     S3_OP_DELETE_BUCKET_ANALYTICS, S3_OP_LIST_BUCKET_ANALYTICS},
    {"cors", ON_BUCKET, S3_OP_GET_BUCKET_CORS, S3_OP_PUT_BUCKET_CORS, S3_OP_DELETE_BUCKET_CORS,
     S3_OP_NONE},
    {"encryption", ON_BUCKET, S3_OP_GET_BUCKET_ENCRYPTION, S3_OP_PUT_BUCKET_ENCRYPTION,
     S3_OP_DELETE_BUCKET_ENCRYPTION, S3_OP_NONE},
    {"encryption", ON_OBJECT, S3_OP_NONE, S3_OP_NONE, S3_OP_NONE, S3_OP_NONE},
    {"intelligent-tiering", ON_BUCKET, S3_OP_GET_BUCKET_TIERING, S3_OP_PUT_BUCKET_TIERING,
     S3_OP_DELETE_BUCKET_TIERING, S3_OP_LIST_BUCKET_TIERING},
    {"inventory", ON_BUCKET, S3_OP_GET_BUCKET_INVENTORY, S3_OP_PUT_BUCKET_INVENTORY,
     S3_OP_DELETE_BUCKET_INVENTORY, S3_OP_LIST_BUCKET_INVENTORY},
    {"legal-hold", ON_OBJECT, S3_OP_GET_OBJECT_LEGAL_HOLD, S3_OP_PUT_OBJECT_LEGAL_HOLD, S3_OP_NONE,
     S3_OP_NONE},
    {"lifecycle", ON_BUCKET, S3_OP_GET_BUCKET_LIFECYCLE, S3_OP_PUT_BUCKET_LIFECYCLE,
     S3_OP_DELETE_BUCKET_LIFECYCLE, S3_OP_NONE},
    {"logging", ON_BUCKET, S3_OP_GET_BUCKET_LOGGING, S3_OP_PUT_BUCKET_LOGGING, S3_OP_NONE,
     S3_OP_NONE},
    {"metadataAnnotationTable", ON_BUCKET, S3_OP_NONE, S3_OP_NONE, S3_OP_NONE, S3_OP_NONE},
    {"metadataConfiguration", ON_BUCKET, S3_OP_NONE, S3_OP_NONE, S3_OP_NONE, S3_OP_NONE},
    {"metadataInventoryTable", ON_BUCKET, S3_OP_NONE, S3_OP_NONE, S3_OP_NONE, S3_OP_NONE},
    {"metadataJournalTable", ON_BUCKET, S3_OP_NONE, S3_OP_NONE, S3_OP_NONE, S3_OP_NONE},
    {"metadataTable", ON_BUCKET, S3_OP_NONE, S3_OP_NONE, S3_OP_NONE, S3_OP_NONE},
    {"metrics", ON_BUCKET, S3_OP_GET_BUCKET_METRICS, S3_OP_PUT_BUCKET_METRICS,
     S3_OP_DELETE_BUCKET_METRICS, S3_OP_LIST_BUCKET_METRICS},
    {"notification", ON_BUCKET, S3_OP_GET_BUCKET_NOTIFICATION, S3_OP_PUT_BUCKET_NOTIFICATION,
     S3_OP_NONE, S3_OP_NONE},
    {"object-lock", ON_BUCKET, S3_OP_GET_OBJECT_LOCK_CONFIGURATION,
     S3_OP_PUT_OBJECT_LOCK_CONFIGURATION, S3_OP_NONE, S3_OP_NONE},
    {"ownershipControls", ON_BUCKET, S3_OP_GET_BUCKET_OWNERSHIP, S3_OP_PUT_BUCKET_OWNERSHIP,
     S3_OP_DELETE_BUCKET_OWNERSHIP, S3_OP_NONE},
    {"policy", ON_BUCKET, S3_OP_GET_BUCKET_POLICY, S3_OP_PUT_BUCKET_POLICY,
     S3_OP_DELETE_BUCKET_POLICY, S3_OP_NONE},
    {"policyStatus", ON_BUCKET, S3_OP_GET_BUCKET_POLICY_STATUS, S3_OP_NONE, S3_OP_NONE, S3_OP_NONE},
    {"publicAccessBlock", ON_BUCKET, S3_OP_GET_PUBLIC_ACCESS_BLOCK, S3_OP_PUT_PUBLIC_ACCESS_BLOCK,
     S3_OP_DELETE_PUBLIC_ACCESS_BLOCK, S3_OP_NONE},
    {"renameObject", ON_OBJECT, S3_OP_NONE, S3_OP_RENAME_OBJECT, S3_OP_NONE, S3_OP_NONE},
    {"replication", ON_BUCKET, S3_OP_GET_BUCKET_REPLICATION, S3_OP_PUT_BUCKET_REPLICATION,
     S3_OP_DELETE_BUCKET_REPLICATION, S3_OP_NONE},
    {"requestPayment", ON_BUCKET, S3_OP_GET_BUCKET_REQUEST_PAYMENT,
     S3_OP_PUT_BUCKET_REQUEST_PAYMENT, S3_OP_NONE, S3_OP_NONE},
    {"restore", ON_OBJECT, S3_OP_NONE, S3_OP_NONE, S3_OP_NONE, S3_OP_NONE},
    {"retention", ON_OBJECT, S3_OP_GET_OBJECT_RETENTION, S3_OP_PUT_OBJECT_RETENTION, S3_OP_NONE,
     S3_OP_NONE},
    {"select", ON_OBJECT, S3_OP_NONE, S3_OP_NONE, S3_OP_NONE, S3_OP_NONE},
    {"session", ON_BUCKET, S3_OP_NONE, S3_OP_NONE, S3_OP_NONE, S3_OP_NONE},
    {"tagging", ON_BUCKET, S3_OP_GET_BUCKET_TAGGING, S3_OP_PUT_BUCKET_TAGGING,
     S3_OP_DELETE_BUCKET_TAGGING, S3_OP_NONE},
    {"tagging", ON_OBJECT, S3_OP_GET_OBJECT_TAGGING, S3_OP_PUT_OBJECT_TAGGING,
     S3_OP_DELETE_OBJECT_TAGGING, S3_OP_NONE},
    {"torrent", ON_OBJECT, S3_OP_NONE, S3_OP_NONE, S3_OP_NONE, S3_OP_NONE},
    {"website", ON_BUCKET, S3_OP_GET_BUCKET_WEBSITE, S3_OP_PUT_BUCKET_WEBSITE,
     S3_OP_DELETE_BUCKET_WEBSITE, S3_OP_NONE},
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
    "id",
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
    "version-id-marker",
    "versionId",
    "versioning",
    "versions",
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
        if (s3_request_param(r, "versioning"))
            return found(r, S3_OP_GET_BUCKET_VERSIONING);
        if (s3_request_param(r, "versions"))
            return found(r, S3_OP_LIST_OBJECT_VERSIONS);
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
        return found(r, S3_OP_POST_OBJECT);
    }
    static const char *const on_others[] = {"delete",   "location",   "uploads",
                                            "uploadId", "partNumber", "versions"};
    for (size_t i = 0; i < ARRAY_COUNT(on_others); i++)
        if (s3_request_param(r, on_others[i]))
            return not_allowed(r, "BUCKET", fault);
    if (s3_request_param(r, "versioning"))
        return method_is(r, "PUT") ? found(r, S3_OP_PUT_BUCKET_VERSIONING)
                                   : not_allowed(r, "BUCKET", fault);
    if (method_is(r, "PUT"))
        return found(r, S3_OP_CREATE_BUCKET);
    if (method_is(r, "HEAD"))
        return found(r, S3_OP_HEAD_BUCKET);
    if (method_is(r, "DELETE"))
        return found(r, S3_OP_DELETE_BUCKET);
    return not_allowed(r, "BUCKET", fault);
}

/* Which version the request is about: an id that was given, or "null", the one that has none. */
static enum s3_code parse_version(struct s3_request *r, struct s3_fault *fault)
{
    const struct s3_param *p = s3_request_param(r, "versionId");
    if (!p || s3_version_id_parse(p->value, &r->version))
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
    enum s3_code code = parse_version(r, fault);
    if (code != S3_OK)
        return code;
    if (s3_request_param(r, "versioning") || s3_request_param(r, "versions")) /* of buckets */
        return not_allowed(r, "OBJECT", fault);
    if (r->version && (method_is(r, "PUT") || method_is(r, "POST")))
        return s3_fault_argument(fault, "This operation does not accept a version-id.", "versionId",
                                 s3_request_value(r, "versionId"));
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

/* ---- subresources ---- */

static enum s3_code not_offered(struct slice name, struct s3_fault *fault)
{
    s3_fault_set(fault, S3_NOT_IMPLEMENTED, NULL);
    s3_fault_extra(fault, "Query", name);
    return S3_NOT_IMPLEMENTED;
}

static const struct subresource *find_subresource(const struct s3_request *r, struct slice name)
{
    int here = r->key.len ? ON_OBJECT : ON_BUCKET;
    for (size_t k = 0; k < ARRAY_COUNT(subresources); k++)
        if (slice_eq(name, slice_cstr(subresources[k].name)) && (subresources[k].on & here))
            return &subresources[k];
    return NULL;
}

bool s3_names_subresource(struct slice name)
{
    for (size_t k = 0; k < ARRAY_COUNT(subresources); k++)
        if (slice_eq(name, slice_cstr(subresources[k].name)))
            return true;
    return false;
}

/* Two at once: to follow one would be to ignore the other. */
static enum s3_code check_conflicts(const struct s3_request *r, struct s3_fault *fault)
{
    static const char *const others[] = {"attributes", "delete",     "list-type",
                                         "location",   "partNumber", "uploads",
                                         "uploadId",   "versioning", "versions"};
    for (size_t i = 0; i < r->param_count; i++) {
        const struct subresource *s = find_subresource(r, r->params[i].name);
        bool other = s && strcmp(s->name, r->subresource) != 0;
        for (size_t k = 0; k < ARRAY_COUNT(others); k++)
            other |= slice_eq(r->params[i].name, slice_cstr(others[k]));
        if (other)
            return s3_fault_argument(fault, "Conflicting query string parameters", "ResourceType",
                                     r->params[i].name);
    }
    return S3_OK;
}

/* A parameter without a value that nobody knows is taken for a subresource of later times: to
 * ignore it could turn, say, the change of a setting into the overwriting of an object.  Unknown
 * parameters with a value are ignored, as S3 does.  *ret: the one that the request is about, or
 * NULL. */
static enum s3_code check_subresources(struct s3_request *r, const struct subresource **ret,
                                       struct s3_fault *fault)
{
    *ret = NULL;
    for (size_t i = 0; i < r->param_count; i++) {
        const struct s3_param *p = &r->params[i];
        const struct subresource *s = find_subresource(r, p->name);
        if (s && !*ret)
            *ret = s;
        if (!s && p->name.len && p->value.len == 0 && !is_known(p->name))
            return not_offered(p->name, fault);
    }
    r->subresource = *ret ? (*ret)->name : NULL;
    return S3_OK;
}

static enum s3_code subresource_op(struct s3_request *r, const struct subresource *s,
                                   struct s3_fault *fault)
{
    enum s3_op op = S3_OP_NONE;
    if (method_is(r, "GET"))
        op = s->list && !s3_request_param(r, "id") ? s->list : s->get;
    else if (method_is(r, "PUT"))
        op = s->put;
    else if (method_is(r, "DELETE"))
        op = s->del;
    if (op == S3_OP_NONE)
        return not_offered(slice_cstr(s->name), fault);
    enum s3_code code = check_conflicts(r, fault);
    if (code == S3_OK && r->key.len)
        code = parse_version(r, fault);
    return code == S3_OK ? found(r, op) : code;
}

static enum s3_code choose_op(struct s3_request *r, struct s3_fault *fault)
{
    const struct subresource *subresource;
    if (method_is(r, "OPTIONS"))
        return found(r, S3_OP_PREFLIGHT);
    if (r->bucket.len == 0)
        return method_is(r, "GET") ? found(r, S3_OP_LIST_BUCKETS)
                                   : not_allowed(r, "SERVICE", fault);
    if (r->key.len > S3_KEY_BYTES_MAX) {
        s3_fault_set(fault, S3_KEY_TOO_LONG, NULL);
        s3_fault_extra(fault, "MaxSizeAllowed", SLICE_LIT("1024"));
        return S3_KEY_TOO_LONG;
    }
    enum s3_code code = check_subresources(r, &subresource, fault);
    if (code != S3_OK)
        return code;
    if (subresource)
        return subresource_op(r, subresource, fault);
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

/* Nothing, or a port, behind the name. */
static bool host_is_clean(struct slice host)
{
    size_t at = host_name(host).len;
    if (at < host.len && host.ptr[at++] != ':')
        return false;
    for (; at < host.len; at++)
        if (host.ptr[at] < '0' || host.ptr[at] > '9')
            return false;
    return true;
}

/* The part of the host before one of these domains; empty: it is not below any.  *ret_is_one: it is
 * one of them itself. */
static struct slice host_below(const struct slice *domains, size_t count, struct slice host,
                               bool *ret_is_one)
{
    struct slice best = SLICE_EMPTY;
    *ret_is_one = false;
    for (size_t i = 0; i < count; i++) {
        struct slice base = domains[i];
        if (slice_eq_nocase(host, base)) {
            *ret_is_one = true;
            return SLICE_EMPTY;
        }
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

/* Neither an address nor a name without a dot, which machines next to one another call each other by. */
static bool is_public_name(struct slice host)
{
    bool dot = false, letter = false;
    for (size_t i = 0; i < host.len; i++) {
        dot |= host.ptr[i] == '.';
        letter |= ascii_lower(host.ptr[i]) >= 'a' && ascii_lower(host.ptr[i]) <= 'z';
    }
    return dot && letter && host.ptr[0] != '[';
}

/* Whose website the host is; empty: nobody's. */
static struct slice website_bucket(const struct s3_addressing *a, struct slice host)
{
    bool is_one, is_base;
    struct slice bucket = host_below(a->website_domains, a->website_domain_count, host, &is_one);
    if (bucket.len || is_one)
        return bucket.len ? bucket : host;
    bucket = host_below(a->base_domains, a->base_domain_count, host, &is_base);
    for (size_t i = 0; i < a->website_domain_count; i++)
        if (slice_eq(a->website_domains[i], SLICE_LIT("*")))
            return bucket.len || is_base || !is_public_name(host) ? SLICE_EMPTY : host;
    return SLICE_EMPTY;
}

/* What a browser asks of a website: a path. */
static enum s3_code website_op(struct s3_request *r, struct slice bucket, struct s3_fault *fault)
{
    r->website = true;
    r->bucket = lower_copy(r->arena, bucket);
    if (!host_is_clean(http_fields_get(r->fields, "host"))) /* redirects repeat it */
        return s3_fault_set(fault, S3_INVALID_REQUEST, "The Host header is not valid.");
    if (!s3_percent_decode(r->arena, r->raw_path, false, &r->path) || !utf8_valid(r->path))
        return s3_fault_set(fault, S3_INVALID_URI, NULL);
    r->key = SLICE(r->path.ptr + 1, r->path.len - 1);
    if (!s3_bucket_name_valid(r->bucket)) {
        s3_fault_set(fault, S3_NO_SUCH_BUCKET, NULL);
        s3_fault_extra(fault, "BucketName", r->bucket);
        return S3_NO_SUCH_BUCKET;
    }
    if (r->key.len > S3_KEY_BYTES_MAX)
        return s3_fault_set(fault, S3_KEY_TOO_LONG, NULL);
    if (method_is(r, "OPTIONS"))
        return found(r, S3_OP_PREFLIGHT);
    if (method_is(r, "HEAD"))
        return found(r, S3_OP_HEAD_OBJECT);
    return method_is(r, "GET") ? found(r, S3_OP_GET_OBJECT) : not_allowed(r, "OBJECT", fault);
}

static enum s3_code locate(const struct s3_addressing *addressing, struct s3_request *r,
                           struct s3_fault *fault)
{
    bool is_base;
    struct slice rest = r->raw_path, bucket = host_below(addressing->base_domains,
                                                         addressing->base_domain_count, r->host,
                                                         &is_base);
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
    struct slice website = website_bucket(addressing, ret->host);
    if (website.len)
        return website_op(ret, website, fault);
    enum s3_code code = parse_query(ret, fault);
    if (code != S3_OK)
        return code;
    if (is_admin(ret))
        return admin_op(ret, fault);
    code = locate(addressing, ret, fault);
    if (code == S3_OK)
        code = s3_request_hoist(ret, fault);
    return code == S3_OK ? choose_op(ret, fault) : code;
}
