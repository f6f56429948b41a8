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
use std::path::Path;
use std::sync::Arc;

use common::{Container, Image, Node, Recorder};
use lacre_measure::exec_trace::{self, Prepared};
use lacre_measure::{Armed as _, Judge};
use lacre_types::Mode;
use libbpf_rs::{MapCore as _, MapHandle};

/// `128 + SIGKILL`.
const KILLED: i32 = 137;

/// How many containers stand in each of the node's maps.
fn counts(node: &Node) -> [usize; 5] {
    let version = std::fs::read_dir(node.folder()).unwrap().next().unwrap().unwrap().path();
    ["names", "rings", "verdicts", "slots", "containers"]
        .map(|name| MapHandle::from_pinned_path(version.join(name)).unwrap().keys().count())
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
    assert_eq!(counts(&node), [0; 5]);
}

#[test]
fn what_is_prepared_and_not_needed_leaves_nothing() {
    let (node, image) = (Node::new(), Image::new());
    let container = Container::new(&image);
    drop(prepared(&node, &container, &image));
    assert_eq!(counts(&node), [0; 5]);
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
    assert_eq!(counts(&node), [0; 5]);
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
    assert_eq!(counts(&node), [0; 5]);
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
    assert!(node.folder().exists());
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
