#pragma once
/* The seam between what decides and the world: clocks, random numbers, timers, deferred calls and
 * worker threads of ONE event loop.  common/env_uv implements it over libuv; tests/sim implements it
 * on a virtual clock.  Everything here is called on the loop that the env belongs to, except where a
 * line says otherwise.  A timer or deferred callback is never called inside the call that armed it. */
#include "common/base/list.h"
#include "common/base/slice.h"

#define NS_PER_US 1000ull
#define NS_PER_MS 1000000ull
#define NS_PER_SEC 1000000000ull

struct env;
struct env_timer;
struct env_work;

struct env_ops {
    uint64_t (*now_ns)(struct env *);                 /* monotonic; counts suspension (BOOTTIME) */
    uint64_t (*wall_ms)(struct env *);                /* Unix time, may jump */
    void (*random)(struct env *, void *ret, size_t len); /* cryptographic in the real world */
    void (*timer_start)(struct env *, struct env_timer *, uint64_t delay_ns);
    void (*timer_stop)(struct env *, struct env_timer *);
    void (*work_start)(struct env *, struct env_work *);
};

struct env {
    const struct env_ops *ops;
};

/* One-shot timer, embedded by its user.  Starting a running one restarts it.  delay 0 means: soon,
 * on the next turn of the loop. */
struct env_timer {
    void (*cb)(struct env_timer *);
    struct env *env;
    bool active;
    uint64_t due_ns;
    struct list node;  /* for the implementation */
    void *heap[4];     /* for the implementation */
};

/* A call on a worker thread.  `run` sees only memory that no one else touches meanwhile; `done` runs
 * on the loop.  Accepted always; exactly one done.  The simulator runs both on its one thread. */
struct env_work {
    void (*run)(struct env_work *);
    void (*done)(struct env_work *);
    void *impl[16]; /* for the implementation */
};

static inline uint64_t env_now_ns(struct env *e) { return e->ops->now_ns(e); }
static inline uint64_t env_wall_ms(struct env *e) { return e->ops->wall_ms(e); }
static inline void env_random(struct env *e, void *ret, size_t n) { e->ops->random(e, ret, n); }

static inline void env_timer_init(struct env *e, struct env_timer *t, void (*cb)(struct env_timer *))
{
    *t = (struct env_timer){.cb = cb, .env = e};
    list_init(&t->node);
}

static inline void env_timer_start(struct env_timer *t, uint64_t delay_ns)
{
    t->env->ops->timer_start(t->env, t, delay_ns);
}

static inline void env_timer_stop(struct env_timer *t)
{
    if (t->active)
        t->env->ops->timer_stop(t->env, t);
}

static inline void env_work_start(struct env *e, struct env_work *w) { e->ops->work_start(e, w); }
