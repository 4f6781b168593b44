#pragma once
/* The registry (proto/registry.proto): rows of the root that gateways share, read at its leader.
 *
 * To change rows, propose Command.change_rows with root = true.  All changes hold or none: with
 * ERR_PRECONDITION outcome->detail says which row (from 0) was not at its expected_version, with
 * ERR_INVAL or ERR_LIMIT which change cannot be; after success each row written has the version
 * outcome->index.  At most 32 rows an entry, a name of 256 bytes, a value of 128 KiB, all values
 * 256 KiB.  Whoever removes an access key gives its value as it was: it says whose principals are
 * not what they were.  Nothing here is cached; principals are, by their accounts (meta_read). */
#include "gateway/meta/meta_client.h"

struct meta_rows {
    /* Set by the caller; strings are borrowed until the callback, and NULL is as good as "". */
    uint32_t kind; /* Cairn__RowKind */
    const char *scope;
    const char *name;        /* this row, or none; "": those behind `after`, in order */
    const char *after;       /* a name; "": from the first */
    bool all_scopes;         /* all rows of the kind, by (scope, name): behind `after` of */
    const char *after_scope; /* this scope */
    uint32_t rows_max;       /* of this page; 0, or more than that: 1000 */
    uint64_t deadline_ns;
    void (*cb)(struct meta_rows *);
    /* Results, until fini.  A row that is not there is no error: count is 0.  A page may be short
     * although there is `more`: the last row's name and scope are where to go on. */
    int err;
    Cairn__Row *const *rows;
    size_t row_count;
    bool more;
    /* private */
    struct meta_call call;
    Cairn__ListRowsRequest request;
};
void meta_rows_start(struct meta_client *mc, struct meta_rows *rows);
void meta_rows_fini(struct meta_rows *rows);
