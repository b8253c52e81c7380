/* Copies between caller's buffers and a ring; no state, no waiting. */
#ifndef WSD_RING_H
#define WSD_RING_H

#include <string.h>
#include <sys/uio.h>

#include "wsd_base.h"

/* A place in a list of buffers. */
typedef struct {
    const struct iovec *iov;
    int count;
    size_t offset; /* in iov[0] */
} wsd_cursor;

static inline size_t wsd_iov_total(const struct iovec *iov, int count)
{
    size_t total = 0;
    for (int i = 0; i < count; i++)
        total += iov[i].iov_len;
    return total;
}

static inline void wsd_ring_put(uint8_t *ring, uint64_t size, uint64_t position, const void *from, size_t n)
{
    uint64_t at = position & (size - 1);
    size_t first = size - at < n ? (size_t)(size - at) : n;
    memcpy(ring + at, from, first);
    if (WSD_UNLIKELY(n > first))
        memcpy(ring, (const uint8_t *)from + first, n - first);
}

static inline void wsd_ring_get(const uint8_t *ring, uint64_t size, uint64_t position, void *to, size_t n)
{
    uint64_t at = position & (size - 1);
    size_t first = size - at < n ? (size_t)(size - at) : n;
    memcpy(to, ring + at, first);
    if (WSD_UNLIKELY(n > first))
        memcpy((uint8_t *)to + first, ring, n - first);
}

/* The next piece of the list, at most `limit` bytes; NULL at its end. */
static inline uint8_t *wsd_cursor_piece(wsd_cursor *c, size_t limit, size_t *n)
{
    while (c->count > 0 && c->offset == c->iov->iov_len) {
        c->iov++;
        c->count--;
        c->offset = 0;
    }
    if (c->count <= 0)
        return NULL;
    size_t left = c->iov->iov_len - c->offset;
    *n = left < limit ? left : limit;
    uint8_t *at = (uint8_t *)c->iov->iov_base + c->offset;
    c->offset += *n;
    return at;
}

static inline void wsd_ring_gather(uint8_t *ring, uint64_t size, uint64_t position, wsd_cursor *c, size_t n)
{
    while (n > 0) {
        size_t piece;
        const uint8_t *from = wsd_cursor_piece(c, n, &piece);
        if (!from)
            return;
        wsd_ring_put(ring, size, position, from, piece);
        position += piece;
        n -= piece;
    }
}

static inline void wsd_ring_scatter(const uint8_t *ring, uint64_t size, uint64_t position, wsd_cursor *c,
                                    size_t n)
{
    while (n > 0) {
        size_t piece;
        uint8_t *to = wsd_cursor_piece(c, n, &piece);
        if (!to)
            return;
        wsd_ring_get(ring, size, position, to, piece);
        position += piece;
        n -= piece;
    }
}

#endif
