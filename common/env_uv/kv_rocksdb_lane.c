/* The threads of a RocksDB store that block for it, and the way back to the loop.
 *
 * A lane takes all that is queued at a time; results of all lanes come back through one post to the
 * loop, which runs the callbacks in the order of the queue.  A lone synced write is the usual case, and
 * a thread that is woken only to wait for a lock costs more than the write: nobody is woken while the
 * lock is held, nor a lane that is at work, and what the loop allocated the loop frees.  (A semaphore:
 * a condition variable takes the lock as if others waited for it, and so makes one more system call.) */
#include "common/base/check.h"
#include "common/base/err.h"
#include "common/env_uv/kv_rocksdb_impl.h"

#include <errno.h>
#include <signal.h>
#include <stdlib.h>

static void list_take(struct list *to, struct list *from)
{
    while (!list_empty(from))
        list_push_back(to, list_pop_front(from));
}

/* Gives back what is done and waits for more.  Returns: false when the lane is to end. */
static bool lane_next(struct kv_lane *lane, struct list *jobs)
{
    struct kv_rocksdb *r = lane->r;
    pthread_mutex_lock(&r->lock);
    bool post = !list_empty(jobs) && !r->posted;
    list_take(&lane->done, jobs);
    if (post) {
        r->posted = true;
        pthread_mutex_unlock(&r->lock);
        env_uv_post(r->env, &r->post);
        pthread_mutex_lock(&r->lock);
    }
    while (list_empty(&lane->queue) && !lane->stop) {
        lane->waiting = true;
        pthread_mutex_unlock(&r->lock);
        while (sem_wait(&lane->wake) != 0)
            CHECK(errno == EINTR);
        pthread_mutex_lock(&r->lock);
    }
    list_take(jobs, &lane->queue);
    pthread_mutex_unlock(&r->lock);
    return !list_empty(jobs);
}

static void *lane_main(void *arg)
{
    struct kv_lane *lane = arg;
    struct list jobs;
    list_init(&jobs);
    while (lane_next(lane, &jobs))
        lane->run(lane->r, &jobs);
    return NULL;
}

/* Under the lock. */
static int lane_start(struct kv_lane *lane)
{
    if (lane->started)
        return OK;
    sigset_t all, old; /* signals belong to the loop's thread */
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &old);
    int failed = pthread_create(&lane->thread, NULL, lane_main, lane);
    pthread_sigmask(SIG_SETMASK, &old, NULL);
    lane->started = !failed;
    return failed ? ERR_NOMEM : OK;
}

/* Under the lock.  Returns: true when the lane is to be woken, by the caller, without the lock. */
static bool lane_take_waiting(struct kv_lane *lane)
{
    bool waiting = lane->waiting;
    lane->waiting = false;
    return waiting;
}

void kv_lane_init(struct kv_lane *lane, struct kv_rocksdb *r,
                  void (*run)(struct kv_rocksdb *, struct list *))
{
    lane->r = r;
    lane->run = run;
    list_init(&lane->queue);
    list_init(&lane->done);
    CHECK(sem_init(&lane->wake, 0, 0) == 0);
}

void kv_lane_fini(struct kv_lane *lane)
{
    pthread_mutex_lock(&lane->r->lock);
    lane->stop = true;
    bool wake = lane_take_waiting(lane);
    pthread_mutex_unlock(&lane->r->lock);
    if (wake)
        sem_post(&lane->wake);
    if (lane->started)
        pthread_join(lane->thread, NULL);
    sem_destroy(&lane->wake);
}

int kv_lane_push(struct kv_lane *lane, struct kv_job *job)
{
    struct kv_rocksdb *r = lane->r;
    pthread_mutex_lock(&r->lock);
    int err = lane_start(lane);
    if (err == OK)
        list_push_back(&lane->queue, &job->node);
    bool wake = err == OK && lane_take_waiting(lane);
    pthread_mutex_unlock(&r->lock);
    if (wake)
        sem_post(&lane->wake);
    if (err == OK)
        r->pending++;
    return err;
}

void kv_lane_post(struct env_uv_post *post)
{
    struct kv_rocksdb *r = container_of(post, struct kv_rocksdb, post);
    struct list done;
    list_init(&done);
    pthread_mutex_lock(&r->lock);
    r->posted = false;
    list_take(&done, &r->writer.done);
    list_take(&done, &r->flusher.done);
    pthread_mutex_unlock(&r->lock);
    while (!list_empty(&done)) {
        struct kv_job *job = container_of(list_pop_front(&done), struct kv_job, node);
        struct kv_write_req *write = job->write;
        struct kv_flush_req *flush = job->flush;
        int err = job->err;
        kv_batch_free(job->batch);
        free(job);
        r->pending--;
        if (write) {
            write->err = err;
            write->cb(write);
        } else {
            flush->err = err;
            flush->cb(flush);
        }
    }
}
