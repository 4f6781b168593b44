#pragma once
/* A change of identities as a function of rows: it asks for rows by name, and says which it wants
 * changed.  Where a row is not there yet it returns IAM_WAIT; whoever drives it reads the row and
 * calls it again from its beginning, so that it reads like a function that simply has them all:
 *
 *   run ─► IAM_WAIT ─► read what is wanted ─┐
 *    ▲───────────────────────────────────────┘
 *   run ─► IAM_OK ─► one ChangeRows that holds only if every row that was looked at is as it was
 *    ▲                 └─ ERR_PRECONDITION: iam_txn_restart()
 *    └──────────────────────┘
 *
 * Every row that was looked at is a guard of the change, an absent one too; so nothing that was
 * decided can rest on what was no longer so.  (Lists are no guards: counters in rows are.)
 * Pure; the driver is gateway/op/iam_txn.c, in tests a map. */
#include "common/base/arena.h"
#include "gateway/iam/error.h"
#include "proto/registry.pb-c.h"

#define IAM_TXN_ROWS_MAX                                                                           \
    32 /* what one entry may change; a user with its groups, policies and keys are 24 */
#define IAM_TXN_LISTS_MAX 64 /* pages that one call may read */
#define IAM_TXN_BYTES_MAX (48u << 20)

enum iam_change { IAM_KEEP, IAM_PUT, IAM_REMOVE };

struct iam_row {
    uint32_t kind;
    const char *scope, *name;
    bool loaded, present;
    uint64_t version; /* 0: absent */
    struct slice value;
    /* Of this run. */
    struct slice bytes;        /* what it is to have, where that is no message */
    ProtobufCMessage *message; /* as the run has it by now; NULL: there is none */
    bool unpacked;
    enum iam_change change;
};

/* Rows of a kind and scope in the order of their names. */
struct iam_list {
    uint32_t kind;
    const char *scope, *after;
    uint32_t rows_max;
    bool loaded, more;
    const Cairn__Row **rows; /* may be fewer than rows_max though there are more */
    size_t count;
};

struct iam_txn {
    /* Set by the driver. */
    void (*random)(void *arg, void *ret, size_t len);
    void *random_arg;
    uint64_t now_ms;
    /* Results of a run. */
    struct iam_fault fault;
    struct buf out; /* what the run answers */
    /* private, but for the driver's reading of rows and lists */
    struct arena loaded; /* rows and lists, until the restart */
    struct arena arena;  /* of this run */
    ProtobufCAllocator allocator;
    /* Random bytes drawn so far: every run until the restart finds the same ones, so that it asks
     * for the same rows. */
    uint8_t drawn[512];
    size_t drawn_len, drawn_used;
    struct iam_row rows[IAM_TXN_ROWS_MAX];
    size_t row_count;
    struct iam_list lists[IAM_TXN_LISTS_MAX];
    size_t list_count;
};

/* ---- for the driver ---- */

void iam_txn_init(struct iam_txn *t, void (*random)(void *arg, void *ret, size_t len), void *arg,
                  uint64_t now_ms);
void iam_txn_fini(struct iam_txn *t);
void iam_txn_begin(struct iam_txn *t);   /* before each run */
void iam_txn_restart(struct iam_txn *t); /* what was read is forgotten */
/* What is wanted and not loaded; NULL: nothing. */
struct iam_row *iam_txn_wanted_row(struct iam_txn *t);
struct iam_list *iam_txn_wanted_list(struct iam_txn *t);
/* row NULL: there is none.  Copied.  false: no memory. */
bool iam_txn_give_row(struct iam_txn *t, struct iam_row *row, const Cairn__Row *given);
bool iam_txn_give_list(struct iam_txn *t, struct iam_list *list, const Cairn__Row *const *rows,
                       size_t count, bool more);
bool iam_txn_changes(const struct iam_txn *t); /* does the run want anything changed? */
/* The change, in the run's arena.  IAM_OK; SERVICE_FAILURE (no memory). */
enum iam_code iam_txn_pack(struct iam_txn *t, Cairn__RowChange ***ret, size_t *ret_count);

/* ---- for what runs ---- */

/* The row, in *ret.  IAM_OK (present or not); IAM_WAIT; SERVICE_FAILURE. */
enum iam_code iam_row(struct iam_txn *t, uint32_t kind, const char *scope, const char *name,
                      struct iam_row **ret);
enum iam_code iam_list(struct iam_txn *t, uint32_t kind, const char *scope, const char *after,
                       uint32_t rows_max, const struct iam_list **ret);
/* What is in the row, unpacked once a run: changes are seen by who gets it again.  *ret NULL: there
 * is no such row. */
enum iam_code iam_message(struct iam_txn *t, struct iam_row *row,
                          const ProtobufCMessageDescriptor *descriptor, void *ret);
ProtobufCMessage *iam_unpack(struct iam_txn *t, const ProtobufCMessageDescriptor *descriptor,
                             struct slice value);

static inline void iam_put(struct iam_row *row)
{
    row->change = IAM_PUT;
}
static inline void iam_remove(struct iam_row *row)
{
    row->change = IAM_REMOVE;
    row->message = NULL;
}
/* A row that is not there yet (or goes) gets this message. */
static inline void iam_insert(struct iam_row *row, void *message)
{
    row->change = IAM_PUT;
    row->message = message;
    row->unpacked = true;
}

void iam_random(struct iam_txn *t, void *ret, size_t len);

/* The same of bytes. */
static inline void iam_insert_bytes(struct iam_row *row, struct slice bytes)
{
    row->change = IAM_PUT;
    row->bytes = bytes;
}

/* Memory of the run.  NULL: none left; iam_no_memory() says so. */
static inline void *iam_alloc(struct iam_txn *t, size_t bytes)
{
    return arena_zalloc(&t->arena, bytes);
}
char *iam_cstr(struct iam_txn *t, struct slice s);
char *iam_printf(struct iam_txn *t, const char *format, ...) __attribute__((format(printf, 2, 3)));
enum iam_code iam_no_memory(struct iam_txn *t);
#define iam_fail(t, code, ...) iam_fault_set(&(t)->fault, (code), __VA_ARGS__)

/* Gets of each kind: the row in *ret_row, its message in *ret (NULL: absent). */
#define IAM_GETTER(name, Type, type, KIND)                                                         \
    static inline enum iam_code iam_get_##name(struct iam_txn *t, const char *scope,               \
                                               const char *row_name, struct iam_row **ret_row,     \
                                               Cairn__##Type **ret)                                \
    {                                                                                              \
        enum iam_code code = iam_row(t, CAIRN__ROW_KIND__##KIND, scope, row_name, ret_row);        \
        return code != IAM_OK ? code                                                               \
                              : iam_message(t, *ret_row, &cairn__##type##__descriptor, ret);       \
    }
IAM_GETTER(account, AccountRow, account_row, ROW_ACCOUNT)
IAM_GETTER(user, UserRow, user_row, ROW_USER)
IAM_GETTER(group, GroupRow, group_row, ROW_GROUP)
IAM_GETTER(role, RoleRow, role_row, ROW_ROLE)
IAM_GETTER(policy, PolicyRow, policy_row, ROW_POLICY)
IAM_GETTER(key, AccessKeyRow, access_key_row, ROW_ACCESS_KEY)

/* `return` what is no IAM_OK. */
#define IAM_TRY(expression)                                                                        \
    do {                                                                                           \
        enum iam_code try_code = (expression);                                                     \
        if (try_code != IAM_OK)                                                                    \
            return try_code;                                                                       \
    } while (0)

/* ---- arrays of messages, kept in order ---- */

/* Where s is, or would be; *found says which. */
size_t iam_strings_find(char *const *items, size_t count, const char *s, bool *found);
enum iam_code iam_strings_insert(struct iam_txn *t, char ***items, size_t *count, size_t at,
                                 const char *s);
static inline void iam_array_remove(void *items, size_t *count, size_t at)
{
    void **p = items;
    memmove(p + at, p + at + 1, (*count - at - 1) * sizeof(*p));
    --*count;
}
enum iam_code iam_array_insert(struct iam_txn *t, void *items, size_t *count, size_t at,
                               void *item);
