//! Which policy holds for a container: the server's, else the file's, else the built-in one.

use std::collections::HashMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use lacre_policy::{Effective, Errors, Policy};
use lacre_report::{Answer, Note, StoredPolicy};
use lacre_types::Mode;
use slog::{Logger, info, warn};
use tokio::sync::mpsc;

use crate::log::chain;

/// How long a container's Create waits for the server's first word on it. The server
/// answers in a millisecond or so where it can be reached; where not, the file holds.
pub(super) const FIRST_WORD: Duration = Duration::from_secs(1);

/// The server's words on one container, waiting for their turn. It says few, and when
/// more than this wait, the newest policy is among them or comes by the next look.
const WORDS: usize = 64;

/// Why the policy file can't be used.
#[derive(Debug, thiserror::Error)]
pub(super) enum PolicyError {
    #[error("reading the policy {}", .0.display())]
    Read(PathBuf, #[source] io::Error),
    #[error("the policy is refused; mend it, and check it by `lacre policy check`\n{0}")]
    Refused(Errors),
}

/// The policy file as it is now; the built-in policy where there is no file.
pub(super) fn from_file(path: &Path, mode: Mode, log: &Logger) -> Result<Policy, PolicyError> {
    let text = match fs::read(path) {
        Ok(text) => text,
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            return Ok(Policy::default_for(mode));
        }
        Err(error) => return Err(PolicyError::Read(path.to_owned(), error)),
    };
    let name = path.display().to_string();
    let (policy, warnings) = Policy::parse(&name, &text).map_err(PolicyError::Refused)?;
    for warning in warnings {
        warn!(log, "policy"; "warning" => warning.to_string());
    }
    Ok(policy)
}

/// What the server says about one container.
#[derive(Debug)]
pub(super) enum Word {
    /// This policy holds from now on.
    Policy(Arc<Effective>),
    /// This is to be done about that record, whatever was done before.
    Overrule(Answer),
}

/// Hands the server's words to the containers they are about.
#[derive(Debug)]
pub(super) struct Switchboard {
    lines: Mutex<HashMap<String, mpsc::Sender<Word>>>,
    log: Logger,
}

impl Switchboard {
    pub(super) fn new(log: Logger) -> Self {
        Self { lines: Mutex::default(), log }
    }

    pub(super) fn listen(&self, container: &str) -> mpsc::Receiver<Word> {
        let (line, words) = mpsc::channel(WORDS);
        self.lines().insert(container.to_owned(), line);
        words
    }

    pub(super) fn hang_up(&self, container: &str) {
        self.lines().remove(container);
    }

    fn lines(&self) -> std::sync::MutexGuard<'_, HashMap<String, mpsc::Sender<Word>>> {
        self.lines.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn say(&self, container: &str, word: Word) {
        let line = self.lines().get(container).cloned();
        if let Some(line) = line {
            // On the reporter's own thread, which may wait; a line whose end is gone does not.
            let _ = line.blocking_send(word);
        }
    }
}

impl lacre_report::Events for Switchboard {
    fn policy(&self, _namespace: &str, container: &str, policy: &StoredPolicy) {
        match Effective::from_json(&policy.effective) {
            Ok(effective) => self.say(container, Word::Policy(Arc::new(effective))),
            Err(error) => {
                warn!(self.log, "the server's policy can't be used, the last one holds";
                    "container" => container.to_owned(), "error" => chain(&error));
            }
        }
    }

    fn answer(&self, _number: u64, answer: &Answer, overrules: bool, rule: &str) {
        if overrules {
            info!(self.log, "the policy server overrules"; "container" => &answer.container_id,
                "action" => answer.action.as_str(), "rule" => rule.to_owned());
            self.say(&answer.container_id, Word::Overrule(answer.clone()));
        }
    }

    fn note(&self, note: Note) {
        match note.error() {
            Some(error) => warn!(self.log, "{}", note; "error" => chain(error)),
            None => info!(self.log, "{}", note),
        }
    }
}
