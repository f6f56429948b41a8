//! A node with a bpffs of its own, containers of real namespaces on real overlays, and a
//! judge that remembers.

#![allow(
    dead_code,
    unreachable_pub,
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "each test file uses its part, and a test fails where it must"
)]

pub mod guarded;
pub mod place;
pub mod programs;

use std::collections::HashMap;
use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::{Arc, Condvar, Mutex};
use std::time::{Duration, Instant};

use lacre_measure::exec_trace::Options;
use lacre_measure::{
    Answer, Block, Judge, Known, KnownFile, LetPass, Listing, Loss, Outcome, Spared, Target,
};
use lacre_policy::{Effective, PathTable, Policy, Subject};
use lacre_types::{
    Action, CanonicalPath, Content, Digest, FileId, Measurement, Mode, Source, ViolationKind,
};
use rustix::mount::MountFlags;
use tempfile::TempDir;

pub use place::copy;
pub use programs::compile;

/// A limit for what must come, not a time to wait for.
pub const PATIENCE: Duration = Duration::from_secs(20);

/// The folder of the pins, on a bpffs that goes with the test.
pub struct Node {
    dir: TempDir,
}

impl Node {
    pub fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        rustix::mount::mount("bpf", dir.path(), "bpf", MountFlags::empty(), c"mode=700").unwrap();
        Self { dir }
    }

    pub fn folder(&self) -> PathBuf {
        self.dir.path().join("lacre")
    }

    pub fn options(&self) -> Options {
        Options { folder: self.folder(), fetch: cfg!(target_arch = "x86_64"), ..Options::default() }
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        let _ = lacre_measure::exec_trace::unpin_all(&self.folder());
        let _ = rustix::mount::unmount(self.dir.path(), rustix::mount::UnmountFlags::DETACH);
    }
}

/// The image: what is in its lower directory, and which of it the baseline allows.
pub struct Image {
    pub dir: TempDir,
    pub allowed: HashMap<CanonicalPath, KnownFile>,
}

impl Image {
    pub fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path().join("lower");
        for folder in ["bin", "opt", "tmp", "proc", "dev/shm", "mnt"] {
            fs::create_dir_all(root.join(folder)).unwrap();
        }
        compile("t", &root.join("bin/t"), &[]);
        compile("evil.c", &root.join("opt/evil.so"), &["-shared", "-fPIC"]);
        copy(root.join("bin/t"), root.join("opt/evil"));
        copy("/bin/dash", root.join("bin/sh"));
        let mut allowed = vec!["/bin/t".to_owned(), "/bin/sh".to_owned()];
        // What both programs are linked with.
        let libraries = Command::new("ldd").arg("/bin/dash").output().unwrap().stdout;
        for word in String::from_utf8(libraries).unwrap().split_whitespace() {
            if let Some(below) = word.strip_prefix('/') {
                let to = root.join(below);
                fs::create_dir_all(to.parent().unwrap()).unwrap();
                copy(word, to);
                allowed.push(word.to_owned());
            }
        }
        let allowed = allowed
            .into_iter()
            .map(|path| (CanonicalPath::new(&path).unwrap(), known(&root.join(&path[1..]))))
            .collect();
        Self { dir, allowed }
    }

    pub fn lower(&self) -> PathBuf {
        self.dir.path().join("lower")
    }

    /// The helper, where the host sees it.
    pub fn helper(&self) -> PathBuf {
        self.lower().join("bin/t")
    }

    pub fn allow(&mut self, path: &str) {
        let file = known(&self.lower().join(&path[1..]));
        self.allowed.insert(CanonicalPath::new(path).unwrap(), file);
    }
}

pub fn known(path: &Path) -> KnownFile {
    let stat = fs::metadata(path).unwrap();
    KnownFile { id: id_of(path), size: stat.len(), digest: digest_of(path) }
}

pub fn id_of(path: &Path) -> FileId {
    let stat = fs::metadata(path).unwrap();
    FileId {
        dev: FileId::kernel_dev(rustix::fs::major(stat.dev()), rustix::fs::minor(stat.dev())),
        ino: stat.ino(),
        ctime_sec: stat.ctime(),
        ctime_nsec: stat.ctime_nsec() as u32,
    }
}

pub fn digest_of(path: &Path) -> Digest {
    use sha2::Digest as _;
    Digest::sha256(sha2::Sha256::digest(fs::read(path).unwrap()).into())
}

pub struct Files(pub HashMap<CanonicalPath, KnownFile>);

impl Known for Files {
    fn by_path(&self, path: &CanonicalPath) -> Option<KnownFile> {
        self.0.get(path).cloned()
    }

    fn listed(&self, path: &CanonicalPath) -> Listing {
        self.by_path(path).map_or(Listing::No, |file| Listing::Yes(Some(file.size)))
    }

    fn by_inode(&self, dev: u32, ino: u64) -> Option<(CanonicalPath, KnownFile)> {
        self.0
            .iter()
            .find(|(_, file)| file.id.dev == dev && file.id.ino == ino)
            .map(|(path, file)| (path.clone(), file.clone()))
    }

    fn allowed(&self) -> Box<dyn Iterator<Item = FileId> + '_> {
        Box::new(self.0.values().map(|file| file.id))
    }
}

/// Remembers what it was told; allows what the baseline has.
pub struct Recorder {
    pub mode: Mode,
    pub baseline: Mutex<HashMap<CanonicalPath, Digest>>,
    pub spared: Mutex<Spared>,
    /// What it lets run all the same.
    pub policy: Mutex<Option<Effective>>,
    seen: Mutex<Seen>,
    more: Condvar,
}

#[derive(Default)]
struct Seen {
    measurements: Vec<(Measurement, Outcome)>,
    losses: Vec<Loss>,
}

impl Recorder {
    pub fn new(mode: Mode, image: &Image) -> Arc<Self> {
        let baseline = image.allowed.iter().map(|(path, file)| (path.clone(), file.digest));
        Arc::new(Self {
            mode,
            baseline: Mutex::new(baseline.collect()),
            spared: Mutex::default(),
            policy: Mutex::default(),
            seen: Mutex::default(),
            more: Condvar::new(),
        })
    }

    pub fn all(&self) -> Vec<(Measurement, Outcome)> {
        self.seen.lock().unwrap().measurements.clone()
    }

    pub fn losses(&self) -> Vec<Loss> {
        self.seen.lock().unwrap().losses.clone()
    }

    /// Whoever tells it something waits, until what this gives is dropped.
    pub fn hold(&self) -> impl Sized + '_ {
        self.seen.lock().unwrap()
    }

    /// The first measurement like this, which must come.
    /// Sets what it lets run, by a policy file.
    pub fn follow(&self, policy: &str) {
        let (policy, _) = Policy::parse("p", policy.as_bytes()).unwrap();
        *self.policy.lock().unwrap() = Some(policy.effective(&Subject::default()));
    }

    fn skips(&self, path: &CanonicalPath) -> bool {
        let is_listed = self.baseline.lock().unwrap().contains_key(path);
        let kind =
            if is_listed { ViolationKind::InvalidHash } else { ViolationKind::EntryNotFound };
        let policy = self.policy.lock().unwrap();
        let action = policy.as_ref().map(|policy| policy.decide(kind, Some(path)).action);
        action == Some(Action::Skip)
    }

    pub fn wait(&self, like: impl Fn(&Measurement) -> bool) -> (Measurement, Outcome) {
        self.wait_after(0, like)
    }

    /// One that came after so many others.
    pub fn wait_after(
        &self,
        others: usize,
        like: impl Fn(&Measurement) -> bool,
    ) -> (Measurement, Outcome) {
        let limit = Instant::now() + PATIENCE;
        let mut seen = self.seen.lock().unwrap();
        loop {
            let mut later = seen.measurements.iter().skip(others);
            if let Some(found) = later.find(|(found, _)| like(found)) {
                return found.clone();
            }
            let left = limit.saturating_duration_since(Instant::now());
            assert!(!left.is_zero(), "not seen; only {:#?}", seen.measurements);
            seen = self.more.wait_timeout(seen, left).unwrap().0;
        }
    }

    pub fn wait_path(&self, path: &str) -> (Measurement, Outcome) {
        let path = CanonicalPath::new(path).unwrap();
        self.wait(|found| found.path.as_ref() == Some(&path))
    }

    pub fn wait_loss(&self) -> Loss {
        let limit = Instant::now() + PATIENCE;
        let mut seen = self.seen.lock().unwrap();
        loop {
            if let Some(loss) = seen.losses.first() {
                return loss.clone();
            }
            let left = limit.saturating_duration_since(Instant::now());
            assert!(!left.is_zero(), "no loss was told");
            seen = self.more.wait_timeout(seen, left).unwrap().0;
        }
    }
}

impl Judge for Recorder {
    fn spared(&self) -> Spared {
        *self.spared.lock().unwrap()
    }

    fn let_pass(&self) -> LetPass {
        let policy = self.policy.lock().unwrap();
        let Some(policy) = policy.as_ref() else { return LetPass::default() };
        let PathTable { transitions, lets_run } =
            policy.path_table(ViolationKind::EntryNotFound).unwrap();
        let may = |kind, path| policy.decide(kind, Some(path)).action == Action::Skip;
        let baseline = self.baseline.lock().unwrap();
        let listed = baseline.keys().map(|path| (path, may(ViolationKind::InvalidHash, path)));
        let listed = listed.filter(|(path, it)| may(ViolationKind::EntryNotFound, path) != *it);
        let listed = listed.map(|(path, it)| (path.clone(), it)).collect();
        LetPass { transitions, lets_run, listed, is_too_much: false }
    }

    fn judge(&self, measurement: &Measurement) -> Answer {
        let spared = match (&measurement.content, &measurement.path) {
            (Content::Memory(_), _) => self.spared().memory,
            (Content::Fileless, _) => self.spared().programs,
            (_, Some(path)) => self.skips(path),
            _ => false,
        };
        if self.mode == Mode::Audit || spared || self.settled(measurement) {
            Answer::Allow
        } else {
            Answer::Deny
        }
    }

    fn settled(&self, measurement: &Measurement) -> bool {
        let (Some(path), Some(digest)) = (&measurement.path, measurement.digest()) else {
            return false;
        };
        self.baseline.lock().unwrap().get(path) == Some(digest)
    }

    fn seen(&self, measurement: Measurement, outcome: Outcome) {
        self.seen.lock().unwrap().measurements.push((measurement, outcome));
        self.more.notify_all();
    }

    fn lost(&self, _: Source, loss: Loss) {
        self.seen.lock().unwrap().losses.push(loss);
        self.more.notify_all();
    }
}

/// A container whose init waits for its command.
pub struct Container {
    pub dir: TempDir,
    pub init_pid: u32,
    helper: PathBuf,
    shell: Child,
    pub stdin: Option<ChildStdin>,
    pub stdout: BufReader<ChildStdout>,
}

impl Container {
    pub fn new(image: &Image) -> Self {
        let dir = tempfile::tempdir().unwrap();
        for folder in ["upper", "work", "merged"] {
            fs::create_dir(dir.path().join(folder)).unwrap();
        }
        // What the image has as it came may be mapped: this is the container's own.
        fs::create_dir(dir.path().join("upper/opt")).unwrap();
        copy(image.lower().join("opt/evil.so"), dir.path().join("upper/opt/evil.so"));
        // A copy that is not the image's, as runc is not the container's.
        let helper = dir.path().join("runc");
        copy(image.helper(), &helper);
        let mut shell = Command::new(&helper)
            .arg("init")
            .arg(image.lower())
            .args(["upper", "work", "merged"].map(|folder| dir.path().join(folder)))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut stdout = BufReader::new(shell.stdout.take().unwrap());
        let mut pid = String::new();
        stdout.read_line(&mut pid).unwrap();
        let init_pid = pid.trim().parse().expect("the container's init did not come up");
        let stdin = shell.stdin.take();
        Self { dir, init_pid, helper, shell, stdin, stdout }
    }

    pub fn target(&self, image: &Image, mode: Mode) -> Target {
        Target {
            container: format!("test/{}", self.init_pid),
            init_pid: self.init_pid,
            rootfs: self.dir.path().join("merged"),
            upper: Some(self.dir.path().join("upper")),
            lower: vec![image.lower()],
            mode,
            block: Block::default(),
            known: Arc::new(Files(image.allowed.clone())),
        }
    }

    /// Keeps it, and what it will fork, on the last processor.
    pub fn pin(&self) {
        let mut cpus = rustix::thread::CpuSet::new();
        cpus.set(std::thread::available_parallelism().unwrap().get() - 1);
        let pid = rustix::process::Pid::from_raw(self.init_pid as i32);
        rustix::thread::sched_setaffinity(pid, &cpus).unwrap();
    }

    /// A path of its upper directory.
    pub fn upper(&self, path: &str) -> PathBuf {
        self.dir.path().join("upper").join(&path[1..])
    }

    /// Starts the container's program; it reads what `stdin` still brings.
    pub fn start(&mut self, line: &str) {
        writeln!(self.stdin.as_mut().unwrap(), "{line}").unwrap();
    }

    /// Starts it and waits for its end: its status, 128 and the signal if it was killed.
    pub fn run(&mut self, line: &str) -> i32 {
        self.start(line);
        self.finish()
    }

    pub fn finish(&mut self) -> i32 {
        self.stdin = None;
        self.shell.wait().unwrap().code().unwrap()
    }

    /// A line from its program.
    pub fn line(&mut self) -> String {
        let mut line = String::new();
        self.stdout.read_line(&mut line).unwrap();
        line.trim().to_owned()
    }

    /// For a container started as `/bin/t each`: the status of one more command.
    pub fn each(&mut self, line: &str) -> i32 {
        self.start(line);
        self.line().parse().unwrap()
    }

    /// Enters from outside, and waits for [`Entering::go`] before it is in.
    pub fn enter_when_told(&self, line: &str) -> Entering {
        let mut child = Command::new(&self.helper)
            .arg("enter-when-told")
            .arg(self.init_pid.to_string())
            .args(line.split(' '))
            .stdin(Stdio::piped())
            .spawn()
            .unwrap();
        let stdin = child.stdin.take();
        Entering { child, stdin }
    }

    /// Enters from outside, as `runc exec` does.
    pub fn enter(&self, line: &str) -> i32 {
        let status = Command::new(&self.helper)
            .arg("enter")
            .arg(self.init_pid.to_string())
            .args(line.split(' '))
            .status();
        status.unwrap().code().unwrap()
    }
}

impl Drop for Container {
    fn drop(&mut self) {
        self.stdin = None;
        if let Ok(None) = self.shell.try_wait() {
            // The end of its init is the end of all that is in it.
            if let Some(pid) = rustix::process::Pid::from_raw(self.init_pid as i32) {
                let _ = rustix::process::kill_process(pid, rustix::process::Signal::KILL);
            }
            let _ = self.shell.wait();
        }
    }
}

/// A process that waits to enter a container.
pub struct Entering {
    child: Child,
    stdin: Option<ChildStdin>,
}

impl Entering {
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Lets it enter; the status of what it ran.
    pub fn go(&mut self) -> i32 {
        self.stdin = None;
        self.child.wait().unwrap().code().unwrap()
    }
}

/// A file that is there, as a sign that a program's instructions ran.
pub fn ran(container: &Container, mark: &str) -> bool {
    container.upper(mark).exists()
}
