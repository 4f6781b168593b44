#pragma once
/* Directories that what is acknowledged lies in. */

/* Makes the directory, unless it is there, and makes its name durable: of one that is there, too, for
 * whoever made it may have died before.
 * Returns: OK; ERR_IO (errno says why); ERR_NOMEM.  Blocks. */
int dir_make(const char *path);
