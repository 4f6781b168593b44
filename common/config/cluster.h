#pragma once
/* The cluster file: what all processes of a cluster must agree on before they can talk; YAML, the
 * same file everywhere.  After bootstrap the root partition holds the truth; this file then only
 * says where to look for it.
 *
 *   cluster_id: 32 hex digits
 *   region: us-east-1
 *   nodes:
 *     - {id: z1-metanode-1, zone: z1, role: metanode, addr: "127.0.0.1:7101", admin: "127.0.0.1:7201"}
 *   partitions: 4        # object partitions, an even split of the bucket id space
 *   split_points: []     # instead: explicit bounds, each hex of be64(bucket id) || key, ascending
 *   pgs: 16              # placement groups of each scheme; without it by the number of storage nodes
 *   schemes: [5+4, rep-3] # data+parity shards; without it by the topology; rep-3 is always there
 *   storage_classes:     # which scheme objects of a class are written with; the other classes: as STANDARD,
 *     ECONOMY: 4+2       # and that, unless it is here, by `schemes`.  A name that S3 does not know becomes a class
 *   scatter_width: 16    # other nodes that a storage node is to share groups with (see metanode/placement)
 *   orphan_age: 24h      # what no record refers to by then is deleted; what is still being written is given up
 *   clock_difference_max: 1m # no two clocks of the cluster differ by more
 */
#include "common/base/id.h"
#include "common/env/net.h"

#define CLUSTER_NODES_MAX 1024
#define CLUSTER_PARTITIONS_MAX 4096
#define CLUSTER_PGS_MAX 65536
#define CLUSTER_SPLIT_POINT_BYTES_MAX (8 + 1024)
#define CLUSTER_SCHEMES_MAX 4
#define CLUSTER_CLASSES_MAX 8
#define CLUSTER_CLASS_CHARS_MAX 32
#define CLUSTER_SHARDS_MAX 16 /* of a blob */
#define CLUSTER_PARITY_MAX 8

struct cluster_node {
    char *id, *zone, *addr, *admin; /* admin "" when not given */
    enum net_role role;
    unsigned line;
};

struct cluster_scheme {
    unsigned data, parity; /* rep-3: 1 and 2 */
};

struct cluster_class {
    char name[CLUSTER_CLASS_CHARS_MAX + 1];
    struct cluster_scheme scheme;
};

struct cluster_config {
    struct id128 cluster_id;
    char *region;
    struct cluster_node *nodes;
    size_t node_count;
    unsigned partitions;
    struct buf *split_points; /* as in the file, or computed: partitions - 1 of them */
    size_t split_point_count;
    unsigned pgs;             /* of each scheme; 0: not said */
    struct cluster_scheme schemes[CLUSTER_SCHEMES_MAX];
    size_t scheme_count;      /* 0: not said */
    struct cluster_class classes[CLUSTER_CLASSES_MAX];
    size_t class_count;
    unsigned scatter_width;
    uint64_t orphan_age_ms, clock_difference_ms;
    unsigned zone_count;
    struct buf warnings;      /* lines for the log, e.g. fewer than three zones */
};

/* Returns: OK; ERR_CONFIG (*ret_error: "file:line: what is wrong; what would be right"); ERR_NOMEM.
 * On error *ret is empty.  Owns: the caller, until cluster_config_fini. */
int cluster_config_load(const char *path, struct cluster_config *ret, struct buf *ret_error);
/* The same from text; `name` stands for the file in messages. */
int cluster_config_parse(const char *name, struct slice text, struct cluster_config *ret,
                         struct buf *ret_error);
void cluster_config_fini(struct cluster_config *c);

/* NULL: none with this id.  Borrowed from c. */
const struct cluster_node *cluster_node_by_id(const struct cluster_config *c, const char *id);
/* Iterates over the nodes of a role, in the order of the file: *pos starts at 0; NULL at the end. */
const struct cluster_node *cluster_node_next(const struct cluster_config *c, enum net_role role,
                                             size_t *pos);
size_t cluster_node_count(const struct cluster_config *c, enum net_role role);

const char *net_role_name(enum net_role role);            /* "metanode"; "?" */
bool net_role_by_name(struct slice name, enum net_role *ret);
