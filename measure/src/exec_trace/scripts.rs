//! The scripts that an interpreter was started on, judged, and who runs one that may not, ended.

use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use lacre_types::{CanonicalPath, Content, Event, Listing};

use super::events::{Look, REPORT_MAX};
use super::interpreters::Forgotten;
use super::script_file::{Place, Script};
use super::watch::{Found, Watch};
use crate::Outcome;
use crate::files::{self, Real};
use crate::interpreter::Family;
use crate::verified;

impl Look<'_> {
    pub(super) fn find_scripts(&self) -> Vec<Script> {
        let place = Place {
            interpreters: self.watch.verdicts.interpreters(),
            family_of: &|opened| self.family_of(opened),
            process: self.process,
            own: self.own,
            root: self.watch.root.path(),
        };
        Script::all_of(self.told, &place)
    }

    /// Which interpreter a file is, whatever it is called: the image's own is known by its inode,
    /// and one that was linked, copied or had its metadata changed by what it holds.
    fn family_of(&self, opened: &OwnedFd) -> Result<Option<Family>, Forgotten> {
        let interpreters = self.watch.verdicts.interpreters();
        let Ok(real) = self.watch.layers.real(opened.as_fd()) else { return Ok(None) };
        if let Some(family) = interpreters.family(&real.id)? {
            return Ok(Some(family));
        }
        let size = rustix::fs::fstat(opened).map(|stat| stat.st_size.cast_unsigned());
        let Some(size) = size.ok().filter(|size| interpreters.has_size(*size)) else {
            return Ok(None);
        };
        let file = files::reopen(opened.as_fd()).ok();
        let digest = file.and_then(|file| verified::hash(&file, size, self.dropped).ok());
        Ok(digest.and_then(|digest| interpreters.holding(&digest)))
    }

    /// Whether its interpreter was killed.
    pub(super) fn script(&self, script: Script) -> bool {
        let (path, found) = match script {
            Script::None => return false,
            Script::Unread(path, why) => (path, Content::Unread(why).into()),
            Script::At(path, opened) => match self.watch.layers.real(opened.as_fd()) {
                Err(why) => (path, Content::Unread(format!("opening it failed: {why}")).into()),
                Ok(real) => {
                    // What the image's file is its inode says, whatever led to it.
                    let known = self.watch.known.by_inode(real.id.dev, real.id.ino);
                    let own = known.filter(|(_, known)| real.exact && known.id == real.id);
                    if own.is_none() && self.is_images_unlisted(&opened, &real, path.as_ref()) {
                        return false;
                    }
                    let is_own = own.is_some();
                    let path = own.map(|(path, _)| path).or(path);
                    if !is_own {
                        let ended = self.foreign_script(path.as_ref(), &opened, &real);
                        if let Some(killed) = ended {
                            return killed;
                        }
                    }
                    let found = self.script_content(&opened, &real, Event::Script, path.as_ref());
                    (path, found)
                }
            },
        };
        // A script is in no map.
        self.pass(Event::Script, path, found.content.into())
    }

    /// Whether it is a file of the image's that no baseline lists, since nothing of it says that
    /// it is code: as it came with the image, it may be that.
    fn is_images_unlisted(
        &self,
        opened: &OwnedFd,
        real: &Real,
        path: Option<&CanonicalPath>,
    ) -> bool {
        let known = &self.watch.known;
        known.by_inode(real.id.dev, real.id.ino).is_none()
            && path.is_some_and(|path| known.listed(path) == Listing::No)
            && (self.watch.layers.came_with_image(opened.as_fd(), real)
                || self.is_images_copy(opened, path))
    }

    /// The same of one in the container's own layer that holds what the image has.
    fn is_images_copy(&self, opened: &OwnedFd, path: Option<&CanonicalPath>) -> bool {
        let Watch { content, layers, .. } = &**self.watch;
        let file = files::reopen(opened.as_fd());
        file.is_ok_and(|file| content.has(file.as_fd(), path, layers, self.dropped))
    }

    /// A script that is a violation whatever it holds: who runs it is ended first, and what it
    /// holds is read for the record, behind all that somebody runs still. `None` where it may be
    /// the image's; else whether somebody was killed.
    fn foreign_script(
        &self,
        path: Option<&CanonicalPath>,
        opened: &OwnedFd,
        real: &Real,
    ) -> Option<bool> {
        let stat = rustix::fs::fstat(opened).ok()?;
        let size = stat.st_size.cast_unsigned();
        if !self.is_foreign(path, size) {
            return None;
        }
        let subject = self.subject(Event::Script, path.cloned());
        let (mut measurement, outcome) = self.watch.end(subject, self.process, size);
        let is_read = size <= REPORT_MAX;
        match outcome {
            // Nobody runs it any more: there is time to read it.
            Outcome::Killed | Outcome::Denied if is_read => {
                let (watch, told) = (Arc::clone(self.watch), self.told.clone());
                let file = opened.try_clone().ok().zip(real.file.try_clone().ok());
                let (told_now, id, exact) = (measurement.clone(), real.id, real.exact);
                let job = Box::new(move |dropped: &AtomicBool| {
                    let look =
                        Look { watch: &watch, told: &told, process: None, own: None, dropped };
                    let path = measurement.path.clone();
                    let found = file.map(|(opened, file)| {
                        let real = Real { file, id, exact };
                        look.script_content(&opened, &real, Event::Script, path.as_ref())
                    });
                    if let Some(Found { content, .. }) = found
                        && !(matches!(content, Content::Unread(_))
                            && dropped.load(Ordering::Relaxed))
                    {
                        measurement.content = content;
                    }
                    watch.judge.seen(measurement, outcome);
                });
                if self.watch.verifiers.defer(job).is_err() {
                    self.watch.judge.seen(told_now, outcome);
                }
            }
            // The action follows what is told.
            Outcome::Ran | Outcome::Watched | Outcome::Ended if is_read => {
                let found = self.script_content(opened, real, Event::Script, path);
                measurement.content = found.content;
                self.watch.judge.seen(measurement, outcome);
            }
            _ => self.watch.judge.seen(measurement, outcome),
        }
        Some(outcome == Outcome::Killed)
    }

    pub(super) fn script_content(
        &self,
        opened: &OwnedFd,
        real: &Real,
        event: Event,
        path: Option<&CanonicalPath>,
    ) -> Found {
        if let Some((_, known)) = self.watch.known.by_inode(real.id.dev, real.id.ino)
            && real.exact
            && known.id == real.id
        {
            return Content::Digest(known.digest).into();
        }
        if let Some(kind) = self.watch.unsteady(self.process, real.id.dev) {
            let why = format!("it lies on {kind}, which may answer each reader differently");
            return Content::Unread(why).into();
        }
        self.read(opened, real, event, path)
    }
}
