//! What nodes and people are told of orders.

use std::fmt::Write as _;
use std::time::{Duration, Instant};

use lacre_proto::policy::{Held, Order as Shown, OrdersResponse};
use protobuf::Message as _;

use super::gate::Gate;
use super::order::Order;
use super::window::Target;

/// How often the log says again that orders wait.
const AGAIN: Duration = Duration::from_secs(600);

/// Bytes of a message with orders: ttrpc carries 4 MiB.
const MOST: u64 = 7 << 19;

/// What is left of the nodes and the reason of an order where not all fits.
const NAMED: usize = 64;
const REASON: usize = 64;

impl Gate {
    /// What that node's version ends in, so that it asks again when it is to be told otherwise.
    #[must_use]
    pub fn mark(&self, principal: &str) -> String {
        let state = self.state();
        let mut mark = String::new();
        for order in state.kept.orders.iter().filter(|order| order.concerns(principal)) {
            let is = if order.approved.is_some() { "approved" } else { "held" };
            let _ = write!(mark, "+{is}@{}", order.id);
        }
        if state.settled.contains(principal) {
            mark.push_str("+settled");
        }
        mark
    }

    /// The orders about a container that wait.
    #[must_use]
    pub fn held(&self, target: &Target) -> Vec<Held> {
        let state = self.state();
        let waits = |order: &&Order| order.approved.is_none() && order.targets.contains(target);
        state.kept.orders.iter().filter(waits).map(|order| order.held(target)).collect()
    }

    /// All orders, for those who ask.
    #[must_use]
    pub fn list(&self) -> Vec<Shown> {
        self.state().kept.orders.iter().map(Order::show).collect()
    }

    /// The same, as much as fits a message.
    #[must_use]
    pub fn response(&self) -> OrdersResponse {
        fit(self.list())
    }

    /// Says again what waits, once in a while.
    pub fn remind(&self) {
        let mut state = self.state();
        if state.said.is_some_and(|said| said.elapsed() < AGAIN) {
            return;
        }
        state.said = Some(Instant::now());
        for order in state.kept.orders.iter().filter(|order| order.approved.is_none()) {
            self.say(order, "an order waits for an operator");
        }
    }
}

/// Leaves out what does not fit a message: names and reasons first, then what was approved, then
/// what came last.
fn fit(mut orders: Vec<Shown>) -> OrdersResponse {
    let size = |orders: &[Shown]| -> u64 {
        // With what stands before each in the message.
        orders.iter().map(|order| order.compute_size() + 8).sum()
    };
    for names in [NAMED, 1] {
        if size(&orders) <= MOST {
            break;
        }
        for order in &mut orders {
            order.nodes.truncate(names);
            order.reason = order.reason.chars().take(REASON).collect();
        }
    }
    if size(&orders) > MOST {
        orders.sort_by_key(|order| !order.approved.is_empty());
    }
    let (all, mut left) = (orders.len(), MOST);
    let fits = orders.iter().take_while(|order| {
        let fits = left.checked_sub(order.compute_size() + 8);
        left = fits.unwrap_or(0);
        fits.is_some()
    });
    let fitting = fits.count();
    orders.truncate(fitting);
    OrdersResponse { orders, more: (all - fitting) as u64, ..OrdersResponse::default() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fleet_s_orders_fit_a_message() {
        let order = |id: u64| Shown {
            id,
            kind: "answers".to_owned(),
            what: format!("answers that overrule tls:spiffe://example.org/node/{id}"),
            since: "2026-11-22T12:00:00Z".to_owned(),
            nodes: vec![format!("tls:spiffe://example.org/node/{id}"); 10],
            approved: if id.is_multiple_of(2) {
                "2026-11-22T12:00:00Z".to_owned()
            } else {
                String::new()
            },
            reason: "x".repeat(1024),
            ..Shown::default()
        };
        let fitted = fit((0..100).map(order).collect());
        assert_eq!((fitted.orders.len(), fitted.more), (100, 0));
        assert_eq!(fitted.orders[7], order(7), "whole where there is room");
        let fitted = fit((0..30_000).map(order).collect());
        assert!(fitted.compute_size() < 4 << 20, "{}", fitted.compute_size());
        assert_eq!(fitted.orders.len() as u64 + fitted.more, 30_000);
        assert!(fitted.more > 0 && fitted.orders[0].approved.is_empty());
    }
}
