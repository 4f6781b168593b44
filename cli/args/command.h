#pragma once
/* A subcommand of cairnctl: a row of the table in main.c. */

struct command {
    const char *name;
    const char *help; /* one line */
    /* argv without the program's and the subcommand's name.  Prints its answer to standard output,
     * all else to standard error.  Returns: CLI_GOOD; CLI_BAD; CLI_USAGE (cli/args/args.h). */
    int (*run)(int argc, char **argv);
};
