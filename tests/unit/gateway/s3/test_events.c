/* Notifications and replication: configurations, what matches, and the messages. */
#include "gateway/s3/notification.h"
#include "gateway/s3/replication.h"
#include "gateway/s3/settings.h"

#include <stdio.h>

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "tests/unit/gateway/s3/make.h"

#define NS " xmlns=\"" S3_XMLNS "\""
#define ARN(name) "arn:cairn:sqs::" name ":webhook"

static struct made m;
static struct buf out;

static int teardown(void **state)
{
    (void)state;
    arena_fini(&m.arena);
    buf_fini(&out);
    return 0;
}

static enum s3_code put(const char *target, const char *body)
{
    MAKE(&m, "PUT", target, "Host: x");
    assert_code(m.code, S3_OK);
    buf_clear(&out);
    return s3_setting_read(s3_setting_of_op(m.request.op), &m.request, slice_cstr(body), &out,
                           &m.fault);
}

/* ---- notifications ---- */

#define QUEUE(id, name, event, filter)                                                             \
    "<QueueConfiguration>" id "<Queue>" ARN(name) "</Queue><Event>" event "</Event>" filter        \
                                                  "</QueueConfiguration>"
#define RULE(name, value) "<FilterRule><Name>" name "</Name><Value>" value "</Value></FilterRule>"
#define FILTER(rules) "<Filter><S3Key>" rules "</S3Key></Filter>"
#define ALL(configs) "<NotificationConfiguration>" configs "</NotificationConfiguration>"

static enum s3_code notify(const char *body)
{
    return put("/bkt?notification", body);
}

static struct s3_notification read_back(void)
{
    struct s3_node *root;
    struct s3_notification n;
    assert_code(
        s3_document_read(&m.arena, &s3_notification_schema, buf_view(&out), &root, &m.fault),
        S3_OK);
    assert_code(s3_notification_of_node(&m.arena, root, &n, &m.fault), S3_OK);
    return n;
}

static void notification_normal_form(void **state)
{
    (void)state;
    const char *given = ALL(QUEUE("<Id>one</Id>", "hook", "s3:ObjectCreated:*", ""));
    assert_code(notify(given), S3_OK);
    assert_slice(buf_view(&out),
                 "<NotificationConfiguration" NS "><QueueConfiguration><Id>one</Id>"
                 "<Queue>" ARN("hook") "</Queue><Event>s3:ObjectCreated:*</Event>"
                                       "</QueueConfiguration></NotificationConfiguration>");
    /* Without an Id it gets one: always the same, another for another. */
    assert_code(notify(ALL(QUEUE("", "hook", "s3:ObjectCreated:*", "")
                               QUEUE("", "hook", "s3:ObjectRemoved:*", ""))),
                S3_OK);
    struct s3_notification n = read_back();
    assert_int_equal(n.count, 2);
    assert_true(n.rules[0].id.len == 32 && n.rules[1].id.len == 32);
    assert_false(slice_eq(n.rules[0].id, n.rules[1].id));
    assert_slice(n.rules[0].webhook, "hook");
    /* Nothing takes the setting away. */
    assert_code(notify("<NotificationConfiguration/>"), S3_OK);
    assert_int_equal(out.len, 0);
}

static void notification_refused(void **state)
{
    (void)state;
    static const char *const bad[] = {
        ALL(QUEUE("", "", "s3:ObjectCreated:*", "")),
        ALL(QUEUE("", "a:b", "s3:ObjectCreated:*", "")),
        ALL("<TopicConfiguration><Topic>arn:aws:sns:us-east-1:1:t</Topic><Event>s3:ObjectCreated:*"
            "</Event></TopicConfiguration>"),
        ALL(QUEUE("", "hook", "s3:ObjectCreated", "")),
        ALL(QUEUE("", "hook", "s3:*", "")),
        ALL(QUEUE("", "hook", "ObjectCreated:Put", "")),
        ALL(QUEUE("", "hook", "s3:Replication:*", "")),
        ALL(QUEUE("", "hook", "s3:ObjectCreated:*", FILTER(RULE("infix", "a")))),
        ALL(QUEUE("", "hook", "s3:ObjectCreated:*",
                  FILTER(RULE("prefix", "a") RULE("Prefix", "b")))),
        ALL(QUEUE("<Id>i</Id>", "h", "s3:ObjectCreated:*", "")
                QUEUE("<Id>i</Id>", "h", "s3:ObjectRemoved:*", "")),
        ALL(QUEUE("", "h", "s3:ObjectCreated:*", "") QUEUE("", "h", "s3:ObjectCreated:Put", "")),
        ALL(QUEUE("", "h", "s3:ObjectCreated:*", FILTER(RULE("prefix", "a")))
                QUEUE("", "i", "s3:ObjectCreated:*", FILTER(RULE("prefix", "ab")))),
        ALL(QUEUE("", "h", "s3:ObjectCreated:*", FILTER(RULE("suffix", "g") RULE("prefix", "a")))
                QUEUE("", "i", "s3:ObjectCreated:*", FILTER(RULE("suffix", ".jpg")))),
    };
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
        assert_code(notify(bad[i]), S3_INVALID_ARGUMENT);
    assert_code(notify(ALL("<EventBridgeConfiguration/>")), S3_NOT_IMPLEMENTED);
    assert_code(notify(ALL("<Other/>")), S3_MALFORMED_XML);
    assert_code(notify(ALL("<QueueConfiguration><Queue>" ARN("h") "</Queue></QueueConfiguration>")),
                S3_MALFORMED_XML);
    /* No overlap: other events, other prefixes, other suffixes. */
    assert_code(notify(ALL(QUEUE("", "h", "s3:ObjectCreated:*", FILTER(RULE("prefix", "a")))
                               QUEUE("", "h", "s3:ObjectCreated:*", FILTER(RULE("prefix", "b")))
                                   QUEUE("", "h", "s3:ObjectRemoved:*", ""))),
                S3_OK);
    assert_code(notify(ALL(QUEUE("", "h", "s3:ObjectCreated:*", FILTER(RULE("suffix", ".a")))
                               QUEUE("", "h", "s3:ObjectCreated:*", FILTER(RULE("suffix", ".b"))))),
                S3_OK);
}

static void notification_matches(void **state)
{
    (void)state;
    assert_code(notify(ALL(QUEUE("<Id>a</Id>", "h", "s3:ObjectCreated:*",
                                 FILTER(RULE("prefix", "in/") RULE("suffix", ".jpg")))
                               QUEUE("<Id>b</Id>", "h", "s3:ObjectRemoved:DeleteMarkerCreated", "")
                                   QUEUE("<Id>c</Id>", "h", "s3:ObjectTagging:*", ""))),
                S3_OK);
    struct s3_notification n = read_back();
    const struct s3_notification_rule *r;
    for (int e = S3_EVENT_CREATED_PUT; e <= S3_EVENT_CREATED_COMPLETE; e++) {
        r = s3_notification_match(&n, (enum s3_event)e, SLICE_LIT("in/x.jpg"));
        assert_non_null(r);
        assert_slice(r->id, "a");
        assert_null(s3_notification_match(&n, (enum s3_event)e, SLICE_LIT("in/x.png")));
        assert_null(s3_notification_match(&n, (enum s3_event)e, SLICE_LIT("x.jpg")));
        /* Prefix and suffix may meet within a key. */
        assert_non_null(s3_notification_match(&n, (enum s3_event)e, SLICE_LIT("in/.jpg")));
    }
    assert_non_null(s3_notification_match(&n, S3_EVENT_REMOVED_MARKER, SLICE_LIT("k")));
    assert_null(s3_notification_match(&n, S3_EVENT_REMOVED_DELETE, SLICE_LIT("k")));
    assert_non_null(s3_notification_match(&n, S3_EVENT_TAGGING_PUT, SLICE_LIT("k")));
    assert_non_null(s3_notification_match(&n, S3_EVENT_TAGGING_DELETE, SLICE_LIT("k")));
    assert_null(s3_notification_match(&n, S3_EVENT_EXPIRED_DELETE, SLICE_LIT("k")));
}

static void messages(void **state)
{
    (void)state;
    struct s3_event_message e = {
        .event = S3_EVENT_CREATED_PUT,
        .time_ms = 1369353600123,
        .region = SLICE_LIT("us-east-1"),
        .rule_id = SLICE_LIT("a \"rule\"\n"),
        .requester = SLICE_LIT("me"),
        .source_ip = SLICE_LIT("::1"),
        .request_id = SLICE_LIT("0123456789ABCDEF"),
        .bucket = SLICE_LIT("photos"),
        .bucket_owner = SLICE_LIT("owner"),
        .key = SLICE_LIT("a b/\xc3\xbc+"),
        .etag = SLICE_LIT("d41d"),
        .size = 7,
        .index = 0x12,
        .n = 3,
    };
    buf_clear(&out);
    s3_event_message_write(&out, &e);
    assert_slice(
        buf_view(&out),
        "{\"Records\":[{\"eventVersion\":\"2.1\",\"eventSource\":\"aws:s3\",\"awsRegion\":"
        "\"us-east-1\",\"eventTime\":\"2013-05-24T00:00:00.123Z\",\"eventName\":"
        "\"ObjectCreated:Put\",\"userIdentity\":{\"principalId\":\"me\"},\"requestParameters\":"
        "{\"sourceIPAddress\":\"::1\"},\"responseElements\":{\"x-amz-request-id\":"
        "\"0123456789ABCDEF\"},\"s3\":{\"s3SchemaVersion\":\"1.0\",\"configurationId\":"
        "\"a \\\"rule\\\"\\u000a\",\"bucket\":{\"name\":\"photos\",\"ownerIdentity\":"
        "{\"principalId\":\"owner\"},\"arn\":\"arn:aws:s3:::photos\"},\"object\":{\"key\":"
        "\"a+b/%C3%BC%2B\",\"size\":7,\"eTag\":\"d41d\",\"sequencer\":"
        "\"00000000000000120003\"}}}]}");
    /* A key of one space, and one that ends in some. */
    e.key = SLICE_LIT(" ");
    buf_clear(&out);
    s3_event_message_write(&out, &e);
    assert_non_null(memmem(out.ptr, out.len, "\"key\":\"+\"", 9));
    e.key = SLICE_LIT("a  ");
    e.event = S3_EVENT_REMOVED_MARKER;
    e.version = 5;
    buf_clear(&out);
    s3_event_message_write(&out, &e);
    assert_non_null(memmem(out.ptr, out.len, "\"key\":\"a++\"", 11));
    assert_non_null(memmem(out.ptr, out.len, "\"versionId\":\"", 13));
    assert_null(memmem(out.ptr, out.len, "\"size\"", 6));
}

/* ---- replication ---- */

#define TO(place) "<Destination><Bucket>arn:aws:s3:::" place "</Bucket></Destination>"
#define MARKERS(status)                                                                            \
    "<DeleteMarkerReplication><Status>" status "</Status></DeleteMarkerReplication>"
#define V2(id, priority, filter, markers, to)                                                      \
    "<Rule><ID>" id "</ID><Priority>" priority "</Priority><Filter>" filter                        \
    "</Filter><Status>Enabled</Status>" markers to "</Rule>"
#define REPLICATION(rules)                                                                         \
    "<ReplicationConfiguration><Role>role</Role>" rules "</ReplicationConfiguration>"
#define TAG "<Tag><Key>k</Key><Value>v</Value></Tag>"

static enum s3_code replicate(const char *body)
{
    return put("/bkt?replication", body);
}

static void replication_refused(void **state)
{
    (void)state;
    static const struct {
        enum s3_code code;
        const char *body;
    } bad[] = {
        {S3_INVALID_REQUEST, REPLICATION(V2("a", "1", "", MARKERS("Enabled"), TO("plain-bucket")))},
        {S3_INVALID_REQUEST, REPLICATION(V2("a", "1", "", MARKERS("Enabled"), TO("dr/ab")))},
        {S3_INVALID_REQUEST, REPLICATION(V2("a", "1", "", MARKERS("Enabled"), TO("dr/a/b")))},
        {S3_INVALID_REQUEST, REPLICATION(V2("a", "1", "", MARKERS("Enabled"), TO("/bucket")))},
        {S3_INVALID_REQUEST, REPLICATION(V2("a", "1", "", "", TO("dr/bucket")))},
        {S3_INVALID_REQUEST, REPLICATION(V2("a", "1", TAG, MARKERS("Enabled"), TO("dr/bucket")))},
        {S3_INVALID_REQUEST, REPLICATION(V2("a", "1", "", MARKERS("Disabled"), TO("dr/bucket")) V2(
                                 "b", "1", "", MARKERS("Disabled"), TO("dr/bucket")))},
        {S3_INVALID_ARGUMENT, REPLICATION(V2("a", "1", "", MARKERS("Disabled"), TO("dr/bucket")) V2(
                                  "a", "2", "", MARKERS("Disabled"), TO("dr/bucket")))},
        {S3_INVALID_REQUEST, REPLICATION("<Rule><Filter/><Status>Enabled</Status>" MARKERS(
                                 "Enabled") TO("dr/bucket") "</Rule>")},
        {S3_INVALID_REQUEST,
         REPLICATION("<Rule><Prefix/><Priority>1</Priority><Status>Enabled</Status>" TO(
             "dr/bucket") "</Rule>")},
        {S3_MALFORMED_XML, REPLICATION("")},
        {S3_MALFORMED_XML, REPLICATION("<Rule><Status>Maybe</Status>" TO("dr/bucket") "</Rule>")},
        {S3_NOT_IMPLEMENTED,
         REPLICATION("<Rule><Prefix/><Status>Enabled</Status><SourceSelectionCriteria/>" TO(
             "dr/bucket") "</Rule>")},
    };
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++)
        assert_code(replicate(bad[i].body), bad[i].code);
}

static void replication_matches(void **state)
{
    (void)state;
    struct s3_node *root;
    struct s3_replication r;
    const struct s3_replication_rule *found[S3_REPLICATION_SINKS_MAX];
    struct s3_tag tag = {SLICE_LIT("k"), SLICE_LIT("v")};
    struct s3_tags tags = {&tag, 1}, none = {0};
    assert_code(replicate(REPLICATION(
                    V2("low", "1", "<Prefix>a</Prefix>", MARKERS("Enabled"), TO("dr/bucket"))
                        V2("high", "7", "<And><Prefix>ab</Prefix>" TAG "</And>",
                           MARKERS("Disabled"), TO("dr/bucket"))
                            V2("other", "2", "", MARKERS("Disabled"),
                               TO("far/bucket")) "<Rule><Prefix>off</Prefix><Status>Disabled</"
                                                 "Status>" TO("dr/third") "</Rule>")),
                S3_OK);
    assert_code(s3_document_read(&m.arena, &s3_replication_schema, buf_view(&out), &root, &m.fault),
                S3_OK);
    assert_code(s3_replication_of_node(&m.arena, root, &r, &m.fault), S3_OK);
    assert_int_equal(r.count, 4);
    assert_slice(r.rules[0].target, "dr");
    assert_slice(r.rules[0].bucket, "bucket");
    assert_int_equal(r.rules[3].id.len, 16);
    assert_int_equal(s3_replication_match(&r, SLICE_LIT("abc"), &tags, false, found), 2);
    assert_slice(found[0]->id, "high"); /* of one destination, the highest priority */
    assert_slice(found[1]->id, "other");
    assert_int_equal(s3_replication_match(&r, SLICE_LIT("abc"), &none, false, found), 2);
    assert_slice(found[0]->id, "low");
    assert_int_equal(s3_replication_match(&r, SLICE_LIT("off"), &none, false, found), 1);
    assert_slice(found[0]->id, "other");
    assert_int_equal(s3_replication_match(&r, SLICE_LIT("abc"), NULL, true, found), 1);
    assert_slice(found[0]->id, "low");
    assert_int_equal(s3_replication_match(&r, SLICE_LIT("x"), NULL, true, found), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(notification_normal_form), cmocka_unit_test(notification_refused),
        cmocka_unit_test(notification_matches),     cmocka_unit_test(messages),
        cmocka_unit_test(replication_refused),      cmocka_unit_test(replication_matches),
    };
    return cmocka_run_group_tests(tests, NULL, teardown);
}
