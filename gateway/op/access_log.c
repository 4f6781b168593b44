/* Access logs of buckets.
 *
 *   request ─► text ──interval, or full──► sending ─► self_put ─► gone
 *                                             ▲           │ may be tried again
 *                                             └───────────┘ at the next tick, TRIES_MAX times */
#include "gateway/op/access_log.h"

#include "common/base/check.h"
#include "common/crypto/codec.h"
#include "common/obs/log.h"
#include "gateway/op/bucket_view.h"
#include "gateway/op/context.h"
#include "gateway/op/principal.h"
#include "gateway/op/self_put.h"

#include <stdlib.h>

#define TRIES_MAX 5
#define TICK_MIN_NS (50 * NS_PER_MS)
#define TICK_MAX_NS NS_PER_SEC
#define DAY_MS 86400000ull
#define DROPPED_LOG_NS (60 * NS_PER_SEC)

/* Records on their way: of one bucket, to one place. */
struct sink {
    struct access_log *log;
    struct sink *next;
    uint64_t bucket_id;
    struct arena arena;
    struct slice bucket, owner_id, account;
    struct s3_logging to;
    struct buf text;
    uint64_t text_records, text_ms, text_ns; /* of its first record: the wall's, and the clock's */
    /* What is being written, or waits to be written again. */
    struct buf sending, key;
    uint64_t sending_records;
    unsigned tries;
    bool is_writing;
    struct self_put put;
};

struct access_log {
    struct gateway *gw;
    struct access_log_config config;
    const struct access_log_metrics *metrics;
    struct sink *sinks;
    size_t sink_count, bytes;
    unsigned writing;
    bool stopped;
    uint64_t dropped_ns; /* when that was said last */
    struct env_timer timer;
};

static void put_cb(struct self_put *put);

void access_log_metrics_init(struct access_log_metrics *m)
{
    m->records = metric_counter_new("cairn_access_log_records_total", NULL,
                                    "Requests recorded in the logs of buckets.");
    m->dropped =
        metric_counter_new("cairn_access_log_dropped_total", NULL,
                           "Records of these that were lost: no room, or nowhere to write them.");
    m->objects = metric_counter_new("cairn_access_log_objects_total", NULL,
                                    "Log objects written into buckets.");
}

/* ---- sinks ---- */

static bool is_empty(const struct sink *s)
{
    return s->text.len == 0 && s->sending.len == 0 && !s->is_writing;
}

static void sink_free(struct sink *s)
{
    buf_fini(&s->text);
    buf_fini(&s->sending);
    buf_fini(&s->key);
    arena_fini(&s->arena);
    free(s);
}

static void sweep(struct access_log *log)
{
    for (struct sink **at = &log->sinks; *at;) {
        struct sink *s = *at;
        if (!is_empty(s)) {
            at = &s->next;
            continue;
        }
        *at = s->next;
        log->sink_count--;
        sink_free(s);
    }
}

static struct sink *sink_new(struct access_log *log, const Cairn__BucketRecord *bucket,
                             const struct s3_logging *to)
{
    struct sink *s = log->sink_count < ACCESS_LOG_SINKS_MAX ? calloc(1, sizeof(*s)) : NULL;
    if (!s)
        return NULL;
    arena_init(&s->arena, 0);
    s->log = log;
    s->bucket_id = bucket->id;
    s->bucket = arena_copy(&s->arena, slice_cstr(bucket->name));
    s->owner_id = arena_copy(&s->arena, slice_cstr(bucket->owner_id));
    s->account = arena_copy(&s->arena, bucket_owner_account(bucket));
    s->to = (struct s3_logging){arena_copy(&s->arena, to->bucket),
                                arena_copy(&s->arena, to->prefix), to->format};
    if (!s->bucket.ptr || !s->owner_id.ptr || !s->account.ptr || !s->to.bucket.ptr ||
        !s->to.prefix.ptr) {
        sink_free(s);
        return NULL;
    }
    s->next = log->sinks;
    log->sinks = s;
    log->sink_count++;
    return s;
}

static struct sink *sink_of(struct access_log *log, const Cairn__BucketRecord *bucket,
                            const struct s3_logging *to)
{
    for (struct sink *s = log->sinks; s; s = s->next)
        if (s->bucket_id == bucket->id && s->to.format == to->format &&
            slice_eq(s->to.bucket, to->bucket) && slice_eq(s->to.prefix, to->prefix))
            return s;
    return sink_new(log, bucket, to);
}

/* ---- writing ---- */

static void drop(struct access_log *log, struct slice bucket, uint64_t records, int err)
{
    uint64_t now = env_now_ns(log->gw->env);
    metric_add(log->metrics->dropped, records);
    if (log->dropped_ns && now - log->dropped_ns < DROPPED_LOG_NS)
        return;
    log->dropped_ns = now;
    log_warn("access_log.dropped", 0, L_BYTES("bucket", bucket), L_UINT("records", records),
             L_ERR(err));
}

static void sending_end(struct sink *s)
{
    s->log->bytes -= s->sending.len;
    buf_fini(&s->sending);
    buf_clear(&s->key);
    s->sending_records = 0;
    s->tries = 0;
}

static void put_start(struct sink *s)
{
    s->is_writing = true;
    s->log->writing++;
    s->put = (struct self_put){
        .gw = s->log->gw,
        .bucket = s->to.bucket,
        .key = buf_view(&s->key),
        .owner_id = s->owner_id,
        .data = buf_view(&s->sending),
        .content_type = "text/plain",
        .cb = put_cb,
    };
    self_put_start(&s->put);
}

/* The text becomes what is sent, under a name of its own. */
static void take(struct sink *s)
{
    struct gateway *gw = s->log->gw;
    uint8_t random[S3_LOGGING_UNIQUE_CHARS / 2];
    char unique[S3_LOGGING_UNIQUE_CHARS + 1] = {0};
    env_random(gw->env, random, sizeof(random));
    hex_encode(SLICE(random, sizeof(random)), unique);
    for (char *p = unique; *p; p++)
        *p = (char)(*p >= 'a' ? *p - 32 : *p);
    s->sending = s->text;
    s->sending_records = s->text_records;
    s->text = (struct buf){0};
    s->text_records = 0;
    buf_clear(&s->key);
    s3_logging_key(&s->key, &s->to, s->account, gw->config->region, s->bucket, s->text_ms,
                   env_wall_ms(gw->env), unique);
}

static void sink_flush(struct sink *s)
{
    struct access_log *log = s->log;
    if (s->is_writing || log->writing >= ACCESS_LOG_PARALLEL_MAX)
        return;
    if (s->sending.len == 0 && s->text.len)
        take(s);
    if (s->key.failed) { /* no memory for a name */
        drop(log, s->bucket, s->sending_records, ERR_NOMEM);
        sending_end(s);
        buf_fini(&s->key);
    } else if (s->sending.len) {
        put_start(s);
    }
}

static bool is_due(const struct sink *s)
{
    const struct access_log *log = s->log;
    uint64_t age = env_now_ns(log->gw->env) - s->text_ns;
    return log->stopped || s->sending.len || s->text.len >= log->config.object_bytes ||
           (s->text.len && age >= log->config.interval_ms * NS_PER_MS);
}

static void flush_due(struct access_log *log)
{
    for (struct sink *s = log->sinks; s && log->writing < ACCESS_LOG_PARALLEL_MAX; s = s->next)
        if (is_due(s))
            sink_flush(s);
}

static void tick_start(struct access_log *log)
{
    uint64_t tick = log->config.interval_ms * NS_PER_MS / 8;
    env_timer_start(&log->timer, MAX(TICK_MIN_NS, MIN(tick, TICK_MAX_NS)));
}

static void tick(struct env_timer *timer)
{
    struct access_log *log = container_of(timer, struct access_log, timer);
    flush_due(log);
    sweep(log);
    if (log->sinks)
        tick_start(log);
}

static void put_cb(struct self_put *put)
{
    struct sink *s = container_of(put, struct sink, put);
    struct access_log *log = s->log;
    int err = put->err;
    self_put_fini(put);
    s->is_writing = false;
    log->writing--;
    bool again = self_put_may_retry(err) && !log->stopped && ++s->tries < TRIES_MAX;
    if (err == OK)
        metric_inc(log->metrics->objects);
    else if (!again)
        drop(log, s->to.bucket, s->sending_records, err);
    if (!again)
        sending_end(s);
    if (log->stopped)
        flush_due(log);
}

/* ---- records ---- */

static struct slice requester(const struct request *req)
{
    const Cairn__PrincipalRecord *p = req->principal;
    if (!p)
        return SLICE_EMPTY;
    if (req->session && req->session->arn.len)
        return req->session->arn;
    return slice_cstr(p->type == CAIRN__PRINCIPAL_TYPE__PRINCIPAL_ROOT ? p->canonical_id : p->arn);
}

/* Of the object that the request is about, as far as it is known without asking anybody. */
static bool object_size(const struct request *req, uint64_t *ret)
{
    struct slice decoded;
    switch (req->s3.op) {
    case S3_OP_PUT_OBJECT:
    case S3_OP_UPLOAD_PART:
        decoded = http_fields_get(req->s3.fields, "x-amz-decoded-content-length");
        if (decoded.len)
            return parse_u64(decoded, ret);
        *ret = (uint64_t)req->http->content_length;
        return req->http->content_length >= 0;
    case S3_OP_GET_OBJECT:
    case S3_OP_HEAD_OBJECT:
        if (req->refused || !req->object || req->status >= 400)
            return false;
        *ret = req->object->size;
        return true;
    default: return false;
    }
}

static bool has_body(const struct request *req)
{
    return req->http->content_length != 0;
}

static void record_write(struct buf *b, const struct request *req,
                         const Cairn__BucketRecord *bucket)
{
    struct http_fields f = req->s3.fields;
    uint64_t started = req->http->started_ns, ns = uv_hrtime() - started;
    struct s3_log_record r = {
        .bucket_owner = slice_cstr(bucket->owner_id),
        .bucket = slice_cstr(bucket->name),
        .peer = context_source_ip(req),
        .requester = requester(req),
        .request_id = slice_cstr(req->id),
        .time_ms = request_now_ms(req) - ns / NS_PER_MS,
        .op = req->s3.op,
        .resource = req->s3.resource,
        .website = req->s3.website,
        .method = req->http->method_name,
        .target = req->http->target,
        .key = req->s3.key,
        .status = req->status,
        .error = req->status >= 400 && req->fault.code ? s3_code_name(req->fault.code) : NULL,
        .bytes_sent = req->bytes_sent,
        .total_ms = ns / NS_PER_MS,
        /* Of a request with a body it is not known here when its last byte came. */
        .has_turnaround = req->replied_ns > started && !has_body(req),
        .turnaround_ms = req->replied_ns > started ? (req->replied_ns - started) / NS_PER_MS : 0,
        .referer = http_fields_get(f, "referer"),
        .user_agent = http_fields_get(f, "user-agent"),
        .version_id = s3_request_value(&req->s3, "versionId"),
        .host = http_fields_get(f, "host"),
        .is_signed = req->principal != NULL,
        .presigned = req->auth.presigned,
        .version_2 = req->auth.version_2,
        .form = req->form != NULL,
        .tls_version = req->http->tls_version == 0x303   ? "TLSv1.2"
                       : req->http->tls_version == 0x304 ? "TLSv1.3"
                                                         : NULL,
    };
    r.has_size = object_size(req, &r.size);
    s3_log_record_write(b, &r);
}

static void record_add(struct access_log *log, const struct request *req,
                       const Cairn__BucketRecord *bucket, const struct s3_logging *to)
{
    struct sink *s = sink_of(log, bucket, to);
    uint64_t now_ms = env_wall_ms(log->gw->env);
    struct buf line = {0};
    record_write(&line, req, bucket);
    bool room = s && !line.failed && log->bytes + line.len <= ACCESS_LOG_BYTES_MAX;
    /* Those of one day are not put with those of the next. */
    if (room && s->text.len && to->format == S3_LOGGING_BY_EVENT &&
        s->text_ms / DAY_MS != now_ms / DAY_MS) {
        sink_flush(s);
        room = s->text.len == 0;
    }
    size_t before = room ? s->text.len : 0;
    if (room && before == 0) {
        s->text_ms = now_ms;
        s->text_ns = env_now_ns(log->gw->env);
    }
    if (room)
        buf_slice(&s->text, buf_view(&line));
    room = room && !s->text.failed;
    if (s)
        s->text.failed = false; /* what did not fit is not in it */
    if (room) {
        log->bytes += line.len;
        s->text_records++;
        metric_inc(log->metrics->records);
    } else {
        drop(log, slice_cstr(bucket->name), 1, ERR_LIMIT);
    }
    buf_fini(&line);
    if (s && is_due(s))
        sink_flush(s);
    if (log->sinks && !log->timer.active)
        tick_start(log);
}

void access_log_request(struct access_log *log, const struct request *req)
{
    struct cache_entry *e = req->read.err == OK ? req->read.bucket_entry : NULL;
    const Cairn__BucketRecord *bucket = e && e->record->present ? e->record->bucket : NULL;
    if (!bucket || bucket->n_settings == 0)
        return;
    const struct bucket_view *view = bucket_view_of(log->gw, e);
    if (view && view->logging)
        record_add(log, req, bucket, view->logging);
}

/* ---- its life ---- */

int access_log_new(struct gateway *gw, const struct access_log_config *config,
                   const struct access_log_metrics *metrics, struct access_log **ret)
{
    struct access_log *log = calloc(1, sizeof(*log));
    if (!log)
        return ERR_NOMEM;
    log->gw = gw;
    log->config = *config;
    log->metrics = metrics;
    env_timer_init(gw->env, &log->timer, tick);
    *ret = log;
    return OK;
}

void access_log_stop(struct access_log *log)
{
    log->stopped = true;
    flush_due(log);
}

bool access_log_idle(const struct access_log *log)
{
    for (const struct sink *s = log->sinks; s; s = s->next)
        if (!is_empty(s))
            return false;
    return log->stopped;
}

void access_log_free(struct access_log *log)
{
    if (!log)
        return;
    CHECK(access_log_idle(log));
    env_timer_stop(&log->timer);
    sweep(log);
    free(log);
}
