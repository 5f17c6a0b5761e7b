/* Stands between the real program and the C library (LD_PRELOAD): a clock that can be stepped, and a disk that fails a sync.
 *
 * PRINT_RELEASE_FAULTS names a file of seven 64-bit numbers in the machine's byte order. It is mapped, so that a change holds at once:
 *   0  this library is loaded (it writes 1)
 *   1  nanoseconds that are added to the wall clock; the monotonic clocks stay as they are
 *   2  the sync that fails, counted down by each sync: 1 is the next one, 0 is none
 *   3  the percentage of its pages that the failed sync has written all the same
 *   4  the number of syncs so far
 *   5  the number of syncs that failed
 *   6  the seed by which the pages of a failed sync are chosen
 *
 * PRINT_RELEASE_DISK names a directory, and PRINT_RELEASE_PLATTER another one with the bytes of its files that would survive a power
 * cut: a file named after the inode for each file that was opened, and beside it `<inode>.dirty`, one byte for each page that was
 * written since its last sync. Both outlive this process, as the kernel's own pages do.
 *
 * The model is Linux's: pages are dirty from a write to the next sync through any descriptor of the file. A sync that succeeds brings
 * them to the platter. A sync that fails marks them clean, so no later sync writes them; it says so, and so does the next sync through
 * each other descriptor that was open then. `sync_file_range` does not
 * empty the disk's own cache, so its pages stay dirty; if it fails, they are forgotten. Names and lengths reach the platter at once,
 * except the length that a write makes. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/sendfile.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

#define PAGE 4096
#define PAGES (1 << 18) /* of the largest file that is followed, 1 GiB */
#define FILES 4096
#define DESCRIPTORS (1 << 16)
#define MANY 128 /* files; then those without a name are looked for at each opening */
#define REAL(name, ...) ((__typeof__(&name))real(#name))(__VA_ARGS__)

enum { LOADED, CLOCK, FAIL, SURVIVE, SYNCS, FAILED, SEED, WORDS };

struct tracked {
  ino_t inode;
  int living, platter, nameless, errors;
  unsigned char *dirty;
};

static int64_t nothing[WORDS], *words = nothing;
static const char *disk, *platter;
static dev_t device;
static struct tracked *files[FILES];
static int count;
/* The errors of its file that a descriptor has told, or that are older than it. */
static int told[DESCRIPTORS];
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static uint64_t seed = 88172645463325252u;

static void *real(const char *name) { return dlsym(RTLD_NEXT, name); }

/* Calls of our own must not come back here. */
static int plain_open(const char *path, int flags) { return syscall(SYS_openat, AT_FDCWD, path, flags | O_CLOEXEC, 0600); }

__attribute__((constructor)) static void begin(void) {
  const char *path = getenv("PRINT_RELEASE_FAULTS");
  int fd = path ? plain_open(path, O_RDWR) : -1;
  if (fd < 0) return;
  void *mapped = mmap(NULL, sizeof nothing, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
  if (mapped != MAP_FAILED) words = mapped;
  disk = getenv("PRINT_RELEASE_DISK");
  platter = getenv("PRINT_RELEASE_PLATTER");
  if (!platter) disk = NULL;
  seed ^= (uint64_t)words[SEED] << 20;
  words[LOADED] = 1;
}

/* The clock. */

static void step(struct timespec *time) {
  int64_t nanos = time->tv_nsec + words[CLOCK] % 1000000000;
  time->tv_sec += words[CLOCK] / 1000000000;
  if (nanos < 0) nanos += 1000000000, time->tv_sec -= 1;
  if (nanos >= 1000000000) nanos -= 1000000000, time->tv_sec += 1;
  time->tv_nsec = nanos;
}

int clock_gettime(clockid_t clock, struct timespec *time) {
  static int (*next)(clockid_t, struct timespec *);
  if (!next) next = (int (*)(clockid_t, struct timespec *))real("clock_gettime");
  int done = next ? next(clock, time) : (int)syscall(SYS_clock_gettime, clock, time);
  if (done == 0 && (clock == CLOCK_REALTIME || clock == CLOCK_REALTIME_COARSE)) step(time);
  return done;
}

int gettimeofday(struct timeval *restrict time, void *restrict zone) {
  (void)zone;
  struct timespec now;
  int done = clock_gettime(CLOCK_REALTIME, &now);
  if (done == 0) time->tv_sec = now.tv_sec, time->tv_usec = now.tv_nsec / 1000;
  return done;
}

time_t time(time_t *into) {
  struct timespec now;
  clock_gettime(CLOCK_REALTIME, &now);
  if (into) *into = now.tv_sec;
  return now.tv_sec;
}

/* The disk. */

static struct tracked *find(int fd, struct stat *is) {
  if (!disk || fstat(fd, is) != 0 || !S_ISREG(is->st_mode) || is->st_dev != device) return NULL;
  for (int i = 0; i < count; i++)
    if (files[i]->inode == is->st_ino) return files[i];
  return NULL;
}

static struct tracked *tracked(int fd) {
  struct stat is;
  if (!disk) return NULL;
  pthread_mutex_lock(&lock);
  struct tracked *file = find(fd, &is);
  pthread_mutex_unlock(&lock);
  return file;
}

/* Brings a page of the file to its platter. */
static void bring(struct tracked *file, size_t page) {
  char bytes[PAGE];
  ssize_t length = syscall(SYS_pread64, file->living, bytes, sizeof bytes, (off_t)page * PAGE);
  if (length > 0 && syscall(SYS_pwrite64, file->platter, bytes, (size_t)length, (off_t)page * PAGE) != length) abort();
}

/* Forgets the files that had no name at the last look either, so that no thread is at work on them. They would keep their space. */
static void sweep(void) {
  for (int i = 0; i < count; i++) {
    struct stat is;
    char path[PATH_MAX];
    struct tracked *file = files[i];
    if (fstat(file->living, &is) != 0 || is.st_nlink > 0 || !file->nameless++) continue;
    munmap(file->dirty, PAGES);
    syscall(SYS_close, file->living);
    syscall(SYS_close, file->platter);
    for (int dirty = 0; dirty < 2; dirty++) {
      snprintf(path, sizeof path, "%s/%llu%s", platter, (unsigned long long)file->inode, dirty ? ".dirty" : "");
      syscall(SYS_unlinkat, AT_FDCWD, path, 0);
    }
    free(file);
    files[i--] = files[--count];
  }
}

static void follow(struct tracked *file, const struct stat *is) {
  char path[PATH_MAX];
  snprintf(path, sizeof path, "%s/%llu.dirty", platter, (unsigned long long)is->st_ino);
  int dirty = plain_open(path, O_RDWR | O_CREAT);
  if (dirty < 0 || syscall(SYS_ftruncate, dirty, (off_t)PAGES) != 0) abort();
  file->dirty = mmap(NULL, PAGES, PROT_READ | PROT_WRITE, MAP_SHARED, dirty, 0);
  syscall(SYS_close, dirty);
  if (file->dirty == MAP_FAILED) abort();
  snprintf(path, sizeof path, "%s/%llu", platter, (unsigned long long)is->st_ino);
  file->platter = plain_open(path, O_RDWR);
  if (file->platter < 0) {
    /* It was there before: all of it is on the platter. */
    file->platter = plain_open(path, O_RDWR | O_CREAT);
    for (size_t page = 0; page * PAGE < (size_t)is->st_size; page++) bring(file, page);
  }
  file->inode = is->st_ino;
}

/* Every file below the directory is followed from its opening on. */
static int opened(int fd) {
  struct stat is;
  int kept = errno;
  if (!disk || fd < 0 || fstat(fd, &is) != 0 || !S_ISREG(is.st_mode)) return errno = kept, fd;
  char link[64], path[PATH_MAX];
  snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
  ssize_t length = syscall(SYS_readlinkat, AT_FDCWD, link, path, sizeof path - 1);
  size_t root = strlen(disk);
  if (length > (ssize_t)root && strncmp(path, disk, root) == 0 && path[root] == '/') {
    pthread_mutex_lock(&lock);
    device = is.st_dev;
    struct tracked *file = find(fd, &is);
    if (!file) {
      if (count >= MANY) sweep();
      if (count == FILES) abort();
      if (!(file = calloc(1, sizeof *file))) abort();
      file->living = plain_open(link, O_RDONLY);
      follow(file, &is);
      files[count++] = file;
    }
    if (file && fd < DESCRIPTORS) told[fd] = file->errors;
    if (file && is.st_size == 0 && syscall(SYS_ftruncate, file->platter, (off_t)0) != 0) abort();
    pthread_mutex_unlock(&lock);
  }
  return errno = kept, fd;
}

static void touch(struct tracked *file, off_t from, off_t to) {
  for (off_t page = from / PAGE; page * PAGE < to && page < PAGES; page++) __atomic_store_n(&file->dirty[page], 1, __ATOMIC_SEQ_CST);
}

/* A write at the descriptor's own place, which has happened. */
static ssize_t wrote(int fd, ssize_t bytes) {
  int kept = errno;
  struct tracked *file = bytes > 0 ? tracked(fd) : NULL;
  off_t end = file ? lseek(fd, 0, SEEK_CUR) : 0;
  if (file) touch(file, end - bytes, end);
  return errno = kept, bytes;
}

static int fails(void) {
  __atomic_add_fetch(&words[SYNCS], 1, __ATOMIC_SEQ_CST);
  return words[FAIL] > 0 && __atomic_sub_fetch(&words[FAIL], 1, __ATOMIC_SEQ_CST) == 0;
}

static int dice(void) {
  seed ^= seed << 13, seed ^= seed >> 7, seed ^= seed << 17;
  return (int)(seed % 100);
}

/* Decides about the dirty pages between two offsets. Returns whether the sync tells of a failure. */
static int settle(struct tracked *file, int fd, off_t from, off_t to, int empties_cache) {
  struct stat is;
  pthread_mutex_lock(&lock);
  int failed = fails();
  off_t end = fstat(file->living, &is) == 0 && is.st_size < to ? is.st_size : to;
  for (off_t page = from / PAGE; page * PAGE < end && page < PAGES; page++) {
    if (!failed && !empties_cache) break;
    if (!__atomic_exchange_n(&file->dirty[page], 0, __ATOMIC_SEQ_CST)) continue;
    if (!failed || dice() < words[SURVIVE]) bring(file, (size_t)page);
  }
  if (failed) words[FAILED]++, file->errors++;
  int tells = fd < DESCRIPTORS && told[fd] != file->errors;
  if (tells) told[fd] = file->errors;
  pthread_mutex_unlock(&lock);
  return tells;
}

static int synced(int fd, int done) {
  struct tracked *file = done == 0 ? tracked(fd) : NULL;
  if (file && settle(file, fd, 0, (off_t)PAGES * PAGE, 1)) return errno = EIO, -1;
  return done;
}

int fsync(int fd) { return synced(fd, REAL(fsync, fd)); }
int fdatasync(int fd) { return synced(fd, REAL(fdatasync, fd)); }

int sync_file_range(int fd, off64_t offset, off64_t bytes, unsigned flags) {
  int done = REAL(sync_file_range, fd, offset, bytes, flags);
  struct tracked *file = done == 0 ? tracked(fd) : NULL;
  off_t end = bytes == 0 ? (off_t)PAGES * PAGE : (off_t)(offset + bytes);
  if (file && settle(file, fd, (off_t)offset, end, 0)) return errno = EIO, -1;
  return done;
}

ssize_t write(int fd, const void *bytes, size_t length) { return wrote(fd, REAL(write, fd, bytes, length)); }
ssize_t writev(int fd, const struct iovec *parts, int number) { return wrote(fd, REAL(writev, fd, parts, number)); }

ssize_t pwrite64(int fd, const void *bytes, size_t length, off64_t offset) {
  struct tracked *file = tracked(fd);
  if (file) touch(file, offset, offset + (off64_t)length);
  ssize_t done = REAL(pwrite64, fd, bytes, length, offset);
  /* Once more: a sync may have come between, which cannot have seen all of the write. */
  if (file) touch(file, offset, offset + (off64_t)length);
  return done;
}

ssize_t sendfile64(int to, int from, off64_t *offset, size_t length) { return wrote(to, REAL(sendfile64, to, from, offset, length)); }

ssize_t copy_file_range(int from, off64_t *at, int to, off64_t *into, size_t length, unsigned flags) {
  off64_t begins = into ? *into : 0;
  ssize_t done = REAL(copy_file_range, from, at, to, into, length, flags);
  if (!into) return wrote(to, done);
  struct tracked *file = done > 0 ? tracked(to) : NULL;
  if (file) touch(file, begins, begins + done);
  return done;
}

int ftruncate64(int fd, off64_t length) {
  int done = REAL(ftruncate64, fd, length);
  struct tracked *file = done == 0 ? tracked(fd) : NULL;
  if (file && syscall(SYS_ftruncate, file->platter, (off_t)length) != 0) abort();
  return done;
}

static int mode_of(int flags, va_list more) { return flags & (O_CREAT | O_TMPFILE) ? va_arg(more, int) : 0; }

int open(const char *path, int flags, ...) {
  va_list more;
  va_start(more, flags);
  int mode = mode_of(flags, more);
  va_end(more);
  return opened(REAL(open, path, flags, mode));
}

int open64(const char *path, int flags, ...) {
  va_list more;
  va_start(more, flags);
  int mode = mode_of(flags, more);
  va_end(more);
  return opened(REAL(open64, path, flags, mode));
}

int openat64(int dir, const char *path, int flags, ...) {
  va_list more;
  va_start(more, flags);
  int mode = mode_of(flags, more);
  va_end(more);
  return opened(REAL(openat64, dir, path, flags, mode));
}
