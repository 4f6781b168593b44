/* Questions to several storage nodes at once: see ask.h. */
#include "gateway/blob/ask.h"

#include "common/base/check.h"
#include "gateway/blob/internal.h"

static void question_start(struct blob_ask *a, struct blob_question *q);

static void ask_end(struct blob_ask *a)
{
    list_remove(&a->node);
    a->bc->outstanding--;
    a->cb(a);
}

static void question_cb(struct rpc_call *rpc)
{
    struct blob_question *q = container_of(rpc, struct blob_question, rpc);
    struct blob_ask *a = q->ask;
    q->running = false;
    q->err = rpc->err;
    if (q->err == OK && !rpc->response)
        q->err = ERR_PROTO;
    if (q->err == OK) {
        q->response = rpc->response;
        rpc->response = NULL;
    }
    rpc_call_fini(rpc);
    a->running--;
    /* The connection was of before the node's restart, or the attempt at one. */
    if ((q->err == ERR_CONN_LOST || q->err == ERR_UNREACHABLE) && !q->again) {
        q->again = true;
        question_start(a, q);
    }
    if (a->running == 0)
        ask_end(a);
}

static void nobody_cb(struct env_timer *timer)
{
    ask_end(container_of(timer, struct blob_ask, timer));
}

static void question_start(struct blob_ask *a, struct blob_question *q)
{
    q->ask = a;
    q->rpc = (struct rpc_call){
        .method = q->method,
        .request = q->request,
        .heap_response = true,
        .timeout_ns = q->timeout_ns ? q->timeout_ns : a->timeout_ns,
        .tried_since_ns = a->since_ns,
        .cb = question_cb,
    };
    q->err = a->bc->stopped ? ERR_SHUTDOWN
             : q->peer      ? rpc_call_start(q->peer, &q->rpc)
                            : ERR_UNREACHABLE;
    q->running = q->err == OK;
    a->running += q->running;
}

void blob_ask_start(struct blob_client *bc, struct blob_ask *a)
{
    a->bc = bc;
    a->running = 0;
    list_push_back(&bc->asks, &a->node);
    bc->outstanding++;
    if (!a->since_ns)
        a->since_ns = env_now_ns(bc->env);
    for (size_t i = 0; i < a->count; i++)
        question_start(a, &a->questions[i]);
    env_timer_init(bc->env, &a->timer, nobody_cb);
    if (a->running == 0)
        env_timer_start(&a->timer, 0);
}

void blob_ask_fini(struct blob_ask *a)
{
    CHECK(a->running == 0);
    for (size_t i = 0; i < a->count; i++) {
        if (a->questions[i].response)
            protobuf_c_message_free_unpacked(a->questions[i].response, NULL);
        a->questions[i].response = NULL;
    }
}

void asks_stop(struct blob_client *bc)
{
    list_for_each(it, &bc->asks)
    {
        struct blob_ask *a = container_of(it, struct blob_ask, node);
        for (size_t i = 0; i < a->count; i++)
            if (a->questions[i].running)
                rpc_call_cancel(&a->questions[i].rpc);
    }
}
