//! The folder of a run directory's charters: `RUN/containers/GENERATION.json`, root's alone,
//! replaced whole. Beside each is a link, `GENERATION.PLACE`, from the container and its guard's
//! place to its bundle, for when nobody can read the rest.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::fs;
use std::io;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::charter::{Body, Charter, Head, VERSION};
use super::generation::Generation;
use crate::node::json_file::{self, FileError, failed};
use crate::node::run_dir::{self, Place};

#[derive(Serialize)]
struct Written<'a> {
    head: &'a Head,
    body: Option<&'a Body>,
}

#[derive(Deserialize)]
struct Read {
    head: Head,
    body: serde_json::Value,
}

/// What a folder of charters has of one container.
#[derive(Debug)]
pub(crate) enum Entry {
    /// Its charter.
    Whole(Box<Charter>),
    /// One that can't be read, or is gone: then all is accounted for, or somebody removed it.
    Damaged(Named),
}

/// What the names of a folder of charters tell of a container.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Named {
    pub(crate) generation: Generation,
    /// Its bundle.
    pub(crate) bundle: PathBuf,
    /// Its charter is gone.
    pub(crate) gone: bool,
}

/// The folder of a run directory's charters.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Charters(PathBuf);

impl Charters {
    /// Those beneath `run`.
    #[must_use]
    pub fn below(run: &Path) -> Self {
        Self(run_dir::charters(run))
    }

    /// Those of the containers that a guard, and others beside it, have.
    pub(crate) fn of(place: &Place) -> Self {
        Self::below(place.run())
    }

    #[cfg(test)]
    pub(crate) fn folder(&self) -> &Path {
        &self.0
    }

    fn path(&self, generation: &Generation) -> PathBuf {
        self.0.join(generation.as_str()).with_extension("json")
    }

    /// Writes it down, in the place of what was there: whole or not at all.
    ///
    /// # Errors
    /// When it can't be.
    pub fn write(&self, charter: &Charter) -> Result<(), FileError> {
        let path = self.path(&charter.head.generation);
        let written = Written { head: &charter.head, body: charter.body.as_ref() };
        json_file::write(&path, &written)
    }

    /// Begins one, before the container is: its name first, so that a name without a charter is
    /// of what was never handed on, or is accounted for.
    ///
    /// # Errors
    /// When it can't be written.
    pub fn begin(&self, charter: &Charter) -> Result<(), FileError> {
        let Head { generation, guard, bundle, .. } = &charter.head;
        let link = self.link(generation, &Place::at(guard.clone()));
        symlink(bundle, &link).map_err(failed("naming", &link))?;
        self.write(charter)
    }

    /// Reads one; `None` when there is none.
    ///
    /// # Errors
    /// When it can't be read, others could have written it, or it is another container's.
    pub fn read(&self, generation: &Generation) -> Result<Option<Charter>, FileError> {
        let path = self.path(generation);
        let Some(read) = json_file::read_own::<Read>(&path)? else { return Ok(None) };
        if read.head.generation != *generation {
            let another = io::Error::other("it is another container's");
            return Err(failed("trusting", &path)(another));
        }
        let known = read.head.version == VERSION;
        let body = known.then(|| serde_json::from_value(read.body).ok()).flatten();
        Ok(Some(Charter { head: read.head, body }))
    }

    /// What there is of the containers of a guard.
    pub(crate) fn of_place(&self, place: &Place) -> Vec<Entry> {
        let mut all = self.entries(|name| name.is_none_or(|name| name == place.name()));
        // An older lacre's have no other name than their charter's.
        all.retain(|entry| match entry {
            Entry::Whole(charter) => charter.head.guard == place.socket(),
            Entry::Damaged(_) => true,
        });
        all
    }

    /// Everything there is, with the guard's place.
    pub(crate) fn all(&self) -> Vec<(Place, Entry)> {
        let places = self.0.with_file_name(run_dir::PLACES);
        let of = |(generation, names): (Generation, Names)| {
            let name = names.link.as_ref().map(|(name, _)| places.join(name));
            let entry = self.entry(generation, names)?;
            let guard = match &entry {
                Entry::Whole(charter) => charter.head.guard.clone(),
                Entry::Damaged(_) => name?,
            };
            Some((Place::at(guard), entry))
        };
        self.names().into_iter().filter_map(of).collect()
    }

    /// The container of that bundle.
    pub(crate) fn of_bundle(&self, bundle: &Path) -> Option<Generation> {
        let mut all = self.names().into_iter();
        all.find_map(|(generation, names)| {
            names.link.is_some_and(|(_, its)| its == bundle).then_some(generation)
        })
    }

    fn entries(&self, is_wanted: impl Fn(Option<&OsStr>) -> bool) -> Vec<Entry> {
        let mut names = self.names();
        names.retain(|_, names| is_wanted(names.link.as_ref().map(|(name, _)| name.as_os_str())));
        names.into_iter().filter_map(|(generation, names)| self.entry(generation, names)).collect()
    }

    /// `None`: nothing tells where it is.
    fn entry(&self, generation: Generation, names: Names) -> Option<Entry> {
        if let Ok(Some(charter)) = self.read(&generation) {
            return Some(Entry::Whole(Box::new(charter)));
        }
        let (_, bundle) = names.link?;
        Some(Entry::Damaged(Named { generation, bundle, gone: !names.charter }))
    }

    fn names(&self) -> BTreeMap<Generation, Names> {
        let mut all = BTreeMap::<Generation, Names>::new();
        for entry in fs::read_dir(&self.0).into_iter().flatten().flatten() {
            let name = entry.file_name();
            let Some((generation, kind)) = name.to_str().and_then(|name| name.split_once('.'))
            else {
                continue;
            };
            let Ok(generation) = Generation::try_from(generation.to_owned()) else { continue };
            if kind == "json" {
                all.entry(generation).or_default().charter = true;
            } else if let Ok(bundle) = fs::read_link(entry.path()) {
                all.entry(generation).or_default().link = Some((kind.into(), bundle));
            }
        }
        all
    }

    /// Removes one, with its name. There may be none.
    pub fn remove(&self, generation: &Generation, guard: &Place) {
        json_file::remove(&self.path(generation));
        self.remove_name(generation, guard);
    }

    /// Removes the name of one that is accounted for. There may be none.
    pub(crate) fn remove_name(&self, generation: &Generation, guard: &Place) {
        // Absent is as it should be, and of the rest nobody could do more.
        let _ = fs::remove_file(self.link(generation, guard));
    }

    fn link(&self, generation: &Generation, guard: &Place) -> PathBuf {
        let mut name = OsString::from(generation.as_str());
        name.push(".");
        name.push(guard.name());
        self.0.join(name)
    }
}

/// The names that one container has in the folder.
#[derive(Default)]
struct Names {
    charter: bool,
    /// Its guard's place, and its bundle.
    link: Option<(OsString, PathBuf)>,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Config;
    use crate::node::process::Process;
    use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};

    fn rig() -> (tempfile::TempDir, Charters, Charter) {
        let dir = tempfile::tempdir().unwrap();
        let charters = Charters::below(dir.path());
        fs::create_dir(charters.folder()).unwrap();
        let generation = Generation::draw().unwrap();
        let head = Head::new(generation, "n", "c", Path::new("/b"), Path::new("/run/s/0a"));
        let config = Config::parse("mode: enforce\nsources: [exec-trace]").unwrap();
        let charter = Charter::begin(head, Path::new("/run/c.sock"), &config);
        (dir, charters, charter)
    }

    #[test]
    fn what_is_written_reads_back_and_is_roots_alone() {
        let (_dir, charters, mut charter) = rig();
        let generation = charter.head.generation.clone();
        assert_eq!(charters.read(&generation).unwrap(), None);
        charters.write(&charter).unwrap();
        assert_eq!(charters.read(&generation).unwrap(), Some(charter.clone()));
        charter.head.init = Some(Process { pid: 7, began: 9 });
        charters.write(&charter).unwrap();
        assert_eq!(charters.read(&generation).unwrap(), Some(charter));
        let mode = fs::metadata(charters.path(&generation)).unwrap().mode();
        assert_eq!(mode & 0o777, 0o600);
        assert_eq!(fs::read_dir(charters.folder()).unwrap().count(), 1, "nothing half-done");
        charters.remove(&generation, &Place::at("/run/s/0a".into()));
        assert_eq!(charters.read(&generation).unwrap(), None);
    }

    /// Whatever became of the one file, the other names the container.
    #[test]
    fn a_container_is_found_by_either_of_its_two_names() {
        let (dir, charters, mut charter) = rig();
        let place = Place::at(dir.path().join("s/0a"));
        charter.head.guard = place.socket().to_owned();
        let generation = charter.head.generation.clone();
        charters.begin(&charter).unwrap();
        let other = Place::at(dir.path().join("s/0b"));
        assert!(charters.of_place(&other).is_empty());
        assert_eq!(charters.of_bundle(Path::new("/b")), Some(generation.clone()));
        assert!(matches!(&charters.of_place(&place)[..], [Entry::Whole(_)]));

        let damaged = |gone| {
            let named = Named { generation: generation.clone(), bundle: "/b".into(), gone };
            let found = |entry: &Entry| matches!(entry, Entry::Damaged(its) if *its == named);
            assert!(matches!(&charters.of_place(&place)[..], [one] if found(one)));
            let all = charters.all();
            assert!(matches!(&all[..], [(guard, one)] if *guard == place && found(one)));
        };
        // Torn, another's, gone.
        fs::write(charters.path(&generation), "{\"head\"").unwrap();
        damaged(false);
        let another = Generation::draw().unwrap();
        let its = Head::new(another.clone(), "n", "d", Path::new("/d"), place.socket());
        charters.write(&Charter { head: its, body: None }).unwrap();
        fs::rename(charters.path(&another), charters.path(&generation)).unwrap();
        damaged(false);
        fs::remove_file(charters.path(&generation)).unwrap();
        damaged(true);

        charters.write(&charter).unwrap();
        fs::remove_file(charters.link(&generation, &place)).unwrap();
        assert!(matches!(&charters.of_place(&place)[..], [Entry::Whole(_)]), "an older lacre's");
        charters.remove(&generation, &place);
        assert_eq!(fs::read_dir(charters.folder()).unwrap().count(), 0);
    }

    #[test]
    fn another_versions_head_is_enough_to_end_a_container() {
        let (_dir, charters, charter) = rig();
        let mut head = serde_json::to_value(&charter.head).unwrap();
        head["version"] = 99.into();
        head["news"] = "nobody knows today".into();
        let text = serde_json::json!({"head": head, "body": {"quite": "another"}}).to_string();
        fs::write(charters.path(&charter.head.generation), text).unwrap();
        let read = charters.read(&charter.head.generation).unwrap().unwrap();
        assert_eq!((read.head.id.as_str(), read.body), ("c", None));
    }

    #[test]
    fn neither_a_link_nor_what_others_could_write_is_a_charter() {
        let (dir, charters, charter) = rig();
        let generation = charter.head.generation.clone();
        charters.write(&charter).unwrap();
        let path = charters.path(&generation);
        fs::set_permissions(&path, fs::Permissions::from_mode(0o620)).unwrap();
        assert!(charters.read(&generation).is_err(), "a group may write it");
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
        let elsewhere = dir.path().join("elsewhere");
        fs::rename(&path, &elsewhere).unwrap();
        symlink(&elsewhere, &path).unwrap();
        assert!(charters.read(&generation).is_err(), "a link");
        // Nor is one written through: the link itself is replaced.
        charters.write(&charter).unwrap();
        assert!(fs::symlink_metadata(&path).unwrap().is_file());
        fs::remove_file(&path).unwrap();
        assert!(std::process::Command::new("mkfifo").arg(&path).status().unwrap().success());
        assert!(charters.read(&generation).is_err(), "a FIFO, and nobody waits for its writer");
    }
}
