#pragma once
/* The kinds of values that conditions compare: numbers, dates, addresses, truth.  Pure. */
#include "common/base/slice.h"

/* Decimal numbers of any length, exactly: [+-]digits[.digits].  false: one is none. */
bool policy_number_compare(struct slice a, struct slice b, int *ret);
bool policy_number_valid(struct slice s);

/* Unix time in milliseconds: seconds since 1970, or ISO 8601 as W3C profiles it: a year, a month, a
 * day, or a time to the minute, second or fraction with Z or an offset. */
bool policy_date_parse(struct slice s, int64_t *ret_ms);

struct policy_address {
    uint8_t bytes[16];
    unsigned len;    /* 4 or 16 */
    unsigned prefix; /* bits of the network; all of them when none were given */
};
/* "192.0.2.0/24", "2001:db8::/32", or one address.  An IPv4 address mapped into IPv6 is IPv4. */
bool policy_address_parse(struct slice s, struct policy_address *ret);
/* Does the network hold the address? */
bool policy_address_within(const struct policy_address *network, const struct policy_address *a);

bool policy_bool_parse(struct slice s, bool *ret); /* "true", "false" in any case */
bool policy_base64_valid(struct slice s);
