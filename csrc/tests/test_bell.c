/* The kernel socket tells the truth: step by step, where two threads would only do so by chance. */
#include "testing.h"

#include <sys/syscall.h>

static uint8_t buffer[2 * WSD_RING_MIN];

/* Every token passes here on its way to the kernel: what the words say at this moment. */
static connection *looked_at;
static int tokens_seen;

ssize_t send(int fd, const void *data, size_t n, int flags)
{
    if (looked_at && fd == looked_at->bell[0]) {
        wsd_direction *d = looked_at->a->out;
        CHECK_IS(atomic_load(&d->head) & ~WSD_HEAD, WSD_RINGING); /* for whoever repairs what we leave */
        CHECK(atomic_load(&d->rx) == WSD_RUNG || atomic_load(&d->tx) == 1); /* the word comes first */
        tokens_seen++;
    }
    return syscall(SYS_sendto, fd, data, n, flags, NULL, 0);
}

static void words_come_before_tokens(void)
{
    connection c = connection_with(WSD_RING_MIN);
    looked_at = &c;
    CHECK_IS(send_now(c.a, buffer, 1), 1);
    CHECK_IS(tokens_seen, 1);
    CHECK_IS(atomic_load(&c.a->out->head), 1); /* and the mark goes with the token */
    CHECK_IS(send_now(c.a, buffer, sizeof buffer), WSD_RING_MIN - 1);
    CHECK_IS(tokens_seen, 3);
    CHECK_IS(atomic_load(&c.a->out->head), WSD_RING_MIN);
    looked_at = NULL;
    drop(&c);
}

/* The consumer naps only while it waits for a producer that is about to ring. */
static connection *marked;

int nanosleep(const struct timespec *request, struct timespec *left)
{
    if (marked) {
        CHECK_IS(atomic_load(&marked->a->out->rx), WSD_RUNG); /* not armed before the token is sent */
        atomic_fetch_and(&marked->a->out->head, ~WSD_PENDING);
        marked = NULL;
    }
    return (int)syscall(SYS_nanosleep, request, left);
}

static void the_consumer_rests_after_the_token(void)
{
    connection c = connection_with(WSD_RING_MIN);
    CHECK_IS(send_now(c.a, buffer, 1), 1);
    atomic_fetch_or(&c.a->out->head, WSD_PENDING); /* as if it were not decided on yet */
    marked = &c;
    CHECK_IS(recv_now(c.b, buffer, 10), 1);
    CHECK(marked == NULL); /* it waited */
    CHECK_IS(polled(c.bell[1]), POLLOUT);

    /* It woke us, and we run in its stead: only it could clear this, and we need not wait for it. */
    CHECK_IS(send_now(c.a, buffer, 1), 1);
    atomic_fetch_or(&c.a->out->head, WSD_RINGING);
    marked = &c;
    CHECK_IS(recv_now(c.b, buffer, 10), 1);
    CHECK(marked == &c);
    marked = NULL;
    CHECK_IS(polled(c.bell[1]), POLLOUT);

    atomic_fetch_or(&c.a->out->head, WSD_PENDING); /* left by a dead producer: not for ever */
    CHECK_IS(recv_now(c.b, buffer, 10), -EAGAIN);
    drop(&c);
}

static void the_kernel_is_fit(void)
{
    CHECK(wsd_bell_is_true());
    /* what the protocol relies on, and wsd_bell_is_true does not look at */
    int pair[2], taken = 0;
    CHECK_IS(socketpair(AF_UNIX, SOCK_STREAM, 0, pair), 0);
    CHECK_IS(wsd_bell_prepare(pair[0]), 0);
    while (send(pair[0], "!", 1, MSG_DONTWAIT) == 1)
        taken++;
    CHECK_IS(taken, 6); /* one more than tests/bell/model.py finds to be needed at most */
    close(pair[0]);
    close(pair[1]);
    CHECK(wsd_bell_prepare(-1) == -EBADF);
}

static void data_and_room(void)
{
    connection c = connection_with(WSD_RING_MIN);
    CHECK_IS(polled(c.bell[0]), POLLOUT);
    CHECK_IS(polled(c.bell[1]), POLLOUT);
    CHECK_IS(send_now(c.a, buffer, 10), 10);
    CHECK_IS(send_now(c.a, buffer, 10), 10);
    CHECK_IS(polled(c.bell[1]), POLLOUT | POLLIN);
    CHECK_IS(recv_now(c.b, buffer, 15), 15);
    CHECK_IS(polled(c.bell[1]), POLLOUT | POLLIN);
    CHECK_IS(recv_now(c.b, buffer, 15), 5); /* no second read is needed to make it true */
    CHECK_IS(polled(c.bell[1]), POLLOUT);

    CHECK_IS(send_now(c.a, buffer, sizeof buffer), WSD_RING_MIN);
    CHECK_IS(send_now(c.a, buffer, 1), -EAGAIN);
    CHECK_IS(polled(c.bell[0]), 0);
    CHECK(!wsd_stream_writable(c.a));
    CHECK_IS(recv_now(c.b, buffer, WSD_RING_MIN / 2 - 1), WSD_RING_MIN / 2 - 1);
    CHECK_IS(polled(c.bell[0]), 0); /* less than half is free */
    CHECK_IS(recv_now(c.b, buffer, 1), 1);
    CHECK_IS(polled(c.bell[0]), POLLOUT);
    CHECK_IS(send_now(c.a, buffer, WSD_RING_MIN / 2), WSD_RING_MIN / 2); /* exactly full */
    CHECK_IS(polled(c.bell[0]), 0);
    CHECK_IS(recv_now(c.b, buffer, sizeof buffer), WSD_RING_MIN);
    CHECK_IS(polled(c.bell[0]), POLLOUT);
    CHECK_IS(polled(c.bell[1]), POLLOUT);
    drop(&c);
}

static void quiet_and_back(void)
{
    connection c = connection_with(WSD_RING_MIN);
    CHECK_IS(wsd_stream_spin_readable(c.b, 0), 0);
    CHECK_IS(atomic_load(&c.b->in->rx), WSD_QUIET);
    wsd_stream_arm(c.b, true, false); /* a signal handler raised */
    CHECK_IS(atomic_load(&c.b->in->rx), WSD_ARMED);

    CHECK_IS(wsd_stream_spin_readable(c.b, 0), 0);
    CHECK_IS(send_now(c.a, buffer, 10), 10);
    CHECK_IS(polled(c.bell[1]), POLLOUT); /* hybrid's hole, with nothing read yet ... */
    CHECK_IS(recv_now(c.b, buffer, 4), 4);
    CHECK(atomic_load(&wsd_unannounced_now) == 1);
    CHECK_IS(send_now(c.a, buffer, 10), 10); /* ... ends with the next bytes, once a poller was there */
    CHECK_IS(polled(c.bell[1]), POLLOUT | POLLIN);
    CHECK_IS(recv_now(c.b, buffer, 20), 16);
    CHECK(atomic_load(&wsd_unannounced_now) == 0);
    CHECK_IS(polled(c.bell[1]), POLLOUT);

    c.b->strict = true;
    CHECK_IS(wsd_stream_spin_readable(c.b, 0), 0);
    CHECK_IS(atomic_load(&c.b->in->rx), WSD_ARMED);
    c.b->strict = false;
    atomic_store(&c.b->in->sleepers, 1); /* another user sleeps on this end's bell */
    CHECK_IS(wsd_stream_spin_readable(c.b, 0), 0);
    CHECK_IS(atomic_load(&c.b->in->rx), WSD_ARMED);
    drop(&c);
}

static void a_token_for_nothing_is_removed(void)
{
    connection c = connection_with(WSD_RING_MIN);
    CHECK_IS(send(c.bell[0], "!!", 2, 0), 2); /* left by a producer that died at the wrong moment */
    CHECK_IS(recv_now(c.b, buffer, 1), -EAGAIN);
    CHECK_IS(recv_now(c.b, buffer, 1), -EAGAIN);
    CHECK_IS(polled(c.bell[1]), POLLOUT);
    CHECK_IS(send(c.bell[0], "!", 1, 0), 1);
    CHECK_IS(wsd_stream_sleep_readable(c.b, WSD_FOREVER), 0); /* woken for nothing, not for long */
    CHECK_IS(polled(c.bell[1]), POLLOUT);
    drop(&c);
}

static void debts_are_paid(void)
{
    connection c = connection_with(WSD_RING_MIN);
    CHECK_IS(send_now(c.a, buffer, 1), 1);
    char token;
    CHECK_IS(recv(c.bell[1], &token, 1, 0), 1); /* as if it were still under way */
    CHECK_IS(recv_now(c.b, buffer, 1), 1);
    CHECK_IS(atomic_load(&c.b->in->debt), 1);
    CHECK_IS(send(c.bell[0], &token, 1, 0), 1);
    CHECK_IS(send_now(c.a, buffer, 2), 2);
    CHECK_IS(recv_now(c.b, buffer, 1), 1); /* paid at the next call, data or not */
    CHECK_IS(atomic_load(&c.b->in->debt), 0);
    CHECK_IS(polled(c.bell[1]), POLLOUT | POLLIN);
    CHECK_IS(recv_now(c.b, buffer, 1), 1);
    CHECK_IS(polled(c.bell[1]), POLLOUT);
    drop(&c);
}

/* The consumer cleared tx on what it saw before the producer filled the ring again. */
static void a_ring_that_fills_while_tx_is_cleared(void)
{
    connection c = connection_with(WSD_RING_MIN);
    CHECK_IS(send_now(c.a, buffer, sizeof buffer), WSD_RING_MIN);
    uint64_t tail = atomic_load(&c.b->in->tail);
    wsd_bell_consumed(c.b, tail); /* still full: nothing may change */
    CHECK_IS(atomic_load(&c.b->in->tx), 1);
    CHECK_IS(polled(c.bell[0]), 0);
    drop(&c);
}

static void half_close_is_not_death(void)
{
    connection c = connection_with(WSD_RING_MIN);
    CHECK_IS(send_now(c.a, "bye", 3), 3);
    CHECK_IS(wsd_stream_shutdown(c.a, SHUT_WR), 0);
    CHECK_IS(send_now(c.a, "more", 4), -EPIPE);
    CHECK(polled(c.bell[1]) & POLLIN);
    CHECK_IS(recv_now(c.b, buffer, 100), 3);
    wsd_bell_check(c.b); /* what a reader does that looked at fin just before it was set */
    CHECK(!atomic_load(&c.b->peer_gone));
    CHECK_IS(recv_now(c.b, buffer, 100), 0);
    CHECK_IS(send_now(c.b, "answer", 6), 6); /* the other direction goes on */
    CHECK_IS(recv_now(c.a, buffer, 100), 6);
    CHECK_IS(wait_readable(c.b, WSD_FOREVER), 1);
    CHECK_IS(recv_now(c.b, buffer, 100), 0);
    CHECK_IS(wsd_stream_shutdown(c.b, SHUT_WR), 0);
    CHECK_IS(recv_now(c.a, buffer, 100), 0);
    CHECK(!atomic_load(&c.a->peer_gone) && !atomic_load(&c.b->peer_gone));
    drop(&c);
}

static void reading_no_more_is_not_death_either(void)
{
    connection c = connection_with(WSD_RING_MIN);
    CHECK_IS(wsd_stream_shutdown(c.b, SHUT_RD), 0);
    CHECK(polled(c.bell[1]) & POLLIN);
    CHECK_IS(recv_now(c.b, buffer, 100), 0);
    for (int i = 0; i < 5; i++)
        CHECK_IS(send_now(c.a, buffer, WSD_RING_MIN), WSD_RING_MIN); /* what does not fit goes nowhere */
    CHECK_IS(wait_writable(c.a, WSD_FOREVER), 1);
    CHECK(!atomic_load(&c.a->peer_gone) && !atomic_load(&c.b->peer_gone));
    CHECK_IS(send_now(c.b, "still here", 10), 10);
    CHECK_IS(recv_now(c.a, buffer, 100), 10);
    CHECK_IS(recv_now(c.a, buffer, 100), -EAGAIN);
    drop(&c);
}

static void close_with_everything_read(void)
{
    connection c = connection_with(WSD_RING_MIN);
    CHECK_IS(send_now(c.a, "x", 1), 1);
    CHECK_IS(recv_now(c.b, buffer, 1), 1);
    CHECK_IS(send_now(c.b, "last words", 10), 10);
    wsd_stream_close(c.b, false);
    CHECK_IS(recv_now(c.b, buffer, 1), -EBADF);
    CHECK_IS(send_now(c.b, buffer, 1), -EBADF);
    close(c.bell[1]);
    c.bell[1] = -1;
    CHECK(polled(c.bell[0]) & POLLIN);
    CHECK(!(polled(c.bell[0]) & POLLERR));
    CHECK_IS(recv_now(c.a, buffer, 100), 10);
    CHECK_IS(recv_now(c.a, buffer, 100), 0);
    CHECK_IS(send_now(c.a, "x", 1), 1); /* as TCP: this one provokes the reset */
    CHECK_IS(send_now(c.a, "x", 1), -EPIPE);
    drop(&c);
}

static void close_with_data_unread(void)
{
    connection c = connection_with(WSD_RING_MIN);
    CHECK_IS(send_now(c.a, "unread", 6), 6);
    wsd_stream_close(c.b, false);
    close(c.bell[1]);
    c.bell[1] = -1;
    CHECK(polled(c.bell[0]) & POLLERR);
    CHECK_IS(recv_now(c.a, buffer, 100), -ECONNRESET);
    CHECK_IS(recv_now(c.a, buffer, 100), 0);
    CHECK_IS(send_now(c.a, "x", 1), -EPIPE);
    drop(&c);
}

/* A peer that was killed sets no flag: the socket's end is all there is. */
static void death(void)
{
    connection c = connection_with(WSD_RING_MIN);
    CHECK_IS(send_now(c.b, "testament", 9), 9);
    close(c.bell[1]);
    c.bell[1] = -1;
    CHECK_IS(wait_readable(c.a, WSD_FOREVER), 1);
    CHECK_IS(recv_now(c.a, buffer, 100), 9);
    CHECK_IS(recv_now(c.a, buffer, 100), 0);
    drop(&c);

    c = connection_with(WSD_RING_MIN); /* with bytes of ours unread */
    CHECK_IS(send_now(c.a, "unread", 6), 6);
    close(c.bell[1]);
    c.bell[1] = -1;
    CHECK_IS(recv_now(c.a, buffer, 100), -ECONNRESET);
    CHECK_IS(recv_now(c.a, buffer, 100), 0);
    drop(&c);

    c = connection_with(WSD_RING_MIN); /* found out by a writer that never reads */
    CHECK_IS(send_now(c.a, buffer, sizeof buffer), WSD_RING_MIN);
    close(c.bell[1]);
    c.bell[1] = -1;
    CHECK(polled(c.bell[0]) & POLLHUP);
    CHECK_IS(send_now(c.a, buffer, 1), -ECONNRESET);
    CHECK_IS(send_now(c.a, buffer, 1), -EPIPE);
    drop(&c);

    c = connection_with(WSD_RING_MIN); /* after a half close, by a writer in the middle of the answer */
    CHECK_IS(wsd_stream_shutdown(c.b, SHUT_WR), 0);
    CHECK_IS(send_now(c.a, buffer, sizeof buffer), WSD_RING_MIN);
    close(c.bell[1]);
    c.bell[1] = -1;
    CHECK(send_now(c.a, buffer, 1) != -EAGAIN);
    CHECK_IS(send_now(c.a, buffer, 1), -EPIPE);
    drop(&c);
}

static void time_outs(void)
{
    connection c = connection_with(WSD_RING_MIN);
    uint64_t soon = wsd_now() + 20 * WSD_MS;
    CHECK_IS(wait_readable(c.a, soon), -ETIMEDOUT);
    CHECK(wsd_now() >= soon);
    CHECK_IS(wait_readable(c.a, 0), -ETIMEDOUT);
    CHECK_IS(send_now(c.a, buffer, sizeof buffer), WSD_RING_MIN);
    CHECK_IS(wait_writable(c.a, wsd_now() + 20 * WSD_MS), -ETIMEDOUT);
    CHECK_IS(recv_now(c.b, buffer, sizeof buffer), WSD_RING_MIN);
    CHECK_IS(wait_writable(c.a, WSD_FOREVER), 1);
    CHECK_IS(polled(c.bell[0]), POLLOUT);
    CHECK_IS(polled(c.bell[1]), POLLOUT);
    drop(&c);
}

int main(void)
{
    watchdog(50);
    RUN(the_kernel_is_fit);
    RUN(words_come_before_tokens);
    RUN(the_consumer_rests_after_the_token);
    RUN(data_and_room);
    RUN(quiet_and_back);
    RUN(a_token_for_nothing_is_removed);
    RUN(debts_are_paid);
    RUN(a_ring_that_fills_while_tx_is_cleared);
    RUN(half_close_is_not_death);
    RUN(reading_no_more_is_not_death_either);
    RUN(close_with_everything_read);
    RUN(close_with_data_unread);
    RUN(death);
    RUN(time_outs);
    return 0;
}
