/* Websites.
 *
 *   SITE ──► PAGE ──► FOLDER ──► ERROR
 *     │        │         │         └─► the error document, or a page of our own
 *     │        │         └─► 302 to the folder, if it has an index document
 *     │        └─► the object (get_object.c), or where its redirect location says
 *     └─► a redirect of everything, or by a rule that asks for no error
 *
 * Each is one read of the bucket and an object, authorized like a GetObject that nobody signed.  A
 * rule for the error is looked for before the error document is. */
#include "gateway/op/website.h"

#include "common/base/check.h"
#include "gateway/op/bucket_view.h"
#include "gateway/op/operations.h"

enum website_step { WEBSITE_SITE, WEBSITE_PAGE, WEBSITE_FOLDER, WEBSITE_ERROR };

struct website {
    struct request *req;
    enum website_step step;
    struct slice path;     /* the key that was asked for, without an index document */
    enum s3_code code;     /* why the page cannot be had, */
    struct s3_fault fault; /* and what is said of it */
    bool document_failed;  /* there is an error document, but it cannot be had either */
    const struct s3_website
        *site; /* as the last read says; NULL: it is none, or could not be read */
};

static void website_read(struct website *w, enum website_step step, struct slice key);

/* ---- answers ---- */

static void reply_redirect(struct website *w, unsigned status, struct buf *location)
{
    struct request *req = w->req;
    if (location->failed) {
        buf_fini(location);
        request_fail(req, S3_INTERNAL_ERROR);
        return;
    }
    reply_begin(req, (int)status);
    reply_field(req, "Location", buf_view(location));
    reply_no_body(req);
    buf_fini(location);
    request_end(req);
}

static void redirect_by(struct website *w, const struct s3_routing_rule *rule)
{
    struct buf location = {0};
    w->req->s3.key = w->path;
    s3_website_rule_location(&location, rule, &w->req->s3, w->req->http->tls);
    reply_redirect(w, rule->status, &location);
}

void website_reply_error(struct request *req, enum s3_code code)
{
    struct buf page = {0};
    const struct website *w = req->website;
    struct slice message = req->fault.message;
    reply_begin(req, s3_code_status(code));
    reply_field(req, "x-amz-error-code", slice_cstr(s3_code_name(code)));
    reply_field(req, "x-amz-error-message",
                message.len ? message : slice_cstr(s3_code_message(code)));
    reply_field(req, "Content-Type", SLICE_LIT("text/html; charset=utf-8"));
    s3_website_error_page(&page, &req->fault, slice_cstr(req->id), w && w->document_failed);
    reply_document(req, &page);
}

static void answer_error(struct website *w)
{
    w->req->fault = w->fault;
    w->req->s3.key = w->path;
    request_fail(w->req, w->code);
}

/* ---- steps ---- */

static struct slice joined(struct website *w, const char *between, struct slice name)
{
    struct buf b = {0};
    buf_slice(&b, w->path);
    buf_cstr(&b, between);
    buf_slice(&b, name);
    struct slice key = b.failed ? SLICE_EMPTY : arena_copy(w->req->arena, buf_view(&b));
    buf_fini(&b);
    return key;
}

static bool is_folder(struct slice path)
{
    return path.len == 0 || path.ptr[path.len - 1] == '/';
}

/* It could not be had: by a rule, or by the error document. */
static void website_error(struct website *w)
{
    const struct s3_routing_rule *rule =
        w->site ? s3_website_rule(w->site, w->path, (unsigned)s3_code_status(w->code)) : NULL;
    struct slice key = w->site ? arena_copy(w->req->arena, w->site->error_key) : SLICE_EMPTY;
    if (rule)
        redirect_by(w, rule);
    else if (key.len)
        website_read(w, WEBSITE_ERROR, key);
    else
        answer_error(w);
}

static void page_missing(struct website *w, enum s3_code code)
{
    w->code = code;
    w->fault = w->req->fault;
    bool hidden = code == S3_NO_SUCH_KEY || code == S3_ACCESS_DENIED;
    struct slice key = hidden && w->site && !is_folder(w->path)
                           ? joined(w, "/", w->site->index_suffix)
                           : SLICE_EMPTY;
    if (key.len && key.len <= S3_KEY_BYTES_MAX && w->step == WEBSITE_PAGE)
        website_read(w, WEBSITE_FOLDER, key);
    else
        website_error(w);
}

static void site_read(struct website *w)
{
    struct request *req = w->req;
    struct buf location = {0};
    const Cairn__BucketRecord *bucket =
        req->read.bucket_entry->record->present ? req->read.bucket_entry->record->bucket : NULL;
    if (!w->site) {
        enum s3_code code = bucket ? S3_NO_SUCH_WEBSITE : S3_NO_SUCH_BUCKET;
        s3_fault_set(&req->fault, code, NULL);
        s3_fault_extra(&req->fault, "BucketName", req->s3.bucket);
        request_fail(req, code);
        return;
    }
    if (w->site->all_host.len) {
        s3_website_all_location(&location, w->site, &req->s3, req->http->tls);
        reply_redirect(w, 301, &location);
        return;
    }
    const struct s3_routing_rule *rule = s3_website_rule(w->site, w->path, 0);
    if (rule) {
        redirect_by(w, rule);
        return;
    }
    struct slice key = is_folder(w->path) ? joined(w, "", w->site->index_suffix) : w->path;
    if (key.ptr && key.len <= S3_KEY_BYTES_MAX)
        website_read(w, WEBSITE_PAGE, key);
    else
        request_fail(req, key.ptr ? S3_KEY_TOO_LONG : S3_INTERNAL_ERROR);
}

static void page_read(struct website *w, enum s3_code code)
{
    struct request *req = w->req;
    struct buf location = {0};
    if (code == S3_OK && !req->object)
        code = request_no_object(req);
    if (code != S3_OK) {
        page_missing(w, code);
        return;
    }
    if (!req->object->website_redirect[0]) {
        get_object_start(req);
        return;
    }
    buf_cstr(&location, req->object->website_redirect);
    reply_redirect(w, 301, &location);
}

static void folder_read(struct website *w, enum s3_code code)
{
    struct buf location = {0};
    if (code != S3_OK || !w->req->object) {
        website_error(w);
        return;
    }
    s3_website_folder_location(&location, w->path);
    reply_redirect(w, 302, &location);
}

/* Of the request nothing counts for the error document: it is given whole. */
static bool drop_conditions(struct request *req)
{
    static const char *const dropped[] = {"range",    "if-match",          "if-none-match",
                                          "if-range", "if-modified-since", "if-unmodified-since"};
    struct http_fields f = req->s3.fields;
    struct http_field *kept = request_alloc(req, (f.count + 1) * sizeof(*kept));
    size_t count = 0;
    for (size_t i = 0; kept && i < f.count; i++) {
        bool drop = false;
        for (size_t k = 0; k < ARRAY_COUNT(dropped); k++)
            drop |= slice_eq_nocase(f.ptr[i].name, slice_cstr(dropped[k]));
        if (!drop)
            kept[count++] = f.ptr[i];
    }
    req->s3.fields = (struct http_fields){kept, count};
    return kept != NULL;
}

static void error_read(struct website *w, enum s3_code code)
{
    struct request *req = w->req;
    if (code != S3_OK || !req->object) {
        w->document_failed = true;
        answer_error(w);
        return;
    }
    if (req->object->website_redirect[0]) {
        struct buf location = {0};
        buf_cstr(&location, req->object->website_redirect);
        reply_redirect(w, 301, &location);
        return;
    }
    req->status_instead = s3_code_status(w->code);
    if (drop_conditions(req))
        get_object_start(req);
    else
        request_fail(req, S3_INTERNAL_ERROR);
}

/* ---- reading ---- */

static void website_read_cb(struct meta_read *read)
{
    struct request *req = container_of(read, struct request, read);
    struct website *w = req->website;
    if (read->err != OK) {
        reply_err(req, read->err);
        request_end(req);
        return;
    }
    bool present = read->bucket_entry->record->present && read->bucket_entry->record->bucket;
    const struct bucket_view *view = present ? bucket_view_of(req->gw, read->bucket_entry) : NULL;
    w->site = view ? view->website : NULL;
    if (present && !view) {
        request_fail(req, S3_INTERNAL_ERROR);
        return;
    }
    enum s3_code code = w->step == WEBSITE_SITE ? S3_OK : request_authorize(req);
    switch (w->step) {
    case WEBSITE_SITE: site_read(w); break;
    case WEBSITE_PAGE: page_read(w, code); break;
    case WEBSITE_FOLDER: folder_read(w, code); break;
    case WEBSITE_ERROR: error_read(w, code); break;
    }
}

/* What was read before is let go of. */
static void website_read(struct website *w, enum website_step step, struct slice key)
{
    struct request *req = w->req;
    bool page = step == WEBSITE_PAGE || step == WEBSITE_ERROR;
    w->step = step;
    w->site = NULL;
    req->object = req->marker = NULL;
    req->bucket = NULL;
    req->view = NULL;
    req->s3.key = key;
    meta_read_fini(&req->read);
    req->read = (struct meta_read){
        .bucket = req->s3.bucket,
        .key = key,
        .want_object = step != WEBSITE_SITE,
        .want_body = page && req->s3.op == S3_OP_GET_OBJECT,
        .version = VERSION_NONE,
        .deadline_ns = request_deadline(req),
        .cb = website_read_cb,
    };
    meta_read_start(req->gw->mc, &req->read);
}

void website_start(struct request *req, enum s3_code code)
{
    struct website *w = request_alloc(req, sizeof(*w));
    if (!w)
        code = s3_fault_set(&req->fault, S3_INTERNAL_ERROR, NULL);
    req->website = w;
    if (code != S3_OK) {
        request_fail(req, code);
        return;
    }
    w->req = req;
    w->path = req->s3.key;
    website_read(w, WEBSITE_SITE, req->s3.key);
}
