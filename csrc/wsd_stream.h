/* One end of a connection: a byte stream over two rings, with a kernel socket that tells the truth.
 *
 * Functions return a byte count or 0 for success, and -errno for failure; they never block unless
 * their name says wait.  Several threads, and forked processes, may use one end at a time: each
 * direction has its lock in the segment.
 */
#ifndef WSD_STREAM_H
#define WSD_STREAM_H

#include <sys/uio.h>

#include "wsd_segment.h"
#include "wsd_wait.h"

typedef struct {
    uint64_t sent, received;
} wsd_traffic;

typedef struct wsd_stream {
    wsd_segment *segment;
    wsd_slot *slot;
    wsd_direction *out, *in;
    uint8_t *out_data, *in_data;
    uint8_t *out_large, *in_large; /* what they grow into; where rings do not grow, they themselves */
    uint64_t size, large;
    _Atomic uint64_t window; /* bytes that the program lets stand in `out`, if it has said so: see wsd_window() */
    unsigned side; /* 0 offered (connected), 1 attached (accepted) */
    uint32_t generation;
    _Atomic int fd; /* the bell: an AF_UNIX stream socket */
    _Atomic bool closed;
    _Atomic bool attached;    /* known to be attached: the state word need not be read again */
    _Atomic bool write_shut;  /* this process shut down its sending */
    _Atomic bool peer_gone;   /* the kernel socket says that nobody holds the other end */
    _Atomic bool broken;      /* the segment holds nonsense: WSAECONNABORTED from now on */
    _Atomic bool reset_told;  /* ECONNRESET was reported once, as TCP does */
    _Atomic bool sent_to_none; /* one send after the peer's close went nowhere; the next is EPIPE */
    _Atomic bool pipe_told;    /* that EPIPE was reported once */
    _Atomic bool unannounced;  /* data stand in the ring that no token tells of (hybrid's one hole) */
    _Atomic bool messages;     /* it carries messages, which a socket of bytes cannot */
    _Atomic bool widened;      /* the kernel socket was given a byte stream's buffer (wsd_bare.h) */
    bool end_known;            /* consumer's lock: the kernel knows of an end that came WSD_LATE */
    _Atomic bool strict;       /* see wsd_stream_set_strict */
    _Atomic bool polled;       /* the one poller that watches looks at the ring: see wsd_stream_hush */
    _Atomic uint32_t watchers; /* pollers of this process that wait for data: they sleep on the bell, too */
    uint64_t offer_deadline;
    uint64_t seen_tail; /* producer: how far the consumer was when last looked at */
    uint64_t checked_at; /* consumer's lock: when it was last found that the peer is alive */
    uint64_t seen_head; /* consumer: how far the producer was; only a hint, checked at each use */
    wsd_wait rx_wait, tx_wait;
    uint64_t leased_from, pass_to; /* of this process's lease: where it begins, and what of it was read */
    uint8_t *mirrors[2][2]; /* that direction's lock: [out, in] [small, large], or NULL */
    wsd_traffic own_traffic, *traffic;
    _Atomic uint32_t references;
} wsd_stream;

/* How many streams of this process are `unannounced`: pollers need not look while it is 0. */
extern _Atomic uint32_t wsd_unannounced_now;

enum { WSD_PEEK = 1, WSD_EXACT = 2, WSD_URGENT = 4, WSD_NOWAIT = 8, WSD_PASS = 16 };

/* The connecting end of a slot that wsd_segment_take returned; offer_ns: how long to wait for the
 * acceptor before waits return -WSD_EUNATTACHED. */
int wsd_stream_offer(wsd_segment *segment, uint32_t slot, int fd, uint64_t offer_ns, wsd_stream **out);
/* The accepting end; -ECONNABORTED when the offer of that generation is not there any more. */
int wsd_stream_attach(wsd_segment *segment, uint32_t slot, uint32_t generation, int fd, wsd_stream **out);
/* One end of an attached slot that another process holds and handed over, together with its bell;
 * -ECONNABORTED when that connection is not there any more. */
int wsd_stream_join(wsd_segment *segment, uint32_t slot, uint32_t generation, unsigned side, int fd,
                    wsd_stream **out);
/* The locks of this end's two directions; 0, -EDEADLK, or -EBADF: the stream has left its descriptor.
 * What a dead holder left is put right. */
int wsd_stream_lock_out(wsd_stream *s);
int wsd_stream_lock_in(wsd_stream *s);
/* The end hangs on another descriptor now; no thread uses the old one any more when this returns. */
void wsd_stream_set_fd(wsd_stream *s, int fd);
/* Write into the segment where this end's bell is: in this process, under this number. */
void wsd_stream_note_place(wsd_stream *s);
/* Whoever may be in a call while another thread closes the end holds a reference for that long: the close
 * sees by them whether it has to let somebody out, and to wake those who sleep. */
void wsd_stream_hold(wsd_stream *s);
void wsd_stream_release(wsd_stream *s);

/* A program that set SO_SNDBUF expects a small one to fill up soon; a large one lets the ring grow. */
void wsd_stream_set_window(wsd_stream *s, uint64_t bytes);
/* Strict: the descriptor is true at any rest, for pollers that look at nothing else; calls that wait
 * cost a token each.  If data stand unannounced now, the peer is asked to ring for them. */
void wsd_stream_set_strict(wsd_stream *s, bool on);

unsigned wsd_stream_state(const wsd_stream *s);
/* OFFERED -> REVOKED; false when the peer attached meanwhile. */
bool wsd_stream_revoke(wsd_stream *s);
/* After a revoke: copies what was sent, from byte `from`; returns the count. */
int64_t wsd_stream_sent_so_far(wsd_stream *s, uint64_t from, void *buffer, size_t length);

/* WSD_EXACT: the descriptor must be true for pollers when this returns; without, the bell may fall
 * silent (see wsd_bell_rest).  WSD_NOWAIT: nobody will wait if there is nothing: find out about a death.
 * WSD_URGENT: the last byte that this call sends is urgent.  recv does not read across it. */
int64_t wsd_stream_recv(wsd_stream *s, const struct iovec *iov, int count, int flags);
int64_t wsd_stream_send(wsd_stream *s, const struct iovec *iov, int count, int flags);

/* 1 and the urgent byte; -EINVAL: none, or read, or passed, or inline; -EAGAIN: announced, not here;
 * 0: nor will it come; -ENOTCONN: reset.  Never waits. */
int wsd_stream_recv_urgent(wsd_stream *s, uint8_t *byte, bool peek);
/* An urgent byte is here that nobody has read or gone past: POLLPRI. */
bool wsd_stream_urgent_pending(wsd_stream *s);
/* For a poller of urgent data only: the kernel says POLLPRI for as long as the token that told of an
 * urgent byte is unread, be the byte read or not.  Take it away; data before it are unannounced then. */
void wsd_stream_hush_urgent(wsd_stream *s);
/* The next byte is the latest urgent one, read or not: SIOCATMARK. */
bool wsd_stream_at_mark(const wsd_stream *s);
/* What FIONREAD says: the bytes in front of the mark, or all. */
uint64_t wsd_stream_unread(wsd_stream *s);
/* SO_OOBINLINE, of all processes that share this end. */
void wsd_stream_set_inline(wsd_stream *s, bool on);
bool wsd_stream_is_inline(const wsd_stream *s);
/* After a revoke: which of the bytes sent are urgent: `from` up to `to`, and `mark` - 1 unless it is 0.
 * -ECONNABORTED when the segment holds nonsense. */
int wsd_stream_urgent_sent(wsd_stream *s, uint64_t *from, uint64_t *to, uint64_t *mark);

/* An urgent byte has ever been sent to this end. */
static inline bool wsd_stream_has_urgent(const wsd_stream *s)
{
    return atomic_load_explicit(&s->in->urgent, memory_order_relaxed) != 0;
}

bool wsd_stream_readable(wsd_stream *s);
bool wsd_stream_writable(wsd_stream *s);
uint64_t wsd_stream_available(wsd_stream *s);
uint64_t wsd_stream_queued(wsd_stream *s);
/* The peer reset the connection, or died with our bytes unread, which TCP makes a reset. */
bool wsd_stream_was_reset(wsd_stream *s);
/* The end of the stream as the consumer sees it now: 0 not ended, 1 end of file, -ECONNRESET ... */
int wsd_stream_ending(wsd_stream *s);
/* Consumer's lock held: see `unannounced`. */
void wsd_stream_note_unannounced(wsd_stream *s);
/* No lock held: ring for what was sent in silence, if the peer has asked for that. */
void wsd_stream_answer(wsd_stream *s);
/* For a poller about to sleep: both directions' readiness of the descriptor becomes exact. */
void wsd_stream_arm(wsd_stream *s, bool for_read, bool for_write);
/* The opposite, for one who looks at the ring again and again: no bell for new bytes until the next
 * arm or wait. */
void wsd_stream_unarm(wsd_stream *s);
/* A poller begins, or ends, to wait for data here: meanwhile no recv silences the bell. */
void wsd_stream_watch(wsd_stream *s, bool on);
/* For the one poller of this process that watches and looks at the ring again and again: silent until
 * the unhush, unless somebody else may sleep on this bell. */
void wsd_stream_hush(wsd_stream *s);
void wsd_stream_unhush(wsd_stream *s);
/* For an edge-triggered poller that has been told of what is here: ring for what comes next. */
void wsd_stream_rearm(wsd_stream *s);
/* Bytes that have come so far, read or not. */
uint64_t wsd_stream_arrived(const wsd_stream *s);
/* What SO_ERROR says on TCP (ECONNRESET, EPIPE or 0); `take`: it is told now. */
int wsd_stream_error(wsd_stream *s, bool take);
/* TCP's socket would be closed: reset, or its last send was answered with a reset. */
bool wsd_stream_aborted(wsd_stream *s);

/* First the spin, then (a call of its own, so that the caller can handle signals between) the sleep.
 * 1 ready (data, end or error), 0 not yet, -ETIMEDOUT, -EINTR, -EBADF closed, -WSD_EUNATTACHED. */
int wsd_stream_spin_readable(wsd_stream *s, uint64_t deadline);
/* Before all that, and too short to be worth giving anything away: a few looks.  True: data, end ... */
bool wsd_stream_glance(wsd_stream *s, bool for_read);
int wsd_stream_sleep_readable(wsd_stream *s, uint64_t deadline);
int wsd_stream_spin_writable(wsd_stream *s, uint64_t deadline);
int wsd_stream_sleep_writable(wsd_stream *s, uint64_t deadline);

/* Hand this end over to whoever gets its descriptor: see wsd_bare.h.  0: done, or it was so; 1: the peer
 * is gone, and what it has sent can be read here only; -EBUSY: the peer is in the middle of something
 * or stopped, or the socket cannot carry what stands in the rings, and nothing has changed; -EINVAL: it
 * carries messages; -WSD_EUNATTACHED. */
int wsd_stream_go_bare(wsd_stream *s);

/* how: SHUT_RD, SHUT_WR, SHUT_RDWR */
int wsd_stream_shutdown(wsd_stream *s, int how);
/* Count there from now on, or NULL: in the stream itself.  When this returns, nobody uses the place
 * that was counted in before. */
void wsd_stream_count_into(wsd_stream *s, wsd_traffic *place);
/* Leave the connection; the descriptor is still the caller's and is closed right after. */
void wsd_stream_close(wsd_stream *s, bool reset);
/* Before a fork: the child will hold the end too. */
void wsd_stream_forked(wsd_stream *s);

#endif
