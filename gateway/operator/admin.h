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

/* admin_kms.c; name: of a key, in the arena */
void admin_kms_list_start(struct request *req);
void admin_kms_rewrap_start(struct request *req);
void admin_kms_change_start(struct request *req, const char *name, const char *action);

/* admin_quota.c; bucket: its name, in the arena */
void admin_quota_list_start(struct request *req);
void admin_quota_show_start(struct request *req, const char *bucket);
void admin_quota_change_start(struct request *req, const char *bucket, bool removes);
#define QUOTA_BOUNDS "The bounds of a quota are whole numbers up to 9223372036854775807."
/* Of a bucket or an account, which is called `what`: bounds, and where they are known, usage.
 * NULL: no memory. */
json_t *admin_quota_json(const char *what, const char *name, const Cairn__Quota *quota);
/* u NULL: nothing was counted for it yet. */
json_t *admin_usage_json(const Cairn__QuotaUsage *u, bool of_account);
/* The id of a quota where there was none. */
uint64_t admin_quota_id(struct request *req);

/* admin_verify.c */
void admin_verify_start(struct request *req);

/* ---- admin_json.c ---- */

/* Takes the value (NULL: there was no memory for it).  Out of memory the whole is dropped and NULL,
 * and so is what comes after it: an answer is never short. */
void json_set(json_t **object, const char *name, json_t *value);
void json_append(json_t **array, json_t *value);
json_t *json_uint(uint64_t n);
/* What a node says of itself may be no text. */
json_t *json_text(const char *s);

/* NULL when out of memory. */
struct cluster_view;
json_t *admin_status_json(const struct cluster_view *v);
json_t *admin_nodes_json(const struct cluster_view *v);
json_t *admin_disks_json(const struct cluster_view *v);
json_t *admin_pgs_json(const struct cluster_view *v);
/* admin_upkeep.c: of repair and scrub, as the storage nodes themselves have just said; one question
 * a node of the status. */
struct blob_ask;
json_t *admin_repair_json(const struct cluster_view *v, const struct blob_ask *told);
json_t *admin_scrub_json(const struct cluster_view *v, const struct blob_ask *told,
                         uint64_t now_ms);
/* node: the only one that was asked, or NULL. */
json_t *admin_scrub_started_json(const struct cluster_view *v, const struct blob_ask *told,
                                 bool deep, const char *node);
json_t *admin_planned_json(Cairn__PlannedChange *const *planned, size_t count);
