/* Faults of the system, put between a program and its C library by LD_PRELOAD.

What goes wrong is said in a file that both sides map into memory (its path is in FAULTS_FILE), so that a test can begin
and end a fault while the program runs. The layout is that of faults.py. */

#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <stdio.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/types.h>
#include <time.h>
#include <unistd.h>

enum { WRITE = 1, SYNC = 2, RENAME = 4, READ = 8, OPEN = 16, WATCH = 32 };

struct faults {
    volatile int32_t error;    /* what a call fails with; 0: nothing fails */
    volatile int32_t calls;    /* which calls */
    volatile int32_t every;    /* each n-th of them */
    volatile int32_t counted;  /* calls that could have failed */
    volatile int32_t failed;   /* calls that did */
    volatile int32_t unused;
    volatile int64_t clock_s;  /* how far the wall clock is off */
    char path[96];             /* only files with this in their path */
};

static struct faults *faults;
static struct faults none;

__attribute__((constructor)) static void begin(void) {
    const char *path = getenv("FAULTS_FILE");
    int fd = path ? (int)open(path, O_RDWR | O_CLOEXEC) : -1;
    faults = &none;
    if (fd < 0) return;
    void *seen = mmap(NULL, sizeof(struct faults), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    if (seen != MAP_FAILED) faults = seen;
    close(fd);
}

static int of_path(const char *path) {
    return faults->path[0] == 0 || (path && strstr(path, faults->path));
}

static int of_fd(int fd) {
    char link[64], path[4096];
    if (faults->path[0] == 0) return 1;
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t length = readlink(link, path, sizeof path - 1);
    if (length < 0) return 0;
    path[length] = 0;
    return strstr(path, faults->path) != NULL;
}

static int fails(int call) {
    if (!faults || faults->error == 0 || !(faults->calls & call)) return 0;
    int n = __sync_add_and_fetch(&faults->counted, 1);
    if (faults->every > 1 && n % faults->every != 0) return 0;
    __sync_add_and_fetch(&faults->failed, 1);
    errno = faults->error;
    return 1;
}

#define ARMED(call) (faults && faults->error != 0 && (faults->calls & (call)))
#define REAL(name) static __typeof__(&name) real; if (!real) real = (__typeof__(&name))dlsym(RTLD_NEXT, #name)

ssize_t write(int fd, const void *data, size_t size) {
    REAL(write);
    if (ARMED(WRITE) && fd > 2 && of_fd(fd) && fails(WRITE)) return -1;
    return real(fd, data, size);
}

ssize_t pwrite64(int fd, const void *data, size_t size, off64_t at) {
    REAL(pwrite64);
    if (ARMED(WRITE) && of_fd(fd) && fails(WRITE)) return -1;
    return real(fd, data, size, at);
}

ssize_t pwrite(int fd, const void *data, size_t size, off_t at) {
    REAL(pwrite);
    if (ARMED(WRITE) && of_fd(fd) && fails(WRITE)) return -1;
    return real(fd, data, size, at);
}

ssize_t read(int fd, void *data, size_t size) {
    REAL(read);
    if (ARMED(READ) && fd > 2 && of_fd(fd) && fails(READ)) return -1;
    return real(fd, data, size);
}

ssize_t pread64(int fd, void *data, size_t size, off64_t at) {
    REAL(pread64);
    if (ARMED(READ) && of_fd(fd) && fails(READ)) return -1;
    return real(fd, data, size, at);
}

int fsync(int fd) {
    REAL(fsync);
    if (ARMED(SYNC) && of_fd(fd) && fails(SYNC)) return -1;
    return real(fd);
}

int fdatasync(int fd) {
    REAL(fdatasync);
    if (ARMED(SYNC) && of_fd(fd) && fails(SYNC)) return -1;
    return real(fd);
}

int rename(const char *from, const char *to) {
    REAL(rename);
    if (ARMED(RENAME) && (of_path(from) || of_path(to)) && fails(RENAME)) return -1;
    return real(from, to);
}

int renameat(int from_fd, const char *from, int to_fd, const char *to) {
    REAL(renameat);
    if (ARMED(RENAME) && (of_path(from) || of_path(to)) && fails(RENAME)) return -1;
    return real(from_fd, from, to_fd, to);
}

static int opens(int at, const char *path, int flags, mode_t mode) {
    static int (*real)(int, const char *, int, ...);
    if (!real) real = dlsym(RTLD_NEXT, "openat");
    if (ARMED(OPEN) && of_path(path) && fails(OPEN)) return -1;
    return real(at, path, flags, mode);
}

#define OPENS(name, at, ...) \
    int name(__VA_ARGS__, int flags, ...) { \
        va_list rest; va_start(rest, flags); mode_t mode = va_arg(rest, mode_t); va_end(rest); \
        return opens(at, path, flags, mode); \
    }
#include <stdarg.h>
OPENS(open, AT_FDCWD, const char *path)
OPENS(open64, AT_FDCWD, const char *path)
OPENS(openat, at, int at, const char *path)
OPENS(openat64, at, int at, const char *path)

int inotify_add_watch(int fd, const char *path, uint32_t mask) {
    static int (*real)(int, const char *, uint32_t);
    if (!real) real = dlsym(RTLD_NEXT, "inotify_add_watch");
    if (ARMED(WATCH) && of_path(path) && fails(WATCH)) return -1;
    return real(fd, path, mask);
}

int inotify_init1(int flags) {
    static int (*real)(int);
    if (!real) real = dlsym(RTLD_NEXT, "inotify_init1");
    if (ARMED(WATCH) && fails(WATCH)) return -1;
    return real(flags);
}

int clock_gettime(clockid_t clock, struct timespec *now) {
    static int (*real)(clockid_t, struct timespec *);
    if (!real) real = dlsym(RTLD_NEXT, "clock_gettime");
    int code = real(clock, now);
    if (code == 0 && clock == CLOCK_REALTIME && faults) now->tv_sec += faults->clock_s;
    return code;
}
