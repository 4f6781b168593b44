/* Test events. */
#include "gateway/op/event_probe.h"

#include "common/base/check.h"
#include "common/obs/log.h"

static void probe_next(struct event_probe *p);

static void post_cb(struct webhook_post *post)
{
    struct event_probe *p = container_of(post, struct event_probe, post);
    struct slice arn = p->notification.rules[p->next].arn;
    int err = post->err;
    if (err != OK)
        log_warn("events.test", 0, L_BYTES("webhook", p->notification.rules[p->next].webhook),
                 L_ERR(err), L_INT("status", post->call.status), L_STR("why", post->call.why));
    webhook_post_fini(post);
    p->next++;
    if (err != OK)
        p->cb(p, s3_notification_unreachable(&p->req->fault, arn));
    else
        probe_next(p);
}

static bool was_asked(const struct event_probe *p, size_t i)
{
    for (size_t k = 0; k < i; k++)
        if (slice_eq(p->notification.rules[k].webhook, p->notification.rules[i].webhook))
            return true;
    return false;
}

static void probe_next(struct event_probe *p)
{
    struct gateway *gw = p->req->gw;
    while (p->next < p->notification.count && was_asked(p, p->next))
        p->next++;
    if (p->next == p->notification.count) {
        p->cb(p, S3_OK);
        return;
    }
    const struct s3_notification_rule *rule = &p->notification.rules[p->next];
    const struct target *target = targets_find(gw->config->webhooks, rule->webhook);
    if (!target || !gw->out) {
        p->cb(p, s3_notification_unreachable(&p->req->fault, rule->arn));
        return;
    }
    p->post = (struct webhook_post){.cb = post_cb};
    s3_test_message_write(&p->post.body, p->req->s3.bucket, slice_cstr(p->req->id),
                          request_now_ms(p->req));
    if (webhook_post_start(gw->out, target, gw->config->event_timeout_ms, &p->post) != OK) {
        webhook_post_fini(&p->post);
        p->cb(p, s3_fault_set(&p->req->fault, S3_INTERNAL_ERROR, NULL));
    }
}

void event_probe_start(struct event_probe *p, struct slice document)
{
    struct slice skip = http_fields_get(p->req->s3.fields, "x-amz-skip-destination-validation");
    if (!events_notification(p->req->arena, document, &p->notification)) {
        p->cb(p, s3_fault_set(&p->req->fault, S3_INTERNAL_ERROR, NULL));
        return;
    }
    if (skip.ptr && slice_eq_nocase(skip, SLICE_LIT("true")))
        p->next = p->notification.count;
    probe_next(p);
}
