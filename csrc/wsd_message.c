#include "wsd_message.h"

#include "wsd_bell.h"
#include "wsd_relaxed.h"
#include "wsd_ring.h"

#define HEADER sizeof(uint64_t)

#define KIND_SHIFT 56
#define LENGTH_MASK ((1ull << KIND_SHIFT) - 1)
enum { DATA = 0, CONTROL = 1 };

uint64_t wsd_message_max(const wsd_stream *s)
{
    return s->size - HEADER;
}

/* Producer's lock held, the message does not fit: have the bell tell when half the ring is free,
 * which is enough for a message of up to half a ring.  True: it is free already. */
static bool room_announced(wsd_stream *s, uint64_t head, uint64_t needed)
{
    return needed <= s->size / 2 && wsd_bell_full(s, head);
}

static int send_frame(wsd_stream *s, const struct iovec *iov, int count, unsigned kind)
{
    uint64_t length = wsd_iov_total(iov, count);
    STORE(s->messages, true);
    if (LOAD(s->closed))
        return -EBADF;
    if (LOAD(s->broken))
        return -ECONNABORTED;
    if (length > wsd_message_max(s))
        return -EMSGSIZE;
    if (LOAD(s->in->fin) || LOAD(s->peer_gone))
        return -ECONNRESET;
    if (wsd_stream_lock_out(s) < 0)
        return -ECONNABORTED;
    int rc = 0;
    uint64_t head = LOAD(s->out->head) & WSD_HEAD;
    /* acquire: pairs with the release of the consumer's tail */
    uint64_t used = head - atomic_load_explicit(&s->out->tail, memory_order_acquire);
    if (used > s->size) {
        STORE(s->broken, true);
        rc = -ECONNABORTED;
    } else if (s->size - used < HEADER + length && !room_announced(s, head, HEADER + length)) {
        rc = -EAGAIN;
    } else {
        wsd_cursor from = {iov, count, 0};
        uint64_t header = length | (uint64_t)kind << KIND_SHIFT;
        wsd_ring_put(s->out_data, s->size, head, &header, HEADER);
        wsd_ring_gather(s->out_data, s->size, head + HEADER, &from, length);
        head += HEADER + length;
        if (kind == CONTROL) /* before head: who finds the message behind others has been told */
            STORE(s->slot->controls[s->side], LOAD(s->slot->controls[s->side]) + 1);
        /* release: the message is written before head says so, and so is what RDMA has put into the
         * peer's memory on this thread or under the caller's lock before; pairs with first_frame */
        atomic_store_explicit(&s->out->head, head, memory_order_release);
        if (LOAD(s->out->producer_cpu) != wsd_cpu())
            STORE(s->out->producer_cpu, wsd_cpu());
        if (kind == CONTROL) {
            wsd_bell_insist(s, head);
        } else {
            wsd_bell_published(s, head);
            s->traffic->sent += length;
        }
    }
    wsd_lock_drop(&s->out->producer_lock);
    return rc;
}

int wsd_message_send(wsd_stream *s, const struct iovec *iov, int count)
{
    return send_frame(s, iov, count, DATA);
}

int wsd_message_send_control(wsd_stream *s, const struct iovec *iov, int count)
{
    return send_frame(s, iov, count, CONTROL);
}

uint32_t wsd_message_controls(const wsd_stream *s)
{
    return LOAD(s->slot->controls[1 - s->side]);
}

/* Consumer's lock held: the first frame's kind and length, checked against what the ring holds. */
static int64_t first_frame(wsd_stream *s, uint64_t tail, unsigned *kind)
{
    /* acquire: pairs with the release in send_frame; the bytes, and RDMA that went before, are there */
    uint64_t ready = (atomic_load_explicit(&s->in->head, memory_order_acquire) & WSD_HEAD) - tail;
    if (ready == 0)
        return -EAGAIN;
    uint64_t header = 0;
    if (ready >= HEADER && ready <= s->size)
        wsd_ring_get(s->in_data, s->size, tail, &header, HEADER); /* one copy: checked and used */
    uint64_t length = header & LENGTH_MASK;
    *kind = (unsigned)(header >> KIND_SHIFT);
    if (ready < HEADER || ready > s->size || length > ready - HEADER || *kind > CONTROL) {
        STORE(s->broken, true);
        return -ECONNABORTED;
    }
    return (int64_t)length;
}

/* Consumer's lock held. */
static void consume(wsd_stream *s, uint64_t tail)
{
    atomic_store_explicit(&s->in->tail, tail, memory_order_release);
    if (LOAD(s->in->consumer_cpu) != wsd_cpu())
        STORE(s->in->consumer_cpu, wsd_cpu());
    wsd_bell_consumed(s, tail);
    wsd_bell_rest(s, true);
}

enum { LOOK, TAKE, DISCARD };

static int64_t receive(wsd_stream *s, const struct iovec *iov, int count, int how, unsigned wanted)
{
    STORE(s->messages, true);
    if (LOAD(s->closed))
        return -EBADF;
    if (LOAD(s->broken))
        return -ECONNABORTED;
    if (wsd_stream_lock_in(s) < 0)
        return -ECONNABORTED;
    wsd_bell_pay(s);
    uint64_t tail = LOAD(s->in->tail);
    unsigned kind;
    int64_t length = first_frame(s, tail, &kind);
    if (length >= 0 && kind != wanted) {
        length = -EPROTO;
    } else if (length >= 0 && how != LOOK) {
        if (how == TAKE && (uint64_t)length > wsd_iov_total(iov, count)) {
            length = -EMSGSIZE;
        } else {
            wsd_cursor to = {iov, count, 0};
            if (how == TAKE)
                wsd_ring_scatter(s->in_data, s->size, tail + HEADER, &to, (size_t)length);
            consume(s, tail + HEADER + (uint64_t)length);
            if (kind == DATA)
                s->traffic->received += (uint64_t)length;
        }
    } else if (length == -EAGAIN) {
        wsd_bell_rest(s, true);
        if (!LOAD(s->in->fin))
            wsd_bell_check(s);
    }
    wsd_lock_drop(&s->in->consumer_lock);
    if (length == -EAGAIN && (LOAD(s->in->fin) || LOAD(s->peer_gone)) && wsd_stream_available(s) == 0)
        return -ECONNRESET; /* messages know no graceful end: the peer's close is abortive */
    return length;
}

int64_t wsd_message_size(wsd_stream *s)
{
    return receive(s, NULL, 0, LOOK, DATA);
}

int64_t wsd_message_recv(wsd_stream *s, const struct iovec *iov, int count)
{
    return receive(s, iov, count, TAKE, DATA);
}

int wsd_message_discard(wsd_stream *s)
{
    int64_t rc = receive(s, NULL, 0, DISCARD, DATA);
    return rc < 0 ? (int)rc : 0;
}

int64_t wsd_message_recv_control(wsd_stream *s, const struct iovec *iov, int count)
{
    return receive(s, iov, count, TAKE, CONTROL);
}
