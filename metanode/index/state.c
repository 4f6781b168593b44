/* A partition's life: creating, opening, and the two rows that describe it. */
#include "metanode/index/state.h"

#include "common/base/check.h"
#include "common/base/cursor.h"
#include "common/base/hash.h"

#include <stdlib.h>

enum {
    HEADER_MAGIC = 0x43494458,     /* "CIDX" */
    DESCRIPTOR_MAGIC = 0x43494452, /* "CIDR" */
    FORMAT_VERSION = 1,
};
#define WINDOW_DEFAULT_MS (UINT64_C(15) * 60 * 1000)
#define SKEW_DEFAULT_MS (UINT64_C(60) * 1000)
#define OUTCOMES_DEFAULT_MAX (UINT64_C(4) << 20)

static void put_be(uint8_t **p, uint64_t v, unsigned bytes)
{
    for (unsigned i = 0; i < bytes; i++)
        *(*p)++ = (uint8_t)(v >> (8 * (bytes - 1 - i)));
}

void header_pack(const struct header *h, uint8_t ret[HEADER_BYTES])
{
    const uint64_t fields[] = {
        h->applied,       h->term,           h->epoch,         h->time_ms,
        h->deletion_next, h->deletion_count, h->outcome_count, h->outcome_oldest_ms,
        h->bucket_counter};
    uint8_t *p = ret;
    put_be(&p, HEADER_MAGIC, 4);
    put_be(&p, FORMAT_VERSION, 2);
    put_be(&p, 0, 2);
    for (size_t i = 0; i < ARRAY_COUNT(fields); i++)
        put_be(&p, fields[i], 8);
    put_be(&p, crc32c(0, SLICE(ret, HEADER_BYTES - 4)), 4);
    CHECK(p == ret + HEADER_BYTES);
}

/* Checks magic, version and checksum of either row; leaves the cursor after the version. */
static int row_open(struct slice value, uint32_t magic, struct cursor *ret)
{
    if (value.len < 12)
        return ERR_CORRUPT;
    struct cursor crc = cursor_of(SLICE(value.ptr + value.len - 4, 4));
    *ret = cursor_of(SLICE(value.ptr, value.len - 4));
    if (cursor_be32(&crc) != crc32c(0, SLICE(value.ptr, value.len - 4)) ||
        cursor_be32(ret) != magic)
        return ERR_CORRUPT;
    uint16_t version = cursor_be16(ret);
    (void)cursor_be16(ret);
    return version == FORMAT_VERSION ? OK : ERR_VERSION;
}

int header_unpack(struct slice value, struct header *ret)
{
    struct cursor c;
    int err = row_open(value, HEADER_MAGIC, &c);
    if (err)
        return err;
    if (value.len != HEADER_BYTES)
        return ERR_CORRUPT;
    struct header h;
    uint64_t *const fields[] = {
        &h.applied,       &h.term,           &h.epoch,         &h.time_ms,
        &h.deletion_next, &h.deletion_count, &h.outcome_count, &h.outcome_oldest_ms,
        &h.bucket_counter};
    for (size_t i = 0; i < ARRAY_COUNT(fields); i++)
        *fields[i] = cursor_be64(&c);
    CHECK(!c.failed && cursor_left(&c) == 0);
    *ret = h;
    return OK;
}

static void descriptor_pack(const struct index_settings *s, struct slice start, struct slice end,
                            struct buf *ret)
{
    buf_be32(ret, DESCRIPTOR_MAGIC);
    buf_be16(ret, FORMAT_VERSION);
    buf_be16(ret, 0);
    buf_be64(ret, s->window_ms);
    buf_be64(ret, s->skew_ms);
    buf_be64(ret, s->outcomes_max);
    buf_be16(ret, (uint16_t)start.len);
    buf_slice(ret, start);
    buf_be16(ret, (uint16_t)end.len);
    buf_slice(ret, end);
    buf_be32(ret, crc32c(0, buf_view(ret)));
}

static int descriptor_unpack(struct slice value, struct index *index)
{
    struct cursor c;
    int err = row_open(value, DESCRIPTOR_MAGIC, &c);
    if (err)
        return err;
    index->settings.window_ms = cursor_be64(&c);
    index->settings.skew_ms = cursor_be64(&c);
    index->settings.outcomes_max = cursor_be64(&c);
    struct slice start = cursor_bytes(&c, cursor_be16(&c));
    struct slice end = cursor_bytes(&c, cursor_be16(&c));
    if (c.failed || cursor_left(&c) || start.len > RANGE_BOUND_BYTES_MAX ||
        end.len > RANGE_BOUND_BYTES_MAX || index->settings.window_ms > UINT32_MAX ||
        index->settings.skew_ms > UINT32_MAX)
        return ERR_CORRUPT;
    buf_slice(&index->start, start);
    buf_slice(&index->end, end);
    return index->start.failed || index->end.failed ? ERR_NOMEM : OK;
}

int kv_get_scratch(struct kv *kv, const struct kv_snapshot *snap, const struct key *key,
                   struct buf *scratch, struct slice *ret)
{
    buf_clear(scratch);
    int err = kv->ops->get(kv, snap, KV_INDEX, key_view(key), scratch);
    if (err)
        return err;
    if (scratch->failed)
        return ERR_NOMEM;
    *ret = buf_view(scratch);
    return OK;
}

int index_create(struct kv *kv, uint32_t partition, uint64_t epoch, struct slice start,
                 struct slice end, const struct index_settings *settings, uint64_t applied,
                 uint64_t applied_term)
{
    if (start.len > RANGE_BOUND_BYTES_MAX || end.len > RANGE_BOUND_BYTES_MAX ||
        partition == UINT32_MAX || (partition == ROOT_PARTITION && (start.len || end.len)))
        return ERR_INVAL;
    struct index_settings s = settings ? *settings : (struct index_settings){0};
    s.window_ms = s.window_ms ? s.window_ms : WINDOW_DEFAULT_MS;
    s.skew_ms = s.skew_ms ? s.skew_ms : SKEW_DEFAULT_MS;
    s.outcomes_max = s.outcomes_max ? s.outcomes_max : OUTCOMES_DEFAULT_MAX;
    if (s.window_ms > UINT32_MAX || s.skew_ms > UINT32_MAX)
        return ERR_INVAL; /* 49 days; keeps every sum of times far from overflow */

    struct key key;
    struct buf row = {0};
    struct slice ignored;
    key_table(&key, partition, TABLE_HEADER, SLICE_EMPTY);
    int err = kv_get_scratch(kv, NULL, &key, &row, &ignored);
    buf_clear(&row);
    struct kv_batch *batch = NULL;
    if (err != ERR_NOT_FOUND) {
        err = err == OK ? ERR_EXISTS : err;
        goto out;
    }
    batch = kv_batch_new();
    if (!batch) {
        err = ERR_NOMEM;
        goto out;
    }
    struct header h = {
        .applied = applied, .term = applied_term, .epoch = epoch, .deletion_next = 1};
    uint8_t packed[HEADER_BYTES];
    header_pack(&h, packed);
    kv_batch_put(batch, KV_INDEX, key_view(&key), SLICE(packed, sizeof(packed)));
    key_table(&key, partition, TABLE_DESCRIPTOR, SLICE_EMPTY);
    descriptor_pack(&s, start, end, &row);
    kv_batch_put(batch, KV_INDEX, key_view(&key), buf_view(&row));
    err = row.failed ? ERR_NOMEM : kv_batch_error(batch);
    if (!err)
        err = kv->ops->write(kv, &batch);
out:
    kv_batch_free(batch);
    buf_fini(&row);
    return err;
}

int index_open(struct kv *kv, uint32_t partition, struct index **ret)
{
    struct index *index = calloc(1, sizeof(*index));
    if (!index)
        return ERR_NOMEM;
    index->kv = kv;
    index->partition = partition;
    index_arena_init(&index->arena);
    struct key key;
    struct slice value;
    key_table(&key, partition, TABLE_HEADER, SLICE_EMPTY);
    int err = kv_get_scratch(kv, NULL, &key, &index->scratch, &value);
    if (!err)
        err = header_unpack(value, &index->h);
    if (!err) {
        key_table(&key, partition, TABLE_DESCRIPTOR, SLICE_EMPTY);
        err = kv_get_scratch(kv, NULL, &key, &index->scratch, &value);
        if (err == ERR_NOT_FOUND)
            err = ERR_CORRUPT; /* both rows were written in one batch */
        if (!err)
            err = descriptor_unpack(value, index);
    }
    if (!err)
        err = condemned_load(kv, partition, &index->condemned);
    if (!err)
        err = interim_load(kv, partition, &index->interim);
    if (err) {
        index_close(index);
        return err;
    }
    *ret = index;
    return OK;
}

void index_close(struct index *index)
{
    if (!index)
        return;
    buf_fini(&index->start);
    buf_fini(&index->end);
    buf_fini(&index->scratch);
    index_arena_fini(&index->arena);
    free(index);
}

uint32_t index_partition(const struct index *index)
{
    return index->partition;
}
uint64_t index_applied(const struct index *index)
{
    return index->h.applied;
}
uint64_t index_applied_term(const struct index *index)
{
    return index->h.term;
}
uint64_t index_epoch(const struct index *index)
{
    return index->h.epoch;
}
uint64_t index_time_ms(const struct index *index)
{
    return index->h.time_ms;
}
struct slice index_start(const struct index *index)
{
    return buf_view(&index->start);
}
struct slice index_end(const struct index *index)
{
    return buf_view(&index->end);
}
uint64_t index_outcome_count(const struct index *index)
{
    return index->h.outcome_count;
}
uint64_t index_deletion_count(const struct index *index)
{
    return index->h.deletion_count;
}

uint64_t index_condemned_count(const struct index *index)
{
    return index->condemned.count;
}

uint64_t index_interim_count(const struct index *index)
{
    return index->interim.segments;
}

void index_view_init(struct index_view *view, const struct index *index,
                     const struct kv_snapshot *snap)
{
    *view = (struct index_view){
        .kv = index->kv,
        .snap = snap,
        .partition = index->partition,
        .applied = index->h.applied,
        .epoch = index->h.epoch,
        .time_ms = index->h.time_ms,
        .start_bytes = (uint16_t)index->start.len,
        .end_bytes = (uint16_t)index->end.len,
    };
    if (index->start.len)
        memcpy(view->start, index->start.ptr, index->start.len);
    if (index->end.len)
        memcpy(view->end, index->end.ptr, index->end.len);
}

void index_range(uint32_t partition, uint8_t ret_lower[INDEX_RANGE_BYTES],
                 uint8_t ret_upper[INDEX_RANGE_BYTES])
{
    CHECK(partition < UINT32_MAX);
    uint8_t *lower = ret_lower, *upper = ret_upper;
    put_be(&lower, partition, 4);
    put_be(&upper, partition + 1, 4);
}
