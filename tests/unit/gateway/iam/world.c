/* The registry in memory, and the driver over it: see world.h. */
#include "tests/unit/gateway/iam/world.h"

#include "common/base/check.h"

#include <stdio.h>
#include <stdlib.h>

static void next_random(void *arg, void *ret, size_t len)
{
    struct world *w = arg;
    uint8_t *p = ret;
    for (size_t i = 0; i < len; i++) {
        w->random = w->random * 6364136223846793005ull + 1442695040888963407ull;
        p[i] = (uint8_t)(w->random >> 56);
    }
}

void world_init(struct world *w)
{
    Cairn__AccountRow account = CAIRN__ACCOUNT_ROW__INIT;
    memset(w, 0, sizeof(*w));
    w->now_ms = 1700000000123;
    w->random = 1;
    arena_init(&w->arena, 0);
    account.account_id = (char *)"111111111111";
    world_put(w, CAIRN__ROW_KIND__ROW_ACCOUNT, "", "111111111111", &account.base);
    account.account_id = (char *)"222222222222";
    world_put(w, CAIRN__ROW_KIND__ROW_ACCOUNT, "", "222222222222", &account.base);
    w->caller = world_root();
    iam_txn_init(&w->t, next_random, w, w->now_ms);
}

void world_fini(struct world *w)
{
    iam_txn_fini(&w->t);
    arena_fini(&w->arena);
    for (size_t i = 0; i < w->count; i++)
        free(w->rows[i].value);
}

struct iam_caller world_root(void)
{
    return (struct iam_caller){
        .who = {.type = POLICY_ROOT,
                .account = SLICE_LIT("111111111111"),
                .arn = SLICE_LIT("arn:aws:iam::111111111111:root"),
                .user_id = SLICE_LIT("111111111111")},
        .access_key = SLICE_LIT("AKIAROOTROOTROOTROOT"),
    };
}

struct iam_caller world_user(struct world *w, const char *name, const char *policy)
{
    const struct policy_parse_options options = {.kind = POLICY_INLINE};
    const struct policy **list = arena_zalloc(&w->arena, sizeof(*list));
    char reason[POLICY_REASON_BYTES_MAX], *arn;
    assert_int_equal(policy_parse(&w->arena, &options, slice_cstr(policy), list, reason),
                     POLICY_OK);
    arn = iam_arn_make(&w->arena, IAM_ARN_USER, "111111111111", "/", name);
    return (struct iam_caller){
        .who = {.type = POLICY_USER,
                .account = SLICE_LIT("111111111111"),
                .arn = slice_cstr(arn),
                .unique_id = SLICE_LIT("AIDAUSERUSERUSERUSER1"),
                .user_id = SLICE_LIT("AIDAUSERUSERUSERUSER1"),
                .user_name = slice_cstr(name)},
        .identity = list,
        .identity_count = 1,
    };
}

/* ---- rows ---- */

struct world_row *world_find(struct world *w, uint32_t kind, const char *scope, const char *name)
{
    for (size_t i = 0; i < w->count; i++)
        if (w->rows[i].kind == kind && strcmp(w->rows[i].scope, scope) == 0 &&
            strcmp(w->rows[i].name, name) == 0)
            return &w->rows[i];
    return NULL;
}

static void row_set(struct world *w, uint32_t kind, const char *scope, const char *name,
                    const uint8_t *value, size_t len)
{
    struct world_row *r = world_find(w, kind, scope, name);
    if (!r) {
        CHECK(w->count < WORLD_ROWS);
        size_t at = w->count++;
        for (; at > 0 && strcmp(w->rows[at - 1].name, name) > 0; at--)
            w->rows[at] = w->rows[at - 1];
        r = &w->rows[at];
        *r = (struct world_row){.kind = kind};
        snprintf(r->scope, sizeof(r->scope), "%s", scope);
        snprintf(r->name, sizeof(r->name), "%s", name);
    }
    free(r->value);
    r->value = malloc(len + 1);
    memcpy(r->value, value, len);
    r->len = len;
    r->version = ++w->version;
}

void world_put(struct world *w, uint32_t kind, const char *scope, const char *name,
               const ProtobufCMessage *message)
{
    size_t len = protobuf_c_message_get_packed_size(message);
    uint8_t *value = malloc(len + 1);
    protobuf_c_message_pack(message, value);
    row_set(w, kind, scope, name, value, len);
    free(value);
}

static void row_remove(struct world *w, struct world_row *r)
{
    free(r->value);
    size_t at = (size_t)(r - w->rows);
    memmove(r, r + 1, (w->count - at - 1) * sizeof(*r));
    w->count--;
}

size_t world_bytes(const struct world *w)
{
    size_t n = 0;
    for (size_t i = 0; i < w->count; i++)
        n = n * 31 + w->rows[i].version;
    return n;
}

/* ---- the driver ---- */

static void give_row(struct world *w, struct iam_row *wanted)
{
    const struct world_row *r = world_find(w, wanted->kind, wanted->scope, wanted->name);
    Cairn__Row row = CAIRN__ROW__INIT;
    if (r) {
        row.version = r->version;
        row.value = (ProtobufCBinaryData){r->len, r->value};
    }
    assert_true(iam_txn_give_row(&w->t, wanted, r ? &row : NULL));
}

static void give_list(struct world *w, struct iam_list *wanted)
{
    static Cairn__Row rows[WORLD_ROWS];
    static const Cairn__Row *ptrs[WORLD_ROWS];
    size_t n = 0;
    bool more = false;
    for (size_t i = 0; i < w->count; i++) {
        const struct world_row *r = &w->rows[i];
        if (r->kind != wanted->kind || strcmp(r->scope, wanted->scope) != 0 ||
            strcmp(r->name, wanted->after) <= 0)
            continue;
        if (n == wanted->rows_max) {
            more = true;
            break;
        }
        cairn__row__init(&rows[n]);
        rows[n].name = (char *)(uintptr_t)r->name;
        rows[n].version = r->version;
        rows[n].value = (ProtobufCBinaryData){r->len, r->value};
        ptrs[n] = &rows[n];
        n++;
    }
    assert_true(iam_txn_give_list(&w->t, wanted, ptrs, n, more));
}

static bool apply(struct world *w)
{
    Cairn__RowChange **changes;
    size_t count;
    assert_int_equal(iam_txn_pack(&w->t, &changes, &count), IAM_OK);
    assert_true(count <= 32);
    for (size_t i = 0; i < count; i++) {
        const struct world_row *r =
            world_find(w, changes[i]->kind, changes[i]->scope, changes[i]->name);
        if ((r ? r->version : 0) != changes[i]->expected_version)
            return false;
    }
    for (size_t i = 0; i < count; i++) {
        const Cairn__RowChange *c = changes[i];
        if (c->remove)
            row_remove(w, world_find(w, c->kind, c->scope, c->name));
        else if (!c->keep)
            row_set(w, c->kind, c->scope, c->name, c->value.data, c->value.len);
    }
    return true;
}

static enum iam_code call(struct world *w, enum iam_service service, const char *version,
                          const char *text)
{
    struct arena arena;
    struct iam_query query;
    char whole[65536];
    enum iam_code code;
    snprintf(whole, sizeof(whole), "%s&Version=%s", text, version);
    arena_init(&arena, 0);
    assert_int_equal(iam_query_parse(&arena, slice_cstr(whole), &query), IAM_QUERY_OK);
    iam_txn_fini(&w->t);
    iam_txn_init(&w->t, next_random, w, w->now_ms);
    struct iam_call c = {
        .t = &w->t,
        .caller = &w->caller,
        .service = service,
        .query = &query,
        .request_id = "REQ",
    };
    for (;;) {
        code = iam_run(&c);
        if (code == IAM_WAIT) {
            struct iam_row *row = iam_txn_wanted_row(&w->t);
            struct iam_list *list = iam_txn_wanted_list(&w->t);
            assert_true(row || list);
            if (row)
                give_row(w, row);
            else
                give_list(w, list);
            continue;
        }
        if (code != IAM_OK || !iam_txn_changes(&w->t))
            break;
        if (w->meanwhile) {
            void (*meanwhile)(struct world *) = w->meanwhile;
            w->meanwhile = NULL;
            meanwhile(w);
        }
        if (apply(w))
            break;
        w->restarts++;
        iam_txn_restart(&w->t);
    }
    if (code != IAM_OK)
        assert_int_equal(code, w->t.fault.code);
    buf_u8(&w->t.out, 0);
    arena_fini(&arena);
    return code;
}

enum iam_code world_call(struct world *w, const char *query)
{
    return call(w, IAM_SERVICE_IAM, "2010-05-08", query);
}

enum iam_code world_sts(struct world *w, const char *query)
{
    return call(w, IAM_SERVICE_STS, "2011-06-15", query);
}

const char *world_text(const struct world *w)
{
    return (const char *)w->t.out.ptr;
}

const char *world_element(const struct world *w, const char *element)
{
    static char texts[4][9000];
    static unsigned next;
    char *ret = texts[next++ % 4], open[80];
    snprintf(open, sizeof(open), "<%s>", element);
    const char *at = strstr(world_text(w), open);
    size_t len = at ? strcspn(at + strlen(open), "<") : 0;
    snprintf(ret, sizeof(texts[0]), "%.*s", (int)len, at ? at + strlen(open) : "");
    return ret;
}

unsigned world_elements(const struct world *w, const char *element)
{
    char open[80];
    unsigned n = 0;
    snprintf(open, sizeof(open), "<%s>", element);
    for (const char *at = world_text(w); (at = strstr(at, open)); at += strlen(open))
        n++;
    return n;
}
