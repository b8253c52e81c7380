/* Growth: a direction that carries much moves, once, from its ring into a larger one.
 *
 * The producer decides, when it finds the ring full: from byte P on all bytes go into the large ring,
 * and `grown` says P + 1.  The consumer reads what stands before P in the small ring, and the rest in
 * the large one.  The rings are different memory, so nothing that is unread is written over, and
 * nobody has to agree to anything: P is stored before the head that publishes byte P.
 *
 * Both sizes are known from when the segment was mapped; a position is masked with the size of its own
 * ring.  So a peer that writes nonsense into `grown` gets its own bytes mixed up, and no more.
 */
#ifndef WSD_GROW_H
#define WSD_GROW_H

#include "wsd_stream.h"

/* One of the two rings of a direction. */
typedef struct {
    uint8_t *data;
    uint64_t size;
} wsd_area;

/* Where the bytes from `position` on stand; *n is cut at the end of that ring's bytes. */
static inline wsd_area wsd_area_at(const wsd_stream *s, const wsd_direction *d, uint8_t *data, uint8_t *large,
                                   uint64_t position, size_t *n)
{
    /* relaxed: who has seen a head beyond P, by an acquire, sees P; for who has not, it makes no difference */
    uint64_t word = atomic_load_explicit(&d->grown, memory_order_relaxed);
    if (WSD_LIKELY(word == 0))
        return (wsd_area){data, s->size};
    uint64_t left = word - 1 - position;
    if ((int64_t)left <= 0)
        return (wsd_area){large, s->large};
    if (*n > left)
        *n = left;
    return (wsd_area){data, s->size};
}

static inline wsd_area wsd_area_in(const wsd_stream *s, uint64_t position, size_t *n)
{
    return wsd_area_at(s, s->in, s->in_data, s->in_large, position, n);
}

static inline wsd_area wsd_area_out(const wsd_stream *s, uint64_t position, size_t *n)
{
    return wsd_area_at(s, s->out, s->out_data, s->out_large, position, n);
}

/* The same of any direction, for who has not checked yet that *n fits into a ring. */
static inline wsd_area wsd_area_of(const wsd_stream *s, const wsd_direction *d, uint64_t position, size_t *n)
{
    wsd_area ring = d == s->in ? wsd_area_in(s, position, n) : wsd_area_out(s, position, n);
    if (*n > ring.size)
        *n = ring.size;
    return ring;
}

/* How many bytes a direction holds when it is full. */
static inline uint64_t wsd_room(const wsd_stream *s, const wsd_direction *d)
{
    return WSD_LIKELY(atomic_load_explicit(&d->grown, memory_order_relaxed) == 0) ? s->size : s->large;
}

/* How many bytes this end lets stand unread. */
static inline uint64_t wsd_window(const wsd_stream *s)
{
    uint64_t room = wsd_room(s, s->out), window = atomic_load_explicit(&s->window, memory_order_relaxed);
    return window < room ? window : room;
}

void wsd_grow_init(wsd_stream *s, uint32_t index);
/* Producer, lock held, ring full: true if it is larger from now on. */
bool wsd_grow(wsd_stream *s, uint64_t head);
/* Before a holder of this end leaves: give back pages that nobody will use, if it is the last one. */
void wsd_grow_return(wsd_stream *s);

#endif
