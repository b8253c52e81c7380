/* Urgent data (MSG_OOB), with the meaning that TCP gives it on Linux.
 *
 * An urgent byte is a byte of the stream with a mark on it.  There is one mark per direction, the
 * latest; the byte under an earlier one is ordinary again, unless the reader stood right before it
 * when the next one came: then it is dropped.  recv stops at the mark.  Without SO_OOBINLINE the byte
 * under it is read apart, with MSG_OOB, and the recv that goes past the mark leaves it out.
 *
 * The producer stores the mark before the byte is published, and tells of it with a token that the
 * kernel knows to be urgent (wsd_bell_urgent): SIGURG and POLLPRI come from there.  A byte that
 * stands alone under the mark, right before the reader, is not readable, as in TCP's poll().
 */
#ifndef WSD_URGENT_H
#define WSD_URGENT_H

#include "wsd_stream.h"

/* Where the next ordinary byte is, at most `head`: `tail`, moved over what recv would leave out. */
uint64_t wsd_urgent_start(const wsd_direction *d, uint64_t head, uint64_t tail);

/* Whether a direction has something that recv would return: not an urgent byte alone. */
static inline bool wsd_has_data(const wsd_direction *d)
{
    /* acquire: the bytes below head are written; pairs with the release of the producer's store */
    uint64_t head = atomic_load_explicit(&d->head, memory_order_acquire) & WSD_HEAD;
    uint64_t tail = atomic_load_explicit(&d->tail, memory_order_relaxed);
    if (head == tail)
        return false;
    return WSD_LIKELY(atomic_load_explicit(&d->urgent, memory_order_relaxed) == 0) ||
           wsd_urgent_start(d, head, tail) != head;
}

/* How many of the `ready` bytes from `tail` are in front of the mark; all, if it is elsewhere.  At
 * the mark 0, or minus the number of bytes that are left out before recv goes on. */
int64_t wsd_urgent_before(const wsd_direction *d, uint64_t tail, uint64_t ready);
/* Consumer, lock held: do what the kernel does when an urgent byte arrives. */
void wsd_urgent_settle(wsd_stream *s);
/* Producer, lock held: the byte at `at`, the next to be published, will be urgent.  True: the reader
 * stands before it and reads it apart, so nothing becomes readable. */
bool wsd_urgent_mark(wsd_direction *d, uint64_t at);

#endif
