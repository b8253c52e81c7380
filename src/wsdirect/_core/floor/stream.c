/* wsdirect's own stream, without Python around it: what is above the floor here is not the binding's. */
#include <stdlib.h>
#include <unistd.h>

#include "ends.h"
#include "wsd_bell.h"
#include "wsd_stream.h"

#define RING (256u << 10)

typedef struct {
    floor_end end;
    wsd_segment *segment;
    wsd_stream *stream;
    int fd;
} stream_end;

typedef int (*step)(wsd_stream *, uint64_t);

/* As a blocking call waits: first the spin, then the sleep. */
static int wait_with(wsd_stream *s, step spin, step sleep_on_bell)
{
    for (;;) {
        int r = spin(s, WSD_FOREVER);
        if (r == 0)
            r = sleep_on_bell(s, WSD_FOREVER);
        if (r == 1)
            return 0;
        if (r != 0 && r != -EINTR)
            return r;
    }
}

static int stream_put(floor_end *end, const void *data, size_t n)
{
    wsd_stream *s = ((stream_end *)end)->stream;
    struct iovec iov = {(void *)data, n};
    while (iov.iov_len > 0) {
        int64_t done = wsd_stream_send(s, &iov, 1, 0);
        if (done == -EAGAIN)
            done = wait_with(s, wsd_stream_spin_writable, wsd_stream_sleep_writable);
        if (done < 0)
            return (int)done;
        iov.iov_base = (uint8_t *)iov.iov_base + done;
        iov.iov_len -= (size_t)done;
    }
    return 0;
}

static int stream_get(floor_end *end, void *data, size_t n)
{
    wsd_stream *s = ((stream_end *)end)->stream;
    struct iovec iov = {data, n};
    while (iov.iov_len > 0) {
        int64_t done = wsd_stream_recv(s, &iov, 1, 0);
        if (done == 0)
            return -ECONNRESET;
        if (done == -EAGAIN)
            done = wait_with(s, wsd_stream_spin_readable, wsd_stream_sleep_readable);
        if (done < 0)
            return (int)done;
        iov.iov_base = (uint8_t *)iov.iov_base + done;
        iov.iov_len -= (size_t)done;
    }
    return 0;
}

static void stream_drop(floor_end *end)
{
    stream_end *e = (stream_end *)end;
    if (e->stream) {
        wsd_stream_close(e->stream, false);
        wsd_stream_release(e->stream);
    }
    if (e->segment)
        wsd_segment_release(e->segment);
    close(e->fd);
    free(e);
}

static stream_end *make(int fd)
{
    stream_end *e = calloc(1, sizeof *e);
    if (e) {
        e->end = (floor_end){stream_put, stream_get, stream_drop};
        e->fd = fd;
    }
    return e;
}

int floor_stream_offer(int fd, floor_end **out, int *segment, uint32_t *slot, uint32_t *generation)
{
    stream_end *e = make(fd);
    if (!e)
        return -ENOMEM;
    int r = wsd_bell_prepare(fd);
    if (r == 0)
        r = wsd_segment_create(2, RING, &e->segment);
    if (r == 0) {
        int taken = wsd_segment_take(e->segment);
        r = taken < 0 ? -ENOBUFS : 0;
        *slot = (uint32_t)taken;
    }
    if (r == 0) {
        *generation = wsd_slot_generation(wsd_segment_slot(e->segment, *slot));
        r = wsd_stream_offer(e->segment, *slot, fd, WSD_FOREVER, &e->stream);
    }
    if (r < 0) {
        stream_drop(&e->end);
        return r;
    }
    *segment = e->segment->fd;
    *out = &e->end;
    return 0;
}

int floor_stream_attach(int fd, int segment, uint32_t slot, uint32_t generation, floor_end **out)
{
    stream_end *e = make(fd);
    if (!e)
        return -ENOMEM;
    const char *why;
    int r = wsd_bell_prepare(fd);
    if (r == 0)
        r = wsd_segment_adopt(segment, &e->segment, &why);
    if (r == 0)
        r = wsd_stream_attach(e->segment, slot, generation, fd, &e->stream);
    if (r < 0) {
        stream_drop(&e->end);
        return r;
    }
    *out = &e->end;
    return 0;
}
