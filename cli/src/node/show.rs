//! Nodes, for people and for machines.

use lacre_proto::attest::{Finding, Node};
use lacre_proto::policy::Order;
use lacre_types::escape;
use serde_json::{Value, json};

use super::orders;
use crate::exit::Exit;
use crate::output;

const HEAD: [&str; 6] = ["NODE", "PRINCIPAL", "STATE", "SINCE", "LAST EVIDENCE", "FINDINGS"];

pub(super) fn json(nodes: &[Node], held: &[Order]) -> anyhow::Result<()> {
    output::json(&nodes.iter().map(|node| value(node, held)).collect::<Vec<_>>())
}

fn value(node: &Node, held: &[Order]) -> Value {
    let held = orders::about(held, &node.principal).into_iter();
    let held: Vec<u64> = held.map(|order| order.id).collect();
    let told = |found: &[Finding]| {
        let told = found.iter();
        told.map(|found| json!({"finding": found.name, "note": found.note, "says": found.says}))
            .collect::<Vec<_>>()
    };
    let known = |text: &str| (!text.is_empty()).then(|| text.to_owned());
    json!({
        "node": node.node,
        "principal": node.principal,
        "state": node.state,
        "since": known(&node.since),
        "evidence": known(&node.evidence),
        "findings": told(&node.findings),
        "incident": known(&node.incident).map(|since| {
            json!({"since": since, "findings": told(&node.incident_findings)})
        }),
        "acknowledged": known(&node.acknowledged).map(|at| json!({"at": at, "reason": node.reason})),
        "held": held,
        "unchecked": node.unchecked,
        "endorsementKey": known(&node.ek),
        "attestationKey": known(&node.ak),
        "boot": node.boot,
        "lines": node.lines,
        "fresh": node.fresh,
    })
}

pub(super) fn people(nodes: &[Node], held: &[Order]) -> anyhow::Result<()> {
    output::table(HEAD, nodes.iter().map(|node| row(node, held)))
}

fn row(node: &Node, held: &[Order]) -> [String; 6] {
    let known = |text: &str| match text {
        "" => "-".to_owned(),
        text => escape(text.as_bytes()),
    };
    let mut names: Vec<&str> = node.findings.iter().map(|found| &*found.name).collect();
    names.dedup();
    // Each says its reason after the colon.
    let open = node.unchecked.iter().map(|why| why.split(": ").next().unwrap_or(why));
    let open: Vec<&str> = open.collect();
    let open = (!open.is_empty()).then(|| format!("not checked: {}", open.join(" ")));
    let found = (!names.is_empty()).then(|| names.join(" "));
    let mut incident: Vec<&str> = node.incident_findings.iter().map(|found| &*found.name).collect();
    incident.dedup();
    let incident = (!node.incident.is_empty())
        .then(|| format!("to look at since {}: {}", node.incident, incident.join(" ")));
    let held = orders::about(held, &node.principal).into_iter();
    let held = held.map(|order| format!("order {} is HELD", order.id));
    let findings = found.into_iter().chain(open).chain(incident).chain(held);
    let findings = findings.collect::<Vec<_>>().join("; ");
    let state = match &*node.state {
        "untrusted" => "UNTRUSTED",
        state => state,
    };
    [
        known(&node.node),
        known(&node.principal),
        known(state),
        known(&node.since),
        known(&node.evidence),
        known(&findings),
    ]
}

/// As `lacre attest verify` ends, for the worst of them. Of no node nothing was shown.
pub(super) fn exit(nodes: &[Node]) -> Exit {
    if nodes.iter().any(|node| node.state == "untrusted" || !node.incident.is_empty()) {
        Exit::Differs
    } else if !nodes.is_empty() && nodes.iter().all(|node| node.state == "trusted") {
        Exit::Good
    } else {
        Exit::Failed
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn node(name: &str, state: &str, findings: &[&str]) -> Node {
        let found = |name: &&str| Finding { name: (*name).to_owned(), ..Finding::default() };
        Node {
            principal: format!("tls:{name}"),
            node: name.to_owned(),
            state: state.to_owned(),
            since: "2026-01-01T00:00:00Z".to_owned(),
            findings: findings.iter().map(found).collect(),
            ..Node::default()
        }
    }

    #[test]
    fn a_node_is_a_line_whatever_it_calls_itself() {
        let bad = Node {
            evidence: "2026-01-02T00:00:00Z".to_owned(),
            ..node("a", "untrusted", &["LOG_EDITED", "LOG_EDITED", "REBOOTED"])
        };
        let unchecked = vec!["kernel: no policy was given".to_owned()];
        let open = Node { unchecked, ..node("b\n\u{1b}[2J", "unproven", &[]) };
        let unchecked = vec!["boot-log: none".to_owned(), "kernel: none".to_owned()];
        let both = Node { unchecked, ..node("c", "unproven", &["REBOOTED"]) };
        let new = Node { since: String::new(), ..node("", "unenrolled", &[]) };
        let table = output::text(HEAD, [bad, open, both, new].iter().map(|node| row(node, &[])));
        assert!(!table.contains('\u{1b}') && table.lines().count() == 5, "{table}");
        insta::assert_snapshot!(table, @r"
        NODE          PRINCIPAL         STATE       SINCE                 LAST EVIDENCE         FINDINGS
        a             tls:a             UNTRUSTED   2026-01-01T00:00:00Z  2026-01-02T00:00:00Z  LOG_EDITED REBOOTED
        b\n\u{1b}[2J  tls:b\n\u{1b}[2J  unproven    2026-01-01T00:00:00Z  -                     not checked: kernel
        c             tls:c             unproven    2026-01-01T00:00:00Z  -                     REBOOTED; not checked: boot-log kernel
        -             tls:              unenrolled  -                     -                     -
        ");
    }

    #[test]
    fn the_worst_decides_how_it_ends() {
        let state = |state| node("n", state, &[]);
        assert_eq!(exit(&[]), Exit::Failed);
        assert_eq!(exit(&[state("trusted"), state("trusted")]), Exit::Good);
        assert_eq!(exit(&[state("trusted"), state("stale")]), Exit::Failed);
        assert_eq!(exit(&[state("unproven"), state("untrusted")]), Exit::Differs);
        let incident = "2026-01-01T00:00:00Z".to_owned();
        let looked = Node { incident, ..state("trusted") };
        assert!(row(&looked, &[])[5].starts_with("to look at since 2026-01-01"));
        assert_eq!(exit(&[looked]), Exit::Differs);
    }
}
