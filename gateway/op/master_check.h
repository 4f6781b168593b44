#pragma once
/* At a gateway's start: does it have the master keys that wrap what is in the registry?  And their
 * file. */
#include "gateway/crypt/kms.h"
#include "gateway/meta/rows.h"

struct master_check {
    /* Results.  err: OK, or why the registry could not be asked: try again. */
    int err;
    bool refused;
    char id[MASTER_ID_CHARS_MAX +
            1]; /* refused: of the master key that is missing, or another here */
    const char *why;
    /* private */
    struct meta_rows rows;
    const struct master_keys *masters;
    void (*cb)(struct master_check *);
};
void master_check_start(struct master_check *m, struct env *env, struct meta_client *mc,
                        const struct master_keys *masters, void (*cb)(struct master_check *));

#define MASTER_FILE_BYTES_MAX 4096
/* The file's text into content, NUL-terminated, and *ret to its begin.  Blocks.
 * Returns: NULL; or why it was not read, or must not be: others may read it. */
const char *master_file_read(const char *path, char content[MASTER_FILE_BYTES_MAX + 1],
                             const char **ret);
