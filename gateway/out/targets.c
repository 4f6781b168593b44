/* The operator's table of webhooks and remote endpoints. */
#include "gateway/out/targets.h"

#include "common/base/check.h"
#include "common/base/err.h"
#include "proto/registry.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { SECRET_CHARS_MAX = 4096, URL_CHARS_MAX = 2048 };

static void wipe_free(char *s)
{
    if (s)
        explicit_bzero(s, strlen(s));
    free(s);
}

static void target_fini(struct target *t)
{
    free(t->name);
    free(t->url);
    free(t->ca);
    free(t->access_key);
    free(t->region);
    free(t->accounts);
    wipe_free(t->token);
    wipe_free(t->secret);
    *t = (struct target){0};
}

void targets_fini(struct targets *t)
{
    for (size_t i = 0; i < t->count; i++)
        target_fini(&t->items[i]);
    free(t->items);
    *t = (struct targets){0};
}

const struct target *targets_find(const struct targets *t, struct slice name)
{
    for (size_t i = 0; t && i < t->count; i++)
        if (slice_eq(slice_cstr(t->items[i].name), name))
            return &t->items[i];
    return NULL;
}

/* The next of the accounts; empty: none is left. */
static struct slice next_account(const char **list)
{
    size_t len = strcspn(*list, ",");
    struct slice ret = SLICE(*list, len);
    *list += len + ((*list)[len] != 0);
    return ret;
}

static bool accounts_ok(const char *list)
{
    if (strcmp(list, "*") == 0)
        return true;
    size_t len = strlen(list);
    for (size_t i = 0; i <= len; i++) /* ID,ID,...,ID and the end */
        if (i % 13 == 12 ? list[i] != (i == len ? 0 : ',') : list[i] < '0' || list[i] > '9')
            return false;
    return len % 13 == 12;
}

bool target_serves(const struct target *t, struct slice account)
{
    if (account.len == 0 || slice_eq(account, SLICE_LIT(OPERATOR_ACCOUNT)))
        return true;
    bool serves = t->accounts && strcmp(t->accounts, "*") == 0;
    for (const char *list = t->accounts ? t->accounts : ""; *list && !serves;)
        serves = slice_eq(next_account(&list), account);
    return serves;
}

static int wrong(struct buf *error, struct slice name, const char *what)
{
    buf_slice(error, name);
    buf_cstr(error, ": ");
    buf_cstr(error, what);
    return ERR_CONFIG;
}

/* The first line of the file. */
static int secret_read(struct slice name, const char *path, char **ret, struct buf *error)
{
    char line[SECRET_CHARS_MAX + 2];
    FILE *f = fopen(path, "re");
    bool got = f && fgets(line, sizeof(line), f);
    if (f)
        fclose(f);
    size_t len = got ? strcspn(line, "\r\n") : 0;
    bool plain = len > 0 && len <= SECRET_CHARS_MAX;
    for (size_t i = 0; i < len; i++)
        plain &= line[i] > ' ' && line[i] < 0x7F;
    *ret = plain ? strndup(line, len) : NULL;
    explicit_bzero(line, sizeof(line));
    if (!got)
        return wrong(error, name, "its file of token or secret cannot be read");
    if (!plain)
        return wrong(error, name, "the first line of its file is no token or secret");
    return *ret ? OK : ERR_NOMEM;
}

static bool name_ok(struct slice s)
{
    bool ok = s.len >= 1 && s.len <= TARGET_NAME_CHARS_MAX;
    for (size_t i = 0; ok && i < s.len; i++)
        ok = s.ptr[i] != 0 &&
             strchr("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-_.", s.ptr[i]);
    return ok;
}

static bool url_ok(struct slice s, bool remote)
{
    bool https = slice_has_prefix(s, SLICE_LIT("https://"));
    size_t scheme = https ? 8 : 7;
    if ((!https && !slice_has_prefix(s, SLICE_LIT("http://"))) || s.len <= scheme ||
        s.len > URL_CHARS_MAX)
        return false;
    for (size_t i = scheme; i < s.len; i++) {
        uint8_t c = s.ptr[i];
        /* A remote endpoint is scheme, host and port: buckets and keys are what follows. */
        if (c <= ' ' || c >= 0x7F || c == '#' || c == '@' || (remote && (c == '?' || c == '/')))
            return false;
    }
    return s.ptr[scheme] != '/';
}

static int option(struct target *t, struct slice name, struct slice key, struct slice value,
                  bool remote, struct buf *error)
{
    char *text = strndup((const char *)value.ptr, value.len), **to = NULL;
    int err = text ? OK : ERR_NOMEM;
    bool file = slice_eq(key, remote ? SLICE_LIT("secret") : SLICE_LIT("token"));
    if (file)
        to = remote ? &t->secret : &t->token;
    else if (slice_eq(key, SLICE_LIT("ca")))
        to = &t->ca;
    else if (slice_eq(key, SLICE_LIT("accounts")))
        to = &t->accounts;
    else if (remote && slice_eq(key, SLICE_LIT("access_key")))
        to = &t->access_key;
    else if (remote && slice_eq(key, SLICE_LIT("region")))
        to = &t->region;
    if (err == OK && (!to || *to || value.len == 0))
        err = wrong(error, name, "an option that there is not, twice, or without a value");
    else if (err == OK && file)
        err = secret_read(name, text, to, error);
    else if (err == OK) {
        *to = text;
        return OK;
    }
    free(text);
    return err;
}

/* The next word of an entry; empty: none is left. */
static struct slice word(struct slice *rest)
{
    size_t from = 0, to;
    while (from < rest->len && strchr(" \t\r\n", rest->ptr[from]))
        from++;
    for (to = from; to < rest->len && !strchr(" \t\r\n", rest->ptr[to]);)
        to++;
    struct slice ret = SLICE(rest->ptr + from, to - from);
    *rest = SLICE(rest->ptr + to, rest->len - to);
    return ret;
}

static bool split(struct slice pair, struct slice *ret_key, struct slice *ret_value)
{
    const uint8_t *eq = pair.len ? memchr(pair.ptr, '=', pair.len) : NULL;
    if (!eq)
        return false;
    *ret_key = SLICE(pair.ptr, (size_t)(eq - pair.ptr));
    *ret_value = SLICE(eq + 1, pair.len - ret_key->len - 1);
    return true;
}

static int entry(struct targets *targets, struct slice text, bool remote, struct buf *error)
{
    struct slice first = word(&text), name, url, pair, key, value;
    if (first.len == 0)
        return OK;
    bool first_ok = split(first, &name, &url) && name_ok(name);
    if (!first_ok || targets_find(targets, name))
        /* The text is not repeated: who writes a URL first may have a secret in it. */
        return wrong(error, first_ok ? name : SLICE_LIT("an entry"),
                     "must begin with NAME=URL, each name once");
    while (url.len && url.ptr[url.len - 1] == '/')
        url.len--;
    if (!url_ok(url, remote))
        return wrong(error, name, "not an http:// or https:// URL that can be used");
    if (targets->count == TARGETS_MAX)
        return wrong(error, name, "too many");
    struct target *t = &targets->items[targets->count++];
    t->name = strndup((const char *)name.ptr, name.len);
    t->url = strndup((const char *)url.ptr, url.len);
    int err = t->name && t->url ? OK : ERR_NOMEM;
    while (err == OK && (pair = word(&text)).len)
        err = split(pair, &key, &value)
                  ? option(t, name, key, value, remote, error)
                  : wrong(error, name, "behind the URL there are options, each name=value");
    if (err == OK && t->accounts && !accounts_ok(t->accounts))
        err = wrong(error, name, "accounts are of 12 digits each, with commas between, or *");
    if (err == OK && remote && (!t->access_key || !t->secret))
        err = wrong(error, name, "needs access_key=ID and secret=FILE");
    if (err == OK && remote && !t->region) {
        t->region = strdup("us-east-1");
        err = t->region ? OK : ERR_NOMEM;
    }
    return err;
}

int targets_parse(const char *text, bool remote, struct targets *ret, struct buf *ret_error)
{
    struct targets targets = {.items = calloc(TARGETS_MAX, sizeof(*targets.items))};
    int err = targets.items ? OK : ERR_NOMEM;
    while (err == OK && *text) {
        size_t len = strcspn(text, ";");
        err = entry(&targets, SLICE(text, len), remote, ret_error);
        text += len + (text[len] != 0);
    }
    if (err == OK)
        *ret = targets;
    else
        targets_fini(&targets);
    return err;
}
