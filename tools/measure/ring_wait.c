/* Lets zkore run under valgrind, for `tools/profile callgrind`.
 *
 * Valgrind runs one thread at a time, and a thread gives way only in calls of which valgrind knows that
 * they may wait. io_uring_enter is none of them (3.19): a loop that waits for its ring would hold up all
 * other threads until it has its completion, which one of those may have to bring. Loaded before the C
 * library, this waits by naps instead, and asks the ring between them. The tool takes what callgrind counts
 * in here off the sum. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <linux/io_uring.h>
#include <stdarg.h>
#include <stdint.h>
#include <sys/syscall.h>
#include <time.h>

#define NAP_NS 100000L
#define S_NS 1000000000LL

static long (*kernel)(long, ...);

static long long now_ns(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return now.tv_sec * S_NS + now.tv_nsec;
}

__attribute__((noinline)) long ring_wait(long fd, long submissions, long completions, long flags, long words)
{
    struct timespec none = {0, 0}, nap = {0, NAP_NS};
    struct io_uring_getevents_arg asked = {0};
    long long deadline_ns = INT64_MAX;
    if (flags & IORING_ENTER_EXT_ARG) {
        asked = *(struct io_uring_getevents_arg *)words;
        const struct timespec *patience = (const struct timespec *)(uintptr_t)asked.ts;
        if (patience)
            deadline_ns = now_ns() + patience->tv_sec * S_NS + patience->tv_nsec;
    }
    asked.ts = (uintptr_t)&none;
    flags |= IORING_ENTER_EXT_ARG;
    long submitted = kernel(SYS_io_uring_enter, fd, submissions, 0L, flags, &asked, sizeof asked);
    if (submitted < 0)
        return submitted;
    for (;;) {
        long done = kernel(SYS_io_uring_enter, fd, 0L, completions, flags, &asked, sizeof asked);
        if (done >= 0 || errno != ETIME || now_ns() >= deadline_ns)
            return submitted > 0 ? submitted : done;
        nanosleep(&nap, 0);
    }
}

long syscall(long number, ...)
{
    va_list rest;
    long words[6];
    va_start(rest, number);
    for (int word = 0; word < 6; word++)
        words[word] = va_arg(rest, long);
    va_end(rest);
    if (!kernel)
        kernel = (long (*)(long, ...))dlsym(RTLD_NEXT, "syscall");
    if (number == SYS_io_uring_enter && words[2] > 0)
        return ring_wait(words[0], words[1], words[2], words[3], words[4]);
    return kernel(number, words[0], words[1], words[2], words[3], words[4], words[5]);
}
