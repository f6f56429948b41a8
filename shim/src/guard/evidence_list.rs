//! The container's own list, where no kernel keeps one: what the sources measured, in the
//! order in which they told, for the node's agent to anchor in the TPM.
//!
//! Nothing of it is in the exec path: a source tells after the kernel was answered, and is
//! never made to wait. Where no agent has made the folder, nothing is kept.

use std::collections::HashSet;
use std::hash::{BuildHasher as _, RandomState};
use std::io;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, OnceLock};
use std::thread::JoinHandle;

use lacre_attest::container::Secret;
use lacre_attest::container::shim_list::{About, Kept};
use lacre_measure::container_ima::list_id;
use lacre_types::{Content, Digest, Event, Measurement, chain};
use slog::{Logger, warn};

/// Measurements on their way to the list, some 200 bytes each. When they are full, the list
/// says that lines are missing.
const QUEUE: usize = 1024;

/// The thread's stack, in bytes: nothing recurses.
const STACK: usize = 128 << 10;

/// Files that are known to be in the list: as the kernel does, each is listed once. Beyond it
/// they are listed again. 18 bytes each at most; a name may have 4096.
const KNOWN: usize = 16_384;

/// A file's digest and name. Without a digest: what ran under that name is not known.
type Line = (Option<Digest>, Vec<u8>);

/// Where a container's measurements go.
#[derive(Debug, Default)]
pub(super) struct Evidence(OnceLock<Keeper>);

/// The thread that writes. Dropping it has all written that was sent, and waits for that.
#[derive(Debug)]
struct Keeper {
    lines: Option<SyncSender<Line>>,
    lost: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Drop for Keeper {
    fn drop(&mut self) {
        self.lines = None;
        if let Some(thread) = self.thread.take() {
            // It tells its own failures.
            let _ = thread.join();
        }
    }
}

impl Evidence {
    /// Begins the list of `namespace/id`, if there is an agent that anchors it. When it can't be kept, or not
    /// any longer, `failed` is told why.
    pub(super) fn begin(
        &self,
        run: &Path,
        container: &str,
        image: &str,
        log: &Logger,
        failed: impl Fn(String) + Send + Sync + 'static,
    ) {
        let folder = run.join("evidence");
        if !folder.is_dir() {
            return;
        }
        let image = (!image.is_empty()).then(|| image.to_owned());
        let failed = Arc::new(failed);
        match Keeper::start(&folder, container, image, log, Arc::clone(&failed)) {
            // A container is armed once.
            Ok(keeper) => drop(self.0.set(keeper)),
            Err(error) => {
                let error = chain(&error);
                warn!(log, "no list of this container is kept for the TPM"; "error" => &error);
                failed(format!("no list of this container is kept for the TPM: {error}"));
            }
        }
    }

    /// Adds what ran; what no source could read, as a violation.
    pub(super) fn saw(&self, measurement: &Measurement) {
        let Some(keeper) = self.0.get() else { return };
        let lines = keeper.lines.as_ref();
        if lines.is_none_or(|lines| lines.try_send(line(measurement)).is_err()) {
            keeper.lost.store(true, Ordering::Relaxed);
        }
    }

    /// Notes that a source lost events.
    pub(super) fn lost(&self) {
        if let Some(keeper) = self.0.get() {
            keeper.lost.store(true, Ordering::Relaxed);
        }
    }
}

impl Keeper {
    fn start(
        folder: &Path,
        container: &str,
        image: Option<String>,
        log: &Logger,
        failed: Arc<impl Fn(String) + Send + Sync + 'static>,
    ) -> io::Result<Self> {
        let mut secret = [0; 32];
        let filled =
            rustix::rand::getrandom(&mut secret[..], rustix::rand::GetRandomFlags::empty())?;
        if filled != secret.len() {
            return Err(io::Error::other("the kernel gives too few random bytes"));
        }
        // The kernel's name for it, where the kernel keeps it: who expects it need not know.
        let id = list_id(container).map_err(io::Error::other)?;
        let about = About { id, image, secret: Secret::new(secret) };
        let since = rustix::time::clock_gettime(rustix::time::ClockId::Boottime);
        let seconds = u64::try_from(since.tv_sec).unwrap_or_default();
        let nanos = u64::try_from(since.tv_nsec).unwrap_or_default();
        let seq = seconds.saturating_mul(1_000_000_000).saturating_add(nanos);
        let mut kept = Kept::create(folder, seq, &about)?;
        let (lines, queue) = sync_channel(QUEUE);
        let lost = Arc::new(AtomicBool::new(false));
        let (missing, log) = (Arc::clone(&lost), log.clone());
        let thread = std::thread::Builder::new().name("evidence".to_owned()).stack_size(STACK);
        let thread = thread.spawn(move || {
            let written = keep(&mut kept, &queue, &missing);
            if kept.is_full() {
                warn!(log, "the container's list for the TPM is full, and ends here");
            }
            if let Err(error) = written.and_then(|()| kept.close()) {
                let error = chain(&error);
                warn!(log, "the container's list for the TPM ends here"; "error" => &error);
                failed(format!("the container's list for the TPM ends here: {error}"));
            }
        })?;
        Ok(Self { lines: Some(lines), lost, thread: Some(thread) })
    }
}

/// The line of a measurement, as IMA has it: what has no file behind it is `memfd:`.
fn line(measurement: &Measurement) -> Line {
    let name = measurement.path.as_ref().map_or(&b"?"[..], |path| path.as_bytes());
    match (&measurement.content, measurement.event) {
        (Content::Fileless | Content::Memory(_), _) | (_, Event::Memfd) => {
            (None, [&b"memfd:"[..], name].concat())
        }
        // The file's digest says nothing of pages that may have been written to since.
        (Content::Digest(_), Event::Mprotect) => (None, name.to_vec()),
        (Content::Digest(digest), _) => (Some(*digest), name.to_vec()),
        (Content::Size(_) | Content::Unread(_), _) => (None, name.to_vec()),
    }
}

/// Writes until nobody is left who could send.
fn keep(kept: &mut Kept, queue: &Receiver<Line>, lost: &AtomicBool) -> io::Result<()> {
    // By a hash whose key nobody in the container knows.
    let (mut known, hash) = (HashSet::new(), RandomState::new());
    for line in queue {
        if lost.swap(false, Ordering::Relaxed) {
            kept.overflow()?;
        }
        let hash = hash.hash_one(&line);
        if known.contains(&hash) {
            continue;
        }
        match &line.0 {
            Some(digest) => kept.push(digest, &line.1)?,
            None => kept.violation(&line.1)?,
        }
        if kept.is_full() {
            return Ok(());
        }
        if known.len() < KNOWN {
            known.insert(hash);
        }
    }
    if lost.load(Ordering::Relaxed) { kept.overflow() } else { Ok(()) }
}

/// The names of the folder's first list, once it is closed: those of violations with `!`
/// before them.
#[cfg(test)]
pub(super) fn names(folder: &Path) -> Vec<String> {
    use lacre_attest::ima::{Form, Stream};
    let (seq, _) = lacre_attest::container::shim_list::lists(folder).unwrap().remove(0);
    let mut names = Vec::new();
    let mut stream = Stream::new(Form::Binary, lacre_types::Algorithm::Sha256);
    let list = std::fs::read(folder.join(format!("{seq}.list"))).unwrap();
    let each = stream.feed(&list, |_, entry| {
        let violation = if entry.is_violation() { "!" } else { "" };
        names.push(format!("{violation}{}", String::from_utf8_lossy(entry.name().unwrap())));
    });
    each.unwrap();
    names
}

#[cfg(test)]
mod tests {
    use super::*;
    use lacre_attest::container::shim_list::{events, lists};
    use lacre_types::{CanonicalPath, Process, Source};
    use std::time::SystemTime;

    fn measured(path: &str, content: Content) -> Measurement {
        Measurement {
            source: Source::Fanotify,
            event: Event::Exec,
            path: Some(CanonicalPath::new(path).unwrap()),
            content,
            process: Process::default(),
            time: SystemTime::UNIX_EPOCH,
        }
    }

    #[test]
    fn what_could_not_be_measured_is_a_violation_by_its_name() {
        let run = tempfile::tempdir().unwrap();
        let log = Logger::root(slog::Discard, slog::o!());
        std::fs::create_dir(run.path().join("evidence")).unwrap();
        let evidence = Evidence::default();
        evidence.begin(run.path(), "ns/c", "demo:1", &log, |why| panic!("{why}"));
        let digest = Content::Digest(Digest::sha256([1; 32]));
        evidence.saw(&measured("/bin/a", digest.clone()));
        for _ in 0..2 {
            evidence.saw(&measured("/bin/unread", Content::Unread("gone".to_owned())));
        }
        evidence.saw(&measured("/bin/other", Content::Size(1)));
        evidence.saw(&measured("/bin/gone", Content::Fileless));
        let fileless = Measurement { path: None, ..measured("/", Content::Fileless) };
        evidence.saw(&fileless);
        evidence.saw(&Measurement { event: Event::Mprotect, ..measured("/bin/a", digest) });
        drop(evidence);
        let expected =
            ["/bin/a", "!/bin/unread", "!/bin/other", "!memfd:/bin/gone", "!memfd:?", "!/bin/a"];
        assert_eq!(names(&run.path().join("evidence")), expected);
    }

    #[test]
    fn each_file_is_a_line_and_a_loss_is_told() {
        let run = tempfile::tempdir().unwrap();
        let log = Logger::root(slog::Discard, slog::o!());
        let none = Evidence::default();
        none.begin(run.path(), "ns/c", "demo:1", &log, |why| panic!("{why}"));
        assert!(none.0.get().is_none(), "no agent made the folder");
        none.saw(&measured("/bin/a", Content::Size(1)));

        let folder = run.path().join("evidence");
        std::fs::create_dir(&folder).unwrap();
        let evidence = Evidence::default();
        evidence.begin(run.path(), "ns/c", "demo:1", &log, |why| panic!("{why}"));
        let (one, two) = (Digest::sha256([1; 32]), Digest::sha256([2; 32]));
        for (path, digest) in [("/bin/a", one), ("/bin/a", one), ("/bin/b", one), ("/bin/a", two)] {
            evidence.saw(&measured(path, Content::Digest(digest)));
        }
        evidence.lost();
        drop(evidence);
        let found = lists(&folder).unwrap();
        let [(seq, about)] = &found[..] else { panic!("{found:?}") };
        assert_eq!((&*about.id, about.image.as_deref()), ("ns--c", Some("demo:1")));
        // Made, three lines, one that says that others are missing, closed. The loss may have
        // been told of before the last line.
        assert_eq!(events(&folder, *seq, 0).unwrap().len(), 6);
    }
}
