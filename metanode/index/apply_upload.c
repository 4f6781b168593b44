/* Multipart uploads: create, part, complete, abort.
 *
 *   absent ──create──▶ under way (TABLE_UPLOAD) ──complete──▶ manifest (TABLE_MANIFEST)
 *                          │                                      │ object replaced or deleted
 *                          └──abort──▶ dead (TABLE_DEAD) ◀────────┘
 *                                        └──expanded──▶ absent
 *
 * Part rows stay where they are through all of it; an upload id is in at most one of the tables (a
 * dead manifest, which readers in flight still look at, in both), and its parts belong to whatever
 * that is.  Completing writes a handful of rows however many parts
 * there are: a bitmap in the manifest says which of them the object consists of. */
#include "metanode/index/state.h"

#include "common/base/check.h"
#include "common/base/mutant.h"

static int row_exists(struct apply *a, enum index_table table, uint64_t bucket_id, struct slice key,
                      struct slice upload_id, bool *ret)
{
    struct key row;
    struct slice ignored;
    key_upload(&row, a->index->partition, table, bucket_id, key, upload_id);
    int err = apply_get(a, &row, &ignored);
    *ret = err == OK;
    return err == ERR_NOT_FOUND ? OK : err;
}

int apply_create_upload(struct apply *a, const Cairn__CreateUpload *op)
{
    static const enum index_table tables[] = {TABLE_UPLOAD, TABLE_MANIFEST, TABLE_DEAD};
    struct slice key = bytes_of(op->key), id = bytes_of(op->upload->upload_id);
    for (size_t i = 0; i < ARRAY_COUNT(tables); i++) {
        bool exists;
        int err = row_exists(a, tables[i], op->bucket_id, key, id, &exists);
        if (err)
            return err;
        if (exists)
            return apply_decide(a, ERR_EXISTS);
    }
    op->upload->initiated_ms = a->h.time_ms;
    op->upload->completed = false;
    op->upload->chosen = (ProtobufCBinaryData){0};
    struct key row;
    key_upload(&row, a->index->partition, TABLE_UPLOAD, op->bucket_id, key, id);
    return apply_put_message(a, &row, &op->upload->base);
}

/* ---- parts ---- */

/* Lets go of the part that is there, if any. *ret_interim: it had interim segments. */
static int part_replace(struct apply *a, const Cairn__PutPart *op, const struct key *row,
                        bool *ret_interim)
{
    ProtobufCMessage *message;
    *ret_interim = false;
    int err = apply_get_message(a, row, &cairn__part_record__descriptor, &message);
    if (err)
        return err == ERR_NOT_FOUND ? OK : err;
    const Cairn__PartRecord *old = (const Cairn__PartRecord *)(void *)message;
    a->out.existed = true;
    *ret_interim = interim_count(old->segments, old->n_segments) > 0;
    if (old->kind == CAIRN__DATA_KIND__DATA_SEGMENTS)
        return deletion_queue_segments(a, old->segments, old->n_segments);
    if (old->size) {
        struct key body;
        key_part(&body, a->index->partition, TABLE_PART_BODY, op->bucket_id, bytes_of(op->key),
                 bytes_of(op->upload_id), op->part->number);
        kv_batch_delete(a->batch, KV_BODY, key_view(&body));
    }
    return OK;
}

int apply_put_part(struct apply *a, const Cairn__PutPart *op)
{
    struct slice key = bytes_of(op->key), id = bytes_of(op->upload_id);
    bool exists;
    int err = row_exists(a, TABLE_UPLOAD, op->bucket_id, key, id, &exists);
    if (err || !exists)
        return err ? err : apply_decide(a, ERR_NO_UPLOAD);
    struct key row;
    key_part(&row, a->index->partition, TABLE_PART, op->bucket_id, key, id, op->part->number);
    bool was_interim;
    err = part_replace(a, op, &row, &was_interim);
    if (!err)
        err = interim_note(a, op->bucket_id, key, id, op->part->number, was_interim,
                           interim_count(op->part->segments, op->part->n_segments));
    if (err)
        return err;
    op->part->mtime_ms = a->h.time_ms;
    op->part->version = a->entry_index;
    err = apply_put_message(a, &row, &op->part->base);
    if (!err && a->body.len) {
        key_part(&row, a->index->partition, TABLE_PART_BODY, op->bucket_id, key, id,
                 op->part->number);
        kv_batch_put(a->batch, KV_BODY, key_view(&row), a->body);
    }
    a->out.etag = op->part->etag;
    a->out.size = op->part->size;
    return err;
}

/* ---- complete ---- */

struct completion {
    uint64_t size; /* of the parts named */
    bool unchosen; /* there are parts that the object leaves out */
    uint8_t bitmap[(INDEX_PARTS_MAX + 7) / 8];
    size_t bitmap_bytes;
    int decision;
    uint32_t detail; /* the part that it is about */
};
_Static_assert(sizeof(((struct completion *)0)->bitmap) == 1250, "docs/formats/index.md");

static void completion_refuse(struct completion *c, int decision, uint32_t number)
{
    if (c->decision == OK) {
        c->decision = decision;
        c->detail = number;
    }
}

/* In the order S3 has it: the list's order before what it names. */
static void parts_order_check(const Cairn__CompleteUpload *op, struct completion *c)
{
    for (size_t i = 0; i < op->n_parts; i++) {
        uint32_t number = op->parts[i]->number;
        if (number < 1 || number > INDEX_PARTS_MAX)
            completion_refuse(c, ERR_INVALID_PART, number);
        else if (i && number <= op->parts[i - 1]->number)
            completion_refuse(c, ERR_PART_ORDER, number);
    }
}

static bool checksum_matches(const Cairn__Checksum *asked, const Cairn__Checksum *stored)
{
    return !asked || (stored && asked->algorithm == stored->algorithm &&
                      slice_eq(bytes_of(asked->value), bytes_of(stored->value)));
}

/* Takes in one stored part that the request names at `position`. */
static void part_choose(const Cairn__CompleteUpload *op, size_t position,
                        const Cairn__PartRecord *part, struct completion *c)
{
    const Cairn__CompletePart *named = op->parts[position];
    uint32_t number = named->number;
    if (!slice_eq(string_of(named->etag), string_of(part->etag)) ||
        !checksum_matches(named->checksum, part->checksum) ||
        !part->encryption != !op->record->encryption)
        completion_refuse(c, ERR_INVALID_PART, number);
    else if (position + 1 < op->n_parts && part->size < op->part_bytes_min)
        completion_refuse(c, ERR_PART_SMALL, number);
    c->size += part->size;
    size_t bit = number - 1;
    c->bitmap[bit / 8] |= (uint8_t)(1u << (bit % 8));
    c->bitmap_bytes = bit / 8 + 1;
}

/* Walks the stored parts beside those named, both ascending. */
static int parts_merge(const Cairn__CompleteUpload *op, struct kv_iter *it,
                       struct index_arena *arena, struct completion *c)
{
    size_t position = 0;
    for (it->ops->seek(it, SLICE_EMPTY); it->ops->valid(it) && !c->decision; it->ops->next(it)) {
        struct slice row = it->ops->key(it);
        uint32_t number = load_be16(row.ptr + row.len - 2);
        while (position < op->n_parts && op->parts[position]->number < number)
            completion_refuse(c, ERR_INVALID_PART, op->parts[position++]->number);
        if (position == op->n_parts || op->parts[position]->number != number) {
            c->unchosen = true;
            continue;
        }
        index_arena_reset(
            arena); /* one part at a time, or ten thousand would be in memory together */
        struct slice value = it->ops->value(it);
        Cairn__PartRecord *part =
            cairn__part_record__unpack(&arena->allocator, value.len, value.ptr);
        if (!part)
            return arena->failed ? ERR_NOMEM : ERR_CORRUPT;
        part_choose(op, position++, part, c);
    }
    if (c->decision)
        return OK;
    int err = it->ops->error(it);
    if (!err && position < op->n_parts)
        completion_refuse(c, ERR_INVALID_PART, op->parts[position]->number);
    return err;
}

static int parts_check(struct apply *a, const Cairn__CompleteUpload *op, struct completion *c)
{
    parts_order_check(op, c);
    if (c->decision)
        return OK;
    struct kv *kv = a->index->kv;
    struct key lower, upper;
    key_upload(&lower, a->index->partition, TABLE_PART, op->bucket_id, bytes_of(op->key),
               bytes_of(op->upload_id));
    upper = lower;
    key_successor(&upper);
    struct kv_iter *it = kv->ops->iter_new(kv, NULL, KV_INDEX, key_view(&lower), key_view(&upper));
    if (!it)
        return ERR_NOMEM;
    struct index_arena arena;
    index_arena_init(&arena);
    int err = parts_merge(op, it, &arena, c);
    index_arena_fini(&arena);
    it->ops->free(it);
    return err;
}

/* The upload is not under way.  S3 answers a repeated CompleteMultipartUpload with success; so do
 * we, as long as the object is still the one that it made, of the very parts named now. */
static int complete_again(struct apply *a, const Cairn__CompleteUpload *op)
{
    Cairn__ObjectRecord *current;
    int err = object_get(a, op->bucket_id, bytes_of(op->key), &current);
    if (err)
        return err;
    if (!current || current->kind != CAIRN__DATA_KIND__DATA_MANIFEST ||
        !slice_eq(bytes_of(current->manifest_id), bytes_of(op->upload_id)))
        return apply_decide(a, ERR_NO_UPLOAD);
    struct key row;
    ProtobufCMessage *message;
    key_upload(&row, a->index->partition, TABLE_MANIFEST, op->bucket_id, bytes_of(op->key),
               bytes_of(op->upload_id));
    err = apply_get_message(a, &row, &cairn__upload_record__descriptor, &message);
    if (err)
        return err;
    const Cairn__UploadRecord *manifest = (const Cairn__UploadRecord *)(void *)message;
    struct completion *c = index_arena_alloc(a->arena, sizeof(*c));
    if (!c)
        return ERR_NOMEM;
    memset(c, 0, sizeof(*c));
    err = parts_check(a, op, c);
    if (err)
        return err;
    for (size_t i = 0; i < op->n_parts && !c->decision; i++)
        if (!part_is_chosen(manifest->chosen, op->parts[i]->number))
            completion_refuse(c, ERR_INVALID_PART, op->parts[i]->number);
    if (c->decision || op->n_parts != current->part_count)
        return apply_decide(a, ERR_NO_UPLOAD);
    a->out.existed = true;
    a->out.version = current->versioned ? current->version : 0;
    a->out.etag = current->etag;
    a->out.size = current->size;
    return OK;
}

/* The lock that the upload was begun with is the object's, whatever the proposer has made of it;
 * only without one the bucket's default counts.  Retention and hold by themselves.  Returns how
 * long it is to last from now on; 0: until its date. */
static uint64_t upload_lock(const Cairn__CompleteUpload *op, const Cairn__ObjectRecord *begun)
{
    Cairn__ObjectRecord *r = op->record;
    if (begun && begun->legal_hold != CAIRN__LEGAL_HOLD__HOLD_NEVER)
        r->legal_hold = begun->legal_hold;
    if (!begun || begun->lock_mode == CAIRN__LOCK_MODE__LOCK_NONE)
        return op->retain_ms;
    r->lock_mode = begun->lock_mode;
    r->retain_until_ms = begun->retain_until_ms;
    return 0;
}

static int complete_effects(struct apply *a, const Cairn__CompleteUpload *op,
                            Cairn__UploadRecord *upload, Cairn__ObjectRecord *old,
                            struct completion *c)
{
    struct slice key = bytes_of(op->key), id = bytes_of(op->upload_id);
    struct key row;
    int err = OK;
    key_upload(&row, a->index->partition, TABLE_UPLOAD, op->bucket_id, key, id);
    apply_delete(a, &row);
    upload->completed = true;
    if (c->unchosen) {
        upload->chosen = (ProtobufCBinaryData){c->bitmap_bytes, c->bitmap};
        err = deletion_queue_unchosen(a, op->bucket_id, key, id);
    }
    key_upload(&row, a->index->partition, TABLE_MANIFEST, op->bucket_id, key, id);
    if (!err)
        err = apply_put_message(a, &row, &upload->base);
    op->record->delete_marker = false;
    return err ? err
               : object_replace(a, op->bucket_id, key, old, op->record,
                                upload_lock(op, upload->object));
}

int apply_complete_upload(struct apply *a, const Cairn__CompleteUpload *op)
{
    struct key row;
    ProtobufCMessage *message;
    key_upload(&row, a->index->partition, TABLE_UPLOAD, op->bucket_id, bytes_of(op->key),
               bytes_of(op->upload_id));
    int err = apply_get_message(a, &row, &cairn__upload_record__descriptor, &message);
    if (err)
        return err == ERR_NOT_FOUND ? complete_again(a, op) : err;
    Cairn__UploadRecord *upload = (Cairn__UploadRecord *)(void *)message;
    struct completion *c = index_arena_alloc(a->arena, sizeof(*c));
    Cairn__ObjectRecord *old;
    if (!c)
        return ERR_NOMEM;
    memset(c, 0, sizeof(*c));
    err = parts_check(a, op, c);
    if (!err)
        err = object_get(a, op->bucket_id, bytes_of(op->key), &old);
    if (err)
        return err;
    a->out.existed = object_visible(old) != NULL;
    a->out.detail = c->detail;
    if (!c->decision)
        c->decision = condition_check(op->condition, object_visible(old));
    if (!c->decision && c->size != op->record->size)
        c->decision = ERR_REFUSED; /* the ETags match, so the gateway has added up wrongly */
    if (c->decision)
        return apply_decide(a, c->decision);
    err = complete_effects(a, op, upload, old, c);
    if (err || a->out.err)
        return err;
    a->out.etag = op->record->etag;
    a->out.size = c->size;
    return OK;
}

int apply_abort_upload(struct apply *a, const Cairn__AbortUpload *op)
{
    struct slice key = bytes_of(op->key), id = bytes_of(op->upload_id);
    bool exists;
    int err = row_exists(a, TABLE_UPLOAD, op->bucket_id, key, id, &exists);
    if (err || !exists)
        return err ? err : apply_decide(a, ERR_NO_UPLOAD);
    if (op->not_before_ms > a->h.time_ms)
        return apply_decide(a, ERR_PRECONDITION);
    struct key row;
    key_upload(&row, a->index->partition, TABLE_UPLOAD, op->bucket_id, key, id);
    apply_delete(a, &row);
    return MUTANT(ABORT_LETS_GO_NOTHING) ? OK : deletion_queue_upload(a, op->bucket_id, key, id);
}
