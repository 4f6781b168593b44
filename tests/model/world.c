/* Lives of the node in a model: beginning, crash, close; the end of a case.
 *
 * The reference knows of each blob whether it must be there (an acknowledged put), must not be
 * (an acknowledged delete, or never put), or may be either (under way when the world ended; settled
 * by the first look after the next recovery).  A fault hits one disk: the others go on, and what
 * lies there can be read.  A flipped bit turns "must be there" into "its bytes or an error".  At
 * the end all is deleted, and the space must come back. */
#include "tests/model/model_impl.h"

#include "common/env/disk_mem.h"
#include "common/env/kv_mem.h"
#include "storagenode/op/store_impl.h"

static uint64_t kv_random(void *arg)
{
    return model_random(arg);
}

/* ---- time ---- */

void world_steps(struct model *m, uint64_t n)
{
    while (n-- > 0 && !m->failed && fake_env_step(&m->fake))
        check_epochs(m);
}

void world_until(struct model *m, const bool *flag)
{
    for (unsigned n = 0; !*flag && !m->failed; n++) {
        if (n > STEPS_MAX)
            FAIL(m, "no end in sight: under way %u", m->under_way);
        fake_env_step(&m->fake);
    }
}

static bool idle(struct model *m)
{
    for (unsigned i = 0; i < m->bays; i++)
        if (store_of(m, i) && !store_is_idle(store_of(m, i)))
            return false;
    return true;
}

void world_idle(struct model *m)
{
    for (unsigned n = 0; !m->failed && (m->under_way > 0 || !idle(m)); n++) {
        if (n > STEPS_MAX)
            FAIL(m, "never idle: under way %u", m->under_way);
        fake_env_step(&m->fake);
        check_epochs(m);
    }
}

int world_failure(struct model *m)
{
    struct store_stats st;
    for (unsigned i = 0; i < m->bays; i++) {
        if (!store_of(m, i))
            continue;
        store_stats_get(store_of(m, i), &st);
        if (st.failure)
            return st.failure;
    }
    return OK;
}

/* ---- the end of a life ---- */

static void stats_take(struct model *m)
{
    struct store_stats st;
    check_stats(m);
    for (unsigned i = 0; i < m->bays; i++) {
        if (!store_of(m, i))
            continue;
        store_stats_get(store_of(m, i), &st);
        m->seen[SEEN_RECLAIMED] += st.extents_reclaimed;
        m->seen[SEEN_COPIED] += st.reclaimed_bytes_copied > 0;
        m->seen[SEEN_RECOVERED] += st.recovered_frames;
        m->seen[SEEN_TORN] += st.torn_frames;
        m->seen[SEEN_CORRUPTIONS] += st.corruptions;
        m->seen[SEEN_SCRUB_PASSES] += st.scrub_passes;
        m->seen[SEEN_SCRUB_FOUND] += st.scrub_found;
        m->seen[SEEN_FAILED] += st.state == STORE_FAILED;
    }
    m->reread = model_reread(m);
    for (unsigned i = 0; i < m->bays; i++) /* a copy may be there that nobody has counted */
        m->reread += store_of(m, i) && !reclaim_idle(store_of(m, i));
}

/* Behind the last frame of the active extent lies a whole one of an earlier life. */
static void old_frames_count(struct model *m)
{
    for (unsigned i = 0; i < m->bays; i++) {
        struct store *s = store_of(m, i);
        const struct extent *x = s ? s->alloc.active : NULL;
        uint8_t block[FRAME_HEAD_BYTES];
        char name[EXTENT_NAME_BYTES + 1];
        struct frame_head h;
        if (!x)
            continue;
        extent_name(x->header.id, name);
        if (disk_mem_peek(unit_in(m, i)->disk, name, x->end, block, sizeof(block)) &&
            frame_head_decode(SLICE(block, sizeof(block)), &h) == OK &&
            h.generation < x->header.generation)
            SEEN(m, OLD_FRAMES);
    }
}

/* Everything of this life is gone; what was under way may or may not have happened. */
static void life_end(struct model *m, bool lose)
{
    stats_take(m);
    units_look(m);
    for (unsigned i = 0; i < m->unit_count; i++) {
        struct unit *u = &m->units[i];
        disk_mem_crash(u->disk, lose);
        disk_mem_fail_clear(u->disk);
        kv_mem_crash(u->kv, lose && model_below(m, 2) ? NULL : kv_random, m);
    }
    disks_free(m->disks);
    m->disks = NULL;
    calls_forget(m);
}

/* ---- the beginning of a life ---- */

static void on_open(void *arg, int err)
{
    struct model *m = arg;
    m->opened = true;
    m->open_err = err;
}

static void on_close(void *arg, int err)
{
    struct model *m = arg;
    (void)err;
    m->closed = true;
}

static void life_begin(struct model *m)
{
    struct disks_member members[BAYS_MAX];
    struct id128 lost[UNITS_MAX];
    size_t count = 0;
    m->opened = false;
    for (unsigned i = 0; i < m->bays; i++) {
        struct unit *u = unit_in(m, i);
        if (!u && (!units_out(m) || model_below(m, 2)))
            continue; /* its directory is not named any more */
        m->member[i] = count;
        members[count++] = u ? (struct disks_member){u->disk, u->kv, "", OK}
                             : (struct disks_member){NULL, NULL, "", ERR_NOT_FOUND};
    }
    struct disks_config config = {.store = m->config,
                                  .members = members,
                                  .count = count,
                                  .lost = lost,
                                  .lost_count = units_lost(m, lost)};
    memset(m->asked, 0, sizeof(m->asked));
    int err = disks_new(&m->fake.env, &config, &m->disks);
    CHECK(err == OK);
    disks_open_start(m->disks, on_open, m);
}

static void life_open(struct model *m)
{
    world_until(m, &m->opened);
    if (m->failed)
        return;
    int err = m->open_err ? m->open_err : world_failure(m);
    if (err) {
        FAIL(m, "does not open: %s", err_name(err));
        return;
    }
    units_opened(m);
    check_epochs(m);
    unknown_settle(m);
}

/* What a failing read has marked is damaged from now on, and nothing else is excused any more. */
static void faults_forget(struct model *m)
{
    for (unsigned i = 0; i < m->bays * BLOBS && m->read_faults; i++) {
        struct store *s = store_of(m, i / BLOBS);
        struct blob *b = &m->blobs[i % BLOBS];
        struct store_look look;
        if (s && store_look(s, b->id, shard_of(b->id), &look) == OK && look.damaged)
            b->tainted = true;
    }
    m->read_faults = false;
}

static void world_begin(struct model *m)
{
    life_begin(m);
    while (model_below(m, 4) == 0) {
        for (uint64_t n = model_below(m, 60); n > 0; n--)
            fake_env_step(&m->fake);
        SEEN(m, CRASHES_OPENING);
        life_end(m, model_below(m, 2));
        life_begin(m);
    }
    life_open(m);
    if (m->failed)
        return;
    faults_forget(m);
    for (unsigned i = 0; i < BLOBS && !m->failed; i++)
        get_start(m, &m->blobs[i], false);
    world_idle(m);
    check_all(m);
    check_stats(m);
}

void world_crash(struct model *m, void (*change)(struct model *m))
{
    SEEN(m, CRASHES);
    old_frames_count(m);
    life_end(m, model_below(m, 3) > 0);
    if (change)
        change(m);
    world_begin(m);
}

/* After a clean close nothing needs to be recovered. */
void world_reboot(struct model *m)
{
    struct store_stats st;
    bool recovered = false, clean = world_failure(m) == OK;
    m->closed = false;
    disks_close_start(m->disks, on_close, m);
    world_until(m, &m->closed);
    if (m->failed)
        return;
    if (m->under_way > 0)
        FAIL(m, "closed with calls under way");
    clean &= world_failure(m) == OK;
    SEEN(m, CLOSES);
    life_end(m, true);
    life_begin(m);
    life_open(m);
    if (m->failed)
        return;
    faults_forget(m);
    for (unsigned i = 0; i < m->bays; i++) {
        if (!store_of(m, i))
            continue;
        store_stats_get(store_of(m, i), &st);
        recovered |= st.recovered_frames > 0;
    }
    if (clean && recovered)
        FAIL(m, "frames to recover after a clean close");
}

/* ---- a whole case ---- */

/* All is deleted: what the stores had taken is free again, and a put is taken. */
static void space_returns(struct model *m)
{
    struct store_stats st;
    for (unsigned i = 0; i < m->unit_count; i++) {
        struct unit *u = &m->units[i];
        disk_mem_fail_clear(u->disk);
        kv_mem_fail_nth(u->kv, 0, ERR_IO);
        disk_mem_set_bytes_total(u->disk, u->bytes_total);
    }
    units_change(m, MODEL_DISK_GIVEN_UP); /* those that are away */
    if (m->failed)
        return;
    if (world_failure(m) != OK)
        world_crash(m, NULL);
    m->fake.now_ns +=
        10 * NS_PER_SEC; /* long enough to look again at a file system that was full */
    world_steps(m, 100);
    for (unsigned i = 0; i < BLOBS && !m->failed; i++) {
        delete_start(m, &m->blobs[i]);
        if (i % 4 == 0)
            world_idle(m);
    }
    world_idle(m);
    for (unsigned i = 0; i < 4 * m->bays && !m->failed; i++) {
        if (store_of(m, i % m->bays))
            store_reclaim_now(store_of(m, i % m->bays));
        world_idle(m);
    }
    if (m->failed)
        return;
    check_retired(m);
    check_all(m);
    for (unsigned i = 0; i < BLOBS && !m->failed; i++)
        if (m->blobs[i].is != DELETED)
            FAIL(m, "a delete was refused with space for marks");
    for (unsigned i = 0; i < m->bays && !m->failed && !m->damaged && !m->strays; i++) {
        if (!store_of(m, i))
            continue;
        store_stats_get(store_of(m, i), &st);
        if (st.live_bytes > 0 || st.extents_free + 2 < st.bytes_total / EXTENT_BYTES)
            FAIL(m, "space did not come back: live %llu, free %llu of %llu extents",
                 (unsigned long long)st.live_bytes, (unsigned long long)st.extents_free,
                 (unsigned long long)st.extents);
    }
    struct blob fresh = {0};
    blob_new(m, &fresh);
    m->epoch[pg_slot(fresh.id)]++; /* so that no closed one is met */
    put_start(m, &fresh, false, false);
    world_idle(m);
    if (!m->failed && fresh.is != PRESENT)
        FAIL(m, "no room for a put after everything was deleted");
    calls_forget(m); /* of one that hangs, and names a blob that ends here */
    blob_free(&fresh);
}

struct model_world model_world_of(uint64_t seed)
{
    unsigned world = (unsigned)(seed % 8), bays = 1 + (unsigned)(seed / 8 % BAYS_MAX);
    return (struct model_world){.faults = world == 4,
                                .flips = world == 5,
                                .small = world == 6 || world == 4,
                                .losses = world == 2,
                                .swaps = bays > 1 && (world == 1 || world == 3 || world == 6),
                                .torn_anywhere = world == 7,
                                .bays = bays};
}

static void config_init(struct model *m)
{
    m->world = model_world_of(m->seed);
    m->bays = m->world.bays;
    unsigned extents = m->world.small ? 5 + (unsigned)model_below(m, 3) : 14;
    m->config = (struct store_config){.extent_bytes = EXTENT_BYTES,
                                      .capacity_bytes = extents * EXTENT_BYTES,
                                      .extents_reserve = 2,
                                      .extents_ready = 1 + (uint32_t)model_below(m, 2),
                                      .queue_bytes_max = 600000,
                                      .batch_bytes_max = 20000 + model_below(m, 200000),
                                      .batch_frames_max = 1 + (uint32_t)model_below(m, 8),
                                      .flush_bytes = 100000 + model_below(m, 2000000),
                                      .flush_interval_ms = 1 + model_below(m, 100000),
                                      .put_age_ms_max = 10 * 60 * 1000,
                                      .tombstone_retention_ms = 30 * 60 * 1000};
    static const uint64_t delays_ns[] = {0, 2 * NS_PER_MS, 2 * NS_PER_MS, 30 * NS_PER_MS};
    static const uint32_t misses[] = {2, 16, 64}; /* the head of a torn frame is whole, or not */
    *m->disk_config =
        (struct disk_mem_config){.seed = m->seed,
                                 .bytes_total = (extents + model_below(m, 2)) * EXTENT_BYTES,
                                 .delay_ns_max = delays_ns[model_below(m, ARRAY_COUNT(delays_ns))],
                                 .cut_off_misses = misses[model_below(m, ARRAY_COUNT(misses))],
                                 .sector_bytes = m->world.torn_anywhere ? 1 : 512};
    m->kv_flush_ns = model_below(m, 20) * NS_PER_MS;
}

static void model_init(struct model *m, uint64_t seed)
{
    m->rng = seed * 2654435761u + 1;
    m->seed = seed;
    fake_env_init(&m->fake);
    m->fake.random ^= seed << 20 | 1;
    m->fake.now_ns = 1000000 * NS_PER_SEC;
    list_init(&m->calls);
    config_init(m);
    for (unsigned i = 0; i < m->bays; i++)
        unit_add(m, i);
    for (unsigned i = 0; i < PGS; i++)
        m->epoch[i] = 1;
    for (unsigned i = 0; i < BLOBS; i++)
        blob_new(m, &m->blobs[i]);
}

bool model_run(const struct model_case *c, FILE *trace, char *ret_why, size_t why_len,
               uint64_t seen[MODEL_EVENTS])
{
    struct disk_mem_config disk;
    struct model m = {.why = ret_why, .why_len = why_len, .seen = seen, .trace = trace};
    m.disk_config = &disk;
    model_init(&m, c->seed);
    world_begin(&m);
    for (unsigned i = 0; i < c->count && !m.failed; i++) {
        m.rng = c->ops[i].seed;
        TRACE(&m, "%4u  %s\n", i, model_op_name(c->ops[i].kind));
        model_operate(&m, c->ops[i].kind);
        int failure = world_failure(&m);
        if (failure && !m.world.faults)
            FAIL(&m, "failed without a fault: %s", err_name(failure));
        else if (failure && model_below(&m, 8) == 0)
            world_crash(&m, NULL);
    }
    m.rng = c->seed;
    if (!m.failed) {
        TRACE(&m, "      the end: all is deleted\n");
        space_returns(&m);
    }
    if (m.disks)
        life_end(&m, true);
    units_free(&m);
    for (unsigned i = 0; i < BLOBS; i++)
        blob_free(&m.blobs[i]);
    return !m.failed;
}
