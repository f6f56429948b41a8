//! The entry of each parser of outside bytes, for a fuzzer. None may panic, and none may
//! take memory or time out of proportion to its input.

use lacre_types::Algorithm;

use crate::boot::BootLog;
use crate::container::Aggregate;
use crate::enrol::{Activated, Admission, Challenge, Enrol, Pending, Proof};
use crate::evidence::Evidence;
use crate::ima::{Form, Stream};
use crate::replay::Replay;
use crate::tpm2::{Attest, EkRoots, Public, make_credential, verify, verify_ek};
use crate::verify::{Expectations, Seen, verify as verify_evidence};

/// A measurement list, in the form that the first byte says.
pub fn fuzz_list(data: &[u8]) {
    let Some((first, list)) = data.split_first() else { return };
    let form = if first & 1 == 0 { Form::Binary } else { Form::Ascii };
    let digests = if first & 2 == 0 { Algorithm::Sha1 } else { Algorithm::Sha256 };
    let mut stream = Stream::new(form, digests);
    let mut replay = Replay::new([Algorithm::Sha1, Algorithm::Sha256]);
    for piece in list.chunks(usize::from(*first).max(1)) {
        let fed = stream.feed(piece, |_, entry| {
            let _ = replay.push(entry, digests);
            let _ = (entry.name(), entry.file_digest(), entry.container(), entry.buffer());
        });
        if fed.is_err() {
            return;
        }
    }
    let _ = stream.finish();
    assert_eq!(replay.lines, stream.lines());
}

/// An `aggregate`.
pub fn fuzz_aggregate(data: &[u8]) {
    let state = Aggregate::new([Algorithm::Sha256]);
    let Ok(whole) = state.replay(data, None) else { return };
    // What it comes to, it agrees with.
    let value = whole.state.value(Algorithm::Sha256).copied();
    let again = state.replay(data, value.as_ref());
    assert!(again.is_ok_and(|again| again.agrees));
}

/// A firmware's event log.
pub fn fuzz_boot_log(data: &[u8]) {
    let _ = BootLog::parse(data, Algorithm::Sha256);
}

/// What a TPM says: a quote, a key, a signature by it.
pub fn fuzz_tpm(data: &[u8]) {
    let _ = Attest::parse(data);
    if let Ok(key) = Public::parse(data) {
        let _ = verify(&key, data, data);
        let _ = make_credential(&key, &key.name(), &[0; 16]);
    }
}

/// A signature and a certificate, under a sound key.
pub fn fuzz_signature(data: &[u8]) {
    let mut public = vec![0, 0x23, 0, 0x0b, 0, 5, 0, 0x72];
    public.extend([0, 0, 0, 0x10, 0, 0x18, 0, 0x0b, 0, 3, 0, 0x10, 0, 1, 1, 0, 1, 1]);
    if let Ok(key) = Public::parse(&public) {
        let _ = verify(&key, b"message", data);
        let roots = EkRoots::new([data]).unwrap_or_default();
        let _ = verify_ek(&key, &[data, data], &roots, 0);
    }
}

/// An evidence file, verified against nothing: whatever it says, it is not trusted.
pub fn fuzz_evidence(data: &[u8]) {
    let Ok(evidence) = Evidence::parse(data) else { return };
    let verified = verify_evidence(&evidence, &Expectations::default(), None, 0);
    assert_ne!(verified.verdict.conclusion(), crate::verify::Conclusion::Trusted);
}

/// What a node and a verifier say to each other: whatever is said, no node is enrolled
/// whose TPM was not admitted.
pub fn fuzz_enrol(data: &[u8]) {
    if let Ok(enrol) = serde_json::from_slice::<Enrol>(data) {
        assert!(Pending::begin(&enrol, &Admission::default(), [0; 32], 0).is_err());
    }
    let _ = serde_json::from_slice::<Proof>(data);
    let _ = serde_json::from_slice::<Activated>(data);
    let _ = serde_json::from_slice::<Challenge>(data);
}

/// What a verifier kept.
pub fn fuzz_seen(data: &[u8]) {
    let _ = serde_json::from_slice::<Seen>(data);
}
