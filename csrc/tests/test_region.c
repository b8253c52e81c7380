/* RDMA regions: entering and leaving, the end of an exposure, the copies, and hostile entries. */
#include <fcntl.h>
#include <linux/memfd.h>

#include "testing.h"
#include "wsd_region.h"

#define KEY 0x1122334455667788ull

static wsd_region region_of(void *memory, uint64_t length, uint32_t access)
{
    return (wsd_region){.key = KEY,
                        .address = (uint64_t)(uintptr_t)memory,
                        .length = length,
                        .access = access,
                        .memory_fd = -1,
                        .pid = getpid()};
}

static int enter(wsd_stream *s, uint32_t index, uint32_t generation, uint32_t access, uint64_t offset,
                 uint64_t length)
{
    wsd_region found;
    return wsd_region_enter(s, index, generation, KEY, access, offset, length, &found);
}

static void what_is_let_in(void)
{
    connection c = connection_with(WSD_RING_MIN);
    uint8_t memory[100];
    wsd_region r = region_of(memory, sizeof memory, WSD_MAY_READ);
    CHECK_IS(enter(c.b, 3, 7, 0, 0, 0), -EINVAL);
    CHECK_IS(wsd_region_expose(c.a, 3, 7, &r), 0);
    CHECK_IS(enter(c.b, 3, 7, WSD_MAY_READ, 0, 100), 0);
    wsd_region_leave(c.b, 3, 7);
    CHECK_IS(enter(c.b, 3, 7, WSD_MAY_WRITE, 0, 100), -EACCES);
    CHECK_IS(enter(c.b, 3, 7, WSD_MAY_READ | WSD_MAY_WRITE, 0, 100), -EACCES);
    CHECK_IS(enter(c.b, 3, 7, WSD_MAY_READ, 0, 101), -EFAULT);
    CHECK_IS(enter(c.b, 3, 7, WSD_MAY_READ, 101, 0), -EFAULT);
    CHECK_IS(enter(c.b, 3, 7, WSD_MAY_READ, 100, 0), 0);
    wsd_region_leave(c.b, 3, 7);
    CHECK_IS(enter(c.b, 3, 7, WSD_MAY_READ, UINT64_MAX, 1), -EFAULT);
    CHECK_IS(enter(c.b, 3, 7, WSD_MAY_READ, 1, UINT64_MAX), -EFAULT);
    CHECK_IS(enter(c.b, 3, 8, WSD_MAY_READ, 0, 1), -EINVAL);
    CHECK_IS(enter(c.b, 3, 7 | 1u << 31, WSD_MAY_READ, 0, 1), -EINVAL);
    CHECK_IS(enter(c.b, 2, 7, WSD_MAY_READ, 0, 1), -EINVAL);
    CHECK_IS(enter(c.b, WSD_EXPOSURES, 7, WSD_MAY_READ, 0, 1), -EINVAL);
    CHECK_IS(enter(c.b, UINT32_MAX, 7, WSD_MAY_READ, 0, 1), -EINVAL);
    CHECK_IS(enter(c.a, 3, 7, WSD_MAY_READ, 0, 1), -EINVAL); /* one's own is not the peer's */
    wsd_region found;
    CHECK_IS(wsd_region_enter(c.b, 3, 7, KEY + 1, WSD_MAY_READ, 0, 1, &found), -EINVAL);
    CHECK(!wsd_region_busy(c.a, 3));
    CHECK_IS(wsd_region_end(c.a, 3, 7, false), 0);
    CHECK_IS(enter(c.b, 3, 7, WSD_MAY_READ, 0, 1), -EINVAL);
    CHECK_IS(wsd_region_expose(c.a, WSD_EXPOSURES, 1, &r), -EINVAL);
    CHECK_IS(wsd_region_end(c.a, WSD_EXPOSURES, 1, true), -EINVAL);
    drop(&c);
}

static void the_end_waits_for_transfers(void)
{
    connection c = connection_with(WSD_RING_MIN);
    uint8_t memory[100];
    wsd_region r = region_of(memory, sizeof memory, WSD_MAY_READ);
    CHECK_IS(wsd_region_expose(c.a, 0, 1, &r), 0);
    CHECK_IS(enter(c.b, 0, 1, WSD_MAY_READ, 0, 1), 0);
    CHECK_IS(enter(c.b, 0, 1, WSD_MAY_READ, 0, 1), 0);
    CHECK_IS(wsd_region_end(c.a, 0, 1, false), -EBUSY);
    wsd_region_leave(c.b, 0, 1);
    CHECK_IS(wsd_region_end(c.a, 0, 1, false), -EBUSY);
    CHECK_IS(enter(c.b, 0, 1, WSD_MAY_READ, 0, 1), 0); /* a refused end changes nothing */
    CHECK_IS(wsd_region_end(c.a, 0, 1, true), 0);
    CHECK(wsd_region_busy(c.a, 0));
    CHECK_IS(enter(c.b, 0, 1, WSD_MAY_READ, 0, 1), -EINVAL);
    struct iovec iov = {memory, 1};
    CHECK_IS(wsd_region_direct(c.b, 0, 1, getpid(), r.address, &iov, 1, false), -ECONNRESET);
    wsd_region_leave(c.b, 0, 1);
    wsd_region_leave(c.b, 0, 1);
    CHECK(!wsd_region_busy(c.a, 0));
    wsd_region_leave(c.b, 0, 1); /* one too many takes nothing away */
    CHECK_IS(wsd_region_expose(c.a, 0, 2, &r), 0);
    CHECK_IS(enter(c.b, 0, 2, WSD_MAY_READ, 0, 1), 0);
    wsd_region_leave(c.b, 0, 1); /* of an older use of the entry */
    CHECK_IS(wsd_region_end(c.a, 0, 2, false), -EBUSY);
    wsd_region_leave(c.b, 0, 2);
    CHECK_IS(wsd_region_end(c.a, 0, 2, false), 0);
    drop(&c);
}

static void an_old_connections_entries_are_void(void)
{
    wsd_segment *segment;
    CHECK_IS(wsd_segment_create(1, WSD_RING_MIN, &segment), 0);
    uint8_t memory[100];
    wsd_region r = region_of(memory, sizeof memory, WSD_MAY_READ);
    for (int side = 0; side < 2; side++) {
        wsd_segment_hold(segment);
        connection c = connect_in(segment);
        CHECK_IS(wsd_region_expose(side ? c.b : c.a, 0, 1, &r), 0);
        drop(&c); /* as one that was killed leaves it */
    }
    wsd_segment_hold(segment);
    connection c = connect_in(segment);
    CHECK_IS(enter(c.b, 0, 1, WSD_MAY_READ, 0, 1), -EINVAL);
    CHECK_IS(enter(c.a, 0, 1, WSD_MAY_READ, 0, 1), -EINVAL);
    drop(&c);
    wsd_segment_release(segment);
}

static void hostile_entries(void)
{
    connection c = connection_with(WSD_RING_MIN);
    uint8_t memory[100], mine[100];
    wsd_region r = region_of(memory, sizeof memory, WSD_MAY_READ);
    wsd_exposure *entry = wsd_slot_exposure(c.a->slot, c.a->side, 5);
    struct iovec iov = {mine, sizeof mine};

    CHECK_IS(wsd_region_expose(c.a, 5, 1, &r), 0);
    uint64_t bad[] = {UINT64_MAX, UINT64_MAX - 98, 1ull << 63};
    for (size_t i = 0; i < 2; i++) { /* sums that wrap */
        atomic_store(&entry->address, bad[i]);
        CHECK_IS(enter(c.b, 5, 1, WSD_MAY_READ, 0, 100), -EFAULT);
        atomic_store(&entry->address, r.address);
        atomic_store(&entry->memory_offset, bad[i]);
        CHECK_IS(enter(c.b, 5, 1, WSD_MAY_READ, 0, 100), -EFAULT);
        atomic_store(&entry->memory_offset, 0);
    }
    for (size_t i = 0; i < 3; i++) { /* addresses that lead nowhere */
        CHECK_IS(wsd_region_direct(c.b, 5, 1, getpid(), bad[i], &iov, 1, false), -EFAULT);
        CHECK_IS(wsd_region_direct(c.b, 5, 1, getpid(), bad[i], &iov, 1, true), -EFAULT);
    }
    CHECK_IS(wsd_region_direct(c.b, 5, 1, getpid(), 0, &iov, 1, false), -EFAULT);
    CHECK_IS(wsd_region_direct(c.b, 5, 1, 0, r.address, &iov, 1, false), -EINVAL);
    CHECK(wsd_region_direct(c.b, 5, 1, 0x7fffffff, r.address, &iov, 1, false) == -ESRCH);

    /* words that nobody of ours writes: the owner ends its exposure all the same */
    uint64_t words[] = {0, 1, UINT64_MAX, 1ull << 63, 0xffffffff, (1ull << 63) | (9ull << 32) | 3};
    for (size_t i = 0; i < sizeof words / sizeof *words; i++) {
        CHECK_IS(wsd_region_expose(c.a, 5, 1, &r), 0);
        atomic_store(&entry->word, words[i]);
        int rc = enter(c.b, 5, 1, WSD_MAY_READ, 0, 1);
        CHECK_IS(rc, -EINVAL);
        wsd_region_leave(c.b, 5, 1);
        CHECK_IS(wsd_region_end(c.a, 5, 1, false), 0);
        CHECK_IS(enter(c.b, 5, 1, WSD_MAY_READ, 0, 1), -EINVAL);
    }
    /* a count that has been driven up */
    CHECK_IS(wsd_region_expose(c.a, 5, 1, &r), 0);
    atomic_fetch_add(&entry->word, 0xffff);
    CHECK_IS(enter(c.b, 5, 1, WSD_MAY_READ, 0, 1), -EINVAL);
    CHECK_IS(wsd_region_end(c.a, 5, 1, true), 0);
    drop(&c);
}

static void direct_copies(void)
{
    connection c = connection_with(WSD_RING_MIN);
    size_t size = (3u << 20) + 12345;
    uint8_t *theirs = malloc(size), *mine = malloc(size);
    for (size_t i = 0; i < size; i++)
        mine[i] = (uint8_t)(i * 7 + i / 1000);
    memset(theirs, 0, size);
    wsd_region r = region_of(theirs, size, WSD_MAY_READ | WSD_MAY_WRITE);
    CHECK_IS(wsd_region_expose(c.a, 0, 1, &r), 0);
    /* more pieces than go into one call, some of them empty */
    struct iovec iov[200];
    size_t at = 0;
    for (int i = 0; i < 200; i++) {
        size_t n = i % 5 == 0 ? 0 : i == 199 ? size - at : 10000 + (size_t)i;
        iov[i] = (struct iovec){mine + at, n};
        at += n;
    }
    CHECK_IS(at, size);
    CHECK_IS(wsd_region_direct(c.b, 0, 1, getpid(), r.address, iov, 200, true), size);
    CHECK(memcmp(mine, theirs, size) == 0);
    memset(mine, 0, size);
    CHECK_IS(wsd_region_direct(c.b, 0, 1, getpid(), r.address, iov, 200, false), size);
    CHECK(memcmp(mine, theirs, size) == 0);
    CHECK_IS(wsd_region_direct(c.b, 0, 1, getpid(), r.address, iov, 0, false), 0);

    /* memory that ends in the middle: what is there is moved, then it fails */
    uint8_t *page = mmap(NULL, 2 * WSD_PAGE, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    CHECK(page != MAP_FAILED);
    CHECK_IS(munmap(page + WSD_PAGE, WSD_PAGE), 0);
    struct iovec two = {mine, WSD_PAGE + 1};
    CHECK_IS(wsd_region_direct(c.b, 0, 1, getpid(), (uintptr_t)page, &two, 1, true), -EFAULT);
    CHECK(memcmp(page, mine, WSD_PAGE) == 0);
    munmap(page, WSD_PAGE);

    wsd_stream_close(c.a, true);
    CHECK_IS(wsd_region_direct(c.b, 0, 1, getpid(), r.address, iov, 200, true), -ECONNRESET);
    wsd_stream_close(c.b, true);
    CHECK_IS(wsd_region_direct(c.b, 0, 1, getpid(), r.address, iov, 200, true), -EBADF);
    free(theirs);
    free(mine);
    drop(&c);
}

static int memory_fd(size_t size, int seals)
{
    int fd = memfd_create("test", MFD_CLOEXEC | MFD_ALLOW_SEALING);
    CHECK(fd >= 0);
    CHECK_IS(ftruncate(fd, (off_t)size), 0);
    CHECK_IS(fcntl(fd, F_ADD_SEALS, seals), 0);
    return fd;
}

static void shared_copies(void)
{
    connection c = connection_with(WSD_RING_MIN);
    size_t size = (2u << 20) + 100;
    int fd = memory_fd(size, WSD_MEMORY_SEALS);
    uint64_t found, inode;
    CHECK_IS(wsd_memory_look(fd, &found, &inode), 0);
    CHECK_IS(found, size);
    wsd_mapping m;
    CHECK_IS(wsd_memory_map(getpid(), fd, inode + 1, &m), -EINVAL);
    CHECK_IS(wsd_memory_map(getpid(), fd, inode, &m), 0);
    CHECK_IS(m.size, size);
    uint8_t *mine = malloc(size), *back = malloc(size);
    memset(mine, 5, size);
    wsd_region r = region_of(mine, size, WSD_MAY_READ | WSD_MAY_WRITE);
    CHECK_IS(wsd_region_expose(c.a, 0, 1, &r), 0);
    struct iovec iov[] = {{mine, 50}, {mine + 50, 0}, {mine + 50, size - 100}};
    CHECK_IS(wsd_region_shared(c.b, 0, 1, &m, 50, iov, 3, true), size - 50);
    CHECK_IS(pread(fd, back, size, 0), size);
    CHECK(back[49] == 0 && back[50] == 5 && memcmp(back + 50, mine, size - 50) == 0);
    struct iovec all = {back, size};
    CHECK_IS(wsd_region_shared(c.b, 0, 1, &m, 0, &all, 1, false), size);
    CHECK_IS(wsd_region_shared(c.b, 0, 1, &m, 1, &all, 1, false), -EINVAL);
    CHECK_IS(wsd_region_shared(c.b, 0, 1, &m, size + 1, &all, 0, false), -EINVAL);
    CHECK_IS(wsd_region_shared(c.b, 0, 1, &m, UINT64_MAX, &all, 1, false), -EINVAL);
    CHECK_IS(wsd_region_end(c.a, 0, 1, true), 0);
    CHECK_IS(wsd_region_shared(c.b, 0, 1, &m, 0, &all, 1, true), -ECONNRESET);
    wsd_memory_unmap(&m);
    wsd_memory_unmap(&m);
    close(fd);
    free(mine);
    free(back);
    drop(&c);
}

static void what_is_no_shareable_memory(void)
{
    wsd_mapping m;
    uint64_t size, inode;
    int wrong[] = {
        memory_fd(WSD_PAGE, F_SEAL_SHRINK | F_SEAL_GROW),
        memory_fd(WSD_PAGE, F_SEAL_SEAL | F_SEAL_GROW),
        memory_fd(WSD_PAGE, WSD_MEMORY_SEALS | F_SEAL_WRITE),
        memory_fd(0, WSD_MEMORY_SEALS),
        open("/dev/null", O_RDWR | O_CLOEXEC),
        open("/", O_RDONLY | O_CLOEXEC),
        socket(AF_UNIX, SOCK_STREAM, 0),
    };
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        CHECK_IS(wsd_memory_look(wrong[i], &size, &inode), -EINVAL);
        for (uint64_t claimed = 0; claimed < 3; claimed++)
            CHECK(wsd_memory_map(getpid(), wrong[i], claimed, &m) < 0);
        close(wrong[i]);
    }
    /* a pipe must not be waited for */
    int ends[2];
    CHECK_IS(pipe(ends), 0);
    CHECK(wsd_memory_map(getpid(), ends[1], 1, &m) < 0);
    close(ends[0]);
    close(ends[1]);
    CHECK(wsd_memory_map(getpid(), 9999, 1, &m) < 0);
    CHECK_IS(wsd_memory_map(getpid(), -1, 1, &m), -EINVAL);
    CHECK_IS(wsd_memory_map(0, 0, 1, &m), -EINVAL);
    CHECK(wsd_memory_map(0x7fffffff, 0, 1, &m) < 0);
}

/* ---- threads: the owner exposes, ends and uses memory again while the peer writes to it -------- */

#define WORDS 64
#define ROUNDS 3000

/* Both ends by one mapping: of two, the sanitizer would not see that they are the same memory. */
static connection connection_by_one_mapping(void)
{
    connection c = {0};
    CHECK_IS(wsd_segment_create(1, WSD_RING_MIN, &c.segment), 0);
    c.adopted = c.segment;
    wsd_segment_hold(c.segment);
    CHECK_IS(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, c.bell), 0);
    CHECK_IS(wsd_bell_prepare(c.bell[0]), 0);
    CHECK_IS(wsd_bell_prepare(c.bell[1]), 0);
    CHECK_IS(wsd_segment_take(c.segment), 0);
    CHECK_IS(wsd_stream_offer(c.segment, 0, c.bell[0], WSD_FOREVER, &c.a), 0);
    CHECK_IS(wsd_stream_attach(c.segment, 0, c.a->generation, c.bell[1], &c.b), 0);
    return c;
}

static connection shared_c;
static uint64_t plain_memory[WORDS];
static _Atomic uint32_t exposed; /* the generation, 0 at the end */
static _Atomic uint32_t transfers;

static void *peer_thread(void *nothing)
{
    wsd_mapping m = {(uint8_t *)plain_memory, sizeof plain_memory};
    uint64_t mine[WORDS];
    struct iovec iov = {mine, sizeof mine};
    for (uint32_t generation; (generation = atomic_load(&exposed)) != 0;) {
        if (enter(shared_c.b, 1, generation, WSD_MAY_WRITE, 0, sizeof mine) < 0)
            continue;
        for (int i = 0; i < WORDS; i++)
            mine[i] = generation;
        wsd_region_shared(shared_c.b, 1, generation, &m, 0, &iov, 1, true);
        wsd_region_leave(shared_c.b, 1, generation);
        atomic_fetch_add(&transfers, 1);
    }
    return nothing;
}

static void the_owner_has_its_memory_to_itself_after_the_end(void)
{
    shared_c = connection_by_one_mapping();
    wsd_region r = region_of(plain_memory, sizeof plain_memory, WSD_MAY_WRITE);
    pthread_t peer;
    atomic_store(&exposed, 1);
    CHECK_IS(pthread_create(&peer, NULL, peer_thread, NULL), 0);
    for (uint32_t generation = 1; generation <= ROUNDS || atomic_load(&transfers) < 10; generation++) {
        CHECK_IS(wsd_region_expose(shared_c.a, 1, generation, &r), 0);
        atomic_store(&exposed, generation);
        if (generation % 3 == 0)
            sched_yield();
        while (wsd_region_end(shared_c.a, 1, generation, false) == -EBUSY)
            sched_yield();
        /* plain accesses: the sanitizer sees whether a transfer can still be at it */
        for (int i = 0; i < WORDS; i++) {
            CHECK(plain_memory[i] <= generation);
            plain_memory[i] = 0;
        }
    }
    atomic_store(&exposed, 0);
    pthread_join(peer, NULL);
    drop(&shared_c);
}

/* Written by RDMA, then told by a message: the reader of the message sees all of it. */
static void *teller_thread(void *nothing)
{
    wsd_mapping m = {(uint8_t *)plain_memory, sizeof plain_memory};
    for (uint64_t round = 1; round <= ROUNDS; round++) {
        uint64_t mine[WORDS];
        struct iovec iov = {mine, sizeof mine}, note = {&round, sizeof round};
        for (int i = 0; i < WORDS; i++)
            mine[i] = round;
        CHECK_IS(enter(shared_c.b, 0, 1, WSD_MAY_WRITE, 0, sizeof mine), 0);
        CHECK_IS(wsd_region_shared(shared_c.b, 0, 1, &m, 0, &iov, 1, true), sizeof mine);
        wsd_region_leave(shared_c.b, 0, 1);
        CHECK_IS(wsd_message_send(shared_c.b, &note, 1), 0);
        struct iovec answer = {&round, sizeof round};
        while (wsd_message_recv(shared_c.b, &answer, 1) == -EAGAIN)
            wait_readable(shared_c.b, WSD_FOREVER);
    }
    return nothing;
}

static void data_are_there_before_the_message(void)
{
    shared_c = connection_by_one_mapping();
    memset(plain_memory, 0, sizeof plain_memory);
    wsd_region r = region_of(plain_memory, sizeof plain_memory, WSD_MAY_WRITE);
    CHECK_IS(wsd_region_expose(shared_c.a, 0, 1, &r), 0);
    pthread_t teller;
    CHECK_IS(pthread_create(&teller, NULL, teller_thread, NULL), 0);
    for (uint64_t round = 1; round <= ROUNDS; round++) {
        uint64_t told;
        struct iovec iov = {&told, sizeof told};
        int64_t n;
        while ((n = wsd_message_recv(shared_c.a, &iov, 1)) == -EAGAIN)
            wait_readable(shared_c.a, WSD_FOREVER);
        CHECK_IS(n, sizeof told);
        CHECK_IS(told, round);
        for (int i = 0; i < WORDS; i++)
            CHECK_IS(plain_memory[i], round);
        CHECK_IS(wsd_message_send(shared_c.a, &iov, 1), 0);
    }
    pthread_join(teller, NULL);
    drop(&shared_c);
}

int main(void)
{
    watchdog(150);
    RUN(what_is_let_in);
    RUN(the_end_waits_for_transfers);
    RUN(an_old_connections_entries_are_void);
    RUN(hostile_entries);
    RUN(direct_copies);
    RUN(shared_copies);
    RUN(what_is_no_shareable_memory);
    RUN(the_owner_has_its_memory_to_itself_after_the_end);
    RUN(data_are_there_before_the_message);
    return 0;
}
