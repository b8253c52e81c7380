/* The table of descriptors: limits, and readers and writers at the same time. */
#include "testing.h"

#include "wsd_fdtable.h"

static void numbers_and_limits(void)
{
    void *old;
    int a, b, limit = WSD_FD_CHUNK * WSD_FD_CHUNKS;
    CHECK_IS(wsd_fd_swap(-1, &a, &old), -EBADF);
    CHECK_IS(wsd_fd_swap(limit, &a, &old), -EBADF);
    CHECK(wsd_fd_lookup(-1) == NULL && wsd_fd_lookup(limit) == NULL && wsd_fd_lookup(5) == NULL);
    CHECK_IS(wsd_fd_swap(limit - 1, NULL, &old), 0); /* no chunk is made to forget what is not there */
    CHECK(atomic_load(&wsd_fd_chunks[WSD_FD_CHUNKS - 1]) == NULL);
    CHECK_IS(wsd_fd_swap(limit - 1, &a, &old), 0);
    CHECK(old == NULL && wsd_fd_lookup(limit - 1) == &a);
    CHECK_IS(wsd_fd_swap(limit - 1, &b, &old), 0);
    CHECK(old == &a);
    CHECK_IS(wsd_fd_swap(limit - 1, NULL, &old), 0);
    CHECK(old == &b && wsd_fd_lookup(limit - 1) == NULL);
}

enum { FDS = 8 * WSD_FD_CHUNK, ROUNDS = 40 };
static uint64_t objects[FDS];
static atomic_uint balance;

static void *writer(void *context)
{
    uint64_t swaps = 0;
    (void)context;
    for (int round = 0; round < ROUNDS; round++) {
        for (int fd = 0; fd < FDS; fd += 7) {
            void *old;
            CHECK_IS(wsd_fd_swap(fd, &objects[fd], &old), 0);
            CHECK(old == NULL || old == &objects[fd]);
            swaps += old == NULL;
            CHECK_IS(wsd_fd_swap(fd, NULL, &old), 0);
            CHECK(old == NULL || old == &objects[fd]);
            swaps -= old != NULL;
        }
    }
    atomic_fetch_add(&balance, (unsigned)swaps);
    return NULL;
}

static void *reader(void *context)
{
    (void)context;
    for (int round = 0; round < ROUNDS; round++) {
        for (int fd = 0; fd < FDS; fd++) {
            uint64_t *seen = wsd_fd_lookup(fd);
            CHECK(seen == NULL || (seen == &objects[fd] && *seen == (uint64_t)fd));
        }
    }
    return NULL;
}

static void visit(int fd, void *entry, void *context)
{
    CHECK(entry == &objects[fd]);
    ++*(int *)context;
}

static void readers_and_writers(void)
{
    for (int fd = 0; fd < FDS; fd++)
        objects[fd] = (uint64_t)fd;
    pthread_t threads[4];
    for (int i = 0; i < 4; i++)
        CHECK_IS(pthread_create(&threads[i], NULL, i < 2 ? writer : reader, NULL), 0);
    for (int i = 0; i < 4; i++)
        pthread_join(threads[i], NULL);
    CHECK_IS(atomic_load(&balance), 0); /* every entry put was taken out by exactly one */
    int entries = 0;
    wsd_fd_each(visit, &entries);
    CHECK_IS(entries, 0);
    void *old;
    CHECK_IS(wsd_fd_swap(3, &objects[3], &old), 0);
    CHECK_IS(wsd_fd_swap(3000, &objects[3000], &old), 0);
    wsd_fd_each(visit, &entries);
    CHECK_IS(entries, 2);
}

int main(void)
{
    watchdog(50);
    RUN(numbers_and_limits);
    RUN(readers_and_writers);
    return 0;
}
