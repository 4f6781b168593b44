/* Parameters from their four sources and the cluster file: values, precedence, and above all the
 * errors, each of which must name its place and say what would be right. */
#include "common/base/check.h"
#include "common/base/err.h"
#include "common/config/cluster.h"
#include "common/config/config.h"

#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <cmocka.h>

static const struct config_param params[] = {
    {.name = "inline_bytes_max", .type = CONFIG_BYTES, .value = "16KiB", .max = 1 << 20, .help = "Inline."},
    {.name = "call_timeout", .type = CONFIG_DURATION, .value = "250ms", .min = 10, .max = 60000,
     .help = "Timeout."},
    {.name = "workers", .type = CONFIG_INT, .value = "2", .min = 1, .max = 64, .unit = "threads",
     .help = "Workers."},
    {.name = "fast", .type = CONFIG_BOOL, .value = "false", .help = "Fast."},
    {.name = "root_secret", .type = CONFIG_STRING, .help = "Secret.", .flags = CONFIG_SECRET},
    {.name = "offset", .type = CONFIG_INT, .min = -5, .max = 5, .help = "May be negative."},
};

static char file[96];

static void write_file(const char *text)
{
    FILE *f = fopen(file, "w");
    assert_non_null(f);
    fputs(text, f);
    fclose(f);
}

/* Loads with up to six arguments and two variables; the error text ends up in `why`. */
static char why[1024];

static int load(struct config **ret, char *const argv[], char *const envp[], enum config_action *action)
{
    const struct config_param *const tables[] = {config_common_params, params};
    const size_t counts[] = {config_common_count, ARRAY_COUNT(params)};
    struct buf error = {0};
    int argc = 0;
    while (argv[argc])
        argc++;
    *ret = config_new("cairn-test", tables, counts, 2);
    int err = config_load(*ret, argc, argv, envp, action, &error);
    snprintf(why, sizeof(why), "%.*s", (int)error.len, error.ptr ? (const char *)error.ptr : "");
    buf_fini(&error);
    return err;
}

#define ARGS(...) ((char *const[]){"cairn-test", "--node_id=n1", ##__VA_ARGS__, NULL})
#define ENV(...) ((char *const[]){__VA_ARGS__, NULL})

static void later_sources_win(void **state)
{
    (void)state;
    struct config *c;
    enum config_action action;
    write_file("workers: 3\nzone: z1\ncall_timeout: 5s\nfast: yes\n");
    assert_int_equal(load(&c, ARGS("--config", file, "--workers", "5", "--call-timeout=1m"),
                          ENV("CAIRN_WORKERS=4", "CAIRN_ZONE=z2", "CAIRN_UNKNOWN=1"), &action), OK);
    assert_int_equal(action, CONFIG_RUN);
    assert_int_equal(config_bytes(c, "inline_bytes_max"), 16384);
    assert_int_equal(config_int(c, "workers"), 5);
    assert_int_equal(config_duration_ms(c, "call_timeout"), 60000);
    assert_string_equal(config_string(c, "zone"), "z2");
    assert_true(config_bool(c, "fast"));
    assert_string_equal(config_string(c, "data_dir"), "");
    assert_string_equal(config_source(c, "workers"), "--workers");
    assert_string_equal(config_source(c, "zone"), "CAIRN_ZONE");
    char at[128];
    snprintf(at, sizeof(at), "%s:4", file);
    assert_string_equal(config_source(c, "fast"), at);
    assert_string_equal(config_source(c, "inline_bytes_max"), "default");
    config_free(c);

    char variable[128];
    snprintf(variable, sizeof(variable), "CAIRN_CONFIG=%s", file);
    assert_int_equal(load(&c, ARGS("--fast"), ENV(variable), &action), OK);
    assert_int_equal(config_int(c, "workers"), 3);
    config_free(c);
}

static void units(void **state)
{
    (void)state;
    const struct {
        const char *arg;
        uint64_t bytes, ms;
    } cases[] = {{"--inline_bytes_max=4096", 4096, 250}, {"--inline_bytes_max=1MiB", 1 << 20, 250},
                 {"--inline_bytes_max=0", 0, 250},       {"--call_timeout=2s", 16384, 2000},
                 {"--call_timeout=1m", 16384, 60000}};
    for (size_t i = 0; i < ARRAY_COUNT(cases); i++) {
        struct config *c;
        enum config_action action;
        assert_int_equal(load(&c, ARGS((char *)(uintptr_t)cases[i].arg), NULL, &action), OK);
        assert_int_equal(config_bytes(c, "inline_bytes_max"), cases[i].bytes);
        assert_int_equal(config_duration_ms(c, "call_timeout"), cases[i].ms);
        config_free(c);
    }
}

static void wrong_flags_are_explained(void **state)
{
    (void)state;
    const struct {
        const char *arg, *says;
    } cases[] = {
        {"--inline_bytes_max=16KB", "--inline_bytes_max: inline_bytes_max: '16KB' is not a size such as 4096, 16KiB"},
        {"--inline_bytes_max=-1", "out of range; use 0 to 1MiB"},
        {"--inline_bytes_max=99999999999999999999", "is not a size"},
        {"--inline_bytes_max=9000000000GiB", "is not a size"},
        {"--inline_bytes_max=", "'' is not a size"},
        {"--call_timeout=5", "'5' is not a duration such as 250ms, 5s"},
        {"--call_timeout=5ms", "call_timeout: 5ms is out of range; use 10ms to 1m"},
        {"--workers=0", "workers: 0 is out of range; use 1 to 64"},
        {"--workers=3x", "'3x' is not a whole number"},
        {"--workers", "a value is missing; write --workers=value"},
        {"--fast=maybe", "'maybe' is not true or false"},
        {"--listen=nonsense", "is not an address such as 127.0.0.1:7001"},
        {"--listen=1.2.3.4.5:80", "is not an address"},
        {"--listen=::1:80", "is not an address"},
        {"--listen=host:70000", "is not an address"},
        {"--listen=host:-1", "is not an address"},
        {"--wrokers=3", "--wrokers: 'wrokers' is not a parameter of cairn-test; did you mean 'workers'?"},
        {"--quite_unknown=3", "--help lists them"},
        {"stray", "'stray': expected --name=value"},
        {"-x", "expected --name=value"},
        {"--", "expected --name=value"},
        {"--config=/nonexistent/x.yaml", "/nonexistent/x.yaml: cannot be opened"},
    };
    for (size_t i = 0; i < ARRAY_COUNT(cases); i++) {
        struct config *c;
        enum config_action action;
        assert_int_equal(load(&c, ARGS((char *)(uintptr_t)cases[i].arg), NULL, &action), ERR_CONFIG);
        if (!strstr(why, cases[i].says))
            fail_msg("%s: \"%s\" does not say \"%s\"", cases[i].arg, why, cases[i].says);
        config_free(c);
    }
}

static void wrong_lines_are_named(void **state)
{
    (void)state;
    const struct {
        const char *text, *says;
    } cases[] = {
        {"zone: z1\n\nworkers: many\n", ":3: workers: 'many' is not a whole number"},
        {"zone: z1\nworker: 3\n", ":2: 'worker' is not a parameter of cairn-test; did you mean 'workers'?"},
        {"workers: 3\nzone: a\nworkers: 4\n", ":3: 'workers' is given twice (first on line 1)"},
        {"zone: z1\nworkers: [1, 2]\n", ":2: workers: expected one value"},
        {"zone: z1\n  bad indent: [\n", ":"},
        {"- a\n- b\n", ":1: expected lines of the form 'name: value'"},
        {"zone: z1\n---\nworkers: 2\n", ":3: a second document"},
        {"? [a]\n: b\n", ":1: a key must be a plain name"},
        {"zone: \"a\\0b\"\n", "expected one value"},
        {"a: &x [*x]\n", "'a' is not a parameter"},
    };
    for (size_t i = 0; i < ARRAY_COUNT(cases); i++) {
        struct config *c;
        enum config_action action;
        write_file(cases[i].text);
        assert_int_equal(load(&c, ARGS("--config", file), NULL, &action), ERR_CONFIG);
        if (strncmp(why, file, strlen(file)) != 0 || !strstr(why + strlen(file), cases[i].says))
            fail_msg("case %zu: \"%s\" does not say \"%s\"", i, why, cases[i].says);
        config_free(c);
    }
    struct config *c;
    enum config_action action;
    assert_int_equal(load(&c, ARGS(), ENV("CAIRN_WORKERS=1000"), &action), ERR_CONFIG);
    assert_string_equal(why, "CAIRN_WORKERS: workers: 1000 is out of range; use 1 to 64");
    config_free(c);
    assert_int_equal(load(&c, ((char *const[]){"cairn-test", NULL}), NULL, &action), ERR_CONFIG);
    assert_non_null(strstr(why, "node_id is not set; give --node_id=..., CAIRN_NODE_ID"));
    config_free(c);
    write_file("# nothing\n");
    assert_int_equal(load(&c, ARGS("--config", file), NULL, &action), OK);
    config_free(c);
}

static void actions_and_masked_secrets(void **state)
{
    (void)state;
    struct config *c;
    enum config_action action;
    assert_int_equal(load(&c, ((char *const[]){"cairn-test", "--help", NULL}), NULL, &action), OK);
    assert_int_equal(action, CONFIG_SHOW_HELP);
    struct buf text = {0};
    config_help(c, &text);
    buf_u8(&text, 0);
    assert_non_null(strstr((char *)text.ptr, "--inline_bytes_max=size\n      Inline.\n      Default: 16KiB.  From 0 to 1MiB.\n"));
    assert_non_null(strstr((char *)text.ptr, "--workers=number, in threads\n"));
    assert_non_null(strstr((char *)text.ptr, "Required."));
    config_free(c);

    assert_int_equal(load(&c, ARGS("--print-config", "--zone", "a\"b", "--offset=-3"),
                          ENV("CAIRN_ROOT_SECRET=hunter2"), &action), OK);
    assert_int_equal(action, CONFIG_PRINT);
    assert_string_equal(config_string(c, "root_secret"), "hunter2");
    assert_int_equal(config_int(c, "offset"), -3);
    buf_clear(&text);
    config_print(c, &text);
    buf_u8(&text, 0);
    assert_null(strstr((char *)text.ptr, "hunter2"));
    assert_non_null(strstr((char *)text.ptr, "root_secret: \"***\"  # CAIRN_ROOT_SECRET\n"));
    assert_non_null(strstr((char *)text.ptr, "zone: \"a\\\"b\"  # --zone\n"));
    config_free(c);
    buf_fini(&text);
    assert_int_equal(load(&c, ARGS("--check-config"), NULL, &action), OK);
    assert_int_equal(action, CONFIG_CHECK_ONLY);
    config_free(c);
}

static void addresses(void **state)
{
    (void)state;
    char host[256];
    unsigned port;
    assert_true(config_address_split("[::1]:80", host, sizeof(host), &port));
    assert_string_equal(host, "::1");
    assert_int_equal(port, 80);
    assert_true(config_address_ok("node-1.example:65535", false));
    assert_false(config_address_ok("127.0.0.1:0", false));
    assert_true(config_address_ok("127.0.0.1:0", true));
    assert_false(config_address_ok("300.0.0.1:1", false));
    assert_false(config_address_ok("[::g]:1", false));
    assert_false(config_address_ok("a b:1", false));
    assert_false(config_address_ok("a:99999999999", false));
    assert_false(config_address_split("host:80", host, 4, &port));
}

/* ---- cluster file ---- */
#define HEAD "cluster_id: 00112233445566778899aabbccddeeff\nregion: eu-1\nnodes:\n"
#define NODE1 "  - {id: z1-m, zone: z1, role: metanode, addr: \"127.0.0.1:7101\", admin: \"127.0.0.1:7201\"}\n"
#define NODE2 "  - {id: z2-m, zone: z2, role: metanode, addr: \"127.0.0.1:7102\"}\n"

#define STORE(zone, id, port)                                                                      \
    "  - {id: s" zone id ", zone: " zone ", role: storagenode, addr: \"h:" port id "\"}\n"
#define STORES(zone, port) STORE(zone, "1", port) STORE(zone, "2", port) STORE(zone, "3", port)

static int parse(const char *text, struct cluster_config *c)
{
    struct buf error = {0};
    int err = cluster_config_parse("c.yaml", slice_cstr(text), c, &error);
    snprintf(why, sizeof(why), "%.*s", (int)error.len, error.ptr ? (const char *)error.ptr : "");
    buf_fini(&error);
    return err;
}

static void cluster_is_read(void **state)
{
    (void)state;
    struct cluster_config c;
    if (parse(HEAD NODE1 NODE2 "  - {id: g, zone: z3, role: gateway}\npartitions: 4\npgs: 7\n", &c) != OK)
        fail_msg("%s", why);
    assert_int_equal(c.cluster_id.bytes[15], 0xff);
    assert_string_equal(c.region, "eu-1");
    assert_int_equal(c.node_count, 3);
    assert_string_equal(c.nodes[0].admin, "127.0.0.1:7201");
    assert_string_equal(c.nodes[1].admin, "");
    assert_int_equal(c.nodes[1].line, 5);
    assert_int_equal(c.pgs, 7);
    assert_int_equal(c.split_point_count, 3);
    assert_true(slice_eq(buf_view(&c.split_points[0]), SLICE("\x40\0\0\0\0\0\0\0", 8)));
    assert_true(slice_eq(buf_view(&c.split_points[2]), SLICE("\xc0\0\0\0\0\0\0\0", 8)));
    assert_int_equal(c.zone_count, 2);
    assert_non_null(memmem(c.warnings.ptr, c.warnings.len, "2 zones", 7));
    assert_ptr_equal(cluster_node_by_id(&c, "z2-m"), &c.nodes[1]);
    assert_null(cluster_node_by_id(&c, "z9"));
    size_t pos = 0;
    assert_ptr_equal(cluster_node_next(&c, NET_ROLE_GATEWAY, &pos), &c.nodes[2]);
    assert_null(cluster_node_next(&c, NET_ROLE_GATEWAY, &pos));
    assert_int_equal(cluster_node_count(&c, NET_ROLE_METANODE), 2);
    cluster_config_fini(&c);

    assert_int_equal(parse(HEAD NODE1 "split_points: [\"8000000000000000\", \"800000000000000061\"]\n", &c), OK);
    assert_int_equal(c.partitions, 3);
    assert_int_equal(c.split_points[1].len, 9);
    cluster_config_fini(&c);
    /* Three partitions do not divide 2^64: the bounds still ascend and lie near the thirds. */
    assert_int_equal(parse(HEAD NODE1 "partitions: 3\n", &c), OK);
    assert_int_equal(c.split_points[0].ptr[0], 0x55);
    assert_int_equal(c.split_points[1].ptr[0], 0xaa);
    cluster_config_fini(&c);
    assert_int_equal(parse(HEAD NODE1 STORES("a", "1") STORES("b", "2") STORES("c", "3")
                               "schemes: [5+4, 4+2, rep-3]\nscatter_width: 30\n"
                               "orphan_age: 90m\nclock_difference_max: 2s\n", &c), OK);
    assert_true(c.orphan_age_ms == 5400000 && c.clock_difference_ms == 2000);
    assert_int_equal(c.scheme_count, 3);
    assert_true(c.schemes[0].data == 5 && c.schemes[0].parity == 4);
    assert_true(c.schemes[2].data == 1 && c.schemes[2].parity == 2);
    assert_int_equal(c.scatter_width, 30);
    cluster_config_fini(&c);
    assert_int_equal(parse(HEAD "  []\nstorage_classes: {ECONOMY: 4+2}\n", &c), ERR_CONFIG);
    assert_int_equal(parse(HEAD NODE1 STORES("a", "1") STORES("b", "2") STORES("c", "3")
                               "storage_classes: {ECONOMY: 4+2, REDUCED_REDUNDANCY: rep-3, STANDARD: 5+4}\n", &c), OK);
    assert_true(c.class_count == 3 && c.scheme_count == 0);
    assert_string_equal(c.classes[0].name, "ECONOMY");
    assert_true(c.classes[0].scheme.data == 4 && c.classes[0].scheme.parity == 2);
    assert_true(c.classes[1].scheme.data == 1 && c.classes[2].scheme.data == 5);
    cluster_config_fini(&c);
    assert_int_equal(parse(HEAD NODE1 "partitions: 1\n", &c), OK);
    assert_true(c.pgs == 0 && c.scheme_count == 0 && c.scatter_width == 16); /* by the topology */
    assert_true(c.orphan_age_ms == 86400000 && c.clock_difference_ms == 60000);
    assert_int_equal(c.split_point_count, 0);
    cluster_config_fini(&c);
}

static void wrong_clusters_are_explained(void **state)
{
    (void)state;
    const struct {
        const char *text, *says;
    } cases[] = {
        {"region: x\n", "c.yaml:1: cluster_id is missing"},
        {"cluster_id: 12\n", "c.yaml:1: cluster_id: expected 32 hex digits"},
        {HEAD "  []\n", "nodes: none has the role metanode"},
        {HEAD NODE1 NODE1, "c.yaml:5: id 'z1-m' is used on line 4 already"},
        {HEAD NODE1 "  - {id: x, zone: z1, role: witness, addr: \"127.0.0.1:7201\"}\n",
         "c.yaml:5: address 127.0.0.1:7201 is used by 'z1-m' (line 4) already"},
        {HEAD "  - {id: a, zone: z, role: king, addr: \"h:1\"}\n", "c.yaml:4: role: 'king' is unknown; use gateway"},
        {HEAD "  - {id: a, zone: z, role: cli}\n", "role: 'cli' is unknown"},
        {HEAD "  - {id: a b, zone: z, role: witness, addr: \"h:1\"}\n", "id: 'a b' is not a name"},
        {HEAD "  - {id: a, zone: z, role: witness}\n", "c.yaml:4: this node has no addr"},
        {HEAD "  - {id: a, zone: z, role: witness, addr: \"h\"}\n", "c.yaml:4: addr: 'h' is not an address"},
        {HEAD "  - {id: a, zone: z, role: witness, addr: \"h:0\"}\n", "is not an address"},
        {HEAD "  - {id: a, id: b}\n", "c.yaml:4: 'id' is given twice"},
        {HEAD "  - {id: a, colour: red}\n", "'colour' is not a field of a node"},
        {HEAD "  - plain\n", "c.yaml:4: nodes: expected {id: ..."},
        {HEAD NODE1 "partitions: 0\n", "c.yaml:5: partitions: expected a number from 1 to 4096"},
        {HEAD NODE1 "partitions: -3\n", "expected a number"},
        {HEAD NODE1 "pgs: many\n", "c.yaml:5: pgs: expected a number"},
        {HEAD NODE1 "scatter_width: 0\n", "c.yaml:5: scatter_width: expected a number"},
        {HEAD NODE1 "orphan_age: 0s\n", "c.yaml:5: orphan_age: expected a duration"},
        {HEAD NODE1 "orphan_age: [1h]\n", "c.yaml:5: orphan_age: expected a duration"},
        {HEAD NODE1 "clock_difference_max: 400000h\n", "clock_difference_max: expected a duration"},
        {HEAD NODE1 "orphan_age: 90s\n", "orphan_age: must be at least twice clock_difference_max"},
        {HEAD NODE1 "schemes: 5+4\n", "c.yaml:5: schemes: expected a list"},
        {HEAD NODE1 "schemes: [raid]\n", "c.yaml:5: schemes: 'raid' is unknown; use data+parity"},
        {HEAD NODE1 "schemes: [5+4x]\n", "'5+4x' is unknown"},
        {HEAD NODE1 "schemes: [1+2]\n", "expected 2 or more data"},
        {HEAD NODE1 "schemes: [12+8]\n", "at most 16 in all"},
        {HEAD NODE1 "schemes: [rep-3, rep-3]\n", "rep-3 is there twice"},
        {HEAD NODE1 STORES("a", "1") "schemes: [5+4]\n", "c.yaml:8: schemes: 5+4 needs 9 storage nodes; this file has 3"},
        {HEAD NODE1 STORES("a", "1") STORES("b", "2") "schemes: [rep-3, 4+2]\n",
         "c.yaml:11: schemes: 4+2 on these 2 zones puts 3 shards into one"},
        {HEAD NODE1 STORES("a", "1") "storage_classes: {ECONOMY: 4+2}\n",
         "c.yaml:8: storage_classes: ECONOMY: 4+2 needs 6 storage nodes; this file has 3"},
        {HEAD NODE1 STORES("a", "1") STORES("b", "2") "storage_classes: {A: rep-3, B: 4+2}\n",
         "storage_classes: B: 4+2 on these 2 zones puts 3 shards into one"},
        {HEAD NODE1 "storage_classes: [ECONOMY]\n", "c.yaml:5: storage_classes: expected a mapping"},
        {HEAD NODE1 "storage_classes: {economy: rep-3}\n", "'economy' is no name of a class"},
        {HEAD NODE1 "storage_classes: {A234567890123456789012345678901234: rep-3}\n", "is no name of a class"},
        {HEAD NODE1 "storage_classes: {GLACIER: rep-3}\n", "do not read before a restore"},
        {HEAD NODE1 "storage_classes: {A: raid}\n", "storage_classes: 'raid' is unknown"},
        {HEAD NODE1 "storage_classes: {A: [x]}\n", "storage_classes: expected one value"},
        {HEAD NODE1 "storage_classes: {A: rep-3, A: rep-3}\n", "'A' is given twice"},
        {HEAD NODE1 "storage_classes: {A: rep-3, B: rep-3, C: rep-3, D: rep-3, E: rep-3, F: rep-3, G: rep-3, "
                    "H: rep-3, I: rep-3}\n", "storage_classes: at most 8"},
        {HEAD NODE1 "split_points: [zz]\n", "c.yaml:5: split_points: expected hex of 8"},
        {HEAD NODE1 "split_points: [\"80000000000000zz\"]\n", "is not hexadecimal"},
        {HEAD NODE1 "split_points: [\"8000000000000000\", \"8000000000000000\"]\n", "must ascend"},
        {HEAD NODE1 "partitions: 5\nsplit_points: [\"8000000000000000\"]\n", "does not go with 1 split_points"},
        {HEAD NODE1 "sharding: yes\n", "c.yaml:5: 'sharding' is unknown here"},
        {"cluster_id: [\n", "not valid YAML"},
    };
    for (size_t i = 0; i < ARRAY_COUNT(cases); i++) {
        struct cluster_config c;
        assert_int_equal(parse(cases[i].text, &c), ERR_CONFIG);
        if (!strstr(why, cases[i].says))
            fail_msg("case %zu: \"%s\" does not say \"%s\"", i, why, cases[i].says);
        assert_null(c.nodes);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(later_sources_win),
        cmocka_unit_test(units),
        cmocka_unit_test(wrong_flags_are_explained),
        cmocka_unit_test(wrong_lines_are_named),
        cmocka_unit_test(actions_and_masked_secrets),
        cmocka_unit_test(addresses),
        cmocka_unit_test(cluster_is_read),
        cmocka_unit_test(wrong_clusters_are_explained),
    };
    snprintf(file, sizeof(file), "/tmp/cairn-config-XXXXXX");
    int fd = mkstemp(file);
    if (fd < 0)
        return 1;
    close(fd);
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    unlink(file);
    return failed;
}
