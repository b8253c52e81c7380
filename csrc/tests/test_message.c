/* Messages: framing, limits, and frames that a hostile peer has made. */
#include "testing.h"

static int send_message(wsd_stream *s, const void *data, size_t n)
{
    struct iovec iov = {(void *)data, n};
    return wsd_message_send(s, &iov, 1);
}

static int64_t recv_message(wsd_stream *s, void *data, size_t n)
{
    struct iovec iov = {data, n};
    return wsd_message_recv(s, &iov, 1);
}

static void in_order_and_whole(void)
{
    connection c = connection_with(WSD_RING_MIN);
    uint8_t out[1000], in[1000];
    unsigned seed = 3;
    for (int round = 0; round < 2000; round++) {
        size_t sizes[4];
        int queued = 0;
        while (queued < 4) {
            sizes[queued] = (size_t)rand_r(&seed) % sizeof out;
            memset(out, round + queued, sizes[queued]);
            size_t half = sizes[queued] / 2;
            struct iovec parts[] = {{out, half}, {NULL, 0}, {out + half, sizes[queued] - half}};
            CHECK_IS(wsd_message_send(c.a, parts, 3), 0);
            queued++;
        }
        for (int i = 0; i < queued; i++) {
            CHECK_IS(wsd_message_size(c.b), sizes[i]);
            if (sizes[i] > 0)
                CHECK_IS(recv_message(c.b, in, sizes[i] - 1), -EMSGSIZE); /* stays queued */
            if (i == 2) {
                CHECK_IS(wsd_message_discard(c.b), 0);
                continue;
            }
            CHECK_IS(recv_message(c.b, in, sizeof in), sizes[i]);
            memset(out, round + i, sizes[i]);
            CHECK(memcmp(in, out, sizes[i]) == 0);
        }
        CHECK_IS(wsd_message_size(c.b), -EAGAIN);
        CHECK_IS(recv_message(c.b, in, sizeof in), -EAGAIN);
        CHECK_IS(wsd_message_discard(c.b), -EAGAIN);
        CHECK_IS(polled(c.bell[1]), POLLOUT);
    }
    drop(&c);
}

static void limits(void)
{
    connection c = connection_with(WSD_RING_MIN);
    static uint8_t data[WSD_RING_MIN + 1], in[WSD_RING_MIN];
    CHECK_IS(wsd_message_max(c.a), WSD_RING_MIN - 8);
    CHECK_IS(send_message(c.a, data, WSD_RING_MIN - 7), -EMSGSIZE);
    CHECK_IS(send_message(c.a, data, WSD_RING_MIN - 8), 0);
    CHECK_IS(send_message(c.a, data, 0), -EAGAIN);
    CHECK_IS(wsd_message_size(c.b), WSD_RING_MIN - 8);
    CHECK_IS(recv_message(c.b, in, sizeof in), WSD_RING_MIN - 8);
    CHECK_IS(send_message(c.a, data, 0), 0);
    CHECK(polled(c.bell[1]) & POLLIN);
    CHECK_IS(recv_message(c.b, NULL, 0), 0);
    CHECK_IS(polled(c.bell[1]), POLLOUT);
    drop(&c);
}

static void room_is_told_of(void)
{
    connection c = connection_with(WSD_RING_MIN);
    static uint8_t data[WSD_RING_MIN], in[WSD_RING_MIN];
    while (send_message(c.a, data, 500) == 0)
        ;
    CHECK_IS(polled(c.bell[0]), 0);
    while (wsd_stream_available(c.b) > WSD_RING_MIN / 2)
        CHECK_IS(recv_message(c.b, in, sizeof in), 500);
    CHECK_IS(polled(c.bell[0]), POLLOUT);
    CHECK_IS(send_message(c.a, data, WSD_RING_MIN / 2 - 8), 0);
    drop(&c);
}

static void control_messages(void)
{
    connection c = connection_with(WSD_RING_MIN);
    char in[100];
    struct iovec iov = {"for you", 7}, to = {in, sizeof in};
    CHECK_IS(wsd_message_recv_control(c.b, &to, 1), -EAGAIN);
    CHECK_IS(wsd_message_controls(c.b), 0);
    CHECK_IS(send_message(c.a, "data", 4), 0);
    CHECK_IS(wsd_message_send_control(c.a, &iov, 1), 0);
    CHECK_IS(send_message(c.a, "more", 4), 0);
    CHECK_IS(wsd_message_controls(c.b), 1);
    CHECK_IS(wsd_message_controls(c.a), 0);
    CHECK_IS(wsd_message_recv_control(c.b, &to, 1), -EPROTO);
    CHECK_IS(recv_message(c.b, in, sizeof in), 4);
    CHECK_IS(recv_message(c.b, in, sizeof in), -EPROTO);
    CHECK_IS(wsd_message_size(c.b), -EPROTO);
    CHECK_IS(wsd_message_discard(c.b), -EPROTO);
    to.iov_len = 6;
    CHECK_IS(wsd_message_recv_control(c.b, &to, 1), -EMSGSIZE);
    to.iov_len = sizeof in;
    CHECK_IS(wsd_message_recv_control(c.b, &to, 1), 7);
    CHECK(memcmp(in, "for you", 7) == 0);
    CHECK_IS(recv_message(c.b, in, sizeof in), 4);
    CHECK_IS(polled(c.bell[1]), POLLOUT);
    CHECK_IS(c.b->traffic->received, 8); /* control is not what the program sent */
    CHECK_IS(c.a->traffic->sent, 8);
    drop(&c);
}

static void control_rings_a_silenced_bell(void)
{
    connection c = connection_with(WSD_RING_MIN);
    char in[100];
    struct iovec iov = {"now", 3}, to = {in, sizeof in};
    for (int round = 0; round < 3; round++) {
        wsd_stream_unarm(c.b);
        CHECK_IS(send_message(c.a, "x", 1), 0);
        CHECK_IS(polled(c.bell[1]), POLLOUT); /* it polls by itself */
        CHECK_IS(wsd_message_send_control(c.a, &iov, 1), 0);
        CHECK_IS(polled(c.bell[1]), POLLIN | POLLOUT);
        CHECK_IS(wsd_message_send_control(c.a, &iov, 1), 0); /* one token is enough */
        CHECK_IS(recv_message(c.b, in, sizeof in), 1);
        CHECK_IS(wsd_message_recv_control(c.b, &to, 1), 3);
        CHECK_IS(wsd_message_recv_control(c.b, &to, 1), 3);
        CHECK_IS(polled(c.bell[1]), POLLOUT);
        CHECK_IS(wsd_message_size(c.b), -EAGAIN);
    }
    drop(&c);
}

static void ends(void)
{
    connection c = connection_with(WSD_RING_MIN);
    char in[10];
    CHECK_IS(send_message(c.a, "last", 4), 0);
    wsd_stream_close(c.a, false);
    CHECK_IS(send_message(c.a, "x", 1), -EBADF);
    CHECK_IS(recv_message(c.a, in, 1), -EBADF);
    CHECK_IS(send_message(c.b, "x", 1), -ECONNRESET);
    CHECK_IS(recv_message(c.b, in, sizeof in), 4); /* what was sent before the close arrives */
    CHECK_IS(wsd_message_size(c.b), -ECONNRESET);
    CHECK_IS(recv_message(c.b, in, sizeof in), -ECONNRESET);
    drop(&c);

    c = connection_with(WSD_RING_MIN); /* killed */
    close(c.bell[0]);
    c.bell[0] = -1;
    CHECK_IS(wsd_message_size(c.b), -ECONNRESET);
    drop(&c);
}

static void bad_frames(void)
{
    uint64_t lengths[] = {1, 5, WSD_RING_MIN - 8, WSD_RING_MIN, UINT64_MAX, UINT64_MAX - 7, 1ull << 63, 1ull << 32,
                          1ull << 57, 3ull << 56, 1ull << 56 | 1, 1ull << 56 | 1ull << 32};
    char in[64];
    for (size_t i = 0; i < sizeof lengths / sizeof *lengths; i++) {
        for (int how = 0; how < 3; how++) {
            connection c = connection_with(WSD_RING_MIN);
            CHECK_IS(send_message(c.a, "", 0), 0);
            memcpy(c.b->in_data, &lengths[i], 8);
            int64_t rc = how == 0   ? wsd_message_size(c.b)
                         : how == 1 ? recv_message(c.b, in, sizeof in)
                                    : wsd_message_discard(c.b);
            CHECK_IS(rc, -ECONNABORTED);
            CHECK_IS(wsd_message_size(c.b), -ECONNABORTED);
            CHECK_IS(send_message(c.b, "x", 1), -ECONNABORTED);
            drop(&c);
        }
    }
    /* a head in the middle of a length word, or beyond the ring */
    uint64_t heads[] = {1, 7, WSD_RING_MIN + 1, WSD_PENDING | 7, UINT64_MAX};
    for (size_t i = 0; i < sizeof heads / sizeof *heads; i++) {
        connection c = connection_with(WSD_RING_MIN);
        atomic_store(&c.b->in->head, heads[i]);
        CHECK_IS(wsd_message_size(c.b), -ECONNABORTED);
        drop(&c);
    }
    connection c = connection_with(WSD_RING_MIN);
    atomic_store(&c.a->out->tail, 9);
    CHECK_IS(send_message(c.a, "x", 1), -ECONNABORTED);
    drop(&c);
}

int main(void)
{
    watchdog(50);
    RUN(in_order_and_whole);
    RUN(limits);
    RUN(room_is_told_of);
    RUN(control_messages);
    RUN(control_rings_a_silenced_bell);
    RUN(ends);
    RUN(bad_frames);
    return 0;
}
