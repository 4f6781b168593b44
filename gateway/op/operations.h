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
void list_versions_start(struct request *req);
void get_bucket_versioning_start(struct request *req);
void put_bucket_versioning_start(struct request *req);
void list_uploads_start(struct request *req);
void delete_objects_start(struct request *req);
void get_object_start(struct request *req); /* HEAD too */
unsigned put_object_needs(struct request *req);
void put_object_start(struct request *req); /* PostObject too */
unsigned rename_object_needs(struct request *req);
void copy_object_start(struct request *req); /* UploadPartCopy, RenameObject too */
void delete_object_start(struct request *req);
void get_attributes_start(struct request *req);
void create_upload_start(struct request *req);
void upload_part_start(struct request *req);
void list_parts_start(struct request *req);
void complete_upload_start(struct request *req);
void abort_upload_start(struct request *req);
void get_setting_start(struct request *req);
void list_settings_start(struct request *req);
void put_setting_start(struct request *req); /* DELETE too */
void get_policy_start(struct request *req);
void get_policy_status_start(struct request *req);
void put_policy_start(struct request *req);  /* DELETE too */
void get_acl_start(struct request *req);     /* of buckets and of objects */
void put_acl_start(struct request *req);
void get_object_tags_start(struct request *req);
void put_object_tags_start(struct request *req); /* DELETE too */
void get_object_lock_start(struct request *req); /* retention or legal hold */
void put_object_lock_start(struct request *req);
void preflight_start(struct request *req);
void admin_start(struct request *req);
