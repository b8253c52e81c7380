/* A peer that writes anything anywhere into the shared memory: nothing faults, nothing hangs, and
 * nothing outside the connection's own rings is read or written. */
#include "testing.h"

enum { RING = WSD_RING_MIN, SECRET = 0xA7 };

/* One slot under attack, and one beside it, which is full of what must not be touched or told. */
static connection under_attack(void)
{
    connection c = connection_with(RING);
    memset(wsd_segment_slot(c.segment, 1), SECRET, WSD_PAGE + 2 * RING);
    return c;
}

static void nothing_else_was_touched(connection *c)
{
    const uint8_t *beside = (const uint8_t *)wsd_segment_slot(c->segment, 1);
    for (size_t i = 0; i < WSD_PAGE + 2 * RING; i++)
        CHECK(beside[i] == SECRET);
    const wsd_segment_header *header = (const wsd_segment_header *)c->segment->base;
    CHECK(header->magic == WSD_MAGIC && header->ring == RING && header->slots == 2);
}

/* Every call there is; the outcome may be anything but a secret, a fault or a hang. */
static void use(wsd_stream *s)
{
    uint8_t data[3 * RING];
    memset(data, 0, sizeof data);
    uint64_t soon = wsd_now() + WSD_MS;
    struct iovec both[] = {{data, RING}, {data + RING, RING + 7}};
    CHECK(wsd_stream_available(s) <= RING);
    CHECK(wsd_stream_queued(s) <= RING);
    (void)wsd_stream_readable(s);
    (void)wsd_stream_writable(s);
    /* more than a ring in one call is possible: while it runs, the peer goes on */
    CHECK(wsd_stream_recv(s, both, 2, WSD_PEEK | WSD_EXACT) <= 2 * RING + 7);
    CHECK(wsd_stream_recv(s, both, 1, WSD_EXACT) <= RING);
    CHECK(wsd_stream_recv(s, both, 2, 0) <= 2 * RING + 7);
    for (size_t i = 0; i < sizeof data; i++)
        CHECK(data[i] != SECRET);
    memset(data, 1, sizeof data);
    CHECK(send_now(s, data, 100) <= 100);
    CHECK(send_now(s, data, sizeof data) <= (int64_t)sizeof data);
    struct iovec one = {data, sizeof data};
    CHECK(wsd_stream_send(s, &one, 1, 0) <= (int64_t)sizeof data);
    wsd_stream_arm(s, true, true);
    CHECK(wsd_stream_spin_readable(s, soon) <= 1);
    CHECK(wsd_stream_sleep_readable(s, soon) <= 1);
    CHECK(wsd_stream_spin_writable(s, soon) <= 1);
    CHECK(wsd_stream_sleep_writable(s, soon) <= 1);
    (void)wsd_stream_ending(s);
    (void)wsd_stream_state(s);
    CHECK(wsd_stream_sent_so_far(s, 0, data, sizeof data) <= RING);
    CHECK(wsd_message_size(s) <= (int64_t)RING);
    (void)wsd_message_recv(s, &one, 1);
    (void)wsd_message_discard(s);
    one.iov_len = 50;
    (void)wsd_message_send(s, &one, 1);
}

static const uint64_t values[] = {
    0, 1, 2, 3, 7, RING - 1, RING, RING + 1, 2 * RING, 0x7fffffff, 0x80000000, 0xffffffff, 0x100000000,
    WSD_PENDING, WSD_PENDING | 5, WSD_RINGING, WSD_PENDING - 1, UINT64_MAX, UINT64_MAX - RING, SECRET * 0x0101010101010101ull};
enum { VALUES = sizeof values / sizeof *values };

/* Each word of both directions, with each of the values, alone. */
static void each_word_alone(void)
{
    for (unsigned field = 0; field < 12; field++) {
        for (unsigned v = 0; v < VALUES; v++) {
            for (unsigned d = 0; d < 2; d++) {
                connection c = under_attack();
                CHECK_IS(send_now(c.a, "some bytes", 10), 10);
                CHECK_IS(send_now(c.b, "some bytes", 10), 10);
                wsd_direction *w = &c.a->slot->direction[d];
                uint32_t narrow = (uint32_t)values[v];
                switch (field) {
                case 0: atomic_store(&w->head, values[v]); break;
                case 1: atomic_store(&w->tail, values[v]); break;
                case 2: atomic_store(&w->rx, narrow); break;
                case 3: atomic_store(&w->tx, narrow); break;
                case 4: atomic_store(&w->debt, narrow); break;
                case 5: atomic_store(&w->sleepers, narrow); break;
                case 6: atomic_store(&w->fin, narrow); break;
                case 7: atomic_store(&w->deaf, narrow); break;
                case 8: atomic_store(&w->rx_stamp, values[v]); break;
                case 9: atomic_store(&w->tx_stamp, values[v]); break;
                case 10: atomic_store(&w->producer_cpu, narrow); break;
                case 11: atomic_store(&w->consumer_cpu, narrow); break;
                }
                use(c.a);
                nothing_else_was_touched(&c);
                wsd_stream_close(c.a, false);
                drop(&c);
            }
        }
    }
}

static void impossible_indices_end_the_connection(void)
{
    uint8_t byte = 0;
    uint64_t bad_heads[] = {RING + 1, 2 * RING, UINT64_MAX & WSD_HEAD, WSD_PENDING | (RING + 1)};
    for (size_t i = 0; i < 4; i++) {
        connection c = under_attack();
        atomic_store(&c.a->in->head, bad_heads[i]);
        CHECK(wsd_stream_readable(c.a));
        CHECK_IS(recv_now(c.a, &byte, 1), -ECONNABORTED);
        CHECK_IS(recv_now(c.a, &byte, 1), -ECONNABORTED); /* and stays so, for sending, too */
        atomic_store(&c.a->in->head, 0);
        CHECK_IS(recv_now(c.a, &byte, 1), -ECONNABORTED);
        CHECK_IS(send_now(c.a, &byte, 1), -ECONNABORTED);
        CHECK_IS(wsd_stream_ending(c.a), -ECONNABORTED);
        drop(&c);
    }
    connection c = under_attack();
    CHECK_IS(send_now(c.a, &byte, 1), 1);
    atomic_store(&c.a->out->tail, 2); /* consumed more than was ever sent */
    uint8_t full[RING];
    memset(full, 0, sizeof full);
    CHECK_IS(send_now(c.a, full, RING), -ECONNABORTED);
    CHECK_IS(send_now(c.a, &byte, 1), -ECONNABORTED);
    drop(&c);
}

static void states_and_holders(void)
{
    for (unsigned v = 0; v < VALUES; v++) {
        connection c = under_attack();
        atomic_store(&c.a->slot->state, (uint32_t)values[v]);
        use(c.a);
        use(c.b);
        drop(&c);
        c = under_attack();
        atomic_store(&c.a->slot->holders[0], (uint32_t)values[v]);
        atomic_store(&c.a->slot->holders[1], (uint32_t)values[v]);
        use(c.a);
        wsd_stream_close(c.a, false);
        wsd_stream_release(c.a);
        c.a = c.b;
        wsd_stream_hold(c.b);
        CHECK(wsd_segment_in_use(c.segment) <= 2);
        (void)wsd_segment_take(c.segment);
        drop(&c);
    }
}

static void locks_nobody_will_drop(void)
{
    uint64_t patience = atomic_exchange(&wsd_lock_patience_ns, 100 * WSD_MS);
    connection c = under_attack();
    uint8_t byte = 0;
    atomic_store(&c.a->out->producer_lock.word, (uint32_t)getppid());
    CHECK_IS(send_now(c.a, &byte, 1), -ECONNABORTED);
    atomic_store(&c.a->in->consumer_lock.word, (uint32_t)getppid());
    CHECK_IS(recv_now(c.a, &byte, 1), -ECONNABORTED);
    atomic_store(&c.a->broken, false);
    CHECK_IS(wsd_stream_spin_readable(c.a, WSD_FOREVER), -ECONNABORTED);
    wsd_stream_arm(c.a, true, true);
    wsd_stream_shutdown(c.a, SHUT_RDWR);
    wsd_stream_close(c.a, false);
    drop(&c);
    atomic_store(&wsd_lock_patience_ns, patience);
}

typedef struct {
    connection *c;
    atomic_bool stop;
    unsigned seed;
} scribbler;

/* Writes random words over one control block, and rings and swallows tokens, all the time. */
static void *scribble(void *context)
{
    scribbler *x = context;
    wsd_direction *directions = x->c->a->slot->direction;
    while (!atomic_load(&x->stop)) {
        wsd_direction *d = &directions[rand_r(&x->seed) & 1];
        uint64_t value = values[(unsigned)rand_r(&x->seed) % VALUES];
        if (rand_r(&x->seed) & 1)
            value = atomic_load(&d->tail) + (uint64_t)rand_r(&x->seed) % (RING + 2);
        switch (rand_r(&x->seed) % 12) {
        case 0: atomic_store(&d->head, value); break;
        case 1: atomic_store(&d->tail, value); break;
        case 2: atomic_store(&d->rx, (uint32_t)value % 4); break;
        case 3: atomic_store(&d->tx, (uint32_t)value % 3); break;
        case 4: atomic_store(&d->debt, (uint32_t)value); break;
        case 5: atomic_store(&d->sleepers, (uint32_t)value); break;
        case 6: atomic_store(&d->fin, (uint32_t)value % 8); break;
        case 7: atomic_store(&d->rx_stamp, value); break;
        case 8: atomic_store(&d->producer_cpu, (uint32_t)value); break;
        case 9: atomic_store(&d->deaf, (uint32_t)value % 2); break;
        case 10: (void)!send(x->c->bell[1], "!", 1, MSG_DONTWAIT | MSG_NOSIGNAL); break;
        case 11: {
            char tokens[4];
            (void)!recv(x->c->bell[1], tokens, sizeof tokens, MSG_DONTWAIT);
            break;
        }
        }
    }
    return NULL;
}

static void all_words_all_the_time(void)
{
    for (unsigned round = 0; round < 20; round++) {
        connection c = under_attack();
        scribbler x = {.c = &c, .seed = round + 1};
        pthread_t thread;
        CHECK_IS(pthread_create(&thread, NULL, scribble, &x), 0);
        for (int i = 0; i < 20; i++) {
            atomic_store(&c.a->broken, false); /* go on, as if it had not been noticed yet */
            atomic_store(&c.a->peer_gone, false);
            use(c.a);
        }
        atomic_store(&x.stop, true);
        pthread_join(thread, NULL);
        nothing_else_was_touched(&c);
        wsd_stream_close(c.a, false);
        drop(&c);
    }
}

int main(void)
{
    watchdog(150);
    RUN(impossible_indices_end_the_connection);
    RUN(each_word_alone);
    RUN(states_and_holders);
    RUN(locks_nobody_will_drop);
    RUN(all_words_all_the_time);
    return 0;
}
