#include "wsd_bell.h"

#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include "wsd_bare.h"
#include "wsd_counters.h"
#include "wsd_grow.h"
#include "wsd_urgent.h"

/* A peer owes us at most four tokens; more than that in the shared word is a lie. */
#define DEBT_MAX 8u
#define SEND_YIELDS 4
#define INSIST_TRIES 8
#define SEND_NAPS 20
#define EAT_YIELDS 4
#define EAT_POLLS 3
#define PENDING_PAUSES 64
#define PENDING_YIELDS 16
#define PENDING_NAPS 20

static int bell_fd(const wsd_stream *s)
{
    return atomic_load_explicit(&s->fd, memory_order_relaxed);
}

static void nap(void)
{
    struct timespec a_moment = {0, 50 * (long)WSD_US};
    nanosleep(&a_moment, NULL);
}

static void send_tokens(wsd_stream *s, int count, int flags)
{
    /* one send each: the kernel counts messages, not bytes, against the buffer */
    int tries = 0;
    while (count > 0) {
        if (send(bell_fd(s), "!", 1, MSG_DONTWAIT | MSG_NOSIGNAL | flags) == 1) {
            count--;
        } else if (flags && errno == EOPNOTSUPP) {
            flags = 0; /* a kernel without MSG_OOB for AF_UNIX: no SIGURG then, and no POLLPRI */
        } else if (errno == EAGAIN && tries < SEND_YIELDS + SEND_NAPS) {
            /* Six unread: the consumer is about to eat some of them, and it will count this one. */
            if (tries++ < SEND_YIELDS)
                sched_yield();
            else
                nap();
        } else if (errno != EINTR) {
            if (errno != EAGAIN)
                wsd_bell_ended(s);
            return;
        }
    }
}

/* Eat exactly: `count` tokens and the debt are there or under way (their sender is between its state
 * change and its send).  Never wait longer than a few milliseconds: the sender may be stopped, dead
 * or hostile; what is missing then is a debt for the next call. */
static void eat(wsd_stream *s, uint32_t count)
{
    if (WSD_UNLIKELY(wsd_bare_own(s) || atomic_load_explicit(&s->in->bare, memory_order_relaxed) > 1)) {
        atomic_store_explicit(&s->in->debt, 0, memory_order_relaxed);
        return; /* what is in the socket is bytes */
    }
    uint32_t debt = atomic_load_explicit(&s->in->debt, memory_order_relaxed);
    count += debt > DEBT_MAX ? DEBT_MAX : debt;
    int tries = 0;
    while (count > 0) {
        char token;
        ssize_t got = recv(bell_fd(s), &token, 1, MSG_DONTWAIT); /* one: bytes may follow a marker */
        if (got > 0 && token == WSD_MARKER && atomic_load_explicit(&s->in->bare, memory_order_relaxed)) {
            wsd_bare_marker(s);
            return;
        }
        if (got > 0) {
            count--;
            WSD_COUNT(eats);
            continue;
        }
        if (got == 0 || (errno != EAGAIN && errno != EINTR)) {
            wsd_bell_ended(s);
            count = 0; /* nothing is under way any more */
            break;
        }
        if (tries < EAT_YIELDS) {
            sched_yield();
        } else if (tries < EAT_YIELDS + EAT_POLLS) {
            struct pollfd p = {bell_fd(s), POLLIN, 0};
            poll(&p, 1, 1);
        } else {
            break;
        }
        tries++;
    }
    atomic_store_explicit(&s->in->debt, count, memory_order_relaxed);
}

void wsd_bell_published(wsd_stream *s, uint64_t head)
{
    wsd_direction *d = s->out;
    wsd_full_fence(); /* head, then rx: pairs with rx = ARMED, then head, in wsd_bell_rest */
    if (WSD_LIKELY(atomic_load_explicit(&d->rx, memory_order_relaxed) != WSD_ARMED))
        return;
    /* Armed: say that a token is coming, so that the consumer does not come to rest before it. */
    atomic_store_explicit(&d->head, head | WSD_PENDING, memory_order_relaxed);
    wsd_full_fence(); /* pending, then tail: pairs with tail, then head, in wsd_bell_consumed */
    uint32_t armed = WSD_ARMED;
    if (atomic_load_explicit(&d->tail, memory_order_relaxed) != head &&
        atomic_compare_exchange_strong_explicit(&d->rx, &armed, WSD_RUNG, memory_order_acq_rel,
                                                memory_order_relaxed)) {
        atomic_store_explicit(&d->rx_stamp, wsd_now(), memory_order_relaxed);
        /* release: whoever sees this sees rx, and waits for the token when it eats it */
        atomic_store_explicit(&d->head, head | WSD_RINGING, memory_order_release);
        WSD_COUNT(rings);
        send_tokens(s, 1, 0);
    }
    atomic_store_explicit(&d->head, head, memory_order_release); /* as before, or there is no token */
}

void wsd_bell_insist(wsd_stream *s, uint64_t head)
{
    wsd_direction *d = s->out;
    wsd_bell_published(s, head);
    /* Again while the consumer is changing its mind: it may go QUIET right after we found it ARMED. */
    for (int tries = 0; tries < INSIST_TRIES; tries++) {
        uint32_t quiet = WSD_QUIET, rx = atomic_load_explicit(&d->rx, memory_order_relaxed);
        if (rx == WSD_RUNG || atomic_load_explicit(&d->tail, memory_order_relaxed) == head)
            return;
        if (rx == WSD_ARMED) {
            wsd_bell_published(s, head);
        } else if (atomic_compare_exchange_strong_explicit(&d->rx, &quiet, WSD_RUNG, memory_order_acq_rel,
                                                           memory_order_relaxed)) {
            /* no pending bit: a consumer that finds RUNG waits for the token when it eats it */
            WSD_COUNT(rings);
            send_tokens(s, 1, 0);
            return;
        }
    }
}

void wsd_bell_wake(wsd_stream *s)
{
    uint32_t armed = WSD_ARMED;
    if (atomic_compare_exchange_strong_explicit(&s->out->rx, &armed, WSD_RUNG, memory_order_acq_rel,
                                                memory_order_relaxed)) {
        /* no pending bit: as in wsd_bell_insist.  It finds an empty ring, and eats the token. */
        WSD_COUNT(rings);
        send_tokens(s, 1, 0);
    }
}

bool wsd_bell_full(wsd_stream *s, uint64_t head)
{
    wsd_direction *d = s->out;
    uint32_t none = 0;
    if (atomic_load_explicit(&d->tx, memory_order_relaxed) != none || wsd_bare_writes(s))
        return false; /* announced already, or the kernel knows */
    atomic_store_explicit(&d->head, head | WSD_PENDING, memory_order_relaxed);
    bool room = false;
    /* It was 1 if the consumer, which was clearing it, has put it back: the old tokens count again. */
    if (atomic_compare_exchange_strong_explicit(&d->tx, &none, 1, memory_order_acq_rel, memory_order_relaxed)) {
        wsd_full_fence(); /* tx, then tail: pairs with tail, then tx, in wsd_bell_consumed */
        uint64_t used = head - atomic_load_explicit(&d->tail, memory_order_acquire);
        uint32_t one = 1;
        bool fits = used <= wsd_room(s, d) / 2 && used < wsd_window(s);
        room = fits && atomic_compare_exchange_strong_explicit(
                                          &d->tx, &one, 0, memory_order_acq_rel, memory_order_relaxed);
        if (!room) {
            atomic_store_explicit(&d->head, head | WSD_RINGING, memory_order_release); /* with tx: as above */
            WSD_COUNT(full_marks);
            send_tokens(s, 2, 0); /* always two: one alone would leave this socket writable */
        }
    }
    atomic_store_explicit(&d->head, head, memory_order_release);
    return room;
}

void wsd_bell_urgent(wsd_stream *s, uint64_t head)
{
    wsd_direction *d = s->out;
    wsd_full_fence(); /* the mark and head, then the word: pairs with wsd_bell_urgent_heard */
    if (atomic_load_explicit(&d->urgent_token, memory_order_relaxed) != 0)
        return; /* unread: the consumer's next call will see this byte, too */
    atomic_store_explicit(&d->head, head | WSD_PENDING, memory_order_relaxed);
    if (atomic_exchange_explicit(&d->urgent_token, 1, memory_order_acq_rel) == 0)
        send_tokens(s, 1, MSG_OOB);
    atomic_store_explicit(&d->head, head, memory_order_release);
}

void wsd_bell_urgent_heard(wsd_stream *s)
{
    uint32_t sent = 1;
    bool tokens = atomic_load_explicit(&s->in->urgent_token, memory_order_relaxed) == sent &&
                  atomic_compare_exchange_strong_explicit(&s->in->urgent_token, &sent, 0, memory_order_acq_rel,
                                                          memory_order_relaxed);
    if (!tokens && atomic_load_explicit(&s->in->debt, memory_order_relaxed) == 0)
        return;
    wsd_full_fence(); /* the word, then the mark and head: see wsd_bell_urgent */
    eat(s, tokens);
}

void wsd_bell_urgent_hush(wsd_stream *s)
{
    struct pollfd p = {bell_fd(s), POLLPRI, 0};
    uint32_t rung = WSD_RUNG;
    if (poll(&p, 1, 0) == 1 && (p.revents & POLLPRI) &&
        atomic_compare_exchange_strong_explicit(&s->in->rx, &rung, WSD_ARMED, memory_order_acq_rel,
                                                memory_order_relaxed))
        eat(s, 1);
}

static uint64_t used_of(const wsd_direction *d, uint64_t tail)
{
    return (atomic_load_explicit(&d->head, memory_order_relaxed) & WSD_HEAD) - tail;
}

void wsd_bell_consumed(wsd_stream *s, uint64_t tail)
{
    wsd_direction *d = s->in;
    wsd_full_fence(); /* tail, then tx and head: see wsd_bell_full and wsd_bell_published */
    if (WSD_LIKELY(atomic_load_explicit(&d->tx, memory_order_relaxed) == 0))
        return;
    uint32_t announced = 1;
    if (used_of(d, tail) > wsd_room(s, d) / 2 ||
        !atomic_compare_exchange_strong_explicit(&d->tx, &announced, 0, memory_order_acq_rel,
                                                 memory_order_relaxed))
        return;
    wsd_full_fence(); /* tx, then head: pairs with head, then tx, in wsd_bell_full */
    uint32_t none = 0;
    if (used_of(d, tail) > wsd_room(s, d) / 2 &&
        atomic_compare_exchange_strong_explicit(&d->tx, &none, 1, memory_order_acq_rel, memory_order_relaxed))
        return; /* filled again meanwhile, and it may have seen tx = 1: still announced */
    atomic_store_explicit(&d->tx_stamp, wsd_now(), memory_order_relaxed);
    eat(s, 2);
}

static bool ring_is_empty(const wsd_stream *s)
{
    return !wsd_has_data(s->in);
}

/* The producer is making up its mind whether to ring: a step or two, unless it lost its CPU.  It often
 * loses it to the consumer that it wakes; but then it was RINGING. */
static void wait_for_pending(const wsd_stream *s)
{
    for (int i = 0; i < PENDING_PAUSES + PENDING_YIELDS + PENDING_NAPS; i++) {
        if (!(atomic_load_explicit(&s->in->head, memory_order_acquire) & WSD_PENDING))
            return;
        if (i < PENDING_PAUSES) {
            wsd_pause();
        } else if (i < PENDING_PAUSES + PENDING_YIELDS) {
            sched_yield();
        } else {
            nap();
        }
    }
    /* Given up on: the worst that follows is one token for nothing, which wsd_bell_check removes. */
}

/* Consumer, lock held, ring seen empty: an end that came late is told now, by our own half close. */
static void note_late_end(wsd_stream *s)
{
    if (WSD_UNLIKELY(atomic_load_explicit(&s->in->fin, memory_order_acquire) & WSD_LATE) && !s->end_known) {
        s->end_known = true;
        shutdown(bell_fd(s), SHUT_RD); /* the peer has left this to us: see wsd_stream_shutdown */
    }
}

void wsd_bell_rest(wsd_stream *s, bool exact)
{
    wsd_direction *d = s->in;
    uint32_t before = WSD_QUIET;
    if (WSD_UNLIKELY(wsd_bare_reads(s))) {
        if (!wsd_bare_own(s) && ring_is_empty(s))
            wsd_bare_follow(s);
        return;
    }
    if (!exact && atomic_load_explicit(&d->rx, memory_order_relaxed) == WSD_QUIET) {
        if (WSD_UNLIKELY(atomic_load_explicit(&d->fin, memory_order_relaxed)) && ring_is_empty(s))
            note_late_end(s);
        return; /* and silent it stays: a word that nobody writes costs the producer nothing to read */
    }
    if (exact && atomic_load_explicit(&d->rx, memory_order_relaxed) == WSD_QUIET) {
        /* Even with data in the ring: another user of this end may take them before the caller looks,
         * and then it would sleep on the data that follow. */
        atomic_compare_exchange_strong_explicit(&d->rx, &before, WSD_ARMED, memory_order_acq_rel,
                                                memory_order_relaxed); /* or a producer insisted */
        wsd_full_fence(); /* rx, then head: as below */
    }
    if (!ring_is_empty(s))
        return;
    wait_for_pending(s);
    if (!ring_is_empty(s))
        return;
    note_late_end(s);
    if (atomic_load_explicit(&d->rx, memory_order_relaxed) == WSD_ARMED)
        return;
    uint32_t rest = exact ? WSD_ARMED : WSD_QUIET;
    before = atomic_exchange_explicit(&d->rx, rest, memory_order_acq_rel);
    wsd_full_fence(); /* rx, then head: pairs with head, then rx, in wsd_bell_published and _insist */
    if (!ring_is_empty(s)) {
        if (atomic_compare_exchange_strong_explicit(&d->rx, &rest, before == WSD_RUNG ? WSD_RUNG : WSD_QUIET,
                                                    memory_order_acq_rel, memory_order_relaxed))
            return; /* as before; a token that was there still is */
        /* the producer rang for the new data: then the older token is one too many */
    }
    if (before == WSD_RUNG)
        eat(s, 1); /* last, so that the descriptor never says empty while there are data */
}

void wsd_bell_rearm(wsd_stream *s)
{
    uint32_t rung = WSD_RUNG;
    wsd_bell_rest(s, true);
    if (wsd_bare_reads(s) || ring_is_empty(s) || !atomic_compare_exchange_strong_explicit(&s->in->rx, &rung, WSD_ARMED, memory_order_acq_rel,
                                                                     memory_order_relaxed))
        return;
    /* The producer may ring again from here on: it is one of two tokens then that is eaten.  The caller
     * looks at head after this, and finds what came while rx was RUNG. */
    wsd_full_fence();
    eat(s, 1);
}

void wsd_bell_unarm(wsd_stream *s)
{
    uint32_t armed = WSD_ARMED;
    if (atomic_load_explicit(&s->in->rx, memory_order_relaxed) == WSD_ARMED)
        atomic_compare_exchange_strong_explicit(&s->in->rx, &armed, WSD_QUIET, memory_order_acq_rel,
                                                memory_order_relaxed);
}

void wsd_bell_check(wsd_stream *s)
{
    char token;
    if (WSD_UNLIKELY(wsd_bare_reads(s)))
        return;
    ssize_t got = recv(bell_fd(s), &token, 1, MSG_PEEK | MSG_DONTWAIT);
    if (got == 0 || (got < 0 && errno != EAGAIN && errno != EINTR)) {
        wsd_bell_ended(s);
        return;
    }
    if (got < 0)
        return;
    if (atomic_load_explicit(&s->in->debt, memory_order_relaxed) != 0) {
        eat(s, 0);
        return;
    }
    /* A token changes a state word before it is sent.  One that is here while the words promise none
     * was left by a producer that died between its steps: it would make the socket readable for ever. */
    uint64_t head = atomic_load_explicit(&s->in->head, memory_order_acquire);
    if (!(head & ~WSD_HEAD) && ring_is_empty(s) &&
        atomic_load_explicit(&s->in->rx, memory_order_acquire) == WSD_ARMED &&
        atomic_load_explicit(&s->in->tx, memory_order_acquire) == 0 &&
        atomic_load_explicit(&s->in->urgent_token, memory_order_acquire) == 0) {
        WSD_COUNT(stale);
        eat(s, 1);
    }
}

void wsd_bell_pay(wsd_stream *s)
{
    if (WSD_UNLIKELY(atomic_load_explicit(&s->in->debt, memory_order_relaxed) != 0))
        eat(s, 0);
}

void wsd_bell_ended(wsd_stream *s)
{
    struct pollfd p = {bell_fd(s), POLLRDHUP, 0};
    if (wsd_bare_reads(s) || poll(&p, 1, 0) < 0)
        return; /* those who read by the socket are told by it */
    /* A half close shows in shared memory before it shows in the kernel, so look after the kernel. */
    bool fin = atomic_load_explicit(&s->in->fin, memory_order_acquire) != 0;
    bool read_shut = atomic_load_explicit(&s->in->deaf, memory_order_relaxed) != 0;
    bool write_shut = atomic_load_explicit(&s->out->fin, memory_order_relaxed) != 0;
    bool no_sender = (p.revents & (POLLRDHUP | POLLHUP)) && !fin && !read_shut;
    /* both directions are shut; unless we did our part of that, or both sides only stopped reading */
    bool both_deaf = read_shut && atomic_load_explicit(&s->out->deaf, memory_order_relaxed) != 0;
    bool no_reader = (p.revents & POLLHUP) && !write_shut && !both_deaf;
    if (no_sender || no_reader || (p.revents & POLLERR))
        atomic_store_explicit(&s->peer_gone, true, memory_order_relaxed);
}

void wsd_bell_repair_producer(wsd_stream *s)
{
    uint64_t word = atomic_load_explicit(&s->out->head, memory_order_relaxed), head = word & WSD_HEAD;
    if (wsd_bare_writes(s)) {
        atomic_store_explicit(&s->out->head, head, memory_order_release);
        return;
    }
    if (word & ~WSD_HEAD) {
        /* It died about to send tokens, and nobody knows how many it sent.  Too many are removed when
         * the consumer finds nothing to read; one too few would be a wake that is lost. */
        uint32_t debt = atomic_load_explicit(&s->out->debt, memory_order_relaxed);
        send_tokens(s, 3 + (int)(debt < DEBT_MAX ? debt : DEBT_MAX), 0);
        atomic_store_explicit(&s->out->head, head, memory_order_release);
    }
    wsd_bell_published(s, head); /* it may have died between publishing and ringing */
    if (atomic_load_explicit(&s->out->urgent, memory_order_relaxed) >
        atomic_load_explicit(&s->out->tail, memory_order_relaxed))
        wsd_bell_urgent(s, head); /* a token for nothing is eaten like any other */
}

void wsd_bell_repair_consumer(wsd_stream *s)
{
    atomic_store_explicit(&s->in->debt, 0, memory_order_relaxed); /* may be paid: rather too many tokens */
    wsd_bell_consumed(s, atomic_load_explicit(&s->in->tail, memory_order_relaxed));
}

/* Consumer's lock held.  The words change before a token is sent; what is left by a producer that died in
 * between does no harm to anybody who is alive. */
static bool owes_nothing(const wsd_stream *s)
{
    const wsd_direction *d = s->in;
    return atomic_load_explicit(&d->rx, memory_order_relaxed) != WSD_RUNG &&
           atomic_load_explicit(&d->tx, memory_order_relaxed) == 0 &&
           atomic_load_explicit(&d->urgent_token, memory_order_relaxed) != 1 &&
           atomic_load_explicit(&d->debt, memory_order_relaxed) == 0;
}

void wsd_bell_settle(wsd_stream *s)
{
    char tokens[16];
    if (!wsd_bare_own(s) && wsd_bare_reads(s))
        wsd_bare_follow(s); /* the marker, too: the peer has only a socket, which would be reset by it */
    else if (owes_nothing(s))
        return;
    while (!wsd_bare_reads(s) && recv(bell_fd(s), tokens, sizeof tokens, MSG_DONTWAIT) > 0)
        ;
    atomic_store_explicit(&s->in->debt, 0, memory_order_relaxed);
}

int wsd_bell_peer(int fd)
{
    struct ucred peer;
    socklen_t size = sizeof peer;
    return getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &peer, &size) == 0 && peer.pid > 0 ? peer.pid : 0;
}

int wsd_bell_prepare(int fd)
{
    int minimum = 1; /* the kernel raises it to its least, 4608 on today's */
    int on = 1;      /* else recv would pass over a token that was sent with MSG_OOB */
    if (setsockopt(fd, SOL_SOCKET, SO_SNDBUF, &minimum, sizeof minimum) < 0)
        return -errno;
    return setsockopt(fd, SOL_SOCKET, SO_OOBINLINE, &on, sizeof on) < 0 ? -errno : 0;
}

static short poll_now(int fd)
{
    struct pollfd p = {fd, POLLIN | POLLOUT, 0};
    poll(&p, 1, 0);
    return p.revents;
}

bool wsd_bell_is_true(void)
{
    int pair[2];
    char tokens[8];
    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair) < 0)
        return false;
    bool good = wsd_bell_prepare(pair[0]) == 0 && wsd_bell_prepare(pair[1]) == 0;
    good = good && poll_now(pair[0]) == POLLOUT && poll_now(pair[1]) == POLLOUT;
    good = good && send(pair[0], "!", 1, MSG_DONTWAIT) == 1;
    good = good && poll_now(pair[0]) == POLLOUT && poll_now(pair[1]) == (POLLIN | POLLOUT);
    good = good && send(pair[0], "!", 1, MSG_DONTWAIT) == 1 && poll_now(pair[0]) == 0;
    good = good && send(pair[0], "!", 1, MSG_DONTWAIT) == 1 && send(pair[0], "!", 1, MSG_DONTWAIT) == 1;
    good = good && recv(pair[1], tokens, 3, MSG_DONTWAIT) == 3 && poll_now(pair[0]) == POLLOUT;
    good = good && recv(pair[1], tokens, 1, MSG_DONTWAIT) == 1 && poll_now(pair[1]) == POLLOUT;
    close(pair[1]);
    good = good && (poll_now(pair[0]) & POLLHUP);
    close(pair[0]);
    return good;
}
