/* Counts what a process does to the files below a folder, and kills it at one of them.
 *
 * Preloaded before libc. A point lies before each call that changes a file, a name or
 * what is on the disk, and wherever the program says (killpoint_mark). Of the database,
 * whose transactions are SQLite's to keep whole, the first write after a sync counts and
 * the sync itself: before the transaction, and written but not synced.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define REAL(name) ((__typeof__(&name))dlsym(RTLD_NEXT, #name))

static char root[PATH_MAX];
static long count, fatal;
static int armed, fresh = 1, tracing;

/* Dies at point number `at` (0: never); the points before it are counted. */
void killpoint_arm(const char *folder, long at, int trace) {
    snprintf(root, sizeof root, "%s", folder);
    count = 0, fatal = at, armed = 1, fresh = 1, tracing = trace;
}
void killpoint_disarm(void) { armed = 0; }
long killpoint_count(void) { return count; }

void killpoint_mark(const char *what) {
    if (!armed) return;
    count++;
    if (tracing) dprintf(2, "%ld %s\n", count, what);
    if (count == fatal) kill(getpid(), SIGKILL);
}

static int ours(const char *path) {
    size_t n = strlen(root);
    return armed && path && strncmp(path, root, n) == 0 && path[n] == '/';
}

static int file(int fd, char *path) {
    char link[64];
    if (!armed) return 0;
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t n = readlink(link, path, PATH_MAX - 1);
    if (n <= 0) return 0;
    path[n] = 0;
    return ours(path) || strcmp(path, root) == 0;
}

static void point(const char *what, const char *path) {
    char text[PATH_MAX + 32];
    snprintf(text, sizeof text, "%s %s", what, path + strlen(root));
    killpoint_mark(text);
}

static int database(const char *path) { return strstr(path, "/agent.db") != NULL; }

static void writing(int fd) {
    char path[PATH_MAX];
    if (!file(fd, path)) return;
    if (database(path)) {
        if (!fresh || strstr(path, "-shm")) return;
        fresh = 0;
    }
    point("write", path);
}
/* A kill leaves the page cache, so the disk itself need not spin. */
static int syncing(int fd) {
    char path[PATH_MAX];
    if (!file(fd, path)) return 0;
    if (database(path)) fresh = 1;
    point("sync", path);
    return 1;
}

#define OPEN(name)                                                                   \
    int name(const char *path, int flags, ...) {                                     \
        va_list rest; va_start(rest, flags);                                         \
        mode_t mode = flags & (O_CREAT | O_TMPFILE) ? va_arg(rest, mode_t) : 0;      \
        va_end(rest);                                                                \
        if (flags & (O_CREAT | O_TRUNC) && ours(path) && !database(path))            \
            point("create", path);                                                   \
        return REAL(name)(path, flags, mode);                                        \
    }
OPEN(open)
OPEN(open64)

ssize_t pwrite64(int fd, const void *data, size_t size, off64_t at) {
    writing(fd);
    return REAL(pwrite64)(fd, data, size, at);
}
ssize_t pwrite(int fd, const void *data, size_t size, off_t at) {
    return pwrite64(fd, data, size, at);
}
ssize_t write(int fd, const void *data, size_t size) {
    writing(fd);
    return REAL(write)(fd, data, size);
}
int ftruncate64(int fd, off64_t size) {
    writing(fd);
    return REAL(ftruncate64)(fd, size);
}
int ftruncate(int fd, off_t size) { return ftruncate64(fd, size); }
int fsync(int fd) { return syncing(fd) ? 0 : REAL(fsync)(fd); }
int fdatasync(int fd) { return syncing(fd) ? 0 : REAL(fdatasync)(fd); }
int rename(const char *from, const char *to) {
    if (ours(to)) point("rename", to);
    return REAL(rename)(from, to);
}
int unlink(const char *path) {
    if (ours(path)) point("unlink", path);
    return REAL(unlink)(path);
}
int mkdir(const char *path, mode_t mode) {
    struct stat there;
    if (ours(path) && stat(path, &there)) point("mkdir", path);
    return REAL(mkdir)(path, mode);
}
