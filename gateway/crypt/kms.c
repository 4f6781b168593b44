/* Versions of KMS keys. */
#include "gateway/crypt/kms.h"

#include "common/base/check.h"
#include "common/crypto/digest.h"

int kms_version_unwrap(const Cairn__KmsVersion *v, const char *name, const struct master_keys *m,
                       uint8_t ret[CRYPT_KEY_BYTES])
{
    const struct master_key *with = master_keys_find(m, slice_cstr(v->master_id));
    struct buf context = {0};
    if (!with)
        return ERR_NOT_FOUND;
    key_context_kms(&context, slice_cstr(name), v->number);
    int err = context.failed ? ERR_NOMEM
                             : key_unwrap(with->key, SLICE(v->wrapped.data, v->wrapped.len),
                                          buf_view(&context), ret);
    buf_fini(&context);
    return err;
}

int kms_version_wrap(Cairn__KmsVersion *v, const char *name, const struct master_key *m,
                     const uint8_t salt[CRYPT_SALT_BYTES], const uint8_t key[CRYPT_KEY_BYTES],
                     uint8_t ret[CRYPT_WRAPPED_BYTES])
{
    struct buf context = {0};
    key_context_kms(&context, slice_cstr(name), v->number);
    int err = context.failed ? ERR_NOMEM : key_wrap(m->key, salt, buf_view(&context), key, ret);
    buf_fini(&context);
    if (err != OK)
        return err;
    v->wrapped = (ProtobufCBinaryData){CRYPT_WRAPPED_BYTES, ret};
    v->master_id = (char *)(uintptr_t)m->id;
    return OK;
}

const Cairn__KmsVersion *kms_version_find(const Cairn__KmsKeyRow *row, uint32_t number)
{
    if (number == 0)
        return row->n_versions ? row->versions[row->n_versions - 1] : NULL;
    for (size_t i = row->n_versions; i > 0; i--)
        if (row->versions[i - 1]->number == number)
            return row->versions[i - 1];
    return NULL;
}

int master_row_check(const Cairn__MasterRow *row, const struct master_keys *m, const char **ret_id)
{
    uint8_t check[MASTER_CHECK_BYTES];
    for (size_t i = 0; i < row->n_used; i++) {
        const Cairn__MasterCheck *used = row->used[i];
        const struct master_key *ours = master_keys_find(m, slice_cstr(used->id));
        *ret_id = used->id;
        if (!ours)
            return ERR_NOT_FOUND;
        master_key_check(ours, check);
        if (used->check.len != sizeof(check) ||
            !crypto_equal(used->check.data, check, sizeof(check)))
            return ERR_AUTH;
    }
    return OK;
}

bool master_row_has(const Cairn__MasterRow *row, const char *id)
{
    for (size_t i = 0; i < row->n_used; i++)
        if (strcmp(row->used[i]->id, id) == 0)
            return true;
    return false;
}
