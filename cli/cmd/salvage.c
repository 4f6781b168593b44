/* cairnctl salvage: lists what the extents of stopped storage nodes hold, and writes it out.
 *
 * One JSON line a version of an object; docs/operations.md says what to do with them. */
#include "cli/args/args.h"
#include "cli/cmd/commands.h"
#include "cli/io/extents.h"
#include "cli/salvage/decode.h"
#include "common/base/check.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

static const struct arg_option options[] = {
    {"extract", ARG_TEXT, NULL, 0, 0,
     "write what can be decoded into this directory, a file a version"},
    {"newest", ARG_FLAG, NULL, 0, 0, "of each key the newest version that is whole"},
    {"deleted", ARG_FLAG, NULL, 0, 0, "blobs that carry deletion marks as well"},
};

struct salvage {
    struct args args;
    struct extents *disk;
    size_t disk_count;
    struct salvage_catalog catalog;
    int out_fd; /* of --extract; -1: none */
    struct buf blob;
    uint64_t versions, whole, unknown, lost, extracted, failed;
};

static int usage(void)
{
    struct buf text = {0};
    args_help(options, ARRAY_COUNT(options), &text);
    printf(
        "usage: cairnctl salvage [OPTION...] DIR...\n\n"
        "Reads the extents of storage nodes that do not run (DIR: a data_dir each), without any "
        "index, and\n"
        "lists the objects in them, newest version of a key first: a JSON line each.  Give it the\n"
        "directories of all storage nodes at once.  It writes nothing into them.  Objects small "
        "enough to\n"
        "lie in the index itself (inline_bytes_max) are not there.  Exit status: 1 if the newest "
        "version\n"
        "of any key is not whole, or anything could not be read.\n\n%.*s",
        (int)text.len, (const char *)text.ptr);
    buf_fini(&text);
    return CLI_GOOD;
}

/* ---- one version as JSON ---- */

static json_t *id_json(struct id128 id)
{
    char hex[ID_HEX_CHARS + 1];
    id128_hex(id, hex);
    return id128_is_zero(id) ? json_null() : json_string(hex);
}

static json_t *complete_json(enum salvage_complete c)
{
    return c == SALVAGE_UNKNOWN ? json_null() : json_boolean(c == SALVAGE_YES);
}

static void scheme_text(const struct salvage_blob *b, char *ret, size_t size)
{
    if (b->data == 1)
        snprintf(ret, size, "rep-%u", b->parity + 1);
    else if (b->data)
        snprintf(ret, size, "rs-%u+%u", b->data, b->parity);
    else
        snprintf(ret, size, "unknown");
}

static json_t *segment_json(const struct salvage_body *body, const struct salvage_blob *b)
{
    const struct shard_info *i = b->info;
    char scheme[32], crc[16];
    scheme_text(b, scheme, sizeof(scheme));
    snprintf(crc, sizeof(crc), "%08" PRIx32, i->blob_crc32c);
    return json_pack(
        "{s:I, s:I, s:b, s:o, s:I, s:I, s:s, s:I, s:o, s:I, s:I, s:I, s:I, s:I, s:b, s:I}", "part",
        (json_int_t)body->part_number, "segment", (json_int_t)i->owner.segment_number, "chosen",
        body->chosen, "blob_id", id_json(i->blob_id), "pg", (json_int_t)i->pg, "pg_epoch",
        (json_int_t)i->pg_epoch, "scheme", scheme, "bytes", (json_int_t)b->bytes, "crc32c",
        b->crc_known ? json_string(crc) : json_null(), "shards_found", (json_int_t)b->found,
        "shards_needed", (json_int_t)b->data, "shards_all", (json_int_t)(b->data + b->parity),
        "shards_damaged", (json_int_t)b->damaged, "marks", (json_int_t)b->marks, "decodable",
        b->decodable, "time_ms", (json_int_t)b->time_ms);
}

static json_t *version_json(const struct salvage_version *v, const char *file)
{
    json_t *segments = json_array(), *key = json_stringn((const char *)v->key.ptr, v->key.len);
    json_t *root = json_pack(
        "{s:I, s:o, s:o, s:I, s:I, s:b, s:o, s:b, s:b}", "bucket_id", (json_int_t)v->bucket_id,
        "upload_id", id_json(v->upload_id), "write_id", id_json(v->write_id), "time_ms",
        (json_int_t)v->time_ms, "bytes", (json_int_t)v->bytes, "newest", v->newest, "complete",
        complete_json(v->complete), "ambiguous", v->body_count == 1 && v->body[0].ambiguous,
        "encrypted", v->sealed);
    if (!key) { /* not UTF-8 */
        struct buf hex = {0};
        for (size_t i = 0; i < v->key.len; i++)
            buf_printf(&hex, "%02x", v->key.ptr[i]);
        json_object_set_new(root, "key_hex", json_stringn((const char *)hex.ptr, hex.len));
        buf_fini(&hex);
    } else {
        json_object_set_new(root, "key", key);
    }
    for (size_t i = 0; i < v->body_count; i++)
        for (size_t k = 0; k < v->body[i].segment_count; k++)
            json_array_append_new(segments, segment_json(&v->body[i], v->body[i].segment[k]));
    json_object_set_new(root, "file", file ? json_string(file) : json_null());
    json_object_set_new(root, "segments", segments);
    return root;
}

static int line_print(json_t *root)
{
    int err = root && json_dumpf(root, stdout, JSON_COMPACT | JSON_PRESERVE_ORDER) == 0 &&
                      fputc('\n', stdout) != EOF
                  ? OK
                  : ERR_IO;
    json_decref(root);
    return err;
}

/* ---- writing out ---- */

static int shard_read(void *arg, const struct salvage_shard *s, uint8_t *to)
{
    struct salvage *x = arg;
    return extents_read(&x->disk[s->disk], s, to);
}

static int write_all(int fd, struct slice s)
{
    while (s.len > 0) {
        ssize_t n = write(fd, s.ptr, s.len);
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            return n < 0 && errno == ENOSPC ? ERR_NOSPACE : ERR_IO;
        s = SLICE(s.ptr + n, s.len - (size_t)n);
    }
    return OK;
}

static int body_write(struct salvage *x, const struct salvage_body *body, int fd)
{
    int err = OK;
    for (size_t i = 0; !err && i < body->segment_count; i++) {
        buf_clear(&x->blob);
        err = salvage_decode(body->segment[i], shard_read, x, &x->blob);
        if (!err)
            err = write_all(fd, buf_view(&x->blob));
    }
    return err;
}

/* All of a version, or no file: what an earlier run wrote is replaced when the new one is whole. */
static int version_write(struct salvage *x, const struct salvage_version *v, const char *name)
{
    static const char part[] = ".part";
    int fd = openat(x->out_fd, part, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, 0600);
    int err = fd < 0 ? ERR_IO : OK;
    for (size_t i = 0; !err && i < v->body_count; i++)
        if (v->body[i].chosen)
            err = body_write(x, &v->body[i], fd);
    if (!err && fsync(fd) != 0)
        err = ERR_IO;
    if (fd >= 0 && close(fd) != 0 && !err)
        err = ERR_IO;
    if (!err && renameat(x->out_fd, part, x->out_fd, name) != 0)
        err = ERR_IO;
    if (err && fd >= 0)
        (void)unlinkat(x->out_fd, part, 0);
    return err;
}

/* Returns: OK; what keeps all further versions from being written as well. */
static int version_extract(struct salvage *x, const struct salvage_version *v, char *name,
                           size_t size, bool *ret_written)
{
    char leaf[SALVAGE_NAME_BYTES];
    salvage_name(v, leaf);
    snprintf(name, size, "b%" PRIu64 "-%s", v->bucket_id, leaf);
    int err = version_write(x, v, name);
    *ret_written = err == OK;
    if (err)
        fprintf(stderr, "cairnctl salvage: %s: %s\n", name, err_text(err));
    if (err == ERR_NOSPACE || err == ERR_NOMEM)
        return err;
    x->extracted += err == OK;
    x->failed += err != OK;
    return OK;
}

/* ---- all versions ---- */

static int version_do(struct salvage *x, const struct salvage_version *v)
{
    char name[SALVAGE_NAME_BYTES + 32];
    bool written = false;
    int err = OK;
    x->versions++;
    x->whole += v->complete == SALVAGE_YES;
    x->unknown += v->complete == SALVAGE_UNKNOWN;
    if (x->out_fd >= 0 && v->complete != SALVAGE_NO && !v->sealed)
        err = version_extract(x, v, name, sizeof(name), &written);
    int bad = line_print(version_json(v, written ? name : NULL));
    return err ? err : bad;
}

static bool same_key(const struct salvage_version *a, const struct salvage_version *b)
{
    return a->bucket_id == b->bucket_id && slice_eq(a->key, b->key);
}

/* With --newest, of each key the first that is whole; if none is, the first. */
static int versions_do(struct salvage *x)
{
    const struct salvage_catalog *c = &x->catalog;
    bool newest = arg_flag(&x->args, "newest");
    int err = OK;
    for (size_t i = 0, next; !err && i < c->version_count; i = next) {
        size_t best = i;
        x->lost += c->version[i].newest && c->version[i].complete == SALVAGE_NO;
        for (next = i + 1; newest && next < c->version_count; next++) {
            if (!same_key(&c->version[i], &c->version[next]))
                break;
            if (c->version[best].complete == SALVAGE_NO && c->version[next].complete != SALVAGE_NO)
                best = next;
        }
        err = version_do(x, &c->version[best]);
    }
    return err;
}

static int summary(struct salvage *x)
{
    uint64_t extents = 0, frames = 0, marks = 0, damaged = 0, headers = 0, errors = 0;
    for (size_t i = 0; i < x->disk_count; i++) {
        extents += x->disk[i].count;
        frames += x->disk[i].frames;
        marks += x->disk[i].marks;
        damaged += x->disk[i].damaged;
        headers += x->disk[i].headers_bad;
        errors += x->disk[i].read_errors;
    }
    fprintf(stderr,
            "%zu disks, %" PRIu64 " extents, %" PRIu64 " whole frames, %" PRIu64
            " deletion marks; %zu blobs, "
            "%zu more with marks\n%" PRIu64 " frames damaged, %" PRIu64
            " headers unreadable, %" PRIu64 " read errors\n%" PRIu64 " versions: %" PRIu64
            " whole, %" PRIu64 " as far as can be told; %" PRIu64
            " keys whose newest is not whole; %" PRIu64 " written\n",
            x->disk_count, extents, frames, marks, x->catalog.blob_count,
            arg_flag(&x->args, "deleted") ? 0 : x->catalog.deleted_count, damaged, headers, errors,
            x->versions, x->whole, x->unknown, x->lost, x->extracted);
    if (!x->args.json)
        return OK;
    return line_print(json_pack(
        "{s:{s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I}}", "summary", "disks",
        (json_int_t)x->disk_count, "extents", (json_int_t)extents, "frames", (json_int_t)frames,
        "marks", (json_int_t)marks, "frames_damaged", (json_int_t)damaged, "headers_unreadable",
        (json_int_t)headers, "read_errors", (json_int_t)errors, "versions", (json_int_t)x->versions,
        "whole", (json_int_t)x->whole, "newest_not_whole", (json_int_t)x->lost, "extracted",
        (json_int_t)x->extracted));
}

static void progress(uint64_t done, uint64_t of)
{
    if (isatty(2))
        fprintf(stderr, "\r%" PRIu64 " of %" PRIu64 " extents%s", done, of, done == of ? "\n" : "");
}

/* Returns: how to end. */
static int run(struct salvage *x)
{
    struct buf error = {0};
    int err = OK;
    uint64_t hurt = 0;
    for (size_t i = 0; !err && i < x->args.positional_count; i++) {
        x->disk_count++;
        err = extents_open(&x->disk[i], x->args.positional[i], &error);
    }
    if (err) {
        fprintf(stderr, "cairnctl salvage: %.*s\n", (int)error.len, (const char *)error.ptr);
        buf_fini(&error);
        return CLI_USAGE;
    }
    for (size_t i = 0; !err && i < x->disk_count; i++) {
        err = extents_scan(&x->disk[i], (uint32_t)i, &x->catalog, progress);
        hurt += x->disk[i].read_errors + (x->disk[i].count == 0);
        if (!err && x->disk[i].count == 0)
            fprintf(stderr, "cairnctl salvage: %s: there are no extents\n", x->disk[i].path);
    }
    if (!err)
        err = salvage_finish(&x->catalog, arg_flag(&x->args, "deleted"));
    if (!err)
        err = versions_do(x);
    if (!err)
        err = summary(x);
    if (err)
        fprintf(stderr, "cairnctl salvage: %s\n", err_text(err));
    return err || x->lost || x->failed || hurt ? CLI_BAD : CLI_GOOD;
}

static int out_open(struct salvage *x)
{
    const char *path = arg_text(&x->args, "extract");
    if (!path)
        return OK;
    if (mkdir(path, 0700) != 0 && errno != EEXIST)
        return ERR_IO;
    x->out_fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    return x->out_fd < 0 ? ERR_IO : OK;
}

int cmd_salvage(int argc, char **argv)
{
    static const char *positional[ARGS_POSITIONAL_MAX];
    static struct salvage x;
    struct buf error = {0};
    int status = CLI_USAGE;
    x.out_fd = -1;
    int err = args_parse(&x.args, options, ARRAY_COUNT(options), argc, argv, positional, &error);
    if (!err && x.args.help)
        return usage();
    if (!err && x.args.positional_count == 0)
        buf_cstr(&error, "needs the data directories of storage nodes");
    else if (!err && out_open(&x) != OK)
        buf_printf(&error, "--extract=%s: %s", arg_text(&x.args, "extract"), strerror(errno));
    else if (!err && !(x.disk = calloc(x.args.positional_count, sizeof(*x.disk))))
        buf_cstr(&error, "out of memory");
    if (error.len)
        fprintf(stderr, "cairnctl salvage: %.*s\nsee cairnctl salvage --help\n", (int)error.len,
                (const char *)error.ptr);
    else
        status = run(&x);
    for (size_t i = 0; i < x.disk_count; i++)
        extents_close(&x.disk[i]);
    salvage_fini(&x.catalog);
    buf_fini(&x.blob);
    buf_fini(&error);
    free(x.disk);
    if (x.out_fd >= 0)
        close(x.out_fd);
    return status;
}
