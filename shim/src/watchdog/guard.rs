//! One guard, as its watchdog knows it.

use std::io;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::sync::atomic::AtomicUsize;
use std::time::Duration;

use super::link::{self, Held, Word};
use super::stand_in;
use crate::container::dead_guard_end;
use crate::node::process::Process;
use crate::node::run_dir::Place;

/// How many turns in a row may go by without a good answer. It counts turns and no time: while
/// the machine slept, so did the watchdog.
pub(super) const TURNS: u32 = 6;

/// How a guard is heard of.
pub(super) enum Line {
    /// Its connection.
    Link(OwnedFd),
    /// It has none, and should make one; what stands for its process, where that can be had.
    Lost(Option<OwnedFd>),
}

impl Line {
    pub(super) const fn fd(&self) -> Option<&OwnedFd> {
        match self {
            Self::Link(fd) => Some(fd),
            Self::Lost(fd) => fd.as_ref(),
        }
    }

    pub(super) fn lost(process: Process) -> Self {
        Self::Lost(process.open().ok().flatten())
    }
}

/// One guard.
pub(super) struct Guard {
    pub(super) line: Line,
    /// None: it died before this watchdog was there.
    pub(super) process: Option<Process>,
    /// Once it has said.
    pub(super) place: Option<Place>,
    pub(super) groups: Held,
    /// It was asked, and has not said that it gets on.
    pub(super) asked: bool,
    /// Turns since then.
    pub(super) turns: u32,
    pub(super) killed: bool,
}

impl Guard {
    /// The guard of a place that was there before the watchdog, and has yet to be heard of, or
    /// stood in for.
    pub(super) fn unheard(place: Place) -> Self {
        let Some(process) = stand_in::guard_of(&place) else {
            return Self::dead(place, None, Held::default());
        };
        let (line, process) = (Line::lost(process), Some(process));
        let (groups, asked, turns, killed) = (Held::default(), true, 0, false);
        Self { line, process, place: Some(place), groups, asked, turns, killed }
    }

    /// One that has died, and waits to be stood in for: it is looked at each turn.
    pub(super) fn dead(place: Place, process: Option<Process>, groups: Held) -> Self {
        let (line, asked, turns, killed) = (Line::Lost(None), true, 0, true);
        Self { line, process, place: Some(place), groups, asked, turns, killed }
    }

    /// Takes what it has said.
    pub(super) fn listen(&mut self) {
        while let Line::Link(link) = &self.line {
            let heard = match link::receive(link) {
                Ok(Some(Word::Guard(place))) => {
                    self.place = Some(Place::at(place));
                    Ok(())
                }
                Ok(Some(Word::Some(groups))) => {
                    self.groups.some(groups);
                    Ok(())
                }
                Ok(Some(Word::Groups(groups, count))) => self.groups.last(groups, count),
                Ok(Some(Word::Well)) => {
                    (self.asked, self.turns) = (false, 0);
                    Ok(())
                }
                // As good as no answer.
                Ok(Some(Word::Still | Word::Ask | Word::Refused(_) | Word::Other)) => Ok(()),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => Ok(()),
                // Its descriptors are closed before its end is told. One that lives makes
                // another connection.
                Ok(None) => return self.lose(),
                Err(error) => Err(error),
            };
            if let Err(why) = heard {
                // One that has gone is told nothing.
                let _ = link::refuse(link, &why.to_string());
                self.lose();
            }
        }
    }

    /// Its connection has ended, and it has not: it is waited for as for an answer.
    fn lose(&mut self) {
        self.groups.begin_anew();
        self.line = self.process.map_or(Line::Lost(None), Line::lost);
        (self.asked, self.turns) = (true, 0);
    }

    pub(super) fn ask(&mut self) {
        if !self.asked {
            self.put();
            (self.asked, self.turns) = (true, 0);
        }
    }

    fn put(&self) {
        if let Line::Link(link) = &self.line {
            // One that can't be asked has gone, or hangs with all that it was asked before.
            let _ = link::ask(link);
        }
    }

    /// A turn has gone by.
    pub(super) fn overdue(&mut self, work: &Arc<AtomicUsize>) {
        if !self.asked || self.killed {
            return;
        }
        self.turns += 1;
        if self.turns < TURNS {
            self.put();
            return;
        }
        let (Some(place), Some(process)) = (self.place.clone(), self.process) else { return };
        // Where nobody is held back, nobody waits for it.
        if self.groups.is_empty() && !dead_guard_end::is_needed(&place) {
            self.asked = false;
            return;
        }
        // Where no thread can be had, it is tried again the next turn.
        self.killed = stand_in::begin(work, (place, process), |(place, process)| {
            place.note_hang();
            // First those whom it must not let pass: where nobody else has its group, as after
            // another watchdog's death, who waits passes when it goes.
            dead_guard_end::end_held_back(&place);
            // One that waits for a disk or a network does not die of that yet.
            let _ = process.kill(Duration::ZERO);
        })
        .is_ok();
    }
}
