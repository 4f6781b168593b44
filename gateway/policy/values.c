/* Parsers without libc's locale, clock or resolver. */
#include "gateway/policy/values.h"

#include "common/base/check.h"
#include "gateway/policy/pattern.h"

static bool digit(uint8_t c)
{
    return c >= '0' && c <= '9';
}

/* ---- numbers ---- */

struct number {
    bool negative;
    struct slice whole, fraction; /* without the zeros that say nothing */
};

static bool number_parse(struct slice s, struct number *ret)
{
    struct number n = {0};
    size_t i = 0, start;
    if (i < s.len && (s.ptr[i] == '-' || s.ptr[i] == '+'))
        n.negative = s.ptr[i++] == '-';
    start = i;
    while (i < s.len && digit(s.ptr[i]))
        i++;
    if (i == start)
        return false;
    while (start < i && s.ptr[start] == '0')
        start++;
    n.whole = SLICE(s.ptr + start, i - start);
    if (i < s.len && s.ptr[i] == '.') {
        start = ++i;
        while (i < s.len && digit(s.ptr[i]))
            i++;
        if (i == start)
            return false;
        n.fraction = SLICE(s.ptr + start, i - start);
        while (n.fraction.len && n.fraction.ptr[n.fraction.len - 1] == '0')
            n.fraction.len--;
    }
    if (n.whole.len == 0 && n.fraction.len == 0)
        n.negative = false;
    *ret = n;
    return i == s.len;
}

bool policy_number_valid(struct slice s)
{
    struct number n;
    return number_parse(s, &n);
}

bool policy_number_compare(struct slice a, struct slice b, int *ret)
{
    struct number x, y;
    if (!number_parse(a, &x) || !number_parse(b, &y))
        return false;
    if (x.negative != y.negative) {
        *ret = x.negative ? -1 : 1;
        return true;
    }
    int c = x.whole.len != y.whole.len ? (x.whole.len > y.whole.len ? 1 : -1)
                                       : slice_cmp(x.whole, y.whole);
    if (c == 0)
        c = slice_cmp(x.fraction, y.fraction);
    *ret = x.negative ? -c : c;
    return true;
}

/* ---- dates ---- */

/* Exactly `count` digits at *at, within bounds. */
static bool take_digits(struct slice s, size_t *at, size_t count, int min, int max, int *ret)
{
    int v = 0;
    if (s.len - *at < count)
        return false;
    for (size_t i = 0; i < count; i++, (*at)++) {
        if (!digit(s.ptr[*at]))
            return false;
        v = v * 10 + (s.ptr[*at] - '0');
    }
    *ret = v;
    return v >= min && v <= max;
}

static bool take_byte(struct slice s, size_t *at, char c)
{
    if (*at >= s.len || s.ptr[*at] != (uint8_t)c)
        return false;
    (*at)++;
    return true;
}

/* Days since 1970-01-01 in the proleptic Gregorian calendar (Hinnant, "chrono-compatible
 * low-level date algorithms"). */
static int64_t days_from_civil(int y, int m, int d)
{
    y -= m <= 2;
    int era = y / 400, of_era = y - era * 400;
    int of_year = (153 * (m + (m > 2 ? -3 : 9)) + 2) / 5 + d - 1;
    return (int64_t)era * 146097 + of_era * 365 + of_era / 4 - of_era / 100 + of_year - 719468;
}

static int days_of_month(int y, int m)
{
    static const int days[] = {31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31};
    return days[m - 1] + (m == 2 && y % 4 == 0 && (y % 100 != 0 || y % 400 == 0));
}

/* Z, or +hh:mm: minutes to take off. */
static bool take_zone(struct slice s, size_t *at, int *ret)
{
    int hours, minutes;
    if (take_byte(s, at, 'Z')) {
        *ret = 0;
        return true;
    }
    bool minus = take_byte(s, at, '-');
    if ((!minus && !take_byte(s, at, '+')) || !take_digits(s, at, 2, 0, 23, &hours) ||
        !take_byte(s, at, ':') || !take_digits(s, at, 2, 0, 59, &minutes))
        return false;
    *ret = (minus ? -1 : 1) * (hours * 60 + minutes);
    return true;
}

/* hh:mm[:ss[.fff]] and the zone, in milliseconds of the day. */
static bool take_time(struct slice s, size_t *at, int64_t *ret)
{
    int hour, minute, second = 0, ms = 0, zone;
    if (!take_digits(s, at, 2, 0, 23, &hour) || !take_byte(s, at, ':') ||
        !take_digits(s, at, 2, 0, 59, &minute))
        return false;
    if (take_byte(s, at, ':')) {
        if (!take_digits(s, at, 2, 0, 59, &second))
            return false;
        if (take_byte(s, at, '.')) {
            int unit = 100;
            size_t start = *at;
            for (; *at < s.len && digit(s.ptr[*at]); (*at)++, unit /= 10)
                ms += (s.ptr[*at] - '0') * unit;
            if (*at == start)
                return false;
        }
    }
    if (!take_zone(s, at, &zone))
        return false;
    *ret = ((int64_t)hour * 60 + minute - zone) * 60000 + second * 1000 + ms;
    return true;
}

static bool epoch_parse(struct slice s, int64_t *ret_ms)
{
    int64_t v = 0;
    size_t i = s.len && s.ptr[0] == '-';
    if (s.len - i == 0 || s.len - i > 12)
        return false;
    for (size_t k = i; k < s.len; k++) {
        if (!digit(s.ptr[k]))
            return false;
        v = v * 10 + (s.ptr[k] - '0');
    }
    *ret_ms = (i ? -v : v) * 1000;
    return true;
}

bool policy_date_parse(struct slice s, int64_t *ret_ms)
{
    int year, month = 1, day = 1;
    int64_t time = 0;
    size_t at = 0;
    /* Four digits are a year, not a time of 1970. */
    if (s.len != 4 && epoch_parse(s, ret_ms))
        return true;
    if (!take_digits(s, &at, 4, 1, 9999, &year))
        return false;
    if (take_byte(s, &at, '-')) {
        if (!take_digits(s, &at, 2, 1, 12, &month))
            return false;
        if (take_byte(s, &at, '-') &&
            (!take_digits(s, &at, 2, 1, days_of_month(year, month), &day) ||
             (take_byte(s, &at, 'T') && !take_time(s, &at, &time))))
            return false;
    }
    if (at != s.len)
        return false;
    *ret_ms = days_from_civil(year, month, day) * 86400000 + time;
    return true;
}

/* ---- addresses ---- */

static bool small_number(struct slice s, unsigned max, unsigned *ret)
{
    unsigned v = 0;
    if (s.len == 0 || s.len > 3 || (s.len > 1 && s.ptr[0] == '0'))
        return false;
    for (size_t i = 0; i < s.len; i++) {
        if (!digit(s.ptr[i]))
            return false;
        v = v * 10 + (unsigned)(s.ptr[i] - '0');
    }
    *ret = v;
    return v <= max;
}

static bool ipv4_parse(struct slice s, uint8_t to[4])
{
    for (size_t i = 0; i < 4; i++) {
        const uint8_t *dot = i < 3 && s.len ? memchr(s.ptr, '.', s.len) : NULL;
        unsigned v;
        size_t n = dot ? (size_t)(dot - s.ptr) : s.len;
        if ((i < 3 && !dot) || !small_number(SLICE(s.ptr, n), 255, &v))
            return false;
        to[i] = (uint8_t)v;
        if (dot)
            s = SLICE(dot + 1, s.len - n - 1);
    }
    return true;
}

/* Up to four hexadecimal digits at *at. */
static bool take_group(struct slice s, size_t *at, unsigned *ret)
{
    unsigned v = 0;
    size_t start = *at;
    for (; *at < s.len && *at - start < 4; (*at)++) {
        uint8_t c = s.ptr[*at], low = policy_lower(c);
        if (!digit(c) && (low < 'a' || low > 'f'))
            break;
        v = v << 4 | (unsigned)(digit(c) ? c - '0' : low - 'a' + 10);
    }
    *ret = v;
    return *at > start;
}

/* RFC 4291, 2.2: eight groups, one run of zeros as "::", the last two as IPv4. */
static bool ipv6_parse(struct slice s, uint8_t to[16])
{
    uint8_t out[16] = {0};
    size_t at = 0, n = 0, gap = SIZE_MAX;
    if (s.len >= 2 && s.ptr[0] == ':' && s.ptr[1] == ':') {
        gap = 0;
        at = 2;
    }
    while (at < s.len) {
        unsigned group;
        size_t start = at;
        if (n > 14 || !take_group(s, &at, &group))
            return false;
        if (at < s.len && s.ptr[at] == '.') {
            if (n > 12 || !ipv4_parse(SLICE(s.ptr + start, s.len - start), out + n))
                return false;
            n += 4;
            at = s.len;
            break;
        }
        out[n++] = (uint8_t)(group >> 8);
        out[n++] = (uint8_t)group;
        if (at == s.len)
            break;
        if (s.ptr[at++] != ':' || at == s.len)
            return false;
        if (s.ptr[at] == ':') {
            if (gap != SIZE_MAX)
                return false;
            gap = n;
            at++;
        }
    }
    if (gap == SIZE_MAX ? n != 16 : n > 14)
        return false;
    memset(to, 0, 16);
    if (gap == SIZE_MAX)
        gap = n;
    memcpy(to, out, gap);
    memcpy(to + 16 - (n - gap), out + gap, n - gap);
    return true;
}

bool policy_address_parse(struct slice s, struct policy_address *ret)
{
    static const uint8_t mapped[12] = {[10] = 0xff, [11] = 0xff};
    struct policy_address a = {0};
    const uint8_t *slash = s.len ? memchr(s.ptr, '/', s.len) : NULL;
    struct slice host = slash ? SLICE(s.ptr, (size_t)(slash - s.ptr)) : s;
    bool v6 = host.len && memchr(host.ptr, ':', host.len);
    a.len = v6 ? 16 : 4;
    a.prefix = a.len * 8;
    if (v6 ? !ipv6_parse(host, a.bytes) : !ipv4_parse(host, a.bytes))
        return false;
    if (slash && !small_number(SLICE(slash + 1, s.len - host.len - 1), a.len * 8, &a.prefix))
        return false;
    if (v6 && memcmp(a.bytes, mapped, sizeof(mapped)) == 0 && a.prefix >= 96) {
        memmove(a.bytes, a.bytes + 12, 4);
        memset(a.bytes + 4, 0, 12);
        a.len = 4;
        a.prefix -= 96;
    }
    *ret = a;
    return true;
}

bool policy_address_within(const struct policy_address *network, const struct policy_address *a)
{
    CHECK(network->prefix <= network->len * 8);
    if (network->len != a->len || a->prefix < network->prefix)
        return false;
    unsigned whole = network->prefix / 8, bits = network->prefix % 8;
    if (memcmp(network->bytes, a->bytes, whole) != 0)
        return false;
    return bits == 0 || ((network->bytes[whole] ^ a->bytes[whole]) >> (8 - bits)) == 0;
}

/* ---- the rest ---- */

bool policy_bool_parse(struct slice s, bool *ret)
{
    *ret = policy_eq_ignore_case(s, SLICE_LIT("true"));
    return *ret || policy_eq_ignore_case(s, SLICE_LIT("false"));
}

bool policy_base64_valid(struct slice s)
{
    size_t n = s.len;
    while (n && s.len - n < 2 && s.ptr[n - 1] == '=')
        n--;
    for (size_t i = 0; i < n; i++) {
        uint8_t c = s.ptr[i], low = policy_lower(c);
        if (!digit(c) && (low < 'a' || low > 'z') && c != '+' && c != '/')
            return false;
    }
    return s.len % 4 == 0;
}
