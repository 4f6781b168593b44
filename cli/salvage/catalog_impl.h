#pragma once
/* Between the files of cli/salvage. */
#include "cli/salvage/catalog.h"

/* The shard is intact, and is of the blob as its other shards describe it. */
bool salvage_shard_serves(const struct salvage_blob *b, const struct salvage_shard *s);
/* From c->blob to c->version.  Returns: OK; ERR_NOMEM. */
int salvage_versions(struct salvage_catalog *c);
/* Then: appended data to what they were appended to.  Returns: OK; ERR_NOMEM. */
int salvage_appends(struct salvage_catalog *c);
