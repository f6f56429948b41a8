/* What the tests do in a container: tool COMMAND ARGUMENTS. Exits 0 when what it tried
 * worked, with the errno when it did not. */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/stat.h>
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
    return 93;
}
