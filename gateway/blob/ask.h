#pragma once
/* Questions of the operator to storage nodes, several at once: do they answer, what have they?
 *
 * Nothing here chooses a node or tries again; what could not be asked ends with the reason.  One
 * callback, later, never inside the start.  Runs on: the client's loop. */
#include "gateway/blob/blob.h"

struct blob_question {
    struct rpc_peer *peer;           /* NULL: nobody to ask */
    const struct rpc_method *method; /* of storage nodes */
    ProtobufCMessage *request;       /* borrowed for the start */
    /* Results, until blob_ask_fini(). */
    int err;
    ProtobufCMessage *response;
    /* private */
    struct blob_ask *ask;
    struct rpc_call rpc;
    bool running;
};

struct blob_ask {
    struct blob_question *questions; /* borrowed until blob_ask_fini(); zeroed but for the above */
    size_t count;
    uint64_t timeout_ns; /* of each */
    void (*cb)(struct blob_ask *);
    /* private */
    struct blob_client *bc;
    struct list node;
    size_t running;
    struct env_timer timer;
};
void blob_ask_start(struct blob_client *bc, struct blob_ask *ask);
/* Frees the answers.  After the callback. */
void blob_ask_fini(struct blob_ask *ask);
