/* The bell protocol: tokens on the kernel socket that make its readiness the truth at rest.
 *
 * Tokens from producer to consumer at rest = [rx = RUNG] + 2 x [tx = 1] + [urgent_token = 1].
 * tests/bell/model.py explores every interleaving of exactly these steps for the first two; keep the
 * two in step.  The third stands apart: it is sent with MSG_OOB, for SIGURG and POLLPRI, and eaten by
 * the consumer's next call, whatever that is.  Until then it may be one token too many to write by.
 */
#ifndef WSD_BELL_H
#define WSD_BELL_H

#include "wsd_stream.h"

/* Producer, lock held, after storing head: ring if the consumer asked for it. */
void wsd_bell_published(wsd_stream *s, uint64_t head);
/* The same after a message that must not wait until the consumer next looks by itself. */
void wsd_bell_insist(wsd_stream *s, uint64_t head);
/* Producer, lock held: wake a consumer that is at rest, though there is nothing to read. */
void wsd_bell_wake(wsd_stream *s);
/* Producer, lock held, ring full: announce it.  True: room appeared meanwhile, go on sending. */
bool wsd_bell_full(wsd_stream *s, uint64_t head);
/* Producer, lock held, after publishing an urgent byte: tell the kernel, unless it knows of one. */
void wsd_bell_urgent(wsd_stream *s, uint64_t head);
/* Consumer, lock held: eat that token, or the one before it; they count alike. */
void wsd_bell_urgent_heard(wsd_stream *s);
/* Consumer, lock held: if it is left in the place of the token that tells of data, eat it, too. */
void wsd_bell_urgent_hush(wsd_stream *s);
/* Consumer, lock held, after storing tail: let a waiting producer go on. */
void wsd_bell_consumed(wsd_stream *s, uint64_t tail);
/* Consumer, lock held, ring seen empty: make the descriptor say so.  `exact`: somebody may poll after
 * this, so what comes next is announced even if the ring is not empty.  Otherwise nobody does, and
 * what comes next need not be announced: an old token is eaten, and the bell falls silent. */
void wsd_bell_rest(wsd_stream *s, bool exact);
/* Consumer, lock held: eat tokens that were under way when an earlier call had to give up. */
void wsd_bell_pay(wsd_stream *s);
/* Consumer, lock held: ring for what comes next though data stand in the ring, as an edge-triggered
 * poller expects.  The descriptor does not tell of those data any more: they are unannounced. */
void wsd_bell_rearm(wsd_stream *s);
/* Consumer, lock held: do not ring me, I am watching. */
void wsd_bell_unarm(wsd_stream *s);
/* Consumer, lock held, nothing to read: is the peer gone?  Removes tokens that stand for nothing. */
void wsd_bell_check(wsd_stream *s);
/* The kernel socket has ended: is the peer gone?  (A half close, its or ours, ends it too.) */
void wsd_bell_ended(wsd_stream *s);
/* The lock was taken over from a dead holder: make up for what it left undone. */
void wsd_bell_repair_producer(wsd_stream *s);
void wsd_bell_repair_consumer(wsd_stream *s);
/* Consumer, lock held: eat what is outstanding, before the descriptor is closed. */
void wsd_bell_settle(wsd_stream *s);
/* What this kernel does with one, two and more unread bytes, against what the protocol needs. */
bool wsd_bell_is_true(void);
/* The process at the other end; 0 if it is in another process namespace, or this is no such socket. */
int wsd_bell_peer(int fd);
/* Make a socket fit to be a bell: minimum SO_SNDBUF, and urgent tokens count like others. */
int wsd_bell_prepare(int fd);

#endif
