/* Settings of a bucket that apply depends on: whether versions are kept.
 *
 * Proposals carry what they assume (Command.versioning) under the settings version that they read
 * it with; the fence of a bucket in a partition is the least settings version that passes.  A
 * change:
 *
 *   BeginSetting here (v -> v+1, the record has the new value, `fencing` = v+1)
 *   -> FenceBucket(v+1, unsealed, what it is now) in every partition that overlaps the bucket
 *   -> FinishSetting (`fencing` = 0) -> the client is answered.
 *
 * What holds, whoever crashes, repeats or overtakes:
 *  (a) Once the client is answered no entry assumes the old value: every partition refuses settings
 *      versions below v+1 (a fence never goes back), and whoever reads v+1 here reads the new value
 *      with it.  Until then partitions differ, as S3 allows for a change under way; nothing is
 *      blocked meanwhile, for the fences do not seal.
 *  (b) Versioning begins OFF and is never OFF again (apply_begin_setting).  So every proposal that
 *      assumes OFF has a lower settings version than any that does not; and an entry that does not
 *      raises the fence of its own partition to its own version (apply_fence_check).  Hence within
 * a partition no OFF entry follows one that is not: OFF never meets an older version or a delete
 * marker, and never lets go of a version that somebody was given an id of, also before the change's
 * own fence gets there.  The fence row remembers it beside the version, so that it also holds for a
 * gateway of an earlier release, which reads v+1 but does not know the field. (c) ENABLED and
 * SUSPENDED may follow each other in any order: each is right on whatever rows it finds
 * (apply_version.c).
 *  - A fence answered with ERR_SETTINGS: the partition has a newer one already, which refuses even
 *    more.  For the change it counts as done.
 *  - The same change begun twice: the second one finds the value and keeps the version; both fence
 *    and finish.  Another change in between: each fences with the version that the record had when
 *    it began, and the later fence is the higher one.  Finish(w) clears `fencing` only up to w:
 * what began later stays to be finished.
 *  - Who began crashes: the record says `fencing`, since when; whoever meets it begins again with
 * the value that is there.  The client that was never answered may do so, too, or ask what holds.
 *  - A bucket with object lock keeps versions for good: it was made with both, or got the lock
 * while the record said ENABLED (apply_setting.c), and both changes are entries of this one log.
 *  - A bucket that is being deleted takes no change (ERR_CONFLICT).  One that began before is
 *    overtaken: the deletion's fences are of v+2 and sealed; if it is called off, writers assume
 * v+3, and the change is finished with that.  The fence row keeps what (b) remembers. */
#include "metanode/index/state.h"

int apply_begin_setting(struct apply *a, const Cairn__BeginSetting *op)
{
    Cairn__BucketRecord *bucket;
    int err = bucket_get(a, op->name, op->id, &bucket);
    if (err || !bucket)
        return err;
    if (bucket->state != CAIRN__BUCKET_STATE__BUCKET_ACTIVE)
        return apply_decide(a, ERR_CONFLICT);
    if (bucket->object_lock && op->versioning != CAIRN__VERSIONING__VERSIONING_ENABLED)
        return apply_decide(a, ERR_REFUSED); /* for good */
    if (bucket->versioning == op->versioning) {
        a->out.existed = true; /* its fences may still be missing */
        return OK;
    }
    bucket->versioning = op->versioning;
    bucket->settings_version++;
    bucket->fencing = bucket->settings_version;
    bucket->fencing_since_ms = a->h.time_ms;
    a->out.settings_version = bucket->settings_version;
    return root_put(a, TABLE_BUCKET, string_of(bucket->name), &bucket->base);
}

int apply_finish_setting(struct apply *a, const Cairn__FinishSetting *op)
{
    Cairn__BucketRecord *bucket;
    int err = bucket_get(a, op->name, op->id, &bucket);
    if (err || !bucket)
        return err;
    if (bucket->fencing == 0 || bucket->fencing > op->settings_version)
        return OK;
    bucket->fencing = 0;
    bucket->fencing_since_ms = 0;
    return root_put(a, TABLE_BUCKET, string_of(bucket->name), &bucket->base);
}
