/* Bytes of one connection: handshake, records in and out, frames.
 *
 * In: OpenSSL reads up to READ_BUFFER_BYTES from the socket at once and decrypts in place; SSL_read
 * then copies once, straight to where the frame's bytes stay.  Out: frames wait as plaintext chunks
 * (payloads by reference) until the loop's turn ends; then records are made in a buffer of the net
 * and written many at a time.  What the socket does not take is kept with the connection. */
#include "common/env_uv/net_tls_impl.h"

#include "common/base/check.h"
#include "common/base/err.h"
#include "common/base/hash.h"

#include <errno.h>
#include <openssl/err.h>
#include <openssl/x509.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>

/* ---- between OpenSSL and the socket ---- */

int conn_bio_read(struct net_conn *c, char *ret, size_t len, size_t *ret_len, bool *ret_again)
{
    *ret_len = 0;
    if (c->drained) {
        *ret_again = true;
        return 0;
    }
    ssize_t n;
    do {
        n = recv(c->fd, ret, len, 0);
    } while (n < 0 && errno == EINTR);
    c->net->stats.reads++;
    if (n < 0) {
        *ret_again = errno == EAGAIN;
        return 0;
    }
    /* The socket is empty: the poll tells when there is more, without asking again now. */
    c->drained = n > 0 && (size_t)n < len;
    c->net->stats.bytes_in += (uint64_t)n;
    *ret_len = (size_t)n;
    return n > 0;
}

int conn_bio_write(struct net_conn *c, const char *bytes, size_t len)
{
    struct tls_net *net = c->net;
    if (net->scratch_conn == c && sizeof(net->scratch) - net->scratch_len >= len) {
        memcpy(net->scratch + net->scratch_len, bytes, len);
        net->scratch_len += len;
        return 1;
    }
    /* What OpenSSL says by itself: the handshake, alerts, key updates. */
    CHECK(net->scratch_conn != c);
    buf_append(&c->out, bytes, len);
    return !c->out.failed;
}

/* Returns: bytes taken, perhaps 0; ERR_CONN_LOST. */
static ssize_t socket_write(struct net_conn *c, const uint8_t *bytes, size_t len)
{
    ssize_t n;
    do {
        n = send(c->fd, bytes, len, MSG_NOSIGNAL);
    } while (n < 0 && errno == EINTR);
    c->net->stats.writes++;
    if (n < 0)
        return errno == EAGAIN ? 0 : ERR_CONN_LOST;
    c->net->stats.bytes_out += (uint64_t)n;
    return n;
}

/* Returns: true when nothing is left.  false: the socket is full, or the connection has ended. */
bool conn_write_out(struct net_conn *c)
{
    if (c->out_at == c->out.len)
        return true;
    ssize_t n = socket_write(c, c->out.ptr + c->out_at, c->out.len - c->out_at);
    if (n < 0) {
        conn_shut(c, ERR_CONN_LOST);
        return false;
    }
    c->out_at += (size_t)n;
    if (c->out_at < c->out.len)
        return false;
    buf_fini(&c->out);
    c->out_at = 0;
    return true;
}

/* ---- errors ---- */

/* SSL_get_error() looks at the thread's queue of errors, which is empty nearly always: clearing it
 * touches all of it. */
static void errors_clear(void)
{
    if (ERR_peek_error() != 0)
        ERR_clear_error();
}

/* The error of a failed OpenSSL call, and its text. */
static int ssl_error(struct net_conn *c, int result, const char **ret_text)
{
    int kind = SSL_get_error(c->ssl, result);
    unsigned long e = ERR_peek_error();
    int reason = ERR_GET_REASON(e);
    const char *text = e ? ERR_reason_error_string(e) : NULL;
    *ret_text = text ? text : "connection closed";
    if (kind != SSL_ERROR_SSL || reason == SSL_R_UNEXPECTED_EOF_WHILE_READING)
        return ERR_CONN_LOST;
    switch (reason) {
    case SSL_R_CERTIFICATE_VERIFY_FAILED:
        *ret_text = X509_verify_cert_error_string(SSL_get_verify_result(c->ssl));
        return ERR_AUTH;
    case SSL_R_PEER_DID_NOT_RETURN_A_CERTIFICATE:
    case SSL_R_TLSV1_ALERT_UNKNOWN_CA:
    case SSL_R_SSLV3_ALERT_BAD_CERTIFICATE:
    case SSL_R_SSLV3_ALERT_UNSUPPORTED_CERTIFICATE:
    case SSL_R_SSLV3_ALERT_CERTIFICATE_REVOKED:
    case SSL_R_SSLV3_ALERT_CERTIFICATE_EXPIRED:
    case SSL_R_SSLV3_ALERT_CERTIFICATE_UNKNOWN:
    case SSL_R_TLSV1_ALERT_ACCESS_DENIED:
    case SSL_R_TLSV13_ALERT_CERTIFICATE_REQUIRED: return ERR_AUTH;
    default: return ERR_PROTO;
    }
}

/* The connection is over unless OpenSSL merely wants the socket. */
static void ssl_failed(struct net_conn *c, int result)
{
    int kind = SSL_get_error(c->ssl, result);
    if (kind == SSL_ERROR_WANT_READ || kind == SSL_ERROR_WANT_WRITE)
        return;
    if (kind == SSL_ERROR_ZERO_RETURN) {
        conn_shut(c, ERR_CONN_LOST);
        return;
    }
    const char *text;
    int err = ssl_error(c, result, &text);
    if (err == ERR_CONN_LOST)
        conn_shut(c, err);
    else
        conn_fail(c, err, text);
}

/* ---- handshake ---- */

static void handshake_done(struct net_conn *c)
{
    const char *why = "no certificate";
    X509 *cert = SSL_get0_peer_certificate(c->ssl);
    if (!cert || net_tls_cert_identity(cert, &c->peer, &why) != OK) {
        conn_fail(c, ERR_AUTH, why);
        return;
    }
    if (c->expect_node_id[0] && strcmp(c->expect_node_id, c->peer.node_id) != 0) {
        char text[2 * NET_NODE_ID_MAX + 64];
        snprintf(text, sizeof(text), "the peer is node %s, not %s", c->peer.node_id,
                 c->expect_node_id);
        conn_fail(c, ERR_AUTH, text);
        return;
    }
    conn_opened(c);
}

void conn_handshake(struct net_conn *c)
{
    c->drained = false;
    errors_clear();
    int result = SSL_do_handshake(c->ssl);
    if (result != 1) {
        ssl_failed(c, result);
    } else {
        c->net->stats.handshakes++;
        handshake_done(c);
    }
    if (c->state != CONN_CLOSED)
        conn_flush(c, true);
    if (c->state == CONN_OPEN)
        conn_read(c); /* the first frames may have come with the handshake's last bytes */
}

/* ---- in ---- */

static void frame_deliver(struct net_conn *c)
{
    const struct frame_header *h = &c->header;
    struct rcbuf *body = c->body;
    struct slice msg = SLICE_EMPTY, payload = SLICE_EMPTY;
    if (body) {
        body->len = c->body_end;
        msg = SLICE(body->data + c->body_at, h->msg_bytes);
        payload = SLICE(body->data + c->body_at + h->msg_bytes, h->payload_bytes);
    }
    c->body = NULL;
    c->head_len = c->body_at = c->body_len = c->body_end = 0;
    int err = frame_check_body(h, msg, payload);
    if (err != OK) {
        c->net->stats.frames_bad++;
        conn_fail(c, err, "a frame's body does not match its checksum");
    } else {
        c->net->stats.frames_in++;
        struct frame f = {
            .kind = h->kind,
            .flags = h->flags & FRAME_KIND_MASK,
            .version = h->version,
            .request_id = h->request_id,
            .timeout_ms = h->timeout_ms,
            .status = h->status,
            .msg = {body, msg},
            .payload = {{body, payload}},
            .payload_count = h->payload_bytes > 0,
            .block_crcs = h->payload_bytes >= SUMMED_PAYLOAD_BYTES_MIN ? c->block_crcs : NULL,
        };
        c->handler->on_frame(c->arg, c, &f);
    }
    rcbuf_unref(body);
}

/* The header is complete.  Nothing has been allocated for the frame before its limits are known. */
static bool frame_begin(struct net_conn *c)
{
    int err = frame_decode_header(SLICE(c->head, FRAME_HEADER_BYTES), &c->header);
    if (err != OK) {
        c->net->stats.frames_bad++;
        conn_fail(c, err,
                  err == ERR_TOO_LARGE ? "a frame is larger than the limit"
                                       : "a frame's header is malformed");
        return false;
    }
    size_t bytes = (size_t)c->header.msg_bytes + c->header.payload_bytes;
    size_t align = c->header.payload_bytes >= ALIGNED_PAYLOAD_BYTES_MIN ? PAYLOAD_ALIGN : 1;
    if (bytes > 0) {
        c->body = rcbuf_new(bytes + align - 1);
        if (!c->body) {
            conn_fail(c, ERR_NOMEM, "no memory for a frame");
            return false;
        }
        uintptr_t payload = (uintptr_t)c->body->data + c->header.msg_bytes;
        c->body_at = c->body_len = (align - payload % align) % align;
        c->body_end = c->body_at + bytes;
    }
    return true;
}

/* n bytes of the body have come to where they stay.  Large payloads are summed now, while they are
 * in the processor's caches: 4 MiB later they would come from memory. */
static void body_sum(struct net_conn *c, const uint8_t *at, size_t n)
{
    const uint8_t *payload = c->body->data + c->body_at + c->header.msg_bytes;
    if (c->header.payload_bytes < SUMMED_PAYLOAD_BYTES_MIN || at + n <= payload)
        return;
    size_t done = at < payload ? 0 : (size_t)(at - payload), end = (size_t)(at + n - payload);
    while (done < end) {
        size_t in_block = done % FRAME_BLOCK_BYTES;
        size_t len = MIN(end - done, FRAME_BLOCK_BYTES - in_block);
        uint32_t *crc = &c->block_crcs[done / FRAME_BLOCK_BYTES];
        *crc = crc32c(in_block ? *crc : 0, SLICE(payload + done, len));
        done += len;
    }
}

void conn_read(struct net_conn *c)
{
    size_t budget = READ_TURN_BYTES;
    c->drained = false;
    while (c->state == CONN_OPEN && !c->reading_off) {
        if (budget == 0) {
            conn_mark_ready(c);
            return;
        }
        bool in_body = c->head_len == FRAME_HEADER_BYTES;
        uint8_t *at = in_body ? c->body->data + c->body_len : c->head + c->head_len;
        size_t want = in_body ? c->body_end - c->body_len : FRAME_HEADER_BYTES - c->head_len;
        size_t n = 0;
        errors_clear();
        int result = SSL_read_ex(c->ssl, at, want, &n);
        if (result != 1) {
            ssl_failed(c, result);
            break;
        }
        budget -= MIN(n, budget);
        if (in_body) {
            body_sum(c, at, n);
            c->body_len += n;
        } else {
            c->head_len += n;
        }
        if (!in_body && (c->head_len < FRAME_HEADER_BYTES || !frame_begin(c)))
            continue;
        if (!c->body || c->body_len == c->body_end)
            frame_deliver(c);
    }
    if (c->state == CONN_OPEN && c->out.len > 0 && !c->want_write)
        conn_flush(c, true); /* OpenSSL answered something by itself */
}

/* ---- out ---- */

static void chunk_free(struct net_conn *c, struct out_chunk *chunk)
{
    payload_unref(&chunk->ref);
    if (!c->net->spare && chunk->cap == CHUNK_BYTES)
        c->net->spare = chunk;
    else
        free(chunk);
}

static struct out_chunk *chunk_new(struct net_conn *c, size_t cap)
{
    struct out_chunk *chunk = c->net->spare;
    if (cap == CHUNK_BYTES && chunk)
        c->net->spare = NULL;
    else
        chunk = malloc(sizeof(*chunk) + cap);
    if (!chunk)
        return NULL;
    chunk->ref = (struct payload){NULL, SLICE_EMPTY};
    chunk->len = chunk->sent = 0;
    chunk->cap = cap;
    list_init(&chunk->node);
    return chunk;
}

static void chunk_append(struct out_chunk *chunk, struct slice s)
{
    CHECK(chunk->cap - chunk->len >= s.len);
    if (s.len)
        memcpy(chunk->bytes + chunk->len, s.ptr, s.len);
    chunk->len += s.len;
}

void conn_free_buffers(struct net_conn *c)
{
    while (!list_empty(&c->chunks))
        chunk_free(c, container_of(list_pop_front(&c->chunks), struct out_chunk, node));
    c->chunk_bytes = 0;
    rcbuf_unref(c->body);
    c->body = NULL;
    buf_fini(&c->out);
    c->out_at = 0;
}

static bool slice_is_copied(const struct payload *p)
{
    return !p->owner || p->bytes.len <= COPY_BYTES_MAX;
}

/* The header of f, checksums included.  Returns: OK; ERR_TOO_LARGE. */
static int frame_header_of(const struct frame *f, struct frame_header *ret)
{
    CHECK(f->payload_count <= FRAME_PAYLOAD_SLICES_MAX);
    size_t payload_bytes = 0;
    for (unsigned i = 0; i < f->payload_count; i++) {
        if (f->payload[i].bytes.len > FRAME_PAYLOAD_BYTES_MAX - payload_bytes)
            return ERR_TOO_LARGE;
        payload_bytes += f->payload[i].bytes.len;
    }
    if (f->msg.bytes.len > FRAME_MSG_BYTES_MAX)
        return ERR_TOO_LARGE;
    struct frame_header h = {
        .version = f->version,
        .flags = f->flags,
        .kind = f->kind,
        .request_id = f->request_id,
        .timeout_ms = f->timeout_ms,
        .status = f->status,
        .msg_bytes = (uint32_t)f->msg.bytes.len,
        .payload_bytes = (uint32_t)payload_bytes,
        .msg_crc = crc32c(0, f->msg.bytes),
    };
    if (payload_bytes > 0 && payload_bytes <= FRAME_PAYLOAD_CRC_BYTES_MAX) {
        h.flags |= FRAME_PAYLOAD_CRC;
        for (unsigned i = 0; i < f->payload_count; i++)
            h.payload_crc = crc32c(h.payload_crc, f->payload[i].bytes);
    }
    *ret = h;
    return OK;
}

/* Chunks for the payload slices from `first` on, which do not ride with the message. */
static int payload_chunks(struct net_conn *c, const struct frame *f, unsigned first,
                          struct list *ret)
{
    for (unsigned i = first; i < f->payload_count; i++) {
        const struct payload *p = &f->payload[i];
        if (p->bytes.len == 0)
            continue;
        struct out_chunk *chunk = chunk_new(c, p->owner ? 0 : p->bytes.len);
        if (!chunk)
            return ERR_NOMEM;
        if (p->owner) {
            chunk->ref = payload_ref(*p);
            chunk->len = p->bytes.len;
        } else {
            chunk_append(chunk, p->bytes);
        }
        list_push_back(ret, &chunk->node);
    }
    return OK;
}

/* The queue's last chunk if it has room for `bytes` more, else a new one put on `fresh`. */
static struct out_chunk *chunk_for(struct net_conn *c, size_t bytes, struct list *fresh)
{
    if (!list_empty(&c->chunks)) {
        struct out_chunk *last = container_of(c->chunks.prev, struct out_chunk, node);
        if (!last->ref.owner && last->cap - last->len >= bytes)
            return last;
    }
    struct out_chunk *chunk = chunk_new(c, MAX(bytes, (size_t)CHUNK_BYTES));
    if (chunk)
        list_push_back(fresh, &chunk->node);
    return chunk;
}

int conn_send(struct net_conn *c, const struct frame *f)
{
    struct frame_header h;
    if (c->state != CONN_OPEN)
        return ERR_CONN_LOST;
    int err = frame_header_of(f, &h);
    if (err != OK)
        return err;

    /* The header, the message and the small slices behind it become one run of bytes. */
    size_t run = FRAME_HEADER_BYTES + f->msg.bytes.len;
    unsigned copied = 0;
    while (copied < f->payload_count && slice_is_copied(&f->payload[copied]))
        run += f->payload[copied++].bytes.len;
    struct list fresh;
    list_init(&fresh);
    struct out_chunk *head = chunk_for(c, run, &fresh);
    err = head ? payload_chunks(c, f, copied, &fresh) : ERR_NOMEM;
    if (err != OK) {
        while (!list_empty(&fresh))
            chunk_free(c, container_of(list_pop_front(&fresh), struct out_chunk, node));
        return err;
    }
    uint8_t bytes[FRAME_HEADER_BYTES];
    frame_encode_header(&h, bytes);
    chunk_append(head, SLICE(bytes, sizeof(bytes)));
    chunk_append(head, f->msg.bytes);
    for (unsigned i = 0; i < copied; i++)
        chunk_append(head, f->payload[i].bytes);
    while (!list_empty(&fresh))
        list_push_back(&c->chunks, list_pop_front(&fresh));

    c->chunk_bytes += FRAME_HEADER_BYTES + (size_t)h.msg_bytes + h.payload_bytes;
    c->net->stats.frames_out++;
    if (c->chunk_bytes >= DRAIN_HIGH_BYTES)
        c->was_high = true;
    if (!c->want_write)
        conn_mark_dirty(c);
    return OK;
}

/* Makes records of what is queued, up to one batch, in net->scratch.
 * Returns: false when OpenSSL failed and the connection has ended. */
static bool encrypt_batch(struct net_conn *c)
{
    struct tls_net *net = c->net;
    bool ok = true;
    net->scratch_conn = c;
    net->scratch_len = 0;
    while (net->scratch_len < WRITE_BATCH_BYTES && !list_empty(&c->chunks)) {
        struct out_chunk *chunk = container_of(c->chunks.next, struct out_chunk, node);
        const uint8_t *bytes = chunk->ref.owner ? chunk->ref.bytes.ptr : chunk->bytes;
        size_t n = MIN(chunk->len - chunk->sent, (size_t)RECORD_BYTES), written = 0;
        errors_clear();
        if (SSL_write_ex(c->ssl, bytes + chunk->sent, n, &written) != 1 || written != n) {
            ok = false;
            break;
        }
        chunk->sent += n;
        c->chunk_bytes -= n;
        if (chunk->sent == chunk->len) {
            list_remove(&chunk->node);
            chunk_free(c, chunk);
        }
    }
    net->scratch_conn = NULL;
    if (!ok)
        conn_shut(c, ERR_CONN_LOST);
    return ok;
}

/* Writes the batch; keeps what the socket does not take.  Returns: true when all was taken. */
static bool write_batch(struct net_conn *c)
{
    struct tls_net *net = c->net;
    ssize_t n = socket_write(c, net->scratch, net->scratch_len);
    if (n < 0) {
        conn_shut(c, ERR_CONN_LOST);
        return false;
    }
    if ((size_t)n == net->scratch_len)
        return true;
    buf_append(&c->out, net->scratch + n, net->scratch_len - (size_t)n);
    if (c->out.failed)
        conn_shut(c, ERR_NOMEM);
    return false;
}

enum flushed { FLUSHED_ALL, FLUSHED_SOME, FLUSHED_FULL };

/* Writes what is queued, so many batches at most.  SOME: the socket would take more.  FULL: it
 * would not, or the connection has ended. */
static enum flushed flush_batches(struct net_conn *c, unsigned batches)
{
    bool taken = conn_write_out(c);
    while (taken && c->state == CONN_OPEN && !list_empty(&c->chunks)) {
        if (batches-- == 0)
            return FLUSHED_SOME;
        taken = encrypt_batch(c) && write_batch(c);
    }
    return taken ? FLUSHED_ALL : FLUSHED_FULL;
}

void conn_flush(struct net_conn *c, bool again)
{
    enum flushed flushed = flush_batches(c, 1);
    if (c->state == CONN_CLOSED)
        return;
    if (flushed == FLUSHED_SOME && again) {
        conn_mark_dirty(c);
        return;
    }
    bool all = flushed == FLUSHED_ALL;
    c->want_write = !all; /* SOME: the poll says at once that the socket is writable */
    conn_events_update(c);
    if (c->was_high && c->chunk_bytes <= DRAIN_LOW_BYTES) {
        c->was_high = !all;
        if (c->handler && c->handler->on_drain)
            c->handler->on_drain(c->arg, c);
    }
}

void conn_say_goodbye(struct net_conn *c)
{
    if (c->state == CONN_OPEN && flush_batches(c, WRITE_ROUNDS) == FLUSHED_ALL) {
        errors_clear();
        (void)SSL_shutdown(c->ssl); /* close_notify, into c->out */
    }
    (void)conn_write_out(c);
    /* Unread bytes at close() would make the kernel send a reset, which may overtake the last
     * words. */
    (void)shutdown(c->fd, SHUT_WR);
    uint8_t unread[4096];
    for (int i = 0; i < 16 && recv(c->fd, unread, sizeof(unread), 0) > 0; i++)
        ;
}
