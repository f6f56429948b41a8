//! The kernel's lists of containers, where it keeps them (`kernel/INTERFACE.md`).

use std::collections::{BTreeMap, HashSet};
use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use lacre_types::Algorithm;

use super::collect_error::CollectError;
use super::list_file::{count, known_lines, list, read, unknown_part};
use crate::container::Keeper;
use crate::container::final_list;
use crate::container::shim_list::About;
use crate::enrol::Known;
use crate::evidence::{AnchorPart, ContainerPart, ListPart, MAX_BYTES};

/// For all lists together that the kernel has just freed, and that are being written down.
const WRITING: Duration = Duration::from_secs(1);
/// Between two looks.
const LOOK: Duration = Duration::from_millis(10);

/// The lists that there are before a quote is taken: all others are younger than the quote.
pub(super) struct Kernel<'a> {
    folder: PathBuf,
    /// The id, the number of the creation, and the image where a shim has told it.
    lists: Vec<(String, u64, Option<String>)>,
    /// Where those are that have ended.
    ended: Option<&'a Path>,
}

impl<'a> Kernel<'a> {
    /// Looks which there are, and has all that was measured so far extended. `None`: the
    /// kernel keeps none.
    pub(super) fn look(
        folder: PathBuf,
        ended: Option<&'a Path>,
    ) -> Result<Option<Self>, CollectError> {
        if !folder.join("aggregate").exists() {
            return Ok(None);
        }
        let living = living(&folder)?;
        // After that: a shim tells of a list before it has a line.
        let mut told = ended.map_or(Ok(BTreeMap::new()), told)?;
        let mut lists: Vec<_> = living
            .into_iter()
            .map(|(id, seq)| {
                let image = told.remove(&seq).and_then(|about| about.image);
                (id, seq, image)
            })
            .collect();
        let gone = |about: &About, number| seq(&folder.join(&about.id)) != Some(number);
        let ends = told.into_iter().filter(|(number, about)| gone(about, *number));
        lists.extend(ends.map(|(number, about)| (about.id, number, about.image)));
        flush(&folder.join("aggregate"))?;
        Ok(Some(Self { folder, lists, ended }))
    }

    /// Whether there is one by now that was not there then: the quote may be over its events.
    pub(super) fn grew(&self) -> Result<bool, CollectError> {
        let known: HashSet<u64> = self.lists.iter().map(|(_, seq, _)| *seq).collect();
        let living = living(&self.folder)?;
        let told = self.ended.map_or(Ok(BTreeMap::new()), told)?;
        Ok(living.iter().map(|(_, seq)| seq).chain(told.keys()).any(|seq| !known.contains(seq)))
    }

    /// Reads them, once the quote is taken.
    pub(super) fn show(self, known: Option<&Known>) -> Result<AnchorPart, CollectError> {
        let path = self.folder.join("aggregate");
        let open = File::open(&path);
        let file = open.map_err(|source| CollectError::Read { path: path.clone(), source })?;
        flush(&path)?;
        let text = read(&path, &file, MAX_BYTES)?;
        let (first, aggregate) = unknown_part(text, known, Keeper::Kernel);
        let mut containers = Vec::new();
        let until = Instant::now() + WRITING;
        for (id, seq, image) in self.lists {
            let first = known_lines(known, &id, seq);
            let mut found = living_list(&self.folder.join(&id), seq, first)?;
            if found.is_none()
                && let Some(ended) = self.ended
            {
                found = ended_list(&final_list::list_of(ended, seq), first, until)?;
            }
            if let Some(list) = found {
                containers.push(ContainerPart { id, seq, image, left: false, list });
            }
        }
        let aggregate = aggregate.into();
        Ok(AnchorPart { keeper: Keeper::Kernel, first, aggregate, containers })
    }
}

/// The containers, and the numbers of their creation.
fn living(folder: &Path) -> Result<Vec<(String, u64)>, CollectError> {
    let entries = fs::read_dir(folder)
        .map_err(|source| CollectError::Read { path: folder.to_owned(), source })?;
    let mut living = Vec::new();
    for entry in entries.flatten().filter(|entry| entry.path().is_dir()) {
        let Ok(id) = entry.file_name().into_string() else { continue };
        if let Some(seq) = seq(&entry.path()) {
            living.push((id, seq));
        }
    }
    Ok(living)
}

/// What shims tell of lists.
fn told(ended: &Path) -> Result<BTreeMap<u64, About>, CollectError> {
    match final_list::lists(ended) {
        Ok(told) => Ok(told.into_iter().collect()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(BTreeMap::new()),
        Err(source) => Err(CollectError::Read { path: ended.to_owned(), source }),
    }
}

/// `None`: it was freed while we looked, and perhaps made anew.
fn living_list(container: &Path, was: u64, first: u64) -> Result<Option<ListPart>, CollectError> {
    if seq(container) != Some(was) {
        return Ok(None);
    }
    let path = container.join("binary_runtime_measurements_sha256");
    let count = count(&container.join("runtime_measurements_count"));
    match list(&path, Algorithm::Sha256, first, count) {
        Ok(list) => Ok(Some(list)),
        Err(CollectError::Read { .. }) => Ok(None),
        Err(error) => Err(error),
    }
}

/// `None`: nobody has written it down, or it is long gone.
fn ended_list(path: &Path, first: u64, until: Instant) -> Result<Option<ListPart>, CollectError> {
    loop {
        match list(path, Algorithm::Sha256, first, None) {
            Ok(list) => return Ok(Some(list)),
            Err(CollectError::Read { source, .. }) if source.kind() == io::ErrorKind::NotFound => {
                if Instant::now() >= until || !path.with_extension("json").exists() {
                    return Ok(None);
                }
                std::thread::sleep(LOOK);
            }
            Err(error) => return Err(error),
        }
    }
}

/// Returns when all that was measured so far is extended and listed.
fn flush(aggregate: &Path) -> Result<(), CollectError> {
    let flushed = File::open(aggregate).and_then(|file| file.sync_all());
    flushed.map_err(|source| CollectError::Read { path: aggregate.to_owned(), source })
}

/// The number of a container's creation, by the folder that the kernel has for it; `None`
/// when there is none.
#[must_use]
pub fn seq(container: &Path) -> Option<u64> {
    let info = fs::read_to_string(container.join("info")).ok()?;
    info.lines().find_map(|line| line.strip_prefix("seq ")?.parse().ok())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::container::Secret;
    use crate::ima::write;
    use lacre_types::Digest;

    /// A folder, with the kernel's in it, and that of what has ended.
    fn node() -> (tempfile::TempDir, PathBuf, PathBuf) {
        let dir = tempfile::tempdir().unwrap();
        let (folder, ended) = (dir.path().join("containers"), dir.path().join("ended"));
        fs::create_dir(&ended).unwrap();
        fs::create_dir(&folder).unwrap();
        fs::write(folder.join("aggregate"), "").unwrap();
        (dir, folder, ended)
    }

    /// What the kernel has of a container, and the number of its creation.
    fn living(folder: &Path, id: &str, seq: u64, lines: u64) {
        let container = folder.join(id);
        fs::create_dir_all(&container).unwrap();
        fs::write(container.join("info"), format!("id {id}\nseq {seq}\n")).unwrap();
        fs::write(container.join("runtime_measurements_count"), format!("{lines}\n")).unwrap();
        fs::write(container.join("binary_runtime_measurements_sha256"), line(id)).unwrap();
    }

    fn line(name: &str) -> Vec<u8> {
        write::file(12, Algorithm::Sha256, &Digest::sha256([7; 32]), name.as_bytes())
    }

    fn begin(folder: &Path, id: &str, seq: u64) {
        let secret = Secret::new([7; 32]);
        let about = About { id: id.to_owned(), image: Some(format!("image-of-{id}")), secret };
        final_list::begin(folder, seq, &about).unwrap();
    }

    fn shown(kernel: Kernel<'_>) -> Vec<(String, u64, Option<String>)> {
        let containers = kernel.show(None).unwrap().containers.into_iter();
        containers.map(|part| (part.id, part.seq, part.image)).collect()
    }

    #[test]
    fn a_list_is_shown_wherever_it_is_by_then() {
        let (_dir, folder, ended) = node();
        fs::remove_file(folder.join("aggregate")).unwrap();
        assert!(Kernel::look(folder.clone(), Some(&ended)).unwrap().is_none());
        fs::write(folder.join("aggregate"), "").unwrap();
        // Stays; begins only; nobody told of; ends meanwhile; has ended, and come again.
        for (id, seq, lines) in
            [("stays", 1, 1), ("begins", 2, 0), ("untold", 3, 1), ("ends", 4, 1), ("again", 6, 1)]
        {
            living(&folder, id, seq, lines);
            if id != "untold" {
                begin(&ended, id, seq);
            }
        }
        begin(&ended, "again", 5);
        final_list::end(&ended, 5, &*line("again")).unwrap();
        let kernel = Kernel::look(folder.clone(), Some(&ended)).unwrap().unwrap();
        assert!(!kernel.grew().unwrap());
        fs::remove_dir_all(folder.join("ends")).unwrap();
        final_list::end(&ended, 4, &*line("ends")).unwrap();
        // Younger than the quote.
        living(&folder, "late", 7, 1);
        assert!(kernel.grew().unwrap());
        let mut shown = shown(kernel);
        shown.sort();
        let image = |id: &str| Some(format!("image-of-{id}"));
        let expected = [("again", 5), ("again", 6), ("begins", 2), ("ends", 4), ("stays", 1)];
        let mut expected: Vec<_> = expected.map(|(id, seq)| (id.to_owned(), seq, image(id))).into();
        expected.push(("untold".to_owned(), 3, None));
        assert_eq!(shown, expected);
    }

    #[test]
    fn a_list_that_is_being_written_down_is_waited_for() {
        let (_dir, folder, ended) = node();
        for (id, seq) in [("written", 1), ("never", 2)] {
            begin(&ended, id, seq);
        }
        let kernel = Kernel::look(folder, Some(&ended)).unwrap().unwrap();
        let writes = std::thread::spawn({
            let ended = ended.clone();
            move || final_list::end(&ended, 1, &*line("written")).unwrap()
        });
        let shown = shown(kernel);
        writes.join().unwrap();
        assert_eq!(shown, [("written".to_owned(), 1, Some("image-of-written".to_owned()))]);
    }
}
