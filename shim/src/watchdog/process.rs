//! The watchdog's own process.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::fs::{MetadataExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use lacre_sys::fork::{Forked, fork};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::{Mode, OFlags};
use rustix::net::{
    AddressFamily, SocketAddrUnix, SocketFlags, SocketType, accept_with, bind, listen, socket_with,
    sockopt,
};

use super::guard::{Guard, Line};
use super::link::socket;
use super::stand_in;
use crate::node::open_files;
use crate::node::process::Process;

/// How often every guard is asked whether it gets on.
const ROUND: Duration = Duration::from_secs(5);
/// How long one that was asked has until it is asked again.
const TURN: Duration = Duration::from_secs(1);
/// How long it stays without a guard: the next container may come at once.
const ALONE: Duration = Duration::from_secs(20);
/// How many guards may come between two looks.
const BACKLOG: i32 = 256;
/// For another watchdog that is ending, and has the lock still.
const LOCK: (u32, Duration) = (50, Duration::from_millis(10));

/// Runs until there has been no guard for a while. Returns at once where another one runs, and
/// in the process that was started when the one that stays listens. With `stay`, as a unit of
/// the node's, it waits until no other runs, and never ends for want of guards.
#[must_use]
pub fn main(run: &Path, stay: bool) -> ExitCode {
    match begin(run, stay) {
        Ok(Some(watching)) => {
            watching.run();
            ExitCode::SUCCESS
        }
        Ok(None) => ExitCode::SUCCESS,
        Err(_) => ExitCode::FAILURE,
    }
}

/// The lock, and what listens; `None` in the process that was started, and where another runs.
fn begin(run: &Path, stay: bool) -> io::Result<Option<Watching>> {
    let Some(lock) = lock(&run.join("watchdog.lock"), stay)? else { return Ok(None) };
    let (ready, listens) = io::pipe()?;
    if !stay {
        if let Forked::Parent(_) = fork()? {
            drop(listens);
            // It says nothing: its end of the pipe closes.
            let _ = io::read_to_string(ready);
            return Ok(None);
        }
        rustix::process::setsid()?;
    }
    drop(ready);
    open_files::raise();
    let path = socket(run);
    let _ = fs::remove_file(&path);
    let (listener, own) = listen_at(&path)?;
    drop(listens);
    let work = Arc::default();
    let guards = stand_in::places(run).into_iter().map(Guard::unheard).collect();
    let alone = (!stay).then_some(ALONE);
    Ok(Some(Watching { path, own, listener, alone, guards, work, _lock: lock }))
}

/// What listens there, and which file that is.
fn listen_at(path: &Path) -> io::Result<(OwnedFd, (u64, u64))> {
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let listener = socket_with(AddressFamily::UNIX, SocketType::SEQPACKET, flags, None)?;
    // It has its mode from the first.
    let before = rustix::process::umask(Mode::from_raw_mode(0o177));
    let bound = bind(&listener, &SocketAddrUnix::new(path)?);
    rustix::process::umask(before);
    bound?;
    listen(&listener, BACKLOG)?;
    let own = fs::symlink_metadata(path).map(|found| (found.dev(), found.ino()))?;
    Ok((listener, own))
}

fn lock(path: &Path, wait: bool) -> io::Result<Option<File>> {
    let flags = OFlags::NOFOLLOW.bits().cast_signed();
    let mut options = OpenOptions::new();
    options.create(true).truncate(false).write(true).mode(0o600).custom_flags(flags);
    let file = options.open(path)?;
    if wait {
        file.lock()?;
        return Ok(Some(file));
    }
    for _ in 0..LOCK.0 {
        match file.try_lock() {
            Ok(()) => return Ok(Some(file)),
            Err(fs::TryLockError::WouldBlock) => thread::sleep(LOCK.1),
            Err(fs::TryLockError::Error(error)) => return Err(error),
        }
    }
    Ok(None)
}

struct Watching {
    path: PathBuf,
    own: (u64, u64),
    listener: OwnedFd,
    /// How long it stays without a guard; `None`: for good.
    alone: Option<Duration>,
    guards: Vec<Guard>,
    /// How many dead guards are being stood in for.
    work: Arc<AtomicUsize>,
    _lock: File,
}

impl Watching {
    fn run(mut self) {
        let now = Instant::now();
        let (mut round, mut turn, mut had) = (now + ROUND, now + TURN, now);
        // Those that died before.
        self.hear();
        loop {
            let now = Instant::now();
            if !self.guards.is_empty() || self.work.load(Ordering::Acquire) > 0 {
                had = now;
            }
            // Its run directory may be gone too, with all that was in it.
            if self.alone.is_some_and(|alone| now >= had + alone) || !self.is_found() {
                break;
            }
            let waits = self.guards.iter().any(|guard| guard.asked);
            let next = if waits { turn.min(round) } else { round };
            self.wait(next.saturating_duration_since(now));
            self.accept();
            // What has been said is heard before anyone's time is over.
            self.hear();
            let now = Instant::now();
            if waits && now >= turn {
                self.guards.iter_mut().for_each(|guard| guard.overdue(&self.work));
                turn = now + TURN;
            }
            if now >= round {
                self.guards.iter_mut().for_each(Guard::ask);
                (round, turn) = (now + ROUND, now + TURN);
            }
        }
        if self.is_own() {
            let _ = fs::remove_file(&self.path);
        }
    }

    /// Whether guards find this one; where somebody removed its socket, by another.
    fn is_found(&mut self) -> bool {
        let found = fs::symlink_metadata(&self.path);
        if found.is_err_and(|error| error.kind() == io::ErrorKind::NotFound)
            && let Ok((listener, own)) = listen_at(&self.path)
        {
            (self.listener, self.own) = (listener, own);
        }
        self.is_own()
    }

    fn is_own(&self) -> bool {
        let found = fs::symlink_metadata(&self.path);
        found.is_ok_and(|found| (found.dev(), found.ino()) == self.own)
    }

    fn wait(&self, limit: Duration) {
        let limit = Timespec {
            tv_sec: i64::try_from(limit.as_secs()).unwrap_or(i64::MAX),
            tv_nsec: limit.subsec_nanos().into(),
        };
        let mut fds = vec![PollFd::new(&self.listener, PollFlags::IN)];
        let lines = self.guards.iter().filter_map(|guard| guard.line.fd());
        fds.extend(lines.map(|fd| PollFd::new(fd, PollFlags::IN)));
        if poll(&mut fds, Some(&limit)).is_err_and(|error| error != rustix::io::Errno::INTR) {
            // Out of memory, say: not at full speed.
            thread::sleep(TURN);
        }
    }

    fn accept(&mut self) {
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        while let Ok(link) = accept_with(&self.listener, flags) {
            // The socket is 0600, and a descriptor may have been handed on.
            let Ok(peer) = sockopt::socket_peercred(&link) else { continue };
            let process = u32::try_from(peer.pid.as_raw_nonzero().get()).ok();
            let Some(process) = process.and_then(Process::by_pid) else { continue };
            if peer.uid == rustix::process::geteuid() {
                let connected = self.connected(process, link);
                self.guards.push(connected);
            }
        }
    }

    /// A guard that has made a connection: in the place of the one that it had, whether or not that
    /// one's end has been seen yet. A process has one, and the newest is the true one.
    fn connected(&mut self, process: Process, link: OwnedFd) -> Guard {
        let its = |guard: &Guard| guard.process == Some(process);
        let had = self.guards.iter().position(its).map(|at| self.guards.swap_remove(at));
        // What it had is held on to until it says that anew.
        let (place, groups, killed) = had.map_or_else(Default::default, |mut had| {
            had.listen();
            had.groups.begin_anew();
            (had.place, had.groups, had.killed)
        });
        let (line, process, asked, turns) = (Line::Link(link), Some(process), false, 0);
        Guard { line, process, place, groups, asked, turns, killed }
    }

    fn hear(&mut self) {
        for guard in std::mem::take(&mut self.guards) {
            if let Some(there) = self.hear_one(guard) {
                self.guards.push(there);
            }
        }
    }

    /// What a guard says; `None` when it has gone.
    fn hear_one(&self, mut guard: Guard) -> Option<Guard> {
        guard.listen();
        if matches!(guard.line, Line::Link(_)) {
            return Some(guard);
        }
        if guard.process.is_some_and(|process| !process.wait(Duration::ZERO)) {
            return guard.place.is_some().then_some(guard);
        }
        let Guard { process, place, groups, .. } = guard;
        let work = (place?, process, groups);
        let stood_in = stand_in::begin(&self.work, work, |(place, process, groups)| {
            stand_in::of(&place, process, groups);
        });
        // Its groups are held until somebody can be had who stands in.
        stood_in.err().map(|(place, process, groups)| Guard::dead(place, process, groups))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::node::cgroup::tests::InCgroup;
    use crate::node::run_dir::Place;
    use crate::watchdog::guard::TURNS;
    use crate::watchdog::link::{self, Held};
    use rustix::net::connect;
    use std::process::Command;

    fn watching(run: &Path) -> Watching {
        fs::create_dir_all(run.join("s")).unwrap();
        begin(run, true).unwrap().unwrap()
    }

    fn connects(watching: &Watching, place: &Path) -> OwnedFd {
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        let link = socket_with(AddressFamily::UNIX, SocketType::SEQPACKET, flags, None).unwrap();
        connect(&link, &SocketAddrUnix::new(&watching.path).unwrap()).unwrap();
        link::introduce(&link, place).unwrap();
        link
    }

    /// The watchdog did not run between the end of the one connection and the other.
    #[test]
    fn a_connection_that_is_seen_before_the_old_ones_end_is_the_same_guards() {
        let dir = tempfile::tempdir().unwrap();
        let place = dir.path().join("s/0a");
        let mut watching = watching(dir.path());
        let group = || vec![File::open("/dev/null").unwrap().into()];
        let first = connects(&watching, &place);
        watching.accept();
        watching.hear();
        // Said, and not heard yet.
        link::hand_over(&first, &group()).unwrap();
        rustix::net::shutdown(&first, rustix::net::Shutdown::Both).unwrap();
        let second = connects(&watching, &place);
        watching.accept();
        watching.hear();
        let [guard] = &watching.guards[..] else { panic!("{} guards", watching.guards.len()) };
        assert!(matches!(guard.line, Line::Link(_)));
        assert_eq!((guard.groups.len(), guard.asked), (1, false), "what it had is held");
        assert_eq!(guard.place, Some(Place::at(place)));
        assert_eq!(guard.process, Process::own());
        drop((first, second));
    }

    /// Set where this test runs itself again, with as few threads as it likes.
    const AGAIN: &str = "LACRE_TEST_WITHOUT_THREADS";

    #[test]
    fn without_a_thread_a_dead_guards_groups_are_held_and_a_hung_one_is_tried_again() {
        if std::env::var_os(AGAIN).is_none() {
            let name = "watchdog::process::tests::\
                        without_a_thread_a_dead_guards_groups_are_held_and_a_hung_one_is_tried_again";
            let mut again = Command::new(std::env::current_exe().unwrap());
            let again = again.args(["--exact", name, "--test-threads=1"]).env(AGAIN, "1");
            let output = again.output().unwrap();
            let said = String::from_utf8_lossy(&output.stdout);
            assert!(output.status.success() && said.contains("1 passed"), "{said}");
            return;
        }
        let dir = tempfile::tempdir().unwrap();
        let places = ["0a", "0b"].map(|name| Place::at(dir.path().join("s").join(name)));
        let mut watching = watching(dir.path());
        let sleeps = || Command::new("sleep").arg("1000").spawn().unwrap();
        let mut children = [sleeps(), sleeps()];
        let (reads, group) = std::io::pipe().unwrap();
        for (child, place) in children.iter().zip(&places) {
            let process = Process::by_pid(child.id());
            let (line, place) = (Line::Lost(None), Some(place.clone()));
            let (groups, asked, turns, killed) = (Held::default(), true, TURNS, false);
            watching.guards.push(Guard { line, process, place, groups, asked, turns, killed });
        }
        let held = || vec![group.try_clone().unwrap().into()];
        watching.guards.iter_mut().for_each(|guard| guard.groups.last(held(), Some(1)).unwrap());
        drop(group);
        children[0].kill().unwrap();
        children[0].wait().unwrap();

        let cgroup = InCgroup::new("threads", std::process::id());
        let threads = fs::read_dir("/proc/self/task").unwrap().count();
        cgroup.limit(Some(threads));
        let work = Arc::clone(&watching.work);
        for _ in 0..2 {
            watching.hear();
            watching.guards.iter_mut().for_each(|guard| guard.overdue(&work));
        }
        let left: Vec<_> = watching.guards.iter().map(|guard| guard.groups.len()).collect();
        let lives = children[1].try_wait().unwrap().is_none();
        let hung = places[1].hung();
        cgroup.limit(None);
        assert_eq!((left, lives, hung), (vec![1, 1], true, false));
        assert_eq!(work.load(Ordering::Acquire), 0);

        watching.hear();
        watching.guards.iter_mut().for_each(|guard| guard.overdue(&work));
        children[1].wait().unwrap();
        assert!(places[1].hung());
        watching.hear();
        assert!(watching.guards.is_empty());
        // Readable at its end: nobody holds a group any more.
        let mut fds = [PollFd::new(&reads, PollFlags::IN)];
        assert_eq!(poll(&mut fds, Some(&Timespec { tv_sec: 20, tv_nsec: 0 })).unwrap(), 1);
    }
}
