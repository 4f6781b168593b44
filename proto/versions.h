#pragma once
/* Versions on the wire.
 *
 * How requests and commands name one version of an object: by the log index that made it, if it has
 * a version id (ObjectRecord.versioned), or as the null version, of which a key has at most one. */
#include <stdint.h>

#define VERSION_NONE UINT64_C(0) /* no version is named */
#define VERSION_NULL UINT64_MAX  /* the null version, whichever log index made it */

/* What the outcome of a deletion says (Outcome.marks, key_marks). */
enum delete_mark {
    DELETE_MARKER_MADE = 1,   /* a delete marker; Outcome.version is its version, if it has an id */
    DELETE_MARKER_DELETED = 2 /* the version that was named was one */
};

/* ObjectRecord.renamed_by, if there is any: 16 bytes of the hash of RenameObject's client token, 16
 * of what it said. */
enum { RENAMED_BY_BYTES = 32 };
