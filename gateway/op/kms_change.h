#pragma once
/* One change of one KMS key, by compare and swap on its row: made, given a new version, enabled or
 * disabled, or wrapped anew under this gateway's newest master key.
 *
 * Which master keys wrap anything is remembered in a row of its own, before anything is wrapped:
 * every change that wraps writes that row too, so that none gets past rewrap's end (kms_rewrap()),
 * which takes out of it what wraps nothing any more. */
#include "gateway/crypt/kms.h"
#include "gateway/meta/rows.h"
#include "gateway/s3/encryption.h"

enum kms_action { KMS_CREATE, KMS_ROTATE, KMS_ENABLE, KMS_DISABLE, KMS_REWRAP, KMS_TRIM };

struct kms_change {
    /* Set by the caller. */
    struct env *env;
    struct meta_client *mc;
    const struct master_keys *masters; /* at least one */
    enum kms_action action;
    const char *name; /* of the key; KMS_TRIM: none */
    const char *account; /* KMS_CREATE: whose it will be; NULL: everybody's */
    uint64_t deadline_ns;
    void (*cb)(struct kms_change *);
    /* Result: OK; ERR_EXISTS; ERR_NOT_FOUND; ERR_LIMIT (too many versions); ERR_AUTH (a master key
     * that is needed is not here, or another); ERR_CONFLICT (again and again somebody else was
     * first); KMS_TRIM: ERR_NOT_EMPTY (another master key still wraps something); or why the
     * registry could not be asked. */
    int err;
    bool changed; /* false: it was so already */
    /* private */
    Cairn__MasterRow *master;
    Cairn__KmsKeyRow *key;
    uint64_t master_version, key_version;
    unsigned tries;
    struct meta_rows rows;
    char after[S3_KMS_KEY_CHARS_MAX + 1];
    struct meta_propose propose;
    Cairn__ChangeRows change;
    Cairn__RowChange row[2], *row_ptr[2];
    struct buf value[2];
};

void kms_change_start(struct kms_change *c);
