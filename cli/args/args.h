#pragma once
/* Options of cairnctl's subcommands, from one table each: names, defaults, bounds, units and help
 * live there and nowhere else.  Every subcommand also knows --json and --help.
 *
 * Values are "--name=value" or "--name value"; a flag has none.  Durations, ratios and bytes carry
 * units ("6.5d", "0.405%", "16TB"); a number without one is in the option's own unit.  Pure but for
 * libc's conversions: the caller prints. */
#include "common/base/slice.h"

#define ARGS_MAX 48
#define ARGS_POSITIONAL_MAX 1024

/* What a subcommand ends with. */
enum {
    CLI_GOOD = 0, /* the question was answered, and the answer is good */
    CLI_BAD =
        1, /* the answer is bad news: something is lost, down, damaged, or could not be read */
    CLI_USAGE = 2, /* the question was not understood, or nobody answered; nothing was done */
    CLI_LOST = 3,  /* verify: data is lost */
};

enum arg_kind {
    ARG_FLAG,
    ARG_TEXT,
    ARG_COUNT, /* a whole number */
    ARG_NUMBER,
    ARG_RATIO,    /* 0.004, or 0.4% */
    ARG_DURATION, /* in hours; s, m, h, d, y */
    ARG_BYTES,    /* kB MB GB TB PB, KiB MiB GiB TiB PiB */
};

struct arg_option {
    const char *name; /* without the dashes */
    enum arg_kind kind;
    const char *initial; /* NULL: none; the value is then 0 or NULL */
    double min, max;     /* of all but flags and texts, in the kind's own unit */
    const char *help;    /* one line, with the unit */
};

struct args {
    const struct arg_option *options;
    size_t option_count;
    struct {
        bool given;
        const char *text; /* as given, or the default */
        double number;
    } value[ARGS_MAX];
    bool json, help;
    const char **positional; /* point into argv */
    size_t positional_count;
};

/* argv without the program's and the subcommand's name.  positional: room for argc of them.
 * Returns: OK; ERR_INVAL, with one line in *ret_error. */
int args_parse(struct args *a, const struct arg_option *options, size_t option_count, int argc,
               char **argv, const char **positional, struct buf *ret_error);
/* Appends the table as text: name, kind of value, help, bounds, default. */
void args_help(const struct arg_option *options, size_t option_count, struct buf *ret);

/* The option must be in the table, and of a fitting kind: a CHECK fails otherwise. */
double arg_number(const struct args *a, const char *name);
const char *arg_text(const struct args *a, const char *name); /* NULL: not given, no default */
bool arg_flag(const struct args *a, const char *name);
bool arg_given(const struct args *a, const char *name);
