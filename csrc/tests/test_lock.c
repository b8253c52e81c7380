/* The lock in shared memory: exclusion, waiters, dead and hostile holders. */
#include "testing.h"

static void *shared(size_t n)
{
    void *p = mmap(NULL, n, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    CHECK(p != MAP_FAILED);
    return p;
}

typedef struct {
    wsd_lock lock;
    uint64_t plain; /* not atomic: the sanitizer and the sum tell whether the lock excludes */
} counted;

enum { ROUNDS = 20000, THREADS = 4 };

static void *count(void *context)
{
    counted *c = context;
    for (int i = 0; i < ROUNDS; i++) {
        CHECK_IS(wsd_lock_take(&c->lock), 0);
        c->plain++;
        wsd_lock_drop(&c->lock);
    }
    return NULL;
}

static void threads_exclude_each_other(void)
{
    counted *c = shared(sizeof *c);
    pthread_t threads[THREADS];
    for (int i = 0; i < THREADS; i++)
        CHECK_IS(pthread_create(&threads[i], NULL, count, c), 0);
    for (int i = 0; i < THREADS; i++)
        pthread_join(threads[i], NULL);
    CHECK_IS(c->plain, ROUNDS * THREADS);
    CHECK_IS(atomic_load(&c->lock.word), 0);
}

static void processes_exclude_each_other(void)
{
    counted *c = shared(sizeof *c);
    for (int i = 0; i < THREADS; i++) {
        if (fork() == 0) {
            wsd_tid_reset();
            count(c);
            _exit(0);
        }
    }
    for (int i = 0; i < THREADS; i++) {
        int status;
        CHECK(wait(&status) > 0);
        CHECK_IS(status, 0);
    }
    CHECK_IS(c->plain, ROUNDS * THREADS);
}

/* A child that took the lock and was killed; returns its id, not yet waited for. */
static pid_t killed_holder(wsd_lock *lock)
{
    pid_t child = fork();
    if (child == 0) {
        wsd_tid_reset();
        wsd_lock_take(lock);
        for (;;)
            pause();
    }
    while (atomic_load(&lock->word) == 0)
        nap_ms(1);
    kill(child, SIGKILL);
    return child;
}

static void a_killed_holder_is_replaced(void)
{
    wsd_lock *lock = shared(sizeof *lock);
    pid_t child = killed_holder(lock);
    waitpid(child, NULL, 0);
    CHECK_IS(wsd_lock_take(lock), 1);
    wsd_lock_drop(lock);
    CHECK_IS(wsd_lock_take(lock), 0);
}

static void also_before_its_parent_waits_for_it(void)
{
    wsd_lock *lock = shared(sizeof *lock);
    pid_t child = killed_holder(lock);
    CHECK_IS(wsd_lock_take(lock), 1); /* a zombie: signals find it, but it is dead */
    wsd_lock_drop(lock);
    waitpid(child, NULL, 0);
}

static void a_live_holder_is_not_waited_for_endlessly(void)
{
    wsd_lock *lock = shared(sizeof *lock);
    atomic_store(&lock->word, (uint32_t)getppid()); /* alive, and will never drop it */
    atomic_store(&wsd_lock_patience_ns, 200 * WSD_MS);
    CHECK_IS(wsd_lock_take(lock), -EDEADLK);
}

static void words_from_nowhere(void)
{
    uint32_t words[] = {0x7fffffffu, 0xffffffffu, WSD_LOCK_WAITERS, WSD_LOCK_WAITERS | 0x7ffffffeu, 0x40000000u};
    wsd_lock *lock = shared(sizeof *lock);
    for (size_t i = 0; i < sizeof words / sizeof *words; i++) {
        atomic_store(&lock->word, words[i]);
        CHECK_IS(wsd_lock_take(lock), 1); /* nobody has such an id */
        wsd_lock_drop(lock);
    }
}

static atomic_bool stop;

static void *scribble(void *context)
{
    wsd_lock *lock = context;
    uint32_t parent = (uint32_t)getppid();
    while (!atomic_load(&stop)) {
        atomic_store(&lock->word, parent);
        atomic_store(&lock->word, parent | WSD_LOCK_WAITERS);
    }
    return NULL;
}

static void a_word_that_never_stands_still(void)
{
    wsd_lock *lock = shared(sizeof *lock);
    atomic_store(&lock->word, (uint32_t)getppid());
    atomic_store(&wsd_lock_patience_ns, 200 * WSD_MS);
    pthread_t thread;
    CHECK_IS(pthread_create(&thread, NULL, scribble, lock), 0);
    CHECK_IS(wsd_lock_take(lock), -EDEADLK);
    atomic_store(&stop, true);
    pthread_join(thread, NULL);
}

/* In another process namespace the holder has another number, or none. */
static void numbers_of_another_namespace_say_nothing(void)
{
    pid_t child = fork();
    if (child == 0)
        _exit(0);
    waitpid(child, NULL, 0);
    wsd_lock *lock = shared(sizeof *lock);
    atomic_store(&wsd_lock_patience_ns, 200 * WSD_MS);
    wsd_lock_before_fork();
    atomic_store(&lock->word, (uint32_t)child);
    CHECK_IS(wsd_lock_take(lock), 1);
    wsd_lock_drop(lock);
    pid_t apart = fork(); /* and no way back: the leak sanitizer cannot work in there */
    if (apart == 0) {
        if (unshare(CLONE_NEWPID) != 0 && unshare(CLONE_NEWUSER | CLONE_NEWPID) != 0)
            _exit(0); /* not permitted here */
        wsd_lock_before_fork();
        wsd_tid_reset();
        atomic_store(&lock->word, (uint32_t)child);
        CHECK_IS(wsd_lock_take(lock), -EDEADLK);
        _exit(0);
    }
    int status;
    CHECK_IS(waitpid(apart, &status, 0), apart);
    CHECK_IS(status, 0);
}

int main(void)
{
    watchdog(50);
    RUN(processes_exclude_each_other);
    RUN(a_killed_holder_is_replaced);
    RUN(also_before_its_parent_waits_for_it);
    RUN(words_from_nowhere);
    RUN(threads_exclude_each_other);
    RUN(a_live_holder_is_not_waited_for_endlessly);
    RUN(a_word_that_never_stands_still);
    RUN(numbers_of_another_namespace_say_nothing);
    return 0;
}
