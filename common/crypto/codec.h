#pragma once
/* Base64 (RFC 4648, padded) and hexadecimal, strict: no white space, no missing padding, and no
 * bits set that the padding leaves unused. */
#include "common/base/slice.h"

#include <sys/types.h>

#define BASE64_CHARS(bytes) (((bytes) + 2) / 3 * 4)
#define HEX_CHARS(bytes) ((bytes)*2)

/* Writes BASE64_CHARS(s.len) characters, no NUL.  Returns that number. */
size_t base64_encode(struct slice s, char *ret);
/* Returns: number of bytes written to ret; -1 when s is not base64 or holds more than cap bytes. */
ssize_t base64_decode(struct slice s, uint8_t *ret, size_t cap);
/* The URL-safe alphabet without padding. */
size_t base64url_encode(struct slice s, char *ret);
ssize_t base64url_decode(struct slice s, uint8_t *ret, size_t cap);

/* Lower case, no NUL. */
void hex_encode(struct slice s, char *ret);
/* Either case.  false: not exactly 2*len hex digits. */
bool hex_decode(struct slice s, uint8_t *ret, size_t len);
