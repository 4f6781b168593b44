/* Messages to webhooks. */
#include "gateway/out/webhook.h"

#include "common/base/check.h"
#include "common/base/err.h"

static void call_cb(struct http_call *call)
{
    struct webhook_post *p = container_of(call, struct webhook_post, call);
    p->err = call->err;
    if (p->err == OK && call->status / 100 != 2)
        p->err = ERR_REFUSED;
    p->cb(p);
}

int webhook_post_start(struct http_client *c, const struct target *target, uint64_t timeout_ms,
                       struct webhook_post *p)
{
    size_t count = 0;
    if (p->body.failed)
        return ERR_NOMEM;
    p->fields[count++] = "Content-Type: application/json";
    p->fields[count++] = "User-Agent: cairn";
    if (target->token) {
        buf_printf(&p->authorization, "Authorization: Bearer %s", target->token);
        buf_u8(&p->authorization, 0);
        if (p->authorization.failed)
            return ERR_NOMEM;
        p->fields[count++] = (const char *)p->authorization.ptr;
    }
    p->call = (struct http_call){
        .method = "POST",
        .url = target->url,
        .fields = p->fields,
        .field_count = count,
        .ca_file = target->ca,
        .timeout_ms = timeout_ms,
        .body = buf_view(&p->body),
        .cb = call_cb,
    };
    http_call_start(c, &p->call);
    return OK;
}

void webhook_post_fini(struct webhook_post *p)
{
    http_call_fini(&p->call);
    if (p->authorization.ptr)
        explicit_bzero(p->authorization.ptr, p->authorization.len);
    buf_fini(&p->authorization);
    buf_fini(&p->body);
}
