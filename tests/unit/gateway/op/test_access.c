/* Who may what, through the whole of a gateway loop: accounts, users and their policies, bucket
 * policies, ACLs, nobody at all; what holds behind a change. */
#include "common/base/check.h"
#include "proto/keyhash.h"
#include "proto/registry.h"
#include "tests/unit/gateway/op/stand.h"

#define TWO "000000000002"
#define ROOT_ID "root" /* canonical id of the stand's operator */
#define TWO_ID "2222222222222222222222222222222222222222222222222222222222222222"

static struct stand s;

static int request(const char *who, const char *method, const char *target, const char *body,
                   const char *field, struct exchange *x)
{
    s.signs_as = who;
    exchange_start(&s, x, method, target, slice_cstr(body), field, NULL);
    exchange_wait(x);
    return x->status;
}

/* status, and an error's code or something else that the answer has to say (NULL: anything). */
static void run(int status, const char *says, const char *who, const char *method,
                const char *target, const char *body, const char *field)
{
    struct exchange x;
    int got = request(who, method, target, body, field, &x);
    if (got != status || (says && !exchange_says(&x, says)))
        fail_msg("%s %s %s: %d instead of %d %s\n%.*s", who, method, target, got, status,
                 says ? says : "", (int)x.out.len, (const char *)x.out.ptr);
    exchange_fini(&x);
}

#define OK_(who, method, target) run(200, NULL, who, method, target, "", NULL)
#define DENIED(who, method, target) run(403, "AccessDenied", who, method, target, "", NULL)

#define POLICY(statement) "{\"Version\":\"2012-10-17\",\"Statement\":[" statement "]}"
#define ALLOW(action, resource)                                                                    \
    "{\"Effect\":\"Allow\",\"Action\":\"" action "\",\"Resource\":\"" resource "\"}"
#define BUCKET_ALLOW(principal, action, resource)                                                  \
    "{\"Effect\":\"Allow\",\"Principal\":" principal ",\"Action\":\"" action                       \
    "\",\"Resource\":\"arn:aws:s3:::" resource "\"}"

static void put_user(const char *account, const char *name, const char *policy)
{
    Cairn__UserRow user = CAIRN__USER_ROW__INIT;
    Cairn__NamedDocument document = CAIRN__NAMED_DOCUMENT__INIT, *documents[] = {&document};
    user.name = (char *)(uintptr_t)name;
    user.path = (char *)(uintptr_t) "/";
    document.name = (char *)(uintptr_t) "p";
    document.document = (char *)(uintptr_t)policy;
    if (policy) {
        user.inlined = documents;
        user.n_inlined = 1;
    }
    assert_int_equal(stand_put_row(&s, CAIRN__ROW_KIND__ROW_USER, account, name, &user.base), OK);
}

/* By which names an account is found. */
static void put_account_name(const char *scope, const char *name, const char *account)
{
    Cairn__Command command = CAIRN__COMMAND__INIT;
    Cairn__ChangeRows op = CAIRN__CHANGE_ROWS__INIT;
    Cairn__RowChange c = CAIRN__ROW_CHANGE__INIT, *changes = &c;
    uint64_t touches[] = {keyhash_account(slice_cstr(scope))};
    c.kind = CAIRN__ROW_KIND__ROW_ACCOUNT_NAME;
    c.scope = (char *)(uintptr_t)scope;
    c.name = (char *)(uintptr_t)name;
    c.value = (ProtobufCBinaryData){strlen(account), (uint8_t *)(uintptr_t)account};
    op.changes = &changes;
    op.n_changes = 1;
    command.touches = touches;
    command.n_touches = 1;
    command.op_case = CAIRN__COMMAND__OP_CHANGE_ROWS;
    command.change_rows = &op;
    assert_int_equal(stand_command(&s, 0, &command), OK);
}

static void settings(const char *bucket, const char *ownership, bool block)
{
    char target[64], body[200];
    snprintf(target, sizeof(target), "/%s?ownershipControls", bucket);
    snprintf(body, sizeof(body),
             "<OwnershipControls><Rule><ObjectOwnership>%s</ObjectOwnership></Rule>"
             "</OwnershipControls>",
             ownership);
    run(200, NULL, "ROOTKEY", "PUT", target, body, NULL);
    snprintf(target, sizeof(target), "/%s?publicAccessBlock", bucket);
    if (!block)
        run(204, NULL, "ROOTKEY", "DELETE", target, "", NULL);
}

static int setup(void **state)
{
    (void)state;
    stand_init(&s);
    stand_put_account(&s, TWO, TWO_ID);
    put_account_name(ACCOUNT_CANONICAL_IDS, TWO_ID, TWO);
    put_account_name(ACCOUNT_EMAILS, "two@example.com", TWO);
    stand_put_key(&s, "TWO", TWO, "", true);
    stand_put_key(&s, "USER", OPERATOR_ACCOUNT, "u", true);
    stand_put_key(&s, "USER2", TWO, "u2", true);
    put_user(OPERATOR_ACCOUNT, "u", NULL);
    put_user(TWO, "u2", NULL);
    OK_("ROOTKEY", "PUT", "/bucket");
    run(200, NULL, "ROOTKEY", "PUT", "/bucket/key", "body", NULL);
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    stand_fini(&s);
    return 0;
}

static void by_default_the_owner_only(void **state)
{
    (void)state;
    static const char *const others[] = {"TWO", "USER", "USER2", ""};
    static const struct {
        const char *method, *target;
    } each[] = {
        {"GET", "/bucket"},
        {"HEAD", "/bucket"},
        {"GET", "/bucket/key"},
        {"HEAD", "/bucket/key"},
        {"PUT", "/bucket/key"},
        {"DELETE", "/bucket/key"},
        {"GET", "/bucket?acl"},
        {"PUT", "/bucket?acl"},
        {"GET", "/bucket/none"},
        {"POST", "/bucket/k?uploads"},
        {"GET", "/bucket?tagging"},
        {"DELETE", "/bucket"},
        {"PUT", "/bucket?versioning"},
        {"GET", "/bucket/key?acl"},
        {"PUT", "/bucket/key?tagging"},
    };
    for (size_t i = 0; i < ARRAY_COUNT(others); i++)
        for (size_t k = 0; k < ARRAY_COUNT(each); k++)
            run(403, strcmp(each[k].method, "HEAD") ? "AccessDenied" : NULL, others[i],
                each[k].method, each[k].target, "", NULL);
    DENIED("", "GET", "/");
    DENIED("", "PUT", "/new");
    DENIED("USER", "GET", "/");
    DENIED("USER", "PUT", "/new");
    run(404, "NoSuchBucket", "", "GET", "/nobody", "", NULL);
    run(404, "NoSuchBucket", "USER", "GET", "/nobody/key", "", NULL);
    run(404, "NoSuchKey", "ROOTKEY", "GET", "/bucket/none", "", NULL);
    run(409, "BucketAlreadyExists", "TWO", "PUT", "/bucket", "", NULL);
    run(409, "BucketAlreadyOwnedByYou", "ROOTKEY", "PUT", "/bucket", "", NULL);
    run(405, "MethodNotAllowed", "TWO", "GET", "/bucket?policy", "", NULL);
    DENIED("", "GET", "/bucket?policy");
}

static void identity_policies(void **state)
{
    (void)state;
    put_user(OPERATOR_ACCOUNT, "u", POLICY(ALLOW("s3:GetObject", "arn:aws:s3:::bucket/*")));
    run(200, "body", "USER", "GET", "/bucket/key", "", NULL);
    DENIED("USER", "PUT", "/bucket/key");
    run(403, "because no identity-based policy allows the s3:PutObject action", "USER", "PUT",
        "/bucket/key", "", NULL);
    DENIED("USER", "GET", "/bucket/none"); /* it may not know */
    put_user(OPERATOR_ACCOUNT, "u",
             POLICY(ALLOW("s3:Get*", "*") "," ALLOW("s3:ListBucket", "arn:aws:s3:::bucket")));
    run(404, "NoSuchKey", "USER", "GET", "/bucket/none", "", NULL);
    run(200, "<Key>key</Key>", "USER", "GET", "/bucket?list-type=2", "", NULL);
    DENIED("USER2", "GET", "/bucket/key");
    put_user(TWO, "u2", POLICY(ALLOW("s3:*", "*")));
    DENIED("USER2", "GET", "/bucket/key"); /* the other account does not allow it */
    OK_("USER2", "PUT", "/twos");          /* of its account */
    run(200, "twos", "TWO", "GET", "/", "", NULL);
    run(200, TWO_ID, "USER2", "GET", "/", "", NULL);
    DENIED("ROOTKEY", "GET", "/twos");
    put_user(OPERATOR_ACCOUNT, "u", "{not a policy");
    DENIED("USER", "GET", "/bucket/key");
}

static void conditions(void **state)
{
    (void)state;
    static const char policy[] = POLICY(ALLOW(
        "s3:PutObject",
        "*") ",{\"Effect\":\"Allow\",\"Action\":\"s3:ListBucket\","
             "\"Resource\":\"*\",\"Condition\":{\"StringLike\":{\"s3:prefix\":\"home/*\"}}},"
             "{\"Effect\":\"Allow\",\"Action\":\"s3:GetObject\",\"Resource\":\"*\",\"Condition\":"
             "{\"StringEquals\":{\"s3:ExistingObjectTag/public\":\"yes\"}}},"
             "{\"Effect\":\"Allow\",\"Action\":\"s3:PutObjectTagging\",\"Resource\":\"*\","
             "\"Condition\":"
             "{\"ForAllValues:StringEquals\":{\"s3:RequestObjectTagKeys\":[\"a\",\"public\"]}}},"
             "{\"Effect\":\"Deny\",\"Action\":\"s3:PutObject\",\"Resource\":\"*\",\"Condition\":"
             "{\"Null\":{\"s3:if-none-match\":\"false\"}}},"
             "{\"Effect\":\"Deny\",\"Action\":\"*\",\"Resource\":\"*\",\"Condition\":"
             "{\"DateGreaterThan\":{\"aws:CurrentTime\":\"2200-01-01T00:00:00Z\"}}}");
    put_user(OPERATOR_ACCOUNT, "u", policy);
    DENIED("USER", "GET", "/bucket?list-type=2");
    DENIED("USER", "GET", "/bucket?list-type=2&prefix=other/");
    OK_("USER", "GET", "/bucket?list-type=2&prefix=home/a");
    DENIED("USER", "GET", "/bucket/key");
#define TAGS(k, v)                                                                                 \
    "<Tagging><TagSet><Tag><Key>" k "</Key><Value>" v "</Value></Tag></TagSet></Tagging>"
    run(403, "AccessDenied", "USER", "PUT", "/bucket/key?tagging", TAGS("other", "yes"), NULL);
    run(200, NULL, "USER", "PUT", "/bucket/key?tagging", TAGS("public", "yes"), NULL);
    OK_("USER", "GET", "/bucket/key");
    run(200, NULL, "USER", "PUT", "/bucket/key?tagging", TAGS("public", "no"), NULL);
    DENIED("USER", "GET", "/bucket/key");
    run(400, "MalformedXML", "USER", "PUT", "/bucket/key?tagging", "<", NULL);
    run(403, "AccessDenied", "USER2", "PUT", "/bucket/key?tagging", "<", NULL);
    run(200, NULL, "USER", "PUT", "/bucket/new", "x", NULL);
    run(403, "with an explicit deny in an identity-based policy", "USER", "PUT", "/bucket/new", "x",
        "if-none-match: *");
    /* Whether an ETag is the object's is for those who may read it. */
    run(403, "AccessDenied", "USER", "PUT", "/bucket/new", "x", "if-match: \"abc\"");
    /* Tags with the object are a permission of their own. */
    run(200, NULL, "USER", "PUT", "/bucket/new", "x", "x-amz-tagging: a=b");
    run(403, "AccessDenied", "USER", "PUT", "/bucket/new", "x", "x-amz-tagging: b=b");
}

static void bucket_policies(void **state)
{
    (void)state;
    run(404, "NoSuchBucketPolicy", "ROOTKEY", "GET", "/bucket?policy", "", NULL);
    run(404, "NoSuchBucketPolicy", "ROOTKEY", "GET", "/bucket?policyStatus", "", NULL);
    static const char to_two[] = "{ \"Version\": \"2012-10-17\",\n \"Statement\": [" BUCKET_ALLOW(
        "{\"AWS\": \"" TWO "\"}", "s3:*",
        "bucket/*") "," BUCKET_ALLOW("{\"AWS\":\"arn:aws:iam::" OPERATOR_ACCOUNT ":user/u\"}",
                                     "s3:ListBucket", "bucket") "]}";
    run(204, NULL, "ROOTKEY", "PUT", "/bucket?policy", to_two, NULL);
    run(200, "\"Version\":\"2012-10-17\",\"Statement\"", "ROOTKEY", "GET", "/bucket?policy", "",
        NULL);
    run(200, "<IsPublic>false</IsPublic>", "ROOTKEY", "GET", "/bucket?policyStatus", "", NULL);
    run(200, "body", "TWO", "GET", "/bucket/key", "", NULL);
    DENIED("TWO", "GET", "/bucket");
    DENIED("USER2", "GET", "/bucket/key"); /* its own account must allow it, too */
    put_user(TWO, "u2", POLICY(ALLOW("s3:GetObject", "*")));
    run(200, "body", "USER2", "GET", "/bucket/key", "", NULL);
    DENIED("USER2", "PUT", "/bucket/key");
    run(200, "ListBucketResult", "USER", "GET", "/bucket", "", NULL);
    DENIED("", "GET", "/bucket/key");
    /* What another account writes into a bucket without ACLs is the bucket owner's. */
    run(200, NULL, "TWO", "PUT", "/bucket/theirs", "x", NULL);
    run(200, "x", "ROOTKEY", "GET", "/bucket/theirs", "", NULL);
    run(200, "<Owner><ID>" ROOT_ID, "ROOTKEY", "GET", "/bucket?list-type=1", "", NULL);
    /* A deny is for the owner's root user, too, but it can mend the policy. */
    run(204, NULL, "ROOTKEY", "PUT", "/bucket?policy",
        POLICY("{\"Effect\":\"Deny\",\"Principal\":\"*\",\"Action\":\"s3:*\",\"Resource\":["
               "\"arn:aws:s3:::bucket\",\"arn:aws:s3:::bucket/*\"]}"),
        NULL);
    run(403, "with an explicit deny in a resource-based policy", "ROOTKEY", "GET", "/bucket/key",
        "", NULL);
    DENIED("TWO", "GET", "/bucket/key");
    run(204, NULL, "ROOTKEY", "DELETE", "/bucket?policy", "", NULL);
    OK_("ROOTKEY", "GET", "/bucket/key");
    run(204, NULL, "ROOTKEY", "DELETE", "/bucket?policy", "", NULL);
}

static void bad_bucket_policies(void **state)
{
    (void)state;
    static const char *const unknown[] = {"\"000000000009\"",
                                          "\"arn:aws:iam::" TWO ":user/nobody\"",
                                          "\"arn:aws:iam::" TWO ":user/path/u2\"",
                                          "\"arn:aws:iam::" TWO ":user/U2\"",
                                          "\"arn:aws:iam::" TWO ":role/u2\"",
                                          "\"arn:aws:iam::000000000009:root\"",
                                          "\"arn:aws:sts::" TWO ":assumed-role/r/s\""};
    char policy[400];
    for (size_t i = 0; i < ARRAY_COUNT(unknown); i++) {
        snprintf(policy, sizeof(policy),
                 POLICY("{\"Effect\":\"Allow\",\"Principal\":{\"AWS\":%s},\"Action\":"
                        "\"s3:GetObject\",\"Resource\":\"arn:aws:s3:::bucket/*\"}"),
                 unknown[i]);
        run(400, "Invalid principal in policy", "ROOTKEY", "PUT", "/bucket?policy", policy, NULL);
    }
    run(400, "MalformedPolicy", "ROOTKEY", "PUT", "/bucket?policy", "{}", NULL);
    run(400, "MalformedPolicy", "ROOTKEY", "PUT", "/bucket?policy",
        POLICY(BUCKET_ALLOW("\"*\"", "s3:GetObject", "other/*")), NULL);
    run(400, "MissingRequestBodyError", "ROOTKEY", "PUT", "/bucket?policy", "", NULL);
    /* A user that would lock itself out has to say that it means it. */
    put_user(OPERATOR_ACCOUNT, "u", POLICY(ALLOW("s3:*", "*")));
    static const char lockout[] =
        POLICY("{\"Effect\":\"Deny\",\"Principal\":\"*\",\"Action\":\"s3:PutBucketPolicy\","
               "\"Resource\":\"arn:aws:s3:::bucket\"}");
    run(403, "AccessDenied", "USER", "PUT", "/bucket?policy", lockout, NULL);
    run(204, NULL, "USER", "PUT", "/bucket?policy", lockout,
        "x-amz-confirm-remove-self-bucket-access: true");
    run(403, "AccessDenied", "USER", "PUT", "/bucket?policy", lockout, NULL);
}

/* A setting of any bytes, as another release may have left it. */
static void put_raw_setting(Cairn__SettingKind kind, const char *document)
{
    const struct cache_key key = {CAIRN__RECORD_KIND__RECORD_BUCKET, 0, SLICE_LIT("bucket")};
    Cairn__Command command = CAIRN__COMMAND__INIT;
    Cairn__PutBucketSetting op = CAIRN__PUT_BUCKET_SETTING__INIT;
    Cairn__BucketSetting setting = CAIRN__BUCKET_SETTING__INIT;
    uint64_t touches[] = {keyhash_bucket(SLICE_LIT("bucket"))};
    setting.kind = kind;
    setting.document = (ProtobufCBinaryData){strlen(document), (uint8_t *)(uintptr_t)document};
    op.name = (char *)(uintptr_t) "bucket";
    op.id = cache_find(s.cache, &key)->record->bucket->id;
    op.setting = &setting;
    command.touches = touches;
    command.n_touches = 1;
    command.op_case = CAIRN__COMMAND__OP_PUT_BUCKET_SETTING;
    command.put_bucket_setting = &op;
    assert_int_equal(stand_command(&s, 0, &command), OK);
}

/* A policy that no longer parses may have denied anything, to the root user, too. */
static void unreadable_policies(void **state)
{
    (void)state;
    uint64_t counted = metric_counter_value(s.metrics.policies_unreadable);
    put_user(OPERATOR_ACCOUNT, "u", POLICY(ALLOW("s3:*", "*")));
    put_raw_setting(CAIRN__SETTING_KIND__SETTING_POLICY, "{\"Version\":\"2112-01-01\"}");
    run(403, "the bucket&apos;s policy or ACL is not understood", "USER", "GET", "/bucket/key", "",
        NULL);
    run(403, "is not understood", "ROOTKEY", "GET", "/bucket/key", "", NULL);
    run(403, "is not understood", "ROOTKEY", "PUT", "/bucket/key", "x", NULL);
    run(403, "is not understood", "ROOTKEY", "GET", "/bucket", "", NULL);
    run(403, "is not understood", "ROOTKEY", "PUT", "/bucket/copy", "",
        "x-amz-copy-source: /bucket/key");
    DENIED("", "GET", "/bucket/key");
    DENIED("USER", "GET", "/bucket?policy");
    run(200, "2112", "ROOTKEY", "GET", "/bucket?policy", "", NULL);
    assert_true(metric_counter_value(s.metrics.policies_unreadable) > counted + 5);
    run(204, NULL, "ROOTKEY", "DELETE", "/bucket?policy", "", NULL);
    OK_("ROOTKEY", "GET", "/bucket/key");
    OK_("USER", "GET", "/bucket/key");
    /* Of an ACL only grants are missing. */
    put_raw_setting(CAIRN__SETTING_KIND__SETTING_ACL, "\x0a\x7fx");
    OK_("ROOTKEY", "GET", "/bucket/key");
    DENIED("USER", "GET", "/bucket/key");
}

/* What is not understood of who may be let in lets in nobody. */
static void unreadable_settings(void **state)
{
    (void)state;
    static const char to_all[] = POLICY(BUCKET_ALLOW("\"*\"", "s3:GetObject", "bucket/*"));
    settings("bucket", "ObjectWriter", false);
    run(204, NULL, "ROOTKEY", "PUT", "/bucket?policy", to_all, NULL);
    run(200, NULL, "ROOTKEY", "PUT", "/bucket?acl", "", "x-amz-acl: public-read");
    OK_("", "GET", "/bucket/key");
    OK_("", "GET", "/bucket");
    put_raw_setting(CAIRN__SETTING_KIND__SETTING_OWNERSHIP,
                    "<OwnershipControls xmlns=\"x\"><Rule>"
                    "<ObjectOwnership>Nobody</ObjectOwnership></Rule></OwnershipControls>");
    DENIED("", "GET", "/bucket");
    OK_("", "GET", "/bucket/key");
    put_raw_setting(CAIRN__SETTING_KIND__SETTING_PUBLIC_ACCESS_BLOCK,
                    "<PublicAccessBlockConfiguration xmlns=\"x\"><BlockPublicPolicy>false"
                    "</BlockPublicPolicy><RestrictPublicBuckets>some</RestrictPublicBuckets>"
                    "</PublicAccessBlockConfiguration>");
    DENIED("", "GET", "/bucket/key");
    put_raw_setting(CAIRN__SETTING_KIND__SETTING_PUBLIC_ACCESS_BLOCK, "2112");
    DENIED("", "GET", "/bucket/key");
    OK_("ROOTKEY", "GET", "/bucket/key");
}

/* A policy of the bucket names the user, which no boundary bounds; yet a group of it is unreadable.
 */
static void unreadable_principals(void **state)
{
    (void)state;
    static const char to_user[] = POLICY(BUCKET_ALLOW(
        "{\"AWS\":\"arn:aws:iam::" OPERATOR_ACCOUNT ":user/u\"}", "s3:GetObject", "bucket/*"));
    run(204, NULL, "ROOTKEY", "PUT", "/bucket?policy", to_user, NULL);
    OK_("USER", "GET", "/bucket/key");
    char *groups[] = {(char *)(uintptr_t) "g"};
    Cairn__UserRow user = CAIRN__USER_ROW__INIT;
    Cairn__AccessKeyRow nonsense = CAIRN__ACCESS_KEY_ROW__INIT;
    user.name = (char *)(uintptr_t) "u";
    user.path = (char *)(uintptr_t) "/";
    user.groups = groups;
    user.n_groups = 1;
    nonsense.access_key_id = (char *)(uintptr_t) "\xff\xff";
    nonsense.enabled = true; /* a number where a group has a text */
    assert_int_equal(
        stand_put_row(&s, CAIRN__ROW_KIND__ROW_USER, OPERATOR_ACCOUNT, "u", &user.base), OK);
    OK_("USER", "GET", "/bucket/key");
    assert_int_equal(
        stand_put_row(&s, CAIRN__ROW_KIND__ROW_GROUP, OPERATOR_ACCOUNT, "g", &nonsense.base), OK);
    run(403, "because a group or policy of it cannot be read: nothing is allowed", "USER", "GET",
        "/bucket/key", "", NULL);
    assert_int_equal(stand_put_row(&s, CAIRN__ROW_KIND__ROW_GROUP, OPERATOR_ACCOUNT, "g", NULL),
                     OK);
    OK_("USER", "GET", "/bucket/key");
    put_user(OPERATOR_ACCOUNT, "u", "{not a policy");
    run(403, "because a policy of it is not understood: nothing is allowed", "USER", "GET",
        "/bucket/key", "", NULL);
}

/* What would take too long to decide is denied, and counted. */
static void costly_policies(void **state)
{
    (void)state;
    enum { MANY = 12, BYTES = 9000 };
    static char document[BYTES + 400], key[230], target[250];
    uint64_t counted = metric_counter_value(s.metrics.policies_too_costly);
    Cairn__UserRow user = CAIRN__USER_ROW__INIT;
    Cairn__NamedDocument one = CAIRN__NAMED_DOCUMENT__INIT, *many[MANY];
    struct buf b = {0};
    buf_cstr(&b, "{\"Version\":\"2012-10-17\",\"Statement\":[");
    for (size_t i = 0; b.len < BYTES; i++) {
        buf_printf(&b, "%s{\"Effect\":\"%s\",\"Action\":\"s3:GetObject\",\"Resource\":\"",
                   i ? "," : "", i ? "Deny" : "Allow");
        buf_cstr(&b, "arn:aws:s3:::bucket/*");
        for (size_t k = 0; i && k < 110; k++)
            buf_u8(&b, '?');
        buf_cstr(&b, i ? "b\"}" : "\"}");
    }
    buf_cstr(&b, "]}");
    buf_u8(&b, 0);
    assert_true(b.len < sizeof(document));
    memcpy(document, b.ptr, b.len);
    buf_fini(&b);
    one.name = (char *)(uintptr_t) "p";
    one.document = document;
    for (size_t i = 0; i < MANY; i++)
        many[i] = &one;
    user.name = (char *)(uintptr_t) "u";
    user.path = (char *)(uintptr_t) "/";
    user.inlined = many;
    user.n_inlined = 1;
    memset(key, 'a', sizeof(key) - 1);
    snprintf(target, sizeof(target), "/bucket/%s", key);
    run(200, NULL, "ROOTKEY", "PUT", target, "x", NULL);
    assert_int_equal(
        stand_put_row(&s, CAIRN__ROW_KIND__ROW_USER, OPERATOR_ACCOUNT, "u", &user.base), OK);
    OK_("USER", "GET", target);
    assert_int_equal(metric_counter_value(s.metrics.policies_too_costly), counted);
    user.n_inlined = MANY; /* a row has room for 128 KiB */
    assert_int_equal(
        stand_put_row(&s, CAIRN__ROW_KIND__ROW_USER, OPERATOR_ACCOUNT, "u", &user.base), OK);
    run(403, "because the policies take too long to evaluate", "USER", "GET", target, "", NULL);
    assert_true(metric_counter_value(s.metrics.policies_too_costly) > counted);
    OK_("USER", "GET", "/bucket/key");
}

static void public_access(void **state)
{
    (void)state;
    static const char to_all[] = POLICY(BUCKET_ALLOW("\"*\"", "s3:GetObject", "bucket/*"));
    run(200, "<BlockPublicPolicy>true</BlockPublicPolicy>", "ROOTKEY", "GET",
        "/bucket?publicAccessBlock", "", NULL);
    run(403, "BlockPublicPolicy", "ROOTKEY", "PUT", "/bucket?policy", to_all, NULL);
    run(204, NULL, "ROOTKEY", "DELETE", "/bucket?publicAccessBlock", "", NULL);
    run(404, "NoSuchPublicAccessBlockConfiguration", "ROOTKEY", "GET", "/bucket?publicAccessBlock",
        "", NULL);
    run(204, NULL, "ROOTKEY", "PUT", "/bucket?policy", to_all, NULL);
    run(200, "<IsPublic>true</IsPublic>", "ROOTKEY", "GET", "/bucket?policyStatus", "", NULL);
    run(200, "body", "", "GET", "/bucket/key", "", NULL);
    run(200, "body", "TWO", "GET", "/bucket/key", "", NULL);
    run(200, "body", "USER", "GET", "/bucket/key", "", NULL);
    DENIED("", "GET", "/bucket/none");
    DENIED("", "GET", "/bucket");
    DENIED("", "PUT", "/bucket/key");
    run(400, "InvalidRequest", "", "GET", "/bucket/key?response-content-type=a", "", NULL);
    run(200, NULL, "ROOTKEY", "PUT", "/bucket?publicAccessBlock",
        "<PublicAccessBlockConfiguration><RestrictPublicBuckets>true</RestrictPublicBuckets>"
        "</PublicAccessBlockConfiguration>",
        NULL);
    run(200, "<BlockPublicPolicy>false</BlockPublicPolicy>", "ROOTKEY", "GET",
        "/bucket?publicAccessBlock", "", NULL);
    DENIED("", "GET", "/bucket/key");
    DENIED("TWO", "GET", "/bucket/key");
    run(200, "body", "USER", "GET", "/bucket/key", "", NULL);
}

static void acls_are_disabled_by_default(void **state)
{
    (void)state;
    run(200, "BucketOwnerEnforced", "ROOTKEY", "GET", "/bucket?ownershipControls", "", NULL);
    run(200, "<Permission>FULL_CONTROL</Permission>", "ROOTKEY", "GET", "/bucket?acl", "", NULL);
    run(400, "AccessControlListNotSupported", "ROOTKEY", "PUT", "/bucket?acl", "",
        "x-amz-acl: private");
    run(400, "AccessControlListNotSupported", "ROOTKEY", "PUT", "/bucket/key?acl", "",
        "x-amz-acl: public-read");
    run(200, NULL, "ROOTKEY", "PUT", "/bucket/key?acl", "", "x-amz-acl: bucket-owner-full-control");
    run(400, "AccessControlListNotSupported", "ROOTKEY", "PUT", "/bucket/key?acl",
        "<AccessControlPolicy><Owner><ID>" ROOT_ID "</ID></Owner><AccessControlList/>"
        "</AccessControlPolicy>",
        NULL);
    run(400, "AccessControlListNotSupported", "ROOTKEY", "PUT", "/bucket?acl", "",
        "x-amz-grant-read: id=" TWO_ID);
    run(400, "AccessControlListNotSupported", "ROOTKEY", "PUT", "/bucket/key", "x",
        "x-amz-acl: authenticated-read");
    /* To the owner's own tools, which send it with everything, it means nothing new. */
    run(200, NULL, "ROOTKEY", "PUT", "/bucket/key", "x", "x-amz-acl: private");
    run(204, NULL, "ROOTKEY", "PUT", "/bucket?policy",
        POLICY(BUCKET_ALLOW("{\"AWS\":\"" TWO "\"}", "s3:PutObject*", "bucket/*")), NULL);
    run(400, "AccessControlListNotSupported", "TWO", "PUT", "/bucket/key", "x",
        "x-amz-acl: private");
    run(204, NULL, "ROOTKEY", "DELETE", "/bucket?policy", "", NULL);
    run(400, "AccessControlListNotSupported", "ROOTKEY", "POST", "/bucket/key?uploads", "",
        "x-amz-grant-read: uri=http://acs.amazonaws.com/groups/global/AllUsers");
    run(200, NULL, "ROOTKEY", "PUT", "/bucket/key", "x", "x-amz-acl: bucket-owner-full-control");
    run(200, NULL, "ROOTKEY", "PUT", "/bk2", "", "x-amz-acl: private");
    run(400, "InvalidBucketAclWithObjectOwnership", "ROOTKEY", "PUT", "/bk3", "",
        "x-amz-acl: public-read");
    run(400, "InvalidArgument", "ROOTKEY", "PUT", "/bk3", "", "x-amz-object-ownership: Mine");
    run(200, NULL, "ROOTKEY", "PUT", "/bk3", "", "x-amz-object-ownership: ObjectWriter");
    run(200, "ObjectWriter", "ROOTKEY", "GET", "/bk3?ownershipControls", "", NULL);
    run(204, NULL, "ROOTKEY", "DELETE", "/bk3?ownershipControls", "", NULL);
    run(404, "OwnershipControlsNotFoundError", "ROOTKEY", "GET", "/bk3?ownershipControls", "",
        NULL);
    run(403, "AccessDenied", "ROOTKEY", "PUT", "/bk3/k", "x", "x-amz-acl: public-read");
    run(204, NULL, "ROOTKEY", "DELETE", "/bk3?publicAccessBlock", "", NULL);
    run(200, NULL, "ROOTKEY", "PUT", "/bk3/k", "x", "x-amz-acl: public-read");
    run(200, "x", "", "GET", "/bk3/k", "", NULL);
    run(200, NULL, "ROOTKEY", "PUT", "/bk3/k", "x", NULL); /* an ACL goes with its object */
    DENIED("", "GET", "/bk3/k");
}

static void acls_of_buckets(void **state)
{
    (void)state;
    settings("bucket", "BucketOwnerPreferred", false);
    run(200, NULL, "ROOTKEY", "PUT", "/bucket?acl", "", "x-amz-acl: public-read-write");
    run(200, "AllUsers", "ROOTKEY", "GET", "/bucket?acl", "", NULL);
    OK_("", "GET", "/bucket");
    OK_("TWO", "GET", "/bucket");
    OK_("USER", "GET", "/bucket");
    DENIED("", "GET", "/bucket/key");
    DENIED("", "GET", "/bucket?acl");
    /* Who may write may not thereby ask what is there. */
    run(403, "AccessDenied", "", "PUT", "/bucket/key", "x", "if-match: \"x\"");
    run(403, "AccessDenied", "", "DELETE", "/bucket/key", "", "if-match: \"x\"");
    run(200, NULL, "", "PUT", "/bucket/anonymous", "x", NULL);
    run(403, "AccessDenied", "", "POST", "/bucket/anonymous?uploads", "", NULL);
    run(400, "InvalidBucketAclWithObjectOwnership", "ROOTKEY", "PUT", "/bucket?ownershipControls",
        "<OwnershipControls><Rule><ObjectOwnership>BucketOwnerEnforced</ObjectOwnership></Rule>"
        "</OwnershipControls>",
        NULL);
    run(200, NULL, "ROOTKEY", "PUT", "/bucket?publicAccessBlock",
        "<PublicAccessBlockConfiguration><IgnorePublicAcls>true</IgnorePublicAcls>"
        "</PublicAccessBlockConfiguration>",
        NULL);
    DENIED("", "GET", "/bucket");
    DENIED("USER", "GET", "/bucket"); /* what its account has by the ACL is not its own */
    run(200, NULL, "ROOTKEY", "PUT", "/bucket?acl", "", "x-amz-grant-read: id=" TWO_ID);
    OK_("TWO", "GET", "/bucket");
    DENIED("USER2", "GET", "/bucket"); /* its account may, but gave it nothing */
    put_user(TWO, "u2", POLICY(ALLOW("s3:ListBucket", "*")));
    OK_("USER2", "GET", "/bucket");
    DENIED("TWO", "PUT", "/bucket/k");
    run(400, "InvalidArgument", "ROOTKEY", "PUT", "/bucket?acl", "",
        "x-amz-grant-read: "
        "id=9999999999999999999999999999999999999999999999999999999999999999");
    run(400, "UnresolvableGrantByEmailAddress", "ROOTKEY", "PUT", "/bucket?acl", "",
        "x-amz-grant-read: emailAddress=\"nobody@example.com\"");
    run(200, NULL, "ROOTKEY", "PUT", "/bucket?acl", "",
        "x-amz-grant-read: emailAddress=\"Two@Example.com\"");
    run(200, "<ID>" TWO_ID "</ID>", "ROOTKEY", "GET", "/bucket?acl", "", NULL);
    run(400, "MissingSecurityHeader", "ROOTKEY", "PUT", "/bucket?acl", "", NULL);
    run(400, "MalformedACLError", "ROOTKEY", "PUT", "/bucket?acl", "<x/>", NULL);
    run(400, "UnexpectedContent", "ROOTKEY", "PUT", "/bucket?acl", "<x/>", "x-amz-acl: private");
    run(403, "AccessDenied", "ROOTKEY", "PUT", "/bucket?acl",
        "<AccessControlPolicy><Owner><ID>" TWO_ID "</ID></Owner><AccessControlList/>"
        "</AccessControlPolicy>",
        NULL);
    run(200, NULL, "ROOTKEY", "PUT", "/bucket?acl",
        "<AccessControlPolicy><Owner><ID>" ROOT_ID "</ID></Owner><AccessControlList/>"
        "</AccessControlPolicy>",
        NULL);
    run(200, "<AccessControlList></AccessControlList>", "ROOTKEY", "GET", "/bucket?acl", "", NULL);
    OK_("ROOTKEY", "GET", "/bucket/key");
}

/* Objects of another account in a bucket that lets there be such. */
static void owners_of_objects(void **state)
{
    (void)state;
    settings("bucket", "ObjectWriter", false);
    run(200, NULL, "ROOTKEY", "PUT", "/bucket?acl", "", "x-amz-grant-write: id=" TWO_ID);
    run(200, NULL, "TWO", "PUT", "/bucket/theirs", "x", NULL);
    run(200, "x", "TWO", "GET", "/bucket/theirs", "", NULL);
    DENIED("ROOTKEY", "GET", "/bucket/theirs");
    run(200, "<ID>" TWO_ID "</ID>", "TWO", "GET", "/bucket/theirs?acl", "", NULL);
    /* Nor by its own policy, which can only deny it. */
    run(204, NULL, "ROOTKEY", "PUT", "/bucket?policy",
        POLICY(BUCKET_ALLOW("{\"AWS\":\"" OPERATOR_ACCOUNT "\"}", "s3:GetObject", "bucket/*")),
        NULL);
    DENIED("ROOTKEY", "GET", "/bucket/theirs");
    run(204, NULL, "ROOTKEY", "DELETE", "/bucket?policy", "", NULL);
    run(200, NULL, "TWO", "PUT", "/bucket/theirs?acl", "", "x-amz-acl: bucket-owner-read");
    run(200, "x", "ROOTKEY", "GET", "/bucket/theirs", "", NULL);
    DENIED("ROOTKEY", "PUT", "/bucket/theirs?acl");
    run(200, NULL, "TWO", "PUT", "/bucket/theirs", "x", "x-amz-acl: bucket-owner-full-control");
    run(200, NULL, "ROOTKEY", "PUT", "/bucket/theirs?acl", "", "x-amz-acl: private");
    run(200, "<ID>" TWO_ID "</ID>", "TWO", "GET", "/bucket/theirs?acl", "", NULL);
    DENIED("ROOTKEY", "GET", "/bucket/theirs");
    /* Preferred: given to the bucket's owner, it is its own. */
    settings("bucket", "BucketOwnerPreferred", false);
    run(200, NULL, "TWO", "PUT", "/bucket/given", "y", "x-amz-acl: bucket-owner-full-control");
    run(200, "y", "ROOTKEY", "GET", "/bucket/given", "", NULL);
    DENIED("TWO", "GET", "/bucket/given");
    /* Enforced: all are, whatever they were. */
    run(200, NULL, "ROOTKEY", "PUT", "/bucket?acl", "", "x-amz-acl: private");
    settings("bucket", "BucketOwnerEnforced", false);
    run(200, "x", "ROOTKEY", "GET", "/bucket/theirs", "", NULL);
    DENIED("TWO", "GET", "/bucket/theirs");
}

static void copies(void **state)
{
    (void)state;
    OK_("TWO", "PUT", "/twos");
    run(403, "AccessDenied", "TWO", "PUT", "/twos/copy", "", "x-amz-copy-source: bucket/key");
    run(403, "AccessDenied", "ROOTKEY", "PUT", "/twos/copy", "", "x-amz-copy-source: bucket/key");
    run(404, "NoSuchBucket", "TWO", "PUT", "/twos/copy", "", "x-amz-copy-source: nobody/key");
    run(403, "AccessDenied", "TWO", "PUT", "/twos/copy", "", "x-amz-copy-source: bucket/none");
    run(204, NULL, "ROOTKEY", "PUT", "/bucket?policy",
        POLICY(BUCKET_ALLOW("{\"AWS\":\"" TWO "\"}", "s3:GetObject", "bucket/*")), NULL);
    run(200, "CopyObjectResult", "TWO", "PUT", "/twos/copy", "", "x-amz-copy-source: bucket/key");
    run(403, "AccessDenied", "TWO", "PUT", "/twos/copy", "", "x-amz-copy-source: bucket/none");
    /* Its tags take permissions of their own. */
    run(200, NULL, "ROOTKEY", "PUT", "/bucket/key", "body", "x-amz-tagging: a=b");
    run(403, "AccessDenied", "TWO", "PUT", "/twos/copy", "", "x-amz-copy-source: bucket/key");
    run(204, NULL, "ROOTKEY", "PUT", "/bucket?policy",
        POLICY(BUCKET_ALLOW("{\"AWS\":\"" TWO "\"}", "s3:GetObject*", "bucket/*")), NULL);
    run(200, "CopyObjectResult", "TWO", "PUT", "/twos/copy", "", "x-amz-copy-source: bucket/key");
    run(200, "body", "TWO", "GET", "/twos/copy", "", NULL);
}

/* Its token tells who repeats a rename what became of it; who may not rename hears nothing. */
static void renames_again(void **state)
{
    (void)state;
    static const char may_put[] = POLICY(ALLOW("s3:PutObject", "*"));
    static const char may[] = POLICY(ALLOW("s3:*", "*"));
    const char *const fields[] = {"x-amz-rename-source: key", "x-amz-rename-source: kex"};
    struct exchange x;
    put_user(OPERATOR_ACCOUNT, "u", may);
    static const struct {
        const char *policy, *says;
        int source, status;
    } tries[] = {
        {may, "", 0, 200}, /* the first time */
        {may, "", 0, 200},
        {may, "IdempotencyParameterMismatch", 1, 400},
        {may_put, "AccessDenied", 0, 403},
        {may_put, "AccessDenied", 1, 403},
    };
    for (size_t i = 0; i < ARRAY_COUNT(tries); i++) {
        put_user(OPERATOR_ACCOUNT, "u", tries[i].policy);
        s.signs_as = "USER";
        exchange_start(&s, &x, "PUT", "/bucket/kez?renameObject", SLICE_EMPTY,
                       fields[tries[i].source], "x-amz-client-token: 0123456789", NULL);
        exchange_wait(&x);
        if (x.status != tries[i].status || !exchange_says(&x, tries[i].says))
            fail_msg("%zu: %d %.*s", i, x.status, (int)x.out.len, (const char *)x.out.ptr);
        exchange_fini(&x);
    }
    OK_("ROOTKEY", "GET", "/bucket/kez");
}

static void deletes(void **state)
{
    (void)state;
    put_user(OPERATOR_ACCOUNT, "u", POLICY(ALLOW("s3:DeleteObject", "arn:aws:s3:::bucket/mine/*")));
    run(200, NULL, "ROOTKEY", "PUT", "/bucket/mine/a", "x", NULL);
    static const char xml[] = "<Delete><Object><Key>mine/a</Key></Object><Object><Key>key</Key>"
                              "</Object></Delete>";
    run(200, "<Deleted><Key>mine/a</Key></Deleted>", "USER", "POST", "/bucket?delete", xml, NULL);
    run(200, "<Error><Key>key</Key><Code>AccessDenied</Code>", "USER", "POST", "/bucket?delete",
        xml, NULL);
    run(200, "body", "ROOTKEY", "GET", "/bucket/key", "", NULL);
    DENIED("USER", "DELETE", "/bucket/key");
    run(204, NULL, "USER", "DELETE", "/bucket/mine/a", "", NULL);
    /* By a condition on its ETag one could learn what it is. */
    run(403, "AccessDenied", "USER", "DELETE", "/bucket/mine/a", "", "if-match: \"x\"");
}

/* What says that it comes from a replication is not replicated: to say so takes permission. */
static void replicas(void **state)
{
    (void)state;
    static const char said[] = "x-cairn-replica: true";
    static const char xml[] = "<Delete><Object><Key>a</Key></Object></Delete>";
    put_user(OPERATOR_ACCOUNT, "u",
             POLICY(ALLOW("s3:PutObject", "arn:aws:s3:::bucket/*") "," ALLOW(
                 "s3:DeleteObject", "arn:aws:s3:::bucket/*")));
    run(200, NULL, "USER", "PUT", "/bucket/a", "x", NULL);
    run(403, "s3:ReplicateObject", "USER", "PUT", "/bucket/a", "x", said);
    run(403, "s3:ReplicateObject", "USER", "PUT", "/bucket/a", "x", "x-cairn-replica: ");
    run(403, "s3:ReplicateObject", "USER", "POST", "/bucket/a?uploads", "", said);
    run(403, "s3:ReplicateDelete", "USER", "DELETE", "/bucket/a", "", said);
    run(200, "<Error><Key>a</Key><Code>AccessDenied</Code>", "USER", "POST", "/bucket?delete", xml,
        said);
    put_user(OPERATOR_ACCOUNT, "u",
             POLICY(ALLOW("s3:*Object", "arn:aws:s3:::bucket/*") "," ALLOW(
                 "s3:ReplicateDelete", "arn:aws:s3:::bucket/*")));
    run(200, NULL, "USER", "PUT", "/bucket/a", "x", said);
    run(200, NULL, "USER", "POST", "/bucket/a?uploads", "", said);
    run(200, "<Deleted><Key>a</Key>", "USER", "POST", "/bucket?delete", xml, said);
    run(204, NULL, "USER", "DELETE", "/bucket/a", "", said);
}

static void who_pays(void **state)
{
    (void)state;
    run(204, NULL, "ROOTKEY", "PUT", "/bucket?policy",
        POLICY(BUCKET_ALLOW("{\"AWS\":\"" TWO "\"}", "s3:GetObject", "bucket/*")), NULL);
    run(200, NULL, "ROOTKEY", "PUT", "/bucket?requestPayment",
        "<RequestPaymentConfiguration><Payer>Requester</Payer></RequestPaymentConfiguration>",
        NULL);
    DENIED("TWO", "GET", "/bucket/key");
    run(200, "x-amz-request-charged: requester", "TWO", "GET", "/bucket/key", "",
        "x-amz-request-payer: requester");
    DENIED("", "GET", "/bucket/key");
    struct exchange x;
    assert_int_equal(request("ROOTKEY", "GET", "/bucket/key", "", NULL, &x), 200);
    assert_false(exchange_says(&x, "x-amz-request-charged"));
    exchange_fini(&x);
}

static void expected_owners(void **state)
{
    (void)state;
    run(200, NULL, "ROOTKEY", "GET", "/bucket/key", "",
        "x-amz-expected-bucket-owner: " OPERATOR_ACCOUNT);
    run(403, "AccessDenied", "ROOTKEY", "GET", "/bucket/key", "",
        "x-amz-expected-bucket-owner: " TWO);
    run(400, "InvalidBucketOwnerAWSAccountID", "ROOTKEY", "GET", "/bucket", "",
        "x-amz-expected-bucket-owner: " ROOT_ID);
}

static bool told;
static char policy_then[400];

/* While a list is being read the policy changes: what was read before must not be given out. */
static bool deny_meanwhile(struct stand *stand_, struct fake_call *call)
{
    (void)call;
    if (told)
        return false;
    stand_->on_view = NULL;
    told = true;
    put_user(OPERATOR_ACCOUNT, "u", policy_then);
    return false;
}

static void a_list_is_allowed_when_it_is_given_out(void **state)
{
    (void)state;
    put_user(OPERATOR_ACCOUNT, "u", POLICY(ALLOW("s3:ListBucket", "*")));
    OK_("USER", "GET", "/bucket");
    told = false;
    snprintf(policy_then, sizeof(policy_then), "%s", POLICY(ALLOW("s3:GetObject", "*")));
    s.on_view = deny_meanwhile;
    DENIED("USER", "GET", "/bucket");
    assert_true(told);
    s.on_view = NULL;
}

int main(void)
{
#define T(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
    const struct CMUnitTest tests[] = {
        T(by_default_the_owner_only),
        T(identity_policies),
        T(conditions),
        T(bucket_policies),
        T(bad_bucket_policies),
        T(unreadable_policies),
        T(unreadable_settings),
        T(unreadable_principals),
        T(costly_policies),
        T(public_access),
        T(acls_are_disabled_by_default),
        T(acls_of_buckets),
        T(owners_of_objects),
        T(copies),
        T(renames_again),
        T(deletes),
        T(replicas),
        T(who_pays),
        T(expected_owners),
        T(a_list_is_allowed_when_it_is_given_out),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
