/* Reading a range of a coded blob.  The range is cut into parts, one a data shard that it touches;
 * parts go on side by side.  A part is read directly from the shard's holder (either of two while
 * the group's members change).  When that fails, is damaged, or takes longer than most reads of
 * late, or when it is known beforehand that it would, the part is decoded instead: the same range
 * of as many other shards as it takes, a window at a time, so that a read holds its range and a
 * bounded multiple of the window, whatever the code.  A damaged shard counts as absent.
 *
 *   part:  direct ──ok──────────────────────────────► done
 *            │ failed, slow (the call goes on)         ▲
 *            └──► window: k others ──rebuilt──► next ──┘
 *                   │ too few: the next round, with a newer map; after the last ERR_NO_QUORUM */
#include "common/base/check.h"
#include "common/base/hash.h"
#include "common/base/mutant.h"
#include "gateway/blob/code.h"
#include "gateway/blob/internal.h"
#include "gateway/meta/meta_client.h"
#include "proto/methods.h"

#include <stdlib.h>

#define READ_ROUNDS_MAX 5
#define WINDOW_BYTES (256u << 10)
static_assert(WINDOW_BYTES % BLOB_BLOCK_BYTES == 0, "no block is read for two windows");

/* A range of one shard, from one holder after the other. */
struct fetch {
    struct part *part;
    struct rpc_call rpc;
    struct blob_node *node;
    unsigned shard;
    unsigned tried; /* mask of lists of members */
    uint64_t offset, bytes, sent_ns;
    bool running;
    bool stale;          /* what still runs is not wanted any more */
    bool bad;            /* no holder could serve it, this round */
    struct payload data; /* it could */
};

struct part {
    struct coded_get *get;
    unsigned shard;
    uint64_t offset, bytes; /* within the shard */
    size_t out_at;          /* where it goes in the answer */
    bool done, decoding;
    uint64_t at; /* within the shard: where the window begins */
    struct fetch direct;
    struct fetch *other; /* one a shard, from the first decoding on */
};

struct coded_get {
    struct blob_client *bc;
    struct list node;
    struct blob_read *read; /* NULL once it was called back */
    const struct ec *ec;
    uint64_t shard_bytes;
    struct rcbuf *out; /* NULL: not needed so far */
    unsigned rounds;
    bool canceled, no_memory;
    struct env_timer timer; /* the hedge, or the next round */
    unsigned part_count;
    struct part part[];
};

static void fetch_cb(struct rpc_call *rpc);

static unsigned shards_of(const struct coded_get *g)
{
    return g->ec->data + g->ec->parity;
}

/* NULL: the map has no such group any more. */
static const struct blob_pg *group_of(const struct coded_get *g)
{
    const struct blob_pg *pg = pgs_find(g->bc, g->read->pg);
    return pg && pg->ec == g->ec ? pg : NULL;
}

/* ---- the end ---- */

static bool part_is_running(const struct part *p)
{
    bool ret = p->direct.running;
    for (unsigned i = 0; p->other && i < shards_of(p->get); i++)
        ret |= p->other[i].running;
    return ret;
}

static bool get_is_running(const struct coded_get *g)
{
    for (unsigned i = 0; i < g->part_count; i++)
        if (part_is_running(&g->part[i]))
            return true;
    return false;
}

static void get_free_if_done(struct coded_get *g)
{
    if (g->read || get_is_running(g))
        return;
    env_timer_stop(&g->timer);
    list_remove(&g->node);
    rcbuf_unref(g->out);
    g->bc->outstanding--;
    for (unsigned i = 0; i < g->part_count; i++)
        free(g->part[i].other);
    free(g);
}

static void fetch_drop(struct fetch *f)
{
    payload_unref(&f->data);
    if (!f->running)
        return;
    f->stale = true;
    rpc_call_cancel(&f->rpc);
}

static void part_drop(struct part *p)
{
    fetch_drop(&p->direct);
    for (unsigned i = 0; p->other && i < shards_of(p->get); i++)
        fetch_drop(&p->other[i]);
}

/* Ends the read; g lives on for the calls that still run. */
static void get_end(struct coded_get *g, int err, struct payload data)
{
    struct blob_read *r = g->read;
    if (err == OK && r->has_crc32c && r->bytes == r->blob_bytes &&
        crc32c(0, data.bytes) != r->crc32c) {
        g->bc->stats.read_corrupt++;
        payload_unref(&data);
        err = ERR_CHECKSUM;
    }
    g->read = NULL;
    r->coded = NULL;
    env_timer_stop(&g->timer);
    for (unsigned i = 0; i < g->part_count; i++)
        part_drop(&g->part[i]);
    r->err = err;
    r->data = data;
    if (err)
        g->bc->stats.read_failures++;
    else
        g->bc->stats.bytes_read += data.bytes.len;
    r->cb(r);
}

static int why_failed(const struct coded_get *g)
{
    return g->canceled      ? ERR_CANCELED
           : g->bc->stopped ? ERR_SHUTDOWN
           : g->no_memory   ? ERR_NOMEM
                            : ERR_NO_QUORUM;
}

/* After everything that happens: is it over, or is a new round due? */
static void get_settle(struct coded_get *g)
{
    struct blob_client *bc = g->bc;
    bool all = true;
    for (unsigned i = 0; i < g->part_count; i++)
        all &= g->part[i].done;
    if (all) {
        struct rcbuf *out = g->out;
        g->out = NULL;
        get_end(g, OK, (struct payload){out, SLICE(out->data, g->read->bytes)});
        return;
    }
    if (get_is_running(g))
        return;
    if (g->canceled || g->no_memory || bc->stopped || g->rounds >= READ_ROUNDS_MAX ||
        env_now_ns(bc->env) >= g->read->deadline_ns) {
        get_end(g, why_failed(g), (struct payload){0});
        return;
    }
    /* Perhaps the group has moved; perhaps its nodes come back. */
    meta_client_refresh(bc->mc);
    env_timer_start(&g->timer, 30 * NS_PER_MS << g->rounds++);
}

/* Where the parts come together. */
static uint8_t *out_of(struct coded_get *g)
{
    if (!g->out)
        g->out = rcbuf_new(g->read->bytes);
    if (g->out)
        g->out->len = g->read->bytes;
    g->no_memory |= !g->out;
    return g->out ? g->out->data : NULL;
}

/* ---- fetching a range of a shard ---- */

static struct blob_node *holder_of(const struct coded_get *g, const struct blob_pg *pg,
                                   unsigned shard, unsigned tried, unsigned *ret_list)
{
    struct blob_node *best = NULL;
    for (unsigned list = 0; list < pg->lists; list++) {
        struct blob_node *n = pg->member[list][shard];
        if (!n || !n->peer || (tried & 1u << list) || (list && n == pg->member[0][shard]))
            continue;
        uint64_t least = best ? best->outstanding_bytes : n->outstanding_bytes;
        if (best && holder_score(g->bc, n, least) >= holder_score(g->bc, best, least))
            continue;
        best = n;
        *ret_list = list;
    }
    return best;
}

/* From a holder that was not asked yet.  false: there is none. */
static bool fetch_start(struct fetch *f)
{
    struct coded_get *g = f->part->get;
    struct blob_client *bc = g->bc;
    struct blob_read *r = g->read;
    const struct blob_pg *pg = group_of(g);
    uint64_t now = env_now_ns(bc->env);
    uint64_t attempt_ns = (uint64_t)bc->config.read_attempt_ms * NS_PER_MS;
    unsigned list;
    CHECK(!f->running && !f->data.bytes.ptr);
    Cairn__GetShardRequest request = CAIRN__GET_SHARD_REQUEST__INIT;
    request.blob_id = (ProtobufCBinaryData){ID_BYTES, r->blob_id.bytes};
    request.shard_index = f->shard;
    request.offset = f->offset;
    request.bytes = f->bytes;
    f->stale = false;
    while (pg && !bc->stopped && !g->canceled && now < r->deadline_ns &&
           (f->node = holder_of(g, pg, f->shard, f->tried, &list)) != NULL) {
        f->tried |= 1u << list;
        f->sent_ns = now;
        f->rpc = (struct rpc_call){
            .method = &method_store_get,
            .request = &request.base,
            .timeout_ns = MIN(attempt_ns, r->deadline_ns - now),
            .cb = fetch_cb,
        };
        if (rpc_call_start(f->node->peer, &f->rpc) != OK)
            continue;
        f->running = true;
        f->node->outstanding_bytes += f->bytes;
        return true;
    }
    f->bad = true;
    return false;
}

/* ---- decoding ---- */

static int shard_score(const struct coded_get *g, const struct blob_pg *pg, unsigned shard)
{
    unsigned list;
    const struct blob_node *n = holder_of(g, pg, shard, 0, &list);
    return n ? holder_score(g->bc, n, n->outstanding_bytes) : 4 * HOLDER_POOR;
}

static uint64_t window_bytes(const struct part *p)
{
    uint64_t to = MIN((p->at / WINDOW_BYTES + 1) * WINDOW_BYTES, p->offset + p->bytes);
    return to - p->at;
}

/* The other shard that is asked most gladly, of those at rest.  NULL: there is none. */
static struct fetch *next_other(struct part *p, const struct blob_pg *pg)
{
    struct fetch *best = NULL;
    int best_score = 0;
    for (unsigned i = 0; i < shards_of(p->get); i++) {
        struct fetch *f = &p->other[i];
        if (i == p->shard || f->running || f->bad || f->data.bytes.ptr)
            continue;
        int score = shard_score(p->get, pg, i);
        if (best && score >= best_score)
            continue;
        best = f;
        best_score = score;
    }
    return best;
}

/* Asks for more of the window until `wanted` shards are here or on their way. */
static void decode_ask(struct part *p, unsigned wanted)
{
    const struct blob_pg *pg = group_of(p->get);
    unsigned have = 0;
    for (unsigned i = 0; i < shards_of(p->get); i++)
        have += p->other[i].data.bytes.ptr || (p->other[i].running && !p->other[i].stale);
    while (pg && have < wanted) {
        struct fetch *f = next_other(p, pg);
        if (!f)
            return;
        f->tried = 0;
        f->offset = p->at;
        f->bytes = window_bytes(p);
        have += fetch_start(f);
    }
}

/* With k shards of the window here: rebuilds it.  Returns: whether there were so many. */
static bool decode_window(struct part *p)
{
    struct coded_get *g = p->get;
    const uint8_t *range[EC_SHARDS_MAX];
    unsigned have = 0;
    for (unsigned i = 0; i < shards_of(g); i++) {
        range[i] = p->other[i].data.bytes.ptr;
        have += range[i] != NULL;
    }
    uint8_t *out = have >= g->ec->data ? out_of(g) : NULL;
    if (!out)
        return false;
    uint8_t *to = out + p->out_at + (p->at - p->offset);
    int err = code_rebuild(g->ec, p->shard, range, window_bytes(p), to);
    CHECK(err == OK); /* there are enough, and none is the one that is wanted */
    g->bc->stats.read_decodes++;
    p->at += window_bytes(p);
    for (unsigned i = 0; i < shards_of(g); i++)
        fetch_drop(&p->other[i]);
    return true;
}

static void decode_go_on(struct part *p)
{
    if (decode_window(p)) {
        if (p->at == p->offset + p->bytes) {
            p->done = true;
            part_drop(p);
            return;
        }
    }
    if (!p->get->no_memory)
        decode_ask(p, p->get->ec->data);
}

static void decode_start(struct part *p)
{
    unsigned count = shards_of(p->get);
    if (!p->other)
        p->other = calloc(count, sizeof(*p->other));
    if (!p->other) {
        p->get->no_memory = true;
        return;
    }
    for (unsigned i = 0; i < count; i++) {
        p->other[i].part = p;
        p->other[i].shard = i;
    }
    p->decoding = true;
    p->at = p->offset;
    decode_go_on(p);
}

/* ---- a part ---- */

/* Would asking the shard's own holder be slow or in vain, while others can do without it? */
static bool is_better_decoded(const struct part *p)
{
    const struct blob_pg *pg = group_of(p->get);
    unsigned good = 0;
    if (!pg || shard_score(p->get, pg, p->shard) < HOLDER_POOR)
        return false;
    for (unsigned i = 0; i < pg->shard_count; i++)
        good += i != p->shard && shard_score(p->get, pg, i) < HOLDER_POOR;
    return good >= p->get->ec->data;
}

static void part_start(struct part *p)
{
    struct fetch *f = &p->direct;
    p->decoding = false;
    f->tried = 0;
    f->bad = false;
    for (unsigned i = 0; p->other && i < shards_of(p->get); i++) {
        payload_unref(&p->other[i].data);
        p->other[i].bad = false;
    }
    if (is_better_decoded(p) || !fetch_start(f))
        decode_start(p);
}

/* The part is here as it is. */
static void part_direct(struct part *p)
{
    struct coded_get *g = p->get;
    struct payload data = p->direct.data;
    p->direct.data = (struct payload){0};
    if (g->part_count == 1) { /* nothing to be put together */
        p->done = true;
        get_end(g, OK, data);
        return;
    }
    uint8_t *out = out_of(g);
    if (out) {
        memcpy(out + p->out_at, data.bytes.ptr, p->bytes);
        p->done = true;
        part_drop(p);
    }
    payload_unref(&data);
}

/* What the answer was, for all that is remembered about nodes. */
static void fetch_learn(struct fetch *f, int err)
{
    struct blob_client *bc = f->part->get->bc;
    uint64_t took = env_now_ns(bc->env) - f->sent_ns;
    if (err == OK)
        learn_latency(bc, took);
    if (f->rpc.err == OK || f->rpc.err == ERR_CANCELED || f->rpc.err == ERR_TIMEOUT)
        node_learn(bc, f->node, &f->node->reads, took, f->rpc.err != OK);
    if (err == ERR_CHECKSUM || err == ERR_CORRUPT)
        bc->stats.read_corrupt++;
    if (err == ERR_TIMEOUT || err == ERR_CONN_LOST || err == ERR_UNREACHABLE)
        node_suspect(bc, f->node);
}

static void fetch_cb(struct rpc_call *rpc)
{
    struct fetch *f = container_of(rpc, struct fetch, rpc);
    struct part *p = f->part;
    struct coded_get *g = p->get;
    bool wanted = g->read && !f->stale && !p->done;
    bool checked = f == &p->direct || !MUTANT(DECODE_UNCHECKED);
    int err = rpc->err;
    f->running = false;
    f->stale = false;
    f->node->outstanding_bytes -= f->bytes;
    if (err == OK && wanted)
        err = answer_verify(rpc, g->shard_bytes, f->offset, f->bytes, checked, &f->data);
    fetch_learn(f, wanted ? err : ERR_CANCELED);
    rpc_call_fini(rpc);
    if (wanted && err != OK) {
        g->bc->stats.read_failovers++;
        fetch_start(f); /* the other holder, if there is one */
    }
    if (wanted && err == OK && f == &p->direct)
        part_direct(p);
    else if (wanted && f == &p->direct && f->bad && !p->decoding)
        decode_start(p);
    else if (g->read && !p->done && p->decoding && f != &p->direct)
        decode_go_on(p);
    if (g->read)
        get_settle(g);
    get_free_if_done(g);
}

/* ---- the whole ---- */

/* What is slow gets help, as far as the share of reads that may have it goes. */
static void get_hedge(struct coded_get *g)
{
    struct blob_client *bc = g->bc;
    for (unsigned i = 0; i < g->part_count && bc->hedge_tokens >= 1; i++) {
        struct part *p = &g->part[i];
        if (p->done)
            continue;
        bc->hedge_tokens -= 1;
        bc->stats.read_hedges++;
        if (!p->decoding) {
            decode_start(p);
            continue;
        }
        unsigned have = 0;
        for (unsigned k = 0; k < shards_of(g); k++)
            have += p->other[k].data.bytes.ptr || (p->other[k].running && !p->other[k].stale);
        decode_ask(p, have + 1);
    }
}

static void get_timer_cb(struct env_timer *timer)
{
    struct coded_get *g = container_of(timer, struct coded_get, timer);
    uint64_t hedge_ns = g->bc->hedge_ns + g->bc->hedge_ns / 2;
    if (get_is_running(g)) {
        get_hedge(g);
        env_timer_start(&g->timer, 4 * hedge_ns);
    } else {
        env_timer_start(&g->timer, hedge_ns);
        for (unsigned i = 0; i < g->part_count && !g->canceled; i++)
            if (!g->part[i].done)
                part_start(&g->part[i]);
    }
    get_settle(g);
    get_free_if_done(g);
}

static void refused_cb(struct env_timer *timer)
{
    struct blob_read *r = container_of(timer, struct blob_read, timer);
    r->bc->outstanding--;
    r->bc->stats.read_failures++;
    r->err = ERR_NOMEM;
    r->cb(r);
}

/* A part for each data shard that the range touches. */
static void parts_init(struct coded_get *g, const struct blob_read *r)
{
    uint64_t at = r->offset, end = r->offset + r->bytes;
    for (unsigned i = 0; i < g->part_count; i++) {
        struct part *p = &g->part[i];
        p->get = g;
        p->shard = (unsigned)(at / g->shard_bytes);
        p->offset = at % g->shard_bytes;
        p->bytes = MIN(g->shard_bytes - p->offset, end - at);
        p->out_at = (size_t)(at - r->offset);
        p->direct =
            (struct fetch){.part = p, .shard = p->shard, .offset = p->offset, .bytes = p->bytes};
        at += p->bytes;
    }
    CHECK(at == end);
}

void coded_read_start(struct blob_client *bc, struct blob_read *r)
{
    const struct blob_pg *pg = pgs_find(bc, r->pg);
    uint64_t shard_bytes = ec_shard_bytes(pg->ec->data, r->blob_bytes);
    unsigned first = (unsigned)(r->offset / shard_bytes);
    unsigned count = (unsigned)((r->offset + r->bytes - 1) / shard_bytes) - first + 1;
    struct coded_get *g = calloc(1, sizeof(*g) + count * sizeof(struct part));
    bool running = false;
    r->coded = g;
    if (!g) {
        env_timer_init(bc->env, &r->timer, refused_cb);
        env_timer_start(&r->timer, 0);
        return;
    }
    *g = (struct coded_get){
        .bc = bc, .read = r, .ec = pg->ec, .shard_bytes = shard_bytes, .part_count = count};
    parts_init(g, r);
    list_push_back(&bc->coded_gets, &g->node);
    env_timer_init(bc->env, &g->timer, get_timer_cb);
    for (unsigned i = 0; i < count; i++)
        part_start(&g->part[i]);
    running = get_is_running(g);
    /* With nothing to wait for, what comes next may end the read. */
    env_timer_start(&g->timer, running ? bc->hedge_ns + bc->hedge_ns / 2 : 0);
}

void coded_read_cancel(struct coded_get *g)
{
    bool running = get_is_running(g);
    g->canceled = true;
    for (unsigned i = 0; i < g->part_count; i++)
        part_drop(&g->part[i]);
    if (!running)
        env_timer_start(&g->timer, 0);
}

void coded_gets_stop(struct blob_client *bc)
{
    list_for_each(it, &bc->coded_gets)
    {
        struct coded_get *g = container_of(it, struct coded_get, node);
        if (g->read)
            coded_read_cancel(g);
    }
}
