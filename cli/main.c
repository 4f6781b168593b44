/* cairnctl: questions about a cluster, and what is done to one by hand.  A thin dispatch over a
 * table; each subcommand is a file in cli/cmd/.
 *
 * Exit status: 0 good; 1 the answer is bad news; 2 the question was not understood, or nobody
 * answered; 3 (verify) data is lost. */
#include "cli/args/args.h"
#include "cli/args/command.h"
#include "cli/cmd/commands.h"
#include "common/base/check.h"
#include "common/proc/proc.h"

#include <stdio.h>

static const struct command commands[] = {
    {"status", "a running cluster on one screen", cmd_status},
    {"nodes", "its storage nodes", cmd_nodes},
    {"disks", "their disks", cmd_disks},
    {"pgs", "its placement groups", cmd_pgs},
    {"drain", "gives a storage node's places to others", cmd_drain},
    {"undrain", "lets it take places again", cmd_undrain},
    {"safe-to-remove", "whether a storage node may be switched off for good", cmd_safe_to_remove},
    {"verify", "whether everything that was stored is there, with all its redundancy", cmd_verify},
    {"repair", "repair status: what is left to repair, and how fast it goes", cmd_repair},
    {"scrub", "scrub start, scrub status: reads everything again and verifies it", cmd_scrub},
    {"kms", "kms list, create, rotate, enable, disable, rewrap, check: keys of encryption",
     cmd_kms},
    {"user", "user create, list, show, delete: who may use the cluster", cmd_user},
    {"key", "key create, list, delete: a user's access keys", cmd_key},
    {"policy", "policy attach, detach: what a user may do", cmd_policy},
    {"account", "account create, list, show: to whom users, buckets and objects belong", cmd_account},
    {"quota", "quota set, show, list, delete: what buckets and accounts may hold", cmd_quota},
    {"durability", "how likely a scheme and a topology are to lose data in a year", cmd_durability},
    {"salvage", "what the extents of stopped storage nodes hold, without the index", cmd_salvage},
};

static int usage(FILE *to)
{
    fprintf(to, "usage: cairnctl COMMAND [OPTION...]\n"
                "       cairnctl help COMMAND | --help | --version\n\n");
    for (size_t i = 0; i < ARRAY_COUNT(commands); i++)
        fprintf(to, "  %-14s %s\n", commands[i].name, commands[i].help);
    fprintf(
        to,
        "\ncairnctl COMMAND --help shows a command's options; all know --json.  Exit status: 0 "
        "good, "
        "1 the answer\nis bad news, 2 not understood, refused or not answered, 3 (verify) data is "
        "lost.\n");
    return to == stdout ? CLI_GOOD : CLI_USAGE;
}

int main(int argc, char **argv)
{
    if (argc < 2)
        return usage(stderr);
    static char help[] = "--help";
    if (strcmp(argv[1], "help") == 0) { /* "help scrub start" is "scrub start --help" */
        memmove(&argv[1], &argv[2], (size_t)(argc - 2) * sizeof(argv[0]));
        argv[argc - 1] = help;
    }
    if (strcmp(argv[1], help) == 0)
        return usage(stdout);
    if (strcmp(argv[1], "--version") == 0) {
        printf("cairnctl %s\n", CAIRN_VERSION);
        return CLI_GOOD;
    }
    for (size_t i = 0; i < ARRAY_COUNT(commands); i++)
        if (strcmp(argv[1], commands[i].name) == 0) {
            int status = commands[i].run(argc - 2, argv + 2);
            if (fflush(stdout) != 0 && status == CLI_GOOD) {
                fprintf(stderr, "cairnctl: standard output: cannot be written\n");
                status = CLI_BAD;
            }
            return status;
        }
    fprintf(stderr, "cairnctl: there is no command '%.64s'\n", argv[1]);
    return usage(stderr);
}
