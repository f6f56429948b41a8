//! `ima`: the host's own measurement list, on a kernel with IMA and no container-IMA.
//!
//! It is evidence of what the node ran, and was not made to tell containers apart. A line
//! whose template carries the container (`ima-cgpath`, `ima-dep-cgn`, `ima-ns`) is judged if
//! it is this one's. Of any other line nobody can say in which container it came to be; it is
//! this container's to answer for only if the container has, under that very path, a file
//! with that very content, which its baseline does not allow. The rest is counted.
//!
//! The kernel writes an equal line once a boot, whoever runs the file: what ran before under
//! the same name is not told again. And it wakes nobody: the list is looked at every
//! [`Options::every`].

pub(crate) mod line;
pub(crate) mod list;
mod membership;
mod owner;

use std::io::{self, PipeReader, Read as _};
use std::os::fd::AsFd as _;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime};

use lacre_attest::ima::{Entry, Form, LogError, Stream};
use lacre_types::{Algorithm, Content, Source};
use rustix::event::{PollFd, PollFlags, poll};
use rustix::time::Timespec;

use crate::held_process::Held;
use crate::reader_thread::{End, GRACE, Reader};
use crate::{Armed, Judge, Known, Loss, Outcome, SourceError, Target};
use list::{List, measures};
use membership::Inside;
use owner::{Owner, Whose};

/// Where the kernel shows the list.
const FOLDER: &str = "/sys/kernel/security/ima";
/// What one read takes, in bytes; securityfs gives a page at a time.
const READ: usize = 16 << 10;
/// Ten looks a second, each one read of a counter: what docs/sources.md has as its cost.
const EVERY: Duration = Duration::from_millis(100);

/// How `ima` works on this node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Options {
    /// Where the kernel shows the list.
    pub folder: PathBuf,
    /// How long a line may wait until it is looked at.
    pub every: Duration,
}

impl Default for Options {
    fn default() -> Self {
        Self { folder: FOLDER.into(), every: EVERY }
    }
}

/// How many lines came to what.
#[derive(Debug, Default)]
struct Tally {
    /// Judged.
    judged: AtomicU64,
    /// As the container's baseline has it, whoever ran it.
    fitting: AtomicU64,
    /// Another's.
    others: AtomicU64,
    /// Whose, nobody can tell.
    untold: AtomicU64,
}

/// `ima` at work on one container.
#[derive(Debug)]
pub struct ImaArmed {
    /// Dropping it ends it once it has read the list to its end.
    reader: Option<Reader>,
    tally: Arc<Tally>,
}

fn failed(doing: String, source: io::Error) -> SourceError {
    SourceError::Failed { source_name: Source::Ima, doing, source }
}

/// Whether this node offers what `ima` needs.
///
/// # Errors
/// What is missing, and how to have it.
pub fn probe(options: &Options) -> Result<(), SourceError> {
    measures(Source::Ima, List::open(&options.folder)?.count())
}

/// Follows the host's list from its first line. The container's init waits to be started.
///
/// # Errors
/// When the kernel keeps no list, or measures nothing; when a call fails.
pub fn arm(
    target: &Target,
    judge: Arc<dyn Judge>,
    options: &Options,
) -> Result<ImaArmed, SourceError> {
    probe(options)?;
    follow(Left::of(target.init_pid, options)?, target, judge)
}

fn follow(left: Left, target: &Target, judge: Arc<dyn Judge>) -> Result<ImaArmed, SourceError> {
    let watch = left.watch(target, judge);
    let tally = Arc::clone(&watch.tally);
    let reader = Reader::start("ima", move |woken| watch.run(&woken))
        .map_err(|why| failed("starting the reader of the list".to_owned(), why))?;
    Ok(ImaArmed { reader: Some(reader), tally })
}

/// The host's list, and what tells a container's lines in it from others, also once the
/// container has ended: for who follows it, or settles what a shim that died has left.
pub struct Left {
    owner: Owner,
    /// `None`: it has ended.
    init: Option<Held>,
    list: List,
    before: u64,
    every: Duration,
}

impl std::fmt::Debug for Left {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Left").field("before", &self.before).finish_non_exhaustive()
    }
}

impl Left {
    /// Of the container with that first process, which must be there.
    ///
    /// # Errors
    /// As [`arm`].
    pub fn of(init: u32, options: &Options) -> Result<Self, SourceError> {
        let owner = Owner::of(init)
            .map_err(|why| failed(format!("reading the cgroups of process {init}"), why))?;
        Self::with(owner, init, options)
    }

    /// Of a container of which nobody is left, whose first process had those cgroups, as
    /// `/proc/PID/cgroup` has them: its files are what is left in its upper directory.
    ///
    /// # Errors
    /// When the kernel keeps no list.
    pub fn of_ended(cgroups: &str, options: &Options) -> Result<Self, SourceError> {
        let list = List::open(&options.folder)?;
        let before = list.count();
        let before =
            before.map_err(|why| failed("reading how long the list is".to_owned(), why))?;
        let owner = Owner::of_ended(cgroups.as_bytes());
        Ok(Self { owner, init: None, list, before, every: options.every })
    }

    fn with(owner: Owner, init: u32, options: &Options) -> Result<Self, SourceError> {
        let list = List::open(&options.folder)?;
        let doing = |doing: String| move |why| failed(doing, why);
        let held = Held::open(init).map_err(doing(format!("opening process {init}")))?;
        let before = list.count().map_err(doing("reading how long the list is".to_owned()))?;
        Ok(Self { owner, init: Some(held), list, before, every: options.every })
    }

    /// Tells of each line that is the container's, from the list's first.
    ///
    /// # Errors
    /// When the system has no pipe.
    pub fn settle(self, target: &Target, judge: Arc<dyn Judge>) -> io::Result<()> {
        // Nobody waits for more: it reads to the end.
        let (woken, _) = io::pipe()?;
        self.watch(target, judge).run(&woken);
        Ok(())
    }

    fn watch(self, target: &Target, judge: Arc<dyn Judge>) -> Watch {
        let Self { owner, init, list, before, every } = self;
        Watch {
            judge,
            known: Arc::clone(&target.known),
            inside: Inside::of(target, init),
            owner,
            list,
            before,
            every,
            tally: Arc::default(),
            unfit: false,
            grace: GRACE,
            unread: 0,
        }
    }
}

impl Armed for ImaArmed {
    fn source(&self) -> Source {
        Source::Ima
    }

    fn finish(&mut self) {
        self.reader = None;
    }

    fn remark(&self) -> Option<String> {
        let count = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        let Tally { judged, fitting, others, untold } = &*self.tally;
        Some(format!(
            "IMA's list is the node's: an equal line is written once a boot, whoever runs the \
             file, and unless its template carries the container nobody can tell whose it is; \
             so far {} lines were this container's, {} as its baseline has it, {} another's, \
             {} can't be attributed and were not judged",
            count(judged),
            count(fitting),
            count(others),
            count(untold)
        ))
    }
}

/// The eyes on the host's list, for one container.
struct Watch {
    judge: Arc<dyn Judge>,
    known: Arc<dyn Known>,
    inside: Inside,
    owner: Owner,
    list: List,
    /// How many lines there were before the container ran anything.
    before: u64,
    every: Duration,
    tally: Arc<Tally>,
    /// Whether it was told that lines can't be compared with files.
    unfit: bool,
    /// What it may take after it is disarmed.
    grace: Duration,
    /// Lines that came up after that.
    unread: u64,
}

impl Watch {
    fn run(mut self, woken: &PipeReader) {
        if let Err(loss) = self.follow(woken) {
            self.judge.lost(Source::Ima, loss);
        }
    }

    fn follow(&mut self, woken: &PipeReader) -> Result<(), Loss> {
        let mut stream = Stream::new(Form::Binary, Algorithm::Sha1);
        let mut bytes = vec![0; READ];
        let mut end = End::of(woken, self.grace);
        let ended = |doing: &str, why: io::Error| Loss::Ended(format!("{doing}: {why}"));
        let mut last = false;
        loop {
            let count = self.list.count().map_err(|why| ended("counting the lines", why))?;
            if count < stream.lines() {
                return Err(Loss::Ended(format!(
                    "the list had {} lines, and now has {count}",
                    stream.lines()
                )));
            }
            if count > stream.lines() {
                self.catch_up(&mut stream, &mut bytes, &mut end)?;
            }
            if self.unread > 0 || count > stream.lines() {
                let unread = self.unread + count.saturating_sub(stream.lines());
                return Err(Loss::Overflow(Some(unread)));
            }
            if last {
                return stream.finish().map_err(|why| cut(&why));
            }
            last = wait(woken, self.every).map_err(|why| ended("waiting", why))?;
        }
    }

    /// A line may have a file of the container read, so the end is looked for at each.
    fn catch_up(
        &mut self,
        stream: &mut Stream,
        bytes: &mut [u8],
        end: &mut End<'_>,
    ) -> Result<(), Loss> {
        while self.unread == 0 {
            let count = match self.list.file.read(bytes) {
                Ok(0) => break,
                Ok(count) => count,
                Err(why) if why.kind() == io::ErrorKind::Interrupted => continue,
                Err(why) => return Err(Loss::Ended(format!("reading the list: {why}"))),
            };
            let fed = stream.feed(&bytes[..count], |number, entry| {
                if end.is_here() {
                    self.unread += 1;
                } else {
                    self.line(number, entry);
                }
            });
            fed.map_err(|why| Loss::Ended(format!("{why}: {}", why.source)))?;
        }
        Ok(())
    }

    fn line(&mut self, number: u64, entry: &Entry<'_>) {
        let count = |counter: &AtomicU64| counter.fetch_add(1, Ordering::Relaxed);
        let whose = self.owner.whose(entry.container());
        if whose == Whose::Others {
            count(&self.tally.others);
            return;
        }
        let told = line::measurement(entry, Source::Ima, &*self.known, SystemTime::now());
        // Its cgroup may have had this name before.
        let proven = whose == Whose::Ours && number >= self.before;
        if !proven {
            if self.judge.settled(&told) {
                count(&self.tally.fitting);
                return;
            }
            let (Some(path), Content::Digest(digest)) = (&told.path, &told.content) else {
                count(&self.tally.untold);
                return;
            };
            // `boot_aggregate` has no path, and the bank's algorithm.
            if digest.algorithm() != Algorithm::Sha256 && !self.unfit {
                self.unfit = true;
                let algorithm = digest.algorithm();
                self.judge.lost(
                    Source::Ima,
                    Loss::Ended(format!(
                        "the kernel measures with {algorithm}, which no line can be attributed \
                         by; boot with ima_hash=sha256"
                    )),
                );
            }
            if !self.inside.has(path, digest) {
                count(&self.tally.untold);
                return;
            }
        }
        count(&self.tally.judged);
        self.judge.seen(told, Outcome::Ran);
    }
}

/// What is told of a list that does not end with a line.
pub(crate) fn cut(why: &LogError) -> Loss {
    Loss::Ended(format!("the list ends within line {}", why.line))
}

/// Waits, no longer than so. `true` when the source is being disarmed.
fn wait(woken: &PipeReader, every: Duration) -> io::Result<bool> {
    let mut fds = [PollFd::from_borrowed_fd(woken.as_fd(), PollFlags::IN)];
    let limit = Timespec::try_from(every).unwrap_or_default();
    match poll(&mut fds, Some(&limit)) {
        Ok(ready) => Ok(ready > 0),
        Err(rustix::io::Errno::INTR) => Ok(false),
        Err(why) => Err(why.into()),
    }
}

#[cfg(test)]
mod tests;
