//! The container's own list, where no kernel keeps one: what the sources measured, in the
//! order in which they told, for the node's agent to anchor in the TPM.
//!
//! Nothing of it is in the exec path: a source tells after the kernel was answered, and is
//! never made to wait. Where no agent has made the folder, nothing is kept.

use std::collections::HashSet;
use std::io;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, OnceLock};

use lacre_attest::container::Secret;
use lacre_attest::container::kept::{About, Kept};
use lacre_types::{Content, Digest, Event, Measurement, chain};
use slog::{Logger, warn};

/// Measurements on their way to the list, some 200 bytes each. When they are full, the list
/// says that lines are missing.
const QUEUE: usize = 1024;

/// Files that are known to be in the list, by digest and name: as the kernel does, each is
/// measured once. Beyond it they are listed again.
const KNOWN: usize = 16_384;

/// A file's digest and name. Without a digest: what ran under that name is not known.
type Line = (Option<Digest>, Vec<u8>);

/// Where a container's measurements go.
#[derive(Debug, Default)]
pub(super) struct Evidence(OnceLock<Keeper>);

#[derive(Debug)]
struct Keeper {
    lines: SyncSender<Line>,
    lost: Arc<AtomicBool>,
}

impl Evidence {
    /// Begins the list, if there is an agent that anchors it.
    pub(super) fn begin(&self, run: &Path, id: &str, image: &str, log: &Logger) {
        let folder = run.join("evidence");
        if !folder.is_dir() {
            return;
        }
        let image = (!image.is_empty()).then(|| image.to_owned());
        match Keeper::start(&folder, id, image, log) {
            // A container is armed once.
            Ok(keeper) => drop(self.0.set(keeper)),
            Err(error) => {
                warn!(log, "no list of this container is kept for the TPM"; "error" => chain(&error));
            }
        }
    }

    /// Adds what ran; what no source could read, as a violation.
    pub(super) fn saw(&self, measurement: &Measurement) {
        let Some(keeper) = self.0.get() else { return };
        if keeper.lines.try_send(line(measurement)).is_err() {
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
    fn start(folder: &Path, id: &str, image: Option<String>, log: &Logger) -> io::Result<Self> {
        let mut secret = [0; 32];
        let filled =
            rustix::rand::getrandom(&mut secret[..], rustix::rand::GetRandomFlags::empty())?;
        if filled != secret.len() {
            return Err(io::Error::other("the kernel gives too few random bytes"));
        }
        let about = About { id: id.to_owned(), image, secret: Secret::new(secret) };
        let since = rustix::time::clock_gettime(rustix::time::ClockId::Boottime);
        let seconds = u64::try_from(since.tv_sec).unwrap_or_default();
        let nanos = u64::try_from(since.tv_nsec).unwrap_or_default();
        let seq = seconds.saturating_mul(1_000_000_000).saturating_add(nanos);
        let mut kept = Kept::create(folder, seq, &about)?;
        let (lines, queue) = sync_channel(QUEUE);
        let lost = Arc::new(AtomicBool::new(false));
        let (missing, log) = (Arc::clone(&lost), log.clone());
        std::thread::Builder::new().name("evidence".to_owned()).stack_size(128 * 1024).spawn(
            move || {
                let written = keep(&mut kept, &queue, &missing);
                if let Err(error) = written.and_then(|()| kept.close()) {
                    warn!(log, "the container's list for the TPM ends here"; "error" => chain(&error));
                }
            },
        )?;
        Ok(Self { lines, lost })
    }
}

/// The line of a measurement, as IMA has it: what has no file behind it is `memfd:`.
fn line(measurement: &Measurement) -> Line {
    let name = measurement.path.as_ref().map_or(&b"?"[..], |path| path.as_bytes());
    match (&measurement.content, measurement.event) {
        (Content::Fileless, _) | (_, Event::Memfd) => (None, [&b"memfd:"[..], name].concat()),
        // The file's digest says nothing of pages that may have been written to since.
        (Content::Digest(_), Event::Mprotect) => (None, name.to_vec()),
        (Content::Digest(digest), _) => (Some(*digest), name.to_vec()),
        (Content::Size(_) | Content::Unread(_), _) => (None, name.to_vec()),
    }
}

/// Writes until nobody is left who could send.
fn keep(kept: &mut Kept, queue: &Receiver<Line>, lost: &AtomicBool) -> io::Result<()> {
    let mut known = HashSet::new();
    for line in queue {
        if lost.swap(false, Ordering::Relaxed) {
            kept.overflow()?;
        }
        if known.contains(&line) {
            continue;
        }
        match &line.0 {
            Some(digest) => kept.push(digest, &line.1)?,
            None => kept.violation(&line.1)?,
        }
        if known.len() < KNOWN {
            known.insert(line);
        }
    }
    if lost.load(Ordering::Relaxed) { kept.overflow() } else { Ok(()) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use lacre_attest::container::kept::{events, lists};
    use lacre_attest::ima::{Form, Stream};
    use lacre_types::{Algorithm, CanonicalPath, Process, Source};
    use std::time::{Duration, Instant, SystemTime};

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

    /// The names of a list, those of violations with `!` before them.
    fn named(list: &Path) -> Vec<String> {
        let mut names = Vec::new();
        let mut stream = Stream::new(Form::Binary, Algorithm::Sha256);
        let read = std::fs::read(list).unwrap();
        let fed = stream.feed(&read, |_, entry| {
            let name = String::from_utf8(entry.name().unwrap().to_vec()).unwrap();
            names.push(if entry.is_violation() { format!("!{name}") } else { name });
        });
        fed.unwrap();
        names
    }

    #[test]
    fn what_could_not_be_measured_is_a_violation_by_its_name() {
        let run = tempfile::tempdir().unwrap();
        let log = Logger::root(slog::Discard, slog::o!());
        std::fs::create_dir(run.path().join("evidence")).unwrap();
        let evidence = Evidence::default();
        evidence.begin(run.path(), "ns/c", "demo:1", &log);
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
        let folder = run.path().join("evidence");
        let (seq, _) = lists(&folder).unwrap().remove(0);
        let list = folder.join(format!("{seq}.list"));
        let expected =
            ["/bin/a", "!/bin/unread", "!/bin/other", "!memfd:/bin/gone", "!memfd:?", "!/bin/a"];
        let until = Instant::now() + Duration::from_secs(60);
        while named(&list).len() < expected.len() {
            assert!(Instant::now() < until, "{:?}", named(&list));
            std::thread::yield_now();
        }
        assert_eq!(named(&list), expected);
    }

    #[test]
    fn each_file_is_a_line_and_a_loss_is_told() {
        let run = tempfile::tempdir().unwrap();
        let log = Logger::root(slog::Discard, slog::o!());
        let none = Evidence::default();
        none.begin(run.path(), "ns/c", "demo:1", &log);
        assert!(none.0.get().is_none(), "no agent made the folder");
        none.saw(&measured("/bin/a", Content::Size(1)));

        let folder = run.path().join("evidence");
        std::fs::create_dir(&folder).unwrap();
        let evidence = Evidence::default();
        evidence.begin(run.path(), "ns/c", "demo:1", &log);
        let (one, two) = (Digest::sha256([1; 32]), Digest::sha256([2; 32]));
        for (path, digest) in [("/bin/a", one), ("/bin/a", one), ("/bin/b", one), ("/bin/a", two)] {
            evidence.saw(&measured(path, Content::Digest(digest)));
        }
        evidence.lost();
        drop(evidence);
        let found = lists(&folder).unwrap();
        let [(seq, about)] = &found[..] else { panic!("{found:?}") };
        assert_eq!((&*about.id, about.image.as_deref()), ("ns/c", Some("demo:1")));
        // Made, three lines, one that says that others are missing, closed. The loss may have
        // been told of before the last line.
        let until = Instant::now() + Duration::from_secs(60);
        while events(&folder, *seq, 0).unwrap().len() < 6 {
            assert!(Instant::now() < until);
            std::thread::yield_now();
        }
        assert_eq!(events(&folder, *seq, 0).unwrap().len(), 6);
    }
}
