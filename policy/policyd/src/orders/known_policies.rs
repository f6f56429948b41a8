//! The policies by which it is asked whether another is stricter.

use std::sync::Arc;

use lacre_policy::Policy;
use slog::warn;

use super::gate::Gate;
use crate::policy::PolicyFile;
use crate::reloaded_file::Loaded;

impl Gate {
    /// The policy that was in force under that version.
    #[must_use]
    pub fn policy(&self, version: &str) -> Option<Arc<Policy>> {
        self.policies.get(version)
    }

    /// Keeps a policy that comes in force.
    pub fn keep_policy(&self, loaded: &Loaded<PolicyFile>) {
        let kept = self.policies.keep(&loaded.version, &loaded.policy, &loaded.text);
        if let Err(error) = kept {
            warn!(self.log, "the policy can't be kept: how strict it was is not known after a \
                restart"; "version" => &loaded.version, "error" => %error);
        }
    }
}
