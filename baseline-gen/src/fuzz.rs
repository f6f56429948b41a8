//! The entry of each parser of outside bytes, for a fuzzer. None may panic, and none may
//! take memory out of proportion to its input.

use lacre_types::CanonicalPath;

use crate::layer::Layer;
use crate::tar::{Wanted, scan_tar};
use crate::{Baseline, NoProgress, Options};

/// A baseline file: opened, verified, looked through, whether or not it verifies.
pub fn fuzz_baseline(data: &[u8]) {
    let Ok(baseline) = Baseline::from_bytes(data.to_vec()) else { return };
    let sound = baseline.verify().is_ok();
    let read = baseline.files().flatten().count() + baseline.links().flatten().count();
    assert!(!sound || read == baseline.files().len() + baseline.links().len());
    for entry in baseline.files().take(16).flatten() {
        if let Ok(path) = CanonicalPath::new(entry.path) {
            let _ = baseline.entry(&path);
        }
    }
    let _ =
        baseline.entry(&CanonicalPath::new("/bin/../bin/sh").unwrap_or_else(|_| unreachable!()));
}

/// A layer in the cache.
pub fn fuzz_layer_cache(data: &[u8]) {
    let _ = Layer::decode(data);
}

/// The tar of a layer.
pub fn fuzz_layer_tar(data: &[u8]) {
    let _ = scan_tar(data, &Wanted::new(), &Options::default(), &NoProgress);
}

/// A layer's blob, packed in whatever way, under limits that a fuzzer reaches.
pub fn fuzz_layer_blob(data: &[u8]) {
    let mut options = Options::default();
    options.limits.layer_bytes = 1 << 20;
    let digest = lacre_types::Digest::sha256(crate::hash::sha256(data));
    let owned = data.to_vec();
    let open = move || Ok(Box::new(std::io::Cursor::new(owned.clone())) as Box<dyn std::io::Read>);
    let blob = (digest, data.len() as u64);
    let _ = crate::oci::scan_blob("fuzz", &open, Some(&blob), &digest, &options, &NoProgress);
}
