//! Which file an interpreter was started on, found as the interpreter itself finds it.
//!
//! Nothing here is nothing: where a script runs, there is its file, or why nobody can tell
//! which. Only who runs none has none.

use std::fs::File;
use std::io::Read;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use lacre_types::{CanonicalPath, base_name};
use rustix::fs::{CWD, FileType, Mode, OFlags};

use super::abi::Told;
use super::interpreters::Interpreters;
use super::script::{self, Family};
use crate::files;
use crate::held_process::Held;

/// The longest command line that is read: one that is longer hides its script on purpose.
const COMMAND: u64 = 2 << 20;

/// The longest tick of a clock that dates files, in nanoseconds: what has the date of a moment
/// may be so much later.
const TICK: i128 = 10_000_000;

/// How many links of /proc are followed on the way to one script.
const HOPS: usize = 8;

/// What an interpreter was started on.
pub(super) enum Script {
    /// Nothing: its code is among its arguments, or it reads its standard input.
    None,
    /// This file.
    At(Option<CanonicalPath>, OwnedFd),
    /// A file, and nobody can tell which, for this reason.
    Unread(String),
}

/// Where to look.
pub(super) struct Place<'a> {
    pub(super) interpreters: &'a Interpreters,
    pub(super) process: Option<&'a Held>,
    /// The container's, for a process that has ended.
    pub(super) root: &'a Path,
}

impl Script {
    /// What the process that was told of was started on.
    pub(super) fn of(told: &Told, place: &Place<'_>) -> Self {
        if let Some(filename) = &told.filename {
            return match told.filename_cut() {
                true => unread("its path is longer than the kernel's programs tell (512 bytes)"),
                false => place.find(filename, told, false),
            };
        }
        // The kernel's copy is cut at 512 bytes, and fails where a page is not there.
        let whole = told.argv_cut() || told.argv.is_empty();
        let read = place.process.filter(|_| whole).and_then(command_line);
        let argv = match (&read, whole) {
            (Some(argv), _) => argv,
            (None, false) => &told.argv,
            (None, true) => return unread("the interpreter's arguments could not be read"),
        };
        match place.run_by(told, argv) {
            Err(why) => unread(why),
            Ok(None) => Self::None,
            Ok(Some((argument, searched))) => place.find(argument, told, searched),
        }
    }
}

fn unread(why: &str) -> Script {
    Script::Unread(why.to_owned())
}

impl Place<'_> {
    /// The argument that is the script, and whether it is searched for.
    fn run_by<'a>(
        &self,
        told: &Told,
        argv: &'a [Vec<u8>],
    ) -> Result<Option<(&'a [u8], bool)>, &'static str> {
        let first = argv.first().map_or(&b""[..], |first| base_name(first));
        let family = self
            .interpreters
            .family(&told.key)
            .or_else(|| self.exe().and_then(|exe| Family::of(base_name(&exe))))
            .or_else(|| Family::of(first))
            .ok_or("which of its arguments is the script can't be told")?;
        let (family, argv) = match family {
            Family::Loader => {
                let Some(at) = script::loaded(argv) else { return Ok(None) };
                let rest = &argv[at..];
                (self.family_of(&rest[0]), rest)
            }
            family => (Some(family), argv),
        };
        let Some(family) = family else { return Ok(None) };
        let (family, rest) = match family {
            Family::Multicall => match script::applet(argv) {
                Some(found) => found,
                None => return Ok(None),
            },
            family => (family, argv.get(1..).unwrap_or_default()),
        };
        Ok(script::of_family(family, rest).map(|found| (found, family == Family::Shell)))
    }

    fn exe(&self) -> Option<Vec<u8>> {
        let exe = std::fs::read_link(self.process?.proc("exe")).ok()?;
        let exe = exe.into_os_string().into_encoded_bytes();
        Some(exe.strip_suffix(b" (deleted)").map_or_else(|| exe.clone(), <[u8]>::to_vec))
    }

    /// Of a program that a loader was told to load.
    fn family_of(&self, program: &[u8]) -> Option<Family> {
        let opened = self.roots().find_map(|root| files::open_in(&root, program).ok());
        let name = opened.as_ref().and_then(name_of);
        let name = name.as_ref().map_or(program, CanonicalPath::as_bytes);
        Family::of(base_name(name)).or_else(|| Family::of(base_name(program)))
    }

    /// Opens a script as its interpreter does: links and `..` as the kernel follows them,
    /// below the process's own root; a bare name of a shell's along its `PATH` too.
    fn find(&self, argument: &[u8], told: &Told, searched: bool) -> Script {
        if let Some(fd) = own_descriptor(argument) {
            return self.descriptor(fd);
        }
        let (folders, all) = match self.folders(argument, told, searched) {
            Ok(found) => found,
            Err(why) => return unread(why),
        };
        let mut gone = false;
        for folder in folders {
            let path = [&folder[..], b"/", argument].concat();
            match self.open(&path) {
                Ok(opened) => return self.opened(opened),
                Err(rustix::io::Errno::NOENT | rustix::io::Errno::NOTDIR) => {
                    gone |= self.lost_something(&path, told);
                }
                Err(why) => return Script::Unread(format!("looking for it failed: {why}")),
            }
        }
        match self.unlinked() {
            Some(opened) => Script::At(name_of(&opened), opened),
            None if gone => unread("it was gone before it could be read"),
            None if !all => unread("it is searched for by a process that has ended"),
            // It was not there when the interpreter looked either.
            None => Script::None,
        }
    }

    /// Where it may be, and whether that is everywhere.
    fn folders(
        &self,
        argument: &[u8],
        told: &Told,
        searched: bool,
    ) -> Result<(Vec<Vec<u8>>, bool), &'static str> {
        if argument.starts_with(b"/") {
            return Ok((vec![Vec::new()], true));
        }
        let cwd = told.path.clone().or_else(|| {
            let cwd = std::fs::read_link(self.process?.proc("cwd")).ok()?;
            Some(cwd.into_os_string().into_encoded_bytes())
        });
        let mut folders =
            vec![cwd.ok_or("it is relative to a directory whose path is too long to tell")?];
        if searched && !argument.contains(&b'/') {
            // Read first, and alive after: else it is another's.
            let environ = self.process.and_then(|process| read(&process.proc("environ")));
            let environ = environ.filter(|_| self.process.is_some_and(Held::lives));
            let Some(environ) = environ else { return Ok((folders, false)) };
            let path =
                environ.split(|byte| *byte == 0).find_map(|entry| entry.strip_prefix(b"PATH="));
            let path =
                path.unwrap_or(b"/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin");
            let own = folders[0].clone();
            folders.extend(path.split(|byte| *byte == b':').map(|folder| {
                if folder.starts_with(b"/") {
                    folder.to_vec()
                } else {
                    [&own[..], b"/", folder].concat()
                }
            }));
        }
        Ok((folders, true))
    }

    /// A path of the process's. Links of /proc lead out of its root, and to us where they
    /// say `self`: of the process's own, those that begin the path are followed by hand.
    fn open(&self, path: &[u8]) -> rustix::io::Result<OwnedFd> {
        let mut path = path.to_vec();
        for _ in 0..HOPS {
            let Some((link, rest)) = own_link(&path) else { break };
            let process = self.process.ok_or(rustix::io::Errno::SRCH)?;
            if link == b"root" {
                path = rest.to_vec();
            } else {
                let link = process.proc(std::str::from_utf8(link).unwrap_or("cwd"));
                let to = std::fs::read_link(link).map_err(|_| rustix::io::Errno::SRCH)?;
                path = [&to.into_os_string().into_encoded_bytes()[..], rest].concat();
            }
        }
        let errno = |why| rustix::io::Errno::from_io_error(&why).unwrap_or(rustix::io::Errno::IO);
        // Its own root, held: who is ending has none before he has ended.
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let own = self.process.and_then(|process| {
            rustix::fs::openat(CWD, process.proc("root"), flags, Mode::empty()).ok()
        });
        if let (Some(own), Some(process)) = (own, self.process) {
            let root = format!("/proc/self/fd/{}", own.as_raw_fd());
            match files::open_in(Path::new(&root), &path) {
                Ok(opened) => return Ok(opened),
                Err(why) if process.lives() => return Err(errno(why)),
                // A mount namespace of its own went with it, if it had one.
                Err(_) => {}
            }
        }
        files::open_in(self.root, &path).map_err(errno)
    }

    fn opened(&self, opened: OwnedFd) -> Script {
        let Ok(stat) = rustix::fs::fstat(&opened) else {
            return unread("it could not be examined");
        };
        match FileType::from_raw_mode(stat.st_mode) {
            FileType::RegularFile => Script::At(name_of(&opened), opened),
            FileType::Fifo | FileType::Socket => {
                unread("it is read from a pipe, which gives its bytes once")
            }
            // A directory can't be run, a terminal is somebody's hand, /dev/null is empty.
            _ => Script::None,
        }
    }

    fn descriptor(&self, fd: u32) -> Script {
        let Some(process) = self.process.filter(|process| process.lives()) else {
            return unread("it is a descriptor of a process that has ended");
        };
        match files::open_magic(&process.proc(&format!("fd/{fd}"))) {
            // Standard input, by its name.
            Ok(opened) if fd == 0 && !is_file(&opened) => Script::None,
            Ok(opened) => self.opened(opened),
            Err(_) => unread("it is a descriptor that was closed before it could be read"),
        }
    }

    /// Whether a name may have gone from the folder that it was looked for in since the process
    /// began: a folder where nothing changed never had it.
    fn lost_something(&self, path: &[u8], told: &Told) -> bool {
        let end = path.iter().rposition(|byte| *byte == b'/').unwrap_or(0);
        let folder = path.get(..end.max(1)).unwrap_or(b"/");
        let folder = match self.open(folder) {
            Ok(opened) => opened,
            // The folder may have gone, too.
            Err(rustix::io::Errno::NOENT) if end > 0 => return self.lost_something(folder, told),
            Err(rustix::io::Errno::NOENT | rustix::io::Errno::NOTDIR) => return false,
            Err(_) => return true,
        };
        let Ok(folder) = rustix::fs::fstat(&folder) else { return true };
        let clock = |id| nanoseconds(rustix::time::clock_gettime(id));
        // What dates files counts from 1970, what dates processes from the machine's start.
        let started =
            clock(rustix::time::ClockId::Realtime) - clock(rustix::time::ClockId::Boottime);
        let changed =
            i128::from(folder.st_ctime) * 1_000_000_000 + i128::from(folder.st_ctime_nsec);
        changed - started + TICK >= i128::from(told.start)
    }

    /// A file without a name that the process still reads: shells and perl keep their script
    /// open.
    fn unlinked(&self) -> Option<OwnedFd> {
        let process = self.process.filter(|process| process.lives())?;
        let entries = std::fs::read_dir(process.proc("fd")).ok()?;
        entries.flatten().find_map(|entry| {
            let meta = std::fs::metadata(entry.path()).ok()?;
            (meta.is_file() && meta.nlink() == 0).then(|| files::open_magic(&entry.path()).ok())?
        })
    }

    /// The roots to look from: the process's own, then the container's.
    fn roots(&self) -> impl Iterator<Item = PathBuf> {
        let own = self.process.filter(|process| process.lives());
        let own = own.map(|process| process.proc("root"));
        own.into_iter().chain([self.root.to_owned()])
    }
}

fn nanoseconds(time: rustix::time::Timespec) -> i128 {
    i128::from(time.tv_sec) * 1_000_000_000 + i128::from(time.tv_nsec)
}

fn is_file(opened: &OwnedFd) -> bool {
    rustix::fs::fstat(opened)
        .is_ok_and(|stat| FileType::from_raw_mode(stat.st_mode) == FileType::RegularFile)
}

/// The name of an open file, from the top of its mounts: a chroot is not what a baseline
/// counts from.
fn name_of(opened: &OwnedFd) -> Option<CanonicalPath> {
    let link = format!("/proc/self/fd/{}", opened.as_fd().as_raw_fd());
    let name = std::fs::read_link(Path::new(&link)).ok()?.into_os_string().into_encoded_bytes();
    CanonicalPath::new(name.strip_suffix(b" (deleted)").unwrap_or(&name)).ok()
}

/// A link of the process's own folder in /proc that begins a path, and what follows it.
fn own_link(path: &[u8]) -> Option<(&[u8], &[u8])> {
    let mut parts =
        path.split(|byte| *byte == b'/').filter(|part| !part.is_empty() && part != b".");
    let own =
        parts.next() == Some(b"proc") && matches!(parts.next(), Some(b"self" | b"thread-self"));
    let link = parts.next().filter(|link| own && matches!(*link, b"root" | b"cwd"))?;
    let begins = link.as_ptr() as usize - path.as_ptr() as usize;
    Some((link, path.get(begins + link.len()..)?))
}

/// N of the names that mean the reader's own descriptor N.
fn own_descriptor(path: &[u8]) -> Option<u32> {
    let number = match path {
        b"/dev/stdin" => return Some(0),
        _ => [&b"/dev/fd/"[..], b"/proc/self/fd/", b"/proc/thread-self/fd/"]
            .iter()
            .find_map(|prefix| path.strip_prefix(*prefix))?,
    };
    std::str::from_utf8(number).ok()?.parse().ok()
}

fn read(path: &Path) -> Option<Vec<u8>> {
    let mut bytes = Vec::new();
    File::open(path).ok()?.take(COMMAND).read_to_end(&mut bytes).ok()?;
    Some(bytes)
}

/// All of the arguments; `None` where they are not all there.
fn command_line(process: &Held) -> Option<Vec<Vec<u8>>> {
    let bytes = read(&process.proc("cmdline")).filter(|bytes| (bytes.len() as u64) < COMMAND)?;
    let mut argv: Vec<Vec<u8>> = bytes.split(|byte| *byte == 0).map(<[u8]>::to_vec).collect();
    argv.pop();
    (!argv.is_empty() && process.lives()).then_some(argv)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_names_of_ones_own_descriptors_are_descriptors() {
        assert_eq!(own_descriptor(b"/dev/fd/63"), Some(63));
        assert_eq!(own_descriptor(b"/proc/self/fd/3"), Some(3));
        assert_eq!(own_descriptor(b"/dev/stdin"), Some(0));
        assert_eq!(own_descriptor(b"/dev/fd/../../tmp/x"), None);
        assert_eq!(own_descriptor(b"/tmp/dev/fd/3"), None);
    }

    #[test]
    fn a_link_of_its_own_folder_leads_where_it_leads_the_process() {
        assert_eq!(own_link(b"/proc/self/root/tmp/x"), Some((&b"root"[..], &b"/tmp/x"[..])));
        assert_eq!(own_link(b"//proc/./self//cwd/x"), Some((&b"cwd"[..], &b"/x"[..])));
        assert_eq!(own_link(b"/proc/1/root/x"), None);
        assert_eq!(own_link(b"/tmp/proc/self/root"), None);
    }
}
