/* Addressing, the query table, and the choice of the operation. */
#include "gateway/s3/request.h"

#include "common/base/check.h"
#include "gateway/s3/hoist.h"
#include "gateway/s3/version.h"

#include <stdio.h>

#define LIST_TYPE "list-type"

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

enum resource_kind { ON_SERVICE, ON_BUCKET, ON_OBJECT };

/* What a request may be about: the service, a bucket or an object itself, or a subresource that a
 * parameter names, by S3's name for it in errors and logs; and the operations on it.  Those with
 * none are known, and not offered.  With `list`, GET without an id asks for all.  Whatever is not
 * in this table is refused: it must never be taken for the plain operation on the same path. */
static const struct resource {
    const char *param; /* NULL: none */
    const char *name;
    enum resource_kind on;
    enum s3_op get, head, put, post, del, list;
} resources[] = {
    {NULL, "SERVICE", ON_SERVICE, .get = S3_OP_LIST_BUCKETS},
    {NULL, "BUCKET", ON_BUCKET, .get = S3_OP_LIST_OBJECTS, .head = S3_OP_HEAD_BUCKET,
     .put = S3_OP_CREATE_BUCKET, .post = S3_OP_POST_OBJECT, .del = S3_OP_DELETE_BUCKET},
    {NULL, "OBJECT", ON_OBJECT, .get = S3_OP_GET_OBJECT, .head = S3_OP_HEAD_OBJECT,
     .put = S3_OP_PUT_OBJECT, .del = S3_OP_DELETE_OBJECT},
    {"abac", "BUCKET_ABAC", .on = ON_BUCKET},
    {"accelerate", "ACCELERATE", ON_BUCKET, .get = S3_OP_GET_BUCKET_ACCELERATE,
     .put = S3_OP_PUT_BUCKET_ACCELERATE},
    {"acl", "ACL", ON_BUCKET, .get = S3_OP_GET_BUCKET_ACL, .put = S3_OP_PUT_BUCKET_ACL},
    {"acl", "ACL", ON_OBJECT, .get = S3_OP_GET_OBJECT_ACL, .put = S3_OP_PUT_OBJECT_ACL},
    {"analytics", "ANALYTICS", ON_BUCKET, .get = S3_OP_GET_BUCKET_ANALYTICS,
     .put = S3_OP_PUT_BUCKET_ANALYTICS, .del = S3_OP_DELETE_BUCKET_ANALYTICS,
     .list = S3_OP_LIST_BUCKET_ANALYTICS},
    {"annotation", "OBJECT_ANNOTATIONS", .on = ON_OBJECT},
    {"attributes", "OBJECT_ATTRIBUTES", ON_OBJECT, .get = S3_OP_GET_OBJECT_ATTRIBUTES},
    {"cors", "CORS", ON_BUCKET, .get = S3_OP_GET_BUCKET_CORS, .put = S3_OP_PUT_BUCKET_CORS,
     .del = S3_OP_DELETE_BUCKET_CORS},
    {"delete", "MULTI_OBJECT_DELETE", ON_BUCKET, .post = S3_OP_DELETE_OBJECTS},
    {"encryption", "ENCRYPTION", ON_BUCKET, .get = S3_OP_GET_BUCKET_ENCRYPTION,
     .put = S3_OP_PUT_BUCKET_ENCRYPTION, .del = S3_OP_DELETE_BUCKET_ENCRYPTION},
    {"encryption", "OBJECT_ENCRYPTION", .on = ON_OBJECT},
    {"intelligent-tiering", "INTELLIGENT_TIERING", ON_BUCKET, .get = S3_OP_GET_BUCKET_TIERING,
     .put = S3_OP_PUT_BUCKET_TIERING, .del = S3_OP_DELETE_BUCKET_TIERING,
     .list = S3_OP_LIST_BUCKET_TIERING},
    {"inventory", "INVENTORY", ON_BUCKET, .get = S3_OP_GET_BUCKET_INVENTORY,
     .put = S3_OP_PUT_BUCKET_INVENTORY, .del = S3_OP_DELETE_BUCKET_INVENTORY,
     .list = S3_OP_LIST_BUCKET_INVENTORY},
    {"legal-hold", "OBJECT_LOCK_LEGALHOLD", ON_OBJECT, .get = S3_OP_GET_OBJECT_LEGAL_HOLD,
     .put = S3_OP_PUT_OBJECT_LEGAL_HOLD},
    {"lifecycle", "LIFECYCLE", ON_BUCKET, .get = S3_OP_GET_BUCKET_LIFECYCLE,
     .put = S3_OP_PUT_BUCKET_LIFECYCLE, .del = S3_OP_DELETE_BUCKET_LIFECYCLE},
    {LIST_TYPE, "BUCKET", ON_BUCKET, .get = S3_OP_LIST_OBJECTS_V2, .head = S3_OP_HEAD_BUCKET},
    {"location", "LOCATION", ON_BUCKET, .get = S3_OP_GET_BUCKET_LOCATION},
    {"logging", "LOGGING_STATUS", ON_BUCKET, .get = S3_OP_GET_BUCKET_LOGGING,
     .put = S3_OP_PUT_BUCKET_LOGGING},
    {"metadataAnnotationTable", "BUCKET_METADATA_ANNOTATION_TABLE_CONFIGURATION", .on = ON_BUCKET},
    {"metadataConfiguration", "BUCKET_METADATA_CONFIGURATION", .on = ON_BUCKET},
    {"metadataInventoryTable", "BUCKET_METADATA_INVENTORY_TABLE_CONFIGURATION", .on = ON_BUCKET},
    {"metadataJournalTable", "BUCKET_METADATA_JOURNAL_TABLE_CONFIGURATION", .on = ON_BUCKET},
    {"metadataTable", "BUCKET_METADATA_TABLE_CONFIGURATION", .on = ON_BUCKET},
    {"metrics", "METRICS", ON_BUCKET, .get = S3_OP_GET_BUCKET_METRICS,
     .put = S3_OP_PUT_BUCKET_METRICS, .del = S3_OP_DELETE_BUCKET_METRICS,
     .list = S3_OP_LIST_BUCKET_METRICS},
    {"notification", "NOTIFICATION", ON_BUCKET, .get = S3_OP_GET_BUCKET_NOTIFICATION,
     .put = S3_OP_PUT_BUCKET_NOTIFICATION},
    {"object-lock", "OBJECT_LOCK_CONFIGURATION", ON_BUCKET,
     .get = S3_OP_GET_OBJECT_LOCK_CONFIGURATION, .put = S3_OP_PUT_OBJECT_LOCK_CONFIGURATION},
    {"ownershipControls", "OWNERSHIP_CONTROLS", ON_BUCKET, .get = S3_OP_GET_BUCKET_OWNERSHIP,
     .put = S3_OP_PUT_BUCKET_OWNERSHIP, .del = S3_OP_DELETE_BUCKET_OWNERSHIP},
    {"partNumber", "OBJECT", ON_OBJECT, .get = S3_OP_GET_OBJECT, .head = S3_OP_HEAD_OBJECT},
    {"policy", "BUCKETPOLICY", ON_BUCKET, .get = S3_OP_GET_BUCKET_POLICY,
     .put = S3_OP_PUT_BUCKET_POLICY, .del = S3_OP_DELETE_BUCKET_POLICY},
    {"policyStatus", "POLICY_STATUS", ON_BUCKET, .get = S3_OP_GET_BUCKET_POLICY_STATUS},
    {"publicAccessBlock", "PUBLIC_ACCESS_BLOCK", ON_BUCKET, .get = S3_OP_GET_PUBLIC_ACCESS_BLOCK,
     .put = S3_OP_PUT_PUBLIC_ACCESS_BLOCK, .del = S3_OP_DELETE_PUBLIC_ACCESS_BLOCK},
    {"renameObject", "OBJECT_RENAME", ON_OBJECT, .put = S3_OP_RENAME_OBJECT},
    {"replication", "REPLICATION", ON_BUCKET, .get = S3_OP_GET_BUCKET_REPLICATION,
     .put = S3_OP_PUT_BUCKET_REPLICATION, .del = S3_OP_DELETE_BUCKET_REPLICATION},
    {"requestPayment", "REQUEST_PAYMENT", ON_BUCKET, .get = S3_OP_GET_BUCKET_REQUEST_PAYMENT,
     .put = S3_OP_PUT_BUCKET_REQUEST_PAYMENT},
    {"restore", "RESTORE", .on = ON_OBJECT},
    {"retention", "OBJECT_LOCK_RETENTION", ON_OBJECT, .get = S3_OP_GET_OBJECT_RETENTION,
     .put = S3_OP_PUT_OBJECT_RETENTION},
    {"select", "SELECT", .on = ON_OBJECT},
    {"session", "SESSION", .on = ON_BUCKET},
    {"tagging", "TAGGING", ON_BUCKET, .get = S3_OP_GET_BUCKET_TAGGING,
     .put = S3_OP_PUT_BUCKET_TAGGING, .del = S3_OP_DELETE_BUCKET_TAGGING},
    {"tagging", "OBJECT_TAGGING", ON_OBJECT, .get = S3_OP_GET_OBJECT_TAGGING,
     .put = S3_OP_PUT_OBJECT_TAGGING, .del = S3_OP_DELETE_OBJECT_TAGGING},
    {"torrent", "TORRENT", .on = ON_OBJECT},
    {"uploadId", "UPLOAD", ON_OBJECT, .get = S3_OP_LIST_PARTS, .put = S3_OP_UPLOAD_PART,
     .post = S3_OP_COMPLETE_MULTIPART_UPLOAD, .del = S3_OP_ABORT_MULTIPART_UPLOAD},
    {"uploads", "UPLOADS", ON_BUCKET, .get = S3_OP_LIST_MULTIPART_UPLOADS},
    {"uploads", "UPLOADS", ON_OBJECT, .post = S3_OP_CREATE_MULTIPART_UPLOAD},
    {"versioning", "VERSIONING", ON_BUCKET, .get = S3_OP_GET_BUCKET_VERSIONING,
     .put = S3_OP_PUT_BUCKET_VERSIONING},
    {"versions", "BUCKETVERSIONS", ON_BUCKET, .get = S3_OP_LIST_OBJECT_VERSIONS},
    {"website", "WEBSITE", ON_BUCKET, .get = S3_OP_GET_BUCKET_WEBSITE,
     .put = S3_OP_PUT_BUCKET_WEBSITE, .del = S3_OP_DELETE_BUCKET_WEBSITE},
};

/* Parameters that name no subresource, whether or not they have a value. */
static const char *const known_params[] = {
    "bucket-region",
    "continuation-token",
    "delimiter",
    "encoding-type",
    "fetch-owner",
    "id",
    "key-marker",
    "marker",
    "max-buckets",
    "max-keys",
    "max-parts",
    "max-uploads",
    "part-number-marker",
    "prefix",
    "start-after",
    "upload-id-marker",
    "version-id-marker",
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

static enum s3_code found(struct s3_request *r, enum s3_op op)
{
    r->op = op;
    return S3_OK;
}

/* offered: of what the request is about, or of what comes closest. */
static enum s3_code not_allowed(struct s3_request *r, const struct resource *offered,
                                struct s3_fault *fault)
{
    const struct {
        const char *name;
        enum s3_op op;
    } methods[] = {{"GET", offered->get},
                   {"HEAD", offered->head},
                   {"PUT", offered->put},
                   {"POST", offered->post},
                   {"DELETE", offered->del}};
    size_t len = 0;
    for (size_t i = 0; i < ARRAY_COUNT(methods); i++)
        if (methods[i].op != S3_OP_NONE)
            len += (size_t)snprintf(r->allow + len, sizeof(r->allow) - len, "%s%s", len ? ", " : "",
                                    methods[i].name);
    s3_fault_set(fault, S3_METHOD_NOT_ALLOWED, NULL);
    s3_fault_extra(fault, "Method", r->method);
    s3_fault_extra(fault, "ResourceType", slice_cstr(offered->name));
    return S3_METHOD_NOT_ALLOWED;
}

/* It does not decode; or it would, if there were memory. */
static enum s3_code bad_uri(const struct s3_request *r, struct s3_fault *fault)
{
    return s3_fault_set(fault, r->arena->failed ? S3_INTERNAL_ERROR : S3_INVALID_URI, NULL);
}

static bool method_is(const struct s3_request *r, const char *name)
{
    return slice_eq(r->method, slice_cstr(name));
}

/* The operator's questions: under a path that no bucket can have, whatever the host says. */
static bool is_admin(const struct s3_request *r)
{
    return slice_has_prefix(r->raw_path, SLICE_LIT(S3_ADMIN_PREFIX));
}

static enum s3_code admin_op(struct s3_request *r, struct s3_fault *fault)
{
    static const struct resource admin = {.name = "ADMIN", .get = S3_OP_ADMIN, .post = S3_OP_ADMIN};
    size_t prefix = sizeof(S3_ADMIN_PREFIX) - 1;
    if (!s3_percent_decode(r->arena, r->raw_path, false, &r->path) || !utf8_valid(r->path))
        return bad_uri(r, fault);
    r->key = SLICE(r->path.ptr + prefix, r->path.len - prefix);
    if (!method_is(r, "GET") && !method_is(r, "POST"))
        return not_allowed(r, &admin, fault);
    return found(r, S3_OP_ADMIN);
}

/* ---- resources ---- */

static enum s3_code not_offered(struct slice param, struct s3_fault *fault)
{
    s3_fault_set(fault, S3_NOT_IMPLEMENTED, NULL);
    s3_fault_extra(fault, "Query", param);
    return S3_NOT_IMPLEMENTED;
}

static bool is_named(const struct resource *s, struct slice param)
{
    return s->param && slice_eq(param, slice_cstr(s->param));
}

bool s3_names_subresource(struct slice name)
{
    for (size_t k = 0; k < ARRAY_COUNT(resources); k++)
        if (is_named(&resources[k], name))
            return true;
    return false;
}

/* param NULL: the one that the path alone is about, which there is. */
static const struct resource *find_resource(const struct s3_request *r, const struct slice *param)
{
    enum resource_kind here = r->key.len ? ON_OBJECT : r->bucket.len ? ON_BUCKET : ON_SERVICE;
    for (size_t k = 0; k < ARRAY_COUNT(resources); k++)
        if (resources[k].on == here &&
            (param ? is_named(&resources[k], *param) : !resources[k].param))
            return &resources[k];
    return NULL;
}

static bool has_part_of_upload(const struct s3_request *r)
{
    return s3_request_param(r, "uploadId") && s3_request_param(r, "partNumber");
}

/* What is the request about?  Two subresources at once are refused: to follow one would be to
 * ignore the other; but the number of a part goes with the id of its upload.  One that this kind of
 * resource does not have is refused, too, and so is a parameter without a value that nobody knows:
 * it may be a subresource of later times, and to ignore it could turn, say, the change of a setting
 * into the overwriting of an object.  Unknown parameters with a value are ignored, as S3 does. */
static enum s3_code choose_resource(const struct s3_request *r, const struct resource **ret,
                                    struct s3_fault *fault)
{
    const struct resource *named = NULL;
    for (size_t i = 0; i < r->param_count; i++) {
        const struct s3_param *p = &r->params[i];
        const struct resource *s = find_resource(r, &p->name);
        bool is_flag = p->name.len && p->value.len == 0 && !is_known(p->name);
        if (!s && (is_flag || s3_names_subresource(p->name)))
            return not_offered(p->name, fault);
        if (!s || (slice_eq(p->name, SLICE_LIT("partNumber")) && has_part_of_upload(r)))
            continue;
        if (named && s != named)
            return s3_fault_argument(fault, "Conflicting query string parameters", "ResourceType",
                                     p->name);
        named = s;
    }
    *ret = named ? named : find_resource(r, NULL);
    CHECK(*ret);
    return S3_OK;
}

static bool is_offered(const struct resource *s)
{
    return s->get || s->head || s->put || s->post || s->del;
}

static enum s3_op op_of(const struct s3_request *r, const struct resource *s)
{
    bool copy = http_fields_find(r->fields, "x-amz-copy-source") != NULL;
    if (method_is(r, "GET"))
        return s->list && !s3_request_param(r, "id") ? s->list : s->get;
    if (method_is(r, "HEAD"))
        return s->head;
    if (method_is(r, "PUT"))
        return copy && s->put == S3_OP_PUT_OBJECT    ? S3_OP_COPY_OBJECT
               : copy && s->put == S3_OP_UPLOAD_PART ? S3_OP_UPLOAD_PART_COPY
                                                     : s->put;
    if (method_is(r, "POST"))
        return s->post;
    return method_is(r, "DELETE") ? s->del : S3_OP_NONE;
}

/* The id of an upload and the number of a part: a PUT takes both or none, others never both. */
static enum s3_code check_part(struct s3_request *r, struct s3_fault *fault)
{
    static const struct resource part = {.name = "PART", .put = S3_OP_UPLOAD_PART};
    bool upload_id = s3_request_param(r, "uploadId") != NULL;
    bool part_number = s3_request_param(r, "partNumber") != NULL;
    if (!method_is(r, "PUT"))
        return upload_id && part_number ? not_allowed(r, &part, fault) : S3_OK;
    return upload_id == part_number
               ? S3_OK
               : s3_fault_argument(fault, "partNumber and uploadId must be given together.",
                                   upload_id ? "partNumber" : "uploadId", SLICE_EMPTY);
}

static enum s3_code check_list_type(const struct s3_request *r, enum s3_op *op,
                                    struct s3_fault *fault)
{
    struct slice type = s3_request_value(r, LIST_TYPE);
    if (*op != S3_OP_LIST_OBJECTS_V2 || slice_eq(type, SLICE_LIT("2")))
        return S3_OK;
    *op = S3_OP_LIST_OBJECTS;
    return slice_eq(type, SLICE_LIT("1"))
               ? S3_OK
               : s3_fault_argument(fault, "Invalid List Type specified in Request", LIST_TYPE,
                                   type);
}

static bool takes_version(enum s3_op op)
{
    switch (op) {
    case S3_OP_GET_OBJECT:
    case S3_OP_HEAD_OBJECT:
    case S3_OP_DELETE_OBJECT:
    case S3_OP_GET_OBJECT_ATTRIBUTES:
    case S3_OP_GET_OBJECT_TAGGING:
    case S3_OP_PUT_OBJECT_TAGGING:
    case S3_OP_DELETE_OBJECT_TAGGING:
    case S3_OP_GET_OBJECT_ACL:
    case S3_OP_PUT_OBJECT_ACL:
    case S3_OP_GET_OBJECT_RETENTION:
    case S3_OP_PUT_OBJECT_RETENTION:
    case S3_OP_GET_OBJECT_LEGAL_HOLD:
    case S3_OP_PUT_OBJECT_LEGAL_HOLD: return true;
    default: return false;
    }
}

/* Which version the request is about: an id that was given, or "null", the one that has none. */
static enum s3_code parse_version(struct s3_request *r, enum s3_op op, struct s3_fault *fault)
{
    const struct s3_param *p = s3_request_param(r, "versionId");
    if (!p)
        return S3_OK;
    if (!takes_version(op))
        return s3_fault_argument(fault, "This operation does not accept a version-id.", "versionId",
                                 p->value);
    if (s3_version_id_parse(p->value, &r->version))
        return S3_OK;
    return s3_fault_argument(fault,
                             p->value.len ? "Invalid version id specified"
                                          : "Version id cannot be the empty string",
                             "versionId", p->value);
}

static enum s3_code choose_op(struct s3_request *r, struct s3_fault *fault)
{
    const struct resource *s = NULL;
    if (method_is(r, "OPTIONS"))
        return found(r, S3_OP_PREFLIGHT);
    if (r->key.len > S3_KEY_BYTES_MAX) {
        s3_fault_set(fault, S3_KEY_TOO_LONG, NULL);
        s3_fault_extra(fault, "MaxSizeAllowed", SLICE_LIT("1024"));
        return S3_KEY_TOO_LONG;
    }
    enum s3_code code = choose_resource(r, &s, fault);
    if (code != S3_OK)
        return code;
    r->resource = s->name;
    if (!is_offered(s))
        return not_offered(slice_cstr(s->param), fault);
    code = check_part(r, fault);
    if (code != S3_OK)
        return code;
    enum s3_op op = op_of(r, s);
    if (op == S3_OP_NONE)
        return not_allowed(r, s, fault);
    code = check_list_type(r, &op, fault);
    if (code == S3_OK)
        code = parse_version(r, op, fault);
    return code == S3_OK ? found(r, op) : code;
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
            return bad_uri(r, fault);
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

/* Neither an address nor a name without a dot, which machines next to one another call each other
 * by. */
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
    static const struct resource page = {
        .name = "OBJECT", .get = S3_OP_GET_OBJECT, .head = S3_OP_HEAD_OBJECT};
    r->website = true;
    r->resource = "OBJECT";
    r->bucket = lower_copy(r->arena, bucket);
    if (!host_is_clean(http_fields_get(r->fields, "host"))) /* redirects repeat it */
        return s3_fault_set(fault, S3_INVALID_REQUEST, "The Host header is not valid.");
    if (!s3_percent_decode(r->arena, r->raw_path, false, &r->path) || !utf8_valid(r->path))
        return bad_uri(r, fault);
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
    return method_is(r, "GET") ? found(r, S3_OP_GET_OBJECT) : not_allowed(r, &page, fault);
}

static enum s3_code locate(const struct s3_addressing *addressing, struct s3_request *r,
                           struct s3_fault *fault)
{
    bool is_base;
    struct slice rest = r->raw_path,
                 bucket = host_below(addressing->base_domains, addressing->base_domain_count,
                                     r->host, &is_base);
    if (!s3_percent_decode(r->arena, r->raw_path, false, &r->path) || !utf8_valid(r->path))
        return bad_uri(r, fault);
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
