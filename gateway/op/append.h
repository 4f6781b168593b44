#pragma once
/* PutObject with x-amz-write-offset-bytes: the body comes behind what the object has already. */
#include "gateway/op/request.h"

/* The request is a PutObject with a write offset: its object and body must be read. */
bool append_is_asked(const struct request *req);
/* In put_object_start()'s place. */
void append_start(struct request *req);
