/* Keys and values of the index, and the rules by which frames change a blob's record. */
#include "storagenode/extent/record.h"

#include "common/base/check.h"
#include "common/base/cursor.h"

#include <assert.h>

#define RECORD_VERSION 1u
#define BLOB_VERSION 2u /* 1 had no groups and times; the disk record says which one an index has */
enum { BLOB_DELETED = 1 };
enum { SHARD_DAMAGED = 1, SHARD_CONFIRMED = 2 };
enum { NODE_LOST_FLAG = 1 };
enum { EXTENT_USED = 1, EXTENT_SEALED_FLAG = 2, EXTENT_BROKEN_FLAG = 4 };

static_assert(RECORD_KEY_BYTES_MAX >= 1 + 8 + ID_BYTES, "the longest key");

/* A writer over a fixed array whose size is known to suffice. */
struct writer {
    uint8_t *at;
};

static void w_bytes(struct writer *w, const void *p, size_t n)
{
    memcpy(w->at, p, n);
    w->at += n;
}

static void w_uint(struct writer *w, uint64_t v, unsigned bytes)
{
    for (unsigned i = bytes; i > 0; i--)
        *w->at++ = (uint8_t)(v >> (8 * (i - 1)));
}

static struct record_key key_of(char kind, uint64_t a, unsigned a_bytes, uint64_t b, unsigned b_bytes,
                                const struct id128 *id)
{
    struct record_key k;
    struct writer w = {k.bytes};
    w_uint(&w, (uint8_t)kind, 1);
    w_uint(&w, a, a_bytes);
    w_uint(&w, b, b_bytes);
    if (id)
        w_bytes(&w, id->bytes, ID_BYTES);
    k.len = (size_t)(w.at - k.bytes);
    return k;
}

struct record_key record_key_blob(struct id128 blob_id) { return key_of('b', 0, 0, 0, 0, &blob_id); }

struct record_key record_key_live(uint32_t extent_id, uint64_t offset)
{
    return key_of('x', extent_id, 4, offset, 8, NULL);
}

struct record_key record_key_tombstone(uint64_t time_ms, struct id128 blob_id)
{
    return key_of('t', time_ms, 8, 0, 0, &blob_id);
}

struct record_key record_key_extent(uint32_t extent_id)
{
    return key_of('e', extent_id, 4, 0, 0, NULL);
}

struct record_key record_key_scrub(uint32_t extent_id)
{
    return key_of('s', extent_id, 4, 0, 0, NULL);
}

struct record_key record_key_disk(void) { return key_of('d', 0, 0, 0, 0, NULL); }

struct record_key record_key_group(uint32_t pg, struct id128 blob_id, uint16_t shard_index)
{
    struct record_key k = key_of('g', pg, 4, 0, 0, &blob_id);
    struct writer w = {k.bytes + k.len};
    w_uint(&w, shard_index, 2);
    k.len += 2;
    return k;
}

struct record_key record_key_closed(uint32_t pg) { return key_of('c', pg, 4, 0, 0, NULL); }
struct record_key record_key_deep(uint32_t pg) { return key_of('v', pg, 4, 0, 0, NULL); }
struct record_key record_key_node(struct id128 disk_id) { return key_of('n', 0, 0, 0, 0, &disk_id); }

static bool cursor_done(const struct cursor *c) { return !c->failed && cursor_left(c) == 0; }

bool record_key_blob_parse(struct slice key, struct id128 *ret)
{
    struct cursor c = cursor_of(key);
    bool ours = cursor_u8(&c) == 'b';
    struct slice id = cursor_bytes(&c, ID_BYTES);
    return ours && cursor_done(&c) && id128_from_slice(id, ret);
}

bool record_key_live_parse(struct slice key, uint32_t *ret_extent, uint64_t *ret_offset)
{
    struct cursor c = cursor_of(key);
    bool ours = cursor_u8(&c) == 'x';
    uint32_t extent = cursor_be32(&c);
    uint64_t offset = cursor_be64(&c);
    if (!ours || !cursor_done(&c))
        return false;
    *ret_extent = extent;
    *ret_offset = offset;
    return true;
}

bool record_key_tombstone_parse(struct slice key, uint64_t *ret_time_ms, struct id128 *ret_blob)
{
    struct cursor c = cursor_of(key);
    bool ours = cursor_u8(&c) == 't';
    uint64_t time_ms = cursor_be64(&c);
    struct slice id = cursor_bytes(&c, ID_BYTES);
    if (!ours || !cursor_done(&c) || !id128_from_slice(id, ret_blob))
        return false;
    *ret_time_ms = time_ms;
    return true;
}

static bool key_of_extent(struct slice key, char kind, uint32_t *ret_extent)
{
    struct cursor c = cursor_of(key);
    bool ours = cursor_u8(&c) == (uint8_t)kind;
    uint32_t extent = cursor_be32(&c);
    if (!ours || !cursor_done(&c))
        return false;
    *ret_extent = extent;
    return true;
}

bool record_key_extent_parse(struct slice key, uint32_t *ret_extent)
{
    return key_of_extent(key, 'e', ret_extent);
}

bool record_key_scrub_parse(struct slice key, uint32_t *ret_extent)
{
    return key_of_extent(key, 's', ret_extent);
}

bool record_key_group_parse(struct slice key, uint32_t *ret_pg, struct id128 *ret_blob,
                            uint16_t *ret_shard_index)
{
    struct cursor c = cursor_of(key);
    bool ours = cursor_u8(&c) == 'g';
    uint32_t pg = cursor_be32(&c);
    struct slice id = cursor_bytes(&c, ID_BYTES);
    uint16_t shard_index = cursor_be16(&c);
    if (!ours || !cursor_done(&c) || !id128_from_slice(id, ret_blob))
        return false;
    *ret_pg = pg;
    *ret_shard_index = shard_index;
    return true;
}

bool record_key_closed_parse(struct slice key, uint32_t *ret_pg)
{
    struct cursor c = cursor_of(key);
    bool ours = cursor_u8(&c) == 'c';
    uint32_t pg = cursor_be32(&c);
    if (!ours || !cursor_done(&c))
        return false;
    *ret_pg = pg;
    return true;
}

bool record_key_node_parse(struct slice key, struct id128 *ret_disk)
{
    struct cursor c = cursor_of(key);
    bool ours = cursor_u8(&c) == 'n';
    struct slice id = cursor_bytes(&c, ID_BYTES);
    return ours && cursor_done(&c) && id128_from_slice(id, ret_disk);
}

static uint64_t shard_flags(bool damaged, bool confirmed)
{
    return (damaged ? SHARD_DAMAGED : 0u) | (confirmed ? SHARD_CONFIRMED : 0u);
}

size_t blob_record_encode(const struct blob_record *r, uint8_t ret[RECORD_BYTES_MAX])
{
    struct writer w = {ret};
    CHECK(r->shard_count <= SHARDS_PER_BLOB_MAX && (!r->deleted || r->shard_count == 0));
    w_uint(&w, BLOB_VERSION, 1);
    w_uint(&w, r->deleted ? BLOB_DELETED : 0, 1);
    w_uint(&w, r->shard_count, 1);
    w_uint(&w, 0, 1);
    w_uint(&w, r->seq, 8);
    w_uint(&w, r->time_ms, 8);
    for (uint32_t i = 0; i < r->shard_count; i++) {
        const struct shard_record *s = &r->shards[i];
        w_uint(&w, s->shard_index, 2);
        w_uint(&w, shard_flags(s->damaged, s->confirmed), 1);
        w_uint(&w, 0, 1);
        w_uint(&w, s->extent_id, 4);
        w_uint(&w, s->generation, 8);
        w_uint(&w, s->offset, 8);
        w_uint(&w, s->bytes, 8);
        w_uint(&w, s->seq, 8);
        w_uint(&w, s->crcs_digest, 4);
        w_uint(&w, s->pg, 4);
        w_uint(&w, s->time_ms, 8);
    }
    CHECK((size_t)(w.at - ret) <= RECORD_BYTES_MAX);
    return (size_t)(w.at - ret);
}

int blob_record_decode(struct slice value, struct blob_record *ret)
{
    struct cursor c = cursor_of(value);
    uint8_t version = cursor_u8(&c);
    uint8_t flags = cursor_u8(&c);
    ret->deleted = flags & BLOB_DELETED;
    ret->shard_count = cursor_u8(&c);
    (void)cursor_u8(&c);
    ret->seq = cursor_be64(&c);
    ret->time_ms = cursor_be64(&c);
    if (c.failed || ret->shard_count > SHARDS_PER_BLOB_MAX || (ret->deleted && ret->shard_count))
        return ERR_CORRUPT;
    if (version != BLOB_VERSION)
        return ERR_VERSION;
    for (uint32_t i = 0; i < ret->shard_count; i++) {
        struct shard_record *s = &ret->shards[i];
        s->shard_index = cursor_be16(&c);
        uint8_t shard = cursor_u8(&c);
        s->damaged = shard & SHARD_DAMAGED;
        s->confirmed = shard & SHARD_CONFIRMED;
        (void)cursor_u8(&c);
        s->extent_id = cursor_be32(&c);
        s->generation = cursor_be64(&c);
        s->offset = cursor_be64(&c);
        s->bytes = cursor_be64(&c);
        s->seq = cursor_be64(&c);
        s->crcs_digest = cursor_be32(&c);
        s->pg = cursor_be32(&c);
        s->time_ms = cursor_be64(&c);
        if (s->bytes == 0 || s->bytes > SHARD_BYTES_MAX || s->offset % FRAME_ALIGN != 0 ||
            s->offset > EXTENT_BYTES_MAX || (s->extent_id == EXTENT_NONE && !s->damaged))
            return ERR_CORRUPT;
    }
    return cursor_done(&c) ? OK : ERR_CORRUPT;
}

struct shard_record *blob_record_find(struct blob_record *r, uint16_t shard_index)
{
    for (uint32_t i = 0; i < r->shard_count; i++)
        if (r->shards[i].shard_index == shard_index)
            return &r->shards[i];
    return NULL;
}

void blob_record_remove(struct blob_record *r, struct shard_record *shard)
{
    CHECK(shard >= r->shards && shard < r->shards + r->shard_count);
    *shard = r->shards[--r->shard_count];
}

bool blob_record_take(struct blob_record *r, const struct shard_record *shard,
                      struct shard_record *ret_old)
{
    struct shard_record *known = blob_record_find(r, shard->shard_index);
    *ret_old = (struct shard_record){0};
    if (r->seq > shard->seq) /* a later mark is known, whether or not a still later shard lives */
        return false;
    if (known && known->seq >= shard->seq)
        return false;
    if (!known && r->shard_count == SHARDS_PER_BLOB_MAX)
        return false;
    if (known)
        *ret_old = *known;
    else
        known = &r->shards[r->shard_count++];
    *known = *shard;
    r->deleted = false;
    return true;
}

bool blob_record_mark(struct blob_record *r, uint64_t seq, uint64_t time_ms,
                      struct shard_record ret_removed[SHARDS_PER_BLOB_MAX], uint32_t *ret_count)
{
    uint32_t removed = 0;
    *ret_count = 0;
    if (r->seq >= seq)
        return false;
    for (uint32_t i = r->shard_count; i > 0; i--) {
        if (r->shards[i - 1].seq < seq) {
            ret_removed[removed++] = r->shards[i - 1];
            blob_record_remove(r, &r->shards[i - 1]);
        }
    }
    *ret_count = removed;
    r->deleted = r->shard_count == 0;
    r->seq = seq; /* kept beside a later shard, too: an older one may yet be met */
    r->time_ms = time_ms;
    return true;
}

void live_record_encode(const struct live_record *r, uint8_t ret[LIVE_RECORD_BYTES])
{
    struct writer w = {ret};
    w_bytes(&w, r->blob_id.bytes, ID_BYTES);
    w_uint(&w, r->shard_index, 2);
}

int live_record_decode(struct slice value, struct live_record *ret)
{
    struct cursor c = cursor_of(value);
    struct slice id = cursor_bytes(&c, ID_BYTES);
    ret->shard_index = cursor_be16(&c);
    return cursor_done(&c) && id128_from_slice(id, &ret->blob_id) ? OK : ERR_CORRUPT;
}

void group_record_encode(const struct group_record *r, uint8_t ret[GROUP_RECORD_BYTES])
{
    struct writer w = {ret};
    w_uint(&w, RECORD_VERSION, 1);
    w_uint(&w, shard_flags(r->damaged, r->confirmed), 1);
    w_uint(&w, r->time_ms, 8);
    w_uint(&w, r->crcs_digest, 4);
    CHECK(w.at == ret + GROUP_RECORD_BYTES);
}

int group_record_decode(struct slice value, struct group_record *ret)
{
    struct cursor c = cursor_of(value);
    uint8_t version = cursor_u8(&c);
    uint8_t flags = cursor_u8(&c);
    ret->damaged = flags & SHARD_DAMAGED;
    ret->confirmed = flags & SHARD_CONFIRMED;
    ret->time_ms = cursor_be64(&c);
    ret->crcs_digest = cursor_be32(&c);
    if (!cursor_done(&c))
        return ERR_CORRUPT;
    return version == RECORD_VERSION ? OK : ERR_VERSION;
}

size_t node_record_encode(const struct node_record *r, uint8_t ret[NODE_RECORD_BYTES_MAX])
{
    struct writer w = {ret};
    size_t len = strlen(r->path);
    CHECK(len <= DISK_PATH_BYTES_MAX);
    w_uint(&w, RECORD_VERSION, 1);
    w_uint(&w, r->lost ? NODE_LOST_FLAG : 0, 1);
    w_uint(&w, len, 1);
    w_bytes(&w, r->path, len);
    return (size_t)(w.at - ret);
}

int node_record_decode(struct slice value, struct node_record *ret)
{
    struct cursor c = cursor_of(value);
    uint8_t version = cursor_u8(&c);
    ret->lost = cursor_u8(&c) & NODE_LOST_FLAG;
    struct slice path = cursor_bytes(&c, cursor_u8(&c));
    if (!cursor_done(&c))
        return ERR_CORRUPT;
    if (path.len)
        memcpy(ret->path, path.ptr, path.len);
    ret->path[path.len] = 0;
    return version == RECORD_VERSION ? OK : ERR_VERSION;
}

void closed_record_encode(uint64_t epoch, uint8_t ret[CLOSED_RECORD_BYTES])
{
    struct writer w = {ret};
    w_uint(&w, RECORD_VERSION, 1);
    w_uint(&w, epoch, 8);
}

int closed_record_decode(struct slice value, uint64_t *ret_epoch)
{
    struct cursor c = cursor_of(value);
    uint8_t version = cursor_u8(&c);
    *ret_epoch = cursor_be64(&c);
    if (!cursor_done(&c))
        return ERR_CORRUPT;
    return version == RECORD_VERSION ? OK : ERR_VERSION;
}

void extent_record_encode(const struct extent_record *r, uint8_t ret[EXTENT_RECORD_BYTES])
{
    struct writer w = {ret};
    w_uint(&w, RECORD_VERSION, 1);
    w_uint(&w, (r->used ? EXTENT_USED : 0u) | (r->sealed ? EXTENT_SEALED_FLAG : 0u) |
                   (r->broken ? EXTENT_BROKEN_FLAG : 0u), 1);
    w_uint(&w, r->generation, 8);
    w_uint(&w, r->salt, 8);
    w_uint(&w, r->indexed_end, 8);
    w_uint(&w, r->last_seq, 8);
    CHECK(w.at == ret + EXTENT_RECORD_BYTES);
}

int extent_record_decode(struct slice value, struct extent_record *ret)
{
    struct cursor c = cursor_of(value);
    uint8_t version = cursor_u8(&c), flags = cursor_u8(&c);
    ret->used = flags & EXTENT_USED;
    ret->sealed = flags & EXTENT_SEALED_FLAG;
    ret->broken = flags & EXTENT_BROKEN_FLAG;
    ret->generation = cursor_be64(&c);
    ret->salt = cursor_be64(&c);
    ret->indexed_end = cursor_be64(&c);
    ret->last_seq = cursor_be64(&c);
    if (!cursor_done(&c) || ret->indexed_end % FRAME_ALIGN != 0 ||
        ret->indexed_end < EXTENT_HEADER_BYTES || ret->indexed_end > EXTENT_BYTES_MAX)
        return ERR_CORRUPT;
    return version == RECORD_VERSION ? OK : ERR_VERSION;
}

void scrub_record_encode(const struct scrub_record *r, uint8_t ret[SCRUB_RECORD_BYTES])
{
    struct writer w = {ret};
    w_uint(&w, RECORD_VERSION, 1);
    w_uint(&w, r->generation, 8);
    w_uint(&w, r->unverified_ms, 8);
    CHECK(w.at == ret + SCRUB_RECORD_BYTES);
}

int scrub_record_decode(struct slice value, struct scrub_record *ret)
{
    struct cursor c = cursor_of(value);
    uint8_t version = cursor_u8(&c);
    ret->generation = cursor_be64(&c);
    ret->unverified_ms = cursor_be64(&c);
    if (!cursor_done(&c))
        return ERR_CORRUPT;
    return version == RECORD_VERSION ? OK : ERR_VERSION;
}

void disk_record_encode(const struct disk_record *r, uint8_t ret[DISK_RECORD_BYTES])
{
    struct writer w = {ret};
    w_uint(&w, BLOB_VERSION, 1);
    w_bytes(&w, r->disk_id.bytes, ID_BYTES);
    w_uint(&w, r->extent_bytes, 8);
    CHECK(w.at == ret + DISK_RECORD_BYTES);
}

int disk_record_decode(struct slice value, struct disk_record *ret)
{
    struct cursor c = cursor_of(value);
    uint8_t version = cursor_u8(&c);
    struct slice id = cursor_bytes(&c, ID_BYTES);
    ret->extent_bytes = cursor_be64(&c);
    if (!cursor_done(&c) || !id128_from_slice(id, &ret->disk_id))
        return ERR_CORRUPT;
    return version == BLOB_VERSION ? OK : ERR_VERSION;
}

#define DEEP_VERSION 1

void deep_record_encode(const uint64_t since_ms[DEEP_BUCKETS], uint8_t ret[DEEP_RECORD_BYTES])
{
    struct writer w = {ret};
    w_uint(&w, DEEP_VERSION, 1);
    for (unsigned i = 0; i < DEEP_BUCKETS; i++)
        w_uint(&w, since_ms[i] / 1000, 5);
}

int deep_record_decode(struct slice value, uint64_t ret_since_ms[DEEP_BUCKETS])
{
    struct cursor c = cursor_of(value);
    if (value.len && value.ptr[0] != DEEP_VERSION)
        return ERR_VERSION;
    if (value.len != DEEP_RECORD_BYTES)
        return ERR_CORRUPT;
    (void)cursor_u8(&c);
    for (unsigned i = 0; i < DEEP_BUCKETS; i++) {
        uint64_t high = cursor_u8(&c);
        ret_since_ms[i] = (high << 32 | cursor_be32(&c)) * 1000;
    }
    return OK;
}
