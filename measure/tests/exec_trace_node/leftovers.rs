//! What `exec-trace` shares on a node, and how a container comes into it and out again. Needs
//! root and BPF.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::print_stdout,
    reason = "a test fails where it must"
)]

mod common;

use std::io::BufRead as _;
use std::os::fd::AsFd as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use common::{Container, Image, Node, Recorder};
use lacre_measure::exec_trace::{self, Prepared};
use lacre_measure::{Armed as _, Judge};
use lacre_sys::tracepoint;
use lacre_types::Mode;
use libbpf_rs::query::LinkInfoIter;
use libbpf_rs::{MapCore as _, MapHandle, Program};

/// `128 + SIGKILL`.
const KILLED: i32 = 137;

/// What is pinned of an attached set.
const LINKS: [&str; 3] = ["lacre_exec", "lacre_fork", "lacre_fetch"];

/// The sets that are pinned.
fn sets(node: &Node) -> Vec<PathBuf> {
    std::fs::read_dir(node.folder()).unwrap().map(|entry| entry.unwrap().path()).collect()
}

fn only_set(node: &Node) -> PathBuf {
    let [set] = <[_; 1]>::try_from(sets(node)).unwrap();
    set
}

/// How many containers stand in each of the node's maps.
fn counts(node: &Node) -> [usize; 5] {
    let set = only_set(node);
    ["names", "rings", "verdicts", "slots", "containers"]
        .map(|name| MapHandle::from_pinned_path(set.join(name)).unwrap().keys().count())
}

/// The kernel's numbers of the programs of a set.
fn programs(set: &Path) -> Vec<u32> {
    let id = |name| {
        let program = Program::fd_from_pinned_path(set.join(format!("{name}-program"))).unwrap();
        Program::id_from_fd(program.as_fd()).unwrap()
    };
    LINKS.into_iter().filter(|name| has_fetch() || *name != "lacre_fetch").map(id).collect()
}

fn has_fetch() -> bool {
    cfg!(target_arch = "x86_64")
}

/// How many of the set's programs the kernel has attached.
fn attached(set: &Path) -> usize {
    let programs = programs(set);
    LinkInfoIter::default().filter(|link| programs.contains(&link.prog_id)).count()
}

/// Whether nothing is attached and no map has a container: the last has left. The kernel lets
/// go of a link some time after its last pin.
fn is_left_clean(node: &Node) -> bool {
    let until = Instant::now() + Duration::from_secs(10);
    let set = only_set(node);
    while attached(&set) > 0 && Instant::now() < until {
        std::thread::yield_now();
    }
    attached(&set) == 0
        && counts(node) == [0; 5]
        && LINKS.iter().all(|name| !set.join(name).exists())
}

fn prepared(node: &Node, container: &Container, image: &Image) -> Prepared {
    let target = container.target(image, Mode::Enforce);
    exec_trace::prepare(&target.container, &*target.known, &node.options()).unwrap()
}

fn armed(node: &Node, container: &Container, image: &Image) -> exec_trace::ExecTraceArmed {
    let judge = Recorder::new(Mode::Enforce, image) as Arc<dyn Judge>;
    let target = container.target(image, Mode::Enforce);
    prepared(node, container, image).arm(&target, judge).unwrap()
}

#[test]
fn what_is_prepared_watches_nothing_until_it_is_armed() {
    let (node, image) = (Node::new(), Image::new());
    let mut container = Container::new(&image);
    let prepared = prepared(&node, &container, &image);
    assert_eq!(counts(&node), [1, 1, 1, 0, 0]);
    container.start("/bin/t each");
    assert_eq!(container.each("/opt/evil"), 0);
    let target = container.target(&image, Mode::Enforce);
    let judge = Recorder::new(Mode::Enforce, &image) as Arc<dyn Judge>;
    let armed = prepared.arm(&target, judge).unwrap();
    assert_eq!(counts(&node), [1; 5]);
    assert_eq!(container.each("/opt/evil"), KILLED);
    drop(armed);
    assert!(is_left_clean(&node));
}

#[test]
fn what_is_prepared_and_not_needed_leaves_nothing() {
    let (node, image) = (Node::new(), Image::new());
    let container = Container::new(&image);
    drop(prepared(&node, &container, &image));
    assert!(is_left_clean(&node));
}

#[test]
fn disarmed_it_watches_nothing_and_the_rest_is_done_later() {
    let (node, image) = (Node::new(), Image::new());
    let mut container = Container::new(&image);
    let armed = armed(&node, &container, &image);
    container.start("/bin/t each");
    assert_eq!(container.each("/opt/evil"), KILLED);
    let rest = Box::new(armed).disarm().unwrap();
    assert_eq!(container.each("/opt/evil"), 0);
    assert_eq!(counts(&node), [1, 1, 1, 0, 0]);
    rest();
    assert!(is_left_clean(&node));
}

#[test]
fn a_container_of_the_same_name_outlives_the_rest_of_the_earlier_one() {
    let (node, image) = (Node::new(), Image::new());
    let mut container = Container::new(&image);
    let rest = Box::new(armed(&node, &container, &image)).disarm().unwrap();
    let _again = armed(&node, &container, &image);
    rest();
    assert_eq!(counts(&node), [1; 5]);
    assert_eq!(container.run("/opt/evil"), KILLED);
}

#[test]
fn what_was_taken_out_meanwhile_is_not_armed() {
    let (node, image) = (Node::new(), Image::new());
    let container = Container::new(&image);
    let target = container.target(&image, Mode::Enforce);
    for unpin in [false, true] {
        let prepared = prepared(&node, &container, &image);
        if unpin {
            exec_trace::unpin_all(&node.folder()).unwrap();
        } else {
            assert!(exec_trace::remove_container(&node.folder(), &target.container).unwrap());
        }
        let judge = Recorder::new(Mode::Enforce, &image) as Arc<dyn Judge>;
        assert!(prepared.arm(&target, judge).is_err());
    }
}

#[test]
fn what_a_killed_maker_prepared_is_taken_out_by_the_next() {
    let (node, image) = (Node::new(), Image::new());
    let _init = kill_maker_after("prepare", &node.folder());
    assert_eq!(counts(&node), [1, 1, 1, 0, 0]);
    let container = Container::new(&image);
    let waiting = Container::new(&image);
    let prepared = prepared(&node, &waiting, &image);
    drop(armed(&node, &container, &image));
    assert_eq!(counts(&node), [1, 1, 1, 0, 0], "what a living one prepared stays");
    drop(prepared);
    assert!(is_left_clean(&node));
}

#[test]
fn a_container_is_taken_out_by_any_process() {
    let (node, image) = (Node::new(), Image::new());
    let mut container = Container::new(&image);
    let _armed = armed(&node, &container, &image);
    container.start("/bin/t each");
    assert_eq!(container.each("/opt/evil mark /tmp/m"), KILLED);
    let name = format!("test/{}", container.init_pid);
    let folder = node.folder();
    assert!(!exec_trace::remove_container(&folder, "test/other").unwrap());
    assert_eq!(container.each("/opt/evil mark /tmp/m"), KILLED);
    assert!(exec_trace::remove_container(&folder, &name).unwrap());
    assert_eq!(container.each("/opt/evil mark /tmp/m"), 0);
    assert!(!exec_trace::remove_container(&folder, &name).unwrap());
}

#[test]
fn a_container_that_is_disarmed_is_still_to_be_taken_out() {
    let (node, image) = (Node::new(), Image::new());
    let mut container = Container::new(&image);
    let _armed = armed(&node, &container, &image);
    container.start("/bin/t each");
    let (folder, name) = (node.folder(), format!("test/{}", container.init_pid));
    exec_trace::disarm_container(&folder, "test/other").unwrap();
    assert_eq!(container.each("/opt/evil mark /tmp/m"), KILLED);
    exec_trace::disarm_container(&folder, &name).unwrap();
    assert_eq!(container.each("/opt/evil mark /tmp/m"), 0);
    assert!(exec_trace::remove_container(&folder, &name).unwrap());
}

#[test]
fn two_containers_of_one_node_have_a_map_each() {
    let mut image = Image::new();
    let node = Node::new();
    let arm = |image: &Image| {
        let container = Container::new(image);
        let armed = armed(&node, &container, image);
        (container, armed)
    };
    let mut strict = arm(&image);
    image.allow("/opt/evil");
    let mut lax = arm(&image);
    assert_eq!(lax.1.pinned(), strict.1.pinned());
    assert_eq!(lax.0.run("/opt/evil"), 0);
    assert_eq!(strict.0.run("/opt/evil"), KILLED);
}

#[test]
fn a_node_is_probed_and_left_clean() {
    let node = Node::new();
    exec_trace::probe(&node.options()).unwrap();
    assert!(is_left_clean(&node));
    exec_trace::unpin_all(&node.folder()).unwrap();
    assert!(!node.folder().exists());
    exec_trace::unpin_all(&node.folder()).unwrap();
    let elsewhere = tempfile::tempdir().unwrap();
    let options = exec_trace::Options {
        folder: elsewhere.path().join("x"),
        ..exec_trace::Options::default()
    };
    let why = exec_trace::probe(&options).unwrap_err();
    assert!(why.to_string().contains("bpffs"), "{why}");
}

#[test]
fn the_next_container_attaches_what_the_last_left_loaded() {
    let (node, image) = (Node::new(), Image::new());
    let mut container = Container::new(&image);
    let first = armed(&node, &container, &image);
    let set = only_set(&node);
    let loaded = programs(&set);
    assert_eq!(attached(&set), loaded.len());
    drop(first);
    assert!(is_left_clean(&node));
    let _next = armed(&node, &container, &image);
    assert_eq!((only_set(&node), programs(&set)), (set.clone(), loaded.clone()));
    assert_eq!(attached(&set), loaded.len());
    container.start("/bin/t each");
    assert_eq!(container.each("/opt/evil"), KILLED);
    assert_eq!(container.each("/bin/t mark /tmp/good"), 0);
}

/// A process may die before and after each change of what is pinned. Whatever that leaves, the
/// next container is guarded, and nothing is attached behind it.
#[test]
fn whatever_a_death_leaves_the_next_container_is_guarded_and_leaves_nothing() {
    let image = Image::new();
    type Leave = fn(&Path);
    let states: [(&str, Leave); 8] = [
        ("nothing attached yet", |_| {}),
        ("one attached, the rest not yet", |set| attach(set, &LINKS[..1])),
        ("all attached, no name any more", |set| attach(set, &LINKS)),
        ("one detached", |set| attach(set, &LINKS[1..])),
        ("half pinned", |set| {
            unlink(set, &["names", "lacre_fork-program"]);
            std::fs::rename(set, with(set, "-new")).unwrap();
        }),
        ("half unpinned", |set| {
            std::fs::rename(set, with(set, "-old")).unwrap();
            unlink(&with(set, "-old"), &["slots"]);
        }),
        ("a map removed by hand", |set| unlink(set, &["rings"])),
        ("a program removed by hand", |set| unlink(set, &["lacre_fork-program"])),
    ];
    for (state, leave) in states {
        let node = Node::new();
        let mut container = Container::new(&image);
        drop(prepared(&node, &container, &image));
        leave(&only_set(&node));
        let armed = armed(&node, &container, &image);
        container.start("/bin/t each");
        assert_eq!(container.each("/opt/evil"), KILLED, "{state}");
        drop(armed);
        assert!(is_left_clean(&node), "{state}");
    }
}

fn unlink(set: &Path, names: &[&str]) {
    for name in names {
        std::fs::remove_file(set.join(name)).unwrap();
    }
}

fn attach(set: &Path, names: &[&str]) {
    for name in names.iter().filter(|name| has_fetch() || **name != "lacre_fetch") {
        let program = Program::fd_from_pinned_path(set.join(format!("{name}-program"))).unwrap();
        let link = tracepoint::attach(program.as_fd()).unwrap();
        tracepoint::pin(link.as_fd(), &set.join(name)).unwrap();
    }
}

fn with(set: &Path, suffix: &str) -> PathBuf {
    let mut name = set.as_os_str().to_owned();
    name.push(suffix);
    name.into()
}

#[test]
fn what_is_attached_and_not_whole_goes_on_guarding_and_takes_no_other() {
    let (node, image) = (Node::new(), Image::new());
    let mut container = Container::new(&image);
    let _armed = armed(&node, &container, &image);
    unlink(&only_set(&node), &["rings"]);
    let next = Container::new(&image).target(&image, Mode::Enforce);
    let why = exec_trace::prepare(&next.container, &*next.known, &node.options()).unwrap_err();
    assert!(why.to_string().contains("rings"), "{why}");
    container.start("/bin/t each");
    assert_eq!(container.each("/opt/evil"), KILLED);
}

/// Each start may race with the end of what was the last container.
#[test]
fn starts_that_race_with_last_ends_are_guarded() {
    const ROUNDS: usize = 12;
    let (node, image) = (Node::new(), Image::new());
    std::thread::scope(|scope| {
        for _ in 0..3 {
            scope.spawn(|| {
                let mut container = Container::new(&image);
                let mut armed = armed(&node, &container, &image);
                container.start("/bin/t each");
                for round in 0..ROUNDS {
                    assert_eq!(container.each("/opt/evil"), KILLED, "{round}");
                    drop(armed);
                    armed = self::armed(&node, &container, &image);
                }
            });
        }
    });
    assert!(is_left_clean(&node));
}

/// What another version of lacre has pinned: this one's set under another's name.
fn as_anothers(node: &Node, pins_programs: bool) -> PathBuf {
    let (set, other) = (only_set(node), node.folder().join("0123456789abcdef"));
    std::fs::rename(&set, &other).unwrap();
    if !pins_programs {
        let programs: Vec<_> = LINKS.iter().map(|name| format!("{name}-program")).collect();
        for program in programs.iter().filter(|name| other.join(name).exists()) {
            std::fs::remove_file(other.join(program)).unwrap();
        }
    }
    other
}

#[test]
fn another_versions_set_guards_until_its_last_container_and_is_swept_after() {
    let image = Image::new();
    for pins_programs in [true, false] {
        let node = Node::new();
        let mut old = Container::new(&image);
        Box::new(armed(&node, &old, &image)).leave();
        old.start("/bin/t each");
        let other = as_anothers(&node, pins_programs);

        let mut new = Container::new(&image);
        let guard = armed(&node, &new, &image);
        new.start("/bin/t each");
        assert_eq!(sets(&node).len(), 2);
        assert_eq!((old.each("/opt/evil"), new.each("/opt/evil")), (KILLED, KILLED));
        drop(guard);
        assert_eq!((old.each("/opt/evil"), new.each("/opt/evil")), (KILLED, 0));

        let name = format!("test/{}", old.init_pid);
        assert!(exec_trace::remove_container(&node.folder(), &name).unwrap());
        assert_eq!(old.each("/opt/evil"), 0);
        assert!(!other.join("lacre_exec").exists());
        // An earlier lacre finds what it can attach, or nothing.
        assert_eq!(other.exists(), pins_programs);
        drop(armed(&node, &new, &image));
        assert!(!other.exists());
        assert!(is_left_clean(&node));
    }
}

/// The process that [`kill_maker_after`] kills: it goes as far as that step, and waits.
#[test]
#[ignore = "run by another test, as a process of its own"]
fn armer() {
    let var = |name: &str| std::env::var(name).unwrap();
    let image = Image::new();
    let options =
        exec_trace::Options { folder: var("FOLDER").into(), fetch: true, ..Default::default() };
    let mut container = Container::new(&image);
    let judge = Recorder::new(Mode::Enforce, &image);
    let target = container.target(&image, Mode::Enforce);
    let prepared = exec_trace::prepare(&target.container, &*target.known, &options).unwrap();
    let _left = if var("STEP") == "arm" {
        let armed = prepared.arm(&target, judge as Arc<dyn Judge>).unwrap();
        container.start("/bin/t pause");
        (Some(armed), None)
    } else {
        (None, Some(prepared))
    };
    println!("\ndone {}", container.init_pid);
    loop {
        std::thread::park();
    }
}

/// Has another process go as far as that step and kills it then: the container's init.
fn kill_maker_after(step: &str, folder: &Path) -> Ender {
    let mut maker = std::process::Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "armer", "--ignored", "--nocapture"])
        .env("FOLDER", folder)
        .env("STEP", step)
        .stdout(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    let lines = std::io::BufReader::new(maker.stdout.take().unwrap()).lines();
    let init = lines
        .map_while(Result::ok)
        .find_map(|line| line.strip_prefix("done ").map(|pid| pid.parse::<u32>().unwrap()));
    let init = Ender(init.expect("the child did not get there"));
    rustix::process::kill_process(
        rustix::process::Pid::from_raw(maker.id() as i32).unwrap(),
        rustix::process::Signal::KILL,
    )
    .unwrap();
    maker.wait().unwrap();
    init
}

#[test]
fn the_guard_stands_with_its_maker_killed() {
    let node = Node::new();
    let image = Image::new();
    let init = kill_maker_after("arm", &node.folder());
    let init_pid = init.0;
    let enter = |line: &str| {
        let status = std::process::Command::new(image.helper())
            .arg("enter")
            .arg(init_pid.to_string())
            .args(line.split(' '))
            .status();
        status.unwrap().code().unwrap()
    };
    assert_eq!(enter("/bin/t mark /tmp/good"), 0);
    assert_eq!(enter("/opt/evil mark /tmp/m"), KILLED);
    assert_eq!(enter("/bin/t nested /bin/t mark /tmp/m"), KILLED);
    let name = format!("test/{init_pid}");
    assert!(exec_trace::remove_container(&node.folder(), &name).unwrap());
    assert_eq!(enter("/opt/evil mark /tmp/m"), 0);
}

/// The init of a container; whatever comes of the assertions, it ends with this.
struct Ender(u32);

impl Drop for Ender {
    fn drop(&mut self) {
        if let Some(pid) = rustix::process::Pid::from_raw(self.0 as i32) {
            let _ = rustix::process::kill_process(pid, rustix::process::Signal::KILL);
        }
    }
}
