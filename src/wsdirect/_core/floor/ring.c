/* The floor's bare ring. */
#include <errno.h>
#include <stdlib.h>
#include <sys/mman.h>

#include "ends.h"
#include "wsd_ring.h"

#define SIZE (256u << 10) /* bytes in each direction: what a connection of wsdirect has at first */
#define PIECE (64u << 10) /* published at a time, so that both ends can copy at once */

typedef struct {
    WSD_ALIGNED _Atomic uint64_t head;
    WSD_ALIGNED _Atomic uint64_t tail;
    WSD_ALIGNED uint8_t data[SIZE];
} lane;

typedef struct {
    floor_end end;
    lane *lanes, *out, *in;
    uint64_t head, tail;           /* of out and in: ours alone to change */
    uint64_t seen_tail, seen_head; /* how far the other was when last looked at */
    bool yield;
} ring_end;

size_t floor_ring_length(void)
{
    return 2 * sizeof(lane);
}

static inline void look_again(const ring_end *r)
{
    if (r->yield)
        sched_yield();
    else
        wsd_pause();
}

static int ring_put(floor_end *end, const void *data, size_t n)
{
    ring_end *r = (ring_end *)end;
    const uint8_t *from = data;
    while (n > 0) {
        while (r->head - r->seen_tail == SIZE) {
            /* acquire: the consumer has read what we are going to write over */
            r->seen_tail = atomic_load_explicit(&r->out->tail, memory_order_acquire);
            if (r->head - r->seen_tail == SIZE)
                look_again(r);
        }
        size_t piece = SIZE - (r->head - r->seen_tail);
        if (piece > PIECE)
            piece = PIECE;
        if (piece > n)
            piece = n;
        wsd_ring_put(r->out->data, SIZE, r->head, from, piece);
        r->head += piece;
        from += piece;
        n -= piece;
        /* release: the bytes are there before the consumer is told; pairs with ring_get */
        atomic_store_explicit(&r->out->head, r->head, memory_order_release);
    }
    return 0;
}

static int ring_get(floor_end *end, void *data, size_t n)
{
    ring_end *r = (ring_end *)end;
    uint8_t *to = data;
    while (n > 0) {
        while (r->seen_head == r->tail) {
            /* acquire: pairs with the release in ring_put */
            r->seen_head = atomic_load_explicit(&r->in->head, memory_order_acquire);
            if (r->seen_head == r->tail)
                look_again(r);
        }
        size_t piece = r->seen_head - r->tail;
        if (piece > PIECE)
            piece = PIECE;
        if (piece > n)
            piece = n;
        wsd_ring_get(r->in->data, SIZE, r->tail, to, piece);
        r->tail += piece;
        to += piece;
        n -= piece;
        /* release: we have read before the producer writes over it; pairs with ring_put */
        atomic_store_explicit(&r->in->tail, r->tail, memory_order_release);
    }
    return 0;
}

static void ring_drop(floor_end *end)
{
    ring_end *r = (ring_end *)end;
    munmap(r->lanes, floor_ring_length());
    free(r);
}

int floor_ring_open(int fd, unsigned side, bool yield, floor_end **out)
{
    ring_end *r = calloc(1, sizeof *r);
    if (!r)
        return -ENOMEM;
    r->lanes = mmap(NULL, floor_ring_length(), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    if (r->lanes == MAP_FAILED) {
        free(r);
        return -errno;
    }
    r->out = &r->lanes[side & 1];
    r->in = &r->lanes[~side & 1];
    r->yield = yield;
    r->end = (floor_end){ring_put, ring_get, ring_drop};
    *out = &r->end;
    return 0;
}
