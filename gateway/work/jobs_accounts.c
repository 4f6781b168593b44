/* The end of a look: which accounts have a quota, and so something to be counted.  They come from
 * the registry, a page at a time, in order of their numbers. */
#include "gateway/work/jobs_internal.h"

#include "common/base/check.h"
#include "proto/registry.h"

#include <stdio.h>
#include <string.h>

static void accounts_ask(struct jobs *jobs);

static bool is_account(const char *id)
{
    return strlen(id) == JOB_ACCOUNT_CHARS && strspn(id, "0123456789") == JOB_ACCOUNT_CHARS;
}

/* What cannot be read bounds nothing, and is not counted. */
static void page_take(struct job_accounts *a)
{
    a->count = a->next = a->next_kind = 0;
    a->more = a->rows.more && a->rows.row_count > 0;
    for (size_t i = 0; i < a->rows.row_count && i < JOB_ACCOUNTS_PAGE; i++) {
        const Cairn__Row *row = a->rows.rows[i];
        snprintf(a->last, sizeof(a->last), "%s", row->name);
        Cairn__Quota *quota = is_account(row->name)
                                  ? cairn__quota__unpack(NULL, row->value.len, row->value.data)
                                  : NULL;
        if (quota) {
            struct job_account *one = &a->page[a->count++];
            memcpy(one->id, row->name, sizeof(one->id));
            one->changed_ms = quota->changed_ms;
        }
        cairn__quota__free_unpacked(quota, NULL);
    }
}

/* true: the page was gone through. */
static bool page_step(struct jobs *jobs)
{
    struct job_accounts *a = &jobs->accounts;
    for (; a->next < a->count; a->next++) {
        struct job_subject subject = {"", 0, a->page[a->next].id, "", a->page[a->next].changed_ms};
        while (a->next_kind < jobs->config.kind_count) {
            const struct job_kind *kind = jobs->config.kinds[a->next_kind];
            enum job_taken t = kind->of_accounts ? jobs_take(jobs, kind, &subject) : JOB_TAKEN_NOT;
            jobs->cut = t == JOB_NO_ROOM;
            if (jobs->cut)
                return false;
            a->next_kind++;
            if (t == JOB_TAKEN)
                return false;
        }
        a->next_kind = 0;
        strcpy(a->at, a->page[a->next].id);
    }
    return true;
}

void jobs_accounts_go_on(struct jobs *jobs)
{
    struct job_accounts *a = &jobs->accounts;
    a->resume = false;
    if (jobs->stopped) {
        look_end(jobs);
    } else if (!page_step(jobs)) {
        a->resume = jobs->cut;
        if (jobs->cut)
            look_end(jobs);
    } else if (a->more) {
        strcpy(a->at, a->last);
        accounts_ask(jobs);
    } else {
        a->at[0] = 0;
        look_whole(jobs);
    }
}

/* Where the root does not answer, the next look begins with the buckets. */
static void accounts_cb(struct meta_rows *rows)
{
    struct jobs *jobs = container_of(rows, struct jobs, accounts.rows);
    struct job_accounts *a = &jobs->accounts;
    bool ok = rows->err == OK && !jobs->stopped;
    jobs->asking = false;
    if (ok)
        page_take(a);
    meta_rows_fini(rows);
    if (ok) {
        jobs_accounts_go_on(jobs);
    } else {
        a->at[0] = 0;
        look_end(jobs);
    }
}

static void accounts_ask(struct jobs *jobs)
{
    struct job_accounts *a = &jobs->accounts;
    jobs->asking = true;
    a->rows = (struct meta_rows){
        .kind = CAIRN__ROW_KIND__ROW_QUOTA,
        .scope = QUOTAS_OF_ACCOUNTS,
        .after = a->at,
        .rows_max = JOB_ACCOUNTS_PAGE,
        .deadline_ns = env_now_ns(jobs->gw->env) + jobs->gw->config->timeout_ms * NS_PER_MS,
        .cb = accounts_cb,
    };
    meta_rows_start(jobs->gw->mc, &a->rows);
}

void jobs_accounts_look(struct jobs *jobs)
{
    buf_clear(&jobs->at); /* the buckets have been gone through */
    jobs->accounts.resume = false;
    jobs->accounts.looking = true;
    accounts_ask(jobs);
}
