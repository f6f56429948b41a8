//! Containers of one shim, which share its groups.

use std::process::Command;

use lacre_measure::fanotify::Groups;
use lacre_measure::{Block, Outcome};

use crate::both_sources::Guarded;
use crate::metadata::CHANGES;

#[test]
fn containers_of_one_shim_are_each_told_of_their_own_changes() {
    let groups = Groups::new();
    let [mut one, mut other] = [(); 2].map(|()| Guarded::of(&groups, Block::Exec, true));
    for it in [&mut one, &mut other] {
        it.container.start("/bin/t each");
    }
    for change in CHANGES {
        change_and_use(&mut one, change);
        change_and_use(&mut other, change);
    }
    // Of the first, its copying up and the change itself may each be told.
    let heard = one.judge.heard_of_the_shell();
    assert!(heard - CHANGES.len() as u64 <= 1, "{heard}: not of the other's");
    // Whoever leaves takes nobody's ear along.
    drop(one);
    change_and_use(&mut other, "chmod");
    let mut third = Guarded::of(&groups, Block::Exec, true);
    third.container.start("/bin/t each");
    change_and_use(&mut third, "chmod");
}

/// The queue of the group that tells is shared: what one container floods it with may be
/// another's word that is lost.
#[test]
fn what_another_containers_flood_lost_is_known_before_it_is_used() {
    let groups = Groups::new();
    let [mut flooder, mut victim] = [(); 2].map(|()| Guarded::of(&groups, Block::Exec, true));
    flooder.container.start("/bin/t each");
    victim.container.start("/bin/t each");
    let heard = victim.judge.heard_of_the_shell();
    {
        // Who hands out waits for this judge, and reads no more.
        let _held = flooder.judge.heard.lock().unwrap();
        assert_eq!(flooder.container.each("/bin/t change touch /bin/sh"), 0);
        let upper = flooder.container.dir.path().join("upper");
        for file in 0..17_000 {
            std::fs::File::create(upper.join(file.to_string())).unwrap();
        }
        assert_eq!(victim.container.each("/bin/t change chmod /bin/victim"), 0);
        assert_eq!(victim.container.each("/bin/t change touch /bin/sh"), 0);
    }
    victim.judge.wait_until_heard(heard);
    change_and_use(&mut victim, "chown");
    assert!(victim.judge.recorder.all().iter().all(|(_, outcome)| *outcome == Outcome::Ran));
}

/// Counted in a process of its own.
#[test]
fn containers_of_one_shim_have_two_groups() {
    let child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "shared_groups::shim_with_containers", "--ignored"])
        .status();
    assert!(child.unwrap().success());
}

#[test]
#[ignore = "run by another test, as a process of its own"]
fn shim_with_containers() {
    let groups = Groups::new();
    let containers = [(); 3].map(|()| Guarded::of(&groups, Block::Exec, false));
    let count = || {
        let fds = std::fs::read_dir("/proc/self/fdinfo").unwrap().flatten();
        let infos = fds.filter_map(|fd| std::fs::read_to_string(fd.path()).ok());
        infos.filter(|info| info.contains("fanotify flags:")).count()
    };
    assert_eq!(count(), 2);
    drop(containers);
    assert_eq!(count(), 0);
}

/// Changes the victim, and uses it once word of that has come.
fn change_and_use(it: &mut Guarded, change: &str) {
    let heard = it.judge.heard_of_the_shell();
    assert_eq!(it.container.each(&format!("/bin/t change {change} /bin/victim")), 0);
    assert_eq!(it.container.each("/bin/t change touch /bin/sh"), 0);
    it.judge.wait_until_heard(heard);
    assert_eq!(it.container.each("/bin/t use /bin/victim"), 0, "after {change}");
    assert_eq!(it.armed.0.counters().unwrap().kills, 0);
}
