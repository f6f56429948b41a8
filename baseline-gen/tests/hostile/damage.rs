//! Any bytes, and good bytes with damage.

use lacre_baseline::{Baseline, NoProgress, Options, from_rootfs, fuzz};
use proptest::prelude::*;
use tar::EntryType;

use crate::common::{self, Pack};
use crate::{file, member, pax};

proptest! {
    #![proptest_config(ProptestConfig { cases: 512, failure_persistence: None, ..Default::default() })]

    #[test]
    fn no_bytes_make_a_parser_panic(data in prop::collection::vec(any::<u8>(), 0..2000)) {
        fuzz::fuzz_baseline(&data);
        fuzz::fuzz_layer_cache(&data);
        fuzz::fuzz_node_index(&data);
        fuzz::fuzz_documents(&data);
        fuzz::fuzz_kind(&data);
        fuzz::fuzz_layer_tar(&data);
        fuzz::fuzz_layer_blob(&data);
    }

    #[test]
    fn no_damage_to_a_tar_makes_it_panic(
        at in any::<prop::sample::Index>(), byte in any::<u8>(), cut in any::<prop::sample::Index>(),
    ) {
        let mut tar = [
            pax(&[("path", b"a/b.sh")]), file(b"x"),
            member(EntryType::GNULongName, b"l", b"", b"d/long.py\0"), file(b"y"),
            member(EntryType::Symlink, b"l", b"a/../d", b""), file(b"l/.wh.z"),
            member(EntryType::Link, b"h.py", b"a/b.sh", b""), vec![0; 1024],
        ].concat();
        let at = at.index(tar.len());
        tar[at] = byte;
        // Right again, or the checksum alone would be tested.
        let start = at - at % 512;
        let mut header = tar::Header::new_gnu();
        header.as_mut_bytes().copy_from_slice(&tar[start..start + 512]);
        header.set_cksum();
        tar[start..start + 512].copy_from_slice(header.as_bytes());
        let cut = cut.index(tar.len() + 1);
        fuzz::fuzz_layer_tar(&tar);
        fuzz::fuzz_layer_tar(&tar[..cut]);
        fuzz::fuzz_layer_blob(&common::pack(&tar, Pack::Gzip)[..cut.min(40)]);
    }

    #[test]
    fn no_damage_to_a_baseline_makes_it_panic(
        at in any::<prop::sample::Index>(), byte in any::<u8>(), cut in any::<prop::sample::Index>(),
    ) {
        let temp = tempfile::tempdir().unwrap();
        common::write(&temp.path().join("bin/a.sh"), b"", 0o644);
        std::os::unix::fs::symlink("bin/a.sh", temp.path().join("sh")).unwrap();
        let good = from_rootfs(temp.path(), &Options::default(), &NoProgress).unwrap();
        let mut bytes = good.as_bytes().to_vec();
        let at = at.index(bytes.len());
        prop_assume!(bytes[at] != byte);
        bytes[at] = byte;
        fuzz::fuzz_baseline(&bytes);
        fuzz::fuzz_baseline(&bytes[..cut.index(bytes.len())]);
        let noticed = Baseline::from_bytes(bytes).and_then(|damaged| damaged.verify());
        prop_assert!(noticed.is_err(), "byte {at}");
    }
}
