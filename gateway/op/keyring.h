#pragma once
/* The KMS keys that requests of one loop need, unwrapped in memory.
 *
 * What a version of a key is never changes, so it is kept.  Whether a key that clients name is
 * enabled is asked at the root's leader for each request, as every setting holds for the next one:
 * requests that wait while a question is under way share the next.  The internal key of SSE-S3
 * cannot be disabled: it costs no question once it is known, but one now and then for a newer
 * version. */
#include "gateway/op/kms_change.h"

struct keyring;

struct keyring_ask {
    /* Set by the caller. */
    struct slice name; /* of the key; borrowed until the end */
    uint32_t version;  /* 0: the newest */
    bool create;       /* if there is none */
    struct slice account; /* who asks; empty: nobody that has keys of its own */
    uint64_t deadline_ns;
    void (*cb)(struct keyring_ask *);
    /* Results.  err: OK; ERR_CONFIG (this gateway has no master key); ERR_NOT_FOUND (there is none,
     * or it is another account's: who asks is not to know); ERR_REFUSED (it is disabled); ERR_AUTH (its master key is not here, or another); ERR_CORRUPT; or why the
     * registry could not be asked. */
    int err;
    uint32_t number;
    uint8_t key[CRYPT_KEY_BYTES];
    /* private */
    struct list node;
    bool serving;
};

/* masters: borrowed; none: every ask ends with ERR_CONFIG.  NULL: no memory. */
struct keyring *keyring_new(struct env *env, struct meta_client *mc,
                            const struct master_keys *masters);
void keyring_free(struct keyring *k); /* nothing is asked; NULL is fine */
const struct master_keys *keyring_masters(const struct keyring *k);

/* true: answered at once, there will be no callback. */
bool keyring_ask(struct keyring *k, struct keyring_ask *a);
void keyring_ask_fini(struct keyring_ask *a); /* forgets the key */
