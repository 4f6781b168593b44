#pragma once
/* A test stand for S3 operations: one gateway loop as it is, with its real metadata, cache and blob
 * clients, on a virtual clock.  Around it: an HTTP server that is an array of bytes, a metanode
 * whose partitions (the root and two of objects) are the real index over stores in memory, one
 * witness, three storage nodes in three zones that keep blobs in memory and can be told to fail. */
#include "gateway/op/gateway.h"
#include "metanode/index/index.h"
#include "tests/unit/gateway/meta/fake_rpc.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#define STAND_PARTITIONS 3
#define STAND_NODES 3
#define STAND_BLOBS_MAX 256
#define EXCHANGE_FIELDS_MAX 32

struct stand_blob {
    uint8_t id[ID_BYTES];
    struct rcbuf *data;
    uint32_t crc[BLOB_BLOCKS_MAX];
    bool deleted;
    struct id128 write_id; /* of the owner */
    uint64_t body_bytes;
    uint32_t segment_number;
};

struct stand_node {
    struct stand *s;
    struct rpc_peer *peer;
    char id[8];
    int put_err;
    int check_err;
    unsigned checks, check_max; /* answers at most; 0: all */
    bool put_hangs;
    struct stand_blob blobs[STAND_BLOBS_MAX];
    unsigned blob_count;
};

struct stand {
    struct rpc f;
    struct rpc_peer *metanode, *witness;
    struct kv *kv[STAND_PARTITIONS];
    struct index *index[STAND_PARTITIONS];
    uint64_t slots[STAND_PARTITIONS][4096];
    struct stand_node node[STAND_NODES];
    unsigned proposals;
    /* Before a proposal is applied; true: handled (or swallowed). */
    bool (*on_propose)(struct stand *s, struct fake_call *call);
    /* Before anything is read at the metanode; true: handled. */
    bool (*on_view)(struct stand *s, struct fake_call *call);
    struct cache *cache;
    struct meta_client *mc;
    struct blob_client *bc;
    struct gateway_config config;
    struct gateway_metrics metrics;
    struct gateway gw;
};
extern struct stand *stand;

void stand_init(struct stand *s);
/* With a coded group (2 + 1) beside the replicated one, for blobs above 64 KiB. */
void stand_init_coded(struct stand *s);
void stand_fini(struct stand *s);
/* Applies the proposal of a call and answers it, unless `lose` (then it hangs). */
void stand_apply(struct stand *s, struct fake_call *call, bool lose);
/* For on_view: the root's leader, by whom two storage nodes are up and one is down. */
bool stand_root(struct stand *s, struct fake_call *call);
unsigned stand_live_blobs(const struct stand *s); /* on node 0 */

struct exchange {
    struct http_request http;
    struct arena arena;
    struct stand *s;
    struct http_field fields[EXCHANGE_FIELDS_MAX];
    size_t field_count;
    struct buf text[EXCHANGE_FIELDS_MAX];
    struct slice body;  /* what the client sends */
    size_t chunk, sent; /* bytes a delivery; bytes delivered */
    size_t break_at;    /* the client goes away after so many; 0: never */
    int break_err;      /* or the server gives up, with this error */
    http_body_cb body_cb;
    void *body_arg;
    bool paused;
    struct env_timer timer;
    /* the answer */
    int status;
    struct buf head, out;
    int64_t length;
    bool done, aborted;
    char target[256];
};

/* Begins a signed request; further fields as "name: value" strings, NULL at the end. */
void exchange_start(struct stand *s, struct exchange *x, const char *method, const char *target,
                    struct slice body, ...);
void exchange_wait(struct exchange *x);
void exchange_fini(struct exchange *x);
/* All in one: the status; the body and head are in x until fini. */
int exchange_run(struct stand *s, struct exchange *x, const char *method, const char *target,
                 struct slice body);
/* The body as /bucket/mp, in parts of so many bytes; the id of the upload is left in ret_id. */
void exchange_upload(struct stand *s, struct slice body, size_t part_bytes, char ret_id[33]);
bool exchange_says(const struct exchange *x, const char *text); /* in head or body */
