/* See reencode.h.  Rounds, pages and pace; one segment: reencode_move.c. */
#include "gateway/work/reencode.h"

#include "common/base/check.h"
#include "common/obs/log.h"
#include "gateway/work/reencode_move.h"
#include "proto/methods.h"

#include <stdlib.h>

#define PAGE_SEGMENTS 32
#define ASK_TIMEOUT_NS (5 * NS_PER_SEC)
#define BARREN_PAGES_MAX 32 /* one after the other; then the next metanode has its turn */
#define NO_ROOM_NS (100 * NS_PER_MS) /* the loop's budget is full: tried again after this */
/* What is begun must end within the claim, or somebody else begins it too. */
#define CLAIM_LEFT_NS (5 * NS_PER_SEC)

/*   SLEEPING ──interval──► ASKING ──a page──► WORKING ──more where that came from──► ASKING
 *      ▲                     │ nothing           └── else: the next metanode ──► ASKING
 *      └── all were asked ◄──┴───────────────────────────────────────────────────────┘ */
enum reencode_state { RE_SLEEPING, RE_ASKING, RE_WORKING };

struct reencode {
    struct gateway *gw;
    struct reencode_config config;
    const struct reencode_metrics *metrics;
    enum reencode_state state;
    bool stopped;
    struct env_timer timer;
    struct rpc_call call;
    bool calling;
    bool count_only; /* no group can take shards: only how many wait is asked */
    size_t metanode; /* that is asked */
    bool again;      /* it is not asked for the first time in this round */
    Cairn__InterimResponse *page;
    size_t next; /* of its segments: to be begun */
    uint64_t claim_until_ns, paced_ns;
    size_t page_moved, page_passed;
    unsigned barren; /* pages since something was moved, of this metanode */
    struct {
        uint64_t waiting, moved, overtaken, failed;
    } round;
    unsigned running;
    struct reencode_move move[REENCODE_PARALLEL_MAX];
};

static void ask(struct reencode *re);
static void work(struct reencode *re);

/* ---- rounds ---- */

static void sleep_start(struct reencode *re)
{
    uint64_t ns = re->config.interval_ms * NS_PER_MS;
    uint32_t dice;
    env_random(re->gw->env, &dice, sizeof(dice));
    re->state = RE_SLEEPING;
    if (!re->stopped)
        env_timer_start(&re->timer,
                        ns - ns / 4 + (uint64_t)((double)dice / UINT32_MAX * (double)(ns / 2)));
}

static void round_end(struct reencode *re)
{
    uint64_t gone = re->round.moved + re->round.overtaken;
    metric_set(re->metrics->waiting, (int64_t)(re->round.waiting - MIN(gone, re->round.waiting)));
    if (re->round.moved || re->round.failed || re->round.overtaken)
        log_info("reencode.round", 0, L_UINT("moved", re->round.moved),
                 L_UINT("overtaken", re->round.overtaken), L_UINT("failed", re->round.failed),
                 L_UINT("waited", re->round.waiting));
    sleep_start(re);
}

static void next_metanode(struct reencode *re)
{
    re->metanode++;
    re->again = false;
    re->barren = 0;
}

static void round_begin(struct reencode *re)
{
    memset(&re->round, 0, sizeof(re->round));
    re->metanode = 0;
    re->again = false;
    re->barren = 0;
    re->count_only = !blob_can_code(re->gw->bc);
    if (blob_has_codes(re->gw->bc))
        ask(re);
    else
        sleep_start(re); /* a cluster without codes: nothing was ever meant for one */
}

static void page_end(struct reencode *re)
{
    /* Nothing was moved: whatever the reason, it will be the same in a moment.  But behind what
     * waits for a code that nobody can take now there may be what waits for another. */
    bool passed = re->page_passed > 0 && re->page_passed == re->page->n_segments;
    re->barren = re->page_moved ? 0 : re->barren + 1;
    bool again =
        re->page->more && (re->page_moved > 0 || (passed && re->barren < BARREN_PAGES_MAX));
    cairn__interim_response__free_unpacked(re->page, NULL);
    re->page = NULL;
    if (re->stopped) {
        sleep_start(re);
        return;
    }
    if (again)
        re->again = true;
    else
        next_metanode(re);
    ask(re);
}

/* ---- a page ---- */

static void asked_cb(struct rpc_call *call)
{
    struct reencode *re = container_of(call, struct reencode, call);
    Cairn__InterimResponse *m = (Cairn__InterimResponse *)(void *)call->response;
    re->calling = false;
    if (call->err == OK && m && !re->stopped) {
        call->response = NULL;
        re->page = m;
        re->next = 0;
        re->page_moved = re->page_passed = 0;
        /* Since the question was sent, at the latest. */
        uint64_t claim_ns = (uint64_t)m->claim_ms * NS_PER_MS;
        re->claim_until_ns +=
            claim_ns > 2 * CLAIM_LEFT_NS ? claim_ns - CLAIM_LEFT_NS : claim_ns / 2;
        re->round.waiting += re->again ? 0 : m->waiting;
    }
    rpc_call_fini(call);
    if (re->stopped) {
        sleep_start(re);
        return;
    }
    if (!re->page) { /* it is away, or of an earlier version: the others know of their own */
        next_metanode(re);
        ask(re);
        return;
    }
    re->state = RE_WORKING;
    work(re);
}

static void ask(struct reencode *re)
{
    struct rpc_peer *peer;
    Cairn__InterimRequest request = CAIRN__INTERIM_REQUEST__INIT;
    request.segments_max = re->count_only ? 0 : PAGE_SEGMENTS;
    re->state = RE_ASKING;
    while ((peer = meta_client_metanode(re->gw->mc, re->metanode)) != NULL) {
        re->call = (struct rpc_call){
            .method = &method_meta_interim,
            .heap_response = true,
            .request = &request.base,
            .timeout_ns = ASK_TIMEOUT_NS,
            .cb = asked_cb,
        };
        re->claim_until_ns = env_now_ns(re->gw->env);
        if (rpc_call_start(peer, &re->call) == OK) {
            re->calling = true;
            return;
        }
        next_metanode(re);
    }
    round_end(re);
}

/* ---- its segments ---- */

static void moved_cb(struct reencode_move *m)
{
    struct reencode *re = m->user;
    re->running--;
    switch (m->result) {
    case REENCODE_MOVED:
        re->round.moved++;
        re->page_moved++;
        metric_inc(re->metrics->moved);
        metric_add(re->metrics->bytes, m->bytes);
        break;
    case REENCODE_OVERTAKEN:
        re->round.overtaken++;
        metric_inc(re->metrics->overtaken);
        break;
    case REENCODE_FAILED:
        re->round.failed++;
        metric_inc(re->metrics->failed);
        break;
    }
    work(re);
}

static struct reencode_move *free_move(struct reencode *re)
{
    for (unsigned i = 0; i < re->config.parallel; i++)
        if (!re->move[i].running)
            return &re->move[i];
    return NULL;
}

/* Nobody can take the code that it waits for.  It is not read in vain, and no failure. */
static bool must_wait(struct reencode *re, const Cairn__InterimSegment *s)
{
    return s->segment && !blob_can_code_as(re->gw->bc, blob_interim_scheme(s->segment->interim));
}

/* Begins the next segment.  false: it is not to be begun yet; the timer says when to look again, or
 * a segment that ends. */
static bool begin(struct reencode *re)
{
    uint64_t now = env_now_ns(re->gw->env);
    struct reencode_move *m = free_move(re);
    const Cairn__InterimSegment *s = re->page->segments[re->next];
    if (must_wait(re, s)) {
        re->next++;
        re->page_passed++;
        return true;
    }
    if (!m)
        return false;
    if (now < re->paced_ns) {
        env_timer_start(&re->timer, re->paced_ns - now);
        return false;
    }
    m->gw = re->gw;
    m->user = re;
    m->cb = moved_cb;
    int err = reencode_move_start(m, s);
    if (err == ERR_LIMIT) {
        env_timer_start(&re->timer, NO_ROOM_NS);
        return false;
    }
    re->next++;
    if (err != OK) {
        re->round.failed++;
        metric_inc(re->metrics->failed);
        return true;
    }
    re->running++;
    if (re->config.bytes_per_s)
        re->paced_ns = MAX(now, re->paced_ns) +
                       (uint64_t)((double)m->bytes / (double)re->config.bytes_per_s * NS_PER_SEC);
    return true;
}

static void work(struct reencode *re)
{
    if (re->state != RE_WORKING)
        return;
    /* What is not begun now is handed out again, to us or to others. */
    while (re->next < re->page->n_segments) {
        if (re->stopped || env_now_ns(re->gw->env) >= re->claim_until_ns ||
            !blob_can_code(re->gw->bc))
            re->next = re->page->n_segments;
        else if (!begin(re))
            return;
    }
    env_timer_stop(&re->timer);
    if (re->running == 0)
        page_end(re);
}

static void timer_cb(struct env_timer *timer)
{
    struct reencode *re = container_of(timer, struct reencode, timer);
    if (re->state == RE_WORKING)
        work(re);
    else if (re->state == RE_SLEEPING)
        round_begin(re);
}

/* ---- life ---- */

void reencode_metrics_init(struct reencode_metrics *m)
{
    m->waiting =
        metric_gauge_new("cairn_reencode_waiting", NULL,
                         "Segments that wait to be written again as shards, when last asked.");
    m->moved = metric_counter_new("cairn_reencode_moved_total", NULL,
                                  "Segments written again as shards of a code.");
    m->bytes = metric_counter_new("cairn_reencode_bytes_total", NULL, "User bytes of these.");
    m->overtaken =
        metric_counter_new("cairn_reencode_overtaken_total", NULL,
                           "Segments whose record had changed when they were to be moved.");
    m->failed = metric_counter_new("cairn_reencode_failed_total", NULL,
                                   "Segments that could not be written again; they come up again.");
}

int reencode_new(struct gateway *gw, const struct reencode_config *config,
                 const struct reencode_metrics *metrics, struct reencode **ret)
{
    CHECK(config->parallel >= 1 && config->parallel <= REENCODE_PARALLEL_MAX);
    struct reencode *re = calloc(1, sizeof(*re));
    if (!re)
        return ERR_NOMEM;
    re->gw = gw;
    re->config = *config;
    re->metrics = metrics;
    env_timer_init(gw->env, &re->timer, timer_cb);
    sleep_start(re);
    *ret = re;
    return OK;
}

void reencode_stop(struct reencode *re)
{
    if (re->stopped)
        return;
    re->stopped = true;
    env_timer_stop(&re->timer);
    if (re->calling)
        rpc_call_cancel(&re->call);
    for (unsigned i = 0; i < re->config.parallel; i++)
        if (re->move[i].running)
            reencode_move_cancel(&re->move[i]);
    work(re);
}

bool reencode_idle(const struct reencode *re)
{
    return !re->calling && re->running == 0;
}

void reencode_free(struct reencode *re)
{
    if (!re)
        return;
    CHECK(re->stopped && reencode_idle(re) && !re->page);
    free(re);
}
