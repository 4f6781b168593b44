/* See fences.h. */
#include "gateway/op/fences.h"

#include "common/base/check.h"

#include <stdlib.h>

#define ROUNDS_MAX 8

struct fence {
    struct fences *all;
    Cairn__FenceBucket command;
    struct meta_propose propose;
};

static void round_start(struct fences *f);

static void fences_end(struct fences *f, int err)
{
    f->err = err;
    f->cb(f);
}

/* Are the ranges still those that were fenced?  A split in between leaves part of one unasked. */
static bool ranges_unchanged(struct fences *f)
{
    struct buf now = {0};
    uint32_t count;
    int err = meta_bucket_ranges(f->gw->mc, f->bucket_id, &now, &count);
    bool same = err == OK && count == f->count && slice_eq(buf_view(&now), buf_view(&f->ranges));
    buf_fini(&now);
    return same;
}

static void round_end(struct fences *f)
{
    if ((f->err != OK && f->err != ERR_SETTINGS) || ranges_unchanged(f))
        fences_end(f, f->err);
    else if (f->rounds < ROUNDS_MAX)
        round_start(f);
    else
        fences_end(f, ERR_NOT_READY);
}

static void fence_cb(struct meta_propose *p)
{
    struct fence *fence = container_of(p, struct fence, propose);
    struct fences *f = fence->all;
    if (p->err != OK && (f->err == OK || f->err == ERR_SETTINGS))
        f->err = p->err; /* a newer fence tells less than any failure */
    else if (p->err == OK && !p->outcome->empty)
        f->empty = false;
    meta_propose_fini(p);
    if (--f->left == 0)
        round_end(f);
}

static void fence_start(struct fence *fence, struct slice key)
{
    struct fences *f = fence->all;
    cairn__fence_bucket__init(&fence->command);
    fence->command.bucket_id = f->bucket_id;
    fence->command.settings_version = f->settings_version;
    fence->command.sealed = f->sealed;
    fence->command.versioning = f->versioning;
    cairn__command__init(&fence->propose.command);
    fence->propose.command.op_case = CAIRN__COMMAND__OP_FENCE_BUCKET;
    fence->propose.command.fence_bucket = &fence->command;
    fence->propose.command.settings_version = f->settings_version;
    fence->propose.bucket_id = f->bucket_id;
    fence->propose.key = key;
    fence->propose.deadline_ns = env_now_ns(f->gw->env) + f->gw->config->timeout_ms * NS_PER_MS;
    fence->propose.cb = fence_cb;
    meta_propose_start(f->gw->mc, &fence->propose);
}

static void round_start(struct fences *f)
{
    uint32_t count;
    buf_clear(&f->ranges);
    free(f->fence);
    f->fence = NULL;
    int err = meta_bucket_ranges(f->gw->mc, f->bucket_id, &f->ranges, &count);
    if (err == OK && !(f->fence = calloc(count, sizeof(*f->fence))))
        err = ERR_NOMEM;
    if (err != OK) {
        fences_end(f, err);
        return;
    }
    f->count = f->left = count;
    f->empty = true;
    f->err = OK;
    f->rounds++;
    const uint8_t *at = f->ranges.ptr;
    for (uint32_t i = 0; i < count; i++) {
        size_t len = (size_t)at[0] << 8 | at[1];
        f->fence[i].all = f;
        fence_start(&f->fence[i], SLICE(at + 2, len));
        at += 2 + len;
    }
}

void fences_start(struct fences *f)
{
    f->rounds = 0;
    round_start(f);
}

void fences_fini(struct fences *f)
{
    buf_fini(&f->ranges);
    free(f->fence);
    f->fence = NULL;
}
