/* The n-th allocation failing while parameters and the cluster file are read: an error, never a
 * value that is not the one given. */
#include "common/base/check.h"
#include "common/base/err.h"
#include "common/config/cluster.h"
#include "common/config/config.h"
#include "tests/unit/common/alloc_fail.h"

#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

static const struct config_param params[] = {
    {.name = "name", .type = CONFIG_STRING, .value = "default", .help = "A name."},
    {.name = "bytes", .type = CONFIG_BYTES, .value = "1KiB", .max = 1 << 20, .help = "Bytes."},
    {.name = "address", .type = CONFIG_ADDRESS, .value = "127.0.0.1:1", .help = "Address."},
};

static char file[64] = "/tmp/config_alloc_XXXXXX";

static void write_file(const char *text)
{
    FILE *f = fopen(file, "w");
    assert_non_null(f);
    fputs(text, f);
    fclose(f);
}

static int make_file(void **state)
{
    (void)state;
    int fd = mkstemp(file);
    close(fd);
    return fd < 0;
}

static int remove_file(void **state)
{
    (void)state;
    return unlink(file);
}

static void parameters(void **state)
{
    (void)state;
    const struct config_param *const tables[] = {config_common_params, params};
    const size_t counts[] = {config_common_count, ARRAY_COUNT(params)};
    char flag[96];
    snprintf(flag, sizeof(flag), "--config=%s", file);
    char *const argv[] = {"cairn-test", "--node_id=n1", flag, "--address=127.0.0.1:7", NULL};
    char *const envp[] = {"CAIRN_BYTES=16KiB", NULL};
    write_file("# a comment\nname: \"from the file\"\nbytes: 4KiB\n");
    for (uint64_t n = 0;; n++) {
        struct buf error = {0};
        enum config_action action = CONFIG_RUN;
        int err = ERR_NOMEM;
        alloc_fail_at(n);
        struct config *c = config_new("cairn-test", tables, counts, 2);
        if (c)
            err = config_load(c, 4, argv, envp, &action, &error);
        bool failed = alloc_fail_end();
        if (err == OK) { /* not all that fails is needed, but what is said must be true */
            assert_string_equal(config_string(c, "name"), "from the file");
            assert_int_equal(config_bytes(c, "bytes"), 16384);
            assert_string_equal(config_address(c, "address"), "127.0.0.1:7");
            assert_string_equal(config_string(c, "node_id"), "n1");
        }
        config_free(c);
        buf_fini(&error);
        if (!failed) {
            assert_int_equal(err, OK);
            assert_true(n > 5);
            break;
        }
    }
}

static void cluster_file(void **state)
{
    (void)state;
    static const char text[] =
        "cluster_id: \"00112233445566778899aabbccddeeff\"\n"
        "region: eu-test-1\n"
        "nodes:\n"
        "  - {id: a, zone: z1, role: metanode, addr: \"127.0.0.1:7101\", admin: \"127.0.0.1:1\"}\n"
        "  - {id: b, zone: z2, role: metanode, addr: \"127.0.0.1:7102\"}\n"
        "  - {id: c, zone: z3, role: metanode, addr: \"127.0.0.1:7103\"}\n"
        "  - {id: s, zone: z1, role: storagenode, addr: \"127.0.0.1:7104\"}\n"
        "partitions: 4\n"
        "pgs: 16\n";
    for (uint64_t n = 0;; n++) {
        struct cluster_config c = {0};
        struct buf error = {0};
        alloc_fail_at(n);
        int err = cluster_config_parse("cluster.yaml", SLICE_LIT(text), &c, &error);
        bool failed = alloc_fail_end();
        if (err == OK) {
            assert_int_equal(c.node_count, 4);
            assert_string_equal(c.region, "eu-test-1");
            assert_string_equal(c.nodes[0].admin, "127.0.0.1:1");
            assert_int_equal(c.split_point_count, 3);
            for (size_t i = 0; i < 3; i++)
                assert_int_equal(c.split_points[i].len, 8);
        } else {
            assert_null(c.nodes);
        }
        cluster_config_fini(&c);
        if (!failed)
            assert_int_equal(err, OK);
        buf_fini(&error);
        if (!failed) {
            assert_true(n > 10);
            break;
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(parameters, make_file, remove_file),
        cmocka_unit_test(cluster_file),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
