/* Frames to blobs; versions.c makes versions of them.  See catalog.h. */
#include "cli/salvage/catalog.h"

#include "cli/salvage/catalog_impl.h"
#include "common/base/check.h"

#include <stdlib.h>

#define TEXT_BYTES 65536u

struct salvage_mark {
    struct id128 blob_id;
    uint32_t disk;
    uint64_t seq;
};

struct salvage_text { /* keys lie here */
    struct salvage_text *next;
    size_t used;
    uint8_t bytes[TEXT_BYTES];
};

static int grow(void **array, size_t *cap, size_t count, size_t each)
{
    if (count < *cap)
        return OK;
    size_t more = MAX(256, *cap * 2);
    void *grown = more > SIZE_MAX / each ? NULL : realloc(*array, more * each);
    if (!grown)
        return ERR_NOMEM;
    *array = grown;
    *cap = more;
    return OK;
}

/* Frames of one object lie one after the other, so most keys are the one before. */
static int key_keep(struct salvage_catalog *c, struct slice key, struct slice *ret)
{
    if (key.len == 0 || slice_eq(key, c->last_key)) {
        *ret = key.len ? c->last_key : SLICE_EMPTY;
        return OK;
    }
    CHECK(key.len <= TEXT_BYTES);
    if (!c->texts || TEXT_BYTES - c->texts->used < key.len) {
        struct salvage_text *t = malloc(sizeof(*t));
        if (!t)
            return ERR_NOMEM;
        t->next = c->texts;
        t->used = 0;
        c->texts = t;
    }
    uint8_t *at = c->texts->bytes + c->texts->used;
    memcpy(at, key.ptr, key.len);
    c->texts->used += key.len;
    *ret = c->last_key = SLICE(at, key.len);
    return OK;
}

int salvage_add_shard(struct salvage_catalog *c, uint32_t disk, const struct frame_head *head,
                      bool damaged)
{
    CHECK(head->kind == FRAME_SHARD);
    struct slice key;
    int err = grow((void **)&c->shard, &c->shard_cap, c->shard_count, sizeof(*c->shard));
    if (!err)
        err = key_keep(c, head->info.owner.key, &key);
    if (err)
        return err;
    struct salvage_shard *s = &c->shard[c->shard_count++];
    *s = (struct salvage_shard){.info = head->info,
                                .disk = disk,
                                .extent = head->extent_id,
                                .offset = head->offset,
                                .seq = head->seq,
                                .damaged = damaged};
    s->info.owner.key = key;
    s->info.block_crcs = NULL;
    return OK;
}

int salvage_add_marks(struct salvage_catalog *c, uint32_t disk, uint64_t seq, struct slice ids)
{
    for (size_t at = 0; at + ID_BYTES <= ids.len; at += ID_BYTES) {
        int err = grow((void **)&c->mark, &c->mark_cap, c->mark_count, sizeof(*c->mark));
        if (err)
            return err;
        struct salvage_mark *m = &c->mark[c->mark_count++];
        memcpy(m->blob_id.bytes, ids.ptr + at, ID_BYTES);
        m->disk = disk;
        m->seq = seq;
    }
    return OK;
}

/* ---- blobs ---- */

#define ORDER(a, b) (((a) > (b)) - ((a) < (b)))

static int mark_order(const void *pa, const void *pb)
{
    const struct salvage_mark *a = pa, *b = pb;
    int d = memcmp(a->blob_id.bytes, b->blob_id.bytes, ID_BYTES);
    if (!d)
        d = ORDER(a->disk, b->disk);
    return d ? d : ORDER(b->seq, a->seq);
}

static int shard_order(const void *pa, const void *pb)
{
    const struct salvage_shard *a = pa, *b = pb;
    int d = memcmp(a->info.blob_id.bytes, b->info.blob_id.bytes, ID_BYTES);
    if (!d)
        d = ORDER(a->dead, b->dead);
    if (!d)
        d = ORDER(a->damaged, b->damaged);
    if (!d)
        d = ORDER(a->info.shard_index, b->info.shard_index);
    if (!d)
        d = ORDER(a->disk, b->disk);
    return d ? d : ORDER(b->seq, a->seq);
}

/* The first mark of the blob at all, or on this disk; NULL: none.  Marks are sorted. */
static const struct salvage_mark *mark_find(const struct salvage_catalog *c, struct id128 blob_id,
                                            const uint32_t *disk)
{
    size_t low = 0, high = c->mark_count;
    while (low < high) {
        size_t mid = low + (high - low) / 2;
        int d = memcmp(c->mark[mid].blob_id.bytes, blob_id.bytes, ID_BYTES);
        if (!d && disk)
            d = ORDER(c->mark[mid].disk, *disk);
        if (d < 0)
            low = mid + 1;
        else
            high = mid;
    }
    const struct salvage_mark *m = low < c->mark_count ? &c->mark[low] : NULL;
    return m && id128_eq(m->blob_id, blob_id) && (!disk || m->disk == *disk) ? m : NULL;
}

static void shards_kill(struct salvage_catalog *c)
{
    for (size_t i = 0; i < c->shard_count; i++) {
        struct salvage_shard *s = &c->shard[i];
        const struct salvage_mark *m = mark_find(c, s->info.blob_id, &s->disk);
        s->dead = m && m->seq > s->seq;
    }
}

/* Marks of the blob, one for each disk; `deleted` unless each is older than a shard on its disk. */
static void marks_count(const struct salvage_catalog *c, struct salvage_blob *b)
{
    const struct salvage_mark *m = mark_find(c, b->info->blob_id, NULL),
                              *end = c->mark + c->mark_count;
    uint32_t last = 0;
    for (; m && m < end && id128_eq(m->blob_id, b->info->blob_id); m++) {
        bool outlived = false;
        if (b->marks && m->disk == last)
            continue;
        last = m->disk;
        b->marks++;
        for (size_t i = 0; i < b->shard_count; i++)
            outlived |= b->shard[i].disk == m->disk && b->shard[i].seq > m->seq;
        b->deleted |= !outlived;
    }
}

/* Two heads that speak of the same blob in the same words. */
static bool agree(const struct shard_info *a, const struct shard_info *b)
{
    return a->scheme == b->scheme && a->data_shards == b->data_shards &&
           a->parity_shards == b->parity_shards && a->blob_bytes == b->blob_bytes &&
           a->blob_crc32c == b->blob_crc32c && a->bytes == b->bytes &&
           a->owner.bucket_id == b->owner.bucket_id && slice_eq(a->owner.key, b->owner.key) &&
           id128_eq(a->owner.upload_id, b->owner.upload_id) &&
           id128_eq(a->owner.write_id, b->owner.write_id) &&
           a->owner.part_number == b->owner.part_number &&
           a->owner.segment_number == b->owner.segment_number;
}

/* The code as the head states it, or as it was before heads did.  data stays 0 if it makes no
 * sense. */
static void code_read(struct salvage_blob *b)
{
    const struct shard_info *i = b->info;
    b->bytes = i->blob_bytes;
    b->crc_known = i->blob_bytes != 0;
    if (i->data_shards == 0 && i->scheme == SHARD_SCHEME_REP3 && i->blob_bytes == 0) {
        b->data = 1;
        b->parity = 2;
        b->bytes = i->bytes;
    } else if (i->data_shards == 1 && i->blob_bytes > 0 && i->blob_bytes <= i->bytes) {
        b->data = 1;
        b->parity = i->parity_shards;
    } else if (i->data_shards > 1 && i->data_shards <= EC_DATA_MAX && i->parity_shards >= 1 &&
               i->parity_shards <= EC_PARITY_MAX && i->blob_bytes > 0 &&
               i->blob_bytes <= (uint64_t)i->data_shards * SHARD_BYTES_MAX &&
               ec_shard_bytes(i->data_shards, i->blob_bytes) == i->bytes) {
        b->data = i->data_shards;
        b->parity = i->parity_shards;
    }
}

bool salvage_shard_serves(const struct salvage_blob *b, const struct salvage_shard *s)
{
    return !s->damaged && (!s->dead || b->deleted) && agree(b->info, &s->info) &&
           (b->data == 1 || s->info.shard_index < b->data + b->parity);
}

static void shards_count(struct salvage_blob *b)
{
    const struct salvage_shard *last = NULL;
    uint32_t seen = 0;
    for (size_t i = 0; i < b->shard_count; i++) {
        const struct salvage_shard *s = &b->shard[i];
        b->damaged += s->damaged && !s->dead;
        if (!salvage_shard_serves(b, s))
            continue;
        b->time_ms = MAX(b->time_ms, s->info.time_ms);
        if (b->data == 1) /* copies: they are told apart by where they lie */
            b->found +=
                !last || last->disk != s->disk || last->info.shard_index != s->info.shard_index;
        else if (b->data > 1 && !(seen & 1u << s->info.shard_index)) {
            seen |= 1u << s->info.shard_index;
            b->found++;
        }
        last = s;
    }
    b->decodable = b->data > 0 && b->found >= b->data;
}

static void blob_make(const struct salvage_catalog *c, struct salvage_blob *b,
                      const struct salvage_shard *first, size_t count)
{
    *b = (struct salvage_blob){
        .info = &first->info, .shard = first, .shard_count = count, .time_ms = first->info.time_ms};
    marks_count(c, b);
    code_read(b);
    shards_count(b);
}

int salvage_finish(struct salvage_catalog *c, bool with_deleted)
{
    CHECK(!c->blob);
    if (c->mark_count)
        qsort(c->mark, c->mark_count, sizeof(*c->mark), mark_order);
    shards_kill(c);
    if (c->shard_count)
        qsort(c->shard, c->shard_count, sizeof(*c->shard), shard_order);
    c->blob = calloc(c->shard_count + 1, sizeof(*c->blob));
    if (!c->blob)
        return ERR_NOMEM;
    for (size_t i = 0, n; i < c->shard_count; i += n) {
        for (n = 1; i + n < c->shard_count; n++)
            if (!id128_eq(c->shard[i + n].info.blob_id, c->shard[i].info.blob_id))
                break;
        struct salvage_blob *b = &c->blob[c->blob_count];
        blob_make(c, b, &c->shard[i], n);
        c->deleted_count += b->deleted;
        c->blob_count += !b->deleted || with_deleted;
    }
    int err = salvage_versions(c);
    return err ? err : salvage_appends(c);
}

void salvage_fini(struct salvage_catalog *c)
{
    while (c->texts) {
        struct salvage_text *t = c->texts;
        c->texts = t->next;
        free(t);
    }
    free(c->shard);
    free(c->mark);
    free(c->blob);
    free(c->order);
    free(c->segment);
    free(c->joined);
    free(c->body);
    free(c->version);
    memset(c, 0, sizeof(*c));
}
