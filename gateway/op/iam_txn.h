#pragma once
/* Drives a transaction over the registry (gateway/iam/txn.h): reads the rows that it wants at the
 * root's leader, proposes what it changes, and begins anew when somebody was faster. */
#include "gateway/iam/txn.h"
#include "gateway/meta/rows.h"
#include "gateway/op/request.h"

#define IAM_RESTARTS_MAX 8

struct iam_drive {
    /* Set by the user; all else zeroed. */
    struct request *req;
    /* One run from its beginning (iam_txn_begin() has been called). */
    enum iam_code (*run)(struct iam_drive *d);
    /* Once, later.  IAM_OK: what was to be changed has been; t.out is the answer.  Else t.fault. */
    void (*done)(struct iam_drive *d, enum iam_code code);
    struct iam_txn t;
    bool changed; /* result: something was */
    /* private */
    unsigned restarts;
    struct meta_rows rows;
    struct meta_propose propose;
    Cairn__ChangeRows op;
    struct env_timer later;
    enum iam_code code;
};

void iam_drive_start(struct iam_drive *d);
void iam_drive_fini(struct iam_drive *d); /* after done */
