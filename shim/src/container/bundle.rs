//! What lacre notes down in a bundle, for a `delete` that knows nothing else.

use std::fs;
use std::io::{self, Read as _, Write as _};
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use lacre_sys::whole_file;
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use crate::container::generation::Generation;
use crate::container::spec;
use crate::node::json_file::{self, FileError, failed};

/// Who the inner shim is, and where its guard.
const NOTE: &str = "lacre.json";
/// There once a Create of this bundle may have reached the inner shim: the container's
/// generation.
const CREATED: &str = "lacre.created";
/// The same file by another name, once the inner shim has answered that it deleted the container.
const DELETED: &str = "lacre.deleted";

/// What a bundle says.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Bundle {
    /// The inner shim's program.
    pub inner: PathBuf,
    /// The guard's socket, once there is one.
    pub socket: Option<PathBuf>,
}

impl Bundle {
    /// What the bundle says; nothing when `start` did not get that far.
    ///
    /// # Errors
    /// When it can't be read.
    pub fn read(bundle: &Path) -> Result<Option<Self>, FileError> {
        json_file::read(&bundle.join(NOTE))
    }

    /// Says it.
    ///
    /// # Errors
    /// When it can't be written.
    pub fn write(&self, bundle: &Path) -> Result<(), FileError> {
        json_file::write(&bundle.join(NOTE), self)
    }
}

/// Notes down that the Create of this bundle is about to be handed on. It stays, whatever
/// comes of it: an inner shim that fails may have made half a container.
///
/// # Errors
/// When it can't be written: then the Create must not be handed on.
pub fn note_create(bundle: &Path, generation: &Generation) -> Result<(), FileError> {
    let path = bundle.join(CREATED);
    let put = whole_file::put(&path, 0o600, |file| file.write_all(generation.as_str().as_bytes()));
    put.map_err(failed("writing", &path))
}

/// The generation of its container; `None`: there is none, or the bundle is of a lacre that
/// had no generations.
#[must_use]
pub fn generation(bundle: &Path) -> Option<Generation> {
    read_generation(&bundle.join(CREATED))
}

fn read_generation(path: &Path) -> Option<Generation> {
    let file = json_file::open(path).ok()??;
    let mut text = String::new();
    file.take(64).read_to_string(&mut text).ok()?;
    text.try_into().ok()
}

/// When its Create was about to be handed on; `None`: it was not, or that can't be told.
#[must_use]
pub fn created(bundle: &Path) -> Option<SystemTime> {
    fs::metadata(bundle.join(CREATED)).and_then(|metadata| metadata.modified()).ok()
}

/// The digest of the bundle's `config.json`, which says what the container is.
///
/// # Errors
/// When it can't be read.
pub fn spec_digest(bundle: &Path) -> io::Result<[u8; 32]> {
    fs::read(spec::path(bundle)).map(|spec| Sha256::digest(spec).into())
}

/// Why the bundle's `config.json` can't be taken for what it was `then`; `None`: it is the same.
#[must_use]
pub fn spec_doubt(bundle: &Path, then: Option<[u8; 32]>) -> Option<String> {
    let path = spec::path(bundle);
    let file = path.display();
    match (then, spec_digest(bundle)) {
        (Some(then), Ok(now)) if then == now => None,
        (Some(_), Ok(_)) => {
            Some(format!("{file} is not what it was when the container was created"))
        }
        // Nobody is accused of what was not seen.
        (None, _) => Some(format!("{file} could not be read when the container was created")),
        (Some(_), Err(error)) => {
            Some(format!("whether {file} is what it was can't be told: reading it: {error}"))
        }
    }
}

/// Whether a bundle is another container's by now than that of this generation, which the guard at
/// `guard` had: an id comes again, and with it the bundle's path. One of which nobody can tell
/// is not.
#[must_use]
pub fn is_anothers(bundle: &Path, its: &Generation, guard: &Path) -> bool {
    if let Some(found) = generation(bundle) {
        return found != *its;
    }
    // Every Create that goes through lacre is noted down first: this one has yet to be, and comes
    // from another guard, or does not go through lacre.
    let is_of_none = bundle.is_dir() && is_absent(&bundle.join(CREATED));
    is_of_none
        && match Bundle::read(bundle) {
            Ok(Some(note)) => note.socket.is_some_and(|socket| socket != guard),
            Ok(None) => true,
            Err(_) => false,
        }
}

/// The container's first process, as runc's own shim has noted it down (containerd,
/// `process.InitPidFile`).
#[must_use]
pub fn init_pid(bundle: &Path) -> Option<u32> {
    fs::read_to_string(bundle.join("init.pid")).ok()?.trim().parse().ok()
}

/// Whether there is certainly nothing of the bundle's container: the inner shim was never
/// asked to create it. Where that can't be told, it is not so.
#[must_use]
pub fn never_created(bundle: &Path) -> bool {
    is_absent(&bundle.join(CREATED))
}

/// Whether runc's own shim, asked to create the container, had not begun to: before it
/// mounts or runs anything, it notes down its runtime (containerd, `runc.NewContainer`),
/// and 1.6's `delete` fails for want of that.
#[must_use]
pub fn not_begun_by_runc(bundle: &Path, inner: &Path) -> bool {
    is_runcs(inner) && is_absent(&bundle.join("runtime"))
}

fn is_runcs(inner: &Path) -> bool {
    inner.file_name().is_some_and(|name| name == "containerd-shim-runc-v2")
}

/// Notes down that the inner shim has deleted the container of that generation, and said so.
/// Where it can't be, or the bundle is another's by now, `delete` has it deleted once more.
pub fn note_deleted(bundle: &Path, generation: &Generation) {
    if self::generation(bundle).as_ref() == Some(generation) {
        let _ = fs::hard_link(bundle.join(CREATED), bundle.join(DELETED));
    }
}

/// Whether the `delete` of runc's own shim has nothing to do for the bundle's container: it has
/// runc delete it by force and unmounts its root, and both were done when the shim answered the
/// Delete (containerd, `process.Init.delete`). What another shim's does besides is not known.
#[must_use]
pub fn deleted_by_runc(bundle: &Path, inner: &Path) -> bool {
    let deleted = read_generation(&bundle.join(DELETED));
    is_runcs(inner) && deleted.is_some() && deleted == generation(bundle)
}

/// Removes a bundle, as containerd would have. Whatever is on its root file system is left
/// alone, and then the bundle is too.
///
/// # Errors
/// When something is left.
pub fn remove(bundle: &Path) -> io::Result<()> {
    // Only an empty directory on which nothing is mounted goes.
    match fs::remove_dir(bundle.join("rootfs")) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let work = fs::read_link(bundle.join("work"));
    for entry in fs::read_dir(bundle)? {
        let entry = entry?;
        match entry.file_type()?.is_dir() {
            true => fs::remove_dir(entry.path())?,
            false => fs::remove_file(entry.path())?,
        }
    }
    // containerd makes way for another of this name itself, if something is in it.
    let _ = work.and_then(fs::remove_dir);
    fs::remove_dir(bundle)
}

fn is_absent(path: &Path) -> bool {
    path.symlink_metadata().is_err_and(|error| error.kind() == io::ErrorKind::NotFound)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_cannot_be_told_is_not_gone() {
        let dir = tempfile::tempdir().unwrap();
        assert!(never_created(dir.path()));
        assert_eq!(generation(dir.path()), None);
        for _ in 0..2 {
            let drawn = Generation::draw().unwrap();
            note_create(dir.path(), &drawn).unwrap();
            assert!(!never_created(dir.path()));
            assert_eq!(generation(dir.path()), Some(drawn));
        }
        let file = dir.path().join(CREATED);
        assert!(!never_created(&file), "no directory, so no telling what is in it");
        assert!(note_create(&file, &Generation::draw().unwrap()).is_err());
    }

    #[test]
    fn a_bundle_of_the_same_path_may_be_another_containers() {
        let dir = tempfile::tempdir().unwrap();
        let [first, second] = [Generation::draw().unwrap(), Generation::draw().unwrap()];
        let [guard, other] = ["/run/s/0a", "/run/s/0b"].map(Path::new);
        let is_anothers = || is_anothers(dir.path(), &first, guard);
        assert!(is_anothers(), "it is not lacre's");
        let note = |socket: &Path| {
            let socket = Some(socket.to_owned());
            Bundle { inner: "/bin/x".into(), socket }.write(dir.path()).unwrap();
        };
        note(other);
        assert!(is_anothers());
        note(guard);
        assert!(!is_anothers(), "nobody can tell");
        note_create(dir.path(), &second).unwrap();
        assert!(is_anothers());
        note_create(dir.path(), &first).unwrap();
        assert!(!is_anothers());
        fs::write(dir.path().join(CREATED), "torn").unwrap();
        assert!(!is_anothers(), "nobody can tell");
        assert!(!super::is_anothers(&dir.path().join("none"), &first, guard), "there is none");
    }

    #[test]
    fn a_specification_that_cannot_be_read_is_no_other_one() {
        let dir = tempfile::tempdir().unwrap();
        let told = |then| spec_doubt(dir.path(), then).unwrap_or_default();
        assert!(told(None).contains("could not be read when"));
        fs::write(spec::path(dir.path()), "{}").unwrap();
        let then = spec_digest(dir.path()).ok();
        assert_eq!(spec_doubt(dir.path(), then), None);
        fs::write(spec::path(dir.path()), "{} ").unwrap();
        assert!(told(then).contains("is not what it was"));
        fs::remove_file(spec::path(dir.path())).unwrap();
        assert!(told(then).contains("can't be told"), "{}", told(then));
    }

    #[test]
    fn only_runcs_own_shim_is_known_to_note_its_runtime() {
        let dir = tempfile::tempdir().unwrap();
        let (runc, other) = (Path::new("/usr/bin/containerd-shim-runc-v2"), Path::new("/bin/x"));
        assert!(not_begun_by_runc(dir.path(), runc));
        assert!(!not_begun_by_runc(dir.path(), other));
        fs::write(dir.path().join("runtime"), "").unwrap();
        assert!(!not_begun_by_runc(dir.path(), runc));
    }

    #[test]
    fn only_what_runcs_own_shim_has_deleted_is_deleted() {
        let dir = tempfile::tempdir().unwrap();
        let (runc, other) = (Path::new("/usr/bin/containerd-shim-runc-v2"), Path::new("/bin/x"));
        let [first, second] = [Generation::draw().unwrap(), Generation::draw().unwrap()];
        note_deleted(dir.path(), &first);
        assert!(!deleted_by_runc(dir.path(), runc), "nothing was created");
        note_create(dir.path(), &first).unwrap();
        note_deleted(dir.path(), &second);
        assert!(!deleted_by_runc(dir.path(), runc), "the word was of another");
        note_deleted(dir.path(), &first);
        assert!(deleted_by_runc(dir.path(), runc));
        assert!(!deleted_by_runc(dir.path(), other));
        note_create(dir.path(), &second).unwrap();
        assert!(!deleted_by_runc(dir.path(), runc), "it was created anew");
    }

    #[test]
    fn a_bundle_with_a_root_is_left_and_one_without_goes() {
        let dir = tempfile::tempdir().unwrap();
        let (bundle, work) = (dir.path().join("one"), dir.path().join("work"));
        let file = bundle.join("rootfs/etc");
        fs::create_dir_all(&file).unwrap();
        fs::create_dir(&work).unwrap();
        std::os::unix::fs::symlink(&work, bundle.join("work")).unwrap();
        note_create(&bundle, &Generation::draw().unwrap()).unwrap();
        assert!(remove(&bundle).is_err());
        assert!(file.exists() && !never_created(&bundle) && work.exists());
        fs::remove_dir(file).unwrap();
        remove(&bundle).unwrap();
        assert!(!bundle.exists() && !work.exists());
    }
}
