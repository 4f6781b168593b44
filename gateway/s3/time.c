/* Civil dates from days since 1970 and back, by arithmetic on 400-year eras that begin in March. */
#include "gateway/s3/time.h"

#include "common/base/check.h"
#include "common/base/cursor.h"

#define MS_PER_DAY 86400000ull
#define MS_MAX 253402300799999ull /* the end of 9999 */

struct civil {
    unsigned year, month, day, hour, minute, second, ms, weekday; /* month 1..12, Sunday 0 */
};

static const char month_names[12][4] = {"Jan", "Feb", "Mar", "Apr", "May", "Jun",
                                        "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"};
static const char day_names[7][4] = {"Sun", "Mon", "Tue", "Wed", "Thu", "Fri", "Sat"};

static void civil_of(uint64_t ms, struct civil *ret)
{
    if (ms > MS_MAX)
        ms = MS_MAX;
    unsigned days = (unsigned)(ms / MS_PER_DAY), rest = (unsigned)(ms % MS_PER_DAY);
    ret->weekday = (days + 4) % 7; /* 1970-01-01 was a Thursday */
    unsigned z = days + 719468;    /* since 0000-03-01 */
    unsigned era = z / 146097, day_of_era = z % 146097;
    unsigned year_of_era =
        (day_of_era - day_of_era / 1460 + day_of_era / 36524 - day_of_era / 146096) / 365;
    unsigned day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    unsigned m = (5 * day_of_year + 2) / 153; /* March is 0 */
    ret->day = day_of_year - (153 * m + 2) / 5 + 1;
    ret->month = m < 10 ? m + 3 : m - 9;
    ret->year = year_of_era + era * 400 + (ret->month <= 2);
    ret->hour = rest / 3600000;
    ret->minute = rest / 60000 % 60;
    ret->second = rest / 1000 % 60;
    ret->ms = rest % 1000;
}

static bool ms_of(const struct civil *c, uint64_t *ret)
{
    static const uint8_t month_days[12] = {31, 29, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31};
    if (c->year < 1970 || c->year > 9999 || c->month < 1 || c->month > 12 || c->day < 1 ||
        c->day > month_days[c->month - 1] || c->hour > 23 || c->minute > 59 || c->second > 60)
        return false;
    bool leap = (c->year % 4 == 0 && c->year % 100 != 0) || c->year % 400 == 0;
    if (c->month == 2 && c->day == 29 && !leap)
        return false;
    unsigned y = c->year - (c->month <= 2), era = y / 400, year_of_era = y % 400;
    unsigned m = c->month > 2 ? c->month - 3 : c->month + 9;
    unsigned day_of_year = (153 * m + 2) / 5 + c->day - 1;
    unsigned day_of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year;
    uint64_t days = era * 146097ull + day_of_era - 719468;
    *ret = days * MS_PER_DAY + c->hour * 3600000ull + c->minute * 60000ull + c->second * 1000ull +
           c->ms;
    return true;
}

/* ---- writing: digit by digit, since every answer has dates ---- */

static char *put_text(char *to, const char *text, size_t len)
{
    memcpy(to, text, len);
    return to + len;
}

static char *put_number(char *to, unsigned v, unsigned digits)
{
    for (unsigned i = digits; i-- > 0; v /= 10)
        to[i] = (char)('0' + v % 10);
    return to + digits;
}

/* Hour, minute and second, with a colon between if there is to be one. */
static char *put_clock(char *to, const struct civil *c, bool colons)
{
    to = put_number(to, c->hour, 2);
    to = put_text(to, ":", colons);
    to = put_number(to, c->minute, 2);
    to = put_text(to, ":", colons);
    return put_number(to, c->second, 2);
}

void http_date_format(uint64_t ms, char ret[HTTP_DATE_CHARS + 1])
{
    struct civil c;
    civil_of(ms, &c);
    char *to = put_text(ret, day_names[c.weekday], 3);
    to = put_text(to, ", ", 2);
    to = put_number(to, c.day, 2);
    to = put_text(to, " ", 1);
    to = put_text(to, month_names[c.month - 1], 3);
    to = put_text(to, " ", 1);
    to = put_number(to, c.year, 4);
    to = put_text(to, " ", 1);
    to = put_clock(to, &c, true);
    to = put_text(to, " GMT", sizeof(" GMT"));
    CHECK(to == ret + HTTP_DATE_CHARS + 1);
}

void iso8601_format(uint64_t ms, char ret[ISO8601_MS_CHARS + 1])
{
    struct civil c;
    civil_of(ms, &c);
    char *to = put_number(ret, c.year, 4);
    to = put_text(to, "-", 1);
    to = put_number(to, c.month, 2);
    to = put_text(to, "-", 1);
    to = put_number(to, c.day, 2);
    to = put_text(to, "T", 1);
    to = put_clock(to, &c, true);
    to = put_text(to, ".", 1);
    to = put_number(to, c.ms, 3);
    to = put_text(to, "Z", sizeof("Z"));
    CHECK(to == ret + ISO8601_MS_CHARS + 1);
}

void amz_date_format(uint64_t ms, char ret[AMZ_DATE_CHARS + 1])
{
    struct civil c;
    civil_of(ms, &c);
    char *to = put_number(ret, c.year, 4);
    to = put_number(to, c.month, 2);
    to = put_number(to, c.day, 2);
    to = put_text(to, "T", 1);
    to = put_clock(to, &c, false);
    to = put_text(to, "Z", sizeof("Z"));
    CHECK(to == ret + AMZ_DATE_CHARS + 1);
}

/* ---- reading: a cursor whose failure is sticky ---- */

static unsigned number(struct cursor *c, unsigned digits)
{
    unsigned v = 0;
    for (unsigned i = 0; i < digits; i++) {
        uint8_t d = cursor_u8(c);
        if (d < '0' || d > '9')
            c->failed = true;
        v = v * 10 + (unsigned)(d - '0') % 10;
    }
    return v;
}

static void literal(struct cursor *c, const char *text)
{
    struct slice want = slice_cstr(text);
    if (!slice_eq(cursor_bytes(c, want.len), want))
        c->failed = true;
}

static unsigned month_name(struct cursor *c)
{
    struct slice s = cursor_bytes(c, 3);
    for (unsigned i = 0; i < 12; i++)
        if (slice_eq(s, SLICE(month_names[i], 3)))
            return i + 1;
    c->failed = true;
    return 1;
}

static void clock_time(struct cursor *c, struct civil *ret)
{
    ret->hour = number(c, 2);
    literal(c, ":");
    ret->minute = number(c, 2);
    literal(c, ":");
    ret->second = number(c, 2);
}

static bool finish(const struct cursor *c, const struct civil *civil, uint64_t *ret)
{
    return !c->failed && cursor_left(c) == 0 && ms_of(civil, ret);
}

/* "Sun, 06 Nov 1994 08:49:37 GMT", behind the comma. */
static bool parse_fixdate(struct slice s, uint64_t *ret)
{
    struct cursor c = cursor_of(s);
    struct civil v = {0};
    literal(&c, " ");
    v.day = number(&c, 2);
    literal(&c, " ");
    v.month = month_name(&c);
    literal(&c, " ");
    v.year = number(&c, 4);
    literal(&c, " ");
    clock_time(&c, &v);
    literal(&c, " GMT");
    return finish(&c, &v, ret);
}

/* "Sunday, 06-Nov-94 08:49:37 GMT", behind the comma.  A date that appears to be more than 50 years
 * ahead is of the century before (RFC 9110, 5.6.7). */
static bool parse_rfc850(struct slice s, uint64_t now_ms, uint64_t *ret)
{
    struct cursor c = cursor_of(s);
    struct civil v = {0}, now;
    civil_of(now_ms, &now);
    literal(&c, " ");
    v.day = number(&c, 2);
    literal(&c, "-");
    v.month = month_name(&c);
    literal(&c, "-");
    v.year = now.year / 100 * 100 + number(&c, 2);
    if (v.year > now.year + 50)
        v.year -= 100;
    literal(&c, " ");
    clock_time(&c, &v);
    literal(&c, " GMT");
    return finish(&c, &v, ret);
}

/* "Sun Nov  6 08:49:37 1994", behind the day's name. */
static bool parse_asctime(struct slice s, uint64_t *ret)
{
    struct cursor c = cursor_of(s);
    struct civil v = {0};
    literal(&c, " ");
    v.month = month_name(&c);
    literal(&c, " ");
    if (cursor_left(&c) && *c.ptr == ' ') {
        literal(&c, " ");
        v.day = number(&c, 1);
    } else {
        v.day = number(&c, 2);
    }
    literal(&c, " ");
    clock_time(&c, &v);
    literal(&c, " ");
    v.year = number(&c, 4);
    return finish(&c, &v, ret);
}

bool http_date_parse(struct slice s, uint64_t now_ms, uint64_t *ret_ms)
{
    size_t word = 0;
    while (word < s.len && s.ptr[word] != ',' && s.ptr[word] != ' ')
        word++;
    if (word < 3 || word == s.len)
        return false;
    bool comma = s.ptr[word] == ',';
    struct slice rest = SLICE(s.ptr + word + comma, s.len - word - comma);
    if (!comma)
        return word == 3 && parse_asctime(rest, ret_ms);
    return word == 3 ? parse_fixdate(rest, ret_ms) : parse_rfc850(rest, now_ms, ret_ms);
}

bool iso8601_parse(struct slice s, uint64_t *ret_ms)
{
    struct cursor c = cursor_of(s);
    struct civil v = {0};
    v.year = number(&c, 4);
    literal(&c, "-");
    v.month = number(&c, 2);
    literal(&c, "-");
    v.day = number(&c, 2);
    literal(&c, "T");
    clock_time(&c, &v);
    if (cursor_left(&c) && *c.ptr == '.') {
        literal(&c, ".");
        unsigned weight = 100;
        for (int digits = 0; cursor_left(&c) && *c.ptr != 'Z'; digits++, weight /= 10) {
            v.ms += number(&c, 1) * weight;
            if (c.failed || digits >= 9)
                return false;
        }
    }
    literal(&c, "Z");
    return finish(&c, &v, ret_ms);
}

bool amz_date_parse(struct slice s, uint64_t *ret_ms)
{
    struct cursor c = cursor_of(s);
    struct civil v = {0};
    v.year = number(&c, 4);
    v.month = number(&c, 2);
    v.day = number(&c, 2);
    literal(&c, "T");
    v.hour = number(&c, 2);
    v.minute = number(&c, 2);
    v.second = number(&c, 2);
    literal(&c, "Z");
    return finish(&c, &v, ret_ms);
}
