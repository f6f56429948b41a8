//! Containers that come and go in good order.

use std::sync::Arc;

use lacre_measure::exec_trace;
use lacre_measure::{Armed as _, Judge};
use lacre_types::Mode;

use crate::common::{Container, Image, Node, Recorder};
use crate::pins::{attached, counts, is_left_clean, only_set, programs};
use crate::{KILLED, armed, prepared};

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
                    armed = crate::armed(&node, &container, &image);
                }
            });
        }
    });
    assert!(is_left_clean(&node));
}
