/* Principals put together from the registry: what holds for a user, a role, an account's root user;
 * that nothing that is missing, or too much, ever grants; and clusters of earlier releases. */
#include "metanode/index/principal.h"
#include "proto/registry.h"
#include "tests/unit/common/alloc_fail.h"
#include "world.h"

#include <stdio.h>
#include <stdlib.h>

#define ACCOUNT "123456789012"
#define ARN "arn:aws:iam::" ACCOUNT ":"

/* ---- rows ---- */

static Cairn__ListRowsResponse *rows_of(struct world *w, unsigned kind, const char *scope,
                                        const char *name, bool all)
{
    struct index_view view;
    struct index_reply reply = {0};
    Cairn__ListRowsRequest q = CAIRN__LIST_ROWS_REQUEST__INIT;
    q.epoch = EPOCH;
    q.kind = kind;
    q.scope = str(scope);
    q.name = str(name);
    q.all_scopes = all;
    index_view_init(&view, w->index, NULL);
    assert_int_equal(index_list_rows(&view, &q, &reply), OK);
    ProtobufCMessage *m = over_the_wire(&reply.msg.base);
    index_reply_fini(&reply);
    return (Cairn__ListRowsResponse *)(void *)m;
}

static uint64_t version_of(struct world *w, unsigned kind, const char *scope, const char *name)
{
    Cairn__ListRowsResponse *r = rows_of(w, kind, scope, name, false);
    uint64_t version = r->n_rows ? r->rows[0]->version : 0;
    cairn__list_rows_response__free_unpacked(r, NULL);
    return version;
}

/* Touches whatever the tests' rows need. */
static int write_row(struct world *w, unsigned kind, const char *scope, const char *name,
                     const ProtobufCMessage *value)
{
    struct cmd c;
    Cairn__ChangeRows op = CAIRN__CHANGE_ROWS__INIT;
    Cairn__RowChange change = CAIRN__ROW_CHANGE__INIT, *changes = &change;
    struct buf packed = {0};
    cmd_init(w, &c);
    change.kind = kind;
    change.scope = str(scope);
    change.name = str(name);
    change.expected_version = version_of(w, kind, scope, name);
    change.remove = !value;
    if (value) {
        buf_reserve(&packed, protobuf_c_message_get_packed_size(value) + 1);
        packed.len = protobuf_c_message_pack(value, packed.ptr);
        change.value = (ProtobufCBinaryData){packed.len, packed.ptr};
    }
    op.changes = &changes;
    op.n_changes = 1;
    c.touches[0] = keyhash_account(SLICE_LIT(ACCOUNT));
    c.touches[1] = keyhash_account(SLICE_LIT(OPERATOR_ACCOUNT));
    c.touches[2] = keyhash_access_key(slice_cstr(name));
    c.touches[3] = keyhash_account(slice_cstr(scope));
    c.msg.n_touches = 4;
    c.msg.op_case = CAIRN__COMMAND__OP_CHANGE_ROWS;
    c.msg.change_rows = &op;
    int err = world_run(w, &c);
    buf_fini(&packed);
    return err;
}

static void put_row(struct world *w, unsigned kind, const char *scope, const char *name,
                    const ProtobufCMessage *value)
{
    assert_int_equal(write_row(w, kind, scope, name, value), OK);
}

static void put_account(struct world *w)
{
    Cairn__AccountRow a = CAIRN__ACCOUNT_ROW__INIT;
    a.account_id = str(ACCOUNT);
    a.canonical_id = str("canonical");
    a.name = str("acme");
    put_row(w, CAIRN__ROW_KIND__ROW_ACCOUNT, "", ACCOUNT, &a.base);
}

static void put_key(struct world *w, const char *user, bool enabled)
{
    Cairn__AccessKeyRow k = CAIRN__ACCESS_KEY_ROW__INIT;
    k.access_key_id = str("AK");
    k.secret = str("shh");
    k.account_id = str(ACCOUNT);
    k.user = str(user);
    k.enabled = enabled;
    put_row(w, CAIRN__ROW_KIND__ROW_ACCESS_KEY, "", "AK", &k.base);
}

static void put_policy(struct world *w, const char *name, const char *path, const char *document,
                       const char *default_version)
{
    Cairn__PolicyRow p = CAIRN__POLICY_ROW__INIT;
    Cairn__PolicyVersion old = CAIRN__POLICY_VERSION__INIT, v = CAIRN__POLICY_VERSION__INIT;
    Cairn__PolicyVersion *versions[] = {&old, &v};
    char row[64];
    old.id = str("v1");
    old.document = str("older");
    v.id = str("v2");
    v.document = str(document);
    p.name = str(name);
    p.path = str(path);
    p.default_version = str(default_version);
    p.versions = versions;
    p.n_versions = 2;
    snprintf(row, sizeof(row), "%s", name);
    for (char *c = row; *c; c++)
        *c = *c >= 'A' && *c <= 'Z' ? (char)(*c + 32) : *c;
    put_row(w, CAIRN__ROW_KIND__ROW_POLICY, ACCOUNT, row, &p.base);
}

/* ---- what is found ---- */

static void append_list(struct buf *b, const char *name, char *const *items, size_t count)
{
    for (size_t i = 0; i < count; i++)
        buf_printf(b, "%s=%s ", name, items[i]);
}

/* One line that says it all. */
static void assert_principal(struct world *w, const char *id, const char *want)
{
    struct index_view view;
    struct index_reply reply = {0};
    struct buf b = {0};
    Cairn__RecordKey rk = CAIRN__RECORD_KEY__INIT, *keys[1] = {&rk};
    Cairn__ReadRequest req = CAIRN__READ_REQUEST__INIT;
    rk.kind = CAIRN__RECORD_KIND__RECORD_PRINCIPAL;
    rk.key = (ProtobufCBinaryData){strlen(id), (uint8_t *)(uintptr_t)id};
    req.epoch = EPOCH;
    req.n_keys = 1;
    req.keys = keys;
    index_view_init(&view, w->index, NULL);
    assert_int_equal(index_read(&view, &req, &reply), OK);
    Cairn__ReadResponse *m = (Cairn__ReadResponse *)(void *)over_the_wire(&reply.msg.base);
    assert_int_equal(m->as_of, index_applied(w->index));
    assert_int_equal(m->n_records, 1);
    const Cairn__PrincipalRecord *p = m->records[0]->principal;
    assert_non_null(p);
    if (m->records[0]->present) {
        assert_string_equal(p->access_key_id, strncmp(id, "arn:", 4) == 0 ? "" : id);
        assert_int_equal(p->secret[0] != 0, strncmp(id, "arn:", 4) != 0);
        buf_printf(&b, "%s %s%s%s%s %s ", p->arn, p->canonical_id, p->enabled ? " enabled" : "",
                   p->is_operator ? " operator" : "", p->has_boundary ? " bound" : "",
                   p->account_display_name);
        for (size_t i = 0; i < p->n_policies; i++)
            buf_printf(&b, "%s:%s ", p->policies[i]->name, p->policies[i]->document);
        append_list(&b, "aws", p->aws_managed, p->n_aws_managed);
        if (p->boundary[0] || p->aws_boundary[0])
            buf_printf(&b, "within %s%s ", p->boundary, p->aws_boundary);
        if (p->trust[0])
            buf_printf(&b, "trust %s for %u ", p->trust, p->session_seconds_max);
        for (size_t i = 0; i < p->n_tags; i++)
            buf_printf(&b, "%s/%s ", p->tags[i]->name, p->tags[i]->value);
        if (p->quota)
            buf_printf(&b, "quota %llu ", (unsigned long long)p->quota->bytes_max);
        if (p->refused[0])
            buf_printf(&b, "refused: %s", p->refused);
    } else {
        buf_printf(&b, "absent %s%s%s", p->account_id, p->secret, p->canonical_id);
    }
    buf_u8(&b, 0);
    assert_string_equal((const char *)b.ptr, want);
    buf_fini(&b);
    cairn__read_response__free_unpacked(m, NULL);
    index_reply_fini(&reply);
}

struct fixture {
    Cairn__UserRow user;
    Cairn__GroupRow group;
    Cairn__NamedDocument inlined, *inlines[1], group_inlined, *group_inlines[1];
    char *attached[4], *group_attached[2], *groups[3];
    Cairn__Pair tag, *tags[1];
};

/* User Bob at /division/, in groups dev (there) and gone (not there); policies of all sorts. */
static void make(struct fixture *f)
{
    cairn__user_row__init(&f->user);
    cairn__group_row__init(&f->group);
    cairn__named_document__init(f->inlines[0] = &f->inlined);
    cairn__named_document__init(f->group_inlines[0] = &f->group_inlined);
    cairn__pair__init(f->tags[0] = &f->tag);
    f->inlined.name = str("in");
    f->inlined.document = str("I");
    f->group_inlined.name = str("gin");
    f->group_inlined.document = str("G");
    f->tag.name = str("k");
    f->tag.value = str("v");
    f->user.name = str("Bob");
    f->user.path = str("/division/");
    f->user.inlined = f->inlines;
    f->user.n_inlined = 1;
    f->user.attached = f->attached;
    f->user.groups = f->groups;
    f->user.tags = f->tags;
    f->user.n_tags = 1;
    f->group.name = str("Dev");
    f->group.inlined = f->group_inlines;
    f->group.n_inlined = 1;
    f->group.attached = f->group_attached;
}

static void put_bob(struct world *w, struct fixture *f)
{
    put_row(w, CAIRN__ROW_KIND__ROW_USER, ACCOUNT, "bob", &f->user.base);
}

#define BOB ARN "user/division/Bob canonical enabled acme "

static void a_user_has_what_holds_for_it(void **state)
{
    (void)state;
    struct world w;
    struct fixture f = {0};
    make(&f);
    world_init(&w, ROOT_PARTITION);
    put_account(&w);
    put_key(&w, "bob", true);
    f.user.n_tags = f.user.n_inlined = 0;
    put_bob(&w, &f);
    assert_principal(&w, "AK", BOB);
    f.user.n_tags = f.user.n_inlined = 1;
    put_bob(&w, &f);
    assert_principal(&w, "AK", BOB "in:I k/v ");
    /* Managed ones, in their default version; the same by the user and by a group, once. */
    put_policy(&w, "Read", "/p/", "R", "v2");
    f.attached[f.user.n_attached++] = str(ARN "policy/p/Read");
    f.attached[f.user.n_attached++] = str("arn:aws:iam::aws:policy/ReadOnlyAccess");
    f.groups[f.user.n_groups++] = str("dev");
    f.group_attached[f.group.n_attached++] = str(ARN "policy/p/Read");
    put_bob(&w, &f);
    put_row(&w, CAIRN__ROW_KIND__ROW_GROUP, ACCOUNT, "dev", &f.group.base);
    assert_principal(&w, "AK",
                     BOB "in:I " ARN "policy/p/Read:R gin:G "
                         "aws=arn:aws:iam::aws:policy/ReadOnlyAccess k/v ");
    put_policy(&w, "Read", "/p/", "R", "v1");
    assert_principal(&w, "AK",
                     BOB "in:I " ARN "policy/p/Read:older gin:G "
                         "aws=arn:aws:iam::aws:policy/ReadOnlyAccess k/v ");
    /* Boundaries. */
    f.user.n_attached = f.user.n_groups = 0;
    f.user.boundary = str(ARN "policy/p/Read");
    put_bob(&w, &f);
    assert_principal(&w, "AK",
                     ARN "user/division/Bob canonical enabled bound acme in:I within older k/v ");
    f.user.boundary = str("arn:aws:iam::aws:policy/ReadOnlyAccess");
    put_bob(&w, &f);
    assert_principal(&w, "AK",
                     ARN "user/division/Bob canonical enabled bound acme in:I within "
                         "arn:aws:iam::aws:policy/ReadOnlyAccess k/v ");
    /* A key that is not active says so. */
    put_key(&w, "bob", false);
    assert_principal(&w, "AK",
                     ARN "user/division/Bob canonical bound acme in:I within "
                         "arn:aws:iam::aws:policy/ReadOnlyAccess k/v ");
    world_fini(&w);
}

/* With its key, its user and its root user, as it is at that moment; that of nobody else. */
static void the_quota_of_its_account(void **state)
{
    (void)state;
    struct world w;
    struct fixture f = {0};
    Cairn__Quota quota = CAIRN__QUOTA__INIT, other = CAIRN__QUOTA__INIT;
    make(&f);
    f.user.n_tags = f.user.n_inlined = 0;
    world_init(&w, ROOT_PARTITION);
    put_account(&w);
    put_key(&w, "bob", true);
    put_bob(&w, &f);
    other.bytes_max = 8;
    put_row(&w, CAIRN__ROW_KIND__ROW_QUOTA, QUOTAS_OF_ACCOUNTS, OPERATOR_ACCOUNT, &other.base);
    put_row(&w, CAIRN__ROW_KIND__ROW_QUOTA, "", ACCOUNT, &other.base);
    assert_principal(&w, "AK", BOB);
    quota.bytes_max = 7;
    put_row(&w, CAIRN__ROW_KIND__ROW_QUOTA, QUOTAS_OF_ACCOUNTS, ACCOUNT, &quota.base);
    assert_principal(&w, "AK", BOB "quota 7 ");
    assert_principal(&w, ARN "user/division/Bob", ARN "user/division/Bob canonical acme quota 7 ");
    assert_principal(&w, ARN "root", ARN "root canonical acme quota 7 ");
    put_row(&w, CAIRN__ROW_KIND__ROW_QUOTA, QUOTAS_OF_ACCOUNTS, ACCOUNT, NULL);
    assert_principal(&w, ARN "root", ARN "root canonical acme ");
    world_fini(&w);
}

static void what_is_missing_grants_nothing(void **state)
{
    (void)state;
    struct world w;
    struct fixture f = {0};
    make(&f);
    world_init(&w, ROOT_PARTITION);
    assert_principal(&w, "AK", "absent ");
    put_key(&w, "bob", true);
    assert_principal(&w, "AK", "absent " ACCOUNT); /* no account */
    put_account(&w);
    assert_principal(&w, "AK", "absent " ACCOUNT); /* no user */
    put_key(&w, "", true);
    assert_principal(&w, "AK", ARN "root canonical enabled acme ");
    put_row(&w, CAIRN__ROW_KIND__ROW_ACCOUNT, "", ACCOUNT, NULL);
    assert_principal(&w, "AK", "absent " ACCOUNT);
    put_account(&w);
    put_key(&w, "bob", true);
    /* Groups and policies that are not there; a policy at another path, of another case, of another
     * account; ARNs that are none. */
    put_policy(&w, "Read", "/p/", "R", "v2");
    put_row(&w, CAIRN__ROW_KIND__ROW_POLICY, OPERATOR_ACCOUNT, "read", &f.group.base);
    f.groups[f.user.n_groups++] = str("gone");
    f.groups[f.user.n_groups++] = str("");
    static const char *const dangling[] = {ARN "policy/Read",
                                           ARN "policy/p/READ",
                                           ARN "policy/p/Gone",
                                           ARN "policy/",
                                           ARN "user/p/Read",
                                           "arn:aws:iam::" OPERATOR_ACCOUNT ":policy/p/Read",
                                           "arn:aws:iam::",
                                           "Read",
                                           "",
                                           "arn:aws:iam::aws:policies/x"};
    for (size_t i = 0; i < ARRAY_COUNT(dangling); i++) {
        f.attached[0] = str(dangling[i]);
        f.user.n_attached = 1;
        f.user.boundary = str("");
        put_bob(&w, &f);
        assert_principal(&w, "AK", BOB "in:I k/v ");
        if (!dangling[i][0])
            continue; /* no boundary at all */
        f.user.boundary = str(dangling[i]);
        f.user.n_attached = 0;
        put_bob(&w, &f);
        assert_principal(&w, "AK", ARN "user/division/Bob canonical enabled bound acme in:I k/v ");
    }
    put_row(&w, CAIRN__ROW_KIND__ROW_USER, ACCOUNT, "bob", NULL);
    assert_principal(&w, "AK", "absent " ACCOUNT);
    put_row(&w, CAIRN__ROW_KIND__ROW_ACCESS_KEY, "", "AK", NULL);
    assert_principal(&w, "AK", "absent ");
    world_fini(&w);
}

/* A value that is no row of its kind at all. */
static void put_nonsense(struct world *w, unsigned kind, const char *name)
{
    struct cmd c;
    Cairn__ChangeRows op = CAIRN__CHANGE_ROWS__INIT;
    Cairn__RowChange change = CAIRN__ROW_CHANGE__INIT, *changes = &change;
    cmd_init(w, &c);
    change.kind = kind;
    change.scope = str(ACCOUNT);
    change.name = str(name);
    change.value = (ProtobufCBinaryData){3, (uint8_t *)(uintptr_t) "\x0a\x7fx"};
    op.changes = &changes;
    op.n_changes = 1;
    c.touches[c.msg.n_touches++] = keyhash_account(SLICE_LIT(ACCOUNT));
    c.msg.op_case = CAIRN__COMMAND__OP_CHANGE_ROWS;
    c.msg.change_rows = &op;
    assert_int_equal(world_run(w, &c), OK);
}

#define REFUSED(why) ARN "user/division/Bob canonical enabled bound acme refused: " why
#define TOO_MUCH REFUSED("it has more policies than can hold for one")
#define UNREADABLE REFUSED("a group or policy of it cannot be read")

static void what_cannot_be_read_is_missing(void **state)
{
    (void)state;
    struct world w;
    world_init(&w, ROOT_PARTITION);
    put_account(&w);
    put_key(&w, "bob", true);
    put_nonsense(&w, CAIRN__ROW_KIND__ROW_USER, "bob");
    assert_principal(&w, "AK", "absent " ACCOUNT);
    world_fini(&w);
}

/* But of what gives a user its policies it is not: it may have denied something. */
static void what_cannot_be_read_may_deny(void **state)
{
    (void)state;
    struct world w;
    struct fixture f = {0};
    make(&f);
    world_init(&w, ROOT_PARTITION);
    put_account(&w);
    put_key(&w, "bob", true);
    f.user.n_tags = 0;
    f.groups[f.user.n_groups++] = str("dev");
    put_bob(&w, &f);
    put_nonsense(&w, CAIRN__ROW_KIND__ROW_GROUP, "dev");
    assert_principal(&w, "AK", UNREADABLE);
    f.user.n_groups = 0;
    f.attached[f.user.n_attached++] = str(ARN "policy/p/Read");
    put_bob(&w, &f);
    put_nonsense(&w, CAIRN__ROW_KIND__ROW_POLICY, "read");
    assert_principal(&w, "AK", UNREADABLE);
    /* So may one that is there without what holds of it. */
    put_row(&w, CAIRN__ROW_KIND__ROW_POLICY, ACCOUNT, "read", NULL);
    put_policy(&w, "Read", "/p/", "R", "v3");
    assert_principal(&w, "AK", UNREADABLE);
    f.user.n_attached = 0;
    f.user.boundary = str(ARN "policy/p/Read");
    put_bob(&w, &f);
    assert_principal(&w, "AK", UNREADABLE);
    world_fini(&w);
}

static void by_arn(void **state)
{
    (void)state;
    struct world w;
    struct fixture f = {0};
    Cairn__RoleRow role = CAIRN__ROLE_ROW__INIT;
    make(&f);
    world_init(&w, ROOT_PARTITION);
    assert_principal(&w, ARN "root", "absent " ACCOUNT);
    put_account(&w);
    put_bob(&w, &f);
    role.name = str("Deploy");
    role.trust = str("T");
    role.session_seconds_max = 3600;
    role.inlined = f.inlines;
    role.n_inlined = 1;
    role.boundary = str(ARN "policy/Gone");
    put_row(&w, CAIRN__ROW_KIND__ROW_ROLE, ACCOUNT, "deploy", &role.base);
    assert_principal(&w, ARN "root", ARN "root canonical acme ");
    assert_principal(&w, ARN "user/division/Bob", ARN "user/division/Bob canonical acme in:I k/v ");
    assert_principal(&w, ARN "role/Deploy",
                     ARN "role/Deploy canonical bound acme in:I trust T for 3600 ");
    static const char *const none[] = {
        ARN "user/Bob",
        ARN "user/division/bob",
        ARN "user/division/Eve",
        ARN "role/Bob",
        ARN "user/",
        ARN "group/Dev",
        ARN "roots",
        ARN,
        ARN "role/Gone",
    };
    for (size_t i = 0; i < ARRAY_COUNT(none); i++)
        assert_principal(&w, none[i], "absent " ACCOUNT);
    assert_principal(&w, "arn:aws:iam::1:root", "absent 1");
    assert_principal(&w, "arn:aws:iam:::root", "absent ");
    assert_principal(&w, "arn:aws:sts::" ACCOUNT ":root", "absent ");
    assert_principal(&w, "arn:", "absent ");
    world_fini(&w);
}

/* Who has more than fits may do nothing: what is left out might have denied something. */
static void too_much_is_nothing(void **state)
{
    (void)state;
    enum { GROUPS = 18, MANY = PRINCIPAL_ROWS_MAX };
    struct world w;
    struct fixture f = {0};
    struct buf document = {0};
    char names[MANY][8], *groups[MANY];
    make(&f);
    world_init(&w, ROOT_PARTITION);
    put_account(&w);
    put_key(&w, "bob", true);
    for (size_t i = 0; i < PRINCIPAL_BYTES_MAX / (GROUPS - 1); i++)
        buf_u8(&document, 'd');
    buf_u8(&document, 0);
    f.group_inlined.document = (char *)document.ptr;
    for (int i = 0; i < MANY; i++) {
        snprintf(names[i], sizeof(names[i]), "g%d", i % 1000);
        groups[i] = names[i];
        if (i < GROUPS)
            put_row(&w, CAIRN__ROW_KIND__ROW_GROUP, ACCOUNT, names[i], &f.group.base);
    }
    f.user.groups = groups;
    f.user.n_groups = GROUPS;
    f.user.n_tags = 0;
    put_bob(&w, &f);
    assert_principal(&w, "AK", TOO_MUCH);
    /* So is too many rows. */
    for (int i = 0; i < GROUPS; i++)
        put_row(&w, CAIRN__ROW_KIND__ROW_GROUP, ACCOUNT, names[i], NULL);
    f.user.n_groups = MANY - 3;
    put_bob(&w, &f);
    assert_principal(&w, "AK", BOB "in:I ");
    f.user.n_groups = MANY - 2;
    put_bob(&w, &f);
    assert_principal(&w, "AK", TOO_MUCH);
    buf_fini(&document);
    world_fini(&w);
}

/* ---- founding ---- */

static void found(struct world *w, bool earlier, bool is_root)
{
    struct cmd c;
    Cairn__UserRecord user = CAIRN__USER_RECORD__INIT;
    Cairn__AccessKeyRecord old = CAIRN__ACCESS_KEY_RECORD__INIT;
    Cairn__AccountRow account = CAIRN__ACCOUNT_ROW__INIT;
    Cairn__AccessKeyRow key = CAIRN__ACCESS_KEY_ROW__INIT;
    Cairn__Bootstrap op = CAIRN__BOOTSTRAP__INIT;
    cmd_init(w, &c);
    user.user_id = account.canonical_id = old.user_id = str("canonical-0");
    user.name = account.name = old.user_name = str("root");
    user.is_root = old.is_root = is_root;
    old.access_key_id = key.access_key_id = str("OLD");
    old.secret = key.secret = str("shh");
    old.enabled = key.enabled = true;
    account.account_id = key.account_id = str(OPERATOR_ACCOUNT);
    op.cluster_id = c.msg.write_id;
    if (earlier) {
        op.root_user = &user;
        op.root_key = &old;
        c.touches[c.msg.n_touches++] = keyhash_user(slice_cstr(user.user_id));
    } else {
        op.account = &account;
        op.account_key = &key;
        c.touches[c.msg.n_touches++] = keyhash_account(SLICE_LIT(OPERATOR_ACCOUNT));
    }
    c.touches[c.msg.n_touches++] = keyhash_access_key(SLICE_LIT("OLD"));
    c.msg.op_case = CAIRN__COMMAND__OP_BOOTSTRAP;
    c.msg.bootstrap = &op;
    assert_int_equal(world_run(w, &c), OK);
}

static void assert_rows(struct world *w, unsigned kind, const char *want)
{
    struct buf b = {0};
    Cairn__ListRowsResponse *r = rows_of(w, kind, "", "", true);
    for (size_t i = 0; i < r->n_rows; i++) {
        buf_printf(&b, "%s/%s ", r->rows[i]->scope, r->rows[i]->name);
        uint64_t version = version_of(w, r->rows[i]->kind, r->rows[i]->scope, r->rows[i]->name);
        assert_int_equal(r->rows[i]->version, version);
    }
    buf_u8(&b, 0);
    assert_string_equal((const char *)b.ptr, want);
    buf_fini(&b);
    cairn__list_rows_response__free_unpacked(r, NULL);
}

#define OPERATOR "arn:aws:iam::" OPERATOR_ACCOUNT ":root canonical-0"

/* The same for whoever founded the cluster: the operator, found by its key and its ARN. */
static void the_operator(void **state)
{
    (void)state;
    for (int earlier = 0; earlier < 2; earlier++) {
        struct world w;
        world_init(&w, ROOT_PARTITION);
        assert_int_equal(index_advance(w.index, 1, 1), OK);
        found(&w, earlier, true);
        assert_principal(&w, "OLD", OPERATOR " enabled operator root ");
        assert_principal(&w, "arn:aws:iam::" OPERATOR_ACCOUNT ":root", OPERATOR " operator root ");
        assert_rows(&w, CAIRN__ROW_KIND__ROW_ACCOUNT, "/" OPERATOR_ACCOUNT " ");
        assert_rows(&w, CAIRN__ROW_KIND__ROW_ACCESS_KEY, "/OLD ");
        assert_rows(&w, CAIRN__ROW_KIND__ROW_ACCOUNT_NAME, "canonical/canonical-0 name/root ");
        /* Other rows around it, and users of it. */
        Cairn__AccessKeyRow key = CAIRN__ACCESS_KEY_ROW__INIT;
        Cairn__UserRow user = CAIRN__USER_ROW__INIT;
        key.account_id = str(OPERATOR_ACCOUNT);
        key.secret = str("s");
        put_row(&w, CAIRN__ROW_KIND__ROW_ACCESS_KEY, "", "A", &key.base);
        key.user = str("u");
        put_row(&w, CAIRN__ROW_KIND__ROW_ACCESS_KEY, "", "Z", &key.base);
        user.name = str("u");
        put_row(&w, CAIRN__ROW_KIND__ROW_USER, OPERATOR_ACCOUNT, "u", &user.base);
        assert_rows(&w, CAIRN__ROW_KIND__ROW_ACCESS_KEY, "/A /OLD /Z ");
        assert_principal(&w, "A", OPERATOR " operator root ");
        assert_principal(&w, "Z", "arn:aws:iam::" OPERATOR_ACCOUNT ":user/u canonical-0 root ");
        /* Its account is changed, and stays; its first key is changed, and goes for good. */
        Cairn__AccountRow account = CAIRN__ACCOUNT_ROW__INIT;
        account.account_id = str(OPERATOR_ACCOUNT);
        account.canonical_id = str("canonical-0");
        account.display_name = str("new");
        put_row(&w, CAIRN__ROW_KIND__ROW_ACCOUNT, "", OPERATOR_ACCOUNT, &account.base);
        assert_principal(&w, "OLD", OPERATOR " enabled operator new ");
        assert_rows(&w, CAIRN__ROW_KIND__ROW_ACCOUNT, "/" OPERATOR_ACCOUNT " ");
        assert_int_equal(write_row(&w, CAIRN__ROW_KIND__ROW_ACCOUNT, "", OPERATOR_ACCOUNT, NULL),
                         ERR_INVAL);
        key.user = str("");
        put_row(&w, CAIRN__ROW_KIND__ROW_ACCESS_KEY, "", "OLD", &key.base);
        assert_principal(&w, "OLD", OPERATOR " operator new ");
        assert_rows(&w, CAIRN__ROW_KIND__ROW_ACCESS_KEY, "/A /OLD /Z ");
        put_row(&w, CAIRN__ROW_KIND__ROW_ACCESS_KEY, "", "OLD", NULL);
        assert_principal(&w, "OLD", "absent ");
        assert_rows(&w, CAIRN__ROW_KIND__ROW_ACCESS_KEY, "/A /Z ");
        world_fini(&w);
    }
}

/* The first change of a key of an earlier release may be the last. */
static void an_old_key_is_removed(void **state)
{
    (void)state;
    struct world w;
    world_init(&w, ROOT_PARTITION);
    assert_int_equal(index_advance(w.index, 1, 1), OK);
    found(&w, true, true);
    put_row(&w, CAIRN__ROW_KIND__ROW_ACCESS_KEY, "", "OLD", NULL);
    assert_principal(&w, "OLD", "absent ");
    assert_rows(&w, CAIRN__ROW_KIND__ROW_ACCESS_KEY, "");
    world_fini(&w);
    /* What was not the root user's, which no release made, is nobody's. */
    world_init(&w, ROOT_PARTITION);
    found(&w, true, false);
    assert_principal(&w, "OLD", "absent ");
    world_fini(&w);
}

/* ---- out of memory ---- */

/* The n-th allocation failing: the reply is whole, or there is none. */
static void want_of_memory_is_no_absence(void **state)
{
    (void)state;
    static const char *const ids[] = {"AK", ARN "user/division/Bob", "OLD", "NOBODY"};
    struct world w;
    struct fixture f = {0};
    make(&f);
    world_init(&w, ROOT_PARTITION);
    assert_int_equal(index_advance(w.index, 1, 1), OK);
    found(&w, true, true);
    put_account(&w);
    put_key(&w, "bob", true);
    put_policy(&w, "Read", "/p/", "R", "v2");
    f.attached[f.user.n_attached++] = str(ARN "policy/p/Read");
    f.groups[f.user.n_groups++] = str("dev");
    f.user.boundary = str(ARN "policy/p/Read");
    put_bob(&w, &f);
    put_row(&w, CAIRN__ROW_KIND__ROW_GROUP, ACCOUNT, "dev", &f.group.base);
    for (size_t i = 0; i < ARRAY_COUNT(ids); i++) {
        struct index_view view;
        struct buf want = {0};
        bool there;
        index_view_init(&view, w.index, NULL);
        assert_int_equal(principal_find(&view, slice_cstr(ids[i]), &there, &want), OK);
        assert_int_equal(there, i < 3);
        uint64_t n = 0;
        for (bool failed = true; failed; n++) {
            struct buf got = {0};
            bool present;
            alloc_fail_at(n);
            int err = principal_find(&view, slice_cstr(ids[i]), &present, &got);
            failed = alloc_fail_end();
            assert_int_equal(err, failed ? ERR_NOMEM : OK);
            if (!failed)
                assert_true(present == there && slice_eq(buf_view(&got), buf_view(&want)));
            buf_fini(&got);
        }
        assert_true(n > 1);
        buf_fini(&want);
    }
    world_fini(&w);
}

static void want_of_memory_while_rows_change(void **state)
{
    (void)state;
    uint64_t n = 0;
    for (bool failed = true; failed; n++) {
        struct world w;
        struct cmd c;
        Cairn__ChangeRows op = CAIRN__CHANGE_ROWS__INIT;
        Cairn__RowChange change = CAIRN__ROW_CHANGE__INIT, *changes = &change;
        struct buf data = {0}, before = {0}, after = {0};
        Cairn__Outcome *out = NULL;
        world_init(&w, ROOT_PARTITION);
        assert_int_equal(index_advance(w.index, 1, 1), OK);
        found(&w, true, true);
        cmd_init(&w, &c);
        change.kind = CAIRN__ROW_KIND__ROW_ACCESS_KEY;
        change.name = str("OLD");
        change.expected_version = 1;
        change.value = (ProtobufCBinaryData){3, (uint8_t *)(uintptr_t) "\x1a\x01"
                                                                       "1"};
        op.changes = &changes;
        op.n_changes = 1;
        c.touches[0] = keyhash_account(SLICE_LIT("1"));
        c.touches[1] = keyhash_account(SLICE_LIT(OPERATOR_ACCOUNT));
        c.touches[2] = keyhash_access_key(SLICE_LIT("OLD"));
        c.msg.n_touches = 3;
        c.msg.op_case = CAIRN__COMMAND__OP_CHANGE_ROWS;
        c.msg.change_rows = &op;
        index_entry_pack(&c.msg, SLICE_EMPTY, &data);
        dump(w.store, ROOT_PARTITION, &before);
        uint64_t at = index_applied(w.index) + 1;
        alloc_fail_at(n);
        int err = index_apply(w.index, at, 1, buf_view(&data), &out);
        failed = alloc_fail_end();
        if (failed) {
            assert_int_equal(err, ERR_NOMEM);
            dump(w.store, ROOT_PARTITION, &after);
            assert_true(slice_eq(buf_view(&before), buf_view(&after)));
            err = index_apply(w.index, at, 1, buf_view(&data), &out);
        }
        assert_int_equal(err, OK);
        assert_int_equal(out->err, OK);
        cairn__outcome__free_unpacked(out, NULL);
        buf_fini(&data);
        buf_fini(&before);
        buf_fini(&after);
        world_fini(&w);
    }
    assert_true(n > 5);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_user_has_what_holds_for_it),
        cmocka_unit_test(the_quota_of_its_account),
        cmocka_unit_test(what_is_missing_grants_nothing),
        cmocka_unit_test(what_cannot_be_read_is_missing),
        cmocka_unit_test(what_cannot_be_read_may_deny),
        cmocka_unit_test(by_arn),
        cmocka_unit_test(too_much_is_nothing),
        cmocka_unit_test(the_operator),
        cmocka_unit_test(an_old_key_is_removed),
        cmocka_unit_test(want_of_memory_is_no_absence),
        cmocka_unit_test(want_of_memory_while_rows_change),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
