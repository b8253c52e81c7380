#include "wsd_bare.h"

#include <limits.h>
#include <linux/sockios.h>
#include <poll.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "wsd_bell.h"
#include "wsd_counters.h"
#include "wsd_grow.h"
#include "wsd_lease.h"
#include "wsd_relaxed.h"
#include "wsd_ring.h"
#include "wsd_urgent.h"

/* How long the end that goes bare waits for a lock that the peer holds, and for its socket. */
#define PATIENCE_NS (1000 * WSD_MS)
/* The reader's lock is not needed, only of use. */
#define SHORT_PATIENCE_NS (20 * WSD_MS)
/* More bytes than the protocol ever has under way: what is here is not tokens. */
#define TOKENS_MAX 64
#define BUFFERS_MAX 1024 /* IOV_MAX of Linux; the rest is for the next call */

static int fd_of(const wsd_stream *s)
{
    return LOAD(s->fd);
}

static uint64_t head_of(const wsd_direction *d)
{
    /* acquire: the bytes below head are written */
    return atomic_load_explicit(&d->head, memory_order_acquire) & WSD_HEAD;
}

static short poll_now(int fd, short events)
{
    struct pollfd p = {fd, events, 0};
    return poll(&p, 1, 0) > 0 ? p.revents : 0;
}

/* A bell has the smallest buffer there is; a byte stream needs one that takes a whole ring. */
static void widen(int fd, uint64_t ring)
{
    int bytes = ring > INT_MAX / 4 ? INT_MAX / 4 : (int)ring + (64 << 10); /* the kernel doubles it */
    if (setsockopt(fd, SOL_SOCKET, SO_SNDBUFFORCE, &bytes, sizeof bytes) < 0)
        setsockopt(fd, SOL_SOCKET, SO_SNDBUF, &bytes, sizeof bytes); /* up to what the system allows */
}

static void set_inline(int fd, bool on)
{
    int value = on;
    setsockopt(fd, SOL_SOCKET, SO_OOBINLINE, &value, sizeof value);
}

/* ---- the ring's rest, into the socket ------------------------------------------------------- */

static bool ring_holds(const wsd_direction *d)
{
    return head_of(d) != LOAD(d->tail);
}

/* Both locks of a direction's end, or all that still matter, are held: bytes of its ring go into its
 * producer's socket.  0: as many as it took; -errno: it takes none any more. */
static int push(const wsd_stream *s, wsd_direction *d, int fd)
{
    uint64_t head = head_of(d), tail = LOAD(d->tail);
    if (head - tail > s->large)
        return -ECONNABORTED;
    while (tail != head) {
        uint64_t n = head - tail, mark = LOAD(d->urgent);
        int urgent = 0;
        if (WSD_UNLIKELY(mark != 0)) {
            bool here = mark - 1 == tail;
            int64_t before = wsd_urgent_before(d, tail, n);
            if (here && (LOAD(d->urgent_inline) || LOAD(d->urgent_read) != mark)) {
                n = 1;
                urgent = MSG_OOB;
            } else if (before < 0) { /* was read apart, or has gone out of the stream */
                tail += (uint64_t)-before;
                STORE(d->tail, tail);
                continue;
            } else {
                n = before ? (uint64_t)before : 1; /* 0: a hostile peer moved the mark meanwhile */
            }
        }
        wsd_area ring = wsd_area_of(s, d, tail, &n);
        uint64_t at = tail & (ring.size - 1), first = ring.size - at < n ? ring.size - at : n;
        struct iovec iov[2] = {{ring.data + at, first}, {ring.data, n - first}};
        struct msghdr message = {.msg_iov = iov, .msg_iovlen = n > first ? 2 : 1};
        ssize_t sent = sendmsg(fd, &message, MSG_DONTWAIT | MSG_NOSIGNAL | urgent);
        if (sent < 0 && urgent && errno == EOPNOTSUPP)
            sent = sendmsg(fd, &message, MSG_DONTWAIT | MSG_NOSIGNAL);
        if (sent < 0 && errno == EINTR)
            continue;
        if (sent < 0)
            return errno == EAGAIN ? 0 : -errno;
        tail += (uint64_t)sent;
        STORE(d->tail, tail);
    }
    return 0;
}

/* Producer's lock held, the peer is bare: 0 or what send() will say from now on. */
static int push_own(wsd_stream *s)
{
    if (!ring_holds(s->out))
        return 0;
    if (!atomic_exchange_explicit(&s->widened, true, memory_order_relaxed))
        widen(fd_of(s), wsd_room(s, s->out));
    int rc = push(s, s->out, fd_of(s));
    if (rc < 0)
        STORE(s->out->tail, head_of(s->out)); /* nobody will read them */
    if (!ring_holds(s->out) && (LOAD(s->out->fin) & WSD_LATE))
        shutdown(fd_of(s), SHUT_WR);
    return rc;
}

bool wsd_bare_left(const wsd_stream *s)
{
    return LOAD(s->out->rx) == WSD_BARE && ring_holds(s->out);
}

bool wsd_bare_flush(wsd_stream *s)
{
    if (WSD_LIKELY(!wsd_bare_left(s)))
        return true;
    if (LOAD(s->closed) || wsd_stream_lock_out(s) < 0)
        return false;
    push_own(s);
    wsd_lock_drop(&s->out->producer_lock);
    return !wsd_bare_left(s);
}

void wsd_bare_linger(wsd_stream *s, uint64_t ns)
{
    uint64_t end = wsd_now() + ns;
    while (wsd_bare_left(s)) {
        if (wsd_stream_lock_out(s) < 0)
            return;
        push_own(s);
        wsd_lock_drop(&s->out->producer_lock);
        uint64_t now = wsd_now();
        if (!wsd_bare_left(s) || now >= end)
            return;
        struct pollfd p = {fd_of(s), POLLOUT, 0};
        poll(&p, 1, wsd_wait_ms(now, end));
    }
}

bool wsd_bare_finish(wsd_stream *s)
{
    if (LOAD(s->out->rx) == WSD_BARE)
        push_own(s);
    if (!wsd_bare_left(s))
        return true;
    atomic_fetch_or_explicit(&s->out->fin, WSD_LATE, memory_order_relaxed);
    return false;
}

/* ---- the end that follows ------------------------------------------------------------------- */

void wsd_bare_marker(wsd_stream *s)
{
    if (!atomic_exchange_explicit(&s->widened, true, memory_order_relaxed))
        widen(fd_of(s), wsd_room(s, s->out));
    set_inline(fd_of(s), LOAD(s->in->urgent_inline));
    STORE(s->in->debt, 0);
    STORE(s->in->bare, 2);
}

void wsd_bare_follow(wsd_stream *s)
{
    for (int i = 0; i < TOKENS_MAX && LOAD(s->in->bare) == 1; i++) {
        char token;
        ssize_t got = recv(fd_of(s), &token, 1, MSG_DONTWAIT);
        if (got < 0 && (errno == EAGAIN || errno == EINTR))
            return; /* the marker is under way */
        if (got <= 0 || token == WSD_MARKER)
            wsd_bare_marker(s);
    }
}

/* Whatever can be done to follow now; true: the socket is what to read from. */
static bool follow(wsd_stream *s)
{
    wsd_bare_flush(s);
    if (wsd_bare_own(s))
        return true;
    if (LOAD(s->in->bare) == 1 && wsd_stream_lock_in(s) == 0) {
        if (LOAD(s->in->bare) == 1 && !wsd_has_data(s->in))
            wsd_bare_follow(s);
        wsd_lock_drop(&s->in->consumer_lock);
    }
    return LOAD(s->in->bare) > 1 && !wsd_has_data(s->in);
}

int64_t wsd_bare_recv(wsd_stream *s, const struct iovec *iov, int count, int flags)
{
    if (!follow(s))
        return -EAGAIN;
    struct msghdr message = {
        .msg_iov = (struct iovec *)iov,
        .msg_iovlen = (size_t)(count < BUFFERS_MAX ? count : BUFFERS_MAX),
    };
    ssize_t got;
    do {
        got = recvmsg(fd_of(s), &message, MSG_DONTWAIT | (flags & WSD_PEEK ? MSG_PEEK : 0));
    } while (got < 0 && errno == EINTR);
    if (got > 0 && !(flags & WSD_PEEK))
        s->traffic->received += (uint64_t)got;
    return got < 0 ? -errno : got;
}

int64_t wsd_bare_send(wsd_stream *s, const struct iovec *iov, int count, int flags)
{
    if (LOAD(s->out->rx) == WSD_BARE) {
        int rc = push_own(s);
        if (rc < 0)
            return rc;
        if (ring_holds(s->out))
            return -EAGAIN;
    }
    if (!atomic_exchange_explicit(&s->widened, true, memory_order_relaxed))
        widen(fd_of(s), wsd_room(s, s->out));
    struct msghdr message = {
        .msg_iov = (struct iovec *)iov,
        .msg_iovlen = (size_t)(count < BUFFERS_MAX ? count : BUFFERS_MAX),
    };
    int how = MSG_DONTWAIT | MSG_NOSIGNAL | (flags & WSD_URGENT && count <= BUFFERS_MAX ? MSG_OOB : 0);
    for (;;) {
        ssize_t sent = sendmsg(fd_of(s), &message, how);
        if (sent >= 0) {
            s->traffic->sent += (uint64_t)sent;
            return sent;
        }
        if (errno == EOPNOTSUPP && (how & MSG_OOB))
            how &= ~MSG_OOB; /* a kernel without urgent data for AF_UNIX */
        else if (errno != EINTR)
            return -errno;
    }
}

bool wsd_bare_readable(wsd_stream *s)
{
    if (!follow(s))
        return wsd_has_data(s->in);
    return poll_now(fd_of(s), POLLIN | POLLRDHUP) != 0;
}

bool wsd_bare_writable(wsd_stream *s)
{
    bool flushed = wsd_bare_flush(s);
    return poll_now(fd_of(s), flushed ? POLLOUT : 0) != 0;
}

uint64_t wsd_bare_available(wsd_stream *s)
{
    int n = 0;
    return follow(s) && ioctl(fd_of(s), FIONREAD, &n) == 0 && n > 0 ? (uint64_t)n : 0;
}

int wsd_bare_ending(wsd_stream *s)
{
    char byte;
    ssize_t got = follow(s) ? recv(fd_of(s), &byte, 1, MSG_PEEK | MSG_DONTWAIT) : 1;
    return got == 0 ? 1 : got > 0 || errno == EAGAIN || errno == EINTR ? 0 : -errno;
}

int wsd_bare_sleep(wsd_stream *s, bool for_read, uint64_t deadline)
{
    short wanted = for_read ? POLLIN | POLLRDHUP : POLLOUT;
    struct pollfd p = {fd_of(s), wanted, 0};
    if (!wsd_bare_flush(s))
        p.events |= POLLOUT; /* the peer may wait for just these bytes before it answers */
    uint64_t now = wsd_now();
    WSD_COUNT(sleeps);
    int rc = poll(&p, 1, wsd_wait_ms(now, deadline));
    int error = errno;
    if (LOAD(s->closed) || (p.revents & POLLNVAL))
        return -EBADF;
    if (rc < 0)
        return -error;
    if (p.revents & (POLLHUP | POLLERR))
        return 1;
    bool flushed = wsd_bare_flush(s);
    if (p.revents & wanted && (for_read || flushed))
        return 1;
    return rc == 0 && wsd_now() >= deadline ? -ETIMEDOUT : 0;
}

/* ---- urgent data ---------------------------------------------------------------------------- */

int wsd_bare_recv_urgent(wsd_stream *s, uint8_t *byte, bool peek)
{
    if (!follow(s))
        return -EINVAL;
    ssize_t got = recv(fd_of(s), byte, 1, MSG_OOB | MSG_DONTWAIT | (peek ? MSG_PEEK : 0));
    if (got < 0 && errno == EOPNOTSUPP)
        return -EINVAL;
    return got < 0 ? -errno : (int)got;
}

bool wsd_bare_urgent_pending(wsd_stream *s)
{
    return follow(s) && (poll_now(fd_of(s), POLLPRI) & POLLPRI);
}

bool wsd_bare_at_mark(const wsd_stream *s)
{
    int at = 0;
    return ioctl(fd_of(s), SIOCATMARK, &at) == 0 && at != 0;
}

void wsd_bare_set_inline(wsd_stream *s, bool on)
{
    if (wsd_bare_own(s) || LOAD(s->in->bare) > 1)
        set_inline(fd_of(s), on);
}

/* ---- going bare ----------------------------------------------------------------------------- */

/* The peer's own socket, if the kernel lets us have it (as it would let us trace that process); -1.
 * Only with it can bytes be put where this end's receiver finds them. */
static int peers_socket(const wsd_stream *s)
{
    const wsd_place *place = &s->slot->place[1 - s->side];
    int pid = LOAD(place->pid), fd = LOAD(place->fd);
    if (pid <= 0 || fd < 0)
        return -1;
    int process = (int)syscall(SYS_pidfd_open, pid, 0);
    if (process < 0)
        return -1;
    int socket = (int)syscall(SYS_pidfd_getfd, process, fd, 0);
    close(process);
    struct stat st;
    /* the number may stand for something else by now, and the process, too */
    if (socket >= 0 && (fstat(socket, &st) < 0 || !S_ISSOCK(st.st_mode) || (uint64_t)st.st_ino != LOAD(place->inode))) {
        close(socket);
        socket = -1;
    }
    return socket;
}

/* All locks held: what the peer has sent and nobody has read, into its socket, on its behalf. */
static void push_peers(wsd_stream *s)
{
    int fd = ring_holds(s->in) ? peers_socket(s) : -1;
    if (fd < 0)
        return; /* at its next call, then */
    widen(fd, wsd_room(s, s->in));
    push(s, s->in, fd);
    if (!ring_holds(s->in) && (LOAD(s->in->fin) & WSD_LATE))
        shutdown(fd, SHUT_WR);
    close(fd);
}

/* Producer's and consumer's lock held, after the marker: ours that the peer has not read go into the
 * socket, too, if all of them fit.  So nothing is left in the ring should the peer go bare later. */
static void push_after_marker(wsd_stream *s)
{
    int room = 0;
    socklen_t size = sizeof room;
    if (getsockopt(fd_of(s), SOL_SOCKET, SO_SNDBUF, &room, &size) < 0)
        return;
    /* half of it: the kernel counts what it takes to store them */
    if (LOAD(s->out->urgent) == 0 && head_of(s->out) - LOAD(s->out->tail) <= (uint64_t)room / 2)
        push(s, s->out, fd_of(s));
}

/* Producers' locks and our consumer's held: all that is in our socket is tokens, and none is under
 * way, as no producer is between its steps. */
static bool drain_tokens(wsd_stream *s)
{
    char tokens[16];
    for (int i = 0; i < TOKENS_MAX; i++) {
        ssize_t got = recv(fd_of(s), tokens, sizeof tokens, MSG_DONTWAIT);
        if (got <= 0)
            return true;
    }
    return false; /* the peer writes on and on */
}

/* All locks held.  0; 1: the peer is gone; -errno: nothing has changed. */
static int go(wsd_stream *s, bool reader_held)
{
    wsd_direction *in = s->in, *out = s->out;
    if (wsd_bare_own(s))
        return 0;
    if (wsd_lease_on(in))
        return -EBUSY; /* those bytes would be read twice */
    uint64_t unread = head_of(in) - LOAD(in->tail), queued = head_of(out) - LOAD(out->tail);
    if (unread > s->large || queued > s->large) {
        STORE(s->broken, true);
        return -ECONNABORTED;
    }
    uint32_t fin = LOAD(in->fin);
    bool follows = LOAD(in->bare) != 0;
    if (!follows)
        wsd_bell_ended(s);
    if (!follows && ((fin & WSD_CLOSED) || LOAD(s->peer_gone)))
        return 1;
    /* The peer's socket takes nothing any more, or bytes that come after these are in it already. */
    if (unread && (follows || ((fin & WSD_FIN) && !(fin & WSD_LATE))))
        return -EBUSY;
    if (LOAD(out->rx) == WSD_BARE && (push_own(s), ring_holds(out)))
        return -EBUSY;
    if (follows) {
        wsd_bare_follow(s);
        if (LOAD(in->bare) == 1)
            return -EBUSY;
    }
    if (!atomic_exchange_explicit(&s->widened, true, memory_order_relaxed))
        widen(fd_of(s), wsd_room(s, s->out));
    if (LOAD(out->rx) != WSD_BARE && !(LOAD(out->fin) & WSD_FIN)) {
        static const char marker = WSD_MARKER;
        STORE(out->bare, 1); /* before the marker: whom that wakes looks for it */
        if (send(fd_of(s), &marker, 1, MSG_DONTWAIT | MSG_NOSIGNAL) != 1) {
            int error = errno;
            STORE(out->bare, 0);
            return error == EAGAIN ? -EBUSY : 1;
        }
        if (reader_held && queued && !wsd_lease_on(out))
            push_after_marker(s);
    }
    if (!follows) {
        if (!drain_tokens(s)) {
            STORE(s->broken, true);
            return -ECONNABORTED;
        }
        set_inline(fd_of(s), LOAD(in->urgent_inline));
        STORE(in->debt, 0);
        STORE(in->tx, 2);
        STORE(in->urgent_token, 2);
        push_peers(s);
        if ((fin & WSD_LATE) && !unread)
            shutdown(fd_of(s), SHUT_RD);
    }
    /* release: the producer, which sees it under its lock, sees the tail that we leave */
    atomic_store_explicit(&in->rx, WSD_BARE, memory_order_release);
    WSD_COUNT(bare);
    return 0;
}

int wsd_stream_go_bare(wsd_stream *s)
{
    if (LOAD(s->closed))
        return -EBADF;
    if (LOAD(s->broken))
        return -ECONNABORTED;
    if (LOAD(s->messages))
        return -EINVAL;
    if (wsd_stream_state(s) != WSD_ATTACHED)
        return -WSD_EUNATTACHED;
    /* Both ends may go bare at once, so the locks are taken in one order. */
    wsd_lock *locks[3] = {&s->slot->direction[0].producer_lock, &s->slot->direction[1].producer_lock,
                          &s->in->consumer_lock};
    uint64_t end = wsd_now() + PATIENCE_NS;
    int held = 0, rc = 0;
    for (; held < 3 && rc >= 0; held += rc >= 0) {
        uint64_t now = wsd_now();
        rc = wsd_lock_take_for(locks[held], now < end ? end - now : 0);
        if (rc == 1 && locks[held] == &s->out->producer_lock)
            wsd_bell_repair_producer(s); /* what other dead holders left does not matter any more */
    }
    if (rc >= 0) {
        bool reader = wsd_lock_take_for(&s->out->consumer_lock, SHORT_PATIENCE_NS) >= 0;
        rc = go(s, reader);
        if (reader)
            wsd_lock_drop(&s->out->consumer_lock);
    } else {
        rc = -EBUSY;
    }
    while (held > 0)
        wsd_lock_drop(locks[--held]);
    wsd_stream_note_unannounced(s);
    return rc;
}
