/* RDMA: memory that one side of a connection exposes, and the other side's transfers.
 *
 * The owner keeps its own account of what it exposed; what stands in the segment tells the peer's
 * provider where the memory is, and keeps count of its transfers.  A transfer enters the exposure,
 * copies, and leaves.  The owner ends an exposure only while nobody is in it, so that after the end
 * no transfer touches the memory.
 *
 * Neither side believes the other: the peer copies an entry once and checks what it uses; and what
 * an owner claims can only ever make the peer read or write that owner's own memory, as the kernel
 * says which process it is.
 */
#ifndef WSD_REGION_H
#define WSD_REGION_H

#include "wsd_ring.h"
#include "wsd_stream.h"

enum { WSD_MAY_READ = 1, WSD_MAY_WRITE = 2 };

/* What an entry says, in the owner's words or in the peer's copy. */
typedef struct {
    uint64_t key;
    uint64_t address, length;
    uint64_t memory, memory_offset;
    uint32_t access;
    int32_t memory_fd;
    int32_t pid;
} wsd_region;

/* Owner: publish entry `index` under this generation (31 bits, another one each time). */
int wsd_region_expose(wsd_stream *s, uint32_t index, uint32_t generation, const wsd_region *region);
/* Owner: 0, or -EBUSY while a transfer is in it.  By force: nobody gets in any more, all the same. */
int wsd_region_end(wsd_stream *s, uint32_t index, uint32_t generation, bool force);
/* Owner, after an end by force: whether a transfer is still in it. */
bool wsd_region_busy(wsd_stream *s, uint32_t index);

/* Peer: 0 and a copy in *out, or -EINVAL no such exposure, -EACCES it does not allow this, -EFAULT the
 * range is not inside. */
int wsd_region_enter(wsd_stream *s, uint32_t index, uint32_t generation, uint64_t key, uint32_t access,
                     uint64_t offset, uint64_t length, wsd_region *out);
void wsd_region_leave(wsd_stream *s, uint32_t index, uint32_t generation);

/* Peer, entered: copy between its buffers and the owner's memory from `address`, through the kernel.
 * Bytes, or -EPERM and the like where this cannot be done at all, -EFAULT, -ECONNRESET. */
int64_t wsd_region_direct(wsd_stream *s, uint32_t index, uint32_t generation, pid_t pid, uint64_t address,
                          const struct iovec *iov, int count, bool write);

/* Shareable memory of the owner, mapped here. */
typedef struct {
    uint8_t *base;
    uint64_t size;
} wsd_mapping;

#define WSD_MEMORY_SEALS 0x0007 /* F_SEAL_SEAL | F_SEAL_SHRINK | F_SEAL_GROW */

/* Its size and inode if this is memory that can be shared, i.e. sealed; or -EINVAL. */
int wsd_memory_look(int fd, uint64_t *size, uint64_t *inode);
/* Map descriptor `fd` of process `pid`; -EINVAL: it is not the memory that was claimed. */
int wsd_memory_map(pid_t pid, int fd, uint64_t inode, wsd_mapping *out);
void wsd_memory_unmap(wsd_mapping *mapping);
/* As wsd_region_direct, by a mapping. */
int64_t wsd_region_shared(wsd_stream *s, uint32_t index, uint32_t generation, const wsd_mapping *mapping,
                          uint64_t at, const struct iovec *iov, int count, bool write);

#endif
