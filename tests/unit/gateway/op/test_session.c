/* Temporary credentials: what their tokens must be, and how they end. */
#include "common/base/check.h"
#include "gateway/iam/token.h"
#include "proto/registry.h"
#include "tests/unit/gateway/op/stand.h"

#include <stdio.h>

#define ACCOUNT "222222222222"
#define USER_ARN "arn:aws:iam::" ACCOUNT ":user/u"
#define ROLE_ARN "arn:aws:iam::" ACCOUNT ":role/r"
#define ALL                                                                                        \
    "{\"Version\":\"2012-10-17\",\"Statement\":[{\"Effect\":\"Allow\",\"Action\":\"s3:*\","        \
    "\"Resource\":\"*\"}]}"
#define LIST                                                                                       \
    "{\"Version\":\"2012-10-17\",\"Statement\":[{\"Effect\":\"Allow\",\"Action\":"                 \
    "\"s3:ListAllMyBuckets\",\"Resource\":\"*\"}]}"

static struct stand s;
static struct iam_token_key key = {.id = "12345678", .key = "0123456789abcdef0123456789abcde"};
static Cairn__SessionToken session;
static struct arena arena;

static void put_key(bool present)
{
    Cairn__SecretRow row = CAIRN__SECRET_ROW__INIT;
    row.id = (ProtobufCBinaryData){sizeof(key.id), key.id};
    row.key = (ProtobufCBinaryData){sizeof(key.key), key.key};
    assert_int_equal(
        stand_put_row(&s, CAIRN__ROW_KIND__ROW_SECRET, "", "sts", present ? &row.base : NULL), OK);
}

static void put_user(const char *unique_id)
{
    Cairn__UserRow user = CAIRN__USER_ROW__INIT;
    Cairn__NamedDocument policy = CAIRN__NAMED_DOCUMENT__INIT, *policies[] = {&policy};
    policy.name = (char *)"p";
    policy.document = (char *)ALL;
    user.name = (char *)"u";
    user.path = (char *)"/";
    user.unique_id = (char *)(uintptr_t)unique_id;
    user.n_inlined = 1;
    user.inlined = policies;
    assert_int_equal(
        stand_put_row(&s, CAIRN__ROW_KIND__ROW_USER, ACCOUNT, "u", unique_id ? &user.base : NULL),
        OK);
}

static void put_role(const char *document)
{
    Cairn__RoleRow role = CAIRN__ROLE_ROW__INIT;
    Cairn__NamedDocument policy = CAIRN__NAMED_DOCUMENT__INIT, *policies[] = {&policy};
    policy.name = (char *)"p";
    policy.document = (char *)(uintptr_t)document;
    role.name = (char *)"r";
    role.path = (char *)"/";
    role.unique_id = (char *)"AROA1";
    role.n_inlined = 1;
    role.inlined = policies;
    assert_int_equal(stand_put_row(&s, CAIRN__ROW_KIND__ROW_ROLE, ACCOUNT, "r", &role.base), OK);
}

static int setup(void **state)
{
    (void)state;
    stand_init(&s);
    arena_init(&arena, 0);
    stand_put_account(&s, ACCOUNT, "canonical-2");
    put_user("AIDA1");
    put_role(ALL);
    put_key(true);
    s.signs_as = "ASIASESSION";
    s.signs_with = "secret of the session";
    cairn__session_token__init(&session);
    session.access_key_id = (char *)"ASIASESSION";
    session.secret = (char *)"secret of the session";
    session.issued_ms = env_wall_ms(s.gw.env);
    session.expires_ms = session.issued_ms + 1000000;
    session.type = CAIRN__PRINCIPAL_TYPE__PRINCIPAL_USER;
    session.arn = (char *)USER_ARN;
    session.unique_id = (char *)"AIDA1";
    return 0;
}

static int teardown(void **state)
{
    (void)state;
    stand_fini(&s);
    arena_fini(&arena);
    return 0;
}

static void expect_token(const char *token, int status, const char *says, const char *method,
                         const char *target)
{
    struct exchange x;
    char field[IAM_TOKEN_CHARS_MAX + 64];
    snprintf(field, sizeof(field), "x-amz-security-token: %s", token);
    exchange_start(&s, &x, method, target, SLICE_EMPTY, field, NULL);
    exchange_wait(&x);
    if (x.status != status || !exchange_says(&x, says))
        print_message("%s %s: %d %.*s\n", method, target, x.status, (int)x.out.len,
                      (const char *)x.out.ptr);
    assert_int_equal(x.status, status);
    assert_true(exchange_says(&x, says));
    exchange_fini(&x);
}

static void expect(int status, const char *says, const char *method, const char *target)
{
    const char *token;
    const uint8_t nonce[IAM_TOKEN_NONCE_BYTES] = "nonce";
    assert_int_equal(iam_token_seal(&arena, &key, nonce, &session, &token), OK);
    expect_token(token, status, says, method, target);
}

static void users(void **state)
{
    (void)state;
    expect(200, "", "PUT", "/bucket");
    expect(200, "canonical-2", "GET", "/");
    /* Gone, and made anew under the name. */
    put_user(NULL);
    expect(400, "InvalidToken", "GET", "/");
    put_user("AIDA2");
    expect(400, "InvalidToken", "GET", "/");
    put_user("AIDA1");
    expect(200, "bucket", "GET", "/");
    assert_int_equal(stand_put_row(&s, CAIRN__ROW_KIND__ROW_ACCOUNT, "", ACCOUNT, NULL), OK);
    expect(400, "InvalidToken", "GET", "/");
}

static void tokens_of_another_kind(void **state)
{
    (void)state;
    struct iam_token_key good = key;
    expect_token("", 400, "InvalidToken", "GET", "/");
    expect_token("nonsense", 400, "InvalidToken", "GET", "/");
    key.key[0] ^= 1;
    expect(400, "InvalidToken", "GET", "/");
    key = good;
    session.access_key_id = (char *)"ASIAOTHER";
    expect(400, "InvalidToken", "GET", "/");
    session.access_key_id = (char *)"ASIASESSION";
    session.type = CAIRN__PRINCIPAL_TYPE__PRINCIPAL_ROLE;
    expect(400, "InvalidToken", "GET", "/");
    session.type = CAIRN__PRINCIPAL_TYPE__PRINCIPAL_USER;
    s.signs_with = "another secret";
    expect(403, "SignatureDoesNotMatch", "GET", "/");
    s.signs_with = "secret of the session";
    session.expires_ms = env_wall_ms(s.gw.env);
    expect(400, "ExpiredToken", "GET", "/");
    session.expires_ms = env_wall_ms(s.gw.env) + 60000;
    expect(200, "canonical-2", "GET", "/");
    /* Without its token the key is nobody's. */
    struct exchange x;
    assert_int_equal(exchange_run(&s, &x, "GET", "/", SLICE_EMPTY), 403);
    assert_true(exchange_says(&x, "InvalidAccessKeyId"));
    exchange_fini(&x);
    /* Nor may somebody sign as an ARN, which has no secret of its own. */
    s.signs_as = USER_ARN;
    s.signs_with = "";
    session.access_key_id = (char *)USER_ARN;
    assert_int_equal(exchange_run(&s, &x, "GET", "/", SLICE_EMPTY), 403);
    exchange_fini(&x);
}

static void no_key_yet(void **state)
{
    (void)state;
    put_key(false);
    expect(400, "InvalidToken", "GET", "/");
    put_key(true); /* whoever makes it makes the first token with it */
    expect(200, "canonical-2", "GET", "/");
}

static void roles_and_their_bounds(void **state)
{
    (void)state;
    char *narrow[] = {(char *)LIST}, *broken[] = {(char *)"{}"},
         *aws[] = {(char *)"arn:aws:iam::aws:policy/AmazonS3ReadOnlyAccess"},
         *gone[] = {(char *)"arn:aws:iam::aws:policy/Gone"};
    session.type = CAIRN__PRINCIPAL_TYPE__PRINCIPAL_ROLE;
    session.arn = (char *)ROLE_ARN;
    session.unique_id = (char *)"AROA1";
    session.session_name = (char *)"ses";
    expect(200, "", "PUT", "/bucket");
    expect(200, "bucket", "GET", "/");
    session.n_policies = 1;
    session.policies = narrow;
    expect(200, "bucket", "GET", "/");
    expect(403, "AccessDenied", "PUT", "/second");
    expect(403, "AccessDenied", "GET", "/bucket?list-type=2");
    session.n_aws_managed = 1;
    session.aws_managed = aws;
    expect(200, "ListBucketResult", "GET", "/bucket?list-type=2");
    expect(403, "AccessDenied", "PUT", "/second");
    /* What cannot be read must not become no bound. */
    session.aws_managed = gone;
    expect(400, "InvalidToken", "GET", "/");
    session.n_aws_managed = 0;
    session.policies = broken;
    expect(400, "InvalidToken", "GET", "/");
    /* Never more than the role may by now. */
    session.policies = narrow;
    put_role(LIST);
    session.n_policies = 0;
    expect(403, "AccessDenied", "PUT", "/second");
    expect(200, "bucket", "GET", "/");
}

/* Whoever takes its time with the body must not have more of it than the session. */
static void ends_while_a_body_is_on_its_way(void **state)
{
    (void)state;
    static const char *const bodies[] = {
        "data", "<Tagging><TagSet><Tag><Key>k</Key><Value>v</Value></Tag></TagSet></Tagging>"};
    static const char *const targets[] = {"/bucket/key", "/bucket/key?tagging"};
    const uint8_t nonce[IAM_TOKEN_NONCE_BYTES] = "nonce";
    expect(200, "", "PUT", "/bucket");
    for (size_t i = 0; i < ARRAY_COUNT(targets); i++)
        for (int ended = 0; ended < 2; ended++) {
            struct exchange x;
            const char *token;
            char field[IAM_TOKEN_CHARS_MAX + 64];
            session.expires_ms = env_wall_ms(s.gw.env) + (ended ? 2000 : 200000);
            assert_int_equal(iam_token_seal(&arena, &key, nonce, &session, &token), OK);
            snprintf(field, sizeof(field), "x-amz-security-token: %s", token);
            exchange_start(&s, &x, "PUT", targets[i], slice_cstr(bodies[i]), field, NULL);
            x.paused = true; /* the head has come, the body not yet */
            fake_run(&s.f, 3 * NS_PER_SEC);
            s.f.wall_ms = MAX(s.f.wall_ms, session.expires_ms - (ended ? 0 : 100000));
            assert_int_equal(x.status, 0);
            unsigned before = s.proposals;
            http_body_resume(&x.http);
            exchange_wait(&x);
            assert_int_equal(x.status, ended ? 400 : 200);
            assert_int_equal(exchange_says(&x, "ExpiredToken"), ended);
            assert_int_equal(s.proposals == before, ended);
            exchange_fini(&x);
        }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
#define T(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
        T(users),
        T(tokens_of_another_kind),
        T(no_key_yet),
        T(roles_and_their_bounds),
        T(ends_while_a_body_is_on_its_way),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
