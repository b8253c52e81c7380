#include "wsd_urgent.h"

#include "wsd_bare.h"
#include "wsd_bell.h"
#include "wsd_grow.h"
#include "wsd_relaxed.h"

/* acquire: what the producer stored before the mark is seen with it */
static uint64_t mark_of(const wsd_direction *d)
{
    return atomic_load_explicit(&d->urgent, memory_order_acquire);
}

static uint64_t head_of(const wsd_direction *d)
{
    return atomic_load_explicit(&d->head, memory_order_acquire) & WSD_HEAD;
}

/* `to` first, which the producer stores last: a new one is never seen with the old `from`. */
static uint64_t after_dropped(const wsd_direction *d, uint64_t head, uint64_t tail)
{
    uint64_t to = atomic_load_explicit(&d->dropped_to, memory_order_acquire);
    if (tail < LOAD(d->dropped_from) || tail >= to || tail >= head)
        return tail;
    return to < head ? to : head;
}

uint64_t wsd_urgent_start(const wsd_direction *d, uint64_t head, uint64_t tail)
{
    uint64_t mark = mark_of(d), at = after_dropped(d, head, tail);
    return mark != 0 && mark - 1 == at && at < head && !LOAD(d->urgent_inline) ? at + 1 : at;
}

int64_t wsd_urgent_before(const wsd_direction *d, uint64_t tail, uint64_t ready)
{
    uint64_t mark = mark_of(d), before = mark - 1 - tail;
    /* after the mark: whoever sees a new one sees what was dropped for it */
    uint64_t start = after_dropped(d, tail + ready, tail);
    if (start != tail)
        return -(int64_t)(start - tail);
    if (mark == 0 || before >= ready)
        return (int64_t)ready; /* passed, or not here yet, or nonsense: all the same to the reader */
    return before ? (int64_t)before : LOAD(d->urgent_inline) ? 0 : -1;
}

void wsd_urgent_settle(wsd_stream *s)
{
    wsd_direction *d = s->in;
    if (wsd_bare_own(s))
        return; /* the ring is the peer's to empty */
    wsd_bell_urgent_heard(s);
    uint64_t tail = LOAD(d->tail), start = after_dropped(d, head_of(d), tail);
    if (start == tail)
        return;
    /* release: whatever we read is read before the producer may write over it */
    atomic_store_explicit(&d->tail, start, memory_order_release);
    wsd_bell_consumed(s, start);
}

bool wsd_urgent_mark(wsd_direction *d, uint64_t at)
{
    bool apart = !LOAD(d->urgent_inline);
    uint64_t tail = atomic_load_explicit(&d->tail, memory_order_acquire);
    uint64_t reader = after_dropped(d, at, tail), last = LOAD(d->urgent);
    if (apart && last != 0 && last - 1 == reader && reader < at) {
        if (reader == tail)
            STORE(d->dropped_from, reader); /* else the range that is there grows */
        /* release: pairs with after_dropped */
        atomic_store_explicit(&d->dropped_to, reader + 1, memory_order_release);
        reader++;
    }
    /* release: pairs with mark_of */
    atomic_store_explicit(&d->urgent, at + 1, memory_order_release);
    return apart && reader == at;
}

/* ---- what the stream offers ------------------------------------------------------------------ */

int wsd_stream_recv_urgent(wsd_stream *s, uint8_t *byte, bool peek)
{
    if (LOAD(s->closed))
        return -EBADF;
    if (LOAD(s->broken))
        return -ECONNABORTED;
    bool bare = wsd_bare_reads(s);
    if (wsd_bare_own(s) || (bare && LOAD(s->in->urgent) == 0))
        return wsd_bare_recv_urgent(s, byte, peek);
    if (LOAD(s->in->urgent) == 0)
        return -EINVAL;
    if (wsd_stream_lock_in(s) < 0)
        return -ECONNABORTED;
    int result = 1;
    uint64_t mark = mark_of(s->in), head = head_of(s->in), tail = LOAD(s->in->tail);
    if (head - tail > s->large) {
        STORE(s->broken, true);
        result = -ECONNABORTED;
    } else if (mark == 0 || mark - 1 < tail || LOAD(s->in->urgent_inline) ||
               LOAD(s->in->urgent_read) == mark) {
        result = -EINVAL;
    } else if (wsd_stream_was_reset(s)) {
        result = -ENOTCONN;
    } else if (mark - 1 >= head) {
        result = LOAD(s->in->fin) || LOAD(s->in->deaf) || LOAD(s->peer_gone) ? 0 : -EAGAIN;
    } else {
        size_t one = 1;
        wsd_area in = wsd_area_in(s, mark - 1, &one);
        *byte = in.data[(mark - 1) & (in.size - 1)];
        if (!peek)
            STORE(s->in->urgent_read, mark);
    }
    wsd_lock_drop(&s->in->consumer_lock);
    return bare && result == -EINVAL ? wsd_bare_recv_urgent(s, byte, peek) : result;
}

bool wsd_stream_urgent_pending(wsd_stream *s)
{
    if (WSD_UNLIKELY(wsd_bare_reads(s)) && !LOAD(s->closed) && wsd_bare_urgent_pending(s))
        return true;
    if (WSD_LIKELY(LOAD(s->in->urgent) == 0) || LOAD(s->closed) || wsd_bare_own(s))
        return false;
    /* heard of now: pollers of the kernel's need not be told any more */
    if ((LOAD(s->in->urgent_token) || LOAD(s->in->debt)) && wsd_stream_lock_in(s) == 0)
        wsd_lock_drop(&s->in->consumer_lock);
    uint64_t mark = mark_of(s->in), head = head_of(s->in), tail = LOAD(s->in->tail);
    return mark - 1 >= tail && mark - 1 < head && head - tail <= s->large && LOAD(s->in->urgent_read) != mark;
}

void wsd_stream_hush_urgent(wsd_stream *s)
{
    if (LOAD(s->closed) || wsd_bare_reads(s) || wsd_stream_urgent_pending(s) || wsd_stream_lock_in(s) < 0)
        return;
    wsd_bell_urgent_hush(s);
    wsd_stream_note_unannounced(s);
    wsd_lock_drop(&s->in->consumer_lock);
}

bool wsd_stream_at_mark(const wsd_stream *s)
{
    uint64_t mark = LOAD(s->in->urgent);
    if (WSD_UNLIKELY(wsd_bare_own(s) || (wsd_bare_reads(s) && !wsd_has_data(s->in))))
        return wsd_bare_at_mark(s);
    if (WSD_LIKELY(mark == 0))
        return false;
    mark = mark_of(s->in);
    return after_dropped(s->in, head_of(s->in), LOAD(s->in->tail)) == mark - 1;
}

uint64_t wsd_stream_unread(wsd_stream *s)
{
    if (WSD_UNLIKELY(wsd_bare_own(s) || (wsd_bare_reads(s) && !wsd_has_data(s->in))))
        return wsd_bare_available(s);
    uint64_t mark = mark_of(s->in), head = head_of(s->in), tail = LOAD(s->in->tail);
    if (head - tail > s->large)
        return 0;
    tail = after_dropped(s->in, head, tail);
    bool ahead = mark != 0 && !LOAD(s->in->urgent_inline) && mark - 1 >= tail && mark - 1 < head;
    return (ahead ? mark - 1 : head) - tail;
}

void wsd_stream_set_inline(wsd_stream *s, bool on)
{
    if (wsd_stream_lock_in(s) < 0)
        return;
    STORE(s->in->urgent_inline, on);
    wsd_bare_set_inline(s, on);
    /* a byte that was not readable may be now, and no token tells of it */
    wsd_stream_note_unannounced(s);
    wsd_lock_drop(&s->in->consumer_lock);
}

bool wsd_stream_is_inline(const wsd_stream *s)
{
    return LOAD(s->in->urgent_inline) != 0;
}

int wsd_stream_urgent_sent(wsd_stream *s, uint64_t *from, uint64_t *to, uint64_t *mark)
{
    const wsd_direction *d = s->out;
    uint64_t head = LOAD(d->head) & WSD_HEAD;
    *mark = mark_of(d);
    *to = LOAD(d->dropped_to);
    *from = LOAD(d->dropped_from);
    if (*from >= *to)
        *from = *to = 0;
    return head > s->size || *mark > head || *to > head ? -ECONNABORTED : 0;
}
