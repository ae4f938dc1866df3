/* The saves that durably is measured against, as bare system calls.
 *
 * One request a line on standard input:   WHAT LEVEL DIRECTORY COUNT
 * One answer a line on standard output:   the nanoseconds that COUNT saves took.
 *
 * WHAT is "bare" (open the directory, openat, write, renameat, close both) or "same" (every call
 * that durably.write_bytes makes). LEVEL is "none" or "durable". Each save replaces DIRECTORY/target
 * with 4 KiB. LEVEL "none" never flushes; "durable" flushes the file and the directory.
 * A COUNT of 0 makes one save between two calls of access(MARK), for strace.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/xattr.h>
#include <time.h>
#include <unistd.h>

#define SIZE 4096
#define TARGET "target"
#define MARK "/durably-benchmark-mark"
#define XATTR_ROOM 256 /* what CPython offers at first */

static char content[SIZE];
static unsigned long serial;
static int process;

static int check(long result, const char *call) {
    if (result < 0) {
        fprintf(stderr, "calls: %s: %s\n", call, strerror(errno));
        exit(1);
    }
    return (int)result;
}

#define DO(call) check((call), #call)

static int open_directory(const char *directory) {
    return DO(open(directory, O_RDONLY | O_DIRECTORY | O_CLOEXEC));
}

static int create(int directory, char *name, size_t room, int mode) {
    snprintf(name, room, ".durably-f-00000000-f0000000-%08x-%08x-%016lx.tmp", process, 1, ++serial);
    return DO(openat(directory, name, O_RDWR | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, mode));
}

static void save_bare(const char *path, int durable) {
    char name[128];
    int directory = open_directory(path);
    int file = create(directory, name, sizeof name, 0666);
    DO(write(file, content, SIZE));
    if (durable)
        DO(fsync(file));
    DO(renameat(directory, name, directory, TARGET));
    if (durable)
        DO(fsync(directory));
    DO(close(file));
    DO(close(directory));
}

static void save_same(const char *path, int durable) {
    char name[128], names[XATTR_ROOM];
    struct stat old, new;
    int directory = open_directory(path);
    int found = DO(openat(directory, TARGET,
                          O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY | O_CLOEXEC));
    DO(fstat(found, &old));
    DO(flistxattr(found, names, sizeof names));
    DO(close(found));
    int file = create(directory, name, sizeof name, old.st_mode & 0777);
    DO(fstat(file, &new));
    DO(flistxattr(file, names, sizeof names));
    DO(write(file, content, SIZE));
    if (durable)
        DO(fsync(file));
    DO(close(file));
    DO(renameat(directory, name, directory, TARGET));
    if (durable) {
        struct statx mount;
        DO(fsync(directory));
        DO(statx(directory, "", AT_EMPTY_PATH, STATX_MNT_ID, &mount));
    }
    DO(close(directory));
}

static long long now(void) {
    struct timespec time;
    DO(clock_gettime(CLOCK_MONOTONIC, &time));
    return time.tv_sec * 1000000000LL + time.tv_nsec;
}

int main(void) {
    char what[16], level[16], directory[2048];
    long count;
    process = getpid();
    memset(content, 'x', SIZE);
    setvbuf(stdout, NULL, _IOLBF, 0);
    while (scanf("%15s %15s %2047s %ld", what, level, directory, &count) == 4) {
        void (*save)(const char *, int) = strcmp(what, "bare") == 0 ? save_bare : save_same;
        int durable = strcmp(level, "durable") == 0;
        if (count == 0) {
            (void)access(MARK, F_OK);
            save(directory, durable);
            (void)access(MARK, F_OK);
        }
        long long start = now();
        for (long done = 0; done < count; done++)
            save(directory, durable);
        printf("%lld\n", now() - start);
    }
    return 0;
}
