/* Bare ends: bytes on their way when one end is handed to a process that has only the descriptor. */
#include "testing.h"

#include "wsd_bare.h"

static uint8_t buffer[4 * WSD_RING_MIN], other[sizeof buffer];

/* As if the kernel did not let this end have the peer's socket: the peer must do it all itself. */
static void hide(wsd_stream *s)
{
    atomic_store(&s->slot->place[0].pid, 0);
    atomic_store(&s->slot->place[1].pid, 0);
}

static void fill(uint8_t *data, size_t n, unsigned seed)
{
    for (size_t i = 0; i < n; i++)
        data[i] = (uint8_t)(rand_r(&seed) >> 8);
}

/* The receiver: exactly n bytes from the descriptor alone. */
static void gather(int fd, uint8_t *data, size_t n)
{
    for (size_t got = 0; got < n;) {
        ssize_t piece = recv(fd, data + got, n - got, 0);
        CHECK(piece > 0);
        got += (size_t)piece;
    }
}

static void take(wsd_stream *s, uint8_t *data, size_t n)
{
    for (size_t got = 0; got < n;) {
        int64_t piece = recv_blocking(s, data + got, n - got);
        CHECK(piece > 0);
        got += (size_t)piece;
    }
}

/* With the reader's lock held by another, nothing can be moved out of the ring: it is read there. */
static int go_bare_past_a_busy_reader(wsd_stream *s)
{
    atomic_store(&s->out->consumer_lock.word, wsd_tid());
    int rc = wsd_stream_go_bare(s);
    wsd_lock_drop(&s->out->consumer_lock);
    return rc;
}

static void the_ring_first_then_the_socket(void)
{
    for (int tokens = 0; tokens < 3; tokens++) { /* none, one, or three are in the socket */
        connection c = connection_with(WSD_RING_MIN);
        hide(c.a);
        size_t n = tokens == 0 ? 0 : tokens == 1 ? 100 : WSD_RING_MIN;
        fill(buffer, sizeof buffer, 1);
        CHECK_IS(n ? send_now(c.a, buffer, n) : 0, n);
        if (tokens == 2)
            CHECK_IS(send_now(c.a, buffer, 1), -EAGAIN);
        CHECK_IS(go_bare_past_a_busy_reader(c.a), 0);
        CHECK_IS(send(c.bell[0], buffer + n, 50, 0), 50);
        CHECK_IS(wsd_stream_available(c.b), n ? n : 50);
        take(c.b, other, n + 50);
        CHECK(memcmp(buffer, other, n + 50) == 0);
        CHECK_IS(recv_now(c.b, other, 1), -EAGAIN);
        CHECK_IS(polled(c.bell[1]), POLLOUT);
        CHECK_IS(polled(c.bell[0]), POLLOUT);
        drop(&c);
    }
}

/* Bytes that look like tokens and markers are bytes. */
static void all_bytes_pass(void)
{
    connection c = connection_with(WSD_RING_MIN);
    hide(c.a);
    CHECK_IS(send_now(c.a, "!=!", 3), 3);
    CHECK_IS(send_now(c.b, "=!=", 3), 3);
    CHECK_IS(go_bare_past_a_busy_reader(c.a), 0);
    CHECK_IS(send(c.bell[0], "=!==", 4, 0), 4);
    take(c.b, other, 7);
    CHECK(memcmp(other, "!=!=!==", 7) == 0);
    CHECK_IS(send_now(c.b, "==!", 3), 3);
    gather(c.bell[0], other, 6);
    CHECK(memcmp(other, "=!===!", 6) == 0);
    drop(&c);
}

enum step { RECV, SEND, READABLE, WRITABLE, ARM, SPIN, SLEEP, SHUTDOWN, CLOSE, AVAILABLE, STEPS };

/* Whatever the peer calls next, what it had sent before arrives. */
static void the_peer_follows_with_any_call(void)
{
    for (int step = 0; step < STEPS; step++) {
        connection c = connection_with(WSD_RING_MIN);
        hide(c.a);
        size_t n = 3000;
        fill(buffer, n, 2);
        CHECK_IS(send_now(c.b, buffer, n), n);
        CHECK_IS(wsd_stream_go_bare(c.a), 0);
        CHECK_IS(polled(c.bell[0]), POLLOUT);
        CHECK(wsd_bare_left(c.b));
        CHECK_IS(wsd_stream_go_bare(c.a), 0);
        switch (step) {
        case RECV: CHECK_IS(recv_now(c.b, other, 1), -EAGAIN); break;
        case SEND: CHECK_IS(send_now(c.b, buffer, 1), 1); break;
        case READABLE: CHECK(!wsd_stream_readable(c.b)); break;
        case WRITABLE: CHECK(wsd_stream_writable(c.b)); break;
        case ARM: wsd_stream_arm(c.b, true, true); break;
        case SPIN: CHECK_IS(wsd_stream_spin_readable(c.b, WSD_FOREVER), 0); break;
        case SLEEP: CHECK_IS(wsd_stream_sleep_readable(c.b, wsd_now()), 1); break; /* by the marker */
        case SHUTDOWN: CHECK_IS(wsd_stream_shutdown(c.b, SHUT_WR), 0); break;
        case CLOSE: wsd_stream_close(c.b, false); break;
        case AVAILABLE: CHECK_IS(wsd_stream_available(c.b), 0); break;
        }
        gather(c.bell[0], other, n);
        CHECK(memcmp(buffer, other, n) == 0);
        CHECK(!wsd_bare_left(c.b));
        drop(&c);
    }
}

/* The bare end's own stream leaves the ring alone: only the peer can put its bytes in their place. */
static void bytes_come_once(void)
{
    connection c = connection_with(WSD_RING_MIN);
    hide(c.a);
    CHECK_IS(send_now(c.b, "123", 3), 3);
    CHECK_IS(wsd_stream_go_bare(c.a), 0);
    CHECK_IS(recv_now(c.a, other, 10), -EAGAIN);
    CHECK(!wsd_stream_readable(c.a));
    CHECK_IS(send_now(c.b, "45", 2), 2);
    take(c.a, other, 5);
    CHECK(memcmp(other, "12345", 5) == 0);
    CHECK_IS(recv_now(c.a, other, 10), -EAGAIN);
    drop(&c);
}

/* Tokens that are owed but never come: nothing else is eaten in their place. */
static void fewer_tokens_than_promised(void)
{
    connection c = connection_with(WSD_RING_MIN);
    CHECK_IS(send_now(c.a, "ring", 4), 4);
    CHECK_IS(go_bare_past_a_busy_reader(c.a), 0);
    CHECK_IS(send(c.bell[0], "socket", 6, 0), 6);
    atomic_store(&c.b->in->debt, 5);
    take(c.b, other, 4);
    atomic_store(&c.b->in->debt, 5);
    atomic_store(&c.b->in->tx, 1);
    take(c.b, other + 4, 6);
    CHECK(memcmp(other, "ringsocket", 10) == 0);
    CHECK_IS(send_now(c.b, "back", 4), 4); /* and the bare end, after its own */
    atomic_store(&c.a->in->debt, 5);
    CHECK_IS(recv_now(c.a, other, 10), 4);
    drop(&c);
}

static void both_ends_with_bytes_in_the_way(void)
{
    connection c = connection_with(WSD_RING_MIN);
    hide(c.a);
    CHECK_IS(send_now(c.a, "unread", 6), 6);
    CHECK_IS(go_bare_past_a_busy_reader(c.a), 0);
    CHECK_IS(wsd_stream_go_bare(c.b), -EBUSY); /* no call of ours can put them before the socket's */
    CHECK_IS(recv_now(c.b, other, 10), 6);
    CHECK_IS(wsd_stream_go_bare(c.b), 0);
    CHECK_IS(recv(c.bell[1], other, 10, MSG_DONTWAIT), -1);
    drop(&c);
}

static void more_than_a_ring_in_the_ring(void)
{
    connection c = connection_with(WSD_RING_MIN);
    hide(c.a);
    CHECK_IS(send_now(c.b, "x", 1), 1);
    CHECK_IS(wsd_stream_go_bare(c.a), 0);
    atomic_store(&c.b->out->head, 1 << 20);
    wsd_stream_arm(c.b, true, true);
    CHECK_IS(recv(c.bell[0], other, 10, MSG_DONTWAIT), -1);
    drop(&c);
}

static void *wait_for_answer(void *context)
{
    uint8_t answer[6];
    take(context, answer, sizeof answer);
    return NULL;
}

static void what_does_not_fit_follows_later(void)
{
    connection c = connection_with(1 << 20);
    hide(c.a);
    static uint8_t much[1 << 20], got[1 << 20];
    fill(much, sizeof much, 3);
    CHECK_IS(send_now(c.b, much, sizeof much), sizeof much);
    CHECK_IS(wsd_stream_shutdown(c.b, SHUT_WR), 0);
    CHECK_IS(wsd_stream_go_bare(c.a), 0);
    atomic_store(&c.b->widened, true); /* a system that allows no larger buffers */
    CHECK_IS(recv_now(c.b, other, 1), -EAGAIN);
    CHECK(wsd_bare_left(c.b));
    pthread_t thread; /* it waits for an answer, and the rest goes out meanwhile */
    CHECK_IS(pthread_create(&thread, NULL, wait_for_answer, c.b), 0);
    gather(c.bell[0], got, sizeof got);
    CHECK(memcmp(much, got, sizeof got) == 0);
    CHECK_IS(recv(c.bell[0], got, 1, 0), 0);
    CHECK_IS(send_blocking(c.a, "answer", 6), 0);
    pthread_join(thread, NULL);
    drop(&c);
}

static void a_half_close_with_a_full_ring(void)
{
    for (int hidden = 0; hidden < 2; hidden++) {
        connection c = connection_with(WSD_RING_MIN);
        if (hidden)
            hide(c.a);
        CHECK_IS(send_now(c.b, buffer, WSD_RING_MIN), WSD_RING_MIN);
        CHECK_IS(wsd_stream_shutdown(c.b, SHUT_WR), 0);
        CHECK_IS(wsd_stream_go_bare(c.a), 0);
        if (hidden)
            CHECK_IS(recv_now(c.b, other, 1), -EAGAIN);
        gather(c.bell[0], other, WSD_RING_MIN);
        CHECK_IS(recv(c.bell[0], other, 1, 0), 0);
        CHECK_IS(send(c.bell[0], "yes", 3, 0), 3);
        take(c.b, other, 3);
        drop(&c);
    }
}

/* ---- both sides of the late half close -------------------------------------------------------- */

typedef struct {
    wsd_stream *s;
    uint64_t bytes;
} reader;

static void *read_and_poll(void *context)
{
    reader *r = context;
    uint8_t data[64];
    for (;;) {
        struct pollfd p = {atomic_load(&r->s->fd), POLLIN, 0};
        CHECK_IS(poll(&p, 1, 20000), 1); /* nothing but the kernel says that the end has come */
        int64_t n = recv_now(r->s, data, sizeof data);
        if (n == 0)
            return NULL;
        CHECK(n > 0 || n == -EAGAIN);
        r->bytes += n > 0 ? (uint64_t)n : 0;
    }
}

static void a_half_close_races_with_the_reader(void)
{
    for (int round = 0; round < 500; round++) {
        connection c = connection_with(WSD_RING_MIN);
        reader r = {.s = c.a};
        pthread_t thread;
        CHECK_IS(pthread_create(&thread, NULL, read_and_poll, &r), 0);
        CHECK_IS(send_now(c.b, buffer, 1 + (size_t)round), 1 + round);
        for (volatile int i = 0; i < round * 7; i++)
            ;
        CHECK_IS(wsd_stream_shutdown(c.b, SHUT_WR), 0);
        pthread_join(thread, NULL);
        CHECK_IS(r.bytes, 1 + round);
        drop(&c);
    }
}

/* ---- while the peer is at work ---------------------------------------------------------------- */

typedef struct {
    wsd_stream *s;
    size_t total;
    unsigned seed;
    bool poll; /* wait with poll() alone, as a program of another language would */
} party;

static void pause_for(party *p, short events)
{
    struct pollfd one = {atomic_load(&p->s->fd), events, 0};
    if (p->poll)
        CHECK_IS(poll(&one, 1, 20000), 1);
    else if (events == POLLIN)
        CHECK(wait_readable(p->s, WSD_FOREVER) == 1);
    else
        CHECK(wait_writable(p->s, WSD_FOREVER) == 1);
}

static void *send_pattern(void *context)
{
    party *p = context;
    uint8_t data[3000];
    unsigned seed = p->seed;
    for (size_t at = 0; at < p->total;) {
        size_t n = 1 + (size_t)rand_r(&seed) % sizeof data;
        n = n < p->total - at ? n : p->total - at;
        for (size_t i = 0; i < n; i++)
            data[i] = (uint8_t)((at + i) * 7 >> 3);
        for (size_t done = 0; done < n;) {
            struct iovec iov = {data + done, n - done};
            int64_t sent = wsd_stream_send(p->s, &iov, 1, p->poll ? WSD_EXACT : 0);
            CHECK(sent > 0 || sent == -EAGAIN);
            if (sent > 0)
                done += (size_t)sent;
            else
                pause_for(p, POLLOUT);
        }
        at += n;
    }
    return NULL;
}

static void *receive_pattern(void *context)
{
    party *p = context;
    uint8_t data[3000];
    unsigned seed = p->seed + 1;
    for (size_t at = 0; at < p->total;) {
        struct iovec iov = {data, 1 + (size_t)rand_r(&seed) % sizeof data};
        int64_t n = wsd_stream_recv(p->s, &iov, 1, p->poll ? WSD_EXACT : 0);
        CHECK(n > 0 || n == -EAGAIN);
        for (int64_t i = 0; i < n; i++)
            CHECK_IS(data[i], (uint8_t)((at + (size_t)i) * 7 >> 3));
        if (n > 0)
            at += (size_t)n;
        else
            pause_for(p, POLLIN);
    }
    return NULL;
}

static void going_bare_under_load(void)
{
    for (int round = 0; round < 40; round++) {
        connection c = connection_with(WSD_RING_MIN);
        size_t total = 400000;
        if (round % 4 == 3)
            hide(c.a);
        party parties[4] = {{c.a, total, 1, round & 1}, {c.a, total, 2, round & 1},
                            {c.b, total, 3, round & 2}, {c.b, total, 4, round & 2}};
        pthread_t threads[4];
        for (int i = 0; i < 4; i++)
            CHECK_IS(pthread_create(&threads[i], NULL, i % 2 ? receive_pattern : send_pattern, &parties[i]), 0);
        for (volatile int i = 0; i < round * 20000; i++)
            ;
        int rc = wsd_stream_go_bare(c.a); /* its own threads go on, too */
        CHECK_IS(rc, 0);
        if (round % 8 >= 6) { /* the other end as well, unless bytes stand in the way */
            while ((rc = wsd_stream_go_bare(c.b)) == -EBUSY)
                nap_ms(1);
            CHECK_IS(rc, 0);
        }
        for (int i = 0; i < 4; i++)
            pthread_join(threads[i], NULL);
        drop(&c);
    }
}

/* ---- another program -------------------------------------------------------------------------- */

static void a_program_that_knows_nothing(void)
{
    for (int hidden = 0; hidden < 2; hidden++) {
        connection c = connection_with(WSD_RING_MIN);
        if (hidden)
            hide(c.a);
        fill(buffer, sizeof buffer, 4);
        size_t n = 2000;
        CHECK_IS(send_now(c.b, buffer, n), n);
        CHECK_IS(wsd_stream_go_bare(c.a), 0);
        pid_t child = fork();
        if (child == 0) {
            dup2(c.bell[0], 0);
            dup2(c.bell[0], 1);
            execl("/bin/cat", "cat", NULL);
            _exit(127);
        }
        wsd_stream_close(c.a, false);
        close(c.bell[0]);
        c.bell[0] = -1;
        take(c.b, other, n);
        CHECK(memcmp(buffer, other, n) == 0);
        CHECK_IS(send_blocking(c.b, buffer, n), 0);
        CHECK_IS(wsd_stream_shutdown(c.b, SHUT_WR), 0);
        take(c.b, other, n);
        CHECK_IS(recv_blocking(c.b, other, 1), 0);
        int status;
        CHECK_IS(waitpid(child, &status, 0), child);
        CHECK_IS(status, 0);
        drop(&c);
    }
}

/* A forked process holds the end, too, and finds from the segment what its parent has done. */
static void other_holders_of_either_end(void)
{
    connection c = connection_with(WSD_RING_MIN);
    int tell[2];
    CHECK_IS(pipe(tell), 0);
    for (int i = 0; i < 2; i++) {
        wsd_stream *s = i ? c.b : c.a;
        wsd_stream_forked(s);
        pid_t child = fork();
        if (child == 0) {
            wsd_tid_reset();
            char go;
            CHECK_IS(read(tell[0], &go, 1), 1);
            CHECK_IS(send_blocking(s, i ? "from b" : "from a", 6), 0);
            wsd_stream_close(s, false);
            _exit(0);
        }
    }
    CHECK_IS(wsd_stream_go_bare(c.a), 0);
    CHECK_IS(write(tell[1], "..", 2), 2);
    take(c.b, other, 6);
    CHECK(memcmp(other, "from a", 6) == 0);
    gather(c.bell[0], other, 6);
    CHECK(memcmp(other, "from b", 6) == 0);
    for (int i = 0; i < 2; i++) {
        int status;
        CHECK(wait(&status) > 0);
        CHECK_IS(status, 0);
    }
    CHECK_IS(send_now(c.b, "on", 2), 2);
    gather(c.bell[0], other, 2);
    close(tell[0]);
    close(tell[1]);
    drop(&c);
}

/* ---- peers that are stopped, dead or hostile ---------------------------------------------------- */

static void a_peer_that_keeps_its_lock(void)
{
    connection c = connection_with(WSD_RING_MIN);
    CHECK_IS(send_now(c.b, "x", 1), 1);
    pid_t child = fork(); /* alive, and does nothing */
    if (child == 0)
        for (;;)
            pause();
    atomic_store(&c.b->out->producer_lock.word, (uint32_t)child);
    CHECK_IS(wsd_stream_go_bare(c.a), -EBUSY);
    CHECK(!wsd_bare_own(c.a));
    kill(child, SIGKILL); /* in the middle of a call: its lock is taken over */
    waitpid(child, NULL, 0);
    CHECK_IS(wsd_stream_go_bare(c.a), 0);
    CHECK_IS(recv(c.bell[0], other, 10, MSG_DONTWAIT), 1);
    drop(&c);
}

static void a_peer_that_is_gone(void)
{
    connection c = connection_with(WSD_RING_MIN);
    CHECK_IS(send_now(c.b, "left", 4), 4);
    close(c.bell[1]);
    c.bell[1] = -1;
    CHECK_IS(wsd_stream_go_bare(c.a), 1);
    CHECK_IS(recv_now(c.a, other, 10), 4);
    drop(&c);
}

static void tokens_without_end(void)
{
    connection c = connection_with(WSD_RING_MIN);
    int big = 1 << 20;
    CHECK_IS(setsockopt(c.bell[1], SOL_SOCKET, SO_SNDBUF, &big, sizeof big), 0);
    CHECK_IS(send(c.bell[1], buffer, sizeof buffer, 0), sizeof buffer);
    CHECK_IS(wsd_stream_go_bare(c.a), -ECONNABORTED);
    CHECK_IS(recv_now(c.a, other, 1), -ECONNABORTED);
    drop(&c);
}

static void hostile_words(void)
{
    static const uint32_t narrow[] = {0, 1, 2, 3, 4, 5, UINT32_MAX};
    static const uint64_t wide[] = {0, 1, WSD_RING_MIN, WSD_RING_MIN + 1, UINT64_MAX, WSD_PENDING, 1ull << 62};
    for (int word = 0; word < 12; word++) {
        for (size_t v = 0; v < 7; v++) {
            for (int when = 0; when < 3; when++) {
                connection c = connection_with(WSD_RING_MIN);
                send_now(c.b, "data", 4);
                send_now(c.a, "data", 4);
                if (when == 2)
                    hide(c.a);
                if (when > 0)
                    wsd_stream_go_bare(c.a);
                wsd_direction *d = word % 2 ? c.a->in : c.a->out;
                switch (word / 2) {
                case 0: atomic_store(&d->bare, narrow[v]); break;
                case 1: atomic_store(&d->rx, narrow[v]); break;
                case 2: atomic_store(&d->tx, narrow[v]); break;
                case 3: atomic_store(&d->head, wide[v]); break;
                case 4: atomic_store(&d->tail, wide[v]); break;
                case 5:
                    atomic_store(&c.a->slot->place[1].fd, (int)narrow[v]);
                    atomic_store(&d->fin, narrow[v] | WSD_LATE);
                    break;
                }
                wsd_stream *s = c.a;
                for (int end = 0; end < 2; end++, s = c.b) {
                    wsd_stream_arm(s, true, true);
                    for (int i = 0; i < 3; i++) {
                        int64_t n = recv_now(s, other, sizeof other);
                        CHECK(n <= (int64_t)sizeof other);
                        send_now(s, buffer, 100);
                    }
                    (void)wsd_stream_readable(s);
                    (void)wsd_stream_writable(s);
                    (void)wsd_stream_ending(s);
                    (void)wsd_stream_unread(s);
                    (void)wsd_stream_sleep_readable(s, wsd_now());
                    (void)wsd_stream_sleep_writable(s, wsd_now());
                    (void)wsd_stream_go_bare(s);
                    wsd_stream_shutdown(s, SHUT_WR);
                }
                wsd_stream_close(c.b, false);
                wsd_stream_close(c.a, false);
                drop(&c);
            }
        }
    }
}

/* It has not looked at its socket, where the marker stands, and closes: that is no reset. */
static void a_sender_that_never_reads(void)
{
    connection c = connection_with(WSD_RING_MIN);
    fill(buffer, 100, 6);
    CHECK_IS(send_now(c.a, buffer, 100), 100);
    CHECK_IS(wsd_stream_go_bare(c.b), 0);
    CHECK_IS(send_now(c.a, buffer, 100), 100);
    wsd_stream_close(c.a, false);
    close(c.bell[0]);
    gather(c.bell[1], other, 200);
    CHECK(memcmp(other, buffer, 100) == 0 && memcmp(other + 100, buffer, 100) == 0);
    CHECK_IS(recv(c.bell[1], other, 1, 0), 0);
    c.bell[0] = dup(c.bell[1]);
    drop(&c);
}

int main(void)
{
    watchdog(150);
    RUN(the_ring_first_then_the_socket);
    RUN(all_bytes_pass);
    RUN(the_peer_follows_with_any_call);
    RUN(bytes_come_once);
    RUN(fewer_tokens_than_promised);
    RUN(both_ends_with_bytes_in_the_way);
    RUN(more_than_a_ring_in_the_ring);
    RUN(what_does_not_fit_follows_later);
    RUN(a_half_close_with_a_full_ring);
    RUN(a_half_close_races_with_the_reader);
    RUN(going_bare_under_load);
    RUN(a_program_that_knows_nothing);
    RUN(other_holders_of_either_end);
    RUN(a_peer_that_keeps_its_lock);
    RUN(a_peer_that_is_gone);
    RUN(tokens_without_end);
    RUN(hostile_words);
    RUN(a_sender_that_never_reads);
    return 0;
}
