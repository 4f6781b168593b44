#pragma once
/* A subcommand that asks a gateway one question and shows the answer, as a table of its parts; and
 * the words in which answers are shown.  Blocks. */
#include "cli/args/args.h"

#include <jansson.h>

/* KEY_ONE: as NODE_ONE, but the name of a key of encryption. */
enum question_node { NODE_NONE, NODE_ONE, NODE_MAYBE, KEY_ONE };

struct question {
    const char *name; /* as it is called */
    const char *method, *path;
    const char *action; /* of a node: path/NODE/action; with NODE_MAYBE and no node: action */
    enum question_node node;
    const struct arg_option *options; /* flags go into the query: name=1; so do texts that are given,
                                         but for those of ADMIN_OPTIONS */
    size_t option_count;
    const char *help;
    void (*show)(const json_t *answer);
    int (*verdict)(const json_t *answer); /* NULL: CLI_GOOD */
};

/* argv without the names of program and subcommand.  Returns: what cairnctl ends with. */
int question_run(const struct question *q, int argc, char **argv);
/* What stands behind a question's name, as usage shows it: "NODE"; "": nothing. */
const char *question_operands(const struct question *q);

/* A subcommand that one of several words follows. */
struct word {
    const char *name, *operands; /* "kms create", "KEY" */
    const char *help;            /* its first sentence is shown */
};
/* Says which words there are: to standard output if that was asked for, else as an error.
 * Returns: what cairnctl ends with. */
int words_usage(const char *command, const struct word *words, size_t count, bool asked);

/* ---- values of an answer ---- */

const char *show_text(const json_t *o, const char *name); /* "-": none */
uint64_t show_number(const json_t *o, const char *name);
bool show_true(const json_t *o, const char *name);
/* In a unit that leaves few digits.  Of four calls in one expression each has its own buffer. */
const char *show_bytes(uint64_t n);
/* "3 d 4 h", or "-" if it is no number.  The same. */
const char *show_seconds(const json_t *o, const char *name);
