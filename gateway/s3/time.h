#pragma once
/* The dates of HTTP and S3: formatting and parsing, without libc's clock or locale.  Pure.
 * Years 1970 to 9999; Unix time in milliseconds. */
#include "common/base/slice.h"

#define HTTP_DATE_CHARS 29  /* "Fri, 24 May 2013 00:00:00 GMT" */
#define ISO8601_MS_CHARS 24 /* "2013-05-24T00:00:00.000Z" */
#define AMZ_DATE_CHARS 16   /* "20130524T000000Z" */

/* NUL-terminated. */
void http_date_format(uint64_t ms, char ret[HTTP_DATE_CHARS + 1]);
void iso8601_format(uint64_t ms, char ret[ISO8601_MS_CHARS + 1]);
void amz_date_format(uint64_t ms, char ret[AMZ_DATE_CHARS + 1]);

/* IMF-fixdate, RFC 850 and asctime.  now_ms: for the two-digit years of RFC 850. */
bool http_date_parse(struct slice s, uint64_t now_ms, uint64_t *ret_ms);
/* "2013-05-24T00:00:00Z", with or without a fraction of a second. */
bool iso8601_parse(struct slice s, uint64_t *ret_ms);
bool amz_date_parse(struct slice s, uint64_t *ret_ms);
