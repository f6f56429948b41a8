//! The same image gives the same bytes, whichever way it is looked at.
#![allow(clippy::unwrap_used, reason = "what fails here fails the test")]

mod common;

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt as _;
use std::path::PathBuf;

use common::{Op, Overlay, Pack};
use lacre_baseline::{
    Baseline, NoProgress, Options, Platform, Reference, compare, from_content_store, from_lower,
    from_oci, from_rootfs,
};
use lacre_types::CanonicalPath;
use proptest::prelude::*;

fn path() -> impl Strategy<Value = String> {
    let name = prop::sample::select(&["a", "b", "a-", "x.py", "lib"][..]);
    prop::collection::vec(name, 1..4).prop_map(|parts| parts.join("/"))
}

fn target() -> impl Strategy<Value = String> {
    let part = prop::sample::select(&["a", "b", "..", "lib", "x.py", "."][..]);
    (any::<bool>(), prop::collection::vec(part, 1..4))
        .prop_map(|(root, parts)| format!("{}{}", if root { "/" } else { "" }, parts.join("/")))
}

fn op() -> impl Strategy<Value = Op> {
    prop_oneof![
        4 => (path(), any::<u8>(), any::<bool>())
            .prop_map(|(path, content, executable)| Op::File { path, content, executable }),
        1 => (path(), target()).prop_map(|(path, target)| Op::Symlink { path, target }),
        1 => (path(), path()).prop_map(|(path, target)| Op::HardLink { path, target }),
        1 => (path(), any::<bool>()).prop_map(|(path, opaque)| Op::Dir { path, opaque }),
        1 => path().prop_map(|path| Op::Whiteout { path }),
        1 => path().prop_map(|path| Op::Fifo { path }),
    ]
}

fn assert_same(what: &str, a: &Baseline, b: &Baseline) {
    assert_eq!(compare(a, b).unwrap(), [], "{what}");
    assert_eq!(a.canonical_bytes(), b.canonical_bytes(), "{what}");
    assert_eq!(a.digest(), b.digest(), "{what}");
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 96, max_shrink_iters: 400, failure_persistence: None, ..Default::default() })]

    #[test]
    fn the_origin_leaves_no_trace(
        layers in prop::collection::vec(prop::collection::vec(op(), 0..14), 1..5),
    ) {
        let temp = tempfile::tempdir().unwrap();
        let bottom_up: Vec<PathBuf> = (0..layers.len())
            .map(|index| temp.path().join(format!("layer{index}")))
            .collect();
        for (dir, ops) in bottom_up.iter().zip(&layers) {
            common::materialise(dir, ops);
        }
        let lower: Vec<PathBuf> = bottom_up.iter().rev().cloned().collect();
        let options = Options::default();
        let merged = from_lower(&lower, &options, &NoProgress).unwrap();
        merged.verify().unwrap();

        // An overlay needs two lower directories.
        let empty = temp.path().join("empty");
        std::fs::create_dir(&empty).unwrap();
        let mut stack = lower.clone();
        stack.push(empty);
        let mount = Overlay::mount(&temp.path().join("merged"), &stack);
        let walked =
            from_rootfs(&temp.path().join("merged"), &options, &NoProgress).unwrap();
        drop(mount);
        assert_same("a mounted overlay", &merged, &walked);

        let packs = [Pack::Gzip, Pack::Plain, Pack::Zstd];
        let tars: Vec<_> = bottom_up
            .iter()
            .zip(packs.into_iter().cycle())
            .map(|(dir, how)| (common::tar_of(dir), how))
            .collect();
        let oci = temp.path().join("oci");
        let manifest = common::layout(&oci, &tars);
        let read = from_oci(&oci, &Reference::default(), None, &options, &NoProgress).unwrap();
        assert_same("an OCI layout", &merged, &read);
        let stored = from_content_store(
            &oci, &manifest.parse().unwrap(), &Platform::default(), None, &options, &NoProgress,
        ).unwrap();
        let provenance = stored.provenance().unwrap().unwrap();
        prop_assert_eq!(provenance.layers().len(), layers.len());
        for entry in stored.files().flatten() {
            let layer = stored.layer_of(&CanonicalPath::new(entry.path).unwrap()).unwrap();
            prop_assert_eq!(provenance.layers().nth(layer.index.into()), Some(layer.diff_id));
            // Whole files only: the topmost layer that has it as it is.
            let from = bottom_up[usize::from(layer.index)].join(OsStr::from_bytes(&entry.path[1..]));
            prop_assert_eq!(std::fs::symlink_metadata(from).unwrap().len(), entry.size);
        }
        assert_same("a content store", &merged, &stored);
    }
}
