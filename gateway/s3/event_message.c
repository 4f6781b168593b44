/* The messages that destinations of notifications get: S3's event structure.
 * Ids were read as UTF-8, keys are percent-encoded before they are written as JSON. */
#include "gateway/s3/json_text.h"
#include "gateway/s3/notification.h"
#include "gateway/s3/request.h"
#include "gateway/s3/time.h"
#include "gateway/s3/version.h"

#include <stdio.h>

/* `"name":"value"`, behind a comma if need be. */
static void json_pair(struct buf *b, const char *name, struct slice value)
{
    if (b->len && b->ptr[b->len - 1] != '{')
        buf_u8(b, ',');
    json_text(b, slice_cstr(name));
    buf_u8(b, ':');
    json_text(b, value);
}

static void json_open(struct buf *b, const char *name)
{
    if (b->len && b->ptr[b->len - 1] != '{')
        buf_u8(b, ',');
    json_text(b, slice_cstr(name));
    buf_cstr(b, ":{");
}

static void json_u64(struct buf *b, const char *name, uint64_t value)
{
    buf_u8(b, ',');
    json_text(b, slice_cstr(name));
    buf_printf(b, ":%llu", (unsigned long long)value);
}

/* As S3: of a form, '/' stays, a space is '+'. */
static void json_key(struct buf *b, struct slice key)
{
    struct buf text = {0};
    s3_percent_encode(&text, key, true);
    for (size_t from = 0, to = 0; from < text.len; to++) {
        bool space = text.len - from >= 3 && memcmp(text.ptr + from, "%20", 3) == 0;
        text.ptr[to] = space ? '+' : text.ptr[from];
        from += space ? 3 : 1;
        if (from >= text.len)
            text.len = to + 1;
    }
    json_pair(b, "key", buf_view(&text));
    b->failed |= text.failed;
    buf_fini(&text);
}

/* AWS numbers what was added to the structure by the kind of event that needs it. */
static const char *version_of(enum s3_event e)
{
    return e >= S3_EVENT_TAGGING_PUT ? "2.3" : "2.1";
}

static void object_write(struct buf *b, const struct s3_event_message *m)
{
    char text[32];
    bool removed = m->event == S3_EVENT_REMOVED_DELETE || m->event == S3_EVENT_REMOVED_MARKER ||
                   m->event == S3_EVENT_EXPIRED_DELETE || m->event == S3_EVENT_EXPIRED_MARKER;
    json_open(b, "object");
    json_key(b, m->key);
    if (!removed) {
        json_u64(b, "size", m->size);
        json_pair(b, "eTag", m->etag);
    }
    if (m->version) {
        char id[S3_VERSION_ID_CHARS + 1];
        s3_version_id_text(m->version, id);
        json_pair(b, "versionId", slice_cstr(id));
    }
    int n = snprintf(text, sizeof(text), "%016llX%04X", (unsigned long long)m->index, m->n);
    json_pair(b, "sequencer", SLICE(text, (size_t)n));
    buf_u8(b, '}');
}

void s3_event_message_write(struct buf *b, const struct s3_event_message *m)
{
    char time[ISO8601_MS_CHARS + 1];
    struct buf arn = {0};
    iso8601_format(m->time_ms, time);
    buf_cstr(&arn, "arn:aws:s3:::");
    buf_slice(&arn, m->bucket);
    buf_cstr(b, "{\"Records\":[{");
    json_pair(b, "eventVersion", slice_cstr(version_of(m->event)));
    json_pair(b, "eventSource", SLICE_LIT("aws:s3"));
    json_pair(b, "awsRegion", m->region);
    json_pair(b, "eventTime", slice_cstr(time));
    json_pair(b, "eventName", slice_cstr(s3_event_name(m->event)));
    json_open(b, "userIdentity");
    json_pair(b, "principalId", m->requester);
    buf_u8(b, '}');
    json_open(b, "requestParameters");
    json_pair(b, "sourceIPAddress", m->source_ip);
    buf_u8(b, '}');
    json_open(b, "responseElements");
    json_pair(b, "x-amz-request-id", m->request_id);
    buf_u8(b, '}');
    json_open(b, "s3");
    json_pair(b, "s3SchemaVersion", SLICE_LIT("1.0"));
    json_pair(b, "configurationId", m->rule_id);
    json_open(b, "bucket");
    json_pair(b, "name", m->bucket);
    json_open(b, "ownerIdentity");
    json_pair(b, "principalId", m->bucket_owner);
    buf_u8(b, '}');
    json_pair(b, "arn", buf_view(&arn));
    buf_u8(b, '}');
    object_write(b, m);
    buf_cstr(b, "}}]}");
    b->failed |= arn.failed;
    buf_fini(&arn);
}

void s3_test_message_write(struct buf *b, struct slice bucket, struct slice request_id,
                           uint64_t now_ms)
{
    char time[ISO8601_MS_CHARS + 1];
    iso8601_format(now_ms, time);
    buf_u8(b, '{');
    json_pair(b, "Service", SLICE_LIT("Amazon S3"));
    json_pair(b, "Event", SLICE_LIT("s3:TestEvent"));
    json_pair(b, "Time", slice_cstr(time));
    json_pair(b, "Bucket", bucket);
    json_pair(b, "RequestId", request_id);
    json_pair(b, "HostId", request_id);
    buf_u8(b, '}');
}
