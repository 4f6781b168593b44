#pragma once
/* A registry in memory, and the driver of IAM's transactions over it. */
#include "gateway/iam/action.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#define WORLD_ROWS 4096

struct world_row {
    uint32_t kind;
    char scope[128], name[260];
    uint8_t *value;
    size_t len;
    uint64_t version;
};

struct world {
    struct world_row rows[WORLD_ROWS];
    size_t count;
    uint64_t version, now_ms;
    uint64_t random;
    /* Called once before the next change is applied, to get in between. */
    void (*meanwhile)(struct world *w);
    unsigned restarts;
    struct iam_txn t; /* of the last call */
    struct iam_caller caller;
    struct arena arena; /* of policies of callers */
};

void world_init(struct world *w);
void world_fini(struct world *w);

struct iam_caller world_root(void);
/* A user of account 111111111111 with one policy. */
struct iam_caller world_user(struct world *w, const char *name, const char *policy);

/* "Action=...&...", without Version.  The answer's document is in w->t.out (NUL-terminated). */
enum iam_code world_call(struct world *w, const char *query);
enum iam_code world_sts(struct world *w, const char *query);
const char *world_text(const struct world *w);
/* Text of the first <element>; "" if there is none.  Four at a time. */
const char *world_element(const struct world *w, const char *element);
unsigned world_elements(const struct world *w, const char *element); /* how many */

struct world_row *world_find(struct world *w, uint32_t kind, const char *scope, const char *name);
void world_put(struct world *w, uint32_t kind, const char *scope, const char *name,
               const ProtobufCMessage *message);
size_t world_bytes(const struct world *w); /* of all rows: to see that nothing changed */
