/* Several threads on one end: blocking waits, both directions, close while others wait. */
#include "testing.h"

enum { PIECE = 64, PER_PRODUCER = 3000 };

typedef struct {
    connection *c;
    wsd_stream *s;
    uint8_t mark;
    uint64_t sum, bytes;
    atomic_uint *left; /* producers that have not finished */
} worker;

/* Sends pieces whose bytes are all its mark: single pieces stay whole, as one send is one step
 * for the other users of the end while it fits. */
static void *produce(void *context)
{
    worker *w = context;
    uint8_t piece[PIECE];
    memset(piece, w->mark, sizeof piece);
    for (int i = 0; i < PER_PRODUCER; i++) {
        CHECK_IS(send_blocking(w->s, piece, sizeof piece), 0);
        w->sum += (uint64_t)PIECE * w->mark;
        w->bytes += PIECE;
    }
    if (atomic_fetch_sub(w->left, 1) == 1)
        CHECK_IS(wsd_stream_shutdown(w->s, SHUT_WR), 0);
    return NULL;
}

static void *consume(void *context)
{
    worker *w = context;
    uint8_t data[100];
    for (;;) {
        int64_t n = recv_blocking(w->s, data, 1 + w->bytes % sizeof data);
        CHECK(n >= 0);
        if (n == 0)
            return NULL;
        for (int64_t i = 0; i < n; i++)
            w->sum += data[i];
        w->bytes += (uint64_t)n;
    }
}

/* Two producers and two consumers in each direction, all of them blocking. */
static void two_threads_per_direction(void)
{
    connection c = connection_with(WSD_RING_MIN);
    atomic_uint left[2] = {2, 2};
    worker workers[8];
    pthread_t threads[8];
    for (int i = 0; i < 8; i++) {
        wsd_stream *s = (i & 1) ? c.b : c.a;
        workers[i] = (worker){.c = &c, .s = s, .mark = (uint8_t)(i + 1), .left = &left[i & 1]};
    }
    for (int i = 0; i < 8; i++)
        CHECK_IS(pthread_create(&threads[i], NULL, i < 4 ? produce : consume, &workers[i]), 0);
    for (int i = 0; i < 8; i++)
        pthread_join(threads[i], NULL);
    for (int side = 0; side < 2; side++) {
        uint64_t sent = workers[side].sum + workers[side + 2].sum;
        uint64_t got = workers[5 - side].sum + workers[7 - side].sum;
        CHECK_IS(got, sent);
        CHECK_IS(workers[5 - side].bytes + workers[7 - side].bytes, 2 * PER_PRODUCER * PIECE);
    }
    CHECK_IS(atomic_load(&c.a->in->sleepers), 0);
    CHECK_IS(atomic_load(&c.b->in->sleepers), 0);
    drop(&c);
}

typedef struct {
    wsd_stream *s;
    int64_t outcome;
} waiter;

static void *blocked_reader(void *context)
{
    waiter *w = context;
    char byte;
    w->outcome = recv_blocking(w->s, &byte, 1);
    return NULL;
}

static void *blocked_writer(void *context)
{
    waiter *w = context;
    static const uint8_t data[2 * WSD_RING_MIN];
    w->outcome = send_blocking(w->s, data, sizeof data);
    return NULL;
}

static void ended_by(void (*end)(connection *), int64_t reader, int64_t writer, long after_ms)
{
    connection c = connection_with(WSD_RING_MIN);
    waiter readers[2] = {{.s = c.a}, {.s = c.a}}, a_writer = {.s = c.a};
    pthread_t threads[3];
    for (int i = 0; i < 3; i++)
        wsd_stream_hold(c.a); /* each thread's own, as it may be in a call when the end is closed */
    for (int i = 0; i < 2; i++)
        CHECK_IS(pthread_create(&threads[i], NULL, blocked_reader, &readers[i]), 0);
    CHECK_IS(pthread_create(&threads[2], NULL, blocked_writer, &a_writer), 0);
    nap_ms(after_ms); /* asleep, most of them; spinning, those of a shorter wait */
    end(&c);
    for (int i = 0; i < 3; i++) {
        pthread_join(threads[i], NULL);
        wsd_stream_release(c.a);
    }
    for (int i = 0; i < 2; i++)
        CHECK(readers[i].outcome == reader || (reader == -ECONNRESET && readers[i].outcome == 0));
    CHECK(a_writer.outcome == writer || (writer == -ECONNRESET && a_writer.outcome == -EPIPE));
    drop(&c);
}

static void own_close(connection *c)
{
    wsd_stream_close(c->a, false);
}

static void peer_close(connection *c)
{
    wsd_stream_close(c->b, false); /* with the writer's bytes unread */
    close(c->bell[1]);
    c->bell[1] = -1;
}

static void peer_death(connection *c)
{
    close(c->bell[1]);
    c->bell[1] = -1;
}

static void close_while_others_wait(void)
{
    for (int round = 0; round < 10; round++) {
        long ms = round % 3 * 5;
        ended_by(own_close, -EBADF, -EBADF, ms + 5);
        ended_by(peer_close, -ECONNRESET, -ECONNRESET, ms + 5);
        ended_by(peer_death, -ECONNRESET, -ECONNRESET, ms + 5);
    }
}

/* A ping-pong in which each side sleeps, spins and reads in pieces: no wake is lost. */
static void *answer(void *context)
{
    wsd_stream *s = context;
    uint8_t data[300];
    for (;;) {
        int64_t n = recv_blocking(s, data, sizeof data);
        CHECK(n >= 0);
        if (n == 0)
            return NULL;
        CHECK_IS(send_blocking(s, data, (size_t)n), 0);
    }
}

static void ping_pong(void)
{
    connection c = connection_with(WSD_RING_MIN);
    pthread_t thread;
    CHECK_IS(pthread_create(&thread, NULL, answer, c.b), 0);
    uint8_t out[200], in[200];
    for (int round = 0; round < 3000; round++) {
        size_t size = 1 + (size_t)round % sizeof out, got = 0;
        memset(out, round, size);
        CHECK_IS(send_blocking(c.a, out, size), 0);
        while (got < size) {
            size_t piece = size - got > 7 && round % 2 ? 7 : size - got;
            int64_t n = recv_blocking(c.a, in + got, piece);
            CHECK(n > 0);
            got += (size_t)n;
        }
        CHECK(memcmp(out, in, size) == 0);
        if (round % 500 == 0)
            nap_ms(2); /* let the other side fall asleep */
    }
    CHECK_IS(wsd_stream_shutdown(c.a, SHUT_WR), 0);
    pthread_join(thread, NULL);
    drop(&c);
}

int main(void)
{
    watchdog(150);
    RUN(ping_pong);
    RUN(two_threads_per_direction);
    RUN(close_while_others_wait);
    atomic_store(&wsd_spin_limit_ns, 0); /* the same with waits that only sleep */
    RUN(ping_pong);
    RUN(two_threads_per_direction);
    return 0;
}
