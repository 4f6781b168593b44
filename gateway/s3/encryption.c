/* Header fields and settings of server-side encryption. */
#include "gateway/s3/encryption.h"

#include "common/base/check.h"
#include "common/crypto/codec.h"
#include "common/crypto/digest.h"

#define FIELD "x-amz-server-side-encryption"
#define SOURCE_FIELD "x-amz-copy-source-server-side-encryption"
#define CUSTOMER                                                                                   \
    "Requests specifying Server Side Encryption with Customer provided keys must provide "

static enum s3_code bad_argument(struct s3_fault *fault, const char *message, struct slice value)
{
    return s3_fault_argument(fault, message, FIELD, value);
}

/* ---- keys of customers ---- */

/* The fields of this family are there. */
static enum s3_code customer_parse(const struct s3_request *r, bool of_source,
                                   struct s3_sse_customer *ret, struct s3_fault *fault)
{
    struct slice algorithm = http_fields_get(
        r->fields, of_source ? SOURCE_FIELD "-customer-algorithm" : FIELD "-customer-algorithm");
    struct slice key = http_fields_get(r->fields, of_source ? SOURCE_FIELD "-customer-key"
                                                            : FIELD "-customer-key");
    struct slice md5 = http_fields_get(r->fields, of_source ? SOURCE_FIELD "-customer-key-MD5"
                                                            : FIELD "-customer-key-MD5");
    uint8_t bytes[4 * S3_SSE_KEY_BYTES], claimed[MD5_BYTES], found[MD5_BYTES];
    if (!algorithm.ptr && !key.ptr && !md5.ptr)
        return S3_OK;
    if (!algorithm.ptr)
        return bad_argument(fault, CUSTOMER "a valid encryption algorithm.", SLICE_EMPTY);
    if (!slice_eq(algorithm, SLICE_LIT("AES256"))) {
        bad_argument(fault, NULL, algorithm);
        fault->code = S3_INVALID_ENCRYPTION_ALGORITHM;
        fault->message = slice_cstr(s3_code_message(S3_INVALID_ENCRYPTION_ALGORITHM));
        return S3_INVALID_ENCRYPTION_ALGORITHM;
    }
    if (!key.ptr)
        return bad_argument(fault, CUSTOMER "an appropriate secret key.", SLICE_EMPTY);
    if (!md5.ptr)
        return bad_argument(fault, CUSTOMER "the client calculated MD5 of the secret key.",
                            SLICE_EMPTY);
    ssize_t n = base64_decode(key, bytes, sizeof(bytes));
    digest_once(DIGEST_MD5, SLICE(bytes, n > 0 ? (size_t)n : 0), found);
    if (n == S3_SSE_KEY_BYTES)
        memcpy(ret->key, bytes, S3_SSE_KEY_BYTES);
    crypto_wipe(bytes, sizeof(bytes));
    const char *wrong = NULL;
    if (base64_decode(md5, claimed, sizeof(claimed)) != MD5_BYTES ||
        !crypto_equal(claimed, found, MD5_BYTES))
        wrong = "The calculated MD5 hash of the key did not match the hash that was provided.";
    else if (n != S3_SSE_KEY_BYTES)
        wrong = "The secret key was invalid for the specified algorithm.";
    if (wrong) {
        crypto_wipe(ret, sizeof(*ret));
        return bad_argument(fault, wrong, SLICE_EMPTY);
    }
    ret->md5 = md5;
    ret->given = true;
    return S3_OK;
}

enum s3_code s3_sse_customer_parse(const struct s3_request *r, bool of_source,
                                   struct s3_sse_customer *ret, struct s3_fault *fault)
{
    *ret = (struct s3_sse_customer){0};
    if (!http_fields_any(r->fields, of_source ? SLICE_LIT(SOURCE_FIELD) : SLICE_LIT(FIELD)))
        return S3_OK; /* as nearly always */
    return customer_parse(r, of_source, ret, fault);
}

/* ---- writes ---- */

/* A field of this family that we do not know may mean anything. */
static enum s3_code check_known(const struct s3_request *r, struct s3_fault *fault)
{
    static const char *const known[] = {"",
                                        "-aws-kms-key-id",
                                        "-context",
                                        "-bucket-key-enabled",
                                        "-customer-algorithm",
                                        "-customer-key",
                                        "-customer-key-MD5"};
    size_t prefix = sizeof(FIELD) - 1;
    for (size_t i = 0; i < r->fields.count; i++) {
        struct slice name = r->fields.ptr[i].name;
        bool ok = false;
        if (!slice_has_prefix_nocase(name, SLICE_LIT(FIELD)))
            continue;
        for (size_t k = 0; k < ARRAY_COUNT(known); k++)
            ok |=
                slice_eq_nocase(SLICE(name.ptr + prefix, name.len - prefix), slice_cstr(known[k]));
        if (ok)
            continue;
        s3_fault_set(fault, S3_NOT_IMPLEMENTED, NULL);
        s3_fault_extra(fault, "Header", name);
        return S3_NOT_IMPLEMENTED;
    }
    return S3_OK;
}

static enum s3_code parse_mode(const struct http_field *f, enum s3_sse_mode *ret,
                               struct s3_fault *fault)
{
    static const char *const elsewhere[] = {"aws:kms:dsse", "aws:fsx", "aws:backup"};
    *ret = S3_SSE_NONE;
    if (!f)
        return S3_OK;
    if (slice_eq(f->value, SLICE_LIT("AES256")))
        *ret = S3_SSE_S3;
    else if (slice_eq(f->value, SLICE_LIT("aws:kms")))
        *ret = S3_SSE_KMS;
    if (*ret)
        return S3_OK;
    for (size_t i = 0; i < ARRAY_COUNT(elsewhere); i++)
        if (slice_eq(f->value, slice_cstr(elsewhere[i]))) {
            s3_fault_set(fault, S3_NOT_IMPLEMENTED, NULL);
            s3_fault_extra(fault, "Header", f->name);
            return S3_NOT_IMPLEMENTED;
        }
    return bad_argument(fault, "The encryption method specified is not supported", f->value);
}

static enum s3_code parse_kms(const struct s3_request *r, struct s3_sse *ret,
                              struct s3_fault *fault)
{
    struct slice bucket_key = http_fields_get(r->fields, FIELD "-bucket-key-enabled");
    ret->kms_key = http_fields_get(r->fields, FIELD "-aws-kms-key-id");
    ret->context = http_fields_get(r->fields, FIELD "-context");
    if (ret->mode != S3_SSE_KMS && (ret->kms_key.ptr || ret->context.ptr))
        return bad_argument(fault,
                            "Server Side Encryption with AWS KMS managed key requires HTTP header "
                            "x-amz-server-side-encryption : aws:kms",
                            http_fields_get(r->fields, FIELD));
    if (ret->context.len > S3_SSE_CONTEXT_BYTES_MAX)
        return s3_fault_argument(fault, "The encryption context is too long.", FIELD "-context",
                                 SLICE_EMPTY);
    if (!bucket_key.ptr)
        return S3_OK;
    ret->has_bucket_key = true;
    ret->bucket_key = slice_eq_nocase(bucket_key, SLICE_LIT("true"));
    if (!ret->bucket_key && !slice_eq_nocase(bucket_key, SLICE_LIT("false")))
        return s3_fault_argument(fault, "The value must be true or false.",
                                 FIELD "-bucket-key-enabled", bucket_key);
    return S3_OK;
}

enum s3_code s3_sse_parse(const struct s3_request *r, struct s3_sse *ret, struct s3_fault *fault)
{
    *ret = (struct s3_sse){0};
    if (!http_fields_any(r->fields, SLICE_LIT(FIELD)))
        return S3_OK;
    const struct http_field *f = http_fields_find(r->fields, FIELD);
    enum s3_code code = check_known(r, fault);
    if (code == S3_OK)
        code = parse_mode(f, &ret->mode, fault);
    if (code == S3_OK)
        code = parse_kms(r, ret, fault);
    if (code == S3_OK && ret->mode && http_fields_find(r->fields, FIELD "-customer-algorithm"))
        return bad_argument(fault,
                            "Server Side Encryption with Customer provided key is incompatible "
                            "with the encryption method specified",
                            f->value);
    if (code == S3_OK)
        code = s3_sse_customer_parse(r, false, &ret->customer, fault);
    if (ret->customer.given)
        ret->mode = S3_SSE_CUSTOMER;
    return code;
}

enum s3_code s3_sse_refuse(const struct s3_request *r, struct s3_fault *fault)
{
    static const char *const names[] = {FIELD, FIELD "-aws-kms-key-id", FIELD "-context",
                                        FIELD "-bucket-key-enabled"};
    if (!http_fields_any(r->fields, SLICE_LIT(FIELD)))
        return S3_OK;
    for (size_t i = 0; i < ARRAY_COUNT(names); i++) {
        const struct http_field *f = http_fields_find(r->fields, names[i]);
        if (f)
            return s3_fault_argument(
                fault, "x-amz-server-side-encryption header is not supported for this operation.",
                names[i], f->value);
    }
    return S3_OK;
}

/* ---- the default of a bucket ---- */

static const char *const algorithms[] = {"AES256", "aws:kms", "aws:kms:dsse", NULL};
static const char *const booleans[] = {"true", "false", NULL};
static const char *const blockable[] = {"NONE", "SSE-C", NULL};
static const struct s3_schema by_default_children[] = {
    {.name = "SSEAlgorithm", .type = S3_NODE_CHOICE, .min = 1, .max = 1, .choices = algorithms},
    {.name = "KMSMasterKeyID", .type = S3_NODE_TEXT, .max = 1},
    {0}};
static const struct s3_schema blocked_children[] = {
    {.name = "EncryptionType", .type = S3_NODE_CHOICE, .min = 1, .max = 2, .choices = blockable},
    {0}};
static const struct s3_schema rule_children[] = {
    {.name = "ApplyServerSideEncryptionByDefault",
     .type = S3_NODE_GROUP,
     .max = 1,
     .children = by_default_children},
    {.name = "BucketKeyEnabled", .type = S3_NODE_CHOICE, .max = 1, .choices = booleans},
    {.name = "BlockedEncryptionTypes",
     .type = S3_NODE_GROUP,
     .max = 1,
     .children = blocked_children},
    {0}};
static const struct s3_schema sse_children[] = {
    {.name = "Rule", .type = S3_NODE_GROUP, .min = 1, .max = 1, .children = rule_children}, {0}};
const struct s3_schema s3_sse_schema = {
    .name = "ServerSideEncryptionConfiguration", .type = S3_NODE_GROUP, .children = sse_children};

static bool text_is(const struct s3_node *node, const char *text)
{
    return node && slice_eq(node->text, slice_cstr(text));
}

static enum s3_code default_of_node(const struct s3_node *root, struct s3_sse_default *ret,
                                    struct s3_fault *fault)
{
    const struct s3_node *rule = s3_node_child(root, "Rule");
    const struct s3_node *apply = s3_node_child(rule, "ApplyServerSideEncryptionByDefault");
    const struct s3_node *blocked = s3_node_child(rule, "BlockedEncryptionTypes");
    *ret = (struct s3_sse_default){0};
    const struct s3_node *type = blocked ? s3_node_child(blocked, "EncryptionType") : NULL;
    for (; type; type = s3_node_again(type))
        ret->customer_blocked |= text_is(type, "SSE-C");
    ret->bucket_key = text_is(s3_node_child(rule, "BucketKeyEnabled"), "true");
    if (!apply)
        return S3_OK;
    const struct s3_node *algorithm = s3_node_child(apply, "SSEAlgorithm");
    const struct s3_node *key = s3_node_child(apply, "KMSMasterKeyID");
    if (text_is(algorithm, "aws:kms:dsse")) {
        s3_fault_set(fault, S3_NOT_IMPLEMENTED, NULL);
        s3_fault_extra(fault, "SSEAlgorithm", algorithm->text);
        return S3_NOT_IMPLEMENTED;
    }
    ret->mode = text_is(algorithm, "aws:kms") ? S3_SSE_KMS : S3_SSE_S3;
    if (key && ret->mode != S3_SSE_KMS)
        return s3_fault_argument(
            fault, "a KMSMasterKeyID is not applicable if the default sse algorithm is not aws:kms",
            "KMSMasterKeyID", key->text);
    ret->kms_key = key ? key->text : SLICE_EMPTY;
    return S3_OK;
}

enum s3_code s3_sse_check(const struct s3_request *r, const struct s3_node *root,
                          struct s3_fault *fault)
{
    struct s3_sse_default ignored;
    (void)r;
    return default_of_node(root, &ignored, fault);
}

enum s3_code s3_sse_default_read(struct arena *arena, struct slice document,
                                 struct s3_sse_default *ret, struct s3_fault *fault)
{
    struct s3_node *root;
    *ret = (struct s3_sse_default){0};
    enum s3_code code = s3_document_read(arena, &s3_sse_schema, document, &root, fault);
    return code == S3_OK ? default_of_node(root, ret, fault) : code;
}

/* ---- names of keys ---- */

bool s3_kms_key_name_valid(struct slice name)
{
    if (name.len == 0 || name.len > S3_KMS_KEY_CHARS_MAX)
        return false;
    for (size_t i = 0; i < name.len; i++) {
        uint8_t c = name.ptr[i];
        bool ok = (c >= '0' && c <= '9') || (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z') ||
                  c == '-' || c == '_';
        if (!ok)
            return false;
    }
    return true;
}

/* Takes up to the next colon off *s. */
static struct slice take_field(struct slice *s)
{
    const uint8_t *colon = s->len ? memchr(s->ptr, ':', s->len) : NULL;
    size_t len = colon ? (size_t)(colon - s->ptr) : s->len;
    struct slice field = SLICE(s->ptr, len);
    s->ptr += colon ? len + 1 : len;
    s->len -= colon ? len + 1 : len;
    return field;
}

static bool take_prefix(struct slice *s, struct slice prefix)
{
    if (!slice_has_prefix(*s, prefix))
        return false;
    s->ptr += prefix.len;
    s->len -= prefix.len;
    return true;
}

static enum s3_code no_key(struct s3_fault *fault)
{
    return s3_fault_set(fault, S3_KMS_NOT_FOUND, "Invalid keyId");
}

enum s3_code s3_kms_key_name(struct slice text, struct slice region, struct slice *ret,
                             struct s3_fault *fault)
{
    bool is_arn = take_prefix(&text, SLICE_LIT("arn:aws:kms:"));
    *ret = SLICE_LIT(S3_KMS_KEY_DEFAULT);
    if (text.len == 0 && !is_arn)
        return S3_OK;
    if (is_arn) {
        if (!slice_eq(take_field(&text), region))
            return s3_fault_set(fault, S3_KMS_NOT_FOUND, "Invalid arn");
        take_field(&text); /* keys are the cluster's, whatever the account */
    }
    if (take_prefix(&text, SLICE_LIT("alias/"))) {
        if (slice_eq(text, SLICE_LIT("aws/s3")))
            return S3_OK;
    } else if (is_arn && !take_prefix(&text, SLICE_LIT("key/"))) {
        return no_key(fault);
    }
    *ret = text;
    return s3_kms_key_name_valid(text) && !slice_eq(text, SLICE_LIT(S3_KMS_KEY_INTERNAL))
               ? S3_OK
               : no_key(fault);
}
