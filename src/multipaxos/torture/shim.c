/*
 * A disk between a process and its disk, and a clock before its clock, by LD_PRELOAD: counts syncs, makes them hang,
 * fail or dawdle, refuses space, shifts the wall clock, and notes how to take back every change that was not synced, so
 * that after a SIGKILL the directory can be made what a power loss would have left.
 *
 * SHIM_ROOT is the directory it watches (absolute, symbolic links resolved); SHIM_STATE, outside of it and on the same
 * file system, holds what it says and hears: see shim.py, which is the other end of all this.
 *
 *   control   struct control below, mapped by both ends
 *   undo      records, appended before the change they speak of is made: how it was
 *   kept/N    hard links to files that were removed or replaced by a rename
 *
 * The promise it models is POSIX's and no more: bytes are durable once a sync of their file has returned, names once a
 * sync of their directory has returned. Changes made while a sync runs are not covered by it. After a failed sync the
 * kernel calls the pages clean though they may not be on the disk, so what was not durable then stays in doubt whatever
 * later syncs say (record FAILED). Space is counted by the length of files: what grows takes it, what is cut, removed or
 * replaced gives it back.
 *
 * Not seen: mmap, fallocate, io_uring, directories made or removed, descriptors that were duplicated, child processes.
 * What is tested here uses none of them while it is watched.
 */
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
#include <sys/stat.h>
#include <sys/time.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

enum { MODE_PASS = 0, MODE_HANG = 1, MODE_FAIL_ONCE = 2, MODE_DELAY = 3, MODE_FAIL_WRITE = 4 };
enum { WRITE = 1, TRUNCATE = 2, SYNC = 3, CREATE = 4, RENAME = 5, UNLINK = 6, FAILED = 7 };

struct control {
    uint32_t mode;
    uint32_t delay_ms;
    uint64_t begun;
    uint64_t done;
    uint64_t writes;
    uint64_t hanging;
    uint64_t failed;             /* syncs answered with EIO */
    uint64_t failed_writes;      /* writes answered with EIO */
    uint64_t is_limited;         /* whether ``room`` counts */
    uint64_t room;               /* bytes by which files may still grow */
    uint64_t refused;            /* writes answered with ENOSPC */
    int64_t clock_offset_ns;     /* added to the wall clock, and to it the rate since the anchor */
    int64_t clock_rate_ppm;
    int64_t clock_anchor_ns;
    uint64_t clock_reads;        /* readings of the wall clock that were answered with another time */
    int64_t clock_difference_ns; /* of the last of them */
};

struct record {
    uint32_t magic;
    uint32_t kind;
    uint64_t inode;    /* of the file, or of the directory whose names change */
    uint64_t offset;   /* WRITE: where; TRUNCATE: the new size; SYNC, FAILED: what the undo file held when it began */
    uint64_t length;   /* WRITE: bytes about to be written */
    uint64_t old_size; /* WRITE, TRUNCATE: of the file; RENAME, UNLINK: number of the kept link, 0 for none */
    uint32_t first;    /* bytes that follow: old data, or a name */
    uint32_t second;   /* and then these: the new name */
};

#define MAGIC 0x4f444e55u
#define FDS 65536

struct tracked {
    uint64_t inode;
    uint8_t is_tracked;
    uint8_t is_directory;
};

static struct tracked table[FDS];
static pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
static struct control *control;
static int undo = -1;
static int kept = -1;
static uint64_t kept_count;
static char root[PATH_MAX];
static size_t root_length;

static int (*real_open)(const char *, int, ...);
static int (*real_openat)(int, const char *, int, ...);
static int (*real_close)(int);
static int (*real_dup2)(int, int);
static int (*real_dup3)(int, int, int);
static ssize_t (*real_write)(int, const void *, size_t);
static ssize_t (*real_writev)(int, const struct iovec *, int);
static ssize_t (*real_pwrite)(int, const void *, size_t, off_t);
static ssize_t (*real_pwritev)(int, const struct iovec *, int, off_t);
static ssize_t (*real_pwritev2)(int, const struct iovec *, int, off_t, int);
static int (*real_ftruncate)(int, off_t);
static int (*real_fsync)(int);
static int (*real_fdatasync)(int);
static int (*real_rename)(const char *, const char *);
static int (*real_renameat)(int, const char *, int, const char *);
static int (*real_unlink)(const char *);
static int (*real_unlinkat)(int, const char *, int);
static int (*real_clock_gettime)(clockid_t, struct timespec *);

static void die(const char *what)
{
    /* A test that runs on a shim which lost count shows nothing: better no process than a wrong one. */
    dprintf(2, "disk shim: %s: %s\n", what, strerror(errno));
    _exit(97);
}

static void *symbol(const char *name)
{
    void *found = dlsym(RTLD_NEXT, name);
    if (found == NULL)
        die(name);
    return found;
}

static void resolve(void)
{
    if (real_open != NULL)
        return;
    real_openat = symbol("openat64");
    real_close = symbol("close");
    real_dup2 = symbol("dup2");
    real_dup3 = symbol("dup3");
    real_write = symbol("write");
    real_writev = symbol("writev");
    real_pwrite = symbol("pwrite64");
    real_pwritev = symbol("pwritev64");
    real_pwritev2 = symbol("pwritev64v2");
    real_ftruncate = symbol("ftruncate64");
    real_fsync = symbol("fsync");
    real_fdatasync = symbol("fdatasync");
    real_rename = symbol("rename");
    real_renameat = symbol("renameat");
    real_unlink = symbol("unlink");
    real_unlinkat = symbol("unlinkat");
    real_open = symbol("open64");
}

__attribute__((constructor)) static void begin(void)
{
    resolve();
    const char *watched = getenv("SHIM_ROOT");
    const char *state = getenv("SHIM_STATE");
    if (watched == NULL || state == NULL)
        return;
    char path[PATH_MAX];
    snprintf(path, sizeof path, "%s/control", state);
    int fd = real_open(path, O_RDWR | O_CLOEXEC);
    if (fd < 0)
        die(path);
    void *mapped = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    if (mapped == MAP_FAILED)
        die("mmap of the control file");
    real_close(fd);
    snprintf(path, sizeof path, "%s/undo", state);
    undo = real_open(path, O_RDWR | O_APPEND | O_CREAT | O_CLOEXEC, 0600);
    if (undo < 0)
        die(path);
    snprintf(path, sizeof path, "%s/kept", state);
    kept = real_open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (kept < 0)
        die(path);
    kept_count = ((uint64_t)getpid() << 32); /* names of different starts must differ */
    snprintf(root, sizeof root, "%s", watched);
    root_length = strlen(root);
    control = mapped;
}

static int is_below(const char *path)
{
    return strncmp(path, root, root_length) == 0 && (path[root_length] == '/' || path[root_length] == 0);
}

static int path_of(int fd, char *path)
{
    char link[64];
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t length = readlink(link, path, PATH_MAX - 1);
    if (length < 0)
        return -1;
    path[length] = 0;
    return 0;
}

/* The directory and the last name of (at, path), when that directory is watched. */
static int split(int at, const char *path, uint64_t *directory, const char **name)
{
    char parent[PATH_MAX];
    char real[PATH_MAX];
    struct stat found;
    const char *slash = strrchr(path, '/');
    if (slash == NULL) {
        *name = path;
        snprintf(parent, sizeof parent, ".");
    } else {
        *name = slash + 1;
        snprintf(parent, sizeof parent, "%.*s", slash == path ? 1 : (int)(slash - path), path);
    }
    if (**name == 0 || strcmp(*name, ".") == 0 || strcmp(*name, "..") == 0)
        return 0;
    int fd = real_openat(at, parent, O_PATH | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0)
        return 0;
    int is_watched = path_of(fd, real) == 0 && is_below(real) && fstat(fd, &found) == 0;
    real_close(fd);
    if (is_watched)
        *directory = found.st_ino;
    return is_watched;
}

static uint64_t undo_size(void)
{
    struct stat found;
    if (fstat(undo, &found) != 0)
        die("fstat of the undo file");
    return found.st_size;
}

static void note(uint32_t kind, uint64_t inode, uint64_t offset, uint64_t length, uint64_t old_size, const void *first,
                 size_t first_length, const void *second, size_t second_length)
{
    struct record head = {MAGIC, kind, inode, offset, length, old_size, first_length, second_length};
    struct iovec parts[3] = {
        {&head, sizeof head}, {(void *)first, first_length}, {(void *)second, second_length}};
    if (real_writev(undo, parts, 3) != (ssize_t)(sizeof head + first_length + second_length))
        die("writing the undo file");
}

/* Notes what [offset, offset + length) of a file holds and how long the file is. The mutex is held. */
static void note_data(uint32_t kind, int fd, uint64_t inode, uint64_t offset, uint64_t length)
{
    struct stat found;
    if (fstat(fd, &found) != 0)
        die("fstat");
    uint64_t size = found.st_size;
    uint64_t end = offset + length < size ? offset + length : size;
    size_t count = end > offset ? end - offset : 0;
    char *old = NULL;
    if (count > 0) {
        old = malloc(count);
        if (old == NULL)
            die("malloc");
        /* The file may be open for writing only, so it is read through a descriptor of our own. */
        char link[64];
        snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
        int reader = real_open(link, O_RDONLY | O_CLOEXEC);
        if (reader < 0 || pread(reader, old, count, offset) != (ssize_t)count)
            die("reading what stands there");
        real_close(reader);
    }
    note(kind, inode, offset, length, size, old, count, NULL, 0);
    free(old);
}

static struct tracked *tracked(int fd)
{
    if (control == NULL || fd < 0 || fd >= FDS || !table[fd].is_tracked)
        return NULL;
    return &table[fd];
}

static void forget(int fd)
{
    if (fd >= 0 && fd < FDS)
        table[fd].is_tracked = 0;
}

static int opened(int fd)
{
    char path[PATH_MAX];
    struct stat found;
    if (control == NULL || fd < 0)
        return fd;
    int saved = errno;
    forget(fd);
    if (path_of(fd, path) == 0 && is_below(path) && fstat(fd, &found) == 0) {
        if (fd >= FDS)
            die("a descriptor beyond the table");
        table[fd].inode = found.st_ino;
        table[fd].is_directory = S_ISDIR(found.st_mode);
        table[fd].is_tracked = 1;
    }
    errno = saved;
    return fd;
}

static int open_it(int at, const char *path, int flags, mode_t mode)
{
    resolve();
    if (control == NULL || !(flags & (O_CREAT | O_TRUNC)) || (flags & O_TMPFILE) == O_TMPFILE)
        return opened(real_openat(at, path, flags, mode));
    uint64_t directory;
    const char *name;
    struct stat found;
    pthread_mutex_lock(&mutex);
    if (split(at, path, &directory, &name)) {
        if (fstatat(at, path, &found, 0) != 0) {
            if (flags & O_CREAT)
                note(CREATE, directory, 0, 0, 0, name, strlen(name), NULL, 0);
        } else if ((flags & O_TRUNC) && S_ISREG(found.st_mode) && found.st_size > 0) {
            int fd = real_openat(at, path, O_RDONLY | O_CLOEXEC);
            if (fd >= 0) {
                note_data(TRUNCATE, fd, found.st_ino, 0, found.st_size);
                real_close(fd);
            }
        }
    }
    int fd = real_openat(at, path, flags, mode);
    pthread_mutex_unlock(&mutex);
    return opened(fd);
}

#define MODE_ARGUMENT                                                                                                  \
    mode_t mode = 0;                                                                                                   \
    if (flags & (O_CREAT | __O_TMPFILE)) {                                                                             \
        va_list rest;                                                                                                  \
        va_start(rest, flags);                                                                                         \
        mode = va_arg(rest, int);                                                                                      \
        va_end(rest);                                                                                                  \
    }

int open(const char *path, int flags, ...)
{
    MODE_ARGUMENT
    return open_it(AT_FDCWD, path, flags, mode);
}

int open64(const char *path, int flags, ...)
{
    MODE_ARGUMENT
    return open_it(AT_FDCWD, path, flags, mode);
}

int openat(int at, const char *path, int flags, ...)
{
    MODE_ARGUMENT
    return open_it(at, path, flags, mode);
}

int openat64(int at, const char *path, int flags, ...)
{
    MODE_ARGUMENT
    return open_it(at, path, flags, mode);
}

int close(int fd)
{
    resolve();
    forget(fd);
    return real_close(fd);
}

int dup2(int fd, int onto)
{
    resolve();
    forget(onto);
    return real_dup2(fd, onto);
}

int dup3(int fd, int onto, int flags)
{
    resolve();
    forget(onto);
    return real_dup3(fd, onto, flags);
}

/* Space comes back, where there is a limit. The mutex is held. */
static void give_back(uint64_t bytes)
{
    if (__atomic_load_n(&control->is_limited, __ATOMIC_SEQ_CST))
        control->room += bytes;
}

static int refuse(int code)
{
    pthread_mutex_unlock(&mutex);
    errno = code;
    return -1;
}

/* Notes a write that is about to happen and leaves the mutex locked; 0 when it is none of ours, -1 when it fails. */
static int before_write(int fd, size_t length, off_t offset)
{
    struct tracked *file = tracked(fd);
    struct stat found;
    if (file == NULL)
        return 0;
    pthread_mutex_lock(&mutex);
    if (fstat(fd, &found) != 0)
        die("fstat");
    if (offset < 0) /* at the descriptor's own position */
        offset = fcntl(fd, F_GETFL) & O_APPEND ? found.st_size : lseek(fd, 0, SEEK_CUR);
    uint32_t fail = MODE_FAIL_WRITE;
    if (__atomic_compare_exchange_n(&control->mode, &fail, MODE_PASS, 0, __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST)) {
        __atomic_fetch_add(&control->failed_writes, 1, __ATOMIC_SEQ_CST);
        return refuse(EIO);
    }
    uint64_t end = offset + length;
    uint64_t growth = end > (uint64_t)found.st_size ? end - found.st_size : 0;
    if (__atomic_load_n(&control->is_limited, __ATOMIC_SEQ_CST) && growth > 0) {
        if (growth > control->room) {
            __atomic_fetch_add(&control->refused, 1, __ATOMIC_SEQ_CST);
            return refuse(ENOSPC);
        }
        control->room -= growth;
    }
    note_data(WRITE, fd, file->inode, offset, length);
    __atomic_fetch_add(&control->writes, 1, __ATOMIC_SEQ_CST);
    return 1;
}

static size_t total(const struct iovec *parts, int count)
{
    size_t sum = 0;
    for (int i = 0; i < count; i++)
        sum += parts[i].iov_len;
    return sum;
}

#define GUARDED(length, offset, call)                                                                                  \
    resolve();                                                                                                         \
    int is_ours = before_write(fd, length, offset);                                                                    \
    if (is_ours < 0)                                                                                                   \
        return -1;                                                                                                     \
    ssize_t result = call;                                                                                             \
    int saved = errno;                                                                                                 \
    if (is_ours)                                                                                                       \
        pthread_mutex_unlock(&mutex);                                                                                  \
    errno = saved;                                                                                                     \
    return result;

ssize_t write(int fd, const void *data, size_t length)
{
    GUARDED(length, -1, real_write(fd, data, length))
}

ssize_t writev(int fd, const struct iovec *parts, int count)
{
    GUARDED(total(parts, count), -1, real_writev(fd, parts, count))
}

ssize_t pwrite(int fd, const void *data, size_t length, off_t offset)
{
    GUARDED(length, offset, real_pwrite(fd, data, length, offset))
}

ssize_t pwrite64(int fd, const void *data, size_t length, off64_t offset)
{
    GUARDED(length, offset, real_pwrite(fd, data, length, offset))
}

ssize_t pwritev(int fd, const struct iovec *parts, int count, off_t offset)
{
    GUARDED(total(parts, count), offset, real_pwritev(fd, parts, count, offset))
}

ssize_t pwritev64(int fd, const struct iovec *parts, int count, off64_t offset)
{
    GUARDED(total(parts, count), offset, real_pwritev(fd, parts, count, offset))
}

ssize_t pwritev2(int fd, const struct iovec *parts, int count, off_t offset, int flags)
{
    GUARDED(total(parts, count), offset, real_pwritev2(fd, parts, count, offset, flags))
}

ssize_t pwritev64v2(int fd, const struct iovec *parts, int count, off64_t offset, int flags)
{
    GUARDED(total(parts, count), offset, real_pwritev2(fd, parts, count, offset, flags))
}

int ftruncate(int fd, off_t size)
{
    resolve();
    struct tracked *file = tracked(fd);
    struct stat found;
    if (file == NULL)
        return real_ftruncate(fd, size);
    pthread_mutex_lock(&mutex);
    if (fstat(fd, &found) != 0)
        die("fstat");
    note_data(TRUNCATE, fd, file->inode, size, found.st_size > size ? found.st_size - size : 0);
    int result = real_ftruncate(fd, size);
    if (result == 0 && found.st_size > size)
        give_back(found.st_size - size);
    pthread_mutex_unlock(&mutex);
    return result;
}

int ftruncate64(int fd, off64_t size)
{
    return ftruncate(fd, size);
}

static void pause_ms(long ms)
{
    struct timespec span = {ms / 1000, (ms % 1000) * 1000000};
    while (nanosleep(&span, &span) != 0 && errno == EINTR)
        ;
}

static int sync_it(int fd, int (*real)(int))
{
    struct tracked *file = tracked(fd);
    if (file == NULL)
        return real(fd);
    uint64_t inode = file->inode;
    pthread_mutex_lock(&mutex);
    uint64_t covered = undo_size();
    pthread_mutex_unlock(&mutex);
    __atomic_fetch_add(&control->begun, 1, __ATOMIC_SEQ_CST);
    if (__atomic_load_n(&control->mode, __ATOMIC_SEQ_CST) == MODE_HANG) {
        __atomic_fetch_add(&control->hanging, 1, __ATOMIC_SEQ_CST);
        while (__atomic_load_n(&control->mode, __ATOMIC_SEQ_CST) == MODE_HANG)
            pause_ms(2);
        __atomic_fetch_sub(&control->hanging, 1, __ATOMIC_SEQ_CST);
    }
    uint32_t fail = MODE_FAIL_ONCE;
    if (__atomic_compare_exchange_n(&control->mode, &fail, MODE_PASS, 0, __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST)) {
        pthread_mutex_lock(&mutex);
        note(FAILED, inode, undo_size(), 0, 0, NULL, 0, NULL, 0);
        pthread_mutex_unlock(&mutex);
        __atomic_fetch_add(&control->failed, 1, __ATOMIC_SEQ_CST);
        errno = EIO;
        return -1;
    }
    if (__atomic_load_n(&control->mode, __ATOMIC_SEQ_CST) == MODE_DELAY)
        pause_ms(__atomic_load_n(&control->delay_ms, __ATOMIC_SEQ_CST));
    int result = real(fd);
    int saved = errno;
    if (result == 0) {
        pthread_mutex_lock(&mutex);
        note(SYNC, inode, covered, 0, 0, NULL, 0, NULL, 0);
        pthread_mutex_unlock(&mutex);
    }
    __atomic_fetch_add(&control->done, 1, __ATOMIC_SEQ_CST);
    errno = saved;
    return result;
}

int fsync(int fd)
{
    resolve();
    return sync_it(fd, real_fsync);
}

int fdatasync(int fd)
{
    resolve();
    return sync_it(fd, real_fdatasync);
}

/* A second name for a file that is about to lose its own; returns its number. */
static uint64_t keep(int at, const char *path)
{
    char name[32];
    uint64_t number = ++kept_count;
    snprintf(name, sizeof name, "%llu", (unsigned long long)number);
    if (linkat(at, path, kept, name, 0) != 0)
        die("keeping a removed file");
    return number;
}

static int rename_it(int at, const char *old, int onto, const char *new)
{
    resolve();
    uint64_t from, to;
    const char *old_name, *new_name;
    struct stat found;
    if (control == NULL)
        return real_renameat(at, old, onto, new);
    pthread_mutex_lock(&mutex);
    int is_from = split(at, old, &from, &old_name);
    int is_to = split(onto, new, &to, &new_name);
    if (is_from != is_to || (is_from && from != to)) {
        errno = EXDEV;
        die("a rename from one directory to another is not modelled");
    }
    if (is_from && fstatat(at, old, &found, AT_SYMLINK_NOFOLLOW) == 0) {
        uint64_t replaced = 0;
        if (fstatat(onto, new, &found, AT_SYMLINK_NOFOLLOW) == 0) {
            replaced = keep(onto, new);
            give_back(found.st_size);
        }
        note(RENAME, from, 0, 0, replaced, old_name, strlen(old_name), new_name, strlen(new_name));
    }
    int result = real_renameat(at, old, onto, new);
    pthread_mutex_unlock(&mutex);
    return result;
}

int rename(const char *old, const char *new)
{
    return rename_it(AT_FDCWD, old, AT_FDCWD, new);
}

int renameat(int at, const char *old, int onto, const char *new)
{
    return rename_it(at, old, onto, new);
}

static int unlink_it(int at, const char *path, int flags)
{
    resolve();
    uint64_t directory;
    const char *name;
    struct stat found;
    if (control == NULL || (flags & AT_REMOVEDIR))
        return real_unlinkat(at, path, flags);
    pthread_mutex_lock(&mutex);
    if (split(at, path, &directory, &name) && fstatat(at, path, &found, AT_SYMLINK_NOFOLLOW) == 0 &&
        S_ISREG(found.st_mode)) {
        note(UNLINK, directory, 0, 0, keep(at, path), name, strlen(name), NULL, 0);
        give_back(found.st_size);
    }
    int result = real_unlinkat(at, path, flags);
    pthread_mutex_unlock(&mutex);
    return result;
}

int unlink(const char *path)
{
    return unlink_it(AT_FDCWD, path, 0);
}

int unlinkat(int at, const char *path, int flags)
{
    return unlink_it(at, path, flags);
}

/* The wall clock. Clocks that only go forward are left alone: timers must not notice (rule-R15, rule-R22). */
static int64_t shift_of(const struct timespec *now)
{
    if (control == NULL)
        return 0;
    int64_t offset = __atomic_load_n(&control->clock_offset_ns, __ATOMIC_SEQ_CST);
    int64_t rate = __atomic_load_n(&control->clock_rate_ppm, __ATOMIC_SEQ_CST);
    if (offset == 0 && rate == 0)
        return 0;
    int64_t since = (int64_t)now->tv_sec * 1000000000 + now->tv_nsec - control->clock_anchor_ns;
    int64_t shift = offset + (rate == 0 ? 0 : since / 1000000 * rate);
    __atomic_fetch_add(&control->clock_reads, 1, __ATOMIC_SEQ_CST);
    __atomic_store_n(&control->clock_difference_ns, shift, __ATOMIC_SEQ_CST);
    return shift;
}

int clock_gettime(clockid_t clock, struct timespec *now)
{
    if (real_clock_gettime == NULL)
        real_clock_gettime = symbol("clock_gettime");
    int result = real_clock_gettime(clock, now);
    if (result == 0 && clock == CLOCK_REALTIME) {
        int64_t total_ns = (int64_t)now->tv_sec * 1000000000 + now->tv_nsec + shift_of(now);
        now->tv_sec = total_ns / 1000000000;
        now->tv_nsec = total_ns % 1000000000;
    }
    return result;
}

int gettimeofday(struct timeval *restrict now, void *restrict zone)
{
    struct timespec precise;
    (void)zone; /* obsolete, and always null */
    int result = clock_gettime(CLOCK_REALTIME, &precise);
    now->tv_sec = precise.tv_sec;
    now->tv_usec = precise.tv_nsec / 1000;
    return result;
}

time_t time(time_t *into)
{
    struct timespec precise;
    clock_gettime(CLOCK_REALTIME, &precise);
    if (into != NULL)
        *into = precise.tv_sec;
    return precise.tv_sec;
}
