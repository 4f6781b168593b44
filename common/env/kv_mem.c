/* The in-memory store; see kv_mem.h for what it promises.
 *
 * `current` is what reads see.  `unsynced` lists, in the order of their application, the batches that
 * a crash may take back to `durable`, a reference to the trees as they stood when the last sync or
 * flush began.  Synced writes wait in `queue`, then form the one `group` under way; they are applied
 * when it completes, as late as the contract allows, so that code which reads its own write too early
 * is found.  Callbacks run from `done`, one by one, so that each may crash, close or write. */
#include "common/env/kv_mem.h"

#include "common/base/check.h"
#include "common/base/cursor.h"
#include "common/base/err.h"
#include "common/env/kv_file.h"
#include "common/env/kv_tree.h"

#include <stdlib.h>

struct kv_snapshot {
    struct kv_node *root[KV_FAMILY_COUNT];
};

struct unsynced {
    struct list node;
    struct kv_batch *batch;
};

/* A synced write under way.  The batch is kept here, not in the request, so that a crash never looks
 * at memory of an owner that has died. */
struct queued {
    struct list node;
    struct kv_write_req *req;
    struct kv_batch *batch; /* NULL once it has been applied or given up */
};

struct kv_mem {
    struct kv kv;
    struct env *env;
    struct kv_mem_config config;
    struct kv_snapshot current, durable, flushing;
    struct list unsynced;
    struct list queue, group, done;                        /* of struct queued */
    struct list flush_queue, flush_group, flush_done;      /* of kv_flush_req */
    struct list *flush_mark;   /* last of `unsynced` when the flush began; the head: none */
    struct env_timer write_timer, flush_timer;
    uint64_t fail_nth;
    int fail_err;
    bool failed;
    uint64_t sequence;         /* of the last applied batch */
    uint64_t flush_sequence;
    size_t pending;
    struct kv_mem_stats stats;
};

static struct kv_mem *mem_of(struct kv *kv)
{
    return container_of(kv, struct kv_mem, kv);
}

static void roots_ref(struct kv_snapshot *to, const struct kv_snapshot *from)
{
    for (int f = 0; f < KV_FAMILY_COUNT; f++)
        to->root[f] = kv_tree_ref(from->root[f]);
}

static void roots_unref(struct kv_snapshot *s)
{
    for (int f = 0; f < KV_FAMILY_COUNT; f++) {
        kv_tree_unref(s->root[f]);
        s->root[f] = NULL;
    }
}

static void roots_apply(struct kv_snapshot *s, const struct kv_batch *batch)
{
    size_t pos = 0;
    struct kv_op op;
    while (kv_batch_next(batch, &pos, &op)) {
        struct kv_node **root = &s->root[op.family];
        switch (op.kind) {
        case KV_OP_PUT: *root = kv_tree_put(*root, op.key, op.value); break;
        case KV_OP_DELETE: *root = kv_tree_delete(*root, op.key); break;
        case KV_OP_DELETE_RANGE: *root = kv_tree_delete_range(*root, op.key, op.value); break;
        }
    }
}

/* Remembers the batch for a crash to replay or lose; takes it over. */
static void unsynced_push(struct kv_mem *m, struct kv_batch *batch)
{
    struct unsynced *u = calloc(1, sizeof(*u));
    CHECK(u != NULL);
    u->batch = batch;
    list_push_back(&m->unsynced, &u->node);
}

static void unsynced_drop_first(struct kv_mem *m)
{
    struct unsynced *u = container_of(list_pop_front(&m->unsynced), struct unsynced, node);
    kv_batch_free(u->batch);
    free(u);
}

static void apply(struct kv_mem *m, struct kv_batch *batch)
{
    roots_apply(&m->current, batch);
    m->sequence++;
    unsynced_push(m, batch);
}

/* Everything applied is on the disk now. */
static void all_durable(struct kv_mem *m)
{
    while (!list_empty(&m->unsynced))
        unsynced_drop_first(m);
    if (m->flush_mark)
        m->flush_mark = &m->unsynced;
    roots_unref(&m->durable);
    roots_ref(&m->durable, &m->current);
}

/* Counts a change; true when it is the one that shall fail. */
static bool fails_now(struct kv_mem *m)
{
    if (m->fail_nth == 0 || --m->fail_nth > 0)
        return false;
    m->failed = true;
    return true;
}

/* ---- reads ---- */
static int mem_get(struct kv *kv, const struct kv_snapshot *snap, enum kv_family family,
                   struct slice key, struct buf *ret)
{
    const struct kv_snapshot *s = snap ? snap : &mem_of(kv)->current;
    const struct kv_item *it = kv_tree_get(s->root[family], key);
    if (!it)
        return ERR_NOT_FOUND;
    buf_slice(ret, kv_item_value(it));
    return ret->failed ? ERR_NOMEM : OK;
}

static const struct kv_snapshot *mem_snapshot_new(struct kv *kv)
{
    struct kv_snapshot *s = calloc(1, sizeof(*s));
    if (s)
        roots_ref(s, &mem_of(kv)->current);
    return s;
}

static void mem_snapshot_free(struct kv *kv, const struct kv_snapshot *snap)
{
    (void)kv;
    struct kv_snapshot *s = (struct kv_snapshot *)(uintptr_t)snap;
    if (!s)
        return;
    roots_unref(s);
    free(s);
}

struct mem_iter {
    struct kv_iter iter;
    struct kv_walk walk;
    struct kv_node *own_root; /* NULL under a snapshot, which keeps the tree: no count is touched */
    struct slice lower, upper;
    uint8_t bounds[];
};

static struct mem_iter *iter_of(struct kv_iter *it)
{
    return container_of(it, struct mem_iter, iter);
}

static const struct kv_item *iter_item(const struct mem_iter *it)
{
    const struct kv_item *item = kv_walk_item(&it->walk);
    if (item && it->upper.len && slice_cmp(kv_item_key(item), it->upper) >= 0)
        return NULL;
    return item;
}

static void iter_seek(struct kv_iter *base, struct slice key)
{
    struct mem_iter *it = iter_of(base);
    kv_walk_seek(&it->walk, slice_cmp(key, it->lower) < 0 ? it->lower : key);
}

static void iter_seek_last(struct kv_iter *base)
{
    struct mem_iter *it = iter_of(base);
    kv_walk_last(&it->walk, it->upper);
    const struct kv_item *item = kv_walk_item(&it->walk);
    if (item && slice_cmp(kv_item_key(item), it->lower) < 0)
        it->walk.depth = 0;
}

static void iter_next(struct kv_iter *base)
{
    CHECK(iter_item(iter_of(base)) != NULL);
    kv_walk_next(&iter_of(base)->walk);
}

static bool iter_valid(struct kv_iter *base)
{
    return iter_item(iter_of(base)) != NULL;
}

static struct slice iter_key(struct kv_iter *base)
{
    const struct kv_item *item = iter_item(iter_of(base));
    CHECK(item != NULL);
    return kv_item_key(item);
}

static struct slice iter_value(struct kv_iter *base)
{
    const struct kv_item *item = iter_item(iter_of(base));
    CHECK(item != NULL);
    return kv_item_value(item);
}

static int iter_error(struct kv_iter *base)
{
    (void)base;
    return OK;
}

static void iter_free(struct kv_iter *base)
{
    if (!base)
        return;
    kv_tree_unref(iter_of(base)->own_root);
    free(iter_of(base));
}

static const struct kv_iter_ops iter_ops = {
    .seek = iter_seek,
    .seek_last = iter_seek_last,
    .next = iter_next,
    .valid = iter_valid,
    .key = iter_key,
    .value = iter_value,
    .error = iter_error,
    .free = iter_free,
};

static struct kv_iter *mem_iter_new(struct kv *kv, const struct kv_snapshot *snap,
                                    enum kv_family family, struct slice lower, struct slice upper)
{
    struct mem_iter *it = malloc(sizeof(*it) + lower.len + upper.len);
    if (!it)
        return NULL;
    *it = (struct mem_iter){.iter = {.ops = &iter_ops}};
    if (lower.len)
        memcpy(it->bounds, lower.ptr, lower.len);
    if (upper.len)
        memcpy(it->bounds + lower.len, upper.ptr, upper.len);
    it->lower = SLICE(it->bounds, lower.len);
    it->upper = SLICE(it->bounds + lower.len, upper.len);
    if (!snap)
        it->own_root = kv_tree_ref(mem_of(kv)->current.root[family]);
    it->walk.root = snap ? snap->root[family] : it->own_root;
    kv_walk_seek(&it->walk, it->lower);
    return &it->iter;
}

static uint64_t mem_approximate_bytes(struct kv *kv, enum kv_family family, struct slice lower,
                                      struct slice upper)
{
    return kv_tree_bytes(mem_of(kv)->current.root[family], lower, upper);
}

/* ---- writes ---- */
static int mem_write(struct kv *kv, struct kv_batch **batch)
{
    struct kv_mem *m = mem_of(kv);
    struct kv_batch *b = *batch;
    *batch = NULL;
    int err = m->failed ? ERR_IO : kv_batch_error(b);
    if (err == OK && m->config.mode == KV_STATE && kv_batch_deletes_ranges(b))
        err = ERR_UNIMPLEMENTED;
    if (err == OK && fails_now(m)) {
        unsynced_push(m, b);
        return m->fail_err;
    }
    if (err != OK) {
        kv_batch_free(b);
        return err;
    }
    m->stats.volatile_writes++;
    apply(m, b);
    return OK;
}

static void group_start(struct kv_mem *m)
{
    if (!list_empty(&m->group) || list_empty(&m->queue))
        return;
    while (!list_empty(&m->queue))
        list_push_back(&m->group, list_pop_front(&m->queue));
    env_timer_start(&m->write_timer, m->config.write_delay_ns);
}

static int mem_write_start(struct kv *kv, struct kv_write_req *req)
{
    struct kv_mem *m = mem_of(kv);
    if (m->config.mode != KV_LOG)
        return ERR_UNIMPLEMENTED;
    if (m->failed)
        return ERR_IO;
    int err = kv_batch_error(req->batch);
    if (err != OK)
        return err;
    struct queued *q = malloc(sizeof(*q));
    if (!q)
        return ERR_NOMEM;
    *q = (struct queued){.req = req, .batch = req->batch};
    req->batch = NULL;
    list_push_back(&m->queue, &q->node);
    m->pending++;
    group_start(m);
    return OK;
}

/* Moves the first write of `from` to those whose callback is due. */
static void finish_write(struct kv_mem *m, struct list *from, int err)
{
    struct queued *q = container_of(list_pop_front(from), struct queued, node);
    q->req->err = err;
    if (err == OK)
        apply(m, q->batch);
    else
        unsynced_push(m, q->batch); /* it may be found after a crash all the same */
    q->batch = NULL;
    list_push_back(&m->done, &q->node);
}

static void run_done(struct kv_mem *m)
{
    while (!list_empty(&m->done)) {
        struct queued *q = container_of(list_pop_front(&m->done), struct queued, node);
        struct kv_write_req *req = q->req;
        free(q);
        m->pending--;
        req->cb(req);
    }
}

static void on_write_timer(struct env_timer *t)
{
    struct kv_mem *m = container_of(t, struct kv_mem, write_timer);
    int err = m->failed ? ERR_IO : OK;
    if (err == OK && fails_now(m))
        err = m->fail_err;
    while (!list_empty(&m->group)) {
        m->stats.synced_writes++;
        finish_write(m, &m->group, err);
    }
    m->stats.group_commits++;
    if (err == OK)
        all_durable(m);
    else
        while (!list_empty(&m->queue))
            finish_write(m, &m->queue, ERR_IO);
    group_start(m);
    run_done(m);
}

/* ---- flush ---- */
static void flush_start_group(struct kv_mem *m)
{
    if (!list_empty(&m->flush_group) || list_empty(&m->flush_queue))
        return;
    while (!list_empty(&m->flush_queue))
        list_push_back(&m->flush_group, list_pop_front(&m->flush_queue));
    roots_ref(&m->flushing, &m->current);
    m->flush_mark = m->unsynced.prev;
    m->flush_sequence = m->sequence;
    env_timer_start(&m->flush_timer, m->config.flush_delay_ns);
}

static int mem_flush_start(struct kv *kv, struct kv_flush_req *req)
{
    struct kv_mem *m = mem_of(kv);
    if (m->failed)
        return ERR_IO;
    list_push_back(&m->flush_queue, &req->node);
    m->pending++;
    flush_start_group(m);
    return OK;
}

static void finish_flush(struct kv_mem *m, struct list *node, int err)
{
    struct kv_flush_req *req = container_of(node, struct kv_flush_req, node);
    req->err = err;
    req->sequence = m->flush_sequence;
    list_push_back(&m->flush_done, &req->node);
}

static void on_flush_timer(struct env_timer *t)
{
    struct kv_mem *m = container_of(t, struct kv_mem, flush_timer);
    int err = m->failed ? ERR_IO : OK;
    if (err == OK && fails_now(m))
        err = m->fail_err;
    struct list *mark = m->flush_mark;
    m->flush_mark = NULL;
    if (err == OK && mark != &m->unsynced) {
        roots_unref(&m->durable);
        roots_ref(&m->durable, &m->flushing);
        for (bool last = false; !last;) {
            last = m->unsynced.next == mark;
            unsynced_drop_first(m);
        }
    }
    roots_unref(&m->flushing);
    m->stats.flushes++;
    while (!list_empty(&m->flush_group))
        finish_flush(m, list_pop_front(&m->flush_group), err);
    if (err != OK)
        while (!list_empty(&m->flush_queue))
            finish_flush(m, list_pop_front(&m->flush_queue), ERR_IO);
    flush_start_group(m);
    while (!list_empty(&m->flush_done)) {
        struct kv_flush_req *req =
            container_of(list_pop_front(&m->flush_done), struct kv_flush_req, node);
        m->pending--;
        req->cb(req);
    }
}

/* ---- files ---- */
static int mem_export_range(struct kv *kv, const struct kv_snapshot *snap, enum kv_family family,
                            struct slice lower, struct slice upper, const char *path,
                            uint64_t *ret_bytes)
{
    struct kv_mem *m = mem_of(kv);
    if (!m->config.files)
        return ERR_UNIMPLEMENTED;
    struct kv_iter *it = mem_iter_new(kv, snap, family, lower, upper);
    if (!it)
        return ERR_NOMEM;
    struct buf out = {0};
    struct kv_file_writer w;
    int err = OK;
    kv_file_begin(&w, &out);
    for (; err == OK && iter_valid(it); iter_next(it))
        err = kv_file_add(&w, iter_key(it), iter_value(it));
    iter_free(it);
    bool empty = w.count == 0;
    int end_err = kv_file_end(&w);
    err = err != OK ? err : end_err;
    kv_mem_file_remove(m->config.files, path);
    if (err == OK && !empty)
        err = kv_mem_file_append(m->config.files, path, buf_view(&out));
    if (err == OK)
        *ret_bytes = empty ? 0 : out.len;
    buf_fini(&out);
    return err;
}

static int read_slice(void *arg, void *to, size_t len, size_t *ret_len)
{
    struct cursor *c = arg;
    struct slice s = cursor_bytes(c, MIN(len, cursor_left(c)));
    if (s.len)
        memcpy(to, s.ptr, s.len);
    *ret_len = s.len;
    return OK;
}

/* Checks the whole file before anything is changed. */
static int file_load(const struct kv_mem *m, const char *path, enum kv_family family,
                     struct slice lower, struct slice upper, struct kv_batch *into)
{
    struct slice file, key, value;
    int err = kv_mem_file_view(m->config.files, path, &file);
    if (err != OK)
        return err;
    struct cursor c = cursor_of(file);
    struct kv_file_reader r = {.read = read_slice, .arg = &c, .lower = lower, .upper = upper};
    while ((err = kv_file_next(&r, &key, &value)) == OK)
        kv_batch_put(into, family, key, value);
    kv_file_reader_fini(&r);
    return err == ERR_END ? kv_batch_error(into) : err;
}

static int mem_replace_range(struct kv *kv, struct slice lower, struct slice upper,
                             const char *const paths[KV_FAMILY_COUNT], struct kv_batch **extra_ptr)
{
    struct kv_mem *m = mem_of(kv);
    struct kv_batch *extra = extra_ptr ? *extra_ptr : NULL;
    if (extra_ptr)
        *extra_ptr = NULL;
    struct kv_batch *batch = kv_batch_new();
    int err = !batch ? ERR_NOMEM : m->failed ? ERR_IO : !m->config.files ? ERR_UNIMPLEMENTED : OK;
    if (err == OK && upper.len && slice_cmp(lower, upper) >= 0)
        err = ERR_INVAL;
    if (err == OK && extra)
        err = kv_batch_error(extra);
    for (enum kv_family f = 0; err == OK && f < KV_FAMILY_COUNT; f++) {
        kv_batch_delete_range(batch, f, lower, upper);
        if (paths[f])
            err = file_load(m, paths[f], f, lower, upper, batch);
    }
    size_t pos = 0;
    struct kv_op op;
    while (err == OK && extra && kv_batch_next(extra, &pos, &op)) {
        if (op.kind != KV_OP_PUT)
            err = ERR_INVAL;
        else
            kv_batch_put(batch, op.family, op.key, op.value);
    }
    kv_batch_free(extra);
    if (err == OK)
        err = kv_batch_error(batch);
    if (err == OK && fails_now(m)) {
        unsynced_push(m, batch); /* a crash decides: the old content or the new */
        return m->fail_err;
    }
    if (err != OK) {
        kv_batch_free(batch);
        return err;
    }
    apply(m, batch);
    all_durable(m);
    return OK;
}

/* ---- life ---- */
static void drop_writes(struct list *writes)
{
    while (!list_empty(writes)) {
        struct queued *q = container_of(list_pop_front(writes), struct queued, node);
        kv_batch_free(q->batch);
        free(q);
    }
}

/* Their owners may have been freed: no request is looked at. */
static void forget_requests(struct kv_mem *m)
{
    drop_writes(&m->group);
    drop_writes(&m->queue);
    drop_writes(&m->done);
    list_init(&m->flush_queue);
    list_init(&m->flush_group);
    list_init(&m->flush_done);
    env_timer_stop(&m->write_timer);
    env_timer_stop(&m->flush_timer);
    roots_unref(&m->flushing);
    m->flush_mark = NULL;
    m->pending = 0;
}

void kv_mem_crash(struct kv *kv, uint64_t (*rng)(void *arg), void *arg)
{
    struct kv_mem *m = mem_of(kv);
    /* The group under way may be on the disk already, so it joins what the crash chooses from; what
     * was still queued cannot be. */
    list_for_each (it, &m->group) {
        struct queued *q = container_of(it, struct queued, node);
        unsynced_push(m, q->batch);
        q->batch = NULL;
    }
    forget_requests(m);
    size_t count = 0;
    list_for_each (it, &m->unsynced)
        count++;
    size_t survive = rng ? (size_t)(rng(arg) % (count + 1)) : 0;
    roots_unref(&m->current);
    m->current = m->durable; /* takes the reference over */
    m->durable = (struct kv_snapshot){{NULL}};
    for (size_t i = 0; i < count; i++) {
        if (i < survive)
            roots_apply(&m->current,
                        container_of(m->unsynced.next, struct unsynced, node)->batch);
        unsynced_drop_first(m);
    }
    roots_ref(&m->durable, &m->current);
    m->failed = false;
    m->fail_nth = 0;
}

void kv_mem_free(struct kv *kv)
{
    if (!kv)
        return;
    struct kv_mem *m = mem_of(kv);
    forget_requests(m);
    while (!list_empty(&m->unsynced))
        unsynced_drop_first(m);
    roots_unref(&m->current);
    roots_unref(&m->durable);
    free(m);
}

/* A clean close flushes, as RocksDB's does. */
static void mem_close(struct kv *kv)
{
    struct kv_mem *m = mem_of(kv);
    CHECK(m->pending == 0);
    if (!m->config.keep_on_close) {
        kv_mem_free(kv);
    } else if (!m->failed) {
        all_durable(m);
    }
}

static const struct kv_ops mem_ops = {
    .get = mem_get,
    .write = mem_write,
    .write_start = mem_write_start,
    .flush_start = mem_flush_start,
    .snapshot_new = mem_snapshot_new,
    .snapshot_free = mem_snapshot_free,
    .iter_new = mem_iter_new,
    .export_range = mem_export_range,
    .replace_range = mem_replace_range,
    .approximate_bytes = mem_approximate_bytes,
    .close = mem_close,
};

struct kv *kv_mem_new(struct env *env, const struct kv_mem_config *config)
{
    struct kv_mem *m = calloc(1, sizeof(*m));
    if (!m)
        return NULL;
    m->kv.ops = &mem_ops;
    m->config = *config;
    struct list *lists[] = {&m->unsynced,    &m->group,       &m->queue,     &m->done,
                            &m->flush_queue, &m->flush_group, &m->flush_done};
    for (size_t i = 0; i < ARRAY_COUNT(lists); i++)
        list_init(lists[i]);
    kv_mem_set_env(&m->kv, env);
    return &m->kv;
}

void kv_mem_set_env(struct kv *kv, struct env *env)
{
    struct kv_mem *m = mem_of(kv);
    CHECK(m->pending == 0);
    m->env = env;
    env_timer_init(env, &m->write_timer, on_write_timer);
    env_timer_init(env, &m->flush_timer, on_flush_timer);
}

void kv_mem_set_delays(struct kv *kv, uint64_t write_delay_ns, uint64_t flush_delay_ns)
{
    mem_of(kv)->config.write_delay_ns = write_delay_ns;
    mem_of(kv)->config.flush_delay_ns = flush_delay_ns;
}

void kv_mem_fail_nth(struct kv *kv, uint64_t n, int err)
{
    CHECK(err < 0);
    mem_of(kv)->fail_nth = n;
    mem_of(kv)->fail_err = err;
}

void kv_mem_stats(const struct kv *kv, struct kv_mem_stats *ret)
{
    const struct kv_mem *m = container_of(kv, const struct kv_mem, kv);
    *ret = m->stats;
    for (int f = 0; f < KV_FAMILY_COUNT; f++)
        ret->keys[f] = m->current.root[f] ? m->current.root[f]->count : 0;
}

size_t kv_mem_pending(const struct kv *kv)
{
    return container_of(kv, const struct kv_mem, kv)->pending;
}
