//! What a death or another version of lacre leaves on a node.

use std::io::BufRead as _;
use std::os::fd::AsFd as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use lacre_measure::exec_trace;
use lacre_measure::{Armed as _, Judge};
use lacre_sys::tracepoint;
use lacre_types::Mode;
use libbpf_rs::Program;

use crate::common::{Container, Image, Node, Recorder};
use crate::pins::{LINKS, counts, has_fetch, is_left_clean, only_set, sets};
use crate::{KILLED, armed, prepared};

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

/// Who stands in a set of which a part is missing is nobody else's trouble, and can be ended.
#[test]
fn a_set_that_is_not_whole_keeps_nobody_of_another_and_goes_with_its_last() {
    let image = Image::new();
    for missing in ["rings", "slots", "verdicts", "containers", "strays", "tags"] {
        let node = Node::new();
        let (mut old, mut new) = (Container::new(&image), Container::new(&image));
        Box::new(armed(&node, &old, &image)).leave();
        old.start("/bin/t each");
        let other = as_anothers(&node, true);
        let guard = armed(&node, &new, &image);
        new.start("/bin/t each");
        assert_eq!(new.each("/opt/evil"), KILLED);
        unlink(&other, &[missing]);

        let [old, mine] = [&old, &new].map(|container| format!("test/{}", container.init_pid));
        let members = |name: &str| exec_trace::members(&node.folder(), name);
        assert!(members(&mine).unwrap().contains(&new.init_pid), "{missing}");
        let its = members(&old);
        assert_eq!(its.is_err(), ["tags", "strays"].contains(&missing), "{missing}: {its:?}");
        exec_trace::disarm_container(&node.folder(), &mine).unwrap();
        assert_eq!(new.each("/opt/evil"), 0, "{missing}");
        drop(guard);
        assert!(members(&mine).unwrap().is_empty(), "{missing}");

        let removed = exec_trace::remove_container(&node.folder(), &old);
        assert_eq!(removed.is_err(), ["slots", "containers"].contains(&missing), "{removed:?}");
        assert!(!other.exists(), "{missing}");
        assert!(members(&old).unwrap().is_empty(), "{missing}");
        assert!(is_left_clean(&node), "{missing}");
    }
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
        .args(["--exact", "leftovers::armer", "--ignored", "--nocapture"])
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
