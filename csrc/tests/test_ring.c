/* Copies into and out of a ring, at every position and length, through one and several buffers. */
#include "testing.h"

static void every_position_and_length(void)
{
    enum { SIZE = 16, FENCE = 8 };
    uint8_t memory[FENCE + SIZE + FENCE], out[SIZE];
    uint8_t *ring = memory + FENCE, in[SIZE];
    for (int i = 0; i < SIZE; i++)
        in[i] = (uint8_t)(i + 1);
    /* far from zero and next to the end of the counter's range, as well as at its start */
    uint64_t bases[] = {0, 5 * SIZE, UINT64_MAX - 3 * SIZE + 1};
    for (size_t b = 0; b < sizeof bases / sizeof *bases; b++) {
        for (uint64_t at = 0; at < SIZE; at++) {
            for (size_t n = 0; n <= SIZE; n++) {
                memset(memory, 0xEE, sizeof memory);
                memset(out, 0, sizeof out);
                wsd_ring_put(ring, SIZE, bases[b] + at, in, n);
                wsd_ring_get(ring, SIZE, bases[b] + at, out, n);
                CHECK(memcmp(in, out, n) == 0);
                for (int i = 0; i < FENCE; i++)
                    CHECK(memory[i] == 0xEE && memory[FENCE + SIZE + i] == 0xEE);
                size_t untouched = 0;
                for (int i = 0; i < SIZE; i++)
                    untouched += ring[i] == 0xEE;
                CHECK_IS(untouched, SIZE - n);
            }
        }
    }
}

static void lists_of_buffers(void)
{
    enum { SIZE = 64 };
    uint8_t ring[SIZE], a[7], b[1], c[40], back[3][20];
    memset(a, 'a', sizeof a);
    memset(b, 'b', sizeof b);
    memset(c, 'c', sizeof c);
    struct iovec from[] = {{a, sizeof a}, {NULL, 0}, {b, sizeof b}, {c, sizeof c}, {NULL, 0}};
    struct iovec to[] = {{back[0], 3}, {NULL, 0}, {back[1], 20}, {back[2], 20}};
    CHECK_IS(wsd_iov_total(from, 5), 48);
    for (uint64_t at = 0; at < SIZE; at++) {
        wsd_cursor put = {from, 5, 0}, get = {to, 4, 0};
        /* in pieces that fit no buffer's boundary */
        for (size_t done = 0; done < 48; done += 12)
            wsd_ring_gather(ring, SIZE, at + done, &put, 12);
        wsd_ring_scatter(ring, SIZE, at, &get, 43);
        CHECK(memcmp(back[0], "aaa", 3) == 0);
        CHECK(memcmp(back[1], "aaaabccccccccccccccc", 20) == 0);
        CHECK(memcmp(back[2], "cccccccccccccccccccc", 20) == 0);
        size_t n;
        CHECK(wsd_cursor_piece(&get, 1, &n) == NULL);
    }
}

static void a_stream_round_the_ring(void)
{
    connection c = connection_with(WSD_RING_MIN);
    uint8_t sent[3000], got[3000];
    unsigned seed = 1;
    uint64_t total = 0;
    for (int round = 0; round < 2000; round++) {
        size_t n = 1 + (size_t)rand_r(&seed) % sizeof sent;
        for (size_t i = 0; i < n; i++)
            sent[i] = (uint8_t)rand_r(&seed);
        CHECK_IS(send_now(c.a, sent, n), n);
        CHECK_IS(wsd_stream_queued(c.a), n);
        CHECK_IS(wsd_stream_available(c.b), n);
        struct iovec look = {got, sizeof got};
        CHECK_IS(wsd_stream_recv(c.b, &look, 1, WSD_PEEK | WSD_EXACT), n);
        CHECK(memcmp(sent, got, n) == 0);
        memset(got, 0, sizeof got);
        size_t first = n / 3;
        if (first)
            CHECK_IS(recv_now(c.b, got, first), first);
        CHECK_IS(recv_now(c.b, got + first, sizeof got - first), n - first);
        CHECK(memcmp(sent, got, n) == 0);
        CHECK_IS(recv_now(c.b, got, 1), -EAGAIN);
        CHECK_IS(polled(c.bell[1]), POLLOUT);
        total += n;
    }
    CHECK_IS(c.a->traffic->sent, total);
    CHECK_IS(c.b->traffic->received, total);
    drop(&c);
}

static void counters_that_wrap(void)
{
    connection c = connection_with(WSD_RING_MIN);
    /* as if 2^63 bytes, the most that the words can count, had nearly gone through */
    uint64_t near_the_end = (WSD_HEAD - 999) & ~7ull;
    atomic_store(&c.a->out->head, near_the_end);
    atomic_store(&c.a->out->tail, near_the_end);
    uint8_t data[900], got[900];
    memset(data, 'x', sizeof data);
    CHECK_IS(send_now(c.a, data, sizeof data), sizeof data);
    CHECK_IS(recv_now(c.b, got, sizeof got), sizeof data);
    CHECK(memcmp(data, got, sizeof data) == 0);
    drop(&c);
}

int main(void)
{
    watchdog(100);
    RUN(every_position_and_length);
    RUN(lists_of_buffers);
    RUN(a_stream_round_the_ring);
    RUN(counters_that_wrap);
    return 0;
}
