//! Orders that wait for an operator, for people and for machines.

use std::io::{self, Write as _};

use lacre_proto::policy::Order;
use lacre_types::escape;
use serde_json::{Value, json};

use crate::exit::Exit;
use crate::output;

const HEAD: [&str; 6] = ["ORDER", "STATE", "SINCE", "NODES", "CONTAINERS", "WHAT"];

fn waits(order: &Order) -> bool {
    order.approved.is_empty()
}

pub(super) fn json(orders: &[Order]) -> anyhow::Result<()> {
    output::json(&orders.iter().map(value).collect::<Vec<_>>())
}

fn value(order: &Order) -> Value {
    let approved = (!waits(order))
        .then(|| json!({"at": order.approved, "by": order.by, "reason": order.reason}));
    json!({
        "order": order.id,
        "kind": order.kind,
        "what": order.what,
        "since": order.since,
        "nodes": order.nodes,
        "nodeCount": order.node_count,
        "containers": order.containers,
        "approved": approved,
    })
}

pub(super) fn people(orders: &[Order]) -> anyhow::Result<()> {
    output::table(HEAD, orders.iter().map(row))
}

fn row(order: &Order) -> [String; 6] {
    let state = if waits(order) { "HELD" } else { "approved" };
    [
        order.id.to_string(),
        state.to_owned(),
        order.since.clone(),
        order.node_count.to_string(),
        order.containers.to_string(),
        escape(order.what.as_bytes()),
    ]
}

/// Beside what was asked for, on the other stream.
pub(super) fn tell(orders: &[Order]) -> io::Result<()> {
    for order in orders.iter().filter(|order| waits(order)) {
        writeln!(io::stderr(), "lacre: {}", says(order))?;
    }
    Ok(())
}

/// Those beyond what a message carries.
pub(super) fn tell_of_more(more: u64) -> io::Result<()> {
    match more {
        0 => Ok(()),
        more => writeln!(io::stderr(), "lacre: {more} orders more, beyond what is shown"),
    }
}

fn says(order: &Order) -> String {
    format!(
        "order {0} is HELD since {1}: {2} ({3} containers of {4} nodes); to have it done: \
         lacre node approve {0} --reason TEXT",
        order.id,
        order.since,
        escape(order.what.as_bytes()),
        order.containers,
        order.node_count
    )
}

/// Those that wait and are about a node.
pub(super) fn about<'a>(orders: &'a [Order], principal: &str) -> Vec<&'a Order> {
    let named = |order: &&Order| waits(order) && order.nodes.iter().any(|node| node == principal);
    orders.iter().filter(named).collect()
}

pub(super) fn exit(orders: &[Order]) -> Exit {
    if orders.iter().any(waits) { Exit::Differs } else { Exit::Good }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_waits_is_told_from_what_was_approved() {
        let held = Order {
            id: 7,
            kind: "tampered".to_owned(),
            what: "LOG_TAMPERED of tls:a\n".to_owned(),
            since: "2026-01-01T00:00:00Z".to_owned(),
            nodes: vec!["tls:a".to_owned()],
            node_count: 1,
            containers: 25,
            ..Order::default()
        };
        let approved = Order {
            id: 8,
            approved: "2026-01-02T00:00:00Z".to_owned(),
            reason: "we looked".to_owned(),
            ..held.clone()
        };
        assert_eq!(exit(std::slice::from_ref(&approved)), Exit::Good);
        let both = [held, approved];
        assert_eq!(exit(&both), Exit::Differs);
        assert_eq!(about(&both, "tls:a").len(), 1);
        assert_eq!(about(&both, "tls:b").len(), 0);
        assert_eq!(value(&both[1])["approved"]["reason"], "we looked");
        let table = output::text(HEAD, both.iter().map(row));
        insta::assert_snapshot!(table, @r"
        ORDER  STATE     SINCE                 NODES  CONTAINERS  WHAT
        7      HELD      2026-01-01T00:00:00Z  1      25          LOG_TAMPERED of tls:a\n
        8      approved  2026-01-01T00:00:00Z  1      25          LOG_TAMPERED of tls:a\n
        ");
        assert!(says(&both[0]).contains("lacre node approve 7 --reason"));
    }
}
