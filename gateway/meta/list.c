/* Lists across partitions.  One page is asked for after the other, each at the leader of the
 * partition that holds the first position not yet covered, until enough was found or the bucket (or
 * the prefix) ends.  Any failure fails the list: it is never silently short.
 *
 * A page that fills the list exactly at the end of a partition leaves open whether there is more:
 * then the partitions behind it are probed for one entry, which is not given out. */
#include "common/base/check.h"
#include "gateway/meta/internal.h"
#include "proto/keyhash.h"
#include "proto/methods.h"
#include "proto/versions.h"

#include <stdlib.h>

/* Pages in a row with nothing but delete markers, after which the client is asked to come again. */
#define EMPTY_PAGES_MAX 32

static void list_call_cb(struct meta_call *call);
static void uploads_call_cb(struct meta_call *call);

static struct slice bytes_of(ProtobufCBinaryData b)
{
    return SLICE(b.data, b.len);
}

static ProtobufCBinaryData binary_of(struct slice s)
{
    return (ProtobufCBinaryData){s.len, (uint8_t *)(uintptr_t)s.ptr};
}

static void buf_set(struct buf *b, struct slice s)
{
    buf_clear(b);
    buf_slice(b, s);
}

/* ---- what both kinds of list share ---- */

static int state_init(struct meta_list_state *st, struct slice prefix, struct slice after)
{
    buf_set(&st->at, slice_cmp(prefix, after) >= 0 ? prefix : after);
    return st->at.failed ? ERR_NOMEM : OK;
}

static void state_fini(struct meta_list_state *st)
{
    for (size_t i = 0; i < st->page_count; i++)
        protobuf_c_message_free_unpacked(st->pages[i], NULL);
    free(st->pages);
    buf_fini(&st->at);
    *st = (struct meta_list_state){0};
}

/* Keeps the page for as long as the list, and room for `extra` more pointers in *entries. */
static int state_keep(struct meta_list_state *st, ProtobufCMessage **page, const void ***entries,
                      size_t entry_count, size_t extra)
{
    if (st->page_count == st->page_cap) {
        size_t cap = st->page_cap ? st->page_cap * 2 : 4;
        ProtobufCMessage **pages = realloc(st->pages, cap * sizeof(ProtobufCMessage *));
        if (!pages)
            return ERR_NOMEM;
        st->pages = pages;
        st->page_cap = cap;
    }
    if (entry_count + extra > st->entry_cap) {
        size_t cap = MAX(st->entry_cap * 2, entry_count + extra);
        const void **p = realloc(*entries, cap * sizeof(const void *));
        if (!p)
            return ERR_NOMEM;
        *entries = p;
        st->entry_cap = cap;
    }
    st->pages[st->page_count++] = *page;
    *page = NULL;
    return OK;
}

int meta_range_next(struct slice end, uint64_t bucket_id, struct slice *ret_key)
{
    uint64_t end_bucket = 0;
    if (end.len == 0)
        return ERR_END;
    for (size_t i = 0; i < 8; i++)
        end_bucket = end_bucket << 8 | (i < end.len ? end.ptr[i] : 0);
    if (end_bucket > bucket_id)
        return ERR_END;
    *ret_key = end.len > 8 ? SLICE(end.ptr + 8, end.len - 8) : SLICE_EMPTY;
    return end_bucket < bucket_id ? ERR_PROTO : OK;
}

/* Moves behind the range that was asked.  Returns: OK; ERR_END when nothing of the bucket (or of
 * the prefix) lies behind it; ERR_PROTO; ERR_NOMEM. */
static int state_next_partition(struct meta_list_state *st, struct slice end, uint64_t bucket_id,
                                struct slice prefix)
{
    struct slice key;
    int err = meta_range_next(end, bucket_id, &key);
    if (err)
        return err;
    if (slice_cmp(key, buf_view(&st->at)) <= 0)
        return ERR_PROTO; /* a range that ends where it was entered */
    buf_set(&st->at, key);
    if (st->at.failed)
        return ERR_NOMEM;
    return slice_cmp(key, prefix) > 0 && !slice_has_prefix(key, prefix) ? ERR_END : OK;
}

/* ---- objects ---- */

static void list_end(struct meta_list *l, int err)
{
    l->err = err == ERR_END ? OK : err;
    l->cb(l);
}

static void list_page_start(struct meta_list *l)
{
    Cairn__ListRequest *r = &l->request;
    size_t left = l->keys_max - l->entry_count;
    cairn__list_request__init(r);
    r->bucket_id = l->bucket_id;
    r->prefix = binary_of(l->prefix);
    r->delimiter = binary_of(l->delimiter);
    r->start_after = binary_of(buf_view(&l->after));
    r->skip_prefix = binary_of(buf_view(&l->skip));
    r->versions = l->versions;
    r->after_version = l->version_after;
    r->want_tags = l->want_tags;
    r->want_state = l->want_state;
    r->keys_max = left ? (uint32_t)left : 1; /* the probe */
    l->call = (struct meta_call){
        .method = &method_meta_list,
        .bucket_id = l->bucket_id,
        .key = buf_view(&l->state.at),
        .request = &r->base,
        .deadline_ns = l->deadline_ns,
        .want_range = true,
        .cb = list_call_cb,
    };
    meta_call_start(l->mc, &l->call);
}

/* May the client be told to go on behind this key, although nothing was given?  ListObjects v1
 * takes a common prefix that its marker lies in for one that has been given. */
static bool may_pass(const struct meta_list *l, struct slice key)
{
    size_t skip = l->prefix.len;
    return !l->versions &&
           (!l->by_key_alone || l->delimiter.len == 0 || key.len <= skip ||
            !memmem(key.ptr + skip, key.len - skip, l->delimiter.ptr, l->delimiter.len));
}

/* OK: another page is wanted.  ERR_END: done.  Else why it failed. */
static int list_take_page(struct meta_list *l, Cairn__ListResponse *page, ProtobufCMessage **owner)
{
    size_t count = page->n_entries, left = l->keys_max - l->entry_count;
    if (l->after.failed || l->skip.failed || l->state.at.failed)
        return ERR_NOMEM; /* what was asked was not what was meant */
    if (count > (left ? left : 1))
        return ERR_PROTO;
    if (left == 0 && (count > 0 || page->more)) {
        l->more = true;
        return ERR_END;
    }
    if (count) {
        const void **entries = (const void **)l->entries;
        int err = state_keep(&l->state, owner, &entries, l->entry_count, count);
        l->entries = (const Cairn__ListEntry **)entries;
        if (err)
            return err;
        for (size_t i = 0; i < count; i++)
            l->entries[l->entry_count++] = page->entries[i];
        const Cairn__ListEntry *last = page->entries[count - 1];
        buf_set(&l->skip, last->is_prefix ? bytes_of(last->key) : SLICE_EMPTY);
    }
    if (page->more && l->entry_count == l->keys_max) {
        l->more = true;
        return ERR_END;
    }
    if (!page->more)
        return state_next_partition(&l->state, buf_view(&l->call.range_end), l->bucket_id,
                                    l->prefix);
    struct slice resume = bytes_of(page->resume_after);
    int c = slice_cmp(resume, buf_view(&l->after));
    bool within = l->versions && page->resume_version && page->resume_version < l->version_after;
    if (c < 0 || (c == 0 && !within))
        return ERR_PROTO; /* it would go round in circles */
    buf_set(&l->after, resume);
    l->version_after = l->versions ? page->resume_version : VERSION_NONE;
    l->empty_pages = count ? 0 : l->empty_pages + 1;
    if (l->empty_pages >= EMPTY_PAGES_MAX && !l->after.failed && may_pass(l, resume)) {
        l->passed = buf_view(&l->after);
        l->more = true;
        return ERR_END;
    }
    if (slice_cmp(resume, buf_view(&l->state.at)) > 0)
        buf_set(&l->state.at, resume);
    return l->after.failed || l->state.at.failed || l->skip.failed ? ERR_NOMEM : OK;
}

static void list_call_cb(struct meta_call *call)
{
    struct meta_list *l = container_of(call, struct meta_list, call);
    int err = call->err;
    if (err == OK) {
        ProtobufCMessage *page = call->response;
        call->response = NULL;
        err = list_take_page(l, (Cairn__ListResponse *)(void *)page, &page);
        if (page)
            protobuf_c_message_free_unpacked(page, NULL);
    }
    meta_call_fini(call);
    if (err == OK)
        list_page_start(l);
    else
        list_end(l, err);
}

void meta_list_start(struct meta_client *mc, struct meta_list *l)
{
    CHECK(l->keys_max >= 1 && l->keys_max <= LIST_KEYS_MAX);
    l->mc = mc;
    struct slice after =
        slice_cmp(l->skip_prefix, l->start_after) > 0 ? l->skip_prefix : l->start_after;
    buf_slice(&l->after, l->start_after);
    buf_slice(&l->skip, l->skip_prefix);
    l->version_after = l->after_version;
    /* Out of memory here is found when the first page comes. */
    state_init(&l->state, l->prefix, after);
    list_page_start(l);
}

void meta_list_fini(struct meta_list *l)
{
    state_fini(&l->state);
    buf_fini(&l->after);
    buf_fini(&l->skip);
    free(l->entries);
    l->entries = NULL;
    l->entry_count = 0;
}

/* ---- uploads ---- */

static void uploads_page_start(struct meta_list_uploads *l)
{
    Cairn__ListUploadsRequest *r = &l->request;
    size_t left = l->uploads_max - l->entry_count;
    cairn__list_uploads_request__init(r);
    r->bucket_id = l->bucket_id;
    r->prefix = binary_of(l->prefix);
    r->delimiter = binary_of(l->delimiter);
    r->key_marker = binary_of(buf_view(&l->key_after));
    r->upload_id_marker = binary_of(buf_view(&l->upload_after));
    r->uploads_max = left ? (uint32_t)left : 1;
    l->call = (struct meta_call){
        .method = &method_meta_list_uploads,
        .bucket_id = l->bucket_id,
        .key = buf_view(&l->state.at),
        .request = &r->base,
        .deadline_ns = l->deadline_ns,
        .want_range = true,
        .cb = uploads_call_cb,
    };
    meta_call_start(l->mc, &l->call);
}

/* A common prefix may come again from the next partition: it was given already. */
static bool is_repeated_prefix(const struct meta_list_uploads *l, const Cairn__UploadEntry *e)
{
    if (!e->is_prefix || l->entry_count == 0)
        return false;
    const Cairn__UploadEntry *last = l->entries[l->entry_count - 1];
    return last->is_prefix && slice_eq(bytes_of(last->key), bytes_of(e->key));
}

static int uploads_take_page(struct meta_list_uploads *l, Cairn__ListUploadsResponse *page,
                             ProtobufCMessage **owner)
{
    size_t count = page->n_entries, left = l->uploads_max - l->entry_count;
    if (l->key_after.failed || l->upload_after.failed || l->state.at.failed)
        return ERR_NOMEM;
    if (count > (left ? left : 1))
        return ERR_PROTO;
    bool repeated = count && is_repeated_prefix(l, page->entries[0]);
    if (left == 0 && ((count && !repeated) || page->more)) {
        l->more = true;
        return ERR_END;
    }
    if (count) {
        const void **entries = (const void **)l->entries;
        int err = state_keep(&l->state, owner, &entries, l->entry_count, count);
        l->entries = (const Cairn__UploadEntry **)entries;
        if (err)
            return err;
        for (size_t i = repeated ? 1 : 0; i < count; i++)
            l->entries[l->entry_count++] = page->entries[i];
    }
    if (page->more && l->entry_count == l->uploads_max) {
        l->more = true;
        return ERR_END;
    }
    if (!page->more)
        return state_next_partition(&l->state, buf_view(&l->call.range_end), l->bucket_id,
                                    l->prefix);
    struct slice key = bytes_of(page->next_key_marker), id = bytes_of(page->next_upload_id_marker);
    int c = slice_cmp(key, buf_view(&l->key_after));
    if (c < 0 || (c == 0 && slice_eq(id, buf_view(&l->upload_after))))
        return ERR_PROTO; /* it would go round in circles */
    buf_set(&l->key_after, key);
    buf_set(&l->upload_after, id);
    if (slice_cmp(key, buf_view(&l->state.at)) > 0)
        buf_set(&l->state.at, key);
    return l->key_after.failed || l->upload_after.failed || l->state.at.failed ? ERR_NOMEM : OK;
}

static void uploads_call_cb(struct meta_call *call)
{
    struct meta_list_uploads *l = container_of(call, struct meta_list_uploads, call);
    int err = call->err;
    if (err == OK) {
        ProtobufCMessage *page = call->response;
        call->response = NULL;
        err = uploads_take_page(l, (Cairn__ListUploadsResponse *)(void *)page, &page);
        if (page)
            protobuf_c_message_free_unpacked(page, NULL);
    }
    meta_call_fini(call);
    if (err == OK) {
        uploads_page_start(l);
        return;
    }
    l->err = err == ERR_END ? OK : err;
    l->cb(l);
}

void meta_list_uploads_start(struct meta_client *mc, struct meta_list_uploads *l)
{
    CHECK(l->uploads_max >= 1 && l->uploads_max <= LIST_KEYS_MAX);
    l->mc = mc;
    buf_slice(&l->key_after, l->key_marker);
    buf_slice(&l->upload_after, l->upload_id_marker);
    state_init(&l->state, l->prefix, l->key_marker);
    uploads_page_start(l);
}

void meta_list_uploads_fini(struct meta_list_uploads *l)
{
    state_fini(&l->state);
    buf_fini(&l->key_after);
    buf_fini(&l->upload_after);
    free(l->entries);
    l->entries = NULL;
    l->entry_count = 0;
}

/* ---- which partitions a bucket lies in ---- */

int meta_bucket_ranges(struct meta_client *mc, uint64_t bucket_id, struct buf *ret_starts,
                       uint32_t *ret_count)
{
    *ret_count = 0;
    for (size_t i = 0; i < mc->route_count; i++) {
        const Cairn__PartitionDescriptor *d = mc->routes[i].descriptor;
        struct slice start = bytes_of(d->start);
        if (!range_overlaps_bucket(start, bytes_of(d->end), bucket_id))
            continue;
        /* The first key of the bucket in this range: what follows the bucket's own eight bytes. */
        struct buf lower = {0};
        range_position(bucket_id, SLICE_EMPTY, &lower);
        bool inside = !lower.failed && start.len > 8 && slice_has_prefix(start, buf_view(&lower));
        bool failed = lower.failed;
        buf_fini(&lower);
        struct slice key = inside ? SLICE(start.ptr + 8, start.len - 8) : SLICE_EMPTY;
        buf_be16(ret_starts, (uint16_t)key.len);
        buf_slice(ret_starts, key);
        if (failed || ret_starts->failed)
            return ERR_NOMEM;
        ++*ret_count;
    }
    return *ret_count ? OK : ERR_NOT_READY;
}

size_t meta_partition_count(const struct meta_client *mc)
{
    return mc->route_count;
}

int meta_partition_of(struct meta_client *mc, uint64_t bucket_id, struct slice key, uint32_t *ret)
{
    struct meta_route *route = map_route(mc, false, bucket_id, key);
    if (!route)
        return ERR_NOT_READY;
    *ret = route->id;
    return OK;
}
