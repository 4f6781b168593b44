/* Virtual time, events, hosts and their clocks. */
#include "tests/sim/world_impl.h"

#include "common/base/check.h"
#include "common/base/hash.h"

#include <stdio.h>
#include <stdlib.h>

#define SAME_TIME_MAX 100000 /* events at one moment */

/* ---- random numbers: xoshiro256** (Blackman and Vigna, 2018), seeded by splitmix64 ---- */

static uint64_t splitmix(uint64_t *x)
{
    uint64_t z = (*x += 0x9e3779b97f4a7c15ull);
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9ull;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebull;
    return z ^ (z >> 31);
}

static uint64_t rotl(uint64_t x, int k)
{
    return (x << k) | (x >> (64 - k));
}

uint64_t world_random(struct world *w)
{
    uint64_t *s = w->rng, result = rotl(s[1] * 5, 7) * 9, t = s[1] << 17;
    s[2] ^= s[0];
    s[3] ^= s[1];
    s[1] ^= s[2];
    s[0] ^= s[3];
    s[2] ^= t;
    s[3] = rotl(s[3], 45);
    return result;
}

uint64_t world_below(struct world *w, uint64_t n)
{
    CHECK(n > 0);
    return world_random(w) % n;
}

bool world_chance(struct world *w, uint32_t per_10k)
{
    return per_10k > 0 && world_below(w, 10000) < per_10k;
}

/* ---- events ---- */

static bool earlier(const struct event *a, const struct event *b)
{
    return a->due_ns != b->due_ns ? a->due_ns < b->due_ns : a->seq < b->seq;
}

static void heap_push(struct world *w, struct event *e)
{
    if (w->count == w->cap) {
        w->cap = w->cap ? 2 * w->cap : 1024;
        w->heap = realloc(w->heap, w->cap * sizeof(*w->heap));
        CHECK(w->heap);
    }
    size_t i = w->count++;
    for (; i > 0 && earlier(e, w->heap[(i - 1) / 2]); i = (i - 1) / 2)
        w->heap[i] = w->heap[(i - 1) / 2];
    w->heap[i] = e;
}

static struct event *heap_pop(struct world *w)
{
    struct event *top = w->heap[0], *last = w->heap[--w->count];
    size_t i = 0;
    for (;;) {
        size_t child = 2 * i + 1;
        if (child >= w->count)
            break;
        if (child + 1 < w->count && earlier(w->heap[child + 1], w->heap[child]))
            child++;
        if (!earlier(w->heap[child], last))
            break;
        w->heap[i] = w->heap[child];
        i = child;
    }
    w->heap[i] = last;
    return top;
}

struct event *world_post(struct world *w, struct host *h, uint64_t delay_ns, void (*fn)(void *),
                         void *arg)
{
    struct event *e = malloc(sizeof(*e));
    CHECK(e);
    *e = (struct event){.due_ns = w->now_ns + delay_ns,
                        .seq = ++w->seq,
                        .host = h,
                        .life = h ? h->life : 0,
                        .fn = fn,
                        .arg = arg};
    heap_push(w, e);
    return e;
}

void world_call(struct world *w, uint64_t delay_ns, void (*fn)(void *arg), void *arg)
{
    world_post(w, NULL, delay_ns, fn, arg);
}

bool world_step(struct world *w)
{
    while (w->count > 0) {
        struct event *e = heap_pop(w);
        struct host *h = e->host;
        if (e->canceled || (h && (!h->alive || h->life != e->life))) {
            free(e);
            continue;
        }
        CHECK(e->due_ns >= w->now_ns);
        if (h && h->paused_until_ns > e->due_ns) {
            e->due_ns = h->paused_until_ns; /* seq keeps their order */
            heap_push(w, e);
            continue;
        }
        w->same_time = e->due_ns == w->now_ns ? w->same_time + 1 : 0;
        CHECK(w->same_time < SAME_TIME_MAX); /* somebody wakes himself without end */
        w->now_ns = e->due_ns;
        world_trace_add(w, e->due_ns ^ (h ? h->index + 1 : 0));
        if (h && h->on_enter)
            h->on_enter(h->enter_arg);
        void (*fn)(void *) = e->fn;
        void *arg = e->arg;
        free(e);
        fn(arg);
        return true;
    }
    return false;
}

uint64_t world_run_until(struct world *w, uint64_t until_ns)
{
    uint64_t n = 0;
    while (w->count > 0 && w->heap[0]->due_ns <= until_ns && world_step(w))
        n++;
    if (w->now_ns < until_ns)
        w->now_ns = until_ns;
    return n;
}

struct world *world_new(uint64_t seed)
{
    struct world *w = calloc(1, sizeof(*w));
    CHECK(w);
    uint64_t x = seed;
    for (int i = 0; i < 4; i++)
        w->rng[i] = splitmix(&x);
    w->now_ns = NS_PER_SEC;
    w->faults = (struct world_faults){.delay_min_ns = 50 * NS_PER_US, .delay_max_ns = NS_PER_MS};
    return w;
}

void world_free(struct world *w)
{
    while (w->count > 0)
        free(heap_pop(w));
    free(w->heap);
    for (size_t i = 0; i < w->host_count; i++)
        free(w->hosts[i]);
    free(w);
}

void world_set_faults(struct world *w, const struct world_faults *faults)
{
    CHECK(faults->delay_min_ns <= faults->delay_max_ns);
    w->faults = *faults;
}

uint64_t world_now(const struct world *w)
{
    return w->now_ns;
}

uint64_t world_trace(const struct world *w)
{
    return w->trace;
}

void world_trace_add(struct world *w, uint64_t value)
{
    w->trace = hash64(w->trace, SLICE(&value, sizeof(value)));
}

/* ---- the env of a host ---- */

static struct host *host_of(struct env *env)
{
    return container_of(env, struct host_env, env)->host;
}

uint64_t host_clock_ns(struct host *h)
{
    uint64_t passed = h->world->now_ns - h->world_base_ns;
    int64_t extra = (int64_t)(passed / 1000) * h->rate_ppm / 1000;
    return h->clock_base_ns + passed + (uint64_t)extra;
}

static uint64_t sim_now_ns(struct env *env)
{
    return host_clock_ns(host_of(env));
}

static uint64_t sim_wall_ms(struct env *env)
{
    struct host *h = host_of(env);
    return (uint64_t)((int64_t)(h->world->now_ns / NS_PER_MS) + h->wall_offset_ms);
}

static void sim_random(struct env *env, void *ret, size_t len)
{
    struct world *w = host_of(env)->world;
    uint8_t *p = ret;
    while (len > 0) {
        uint64_t x = world_random(w);
        size_t n = MIN(len, sizeof(x));
        memcpy(p, &x, n);
        p += n;
        len -= n;
    }
}

static void timer_fires(void *arg)
{
    struct env_timer *t = arg;
    t->active = false;
    t->heap[0] = NULL;
    t->cb(t);
}

static void sim_timer_stop(struct env *env, struct env_timer *t)
{
    (void)env;
    struct event *e = t->heap[0];
    CHECK(e);
    e->canceled = true;
    t->heap[0] = NULL;
    t->active = false;
}

static void sim_timer_start(struct env *env, struct env_timer *t, uint64_t delay_ns)
{
    struct host *h = host_of(env);
    if (t->active)
        sim_timer_stop(env, t);
    /* A fast clock fires early in world time; rounded up, so that it is never early by its own. */
    int64_t delta = (int64_t)(delay_ns / 1000) * h->rate_ppm / 1000;
    uint64_t world_delay = delay_ns - (uint64_t)delta + (delay_ns ? 2 : 0);
    t->due_ns = host_clock_ns(h) + delay_ns;
    t->heap[0] = world_post(h->world, h, world_delay, timer_fires, t);
    t->active = true;
}

static void work_done(void *arg)
{
    struct env_work *work = arg;
    work->done(work);
}

static void work_runs(void *arg)
{
    struct env_work *work = arg;
    struct host *h = work->impl[0];
    work->run(work);
    world_post(h->world, h, world_below(h->world, 200 * NS_PER_US), work_done, work);
}

static void sim_work_start(struct env *env, struct env_work *work)
{
    struct host *h = host_of(env);
    work->impl[0] = h;
    world_post(h->world, h, world_below(h->world, 500 * NS_PER_US), work_runs, work);
}

static const struct env_ops sim_env_ops = {
    .now_ns = sim_now_ns,
    .wall_ms = sim_wall_ms,
    .random = sim_random,
    .timer_start = sim_timer_start,
    .timer_stop = sim_timer_stop,
    .work_start = sim_work_start,
};

/* ---- hosts ---- */

static void begin_life(struct host *h)
{
    h->life++;
    h->alive = true;
    h->paused_until_ns = 0;
    h->env = calloc(1, sizeof(*h->env));
    CHECK(h->env);
    *h->env = (struct host_env){.env = {.ops = &sim_env_ops}, .host = h};
    h->net = sim_net_new(h);
}

struct host *host_new(struct world *w, const char *node_id, const char *zone, enum net_role role,
                      const char *addr, int32_t rate_ppm, uint64_t wall_ms)
{
    CHECK(w->host_count < WORLD_HOSTS_MAX);
    struct host *h = calloc(1, sizeof(*h));
    CHECK(h);
    h->world = w;
    h->index = w->host_count;
    w->hosts[w->host_count++] = h;
    snprintf(h->id, sizeof(h->id), "%s", node_id);
    snprintf(h->zone, sizeof(h->zone), "%s", zone);
    snprintf(h->addr, sizeof(h->addr), "%s", addr);
    h->role = role;
    h->rate_ppm = rate_ppm;
    h->world_base_ns = w->now_ns;
    h->clock_base_ns = NS_PER_SEC * (1 + world_below(w, 1000)); /* no two clocks agree */
    h->wall_offset_ms = (int64_t)wall_ms - (int64_t)(w->now_ns / NS_PER_MS);
    begin_life(h);
    return h;
}

void host_crash(struct host *h, bool silent)
{
    CHECK(h->alive);
    sim_net_crash(h->net, silent);
    h->alive = false;
    h->life++;
    /* What the processes had allocated stays allocated: a crash frees nothing in order.  A run is
     * one process, so it ends with it. */
}

void host_restart(struct host *h)
{
    CHECK(!h->alive);
    begin_life(h);
}

bool host_paused(const struct host *h)
{
    return h->paused_until_ns > world_now(h->world);
}

void host_pause(struct host *h, uint64_t until_ns)
{
    h->paused_until_ns = MAX(h->paused_until_ns, until_ns);
}

void host_set_rate(struct host *h, int32_t rate_ppm)
{
    h->clock_base_ns = host_clock_ns(h);
    h->world_base_ns = h->world->now_ns;
    h->rate_ppm = rate_ppm;
}

void host_jump_wall(struct host *h, int64_t ms)
{
    h->wall_offset_ms += ms;
}

void host_on_enter(struct host *h, void (*fn)(void *arg), void *arg)
{
    h->on_enter = fn;
    h->enter_arg = arg;
}

const char *host_id(const struct host *h)
{
    return h->id;
}
const char *host_zone(const struct host *h)
{
    return h->zone;
}
const char *host_addr(const struct host *h)
{
    return h->addr;
}
enum net_role host_role(const struct host *h)
{
    return h->role;
}
struct env *host_env(struct host *h)
{
    return &h->env->env;
}
struct net *host_net(struct host *h)
{
    return &h->net->net;
}
bool host_alive(const struct host *h)
{
    return h->alive;
}

struct host *world_host_at(struct world *w, const char *addr)
{
    for (size_t i = 0; i < w->host_count; i++)
        if (strcmp(w->hosts[i]->addr, addr) == 0)
            return w->hosts[i];
    return NULL;
}

void world_block(struct world *w, struct host *from, struct host *to, bool blocked)
{
    w->blocked[from->index][to->index] = blocked;
}

void world_heal(struct world *w)
{
    memset(w->blocked, 0, sizeof(w->blocked));
}
