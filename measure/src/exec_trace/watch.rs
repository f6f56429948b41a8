//! What is made of the events: measurements for the judge, digests for the map.

use std::io;
use std::os::fd::AsFd;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::SystemTime;

use lacre_types::{CanonicalPath, Content, Event, FileId, Measurement, Process, Source, base_name};

use super::abi::{Kind, Told};
use super::interpreters;
use super::script;
use super::verdicts::Verdicts;
use crate::files::{self, Digests, Layers, Real};
use crate::process::Held;
use crate::{Answer, Judge, Known, Outcome};

/// A file whose size alone tells it from the image's is read all the same, for the record,
/// up to this many bytes: a tenth of a second of one core.
const REPORT_MAX: u64 = 64 << 20;

/// The eyes on one container.
pub(super) struct Watch {
    pub(super) judge: Arc<dyn Judge>,
    pub(super) known: Arc<dyn Known>,
    pub(super) layers: Layers,
    pub(super) verdicts: Verdicts,
    pub(super) init: Held,
    pub(super) digests: Digests,
}

impl Watch {
    pub(super) fn event(&mut self, raw: &[u8]) {
        let Some(told) = Told::parse(raw) else {
            self.judge.lost(Source::ExecTrace, crate::Loss::Overflow(Some(1)));
            return;
        };
        let process = Held::open_started(told.pid, told.start);
        match told.kind {
            Kind::Exec | Kind::Loader | Kind::Fetch => self.file(&told, process.as_ref()),
            Kind::Anonymous => {
                self.pass(&told, process.as_ref(), Event::Mmap, None, Content::Fileless, None);
            }
            Kind::Arguments => self.script(&told, process.as_ref()),
            Kind::Unchecked => self.unchecked(&told, process.as_ref()),
        }
    }

    fn file(&mut self, told: &Told, process: Option<&Held>) {
        let path = told.path.as_ref().and_then(|path| CanonicalPath::new(path).ok());
        let event = match told.kind {
            Kind::Exec => Event::Exec,
            Kind::Loader => Event::Interpreter,
            _ => Event::Mmap,
        };
        if told.memfd() || told.unlinked() {
            let event = if told.shmem() { Event::Mmap } else { Event::Memfd };
            let path = path.filter(|_| !told.memfd() && !told.shmem());
            self.pass(told, process, event, path, Content::Fileless, None);
            return;
        }
        let path = path.or_else(|| {
            let exe = std::fs::read_link(process?.proc("exe")).ok()?;
            (told.kind == Kind::Exec)
                .then(|| CanonicalPath::new(exe.into_os_string().into_encoded_bytes()).ok())?
        });
        let (content, id) = if told.written() {
            (Content::Unread("it was open for writing while it ran".to_owned()), None)
        } else {
            self.content(told, process, path.as_ref())
        };
        self.pass(told, process, event, path, content, id);
    }

    /// What the told file holds, and its identity if that may be remembered.
    fn content(
        &mut self,
        told: &Told,
        process: Option<&Held>,
        path: Option<&CanonicalPath>,
    ) -> (Content, Option<FileId>) {
        let known = self.known.by_inode(told.key.dev, told.key.ino);
        if let Some((_, known)) = known
            && known.id == told.key
        {
            return (Content::Digest(known.digest), Some(told.key));
        }
        if let Some(kind) = self.unsteady(process, told.key.dev) {
            let why = format!("it lies on {kind}, which may answer each reader differently");
            return (Content::Unread(why), None);
        }
        if let Some(path) = path
            && let Some(known) = self.known.by_path(path)
            && known.size != told.size
            && told.size > REPORT_MAX
        {
            return (Content::Size(told.size), None);
        }
        match self.find(told, process, path) {
            None => {
                let why = "it was gone, or had changed, before it could be read";
                (Content::Unread(why.to_owned()), None)
            }
            Some(mut real) => {
                let id = real.exact.then_some(real.id);
                match self.digests.of(&mut real) {
                    Ok(digest) => (Content::Digest(digest), id),
                    Err(why) => (Content::Unread(why), None),
                }
            }
        }
    }

    fn unsteady(&self, process: Option<&Held>, dev: u32) -> Option<String> {
        process
            .and_then(|process| files::unsteady(process.pid(), dev))
            .or_else(|| files::unsteady(self.init.pid(), dev))
    }

    /// The file that the kernel told of, wherever it can still be reached.
    fn find(
        &self,
        told: &Told,
        process: Option<&Held>,
        path: Option<&CanonicalPath>,
    ) -> Option<Real> {
        let exe = process
            .filter(|_| told.kind == Kind::Exec)
            .and_then(|process| files::open_magic(&process.proc("exe")).ok());
        let by_root =
            self.roots(process).filter_map(|root| files::open_in(&root, path?.as_bytes()).ok());
        exe.into_iter()
            .chain(by_root)
            .filter_map(|file| self.layers.real(file.as_fd()).ok())
            .find(|real| real.is(&told.key))
    }

    /// The roots to look from: the process's own, then the container's.
    fn roots<'a>(&'a self, process: Option<&'a Held>) -> impl Iterator<Item = PathBuf> + 'a {
        process
            .into_iter()
            .chain([&self.init])
            .filter(|process| process.lives())
            .map(|process| process.proc("root"))
    }

    fn script(&mut self, told: &Told, process: Option<&Held>) {
        let program = self.known.by_inode(told.key.dev, told.key.ino).map(|(path, _)| path);
        let first = told.argv.first().map(|name| base_name(name));
        let by_path = program.as_ref().map(|path| base_name(path.as_bytes()));
        let name = by_path.filter(|name| script::Family::of(name).is_some()).or(first);
        // The kernel's copy may fail where a page is not there; it never sleeps for one.
        let read = told.argv.is_empty().then(|| command_line(process?)).flatten();
        let argv = read.as_deref().unwrap_or(&told.argv);
        let argument = match (&told.filename, name) {
            (Some(script), _) => script.as_slice(),
            _ if argv.is_empty() => {
                let why = "the interpreter's arguments could not be read";
                let content = Content::Unread(why.to_owned());
                self.pass(told, process, Event::Script, None, content, None);
                return;
            }
            (None, Some(name)) => match script::script(name, argv) {
                Some(argument) => argument,
                None => return,
            },
            (None, None) => return,
        };
        let Some(cwd) = told.path.as_deref() else { return };
        let Some((path, found)) = self.find_script(cwd, argument, process) else { return };
        let content = match self.layers.real(found.as_fd()) {
            // A pipe or a terminal, of which nothing can be told.
            Err(why) if why.kind() == io::ErrorKind::InvalidInput => return,
            Err(why) => Content::Unread(format!("opening it failed: {why}")),
            Ok(mut real) => self.script_content(&mut real, process),
        };
        self.pass(told, process, Event::Script, path, content, None);
    }

    fn script_content(&mut self, real: &mut Real, process: Option<&Held>) -> Content {
        if let Some((_, known)) = self.known.by_inode(real.id.dev, real.id.ino)
            && real.exact
            && known.id == real.id
        {
            return Content::Digest(known.digest);
        }
        if let Some(kind) = self.unsteady(process, real.id.dev) {
            return Content::Unread(format!(
                "it lies on {kind}, which may answer each reader differently"
            ));
        }
        self.digests.of(real).map_or_else(Content::Unread, Content::Digest)
    }

    /// Opens a script as its interpreter would: relative to the working directory, and a
    /// bare name of a shell's in the usual folders too.
    fn find_script(
        &self,
        cwd: &[u8],
        argument: &[u8],
        process: Option<&Held>,
    ) -> Option<(Option<CanonicalPath>, std::os::fd::OwnedFd)> {
        if let Some(fd) = own_descriptor(argument) {
            let link = process?.proc(&format!("fd/{fd}"));
            let name = std::fs::read_link(&link).ok()?.into_os_string().into_encoded_bytes();
            return Some((CanonicalPath::new(name).ok(), files::open_magic(&link).ok()?));
        }
        const SEARCHED: [&[u8]; 6] =
            [b"/usr/local/sbin", b"/usr/local/bin", b"/usr/sbin", b"/usr/bin", b"/sbin", b"/bin"];
        let folders = if argument.starts_with(b"/") {
            vec![&b""[..]]
        } else if argument.contains(&b'/') {
            vec![cwd]
        } else {
            [&[cwd][..], &SEARCHED].concat()
        };
        folders.iter().find_map(|folder| {
            let path = CanonicalPath::new([folder, &b"/"[..], argument].concat()).ok()?;
            let found =
                self.roots(process).find_map(|root| files::open_in(&root, path.as_bytes()).ok())?;
            Some((Some(path), found))
        })
    }

    /// The kernel could not look the address up: the mappings are read instead.
    fn unchecked(&mut self, told: &Told, process: Option<&Held>) {
        let found = process.and_then(|process| mapping_at(process, told.address));
        let real = found.as_ref().and_then(|(file, _)| self.layers.real(file.as_fd()).ok());
        let path = found.and_then(|(_, name)| CanonicalPath::new(name).ok());
        match real {
            Some(real) if real.exact && self.verdicts.allows(&real.id) => {}
            Some(mut real) => {
                let content = self.script_content(&mut real, process);
                self.pass(told, process, Event::Mmap, path, content, None);
            }
            None => {
                let why = "its mapping was gone before it could be looked up";
                let content = Content::Unread(why.to_owned());
                self.pass(told, process, Event::Mmap, path, content, None);
            }
        }
    }

    fn pass(
        &self,
        told: &Told,
        process: Option<&Held>,
        event: Event,
        path: Option<CanonicalPath>,
        content: Content,
        remember: Option<FileId>,
    ) {
        let measurement = Measurement {
            source: Source::ExecTrace,
            event,
            path,
            content,
            process: Process { pid: told.pid, uid: Some(told.uid) },
            time: SystemTime::now(),
        };
        let answer = self.judge.judge(&measurement);
        if let Some(id) = remember
            && files::settled(&id)
            && self.judge.settled(&measurement)
        {
            let name =
                measurement.path.as_ref().map_or(&b""[..], |path| base_name(path.as_bytes()));
            // A full map costs only that the file is told again.
            let _ = self.verdicts.allow(&id, interpreters::flags(name));
        }
        let stopped = told.killed()
            || answer == Answer::Deny && process.is_some_and(|process| process.kill().is_ok());
        self.judge.seen(measurement, if stopped { Outcome::Killed } else { Outcome::Ran });
    }
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

fn command_line(process: &Held) -> Option<Vec<Vec<u8>>> {
    let bytes = std::fs::read(process.proc("cmdline")).ok()?;
    let mut argv: Vec<Vec<u8>> = bytes.split(|byte| *byte == 0).map(<[u8]>::to_vec).collect();
    argv.pop();
    Some(argv)
}

fn mapping_at(process: &Held, address: u64) -> Option<(std::os::fd::OwnedFd, Vec<u8>)> {
    let maps = io::BufReader::new(std::fs::File::open(process.proc("maps")).ok()?);
    for line in io::BufRead::split(maps, b'\n') {
        let line = line.ok()?;
        let range = std::str::from_utf8(line.split(|byte| *byte == b' ').next()?).ok()?;
        let (start, end) = range.split_once('-')?;
        let hex = |text| u64::from_str_radix(text, 16).ok();
        if (hex(start)?..hex(end)?).contains(&address) {
            let link = process.proc("map_files").join(range);
            let name = std::fs::read_link(&link).ok()?.into_os_string().into_encoded_bytes();
            return Some((files::open_magic(&link).ok()?, name));
        }
    }
    None
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
    fn the_mapping_of_an_address_is_found() {
        let own = Held::open(std::process::id()).unwrap();
        let here = the_mapping_of_an_address_is_found as *const () as u64;
        let (_, name) = mapping_at(&own, here).unwrap();
        assert_eq!(name, std::env::current_exe().unwrap().into_os_string().into_encoded_bytes());
        assert!(mapping_at(&own, 1).is_none());
    }
}
