//! One guarded container, in the words of `ps`.

use lacre_shim::inspect::{Answer, ContainerSeen, Frozen, PolicyOrigin, Told};
use lacre_types::escape;
use serde::Serialize;
use serde_json::Value;

use super::look::View;
use super::names::{short, short_digest, shown};

/// A container.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Row {
    pub(crate) namespace: String,
    pub(crate) id: String,
    pub(crate) generation: String,
    pub(crate) name: String,
    pub(crate) image_name: String,
    #[serde(rename = "imageID")]
    pub(crate) image_id: String,
    pub(crate) pod: String,
    pub(crate) pod_name: String,
    pub(crate) pod_namespace: String,
    /// `audit` or `enforce`; empty where it is not guarded.
    pub(crate) mode: String,
    /// What it does and what was done to it, the most telling word first.
    pub(crate) state: Vec<String>,
    /// Where its rules come from; none: its guard does not tell.
    pub(crate) policy: Option<PolicyOrigin>,
    pub(crate) baseline: String,
    pub(crate) sources: Vec<&'static str>,
    /// Uses that were violations; none: nobody tells.
    pub(crate) violations: Option<u64>,
    /// Files that were read and told of.
    pub(crate) reports: Option<u64>,
    /// `told`, `older`, `silent`, `dead`.
    pub(crate) guard: &'static str,
    /// What is wrong.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) problems: Vec<String>,
}

impl Row {
    pub(crate) fn of(view: &View, one: &ContainerSeen) -> Self {
        let guard = view.seen.guards.get(one.guard);
        let answer = guard.map(|guard| &guard.answer);
        let body = one.body();
        let about = body.and_then(|body| body.about.as_ref());
        let identity = about.map_or(&Value::Null, |about| &about.identity);
        let fact = |name: &str| text(&identity["facts"][name]["value"]);
        let pod = |name: &str| text(&identity["pod"][name]);
        let told = one.told.as_ref();
        let exempt = exempt(view, one);
        let mode = told.and_then(|told| told.mode).or_else(|| body.map(|body| body.mode));
        let count = |wanted: &dyn Fn(&str) -> bool| {
            let seen = &told.filter(|told| told.guarded)?.seen;
            Some(seen.iter().filter(|(kind, _)| wanted(kind)).map(|(_, uses)| uses).sum())
        };
        let sources = match told.filter(|told| told.guarded) {
            Some(told) => told.sources.clone(),
            None => about.map(|about| about.sources.clone()).unwrap_or_default(),
        };
        let mut problems = Vec::new();
        match answer {
            Some(Answer::Silent(why)) => problems.push(format!("its guard does not answer: {why}")),
            Some(Answer::Dead) | None => problems.push("its guard has died".to_owned()),
            Some(Answer::Told(_) | Answer::Older) => {}
        }
        if one.charter.is_none() {
            problems.push("its charter can't be read".to_owned());
        }
        if let Some(problem) = told.and_then(|told| told.policy.problem.clone()) {
            problems.push(format!("the built-in policy holds: {problem}"));
        }
        let unknown = identity["unknown"].as_array().into_iter().flatten().map(text);
        problems.extend(unknown.map(|what| format!("not known: {what}")));
        Self {
            namespace: one.namespace.clone(),
            id: one.id.clone(),
            generation: one.generation.clone(),
            name: text(&identity["name"]),
            image_name: fact("image_name"),
            image_id: text(&identity["facts"]["image_digests"][0]["value"]),
            pod: pod("sandbox"),
            pod_name: pod("name"),
            pod_namespace: pod("namespace"),
            mode: match (exempt, mode) {
                (false, Some(mode)) => mode.as_str().to_owned(),
                _ => String::new(),
            },
            state: state(view, one, exempt),
            policy: told.filter(|_| !exempt).map(|told| told.policy.clone()),
            baseline: baseline(told, exempt),
            sources: sources.iter().map(|source| source.as_str()).collect(),
            violations: count(&|kind| kind != "REPORT"),
            reports: count(&|kind| kind == "REPORT"),
            guard: match answer {
                Some(Answer::Told(_)) => "told",
                Some(Answer::Older) => "older",
                Some(Answer::Silent(_)) => "silent",
                Some(Answer::Dead) | None => "dead",
            },
            problems,
        }
    }

    /// The pod, as `NAMESPACE/NAME`; a sandbox without a name by its id.
    pub(crate) fn pod_shown(&self) -> String {
        match (self.pod_namespace.as_str(), self.pod_name.as_str()) {
            ("", "") => short(&self.pod),
            ("", name) => escape(name.as_bytes()),
            (namespace, name) => escape(format!("{namespace}/{name}").as_bytes()),
        }
    }

    /// Which policy holds.
    pub(crate) fn policy_shown(&self) -> String {
        self.policy.as_ref().map(origin).unwrap_or_default()
    }
}

/// Where rules come from, in a few words.
pub(crate) fn origin(of: &PolicyOrigin) -> String {
    match of {
        PolicyOrigin { server: Some(version), .. } => format!("server {}", short_digest(version)),
        PolicyOrigin { problem: Some(_), .. } => "built in (the file is refused)".to_owned(),
        PolicyOrigin { file: Some(file), version: Some(version), .. } => {
            format!("{} {}", shown(file), short_digest(version))
        }
        PolicyOrigin { file: Some(_), .. } => "built in (no file)".to_owned(),
        PolicyOrigin { .. } => String::new(),
    }
}

fn text(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}

fn exempt(view: &View, one: &ContainerSeen) -> bool {
    let Some(guard) = view.seen.guards.get(one.guard) else { return false };
    match &guard.answer {
        Answer::Told(told) => told.exempt.is_some(),
        _ => {
            let terms = guard.state.as_ref().and_then(|state| state.terms.as_ref());
            terms.is_some_and(|terms| terms.mode.is_none())
        }
    }
}

fn state(view: &View, one: &ContainerSeen, exempt: bool) -> Vec<String> {
    let guard = view.seen.guards.get(one.guard).map(|guard| &guard.answer);
    let told = one.told.as_ref();
    let mut words: Vec<String> = Vec::new();
    match guard {
        Some(Answer::Dead) | None => words.push("guard dead".to_owned()),
        Some(Answer::Silent(_)) => words.push("guard silent".to_owned()),
        Some(Answer::Told(_) | Answer::Older) => {}
    }
    match one.frozen(&view.run) {
        Some(Frozen::Lacre) => words.push("paused".to_owned()),
        Some(Frozen::LacreAndClient) => words.push("paused, by a client too".to_owned()),
        Some(Frozen::Other) => words.push("paused by others".to_owned()),
        Some(Frozen::No) | None => {}
    }
    if one.isolated(&view.run) {
        words.push("isolated".to_owned());
    }
    for order in told.iter().flat_map(|told| &told.held) {
        words.push(format!("held order {order}"));
    }
    if exempt {
        words.push("exempt".to_owned());
    }
    let stands = words.iter().any(|word| word.starts_with("paused"));
    match told {
        _ if one.lives == Some(false) => words.push("ended".to_owned()),
        Some(told) if !told.begun && !exempt => words.push("created".to_owned()),
        Some(told) if !told.guarded && !exempt => words.push("unseen".to_owned()),
        _ if stands || exempt => {}
        _ => words.push("running".to_owned()),
    }
    words
}

fn baseline(told: Option<&Told>, exempt: bool) -> String {
    let Some(told) = told.filter(|told| told.guarded && !exempt) else { return String::new() };
    match &told.baseline {
        None => "none".to_owned(),
        Some(made) => match &made.manifest {
            Some(manifest) => format!("content {}", short_digest(&manifest.to_string())),
            None => "directories".to_owned(),
        },
    }
}
