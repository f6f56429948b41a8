//! Which policy holds for a container: the server's, else the file's, else the built-in one.

use std::collections::HashMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use lacre_policy::{Effective, Errors, Policy};
use lacre_report::{Answer, Held, Note, StoredPolicy};
use lacre_types::{Digest, Mode, chain};
use sha2::{Digest as _, Sha256};
use slog::{Logger, error, info, warn};
use tokio::sync::{mpsc, watch};

use super::identity::Identity;
use crate::config::Config;
use crate::container::telling::PolicyOrigin;

/// How long a container's Create waits for the server's first word on it. The server
/// answers in a millisecond or so where it can be reached; where not, the file holds.
pub(super) const FIRST_WORD: Duration = Duration::from_secs(1);

/// The server's answers about one container that wait for their turn. Those beyond are
/// dropped, and the log says so: as many actions are under way already.
const ANSWERS: usize = 64;

/// Why the policy file can't be used.
#[derive(Debug, thiserror::Error)]
pub(super) enum PolicyError {
    #[error("reading the policy {}", .0.display())]
    Read(PathBuf, #[source] io::Error),
    #[error("the policy is refused; mend it, and check it by `lacre policy check`\n{0}")]
    Refused(Errors),
}

/// The policy file as it is now, and its version; the built-in policy where there is no file.
fn from_file(
    path: &Path,
    mode: Mode,
    log: &Logger,
) -> Result<(Policy, Option<String>), PolicyError> {
    let text = match fs::read(path) {
        Ok(text) => text,
        // Only the standard one may be absent without a word.
        Err(error)
            if error.kind() == io::ErrorKind::NotFound && path == Config::default().policy =>
        {
            return Ok((Policy::default_for(mode), None));
        }
        Err(error) => return Err(PolicyError::Read(path.to_owned(), error)),
    };
    let name = path.display().to_string();
    let (policy, warnings) = Policy::parse(&name, &text).map_err(PolicyError::Refused)?;
    for warning in warnings {
        warn!(log, "policy"; "warning" => warning.to_string());
    }
    Ok((policy, Some(version(&text))))
}

/// The part of the file's policy that is about this container. Nothing but the strictest
/// policy can stand in for one that can't be read.
pub(crate) fn of_file(config: &Config, who: &Identity, log: &Logger) -> Effective {
    file_and_origin(config, who, log).0
}

/// The same, and where it comes from.
pub(super) fn file_and_origin(
    config: &Config,
    who: &Identity,
    log: &Logger,
) -> (Effective, PolicyOrigin) {
    let mut origin = PolicyOrigin { file: Some(config.policy.clone()), ..PolicyOrigin::default() };
    let policy = match from_file(&config.policy, config.mode, log) {
        Ok((policy, version)) => {
            origin.version = version;
            policy
        }
        Err(error) => {
            error!(log, "the built-in policy holds"; "error" => chain(&error));
            origin.problem = Some(chain(&error));
            Policy::default_for(config.mode)
        }
    };
    (who.effective(&policy), origin)
}

/// The version of a policy file of these bytes, as the policy server numbers its own.
pub(crate) fn version(text: &[u8]) -> String {
    Digest::sha256(Sha256::digest(text).into()).to_string()
}

/// What the server says about one container.
#[derive(Debug)]
pub(super) struct Words {
    /// The policy that holds, once it has come.
    pub(super) policy: watch::Receiver<Option<Arc<Effective>>>,
    /// What is to be done about a record, whatever was done before.
    pub(super) overrules: mpsc::Receiver<Answer>,
    /// Since when the node's logs are known to be altered (seconds after 1970).
    pub(super) tampered: watch::Receiver<Option<u64>>,
    /// Orders about it that wait for an operator, each once.
    pub(super) held: mpsc::Receiver<Held>,
}

#[derive(Debug, Clone)]
struct Line {
    policy: watch::Sender<Option<Arc<Effective>>>,
    overrules: mpsc::Sender<Answer>,
    tampered: watch::Sender<Option<u64>>,
    held: mpsc::Sender<Held>,
}

/// Hands the server's words to the containers they are about.
#[derive(Debug)]
pub(crate) struct Switchboard {
    lines: Mutex<HashMap<String, Line>>,
    /// Where each container's rules come from.
    origins: Mutex<HashMap<String, PolicyOrigin>>,
    log: Logger,
}

impl Switchboard {
    pub(crate) fn new(log: Logger) -> Self {
        Self { lines: Mutex::default(), origins: Mutex::default(), log }
    }

    pub(super) fn listen(&self, container: &str) -> Words {
        let (policy, told) = watch::channel(None);
        let (overrules, answers) = mpsc::channel(ANSWERS);
        let (tampered, since) = watch::channel(None);
        let (held, waiting) = mpsc::channel(ANSWERS);
        self.lines().insert(container.to_owned(), Line { policy, overrules, tampered, held });
        Words { policy: told, overrules: answers, tampered: since, held: waiting }
    }

    pub(super) fn hang_up(&self, container: &str) {
        self.lines().remove(container);
        self.origins().remove(container);
    }

    /// A policy of the node's own holds, as long as the server gives none.
    pub(super) fn holds(&self, container: &str, own: PolicyOrigin) {
        let mut all = self.origins();
        let known = all.entry(container.to_owned()).or_default();
        *known = PolicyOrigin { server: known.server.take(), ..own };
    }

    /// Where a container's rules come from.
    pub(crate) fn origin(&self, container: &str) -> PolicyOrigin {
        self.origins().get(container).cloned().unwrap_or_default()
    }

    fn origins(&self) -> std::sync::MutexGuard<'_, HashMap<String, PolicyOrigin>> {
        self.origins.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn lines(&self) -> std::sync::MutexGuard<'_, HashMap<String, Line>> {
        self.lines.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn line(&self, container: &str) -> Option<Line> {
        self.lines().get(container).cloned()
    }
}

impl lacre_report::Events for Switchboard {
    fn policy(&self, _namespace: &str, container: &str, policy: &StoredPolicy) {
        match Effective::from_json(&policy.effective) {
            Ok(effective) => {
                if let Some(line) = self.line(container) {
                    let mut origins = self.origins();
                    origins.entry(container.to_owned()).or_default().server =
                        Some(policy.version.clone());
                    drop(origins);
                    line.policy.send_replace(Some(Arc::new(effective)));
                }
            }
            Err(error) => {
                warn!(self.log, "the server's policy can't be used, the last one holds";
                    "container" => container.to_owned(), "error" => chain(&error));
            }
        }
    }

    fn tampered(&self, container: &str, since: u64) {
        if let Some(line) = self.line(container) {
            // Once for each time that it was found.
            line.tampered.send_if_modified(|told| told.replace(since) != Some(since));
        }
    }

    fn held(&self, container: &str, held: &Held) {
        warn!(self.log, "an order of the policy server is held until an operator approves it; \
            what this node decided stands"; "container" => container.to_owned(),
            "order" => held.order, "action" => &held.action, "what" => &held.why);
        if let Some(line) = self.line(container) {
            // The log has said it, should there be too many.
            let _ = line.held.try_send(held.clone());
        }
    }

    fn answer(&self, number: u64, answer: &Answer, overrules: bool, rule: &str) {
        if overrules && number > 0 {
            info!(self.log, "the policy server overrules"; "container" => &answer.container_id,
                "action" => answer.action.as_str(), "rule" => rule.to_owned());
            let line = self.line(&answer.container_id);
            if line.is_some_and(|line| line.overrules.try_send(answer.clone()).is_err()) {
                warn!(self.log, "too many answers of the policy server, one is dropped";
                    "container" => &answer.container_id);
            }
        }
    }

    fn note(&self, note: Note) {
        match note.error() {
            Some(error) => warn!(self.log, "{}", note; "error" => chain(error)),
            None => info!(self.log, "{}", note),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use lacre_policy::Subject;
    use lacre_report::Events as _;
    use lacre_types::ViolationKind;

    /// As the reporter calls it: from within a runtime of its own.
    #[tokio::test]
    async fn a_policy_reaches_the_container_that_listens() {
        let board = Switchboard::new(Logger::root(slog::Discard, slog::o!()));
        let mut words = board.listen("c");
        let (policy, _) = Policy::parse("p", b"Actions: {NO_WHITELIST: {Default: STOP}}").unwrap();
        let effective = policy.effective(&Subject::default()).to_json();
        board.policy("ns", "c", &StoredPolicy { version: "v".to_owned(), effective });
        let came = words.policy.wait_for(Option::is_some).await.unwrap().clone().unwrap();
        let action = came.decide(ViolationKind::NoWhitelist, None).action;
        assert_eq!(action, lacre_types::Action::Stop);
    }

    #[tokio::test]
    async fn altered_logs_are_told_once_for_each_time_they_were_found() {
        let board = Switchboard::new(Logger::root(slog::Discard, slog::o!()));
        let mut words = board.listen("c");
        for (since, news) in [(7, true), (7, false), (9, true)] {
            board.tampered("c", since);
            assert_eq!(words.tampered.has_changed().unwrap(), news, "{since}");
            assert_eq!(*words.tampered.borrow_and_update(), Some(since));
        }
    }

    #[tokio::test]
    async fn only_an_overruling_answer_is_handed_on() {
        let board = Switchboard::new(Logger::root(slog::Discard, slog::o!()));
        let mut words = board.listen("c");
        let answer = Answer { container_id: "c".to_owned(), action: lacre_types::Action::Kill };
        board.answer(0, &answer, true, "rule");
        board.answer(1, &answer, false, "rule");
        board.answer(2, &answer, true, "rule");
        assert_eq!(words.overrules.recv().await, Some(answer));
        assert!(words.overrules.try_recv().is_err());
    }
}
