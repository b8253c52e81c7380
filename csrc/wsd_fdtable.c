#include "wsd_fdtable.h"

#include <stdlib.h>

_Atomic(wsd_fd_chunk *) wsd_fd_chunks[WSD_FD_CHUNKS];

int wsd_fd_swap(int fd, void *value, void **old)
{
    *old = NULL;
    unsigned index = (unsigned)fd;
    if (fd < 0 || index >= WSD_FD_CHUNK * WSD_FD_CHUNKS)
        return -EBADF;
    _Atomic(wsd_fd_chunk *) *place = &wsd_fd_chunks[index / WSD_FD_CHUNK];
    wsd_fd_chunk *chunk = atomic_load_explicit(place, memory_order_acquire);
    if (!chunk) {
        if (!value)
            return 0;
        wsd_fd_chunk *fresh = calloc(1, sizeof *fresh);
        if (!fresh)
            return -ENOMEM;
        /* release: the zeroes are written before another thread finds the chunk */
        if (atomic_compare_exchange_strong_explicit(place, &chunk, fresh, memory_order_acq_rel,
                                                    memory_order_acquire))
            chunk = fresh;
        else
            free(fresh); /* another thread was first; `chunk` is its one */
    }
    *old = atomic_exchange_explicit(&chunk->entry[index % WSD_FD_CHUNK], value, memory_order_acq_rel);
    return 0;
}

void wsd_fd_each(void (*visit)(int fd, void *entry, void *context), void *context)
{
    for (unsigned i = 0; i < WSD_FD_CHUNKS; i++) {
        wsd_fd_chunk *chunk = atomic_load_explicit(&wsd_fd_chunks[i], memory_order_acquire);
        for (unsigned j = 0; chunk && j < WSD_FD_CHUNK; j++) {
            void *entry = atomic_load_explicit(&chunk->entry[j], memory_order_acquire);
            if (entry)
                visit((int)(i * WSD_FD_CHUNK + j), entry, context);
        }
    }
}
