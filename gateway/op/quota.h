#pragma once
/* Quotas: what an operator allows a bucket to hold (SETTING_QUOTA), and an account in all of its
 * buckets together (ROW_QUOTA).  Where both are set both hold.
 *
 * The index counts nothing, so that no write pays for it.  A job counts what is in a bucket or an
 * account with a quota now and then (quota_measure.h).  A gateway adds what it has itself accepted
 * since, and what it is about to, and refuses what would exceed the quota with that:
 *
 *   counted by the job, as last read + accepted here since + under way here + this one > quota?
 *
 * So a quota is soft: other gateways' writes are seen with the next measurement only.  And it is
 * strict where that errs the other way: what is overwritten or deleted makes room with the next
 * measurement, and what was made while the job was counting may count twice until then.  When the
 * count cannot be read, writes go on.  Parts of uploads under way are not counted; they are when
 * the upload is completed.
 *
 * A quota that is taken away and set again is another one (Quota.id): what was counted for the
 * first does not count for it.
 *
 * The account's quota comes with its principals, so it is as fresh as they are: with the one that
 * asks, or, when somebody else writes into the account's bucket, with its root user, who is then
 * read beside (meta_read.want_owner).
 *
 * All loops of a process share one `struct quotas`; its functions may be called from any loop.
 * Memory: a few hundred bytes for each bucket and account with a quota that was written to, at most
 * QUOTAS_MAX of them (beyond that, those are forgotten that were asked for longest ago). */
#include "gateway/meta/rows.h"
#include "gateway/op/quota_tally.h"
#include "gateway/op/request.h"

#define QUOTAS_MAX 8192
#define QUOTA_JOB "quota" /* its kind's name */

struct quotas_metrics {
    struct metric_counter *refused, *reads, *unknown;
};
void quotas_metrics_init(struct quotas_metrics *m);

/* interval_ms: between measurements.  metrics are borrowed.  Returns: OK; ERR_NOMEM. */
int quotas_new(uint64_t interval_ms, const struct quotas_metrics *metrics, struct quotas **ret);
void quotas_free(struct quotas *q); /* no request under way; NULL is fine */

/* Before it is read: may it bring data into a bucket, so that the bucket's owner is to be known? */
bool quota_may_be_asked(const struct request *req);
/* Does the request, authorized, bring data into a bucket with a quota, its own or its account's? */
bool quota_is_asked(const struct request *req);
/* May it, as far as it is known how much?  The callback comes once, perhaps at once: S3_OK;
 * QUOTA_EXCEEDED; INTERNAL_ERROR. */
void quota_start(struct request *req, void (*cb)(struct request *req, enum s3_code code));
/* It is known now that so many bytes will be added.  Returns: S3_OK, also where no quota is asked;
 * QUOTA_EXCEEDED, the fault set. */
enum s3_code quota_admit(struct request *req, uint64_t bytes);
/* A proposal of the request ended: what it added counts as accepted. */
void quota_committed(struct request *req, const Cairn__Command *command, int err);
/* The request ends. */
void quota_release(struct request *req);

#define QUOTA_SCOPE_BYTES 17 /* of its job's row */
/* Of a bucket; an account's is its 12 digits. */
void quota_scope_of_bucket(uint64_t bucket_id, char ret[QUOTA_SCOPE_BYTES]);
/* Begins to read that row; scope is borrowed until the callback. */
void quota_usage_read(struct meta_client *mc, const char *scope, struct meta_rows *rows);
/* What the row says that was counted for the quota.  false: nothing yet.  Of a row that is not
 * there, too. */
bool quota_usage_of(const struct meta_rows *rows, uint64_t quota_id, Cairn__QuotaUsage *ret);
bool quota_usage_in(struct slice job_row, uint64_t quota_id, Cairn__QuotaUsage *ret);
