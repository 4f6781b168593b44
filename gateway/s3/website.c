/* Websites: documents, rules, pages. */
#include "gateway/s3/website.h"

#include "common/base/check.h"

#include <stdio.h>

static const char *const protocols[] = {"http", "https", NULL};
static const struct s3_schema error_children[] = {
    {.name = "Key", .type = S3_NODE_TEXT, .min = 1, .max = 1}, {0}};
static const struct s3_schema index_children[] = {
    {.name = "Suffix", .type = S3_NODE_TEXT, .min = 1, .max = 1}, {0}};
static const struct s3_schema all_children[] = {
    {.name = "HostName", .type = S3_NODE_TEXT, .min = 1, .max = 1},
    {.name = "Protocol", .type = S3_NODE_CHOICE, .max = 1, .choices = protocols},
    {0}};
static const struct s3_schema condition_children[] = {
    {.name = "HttpErrorCodeReturnedEquals", .type = S3_NODE_NUMBER, .max = 1},
    {.name = "KeyPrefixEquals", .type = S3_NODE_TEXT, .max = 1},
    {0}};
static const struct s3_schema redirect_children[] = {
    {.name = "HostName", .type = S3_NODE_TEXT, .max = 1},
    {.name = "HttpRedirectCode", .type = S3_NODE_NUMBER, .max = 1},
    {.name = "Protocol", .type = S3_NODE_CHOICE, .max = 1, .choices = protocols},
    {.name = "ReplaceKeyPrefixWith", .type = S3_NODE_TEXT, .max = 1},
    {.name = "ReplaceKeyWith", .type = S3_NODE_TEXT, .max = 1},
    {0}};
static const struct s3_schema rule_children[] = {
    {.name = "Condition", .type = S3_NODE_GROUP, .max = 1, .children = condition_children},
    {.name = "Redirect", .type = S3_NODE_GROUP, .min = 1, .max = 1, .children = redirect_children},
    {0}};
static const struct s3_schema rules_children[] = {
    {.name = "RoutingRule", .type = S3_NODE_GROUP, .children = rule_children}, {0}};
static const struct s3_schema website_children[] = {
    {.name = "ErrorDocument", .type = S3_NODE_GROUP, .max = 1, .children = error_children},
    {.name = "IndexDocument", .type = S3_NODE_GROUP, .max = 1, .children = index_children},
    {.name = "RedirectAllRequestsTo", .type = S3_NODE_GROUP, .max = 1, .children = all_children},
    {.name = "RoutingRules", .type = S3_NODE_GROUP, .max = 1, .children = rules_children},
    {0}};
const struct s3_schema s3_website_schema = {
    .name = "WebsiteConfiguration", .type = S3_NODE_GROUP, .children = website_children};

/* ---- the configuration ---- */

static enum s3_code refuse(struct s3_fault *fault, const char *message)
{
    return s3_fault_set(fault, S3_INVALID_REQUEST, message);
}

static struct slice text_of(const struct s3_node *group, const char *name)
{
    const struct s3_node *n = group ? s3_node_child(group, name) : NULL;
    return n ? n->text : SLICE_EMPTY;
}

/* It becomes a part of a header field. */
static bool host_valid(struct slice host)
{
    for (size_t i = 0; i < host.len; i++)
        if (host.ptr[i] <= ' ' || host.ptr[i] >= 0x7f || strchr("/?#@\\\"<>", host.ptr[i]))
            return false;
    return host.len > 0;
}

static enum s3_code condition_of_node(const struct s3_node *n, struct s3_routing_rule *ret,
                                      struct s3_fault *fault)
{
    const struct s3_node *prefix = s3_node_child(n, "KeyPrefixEquals"),
                         *status = s3_node_child(n, "HttpErrorCodeReturnedEquals");
    if (!prefix && !status)
        return refuse(fault, "Condition cannot be empty. To redirect all requests without a "
                             "condition, the condition element shouldn't be present.");
    if (status && (status->number < 400 || status->number > 599))
        return refuse(fault,
                      "The provided HTTP error code is not valid. Valid codes are 4XX or 5XX.");
    ret->has_prefix = prefix != NULL;
    ret->prefix = prefix ? prefix->text : SLICE_EMPTY;
    ret->error_status = status ? (unsigned)status->number : 0;
    return S3_OK;
}

static enum s3_code redirect_of_node(const struct s3_node *n, struct s3_routing_rule *ret,
                                     struct s3_fault *fault)
{
    const struct s3_node *key = s3_node_child(n, "ReplaceKeyWith"),
                         *prefix = s3_node_child(n, "ReplaceKeyPrefixWith"),
                         *host = s3_node_child(n, "HostName"),
                         *status = s3_node_child(n, "HttpRedirectCode");
    if (!n->first)
        return refuse(fault, "A redirect must say at least one of host name, protocol, key and "
                             "HTTP redirect code.");
    if (key && prefix)
        return refuse(fault, "You can only define ReplaceKeyPrefix or ReplaceKey but not both.");
    if (status && (status->number < 301 || status->number > 399))
        return refuse(fault, "The provided HTTP redirect code is not valid. Valid codes are 3XX "
                             "except 300.");
    if (host && !host_valid(host->text))
        return refuse(fault, "The host name of a redirect is not valid.");
    ret->host = text_of(n, "HostName");
    ret->protocol = text_of(n, "Protocol");
    ret->replaces_key = key != NULL;
    ret->replaces_prefix = prefix != NULL;
    ret->key = key ? key->text : prefix ? prefix->text : SLICE_EMPTY;
    ret->status = status ? (unsigned)status->number : 301;
    return S3_OK;
}

static bool keep(struct arena *arena, struct slice *s)
{
    if (s->len)
        *s = arena_copy(arena, *s);
    return s->len == 0 || s->ptr;
}

static enum s3_code rules_of_node(struct arena *arena, const struct s3_node *rules,
                                  struct s3_website *ret, struct s3_fault *fault)
{
    size_t count = s3_node_count(rules, "RoutingRule");
    if (count > S3_ROUTING_RULES_MAX)
        return refuse(fault, "The number of website configuration routing rules is limited to 50.");
    ret->rules = arena_zalloc(arena, (count + 1) * sizeof(*ret->rules));
    if (!ret->rules)
        return s3_fault_set(fault, S3_INTERNAL_ERROR, NULL);
    for (const struct s3_node *n = s3_node_child(rules, "RoutingRule"); n; n = s3_node_again(n)) {
        struct s3_routing_rule *rule = &ret->rules[ret->count];
        const struct s3_node *condition = s3_node_child(n, "Condition");
        enum s3_code code = condition ? condition_of_node(condition, rule, fault) : S3_OK;
        if (code == S3_OK)
            code = redirect_of_node(s3_node_child(n, "Redirect"), rule, fault);
        if (code != S3_OK)
            return code;
        if (!keep(arena, &rule->prefix) || !keep(arena, &rule->host) ||
            !keep(arena, &rule->protocol) || !keep(arena, &rule->key))
            return s3_fault_set(fault, S3_INTERNAL_ERROR, NULL);
        ret->count++;
    }
    return S3_OK;
}

static enum s3_code check_documents(const struct s3_node *index, const struct s3_node *error,
                                    struct s3_fault *fault)
{
    struct slice suffix = text_of(index, "Suffix"), key = text_of(error, "Key");
    if (!index)
        return s3_fault_argument(fault,
                                 "A value for IndexDocument Suffix must be provided if "
                                 "RedirectAllRequestsTo is empty",
                                 "IndexDocument", SLICE_LIT("null"));
    if (suffix.len == 0 || suffix.len > S3_KEY_BYTES_MAX || memchr(suffix.ptr, '/', suffix.len))
        return s3_fault_argument(fault, "The IndexDocument Suffix is not well formed",
                                 "IndexDocument", suffix);
    if (error && (key.len == 0 || key.len > S3_KEY_BYTES_MAX))
        return s3_fault_argument(fault, "The ErrorDocument Key is not well formed", "ErrorDocument",
                                 key);
    return S3_OK;
}

enum s3_code s3_website_of_node(struct arena *arena, const struct s3_node *root,
                                struct s3_website *ret, struct s3_fault *fault)
{
    const struct s3_node *all = s3_node_child(root, "RedirectAllRequestsTo"),
                         *index = s3_node_child(root, "IndexDocument"),
                         *error = s3_node_child(root, "ErrorDocument"),
                         *rules = s3_node_child(root, "RoutingRules");
    enum s3_code code = S3_OK;
    *ret = (struct s3_website){0};
    if (all && (index || error || rules))
        return s3_fault_argument(fault,
                                 "RedirectAllRequestsTo cannot be provided in conjunction with "
                                 "other Routing Rules.",
                                 "RedirectAllRequestsTo", text_of(all, "HostName"));
    if (all && !host_valid(text_of(all, "HostName")))
        return s3_fault_argument(fault, "The host name of a redirect is not valid.", "HostName",
                                 text_of(all, "HostName"));
    if (!all)
        code = check_documents(index, error, fault);
    if (code == S3_OK && rules)
        code = rules_of_node(arena, rules, ret, fault);
    if (code != S3_OK)
        return code;
    ret->index_suffix = text_of(index, "Suffix");
    ret->error_key = text_of(error, "Key");
    ret->all_host = text_of(all, "HostName");
    ret->all_protocol = text_of(all, "Protocol");
    return keep(arena, &ret->index_suffix) && keep(arena, &ret->error_key) &&
                   keep(arena, &ret->all_host) && keep(arena, &ret->all_protocol)
               ? S3_OK
               : s3_fault_set(fault, S3_INTERNAL_ERROR, NULL);
}

/* ---- requests ---- */

const struct s3_routing_rule *s3_website_rule(const struct s3_website *w, struct slice key,
                                              unsigned error_status)
{
    for (size_t i = 0; i < w->count; i++) {
        const struct s3_routing_rule *rule = &w->rules[i];
        if (rule->error_status == error_status && slice_has_prefix(key, rule->prefix))
            return rule;
    }
    return NULL;
}

static void origin(struct buf *b, struct slice protocol, struct slice host,
                   const struct s3_request *r, bool tls)
{
    buf_slice(b, protocol.len ? protocol : tls ? SLICE_LIT("https") : SLICE_LIT("http"));
    buf_cstr(b, "://");
    buf_slice(b, host.len ? host : http_fields_get(r->fields, "host"));
    buf_u8(b, '/');
}

void s3_website_rule_location(struct buf *b, const struct s3_routing_rule *rule,
                              const struct s3_request *r, bool tls)
{
    origin(b, rule->protocol, rule->host, r, tls);
    if (rule->replaces_key || rule->replaces_prefix)
        s3_percent_encode(b, rule->key, true);
    size_t dropped = rule->replaces_key ? r->key.len : rule->replaces_prefix ? rule->prefix.len : 0;
    CHECK(dropped <= r->key.len);
    s3_percent_encode(b, SLICE(r->key.ptr + dropped, r->key.len - dropped), true);
}

void s3_website_all_location(struct buf *b, const struct s3_website *w, const struct s3_request *r,
                             bool tls)
{
    origin(b, w->all_protocol, w->all_host, r, tls);
    s3_percent_encode(b, r->key, true);
    if (r->raw_query.len) {
        buf_u8(b, '?');
        buf_slice(b, r->raw_query);
    }
}

void s3_website_folder_location(struct buf *b, struct slice path)
{
    buf_u8(b, '/');
    if (path.len && path.ptr[0] == '/') {
        buf_cstr(b, "%2F");
        path = SLICE(path.ptr + 1, path.len - 1);
    }
    s3_percent_encode(b, path, true);
    buf_u8(b, '/');
}

/* ---- pages ---- */

static const char *reason(int status)
{
    switch (status) {
    case 400: return "Bad Request";
    case 403: return "Forbidden";
    case 404: return "Not Found";
    case 405: return "Method Not Allowed";
    case 412: return "Precondition Failed";
    case 416: return "Requested Range Not Satisfiable";
    case 500: return "Internal Server Error";
    case 503: return "Service Unavailable";
    default: return "Error";
    }
}

static void item(struct buf *b, const char *name, struct slice value)
{
    buf_cstr(b, "<li>");
    buf_cstr(b, name);
    buf_cstr(b, ": ");
    xml_escape(b, value);
    buf_cstr(b, "</li>\n");
}

void s3_website_error_page(struct buf *b, const struct s3_fault *fault, struct slice request_id,
                           bool document_failed)
{
    int status = s3_code_status(fault->code);
    buf_cstr(b, "<html>\n");
    buf_printf(b, "<head><title>%d %s</title></head>\n<body>\n<h1>%d %s</h1>\n<ul>\n", status,
               reason(status), status, reason(status));
    item(b, "Code", slice_cstr(s3_code_name(fault->code)));
    item(b, "Message",
         fault->message.len ? fault->message : slice_cstr(s3_code_message(fault->code)));
    for (unsigned i = 0; i < fault->extra_count; i++)
        item(b, fault->extra[i].name, fault->extra[i].value);
    item(b, "RequestId", request_id);
    buf_cstr(b, "</ul>\n");
    if (document_failed)
        buf_cstr(b, "<h3>An Error Occurred While Attempting to Retrieve a Custom Error "
                    "Document</h3>\n");
    buf_cstr(b, "<hr/>\n</body>\n</html>\n");
}
