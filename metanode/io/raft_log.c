/* One Raft log: opening with every record checked, the core's writes, compaction, and reads from
 * the cache or the kv.  See raft_log.h. */
#include "metanode/io/raft_log.h"

#include <stdlib.h>

#include "common/base/check.h"
#include "common/base/err.h"
#include "metanode/io/raft_log_internal.h"

/* ---- the cache: a ring of the newest entries ---- */

size_t raft_log_entry_cost(const struct raft_log_entry *e)
{
    return sizeof(*e) + e->data.bytes.len;
}

static struct raft_log_entry *cache_at(const struct raft_log *l, uint64_t index)
{
    CHECK(index >= l->cache_first && index <= l->last_index);
    return &l->cache[index & (l->cache_cap - 1)];
}

static int cache_reserve(struct raft_log *l, uint32_t extra)
{
    uint64_t need = l->last_index + 1 - l->cache_first + extra;
    uint64_t cap = l->cache_cap ? l->cache_cap : 16;
    while (cap < need)
        cap *= 2;
    if (cap == l->cache_cap)
        return OK;
    if (cap > UINT32_MAX / 2)
        return ERR_NOMEM;
    struct raft_log_entry *ring = calloc(cap, sizeof(*ring));
    if (!ring)
        return ERR_NOMEM;
    for (uint64_t i = l->cache_first; i <= l->last_index; i++)
        ring[i & (cap - 1)] = *cache_at(l, i);
    free(l->cache);
    l->cache = ring;
    l->cache_cap = (uint32_t)cap;
    return OK;
}

/* Its room is reserved. */
static void cache_push(struct raft_log *l, const struct raft_log_entry *e)
{
    l->last_index++;
    CHECK(e->index == l->last_index);
    struct raft_log_entry *at = cache_at(l, e->index);
    *at = *e;
    at->data = payload_ref(e->data);
    l->store->stats.cache_bytes += raft_log_entry_cost(at);
}

static void cache_drop(struct raft_log *l, uint64_t index)
{
    struct raft_log_entry *e = cache_at(l, index);
    l->store->stats.cache_bytes -= raft_log_entry_cost(e);
    raft_log_entry_fini(e);
}

static void cache_drop_first(struct raft_log *l)
{
    cache_drop(l, l->cache_first);
    l->cache_first++;
}

bool raft_log_cache_evict(struct raft_log *l)
{
    if (l->cache_first > l->last_index || l->cache_first > l->written_index)
        return false;
    cache_drop_first(l);
    return true;
}

static void cache_truncate(struct raft_log *l, uint64_t from)
{
    for (uint64_t i = MAX(from, l->cache_first); i <= l->last_index; i++)
        cache_drop(l, i);
    l->last_index = from - 1;
    l->cache_first = MIN(l->cache_first, from);
    l->written_index = MIN(l->written_index, from - 1);
}

/* ---- opening ---- */

static int load_singles(struct raft_log *l, bool *ret_new)
{
    struct kv *kv = l->store->kv;
    struct buf value = {0};
    struct raft_log_key key = raft_log_key(l->group, RAFT_LOG_HARD_STATE, 0);
    int err = kv->ops->get(kv, NULL, KV_INDEX, raft_log_key_view(&key), &value);
    *ret_new = err == ERR_NOT_FOUND;
    if (err == OK)
        err = raft_log_hard_state_decode(l->group, buf_view(&value), &l->term, &l->vote);
    if (err && err != ERR_NOT_FOUND)
        goto out;
    buf_clear(&value);
    key = raft_log_key(l->group, RAFT_LOG_COMPACTION, 0);
    err = kv->ops->get(kv, NULL, KV_INDEX, raft_log_key_view(&key), &value);
    if (err == ERR_NOT_FOUND) {
        err = OK;
        goto out;
    }
    if (err)
        goto out;
    struct slice header;
    err = raft_log_compaction_decode(l->group, buf_view(&value), &l->compact_index,
                                     &l->compact_term, &header);
    if (err)
        goto out;
    buf_slice(&l->header, header);
    /* A snapshot is installed only by one that knows the term of the leader that sent it. */
    err = l->header.failed ? ERR_NOMEM : *ret_new || l->compact_term > l->term ? ERR_CORRUPT : OK;
out:
    buf_fini(&value);
    return err;
}

/* Checks one stored entry against its neighbours. */
static int load_entry(struct raft_log *l, struct slice key, struct slice value, uint64_t prev_term,
                      struct raft_log_entry *ret)
{
    uint64_t index = 0;
    if (!raft_log_key_index(key, &index) || index != l->last_index + 1)
        return ERR_CORRUPT; /* a hole, or something below the compaction point */
    int err = raft_log_entry_parse(&value, NULL, ret);
    if (err)
        return ERR_CORRUPT;
    if (value.len != 0 || ret->index != index || ret->term < prev_term || ret->term > l->term)
        return ERR_CORRUPT;
    return OK;
}

static int load_entries(struct raft_log *l, bool new_group,
                        int (*entry)(void *ctx, const struct raft_log_entry *e), void *ctx)
{
    struct kv *kv = l->store->kv;
    struct raft_log_key lower = raft_log_key(l->group, RAFT_LOG_ENTRY, 0);
    struct raft_log_key upper = raft_log_key(l->group, RAFT_LOG_ENTRY + 1, 0);
    struct kv_iter *it =
        kv->ops->iter_new(kv, NULL, KV_INDEX, raft_log_key_view(&lower), raft_log_key_view(&upper));
    if (!it)
        return ERR_NOMEM;
    int err = OK;
    uint64_t term = l->compact_term;
    for (it->ops->seek(it, SLICE_EMPTY); it->ops->valid(it); it->ops->next(it)) {
        struct raft_log_entry e;
        err =
            new_group ? ERR_CORRUPT : load_entry(l, it->ops->key(it), it->ops->value(it), term, &e);
        if (err)
            break;
        term = e.term;
        l->last_index = e.index;
        l->entry_bytes_at_open += e.data.bytes.len;
        err = entry ? entry(ctx, &e) : OK;
        if (err)
            break;
    }
    if (err == OK)
        err = it->ops->error(it);
    it->ops->free(it);
    return err;
}

int raft_log_open(struct raft_logstore *s, uint32_t group,
                  int (*entry)(void *ctx, const struct raft_log_entry *e), void *ctx,
                  struct raft_log **ret)
{
    struct raft_log *l = calloc(1, sizeof(*l));
    if (!l)
        return ERR_NOMEM;
    l->store = s;
    l->group = group;
    list_push_back(&s->logs, &l->node);
    bool new_group = false;
    int err = load_singles(l, &new_group);
    l->last_index = l->compact_index;
    if (err == OK)
        err = load_entries(l, new_group, entry, ctx);
    l->cache_first = l->last_index + 1;
    l->written_index = l->last_index;
    if (err) {
        raft_log_close(l);
        return err;
    }
    *ret = l;
    return OK;
}

static void forget_writes(struct raft_log *l, struct list *writes)
{
    list_for_each_safe(it, next, writes)
    {
        if (container_of(it, struct raft_log_write, node)->log == l)
            list_remove(it);
    }
}

void raft_log_close(struct raft_log *l)
{
    if (!l)
        return;
    forget_writes(l, &l->store->gathering);
    forget_writes(l, &l->store->under_way);
    forget_writes(l, &l->store->failing);
    while (l->cache_first <= l->last_index)
        cache_drop_first(l);
    list_remove(&l->node);
    buf_fini(&l->header);
    free(l->cache);
    free(l);
}

void raft_log_state(const struct raft_log *l, struct raft_log_state *ret)
{
    *ret = (struct raft_log_state){
        .term = l->term,
        .vote = l->vote,
        .compact_index = l->compact_index,
        .compact_term = l->compact_term,
        .last_index = l->last_index,
        .entry_bytes = l->entry_bytes_at_open,
    };
}

struct slice raft_log_header(const struct raft_log *l)
{
    return buf_view(&l->header);
}

/* ---- writes ---- */

static void batch_delete(struct raft_log *l, struct kv_batch *b, uint64_t from, uint64_t to)
{
    if (from > to)
        return;
    struct raft_log_key lower = raft_log_key(l->group, RAFT_LOG_ENTRY, from);
    struct raft_log_key upper = raft_log_key(l->group, RAFT_LOG_ENTRY, to + 1);
    kv_batch_delete_range(b, KV_INDEX, raft_log_key_view(&lower), raft_log_key_view(&upper));
}

static void batch_compaction(struct raft_log *l, struct kv_batch *b, uint64_t index, uint64_t term,
                             const struct buf *record)
{
    struct raft_log_key key = raft_log_key(l->group, RAFT_LOG_COMPACTION, 0);
    kv_batch_put(b, KV_INDEX, raft_log_key_view(&key), buf_view(record));
    l->compact_index = index;
    l->compact_term = term;
}

static int header_replace(struct raft_log *l, uint64_t index, uint64_t term, struct slice header,
                          struct buf *ret_record)
{
    struct buf copy = {0};
    buf_slice(&copy, header);
    raft_log_compaction_encode(l->group, index, term, header, ret_record);
    if (copy.failed || ret_record->failed) {
        buf_fini(&copy);
        buf_fini(ret_record);
        return ERR_NOMEM;
    }
    buf_fini(&l->header);
    l->header = copy;
    return OK;
}

static bool write_fits(const struct raft_log *l, const struct raft_write *w,
                       const struct raft_log_entry *entries)
{
    uint64_t last = l->last_index;
    if (w->reset_index)
        last = w->reset_index;
    if (w->truncate_from) {
        if (w->reset_index || w->truncate_from <= l->compact_index || w->truncate_from > last)
            return false;
        last = w->truncate_from - 1;
    }
    if (w->entry_count && w->first_index != last + 1)
        return false;
    for (uint32_t i = 0; i < w->entry_count; i++) {
        const struct raft_log_entry *e = &entries[i];
        if (e->index != w->first_index + i || (e->data.bytes.len && !e->data.owner))
            return false;
    }
    return w->last_index == last + w->entry_count;
}

static void batch_entries(struct raft_log *l, struct kv_batch *b,
                          const struct raft_log_entry *entries, uint32_t count)
{
    for (uint32_t i = 0; i < count; i++) {
        uint8_t header[RAFT_ENTRY_HEADER_BYTES];
        raft_log_entry_header(&entries[i], header);
        struct raft_log_key key = raft_log_key(l->group, RAFT_LOG_ENTRY, entries[i].index);
        kv_batch_put2(b, KV_INDEX, raft_log_key_view(&key), SLICE(header, sizeof(header)),
                      entries[i].data.bytes);
        cache_push(l, &entries[i]);
    }
}

/* The order within the batch is the order in which the store applies it: what goes before what
 * comes. */
static int write_build(struct raft_log *l, struct kv_batch *b, const struct raft_write *w,
                       const struct raft_log_entry *entries, struct slice header)
{
    if (w->has_hard_state) {
        uint8_t value[RAFT_LOG_HARD_STATE_BYTES];
        raft_log_hard_state_encode(l->group, w->term, w->vote, value);
        struct raft_log_key key = raft_log_key(l->group, RAFT_LOG_HARD_STATE, 0);
        kv_batch_put(b, KV_INDEX, raft_log_key_view(&key), SLICE(value, sizeof(value)));
        l->term = w->term;
        l->vote = w->vote;
    }
    if (w->reset_index) {
        struct buf record = {0};
        int err = header_replace(l, w->reset_index, w->reset_term, header, &record);
        if (err)
            return err;
        batch_delete(l, b, l->compact_index + 1, l->last_index);
        cache_truncate(l, l->compact_index + 1);
        batch_compaction(l, b, w->reset_index, w->reset_term, &record);
        buf_fini(&record);
        l->last_index = l->written_index = w->reset_index;
        l->cache_first = w->reset_index + 1;
        l->truncate_seq = w->seq;
    } else if (w->truncate_from) {
        batch_delete(l, b, w->truncate_from, l->last_index);
        cache_truncate(l, w->truncate_from);
        l->truncate_seq = w->seq;
    }
    int err = cache_reserve(l, w->entry_count);
    if (err)
        return err;
    batch_entries(l, b, entries, w->entry_count);
    return kv_batch_error(b);
}

int raft_log_write_start(struct raft_log *l, const struct raft_write *write,
                         const struct raft_log_entry *entries, struct slice header,
                         struct raft_log_write *w)
{
    struct raft_logstore *s = l->store;
    if (s->err)
        return ERR_IO;
    if (!write_fits(l, write, entries))
        return ERR_INVAL;
    struct kv_batch *b = raft_logstore_batch(s);
    int err = b ? write_build(l, b, write, entries, header) : ERR_NOMEM;
    if (err) {
        raft_logstore_fail(s, err);
        return err;
    }
    w->err = OK;
    w->seq = write->seq;
    w->last_index = write->last_index;
    w->last_term = write->last_term;
    w->log = l;
    list_push_back(&s->gathering, &w->node);
    list_remove(&l->node);
    list_push_back(&s->logs, &l->node);
    s->stats.writes++;
    raft_logstore_wake(s);
    return OK;
}

/* The kv shows it now.  A write from before a truncation says nothing about what came after it. */
void raft_log_written(struct raft_log *l, const struct raft_log_write *w)
{
    if (w->seq >= l->truncate_seq)
        l->written_index = MAX(l->written_index, MIN(w->last_index, l->last_index));
}

int raft_log_compact(struct raft_log *l, uint64_t index, uint64_t term, struct slice header)
{
    struct raft_logstore *s = l->store;
    if (s->err)
        return ERR_IO;
    if (index <= l->compact_index || index > l->written_index)
        return ERR_INVAL;
    struct kv_batch *b = raft_logstore_batch(s);
    struct buf record = {0};
    int err = b ? header_replace(l, index, term, header, &record) : ERR_NOMEM;
    if (err)
        return err;
    batch_delete(l, b, l->compact_index + 1, index);
    while (l->cache_first <= MIN(index, l->last_index))
        cache_drop_first(l);
    l->cache_first = MAX(l->cache_first, index + 1);
    batch_compaction(l, b, index, term, &record);
    buf_fini(&record);
    err = kv_batch_error(b);
    if (err)
        raft_logstore_fail(s, err);
    else
        raft_logstore_wake(s);
    return err;
}

/* ---- reads ---- */

struct read_budget {
    uint32_t count;
    size_t bytes;
};

static bool take(struct read_budget *budget, uint32_t taken, size_t bytes)
{
    if (taken && (taken >= budget->count || bytes > budget->bytes))
        return false;
    budget->bytes -= MIN(bytes, budget->bytes);
    return true;
}

/* Entries from `first` up to the cache. */
static int read_stored(struct raft_log *l, uint64_t first, struct read_budget *budget,
                       struct raft_log_entry *ret, uint32_t *ret_count)
{
    struct kv *kv = l->store->kv;
    struct raft_log_key lower = raft_log_key(l->group, RAFT_LOG_ENTRY, first);
    struct raft_log_key upper = raft_log_key(l->group, RAFT_LOG_ENTRY, l->cache_first);
    struct kv_iter *it =
        kv->ops->iter_new(kv, NULL, KV_INDEX, raft_log_key_view(&lower), raft_log_key_view(&upper));
    if (!it)
        return ERR_NOMEM;
    int err = OK;
    uint64_t expected = first;
    for (it->ops->seek(it, SLICE_EMPTY); it->ops->valid(it) && *ret_count < budget->count;
         it->ops->next(it)) {
        struct slice value = it->ops->value(it);
        uint64_t index = 0;
        if (!raft_log_key_index(it->ops->key(it), &index) || index != expected++ ||
            value.len < RAFT_ENTRY_HEADER_BYTES) {
            err = ERR_CORRUPT;
            break;
        }
        if (!take(budget, *ret_count, value.len - RAFT_ENTRY_HEADER_BYTES))
            break;
        struct rcbuf *copy = rcbuf_copy(value);
        if (!copy) {
            err = ERR_NOMEM;
            break;
        }
        struct slice bytes = SLICE(copy->data, copy->len);
        struct raft_log_entry *e = &ret[*ret_count];
        err = raft_log_entry_parse(&bytes, copy, e) == OK ? OK : ERR_CORRUPT;
        rcbuf_unref(copy);
        if (err)
            break;
        (*ret_count)++;
        if (e->index != index || bytes.len) {
            err = ERR_CORRUPT;
            break;
        }
        l->store->stats.reads_stored++;
    }
    if (err == OK)
        err = it->ops->error(it);
    it->ops->free(it);
    return err == OK && *ret_count == 0 ? ERR_CORRUPT : err;
}

int raft_log_read(struct raft_log *l, uint64_t first, uint32_t count, size_t bytes_max,
                  struct raft_log_entry *ret, uint32_t *ret_count)
{
    if (first <= l->compact_index || first > l->last_index || count == 0)
        return ERR_NOT_FOUND;
    struct read_budget budget = {.count = count, .bytes = bytes_max};
    uint32_t got = 0;
    if (first < l->cache_first) {
        int err = read_stored(l, first, &budget, ret, &got);
        if (err) {
            for (uint32_t i = 0; i < got; i++)
                raft_log_entry_fini(&ret[i]);
            return err;
        }
    }
    for (uint64_t i = first + got; i >= l->cache_first && i <= l->last_index && got < count; i++) {
        const struct raft_log_entry *e = cache_at(l, i);
        if (!take(&budget, got, e->data.bytes.len))
            break;
        ret[got] = *e;
        ret[got++].data = payload_ref(e->data);
        l->store->stats.reads_cached++;
    }
    *ret_count = got;
    return OK;
}
