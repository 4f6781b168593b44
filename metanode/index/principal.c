/* A principal: who a request is of, with everything that decides what it may.
 *
 *   access key id ─► key ─► account ─► user ─► its groups ─┐
 *   ARN ───────────────────► account ─► user, role, root   ├─► managed policies, boundary
 *                                                          ┘
 * All rows are read from one view, so that a principal is of one moment.
 *
 * Whatever is missing never grants anything: a key without its account or user is no principal; a
 * group that is gone gives nothing; a policy that is gone, or is not what its ARN says any more, is
 * left out; a boundary that is gone leaves has_boundary, within which nothing is.  Nor does what is
 * too much, or there and cannot be read: who has such may do nothing ("refused"), because what is
 * left out might have denied something.
 *
 * But for the key itself, all that is looked at lies in one account: that of the key, or of the
 * ARN. So an ARN of a policy of another account counts as gone.  gateway/cache/cache.c relies on
 * it.
 *
 * The account's quota comes along: the gateway that asks whether its buckets may take more knows it
 * as it knows who asks. */
#include "metanode/index/principal.h"

#include "common/base/check.h"
#include "metanode/index/registry.h"
#include "proto/registry.h"

#define ARN_PREFIX "arn:aws:iam::"
#define ARN_AWS_POLICY ARN_PREFIX "aws:policy/"

enum { LIST_CAP_FIRST = 8 };

/* A growing array of pointers in the arena. */
struct pointers {
    void **at;
    size_t count, cap;
};

struct composer {
    const struct index_view *view;
    struct index_arena arena;
    struct buf scratch;
    struct slice account;
    Cairn__PrincipalRecord p;
    struct pointers policies, aws_managed, seen; /* seen: ARNs of managed policies */
    size_t bytes, rows;
    const char *refused; /* NULL: it is not */
};

static const char too_much[] = "it has more policies than can hold for one";
static const char unreadable[] = "a group or policy of it cannot be read";

static int push(struct composer *c, struct pointers *list, const void *p)
{
    if (list->count == list->cap) {
        size_t cap = list->cap ? 2 * list->cap : LIST_CAP_FIRST;
        void **at = index_arena_alloc(&c->arena, cap * sizeof(void *));
        if (!at)
            return ERR_NOMEM;
        if (list->count)
            memcpy(at, list->at, list->count * sizeof(void *));
        list->at = at;
        list->cap = cap;
    }
    list->at[list->count++] = (void *)(uintptr_t)p;
    return OK;
}

/* The value of a row, in the arena; *ret NULL: there is none, or, with c->refused, none that can be
 * read. */
static int row(struct composer *c, Cairn__RowKind kind, struct slice scope, struct slice name,
               const ProtobufCMessageDescriptor *type, void *ret)
{
    ProtobufCMessage *m = NULL;
    struct slice value;
    static const uint8_t none;
    *(void **)ret = NULL;
    if (name.len == 0 || name.len > INDEX_ROW_NAME_BYTES_MAX ||
        scope.len > INDEX_ROW_SCOPE_BYTES_MAX)
        return OK;
    if (c->rows++ >= PRINCIPAL_ROWS_MAX) {
        c->refused = too_much;
        return OK;
    }
    const struct index_view *v = c->view;
    int err = registry_value(v->kv, v->snap, v->partition, (uint16_t)kind, scope, name, &c->scratch,
                             &value);
    if (err)
        return err == ERR_NOT_FOUND ? OK : err;
    m = protobuf_c_message_unpack(type, &c->arena.allocator, value.len,
                                  value.len ? value.ptr : &none);
    if (!m && c->arena.failed)
        return ERR_NOMEM;
    if (!m)
        c->refused = unreadable;
    *(void **)ret = m;
    return OK;
}

/* ---- names ---- */

static char *join(struct composer *c, const struct slice *parts, size_t count)
{
    size_t bytes = 1;
    for (size_t i = 0; i < count; i++)
        bytes += parts[i].len;
    char *s = index_arena_alloc(&c->arena, bytes), *at = s;
    for (size_t i = 0; s && i < count; at += parts[i++].len)
        if (parts[i].len)
            memcpy(at, parts[i].ptr, parts[i].len);
    if (s)
        *at = 0;
    return s;
}

static struct slice path_of(const char *path)
{
    struct slice s = string_of(path);
    return s.len ? s : SLICE_LIT("/");
}

/* arn:aws:iam::ACCOUNT:what/path/name; NULL: no memory. */
static char *arn_of(struct composer *c, const char *what, const char *path, const char *name)
{
    struct slice parts[] = {SLICE_LIT(ARN_PREFIX), c->account,    SLICE_LIT(":"),
                            slice_cstr(what),      path_of(path), string_of(name)};
    return join(c, parts, ARRAY_COUNT(parts));
}

/* Names of rows are in lower case, because IAM's differ by more than case. */
static int lower(struct composer *c, struct slice name, struct slice *ret)
{
    uint8_t *p = index_arena_alloc(&c->arena, name.len + 1);
    if (!p)
        return ERR_NOMEM;
    for (size_t i = 0; i < name.len; i++)
        p[i] =
            name.ptr[i] >= 'A' && name.ptr[i] <= 'Z' ? (uint8_t)(name.ptr[i] | 0x20) : name.ptr[i];
    *ret = SLICE(p, name.len);
    return OK;
}

/* Takes an ARN of IAM apart: the account, and what follows it.  false: it is none. */
static bool arn_split(struct slice arn, struct slice *ret_account, struct slice *ret_rest)
{
    if (!slice_has_prefix(arn, SLICE_LIT(ARN_PREFIX)))
        return false;
    size_t skip = sizeof(ARN_PREFIX) - 1;
    struct slice s = SLICE(arn.ptr + skip, arn.len - skip);
    const uint8_t *colon = s.len ? memchr(s.ptr, ':', s.len) : NULL;
    if (!colon || colon == s.ptr || (size_t)(colon - s.ptr) > INDEX_ROW_SCOPE_BYTES_MAX)
        return false;
    *ret_account = SLICE(s.ptr, (size_t)(colon - s.ptr));
    *ret_rest = SLICE(colon + 1, s.len - ret_account->len - 1);
    return !memchr(arn.ptr, 0, arn.len);
}

/* Of "what/path/name" the name, as rows are named; empty: it is nothing of that sort. */
static int name_in(struct composer *c, struct slice rest, struct slice what, struct slice *ret)
{
    *ret = SLICE_EMPTY;
    if (!slice_has_prefix(rest, what))
        return OK;
    const uint8_t *slash = memrchr(rest.ptr, '/', rest.len);
    return slash ? lower(c, SLICE(slash + 1, (size_t)(rest.ptr + rest.len - slash) - 1), ret) : OK;
}

/* ---- policies ---- */

static bool fits(struct composer *c, struct slice document)
{
    c->bytes += document.len;
    if (c->bytes > PRINCIPAL_BYTES_MAX)
        c->refused = too_much;
    return !c->refused;
}

static int add_inlined(struct composer *c, Cairn__NamedDocument *const *documents, size_t count)
{
    int err = OK;
    for (size_t i = 0; !err && i < count; i++)
        if (fits(c, string_of(documents[i]->document)))
            err = push(c, &c->policies, documents[i]);
    return err;
}

static char *default_document(const Cairn__PolicyRow *policy)
{
    struct slice id = string_of(policy->default_version);
    for (size_t i = 0; i < policy->n_versions; i++)
        if (slice_eq(string_of(policy->versions[i]->id), id))
            return policy->versions[i]->document;
    return NULL;
}

/* The document of a managed policy of the account's own; *ret NULL: it is gone. */
static int managed_document(struct composer *c, struct slice arn, char **ret)
{
    struct slice account, rest, name;
    Cairn__PolicyRow *policy;
    *ret = NULL;
    if (!arn_split(arn, &account, &rest) || !slice_eq(account, c->account))
        return OK;
    int err = name_in(c, rest, SLICE_LIT("policy/"), &name);
    if (!err)
        err = row(c, CAIRN__ROW_KIND__ROW_POLICY, account, name, &cairn__policy_row__descriptor,
                  &policy);
    if (err || !policy)
        return err;
    const char *now = arn_of(c, "policy", policy->path, policy->name);
    if (!now)
        return ERR_NOMEM;
    if (!slice_eq(slice_cstr(now), arn))
        return OK;
    *ret = default_document(policy);
    if (!*ret)
        c->refused = unreadable;
    return OK;
}

static bool is_seen(const struct composer *c, const char *arn)
{
    for (size_t i = 0; i < c->seen.count; i++)
        if (strcmp(c->seen.at[i], arn) == 0)
            return true;
    return false;
}

static int add_attached(struct composer *c, char *arn)
{
    char *document;
    if (is_seen(c, arn))
        return OK; /* by the user, and by a group */
    int err = push(c, &c->seen, arn);
    if (err)
        return err;
    if (slice_has_prefix(slice_cstr(arn), SLICE_LIT(ARN_AWS_POLICY)))
        return fits(c, slice_cstr(arn)) ? push(c, &c->aws_managed, arn) : OK;
    err = managed_document(c, slice_cstr(arn), &document);
    if (err || !document || !fits(c, slice_cstr(document)))
        return err;
    Cairn__NamedDocument *named = index_arena_alloc(&c->arena, sizeof(*named));
    if (!named)
        return ERR_NOMEM;
    cairn__named_document__init(named);
    named->name = arn;
    named->document = document;
    return push(c, &c->policies, named);
}

static int add_policies(struct composer *c, Cairn__NamedDocument *const *inlined, size_t n_inlined,
                        char *const *attached, size_t n_attached)
{
    int err = add_inlined(c, inlined, n_inlined);
    for (size_t i = 0; !err && !c->refused && i < n_attached; i++)
        err = add_attached(c, attached[i]);
    return err;
}

static int set_boundary(struct composer *c, char *arn)
{
    char *document;
    if (string_of(arn).len == 0)
        return OK;
    c->p.has_boundary = true;
    if (slice_has_prefix(slice_cstr(arn), SLICE_LIT(ARN_AWS_POLICY))) {
        c->p.aws_boundary = arn;
        return OK;
    }
    int err = managed_document(c, slice_cstr(arn), &document);
    if (!err && document && fits(c, slice_cstr(document)))
        c->p.boundary = document;
    return err;
}

/* ---- who it is; each sets *ret_present ---- */

static int compose_user(struct composer *c, struct slice name, bool *ret_present)
{
    Cairn__UserRow *user;
    int err =
        row(c, CAIRN__ROW_KIND__ROW_USER, c->account, name, &cairn__user_row__descriptor, &user);
    *ret_present = user != NULL;
    if (err || !user)
        return err;
    c->p.type = CAIRN__PRINCIPAL_TYPE__PRINCIPAL_USER;
    c->p.name = user->name;
    c->p.unique_id = user->unique_id;
    c->p.created_ms = user->created_ms;
    c->p.tags = user->tags;
    c->p.n_tags = user->n_tags;
    c->p.arn = arn_of(c, "user", user->path, user->name);
    err = c->p.arn ? set_boundary(c, user->boundary) : ERR_NOMEM;
    if (!err)
        err = add_policies(c, user->inlined, user->n_inlined, user->attached, user->n_attached);
    for (size_t i = 0; !err && !c->refused && i < user->n_groups; i++) {
        Cairn__GroupRow *group;
        err = row(c, CAIRN__ROW_KIND__ROW_GROUP, c->account, slice_cstr(user->groups[i]),
                  &cairn__group_row__descriptor, &group);
        if (!err && group)
            err = add_policies(c, group->inlined, group->n_inlined, group->attached,
                               group->n_attached);
    }
    return err;
}

static int compose_role(struct composer *c, struct slice name, bool *ret_present)
{
    Cairn__RoleRow *role;
    int err =
        row(c, CAIRN__ROW_KIND__ROW_ROLE, c->account, name, &cairn__role_row__descriptor, &role);
    *ret_present = role != NULL;
    if (err || !role)
        return err;
    c->p.type = CAIRN__PRINCIPAL_TYPE__PRINCIPAL_ROLE;
    c->p.name = role->name;
    c->p.unique_id = role->unique_id;
    c->p.created_ms = role->created_ms;
    c->p.tags = role->tags;
    c->p.n_tags = role->n_tags;
    c->p.trust = role->trust;
    c->p.session_seconds_max = role->session_seconds_max;
    c->p.arn = arn_of(c, "role", role->path, role->name);
    err = c->p.arn ? set_boundary(c, role->boundary) : ERR_NOMEM;
    return err ? err
               : add_policies(c, role->inlined, role->n_inlined, role->attached, role->n_attached);
}

static int compose_root(struct composer *c, const Cairn__AccountRow *account, bool *ret_present)
{
    struct slice arn[] = {SLICE_LIT(ARN_PREFIX), c->account, SLICE_LIT(":root")};
    *ret_present = true;
    c->p.type = CAIRN__PRINCIPAL_TYPE__PRINCIPAL_ROOT;
    c->p.name = account->name;
    c->p.unique_id = c->p.account_id;
    c->p.created_ms = account->created_ms;
    c->p.is_operator = slice_eq(c->account, SLICE_LIT(OPERATOR_ACCOUNT));
    c->p.arn = join(c, arn, ARRAY_COUNT(arn));
    return c->p.arn ? OK : ERR_NOMEM;
}

/* The account, which all is of. */
static int compose_account(struct composer *c, struct slice id, Cairn__AccountRow **ret)
{
    c->account = id;
    c->p.account_id = join(c, &id, 1);
    int err = c->p.account_id ? row(c, CAIRN__ROW_KIND__ROW_ACCOUNT, SLICE_EMPTY, id,
                                    &cairn__account_row__descriptor, ret)
                              : ERR_NOMEM;
    if (err || !*ret)
        return err;
    c->p.canonical_id = (*ret)->canonical_id;
    c->p.account_display_name =
        string_of((*ret)->display_name).len ? (*ret)->display_name : (*ret)->name;
    err = row(c, CAIRN__ROW_KIND__ROW_QUOTA, SLICE_LIT(QUOTAS_OF_ACCOUNTS), id,
              &cairn__quota__descriptor, &c->p.quota);
    c->rows--; /* says nothing of what it may */
    return err;
}

static int compose_key(struct composer *c, struct slice id, bool *ret_present)
{
    Cairn__AccessKeyRow *key;
    Cairn__AccountRow *account = NULL;
    int err = row(c, CAIRN__ROW_KIND__ROW_ACCESS_KEY, SLICE_EMPTY, id,
                  &cairn__access_key_row__descriptor, &key);
    if (!err && key)
        err = compose_account(c, string_of(key->account_id), &account);
    if (err || !account)
        return err;
    err = string_of(key->user).len ? compose_user(c, string_of(key->user), ret_present)
                                   : compose_root(c, account, ret_present);
    c->p.access_key_id = join(c, &id, 1);
    c->p.secret = key->secret;
    c->p.enabled = key->enabled;
    return err || c->p.access_key_id ? err : ERR_NOMEM;
}

static int compose_arn(struct composer *c, struct slice arn, bool *ret_present)
{
    struct slice id, rest, user, role;
    Cairn__AccountRow *account = NULL;
    if (!arn_split(arn, &id, &rest))
        return OK;
    int err = compose_account(c, id, &account);
    if (!err)
        err = name_in(c, rest, SLICE_LIT("user/"), &user);
    if (!err)
        err = name_in(c, rest, SLICE_LIT("role/"), &role);
    if (err || !account)
        return err;
    if (user.len)
        err = compose_user(c, user, ret_present);
    else if (role.len)
        err = compose_role(c, role, ret_present);
    else if (slice_eq(rest, SLICE_LIT("root")))
        err = compose_root(c, account, ret_present);
    /* Another path, or a name that differs by case: somebody else was meant. */
    if (!err && *ret_present)
        *ret_present = slice_eq(string_of(c->p.arn), arn);
    return err;
}

/* ---- the record ---- */

static int pack(struct composer *c, bool present, struct buf *ret)
{
    Cairn__PrincipalRecord absent = CAIRN__PRINCIPAL_RECORD__INIT, *p = present ? &c->p : &absent;
    absent.account_id = c->p.account_id;
    c->p.policies = (Cairn__NamedDocument **)c->policies.at;
    c->p.n_policies = c->policies.count;
    c->p.aws_managed = (char **)c->aws_managed.at;
    c->p.n_aws_managed = c->aws_managed.count;
    if (c->refused) {
        c->p.refused = (char *)(uintptr_t)c->refused;
        c->p.n_policies = c->p.n_aws_managed = 0;
        c->p.has_boundary = true;
        c->p.boundary = c->p.aws_boundary = NULL;
    }
    buf_clear(ret);
    if (buf_reserve(ret, cairn__principal_record__get_packed_size(p) + 1) != OK)
        return ERR_NOMEM;
    ret->len = cairn__principal_record__pack(p, ret->ptr);
    return OK;
}

int principal_find(const struct index_view *view, struct slice id, bool *ret_present,
                   struct buf *ret)
{
    struct composer c = {.view = view, .p = CAIRN__PRINCIPAL_RECORD__INIT};
    bool present = false;
    index_arena_init(&c.arena);
    int err = slice_has_prefix(id, SLICE_LIT("arn:")) ? compose_arn(&c, id, &present)
                                                      : compose_key(&c, id, &present);
    if (!err)
        err = pack(&c, present, ret);
    if (!err)
        *ret_present = present;
    index_arena_fini(&c.arena);
    buf_fini(&c.scratch);
    return err;
}
