#pragma once
/* What the parts of the parser share. */
#include "gateway/policy/condition.h"
#include "gateway/policy/json.h"

struct policy_parser {
    struct arena *arena;   /* of the result */
    struct arena *scratch; /* gone when the document is read */
    const struct policy_parse_options *options;
    bool iam; /* not a bucket policy: IAM's texts */
    bool variables;
    enum policy_error err;
    char *reason;
};

/* Note the error (the first one stays) with its reason.  Returns false. */
bool policy_refuse(struct policy_parser *p, const char *format, ...)
    __attribute__((format(printf, 2, 3)));
bool policy_no_memory(struct policy_parser *p);

/* Text of the document for a reason: not too long, cut between characters. */
struct policy_quoted {
    char text[128];
};
struct policy_quoted policy_quote(struct slice s);

/* A string, or an array of strings, copied.  scalars: numbers and truth values are text, too. */
bool policy_read_list(struct policy_parser *p, const struct policy_json *v, bool scalars,
                      struct policy_list *ret);
bool policy_keep(struct policy_parser *p, struct slice s, struct slice *ret);

/* parse_check.c */
bool policy_read_principals(struct policy_parser *p, const struct policy_json *v,
                            struct policy_statement *s);
/* Actions, resources and conditions, each alone and together. */
bool policy_check_statement(struct policy_parser *p, const struct policy_statement *s);
