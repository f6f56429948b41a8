//! What reads bytes from outside, for the fuzzer: none of it may panic.

use prost::Message;

use crate::images::{Document, Platform, with_diff_ids};
use crate::wire;

/// An index or a manifest, then the same bytes as a config.
pub fn fuzz_manifest(data: &[u8]) {
    if let Ok(Document::Manifest { layers, .. }) = Document::read(data, &Platform::here()) {
        let count = layers.len();
        if let Ok(layers) = with_diff_ids(layers, data) {
            assert_eq!(layers.len(), count);
        }
    }
    crate::image_content::fuzz(data);
}

/// Every kind of answer.
pub fn fuzz_answers(data: &[u8]) {
    let _ = wire::OneContainer::decode(data).map(|a| a.container.map(crate::Container::from));
    let _ = wire::Containers::decode(data);
    let _ = wire::Images::decode(data);
    let _ = wire::Snapshots::decode(data);
    let _ = wire::Mounts::decode(data);
    let _ = wire::Tasks::decode(data).map(|a| a.tasks.into_iter().map(crate::Task::from).count());
    let _ = wire::ContentPart::decode(data);
    let _ = wire::Plugins::decode(data);
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn no_bytes_make_it_panic(data in proptest::collection::vec(any::<u8>(), 0..300)) {
            super::fuzz_manifest(&data);
            super::fuzz_answers(&data);
        }

        #[test]
        fn no_json_makes_it_panic(data in r#"(\{|\}|\[|\]|"manifests":|"layers":|"config":|"digest":|"rootfs":|"diff_ids":|"sha256:[a-f0-9]{64}"|,|[0-9]{1,20}){0,24}"#) {
            super::fuzz_manifest(data.as_bytes());
        }
    }
}
