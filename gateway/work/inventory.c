/* See inventory.h.  The steps of a round.
 *
 *   READING ─► LISTING ─► PUTTING (a file) ─► PACING ─► LISTING ─► ... ─► PUTTING (the manifest,
 *                 └────── not full ───────────────▲                         its checksum) ─► the
 * end
 *
 * What fails is done again after a while: the page is listed again, or the object put again. */
#include "gateway/work/inventory.h"

#include "common/base/check.h"
#include "common/base/hash.h"
#include "common/crypto/codec.h"
#include "common/obs/log.h"
#include "gateway/op/bucket_view.h"
#include "gateway/op/events.h"
#include "gateway/op/self_put.h"
#include "gateway/s3/inventory.h"
#include "gateway/s3/version.h"
#include "gateway/work/inventory_place.h"
#include "gateway/work/walk.h"
#include "proto/versions.h"

#include <stdlib.h>
#include <zlib.h>

#define PAGE 500
#define OUT_STEP (64u << 10)
#define GZIP_WINDOW (MAX_WBITS + 16)
#define MEM_LEVEL 8

enum round_state { ROUND_READING, ROUND_LISTING, ROUND_PUTTING, ROUND_PACING };
enum put_what { PUT_FILE, PUT_MANIFEST, PUT_CHECKSUM };

struct round {
    struct job *job;
    struct gateway *gw;
    struct inventory *inv;
    enum round_state state;
    struct meta_read read;
    bool has_read, has_list, is_deflating;
    struct arena arena; /* of the configuration */
    struct s3_inventory config;
    uint64_t config_hash;
    struct slice owner_id;
    bool owner_enforced, has_versions;
    struct inventory_place place; /* behind what is in `out` */
    struct meta_list list;
    struct buf rows; /* of a page */
    z_stream z;
    struct buf out; /* the file so far, compressed; or the manifest, or its checksum */
    bool ended;     /* the list is at its end */
    enum put_what what;
    struct inventory_file file; /* being put */
    struct buf key;
    struct self_put put;
    struct env_timer timer;
    struct pace pace;
    uint64_t begun_ns, listed;
};

static void round_read(struct round *r);
static void round_list(struct round *r);
static void round_put(struct round *r);
static void manifest_put(struct round *r);

static uint64_t deadline(const struct round *r)
{
    return env_now_ns(r->gw->env) + r->gw->config->timeout_ms * NS_PER_MS;
}
static struct slice bucket_name(const struct round *r)
{
    return slice_cstr(r->job->bucket);
}

/* ---- the end ---- */

static void deflate_drop(struct round *r)
{
    if (r->is_deflating)
        deflateEnd(&r->z);
    r->is_deflating = false;
}

static void round_end(struct round *r, enum job_result result, int err)
{
    struct job *job = r->job;
    uint64_t ns = env_now_ns(r->gw->env) - r->begun_ns;
    if (result == JOB_FAILED) {
        metric_inc(r->inv->metrics->failed);
        log_warn("inventory.failed", 0, L_STR("bucket", job->bucket), L_STR("id", job->id),
                 L_BYTES("destination", r->config.bucket), L_ERR(err));
    } else if (r->listed) {
        log_info("inventory.round", 0, L_STR("bucket", job->bucket), L_STR("id", job->id),
                 L_STR("result", result == JOB_LATER ? "later" : "done"),
                 L_UINT("listed", r->listed), L_UINT("files", r->place.file_count),
                 L_UINT("ms", ns / NS_PER_MS));
    }
    env_timer_stop(&r->timer);
    deflate_drop(r);
    if (r->has_list)
        meta_list_fini(&r->list);
    if (r->has_read)
        meta_read_fini(&r->read);
    inventory_place_fini(&r->place);
    buf_fini(&r->rows);
    buf_fini(&r->out);
    buf_fini(&r->key);
    arena_fini(&r->arena);
    free(r);
    job_end(job, result);
}

static void round_save(struct round *r)
{
    inventory_place_write(&r->place, &r->job->cursor);
    job_save(r->job);
}

static void round_sleep(struct round *r, uint64_t ns)
{
    if (r->job->stopping) {
        round_end(r, JOB_LATER, OK);
        return;
    }
    r->state = ROUND_PACING;
    env_timer_start(&r->timer, ns);
}

static void round_failed(struct round *r, int err)
{
    uint64_t ns;
    if (pace_failed(&r->pace, &ns))
        round_sleep(r, ns);
    else
        round_end(r, JOB_FAILED, err);
}

/* What was waited for. */
static void timer_cb(struct env_timer *timer)
{
    struct round *r = container_of(timer, struct round, timer);
    if (!r->config.bucket.ptr)
        round_read(r);
    else if (r->key.len)
        round_put(r);
    else if (r->place.walked)
        manifest_put(r);
    else
        round_list(r);
}

/* ---- files ---- */

static bool deflate_begin(struct round *r)
{
    if (r->is_deflating)
        return true;
    r->z = (z_stream){0};
    buf_clear(&r->out);
    r->is_deflating = deflateInit2(&r->z, Z_BEST_SPEED, Z_DEFLATED, GZIP_WINDOW, MEM_LEVEL,
                                   Z_DEFAULT_STRATEGY) == Z_OK;
    return r->is_deflating;
}

/* Appends to what is compressed, so that all rows are in `out` but for a few bits: how large the
 * file has grown is then known.  false: no memory. */
static bool deflate_rows(struct round *r, struct slice rows, bool finish)
{
    int code = Z_OK;
    r->z.next_in = (uint8_t *)(uintptr_t)rows.ptr;
    r->z.avail_in = (unsigned)rows.len;
    do {
        if (buf_reserve(&r->out, OUT_STEP) != OK)
            return false;
        r->z.next_out = r->out.ptr + r->out.len;
        r->z.avail_out = OUT_STEP;
        code = deflate(&r->z, finish ? Z_FINISH : Z_BLOCK);
        r->out.len += OUT_STEP - r->z.avail_out;
    } while (code == Z_OK && r->z.avail_out == 0);
    return finish ? code == Z_STREAM_END : code == Z_OK || code == Z_BUF_ERROR;
}

static void put_cb(struct self_put *put);

static void round_put(struct round *r)
{
    static const char *const types[] = {"application/gzip", "application/json", "text/plain"};
    if (r->job->stopping) {
        round_end(r, JOB_LATER, OK);
        return;
    }
    r->state = ROUND_PUTTING;
    r->put = (struct self_put){
        .gw = r->gw,
        .bucket = r->config.bucket,
        .key = buf_view(&r->key),
        .owner_id = r->owner_id,
        .account = r->config.account,
        .data = buf_view(&r->out),
        .content_type = types[r->what],
        .encryption = r->config.encryption,
        .kms_key = r->config.kms_key,
        .cb = put_cb,
    };
    self_put_start(&r->put);
}

static void file_key(const struct round *r, const struct inventory_file *file, struct buf *ret)
{
    char name[INVENTORY_NAME_CHARS + 1];
    inventory_file_name(&file->name, name);
    s3_inventory_place(ret, &r->config, bucket_name(r));
    buf_printf(ret, "data/%s.csv.gz", name);
}

static void file_put(struct round *r)
{
    if (!deflate_begin(r) || !deflate_rows(r, SLICE_EMPTY, true)) {
        round_end(r, JOB_FAILED, ERR_NOMEM);
        return;
    }
    deflate_drop(r);
    env_random(r->gw->env, r->file.name.bytes, ID_BYTES);
    r->file.bytes = r->out.len;
    r->what = PUT_FILE;
    buf_clear(&r->key);
    file_key(r, &r->file, &r->key);
    if (r->key.failed)
        round_end(r, JOB_FAILED, ERR_NOMEM);
    else
        round_put(r);
}

/* ---- the manifest ---- */

static void manifest_key(struct round *r, const char *name)
{
    buf_clear(&r->key);
    s3_inventory_manifest_place(&r->key, &r->config, bucket_name(r), r->job->started_ms);
    buf_cstr(&r->key, name);
}

static void manifest_put(struct round *r)
{
    struct buf *b = &r->out, key = {0};
    buf_clear(b);
    s3_inventory_manifest_begin(b, &r->config, bucket_name(r), r->job->started_ms);
    for (size_t i = 0; i < r->place.file_count; i++) {
        struct s3_inventory_file file = {.bytes = r->place.files[i].bytes};
        buf_clear(&key);
        file_key(r, &r->place.files[i], &key);
        b->failed |= key.failed;
        file.key = buf_view(&key);
        hex_encode(SLICE(r->place.files[i].md5, MD5_BYTES), file.md5);
        s3_inventory_manifest_file(b, i == 0, &file);
    }
    s3_inventory_manifest_end(b);
    buf_fini(&key);
    manifest_key(r, "manifest.json");
    r->what = PUT_MANIFEST;
    if (b->failed || r->key.failed)
        round_end(r, JOB_FAILED, ERR_NOMEM);
    else
        round_put(r);
}

static void checksum_put(struct round *r)
{
    char md5[HEX_CHARS(MD5_BYTES) + 1] = {0};
    hex_encode(SLICE(r->put.md5, MD5_BYTES), md5);
    buf_clear(&r->out);
    buf_cstr(&r->out, md5);
    manifest_key(r, "manifest.checksum");
    r->what = PUT_CHECKSUM;
    if (r->out.failed || r->key.failed)
        round_end(r, JOB_FAILED, ERR_NOMEM);
    else
        round_put(r);
}

/* ---- what was put ---- */

static void file_was_put(struct round *r)
{
    memcpy(r->file.md5, r->put.md5, MD5_BYTES);
    r->place.files[r->place.file_count++] = r->file;
    r->place.walked = r->ended;
    buf_clear(&r->out);
    buf_clear(&r->key);
    metric_inc(r->inv->metrics->files);
    round_save(r);
    if (r->place.file_count == INVENTORY_FILES_MAX && !r->ended)
        round_end(r, JOB_FAILED, ERR_TOO_LARGE);
    else if (job_should_yield(r->job))
        round_end(r, JOB_LATER, OK);
    else
        round_sleep(r, r->ended ? 0 : pace_left_ns(&r->pace));
}

static void put_cb(struct self_put *put)
{
    struct round *r = container_of(put, struct round, put);
    int err = put->err;
    self_put_fini(put);
    if (err != OK) {
        if (self_put_may_retry(err))
            round_failed(r, err);
        else if (err == ERR_SHUTDOWN)
            round_end(r, JOB_LATER, OK);
        else
            round_end(r, JOB_FAILED, err);
        return;
    }
    r->pace.failures = 0;
    switch (r->what) {
    case PUT_FILE: file_was_put(r); break;
    case PUT_MANIFEST: checksum_put(r); break;
    case PUT_CHECKSUM:
        metric_inc(r->inv->metrics->made);
        inventory_made_write(r->config_hash, r->job->started_ms, &r->job->state);
        round_end(r, JOB_DONE, OK);
        break;
    }
}

/* ---- rows ---- */

static const char *encryption_text(Cairn__EncryptionMode mode)
{
    switch (mode) {
    case CAIRN__ENCRYPTION_MODE__ENCRYPTION_NONE: return NULL;
    case CAIRN__ENCRYPTION_MODE__ENCRYPTION_KMS: return "SSE-KMS";
    case CAIRN__ENCRYPTION_MODE__ENCRYPTION_CUSTOMER: return "SSE-C";
    default: return "SSE-S3";
    }
}

static void row_add(struct round *r, const Cairn__ListEntry *e)
{
    char version[S3_VERSION_ID_CHARS + 1] = "null";
    if (e->versioned)
        s3_version_id_text(e->version, version);
    struct s3_inventory_entry entry = {
        .key = bytes_of(e->key),
        .version_id = r->has_versions ? version : NULL,
        .is_latest = e->is_latest,
        .delete_marker = e->delete_marker,
        .size = e->size,
        .mtime_ms = e->mtime_ms,
        .retain_until_ms = e->retain_until_ms,
        .etag = e->etag,
        .storage_class = e->storage_class[0] ? e->storage_class : "STANDARD",
        .replication = replication_status_text(e->replication),
        .lock_mode = e->lock_mode == CAIRN__LOCK_MODE__LOCK_NONE         ? NULL
                     : e->lock_mode == CAIRN__LOCK_MODE__LOCK_GOVERNANCE ? "GOVERNANCE"
                                                                         : "COMPLIANCE",
        .legal_hold = e->legal_hold == CAIRN__LEGAL_HOLD__HOLD_ON    ? "ON"
                      : e->legal_hold == CAIRN__LEGAL_HOLD__HOLD_OFF ? "OFF"
                                                                     : NULL,
        .checksum = e->checksum_algorithm
                        ? s3_checksum_name((enum s3_checksum_algorithm)e->checksum_algorithm)
                        : NULL,
        .owner = r->owner_enforced ? (const char *)r->owner_id.ptr : e->owner_id,
        .encryption = encryption_text(e->encryption),
        .is_kms = e->encryption == CAIRN__ENCRYPTION_MODE__ENCRYPTION_KMS,
        .bucket_key = e->bucket_key,
    };
    s3_inventory_row(&r->rows, &r->config, bucket_name(r), &entry);
}

static uint64_t file_bytes_max(const struct round *r)
{
    return r->inv->config.file_bytes << MIN(r->place.file_count / 64, 3);
}

static void page_take(struct round *r)
{
    size_t count = r->list.entry_count;
    buf_clear(&r->rows);
    for (size_t i = 0; i < count; i++)
        row_add(r, r->list.entries[i]);
    walk_behind(&r->list, &r->place.key, &r->place.version);
    if (r->rows.failed || r->place.key.failed || !deflate_begin(r) ||
        !deflate_rows(r, buf_view(&r->rows), false)) {
        round_end(r, JOB_FAILED, ERR_NOMEM);
        return;
    }
    r->listed += count;
    r->ended = !r->list.more;
    metric_add(r->inv->metrics->listed, count);
    meta_list_fini(&r->list);
    r->has_list = false;
    pace_add(&r->pace, count); /* also if a file is put before the next page */
    if (r->ended || r->out.len >= file_bytes_max(r))
        file_put(r);
    else
        round_sleep(r, pace_left_ns(&r->pace));
}

static void listed_cb(struct meta_list *list)
{
    struct round *r = container_of(list, struct round, list);
    int err = list->err;
    if (err == OK && !r->job->stopping) {
        page_take(r);
        return;
    }
    meta_list_fini(list);
    r->has_list = false;
    if (r->job->stopping)
        round_end(r, JOB_LATER, OK);
    else
        round_failed(r, err);
}

static void round_list(struct round *r)
{
    r->has_list = true;
    r->list = (struct meta_list){
        .bucket_id = r->job->bucket_id,
        .prefix = r->config.prefix,
        .start_after = buf_view(&r->place.key),
        .after_version = r->place.version,
        .versions = r->config.all_versions,
        .want_state = true,
        .keys_max = PAGE,
        .deadline_ns = deadline(r),
        .cb = listed_cb,
    };
    r->state = ROUND_LISTING;
    meta_list_start(r->gw->mc, &r->list);
}

/* ---- the configuration ---- */

static const Cairn__BucketSetting *setting_of(const struct round *r,
                                              const Cairn__BucketRecord *bucket)
{
    for (size_t i = 0; i < bucket->n_settings; i++)
        if (bucket->settings[i]->kind == CAIRN__SETTING_KIND__SETTING_INVENTORY &&
            strcmp(bucket->settings[i]->id, r->job->id) == 0)
            return bucket->settings[i];
    return NULL;
}

/* Whatever is kept of it is in the arena.  Returns: OK; ERR_NOMEM; ERR_UNIMPLEMENTED (of a newer
 * gateway). */
static int config_read(struct round *r, const Cairn__BucketRecord *bucket, struct slice document)
{
    struct s3_node *root;
    struct s3_fault fault = {0};
    document = arena_copy(&r->arena, document);
    r->owner_id = arena_copy(&r->arena, slice_cstr(bucket->owner_id));
    if (!document.ptr || !r->owner_id.ptr)
        return ERR_NOMEM;
    r->config_hash = hash64(bucket->id, document);
    enum s3_code code = s3_document_read(&r->arena, &s3_inventory_schema, document, &root, &fault);
    if (code == S3_OK)
        code = s3_inventory_of_node(root, &r->config, &fault);
    if (code == S3_OK)
        return OK;
    r->config.bucket = SLICE_EMPTY;
    return code == S3_INTERNAL_ERROR ? ERR_NOMEM : ERR_UNIMPLEMENTED;
}

/* Is there something to be done?  Else the job is at its end. */
static int round_prepare(struct round *r, bool *ret_due, enum job_result *ret_idle)
{
    struct cache_entry *e = r->read.bucket_entry;
    const Cairn__BucketRecord *b = e->record->present ? e->record->bucket : NULL;
    bool is_there =
        b && b->id == r->job->bucket_id && b->state == CAIRN__BUCKET_STATE__BUCKET_ACTIVE;
    const Cairn__BucketSetting *s = is_there ? setting_of(r, b) : NULL;
    const struct bucket_view *view = s ? bucket_view_of(r->gw, e) : NULL;
    *ret_due = false;
    *ret_idle = job_idle(r->job, e->record);
    if (!s)
        return OK;
    int err = view ? config_read(r, b, bytes_of(s->document)) : ERR_NOMEM;
    if (err != OK)
        return err;
    r->owner_enforced = view->ownership == OWNERSHIP_ENFORCED;
    r->has_versions = b->versioning != CAIRN__VERSIONING__VERSIONING_OFF;
    bool goes_on = inventory_place_read(&r->place, buf_view(&r->job->cursor), r->config_hash);
    *ret_due =
        r->config.enabled &&
        (goes_on || inventory_is_due(buf_view(&r->job->state), r->config_hash, r->config.weekly,
                                     r->inv->config.day_ms, r->job->started_ms));
    return OK;
}

static void read_cb(struct meta_read *read)
{
    struct round *r = container_of(read, struct round, read);
    bool is_due = false;
    enum job_result idle = JOB_DONE;
    int err = read->err == OK ? round_prepare(r, &is_due, &idle) : read->err;
    meta_read_fini(read);
    r->has_read = false;
    if (err != OK)
        round_failed(r, err);
    else if (r->job->stopping)
        round_end(r, JOB_LATER, OK);
    else if (!is_due)
        round_end(r, idle, OK);
    else if (r->place.walked)
        manifest_put(r);
    else
        round_list(r);
}

static void round_read(struct round *r)
{
    r->has_read = true;
    r->read = (struct meta_read){
        .bucket = bucket_name(r),
        .deadline_ns = deadline(r),
        .cb = read_cb,
    };
    r->state = ROUND_READING;
    meta_read_start(r->gw->mc, &r->read);
}

/* ---- the kind of job ---- */

static int round_start(struct job *job)
{
    struct round *r = calloc(1, sizeof(*r));
    if (!r)
        return ERR_NOMEM;
    r->job = job;
    r->gw = job->gw;
    r->inv = job->kind->user;
    r->begun_ns = env_now_ns(r->gw->env);
    r->pace = (struct pace){.env = r->gw->env, .rate = r->inv->config.rate};
    arena_init(&r->arena, 0);
    env_timer_init(r->gw->env, &r->timer, timer_cb);
    job->work = r;
    round_read(r);
    return OK;
}

/* What is under way comes to its end first. */
static void round_stop(struct job *job)
{
    struct round *r = job->work;
    if (r->state == ROUND_PACING)
        round_end(r, JOB_LATER, OK);
}

void inventory_metrics_init(struct inventory_metrics *m)
{
#define NEW(field, name, help) m->field = metric_counter_new("cairn_inventory_" name, NULL, help)
    NEW(listed, "versions_listed_total", "Versions that were listed for inventories.");
    NEW(files, "files_total", "Files of inventories written.");
    NEW(made, "reports_total", "Inventories made: their manifests are written.");
    NEW(failed, "failures_total", "Inventories given up for a while: see inventory.failed.");
#undef NEW
}

const struct job_kind *inventory_init(struct inventory *i, const struct inventory_config *config,
                                      const struct inventory_metrics *metrics)
{
    *i = (struct inventory){.config = *config, .metrics = metrics};
    i->kind = (struct job_kind){
        .name = "inventory",
        .setting = CAIRN__SETTING_KIND__SETTING_INVENTORY,
        .each_id = true,
        .period_ms = config->day_ms,
        .parallel_max = 1,
        .user = i,
        .start = round_start,
        .stop = round_stop,
    };
    return &i->kind;
}
