/* Hashes and range positions of index records. */
#include "proto/keyhash.h"

#include "common/base/check.h"
#include "common/base/hash.h"

enum { SEED_OBJECT = 1, SEED_BUCKET = 2, SEED_ACCESS_KEY = 3, SEED_USER = 4, SEED_ACCOUNT = 5 };

static void put_be64(uint8_t *p, uint64_t v)
{
    for (int i = 0; i < 8; i++)
        p[i] = (uint8_t)(v >> (56 - 8 * i));
}

uint64_t keyhash_object(uint64_t bucket_id, struct slice key)
{
    /* The bucket id is mixed into the seed, so that the key is hashed where it lies. */
    uint8_t id[8];
    put_be64(id, bucket_id);
    return hash64(hash64(SEED_OBJECT, SLICE(id, sizeof(id))), key);
}

uint64_t keyhash_bucket(struct slice name)
{
    return hash64(SEED_BUCKET, name);
}

uint64_t keyhash_access_key(struct slice access_key_id)
{
    return hash64(SEED_ACCESS_KEY, access_key_id);
}

uint64_t keyhash_user(struct slice user_id)
{
    return hash64(SEED_USER, user_id);
}

uint64_t keyhash_account(struct slice account_id)
{
    return hash64(SEED_ACCOUNT, account_id);
}

void range_position(uint64_t bucket_id, struct slice key, struct buf *ret)
{
    buf_be64(ret, bucket_id);
    buf_slice(ret, key);
}

/* Compares be64(bucket_id) ‖ key with a bound, without building it. */
static int position_cmp(uint64_t bucket_id, struct slice key, struct slice bound)
{
    uint8_t id[8];
    put_be64(id, bucket_id);
    if (bound.len < sizeof(id)) {
        int c = slice_cmp(SLICE(id, sizeof(id)), bound);
        return c;
    }
    int c = memcmp(id, bound.ptr, sizeof(id));
    return c ? c : slice_cmp(key, SLICE(bound.ptr + sizeof(id), bound.len - sizeof(id)));
}

bool range_contains(struct slice start, struct slice end, uint64_t bucket_id, struct slice key)
{
    return position_cmp(bucket_id, key, start) >= 0 &&
           (end.len == 0 || position_cmp(bucket_id, key, end) < 0);
}

bool range_overlaps_bucket(struct slice start, struct slice end, uint64_t bucket_id)
{
    /* The bucket spans [be64(id), be64(id + 1)).  It misses the range iff it ends at or before start
     * or begins at or after end. */
    if (end.len != 0 && position_cmp(bucket_id, SLICE_EMPTY, end) >= 0)
        return false;
    return bucket_id == UINT64_MAX || position_cmp(bucket_id + 1, SLICE_EMPTY, start) > 0;
}
