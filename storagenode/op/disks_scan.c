/* Checks and inventories: long looks at what is there, in turns of bounded length.
 *
 * An inventory merges the disks' own, which come in one order; a shard that two disks have (a put
 * whose first disk failed under it, and came back) counts once. */
#include "storagenode/op/disks_impl.h"

#include "common/base/check.h"
#include "common/base/hash.h"
#include "common/base/probe.h"

#include <stdlib.h>

#define LOOKS_PER_TURN 128u
#define ENTRIES_PER_READ 128u
#define ENTRIES_PER_TURN 1024u

/* ---- checks ---- */

static void check_end(struct disks_check *c, int err)
{
    struct disks *d = c->disks;
    c->err = err;
    list_remove(&c->node);
    if (d->life == DISKS_CLOSING)
        disks_wake(d);
    c->cb(c);
}

static void check_run(struct disks_check *c);

static void on_check_get(struct store_get *get)
{
    struct disks_check *c = container_of(get, struct disks_check, get);
    c->bytes += get->err ? 0 : get->payload.bytes.len;
    payload_unref(&get->payload);
    if (get->err == ERR_NOMEM) { /* nothing is known of it */
        check_end(c, c->done > 0 ? OK : ERR_NOMEM);
        return;
    }
    c->states[c->done++] = get->err ? DISKS_SHARD_DAMAGED : DISKS_SHARD_PRESENT;
    check_run(c);
}

/* OK: a callback comes; ERR_END: the state is known; else the check ends here. */
static int check_read(struct disks_check *c)
{
    c->get = (struct store_get){.blob_id = c->blob_ids[c->done],
                                .shard_index = (uint16_t)c->shard_indexes[c->done],
                                .cb = on_check_get};
    int err = disks_get_start(c->disks, &c->get);
    if (err == ERR_CORRUPT) {
        c->states[c->done++] = DISKS_SHARD_DAMAGED;
        return ERR_END;
    }
    return err;
}

static void check_run(struct disks_check *c)
{
    for (unsigned n = 0; c->done < c->count; n++) {
        int err = disks_refuse(c->disks);
        if (err) {
            check_end(c, err);
            return;
        }
        if (n == LOOKS_PER_TURN) {
            env_timer_start(&c->timer, 0);
            return;
        }
        enum disks_shard state;
        err =
            disks_look(c->disks, c->blob_ids[c->done], (uint16_t)c->shard_indexes[c->done], &state);
        if (err) {
            check_end(c, c->deep && c->done > 0 ? OK : err);
            return;
        }
        if (!c->deep || state != DISKS_SHARD_PRESENT) {
            c->states[c->done++] = state;
            continue;
        }
        if (c->bytes >= c->bytes_max && c->done > 0)
            break;
        err = check_read(c);
        if (err == OK)
            return;
        if (err != ERR_END) {
            check_end(c, c->done > 0 ? OK : err);
            return;
        }
    }
    check_end(c, OK);
}

static void on_check_turn(struct env_timer *t)
{
    check_run(container_of(t, struct disks_check, timer));
}

int disks_check_start(struct disks *d, struct disks_check *c)
{
    int err = disks_refuse(d);
    if (!err && c->count > DISKS_CHECK_MAX)
        err = ERR_INVAL;
    for (size_t i = 0; !err && i < c->count; i++)
        if (c->shard_indexes[i] > SHARD_INDEX_MAX)
            err = ERR_INVAL;
    if (err)
        return err;
    c->disks = d;
    c->done = 0;
    c->bytes = 0;
    list_push_back(&d->checks, &c->node);
    env_timer_init(d->env, &c->timer, on_check_turn);
    env_timer_start(&c->timer, 0);
    return OK;
}

/* ---- inventories ---- */

struct inventory_stream {
    struct slot *slot;
    struct store_inventory_at at;
    struct store_inventory_entry entries[ENTRIES_PER_READ];
    size_t count, next;
    bool last; /* there is nothing behind these entries */
};

uint64_t disks_digest(const struct store_inventory_entry *e)
{
    uint8_t bytes[ID_BYTES + 6];
    memcpy(bytes, e->blob_id.bytes, ID_BYTES);
    bytes[ID_BYTES] = (uint8_t)(e->shard_index >> 8);
    bytes[ID_BYTES + 1] = (uint8_t)e->shard_index;
    for (unsigned i = 0; i < 4; i++)
        bytes[ID_BYTES + 2 + i] = (uint8_t)(e->record.crcs_digest >> (24 - 8 * i));
    return hash64(0, SLICE(bytes, sizeof(bytes)));
}

void disks_inventory_fini(struct disks_inventory *inv)
{
    free(inv->entries);
    inv->entries = NULL;
}

static void inventory_end(struct disks_inventory *inv, int err)
{
    struct disks *d = inv->disks;
    free(inv->streams);
    inv->streams = NULL;
    inv->err = err;
    list_remove(&inv->node);
    if (d->life == DISKS_CLOSING)
        disks_wake(d);
    inv->cb(inv);
}

static int entry_compare(const struct store_inventory_entry *a,
                         const struct store_inventory_entry *b)
{
    int order = memcmp(a->blob_id.bytes, b->blob_id.bytes, ID_BYTES);
    return order ? order : (int)a->shard_index - (int)b->shard_index;
}

/* OK: the stream has an entry at hand, or has ended. */
static int stream_fill(struct disks_inventory *inv, struct inventory_stream *st)
{
    if (st->next < st->count || st->last)
        return OK;
    if (!slot_up(st->slot))
        return ERR_IO; /* what it had is to be rebuilt: ask again */
    int err = store_inventory(st->slot->store, inv->pg, &st->at, st->entries, ENTRIES_PER_READ,
                              &st->count);
    st->next = 0;
    st->last = st->count < ENTRIES_PER_READ;
    return err;
}

/* The next shard of all disks.  OK; ERR_END; an error. */
static int inventory_next(struct disks_inventory *inv, struct store_inventory_entry *ret)
{
    bool some = false, twice = false;
    for (size_t i = 0; i < inv->stream_count; i++) {
        struct inventory_stream *st = &inv->streams[i];
        int err = stream_fill(inv, st);
        if (err)
            return err;
        if (st->next < st->count && (!some || entry_compare(&st->entries[st->next], ret) < 0)) {
            *ret = st->entries[st->next];
            some = true;
        }
    }
    for (size_t i = 0; some && i < inv->stream_count; i++) {
        struct inventory_stream *st = &inv->streams[i];
        if (st->next == st->count || entry_compare(&st->entries[st->next], ret) != 0)
            continue;
        if (twice)
            PROBE(DISKS_TWO_COPIES);
        twice = true;
        if (ret->record.damaged) /* a whole one elsewhere is better */
            *ret = st->entries[st->next];
        st->next++;
    }
    (void)twice; /* only counted */
    return some ? OK : ERR_END;
}

static int entry_add(struct disks_inventory *inv, const struct store_inventory_entry *e)
{
    if (inv->count == inv->cap) {
        size_t cap = MAX(64, inv->cap * 2);
        struct store_inventory_entry *grown = realloc(inv->entries, cap * sizeof(*grown));
        if (!grown)
            return ERR_NOMEM;
        inv->entries = grown;
        inv->cap = cap;
    }
    inv->entries[inv->count++] = *e;
    return OK;
}

static void inventory_passed(struct disks_inventory *inv, const struct store_inventory_entry *e)
{
    inv->scanned++;
    inv->last = e->blob_id;
}

/* OK: go on; ERR_END: the page is full, or what was asked for lies behind. */
static int entry_take(struct disks_inventory *inv, const struct store_inventory_entry *e)
{
    uint8_t first = e->blob_id.bytes[0];
    if (!inv->digests && !inv->all_bytes && first != inv->first_byte)
        return ERR_END;
    inv->present[first / 8] = (uint8_t)(inv->present[first / 8] | 1u << (first & 7));
    if (!inv->digests && inv->has_after &&
        memcmp(e->blob_id.bytes, inv->after.bytes, ID_BYTES) <= 0)
        return OK; /* other shards of that blob: they were on the page before */
    if (inv->scan_max && inv->scanned >= inv->scan_max && !id128_eq(inv->last, e->blob_id)) {
        inv->more = true;
        return ERR_END;
    }
    bool wanted = !(inv->older_than_ms && e->record.time_ms >= inv->older_than_ms) &&
                  !(inv->unconfirmed && e->record.confirmed);
    if (!wanted) {
        inventory_passed(inv, e);
        return OK;
    }
    if (inv->digests) {
        if (!e->record.damaged)
            inv->hashes[first] ^= disks_digest(e);
        return OK;
    }
    if (inv->count >= inv->entries_max &&
        !id128_eq(inv->entries[inv->count - 1].blob_id, e->blob_id)) {
        inv->more = true;
        return ERR_END;
    }
    inventory_passed(inv, e);
    return entry_add(inv, e);
}

static void on_inventory_turn(struct env_timer *t)
{
    struct disks_inventory *inv = container_of(t, struct disks_inventory, timer);
    struct store_inventory_entry e;
    int err = disks_refuse(inv->disks);
    for (unsigned n = 0; !err && n < ENTRIES_PER_TURN; n++) {
        err = inventory_next(inv, &e);
        if (!err)
            err = entry_take(inv, &e);
    }
    if (err)
        inventory_end(inv, err == ERR_END ? OK : err);
    else
        env_timer_start(&inv->timer, 0);
}

static void stream_init(const struct disks_inventory *inv, struct inventory_stream *st,
                        struct slot *slot)
{
    st->slot = slot;
    if (inv->digests)
        return;
    if (!inv->all_bytes)
        st->at.blob_id.bytes[0] = inv->first_byte;
    if (inv->has_after && (inv->all_bytes || inv->after.bytes[0] == inv->first_byte))
        st->at.blob_id = inv->after;
}

int disks_inventory_start(struct disks *d, struct disks_inventory *inv)
{
    int err = disks_refuse(d);
    if (err)
        return err;
    if (inv->entries_max > DISKS_INVENTORY_MAX)
        return ERR_INVAL;
    if (inv->entries_max == 0)
        inv->entries_max = DISKS_INVENTORY_MAX;
    inv->disks = d;
    inv->entries = NULL;
    inv->count = inv->cap = inv->stream_count = inv->scanned = 0;
    inv->more = false;
    memset(inv->hashes, 0, sizeof(inv->hashes));
    inv->streams = calloc(d->count, sizeof(*inv->streams));
    if (!inv->streams)
        return ERR_NOMEM;
    for (size_t i = 0; i < d->count; i++)
        if (slot_up(&d->slots[i]))
            stream_init(inv, &inv->streams[inv->stream_count++], &d->slots[i]);
    if (inv->stream_count == 0) {
        free(inv->streams);
        return ERR_NOT_READY;
    }
    list_push_back(&d->inventories, &inv->node);
    env_timer_init(d->env, &inv->timer, on_inventory_turn);
    env_timer_start(&inv->timer, 0);
    return OK;
}

void scans_abandon(struct disks *d)
{
    while (!list_empty(&d->checks)) {
        struct disks_check *c = container_of(list_pop_front(&d->checks), struct disks_check, node);
        env_timer_stop(&c->timer);
    }
    while (!list_empty(&d->inventories)) {
        struct disks_inventory *inv =
            container_of(list_pop_front(&d->inventories), struct disks_inventory, node);
        env_timer_stop(&inv->timer);
        free(inv->streams);
        inv->streams = NULL;
        disks_inventory_fini(inv);
    }
}

int disks_confirm(struct disks *d, const struct id128 *blob_ids, size_t count)
{
    int err = disks_refuse(d);
    for (size_t i = 0; i < d->count && !disks_refuse(d); i++) {
        int one = slot_up(&d->slots[i]) ? store_confirm(d->slots[i].store, blob_ids, count) : OK;
        err = err ? err : one;
    }
    return err;
}

bool disks_has_group(struct disks *d, uint32_t pg)
{
    for (size_t i = 0; i < d->count; i++) {
        struct store_inventory_at at = {0};
        struct store_inventory_entry e;
        size_t count = 0;
        if (slot_up(&d->slots[i]) &&
            store_inventory(d->slots[i].store, pg, &at, &e, 1, &count) == OK && count > 0)
            return true;
    }
    return false;
}
