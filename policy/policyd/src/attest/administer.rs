//! What somebody who administers the server says of nodes.

use slog::info;

use super::error::Refused;
use super::nodes::Book;
use crate::clock::wall;

impl Book {
    /// The principal that is meant.
    fn find(&self, name: &str) -> Result<String, Refused> {
        let nodes = self.nodes();
        if nodes.contains_key(name) {
            return Ok(name.to_owned());
        }
        let mut called = nodes.values().filter(|record| record.known.node == name);
        match (called.next(), called.next()) {
            (Some(one), None) => Ok(one.principal.clone()),
            (Some(_), Some(_)) => Err(Refused::Ambiguous(name.to_owned())),
            (None, _) => Err(Refused::Unknown(name.to_owned())),
        }
    }

    pub(super) fn challenge(&self, name: &str) -> Result<(), Refused> {
        let principal = self.find(name)?;
        if let Some(record) = self.nodes().get_mut(&principal) {
            record.due = 0;
        }
        self.tell();
        Ok(())
    }

    /// Notes that somebody has looked at what a node showed, and what it was.
    pub(super) fn acknowledge(&self, name: &str, reason: &str, who: &str) -> Result<(), Refused> {
        let reason = reason.trim();
        if reason.is_empty() || reason.chars().count() > 1024 {
            return Err(Refused::NoReason);
        }
        let principal = self.find(name)?;
        let open = self.change(&principal, |record| record.acknowledge(reason, wall()))?;
        if !open {
            return Err(Refused::NoIncident(principal));
        }
        info!(self.log, "an incident is acknowledged"; "principal" => &principal,
            "reason" => lacre_types::escape(reason.as_bytes()), "by" => who);
        Ok(())
    }

    pub(super) fn forget(&self, name: &str) -> Result<(), Refused> {
        let principal = self.find(name)?;
        {
            let mut nodes = self.nodes();
            // Another TPM, or none known, is no answer to what this one showed.
            if nodes.get(&principal).is_some_and(|record| record.incident().is_some()) {
                return Err(Refused::Incident(principal));
            }
            nodes.remove(&principal);
        }
        info!(self.log, "a node is forgotten"; "principal" => &principal);
        let saved = self.save(&principal);
        self.tell();
        saved
    }
}
