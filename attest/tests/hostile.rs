//! Every parser of outside bytes, driven for a short while: noise, and good bytes with a
//! few changed.
#![allow(clippy::unwrap_used, reason = "what fails here fails the test")]

use lacre_attest::container::Secret;
use lacre_attest::fuzz;
use lacre_attest::testing::Node;
use lacre_attest::tpm2::Selection;
use lacre_types::{Algorithm, Digest};
use proptest::prelude::*;

/// Something good of each kind.
fn good() -> Vec<Vec<u8>> {
    let mut node = Node::boot();
    node.measure(&Digest::sha256([1; 32]), "/bin/sh");
    node.create("a", Secret::new([1; 32]));
    node.run("a", &Digest::sha256([1; 32]), "/bin/sh");
    node.flush();
    let attest = node.attest(b"nonce", &Selection::of(Algorithm::Sha256, 0..=12));
    let list = |form: u8, list: &[u8]| [&[form], list].concat();
    vec![
        list(0, &node.host),
        list(2, &node.containers["a"].list),
        list(1, b"10 1d8d532d463c9f8c205d0df7787669a85f93e260 ima-ng sha1:00 boot_aggregate\n"),
        node.aggregate.clone().into_bytes(),
        node.sign(&attest),
        attest,
        node.ak(),
        node.evidence(b"nonce").to_json(),
        boot_log(),
    ]
}

/// A firmware's log of one event, with a bank of SHA-256.
fn boot_log() -> Vec<u8> {
    let mut log = vec![0; 28];
    let mut spec = b"Spec ID Event03\0".to_vec();
    spec.extend([0, 0, 0, 0, 0, 2, 0, 2]);
    spec.extend([1, 0, 0, 0, 0x0b, 0, 32, 0, 0]);
    log[4] = 3;
    log.extend(u32::try_from(spec.len()).unwrap().to_le_bytes());
    log.extend(spec);
    log.extend([4, 0, 0, 0, 3, 0, 0, 0x80, 1, 0, 0, 0, 0x0b, 0]);
    log.extend([7; 32]);
    log.extend([1, 0, 0, 0, b'x']);
    log
}

fn all(data: &[u8]) {
    fuzz::fuzz_list(data);
    fuzz::fuzz_aggregate(data);
    fuzz::fuzz_boot_log(data);
    fuzz::fuzz_tpm(data);
    fuzz::fuzz_signature(data);
    fuzz::fuzz_evidence(data);
    fuzz::fuzz_seen(data);
}

proptest! {
    #[test]
    fn noise_makes_nothing_panic(data in proptest::collection::vec(any::<u8>(), 0..400)) {
        all(&data);
    }

    #[test]
    fn good_bytes_with_a_few_changed_make_nothing_panic(
        which in 0usize..9,
        changes in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..4),
        cut in any::<prop::sample::Index>(),
        whole in any::<bool>(),
    ) {
        let mut data = good().swap_remove(which);
        for (at, byte) in changes {
            let at = at.index(data.len());
            data[at] = byte;
        }
        if !whole {
            data.truncate(cut.index(data.len()));
        }
        all(&data);
    }
}

#[test]
fn a_boot_log_is_replayed() {
    let log = lacre_attest::boot::BootLog::parse(&boot_log(), Algorithm::Sha256).unwrap();
    let event = Digest::sha256([7; 32]);
    let zero = lacre_attest::pcr::initial(Algorithm::Sha256, 4);
    assert_eq!(log.pcrs()[&4], lacre_attest::pcr::extended(&zero, event.as_bytes()));
    assert!(log.has(&event, &[4].into()));
    assert!(!log.has(&event, &[5].into()));
}
