/* Leases: a program reads, or fills, a part of a ring in place.
 *
 * `leased` (of the consumer) and `reserved` (of the producer) name the process that has its hands on a
 * direction's bytes.  Meanwhile nobody else of that end may move `tail`, or `head`: their calls end
 * with -WSD_ELEASED.  A word that names a process which is dead does not count.  No lock is held for
 * the time of a lease, so nobody waits for its holder.
 *
 * A ring is mapped a second time for this, twice in a row, so that what wraps is one piece.  Those
 * mappings live as long as the stream, which whoever has a lease holds: after the connection has
 * closed, and when its peer has died, the bytes are still there to be read.
 */
#ifndef WSD_LEASE_H
#define WSD_LEASE_H

#include "wsd_stream.h"

typedef struct {
    uint8_t *at;
    uint64_t start; /* of the stream: where the bytes begin */
    size_t length;
} wsd_lease;

/* Consumer: at most `want` of the bytes that are here.  1; 0 at the end of the stream; -errno as for
 * wsd_stream_recv; -WSD_ELEASED; -WSD_ECOPY: the bytes do not come by the ring. */
int wsd_lease_begin(wsd_stream *s, size_t want, int flags, wsd_lease *out);
/* The first n bytes have been read, the others are left. */
void wsd_lease_end(wsd_stream *s, const wsd_lease *lease, size_t n, int flags);

/* Producer: room for exactly `size` bytes.  0; -EAGAIN: not now; -WSD_ELEASED; -WSD_ECOPY: a ring that
 * half a ring's bytes do not fit into, or a send() that will say what is wrong. */
int wsd_lease_reserve(wsd_stream *s, size_t size, wsd_lease *out);
/* Waiting for that: 1 try again; 0 not yet. */
int wsd_lease_spin_room(wsd_stream *s, size_t size, uint64_t deadline);
int wsd_lease_sleep_room(wsd_stream *s, size_t size, uint64_t deadline);
/* The first n bytes are filled, and sent with this.  0; -WSD_ECOPY: nothing was sent, and will not be in
 * this way: the peer has gone, or reads elsewhere by now. */
int wsd_lease_commit(wsd_stream *s, const wsd_lease *lease, size_t n, int flags);
void wsd_lease_cancel(wsd_stream *s, const wsd_lease *lease);

/* The number of this process. */
uint32_t wsd_lease_process(void);
/* Lock of the direction held, and the word is not 0, or the call has WSD_PASS.  True: hands off. */
bool wsd_lease_forbids(wsd_stream *s, bool in, int flags);
/* The same for who only wants to know. */
bool wsd_lease_on(const wsd_direction *d);
void wsd_lease_unmap(wsd_stream *s);

#endif
