/* Clock, random numbers, timers, worker threads and posts of one libuv loop. */
#include "common/env_uv/env_uv.h"

#include "common/base/check.h"
#include "common/base/err.h"

#include <assert.h>
#include <errno.h>
#include <sched.h>
#include <sys/eventfd.h>
#include <sys/random.h>
#include <sys/timerfd.h>
#include <unistd.h>

/* ---- clocks and random numbers ---- */

static uint64_t clock_ns(clockid_t clock)
{
    struct timespec ts;
    CHECK(clock_gettime(clock, &ts) == 0);
    return (uint64_t)ts.tv_sec * NS_PER_SEC + (uint64_t)ts.tv_nsec;
}

static uint64_t env_uv_now_ns(struct env *env)
{
    return clock_ns(env_uv_from(env)->clock);
}

static uint64_t env_uv_wall_ms(struct env *env)
{
    (void)env;
    return clock_ns(CLOCK_REALTIME) / NS_PER_MS;
}

static void random_from_kernel(uint8_t *p, size_t len)
{
    while (len > 0) {
        ssize_t n = getrandom(p, len, 0);
        if (n < 0) {
            CHECK(errno == EINTR);
            continue;
        }
        p += n;
        len -= (size_t)n;
    }
}

/* The kernel's, some ids' worth at a time: each byte is given out once and forgotten. */
static void env_uv_random(struct env *env, void *ret, size_t len)
{
    struct env_uv *e = env_uv_from(env);
    if (len > sizeof(e->random) / 4) {
        random_from_kernel(ret, len);
        return;
    }
    if (e->random_left < len) {
        random_from_kernel(e->random, sizeof(e->random));
        e->random_left = sizeof(e->random);
    }
    e->random_left -= len;
    memcpy(ret, e->random + e->random_left, len);
    explicit_bzero(e->random + e->random_left, len);
}

/* ---- the pairing heap ----
 * A node's links live in env_timer.heap: its first child, its next sibling, and prev, which is the
 * sibling before it or, for a first child, the parent. */
#define HEAP_CHILD 0
#define HEAP_NEXT 1
#define HEAP_PREV 2
#define HEAP_SEQUENCE 3

static struct env_timer *heap_link(const struct env_timer *t, int link)
{
    return t->heap[link];
}

static bool heap_before(const struct env_timer *a, const struct env_timer *b)
{
    if (a->due_ns != b->due_ns)
        return a->due_ns < b->due_ns;
    return (uintptr_t)a->heap[HEAP_SEQUENCE] < (uintptr_t)b->heap[HEAP_SEQUENCE];
}

/* The merge of two heaps whose roots have neither sibling nor parent. */
static struct env_timer *heap_merge(struct env_timer *a, struct env_timer *b)
{
    if (!a || !b)
        return a ? a : b;
    if (heap_before(b, a)) {
        struct env_timer *swap = a;
        a = b;
        b = swap;
    }
    struct env_timer *child = heap_link(a, HEAP_CHILD);
    b->heap[HEAP_NEXT] = child;
    b->heap[HEAP_PREV] = a;
    if (child)
        child->heap[HEAP_PREV] = b;
    a->heap[HEAP_CHILD] = b;
    return a;
}

/* Merges a list of siblings: pairs from left to right, then the pairs from right to left. */
static struct env_timer *heap_merge_siblings(struct env_timer *first)
{
    struct env_timer *pairs = NULL, *root = NULL;
    while (first) {
        struct env_timer *a = first, *b = heap_link(a, HEAP_NEXT);
        first = b ? heap_link(b, HEAP_NEXT) : NULL;
        a->heap[HEAP_NEXT] = a->heap[HEAP_PREV] = NULL;
        if (b)
            b->heap[HEAP_NEXT] = b->heap[HEAP_PREV] = NULL;
        a = heap_merge(a, b);
        a->heap[HEAP_NEXT] = pairs;
        pairs = a;
    }
    while (pairs) {
        struct env_timer *a = pairs;
        pairs = heap_link(a, HEAP_NEXT);
        a->heap[HEAP_NEXT] = NULL;
        root = heap_merge(root, a);
    }
    return root;
}

static void heap_insert(struct env_uv *e, struct env_timer *t)
{
    t->heap[HEAP_CHILD] = t->heap[HEAP_NEXT] = t->heap[HEAP_PREV] = NULL;
    e->heap = heap_merge(e->heap, t);
}

static void heap_remove(struct env_uv *e, struct env_timer *t)
{
    struct env_timer *below = heap_merge_siblings(heap_link(t, HEAP_CHILD));
    if (t == e->heap) {
        e->heap = below;
    } else {
        struct env_timer *prev = heap_link(t, HEAP_PREV), *next = heap_link(t, HEAP_NEXT);
        CHECK(prev != NULL);
        prev->heap[heap_link(prev, HEAP_CHILD) == t ? HEAP_CHILD : HEAP_NEXT] = next;
        if (next)
            next->heap[HEAP_PREV] = prev;
        e->heap = heap_merge(e->heap, below);
    }
    t->heap[HEAP_CHILD] = t->heap[HEAP_NEXT] = t->heap[HEAP_PREV] = NULL;
}

/* ---- timers ---- */

/* The timerfd is moved only to fire earlier; when the earliest timer was stopped meanwhile it fires
 * for nothing once, which is cheaper than a system call for every stop. */
static void timer_arm(struct env_uv *e)
{
    if (!e->heap || (e->armed_ns != 0 && e->armed_ns <= e->heap->due_ns))
        return;
    e->armed_ns = e->heap->due_ns;
    struct itimerspec when = {
        .it_value = {.tv_sec = (time_t)(e->armed_ns / NS_PER_SEC),
                     .tv_nsec = (long)(e->armed_ns % NS_PER_SEC)},
    };
    CHECK(timerfd_settime(e->timer_fd, TFD_TIMER_ABSTIME, &when, NULL) == 0);
}

static void timer_fd_cb(uv_poll_t *poll, int status, int events)
{
    (void)status;
    (void)events;
    struct env_uv *e = container_of(poll, struct env_uv, timer_poll);
    uint64_t expirations;
    ssize_t n = read(e->timer_fd, &expirations, sizeof(expirations));
    CHECK(n == (ssize_t)sizeof(expirations) || errno == EAGAIN || errno == EINTR);
    /* Starts within the callbacks see it as armed for now, so that it is set once, below. */
    e->armed_ns = 1;
    uint64_t now = clock_ns(e->clock);
    while (e->heap && e->heap->due_ns <= now) {
        struct env_timer *t = e->heap;
        heap_remove(e, t);
        t->active = false;
        t->cb(t);
    }
    e->armed_ns = 0;
    timer_arm(e);
}

static void soon_cb(uv_idle_t *idle)
{
    struct env_uv *e = container_of(idle, struct env_uv, soon_idle);
    struct list batch;
    list_init(&batch);
    /* Only what was there before this turn: a callback may start the next one. */
    if (!list_empty(&e->soon)) {
        list_insert_before(e->soon.next, &batch);
        list_remove(&e->soon);
    }
    while (!list_empty(&batch)) {
        struct env_timer *t = container_of(list_pop_front(&batch), struct env_timer, node);
        t->active = false;
        t->cb(t);
    }
    if (list_empty(&e->soon))
        uv_idle_stop(&e->soon_idle);
}

static void env_uv_timer_stop(struct env *env, struct env_timer *t)
{
    struct env_uv *e = env_uv_from(env);
    if (!t->active)
        return;
    t->active = false;
    if (!list_empty(&t->node))
        list_remove(&t->node);
    else
        heap_remove(e, t);
}

static void env_uv_timer_start(struct env *env, struct env_timer *t, uint64_t delay_ns)
{
    struct env_uv *e = env_uv_from(env);
    env_uv_timer_stop(env, t);
    uint64_t now = clock_ns(e->clock);
    t->active = true;
    t->due_ns = delay_ns > (uint64_t)INT64_MAX - now ? (uint64_t)INT64_MAX : now + delay_ns;
    if (delay_ns == 0) {
        list_push_back(&e->soon, &t->node);
        uv_idle_start(&e->soon_idle, soon_cb);
        return;
    }
    t->heap[HEAP_SEQUENCE] = (void *)(uintptr_t)++e->sequence;
    heap_insert(e, t);
    timer_arm(e);
}

/* ---- worker threads ---- */

static_assert(sizeof(uv_work_t) <= sizeof(((struct env_work *)0)->impl), "uv_work_t must fit");

static void work_run(uv_work_t *req)
{
    struct env_work *w = container_of((void *)req, struct env_work, impl);
    w->run(w);
}

static void work_done(uv_work_t *req, int status)
{
    CHECK(status == 0); /* nothing here cancels work */
    struct env_work *w = container_of((void *)req, struct env_work, impl);
    struct env_uv *e = req->data;
    e->work_under_way--;
    w->done(w);
}

static void env_uv_work_start(struct env *env, struct env_work *w)
{
    struct env_uv *e = env_uv_from(env);
    uv_work_t *req = (void *)w->impl;
    memset(req, 0, sizeof(*req));
    req->data = e;
    e->work_under_way++;
    CHECK(uv_queue_work(e->loop, req, work_run, work_done) == 0);
}

/* ---- posts from other threads ---- */

void env_uv_post(struct env *env, struct env_uv_post *post)
{
    struct env_uv *e = env_uv_from(env);
    /* Once the post is on the stack the loop may run it, end, and be closed: env_uv_fini() waits for
     * those who still have to wake it. */
    atomic_fetch_add(&e->posting, 1);
    struct env_uv_post *head = atomic_load_explicit(&e->posted, memory_order_relaxed);
    do {
        post->next = head;
    } while (!atomic_compare_exchange_weak_explicit(&e->posted, &head, post, memory_order_release,
                                                    memory_order_relaxed));
    /* Whoever found the stack empty wakes the loop for all that follow until it is taken. */
    if (!head)
        CHECK(eventfd_write(e->post_fd, 1) == 0);
    atomic_fetch_sub(&e->posting, 1);
}

static void posts_run(struct env_uv *e)
{
    struct env_uv_post *newest = atomic_exchange_explicit(&e->posted, NULL, memory_order_acquire);
    struct env_uv_post *oldest = NULL;
    while (newest) {
        struct env_uv_post *next = newest->next;
        newest->next = oldest;
        oldest = newest;
        newest = next;
    }
    while (oldest) {
        struct env_uv_post *post = oldest;
        oldest = post->next;
        post->fn(post); /* may post itself again, or be gone */
    }
}

static void post_fd_cb(uv_poll_t *poll, int status, int events)
{
    (void)status;
    (void)events;
    struct env_uv *e = container_of(poll, struct env_uv, post_poll);
    eventfd_t count;
    CHECK(eventfd_read(e->post_fd, &count) == 0 || errno == EAGAIN || errno == EINTR);
    posts_run(e);
}

/* ---- life ---- */

static const struct env_ops env_uv_ops = {
    .now_ns = env_uv_now_ns,
    .wall_ms = env_uv_wall_ms,
    .random = env_uv_random,
    .timer_start = env_uv_timer_start,
    .timer_stop = env_uv_timer_stop,
    .work_start = env_uv_work_start,
};

struct env_uv *env_uv_from(struct env *env)
{
    CHECK(env->ops == &env_uv_ops);
    return container_of(env, struct env_uv, env);
}

uv_loop_t *env_uv_loop(struct env *env)
{
    return env_uv_from(env)->loop;
}

int env_uv_init(struct env_uv *e, uv_loop_t *loop)
{
    *e = (struct env_uv){.env = {&env_uv_ops}, .loop = loop, .clock = CLOCK_BOOTTIME};
    list_init(&e->soon);
    atomic_init(&e->posted, NULL);
    atomic_init(&e->posting, 0);
    e->timer_fd = timerfd_create(CLOCK_BOOTTIME, TFD_NONBLOCK | TFD_CLOEXEC);
    if (e->timer_fd < 0)
        return errno == ENOMEM ? ERR_NOMEM : ERR_IO;
    /* Not uv_async_t: there a loop that is awake before the sender is out of its system call spins for
     * it, some 50 us, and then yields the processor. */
    e->post_fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
    if (e->post_fd < 0) {
        int err = errno == ENOMEM ? ERR_NOMEM : ERR_IO;
        close(e->timer_fd);
        return err;
    }
    CHECK(uv_poll_init(loop, &e->timer_poll, e->timer_fd) == 0);
    CHECK(uv_poll_start(&e->timer_poll, UV_READABLE, timer_fd_cb) == 0);
    CHECK(uv_poll_init(loop, &e->post_poll, e->post_fd) == 0);
    CHECK(uv_poll_start(&e->post_poll, UV_READABLE, post_fd_cb) == 0);
    CHECK(uv_idle_init(loop, &e->soon_idle) == 0);
    e->handles_open = 3;
    return OK;
}

static void handle_closed(uv_handle_t *handle)
{
    struct env_uv *e = handle->data;
    e->handles_open--;
}

void env_uv_fini(struct env_uv *e)
{
    while (e->work_under_way > 0)
        uv_run(e->loop, UV_RUN_ONCE);
    while (atomic_load(&e->posting) > 0)
        sched_yield();
    posts_run(e);
    uv_handle_t *handles[] = {(uv_handle_t *)&e->timer_poll, (uv_handle_t *)&e->soon_idle,
                              (uv_handle_t *)&e->post_poll};
    for (size_t i = 0; i < ARRAY_COUNT(handles); i++) {
        handles[i]->data = e;
        uv_close(handles[i], handle_closed);
    }
    close(e->timer_fd);
    close(e->post_fd);
    while (e->handles_open > 0)
        uv_run(e->loop, UV_RUN_ONCE);
    e->env.ops = NULL;
}

void env_uv_run_until(struct env_uv *e, const bool *flag)
{
    while (!*flag)
        uv_run(e->loop, UV_RUN_ONCE);
}
