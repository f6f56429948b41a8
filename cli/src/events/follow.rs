//! Files of records as they grow and are put aside, by the kernel's word (inotify(7)).

use std::fs::{self, File};
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

use rustix::event::{PollFd, PollFlags, poll};
use rustix::fs::inotify::{self, CreateFlags, WatchFlags};

use crate::records::{Lines, Next, Place, named};

/// A place whose newest file is read on.
pub(crate) struct Tail {
    place: Place,
    events: OwnedFd,
    /// What was put aside last: whoever had it open may still write to it.
    before: Option<Lines>,
    now: Option<Lines>,
}

impl Tail {
    /// Watches a place, and reads all that there is; then [`Self::wait`] and [`Self::read`].
    pub(crate) fn begin(
        place: Place,
        each: &mut impl FnMut(Next<'_>) -> anyhow::Result<()>,
    ) -> anyhow::Result<Self> {
        let events =
            inotify::init(CreateFlags::CLOEXEC | CreateFlags::NONBLOCK).map_err(io::Error::from)?;
        let mut tail = Self { place, events, before: None, now: None };
        // Before anything is read, so that nothing that comes meanwhile is missed.
        tail.watch()?;
        tail.move_on(each)?;
        Ok(tail)
    }

    /// Watches the folder, or, as long as there is none, the nearest above it.
    fn watch(&self) -> anyhow::Result<()> {
        let flags = WatchFlags::MODIFY
            | WatchFlags::CREATE
            | WatchFlags::MOVED_TO
            | WatchFlags::DELETE_SELF
            | WatchFlags::MOVE_SELF
            | WatchFlags::ONLYDIR;
        let folder = self.place.folder();
        for above in folder.ancestors() {
            let above = if above.as_os_str().is_empty() { Path::new(".") } else { above };
            match inotify::add_watch(&self.events, above, flags) {
                Ok(_) => return Ok(()),
                Err(rustix::io::Errno::NOENT) => {}
                Err(error) => return Err(named(error.into(), above).into()),
            }
        }
        anyhow::bail!("cannot watch {}", crate::view::shown(folder))
    }

    /// Waits until something may have come; an error when nobody reads standard output any more.
    pub(crate) fn wait(&self) -> anyhow::Result<()> {
        let out = io::stdout();
        loop {
            let mut fds =
                [PollFd::new(&self.events, PollFlags::IN), PollFd::new(&out, PollFlags::empty())];
            match poll(&mut fds, None) {
                Ok(_) => {}
                Err(rustix::io::Errno::INTR) => continue,
                Err(error) => return Err(io::Error::from(error).into()),
            }
            if fds[1].revents().intersects(PollFlags::ERR | PollFlags::HUP) {
                return Err(io::Error::from(io::ErrorKind::BrokenPipe).into());
            }
            // What they say does not matter: all is looked at.
            let mut buffer = [0_u8; 4096];
            while matches!(rustix::io::read(&self.events, &mut buffer), Ok(1..)) {}
            return Ok(());
        }
    }

    /// Reads what has come.
    pub(crate) fn read(
        &mut self,
        each: &mut impl FnMut(Next<'_>) -> anyhow::Result<()>,
    ) -> anyhow::Result<()> {
        // The folder may have come to be, or be another by now.
        self.watch()?;
        for lines in [&mut self.before, &mut self.now].into_iter().flatten() {
            drain(lines, true, each)?;
        }
        let newest = self.place.newest()?;
        let same = match (&self.now, &newest) {
            (Some(now), Some(newest)) => inode(&now.file().metadata()?) == *newest,
            (_, None) => true,
            (None, Some(_)) => false,
        };
        if same { Ok(()) } else { self.move_on(each) }
    }

    /// Goes on with the files that are newer than the one that was read last, or with all.
    fn move_on(
        &mut self,
        each: &mut impl FnMut(Next<'_>) -> anyhow::Result<()>,
    ) -> anyhow::Result<()> {
        let last = self.now.take();
        let known = last.as_ref().map(|last| last.file().metadata()).transpose()?;
        let known = known.as_ref().map(inode);
        let mut files = self.place.open(None)?;
        let at = |file: &File| file.metadata().is_ok_and(|it| Some(inode(&it)) == known);
        if let Some(at) = files.iter().position(|opened| at(&opened.file)) {
            files.drain(..=at);
        }
        self.before = last;
        let count = files.len();
        for (number, opened) in (1..).zip(files) {
            let mut lines = Lines::of(opened.file);
            let is_last = number == count;
            drain(&mut lines, is_last, each)?;
            if is_last {
                self.now = Some(lines);
            }
        }
        if self.now.is_none() {
            self.now = self.before.take();
        }
        Ok(())
    }
}

fn drain(
    lines: &mut Lines,
    grows: bool,
    each: &mut impl FnMut(Next<'_>) -> anyhow::Result<()>,
) -> anyhow::Result<()> {
    loop {
        match lines.next(grows)? {
            Next::End => return Ok(()),
            next => each(next)?,
        }
    }
}

/// Reads all files of a place once, those that were last written before `since` left out.
pub(crate) fn once(
    place: &Place,
    since: Option<std::time::SystemTime>,
    each: &mut impl FnMut(Next<'_>) -> anyhow::Result<()>,
) -> anyhow::Result<usize> {
    let files = place.open(since)?;
    let count = files.len();
    for opened in files {
        let read = drain(&mut Lines::of(opened.file), false, each);
        read.map_err(|error| {
            error.context(format!("reading {}", crate::view::shown(&opened.path)))
        })?;
    }
    Ok(count)
}

fn inode(meta: &fs::Metadata) -> (u64, u64) {
    (meta.dev(), meta.ino())
}
