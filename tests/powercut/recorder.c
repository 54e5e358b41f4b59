/* Records, in order, what a process does to the files below POWERCUT_ROOT.
 *
 * Preloaded before libc. One line of fixed width a call, then its path and data, in one
 * write to the file POWERCUT_LOG, so that threads and processes keep their order:
 *
 *   struct { u32 op; u32 path; u64 inode; u64 offset; u64 data; }  path[path] data[data]
 *
 * A sync makes two entries: what came before its beginning is on the disk at its end.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

enum { WRITE = 1, TRUNCATE, SYNC_BEGIN, SYNC_END, CREATE, RENAME, UNLINK };
enum { PATHS = 4096 };
struct entry { uint32_t op, path; uint64_t inode, offset, data; };

#define REAL(name) ((__typeof__(&name))dlsym(RTLD_NEXT, #name))

static int log_fd = -1;

static void put(uint32_t op, uint64_t inode, uint64_t offset, const char *path,
                const void *data, size_t size) {
    static __typeof__(&writev) real;
    if (!real) real = REAL(writev);
    if (log_fd < 0) {
        const char *name = getenv("POWERCUT_LOG");
        if (!name) return;
        int made = REAL(open)(name, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
        /* Far from the numbers that programs close or compare. */
        log_fd = fcntl(made, F_DUPFD_CLOEXEC, 900);
        REAL(close)(made);
    }
    struct entry head = {op, (uint32_t)strlen(path), inode, offset, size};
    struct iovec parts[3] = {{&head, sizeof head}, {(void *)path, head.path},
                             {(void *)data, size}};
    int before = errno;
    if (real(log_fd, parts, 3) < 0) abort();
    errno = before;
}

static int ours(const char *path, char *full) {
    const char *root = getenv("POWERCUT_ROOT");
    if (!root || !path) return 0;
    if (path[0] == '/') snprintf(full, PATHS, "%s", path);
    else {
        char here[PATHS / 2];
        if (!getcwd(here, sizeof here)) return 0;
        snprintf(full, PATHS, "%s/%.2000s", here, path);
    }
    size_t n = strlen(root);
    return strncmp(full, root, n) == 0 && (full[n] == '/' || full[n] == 0);
}

static int known(int fd, uint64_t *inode) {
    char link[64], path[PATHS], full[PATHS];
    struct stat now;
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t n = readlink(link, path, sizeof path - 1);
    if (n <= 0) return 0;
    path[n] = 0;
    if (!ours(path, full) || fstat(fd, &now)) return 0;
    *inode = now.st_ino;
    return 1;
}

static int opened(int fd, const char *path, int flags, int existed, const char *full) {
    uint64_t inode;
    if (fd < 0 || !known(fd, &inode)) return fd;
    if (!existed && (flags & O_CREAT)) put(CREATE, inode, 0, full, "", 0);
    else if (flags & O_TRUNC) put(TRUNCATE, inode, 0, "", "", 0);
    (void)path;
    return fd;
}

#define OPEN(name, real_call)                                                        \
    va_list rest; va_start(rest, flags);                                             \
    mode_t mode = flags & (O_CREAT | O_TMPFILE) ? va_arg(rest, mode_t) : 0;          \
    va_end(rest);                                                                    \
    char full[PATHS]; struct stat before;                                            \
    if (!ours(path, full)) return real_call;                                         \
    int existed = stat(full, &before) == 0;                                          \
    return opened(real_call, path, flags, existed, full);

int open(const char *path, int flags, ...) {
    OPEN(open, REAL(open)(path, flags, mode))
}
int open64(const char *path, int flags, ...) {
    OPEN(open64, REAL(open64)(path, flags, mode))
}

ssize_t pwrite64(int fd, const void *data, size_t size, off64_t at) {
    uint64_t inode;
    ssize_t done = REAL(pwrite64)(fd, data, size, at);
    if (done > 0 && known(fd, &inode)) put(WRITE, inode, at, "", data, done);
    return done;
}
ssize_t pwrite(int fd, const void *data, size_t size, off_t at) {
    return pwrite64(fd, data, size, at);
}
ssize_t write(int fd, const void *data, size_t size) {
    uint64_t inode;
    ssize_t done = REAL(write)(fd, data, size);
    if (done > 0 && known(fd, &inode))
        put(WRITE, inode, lseek(fd, 0, SEEK_CUR) - done, "", data, done);
    return done;
}
int ftruncate64(int fd, off64_t size) {
    uint64_t inode;
    int failed = REAL(ftruncate64)(fd, size);
    if (!failed && known(fd, &inode)) put(TRUNCATE, inode, size, "", "", 0);
    return failed;
}
int ftruncate(int fd, off_t size) { return ftruncate64(fd, size); }

#define SYNC(name)                                                                   \
    int name(int fd) {                                                               \
        uint64_t inode;                                                              \
        int mine = known(fd, &inode);                                                \
        if (mine) put(SYNC_BEGIN, inode, 0, "", "", 0);                              \
        /* The test's own disk need not spin: the recorder is the disk. */           \
        int failed = mine ? 0 : REAL(name)(fd);                                      \
        if (mine) put(SYNC_END, inode, 0, "", "", 0);                                \
        return failed;                                                               \
    }
SYNC(fsync)
SYNC(fdatasync)

int rename(const char *from, const char *to) {
    char a[PATHS], b[PATHS];
    int mine = ours(from, a) && ours(to, b);
    int failed = REAL(rename)(from, to);
    if (!failed && mine) put(RENAME, 0, 0, a, b, strlen(b));
    return failed;
}
int unlink(const char *path) {
    char full[PATHS];
    int mine = ours(path, full);
    int failed = REAL(unlink)(path);
    if (!failed && mine) put(UNLINK, 0, 0, full, "", 0);
    return failed;
}
