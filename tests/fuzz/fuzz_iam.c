/* IAM's and STS's requests from any bytes, over a registry that has nothing but one user: nothing
 * crashes, a refusal has its reason, what is to be changed fits into one entry.  The same bytes as
 * a session token and as an ARN: none that was not sealed opens. */
#include "common/base/check.h"
#include "common/base/err.h"
#include "gateway/iam/action.h"
#include "gateway/iam/token.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void no_random(void *arg, void *ret, size_t len)
{
    (void)arg;
    memset(ret, 7, len);
}

static void give(struct iam_txn *t)
{
    struct iam_row *row = iam_txn_wanted_row(t);
    struct iam_list *list = iam_txn_wanted_list(t);
    Cairn__UserRow user = CAIRN__USER_ROW__INIT;
    Cairn__Row given = CAIRN__ROW__INIT;
    uint8_t packed[64];
    user.name = (char *)"u";
    user.path = (char *)"/";
    given.value = (ProtobufCBinaryData){cairn__user_row__pack(&user, packed), packed};
    given.version = 3;
    CHECK(row || list);
    if (row)
        CHECK(iam_txn_give_row(
            t, row,
            row->kind == CAIRN__ROW_KIND__ROW_USER && strcmp(row->name, "u") == 0 ? &given : NULL));
    else
        CHECK(iam_txn_give_list(t, list, NULL, 0, false));
}

static void run(const struct iam_query *query, enum iam_service service)
{
    static struct iam_txn t;
    struct iam_caller root = {
        .who = {.type = POLICY_ROOT,
                .account = SLICE_LIT("111111111111"),
                .arn = SLICE_LIT("arn:aws:iam::111111111111:root"),
                .user_id = SLICE_LIT("111111111111")},
    };
    struct iam_call c = {
        .t = &t, .caller = &root, .service = service, .query = query, .request_id = "R"};
    enum iam_code code;
    Cairn__RowChange **changes;
    size_t count;
    iam_txn_init(&t, no_random, NULL, 1700000000000ull);
    while ((code = iam_run(&c)) == IAM_WAIT)
        give(&t);
    CHECK(code == IAM_OK || (code == t.fault.code && t.fault.message[0]));
    if (code == IAM_OK)
        CHECK(t.out.len && iam_txn_pack(&t, &changes, &count) == IAM_OK && count <= 32);
    iam_txn_fini(&t);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct arena arena;
    struct iam_query query;
    struct iam_arn arn;
    const struct iam_token_key key = {.id = "fuzzfuzz", .key = "of nobody"};
    const Cairn__SessionToken *session;
    arena_init(&arena, 8u << 20);
    if (iam_query_parse(&arena, SLICE(data, size), &query) == IAM_QUERY_OK) {
        run(&query, IAM_SERVICE_IAM);
        run(&query, IAM_SERVICE_STS);
    }
    if (iam_arn_parse(SLICE(data, size), &arn))
        CHECK(arn.account.len && arn.name.len <= size);
    CHECK(iam_token_open(&arena, &key, SLICE(data, size), &session) != OK);
    arena_fini(&arena);
    return 0;
}
