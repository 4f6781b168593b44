#pragma once
/* The starts of all S3 operations: called with the request authenticated, authorized, and what the
 * table in gateway.c says has been read.  Each answers and ends the request, now or later. */
#include "gateway/op/request.h"

void list_buckets_start(struct request *req);
void create_bucket_start(struct request *req);
void head_bucket_start(struct request *req);
void delete_bucket_start(struct request *req);
void get_bucket_location_start(struct request *req);
void list_objects_start(struct request *req);
void list_uploads_start(struct request *req);
void delete_objects_start(struct request *req);
void get_object_start(struct request *req); /* HEAD too */
unsigned put_object_needs(struct request *req);
void put_object_start(struct request *req);
void copy_object_start(struct request *req); /* UploadPartCopy too */
void delete_object_start(struct request *req);
void get_attributes_start(struct request *req);
void create_upload_start(struct request *req);
void upload_part_start(struct request *req);
void list_parts_start(struct request *req);
void complete_upload_start(struct request *req);
void abort_upload_start(struct request *req);
void admin_start(struct request *req);
