/* Readers of the documents that clients send, over expat.
 *
 * A document type (and with it every entity but the five predefined) is refused, so is any element
 * that the reader does not know: to ignore one in <Delete> could drop a condition, in
 * <CompleteMultipartUpload> a checksum. */
#include "gateway/s3/headers.h"
#include "gateway/s3/xml_reader.h"

#include "common/base/check.h"

#include <expat.h>

#define TEXT_BYTES_MAX 4096

bool xml_reader_fail(struct xml_reader *r, enum s3_code code, const char *message)
{
    if (r->code == S3_OK)
        r->code = s3_fault_set(r->fault, code, message);
    XML_StopParser(r->parser, XML_FALSE);
    return false;
}

/* Clients may write names with a namespace prefix. */
static struct slice local_name(const XML_Char *name)
{
    const char *colon = strrchr(name, ':');
    return slice_cstr(colon ? colon + 1 : name);
}

static void XMLCALL on_start(void *arg, const XML_Char *name, const XML_Char **attributes)
{
    struct xml_reader *r = arg;
    struct slice local = local_name(name);
    (void)attributes;
    if (r->code != S3_OK)
        return;
    buf_clear(&r->text);
    if (++r->depth > S3_XML_DEPTH_MAX)
        xml_reader_fail(r, S3_MALFORMED_XML, NULL);
    else if (r->depth == 1 ? !slice_eq(local, slice_cstr(r->document->root))
                           : !r->document->start(r, r->depth, local))
        xml_reader_fail(r, S3_MALFORMED_XML, NULL);
}

static void XMLCALL on_end(void *arg, const XML_Char *name)
{
    struct xml_reader *r = arg;
    if (r->code != S3_OK)
        return;
    if (r->text.failed)
        xml_reader_fail(r, S3_INTERNAL_ERROR, NULL);
    else if (r->depth > 1 && !r->document->end(r, r->depth, local_name(name), buf_view(&r->text)))
        xml_reader_fail(r, S3_MALFORMED_XML, NULL);
    buf_clear(&r->text);
    r->depth--;
}

static void XMLCALL on_text(void *arg, const XML_Char *text, int len)
{
    struct xml_reader *r = arg;
    if (r->code != S3_OK)
        return;
    if (r->text.len + (size_t)len > TEXT_BYTES_MAX)
        xml_reader_fail(r, S3_MALFORMED_XML, NULL);
    else
        buf_append(&r->text, text, (size_t)len);
}

static void XMLCALL on_doctype(void *arg, const XML_Char *name, const XML_Char *system_id,
                               const XML_Char *public_id, int has_subset)
{
    (void)name;
    (void)system_id;
    (void)public_id;
    (void)has_subset;
    xml_reader_fail(arg, S3_MALFORMED_XML, NULL);
}

enum s3_code xml_reader_run(struct xml_reader *r, struct slice body, size_t bytes_max)
{
    if (body.len > bytes_max)
        return s3_fault_set(r->fault, S3_MALFORMED_XML, NULL);
    r->parser = XML_ParserCreate(NULL);
    if (!r->parser)
        return s3_fault_set(r->fault, S3_INTERNAL_ERROR, NULL);
    XML_SetUserData(r->parser, r);
    XML_SetElementHandler(r->parser, on_start, on_end);
    XML_SetCharacterDataHandler(r->parser, on_text);
    XML_SetStartDoctypeDeclHandler(r->parser, on_doctype);
    enum XML_Status status = XML_Parse(r->parser, (const char *)body.ptr, (int)body.len, XML_TRUE);
    if (status != XML_STATUS_OK && r->code == S3_OK) {
        bool memory = XML_GetErrorCode(r->parser) == XML_ERROR_NO_MEMORY;
        r->code = s3_fault_set(r->fault, memory ? S3_INTERNAL_ERROR : S3_MALFORMED_XML, NULL);
    }
    XML_ParserFree(r->parser);
    buf_fini(&r->text);
    return r->code;
}

/* Room for one more item of `size` bytes in an array that doubles within the arena. */
static void *grow(struct xml_reader *r, void *items, size_t count, size_t size)
{
    if (count < r->cap)
        return items;
    size_t cap = r->cap ? r->cap * 2 : 32;
    uint8_t *bigger = arena_alloc(r->arena, cap * size);
    if (!bigger) {
        xml_reader_fail(r, S3_INTERNAL_ERROR, NULL);
        return NULL;
    }
    if (count)
        memcpy(bigger, items, count * size);
    r->cap = cap;
    return bigger;
}

/* Each element of an item at most once. */
static bool first_time(struct xml_reader *r, unsigned bit)
{
    bool first = !(r->seen & 1u << bit);
    r->seen |= 1u << bit;
    return first;
}

struct slice xml_trim(struct slice s)
{
    while (s.len && (s.ptr[0] == ' ' || (s.ptr[0] >= '\t' && s.ptr[0] <= '\r'))) {
        s.ptr++;
        s.len--;
    }
    while (s.len &&
           (s.ptr[s.len - 1] == ' ' || (s.ptr[s.len - 1] >= '\t' && s.ptr[s.len - 1] <= '\r')))
        s.len--;
    return s;
}

static struct slice unquoted(struct slice s)
{
    s = xml_trim(s);
    if (s.len >= 2 && s.ptr[0] == '"' && s.ptr[s.len - 1] == '"')
        s = SLICE(s.ptr + 1, s.len - 2);
    return s;
}

bool xml_keep(struct xml_reader *r, struct slice text, struct slice *ret)
{
    *ret = arena_copy(r->arena, text);
    return ret->ptr ? true : xml_reader_fail(r, S3_INTERNAL_ERROR, NULL);
}

/* ---- CompleteMultipartUpload ---- */

enum { PART_NUMBER, PART_ETAG, PART_CHECKSUM };

static enum s3_checksum_algorithm checksum_element(struct slice name)
{
    for (int a = S3_CHECKSUM_CRC32; a < S3_CHECKSUM_COUNT; a++)
        if (slice_eq(name, slice_cstr(s3_checksum_element((enum s3_checksum_algorithm)a))))
            return (enum s3_checksum_algorithm)a;
    return S3_CHECKSUM_NONE;
}

static bool complete_start(struct xml_reader *r, unsigned depth, struct slice name)
{
    struct s3_complete *c = r->result;
    if (depth == 3)
        return slice_eq(name, SLICE_LIT("PartNumber")) || slice_eq(name, SLICE_LIT("ETag")) ||
               checksum_element(name) != S3_CHECKSUM_NONE;
    if (depth != 2 || !slice_eq(name, SLICE_LIT("Part")) || c->count == S3_PART_NUMBER_MAX)
        return false;
    struct s3_complete_part *parts = grow(r, c->parts, c->count, sizeof(*parts));
    if (!parts)
        return false;
    c->parts = parts;
    c->parts[c->count++] = (struct s3_complete_part){0};
    r->seen = 0;
    return true;
}

static bool complete_part_end(struct xml_reader *r, const struct s3_complete *c)
{
    const struct s3_complete_part *p = &c->parts[c->count - 1];
    if (!(r->seen & 1u << PART_NUMBER) || !(r->seen & 1u << PART_ETAG))
        return false;
    if (c->count > 1 && c->parts[c->count - 2].number >= p->number)
        return xml_reader_fail(r, S3_INVALID_PART_ORDER, NULL);
    return true;
}

static bool complete_end(struct xml_reader *r, unsigned depth, struct slice name, struct slice text)
{
    struct s3_complete *c = r->result;
    struct s3_complete_part *p = &c->parts[c->count - 1];
    if (depth == 2)
        return complete_part_end(r, c);
    if (slice_eq(name, SLICE_LIT("PartNumber"))) {
        uint64_t number = 0;
        if (!first_time(r, PART_NUMBER) || !parse_u64(xml_trim(text), &number))
            return false;
        if (number < 1 || number > S3_PART_NUMBER_MAX)
            return xml_reader_fail(r, S3_INVALID_ARGUMENT,
                                   "PartNumber must be an integer between 1 and 10000, inclusive");
        p->number = (uint32_t)number;
        return true;
    }
    if (slice_eq(name, SLICE_LIT("ETag")))
        return first_time(r, PART_ETAG) && xml_keep(r, unquoted(text), &p->etag);
    if (!first_time(r, PART_CHECKSUM))
        return false;
    if (!s3_checksum_from_text(checksum_element(name), xml_trim(text), &p->checksum, NULL))
        return xml_reader_fail(r, S3_INVALID_REQUEST,
                               "The value specified for the checksum is invalid.");
    return true;
}

enum s3_code s3_xml_complete(struct arena *arena, struct slice body, struct s3_complete *ret,
                             struct s3_fault *fault)
{
    static const struct xml_document document = {"CompleteMultipartUpload", complete_start,
                                                 complete_end};
    struct xml_reader r = {.document = &document, .arena = arena, .fault = fault, .result = ret};
    *ret = (struct s3_complete){0};
    enum s3_code code = xml_reader_run(&r, body, S3_COMPLETE_BODY_BYTES_MAX);
    if (code == S3_OK && ret->count == 0)
        code = s3_fault_set(fault, S3_MALFORMED_XML, NULL);
    return code;
}

/* ---- Delete ---- */

static const char *const delete_elements[] = {"Key", "VersionId", "ETag", "LastModifiedTime",
                                              "Size"};
enum { DELETE_KEY, DELETE_VERSION, DELETE_ETAG, DELETE_MTIME, DELETE_SIZE, DELETE_ELEMENTS };

static unsigned delete_element(struct slice name)
{
    unsigned i = 0;
    while (i < DELETE_ELEMENTS && !slice_eq(name, slice_cstr(delete_elements[i])))
        i++;
    return i;
}

static bool delete_start(struct xml_reader *r, unsigned depth, struct slice name)
{
    struct s3_delete *d = r->result;
    if (depth == 3)
        return delete_element(name) < DELETE_ELEMENTS;
    if (depth != 2)
        return false;
    r->seen = 0;
    if (slice_eq(name, SLICE_LIT("Quiet")))
        return true;
    if (!slice_eq(name, SLICE_LIT("Object")) || d->count == S3_DELETE_OBJECTS_MAX)
        return false;
    struct s3_delete_object *objects = grow(r, d->objects, d->count, sizeof(*objects));
    if (!objects)
        return false;
    d->objects = objects;
    d->objects[d->count++] = (struct s3_delete_object){0};
    return true;
}

static bool delete_leaf(struct xml_reader *r, struct s3_delete_object *o, unsigned element,
                        struct slice text)
{
    switch (element) {
    case DELETE_KEY: return text.len && xml_keep(r, text, &o->key);
    case DELETE_VERSION:
        o->has_version_id = true;
        return xml_keep(r, xml_trim(text), &o->version_id);
    case DELETE_ETAG: o->has_etag = true; return xml_keep(r, unquoted(text), &o->etag);
    case DELETE_MTIME:
        o->has_mtime = http_date_parse(xml_trim(text), r->now_ms, &o->mtime_ms) ||
                       iso8601_parse(xml_trim(text), &o->mtime_ms);
        return o->has_mtime;
    case DELETE_SIZE: o->has_size = parse_u64(xml_trim(text), &o->size); return o->has_size;
    default: return false;
    }
}

static bool delete_end(struct xml_reader *r, unsigned depth, struct slice name, struct slice text)
{
    struct s3_delete *d = r->result;
    if (depth == 3) {
        unsigned element = delete_element(name);
        return d->count && first_time(r, element) &&
               delete_leaf(r, &d->objects[d->count - 1], element, text);
    }
    if (slice_eq(name, SLICE_LIT("Object")))
        return r->seen & 1u << DELETE_KEY;
    text = xml_trim(text);
    if (r->seen) /* <Quiet> with elements inside */
        return false;
    d->quiet = slice_eq_nocase(text, SLICE_LIT("true"));
    return d->quiet || slice_eq_nocase(text, SLICE_LIT("false"));
}

enum s3_code s3_xml_delete(struct arena *arena, struct slice body, uint64_t now_ms,
                           struct s3_delete *ret, struct s3_fault *fault)
{
    static const struct xml_document document = {"Delete", delete_start, delete_end};
    struct xml_reader r = {.document = &document, .arena = arena, .fault = fault, .result = ret};
    r.now_ms = now_ms;
    *ret = (struct s3_delete){0};
    enum s3_code code = xml_reader_run(&r, body, S3_DELETE_BODY_BYTES_MAX);
    if (code == S3_OK && ret->count == 0)
        code = s3_fault_set(fault, S3_MALFORMED_XML, NULL);
    return code;
}

/* ---- VersioningConfiguration ---- */

enum { VERSIONING_STATUS, VERSIONING_MFA };

static bool versioning_start(struct xml_reader *r, unsigned depth, struct slice name)
{
    (void)r;
    return depth == 2 && (slice_eq(name, SLICE_LIT("Status")) ||
                          slice_eq(name, SLICE_LIT("MfaDelete")));
}

static bool versioning_end(struct xml_reader *r, unsigned depth, struct slice name, struct slice text)
{
    struct s3_versioning *v = r->result;
    bool status = slice_eq(name, SLICE_LIT("Status"));
    bool on = slice_eq(xml_trim(text), SLICE_LIT("Enabled"));
    const char *off = status ? "Suspended" : "Disabled";
    (void)depth;
    if (!first_time(r, status ? VERSIONING_STATUS : VERSIONING_MFA) ||
        (!on && !slice_eq(xml_trim(text), slice_cstr(off))))
        return false;
    if (!status) {
        v->mfa_delete = on;
        return true;
    }
    v->has_status = true;
    v->enabled = on;
    return true;
}

enum s3_code s3_xml_versioning(struct arena *arena, struct slice body, struct s3_versioning *ret,
                               struct s3_fault *fault)
{
    static const struct xml_document document = {"VersioningConfiguration", versioning_start,
                                             versioning_end};
    struct xml_reader r = {.document = &document, .arena = arena, .fault = fault, .result = ret};
    *ret = (struct s3_versioning){0};
    return xml_reader_run(&r, body, S3_CONFIG_BODY_BYTES_MAX);
}
