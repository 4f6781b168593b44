#pragma once
/* Names that gateways, metanodes and witnesses must agree on: the hash by which a witness knows a
 * cacheable record, and the position of a record in the index's ranges. */
#include "common/base/slice.h"

#define ROOT_PARTITION 0u
#define OBJECT_KEY_BYTES_MAX 1024
#define RANGE_BOUND_BYTES_MAX (8 + OBJECT_KEY_BYTES_MAX)

uint64_t keyhash_object(uint64_t bucket_id, struct slice key);
uint64_t keyhash_bucket(struct slice name);
uint64_t keyhash_access_key(struct slice access_key_id);
uint64_t keyhash_user(struct slice user_id);
uint64_t keyhash_account(struct slice account_id); /* of all that its principals consist of */

/* be64(bucket_id) then key, appended to *ret: what partition bounds are compared with. */
void range_position(uint64_t bucket_id, struct slice key, struct buf *ret);
/* start <= position < end; an empty end has no end. */
bool range_contains(struct slice start, struct slice end, uint64_t bucket_id, struct slice key);
/* The range holds at least one position of the bucket. */
bool range_overlaps_bucket(struct slice start, struct slice end, uint64_t bucket_id);
