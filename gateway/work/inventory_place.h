#pragma once
/* How far a round of an inventory has come (inventory.c), as the cursor of its job. */
#include "common/base/id.h"
#include "common/base/slice.h"
#include "common/crypto/digest.h"

#define INVENTORY_FILES_MAX 320

struct inventory_file {
    struct id128 name;
    uint64_t bytes;
    uint8_t md5[MD5_BYTES];
};
struct inventory_place {
    uint64_t config_hash; /* of the configuration that it is by */
    bool walked;          /* all was listed, and is in files */
    struct buf key;       /* else: behind this version */
    uint64_t version;
    size_t file_count;
    struct inventory_file files[INVENTORY_FILES_MAX];
};
void inventory_place_write(const struct inventory_place *p, struct buf *ret);
/* false: not one of ours, or of another configuration; then *p is the beginning. */
bool inventory_place_read(struct inventory_place *p, struct slice s, uint64_t config_hash);
void inventory_place_fini(struct inventory_place *p);

/* What is kept from round to round: when the last one that made an inventory began. */
void inventory_made_write(uint64_t config_hash, uint64_t began_ms, struct buf *ret);
/* A round that was begun at now_ms: is it time for an inventory, by the last one? */
bool inventory_is_due(struct slice state, uint64_t config_hash, bool weekly, uint64_t day_ms,
                      uint64_t now_ms);

/* 8-4-4-4-12. */
#define INVENTORY_NAME_CHARS 36
void inventory_file_name(const struct id128 *id, char ret[INVENTORY_NAME_CHARS + 1]);
