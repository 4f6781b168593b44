/* Object lock: what may not go yet, and who may change that.
 *
 * A version that is locked is neither deleted nor replaced, nor are its data changed; everything
 * that would do so asks lock_forbids(), and object_release(), which all of it goes through in the
 * end, asks once more. What is asked is the record and the time of the entry, nothing else: no
 * gateway's clock, no setting of the bucket, nothing that could have been read too early.  Entry
 * time never runs backwards, so what was let go was let go for good by then (docs/operations.md
 * says what a wrong clock of a leader can do).
 *
 *   legal hold       nobody, until it is lifted
 *   COMPLIANCE       nobody, until the date; the date only moves away
 *   GOVERNANCE       who bypasses it, which gateways let only those do that may
 *
 * What does not make a version disappear is not asked: a delete marker or a newer version on top of
 * it, tags, a segment that moves.
 *
 * A lock that was set while a deletion is under way: whichever entry comes first.  Locks are in
 * records only where versions are kept (command_validate), so OFF, which lets go of what it
 * replaces, never meets one: a partition that has seen ENABLED refuses it (apply_fencing.c, b). */
#include "metanode/index/state.h"

#include "common/base/mutant.h"

/* Modes of later releases lock like the strictest of ours. */
static bool retained(const Cairn__ObjectRecord *r, uint64_t time_ms)
{
    return r->lock_mode != CAIRN__LOCK_MODE__LOCK_NONE && r->retain_until_ms > time_ms;
}

bool lock_forbids(const Cairn__ObjectRecord *r, uint64_t time_ms, bool bypass)
{
    if (MUTANT(LOCK_IGNORED))
        return false;
    if (r->legal_hold == CAIRN__LEGAL_HOLD__HOLD_ON)
        return true;
    bool passes = bypass && r->lock_mode == CAIRN__LOCK_MODE__LOCK_GOVERNANCE;
    return retained(r, time_ms) && !passes;
}

bool apply_locked(const struct apply *a, const Cairn__ObjectRecord *r)
{
    const Cairn__Command *cmd = a->cmd;
    bool bypass = cmd->op_case == CAIRN__COMMAND__OP_DELETE_OBJECT
                      ? cmd->delete_object->bypass_governance
                      : cmd->op_case == CAIRN__COMMAND__OP_DELETE_OBJECTS &&
                            cmd->delete_objects->bypass_governance;
    return lock_forbids(r, a->h.time_ms, bypass);
}

/* The same mode for as long or longer is for everyone; anything else weakens what was promised,
 * also the change to COMPLIANCE, after which who may bypass no longer can. */
static bool retention_forbids(const struct apply *a, const Cairn__ObjectRecord *r,
                              const Cairn__PutObjectLock *op)
{
    if (!retained(r, a->h.time_ms))
        return false;
    if (op->lock_mode == r->lock_mode && op->retain_until_ms >= r->retain_until_ms)
        return false;
    return r->lock_mode != CAIRN__LOCK_MODE__LOCK_GOVERNANCE || !op->bypass_governance;
}

int apply_put_object_lock(struct apply *a, const Cairn__PutObjectLock *op)
{
    Cairn__ObjectRecord *record;
    struct key row;
    int err = version_find(a, op->bucket_id, bytes_of(op->key), op->version, &record, &row);
    if (err)
        return err;
    if (!record || record->delete_marker)
        return apply_decide(a, ERR_NOT_FOUND);
    a->out.existed = true;
    if (op->sets_retention) {
        if (retention_forbids(a, record, op))
            return apply_decide(a, ERR_LOCKED);
        record->lock_mode = op->lock_mode;
        record->retain_until_ms = op->retain_until_ms;
    }
    if (op->legal_hold != CAIRN__LEGAL_HOLD__HOLD_NEVER)
        record->legal_hold = op->legal_hold;
    return apply_put_message(a, &row, &record->base);
}
