#include "wsd_segment.h"

#include <fcntl.h>
#include <linux/memfd.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <unistd.h>

#define SEALS (F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL)

static size_t slot_length(uint64_t ring, uint64_t large)
{
    return WSD_PAGE + 2 * WSD_EXPOSURES_LENGTH + 2 * (size_t)ring + 2 * (size_t)large;
}

static size_t segment_length(uint32_t slots, uint64_t ring, uint64_t large)
{
    return WSD_PAGE + (size_t)slots * slot_length(ring, large);
}

static bool is_ring_size(uint64_t size)
{
    return size >= WSD_RING_MIN && size <= WSD_RING_MAX && (size & (size - 1)) == 0;
}

static bool sizes_are_sane(uint32_t slots, uint64_t ring, uint64_t large)
{
    return slots >= 1 && slots <= WSD_SLOTS_MAX && is_ring_size(ring) &&
           (large == 0 || (is_ring_size(large) && large > ring));
}

static wsd_segment_header *header_of(const wsd_segment *segment)
{
    return (wsd_segment_header *)segment->base;
}

static int map_segment(int fd, uint32_t slots, uint64_t ring, uint64_t large, uint64_t id, wsd_segment **out)
{
    wsd_segment *segment = calloc(1, sizeof *segment);
    if (!segment)
        return -ENOMEM;
    segment->length = segment_length(slots, ring, large);
    segment->base = mmap(NULL, segment->length, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    if (segment->base == MAP_FAILED) {
        int error = errno;
        free(segment);
        return -error;
    }
    segment->fd = fd;
    segment->slots = slots;
    segment->ring = ring;
    segment->large = large;
    segment->id = id;
    atomic_init(&segment->references, 1);
    *out = segment;
    return 0;
}

int wsd_segment_create(uint32_t slots, uint64_t ring, wsd_segment **out)
{
    return wsd_segment_create_growing(slots, ring, 0, out);
}

int wsd_segment_create_growing(uint32_t slots, uint64_t ring, uint64_t large, wsd_segment **out)
{
    if (!sizes_are_sane(slots, ring, large))
        return -EINVAL;
    uint64_t id = 0;
    while (id == 0)
        if (getrandom(&id, sizeof id, 0) != (ssize_t)sizeof id)
            return -EIO;
    int fd = memfd_create("wsdirect-segment", MFD_CLOEXEC | MFD_ALLOW_SEALING);
    if (fd < 0)
        return -errno;
    int rc = -1;
    if (ftruncate(fd, (off_t)segment_length(slots, ring, large)) == 0 && fcntl(fd, F_ADD_SEALS, SEALS) == 0)
        rc = map_segment(fd, slots, ring, large, id, out);
    else
        rc = -errno;
    if (rc < 0) {
        close(fd);
        return rc;
    }
    wsd_segment_header *header = header_of(*out);
    header->magic = WSD_MAGIC;
    header->version = WSD_VERSION;
    header->slots = slots;
    header->ring = ring;
    header->large = large;
    header->id = id;
    atomic_init(&header->last_cpu[0], wsd_cpu());
    atomic_init(&header->last_cpu[1], UINT32_MAX);
    return 0;
}

int wsd_segment_adopt(int fd, wsd_segment **out, const char **why)
{
    *why = NULL;
    int seals = fcntl(fd, F_GET_SEALS);
    if (seals < 0 || (seals & SEALS) != SEALS) {
        *why = "the segment is not sealed against shrinking and growing";
        return -EPROTO;
    }
    struct stat st;
    if (fstat(fd, &st) < 0)
        return -errno;
    if (st.st_size < (off_t)WSD_PAGE) {
        *why = "the segment is too small for its header";
        return -EPROTO;
    }
    /* read, not mapped: one copy, which the peer cannot change under us */
    wsd_segment_header header;
    ssize_t got = pread(fd, &header, sizeof header, 0);
    if (got != (ssize_t)sizeof header) {
        *why = "the segment's header cannot be read";
        return -EPROTO;
    }
    if (header.magic != WSD_MAGIC || header.version != WSD_VERSION) {
        *why = "the segment was made by another version";
        return -EPROTO;
    }
    if (!sizes_are_sane(header.slots, header.ring, header.large) || header.id == 0 ||
        (uint64_t)st.st_size != segment_length(header.slots, header.ring, header.large)) {
        *why = "the segment's header does not match its size";
        return -EPROTO;
    }
    int own = fcntl(fd, F_DUPFD_CLOEXEC, 3);
    if (own < 0)
        return -errno;
    int rc = map_segment(own, header.slots, header.ring, header.large, header.id, out);
    if (rc < 0) {
        close(own);
        return rc;
    }
    atomic_store_explicit(&header_of(*out)->last_cpu[1], wsd_cpu(), memory_order_relaxed);
    return 0;
}

void wsd_segment_hold(wsd_segment *segment)
{
    atomic_fetch_add_explicit(&segment->references, 1, memory_order_relaxed);
}

void wsd_segment_release(wsd_segment *segment)
{
    /* acq_rel: the last one to leave must see what the others did before it unmaps */
    if (atomic_fetch_sub_explicit(&segment->references, 1, memory_order_acq_rel) != 1)
        return;
    munmap(segment->base, segment->length);
    close(segment->fd);
    free(segment);
}

size_t wsd_segment_stride(const wsd_segment *segment)
{
    return slot_length(segment->ring, segment->large);
}

wsd_slot *wsd_segment_slot(const wsd_segment *segment, uint32_t index)
{
    return (wsd_slot *)(segment->base + WSD_PAGE + (size_t)index * wsd_segment_stride(segment));
}

uint8_t *wsd_segment_ring(const wsd_segment *segment, uint32_t index, unsigned direction)
{
    return (uint8_t *)wsd_segment_slot(segment, index) + WSD_PAGE + 2 * WSD_EXPOSURES_LENGTH +
           (direction ? segment->ring : 0);
}

uint8_t *wsd_segment_large(const wsd_segment *segment, uint32_t index, unsigned direction)
{
    if (segment->large == 0)
        return NULL;
    return wsd_segment_ring(segment, index, 0) + 2 * segment->ring + (direction ? segment->large : 0);
}

void wsd_segment_forget(const wsd_segment *segment, const uint8_t *data, uint64_t size)
{
    /* of the file, so for all who have it mapped; it keeps its size, which is sealed */
    fallocate(segment->fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, data - segment->base, (off_t)size);
}

wsd_exposure *wsd_slot_exposure(wsd_slot *slot, unsigned side, uint32_t index)
{
    return (wsd_exposure *)((uint8_t *)slot + WSD_PAGE + (side & 1) * WSD_EXPOSURES_LENGTH) + index;
}

static bool slot_is_free(const wsd_slot *slot)
{
    /* acquire: pairs with the release in wsd_slot_leave, the last user's stores are over */
    return atomic_load_explicit(&slot->holders[0], memory_order_acquire) == 0 &&
           atomic_load_explicit(&slot->holders[1], memory_order_acquire) == 0 &&
           /* an offer whose connecting side has already closed still waits for its acceptor */
           (atomic_load_explicit(&slot->state, memory_order_acquire) & WSD_STATE_MASK) != WSD_OFFERED;
}

static void reset_direction(wsd_direction *d, uint32_t producer_cpu, uint32_t consumer_cpu)
{
    memset(d, 0, sizeof *d);
    atomic_init(&d->rx, WSD_ARMED);
    atomic_init(&d->producer_cpu, producer_cpu);
    atomic_init(&d->consumer_cpu, consumer_cpu);
}

uint32_t wsd_slot_generation(const wsd_slot *slot)
{
    return WSD_GENERATION(atomic_load_explicit(&slot->state, memory_order_relaxed));
}

/* Take a free slot by becoming its holder: forked processes may look for one at the same time. */
static bool claim(wsd_slot *slot)
{
    uint32_t nobody = 0;
    if (!slot_is_free(slot) ||
        !atomic_compare_exchange_strong_explicit(&slot->holders[0], &nobody, 1, memory_order_acq_rel,
                                                 memory_order_relaxed))
        return false;
    /* taken, used and left by its connecting side in between: held by the other, or still offered */
    bool others = atomic_load_explicit(&slot->holders[1], memory_order_acquire) != 0 ||
                  (atomic_load_explicit(&slot->state, memory_order_acquire) & WSD_STATE_MASK) == WSD_OFFERED;
    if (others)
        wsd_slot_leave(slot, 0);
    return !others;
}

int wsd_segment_take(wsd_segment *segment)
{
    wsd_segment_header *header = header_of(segment);
    for (uint32_t i = 0; i < segment->slots; i++) {
        uint32_t index = (segment->next + i) % segment->slots;
        wsd_slot *slot = wsd_segment_slot(segment, index);
        if (!claim(slot))
            continue;
        uint32_t mine = wsd_cpu();
        uint32_t theirs = atomic_load_explicit(&header->last_cpu[1], memory_order_relaxed);
        atomic_store_explicit(&header->last_cpu[0], mine, memory_order_relaxed);
        for (unsigned i = 0; i < 2; i++) /* who left it last may not have known that it was the last */
            if (segment->large && atomic_load_explicit(&slot->direction[i].grown, memory_order_relaxed))
                wsd_segment_forget(segment, wsd_segment_large(segment, index, i), segment->large);
        reset_direction(&slot->direction[0], mine, theirs);
        reset_direction(&slot->direction[1], theirs, mine);
        atomic_init(&slot->controls[0], 0);
        atomic_init(&slot->controls[1], 0);
        atomic_init(&slot->place[0].pid, 0);
        atomic_init(&slot->place[1].pid, 0);
        uint32_t generation = wsd_slot_generation(slot) + 1;
        /* release: whoever attaches (acquire) sees the reset directions */
        atomic_store_explicit(&slot->state, WSD_STATE_WORD(generation, WSD_OFFERED), memory_order_release);
        segment->next = (index + 1) % segment->slots;
        return (int)index;
    }
    return -1;
}

void wsd_slot_leave(wsd_slot *slot, unsigned side)
{
    uint32_t seen = atomic_load_explicit(&slot->holders[side & 1], memory_order_relaxed);
    while (seen != 0 && !atomic_compare_exchange_weak_explicit(&slot->holders[side & 1], &seen, seen - 1,
                                                               memory_order_release, memory_order_relaxed))
        ;
}

uint32_t wsd_segment_in_use(const wsd_segment *segment)
{
    uint32_t used = 0;
    for (uint32_t i = 0; i < segment->slots; i++)
        used += !slot_is_free(wsd_segment_slot(segment, i));
    return used;
}
