/* Questions about blobs, and their answers. */
#include "storagenode/orphans/core/batch.h"

#include "common/base/check.h"

#include <stdlib.h>

#define SECOND_NS UINT64_C(1000000000)
/* BlobRefsResponse.referred. */
enum { NOT_REFERRED = 0, REFERRED = 1, NOT_YET = 2 };

uint64_t orphan_older_than(uint64_t wall_ms, uint64_t orphan_age_ms)
{
    return wall_ms > orphan_age_ms ? wall_ms - orphan_age_ms : 0;
}

static int compare(const void *x, const void *y)
{
    const struct orphan *a = x, *b = y;
    if (a->has_owner != b->has_owner)
        return a->has_owner ? -1 : 1;
    if (a->bucket_id != b->bucket_id)
        return a->bucket_id < b->bucket_id ? -1 : 1;
    size_t len = MIN(a->key_len, b->key_len);
    int order = len ? memcmp(a->key, b->key, len) : 0;
    if (order == 0 && a->key_len != b->key_len)
        order = a->key_len < b->key_len ? -1 : 1;
    return order ? order : memcmp(a->blob_id.bytes, b->blob_id.bytes, ID_BYTES);
}

void orphan_batch_sort(struct orphan_batch *b)
{
    CHECK(b->count <= ORPHAN_BATCH_MAX);
    qsort(b->blobs, b->count, sizeof(b->blobs[0]), compare);
}

static bool same_owner(const struct orphan *a, const struct orphan *b)
{
    return b->has_owner && a->bucket_id == b->bucket_id &&
           slice_eq(SLICE(a->key, a->key_len), SLICE(b->key, b->key_len));
}

size_t orphan_batch_question(const struct orphan_batch *b, size_t from)
{
    size_t count = 0;
    if (from >= b->count || !b->blobs[from].has_owner)
        return 0;
    while (from + count < b->count && same_owner(&b->blobs[from], &b->blobs[from + count]))
        count++;
    return count;
}

int orphan_batch_answer(struct orphan_batch *b, size_t from, size_t count, struct slice referred)
{
    CHECK(from + count <= b->count);
    if (referred.len != count)
        return ERR_PROTO;
    for (size_t i = 0; i < count; i++)
        if (referred.ptr[i] > NOT_YET)
            return ERR_PROTO;
    for (size_t i = 0; i < count; i++)
        b->blobs[from + i].verdict = referred.ptr[i] == REFERRED       ? ORPHAN_CONFIRMED
                                     : referred.ptr[i] == NOT_REFERRED ? ORPHAN_CONDEMNED
                                                                       : ORPHAN_LATER;
    return OK;
}

size_t orphan_batch_select(const struct orphan_batch *b, enum orphan_verdict verdict,
                           struct id128 ret[ORPHAN_BATCH_MAX])
{
    size_t count = 0;
    for (size_t i = 0; i < b->count; i++)
        if (b->blobs[i].verdict == verdict)
            ret[count++] = b->blobs[i].blob_id;
    return count;
}

uint64_t orphan_pace(uint64_t *free_ns, uint64_t now_ns, size_t count, uint64_t per_sec)
{
    uint64_t start = MAX(now_ns, *free_ns);
    CHECK(per_sec > 0);
    *free_ns = start + count * SECOND_NS / per_sec;
    return *free_ns - now_ns;
}
