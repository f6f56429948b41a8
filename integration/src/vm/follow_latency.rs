//! How far behind the kernel `container-ima` follows, and at what cost: in the guest, whose
//! agent is the shim here, with a real baseline and the analyzer's verdict on each line.
//!
//! The container is a process in a mount namespace of its own that executes many programs,
//! each with content of its own, so that each is a line. Beside the source, a bare loop of
//! poll and read follows the same list: what it takes from a program's start is the guest's
//! doing, and what the verdict comes later than it reads the line is the source's.

use std::env;
use std::fs::{self, File};
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::os::fd::AsFd as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::{Context, Result, ensure};
use lacre_analyzer::Verdict;
use lacre_attest::ima::{Form, Stream};
use lacre_baseline::{Baseline, NoProgress, open_or_build};
use lacre_measure::{Answer, Armed as _, Block, Judge, Loss, Outcome, Target, container_ima};
use lacre_types::proc_pid::{stat_field, status_field};
use lacre_types::{Algorithm, Measurement, Mode, Source};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use serde::{Deserialize, Serialize};

use super::deadline::SOON;
use crate::output::wait_for;

/// On the guest's tmpfs.
const FOLDER: &str = "/tmp/following";
/// What makes the agent run programs instead of serving requests.
pub const RUN: &str = "run-programs";
/// What makes it only put them there.
pub const MAKE: &str = "make-programs";

/// A half, and all but a hundredth, came within so many microseconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Spread {
    /// The median.
    pub p50: i64,
    /// The 99th percentile.
    pub p99: i64,
}

impl Spread {
    fn of(mut nanoseconds: Vec<i64>) -> Self {
        nanoseconds.sort_unstable();
        let at = |part: usize| {
            let place = (nanoseconds.len() * part / 100).min(nanoseconds.len().saturating_sub(1));
            nanoseconds.get(place).copied().unwrap_or_default() / 1000
        };
        Self { p50: at(50), p99: at(99) }
    }
}

/// What was measured.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Following {
    /// How many lines were followed.
    pub lines: u64,
    /// How many of them the baseline does not allow.
    pub violations: u64,
    /// From before a program's start to its end, as who runs it sees it.
    pub program: Spread,
    /// From before a program's start to its line's verdict.
    pub verdict: Spread,
    /// The same, to its line's being read by the bare loop, where there was one.
    pub bare: Option<Spread>,
    /// From the bare loop's reading a line to the verdict on it; negative where that came
    /// first.
    pub behind: Option<Spread>,
    /// The processor time of the source's thread, in milliseconds.
    pub cpu_ms: u64,
    /// Of the process, before the source was armed and at the end, in KiB.
    pub resident: (u64, u64),
}

fn now() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_nanos()).unwrap_or(u64::MAX)
}

fn bin() -> PathBuf {
    Path::new(FOLDER).join("bin")
}

/// When the line of each program was judged.
struct Stamps {
    baseline: Arc<Baseline>,
    judged: Vec<AtomicU64>,
    count: AtomicU64,
    violations: AtomicU64,
    lost: AtomicU64,
}

impl Judge for Stamps {
    fn judge(&self, _: &Measurement) -> Answer {
        Answer::Allow
    }

    fn seen(&self, measurement: Measurement, _: Outcome) {
        if matches!(
            lacre_analyzer::judge(Some(&*self.baseline), &measurement),
            Verdict::Violation(_)
        ) {
            self.violations.fetch_add(1, Ordering::Relaxed);
        }
        let name = measurement.path.as_ref().map(|path| path.as_bytes()).unwrap_or_default();
        if let Some(stamp) = number(name).and_then(|number| self.judged.get(number)) {
            stamp.store(now(), Ordering::Relaxed);
        }
        self.count.fetch_add(1, Ordering::Release);
    }

    fn lost(&self, _: Source, _: Loss) {
        self.lost.fetch_add(1, Ordering::Relaxed);
    }
}

/// Of `…/p17`.
fn number(name: &[u8]) -> Option<usize> {
    let at = name.iter().rposition(|byte| *byte == b'p')?;
    std::str::from_utf8(&name[at + 1..]).ok()?.parse().ok()
}

/// Follows that many programs; with `beside`, next to the bare loop.
pub(super) fn follow(programs: usize, beside: bool) -> Result<Following> {
    let lower = make_programs(programs)?;
    let state = Path::new(FOLDER).join("state");
    let made = open_or_build(&[lower], &state, &lacre_baseline::Options::default(), &NoProgress)?;
    let (baseline, index) = made;
    let mut child = Command::new("unshare")
        .arg("-m")
        .arg(env::current_exe()?)
        .args([RUN, &programs.to_string()])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()?;
    let mut answers = BufReader::new(child.stdout.take().context("no output")?);
    let mut line = String::new();
    answers.read_line(&mut line)?;
    ensure!(line == "ready\n", "{line:?} from who runs the programs");

    let stamps = Arc::new(Stamps {
        baseline,
        judged: (0..programs).map(|_| AtomicU64::new(0)).collect(),
        count: AtomicU64::new(0),
        violations: AtomicU64::new(0),
        lost: AtomicU64::new(0),
    });
    let name = format!("following/{programs}-{beside}");
    let target = Target {
        container: name.clone(),
        init_pid: child.id(),
        rootfs: "/".into(),
        upper: None,
        lower: Vec::new(),
        mode: Mode::Audit,
        block: Block::Exec,
        known: index,
    };
    let resident = resident()?;
    let options = container_ima::Options::below(&state, &state, "");
    let armed = container_ima::arm(&target, Arc::clone(&stamps) as _, &options)?;
    let list = options.folder.join(container_ima::list_id(&name)?);
    let bare = beside.then(|| std::thread::spawn(move || read_bare(&list, programs)));
    drop(child.stdin.take().map(|mut go| go.write_all(b"\n")));
    let mut ran = String::new();
    answers.read_to_string(&mut ran)?;
    child.wait()?;
    wait_for("every line's verdict", SOON, || {
        Ok((stamps.count.load(Ordering::Acquire) >= programs as u64).then_some(()))
    })?;
    let (cpu_ms, after) = (thread_cpu(armed.source().as_str())?, self::resident()?);
    let bare = bare.map(|bare| bare.join().map_err(|_| anyhow::anyhow!("the bare loop")));
    let bare = bare.transpose()?.transpose()?;
    drop(armed);
    fs::remove_dir_all(FOLDER)?;
    ensure!(stamps.lost.load(Ordering::Relaxed) == 0, "lines were lost");
    evaluate(&stamps, &ran, bare.as_deref(), cpu_ms, (resident, after))
}

fn evaluate(
    stamps: &Stamps,
    ran: &str,
    bare: Option<&[u64]>,
    cpu_ms: u64,
    resident: (u64, u64),
) -> Result<Following> {
    let times: Vec<(u64, u64)> = ran
        .lines()
        .filter_map(|line| line.split_once(' '))
        .map(|(from, to)| Ok((from.parse()?, to.parse()?)))
        .collect::<Result<_>>()?;
    let judged: Vec<u64> =
        stamps.judged.iter().map(|stamp| stamp.load(Ordering::Relaxed)).collect();
    ensure!(times.len() == judged.len() && !judged.contains(&0), "some programs have no line");
    let spread = |pairs: &mut dyn Iterator<Item = (u64, u64)>| {
        Spread::of(pairs.map(|(from, to)| to.cast_signed() - from.cast_signed()).collect())
    };
    let starts = || times.iter().map(|(from, _)| *from);
    Ok(Following {
        lines: stamps.count.load(Ordering::Relaxed),
        violations: stamps.violations.load(Ordering::Relaxed),
        program: spread(&mut times.iter().copied()),
        verdict: spread(&mut starts().zip(judged.iter().copied())),
        bare: bare.map(|bare| spread(&mut starts().zip(bare.iter().copied()))),
        behind: bare.map(|bare| spread(&mut bare.iter().copied().zip(judged.iter().copied()))),
        cpu_ms,
        resident,
    })
}

/// Puts that many programs where [`run_programs`] finds them.
///
/// # Errors
/// When they can't be written.
pub fn put_programs(count: &str) -> Result<()> {
    make_programs(count.parse()?).map(drop)
}

/// Programs that end at once, each with another last byte or eight, and the same below a
/// folder that stands for an image's layer.
fn make_programs(count: usize) -> Result<PathBuf> {
    let _ = fs::remove_dir_all(FOLDER);
    let lower = Path::new(FOLDER).join("lower");
    let own = lower.join(bin().strip_prefix("/")?);
    fs::create_dir_all(&own)?;
    fs::create_dir_all(bin())?;
    for number in 0..count {
        let path = own.join(format!("p{number}"));
        fs::write(&path, program(number))?;
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755))?;
        fs::hard_link(&path, bin().join(format!("p{number}")))?;
    }
    Ok(lower)
}

/// An ELF for x86-64 of one segment, which holds `exit(0)` and then `number`.
fn program(number: usize) -> Vec<u8> {
    const BASE: u64 = 0x40_0000;
    const HEADERS: u16 = 64 + 56;
    // mov $60, %eax; xor %edi, %edi; syscall
    const EXIT: [u8; 9] = [0xb8, 60, 0, 0, 0, 0x31, 0xff, 0x0f, 0x05];
    let mut file = b"\x7fELF\x02\x01\x01\0\0\0\0\0\0\0\0\0".to_vec();
    let size = u64::from(HEADERS) + EXIT.len() as u64 + 8;
    let halves = |file: &mut Vec<u8>, all: &[u16]| {
        all.iter().for_each(|half| file.extend(half.to_le_bytes()));
    };
    // ET_EXEC, EM_X86_64, EV_CURRENT; entry, program headers, no section headers; flags.
    halves(&mut file, &[2, 62, 1, 0]);
    file.extend((BASE + u64::from(HEADERS)).to_le_bytes());
    file.extend(64u64.to_le_bytes());
    file.extend([0; 12]);
    halves(&mut file, &[64, 56, 1, 64, 0, 0]);
    // PT_LOAD, read and execute; the whole file.
    file.extend(1u32.to_le_bytes());
    file.extend(5u32.to_le_bytes());
    for word in [0, BASE, BASE, size, size, 4096] {
        file.extend(word.to_le_bytes());
    }
    file.extend(EXIT);
    file.extend((number as u64).to_le_bytes());
    file
}

/// The container's side: runs them when told to, and says when each was started and over.
///
/// # Errors
/// When one does not run.
pub fn run_programs(count: &str) -> Result<()> {
    let count: usize = count.parse()?;
    let mut out = std::io::stdout().lock();
    out.write_all(b"ready\n")?;
    out.flush()?;
    std::io::stdin().read_line(&mut String::new())?;
    let mut times = Vec::with_capacity(count);
    for number in 0..count {
        let path = bin().join(format!("p{number}"));
        let start = now();
        let status = Command::new(&path).stdin(Stdio::null()).status()?;
        times.push((start, now()));
        ensure!(status.success(), "{}: {status}", path.display());
    }
    for (start, end) in times {
        writeln!(out, "{start} {end}")?;
    }
    Ok(())
}

/// When each line was read by a loop that does nothing else.
fn read_bare(list: &Path, count: usize) -> Result<Vec<u64>> {
    let mut file = File::open(list.join("binary_runtime_measurements"))?;
    let mut stream = Stream::new(Form::Binary, Algorithm::Sha1);
    let (mut stamps, mut bytes) = (vec![0; count], vec![0; 64 << 10]);
    while stream.lines() < count as u64 {
        poll(&mut [PollFd::new(file.as_fd(), PollFlags::POLLIN)], PollTimeout::NONE)?;
        let read = file.read(&mut bytes)?;
        let time = now();
        stream.feed(&bytes[..read], |_, entry| {
            if let Some(stamp) = entry.name().and_then(number).and_then(|at| stamps.get_mut(at)) {
                *stamp = time;
            }
        })?;
    }
    Ok(stamps)
}

fn resident() -> Result<u64> {
    let status = fs::read("/proc/self/status")?;
    let kib = status_field(&status, "VmRSS").and_then(|mut words| words.next());
    Ok(kib.context("no VmRSS")?.parse()?)
}

/// Of the thread of that name, in milliseconds: fields 14 and 15 of its `stat`, in ticks of
/// 10 ms.
fn thread_cpu(name: &str) -> Result<u64> {
    for task in fs::read_dir("/proc/self/task")? {
        let task = task?.path();
        if fs::read(task.join("comm"))? == format!("{name}\n").as_bytes() {
            let stat = fs::read(task.join("stat"))?;
            let ticks = |field| stat_field::<u64>(&stat, field).context("a short stat");
            return Ok((ticks(14)? + ticks(15)?) * 10);
        }
    }
    anyhow::bail!("no thread is called {name}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_programs_run() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("p1");
        fs::write(&path, program(1)).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
        assert!(Command::new(path).status().unwrap().success());
        assert_ne!(program(1), program(2));
    }

    #[test]
    fn a_spread_is_in_microseconds() {
        let spread = Spread::of((1..=1000).map(|n| n * 1000).collect());
        assert_eq!(spread, Spread { p50: 501, p99: 991 });
        assert_eq!(Spread::of(Vec::new()), Spread { p50: 0, p99: 0 });
    }
}
