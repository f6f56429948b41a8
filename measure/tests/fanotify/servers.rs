//! A file system in the container whose server does not answer: nobody else is held up by it.

use std::io::{BufRead as _, BufReader, Write as _};
use std::process::{Child, ChildStdout};
use std::sync::Arc;
use std::time::{Duration, Instant};

use lacre_measure::fanotify::{Groups, Limits, arm_at};
use lacre_measure::{Block, Outcome};
use lacre_types::{Content, Mode};

use crate::baseline::path;
use crate::container::{Container, programs};
use crate::{Baseline, EPERM, Guarded};

/// A server that runs in the container.
struct Server(Child, BufReader<ChildStdout>);

impl Server {
    fn start(container: &Container, point: &str) -> Self {
        let mut child = container.spawn(&["/bin/hang", point]);
        let out = BufReader::new(child.stdout.take().unwrap());
        let mut it = Self(child, out);
        assert_eq!(it.line(), "mounted\n");
        it
    }

    fn line(&mut self) -> String {
        let mut line = String::new();
        self.1.read_line(&mut line).unwrap();
        line
    }

    /// From now on it answers nobody.
    fn hang(&mut self) {
        self.0.stdin.as_mut().unwrap().write_all(b"\n").unwrap();
        assert_eq!(self.line(), "hangs\n");
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        drop(self.0.stdin.take());
        let _ = self.0.wait();
    }
}

/// A mount beneath it, which only it leads to.
fn beneath(container: &Container) -> Server {
    let mut server = Server::start(container, "/mnt");
    assert_eq!(container.run(&["/bin/busybox", "mount", "-t", "tmpfs", "t", "/mnt/dir"]), 0);
    server.hang();
    server
}

/// As the watchdog sees it.
fn answers(groups: &Groups, what: &str) {
    let _ = groups.stand_still();
    std::thread::sleep(Duration::from_millis(100));
    assert!(!groups.stand_still(), "{what}");
}

fn mount(container: &Container, point: &str) {
    assert_eq!(container.run(&["/bin/busybox", "mkdir", point]), 0);
    assert_eq!(container.run(&["/bin/busybox", "mount", "-t", "tmpfs", "t", point]), 0);
}

/// What is executed there is asked about, once its mount is marked.
fn is_marked(it: &Guarded, at: &str) {
    let until = Instant::now() + Duration::from_secs(20);
    let evil = format!("{at}/evil");
    it.container.put(&programs().evil, &evil);
    while it.container.tool(&["run", &evil]) != EPERM {
        assert!(Instant::now() < until, "{at} is not marked");
    }
}

#[test]
fn a_mount_that_nobody_can_reach_holds_up_no_other() {
    let container = Container::start(|_| ());
    let baseline = Arc::new(Baseline::of(&container.lower(), Mode::Enforce));
    let target = container.target(baseline.clone(), Mode::Enforce, Block::All);
    let groups = Groups::new();
    let armed = arm_at(&groups, &target, baseline.clone(), Limits::default()).unwrap();
    let it = Guarded { armed: Some(armed), baseline, container };
    let server = beneath(&it.container);
    for n in 0..3 {
        // Its table changed, and all that is mounted is marked anew.
        mount(&it.container, &format!("/tmp/m{n}"));
        let began = Instant::now();
        assert_eq!(it.container.tool(&["run", "/bin/good"]), 0);
        assert!(began.elapsed() < Duration::from_secs(1), "{:?}", began.elapsed());
        answers(&groups, "while somebody stands before it");
        is_marked(&it, &format!("/tmp/m{n}"));
    }
    assert!(it.failures("unreached") > 0);
    assert_eq!(it.baseline.lost_any(), []);
    // Where it is reached after all it is marked.
    drop(server);
    assert_eq!(it.container.tool(&["run", "/bin/good"]), 0);
    answers(&groups, "when the server has gone");
}

#[test]
fn a_container_with_a_mount_that_nobody_can_reach_is_guarded_and_let_go() {
    let container = Container::start(|_| ());
    let server = beneath(&container);
    mount(&container, "/tmp/m");
    let baseline = Baseline::of(&container.lower(), Mode::Enforce);
    let began = Instant::now();
    let limits = Limits::default();
    let mut it = Guarded::arm(container, baseline, Mode::Enforce, Block::All, limits);
    assert!(began.elapsed() < Duration::from_secs(5), "{:?}", began.elapsed());
    is_marked(&it, "/tmp/m");
    assert_eq!(it.container.tool(&["run", "/bin/good"]), 0);
    let began = Instant::now();
    drop(it.armed.take());
    assert!(began.elapsed() < Duration::from_secs(5), "{:?}", began.elapsed());
    drop(server);
}

/// More of them than there are threads to be lost.
#[test]
fn who_is_out_of_reach_everywhere_is_told() {
    let container = Container::start(|_| ());
    let baseline = Arc::new(Baseline::of(&container.lower(), Mode::Enforce));
    let target = container.target(baseline.clone(), Mode::Enforce, Block::Exec);
    let groups = Groups::new();
    let armed = arm_at(&groups, &target, baseline.clone(), Limits::default()).unwrap();
    let it = Guarded { armed: Some(armed), baseline, container };
    let mut servers = Vec::new();
    for n in 0..6 {
        let point = format!("/tmp/s{n}");
        assert_eq!(it.container.run(&["/bin/busybox", "mkdir", &point]), 0);
        servers.push(Server::start(&it.container, &point));
        let beneath = format!("{point}/dir");
        assert_eq!(it.container.run(&["/bin/busybox", "mount", "-t", "tmpfs", "t", &beneath]), 0);
    }
    servers.iter_mut().for_each(Server::hang);
    mount(&it.container, "/tmp/m");
    let until = Instant::now() + Duration::from_secs(20);
    while it.baseline.lost_any().is_empty() {
        let failures: Vec<_> = it.armed.as_ref().unwrap().failures().collect();
        assert!(Instant::now() < until, "{failures:?}");
        answers(&groups, "until it is told");
    }
    assert_eq!(it.container.tool(&["run", "/bin/good"]), 0);
    drop(servers);
}

/// Those that read are held by it, and others read for who comes behind.
#[test]
fn files_that_never_come_hold_up_no_other() {
    let container = Container::start(|_| ());
    let server = Server::start(&container, "/mnt");
    let baseline = Baseline::of(&container.lower(), Mode::Enforce);
    let it = Guarded::arm(container, baseline, Mode::Enforce, Block::All, Limits::default());
    assert_eq!(it.container.run(&["/bin/busybox", "chown", "7:7", "/bin/good"]), 0);
    let held: Vec<_> =
        (0..4).map(|_| it.container.spawn(&["/bin/sh", "-c", ". /mnt/file"])).collect();
    let until = Instant::now() + Duration::from_secs(10);
    let stands = |child: &Child| {
        let wchan = std::fs::read_to_string(format!("/proc/{}/wchan", child.id()));
        wchan.is_ok_and(|wchan| wchan.contains("fanotify"))
    };
    while !held.iter().all(stands) {
        assert!(Instant::now() < until);
        std::thread::yield_now();
    }
    let began = Instant::now();
    // Its content is to be read.
    assert_eq!(it.container.tool(&["run", "/bin/good"]), 0);
    assert_eq!(it.container.tool(&["write", "/tmp/s.sh", "exit 0\n"]), 0);
    assert_ne!(it.container.run(&["/bin/sh", "/tmp/s.sh"]), 0);
    assert!(began.elapsed() < Duration::from_secs(4), "{:?}", began.elapsed());
    let (foreign, outcome) = it.baseline.wait("/tmp/s.sh");
    assert_eq!(outcome, Outcome::Denied);
    assert!(!matches!(foreign.content, Content::Unread(_)), "{foreign:?}");
    // And they have their answer, too.
    let (unread, outcome) = it.baseline.wait_for("the hung file", |m, _| {
        m.path == Some(path("/mnt/file")) && matches!(m.content, Content::Unread(_))
    });
    assert_eq!(outcome, Outcome::Denied, "{unread:?}");
    drop(server);
    for child in held {
        assert!(!child.wait_with_output().unwrap().status.success());
    }
}
