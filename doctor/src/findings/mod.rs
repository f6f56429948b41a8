//! What is, what follows, and how to mend it: from the facts, and from nothing else.

mod daemons;
mod finding;
mod kernel;
mod node;
mod sources;

use crate::facts::Facts;

pub use finding::{Area, Finding, State};
pub(crate) use node::SOON;

/// All that there is to say.
#[must_use]
pub fn findings(facts: &Facts) -> Vec<Finding> {
    let mut all = kernel::findings(facts);
    all.extend(sources::findings(facts));
    all.extend(daemons::containerd(facts));
    all.extend(daemons::docker(facts));
    all.extend(node::lacre(facts));
    all.extend(node::policy(facts));
    all
}

/// The worst of it.
#[must_use]
pub fn worst(findings: &[Finding]) -> State {
    findings.iter().map(|finding| finding.state).max().unwrap_or(State::Ok)
}

#[cfg(test)]
mod tests;
