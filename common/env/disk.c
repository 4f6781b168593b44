/* What all disks share. */
#include "common/env/disk.h"

#include <stdlib.h>

void disk_list_free(struct disk_req *r)
{
    for (size_t i = 0; i < r->name_count; i++)
        free(r->names[i]);
    free(r->names);
    r->names = NULL;
    r->name_count = 0;
}
