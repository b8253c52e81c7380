#include "wsd_region.h"

#include <fcntl.h>
#include <linux/memfd.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

#include "wsd_bell.h"
#include "wsd_counters.h"
#include "wsd_relaxed.h"

/* The word of an entry: active, the generation, and how many transfers are in it. */
#define ACTIVE (1ull << 63)
#define USERS_MASK 0xffffffffull
#define USERS_MAX 0xffffull /* more than that at a time is a lie */
#define GENERATION_MASK 0x7fffffffull
#define WORD(generation) (((uint64_t)(generation)&GENERATION_MASK) << 32)

/* Copied in pieces: between two of them the end of the connection is noticed. */
#define PIECE (1u << 20)
#define VECTORS 64

_Static_assert(WSD_MEMORY_SEALS == (F_SEAL_SEAL | F_SEAL_SHRINK | F_SEAL_GROW), "seals");

/* ---- the owner ----------------------------------------------------------------------------- */

int wsd_region_expose(wsd_stream *s, uint32_t index, uint32_t generation, const wsd_region *region)
{
    if (index >= WSD_EXPOSURES)
        return -EINVAL;
    wsd_exposure *entry = wsd_slot_exposure(s->slot, s->side, index);
    STORE(entry->word, WORD(generation)); /* whatever stood here: nobody enters while we write */
    atomic_thread_fence(memory_order_release);
    STORE(entry->key, region->key);
    STORE(entry->address, region->address);
    STORE(entry->length, region->length);
    STORE(entry->memory, region->memory);
    STORE(entry->memory_offset, region->memory_offset);
    STORE(entry->access, region->access);
    STORE(entry->generation, s->generation);
    STORE(entry->memory_fd, region->memory_fd);
    STORE(entry->pid, region->pid);
    /* release: the entry is whole before anybody can enter it; pairs with wsd_region_enter */
    atomic_store_explicit(&entry->word, WORD(generation) | ACTIVE, memory_order_release);
    return 0;
}

int wsd_region_end(wsd_stream *s, uint32_t index, uint32_t generation, bool force)
{
    if (index >= WSD_EXPOSURES)
        return -EINVAL;
    wsd_exposure *entry = wsd_slot_exposure(s->slot, s->side, index);
    uint64_t word = LOAD(entry->word);
    for (;;) {
        bool ours = (word & ACTIVE) && (word & ~(ACTIVE | USERS_MASK)) == WORD(generation);
        /* A word that is not ours was written by a peer that lies: it is not in it by our rules. */
        if (ours && (word & USERS_MASK) != 0 && !force)
            return -EBUSY;
        uint64_t ended = ours ? word & ~ACTIVE : WORD(generation);
        /* acquire: what the last transfer wrote is here; pairs with the release in wsd_region_leave.
         * One word holds both, so nobody can enter between the look and the end. */
        if (atomic_compare_exchange_weak_explicit(&entry->word, &word, ended, memory_order_acq_rel,
                                                  memory_order_relaxed))
            return 0;
    }
}

bool wsd_region_busy(wsd_stream *s, uint32_t index)
{
    if (index >= WSD_EXPOSURES)
        return false;
    wsd_exposure *entry = wsd_slot_exposure(s->slot, s->side, index);
    /* acquire: pairs with the release in wsd_region_leave */
    return (atomic_load_explicit(&entry->word, memory_order_acquire) & USERS_MASK) != 0;
}

/* ---- the peer ------------------------------------------------------------------------------ */

static wsd_exposure *theirs(wsd_stream *s, uint32_t index)
{
    return wsd_slot_exposure(s->slot, 1 - s->side, index);
}

static bool is_in_force(wsd_exposure *entry, uint32_t generation)
{
    return (LOAD(entry->word) & ~USERS_MASK) == (WORD(generation) | ACTIVE);
}

static int check(const wsd_stream *s, const wsd_exposure *entry, uint64_t key, uint32_t access, uint64_t offset,
                 uint64_t length, wsd_region *out)
{
    *out = (wsd_region){
        .key = LOAD(entry->key),
        .address = LOAD(entry->address),
        .length = LOAD(entry->length),
        .memory = LOAD(entry->memory),
        .memory_offset = LOAD(entry->memory_offset),
        .access = LOAD(entry->access),
        .memory_fd = LOAD(entry->memory_fd),
        .pid = LOAD(entry->pid),
    };
    if (LOAD(entry->generation) != s->generation || out->key != key)
        return -EINVAL;
    if ((out->access & access) != access)
        return -EACCES;
    /* no sum may wrap: not in the range asked for, not in the owner's account of its memory */
    if (offset > out->length || length > out->length - offset || out->address > UINT64_MAX - out->length ||
        out->memory_offset > UINT64_MAX - out->length)
        return -EFAULT;
    return 0;
}

int wsd_region_enter(wsd_stream *s, uint32_t index, uint32_t generation, uint64_t key, uint32_t access,
                     uint64_t offset, uint64_t length, wsd_region *out)
{
    if (index >= WSD_EXPOSURES || generation > GENERATION_MASK)
        return -EINVAL;
    wsd_exposure *entry = theirs(s, index);
    uint64_t word = LOAD(entry->word);
    do {
        if ((word & ~USERS_MASK) != (WORD(generation) | ACTIVE) || (word & USERS_MASK) >= USERS_MAX)
            return -EINVAL;
        /* acquire: pairs with the release in wsd_region_expose */
    } while (!atomic_compare_exchange_weak_explicit(&entry->word, &word, word + 1, memory_order_acq_rel,
                                                    memory_order_relaxed));
    int rc = check(s, entry, key, access, offset, length, out);
    if (rc < 0)
        wsd_region_leave(s, index, generation);
    return rc;
}

void wsd_region_leave(wsd_stream *s, uint32_t index, uint32_t generation)
{
    if (index >= WSD_EXPOSURES)
        return;
    wsd_exposure *entry = theirs(s, index);
    uint64_t word = LOAD(entry->word);
    do {
        if ((word & ~(ACTIVE | USERS_MASK)) != WORD(generation) || (word & USERS_MASK) == 0)
            return; /* the owner has given the entry to something else: nothing of ours to take back */
        /* release: our copy is over before the owner may see us gone; pairs with wsd_region_end */
    } while (!atomic_compare_exchange_weak_explicit(&entry->word, &word, word - 1, memory_order_acq_rel,
                                                    memory_order_relaxed));
}

/* Whether the owner is there and lets us go on. */
static int may_go_on(wsd_stream *s, uint32_t index, uint32_t generation)
{
    if (LOAD(s->closed))
        return -EBADF;
    if (LOAD(s->in->fin) || LOAD(s->peer_gone) || !is_in_force(theirs(s, index), generation))
        return -ECONNRESET;
    return 0;
}

/* The next pieces of the list, up to PIECE bytes, as a vector; their total. */
static size_t next_pieces(wsd_cursor from, struct iovec *pieces, int *count)
{
    size_t total = 0, n;
    *count = 0;
    while (*count < VECTORS && total < PIECE) {
        uint8_t *at = wsd_cursor_piece(&from, PIECE - total, &n);
        if (!at)
            break;
        pieces[(*count)++] = (struct iovec){at, n};
        total += n;
    }
    return total;
}

static void skip(wsd_cursor *c, size_t n)
{
    size_t piece;
    while (n > 0 && wsd_cursor_piece(c, n, &piece))
        n -= piece;
}

int64_t wsd_region_direct(wsd_stream *s, uint32_t index, uint32_t generation, pid_t pid, uint64_t address,
                          const struct iovec *iov, int count, bool write)
{
    if (index >= WSD_EXPOSURES || pid <= 0)
        return -EINVAL;
    /* A process that died leaves its number to others: the bell knows whether it lives. */
    wsd_bell_ended(s);
    wsd_cursor mine = {iov, count, 0};
    uint64_t done = 0, total = wsd_iov_total(iov, count);
    while (done < total) {
        int rc = may_go_on(s, index, generation), n;
        if (rc < 0)
            return rc;
        struct iovec pieces[VECTORS];
        struct iovec other = {(void *)(uintptr_t)(address + done), next_pieces(mine, pieces, &n)};
        ssize_t moved = write ? process_vm_writev(pid, pieces, (unsigned long)n, &other, 1, 0)
                              : process_vm_readv(pid, pieces, (unsigned long)n, &other, 1, 0);
        if (moved <= 0) /* also after a part: then the next page is what cannot be had */
            return moved == 0 ? -EFAULT : -errno;
        skip(&mine, (size_t)moved);
        done += (uint64_t)moved;
    }
    WSD_COUNT(rdma_direct);
    WSD_COUNT_BY(rdma_direct_bytes, done);
    return (int64_t)done;
}

/* ---- shareable memory ---------------------------------------------------------------------- */

int wsd_memory_look(int fd, uint64_t *size, uint64_t *inode)
{
    struct stat st;
    int seals = fcntl(fd, F_GET_SEALS);
    /* sealed, it cannot shrink under a mapping, where touching it would be a SIGBUS */
    if (seals < 0 || (seals & WSD_MEMORY_SEALS) != WSD_MEMORY_SEALS || (seals & F_SEAL_WRITE) ||
        fstat(fd, &st) < 0 || !S_ISREG(st.st_mode) || st.st_size <= 0)
        return -EINVAL;
    *size = (uint64_t)st.st_size;
    *inode = (uint64_t)st.st_ino;
    return 0;
}

int wsd_memory_map(pid_t pid, int fd, uint64_t inode, wsd_mapping *out)
{
    char path[64];
    struct stat st;
    if (pid <= 0 || fd < 0)
        return -EINVAL;
    snprintf(path, sizeof path, "/proc/%d/fd/%d", (int)pid, fd);
    /* By a path only, first: to open whatever the other process has there could block or do things. */
    int place = open(path, O_PATH | O_CLOEXEC);
    if (place < 0)
        return -errno;
    int mine = -1, rc = -EINVAL;
    if (fstat(place, &st) == 0 && S_ISREG(st.st_mode) && (uint64_t)st.st_ino == inode) {
        snprintf(path, sizeof path, "/proc/self/fd/%d", place);
        mine = open(path, O_RDWR | O_CLOEXEC | O_NOCTTY | O_NONBLOCK);
        rc = mine < 0 ? -errno : 0;
    }
    close(place);
    if (rc < 0)
        return rc;
    uint64_t size, found;
    rc = wsd_memory_look(mine, &size, &found);
    if (rc == 0 && found != inode)
        rc = -EINVAL;
    if (rc == 0) {
        void *base = mmap(NULL, (size_t)size, PROT_READ | PROT_WRITE, MAP_SHARED, mine, 0);
        rc = base == MAP_FAILED ? -errno : 0;
        *out = (wsd_mapping){base, size};
    }
    close(mine);
    return rc;
}

void wsd_memory_unmap(wsd_mapping *mapping)
{
    if (mapping->base)
        munmap(mapping->base, (size_t)mapping->size);
    *mapping = (wsd_mapping){NULL, 0};
}

int64_t wsd_region_shared(wsd_stream *s, uint32_t index, uint32_t generation, const wsd_mapping *mapping,
                          uint64_t at, const struct iovec *iov, int count, bool write)
{
    uint64_t done = 0, total = wsd_iov_total(iov, count);
    if (index >= WSD_EXPOSURES || at > mapping->size || total > mapping->size - at)
        return -EINVAL;
    wsd_bell_ended(s); /* memory outlives its owner, but what is written there has no reader then */
    wsd_cursor mine = {iov, count, 0};
    uint64_t checked = 0;
    while (done < total) {
        if (done == 0 || done - checked >= PIECE) {
            int rc = may_go_on(s, index, generation);
            if (rc < 0)
                return rc;
            checked = done;
        }
        size_t piece;
        uint8_t *local = wsd_cursor_piece(&mine, PIECE, &piece);
        if (!local)
            break;
        if (write)
            memmove(mapping->base + at + done, local, piece);
        else
            memmove(local, mapping->base + at + done, piece);
        done += piece;
    }
    WSD_COUNT(rdma_shared);
    WSD_COUNT_BY(rdma_shared_bytes, done);
    return (int64_t)done;
}
