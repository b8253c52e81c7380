/* Descriptor number -> what the caller hung on it.  Looked up on every grafted call, so reading is
 * two loads; entries are void pointers because the table does not own what they point to. */
#ifndef WSD_FDTABLE_H
#define WSD_FDTABLE_H

#include "wsd_base.h"

#define WSD_FD_CHUNK 1024u
#define WSD_FD_CHUNKS 1024u /* a million descriptors: the kernel's own default ceiling */

typedef struct {
    _Atomic(void *) entry[WSD_FD_CHUNK];
} wsd_fd_chunk;

extern _Atomic(wsd_fd_chunk *) wsd_fd_chunks[WSD_FD_CHUNKS];

static inline void *wsd_fd_lookup(int fd)
{
    unsigned index = (unsigned)fd;
    if (WSD_UNLIKELY(index >= WSD_FD_CHUNK * WSD_FD_CHUNKS))
        return NULL;
    /* acquire on both: pair with the releases in wsd_fd_swap, the entry is complete before it shows */
    wsd_fd_chunk *chunk = atomic_load_explicit(&wsd_fd_chunks[index / WSD_FD_CHUNK], memory_order_acquire);
    return chunk ? atomic_load_explicit(&chunk->entry[index % WSD_FD_CHUNK], memory_order_acquire) : NULL;
}

/* Put `value` (or NULL) there; *old is what stood there.  0, -EBADF or -ENOMEM. */
int wsd_fd_swap(int fd, void *value, void **old);
/* Calls visit(fd, entry, context) for every entry. */
void wsd_fd_each(void (*visit)(int fd, void *entry, void *context), void *context);

#endif
