#pragma once
/* Bodies under encryption: sealed chunk by chunk as they come in, opened chunk by chunk as they are
 * read (proto/sealed.h says how they lie).  Pure.
 *
 * Every body has a key of its own, derived from the object's data key and a salt, so the number of
 * the chunk can be the nonce; the body's size goes into every chunk's tag.  So a chunk that was
 * changed, moved to another place, taken from another body, or whose body was cut, is found, from
 * whichever range of the body is read. */
#include "common/base/err.h"
#include "common/crypto/aead.h"
#include "proto/sealed.h"

#define CRYPT_KEY_BYTES AEAD_KEY_BYTES
#define CRYPT_SALT_BYTES 16

void seal_body_key(const uint8_t data_key[CRYPT_KEY_BYTES], const uint8_t salt[CRYPT_SALT_BYTES],
                   uint8_t ret[CRYPT_KEY_BYTES]);

/* Zeroed before; fini is fine on a zeroed one. */
struct sealer {
    struct aead aead;
    uint64_t total, at; /* of the plaintext */
};
/* total: bytes of the whole body.  Returns: OK; ERR_NOMEM. */
int sealer_init(struct sealer *s, const uint8_t body_key[CRYPT_KEY_BYTES], uint64_t total);
/* Seals a prefix of `plain` to out, where there are `room` bytes; a chunk's tag follows its last
 * byte at once.  `room` may end only where a chunk ends, with its tag: then nothing is taken.
 * Returns: bytes of plain taken; *ret_wrote: bytes written. */
size_t sealer_push(struct sealer *s, struct slice plain, uint8_t *out, size_t room,
                   size_t *ret_wrote);
void sealer_fini(struct sealer *s);

struct opener {
    struct aead aead;
    uint64_t total;
};
/* May be started again, with another key.  Returns: OK; ERR_NOMEM. */
int opener_init(struct opener *o, const uint8_t body_key[CRYPT_KEY_BYTES], uint64_t total);
/* Opens chunks from number `first` on, whole blocks as they lie in the store, into `out`, which
 * has room for their plaintext.  Returns: OK (*ret_bytes: how many that was); ERR_CORRUPT (not what
 * was sealed, or not whole chunks: out holds nothing of it). */
int opener_open(struct opener *o, uint64_t first, struct slice stored, uint8_t *out,
                size_t *ret_bytes);
void opener_fini(struct opener *o);
