#pragma once
/* Websites: what hosts that are websites answer to GET and HEAD, for anybody.  What may be read is
 * what s3:GetObject allows nobody in particular. */
#include "gateway/op/request.h"

/* code: what the parse said. */
void website_start(struct request *req, enum s3_code code);
/* The error as a page; for reply_error(). */
void website_reply_error(struct request *req, enum s3_code code);
