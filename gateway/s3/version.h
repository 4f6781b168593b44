#pragma once
/* Version ids as clients see them: "null", or 26 characters that stand for the version.  Opaque to
 * clients; a check inside tells an id of ours from anything else, so that what nobody was ever
 * given is InvalidArgument and what has gone is NoSuchVersion, as S3 has it.  An id grants nothing,
 * so the check needs no secret.  Pure. */
#include "common/base/slice.h"

#define S3_VERSION_ID_CHARS 26
#define S3_VERSION_NONE UINT64_C(0)
#define S3_VERSION_NULL UINT64_MAX /* of "null" */

/* Not for NONE and NULL.  With a NUL at the end. */
void s3_version_id_text(uint64_t version, char ret[S3_VERSION_ID_CHARS + 1]);
/* false: no id that was ever given. */
bool s3_version_id_parse(struct slice text, uint64_t *ret);
