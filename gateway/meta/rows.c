/* Rows of the registry: one call to the root's leader a page, and what a change of rows touches. */
#include "gateway/meta/rows.h"

#include "common/base/check.h"
#include "gateway/meta/internal.h"
#include "proto/keyhash.h"
#include "proto/methods.h"
#include "proto/registry.h"

static void rows_cb(struct meta_call *call)
{
    struct meta_rows *r = container_of(call, struct meta_rows, call);
    const Cairn__ListRowsResponse *page = (const Cairn__ListRowsResponse *)(void *)call->response;
    r->err = call->err;
    if (r->err == OK && r->request.name[0] && (page->n_rows > 1 || page->more))
        r->err = ERR_PROTO;
    if (r->err == OK) {
        r->rows = page->rows;
        r->row_count = page->n_rows;
        r->more = page->more;
    }
    r->cb(r);
}

static char *text(const char *s)
{
    return (char *)(uintptr_t)(s ? s : "");
}

void meta_rows_start(struct meta_client *mc, struct meta_rows *r)
{
    Cairn__ListRowsRequest *q = &r->request;
    cairn__list_rows_request__init(q);
    q->kind = r->kind;
    q->scope = text(r->scope);
    q->name = text(r->name);
    q->after = text(r->after);
    q->all_scopes = r->all_scopes;
    q->after_scope = text(r->after_scope);
    q->rows_max = r->rows_max;
    r->call = (struct meta_call){
        .method = &method_meta_rows,
        .root = true,
        .request = &q->base,
        .deadline_ns = r->deadline_ns,
        .cb = rows_cb,
    };
    meta_call_start(mc, &r->call);
}

void meta_rows_fini(struct meta_rows *r)
{
    meta_call_fini(&r->call);
    r->rows = NULL;
    r->row_count = 0;
}

/* ---- touches ---- */

static size_t key_touches(const Cairn__RowChange *c, uint64_t *ret)
{
    Cairn__AccessKeyRow *key = cairn__access_key_row__unpack(NULL, c->value.len, c->value.data);
    ret[0] = keyhash_access_key(slice_cstr(c->name));
    if (!key)
        return 1; /* the state machine says what it thinks of that */
    ret[1] = keyhash_account(slice_cstr(key->account_id));
    cairn__access_key_row__free_unpacked(key, NULL);
    return 2;
}

size_t rows_touches(const Cairn__ChangeRows *op, uint64_t *ret)
{
    size_t count = 0;
    for (size_t i = 0; i < op->n_changes; i++) {
        const Cairn__RowChange *c = op->changes[i];
        if (c->keep)
            continue;
        switch (c->kind) {
        case CAIRN__ROW_KIND__ROW_ACCOUNT:
            ret[count++] = keyhash_account(slice_cstr(c->name));
            break;
        case CAIRN__ROW_KIND__ROW_USER:
        case CAIRN__ROW_KIND__ROW_GROUP:
        case CAIRN__ROW_KIND__ROW_ROLE:
        case CAIRN__ROW_KIND__ROW_POLICY:
            ret[count++] = keyhash_account(slice_cstr(c->scope));
            break;
        case CAIRN__ROW_KIND__ROW_QUOTA:
            if (strcmp(c->scope, QUOTAS_OF_ACCOUNTS) == 0)
                ret[count++] = keyhash_account(slice_cstr(c->name));
            break;
        case CAIRN__ROW_KIND__ROW_ACCESS_KEY: count += key_touches(c, ret + count); break;
        default: break;
        }
    }
    return count;
}
