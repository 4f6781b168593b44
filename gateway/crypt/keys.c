/* Wrapping, and the operator's master keys. */
#include "gateway/crypt/keys.h"

#include "common/base/check.h"
#include "common/crypto/codec.h"
#include "common/crypto/digest.h"

static void wrapping_key(const uint8_t with[CRYPT_KEY_BYTES], const uint8_t *salt,
                         uint8_t ret[CRYPT_KEY_BYTES])
{
    hkdf_sha256(SLICE(with, CRYPT_KEY_BYTES), SLICE(salt, CRYPT_SALT_BYTES),
                SLICE_LIT("cairn wrap 1"), ret);
}

int key_wrap(const uint8_t with[CRYPT_KEY_BYTES], const uint8_t salt[CRYPT_SALT_BYTES],
             struct slice context, const uint8_t key[CRYPT_KEY_BYTES],
             uint8_t ret[CRYPT_WRAPPED_BYTES])
{
    static const uint8_t nonce[AEAD_NONCE_BYTES];
    uint8_t derived[CRYPT_KEY_BYTES];
    struct aead a = {0};
    wrapping_key(with, salt, derived);
    int err = aead_init(&a, derived, true);
    crypto_wipe(derived, sizeof(derived));
    if (err != OK)
        return err;
    memcpy(ret, salt, CRYPT_SALT_BYTES);
    aead_begin(&a, nonce, context);
    aead_update(&a, SLICE(key, CRYPT_KEY_BYTES), ret + CRYPT_SALT_BYTES);
    aead_seal_end(&a, ret + CRYPT_SALT_BYTES + CRYPT_KEY_BYTES);
    aead_fini(&a);
    return OK;
}

int key_unwrap(const uint8_t with[CRYPT_KEY_BYTES], struct slice wrapped, struct slice context,
               uint8_t ret[CRYPT_KEY_BYTES])
{
    static const uint8_t nonce[AEAD_NONCE_BYTES];
    uint8_t derived[CRYPT_KEY_BYTES];
    struct aead a = {0};
    if (wrapped.len != CRYPT_WRAPPED_BYTES)
        return ERR_AUTH;
    wrapping_key(with, wrapped.ptr, derived);
    int err = aead_init(&a, derived, false);
    crypto_wipe(derived, sizeof(derived));
    if (err != OK)
        return err;
    aead_begin(&a, nonce, context);
    aead_update(&a, SLICE(wrapped.ptr + CRYPT_SALT_BYTES, CRYPT_KEY_BYTES), ret);
    if (!aead_open_end(&a, wrapped.ptr + CRYPT_SALT_BYTES + CRYPT_KEY_BYTES)) {
        crypto_wipe(ret, CRYPT_KEY_BYTES);
        err = ERR_AUTH;
    }
    aead_fini(&a);
    return err;
}

/* With its length, so that no two contexts are the same bytes. */
static void context_slice(struct buf *b, struct slice s)
{
    buf_be32(b, (uint32_t)s.len);
    buf_slice(b, s);
}

void key_context_object(struct buf *ret, uint64_t bucket_id, unsigned mode, struct slice kms_key,
                        uint32_t kms_version, struct slice encryption_context)
{
    buf_cstr(ret, "cairn data key 1");
    buf_be64(ret, bucket_id);
    buf_be32(ret, mode);
    context_slice(ret, kms_key);
    buf_be32(ret, kms_version);
    context_slice(ret, encryption_context);
}

void key_context_kms(struct buf *ret, struct slice kms_key, uint32_t version)
{
    buf_cstr(ret, "cairn kms key 1");
    context_slice(ret, kms_key);
    buf_be32(ret, version);
}

/* ---- master keys ---- */

static bool id_ok(struct slice id)
{
    if (id.len == 0 || id.len > MASTER_ID_CHARS_MAX)
        return false;
    for (size_t i = 0; i < id.len; i++) {
        uint8_t c = id.ptr[i];
        bool ok = (c >= '0' && c <= '9') || (c >= 'A' && c <= 'Z') || (c >= 'a' && c <= 'z') ||
                  c == '-' || c == '_' || c == '.';
        if (!ok)
            return false;
    }
    return true;
}

static bool key_read(struct slice text, uint8_t ret[CRYPT_KEY_BYTES])
{
    if (text.len == HEX_CHARS(CRYPT_KEY_BYTES))
        return hex_decode(text, ret, CRYPT_KEY_BYTES);
    return base64_decode(text, ret, CRYPT_KEY_BYTES) == CRYPT_KEY_BYTES;
}

static struct slice trim(struct slice s)
{
    while (s.len && (s.ptr[0] == ' ' || s.ptr[0] == '\t')) {
        s.ptr++;
        s.len--;
    }
    while (s.len && strchr(" \t\r", s.ptr[s.len - 1]) && s.ptr[s.len - 1])
        s.len--;
    return s;
}

static const char *line_read(struct slice line, struct master_keys *ret)
{
    const uint8_t *colon = line.len ? memchr(line.ptr, ':', line.len) : NULL;
    if (!colon)
        return "there is no colon: a line is ID:KEY";
    struct slice id = trim(SLICE(line.ptr, (size_t)(colon - line.ptr)));
    struct slice key = trim(SLICE(colon + 1, line.len - (size_t)(colon - line.ptr) - 1));
    if (!id_ok(id))
        return "the id is not 1 to 64 of A-Z a-z 0-9 - _ .";
    if (master_keys_find(ret, id))
        return "the id has been given before";
    if (ret->count == MASTER_KEYS_MAX)
        return "there are more than 8 master keys";
    struct master_key *m = &ret->keys[ret->count];
    if (!key_read(key, m->key))
        return "the key is not 32 bytes in hex or base64";
    memcpy(m->id, id.ptr, id.len);
    m->id[id.len] = 0;
    ret->count++;
    return NULL;
}

int master_keys_parse(struct slice text, struct master_keys *ret, unsigned *ret_line,
                      const char **ret_why)
{
    *ret = (struct master_keys){0};
    *ret_line = 0;
    *ret_why = NULL;
    while (text.len) {
        size_t len = 0;
        while (len < text.len && text.ptr[len] != '\n' && text.ptr[len] != ',')
            len++;
        bool end = len < text.len;
        struct slice line = trim(SLICE(text.ptr, len));
        size_t used = end ? len + 1 : len;
        text.ptr += used;
        text.len -= used;
        ++*ret_line;
        if (line.len == 0 || line.ptr[0] == '#')
            continue;
        *ret_why = line_read(line, ret);
        if (*ret_why)
            break;
    }
    if (!*ret_why && ret->count == 0)
        *ret_why = "there is no key";
    if (!*ret_why)
        return OK;
    crypto_wipe(ret, sizeof(*ret));
    return ERR_INVAL;
}

const struct master_key *master_keys_find(const struct master_keys *m, struct slice id)
{
    for (size_t i = 0; i < m->count; i++)
        if (slice_eq(slice_cstr(m->keys[i].id), id))
            return &m->keys[i];
    return NULL;
}

void master_key_check(const struct master_key *m, uint8_t ret[MASTER_CHECK_BYTES])
{
    uint8_t all[32];
    hkdf_sha256(SLICE(m->key, CRYPT_KEY_BYTES), slice_cstr(m->id), SLICE_LIT("cairn check 1"), all);
    memcpy(ret, all, MASTER_CHECK_BYTES);
    crypto_wipe(all, sizeof(all));
}
