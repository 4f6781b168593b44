/* Objects that were appended to.  Each append is a body of its own (write id), whose first segment
 * has the number that follows those before it, and which says how large the object was with it; so
 * what it was appended to is a body of the same key that ends there, with so many bytes.  If there
 * are several of these, the newest: the others were overwritten by it. */
#include "cli/salvage/catalog_impl.h"

#include <stdlib.h>

/* The segments of a plain version, as numbers and bytes of its object. */
struct stretch {
    const struct salvage_body *body;
    uint64_t first, end; /* numbers of segments */
    uint64_t before, bytes;
};

/* false: it has gaps, or is no part of any whole. */
static bool stretch_of(const struct salvage_version *v, struct stretch *ret)
{
    const struct salvage_body *b = v->body;
    if (!id128_is_zero(v->upload_id) || v->body_count != 1 || b->segment_count == 0 ||
        b->ambiguous || b->sealed || b->joined)
        return false;
    const struct shard_info *head = b->segment[0]->info;
    uint64_t first = head->owner.segment_number, whole = head->owner.body_bytes;
    for (size_t i = 0; i < b->segment_count; i++) {
        const struct salvage_blob *s = b->segment[i];
        if (!s->decodable || s->info->owner.segment_number != first + i ||
            s->info->owner.body_bytes != whole)
            return false;
    }
    if (whole < b->bytes || (first == 0) != (whole == b->bytes))
        return false;
    *ret = (struct stretch){b, first, first + b->segment_count, whole - b->bytes, whole};
    return true;
}

/* What `s` was appended to, among `count` versions, newest first. */
static bool stretch_before(const struct salvage_version *v, size_t count, const struct stretch *s,
                           struct stretch *ret)
{
    for (size_t i = 0; i < count; i++)
        if (v[i].body != s->body && stretch_of(&v[i], ret) && ret->end == s->first &&
            ret->bytes == s->before)
            return true;
    return false;
}

/* One of the versions of a key becomes what it was appended to, and itself.  Returns: segments
 * written to `to`; 0: it was not appended to anything that is here. */
static size_t version_join(struct salvage_version *v, const struct salvage_version *all,
                           size_t count, const struct salvage_blob **to)
{
    struct stretch s, before;
    if (!stretch_of(v, &s) || s.first == 0)
        return 0;
    size_t end = s.end;
    uint64_t bytes = s.bytes;
    for (before = s; before.first; s = before) /* the numbers only fall */
        if (!stretch_before(all, count, &s, &before))
            return 0;
    for (stretch_of(v, &s);; s = before) {
        for (size_t i = 0; i < s.body->segment_count; i++)
            to[s.first + i] = s.body->segment[i];
        if (s.first == 0 || !stretch_before(all, count, &s, &before))
            break;
    }
    v->body->segment = to;
    v->body->segment_count = end;
    v->body->bytes = v->bytes = bytes;
    v->body->complete = v->complete = SALVAGE_YES;
    v->body->joined = true;
    return end;
}

static size_t versions_of_key(const struct salvage_catalog *c, size_t at)
{
    const struct salvage_version *v = &c->version[at];
    size_t n = 1;
    while (at + n < c->version_count && v[n].bucket_id == v->bucket_id &&
           slice_eq(v[n].key, v->key))
        n++;
    return n;
}

/* Of each key the newest version that is, or becomes, whole: so each segment is joined once. */
int salvage_appends(struct salvage_catalog *c)
{
    size_t used = 0, n;
    c->joined = calloc(c->blob_count + 1, sizeof(*c->joined));
    if (!c->joined)
        return ERR_NOMEM;
    for (size_t at = 0; at < c->version_count; at += n) {
        struct salvage_version *v = &c->version[at];
        n = versions_of_key(c, at);
        for (size_t i = 0; i < n && v[i].complete == SALVAGE_NO; i++) {
            size_t segments = version_join(&v[i], v, n, c->joined + used);
            used += segments;
            if (segments)
                break;
        }
    }
    return OK;
}
