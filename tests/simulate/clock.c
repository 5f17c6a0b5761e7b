/* Stands between a process and libc, so that time is virtual and randomness comes from one number. The simulated world
 * (src/simulate/) is started with it as LD_PRELOAD.
 *
 * The process has one thread that waits, the runtime. When it would wait for a timer, the clock jumps to that timer, so nothing
 * ever waits. SIMULATE_CLOCK names a file of eight bytes: the nanoseconds by which the wall clock is wrong. SIMULATE_SEED is the
 * number. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/mman.h>
#include <sys/random.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

/* 2026-09-21T14:13:20Z by the right clock, and a million seconds since the boot. */
static const int64_t wall_base = 1790000000LL * 1000000000LL;
static int64_t monotonic = 1000000LL * 1000000000LL;
static const int64_t monotonic_base = 1000000LL * 1000000000LL;
static const volatile int64_t *wrong;
static uint64_t state;

__attribute__((constructor)) static void begin(void) {
  const char *path = getenv("SIMULATE_CLOCK"), *seed = getenv("SIMULATE_SEED");
  int file = path ? open(path, O_RDONLY) : -1;
  if (file >= 0) {
    void *page = mmap(NULL, sizeof(int64_t), PROT_READ, MAP_SHARED, file, 0);
    if (page != MAP_FAILED) wrong = page;
    close(file);
  }
  state = seed ? strtoull(seed, NULL, 10) : 0;
}

static int real_clock(clockid_t clock, struct timespec *now) {
  return (int)syscall(SYS_clock_gettime, clock, now);
}

int clock_gettime(clockid_t clock, struct timespec *now) {
  int64_t at;
  switch (clock) {
    case CLOCK_MONOTONIC:
    case CLOCK_MONOTONIC_COARSE:
    case CLOCK_BOOTTIME: at = monotonic; break;
    case CLOCK_REALTIME:
    case CLOCK_REALTIME_COARSE: at = wall_base + monotonic - monotonic_base + (wrong ? *wrong : 0); break;
    default: return real_clock(clock, now);
  }
  now->tv_sec = at / 1000000000LL;
  now->tv_nsec = at % 1000000000LL;
  return 0;
}

int epoll_wait(int file, struct epoll_event *events, int most, int timeout) {
  static int (*real)(int, struct epoll_event *, int, int);
  if (!real) real = (int (*)(int, struct epoll_event *, int, int))dlsym(RTLD_NEXT, "epoll_wait");
  int found = real(file, events, most, 0);
  if (found != 0 || timeout == 0) return found;
  if (timeout < 0) {
    fputs("the simulated world waits for something that never comes\n", stderr);
    _exit(70);
  }
  monotonic += (int64_t)timeout * 1000000LL;
  return 0;
}

/* SplitMix64. */
static uint64_t next(void) {
  uint64_t word = (state += 0x9e3779b97f4a7c15ULL);
  word = (word ^ (word >> 30)) * 0xbf58476d1ce4e5b9ULL;
  word = (word ^ (word >> 27)) * 0x94d049bb133111ebULL;
  return word ^ (word >> 31);
}

ssize_t getrandom(void *bytes, size_t count, unsigned flags) {
  (void)flags;
  for (size_t at = 0; at < count; at++) ((uint8_t *)bytes)[at] = (uint8_t)(next() >> 32);
  return (ssize_t)count;
}

/* Some crates ask the kernel for randomness in this way. */
long syscall(long number, ...) {
  static long (*real)(long, ...);
  long word[6];
  va_list rest;
  va_start(rest, number);
  for (int at = 0; at < 6; at++) word[at] = va_arg(rest, long);
  va_end(rest);
  if (number == SYS_getrandom) return (long)getrandom((void *)word[0], (size_t)word[1], (unsigned)word[2]);
  if (!real) real = (long (*)(long, ...))dlsym(RTLD_NEXT, "syscall");
  return real(number, word[0], word[1], word[2], word[3], word[4], word[5]);
}
