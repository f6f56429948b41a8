//! A cgroup with those beneath it: the one reader of who is in them.
//!
//! A container that may write to its own cgroups makes of them what it likes: threaded ones, which
//! name no process; and nested ones, deeper than a path reaches.

use std::ffi::CString;
use std::fs::{self, File};
use std::io::{self, Read as _, Write as _};
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

use lacre_types::proc_pid::status_field;
use rustix::fs::{AtFlags, Dir, Mode, OFlags, openat, unlinkat};
use rustix::io::Errno;

/// THAWED, FREEZING or FROZEN (Documentation/admin-guide/cgroup-v1/freezer-subsystem.rst).
const STATE: &str = "freezer.state";

/// A cgroup with those beneath it, held open.
#[derive(Debug)]
pub struct CgroupTree(OwnedFd);

/// Who was found in a [`CgroupTree`].
#[derive(Debug, Default)]
pub struct Within {
    /// Those who are in it. One may be named twice.
    pub pids: Vec<u32>,
    /// What could not be read: somebody may be there too.
    pub missed: Option<io::Error>,
}

impl Within {
    /// Those who are in it, where nobody was missed.
    ///
    /// # Errors
    /// What could not be read.
    pub fn all(self) -> io::Result<Vec<u32>> {
        self.missed.map_or(Ok(self.pids), Err)
    }

    fn missed(&mut self, read: io::Result<()>) {
        if let Err(error) = read
            && !gone(&error)
        {
            self.missed.get_or_insert(error);
        }
    }
}

impl CgroupTree {
    /// The cgroup at that path; `None` where there is none.
    ///
    /// # Errors
    /// When it can't be opened.
    pub fn open(path: &Path) -> io::Result<Option<Self>> {
        match rustix::fs::open(path, DIRECTORY, Mode::empty()) {
            Ok(top) => Ok(Some(Self(top))),
            Err(error) if gone(&error.into()) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }

    pub(crate) fn at(top: impl AsFd) -> io::Result<Self> {
        Ok(Self(openat(top, c".", DIRECTORY, Mode::empty())?))
    }

    /// Who is in it now. Nobody is in one that has gone.
    #[must_use]
    pub fn processes(&self) -> Within {
        let mut within = Within::default();
        let walked = self.walk(
            &mut |cgroup| {
                let read = read_processes(cgroup, &mut within.pids);
                within.missed(read);
            },
            &mut |_, _| {},
        );
        within.missed(walked);
        within
    }

    /// Whether a v1 freezer holds any of it.
    #[must_use]
    pub fn is_held(&self) -> bool {
        let mut held = false;
        let _ = self.walk(&mut |cgroup| held |= is_held(cgroup), &mut |_, _| {});
        held
    }

    pub(crate) fn is_its_top_held(&self) -> bool {
        is_held(&self.0)
    }

    /// Thaws all that a v1 freezer of its own holds.
    pub fn thaw(&self) {
        self.write_to_each(STATE, "THAWED");
    }

    /// What can't be written to has gone, or has no such file.
    pub(crate) fn write_to_each(&self, name: &str, value: &str) {
        let flags = OFlags::WRONLY | OFlags::CLOEXEC;
        let mut write = |cgroup: &OwnedFd| {
            if let Ok(file) = openat(cgroup, name, flags, Mode::empty()) {
                let _ = File::from(file).write_all(value.as_bytes());
            }
        };
        let _ = self.walk(&mut write, &mut |_, _| {});
    }

    /// Removes those beneath it that nobody is in: the kernel removes no others.
    pub fn remove_beneath(&self) {
        let mut remove = |above: &OwnedFd, name: &CString| {
            let _ = unlinkat(above, name, AtFlags::REMOVEDIR);
        };
        let _ = self.walk(&mut |_| {}, &mut remove);
    }

    /// Goes through it, into each cgroup before those beneath it, and out of each after them. Two
    /// descriptors at a time, however deep it is.
    ///
    /// # Errors
    /// When a part of it can't be gone through: the rest has been.
    fn walk(
        &self,
        enter: &mut dyn FnMut(&OwnedFd),
        leave: &mut dyn FnMut(&OwnedFd, &CString),
    ) -> io::Result<()> {
        let mut missed = Ok(());
        let mut note = |read: io::Result<()>| {
            if missed.is_ok() && read.as_ref().is_err_and(|error| !gone(error)) {
                missed = read;
            }
        };
        let mut at = openat(&self.0, c".", DIRECTORY, Mode::empty())?;
        enter(&at);
        // Of each level what is yet to be gone into, and of each but the first its name.
        let (mut levels, mut names) = (vec![children(&at, &mut note)], Vec::new());
        while let Some(level) = levels.last_mut() {
            if let Some(name) = level.pop() {
                match openat(&at, &name, DIRECTORY | OFlags::NOFOLLOW, Mode::empty()) {
                    Ok(child) => {
                        at = child;
                        enter(&at);
                        levels.push(children(&at, &mut note));
                        names.push(name);
                    }
                    Err(error) => note(Err(error.into())),
                }
                continue;
            }
            levels.pop();
            let Some(name) = names.pop() else { break };
            match openat(&at, c"..", DIRECTORY, Mode::empty()) {
                Ok(above) => at = above,
                Err(error) => return Err(error.into()),
            }
            leave(&at, &name);
        }
        missed
    }
}

const DIRECTORY: OFlags = OFlags::RDONLY.union(OFlags::DIRECTORY).union(OFlags::CLOEXEC);

/// The names of those right beneath a cgroup.
fn children(cgroup: &OwnedFd, note: &mut dyn FnMut(io::Result<()>)) -> Vec<CString> {
    let mut names = Vec::new();
    match Dir::read_from(cgroup) {
        Ok(entries) => {
            for entry in entries {
                match entry {
                    Ok(entry) if entry.file_type().is_dir() => {
                        let name = entry.file_name();
                        if name != c"." && name != c".." {
                            names.push(name.to_owned());
                        }
                    }
                    Ok(_) => {}
                    Err(error) => note(Err(error.into())),
                }
            }
        }
        Err(error) => note(Err(error.into())),
    }
    names
}

fn read_processes(cgroup: &OwnedFd, into: &mut Vec<u32>) -> io::Result<()> {
    match read(cgroup, "cgroup.procs") {
        // A threaded one names no process, only its threads: the processes are those of the domain
        // above it (cgroups(7)), which need not be the container's.
        Err(error) if error.raw_os_error() == Some(Errno::OPNOTSUPP.raw_os_error()) => {
            for thread in numbers(&read(cgroup, "cgroup.threads")?) {
                into.extend(process_of(thread)?);
            }
        }
        text => into.extend(numbers(&text?)),
    }
    Ok(())
}

/// 0 is one of another pid namespace, which this one can't name.
fn numbers(text: &str) -> impl Iterator<Item = u32> {
    text.lines().filter_map(|line| line.parse().ok()).filter(|&number| number != 0)
}

/// The process that a thread is of; `None` when it has gone.
fn process_of(thread: u32) -> io::Result<Option<u32>> {
    match fs::read(format!("/proc/{thread}/status")) {
        Ok(status) => {
            Ok(status_field(&status, "Tgid").and_then(|mut process| process.next()?.parse().ok()))
        }
        Err(error) if error.raw_os_error() == Some(Errno::SRCH.raw_os_error()) => Ok(None),
        Err(error) if gone(&error) => Ok(None),
        Err(error) => Err(error),
    }
}

/// Whether a v1 freezer holds a cgroup.
pub(crate) fn is_held(cgroup: impl AsFd) -> bool {
    read(cgroup, STATE).is_ok_and(|state| state.trim() != "THAWED")
}

fn read(cgroup: impl AsFd, name: &str) -> io::Result<String> {
    let file = openat(cgroup, name, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())?;
    let mut text = String::new();
    File::from(file).read_to_string(&mut text)?;
    Ok(text)
}

/// Whether a cgroup was removed under our hands.
pub(crate) fn gone(error: &io::Error) -> bool {
    let code = error.raw_os_error();
    [Errno::NODEV, Errno::NOENT].iter().any(|gone| code == Some(gone.raw_os_error()))
}
