#pragma once
/* Keys of the index's rows, such that comparing bytes is comparing what they stand for.  The
 * formats are fixed: docs/formats/index.md.
 *
 * An object key may hold any byte.  Inside a row's key it is escaped: 0x00 becomes 0x00 0xFF, and
 * 0x00 0x01 ends it.  So "a" < "a\0" < "a\1", a key's rows are contiguous, and the rows of all keys
 * with a common prefix are those whose bytes begin with the escaped prefix without its end. */
#include "common/base/id.h"
#include "proto/keyhash.h"

enum index_table {
    TABLE_HEADER = 0x01,         /* - -> what changes with every entry */
    TABLE_DESCRIPTOR = 0x02,     /* - -> range and settings */
    TABLE_OBJECT = 0x10,         /* bucket, key, suffix -> ObjectRecord */
    TABLE_UPLOAD = 0x11,         /* bucket, key, upload id -> UploadRecord, under way */
    TABLE_MANIFEST = 0x12,       /* bucket, key, upload id -> UploadRecord, completed */
    TABLE_PART = 0x13,           /* bucket, key, upload id, be16 number -> PartRecord */
    TABLE_DEAD = 0x14,           /* bucket, key, upload id -> be64 deletion item that expands it */
    TABLE_DELETION = 0x20,       /* be64 item -> DeletionItem */
    TABLE_INTERIM = 0x21,        /* bucket, key, upload id, be16 number -> be32 segments */
    TABLE_INTERIM_COUNT = 0x22,  /* - -> be64 rows, be64 segments of TABLE_INTERIM */
    TABLE_EVENT = 0x23,          /* bucket, be64 log index, be16 n -> EventRow; 0, 0: EventQueue */
    TABLE_OUTCOME = 0x30,        /* write id -> Outcome */
    TABLE_OUTCOME_TIME = 0x31,   /* be64 entry time, write id -> - */
    TABLE_FENCE = 0x40,          /* be64 bucket -> be64 settings version, sealed */
    TABLE_CONDEMNED = 0x50,      /* blob id -> be64 entry time */
    TABLE_CONDEMNED_TIME = 0x51, /* be64 entry time, blob id -> - */
    TABLE_CLUSTER = 0x60,        /* - -> ClusterRecord (root, as all below) */
    TABLE_NODE = 0x61,           /* node id -> NodeRecord */
    TABLE_PARTITION = 0x62,      /* be32 id -> PartitionDescriptor */
    TABLE_PG = 0x63,             /* be32 id -> PlacementGroup */
    TABLE_BUCKET = 0x64,         /* name -> BucketRecord */
    TABLE_USER = 0x65,           /* user id -> UserRecord */
    TABLE_ACCESS_KEY = 0x66,     /* access key id -> AccessKeyRecord */
    TABLE_REGISTRY = 0x67,       /* be16 kind, scope, name -> Row */
    /* In family KV_BODY: inline data, away from the rows that lists walk. */
    TABLE_OBJECT_BODY = 0x18, /* bucket, key, be64 ~version -> bytes */
    TABLE_PART_BODY = 0x19,   /* bucket, key, upload id, be16 number -> bytes */
};

/* The current version of an object has the suffix 0; an older one the complement of its version:
 * newest first, and a read of the current one is a point look-up. */
#define OBJECT_SUFFIX_CURRENT UINT64_C(0)

enum {
    KEY_PREFIX_BYTES = 4 + 1,
    KEY_BUCKET_BYTES = KEY_PREFIX_BYTES + 8,
    KEY_ESCAPED_BYTES_MAX = 2 * OBJECT_KEY_BYTES_MAX + 2,
    KEY_BYTES_MAX = KEY_BUCKET_BYTES + KEY_ESCAPED_BYTES_MAX + ID_BYTES + 8,
};
_Static_assert(KEY_PREFIX_BYTES == 5, "partition id and table");
_Static_assert(KEY_BYTES_MAX == 2087, "the longest row key");

struct key {
    size_t len;
    uint8_t bytes[KEY_BYTES_MAX];
};

static inline struct slice key_view(const struct key *k)
{
    return SLICE(k->bytes, k->len);
}

/* Builders: each starts or extends a key; what does not fit is a bug of the caller (CHECK), who has
 * checked the lengths of what came from outside. */
void key_start(struct key *k, uint32_t partition, enum index_table table);
void key_bytes(struct key *k, struct slice raw);
void key_be16(struct key *k, uint16_t v);
void key_be32(struct key *k, uint32_t v);
void key_be64(struct key *k, uint64_t v);
void key_escaped(struct key *k, struct slice raw); /* without an end */
void key_end(struct key *k);                       /* 0x00 0x01 */
/* The first key after all that begin with this one.  CHECK: there is one. */
void key_successor(struct key *k);

void key_table(struct key *k, uint32_t partition, enum index_table table, struct slice raw);
void key_table_be64(struct key *k, uint32_t partition, enum index_table table, uint64_t v);
/* partition, table, bucket, escaped key, end. */
void key_object_base(struct key *k, uint32_t partition, enum index_table table, uint64_t bucket_id,
                     struct slice object_key);
void key_object(struct key *k, uint32_t partition, uint64_t bucket_id, struct slice object_key);
/* Of a version that is not the current one. */
void key_object_older(struct key *k, uint32_t partition, uint64_t bucket_id,
                      struct slice object_key, uint64_t version);
void key_object_body(struct key *k, uint32_t partition, uint64_t bucket_id, struct slice object_key,
                     uint64_t version);
/* TABLE_UPLOAD, TABLE_MANIFEST, TABLE_DEAD; TABLE_PART for the rows' common beginning. */
void key_upload(struct key *k, uint32_t partition, enum index_table table, uint64_t bucket_id,
                struct slice object_key, struct slice upload_id);
/* TABLE_PART, TABLE_PART_BODY. */
void key_part(struct key *k, uint32_t partition, enum index_table table, uint64_t bucket_id,
              struct slice object_key, struct slice upload_id, uint32_t number);
/* Of an event; index 0: of the bucket's EventQueue, before all its events. */
void key_event(struct key *k, uint32_t partition, uint64_t bucket_id, uint64_t index, uint32_t n);
/* What stands for the upload id in TABLE_INTERIM's row of an object itself (number 0): zeros for
 * the current version; be64 0, be64 version for an older one. */
void key_interim_id(uint64_t older_version, uint8_t ret[ID_BYTES]);

/* TABLE_REGISTRY: all rows of a kind; of a scope; one row. */
void key_registry_kind(struct key *k, uint32_t partition, uint16_t kind);
void key_registry_scope(struct key *k, uint32_t partition, uint16_t kind, struct slice scope);
void key_registry(struct key *k, uint32_t partition, uint16_t kind, struct slice scope,
                  struct slice name);

/* Takes apart what follows KEY_BUCKET_BYTES: the object key into object_key[OBJECT_KEY_BYTES_MAX],
 * the rest (suffix, upload id, number) into *ret_rest, a part of row_key.
 * Returns: OK; ERR_CORRUPT. */
int key_decode(struct slice row_key, uint8_t *object_key, size_t *ret_object_key_bytes,
               struct slice *ret_rest);
