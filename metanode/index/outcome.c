/* The outcome table: what apply said of each write id, for a window of entry time.
 *
 * A row a write id, and a row in order of time by which expired ones are found.  Both are bounded
 * on disk by outcomes_max: when it is full and nothing in it has expired, proposals are refused
 * with ERR_OVERLOAD; when something has, the entry that adds a row removes at least one.  An
 * outcome itself is bounded by the keys of a DeleteObjects.  Nothing of the table is held in
 * memory.
 *
 * Expiry is a function of the entries alone: each entry removes a bounded number of rows that are
 * older than window + skew of entry time.  command_window_check() proves that this is long enough.
 */
#include "metanode/index/state.h"

enum {
    PRUNE_ROWS_MAX = 256, /* twice what any rate of entries adds, and few enough for an entry */
    PRUNE_ROWS_ASKED_MAX = 4096, /* PruneOutcomes */
    PRUNE_LAG_MS = 1000,         /* looks only once a second's worth may have expired */
};

int outcome_lookup(struct apply *a)
{
    if (a->cmd->write_id.len == 0)
        return OK;
    struct key key;
    struct slice value;
    key_table(&key, a->index->partition, TABLE_OUTCOME, bytes_of(a->cmd->write_id));
    int err = apply_get(a, &key, &value);
    if (err)
        return err == ERR_NOT_FOUND ? OK : err;
    if (value.len == 0)
        return ERR_CORRUPT;
    uint8_t *copy = index_arena_alloc(a->arena, value.len);
    if (!copy)
        return ERR_NOMEM;
    memcpy(copy, value.ptr, value.len);
    a->replay = SLICE(copy, value.len);
    return OK;
}

static void time_key(struct key *key, uint32_t partition, uint64_t time_ms, struct slice write_id)
{
    key_table_be64(key, partition, TABLE_OUTCOME_TIME, time_ms);
    key_bytes(key, write_id);
}

int outcome_record(struct apply *a, struct slice packed)
{
    struct key key;
    struct slice write_id = bytes_of(a->cmd->write_id);
    key_table(&key, a->index->partition, TABLE_OUTCOME, write_id);
    apply_put(a, &key, packed);
    time_key(&key, a->index->partition, a->h.time_ms, write_id);
    apply_put(a, &key, SLICE_EMPTY);
    if (a->h.outcome_count == 0)
        a->h.outcome_oldest_ms = a->h.time_ms;
    a->h.outcome_count++;
    return OK;
}

/* Deletes up to rows_max rows below cutoff_ms.  What the entry itself adds is not seen here: it is
 * in the batch, and too young. */
static int prune_rows(struct apply *a, struct kv_iter *it, uint64_t cutoff_ms, unsigned rows_max)
{
    enum { ROW_KEY_BYTES = KEY_PREFIX_BYTES + 8 + ID_BYTES };
    struct key key;
    unsigned rows = 0;
    uint64_t oldest_ms = cutoff_ms; /* no row stays but this entry's, unless one is seen */
    for (; it->ops->valid(it); it->ops->next(it)) {
        struct slice row = it->ops->key(it);
        if (row.len != ROW_KEY_BYTES || a->h.outcome_count == 0)
            return ERR_CORRUPT;
        uint64_t row_ms = load_be64(row.ptr + KEY_PREFIX_BYTES);
        if (row_ms >= cutoff_ms || rows == rows_max) {
            oldest_ms = row_ms;
            break;
        }
        key_table(&key, a->index->partition, TABLE_OUTCOME,
                  SLICE(row.ptr + KEY_PREFIX_BYTES + 8, ID_BYTES));
        apply_delete(a, &key);
        kv_batch_delete(a->batch, KV_INDEX, row);
        a->h.outcome_count--;
        rows++;
    }
    int err = it->ops->error(it);
    if (!err)
        a->h.outcome_oldest_ms = oldest_ms;
    return err;
}

bool outcome_full(const struct header *h, const struct index_settings *settings, uint64_t time_ms)
{
    uint64_t keep_ms = outcome_keep_ms(settings);
    bool expired = time_ms > keep_ms && h->outcome_oldest_ms < time_ms - keep_ms;
    return h->outcome_count >= settings->outcomes_max && !expired;
}

int outcome_prune(struct apply *a, bool asked)
{
    uint64_t keep_ms = outcome_keep_ms(&a->index->settings);
    bool full = a->h.outcome_count >= a->index->settings.outcomes_max;
    uint64_t lag_ms = asked || full ? 0 : PRUNE_LAG_MS;
    if (a->h.outcome_count == 0 || a->h.time_ms <= keep_ms ||
        a->h.outcome_oldest_ms + lag_ms >= a->h.time_ms - keep_ms)
        return OK;
    /* Beginning at the oldest row there is, the iterator does not wade through the tombstones of
     * those that went before it.  It may run into the rows that stay, so that the oldest of them is
     * known exactly: outcome_full() relies on it. */
    struct key lower, upper;
    key_table_be64(&lower, a->index->partition, TABLE_OUTCOME_TIME, a->h.outcome_oldest_ms);
    key_table(&upper, a->index->partition, TABLE_OUTCOME_TIME, SLICE_EMPTY);
    key_successor(&upper);
    struct kv *kv = a->index->kv;
    struct kv_iter *it = kv->ops->iter_new(kv, NULL, KV_INDEX, key_view(&lower), key_view(&upper));
    if (!it)
        return ERR_NOMEM;
    it->ops->seek(it, SLICE_EMPTY);
    int err =
        prune_rows(a, it, a->h.time_ms - keep_ms, asked ? PRUNE_ROWS_ASKED_MAX : PRUNE_ROWS_MAX);
    it->ops->free(it);
    return err;
}
