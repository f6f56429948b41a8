//! What builds, packs and installs.

use super::workload::{Foreign, Held::Always, Mount, Start, Workload};

/// Compilers, packages, archives, users and first processes.
pub(super) const WORKLOADS: &[Workload] = &[
    Workload::new(
        "gcc-compile",
        &["gcc", "make", "ccache"],
        "compiles and links a program and two libraries, and does not run them",
        include_str!("../../workloads/scripts/gcc-compile.sh"),
    )
    .ci(),
    Workload::new(
        "gcc-run",
        &["gcc"],
        "compiles a program and runs it",
        include_str!("../../workloads/scripts/gcc-run.sh"),
    )
    .foreign(&[Foreign::new("/scratch/*", Always, "the program")])
    .ci(),
    Workload::new(
        "tcc",
        &["tcc"],
        "compiles into memory and runs that; compiles into a file",
        include_str!("../../workloads/scripts/tcc.sh"),
    ),
    Workload::new(
        "git",
        &["git"],
        "clones, commits, merges, pushes, collects garbage, checks",
        include_str!("../../workloads/scripts/git.sh"),
    )
    .ci(),
    Workload::new(
        "git-hook",
        &["git"],
        "commits in a repository that has a hook",
        include_str!("../../workloads/scripts/git-hook.sh"),
    )
    .foreign(&[Foreign::new("**/.git/hooks/*", Always, "the hook")]),
    Workload::new(
        "autoconf",
        &["autoconf", "automake"],
        "makes `configure`, runs it and what is built, with `TMPDIR` in the directory of the work",
        include_str!("../../workloads/scripts/autoconf.sh"),
    )
    .foreign(&[Foreign::new(
        "/scratch/**",
        Always,
        "`configure`, `config.status`, each `conftest`, the program",
    )]),
    Workload::new(
        "cmake",
        &["cmake"],
        "configures and builds a program and a library",
        include_str!("../../workloads/scripts/cmake.sh"),
    ),
    Workload::new(
        "rsync",
        &["rsync"],
        "copies trees, and what has changed of them",
        include_str!("../../workloads/scripts/rsync.sh"),
    )
    .ci(),
    Workload::new(
        "tar",
        &["tar", "xz-utils", "zip", "unzip"],
        "packs programs and scripts of the image, unpacks and compares them",
        include_str!("../../workloads/scripts/tar.sh"),
    )
    .ci(),
    Workload::new(
        "tar-run",
        &["tar"],
        "unpacks a program and scripts, and runs them",
        include_str!("../../workloads/scripts/tar-run.sh"),
    )
    .foreign(&[Foreign::new(
        "/scratch/out/**",
        Always,
        "the copies: a copy did not come with the image",
    )]),
    Workload::new(
        "dpkg",
        &["dpkg"],
        "builds a package, installs it, runs it, purges it",
        include_str!("../../workloads/scripts/dpkg.sh"),
    )
    .foreign(&[
        Foreign::new("/var/lib/dpkg/tmp.ci/*", Always, "`preinst`"),
        Foreign::new("/var/lib/dpkg/info/*", Always, "the other maintainer scripts"),
        Foreign::new("/usr/bin/hello-*", Always, "the program"),
    ]),
    Workload::new(
        "apt",
        &["apt"],
        "installs a package of a local archive, again and again",
        include_str!("../../workloads/scripts/apt.sh"),
    )
    .foreign(&[
        Foreign::new("/var/lib/dpkg/info/*", Always, "`postinst`"),
        Foreign::new("/usr/bin/hello", Always, "the program"),
    ]),
    Workload::new(
        "ldconfig",
        &["libc-bin"],
        "makes the loader's cache anew",
        include_str!("../../workloads/scripts/ldconfig.sh"),
    )
    .ci(),
    Workload::new(
        "update-alternatives",
        &["dpkg"],
        "leads a name to one program of the image, then to another",
        include_str!("../../workloads/scripts/update-alternatives.sh"),
    )
    .ci(),
    Workload::new(
        "coreutils-metadata",
        &["coreutils"],
        "`chown`, `chmod`, `touch`, `mv` and `ln` of programs, libraries and scripts of the image, which run then",
        include_str!("../../workloads/scripts/coreutils-metadata.sh"),
    ),
    Workload::new(
        "busybox-static",
        &["busybox-static"],
        "a shell, archives and a web server of a static program",
        include_str!("../../workloads/scripts/busybox-static.sh"),
    ),
    Workload::new(
        "cron",
        &["cron"],
        "a job of the system's and one of root's, each minute",
        include_str!("../../workloads/scripts/cron.sh"),
    ),
    Workload::new(
        "tini",
        &["tini"],
        "is the container's first process",
        include_str!("../../workloads/scripts/tini.sh"),
    )
    .start(Start::Behind(&["tini", "--"]))
    .ci(),
    Workload::new(
        "docker-init",
        &["bash"],
        "a first process that the node mounts, as `docker run --init` does",
        include_str!("../../workloads/scripts/docker-init.sh"),
    )
    .start(Start::Behind(&["/sbin/busybox-init", "sh", "-c", "\"$@\"; exit $?", "sh"]))
    .mounts(&[Mount::Program("/sbin/busybox-init")])
    .foreign(&[Foreign::new("/usr/sbin/busybox-init", Always, "the node's program")]),
    Workload::new(
        "systemd",
        &["systemd", "systemd-sysv"],
        "is the container's first process: units, a timer, a socket, a dynamic user",
        include_str!("../../workloads/scripts/systemd.sh"),
    )
    .start(Start::Init(&["/lib/systemd/systemd", "--unit=work.service"]))
    .options(&["--privileged"])
    .mounts(&[Mount::Scratch("/run"), Mount::Said("/said")]),
    Workload::new(
        "openssh-server",
        &["openssh-server", "openssh-client"],
        "logs in as a new user, copies by ssh and rsync",
        include_str!("../../workloads/scripts/openssh-server.sh"),
    ),
    Workload::new(
        "passwd",
        &["passwd", "login"],
        "makes users and groups, is one of them, removes them",
        include_str!("../../workloads/scripts/passwd.sh"),
    )
    .ci(),
    Workload::new(
        "sudo",
        &["sudo"],
        "a new user becomes root, and nobody",
        include_str!("../../workloads/scripts/sudo.sh"),
    )
    .options(&["--allow-new-privs"]),
    Workload::new(
        "read-only",
        &["bash"],
        "works in a root that is read-only, with a tmpfs",
        include_str!("../../workloads/scripts/read-only.sh"),
    )
    .options(&["--read-only"])
    .mounts(&[Mount::Scratch("/tmp")]),
    Workload::new(
        "entrypoint",
        &["bash"],
        "an entrypoint of the image that ends in `exec \"$@\"`; scripts that read others, by links",
        include_str!("../../workloads/scripts/entrypoint.sh"),
    )
    .start(Start::Behind(&["/usr/local/bin/entrypoint.sh"])),
    Workload::new(
        "config-map",
        &["bash", "python3-minimal"],
        "runs scripts that are mounted as Kubernetes mounts a ConfigMap",
        include_str!("../../workloads/scripts/config-map.sh"),
    )
    .mounts(&[Mount::ConfigMap("/config")])
    .foreign(&[Foreign::new("/config/**", Always, "the scripts")]),
    Workload::new(
        "start-script",
        &["bash"],
        "runs a script that it has written",
        include_str!("../../workloads/scripts/start-script.sh"),
    )
    .foreign(&[Foreign::new("/scratch/start.sh", Always, "the script")]),
    Workload::new(
        "shell",
        &["bash", "dash", "findutils", "sed"],
        "`-c`, heredocs, pipes, `xargs`, `find -exec`, many at once",
        include_str!("../../workloads/scripts/shell.sh"),
    )
    .ci(),
    Workload::new(
        "procps",
        &["procps"],
        "looks at processes, and ends them",
        include_str!("../../workloads/scripts/procps.sh"),
    ),
];
