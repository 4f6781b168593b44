/* Settings of a bucket, read once. */
#include "gateway/op/bucket_view.h"

#include "common/base/check.h"

#include <stdlib.h>

enum { NODES_BYTES_MAX = 8 << 20 };

static const struct bucket_view untouched = {
    .ownership = OWNERSHIP_ENFORCED,
    .block_public_acls = true,
    .ignore_public_acls = true,
    .block_public_policy = true,
    .restrict_public_buckets = true,
};

struct slice bucket_setting_document(const Cairn__BucketRecord *bucket, Cairn__SettingKind kind)
{
    for (size_t i = 0; i < bucket->n_settings; i++)
        if (bucket->settings[i]->kind == kind)
            return SLICE(bucket->settings[i]->document.data, bucket->settings[i]->document.len);
    return SLICE_EMPTY;
}

struct slice bucket_owner_account(const Cairn__BucketRecord *bucket)
{
    return slice_cstr(bucket->owner_account[0] ? bucket->owner_account : bucket->owner_id);
}

/* ---- ACLs ---- */

static const struct {
    Cairn__AclGroup group;
    enum s3_grantee grantee;
} acl_groups[] = {
    {CAIRN__ACL_GROUP__ACL_NO_GROUP, S3_GRANTEE_ACCOUNT},
    {CAIRN__ACL_GROUP__ACL_ALL_USERS, S3_GRANTEE_ALL_USERS},
    {CAIRN__ACL_GROUP__ACL_AUTHENTICATED_USERS, S3_GRANTEE_AUTHENTICATED_USERS},
    {CAIRN__ACL_GROUP__ACL_LOG_DELIVERY, S3_GRANTEE_LOG_DELIVERY},
};

struct s3_acl *acl_of_proto(struct arena *arena, const Cairn__Acl *acl)
{
    struct s3_acl *ret = arena_zalloc(arena, sizeof(*ret));
    if (ret)
        ret->grants = arena_alloc(arena, (acl->n_grants + 1) * sizeof(*ret->grants));
    if (!ret || !ret->grants)
        return NULL;
    for (size_t i = 0; i < acl->n_grants; i++) {
        const Cairn__AclGrant *g = acl->grants[i];
        for (size_t k = 0; k < ARRAY_COUNT(acl_groups); k++)
            if (acl_groups[k].group == g->group) /* one of a newer version is passed over */
                ret->grants[ret->count++] = (struct s3_grant){
                    acl_groups[k].grantee, slice_cstr(g->canonical_id), g->permission};
    }
    return ret;
}

Cairn__Acl *acl_to_proto(struct arena *arena, const struct s3_acl *acl)
{
    Cairn__Acl *ret = arena_zalloc(arena, sizeof(*ret));
    Cairn__AclGrant *grants = arena_zalloc(arena, (acl->count + 1) * sizeof(*grants));
    Cairn__AclGrant **pointers = arena_zalloc(arena, (acl->count + 1) * sizeof(*pointers));
    if (!ret || !grants || !pointers)
        return NULL;
    cairn__acl__init(ret);
    ret->grants = pointers;
    ret->form = 1;
    for (size_t i = 0; i < acl->count; i++) {
        const struct s3_grant *g = &acl->grants[i];
        CHECK(g->grantee != S3_GRANTEE_EMAIL);
        cairn__acl_grant__init(&grants[i]);
        for (size_t k = 0; k < ARRAY_COUNT(acl_groups); k++)
            if (acl_groups[k].grantee == g->grantee)
                grants[i].group = acl_groups[k].group;
        struct slice id = arena_copy(arena, g->id);
        if (!id.ptr)
            return NULL;
        grants[i].canonical_id = (char *)(uintptr_t)id.ptr;
        grants[i].permission = g->permission;
        ret->grants[ret->n_grants++] = &grants[i];
    }
    return ret;
}

/* ---- the settings, each by what a gateway wrote ---- */

static bool holds(struct slice document, const char *const *pieces, size_t count)
{
    char want[96];
    size_t n = 0;
    for (size_t i = 0; i < count; i++) {
        size_t len = strlen(pieces[i]);
        CHECK(n + len < sizeof(want));
        memcpy(want + n, pieces[i], len);
        n += len;
    }
    return document.len && memmem(document.ptr, document.len, want, n) != NULL;
}

/* The text of the first element of this name; documents in normal form have no blanks, and none of
 * the elements asked for can stand inside another one's text. */
static bool says(struct slice document, const char *name, const char *value)
{
    const char *const pieces[] = {"<", name, ">", value, "</"};
    return holds(document, pieces, ARRAY_COUNT(pieces));
}

/* Is it a document of this kind that leaves the element out? */
static bool leaves_out(struct slice document, const char *root, const char *name)
{
    const char *const begins[] = {"<", root, " "}, *const has[] = {"<", name};
    return holds(document, begins, ARRAY_COUNT(begins)) && !holds(document, has, ARRAY_COUNT(has));
}

/* What a gateway wrote reads back; that of a newer one may not, and then allows nothing. */
static bool read_cors(struct bucket_view *v, struct slice document)
{
    struct arena nodes;
    struct s3_node *root;
    struct s3_fault fault;
    struct s3_cors *cors = arena_zalloc(&v->arena, sizeof(*cors));
    if (!cors)
        return false;
    arena_init(&nodes, NODES_BYTES_MAX);
    enum s3_code code = s3_document_read(&nodes, &s3_cors_schema, document, &root, &fault);
    if (code == S3_OK)
        code = s3_cors_of_node(&v->arena, root, cors, &fault);
    arena_fini(&nodes);
    if (code == S3_OK)
        v->cors = cors;
    return code != S3_INTERNAL_ERROR;
}

static bool read_website(struct bucket_view *v, struct slice document)
{
    struct arena nodes;
    struct s3_node *root;
    struct s3_fault fault;
    struct s3_website *website = arena_zalloc(&v->arena, sizeof(*website));
    if (!website)
        return false;
    arena_init(&nodes, NODES_BYTES_MAX);
    enum s3_code code = s3_document_read(&nodes, &s3_website_schema, document, &root, &fault);
    if (code == S3_OK)
        code = s3_website_of_node(&v->arena, root, website, &fault);
    arena_fini(&nodes);
    if (code == S3_OK)
        v->website = website;
    return code != S3_INTERNAL_ERROR;
}

/* Of a newer gateway, which is not understood: nothing is recorded. */
static bool read_logging(struct bucket_view *v, struct slice document)
{
    struct arena nodes;
    struct s3_node *root;
    struct s3_fault fault;
    struct s3_logging *logging = arena_zalloc(&v->arena, sizeof(*logging));
    if (!logging)
        return false;
    arena_init(&nodes, NODES_BYTES_MAX);
    enum s3_code code = s3_document_read(&nodes, &s3_logging_schema, document, &root, &fault);
    if (code == S3_OK)
        code = s3_logging_of_node(&v->arena, root, logging, &fault);
    arena_fini(&nodes);
    if (code == S3_OK)
        v->logging = logging;
    return code != S3_INTERNAL_ERROR;
}

static bool read_policy(struct bucket_view *v, const Cairn__BucketRecord *bucket,
                        struct slice document)
{
    char reason[POLICY_REASON_BYTES_MAX];
    struct policy_parse_options o = {.kind = POLICY_BUCKET, .bucket = slice_cstr(bucket->name)};
    enum policy_error err = policy_parse(&v->arena, &o, document, &v->policy, reason);
    v->policy_unreadable = err != POLICY_OK;
    v->unreadable |= v->policy_unreadable;
    return err != POLICY_NO_MEMORY;
}

static void *unpack_alloc(void *arg, size_t bytes)
{
    void *p = malloc(bytes);
    *(bool *)arg |= !p;
    return p;
}

static void unpack_free(void *arg, void *p)
{
    (void)arg;
    free(p);
}

/* NULL: it is none, or there is no memory, which must not be remembered as what the bucket says. */
static void *unpack(const ProtobufCMessageDescriptor *type, struct slice document,
                    bool *ret_no_memory)
{
    ProtobufCAllocator allocator = {unpack_alloc, unpack_free, ret_no_memory};
    *ret_no_memory = false;
    return protobuf_c_message_unpack(type, &allocator, document.len, document.ptr);
}

static bool read_acl(struct bucket_view *v, struct slice document)
{
    bool no_memory;
    Cairn__Acl *acl = unpack(&cairn__acl__descriptor, document, &no_memory);
    if (!acl) {
        v->unreadable = true;
        return !no_memory;
    }
    struct s3_acl *read = acl_of_proto(&v->arena, acl);
    for (size_t i = 0; read && i < read->count; i++) {
        read->grants[i].id = arena_copy(&v->arena, read->grants[i].id);
        if (!read->grants[i].id.ptr)
            read = NULL;
    }
    cairn__acl__free_unpacked(acl, NULL);
    v->acl = read;
    return read != NULL;
}

/* One that is not understood bounds nothing. */
static bool read_quota(struct bucket_view *v, struct slice document)
{
    bool no_memory;
    Cairn__Quota *quota = unpack(&cairn__quota__descriptor, document, &no_memory);
    if (!quota)
        return !no_memory;
    v->quota_bytes_max = quota->bytes_max;
    v->quota_objects_max = quota->objects_max;
    v->quota_id = quota->id;
    v->has_quota = quota->bytes_max || quota->objects_max;
    cairn__quota__free_unpacked(quota, NULL);
    return true;
}

/* What is not said, in a document that is one (or was deleted), is not blocked; what is not
 * understood is. */
static bool blocks(struct slice document, const char *name)
{
    return !says(document, name, "false") &&
           !leaves_out(document, "PublicAccessBlockConfiguration", name);
}

static void read_block(struct bucket_view *v, struct slice document)
{
    v->block_public_acls = blocks(document, "BlockPublicAcls");
    v->ignore_public_acls = blocks(document, "IgnorePublicAcls");
    v->block_public_policy = blocks(document, "BlockPublicPolicy");
    v->restrict_public_buckets = blocks(document, "RestrictPublicBuckets");
}

/* Without a rule (deleted) the meaning is that of buckets from before there were any; what is not
 * understood means that no ACL counts. */
static void read_ownership(struct bucket_view *v, struct slice document)
{
    bool writer = says(document, "ObjectOwnership", "ObjectWriter") ||
                  leaves_out(document, "OwnershipControls", "ObjectOwnership");
    v->ownership = writer                                                      ? OWNERSHIP_WRITER
                   : says(document, "ObjectOwnership", "BucketOwnerPreferred") ? OWNERSHIP_PREFERRED
                                                                               : OWNERSHIP_ENFORCED;
}

static bool read_setting(struct bucket_view *v, const Cairn__BucketRecord *bucket,
                         const Cairn__BucketSetting *s)
{
    struct slice document = SLICE(s->document.data, s->document.len);
    switch (s->kind) {
    case CAIRN__SETTING_KIND__SETTING_CORS: return read_cors(v, document);
    case CAIRN__SETTING_KIND__SETTING_WEBSITE: return read_website(v, document);
    case CAIRN__SETTING_KIND__SETTING_LOGGING: return document.len == 0 || read_logging(v, document);
    case CAIRN__SETTING_KIND__SETTING_POLICY: return read_policy(v, bucket, document);
    case CAIRN__SETTING_KIND__SETTING_ACL: return read_acl(v, document);
    case CAIRN__SETTING_KIND__SETTING_QUOTA: return read_quota(v, document);
    case CAIRN__SETTING_KIND__SETTING_PUBLIC_ACCESS_BLOCK: read_block(v, document); return true;
    case CAIRN__SETTING_KIND__SETTING_OWNERSHIP: read_ownership(v, document); return true;
    case CAIRN__SETTING_KIND__SETTING_REQUEST_PAYMENT:
        v->requester_pays = says(document, "Payer", "Requester");
        return true;
    default: return true;
    }
}

static void view_free(void *arg)
{
    struct bucket_view *v = arg;
    arena_fini(&v->arena);
    free(v);
}

static struct bucket_view *view_make(const Cairn__BucketRecord *bucket)
{
    struct bucket_view *v = malloc(sizeof(*v));
    if (!v)
        return NULL;
    *v = untouched;
    arena_init(&v->arena, 0);
    for (size_t i = 0; i < bucket->n_settings; i++)
        if (!read_setting(v, bucket, bucket->settings[i])) {
            view_free(v);
            return NULL;
        }
    return v;
}

const struct bucket_view *bucket_view_of(struct gateway *gw, struct cache_entry *e)
{
    const Cairn__BucketRecord *bucket = e->record->bucket;
    if (bucket->n_settings == 0)
        return &untouched;
    struct bucket_view *found = cache_parsed(e, CACHE_PARSED_BUCKET),
                       *made = found ? NULL : view_make(bucket);
    if (made)
        found = cache_set_parsed(meta_client_cache(gw->mc), e, CACHE_PARSED_BUCKET, made,
                                 sizeof(*made) + MAX(made->arena.bytes, (size_t)ARENA_BLOCK_BYTES),
                                 view_free);
    return found;
}
