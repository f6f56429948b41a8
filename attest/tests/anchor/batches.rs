//! Batches that break off, and what else extends the PCR.

use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use lacre_attest::tpm::{Extend, JournalError, TpmError};

use super::*;

/// A PCR that fails when it is told to: before it extends, or after.
#[derive(Clone)]
struct Flaky(Arc<Mutex<(Digest, Option<bool>)>>);

impl Flaky {
    fn new(value: Digest) -> Self {
        Self(Arc::new(Mutex::new((value, None))))
    }
}

impl Extend for Flaky {
    fn extend(&mut self, _: u32, events: Vec<Digest>) -> Result<(), TpmError> {
        let mut state = self.0.lock().unwrap();
        let failed = Err(TpmError::TimedOut { doing: "extend a PCR", after: Duration::ZERO });
        let fails = state.1.take();
        if fails == Some(false) {
            return failed;
        }
        let event = events.iter().find(|event| event.algorithm() == Algorithm::Sha256).unwrap();
        state.0 = pcr::extended(&state.0, event.as_bytes());
        if fails == Some(true) { failed } else { Ok(()) }
    }

    fn value(&mut self, _: u32) -> Result<Digest, TpmError> {
        Ok(self.0.lock().unwrap().0)
    }
}

/// What the journal's aggregate comes to.
fn replayed(journal: &Journal) -> Digest {
    let state = lacre_attest::container::Aggregate::new([Algorithm::Sha256]);
    let text = journal.read().unwrap();
    *state.replay(&text, None).unwrap().state.value(Algorithm::Sha256).unwrap()
}

#[test]
fn a_batch_that_broke_off_is_anchored_once() {
    for start in [0, 3] {
        for extended in [false, true] {
            for before in 0..3u8 {
                let folder = tempfile::tempdir().unwrap();
                let journal = Journal::open(folder.path(), PCR, &[]).unwrap();
                let mut pcr = Flaky::new(digest(start));
                for n in 0..before {
                    journal.anchor(&mut pcr, &[([n; 32], [n; 32])]).unwrap();
                }
                pcr.0.lock().unwrap().1 = Some(extended);
                let event = [([9; 32], [9; 32])];
                let broken = journal.anchor(&mut pcr, &event).unwrap_err();
                assert!(matches!(broken, JournalError::Tpm(_)));
                journal.anchor(&mut pcr, &event).unwrap();
                assert_eq!(replayed(&journal), pcr.value(PCR).unwrap());
                let text = String::from_utf8(journal.read().unwrap()).unwrap();
                let tag = "09".repeat(32);
                assert_eq!(text.matches(&format!(" {tag} {tag}")).count(), 1, "{text}");
            }
        }
    }
}

#[test]
fn what_else_extends_the_pcr_is_told() {
    let folder = tempfile::tempdir().unwrap();
    let journal = Journal::open(folder.path(), PCR, &[]).unwrap();
    let mut pcr = Flaky::new(digest(0));
    journal.anchor(&mut pcr, &[([1; 32], [1; 32])]).unwrap();
    pcr.0.lock().unwrap().1 = Some(false);
    journal.anchor(&mut pcr, &[([2; 32], [2; 32])]).unwrap_err();
    pcr.extend(PCR, vec![digest(66)]).unwrap();
    let diverged = journal.anchor(&mut pcr, &[([2; 32], [2; 32])]).unwrap_err();
    assert!(matches!(diverged, JournalError::Diverged { .. }), "{diverged}");
}

#[test]
fn a_tpm_that_comes_back_gets_what_waited() {
    let mut swtpm = Swtpm::new();
    let folder = tempfile::tempdir().unwrap();
    let journal = Journal::open(&folder.path().join("j"), PCR, &[]).unwrap();
    let tcti = swtpm.tcti();
    swtpm.kill();
    let pcr = lacre_attest::tpm::PcrOf::new(tcti, Duration::from_secs(5));
    let anchor = Anchor::start(journal.clone(), pcr).unwrap();
    let (mut list, _) = anchor.create("a", &Secret::new([1; 32])).unwrap();
    list.push(&digest(1), b"/bin/a").unwrap();
    let until = Instant::now() + DEADLINE;
    let failure = loop {
        assert!(!anchor.wait(Duration::from_millis(20)), "there is no TPM");
        if let Some(failure) = anchor.anchored().failure {
            break failure;
        }
        assert!(Instant::now() < until);
    };
    assert_eq!(anchor.anchored().waiting, 2);
    assert!(failure.contains("there is no TPM"), "{failure}");
    swtpm.restart_at_same_port();
    assert!(anchor.wait(DEADLINE), "{:?}", anchor.anchored());
    drop(anchor);
    let read = swtpm.open().read(&Selection::of(Algorithm::Sha256, [PCR])).unwrap();
    assert_eq!(read[&Algorithm::Sha256][&PCR], replayed(&journal));
    assert!(Path::new(&journal.aggregate()).exists());
}
