#pragma once
/* Rows of the registry as whoever reads them finds them: packed messages of type Row.
 *
 * Clusters that were founded by an earlier release have a root user and a key of it in tables of
 * their own (TABLE_USER, TABLE_ACCESS_KEY).  These are read as if they were rows of the registry of
 * version FOUNDED_VERSION: the operator's account, its names, its root user's keys.  A change makes
 * a row of the registry of one; the old row of a key goes in the same entry. */
#include "metanode/index/state.h"

enum { FOUNDED_VERSION = 1, FOUNDED_MAX = 16 };

/* What is in the registry, else what an earlier release left.
 * OK; ERR_NOT_FOUND; ERR_CORRUPT; failures. */
int registry_get(struct kv *kv, const struct kv_snapshot *snap, uint32_t partition, uint16_t kind,
                 struct slice scope, struct slice name, struct buf *ret);
/* The same of the row's value; *ret is not valid with an error.  The value points into scratch. */
int registry_value(struct kv *kv, const struct kv_snapshot *snap, uint32_t partition, uint16_t kind,
                   struct slice scope, struct slice name, struct buf *scratch, struct slice *ret);

/* Rows of a kind that an earlier release left, also those whose place in the registry is taken by
 * now.  In order of their keys. */
struct founded {
    size_t count;
    struct founded_row {
        struct key key;
        struct buf row; /* packed */
    } rows[FOUNDED_MAX];
};
int founded_list(struct kv *kv, const struct kv_snapshot *snap, uint32_t partition, uint16_t kind,
                 struct founded *ret);
void founded_fini(struct founded *f); /* zeroed is valid */
