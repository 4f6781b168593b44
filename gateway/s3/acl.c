/* Reading, writing and asking access control lists. */
#include "gateway/s3/acl.h"

#include "common/base/check.h"
#include "gateway/s3/xml_reader.h"

#define GROUPS_URI "http://acs.amazonaws.com/groups/"
#define XSI "http://www.w3.org/2001/XMLSchema-instance"
#define CANONICAL_ID_CHARS 64

static const struct {
    const char *name;
    unsigned permission;
    const char *field;
} permissions[] = {
    {"FULL_CONTROL", S3_PERMIT_FULL, "x-amz-grant-full-control"},
    {"READ", S3_PERMIT_READ, "x-amz-grant-read"},
    {"WRITE", S3_PERMIT_WRITE, "x-amz-grant-write"},
    {"READ_ACP", S3_PERMIT_READ_ACP, "x-amz-grant-read-acp"},
    {"WRITE_ACP", S3_PERMIT_WRITE_ACP, "x-amz-grant-write-acp"},
};

static const struct {
    enum s3_grantee grantee;
    const char *uri;
} groups[] = {
    {S3_GRANTEE_ALL_USERS, GROUPS_URI "global/AllUsers"},
    {S3_GRANTEE_AUTHENTICATED_USERS, GROUPS_URI "global/AuthenticatedUsers"},
    {S3_GRANTEE_LOG_DELIVERY, GROUPS_URI "s3/LogDelivery"},
};

static const struct {
    enum s3_canned canned;
    const char *name;
} canned_names[] = {
    {S3_CANNED_PRIVATE, "private"},
    {S3_CANNED_PUBLIC_READ, "public-read"},
    {S3_CANNED_PUBLIC_READ_WRITE, "public-read-write"},
    {S3_CANNED_AUTHENTICATED_READ, "authenticated-read"},
    {S3_CANNED_BUCKET_OWNER_READ, "bucket-owner-read"},
    {S3_CANNED_BUCKET_OWNER_FULL_CONTROL, "bucket-owner-full-control"},
    {S3_CANNED_AWS_EXEC_READ, "aws-exec-read"},
    {S3_CANNED_LOG_DELIVERY_WRITE, "log-delivery-write"},
};

bool s3_canonical_id_valid(struct slice id)
{
    bool ok = id.len == CANONICAL_ID_CHARS;
    for (size_t i = 0; ok && i < id.len; i++)
        ok = (id.ptr[i] >= '0' && id.ptr[i] <= '9') || (id.ptr[i] >= 'a' && id.ptr[i] <= 'f');
    return ok;
}

static bool group_of(struct slice uri, enum s3_grantee *ret)
{
    for (size_t i = 0; i < ARRAY_COUNT(groups); i++)
        if (slice_eq(uri, slice_cstr(groups[i].uri))) {
            *ret = groups[i].grantee;
            return true;
        }
    return false;
}

static bool is_group(enum s3_grantee g)
{
    return g != S3_GRANTEE_ACCOUNT && g != S3_GRANTEE_EMAIL;
}

static enum s3_code bad_group(struct s3_fault *fault, struct slice uri)
{
    return s3_fault_argument(fault, "Invalid group uri", "uri", uri);
}

/* ---- the fields ---- */

static struct slice trimmed(struct slice s)
{
    while (s.len && (s.ptr[0] == ' ' || s.ptr[0] == '\t')) {
        s.ptr++;
        s.len--;
    }
    while (s.len && (s.ptr[s.len - 1] == ' ' || s.ptr[s.len - 1] == '\t'))
        s.len--;
    return s;
}

/* Values may stand in quotes. */
static struct slice unquoted(struct slice s)
{
    if (s.len >= 2 && s.ptr[0] == '"' && s.ptr[s.len - 1] == '"')
        return SLICE(s.ptr + 1, s.len - 2);
    return s;
}

/* id="...", uri="..." or emailAddress="...". */
static enum s3_code grant_of(struct slice item, const char *field, struct s3_grant *ret,
                             struct s3_fault *fault)
{
    const uint8_t *equals = item.len ? memchr(item.ptr, '=', item.len) : NULL;
    struct slice name =
        equals ? trimmed(SLICE(item.ptr, (size_t)(equals - item.ptr))) : SLICE_EMPTY;
    struct slice value =
        equals ? unquoted(trimmed(SLICE(equals + 1, item.len - 1 - (size_t)(equals - item.ptr))))
               : SLICE_EMPTY;
    ret->id = value;
    if (slice_eq_nocase(name, SLICE_LIT("uri"))) {
        ret->id = SLICE_EMPTY;
        return group_of(value, &ret->grantee) ? S3_OK : bad_group(fault, value);
    }
    if (slice_eq_nocase(name, SLICE_LIT("id"))) {
        ret->grantee = S3_GRANTEE_ACCOUNT;
        return s3_canonical_id_valid(value) ? S3_OK
                                            : s3_fault_argument(fault, "Invalid id", "id", value);
    }
    ret->grantee = S3_GRANTEE_EMAIL;
    if (slice_eq_nocase(name, SLICE_LIT("emailAddress")) && value.len && utf8_valid(value))
        return S3_OK;
    return s3_fault_argument(fault, "Argument format not recognized", field, item);
}

/* Up to the next comma outside quotes; false at the end. */
static bool next_item(struct slice list, size_t *at, struct slice *ret)
{
    size_t start = *at, i = start;
    bool quoted = false;
    if (start > list.len)
        return false;
    while (i < list.len && (quoted || list.ptr[i] != ',')) {
        quoted ^= list.ptr[i] == '"';
        i++;
    }
    *ret = trimmed(SLICE(list.ptr + start, i - start));
    *at = i + 1;
    return true;
}

static enum s3_code too_many(struct s3_fault *fault)
{
    return s3_fault_set(fault, S3_MALFORMED_ACL,
                        "An access control list may have at most 100 grants.");
}

static enum s3_code add(struct arena *arena, struct s3_acl *acl, const struct s3_grant *grant,
                        struct s3_fault *fault)
{
    if (!acl->grants)
        acl->grants = arena_alloc(arena, S3_ACL_GRANTS_MAX * sizeof(*acl->grants));
    if (!acl->grants)
        return s3_fault_set(fault, S3_INTERNAL_ERROR, NULL);
    if (acl->count == S3_ACL_GRANTS_MAX)
        return too_many(fault);
    acl->grants[acl->count++] = *grant;
    return S3_OK;
}

static enum s3_code read_field(const struct s3_request *r, size_t permission, struct s3_acl *acl,
                               struct s3_fault *fault)
{
    const char *field = permissions[permission].field;
    struct slice value = http_fields_get(r->fields, field), item;
    enum s3_code code = S3_OK;
    for (size_t at = 0; value.len && code == S3_OK && next_item(value, &at, &item);) {
        struct s3_grant grant = {.permission = permissions[permission].permission};
        code = grant_of(item, field, &grant, fault);
        if (code == S3_OK)
            code = add(r->arena, acl, &grant, fault);
    }
    return code;
}

enum s3_code s3_acl_wanted_parse(const struct s3_request *r, struct s3_acl_wanted *ret,
                                 struct s3_fault *fault)
{
    struct slice name = http_fields_get(r->fields, "x-amz-acl");
    *ret = (struct s3_acl_wanted){0};
    for (size_t i = 0; name.len && i < ARRAY_COUNT(canned_names); i++)
        if (slice_eq(name, slice_cstr(canned_names[i].name)))
            ret->canned = canned_names[i].canned;
    if (name.ptr && ret->canned == S3_CANNED_NONE)
        return s3_fault_argument(fault, NULL, "x-amz-acl", name);
    for (size_t i = 0; i < ARRAY_COUNT(permissions); i++) {
        enum s3_code code = read_field(r, i, &ret->grants, fault);
        if (code != S3_OK)
            return code;
    }
    if (ret->canned != S3_CANNED_NONE && ret->grants.count)
        return s3_fault_set(fault, S3_INVALID_REQUEST,
                            "Specifying both Canned ACLs and Header Grants is not allowed");
    return S3_OK;
}

/* ---- canned ---- */

static void grant_to(struct s3_acl *acl, enum s3_grantee grantee, struct slice id,
                     unsigned permission)
{
    acl->grants[acl->count++] = (struct s3_grant){grantee, id, permission};
}

enum s3_code s3_acl_canned(struct arena *arena, enum s3_canned canned, struct slice owner,
                           struct slice bucket_owner, struct s3_acl *ret, struct s3_fault *fault)
{
    bool foreign = bucket_owner.len && !slice_eq(owner, bucket_owner);
    *ret = (struct s3_acl){.grants = arena_alloc(arena, 3 * sizeof(*ret->grants))};
    if (!ret->grants)
        return s3_fault_set(fault, S3_INTERNAL_ERROR, NULL);
    grant_to(ret, S3_GRANTEE_ACCOUNT, owner, S3_PERMIT_FULL);
    switch (canned) {
    case S3_CANNED_PUBLIC_READ:
        grant_to(ret, S3_GRANTEE_ALL_USERS, SLICE_EMPTY, S3_PERMIT_READ);
        break;
    case S3_CANNED_PUBLIC_READ_WRITE:
        grant_to(ret, S3_GRANTEE_ALL_USERS, SLICE_EMPTY, S3_PERMIT_READ);
        grant_to(ret, S3_GRANTEE_ALL_USERS, SLICE_EMPTY, S3_PERMIT_WRITE);
        break;
    case S3_CANNED_AUTHENTICATED_READ:
        grant_to(ret, S3_GRANTEE_AUTHENTICATED_USERS, SLICE_EMPTY, S3_PERMIT_READ);
        break;
    case S3_CANNED_BUCKET_OWNER_READ:
    case S3_CANNED_BUCKET_OWNER_FULL_CONTROL: /* of a bucket: S3 passes over them */
        if (foreign)
            grant_to(ret, S3_GRANTEE_ACCOUNT, bucket_owner,
                     canned == S3_CANNED_BUCKET_OWNER_READ ? S3_PERMIT_READ : S3_PERMIT_FULL);
        break;
    case S3_CANNED_LOG_DELIVERY_WRITE:
        grant_to(ret, S3_GRANTEE_LOG_DELIVERY, SLICE_EMPTY, S3_PERMIT_WRITE);
        grant_to(ret, S3_GRANTEE_LOG_DELIVERY, SLICE_EMPTY, S3_PERMIT_READ_ACP);
        break;
    case S3_CANNED_NONE:
    case S3_CANNED_PRIVATE:
    case S3_CANNED_AWS_EXEC_READ: break; /* there is no EC2 to read its images */
    }
    return S3_OK;
}

/* ---- the document ---- */

static const char *const permission_names[] = {"FULL_CONTROL", "READ",      "WRITE",
                                               "READ_ACP",     "WRITE_ACP", NULL};
static const struct s3_schema owner_children[] = {
    {.name = "ID", .type = S3_NODE_TEXT, .min = 1, .max = 1},
    {.name = "DisplayName", .type = S3_NODE_TEXT, .max = 1},
    {0}};
/* Who it is, is said by what is given; xsi:type only says it again. */
static const struct s3_schema grantee_children[] = {
    {.name = "ID", .type = S3_NODE_TEXT, .max = 1},
    {.name = "DisplayName", .type = S3_NODE_TEXT, .max = 1},
    {.name = "EmailAddress", .type = S3_NODE_TEXT, .max = 1},
    {.name = "URI", .type = S3_NODE_TEXT, .max = 1},
    {.name = "Type", .type = S3_NODE_TEXT, .max = 1},
    {0}};
static const struct s3_schema grant_children[] = {
    {.name = "Grantee", .type = S3_NODE_GROUP, .min = 1, .max = 1, .children = grantee_children},
    {.name = "Permission", .type = S3_NODE_CHOICE, .min = 1, .max = 1, .choices = permission_names},
    {0}};
static const struct s3_schema list_children[] = {
    {.name = "Grant", .type = S3_NODE_GROUP, .children = grant_children}, {0}};
static const struct s3_schema policy_children[] = {
    {.name = "Owner", .type = S3_NODE_GROUP, .min = 1, .max = 1, .children = owner_children},
    {.name = "AccessControlList",
     .type = S3_NODE_GROUP,
     .min = 1,
     .max = 1,
     .children = list_children},
    {0}};
static const struct s3_schema policy_schema = {
    .name = "AccessControlPolicy", .type = S3_NODE_GROUP, .children = policy_children};

static enum s3_code read_grantee(const struct s3_node *node, struct s3_grant *ret,
                                 struct s3_fault *fault)
{
    const struct s3_node *id = s3_node_child(node, "ID"), *uri = s3_node_child(node, "URI"),
                         *email = s3_node_child(node, "EmailAddress");
    if ((id != NULL) + (uri != NULL) + (email != NULL) != 1)
        return s3_fault_set(fault, S3_MALFORMED_ACL, NULL);
    if (uri) {
        struct slice text = xml_trim(uri->text);
        return group_of(text, &ret->grantee) ? S3_OK : bad_group(fault, text);
    }
    ret->grantee = id ? S3_GRANTEE_ACCOUNT : S3_GRANTEE_EMAIL;
    ret->id = xml_trim(id ? id->text : email->text);
    if (id && !s3_canonical_id_valid(ret->id))
        return s3_fault_argument(fault, "Invalid id", "CanonicalUser/ID", ret->id);
    return ret->id.len ? S3_OK : s3_fault_set(fault, S3_MALFORMED_ACL, NULL);
}

static unsigned permission_of(struct slice name)
{
    unsigned found = 0;
    for (size_t i = 0; i < ARRAY_COUNT(permissions); i++)
        if (slice_eq(name, slice_cstr(permissions[i].name)))
            found = permissions[i].permission;
    CHECK(found != 0); /* a choice of the schema */
    return found;
}

enum s3_code s3_acl_read(struct arena *arena, struct slice body, struct slice *ret_owner,
                         struct s3_acl *ret, struct s3_fault *fault)
{
    struct s3_node *root;
    *ret = (struct s3_acl){0};
    enum s3_code code = s3_document_read(arena, &policy_schema, body, &root, fault);
    if (code != S3_OK)
        return code == S3_MALFORMED_XML ? s3_fault_set(fault, S3_MALFORMED_ACL, NULL) : code;
    *ret_owner = xml_trim(s3_node_child(s3_node_child(root, "Owner"), "ID")->text);
    const struct s3_node *list = s3_node_child(root, "AccessControlList");
    const struct s3_node *n = s3_node_child(list, "Grant");
    for (; n && code == S3_OK; n = s3_node_again(n)) {
        struct s3_grant grant = {.permission = permission_of(s3_node_child(n, "Permission")->text)};
        code = read_grantee(s3_node_child(n, "Grantee"), &grant, fault);
        if (code == S3_OK)
            code = add(arena, ret, &grant, fault);
    }
    return code;
}

static const char *permission_name(unsigned permission)
{
    for (size_t i = 0; i < ARRAY_COUNT(permissions); i++)
        if (permissions[i].permission == permission)
            return permissions[i].name;
    return NULL;
}

static void write_grantee(struct buf *b, const struct s3_grant *g)
{
    bool group = is_group(g->grantee);
    buf_printf(b, "<Grantee xmlns:xsi=\"" XSI "\" xsi:type=\"%s\">",
               group ? "Group" : "CanonicalUser");
    if (group) {
        for (size_t i = 0; i < ARRAY_COUNT(groups); i++)
            if (groups[i].grantee == g->grantee)
                xml_cstr(b, "URI", groups[i].uri);
    } else {
        xml_slice(b, "ID", g->id);
    }
    xml_close(b, "Grantee");
}

void s3_acl_write(struct buf *b, struct slice owner, const struct s3_acl *acl)
{
    xml_declaration(b);
    xml_open_ns(b, "AccessControlPolicy");
    xml_open(b, "Owner");
    xml_slice(b, "ID", owner);
    xml_close(b, "Owner");
    xml_open(b, "AccessControlList");
    for (size_t i = 0; i < acl->count; i++) {
        const char *permission = permission_name(acl->grants[i].permission);
        if (!permission || acl->grants[i].grantee == S3_GRANTEE_EMAIL)
            continue; /* of a newer version: no name for it here */
        xml_open(b, "Grant");
        write_grantee(b, &acl->grants[i]);
        xml_cstr(b, "Permission", permission);
        xml_close(b, "Grant");
    }
    xml_close(b, "AccessControlList");
    xml_close(b, "AccessControlPolicy");
}

/* ---- asking ---- */

unsigned s3_acl_permits(const struct s3_acl *acl, struct slice canonical_id, bool ignore_public)
{
    unsigned all = 0;
    for (size_t i = 0; i < acl->count; i++) {
        const struct s3_grant *g = &acl->grants[i];
        bool named = false;
        switch (g->grantee) {
        case S3_GRANTEE_ACCOUNT: named = canonical_id.len && slice_eq(g->id, canonical_id); break;
        case S3_GRANTEE_ALL_USERS: named = !ignore_public; break;
        case S3_GRANTEE_AUTHENTICATED_USERS: named = canonical_id.len && !ignore_public; break;
        case S3_GRANTEE_EMAIL:
        case S3_GRANTEE_LOG_DELIVERY: break;
        }
        if (named)
            all |= g->permission;
    }
    return all & S3_PERMIT_FULL;
}

bool s3_acl_is_public(const struct s3_acl *acl)
{
    for (size_t i = 0; i < acl->count; i++)
        if (acl->grants[i].grantee == S3_GRANTEE_ALL_USERS ||
            acl->grants[i].grantee == S3_GRANTEE_AUTHENTICATED_USERS)
            return true;
    return false;
}

bool s3_acl_is_shared(const struct s3_acl *acl, struct slice owner)
{
    for (size_t i = 0; i < acl->count; i++)
        if (acl->grants[i].grantee != S3_GRANTEE_ACCOUNT || !slice_eq(acl->grants[i].id, owner))
            return true;
    return false;
}
