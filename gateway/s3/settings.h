#pragma once
/* The settings of a bucket that are documents: which there are, how each is checked and written,
 * and what S3 says when one was never set.  Pure.
 *
 * docs/s3-compatibility.md says which of them Cairn acts on.  The others are those
 * that S3 itself lets mean nothing to a client of objects; they are kept and given back. */
#include "gateway/s3/document.h"
#include "gateway/s3/request.h"

#define S3_SETTING_ID_CHARS_MAX 64
#define S3_SETTINGS_OF_A_KIND_MAX 1000
#define S3_SETTINGS_PAGE 100

struct s3_setting {
    unsigned kind; /* SettingKind (proto/common.proto) */
    enum s3_op get, put, del, list;
    const struct s3_schema *schema;
    enum s3_code none;  /* what GET answers when it was never set; S3_OK: `unset` */
    const char *unset;  /* the document without one; of object lock: where the bucket has it; with
                           `none` of a bucket that never had one */
    const char *erased; /* what DELETE leaves where that is not the same as what never was set:
                            GET then answers `none`.  Else NULL */
    const char *list_root; /* of kinds that come in numbers, by id; else NULL */
    int put_status;
    /* Brings into normal form what the schema cannot; before `check`.  May be NULL. */
    enum s3_code (*complete)(struct arena *arena, struct s3_node *root, struct s3_fault *fault);
    /* A field beside the document, kept and given back; its values end with NULL, the first of them
     * is meant where there is none.  NULL: there is none such. */
    const char *note_field;
    const char *const *note_values;
    bool empty_unsets; /* a document without elements takes the setting away */
    /* What the schema cannot say; may be NULL. */
    enum s3_code (*check)(const struct s3_request *r, const struct s3_node *root,
                          struct s3_fault *fault);
    void (*write)(struct buf *b, const struct s3_node *root); /* the normal form; NULL: as it is */
};

/* The setting that the operation is about; NULL: none. */
const struct s3_setting *s3_setting_of_op(enum s3_op op);
/* A client's document into normal form, appended to *ret.
 * Returns: S3_OK; MALFORMED_XML; NOT_IMPLEMENTED; INVALID_REQUEST; INVALID_TAG; ... */
enum s3_code s3_setting_read(const struct s3_setting *s, const struct s3_request *r,
                             struct slice body, struct buf *ret, struct s3_fault *fault);
/* The note of a request that sets it.  Returns: S3_OK; INVALID_ARGUMENT. */
enum s3_code s3_setting_note(const struct s3_setting *s, const struct s3_request *r,
                             const char **ret, struct s3_fault *fault);
/* The parameter `id` of a kind that comes in numbers.  Returns: S3_OK; INVALID_ARGUMENT. */
enum s3_code s3_setting_id(const struct s3_request *r, struct slice *ret, struct s3_fault *fault);
