/* IAM's actions over a registry in memory: what they answer, what they refuse, what they leave. */
#include "tests/unit/gateway/iam/world.h"

#include "common/base/check.h"

#include <stdio.h>
#include <stdlib.h>

static struct world w;

static int setup(void **state)
{
    (void)state;
    world_init(&w);
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    world_fini(&w);
    return 0;
}

#define OKAY(query) assert_int_equal(world_call(&w, query), IAM_OK)
#define REFUSED(query, code) assert_int_equal(world_call(&w, query), IAM_##code)
#define HAS(text) assert_non_null(strstr(world_text(&w), text))

#define ALLOW_ALL                                                                                  \
    "%7B%22Version%22:%222012-10-17%22,%22Statement%22:[%7B%22Effect%22:%22Allow%22,%20%22Action"  \
    "%22:%22s3:*%22,%22Resource%22:%22*%22%7D]%7D"
#define TRUST_ACCOUNT                                                                              \
    "%7B%22Version%22:%222012-10-17%22,%22Statement%22:[%7B%22Effect%22:%22Allow%22,%22Principal"  \
    "%22:%7B%22AWS%22:%22111111111111%22%7D,%22Action%22:%22sts:AssumeRole%22%7D]%7D"
#define S3_FULL "arn:aws:iam::aws:policy/AmazonS3FullAccess"

static void users(void **state)
{
    (void)state;
    OKAY("Action=CreateUser&UserName=Alice&Path=/div/&Tags.member.1.Key=k&Tags.member.1.Value=v");
    HAS("<CreateUserResponse xmlns=\"https://iam.amazonaws.com/doc/2010-05-08/\">"
        "<CreateUserResult><User><Path>/div/</Path><UserName>Alice</UserName><UserId>AIDA");
    HAS("<Arn>arn:aws:iam::111111111111:user/div/Alice</Arn>"
        "<CreateDate>2023-11-14T22:13:20Z</CreateDate>");
    HAS("<ResponseMetadata><RequestId>REQ</RequestId></ResponseMetadata></CreateUserResponse>");
    assert_int_equal(strlen(world_element(&w, "UserId")), IAM_UNIQUE_ID_CHARS);
    REFUSED("Action=CreateUser&UserName=aLICE", ENTITY_ALREADY_EXISTS);
    REFUSED("Action=CreateUser&UserName=a%20b", VALIDATION_ERROR);
    REFUSED("Action=CreateUser", VALIDATION_ERROR);
    REFUSED("Action=CreateUser&UserName=b&Path=x", VALIDATION_ERROR);
    OKAY("Action=GetUser&UserName=alice");
    HAS("<Tags><member><Key>k</Key><Value>v</Value></member></Tags>");
    REFUSED("Action=GetUser&UserName=bob", NO_SUCH_ENTITY);
    OKAY("Action=GetUser");
    HAS("<Arn>arn:aws:iam::111111111111:root</Arn>");
    OKAY("Action=CreateUser&UserName=bob");
    REFUSED("Action=UpdateUser&UserName=bob&NewUserName=Alice", ENTITY_ALREADY_EXISTS);
    OKAY("Action=CreateAccessKey&UserName=bob");
    char id[64];
    snprintf(id, sizeof(id), "%s", world_element(&w, "AccessKeyId"));
    OKAY("Action=UpdateUser&UserName=bob&NewUserName=Carl&NewPath=/x/");
    REFUSED("Action=GetUser&UserName=bob", NO_SUCH_ENTITY);
    OKAY("Action=GetUser&UserName=carl");
    HAS("user/x/Carl");
    const struct world_row *key = world_find(&w, CAIRN__ROW_KIND__ROW_ACCESS_KEY, "", id);
    Cairn__AccessKeyRow *k = cairn__access_key_row__unpack(NULL, key->len, key->value);
    assert_string_equal(k->user, "carl");
    cairn__access_key_row__free_unpacked(k, NULL);
    OKAY("Action=ListUsers&PathPrefix=/div");
    assert_int_equal(world_elements(&w, "member"), 1);
    REFUSED("Action=DeleteUser&UserName=carl", DELETE_CONFLICT);
    OKAY("Action=DeleteUser&UserName=ALICE");
    OKAY("Action=ListUsers");
    assert_int_equal(world_elements(&w, "member"), 1);
}

static void pages(void **state)
{
    (void)state;
    char query[256], marker[128] = "";
    unsigned seen = 0, rounds = 0;
    for (int i = 0; i < 25; i++) {
        snprintf(query, sizeof(query), "Action=CreateUser&UserName=u%02d", i);
        OKAY(query);
    }
    do {
        snprintf(query, sizeof(query), "Action=ListUsers&MaxItems=10%s%s",
                 marker[0] ? "&Marker=" : "", marker);
        OKAY(query);
        seen += world_elements(&w, "member");
        snprintf(marker, sizeof(marker), "%s", world_element(&w, "Marker"));
        rounds++;
    } while (marker[0]);
    assert_int_equal(seen, 25);
    assert_int_equal(rounds, 3);
    REFUSED("Action=ListUsers&Marker=%21", VALIDATION_ERROR);
    REFUSED("Action=ListUsers&MaxItems=0", VALIDATION_ERROR);
    REFUSED("Action=ListUsers&MaxItems=1001", VALIDATION_ERROR);
    OKAY("Action=GetAccountSummary");
    HAS("<entry><key>Users</key><value>25</value></entry>");
    /* None that could have been given out. */
    snprintf(query, sizeof(query), "Action=ListUsers&Marker=_w"); /* the byte 0xff */
    REFUSED(query, VALIDATION_ERROR);
    char longest[512];
    size_t n = (size_t)snprintf(longest, sizeof(longest), "Action=ListUsers&Marker=");
    memset(longest + n, 'Y', 400);
    longest[n + 400] = 0;
    REFUSED(longest, VALIDATION_ERROR);
}

static void keys(void **state)
{
    (void)state;
    char id[64], query[256];
    OKAY("Action=CreateUser&UserName=a");
    OKAY("Action=CreateUser&UserName=b");
    OKAY("Action=CreateAccessKey&UserName=a");
    assert_int_equal(strlen(world_element(&w, "AccessKeyId")), 20);
    assert_int_equal(strlen(world_element(&w, "SecretAccessKey")), 40);
    snprintf(id, sizeof(id), "%s", world_element(&w, "AccessKeyId"));
    OKAY("Action=CreateAccessKey&UserName=a");
    REFUSED("Action=CreateAccessKey&UserName=a", LIMIT_EXCEEDED);
    snprintf(query, sizeof(query),
             "Action=UpdateAccessKey&UserName=a&Status=Inactive&AccessKeyId=%s", id);
    OKAY(query);
    OKAY("Action=ListAccessKeys&UserName=a");
    assert_int_equal(world_elements(&w, "member"), 2);
    HAS("<Status>Inactive</Status>");
    /* Not another's. */
    snprintf(query, sizeof(query), "Action=DeleteAccessKey&UserName=b&AccessKeyId=%s", id);
    REFUSED(query, NO_SUCH_ENTITY);
    snprintf(query, sizeof(query), "Action=DeleteAccessKey&UserName=a&AccessKeyId=%s", id);
    OKAY(query);
    assert_null(world_find(&w, CAIRN__ROW_KIND__ROW_ACCESS_KEY, "", id));
    REFUSED(query, NO_SUCH_ENTITY);
    REFUSED("Action=CreateAccessKey", UNMODIFIABLE_ENTITY);
}

static void groups(void **state)
{
    (void)state;
    char query[256];
    OKAY("Action=CreateUser&UserName=a");
    OKAY("Action=CreateUser&UserName=b");
    OKAY("Action=CreateGroup&GroupName=G");
    OKAY("Action=AddUserToGroup&GroupName=g&UserName=a");
    OKAY("Action=AddUserToGroup&GroupName=g&UserName=a"); /* once is enough */
    OKAY("Action=GetGroup&GroupName=G");
    assert_int_equal(world_elements(&w, "UserName"), 1);
    HAS("<GroupName>G</GroupName>");
    OKAY("Action=ListGroupsForUser&UserName=a");
    assert_int_equal(world_elements(&w, "member"), 1);
    REFUSED("Action=DeleteGroup&GroupName=G", DELETE_CONFLICT);
    REFUSED("Action=DeleteUser&UserName=a", DELETE_CONFLICT);
    REFUSED("Action=UpdateGroup&GroupName=G&NewGroupName=H", LIMIT_EXCEEDED);
    REFUSED("Action=RemoveUserFromGroup&GroupName=G&UserName=b", NO_SUCH_ENTITY);
    OKAY("Action=RemoveUserFromGroup&GroupName=G&UserName=a");
    OKAY("Action=UpdateGroup&GroupName=G&NewGroupName=H");
    OKAY("Action=DeleteGroup&GroupName=H");
    REFUSED("Action=AddUserToGroup&GroupName=H&UserName=a", NO_SUCH_ENTITY);
    for (int i = 0; i < 11; i++) {
        snprintf(query, sizeof(query), "Action=CreateGroup&GroupName=g%d", i);
        OKAY(query);
        snprintf(query, sizeof(query), "Action=AddUserToGroup&GroupName=g%d&UserName=b", i);
        assert_int_equal(world_call(&w, query), i < 10 ? IAM_OK : IAM_LIMIT_EXCEEDED);
    }
    OKAY("Action=ListGroups&MaxItems=4");
    HAS("<IsTruncated>true</IsTruncated>");
}

static void policies(void **state)
{
    (void)state;
    OKAY("Action=CreatePolicy&PolicyName=P&Path=/t/&Description=d&PolicyDocument=" ALLOW_ALL);
    HAS("<Arn>arn:aws:iam::111111111111:policy/t/P</Arn>");
#define P "PolicyArn=arn:aws:iam::111111111111:policy/t/P"
    REFUSED("Action=CreatePolicy&PolicyName=p&PolicyDocument=" ALLOW_ALL, ENTITY_ALREADY_EXISTS);
    REFUSED("Action=CreatePolicy&PolicyName=q&PolicyDocument=%7B%7D", MALFORMED_POLICY_DOCUMENT);
    OKAY("Action=GetPolicyVersion&VersionId=v1&" P);
    /* Without blanks, percent-encoded. */
    HAS("%22Effect%22%3A%22Allow%22%2C%22Action%22");
    REFUSED("Action=GetPolicy&PolicyArn=arn:aws:iam::111111111111:policy/P", NO_SUCH_ENTITY);
    REFUSED("Action=GetPolicy&PolicyArn=arn:aws:iam::222222222222:policy/t/P", NO_SUCH_ENTITY);
    for (int i = 0; i < 4; i++)
        OKAY("Action=CreatePolicyVersion&" P "&PolicyDocument=" ALLOW_ALL);
    REFUSED("Action=CreatePolicyVersion&" P "&PolicyDocument=" ALLOW_ALL, LIMIT_EXCEEDED);
    REFUSED("Action=DeletePolicyVersion&VersionId=v1&" P, DELETE_CONFLICT);
    OKAY("Action=SetDefaultPolicyVersion&VersionId=v3&" P);
    OKAY("Action=DeletePolicyVersion&VersionId=v1&" P);
    OKAY("Action=CreatePolicyVersion&SetAsDefault=true&" P "&PolicyDocument=" ALLOW_ALL);
    assert_string_equal(world_element(&w, "VersionId"), "v6"); /* numbers are not used again */
    OKAY("Action=ListPolicyVersions&MaxItems=3&" P);
    assert_int_equal(world_elements(&w, "member"), 3);
    REFUSED("Action=DeletePolicy&" P, DELETE_CONFLICT);
    OKAY("Action=CreateUser&UserName=a");
    OKAY("Action=AttachUserPolicy&UserName=a&" P);
    OKAY("Action=AttachUserPolicy&UserName=a&" P);
    OKAY("Action=GetPolicy&" P);
    HAS("<AttachmentCount>1</AttachmentCount>");
    OKAY("Action=ListEntitiesForPolicy&" P);
    HAS("<PolicyUsers><member><UserName>a</UserName>");
    OKAY("Action=ListPolicies&Scope=Local&OnlyAttached=true");
    assert_int_equal(world_elements(&w, "member"), 1);
    OKAY("Action=ListPolicies");
    assert_int_equal(world_elements(&w, "member"), 6);
    OKAY("Action=ListPolicies&MaxItems=5");
    assert_int_equal(world_elements(&w, "member"), 5);
    HAS("<IsTruncated>true</IsTruncated>");
    for (int i = 2; i <= 5; i++) {
        char query[256];
        snprintf(query, sizeof(query), "Action=DeletePolicyVersion&VersionId=v%d&" P, i);
        OKAY(query);
    }
    REFUSED("Action=DeletePolicy&" P, DELETE_CONFLICT);
    OKAY("Action=DetachUserPolicy&UserName=a&" P);
    REFUSED("Action=DetachUserPolicy&UserName=a&" P, NO_SUCH_ENTITY);
    OKAY("Action=PutUserPermissionsBoundary&UserName=a&PermissionsBoundary=arn:aws:iam::"
         "111111111111:policy/t/P");
    REFUSED("Action=DeletePolicy&" P, DELETE_CONFLICT);
    OKAY("Action=DeleteUser&UserName=a"); /* takes its boundary with it */
    OKAY("Action=DeletePolicy&" P);
    REFUSED("Action=AttachUserPolicy&UserName=a&" P, NO_SUCH_ENTITY);
    REFUSED("Action=DeletePolicy&PolicyArn=" S3_FULL, ACCESS_DENIED);
}

static void inline_policies(void **state)
{
    (void)state;
    static char query[16384];
    OKAY("Action=CreateGroup&GroupName=g");
    OKAY("Action=PutGroupPolicy&GroupName=g&PolicyName=x&PolicyDocument=" ALLOW_ALL);
    OKAY("Action=PutGroupPolicy&GroupName=g&PolicyName=X&PolicyDocument=" ALLOW_ALL);
    OKAY("Action=ListGroupPolicies&GroupName=g");
    assert_int_equal(world_elements(&w, "member"), 2);
    OKAY("Action=GetGroupPolicy&GroupName=g&PolicyName=x");
    REFUSED("Action=DeleteGroup&GroupName=g", DELETE_CONFLICT);
    OKAY("Action=DeleteGroupPolicy&GroupName=g&PolicyName=x");
    REFUSED("Action=DeleteGroupPolicy&GroupName=g&PolicyName=x", NO_SUCH_ENTITY);
    /* 2,048 characters of a user's together. */
    OKAY("Action=CreateUser&UserName=u");
    int n =
        snprintf(query, sizeof(query),
                 "Action=PutUserPolicy&UserName=u&PolicyName=big&PolicyDocument="
                 "%%7B%%22Version%%22:%%222012-10-17%%22,%%22Statement%%22:[%%7B%%22Effect%%22:"
                 "%%22Allow%%22,%%22Action%%22:%%22s3:*%%22,%%22Resource%%22:%%22arn:aws:s3:::");
    memset(query + n, 'a', 1900);
    strcpy(query + n + 1900, "%22%7D]%7D");
    OKAY(query);
    REFUSED("Action=PutUserPolicy&UserName=u&PolicyName=more&PolicyDocument=" ALLOW_ALL,
            LIMIT_EXCEEDED);
}

static void roles(void **state)
{
    (void)state;
    REFUSED("Action=CreateRole&RoleName=r&AssumeRolePolicyDocument=" ALLOW_ALL,
            MALFORMED_POLICY_DOCUMENT);
    OKAY("Action=CreateRole&RoleName=r&MaxSessionDuration=7200&"
         "AssumeRolePolicyDocument=" TRUST_ACCOUNT);
    OKAY("Action=GetRole&RoleName=r");
    HAS("<MaxSessionDuration>7200</MaxSessionDuration>");
    OKAY("Action=UpdateRole&RoleName=r&Description=new");
    HAS("<UpdateRoleResult></UpdateRoleResult>");
    OKAY("Action=AttachRolePolicy&RoleName=r&PolicyArn=" S3_FULL);
    OKAY("Action=ListAttachedRolePolicies&RoleName=r");
    HAS("<PolicyName>AmazonS3FullAccess</PolicyName>");
    REFUSED("Action=DeleteRole&RoleName=r", DELETE_CONFLICT);
    OKAY("Action=DetachRolePolicy&RoleName=r&PolicyArn=" S3_FULL);
    OKAY("Action=DeleteRole&RoleName=r");
    /* Whom a trust policy names must be there. */
    REFUSED(
        "Action=CreateRole&RoleName=r&AssumeRolePolicyDocument=%7B%22Version%22:%222012-10-17%22,"
        "%22Statement%22:[%7B%22Effect%22:%22Allow%22,%22Principal%22:%7B%22AWS%22:%22arn:aws:"
        "iam::111111111111:user/ghost%22%7D,%22Action%22:%22sts:AssumeRole%22%7D]%7D",
        MALFORMED_POLICY_DOCUMENT);
}

static void tags(void **state)
{
    (void)state;
    OKAY("Action=CreateUser&UserName=u");
    OKAY("Action=TagUser&UserName=u&Tags.member.1.Key=a&Tags.member.1.Value=1&Tags.member.2.Key=b&"
         "Tags.member.2.Value=");
    OKAY("Action=TagUser&UserName=u&Tags.member.1.Key=A&Tags.member.1.Value=2");
    OKAY("Action=ListUserTags&UserName=u&MaxItems=1");
    HAS("<member><Key>A</Key><Value>2</Value></member>");
    HAS("<IsTruncated>true</IsTruncated>");
    REFUSED("Action=TagUser&UserName=u&Tags.member.1.Key=aws:x&Tags.member.1.Value=2",
            INVALID_INPUT);
    OKAY("Action=UntagUser&UserName=u&TagKeys.member.1=a&TagKeys.member.2=none");
    /* As many as conditions are asked about, not one more. */
    struct buf many = {0};
    buf_cstr(&many, "Action=UntagUser&UserName=u");
    for (int i = 1; i <= IAM_TAGS_MAX; i++)
        buf_printf(&many, "&TagKeys.member.%d=k%d", i, i);
    buf_u8(&many, 0);
    OKAY((const char *)many.ptr);
    many.len--;
    buf_printf(&many, "&TagKeys.member.%d=a", IAM_TAGS_MAX + 1);
    buf_u8(&many, 0);
    REFUSED((const char *)many.ptr, VALIDATION_ERROR);
    buf_fini(&many);
    OKAY("Action=ListUserTags&UserName=u");
    assert_int_equal(world_elements(&w, "member"), 1);
    REFUSED("Action=ListPolicyTags&PolicyArn=" S3_FULL, ACCESS_DENIED);
}

/* Whoever may not is told so, and not what there is. */
static void authorization(void **state)
{
    (void)state;
    OKAY("Action=CreateUser&UserName=a&Path=/p/");
    OKAY("Action=CreateUser&UserName=me");
    w.caller =
        world_user(&w, "me",
                   "{\"Version\":\"2012-10-17\",\"Statement\":[{\"Effect\":\"Allow\",\"Action\":"
                   "\"iam:*AccessKey*\",\"Resource\":\"arn:aws:iam::*:user/${aws:username}\"},"
                   "{\"Effect\":\"Allow\",\"Action\":\"iam:AttachUserPolicy\",\"Resource\":\"*\","
                   "\"Condition\":{\"ArnEquals\":{\"iam:PolicyARN\":\"" S3_FULL "\"}}}]}");
    size_t before = world_bytes(&w);
    REFUSED("Action=GetUser&UserName=a", ACCESS_DENIED);
    assert_non_null(strstr(w.t.fault.message, "iam:GetUser on resource: "
                                              "arn:aws:iam::111111111111:user/p/a"));
    REFUSED("Action=GetUser&UserName=ghost", ACCESS_DENIED);
    REFUSED("Action=ListUsers", ACCESS_DENIED);
    REFUSED("Action=CreateUser&UserName=z", ACCESS_DENIED);
    REFUSED("Action=CreateAccessKey&UserName=a", ACCESS_DENIED);
    REFUSED("Action=AttachUserPolicy&UserName=a&PolicyArn=arn:aws:iam::aws:policy/IAMFullAccess",
            ACCESS_DENIED);
    assert_int_equal(world_bytes(&w), before);
    OKAY("Action=AttachUserPolicy&UserName=a&PolicyArn=" S3_FULL);
    OKAY("Action=CreateAccessKey"); /* its own */
    assert_string_equal(world_element(&w, "UserName"), "me");
    REFUSED("Action=GetUser", ACCESS_DENIED);
    w.caller.temporary = true;
    REFUSED("Action=CreateAccessKey", ACCESS_DENIED);
}

#define BOUND "arn:aws:iam::111111111111:policy/bound"
#define MAY(actions, condition)                                                                    \
    "{\"Version\":\"2012-10-17\",\"Statement\":[{\"Effect\":\"Allow\",\"Action\":[" actions        \
    "],\"Resource\":\"*\",\"Condition\":{" condition "}}]}"

/* Who may give rights only to whom a boundary holds cannot name one that holds for nobody. */
static void delegation(void **state)
{
    (void)state;
    OKAY("Action=CreatePolicy&PolicyName=bound&PolicyDocument=" ALLOW_ALL);
    OKAY("Action=CreateUser&UserName=me");
    OKAY("Action=CreateUser&UserName=within&PermissionsBoundary=" BOUND);
    w.caller = world_user(&w, "me",
                          MAY("\"iam:CreateUser\",\"iam:*UserPolicy\","
                              "\"iam:PutUserPermissionsBoundary\"",
                              "\"StringEquals\":{\"iam:PermissionsBoundary\":\"" BOUND "\"}"));
    REFUSED("Action=PutUserPolicy&UserName=me&PolicyName=p&PermissionsBoundary=" BOUND
            "&PolicyDocument=" ALLOW_ALL,
            ACCESS_DENIED);
    REFUSED("Action=AttachUserPolicy&UserName=me&PermissionsBoundary=" BOUND "&PolicyArn=" S3_FULL,
            ACCESS_DENIED);
    OKAY("Action=PutUserPolicy&UserName=within&PolicyName=p&PolicyDocument=" ALLOW_ALL);
    OKAY("Action=AttachUserPolicy&UserName=within&PolicyArn=" S3_FULL);
    REFUSED("Action=CreateUser&UserName=n", ACCESS_DENIED);
    REFUSED("Action=PutUserPermissionsBoundary&UserName=within&PermissionsBoundary=" S3_FULL,
            ACCESS_DENIED);
    OKAY("Action=CreateUser&UserName=n&PermissionsBoundary=" BOUND);
}

/* A parameter that the action has no use for is no value of a condition. */
static void parameters_of_others(void **state)
{
    (void)state;
    OKAY("Action=CreateUser&UserName=me");
    w.caller =
        world_user(&w, "me", MAY("\"iam:*\"", "\"ArnEquals\":{\"iam:PolicyARN\":\"" S3_FULL "\"}"));
    REFUSED("Action=PutUserPolicy&UserName=me&PolicyName=p&PolicyArn=" S3_FULL
            "&PolicyDocument=" ALLOW_ALL,
            ACCESS_DENIED);
    OKAY("Action=AttachUserPolicy&UserName=me&PolicyArn=" S3_FULL);
    w.caller =
        world_user(&w, "me", MAY("\"iam:*\"", "\"StringEquals\":{\"aws:RequestTag/a\":\"b\"}"));
    REFUSED("Action=DeleteUser&UserName=me&Tags.member.1.Key=a&Tags.member.1.Value=b",
            ACCESS_DENIED);
    OKAY("Action=TagUser&UserName=me&Tags.member.1.Key=a&Tags.member.1.Value=b");
    w.caller = world_user(&w, "me",
                          MAY("\"iam:*\"", "\"ForAnyValue:StringEquals\":{\"aws:TagKeys\":\"a\"}"));
    REFUSED("Action=UntagUser&UserName=me&Tags.member.1.Key=a&TagKeys.member.1=b", ACCESS_DENIED);
    OKAY("Action=UntagUser&UserName=me&TagKeys.member.1=a");
    w.caller =
        world_user(&w, "me", MAY("\"iam:*\"", "\"StringEquals\":{\"sts:ExternalId\":\"secret\"}"));
    REFUSED("Action=GetUser&ExternalId=secret", ACCESS_DENIED);
}

/* Another name is another ARN, of which policies may speak. */
static void renames(void **state)
{
    (void)state;
    OKAY("Action=CreateUser&UserName=me");
    OKAY("Action=CreateUser&UserName=other");
    OKAY("Action=CreateGroup&GroupName=g");
    w.caller = world_user(&w, "me",
                          "{\"Version\":\"2012-10-17\",\"Statement\":[{\"Effect\":\"Allow\","
                          "\"Action\":\"iam:Update*\",\"Resource\":["
                          "\"arn:aws:iam::111111111111:user/me*\","
                          "\"arn:aws:iam::111111111111:group/g*\"]}]}");
    REFUSED("Action=UpdateUser&UserName=me&NewUserName=admin", ACCESS_DENIED);
    REFUSED("Action=UpdateUser&UserName=me&NewUserName=other", ACCESS_DENIED);
    REFUSED("Action=UpdateUser&UserName=me&NewPath=/x/", ACCESS_DENIED);
    REFUSED("Action=UpdateGroup&GroupName=g&NewGroupName=x", ACCESS_DENIED);
    OKAY("Action=UpdateGroup&GroupName=g&NewGroupName=g2");
    REFUSED("Action=UpdateUser&UserName=me&NewUserName=ME", ACCESS_DENIED);
    OKAY("Action=UpdateUser&UserName=me&NewUserName=me2");
}

/* Deny what was issued before a moment: that ends sessions, also where they call IAM and STS. */
static void old_sessions(void **state)
{
    (void)state;
    OKAY("Action=CreateUser&UserName=me");
    w.caller = world_user(
        &w, "me",
        "{\"Version\":\"2012-10-17\",\"Statement\":[{\"Effect\":\"Allow\",\"Action\":\"iam:*\","
        "\"Resource\":\"*\"},{\"Effect\":\"Deny\",\"Action\":\"*\",\"Resource\":\"*\","
        "\"Condition\":"
        "{\"DateLessThan\":{\"aws:TokenIssueTime\":\"2023-11-14T22:00:00Z\"}}},"
        "{\"Effect\":\"Deny\",\"Action\":\"*\",\"Resource\":\"*\",\"Condition\":"
        "{\"StringEquals\":{\"aws:PrincipalTag/team\":\"red\"}}}]}");
    OKAY("Action=ListUsers");
    w.caller.temporary = true;
    w.caller.who.type = POLICY_ROLE_SESSION;
    w.caller.issued_ms = 1699999200000 + 1000;
    OKAY("Action=ListUsers");
    w.caller.issued_ms = 1699999200000 - 1000;
    REFUSED("Action=ListUsers", ACCESS_DENIED);
    w.caller.issued_ms += 5000;
    Cairn__Pair tag = CAIRN__PAIR__INIT, *tags[] = {&tag};
    tag.name = (char *)"team";
    tag.value = (char *)"red";
    w.caller.tags = tags;
    w.caller.tag_count = 1;
    REFUSED("Action=ListUsers", ACCESS_DENIED);
    tag.name = (char *)"TEAM"; /* nothing hides behind its case */
    REFUSED("Action=ListUsers", ACCESS_DENIED);
    tag.name = (char *)"teams";
    OKAY("Action=ListUsers");
}

static void requests(void **state)
{
    (void)state;
    REFUSED("X=1", MISSING_ACTION);
    REFUSED("Action=Fly", INVALID_ACTION);
    REFUSED("Action=GetCallerIdentity", INVALID_ACTION); /* of the other service */
    assert_int_equal(world_sts(&w, "Action=GetCallerIdentity"), IAM_OK);
    HAS("<GetCallerIdentityResponse xmlns=\"https://sts.amazonaws.com/doc/2011-06-15/\">");
    HAS("<Account>111111111111</Account><Arn>arn:aws:iam::111111111111:root</Arn>");
    struct buf b = {0};
    world_call(&w, "Action=GetUser&UserName=nobody");
    iam_error_document(&b, &w.t.fault, IAM_XMLNS, "R");
    buf_u8(&b, 0);
    assert_string_equal((char *)b.ptr,
                        "<ErrorResponse xmlns=\"https://iam.amazonaws.com/doc/2010-05-08/\"><Error>"
                        "<Type>Sender</Type><Code>NoSuchEntity</Code><Message>The user with name "
                        "nobody cannot be found.</Message></Error><RequestId>R</RequestId>"
                        "</ErrorResponse>");
    buf_fini(&b);
}

/* ---- two at once ---- */

static void delete_the_group(struct world *world)
{
    struct world_row *r = world_find(world, CAIRN__ROW_KIND__ROW_GROUP, "111111111111", "g");
    r->version += 1000; /* somebody changed it */
}

static void remove_the_user(struct world *world)
{
    struct world_row *r = world_find(world, CAIRN__ROW_KIND__ROW_USER, "111111111111", "u");
    free(r->value);
    memmove(r, r + 1, (world->count - (size_t)(r - world->rows) - 1) * sizeof(*r));
    world->count--;
}

static void races(void **state)
{
    (void)state;
    OKAY("Action=CreateUser&UserName=u");
    OKAY("Action=CreateGroup&GroupName=g");
    w.meanwhile = delete_the_group;
    OKAY("Action=AddUserToGroup&GroupName=g&UserName=u");
    assert_int_equal(w.restarts, 1);
    OKAY("Action=RemoveUserFromGroup&GroupName=g&UserName=u");
    /* A key never outlives its user. */
    w.meanwhile = remove_the_user;
    REFUSED("Action=CreateAccessKey&UserName=u", NO_SUCH_ENTITY);
    for (size_t i = 0; i < w.count; i++)
        assert_int_not_equal(w.rows[i].kind, CAIRN__ROW_KIND__ROW_ACCESS_KEY);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
#define T(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
        T(users),
        T(pages),
        T(keys),
        T(groups),
        T(policies),
        T(inline_policies),
        T(roles),
        T(tags),
        T(authorization),
        T(delegation),
        T(parameters_of_others),
        T(renames),
        T(old_sessions),
        T(requests),
        T(races),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
