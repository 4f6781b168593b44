/* Notes of the node, kept on every disk that is up: which disks there are or were, and which epochs
 * of placement groups are closed.
 *
 * What an earlier life of the node wrote and this one reads need not be durable (its process may
 * have been killed before the flush), so everything is written and flushed again at start, before
 * anything is promised on it. */
#include "storagenode/op/disks_impl.h"

#include "common/base/check.h"
#include "common/base/mutant.h"

#include <stdlib.h>

/* ---- disks ---- */

/* NULL: out of memory, or too many. */
static struct known *known_get(struct disks *d, struct id128 id)
{
    for (size_t i = 0; i < d->known_count; i++)
        if (id128_eq(d->known[i].id, id))
            return &d->known[i];
    if (d->known_count == DISKS_KNOWN_MAX)
        return NULL;
    struct known *grown = realloc(d->known, (d->known_count + 1) * sizeof(*grown));
    if (!grown)
        return NULL;
    d->known = grown;
    d->known[d->known_count] = (struct known){.id = id};
    return &d->known[d->known_count++];
}

static int disks_read(struct disks *d, struct store *s)
{
    struct kv_iter *it = store_notes_iter(s, 'n');
    int err = it ? OK : ERR_NOMEM;
    for (; !err && it->ops->valid(it); it->ops->next(it)) {
        struct node_record record;
        struct id128 id;
        if (!record_key_node_parse(it->ops->key(it), &id) ||
            node_record_decode(it->ops->value(it), &record) != OK)
            continue; /* another disk has it, too */
        struct known *k = known_get(d, id);
        if (!k)
            err = ERR_NOMEM;
        else if (k->record.path[0] == 0)
            memcpy(k->record.path, record.path, sizeof(record.path));
        if (k)
            k->record.lost |= record.lost;
    }
    if (!err)
        err = it->ops->error(it);
    if (it)
        it->ops->free(it);
    return err;
}

/* A member's own disk: known from now on, or refused. */
static int member_note(struct disks *d, struct slot *slot)
{
    struct known *k = known_get(d, store_disk_id(slot->store));
    if (!k)
        return ERR_NOMEM;
    if (k->present) {
        slot->err = ERR_EXISTS; /* a copy of another member: only one of them can be the truth */
        return OK;
    }
    k->present = true;
    memcpy(k->record.path, slot->path, sizeof(k->record.path));
    slot->refused = k->record.lost && !MUTANT(STORE_LOST_SERVES);
    return OK;
}

int known_give_up(struct disks *d, struct id128 id)
{
    struct known *k = known_get(d, id);
    if (k)
        k->record.lost = true;
    return k ? OK : ERR_NOMEM;
}

bool known_missing(const struct disks *d)
{
    for (size_t i = 0; i < d->known_count; i++)
        if (!d->known[i].present && !d->known[i].record.lost)
            return true;
    return false;
}

/* ---- epochs ---- */

static size_t closed_find(const struct disks *d, uint32_t pg)
{
    size_t low = 0, high = d->closed_count;
    while (low < high) {
        size_t mid = low + (high - low) / 2;
        if (d->closed[mid].pg < pg)
            low = mid + 1;
        else
            high = mid;
    }
    return low;
}

uint64_t closed_epoch(const struct disks *d, uint32_t pg)
{
    size_t at = closed_find(d, pg);
    return at < d->closed_count && d->closed[at].pg == pg ? d->closed[at].epoch : 0;
}

int closed_admit(struct disks *d, const struct disks_put *p)
{
    uint64_t epoch = p->put.info.pg_epoch;
    size_t at = closed_find(d, p->put.info.pg);
    if (at == d->closed_count || d->closed[at].pg != p->put.info.pg)
        return OK;
    struct closed *c = &d->closed[at];
    if ((!p->any_epoch && epoch < c->epoch) || epoch <= c->left)
        return ERR_EPOCH;
    c->seen = MAX(c->seen, epoch);
    return OK;
}

/* From the beginning again. */
static void leaving_begin(struct disks *d, uint32_t pg)
{
    d->leaving = pg;
    for (size_t i = 0; i < d->count; i++)
        d->slots[i].leaving = (struct store_inventory_at){0};
}

int disks_group_leave(struct disks *d, uint32_t pg, uint64_t epoch, uint64_t since_ms,
                      bool *ret_more)
{
    *ret_more = false;
    int err = disks_refuse(d);
    if (err || !disks_has_group(d, pg))
        return err;
    size_t at = closed_find(d, pg);
    if (at == d->closed_count || d->closed[at].pg != pg || d->closed[at].settled < epoch)
        return ERR_NOT_READY;
    struct closed *c = &d->closed[at];
    if (c->epoch > epoch || c->seen > epoch)
        return ERR_EPOCH;
    c->left = epoch;
    if (d->leaving != pg)
        leaving_begin(d, pg);
    for (size_t i = 0; i < d->count; i++) {
        struct slot *slot = &d->slots[i];
        bool more = false;
        if (!slot_up(slot))
            continue;
        int e = store_group_drop(slot->store, pg, since_ms, &slot->leaving, &more);
        err = err ? err : e;
        *ret_more |= more;
    }
    if (!*ret_more)
        leaving_begin(d, pg);
    return err;
}

static int closed_reserve(struct disks *d)
{
    if (d->closed_count < d->closed_cap)
        return OK;
    if (d->closed_count == DISKS_CLOSED_MAX)
        return ERR_LIMIT;
    size_t cap = MAX(16, d->closed_cap * 2);
    struct closed *grown = realloc(d->closed, cap * sizeof(*grown));
    if (!grown)
        return ERR_NOMEM;
    d->closed = grown;
    d->closed_cap = cap;
    return OK;
}

/* There is room for one more. */
static void closed_raise(struct disks *d, uint32_t pg, uint64_t epoch)
{
    size_t at = closed_find(d, pg);
    if (at == d->closed_count || d->closed[at].pg != pg) {
        memmove(&d->closed[at + 1], &d->closed[at], (d->closed_count - at) * sizeof(*d->closed));
        d->closed[at] = (struct closed){.pg = pg};
        d->closed_count++;
    }
    d->closed[at].epoch = MAX(d->closed[at].epoch, epoch);
    d->settling = true;
}

static int epochs_read(struct disks *d, struct store *s)
{
    struct kv_iter *it = store_notes_iter(s, 'c');
    int err = it ? OK : ERR_NOMEM;
    for (; !err && it->ops->valid(it); it->ops->next(it)) {
        uint32_t pg;
        uint64_t epoch;
        if (!record_key_closed_parse(it->ops->key(it), &pg) ||
            closed_record_decode(it->ops->value(it), &epoch) != OK)
            continue;
        err = closed_reserve(d);
        if (!err)
            closed_raise(d, pg, epoch);
    }
    if (!err)
        err = it->ops->error(it);
    if (it)
        it->ops->free(it);
    return err;
}

static void closed_append(struct kv_batch *kv, uint32_t pg, uint64_t epoch)
{
    uint8_t value[CLOSED_RECORD_BYTES];
    struct record_key key = record_key_closed(pg);
    closed_record_encode(epoch, value);
    kv_batch_put(kv, KV_INDEX, record_key_slice(&key), SLICE(value, sizeof(value)));
}

int disks_epoch_close(struct disks *d, uint32_t pg, uint64_t epoch)
{
    struct disks_counts counts;
    int err = disks_refuse(d);
    disks_count(d, &counts);
    if (!err && counts.up == 0)
        err = ERR_NOT_READY;
    if (err || closed_epoch(d, pg) >= epoch)
        return err;
    err = closed_reserve(d);
    for (size_t i = 0; !err && i < d->count; i++) {
        if (!slot_up(&d->slots[i]))
            continue;
        struct kv_batch *kv = kv_batch_new();
        if (!kv)
            return ERR_NOMEM; /* some disks may say more than is so: that is safe */
        closed_append(kv, pg, epoch);
        (void)store_notes_write(d->slots[i].store, &kv); /* one that fails is out of service */
    }
    if (!err)
        closed_raise(d, pg, epoch);
    return err;
}

/* A put that was taken before the epoch was closed is in no inventory yet. */
static bool closed_busy(const struct disks *d, const struct closed *c)
{
    for (size_t i = 0; i < PUT_BUCKETS && !MUTANT(STORE_EPOCH_UNWAITED); i++)
        list_for_each(it, &d->puts[i])
        {
            const struct disks_put *p = container_of(it, struct disks_put, node);
            if (p->put.info.pg == c->pg && p->put.info.pg_epoch < c->epoch && !p->any_epoch)
                return true;
        }
    return false;
}

void closed_settle(struct disks *d)
{
    bool left = false;
    if (!d->settling || (!known_durable(d) && !MUTANT(STORE_EPOCH_UNSYNCED)))
        return;
    for (size_t i = 0; i < d->closed_count; i++) {
        struct closed *c = &d->closed[i];
        if (c->settled < c->epoch && !closed_busy(d, c))
            c->settled = c->epoch;
        left |= c->settled < c->epoch;
    }
    d->settling = left;
}

uint64_t disks_epoch_closed(const struct disks *d, uint32_t pg)
{
    size_t at = closed_find(d, pg);
    return at < d->closed_count && d->closed[at].pg == pg ? d->closed[at].settled : 0;
}

bool disks_epoch_next(const struct disks *d, size_t *pos, uint32_t *ret_pg, uint64_t *ret_epoch)
{
    if (*pos >= d->closed_count)
        return false;
    *ret_pg = d->closed[*pos].pg;
    *ret_epoch = d->closed[(*pos)++].settled;
    return true;
}

/* ---- all notes ---- */

int known_load(struct disks *d)
{
    int err = OK;
    for (size_t i = 0; !err && i < d->count; i++) {
        if (!slot_up(&d->slots[i]))
            continue;
        err = disks_read(d, d->slots[i].store);
        if (!err)
            err = epochs_read(d, d->slots[i].store);
    }
    for (size_t i = 0; !err && i < d->lost_count; i++)
        err = known_give_up(d, d->lost[i]);
    for (size_t i = 0; !err && i < d->count; i++)
        if (slot_up(&d->slots[i]))
            err = member_note(d, &d->slots[i]);
    return err;
}

static void known_append(struct kv_batch *kv, const struct known *k)
{
    uint8_t value[NODE_RECORD_BYTES_MAX];
    struct record_key key = record_key_node(k->id);
    size_t len = node_record_encode(&k->record, value);
    kv_batch_put(kv, KV_INDEX, record_key_slice(&key), SLICE(value, len));
}

int known_write(struct disks *d, bool all)
{
    if (d->known_count <= 1 && d->closed_count == 0)
        return OK; /* a single disk need not know of itself */
    for (size_t i = 0; i < d->count; i++) {
        if (!slot_up(&d->slots[i]))
            continue;
        struct id128 own = store_disk_id(d->slots[i].store);
        struct kv_batch *kv = kv_batch_new();
        if (!kv)
            return ERR_NOMEM;
        for (size_t n = 0; n < d->known_count; n++)
            if (all || id128_eq(d->known[n].id, own))
                known_append(kv, &d->known[n]);
        for (size_t n = 0; all && n < d->closed_count; n++)
            closed_append(kv, d->closed[n].pg, d->closed[n].epoch);
        (void)store_notes_write(d->slots[i].store, &kv);
    }
    return OK;
}

bool known_durable(const struct disks *d)
{
    bool some = false;
    for (size_t i = 0; i < d->count; i++) {
        if (!slot_up(&d->slots[i]))
            continue;
        some = true;
        if (!store_notes_durable(d->slots[i].store))
            return false;
    }
    return some || d->life != DISKS_UP; /* an opening ends, even with all disks failed */
}
