/* What every file of the core shares: alignment, time, the CPU we run on, the pause instruction. */
#ifndef WSD_BASE_H
#define WSD_BASE_H

#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include <errno.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>
#include <time.h>

/* Two cache lines: x86's adjacent-line prefetcher and aarch64's 128-byte lines both pair 64-byte
 * lines, so data written by different CPUs is kept this far apart. */
#define WSD_LINE 128
#define WSD_ALIGNED _Alignas(WSD_LINE)

#define WSD_US 1000ull
#define WSD_MS 1000000ull
#define WSD_FOREVER UINT64_MAX

/* Not an errno of the kernel's: nobody attached to our offer (in time, or ever will). */
#define WSD_EUNATTACHED 0x5753
/* A part of the ring is read, or filled, in place (wsd_lease.h): no recv, or send, meanwhile. */
#define WSD_ELEASED 0x5754
/* This cannot be done in place now; by copying, it can, or will say what is wrong. */
#define WSD_ECOPY 0x5755

static inline uint64_t wsd_now(void)
{
    struct timespec ts;
    clock_gettime(CLOCK_MONOTONIC, &ts); /* the same clock in every process of the host */
    return (uint64_t)ts.tv_sec * 1000000000ull + (uint64_t)ts.tv_nsec;
}

/* The same, some milliseconds late, for a sixth of the price. */
static inline uint64_t wsd_roughly_now(void)
{
    struct timespec ts;
    clock_gettime(CLOCK_MONOTONIC_COARSE, &ts);
    return (uint64_t)ts.tv_sec * 1000000000ull + (uint64_t)ts.tv_nsec;
}

static inline uint32_t wsd_cpu(void)
{
    return (uint32_t)sched_getcpu();
}

static inline void wsd_pause(void)
{
#if defined(__x86_64__) || defined(__i386__)
    __builtin_ia32_pause();
#elif defined(__aarch64__)
    __asm__ volatile("isb" ::: "memory"); /* yield is a no-op on most cores; isb waits a little */
#else
    atomic_signal_fence(memory_order_seq_cst);
#endif
}

#define WSD_LIKELY(x) __builtin_expect(!!(x), 1)
#define WSD_UNLIKELY(x) __builtin_expect(!!(x), 0)

/* Store, then load something the other side stores: the fence both sides of a Dekker need. */
static inline void wsd_full_fence(void)
{
    atomic_thread_fence(memory_order_seq_cst);
}

#endif
