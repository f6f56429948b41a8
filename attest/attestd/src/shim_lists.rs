//! The lists that shims keep, where the kernel keeps none, and how far each is anchored.

use std::collections::{BTreeMap, HashSet};
use std::fs::{self, DirBuilder};
use std::io;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use lacre_attest::container::shim_list::{self, About};
use lacre_attest::container::{Secret, Tagged, final_list, parse_line};
use lacre_attest::pcr::ListPcr;
use lacre_attest::tpm::{Journal, JournalError, ShimContainer, Tpm};

/// How long the list of a container that is gone stays to be shown.
pub(crate) const STAYS: Duration = Duration::from_secs(3600);

/// Why the lists of shims can't be used, or are not anchored.
#[derive(Debug, thiserror::Error)]
pub enum ShimListsError {
    /// The folder.
    #[error("the lists of shims in {} can't be used", .0.display())]
    Folder(PathBuf, #[source] io::Error),
    /// The journal.
    #[error("what shims keep is not anchored")]
    Journal(#[source] JournalError),
    /// The journal was begun in a PCR that no list of shims is in.
    #[error("what shims keep is said to be in PCR {0}, where no list of theirs can be")]
    Pcr(u32),
    /// The kernel's own lists are in the PCR that was chosen.
    #[error(
        "this kernel anchors its lists of containers in PCR {0}: choose another one for those of \
         shims (`--shim-pcr`), or for the kernel (`ima.container_pcr`)"
    )]
    KernelPcr(u32),
}

impl ShimListsError {
    /// Whether trying again is in vain until the next boot.
    #[must_use]
    pub const fn is_for_good(&self) -> bool {
        matches!(self, Self::Journal(JournalError::Diverged { .. } | JournalError::Altered(_)))
    }
}

/// What is not anchored yet.
#[derive(Debug, Default)]
struct News {
    events: Vec<Tagged>,
    /// How many events each list will have anchored with them.
    reached: Vec<(u64, u64)>,
}

/// The lists of shims, and how far each is anchored.
#[derive(Debug)]
pub struct Shims {
    folder: PathBuf,
    journal: Journal,
    pcr: ListPcr,
    anchored: Mutex<BTreeMap<u64, u64>>,
    /// How many bytes of `aggregate` that takes account of.
    known: AtomicU64,
}

impl Shims {
    /// Makes the folder, which tells shims that they are heard, and finds out what of it is
    /// anchored already: in `pcr`, or where they were begun in this boot.
    ///
    /// # Errors
    /// When the folder can't be made or read.
    pub fn open(folder: &Path, pcr: ListPcr) -> Result<Self, ShimListsError> {
        let io = |error| ShimListsError::Folder(folder.to_owned(), error);
        let made =
            DirBuilder::new().recursive(true).mode(0o700).create(folder.join(final_list::FOLDER));
        made.map_err(io)?;
        let open =
            |pcr: ListPcr| Journal::open(folder, pcr.index(), &[]).map_err(ShimListsError::Journal);
        let mut journal = open(pcr)?;
        let pcr = match journal.begun().map_err(ShimListsError::Journal)? {
            Some(begun) => ListPcr::for_shims(begun).ok_or(ShimListsError::Pcr(begun))?,
            None => pcr,
        };
        if pcr.index() != journal.pcr() {
            journal = open(pcr)?;
        }
        shim_list::tell_pcr(folder, pcr).map_err(io)?;
        let shims = Self {
            folder: folder.to_owned(),
            journal,
            pcr,
            anchored: Mutex::default(),
            known: AtomicU64::new(u64::MAX),
        };
        shims.catch_up()?;
        Ok(shims)
    }

    /// Finds out how far each list is anchored, if another process has anchored since:
    /// `lacre-attestd quote`. Whoever asks holds the node's lock.
    fn catch_up(&self) -> Result<(), ShimListsError> {
        if self.aggregate() == self.known.load(Ordering::Relaxed) {
            return Ok(());
        }
        let text = self.journal.read().map_err(ShimListsError::Journal)?;
        let lines = text.split_inclusive(|byte| *byte == b'\n').filter_map(parse_line);
        let tags: HashSet<[u8; 32]> = lines.map(|event| event.tag).collect();
        let mut anchored = BTreeMap::new();
        for (seq, _) in self.lists()? {
            let Ok(events) = shim_list::events(&self.folder, seq, 0) else { continue };
            let known = events.iter().take_while(|(tag, _)| tags.contains(tag)).count();
            anchored.insert(seq, known as u64);
        }
        *self.anchored() = anchored;
        self.known.store(text.len() as u64, Ordering::Relaxed);
        Ok(())
    }

    /// How many bytes `aggregate` has.
    fn aggregate(&self) -> u64 {
        fs::metadata(self.journal.aggregate()).map_or(0, |metadata| metadata.len())
    }

    fn anchored(&self) -> MutexGuard<'_, BTreeMap<u64, u64>> {
        self.anchored.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The journal.
    #[must_use]
    pub const fn journal(&self) -> &Journal {
        &self.journal
    }

    /// The PCR that these lists are anchored in: until the next boot, the one that they were
    /// begun in.
    #[must_use]
    pub const fn pcr(&self) -> ListPcr {
        self.pcr
    }

    /// The lists that have an anchored event, and their secrets: all that a quote that is
    /// taken from now on vouches for.
    ///
    /// # Errors
    /// When the folder can't be read.
    pub fn shown(&self) -> Result<Vec<(ShimContainer, Secret)>, ShimListsError> {
        let mut shown = Vec::new();
        for (seq, about) in self.lists()? {
            let anchored = self.anchored().get(&seq).copied().unwrap_or(0);
            let left = shim_list::is_left(&self.folder, seq).unwrap_or(false);
            let events = match shim_list::events(&self.folder, seq, 0) {
                Ok(events) => events,
                Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
                Err(error) => return Err(ShimListsError::Folder(self.folder.clone(), error)),
            };
            // Its end may be on its way to the TPM still.
            let left = left && events.len() as u64 == anchored;
            // One without a line, too: its creation is an event that must be accounted for.
            if anchored > 0 {
                let About { id, image, secret } = about;
                shown.push((ShimContainer { id, seq, image, left }, secret));
            }
        }
        Ok(shown)
    }

    fn lists(&self) -> Result<Vec<(u64, About)>, ShimListsError> {
        shim_list::lists(&self.folder)
            .map_err(|error| ShimListsError::Folder(self.folder.clone(), error))
    }

    fn news(&self) -> Result<News, ShimListsError> {
        let mut news = News::default();
        for (seq, _) in self.lists()? {
            let from = self.anchored().get(&seq).copied().unwrap_or(0);
            let Ok(events) = shim_list::events(&self.folder, seq, from) else { continue };
            if !events.is_empty() {
                news.reached.push((seq, from + events.len() as u64));
                news.events.extend(events);
            }
        }
        Ok(news)
    }

    /// Anchors all that is new.
    ///
    /// # Errors
    /// When it is not anchored: then it is with the next.
    pub fn anchor(&self, tpm: &mut Tpm) -> Result<(), ShimListsError> {
        self.catch_up()?;
        let News { events, reached } = self.news()?;
        if !events.is_empty() {
            self.journal.anchor(tpm, &events).map_err(ShimListsError::Journal)?;
            self.anchored().extend(reached);
            self.known.store(self.aggregate(), Ordering::Relaxed);
        }
        Ok(())
    }

    /// Whether there is something to anchor.
    ///
    /// # Errors
    /// When the folder can't be read.
    pub(crate) fn has_news(&self) -> Result<bool, ShimListsError> {
        Ok(!self.news()?.events.is_empty())
    }

    pub(crate) fn folder(&self) -> &Path {
        &self.folder
    }

    /// Whether nothing of a list waits for the TPM.
    fn is_anchored(&self, seq: u64) -> bool {
        let anchored = self.anchored().get(&seq).copied().unwrap_or(0);
        shim_list::events(&self.folder, seq, anchored).is_ok_and(|events| events.is_empty())
    }

    /// Removes the lists of containers that are long gone.
    pub(crate) fn tidy(&self) {
        for (seq, _) in self.lists().unwrap_or_default() {
            let path = self.folder.join(format!("{seq}.events"));
            let modified = fs::metadata(&path).and_then(|metadata| metadata.modified());
            let old = modified.ok().and_then(|then| then.elapsed().ok());
            let left = || shim_list::is_left(&self.folder, seq).unwrap_or(false);
            if old.is_some_and(|old| old > STAYS) && left() && self.is_anchored(seq) {
                shim_list::remove(&self.folder, seq);
                self.anchored().remove(&seq);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::SystemTime;

    use lacre_attest::container::shim_list::Kept;
    use lacre_types::Digest;

    use super::*;

    /// A container that ran something and is gone.
    fn list(folder: &Path) {
        let about = About { id: "test/web".to_owned(), image: None, secret: Secret::new([7; 32]) };
        let mut list = Kept::create(folder, 1, &about).unwrap();
        list.push(&Digest::sha256([1; 32]), b"/bin/app").unwrap();
        list.close().unwrap();
    }

    #[test]
    fn a_list_is_not_removed_before_it_is_anchored() {
        let folder = tempfile::tempdir().unwrap();
        let shims = Shims::open(folder.path(), ListPcr::SHIM).unwrap();
        list(folder.path());
        let events = fs::File::options().append(true).open(folder.path().join("1.events")).unwrap();
        events.set_modified(SystemTime::now() - 2 * STAYS).unwrap();
        shims.tidy();
        assert_eq!(shims.lists().unwrap().len(), 1);
        shims.anchored().insert(1, 3);
        shims.tidy();
        assert!(shims.lists().unwrap().is_empty());
    }

    #[test]
    fn what_was_begun_in_a_pcr_goes_on_there() {
        let folder = tempfile::tempdir().unwrap();
        let other = ListPcr::for_shims(13).unwrap();
        assert_eq!(Shims::open(folder.path(), other).unwrap().pcr(), other);
        assert_eq!(shim_list::pcr(folder.path()).unwrap(), other, "shims are told");
        let line = |pcr: u32| {
            let (_, batch) = lacre_attest::container::Recorder::begin(pcr, [0; 32]);
            fs::write(folder.path().join("aggregate"), batch.text).unwrap();
        };
        line(14);
        let shims = Shims::open(folder.path(), other).unwrap();
        assert_eq!((shims.pcr().index(), shims.journal().pcr()), (14, 14));
        assert_eq!(shim_list::pcr(folder.path()).unwrap().index(), 14);
        line(23);
        assert!(matches!(Shims::open(folder.path(), other), Err(ShimListsError::Pcr(23))));
        fs::write(folder.path().join("pcr"), "23\n").unwrap();
        let about = About { id: "web".to_owned(), image: None, secret: Secret::new([7; 32]) };
        assert!(Kept::create(folder.path(), 1, &about).is_err(), "no list is kept there");
    }

    #[test]
    fn a_list_that_can_t_be_read_is_not_left_out() {
        let folder = tempfile::tempdir().unwrap();
        list(folder.path());
        let shims = Shims::open(folder.path(), ListPcr::SHIM).unwrap();
        shims.anchored().insert(1, 3);
        assert_eq!(shims.shown().unwrap().len(), 1);
        let events = folder.path().join("1.events");
        fs::remove_file(&events).unwrap();
        assert_eq!(shims.shown().unwrap().len(), 0, "removed meanwhile");
        fs::create_dir(&events).unwrap();
        assert!(shims.shown().is_err());
    }
}
