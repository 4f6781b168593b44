#pragma once
/* Asks a gateway the operator's questions: HTTP with SigV4, JSON back.  Blocks.
 *
 * The keys come from --credentials, else from the environment (AWS_ACCESS_KEY_ID,
 * AWS_SECRET_ACCESS_KEY), else from var/root-credentials, which `make run` writes.  They are never
 * printed. */
#include "cli/args/args.h"

#include <jansson.h>

/* Rows of a subcommand's table of options. */
#define ADMIN_OPTIONS                                                                              \
    {"endpoint", ARG_TEXT, NULL,                                                                   \
     0,          0,        "a gateway; else CAIRN_ENDPOINT, else http://127.0.0.1:9000"},          \
        {"credentials",                                                                            \
         ARG_TEXT,                                                                                 \
         NULL,                                                                                     \
         0,                                                                                        \
         0,                                                                                        \
         "file with the root user's keys; else AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, else " \
         "var/root-credentials"},                                                                  \
    {                                                                                              \
        "region", ARG_TEXT, "us-east-1", 0, 0, "that the cluster has"                              \
    }

struct admin_client;

/* command: for messages.  Returns: NULL, after a line on standard error that says what to do.
 * Owns: admin_client_free(). */
struct admin_client *admin_client_new(const struct args *a, const char *command);
void admin_client_free(struct admin_client *c); /* NULL is fine */

/* path: below the API's prefix, with its query, percent-encoded, parameters in order of their names
 * (they are signed so).  Returns: CLI_GOOD and the answer in *ret, the caller's; CLI_USAGE after a
 * line on standard error. */
int admin_client_ask(struct admin_client *c, const char *method, const char *path, json_t **ret);

/* The same with a body (NULL: none). */
int admin_client_tell(struct admin_client *c, const char *method, const char *path,
                      const json_t *body, json_t **ret);

/* All of a command that is one question: asks at `path` (ended by a NUL) and prints the answer, as JSON
 * or by show().  Returns: an exit status: what verdict() (NULL: nothing) makes of the answer; CLI_USAGE
 * after a line on standard error. */
int admin_client_show(const struct args *a, const char *command, const char *method,
                      const struct buf *path, const json_t *body,
                      void (*show)(const json_t *answer),
                      int (*verdict)(const json_t *answer));

/* Appends s percent-encoded. */
void admin_client_escape(struct buf *b, const char *s);
