#pragma once
/* A virtual clock for unit tests: timers fire in the order of their due times, work runs at the next
 * turn.  fake_env_run() goes on until nothing is armed. */
#include "common/base/check.h"
#include "common/env/env.h"

struct fake_env {
    struct env env;
    uint64_t now_ns;
    uint64_t random;
    struct list timers;
    struct list work;
};

static inline struct fake_env *fake_of(struct env *e)
{
    return container_of(e, struct fake_env, env);
}

static inline uint64_t fake_now(struct env *e) { return fake_of(e)->now_ns; }
static inline uint64_t fake_wall(struct env *e) { return fake_of(e)->now_ns / NS_PER_MS; }

static inline uint64_t fake_rand(void *arg)
{
    struct fake_env *f = arg;
    f->random ^= f->random << 13;
    f->random ^= f->random >> 7;
    f->random ^= f->random << 17;
    return f->random;
}

static inline void fake_random(struct env *e, void *ret, size_t len)
{
    for (size_t i = 0; i < len; i++)
        ((uint8_t *)ret)[i] = (uint8_t)(fake_rand(fake_of(e)) >> 24);
}

static inline void fake_timer_stop(struct env *e, struct env_timer *t)
{
    (void)e;
    list_remove(&t->node);
    t->active = false;
}

static inline void fake_timer_start(struct env *e, struct env_timer *t, uint64_t delay_ns)
{
    struct fake_env *f = fake_of(e);
    list_remove(&t->node);
    t->active = true;
    t->due_ns = f->now_ns + delay_ns;
    struct list *at = f->timers.next;
    while (at != &f->timers && container_of(at, struct env_timer, node)->due_ns <= t->due_ns)
        at = at->next;
    list_insert_before(at, &t->node);
}

static inline void fake_work_start(struct env *e, struct env_work *w)
{
    struct fake_env *f = fake_of(e);
    struct list *node = (struct list *)(void *)w->impl;
    list_init(node);
    list_push_back(&f->work, node);
}

static inline void fake_env_init(struct fake_env *f)
{
    static const struct env_ops ops = {fake_now,        fake_wall,       fake_random,
                                       fake_timer_start, fake_timer_stop, fake_work_start};
    *f = (struct fake_env){.env = {&ops}, .now_ns = NS_PER_SEC, .random = 88172645463325252ull};
    list_init(&f->timers);
    list_init(&f->work);
}

/* One timer or one work; false when there is none. */
static inline bool fake_env_step(struct fake_env *f)
{
    if (!list_empty(&f->work)) {
        void *node = list_pop_front(&f->work);
        struct env_work *w = container_of((void *(*)[16])node, struct env_work, impl);
        w->run(w);
        w->done(w);
        return true;
    }
    if (list_empty(&f->timers))
        return false;
    struct env_timer *t = container_of(list_pop_front(&f->timers), struct env_timer, node);
    t->active = false;
    f->now_ns = MAX(f->now_ns, t->due_ns);
    t->cb(t);
    return true;
}

static inline void fake_env_run(struct fake_env *f)
{
    while (fake_env_step(f))
        ;
}
