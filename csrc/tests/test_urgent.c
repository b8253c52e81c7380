/* Urgent data: the mark, the token that tells of it, and that no ordinary byte is ever lost by it. */
#include "testing.h"

#include "wsd_urgent.h"

static int64_t send_urgent(wsd_stream *s, const void *data, size_t n)
{
    struct iovec iov = {(void *)data, n};
    return wsd_stream_send(s, &iov, 1, WSD_EXACT | WSD_URGENT);
}

static short polled_for_all(int fd)
{
    struct pollfd p = {fd, POLLIN | POLLOUT | POLLPRI, 0};
    CHECK(poll(&p, 1, 0) >= 0);
    return p.revents;
}

static int read_urgent(wsd_stream *s)
{
    uint8_t byte;
    int rc = wsd_stream_recv_urgent(s, &byte, false);
    return rc == 1 ? byte : rc;
}

static uint8_t buffer[2 * WSD_RING_MIN];

static void the_kernel_is_told(void)
{
    connection c = connection_with(WSD_RING_MIN);
    /* alone: one token, urgent; the sender may go on writing */
    CHECK_IS(send_urgent(c.a, "!", 1), 1);
    CHECK_IS(polled_for_all(c.bell[1]), POLLIN | POLLOUT | POLLPRI);
    CHECK_IS(polled_for_all(c.bell[0]), POLLOUT);
    CHECK(wsd_stream_urgent_pending(c.b)); /* looking is enough: now the bell is quiet */
    CHECK_IS(polled_for_all(c.bell[1]), POLLOUT);
    CHECK(!wsd_stream_readable(c.b));
    CHECK_IS(send_now(c.a, "x", 1), 1);
    CHECK(wsd_stream_readable(c.b));
    CHECK_IS(polled_for_all(c.bell[1]), POLLIN | POLLOUT);
    CHECK_IS(read_urgent(c.b), '!');
    CHECK_IS(recv_now(c.b, buffer, 10), 1);
    CHECK_IS(buffer[0], 'x');
    CHECK_IS(polled_for_all(c.bell[1]), POLLOUT);

    /* behind unread data, where no ordinary token is due */
    CHECK_IS(send_now(c.a, "abc", 3), 3);
    CHECK_IS(send_urgent(c.a, "!", 1), 1);
    CHECK_IS(polled_for_all(c.bell[1]), POLLIN | POLLOUT | POLLPRI);
    CHECK_IS(polled_for_all(c.bell[0]), 0); /* two tokens: one too many to write by ... */
    CHECK_IS(recv_now(c.b, buffer, 1), 1);
    CHECK_IS(polled_for_all(c.bell[0]), POLLOUT); /* ... until the next call */
    /* tokens are eaten from the front, and the one that is left is the urgent one */
    CHECK_IS(polled_for_all(c.bell[1]), POLLIN | POLLOUT | POLLPRI);
    wsd_stream_hush_urgent(c.b);
    CHECK_IS(polled_for_all(c.bell[1]), POLLIN | POLLOUT | POLLPRI); /* rightly: it is unread */
    CHECK_IS(read_urgent(c.b), '!');
    wsd_stream_hush_urgent(c.b);
    CHECK_IS(polled_for_all(c.bell[1]), POLLOUT);
    CHECK(atomic_load(&c.b->unannounced));
    CHECK_IS(recv_now(c.b, buffer, 10), 2);
    CHECK_IS(polled_for_all(c.bell[1]), POLLOUT); /* the mark alone is not readable */
    CHECK(wsd_stream_at_mark(c.b));
    CHECK_IS(recv_now(c.b, buffer, 10), -EAGAIN);
    CHECK(!wsd_stream_at_mark(c.b));
    CHECK_IS(read_urgent(c.b), -EINVAL);
    CHECK_IS(wsd_stream_queued(c.a), 0);
    drop(&c);
}

static void a_full_ring(void)
{
    connection c = connection_with(WSD_RING_MIN);
    CHECK_IS(send_urgent(c.a, buffer, sizeof buffer), WSD_RING_MIN); /* the last that fits is marked */
    CHECK_IS(send_urgent(c.a, "!", 1), -EAGAIN);
    CHECK_IS(polled_for_all(c.bell[0]), 0);
    CHECK_IS(recv_now(c.b, buffer, sizeof buffer), WSD_RING_MIN - 1);
    CHECK(wsd_stream_at_mark(c.b));
    CHECK_IS(polled_for_all(c.bell[0]), POLLOUT);
    CHECK_IS(polled_for_all(c.bell[1]), POLLOUT);
    CHECK_IS(send_urgent(c.a, "!", 1), 1);
    CHECK(wsd_stream_urgent_pending(c.b));

    /* the reader stands at every mark when the next one comes: the bytes must not fill the ring */
    for (int i = 0; i < 3 * (int)WSD_RING_MIN; i++) {
        uint8_t byte = (uint8_t)i;
        CHECK_IS(send_urgent(c.a, &byte, 1), 1);
        if (i % 1000 == 0)
            CHECK_IS(read_urgent(c.b), byte);
        CHECK(!wsd_stream_readable(c.b));
    }
    CHECK_IS(recv_now(c.b, buffer, 10), -EAGAIN);
    CHECK_IS(wsd_stream_queued(c.a), 0);
    drop(&c);
}

/* Ordinary bytes count from 0 to 250 and start again; urgent ones are 255, some of which come as
 * ordinary ones, as later ones take the mark. */
#define ORDINARY 400000u
#define URGENT 255u

typedef struct {
    wsd_stream *s;
    bool alone; /* no urgent byte before the last one was passed: then none becomes an ordinary one */
} sender;

static void *produce(void *given)
{
    sender *job = given;
    wsd_stream *s = job->s;
    uint8_t data[97];
    uint32_t seed = 7, sent = 0, n = 0;
    while (sent < ORDINARY) {
        seed = seed * 1664525 + 1013904223;
        size_t size = (seed >> 16) % sizeof data, flags = (seed >> 24) % 3 ? 0 : WSD_URGENT;
        if (size > ORDINARY - sent)
            size = ORDINARY - sent;
        for (size_t i = 0; i < size; i++)
            data[i] = (uint8_t)((sent + i) % 251);
        sent += (uint32_t)size;
        if (flags)
            data[size++] = URGENT;
        struct iovec iov = {data, size};
        while (iov.iov_len > 0) {
            /* a short urgent send marks a byte of its middle, which the reader would miss */
            bool whole = wsd_stream_queued(s) + iov.iov_len <= s->size;
            if (job->alone && flags)
                whole = wsd_stream_queued(s) <= 1; /* the last one itself, when the reader is there */
            int how = (n++ % 2 ? WSD_EXACT : 0) | (int)flags;
            int64_t done = flags && !whole ? -EAGAIN : wsd_stream_send(s, &iov, 1, how);
            if (done == -EAGAIN) {
                sched_yield();
                continue;
            }
            CHECK(done > 0);
            iov.iov_base = (uint8_t *)iov.iov_base + done;
            iov.iov_len -= (size_t)done;
        }
    }
    CHECK_IS(wsd_stream_shutdown(s, SHUT_WR), 0);
    return NULL;
}

static _Atomic bool over;

static void *watch(void *given)
{
    wsd_stream *s = given;
    int got = 0;
    while (!atomic_load(&over)) {
        if (!wsd_stream_urgent_pending(s)) {
            sched_yield();
            continue;
        }
        int byte = read_urgent(s);
        CHECK(byte == (int)URGENT || byte == -EINVAL || byte == -EAGAIN);
        got += byte == (int)URGENT;
        (void)wsd_stream_at_mark(s);
        (void)wsd_stream_unread(s);
        (void)wsd_stream_available(s);
    }
    fprintf(stderr, "  urgent bytes read apart: %d\n", got);
    return NULL;
}

static void nothing_else_is_lost(bool blocking, bool alone)
{
    connection c = connection_with(WSD_RING_MIN);
    pthread_t producer, watcher;
    sender job = {c.a, alone};
    atomic_store(&over, false);
    CHECK_IS(pthread_create(&producer, NULL, produce, &job), 0);
    CHECK_IS(pthread_create(&watcher, NULL, watch, c.b), 0);
    uint32_t received = 0;
    for (;;) {
        uint8_t data[300];
        int64_t n;
        if (blocking) {
            n = recv_blocking(c.b, data, sizeof data);
        } else {
            n = recv_now(c.b, data, sizeof data);
            if (n == -EAGAIN) { /* nothing hooked: what the kernel says is all there is */
                struct pollfd p = {c.bell[1], POLLIN | POLLRDHUP, 0};
                CHECK(poll(&p, 1, -1) >= 0);
                continue;
            }
        }
        CHECK(n >= 0);
        if (n == 0)
            break;
        for (int64_t i = 0; i < n; i++)
            if (alone || data[i] != URGENT)
                CHECK_IS(data[i], received++ % 251);
    }
    CHECK_IS(received, ORDINARY);
    atomic_store(&over, true);
    pthread_join(producer, NULL);
    pthread_join(watcher, NULL);
    CHECK_IS(wsd_stream_queued(c.a), 0);
    CHECK_IS(atomic_load(&c.b->in->debt), 0);
    drop(&c);
}

static void nothing_is_lost_non_blocking(void)
{
    nothing_else_is_lost(false, false);
}

static void nothing_is_lost_blocking(void)
{
    nothing_else_is_lost(true, false);
}

static void urgent_bytes_stay_apart(void)
{
    nothing_else_is_lost(true, true);
}

/* A producer that dies between any two of its steps: the next one of its side puts it right. */
static void a_producer_dies(void)
{
    connection c = connection_with(WSD_RING_MIN);
    pid_t pid = fork();
    CHECK(pid >= 0);
    if (pid == 0) {
        wsd_tid_reset();
        wsd_stream_lock_out(c.a);
        atomic_store(&c.a->out->urgent_token, 1); /* and no token is sent */
        atomic_fetch_or(&c.a->out->head, WSD_PENDING);
        _exit(0);
    }
    CHECK_IS(waitpid(pid, NULL, 0), pid);
    CHECK_IS(send_urgent(c.a, "!", 1), 1);
    CHECK(polled_for_all(c.bell[1]) & POLLIN);
    CHECK(wsd_stream_urgent_pending(c.b));
    CHECK_IS(recv_now(c.b, buffer, 10), -EAGAIN);
    for (int i = 0; i < 4; i++) /* what was sent to be on the safe side goes */
        recv_now(c.b, buffer, 10);
    CHECK_IS(polled_for_all(c.bell[1]), POLLOUT);
    CHECK_IS(send_now(c.a, "x", 1), 1);
    CHECK_IS(polled_for_all(c.bell[1]), POLLIN | POLLOUT);
    CHECK_IS(recv_now(c.b, buffer, 10), 1);
    CHECK_IS(polled_for_all(c.bell[1]), POLLOUT);
    drop(&c);
}

/* Whatever stands in the words: no crash, no hang, and never more than the ring holds. */
static void nonsense_in_the_words(void)
{
    static const uint64_t values[] = {0,      1,           2,          5,          WSD_RING_MIN,
                                      4097,   WSD_PENDING, 1ull << 40, UINT64_MAX, UINT64_MAX - 1,
                                      1 << 20};
    const int n = sizeof values / sizeof *values;
    for (int i = 0; i < n * n * n; i++) {
        connection c = connection_with(WSD_RING_MIN);
        wsd_direction *d = c.b->in;
        CHECK_IS(send_now(c.a, "abcdefgh", 8), 8);
        atomic_store(&d->urgent, values[i % n]);
        atomic_store(&d->dropped_from, values[i / n % n]);
        atomic_store(&d->dropped_to, values[i / n / n]);
        if (i % 7 == 0)
            atomic_store(&d->head, values[i % n]);
        if (i % 11 == 0) /* each costs the reader some milliseconds */
            atomic_store(&d->urgent_token, (uint32_t)values[i / n % n]);
        for (int round = 0; round < 3; round++) {
            CHECK(wsd_stream_available(c.b) <= WSD_RING_MIN);
            CHECK(wsd_stream_unread(c.b) <= WSD_RING_MIN);
            (void)wsd_stream_urgent_pending(c.b);
            (void)wsd_stream_at_mark(c.b);
            (void)wsd_stream_readable(c.b);
            (void)read_urgent(c.b);
            CHECK(recv_now(c.b, buffer, 3) <= 3);
            (void)send_urgent(c.a, "!", 1);
            wsd_stream_arm(c.b, true, true);
        }
        drop(&c);
    }
}

int main(void)
{
    watchdog(170);
    RUN(the_kernel_is_told);
    RUN(a_full_ring);
    RUN(nothing_is_lost_non_blocking);
    RUN(nothing_is_lost_blocking);
    RUN(urgent_bytes_stay_apart);
    RUN(a_producer_dies);
    RUN(nonsense_in_the_words);
    return 0;
}
