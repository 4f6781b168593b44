#pragma once
/* One table of parameters per process, and where their values come from, the later winning:
 * default < YAML file (--config FILE or CAIRN_CONFIG) < environment CAIRN_<NAME> < flags
 * (--name=value, --name value).  Every error names its source (file:line, variable or flag) and says
 * what would be right.  Values are read by name at start; an unknown name is a bug, hence a CHECK. */
#include "common/base/slice.h"

enum config_type {
    CONFIG_STRING,
    CONFIG_INT,
    CONFIG_BYTES,    /* 4096, 16KiB, 64MiB, 2GiB */
    CONFIG_DURATION, /* 250ms, 5s, 10m, 1h; kept in ms */
    CONFIG_BOOL,     /* true/false, yes/no, on/off */
    CONFIG_ADDRESS   /* host:port, [v6]:port */
};

enum { CONFIG_SECRET = 1, CONFIG_REQUIRED = 2 };

struct config_param {
    const char *name;    /* lower_snake; also the YAML key; --lower_snake or --lower-snake; CAIRN_LOWER_SNAKE */
    enum config_type type;
    const char *value;   /* default as text; NULL or "": none */
    int64_t min, max;    /* of INT, BYTES, DURATION (ms); both 0: only not negative */
    const char *unit;    /* for the help text; may be NULL */
    const char *help;
    unsigned flags;
};

/* What every process has: node_id, zone, listen, admin_listen, data_dir, cluster_file, tls_ca,
 * tls_cert, tls_key, log_level, log_file, log_format. */
extern const struct config_param config_common_params[];
extern const size_t config_common_count;

struct config;

/* The parameters are borrowed for the life of the config (they are static tables).
 * Returns: NULL when out of memory. */
struct config *config_new(const char *program, const struct config_param *const tables[],
                          const size_t counts[], size_t table_count);
void config_free(struct config *c);

enum config_action { CONFIG_RUN, CONFIG_SHOW_HELP, CONFIG_CHECK_ONLY, CONFIG_PRINT, CONFIG_SHOW_VERSION };

/* Reads all sources.  envp as environ; arguments that are not flags are an error.
 * Returns: OK; ERR_CONFIG (*ret_error has a text for the user); ERR_NOMEM.
 * --help, --version: the rest is not read. */
int config_load(struct config *c, int argc, char *const argv[], char *const envp[],
                enum config_action *ret_action, struct buf *ret_error);

const char *config_string(const struct config *c, const char *name); /* "" when not set */
const char *config_address(const struct config *c, const char *name); /* "" when not set */
int64_t config_int(const struct config *c, const char *name);
uint64_t config_bytes(const struct config *c, const char *name);
uint64_t config_duration_ms(const struct config *c, const char *name);
bool config_bool(const struct config *c, const char *name);
/* "default", "/etc/x.yaml:3", "CAIRN_ZONE", "--zone" */
const char *config_source(const struct config *c, const char *name);

void config_help(const struct config *c, struct buf *ret);  /* the table */
void config_print(const struct config *c, struct buf *ret); /* YAML with sources; secrets masked */

/* host:port or [v6]:port, port 1..65535 (0 too when zero_port_ok).  host may be a name. */
bool config_address_ok(const char *text, bool zero_port_ok);
/* Splits "host:port"; the host goes without brackets.  false: malformed or too long. */
bool config_address_split(const char *text, char *ret_host, size_t host_size, unsigned *ret_port);
