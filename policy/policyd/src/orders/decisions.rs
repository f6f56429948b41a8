//! What people decide about orders, and how orders end.

use slog::info;

use super::gate::Gate;
use super::order::{Approved, Order, What};
use crate::clock::wall;

/// Why nothing was decided.
#[derive(Debug, thiserror::Error)]
pub enum DecideError {
    /// There is no such order.
    #[error("no order {0} waits: `lacre node orders` has those that do")]
    Unknown(u64),
    /// It ends by itself when its cause does.
    #[error(
        "order {0} ends with what it came from: change the policy back, or acknowledge what the \
         node showed (`lacre node acknowledge`)"
    )]
    HasCause(u64),
    /// It would not outlast the next start of the server.
    #[error("what was decided holds until the server ends: it can't be written down")]
    Disk(#[from] std::io::Error),
    /// It has no reason.
    #[error("a reason says why, in at most 1024 characters")]
    NoReason,
}

impl Gate {
    /// Somebody decides. What was approved and is not given yet can be taken back.
    ///
    /// # Errors
    /// When there is nothing to be decided, or no reason.
    pub fn decide(
        &self,
        id: u64,
        approve: bool,
        reason: &str,
        by: &str,
    ) -> Result<(), DecideError> {
        let reason = reason.trim();
        if reason.is_empty() || reason.chars().count() > 1024 {
            return Err(DecideError::NoReason);
        }
        let approved = Approved { at: wall(), by: by.to_owned(), reason: reason.to_owned() };
        {
            let mut state = self.state();
            let open = |order: &&mut Order| {
                let answers = matches!(order.what, What::Answers { .. });
                order.id == id && (order.approved.is_none() || (answers && !approve))
            };
            let order = state.kept.orders.iter_mut().find(open).ok_or(DecideError::Unknown(id))?;
            if !approve && !matches!(order.what, What::Answers { .. }) {
                return Err(DecideError::HasCause(id));
            }
            let what = order.what.to_string();
            let shown = lacre_types::escape(reason.as_bytes());
            if approve {
                order.approved = Some(approved);
                info!(self.log, "an order is approved"; "order" => id, "what" => what,
                    "reason" => shown, "by" => by);
            } else {
                info!(self.log, "an order is dismissed"; "order" => id, "what" => what,
                    "reason" => shown, "by" => by);
                state.kept.orders.retain(|order| order.id != id);
            }
            state.changes += 1;
        }
        self.save()?;
        self.tell();
        Ok(())
    }

    /// Ends what has lost its cause: another policy is in force, or what a node showed was looked
    /// at.
    pub fn withdraw(&self, policy: &str, tampered: impl Fn(&str) -> Option<u64>) {
        let is_over = |order: &Order| match &order.what {
            What::Policy { version, .. } => version != policy,
            What::Tampered { principal, since } => tampered(principal) != Some(*since),
            What::Answers { .. } => false,
        };
        let over = {
            let mut state = self.state();
            let gathered = state.kept.gathered.len();
            state.kept.gathered.retain(|order| !is_over(order));
            state.changes += u64::from(state.kept.gathered.len() < gathered);
            self.bury(&mut state, is_over)
        };
        if over > 0 {
            self.tell();
        }
        self.save_or_say();
    }
}
