#pragma once
/* Structured log: one line an event, with a name ("raft.elected"), fields, and the id of the
 * operation that it belongs to.  Text: `2026-01-02T03:04:05.678Z INFO z1-metanode-1 raft.elected
 * op=1f partition=3 term=7`; or JSON, one object a line.
 *
 * ERROR means that a human must act, and fails a simulation run.  Never pass a secret: there is no
 * masking here.  Values are escaped, so that bytes from outside cannot forge a line.  The same event
 * of one call site more than LOG_BURST times a second is counted instead, and the count reported.
 * Thread-safe.  Before log_init, and with no file, lines go to standard error. */
#include "common/base/slice.h"

enum log_level { LOG_LEVEL_DEBUG, LOG_LEVEL_INFO, LOG_LEVEL_WARN, LOG_LEVEL_ERROR };
enum log_format { LOG_FORMAT_TEXT, LOG_FORMAT_JSON };

#define LOG_BURST 20
#define LOG_LINE_BYTES_MAX 4096 /* longer values are cut, marked by "..." */

enum log_field_kind { LOG_FIELD_NONE, LOG_FIELD_INT, LOG_FIELD_UINT, LOG_FIELD_HEX, LOG_FIELD_STR,
                      LOG_FIELD_BYTES, LOG_FIELD_ERR, LOG_FIELD_BOOL };

struct log_field {
    enum log_field_kind kind;
    const char *key;
    union {
        int64_t i;
        uint64_t u;
        const char *str;
        struct slice bytes;
    } v;
};

#define L_INT(k, x) {.kind = LOG_FIELD_INT, .key = (k), .v = {.i = (int64_t)(x)}}
#define L_UINT(k, x) {.kind = LOG_FIELD_UINT, .key = (k), .v = {.u = (uint64_t)(x)}}
#define L_HEX(k, x) {.kind = LOG_FIELD_HEX, .key = (k), .v = {.u = (uint64_t)(x)}}
#define L_STR(k, x) {.kind = LOG_FIELD_STR, .key = (k), .v = {.str = (x)}}      /* NULL: empty */
#define L_BYTES(k, x) {.kind = LOG_FIELD_BYTES, .key = (k), .v = {.bytes = (x)}} /* escaped */
#define L_ERR(x) {.kind = LOG_FIELD_ERR, .key = "err", .v = {.i = (x)}}          /* by its name */
#define L_BOOL(k, x) {.kind = LOG_FIELD_BOOL, .key = (k), .v = {.u = (x) ? 1 : 0}}

/* Rate limit of one call site. */
struct log_site {
    _Atomic uint64_t window; /* second << 32 | events in it */
    _Atomic uint32_t suppressed;
};

void log_write(enum log_level level, struct log_site *site, const char *event, uint64_t op_id,
               const struct log_field *fields, size_t count);

extern _Atomic int log_level_min;

/* log_info("raft.elected", op_id, L_UINT("partition", p), L_UINT("term", t));   op_id 0: none */
#define LOG_AT(level, event, op_id, ...)                                                           \
    do {                                                                                           \
        if ((int)(level) >= log_level_min) {                                                       \
            static struct log_site log_site_;                                                      \
            const struct log_field log_fields_[] = {{.kind = LOG_FIELD_NONE}, ##__VA_ARGS__};      \
            log_write((level), &log_site_, (event), (op_id), log_fields_,                          \
                      sizeof(log_fields_) / sizeof(log_fields_[0]));                               \
        }                                                                                          \
    } while (0)
#define log_debug(event, op_id, ...) LOG_AT(LOG_LEVEL_DEBUG, event, op_id, ##__VA_ARGS__)
#define log_info(event, op_id, ...) LOG_AT(LOG_LEVEL_INFO, event, op_id, ##__VA_ARGS__)
#define log_warn(event, op_id, ...) LOG_AT(LOG_LEVEL_WARN, event, op_id, ##__VA_ARGS__)
#define log_error(event, op_id, ...) LOG_AT(LOG_LEVEL_ERROR, event, op_id, ##__VA_ARGS__)

struct log_config {
    const char *node_id;
    const char *path; /* "-" or NULL: standard error */
    enum log_level level;
    enum log_format format;
};

/* Returns: OK; ERR_IO (the file cannot be opened; errno says why).  May be called again. */
int log_init(const struct log_config *config);
void log_fini(void);
/* Opens the file anew (after a rotation).  OK; ERR_IO, the old file stays in use. */
int log_reopen(void);
/* For a handler of crashes, which may hold or have interrupted anything: where the lines go, taken
 * without the lock.  Returns: the descriptor. */
int log_sink(enum log_format *ret_format);
bool log_level_by_name(struct slice name, enum log_level *ret); /* debug, info, warn, error */

/* Takes every line (without its newline) instead of the file: the simulator's capture.  `node` is
 * what log_node_set said last on this thread.  NULL restores the file. */
typedef void (*log_hook_fn)(void *arg, enum log_level level, const char *event, const char *line);
void log_hook_set(log_hook_fn hook, void *arg);
/* For several nodes in one process (simulation): the node named by this thread's next lines, and the
 * clock they show.  Borrowed; NULL: the configured ones. */
void log_node_set(const char *node_id);
void log_clock_set(uint64_t (*wall_ms)(void *arg), void *arg);
