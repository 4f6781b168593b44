#pragma once
/* A certificate authority for tests: makes CAs and node certificates in a temporary folder. */
#include "common/env_uv/net_tls.h"

struct test_ca;

/* The folder is made on first use and removed by certs_remove(). */
const char *certs_dir(void);
void certs_remove(void);

/* Writes <name>.pem. */
struct test_ca *test_ca_new(const char *name);
void test_ca_free(struct test_ca *ca);

/* Writes <file>.pem and <file>.key, signed by ca; ou NULL: none; cn2 NULL, or a second CN;
 * days: validity from yesterday on (negative: expired). */
void test_cert_write(struct test_ca *ca, const char *file, const char *cn, const char *cn2,
                     const char *ou, int days);

/* A context from ca_name.pem, file.pem and file.key; ERR_* in *ret_err when it cannot be made. */
struct net_tls_ctx *test_ctx(const char *ca_name, const char *file, int *ret_err);
