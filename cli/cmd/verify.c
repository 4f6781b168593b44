/* cairnctl verify: is everything that the index refers to where it should be?  Page after page
 * through a gateway. */
#include "cli/args/args.h"
#include "cli/cmd/commands.h"
#include "cli/io/admin_client.h"
#include "common/base/check.h"
#include "common/base/err.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

static const struct arg_option options[] = {
    ADMIN_OPTIONS,
    {"deep", ARG_FLAG, NULL, 0, 0, "storage nodes read and verify every byte"},
};

#define SCHEMES_MAX 16
#define BAD_SHOWN_MAX 1000
static const char *const sums[] = {"objects", "parts", "inline", "segments", "bytes", "interim"};
static const char *const states[] = {"full", "degraded", "lost", "unknown"};
enum { STATE_FULL, STATE_DEGRADED, STATE_LOST, STATE_UNKNOWN, STATE_COUNT };

struct verify {
    struct args args;
    uint64_t sum[ARRAY_COUNT(sums)];
    struct {
        uint64_t data, parity, count[STATE_COUNT];
    } scheme[SCHEMES_MAX];
    size_t scheme_count;
    json_t *bad;
    uint64_t bad_left_out;
};

static uint64_t number(const json_t *o, const char *name)
{
    return (uint64_t)json_integer_value(json_object_get(o, name));
}

static uint64_t total(const struct verify *v, int state)
{
    uint64_t n = 0;
    for (size_t i = 0; i < v->scheme_count; i++)
        n += v->scheme[i].count[state];
    return n;
}

static void scheme_take(struct verify *v, const json_t *s)
{
    uint64_t data = number(s, "data_shards"), parity = number(s, "parity_shards");
    size_t i = 0;
    while (i < v->scheme_count && (v->scheme[i].data != data || v->scheme[i].parity != parity))
        i++;
    if (i == SCHEMES_MAX)
        i--;
    if (i == v->scheme_count) {
        v->scheme[i].data = data;
        v->scheme[i].parity = parity;
        v->scheme_count++;
    }
    for (int k = 0; k < STATE_COUNT; k++)
        v->scheme[i].count[k] += number(s, states[k]);
}

static void page_take(struct verify *v, const json_t *page)
{
    size_t i;
    json_t *o;
    for (i = 0; i < ARRAY_COUNT(sums); i++)
        v->sum[i] += number(page, sums[i]);
    json_array_foreach(json_object_get(page, "schemes"), i, o) scheme_take(v, o);
    json_array_foreach(json_object_get(page, "bad"), i, o)
    {
        if (json_array_size(v->bad) < BAD_SHOWN_MAX)
            json_array_append(v->bad, o);
        else
            v->bad_left_out++;
    }
    v->bad_left_out += number(page, "bad_left_out");
}

/* ---- the answer ---- */

/* Keys are anybody's bytes: none of them may speak to the operator's terminal. */
static void plain_print(const char *text)
{
    for (const uint8_t *p = (const uint8_t *)(text ? text : ""); *p; p++) {
        bool c1 = p[0] == 0xc2 && p[1] >= 0x80 && p[1] < 0xa0;
        if (*p < 0x20 || *p == 0x7f || c1)
            printf("\\x%02x", c1 ? *++p : *p);
        else
            putchar(*p);
    }
}

static void text_print(const struct verify *v)
{
    size_t i;
    const json_t *b, *a;
    printf("%" PRIu64 " objects, %" PRIu64 " parts, %" PRIu64 " of them in the index; %" PRIu64
           " segments, %" PRIu64 " bytes\n",
           v->sum[0], v->sum[1], v->sum[2], v->sum[3], v->sum[4]);
    if (v->sum[5])
        printf("%" PRIu64 " segments are copies that wait to be written again as shards\n",
               v->sum[5]);
    for (i = 0; i < v->scheme_count; i++)
        printf("%s %" PRIu64 "+%" PRIu64 ": %" PRIu64 " full, %" PRIu64 " degraded, %" PRIu64
               " lost, %" PRIu64 " unknown\n",
               v->scheme[i].data == 1 ? "replicated" : "coded", v->scheme[i].data,
               v->scheme[i].parity, v->scheme[i].count[STATE_FULL],
               v->scheme[i].count[STATE_DEGRADED], v->scheme[i].count[STATE_LOST],
               v->scheme[i].count[STATE_UNKNOWN]);
    json_array_foreach(v->bad, i, b)
    {
        size_t k;
        printf("%s: %s/", json_string_value(json_object_get(b, "state")),
               json_string_value(json_object_get(b, "bucket")));
        plain_print(json_string_value(json_object_get(b, "key")));
        printf(" part %" PRIu64 " segment %" PRIu64 " (group %" PRIu64 "): %" PRIu64 " of %" PRIu64
               " shards",
               number(b, "part"), number(b, "segment"), number(b, "pg"), number(b, "shards_found"),
               number(b, "shards"));
        json_array_foreach(json_object_get(b, "absent"), k, a)
            printf(", %s %s", json_string_value(json_object_get(a, "node")),
                   json_string_value(json_object_get(a, "state")));
        printf("\n");
    }
    if (v->bad_left_out)
        printf("and %" PRIu64 " more\n", v->bad_left_out);
}

static void json_print(const struct verify *v)
{
    json_t *o = json_object(), *schemes = json_array();
    for (size_t i = 0; i < ARRAY_COUNT(sums); i++)
        json_object_set_new(o, sums[i], json_integer((json_int_t)v->sum[i]));
    for (int k = 0; k < STATE_COUNT; k++)
        json_object_set_new(o, states[k], json_integer((json_int_t)total(v, k)));
    for (size_t i = 0; i < v->scheme_count; i++) {
        json_t *s = json_pack("{s:I, s:I}", "data_shards", (json_int_t)v->scheme[i].data,
                              "parity_shards", (json_int_t)v->scheme[i].parity);
        for (int k = 0; k < STATE_COUNT; k++)
            json_object_set_new(s, states[k], json_integer((json_int_t)v->scheme[i].count[k]));
        json_array_append_new(schemes, s);
    }
    json_object_set_new(o, "schemes", schemes);
    json_object_set(o, "bad", v->bad);
    json_object_set_new(o, "bad_left_out", json_integer((json_int_t)v->bad_left_out));
    json_dumpf(o, stdout, JSON_INDENT(1));
    printf("\n");
    json_decref(o);
}

/* ---- the walk ---- */

static void path_make(const struct verify *v, const char *after, struct buf *ret)
{
    buf_clear(ret);
    buf_cstr(ret, "verify?");
    if (after) {
        buf_cstr(ret, "after=");
        admin_client_escape(ret, after);
        buf_u8(ret, '&');
    }
    if (v->args.positional_count) {
        buf_cstr(ret, "bucket=");
        admin_client_escape(ret, v->args.positional[0]);
        buf_u8(ret, '&');
    }
    buf_cstr(ret, arg_flag(&v->args, "deep") ? "deep=1&max=20" : "max=200");
    buf_u8(ret, 0);
}

/* It says what it covers, and where to go on, elsewhere than before: nothing else is an end. */
static bool is_page(const json_t *page, const json_t *before)
{
    const json_t *next = json_object_get(page, "next");
    for (size_t i = 0; i < ARRAY_COUNT(sums); i++)
        if (!json_is_integer(json_object_get(page, sums[i])))
            return false;
    if (!json_is_array(json_object_get(page, "schemes")) ||
        !json_is_array(json_object_get(page, "bad")))
        return false;
    if (json_is_string(next))
        return !before || !json_equal(next, json_object_get(before, "next"));
    return json_is_null(next);
}

/* Every page.  Returns: CLI_GOOD; CLI_USAGE: it could not be asked to the end. */
static int walk(struct verify *v, struct admin_client *c)
{
    struct buf path = {0};
    json_t *page = NULL;
    bool shows = isatty(2) && !v->args.json;
    int status;
    do {
        json_t *before = page;
        path_make(v, before ? json_string_value(json_object_get(before, "next")) : NULL, &path);
        status =
            path.failed ? CLI_USAGE : admin_client_ask(c, "GET", (const char *)path.ptr, &page);
        if (status == CLI_GOOD && !is_page(page, before)) {
            fprintf(stderr, "cairnctl verify: the answer is no page of a verification\n");
            json_decref(page);
            status = CLI_USAGE;
        }
        json_decref(before);
        if (status != CLI_GOOD)
            break;
        page_take(v, page);
        if (shows)
            fprintf(stderr, "\r%" PRIu64 " segments, %" PRIu64 " not full", v->sum[3],
                    v->sum[3] - total(v, STATE_FULL));
    } while (json_is_string(json_object_get(page, "next")));
    if (shows)
        fprintf(stderr, "\n");
    if (status == CLI_GOOD)
        json_decref(page);
    buf_fini(&path);
    return status;
}

static int usage(void)
{
    struct buf help = {0};
    args_help(options, ARRAY_COUNT(options), &help);
    printf("usage: cairnctl verify [BUCKET] [OPTION...]\n\n"
           "Asks the members of each segment's group for their shards.  Exit status: 0 all is "
           "there, 1 something is\nmissing or not known, 2 not answered to the end, 3 something is "
           "lost.\n\n%.*s",
           (int)help.len, (const char *)help.ptr);
    buf_fini(&help);
    return CLI_GOOD;
}

int cmd_verify(int argc, char **argv)
{
    const char *positional[ARGS_POSITIONAL_MAX];
    static struct verify v;
    struct buf error = {0};
    int err = args_parse(&v.args, options, ARRAY_COUNT(options), argc, argv, positional, &error);
    if (!err && v.args.help)
        return usage();
    if (!err && v.args.positional_count > 1)
        buf_cstr(&error, "takes one bucket at most");
    if (error.len) {
        fprintf(stderr, "cairnctl verify: %.*s\nsee cairnctl verify --help\n", (int)error.len,
                (const char *)error.ptr);
        buf_fini(&error);
        return CLI_USAGE;
    }
    struct admin_client *c = admin_client_new(&v.args, "verify");
    v.bad = json_array();
    int status = c ? walk(&v, c) : CLI_USAGE;
    admin_client_free(c);
    if (status == CLI_GOOD) {
        if (v.args.json)
            json_print(&v);
        else
            text_print(&v);
        status = total(&v, STATE_LOST)               ? CLI_LOST
                 : v.sum[3] != total(&v, STATE_FULL) ? CLI_BAD
                                                     : CLI_GOOD;
    }
    json_decref(v.bad);
    return status;
}
