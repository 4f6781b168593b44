/* What requests say about checksums.  Computing them: hasher.c. */
#include "gateway/s3/checksum.h"

#include "common/base/check.h"
#include "common/crypto/codec.h"

#include <stdio.h>

static const struct {
    const char *name, *field, *element;
    uint8_t bytes;
} algorithms[S3_CHECKSUM_COUNT] = {
    [S3_CHECKSUM_NONE] = {"", "", "", 0},
    [S3_CHECKSUM_CRC32] = {"CRC32", "x-amz-checksum-crc32", "ChecksumCRC32", 4},
    [S3_CHECKSUM_CRC32C] = {"CRC32C", "x-amz-checksum-crc32c", "ChecksumCRC32C", 4},
    [S3_CHECKSUM_CRC64NVME] = {"CRC64NVME", "x-amz-checksum-crc64nvme", "ChecksumCRC64NVME", 8},
    [S3_CHECKSUM_SHA1] = {"SHA1", "x-amz-checksum-sha1", "ChecksumSHA1", 20},
    [S3_CHECKSUM_SHA256] = {"SHA256", "x-amz-checksum-sha256", "ChecksumSHA256", 32},
};

const char *s3_checksum_name(enum s3_checksum_algorithm a)
{
    CHECK((unsigned)a < S3_CHECKSUM_COUNT);
    return algorithms[a].name;
}

const char *s3_checksum_field(enum s3_checksum_algorithm a)
{
    CHECK((unsigned)a < S3_CHECKSUM_COUNT);
    return algorithms[a].field;
}

const char *s3_checksum_element(enum s3_checksum_algorithm a)
{
    CHECK((unsigned)a < S3_CHECKSUM_COUNT);
    return algorithms[a].element;
}

const char *s3_checksum_type_name(enum s3_checksum_type t)
{
    return t == S3_CHECKSUM_COMPOSITE ? "COMPOSITE" : "FULL_OBJECT";
}

size_t s3_checksum_bytes(enum s3_checksum_algorithm a)
{
    CHECK((unsigned)a < S3_CHECKSUM_COUNT);
    return algorithms[a].bytes;
}

enum s3_checksum_algorithm s3_checksum_by_name(struct slice name)
{
    for (int a = S3_CHECKSUM_CRC32; a < S3_CHECKSUM_COUNT; a++)
        if (slice_eq_nocase(name, slice_cstr(algorithms[a].name)))
            return (enum s3_checksum_algorithm)a;
    return S3_CHECKSUM_NONE;
}

enum s3_checksum_algorithm s3_checksum_by_field(struct slice field)
{
    for (int a = S3_CHECKSUM_CRC32; a < S3_CHECKSUM_COUNT; a++)
        if (slice_eq_nocase(field, slice_cstr(algorithms[a].field)))
            return (enum s3_checksum_algorithm)a;
    return S3_CHECKSUM_NONE;
}

size_t s3_checksum_text(const struct s3_checksum *c, unsigned part_count,
                        char ret[S3_CHECKSUM_TEXT_MAX])
{
    CHECK(c->len <= S3_CHECKSUM_BYTES_MAX);
    size_t n = base64_encode(SLICE(c->bytes, c->len), ret);
    if (c->type == S3_CHECKSUM_COMPOSITE && part_count > 0)
        n += (size_t)snprintf(ret + n, S3_CHECKSUM_TEXT_MAX - n, "-%u", part_count);
    ret[n] = 0;
    return n;
}

bool s3_checksum_from_text(enum s3_checksum_algorithm a, struct slice text, struct s3_checksum *ret,
                           unsigned *ret_parts)
{
    struct s3_checksum c = {.algorithm = a, .len = algorithms[a].bytes};
    const uint8_t *dash = text.len && ret_parts ? memchr(text.ptr, '-', text.len) : NULL;
    uint64_t parts = 0;
    if (dash) {
        size_t len = (size_t)(dash - text.ptr);
        if (!parse_u64(SLICE(dash + 1, text.len - len - 1), &parts) || parts == 0 ||
            parts > S3_PART_NUMBER_MAX)
            return false;
        text.len = len;
        c.type = S3_CHECKSUM_COMPOSITE;
    }
    if (a == S3_CHECKSUM_NONE || base64_decode(text, c.bytes, sizeof(c.bytes)) != c.len)
        return false;
    *ret = c;
    if (ret_parts)
        *ret_parts = (unsigned)parts;
    return true;
}

/* ---- claims ---- */

static enum s3_code parse_md5(const struct s3_request *r, struct s3_checksum_claim *ret,
                              struct s3_fault *fault)
{
    const struct http_field *f = http_fields_find(r->fields, "content-md5");
    if (!f)
        return S3_OK;
    if (http_fields_count(r->fields, "content-md5") > 1 ||
        base64_decode(f->value, ret->md5, MD5_BYTES) != MD5_BYTES) {
        s3_fault_set(fault, S3_INVALID_DIGEST, NULL);
        s3_fault_extra(fault, "Content-MD5", f->value);
        return S3_INVALID_DIGEST;
    }
    ret->has_md5 = true;
    return S3_OK;
}

static enum s3_code take_value(struct s3_checksum_claim *ret, enum s3_checksum_algorithm a,
                               struct slice value, struct s3_fault *fault)
{
    if (!s3_checksum_from_text(a, value, &ret->value, NULL)) {
        s3_fault_set(fault, S3_INVALID_REQUEST, "The value specified for the checksum is invalid.");
        s3_fault_extra(fault, "ChecksumHeader", slice_cstr(algorithms[a].field));
        return S3_INVALID_REQUEST;
    }
    ret->algorithm = a;
    ret->has_value = true;
    return S3_OK;
}

/* x-amz-checksum-* fields that state a value; -mode, -type and -algorithm say something else. */
static bool is_value_field(struct slice name)
{
    return slice_has_prefix_nocase(name, SLICE_LIT("x-amz-checksum-")) &&
           !slice_eq_nocase(name, SLICE_LIT("x-amz-checksum-mode")) &&
           !slice_eq_nocase(name, SLICE_LIT("x-amz-checksum-type")) &&
           !slice_eq_nocase(name, SLICE_LIT("x-amz-checksum-algorithm"));
}

static enum s3_code parse_values(const struct s3_request *r, struct s3_checksum_claim *ret,
                                 struct s3_fault *fault)
{
    for (size_t i = 0; i < r->fields.count; i++) {
        const struct http_field *f = &r->fields.ptr[i];
        if (!is_value_field(f->name))
            continue;
        enum s3_checksum_algorithm a = s3_checksum_by_field(f->name);
        if (a == S3_CHECKSUM_NONE)
            return s3_fault_set(fault, S3_INVALID_REQUEST,
                                "The checksum algorithm of the request is not supported.");
        if (ret->has_value)
            return s3_fault_set(fault, S3_INVALID_REQUEST,
                                "Expecting a single x-amz-checksum- header. Multiple checksum "
                                "Types are not allowed.");
        enum s3_code code = take_value(ret, a, f->value, fault);
        if (code != S3_OK)
            return code;
    }
    return S3_OK;
}

/* x-amz-trailer: S3 knows trailers only as checksums, and only one. */
static enum s3_code parse_announcement(const struct s3_request *r, struct s3_checksum_claim *ret,
                                       struct s3_fault *fault)
{
    const struct http_field *f = http_fields_find(r->fields, "x-amz-trailer");
    if (!f)
        return S3_OK;
    enum s3_checksum_algorithm a = s3_checksum_by_field(f->value);
    if (a == S3_CHECKSUM_NONE || http_fields_count(r->fields, "x-amz-trailer") > 1)
        return s3_fault_set(fault, S3_INVALID_REQUEST,
                            "The value specified in the x-amz-trailer header is not supported");
    if (ret->has_value)
        return s3_fault_set(fault, S3_INVALID_REQUEST,
                            "Expecting a single x-amz-checksum- header. Multiple checksum Types "
                            "are not allowed.");
    ret->algorithm = a;
    ret->in_trailer = true;
    return S3_OK;
}

enum s3_code s3_checksum_claim_parse(const struct s3_request *r, struct s3_checksum_claim *ret,
                                     struct s3_fault *fault)
{
    *ret = (struct s3_checksum_claim){0};
    enum s3_code code = parse_md5(r, ret, fault);
    if (code == S3_OK)
        code = parse_values(r, ret, fault);
    if (code == S3_OK)
        code = parse_announcement(r, ret, fault);
    if (code != S3_OK)
        return code;
    const struct http_field *sdk = http_fields_find(r->fields, "x-amz-sdk-checksum-algorithm");
    if (!sdk || slice_eq_nocase(sdk->value, SLICE_LIT("MD5")))
        return S3_OK;
    enum s3_checksum_algorithm a = s3_checksum_by_name(sdk->value);
    if (a == S3_CHECKSUM_NONE)
        return s3_fault_set(fault, S3_INVALID_REQUEST,
                            "Value for x-amz-sdk-checksum-algorithm header is invalid.");
    if (ret->algorithm == S3_CHECKSUM_NONE)
        ret->algorithm = a; /* named, not stated: compute it */
    else if (ret->algorithm != a)
        return s3_fault_set(fault, S3_INVALID_REQUEST,
                            "Value for x-amz-sdk-checksum-algorithm header is invalid.");
    return S3_OK;
}

enum s3_code s3_checksum_claim_trailer(struct s3_checksum_claim *claim, struct http_fields trailers,
                                       struct s3_fault *fault)
{
    for (size_t i = 0; i < trailers.count; i++) {
        enum s3_checksum_algorithm a = s3_checksum_by_field(trailers.ptr[i].name);
        if (!claim->in_trailer || a != claim->algorithm || claim->has_value)
            return s3_fault_set(fault, S3_MALFORMED_TRAILER, NULL);
        enum s3_code code = take_value(claim, a, trailers.ptr[i].value, fault);
        if (code != S3_OK)
            return code;
    }
    if (claim->in_trailer && !claim->has_value)
        return s3_fault_set(fault, S3_MALFORMED_TRAILER, NULL);
    return S3_OK;
}

enum s3_code s3_checksum_upload_parse(const struct s3_request *r,
                                      enum s3_checksum_algorithm *ret_algorithm,
                                      enum s3_checksum_type *ret_type, struct s3_fault *fault)
{
    const struct http_field *named = http_fields_find(r->fields, "x-amz-checksum-algorithm");
    const struct http_field *typed = http_fields_find(r->fields, "x-amz-checksum-type");
    enum s3_checksum_algorithm a = S3_CHECKSUM_NONE;
    if (named) {
        a = s3_checksum_by_name(named->value);
        if (a == S3_CHECKSUM_NONE)
            return s3_fault_set(fault, S3_INVALID_REQUEST,
                                "Checksum algorithm provided is unsupported. Please try again with "
                                "any of the valid types: [CRC32, CRC32C, CRC64NVME, SHA1, SHA256]");
    }
    bool sha = a == S3_CHECKSUM_SHA1 || a == S3_CHECKSUM_SHA256;
    enum s3_checksum_type t = a == S3_CHECKSUM_NONE || a == S3_CHECKSUM_CRC64NVME
                                  ? S3_CHECKSUM_FULL_OBJECT
                                  : S3_CHECKSUM_COMPOSITE;
    if (typed) {
        if (!named)
            return s3_fault_set(fault, S3_INVALID_REQUEST,
                                "The x-amz-checksum-type header can only be used with the "
                                "x-amz-checksum-algorithm header.");
        if (slice_eq_nocase(typed->value, SLICE_LIT("FULL_OBJECT")))
            t = S3_CHECKSUM_FULL_OBJECT;
        else if (slice_eq_nocase(typed->value, SLICE_LIT("COMPOSITE")))
            t = S3_CHECKSUM_COMPOSITE;
        else
            return s3_fault_set(fault, S3_INVALID_REQUEST,
                                "Value for x-amz-checksum-type header is invalid.");
        if (sha && t == S3_CHECKSUM_FULL_OBJECT)
            return s3_fault_set(fault, S3_INVALID_REQUEST,
                                "The FULL_OBJECT checksum type cannot be used with the SHA1 and "
                                "SHA256 checksum algorithms.");
        if (a == S3_CHECKSUM_CRC64NVME && t == S3_CHECKSUM_COMPOSITE)
            return s3_fault_set(fault, S3_INVALID_REQUEST,
                                "The COMPOSITE checksum type cannot be used with the CRC64NVME "
                                "checksum algorithm.");
    }
    *ret_algorithm = a;
    *ret_type = t;
    return S3_OK;
}
