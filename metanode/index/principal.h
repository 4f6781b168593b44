#pragma once
/* Principals, put together from rows of the registry at one applied index (principal.c). */
#include "metanode/index/index.h"

/* The principal of an access key id, or of an ARN.  *ret is a packed PrincipalRecord; of one that
 * is not present it has at most the account that it would be of, if that is known. Returns: OK;
 * ERR_NOMEM; ERR_CORRUPT; kv's errors. */
int principal_find(const struct index_view *view, struct slice id, bool *ret_present,
                   struct buf *ret);
