/* Fields in the query of presigned requests. */
#include "gateway/s3/hoist.h"

#include "common/base/check.h"

static bool is_one_of(struct slice name, const char *const *names, size_t count)
{
    for (size_t i = 0; i < count; i++)
        if (slice_eq_nocase(name, slice_cstr(names[i])))
            return true;
    return false;
}

/* Of the signature: sigv4.c reads them, and they have a case. */
static bool of_signature(struct slice name)
{
    static const char *const names[] = {
        "X-Amz-Algorithm",     "X-Amz-Credential",     "X-Amz-Date",
        "X-Amz-Expires",       "X-Amz-SignedHeaders",  "X-Amz-Signature",
        "X-Amz-Security-Token", "X-Amz-Content-Sha256", "X-Amz-Content-SHA256"};
    for (size_t i = 0; i < ARRAY_COUNT(names); i++)
        if (slice_eq(name, slice_cstr(names[i])))
            return true;
    return false;
}

/* Says who made the URL, and nothing of what it asks for. */
static bool is_idle(struct slice name)
{
    return slice_eq_nocase(name, SLICE_LIT("x-amz-user-agent"));
}

/* Some operation takes it, or refuses it with a word of its own.  A field that an operation does not
 * take means nothing there, as a field and here. */
static bool is_known(struct slice name)
{
    static const char *const names[] = {
        "x-amz-acl",
        "x-amz-bucket-object-lock-enabled",
        "x-amz-bypass-governance-retention",
        "x-amz-checksum-algorithm",
        "x-amz-checksum-crc32",
        "x-amz-checksum-crc32c",
        "x-amz-checksum-crc64nvme",
        "x-amz-checksum-mode",
        "x-amz-checksum-sha1",
        "x-amz-checksum-sha256",
        "x-amz-checksum-type",
        "x-amz-client-token",
        "x-amz-confirm-remove-self-bucket-access",
        "x-amz-copy-source",
        "x-amz-copy-source-if-match",
        "x-amz-copy-source-if-modified-since",
        "x-amz-copy-source-if-none-match",
        "x-amz-copy-source-if-unmodified-since",
        "x-amz-copy-source-range",
        "x-amz-copy-source-server-side-encryption-customer-algorithm",
        "x-amz-copy-source-server-side-encryption-customer-key-MD5",
        "x-amz-expected-bucket-owner",
        "x-amz-grant-full-control",
        "x-amz-grant-read",
        "x-amz-grant-read-acp",
        "x-amz-grant-write",
        "x-amz-grant-write-acp",
        "x-amz-if-match-last-modified-time",
        "x-amz-if-match-size",
        "x-amz-max-parts",
        "x-amz-metadata-directive",
        "x-amz-mp-object-size",
        "x-amz-object-attributes",
        "x-amz-object-lock-legal-hold",
        "x-amz-object-lock-mode",
        "x-amz-object-lock-retain-until-date",
        "x-amz-object-ownership",
        "x-amz-optional-object-attributes",
        "x-amz-part-number-marker",
        "x-amz-rename-source",
        "x-amz-rename-source-if-match",
        "x-amz-rename-source-if-modified-since",
        "x-amz-rename-source-if-none-match",
        "x-amz-rename-source-if-unmodified-since",
        "x-amz-request-payer",
        "x-amz-sdk-checksum-algorithm",
        "x-amz-server-side-encryption",
        "x-amz-server-side-encryption-aws-kms-key-id",
        "x-amz-server-side-encryption-bucket-key-enabled",
        "x-amz-server-side-encryption-context",
        "x-amz-server-side-encryption-customer-algorithm",
        "x-amz-server-side-encryption-customer-key-MD5",
        "x-amz-skip-destination-validation",
        "x-amz-source-expected-bucket-owner",
        "x-amz-storage-class",
        "x-amz-tagging",
        "x-amz-tagging-directive",
        "x-amz-transition-default-minimum-object-size",
        "x-amz-website-redirect-location",
        "x-amz-write-offset-bytes",
    };
    return slice_has_prefix_nocase(name, SLICE_LIT("x-amz-meta-")) ||
           is_one_of(name, names, ARRAY_COUNT(names));
}

/* Signed by version 2, with a place of its own. */
static bool is_positional(struct slice name)
{
    return slice_eq_nocase(name, SLICE_LIT("content-type")) ||
           slice_eq_nocase(name, SLICE_LIT("content-md5"));
}

/* Whoever sees the URL, be it in a log or a history, would have it. */
static bool is_secret(struct slice name)
{
    static const char *const names[] = {
        "x-amz-server-side-encryption-customer-key",
        "x-amz-copy-source-server-side-encryption-customer-key"};
    return is_one_of(name, names, ARRAY_COUNT(names));
}

/* The checksum of no data.  SDKs work one out by themselves when they presign, at which time there
 * are no data: it claims nothing of those that come.  What was meant to be claimed is another one,
 * and of an upload without data it would be true. */
static bool is_of_no_data(const struct s3_param *p)
{
    static const struct {
        const char *name, *value;
    } checksums[] = {
        {"x-amz-checksum-crc32", "AAAAAA=="},
        {"x-amz-checksum-crc32c", "AAAAAA=="},
        {"x-amz-checksum-crc64nvme", "AAAAAAAAAAA="},
        {"x-amz-checksum-sha1", "2jmj7l5rSw0yVb/vlWAYkK/YBwk="},
        {"x-amz-checksum-sha256", "47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU="},
    };
    for (size_t i = 0; i < ARRAY_COUNT(checksums); i++)
        if (slice_eq_nocase(p->name, slice_cstr(checksums[i].name)))
            return slice_eq(p->value, slice_cstr(checksums[i].value));
    return false;
}

/* ---- one of them ---- */

bool s3_can_be_field(struct slice name, struct slice value)
{
    return http_name_valid(name) && http_value_valid(value);
}

static enum s3_code refuse(struct s3_fault *fault, const char *message, struct slice name)
{
    s3_fault_set(fault, S3_INVALID_ARGUMENT, message);
    s3_fault_extra(fault, "ArgumentName", name);
    return S3_INVALID_ARGUMENT;
}

static enum s3_code check(const struct s3_param *p, struct s3_fault *fault)
{
    if (is_secret(p->name)) {
        s3_fault_set(fault, S3_INVALID_REQUEST,
                     "A key of the customer must be sent as a header, not in the URL.");
        return S3_INVALID_REQUEST;
    }
    if (!is_known(p->name) && !is_positional(p->name)) {
        s3_fault_set(fault, S3_NOT_IMPLEMENTED,
                     "A query parameter implies functionality that is not implemented");
        s3_fault_extra(fault, "Query", p->name);
        return S3_NOT_IMPLEMENTED;
    }
    return s3_can_be_field(p->name, p->value)
               ? S3_OK
               : refuse(fault, "The query parameter cannot be represented as a header.", p->name);
}

/* Among the fields that there are: has it been sent as well, or did it come before in the query?
 * *ret_there: it has been sent, and says the same. */
static enum s3_code compare(const struct s3_request *r, const struct http_field *f, bool *ret_there,
                            struct s3_fault *fault)
{
    *ret_there = false;
    for (size_t i = 0; i < r->fields.count; i++) {
        const struct http_field *old = &r->fields.ptr[i];
        if (!slice_eq_nocase(old->name, f->name))
            continue;
        if (i + r->hoisted >= r->fields.count)
            return refuse(fault, "A query parameter was given more than once.", f->name);
        if (!slice_eq(old->value, f->value))
            return refuse(fault, "The header and the query parameter are not the same.", f->name);
        *ret_there = true;
    }
    return S3_OK;
}

/* ---- all ---- */

bool s3_request_is_presigned(const struct s3_request *r)
{
    return s3_request_param(r, "X-Amz-Algorithm") || s3_request_param(r, "X-Amz-Signature") ||
           s3_request_param(r, "X-Amz-Credential");
}

bool s3_request_is_presigned_v2(const struct s3_request *r)
{
    return s3_request_param(r, "AWSAccessKeyId") || s3_request_param(r, "Signature");
}

static bool was_sent(const struct s3_request *r, struct slice name)
{
    for (size_t i = 0; i < r->fields.count - r->hoisted; i++)
        if (slice_eq_nocase(r->fields.ptr[i].name, name))
            return true;
    return false;
}

static bool is_hoisted(const struct s3_request *r, const struct s3_param *p, bool version_2)
{
    if (version_2 && is_positional(p->name))
        return !was_sent(r, p->name);
    if (version_2 && slice_eq_nocase(p->name, SLICE_LIT("x-amz-security-token")))
        return false;
    return slice_has_prefix_nocase(p->name, SLICE_LIT("x-amz-")) && !of_signature(p->name) &&
           !is_idle(p->name) && !is_of_no_data(p);
}

enum s3_code s3_request_hoist(struct s3_request *r, struct s3_fault *fault)
{
    size_t sent = r->fields.count, count = 0;
    enum s3_code code = S3_OK;
    bool version_2 = s3_request_is_presigned_v2(r);
    if (!version_2 && !s3_request_is_presigned(r))
        return S3_OK;
    for (size_t i = 0; i < r->param_count; i++)
        count += is_hoisted(r, &r->params[i], version_2);
    if (count == 0)
        return S3_OK;
    struct http_field *all = arena_alloc(r->arena, (sent + count) * sizeof(*all));
    if (!all)
        return s3_fault_set(fault, S3_INTERNAL_ERROR, NULL);
    if (sent)
        memcpy(all, r->fields.ptr, sent * sizeof(*all));
    r->fields.ptr = all;
    for (size_t i = 0; i < r->param_count && code == S3_OK; i++) {
        const struct s3_param *p = &r->params[i];
        bool there;
        if (!is_hoisted(r, p, version_2))
            continue;
        /* an empty one is there, too */
        struct http_field f = {p->name, p->value.ptr ? slice_trim(p->value) : SLICE("", 0)};
        code = check(p, fault);
        if (code == S3_OK)
            code = compare(r, &f, &there, fault);
        if (code != S3_OK || there)
            continue;
        all[r->fields.count++] = f;
        r->hoisted++;
    }
    return code;
}
