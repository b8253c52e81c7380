#include "wsd_lease.h"

#include <limits.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <sys/mman.h>
#include <unistd.h>

#include "wsd_bare.h"
#include "wsd_bell.h"
#include "wsd_counters.h"
#include "wsd_grow.h"
#include "wsd_inner.h"
#include "wsd_urgent.h"

/* ---- whose turn it is ------------------------------------------------------------------------ */

static _Atomic uint32_t process; /* its number, once asked for: the kernel takes longer than a lease should */
static pthread_once_t once = PTHREAD_ONCE_INIT;

static void forget_process(void)
{
    STORE(process, 0);
}

static void watch_forks(void)
{
    pthread_atfork(NULL, NULL, forget_process);
}

uint32_t wsd_lease_process(void)
{
    uint32_t number = LOAD(process);
    if (WSD_UNLIKELY(number == 0)) {
        pthread_once(&once, watch_forks); /* before it is kept */
        number = (uint32_t)getpid();
        STORE(process, number);
    }
    return number;
}

static bool is_held(uint32_t holder)
{
    if (holder == 0 || holder > INT_MAX)
        return false; /* no process has such a number; some would mean many processes */
    return holder == wsd_lease_process() || kill((pid_t)holder, 0) == 0 || errno == EPERM;
}

bool wsd_lease_on(const wsd_direction *d)
{
    return is_held(LOAD(d->leased));
}

bool wsd_lease_forbids(wsd_stream *s, bool in, int flags)
{
    _Atomic uint32_t *word = in ? &s->in->leased : &s->out->reserved;
    uint32_t holder = LOAD(*word);
    if (flags & WSD_PASS) { /* wsd_lease_end: this is the call that the lease was for */
        if (holder != wsd_lease_process())
            return true; /* somebody took us for dead */
        STORE(*word, 0);
        return (int64_t)(s->pass_to - LOAD(s->in->tail)) <= 0; /* or an urgent byte at its front is passed */
    }
    if (is_held(holder))
        return true;
    STORE(*word, 0);
    return false;
}

/* ---- the second mapping ---------------------------------------------------------------------- */

static uint8_t *map_twice(const wsd_segment *segment, const uint8_t *data, uint64_t size, int protection)
{
    uint8_t *base = mmap(NULL, 2 * size, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (base == MAP_FAILED)
        return NULL;
    for (int half = 0; half < 2; half++) {
        if (mmap(base + (half ? size : 0), size, protection, MAP_SHARED | MAP_FIXED, segment->fd,
                 data - segment->base) == MAP_FAILED) {
            munmap(base, 2 * size);
            return NULL;
        }
    }
    return base;
}

/* Lock held.  Where `n` bytes from this position on stand in one piece; n may become less. */
static uint8_t *in_one_piece(wsd_stream *s, bool in, const wsd_area *ring, uint64_t position, size_t *n)
{
    uint64_t at = position & (ring->size - 1);
    uint8_t **mirror = &s->mirrors[in][ring->size != s->size];
    if (at + *n <= ring->size)
        return ring->data + at;
    if (*mirror == NULL)
        *mirror = map_twice(s->segment, ring->data, ring->size, in ? PROT_READ : PROT_READ | PROT_WRITE);
    if (*mirror)
        return *mirror + at;
    *n = ring->size - at; /* no memory for that: up to the end of the ring, then */
    return ring->data + at;
}

void wsd_lease_unmap(wsd_stream *s)
{
    for (int i = 0; i < 4; i++)
        if (s->mirrors[i / 2][i % 2])
            munmap(s->mirrors[i / 2][i % 2], 2 * (i % 2 ? s->large : s->size));
}

/* ---- reading --------------------------------------------------------------------------------- */

/* Consumer's lock held: where the next bytes begin, and how many there are before the next mark. */
static int64_t look(wsd_stream *s, uint64_t *tail)
{
    for (;;) {
        uint64_t ready = wsd_head_of(s->in) - *tail;
        if (ready > s->large) {
            STORE(s->broken, true);
            return -ECONNABORTED;
        }
        int64_t before = ready && LOAD(s->in->urgent) ? wsd_urgent_before(s->in, *tail, ready) : (int64_t)ready;
        if (before >= 0)
            return before ? before : (int64_t)ready; /* at a mark that is inline: as recv, past it */
        *tail += (uint64_t)-before; /* an urgent byte that is read apart */
        /* release: as recv does when it passes one */
        atomic_store_explicit(&s->in->tail, *tail, memory_order_release);
        wsd_bell_consumed(s, *tail);
    }
}

int wsd_lease_begin(wsd_stream *s, size_t want, int flags, wsd_lease *out)
{
    uint8_t byte;
    struct iovec one = {&byte, 1};
    int64_t n = wsd_stream_recv(s, &one, 1, flags | WSD_PEEK); /* which knows all that may be instead of data */
    if (n <= 0)
        return (int)n;
    if (wsd_stream_lock_in(s) < 0)
        return LOAD(s->closed) ? -EBADF : -ECONNABORTED;
    uint64_t tail = LOAD(s->in->tail);
    if (LOAD(s->in->leased) && wsd_lease_forbids(s, true, 0))
        n = -WSD_ELEASED;
    else if (wsd_bare_own(s))
        n = -WSD_ECOPY;
    else
        n = look(s, &tail);
    if (n > 0) {
        size_t length = (uint64_t)n < want ? (size_t)n : want;
        wsd_area ring = wsd_area_of(s, s->in, tail, &length);
        out->at = in_one_piece(s, true, &ring, tail, &length);
        out->start = tail;
        out->length = length;
        s->leased_from = tail;
        STORE(s->in->leased, wsd_lease_process());
        n = 1;
    } else if (n == 0) { /* another user of this end took them, or they come by the socket */
        n = wsd_bare_reads(s) ? -WSD_ECOPY : -EAGAIN;
    }
    wsd_lock_drop(&s->in->consumer_lock);
    return (int)n;
}

void wsd_lease_end(wsd_stream *s, const wsd_lease *lease, size_t n, int flags)
{
    if (n > 0 && s->leased_from == lease->start) {
        struct iovec passed = {lease->at, n < lease->length ? n : lease->length};
        s->pass_to = lease->start + passed.iov_len;
        wsd_stream_recv(s, &passed, 1, flags | WSD_PASS);
    }
    /* nothing was read, or the stream is closed: then nobody counts any more */
    uint32_t mine = wsd_lease_process();
    if (LOAD(s->in->leased) == mine && LOAD(s->in->tail) == lease->start)
        atomic_compare_exchange_strong_explicit(&s->in->leased, &mine, 0, memory_order_relaxed,
                                                memory_order_relaxed);
}

/* ---- writing --------------------------------------------------------------------------------- */

/* How many bytes the ring takes now; a hostile tail makes it 0. */
static uint64_t room_of(const wsd_stream *s)
{
    /* acquire: the consumer's copy is finished; pairs with the release of its tail */
    uint64_t used = (LOAD(s->out->head) & WSD_HEAD) - atomic_load_explicit(&s->out->tail, memory_order_acquire);
    uint64_t window = wsd_window(s);
    return used < window ? window - used : 0;
}

static bool nobody_reads(const wsd_stream *s)
{
    return LOAD(s->closed) || LOAD(s->broken) || LOAD(s->write_shut) || LOAD(s->peer_gone) ||
           (LOAD(s->in->fin) & WSD_CLOSED) || LOAD(s->out->deaf) || LOAD(s->out->fin) || LOAD(s->messages);
}

int wsd_lease_reserve(wsd_stream *s, size_t size, wsd_lease *out)
{
    if (LOAD(s->closed))
        return -EBADF;
    if (nobody_reads(s) || wsd_stream_state(s) != WSD_ATTACHED)
        return -WSD_ECOPY;
    STORE(s->attached, true);
    if (wsd_stream_lock_out(s) < 0)
        return LOAD(s->closed) ? -EBADF : -WSD_ECOPY;
    uint64_t head = LOAD(s->out->head) & WSD_HEAD;
    int rc = 0;
    if (LOAD(s->out->reserved) && wsd_lease_forbids(s, false, 0))
        rc = -WSD_ELEASED;
    else if (wsd_bare_writes(s) || nobody_reads(s))
        rc = -WSD_ECOPY;
    if (rc == 0 && room_of(s) < size)
        wsd_grow(s, head);
    uint64_t room = wsd_room(s, s->out);
    /* the bell tells when half the ring is free, and knows nothing of a program's own bound */
    if (rc == 0 && (size > room / 2 || wsd_window(s) < room))
        rc = -WSD_ECOPY;
    else if (rc == 0 && room_of(s) < size)
        rc = -EAGAIN;
    if (rc == 0) {
        size_t length = size;
        wsd_area ring = wsd_area_of(s, s->out, head, &length);
        out->at = in_one_piece(s, false, &ring, head, &length);
        out->start = head;
        out->length = length;
        if (length < size)
            rc = -WSD_ECOPY;
        else
            STORE(s->out->reserved, wsd_lease_process());
    }
    wsd_lock_drop(&s->out->producer_lock);
    return rc;
}

typedef struct {
    const wsd_stream *s;
    size_t size;
} wanted;

static bool has_room(const void *context)
{
    const wanted *w = context;
    return room_of(w->s) >= w->size || nobody_reads(w->s) || wsd_bare_writes(w->s);
}

int wsd_lease_spin_room(wsd_stream *s, size_t size, uint64_t deadline)
{
    wanted what = {s, size};
    return has_room(&what) || wsd_wait_spin(&s->tx_wait, has_room, &what, &s->out->consumer_cpu, deadline);
}

int wsd_lease_sleep_room(wsd_stream *s, size_t size, uint64_t deadline)
{
    wanted what = {s, size};
    if (wsd_stream_lock_out(s) < 0)
        return 1;
    bool room = has_room(&what) || wsd_bell_full(s, LOAD(s->out->head) & WSD_HEAD);
    wsd_lock_drop(&s->out->producer_lock);
    wsd_stream_answer(s);
    if (room)
        return 1;
    uint64_t since = wsd_now();
    struct pollfd p = {LOAD(s->fd), POLLOUT, 0};
    WSD_COUNT(sleeps);
    int rc = poll(&p, 1, wsd_wait_ms(since, deadline));
    if (rc > 0 && (p.revents & (POLLHUP | POLLERR)))
        wsd_bell_ended(s);
    if (has_room(&what))
        wsd_wait_learn(&s->tx_wait, since, LOAD(s->out->tx_stamp));
    return rc > 0;
}

int wsd_lease_commit(wsd_stream *s, const wsd_lease *lease, size_t n, int flags)
{
    wsd_direction *d = s->out;
    if (nobody_reads(s) || wsd_stream_lock_out(s) < 0) {
        wsd_lease_cancel(s, lease);
        return -WSD_ECOPY;
    }
    uint64_t head = LOAD(d->head) & WSD_HEAD;
    uint32_t mine = wsd_lease_process();
    bool ours = LOAD(d->reserved) == mine && head == lease->start;
    bool sent = ours && n <= lease->length && !wsd_bare_writes(s) && !LOAD(d->fin);
    if (ours)
        STORE(d->reserved, 0);
    if (sent && n > 0) {
        head += n;
        /* release: the bytes are written before head says so; pairs with head_of */
        atomic_store_explicit(&d->head, head, memory_order_release);
        if (LOAD(d->producer_cpu) != wsd_cpu())
            STORE(d->producer_cpu, wsd_cpu());
        wsd_bell_published(s, head);
        if (((flags & WSD_EXACT) || LOAD(s->strict)) && head - LOAD(d->tail) >= wsd_window(s))
            wsd_bell_full(s, head);
        s->traffic->sent += n;
    }
    wsd_lock_drop(&d->producer_lock);
    wsd_stream_answer(s);
    return sent ? 0 : -WSD_ECOPY;
}

void wsd_lease_cancel(wsd_stream *s, const wsd_lease *lease)
{
    uint32_t mine = wsd_lease_process();
    if ((LOAD(s->out->head) & WSD_HEAD) == lease->start)
        atomic_compare_exchange_strong_explicit(&s->out->reserved, &mine, 0, memory_order_relaxed,
                                                memory_order_relaxed);
}
