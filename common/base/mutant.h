#pragma once
/* Planted bugs, switched on at run time in builds made with -DCAIRN_MUTANTS (tests, simulator), to
 * prove that the tests would find them.  In a release build MUTANT() is the constant false.
 * Where a rule is implemented:  if (!MUTANT(VISIBLE_WITHOUT_ACK)) { ...the rule... } */

/* X(NAME, "name on the command line", "the rule that it removes") */
#define MUTANT_TABLE(X)                                                                            \
    /* spec/WitnessVisibility.tla */                                                               \
    X(VISIBLE_WITHOUT_ACK, "visible_without_ack", "visible only when every witness acknowledged")  \
    X(SERVE_BEFORE_ACK, "serve_before_ack", "a new leader waits for all attached witnesses")       \
    X(ATTACH_UNCOMMITTED, "attach_uncommitted", "a stream opens only after Attach is committed")   \
    X(RESUME_FROM_RECV, "resume_from_recv", "a stream resumes after what is committed")            \
    X(THROUGH_UNCOMMITTED, "through_uncommitted", "through counts only what is committed")         \
    X(FLOOR_NOT_RAISED, "floor_not_raised", "a witness with a gap raises its floor")               \
    X(FLOOR_IGNORED, "floor_ignored", "below the floor a witness knows nothing")                   \
    X(READY_ON_HELLO, "ready_on_hello", "ready only once caught up with the target")               \
    X(READY_SURVIVES, "ready_survives", "a new incarnation is not ready")                          \
    X(OLD_STREAM_COUNTS, "old_stream_counts", "an earlier incarnation's stream is ignored")        \
    X(ANSWER_WITHOUT_LEASE, "answer_without_lease", "only the holder of a lease answers")          \
    X(DEAD_BEFORE_EXPIRY, "dead_before_expiry", "dead only after the lease ran out")               \
    /* Raft */                                                                                     \
    X(COUNT_OLD_TERM, "count_old_term", "commit counts replicas only for own-term entries")        \
    X(COMMIT_OWN_LAST, "commit_own_last", "a follower commits only what the message proved")       \
    X(UNPERSISTED_VOTE, "unpersisted_vote", "vote and term are durable before a reply")            \
    X(LEASE_FROM_RECEIVE, "lease_from_receive", "the lease starts at the round's send time")       \
    X(REPLY_BEFORE_SYNC, "reply_before_sync", "append is acknowledged once synced")                \
    X(SLEEP_BEHIND, "sleep_behind", "a leader sleeps once every follower has all and sleeps")      \
    X(SLEEP_ON_LOSS, "sleep_on_loss", "a follower wakes when its leader's node is lost")           \
    X(SLEEP_PAST_RESTART, "sleep_past_restart", "a node's new life wakes what it led")             \
    X(LEASE_ASLEEP, "lease_asleep", "a sleeping leader's lease runs out")                          \
    /* DESIGN section 4 */                                                                         \
    X(AS_OF_ABOVE_APPLIED, "as_of_above_applied", "as_of is the applied index that was read")      \
    X(THROUGH_AFTER_SLOT, "through_after_slot", "the witness reads through before the slot")       \
    X(RAISE_OTHER_ENTRY, "raise_other_entry", "as_of is raised only on the entry asked about")     \
    X(DEPOSED_ROOT_GRANTS, "deposed_root_grants", "the root grants only under its own lease")      \
    X(ATTACH_FROM_APPLIED, "attach_from_applied", "the attach set is tracked from the log's tail") \
    X(DEATH_WITHOUT_WAIT, "death_without_wait", "the root waits the lease out before death")       \
    X(PRINCIPAL_BY_KEY, "principal_by_key", "a principal is fresh as long as its account is")      \
    /* DESIGN section 5, index */                                                                  \
    X(CONDEMN_WITHOUT_LOOKING, "condemn_without_looking", "apply looks once more for references")  \
    X(CONDEMN_ANY_AGE, "condemn_any_age", "what is young is not condemned, by entry time")         \
    X(CONDEMNED_ACCEPTED, "condemned_accepted", "no record may name a condemned blob")             \
    /* DESIGN section 5, placement */                                                              \
    X(RELEASED_UNCLOSED, "released_unclosed", "an old member is released once its epoch is closed") \
    /* DESIGN section 5, storage node */                                                           \
    X(STORE_SKIP_FSYNC, "store_skip_fsync", "a put is acknowledged once its frame is synced")      \
    X(STORE_RECLAIM_EARLY, "store_reclaim_early", "an extent is freed once the index is durable")  \
    X(STORE_MARK_UNSYNCED, "store_mark_unsynced", "a deletion mark is synced before it is said")   \
    X(STORE_ANY_GENERATION, "store_any_generation", "a frame counts in its life of the extent")    \
    X(STORE_TORN_ACCEPTED, "store_torn_accepted", "recovery verifies the data of a frame")         \
    X(STORE_WRITES_ON, "store_writes_on", "a failed write takes the disk out of service")          \
    X(STORE_OPEN_UNSYNCED, "store_open_unsynced", "what recovery believes has been synced")        \
    X(STORE_JUDGES_AGAIN, "store_judges_again", "what was judged torn is judged once")             \
    X(STORE_COPY_DELETED, "store_copy_deleted", "a copy of what was deleted is dropped")           \
    X(STORE_TOMBSTONE_EARLY, "store_tombstone_early", "a tombstone outlives late puts")            \
    X(STORE_READERS_IGNORED, "store_readers_ignored", "an extent's next life awaits readers")      \
    X(STORE_RESERVE_TAKEN, "store_reserve_taken", "puts leave the reserve to deletes")             \
    X(STORE_READ_UNCHECKED, "store_read_unchecked", "what is read is verified")                    \
    X(STORE_GROUP_STAYS, "store_group_stays", "what is deleted leaves its group's inventory")      \
    X(STORE_LOST_SERVES, "store_lost_serves", "a disk that was given up never serves again")       \
    X(STORE_DELETE_PART, "store_delete_part", "a delete waits for every disk that may hold it")    \
    X(STORE_EPOCH_UNSYNCED, "store_epoch_unsynced", "a closed epoch is synced before it is said")  \
    X(STORE_EPOCH_UNWAITED, "store_epoch_unwaited", "puts before a closed epoch end before that")  \
    X(SCRUB_SKIPS_EXTENT, "scrub_skips_extent", "a pass of the scrub reads every extent")          \
    X(ORPHAN_UNASKED, "orphan_unasked", "what is old is deleted only once it is condemned")        \
    X(REPAIR_UNVERIFIED, "repair_unverified", "repair is done once it has been read back")         \
    X(REPAIR_COPIES_DELETED, "repair_copies_deleted", "what a live member deleted is not copied")  \
    /* DESIGN section 5, data: what is written, referred to and let go */                          \
    X(BLOB_ONE_COPY, "blob_one_copy", "a segment counts once it is durable in two zones")          \
    X(CODED_WITHOUT_ZONE, "coded_without_zone", "a coded segment survives the loss of any zone")   \
    X(DECODE_UNCHECKED, "decode_unchecked", "shards are verified before they are decoded")         \
    X(DELETION_FIRST_ACK, "deletion_first_ack", "an item is done when every member has answered")  \
    X(ABORT_LETS_GO_NOTHING, "abort_lets_go_nothing", "an abort queues the upload's parts")        \
    X(UNCHOSEN_IS_ALL, "unchosen_is_all", "of a completed upload only unchosen parts are let go")  \
    X(SEAL_IGNORED, "seal_ignored", "nothing enters a bucket that is being deleted")               \
    X(LOCK_IGNORED, "lock_ignored", "what is locked is neither deleted nor replaced")

enum mutant {
    MUTANT_NONE,
#define X(NAME, text, rule) MUTANT_##NAME,
    MUTANT_TABLE(X)
#undef X
        MUTANT_COUNT
};

#ifdef CAIRN_MUTANTS
extern enum mutant mutant_active;
#define MUTANT(NAME) (__builtin_expect(mutant_active == MUTANT_##NAME, 0))
#else
#define MUTANT(NAME) 0
#endif

/* MUTANT_NONE when the name is unknown. */
enum mutant mutant_by_name(const char *name);
const char *mutant_name(enum mutant m);
