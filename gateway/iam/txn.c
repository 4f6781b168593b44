/* Rows wanted, rows given, and the change that comes of it. */
#include "gateway/iam/txn.h"

#include "common/base/check.h"
#include "common/crypto/digest.h"

#include <stdarg.h>
#include <stdio.h>

#define LIST_AFTER_BYTES_MAX 256 /* INDEX_ROW_NAME_BYTES_MAX of metanode/index */

static void *allocate(void *arg, size_t bytes)
{
    return arena_alloc(arg, bytes);
}

static void free_nothing(void *arg, void *ptr)
{
    (void)arg;
    (void)ptr;
}

void iam_txn_init(struct iam_txn *t, void (*random)(void *arg, void *ret, size_t len), void *arg,
                  uint64_t now_ms)
{
    *t = (struct iam_txn){.random = random, .random_arg = arg, .now_ms = now_ms};
    arena_init(&t->loaded, IAM_TXN_BYTES_MAX);
    arena_init(&t->arena, IAM_TXN_BYTES_MAX);
    t->allocator = (ProtobufCAllocator){allocate, free_nothing, &t->arena};
}

void iam_txn_fini(struct iam_txn *t)
{
    buf_fini(&t->out);
    arena_fini(&t->arena);
    arena_fini(&t->loaded);
    crypto_wipe(t->drawn, sizeof(t->drawn));
}

void iam_txn_begin(struct iam_txn *t)
{
    buf_clear(&t->out);
    t->out.failed = false;
    t->fault = (struct iam_fault){0};
    arena_reset(&t->arena);
    t->drawn_used = 0;
    for (size_t i = 0; i < t->row_count; i++) {
        t->rows[i].message = NULL;
        t->rows[i].unpacked = false;
        t->rows[i].bytes = SLICE_EMPTY;
        t->rows[i].change = IAM_KEEP;
    }
}

void iam_txn_restart(struct iam_txn *t)
{
    t->row_count = t->list_count = t->drawn_len = 0;
    arena_reset(&t->loaded);
    iam_txn_begin(t);
}

struct iam_row *iam_txn_wanted_row(struct iam_txn *t)
{
    for (size_t i = 0; i < t->row_count; i++)
        if (!t->rows[i].loaded)
            return &t->rows[i];
    return NULL;
}

struct iam_list *iam_txn_wanted_list(struct iam_txn *t)
{
    for (size_t i = 0; i < t->list_count; i++)
        if (!t->lists[i].loaded)
            return &t->lists[i];
    return NULL;
}

bool iam_txn_give_row(struct iam_txn *t, struct iam_row *row, const Cairn__Row *given)
{
    row->loaded = true;
    row->present = given != NULL;
    row->version = given ? given->version : 0;
    row->value = SLICE_EMPTY;
    if (!given || given->value.len == 0)
        return true;
    row->value = arena_copy(&t->loaded, SLICE(given->value.data, given->value.len));
    return row->value.ptr != NULL;
}

static const Cairn__Row *copy_row(struct iam_txn *t, const Cairn__Row *from)
{
    Cairn__Row *row = arena_alloc(&t->loaded, sizeof(*row));
    struct slice name = arena_copy(&t->loaded, slice_cstr(from->name));
    struct slice value = arena_copy(&t->loaded, SLICE(from->value.data, from->value.len));
    if (!row || !name.ptr || !value.ptr)
        return NULL;
    cairn__row__init(row);
    row->kind = from->kind;
    row->version = from->version;
    row->name = (char *)(uintptr_t)name.ptr;
    row->value = (ProtobufCBinaryData){value.len, (uint8_t *)(uintptr_t)value.ptr};
    return row;
}

bool iam_txn_give_list(struct iam_txn *t, struct iam_list *list, const Cairn__Row *const *rows,
                       size_t count, bool more)
{
    list->rows = arena_alloc(&t->loaded, (count + 1) * sizeof(*list->rows));
    if (!list->rows)
        return false;
    for (size_t i = 0; i < count; i++)
        if (!(list->rows[i] = copy_row(t, rows[i])))
            return false;
    list->count = count;
    list->more = more && count > 0;
    list->loaded = true;
    return true;
}

bool iam_txn_changes(const struct iam_txn *t)
{
    for (size_t i = 0; i < t->row_count; i++)
        if (t->rows[i].change != IAM_KEEP)
            return true;
    return false;
}

static enum iam_code pack_row(struct iam_txn *t, const struct iam_row *row, Cairn__RowChange *c)
{
    cairn__row_change__init(c);
    c->kind = row->kind;
    c->scope = (char *)(uintptr_t)row->scope;
    c->name = (char *)(uintptr_t)row->name;
    c->expected_version = row->version;
    c->keep = row->change == IAM_KEEP || (row->change == IAM_REMOVE && !row->present);
    c->remove = row->change == IAM_REMOVE && row->present;
    /* Of an access key that goes apply wants to know whose it was. */
    if (c->remove && row->kind == CAIRN__ROW_KIND__ROW_ACCESS_KEY)
        c->value = (ProtobufCBinaryData){row->value.len, (uint8_t *)(uintptr_t)row->value.ptr};
    if (row->change != IAM_PUT)
        return IAM_OK;
    if (row->bytes.ptr) {
        c->value = (ProtobufCBinaryData){row->bytes.len, (uint8_t *)(uintptr_t)row->bytes.ptr};
        return IAM_OK;
    }
    c->value.len = protobuf_c_message_get_packed_size(row->message);
    c->value.data = arena_alloc(&t->arena, c->value.len + 1);
    if (!c->value.data)
        return iam_no_memory(t);
    protobuf_c_message_pack(row->message, c->value.data);
    return IAM_OK;
}

enum iam_code iam_txn_pack(struct iam_txn *t, Cairn__RowChange ***ret, size_t *ret_count)
{
    Cairn__RowChange *changes = iam_alloc(t, (t->row_count + 1) * sizeof(*changes));
    Cairn__RowChange **ptrs = iam_alloc(t, (t->row_count + 1) * sizeof(*ptrs));
    if (!changes || !ptrs)
        return iam_no_memory(t);
    for (size_t i = 0; i < t->row_count; i++) {
        CHECK(t->rows[i].loaded);
        ptrs[i] = &changes[i];
        IAM_TRY(pack_row(t, &t->rows[i], &changes[i]));
    }
    *ret = ptrs;
    *ret_count = t->row_count;
    return IAM_OK;
}

/* ---- for what runs ---- */

enum iam_code iam_no_memory(struct iam_txn *t)
{
    return iam_fail(t, IAM_SERVICE_FAILURE, "The request needs more memory than there is for it.");
}

void iam_random(struct iam_txn *t, void *ret, size_t len)
{
    CHECK(t->drawn_used + len <= sizeof(t->drawn));
    if (t->drawn_used + len > t->drawn_len) {
        t->random(t->random_arg, t->drawn + t->drawn_len, t->drawn_used + len - t->drawn_len);
        t->drawn_len = t->drawn_used + len;
    }
    memcpy(ret, t->drawn + t->drawn_used, len);
    t->drawn_used += len;
}

static const char *keep(struct iam_txn *t, const char *s)
{
    return (const char *)arena_copy(&t->loaded, slice_cstr(s)).ptr;
}

enum iam_code iam_row(struct iam_txn *t, uint32_t kind, const char *scope, const char *name,
                      struct iam_row **ret)
{
    for (size_t i = 0; i < t->row_count; i++) {
        struct iam_row *r = &t->rows[i];
        if (r->kind == kind && strcmp(r->name, name) == 0 && strcmp(r->scope, scope) == 0) {
            *ret = r;
            return r->loaded ? IAM_OK : IAM_WAIT;
        }
    }
    if (t->row_count == IAM_TXN_ROWS_MAX)
        return iam_fail(t, IAM_LIMIT_EXCEEDED, "The request concerns too many identities at once.");
    struct iam_row *r = &t->rows[t->row_count];
    *r = (struct iam_row){.kind = kind, .scope = keep(t, scope), .name = keep(t, name)};
    if (!r->scope || !r->name)
        return iam_no_memory(t);
    t->row_count++;
    *ret = r;
    return IAM_WAIT;
}

enum iam_code iam_list(struct iam_txn *t, uint32_t kind, const char *scope, const char *after,
                       uint32_t rows_max, const struct iam_list **ret)
{
    for (size_t i = 0; i < t->list_count; i++) {
        struct iam_list *l = &t->lists[i];
        if (l->kind == kind && l->rows_max == rows_max && strcmp(l->scope, scope) == 0 &&
            strcmp(l->after, after) == 0) {
            *ret = l;
            return l->loaded ? IAM_OK : IAM_WAIT;
        }
    }
    if (strlen(after) > LIST_AFTER_BYTES_MAX) /* no row has such a name */
        return iam_fail(t, IAM_VALIDATION_ERROR, "The Marker is none that was given out.");
    if (t->list_count == IAM_TXN_LISTS_MAX)
        return iam_fail(t, IAM_SERVICE_FAILURE, "There are too many identities to go through.");
    struct iam_list *l = &t->lists[t->list_count];
    *l = (struct iam_list){
        .kind = kind, .scope = keep(t, scope), .after = keep(t, after), .rows_max = rows_max};
    if (!l->scope || !l->after)
        return iam_no_memory(t);
    t->list_count++;
    *ret = l;
    return IAM_WAIT;
}

ProtobufCMessage *iam_unpack(struct iam_txn *t, const ProtobufCMessageDescriptor *descriptor,
                             struct slice value)
{
    return protobuf_c_message_unpack(descriptor, &t->allocator, value.len, value.ptr);
}

enum iam_code iam_message(struct iam_txn *t, struct iam_row *row,
                          const ProtobufCMessageDescriptor *descriptor, void *ret)
{
    if (!row->unpacked && row->present) {
        row->message = iam_unpack(t, descriptor, row->value);
        if (!row->message)
            return iam_fail(t, IAM_SERVICE_FAILURE, "What is stored cannot be read.");
    }
    row->unpacked = true;
    memcpy(ret, &row->message, sizeof(row->message));
    return IAM_OK;
}

char *iam_cstr(struct iam_txn *t, struct slice s)
{
    return (char *)(uintptr_t)arena_copy(&t->arena, s).ptr;
}

char *iam_printf(struct iam_txn *t, const char *format, ...)
{
    va_list ap;
    va_start(ap, format);
    char text[2048];
    int n = vsnprintf(text, sizeof(text), format, ap);
    va_end(ap);
    return n < 0 || (size_t)n >= sizeof(text) ? NULL : iam_cstr(t, SLICE(text, (size_t)n));
}

/* ---- arrays ---- */

size_t iam_strings_find(char *const *items, size_t count, const char *s, bool *found)
{
    size_t i = 0;
    while (i < count && strcmp(items[i], s) < 0)
        i++;
    *found = i < count && strcmp(items[i], s) == 0;
    return i;
}

/* Items is the address of an array of pointers of whatever kind. */
enum iam_code iam_array_insert(struct iam_txn *t, void *items, size_t *count, size_t at, void *item)
{
    void **old, **grown = iam_alloc(t, (*count + 1) * sizeof(*grown));
    if (!grown)
        return iam_no_memory(t);
    memcpy(&old, items, sizeof(old));
    if (at)
        memcpy(grown, old, at * sizeof(*grown));
    grown[at] = item;
    if (*count > at)
        memcpy(grown + at + 1, old + at, (*count - at) * sizeof(*grown));
    memcpy(items, &grown, sizeof(grown));
    ++*count;
    return IAM_OK;
}

enum iam_code iam_strings_insert(struct iam_txn *t, char ***items, size_t *count, size_t at,
                                 const char *s)
{
    char *copy = iam_cstr(t, slice_cstr(s));
    return copy ? iam_array_insert(t, items, count, at, copy) : iam_no_memory(t);
}
