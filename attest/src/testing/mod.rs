//! A node whose TPM is a few lines of software: for tests, and for nothing else.

mod case;

pub use case::keep;

use std::collections::BTreeMap;

use lacre_types::{Algorithm, Digest};
use ring::rand::SystemRandom;
use ring::signature::{ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair as _};

use crate::container::{Batch, Keeper, Key, Recorded, Recorder, Secret};
use crate::evidence::{AnchorPart, ContainerPart, Evidence, ListPart, QuotePart, VERSION};
use crate::ima::{Form, write};
use crate::pcr;
use crate::tpm2::{Clock, Public, Selection};

/// The PCR that containers' lists are anchored in.
pub const PCR: u32 = 12;

/// A container on the node.
#[derive(Debug)]
pub struct Container {
    /// Its secret.
    pub secret: Secret,
    /// The number of its creation.
    pub seq: u64,
    /// Its list.
    pub list: Vec<u8>,
    recorded: Recorded,
}

/// An event of the firmware's log.
#[derive(Debug, Clone)]
pub struct BootEvent {
    /// The PCR that it names.
    pub index: u32,
    /// Its kind: 3 is not extended.
    pub kind: u32,
    /// Its digest.
    pub event: Digest,
    /// What it says.
    pub data: Vec<u8>,
}

/// A firmware's log of these events, with a bank of SHA-256.
#[must_use]
#[expect(clippy::unwrap_used, reason = "a test's event is short")]
pub fn boot_log(events: &[BootEvent]) -> Vec<u8> {
    let sized = |log: &mut Vec<u8>, bytes: &[u8]| {
        log.extend(u32::try_from(bytes.len()).unwrap().to_le_bytes());
        log.extend(bytes);
    };
    let mut log = vec![0; 28];
    log[4] = 3;
    let spec: &[u8] = &[0, 0, 0, 0, 0, 2, 0, 2, 1, 0, 0, 0, 0x0b, 0, 32, 0, 0];
    sized(&mut log, &[b"Spec ID Event03\0", spec].concat());
    for BootEvent { index, kind, event, data } in events {
        log.extend([index.to_le_bytes(), kind.to_le_bytes(), [1, 0, 0, 0]].concat());
        log.extend([0x0b, 0]);
        log.extend(event.as_bytes());
        sized(&mut log, data);
    }
    log
}

/// A node.
#[derive(Debug)]
pub struct Node {
    key: EcdsaKeyPair,
    random: SystemRandom,
    /// Its PCRs, SHA-256.
    pub pcrs: BTreeMap<u32, Digest>,
    /// Its clock.
    pub clock: Clock,
    /// The host's list, binary, its template digests SHA-1.
    pub host: Vec<u8>,
    /// How many lines that has.
    pub host_lines: u64,
    /// `aggregate`.
    pub aggregate: String,
    /// Its containers.
    pub containers: BTreeMap<String, Container>,
    /// What the firmware measured.
    pub boot: Vec<BootEvent>,
    recorder: Option<Recorder>,
    pending: Vec<([u8; 32], [u8; 32])>,
}

/// The template data of a buffer that the kernel measured.
#[must_use]
#[expect(clippy::unwrap_used, reason = "a test's buffer is short")]
pub fn ima_buf(name: &str, buffer: &[u8]) -> Vec<u8> {
    let mut data = write::ima_ng(&pcr::hash(Algorithm::Sha256, &[buffer]), name.as_bytes());
    data.extend(u32::try_from(buffer.len()).unwrap().to_le_bytes());
    data.extend(buffer);
    data
}

#[expect(clippy::unwrap_used, reason = "a test's node that can't be made fails the test")]
impl Node {
    /// A node that has booted, with a key of its own.
    #[must_use]
    pub fn boot() -> Self {
        let random = SystemRandom::new();
        let algorithm = &ECDSA_P256_SHA256_FIXED_SIGNING;
        let pkcs8 = EcdsaKeyPair::generate_pkcs8(algorithm, &random).unwrap();
        let key = EcdsaKeyPair::from_pkcs8(algorithm, pkcs8.as_ref(), &random).unwrap();
        let clock = Clock { clock: 1000, reset_count: 1, restart_count: 0, safe: true };
        let mut node = Self {
            key,
            random,
            pcrs: BTreeMap::new(),
            clock,
            host: Vec::new(),
            host_lines: 0,
            aggregate: String::new(),
            containers: BTreeMap::new(),
            boot: Vec::new(),
            recorder: None,
            pending: Vec::new(),
        };
        node.start(&[1; 32]);
        node
    }

    /// Boots it again: all lists begin anew. `firmware` is what it measures of itself.
    pub fn reboot(&mut self, firmware: &[u8]) {
        self.clock.reset_count += 1;
        self.clock.restart_count = 0;
        self.containers.clear();
        self.aggregate.clear();
        self.host.clear();
        self.host_lines = 0;
        self.start(firmware);
    }

    fn start(&mut self, firmware: &[u8]) {
        let zero = |index| (index, pcr::initial(Algorithm::Sha256, index));
        self.pcrs = (0..pcr::COUNT).map(zero).collect();
        let event = pcr::hash(Algorithm::Sha256, &[firmware]);
        (0..8).for_each(|index| self.extend(index, &event));
        self.boot = (0..8).map(|index| BootEvent { index, kind: 1, event, data: vec![] }).collect();
        self.measure(&self.boot_aggregate(), "boot_aggregate");
        let (recorder, first) = Recorder::begin(PCR, [0; 32]);
        self.recorder = Some(recorder);
        self.anchor(&first);
    }

    /// The digest of the boot's PCRs.
    #[must_use]
    pub fn boot_aggregate(&self) -> Digest {
        let values: Vec<Digest> = (0..=9).map(|index| self.pcrs[&index]).collect();
        let parts: Vec<&[u8]> = values.iter().map(Digest::as_bytes).collect();
        pcr::hash(Algorithm::Sha256, &parts)
    }

    /// Extends a PCR.
    pub fn extend(&mut self, index: u32, event: &Digest) {
        let value = self.pcrs.get_mut(&index).unwrap();
        *value = pcr::extended(value, event.as_bytes());
    }

    /// Adds a file to the host's list.
    pub fn measure(&mut self, digest: &Digest, name: &str) {
        let data = write::ima_ng(digest, name.as_bytes());
        let logged = pcr::hash(Algorithm::Sha1, &[&data]);
        self.host.extend(write::binary(10, logged.as_bytes(), b"ima-ng", &data));
        self.host_lines += 1;
        self.extend(10, &pcr::hash(Algorithm::Sha256, &[&data]));
    }

    /// Adds a buffer that the kernel measured, such as its version.
    pub fn measure_buffer(&mut self, name: &str, buffer: &[u8]) {
        let data = ima_buf(name, buffer);
        let logged = pcr::hash(Algorithm::Sha1, &[&data]);
        self.host.extend(write::binary(10, logged.as_bytes(), b"ima-buf", &data));
        self.host_lines += 1;
        self.extend(10, &pcr::hash(Algorithm::Sha256, &[&data]));
    }

    /// Makes a container.
    pub fn create(&mut self, id: &str, secret: Secret) {
        let seq = self.containers.len() as u64 + 1;
        let (recorded, event) = Recorded::create(Key::new(&secret, seq, id), PCR);
        self.pending.push(event);
        let container = Container { secret, seq, list: Vec::new(), recorded };
        self.containers.insert(id.to_owned(), container);
    }

    /// Runs a file in a container.
    pub fn run(&mut self, id: &str, digest: &Digest, name: &str) {
        let container = self.containers.get_mut(id).unwrap();
        let (entry, event) = container.recorded.file(digest, name.as_bytes());
        container.list.extend(entry);
        self.pending.push(event);
    }

    /// Runs something in a container that can't be measured.
    pub fn violate(&mut self, id: &str, name: &str) {
        let container = self.containers.get_mut(id).unwrap();
        let (entry, event) = container.recorded.violation(name.as_bytes());
        container.list.extend(entry);
        self.pending.push(event);
    }

    /// Has a container's list run out of room.
    pub fn overflow(&mut self, id: &str) {
        let container = self.containers.get_mut(id).unwrap();
        let (entry, event) = container.recorded.overflow();
        container.list.extend(entry);
        self.pending.push(event);
    }

    /// Ends a container.
    pub fn close(&mut self, id: &str) {
        let event = self.containers.get_mut(id).unwrap().recorded.close();
        self.pending.push(event);
    }

    /// Extends what containers did since, as one batch.
    pub fn flush(&mut self) {
        if !self.pending.is_empty() {
            let events = std::mem::take(&mut self.pending);
            let batch = self.recorder.as_mut().unwrap().batch(&events);
            self.anchor(&batch);
        }
    }

    fn anchor(&mut self, batch: &Batch) {
        self.aggregate.push_str(&batch.text);
        self.extend(PCR, &batch.digest(Algorithm::Sha256));
    }

    /// The attestation key's `TPMT_PUBLIC`: restricted, signing, bound to the TPM.
    #[must_use]
    pub fn ak(&self) -> Vec<u8> {
        self.ak_with(0x0005_0072)
    }

    /// The same with other attributes.
    #[must_use]
    pub fn ak_with(&self, attributes: u32) -> Vec<u8> {
        let point = self.key.public_key().as_ref();
        let mut public = Vec::new();
        public.extend([0, 0x23, 0, 0x0b]);
        public.extend(attributes.to_be_bytes());
        // No policy, no cipher; ECDSA with SHA-256 on P-256, no key derivation.
        public.extend([0, 0, 0, 0x10, 0, 0x18, 0, 0x0b, 0, 3, 0, 0x10]);
        for half in point[1..].chunks(32) {
            public.extend([0, 32]);
            public.extend(half);
        }
        public
    }

    /// The attestation key's name.
    #[must_use]
    pub fn ak_name(&self) -> Vec<u8> {
        Public::parse(&self.ak()).unwrap().name()
    }

    /// `TPMS_ATTEST` of a quote.
    #[must_use]
    pub fn attest(&self, nonce: &[u8], selection: &Selection) -> Vec<u8> {
        let mut attest = Vec::from(0xff54_4347_u32.to_be_bytes());
        attest.extend([0x80, 0x18]);
        let sized = |attest: &mut Vec<u8>, bytes: &[u8]| {
            attest.extend(u16::try_from(bytes.len()).unwrap().to_be_bytes());
            attest.extend(bytes);
        };
        sized(&mut attest, &self.ak_name());
        sized(&mut attest, nonce);
        attest.extend(self.clock.clock.to_be_bytes());
        attest.extend(self.clock.reset_count.to_be_bytes());
        attest.extend(self.clock.restart_count.to_be_bytes());
        attest.push(u8::from(self.clock.safe));
        attest.extend(1u64.to_be_bytes());
        attest.extend(u32::try_from(selection.0.len()).unwrap().to_be_bytes());
        for (bank, pcrs) in &selection.0 {
            attest.extend(crate::tpm2::id_of(*bank).to_be_bytes());
            let bits = pcrs.iter().fold(0u32, |bits, index| bits | 1 << index);
            attest.push(3);
            attest.extend(&bits.to_le_bytes()[..3]);
        }
        let value = |_, index: u32| self.pcrs.get(&index).copied();
        let digest = selection.digest(Algorithm::Sha256, value).unwrap();
        sized(&mut attest, digest.as_bytes());
        attest
    }

    /// `TPMT_SIGNATURE` by the attestation key.
    #[must_use]
    pub fn sign(&self, message: &[u8]) -> Vec<u8> {
        let signed = self.key.sign(&self.random, message).unwrap();
        let mut signature = vec![0, 0x18, 0, 0x0b];
        for half in signed.as_ref().chunks(32) {
            signature.extend([0, 32]);
            signature.extend(half);
        }
        signature
    }

    /// All that the node shows, over PCRs 0 to 12.
    #[must_use]
    pub fn evidence(&self, nonce: &[u8]) -> Evidence {
        self.evidence_over(nonce, 0..=12)
    }

    /// The same over those PCRs.
    #[must_use]
    pub fn evidence_over(
        &self,
        nonce: &[u8],
        quoted: impl IntoIterator<Item = u32> + Clone,
    ) -> Evidence {
        let selection = Selection::of(Algorithm::Sha256, quoted.clone());
        let attest = self.attest(nonce, &selection);
        let signature = self.sign(&attest);
        let list = |data: &[u8], digests, count| ListPart {
            form: Form::Binary,
            digests,
            first: 0,
            count,
            data: data.to_vec().into(),
        };
        let container = |(id, container): (&String, &Container)| ContainerPart {
            id: id.clone(),
            seq: container.seq,
            image: Some("docker.io/library/demo:1".to_owned()),
            left: false,
            list: list(&container.list, Algorithm::Sha256, None),
        };
        let pcrs = quoted.into_iter().map(|index| (index, self.pcrs[&index])).collect();
        Evidence {
            version: VERSION,
            node: "node-1".to_owned(),
            taken: 1_800_000_000,
            quote: QuotePart { attest: attest.into(), signature: signature.into() },
            ak: self.ak().into(),
            ek: None,
            pcrs: BTreeMap::from([(Algorithm::Sha256, pcrs)]),
            boot_log: Some(boot_log(&self.boot).into()),
            host: Some(list(&self.host, Algorithm::Sha1, Some(self.host_lines))),
            anchors: vec![AnchorPart {
                keeper: Keeper::Kernel,
                first: 0,
                aggregate: self.aggregate.clone().into_bytes().into(),
                containers: self.containers.iter().map(container).collect(),
            }],
        }
    }
}
