/* Blobs to bodies to versions of objects; see catalog.h. */
#include "cli/salvage/catalog_impl.h"
#include "common/base/check.h"
#include "proto/sealed.h"

#include <stdlib.h>

#define ORDER(a, b) (((a) > (b)) - ((a) < (b)))

static int id_order(struct id128 a, struct id128 b)
{
    return memcmp(a.bytes, b.bytes, ID_BYTES);
}

static int key_order(const struct shard_info *a, const struct shard_info *b)
{
    int d = ORDER(a->owner.bucket_id, b->owner.bucket_id);
    return d ? d : slice_cmp(a->owner.key, b->owner.key);
}

/* Blobs of one version stand together: an upload's by part, and the body's segments in order; of
 * several blobs for one segment (a gateway tries another group when one fails) the best first. */
static int blob_order(const void *pa, const void *pb)
{
    const struct salvage_blob *x = *(const struct salvage_blob *const *)pa;
    const struct salvage_blob *y = *(const struct salvage_blob *const *)pb;
    const struct shard_info *a = x->info, *b = y->info;
    int d = key_order(a, b);
    if (!d)
        d = id_order(a->owner.upload_id, b->owner.upload_id);
    if (!d)
        d = ORDER(a->owner.part_number, b->owner.part_number);
    if (!d)
        d = id_order(a->owner.write_id, b->owner.write_id);
    if (!d)
        d = ORDER(a->owner.segment_number, b->owner.segment_number);
    if (!d)
        d = ORDER(y->decodable, x->decodable);
    if (!d)
        d = ORDER(y->time_ms, x->time_ms);
    return d ? d : id_order(a->blob_id, b->blob_id);
}

static bool same_upload(const struct shard_info *a, const struct shard_info *b)
{
    return key_order(a, b) == 0 && id128_eq(a->owner.upload_id, b->owner.upload_id);
}

static bool same_body(const struct shard_info *a, const struct shard_info *b)
{
    return same_upload(a, b) && a->owner.part_number == b->owner.part_number &&
           id128_eq(a->owner.write_id, b->owner.write_id);
}

static bool same_bytes(const struct salvage_blob *a, const struct salvage_blob *b)
{
    return a->bytes == b->bytes && a->crc_known && b->crc_known &&
           a->info->blob_crc32c == b->info->blob_crc32c;
}

/* One body from the `count` blobs at `from`.  Its segments are put behind those of the bodies
 * before. */
static void body_make(struct salvage_catalog *c, struct salvage_body *body,
                      const struct salvage_blob **from, size_t count, size_t *segments)
{
    const struct shard_info *first = from[0]->info;
    uint64_t body_bytes = first->owner.body_bytes & ~SEALED_BODY_FLAG;
    bool whole = true;
    *body = (struct salvage_body){.part_number = first->owner.part_number,
                                  .write_id = first->owner.write_id,
                                  .sealed = first->owner.body_bytes & SEALED_BODY_FLAG,
                                  .segment = c->segment + *segments};
    for (size_t i = 0; i < count; i++) {
        const struct salvage_blob *b = from[i], *last = i ? from[i - 1] : NULL;
        body->time_ms = MAX(body->time_ms, b->time_ms);
        if (last && last->info->owner.segment_number == b->info->owner.segment_number) {
            body->ambiguous |= id128_is_zero(body->write_id) && !same_bytes(last, b);
            continue;
        }
        whole = whole && b->decodable && b->info->owner.segment_number == body->segment_count &&
                b->info->owner.body_bytes == first->owner.body_bytes;
        body->segment[body->segment_count++] = b;
        body->bytes += b->bytes;
    }
    *segments += body->segment_count;
    if (!whole || body->ambiguous)
        body->complete = SALVAGE_NO;
    else if (body_bytes == 0)
        body->complete = SALVAGE_UNKNOWN;
    else
        body->complete = body->bytes == body_bytes ? SALVAGE_YES : SALVAGE_NO;
}

/* Of several uploads of one part, the one that counts stands first: whole, then newest. */
static int body_order(const void *pa, const void *pb)
{
    const struct salvage_body *a = pa, *b = pb;
    int d = ORDER(a->part_number, b->part_number);
    if (!d)
        d = ORDER(b->complete != SALVAGE_NO, a->complete != SALVAGE_NO);
    if (!d)
        d = ORDER(b->time_ms, a->time_ms);
    return d ? d : id_order(a->write_id, b->write_id);
}

static void version_make(struct salvage_version *v, const struct shard_info *owner,
                         struct salvage_body *body, size_t count)
{
    *v = (struct salvage_version){.bucket_id = owner->owner.bucket_id,
                                  .key = owner->owner.key,
                                  .upload_id = owner->owner.upload_id,
                                  .body = body,
                                  .body_count = count,
                                  .complete = SALVAGE_UNKNOWN};
    if (id128_is_zero(v->upload_id)) { /* of an upload nobody says how many parts it has */
        v->write_id = owner->owner.write_id;
        v->complete = SALVAGE_YES;
    }
    qsort(body, count, sizeof(*body), body_order);
    for (size_t i = 0; i < count; i++) {
        v->time_ms = MAX(v->time_ms, body[i].time_ms);
        body[i].chosen = i == 0 || body[i].part_number != body[i - 1].part_number;
        if (!body[i].chosen)
            continue;
        v->bytes += body[i].bytes;
        v->sealed |= body[i].sealed;
        v->complete = MIN(v->complete, body[i].complete);
    }
}

static int version_order(const void *pa, const void *pb)
{
    const struct salvage_version *a = pa, *b = pb;
    int d = ORDER(a->bucket_id, b->bucket_id);
    if (!d)
        d = slice_cmp(a->key, b->key);
    if (!d)
        d = ORDER(b->time_ms, a->time_ms);
    if (!d)
        d = id_order(b->write_id, a->write_id);
    return d ? d : id_order(b->upload_id, a->upload_id);
}

/* The version that begins with the blob at `at`.  Returns: how many blobs it took. */
static size_t version_gather(struct salvage_catalog *c, size_t at, size_t *segments)
{
    const struct shard_info *first = c->order[at]->info;
    bool plain = id128_is_zero(first->owner.upload_id);
    size_t end = at, begin_body = c->body_count;
    do {
        size_t n = 1;
        while (end + n < c->blob_count && same_body(c->order[end]->info, c->order[end + n]->info))
            n++;
        body_make(c, &c->body[c->body_count++], c->order + end, n, segments);
        end += n;
    } while (!plain && end < c->blob_count && same_upload(first, c->order[end]->info));
    version_make(&c->version[c->version_count++], first, &c->body[begin_body],
                 c->body_count - begin_body);
    return end - at;
}

int salvage_versions(struct salvage_catalog *c)
{
    size_t most = c->blob_count + 1, segments = 0;
    c->order = calloc(most, sizeof(*c->order));
    c->segment = calloc(most, sizeof(*c->segment));
    c->body = calloc(most, sizeof(*c->body));
    c->version = calloc(most, sizeof(*c->version));
    if (!c->order || !c->segment || !c->body || !c->version)
        return ERR_NOMEM;
    for (size_t i = 0; i < c->blob_count; i++)
        c->order[i] = &c->blob[i];
    qsort(c->order, c->blob_count, sizeof(*c->order), blob_order);
    for (size_t at = 0; at < c->blob_count;)
        at += version_gather(c, at, &segments);
    qsort(c->version, c->version_count, sizeof(*c->version), version_order);
    for (size_t i = 0; i < c->version_count; i++) {
        struct salvage_version *v = &c->version[i];
        v->newest = i == 0 || v[-1].bucket_id != v->bucket_id || !slice_eq(v[-1].key, v->key);
    }
    return OK;
}
