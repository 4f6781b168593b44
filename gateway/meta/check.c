/* Questions to witnesses.  All reads of one turn of the loop share one frame: objects first, then
 * buckets and principals, each record once.  The frame is sent at the end of the turn, so every
 * request in it began before its question was sent.
 *
 * The own zone's witness is asked; if it has not answered within the hedge delay, or is known to be
 * down, another zone's is as good.  With no answer in time nothing is fresh, and the leaders are
 * read.
 *
 *   open ──(flush: end of the turn)──► asking ──► answered (reads woken) ──► spare, once no call
 * runs */
#include "common/base/check.h"
#include "gateway/meta/internal.h"
#include "proto/methods.h"
#include "proto/witness.pb-c.h"

#include <stdlib.h>

#define QUESTIONS_MAX 2048 /* in a frame; more begin another one */
#define FRAME_CALLS 2      /* the first witness and the hedge */
#define SPARE_FRAMES_MAX 8
#define SUSPECT_NS (1 * NS_PER_SEC)

struct questions {
    struct cache_entry **entry; /* referenced */
    size_t count, cap;
};

struct frame_call {
    struct rpc_call rpc;
    struct check_frame *frame;
    struct rpc_peer *peer;
    bool running;
};

struct check_frame {
    struct meta_client *mc;
    uint64_t id;
    struct list node; /* full_frames, frames, or spare_frames */
    struct questions objects, others;
    struct list reads;    /* who waits */
    uint32_t *partitions; /* as sent, with as_of */
    uint64_t *hashes, *as_of;
    size_t cap;
    bool answered;
    uint64_t sent_ns;
    unsigned tried; /* witnesses asked so far */
    struct frame_call call[FRAME_CALLS];
    struct env_timer timer;
};

static void flush_cb(struct env_timer *timer);
static void frame_ask(struct check_frame *f);

void check_init(struct meta_client *mc)
{
    list_init(&mc->frames);
    list_init(&mc->full_frames);
    list_init(&mc->spare_frames);
    env_timer_init(mc->env, &mc->flush_timer, flush_cb);
}

static void frame_free(struct check_frame *f)
{
    free(f->objects.entry);
    free(f->others.entry);
    free(f->partitions);
    free(f->hashes);
    free(f->as_of);
    free(f);
}

void check_fini(struct meta_client *mc)
{
    CHECK(!mc->open && list_empty(&mc->frames));
    while (!list_empty(&mc->spare_frames))
        frame_free(container_of(list_pop_front(&mc->spare_frames), struct check_frame, node));
    free(mc->witnesses);
}

/* ---- witnesses ---- */

void check_map_changed(struct meta_client *mc)
{
    struct meta_witness *w = calloc(mc->map->n_nodes + 1, sizeof(*w));
    size_t count = 0;
    if (!w)
        return; /* the old set is as good as none: witnesses only save time */
    for (int own = 1; own >= 0; own--) {
        for (size_t i = 0; i < mc->map->n_nodes; i++) {
            const Cairn__NodeRecord *n = mc->map->nodes[i];
            bool is_own = mc->config.zone && strcmp(n->zone, mc->config.zone) == 0;
            if (n->role != NET_ROLE_WITNESS || is_own != (own == 1))
                continue;
            w[count].peer = rpc_peer_get(mc->rpc, n->addr, n->node_id);
            if (!w[count].peer)
                continue;
            w[count].own_zone = is_own;
            for (size_t k = 0; k < mc->witness_count; k++)
                if (mc->witnesses[k].peer == w[count].peer)
                    w[count].suspect_until_ns = mc->witnesses[k].suspect_until_ns;
            count++;
        }
    }
    free(mc->witnesses);
    mc->witnesses = w;
    mc->witness_count = count;
}

static struct meta_witness *witness_of(struct meta_client *mc, const struct rpc_peer *peer)
{
    for (size_t i = 0; i < mc->witness_count; i++)
        if (mc->witnesses[i].peer == peer)
            return &mc->witnesses[i];
    return NULL;
}

static bool was_asked(const struct check_frame *f, const struct rpc_peer *peer)
{
    for (int i = 0; i < FRAME_CALLS; i++)
        if (f->call[i].peer == peer)
            return true;
    return false;
}

/* The best one that this frame has not asked: trusted before suspect, own zone before others. */
static struct meta_witness *witness_pick(const struct check_frame *f)
{
    struct meta_client *mc = f->mc;
    uint64_t now = env_now_ns(mc->env);
    struct meta_witness *second = NULL;
    for (size_t i = 0; i < mc->witness_count; i++) {
        struct meta_witness *w = &mc->witnesses[i];
        if (was_asked(f, w->peer) || !rpc_peer_is_up(w->peer))
            continue;
        if (now >= w->suspect_until_ns)
            return w;
        if (!second)
            second = w;
    }
    return second;
}

bool check_possible(struct meta_client *mc)
{
    if (mc->config.witness_check_off || mc->stopped)
        return false;
    for (size_t i = 0; i < mc->witness_count; i++)
        if (rpc_peer_is_up(mc->witnesses[i].peer))
            return true;
    return false;
}

/* ---- filling a frame ---- */

static struct check_frame *frame_open(struct meta_client *mc)
{
    struct check_frame *f;
    if (!list_empty(&mc->spare_frames)) {
        f = container_of(list_pop_front(&mc->spare_frames), struct check_frame, node);
        mc->spare_frame_count--;
    } else {
        f = calloc(1, sizeof(*f));
        if (!f)
            return NULL;
        f->mc = mc;
        list_init(&f->node);
        list_init(&f->reads);
    }
    f->id = ++mc->frame_ids;
    f->answered = false;
    f->tried = 0;
    for (int i = 0; i < FRAME_CALLS; i++)
        f->call[i] = (struct frame_call){.frame = f};
    return f;
}

static bool questions_reserve(struct questions *q, size_t extra)
{
    if (q->cap - q->count >= extra)
        return true;
    size_t cap = q->cap ? q->cap * 2 : 64;
    struct cache_entry **entry = realloc(q->entry, cap * sizeof(struct cache_entry *));
    if (!entry)
        return false;
    q->entry = entry;
    q->cap = cap;
    return true;
}

/* An entry already asked about in this frame shares its question: both requests began before it is
 * sent, and objects still come before all else. */
static uint32_t question_add(struct check_frame *f, struct questions *q, struct cache_entry *e)
{
    if (e->asked_frame != f->id) {
        e->asked_frame = f->id;
        e->asked_slot = (uint32_t)q->count;
        q->entry[q->count++] = cache_entry_ref(e);
    }
    return e->asked_slot;
}

bool check_join(struct meta_client *mc, struct meta_read *read)
{
    struct check_frame *f = mc->open;
    if (!f) {
        f = mc->open = frame_open(mc);
        if (!f)
            return false;
        mc->outstanding++;
        if (!mc->flush_timer.active)
            env_timer_start(&mc->flush_timer, 0);
    }
    if (!questions_reserve(&f->objects, 1) || !questions_reserve(&f->others, META_RECORDS - 1))
        return false; /* an empty frame is flushed harmlessly */
    for (unsigned r = META_OBJECT; r < META_RECORDS; r++) {
        if (!(read->in_check & META_BIT(r)))
            continue;
        struct questions *q = r == META_OBJECT ? &f->objects : &f->others;
        read->slot[r] = question_add(f, q, read->entry[r]);
    }
    list_push_back(&f->reads, &read->check_node);
    if (f->objects.count + f->others.count >= QUESTIONS_MAX) {
        list_push_back(&mc->full_frames, &f->node);
        mc->open = NULL;
    }
    return true;
}

/* ---- asking ---- */

static bool frame_reserve(struct check_frame *f, size_t count)
{
    if (f->cap >= count)
        return true;
    size_t cap = MAX(count, 64);
    void *p = realloc(f->partitions, cap * sizeof(*f->partitions));
    if (!p)
        return false;
    f->partitions = p;
    p = realloc(f->hashes, cap * sizeof(*f->hashes));
    if (!p)
        return false;
    f->hashes = p;
    p = realloc(f->as_of, cap * sizeof(*f->as_of));
    if (!p)
        return false;
    f->as_of = p;
    f->cap = cap;
    return true;
}

static void frame_drop_entries(struct check_frame *f)
{
    struct questions *both[] = {&f->objects, &f->others};
    for (size_t k = 0; k < ARRAY_COUNT(both); k++) {
        for (size_t i = 0; i < both[k]->count; i++)
            cache_entry_unref(both[k]->entry[i]);
        both[k]->count = 0;
    }
}

static void frame_release(struct check_frame *f)
{
    struct meta_client *mc = f->mc;
    for (int i = 0; i < FRAME_CALLS; i++)
        if (f->call[i].running)
            return;
    env_timer_stop(&f->timer);
    frame_drop_entries(f);
    list_remove(&f->node);
    mc->outstanding--;
    if (mc->spare_frame_count < SPARE_FRAMES_MAX) {
        mc->spare_frame_count++;
        list_push_back(&mc->spare_frames, &f->node);
    } else {
        frame_free(f);
    }
}

/* Wakes whoever waits.  `fresh`: a byte per question, or NULL when nobody can say. */
static void frame_answer(struct check_frame *f, const uint8_t *fresh)
{
    size_t objects = f->objects.count, total = objects + f->others.count;
    struct list reads;
    f->answered = true;
    if (!fresh)
        f->mc->stats.check_failures++;
    list_init(&reads);
    while (!list_empty(&f->reads))
        list_push_back(&reads, list_pop_front(&f->reads));
    while (!list_empty(&reads)) {
        struct meta_read *read = container_of(list_pop_front(&reads), struct meta_read, check_node);
        uint8_t mask = 0;
        for (unsigned r = META_OBJECT; r < META_RECORDS; r++) {
            if (!(read->in_check & META_BIT(r)))
                continue;
            size_t slot = read->slot[r] + (r == META_OBJECT ? 0 : objects);
            CHECK(slot < total);
            if (fresh && fresh[slot] == 1)
                mask |= (uint8_t)META_BIT(r);
        }
        check_answered(read, mask);
    }
}

static void take_answer(struct check_frame *f, const Cairn__CheckResponse *r)
{
    size_t objects = f->objects.count, others = f->others.count;
    for (size_t i = 0; i < objects + others; i++) {
        struct cache_entry *e = i < objects ? f->objects.entry[i] : f->others.entry[i - objects];
        if (r->fresh.data[i] == 1)
            cache_raise(f->mc->cache, e, r->through[i]);
    }
    frame_answer(f, r->fresh.data);
}

static void call_cb(struct rpc_call *rpc)
{
    struct frame_call *call = container_of(rpc, struct frame_call, rpc);
    struct check_frame *f = call->frame;
    struct meta_client *mc = f->mc;
    struct meta_witness *w = witness_of(mc, call->peer);
    const Cairn__CheckResponse *r = (const Cairn__CheckResponse *)(const void *)rpc->response;
    size_t total = f->objects.count + f->others.count;
    int err = rpc->err;
    call->running = false;
    if (err == OK && (!r || r->fresh.len != total || r->n_through != total))
        err = ERR_PROTO;
    if (err != OK && w)
        w->suspect_until_ns = env_now_ns(mc->env) + SUSPECT_NS;
    if (!f->answered && err == OK) {
        /* It answered while the one asked first is still silent. */
        struct meta_witness *first = witness_of(mc, f->call[0].peer);
        if (call != &f->call[0] && f->call[0].running && first)
            first->suspect_until_ns = env_now_ns(mc->env) + SUSPECT_NS / 4;
        take_answer(f, r);
    }
    rpc_call_fini(rpc);
    if (!f->answered && !f->call[0].running && !f->call[1].running)
        frame_ask(f);
    if (f->answered)
        frame_release(f);
}

/* Asks the next witness; when there is none left and none runs, nothing is fresh. */
static void frame_ask(struct check_frame *f)
{
    struct meta_client *mc = f->mc;
    Cairn__CheckRequest request = CAIRN__CHECK_REQUEST__INIT;
    size_t total = f->objects.count + f->others.count;
    uint64_t spent = env_now_ns(mc->env) - f->sent_ns;
    uint64_t all = (uint64_t)mc->config.witness_timeout_ms * NS_PER_MS;
    request.n_partitions = request.n_hashes = request.n_as_of = total;
    request.partitions = f->partitions;
    request.hashes = f->hashes;
    request.as_of = f->as_of;
    while (f->tried < FRAME_CALLS && spent < all && !mc->stopped) {
        struct meta_witness *w = witness_pick(f);
        if (!w)
            break;
        struct frame_call *call = &f->call[f->tried++];
        call->peer = w->peer;
        call->rpc = (struct rpc_call){
            .method = &method_witness_check,
            .request = &request.base,
            .timeout_ns = all - spent,
            .cb = call_cb,
        };
        if (rpc_call_start(w->peer, &call->rpc) == OK) {
            call->running = true;
            return;
        }
        w->suspect_until_ns = env_now_ns(mc->env) + SUSPECT_NS;
    }
    for (int i = 0; i < FRAME_CALLS; i++)
        if (f->call[i].running)
            return;
    frame_answer(f, NULL);
}

static void hedge_cb(struct env_timer *timer)
{
    struct check_frame *f = container_of(timer, struct check_frame, timer);
    if (f->answered)
        return;
    f->mc->stats.check_hedges++;
    frame_ask(f);
    if (f->answered)
        frame_release(f);
}

static void frame_send(struct check_frame *f)
{
    struct meta_client *mc = f->mc;
    size_t objects = f->objects.count, total = objects + f->others.count;
    list_push_back(&mc->frames, &f->node);
    env_timer_init(mc->env, &f->timer, hedge_cb);
    f->sent_ns = env_now_ns(mc->env);
    if (list_empty(&f->reads) || !frame_reserve(f, total)) {
        frame_answer(f, NULL);
        frame_release(f);
        return;
    }
    for (size_t i = 0; i < total; i++) {
        struct cache_entry *e = i < objects ? f->objects.entry[i] : f->others.entry[i - objects];
        f->partitions[i] = e->partition;
        f->hashes[i] = e->keyhash;
        f->as_of[i] = e->as_of;
    }
    mc->stats.checks++;
    mc->stats.check_questions += total;
    frame_ask(f);
    if (f->answered)
        frame_release(f);
    else
        env_timer_start(&f->timer, (uint64_t)mc->config.witness_hedge_ms * NS_PER_MS);
}

static void flush_cb(struct env_timer *timer)
{
    struct meta_client *mc = container_of(timer, struct meta_client, flush_timer);
    if (mc->open)
        list_push_back(&mc->full_frames, &mc->open->node);
    mc->open = NULL;
    while (!list_empty(&mc->full_frames))
        frame_send(container_of(list_pop_front(&mc->full_frames), struct check_frame, node));
}
