//! The thread that follows one container's list.

use std::io::{self, PipeReader};
use std::os::fd::AsFd as _;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use lacre_attest::container::OVERFLOW;
use lacre_attest::ima::{Form, Stream};
use lacre_types::{Algorithm, Source};
use rustix::event::{PollFd, PollFlags, poll};

use super::kernel::List;
use crate::ima::{cut, line};
use crate::reader_thread::End;
use crate::{Judge, Known, Loss, Outcome};

/// What one read takes, in bytes: some 600 lines.
const READ: usize = 64 << 10;

/// The eyes on one container's list.
pub(super) struct Watch {
    pub(super) judge: Arc<dyn Judge>,
    pub(super) known: Arc<dyn Known>,
    pub(super) list: List,
    /// What it may take after it is disarmed.
    pub(super) grace: Duration,
    /// Whether it was told that the list lacks lines.
    pub(super) told: bool,
}

/// Why the reader goes on.
#[derive(Debug, PartialEq, Eq)]
enum Woken {
    /// There are lines.
    Lines,
    /// Nobody wants them any longer.
    Disarmed,
    /// The list is final, and nobody of us has let go of it.
    Closed,
}

impl Watch {
    pub(super) fn run(mut self, woken: &PipeReader) {
        if let Err(loss) = self.follow(woken) {
            self.judge.lost(Source::ContainerIma, loss);
        }
    }

    fn follow(&mut self, woken: &PipeReader) -> Result<(), Loss> {
        let mut stream = Stream::new(Form::Binary, Algorithm::Sha1);
        let mut bytes = vec![0; READ];
        let mut end = End::of(woken, self.grace);
        let ended = |doing: &str, why: io::Error| Loss::Ended(format!("{doing}: {why}"));
        let why = loop {
            let why = wait(&self.list, woken).map_err(|why| ended("waiting for lines", why))?;
            if why != Woken::Lines {
                break why;
            }
            self.catch_up(&mut stream, &mut bytes, &mut end)?;
        };
        let info = self.list.info().map_err(|why| ended("reading how long the list is", why))?;
        self.catch_up(&mut stream, &mut bytes, &mut end)?;
        if info.lines > stream.lines() {
            return Err(Loss::Overflow(Some(info.lines - stream.lines())));
        }
        stream.finish().map_err(|why| cut(&why))?;
        if info.lost > 0 && !self.told {
            return Err(Loss::Overflow(Some(info.lost)));
        }
        if why == Woken::Closed {
            return Err(Loss::Ended(
                "somebody else has let go of the container's list; what enters the container \
                 from now on is in no list of its own"
                    .to_owned(),
            ));
        }
        Ok(())
    }

    fn catch_up(
        &mut self,
        stream: &mut Stream,
        bytes: &mut [u8],
        end: &mut End<'_>,
    ) -> Result<(), Loss> {
        while !end.is_here() {
            let count = match self.list.read(bytes) {
                Ok(0) => break,
                Ok(count) => count,
                Err(why) if why.kind() == io::ErrorKind::Interrupted => continue,
                Err(why) => return Err(Loss::Ended(format!("reading the list: {why}"))),
            };
            let (judge, known, told) = (&self.judge, &*self.known, &mut self.told);
            let fed = stream.feed(&bytes[..count], |_, entry| {
                // A file may have that name, too.
                if entry.is_violation() && entry.name() == Some(OVERFLOW) {
                    *told = true;
                    return judge.lost(Source::ContainerIma, Loss::Overflow(None));
                }
                let told = line::measurement(entry, Source::ContainerIma, known, SystemTime::now());
                // It has run: there is nothing to ask about.
                judge.seen(told, Outcome::Ran);
            });
            fed.map_err(|why| Loss::Ended(format!("{why}: {}", why.source)))?;
        }
        Ok(())
    }
}

fn wait(list: &List, woken: &PipeReader) -> io::Result<Woken> {
    let mut fds =
        [PollFd::new(list, PollFlags::IN), PollFd::from_borrowed_fd(woken.as_fd(), PollFlags::IN)];
    loop {
        match poll(&mut fds, None) {
            Ok(_) => {}
            Err(rustix::io::Errno::INTR) => continue,
            Err(why) => return Err(why.into()),
        }
        let told = fds[0].revents();
        // It stays readable, or hung up, for good: going on with it would be to spin.
        if told.intersects(PollFlags::ERR | PollFlags::NVAL) {
            return Err(io::Error::other("the kernel can't tell of new lines"));
        }
        return Ok(if !fds[1].revents().is_empty() {
            Woken::Disarmed
        } else if told.contains(PollFlags::HUP) {
            Woken::Closed
        } else {
            Woken::Lines
        });
    }
}

#[cfg(test)]
mod tests;
