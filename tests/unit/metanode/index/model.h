#pragma once
/* What the index's model (test_model.c) knows of a partition, and the comparisons of it with what
 * the index answers (model_check.c). */
#include "metanode/index/keys.h"
#include "world.h"

enum {
    KEYS = 40,
    UPLOADS = 12,
    PART_NUMBERS = 5,
    RETRIES = 8,
    BLOBS = 2,
    CONDEMNED = 6,
    OLDER = 8
};
enum { STEPS = 4500, STEPS_UNVERSIONED = 1500 };

struct model_blobs {
    size_t n;
    struct id128 ids[BLOBS];
    uint64_t bytes[BLOBS];
    bool interim[BLOBS];
};

struct model_part {
    bool present;
    char etag[33];
    uint64_t size;
    struct model_blobs blobs;
};

struct model_lock {
    Cairn__LockMode mode;
    uint64_t until_ms;
    Cairn__LegalHold hold;
};

struct model_upload {
    bool live;
    struct model_lock lock;
    int key;
    struct id128 id;
    struct model_part parts[PART_NUMBERS + 1];
};

struct model_object {
    bool present;           /* an object; else nothing, or */
    bool marker, versioned; /* a delete marker */
    char etag[33];
    uint64_t size, version, mtime_ms;
    char body[24];
    bool has_body;
    struct model_lock lock;
    struct model_blobs blobs;
    bool has_manifest;
    struct id128 manifest_id;
    struct model_part parts[PART_NUMBERS + 1]; /* of the manifest */
};

struct retry {
    struct buf data;
    int err;
    uint64_t index;
};

struct model {
    struct world w;
    struct rng r;
    uint8_t key_bytes[KEYS][12];
    struct slice keys[KEYS];                /* ascending */
    struct model_object objects[KEYS];      /* the current versions */
    struct model_object older[KEYS][OLDER]; /* newest first */
    size_t older_count[KEYS];
    Cairn__Versioning mode;
    uint64_t settings; /* of the bucket */
    int step;
    struct model_upload uploads[UPLOADS];
    struct retry retries[RETRIES];
    struct buf blobs; /* all that were ever in an accepted command, or condemned */
    struct {
        struct id128 id;
        uint64_t until_ms; /* remembered at least so long */
    } condemned[CONDEMNED];
    /* Counts of what was met, so that a test that meets nothing fails. */
    size_t retried, completed, refused_conditions, listed;
    size_t markers, promoted, versions_listed, versions_gone, moved_older;
    size_t locks, refused_locked, bypassed, refused_locks;
    size_t refused_condemned, kept, moved, moved_parts, refs_listed, interim_found;
};

/* A record that the model has under a key, by number; false: there is none of that number. */
struct record_ref {
    struct model_blobs *blobs;
    struct id128 *upload_id;     /* NULL: the object itself */
    struct model_object *object; /* then this version */
    uint32_t number;
    uint64_t inline_bytes;
};

enum { RECORDS_MAX = 1 + OLDER + (UPLOADS + 1 + OLDER) * PART_NUMBERS };

static inline bool is_there(const struct model_object *o)
{
    return o->present || o->marker;
}

/* The version that is named (proto/versions.h); NULL: there is none. */
struct model_object *find_version(struct model *m, int key, uint64_t named);
/* What refers to data under a key, in the order of a listing.  Returns: how many; RECORDS_MAX at
 * most. */
size_t records_of(struct model *m, int key, struct record_ref *ret);

/* Each fails the test unless the index answers what the model has. */
void check_objects(struct model *m);
void check_segments(struct model *m); /* the listing of everything, in pages of any size */
void check_interim(struct model *m);  /* the walk finds each, in order, and nothing else */
void check_list(struct model *m);
void check_versions(struct model *m);
void check_uploads(struct model *m); /* under way, page by page */
