#pragma once
/* The env of one libuv loop: CLOCK_BOOTTIME, getrandom(), timers, libuv's worker threads, and a way
 * for other threads to hand something to the loop.
 *
 * Time is read from the kernel at each call (vDSO, tens of nanoseconds): nothing that decides about
 * a lease may look at a clock that was read before the machine was suspended.  Timers are an
 * intrusive pairing heap under one timerfd of the same clock, so they fire with the precision of
 * the kernel and at once after a suspension; starting is O(1), stopping O(log n) amortized, nothing
 * is allocated. */
#include "common/env/env.h"

#include <stdatomic.h>
#include <uv.h>

/* A message from any thread to the loop, embedded by its user.  Posted once, it may be posted again
 * from within fn or later; never while it is on its way. */
struct env_uv_post {
    void (*fn)(struct env_uv_post *);
    struct env_uv_post *next; /* for the implementation */
};

struct env_uv {
    struct env env; /* hand out &e->env */
    uv_loop_t *loop;
    int timer_fd, post_fd;
    clockid_t clock;
    uv_poll_t timer_poll;
    uv_idle_t soon_idle;
    uv_poll_t post_poll;
    uint8_t random[256]; /* from the kernel, not given out yet: the first random_left bytes */
    size_t random_left;
    struct env_timer *heap; /* root of the pairing heap, by (due, sequence) */
    struct list soon;       /* delay 0, in order of start */
    uint64_t sequence;
    uint64_t armed_ns; /* when timer_fd fires; 0: not armed */
    struct env_uv_post *_Atomic posted;
    atomic_uint posting; /* threads within env_uv_post() */
    size_t work_under_way;
    unsigned handles_open;
};

/* Its handles keep the loop alive until env_uv_fini: a main loop ends by uv_stop().
 * Returns: OK; ERR_IO; ERR_NOMEM. */
int env_uv_init(struct env_uv *e, uv_loop_t *loop);
/* Outside of uv_run: waits for work under way (its `done` is called), runs what was posted, closes
 * its handles and runs the loop until they are closed.  Timers still active never fire. */
void env_uv_fini(struct env_uv *e);

/* The loop behind an env that env_uv_init made. */
struct env_uv *env_uv_from(struct env *env);
uv_loop_t *env_uv_loop(struct env *env);

/* Runs fn on the loop, soon; in order of the posts of one thread.  Runs on: any thread, while the
 * env is open.  Blocks: never. */
void env_uv_post(struct env *env, struct env_uv_post *post);

/* Runs the loop until *flag is set (by some callback): for tests and tools. */
void env_uv_run_until(struct env_uv *e, const bool *flag);
