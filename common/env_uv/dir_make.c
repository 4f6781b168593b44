/* Making directories durably. */
#include "common/env_uv/dir_make.h"

#include "common/base/err.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

int dir_make(const char *path)
{
    if (mkdir(path, 0700) != 0 && errno != EEXIST)
        return ERR_IO;
    char *parent = strdup(path);
    if (!parent)
        return ERR_NOMEM;
    char *cut = strrchr(parent, '/');
    if (cut == parent)
        cut[1] = 0;
    else if (cut)
        *cut = 0;
    int fd = open(cut ? parent : ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    int err = fd >= 0 && fsync(fd) == 0 ? OK : ERR_IO;
    if (fd >= 0)
        close(fd);
    free(parent);
    return err;
}
