/* The Raft log store over the in-memory kv: what comes back after a crash is a state that was
 * written, never older than what was said to be durable; damage is found and never repaired by
 * forgetting. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#include "common/base/err.h"
#include "common/env/kv_mem.h"
#include "metanode/io/raft_log_internal.h"
#include "tests/unit/common/env/fake_env.h"

#define GROUPS 3
#define ENTRIES_MAX 600
#define STATES_MAX 400

/* ---- the model: every state that a group's log went through since the last durable one ---- */

struct model_entry {
    uint64_t term;
    uint32_t seed, len;
};

struct model {
    uint64_t term, vote, compact_index, compact_term, last;
    uint32_t header_seed;
    struct model_entry at[ENTRIES_MAX];
};

struct pending {
    struct raft_log_write w;
    struct world *world;
    int group;
    uint32_t state; /* which state it leads to */
    bool busy;
};

struct world {
    struct fake_env env;
    struct kv *kv;
    struct raft_logstore *store;
    struct raft_log *logs[GROUPS];
    struct model *states[GROUPS]; /* [0]: the last one known to be durable */
    uint32_t state_count[GROUPS];
    uint64_t seq[GROUPS];
    struct pending pending[GROUPS][STATES_MAX];
    int failed_err;
    uint32_t failed_count, told_errors, told_ok;
};

static void on_failed(void *ctx, int err)
{
    struct world *w = ctx;
    w->failed_err = err;
    w->failed_count++;
}

static uint64_t world_random(void *arg)
{
    return fake_rand(&((struct world *)arg)->env);
}

static uint64_t pick(struct world *w, uint64_t n)
{
    return world_random(w) % n;
}

static struct model *now_of(struct world *w, int g)
{
    return &w->states[g][w->state_count[g] - 1];
}

static struct model *next_state(struct world *w, int g)
{
    assert_true(w->state_count[g] < STATES_MAX);
    w->states[g][w->state_count[g]] = *now_of(w, g);
    w->state_count[g]++;
    return now_of(w, g);
}

static struct raft_log_entry entry_make(uint64_t index, uint64_t term, uint32_t seed, uint32_t len)
{
    struct rcbuf *data = rcbuf_new(len);
    assert_non_null(data);
    data->len = len;
    for (uint32_t i = 0; i < len; i++)
        data->data[i] = (uint8_t)(seed + i * 7);
    struct raft_log_entry e = {.index = index,
                               .term = term,
                               .kind = RAFT_ENTRY_NORMAL,
                               .data = {.owner = data, .bytes = SLICE(data->data, len)}};
    raft_log_entry_seal(&e);
    return e;
}

static void entry_agrees(const struct raft_log_entry *e, uint64_t index,
                         const struct model_entry *m)
{
    assert_int_equal(e->index, index);
    assert_int_equal(e->term, m->term);
    assert_int_equal(e->data.bytes.len, m->len);
    for (uint32_t i = 0; i < m->len; i++)
        assert_int_equal(e->data.bytes.ptr[i], (uint8_t)(m->seed + i * 7));
}

static struct slice header_make(uint32_t seed, uint8_t ret[8])
{
    for (uint32_t i = 0; i < 8; i++)
        ret[i] = (uint8_t)(seed >> i);
    return SLICE(ret, seed ? 8 : 0);
}

/* ---- life ---- */

struct found {
    uint64_t first, count;
    struct model_entry at[ENTRIES_MAX];
};

static int on_entry(void *ctx, const struct raft_log_entry *e)
{
    struct found *f = ctx;
    if (f->count == 0)
        f->first = e->index;
    assert_int_equal(e->index, f->first + f->count);
    assert_true(f->count < ENTRIES_MAX);
    f->at[f->count++] = (struct model_entry){.term = e->term,
                                             .seed = e->data.bytes.len ? e->data.bytes.ptr[0] : 0,
                                             .len = (uint32_t)e->data.bytes.len};
    return OK;
}

static void world_open_store(struct world *w)
{
    struct raft_logstore_options o = {.cache_bytes_max = 4000, .failed = on_failed, .ctx = w};
    assert_int_equal(raft_logstore_new(w->kv, &w->env.env, &o, &w->store), OK);
}

static struct world *world_new(uint64_t seed)
{
    struct world *w = calloc(1, sizeof(*w));
    fake_env_init(&w->env);
    w->env.random ^= seed * 0x9e3779b97f4a7c15ull;
    struct kv_mem_config c = {.mode = KV_LOG, .write_delay_ns = 100};
    w->kv = kv_mem_new(&w->env.env, &c);
    world_open_store(w);
    for (int g = 0; g < GROUPS; g++) {
        w->states[g] = calloc(STATES_MAX, sizeof(struct model));
        w->state_count[g] = 1;
        assert_int_equal(raft_log_open(w->store, (uint32_t)g, NULL, NULL, &w->logs[g]), OK);
    }
    return w;
}

static void world_close(struct world *w)
{
    for (int g = 0; g < GROUPS; g++) {
        raft_log_close(w->logs[g]);
        w->logs[g] = NULL;
    }
    raft_logstore_free(w->store);
}

static void world_free(struct world *w)
{
    world_close(w);
    kv_mem_free(w->kv);
    for (int g = 0; g < GROUPS; g++)
        free(w->states[g]);
    free(w);
}

/* ---- writes ---- */

static void states_drop(struct world *w, int g, uint32_t count)
{
    memmove(w->states[g], w->states[g] + count, (w->state_count[g] - count) * sizeof(struct model));
    w->state_count[g] -= count;
    for (uint32_t i = 0; i < STATES_MAX; i++)
        w->pending[g][i].state -= MIN(count, w->pending[g][i].state);
}

static void on_written(struct raft_log_write *lw)
{
    struct pending *p = container_of(lw, struct pending, w);
    p->busy = false;
    p->world->told_ok += lw->err == OK;
    p->world->told_errors += lw->err != OK;
    if (lw->err == OK)
        states_drop(p->world, p->group, p->state);
}

static int submit(struct world *w, int g, struct raft_write *rw, const struct raft_log_entry *e,
                  struct slice header)
{
    struct pending *p = w->pending[g];
    while (p->busy)
        p++;
    const struct model *m = now_of(w, g);
    rw->present = true;
    rw->seq = ++w->seq[g];
    rw->last_index = m->last;
    rw->last_term = m->last > m->compact_index ? m->at[m->last].term : m->compact_term;
    *p = (struct pending){.w = {.cb = on_written},
                          .world = w,
                          .group = g,
                          .busy = true,
                          .state = w->state_count[g] - 1};
    int err = raft_log_write_start(w->logs[g], rw, e, header, &p->w);
    if (err)
        p->busy = false;
    return err;
}

/* A write as the core makes them: perhaps a term, perhaps a truncation, some entries. */
static int random_write(struct world *w, int g)
{
    struct model *m = next_state(w, g);
    struct raft_write rw = {0};
    struct raft_log_entry entries[8];
    if (m->term == 0 || pick(w, 5) == 0) {
        rw.has_hard_state = true;
        rw.term = ++m->term;
        rw.vote = m->vote = pick(w, 4);
    }
    if (m->last > m->compact_index && pick(w, 6) == 0) {
        rw.truncate_from = m->compact_index + 1 + pick(w, m->last - m->compact_index);
        m->last = rw.truncate_from - 1;
        if (!rw.has_hard_state) {
            rw.has_hard_state = true;
            rw.term = ++m->term;
            rw.vote = m->vote = 0;
        }
    }
    rw.first_index = m->last + 1;
    rw.entry_count = (uint32_t)pick(w, 8);
    if (m->last + 8 >= ENTRIES_MAX)
        rw.entry_count = 0;
    for (uint32_t i = 0; i < rw.entry_count; i++) {
        uint32_t seed = (uint32_t)pick(w, 256), len = (uint32_t)pick(w, 200);
        entries[i] = entry_make(rw.first_index + i, m->term, seed, len);
        m->at[++m->last] =
            (struct model_entry){.term = m->term, .seed = len ? seed : 0, .len = len};
    }
    int err = submit(w, g, &rw, entries, SLICE_EMPTY);
    for (uint32_t i = 0; i < rw.entry_count; i++)
        raft_log_entry_fini(&entries[i]);
    return err;
}

static void random_reset(struct world *w, int g)
{
    struct model *m = next_state(w, g);
    uint8_t bytes[8];
    struct raft_write rw = {0};
    if (m->term == 0 || m->last + 20 >= ENTRIES_MAX) {
        w->state_count[g]--;
        return;
    }
    rw.reset_index = m->last + pick(w, 10) + 1;
    rw.reset_term = m->term;
    m->last = m->compact_index = rw.reset_index;
    m->compact_term = rw.reset_term;
    m->header_seed = 1 + (uint32_t)pick(w, 1000);
    assert_int_equal(submit(w, g, &rw, NULL, header_make(m->header_seed, bytes)), OK);
}

static void random_compact(struct world *w, int g)
{
    struct model *m = now_of(w, g);
    uint64_t written = w->logs[g]->written_index;
    if (written <= m->compact_index)
        return;
    uint64_t index = m->compact_index + 1 + pick(w, written - m->compact_index);
    uint64_t term = m->at[index].term;
    uint32_t seed = 1 + (uint32_t)pick(w, 1000);
    uint8_t bytes[8];
    assert_int_equal(raft_log_compact(w->logs[g], index, term, header_make(seed, bytes)), OK);
    m = next_state(w, g);
    m->compact_index = index;
    m->compact_term = term;
    m->header_seed = seed;
}

/* ---- checks ---- */

static void reads_agree(struct world *w, int g)
{
    const struct model *m = now_of(w, g);
    struct raft_log_entry got[16];
    uint32_t count = 0;
    uint8_t header[8];
    assert_true(slice_eq(raft_log_header(w->logs[g]), header_make(m->header_seed, header)));
    assert_int_equal(raft_log_read(w->logs[g], m->last + 1, 4, 100, got, &count), ERR_NOT_FOUND);
    assert_int_equal(raft_log_read(w->logs[g], m->compact_index, 4, 100, got, &count),
                     ERR_NOT_FOUND);
    if (m->last == m->compact_index)
        return;
    uint64_t first = m->compact_index + 1 + pick(w, m->last - m->compact_index);
    uint32_t want = 1 + (uint32_t)pick(w, 16);
    size_t bytes_max = pick(w, 1500), bytes = 0;
    assert_int_equal(raft_log_read(w->logs[g], first, want, bytes_max, got, &count), OK);
    assert_true(count >= 1 && count <= want);
    for (uint32_t i = 0; i < count; i++) {
        entry_agrees(&got[i], first + i, &m->at[first + i]);
        bytes += got[i].data.bytes.len;
        raft_log_entry_fini(&got[i]);
    }
    assert_true(count == 1 || bytes <= bytes_max);
    bool ended = count == want || first + count > m->last;
    /* Fewer than asked for: the bytes were used up, or the stored part ended where the cache
     * begins. */
    assert_true(ended || bytes + m->at[first + count].len > bytes_max ||
                first + count == w->logs[g]->cache_first);
}

static bool same_log(const struct model *m, const struct raft_log_state *s, struct slice header,
                     const struct found *f)
{
    uint8_t bytes[8];
    if (m->term != s->term || m->vote != s->vote || m->compact_index != s->compact_index ||
        m->compact_term != s->compact_term || m->last != s->last_index ||
        !slice_eq(header, header_make(m->header_seed, bytes)) ||
        f->count != m->last - m->compact_index)
        return false;
    for (uint64_t i = 0; i < f->count; i++) {
        const struct model_entry *a = &f->at[i], *b = &m->at[m->compact_index + 1 + i];
        if (a->term != b->term || a->len != b->len || a->seed != b->seed)
            return false;
    }
    return true;
}

/* What is found is one of the states since the durable one. */
static void reopen(struct world *w)
{
    world_open_store(w);
    for (int g = 0; g < GROUPS; g++) {
        static struct found f;
        f.count = 0;
        assert_int_equal(raft_log_open(w->store, (uint32_t)g, on_entry, &f, &w->logs[g]), OK);
        struct raft_log_state s;
        raft_log_state(w->logs[g], &s);
        uint32_t found = w->state_count[g];
        for (uint32_t i = 0; i < w->state_count[g]; i++) {
            if (same_log(&w->states[g][i], &s, raft_log_header(w->logs[g]), &f))
                found = i;
        }
        assert_true(found < w->state_count[g]);
        w->states[g][0] = w->states[g][found];
        w->state_count[g] = 1;
        for (uint32_t i = 0; i < STATES_MAX; i++)
            w->pending[g][i].busy = false;
        w->seq[g] = 0;
    }
}

static void crash(struct world *w)
{
    kv_mem_crash(w->kv, pick(w, 3) ? world_random : NULL, w);
    world_close(w);
    reopen(w);
}

static void settle(struct world *w)
{
    fake_env_run(&w->env);
    assert_true(raft_logstore_idle(w->store));
}

static void test_model_with_crashes(void **state)
{
    (void)state;
    uint32_t told = 0, cached = 0, stored = 0;
    for (uint64_t seed = 1; seed <= 25; seed++) {
        struct world *w = world_new(seed);
        for (int step = 0; step < 250; step++) {
            int g = (int)pick(w, GROUPS);
            uint64_t what = pick(w, 100);
            if (w->state_count[g] > STATES_MAX - 4)
                what = 99;
            if (what < 45)
                assert_int_equal(random_write(w, g), OK);
            else if (what < 48)
                random_reset(w, g);
            else if (what < 55)
                random_compact(w, g);
            else if (what < 75)
                reads_agree(w, g);
            else if (what < 90)
                fake_env_step(&w->env);
            else if (what < 92)
                raft_logstore_submit(w->store);
            else if (what < 95)
                crash(w);
            else
                settle(w);
            for (int k = 0; k < GROUPS; k++)
                assert_true(w->logs[k]->last_index == now_of(w, k)->last);
        }
        settle(w);
        struct raft_logstore_stats s;
        raft_logstore_stats(w->store, &s);
        assert_true(s.cache_bytes <= 4000);
        cached += (uint32_t)s.reads_cached;
        stored += (uint32_t)s.reads_stored;
        told += w->told_ok;
        assert_int_equal(w->told_errors, 0);
        world_free(w);
    }
    assert_true(told > 1000 && cached > 100 && stored > 100);
}

/* Writes of all groups of one turn, and what comes while they are synced, are two batches. */
static void test_one_batch_a_turn(void **state)
{
    (void)state;
    struct world *w = world_new(1);
    for (int g = 0; g < GROUPS; g++)
        for (int i = 0; i < 10; i++)
            assert_int_equal(random_write(w, g), OK);
    fake_env_step(&w->env); /* the turn ends: submitted */
    for (int g = 0; g < GROUPS; g++)
        assert_int_equal(random_write(w, g), OK);
    settle(w);
    struct raft_logstore_stats s;
    raft_logstore_stats(w->store, &s);
    assert_int_equal(s.batches, 2);
    assert_int_equal(w->told_ok, 11 * GROUPS);
    world_free(w);
}

/* The n-th batch fails: it and all after it are told, the node is told once, nothing is accepted
 * any more, and after the restart there is a state that was written. */
static void test_failed_write(void **state)
{
    (void)state;
    for (uint64_t nth = 1; nth <= 4; nth++) {
        struct world *w = world_new(nth);
        kv_mem_fail_nth(w->kv, nth, ERR_NOSPACE);
        for (int i = 0; i < 12; i++) {
            int g = i % GROUPS, err = random_write(w, g);
            if (err) {
                assert_int_equal(err, ERR_IO);
                w->state_count[g]--;
            }
            fake_env_step(&w->env);
        }
        fake_env_run(&w->env);
        assert_int_equal(w->failed_count, 1);
        assert_int_equal(w->failed_err, ERR_NOSPACE);
        assert_true(w->told_errors > 0);
        for (int g = 0; g < GROUPS; g++) {
            for (uint32_t i = 0; i < STATES_MAX; i++)
                assert_false(w->pending[g][i].busy);
        }
        assert_int_equal(raft_log_compact(w->logs[0], 1, 1, SLICE_EMPTY), ERR_IO);
        crash(w);
        world_free(w);
    }
}

/* ---- damage ---- */

static void on_raw_written(struct kv_write_req *req)
{
    assert_int_equal(req->err, OK);
}

static void raw_put(struct world *w, struct raft_log_key key, struct slice value, bool delete)
{
    struct kv_batch *b = kv_batch_new();
    if (delete)
        kv_batch_delete(b, KV_INDEX, raft_log_key_view(&key));
    else
        kv_batch_put(b, KV_INDEX, raft_log_key_view(&key), value);
    struct kv_write_req req = {.cb = on_raw_written, .batch = b};
    assert_int_equal(w->kv->ops->write_start(w->kv, &req), OK);
    fake_env_run(&w->env);
}

static struct world *world_with_log(void)
{
    struct world *w = world_new(1);
    struct model *m = next_state(w, 0);
    struct raft_write rw = {
        .has_hard_state = true, .term = 3, .vote = 2, .first_index = 1, .entry_count = 5};
    struct raft_log_entry e[5];
    m->term = 3;
    m->vote = 2;
    for (uint32_t i = 0; i < 5; i++) {
        e[i] = entry_make(i + 1, 3, i, 20);
        m->at[i + 1] = (struct model_entry){.term = 3, .seed = i, .len = 20};
    }
    m->last = 5;
    assert_int_equal(submit(w, 0, &rw, e, SLICE_EMPTY), OK);
    for (uint32_t i = 0; i < 5; i++)
        raft_log_entry_fini(&e[i]);
    settle(w);
    m = next_state(w, 0);
    m->compact_index = 1;
    m->compact_term = 3;
    m->header_seed = 9;
    uint8_t bytes[8];
    assert_int_equal(raft_log_compact(w->logs[0], 1, 3, header_make(9, bytes)), OK);
    settle(w);
    raft_log_close(w->logs[0]);
    w->logs[0] = NULL;
    return w;
}

static int reopened(struct world *w)
{
    int err = raft_log_open(w->store, 0, NULL, NULL, &w->logs[0]);
    if (err)
        w->logs[0] = NULL;
    return err;
}

/* Every bit of every record: a flip is found. */
static void test_bit_flips(void **state)
{
    (void)state;
    struct world *w = world_with_log();
    struct raft_log_key keys[] = {
        raft_log_key(0, RAFT_LOG_HARD_STATE, 0), raft_log_key(0, RAFT_LOG_COMPACTION, 0),
        raft_log_key(0, RAFT_LOG_ENTRY, 2), raft_log_key(0, RAFT_LOG_ENTRY, 5)};
    for (size_t k = 0; k < ARRAY_COUNT(keys); k++) {
        struct buf value = {0};
        assert_int_equal(
            w->kv->ops->get(w->kv, NULL, KV_INDEX, raft_log_key_view(&keys[k]), &value), OK);
        for (size_t bit = 0; bit < value.len * 8; bit++) {
            value.ptr[bit / 8] ^= (uint8_t)(1u << bit % 8);
            raw_put(w, keys[k], buf_view(&value), false);
            int err = reopened(w);
            assert_true(err == ERR_CORRUPT);
            value.ptr[bit / 8] ^= (uint8_t)(1u << bit % 8);
        }
        for (size_t len = 0; len < value.len; len++) {
            raw_put(w, keys[k], SLICE(value.ptr, len), false);
            assert_int_equal(reopened(w), ERR_CORRUPT);
        }
        raw_put(w, keys[k], buf_view(&value), false);
        buf_fini(&value);
    }
    assert_int_equal(reopened(w), OK);
    world_free(w);
}

/* A hole with good entries behind it, an entry under another's key, one below the compaction point,
 * a term above the hard state's, a missing hard state: damage each. */
static void test_holes(void **state)
{
    (void)state;
    struct world *w = world_with_log();
    struct buf third = {0}, hard = {0};
    struct raft_log_key key = raft_log_key(0, RAFT_LOG_ENTRY, 3);
    struct raft_log_key hard_key = raft_log_key(0, RAFT_LOG_HARD_STATE, 0);
    assert_int_equal(w->kv->ops->get(w->kv, NULL, KV_INDEX, raft_log_key_view(&key), &third), OK);
    assert_int_equal(w->kv->ops->get(w->kv, NULL, KV_INDEX, raft_log_key_view(&hard_key), &hard),
                     OK);
    raw_put(w, key, SLICE_EMPTY, true);
    assert_int_equal(reopened(w), ERR_CORRUPT);
    raw_put(w, key, buf_view(&third), false);

    raw_put(w, raft_log_key(0, RAFT_LOG_ENTRY, 6), buf_view(&third), false);
    assert_int_equal(reopened(w), ERR_CORRUPT);
    raw_put(w, raft_log_key(0, RAFT_LOG_ENTRY, 6), SLICE_EMPTY, true);

    raw_put(w, raft_log_key(0, RAFT_LOG_ENTRY, 1), buf_view(&third), false);
    assert_int_equal(reopened(w), ERR_CORRUPT);
    raw_put(w, raft_log_key(0, RAFT_LOG_ENTRY, 1), SLICE_EMPTY, true);

    uint8_t low[RAFT_LOG_HARD_STATE_BYTES];
    raft_log_hard_state_encode(0, 2, 0, low);
    raw_put(w, hard_key, SLICE(low, sizeof(low)), false);
    assert_int_equal(reopened(w), ERR_CORRUPT);
    raw_put(w, hard_key, SLICE_EMPTY, true);
    assert_int_equal(reopened(w), ERR_CORRUPT);
    raft_log_hard_state_encode(1, 3, 2, low); /* another group's */
    raw_put(w, hard_key, SLICE(low, sizeof(low)), false);
    assert_int_equal(reopened(w), ERR_CORRUPT);
    raw_put(w, hard_key, buf_view(&hard), false);
    assert_int_equal(reopened(w), OK);
    buf_fini(&third);
    buf_fini(&hard);
    world_free(w);
}

/* Damage that comes after the log was opened is found by the read. */
static void test_read_checks(void **state)
{
    (void)state;
    struct world *w = world_with_log();
    assert_int_equal(reopened(w), OK);
    struct raft_log_entry got[8];
    uint32_t count = 0;
    assert_int_equal(raft_log_read(w->logs[0], 2, 8, 1000, got, &count), OK);
    assert_int_equal(count, 4);
    for (uint32_t i = 0; i < count; i++)
        raft_log_entry_fini(&got[i]);
    raw_put(w, raft_log_key(0, RAFT_LOG_ENTRY, 4), SLICE_EMPTY, true);
    assert_int_equal(raft_log_read(w->logs[0], 2, 8, 1000, got, &count), ERR_CORRUPT);
    assert_int_equal(raft_log_read(w->logs[0], 4, 8, 1000, got, &count), ERR_CORRUPT);
    world_free(w);
}

/* ---- the wire ---- */

static void test_parse_hostile(void **state)
{
    (void)state;
    struct raft_log_entry e = entry_make(7, 3, 5, 30), got;
    uint8_t wire[RAFT_ENTRY_HEADER_BYTES + 30];
    raft_log_entry_header(&e, wire);
    memcpy(wire + RAFT_ENTRY_HEADER_BYTES, e.data.bytes.ptr, 30);
    struct slice s = SLICE(wire, sizeof(wire));
    assert_int_equal(raft_log_entry_parse(&s, NULL, &got), OK);
    assert_int_equal(s.len, 0);
    entry_agrees(&got, 7, &(struct model_entry){.term = 3, .seed = 5, .len = 30});
    for (size_t len = 0; len < sizeof(wire); len++) {
        s = SLICE(wire, len);
        assert_int_equal(raft_log_entry_parse(&s, NULL, &got), ERR_PROTO);
    }
    for (size_t bit = 0; bit < sizeof(wire) * 8; bit++) {
        wire[bit / 8] ^= (uint8_t)(1u << bit % 8);
        s = SLICE(wire, sizeof(wire));
        assert_int_not_equal(raft_log_entry_parse(&s, NULL, &got), OK);
        wire[bit / 8] ^= (uint8_t)(1u << bit % 8);
    }
    raft_log_entry_fini(&e);
}

/* A write that does not fit the log is refused without a trace. */
static void test_write_must_fit(void **state)
{
    (void)state;
    struct world *w = world_with_log();
    assert_int_equal(reopened(w), OK);
    struct raft_log_entry e = entry_make(7, 3, 1, 4);
    struct raft_log_write lw = {.cb = on_written};
    struct raft_write rw = {.seq = 9, .first_index = 7, .entry_count = 1, .last_index = 7};
    assert_int_equal(raft_log_write_start(w->logs[0], &rw, &e, SLICE_EMPTY, &lw), ERR_INVAL);
    rw = (struct raft_write){.seq = 9, .truncate_from = 1, .last_index = 0};
    assert_int_equal(raft_log_write_start(w->logs[0], &rw, NULL, SLICE_EMPTY, &lw), ERR_INVAL);
    rw = (struct raft_write){.seq = 9, .first_index = 6, .entry_count = 1, .last_index = 6};
    assert_int_equal(raft_log_write_start(w->logs[0], &rw, &e, SLICE_EMPTY, &lw), ERR_INVAL);
    raft_log_entry_fini(&e);
    assert_true(raft_logstore_idle(w->store));
    world_free(w);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_model_with_crashes),
        cmocka_unit_test(test_one_batch_a_turn),
        cmocka_unit_test(test_failed_write),
        cmocka_unit_test(test_bit_flips),
        cmocka_unit_test(test_holes),
        cmocka_unit_test(test_read_checks),
        cmocka_unit_test(test_parse_hostile),
        cmocka_unit_test(test_write_must_fit),
    };
    return cmocka_run_group_tests_name("raft_log", tests, NULL, NULL);
}
