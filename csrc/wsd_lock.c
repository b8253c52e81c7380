#include "wsd_lock.h"

#include <linux/futex.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#define SLICE_NS (20 * WSD_MS)

_Atomic uint64_t wsd_lock_patience_ns = 10000 * WSD_MS;

_Thread_local uint32_t wsd_tid_cache;

uint32_t wsd_tid_slow(void)
{
    return wsd_tid_cache = (uint32_t)syscall(SYS_gettid);
}

void wsd_tid_reset(void)
{
    wsd_tid_cache = 0;
}

/* Killed, and not waited for yet by its parent: signals still find it, but it will never run again. */
static bool thread_is_zombie(uint32_t tid)
{
    char path[32], line[256];
    snprintf(path, sizeof path, "/proc/%u/stat", tid);
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return false;
    ssize_t n = read(fd, line, sizeof line - 1);
    close(fd);
    line[n > 0 ? n : 0] = '\0';
    const char *state = strrchr(line, ')'); /* "pid (name) state ...", and the name may be anything */
    return state && (!strncmp(state, ") Z", 3) || !strncmp(state, ") X", 3));
}

static _Atomic bool numbers_differ;

void wsd_lock_before_fork(void)
{
    /* The second is missing while no process has been made in the new namespace. */
    struct stat ours, of_children;
    if (stat("/proc/thread-self/ns/pid", &ours) == 0 &&
        (stat("/proc/thread-self/ns/pid_for_children", &of_children) != 0 || ours.st_ino != of_children.st_ino))
        atomic_store_explicit(&numbers_differ, true, memory_order_relaxed);
}

static bool thread_is_dead(uint32_t tid)
{
    /* tkill finds threads of any process; 0 and negative numbers are groups to kill(), never here */
    if (tid == 0 || tid > 0x3fffffffu)
        return true;
    if (atomic_load_explicit(&numbers_differ, memory_order_relaxed))
        return false; /* it is somebody else's number here; patience must do */
    if (syscall(SYS_tkill, (pid_t)tid, 0) != 0)
        return errno == ESRCH;
    return thread_is_zombie(tid);
}

int wsd_lock_slow(wsd_lock *lock, uint32_t tid, uint64_t patience)
{
    uint64_t started = wsd_now();
    for (int spin = 0; spin < 64; spin++) {
        uint32_t free_word = 0;
        if (atomic_compare_exchange_strong_explicit(&lock->word, &free_word, tid, memory_order_acquire,
                                                    memory_order_relaxed))
            return 0;
        wsd_pause();
    }
    for (;;) {
        /* looked at in every round: a hostile peer may keep the word changing, so that none sleeps */
        if (wsd_now() - started > patience)
            return -EDEADLK;
        uint32_t seen = atomic_load_explicit(&lock->word, memory_order_relaxed);
        if (seen == 0) {
            /* others may sleep: keep their bit, it costs one wake too many at most */
            if (atomic_compare_exchange_strong_explicit(&lock->word, &seen, tid | WSD_LOCK_WAITERS,
                                                        memory_order_acquire, memory_order_relaxed))
                return 0;
            continue;
        }
        if (!(seen & WSD_LOCK_WAITERS)) {
            if (!atomic_compare_exchange_strong_explicit(&lock->word, &seen, seen | WSD_LOCK_WAITERS,
                                                         memory_order_relaxed, memory_order_relaxed))
                continue;
            seen |= WSD_LOCK_WAITERS;
        }
        struct timespec slice = {0, SLICE_NS};
        long rc = syscall(SYS_futex, &lock->word, FUTEX_WAIT, seen, &slice, NULL, 0);
        if (rc != 0 && errno == ETIMEDOUT && thread_is_dead(seen & ~WSD_LOCK_WAITERS) &&
            atomic_compare_exchange_strong_explicit(&lock->word, &seen, tid | WSD_LOCK_WAITERS,
                                                    memory_order_acquire, memory_order_relaxed))
            return 1;
    }
}

void wsd_unlock_slow(wsd_lock *lock)
{
    /* all of them: the bit was cleared for all, and a crowd at one socket's direction is rare */
    syscall(SYS_futex, &lock->word, FUTEX_WAKE, 0x7fffffff, NULL, NULL, 0);
}
