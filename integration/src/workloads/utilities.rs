//! What traces, wraps and starts other programs.

use super::workload::{Foreign, Held::Always, Mount, Start, Workload};

/// Tools that look into programs, wrap them, lead them elsewhere or start them.
pub(super) const WORKLOADS: &[Workload] = &[
    Workload::new(
        "tmux",
        &["tmux"],
        "types into a shell, splits, runs programs",
        include_str!("../../workloads/scripts/tmux.sh"),
    ),
    Workload::new(
        "screen",
        &["screen"],
        "types into a shell; `script`",
        include_str!("../../workloads/scripts/screen.sh"),
    ),
    Workload::new(
        "gdb",
        &["gdb"],
        "breakpoints, calls, Python, attaches to a process",
        include_str!("../../workloads/scripts/gdb.sh"),
    ),
    Workload::new(
        "strace",
        &["strace", "ltrace"],
        "traces programs, makes their calls fail",
        include_str!("../../workloads/scripts/strace.sh"),
    ),
    Workload::new(
        "valgrind",
        &["valgrind"],
        "translates programs into memory, finds errors",
        include_str!("../../workloads/scripts/valgrind.sh"),
    ),
    Workload::new(
        "preloads",
        &["fakeroot", "faketime", "eatmydata", "coreutils"],
        "libraries of the image that are loaded first; `LD_LIBRARY_PATH`, `RPATH`",
        include_str!("../../workloads/scripts/preloads.sh"),
    ),
    Workload::new(
        "loader",
        &["libc-bin"],
        "the loader by its own name, `ldd`, `setarch -R`",
        include_str!("../../workloads/scripts/loader.sh"),
    ),
    Workload::new(
        "read-implies-exec",
        &["bash"],
        "all that may be read may be executed: `setarch -X`",
        include_str!("../../workloads/scripts/read-implies-exec.sh"),
    ),
    Workload::new(
        "proot",
        &["proot"],
        "another root and other names, by ptrace",
        include_str!("../../workloads/scripts/proot.sh"),
    )
    .foreign(&[Foreign::new("/tmp/prooted-*", Always, "its loader, which it writes out")]),
    Workload::new(
        "bubblewrap",
        &["bubblewrap"],
        "the image's files at other names, in other namespaces",
        include_str!("../../workloads/scripts/bubblewrap.sh"),
    )
    .options(&["--privileged"]),
    Workload::new(
        "unshare",
        &["bash", "coreutils"],
        "`chroot` into bind mounts, namespaces, other names",
        include_str!("../../workloads/scripts/unshare.sh"),
    )
    .options(&["--privileged"]),
    Workload::new(
        "gnupg",
        &["gnupg"],
        "keys, signatures, its agent",
        include_str!("../../workloads/scripts/gnupg.sh"),
    ),
    Workload::new(
        "subversion",
        &["subversion"],
        "commits, verifies",
        include_str!("../../workloads/scripts/subversion.sh"),
    ),
    Workload::new(
        "mercurial",
        &["mercurial"],
        "commits with a hook that is a command, clones",
        include_str!("../../workloads/scripts/mercurial.sh"),
    ),
    Workload::new(
        "git-hooks-path",
        &["git"],
        "hooks of the image, `rebase --exec`, aliases",
        include_str!("../../workloads/scripts/git-hooks-path.sh"),
    ),
    Workload::new(
        "parallel",
        &["parallel", "moreutils"],
        "many programs at once, functions of the shell",
        include_str!("../../workloads/scripts/parallel.sh"),
    ),
    Workload::new(
        "inotify",
        &["inotify-tools", "entr"],
        "waits for changes, runs a program then",
        include_str!("../../workloads/scripts/inotify.sh"),
    ),
    Workload::new(
        "qemu-user",
        &["qemu-user-static", "busybox-static"],
        "loads programs of the image, and translates them into memory",
        include_str!("../../workloads/scripts/qemu-user.sh"),
    ),
    Workload::new(
        "busybox-init",
        &["busybox-static"],
        "is the container's first process: `inittab`",
        include_str!("../../workloads/scripts/busybox-init.sh"),
    )
    .start(Start::Init(&["/opt/app/bin/init"]))
    .mounts(&[Mount::Said("/said")]),
    Workload::new(
        "reinstall",
        &["coreutils", "rsync", "tar"],
        "puts the same programs and scripts at their places again: `mv`, `tar`, `rsync`, `sed -i`",
        include_str!("../../workloads/scripts/reinstall.sh"),
    ),
    Workload::new(
        "reinstall-library",
        &["coreutils", "tar"],
        "puts the same library at its place again, and loads it at once",
        include_str!("../../workloads/scripts/reinstall-library.sh"),
    ),
    Workload::new(
        "env-scripts",
        &["bash", "python3-minimal"],
        "`#!/usr/bin/env -S`, an interpreter that is a script, `/dev/fd`",
        include_str!("../../workloads/scripts/env-scripts.sh"),
    ),
    Workload::new(
        "login-shell",
        &["bash", "login", "passwd"],
        "a new user logs in, with what `/etc/skel` has",
        include_str!("../../workloads/scripts/login-shell.sh"),
    ),
    Workload::new(
        "dpkg-places",
        &["dpkg", "debconf"],
        "`dpkg-divert`, `dpkg-statoverride`, `dpkg-reconfigure`",
        include_str!("../../workloads/scripts/dpkg-places.sh"),
    )
    .foreign(&[Foreign::new(
        "/usr/bin/env.real",
        Always,
        "a program of the image by another name, which is a copy to overlayfs",
    )]),
    Workload::new(
        "bats",
        &["bats"],
        "tests that it rewrites first",
        include_str!("../../workloads/scripts/bats.sh"),
    ),
    Workload::new(
        "makeself",
        &["makeself"],
        "an archive that unpacks itself, and runs what it has unpacked",
        include_str!("../../workloads/scripts/makeself.sh"),
    )
    .foreign(&[Foreign::new("/scratch/selfgz*/*", Always, "what is unpacked")]),
    Workload::new(
        "gzexe",
        &["bash"],
        "a program that unpacks itself, and runs that",
        include_str!("../../workloads/scripts/gzexe.sh"),
    )
    .foreign(&[Foreign::new("/scratch/gztmp*/*", Always, "what is unpacked")]),
    Workload::new(
        "libtool",
        &["libtool-bin", "gcc"],
        "builds a library, and runs a program with it where it was built",
        include_str!("../../workloads/scripts/libtool.sh"),
    )
    .foreign(&[Foreign::new(
        "/scratch/build/**",
        Always,
        "the script that wraps it, the program, the library",
    )]),
    Workload::new(
        "meson",
        &["meson", "ninja-build", "gcc"],
        "configures and builds; runs what it tries the compiler with",
        include_str!("../../workloads/scripts/meson.sh"),
    )
    .foreign(&[Foreign::new("/scratch/source/build/meson-private/*", Always, "that program")]),
    Workload::new(
        "make-scripts",
        &["make"],
        "makes a script, and runs it",
        include_str!("../../workloads/scripts/make-scripts.sh"),
    )
    .foreign(&[Foreign::new("/scratch/gen.sh", Always, "the script")]),
];
