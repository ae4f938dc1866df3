/* Many files saved together, as bare system calls: what durably.Batch is measured against.
 *
 * One request a line on standard input:   DIRECTORY COUNT
 * One answer a line on standard output:   the nanoseconds that it took.
 *
 * Writes the files DIRECTORY/0 to COUNT-1, 4 KiB each, with every call that Batch makes for each file
 * and nothing decided between them: look at the target, make and dress the temporary, write, close;
 * then one syncfs, a rename for each, one fsync of the directory.
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
#define XATTR_ROOM 256 /* what CPython offers at first */

static char content[SIZE];
static int process;

static int check(long result, const char *call) {
    if (result < 0) {
        fprintf(stderr, "batch: %s: %s\n", call, strerror(errno));
        exit(1);
    }
    return (int)result;
}

#define DO(call) check((call), #call)

static void temporary(char *name, size_t room, long number) {
    snprintf(name, room, ".durably-b-00000000-f0000000-%08x-%08x-%016lx.tmp", process, 1, number);
}

static int look(int directory, const char *name, struct stat *old) {
    char names[XATTR_ROOM];
    int found = openat(directory, name, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY | O_CLOEXEC);
    if (found < 0)
        return 0;
    DO(fstat(found, old));
    DO(flistxattr(found, names, sizeof names));
    DO(close(found));
    return 1;
}

static void stage(const char *path, int directory, long number) {
    char name[32], hidden[128], names[XATTR_ROOM];
    struct stat status, old;
    snprintf(name, sizeof name, "%ld", number);
    temporary(hidden, sizeof hidden, number);
    DO(stat(path, &status)); /* does it still lead to that directory? */
    int replaces = look(directory, name, &old);
    int file = DO(openat(directory, hidden, O_RDWR | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC,
                         replaces ? 0600 : 0666));
    if (replaces) {
        DO(fstat(file, &status));
        DO(flistxattr(file, names, sizeof names));
        DO(fchmod(file, old.st_mode & 0777));
    }
    DO(write(file, content, SIZE));
    if (!replaces)
        DO(fstat(file, &status));
    DO(close(file));
}

static void save(const char *path, long count) {
    char name[32], hidden[128];
    int directory = DO(open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC));
    for (long number = 0; number < count; number++)
        stage(path, directory, number);
    DO(syncfs(directory));
    for (long number = 0; number < count; number++) {
        snprintf(name, sizeof name, "%ld", number);
        temporary(hidden, sizeof hidden, number);
        DO(renameat(directory, hidden, directory, name));
    }
    DO(fsync(directory));
    DO(close(directory));
}

static long long now(void) {
    struct timespec time;
    DO(clock_gettime(CLOCK_MONOTONIC, &time));
    return time.tv_sec * 1000000000LL + time.tv_nsec;
}

int main(void) {
    char directory[2048];
    long count;
    process = getpid();
    memset(content, 'x', SIZE);
    setvbuf(stdout, NULL, _IOLBF, 0);
    while (scanf("%2047s %ld", directory, &count) == 2) {
        long long start = now();
        save(directory, count);
        printf("%lld\n", now() - start);
    }
    return 0;
}
