/* The first process of a measured container: connects to the socket at argv[1], then does
 * what each line asks for and answers with one line, "ok" and numbers, or "error" and why.
 *
 *   pin CPU                 keeps this process and its children on one CPU; -1: on all
 *   exec CHUNKS COUNT PATH  starts PATH and waits for it, COUNT times a chunk: ns each time
 *   make FILES DIR          writes files DIR/0, DIR/1...
 *   open PASSES FILES DIR   opens and closes each: ns each time, by pass
 *   read PASSES ALL DIR     opens and closes each file below DIR, with ALL = 1 after reading it
 *                           to its end: ns in all, and ns of processor time
 *   copy FROM TO            copies the files below FROM
 *   serve REQUESTS          a server and a client on the loopback: ns in all
 *   run PATH ARG            ns until it has exited with 0
 *   drop MARK PATH TO       copies PATH to TO and adds MARK, so that the content is new
 *   spawn PATH              starts PATH and waits for it: 0, or the errno of the start
 *   exit
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <sched.h>
#include <signal.h>
#include <spawn.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/sendfile.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

extern char **environ;

static FILE *answers;

static uint64_t clock_ns(clockid_t clock) {
    struct timespec time;
    clock_gettime(clock, &time);
    return time.tv_sec * UINT64_C(1000000000) + time.tv_nsec;
}

static uint64_t now(void) { return clock_ns(CLOCK_MONOTONIC); }

/* Starts a program and waits for it: its status, or -1 with errno. */
static int start(char *path, char *argument) {
    char *arguments[] = {path, argument, NULL};
    pid_t child;
    int status;
    int failed = posix_spawn(&child, path, NULL, NULL, arguments, environ);
    if (failed) {
        errno = failed;
        return -1;
    }
    if (waitpid(child, &status, 0) != child) return -1;
    return status;
}

static int pin(int cpu) {
    cpu_set_t set;
    CPU_ZERO(&set);
    for (int each = 0; each < CPU_SETSIZE; each++)
        if (cpu < 0 || each == cpu) CPU_SET(each, &set);
    if (sched_setaffinity(0, sizeof set, &set)) return -1;
    fprintf(answers, "ok\n");
    return 0;
}

static int exec(int chunks, int count, char *path) {
    double each[64];
    if (chunks > 64) chunks = 64;
    for (int chunk = 0; chunk < chunks; chunk++) {
        uint64_t from = now();
        for (int done = 0; done < count; done++) {
            int status = start(path, NULL);
            if (status) {
                if (status > 0) errno = EIO;
                return -1;
            }
        }
        each[chunk] = (double)(now() - from) / count;
    }
    fprintf(answers, "ok");
    for (int chunk = 0; chunk < chunks; chunk++) fprintf(answers, " %.1f", each[chunk]);
    fprintf(answers, "\n");
    return 0;
}

static int make(int files, char *dir) {
    char path[256], text[4096];
    memset(text, 'x', sizeof text);
    if (mkdir(dir, 0755) && errno != EEXIST) return -1;
    for (int file = 0; file < files; file++) {
        snprintf(path, sizeof path, "%s/%d", dir, file);
        int made = open(path, O_CREAT | O_WRONLY | O_TRUNC | O_CLOEXEC, 0644);
        if (made < 0 || write(made, text, sizeof text) < 0 || close(made)) return -1;
    }
    fprintf(answers, "ok\n");
    return 0;
}

static int opens(int passes, int files, char *dir) {
    char path[256];
    double each[64];
    if (passes > 64) passes = 64;
    if (chdir(dir)) return -1;
    for (int pass = 0; pass < passes; pass++) {
        uint64_t from = now();
        for (int file = 0; file < files; file++) {
            snprintf(path, sizeof path, "%d", file);
            int opened = open(path, O_RDONLY | O_CLOEXEC);
            if (opened < 0) return -1;
            close(opened);
        }
        each[pass] = (double)(now() - from) / files;
    }
    if (chdir("/")) return -1;
    fprintf(answers, "ok");
    for (int pass = 0; pass < passes; pass++) fprintf(answers, " %.1f", each[pass]);
    fprintf(answers, "\n");
    return 0;
}

static char **found;
static int many;

static int find(const char *path, const struct stat *stat, int kind, struct FTW *at) {
    (void)stat, (void)at;
    if (kind != FTW_F) return 0;
    if (many % 4096 == 0) {
        char **more = realloc(found, (many + 4096) * sizeof *found);
        if (!more) return -1;
        found = more;
    }
    found[many] = strdup(path);
    return found[many++] ? 0 : -1;
}

static int find_below(const char *dir) {
    while (many > 0) free(found[--many]);
    return nftw(dir, find, 16, FTW_PHYS);
}

static int reads(int passes, int all, char *dir) {
    static char text[65536];
    if (find_below(dir)) return -1;
    uint64_t from = now(), used = clock_ns(CLOCK_PROCESS_CPUTIME_ID);
    for (int pass = 0; pass < passes; pass++) {
        for (int file = 0; file < many; file++) {
            int opened = open(found[file], O_RDONLY | O_CLOEXEC);
            if (opened < 0) return -1;
            while (all && read(opened, text, sizeof text) > 0) {}
            close(opened);
        }
    }
    used = clock_ns(CLOCK_PROCESS_CPUTIME_ID) - used;
    fprintf(answers, "ok %llu %llu\n", (unsigned long long)(now() - from),
            (unsigned long long)used);
    return 0;
}

static int copy_all(char *from, char *to) {
    static char text[65536];
    char path[512];
    if (find_below(from)) return -1;
    for (int file = 0; file < many; file++) {
        ssize_t got;
        snprintf(path, sizeof path, "%s%s", to, found[file] + strlen(from));
        for (char *at = strchr(path + 1, '/'); at; at = strchr(at + 1, '/')) {
            *at = 0;
            if (mkdir(path, 0755) && errno != EEXIST) return -1;
            *at = '/';
        }
        int source = open(found[file], O_RDONLY | O_CLOEXEC);
        int made = open(path, O_CREAT | O_WRONLY | O_TRUNC | O_CLOEXEC, 0644);
        if (source < 0 || made < 0) return -1;
        while ((got = read(source, text, sizeof text)) > 0)
            if (write(made, text, got) != got) return -1;
        if (got < 0 || close(made) || close(source)) return -1;
    }
    fprintf(answers, "ok\n");
    return 0;
}

static void serve_on(int listening) {
    char request[64];
    for (;;) {
        int client = accept4(listening, NULL, NULL, SOCK_CLOEXEC);
        if (client < 0) _exit(1);
        ssize_t got = read(client, request, sizeof request - 1);
        if (got > 0) {
            struct stat stat;
            request[got] = 0;
            int file = open(request, O_RDONLY | O_CLOEXEC);
            if (file < 0 || fstat(file, &stat)) _exit(1);
            if (sendfile(client, file, NULL, stat.st_size) < 0) _exit(1);
            close(file);
        }
        close(client);
    }
}

static int request(struct sockaddr_in *server, int number) {
    char path[64], text[8192];
    int length = snprintf(path, sizeof path, "/bench/data/%d", number % 100);
    int connection = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (connection < 0) return -1;
    if (connect(connection, (struct sockaddr *)server, sizeof *server)) return -1;
    if (write(connection, path, length) != length) return -1;
    ssize_t got, all = 0;
    while ((got = read(connection, text, sizeof text)) > 0) all += got;
    close(connection);
    if (all == 0) errno = EIO;
    return got < 0 || all == 0 ? -1 : 0;
}

static int serve(int requests) {
    struct sockaddr_in server = {.sin_family = AF_INET, .sin_addr = {htonl(INADDR_LOOPBACK)}};
    socklen_t size = sizeof server;
    int listening = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (listening < 0 || bind(listening, (struct sockaddr *)&server, size)) return -1;
    if (listen(listening, 64) || getsockname(listening, (struct sockaddr *)&server, &size))
        return -1;
    pid_t child = fork();
    if (child < 0) return -1;
    if (child == 0) serve_on(listening);
    close(listening);
    int failed = 0;
    uint64_t from = now();
    for (int number = 0; number < requests && !failed; number++) failed = request(&server, number);
    uint64_t took = now() - from;
    int because = errno;
    kill(child, SIGKILL);
    waitpid(child, NULL, 0);
    errno = because;
    if (failed) return -1;
    fprintf(answers, "ok %llu\n", (unsigned long long)took);
    return 0;
}

static int run(char *path, char *argument) {
    uint64_t from = now();
    int status = start(path, argument);
    uint64_t took = now() - from;
    if (status > 0) errno = EIO;
    if (status) return -1;
    fprintf(answers, "ok %llu\n", (unsigned long long)took);
    return 0;
}

static int drop(char *mark, char *path, char *to) {
    char text[65536];
    ssize_t got;
    int from = open(path, O_RDONLY | O_CLOEXEC);
    int into = open(to, O_CREAT | O_WRONLY | O_TRUNC | O_CLOEXEC, 0755);
    if (from < 0 || into < 0) return -1;
    while ((got = read(from, text, sizeof text)) > 0)
        if (write(into, text, got) != got) return -1;
    if (got < 0 || write(into, mark, strlen(mark)) < 0) return -1;
    close(from);
    if (close(into)) return -1;
    fprintf(answers, "ok\n");
    return 0;
}

static int spawn(char *path) {
    int status = start(path, NULL);
    fprintf(answers, "ok %d\n", status < 0 ? errno : 0);
    return 0;
}

static int obey(char *line) {
    char *word[5] = {"", "", "", "", ""};
    int words = 0;
    for (char *at = strtok(line, " \n"); at && words < 5; at = strtok(NULL, " \n"))
        word[words++] = at;
    if (!strcmp(word[0], "pin")) return pin(atoi(word[1]));
    if (!strcmp(word[0], "exec")) return exec(atoi(word[1]), atoi(word[2]), word[3]);
    if (!strcmp(word[0], "make")) return make(atoi(word[1]), word[2]);
    if (!strcmp(word[0], "open")) return opens(atoi(word[1]), atoi(word[2]), word[3]);
    if (!strcmp(word[0], "read")) return reads(atoi(word[1]), atoi(word[2]), word[3]);
    if (!strcmp(word[0], "copy")) return copy_all(word[1], word[2]);
    if (!strcmp(word[0], "serve")) return serve(atoi(word[1]));
    if (!strcmp(word[0], "run")) return run(word[1], word[2]);
    if (!strcmp(word[0], "drop")) return drop(word[1], word[2], word[3]);
    if (!strcmp(word[0], "spawn")) return spawn(word[1]);
    if (!strcmp(word[0], "exit")) exit(0);
    errno = EINVAL;
    return -1;
}

int main(int count, char **arguments) {
    char line[512];
    struct sockaddr_un name = {.sun_family = AF_UNIX};
    if (count < 2) return 2;
    strncpy(name.sun_path, arguments[1], sizeof name.sun_path - 1);
    int connection = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (connection < 0 || connect(connection, (struct sockaddr *)&name, sizeof name)) return 1;
    int again = fcntl(connection, F_DUPFD_CLOEXEC, 3);
    FILE *questions = fdopen(connection, "r");
    answers = fdopen(again, "w");
    if (!questions || !answers) return 1;
    fprintf(answers, "ready\n");
    while (fflush(answers) == 0 && fgets(line, sizeof line, questions))
        if (obey(line)) fprintf(answers, "error %s\n", strerror(errno));
    return 0;
}
