//! Races for a verified file: between the reading of a file and its running, somebody changes
//! it. Whatever the way, what ran must be what was read: no foreign execution in any try.
//!
//! `LACRE_RACES` says how many tries of each; a soak has 50,000. Needs root and BPF.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::print_stdout,
    reason = "a test fails where it must"
)]

mod common;

use std::process::Command;
use std::sync::{Arc, Condvar, Mutex, OnceLock};

use common::{Container, Image, Node, Recorder};
use lacre_measure::exec_trace::{self, Allower, ExecTraceArmed};
use lacre_measure::fanotify::{self, FanotifyArmed, Groups, Holder};
use lacre_measure::{Answer, Armed as _, Block, Judge, Leased, Loss, Outcome, Verified};
use lacre_types::{CanonicalPath, Measurement, Mode, Source};

/// A judge that tells `exec-trace` what `fanotify` lets pass, as the shim's does.
struct Both {
    recorder: Arc<Recorder>,
    traced: OnceLock<Allower>,
    holder: OnceLock<Holder>,
    records: bool,
    /// Changes of the shell that it was told of, and processes that were killed.
    heard: Mutex<(u64, u64)>,
    news: Condvar,
}

impl Both {
    fn heard_of_the_shell(&self) -> u64 {
        self.heard.lock().unwrap().0
    }

    fn wait_until(&self, is: impl Fn(&(u64, u64)) -> bool) {
        let heard = self.heard.lock().unwrap();
        let waited = self.news.wait_timeout_while(heard, common::PATIENCE, |heard| !is(heard));
        assert!(!waited.unwrap().1.timed_out());
    }

    fn wait_until_heard(&self, before: u64) {
        self.wait_until(|heard| heard.0 > before);
    }

    fn wait_until_killed(&self, kills: u64) {
        self.wait_until(|heard| heard.1 >= kills);
    }
}

impl Judge for Both {
    fn judge(&self, measurement: &Measurement) -> Answer {
        self.recorder.judge(measurement)
    }

    fn settled(&self, measurement: &Measurement) -> bool {
        self.recorder.settled(measurement)
    }

    fn passes(&self, file: &Verified, measurement: &Measurement) {
        if let Some(traced) = self.traced.get() {
            let _ = traced.allow(file, measurement.path.as_ref());
        }
    }

    fn leased(&self, file: &Leased<'_>) {
        if let Some(traced) = self.traced.get() {
            traced.leased(file);
        }
    }

    fn lease_ends(&self, ino: u64) {
        if let Some(traced) = self.traced.get() {
            traced.lease_ends(ino);
        }
    }

    fn changed(&self, path: &CanonicalPath) {
        if let Some(holder) = self.holder.get() {
            holder.hold(path);
        }
        self.heard.lock().unwrap().0 += u64::from(path.as_bytes() == b"/bin/sh");
        self.news.notify_all();
    }

    fn seen(&self, measurement: Measurement, outcome: Outcome) {
        if outcome == Outcome::Killed {
            self.heard.lock().unwrap().1 += 1;
            self.news.notify_all();
        }
        // Of a soak's races they would be many.
        if self.records {
            self.recorder.seen(measurement, outcome);
        }
    }

    fn lost(&self, source: Source, loss: Loss) {
        self.recorder.lost(source, loss);
    }
}

fn build(image: &mut Image, path: &str, arguments: &[&str]) {
    common::compile("victim.c", &image.lower().join(&path[1..]), arguments);
    image.allow(path);
}

fn tries() -> u32 {
    std::env::var("LACRE_RACES").ok().and_then(|tries| tries.parse().ok()).unwrap_or(100)
}

/// A container under both sources, as `auto` arms them.
struct Guarded {
    container: Container,
    judge: Arc<Both>,
    armed: (ExecTraceArmed, FanotifyArmed),
    _image: Image,
    // after what is pinned on it
    _node: Node,
}

impl Guarded {
    fn new(block: Block, records: bool) -> Self {
        Self::of(&Groups::new(), block, records)
    }

    /// A container of the shim that has these groups.
    fn of(groups: &Groups, block: Block, records: bool) -> Self {
        let mut image = Image::new();
        build(&mut image, "/bin/victim", &["-DPROGRAM"]);
        build(&mut image, "/opt/victim.so", &["-shared", "-fPIC"]);
        Self::of_image(image, groups, block, records)
    }

    fn of_image(image: Image, groups: &Groups, block: Block, records: bool) -> Self {
        let node = Node::new();
        let container = Container::new(&image);
        let recorder = Recorder::new(Mode::Enforce, &image);
        let (traced, holder) = (OnceLock::new(), OnceLock::new());
        let heard = Mutex::default();
        let judge =
            Arc::new(Both { recorder, traced, holder, records, heard, news: Condvar::new() });
        let target = lacre_measure::Target { block, ..container.target(&image, Mode::Enforce) };
        let asked = Arc::clone(&judge) as Arc<dyn Judge>;
        let trace =
            exec_trace::prepare(&target.container, &*target.known, &node.options()).unwrap();
        let trace = trace.arm_at(groups, &target, Arc::clone(&asked)).unwrap();
        assert_eq!(trace.remark(), None);
        judge.traced.set(trace.allower()).unwrap();
        let limits = fanotify::Limits::default();
        let fanotify = fanotify::arm_at(groups, &target, asked, limits).unwrap();
        judge.holder.set(fanotify.holder()).unwrap();
        let armed = (trace, fanotify);
        Self { container, judge, armed, _image: image, _node: node }
    }

    /// Has a file changed, and used once word of that has come.
    fn use_after(&mut self, change: &str, victim: &str) {
        assert_eq!(self.container.each(&format!("/bin/t change {change} {victim}")), 0);
        // On a machine with more to do than it can, another program may be faster than word of
        // it: what is told later is told after it.
        let heard = self.judge.heard_of_the_shell();
        assert_eq!(self.container.each("/bin/t change touch /bin/sh"), 0);
        self.judge.wait_until_heard(heard);
        let ran = self.container.each(&format!("/bin/t use {victim}"));
        assert_eq!(ran, 0, "after {change} of {victim}");
    }

    /// Nobody was killed, and nothing is on record but what ran and is settled.
    fn nobody_was_hit(&self) {
        assert_eq!(self.armed.0.counters().unwrap().kills, 0);
        let recorder = &self.judge.recorder;
        assert!(recorder.all().iter().all(|(m, o)| *o == Outcome::Ran && recorder.settled(m)));
    }
}

/// How often each of these happened: it ran changed, ran as it came, did not run.
fn race(how: &str, victim: &str, block: Block) -> [u64; 3] {
    let mut it = Guarded::new(block, false);
    it.container.start(&format!("/bin/t race {how} {victim} {}", tries()));
    let line = it.container.line();
    println!("{how} {victim} {block:?}: {line} (ran changed, as it came, not at all)");
    assert_eq!(it.container.finish(), 0);
    let numbers: Vec<u64> = line.split(' ').map(|number| number.parse().unwrap()).collect();
    assert_eq!(numbers.iter().sum::<u64>(), u64::from(tries()));
    numbers.try_into().unwrap()
}

fn no_foreign_execution(how: &str, victim: &str) {
    for block in [Block::Exec, Block::All] {
        let how = if (how, block) == ("learn", Block::All) { "learn-held" } else { how };
        let [foreign, ..] = race(how, victim, block);
        assert_eq!(foreign, 0, "{how} {victim} {block:?}");
    }
}

#[test]
fn a_writer_that_waits_for_the_lease_on_a_program() {
    no_foreign_execution("lease", "/bin/victim");
}

#[test]
fn a_writer_that_waits_for_the_lease_on_a_library() {
    no_foreign_execution("lease", "/opt/victim.so");
}

#[test]
fn a_program_that_is_learnt_and_then_changed_through_a_mapping() {
    no_foreign_execution("learn", "/bin/victim");
}

#[test]
fn a_library_that_is_learnt_and_then_changed_through_a_mapping() {
    no_foreign_execution("learn", "/opt/victim.so");
}

#[test]
fn a_program_on_a_tmpfs_over_its_own_name() {
    no_foreign_execution("tmpfs", "/bin/victim");
}

#[test]
fn a_library_on_a_tmpfs_over_its_own_name() {
    no_foreign_execution("tmpfs", "/opt/victim.so");
}

/// What changes a file's state and not its content: by each of these it stays the image's,
/// and runs, as a program and as a library, with no kill and no record.
const CHANGES: [&str; 6] = ["chown", "chmod", "touch", "rename", "xattr", "twice"];

#[test]
fn a_file_whose_metadata_changed_runs_with_no_kill_and_no_record() {
    for block in [Block::Exec, Block::All] {
        let mut it = Guarded::new(block, true);
        it.container.start("/bin/t each");
        for victim in ["/bin/victim", "/opt/victim.so"] {
            for change in CHANGES {
                // It has run before, so that whoever has settled it must unsettle it.
                let ran = it.container.each(&format!("/bin/t use {victim}"));
                assert_eq!(ran, 0, "before {change} of {victim}");
                it.use_after(change, victim);
            }
        }
        it.nobody_was_hit();
    }
}

/// The same of changes that no directory is told of which has the file under its name in the
/// image: those of its inode, by its other names and to them.
const INODE_CHANGES: [&str; 8] =
    ["link", "chmod-other", "touch-other", "xattr-other", "move", "fchown", "replace", "unlink"];

#[test]
fn a_file_whose_inode_changed_by_another_name_runs_with_no_kill_and_no_record() {
    for block in [Block::Exec, Block::All] {
        let mut it = Guarded::new(block, true);
        it.container.start("/bin/t each");
        for victim in ["/bin/victim", "/opt/victim.so"] {
            for change in INODE_CHANGES {
                for change in ["link", change] {
                    it.use_after(change, victim);
                }
            }
        }
        it.nobody_was_hit();
    }
}

/// Nor does its content change unseen by another name.
#[test]
fn a_file_whose_content_changed_by_another_name_does_not_run() {
    for block in [Block::Exec, Block::All] {
        for victim in ["/bin/victim", "/opt/victim.so"] {
            let mut it = Guarded::new(block, true);
            it.container.start("/bin/t each");
            for change in ["chmod", "link", "chmod-other", "move"] {
                assert_eq!(it.container.each(&format!("/bin/t change {change} {victim}")), 0);
                let ran = it.container.each(&format!("/bin/t use {victim}"));
                assert!(ran == 0 || ran == 137, "{change} of {victim}: {ran}");
            }
            assert_eq!(it.container.each("/bin/t append /tmp/other"), 0);
            assert_eq!(it.container.each(&format!("/bin/t change unlink {victim}")), 0);
            for _ in 0..3 {
                let ran = it.container.each(&format!("/bin/t use {victim}"));
                assert!([90, 91, 137].contains(&ran), "{block:?} {victim}: {ran}");
            }
        }
    }
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
        .args(["--exact", "shim_with_containers", "--ignored"])
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

/// Nor is there a moment in which one that fanotify asks about is not known.
#[test]
fn a_file_that_is_used_at_once_after_its_metadata_changed_runs() {
    let libraries = [(Block::All, "/opt/victim.so")];
    for (block, victim) in
        [Block::Exec, Block::All].map(|block| (block, "/bin/victim")).iter().chain(&libraries)
    {
        let mut it = Guarded::new(*block, true);
        it.container.start("/bin/t each");
        for _ in 0..tries() / 10 {
            for change in CHANGES.iter().chain(&["fchown", "link", "flags"]) {
                let ran = it.container.each(&format!("/bin/t changeuse {change} {victim}"));
                assert_eq!(ran, 0, "{block:?}: {change} of {victim}");
            }
        }
        it.nobody_was_hit();
    }
}

/// The race that is left: a library, which nobody was asked about before its first change.
#[test]
fn who_is_faster_than_word_of_the_change_is_killed_and_recorded() {
    let mut image = Image::new();
    let victims: Vec<_> = (0..tries()).map(|number| format!("/opt/victim{number}.so")).collect();
    build(&mut image, &victims[0], &["-shared", "-fPIC"]);
    for victim in &victims[1..] {
        let at = |path: &str| image.lower().join(&path[1..]);
        std::fs::copy(at(&victims[0]), at(victim)).unwrap();
        image.allow(victim);
    }
    let mut it = Guarded::of_image(image, &Groups::new(), Block::Exec, true);
    it.container.start("/bin/t each");
    for victim in &victims {
        let before = it.armed.0.counters().unwrap().kills;
        let status = it.container.each(&format!("/bin/t changeuse touch {victim}"));
        let kills = it.armed.0.counters().unwrap().kills;
        assert_eq!(status == 137, kills > before, "{victim}: {status}");
        assert!(status == 0 || status == 137, "{victim}: {status}");
    }
    let kills = it.armed.0.counters().unwrap().kills;
    println!("{kills} of {} were faster", tries());
    // Each has its record, in time.
    it.judge.wait_until_killed(kills);
}
