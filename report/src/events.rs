//! What a reporter calls back with: policies, answers, notes.

use crate::log_note::Note;
use crate::notification::{Answer, Held};
use crate::policies::StoredPolicy;

/// Where the reporter's news go. Called on its own thread; whoever blocks here delays
/// reports, and no verdict.
pub trait Events: Send + Sync + 'static {
    /// A container's policy came, or changed. It is being stored.
    fn policy(&self, namespace: &str, container: &str, policy: &StoredPolicy);

    /// What this node shows of its logs is known not to be the truth, since `since` (seconds
    /// after 1970, by the server's clock). It is said at every registration of a container.
    fn tampered(&self, _container: &str, _since: u64) {}

    /// An order of the server about a container waits for an operator. Told once of each order.
    fn held(&self, _container: &str, _held: &Held) {}

    /// The server says what is to be done about record `number`; 0: about no record.
    /// `overrules`: it is not what the record says was done. The same answer may come twice.
    fn answer(&self, number: u64, answer: &Answer, overrules: bool, rule: &str);

    /// Something to be logged.
    fn note(&self, note: Note);
}
