#pragma once
/* The file that export_range writes and replace_range reads: a sorted run of keys and values, checked
 * block by block, the same for every store, so that a snapshot says nothing about what made it.
 *
 *   file  = "CAKV" u16 version, then blocks, then be32 0, be64 count, be32 crc32c(those 12 bytes)
 *   block = be32 length > 0, be32 crc32c(records), records
 *   record = be32 key length, be32 value length, key, value
 *
 * It came over a network when it is read: the reader checks lengths, checksums, order and bounds, and
 * needs no more memory than one block. */
#include "common/base/slice.h"

#define KV_FILE_BLOCK_BYTES (64u << 10)      /* a block ends once it has this much */
#define KV_FILE_BLOCK_BYTES_MAX (64u << 20)  /* one record may make it this large */

/* Appends to `out`, which the caller may empty (write away) between calls. */
struct kv_file_writer {
    struct buf *out;
    struct buf block;
    uint64_t count;
};
void kv_file_begin(struct kv_file_writer *w, struct buf *out);
int kv_file_add(struct kv_file_writer *w, struct slice key, struct slice value); /* OK; ERR_NOMEM; ERR_TOO_LARGE */
int kv_file_end(struct kv_file_writer *w); /* frees the writer's own memory, in any case */

struct kv_file_reader {
    /* Reads up to len bytes; *ret_len 0 at the end.  OK; an error. */
    int (*read)(void *arg, void *to, size_t len, size_t *ret_len);
    void *arg;
    struct slice lower, upper; /* keys outside are damage; an empty upper: no bound */
    /* private */
    struct buf block, last_key;
    size_t pos;
    uint64_t count;
    bool begun, ended;
};
/* OK, key and value until the next call; ERR_END after the last; ERR_CORRUPT; what read said. */
int kv_file_next(struct kv_file_reader *r, struct slice *ret_key, struct slice *ret_value);
void kv_file_reader_fini(struct kv_file_reader *r);
