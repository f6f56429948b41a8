//! Who opens a file decides whose violation it is: nobody but a container's own processes can
//! harm it, whatever they read of its root, and they can't stop being its own.

use std::os::unix::process::ExitStatusExt;
use std::process::{Command, Stdio};
use std::sync::Arc;

use lacre_measure::fanotify::{FanotifyArmed, Groups, Limits, arm_at};
use lacre_measure::{Block, Outcome};
use lacre_types::Mode;

use crate::baseline::{Baseline, Shared};
use crate::container::{Container, programs};
use crate::{EPERM, Guarded};

fn isolated(block: Block) -> Guarded {
    let container = Container::isolated(|_| ());
    let baseline = Baseline::of(&container.lower(), Mode::Enforce);
    Guarded::arm(container, baseline, Mode::Enforce, block, Limits::default())
}

/// The status of a command of the host's, with the container's root for `$R`.
fn from_outside(container: &Container, how: &[&str], script: &str) -> i32 {
    let status = Command::new(how[0])
        .args(&how[1..])
        .args(["sh", "-c", script])
        .env("R", format!("/proc/{}/root", container.pid()))
        .env("P", container.pid().to_string())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()
        .unwrap();
    status.code().unwrap_or_else(|| 128 + status.signal().unwrap_or(0))
}

#[test]
fn who_is_not_the_containers_reads_and_runs_what_is_below_its_root() {
    let it = isolated(Block::All);
    it.container.put(&programs().evil, "/tmp/x");
    assert_eq!(it.container.tool(&["write", "/tmp/s.sh", "#!/bin/sh\nexit 0\n"]), 0);
    let before = it.baseline.all().len();
    let others: [&[&str]; 5] = [
        // Another container, a service with mounts of its own, one in a nested namespace, a
        // process of the host's, and another container's that shares the node's processes.
        &["unshare", "-mpf"],
        &["unshare", "-m"],
        &["unshare", "-mpf", "unshare", "-mpf"],
        &["env"],
        &["unshare", "-m", "unshare", "-mu"],
    ];
    for how in others {
        for script in [
            "cat $R/tmp/x $R/tmp/s.sh $R/bin/good",
            "sh $R/tmp/s.sh",
            "$R/tmp/x",
            "cp $R/tmp/s.sh /dev/null",
        ] {
            assert_eq!(from_outside(&it.container, how, script), 0, "{how:?} {script}");
        }
    }
    assert_eq!(it.baseline.all().len(), before, "nothing is told");
    // And the container's own still may not.
    assert_eq!(it.container.tool(&["run", "/tmp/x"]), EPERM);
}

#[test]
fn a_process_of_the_container_stays_its_own() {
    let it = isolated(Block::Exec);
    it.container.put(&programs().evil, "/tmp/x");
    let own: [&[&str]; 5] = [
        &["/bin/tool", "run", "/tmp/x"],
        // Other mounts, another pid namespace below, another parent, another root.
        &["/bin/busybox", "unshare", "-m", "/tmp/x"],
        &["/bin/busybox", "unshare", "-p", "-f", "-m", "/tmp/x"],
        &["/bin/busybox", "setsid", "/tmp/x"],
        &["/bin/busybox", "chroot", "/tmp", "/x"],
    ];
    for command in own {
        assert_ne!(it.container.run(command), 0, "{command:?}");
    }
    // Who enters its mounts from outside is one of its own too.
    assert_ne!(
        from_outside(
            &it.container,
            &["nsenter", "-t", &it.container.pid().to_string(), "-m"],
            "/tmp/x"
        ),
        0
    );
    // It is told once it was read for the record.
    let until = std::time::Instant::now() + std::time::Duration::from_secs(10);
    let denied =
        || it.baseline.all().iter().filter(|(_, o)| *o == Outcome::Denied).count() > own.len();
    while !denied() {
        assert!(std::time::Instant::now() < until, "{:#?}", it.baseline.all());
        std::thread::yield_now();
    }
}

struct Pod {
    container: Container,
    baseline: Shared,
    armed: FanotifyArmed,
}

impl Pod {
    fn join(groups: &Groups) -> Self {
        let container = Container::isolated(|_| ());
        let baseline = Arc::new(Baseline::of(&container.lower(), Mode::Enforce));
        let target = container.target(baseline.clone(), Mode::Enforce, Block::All);
        let armed = arm_at(groups, &target, baseline.clone(), Limits::default()).unwrap();
        Self { container, baseline, armed }
    }

    fn refuses(&self, path: &str) {
        self.container.put(&programs().evil, path);
        assert_eq!(self.container.tool(&["run", path]), EPERM, "{path}");
        assert_eq!(self.baseline.wait(path).1, Outcome::Denied);
        assert_eq!(self.container.tool(&["run", "/bin/good"]), 0);
    }
}

/// How many groups this process has, that are of a file of this test's.
fn groups() -> usize {
    let open = std::fs::read_dir("/proc/self/fd").unwrap().flatten();
    open.filter(|entry| {
        std::fs::read_link(entry.path())
            .is_ok_and(|link| link.as_os_str() == "anon_inode:[fanotify]")
    })
    .count()
}

#[test]
fn containers_of_one_shim_share_a_group_and_nothing_else() {
    let shim = Groups::new();
    let mut pods: Vec<_> = (0..5).map(|_| Pod::join(&shim)).collect();
    for (n, pod) in pods.iter().enumerate() {
        pod.refuses(&format!("/tmp/x{n}"));
    }
    for (n, pod) in pods.iter().enumerate() {
        let told = |m: usize| {
            let name = crate::baseline::path(&format!("/tmp/x{m}"));
            pod.baseline.all().iter().any(|(seen, _)| seen.path.as_ref() == Some(&name))
        };
        assert!((0..5).all(|m| told(m) == (m == n)), "{n}");
    }
    // One reads another's root, and is told of by nobody.
    let other = pods[0].container.pid();
    let read = format!("cat /proc/{other}/root/tmp/x0");
    assert_eq!(from_outside(&pods[1].container, &["unshare", "-mpf"], &read), 0);
    // The first to come goes first, then the last.
    for _ in 0..2 {
        drop(pods.remove(0));
        pods.first().unwrap().refuses("/tmp/y");
        drop(pods.pop());
        pods.first().unwrap().refuses("/tmp/z");
    }
    assert_eq!(pods.len(), 1);
    assert_eq!(pods[0].armed.failures().map(|(_, n)| n).sum::<u64>(), 0);
    assert!(groups() > 0);
}
