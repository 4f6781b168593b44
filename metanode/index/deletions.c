/* Reading the deletion queue, for its consumer (index.h). */
#include "metanode/index/reply.h"

#include "common/base/check.h"

#include <stdlib.h>

struct collector {
    struct index_deletions *ret;
    struct buf blobs, items;
    uint64_t queued_before_ms;
    size_t items_max, blobs_max;
};

static void collect_blobs(struct collector *c, uint64_t id, const Cairn__DeletionItem *item)
{
    for (size_t i = 0; i < item->n_blobs; i++) {
        struct index_blob blob = {.item = id, .pg = item->blobs[i]->pg};
        if (!id128_from_slice(bytes_of(item->blobs[i]->blob_id), &blob.blob_id))
            continue; /* never written: apply checks the length */
        buf_append(&c->blobs, &blob, sizeof(blob));
        c->ret->blob_count++;
    }
    buf_append(&c->items, &id, sizeof(id));
    c->ret->item_count++;
}

/* *ret_full: this item did not fit any more. */
static int collect_item(struct collector *c, struct slice row, struct slice value, bool *ret_full)
{
    if (row.len != KEY_PREFIX_BYTES + 8)
        return ERR_CORRUPT;
    uint64_t id = load_be64(row.ptr + KEY_PREFIX_BYTES);
    struct heap_alloc heap;
    heap_alloc_init(&heap);
    Cairn__DeletionItem *item = cairn__deletion_item__unpack(&heap.allocator, value.len, value.ptr);
    if (!item)
        return heap.failed ? ERR_NOMEM : ERR_CORRUPT;
    bool expand = item->kind != CAIRN__DELETION_KIND__DELETION_BLOBS;
    /* Items are queued in the order of entry time: the first that is too young ends the search. */
    bool young = item->queued_ms > c->queued_before_ms;
    *ret_full = young || c->ret->item_count + c->ret->expand_count >= c->items_max ||
                c->ret->blob_count >= c->blobs_max ||
                (c->ret->blob_count && item->n_blobs > c->blobs_max - c->ret->blob_count) ||
                (expand && c->ret->expand_count == INDEX_EXPAND_ITEMS_MAX);
    if (!*ret_full) {
        if (expand)
            c->ret->expand[c->ret->expand_count++] = id;
        else
            collect_blobs(c, id, item);
        c->ret->last_item = id;
    } else if (!young) {
        c->ret->more = true;
    }
    cairn__deletion_item__free_unpacked(item, NULL);
    return OK;
}

int index_deletions_next(const struct index_view *view, uint64_t after_item,
                         uint64_t queued_before_ms, size_t items_max, size_t blobs_max,
                         struct index_deletions *ret)
{
    *ret = (struct index_deletions){0};
    if (after_item == UINT64_MAX)
        return OK;
    struct collector c = {.ret = ret,
                          .queued_before_ms = queued_before_ms,
                          .items_max = MIN(items_max, (size_t)INDEX_DONE_ITEMS_MAX),
                          .blobs_max = blobs_max};
    struct key lower, upper;
    key_table_be64(&lower, view->partition, TABLE_DELETION, after_item + 1);
    key_table(&upper, view->partition, TABLE_DELETION, SLICE_EMPTY);
    key_successor(&upper);
    struct kv_iter *it = view_iter(view, &lower, &upper);
    if (!it)
        return ERR_NOMEM;
    int err = OK;
    bool full = false;
    for (; !err && !full && it->ops->valid(it); it->ops->next(it))
        err = collect_item(&c, it->ops->key(it), it->ops->value(it), &full);
    if (!err && !full)
        err = it->ops->error(it);
    it->ops->free(it);
    if (!err && (c.blobs.failed || c.items.failed))
        err = ERR_NOMEM;
    ret->blobs = (struct index_blob *)(void *)c.blobs.ptr;
    ret->items = (uint64_t *)(void *)c.items.ptr;
    if (err)
        index_deletions_fini(ret);
    return err;
}

void index_deletions_fini(struct index_deletions *deletions)
{
    free(deletions->blobs);
    free(deletions->items);
    *deletions = (struct index_deletions){0};
}
