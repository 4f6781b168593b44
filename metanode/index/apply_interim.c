/* Interim segments: copies that were written because no coded group could take them, and that
 * wait to be written again as shards (Segment.interim, set by the gateway that wrote them).
 *
 * TABLE_INTERIM has a row for each record with such segments, so that they are found without
 * looking through the whole index: it is made, changed and removed in the entry that does so with
 * the record.  Completing an upload leaves the part's row as it is; parts of a dead upload keep
 * theirs until they go, and whoever reads the table passes them over.
 *
 * Whoever has no interim segments pays nothing: the flag is in the record, which is decoded anyway.
 * How many there are is in a row of its own, which only entries that change it write.
 *
 * No entry decides by any of this.  A replica that applied an entry before its version knew the
 * table lacks a row, and nothing else; the row is looked for before it is counted. */
#include "metanode/index/state.h"

static void put_be(uint8_t *p, uint64_t v, unsigned bytes)
{
    for (unsigned i = 0; i < bytes; i++)
        p[i] = (uint8_t)(v >> (8 * (bytes - 1 - i)));
}

enum { COUNT_ROW_BYTES = 8 + 8, INTERIM_ROW_BYTES = 4 };
_Static_assert(COUNT_ROW_BYTES == 16 && INTERIM_ROW_BYTES == 4, "docs/formats/index.md");

int interim_load(struct kv *kv, uint32_t partition, struct interim *ret)
{
    struct key key;
    struct buf row = {0};
    struct slice value;
    *ret = (struct interim){0};
    key_table(&key, partition, TABLE_INTERIM_COUNT, SLICE_EMPTY);
    int err = kv_get_scratch(kv, NULL, &key, &row, &value);
    if (err == ERR_NOT_FOUND)
        err = OK;
    else if (!err && value.len != COUNT_ROW_BYTES)
        err = ERR_CORRUPT;
    else if (!err)
        *ret = (struct interim){load_be64(value.ptr), load_be64(value.ptr + 8)};
    buf_fini(&row);
    return err;
}

void interim_put(struct apply *a)
{
    const struct interim *now = &a->interim, *was = &a->index->interim;
    struct key key;
    uint8_t row[COUNT_ROW_BYTES];
    if (now->records == was->records && now->segments == was->segments)
        return;
    put_be(row, now->records, 8);
    put_be(row + 8, now->segments, 8);
    key_table(&key, a->index->partition, TABLE_INTERIM_COUNT, SLICE_EMPTY);
    apply_put(a, &key, SLICE(row, sizeof(row)));
}

uint32_t interim_count(Cairn__Segment *const *segments, size_t count)
{
    uint32_t ret = 0;
    for (size_t i = 0; i < count; i++)
        ret += segments[i]->interim ? 1 : 0;
    return ret;
}

int interim_note(struct apply *a, uint64_t bucket_id, struct slice key, struct slice upload_id,
                 uint32_t number, bool had, uint32_t now)
{
    static const uint8_t none[ID_BYTES]; /* as of key_interim_id(0) */
    struct key row;
    struct slice value;
    uint32_t was = 0;
    if (!had && !now)
        return OK;
    key_part(&row, a->index->partition, TABLE_INTERIM, bucket_id, key,
             upload_id.len ? upload_id : SLICE(none, ID_BYTES), number);
    int err = apply_get(a, &row, &value);
    if (err && err != ERR_NOT_FOUND)
        return err;
    if (!err) {
        if (value.len != INTERIM_ROW_BYTES)
            return ERR_CORRUPT;
        was = (uint32_t)load_be16(value.ptr) << 16 | load_be16(value.ptr + 2);
        if (was == 0 || a->interim.records == 0 || a->interim.segments < was)
            return ERR_CORRUPT;
    }
    if (was == now)
        return OK;
    a->interim.records += (now > 0) - (uint64_t)(was > 0);
    a->interim.segments += now - (uint64_t)was;
    uint8_t packed[INTERIM_ROW_BYTES];
    put_be(packed, now, INTERIM_ROW_BYTES);
    if (now)
        apply_put(a, &row, SLICE(packed, sizeof(packed)));
    else
        apply_delete(a, &row);
    return OK;
}
