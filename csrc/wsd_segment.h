/* The shared memory of one pair of processes: a sealed memfd with slots for connections.
 *
 *   header page | slot 0: control page, exposures 0, exposures 1, ring 0, ring 1, large 0, large 1 | ...
 *
 * Direction 0 carries bytes from the side that offered (connected) to the side that attached
 * (accepted), direction 1 the other way.  Exposures are what a side lets the other one read and write
 * of its memory (wsd_region.h).  A direction with much to carry moves from its ring into the large one
 * (wsd_grow.h).  Pages that nobody uses cost nothing.  Everything another process of either side needs
 * is here, so forked processes can share an end.  Nothing read from here is trusted: sizes are copied
 * once when the segment is mapped, indices are masked and range-checked at every use.
 */
#ifndef WSD_SEGMENT_H
#define WSD_SEGMENT_H

#include "wsd_base.h"
#include "wsd_lock.h"

#define WSD_MAGIC 0x3176534457534157ull
#define WSD_VERSION 5u
#define WSD_PAGE 4096u
#define WSD_RING_MIN 4096u
#define WSD_RING_MAX (16u << 20)
#define WSD_SLOTS_MAX 4096u

/* head's top bits: the producer is making up its mind whether to ring; it is ringing, and rx or tx says so */
#define WSD_PENDING (1ull << 63)
#define WSD_RINGING (1ull << 62)
#define WSD_HEAD (WSD_RINGING - 1)

/* rx word: what the producer owes the consumer after publishing; BARE: see wsd_bare.h */
enum { WSD_QUIET = 0, WSD_ARMED = 1, WSD_RUNG = 2, WSD_BARE = 3 };
/* fin bits of a direction, set by its producer; PIPE: a reset after FIN had been sent, which TCP's
 * readers do not notice, as they are at the end already, and its writers see as EPIPE; LATE: bytes
 * stood unread in the ring, so the kernel is told of the end when they are read, by their reader */
enum { WSD_FIN = 1, WSD_RESET = 2, WSD_CLOSED = 4, WSD_PIPE = 8, WSD_LATE = 16 };
/* slot states: the low two bits of the state word; above them the slot's generation, so that an
 * offer that was revoked cannot be mistaken for the slot's next one */
enum { WSD_FREE = 0, WSD_OFFERED = 1, WSD_ATTACHED = 2, WSD_REVOKED = 3 };
#define WSD_STATE_MASK 3u
#define WSD_GENERATION(word) ((word) >> 2)
#define WSD_STATE_WORD(generation, state) (((uint32_t)(generation) << 2) | (state))

typedef struct {
    WSD_ALIGNED _Atomic uint64_t head; /* bytes published, | WSD_PENDING or WSD_RINGING */
    _Atomic uint32_t producer_cpu;
    _Atomic uint32_t fin;
    _Atomic uint64_t urgent;            /* where the latest urgent byte is, + 1; 0: there was none */
    _Atomic uint64_t dropped_from;      /* earlier urgent bytes that went out of the stream when the */
    _Atomic uint64_t dropped_to;        /* next one came, see wsd_urgent.h; void unless from < to */
    _Atomic uint32_t urgent_token;      /* 1: a token with MSG_OOB is (being) sent; 2: none ever will */
    _Atomic uint32_t ask;  /* 1: the producer wants the consumer to ring for what it has sent itself */
    _Atomic uint32_t bare; /* 1: the producer sends by the socket; 2: and the consumer reads there */
    _Atomic uint64_t grown;    /* 1 + the first byte that stands in the large ring; 0: none does */
    _Atomic uint32_t reserved; /* the process that fills a part of the ring in place (wsd_lease.h), or 0 */
    WSD_ALIGNED _Atomic uint64_t tail; /* bytes consumed */
    _Atomic uint32_t consumer_cpu;
    _Atomic uint32_t debt;     /* tokens the consumer still has to eat */
    _Atomic uint32_t sleepers; /* consumers asleep on the bell: then nobody goes QUIET */
    _Atomic uint64_t urgent_read;   /* the value of `urgent` that was read with MSG_OOB */
    _Atomic uint32_t urgent_inline; /* SO_OOBINLINE of the consumer */
    _Atomic uint32_t leased; /* the process that reads a part of the ring in place (wsd_lease.h), or 0 */
    WSD_ALIGNED _Atomic uint32_t rx;
    _Atomic uint64_t rx_stamp; /* when the last token was sent, for the measured wake latency */
    WSD_ALIGNED _Atomic uint32_t tx; /* 1: two "full" tokens are (being) sent; 2: none ever will be */
    _Atomic uint64_t tx_stamp;
    /* the consumer has shut down its reading: tokens cannot be sent.  Here, because the producer looks
     * at it with every send, and must not take the line of `tail` from the consumer for that. */
    _Atomic uint32_t deaf;
    WSD_ALIGNED wsd_lock producer_lock;
    WSD_ALIGNED wsd_lock consumer_lock;
} wsd_direction;

/* Where a side's kernel socket is, by its own account. */
typedef struct {
    _Atomic int32_t pid, fd;
    _Atomic uint64_t inode;
} wsd_place;

typedef struct {
    WSD_ALIGNED _Atomic uint32_t state;
    _Atomic uint32_t holders[2]; /* processes that hold this end: [0] offering, [1] accepting side */
    wsd_direction direction[2];
    /* control messages that each side has sent; a hint to look for them behind data, nothing more */
    WSD_ALIGNED _Atomic uint32_t controls[2];
    wsd_place place[2];
} wsd_slot;

/* One piece of memory that a side exposes to the other.  Written by its owner while the word is not
 * active and nobody uses it; after that only the word changes. */
typedef struct {
    _Atomic uint64_t word; /* see wsd_region.c */
    _Atomic uint64_t key;  /* random, part of the descriptor */
    _Atomic uint64_t address, length;
    _Atomic uint64_t memory, memory_offset; /* of shareable memory: its inode and where in it; or 0 */
    _Atomic uint32_t access;
    _Atomic uint32_t generation; /* the slot's: an older connection's entries are worth nothing */
    _Atomic int32_t memory_fd;   /* descriptor of the shareable memory in the owner */
    _Atomic int32_t pid;         /* the owner, by its own account */
} wsd_exposure;

#define WSD_EXPOSURES 128u
#define WSD_EXPOSURES_LENGTH (WSD_EXPOSURES * sizeof(wsd_exposure))
_Static_assert(sizeof(wsd_exposure) == 64, "an exposure is half a line");
_Static_assert(WSD_EXPOSURES_LENGTH % WSD_PAGE == 0, "a side's exposures are whole pages");

typedef struct {
    uint64_t magic;
    uint32_t version;
    uint32_t slots;
    uint64_t ring;
    uint64_t large; /* 0: rings do not grow */
    uint64_t id;
    WSD_ALIGNED _Atomic uint32_t last_cpu[2]; /* where each side ran last: a fresh slot starts with it */
    WSD_ALIGNED _Atomic uint32_t offers; /* queued at the server by the short way: see wsd_arrivals.h */
    _Atomic uint64_t offer_stamp;        /* when the last of them was */
} wsd_segment_header;

_Static_assert(sizeof(wsd_slot) <= WSD_PAGE, "a slot's control block is one page");
_Static_assert(sizeof(wsd_segment_header) <= WSD_PAGE, "the header is one page");

typedef struct {
    uint8_t *base;
    size_t length;
    int fd;
    uint32_t slots;
    uint64_t ring;  /* bytes, a power of two */
    uint64_t large; /* the same, more than `ring`; or 0 */
    uint64_t id;
    uint32_t next; /* where wsd_segment_take looks first */
    _Atomic uint32_t references;
} wsd_segment;

/* 0 or -errno; *out holds one reference. */
int wsd_segment_create(uint32_t slots, uint64_t ring, wsd_segment **out);
/* The same, with rings that can grow to `large` bytes. */
int wsd_segment_create_growing(uint32_t slots, uint64_t ring, uint64_t large, wsd_segment **out);
/* 0, -errno, or -EPROTO with *why set to what is wrong with the foreign segment. */
int wsd_segment_adopt(int fd, wsd_segment **out, const char **why);
void wsd_segment_hold(wsd_segment *segment);
void wsd_segment_release(wsd_segment *segment);

wsd_slot *wsd_segment_slot(const wsd_segment *segment, uint32_t index);
uint8_t *wsd_segment_ring(const wsd_segment *segment, uint32_t index, unsigned direction);
/* NULL: rings do not grow here. */
uint8_t *wsd_segment_large(const wsd_segment *segment, uint32_t index, unsigned direction);
/* Bytes from one slot to the next. */
size_t wsd_segment_stride(const wsd_segment *segment);
/* Give the system the pages of a ring, whose bytes nobody will read any more. */
void wsd_segment_forget(const wsd_segment *segment, const uint8_t *data, uint64_t size);
wsd_exposure *wsd_slot_exposure(wsd_slot *slot, unsigned side, uint32_t index);
/* A free slot, reset and OFFERED with one holder on side 0; -1 when all are taken. */
int wsd_segment_take(wsd_segment *segment);
uint32_t wsd_slot_generation(const wsd_slot *slot);
/* Give up one holder of `side`; the slot is free when neither side holds it. */
void wsd_slot_leave(wsd_slot *slot, unsigned side);
uint32_t wsd_segment_in_use(const wsd_segment *segment);

#endif
