/* Access control lists: fields, canned ones, the document, what a list lets whom do. */
#include "gateway/s3/acl.h"

#include <stdio.h>

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "tests/unit/gateway/s3/make.h"

#define ID_A "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"
#define ID_B "bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb"
#define ALL_USERS "http://acs.amazonaws.com/groups/global/AllUsers"
#define AUTHENTICATED "http://acs.amazonaws.com/groups/global/AuthenticatedUsers"
#define LOGS "http://acs.amazonaws.com/groups/s3/LogDelivery"

static struct made m;
static struct buf out;

static int teardown(void **state)
{
    (void)state;
    arena_fini(&m.arena);
    buf_fini(&out);
    return 0;
}

/* "A:READ *:WRITE" of a list: A, B (accounts), * (everybody), + (who signs), L (logs), @ (e-mail).
 */
static const char *text_of(const struct s3_acl *acl)
{
    static const char kinds[] = {[S3_GRANTEE_ACCOUNT] = '?',
                                 [S3_GRANTEE_EMAIL] = '@',
                                 [S3_GRANTEE_ALL_USERS] = '*',
                                 [S3_GRANTEE_AUTHENTICATED_USERS] = '+',
                                 [S3_GRANTEE_LOG_DELIVERY] = 'L'};
    buf_clear(&out);
    for (size_t i = 0; i < acl->count; i++) {
        const struct s3_grant *g = &acl->grants[i];
        char who = kinds[g->grantee];
        if (who == '?')
            who = slice_eq(g->id, SLICE_LIT(ID_A)) ? 'A' : 'B';
        buf_printf(&out, "%s%c:%u", i ? " " : "", who, g->permission);
    }
    buf_u8(&out, 0);
    return (const char *)out.ptr;
}

#define WANT(code_, ...)                                                                           \
    do {                                                                                           \
        MAKE(&m, "PUT", "/bkt/key", "Host: x", __VA_ARGS__);                                       \
        assert_code(m.code, S3_OK);                                                                \
        assert_code(s3_acl_wanted_parse(&m.request, &w, &m.fault), code_);                         \
    } while (0)

static void fields(void **state)
{
    (void)state;
    struct s3_acl_wanted w;
    WANT(S3_OK, "A: b");
    assert_false(s3_acl_is_wanted(&w));
    WANT(S3_OK, "x-amz-acl: public-read");
    assert_int_equal(w.canned, S3_CANNED_PUBLIC_READ);
    assert_true(s3_acl_is_wanted(&w));
    WANT(S3_INVALID_ARGUMENT, "x-amz-acl: public");
    WANT(S3_INVALID_ARGUMENT, "x-amz-acl:");
    WANT(S3_OK, "x-amz-grant-read: id=\"" ID_A "\", uri=\"" ALL_USERS "\" , id=" ID_B,
         "X-Amz-Grant-Write-Acp: emailAddress=\"a,b@example.com\"",
         "x-amz-grant-full-control: ID=" ID_A);
    assert_string_equal(text_of(&w.grants), "A:15 A:1 *:1 B:1 @:8");
    assert_slice(w.grants.grants[4].id, "a,b@example.com");
    WANT(S3_INVALID_REQUEST, "x-amz-acl: private", "x-amz-grant-read: id=" ID_A);
    static const char *const bad[] = {
        "id=",           "id=abc", "uri=http://elsewhere", "user=a",
        "emailAddress=", "\"",     "id=" ID_A ",",         ",id=" ID_A,
        "id=A" ID_A,     "id"};
    for (size_t i = 0; i < sizeof(bad) / sizeof(bad[0]); i++) {
        char field[200];
        snprintf(field, sizeof(field), "x-amz-grant-read: %s", bad[i]);
        WANT(S3_INVALID_ARGUMENT, field);
    }
    struct buf many = {0};
    buf_cstr(&many, "x-amz-grant-read: id=" ID_A);
    for (int i = 1; i < S3_ACL_GRANTS_MAX; i++)
        buf_cstr(&many, ",id=" ID_B);
    buf_u8(&many, 0);
    WANT(S3_OK, (const char *)many.ptr);
    assert_int_equal(w.grants.count, S3_ACL_GRANTS_MAX);
    many.len--;
    buf_cstr(&many, ",id=" ID_B);
    buf_u8(&many, 0);
    WANT(S3_MALFORMED_ACL, (const char *)many.ptr);
    buf_fini(&many);
}

static void canned(void **state)
{
    (void)state;
    static const struct {
        enum s3_canned canned;
        const char *of_bucket, *of_own, *of_foreign; /* A's; an object in A's bucket, in B's */
    } rows[] = {
        {S3_CANNED_PRIVATE, "A:15", "A:15", "A:15"},
        {S3_CANNED_PUBLIC_READ, "A:15 *:1", "A:15 *:1", "A:15 *:1"},
        {S3_CANNED_PUBLIC_READ_WRITE, "A:15 *:1 *:2", "A:15 *:1 *:2", "A:15 *:1 *:2"},
        {S3_CANNED_AUTHENTICATED_READ, "A:15 +:1", "A:15 +:1", "A:15 +:1"},
        {S3_CANNED_BUCKET_OWNER_READ, "A:15", "A:15", "A:15 B:1"},
        {S3_CANNED_BUCKET_OWNER_FULL_CONTROL, "A:15", "A:15", "A:15 B:15"},
        {S3_CANNED_AWS_EXEC_READ, "A:15", "A:15", "A:15"},
        {S3_CANNED_LOG_DELIVERY_WRITE, "A:15 L:2 L:4", "A:15 L:2 L:4", "A:15 L:2 L:4"},
    };
    MAKE(&m, "PUT", "/bkt/key", "Host: x");
    for (size_t i = 0; i < sizeof(rows) / sizeof(rows[0]); i++) {
        const struct slice bucket_owner[] = {SLICE_EMPTY, SLICE_LIT(ID_A), SLICE_LIT(ID_B)};
        const char *const want[] = {rows[i].of_bucket, rows[i].of_own, rows[i].of_foreign};
        for (size_t k = 0; k < 3; k++) {
            struct s3_acl acl;
            assert_code(s3_acl_canned(&m.arena, rows[i].canned, SLICE_LIT(ID_A), bucket_owner[k],
                                      &acl, &m.fault),
                        S3_OK);
            assert_string_equal(text_of(&acl), want[k]);
        }
    }
}

#define XSI " xmlns:xsi=\"http://www.w3.org/2001/XMLSchema-instance\""
#define GRANT(who, p) "<Grant><Grantee" who "</Grantee><Permission>" p "</Permission></Grant>"
#define ACCOUNT(id) XSI " xsi:type=\"CanonicalUser\"><ID>" id "</ID>"
#define GROUP(uri) XSI " xsi:type=\"Group\"><URI>" uri "</URI>"
#define POLICY(owner, list)                                                                        \
    "<AccessControlPolicy xmlns=\"" S3_XMLNS "\"><Owner><ID>" owner "</ID></Owner>"                \
    "<AccessControlList>" list "</AccessControlList></AccessControlPolicy>"

static enum s3_code read_acl(const char *body, struct slice *owner, struct s3_acl *acl)
{
    MAKE(&m, "PUT", "/bkt?acl", "Host: x");
    assert_int_equal(m.request.op, S3_OP_PUT_BUCKET_ACL);
    return s3_acl_read(&m.arena, slice_cstr(body), owner, acl, &m.fault);
}

static void document(void **state)
{
    (void)state;
    struct slice owner;
    struct s3_acl acl;
    const char *normal =
        POLICY(ID_A, GRANT(ACCOUNT(ID_A), "FULL_CONTROL") GRANT(GROUP(ALL_USERS), "READ")
                         GRANT(GROUP(AUTHENTICATED), "READ_ACP") GRANT(GROUP(LOGS), "WRITE"));
    assert_code(read_acl(normal, &owner, &acl), S3_OK);
    assert_slice(owner, ID_A);
    assert_string_equal(text_of(&acl), "A:15 *:1 +:4 L:2");
    struct buf b = {0};
    s3_acl_write(&b, owner, &acl);
    struct slice declaration = SLICE_LIT("<?xml version=\"1.0\" encoding=\"UTF-8\"?>");
    assert_true(slice_has_prefix(buf_view(&b), declaration));
    struct slice written = SLICE(b.ptr + declaration.len, b.len - declaration.len);
    if (written.len && written.ptr[0] == '\n')
        written = SLICE(written.ptr + 1, written.len - 1);
    assert_slice(written, normal);
    buf_fini(&b);
    assert_code(read_acl(POLICY(ID_B, ""), &owner, &acl), S3_OK);
    assert_int_equal(acl.count, 0);
    assert_code(
        read_acl(POLICY(ID_B, GRANT("><EmailAddress> a@b </EmailAddress>", "READ")), &owner, &acl),
        S3_OK);
    assert_string_equal(text_of(&acl), "@:1");
    assert_slice(acl.grants[0].id, "a@b");
}

static void bad_documents(void **state)
{
    (void)state;
    struct slice owner;
    struct s3_acl acl;
    static const char *const malformed[] = {
        "",
        "<AccessControlPolicy/>",
        "<AccessControlPolicy><AccessControlList/></AccessControlPolicy>",
        "<AccessControlPolicy><Owner><ID>x</ID></Owner></AccessControlPolicy>",
        POLICY(ID_A, GRANT(ACCOUNT(ID_A), "EVERYTHING")),
        POLICY(ID_A, GRANT(">", "READ")),
        POLICY(ID_A, GRANT("><ID>" ID_A "</ID><URI>" ALL_USERS "</URI>", "READ")),
        POLICY(ID_A, GRANT("><EmailAddress></EmailAddress>", "READ")),
        POLICY(ID_A, "<Grant><Permission>READ</Permission></Grant>"),
        POLICY(ID_A, GRANT(ACCOUNT(ID_A), "READ</Permission><Permission>WRITE")),
    };
    for (size_t i = 0; i < sizeof(malformed) / sizeof(malformed[0]); i++)
        assert_code(read_acl(malformed[i], &owner, &acl), S3_MALFORMED_ACL);
    assert_code(read_acl(POLICY(ID_A, GRANT(GROUP("http://x"), "READ")), &owner, &acl),
                S3_INVALID_ARGUMENT);
    assert_code(read_acl(POLICY(ID_A, GRANT(ACCOUNT("abc"), "READ")), &owner, &acl),
                S3_INVALID_ARGUMENT);
    struct buf many = {0};
    buf_cstr(&many, "<AccessControlPolicy><Owner><ID>x</ID></Owner><AccessControlList>");
    for (int i = 0; i <= S3_ACL_GRANTS_MAX; i++)
        buf_cstr(&many, GRANT("><ID>" ID_A "</ID>", "READ"));
    buf_cstr(&many, "</AccessControlList></AccessControlPolicy>");
    buf_u8(&many, 0);
    assert_code(read_acl((const char *)many.ptr, &owner, &acl), S3_MALFORMED_ACL);
    buf_fini(&many);
}

static void decisions(void **state)
{
    (void)state;
    struct s3_grant grants[] = {
        {S3_GRANTEE_ACCOUNT, SLICE_LIT(ID_A), S3_PERMIT_FULL},
        {S3_GRANTEE_ACCOUNT, SLICE_LIT(ID_B), S3_PERMIT_READ_ACP},
        {S3_GRANTEE_ALL_USERS, SLICE_EMPTY, S3_PERMIT_READ},
        {S3_GRANTEE_AUTHENTICATED_USERS, SLICE_EMPTY, S3_PERMIT_WRITE},
        {S3_GRANTEE_LOG_DELIVERY, SLICE_EMPTY, S3_PERMIT_WRITE_ACP},
    };
    struct s3_acl acl = {grants, 5};
    struct slice a = SLICE_LIT(ID_A), b = SLICE_LIT(ID_B), other = SLICE_LIT("-");
    assert_int_equal(s3_acl_permits(&acl, a, false), S3_PERMIT_FULL);
    assert_int_equal(s3_acl_permits(&acl, b, false),
                     S3_PERMIT_READ | S3_PERMIT_WRITE | S3_PERMIT_READ_ACP);
    assert_int_equal(s3_acl_permits(&acl, other, false), S3_PERMIT_READ | S3_PERMIT_WRITE);
    assert_int_equal(s3_acl_permits(&acl, SLICE_EMPTY, false), S3_PERMIT_READ);
    assert_int_equal(s3_acl_permits(&acl, a, true), S3_PERMIT_FULL);
    assert_int_equal(s3_acl_permits(&acl, b, true), S3_PERMIT_READ_ACP);
    assert_int_equal(s3_acl_permits(&acl, SLICE_EMPTY, true), 0);
    /* A grant without an id (of a newer version's making) is nobody's, not the anonymous'. */
    struct s3_grant nobody = {S3_GRANTEE_ACCOUNT, SLICE_EMPTY, S3_PERMIT_FULL};
    struct s3_acl strange = {&nobody, 1};
    assert_int_equal(s3_acl_permits(&strange, SLICE_EMPTY, false), 0);
    assert_true(s3_acl_is_public(&acl));
    assert_true(s3_acl_is_shared(&acl, a));
    acl.count = 2;
    assert_false(s3_acl_is_public(&acl));
    assert_true(s3_acl_is_shared(&acl, a));
    acl.count = 1;
    assert_false(s3_acl_is_shared(&acl, a));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_teardown(fields, teardown),
        cmocka_unit_test_teardown(canned, teardown),
        cmocka_unit_test_teardown(document, teardown),
        cmocka_unit_test_teardown(bad_documents, teardown),
        cmocka_unit_test_teardown(decisions, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
