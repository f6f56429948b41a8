//! Virtual machines of bytecode, and Go.

use super::workload::{
    Foreign,
    Held::{Always, AtOpen},
    Workload,
};

/// Machines of bytecode, and Go.
pub(super) const WORKLOADS: &[Workload] = &[
    Workload::new(
        "golang-compile",
        &["golang-go"],
        "formats, vets and builds a program",
        include_str!("../../workloads/scripts/golang-compile.sh"),
    ),
    Workload::new(
        "golang-run",
        &["golang-go"],
        "`go run`, with `GOTMPDIR` in the directory of the work",
        include_str!("../../workloads/scripts/golang-run.sh"),
    )
    .foreign(&[Foreign::new("/scratch/go-build*/**", Always, "the program")]),
    Workload::new(
        "java-jar",
        &["openjdk-17-jdk-headless"],
        "jars of the image, its JIT",
        include_str!("../../workloads/scripts/java-jar.sh"),
    ),
    Workload::new(
        "java-agent",
        &["openjdk-17-jdk-headless"],
        "an agent at the start, one that is loaded later, `jcmd`, `jstack`",
        include_str!("../../workloads/scripts/java-agent.sh"),
    ),
    Workload::new(
        "java-zgc",
        &["openjdk-17-jdk-headless"],
        "its garbage collectors: Z, Shenandoah, G1",
        include_str!("../../workloads/scripts/java-zgc.sh"),
    ),
    Workload::new(
        "java-source",
        &["openjdk-17-jdk-headless"],
        "a source of the image compiled into memory, `jshell`",
        include_str!("../../workloads/scripts/java-source.sh"),
    ),
    Workload::new(
        "javac",
        &["openjdk-17-jdk-headless"],
        "compiles a class, and runs it",
        include_str!("../../workloads/scripts/javac.sh"),
    )
    .foreign(&[Foreign::new("/scratch/*.class", AtOpen, "the class")]),
    Workload::new(
        "mono",
        &["mono-runtime"],
        "a program of the image",
        include_str!("../../workloads/scripts/mono.sh"),
    ),
    Workload::new(
        "mono-mcs",
        &["mono-mcs"],
        "compiles a program, and does not run it",
        include_str!("../../workloads/scripts/mono-mcs.sh"),
    ),
    Workload::new(
        "mono-mcs-run",
        &["mono-mcs", "mono-runtime"],
        "compiles a program, and runs it",
        include_str!("../../workloads/scripts/mono-mcs-run.sh"),
    )
    .foreign(&[Foreign::new("/scratch/*.exe", Always, "the program")]),
];
