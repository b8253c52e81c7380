#include "wsd_lock.h"

#include <linux/futex.h>
#include <signal.h>
#include <sys/syscall.h>
#include <unistd.h>

#define SLICE_NS (20 * WSD_MS)
/* No holder copies for this long; one that does is stopped in a debugger or lies to us. */
#define GIVE_UP_NS (10000 * WSD_MS)

_Thread_local uint32_t wsd_tid_cache;

uint32_t wsd_tid_slow(void)
{
    return wsd_tid_cache = (uint32_t)syscall(SYS_gettid);
}

void wsd_tid_reset(void)
{
    wsd_tid_cache = 0;
}

static bool thread_is_dead(uint32_t tid)
{
    /* tkill finds threads of any process; 0 and negative numbers are groups to kill(), never here */
    if (tid == 0 || tid > 0x3fffffffu)
        return true;
    return syscall(SYS_tkill, (pid_t)tid, 0) != 0 && errno == ESRCH;
}

int wsd_lock_slow(wsd_lock *lock, uint32_t tid)
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
        if (rc != 0 && errno == ETIMEDOUT) {
            if (thread_is_dead(seen & ~WSD_LOCK_WAITERS) &&
                atomic_compare_exchange_strong_explicit(&lock->word, &seen, tid | WSD_LOCK_WAITERS,
                                                        memory_order_acquire, memory_order_relaxed))
                return 1;
            if (wsd_now() - started > GIVE_UP_NS)
                return -EDEADLK;
        }
    }
}

void wsd_unlock_slow(wsd_lock *lock)
{
    /* all of them: the bit was cleared for all, and a crowd at one socket's direction is rare */
    syscall(SYS_futex, &lock->word, FUTEX_WAKE, 0x7fffffff, NULL, NULL, 0);
}
