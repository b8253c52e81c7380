/* The two ends that the floor measures, behind one interface: put and get exactly n bytes. */
#ifndef WSDIRECT_FLOOR_ENDS_H
#define WSDIRECT_FLOOR_ENDS_H

#include <stddef.h>
#include <stdint.h>

#include "wsd_base.h"

typedef struct floor_end floor_end;
struct floor_end {
    /* 0, or -errno; they wait as long as it takes */
    int (*put)(floor_end *end, const void *data, size_t n);
    int (*get)(floor_end *end, void *data, size_t n);
    void (*drop)(floor_end *end);
};

/* A bare ring in each direction: heads, tails and bytes, nobody who sleeps, dies or has to be told.
 * `fd` is a memfd of floor_ring_length() bytes, all zero; side 0 or 1.  Yields the CPU between two
 * looks if `yield`: both ends are on the same one. */
size_t floor_ring_length(void);
int floor_ring_open(int fd, unsigned side, bool yield, floor_end **out);

/* wsdirect's stream, called from C.  Takes `fd`, the bell, and closes it when dropped; `segment` is
 * the descriptor of the memory, which the caller closes. */
int floor_stream_offer(int fd, floor_end **out, int *segment, uint32_t *slot, uint32_t *generation);
int floor_stream_attach(int fd, int segment, uint32_t slot, uint32_t generation, floor_end **out);

#endif
