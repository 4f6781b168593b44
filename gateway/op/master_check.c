/* The master keys at the start. */
#include "gateway/op/master_check.h"

#include "common/base/check.h"

#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

#define READ_NS (2 * NS_PER_SEC)

static void judge(struct master_check *m, const Cairn__MasterRow *row)
{
    const char *id = "";
    int err = master_row_check(row, m->masters, &id);
    if (err == OK)
        return;
    m->refused = true;
    m->why = err == ERR_AUTH ? "it is another key here than the one that keys of this cluster are "
                               "encrypted with: see master_key_file"
                             : "keys of this cluster are encrypted with it, and it is not "
                               "configured here: see master_key_file";
    snprintf(m->id, sizeof(m->id), "%s", id);
}

static void rows_cb(struct meta_rows *r)
{
    struct master_check *m = container_of(r, struct master_check, rows);
    m->err = r->err;
    if (r->err == OK && r->row_count) {
        const ProtobufCBinaryData *value = &r->rows[0]->value;
        Cairn__MasterRow *row = cairn__master_row__unpack(NULL, value->len, value->data);
        m->err = row ? OK : ERR_CORRUPT;
        if (row) {
            judge(m, row);
            cairn__master_row__free_unpacked(row, NULL);
        }
    }
    meta_rows_fini(r);
    m->cb(m);
}

void master_check_start(struct master_check *m, struct env *env, struct meta_client *mc,
                        const struct master_keys *masters, void (*cb)(struct master_check *))
{
    *m = (struct master_check){.masters = masters, .cb = cb};
    m->rows = (struct meta_rows){
        .kind = CAIRN__ROW_KIND__ROW_SECRET,
        .name = KMS_MASTER_ROW,
        .deadline_ns = env_now_ns(env) + READ_NS,
        .cb = rows_cb,
    };
    meta_rows_start(mc, &m->rows);
}

const char *master_file_read(const char *path, char content[MASTER_FILE_BYTES_MAX + 1],
                             const char **ret)
{
    struct stat st;
    size_t used = 0;
    ssize_t n = 1;
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return "the file cannot be opened";
    const char *why = NULL;
    if (fstat(fd, &st) != 0 || !S_ISREG(st.st_mode))
        why = "it is no plain file";
    else if (st.st_mode & (S_IRWXO | S_IWGRP | S_IXGRP))
        why = "others than its owner and group may use the file, or the group may change it: chmod "
              "600";
    while (!why && n > 0 && used < MASTER_FILE_BYTES_MAX) {
        n = read(fd, content + used, MASTER_FILE_BYTES_MAX - used);
        used += n > 0 ? (size_t)n : 0;
    }
    if (!why && (n < 0 || used == MASTER_FILE_BYTES_MAX))
        why = n < 0 ? "the file cannot be read" : "the file is too large";
    close(fd);
    content[used] = 0;
    if (!why && strlen(content) != used)
        why = "there is a zero byte in it";
    *ret = content;
    return why;
}
