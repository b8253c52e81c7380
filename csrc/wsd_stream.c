#include "wsd_inner.h"

#include <stdlib.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "wsd_bare.h"
#include "wsd_bell.h"
#include "wsd_grow.h"
#include "wsd_lease.h"
#include "wsd_ring.h"
#include "wsd_urgent.h"

/* How long a close waits for bytes on their way from the ring to a bare end's socket. */
#define LINGER_NS (1000 * WSD_MS)

_Atomic uint32_t wsd_unannounced_now;

/* ---- life ---------------------------------------------------------------------------------- */

static int new_stream(wsd_segment *segment, uint32_t index, unsigned side, int fd, wsd_stream **out)
{
    wsd_stream *s = calloc(1, sizeof *s);
    if (!s)
        return -ENOMEM;
    wsd_slot *slot = wsd_segment_slot(segment, index);
    s->segment = segment;
    s->slot = slot;
    s->side = side;
    s->out = &slot->direction[side];
    s->in = &slot->direction[1 - side];
    s->out_data = wsd_segment_ring(segment, index, side);
    s->in_data = wsd_segment_ring(segment, index, 1 - side);
    s->size = segment->ring;
    wsd_grow_init(s, index);
    s->generation = wsd_slot_generation(slot);
    s->traffic = &s->own_traffic;
    s->offer_deadline = WSD_FOREVER;
    wsd_wait_init(&s->rx_wait);
    wsd_wait_init(&s->tx_wait);
    atomic_init(&s->fd, fd);
    atomic_init(&s->references, 1);
    wsd_segment_hold(segment);
    *out = s;
    return 0;
}

void wsd_stream_note_place(wsd_stream *s)
{
    wsd_place *place = &s->slot->place[s->side];
    int fd = LOAD(s->fd);
    struct stat st;
    STORE(place->pid, 0); /* not half of one and half of the other */
    if (fd < 0)
        return;
    STORE(place->fd, fd);
    STORE(place->inode, fstat(fd, &st) == 0 ? (uint64_t)st.st_ino : 0);
    STORE(place->pid, getpid());
}

int wsd_stream_offer(wsd_segment *segment, uint32_t index, int fd, uint64_t offer_ns, wsd_stream **out)
{
    if (index >= segment->slots)
        return -EINVAL;
    int rc = new_stream(segment, index, 0, fd, out);
    if (rc == 0 && offer_ns != WSD_FOREVER)
        (*out)->offer_deadline = wsd_now() + offer_ns;
    if (rc == 0)
        wsd_stream_note_place(*out);
    return rc;
}

int wsd_stream_attach(wsd_segment *segment, uint32_t index, uint32_t generation, int fd, wsd_stream **out)
{
    if (index >= segment->slots)
        return -EINVAL;
    int rc = new_stream(segment, index, 1, fd, out);
    if (rc < 0)
        return rc;
    wsd_stream *s = *out;
    s->generation = generation & (UINT32_MAX >> 2);
    /* hold first: once ATTACHED is visible the slot must not look free, whoever leaves it */
    atomic_fetch_add_explicit(&s->slot->holders[1], 1, memory_order_relaxed);
    uint32_t offered = WSD_STATE_WORD(s->generation, WSD_OFFERED);
    /* acq_rel: see the offering side's reset of the slot, and let it see our hold */
    if (!atomic_compare_exchange_strong_explicit(&s->slot->state, &offered,
                                                 WSD_STATE_WORD(s->generation, WSD_ATTACHED),
                                                 memory_order_acq_rel, memory_order_relaxed)) {
        wsd_stream_release(s);
        *out = NULL;
        return -ECONNABORTED;
    }
    STORE(s->attached, true);
    wsd_stream_note_place(s);
    STORE(s->out->producer_cpu, wsd_cpu());
    STORE(s->in->consumer_cpu, wsd_cpu());
    return 0;
}

static void mark_unannounced(wsd_stream *s, bool now)
{
    if (WSD_LIKELY(LOAD(s->unannounced) == now) ||
        atomic_exchange_explicit(&s->unannounced, now, memory_order_relaxed) == now)
        return;
    if (now)
        atomic_fetch_add_explicit(&wsd_unannounced_now, 1, memory_order_relaxed);
    else
        atomic_fetch_sub_explicit(&wsd_unannounced_now, 1, memory_order_relaxed);
}

int wsd_stream_join(wsd_segment *segment, uint32_t index, uint32_t generation, unsigned side, int fd,
                    wsd_stream **out)
{
    if (index >= segment->slots || side > 1)
        return -EINVAL;
    int rc = new_stream(segment, index, side, fd, out);
    if (rc < 0)
        return rc;
    wsd_stream *s = *out;
    s->generation = generation & (UINT32_MAX >> 2);
    atomic_fetch_add_explicit(&s->slot->holders[side], 1, memory_order_relaxed);
    if (!wsd_is_attached(s)) {
        wsd_stream_release(s);
        *out = NULL;
        return -ECONNABORTED;
    }
    wsd_stream_note_place(s);
    return 0;
}

void wsd_stream_hold(wsd_stream *s)
{
    atomic_fetch_add_explicit(&s->references, 1, memory_order_relaxed);
}

void wsd_stream_release(wsd_stream *s)
{
    /* acq_rel: all uses of the slot are over before it is given up */
    if (atomic_fetch_sub_explicit(&s->references, 1, memory_order_acq_rel) != 1)
        return;
    mark_unannounced(s, false);
    wsd_grow_return(s);
    wsd_lease_unmap(s);
    wsd_slot_leave(s->slot, s->side);
    wsd_segment_release(s->segment);
    free(s);
}

void wsd_stream_set_window(wsd_stream *s, uint64_t bytes)
{
    STORE(s->window, bytes < 1 ? 1 : bytes);
}

unsigned wsd_stream_state(const wsd_stream *s)
{
    uint32_t word = atomic_load_explicit(&s->slot->state, memory_order_acquire);
    return WSD_GENERATION(word) == s->generation ? (word & WSD_STATE_MASK) : WSD_REVOKED;
}

int64_t wsd_stream_sent_so_far(wsd_stream *s, uint64_t from, void *buffer, size_t length)
{
    uint64_t head = LOAD(s->out->head) & WSD_HEAD;
    if (head > s->size || from > head)
        return -ECONNABORTED; /* nobody consumed: all that was ever sent still stands in the ring */
    uint64_t n = head - from < length ? head - from : length;
    wsd_ring_get(s->out_data, s->size, from, buffer, n);
    return (int64_t)n;
}

/* Threads that are in the middle of a call have their hands on the descriptor, and its number may be
 * given to another file right after this: wait for them.  Those that come later find that it has_left. */
static void let_users_out(wsd_stream *s)
{
    if (atomic_load_explicit(&s->references, memory_order_relaxed) <= 1)
        return; /* a call holds a reference as long as it may be without the interpreter's lock */
    if (wsd_take_out_lock(s) == 0)
        wsd_lock_drop(&s->out->producer_lock);
    if (wsd_take_in_lock(s) == 0)
        wsd_lock_drop(&s->in->consumer_lock);
}

void wsd_stream_set_fd(wsd_stream *s, int fd)
{
    STORE(s->fd, fd);
    wsd_stream_note_place(s);
    let_users_out(s);
}

/* ---- looking ------------------------------------------------------------------------------- */

uint64_t wsd_stream_available(wsd_stream *s)
{
    uint64_t head = wsd_head_of(s->in), tail = LOAD(s->in->tail), n = head - tail;
    if (WSD_UNLIKELY(wsd_bare_reads(s)) && (n == 0 || wsd_bare_own(s)))
        return wsd_bare_available(s);
    if (WSD_UNLIKELY(n > s->large))
        return 0;
    if (WSD_LIKELY(LOAD(s->in->urgent) == 0))
        return n;
    tail = wsd_urgent_start(s->in, head, tail);
    int64_t before = wsd_urgent_before(s->in, tail, head - tail);
    return before > 0 ? (uint64_t)before : head - tail;
}

uint64_t wsd_stream_queued(wsd_stream *s)
{
    uint64_t n = (LOAD(s->out->head) & WSD_HEAD) - LOAD(s->out->tail);
    return n <= s->large ? n : 0;
}

/* A peer that died, or closed, with our bytes unread resets the connection as TCP's would. */
bool wsd_stream_was_reset(wsd_stream *s)
{
    uint32_t fin = LOAD(s->in->fin);
    return (fin & WSD_RESET) || (!fin && LOAD(s->peer_gone) && wsd_stream_queued(s) > 0);
}

int wsd_stream_ending(wsd_stream *s)
{
    if (LOAD(s->broken))
        return -ECONNABORTED;
    if (WSD_UNLIKELY(wsd_bare_reads(s)))
        return wsd_bare_ending(s);
    uint32_t fin = atomic_load_explicit(&s->in->fin, memory_order_acquire);
    bool gone = LOAD(s->peer_gone);
    if (!fin && !gone && !LOAD(s->in->deaf))
        return 0;
    if (wsd_has_data(s->in))
        return 0; /* published before the end: acquire above orders the two looks */
    if (wsd_stream_was_reset(s) && !atomic_exchange_explicit(&s->reset_told, true, memory_order_relaxed))
        return -ECONNRESET;
    return 1;
}

bool wsd_stream_readable(wsd_stream *s)
{
    if (WSD_UNLIKELY(wsd_bare_reads(s)) && !LOAD(s->broken) && !LOAD(s->closed))
        return wsd_bare_readable(s);
    return wsd_has_data(s->in) || LOAD(s->in->fin) || LOAD(s->peer_gone) || LOAD(s->in->deaf) || LOAD(s->broken) ||
           LOAD(s->closed);
}

bool wsd_stream_writable(wsd_stream *s)
{
    if (LOAD(s->write_shut) || LOAD(s->broken) || LOAD(s->closed) || wsd_peer_will_not_read(s))
        return true; /* send would fail at once, which is not blocking */
    if (WSD_UNLIKELY(wsd_bare_writes(s)))
        return wsd_bare_writable(s);
    return wsd_peer_is_deaf(s) || (LOAD(s->out->tx) == 0 && wsd_stream_queued(s) < wsd_window(s));
}

void wsd_stream_note_unannounced(wsd_stream *s)
{
    mark_unannounced(s, LOAD(s->in->rx) != WSD_RUNG && !wsd_bare_reads(s) && wsd_has_data(s->in));
}

uint64_t wsd_stream_arrived(const wsd_stream *s)
{
    return wsd_head_of(s->in);
}

bool wsd_stream_aborted(wsd_stream *s)
{
    return wsd_stream_was_reset(s) || LOAD(s->sent_to_none) || (LOAD(s->in->fin) & WSD_PIPE);
}

int wsd_stream_error(wsd_stream *s, bool take)
{
    if (!wsd_stream_aborted(s))
        return 0;
    bool reset = wsd_stream_was_reset(s);
    if (!reset && LOAD(s->write_shut))
        return 0; /* both had ended: nobody is left whom the peer's reset could reach */
    _Atomic bool *told = reset ? &s->reset_told : &s->pipe_told;
    bool before = take ? atomic_exchange_explicit(told, true, memory_order_relaxed) : LOAD(*told);
    return before ? 0 : reset ? ECONNRESET : EPIPE;
}

/* ---- ending -------------------------------------------------------------------------------- */

bool wsd_stream_revoke(wsd_stream *s)
{
    uint32_t offered = WSD_STATE_WORD(s->generation, WSD_OFFERED);
    if (!atomic_compare_exchange_strong_explicit(&s->slot->state, &offered,
                                                 WSD_STATE_WORD(s->generation, WSD_REVOKED),
                                                 memory_order_acq_rel, memory_order_relaxed) &&
        wsd_stream_state(s) != WSD_REVOKED)
        return false;
    let_users_out(s); /* what was sent so far is all that will ever be */
    return true;
}

/* Producer's lock held.  True: the kernel is to be told, too.  Not while bytes stand in the ring: the
 * peer, should it go bare, needs our half of the socket for them.  It is readable by their token, and
 * who reads the last of them ends its own half, which comes to the same (wsd_bell_rest). */
static bool publish_end(wsd_stream *s, int how)
{
    /* a writer of ours that sleeps is woken by the kernel only */
    bool late = wsd_has_data(s->out) && (how == SHUT_WR || LOAD(s->out->tx) == 0);
    /* release: all bytes are published before the end is */
    atomic_fetch_or_explicit(&s->out->fin, late ? WSD_FIN | WSD_LATE : WSD_FIN, memory_order_release);
    if (!late)
        return true;
    wsd_full_fence(); /* fin, then tail: pairs with tail, then fin, in wsd_bell_rest */
    if (!wsd_has_data(s->out))
        return true;
    wsd_bell_insist(s, LOAD(s->out->head) & WSD_HEAD);
    return false;
}

/* Who waits for room in another thread, or another process, need not wait any more: send fails from now
 * on.  A larger buffer makes the descriptor writable for good, and wakes them; no token follows. */
static void wake_writers(const wsd_stream *s)
{
    int plenty = 1 << 16;
    setsockopt(LOAD(s->fd), SOL_SOCKET, SO_SNDBUF, &plenty, sizeof plenty);
}

int wsd_stream_shutdown(wsd_stream *s, int how)
{
    if (how != SHUT_RD && how != SHUT_WR && how != SHUT_RDWR)
        return -EINVAL;
    if (LOAD(s->closed))
        return -EBADF;
    if (how != SHUT_RD) {
        int rc = wsd_stream_lock_out(s);
        STORE(s->write_shut, true);
        bool now = wsd_bare_writes(s) ? wsd_bare_finish(s) : publish_end(s, how);
        if (rc == 0)
            wsd_lock_drop(&s->out->producer_lock);
        wake_writers(s);
        if (!now && how == SHUT_WR)
            return 0;
        how = now ? how : SHUT_RD;
    }
    if (how != SHUT_WR && !wsd_bare_reads(s))
        STORE(s->in->deaf, 1);
    /* the kernel's own half close is the bell for the end: the peer polls readable from now on */
    return shutdown(LOAD(s->fd), how) < 0 && errno != ENOTCONN ? -errno : 0;
}

void wsd_stream_count_into(wsd_stream *s, wsd_traffic *place)
{
    /* the locks: a thread in the middle of a call has its hands on the old place */
    bool out = wsd_stream_lock_out(s) == 0, in = wsd_stream_lock_in(s) == 0;
    wsd_traffic so_far = *s->traffic;
    if (place) {
        place->sent += so_far.sent;
        place->received += so_far.received;
    } else {
        s->own_traffic = so_far;
    }
    s->traffic = place ? place : &s->own_traffic;
    if (in)
        wsd_lock_drop(&s->in->consumer_lock);
    if (out)
        wsd_lock_drop(&s->out->producer_lock);
}

void wsd_stream_close(wsd_stream *s, bool reset)
{
    bool last = LOAD(s->slot->holders[s->side]) <= 1;
    if (!LOAD(s->closed) && WSD_UNLIKELY(wsd_bare_left(s)))
        wsd_bare_linger(s, last ? LINGER_NS : 0);
    if (atomic_exchange_explicit(&s->closed, true, memory_order_relaxed))
        return;
    /* A call holds one.  The interpreter's lock is held here, and whenever a call takes its own: it is counted,
     * or begins after this and finds the end closed. */
    bool used = LOAD(s->references) > 1;
    let_users_out(s);
    if (!last || wsd_bare_own(s))
        return; /* another process goes on with this end; the kernel knows when the last one is gone */
    /* an urgent byte, too, even one that was read: TCP counts what is in its stream */
    bool unread = wsd_head_of(s->in) != LOAD(s->in->tail) && !LOAD(s->broken) && !wsd_bare_reads(s);
    uint32_t fin = WSD_FIN | WSD_CLOSED;
    if (unread || reset)
        fin |= LOAD(s->out->fin) & WSD_FIN ? WSD_PIPE : WSD_RESET;
    atomic_fetch_or_explicit(&s->out->fin, fin, memory_order_release);
    if (!unread && wsd_take_in_lock(s) == 0) {
        wsd_bell_settle(s); /* tokens left unread would be a reset to the peer */
        wsd_lock_drop(&s->in->consumer_lock);
    }
    if (used)
        shutdown(LOAD(s->fd), SHUT_RDWR); /* wakes the threads of ours that sleep on it */
    /* else the caller's close() tells the peer, as it does on TCP */
}

void wsd_stream_forked(wsd_stream *s)
{
    atomic_fetch_add_explicit(&s->slot->holders[s->side], 1, memory_order_relaxed);
}
