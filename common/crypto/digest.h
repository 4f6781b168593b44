#pragma once
/* MD5, SHA-1, SHA-256, HMAC-SHA256 and HMAC-SHA1 over OpenSSL, for callers that must not see OpenSSL.
 *
 * Incremental and one-shot.  Algorithms are fetched once a process.  Thread-safe as long as one
 * struct digest is used by one thread at a time. */
#include "common/base/slice.h"

#define MD5_BYTES 16
#define SHA1_BYTES 20
#define SHA256_BYTES 32
#define DIGEST_BYTES_MAX 32

enum digest_kind { DIGEST_MD5, DIGEST_SHA1, DIGEST_SHA256 };

/* Zero-initialised: not started; digest_fini() is fine on it. */
struct digest {
    void *ctx;
    enum digest_kind kind;
};

/* Fetches the algorithms now, at a process's start, rather than with the first digest: OpenSSL does
 * not survive it when memory runs out in the middle of that.  Idempotent. */
void digest_prepare(void);

size_t digest_bytes(enum digest_kind kind);

/* Start, or start again (the memory is reused).  Returns: 0; ERR_NOMEM (d is ended). */
int digest_init(struct digest *d, enum digest_kind kind);
void digest_update(struct digest *d, struct slice s);
/* Writes digest_bytes(kind) bytes; afterwards d must be started again or ended. */
void digest_final(struct digest *d, uint8_t *ret);
void digest_fini(struct digest *d);

/* A context in the same state, so that a prefix can be hashed once.  Returns: 0; ERR_NOMEM (to is
 * ended). */
int digest_clone(struct digest *to, const struct digest *from);

/* One shot: no memory is allocated, none fails. */
void digest_once(enum digest_kind kind, struct slice s, uint8_t *ret);
void sha256(struct slice s, uint8_t ret[SHA256_BYTES]);
void hmac_sha256(struct slice key, struct slice data, uint8_t ret[SHA256_BYTES]);
void hmac_sha1(struct slice key, struct slice data, uint8_t ret[SHA1_BYTES]);

/* Equal bytes, in time that depends on len only. */
bool crypto_equal(const void *a, const void *b, size_t len);
/* Overwrites a secret in a way that the compiler keeps. */
void crypto_wipe(void *ptr, size_t len);
