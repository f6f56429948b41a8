//! Which file an interpreter was started on, found as the interpreter itself finds it.
//!
//! Nothing here is nothing: where a script runs, there is its file, or why nobody can tell
//! which. Only who runs none has none.

use std::io::Read;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use lacre_types::CanonicalPath;
use rustix::fs::{CWD, FileType, Mode, OFlags};
use rustix::io::Errno;

use self::command_line::{command_line, read};
use super::interpreters::{Forgotten, Interpreters};
use super::path_walk::{self, Walk};
use super::script_search::ways;
use super::told::Told;
use crate::container_root::ContainerRoot;
use crate::files;
use crate::held_process::Held;
use crate::interpreter::{Code, Extent, Family, Named};

/// How many ticks the clock that dates files may be behind: another processor advances it
/// where the one that does has not for five (`MAX_STALLED_JIFFIES` of kernel/time/tick-sched.c).
const TICKS: i128 = 6;

/// What an interpreter was started on.
pub(super) enum Script {
    /// Nothing: its code is among its arguments, or it reads its standard input.
    None,
    /// This file.
    At(Option<CanonicalPath>, OwnedFd),
    /// A file that nobody can read, for this reason; where it was, if that is known.
    Unread(Option<CanonicalPath>, String),
}

/// Where to look.
pub(super) struct Place<'a> {
    pub(super) interpreters: &'a Interpreters,
    /// Which interpreter an open file is, by itself and not by its name.
    pub(super) family_of: &'a dyn Fn(&OwnedFd) -> Result<Option<Family>, Forgotten>,
    pub(super) process: Option<&'a Held>,
    /// The process's own root and mounts, where they are not its container's.
    pub(super) own: Option<&'a ContainerRoot>,
    /// The container's.
    pub(super) root: &'a Path,
}

impl Script {
    /// What the process that was told of was started on: each file that it runs by that.
    pub(super) fn all_of(told: &Told, place: &Place<'_>) -> Vec<Self> {
        // Nothing is told where a page is not there. What is told decides most often, whoever has
        // ended since.
        let mut found = match told.argv.is_empty() {
            true => Err(Vec::new()),
            false => place.started_on(told, (&told.argv, told.extent())),
        };
        if found.is_err()
            && let Some(argv) = place.process.and_then(command_line)
        {
            found = place.started_on(told, (&argv, Extent::WHOLE));
        }
        found.unwrap_or_else(|mut found| {
            found.push(unread("the interpreter's arguments could not be read"));
            found
        })
    }
}

fn unread(why: &str) -> Script {
    Script::Unread(None, why.to_owned())
}

fn by_path(name: &[u8]) -> Code<'_> {
    Code::new(vec![name], Named::Path)
}

/// Where no name led anywhere.
struct Nowhere {
    /// A name that may have gone.
    gone: Option<Vec<u8>>,
    /// Whether it was looked for everywhere.
    everywhere: bool,
}

impl Place<'_> {
    /// Opens a script as its interpreter does: links and `..` as the kernel follows them,
    /// below the process's own root; a bare name of a shell's along its `PATH` too. Of several
    /// names each that is there may be the script.
    fn find(&self, code: &Code<'_>, family: Option<Family>, told: &Told) -> Vec<Script> {
        let (mut gone, mut everywhere) = (None, true);
        let mut found = Vec::new();
        for name in &code.names {
            match self.find_one(name, code, (family, told)) {
                Ok(scripts) => found.extend(scripts),
                Err(Nowhere { gone: its, everywhere: all }) => {
                    gone = gone.or(its);
                    everywhere &= all;
                }
            }
        }
        // What is named as a library is often nobody's file in this folder.
        if !found.is_empty() || matches!(code.named, Named::Library | Named::Module) {
            return found;
        }
        match (self.unlinked(), gone) {
            (Some(opened), _) => vec![Script::At(name_of(&opened), opened)],
            (None, Some(path)) => {
                let why = "it was gone before it could be read".to_owned();
                vec![Script::Unread(self.place_of(&path, told), why)]
            }
            (None, None) if !everywhere => {
                vec![unread("it is searched for by a process that has ended")]
            }
            // It was not there when the interpreter looked either.
            (None, None) => Vec::new(),
        }
    }

    /// The same of one name.
    fn find_one(
        &self,
        name: &[u8],
        code: &Code<'_>,
        (family, told): (Option<Family>, &Told),
    ) -> Result<Vec<Script>, Nowhere> {
        if code.named == Named::Url {
            return Ok(vec![unread("it is named by a URL, which may lead through a filter")]);
        }
        if let Some(fd) = own_descriptor(name) {
            return Ok(vec![self.descriptor(fd)]);
        }
        let is_library = matches!(code.named, Named::Library | Named::Module);
        if self.own.is_none() && told.elsewhere() && !is_library {
            let why = "its process had another root or other mounts, and has ended";
            return Ok(vec![unread(why)]);
        }
        let within = code.within.filter(|_| !name.starts_with(b"/"));
        let name = &match within {
            Some(folder) => [folder, b"/", name].concat(),
            None => name.to_vec(),
        };
        let searched = code.named == Named::Searched;
        let (folders, everywhere) = match self.folders(name, told, searched) {
            Ok(found) => found,
            Err(why) => return Ok(vec![unread(why)]),
        };
        let mut gone = None;
        let ways = ways(family, code.named, name);
        for (folder, way) in folders.iter().flat_map(|f| ways.iter().map(move |w| (f, w))) {
            let mut found = Vec::new();
            for path in way {
                let path = [&folder[..], b"/", path].concat();
                match self.open(&path) {
                    Ok(opened) => found.extend(self.opened(opened)),
                    // Its interpreter finds nothing there either.
                    Err(_) if has_long_part(&path) => {}
                    Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP) => {
                        if gone.is_none() && self.lost_something(&path, told) {
                            gone = Some(path);
                        }
                    }
                    Err(why) => {
                        let why = format!("looking for it failed: {why}");
                        found.push(Script::Unread(self.place_of(&path, told), why));
                    }
                }
            }
            if !found.is_empty() {
                return Ok(found);
            }
        }
        Err(Nowhere { gone, everywhere })
    }

    /// Where a file was that has gone: there where its path says, if no link leads elsewhere. A
    /// link may lead to another folder by now, and that be one where a policy allows all.
    fn place_of(&self, path: &[u8], told: &Told) -> Option<CanonicalPath> {
        if path.split(|byte| *byte == b'/').any(|part| part == b"..") {
            return None;
        }
        let path = CanonicalPath::new(path).ok()?;
        let end = path.as_bytes().iter().rposition(|byte| *byte == b'/')?;
        let folder = path.as_bytes().get(..end.max(1))?;
        match self.open(folder) {
            Ok(opened) => (name_of(&opened)?.as_bytes() == folder).then_some(path),
            Err(_) => (!told.elsewhere()).then_some(path),
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

    /// A path of the process's.
    fn open(&self, path: &[u8]) -> rustix::io::Result<OwnedFd> {
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let open = |root: &Path| rustix::fs::openat(CWD, root, flags, Mode::empty());
        let root = self.own.map_or(self.root, ContainerRoot::path);
        Walk::new(open(root)?, self.process).open(path)
    }

    /// What an interpreter makes of what is there; of a directory nothing.
    fn opened(&self, opened: OwnedFd) -> Option<Script> {
        let Ok(stat) = rustix::fs::fstat(&opened) else {
            return Some(unread("it could not be examined"));
        };
        match FileType::from_raw_mode(stat.st_mode) {
            FileType::RegularFile => Some(Script::At(name_of(&opened), opened)),
            FileType::Fifo | FileType::Socket => {
                Some(unread("it is read from a pipe, which gives its bytes once"))
            }
            FileType::Directory => None,
            FileType::CharacterDevice if is_empty(stat.st_rdev) => Some(Script::None),
            // A terminal is somebody's hand.
            _ => Some(unread("it is read from a device, which gives its bytes once")),
        }
    }

    fn descriptor(&self, fd: u32) -> Script {
        let Some(process) = self.process.filter(|process| process.lives()) else {
            // Standard input most often is a pipe or a text of the command's own, and of who is
            // given a script there without a name nobody tells either.
            return match fd {
                0 => Script::None,
                _ => unread("it is a descriptor of a process that has ended"),
            };
        };
        match files::open_magic(&process.proc(&format!("fd/{fd}"))) {
            // Standard input, by its name.
            Ok(opened) if fd == 0 && !is_file(&opened) => Script::None,
            Ok(opened) => self.opened(opened).unwrap_or(Script::None),
            Err(_) => unread("it is a descriptor that was closed before it could be read"),
        }
    }

    /// Whether a name may have gone from the folder that it was looked for in since the
    /// interpreter was executed: a folder where nothing changed never had it.
    fn lost_something(&self, path: &[u8], told: &Told) -> bool {
        let end = path.iter().rposition(|byte| *byte == b'/').unwrap_or(0);
        let folder = path.get(..end.max(1)).unwrap_or(b"/");
        let folder = match self.open(folder) {
            Ok(opened) => opened,
            // The folder may have gone, too.
            Err(Errno::NOENT) if end > 0 => return self.lost_something(folder, told),
            Err(Errno::NOENT | Errno::NOTDIR) => return false,
            Err(_) => return true,
        };
        // What goes from /proc changes no folder's date.
        if !path_walk::is_in_proc(folder.as_fd()).is_ok_and(|number| number.is_none())
            || is_undated(&folder)
        {
            return true;
        }
        let Ok(folder) = rustix::fs::fstat(&folder) else { return true };
        let clock = |id| nanoseconds(rustix::time::clock_gettime(id));
        // What dates files counts from 1970, what dates processes from the machine's start.
        let started =
            clock(rustix::time::ClockId::Realtime) - clock(rustix::time::ClockId::Boottime);
        let changed =
            i128::from(folder.st_ctime) * 1_000_000_000 + i128::from(folder.st_ctime_nsec);
        // The clock that dates files ticks, and may be late: what has the date of a moment may
        // be so much later.
        let tick = nanoseconds(rustix::time::clock_getres(rustix::time::ClockId::RealtimeCoarse));
        let began = if told.exec == 0 { told.start } else { told.exec };
        changed - started + TICKS * tick >= i128::from(began)
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
}

/// Whether names go from a folder without a change of its date, as those of terminals, or its
/// server says of it what it likes.
fn is_undated(folder: &OwnedFd) -> bool {
    /// `DEVPTS_SUPER_MAGIC`, `FUSE_SUPER_MAGIC` (linux/magic.h).
    const UNDATED: [u64; 2] = [0x1cd1, 0x6573_5546];
    rustix::fs::fstatfs(folder).map_or(true, |stat| UNDATED.contains(&(stat.f_type as u64)))
}

/// Of a device: whether nothing is ever read from it but zeros (`/dev/null`, `zero` and `full`).
fn is_empty(device: u64) -> bool {
    const MEMORY: u32 = 1;
    rustix::fs::major(device) == MEMORY && matches!(rustix::fs::minor(device), 3 | 5 | 7)
}

/// Whether no file system has room for one of its names (`NAME_MAX`).
fn has_long_part(path: &[u8]) -> bool {
    path.split(|byte| *byte == b'/').any(|part| part.len() > 255)
}

fn has_first_line(file: &OwnedFd) -> bool {
    let mut head = [0; 2];
    files::reopen(file.as_fd()).is_ok_and(|mut file| file.read_exact(&mut head).is_ok())
        && head == *b"#!"
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

mod command_line;
mod started_on;
#[cfg(test)]
mod tests;
