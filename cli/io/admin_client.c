/* HTTP to a gateway: see admin_client.h. */
#include "cli/io/admin_client.h"

#include "common/base/err.h"
#include "common/crypto/codec.h"
#include "common/crypto/digest.h"

#include <curl/curl.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define ANSWER_BYTES_MAX (256u << 20)
#define PREFIX "/_cairn/admin/v1/"
#define KEYS_FILE "var/root-credentials"

struct admin_client {
    const char *command, *endpoint, *region;
    char access_key[256], secret[256];
    CURL *curl;
    struct curl_slist *fields;
};

static void say(const struct admin_client *c, const char *what, const char *more)
{
    fprintf(stderr, "cairnctl %s: %s%s\n", c->command, what, more);
}

/* ---- keys ---- */

static bool value_of(const char *line, const char *name, char *ret, size_t ret_size)
{
    size_t n = strlen(name), len = strcspn(line, "\r\n");
    if (strncmp(line, name, n) != 0 || len - n >= ret_size)
        return false;
    memcpy(ret, line + n, len - n);
    ret[len - n] = 0;
    return true;
}

/* Returns: whether both keys were there. */
static bool keys_from_file(struct admin_client *c, FILE *f)
{
    char line[512];
    bool id = false, secret = false;
    while (fgets(line, sizeof(line), f)) {
        id |= value_of(line, "access_key_id=", c->access_key, sizeof(c->access_key));
        secret |= value_of(line, "secret_access_key=", c->secret, sizeof(c->secret));
    }
    explicit_bzero(line, sizeof(line));
    return id && secret;
}

static bool keys_from_environment(struct admin_client *c)
{
    const char *id = getenv("AWS_ACCESS_KEY_ID"), *secret = getenv("AWS_SECRET_ACCESS_KEY");
    if (!id || !secret || !id[0] || !secret[0] || strlen(id) >= sizeof(c->access_key) ||
        strlen(secret) >= sizeof(c->secret))
        return false;
    strcpy(c->access_key, id);
    strcpy(c->secret, secret);
    return true;
}

static bool keys_find(struct admin_client *c, const char *path)
{
    if (!path && keys_from_environment(c))
        return true;
    const char *from = path ? path : KEYS_FILE;
    FILE *f = fopen(from, "re");
    if (!f && path)
        fprintf(stderr, "cairnctl %s: --credentials=%s: %s\n", c->command, path, strerror(errno));
    else if (!f)
        say(c,
            "the root user's keys are not known: set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, "
            "or give "
            "--credentials=FILE",
            " (`make run` writes var/root-credentials)");
    if (!f)
        return false;
    bool found = keys_from_file(c, f);
    fclose(f);
    if (!found)
        fprintf(stderr,
                "cairnctl %s: %s: has no lines access_key_id=... and secret_access_key=...\n",
                c->command, from);
    return found;
}

/* ---- the client ---- */

struct admin_client *admin_client_new(const struct args *a, const char *command)
{
    struct admin_client *c = calloc(1, sizeof(*c));
    if (!c)
        return NULL;
    const char *environment = getenv("CAIRN_ENDPOINT");
    c->command = command;
    c->endpoint = arg_text(a, "endpoint");
    if (!c->endpoint)
        c->endpoint = environment && environment[0] ? environment : "http://127.0.0.1:9000";
    c->region = arg_text(a, "region");
    if (keys_find(c, arg_text(a, "credentials"))) {
        c->curl = curl_global_init(CURL_GLOBAL_DEFAULT) == CURLE_OK ? curl_easy_init() : NULL;
        if (c->curl)
            return c;
        say(c, "out of memory", "");
    }
    admin_client_free(c);
    return NULL;
}

void admin_client_free(struct admin_client *c)
{
    if (!c)
        return;
    curl_slist_free_all(c->fields);
    curl_easy_cleanup(c->curl);
    explicit_bzero(c, sizeof(*c));
    free(c);
}

static size_t take(char *bytes, size_t size, size_t count, void *arg)
{
    struct buf *answer = arg;
    if (answer->len + size * count > ANSWER_BYTES_MAX)
        return 0;
    buf_append(answer, bytes, size * count);
    return answer->failed ? 0 : size * count;
}

/* &apos; and the like, in place. */
static void unescape(char *s)
{
    static const struct {
        const char *name;
        char c;
    } entities[] = {
        {"&amp;", '&'}, {"&lt;", '<'}, {"&gt;", '>'}, {"&quot;", '"'}, {"&apos;", '\''}};
    char *to = s;
    while (*s) {
        size_t i = 0, count = sizeof(entities) / sizeof(entities[0]);
        while (i < count && strncmp(s, entities[i].name, strlen(entities[i].name)) != 0)
            i++;
        *to++ = i < count ? entities[i].c : *s;
        s += i < count ? strlen(entities[i].name) : 1;
    }
    *to = 0;
}

/* The text of the first <name> in an S3 error; "" if there is none. */
static void element(const char *xml, const char *name, char *ret, size_t ret_size)
{
    char open[32];
    snprintf(open, sizeof(open), "<%s>", name);
    const char *at = strstr(xml, open);
    size_t len = at ? strcspn(at + strlen(open), "<") : 0;
    snprintf(ret, ret_size, "%.*s", (int)len, at ? at + strlen(open) : "");
    unescape(ret);
}

static const struct {
    const char *code, *advice;
} advice[] = {
    {"InvalidAccessKeyId", "these are another cluster's keys; see --credentials"},
    {"SignatureDoesNotMatch", "the secret key is not this access key's; see --credentials"},
    {"AuthorizationHeaderMalformed", "see --region"},
    {"AccessDenied", "use the root user's keys; see --credentials"},
    {"RequestTimeTooSkewed", "set this machine's clock"},
    {"ServiceUnavailable", "see `cairnctl status` and the metanodes' logs"},
    {"NoSuchKey", "see `cairnctl nodes`"},
    {"KMS.NotFoundException", "see `cairnctl kms list`"},
    {"NoSuchEntity",
     "see `cairnctl user list`, `key list`, `account list`, with --account if it is another's"},
    {"EntityAlreadyExists", "choose another, or delete that one first"},
    {"LimitExceeded", "delete one first"},
    {"NoSuchBucket", "see `aws s3 ls` of its owner"},
};

static void say_refused(const struct admin_client *c, long status, const char *xml)
{
    char code[64], message[256];
    const char *hint = NULL;
    element(xml, "Code", code, sizeof(code));
    element(xml, "Message", message, sizeof(message));
    for (size_t i = 0; i < sizeof(advice) / sizeof(advice[0]); i++)
        if (strcmp(code, advice[i].code) == 0)
            hint = advice[i].advice;
    if (!code[0])
        fprintf(stderr, "cairnctl %s: %s answered %ld: is that a Cairn gateway?\n", c->command,
                c->endpoint, status);
    else
        fprintf(stderr, "cairnctl %s: %s: %s%s%s\n", c->command, code, message, hint ? " -- " : "",
                hint ? hint : "");
}

/* The field that says the body's hash: it is signed instead of the body. */
static bool set_fields(struct admin_client *c, const char *body)
{
    uint8_t hash[SHA256_BYTES];
    char field[128] = "x-amz-content-sha256: ";
    size_t n = strlen(field);
    sha256(slice_cstr(body), hash);
    hex_encode(SLICE(hash, sizeof(hash)), field + n);
    field[n + HEX_CHARS(sizeof(hash))] = 0;
    curl_slist_free_all(c->fields);
    c->fields = curl_slist_append(NULL, field);
    struct curl_slist *more =
        c->fields ? curl_slist_append(c->fields, "Content-Type: application/json") : NULL;
    return more != NULL;
}

static CURLcode perform(struct admin_client *c, const char *method, const char *url,
                        const char *body, struct buf *answer, long *ret_status)
{
    char sign[128];
    if (!set_fields(c, body ? body : ""))
        return CURLE_OUT_OF_MEMORY;
    snprintf(sign, sizeof(sign), "aws:amz:%s:s3", c->region);
    curl_easy_reset(c->curl);
    curl_easy_setopt(c->curl, CURLOPT_URL, url);
    if (body)
        curl_easy_setopt(c->curl, CURLOPT_POSTFIELDS, body);
    curl_easy_setopt(c->curl, CURLOPT_CUSTOMREQUEST, method);
    curl_easy_setopt(c->curl, CURLOPT_AWS_SIGV4, sign);
    curl_easy_setopt(c->curl, CURLOPT_USERNAME, c->access_key);
    curl_easy_setopt(c->curl, CURLOPT_PASSWORD, c->secret);
    curl_easy_setopt(c->curl, CURLOPT_HTTPHEADER, c->fields);
    curl_easy_setopt(c->curl, CURLOPT_PROTOCOLS_STR, "http,https");
    curl_easy_setopt(c->curl, CURLOPT_WRITEFUNCTION, take);
    curl_easy_setopt(c->curl, CURLOPT_WRITEDATA, answer);
    curl_easy_setopt(c->curl, CURLOPT_CONNECTTIMEOUT, 5L);
    curl_easy_setopt(c->curl, CURLOPT_TIMEOUT, 600L);
    curl_easy_setopt(c->curl, CURLOPT_NOSIGNAL, 1L);
    curl_easy_setopt(c->curl, CURLOPT_NOPROXY, "127.0.0.1,localhost,::1");
    CURLcode code = curl_easy_perform(c->curl);
    curl_easy_getinfo(c->curl, CURLINFO_RESPONSE_CODE, ret_status);
    return code;
}

int admin_client_ask(struct admin_client *c, const char *method, const char *path, json_t **ret)
{
    return admin_client_tell(c, method, path, NULL, ret);
}

static void wipe(char *text)
{
    if (text)
        explicit_bzero(text, strlen(text));
    free(text);
}

int admin_client_tell(struct admin_client *c, const char *method, const char *path,
                      const json_t *body, json_t **ret)
{
    char *text = body ? json_dumps(body, JSON_COMPACT) : NULL;
    struct buf url = {0}, answer = {0};
    json_error_t error;
    long status = 0;
    buf_cstr(&url, c->endpoint);
    while (url.len && url.ptr[url.len - 1] == '/')
        url.len--;
    buf_cstr(&url, PREFIX);
    buf_cstr(&url, path);
    buf_u8(&url, 0);
    CURLcode code = url.failed || (body && !text)
                        ? CURLE_OUT_OF_MEMORY
                        : perform(c, method, (const char *)url.ptr, text, &answer, &status);
    wipe(text);
    buf_u8(&answer, 0);
    *ret = NULL;
    if (code != CURLE_OK)
        fprintf(stderr,
                "cairnctl %s: %s: %s -- does a gateway run there (make status)?  Another: "
                "--endpoint=URL\n",
                c->command, c->endpoint, curl_easy_strerror(code));
    else if (status != 200)
        say_refused(c, status, answer.failed ? "" : (const char *)answer.ptr);
    else if (answer.failed || !(*ret = json_loads((const char *)answer.ptr, 0, &error)))
        say(c, "the answer is no JSON: is that a Cairn gateway?  ", c->endpoint);
    buf_fini(&url);
    buf_fini(&answer);
    return *ret ? CLI_GOOD : CLI_USAGE;
}

int admin_client_show(const struct args *a, const char *command, const char *method,
                      const struct buf *path, const json_t *body,
                      void (*show)(const json_t *answer),
                      int (*verdict)(const json_t *answer))
{
    json_t *answer = NULL;
    int status = CLI_USAGE;
    struct admin_client *client = admin_client_new(a, command);
    if (client && !path->failed)
        status = admin_client_tell(client, method, (const char *)path->ptr, body, &answer);
    admin_client_free(client);
    if (status != CLI_GOOD)
        return status;
    if (a->json) {
        json_dumpf(answer, stdout, JSON_INDENT(1));
        printf("\n");
    } else {
        show(answer);
    }
    status = verdict ? verdict(answer) : CLI_GOOD;
    json_decref(answer);
    return status;
}

void admin_client_escape(struct buf *b, const char *s)
{
    for (const uint8_t *p = (const uint8_t *)s; *p; p++) {
        bool plain = (*p >= 'a' && *p <= 'z') || (*p >= 'A' && *p <= 'Z') ||
                     (*p >= '0' && *p <= '9') || strchr("-._~", *p);
        if (plain)
            buf_u8(b, *p);
        else
            buf_printf(b, "%%%02X", *p);
    }
}
