#include "wsd_stream.h"

#include <poll.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "wsd_bare.h"
#include "wsd_bell.h"
#include "wsd_counters.h"
#include "wsd_grow.h"
#include "wsd_lease.h"
#include "wsd_ring.h"
#include "wsd_urgent.h"

/* Published in pieces of this size, so that the other side copies while we do. */
#define CHUNK_MAX (64u << 10)
/* How long a close waits for bytes on their way from the ring to a bare end's socket. */
#define LINGER_NS (1000 * WSD_MS)
/* How often a peer's death is looked for by one who polls by recv alone. */
#define CHECK_EVERY_NS (20 * WSD_US)

#define LOAD(field) atomic_load_explicit(&(field), memory_order_relaxed)
#define STORE(field, value) atomic_store_explicit(&(field), (value), memory_order_relaxed)

_Atomic uint32_t wsd_unannounced_now;

static bool is_attached(wsd_stream *s)
{
    if (WSD_LIKELY(LOAD(s->attached)))
        return true;
    if (wsd_stream_state(s) != WSD_ATTACHED)
        return false;
    STORE(s->attached, true);
    return true;
}

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
    if (!is_attached(s)) {
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

/* ---- looking ------------------------------------------------------------------------------- */

static uint64_t head_of(const wsd_direction *d)
{
    /* acquire: the bytes below head are written; pairs with the release of the producer's store */
    return atomic_load_explicit(&d->head, memory_order_acquire) & WSD_HEAD;
}

static int64_t broken(wsd_stream *s)
{
    STORE(s->broken, true);
    return -ECONNABORTED;
}

static bool has_data(const wsd_stream *s)
{
    return wsd_has_data(s->in);
}

static bool rx_event(const void *context)
{
    const wsd_stream *s = context;
    return has_data(s) || LOAD(s->in->fin) || LOAD(s->closed) || wsd_bare_reads(s);
}

/* The peer has shut down its reading: bytes that find no room go nowhere, as nobody will miss them,
 * and no token can be sent that would tell of room. */
static bool peer_is_deaf(const wsd_stream *s)
{
    return LOAD(s->out->deaf) != 0;
}

static bool tx_event(const void *context)
{
    const wsd_stream *s = context;
    uint64_t used = (LOAD(s->out->head) & WSD_HEAD) -
                    atomic_load_explicit(&s->out->tail, memory_order_acquire);
    return used < wsd_window(s) || (LOAD(s->in->fin) & WSD_CLOSED) || peer_is_deaf(s) || LOAD(s->closed) ||
           LOAD(s->out->rx) == WSD_BARE;
}

uint64_t wsd_stream_available(wsd_stream *s)
{
    uint64_t head = head_of(s->in), tail = LOAD(s->in->tail), n = head - tail;
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
    if (has_data(s))
        return 0; /* published before the end: acquire above orders the two looks */
    if (wsd_stream_was_reset(s) && !atomic_exchange_explicit(&s->reset_told, true, memory_order_relaxed))
        return -ECONNRESET;
    return 1;
}

bool wsd_stream_readable(wsd_stream *s)
{
    if (WSD_UNLIKELY(wsd_bare_reads(s)) && !LOAD(s->broken) && !LOAD(s->closed))
        return wsd_bare_readable(s);
    return has_data(s) || LOAD(s->in->fin) || LOAD(s->peer_gone) || LOAD(s->in->deaf) || LOAD(s->broken) ||
           LOAD(s->closed);
}

static bool peer_will_not_read(const wsd_stream *s)
{
    return (LOAD(s->in->fin) & WSD_CLOSED) || LOAD(s->peer_gone);
}

bool wsd_stream_writable(wsd_stream *s)
{
    if (LOAD(s->write_shut) || LOAD(s->broken) || LOAD(s->closed) || peer_will_not_read(s))
        return true; /* send would fail at once, which is not blocking */
    if (WSD_UNLIKELY(wsd_bare_writes(s)))
        return wsd_bare_writable(s);
    return peer_is_deaf(s) || (LOAD(s->out->tx) == 0 && wsd_stream_queued(s) < wsd_window(s));
}

/* ---- moving bytes -------------------------------------------------------------------------- */

static int take_out_lock(wsd_stream *s)
{
    int rc = wsd_lock_take(&s->out->producer_lock);
    if (WSD_UNLIKELY(rc > 0)) {
        WSD_COUNT(takeovers);
        wsd_bell_repair_producer(s);
    }
    return rc < 0 ? rc : 0;
}

static int take_in_lock(wsd_stream *s)
{
    int rc = wsd_lock_take(&s->in->consumer_lock);
    if (WSD_UNLIKELY(rc > 0)) {
        WSD_COUNT(takeovers);
        wsd_bell_repair_consumer(s);
    }
    if (WSD_UNLIKELY(LOAD(s->in->urgent) != 0) && rc >= 0)
        wsd_urgent_settle(s);
    return rc < 0 ? rc : 0;
}

/* An offer that was withdrawn (by a relay to TCP in another thread) has nobody to wait for. */
static bool offer_is_dead(wsd_stream *s)
{
    return !is_attached(s) && wsd_stream_state(s) == WSD_REVOKED;
}

/* Lock held.  The descriptor is not ours any more: closed, and perhaps another file's number by now, or
 * TCP's.  See let_users_out(): whoever holds a lock and finds neither may use the descriptor. */
static bool has_left(wsd_stream *s)
{
    return LOAD(s->closed) || offer_is_dead(s);
}

int wsd_stream_lock_out(wsd_stream *s)
{
    int rc = take_out_lock(s);
    if (rc < 0 || WSD_LIKELY(!has_left(s)))
        return rc;
    wsd_lock_drop(&s->out->producer_lock);
    return -EBADF;
}

int wsd_stream_lock_in(wsd_stream *s)
{
    int rc = take_in_lock(s);
    if (rc < 0 || WSD_LIKELY(!has_left(s)))
        return rc;
    wsd_lock_drop(&s->in->consumer_lock);
    return -EBADF;
}

/* What a call that did not get its lock ends with. */
static int64_t locked_out(wsd_stream *s)
{
    return LOAD(s->closed) ? -EBADF : offer_is_dead(s) ? -WSD_EUNATTACHED : broken(s);
}

/* Threads that are in the middle of a call have their hands on the descriptor, and its number may be
 * given to another file right after this: wait for them.  Those that come later find that it has_left. */
static void let_users_out(wsd_stream *s)
{
    if (atomic_load_explicit(&s->references, memory_order_relaxed) <= 1)
        return; /* a call holds a reference as long as it may be without the interpreter's lock */
    if (take_out_lock(s) == 0)
        wsd_lock_drop(&s->out->producer_lock);
    if (take_in_lock(s) == 0)
        wsd_lock_drop(&s->in->consumer_lock);
}

void wsd_stream_set_fd(wsd_stream *s, int fd)
{
    STORE(s->fd, fd);
    wsd_stream_note_place(s);
    let_users_out(s);
}

static void show_cpu(_Atomic uint32_t *word)
{
    uint32_t cpu = wsd_cpu();
    if (LOAD(*word) != cpu) /* a store for nothing would take the line from the other side */
        STORE(*word, cpu);
}

static uint64_t chunk_of(const wsd_stream *s)
{
    return s->size / 4 < CHUNK_MAX ? s->size / 4 : CHUNK_MAX;
}

/* Consumer's lock held. */
static void publish_tail(wsd_stream *s, uint64_t tail)
{
    /* release: our copy is finished before the producer may write over it */
    atomic_store_explicit(&s->in->tail, tail, memory_order_release);
    show_cpu(&s->in->consumer_cpu);
    wsd_bell_consumed(s, tail);
}

/* Consumer's lock held. */
static int64_t take_bytes(wsd_stream *s, wsd_cursor *to, size_t want, bool peek)
{
    wsd_direction *d = s->in;
    uint64_t tail = LOAD(d->tail), chunk = chunk_of(s);
    size_t done = 0;
    while (done < want) {
        uint64_t ready = s->seen_head - tail;
        if (ready == 0 || ready > s->large) {
            s->seen_head = head_of(d);
            ready = s->seen_head - tail;
            if (WSD_UNLIKELY(ready > s->large))
                return broken(s);
            if (ready == 0)
                break;
        }
        if (WSD_UNLIKELY(LOAD(d->urgent) != 0)) {
            int64_t before = wsd_urgent_before(d, tail, ready);
            if (before <= 0 && done > 0)
                break; /* at the mark: it goes no further in one call */
            if (before < 0) {
                tail += (uint64_t)-before;
                if (!peek)
                    publish_tail(s, tail);
                continue;
            }
            ready = before ? (uint64_t)before : ready;
        }
        size_t n = want - done;
        if (n > ready)
            n = ready;
        if (n > chunk)
            n = chunk;
        wsd_area ring = wsd_area_in(s, tail, &n);
        wsd_ring_scatter(ring.data, ring.size, tail, to, n);
        tail += n;
        done += n;
        if (!peek)
            publish_tail(s, tail);
    }
    if (!peek)
        s->traffic->received += done;
    return (int64_t)done;
}

/* Nobody took our offer and nobody will: refused (the kernel socket has ended), withdrawn or late. */
static bool offer_has_failed(wsd_stream *s)
{
    if (WSD_LIKELY(is_attached(s)))
        return false;
    return LOAD(s->peer_gone) || wsd_stream_state(s) == WSD_REVOKED || wsd_now() >= s->offer_deadline;
}

void wsd_stream_note_unannounced(wsd_stream *s)
{
    mark_unannounced(s, LOAD(s->in->rx) != WSD_RUNG && !wsd_bare_reads(s) && has_data(s));
}

/* No lock held.  Only the producer can make a consumer's descriptor readable.  Looked at by everybody
 * who comes to rest, after that: see wsd_stream_set_strict. */
static void ring_if_asked(wsd_stream *s)
{
    if (WSD_LIKELY(LOAD(s->in->ask) == 0) || wsd_stream_lock_out(s) < 0)
        return;
    uint64_t head = LOAD(s->out->head) & WSD_HEAD;
    if (atomic_exchange_explicit(&s->in->ask, 0, memory_order_acq_rel) && !wsd_bare_writes(s) &&
        LOAD(s->out->tail) != head)
        wsd_bell_insist(s, head);
    wsd_lock_drop(&s->out->producer_lock);
}

void wsd_stream_answer(wsd_stream *s)
{
    ring_if_asked(s);
}

void wsd_stream_set_strict(wsd_stream *s, bool on)
{
    STORE(s->strict, on);
    if (!on || wsd_stream_lock_in(s) < 0)
        return;
    wsd_bell_rest(s, true); /* from here on what comes is announced */
    bool unannounced = LOAD(s->in->rx) != WSD_RUNG && !wsd_bare_reads(s) && has_data(s);
    wsd_stream_note_unannounced(s);
    wsd_lock_drop(&s->in->consumer_lock);
    if (!unannounced || wsd_stream_lock_out(s) < 0)
        return;
    STORE(s->out->ask, 1);
    wsd_full_fence(); /* ask, then rx: pairs with rx, then ask, of a peer that comes to rest */
    if (!wsd_bare_writes(s))
        wsd_bell_wake(s);
    wsd_lock_drop(&s->out->producer_lock);
}

/* Consumer's lock held.  Nobody sleeps on what this call leaves: no poller of ours, no other user of
 * this end; and no stranger can poll a descriptor whose number was never given away (see strict). */
static bool may_be_silent(const wsd_stream *s)
{
    return LOAD(s->watchers) <= LOAD(s->polled) && LOAD(s->in->sleepers) == 0 && !LOAD(s->strict) &&
           LOAD(s->slot->holders[s->side]) <= 1;
}

/* Consumer's lock held, nothing to read.  A peer that died has set no flag: ask the kernel, but not
 * each time that somebody who polls by recv alone comes round. */
static void look_for_death(wsd_stream *s, int flags)
{
    uint64_t now = flags & WSD_EXACT ? 0 : wsd_now();
    if (now && now - s->checked_at < CHECK_EVERY_NS)
        return;
    s->checked_at = now;
    wsd_bell_check(s);
}

int64_t wsd_stream_recv(wsd_stream *s, const struct iovec *iov, int count, int flags)
{
    size_t want = wsd_iov_total(iov, count);
    if (WSD_UNLIKELY(LOAD(s->closed)))
        return -EBADF;
    if (WSD_UNLIKELY(LOAD(s->broken)))
        return -ECONNABORTED;
    if (want == 0)
        return 0;
    if (wsd_stream_lock_in(s) < 0)
        return locked_out(s);
    if (WSD_UNLIKELY(!may_be_silent(s)))
        flags |= WSD_EXACT;
    if (WSD_UNLIKELY(LOAD(s->in->leased) || (flags & WSD_PASS)) && !(flags & WSD_PEEK) &&
        wsd_lease_forbids(s, true, flags)) {
        wsd_lock_drop(&s->in->consumer_lock);
        return -WSD_ELEASED;
    }
    wsd_cursor to = {iov, count, 0};
    if (WSD_UNLIKELY(flags & WSD_PASS)) {
        to.count = 0; /* it was read in place */
        want = s->pass_to - LOAD(s->in->tail);
    }
    wsd_bell_pay(s);
    bool own = wsd_bare_own(s); /* then what is in the ring comes by the socket, too */
    int64_t done = own ? 0 : take_bytes(s, &to, want, flags & WSD_PEEK);
    if (done >= 0) {
        wsd_bell_rest(s, flags & WSD_EXACT);
        if (done == 0 && (flags & (WSD_EXACT | WSD_NOWAIT)) && !LOAD(s->in->fin))
            look_for_death(s, flags);
        wsd_stream_note_unannounced(s);
    }
    wsd_lock_drop(&s->in->consumer_lock);
    ring_if_asked(s);
    if (done != 0)
        return done;
    if (WSD_UNLIKELY(wsd_bare_reads(s)))
        return wsd_bare_recv(s, iov, count, flags);
    if (WSD_UNLIKELY(offer_has_failed(s)))
        return -WSD_EUNATTACHED;
    int end = wsd_stream_ending(s);
    return end == 0 ? -EAGAIN : end < 0 ? end : 0;
}

/* What TCP says of a peer that has closed: a reset is told once; without one, the first send goes
 * nowhere (and provokes the reset), later ones are EPIPE. */
static int64_t send_to_nobody(wsd_stream *s, size_t length)
{
    if (wsd_stream_was_reset(s))
        return atomic_exchange_explicit(&s->reset_told, true, memory_order_relaxed) ? -EPIPE : -ECONNRESET;
    if (atomic_exchange_explicit(&s->sent_to_none, true, memory_order_relaxed) || (LOAD(s->in->fin) & WSD_PIPE)) {
        STORE(s->pipe_told, true);
        return -EPIPE;
    }
    uint64_t window = wsd_window(s); /* as much as TCP's send buffer would have taken */
    return (int64_t)(length < window ? length : window);
}

/* Producer's lock held; *head is left at the last byte published. */
static int64_t put_bytes(wsd_stream *s, wsd_cursor *from, size_t want, uint64_t *head)
{
    wsd_direction *d = s->out;
    uint64_t chunk = chunk_of(s), window = wsd_window(s);
    size_t done = 0;
    while (done < want) {
        uint64_t used = *head - s->seen_tail;
        if (used > window || window - used < want - done) {
            /* acquire: the consumer's copy is finished; pairs with the release in take_bytes */
            s->seen_tail = atomic_load_explicit(&d->tail, memory_order_acquire);
            used = *head - s->seen_tail;
            if (WSD_UNLIKELY(used > s->large))
                return broken(s);
            if (used >= window) {
                if (!wsd_grow(s, *head))
                    break;
                window = wsd_window(s);
                continue;
            }
        }
        size_t n = want - done;
        if (n > window - used)
            n = window - used;
        if (n > chunk)
            n = chunk;
        wsd_area ring = wsd_area_out(s, *head, &n);
        wsd_ring_gather(ring.data, ring.size, *head, from, n);
        *head += n;
        done += n;
        /* release: the bytes are written before head says so; pairs with head_of */
        atomic_store_explicit(&d->head, *head, memory_order_release);
        show_cpu(&d->producer_cpu);
        wsd_bell_published(s, *head);
    }
    return (int64_t)done;
}

/* Producer's lock held: as put_bytes, with a mark on the last byte there is room for now. */
static __attribute__((noinline, cold)) int64_t put_urgent(wsd_stream *s, wsd_cursor *from, size_t want, uint64_t *head)
{
    wsd_direction *d = s->out;
    uint64_t window = wsd_window(s);
    s->seen_tail = atomic_load_explicit(&d->tail, memory_order_acquire); /* as in put_bytes */
    uint64_t used = *head - s->seen_tail;
    if (WSD_UNLIKELY(used > s->large))
        return broken(s);
    if (want == 0 || used >= window)
        return 0;
    size_t n = want < window - used ? want : window - used;
    int64_t done = put_bytes(s, from, n - 1, head);
    if (done < 0 || (size_t)done < n - 1)
        return done; /* another thread has made the window smaller */
    bool alone = wsd_urgent_mark(d, *head);
    size_t one = 1;
    wsd_area ring = wsd_area_out(s, *head, &one);
    wsd_ring_gather(ring.data, ring.size, *head, from, one);
    ++*head;
    /* release: the byte and its mark come first; pairs with head_of */
    atomic_store_explicit(&d->head, *head, memory_order_release);
    show_cpu(&d->producer_cpu);
    if (!alone)
        wsd_bell_published(s, *head);
    wsd_bell_urgent(s, *head);
    return (int64_t)n;
}

int64_t wsd_stream_send(wsd_stream *s, const struct iovec *iov, int count, int flags)
{
    flags |= WSD_UNLIKELY(LOAD(s->strict)) ? WSD_EXACT : 0;
    size_t want = wsd_iov_total(iov, count);
    if (WSD_UNLIKELY(LOAD(s->closed)))
        return -EBADF;
    if (WSD_UNLIKELY(LOAD(s->broken)))
        return -ECONNABORTED;
    if (WSD_UNLIKELY(LOAD(s->write_shut)))
        return wsd_stream_was_reset(s) ? send_to_nobody(s, want) : -EPIPE;
    if (WSD_UNLIKELY(peer_will_not_read(s)))
        return is_attached(s) ? send_to_nobody(s, want) : -WSD_EUNATTACHED;
    if (want == 0)
        return 0;
    if (wsd_stream_lock_out(s) < 0)
        return locked_out(s);
    if (WSD_UNLIKELY(LOAD(s->out->fin))) { /* shut down by another user of this end, or just now */
        wsd_lock_drop(&s->out->producer_lock);
        return -EPIPE;
    }
    if (WSD_UNLIKELY(LOAD(s->out->reserved)) && wsd_lease_forbids(s, false, flags)) {
        wsd_lock_drop(&s->out->producer_lock);
        return -WSD_ELEASED;
    }
    if (WSD_UNLIKELY(wsd_bare_writes(s))) {
        int64_t sent = wsd_bare_send(s, iov, count, flags);
        wsd_lock_drop(&s->out->producer_lock);
        return sent;
    }
    uint64_t head = LOAD(s->out->head) & WSD_HEAD;
    wsd_cursor from = {iov, count, 0};
    size_t done = 0;
    int64_t n;
    do {
        n = WSD_UNLIKELY(flags & WSD_URGENT) ? put_urgent(s, &from, want - done, &head)
                                             : put_bytes(s, &from, want - done, &head);
        if (n > 0)
            done += (size_t)n;
        /* short, or exactly full: a non-blocking user polls next, so the socket must say "full" */
    } while (n >= 0 && (flags & WSD_EXACT) &&
             (done < want || head - s->seen_tail >= wsd_window(s)) &&
             head - LOAD(s->out->tail) >= wsd_window(s) && !peer_is_deaf(s) && wsd_bell_full(s, head) &&
             done < want);
    s->traffic->sent += done;
    wsd_lock_drop(&s->out->producer_lock);
    ring_if_asked(s);
    if (n >= 0 && peer_is_deaf(s))
        return (int64_t)want;
    if (done == 0 && n >= 0) {
        if (flags & WSD_EXACT)
            wsd_bell_ended(s); /* a peer that died sets no flag, and no token of ours finds out here */
        if (offer_has_failed(s))
            return -WSD_EUNATTACHED;
        if (peer_will_not_read(s))
            return send_to_nobody(s, want);
    }
    return done ? (int64_t)done : n < 0 ? n : -EAGAIN;
}

/* ---- waiting ------------------------------------------------------------------------------- */

void wsd_stream_arm(wsd_stream *s, bool for_read, bool for_write)
{
    wsd_bare_flush(s);
    if (for_read && wsd_stream_lock_in(s) == 0) {
        wsd_bell_rest(s, true);
        /* Pollers do not believe the bell of such a stream: it may have come for an urgent byte.  So
         * whatever else has made it readable is found out here. */
        if (WSD_UNLIKELY(LOAD(s->in->urgent) != 0) && !wsd_bare_reads(s) && !wsd_stream_readable(s))
            wsd_bell_check(s);
        wsd_stream_note_unannounced(s);
        wsd_lock_drop(&s->in->consumer_lock);
    }
    ring_if_asked(s);
    if (for_write && !wsd_bare_writes(s) && wsd_stream_queued(s) >= wsd_window(s) && wsd_stream_lock_out(s) == 0) {
        uint64_t head = LOAD(s->out->head) & WSD_HEAD;
        if (head - LOAD(s->out->tail) >= wsd_window(s))
            wsd_bell_full(s, head);
        wsd_lock_drop(&s->out->producer_lock);
    }
}

void wsd_stream_watch(wsd_stream *s, bool on)
{
    if (on)
        atomic_fetch_add_explicit(&s->watchers, 1, memory_order_relaxed);
    else
        atomic_fetch_sub_explicit(&s->watchers, 1, memory_order_relaxed);
    /* Under the consumer's lock, so that who spins in silence is found, and who comes later sees us. */
    if (on)
        wsd_stream_arm(s, true, false);
}

void wsd_stream_unarm(wsd_stream *s)
{
    if (s->strict || LOAD(s->watchers) || LOAD(s->closed) || wsd_stream_lock_in(s) < 0)
        return;
    if (LOAD(s->in->sleepers) == 0)
        wsd_bell_unarm(s);
    wsd_lock_drop(&s->in->consumer_lock);
}

void wsd_stream_hush(wsd_stream *s)
{
    if ((LOAD(s->polled) && LOAD(s->in->rx) == WSD_QUIET) || LOAD(s->closed) || wsd_stream_lock_in(s) < 0)
        return;
    STORE(s->polled, true);
    bool silent = may_be_silent(s) && !wsd_bare_reads(s);
    STORE(s->polled, silent);
    if (silent)
        wsd_bell_unarm(s);
    wsd_lock_drop(&s->in->consumer_lock);
}

void wsd_stream_unhush(wsd_stream *s)
{
    STORE(s->polled, false); /* a recv that has not seen it holds the lock, which the arm takes */
    if (!LOAD(s->closed))
        wsd_stream_arm(s, true, false);
}

void wsd_stream_rearm(wsd_stream *s)
{
    if (LOAD(s->closed) || wsd_stream_lock_in(s) < 0)
        return;
    wsd_bell_rearm(s);
    wsd_stream_note_unannounced(s);
    wsd_lock_drop(&s->in->consumer_lock);
}

uint64_t wsd_stream_arrived(const wsd_stream *s)
{
    return head_of(s->in);
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

bool wsd_stream_glance(wsd_stream *s, bool for_read)
{
    if (!LOAD(s->attached) || LOAD(s->closed) || WSD_UNLIKELY(for_read ? wsd_bare_reads(s) : wsd_bare_writes(s)))
        return false; /* only a wait knows what to do */
    return for_read ? wsd_wait_glance(&s->rx_wait, rx_event, s, &s->in->producer_cpu)
                    : wsd_wait_glance(&s->tx_wait, tx_event, s, &s->out->consumer_cpu);
}

int wsd_stream_spin_readable(wsd_stream *s, uint64_t deadline)
{
    wsd_bare_flush(s);
    if (wsd_stream_readable(s))
        return 1;
    if (WSD_UNLIKELY(wsd_bare_reads(s)))
        return LOAD(s->closed) ? -EBADF : 0; /* there is nothing to look at but the socket */
    if (offer_is_dead(s))
        return -WSD_EUNATTACHED;
    if (LOAD(s->in->rx) == WSD_ARMED) {
        if (wsd_stream_lock_in(s) < 0)
            return (int)locked_out(s);
        if (may_be_silent(s))
            wsd_bell_unarm(s); /* watching: a token would only cost both of us a system call */
        wsd_lock_drop(&s->in->consumer_lock);
    }
    if (wsd_wait_spin(&s->rx_wait, rx_event, s, &s->in->producer_cpu, deadline))
        return LOAD(s->closed) ? -EBADF : 1;
    return 0;
}

/* What a sleep on the bell ended with, when it is not the event itself. */
static int judge_poll(wsd_stream *s, int rc, int error, short revents, uint64_t deadline)
{
    if (LOAD(s->closed) || (revents & POLLNVAL))
        return -EBADF;
    if (rc < 0)
        return error == EINTR ? -EINTR : -error;
    if (revents & (POLLHUP | POLLRDHUP | POLLERR)) {
        if (!is_attached(s))
            return -WSD_EUNATTACHED; /* whoever took our offer from the queue refused it */
        wsd_bell_ended(s);
        return 1;
    }
    uint64_t now = wsd_now();
    if (now >= deadline)
        return -ETIMEDOUT;
    if (now >= s->offer_deadline && !is_attached(s))
        return -WSD_EUNATTACHED;
    return 0;
}

static uint64_t wake_by(wsd_stream *s, uint64_t deadline)
{
    return !is_attached(s) && s->offer_deadline < deadline ? s->offer_deadline : deadline;
}

int wsd_stream_sleep_readable(wsd_stream *s, uint64_t deadline)
{
    if (WSD_UNLIKELY(wsd_bare_reads(s) || wsd_bare_left(s)))
        return wsd_bare_sleep(s, true, deadline);
    if (wsd_stream_lock_in(s) < 0)
        return (int)locked_out(s);
    /* announced under the lock: from here on no other user of this end goes QUIET */
    STORE(s->in->sleepers, LOAD(s->in->sleepers) + 1);
    wsd_bell_rest(s, true);
    wsd_lock_drop(&s->in->consumer_lock);
    ring_if_asked(s);
    int result = 1;
    if (!wsd_stream_readable(s)) {
        uint64_t since = wsd_now();
        struct pollfd p = {LOAD(s->fd), POLLIN | POLLRDHUP, 0};
        WSD_COUNT(sleeps);
        int rc = poll(&p, 1, wsd_wait_ms(since, wake_by(s, deadline)));
        int error = errno;
        if (rx_event(s)) {
            wsd_wait_learn(&s->rx_wait, since, LOAD(s->in->rx_stamp));
            result = LOAD(s->closed) ? -EBADF : 1;
        } else {
            result = judge_poll(s, rc, error, p.revents, deadline);
        }
    }
    if (take_in_lock(s) == 0) {
        uint32_t sleepers = LOAD(s->in->sleepers);
        STORE(s->in->sleepers, sleepers ? sleepers - 1 : 0);
        if (result == 0 && !has_left(s))
            wsd_bell_check(s); /* woken for nothing: remove what woke us, or we never sleep again */
        wsd_lock_drop(&s->in->consumer_lock);
    }
    return result;
}

int wsd_stream_spin_writable(wsd_stream *s, uint64_t deadline)
{
    if (WSD_UNLIKELY(wsd_bare_writes(s)) && !LOAD(s->closed) && !LOAD(s->write_shut))
        return wsd_bare_writable(s);
    if (tx_event(s) || LOAD(s->write_shut) || LOAD(s->peer_gone))
        return 1;
    if (offer_is_dead(s))
        return -WSD_EUNATTACHED;
    if (wsd_wait_spin(&s->tx_wait, tx_event, s, &s->out->consumer_cpu, deadline))
        return LOAD(s->closed) ? -EBADF : 1;
    return 0;
}

int wsd_stream_sleep_writable(wsd_stream *s, uint64_t deadline)
{
    if (WSD_UNLIKELY(wsd_bare_writes(s)))
        return wsd_bare_sleep(s, false, deadline);
    if (wsd_stream_lock_out(s) < 0)
        return (int)locked_out(s);
    uint64_t head = LOAD(s->out->head) & WSD_HEAD;
    bool room = head - LOAD(s->out->tail) < wsd_window(s) || peer_is_deaf(s) || wsd_bell_full(s, head);
    wsd_lock_drop(&s->out->producer_lock);
    ring_if_asked(s);
    if (room || LOAD(s->peer_gone))
        return 1;
    uint64_t since = wsd_now();
    struct pollfd p = {LOAD(s->fd), POLLOUT, 0};
    WSD_COUNT(sleeps);
    int rc = poll(&p, 1, wsd_wait_ms(since, wake_by(s, deadline)));
    int error = errno;
    if (tx_event(s)) {
        wsd_wait_learn(&s->tx_wait, since, LOAD(s->out->tx_stamp));
        return LOAD(s->closed) ? -EBADF : 1;
    }
    return judge_poll(s, rc, error, p.revents, deadline);
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
    bool used = LOAD(s->references) > 1; /* a call holds one */
    let_users_out(s);
    if (!last || wsd_bare_own(s))
        return; /* another process goes on with this end; the kernel knows when the last one is gone */
    /* an urgent byte, too, even one that was read: TCP counts what is in its stream */
    bool unread = head_of(s->in) != LOAD(s->in->tail) && !LOAD(s->broken) && !wsd_bare_reads(s);
    uint32_t fin = WSD_FIN | WSD_CLOSED;
    if (unread || reset)
        fin |= LOAD(s->out->fin) & WSD_FIN ? WSD_PIPE : WSD_RESET;
    atomic_fetch_or_explicit(&s->out->fin, fin, memory_order_release);
    if (!unread && take_in_lock(s) == 0) {
        wsd_bell_settle(s); /* tokens left unread would be a reset to the peer */
        wsd_lock_drop(&s->in->consumer_lock);
    }
    if (used)
        shutdown(LOAD(s->fd), SHUT_RDWR); /* wakes the threads of ours that sleep on it */
}

void wsd_stream_forked(wsd_stream *s)
{
    atomic_fetch_add_explicit(&s->slot->holders[s->side], 1, memory_order_relaxed);
}
