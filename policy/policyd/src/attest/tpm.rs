//! Which TPM is which, and whose it may be.

use std::collections::BTreeMap;

use lacre_attest::enrol::NodeState;

use super::config::Config;
use super::error::{NODES, Refused};
use super::record::Record;

/// Which TPM it is: its key, whatever name whoever shows it has made of it. Of nodes that enrolled
/// before that was kept, the name.
pub(super) struct Tpm<'a> {
    pub(super) name: &'a [u8],
    pub(super) key: Option<&'a [u8]>,
}

impl<'a> Tpm<'a> {
    pub(super) fn of(known: &'a NodeState) -> Self {
        Self { name: &known.ek_name, key: known.ek_key.as_deref() }
    }

    fn is(&self, other: &Self) -> bool {
        match (self.key, other.key) {
            (Some(own), Some(other)) => own == other,
            _ => self.name == other.name,
        }
    }
}

pub(super) fn may_enrol(
    nodes: &BTreeMap<String, Record>,
    config: &Config,
    principal: &str,
    tpm: &Tpm<'_>,
) -> Result<(), Refused> {
    if !config.may_have(principal, tpm.name) {
        return Err(Refused::NotItsTpm(principal.to_owned()));
    }
    let is = |record: &Record| Tpm::of(&record.known).is(tpm);
    if nodes.get(principal).is_some_and(|record| !is(record)) {
        return Err(Refused::OtherTpm);
    }
    let same = nodes.values().find(|record| record.principal != principal && is(record));
    match same {
        Some(other) => Err(Refused::OtherNode(other.principal.clone())),
        None if nodes.len() >= NODES && !nodes.contains_key(principal) => Err(Refused::Full),
        None => Ok(()),
    }
}
