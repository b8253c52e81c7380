/* What the parts of a stream (wsd_stream.c, wsd_transfer.c, wsd_rest.c) share. */
#ifndef WSD_INNER_H
#define WSD_INNER_H

#include "wsd_relaxed.h"
#include "wsd_stream.h"

static inline uint64_t wsd_head_of(const wsd_direction *d)
{
    /* acquire: the bytes below head are written; pairs with the release of the producer's store */
    return atomic_load_explicit(&d->head, memory_order_acquire) & WSD_HEAD;
}

static inline bool wsd_is_attached(wsd_stream *s)
{
    if (WSD_LIKELY(LOAD(s->attached)))
        return true;
    if (wsd_stream_state(s) != WSD_ATTACHED)
        return false;
    STORE(s->attached, true);
    return true;
}

static inline int64_t wsd_broken(wsd_stream *s)
{
    STORE(s->broken, true);
    return -ECONNABORTED;
}

/* The peer has shut down its reading: bytes that find no room go nowhere, as nobody will miss them,
 * and no token can be sent that would tell of room. */
static inline bool wsd_peer_is_deaf(const wsd_stream *s)
{
    return LOAD(s->out->deaf) != 0;
}

/* An offer that was withdrawn (by a relay to TCP in another thread) has nobody to wait for. */
static inline bool wsd_offer_is_dead(wsd_stream *s)
{
    return !wsd_is_attached(s) && wsd_stream_state(s) == WSD_REVOKED;
}

/* Lock held.  The descriptor is not ours any more: closed, and perhaps another file's number by now, or
 * TCP's.  See let_users_out(): whoever holds a lock and finds neither may use the descriptor. */
static inline bool wsd_has_left(wsd_stream *s)
{
    return LOAD(s->closed) || wsd_offer_is_dead(s);
}

/* Consumer's lock held.  Nobody sleeps on what this call leaves: no poller of ours, no other user of
 * this end; and no stranger can poll a descriptor whose number was never given away (see strict). */
static inline bool wsd_may_be_silent(const wsd_stream *s)
{
    return LOAD(s->watchers) <= LOAD(s->polled) && LOAD(s->in->sleepers) == 0 && !LOAD(s->strict) &&
           LOAD(s->slot->holders[s->side]) <= 1;
}

static inline bool wsd_peer_will_not_read(const wsd_stream *s)
{
    return (LOAD(s->in->fin) & WSD_CLOSED) || LOAD(s->peer_gone);
}

/* Take the lock of one direction, whether or not the stream has left its descriptor; 0 or -EDEADLK. */
int wsd_take_out_lock(wsd_stream *s);
int wsd_take_in_lock(wsd_stream *s);
/* What a call that did not get its lock ends with. */
int64_t wsd_locked_out(wsd_stream *s);

#endif
