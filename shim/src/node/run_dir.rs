//! What outlives a process: the socket, who serves it, and which containers it has.
//!
//! `RUN/s/NAME` is the socket of one guard, `RUN/s/NAME.json` what is known of it,
//! `RUN/s/NAME.lock` what it holds a lock on for as long as it lives, `RUN/s/NAME.control`
//! where it takes orders of root's, and `RUN/s/NAME.hung` is there once it hung, where NAME comes
//! from the inner shim's socket: the same pod finds the same guard, and a shim that takes the
//! place of an older one does not.

use std::ffi::OsStr;
use std::fs::{self, DirBuilder, File, OpenOptions, Permissions};
use std::io;
use std::os::unix::fs::{
    DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _, PermissionsExt as _,
};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};

use rustix::fs::{Mode, OFlags};
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use crate::node::guard_state::{Noted, State};
use crate::node::json_file::{self, FileError, failed};
use crate::node::process::Process;

/// The folder of a run directory's places.
pub(crate) const PLACES: &str = "s";

/// The place of one guard.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    socket: PathBuf,
}

/// A state as it is in its file, which says whose it is.
#[derive(Serialize)]
struct Written<'a> {
    place: &'a Path,
    #[serde(flatten)]
    state: &'a State,
}

#[derive(Deserialize)]
struct Read {
    /// None: an older lacre wrote it.
    #[serde(default)]
    place: Option<PathBuf>,
    #[serde(flatten)]
    state: State,
}

impl Place {
    /// The place of the guard of the inner shim that listens on `inner`, beneath `run`.
    ///
    /// # Errors
    /// When there is no such socket, or the directory can't be made or is open to others.
    pub fn of(run: &Path, inner: &Path) -> Result<Self, FileError> {
        make(run)?;
        let sockets = run.join(PLACES);
        let found =
            fs::metadata(inner).map_err(failed("looking at the inner shim's socket", inner))?;
        let mut hash = Sha256::new();
        hash.update(inner.as_os_str().as_encoded_bytes());
        for part in [found.dev(), found.ino(), found.mtime() as u64, found.mtime_nsec() as u64] {
            hash.update(part.to_le_bytes());
        }
        let name: String = hash.finalize()[..16].iter().map(|byte| format!("{byte:02x}")).collect();
        Ok(Self { socket: sockets.join(name) })
    }

    /// The place of the guard that listens on `socket`.
    #[must_use]
    pub const fn at(socket: PathBuf) -> Self {
        Self { socket }
    }

    /// The guard's socket.
    #[must_use]
    pub fn socket(&self) -> &Path {
        &self.socket
    }

    /// The guard's address, as containerd takes it.
    #[must_use]
    pub fn address(&self) -> String {
        format!("unix://{}", self.socket.display())
    }

    /// The run directory that it is in.
    #[must_use]
    pub fn run(&self) -> &Path {
        self.socket.ancestors().nth(2).unwrap_or(Path::new("/"))
    }

    /// Where the guard takes orders.
    #[must_use]
    pub fn control(&self) -> PathBuf {
        self.socket.with_extension("control")
    }

    fn lock_path(&self) -> PathBuf {
        self.socket.with_extension("lock")
    }

    fn hang_path(&self) -> PathBuf {
        self.socket.with_extension("hung")
    }

    fn state_path(&self) -> PathBuf {
        self.socket.with_extension("json")
    }

    /// Listens; `None` when somebody else has the place.
    ///
    /// # Errors
    /// When it can't.
    pub fn listen(&self) -> Result<Option<UnixListener>, FileError> {
        match bind(&self.socket) {
            Err(error) if error.kind() == io::ErrorKind::AddrInUse => Ok(None),
            other => other.map(Some).map_err(failed("listening on", &self.socket)),
        }
    }

    /// Listens for orders; whoever had the place before is gone.
    ///
    /// # Errors
    /// When it can't.
    pub fn listen_for_orders(&self) -> Result<UnixListener, FileError> {
        let control = self.control();
        let _ = fs::remove_file(&control);
        bind(&control).map_err(failed("listening on", &control))
    }

    /// Notes down that the guard hangs, before it is killed for that: who accounts for what it
    /// left says so.
    pub(crate) fn note_hang(&self) {
        // Where it can't be, it is told to have died, which is as true.
        let _ = lock_file(&self.hang_path());
    }

    /// Whether that was noted down.
    pub(crate) fn hung(&self) -> bool {
        self.hang_path().exists()
    }

    /// Removes the socket, so that nobody finds a guard that can do nothing for containerd.
    pub fn unlist(&self) {
        let _ = fs::remove_file(&self.socket);
    }

    /// What is noted down of the guard.
    #[must_use]
    pub fn noted(&self) -> Noted {
        let path = self.state_path();
        match json_file::read::<Read>(&path) {
            Ok(None) => Noted::Nothing,
            Ok(Some(read)) if read.place.as_ref().is_none_or(|place| *place == self.socket) => {
                Noted::State(read.state)
            }
            Ok(Some(_)) => {
                let another = io::Error::other("it is of another guard");
                Noted::Unreadable(failed("trusting", &path)(another))
            }
            Err(error) => Noted::Unreadable(error),
        }
    }

    /// The guard, where it takes orders: whoever listens for them there.
    #[must_use]
    pub fn listener(&self) -> Option<Process> {
        let link = UnixStream::connect(self.control()).ok()?;
        let peer = rustix::net::sockopt::socket_peercred(&link).ok()?;
        Process::by_pid(u32::try_from(peer.pid.as_raw_nonzero().get()).ok()?)
    }

    /// Keeps what is known.
    ///
    /// # Errors
    /// When it can't be written.
    pub fn keep(&self, state: &State) -> Result<(), FileError> {
        json_file::write(&self.state_path(), &Written { place: &self.socket, state })
    }

    /// Removes all that is in the place.
    pub fn clear(&self) {
        json_file::remove(&self.state_path());
        for path in [self.control(), self.lock_path(), self.hang_path(), self.socket.clone()] {
            // Absent is as it should be, and of the rest nobody could do more.
            let _ = fs::remove_file(path);
        }
    }

    /// Every place in the same run directory of which something is known.
    #[must_use]
    pub fn neighbours(&self) -> Vec<Self> {
        Self::all_below(self.run())
    }

    /// Every place of that run directory of which something is known.
    #[must_use]
    pub fn all_below(run: &Path) -> Vec<Self> {
        let Ok(entries) = fs::read_dir(run.join(PLACES)) else { return Vec::new() };
        entries
            .flatten()
            .map(|entry| entry.path())
            .filter(|path| path.extension().is_some_and(|extension| extension == "json"))
            .map(|path| Self { socket: path.with_extension("") })
            .collect()
    }

    /// Takes the lock that says that the guard lives.
    ///
    /// # Errors
    /// When it can't be taken.
    pub fn hold(&self) -> Result<File, FileError> {
        let path = self.lock_path();
        let file = lock_file(&path).map_err(failed("opening", &path))?;
        file.lock().map_err(failed("locking", &path))?;
        Ok(file)
    }

    /// Holds off others who would clean up here, for as long as the result lives; the guard
    /// itself must have gone. `None` when there is nothing left to clean up, as `left` says.
    ///
    /// # Errors
    /// When it can't be locked.
    pub fn lock(&self, left: impl Fn() -> bool) -> Result<Option<File>, FileError> {
        while left() {
            let file = self.hold()?;
            let path = self.lock_path();
            let place = |meta: fs::Metadata| (meta.dev(), meta.ino());
            let held = file.metadata().map(place).map_err(failed("looking at", &path))?;
            // Who had it before may have removed it: then it holds nobody off.
            if !fs::symlink_metadata(&path).map(place).is_ok_and(|found| found == held) {
                continue;
            }
            if left() {
                return Ok(Some(file));
            }
            // It was taken away meanwhile, with the lock; this one is ours alone.
            let _ = fs::remove_file(&path);
        }
        Ok(None)
    }

    /// Its name among the places of its run directory.
    pub(crate) fn name(&self) -> &OsStr {
        self.socket.file_name().unwrap_or_default()
    }
}

/// Makes what is missing of a run directory.
///
/// # Errors
/// When it can't be made, or is open to others.
pub(crate) fn make(run: &Path) -> Result<(), FileError> {
    [run, &run.join(PLACES), &charters(run)].into_iter().try_for_each(make_dir)
}

/// The folder of the charters of the containers that there are in a run directory.
pub(crate) fn charters(run: &Path) -> PathBuf {
    run.join("containers")
}

fn lock_file(path: &Path) -> io::Result<File> {
    let flags = OFlags::NOFOLLOW.bits().cast_signed();
    OpenOptions::new()
        .create(true)
        .truncate(false)
        .write(true)
        .mode(0o600)
        .custom_flags(flags)
        .open(path)
}

/// The socket has its mode from the first, so that there is no moment in which others may
/// connect.
fn bind(path: &Path) -> io::Result<UnixListener> {
    let before = rustix::process::umask(Mode::from_raw_mode(0o177));
    let bound = UnixListener::bind(path);
    rustix::process::umask(before);
    bound
}

/// 0711: anyone may pass, nobody else may look or write.
fn make_dir(dir: &Path) -> Result<(), FileError> {
    match DirBuilder::new().recursive(true).mode(0o711).create(dir) {
        Ok(()) => {}
        Err(error) => return Err(failed("creating", dir)(error)),
    }
    let found = fs::symlink_metadata(dir).map_err(failed("looking at", dir))?;
    let own = rustix::process::geteuid().as_raw();
    if !found.is_dir() || found.uid() != own || found.mode() & 0o022 != 0 {
        let others = io::Error::other("it is not a directory, or others own it or may write in it");
        return Err(failed("using", dir)(others));
    }
    if found.mode() & 0o777 != 0o711 {
        fs::set_permissions(dir, Permissions::from_mode(0o711)).map_err(failed("closing", dir))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::container::generation::Generation;
    use crate::node::guard_state::Container;

    #[test]
    fn a_place_belongs_to_one_inner_shim() {
        let dir = tempfile::tempdir().unwrap();
        let (run, inner) = (dir.path().join("run"), dir.path().join("inner"));
        let first = UnixListener::bind(&inner).unwrap();
        let place = Place::of(&run, &inner).unwrap();
        assert_eq!(Place::of(&run, &inner).unwrap(), place);

        let listener = place.listen().unwrap().unwrap();
        assert!(place.listen().unwrap().is_none(), "taken");
        assert_eq!(fs::metadata(place.socket()).unwrap().mode() & 0o777, 0o600);
        assert_eq!(fs::metadata(run.join(PLACES)).unwrap().mode() & 0o777, 0o711);
        UnixStream::connect(place.socket()).unwrap();

        drop((first, listener));
        // Held, so that its inode is not the next one's.
        let old = fs::hard_link(&inner, dir.path().join("old"));
        old.unwrap();
        fs::remove_file(&inner).unwrap();
        let _second = UnixListener::bind(&inner).unwrap();
        assert_ne!(Place::of(&run, &inner).unwrap(), place, "another shim under the same name");
        place.clear();
        assert!(!place.socket().exists());
    }

    #[test]
    fn a_state_reads_back_and_a_lock_holds_off() {
        let dir = tempfile::tempdir().unwrap();
        let place = Place::at(dir.path().join("0a"));
        assert!(matches!(place.noted(), Noted::Nothing));
        let noted = || !matches!(place.noted(), Noted::Nothing);
        assert!(place.lock(noted).unwrap().is_none());
        let state = State {
            guard: Process { pid: 1, began: 2 },
            inner: None,
            inner_is_others: false,
            terms: None,
            inner_sockets: vec!["/i".into()],
            containers: vec![Container {
                id: "a".into(),
                bundle: "/b".into(),
                generation: Generation::draw().ok(),
            }],
        };
        place.keep(&state).unwrap();
        assert_eq!(place.noted().state(), Some(&state));
        let lock = place.lock(noted).unwrap().unwrap();
        let second = File::open(place.lock_path()).unwrap();
        assert!(second.try_lock().is_err());
        drop(lock);
        assert!(second.try_lock().is_ok());

        // Another's, by whichever way it came there; and one that has no place in it, as older
        // ones have none.
        let other = Place::at(dir.path().join("0b"));
        fs::copy(place.state_path(), other.state_path()).unwrap();
        assert!(matches!(other.noted(), Noted::Unreadable(_)));
        fs::write(other.state_path(), serde_json::to_vec(&state).unwrap()).unwrap();
        assert_eq!(other.noted().state(), Some(&state));
        fs::remove_file(other.state_path()).unwrap();
        assert!(
            std::process::Command::new("mkfifo")
                .arg(other.state_path())
                .status()
                .unwrap()
                .success()
        );
        assert!(matches!(other.noted(), Noted::Unreadable(_)), "and nobody waits for its writer");
    }

    /// Who finds nothing left once the lock is had leaves no lock behind.
    #[test]
    fn a_lock_of_what_is_taken_away_meanwhile_goes_too() {
        let dir = tempfile::tempdir().unwrap();
        let place = Place::at(dir.path().join("0a"));
        let looks = std::cell::Cell::new(0);
        let left = || looks.replace(looks.get() + 1) == 0;
        assert!(place.lock(left).unwrap().is_none());
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0);
    }

    #[test]
    fn a_directory_that_others_may_write_in_is_not_used() {
        let dir = tempfile::tempdir().unwrap();
        let run = dir.path().join("run");
        fs::create_dir(&run).unwrap();
        fs::set_permissions(&run, Permissions::from_mode(0o777)).unwrap();
        let inner = dir.path().join("inner");
        let _listener = UnixListener::bind(&inner).unwrap();
        assert!(Place::of(&run, &inner).is_err());
    }
}
