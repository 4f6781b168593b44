/* Parts of uploads, however their data come in. */
#include "gateway/op/upload.h"

#include "gateway/op/record.h"

void upload_look_start(struct parts_walk *w, struct request *req, struct slice upload_id,
                       void (*wake)(struct parts_walk *))
{
    *w = (struct parts_walk){
        .req = req,
        .bucket_id = req->bucket->id,
        .key = req->s3.key,
        .upload_id = upload_id,
        .page_max = 1,
        .wake = wake,
    };
    parts_walk_start(w, S3_PART_NUMBER_MAX);
}

enum s3_code upload_look_result(struct parts_walk *w, enum s3_checksum_algorithm *ret)
{
    struct request *req = w->req;
    if (w->err != OK)
        return s3_fault_set(&req->fault, s3_code_of_err(w->err), NULL);
    if (w->page->upload->completed)
        return s3_fault_set(&req->fault, S3_NO_SUCH_UPLOAD, NULL);
    *ret = (enum s3_checksum_algorithm)w->page->upload->checksum_algorithm;
    return S3_OK;
}

enum s3_code upload_part_init(struct upload_part *p, struct request *req,
                              const uint8_t upload_id[ID_BYTES], uint32_t number,
                              const struct s3_hashes *hashes, Cairn__Encryption *encryption,
                              const struct ingest *in)
{
    Cairn__ObjectRecord object = CAIRN__OBJECT_RECORD__INIT;
    object.encryption = encryption;
    enum s3_code code = record_set_hashes(req, &object, hashes);
    if (code != S3_OK)
        return code;
    record_set_data(&object, in);
    cairn__part_record__init(&p->record);
    p->record.number = number;
    p->record.size = object.size;
    p->record.etag = object.etag;
    p->record.checksum = object.checksum;
    p->record.crc64nvme = object.crc64nvme;
    p->record.has_crc64nvme = object.has_crc64nvme;
    p->record.encryption = encryption;
    p->record.kind = object.kind;
    p->record.segments = object.segments;
    p->record.n_segments = object.n_segments;
    cairn__put_part__init(&p->command);
    p->command.bucket_id = req->bucket->id;
    p->command.key = binary_of(req->s3.key);
    p->command.upload_id = binary_of(SLICE(upload_id, ID_BYTES));
    p->command.part = &p->record;
    cairn__command__init(&p->commit.propose.command);
    p->commit.propose.command.op_case = CAIRN__COMMAND__OP_PUT_PART;
    p->commit.propose.command.put_part = &p->command;
    p->commit.propose.body = ingest_body(in);
    p->commit.propose.issue_until_ms = ingest_issue_until_ms(in);
    return S3_OK;
}
