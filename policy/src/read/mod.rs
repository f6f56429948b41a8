//! From the file's nodes to a policy.

mod by_container;
mod code;
mod keys;
mod kind;
mod values;

use std::collections::HashMap;

use lacre_types::{Action, ViolationKind};

pub(crate) use code::CODE;
pub(crate) use kind::ALSO_ACTIONS;

use crate::code_directories::CodeRules;
use crate::policy::{KindRules, Policy};
use crate::settings::{Backoff, Settings};
use crate::yaml::{Node, Reader, Value, duration};
use crate::{Diagnostic, Errors};

/// The keys at the top of the file.
pub(crate) const TOP: &[&str] = &[
    "Actions",
    "Mode",
    "JIT",
    "CodeDirectories",
    "Report",
    "GracePeriod",
    "Fallback",
    "Restart",
    "PORT",
];
/// The keys under `Restart`.
pub(crate) const RESTART: &[&str] = &["Delay", "MaxDelay", "ResetAfter", "Attempts"];

impl Policy {
    /// Reads a policy file. `name` is for the messages alone.
    ///
    /// # Errors
    /// Everything that is wrong with the file.
    pub fn parse(name: &str, text: &[u8]) -> Result<(Self, Vec<Diagnostic>), Errors> {
        policy(name, text)
    }
}

fn policy(name: &str, text: &[u8]) -> Result<(Policy, Vec<Diagnostic>), Errors> {
    let (mut reader, root) = Reader::open(name, text)?;
    let mut settings = Settings::default();
    let mut port = None;
    let mut code = CodeRules::default();
    let mut kinds = None;
    for field in reader.fields(&root, "a policy", TOP).unwrap_or_default() {
        match field.name {
            "Actions" => kinds = Some(actions(&mut reader, field.value)),
            "Mode" => settings.mode = reader.word(field.value, "a mode", &[]),
            "JIT" => settings.jit = values::jit(&mut reader, field.value).unwrap_or_default(),
            "CodeDirectories" => code = code::rules(&mut reader, field.value),
            "Report" => {
                settings.reports = values::reports(&mut reader, field.value).unwrap_or_default();
            }
            "GracePeriod" => {
                if let Some(grace) = duration(&mut reader, field.value) {
                    settings.grace = grace;
                }
            }
            "Fallback" => fallback(&mut reader, field.value, &mut settings),
            "Restart" => settings.restart = restart(&mut reader, field.value),
            _ => port = values::port(&mut reader, field.value),
        }
    }
    if kinds.is_none() && matches!(root.value, Value::Map(_)) {
        reader
            .error(crate::Span { width: 1, ..root.span }, "the policy has no `Actions`")
            .help("without it each violation is denied; write `Actions: {}` to mean that");
    }
    let mut kinds = kinds.unwrap_or_default();
    let warnings = reader.finish()?;
    let rules = ViolationKind::ALL
        .iter()
        .map(|kind| kinds.remove(kind).unwrap_or_else(|| KindRules::none(*kind)));
    Ok((Policy::new(settings, port, code, rules), warnings))
}

fn actions(reader: &mut Reader<'_>, node: &Node) -> HashMap<ViolationKind, KindRules> {
    let words: Vec<&str> = ViolationKind::ALL.iter().map(|kind| kind.as_str()).collect();
    let fields = reader.fields(node, "`Actions`", &words).unwrap_or_default();
    let mut kinds = HashMap::new();
    for field in fields {
        if let Ok(kind) = field.name.parse() {
            kinds.insert(kind, kind::rules(reader, kind, field.value));
        }
    }
    kinds
}

fn fallback(reader: &mut Reader<'_>, node: &Node, settings: &mut Settings) {
    let words: Vec<&str> = Action::ALL
        .iter()
        .map(|action| action.as_str())
        .chain(ALSO_ACTIONS.iter().copied())
        .collect();
    for field in reader.fields(node, "`Fallback`", &words).unwrap_or_default() {
        let (Ok(action), Some(instead)) =
            (field.name.parse(), reader.word(field.value, "an action", ALSO_ACTIONS))
        else {
            continue;
        };
        if crate::Fallbacks::LAST.contains(&action) {
            reader
                .error(field.span, format!("{action} has no fallback"))
                .help("it can always be done; leave this line out");
            continue;
        }
        if action == Action::Deny && instead == Action::Skip {
            reader
                .warn(field.span, "where DENY can't be done, nothing is done")
                .help("what came with no image runs there, recorded; KILL is the safe fallback");
        }
        settings.fallbacks.say(action, instead);
        if let Some(action) = settings.fallbacks.endless() {
            reader
                .error(field.span, format!("the fallbacks go in a circle from {action}"))
                .help("let one of them end in KILL or SKIP");
            settings.fallbacks = crate::Fallbacks::default();
        }
    }
}

fn restart(reader: &mut Reader<'_>, node: &Node) -> Backoff {
    let mut backoff = Backoff::default();
    for field in reader.fields(node, "`Restart`", RESTART).unwrap_or_default() {
        let slot = match field.name {
            "Delay" => &mut backoff.delay,
            "MaxDelay" => &mut backoff.max_delay,
            "ResetAfter" => &mut backoff.reset_after,
            _ => {
                backoff.attempts = values::attempts(reader, field.value);
                continue;
            }
        };
        if let Some(duration) = duration(reader, field.value) {
            *slot = duration;
        }
        if field.name == "Delay" && backoff.delay.is_zero() {
            reader
                .error(field.value.span, "a restart with no delay is a loop")
                .help("100ms is what Docker begins with");
        }
    }
    if backoff.max_delay < backoff.delay {
        reader
            .error(crate::Span { width: 1, ..node.span }, "`MaxDelay` is less than `Delay`")
            .help("`Delay` is 1s and `MaxDelay` 5m where they are not given");
    }
    backoff
}
