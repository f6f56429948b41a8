//! The limit of whatever waits for a virtual machine.

use std::time::Duration;

/// Nothing takes longer in an emulated machine, be its host busy; the test's own limit is
/// later.
pub(super) const SOON: Duration = Duration::from_secs(300);
