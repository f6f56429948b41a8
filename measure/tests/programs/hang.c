/* A file system of a process's (FUSE) that answers until it is told to, and then no more:
 * hang MOUNTPOINT. It has a directory `dir`, and a file `file` whose content never comes. It says
 * "mounted", and after the first line that it is given "hangs"; it ends with its input. */
#include <errno.h>
#include <fcntl.h>
#include <linux/fuse.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/uio.h>
#include <unistd.h>

enum { DIR = 2, REGULAR = 3 };

static int fuse;

static void answer(const struct fuse_in_header *to, int error, const void *data, size_t size) {
    struct fuse_out_header head = {sizeof head + size, error, to->unique};
    struct iovec parts[] = {{&head, sizeof head}, {(void *)data, size}};
    /* Who asked may be gone. */
    if (writev(fuse, parts, 2) < 0 && errno != ENOENT) exit(2);
}

static struct fuse_attr attributes(uint64_t node) {
    return (struct fuse_attr){
        .ino = node,
        .size = node == REGULAR ? 16 : 4096,
        .mode = node == REGULAR ? S_IFREG | 0755 : S_IFDIR | 0755,
        .nlink = 1,
    };
}

static void serve(const struct fuse_in_header *ask) {
    const void *body = ask + 1;
    switch (ask->opcode) {
    case FUSE_INIT: {
        struct fuse_init_out out = {
            .major = FUSE_KERNEL_VERSION, .minor = FUSE_KERNEL_MINOR_VERSION, .max_write = 65536,
        };
        answer(ask, 0, &out, sizeof out);
        break;
    }
    case FUSE_LOOKUP: {
        uint64_t node = !strcmp(body, "dir") ? DIR : !strcmp(body, "file") ? REGULAR : 0;
        struct fuse_entry_out out = {.nodeid = node, .attr = attributes(node)};
        if (!node || ask->nodeid != FUSE_ROOT_ID) return answer(ask, -ENOENT, 0, 0);
        answer(ask, 0, &out, sizeof out);
        break;
    }
    case FUSE_GETATTR: {
        struct fuse_attr_out out = {.attr = attributes(ask->nodeid)};
        answer(ask, 0, &out, sizeof out);
        break;
    }
    case FUSE_OPEN:
    case FUSE_OPENDIR: {
        /* Or the next open would wait for what the first reads. */
        struct fuse_open_out out = {.fh = 1, .open_flags = FOPEN_KEEP_CACHE};
        answer(ask, 0, &out, sizeof out);
        break;
    }
    case FUSE_READ: /* never */
    case FUSE_FORGET:
    case FUSE_BATCH_FORGET:
    case FUSE_INTERRUPT:
        break;
    case FUSE_STATFS: {
        struct fuse_statfs_out out = {.st = {.bsize = 4096, .namelen = 255, .frsize = 4096}};
        answer(ask, 0, &out, sizeof out);
        break;
    }
    case FUSE_RELEASE:
    case FUSE_RELEASEDIR:
    case FUSE_FLUSH:
    case FUSE_ACCESS:
        answer(ask, 0, 0, 0);
        break;
    default:
        answer(ask, -ENOSYS, 0, 0);
    }
}

int main(int argc, char **argv) {
    static char buffer[1 << 18];
    char options[128];
    int hangs = 0;
    /* A container has a /dev of its own. */
    mknod("/dev/fuse", S_IFCHR | 0600, makedev(10, 229));
    if (argc != 2 || (fuse = open("/dev/fuse", O_RDWR | O_CLOEXEC)) < 0) return 3;
    snprintf(options, sizeof options, "fd=%d,rootmode=40000,user_id=0,group_id=0,allow_other",
             fuse);
    if (mount("hang", argv[1], "fuse.hang", 0, options)) return 4;
    puts("mounted");
    fflush(stdout);
    for (;;) {
        struct pollfd fds[] = {{fuse, hangs ? 0 : POLLIN, 0}, {0, POLLIN, 0}};
        if (poll(fds, 2, -1) < 0) return 5;
        if (fds[1].revents) {
            if (read(0, buffer, 64) <= 0) return 0;
            hangs = 1;
            puts("hangs");
            fflush(stdout);
        } else if (fds[0].revents & POLLERR) {
            return 0;
        } else if (fds[0].revents && read(fuse, buffer, sizeof buffer) > 0) {
            serve((void *)buffer);
        }
    }
}
