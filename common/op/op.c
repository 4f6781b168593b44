/* The operation engine. */
#include "common/op/op.h"

#include "common/base/check.h"

_Thread_local struct op_trace op_trace_ring[OP_TRACE_COUNT];
_Thread_local unsigned op_trace_next;

void op_init(struct op *op, const struct op_type *type, int state, uint64_t id, uint64_t parent_id)
{
    CHECK(type->state_count <= 32 && state >= 0 && state < type->state_count);
    *op = (struct op){.type = type, .state = state, .id = id, .parent_id = parent_id};
}

void op_wake(struct op *op)
{
    enum op_next next;
    CHECK(!op->finished);
    if (op->running) {
        op->woken = true;
        return;
    }
    op->running = true;
    do {
        op->woken = false;
        next = op->type->step(op);
    } while (next == OP_AGAIN || (next == OP_WAIT && op->woken));
    op->running = false;
    if (next == OP_DONE) {
        op->finished = true;
        op->type->done(op);
    }
}

enum op_next op_move(struct op *op, int state)
{
    CHECK(state >= 0 && state < op->type->state_count);
    CHECK(op->type->transitions[op->state] & (1u << state));
    op_trace_ring[op_trace_next++ % OP_TRACE_COUNT] =
        (struct op_trace){op->type, op->id, (int16_t)op->state, (int16_t)state};
    op->state = state;
    if (op->type->check)
        op->type->check(op);
    return OP_AGAIN;
}
