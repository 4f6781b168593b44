/* What the Raft logs of a metanode share: one batch that gathers while the one before it is being
 * synced, and one bound on cached entries.
 *
 *   writes --> gathering --(turn of the loop, or the batch before has ended)--> under way -->
 * callbacks
 *
 * One batch at a time keeps the writes of a group in order without relying on the kv for it, and
 * costs nothing: what comes meanwhile would have waited for the same disk. */
#include <stdlib.h>

#include "common/base/check.h"
#include "common/base/err.h"
#include "metanode/io/raft_log_internal.h"

static void on_timer(struct env_timer *t);

int raft_logstore_new(struct kv *kv, struct env *env, const struct raft_logstore_options *o,
                      struct raft_logstore **ret)
{
    struct raft_logstore *s = calloc(1, sizeof(*s));
    if (!s)
        return ERR_NOMEM;
    s->kv = kv;
    s->env = env;
    s->o = *o;
    if (s->o.cache_bytes_max == 0)
        s->o.cache_bytes_max = 64u << 20;
    list_init(&s->gathering);
    list_init(&s->under_way);
    list_init(&s->failing);
    list_init(&s->logs);
    env_timer_init(env, &s->timer, on_timer);
    *ret = s;
    return OK;
}

void raft_logstore_free(struct raft_logstore *s)
{
    if (!s)
        return;
    CHECK(list_empty(&s->logs));
    env_timer_stop(&s->timer);
    kv_batch_free(s->batch);
    free(s);
}

bool raft_logstore_idle(const struct raft_logstore *s)
{
    return !s->busy && !s->batch && list_empty(&s->failing);
}

void raft_logstore_stats(const struct raft_logstore *s, struct raft_logstore_stats *ret)
{
    *ret = s->stats;
}

struct kv_batch *raft_logstore_batch(struct raft_logstore *s)
{
    if (!s->batch)
        s->batch = kv_batch_new();
    return s->batch;
}

void raft_logstore_wake(struct raft_logstore *s)
{
    if (!s->busy && !s->timer.active)
        env_timer_start(&s->timer, 0);
}

static void move_all(struct list *from, struct list *to)
{
    while (!list_empty(from))
        list_push_back(to, list_pop_front(from));
}

/* What the disk holds is no longer known: nothing is written after this. */
void raft_logstore_fail(struct raft_logstore *s, int err)
{
    if (s->err)
        return;
    s->err = err;
    kv_batch_free(s->batch);
    s->batch = NULL;
    move_all(&s->under_way, &s->failing);
    move_all(&s->gathering, &s->failing);
    if (!list_empty(&s->failing))
        env_timer_start(&s->timer, 0);
    if (s->o.failed)
        s->o.failed(s->o.ctx, err);
}

static void tell(struct list *writes, int err)
{
    while (!list_empty(writes)) {
        struct raft_log_write *w =
            container_of(list_pop_front(writes), struct raft_log_write, node);
        w->err = err;
        if (err == OK)
            raft_log_written(w->log, w);
        w->cb(w);
    }
}

static void on_batch_written(struct kv_write_req *req)
{
    struct raft_logstore *s = container_of(req, struct raft_logstore, req);
    s->busy = false;
    if (req->err) {
        raft_logstore_fail(s, req->err);
        return;
    }
    if (s->err)
        return;
    tell(&s->under_way, OK);
    raft_logstore_trim(s);
    raft_logstore_submit(s); /* what gathered meanwhile, and what the callbacks wrote */
}

void raft_logstore_submit(struct raft_logstore *s)
{
    if (s->busy || s->err || !s->batch)
        return;
    env_timer_stop(&s->timer);
    CHECK(list_empty(&s->under_way));
    s->stats.batches++;
    s->stats.bytes_written += kv_batch_bytes(s->batch);
    s->req = (struct kv_write_req){.cb = on_batch_written, .batch = s->batch};
    s->batch = NULL;
    move_all(&s->gathering, &s->under_way);
    s->busy = true;
    int err = s->kv->ops->write_start(s->kv, &s->req);
    if (err) {
        s->busy = false;
        kv_batch_free(s->req.batch);
        raft_logstore_fail(s, err);
    }
}

static void on_timer(struct env_timer *t)
{
    struct raft_logstore *s = container_of(t, struct raft_logstore, timer);
    if (s->err)
        tell(&s->failing, s->err);
    else
        raft_logstore_submit(s);
}

/* Takes from the log that has been quiet for longest. */
void raft_logstore_trim(struct raft_logstore *s)
{
    list_for_each(it, &s->logs)
    {
        struct raft_log *l = container_of(it, struct raft_log, node);
        while (s->stats.cache_bytes > s->o.cache_bytes_max && raft_log_cache_evict(l)) {
        }
        if (s->stats.cache_bytes <= s->o.cache_bytes_max)
            return;
    }
}
