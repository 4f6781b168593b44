/* Values of parameters: parsing, ranges, and the words that say what would be right. */
#include "common/config/config_value.h"

#include "common/base/check.h"
#include "common/base/err.h"

#include <arpa/inet.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

struct unit {
    const char *name;
    int64_t factor;
};

static const struct unit byte_units[] = {
    {"TiB", 1ll << 40}, {"GiB", 1ll << 30}, {"MiB", 1ll << 20}, {"KiB", 1ll << 10}, {"B", 1}};
static const struct unit time_units[] = {{"h", 3600000}, {"m", 60000}, {"s", 1000}, {"ms", 1}};

static const struct unit *find_unit(const struct unit *units, size_t count, const char *name)
{
    for (size_t i = 0; i < count; i++)
        if (strcmp(units[i].name, name) == 0)
            return &units[i];
    return NULL;
}

/* Decimal digits with an optional sign; *ret_rest is what follows them.  false: no digit, or too large. */
static bool parse_digits(const char *text, int64_t *ret, const char **ret_rest)
{
    bool negative = *text == '-';
    const char *p = text + (negative ? 1 : 0);
    int64_t v = 0;
    if (*p < '0' || *p > '9')
        return false;
    for (; *p >= '0' && *p <= '9'; p++)
        if (__builtin_mul_overflow(v, 10, &v) || __builtin_add_overflow(v, *p - '0', &v))
            return false;
    *ret = negative ? -v : v;
    *ret_rest = p;
    return true;
}

static const char *expected(enum config_type type)
{
    switch (type) {
    case CONFIG_STRING: return "a text";
    case CONFIG_INT: return "a whole number such as 16";
    case CONFIG_BYTES: return "a size such as 4096, 16KiB, 64MiB or 2GiB";
    case CONFIG_DURATION: return "a duration such as 250ms, 5s, 10m or 1h";
    case CONFIG_BOOL: return "true or false";
    case CONFIG_ADDRESS: return "an address such as 127.0.0.1:7001, [::1]:7001 or host:7001";
    }
    return "something else";
}

static bool parse_number(enum config_type type, const char *text, int64_t *ret)
{
    const char *rest;
    int64_t v;
    if (!parse_digits(text, &v, &rest))
        return false;
    const struct unit *unit = NULL;
    if (type == CONFIG_BYTES)
        unit = *rest ? find_unit(byte_units, ARRAY_COUNT(byte_units), rest) : &byte_units[4];
    else if (type == CONFIG_DURATION) /* a bare 5 could mean seconds or milliseconds: only 0 is clear */
        unit = *rest ? find_unit(time_units, ARRAY_COUNT(time_units), rest) : v == 0 ? &time_units[3] : NULL;
    else if (*rest == 0)
        unit = &byte_units[4];
    if (!unit || __builtin_mul_overflow(v, unit->factor, &v))
        return false;
    *ret = v;
    return true;
}

static bool parse_bool(const char *text, int64_t *ret)
{
    static const char *const words[] = {"false", "true", "no", "yes", "off", "on"};
    for (size_t i = 0; i < ARRAY_COUNT(words); i++) {
        if (strcmp(text, words[i]) == 0) {
            *ret = i % 2;
            return true;
        }
    }
    return false;
}

void config_value_format(enum config_type type, int64_t v, char *ret, size_t size)
{
    const struct unit *units = type == CONFIG_BYTES ? byte_units : time_units;
    size_t count = type == CONFIG_BYTES ? ARRAY_COUNT(byte_units) : ARRAY_COUNT(time_units);
    if (type == CONFIG_BYTES || type == CONFIG_DURATION) {
        for (size_t i = 0; i < count; i++) {
            if (v != 0 && v % units[i].factor == 0) {
                snprintf(ret, size, "%" PRId64 "%s", v / units[i].factor, units[i].name);
                return;
            }
        }
    }
    snprintf(ret, size, "%" PRId64, v);
}

static int check_range(const struct config_param *p, const char *text, int64_t v, struct buf *ret_error)
{
    bool bounded = p->min != 0 || p->max != 0;
    int64_t max = bounded ? p->max : INT64_MAX;
    if (v >= p->min && v <= max)
        return OK;
    char lo[32], hi[32];
    config_value_format(p->type, p->min, lo, sizeof(lo));
    config_value_format(p->type, max, hi, sizeof(hi));
    if (bounded)
        buf_printf(ret_error, "%s: %s is out of range; use %s to %s", p->name, text, lo, hi);
    else
        buf_printf(ret_error, "%s: %s is out of range; it must not be negative", p->name, text);
    return ERR_CONFIG;
}

int config_value_parse(const struct config_param *p, const char *text, int64_t *ret,
                       struct buf *ret_error)
{
    int64_t v = 0;
    bool good = true;
    switch (p->type) {
    case CONFIG_STRING: break;
    case CONFIG_ADDRESS: good = text[0] == 0 || config_address_ok(text, true); break;
    case CONFIG_BOOL: good = parse_bool(text, &v); break;
    case CONFIG_INT:
    case CONFIG_BYTES:
    case CONFIG_DURATION: good = parse_number(p->type, text, &v); break;
    }
    if (!good) {
        bool secret = p->flags & CONFIG_SECRET;
        buf_printf(ret_error, "%s: '%.100s' is not %s", p->name, secret ? "***" : text, expected(p->type));
        return ERR_CONFIG;
    }
    if (p->type == CONFIG_INT || p->type == CONFIG_BYTES || p->type == CONFIG_DURATION) {
        int err = check_range(p, text, v, ret_error);
        if (err != OK)
            return err;
    }
    *ret = v;
    return OK;
}

/* ---- addresses ---- */
bool config_address_split(const char *text, char *ret_host, size_t host_size, unsigned *ret_port)
{
    const char *colon = strrchr(text, ':');
    const char *host = text;
    if (!colon || colon == text)
        return false;
    size_t len = (size_t)(colon - text);
    if (text[0] == '[') {
        if (len < 4 || colon[-1] != ']')
            return false;
        host = text + 1;
        len -= 2;
    } else if (memchr(text, ':', len)) {
        return false; /* an IPv6 address needs brackets */
    }
    const char *rest;
    int64_t port;
    if (len + 1 > host_size || colon[1] == '-' || !parse_digits(colon + 1, &port, &rest) || *rest ||
        port > 65535 || rest - colon > 6)
        return false;
    memcpy(ret_host, host, len);
    ret_host[len] = 0;
    *ret_port = (unsigned)port;
    return true;
}

static bool host_ok(const char *host, bool bracketed)
{
    struct in6_addr v6;
    if (bracketed)
        return inet_pton(AF_INET6, host, &v6) == 1;
    bool digits_only = true;
    for (const char *p = host; *p; p++) {
        bool alpha = (*p >= 'a' && *p <= 'z') || (*p >= 'A' && *p <= 'Z');
        bool digit = *p >= '0' && *p <= '9';
        if (!alpha && !digit && *p != '.' && *p != '-' && *p != '_')
            return false;
        digits_only = digits_only && (digit || *p == '.');
    }
    struct in_addr v4;
    return !digits_only || inet_pton(AF_INET, host, &v4) == 1;
}

bool config_address_ok(const char *text, bool zero_port_ok)
{
    char host[256];
    unsigned port;
    if (!config_address_split(text, host, sizeof(host), &port))
        return false;
    return (port != 0 || zero_port_ok) && host_ok(host, text[0] == '[');
}
