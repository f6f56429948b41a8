//! Entries for fuzzing: each takes any bytes, and fails by panicking.

use lacre_types::{CanonicalPath, ViolationKind};

use crate::{Effective, Policy, Subject};

/// Reads a policy; one that is taken decides, and its effective form reads back.
#[allow(clippy::expect_used, reason = "a fuzz entry fails by panicking")]
pub fn fuzz_policy(data: &[u8]) {
    match Policy::parse("fuzz.yaml", data) {
        Ok((policy, warnings)) => {
            for warning in warnings {
                let _ = warning.to_string();
            }
            let subject =
                Subject { container_id: "web", image_name: Some("a"), ..Subject::default() };
            let path = CanonicalPath::new("/data/x").ok();
            let effective = policy.effective(&subject);
            let read = Effective::from_json(&effective.to_json()).expect("own bytes read back");
            assert_eq!(effective, read);
            for kind in ViolationKind::ALL {
                let decided = policy.decide(&subject, *kind, path.as_ref());
                assert_eq!(decided, read.decide(*kind, path.as_ref()));
            }
        }
        Err(errors) => {
            assert!(!errors.diagnostics.is_empty());
            assert!(!errors.to_string().is_empty());
        }
    }
}

/// Reads an effective policy, as a node does with a server's bytes.
#[allow(clippy::expect_used, reason = "a fuzz entry fails by panicking")]
pub fn fuzz_effective(data: &[u8]) {
    if let Ok(effective) = Effective::from_json(data) {
        let again = Effective::from_json(&effective.to_json()).expect("own bytes read back");
        assert_eq!(effective, again);
    }
}
