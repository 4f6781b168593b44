/* Sealing and opening. */
#include "gateway/iam/token.h"

#include "common/base/check.h"
#include "common/base/err.h"
#include "common/crypto/aead.h"
#include "common/crypto/codec.h"
#include "common/crypto/digest.h"

static_assert(IAM_TOKEN_KEY_BYTES == AEAD_KEY_BYTES, "AES-256");
static_assert(IAM_TOKEN_NONCE_BYTES == AEAD_NONCE_BYTES, "GCM");

enum {
    KNOWN = 1 + IAM_TOKEN_KEY_ID_BYTES, /* in clear, authenticated */
    HEAD = KNOWN + IAM_TOKEN_NONCE_BYTES,
    RAW_MAX = HEAD + IAM_TOKEN_PLAIN_MAX + AEAD_TAG_BYTES,
};
static_assert(BASE64_CHARS(RAW_MAX) <= IAM_TOKEN_CHARS_MAX, "tokens fit");

bool iam_token_key_of(const Cairn__SecretRow *row, struct iam_token_key *ret)
{
    if (row->id.len != sizeof(ret->id) || row->key.len != sizeof(ret->key))
        return false;
    memcpy(ret->id, row->id.data, sizeof(ret->id));
    memcpy(ret->key, row->key.data, sizeof(ret->key));
    return true;
}

int iam_token_seal(struct arena *arena, const struct iam_token_key *key,
                   const uint8_t nonce[IAM_TOKEN_NONCE_BYTES], const Cairn__SessionToken *session,
                   const char **ret)
{
    size_t plain = cairn__session_token__get_packed_size(session);
    if (plain > IAM_TOKEN_PLAIN_MAX)
        return ERR_TOO_LARGE;
    size_t raw_len = HEAD + plain + AEAD_TAG_BYTES;
    uint8_t *raw = arena_alloc(arena, raw_len);
    char *text = arena_alloc(arena, BASE64_CHARS(raw_len) + 1);
    struct aead a = {0};
    if (!raw || !text || aead_init(&a, key->key, true) != OK)
        return ERR_NOMEM;
    raw[0] = IAM_TOKEN_VERSION;
    memcpy(raw + 1, key->id, sizeof(key->id));
    memcpy(raw + KNOWN, nonce, IAM_TOKEN_NONCE_BYTES);
    cairn__session_token__pack(session, raw + HEAD);
    aead_begin(&a, nonce, SLICE(raw, KNOWN));
    aead_update(&a, SLICE(raw + HEAD, plain), raw + HEAD);
    aead_seal_end(&a, raw + HEAD + plain);
    aead_fini(&a);
    text[base64_encode(SLICE(raw, raw_len), text)] = 0;
    *ret = text;
    return OK;
}

/* Bytes of a token that may be one; 0: none. */
static size_t decode(struct slice token, uint8_t raw[RAW_MAX])
{
    ssize_t n = token.len <= IAM_TOKEN_CHARS_MAX ? base64_decode(token, raw, RAW_MAX) : -1;
    return n >= HEAD + AEAD_TAG_BYTES && raw[0] == IAM_TOKEN_VERSION ? (size_t)n : 0;
}

bool iam_token_key_id(struct slice token, uint8_t ret[IAM_TOKEN_KEY_ID_BYTES])
{
    uint8_t raw[RAW_MAX];
    if (!decode(token, raw))
        return false;
    memcpy(ret, raw + 1, IAM_TOKEN_KEY_ID_BYTES);
    return true;
}

static void *allocate(void *arg, size_t bytes)
{
    return arena_alloc(arg, bytes);
}

static void free_nothing(void *arg, void *ptr)
{
    (void)arg;
    (void)ptr;
}

int iam_token_open(struct arena *arena, const struct iam_token_key *key, struct slice token,
                   const Cairn__SessionToken **ret)
{
    uint8_t raw[RAW_MAX];
    size_t n = decode(token, raw);
    struct aead a = {0};
    ProtobufCAllocator allocator = {allocate, free_nothing, arena};
    if (!n || memcmp(raw + 1, key->id, sizeof(key->id)) != 0)
        return ERR_AUTH;
    if (aead_init(&a, key->key, false) != OK)
        return ERR_NOMEM;
    size_t plain = n - HEAD - AEAD_TAG_BYTES;
    aead_begin(&a, raw + KNOWN, SLICE(raw, KNOWN));
    aead_update(&a, SLICE(raw + HEAD, plain), raw + HEAD);
    bool good = aead_open_end(&a, raw + HEAD + plain);
    aead_fini(&a);
    const Cairn__SessionToken *session =
        good ? cairn__session_token__unpack(&allocator, plain, raw + HEAD) : NULL;
    crypto_wipe(raw, sizeof(raw));
    if (!good)
        return ERR_AUTH;
    if (!session) /* we sealed it: it can be read */
        return ERR_NOMEM;
    *ret = session;
    return OK;
}
