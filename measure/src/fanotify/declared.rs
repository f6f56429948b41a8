//! Files that are code because of where they lie: the policy declares a directory to hold code.
//!
//! A file has the name by which it was opened, links and `..` followed by the kernel, and those
//! that the container's other mounts give it: which of two bind mounts of a directory somebody
//! goes by says nothing of what lies in it. A directory that is declared by a link's name is
//! what the link leads to.

use std::fs::File;
use std::io::{self, Read as _};
use std::os::fd::{AsFd as _, BorrowedFd};
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, mpsc};

use lacre_types::{CanonicalPath, mountinfo};
use rustix::fs::{Mode, OFlags, ResolveFlags, openat2};

use super::event_file::{Facts, names};
use super::limits::{FOLLOWING, MOUNTINFO, STACK};
use crate::{CodeDirectories, Judge};

/// By so many mounts of one file system a file is named, those of the container's specification
/// among the first: more than a pod has volumes.
const NAMES: usize = 256;

/// The directories that are declared now.
pub(super) struct Declared {
    judge: Arc<dyn Judge>,
    now: Mutex<Now>,
}

#[derive(Debug, Default)]
struct Now {
    any: bool,
    /// Where declared directories are links to.
    led: Vec<CanonicalPath>,
}

impl std::fmt::Debug for Declared {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Declared").field("now", &self.now).finish_non_exhaustive()
    }
}

impl Declared {
    pub(super) fn new(judge: Arc<dyn Judge>) -> Self {
        Self { judge, now: Mutex::default() }
    }

    fn now(&self) -> MutexGuard<'_, Now> {
        self.now.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether there is any.
    pub(super) fn any(&self) -> bool {
        self.now().any
    }

    /// Asks the policy anew, and follows links from the container's root: as the host reaches it,
    /// that is at `rootfs`. On a thread of its own, which a file system that never answers may
    /// hold; what the names led to before holds until it is done.
    ///
    /// # Errors
    /// When that takes longer than [`FOLLOWING`], or there is no thread.
    pub(super) fn refresh(&self, root: BorrowedFd<'_>, rootfs: &Path) -> io::Result<()> {
        let CodeDirectories { any, paths } = self.judge.code_directories();
        self.now().any = any;
        if paths.is_empty() {
            self.now().led.clear();
            return Ok(());
        }
        let (root, rootfs) = (root.try_clone_to_owned()?, rootfs.to_owned());
        let (done, is_done) = mpsc::sync_channel(1);
        std::thread::Builder::new().name("fanotify-links".to_owned()).stack_size(STACK).spawn(
            move || {
                let led = paths.iter().filter_map(|path| leads(root.as_fd(), &rootfs, path));
                // Who does not wait any more has called it a failure.
                let _ = done.try_send(led.collect());
            },
        )?;
        self.now().led = is_done.recv_timeout(FOLLOWING).map_err(|_| {
            io::Error::new(
                io::ErrorKind::TimedOut,
                "a file system that it leads to does not answer",
            )
        })?;
        Ok(())
    }

    /// Whether a file lies in one of them: by the name that it was opened by, or one of those that
    /// other mounts give it. One with a name that nobody can tell (`others` gives `None` where
    /// there may be such) does.
    pub(super) fn hold(
        &self,
        name: Option<&CanonicalPath>,
        others: impl FnOnce(&CanonicalPath) -> Option<Vec<CanonicalPath>>,
    ) -> bool {
        let now = self.now();
        if !now.any {
            return false;
        }
        let Some(name) = name else { return true };
        let lies = |name: &CanonicalPath| {
            self.judge.is_declared_code(name)
                || now.led.iter().any(|led| {
                    below(name.as_bytes(), led.as_bytes()).is_some_and(|rest| !rest.is_empty())
                })
        };
        lies(name) || others(name).is_none_or(|others| others.iter().any(lies))
    }
}

/// Where the name of a directory leads, if elsewhere.
fn leads(root: BorrowedFd<'_>, rootfs: &Path, path: &CanonicalPath) -> Option<CanonicalPath> {
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let resolve = ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS;
    let at = Path::new(std::ffi::OsStr::from_bytes(path.as_bytes()));
    let opened = openat2(root, at, flags, Mode::empty(), resolve).ok()?;
    let facts = Facts::of(&opened).ok()?;
    let led = names(opened.as_fd(), &facts, Some(rootfs)).into_iter().next()?;
    (led != *path).then_some(led)
}

/// What of a file system is mounted where.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Place {
    pub(super) id: u64,
    dev: (u32, u32),
    root: Vec<u8>,
    point: Vec<u8>,
}

impl From<mountinfo::Mount> for Place {
    fn from(mount: mountinfo::Mount) -> Self {
        let mountinfo::Mount { id, dev, root, point, .. } = mount;
        Self { id, dev, root, point }
    }
}

/// The names that the mounts of `places` give a file which has that name by the mount `own`.
pub(super) fn other_names(
    name: &CanonicalPath,
    own: &Place,
    places: &[Place],
) -> Vec<CanonicalPath> {
    let Some(inside) = below(name.as_bytes(), &own.point).map(|rest| join(&own.root, rest)) else {
        return Vec::new();
    };
    let same = places.iter().filter(|place| place.dev == own.dev && place.id != own.id);
    same.take(NAMES)
        .filter_map(|place| {
            let name = join(&place.point, below(&inside, &place.root)?);
            CanonicalPath::new(name).ok()
        })
        .collect()
}

/// A mount that a process has and the container's first does not: of a mount namespace of its
/// own, or one that came just now.
pub(super) fn of_process(pid: u32, mount: u64) -> Option<Place> {
    let mut table = Vec::new();
    let file = File::open(format!("/proc/{pid}/mountinfo")).ok()?;
    file.take(MOUNTINFO).read_to_end(&mut table).ok()?;
    mountinfo::lines(&table).flatten().find(|line| line.id == mount).map(Place::from)
}

/// What of a path follows a directory's: nothing, or parts that each begin with a slash.
pub(super) fn below<'a>(path: &'a [u8], directory: &[u8]) -> Option<&'a [u8]> {
    let directory = directory.strip_suffix(b"/").unwrap_or(directory);
    let rest = path.strip_prefix(directory)?;
    (rest.is_empty() || rest.starts_with(b"/")).then_some(rest)
}

fn join(directory: &[u8], rest: &[u8]) -> Vec<u8> {
    [directory.strip_suffix(b"/").unwrap_or(directory), rest].concat()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Answer, Loss, Outcome};
    use lacre_types::{Measurement, Source};
    use proptest::prelude::*;

    fn path(path: &str) -> CanonicalPath {
        CanonicalPath::new(path).unwrap()
    }

    fn place(id: u64, minor: u32, root: &str, point: &str) -> Place {
        Place { id, dev: (0, minor), root: root.into(), point: point.into() }
    }

    struct Declares(&'static str);

    impl Judge for Declares {
        fn judge(&self, _: &Measurement) -> Answer {
            Answer::Allow
        }

        fn is_declared_code(&self, path: &CanonicalPath) -> bool {
            below(path.as_bytes(), self.0.as_bytes()).is_some_and(|rest| !rest.is_empty())
        }

        fn code_directories(&self) -> CodeDirectories {
            CodeDirectories { any: true, paths: vec![path(self.0)] }
        }

        fn seen(&self, _: Measurement, _: Outcome) {}
        fn lost(&self, _: Source, _: Loss) {}
    }

    fn declared(directory: &'static str, root: &Path) -> Declared {
        let declared = Declared::new(Arc::new(Declares(directory)));
        declared.refresh(File::open(root).unwrap().as_fd(), root).unwrap();
        declared
    }

    #[test]
    fn a_file_has_the_names_that_all_mounts_give_it() {
        let places = [
            place(1, 40, "/", "/"),
            place(2, 40, "/srv/app", "/mnt"),
            place(3, 50, "/vol/code", "/code"),
            place(4, 50, "/vol", "/all"),
            place(5, 60, "/vol", "/other"),
        ];
        for (name, own, want) in [
            ("/mnt/x", 1, "/srv/app/x"),
            ("/srv/app/a/x", 0, "/mnt/a/x"),
            ("/srv/application", 0, ""),
            ("/code/x", 2, "/all/code/x"),
            ("/all/code/x", 3, "/code/x"),
            ("/all/x", 3, ""),
        ] {
            let found = other_names(&path(name), &places[own], &places);
            let found: Vec<_> = found.iter().map(ToString::to_string).collect();
            assert_eq!(found.join(" "), want, "{name}");
        }
    }

    #[test]
    fn a_directory_that_is_a_link_is_what_it_leads_to() {
        let root = tempfile::tempdir().unwrap();
        std::fs::create_dir_all(root.path().join("srv/app")).unwrap();
        std::os::unix::fs::symlink("/srv/app", root.path().join("app")).unwrap();
        let of = |directory| declared(directory, root.path());
        let none = |_: &CanonicalPath| Some(Vec::new());
        assert!(of("/app").hold(Some(&path("/srv/app/x")), none));
        assert!(of("/app").hold(Some(&path("/app/x")), none));
        assert!(!of("/app").hold(Some(&path("/srv/x")), none));
        assert!(!of("/srv/app").hold(Some(&path("/srv/app")), none));
        // A link out of the root is one within it.
        std::os::unix::fs::symlink("../../../srv", root.path().join("out")).unwrap();
        assert!(of("/out").hold(Some(&path("/srv/x")), none));
        // Whose name nobody can tell lies anywhere.
        assert!(of("/app").hold(None, none));
        assert!(of("/app").hold(Some(&path("/srv/x")), |_| None));
    }

    #[test]
    fn where_nothing_is_declared_nothing_is_asked() {
        let declared = Declared::new(Arc::new(Declares("/")));
        assert!(
            !declared.hold(Some(&path("/x")), |_| unreachable!())
                && !declared.hold(None, |_| unreachable!())
        );
    }

    proptest! {
        /// There and back: the name by one mount is found from the name by the other.
        #[test]
        fn of_two_mounts_each_gives_the_others_name(
            roots in prop::array::uniform2("(/[ab]){0,2}"),
            points in prop::array::uniform2("(/[ab]){1,3}"),
            rest in prop::collection::vec(
                prop::collection::vec(prop_oneof![1..b'/', b'0'..=255], 1..6), 1..4),
        ) {
            let root = |at: usize| if roots[at].is_empty() { "/" } else { &roots[at] };
            let one = place(1, 1, root(0), &points[0]);
            let two = place(2, 1, root(1), &points[1]);
            let bytes = [points[0].as_bytes(), b"/", &rest.join(&b'/')].concat();
            let name = CanonicalPath::new(&bytes).unwrap();
            // `.` and `..` are no names of files.
            prop_assume!(name.as_bytes() == bytes);
            for other in other_names(&name, &one, &[one.clone(), two.clone()]) {
                let back = other_names(&other, &two, &[one.clone(), two.clone()]);
                prop_assert_eq!(back, [name.clone()]);
            }
            let inside = [roots[0].as_bytes(), b"/", &rest.join(&b'/')].concat();
            let is_in = below(&inside, roots[1].as_bytes()).is_some();
            prop_assert_eq!(other_names(&name, &one, &[two]).len(), usize::from(is_in));
        }
    }
}
