#pragma once
/* Names, paths, ids and ARNs of identities, by the patterns of IAM's service model.  Pure. */
#include "common/base/arena.h"

#define IAM_ACCOUNT_DIGITS 12
#define IAM_USER_NAME_MAX 64
#define IAM_GROUP_NAME_MAX 128
#define IAM_ROLE_NAME_MAX 64
#define IAM_POLICY_NAME_MAX 128
#define IAM_UNIQUE_ID_CHARS 21 /* "AIDA" and 17 more */
#define IAM_KEY_ID_CHARS 20    /* "AKIA" and 16 more */
#define IAM_SECRET_CHARS 40
#define IAM_ARN_BYTES_MAX 2048

bool iam_account_id_valid(struct slice s);                   /* 12 digits */
bool iam_name_valid(struct slice s, size_t max);             /* [\w+=,.@-]+ */
bool iam_word_valid(struct slice s, size_t min, size_t max); /* [\w]+ */
bool iam_path_valid(struct slice s);                         /* "/", "/a/b/" */
bool iam_policy_path_valid(struct slice s);                  /* narrower: of policies */
bool iam_path_prefix_valid(struct slice s);                  /* "/a/b", "/" */
bool iam_tag_key_valid(struct slice s);
bool iam_tag_value_valid(struct slice s);
bool iam_description_valid(struct slice s);
bool iam_secret_valid(struct slice s);           /* 16 to 128 visible ASCII characters */
bool iam_text_valid(struct slice s, size_t max); /* of the operator: UTF-8, no control characters */

/* Ids out of random bytes: 32 characters, "A-Z2-7". */
void iam_id_make(const char prefix[4], const uint8_t *random, size_t chars, char *ret);
/* 40 characters of A-Za-z0-9+/ out of 30 random bytes; no NUL. */
void iam_secret_make(const uint8_t random[30], char ret[IAM_SECRET_CHARS]);

/* "arn:aws:iam::ACCOUNT:type/path/name"; path as stored, "/" or "/a/b/". */
enum iam_arn_type {
    IAM_ARN_ROOT,
    IAM_ARN_USER,
    IAM_ARN_GROUP,
    IAM_ARN_ROLE,
    IAM_ARN_POLICY,
    IAM_ARN_ASSUMED_ROLE, /* arn:aws:sts::ACCOUNT:assumed-role/NAME/SESSION: path empty, name
                             NAME/SESSION */
};
struct iam_arn {
    enum iam_arn_type type;
    struct slice account; /* 12 digits, or "aws" */
    struct slice path;    /* "/" or "/a/b/" */
    struct slice name;
};
/* false: none of these.  Slices point into s. */
bool iam_arn_parse(struct slice s, struct iam_arn *ret);
/* NUL-terminated; NULL: no memory. */
char *iam_arn_make(struct arena *arena, enum iam_arn_type type, const char *account,
                   const char *path, const char *name);

/* A NUL-terminated copy in lower case (ASCII): what rows are named by.  NULL: no memory. */
char *iam_lower(struct arena *arena, struct slice s);
