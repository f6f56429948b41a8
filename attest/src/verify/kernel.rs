//! What booted: the boot log, `boot_aggregate`, and the kernel's identity.

use std::collections::BTreeSet;

use lacre_types::{Algorithm, Digest};

use super::case::Case;
use super::finding::Finding;
use super::host::HostList;
use super::kernel_fault::KernelFault;
use super::verdict::{Answer, Question};
use crate::boot::BootLog;
use crate::container::Keeper;
use crate::pcr;
use crate::tpm2::Attest;

impl Case<'_> {
    pub(super) fn kernel(&mut self, attest: &Attest, host: Option<&HostList>) {
        let log = self.boot_log(attest);
        self.boot_aggregate(attest, host, log.as_ref().map(|(log, _)| log));
        let question = Question::Kernel;
        let Some(policy) = self.expect.kernel.as_ref() else {
            return self.not_checked(question, "no policy for the kernel was given");
        };
        let mut faults = Vec::new();
        let mut asked = false;
        if !policy.boot_aggregate.is_empty() {
            asked = true;
            match host.and_then(|host| host.boot.boot_aggregate) {
                Some(digest) if policy.boot_aggregate.contains(&digest) => {}
                Some(digest) => faults.push(KernelFault::BootAggregate(digest)),
                None => self.not_checked(question.clone(), "there is no boot_aggregate"),
            }
        }
        for (index, allowed) in &policy.pcrs {
            asked = true;
            let value = allowed.first().and_then(|digest| {
                let bank = digest.algorithm();
                attest.selection.has(bank, *index).then(|| self.evidence.pcr(bank, *index))?
            });
            match value {
                Some(value) if allowed.contains(&value) => {}
                Some(value) => faults.push(KernelFault::Pcr { index: *index, value }),
                None => self.not_checked(question.clone(), "a PCR of the policy was not quoted"),
            }
        }
        for event in &policy.boot_events {
            asked = true;
            match &log {
                Some((log, vouched)) if log.has(event, vouched) => {}
                Some(_) => faults.push(KernelFault::BootEvent(*event)),
                None => self.not_checked(question.clone(), "there is no boot log that holds"),
            }
        }
        if !policy.versions.is_empty() {
            asked = true;
            match host.map(|host| &host.boot.version) {
                Some(Some(version)) if policy.versions.contains(version) => {}
                Some(Some(version)) => faults.push(KernelFault::Version(version.clone())),
                Some(None) => faults.push(KernelFault::NoVersion),
                None => self.not_checked(question.clone(), "the host's list does not hold"),
            }
        }
        if policy.container_ima {
            asked = true;
            let brought = self.evidence.anchors.iter().any(|part| part.keeper == Keeper::Kernel);
            match self.verdict.answers.get(&Question::Aggregate(Keeper::Kernel)) {
                Some(Answer::Passed(_)) if brought => {}
                // It is there, and what is open of it stays so here: a full one, too.
                Some(Answer::NotChecked(why)) if brought => {
                    let why = why.clone();
                    self.not_checked(question.clone(), why);
                }
                _ => faults.push(KernelFault::NoContainerIma),
            }
        }
        let findings = faults.into_iter().map(Finding::Kernel).collect();
        self.find_some(&question, findings);
        let answered = self.verdict.answers.contains_key(&question);
        if !asked {
            self.not_checked(question, "the policy asks nothing of the kernel");
        } else if !answered {
            self.passed(question, "as the policy says");
        }
    }

    fn boot_aggregate(&mut self, attest: &Attest, host: Option<&HostList>, log: Option<&BootLog>) {
        let question = Question::BootAggregate;
        let Some(host) = host else {
            return self.not_checked(question, "the host's list does not hold");
        };
        let Some(digest) = host.boot.boot_aggregate else {
            return self.not_checked(question, "the list has no boot_aggregate");
        };
        let bank = digest.algorithm();
        if !boot_pcrs(bank).all(|index| attest.selection.has(bank, index)) {
            return self.not_checked(question, "PCRs 0 to 9 of its bank were not quoted");
        }
        if self.bank_is_empty(attest, bank) {
            return self.not_checked(question, format!("the firmware extended nothing of {bank}"));
        }
        match self.boot_aggregate_fits(Some(&digest)) {
            Some(true) => self.passed(question, digest.to_string()),
            Some(false) => {
                let later = self.extended_since(&digest, log);
                self.verdict.find(&question, Finding::BootAggregate { later });
            }
            None => self.not_checked(question, "PCRs 0 to 9 of its bank are not told"),
        }
    }

    /// Whether firmware left a bank alone: it extends each of PCRs 0 to 7 at least once, by a
    /// separator (TCG PC Client Platform Firmware Profile, 3.3.4.8), so that whoever runs later
    /// could extend to one that it left alone what it likes.
    fn bank_is_empty(&self, attest: &Attest, bank: Algorithm) -> bool {
        (0..=7).any(|index| {
            attest.selection.has(bank, index)
                && self.evidence.pcr(bank, index) == Some(pcr::initial(bank, index))
        })
    }

    /// Which of PCRs 8 and 9 user space has extended since the kernel began, where the firmware's
    /// log says what they were.
    fn extended_since(&self, digest: &Digest, log: Option<&BootLog>) -> Vec<u32> {
        let bank = digest.algorithm();
        let Some(log) = log.filter(|_| bank == self.expect.bank) else { return Vec::new() };
        let before = |index: u32| {
            let value = log.pcrs().get(&index).copied();
            value.unwrap_or_else(|| pcr::initial(bank, index))
        };
        let fits = |later: &&[u32]| {
            let value = |index| match later.contains(&index) {
                true => Some(before(index)),
                false => self.evidence.pcr(bank, index),
            };
            let values: Option<Vec<Digest>> = boot_pcrs(bank).map(value).collect();
            values.is_some_and(|values| {
                let parts: Vec<&[u8]> = values.iter().map(Digest::as_bytes).collect();
                pcr::hash(bank, &parts) == *digest
            })
        };
        let later: [&[u32]; 3] = [&[9], &[8], &[8, 9]];
        later.iter().copied().find(fits).unwrap_or_default().to_vec()
    }

    /// Whether a `boot_aggregate` is the digest of the boot's PCRs; `None` when they are
    /// not known (`ima_calc_boot_aggregate`: 0 to 7, since 5.8 but for SHA-1 0 to 9).
    pub(super) fn boot_aggregate_fits(&self, digest: Option<&Digest>) -> Option<bool> {
        let digest = digest?;
        let bank = digest.algorithm();
        let values: Option<Vec<Digest>> =
            boot_pcrs(bank).map(|index| self.evidence.pcr(bank, index)).collect();
        let values = values?;
        let parts: Vec<&[u8]> = values.iter().map(Digest::as_bytes).collect();
        Some(pcr::hash(bank, &parts) == *digest || pcr::hash(bank, &parts[..8]) == *digest)
    }

    /// The log, and the PCRs that vouch for its events.
    fn boot_log(&mut self, attest: &Attest) -> Option<(BootLog, BTreeSet<u32>)> {
        let question = Question::BootLog;
        // Some firmware has the file, and nothing in it.
        let Some(bytes) = self.evidence.boot_log.as_ref().filter(|bytes| !bytes.is_empty()) else {
            self.not_checked(question, "the evidence brings no boot log");
            return None;
        };
        let bank = self.expect.bank;
        let log = match BootLog::parse(bytes, bank) {
            Ok(log) => log,
            Err(why) => {
                self.verdict.find(&question, Finding::BootLogMalformed(why));
                return None;
            }
        };
        // That a log without them agrees with PCRs that were left alone tells nothing.
        if log.without() > 0 || log.pcrs().keys().all(|index| *index > 7) {
            self.not_checked(question, format!("the boot log does not tell of {bank}"));
            return None;
        }
        if self.bank_is_empty(attest, bank) {
            self.not_checked(question, format!("the firmware extended nothing of {bank}"));
            return None;
        }
        // 0 to 7 are the firmware's alone, so that those that it does not name were never
        // extended. The boot loader has 8 and 9; later ones user space extends, too.
        let compared = (0..=9).filter(|index| {
            attest.selection.has(bank, *index) && (*index <= 7 || log.pcrs().contains_key(index))
        });
        let (agreed, wrong): (BTreeSet<u32>, BTreeSet<u32>) = compared.partition(|index| {
            let value = log.pcrs().get(index).copied();
            let value = value.unwrap_or_else(|| pcr::initial(bank, *index));
            self.evidence.pcr(bank, *index) == Some(value)
        });
        if agreed.is_empty() && wrong.is_empty() {
            self.not_checked(question, "none of its PCRs was quoted");
            return None;
        }
        let count = agreed.len();
        self.find_some(&question, wrong.into_iter().map(Finding::BootLogNotReplayed).collect());
        self.passed(question, format!("{count} PCRs"));
        Some((log, agreed))
    }
}

fn boot_pcrs(bank: Algorithm) -> std::ops::RangeInclusive<u32> {
    if bank == Algorithm::Sha1 { 0..=7 } else { 0..=9 }
}
