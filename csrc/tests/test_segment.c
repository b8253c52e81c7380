/* Segments: which are adopted, how slots are taken, offered, attached, revoked and given back. */
#include "testing.h"

#include <fcntl.h>
#include <linux/memfd.h>

#define SEALS (F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL)

static int memory_file(const wsd_segment_header *header, off_t size, int seals)
{
    int fd = memfd_create("foreign", MFD_CLOEXEC | MFD_ALLOW_SEALING);
    CHECK(fd >= 0);
    CHECK_IS(ftruncate(fd, size), 0);
    if (header)
        CHECK_IS(pwrite(fd, header, sizeof *header, 0), sizeof *header);
    if (seals)
        CHECK_IS(fcntl(fd, F_ADD_SEALS, seals), 0);
    return fd;
}

static void refused(int fd, const char *because)
{
    wsd_segment *segment = NULL;
    const char *why = NULL;
    CHECK_IS(wsd_segment_adopt(fd, &segment, &why), -EPROTO);
    CHECK(segment == NULL && why != NULL);
    if (!strstr(why, because)) {
        fprintf(stderr, "refused with \"%s\", not because of \"%s\"\n", why, because);
        abort();
    }
    close(fd);
}

static void foreign_segments(void)
{
    wsd_segment_header good = {
        .magic = WSD_MAGIC, .version = WSD_VERSION, .slots = 2, .ring = WSD_RING_MIN, .id = 7};
    off_t size = WSD_PAGE + 2 * (WSD_PAGE + 2 * WSD_EXPOSURES_LENGTH + 2 * WSD_RING_MIN);
    wsd_segment *segment;
    const char *why;
    int fd = memory_file(&good, size, SEALS);
    CHECK_IS(wsd_segment_adopt(fd, &segment, &why), 0);
    close(fd); /* it has a descriptor of its own */
    CHECK_IS(segment->slots, 2);
    CHECK_IS(segment->ring, WSD_RING_MIN);
    wsd_segment_release(segment);

    refused(memory_file(&good, size, 0), "not sealed");
    refused(memory_file(&good, size, F_SEAL_SHRINK | F_SEAL_SEAL), "not sealed");
    refused(memory_file(&good, size, F_SEAL_GROW | F_SEAL_SEAL), "not sealed");
    refused(memory_file(&good, size, F_SEAL_SHRINK | F_SEAL_GROW), "not sealed"); /* more could follow */
    int pipes[2];
    CHECK_IS(pipe(pipes), 0);
    refused(pipes[0], "not sealed");
    close(pipes[1]);
    refused(memory_file(NULL, 0, SEALS), "too small");
    refused(memory_file(NULL, WSD_PAGE - 1, SEALS), "too small");
    refused(memory_file(NULL, size, SEALS), "another version");
    refused(memory_file(&good, size - 1, SEALS), "size");
    refused(memory_file(&good, size + 1, SEALS), "size");
    refused(memory_file(&good, WSD_PAGE, SEALS), "size");

#define BAD(field, value, because)                    \
    do {                                              \
        wsd_segment_header bad = good;                \
        bad.field = (value);                          \
        refused(memory_file(&bad, size, SEALS), because); \
    } while (0)
    BAD(magic, 0, "another version");
    BAD(version, WSD_VERSION + 1, "another version");
    BAD(slots, 0, "size");
    BAD(slots, 3, "size");
    BAD(slots, UINT32_MAX, "size");
    BAD(ring, 0, "size");
    BAD(ring, WSD_RING_MIN + 1, "size");
    BAD(ring, 2 * WSD_RING_MIN, "size");
    BAD(ring, UINT64_MAX / 2 + 1, "size");
    BAD(id, 0, "size");
    CHECK_IS(wsd_segment_adopt(-1, &segment, &why), -EPROTO);
}

static void sizes_for_a_new_one(void)
{
    wsd_segment *segment;
    CHECK_IS(wsd_segment_create(0, WSD_RING_MIN, &segment), -EINVAL);
    CHECK_IS(wsd_segment_create(WSD_SLOTS_MAX + 1, WSD_RING_MIN, &segment), -EINVAL);
    CHECK_IS(wsd_segment_create(1, WSD_RING_MIN / 2, &segment), -EINVAL);
    CHECK_IS(wsd_segment_create(1, WSD_RING_MIN + 1, &segment), -EINVAL);
    CHECK_IS(wsd_segment_create(1, 2ull * WSD_RING_MAX, &segment), -EINVAL);
    CHECK_IS(wsd_segment_create(WSD_SLOTS_MAX, WSD_RING_MIN, &segment), 0);
    CHECK(ftruncate(segment->fd, 0) < 0 && errno == EPERM);
    CHECK(ftruncate(segment->fd, (off_t)segment->length * 2) < 0 && errno == EPERM);
    wsd_segment_release(segment);
}

static void slots_come_back(void)
{
    wsd_segment *segment;
    CHECK_IS(wsd_segment_create(2, WSD_RING_MIN, &segment), 0);
    for (int round = 0; round < 10; round++) {
        wsd_segment_hold(segment);
        connection c = connect_in(segment);
        CHECK_IS(wsd_segment_in_use(segment), 1);
        CHECK_IS(wsd_slot_generation(c.a->slot), round / 2 + 1); /* two slots take turns */
        wsd_stream_close(c.a, false);
        wsd_stream_release(c.a);
        CHECK_IS(wsd_segment_in_use(segment), 1); /* the other side still reads */
        wsd_stream_release(c.b);
        CHECK_IS(wsd_segment_in_use(segment), 0);
        close(c.bell[0]);
        close(c.bell[1]);
        wsd_segment_release(c.adopted);
        wsd_segment_release(segment);
    }
    CHECK(wsd_segment_take(segment) >= 0 && wsd_segment_take(segment) >= 0);
    CHECK_IS(wsd_segment_take(segment), -1);
    CHECK_IS(wsd_segment_in_use(segment), 2);
    wsd_segment_release(segment);
}

static void offers(void)
{
    wsd_segment *segment;
    CHECK_IS(wsd_segment_create(1, WSD_RING_MIN, &segment), 0);
    int bell[2];
    CHECK_IS(socketpair(AF_UNIX, SOCK_STREAM, 0, bell), 0);
    wsd_stream *a, *b, *late;
    CHECK_IS(wsd_stream_attach(segment, 0, 0, bell[1], &b), -ECONNABORTED); /* never offered */
    CHECK_IS(wsd_stream_attach(segment, 1, 0, bell[1], &b), -EINVAL);
    CHECK_IS(wsd_stream_offer(segment, 1, bell[0], 0, &a), -EINVAL);

    CHECK_IS(wsd_segment_take(segment), 0);
    uint32_t first = wsd_slot_generation(wsd_segment_slot(segment, 0));
    CHECK_IS(wsd_stream_offer(segment, 0, bell[0], WSD_FOREVER, &a), 0);
    CHECK_IS(wsd_stream_state(a), WSD_OFFERED);
    CHECK_IS(send_now(a, "early", 5), 5);
    CHECK(wsd_stream_revoke(a));
    CHECK(wsd_stream_revoke(a));
    CHECK_IS(wsd_stream_state(a), WSD_REVOKED);
    CHECK_IS(wait_readable(a, WSD_FOREVER), -WSD_EUNATTACHED);
    char early[8];
    CHECK_IS(wsd_stream_sent_so_far(a, 0, early, sizeof early), 5);
    CHECK(memcmp(early, "early", 5) == 0);
    CHECK_IS(wsd_stream_sent_so_far(a, 3, early, sizeof early), 2);
    CHECK_IS(wsd_stream_sent_so_far(a, 6, early, sizeof early), -ECONNABORTED);
    CHECK_IS(wsd_stream_attach(segment, 0, first, bell[1], &b), -ECONNABORTED);
    wsd_stream_release(a);
    CHECK_IS(wsd_segment_in_use(segment), 0);

    /* the slot's next offer is not the one that was revoked */
    CHECK_IS(wsd_segment_take(segment), 0);
    uint32_t second = wsd_slot_generation(wsd_segment_slot(segment, 0));
    CHECK(second != first);
    CHECK_IS(wsd_stream_offer(segment, 0, bell[0], WSD_FOREVER, &a), 0);
    CHECK_IS(wsd_stream_attach(segment, 0, first, bell[1], &b), -ECONNABORTED);
    CHECK_IS(wsd_stream_attach(segment, 0, second, bell[1], &b), 0);
    CHECK(!wsd_stream_revoke(a));
    CHECK_IS(wsd_stream_attach(segment, 0, second, bell[1], &late), -ECONNABORTED); /* only once */
    CHECK(late == NULL);
    CHECK_IS(atomic_load(&wsd_segment_slot(segment, 0)->holders[1]), 1);
    wsd_stream_release(a);
    wsd_stream_release(b);
    wsd_segment_release(segment);
    close(bell[0]);
    close(bell[1]);
}

static void nobody_takes_the_offer(void)
{
    wsd_segment *segment;
    CHECK_IS(wsd_segment_create(1, WSD_RING_MIN, &segment), 0);
    int bell[2];
    CHECK_IS(socketpair(AF_UNIX, SOCK_STREAM, 0, bell), 0);
    CHECK_IS(wsd_segment_take(segment), 0);
    wsd_stream *a;
    CHECK_IS(wsd_stream_offer(segment, 0, bell[0], 30 * WSD_MS, &a), 0);
    CHECK_IS(wait_readable(a, WSD_FOREVER), -WSD_EUNATTACHED);
    char byte;
    CHECK_IS(recv_now(a, &byte, 1), -WSD_EUNATTACHED);
    wsd_stream_release(a);

    CHECK(atomic_exchange(&wsd_segment_slot(segment, 0)->state, 0) != 0);
    CHECK_IS(wsd_segment_take(segment), 0);
    CHECK_IS(wsd_stream_offer(segment, 0, bell[0], WSD_FOREVER, &a), 0);
    close(bell[1]); /* whoever was given the other end has closed it instead */
    CHECK_IS(wait_readable(a, WSD_FOREVER), -WSD_EUNATTACHED);
    wsd_stream_release(a);
    wsd_segment_release(segment);
}

/* Revoke and attach at the same time: one of them wins, never both, never neither. */
static void revoke_against_attach(void)
{
    wsd_segment *segment;
    CHECK_IS(wsd_segment_create(1, WSD_RING_MIN, &segment), 0);
    int bell[2], revoked = 0;
    CHECK_IS(socketpair(AF_UNIX, SOCK_STREAM, 0, bell), 0);
    for (int round = 0; round < 200; round++) {
        CHECK_IS(wsd_segment_take(segment), 0);
        uint32_t generation = wsd_slot_generation(wsd_segment_slot(segment, 0));
        wsd_stream *a, *b;
        CHECK_IS(wsd_stream_offer(segment, 0, bell[0], WSD_FOREVER, &a), 0);
        pid_t child = fork();
        if (child == 0) {
            int rc = wsd_stream_attach(segment, 0, generation, bell[1], &b);
            if (rc == 0)
                wsd_stream_release(b);
            _exit(rc == 0);
        }
        for (int i = 0; i < round * 50; i++)
            wsd_pause();
        bool won = wsd_stream_revoke(a);
        int status;
        CHECK_IS(waitpid(child, &status, 0), child);
        CHECK(WIFEXITED(status) && WEXITSTATUS(status) == !won);
        revoked += won;
        wsd_stream_release(a);
        CHECK_IS(wsd_segment_in_use(segment), 0);
    }
    fprintf(stderr, "  %d of 200 offers revoked in time\n", revoked);
    wsd_segment_release(segment);
}

/* Forked processes that look for free slots in the same segment never find the same one. */
static void taking_from_several_processes(void)
{
    enum { SLOTS = WSD_SLOTS_MAX, PROCESSES = 4 };
    wsd_segment *segment;
    CHECK_IS(wsd_segment_create(SLOTS, WSD_RING_MIN, &segment), 0);
    struct {
        atomic_int ready, taken;
    } *all = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    CHECK(all != MAP_FAILED);
    for (int i = 0; i < PROCESSES; i++) {
        if (fork() == 0) {
            atomic_fetch_add(&all->ready, 1);
            while (atomic_load(&all->ready) < PROCESSES)
                sched_yield(); /* all at once */
            while (wsd_segment_take(segment) >= 0)
                atomic_fetch_add(&all->taken, 1);
            _exit(0);
        }
    }
    for (int i = 0; i < PROCESSES; i++)
        CHECK(wait(NULL) > 0);
    CHECK_IS(atomic_load(&all->taken), SLOTS);
    CHECK_IS(wsd_segment_in_use(segment), SLOTS);
    for (uint32_t i = 0; i < SLOTS; i++) {
        CHECK_IS(wsd_slot_generation(wsd_segment_slot(segment, i)), 1);
        CHECK_IS(atomic_load(&wsd_segment_slot(segment, i)->holders[0]), 1);
    }
    wsd_segment_release(segment);
}

int main(void)
{
    watchdog(50);
    RUN(foreign_segments);
    RUN(sizes_for_a_new_one);
    RUN(slots_come_back);
    RUN(offers);
    RUN(nobody_takes_the_offer);
    RUN(revoke_against_attach);
    RUN(taking_from_several_processes);
    return 0;
}
