#pragma once
/* Session tokens of STS: the session itself, sealed by a key of the cluster, so that it is written
 * nowhere and any gateway can open it.
 *
 * base64(version 1, key id 8, nonce 12, AES-256-GCM of a SessionToken, tag 16); version and key id
 * are authenticated too.  Nonces are random: under one key there may be some 2^32 tokens.  Pure. */
#include "common/base/arena.h"
#include "proto/registry.pb-c.h"

#define IAM_TOKEN_VERSION 1
#define IAM_TOKEN_KEY_ID_BYTES 8
#define IAM_TOKEN_KEY_BYTES 32
#define IAM_TOKEN_NONCE_BYTES 12
#define IAM_TOKEN_PLAIN_MAX 6000 /* a token of 8 KiB: it travels in a field or a URL */
#define IAM_TOKEN_CHARS_MAX 8192

struct iam_token_key {
    uint8_t id[IAM_TOKEN_KEY_ID_BYTES];
    uint8_t key[IAM_TOKEN_KEY_BYTES];
};
/* false: the row is not one. */
bool iam_token_key_of(const Cairn__SecretRow *row, struct iam_token_key *ret);

/* NUL-terminated, in the arena.  Returns: OK; ERR_TOO_LARGE; ERR_NOMEM. */
int iam_token_seal(struct arena *arena, const struct iam_token_key *key,
                   const uint8_t nonce[IAM_TOKEN_NONCE_BYTES], const Cairn__SessionToken *session,
                   const char **ret);
/* The id of the key that sealed it.  false: it is no token. */
bool iam_token_key_id(struct slice token, uint8_t ret[IAM_TOKEN_KEY_ID_BYTES]);
/* Returns: OK; ERR_AUTH (not sealed by this key); ERR_NOMEM.  In the arena. */
int iam_token_open(struct arena *arena, const struct iam_token_key *key, struct slice token,
                   const Cairn__SessionToken **ret);
