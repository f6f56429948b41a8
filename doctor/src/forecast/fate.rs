//! What becomes of each class of attacks by each source, and by several that stand side by side.

use std::fmt;

use lacre_types::Mode;
use serde::{Serialize, Serializer};

use super::class::Class;
use super::rungs::Rungs;

/// What may become of an attack, in the words of `docs/attacks.md`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// It does not run: the call fails.
    Denied,
    /// It does not run: its process is killed before.
    Killed,
    /// It runs, and there is a record of it.
    Told,
    /// It runs, and there is none.
    Unseen,
    /// It does not run, since no container does.
    NotStarted,
    /// Nobody can say: what would watch could not be looked at.
    Unknown,
}

impl Outcome {
    const ALL: [Self; 6] =
        [Self::Denied, Self::Killed, Self::Told, Self::Unseen, Self::NotStarted, Self::Unknown];

    const fn bit(self) -> u8 {
        1 << self as u8
    }

    /// In a word.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Denied => "DENY",
            Self::Killed => "KILL",
            Self::Told => "REPORT",
            Self::Unseen => "MISS",
            Self::NotStarted => "no start",
            Self::Unknown => "unknown",
        }
    }
}

/// What may become of it: more than one where it is a race. `KILL` beside `REPORT` or `MISS` is
/// that of a process that has begun.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Fate(u8);

impl Fate {
    const DENIED: Self = Self(Outcome::Denied.bit());
    const KILLED: Self = Self(Outcome::Killed.bit());
    const TOLD: Self = Self(Outcome::Told.bit());
    const UNSEEN: Self = Self(Outcome::Unseen.bit());
    /// Seen while it runs already, and ended then.
    const LATE: Self = Self(Outcome::Killed.bit() | Outcome::Told.bit());
    /// The same; what is over by then is not seen.
    const MAYBE_LATE: Self = Self(Self::LATE.0 | Outcome::Unseen.bit());
    const MAYBE_TOLD: Self = Self(Outcome::Told.bit() | Outcome::Unseen.bit());

    /// Whether this may become of it.
    #[must_use]
    pub const fn may_be(self, outcome: Outcome) -> bool {
        self.0 & outcome.bit() != 0
    }

    /// Whether what has that name in `docs/attacks.md` may.
    #[must_use]
    pub fn may_be_called(self, word: &str) -> bool {
        self.outcomes().any(|outcome| outcome.word() == word)
    }

    /// What may become of it.
    pub fn outcomes(self) -> impl Iterator<Item = Outcome> {
        Outcome::ALL.into_iter().filter(move |outcome| self.may_be(*outcome))
    }

    /// Whether it does not run, however it goes.
    const fn is_prevented(self) -> bool {
        self.0 & !(Outcome::Denied.bit() | Outcome::Killed.bit()) == 0
    }

    /// What holds nothing back tells of it.
    const fn in_audit(self) -> Self {
        let held = Outcome::Denied.bit() | Outcome::Killed.bit();
        match self.0 & held {
            0 => self,
            _ => Self((self.0 & !held) | Outcome::Told.bit()),
        }
    }

    /// Of two sources that stand side by side. What one prevents does not run, and may have been
    /// ended by the other one before; what one tells of for certain is not unseen.
    const fn beside(self, other: Self) -> Self {
        match (self.is_prevented(), other.is_prevented()) {
            // An open comes before the exec that it is for.
            (true, true) if self.may_be(Outcome::Denied) => self,
            (true, true) => other,
            (true, false) => Self(self.0 | (other.0 & Outcome::Killed.bit())),
            (false, true) => Self(other.0 | (self.0 & Outcome::Killed.bit())),
            (false, false) => {
                let unseen = self.0 & other.0 & Outcome::Unseen.bit();
                Self(((self.0 | other.0) & !Outcome::Unseen.bit()) | unseen)
            }
        }
    }
}

impl fmt::Display for Fate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, outcome) in self.outcomes().enumerate() {
            let between = if index > 0 { " or " } else { "" };
            write!(f, "{between}{}", outcome.word())?;
        }
        Ok(())
    }
}

impl Serialize for Fate {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(self.outcomes().map(Outcome::word))
    }
}

/// `block` of the configuration.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Blocked {
    /// What is executed.
    Exec,
    /// What is opened, too.
    All,
}

/// What else it hangs on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Setting {
    /// The mode.
    pub mode: Mode,
    /// `block`.
    pub block: Blocked,
    /// Whether the attack's files lie in a directory that the policy declares to hold code.
    pub in_code_directory: bool,
}

/// What becomes of an attack of that class, by the policy that is built in.
#[must_use]
pub fn fate(class: Class, rungs: Rungs, setting: Setting) -> Fate {
    if !rungs.any() && rungs.unknown {
        return Fate(Outcome::Unknown.bit());
    }
    if setting.mode == Mode::Enforce && !rungs.starts() {
        return Fate(Outcome::NotStarted.bit());
    }
    let sources = [
        (rungs.fanotify, fanotify(class, setting)),
        (rungs.exec_trace, exec_trace(class, rungs.fetch)),
        (rungs.exec_map, exec_map(class)),
        (rungs.container_ima, container_ima(class)),
        (rungs.ima, ima(class)),
    ];
    let stand = sources.into_iter().filter(|(stands, _)| *stands);
    let alone = |fate: Fate| if setting.mode == Mode::Audit { fate.in_audit() } else { fate };
    stand.map(|(_, fate)| alone(fate)).fold(Fate::UNSEEN, Fate::beside)
}

/// Asked before a file is executed; with `block: all`, or in a code directory, before it is opened.
const fn fanotify(class: Class, setting: Setting) -> Fate {
    let opens = matches!(setting.block, Blocked::All) || setting.in_code_directory;
    match class {
        Class::Program => Fate::DENIED,
        Class::Library
        | Class::LibraryAtOpen
        | Class::Script
        | Class::ScriptOfCopy
        | Class::ScriptAtOpen
            if opens =>
        {
            Fate::DENIED
        }
        // All that an interpreter opens is code there.
        Class::MappedByHand | Class::Unmarked if setting.in_code_directory => Fate::DENIED,
        Class::Unmarked if opens => Fate::TOLD,
        _ => Fate::UNSEEN,
    }
}

/// Told of each exec, and with `fetch` of the file behind each page that instructions come from.
const fn exec_trace(class: Class, fetch: bool) -> Fate {
    match class {
        Class::Program | Class::ProgramElsewhere | Class::Memfd => Fate::KILLED,
        Class::Library if fetch => Fate::KILLED,
        Class::Script | Class::ScriptOfCopy | Class::ScriptElsewhere => Fate::LATE,
        _ => Fate::UNSEEN,
    }
}

/// Told of each executable mapping, a moment after. Of who has just come in from outside, as by
/// `exec`, what is over in that moment is not seen.
const fn exec_map(class: Class) -> Fate {
    // Engines make code in memory too: it is no violation unless the policy says so.
    if class.is_mapped_file() { Fate::MAYBE_LATE } else { Fate::UNSEEN }
}

/// What the usual policy of IMA measures: what is executed, and what is mapped to be.
const fn container_ima(class: Class) -> Fate {
    if class.is_mapped_file() { Fate::TOLD } else { Fate::UNSEEN }
}

/// The same, of what can be attributed, and was not run on this node before.
const fn ima(class: Class) -> Fate {
    match class {
        Class::Program
        | Class::Library
        | Class::LibraryAtOpen
        | Class::MappedByHand
        | Class::ScriptOfCopy => Fate::MAYBE_TOLD,
        _ => Fate::UNSEEN,
    }
}
