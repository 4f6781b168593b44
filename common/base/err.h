#pragma once
/* One table of errors for the whole system.
 *
 * A function that can fail returns int: 0 or one of the negative codes below.  The class says what
 * the caller may do: PERMANENT (the same request will fail again), RETRY (nothing happened, try
 * again, perhaps elsewhere), UNKNOWN_OUTCOME (it may have happened: never clean up after it, retry
 * only under the same write id).  S3 codes are mapped from these in gateway/s3/ only. */

enum err_class { ERR_CLASS_OK, ERR_CLASS_PERMANENT, ERR_CLASS_RETRY, ERR_CLASS_UNKNOWN_OUTCOME };

/* X(number, name, class, text).  Numbers travel on the wire: never change or reuse one. */
#define ERR_TABLE(X)                                                                               \
    X(1, ERR_INVAL, PERMANENT, "invalid argument")                                                 \
    X(2, ERR_NOMEM, RETRY, "out of memory")                                                        \
    X(3, ERR_IO, PERMANENT, "input/output error")                                                  \
    X(4, ERR_CORRUPT, PERMANENT, "stored data is damaged")                                         \
    X(5, ERR_CHECKSUM, RETRY, "checksum mismatch")                                                 \
    X(6, ERR_NOSPACE, RETRY, "no space left")                                                      \
    X(7, ERR_TOO_LARGE, PERMANENT, "larger than the stated limit")                                 \
    X(8, ERR_LIMIT, RETRY, "a bounded queue or table is full")                                     \
    X(9, ERR_CANCELED, UNKNOWN_OUTCOME, "canceled")                                                \
    X(10, ERR_TIMEOUT, UNKNOWN_OUTCOME, "deadline passed")                                         \
    X(11, ERR_CONN_LOST, UNKNOWN_OUTCOME, "connection lost with the request under way")            \
    X(12, ERR_UNREACHABLE, RETRY, "peer cannot be reached; nothing was sent")                      \
    X(13, ERR_SHUTDOWN, RETRY, "the process is draining")                                          \
    X(14, ERR_PROTO, PERMANENT, "malformed message")                                               \
    X(15, ERR_VERSION, PERMANENT, "no common protocol version")                                    \
    X(16, ERR_AUTH, PERMANENT, "peer is not authorized for this")                                  \
    X(17, ERR_UNIMPLEMENTED, PERMANENT, "not implemented")                                         \
    X(18, ERR_NOT_FOUND, PERMANENT, "not found")                                                   \
    X(19, ERR_EXISTS, PERMANENT, "exists already")                                                 \
    X(20, ERR_NOT_EMPTY, PERMANENT, "bucket is not empty")                                         \
    X(21, ERR_PRECONDITION, PERMANENT, "a condition of the request does not hold")                 \
    X(22, ERR_CONFLICT, RETRY, "a concurrent change got in between")                               \
    X(23, ERR_NOT_LEADER, RETRY, "this replica does not lead the partition")                       \
    X(24, ERR_EPOCH, RETRY, "the partition's range or epoch has changed")                          \
    X(25, ERR_NO_PARTITION, RETRY, "no such partition here")                                       \
    X(26, ERR_SEALED, PERMANENT, "the bucket is sealed for deletion")                              \
    X(27, ERR_SETTINGS, RETRY, "the bucket's settings are newer than assumed")                     \
    X(28, ERR_TOO_OLD, PERMANENT, "the proposal is older than the outcome window")                 \
    X(29, ERR_TIME, RETRY, "a clock is too far off")                                               \
    X(30, ERR_REFUSED, PERMANENT, "the entry breaks a rule of the state machine")                  \
    X(31, ERR_CONDEMNED, PERMANENT, "a blob the record names has been condemned")                  \
    X(32, ERR_NO_QUORUM, RETRY, "not enough replicas answered")                                    \
    X(33, ERR_OVERLOAD, RETRY, "too busy; slow down")                                              \
    X(34, ERR_QUARANTINED, PERMANENT, "this replica is quarantined after damage")                  \
    X(35, ERR_NOT_READY, RETRY, "not ready yet")                                                   \
    X(36, ERR_NO_UPLOAD, PERMANENT, "no such multipart upload")                                    \
    X(37, ERR_INVALID_PART, PERMANENT, "a part is missing or does not match")                      \
    X(38, ERR_PART_ORDER, PERMANENT, "parts are not in ascending order")                           \
    X(39, ERR_PART_SMALL, PERMANENT, "a part other than the last is too small")                    \
    X(40, ERR_CONFIG, PERMANENT, "configuration error")                                            \
    X(41, ERR_DROPPED, UNKNOWN_OUTCOME, "leadership was lost with the proposal under way")         \
    X(42, ERR_NO_BUCKET, PERMANENT, "no such bucket")                                              \
    X(43, ERR_LEASE, RETRY, "the lease is not held")                                               \
    X(44, ERR_END, PERMANENT, "end of input")                                                      \
    X(45, ERR_DIGEST, PERMANENT, "content does not match the stated digest")                       \
    X(46, ERR_LOCKED, PERMANENT, "the version is protected by object lock")

enum {
    OK = 0,
#define X(num, name, class, text) name = -(num),
    ERR_TABLE(X)
#undef X
};

/* Stable name ("ERR_IO"), one-line text, class.  Any int is accepted; an unknown code is named
 * "ERR_?" and classed UNKNOWN_OUTCOME, the class that forbids the most. */
const char *err_name(int err);
const char *err_text(int err);
enum err_class err_class(int err);
