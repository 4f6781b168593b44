#pragma once
/* A small cluster for the metadata client: a root and two object partitions on three metanodes, one
 * witness a zone that sees every write at once, all of it a table in memory.  The object partitions
 * split bucket 7 at the key "m". */
#include "gateway/meta/meta_client.h"
#include "tests/unit/gateway/meta/fake_rpc.h"

#define PARTITIONS 3 /* the root, bucket 7 below "m", and the rest */
#define METANODES 3
#define WITNESSES 3
#define ROWS_MAX 64

struct row {
    Cairn__RecordKind kind;
    uint64_t bucket_id;
    char key[64];
    uint64_t index; /* of the last change */
    bool present;
    char text[64];   /* object: its etag and body; bucket: unused */
    uint64_t bucket; /* of a bucket */
    char owner[16];  /* likewise: account; "": from before there were any */
    bool enabled;    /* of a principal */
    char account[16];
};

struct partition_state {
    uint64_t index;
    int leader;          /* metanode; -1: none */
    uint64_t slot[4096]; /* what the witnesses know, by the low bits of the hash */
};

struct outcome_row {
    uint8_t write_id[ID_BYTES];
    int err;
    uint64_t index;
};

struct cluster {
    struct rpc f;
    struct rpc_peer *metanode[METANODES], *witness[WITNESSES];
    struct cluster_node_arg {
        struct cluster *c;
        int number;
    } node[METANODES], wnode[WITNESSES];
    struct partition_state partition[PARTITIONS];
    uint64_t epoch;            /* and version of the map */
    uint64_t as_of;            /* of a current map; 0: as its version */
    bool no_current;           /* the metanodes do not know that question */
    unsigned current_maps;     /* asked for */
    struct row rows[ROWS_MAX];
    unsigned row_count;
    struct outcome_row outcomes[64];
    unsigned outcome_count;
    unsigned reads, checks, questions, lists, proposals;
    unsigned executed;  /* proposals that were no repetition */
    unsigned list_page; /* entries a page; 0: as asked */
    unsigned pages_of_nothing; /* that come first: a long way past delete markers below b/ */
    bool out_of_order;  /* a question about an object behind one about a bucket or key */
    void (*before_read)(struct cluster *c, const Cairn__ReadRequest *r);
    void (*before_check)(struct cluster *c);
    int (*on_propose)(struct cluster *c, int node, struct fake_call *call); /* non-zero: handled */
    struct cache *cache;
    struct meta_client *mc;
};

void cluster_init(struct cluster *c, const struct meta_config *config, uint64_t cache_bytes);
void cluster_fini(struct cluster *c);

/* Changes, at once and everywhere. */
void put_object(struct cluster *c, uint64_t bucket_id, const char *key, const char *text);
void delete_object(struct cluster *c, uint64_t bucket_id, const char *key);
void put_bucket(struct cluster *c, const char *name, uint64_t id); /* id 0: deletes it */
void put_bucket_of(struct cluster *c, const char *name, uint64_t id, const char *owner);
/* The principal of an access key, of account "1"; or of another ("": there is no such key), where
 * its user may be gone. */
void put_key(struct cluster *c, const char *id, bool enabled);
void put_principal(struct cluster *c, const char *id, const char *account, bool present,
                   bool enabled);
/* Something in an account changes that makes all its principals so. */
void change_account(struct cluster *c, const char *account, bool present, bool enabled);

/* Reads and waits. */
struct reading {
    struct meta_read read;
    bool done;
};
void reading_start(struct cluster *c, struct reading *r, const char *access_key, const char *bucket,
                   const char *key);
void reading_run(struct cluster *c, struct reading *r, const char *access_key, const char *bucket,
                 const char *key);
/* The object's text as it was read; NULL: absent. */
const char *reading_text(const struct reading *r);
