/* The alphabet of the model: which operations there are, how often each comes in which world, and
 * what it does.  What an operation draws comes from its own seed, so that leaving another out
 * changes nothing in it. */
#include "tests/model/model_impl.h"

#include "common/env/disk_mem.h"
#include "common/env/kv_mem.h"

enum in { ALWAYS, FAULTS, FLIPS, SWAPS, LOSSES, CALM /* nothing of these */ };

/* Of so many operations, on average; in worlds of this kind only. */
static const struct {
    unsigned weight;
    enum in in;
} weights[MODEL_OP_KINDS] = {
    [MODEL_PUT] = {60, ALWAYS},         [MODEL_PUT_OTHER] = {3, ALWAYS},
    [MODEL_PUT_REPAIR] = {4, ALWAYS},   [MODEL_GET] = {16, ALWAYS},
    [MODEL_GET_RANGE] = {16, ALWAYS},   [MODEL_DELETE] = {24, ALWAYS},
    [MODEL_FLUSH] = {8, ALWAYS},        [MODEL_RECLAIM] = {8, ALWAYS},
    [MODEL_STEPS] = {16, ALWAYS},       [MODEL_SCRUB] = {2, ALWAYS},
    [MODEL_SCRUB_ALL] = {2, ALWAYS},    [MODEL_CHECK_ALL] = {6, ALWAYS},
    [MODEL_CHECK_SHARDS] = {2, ALWAYS}, [MODEL_INVENTORY] = {4, ALWAYS},
    [MODEL_CLOSE_EPOCH] = {2, ALWAYS},  [MODEL_WAIT] = {3, ALWAYS},
    [MODEL_REBOOT] = {2, ALWAYS},       [MODEL_CRASH] = {4, ALWAYS},
    [MODEL_FILL] = {2, ALWAYS},         [MODEL_ROOM] = {2, ALWAYS},
    [MODEL_FLIP] = {5, FLIPS},          [MODEL_FAIL_ONCE] = {5, FAULTS},
    [MODEL_EXTENT_LOST] = {2, FLIPS},   [MODEL_INDEX_LOST] = {2, LOSSES},
    [MODEL_DISK_PULLED] = {3, SWAPS},   [MODEL_DISK_RETURNED] = {3, SWAPS},
    [MODEL_DISK_GIVEN_UP] = {2, SWAPS}, [MODEL_DISK_REPLACED] = {2, SWAPS},
    [MODEL_CONFIRM] = {3, ALWAYS},      [MODEL_DISTRUST] = {3, FLIPS},
    [MODEL_DEEP_NOTE] = {2, CALM},      [MODEL_LEAVE] = {3, CALM},
};

static uint64_t next(uint64_t *state) /* splitmix64 */
{
    uint64_t z = (*state += 0x9e3779b97f4a7c15ull);
    z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9ull;
    z = (z ^ z >> 27) * 0x94d049bb133111ebull;
    return z ^ z >> 31;
}

uint64_t model_random(struct model *m)
{
    return next(&m->rng);
}
uint64_t model_below(struct model *m, uint64_t n)
{
    return model_random(m) % n;
}

const char *model_op_name(enum model_op_kind kind)
{
    static const char *const names[MODEL_OP_KINDS] = {
#define X(NAME, text) [MODEL_##NAME] = text,
        MODEL_OP_TABLE(X)
#undef X
    };
    return names[kind];
}

const char *model_event_name(enum model_event e)
{
    static const char *const names[MODEL_EVENTS] = {
#define X(NAME, text) [SEEN_##NAME] = text,
        MODEL_EVENT_TABLE(X)
#undef X
    };
    return names[e];
}

/* As world.c makes it of the seed. */
static bool comes_in(uint64_t seed, enum in in)
{
    struct model_world w = model_world_of(seed);
    switch (in) {
    case ALWAYS: return true;
    case FAULTS: return w.faults;
    case FLIPS: return w.flips;
    case SWAPS: return w.swaps;
    case LOSSES: return w.losses;
    case CALM: return !w.faults && !w.flips && !w.swaps && !w.losses;
    }
    return false;
}

void model_generate(uint64_t seed, unsigned count, struct model_case *ret)
{
    uint64_t state = ~seed * 0x2545f4914f6cdd1dull, total = 0;
    CHECK(count <= MODEL_OPS_MAX);
    for (int k = 0; k < MODEL_OP_KINDS; k++)
        total += comes_in(seed, weights[k].in) ? weights[k].weight : 0;
    ret->seed = seed;
    ret->count = count;
    for (unsigned i = 0; i < count; i++) {
        uint64_t at = next(&state) % total;
        int kind = 0;
        for (;; kind++) {
            unsigned weight = comes_in(seed, weights[kind].in) ? weights[kind].weight : 0;
            if (at < weight)
                break;
            at -= weight;
        }
        ret->ops[i] = (struct model_op){(enum model_op_kind)kind, next(&state)};
    }
}

/* ---- what they do ---- */

/* A store that serves; NULL: the bay drawn has none. */
static struct store *any_store(struct model *m)
{
    return store_of(m, (unsigned)model_below(m, m->bays));
}

static void retire(struct model *m, struct blob *b)
{
    if (b->is != DELETED || b->puts || b->deletes || m->under_way > 0)
        return;
    m->retired[m->retired_count++ % RETIRED] = b->id;
    blob_new(m, b);
}

static void put(struct model *m, struct blob *b)
{
    uint64_t age_ms = env_wall_ms(&m->fake.env) - b->time_ms;
    if (b->is == ABSENT && !b->puts && !b->deletes && age_ms > m->config.put_age_ms_max &&
        model_below(m, 8))
        blob_new(m, b); /* it would be refused for its age */
    if (b->is == ABSENT || model_below(m, 4) == 0)
        put_start(m, b, false, false);
    else if (b->is == DELETED)
        retire(m, b);
}

static void put_other(struct model *m, struct blob *b)
{
    if (b->is == PRESENT && !b->puts && !b->deletes && !b->tainted && !units_out(m))
        put_start(m, b, true, false);
}

static void flush(struct model *m)
{
    struct store *s = any_store(m);
    if (s)
        store_flush_now(s);
}

static void reclaim(struct model *m)
{
    struct store *s = any_store(m);
    if (s)
        store_reclaim_now(s);
}

static void scrub(struct model *m)
{
    struct store *s = any_store(m);
    if (s)
        store_scrub_start_now(s);
}

static void settle(struct model *m)
{
    world_idle(m);
    if (m->failed)
        return;
    check_all(m);
    check_retired(m);
    check_stats(m);
}

static void inventory(struct model *m)
{
    if (model_below(m, 2))
        check_digests(m);
    else
        check_page(m);
}

static void close_epoch(struct model *m, struct blob *b)
{
    unsigned pg = pg_slot(b->id);
    if (b->is == ABSENT && model_below(m, 2)) /* one that is still under way then */
        put_start(m, b, false, false);
    if (disks_epoch_close(m->disks, FIRST_PG + pg, m->epoch[pg] + 1) != OK)
        return;
    m->epoch[pg]++;
    m->asked[pg] = m->ever_asked[pg] = m->epoch[pg];
}

/* Once in a while so long that every tombstone expires. */
static void wait_for_long(struct model *m)
{
    bool all = model_below(m, 3) == 0, quiet = all && model_below(m, 2);
    uint64_t ms = all ? m->config.tombstone_retention_ms + 1000 : 1000 * model_below(m, 400);
    TRACE(m, "    %llu s\n", (unsigned long long)ms / 1000);
    if (quiet)
        world_idle(m);
    m->fake.now_ns += ms * NS_PER_MS;
    if (quiet)
        check_expired(m);
}

/* Often with writes under way. */
static void crash(struct model *m)
{
    for (uint64_t n = model_below(m, 4); n > 0; n--)
        put(m, &m->blobs[model_below(m, BLOBS)]);
    world_steps(m, model_below(m, 8));
    if (!m->failed)
        world_crash(m, NULL);
}

/* Something else takes what is left of a disk's file system, or gives it back. */
static void fill(struct model *m)
{
    struct unit *u = unit_in(m, (unsigned)model_below(m, m->bays));
    if (u)
        disk_mem_set_bytes_total(u->disk, EXTENT_BYTES * model_below(m, 6));
}

static void room(struct model *m)
{
    for (unsigned i = 0; i < m->unit_count; i++)
        disk_mem_set_bytes_total(m->units[i].disk, m->units[i].bytes_total);
}

static void flip_one(struct model *m)
{
    struct blob *b = &m->blobs[model_below(m, BLOBS)];
    unsigned bay = (unsigned)model_below(m, m->bays);
    struct store *s = store_of(m, bay);
    uint32_t extent;
    uint64_t offset, bytes;
    char name[EXTENT_NAME_BYTES + 1];
    if (!s)
        return;
    if (model_below(m, 6) == 0) { /* one copy of a header: nobody may notice */
        extent_name(1 + (uint32_t)model_below(m, 6), name);
        disk_mem_flip(unit_in(m, bay)->disk, name, model_below(m, 64), (unsigned)model_below(m, 8));
        return;
    }
    if (store_locate(s, b->id, shard_of(b->id), &extent, &offset, &bytes) != OK)
        return;
    extent_name(extent, name);
    disk_mem_flip(unit_in(m, bay)->disk, name, offset + model_below(m, bytes),
                  (unsigned)model_below(m, 8));
    TRACE(m, "    blob %td\n", b - m->blobs);
    b->tainted = m->damaged = true;
    SEEN(m, FLIPS);
}

static void flip(struct model *m)
{
    for (uint64_t n = 1 + model_below(m, 4); n > 0; n--)
        flip_one(m);
    if (model_below(m, 2))
        check_scrub(m);
}

static void fail_once(struct model *m)
{
    static const enum disk_kind kinds[] = {DISK_WRITE, DISK_WRITE, DISK_OPEN, DISK_ALLOCATE,
                                           DISK_KIND_COUNT};
    uint64_t which = model_below(m, 7);
    struct unit *u = unit_in(m, (unsigned)model_below(m, m->bays));
    if (!u)
        return;
    SEEN(m, FAULTS);
    TRACE(m, "    fault %d at disk %td\n", (int)which, u - m->units);
    if (which == 5) {
        kv_mem_fail_nth(u->kv, 1 + model_below(m, 6), ERR_IO);
    } else if (which == 6) {
        m->read_faults = true;
        disk_mem_fail(u->disk, DISK_READ, 1 + (uint32_t)model_below(m, 6), ERR_IO, false);
    } else {
        enum disk_kind kind = kinds[which];
        m->read_faults |= kind == DISK_KIND_COUNT;
        disk_mem_fail(u->disk, kind, 1 + (uint32_t)model_below(m, 6),
                      kind == DISK_ALLOCATE && model_below(m, 2) ? ERR_NOSPACE : ERR_IO,
                      model_below(m, 2));
    }
}

/* The mark may be lost, and is on nobody else. */
static void confirm(struct model *m)
{
    struct id128 ids[8];
    for (unsigned i = 0; i < ARRAY_COUNT(ids); i++) {
        struct blob *b = &m->blobs[model_below(m, BLOBS)];
        ids[i] = b->id;
        b->confirmed = true;
        m->seen[SEEN_CONFIRMED] += b->is == PRESENT;
    }
    (void)disks_confirm(m->disks, ids, ARRAY_COUNT(ids));
}

/* Half of the time what was judged is not what lies there. */
static void distrust(struct model *m, struct blob *b)
{
    uint32_t crcs[SHARD_MAX / SHARD_BLOCK_BYTES + 2], blocks = shard_blocks(b->bytes);
    bool other = model_below(m, 2);
    blob_crcs(b, crcs);
    crcs[model_below(m, blocks)] ^= other;
    int err = disks_distrust(m->disks, b->id, shard_of(b->id), crcs, blocks);
    if (err == OK && other && !b->tainted && !b->marked)
        FAIL(m, "a shard was marked that is not the one that was judged");
    if (err)
        return;
    b->tainted = m->damaged = true;
    SEEN(m, DISTRUSTED);
}

/* Nothing is said to have been compared later than it was; after a crash it may be an earlier
 * note. */
static void deep_note(struct model *m, unsigned pg)
{
    uint64_t since_ms[DEEP_BUCKETS], now_ms = env_wall_ms(&m->fake.env) / 1000 * 1000;
    if (disks_deep_load(m->disks, FIRST_PG + pg, since_ms)) {
        if (m->deep_ms[pg] == 0 || since_ms[0] > m->deep_ms[pg] ||
            memcmp(&since_ms[0], &since_ms[1], (DEEP_BUCKETS - 1) * sizeof(since_ms[0])) != 0)
            FAIL(m, "a note of deep scrub that nobody has made");
        SEEN(m, NOTED);
    }
    for (unsigned i = 0; i < DEEP_BUCKETS; i++)
        since_ms[i] = now_ms;
    disks_deep_save(m->disks, FIRST_PG + pg, since_ms);
    m->deep_ms[pg] = now_ms;
}

/* The node is no member any more; then, of a later epoch, it is one again.  What it had is gone for
 * ever once the node is idle; a crash before that may take it back. */
static void leave(struct model *m, struct blob *b)
{
    unsigned pg = pg_slot(b->id);
    bool more = true, crashes = model_below(m, 4) == 0;
    close_epoch(m, b);
    world_idle(m);
    if (m->failed || disks_epoch_closed(m->disks, FIRST_PG + pg) < m->epoch[pg])
        return;
    int err = OK;
    while (!err && more)
        err = disks_group_leave(m->disks, FIRST_PG + pg, m->epoch[pg], 0, &more);
    if (err) {
        FAIL(m, "a group cannot be left: %s", err_name(err));
        return;
    }
    if (disks_has_group(m->disks, FIRST_PG + pg))
        FAIL(m, "a group was left, and some of it is there");
    m->ever_asked[pg] = ++m->epoch[pg]; /* what is older is refused */
    SEEN(m, LEFT);
    for (unsigned i = 0; i < BLOBS; i++) {
        struct blob *left = &m->blobs[i];
        if (pg_slot(left->id) != pg || left->is == DELETED)
            continue;
        left->is = UNKNOWN;
        left->stored_ms = 0;
    }
    if (crashes) {
        SEEN(m, LEFT_CRASHED);
        world_crash(m, NULL);
    }
    world_idle(m);
    for (unsigned i = 0; i < BLOBS && !m->failed; i++) {
        struct blob *left = &m->blobs[i];
        if (pg_slot(left->id) != pg || left->is == DELETED)
            continue;
        if (crashes && left->is == ABSENT) /* a second crash may bring it back yet */
            left->is = UNKNOWN;
        else if (!crashes)
            left->is = ABSENT;
    }
}

void model_operate(struct model *m, enum model_op_kind kind)
{
    struct blob *b = &m->blobs[model_below(m, BLOBS)];
    switch (kind) {
    case MODEL_PUT: put(m, b); break;
    case MODEL_PUT_OTHER: put_other(m, b); break;
    case MODEL_PUT_REPAIR: put_start(m, b, false, true); break;
    case MODEL_GET:
    case MODEL_GET_RANGE:
        TRACE(m, "    get blob %td\n", b - m->blobs);
        get_start(m, b, kind == MODEL_GET_RANGE);
        break;
    case MODEL_DELETE: delete_start(m, b); break;
    case MODEL_FLUSH: flush(m); break;
    case MODEL_RECLAIM: reclaim(m); break;
    case MODEL_STEPS: world_steps(m, model_below(m, 30)); break;
    case MODEL_SCRUB: scrub(m); break;
    case MODEL_SCRUB_ALL: check_scrub(m); break;
    case MODEL_CHECK_ALL: settle(m); break;
    case MODEL_CHECK_SHARDS: check_shards(m); break;
    case MODEL_INVENTORY: inventory(m); break;
    case MODEL_CLOSE_EPOCH: close_epoch(m, b); break;
    case MODEL_WAIT: wait_for_long(m); break;
    case MODEL_REBOOT: world_reboot(m); break;
    case MODEL_CRASH: crash(m); break;
    case MODEL_FILL: fill(m); break;
    case MODEL_ROOM: room(m); break;
    case MODEL_FLIP: flip(m); break;
    case MODEL_FAIL_ONCE: fail_once(m); break;
    case MODEL_EXTENT_LOST:
    case MODEL_INDEX_LOST:
    case MODEL_DISK_PULLED:
    case MODEL_DISK_RETURNED:
    case MODEL_DISK_GIVEN_UP:
    case MODEL_DISK_REPLACED: units_change(m, kind); break;
    case MODEL_CONFIRM: confirm(m); break;
    case MODEL_DISTRUST: distrust(m, b); break;
    case MODEL_DEEP_NOTE: deep_note(m, pg_slot(b->id)); break;
    case MODEL_LEAVE: leave(m, b); break;
    case MODEL_OP_KINDS: break;
    }
    world_steps(m, model_below(m, 6));
}
