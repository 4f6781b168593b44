/* Parsing of credentials, and the checks that need no secret.  Signing itself: sigv4_sign.c. */
#include "gateway/s3/sigv4.h"

#include "common/base/check.h"
#include "common/crypto/codec.h"
#include "gateway/s3/hoist.h"
#include "gateway/s3/sigv2.h"
#include "gateway/s3/time.h"

#define ALGORITHM "AWS4-HMAC-SHA256"

static enum s3_code malformed(struct s3_fault *fault, bool presigned, const char *message)
{
    return s3_fault_set(fault,
                        presigned ? S3_AUTHORIZATION_QUERY_PARAMETERS_ERROR
                                  : S3_AUTHORIZATION_HEADER_MALFORMED,
                        message);
}

/* ---- the payload's hash, as claimed ---- */

static enum s3_code parse_payload(const struct s3_request *r, struct sigv4_auth *a,
                                  struct s3_fault *fault)
{
    static const struct {
        const char *text;
        enum s3_payload_mode mode;
    } modes[] = {
        {"UNSIGNED-PAYLOAD", S3_PAYLOAD_UNSIGNED},
        {"STREAMING-AWS4-HMAC-SHA256-PAYLOAD", S3_PAYLOAD_STREAMING_SIGNED},
        {"STREAMING-AWS4-HMAC-SHA256-PAYLOAD-TRAILER", S3_PAYLOAD_STREAMING_SIGNED_TRAILER},
        {"STREAMING-UNSIGNED-PAYLOAD-TRAILER", S3_PAYLOAD_STREAMING_UNSIGNED_TRAILER},
    };
    const struct http_field *f = http_fields_find(r->fields, "x-amz-content-sha256");
    const struct s3_param *p = a->presigned ? s3_request_param(r, "X-Amz-Content-Sha256") : NULL;
    if (a->presigned && !p)
        p = s3_request_param(r, "X-Amz-Content-SHA256");
    if (!f && !p) {
        if (!a->anonymous && !slice_eq(a->service, SLICE_LIT("s3"))) {
            a->payload = S3_PAYLOAD_UNSIGNED;
            return S3_OK;
        }
        if (!a->anonymous && !a->presigned)
            return s3_fault_set(fault, S3_INVALID_REQUEST,
                                "Missing required header for this request: x-amz-content-sha256");
        a->payload = S3_PAYLOAD_UNSIGNED;
        a->payload_text = SLICE_LIT("UNSIGNED-PAYLOAD");
        return S3_OK;
    }
    if (http_fields_count(r->fields, "x-amz-content-sha256") > 1)
        return s3_fault_set(fault, S3_INVALID_REQUEST,
                            "More than one x-amz-content-sha256 header was sent.");
    if (f && p && !slice_eq(f->value, p->value))
        return s3_fault_argument(fault, "The header and the query parameter are not the same.",
                                 "x-amz-content-sha256", f->value);
    a->payload_text = f ? f->value : p->value;
    for (size_t i = 0; i < ARRAY_COUNT(modes); i++) {
        if (slice_eq(a->payload_text, slice_cstr(modes[i].text))) {
            a->payload = modes[i].mode;
            break;
        }
        if (i + 1 == ARRAY_COUNT(modes)) {
            a->payload = S3_PAYLOAD_SHA256;
            if (!hex_decode(a->payload_text, a->payload_sha256, SHA256_BYTES))
                return s3_fault_argument(
                    fault,
                    "x-amz-content-sha256 must be UNSIGNED-PAYLOAD, "
                    "STREAMING-UNSIGNED-PAYLOAD-TRAILER, STREAMING-AWS4-HMAC-SHA256-PAYLOAD, "
                    "STREAMING-AWS4-HMAC-SHA256-PAYLOAD-TRAILER, or a valid sha256 value.",
                    "x-amz-content-sha256", a->payload_text);
        }
    }
    bool chained = a->payload == S3_PAYLOAD_STREAMING_SIGNED ||
                   a->payload == S3_PAYLOAD_STREAMING_SIGNED_TRAILER;
    if (chained && (a->anonymous || a->version_2))
        return s3_fault_set(fault, S3_INVALID_REQUEST,
                            "A body in signed chunks needs a request signed with version 4.");
    return S3_OK;
}

/* ---- credential scope ---- */

/* AKID/yyyymmdd/region/service/aws4_request; an access key may itself have slashes. */
static enum s3_code parse_credential(struct slice credential, struct sigv4_auth *a,
                                     struct s3_fault *fault)
{
    size_t cut[4], n = 0;
    for (size_t i = credential.len; i-- > 0 && n < 4;)
        if (credential.ptr[i] == '/')
            cut[n++] = i;
    if (n < 4 || cut[3] == 0)
        return malformed(fault, a->presigned,
                         "The Credential is mal-formed; expecting "
                         "\"<YOUR-AKID>/YYYYMMDD/REGION/SERVICE/aws4_request\".");
    a->access_key = SLICE(credential.ptr, cut[3]);
    a->scope = SLICE(credential.ptr + cut[3] + 1, credential.len - cut[3] - 1);
    a->scope_date = SLICE(credential.ptr + cut[3] + 1, cut[2] - cut[3] - 1);
    a->region = SLICE(credential.ptr + cut[2] + 1, cut[1] - cut[2] - 1);
    a->service = SLICE(credential.ptr + cut[1] + 1, cut[0] - cut[1] - 1);
    struct slice end = SLICE(credential.ptr + cut[0] + 1, credential.len - cut[0] - 1);
    if (!slice_eq(end, SLICE_LIT("aws4_request")))
        return malformed(fault, a->presigned,
                         "The Credential's scope must end in \"aws4_request\".");
    if (a->access_key.len > 128)
        return malformed(fault, a->presigned, "The access key id is too long.");
    return S3_OK;
}

/* host;x-amz-date;...: in ascending order, lower case, each once. */
static bool signed_headers_well_formed(struct slice list)
{
    struct slice before = SLICE_EMPTY;
    unsigned count = 0;
    for (size_t at = 0; at <= list.len;) {
        const uint8_t *end = at < list.len ? memchr(list.ptr + at, ';', list.len - at) : NULL;
        size_t len = end ? (size_t)(end - (list.ptr + at)) : list.len - at;
        struct slice name = SLICE(list.ptr + at, len);
        if (len == 0 || ++count > SIGV4_SIGNED_HEADERS_MAX ||
            (before.ptr && slice_cmp(before, name) >= 0))
            return false;
        for (size_t i = 0; i < len; i++)
            if (name.ptr[i] != ascii_lower(name.ptr[i]) || name.ptr[i] <= ' ')
                return false;
        before = name;
        at += len + 1;
    }
    return true;
}

static bool list_has(struct slice list, struct slice name)
{
    for (size_t at = 0; at < list.len;) {
        const uint8_t *end = memchr(list.ptr + at, ';', list.len - at);
        size_t len = end ? (size_t)(end - (list.ptr + at)) : list.len - at;
        if (slice_eq_nocase(SLICE(list.ptr + at, len), name))
            return true;
        at += len + 1;
    }
    return false;
}

/* Fields that were sent; what follows them is signed with the query. */
static size_t sent_count(const struct s3_request *r)
{
    return r->fields.count - r->hoisted;
}

/* Is there another field of this name behind the one at `at`?  What is signed is the fields' values
 * joined with commas, so whoever carries the request could cut one value in two, and what takes the
 * first field would see less than was signed.  User metadata and lists are joined as they are
 * signed. */
static bool comes_again(const struct s3_request *r, size_t at)
{
    struct slice name = r->fields.ptr[at].name;
    if (slice_has_prefix_nocase(name, SLICE_LIT("x-amz-meta-")) ||
        slice_eq_nocase(name, SLICE_LIT("x-amz-object-attributes")) ||
        slice_eq_nocase(name, SLICE_LIT("x-amz-optional-object-attributes")))
        return false;
    for (size_t i = at + 1; i < sent_count(r); i++)
        if (slice_eq_nocase(r->fields.ptr[i].name, name))
            return true;
    return false;
}

enum s3_code sigv4_check_once(const struct s3_request *r, size_t at, struct s3_fault *fault)
{
    if (!comes_again(r, at))
        return S3_OK;
    s3_fault_set(fault, S3_INVALID_REQUEST, "A header was sent more than once.");
    s3_fault_extra(fault, "Header", r->fields.ptr[at].name);
    return S3_INVALID_REQUEST;
}

/* What could change the meaning of the request must be under the signature. */
static enum s3_code check_signed_headers(const struct s3_request *r, const struct sigv4_auth *a,
                                         struct s3_fault *fault)
{
    if (!signed_headers_well_formed(a->signed_headers))
        return malformed(fault, a->presigned, "The list of signed headers is mal-formed.");
    if (!list_has(a->signed_headers, SLICE_LIT("host")))
        return malformed(fault, a->presigned, "The host header must be signed.");
    if (!http_fields_find(r->fields, "host"))
        return s3_fault_set(fault, S3_MISSING_SECURITY_HEADER, NULL);
    for (size_t i = 0; i < sent_count(r); i++) {
        struct slice name = r->fields.ptr[i].name;
        if (!slice_has_prefix_nocase(name, SLICE_LIT("x-amz-")))
            continue;
        if (sigv4_check_once(r, i, fault) != S3_OK)
            return S3_INVALID_REQUEST;
        if (list_has(a->signed_headers, name))
            continue;
        s3_fault_set(fault, S3_ACCESS_DENIED,
                     "There were headers present in the request which were not signed");
        s3_fault_extra(fault, "HeadersNotSigned", name);
        return S3_ACCESS_DENIED;
    }
    return S3_OK;
}

static enum s3_code parse_signature(struct slice hex, struct sigv4_auth *a, struct s3_fault *fault)
{
    a->signature_text = hex;
    if (!hex_decode(hex, a->signature, SHA256_BYTES))
        return malformed(fault, a->presigned, "The Signature is not 64 hexadecimal digits.");
    return S3_OK;
}

static enum s3_code check_timestamp(struct sigv4_auth *a, struct s3_fault *fault)
{
    if (!slice_eq(SLICE(a->timestamp.ptr, 8), a->scope_date))
        return malformed(fault, a->presigned,
                         "The date of the Credential is not the same as that of X-Amz-Date.");
    return S3_OK;
}

/* ---- the Authorization header ---- */

/* x-amz-date, or else Date, which is brought into the form that is signed. */
static enum s3_code parse_header_date(const struct s3_request *r, struct sigv4_auth *a,
                                      struct s3_fault *fault)
{
    const struct http_field *f = http_fields_find(r->fields, "x-amz-date");
    if (f) {
        a->timestamp = f->value;
        if (amz_date_parse(f->value, &a->time_ms))
            return S3_OK;
    } else {
        f = http_fields_find(r->fields, "date");
        if (f && amz_date_parse(f->value, &a->time_ms)) {
            a->timestamp = f->value;
            return S3_OK;
        }
        char *text = arena_alloc(r->arena, AMZ_DATE_CHARS + 1);
        if (!text)
            return s3_fault_set(fault, S3_INTERNAL_ERROR, NULL);
        if (f && http_date_parse(f->value, 0, &a->time_ms)) {
            amz_date_format(a->time_ms, text);
            a->timestamp = SLICE(text, AMZ_DATE_CHARS);
            return S3_OK;
        }
    }
    return s3_fault_set(fault, S3_ACCESS_DENIED,
                        "AWS authentication requires a valid Date or x-amz-date header");
}

static enum s3_code parse_authorization(const struct s3_request *r, struct slice value,
                                        struct sigv4_auth *a, struct s3_fault *fault)
{
    struct slice credential = SLICE_EMPTY, headers = SLICE_EMPTY, signature = SLICE_EMPTY;
    value = SLICE(value.ptr + sizeof(ALGORITHM) - 1, value.len - (sizeof(ALGORITHM) - 1));
    for (size_t at = 0; at < value.len;) {
        const uint8_t *comma = memchr(value.ptr + at, ',', value.len - at);
        size_t len = comma ? (size_t)(comma - (value.ptr + at)) : value.len - at;
        struct slice item = slice_trim(SLICE(value.ptr + at, len));
        const uint8_t *equals = item.len ? memchr(item.ptr, '=', item.len) : NULL;
        at += len + 1;
        if (!equals)
            return malformed(fault, false, NULL);
        struct slice name = SLICE(item.ptr, (size_t)(equals - item.ptr));
        struct slice text = SLICE(equals + 1, item.len - name.len - 1);
        struct slice *slot = slice_eq(name, SLICE_LIT("Credential"))      ? &credential
                             : slice_eq(name, SLICE_LIT("SignedHeaders")) ? &headers
                             : slice_eq(name, SLICE_LIT("Signature"))     ? &signature
                                                                          : NULL;
        if (!slot || slot->ptr)
            return malformed(fault, false, NULL);
        *slot = text;
    }
    if (!credential.ptr || !headers.ptr || !signature.ptr)
        return malformed(fault, false,
                         "The authorization header requires three components: Credential, "
                         "SignedHeaders, and Signature.");
    a->signed_headers = headers;
    enum s3_code code = parse_credential(credential, a, fault);
    if (code == S3_OK)
        code = parse_signature(signature, a, fault);
    if (code == S3_OK)
        code = parse_header_date(r, a, fault);
    if (code == S3_OK)
        code = check_timestamp(a, fault);
    return code;
}

/* ---- the presigned query ---- */

/* A parameter that must be there exactly once. */
static const struct s3_param *single(const struct s3_request *r, const char *name)
{
    const struct s3_param *one = NULL;
    struct slice want = slice_cstr(name);
    for (size_t i = 0; i < r->param_count; i++) {
        if (!slice_eq(r->params[i].name, want))
            continue;
        if (one)
            return NULL;
        one = &r->params[i];
    }
    return one;
}

static enum s3_code parse_presigned(const struct s3_request *r, struct sigv4_auth *a,
                                    struct s3_fault *fault)
{
    const struct s3_param *algorithm = single(r, "X-Amz-Algorithm"),
                          *credential = single(r, "X-Amz-Credential"),
                          *date = single(r, "X-Amz-Date"), *expires = single(r, "X-Amz-Expires"),
                          *headers = single(r, "X-Amz-SignedHeaders"),
                          *signature = single(r, "X-Amz-Signature");
    if (!algorithm || !credential || !date || !expires || !headers || !signature)
        return malformed(fault, true,
                         "Query-string authentication version 4 requires the X-Amz-Algorithm, "
                         "X-Amz-Credential, X-Amz-Signature, X-Amz-Date, X-Amz-SignedHeaders, and "
                         "X-Amz-Expires parameters.");
    if (slice_has_prefix(algorithm->value, SLICE_LIT("AWS4-ECDSA-")))
        return s3_fault_set(fault, S3_INVALID_REQUEST,
                            "Signature version 4A is not supported. Please use AWS4-HMAC-SHA256.");
    if (!slice_eq(algorithm->value, SLICE_LIT(ALGORITHM)))
        return malformed(fault, true, "X-Amz-Algorithm only supports \"AWS4-HMAC-SHA256\"");
    a->signed_headers = headers->value;
    enum s3_code code = parse_credential(credential->value, a, fault);
    if (code == S3_OK)
        code = parse_signature(signature->value, a, fault);
    if (code != S3_OK)
        return code;
    a->timestamp = date->value;
    if (!amz_date_parse(date->value, &a->time_ms))
        return malformed(fault, true,
                         "X-Amz-Date must be in the ISO8601 Long Format \"yyyyMMdd'T'HHmmss'Z'\"");
    if (!parse_u64(expires->value, &a->expires_s))
        return malformed(fault, true, "X-Amz-Expires should be a number");
    if (a->expires_s < 1)
        return malformed(fault, true, "X-Amz-Expires must be at least one second");
    if (a->expires_s > SIGV4_EXPIRES_MAX_S)
        return malformed(fault, true,
                         "X-Amz-Expires must be less than a week (in seconds); that is, the given "
                         "X-Amz-Expires must be less than 604800 seconds");
    return check_timestamp(a, fault);
}

/* Of a temporary session.  Where the signature is, there the token must be; an empty one is one. */
static enum s3_code parse_token(const struct s3_request *r, struct sigv4_auth *a,
                                struct s3_fault *fault)
{
    const struct http_field *f = http_fields_find(r->fields, "x-amz-security-token");
    bool in_query = s3_request_param(r, "X-Amz-Security-Token") != NULL;
    const struct s3_param *p = single(r, "X-Amz-Security-Token");
    if (in_query && (!a->presigned || !p || f))
        return s3_fault_set(fault, S3_INVALID_TOKEN, NULL);
    if (f)
        a->token = f->value;
    else if (p)
        a->token = p->value;
    if ((f || p) && !a->token.ptr)
        a->token = SLICE("", 0);
    return S3_OK;
}

enum s3_code sigv4_parse(const struct s3_request *r, struct sigv4_auth *ret, struct s3_fault *fault)
{
    const struct http_field *f = http_fields_find(r->fields, "authorization");
    struct slice value = f ? f->value : SLICE_EMPTY;
    enum s3_code code = S3_OK;
    *ret = (struct sigv4_auth){0};
    *fault = (struct s3_fault){0};
    ret->presigned = s3_request_is_presigned(r);
    bool version_2 = s3_request_is_presigned_v2(r);
    if ((f != NULL) + ret->presigned + version_2 > 1 ||
        http_fields_count(r->fields, "authorization") > 1)
        return s3_fault_argument(fault,
                                 "Only one auth mechanism allowed; only the X-Amz-Algorithm query "
                                 "parameter, Signature query string parameter or the "
                                 "Authorization header should be specified",
                                 "Authorization", SLICE_EMPTY);
    if (version_2) {
        code = sigv2_parse(r, ret, fault);
        return code == S3_OK ? parse_payload(r, ret, fault) : code;
    }
    if (slice_has_prefix(value, SLICE_LIT("AWS ")))
        return s3_fault_set(fault, S3_INVALID_REQUEST, SIGV4_ONLY);
    if (slice_has_prefix(value, SLICE_LIT("AWS4-ECDSA-")))
        return s3_fault_set(fault, S3_INVALID_REQUEST,
                            "Signature version 4A is not supported. Please use AWS4-HMAC-SHA256.");
    if (f && !slice_has_prefix(value, SLICE_LIT(ALGORITHM " ")))
        return s3_fault_argument(fault, "Unsupported Authorization Type", "Authorization",
                                 SLICE_EMPTY);
    if (!f && !ret->presigned) {
        ret->anonymous = true;
        return parse_payload(r, ret, fault);
    }
    code = parse_token(r, ret, fault);
    if (code != S3_OK)
        return code;
    code =
        ret->presigned ? parse_presigned(r, ret, fault) : parse_authorization(r, value, ret, fault);
    if (code == S3_OK)
        code = check_signed_headers(r, ret, fault);
    if (code == S3_OK)
        code = parse_payload(r, ret, fault);
    return code;
}

/* ---- forms ---- */

bool sigv4_form_field(struct http_fields form, const char *name, const char *message,
                      struct slice *ret, struct s3_fault *fault)
{
    struct slice value = http_fields_get(form, name);
    if (value.len)
        *ret = value;
    else
        s3_fault_argument(fault, message, name, SLICE_EMPTY);
    return value.len > 0;
}

static bool has_one_of(struct http_fields form, const char *const *names, size_t count)
{
    for (size_t i = 0; i < count; i++)
        if (http_fields_find(form, names[i]))
            return true;
    return false;
}

static enum s3_code parse_form_fields(struct http_fields form, struct sigv4_auth *a,
                                      struct s3_fault *fault)
{
    struct slice algorithm, credential, signature;
    if (!SIGV4_FORM_FIELD(form, "policy", &a->policy, fault) ||
        !SIGV4_FORM_FIELD(form, "x-amz-algorithm", &algorithm, fault) ||
        !SIGV4_FORM_FIELD(form, "x-amz-credential", &credential, fault) ||
        !SIGV4_FORM_FIELD(form, "x-amz-date", &a->timestamp, fault) ||
        !SIGV4_FORM_FIELD(form, "x-amz-signature", &signature, fault))
        return S3_INVALID_ARGUMENT;
    if (!slice_eq(algorithm, SLICE_LIT(ALGORITHM)))
        return s3_fault_set(fault, S3_INVALID_REQUEST, SIGV4_ONLY);
    enum s3_code code = parse_credential(credential, a, fault);
    if (code == S3_OK)
        code = parse_signature(signature, a, fault);
    if (code == S3_OK && !amz_date_parse(a->timestamp, &a->time_ms))
        code = s3_fault_set(fault, S3_ACCESS_DENIED,
                            "AWS authentication requires a valid Date or x-amz-date header");
    return code == S3_OK ? check_timestamp(a, fault) : code;
}

enum s3_code sigv4_parse_form(struct http_fields form, struct sigv4_auth *ret,
                              struct s3_fault *fault)
{
    static const char *const of_4[] = {"x-amz-signature", "x-amz-credential", "x-amz-algorithm"};
    static const char *const of_2[] = {"signature", "AWSAccessKeyId"};
    bool version_4 = has_one_of(form, of_4, ARRAY_COUNT(of_4));
    const struct http_field *token = http_fields_find(form, "x-amz-security-token");
    *ret = (struct sigv4_auth){
        .payload = S3_PAYLOAD_UNSIGNED,
        .payload_text = SLICE_LIT("UNSIGNED-PAYLOAD"),
        .version_2 = has_one_of(form, of_2, ARRAY_COUNT(of_2)),
    };
    if (version_4 && ret->version_2)
        return s3_fault_argument(fault,
                                 "Only one auth mechanism allowed; a form has either the field "
                                 "'signature' or the field 'x-amz-signature'",
                                 "signature", SLICE_EMPTY);
    ret->anonymous = !version_4 && !ret->version_2 && !http_fields_find(form, "policy");
    if (ret->anonymous)
        return S3_OK;
    if (token) /* an empty one is one */
        ret->token = token->value.ptr ? token->value : SLICE("", 0);
    return ret->version_2 ? sigv2_parse_form(form, ret, fault)
                          : parse_form_fields(form, ret, fault);
}

/* ---- what needs no secret ---- */

static enum s3_code check_region(const struct s3_request *r, const struct sigv4_auth *a,
                                 struct slice region, struct s3_fault *fault)
{
    struct buf b = {0};
    if (region.len == 0 || slice_eq(a->region, region))
        return S3_OK;
    malformed(fault, a->presigned, NULL);
    buf_cstr(&b, a->presigned ? "Error parsing the X-Amz-Credential parameter; the region '"
                              : "The authorization header is malformed; the region '");
    buf_slice(&b, a->region);
    buf_cstr(&b, "' is wrong; expecting '");
    buf_slice(&b, region);
    buf_cstr(&b, "'");
    if (!b.failed)
        fault->message = arena_copy(r->arena, buf_view(&b));
    buf_fini(&b);
    s3_fault_extra(fault, "Region", region);
    return fault->code;
}

static enum s3_code check_presigned_time(const struct s3_request *r, const struct sigv4_auth *a,
                                         uint64_t now_ms, struct s3_fault *fault)
{
    if (a->time_ms > now_ms + SIGV4_SKEW_MS)
        return s3_fault_set(fault, S3_ACCESS_DENIED, "Request is not yet valid");
    uint64_t end_ms = a->time_ms + a->expires_s * 1000;
    if (now_ms <= end_ms)
        return S3_OK;
    char *text = arena_alloc(r->arena, 2 * (ISO8601_MS_CHARS + 1));
    s3_fault_set(fault, S3_REQUEST_EXPIRED, NULL);
    if (text) {
        iso8601_format(end_ms, text);
        iso8601_format(now_ms, text + ISO8601_MS_CHARS + 1);
        s3_fault_extra(fault, "X-Amz-Expires", s3_request_value(r, "X-Amz-Expires"));
        s3_fault_extra(fault, "Expires", SLICE(text, ISO8601_MS_CHARS));
        s3_fault_extra(fault, "ServerTime", SLICE(text + ISO8601_MS_CHARS + 1, ISO8601_MS_CHARS));
    }
    return S3_REQUEST_EXPIRED;
}

static enum s3_code check_skew(const struct s3_request *r, const struct sigv4_auth *a,
                               uint64_t now_ms, struct s3_fault *fault)
{
    uint64_t skew = a->time_ms > now_ms ? a->time_ms - now_ms : now_ms - a->time_ms;
    if (skew <= SIGV4_SKEW_MS)
        return S3_OK;
    char *text = arena_alloc(r->arena, ISO8601_MS_CHARS + 1);
    s3_fault_set(fault, S3_REQUEST_TIME_TOO_SKEWED, NULL);
    s3_fault_extra(fault, "RequestTime", a->timestamp);
    if (text) {
        iso8601_format(now_ms, text);
        s3_fault_extra(fault, "ServerTime", SLICE(text, ISO8601_MS_CHARS));
    }
    s3_fault_extra(fault, "MaxAllowedSkewMilliseconds", SLICE_LIT("900000"));
    return S3_REQUEST_TIME_TOO_SKEWED;
}

enum s3_code sigv4_check_scope(const struct s3_request *r, const struct sigv4_auth *a,
                               struct slice region, uint64_t now_ms, struct s3_fault *fault)
{
    return sigv4_check_scope_of(r, a, SLICE_LIT("s3"), region, now_ms, fault);
}

enum s3_code sigv4_check_scope_of(const struct s3_request *r, const struct sigv4_auth *a,
                                  struct slice service, struct slice region, uint64_t now_ms,
                                  struct s3_fault *fault)
{
    CHECK(!a->anonymous);
    if (a->version_2)
        return sigv2_check_time(r, a, now_ms, fault);
    if (!slice_eq(a->service, service))
        return malformed(fault, a->presigned,
                         "The Credential's service is wrong; this endpoint belongs to \"s3\".");
    enum s3_code code = check_region(r, a, region, fault);
    if (code != S3_OK || a->policy.ptr)
        return code;
    return a->presigned ? check_presigned_time(r, a, now_ms, fault)
                        : check_skew(r, a, now_ms, fault);
}

enum s3_code sigv4_unknown_key(const struct sigv4_auth *a, struct s3_fault *fault)
{
    s3_fault_set(fault, S3_INVALID_ACCESS_KEY_ID, NULL);
    s3_fault_extra(fault, "AWSAccessKeyId", a->access_key);
    return S3_INVALID_ACCESS_KEY_ID;
}
