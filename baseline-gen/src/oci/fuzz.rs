//! The documents of an image, for the fuzzer.

use super::choice::{choose, choose_saved};
use super::document::{self, Config, Document, Saved};
use super::platform::Platform;

/// Every JSON document of an image.
pub fn fuzz_documents(data: &[u8]) {
    let platform = Platform::default();
    if let Ok(document) = document::parse::<Document>("fuzz", data) {
        let manifests = document.manifests.unwrap_or_default();
        match choose(&manifests, None, &platform) {
            Ok(chosen) => assert!(chosen.fits(&platform) && !chosen.is_attestation()),
            Err(why) => assert!(!why.is_empty()),
        }
        let _ = choose(&manifests, Some("a:1"), &platform);
    }
    if let Ok(config) = document::parse::<Config>("fuzz", data)
        && let Ok(diff_ids) = config.diff_ids("fuzz", 1)
    {
        assert_eq!(diff_ids.len(), 1);
    }
    if let Ok(saved) = document::parse::<Vec<Saved>>("fuzz", data)
        && let Ok(chosen) = choose_saved(saved, Some("a:1"))
    {
        assert!(chosen.tags().iter().any(|tag| tag == "a:1"));
        let _ = document::check_config_name(&chosen.config, data);
    }
}
