#pragma once
/* PostObject: uploads by HTML form.  The form is read up to its file; from its fields the request
 * is made that would put the object (gateway/s3/post.h), with all that says who signed, so that it
 * goes the way of every other one: authentication, policies, ACLs, and put_object.c, whose body is
 * the file. */
#include "gateway/op/commit.h"
#include "gateway/op/request.h"
#include "gateway/s3/form.h"
#include "gateway/s3/post_policy.h"

struct post_form {
    struct request *req;
    struct s3_form form;
    struct s3_post_range range;
    bool is_exact; /* of `exact` bytes, or refused */
    uint64_t exact;
    /* private */
    bool reading;
    uint64_t consumed; /* of the body, up to the file */
    struct payload held;
    struct slice rest; /* of what came in last: the file begins with it */
    enum s3_code code;
    struct env_timer later;
    void (*done)(struct request *req, enum s3_code code);
    int lost; /* the client went while nobody took the body; OK: no */
    http_body_cb sink; /* who gets the body from then on */
    void *arg;
};

/* Can it be a form at all?  Returns: S3_OK; PRECONDITION_FAILED; MISSING_CONTENT_LENGTH;
 * INVALID_ARGUMENT (signed otherwise). */
enum s3_code post_form_check(struct request *req);
/* Reads up to the file; sets req->form, req->auth, key and fields of req->s3.  done comes later, so
 * that it may end the request.  S3_OK; what s3_form_push(), s3_post_apply() and sigv4_parse_form()
 * say; INCOMPLETE_BODY; REQUEST_TIMEOUT; INTERNAL_ERROR. */
void post_form_start(struct request *req, void (*done)(struct request *req, enum s3_code code));
/* Once it is known who signed.  Returns: S3_OK; what s3_post_policy_check() says. */
enum s3_code post_form_allowed(struct request *req);

/* ---- for body.c ---- */

/* As many bytes as the file can have at most. */
uint64_t post_form_rest(const struct post_form *p);
/* How many it has if nothing follows it, as it is with every client that is known: so many that
 * must be known beforehand.  Another number is then refused at the end, or before. Returns: S3_OK;
 * ENTITY_TOO_LARGE. */
enum s3_code post_form_expect(struct post_form *p, uint64_t *ret_bytes);
/* The body is the caller's: what has come of it already, and from now on, once it is resumed, by
 * cb. *ret_held: keeps the bytes. */
struct slice post_form_take(struct post_form *p, http_body_cb cb, void *arg,
                            struct payload *ret_held);
/* As s3_form_push(). */
enum s3_code post_form_push(struct post_form *p, struct slice in, size_t *ret_used,
                            struct slice *ret_data);
/* Of so many bytes, and maybe more.  Returns: ENTITY_TOO_LARGE. */
enum s3_code post_form_too_large(struct post_form *p, uint64_t bytes);
/* At the end of the body.  bytes: of the file.  Returns: as s3_form_finish(); ENTITY_TOO_SMALL. */
enum s3_code post_form_finish(struct post_form *p, uint64_t bytes);

/* As the form wants to be answered.  The object is stored. */
void post_form_reply(struct request *req, const Cairn__ObjectRecord *record,
                     const struct commit *commit);
void post_form_fini(struct post_form *p);
