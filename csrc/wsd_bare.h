/* Bare ends: bytes that travel in the kernel socket which was the bell.
 *
 * An end whose descriptor is handed to a process that knows nothing of the segment goes bare.  From
 * then on no tokens are sent, and what is sent either way are ordinary bytes in that socket.  The
 * other end, which has the segment, finds out from words in it and follows:
 *
 *   towards the bare end   `rx` is WSD_BARE: the producer puts nothing into the ring any more.  What
 *                          stood in it, the producer moves into the socket at its next call (or the
 *                          bare end does so on its behalf, if the kernel lets it).
 *   from the bare end      `bare` is 1: the ring is read first; then what is in the socket up to and
 *                          with the marker is thrown away, which are tokens; then `bare` is 2, and the
 *                          socket is read.
 *
 * Words of a direction are final once it is bare, its `fin` among them: the kernel knows of the end.
 */
#ifndef WSD_BARE_H
#define WSD_BARE_H

#include "wsd_stream.h"

/* What is sent in the socket between the last token and the first byte. */
#define WSD_MARKER '='

/* This end has gone bare, here or in another process that holds it. */
static inline bool wsd_bare_own(const wsd_stream *s)
{
    return atomic_load_explicit(&s->in->rx, memory_order_relaxed) == WSD_BARE;
}

/* Bytes come by the socket; from the peer's ring before that, unless this end itself is bare. */
static inline bool wsd_bare_reads(const wsd_stream *s)
{
    return wsd_bare_own(s) || atomic_load_explicit(&s->in->bare, memory_order_relaxed) != 0;
}

/* Bytes go by the socket. */
static inline bool wsd_bare_writes(const wsd_stream *s)
{
    return atomic_load_explicit(&s->out->rx, memory_order_relaxed) == WSD_BARE ||
           atomic_load_explicit(&s->out->bare, memory_order_relaxed) != 0;
}

/* Bytes of ours stand in the ring of a peer that does not look there any more. */
bool wsd_bare_left(const wsd_stream *s);
/* Move them into the socket, as many as it takes now; true: none are left.  No lock held. */
bool wsd_bare_flush(wsd_stream *s);
/* The same for at most so long, before the end is closed. */
void wsd_bare_linger(wsd_stream *s, uint64_t ns);

/* Consumer, lock held, ring empty, `bare` is 1: throw tokens away up to the marker. */
void wsd_bare_follow(wsd_stream *s);
/* Consumer, lock held: the marker was read. */
void wsd_bare_marker(wsd_stream *s);

/* What wsd_stream's functions do for an end that reads, or writes, by the socket. */
int64_t wsd_bare_recv(wsd_stream *s, const struct iovec *iov, int count, int flags);
/* Producer's lock held. */
int64_t wsd_bare_send(wsd_stream *s, const struct iovec *iov, int count, int flags);
bool wsd_bare_readable(wsd_stream *s);
bool wsd_bare_writable(wsd_stream *s);
uint64_t wsd_bare_available(wsd_stream *s);
int wsd_bare_ending(wsd_stream *s);
int wsd_bare_sleep(wsd_stream *s, bool for_read, uint64_t deadline);
/* Producer's lock held: no more is sent after what the ring holds.  True: the kernel may be told now. */
bool wsd_bare_finish(wsd_stream *s);
int wsd_bare_recv_urgent(wsd_stream *s, uint8_t *byte, bool peek);
bool wsd_bare_urgent_pending(wsd_stream *s);
bool wsd_bare_at_mark(const wsd_stream *s);
void wsd_bare_set_inline(wsd_stream *s, bool on);

#endif
