/* See lock.h. */
#include "gateway/s3/lock.h"

#include "common/base/check.h"
#include "gateway/s3/time.h"
#include "gateway/s3/xml_reader.h"

#include <stdlib.h>

#define DAY_MS (UINT64_C(24) * 3600 * 1000)
#define PERIOD_CHARS_MAX 32
#define PREFIX "x-amz-object-lock-"

static const char *const modes[] = {"GOVERNANCE", "COMPLIANCE", NULL};
static const char *const holds[] = {"ON", "OFF", NULL};

const char *s3_lock_mode_name(enum s3_lock_mode mode)
{
    return mode == S3_LOCK_GOVERNANCE ? modes[0] : modes[1];
}

const char *s3_hold_name(enum s3_hold hold)
{
    return hold == S3_HOLD_ON ? holds[0] : holds[1];
}

static enum s3_lock_mode mode_of(struct slice s)
{
    return slice_eq(s, slice_cstr(modes[0]))   ? S3_LOCK_GOVERNANCE
           : slice_eq(s, slice_cstr(modes[1])) ? S3_LOCK_COMPLIANCE
                                               : S3_LOCK_NONE;
}

static enum s3_hold hold_of(struct slice s)
{
    return slice_eq(s, slice_cstr(holds[0]))   ? S3_HOLD_ON
           : slice_eq(s, slice_cstr(holds[1])) ? S3_HOLD_OFF
                                               : S3_HOLD_NEVER;
}

/* ---- header fields ---- */

static enum s3_code check_fields(const struct s3_request *r, struct s3_fault *fault)
{
    static const char *const known[] = {PREFIX "mode", PREFIX "retain-until-date",
                                        PREFIX "legal-hold"};
    for (size_t i = 0; i < r->fields.count; i++) {
        struct slice name = r->fields.ptr[i].name;
        bool ok = !slice_has_prefix_nocase(name, SLICE_LIT(PREFIX));
        for (size_t k = 0; k < ARRAY_COUNT(known); k++)
            ok |= slice_eq_nocase(name, slice_cstr(known[k]));
        if (ok)
            continue;
        s3_fault_set(fault, S3_NOT_IMPLEMENTED, NULL);
        s3_fault_extra(fault, "Header", name);
        return S3_NOT_IMPLEMENTED;
    }
    return S3_OK;
}

static enum s3_code past(struct s3_fault *fault, struct slice date)
{
    return s3_fault_argument(fault, "The retain until date must be in the future!",
                             PREFIX "retain-until-date", date);
}

enum s3_code s3_lock_of_request(const struct s3_request *r, uint64_t now_ms, struct s3_lock *ret,
                                struct s3_fault *fault)
{
    *ret = (struct s3_lock){0};
    if (!http_fields_any(r->fields, SLICE_LIT(PREFIX)))
        return S3_OK;
    struct slice mode = http_fields_get(r->fields, PREFIX "mode");
    struct slice until = http_fields_get(r->fields, PREFIX "retain-until-date");
    struct slice hold = http_fields_get(r->fields, PREFIX "legal-hold");
    enum s3_code code = check_fields(r, fault);
    if (code != S3_OK)
        return code;
    if ((mode.ptr != NULL) != (until.ptr != NULL))
        return s3_fault_argument(fault,
                                 "x-amz-object-lock-retain-until-date and x-amz-object-lock-mode "
                                 "must both be supplied",
                                 mode.ptr ? PREFIX "retain-until-date" : PREFIX "mode",
                                 SLICE_EMPTY);
    if (mode.ptr) {
        ret->mode = mode_of(mode);
        if (ret->mode == S3_LOCK_NONE)
            return s3_fault_argument(fault, "Unknown wormMode directive.", PREFIX "mode", mode);
        if (!iso8601_parse(until, &ret->until_ms))
            return s3_fault_argument(fault,
                                     "The retain until date must be provided in ISO 8601 format",
                                     PREFIX "retain-until-date", until);
        if (ret->until_ms <= now_ms)
            return past(fault, until);
    }
    ret->hold = hold_of(hold);
    if (hold.ptr && ret->hold == S3_HOLD_NEVER)
        return s3_fault_argument(fault, "Legal Hold must be either of 'ON' or 'OFF'",
                                 PREFIX "legal-hold", hold);
    return S3_OK;
}

bool s3_lock_bypass(const struct s3_request *r)
{
    return slice_eq_nocase(http_fields_get(r->fields, "x-amz-bypass-governance-retention"),
                           SLICE_LIT("true"));
}

enum s3_code s3_lock_of_bucket(const struct s3_request *r, bool *ret, struct s3_fault *fault)
{
    const char *name = "x-amz-bucket-object-lock-enabled";
    struct slice value = http_fields_get(r->fields, name);
    *ret = slice_eq_nocase(value, SLICE_LIT("true"));
    if (!value.ptr || *ret || slice_eq_nocase(value, SLICE_LIT("false")))
        return S3_OK;
    return s3_fault_argument(fault, "The value must be true or false.", name, value);
}

enum s3_code s3_lock_needs_checksum(const struct s3_checksum_claim *claim, const char *what,
                                    struct s3_fault *fault)
{
    if (claim->has_md5 || claim->algorithm != S3_CHECKSUM_NONE)
        return S3_OK;
    return s3_fault_set(fault, S3_INVALID_REQUEST, what);
}

/* ---- documents of objects ---- */

static const struct s3_schema retention_children[] = {
    {.name = "Mode", .type = S3_NODE_CHOICE, .max = 1, .choices = modes},
    {.name = "RetainUntilDate", .type = S3_NODE_TEXT, .max = 1},
    {0}};
static const struct s3_schema retention_schema = {
    .name = "Retention", .type = S3_NODE_GROUP, .children = retention_children};

static const struct s3_schema hold_children[] = {
    {.name = "Status", .type = S3_NODE_CHOICE, .min = 1, .max = 1, .choices = holds}, {0}};
static const struct s3_schema hold_schema = {
    .name = "LegalHold", .type = S3_NODE_GROUP, .children = hold_children};

static enum s3_code read_body(struct arena *arena, const struct s3_schema *schema,
                              struct slice body, struct s3_node **ret, struct s3_fault *fault)
{
    return body.len ? s3_document_read(arena, schema, body, ret, fault)
                    : s3_fault_set(fault, S3_MISSING_REQUEST_BODY, NULL);
}

enum s3_code s3_lock_read_retention(struct arena *arena, struct slice body, uint64_t now_ms,
                                    struct s3_lock *ret, struct s3_fault *fault)
{
    struct s3_node *root;
    *ret = (struct s3_lock){0};
    enum s3_code code = read_body(arena, &retention_schema, body, &root, fault);
    if (code != S3_OK)
        return code;
    const struct s3_node *mode = s3_node_child(root, "Mode");
    const struct s3_node *until = s3_node_child(root, "RetainUntilDate");
    if (!mode && !until)
        return S3_OK;
    if (!mode || !until || !iso8601_parse(xml_trim(until->text), &ret->until_ms))
        return s3_fault_set(fault, S3_MALFORMED_XML, NULL);
    ret->mode = mode_of(mode->text);
    return ret->until_ms > now_ms ? S3_OK : past(fault, until->text);
}

enum s3_code s3_lock_read_hold(struct arena *arena, struct slice body, struct s3_lock *ret,
                               struct s3_fault *fault)
{
    struct s3_node *root;
    *ret = (struct s3_lock){0};
    enum s3_code code = read_body(arena, &hold_schema, body, &root, fault);
    if (code == S3_OK)
        ret->hold = hold_of(s3_node_child(root, "Status")->text);
    return code;
}

void s3_lock_write_retention(struct buf *b, enum s3_lock_mode mode, uint64_t until_ms)
{
    char date[ISO8601_MS_CHARS + 1];
    iso8601_format(until_ms, date);
    xml_open_ns(b, retention_schema.name);
    xml_cstr(b, "Mode", s3_lock_mode_name(mode));
    xml_cstr(b, "RetainUntilDate", date);
    xml_close(b, retention_schema.name);
}

void s3_lock_write_hold(struct buf *b, enum s3_hold hold)
{
    xml_open_ns(b, hold_schema.name);
    xml_cstr(b, "Status", s3_hold_name(hold));
    xml_close(b, hold_schema.name);
}

/* ---- the bucket's configuration ---- */

static const char *const enabled[] = {"Enabled", NULL};
/* Text, because a negative number has a code of its own. */
static const struct s3_schema default_children[] = {
    {.name = "Mode", .type = S3_NODE_CHOICE, .min = 1, .max = 1, .choices = modes},
    {.name = "Days", .type = S3_NODE_TEXT, .max = 1},
    {.name = "Years", .type = S3_NODE_TEXT, .max = 1},
    {0}};
static const struct s3_schema rule_children[] = {{.name = "DefaultRetention",
                                                  .type = S3_NODE_GROUP,
                                                  .min = 1,
                                                  .max = 1,
                                                  .children = default_children},
                                                 {0}};
static const struct s3_schema lock_children[] = {
    {.name = "ObjectLockEnabled", .type = S3_NODE_CHOICE, .min = 1, .max = 1, .choices = enabled},
    {.name = "Rule", .type = S3_NODE_GROUP, .max = 1, .children = rule_children},
    {0}};
const struct s3_schema s3_lock_schema = {
    .name = "ObjectLockConfiguration", .type = S3_NODE_GROUP, .children = lock_children};

static enum s3_code wrong_period(struct s3_fault *fault, const char *message)
{
    return s3_fault_set(fault, S3_INVALID_RETENTION_PERIOD, message);
}

/* *ret 0: no default. */
static enum s3_code default_days(const struct s3_node *root, enum s3_lock_mode *ret_mode,
                                 uint64_t *ret, struct s3_fault *fault)
{
    const struct s3_node *rule = s3_node_child(root, "Rule");
    *ret_mode = S3_LOCK_NONE;
    *ret = 0;
    if (!rule)
        return S3_OK;
    const struct s3_node *d = s3_node_child(rule, "DefaultRetention");
    const struct s3_node *days = s3_node_child(d, "Days"), *years = s3_node_child(d, "Years");
    if ((days != NULL) == (years != NULL))
        return s3_fault_set(fault, S3_MALFORMED_XML, NULL);
    struct slice text = (days ? days : years)->text;
    if (text.len > PERIOD_CHARS_MAX) /* or white space could make it too long to be read again */
        return s3_fault_set(fault, S3_MALFORMED_XML, NULL);
    text = xml_trim(text);
    bool negative = text.len > 1 && text.ptr[0] == '-';
    uint64_t n;
    if (!parse_u64(negative ? SLICE(text.ptr + 1, text.len - 1) : text, &n))
        return s3_fault_set(fault, S3_MALFORMED_XML, NULL);
    if (negative || n == 0)
        return wrong_period(fault, "Default retention period must be a positive integer value");
    if (n > (days ? S3_LOCK_DAYS_MAX : S3_LOCK_YEARS_MAX))
        return wrong_period(fault, "Default retention period is too large");
    *ret_mode = mode_of(s3_node_child(d, "Mode")->text);
    *ret = days ? n : n * 365;
    return S3_OK;
}

enum s3_code s3_lock_check(const struct s3_node *root, struct s3_fault *fault)
{
    enum s3_lock_mode mode;
    uint64_t days;
    return default_days(root, &mode, &days, fault);
}

enum s3_code s3_lock_default(struct arena *arena, struct slice document,
                             enum s3_lock_mode *ret_mode, uint64_t *ret_retain_ms,
                             struct s3_fault *fault)
{
    struct s3_node *root;
    uint64_t days;
    enum s3_code code = s3_document_read(arena, &s3_lock_schema, document, &root, fault);
    if (code == S3_OK)
        code = default_days(root, ret_mode, &days, fault);
    if (code != S3_OK)
        return s3_fault_set(fault, S3_INTERNAL_ERROR, NULL);
    *ret_retain_ms = days * DAY_MS;
    return S3_OK;
}
