/* Leases: parts of a ring read and filled in place, and what everybody else may do meanwhile. */
#include "testing.h"

#include "wsd_grow.h"
#include "wsd_lease.h"

enum { SMALL = WSD_RING_MIN, LARGE = 4 * WSD_RING_MIN };

static uint8_t buffer[2 * LARGE], other[sizeof buffer];

static connection growing(void)
{
    wsd_segment *segment;
    CHECK_IS(wsd_segment_create_growing(2, SMALL, LARGE, &segment), 0);
    return connect_in(segment);
}

static uint8_t byte_at(uint64_t position)
{
    return (uint8_t)(position * 131 + (position >> 8) * 29 + (position >> 16));
}

static void compare(uint64_t position, const uint8_t *data, size_t n)
{
    for (size_t i = 0; i < n; i++)
        CHECK_IS(data[i], byte_at(position + i));
}

static void put(wsd_stream *s, uint64_t at, size_t n)
{
    for (size_t i = 0; i < n; i++)
        buffer[i] = byte_at(at + i);
    CHECK_IS(send_now(s, buffer, n), n);
}

static void one_at_a_time(void)
{
    connection c = growing();
    wsd_lease lease, second;
    CHECK_IS(wsd_lease_begin(c.b, 10, WSD_EXACT, &lease), -EAGAIN);
    put(c.a, 0, 100);
    CHECK_IS(wsd_lease_begin(c.b, 60, WSD_EXACT, &lease), 1);
    CHECK_IS(lease.length, 60);
    compare(0, lease.at, 60);
    CHECK_IS(wsd_lease_begin(c.b, 60, WSD_EXACT, &second), -WSD_ELEASED);
    CHECK_IS(recv_now(c.b, other, 10), -WSD_ELEASED);
    struct iovec iov = {other, 100};
    CHECK_IS(wsd_stream_recv(c.b, &iov, 1, WSD_PEEK), 100);
    CHECK_IS(polled(c.bell[1]), POLLIN | POLLOUT);
    wsd_lease_end(c.b, &lease, 50, WSD_EXACT);
    CHECK_IS(wsd_stream_available(c.b), 50);
    CHECK_IS(c.b->traffic->received, 50);
    CHECK_IS(wsd_lease_begin(c.b, SIZE_MAX, WSD_EXACT, &lease), 1);
    CHECK_IS(lease.length, 50);
    compare(50, lease.at, 50);
    wsd_lease_end(c.b, &lease, 0, WSD_EXACT);
    CHECK_IS(wsd_lease_begin(c.b, SIZE_MAX, WSD_EXACT, &lease), 1);
    wsd_lease_end(c.b, &lease, 50, WSD_EXACT);
    CHECK_IS(polled(c.bell[1]), POLLOUT);
    CHECK_IS(atomic_load(&c.b->in->leased), 0);

    CHECK_IS(wsd_lease_reserve(c.a, SMALL / 2 + 1, &lease), -WSD_ECOPY);
    CHECK_IS(wsd_lease_reserve(c.a, 100, &lease), 0);
    CHECK_IS(wsd_lease_reserve(c.a, 100, &second), -WSD_ELEASED);
    CHECK_IS(send_now(c.a, buffer, 1), -WSD_ELEASED);
    memcpy(lease.at, "in place", 8);
    CHECK_IS(wsd_stream_available(c.b), 0);
    CHECK_IS(wsd_lease_commit(c.a, &lease, 8, WSD_EXACT), 0);
    CHECK_IS(recv_now(c.b, other, 100), 8);
    CHECK(memcmp(other, "in place", 8) == 0);
    CHECK_IS(wsd_lease_reserve(c.a, 100, &lease), 0);
    wsd_lease_cancel(c.a, &lease);
    CHECK_IS(send_now(c.a, "x", 1), 1);
    CHECK_IS(recv_now(c.b, other, 100), 1);
    /* the peer ends in the meantime: nothing can be sent in place, and send says why */
    CHECK_IS(wsd_lease_reserve(c.a, 100, &lease), 0);
    wsd_stream_close(c.b, true);
    CHECK_IS(wsd_lease_commit(c.a, &lease, 100, 0), -WSD_ECOPY);
    CHECK_IS(wsd_lease_reserve(c.a, 100, &lease), -WSD_ECOPY);
    CHECK_IS(send_now(c.a, "x", 1), -ECONNRESET);
    CHECK_IS(wsd_lease_begin(c.b, 1, 0, &lease), -EBADF);
    drop(&c);
}

/* The words name processes: one that is dead, or is none, holds nothing; another that lives does. */
static void whose_it_is(void)
{
    connection c = growing();
    wsd_lease lease;
    put(c.a, 0, 10);
    uint32_t nobody[] = {0x80000000u, UINT32_MAX, 0x7ffffff0};
    for (int i = 0; i < 3; i++) {
        atomic_store(&c.b->in->leased, nobody[i]);
        CHECK_IS(recv_now(c.b, other, 1), 1);
        atomic_store(&c.a->out->reserved, nobody[i]);
        CHECK_IS(send_now(c.a, other, 1), 1);
    }
    atomic_store(&c.b->in->leased, (uint32_t)getppid());
    CHECK_IS(recv_now(c.b, other, 1), -WSD_ELEASED);
    CHECK_IS(wsd_lease_begin(c.b, 1, 0, &lease), -WSD_ELEASED);
    CHECK_IS(wsd_stream_go_bare(c.b), -EBUSY);
    atomic_store(&c.b->in->leased, 0);
    /* ours was taken for dead, and somebody has read on: nothing is read twice, or passed over */
    CHECK_IS(wsd_lease_begin(c.b, 3, 0, &lease), 1);
    atomic_store(&c.b->in->leased, 0);
    CHECK_IS(recv_now(c.b, other, 1), 1);
    wsd_lease_end(c.b, &lease, 3, 0);
    CHECK_IS(wsd_stream_available(c.b), 9);
    CHECK_IS(wsd_lease_reserve(c.a, 3, &lease), 0);
    atomic_store(&c.a->out->reserved, 0);
    CHECK_IS(send_now(c.a, other, 1), 1);
    CHECK_IS(wsd_lease_commit(c.a, &lease, 3, 0), -WSD_ECOPY);
    CHECK_IS(wsd_stream_available(c.b), 10);
    /* the same, and by the time of the end there is another lease of ours */
    wsd_lease second;
    CHECK_IS(wsd_lease_begin(c.b, 3, 0, &lease), 1);
    atomic_store(&c.b->in->leased, 0);
    CHECK_IS(recv_now(c.b, other, 1), 1);
    CHECK_IS(wsd_lease_begin(c.b, 2, 0, &second), 1);
    wsd_lease_end(c.b, &lease, 3, 0);
    CHECK_IS(wsd_stream_available(c.b), 9);
    CHECK_IS(recv_now(c.b, other, 1), -WSD_ELEASED);
    wsd_lease_end(c.b, &second, 2, 0);
    CHECK_IS(wsd_stream_available(c.b), 7);
    CHECK_IS(wsd_lease_reserve(c.a, 3, &lease), 0);
    atomic_store(&c.a->out->reserved, 0);
    CHECK_IS(send_now(c.a, other, 1), 1);
    CHECK_IS(wsd_lease_reserve(c.a, 2, &second), 0);
    CHECK_IS(wsd_lease_commit(c.a, &lease, 3, 0), -WSD_ECOPY);
    CHECK_IS(send_now(c.a, other, 1), -WSD_ELEASED);
    CHECK_IS(wsd_lease_commit(c.a, &second, 2, 0), 0);
    CHECK_IS(wsd_stream_available(c.b), 10);
    drop(&c);
}

/* After the connection has closed, and the slot has been left by all others. */
static void after_the_end(void)
{
    connection c = growing();
    wsd_lease lease;
    put(c.a, 0, SMALL - 10);
    CHECK_IS(recv_now(c.b, other, SMALL - 10), SMALL - 10);
    put(c.a, SMALL - 10, 100); /* wraps */
    CHECK_IS(wsd_lease_begin(c.b, 100, 0, &lease), 1);
    CHECK_IS(lease.length, 100);
    wsd_stream *holder = c.b;
    wsd_stream_hold(holder);
    wsd_stream_close(c.a, false);
    wsd_stream_close(c.b, false);
    wsd_segment *segment = c.segment;
    wsd_segment_hold(segment);
    drop(&c);
    CHECK_IS(wsd_segment_in_use(segment), 1);
    compare(SMALL - 10, lease.at, 100);
    wsd_lease_end(holder, &lease, 100, 0);
    wsd_stream_release(holder);
    CHECK_IS(wsd_segment_in_use(segment), 0);
    wsd_segment_release(segment);
}

/* Random steps of one thread: leases and regions among sends and receives, through both rings. */
static void like_a_queue(void)
{
    for (unsigned turn = 1; turn <= 8; turn++) {
        unsigned seed = turn;
        connection c = growing();
        uint64_t sent = 0, got = 0;
        wsd_lease in, out;
        bool reading = false, writing = false;
        for (int step = 0; step < 6000; step++) {
            size_t n = 1 + (size_t)rand_r(&seed) % (rand_r(&seed) % 4 ? 400 : SMALL);
            bool filling = (step / 400) % 2 == 0;
            int what = rand_r(&seed) % 12;
            if (what < (filling ? 7 : 4) && !writing && what % 2) {
                for (size_t i = 0; i < n; i++)
                    buffer[i] = byte_at(sent + i);
                int64_t r = send_now(c.a, buffer, n);
                CHECK(r > 0 || r == -EAGAIN);
                sent += r > 0 ? (uint64_t)r : 0;
            } else if (what < (filling ? 7 : 4) && !writing) {
                int r = wsd_lease_reserve(c.a, n, &out);
                CHECK(r == 0 || r == -EAGAIN || (r == -WSD_ECOPY && n > SMALL / 2));
                writing = r == 0;
                for (size_t i = 0; i < n && writing; i++)
                    out.at[i] = byte_at(sent + i);
            } else if (writing && what < 8) {
                size_t k = (size_t)rand_r(&seed) % (out.length + 1);
                if (what % 4 == 0)
                    wsd_lease_cancel(c.a, &out);
                else
                    CHECK_IS(wsd_lease_commit(c.a, &out, k, WSD_EXACT), 0);
                sent += what % 4 == 0 ? 0 : k;
                writing = false;
            } else if (reading) {
                compare(got, in.at, in.length);
                size_t k = (size_t)rand_r(&seed) % (in.length + 1);
                wsd_lease_end(c.b, &in, k, WSD_EXACT);
                got += k;
                reading = false;
            } else if (what % 2) {
                int64_t r = recv_now(c.b, other, n);
                CHECK_IS(r, sent == got ? -EAGAIN : (int64_t)(n < sent - got ? n : sent - got));
                if (r > 0)
                    compare(got, other, (size_t)r);
                got += r > 0 ? (uint64_t)r : 0;
            } else {
                int r = wsd_lease_begin(c.b, n, WSD_EXACT, &in);
                CHECK_IS(r, sent == got ? -EAGAIN : 1);
                reading = r == 1;
                if (reading) /* one piece, but for the place where the ring grew */
                    CHECK(in.length == (n < sent - got ? n : sent - got) || atomic_load(&c.a->out->grown));
            }
            CHECK_IS(wsd_stream_available(c.b), sent - got);
            CHECK_IS(!!(polled(c.bell[1]) & POLLIN), sent != got);
        }
        CHECK(atomic_load(&c.a->out->grown) != 0);
        if (reading)
            wsd_lease_end(c.b, &in, 0, WSD_EXACT);
        drop(&c);
    }
}

enum { TOTAL = 4 << 20 };

static void *fill_in_place(void *context)
{
    wsd_stream *s = context;
    unsigned seed = 11;
    for (uint64_t at = 0; at < TOTAL;) {
        size_t n = 1 + (size_t)rand_r(&seed) % (SMALL / 2);
        n = n > TOTAL - at ? TOTAL - at : n;
        wsd_lease out;
        int r;
        while ((r = wsd_lease_reserve(s, n, &out)) == -EAGAIN)
            if (!wsd_lease_spin_room(s, n, WSD_FOREVER))
                wsd_lease_sleep_room(s, n, WSD_FOREVER);
        CHECK_IS(r, 0);
        for (size_t i = 0; i < n; i++)
            out.at[i] = byte_at(at + i);
        CHECK_IS(wsd_lease_commit(s, &out, n, 0), 0);
        at += n;
    }
    CHECK_IS(wsd_stream_shutdown(s, SHUT_WR), 0);
    return NULL;
}

static void between_threads(void)
{
    connection c = growing();
    pthread_t thread;
    CHECK_IS(pthread_create(&thread, NULL, fill_in_place, c.a), 0);
    unsigned seed = 4;
    uint64_t at = 0;
    for (;;) {
        wsd_lease in;
        int r = wsd_lease_begin(c.b, 1 + (size_t)rand_r(&seed) % LARGE, 0, &in);
        if (r == -EAGAIN) {
            CHECK_IS(wait_readable(c.b, WSD_FOREVER), 1);
            continue;
        }
        CHECK(r >= 0);
        if (r == 0)
            break;
        compare(at, in.at, in.length);
        wsd_lease_end(c.b, &in, in.length, 0);
        at += in.length;
        if (rand_r(&seed) % 128 == 0)
            nap_ms(1);
    }
    CHECK_IS(at, TOTAL);
    pthread_join(thread, NULL);
    drop(&c);
}

static void at_the_mark(void)
{
    connection c = growing();
    put(c.a, 0, 10);
    struct iovec iov = {"!", 1};
    CHECK_IS(wsd_stream_send(c.a, &iov, 1, WSD_URGENT), 1);
    put(c.a, 11, 10);
    wsd_lease lease;
    CHECK_IS(wsd_lease_begin(c.b, 100, WSD_EXACT, &lease), 1);
    CHECK_IS(lease.length, 10);
    compare(0, lease.at, 10);
    CHECK_IS(wsd_stream_send(c.a, &iov, 1, WSD_URGENT), 1); /* the mark moves meanwhile */
    wsd_lease_end(c.b, &lease, 10, WSD_EXACT);
    uint8_t byte;
    CHECK_IS(wsd_stream_recv_urgent(c.b, &byte, false), 1);
    CHECK_IS(wsd_lease_begin(c.b, 100, WSD_EXACT, &lease), 1);
    CHECK_IS(lease.length, 11); /* the first one is ordinary by now */
    CHECK_IS(lease.at[0], '!');
    compare(11, lease.at + 1, 10);
    wsd_lease_end(c.b, &lease, 11, WSD_EXACT);
    CHECK(wsd_stream_at_mark(c.b));
    drop(&c);

    c = growing(); /* leased with the mark inline; then it is not, and the next urgent byte drops it */
    wsd_stream_set_inline(c.b, true);
    CHECK_IS(wsd_stream_send(c.a, &iov, 1, WSD_URGENT), 1);
    put(c.a, 1, 3);
    CHECK_IS(wsd_lease_begin(c.b, 3, WSD_EXACT, &lease), 1);
    CHECK_IS(lease.length, 3);
    wsd_stream_set_inline(c.b, false);
    CHECK_IS(wsd_stream_send(c.a, &iov, 1, WSD_URGENT), 1);
    struct iovec peeked = {other, 1};
    CHECK_IS(wsd_stream_recv(c.b, &peeked, 1, WSD_PEEK | WSD_EXACT), 1);
    compare(1, other, 1);
    wsd_lease_end(c.b, &lease, 3, WSD_EXACT);
    CHECK_IS(recv_now(c.b, other, 10), 1);
    compare(3, other, 1);
    drop(&c);
}

int main(void)
{
    watchdog(150);
    RUN(one_at_a_time);
    RUN(whose_it_is);
    RUN(after_the_end);
    RUN(like_a_queue);
    RUN(between_threads);
    RUN(at_the_mark);
    return 0;
}
