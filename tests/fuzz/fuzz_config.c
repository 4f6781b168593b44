/* What operators write, from any bytes: the cluster file, a process's YAML file, values of variables
 * and flags.  Every refusal has a text; whatever is accepted keeps its bounds. */
#include "common/base/check.h"
#include "common/base/err.h"
#include "common/config/cluster.h"
#include "common/config/config.h"

#include <stdio.h>
#include <sys/mman.h>
#include <unistd.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static const struct config_param params[] = {
    {.name = "bytes", .type = CONFIG_BYTES, .value = "16KiB", .max = 1 << 20, .help = "Bytes."},
    {.name = "wait", .type = CONFIG_DURATION, .value = "250ms", .min = 10, .max = 60000, .help = "Wait."},
    {.name = "count", .type = CONFIG_INT, .value = "2", .min = -5, .max = 64, .help = "Count."},
    {.name = "fast", .type = CONFIG_BOOL, .value = "false", .help = "Fast."},
    {.name = "secret", .type = CONFIG_STRING, .help = "Secret.", .flags = CONFIG_SECRET},
    {.name = "peer", .type = CONFIG_ADDRESS, .help = "Peer."},
};

static void fuzz_cluster(struct slice text)
{
    struct cluster_config c;
    struct buf why = {0};
    int err = cluster_config_parse("cluster.yaml", text, &c, &why);
    if (err == OK) {
        CHECK(c.node_count <= CLUSTER_NODES_MAX && c.partitions >= 1);
        CHECK(c.partitions <= CLUSTER_PARTITIONS_MAX && c.pgs <= CLUSTER_PGS_MAX);
        CHECK(c.split_point_count == c.partitions - 1);
        CHECK(c.scheme_count <= CLUSTER_SCHEMES_MAX && c.scatter_width >= 1);
        for (size_t i = 0; i < c.scheme_count; i++)
            CHECK(c.schemes[i].data >= 1 && c.schemes[i].parity >= 1 &&
                  c.schemes[i].data + c.schemes[i].parity <= CLUSTER_SHARDS_MAX);
        CHECK(c.class_count <= CLUSTER_CLASSES_MAX);
        for (size_t i = 0; i < c.class_count; i++)
            CHECK(c.classes[i].name[0] && c.classes[i].scheme.data >= 1 &&
                  c.classes[i].scheme.data + c.classes[i].scheme.parity <= CLUSTER_SHARDS_MAX);
        for (size_t i = 0; i < c.split_point_count; i++) {
            CHECK(c.split_points[i].len <= CLUSTER_SPLIT_POINT_BYTES_MAX);
            CHECK(i == 0 || slice_cmp(buf_view(&c.split_points[i - 1]), buf_view(&c.split_points[i])) < 0);
        }
        cluster_config_fini(&c);
    } else {
        CHECK(err == ERR_CONFIG && why.len > 0);
    }
    buf_fini(&why);
}

static void load(char *const argv[], int argc, char *const envp[])
{
    const struct config_param *const tables[] = {config_common_params, params};
    const size_t counts[] = {config_common_count, ARRAY_COUNT(params)};
    struct buf why = {0}, printed = {0};
    enum config_action action;
    struct config *c = config_new("cairn-fuzz", tables, counts, 2);
    CHECK(c);
    int err = config_load(c, argc, argv, envp, &action, &why);
    if (err == OK && action == CONFIG_RUN) {
        CHECK(config_bytes(c, "bytes") <= 1 << 20);
        CHECK(config_duration_ms(c, "wait") >= 10 && config_duration_ms(c, "wait") <= 60000);
        CHECK(config_int(c, "count") >= -5 && config_int(c, "count") <= 64);
        const char *peer = config_address(c, "peer");
        CHECK(peer[0] == '\0' || config_address_ok(peer, true));
        config_print(c, &printed);
        const char *secret = config_string(c, "secret");
        size_t len = strlen(secret);
        /* A short one may be part of something else that is printed. */
        CHECK(len < 16 || !memmem(printed.ptr, printed.len, secret, len));
    } else {
        CHECK(err == OK || (err == ERR_CONFIG && why.len > 0));
    }
    buf_fini(&why);
    buf_fini(&printed);
    config_free(c);
}

static void fuzz_file(struct slice text)
{
    char flag[64];
    int fd = memfd_create("config", MFD_CLOEXEC);
    CHECK(fd >= 0 && write(fd, text.ptr, text.len) == (ssize_t)text.len);
    snprintf(flag, sizeof(flag), "--config=/proc/self/fd/%d", fd);
    char *const argv[] = {"cairn-fuzz", "--node_id=n1", flag, NULL};
    char *const envp[] = {NULL};
    load(argv, 3, envp);
    close(fd);
}

static void fuzz_values(struct slice text)
{
    char value[256], variable[300], flag[300], host[64];
    unsigned port = 0;
    size_t len = MIN(text.len, sizeof(value) - 1);
    memcpy(value, text.ptr, len);
    value[len] = '\0';
    if (config_address_split(value, host, sizeof(host), &port))
        CHECK(strlen(host) < sizeof(host) && port <= 65535);
    for (size_t i = 0; i < ARRAY_COUNT(params); i++) {
        snprintf(flag, sizeof(flag), "--%s=%s", params[i].name, value);
        snprintf(variable, sizeof(variable), "CAIRN_WAIT=%s", value);
        char *const argv[] = {"cairn-fuzz", "--node_id=n1", flag, NULL};
        char *const envp[] = {i % 2 ? variable : NULL, NULL};
        load(argv, 3, envp);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size > 1 << 16)
        return 0;
    fuzz_cluster(SLICE(data, size));
    fuzz_file(SLICE(data, size));
    if (size < 256)
        fuzz_values(SLICE(data, size));
    return 0;
}
