#pragma once
/* Questions of the operator to storage nodes, several at once: do they answer, what have they?
 *
 * Nothing here chooses a node.  "Does not answer" is said only of a node that was tried after the
 * operator asked: each loop has connections and backoffs of its own, and what it knows may be older
 * than the node's restart.  So one in backoff is tried at once, one whose connection broke is asked
 * once more; what could not be asked then ends with the reason.  One callback, later, never inside
 * the start.  Runs on: the client's loop. */
#include "gateway/blob/blob.h"

struct blob_question {
    struct rpc_peer *peer;           /* NULL: nobody to ask */
    const struct rpc_method *method; /* of storage nodes */
    ProtobufCMessage *request;       /* borrowed until the callback */
    uint64_t timeout_ns;             /* 0: as the others' */
    /* Results, until blob_ask_fini(). */
    int err;
    ProtobufCMessage *response;
    /* private */
    struct blob_ask *ask;
    struct rpc_call rpc;
    bool running, again;
};

struct blob_ask {
    struct blob_question *questions; /* borrowed until blob_ask_fini(); zeroed but for the above */
    size_t count;
    uint64_t timeout_ns; /* of each that has none of its own */
    uint64_t since_ns;   /* when the operator asked; 0: at the start */
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
