#pragma once
/* AES-256-GCM over OpenSSL, for callers that must not see OpenSSL: one context under one key,
 * message after message, each in as many pieces as it comes in.
 *
 * A nonce must never be used twice under one key: the caller counts.  One thread at a time. */
#include "common/base/slice.h"

#define AEAD_KEY_BYTES 32
#define AEAD_NONCE_BYTES 12
#define AEAD_TAG_BYTES 16

/* Zero-initialised: not started; aead_fini() is fine on it. */
struct aead {
    void *ctx;
    bool seals;
};

/* Under this key from now on (the memory is reused); seals: encrypts, else decrypts.
 * Returns: 0; ERR_NOMEM (a is ended). */
int aead_init(struct aead *a, const uint8_t key[AEAD_KEY_BYTES], bool seals);
/* A message begins.  aad: authenticated, not part of it. */
void aead_begin(struct aead *a, const uint8_t nonce[AEAD_NONCE_BYTES], struct slice aad);
/* Writes in.len bytes to out, which is in.ptr or does not overlap it. */
void aead_update(struct aead *a, struct slice in, uint8_t *out);
/* The message is complete. */
void aead_seal_end(struct aead *a, uint8_t ret_tag[AEAD_TAG_BYTES]);
/* false: it is not what was sealed: what update() gave out must not be used. */
bool aead_open_end(struct aead *a, const uint8_t tag[AEAD_TAG_BYTES]);
void aead_fini(struct aead *a); /* forgets the key */

/* RFC 5869 with SHA-256, of one block. */
void hkdf_sha256(struct slice key, struct slice salt, struct slice info, uint8_t ret[32]);
