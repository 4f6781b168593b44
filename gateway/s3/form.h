#pragma once
/* multipart/form-data as browsers post it (POST Object): fields, and one file after them.  A push
 * parser over any split of the input: the file's data that it yields are slices of the input, or of
 * the delimiter where what looked like one was none.  Pure; fields live in the arena given.
 *
 * The file is the last field that counts, as S3 has it: fields behind it are read over, but for a
 * second file, which is refused.
 *
 * Ref: RFC 7578, RFC 2046 section 5.1. */
#include "common/base/arena.h"
#include "gateway/s3/fields.h"
#include "gateway/s3/error.h"

#define S3_FORM_BOUNDARY_BYTES_MAX 70
#define S3_FORM_PART_HEAD_BYTES_MAX 4096
#define S3_FORM_FIELDS_MAX 100
#define S3_FORM_BYTES_MAX (20u << 10) /* everything before the file */

enum s3_form_state {
    S3_FORM_PREAMBLE,
    S3_FORM_DELIMITED, /* behind a delimiter: is there another part? */
    S3_FORM_HEAD,      /* of a part */
    S3_FORM_VALUE,     /* of a field */
    S3_FORM_FILE,
    S3_FORM_SKIP, /* of a field behind the file */
    S3_FORM_DONE,
    S3_FORM_FAILED,
};

struct s3_form {
    struct http_field
        fields[S3_FORM_FIELDS_MAX]; /* names as sent, each once, whatever their case */
    size_t field_count;
    bool has_file;         /* its data come next, or have come */
    struct slice filename; /* what follows the last slash or backslash; empty: none was given */
    /* private */
    struct arena *arena;
    enum s3_form_state state;
    enum s3_code error; /* of the FAILED state */
    size_t matched;     /* of the delimiter, at the end of what came in */
    size_t end_len;     /* of `end` */
    uint8_t end[2];     /* what follows a delimiter */
    size_t before;      /* bytes before the file */
    struct slice name;  /* of the field whose value comes in */
    struct buf value, head;
    size_t delimiter_len;
    uint8_t delimiter[S3_FORM_BOUNDARY_BYTES_MAX + 4]; /* CRLF "--" boundary */
};

/* Zeroed before; not to be moved afterwards.  content_type: of the request.
 * Returns: S3_OK; PRECONDITION_FAILED (of another type); MALFORMED_POST_REQUEST (boundary). */
enum s3_code s3_form_init(struct s3_form *f, struct arena *arena, struct slice content_type,
                          struct s3_fault *fault);
void s3_form_fini(struct s3_form *f);

/* Take some of `in`: *ret_used bytes (none only if there are data), with *ret_data (perhaps empty,
 * perhaps not a piece of `in`) the file's.  Stops where the file begins, then has_file.
 * Returns: S3_OK; MALFORMED_POST_REQUEST; MAX_POST_PRE_DATA_LENGTH; INVALID_ARGUMENT (a field that
 * comes twice); INCORRECT_NUMBER_OF_FILES; INTERNAL_ERROR.  After an error only the same again. */
enum s3_code s3_form_push(struct s3_form *f, struct slice in, size_t *ret_used,
                          struct slice *ret_data, struct s3_fault *fault);
/* At the end of the body: was it whole?  Returns: S3_OK; MALFORMED_POST_REQUEST;
 * INCORRECT_NUMBER_OF_FILES; what push() said. */
enum s3_code s3_form_finish(struct s3_form *f, struct s3_fault *fault);

static inline struct http_fields s3_form_fields(const struct s3_form *f)
{
    return (struct http_fields){f->fields, f->field_count};
}
