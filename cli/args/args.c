/* Parsing of options by a table. */
#include "cli/args/args.h"

#include "common/base/check.h"
#include "common/base/err.h"

#include <math.h>
#include <stdlib.h>

struct unit {
    const char *name;
    double factor;
};

static const struct unit durations[] = {{"", 1},         {"h", 1},  {"s", 1.0 / 3600},
                                        {"m", 1.0 / 60}, {"d", 24}, {"y", 8760}};
static const struct unit ratios[] = {{"", 1}, {"%", 0.01}};
static const struct unit sizes[] = {{"", 1},
                                    {"B", 1},
                                    {"kB", 1e3},
                                    {"MB", 1e6},
                                    {"GB", 1e9},
                                    {"TB", 1e12},
                                    {"PB", 1e15},
                                    {"KiB", 1024.},
                                    {"MiB", 1024. * 1024},
                                    {"GiB", 1073741824.},
                                    {"TiB", 1099511627776.},
                                    {"PiB", 1125899906842624.}};
static const struct unit plain[] = {{"", 1}};

static const struct unit *units_of(enum arg_kind kind, size_t *ret_count)
{
    switch (kind) {
    case ARG_DURATION: *ret_count = ARRAY_COUNT(durations); return durations;
    case ARG_RATIO: *ret_count = ARRAY_COUNT(ratios); return ratios;
    case ARG_BYTES: *ret_count = ARRAY_COUNT(sizes); return sizes;
    default: *ret_count = ARRAY_COUNT(plain); return plain;
    }
}

static bool number_parse(enum arg_kind kind, const char *text, double *ret)
{
    size_t count;
    const struct unit *units = units_of(kind, &count);
    char *end;
    double v = strtod(text, &end);
    if (end == text || !isfinite(v) || (kind == ARG_COUNT && v != floor(v)))
        return false;
    for (size_t i = 0; i < count; i++)
        if (strcmp(end, units[i].name) == 0) {
            *ret = v * units[i].factor;
            return true;
        }
    return false;
}

static const struct {
    const char *help, *unit, *must; /* behind the name; of bounds; what a value has to be */
} kinds[] = {
    [ARG_FLAG] = {"", "", ""},
    [ARG_TEXT] = {"=text", "", ""},
    [ARG_COUNT] = {"=number", "", "a whole number"},
    [ARG_NUMBER] = {"=number", "", "a number"},
    [ARG_RATIO] = {"=ratio", "", "a ratio, as in 0.004 or 0.4%"},
    [ARG_DURATION] = {"=duration", " hours", "a duration, as in 6h, 30m or 6.5d"},
    [ARG_BYTES] = {"=size", " bytes", "a size, as in 64KiB or 16TB"},
};

static int value_set(struct args *a, size_t i, const char *text, struct buf *ret_error)
{
    const struct arg_option *o = &a->options[i];
    a->value[i].text = text;
    if (o->kind == ARG_FLAG || o->kind == ARG_TEXT)
        return OK;
    double v;
    if (!number_parse(o->kind, text, &v)) {
        buf_printf(ret_error, "--%s=%s: must be %s", o->name, text, kinds[o->kind].must);
        return ERR_INVAL;
    }
    if (v < o->min || v > o->max) {
        buf_printf(ret_error, "--%s=%s: must be between %.10g and %.10g%s", o->name, text, o->min,
                   o->max, kinds[o->kind].unit);
        return ERR_INVAL;
    }
    a->value[i].number = v;
    return OK;
}

static int option_parse(struct args *a, int argc, char **argv, int *at, struct buf *ret_error)
{
    const char *word = argv[*at] + 2, *equals = strchr(word, '=');
    size_t len = equals ? (size_t)(equals - word) : strlen(word);
    if (!equals && (strcmp(word, "json") == 0 || strcmp(word, "help") == 0)) {
        a->json |= word[0] == 'j';
        a->help |= word[0] == 'h';
        return OK;
    }
    for (size_t i = 0; i < a->option_count; i++) {
        const struct arg_option *o = &a->options[i];
        if (strlen(o->name) != len || strncmp(o->name, word, len) != 0)
            continue;
        if (a->value[i].given || (o->kind == ARG_FLAG && equals)) {
            buf_printf(ret_error, "--%s: %s", o->name, equals ? "takes no value" : "given twice");
            return ERR_INVAL;
        }
        a->value[i].given = true;
        if (o->kind == ARG_FLAG)
            return OK;
        if (!equals && *at + 1 >= argc) {
            buf_printf(ret_error, "--%s: needs a value", o->name);
            return ERR_INVAL;
        }
        return value_set(a, i, equals ? equals + 1 : argv[++*at], ret_error);
    }
    buf_printf(ret_error, "--%.*s: there is no such option", (int)MIN(len, 64), word);
    return ERR_INVAL;
}

int args_parse(struct args *a, const struct arg_option *options, size_t option_count, int argc,
               char **argv, const char **positional, struct buf *ret_error)
{
    CHECK(option_count <= ARGS_MAX);
    memset(a, 0, sizeof(*a));
    a->options = options;
    a->option_count = option_count;
    a->positional = positional;
    for (size_t i = 0; i < option_count; i++)
        if (options[i].initial)
            CHECK(value_set(a, i, options[i].initial, ret_error) == OK);
    bool only_positional = false;
    for (int at = 0; at < argc; at++) {
        if (only_positional || strncmp(argv[at], "--", 2) != 0) {
            if (a->positional_count == ARGS_POSITIONAL_MAX) {
                buf_printf(ret_error, "more than %d arguments", ARGS_POSITIONAL_MAX);
                return ERR_INVAL;
            }
            positional[a->positional_count++] = argv[at];
        } else if (!argv[at][2]) {
            only_positional = true;
        } else {
            int err = option_parse(a, argc, argv, &at, ret_error);
            if (err)
                return err;
        }
    }
    return OK;
}

void args_help(const struct arg_option *options, size_t option_count, struct buf *ret)
{
    for (size_t i = 0; i < option_count; i++) {
        const struct arg_option *o = &options[i];
        int width = 24 - (int)strlen(o->name);
        buf_printf(ret, "  --%s%-*s %s", o->name, MAX(width, 0), kinds[o->kind].help, o->help);
        if (o->kind != ARG_FLAG && o->kind != ARG_TEXT)
            buf_printf(ret, " [%.10g .. %.10g%s]", o->min, o->max, kinds[o->kind].unit);
        if (o->initial)
            buf_printf(ret, " (%s)", o->initial);
        buf_printf(ret, "\n");
    }
    buf_printf(ret, "  --%-24s %s\n", "json", "the answer as JSON");
    buf_printf(ret, "  --%-24s %s\n", "help", "this text");
}

static size_t find(const struct args *a, const char *name)
{
    size_t i = 0;
    while (i < a->option_count && strcmp(a->options[i].name, name) != 0)
        i++;
    CHECK(i < a->option_count); /* else the caller asks for what its table does not have */
    return i;
}

double arg_number(const struct args *a, const char *name)
{
    size_t i = find(a, name);
    CHECK(a->options[i].kind != ARG_FLAG && a->options[i].kind != ARG_TEXT);
    return a->value[i].number;
}

const char *arg_text(const struct args *a, const char *name)
{
    return a->value[find(a, name)].text;
}

bool arg_flag(const struct args *a, const char *name)
{
    size_t i = find(a, name);
    CHECK(a->options[i].kind == ARG_FLAG);
    return a->value[i].given;
}

bool arg_given(const struct args *a, const char *name)
{
    return a->value[find(a, name)].given;
}
