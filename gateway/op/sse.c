/* Data keys of requests. */
#include "gateway/op/sse.h"

#include "common/base/check.h"
#include "common/crypto/codec.h"
#include "common/obs/log.h"
#include "gateway/policy/json.h"
#include "proto/registry.h"

#include <stdio.h>

#define NO_MASTER "Server side encryption is not possible here: no master key is configured."
#define WRONG_KEY                                                                                  \
    "Requests specifying Server Side Encryption with Customer provided keys must provide the "     \
    "correct secret key."

static void sse_end(struct sse_key *k, enum s3_code code)
{
    k->code = code;
    k->has_key = code == S3_OK && (k->made || k->of);
    if (code != S3_OK)
        k->made = NULL;
    crypto_wipe(&k->customer.key, sizeof(k->customer.key));
    keyring_ask_fini(&k->ask);
}

static enum s3_code fail(struct sse_key *k, enum s3_code code, const char *message)
{
    return s3_fault_set(&k->req->fault, code, message);
}

#define NOT_YOURS                                                                                  \
    "The ciphertext refers to a customer master key that does not exist, does not exist in this "  \
    "region, or you are not allowed to access."

/* Whose keys may be used: those of who asks, of nobody's account none. */
static struct slice account_of(const struct request *req)
{
    if (!req->http)
        return req->acts_for;
    return req->who ? req->caller.account : SLICE_EMPTY;
}

/* ---- wrapping ---- */

static bool context_of(const Cairn__Encryption *e, uint64_t bucket_id, struct buf *ret)
{
    key_context_object(ret, bucket_id, (unsigned)e->mode, slice_cstr(e->kms_key), e->kms_version,
                       slice_cstr(e->context));
    return !ret->failed;
}

/* A fresh data key, wrapped with that key. */
static enum s3_code data_key_make(struct sse_key *k, const uint8_t with[CRYPT_KEY_BYTES])
{
    struct env *env = k->req->gw->env;
    uint8_t salt[CRYPT_SALT_BYTES], *wrapped = request_alloc(k->req, CRYPT_WRAPPED_BYTES);
    struct buf context = {0};
    int err = wrapped && context_of(k->made, k->bucket_id, &context) ? OK : ERR_NOMEM;
    env_random(env, k->data_key, sizeof(k->data_key));
    env_random(env, salt, sizeof(salt));
    if (err == OK)
        err = key_wrap(with, salt, buf_view(&context), k->data_key, wrapped);
    buf_fini(&context);
    if (err != OK)
        return fail(k, S3_INTERNAL_ERROR, NULL);
    k->made->wrapped_key = (ProtobufCBinaryData){CRYPT_WRAPPED_BYTES, wrapped};
    return S3_OK;
}

static enum s3_code data_key_open(struct sse_key *k, const uint8_t with[CRYPT_KEY_BYTES])
{
    struct buf context = {0};
    int err = context_of(k->of, k->bucket_id, &context)
                  ? key_unwrap(with, bytes_of(k->of->wrapped_key), buf_view(&context), k->data_key)
                  : ERR_NOMEM;
    buf_fini(&context);
    if (err == OK)
        return S3_OK;
    if (err == ERR_AUTH && k->of->mode == CAIRN__ENCRYPTION_MODE__ENCRYPTION_CUSTOMER)
        return fail(k, S3_ACCESS_DENIED, WRONG_KEY);
    if (err == ERR_AUTH)
        log_error("gateway.data_key_damaged", 0, L_STR("request_id", k->req->id),
                  L_STR("kms_key", k->of->kms_key), L_UINT("version", k->of->kms_version));
    return fail(k, S3_INTERNAL_ERROR, NULL);
}

/* ---- KMS keys ---- */

static enum s3_code keyring_code(struct sse_key *k)
{
    switch (k->ask.err) {
    case ERR_CONFIG:
        return k->made ? fail(k, S3_NOT_IMPLEMENTED, NO_MASTER)
                       : fail(k, S3_SERVICE_UNAVAILABLE,
                              "The object is encrypted, and this gateway has no master key.");
    case ERR_AUTH:
        return fail(k, S3_SERVICE_UNAVAILABLE,
                    "This gateway does not have the master key that is needed.");
    case ERR_NOT_FOUND:
        return k->made ? fail(k, S3_KMS_NOT_FOUND, NULL) : fail(k, S3_ACCESS_DENIED, NOT_YOURS);
    case ERR_REFUSED: return fail(k, S3_KMS_DISABLED, NULL);
    default: return fail(k, s3_code_of_err(k->ask.err), NULL);
    }
}

static void asked(struct sse_key *k)
{
    enum s3_code code = k->ask.err == OK ? S3_OK : keyring_code(k);
    if (code == S3_OK && k->made) {
        k->made->kms_version = k->ask.number;
        code = data_key_make(k, k->ask.key);
    } else if (code == S3_OK) {
        code = data_key_open(k, k->ask.key);
    }
    sse_end(k, code);
}

static void ask_cb(struct keyring_ask *ask)
{
    struct sse_key *k = container_of(ask, struct sse_key, ask);
    k->busy = false;
    asked(k);
    k->wake(k);
}

static void ask_start(struct sse_key *k, const char *name, uint32_t version, bool create)
{
    k->ask = (struct keyring_ask){
        .name = slice_cstr(name),
        .version = version,
        .create = create,
        .account = account_of(k->req),
        .deadline_ns = request_deadline(k->req),
        .cb = ask_cb,
    };
    k->busy = !keyring_ask(k->req->gw->keyring, &k->ask);
    if (!k->busy)
        asked(k);
}

/* ---- what new data are encrypted with ---- */

static enum s3_code bucket_default(struct request *req, struct s3_sse_default *ret)
{
    const Cairn__BucketRecord *b = req->bucket;
    *ret = (struct s3_sse_default){0};
    for (size_t i = 0; i < b->n_settings; i++)
        if (b->settings[i]->kind == CAIRN__SETTING_KIND__SETTING_ENCRYPTION)
            return s3_sse_default_read(req->arena, bytes_of(b->settings[i]->document), ret,
                                       &req->fault);
    return S3_OK;
}

static enum s3_code check_tls(struct request *req, bool given)
{
    if (!given || req->http->tls || !req->gw->config->sse_require_tls)
        return S3_OK;
    return s3_fault_set(&req->fault, S3_INVALID_REQUEST,
                        "Requests specifying Server Side Encryption with Customer provided keys "
                        "must be made over a secure connection.");
}

/* Base64 of a JSON object of texts, as S3 wants it. */
static enum s3_code check_context(struct request *req, struct slice text)
{
    const struct policy_json *json, *m;
    uint8_t *bytes = text.len ? request_alloc(req, text.len) : NULL;
    if (text.len == 0)
        return S3_OK;
    if (!bytes)
        return s3_fault_set(&req->fault, S3_INTERNAL_ERROR, NULL);
    ssize_t n = base64_decode(text, bytes, text.len);
    int err = n < 0 ? ERR_INVAL : policy_json_parse(req->arena, SLICE(bytes, (size_t)n), 2, &json);
    if (err == OK && json->type != POLICY_JSON_OBJECT)
        err = ERR_INVAL;
    for (m = err == OK ? json->first : NULL; m; m = m->next)
        if (m->type != POLICY_JSON_STRING)
            err = ERR_INVAL;
    if (err == ERR_NOMEM)
        return s3_fault_set(&req->fault, S3_INTERNAL_ERROR, NULL);
    return err == OK
               ? S3_OK
               : s3_fault_argument(&req->fault,
                                   "The header 'x-amz-server-side-encryption-context' shall be "
                                   "Base64-encoded UTF-8 string holding JSON which represents a "
                                   "string-string map",
                                   "x-amz-server-side-encryption-context", text);
}

/* The request's own words, the bucket's, the gateway's. */
static enum s3_code choose(struct sse_key *k, struct s3_sse *sse)
{
    struct request *req = k->req;
    struct s3_sse_default def;
    enum s3_code code = s3_sse_parse(&req->s3, sse, &req->fault);
    if (code == S3_OK)
        code = check_tls(req, sse->customer.given);
    if (code == S3_OK)
        code = check_context(req, sse->context);
    if (code == S3_OK)
        code = bucket_default(req, &def);
    if (code != S3_OK)
        return code;
    if (sse->mode == S3_SSE_CUSTOMER && def.customer_blocked)
        return fail(k, S3_ACCESS_DENIED,
                    "This bucket has blocked upload requests that specify Server Side Encryption "
                    "with Customer provided keys (SSE-C).");
    if (sse->mode == S3_SSE_NONE) {
        sse->mode = def.mode ? def.mode : req->gw->config->sse_default ? S3_SSE_S3 : S3_SSE_NONE;
        sse->kms_key = def.kms_key;
    }
    if (!sse->has_bucket_key)
        sse->bucket_key = def.bucket_key;
    return S3_OK;
}

static enum s3_code make(struct sse_key *k, const struct s3_sse *sse, bool with_salt)
{
    struct request *req = k->req;
    Cairn__Encryption *e = request_alloc(req, sizeof(*e));
    uint8_t *salt = with_salt ? request_alloc(req, CRYPT_SALT_BYTES) : NULL;
    struct slice name = SLICE_LIT(S3_KMS_KEY_INTERNAL);
    if (!e || (with_salt && !salt))
        return fail(k, S3_INTERNAL_ERROR, NULL);
    cairn__encryption__init(e);
    e->mode = (Cairn__EncryptionMode)sse->mode;
    if (salt) {
        env_random(req->gw->env, salt, CRYPT_SALT_BYTES);
        e->salt = (ProtobufCBinaryData){CRYPT_SALT_BYTES, salt};
    }
    if (sse->mode == S3_SSE_KMS) {
        enum s3_code code =
            s3_kms_key_name(sse->kms_key, req->gw->config->region, &name, &req->fault);
        if (code != S3_OK)
            return code;
        e->bucket_key = sse->bucket_key;
        e->context = request_cstr(req, sse->context);
    }
    if (sse->mode != S3_SSE_CUSTOMER)
        e->kms_key = request_cstr(req, name);
    if (!e->context || !e->kms_key)
        return fail(k, S3_INTERNAL_ERROR, NULL);
    k->made = e;
    return S3_OK;
}

static void begin(struct sse_key *k, struct request *req, uint64_t bucket_id,
                  void (*wake)(struct sse_key *))
{
    *k = (struct sse_key){.req = req, .bucket_id = bucket_id, .wake = wake};
}

void sse_make_start(struct sse_key *k, struct request *req, bool with_salt,
                    void (*wake)(struct sse_key *))
{
    struct s3_sse sse;
    begin(k, req, req->bucket->id, wake);
    enum s3_code code = choose(k, &sse);
    if (code == S3_OK && sse.mode != S3_SSE_NONE)
        code = make(k, &sse, with_salt);
    if (code == S3_OK && sse.mode == S3_SSE_CUSTOMER)
        code = data_key_make(k, sse.customer.key);
    crypto_wipe(&sse.customer.key, sizeof(sse.customer.key));
    if (code != S3_OK || sse.mode == S3_SSE_NONE || sse.mode == S3_SSE_CUSTOMER)
        sse_end(k, code);
    else /* what no name is known of is made: S3's own key, and the default one */
        ask_start(k, k->made->kms_key, 0,
                  sse.mode == S3_SSE_S3 || strcmp(k->made->kms_key, S3_KMS_KEY_DEFAULT) == 0);
}

enum s3_code sse_is_wanted(struct request *req, bool *ret)
{
    struct sse_key k = {.req = req};
    struct s3_sse sse = {0};
    enum s3_code code = choose(&k, &sse);
    crypto_wipe(&sse.customer.key, sizeof(sse.customer.key));
    *ret = code == S3_OK && sse.mode != S3_SSE_NONE;
    return code;
}

/* ---- what is there ---- */

static void open_start(struct sse_key *k, const Cairn__Encryption *e)
{
    bool customer = e && e->mode == CAIRN__ENCRYPTION_MODE__ENCRYPTION_CUSTOMER;
    k->of = e;
    if (customer)
        sse_end(k, data_key_open(k, k->customer.key));
    else if (e)
        ask_start(k, e->kms_key, e->kms_version, false);
    else
        sse_end(k, S3_OK);
}

/* A key is brought if and only if it was one that the data were encrypted with. */
static enum s3_code customer_of(struct sse_key *k, const Cairn__Encryption *e, bool of_source)
{
    struct request *req = k->req;
    bool wanted = e && e->mode == CAIRN__ENCRYPTION_MODE__ENCRYPTION_CUSTOMER;
    enum s3_code code = s3_sse_customer_parse(&req->s3, of_source, &k->customer, &req->fault);
    if (code == S3_OK)
        code = check_tls(req, k->customer.given);
    if (code == S3_OK && wanted && !k->customer.given)
        return fail(k, S3_INVALID_REQUEST,
                    "The object was stored using a form of Server Side Encryption. The correct "
                    "parameters must be provided to retrieve the object.");
    if (code == S3_OK && !wanted && k->customer.given)
        return fail(k, S3_INVALID_REQUEST,
                    "The encryption parameters are not applicable to this object.");
    return code;
}

void sse_open_start(struct sse_key *k, struct request *req, const Cairn__Encryption *e,
                    uint64_t bucket_id, bool of_source, void (*wake)(struct sse_key *))
{
    begin(k, req, bucket_id, wake);
    enum s3_code code = of_source ? S3_OK : s3_sse_refuse(&req->s3, &req->fault);
    if (code == S3_OK)
        code = customer_of(k, e, of_source);
    if (code != S3_OK)
        sse_end(k, code);
    else
        open_start(k, e);
}

/* Parts say nothing new: what they say must be what the upload was begun with. */
static enum s3_code check_part(struct sse_key *k, const Cairn__Encryption *e)
{
    struct s3_sse sse;
    bool wanted = e && e->mode == CAIRN__ENCRYPTION_MODE__ENCRYPTION_CUSTOMER;
    enum s3_code code = s3_sse_parse(&k->req->s3, &sse, &k->req->fault);
    k->customer = sse.customer;
    crypto_wipe(&sse.customer.key, sizeof(sse.customer.key));
    if (code == S3_OK)
        code = check_tls(k->req, k->customer.given);
    if (code != S3_OK)
        return code;
    if (wanted != k->customer.given)
        return fail(k, S3_INVALID_REQUEST,
                    "The multipart upload initiate requested encryption. Subsequent part requests "
                    "must include the appropriate encryption parameters.");
    if (sse.mode != S3_SSE_NONE && (!e || (unsigned)sse.mode != (unsigned)e->mode))
        return s3_fault_argument(
            &k->req->fault,
            "x-amz-server-side-encryption header is not supported for this operation.",
            "x-amz-server-side-encryption",
            http_fields_get(k->req->s3.fields, "x-amz-server-side-encryption"));
    return S3_OK;
}

void sse_open_upload_start(struct sse_key *k, struct request *req, const Cairn__Encryption *e,
                           void (*wake)(struct sse_key *))
{
    begin(k, req, req->bucket->id, wake);
    enum s3_code code = check_part(k, e);
    if (code != S3_OK) {
        sse_end(k, code);
        return;
    }
    open_start(k, e);
    if (!k->busy && k->code == S3_ACCESS_DENIED)
        k->code =
            fail(k, S3_INVALID_REQUEST,
                 "The provided encryption parameters did not match the ones used originally.");
}

enum s3_code sse_check_customer(struct request *req, const Cairn__Encryption *e, uint64_t bucket_id)
{
    struct sse_key k;
    begin(&k, req, bucket_id, NULL);
    enum s3_code code = s3_sse_refuse(&req->s3, &req->fault);
    if (code == S3_OK)
        code = customer_of(&k, e, false);
    k.of = e;
    if (code == S3_OK && k.customer.given)
        code = data_key_open(&k, k.customer.key);
    crypto_wipe(&k, sizeof(k));
    return code;
}

Cairn__Encryption *sse_part(struct request *req, const Cairn__Encryption *of_upload,
                            bool *ret_failed)
{
    Cairn__Encryption *e = of_upload ? request_alloc(req, sizeof(*e)) : NULL;
    uint8_t *salt = of_upload ? request_alloc(req, CRYPT_SALT_BYTES) : NULL;
    *ret_failed = of_upload && (!e || !salt);
    if (!e || !salt)
        return NULL;
    cairn__encryption__init(e);
    e->mode = of_upload->mode;
    env_random(req->gw->env, salt, CRYPT_SALT_BYTES);
    e->salt = (ProtobufCBinaryData){CRYPT_SALT_BYTES, salt};
    return e;
}

Cairn__Encryption *sse_renamed(struct request *req, const Cairn__Encryption *of_source,
                               bool *ret_failed)
{
    Cairn__Encryption *e = sse_part(req, of_source, ret_failed);
    if (!e)
        return NULL;
    ProtobufCBinaryData salt = e->salt;
    *e = *of_source;
    e->salt = salt;
    return e;
}

void sse_key_fini(struct sse_key *k)
{
    CHECK(!k->busy);
    crypto_wipe(k->data_key, sizeof(k->data_key));
    crypto_wipe(k->customer.key, sizeof(k->customer.key));
    k->has_key = false;
}

/* ---- answers ---- */

/* Keys are the cluster's: their ARNs name the operator's account. */
static void reply_kms(struct request *req, const Cairn__Encryption *e, bool with_context)
{
    char arn[160];
    struct slice region = req->gw->config->region;
    int n = snprintf(arn, sizeof(arn), "arn:aws:kms:%.*s:" OPERATOR_ACCOUNT ":key/%s",
                     (int)MIN(region.len, 64u), (const char *)region.ptr, e->kms_key);
    reply_field(req, "x-amz-server-side-encryption", SLICE_LIT("aws:kms"));
    if (n > 0 && (size_t)n < sizeof(arn))
        reply_field(req, "x-amz-server-side-encryption-aws-kms-key-id", SLICE(arn, (size_t)n));
    if (e->bucket_key)
        reply_field(req, "x-amz-server-side-encryption-bucket-key-enabled", SLICE_LIT("true"));
    if (with_context && e->context[0])
        reply_field(req, "x-amz-server-side-encryption-context", slice_cstr(e->context));
}

void reply_encryption(struct request *req, const Cairn__Encryption *e, bool with_context)
{
    if (!e)
        return;
    if (e->mode == CAIRN__ENCRYPTION_MODE__ENCRYPTION_S3) {
        reply_field(req, "x-amz-server-side-encryption", SLICE_LIT("AES256"));
    } else if (e->mode == CAIRN__ENCRYPTION_MODE__ENCRYPTION_KMS) {
        reply_kms(req, e, with_context);
    } else {
        struct slice md5 =
            http_fields_get(req->s3.fields, "x-amz-server-side-encryption-customer-key-MD5");
        reply_field(req, "x-amz-server-side-encryption-customer-algorithm", SLICE_LIT("AES256"));
        reply_field(req, "x-amz-server-side-encryption-customer-key-MD5", md5);
    }
}
