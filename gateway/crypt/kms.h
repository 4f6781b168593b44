#pragma once
/* KMS keys as rows of the registry: their versions made, unwrapped, and wrapped anew under another
 * master key; and the row that remembers which master keys wrap anything.  Pure. */
#include "gateway/crypt/keys.h"
#include "proto/registry.pb-c.h"

#define KMS_VERSIONS_MAX 500 /* of a key: its row is bounded */
/* The row of ROW_SECRET that holds the MasterRow. */
#define KMS_MASTER_ROW "master"

/* Its material under the master key that the version names.  Returns: OK; ERR_NOT_FOUND (that
 * master key is not among ours); ERR_AUTH (ours is another, or damage); ERR_NOMEM. */
int kms_version_unwrap(const Cairn__KmsVersion *v, const char *name, const struct master_keys *m,
                       uint8_t ret[CRYPT_KEY_BYTES]);
/* Sets `wrapped` (CRYPT_WRAPPED_BYTES at ret) and `master_id` (borrowed). */
int kms_version_wrap(Cairn__KmsVersion *v, const char *name, const struct master_key *m,
                     const uint8_t salt[CRYPT_SALT_BYTES], const uint8_t key[CRYPT_KEY_BYTES],
                     uint8_t ret[CRYPT_WRAPPED_BYTES]);
/* The version of that number, or the newest (0).  NULL: none. */
const Cairn__KmsVersion *kms_version_find(const Cairn__KmsKeyRow *row, uint32_t number);

/* Are all the master keys that the row remembers among ours, and the same?
 * Returns: OK; ERR_NOT_FOUND (*ret_id is missing); ERR_AUTH (*ret_id is another key here). */
int master_row_check(const Cairn__MasterRow *row, const struct master_keys *m, const char **ret_id);
/* Does the row remember this id? */
bool master_row_has(const Cairn__MasterRow *row, const char *id);
