/* Growth: bytes that stand in two rings, whoever reads them, and what is given back afterwards. */
#include "testing.h"

#include <sys/stat.h>

#include "wsd_bare.h"
#include "wsd_grow.h"

enum { SMALL = WSD_RING_MIN, LARGE = 4 * WSD_RING_MIN, CARRIED = 16 * SMALL };

static uint8_t buffer[2 * LARGE], other[sizeof buffer];

static connection growing(void)
{
    wsd_segment *segment;
    CHECK_IS(wsd_segment_create_growing(2, SMALL, LARGE, &segment), 0);
    return connect_in(segment);
}

/* What stands at a position of every stream here. */
static uint8_t byte_at(uint64_t position)
{
    return (uint8_t)(position * 131 + (position >> 8) * 29 + (position >> 16));
}

static void fill(uint64_t position, size_t n)
{
    for (size_t i = 0; i < n; i++)
        buffer[i] = byte_at(position + i);
}

static void compare(uint64_t position, const uint8_t *data, size_t n)
{
    for (size_t i = 0; i < n; i++)
        CHECK_IS(data[i], byte_at(position + i));
}

static bool grown(const wsd_stream *s)
{
    return atomic_load(&s->out->grown) != 0;
}

/* Send until it is full; the position after that. */
static uint64_t stuff(wsd_stream *s, uint64_t at)
{
    for (;;) {
        fill(at, sizeof buffer / 2);
        int64_t n = send_now(s, buffer, sizeof buffer / 2);
        if (n == -EAGAIN)
            return at;
        CHECK(n > 0);
        at += (uint64_t)n;
    }
}

/* Read until `to`; from the stream, by pieces of at most `most`. */
static void drain(wsd_stream *s, uint64_t from, uint64_t to, size_t most)
{
    while (from < to) {
        int64_t n = recv_now(s, other, to - from < most ? to - from : most);
        CHECK(n > 0);
        compare(from, other, (size_t)n);
        from += (uint64_t)n;
    }
}

/* Carry enough for a ring that is full to grow; the position. */
static uint64_t warm(wsd_stream *from, wsd_stream *to)
{
    uint64_t at = 0;
    while (at < CARRIED) {
        fill(at, SMALL / 2);
        CHECK_IS(send_now(from, buffer, SMALL / 2), SMALL / 2);
        drain(to, at, at + SMALL / 2, SMALL);
        at += SMALL / 2;
    }
    CHECK(!grown(from));
    return at;
}

static void when_it_grows(void)
{
    connection c = growing();
    uint64_t end = stuff(c.a, 0);
    CHECK_IS(end, SMALL); /* it has carried nothing yet */
    CHECK(!grown(c.a));
    drain(c.b, 0, end, SMALL);
    drop(&c);

    c = growing();
    uint64_t at = warm(c.a, c.b);
    end = stuff(c.a, at);
    CHECK(grown(c.a) && !grown(c.b));
    CHECK_IS(end - at, LARGE);
    CHECK_IS(wsd_stream_queued(c.a), LARGE);
    CHECK_IS(wsd_stream_available(c.b), LARGE);
    CHECK(!(polled(c.bell[0]) & POLLOUT) && (polled(c.bell[1]) & POLLIN));
    drain(c.b, at, end, 700);
    CHECK((polled(c.bell[0]) & POLLOUT) && !(polled(c.bell[1]) & POLLIN));
    at = end;
    end = stuff(c.a, at);
    CHECK_IS(end - at, LARGE);
    drain(c.b, at, end, SMALL);
    drop(&c);

    c = growing(); /* a program that sets SO_SNDBUF says what it wants */
    CHECK_IS(recv_now(c.b, other, 1), -EAGAIN);
    wsd_stream_set_window(c.a, 3 * SMALL);
    CHECK_IS(stuff(c.a, 0), 3 * SMALL);
    drain(c.b, 0, 3 * SMALL, SMALL);
    wsd_stream_set_window(c.b, SMALL / 2);
    CHECK_IS(stuff(c.b, 0), SMALL / 2);
    drain(c.a, 0, SMALL / 2, SMALL);
    drop(&c);

    c = connection_with(SMALL); /* nothing to grow into */
    at = warm(c.a, c.b);
    CHECK_IS(stuff(c.a, at) - at, SMALL);
    CHECK(!grown(c.a));
    drop(&c);
}

/* One step after another in random order, by two users of either end: what a queue would do, and the
 * bell says the truth after each. */
/* Each message fills the ring to the last byte, and is read before the next one comes. */
static void messages_of_its_size(void)
{
    connection c = growing();
    uint64_t at = 0;
    while (!grown(c.a)) {
        CHECK(at <= CARRIED);
        fill(at, SMALL);
        CHECK_IS(send_now(c.a, buffer, SMALL), SMALL);
        CHECK(wsd_stream_writable(c.a) == grown(c.a));
        drain(c.b, at, at + SMALL, SMALL / 2);
        at += SMALL;
    }
    CHECK_IS(at, CARRIED);
    for (int turns = 0; turns < 3; turns++) {
        fill(at, LARGE);
        CHECK_IS(send_now(c.a, buffer, LARGE), LARGE);
        CHECK(!wsd_stream_writable(c.a));
        drain(c.b, at, at + LARGE, SMALL);
        CHECK(wsd_stream_writable(c.a));
        at += LARGE;
    }
    drop(&c);
}

static void like_a_queue(void)
{
    for (unsigned turn = 1; turn <= 12; turn++) {
        unsigned seed = turn;
        connection c = growing();
        wsd_stream *producers[2] = {c.a}, *consumers[2] = {c.b};
        uint32_t generation = wsd_slot_generation(c.a->slot), slot = 0;
        while (wsd_segment_slot(c.segment, slot) != c.a->slot)
            slot++;
        CHECK_IS(wsd_stream_join(c.segment, slot, generation, 0, c.bell[0], &producers[1]), 0);
        CHECK_IS(wsd_stream_join(c.adopted, slot, generation, 1, c.bell[1], &consumers[1]), 0);
        uint64_t sent = 0, got = 0;
        for (int step = 0; step < 4000; step++) {
            size_t n = 1 + (size_t)rand_r(&seed) % (rand_r(&seed) % 4 ? 500 : 2 * SMALL);
            int what = rand_r(&seed) % 16, who = rand_r(&seed) % 2;
            bool filling = (step / 300) % 2 == 0; /* full and empty by turns */
            if (what < (filling ? 10 : 6)) {
                fill(sent, n);
                int64_t r = send_now(producers[who], buffer, n);
                CHECK(r > 0 || r == -EAGAIN);
                sent += r > 0 ? (uint64_t)r : 0;
            } else if (what < 15) {
                int64_t r = recv_now(consumers[who], other, n);
                CHECK_IS(r, sent == got ? -EAGAIN : (int64_t)(n < sent - got ? n : sent - got));
                if (r > 0)
                    compare(got, other, (size_t)r);
                got += r > 0 ? (uint64_t)r : 0;
            } else {
                struct iovec iov = {other, n};
                int64_t r = wsd_stream_recv(consumers[who], &iov, 1, WSD_PEEK | WSD_EXACT);
                CHECK(r > 0 || (r == -EAGAIN && sent == got));
                if (r > 0)
                    compare(got, other, (size_t)r);
            }
            CHECK_IS(wsd_stream_available(consumers[who]), sent - got);
            CHECK_IS(!!(polled(c.bell[1]) & POLLIN), sent != got);
            if (polled(c.bell[0]) & POLLOUT)
                CHECK(sent - got < LARGE);
            else
                CHECK(sent - got > SMALL / 2);
        }
        CHECK(grown(c.a));
        while (got < sent) {
            drain(consumers[0], got, got + 1, 1);
            got++;
        }
        CHECK_IS(polled(c.bell[0]), POLLOUT);
        CHECK_IS(polled(c.bell[1]), POLLOUT);
        wsd_stream_release(producers[1]);
        wsd_stream_release(consumers[1]);
        drop(&c);
    }
}

enum { TOTAL = 3 << 20 };

static void *sender(void *context)
{
    wsd_stream *s = context;
    unsigned seed = 5;
    static uint8_t data[2 * LARGE];
    for (uint64_t at = 0; at < TOTAL;) {
        size_t n = 1 + (size_t)rand_r(&seed) % sizeof data;
        n = n > TOTAL - at ? TOTAL - at : n;
        for (size_t i = 0; i < n; i++)
            data[i] = byte_at(at + i);
        CHECK_IS(send_blocking(s, data, n), 0);
        at += n;
    }
    CHECK_IS(wsd_stream_shutdown(s, SHUT_WR), 0);
    return NULL;
}

static void between_threads(void)
{
    connection c = growing();
    pthread_t thread;
    CHECK_IS(pthread_create(&thread, NULL, sender, c.a), 0);
    unsigned seed = 9;
    uint64_t at = 0;
    for (;;) {
        int64_t n = recv_blocking(c.b, other, 1 + (size_t)rand_r(&seed) % sizeof other);
        CHECK(n >= 0);
        if (n == 0)
            break;
        compare(at, other, (size_t)n);
        at += (uint64_t)n;
        if (rand_r(&seed) % 64 == 0)
            nap_ms(1); /* let it fill up */
    }
    CHECK_IS(at, TOTAL);
    pthread_join(thread, NULL);
    CHECK(grown(c.a));
    drop(&c);
}

/* The mark of an urgent byte on either side of the boundary, on it, and next to it. */
static void urgent_bytes(void)
{
    for (int off = -2; off <= 2; off++) {
        connection c = growing();
        uint64_t at = warm(c.a, c.b), boundary = at + SMALL, mark = boundary + (uint64_t)(int64_t)off;
        fill(at, 2 * SMALL);
        size_t before = (size_t)(mark - at);
        struct iovec iov = {buffer, before + 1};
        if (off < 0) {
            CHECK_IS(wsd_stream_send(c.a, &iov, 1, WSD_EXACT | WSD_URGENT), before + 1);
            CHECK_IS(send_now(c.a, buffer + before + 1, 2 * SMALL - before - 1), 2 * SMALL - before - 1);
        } else {
            CHECK_IS(send_now(c.a, buffer, before + 1), before + 1); /* grows */
            before = SMALL + 100 + (size_t)off;
            iov = (struct iovec){buffer + (mark - at) + 1, before - (mark - at)};
            CHECK_IS(wsd_stream_send(c.a, &iov, 1, WSD_EXACT | WSD_URGENT), iov.iov_len);
            CHECK_IS(send_now(c.a, buffer + before + 1, 2 * SMALL - before - 1), 2 * SMALL - before - 1);
        }
        CHECK(grown(c.a));
        uint8_t byte;
        CHECK_IS(wsd_stream_unread(c.b), before);
        CHECK_IS(wsd_stream_recv_urgent(c.b, &byte, false), 1);
        CHECK_IS(byte, byte_at(at + before));
        for (size_t got = 0; got < before;) {
            int64_t n = recv_now(c.b, other, sizeof other);
            CHECK(n > 0 && (size_t)n <= before - got);
            compare(at + got, other, (size_t)n);
            got += (size_t)n;
        }
        CHECK(wsd_stream_at_mark(c.b));
        drain(c.b, at + before + 1, at + 2 * SMALL, LARGE);
        drop(&c);
    }
}

/* One end goes to a process without the segment while bytes stand in both rings. */
static void bare_ends(void)
{
    for (int hidden = 0; hidden < 2; hidden++) {
        connection c = growing();
        uint64_t at = warm(c.a, c.b), end;
        end = stuff(c.a, at);
        drain(c.b, at, at + 1000, 1000);
        at += 1000;
        if (hidden)
            atomic_store(&c.a->slot->place[0].pid, 0);
        CHECK_IS(wsd_stream_go_bare(c.b), 0);
        while (at < end) {
            wsd_bare_flush(c.a);
            ssize_t n = recv(c.bell[1], other, sizeof other, MSG_DONTWAIT);
            CHECK(n > 0);
            compare(at, other, (size_t)n);
            at += (uint64_t)n;
        }
        CHECK_IS(send(c.bell[1], "back", 4, 0), 4);
        CHECK_IS(recv_blocking(c.a, other, sizeof other), 4);
        drop(&c);
    }
    connection c = growing(); /* and the end that sent them */
    uint64_t at = warm(c.a, c.b), end = stuff(c.a, at);
    CHECK_IS(wsd_stream_go_bare(c.a), 0);
    fill(end, 100);
    CHECK_IS(send(c.bell[0], buffer, 100, 0), 100);
    drain(c.b, at, end + 100, 900);
    drop(&c);
}

static long blocks_of(const wsd_segment *segment)
{
    struct stat st;
    CHECK_IS(fstat(segment->fd, &st), 0);
    return (long)st.st_blocks;
}

/* Who leaves last gives back what the rings took; and if nobody knew, the next user of the slot. */
static void what_is_given_back(void)
{
    enum { KIB = 2 /* blocks */, CONTROL = 12 * KIB /* header, control, and a page more */ };
    for (int turn = 0; turn < 3; turn++) {
        wsd_segment *segment;
        CHECK_IS(wsd_segment_create_growing(1, 64 << 10, 256 << 10, &segment), 0);
        connection c = connect_in(segment);
        static uint8_t data[64 << 10];
        for (int i = 0; i < 40; i++) {
            CHECK_IS(send_blocking(c.a, data, sizeof data / 2), 0);
            CHECK_IS(recv_now(c.b, data, sizeof data), sizeof data / 2);
        }
        CHECK(blocks_of(segment) < (64 + 16) * KIB);
        while (send_now(c.a, data, sizeof data) > 0)
            ;
        CHECK(grown(c.a));
        CHECK(blocks_of(segment) >= (64 + 192) * KIB);
        wsd_segment_hold(segment);
        if (turn == 2) { /* both leave at the same time, as far as either knows */
            atomic_fetch_add(&c.a->slot->holders[0], 1);
            atomic_fetch_add(&c.a->slot->holders[1], 1);
            wsd_slot *slot = c.a->slot;
            drop(&c);
            CHECK(blocks_of(segment) >= (64 + 192) * KIB);
            wsd_slot_leave(slot, 0);
            wsd_slot_leave(slot, 1);
            CHECK_IS(wsd_segment_in_use(segment), 0);
            CHECK_IS(wsd_segment_take(segment), 0);
            CHECK(blocks_of(segment) <= 64 * KIB + CONTROL);
        } else if (turn == 1) { /* the reader first */
            wsd_stream_release(c.b);
            CHECK(blocks_of(segment) <= CONTROL);
            wsd_stream_hold(c.b = c.a);
            drop(&c);
        } else {
            drop(&c);
            CHECK_IS(wsd_segment_in_use(segment), 0);
            CHECK(blocks_of(segment) <= CONTROL);
        }
        wsd_segment_release(segment);
    }
}

/* A peer that writes anything into the words: calls end, and no byte outside its slot changes. */
static void a_peer_that_lies(void)
{
    connection c = growing();
    int slot = wsd_segment_take(c.segment); /* the other slot, whichever it is */
    CHECK(slot >= 0);
    uint8_t *neighbour = (uint8_t *)wsd_segment_slot(c.segment, (uint32_t)slot);
    size_t length = wsd_segment_stride(c.segment);
    static uint8_t before[1 << 18];
    CHECK(length <= sizeof before);
    memset(neighbour + WSD_PAGE, 0x5a, length - WSD_PAGE);
    memcpy(before, neighbour, length);
    unsigned seed = 3;
    for (int step = 0; step < 20000; step++) {
        wsd_direction *d = rand_r(&seed) % 2 ? c.a->in : c.a->out;
        uint64_t head = atomic_load(&d->head) & WSD_HEAD, lies[] = {
            0, 1, UINT64_MAX, head, head + 1, head - 100, head + 100, 1ull << 63, (uint64_t)rand_r(&seed)};
        atomic_store(&d->grown, lies[(size_t)rand_r(&seed) % (sizeof lies / sizeof *lies)]);
        size_t n = 1 + (size_t)rand_r(&seed) % sizeof buffer;
        wsd_stream *s = rand_r(&seed) % 2 ? c.a : c.b;
        int64_t r = rand_r(&seed) % 2 ? send_now(s, buffer, n) : recv_now(s, other, n);
        CHECK(r > 0 || r == -EAGAIN);
        CHECK(wsd_stream_available(s) <= LARGE && wsd_stream_queued(s) <= LARGE);
    }
    CHECK(memcmp(before, neighbour, length) == 0);
    drop(&c);
}

int main(void)
{
    watchdog(150);
    RUN(when_it_grows);
    RUN(messages_of_its_size);
    RUN(like_a_queue);
    RUN(between_threads);
    RUN(urgent_bytes);
    RUN(bare_ends);
    RUN(what_is_given_back);
    RUN(a_peer_that_lies);
    return 0;
}
