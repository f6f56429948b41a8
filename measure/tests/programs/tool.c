/* What the tests do in a container: tool COMMAND ARGUMENTS. Exits 0 when what it tried
 * worked, with the errno when it did not. */
#define _GNU_SOURCE
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/io_uring.h>
#include <linux/openat2.h>
#include <pthread.h>
#include <sched.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

extern char **environ;

static int try(int ok) { return ok ? 0 : errno; }

/* The status of a child that executes path: its own, or the errno of execve. */
static int run(const char *path) {
    int pipes[2], error = 0, status;
    if (pipe2(pipes, O_CLOEXEC)) return errno;
    pid_t pid = vfork();
    if (pid == 0) {
        execl(path, path, (char *)0);
        error = errno;
        if (write(pipes[1], &error, sizeof error) < 0) _exit(99);
        _exit(98);
    }
    close(pipes[1]);
    if (read(pipes[0], &error, sizeof error) <= 0) error = 0;
    close(pipes[0]);
    waitpid(pid, &status, 0);
    return error ? error : WEXITSTATUS(status);
}

static int copy(int to, const char *path) {
    char buffer[65536];
    ssize_t n;
    int from = open(path, O_RDONLY);
    if (from < 0) return -1;
    while ((n = read(from, buffer, sizeof buffer)) > 0)
        if (write(to, buffer, n) != n) return -1;
    close(from);
    return n < 0 ? -1 : 0;
}

static int by_fd(int fd) {
    int status;
    pid_t pid = fork();
    if (pid == 0) {
        fexecve(fd, (char *[]){"x", 0}, environ);
        _exit(errno);
    }
    waitpid(pid, &status, 0);
    return WEXITSTATUS(status);
}

static double now(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec * 1e6 + t.tv_nsec / 1e3;
}

/* A ring without liburing: its entries are handed in one after the other. */
static struct ring {
    int fd;
    struct io_uring_params params;
    char *queue, *done;
    struct io_uring_sqe *entries;
} ring;

#define IN(at, field) ((unsigned *)((at) + ring.params.field))

static int ring_make(void) {
    ring.fd = syscall(SYS_io_uring_setup, 8, &ring.params);
    if (ring.fd < 0) return -1;
    int how = PROT_READ | PROT_WRITE;
    ring.queue = mmap(0, 4096, how, MAP_SHARED | MAP_POPULATE, ring.fd, IORING_OFF_SQ_RING);
    ring.done = mmap(0, 4096, how, MAP_SHARED | MAP_POPULATE, ring.fd, IORING_OFF_CQ_RING);
    ring.entries = mmap(0, 4096, how, MAP_SHARED | MAP_POPULATE, ring.fd, IORING_OFF_SQES);
    return 0;
}

static struct io_uring_sqe *ring_next(void) {
    unsigned tail = *IN(ring.queue, sq_off.tail), at = tail & *IN(ring.queue, sq_off.ring_mask);
    struct io_uring_sqe *entry = &ring.entries[at];
    memset(entry, 0, sizeof *entry);
    IN(ring.queue, sq_off.array)[at] = at;
    __atomic_store_n(IN(ring.queue, sq_off.tail), tail + 1, __ATOMIC_RELEASE);
    return entry;
}

static void ring_open(const char *path, int flags) {
    struct io_uring_sqe *entry = ring_next();
    entry->opcode = IORING_OP_OPENAT;
    entry->fd = AT_FDCWD;
    entry->addr = (uintptr_t)path;
    entry->open_flags = flags;
    entry->len = 0755;
    entry->user_data = 7;
}

/* The result of the next that is done, if it is the open's; -EAGAIN while none is. */
static int ring_result(void) {
    unsigned head = *IN(ring.done, cq_off.head);
    if (head == __atomic_load_n(IN(ring.done, cq_off.tail), __ATOMIC_ACQUIRE)) return -EAGAIN;
    struct io_uring_cqe *found = (struct io_uring_cqe *)(ring.done + ring.params.cq_off.cqes);
    found += head & *IN(ring.done, cq_off.ring_mask);
    int is_open = found->user_data == 7, result = found->res;
    __atomic_store_n(IN(ring.done, cq_off.head), head + 1, __ATOMIC_RELEASE);
    return is_open ? result : -EAGAIN;
}

static const char *opened_path;
static int opened_flags, opened_fd;

static void *open_there(void *unused) {
    opened_fd = open(opened_path, opened_flags, 0755);
    if (opened_fd < 0) opened_fd = -errno;
    return unused;
}

/* Opens by that system call, or sets errno. */
static int open_by(const char *how, const char *path, int flags) {
    if (!strcmp(how, "open")) return syscall(SYS_open, path, flags, 0755);
    if (!strcmp(how, "openat")) return open(path, flags, 0755);
    if (!strcmp(how, "creat")) return creat(path, 0755);
    if (!strcmp(how, "thread")) {
        pthread_t thread;
        opened_path = path;
        opened_flags = flags;
        pthread_create(&thread, 0, open_there, 0);
        pthread_join(thread, 0);
        errno = -opened_fd;
        return opened_fd;
    }
    if (!strcmp(how, "handle")) {
        struct { struct file_handle head; char bytes[128]; } handle = {{128, 0}};
        int mount, at = open("/dev/shm", O_RDONLY | O_DIRECTORY);
        if (name_to_handle_at(AT_FDCWD, path, &handle.head, &mount, 0)) return -1;
        return open_by_handle_at(at, &handle.head, flags);
    }
    if (!strcmp(how, "openat2")) {
        struct open_how wanted = {.flags = flags, .mode = flags & O_CREAT ? 0755 : 0};
        return syscall(SYS_openat2, AT_FDCWD, path, &wanted, sizeof wanted);
    }
    if (!strcmp(how, "ring") || !strcmp(how, "ring-thread")) {
        if (ring_make()) return -1;
        ring_open(path, flags);
        /* Whoever waits at a thread's is the ring's own. */
        if (how[4]) ring.entries[0].flags = IOSQE_ASYNC;
        syscall(SYS_io_uring_enter, ring.fd, 1, 1, IORING_ENTER_GETEVENTS, 0, 0);
        int result = ring_result();
        errno = result < 0 ? -result : 0;
        return result;
    }
    errno = ENOSYS;
    return -1;
}

static int event;

static void *wake(void *unused) {
    uint64_t one = 1;
    usleep(500);
    if (write(event, &one, sizeof one) < 0) return 0;
    return unused;
}

/* One try to open PATH for reading by a ring, on the way out of an open of OTHER that writes;
 * 0 when it was opened. */
static int open_behind(const char *path, const char *other) {
    static uint64_t got;
    pthread_t thread;
    event = eventfd(0, 0);
    struct io_uring_sqe *entry = ring_next();
    entry->opcode = IORING_OP_READ;
    entry->fd = event;
    entry->addr = (uintptr_t)&got;
    entry->len = sizeof got;
    entry->flags = IOSQE_IO_LINK;
    ring_open(path, O_RDONLY);
    if (syscall(SYS_io_uring_enter, ring.fd, 2, 0, 0, 0, 0) != 2) return 97;
    pthread_create(&thread, 0, wake, 0);
    int result = -EAGAIN;
    double until = now() + 1e7;
    while (result == -EAGAIN && now() < until) {
        int fd = open(other, O_WRONLY);
        if (fd >= 0) close(fd);
        result = ring_result();
    }
    pthread_join(thread, 0);
    close(event);
    if (result >= 0) close(result);
    return result < 0 ? -result : 0;
}

int main(int argc, char **argv) {
    const char *what = argc > 1 ? argv[1] : "";
    const char *path = argc > 2 ? argv[2] : "";
    if (!strcmp(what, "run")) return run(path);
    if (!strcmp(what, "copy")) {
        int to = open(argv[3], O_WRONLY | O_CREAT | O_TRUNC, 0755);
        return try(to >= 0 && copy(to, path) == 0);
    }
    if (!strcmp(what, "write")) {
        int to = open(path, O_WRONLY | O_CREAT | O_TRUNC, 0755);
        ssize_t n = strlen(argv[3]);
        return try(to >= 0 && write(to, argv[3], n) == n);
    }
    /* tool by HOW FLAGS PATH TEXT: opens it so, and writes the text if there is one. */
    if (!strcmp(what, "by")) {
        int flags = strtol(argv[3], 0, 8), fd = open_by(path, argv[4], flags);
        if (fd < 0) return errno;
        return argc > 5 ? try(write(fd, argv[5], strlen(argv[5])) > 0) : 0;
    }
    /* tool again PATH TEXT: writes it, and opens it for reading by its descriptor; 95 when what
     * was opened to write can be read or mapped. */
    if (!strcmp(what, "again")) {
        char link[64], byte;
        int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC, 0755);
        if (fd < 0) return errno;
        if (write(fd, argv[3], strlen(argv[3])) < 0) return 97;
        if (pread(fd, &byte, 1, 0) >= 0) return 95;
        for (int how = 0; how < 8; how++)
            if (how & (PROT_READ | PROT_EXEC) &&
                mmap(0, 4096, how, MAP_PRIVATE, fd, 0) != MAP_FAILED)
                return 95;
        sprintf(link, "/proc/self/fd/%d", fd);
        return try(open(link, O_RDONLY) >= 0);
    }
    /* tool behind PATH OTHER N: 0 when one try of N opened it. */
    if (!strcmp(what, "behind")) {
        if (ring_make()) return 96;
        int result = 94;
        for (int i = 0; i < atoi(argv[4]) && result; i++) result = open_behind(path, argv[3]);
        return result;
    }
    if (!strcmp(what, "read")) {
        char byte;
        int from = open(path, O_RDONLY);
        return try(from >= 0 && read(from, &byte, 1) >= 0);
    }
    /* As useradd(8) and others open what they are about to change. */
    if (!strcmp(what, "nonblock")) {
        const char *how = argv[3];
        int flags = O_NONBLOCK | O_NOFOLLOW;
        if (!strcmp(how, "truncate-by-name")) return try(truncate(path, 1) == 0);
        if (!strcmp(how, "append")) flags |= O_WRONLY | O_APPEND;
        if (!strcmp(how, "truncate")) flags |= O_WRONLY | O_TRUNC;
        if (!strcmp(how, "rdwr")) flags |= O_RDWR;
        if (!strcmp(how, "path")) flags |= O_PATH;
        int fd = open(path, flags);
        if (fd < 0) return errno;
        if (!(flags & O_PATH) && write(fd, "x", 1) != 1) return errno;
        return 0;
    }
    if (!strcmp(what, "sparse")) {
        int to = open(path, O_WRONLY | O_CREAT, 0755);
        return try(to >= 0 && write(to, "\177ELF", 4) == 4 && ftruncate(to, atoll(argv[3])) == 0);
    }
    /* Open for writing, map shared, close, and only then store. */
    if (!strcmp(what, "store")) {
        int fd = open(path, O_RDWR);
        if (fd < 0) return errno;
        char *map = mmap(0, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
        close(fd);
        if (map == MAP_FAILED) return errno;
        if (argc > 3) { /* a first run, with the mapping there and nothing stored */
            int first = run(path);
            if (first) return first;
        }
        map[4000] ^= 1;
        return run(path);
    }
    /* A mapping that stays, for as long as standard input is open. */
    if (!strcmp(what, "hold")) {
        int fd = open(path, O_RDWR);
        char *map = mmap(0, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
        close(fd);
        if (map == MAP_FAILED) return errno;
        char byte;
        puts("held");
        fflush(stdout);
        while (read(0, &byte, 1) > 0) map[4000] ^= 1;
        return 0;
    }
    if (!strcmp(what, "deleted")) {
        int fd = open(path, O_RDONLY);
        unlink(path);
        return fd < 0 ? errno : by_fd(fd);
    }
    if (!strcmp(what, "tmpfile")) {
        char link[64];
        int to = open(argv[3], O_TMPFILE | O_RDWR, 0755);
        if (to < 0 || copy(to, path)) return 97;
        sprintf(link, "/proc/self/fd/%d", to);
        int fd = open(link, O_RDONLY | O_CLOEXEC);
        close(to);
        return fd < 0 ? 96 : by_fd(fd);
    }
    /* A tmpfs in a mount namespace of its own. */
    if (!strcmp(what, "nested")) {
        if (unshare(CLONE_NEWNS) || mount("tmpfs", argv[3], "tmpfs", 0, 0)) return 97;
        char to[256];
        snprintf(to, sizeof to, "%s/x", argv[3]);
        int fd = open(to, O_WRONLY | O_CREAT, 0755);
        if (fd < 0 || copy(fd, path)) return 96;
        close(fd);
        return run(to);
    }
    if (!strcmp(what, "unshared")) return unshare(CLONE_NEWNS) ? 97 : run(path);
    /* tool retry PATH N: N children at once; exits 0 when each was denied. */
    if (!strcmp(what, "retry")) {
        int n = atoi(argv[3]), denied = 0, status;
        for (int i = 0; i < n; i++)
            if (fork() == 0) {
                execl(path, path, (char *)0);
                _exit(errno);
            }
        while (wait(&status) > 0) denied += WEXITSTATUS(status) == EPERM;
        return denied == n ? 0 : 95;
    }
    /* Below a path that is longer than PATH_MAX. */
    if (!strcmp(what, "deep")) {
        char name[201];
        memset(name, 'd', 200);
        name[200] = 0;
        for (int i = 0; i < 25; i++)
            if ((mkdir(name, 0755) && errno != EEXIST) || chdir(name)) return 97;
        int to = open("x", O_WRONLY | O_CREAT, 0755);
        if (to < 0 || copy(to, path)) return 96;
        close(to);
        return run("x");
    }
    /* tool bench-run PATH N, bench-open PATH N: nanoseconds of each, on one line. */
    if (!strcmp(what, "move")) {
        /* Moves ONE to OTHER and back by some way until its input ends. */
        const char *one = argv[3], *other = argv[4];
        fcntl(0, F_SETFL, O_NONBLOCK);
        puts("moves");
        fflush(stdout);
        for (char byte; read(0, &byte, 1) != 0;) {
            if (!strcmp(argv[2], "rename")) {
                rename(one, other);
                rename(other, one);
            } else if (!strcmp(argv[2], "exchange")) {
                syscall(SYS_renameat2, AT_FDCWD, one, AT_FDCWD, other, 2 /* RENAME_EXCHANGE */);
            } else if (!strcmp(argv[2], "link")) {
                link(one, other);
                unlink(one);
                link(other, one);
                unlink(other);
            } else if (!strcmp(argv[2], "symlink")) {
                /* A link that leads there stands in its place meanwhile. */
                rename(one, other);
                if (symlink(other, one)) continue;
                rename(other, one);
            }
        }
        return 0;
    }
    if (!strcmp(what, "bench-run") || !strcmp(what, "bench-open")) {
        int n = atoi(argv[3]);
        double *took = calloc(n, sizeof *took);
        for (int i = 0; i < n; i++) {
            double from = now();
            if (what[6] == 'r') {
                if (run(path)) return 94;
            } else {
                int fd = open(path, O_RDONLY);
                if (fd < 0) return errno;
                close(fd);
            }
            took[i] = now() - from;
        }
        for (int i = 0; i < n; i++) printf("%.2f ", took[i]);
        return 0;
    }
    /* tool bench-each DIR PASSES: opens each file of a directory, in its own order; the
     * nanoseconds of each pass, on one line. */
    if (!strcmp(what, "bench-each")) {
        static char names[1 << 16][16];
        int passes = atoi(argv[3]), files = 0;
        struct stat known;
        DIR *dir = opendir(path);
        if (!dir || chdir(path)) return errno;
        for (struct dirent *at; files < 1 << 16 && (at = readdir(dir));)
            if (at->d_type == DT_REG && !stat(at->d_name, &known))
                snprintf(names[files++], sizeof names[0], "%s", at->d_name);
        for (int pass = 0; pass < passes; pass++) {
            double from = now();
            for (int file = 0; file < files; file++) {
                int fd = open(names[file], O_RDONLY | O_CLOEXEC);
                if (fd < 0) return errno;
                close(fd);
            }
            printf("%.2f ", now() - from);
        }
        return 0;
    }
    return 93;
}
