/* One question to a gateway: see question.h. */
#include "cli/cmd/question.h"

#include "cli/io/admin_client.h"
#include "common/base/check.h"
#include "common/base/err.h"

#include <inttypes.h>
#include <stdio.h>

/* ---- values ---- */

const char *show_text(const json_t *o, const char *name)
{
    const char *s = json_string_value(json_object_get(o, name));
    return s ? s : "-";
}

uint64_t show_number(const json_t *o, const char *name)
{
    return (uint64_t)json_integer_value(json_object_get(o, name));
}

bool show_true(const json_t *o, const char *name)
{
    return json_is_true(json_object_get(o, name));
}

const char *show_bytes(uint64_t n)
{
    static const char *const units[] = {"B", "KiB", "MiB", "GiB", "TiB", "PiB"};
    static char texts[4][24];
    static unsigned next;
    char *t = texts[next++ % ARRAY_COUNT(texts)];
    double v = (double)n;
    size_t u = 0;
    for (; v >= 1024 && u + 1 < ARRAY_COUNT(units); u++)
        v /= 1024;
    snprintf(t, sizeof(texts[0]), u ? "%.1f %s" : "%.0f %s", v, units[u]);
    return t;
}

const char *show_seconds(const json_t *o, const char *name)
{
    static char texts[4][32];
    static unsigned next;
    const json_t *value = json_object_get(o, name);
    uint64_t s = (uint64_t)json_integer_value(value);
    char *t = texts[next++ % ARRAY_COUNT(texts)];
    if (!json_is_integer(value))
        return "-";
    if (s >= 86400)
        snprintf(t, sizeof(texts[0]), "%" PRIu64 " d %" PRIu64 " h", s / 86400, s / 3600 % 24);
    else if (s >= 3600)
        snprintf(t, sizeof(texts[0]), "%" PRIu64 " h %" PRIu64 " m", s / 3600, s / 60 % 60);
    else if (s >= 60)
        snprintf(t, sizeof(texts[0]), "%" PRIu64 " m %" PRIu64 " s", s / 60, s % 60);
    else
        snprintf(t, sizeof(texts[0]), "%" PRIu64 " s", s);
    return t;
}

/* ---- asking ---- */

static bool is_node_id(const char *s)
{
    static const char plain[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-._";
    return s[0] != '.' && s[0] && s[strspn(s, plain)] == 0;
}

const char *question_operands(const struct question *q)
{
    static const char *const operands[] = {
        [NODE_NONE] = "", [NODE_ONE] = "NODE", [NODE_MAYBE] = "[NODE]", [KEY_ONE] = "KEY"};
    return operands[q->node];
}

int words_usage(const char *command, const struct word *words, size_t count, bool asked)
{
    FILE *to = asked ? stdout : stderr;
    size_t width = 0;
    for (size_t i = 0; i < count; i++)
        width = MAX(width, strlen(words[i].name) + 1 + strlen(words[i].operands));
    fprintf(to, "usage: cairnctl %s WORD [OPTION...]\n\n", command);
    for (size_t i = 0; i < count; i++) {
        const char *end = strchr(words[i].help, '.');
        size_t name = strlen(words[i].name);
        fprintf(to, "  %s %-*s  %.*s\n", words[i].name, (int)(width - name - 1), words[i].operands,
                end ? (int)(end - words[i].help) : (int)strlen(words[i].help), words[i].help);
    }
    fprintf(to, "\ncairnctl %s WORD --help shows its options, --json among them, and exit status.\n",
            command);
    return asked ? CLI_GOOD : CLI_USAGE;
}

static int usage(const struct question *q)
{
    const char *operands = question_operands(q);
    bool told = strstr(q->help, "Exit status") != NULL;
    struct buf help = {0};
    args_help(q->options, q->option_count, &help);
    printf("usage: cairnctl %s%s%s [OPTION...]\n\n%s%s\n\n%.*s", q->name, *operands ? " " : "",
           operands, q->help, told ? "" : "  Exit status: 0 answered, 2 refused or not answered.",
           (int)help.len, (const char *)help.ptr);
    buf_fini(&help);
    return CLI_GOOD;
}

static int answer(const struct question *q, const struct args *a, const struct buf *path)
{
    return admin_client_show(a, q->name, q->method, path, NULL, q->show, q->verdict);
}

static void check_nodes(const struct question *q, const struct args *a, struct buf *error)
{
    size_t count = a->positional_count;
    if (q->node == KEY_ONE && count != 1)
        buf_cstr(error, "needs the name of one key; see cairnctl kms list");
    else if (q->node == NODE_ONE && count != 1)
        buf_cstr(error, "needs the id of one storage node; see cairnctl nodes");
    else if (q->node == NODE_MAYBE && count > 1)
        buf_cstr(error, "takes the id of one storage node at most");
    else if (q->node == NODE_NONE && count > 0)
        buf_cstr(error, "takes options only");
    else if (count && !is_node_id(a->positional[0]))
        buf_printf(error,
                   q->node == KEY_ONE ? "'%.64s' is no name that a key can have"
                                      : "'%.64s' is no node's id; see cairnctl nodes",
                   a->positional[0]);
}

/* Which gateway to ask, and as whom. */
static bool is_clients(const char *option)
{
    static const struct arg_option own[] = {ADMIN_OPTIONS};
    for (size_t i = 0; i < ARRAY_COUNT(own); i++)
        if (strcmp(own[i].name, option) == 0)
            return true;
    return false;
}

static void make_path(const struct question *q, const struct args *a, struct buf *path)
{
    char separator = '?';
    if (a->positional_count) {
        buf_printf(path, "%s/", q->path);
        admin_client_escape(path, a->positional[0]);
        buf_printf(path, "/%s", q->action);
    } else {
        buf_cstr(path, q->node == NODE_MAYBE ? q->action : q->path);
    }
    for (size_t i = 0; i < q->option_count; i++) {
        const struct arg_option *o = &q->options[i];
        bool flag = o->kind == ARG_FLAG && arg_flag(a, o->name);
        bool text = o->kind == ARG_TEXT && !is_clients(o->name) && arg_given(a, o->name);
        if (!flag && !text)
            continue;
        buf_printf(path, "%c%s=", separator, o->name);
        if (text)
            admin_client_escape(path, arg_text(a, o->name));
        else
            buf_u8(path, '1');
        separator = '&';
    }
    buf_u8(path, 0);
}

int question_run(const struct question *q, int argc, char **argv)
{
    const char *positional[ARGS_POSITIONAL_MAX];
    struct args a;
    struct buf error = {0}, path = {0};
    int err = args_parse(&a, q->options, q->option_count, argc, argv, positional, &error);
    if (!err && a.help)
        return usage(q);
    if (!err)
        check_nodes(q, &a, &error);
    if (error.len) {
        fprintf(stderr, "cairnctl %s: %.*s\nsee cairnctl %s --help\n", q->name, (int)error.len,
                (const char *)error.ptr, q->name);
        buf_fini(&error);
        return CLI_USAGE;
    }
    make_path(q, &a, &path);
    int status = path.failed ? CLI_USAGE : answer(q, &a, &path);
    buf_fini(&path);
    return status;
}
