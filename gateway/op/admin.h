#pragma once
/* The operator's questions (S3_OP_ADMIN): what the files of this operation share.  Only the root
 * user may ask.  Answers are JSON; errors are S3's.  docs/operations.md has the paths. */
#include "gateway/op/request.h"

#include <jansson.h>

/* Answers with the document (taken over; NULL: no memory), once the user is known to be allowed at
 * or after this moment, and ends the request. */
void admin_reply(struct request *req, json_t *answer);
/* Answers with the error and ends the request. */
void admin_fail(struct request *req, int err);

/* admin_verify.c */
void admin_verify_start(struct request *req);

/* ---- admin_json.c ---- */

/* Takes the value (NULL: there was no memory for it).  Out of memory the whole is dropped and NULL,
 * and so is what comes after it: an answer is never short. */
void json_set(json_t **object, const char *name, json_t *value);
void json_append(json_t **array, json_t *value);

/* NULL when out of memory. */
struct cluster_view;
json_t *admin_status_json(const struct cluster_view *v);
json_t *admin_nodes_json(const struct cluster_view *v);
json_t *admin_disks_json(const struct cluster_view *v);
json_t *admin_pgs_json(const struct cluster_view *v);
json_t *admin_planned_json(Cairn__PlannedChange *const *planned, size_t count);
