//! From an event of the kernel's programs to what it is about: which file, by whom, holding what.

use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::SystemTime;

use lacre_types::{CanonicalPath, Content, Event, Listing, Measurement, Memory, Process, Source};

use super::told::{Kind, Told};
use super::watch::{Found, Subject, Watch, event_of};
use crate::container_root::ContainerRoot;
use crate::files::{self, Real};
use crate::held_process::Held;
use crate::{MOST, Unverified, verified};

/// A file whose size alone tells it from the image's is read all the same, for the record,
/// up to this many bytes: a tenth of a second of one core.
pub(super) const REPORT_MAX: u64 = 64 << 20;

impl Watch {
    /// On the reader's thread, which reads no file: it would wait for it, and lose what the
    /// kernel tells meanwhile.
    pub(super) fn event(self: &Arc<Self>, raw: &[u8]) {
        let Some(told) = Told::parse(raw) else {
            self.judge.lost(Source::ExecTrace, crate::Loss::Overflow(Some(1)));
            return;
        };
        let process = Held::open_started(told.pid, told.start);
        // Soon it may have ended. This opens no file, and asks nobody's server.
        let exe = process
            .as_ref()
            .filter(|_| told.kind == Kind::Exec)
            .and_then(|process| files::open_magic(&process.proc("exe")).ok());
        // What a name leads to, another root and other mounts may say otherwise. Who has the
        // container's may change its root before this is opened.
        let own = process
            .as_ref()
            .filter(|_| told.kind == Kind::Arguments && told.elsewhere())
            .and_then(|process| ContainerRoot::of(process).ok());
        let watch = Arc::clone(self);
        // What finds no room keeps what it needs to be told.
        let (killed, watched, kind) = (told.killed(), told.watched(), told.kind);
        let (pid, uid, exec) = (told.pid, told.uid, told.exec);
        let path = told.path.clone();
        let job = Box::new(move |dropped: &AtomicBool| {
            let (process, own) = (process.as_ref(), own.as_ref());
            Look { watch: &watch, told: &told, process, own, dropped }.look(exe);
        });
        // Whose process was killed is only to be told.
        let submitted = match killed {
            true => self.verifiers.defer(job),
            false => self.verifiers.submit(job),
        };
        if submitted.is_err() {
            let path = path.filter(|_| kind != Kind::Arguments);
            let path = path.and_then(|path| CanonicalPath::new(path).ok());
            let subject = Subject { event: event_of(kind), path, pid, uid, exec, killed, watched };
            let why = "too many files wait to be read".to_owned();
            self.pass(subject, None, Content::Unread(why).into());
        }
    }
}

/// A look at what one event is about, on a thread that may wait for a file.
pub(super) struct Look<'a> {
    pub(super) watch: &'a Arc<Watch>,
    pub(super) told: &'a Told,
    pub(super) process: Option<&'a Held>,
    /// Its root and mounts, of one that was started on a script and had others than its
    /// container.
    pub(super) own: Option<&'a ContainerRoot>,
    pub(super) dropped: &'a AtomicBool,
}

impl Look<'_> {
    fn look(&self, exe: Option<OwnedFd>) {
        match self.told.kind {
            Kind::Exec | Kind::Loader | Kind::Fetch => self.file(exe),
            Kind::Memory => self.memory(),
            Kind::Arguments => {
                for script in self.find_scripts() {
                    self.script(script);
                }
            }
            Kind::Unchecked => self.unchecked(),
        }
    }

    pub(super) fn pass(&self, event: Event, path: Option<CanonicalPath>, found: Found) -> bool {
        self.watch.pass(self.subject(event, path), self.process, found)
    }

    pub(super) fn subject(&self, event: Event, path: Option<CanonicalPath>) -> Subject {
        let Told { pid, uid, exec, .. } = *self.told;
        let (killed, watched) = (self.told.killed(), self.told.watched());
        Subject { event, path, pid, uid, exec, killed, watched }
    }

    /// Whether no content can make it the image's, so that its name and size decide.
    pub(super) fn is_foreign(&self, path: Option<&CanonicalPath>, size: u64) -> bool {
        let listing = path.map_or(Listing::No, |path| self.watch.known.listed(path));
        match listing {
            Listing::No => true,
            Listing::Yes(listed) => listed.is_some_and(|listed| listed != size),
        }
    }

    /// Of memory nothing is known but which program has it.
    fn memory(&self) {
        let told = self.told;
        let known = self.watch.known.by_inode(told.key.dev, told.key.ino);
        let own = known.filter(|(_, known)| known.id == told.key).map(|(path, _)| path);
        let shown = || told.path.as_ref().and_then(|path| CanonicalPath::new(path).ok());
        let memory = if told.shared() { Memory::Shared } else { Memory::Private };
        let event = if told.memfd() { Event::Memfd } else { Event::Mmap };
        self.pass(event, own.or_else(shown), Content::Memory(memory).into());
    }

    fn file(&self, exe: Option<OwnedFd>) {
        let told = self.told;
        let event = event_of(told.kind);
        if told.nameless() {
            let event = if told.memfd() { Event::Memfd } else { event };
            self.pass(event, None, Content::Fileless.into());
            return;
        }
        let path = told.path.as_ref().and_then(|path| CanonicalPath::new(path).ok());
        let path = path.or_else(|| {
            let exe = std::fs::read_link(self.process?.proc("exe")).ok()?;
            (told.kind == Kind::Exec)
                .then(|| CanonicalPath::new(exe.into_os_string().into_encoded_bytes()).ok())?
        });
        if told.images() && self.is_images_data(path.as_ref()) {
            return;
        }
        let found = if told.written() {
            Content::Unread("it was open for writing while it ran".to_owned()).into()
        } else {
            self.content(exe, event, path.as_ref())
        };
        self.pass(event, path, found);
    }

    /// Whether it is data of the image's, which an engine maps as code: no baseline lists it,
    /// and as it came with the image it is the image's own. Remembered, so that it is told once.
    fn is_images_data(&self, path: Option<&CanonicalPath>) -> bool {
        let Some(path) = path else { return false };
        if self.watch.known.listed(path) != Listing::No {
            return false;
        }
        if let Some((opened, real)) = self.find(None, Some(path))
            && real.exact
            && let Ok(file) = files::reopen(opened.as_fd())
            && let Ok(verified) =
                verified::verify(file.into(), Some(path), &self.watch.layers, self.dropped)
        {
            // A full map costs only that it is told again.
            let _ = self.watch.verdicts.allow(&verified, 0);
        }
        true
    }

    /// What the told file holds.
    fn content(&self, exe: Option<OwnedFd>, event: Event, path: Option<&CanonicalPath>) -> Found {
        let told = self.told;
        let known = self.watch.known.by_inode(told.key.dev, told.key.ino);
        if let Some((_, known)) = known
            && known.id == told.key
        {
            return Content::Digest(known.digest).into();
        }
        if let Some(kind) = self.watch.unsteady(self.process, told.key.dev) {
            let why = format!("it lies on {kind}, which may answer each reader differently");
            return Content::Unread(why).into();
        }
        if told.size > REPORT_MAX && self.is_foreign(path, told.size) {
            return Content::Size(told.size).into();
        }
        match self.find(exe, path) {
            None => {
                let why = "it was gone, or had changed, before it could be read";
                Content::Unread(why.to_owned()).into()
            }
            Some((opened, real)) => self.read(&opened, &real, event, path),
        }
    }

    /// Reads a file, unless it is remembered not to be allowed.
    pub(super) fn read(
        &self,
        opened: &OwnedFd,
        real: &Real,
        event: Event,
        path: Option<&CanonicalPath>,
    ) -> Found {
        let allowed = |digest| {
            self.watch.judge.settled(&Measurement {
                source: Source::ExecTrace,
                event,
                path: path.cloned(),
                content: Content::Digest(digest),
                process: Process { pid: self.told.pid, uid: Some(self.told.uid) },
                time: SystemTime::now(),
            })
        };
        let remembered = self.watch.digest_of(&real.id).filter(|_| real.exact);
        if let Some(digest) = remembered.filter(|digest| !allowed(*digest)) {
            return Content::Digest(digest).into();
        }
        let verified = match files::reopen(opened.as_fd()) {
            Err(why) => return Content::Unread(format!("opening it failed: {why}")).into(),
            Ok(file) => {
                let layers = &self.watch.layers;
                verified::verify_patiently(MOST, file.into(), path, layers, self.dropped)
            }
        };
        match verified {
            Ok(verified) if verified.lasting().is_none_or(|id| *id == real.id) => {
                let digest = *verified.digest();
                if let Some(id) = verified.lasting()
                    && !allowed(digest)
                {
                    self.watch.remember(*id, digest);
                }
                Found { content: Content::Digest(digest), verified: Some(verified) }
            }
            Ok(_) => Content::Unread("it had changed before it could be read".to_owned()).into(),
            // What nobody can vouch for is no digest of the image's.
            Err(Unverified { why, glimpse }) => match glimpse.filter(|digest| !allowed(*digest)) {
                Some(digest) => Content::Digest(digest).into(),
                None => Content::Unread(why.to_string()).into(),
            },
        }
    }

    /// The file that the kernel told of, wherever it can still be reached.
    fn find(&self, exe: Option<OwnedFd>, path: Option<&CanonicalPath>) -> Option<(OwnedFd, Real)> {
        let by_root = self.roots().filter_map(|root| files::open_in(&root, path?.as_bytes()).ok());
        // A name that went leads nowhere, and one that came again elsewhere.
        let mapped = || {
            let process = self.process.filter(|_| self.told.unlinked())?;
            mapping_at(process, self.told.address).map(|(file, _)| file)
        };
        exe.into_iter()
            .chain(by_root)
            .chain(std::iter::once_with(mapped).flatten())
            .filter_map(|file| self.watch.layers.real(file.as_fd()).ok().map(|real| (file, real)))
            .find(|(_, real)| real.is(&self.told.key))
    }

    /// The roots to look from: the process's own, then the container's.
    fn roots(&self) -> impl Iterator<Item = PathBuf> {
        let own = self.process.filter(|process| process.lives());
        let own = own.map(|process| process.proc("root"));
        own.into_iter().chain([self.watch.root.path().to_owned()])
    }

    /// The kernel could not look the address up: the mappings are read instead.
    fn unchecked(&self) {
        let found = self.process.and_then(|process| mapping_at(process, self.told.address));
        let Some((opened, name)) = found else {
            let why = "its mapping was gone before it could be looked up";
            self.pass(Event::Mmap, None, Content::Unread(why.to_owned()).into());
            return;
        };
        let path = CanonicalPath::new(name).ok();
        match self.watch.layers.real(opened.as_fd()) {
            Ok(real) if real.exact && self.watch.verdicts.allows(&real.id) => {}
            Ok(real) => {
                let found = self.script_content(&opened, &real, Event::Mmap, path.as_ref());
                self.pass(Event::Mmap, path, found);
            }
            Err(why) => {
                let why = format!("what is mapped could not be examined: {why}");
                self.pass(Event::Mmap, path, Content::Unread(why).into());
            }
        }
    }
}

fn mapping_at(process: &Held, address: u64) -> Option<(OwnedFd, Vec<u8>)> {
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
    fn the_mapping_of_an_address_is_found() {
        let own = Held::open(std::process::id()).unwrap();
        let here = the_mapping_of_an_address_is_found as *const () as u64;
        let (_, name) = mapping_at(&own, here).unwrap();
        assert_eq!(name, std::env::current_exe().unwrap().into_os_string().into_encoded_bytes());
        assert!(mapping_at(&own, 1).is_none());
    }
}
