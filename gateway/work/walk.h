#pragma once
/* How the rounds over buckets walk: from page to page, at a rate, and on after failures, but not
 * for ever.  No more than arithmetic: what a page is good for, and what is done when, is theirs.
 *
 * A round lists, looks at or counts so many versions, says so, and waits for what is left; time
 * that it has not used is not made up for. */
#include "common/base/check.h"
#include "common/env/env.h"
#include "gateway/meta/meta_client.h"
#include "proto/versions.h"

/* The place behind a page, from which the next one is to be asked for (start_after, after_version);
 * as it was, if the page shows none.  key->failed: no memory. */
static inline void walk_behind(const struct meta_list *page, struct buf *key, uint64_t *version)
{
    const Cairn__ListEntry *last = page->entry_count ? page->entries[page->entry_count - 1] : NULL;
    struct slice behind = page->passed;
    if (!behind.len && last)
        behind = SLICE(last->key.data, last->key.len);
    if (!behind.len)
        return;
    buf_clear(key);
    buf_slice(key, behind);
    *version = page->versions && last && !page->passed.len ? last->version : VERSION_NONE;
}

#define PACE_FAILURES_MAX 5 /* in a row; then the job is given back */
#define PACE_FAILURE_NS (200 * NS_PER_MS)

struct pace {
    struct env *env;
    uint64_t rate; /* a second; 0: no bound */
    uint64_t until_ns;
    unsigned failures; /* one after the other */
};

/* So many were gone through, without a failure. */
static inline void pace_add(struct pace *p, uint64_t count)
{
    p->failures = 0;
    if (p->rate)
        p->until_ns = MAX(env_now_ns(p->env), p->until_ns) +
                      (uint64_t)((double)count / (double)p->rate * (double)NS_PER_SEC);
}

/* To be waited for before more. */
static inline uint64_t pace_left_ns(const struct pace *p)
{
    uint64_t now = env_now_ns(p->env);
    return p->until_ns > now ? p->until_ns - now : 0;
}

/* false: too often.  Else it may be tried again after *ret_ns. */
static inline bool pace_failed(struct pace *p, uint64_t *ret_ns)
{
    if (++p->failures > PACE_FAILURES_MAX)
        return false;
    *ret_ns = PACE_FAILURE_NS << p->failures;
    return true;
}
