/* From a record to a caller and its policies. */
#include "gateway/op/principal.h"

#include "common/base/check.h"
#include "common/obs/log.h"
#include "gateway/iam/aws_managed.h"

#include <stdlib.h>

/* Text of the document, or NULL: no such policy is known. */
static const char *aws_managed(const char *arn)
{
    const struct iam_aws_policy *p = iam_aws_policy_find(slice_cstr(arn));
    return p ? p->document : NULL;
}

/* *ret stays NULL when the document is not understood.  false: no memory. */
static bool read_policy(struct principal *p, const char *document, const struct policy **ret)
{
    char reason[POLICY_REASON_BYTES_MAX];
    /* The larger of the bounds on an identity's policies: they were checked when they were set. */
    const struct policy_parse_options o = {.kind = POLICY_INLINE};
    enum policy_error err = document
                                ? policy_parse(&p->arena, &o, slice_cstr(document), ret, reason)
                                : POLICY_MALFORMED;
    if (err != POLICY_OK)
        p->unreadable = "a policy of it is not understood";
    return err != POLICY_NO_MEMORY;
}

static bool read_policies(struct principal *p)
{
    const Cairn__PrincipalRecord *r = p->record;
    size_t count = r->n_policies + r->n_aws_managed;
    const struct policy **policies = arena_zalloc(&p->arena, (count + 1) * sizeof(*policies));
    if (!policies)
        return false;
    for (size_t i = 0; i < count; i++) {
        const char *document = i < r->n_policies ? r->policies[i]->document
                                                 : aws_managed(r->aws_managed[i - r->n_policies]);
        const struct policy *policy = NULL;
        if (!read_policy(p, document, &policy))
            return false;
        if (policy)
            policies[p->policy_count++] = policy;
    }
    p->policies = policies;
    return true;
}

/* Of a boundary that is not there (any more): nothing is within it. */
static const struct policy nothing = {.kind = POLICY_INLINE};

static bool read_boundary(struct principal *p)
{
    const Cairn__PrincipalRecord *r = p->record;
    if (!r->has_boundary)
        return true;
    p->boundary = &nothing;
    if (!r->boundary[0] && !r->aws_boundary[0])
        return true;
    return read_policy(p, r->aws_boundary[0] ? aws_managed(r->aws_boundary) : r->boundary,
                       &p->boundary);
}

static void set_caller(struct principal *p)
{
    static const enum policy_caller_type types[] = {
        [CAIRN__PRINCIPAL_TYPE__PRINCIPAL_ROOT] = POLICY_ROOT,
        [CAIRN__PRINCIPAL_TYPE__PRINCIPAL_USER] = POLICY_USER,
        [CAIRN__PRINCIPAL_TYPE__PRINCIPAL_ROLE] = POLICY_ROLE_SESSION,
    };
    const Cairn__PrincipalRecord *r = p->record;
    bool known = (unsigned)r->type < ARRAY_COUNT(types);
    if (r->refused[0])
        p->unreadable = r->refused;
    else if (!known || r->account_id[0] == 0)
        p->unreadable = "its record is not understood";
    p->caller = (struct policy_caller){
        .type = known ? types[r->type] : POLICY_USER,
        .account = slice_cstr(r->account_id[0] ? r->account_id : "-"),
        .canonical_id = slice_cstr(r->canonical_id),
        .arn = slice_cstr(r->arn),
        .unique_id = slice_cstr(r->unique_id),
        .user_id = slice_cstr(r->unique_id[0] ? r->unique_id : r->account_id),
    };
    if (p->caller.type == POLICY_USER)
        p->caller.user_name = slice_cstr(r->name);
    if (p->caller.type == POLICY_ROLE_SESSION)
        p->caller.role_arn = slice_cstr(r->arn);
}

struct policy_caller principal_caller(const struct principal *p,
                                      const struct principal_session *session)
{
    struct policy_caller c = p->caller;
    if (session && c.type == POLICY_ROLE_SESSION) {
        c.arn = session->arn;
        c.user_id = session->user_id;
    }
    return c;
}

struct principal *principal_new(const Cairn__PrincipalRecord *record)
{
    struct principal *p = calloc(1, sizeof(*p));
    if (!p)
        return NULL;
    arena_init(&p->arena, 0);
    p->record = record;
    set_caller(p);
    if (read_policies(p) && read_boundary(p))
        return p;
    principal_free(p);
    return NULL;
}

void principal_free(struct principal *p)
{
    if (p)
        arena_fini(&p->arena);
    free(p);
}

static void free_parsed(void *arg)
{
    principal_free(arg);
}

const struct principal *principal_of(struct gateway *gw, struct cache_entry *e)
{
    struct principal *found = cache_parsed(e, CACHE_PARSED_PRINCIPAL),
                     *made = found ? NULL : principal_new(e->record->principal);
    if (made)
        found = cache_set_parsed(meta_client_cache(gw->mc), e, CACHE_PARSED_PRINCIPAL, made,
                                 sizeof(*made) + MAX(made->arena.bytes, (size_t)ARENA_BLOCK_BYTES),
                                 free_parsed);
    if (made && found && found->unreadable) /* once an entry */
        log_warn("iam.refused", 0, L_STR("principal", found->record->arn),
                 L_STR("why", found->unreadable));
    return found;
}
