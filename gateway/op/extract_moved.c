/* A segment that was moved while somebody reads the object (MoveSegment: re-encoding).
 *
 * Its old blob outlives the move by a grace, which is enough for any one read, and not for a client
 * that takes an hour for an object whose record was read at the beginning.  Such a reader finds the
 * blob gone, reads the record again, and goes on with the blob that the segment lies in now: as
 * long as it is the same version, the bytes are the same. */
#include "gateway/op/extract.h"

#include "common/base/check.h"
#include "proto/methods.h"

/* Reads the piece from where the segment is now.  OK: the read is under way. */
static int piece_again(struct extract_piece *p, const Cairn__Segment *s)
{
    struct id128 id;
    if (!id128_from_slice(bytes_of(s->blob_id), &id) || s->bytes != p->blob.blob_bytes)
        return ERR_CORRUPT;
    if (id128_eq(id, p->blob.blob_id))
        return ERR_NOT_FOUND; /* it was not moved: the error is what it is */
    p->blob.pg = s->pg;
    p->blob.blob_id = id;
    p->blob.crc32c = s->crc32c;
    p->blob.deadline_ns = request_deadline(p->extract->req);
    blob_read_start(p->extract->req->gw->bc, &p->blob);
    return OK;
}

static int object_take(struct extract_piece *p)
{
    struct extract *x = p->extract;
    Cairn__ReadResponse *m = (Cairn__ReadResponse *)(void *)p->look.response;
    const Cairn__ObjectRecord *now = m->n_records == 1 ? m->records[0]->object : NULL;
    if (!now || now->version != x->record->version || now->n_segments != x->record->n_segments)
        return ERR_NOT_FOUND; /* replaced, or deleted */
    int err = piece_again(p, now->segments[p->segment]);
    if (err == OK && (!x->fresh || x->fresh->as_of < m->as_of)) {
        /* What is still to be planned is not looked for in vain first. */
        x->segments = now->segments;
        if (x->fresh)
            cairn__read_response__free_unpacked(x->fresh, NULL);
        x->fresh = m;
        p->look.response = NULL;
    }
    return err;
}

static int part_take(struct extract_piece *p)
{
    const Cairn__ListPartsResponse *m = (const Cairn__ListPartsResponse *)(void *)p->look.response;
    const Cairn__PartRecord *now = m->n_parts == 1 ? m->parts[0] : NULL;
    if (!now || now->number != p->part || now->version != p->part_version ||
        p->segment >= now->n_segments)
        return ERR_NOT_FOUND;
    return piece_again(p, now->segments[p->segment]);
}

static void look_cb(struct meta_call *call)
{
    struct extract_piece *p = container_of(call, struct extract_piece, look);
    int why = p->blob.err, err = p->extract->err == ERR_CANCELED ? ERR_CANCELED : call->err;
    p->looking = false;
    if (err == OK)
        err = p->part ? part_take(p) : object_take(p);
    meta_call_fini(call);
    if (err != OK)
        extract_piece_end(p, why);
}

bool extract_look(struct extract_piece *p)
{
    struct extract *x = p->extract;
    if (p->looked || p->blob.err == ERR_CANCELED || p->blob.err == ERR_SHUTDOWN)
        return false;
    p->looked = p->looking = true;
    p->look = (struct meta_call){
        .bucket_id = x->bucket_id,
        .key = x->key,
        .deadline_ns = request_deadline(x->req),
        .cb = look_cb,
    };
    if (p->part) {
        cairn__list_parts_request__init(&p->parts_request);
        p->parts_request.bucket_id = x->bucket_id;
        p->parts_request.key = binary_of(x->key);
        p->parts_request.upload_id = binary_of(x->parts->upload_id);
        p->parts_request.number_marker = p->part - 1;
        p->parts_request.parts_max = 1;
        p->parts_request.want_segments = true;
        p->look.method = &method_meta_list_parts;
        p->look.request = &p->parts_request.base;
    } else {
        cairn__read_request__init(&p->read_request);
        cairn__record_key__init(&p->read_key);
        p->read_key.kind = CAIRN__RECORD_KIND__RECORD_OBJECT;
        p->read_key.bucket_id = x->bucket_id;
        p->read_key.key = binary_of(x->key);
        p->read_key.version = x->record->versioned ? x->record->version : VERSION_NULL;
        p->read_key_ptr = &p->read_key;
        p->read_request.keys = &p->read_key_ptr;
        p->read_request.n_keys = 1;
        p->look.method = &method_meta_read;
        p->look.request = &p->read_request.base;
    }
    meta_call_start(x->req->gw->mc, &p->look);
    return true;
}
