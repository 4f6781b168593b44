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
    bool deleted, coded;
    struct id128 write_id; /* of the owner */
    uint64_t body_bytes;
    uint32_t segment_number;
};

struct stand_node {
    struct stand *s;
    struct rpc_peer *peer;
    char id[8];
    int put_err, get_err;
    bool no_info; /* answers to gets say nothing of the owner */
    int check_err;
    unsigned checks, check_max; /* answers at most; 0: all */
    bool put_hangs;
    const Cairn__NodeReport *report; /* of store.status */
    int scrub_err;                   /* answer to store.start_scrub */
    unsigned scrubs, deep_scrubs;    /* that were asked for */
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
    struct stand_node spare; /* of the third zone: in the map after stand_move() */
    unsigned proposals;
    const char *signs_as, *signs_with; /* of requests: access key id and secret */
    const char *signs_for;             /* the service: s3, iam, sts */
    bool hands_out_once; /* of interim segments each, as long as it is set: claims that do not end */
    struct id128 handed[STAND_BLOBS_MAX];
    unsigned handed_count;
    /* Before a proposal is applied; true: handled (or swallowed). */
    bool (*on_propose)(struct stand *s, struct fake_call *call);
    /* Before anything is read at the metanode; true: handled. */
    bool (*on_view)(struct stand *s, struct fake_call *call);
    /* Before the map as of now is answered; true: handled. */
    bool (*on_map)(struct stand *s, struct fake_call *call);
    /* Before a storage node looks for what is to be read, or whether it is there. */
    void (*on_get)(struct stand *s, struct fake_call *call);
    void (*on_check)(struct stand_node *n);
    struct cache *cache;
    struct meta_client *mc;
    struct blob_client *bc;
    struct gateway_config config;
    struct gateway_metrics metrics;
    struct gateway gw;
};
extern struct stand *stand;
extern const struct master_keys *stand_masters; /* of the next stand; NULL: none */

void stand_init(struct stand *s);
/* With a coded group (2 + 1) beside the replicated one, for blobs above 64 KiB. */
void stand_init_coded(struct stand *s);
void stand_fini(struct stand *s);
/* Applies the proposal of a call and answers it, unless `lose` (then it hangs). */
void stand_apply(struct stand *s, struct fake_call *call, bool lose);
/* Applies a command, made by the test, to a partition.  Returns: what was decided. */
int stand_command(struct stand *s, unsigned partition, Cairn__Command *command);
/* Sets a row of the registry, whatever it was (value NULL: removes it), and tells the witness. */
int stand_put_row(struct stand *s, unsigned kind, const char *scope, const char *name,
                  const ProtobufCMessage *value);
/* An access key with the secret of all requests here; of the account's root user, or of a user.
 * At first ROOTKEY signs, of the operator. */
void stand_put_key(struct stand *s, const char *id, const char *account, const char *user,
                   bool enabled);
void stand_put_account(struct stand *s, const char *id, const char *canonical_id);
/* The members of group 1 become node 0, node 1, and node 2 or the spare one: who goes has nothing any
 * more, who comes has all of it.  The gateway is not told. */
void stand_move(struct stand *s, bool to_spare);
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
    bool broke;         /* it was told so */
    size_t hold_at;     /* and here it waits, until this is 0 again and the body is resumed */
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
