/* Rows of the registry: one, or a page of a scope or a kind.  They lie packed as they are given. */
#include "metanode/index/registry.h"
#include "metanode/index/reply.h"

#include "metanode/index/wire.h"

enum { LIST_ROWS_RESPONSE_ROWS = 2 };

static bool request_ok(const Cairn__ListRowsRequest *req)
{
    return req->kind != CAIRN__ROW_KIND__ROW_NONE && req->kind <= UINT16_MAX &&
           check_text(req->scope, 0, INDEX_ROW_SCOPE_BYTES_MAX) &&
           check_text(req->after_scope, 0, INDEX_ROW_SCOPE_BYTES_MAX) &&
           check_text(req->name, 0, INDEX_ROW_NAME_BYTES_MAX) &&
           check_text(req->after, 0, INDEX_ROW_NAME_BYTES_MAX);
}

static int one_row(const struct index_view *view, const Cairn__ListRowsRequest *req,
                   struct index_reply *ret)
{
    struct buf row = {0};
    int err = registry_get(view->kv, view->snap, view->partition, (uint16_t)req->kind,
                           string_of(req->scope), string_of(req->name), &row);
    if (!err)
        wire_append_bytes(&ret->packed, LIST_ROWS_RESPONSE_ROWS, buf_view(&row));
    buf_fini(&row);
    return err == ERR_NOT_FOUND ? OK : err;
}

/* A page of the rows in [lower, upper): those of the registry, and what an earlier release left. */
struct page {
    const struct key *lower, *upper;
    size_t count, max;
    struct founded founded;
    size_t founded_at;
    struct index_reply *ret;
};

static bool page_full(struct page *p)
{
    if (p->count < p->max && p->ret->packed.len < REPLY_BYTES_MAX)
        return false;
    p->ret->msg.registry.more = true;
    return true;
}

static void page_give(struct page *p, struct slice row)
{
    wire_append_bytes(&p->ret->packed, LIST_ROWS_RESPONSE_ROWS, row);
    p->count++;
}

/* Those of an earlier release before `key`; what stands at it has taken the place of one. */
static bool page_founded(struct page *p, struct slice key)
{
    for (; p->founded_at < p->founded.count; p->founded_at++) {
        const struct founded_row *f = &p->founded.rows[p->founded_at];
        int c = slice_cmp(key_view(&f->key), key);
        if (c > 0)
            break;
        if (c == 0 || slice_cmp(key_view(&f->key), key_view(p->lower)) < 0)
            continue;
        if (page_full(p))
            return false;
        page_give(p, buf_view(&f->row));
    }
    return true;
}

static int page_rows(struct page *p, struct kv_iter *it)
{
    for (; it->ops->valid(it); it->ops->next(it)) {
        if (!page_founded(p, it->ops->key(it)) || page_full(p))
            return OK;
        page_give(p, it->ops->value(it));
    }
    page_founded(p, key_view(p->upper));
    return it->ops->error(it);
}

static int many_rows(const struct index_view *view, const Cairn__ListRowsRequest *req,
                     struct index_reply *ret)
{
    struct key lower, upper;
    uint16_t kind = (uint16_t)req->kind;
    struct slice after = string_of(req->after), after_scope = string_of(req->after_scope);
    if (req->all_scopes)
        key_registry_kind(&lower, view->partition, kind);
    else
        key_registry_scope(&lower, view->partition, kind, string_of(req->scope));
    upper = lower;
    key_successor(&upper);
    if (after.len || (req->all_scopes && after_scope.len)) {
        key_registry(&lower, view->partition, kind,
                     req->all_scopes ? after_scope : string_of(req->scope), after);
        key_bytes(&lower, SLICE("", 1)); /* the first row behind it */
    }
    struct page p = {.lower = &lower, .upper = &upper, .ret = ret};
    p.max =
        req->rows_max && req->rows_max < INDEX_LIST_KEYS_MAX ? req->rows_max : INDEX_LIST_KEYS_MAX;
    int err = founded_list(view->kv, view->snap, view->partition, kind, &p.founded);
    struct kv_iter *it = err ? NULL : view_iter(view, &lower, &upper);
    if (!err)
        err = it ? page_rows(&p, it) : ERR_NOMEM;
    if (it)
        it->ops->free(it);
    founded_fini(&p.founded);
    return err;
}

int index_list_rows(const struct index_view *view, const Cairn__ListRowsRequest *req,
                    struct index_reply *ret)
{
    ret->msg.registry = (Cairn__ListRowsResponse)CAIRN__LIST_ROWS_RESPONSE__INIT;
    ret->msg.registry.as_of = view->applied;
    if (view->partition != ROOT_PARTITION || !request_ok(req))
        return ERR_INVAL;
    if (req->epoch != view->epoch)
        return ERR_EPOCH;
    int err = string_of(req->name).len ? one_row(view, req, ret) : many_rows(view, req, ret);
    if (!err && ret->packed.failed)
        err = ERR_NOMEM;
    if (!err)
        reply_rows(ret, 0, LIST_ROWS_RESPONSE_ROWS, &ret->packed);
    return err;
}
