//! The eyes on one container, and what they make of what they see: a measurement for the judge, a
//! digest for the map, and the end of who must not run.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::SystemTime;

use lacre_types::{
    CanonicalPath, Content, Digest, Event, FileId, Measurement, Process, Source, base_name,
};

use super::descendants::{Descendants, Ended};
use super::interpreters;
use super::told::Kind;
use super::verdicts::Verdicts;
use super::watched_files::Changed;
use crate::container_root::ContainerRoot;
use crate::files::{self, Layers};
use crate::held_process::Held;
use crate::image_content::ImageContent;
use crate::verifiers::Verifiers;
use crate::{Answer, Judge, Known, Outcome, Verified};

/// Digests that are remembered, for records: a hundred kilobytes at most.
const MOST_REMEMBERED: usize = 1024;

/// The eyes on one container.
pub(super) struct Watch {
    pub(super) judge: Arc<dyn Judge>,
    pub(super) known: Arc<dyn Known>,
    pub(super) layers: Layers,
    pub(super) content: ImageContent,
    pub(super) verdicts: Verdicts,
    pub(super) init: Held,
    pub(super) root: ContainerRoot,
    pub(super) verifiers: Verifiers,
    /// There where changes of attributes are told.
    pub(super) changed: OnceLock<Changed>,
    pub(super) descendants: Descendants,
    /// What was read of files that may not run, so that one which is tried again and again is
    /// read once. Nothing is let pass by it.
    pub(super) remembered: Mutex<HashMap<FileId, Digest>>,
}

/// What a measurement will be made of.
pub(super) struct Subject {
    pub(super) event: Event,
    pub(super) path: Option<CanonicalPath>,
    pub(super) pid: u32,
    pub(super) uid: u32,
    /// Which exec it came of; 0 where nobody knows.
    pub(super) exec: u64,
    pub(super) killed: bool,
    pub(super) watched: bool,
}

/// How the kernel found who has it.
struct Who {
    exec: u64,
    killed: bool,
    watched: bool,
}

impl Subject {
    fn measured(self, content: Content) -> (Who, Measurement) {
        let Self { event, path, pid, uid, exec, killed, watched } = self;
        let measurement = Measurement {
            source: Source::ExecTrace,
            event,
            path,
            content,
            process: Process { pid, uid: Some(uid) },
            time: SystemTime::now(),
        };
        (Who { exec, killed, watched }, measurement)
    }
}

/// What was found out of a file.
pub(super) struct Found {
    pub(super) content: Content,
    /// There where it may be remembered.
    pub(super) verified: Option<Verified>,
}

impl From<Content> for Found {
    fn from(content: Content) -> Self {
        Self { content, verified: None }
    }
}

impl Watch {
    /// Tells the judge, and remembers what it allows while its file is kept still. Whether the
    /// process was killed.
    pub(super) fn pass(&self, subject: Subject, process: Option<&Held>, found: Found) -> bool {
        let (who, measurement) = subject.measured(found.content);
        if let Some(verified) = &found.verified
            && self.judge.settled(&measurement)
        {
            let name =
                measurement.path.as_ref().map_or(&b""[..], |path| base_name(path.as_bytes()));
            // A full map costs only that the file is told again.
            let _ = self.verdicts.allow(verified, interpreters::flags(name));
        }
        drop(found.verified);
        let outcome = self.rule(&who, process, &measurement);
        self.judge.seen(measurement, outcome);
        outcome == Outcome::Killed
    }

    /// The same of what is judged by its size, but for telling it.
    pub(super) fn end(
        &self,
        subject: Subject,
        process: Option<&Held>,
        size: u64,
    ) -> (Measurement, Outcome) {
        let (who, measurement) = subject.measured(Content::Size(size));
        let outcome = self.rule(&who, process, &measurement);
        (measurement, outcome)
    }

    fn rule(&self, who: &Who, process: Option<&Held>, measurement: &Measurement) -> Outcome {
        // What has come to be for enforce since is the sweep's: this process may do something
        // else by now.
        if who.watched {
            return Outcome::Watched;
        }
        if who.killed {
            return Outcome::Killed;
        }
        match self.judge.judge(measurement) {
            Answer::Allow => Outcome::Ran,
            Answer::Deny => self.stop(process, who.exec, measurement),
        }
    }

    /// Kills whoever runs it, unless it never ran: another source refused to open it. Where
    /// somebody may run it still, it ran, whoever was killed.
    fn stop(&self, process: Option<&Held>, exec: u64, measurement: &Measurement) -> Outcome {
        if exec != 0 && self.judge.was_refused(measurement, exec) {
            return Outcome::Denied;
        }
        let killed = process.is_some_and(Held::end);
        // By which exec it is known who else may run it.
        let others = Some(exec).filter(|exec| *exec != 0).map(|exec| self.descendants.kill(exec));
        match others {
            Some(Ended::Now) => Outcome::Killed,
            Some(Ended::Before) | None if killed => Outcome::Killed,
            Some(Ended::Before) => Outcome::Ended,
            Some(Ended::Not) | None => Outcome::Ran,
        }
    }

    pub(super) fn unsteady(&self, process: Option<&Held>, dev: u32) -> Option<String> {
        process
            .and_then(|process| files::unsteady(process.pid(), dev))
            .or_else(|| files::unsteady(self.init.pid(), dev))
    }

    /// What is remembered of a state.
    pub(super) fn digest_of(&self, id: &FileId) -> Option<Digest> {
        self.remembered.lock().unwrap_or_else(PoisonError::into_inner).get(id).copied()
    }

    pub(super) fn remember(&self, id: FileId, digest: Digest) {
        let mut remembered = self.remembered.lock().unwrap_or_else(PoisonError::into_inner);
        if remembered.len() >= MOST_REMEMBERED {
            remembered.clear();
        }
        remembered.insert(id, digest);
    }
}

pub(super) const fn event_of(kind: Kind) -> Event {
    match kind {
        Kind::Exec => Event::Exec,
        Kind::Loader => Event::Interpreter,
        Kind::Arguments => Event::Script,
        Kind::Fetch | Kind::Memory | Kind::Unchecked => Event::Mmap,
    }
}
