/* STS and its tokens. */
#include "tests/unit/gateway/iam/world.h"

#include "common/base/check.h"
#include "common/base/err.h"
#include "gateway/iam/token.h"

#include <stdio.h>

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

#define OKAY(query) assert_int_equal(world_sts(&w, query), IAM_OK)
#define REFUSED(query, code) assert_int_equal(world_sts(&w, query), IAM_##code)

#define MAY_ASSUME                                                                                 \
    "{\"Version\":\"2012-10-17\",\"Statement\":[{\"Effect\":\"Allow\",\"Action\":\"sts:"           \
    "AssumeRole\","                                                                                \
    "\"Resource\":\"*\"}]}"
#define NOTHING                                                                                    \
    "{\"Version\":\"2012-10-17\",\"Statement\":[{\"Effect\":\"Allow\",\"Action\":\"s3:*\","        \
    "\"Resource\":\"*\"}]}"
#define TRUST(who, condition)                                                                      \
    "{\"Version\":\"2012-10-17\",\"Statement\":[{\"Effect\":\"Allow\",\"Principal\":{\"AWS\":"     \
    "\"" who "\"},\"Action\":\"sts:AssumeRole\"" condition "}]}"
#define ROLE "RoleArn=arn:aws:iam::111111111111:role/r"
#define ASSUME "Action=AssumeRole&" ROLE "&RoleSessionName=session"

static void put_role(const char *account, const char *trust)
{
    Cairn__RoleRow r = CAIRN__ROLE_ROW__INIT;
    r.name = (char *)"r";
    r.path = (char *)"/";
    r.unique_id = (char *)"AROAROLEROLEROLEROLE1";
    r.trust = (char *)(uintptr_t)trust;
    r.session_seconds_max = 7200;
    world_put(&w, CAIRN__ROW_KIND__ROW_ROLE, account, "r", &r.base);
}

static void the_key(struct iam_token_key *ret)
{
    const struct world_row *row = world_find(&w, CAIRN__ROW_KIND__ROW_SECRET, "", "sts");
    assert_non_null(row);
    Cairn__SecretRow *secret = cairn__secret_row__unpack(NULL, row->len, row->value);
    assert_true(iam_token_key_of(secret, ret));
    cairn__secret_row__free_unpacked(secret, NULL);
}

static const Cairn__SessionToken *opened(struct arena *arena)
{
    struct iam_token_key key;
    const Cairn__SessionToken *s = NULL;
    the_key(&key);
    assert_int_equal(iam_token_open(arena, &key, slice_cstr(world_element(&w, "SessionToken")), &s),
                     OK);
    return s;
}

static void session_tokens(void **state)
{
    (void)state;
    struct arena arena = {0};
    w.caller = world_user(&w, "me", NOTHING); /* needs no permission */
    OKAY("Action=GetSessionToken");
    const Cairn__SessionToken *s = opened(&arena);
    assert_string_equal(s->arn, "arn:aws:iam::111111111111:user/me");
    assert_string_equal(s->unique_id, "AIDAUSERUSERUSERUSER1");
    assert_string_equal(s->secret, world_element(&w, "SecretAccessKey"));
    assert_string_equal(s->access_key_id, world_element(&w, "AccessKeyId"));
    assert_memory_equal(s->access_key_id, "ASIA", 4);
    assert_int_equal(s->expires_ms, w.now_ms / 1000 * 1000 + 43200000);
    assert_int_equal(s->type, CAIRN__PRINCIPAL_TYPE__PRINCIPAL_USER);
    struct iam_token_key first, second;
    the_key(&first);
    OKAY("Action=GetSessionToken&DurationSeconds=900");
    the_key(&second); /* made once */
    assert_memory_equal(&first, &second, sizeof(first));
    REFUSED("Action=GetSessionToken&DurationSeconds=899", VALIDATION_ERROR);
    REFUSED("Action=GetSessionToken&DurationSeconds=129601", VALIDATION_ERROR);
    REFUSED("Action=GetSessionToken&TokenCode=123456", ACCESS_DENIED);
    w.caller.temporary = true;
    REFUSED("Action=GetSessionToken", ACCESS_DENIED);
    w.caller = world_root();
    OKAY("Action=GetSessionToken&DurationSeconds=10000");
    s = opened(&arena);
    assert_int_equal(s->expires_ms, w.now_ms / 1000 * 1000 + 3600000);
    assert_int_equal(s->type, CAIRN__PRINCIPAL_TYPE__PRINCIPAL_ROOT);
    arena_fini(&arena);
}

static void roles_are_assumed(void **state)
{
    (void)state;
    struct arena arena = {0};
    put_role("111111111111", TRUST("arn:aws:iam::111111111111:root", ""));
    REFUSED(ASSUME, ACCESS_DENIED); /* the root user */
    w.caller = world_user(&w, "me", NOTHING);
    REFUSED(ASSUME, ACCESS_DENIED); /* the account may, and has not said that the user may */
    w.caller = world_user(&w, "me", MAY_ASSUME);
    OKAY(ASSUME);
    assert_string_equal(world_element(&w, "Arn"),
                        "arn:aws:sts::111111111111:assumed-role/r/session");
    assert_string_equal(world_element(&w, "AssumedRoleId"), "AROAROLEROLEROLEROLE1:session");
    const Cairn__SessionToken *s = opened(&arena);
    assert_string_equal(s->arn, "arn:aws:iam::111111111111:role/r");
    assert_string_equal(s->unique_id, "AROAROLEROLEROLEROLE1");
    assert_string_equal(s->session_name, "session");
    assert_int_equal(s->n_policies, 0);
    REFUSED("Action=AssumeRole&RoleSessionName=session&RoleArn=arn:aws:iam::111111111111:role/no",
            ACCESS_DENIED);
    REFUSED("Action=AssumeRole&" ROLE "&RoleSessionName=s", VALIDATION_ERROR);
    REFUSED("Action=AssumeRole&RoleSessionName=session&RoleArn=nonsense", VALIDATION_ERROR);
    REFUSED(ASSUME "&DurationSeconds=7201", VALIDATION_ERROR);
    OKAY(ASSUME "&DurationSeconds=7200");
    REFUSED(ASSUME "&Tags.member.1.Key=a&Tags.member.1.Value=b", VALIDATION_ERROR);
    w.caller.who.type = POLICY_ROLE_SESSION; /* chained */
    REFUSED(ASSUME "&DurationSeconds=3601", VALIDATION_ERROR);
    arena_fini(&arena);
}

static void trust_decides(void **state)
{
    (void)state;
    w.caller = world_user(&w, "me", NOTHING);
    /* Named by its ARN in its own account it needs no policy of its own. */
    put_role("111111111111", TRUST("arn:aws:iam::111111111111:user/me", ""));
    OKAY(ASSUME);
    w.caller = world_user(&w, "you", MAY_ASSUME);
    REFUSED(ASSUME, ACCESS_DENIED);
    put_role("111111111111",
             TRUST("111111111111",
                   ",\"Condition\":{\"StringEquals\":{\"sts:ExternalId\":\"secret-1\"}}"));
    REFUSED(ASSUME, ACCESS_DENIED);
    REFUSED(ASSUME "&ExternalId=secret-2", ACCESS_DENIED);
    OKAY(ASSUME "&ExternalId=secret-1");
    /* Across accounts both must allow it. */
    put_role("222222222222", TRUST("111111111111", ""));
#define OTHER "Action=AssumeRole&RoleArn=arn:aws:iam::222222222222:role/r&RoleSessionName=session"
    OKAY(OTHER);
    w.caller = world_user(&w, "you", NOTHING);
    REFUSED(OTHER, ACCESS_DENIED);
}

/* Nobody whose own policies cannot be read, though the trust policy names it; nor anybody where
 * that one cannot be read. */
static void what_cannot_be_read_trusts_nobody(void **state)
{
    (void)state;
    put_role("111111111111", TRUST("arn:aws:iam::111111111111:user/me", ""));
    w.caller = world_user(&w, "me", MAY_ASSUME);
    OKAY(ASSUME);
    w.caller.unreadable = "of some reason";
    REFUSED(ASSUME, ACCESS_DENIED);
    OKAY("Action=GetCallerIdentity"); /* needs no permission */
    assert_int_equal(world_call(&w, "Action=ListUsers"), IAM_ACCESS_DENIED);
    assert_non_null(strstr(w.t.fault.message, "because of some reason"));
    w.caller.unreadable = NULL;
    put_role("111111111111", "{\"Version\":\"2112-01-01\"}");
    REFUSED(ASSUME, ACCESS_DENIED);
}

static void sessions_are_bounded(void **state)
{
    (void)state;
    struct arena arena = {0};
    static char query[20000], document[9000];
    put_role("111111111111", TRUST("111111111111", ""));
    w.caller = world_user(&w, "me", MAY_ASSUME);
    OKAY(ASSUME
         "&Policy=%7B%22Version%22:%222012-10-17%22,%22Statement%22:[%7B%22Effect%22:%22Allow"
         "%22,%20%22Action%22:%22s3:GetObject%22,%22Resource%22:%22*%22%7D]%7D&PolicyArns."
         "member.1.arn=arn:aws:iam::aws:policy/AmazonS3ReadOnlyAccess");
    const Cairn__SessionToken *s = opened(&arena);
    assert_int_equal(s->n_policies, 1);
    assert_int_equal(s->n_aws_managed, 1);
    assert_true(strlen(world_element(&w, "PackedPolicySize")) > 0);
    REFUSED(ASSUME "&Policy=%7B%7D", MALFORMED_POLICY_DOCUMENT);
    REFUSED(ASSUME "&PolicyArns.member.1.arn=arn:aws:iam::aws:policy/None",
            MALFORMED_POLICY_DOCUMENT);
    /* What would be passed over would not bound it. */
    REFUSED(ASSUME "&PolicyArns.member.2.arn=arn:aws:iam::aws:policy/AmazonS3ReadOnlyAccess",
            VALIDATION_ERROR);
    REFUSED(ASSUME "&PolicyArns.1.arn=arn:aws:iam::aws:policy/AmazonS3ReadOnlyAccess",
            VALIDATION_ERROR);
    Cairn__PolicyRow policy = CAIRN__POLICY_ROW__INIT;
    policy.name = (char *)"p";
    policy.path = (char *)"/";
    policy.default_version = (char *)"v9";
    world_put(&w, CAIRN__ROW_KIND__ROW_POLICY, "111111111111", "p", &policy.base);
    REFUSED(ASSUME "&PolicyArns.member.1.arn=arn:aws:iam::111111111111:policy/p",
            MALFORMED_POLICY_DOCUMENT);
    /* Too many together for a token. */
    memset(document, 'a', sizeof(document) - 1);
    document[5500] = 0;
    for (int i = 0; i < 2; i++) {
        snprintf(
            query, sizeof(query),
            "Action=CreatePolicy&PolicyName=p%d&PolicyDocument=%%7B%%22Version%%22:%%222012-10-17"
            "%%22,%%22Statement%%22:[%%7B%%22Effect%%22:%%22Allow%%22,%%22Action%%22:%%22s3:*%%22,"
            "%%22Resource%%22:%%22arn:aws:s3:::%s%%22%%7D]%%7D",
            i, document);
        struct iam_caller me = w.caller;
        w.caller = world_root();
        assert_int_equal(world_call(&w, query), IAM_OK);
        w.caller = me;
    }
    OKAY(ASSUME "&PolicyArns.member.1.arn=arn:aws:iam::111111111111:policy/p0");
    assert_true(strlen(world_element(&w, "SessionToken")) <= IAM_TOKEN_CHARS_MAX);
    REFUSED(ASSUME "&PolicyArns.member.1.arn=arn:aws:iam::111111111111:policy/p0"
                   "&PolicyArns.member.2.arn=arn:aws:iam::111111111111:policy/p1",
            PACKED_POLICY_TOO_LARGE);
    arena_fini(&arena);
}

/* No bit of a token may be another. */
static void tokens_are_sealed(void **state)
{
    (void)state;
    struct arena arena = {0};
    struct iam_token_key key = {.id = "12345678", .key = "0123456789abcdef0123456789abcde"};
    struct iam_token_key other = key;
    uint8_t nonce[IAM_TOKEN_NONCE_BYTES] = "nonce", id[IAM_TOKEN_KEY_ID_BYTES];
    Cairn__SessionToken s = CAIRN__SESSION_TOKEN__INIT;
    const Cairn__SessionToken *back;
    const char *token;
    s.secret = (char *)"s3cr3t-of-this-session";
    s.arn = (char *)"arn:aws:iam::111111111111:user/me";
    assert_int_equal(iam_token_seal(&arena, &key, nonce, &s, &token), OK);
    assert_null(strstr(token, "s3cr3t"));
    assert_true(iam_token_key_id(slice_cstr(token), id));
    assert_memory_equal(id, key.id, sizeof(id));
    assert_int_equal(iam_token_open(&arena, &key, slice_cstr(token), &back), OK);
    assert_string_equal(back->secret, s.secret);
    other.key[31] ^= 1;
    assert_int_equal(iam_token_open(&arena, &other, slice_cstr(token), &back), ERR_AUTH);
    size_t n = strlen(token);
    char *text = arena_alloc(&arena, n + 1);
    for (size_t i = 0; i < n; i++) {
        memcpy(text, token, n + 1);
        text[i] = text[i] == 'A' ? 'B' : 'A';
        assert_int_equal(iam_token_open(&arena, &key, SLICE(text, n), &back), ERR_AUTH);
        assert_int_equal(iam_token_open(&arena, &key, SLICE(token, i), &back), ERR_AUTH);
    }
    static char big[IAM_TOKEN_CHARS_MAX + 8];
    memset(big, 'A', sizeof(big));
    assert_false(iam_token_key_id(SLICE(big, sizeof(big)), id));
    char *long_arn = arena_zalloc(&arena, IAM_TOKEN_PLAIN_MAX + 1);
    memset(long_arn, 'x', IAM_TOKEN_PLAIN_MAX);
    s.arn = long_arn;
    assert_int_equal(iam_token_seal(&arena, &key, nonce, &s, &token), ERR_TOO_LARGE);
    arena_fini(&arena);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
#define T(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
        T(session_tokens),       T(roles_are_assumed),
        T(trust_decides),        T(what_cannot_be_read_trusts_nobody),
        T(sessions_are_bounded), T(tokens_are_sealed),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
