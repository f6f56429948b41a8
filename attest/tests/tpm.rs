//! The layer that talks to a TPM, against a simulator.
#![allow(clippy::unwrap_used, reason = "what fails here fails the test")]

mod common;

use std::time::{Duration, Instant, SystemTime};

use common::{Slow, Swtpm};
use lacre_attest::pcr;
use lacre_attest::tpm::{KeyKind, Tpm, TpmError};
use lacre_attest::tpm2::{
    Attest, EkError, EkRoots, Public, Selection, ak_suitable, make_credential, verify, verify_ek,
};
use lacre_types::{Algorithm, Digest};

fn now() -> u64 {
    SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap().as_secs()
}

#[test]
fn a_quote_is_signed_over_nonce_and_pcrs() {
    let swtpm = Swtpm::new();
    let tpm = swtpm.open();
    for (parent, kind) in [
        (KeyKind::Rsa2048, KeyKind::EccP256),
        (KeyKind::EccP256, KeyKind::EccP256),
        (KeyKind::Rsa2048, KeyKind::Rsa2048),
    ] {
        let ak = tpm.create_ak(parent, kind).unwrap();
        let event = Digest::sha256([7; 32]);
        tpm.extend(12, vec![event]).unwrap();
        let selection = Selection::of(Algorithm::Sha256, [0, 10, 12]);
        let quote = tpm.quote(b"nonce", &selection).unwrap();
        let public = Public::parse(&ak.public).unwrap();
        ak_suitable(&public).unwrap();
        assert_eq!(verify(&public, &quote.attest, &quote.signature), Ok(Algorithm::Sha256));
        let attest = Attest::parse(&quote.attest).unwrap();
        assert_eq!(attest.nonce, b"nonce");
        assert_eq!(attest.selection, selection);
        let value = |bank, index| quote.pcrs.get(&bank)?.get(&index).copied();
        let digest = attest.selection.digest(Algorithm::Sha256, value).unwrap();
        assert_eq!(digest.as_bytes(), attest.pcr_digest);

        let mut forged = quote.attest.clone();
        *forged.last_mut().unwrap() ^= 1;
        assert!(verify(&public, &forged, &quote.signature).is_err());
    }
    let read = tpm.read(&Selection::of(Algorithm::Sha256, [12])).unwrap();
    let event = [7; 32];
    let once = pcr::extended(&pcr::initial(Algorithm::Sha256, 12), &event);
    let thrice = pcr::extended(&pcr::extended(&once, &event), &event);
    assert_eq!(read[&Algorithm::Sha256][&12], thrice);
}

#[test]
fn a_credential_opens_only_in_the_tpm_that_has_both_keys() {
    let swtpm = Swtpm::new();
    let tpm = swtpm.open();
    let other = Swtpm::other();
    let other = other.open();
    for kind in [KeyKind::EccP256, KeyKind::Rsa2048] {
        let ek = Public::parse(&tpm.endorsement(kind).unwrap().public).unwrap();
        let ak = tpm.create_ak(kind, KeyKind::EccP256).unwrap();
        let name = Public::parse(&ak.public).unwrap().name();
        let secret = b"a secret of thirty-two bytes....";
        let credential = make_credential(&ek, &name, secret).unwrap();
        assert_eq!(tpm.activate(&credential).unwrap(), secret);

        other.create_ak(kind, KeyKind::EccP256).unwrap();
        assert!(matches!(other.activate(&credential), Err(TpmError::Refused { .. })));
        // The right TPM, another key.
        tpm.create_ak(kind, KeyKind::EccP256).unwrap();
        assert!(matches!(tpm.activate(&credential), Err(TpmError::Refused { .. })));
        // The key again, as it was kept.
        tpm.load_ak(&ak).unwrap();
        assert_eq!(tpm.activate(&credential).unwrap(), secret);
        assert!(matches!(other.load_ak(&ak), Err(TpmError::Refused { .. })));
    }
}

#[test]
fn an_endorsement_key_leads_to_its_maker() {
    let swtpm = Swtpm::new();
    let tpm = swtpm.open();
    let endorsement = tpm.endorsement(KeyKind::Rsa2048).unwrap();
    let ek = Public::parse(&endorsement.public).unwrap();
    let certificate = endorsement.certificate.unwrap();
    let [root, issuer] = swtpm.authorities();
    let roots = EkRoots::new([root.as_slice()]).unwrap();
    let chain = [certificate.as_slice(), issuer.as_slice()];
    assert_eq!(verify_ek(&ek, &chain, &roots, now()), Ok(()));
    // As some makers' NV indexes have it.
    for padding in [0xff, 0] {
        let padded = [&certificate[..], &[padding; 400]].concat();
        let chain = [padded.as_slice(), issuer.as_slice()];
        assert_eq!(verify_ek(&ek, &chain, &roots, now()), Ok(()), "{padding}");
    }

    let ecc = tpm.endorsement(KeyKind::EccP256).unwrap();
    let ecc = Public::parse(&ecc.public).unwrap();
    assert_eq!(verify_ek(&ecc, &chain, &roots, now()), Err(EkError::OtherKey));
    assert_eq!(verify_ek(&ek, &[], &roots, now()), Err(EkError::Missing));
    let [other, _] = Swtpm::other().authorities();
    let others = EkRoots::new([other.as_slice()]).unwrap();
    assert!(matches!(verify_ek(&ek, &chain, &others, now()), Err(EkError::Chain(_))));
    assert!(matches!(verify_ek(&ek, &chain[..1], &roots, now()), Err(EkError::Chain(_))));
}

#[test]
fn a_tpm_that_is_not_there_is_told_at_once() {
    let start = Instant::now();
    for tcti in ["device:/dev/lacre-none", "swtpm:host=127.0.0.1,port=1"] {
        let error = Tpm::open(tcti, Duration::from_secs(30)).unwrap_err();
        assert!(matches!(error, TpmError::Absent { .. }), "{error:?}");
    }
    for tcti in ["swtpm:path=/run/x", "mssim:host=a,port=1", "", "device:tpm0"] {
        assert!(matches!(Tpm::open(tcti, Duration::from_secs(1)), Err(TpmError::Tcti(_))));
    }
    assert!(start.elapsed() < Duration::from_secs(20));
}

#[test]
fn a_tpm_that_goes_away_is_told_and_can_be_opened_again() {
    let mut swtpm = Swtpm::new();
    let tpm = swtpm.open();
    tpm.create_ak(KeyKind::EccP256, KeyKind::EccP256).unwrap();
    swtpm.kill();
    let selection = Selection::of(Algorithm::Sha256, [10]);
    let error = tpm.quote(b"n", &selection).unwrap_err();
    assert!(matches!(error, TpmError::Gone { .. }), "{error:?}");
    let error = tpm.read(&selection).unwrap_err();
    assert!(matches!(error, TpmError::Gone { .. }), "{error:?}");
    swtpm.restart();
    swtpm.open().read(&selection).unwrap();
}

#[test]
fn a_tpm_that_does_not_answer_makes_nobody_wait_for_ever() {
    let swtpm = Swtpm::new();
    let tpm = swtpm.open();
    let selection = Selection::of(Algorithm::Sha256, [10]);
    tpm.read(&selection).unwrap();
    let deadline = Duration::from_secs(1);
    let tpm = tpm.with_deadline(deadline);
    let signal = |name: &str| {
        let pid = swtpm.pid().to_string();
        assert!(std::process::Command::new("kill").args([name, &pid]).status().unwrap().success());
    };
    signal("-STOP");
    let error = tpm.read(&selection).unwrap_err();
    assert!(matches!(error, TpmError::TimedOut { .. }), "{error:?}");
    // While that answer is owed others are refused at once, and not done later.
    let start = Instant::now();
    let error = tpm.extend(16, vec![Digest::sha256([1; 32])]).unwrap_err();
    assert!(matches!(error, TpmError::Busy { .. }), "{error:?}");
    assert!(start.elapsed() < deadline);
    signal("-CONT");
    let until = Instant::now() + Duration::from_secs(30);
    let unused = Selection::of(Algorithm::Sha256, [16]);
    let read = loop {
        match tpm.read(&unused) {
            Ok(read) => break read,
            Err(_) => assert!(Instant::now() < until, "it answers again, and so do we"),
        }
    };
    assert_eq!(read[&Algorithm::Sha256][&16], pcr::initial(Algorithm::Sha256, 16));
}

#[test]
fn a_slow_tpm_is_waited_for_no_longer_than_asked() {
    let swtpm = Swtpm::new();
    let slow = Slow::before(&swtpm);
    let selection = Selection::of(Algorithm::Sha256, [10]);
    let patient = Tpm::open(&slow.tcti(), Duration::from_secs(60)).unwrap();
    patient.create_ak(KeyKind::EccP256, KeyKind::EccP256).unwrap();
    slow.by(Duration::from_millis(500));
    let start = Instant::now();
    patient.quote(b"nonce", &selection).unwrap();
    assert!(start.elapsed() >= Duration::from_millis(500));
    slow.by(Duration::ZERO);
    drop(patient);

    let hasty = Tpm::open(&slow.tcti(), Duration::from_secs(20)).unwrap();
    hasty.create_ak(KeyKind::EccP256, KeyKind::EccP256).unwrap();
    slow.by(Duration::from_secs(3600));
    let hasty = hasty.with_deadline(Duration::from_millis(200));
    let start = Instant::now();
    let error = hasty.quote(b"nonce", &selection).unwrap_err();
    assert!(matches!(error, TpmError::TimedOut { .. }), "{error:?}");
    assert!(start.elapsed() < Duration::from_secs(10));
}

/// How long things take, for docs/attestation.md: `cargo test -p lacre-attest --release
/// --test tpm -- --ignored --nocapture`.
#[test]
#[ignore = "prints figures, and holds to none"]
fn figures() {
    let swtpm = Swtpm::new();
    let tpm = swtpm.open();
    let time = |what: &str, count: u32, run: &mut dyn FnMut()| {
        let start = Instant::now();
        (0..count).for_each(|_| run());
        println!("{what:<40} {:>8.2} ms", start.elapsed().as_secs_f64() * 1e3 / f64::from(count));
    };
    let selection = Selection::of(Algorithm::Sha256, 0..=12);
    for kind in [KeyKind::EccP256, KeyKind::Rsa2048] {
        time(&format!("endorsement key, {kind:?}"), 1, &mut || drop(tpm.endorsement(kind)));
        time(&format!("attestation key, {kind:?}"), 1, &mut || drop(tpm.create_ak(kind, kind)));
        let mut quote = None;
        time(&format!("quote over 13 PCRs, {kind:?}"), 50, &mut || {
            quote = tpm.quote(b"nonce", &selection).ok();
        });
        let (ak, quote) = (tpm.create_ak(kind, kind).unwrap(), quote.unwrap());
        let public = Public::parse(&ak.public).unwrap();
        time("  its signature and parts checked", 200, &mut || {
            let _ = verify(&public, &quote.attest, &quote.signature);
            let _ = Attest::parse(&quote.attest);
        });
        let ek = Public::parse(&tpm.endorsement(kind).unwrap().public).unwrap();
        let name = public.name();
        time("  credential made", 20, &mut || drop(make_credential(&ek, &name, &[7; 32])));
    }
    time("extend of one PCR", 200, &mut || tpm.extend(12, vec![Digest::sha256([1; 32])]).unwrap());
}
