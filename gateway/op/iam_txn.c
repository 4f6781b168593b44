/*   run ─► wants a row or a list ─► meta_rows ─► run again
 *    │└──► refused, or nothing to change ─► done
 *    └───► changes ─► meta_propose ─► done, or ERR_PRECONDITION ─► all anew */
#include "gateway/op/iam_txn.h"

#include "common/base/check.h"

static void drive_run(struct iam_drive *d);

static void later_cb(struct env_timer *timer)
{
    struct iam_drive *d = container_of(timer, struct iam_drive, later);
    d->done(d, d->code);
}

/* By a timer: it may end the request. */
static void drive_end(struct iam_drive *d, enum iam_code code)
{
    d->code = code;
    env_timer_start(&d->later, 0);
}

static enum iam_code code_of(struct iam_drive *d, int err)
{
    if (err_class(err) == ERR_CLASS_PERMANENT)
        return iam_fail(&d->t, IAM_SERVICE_FAILURE, "The registry answered: %s.", err_text(err));
    return iam_fail(&d->t, IAM_SERVICE_UNAVAILABLE,
                    "The registry did not answer in time; what was to be changed may have been.");
}

/* ---- reading ---- */

static void row_cb(struct meta_rows *rows)
{
    struct iam_drive *d = container_of(rows, struct iam_drive, rows);
    struct iam_row *row = iam_txn_wanted_row(&d->t);
    struct iam_list *list = iam_txn_wanted_list(&d->t);
    int err = rows->err;
    bool kept = false;
    if (err == OK && row)
        kept = iam_txn_give_row(&d->t, row, rows->row_count ? rows->rows[0] : NULL);
    else if (err == OK)
        kept = iam_txn_give_list(&d->t, list, (const Cairn__Row *const *)rows->rows,
                                 rows->row_count, rows->more);
    meta_rows_fini(rows);
    if (err != OK)
        drive_end(d, code_of(d, err));
    else if (!kept)
        drive_end(d, iam_no_memory(&d->t));
    else
        drive_run(d);
}

static void drive_read(struct iam_drive *d)
{
    const struct iam_row *row = iam_txn_wanted_row(&d->t);
    const struct iam_list *list = iam_txn_wanted_list(&d->t);
    CHECK(row || list);
    d->rows = (struct meta_rows){
        .kind = row ? row->kind : list->kind,
        .scope = row ? row->scope : list->scope,
        .name = row ? row->name : "",
        .after = row ? "" : list->after,
        .rows_max = row ? 1 : list->rows_max,
        .deadline_ns = request_deadline(d->req),
        .cb = row_cb,
    };
    meta_rows_start(d->req->gw->mc, &d->rows);
}

/* ---- changing ---- */

static void propose_cb(struct meta_propose *propose)
{
    struct iam_drive *d = container_of(propose, struct iam_drive, propose);
    int err = propose->err;
    bool decided = propose->outcome != NULL;
    meta_propose_fini(propose);
    if (err == OK) {
        d->changed = true;
        drive_end(d, IAM_OK);
    } else if (err == ERR_PRECONDITION && decided && ++d->restarts <= IAM_RESTARTS_MAX) {
        iam_txn_restart(&d->t);
        drive_run(d);
    } else if (err == ERR_PRECONDITION) {
        drive_end(d, iam_fail(&d->t, IAM_CONCURRENT_MODIFICATION,
                              "The same identities are being changed by others. Try again."));
    } else if (err == ERR_LIMIT && decided) {
        drive_end(d, iam_fail(&d->t, IAM_LIMIT_EXCEEDED, "What is stored would become too large."));
    } else {
        drive_end(d, code_of(d, err));
    }
}

static void drive_propose(struct iam_drive *d)
{
    cairn__change_rows__init(&d->op);
    enum iam_code code = iam_txn_pack(&d->t, &d->op.changes, &d->op.n_changes);
    if (code != IAM_OK) {
        drive_end(d, code);
        return;
    }
    d->propose = (struct meta_propose){0};
    cairn__command__init(&d->propose.command);
    d->propose.command.op_case = CAIRN__COMMAND__OP_CHANGE_ROWS;
    d->propose.command.change_rows = &d->op;
    d->propose.root = true;
    d->propose.deadline_ns = request_deadline(d->req);
    d->propose.cb = propose_cb;
    meta_propose_start(d->req->gw->mc, &d->propose);
}

static void drive_run(struct iam_drive *d)
{
    iam_txn_begin(&d->t);
    enum iam_code code = d->run(d);
    if (code == IAM_WAIT)
        drive_read(d);
    else if (code == IAM_OK && iam_txn_changes(&d->t))
        drive_propose(d);
    else
        drive_end(d, code);
}

static void draw(void *arg, void *ret, size_t len)
{
    env_random(arg, ret, len);
}

void iam_drive_start(struct iam_drive *d)
{
    struct gateway *gw = d->req->gw;
    env_timer_init(gw->env, &d->later, later_cb);
    iam_txn_init(&d->t, draw, gw->env, request_now_ms(d->req));
    drive_run(d);
}

void iam_drive_fini(struct iam_drive *d)
{
    iam_txn_fini(&d->t);
}
