/* One end in several processes: holders, what the others see when one of them ends, and what they
 * put right when one of them was killed between two steps of the bell. */
#include "testing.h"

static uint8_t buffer[2 * WSD_RING_MIN];

static pid_t fork_sharing(wsd_stream *s)
{
    wsd_stream_forked(s); /* before the fork: the parent may close before the child has started */
    pid_t child = fork();
    CHECK(child >= 0);
    if (child == 0)
        wsd_tid_reset();
    return child;
}

static void finished_well(pid_t child)
{
    int status;
    CHECK_IS(waitpid(child, &status, 0), child);
    CHECK_IS(status, 0);
}

static void the_end_lives_as_long_as_somebody_holds_it(void)
{
    connection c = connection_with(WSD_RING_MIN);
    pid_t child = fork_sharing(c.b);
    if (child == 0) { /* the worker of a server that forks: answers when the parent has closed */
        close(c.bell[0]);
        char byte;
        CHECK_IS(recv_blocking(c.b, &byte, 1), 1);
        CHECK_IS(send_blocking(c.b, "answer", 6), 0);
        wsd_stream_close(c.b, false);
        wsd_stream_release(c.b);
        _exit(0);
    }
    wsd_stream_close(c.b, false);
    wsd_stream_release(c.b);
    close(c.bell[1]);
    c.bell[1] = -1;
    CHECK_IS(recv_now(c.a, buffer, 10), -EAGAIN); /* not the end: the child goes on */
    CHECK_IS(polled(c.bell[0]), POLLOUT);
    CHECK_IS(send_now(c.a, "?", 1), 1);
    size_t got = 0;
    while (got < 6)
        got += (size_t)recv_blocking(c.a, buffer + got, 10);
    CHECK(memcmp(buffer, "answer", 6) == 0);
    CHECK_IS(recv_blocking(c.a, buffer, 10), 0);
    finished_well(child);
    CHECK_IS(wsd_segment_in_use(c.segment), 1);
    wsd_stream_close(c.a, false);
    c.b = c.a;
    wsd_stream_hold(c.a);
    wsd_segment *segment = c.segment;
    wsd_segment_hold(segment);
    drop(&c);
    CHECK_IS(wsd_segment_in_use(segment), 0);
    wsd_segment_release(segment);
}

enum { PIECES = 4000, PIECE = 50, USERS = 2 };

/* Parent and children send through one end and read from the other, all of them at once. */
static void several_processes_at_both_ends(void)
{
    connection c = connection_with(WSD_RING_MIN);
    uint64_t *sums = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    CHECK(sums != MAP_FAILED);
    pid_t senders[USERS], readers[USERS];
    for (int i = 0; i < USERS; i++) {
        senders[i] = fork_sharing(c.a);
        if (senders[i] == 0) {
            for (int k = 0; k < PIECES; k++) {
                memset(buffer, i + 1, PIECE);
                CHECK_IS(send_blocking(c.a, buffer, PIECE), 0);
            }
            _exit(0);
        }
        readers[i] = fork_sharing(c.b);
        if (readers[i] == 0) {
            int64_t n;
            while ((n = recv_blocking(c.b, buffer, 170)) > 0)
                for (int64_t k = 0; k < n; k++)
                    sums[i] += buffer[k];
            CHECK_IS(n, 0);
            _exit(0);
        }
    }
    for (int i = 0; i < USERS; i++)
        finished_well(senders[i]);
    CHECK_IS(wsd_stream_shutdown(c.a, SHUT_WR), 0);
    for (int i = 0; i < USERS; i++)
        finished_well(readers[i]);
    CHECK_IS(sums[0] + sums[1], (uint64_t)PIECES * PIECE * (1 + 2));
    drop(&c);
}

static void kill_in_the_middle(void)
{
    enum { ROUNDS = 30 };
    connection c = connection_with(WSD_RING_MIN);
    unsigned seed = 5;
    for (int round = 0; round < ROUNDS; round++) {
        wsd_stream *s = round % 2 ? c.a : c.b;
        pid_t child = fork_sharing(s);
        if (child == 0) {
            for (;;) {
                if (s == c.a)
                    send_now(s, buffer, 1 + (size_t)rand_r(&seed) % sizeof buffer);
                else
                    recv_now(s, buffer, 1 + (size_t)rand_r(&seed) % sizeof buffer);
            }
        }
        for (int i = 0; i < 300; i++) {
            send_now(c.a, buffer, 100);
            recv_now(c.b, buffer, 100);
        }
        kill(child, SIGKILL);
        waitpid(child, NULL, 0);
        wsd_slot_leave(s->slot, s->side);
        /* whatever it left: after a few calls of ours the descriptors tell the truth again */
        for (int i = 0; i < 2; i++) {
            send_now(c.a, buffer, 1);
            while (recv_now(c.b, buffer, sizeof buffer) > 0 || polled(c.bell[1]) & POLLIN)
                ;
        }
        CHECK_IS(polled(c.bell[0]), POLLOUT);
        CHECK_IS(polled(c.bell[1]), POLLOUT);
        CHECK_IS(atomic_load(&c.b->in->debt), 0);
        CHECK_IS(send_now(c.a, buffer, 1), 1);
        CHECK(polled(c.bell[1]) & POLLIN);
        CHECK_IS(recv_now(c.b, buffer, 10), 1);
        CHECK_IS(polled(c.bell[1]), POLLOUT);
    }
    drop(&c);
}

/* ---- one step further or not: the state that a killed holder leaves, made by hand -------------- */

static uint32_t a_dead_thread(void)
{
    pid_t child = fork();
    if (child == 0)
        _exit(0);
    waitpid(child, NULL, 0);
    return (uint32_t)child;
}

static void died_after_publishing(void)
{
    connection c = connection_with(WSD_RING_MIN);
    memcpy(c.a->out_data, "data", 4);
    atomic_store(&c.a->out->head, 4);
    atomic_store(&c.a->out->producer_lock.word, a_dead_thread());
    CHECK_IS(polled(c.bell[1]), POLLOUT);
    CHECK_IS(wsd_stream_lock_out(c.a), 0); /* any call of another holder */
    wsd_lock_drop(&c.a->out->producer_lock);
    CHECK_IS(polled(c.bell[1]), POLLOUT | POLLIN);
    CHECK_IS(recv_now(c.b, buffer, 10), 4);
    CHECK_IS(polled(c.bell[1]), POLLOUT);
    drop(&c);
}

static void died_before_its_tokens_were_sent(void)
{
    connection c = connection_with(WSD_RING_MIN);
    for (int token = 0; token < 2; token++) { /* undecided; one of the two is sent */
        CHECK_IS(send_now(c.a, buffer, WSD_RING_MIN - 1), WSD_RING_MIN - 1);
        uint64_t head = atomic_load(&c.a->out->head);
        atomic_store(&c.a->out->head, (head + 1) | (token ? WSD_RINGING : WSD_PENDING));
        atomic_store(&c.a->out->tx, 1);
        for (int i = 0; i < token; i++)
            CHECK_IS(send(c.bell[0], "!", 1, 0), 1);
        atomic_store(&c.a->out->producer_lock.word, a_dead_thread());
        CHECK_IS(send_now(c.a, buffer, 1), -EAGAIN);
        CHECK_IS(polled(c.bell[0]), 0);
        while (recv_now(c.b, buffer, sizeof buffer) > 0 || polled(c.bell[1]) & POLLIN)
            ;
        CHECK_IS(polled(c.bell[0]), POLLOUT);
        CHECK_IS(polled(c.bell[1]), POLLOUT);
    }
    drop(&c);
}

static void died_before_it_told_of_room(void)
{
    connection c = connection_with(WSD_RING_MIN);
    CHECK_IS(send_now(c.a, buffer, sizeof buffer), WSD_RING_MIN);
    CHECK_IS(polled(c.bell[0]), 0);
    atomic_store(&c.b->in->tail, WSD_RING_MIN);
    atomic_store(&c.b->in->consumer_lock.word, a_dead_thread());
    CHECK_IS(recv_now(c.b, buffer, 10), -EAGAIN);
    CHECK_IS(polled(c.bell[0]), POLLOUT);
    CHECK_IS(polled(c.bell[1]), POLLOUT);
    drop(&c);
}

int main(void)
{
    watchdog(100);
    RUN(the_end_lives_as_long_as_somebody_holds_it);
    RUN(several_processes_at_both_ends);
    RUN(died_after_publishing);
    RUN(died_before_its_tokens_were_sent);
    RUN(died_before_it_told_of_room);
    RUN(kill_in_the_middle);
    return 0;
}
