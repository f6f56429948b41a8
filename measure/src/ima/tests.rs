use std::fs::{self, OpenOptions};
use std::io::Write as _;
use std::process::{Child, Command};
use std::sync::Mutex;

use lacre_attest::ima::write;
use lacre_types::{CanonicalPath, Digest, Measurement, Mode};
use rustix::process::{Pid, WaitId, WaitIdOptions, waitid};
use sha2::Digest as _;
use tempfile::TempDir;

use super::*;
use crate::testing::Nothing;
use crate::{Answer, Block};

const OLD: &str = "/opt/old";
const NEW: &str = "/opt/new";

// The init of these tests has the host's root: it has ended, and the files are found beneath
// the root as the host reaches it.

/// A list, a container with `/opt/old` and `/opt/new` in its root, and who judges.
struct Node {
    dir: TempDir,
    init: Child,
    told: Arc<Told>,
    lines: u64,
}

#[derive(Default)]
struct Told {
    seen: Mutex<Vec<Measurement>>,
    lost: Mutex<Vec<Loss>>,
}

impl Judge for Told {
    fn judge(&self, _: &Measurement) -> Answer {
        Answer::Allow
    }

    fn settled(&self, measurement: &Measurement) -> bool {
        measurement.path == CanonicalPath::new("/bin/known").ok()
    }

    fn seen(&self, measurement: Measurement, outcome: Outcome) {
        assert_eq!(outcome, Outcome::Ran);
        self.seen.lock().unwrap().push(measurement);
    }

    fn lost(&self, source: Source, loss: Loss) {
        assert_eq!(source, Source::Ima);
        self.lost.lock().unwrap().push(loss);
    }
}

fn sha256(content: &str) -> Digest {
    Digest::sha256(sha2::Sha256::digest(content).into())
}

impl Node {
    fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let mut init = Command::new("sleep").arg("1000").spawn().unwrap();
        init.kill().unwrap();
        let pid = Pid::from_child(&init);
        waitid(WaitId::Pid(pid), WaitIdOptions::EXITED | WaitIdOptions::NOWAIT).unwrap();
        let mut node = Self { dir, init, told: Arc::default(), lines: 0 };
        fs::create_dir_all(node.dir.path().join("root/opt")).unwrap();
        fs::write(node.dir.path().join("root/opt/old"), "old").unwrap();
        fs::write(node.dir.path().join("root/opt/new"), "new").unwrap();
        node.line("boot_aggregate", "");
        node.line("/sbin/init", "init");
        node
    }

    fn list(&self) -> PathBuf {
        self.dir.path().join("binary_runtime_measurements")
    }

    fn line(&mut self, name: &str, content: &str) {
        self.bytes(&write::file(10, Algorithm::Sha1, &sha256(content), name.as_bytes()));
    }

    fn bytes(&mut self, bytes: &[u8]) {
        let mut list = OpenOptions::new().append(true).create(true).open(self.list()).unwrap();
        list.write_all(bytes).unwrap();
        self.lines += 1;
        self.count(self.lines);
    }

    fn count(&self, count: u64) {
        // Never seen half-written, as the kernel's is not.
        let path = self.dir.path().join("runtime_measurements_count");
        let mut file =
            OpenOptions::new().write(true).create(true).truncate(false).open(path).unwrap();
        file.write_all(format!("{count:06}\n").as_bytes()).unwrap();
    }

    fn arm(&self) -> ImaArmed {
        arm(&self.target(), Arc::clone(&self.told) as _, &self.options()).unwrap()
    }

    fn options(&self) -> Options {
        Options { folder: self.dir.path().to_owned(), every: Duration::from_millis(1) }
    }

    fn target(&self) -> Target {
        Target {
            container: "n/c".to_owned(),
            init_pid: self.init.id(),
            rootfs: self.dir.path().join("root"),
            upper: None,
            lower: Vec::new(),
            mode: Mode::Audit,
            block: Block::Exec,
            known: Arc::new(Nothing),
        }
    }

    /// A line of the template `ima-cgpath`.
    fn line_of(&mut self, cgroup: &str, name: &str, content: &str) {
        let mut data = Vec::new();
        for text in ["sh:systemd", cgroup] {
            data.extend(u32::try_from(text.len() + 1).unwrap().to_le_bytes());
            data.extend(text.as_bytes());
            data.push(0);
        }
        data.extend(write::ima_ng(&sha256(content), name.as_bytes()));
        self.bytes(&write::binary(10, &[1; 20], b"ima-cgpath", &data));
    }

    fn seen(&self) -> Vec<String> {
        let seen = self.told.seen.lock().unwrap();
        seen.iter().map(Measurement::shown_path).collect()
    }

    fn lost(&self) -> usize {
        self.told.lost.lock().unwrap().len()
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        let _ = self.init.wait();
    }
}

#[test]
fn a_file_that_the_container_has_is_its_own_and_others_are_counted() {
    let mut node = Node::new();
    let mut armed = node.arm();
    node.line("/bin/known", "as the baseline has it");
    node.line(NEW, "new");
    node.line(OLD, "another file of that name");
    node.line("/no/such/file", "new");
    let tally = Arc::clone(&armed.tally);
    armed.finish();
    let remark = armed.remark().unwrap();
    assert!(remark.contains("4 can't be attributed"), "{remark}");
    assert_eq!((node.seen(), node.lost()), (vec![NEW.to_owned()], 0));
    let count = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
    assert_eq!((count(&tally.judged), count(&tally.fitting)), (1, 1));
    assert_eq!(count(&tally.untold), 4, "with the boot's two lines");
}

#[test]
fn what_ran_before_and_is_still_there_is_told() {
    let mut node = Node::new();
    node.line(OLD, "old");
    drop(node.arm());
    assert_eq!(node.seen(), [OLD]);
}

#[test]
fn a_template_that_names_the_container_needs_no_file() {
    let mut node = Node::new();
    node.line_of("/lacre/web", "/gone/before", "x");
    node.line_of("/lacre/web", OLD, "old");
    let owner = Owner::in_cgroup("/lacre/web");
    let told = Arc::clone(&node.told) as _;
    let target = node.target();
    let left = Left::with(owner, target.init_pid, &node.options()).unwrap();
    let armed = follow(left, &target, told).unwrap();
    node.line_of("/lacre/web", "/gone/since", "x");
    node.line_of("/lacre/web/deeper", "/gone/deeper", "x");
    node.line_of("/lacre/other", NEW, "new");
    node.line_of("/lacre/web", "/bin/known", "what the baseline has is judged, too");
    let tally = Arc::clone(&armed.tally);
    drop(armed);
    assert_eq!(node.seen(), [OLD, "/gone/since", "/gone/deeper", "/bin/known"]);
    assert_eq!((tally.others.load(Ordering::Relaxed), node.lost()), (1, 0));
}

#[test]
fn memory_and_what_was_written_to_meanwhile_can_not_be_attributed() {
    let mut node = Node::new();
    let armed = node.arm();
    node.line("memfd:x", "x");
    let data = write::ima_ng(&Digest::sha256([0; 32]), NEW.as_bytes());
    node.bytes(&write::binary(10, &[0; 20], b"ima-ng", &data));
    drop(armed);
    assert_eq!((node.seen(), node.lost()), (Vec::new(), 0));
}

#[test]
fn a_list_that_is_no_list_any_longer_is_a_loss() {
    let mut node = Node::new();
    let armed = node.arm();
    node.bytes(&[0xff; 64]);
    drop(armed);
    assert_eq!(node.lost(), 1);
}

#[test]
fn lines_that_are_counted_and_not_there_are_a_loss() {
    let node = Node::new();
    let armed = node.arm();
    node.count(9);
    while node.lost() == 0 {
        std::thread::yield_now();
    }
    drop(armed);
    assert_eq!(node.lost(), 1);
}

#[test]
fn a_list_that_ends_within_a_line_is_a_loss() {
    let mut node = Node::new();
    let armed = node.arm();
    node.line(NEW, "new");
    let lines = node.lines;
    let half = write::file(10, Algorithm::Sha1, &sha256("x"), b"/half")[..30].to_vec();
    node.bytes(&half);
    node.count(lines);
    drop(armed);
    assert_eq!(node.lost(), 1);
}

#[test]
fn what_comes_up_once_the_reader_is_to_end_is_a_loss() {
    let mut node = Node::new();
    (0..1_000).for_each(|number| node.line(&format!("/bin/{number}"), "x"));
    let target = node.target();
    let mut watch = Watch {
        judge: Arc::clone(&node.told) as _,
        known: Arc::clone(&target.known),
        inside: Inside::of(&target, Held::open(std::process::id()).ok()),
        owner: Owner::default(),
        list: List::open(node.dir.path()).unwrap(),
        before: 0,
        every: Duration::ZERO,
        tally: Arc::default(),
        unfit: false,
        grace: Duration::ZERO,
        unread: 0,
    };
    let (woken, _) = io::pipe().unwrap();
    assert_eq!(watch.follow(&woken), Err(Loss::Overflow(Some(1_002))));
}

#[test]
fn a_weak_digest_is_told_of_once() {
    let mut node = Node::new();
    let armed = node.arm();
    let sha1 = Digest::new(Algorithm::Sha1, &[7; 20]).unwrap();
    for name in [OLD, NEW] {
        node.bytes(&write::file(10, Algorithm::Sha1, &sha1, name.as_bytes()));
    }
    drop(armed);
    assert_eq!((node.seen(), node.lost()), (Vec::new(), 1));
}

#[test]
fn a_node_that_measures_nothing_is_told_what_is_missing() {
    let node = Node::new();
    node.count(1);
    let options = Options { folder: node.dir.path().to_owned(), ..Options::default() };
    let error = probe(&options).unwrap_err().to_string();
    assert!(error.contains("policy"), "{error}");
    let none = Options { folder: "/nonexistent".into(), ..Options::default() };
    assert!(probe(&none).unwrap_err().to_string().contains("CONFIG_IMA"));
}
