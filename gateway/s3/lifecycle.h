#pragma once
/* Lifecycle rules: the configuration of a bucket, and what its rules say of a version, a delete
 * marker or an upload at some moment.  Pure.
 *
 * Times are counted as S3 does: so many days after what they count from, and then to the next
 * midnight (UTC).  How long a day is, the caller says; with another length "midnight" is the next
 * multiple of it.
 *
 * Transitions are refused: no storage class of Cairn is a colder one of another. */
#include "gateway/s3/tags.h"

#define S3_LIFECYCLE_RULES_MAX 1000
#define S3_LIFECYCLE_ID_CHARS_MAX 255
#define S3_LIFECYCLE_NEWER_MAX 100
#define S3_DAY_MS 86400000ull

enum s3_expiration {
    S3_EXPIRE_NEVER,
    S3_EXPIRE_DAYS,   /* after it was made; and delete markers that are alone, likewise */
    S3_EXPIRE_DATE,   /* from then on */
    S3_EXPIRE_MARKER, /* delete markers that are alone, at once */
};

struct s3_lifecycle_rule {
    struct slice id, prefix;
    bool enabled;
    struct s3_tags tags; /* all of which an object must have */
    bool has_size_above, has_size_below;
    uint64_t size_above, size_below; /* neither of which it may be */
    enum s3_expiration expiration;
    uint64_t days, date_ms;
    uint64_t noncurrent_days; /* 0: never */
    uint32_t newer_kept;      /* of the noncurrent ones, so many newest stay */
    uint64_t abort_days;      /* 0: never */
};
struct s3_lifecycle {
    struct s3_lifecycle_rule *rules;
    size_t count;
    bool wants_tags; /* some enabled rule looks at them */
};
extern const struct s3_schema s3_lifecycle_schema;

/* Gives an id to each rule of the document that has none, and dates their one form.
 * Returns: S3_OK; INVALID_ARGUMENT (a date); INTERNAL_ERROR. */
enum s3_code s3_lifecycle_complete(struct arena *arena, struct s3_node *root,
                                   struct s3_fault *fault);
/* Copied into the arena.  Returns: S3_OK; MALFORMED_XML; INVALID_REQUEST; INVALID_ARGUMENT;
 * INVALID_TAG; INTERNAL_ERROR. */
enum s3_code s3_lifecycle_of_node(struct arena *arena, const struct s3_node *root,
                                  struct s3_lifecycle *ret, struct s3_fault *fault);

/* A version of a key, or a delete marker. */
struct s3_lifecycle_object {
    struct slice key;
    struct s3_tags tags;
    uint64_t size, mtime_ms;
    bool is_latest, delete_marker;
    bool alone;                /* the only version of its key */
    uint64_t noncurrent_ms;    /* not the latest: when the next newer one was made */
    uint64_t newer_noncurrent; /* so many noncurrent ones are newer */
};
enum s3_lifecycle_action {
    S3_LIFECYCLE_KEEP,
    S3_LIFECYCLE_EXPIRE,         /* what a DELETE of the key does */
    S3_LIFECYCLE_DELETE_VERSION, /* for good */
    S3_LIFECYCLE_DELETE_MARKER,  /* that is alone */
};
struct s3_lifecycle_verdict {
    const struct s3_lifecycle_rule *rule;
    uint64_t due_ms; /* since then */
};
/* What is to be done with it now, and by which rule: of several, one that looks at no tags.
 * *ret is only set with an action. */
enum s3_lifecycle_action s3_lifecycle_judge(const struct s3_lifecycle *l,
                                            const struct s3_lifecycle_object *o, uint64_t now_ms,
                                            uint64_t day_ms, struct s3_lifecycle_verdict *ret);

/* When the object, a latest version, expires first; NULL: never. */
const struct s3_lifecycle_rule *s3_lifecycle_expiry(const struct s3_lifecycle *l,
                                                    const struct s3_lifecycle_object *o,
                                                    uint64_t day_ms, uint64_t *ret_ms);
/* When an upload that was begun at `initiated_ms` is aborted; NULL: never. */
const struct s3_lifecycle_rule *s3_lifecycle_abort(const struct s3_lifecycle *l, struct slice key,
                                                   uint64_t initiated_ms, uint64_t day_ms,
                                                   uint64_t *ret_ms);
/* `days` after `from_ms`, and on to the next midnight. */
uint64_t s3_lifecycle_due(uint64_t from_ms, uint64_t days, uint64_t day_ms);

/* The value of x-amz-expiration, appended. */
void s3_lifecycle_expiration_text(struct buf *b, const struct s3_lifecycle_rule *rule, uint64_t ms);

/* The keys of whose versions enabled rules may say something: the shortest prefixes, none within
 * another, in order; in the arena.  One empty prefix: all.  false: no memory. */
bool s3_lifecycle_prefixes(struct arena *arena, const struct s3_lifecycle *l, struct slice **ret,
                           size_t *ret_count);
