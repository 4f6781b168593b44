#pragma once
/* Keys that wrap keys: the operator's master keys wrap the versions of named KMS keys, these (or a
 * key that a client sends) wrap the data key of each object.  Pure: whoever needs random bytes
 * brings them.
 *
 * Each wrapping is done under a key derived for it alone from the wrapping key and a fresh salt of
 * 16 bytes, which lies in front of it: however many keys one key wraps, no nonce comes twice. */
#include "gateway/crypt/seal.h"

#define CRYPT_WRAPPED_BYTES (CRYPT_SALT_BYTES + CRYPT_KEY_BYTES + AEAD_TAG_BYTES)

/* context: what the wrapped key is for; who unwraps it must name the same.
 * Returns: OK; ERR_NOMEM. */
int key_wrap(const uint8_t with[CRYPT_KEY_BYTES], const uint8_t salt[CRYPT_SALT_BYTES],
             struct slice context, const uint8_t key[CRYPT_KEY_BYTES],
             uint8_t ret[CRYPT_WRAPPED_BYTES]);
/* Returns: OK; ERR_AUTH (another wrapping key or context, or damage); ERR_NOMEM. */
int key_unwrap(const uint8_t with[CRYPT_KEY_BYTES], struct slice wrapped, struct slice context,
               uint8_t ret[CRYPT_KEY_BYTES]);

/* What an object's data key is bound to: moved into another bucket, or taken for that of another
 * mode, key or encryption context, it does not unwrap.  Not to the object's key: a rename moves
 * records, not data.  Appends to *ret. */
void key_context_object(struct buf *ret, uint64_t bucket_id, unsigned mode, struct slice kms_key,
                        uint32_t kms_version, struct slice encryption_context);
/* ... a version of a KMS key. */
void key_context_kms(struct buf *ret, struct slice kms_key, uint32_t version);

/* ---- master keys ---- */

#define MASTER_KEYS_MAX 8
#define MASTER_ID_CHARS_MAX 64
#define MASTER_CHECK_BYTES 16

struct master_key {
    char id[MASTER_ID_CHARS_MAX + 1];
    uint8_t key[CRYPT_KEY_BYTES];
};
/* The newest first.  Secret: crypto_wipe() it. */
struct master_keys {
    size_t count;
    struct master_key keys[MASTER_KEYS_MAX];
};
/* A line each, or separated by commas, "ID:KEY", KEY 32 bytes in hex or base64; empty lines and
 * those that begin with # are passed over.  Returns: OK; ERR_INVAL, *ret_line says where (1, ...)
 * and *ret_why what is wrong, without a word of the text: it may be a secret. */
int master_keys_parse(struct slice text, struct master_keys *ret, unsigned *ret_line,
                      const char **ret_why);
const struct master_key *master_keys_find(const struct master_keys *m, struct slice id);
/* Tells whether another gateway has the same key under this id, and nothing of the key. */
void master_key_check(const struct master_key *m, uint8_t ret[MASTER_CHECK_BYTES]);
