#pragma once
/* Requests to IAM and STS: POST or GET of "/", signed for one of these services. */
#include "gateway/op/request.h"

/* After sigv4_parse(), which may have failed. */
bool iam_is_request(const struct request *req);
/* Answers and ends the request.  code: what its parsing came to. */
void iam_start(struct request *req, enum s3_code code);
