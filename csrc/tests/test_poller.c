/* A poller that looks at rings: what it need not ask the kernel for, and what it must not miss. */
#include "testing.h"

#include <sys/epoll.h>

#include "wsd_poller.h"

#define FAR 0xFFFFu /* a CPU that nobody runs on */

static uint8_t buffer[2 * WSD_RING_MIN];

static uint64_t rings(void)
{
    return atomic_load(&atomic_load(&wsd_counters_now)->rings);
}

typedef struct {
    connection c;
    wsd_poller poller; /* of b's side */
    int epoll, pipe[2];
} scene;

static scene set(void)
{
    scene s = {.c = connection_with(WSD_RING_MIN), .epoll = epoll_create1(0)};
    wsd_poller_init(&s.poller);
    CHECK_IS(pipe(s.pipe), 0);
    struct epoll_event wish = {EPOLLIN, {.fd = s.c.bell[1]}};
    CHECK_IS(epoll_ctl(s.epoll, EPOLL_CTL_ADD, s.c.bell[1], &wish), 0);
    wish.data.fd = s.pipe[0];
    CHECK_IS(epoll_ctl(s.epoll, EPOLL_CTL_ADD, s.pipe[0], &wish), 0);
    wsd_stream_watch(s.c.b, true);
    wsd_poller_heat(&s.poller, s.c.b, s.c.bell[1], EPOLLIN);
    return s;
}

static void strike(scene *s)
{
    wsd_poller_cool_all(&s->poller);
    CHECK_IS(s->poller.count, 0);
    close(s->epoll);
    close(s->pipe[0]);
    close(s->pipe[1]);
    drop(&s->c);
}

static int spin(scene *s, struct epoll_event *events)
{
    atomic_store(&s->c.b->in->producer_cpu, FAR);
    return wsd_poller_spin(&s->poller, s->epoll, events, 4, WSD_FOREVER);
}

static void hot_rings_are_silent_and_are_looked_at(void)
{
    scene s = set();
    CHECK(!wsd_poller_look(&s.poller));
    wsd_poller_enter(&s.poller);
    uint64_t before = rings();
    CHECK_IS(send_now(s.c.a, buffer, 5), 5);
    CHECK_IS(rings(), before);
    CHECK_IS(polled(s.c.bell[1]), POLLOUT); /* the kernel knows nothing */
    CHECK(wsd_poller_look(&s.poller));
    struct epoll_event events[4];
    CHECK_IS(spin(&s, events), 0);
    wsd_poller_leave(&s.poller);
    CHECK(!wsd_poller_rest(&s.poller)); /* nobody may sleep now */

    CHECK_IS(recv_now(s.c.b, buffer, 5), 5);
    CHECK(!wsd_poller_look(&s.poller));
    CHECK(wsd_poller_rest(&s.poller));
    CHECK_IS(s.poller.count, 0);
    CHECK_IS(send_now(s.c.a, buffer, 5), 5); /* and from here on the kernel is told */
    CHECK_IS(rings(), before + 1);
    CHECK_IS(polled(s.c.bell[1]), POLLIN | POLLOUT);
    strike(&s);
}

static void other_descriptors_are_seen_from_within_the_spin(void)
{
    scene s = set();
    struct epoll_event events[4];
    wsd_poller_enter(&s.poller);
    CHECK_IS(write(s.pipe[1], "x", 1), 1);
    CHECK_IS(spin(&s, events), 1);
    CHECK_IS(events[0].data.fd, s.pipe[0]);
    wsd_poller_leave(&s.poller);
    strike(&s);
}

static void what_the_kernel_tells_better_is_left_to_it(void)
{
    scene s = set();
    wsd_poller_enter(&s.poller);
    wsd_poller_leave(&s.poller);
    CHECK_IS(s.poller.count, 1);
    CHECK_IS(wsd_stream_shutdown(s.c.a, SHUT_WR), 0);
    CHECK(!wsd_poller_look(&s.poller));
    CHECK_IS(s.poller.count, 0);
    CHECK(polled(s.c.bell[1]) & POLLIN);
    wsd_poller_heat(&s.poller, s.c.b, s.c.bell[1], EPOLLIN);
    CHECK_IS(s.poller.count, 0);
    strike(&s);
}

/* Whoever else may sleep on the bell is rung for. */
static void no_silence_with_others_around(void)
{
    for (int who = 0; who < 4; who++) {
        scene s = set();
        if (who == 0)
            wsd_stream_watch(s.c.b, true);
        else if (who == 1)
            wsd_stream_set_strict(s.c.b, true);
        else if (who == 2)
            wsd_stream_forked(s.c.b);
        else
            s.poller.truthful = true;
        uint64_t before = rings();
        wsd_poller_enter(&s.poller);
        CHECK_IS(send_now(s.c.a, buffer, 5), 5);
        CHECK_IS(rings(), before + 1);
        CHECK(wsd_poller_look(&s.poller));
        wsd_poller_leave(&s.poller);
        strike(&s);
    }
    scene s = set(); /* and it ends when one comes later */
    wsd_poller_enter(&s.poller);
    wsd_stream_watch(s.c.b, true);
    CHECK_IS(send_now(s.c.a, buffer, 5), 5);
    CHECK_IS(recv_now(s.c.b, buffer, 5), 5);
    CHECK_IS(send_now(s.c.a, buffer, 5), 5);
    CHECK_IS(polled(s.c.bell[1]), POLLIN | POLLOUT);
    wsd_poller_leave(&s.poller);
    strike(&s);
}

static void another_thread_may_change_what_one_spins_on(void)
{
    scene s = set();
    wsd_poller_enter(&s.poller);
    wsd_poller_cool(&s.poller, s.c.bell[1]); /* gone, but for the one inside */
    CHECK_IS(s.poller.count, 1);
    wsd_poller_heat(&s.poller, s.c.b, s.c.bell[1], EPOLLIN); /* not while one is inside */
    CHECK_IS(send_now(s.c.a, buffer, 5), 5);
    CHECK_IS(polled(s.c.bell[1]), POLLIN | POLLOUT);
    CHECK(!wsd_poller_look(&s.poller));
    wsd_poller_leave(&s.poller);
    CHECK_IS(s.poller.count, 0);
    strike(&s);
}

static void room_is_seen_too(void)
{
    scene s = set();
    CHECK_IS(send_now(s.c.b, buffer, sizeof buffer), WSD_RING_MIN);
    wsd_poller_heat(&s.poller, s.c.b, s.c.bell[1], EPOLLIN | EPOLLOUT);
    CHECK(!wsd_poller_look(&s.poller));
    CHECK_IS(recv_now(s.c.a, buffer, sizeof buffer), WSD_RING_MIN);
    CHECK(wsd_poller_look(&s.poller));
    CHECK_IS(wsd_poller_ready(&s.poller.hot[0]), EPOLLOUT);
    strike(&s);
}

/* The bound on what is looked at, and that those who leave are true again. */
static void not_more_than_so_many(void)
{
    enum { MANY = WSD_HOT_MAX + 8 };
    static connection c[MANY];
    wsd_poller poller;
    wsd_poller_init(&poller);
    for (int i = 0; i < MANY; i++) {
        c[i] = connection_with(WSD_RING_MIN);
        wsd_stream_watch(c[i].b, true);
        wsd_poller_heat(&poller, c[i].b, c[i].bell[1], EPOLLIN);
        wsd_poller_enter(&poller);
        wsd_poller_leave(&poller);
    }
    CHECK_IS(poller.count, WSD_HOT_MAX);
    int told = 0;
    for (int i = 0; i < MANY; i++) {
        CHECK_IS(send_now(c[i].a, buffer, 1), 1);
        told += (polled(c[i].bell[1]) & POLLIN) != 0;
    }
    CHECK_IS(told, MANY - WSD_HOT_MAX);
    wsd_poller_end(&poller);
    for (int i = 0; i < MANY; i++) {
        CHECK_IS(recv_now(c[i].b, buffer, 9), 1);
        drop(&c[i]);
    }
}

/* No descriptor tells of what came in silence: whoever makes room for another one, or rests, keeps it. */
static void what_came_in_silence_is_not_let_go(void)
{
    enum { MANY = WSD_HOT_MAX + 1 };
    static connection c[MANY];
    wsd_poller poller;
    wsd_poller_init(&poller);
    for (int i = 0; i < MANY; i++) {
        c[i] = connection_with(WSD_RING_MIN);
        wsd_stream_watch(c[i].b, true);
    }
    for (int i = 0; i < MANY - 1; i++)
        wsd_poller_heat(&poller, c[i].b, c[i].bell[1], EPOLLIN);
    wsd_poller_enter(&poller);
    wsd_poller_leave(&poller);
    for (int i = 0; i < MANY - 1; i++) {
        CHECK_IS(send_now(c[i].a, buffer, 1), 1);
        CHECK(!(polled(c[i].bell[1]) & POLLIN));
    }
    CHECK(!wsd_poller_heat(&poller, c[MANY - 1].b, c[MANY - 1].bell[1], EPOLLIN));
    wsd_poller_cool_all(&poller);
    CHECK_IS(poller.count, WSD_HOT_MAX);
    CHECK(!wsd_poller_rest(&poller));
    for (int i = 0; i < MANY - 1; i++) {
        CHECK_IS(poller.hot[i].fd, c[i].bell[1]);
        CHECK_IS(wsd_poller_ready(&poller.hot[i]), EPOLLIN);
        CHECK_IS(recv_now(c[i].b, buffer, 9), 1);
    }
    CHECK(wsd_poller_rest(&poller));
    CHECK_IS(poller.count, 0);
    for (int i = 0; i < MANY; i++)
        drop(&c[i]);
}

/* A producer at full speed, and a poller that looks, spins, rests and sleeps: nothing is lost. */
#define ROUNDS 20000

static void *produce(void *context)
{
    wsd_stream *a = context;
    static const uint8_t byte;
    for (int i = 0; i < ROUNDS; i++) {
        while (send_now(a, &byte, 1) != 1)
            sched_yield();
        for (int pause = i % 97; pause > 0; pause--)
            wsd_pause();
    }
    return NULL;
}

static void nothing_is_lost_between_ring_and_kernel(void)
{
    scene s = set();
    pthread_t thread;
    CHECK_IS(pthread_create(&thread, NULL, produce, s.c.a), 0);
    struct epoll_event events[4];
    for (int got = 0; got < ROUNDS;) {
        if (!wsd_poller_look(&s.poller)) {
            wsd_poller_enter(&s.poller);
            int found = wsd_poller_spin(&s.poller, s.epoll, events, 4, wsd_now() + (got % 3) * WSD_US);
            wsd_poller_leave(&s.poller);
            if (found == 0 && wsd_poller_rest(&s.poller))
                CHECK(epoll_wait(s.epoll, events, 4, 10000) == 1);
            wsd_poller_heat(&s.poller, s.c.b, s.c.bell[1], EPOLLIN);
        }
        struct iovec few = {buffer, 3};
        int64_t n = wsd_stream_recv(s.c.b, &few, 1, WSD_NOWAIT); /* which leaves it silent if it may */
        CHECK(n > 0 || n == -EAGAIN);
        got += n > 0 ? (int)n : 0;
    }
    CHECK_IS(pthread_join(thread, NULL), 0);
    strike(&s);
}

int main(void)
{
    watchdog(60);
    RUN(hot_rings_are_silent_and_are_looked_at);
    RUN(other_descriptors_are_seen_from_within_the_spin);
    RUN(what_the_kernel_tells_better_is_left_to_it);
    RUN(no_silence_with_others_around);
    RUN(another_thread_may_change_what_one_spins_on);
    RUN(room_is_seen_too);
    RUN(not_more_than_so_many);
    RUN(what_came_in_silence_is_not_let_go);
    RUN(nothing_is_lost_between_ring_and_kernel);
    return 0;
}
