/* What the tests of the core share: checks, connected ends, threads with a watchdog. */
#ifndef WSD_TESTING_H
#define WSD_TESTING_H

#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "wsd_bell.h"
#include "wsd_counters.h"
#include "wsd_message.h"
#include "wsd_ring.h"
#include "wsd_stream.h"

#define CHECK(condition)                                                                        \
    do {                                                                                        \
        if (!(condition)) {                                                                     \
            fprintf(stderr, "%s:%d: %s: not true: %s\n", __FILE__, __LINE__, __func__, #condition); \
            abort();                                                                            \
        }                                                                                       \
    } while (0)

#define CHECK_IS(got, wanted)                                                                   \
    do {                                                                                        \
        long long got_ = (long long)(got), wanted_ = (long long)(wanted);                       \
        if (got_ != wanted_) {                                                                  \
            fprintf(stderr, "%s:%d: %s: %s is %lld, not %lld\n", __FILE__, __LINE__, __func__, #got, \
                    got_, wanted_);                                                             \
            abort();                                                                            \
        }                                                                                       \
    } while (0)

#define RUN(test)                          \
    do {                                   \
        fprintf(stderr, "%s\n", #test);    \
        test();                            \
    } while (0)

/* A test that hangs ends with this, and says by its last line where. */
static inline void watchdog(unsigned seconds)
{
    alarm(seconds);
}

typedef struct {
    wsd_segment *segment, *adopted;
    wsd_stream *a, *b; /* a offered, b attached */
    int bell[2];
} connection;

static inline connection connect_in(wsd_segment *segment)
{
    connection c = {.segment = segment};
    const char *why;
    CHECK_IS(wsd_segment_adopt(segment->fd, &c.adopted, &why), 0);
    CHECK_IS(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, c.bell), 0);
    CHECK_IS(wsd_bell_prepare(c.bell[0]), 0);
    CHECK_IS(wsd_bell_prepare(c.bell[1]), 0);
    int slot = wsd_segment_take(segment);
    CHECK(slot >= 0);
    CHECK_IS(wsd_stream_offer(segment, (uint32_t)slot, c.bell[0], WSD_FOREVER, &c.a), 0);
    uint32_t generation = wsd_slot_generation(wsd_segment_slot(segment, (uint32_t)slot));
    CHECK_IS(wsd_stream_attach(c.adopted, (uint32_t)slot, generation, c.bell[1], &c.b), 0);
    return c;
}

/* Two ends as two processes would have them: each with a mapping of its own. */
static inline connection connection_with(uint64_t ring)
{
    wsd_segment *segment;
    CHECK_IS(wsd_segment_create(2, ring, &segment), 0);
    return connect_in(segment);
}

static inline void drop(connection *c)
{
    wsd_stream_release(c->a);
    wsd_stream_release(c->b);
    close(c->bell[0]);
    close(c->bell[1]);
    wsd_segment_release(c->adopted);
    wsd_segment_release(c->segment);
}

static inline int64_t send_now(wsd_stream *s, const void *data, size_t n)
{
    struct iovec iov = {(void *)data, n};
    return wsd_stream_send(s, &iov, 1, WSD_EXACT);
}

static inline int64_t recv_now(wsd_stream *s, void *data, size_t n)
{
    struct iovec iov = {data, n};
    return wsd_stream_recv(s, &iov, 1, WSD_EXACT);
}

/* The waits as a blocking call makes them; 1 or a negative code. */
static inline int wait_readable(wsd_stream *s, uint64_t deadline)
{
    for (;;) {
        int r = wsd_stream_spin_readable(s, deadline);
        if (r == 0)
            r = wsd_stream_sleep_readable(s, deadline);
        if (r != 0 && r != -EINTR)
            return r;
    }
}

static inline int wait_writable(wsd_stream *s, uint64_t deadline)
{
    for (;;) {
        int r = wsd_stream_spin_writable(s, deadline);
        if (r == 0)
            r = wsd_stream_sleep_writable(s, deadline);
        if (r != 0 && r != -EINTR)
            return r;
    }
}

/* recv of a blocking socket: at least a byte, 0 at the end, or -errno. */
static inline int64_t recv_blocking(wsd_stream *s, void *data, size_t n)
{
    struct iovec iov = {data, n};
    for (;;) {
        int64_t got = wsd_stream_recv(s, &iov, 1, 0);
        if (got != -EAGAIN)
            return got;
        int r = wait_readable(s, WSD_FOREVER);
        if (r < 0)
            return r;
    }
}

/* sendall of a blocking socket: 0 or -errno. */
static inline int64_t send_blocking(wsd_stream *s, const void *data, size_t n)
{
    const uint8_t *at = data;
    while (n > 0) {
        struct iovec iov = {(void *)at, n};
        int64_t sent = wsd_stream_send(s, &iov, 1, 0);
        if (sent > 0) {
            at += sent;
            n -= (size_t)sent;
        } else if (sent == -EAGAIN) {
            int r = wait_writable(s, WSD_FOREVER);
            if (r < 0)
                return r;
        } else {
            return sent;
        }
    }
    return 0;
}

static inline short polled(int fd)
{
    struct pollfd p = {fd, POLLIN | POLLOUT | POLLRDHUP, 0};
    CHECK(poll(&p, 1, 0) >= 0);
    return p.revents;
}

static inline void nap_ms(long ms)
{
    struct timespec t = {ms / 1000, (ms % 1000) * 1000000};
    nanosleep(&t, NULL);
}

#endif
