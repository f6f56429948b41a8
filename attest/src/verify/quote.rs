//! The quote itself: who signed what, when.

use super::case::Case;
use super::finding::Finding;
use super::verdict::{Answer, Question};
use crate::tpm2::{Attest, Public, ak_suitable, verify, verify_ek};

impl Case<'_> {
    /// The quote, when a TPM's key signed it and its values are known: whatever else is
    /// wrong with it, lists can then be held against it.
    pub(super) fn quote(&mut self, now: u64) -> Option<Attest> {
        let attest = self.signed()?;
        self.endorsement(now);
        self.nonce(&attest, now);
        let values = self.pcrs(&attest);
        self.clock(&attest);
        values.then_some(attest)
    }

    fn signed(&mut self) -> Option<Attest> {
        let quote = &self.evidence.quote;
        let key = match Public::parse(&self.evidence.ak) {
            Ok(key) => key,
            Err(why) => {
                let finding = Finding::KeyMalformed { which: "attestation", why };
                self.verdict.find(&Question::Quote, finding);
                return None;
            }
        };
        self.attestation_key(&key);
        if let Err(why) = ak_suitable(&key) {
            self.verdict.find(&Question::Quote, Finding::KeyUnsuitable(why));
            return None;
        }
        if let Err(why) = verify(&key, &quote.attest, &quote.signature) {
            self.verdict.find(&Question::Quote, Finding::QuoteSignature(why));
            return None;
        }
        match Attest::parse(&quote.attest) {
            Ok(attest) => {
                self.passed(Question::Quote, "signed by a restricted key");
                Some(attest)
            }
            Err(why) => {
                self.verdict.find(&Question::Quote, Finding::QuoteMalformed(why));
                None
            }
        }
    }

    fn attestation_key(&mut self, key: &Public) {
        let question = Question::AttestationKey;
        match &self.expect.ak_name {
            Some(name) if *name == key.name() => self.passed(question, "the enrolled one"),
            Some(_) => self.verdict.find(&question, Finding::OtherKey),
            None => self.not_checked(question, "no enrolled key was given"),
        }
    }

    fn endorsement(&mut self, now: u64) {
        let question = Question::Endorsement;
        let Some(roots) = &self.expect.ek_roots else {
            let enrolled =
                self.expect.enrolled && self.verdict.has_passed(&Question::AttestationKey);
            return self.verdict.answer(
                question,
                match enrolled {
                    true => Answer::Waived("it was checked when the key was enrolled".into()),
                    false => Answer::NotChecked("no makers' root certificates were given".into()),
                },
            );
        };
        let Some(ek) = &self.evidence.ek else {
            let finding = Finding::Endorsement(crate::tpm2::EkError::Missing);
            return self.verdict.find(&question, finding);
        };
        let key = match Public::parse(&ek.public) {
            Ok(key) => key,
            Err(why) => {
                let finding = Finding::KeyMalformed { which: "endorsement", why };
                return self.verdict.find(&question, finding);
            }
        };
        let chain: Vec<&[u8]> = ek.chain.iter().map(|der| &**der).collect();
        match verify_ek(&key, &chain, roots, now) {
            Ok(()) => self.passed(question, "its certificate leads to a trusted maker"),
            Err(why) => self.verdict.find(&question, Finding::Endorsement(why)),
        }
    }

    fn nonce(&mut self, attest: &Attest, now: u64) {
        let question = Question::Nonce;
        let Some(nonce) = &self.expect.nonce else {
            return self.not_checked(question, "no nonce was given");
        };
        if attest.nonce != *nonce.value {
            return self.verdict.find(&question, Finding::NonceMismatch);
        }
        let age = nonce.issued.map(|issued| now.saturating_sub(issued));
        match age {
            Some(age) if age > nonce.good_for => {
                let finding = Finding::NonceStale { age, limit: nonce.good_for };
                self.verdict.find(&question, finding);
            }
            Some(age) => self.passed(question, format!("handed out {age} s ago")),
            None => self.passed(question, "matches; its age was not asked"),
        }
    }

    fn pcrs(&mut self, attest: &Attest) -> bool {
        let question = Question::Pcrs;
        let expected = &self.expect.selection;
        if !attest.selection.covers(expected) {
            let (expected, got) = (expected.clone(), attest.selection.clone());
            self.verdict.find(&question, Finding::SelectionOther { expected, got });
        }
        let value = |bank, index| self.evidence.pcr(bank, index);
        // The digest is in the signing scheme's hash, which has been checked to be no SHA-1;
        // its length says which.
        let same = lacre_types::Algorithm::ALL
            .iter()
            .filter(|hash| hash.len() == attest.pcr_digest.len() && hash.len() >= 32)
            .filter_map(|hash| attest.selection.digest(*hash, value))
            .any(|digest| digest.as_bytes() == attest.pcr_digest);
        if same {
            self.passed(question, attest.selection.to_string());
        } else {
            self.verdict.find(&question, Finding::PcrValues);
        }
        same
    }

    /// Part 1, 36: a reset starts the counter of restarts anew. Within a boot the clock never
    /// goes back; a power cut may have it repeat what it had not written down.
    fn clock(&mut self, attest: &Attest) {
        let question = Question::Clock;
        let Some(seen) = self.seen else {
            let why = "the node was not seen before".into();
            return self.verdict.answer(question, Answer::Waived(why));
        };
        let (then, clock) = (&seen.clock, &attest.clock);
        if clock.reset_count < then.reset_count {
            // A TPM that was cleared counts anew, and so do the lists.
            self.rebooted = true;
            return self.verdict.find(&question, Finding::ClockWentBack("reset counter"));
        }
        let resets = clock.reset_count - then.reset_count;
        if resets == 0 && clock.restart_count < then.restart_count {
            return self.verdict.find(&question, Finding::ClockWentBack("restart counter"));
        }
        if resets == 0 && clock.clock < then.clock {
            return self.verdict.find(&question, Finding::ClockWentBack("clock"));
        }
        let restarts = match resets {
            0 => clock.restart_count - then.restart_count,
            _ => clock.restart_count,
        };
        self.rebooted = resets > 0;
        if resets > 0 || restarts > 0 {
            self.verdict.find(&question, Finding::Rebooted { resets, restarts });
        }
        self.passed(question, format!("boot {}, {} ms", clock.reset_count, clock.clock));
    }
}
