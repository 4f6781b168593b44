/* Disks behind one interface: their life, and where puts, gets and deletes go.
 *
 *   NEW → OPENING → NAMING → NOTING → UP → CLOSING → CLOSED
 *
 * A disk that fails leaves the others alone.  What is under way on it ends with its error; a put
 * then goes to another disk: whatever became of it on the first, the bytes are the same. */
#include "storagenode/op/disks_impl.h"

#include "common/base/check.h"
#include "common/base/hash.h"
#include "common/base/mutant.h"
#include "common/base/probe.h"

#include <stdlib.h>

static void on_kick(struct env_timer *t);
static void on_store_failed(void *arg, int err);
static void on_store_damage(void *arg, const struct store_damage *damage);
static void on_store_flushed(void *arg);
static void deletes_abandon(struct disks *d);

static int slot_init(struct disks *d, const struct disks_config *config, size_t at)
{
    const struct disks_member *m = &config->members[at];
    struct slot *slot = &d->slots[at];
    struct store_config c = config->store;
    size_t len = strlen(m->path);
    slot->disks = d;
    if (len > DISK_PATH_BYTES_MAX)
        return ERR_INVAL;
    memcpy(slot->path, m->path, len + 1);
    slot->err = m->disk ? OK : m->err;
    if (!m->disk)
        return m->err == OK ? ERR_INVAL : OK;
    c.on_failed = on_store_failed;
    c.on_damage = on_store_damage;
    c.on_flushed = on_store_flushed;
    c.arg = slot;
    return store_new(d->env, m->disk, m->kv, &c, &slot->store);
}

int disks_new(struct env *env, const struct disks_config *config, struct disks **ret)
{
    if (config->count == 0 || config->count > DISKS_MAX || config->lost_count > DISKS_KNOWN_MAX)
        return ERR_INVAL;
    struct disks *d = calloc(1, sizeof(*d));
    if (!d)
        return ERR_NOMEM;
    d->env = env;
    d->count = config->count;
    d->on_failed = config->on_failed;
    d->on_damage = config->on_damage;
    d->arg = config->arg;
    env_timer_init(env, &d->kick, on_kick);
    for (size_t i = 0; i < PUT_BUCKETS; i++)
        list_init(&d->puts[i]);
    list_init(&d->deletes);
    list_init(&d->checks);
    list_init(&d->inventories);
    d->lost = calloc(config->lost_count + 1, sizeof(*d->lost));
    int err = d->lost ? OK : ERR_NOMEM;
    for (size_t i = 0; !err && i < config->lost_count; i++)
        d->lost[d->lost_count++] = config->lost[i];
    for (size_t i = 0; !err && i < config->count; i++)
        err = slot_init(d, config, i);
    if (err) {
        disks_free(d);
        return err;
    }
    *ret = d;
    return OK;
}

void disks_free(struct disks *d)
{
    if (!d)
        return;
    env_timer_stop(&d->kick);
    deletes_abandon(d);
    scans_abandon(d);
    for (size_t i = 0; i < d->count; i++)
        store_free(d->slots[i].store);
    free(d->lost);
    free(d->known);
    free(d->closed);
    free(d);
}

/* ---- life ---- */

void disks_wake(struct disks *d)
{
    if (!d->kick.active)
        env_timer_start(&d->kick, 0);
}

static void on_store_failed(void *arg, int err)
{
    struct slot *slot = arg;
    struct disks *d = slot->disks;
    if (slot->err)
        return;
    slot->err = err;
    if (d->on_failed && slot->opened && !slot->refused)
        d->on_failed(d->arg, (size_t)(slot - d->slots), err);
    disks_wake(d);
}

static void on_store_damage(void *arg, const struct store_damage *damage)
{
    struct slot *slot = arg;
    struct disks *d = slot->disks;
    if (d->on_damage)
        d->on_damage(d->arg, (size_t)(slot - d->slots), damage);
}

static void on_store_flushed(void *arg)
{
    disks_wake(((struct slot *)arg)->disks);
}

static void on_store_open(void *arg, int err)
{
    struct slot *slot = arg;
    slot->err = err;
    slot->opened = true;
    slot->readable = err == OK;
    disks_wake(slot->disks);
}

static void on_store_closed(void *arg, int err)
{
    struct slot *slot = arg;
    (void)err;
    slot->closed = true;
    disks_wake(slot->disks);
}

void disks_open_start(struct disks *d, void (*cb)(void *arg, int err), void *arg)
{
    CHECK(d->life == DISKS_NEW);
    d->open_cb = cb;
    d->open_arg = arg;
    d->life = DISKS_OPENING;
    for (size_t i = 0; i < d->count; i++)
        if (d->slots[i].store)
            store_open_start(d->slots[i].store, on_store_open, &d->slots[i]);
    disks_wake(d);
}

static void opened(struct disks *d, int err)
{
    struct disks_counts counts;
    void (*cb)(void *, int) = d->open_cb;
    disks_count(d, &counts);
    for (size_t i = 0; !err && counts.up == 0 && i < d->count; i++)
        err = d->slots[i].err;
    if (!err && counts.up == 0)
        err = ERR_REFUSED; /* all have been given up */
    d->open_cb = NULL;
    if (d->life != DISKS_CLOSING)
        d->life = DISKS_UP;
    cb(d->open_arg, err);
}

/* All have recovered, or cannot. */
static void open_step(struct disks *d)
{
    for (size_t i = 0; i < d->count; i++)
        if (d->slots[i].store && !d->slots[i].opened)
            return;
    int err = known_load(d);
    if (!err)
        err = known_write(d, false);
    for (size_t i = 0; i < d->count; i++)
        if (d->slots[i].refused)
            store_close_start(d->slots[i].store, on_store_closed, &d->slots[i]);
    if (err) {
        opened(d, err);
        return;
    }
    d->life = DISKS_NAMING;
    disks_wake(d);
}

static void name_step(struct disks *d)
{
    if (!known_durable(d))
        return;
    int err = known_write(d, true);
    if (err) {
        opened(d, err);
        return;
    }
    d->life = DISKS_NOTING;
    disks_wake(d);
}

static void note_step(struct disks *d)
{
    for (size_t i = 0; i < d->count; i++)
        if (d->slots[i].refused && !d->slots[i].closed)
            return;
    if (!known_durable(d))
        return;
    closed_settle(d);
    opened(d, OK);
}

static void close_step(struct disks *d)
{
    int err = OK;
    if (d->open_cb) /* it had not ended */
        opened(d, ERR_SHUTDOWN);
    for (size_t i = 0; i < d->count; i++) {
        if (d->slots[i].store && !d->slots[i].closed)
            return;
        if (!err && !d->slots[i].refused)
            err = d->slots[i].err;
    }
    if (!list_empty(&d->checks) || !list_empty(&d->inventories))
        return;
    d->life = DISKS_CLOSED;
    d->close_cb(d->close_arg, err);
}

static void on_kick(struct env_timer *t)
{
    struct disks *d = container_of(t, struct disks, kick);
    switch (d->life) {
    case DISKS_NEW:
    case DISKS_CLOSED: break;
    case DISKS_OPENING: open_step(d); break;
    case DISKS_NAMING: name_step(d); break;
    case DISKS_NOTING: note_step(d); break;
    case DISKS_UP: closed_settle(d); break;
    case DISKS_CLOSING: close_step(d); break; /* the last: its callback may free */
    }
}

void disks_close_start(struct disks *d, void (*cb)(void *arg, int err), void *arg)
{
    CHECK(!d->close_cb && d->life != DISKS_NEW && d->life != DISKS_CLOSED);
    bool noting = d->life != DISKS_OPENING;
    d->life = DISKS_CLOSING;
    d->close_cb = cb;
    d->close_arg = arg;
    for (size_t i = 0; i < d->count; i++) {
        struct slot *slot = &d->slots[i];
        if (slot->store && !(noting && slot->refused))
            store_close_start(slot->store, on_store_closed, slot);
    }
    disks_wake(d);
}

int disks_give_up(struct disks *d, struct id128 id, size_t *ret_member)
{
    int err = disks_refuse(d);
    if (err)
        return err;
    for (size_t i = 0; i < d->count; i++) {
        struct slot *slot = &d->slots[i];
        if (!slot_up(slot) || !id128_eq(store_disk_id(slot->store), id))
            continue;
        err = known_give_up(d, id);
        if (!err)
            err = known_write(d, true); /* to this disk, too, for it may be the only one */
        if (err)
            return err;
        slot->refused = true;
        *ret_member = i;
        store_close_start(slot->store, on_store_closed, slot);
        return OK;
    }
    return ERR_NOT_FOUND;
}

int disks_refuse(const struct disks *d)
{
    switch (d->life) {
    case DISKS_UP: return OK;
    case DISKS_NEW:
    case DISKS_OPENING:
    case DISKS_NAMING:
    case DISKS_NOTING: return ERR_NOT_READY;
    case DISKS_CLOSING:
    case DISKS_CLOSED: return ERR_SHUTDOWN;
    }
    return ERR_SHUTDOWN;
}

/* ---- puts ---- */

static struct list *put_bucket(struct disks *d, struct id128 blob_id)
{
    return &d->puts[blob_id.bytes[ID_BYTES - 1] % PUT_BUCKETS];
}

/* The disk that has the shard, or is getting it just now; DISKS_MAX: none.  A whole one before a
 * damaged one.  OK; an error: some index cannot say. */
static int put_home(struct disks *d, const struct disks_put *p, size_t *ret)
{
    const struct shard_info *info = &p->put.info;
    *ret = DISKS_MAX;
    list_for_each(it, put_bucket(d, info->blob_id))
    {
        const struct disks_put *other = container_of(it, struct disks_put, node);
        if (id128_eq(other->put.info.blob_id, info->blob_id) && slot_up(&d->slots[other->at])) {
            *ret = other->at;
            return OK;
        }
    }
    if (d->count == 1) /* it looks itself, once */
        return OK;
    for (size_t i = 0; i < d->count; i++) {
        struct store_look look;
        if (!slot_up(&d->slots[i]))
            continue;
        int err = store_look(d->slots[i].store, info->blob_id, info->shard_index, &look);
        if (err)
            return err;
        if (look.deleted || (look.found && !look.damaged)) {
            *ret = i;
            return OK;
        }
        if (look.found && *ret == DISKS_MAX)
            *ret = i;
    }
    return OK;
}

/* What a disk that is out of service, but tells, has against it: other bytes under this id, or a
 * tombstone that no disk that is up has, because they were put in later.  OK; ERR_EXISTS;
 * ERR_CONDEMNED. */
static int put_conflict(struct disks *d, const struct disks_put *p)
{
    const struct shard_info *info = &p->put.info;
    for (size_t i = 0; i < d->count; i++) {
        const struct slot *slot = &d->slots[i];
        struct store_look look;
        if (slot_up(slot) || slot->refused || !slot->readable ||
            store_look(slot->store, info->blob_id, info->shard_index, &look) != OK)
            continue;
        if (look.deleted)
            return ERR_CONDEMNED;
        if (look.found && !look.damaged &&
            look.crcs_digest != shard_crcs_digest(info->block_crcs, shard_blocks(info->bytes)))
            return ERR_EXISTS;
    }
    return OK;
}

static uint64_t room_of(const struct slot *slot)
{
    struct store_stats st;
    store_stats_get(slot->store, &st);
    return st.writable ? st.bytes_free : 0;
}

/* One of two that the blob's id chooses among those not tried yet; DISKS_MAX: none is left. */
static size_t put_choose(struct disks *d, const struct disks_put *p)
{
    size_t candidates[DISKS_MAX], n = 0;
    for (size_t i = 0; i < d->count; i++)
        if (slot_up(&d->slots[i]) && !(p->tried & 1u << i))
            candidates[n++] = i;
    if (n == 0)
        return DISKS_MAX;
    if (n == 1)
        return candidates[0];
    uint64_t h = hash64(0, SLICE(p->put.info.blob_id.bytes, ID_BYTES));
    size_t first = (size_t)(h % n), second = (size_t)((h >> 32) % (n - 1));
    second += second >= first;
    first = candidates[first];
    second = candidates[second];
    bool first_slow = pace_is_slow(d, &d->slots[first]);
    bool second_slow = pace_is_slow(d, &d->slots[second]);
    if (first_slow != second_slow && room_of(&d->slots[first_slow ? second : first]) > 0)
        return first_slow ? second : first;
    return room_of(&d->slots[second]) > room_of(&d->slots[first]) ? second : first;
}

/* Another disk may take what this one does not. */
static bool put_goes_on(int err)
{
    return err == ERR_NOSPACE || err == ERR_IO || err == ERR_OVERLOAD || err == ERR_NOT_READY;
}

static void on_store_put(struct store_put *put);

/* Tries disks until one takes it.  The error that is reported is the one that tells most: busy,
 * then full, then out of service. */
static int put_try(struct disks *d, struct disks_put *p, size_t at, int err)
{
    int conflict = put_conflict(d, p);
    if (conflict) {
        PROBE(DISKS_CONFLICT);
        return conflict;
    }
    while (at != DISKS_MAX) {
        p->tried |= 1u << at;
        p->at = at;
        p->began_ns = env_now_ns(d->env);
        p->put.cb = on_store_put;
        int now = store_put_start(d->slots[at].store, &p->put);
        if (now == OK) {
            list_push_back(put_bucket(d, p->put.info.blob_id), &p->node);
            return OK;
        }
        if (!put_goes_on(now))
            return now;
        if (now == ERR_OVERLOAD || (now == ERR_NOSPACE && err != ERR_OVERLOAD))
            err = now;
        at = put_choose(d, p);
    }
    return err;
}

static void on_store_put(struct store_put *put)
{
    struct disks_put *p = container_of(put, struct disks_put, put);
    struct disks *d = p->disks;
    int err = put->err;
    list_remove(&p->node);
    p->unsure |= err == ERR_IO;
    if (err == OK)
        pace_learn(d, &d->slots[p->at], env_now_ns(d->env) - p->began_ns);
    if (d->settling)
        disks_wake(d);
    if ((err == ERR_IO || err == ERR_NOSPACE) && d->life == DISKS_UP) {
        size_t next = put_choose(d, p);
        int now = next == DISKS_MAX ? err : put_try(d, p, next, err);
        if (now == OK) {
            PROBE(DISKS_REROUTED);
            return;
        }
        err = now;
    }
    p->err = err && p->unsure ? ERR_IO : err; /* another disk's refusal says nothing of the first */
    p->cb(p);
}

int disks_put_start(struct disks *d, struct disks_put *p)
{
    int err = disks_refuse(d);
    if (!err)
        err = closed_admit(d, p);
    if (err)
        return err;
    p->disks = d;
    p->tried = 0;
    p->unsure = false;
    size_t at;
    err = put_home(d, p, &at);
    if (err)
        return err;
    if (at == DISKS_MAX)
        at = put_choose(d, p);
    return put_try(d, p, at, ERR_IO);
}

/* ---- gets ---- */

/* Where to read: a disk that is up before one that is out of service, a whole shard before a
 * damaged one, which only heads are read of.  DISKS_MAX: nowhere; *ret_err says what that means. */
static size_t get_find(struct disks *d, struct id128 blob_id, uint16_t shard_index, bool head_only,
                       int *ret_err)
{
    size_t failed = DISKS_MAX, broken = DISKS_MAX;
    bool damaged = false, unsure = known_missing(d), nomem = false;
    for (size_t i = 0; i < d->count; i++) {
        const struct slot *slot = &d->slots[i];
        struct store_look look = {0};
        if (slot->refused)
            continue;
        int err = slot->readable ? store_look(slot->store, blob_id, shard_index, &look) : ERR_IO;
        nomem |= err == ERR_NOMEM;
        if (err) {
            unsure = true;
        } else if (look.found && !look.damaged) {
            if (slot_up(slot))
                return i;
            failed = i;
        } else {
            damaged |= look.found;
            if (look.found && slot_up(slot))
                broken = i;
        }
    }
    *ret_err = nomem ? ERR_NOMEM : damaged ? ERR_CORRUPT : unsure ? ERR_IO : ERR_NOT_FOUND;
    return head_only && failed == DISKS_MAX ? broken : failed;
}

int disks_get_start(struct disks *d, struct store_get *get)
{
    int err = disks_refuse(d);
    if (err)
        return err;
    size_t at = 0;
    if (d->count > 1 || !slot_up(&d->slots[0]) || known_missing(d)) /* else it looks itself */
        at = get_find(d, get->blob_id, get->shard_index, get->head_only, &err);
    return at == DISKS_MAX ? err : store_get_start(d->slots[at].store, get);
}

int disks_look(struct disks *d, struct id128 blob_id, uint16_t shard_index, enum disks_shard *ret)
{
    int err = OK;
    size_t at = get_find(d, blob_id, shard_index, false, &err);
    if (at == DISKS_MAX && err == ERR_NOMEM)
        return err;
    if (at != DISKS_MAX) {
        *ret = slot_up(&d->slots[at]) ? DISKS_SHARD_PRESENT : DISKS_SHARD_UNREADABLE;
        return OK;
    }
    *ret = err == ERR_CORRUPT     ? DISKS_SHARD_DAMAGED
           : err == ERR_NOT_FOUND ? DISKS_SHARD_MISSING
                                  : DISKS_SHARD_UNREADABLE;
    for (size_t i = 0; i < d->count; i++) {
        struct store_look look;
        if (slot_up(&d->slots[i]) &&
            store_look(d->slots[i].store, blob_id, shard_index, &look) == OK && look.deleted)
            *ret = DISKS_SHARD_DELETED;
    }
    return OK;
}

/* ---- deletes ---- */

struct disks_part {
    struct store_delete del;
    struct disks_delete *whole;
};

static void delete_finish(struct disks_delete *del)
{
    struct disks_counts counts;
    disks_count(del->disks, &counts);
    list_remove(&del->node);
    free(del->parts);
    del->parts = NULL;
    if (!del->err && counts.out > 0 && !MUTANT(STORE_DELETE_PART))
        del->err = ERR_NOT_READY;
    del->cb(del);
}

static void on_store_delete(struct store_delete *part)
{
    struct disks_delete *del = container_of(part, struct disks_part, del)->whole;
    if (part->err && !del->err)
        del->err = part->err;
    if (--del->left == 0)
        delete_finish(del);
}

int disks_delete_start(struct disks *d, struct disks_delete *del)
{
    int err = disks_refuse(d);
    if (err)
        return err;
    del->parts = calloc(d->count, sizeof(*del->parts));
    if (!del->parts)
        return ERR_NOMEM;
    del->disks = d;
    del->err = OK;
    del->left = 0;
    for (size_t i = 0; i < d->count; i++) {
        if (!slot_up(&d->slots[i]))
            continue;
        struct disks_part *part = &del->parts[del->left];
        *part = (struct disks_part){
            {.blob_ids = del->blob_ids, .count = del->count, .cb = on_store_delete}, del};
        err = store_delete_start(d->slots[i].store, &part->del);
        if (err && !del->err)
            del->err = err; /* the others mark all the same */
        del->left += !err;
    }
    if (del->left > 0) {
        list_push_back(&d->deletes, &del->node);
        return OK;
    }
    free(del->parts);
    del->parts = NULL;
    return del->err ? del->err : ERR_NOT_READY;
}

static void deletes_abandon(struct disks *d)
{
    while (!list_empty(&d->deletes)) {
        struct disks_delete *del =
            container_of(list_pop_front(&d->deletes), struct disks_delete, node);
        free(del->parts);
        del->parts = NULL;
    }
}

/* ---- looking in ---- */

void disks_count(const struct disks *d, struct disks_counts *ret)
{
    *ret = (struct disks_counts){.members = (unsigned)d->count};
    for (size_t i = 0; i < d->count; i++) {
        ret->out += slot_out(&d->slots[i]);
        if (!slot_up(&d->slots[i]))
            continue;
        ret->up++;
        ret->writable += room_of(&d->slots[i]) > 0;
    }
    for (size_t i = 0; i < d->known_count; i++)
        ret->out += !d->known[i].present && !d->known[i].record.lost;
}

void disks_space(const struct disks *d, uint64_t *ret_total, uint64_t *ret_free)
{
    *ret_total = *ret_free = 0;
    for (size_t i = 0; i < d->count; i++) {
        struct store_stats st;
        if (!slot_up(&d->slots[i]))
            continue;
        store_stats_get(d->slots[i].store, &st);
        *ret_total += st.bytes_total;
        *ret_free += st.writable ? st.bytes_free + st.dead_bytes : 0;
    }
}

bool disks_status_next(const struct disks *d, size_t *pos, struct disks_status *ret)
{
    *ret = (struct disks_status){0};
    if (*pos < d->count) {
        const struct slot *slot = &d->slots[(*pos)++];
        ret->path = slot->path;
        ret->present = true;
        ret->err = slot->refused ? ERR_REFUSED : slot->err;
        ret->state = slot->refused   ? DISKS_STATE_LOST
                     : slot_up(slot) ? DISKS_STATE_UP
                                     : DISKS_STATE_FAILED;
        if (slot->store) {
            ret->id = store_disk_id(slot->store);
            store_stats_get(slot->store, &ret->stats);
        }
        ret->writable = slot_up(slot) && ret->stats.writable;
        ret->slow = slot_up(slot) && pace_is_slow(d, slot);
        return true;
    }
    while (*pos - d->count < d->known_count) {
        const struct known *k = &d->known[(*pos)++ - d->count];
        if (k->present)
            continue;
        ret->id = k->id;
        ret->path = k->record.path;
        ret->state = k->record.lost ? DISKS_STATE_LOST : DISKS_STATE_FAILED;
        ret->err = k->record.lost ? ERR_REFUSED : ERR_NOT_FOUND;
        return true;
    }
    return false;
}

int disks_scrub_start_now(struct disks *d)
{
    int err = ERR_NOT_READY;
    for (size_t i = 0; d->life == DISKS_UP && i < d->count; i++) {
        if (!slot_up(&d->slots[i]))
            continue;
        store_scrub_start_now(d->slots[i].store);
        err = OK;
    }
    return err;
}

bool disks_are_open(const struct disks *d)
{
    return d->life == DISKS_UP;
}
size_t disks_members(const struct disks *d)
{
    return d->count;
}
struct store *disks_store(const struct disks *d, size_t member)
{
    return d->slots[member].store;
}
