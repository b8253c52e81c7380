/* A lock in shared memory that outlives its holder.
 *
 * The word is the holder's thread id, with a bit for "somebody waits".  Not a robust pthread mutex:
 * that one keeps list pointers in the shared memory, which a hostile peer could aim anywhere.
 * A waiter sleeps in short slices and takes the lock over when the holder is no longer alive; it
 * gives up (-EDEADLK) when a live holder keeps it absurdly long, so that nobody can hang us.
 */
#ifndef WSD_LOCK_H
#define WSD_LOCK_H

#include "wsd_base.h"

typedef struct {
    _Atomic uint32_t word;
} wsd_lock;

#define WSD_LOCK_WAITERS 0x80000000u

/* How long a live holder may keep a lock before its waiters give up.  The holders copy at most a ring
 * and send a few bytes: one that takes this long is stopped in a debugger, or lies to us. */
extern _Atomic uint64_t wsd_lock_patience_ns;

extern _Thread_local uint32_t wsd_tid_cache;
uint32_t wsd_tid_slow(void);
/* A forked child is another thread: forget the parent's id. */
void wsd_tid_reset(void);
/* Called before a fork that shares locks.  If the child will be in another process namespace, ids of
 * threads say nothing about their life from here on: a lock that stays taken ends in -EDEADLK. */
void wsd_lock_before_fork(void);

static inline uint32_t wsd_tid(void)
{
    uint32_t tid = wsd_tid_cache;
    return WSD_LIKELY(tid) ? tid : wsd_tid_slow();
}

/* 0, or -EDEADLK.  Returns 1 when the lock was taken over from a dead holder. */
int wsd_lock_slow(wsd_lock *lock, uint32_t tid, uint64_t patience_ns);
void wsd_unlock_slow(wsd_lock *lock);

static inline int wsd_lock_take(wsd_lock *lock)
{
    uint32_t free_word = 0, tid = wsd_tid();
    /* acquire: pairs with the release in wsd_lock_drop, so we see what the last holder wrote */
    if (WSD_LIKELY(atomic_compare_exchange_strong_explicit(&lock->word, &free_word, tid,
                                                           memory_order_acquire, memory_order_relaxed)))
        return 0;
    return wsd_lock_slow(lock, tid, atomic_load_explicit(&wsd_lock_patience_ns, memory_order_relaxed));
}

/* The same for one who can do without the lock: patience of its own. */
static inline int wsd_lock_take_for(wsd_lock *lock, uint64_t patience_ns)
{
    uint32_t free_word = 0, tid = wsd_tid();
    if (WSD_LIKELY(atomic_compare_exchange_strong_explicit(&lock->word, &free_word, tid,
                                                           memory_order_acquire, memory_order_relaxed)))
        return 0;
    return wsd_lock_slow(lock, tid, patience_ns);
}

static inline void wsd_lock_drop(wsd_lock *lock)
{
    /* release: pairs with the acquire in wsd_lock_take */
    uint32_t old = atomic_exchange_explicit(&lock->word, 0, memory_order_release);
    if (WSD_UNLIKELY(old & WSD_LOCK_WAITERS))
        wsd_unlock_slow(lock);
}

#endif
