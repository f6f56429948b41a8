//! What lacre asks of a TPM: keys, quotes, credentials, PCRs.

use std::collections::BTreeMap;
use std::path::Path;
use std::str::FromStr as _;

use lacre_types::{Algorithm, Digest};
use serde::{Deserialize, Serialize};
use tss_esapi::abstraction::{AsymmetricAlgorithmSelection, ak, ek, pcr};
use tss_esapi::attributes::SessionAttributesBuilder;
use tss_esapi::constants::SessionType;
use tss_esapi::handles::{AuthHandle, KeyHandle, PcrHandle, SessionHandle};
use tss_esapi::interface_types::algorithm::{
    AsymmetricAlgorithm, HashingAlgorithm, SignatureSchemeAlgorithm,
};
use tss_esapi::interface_types::ecc::EccCurve;
use tss_esapi::interface_types::key_bits::RsaKeyBits;
use tss_esapi::interface_types::session_handles::PolicySession;
use tss_esapi::structures::{
    Data, DigestValues, EncryptedSecret, IdObject, PcrSelectionList, PcrSlot, Private, Public,
    SignatureScheme, SymmetricDefinition,
};
use tss_esapi::traits::{Marshall as _, UnMarshall as _};
use tss_esapi::{Context, Error, TctiNameConf};

use super::error::TpmError;
use crate::bytes::Blob;
use crate::tpm2::{Attest, Credential, Selection, without_padding};

/// How often a quote is tried while other programs extend the PCRs.
const TRIES: u32 = 8;

/// PCR values by bank and index.
pub type Pcrs = BTreeMap<Algorithm, BTreeMap<u32, Digest>>;

/// The kinds of key that lacre makes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum KeyKind {
    /// ECDSA with SHA-256 on P-256: the quicker one.
    EccP256,
    /// RSASSA with SHA-256 and 2048 bits, for TPMs whose maker certified no other.
    Rsa2048,
}

/// An endorsement key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Endorsement {
    /// Its `TPMT_PUBLIC`.
    pub public: Vec<u8>,
    /// Its certificate (DER), where the TPM holds one.
    pub certificate: Option<Vec<u8>>,
}

/// An attestation key, as it is kept: the private part is encrypted to the TPM.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AttestationKey {
    /// Its kind.
    pub kind: KeyKind,
    /// The kind of the endorsement key that it stands beneath.
    pub parent: KeyKind,
    /// Its `TPMT_PUBLIC`.
    pub public: Blob,
    /// Its `TPM2B_PRIVATE`, without its length.
    pub private: Blob,
}

/// What a TPM signed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Quote {
    /// `TPMS_ATTEST`.
    pub attest: Vec<u8>,
    /// `TPMT_SIGNATURE`.
    pub signature: Vec<u8>,
    /// The values that it is over.
    pub pcrs: Pcrs,
}

/// Parsed here: the crate takes `swtpm:path=…` for its default, and connects elsewhere.
pub(super) fn parse_tcti(text: &str) -> Result<TctiNameConf, TpmError> {
    let wrong = || TpmError::Tcti(text.chars().take(256).collect());
    let (name, rest) = text.split_once(':').ok_or_else(wrong)?;
    let good = match name {
        "device" => Path::new(rest).is_absolute(),
        "swtpm" => {
            let (host, port) = rest.split_once(',').ok_or_else(wrong)?;
            host.starts_with("host=")
                && port.strip_prefix("port=").is_some_and(|port| port.parse::<u16>().is_ok())
        }
        _ => false,
    };
    if !good {
        return Err(wrong());
    }
    TctiNameConf::from_str(text).map_err(|_| wrong())
}

/// What the thread owns.
pub(super) struct State {
    context: Context,
    ek: Option<(KeyKind, KeyHandle)>,
    ak: Option<KeyHandle>,
}

/// Says what was being done, when libtss2 only says what went wrong.
fn tss<T>(doing: &'static str, done: Result<T, Error>) -> Result<T, TpmError> {
    done.map_err(|error| TpmError::from_tss(doing, error))
}

impl State {
    pub(super) fn open(tcti: TctiNameConf) -> Result<Self, Error> {
        Ok(Self { context: Context::new(tcti)?, ek: None, ak: None })
    }

    fn ek(&mut self, kind: KeyKind) -> Result<KeyHandle, Error> {
        match self.ek {
            Some((loaded, handle)) if loaded == kind => return Ok(handle),
            Some((_, handle)) => {
                self.ek = None;
                self.context.flush_context(handle.into())?;
            }
            None => {}
        }
        let algorithm = match kind {
            KeyKind::EccP256 => AsymmetricAlgorithm::Ecc,
            KeyKind::Rsa2048 => AsymmetricAlgorithm::Rsa,
        };
        let handle = ek::create_ek_object(&mut self.context, algorithm, None)?;
        self.ek = Some((kind, handle));
        Ok(handle)
    }

    pub(super) fn endorsement(&mut self, kind: KeyKind) -> Result<Endorsement, TpmError> {
        const DOING: &str = "make its endorsement key";
        let handle = tss(DOING, self.ek(kind))?;
        let (public, _, _) = tss(DOING, self.context.read_public(handle))?;
        let public = tss(DOING, public.marshall())?;
        let selection = match kind {
            KeyKind::EccP256 => AsymmetricAlgorithmSelection::Ecc(EccCurve::NistP256),
            KeyKind::Rsa2048 => AsymmetricAlgorithmSelection::Rsa(RsaKeyBits::Rsa2048),
        };
        let certificate = match ek::retrieve_ek_pubcert(&mut self.context, selection) {
            Ok(certificate) => Some(without_padding(&certificate).to_vec()),
            Err(error) => match TpmError::from_tss("read its certificate", error) {
                gone @ TpmError::Gone { .. } => return Err(gone),
                _ => None,
            },
        };
        Ok(Endorsement { public, certificate })
    }

    pub(super) fn create_ak(
        &mut self,
        parent: KeyKind,
        kind: KeyKind,
    ) -> Result<AttestationKey, TpmError> {
        const DOING: &str = "make an attestation key";
        let ek = tss(DOING, self.ek(parent))?;
        let scheme = match kind {
            KeyKind::EccP256 => SignatureSchemeAlgorithm::EcDsa,
            KeyKind::Rsa2048 => SignatureSchemeAlgorithm::RsaSsa,
        };
        let hash = HashingAlgorithm::Sha256;
        let made = tss(DOING, ak::create_ak(&mut self.context, ek, hash, scheme, None, None))?;
        let key = AttestationKey {
            kind,
            parent,
            public: tss(DOING, made.out_public.marshall())?.into(),
            private: made.out_private.value().to_vec().into(),
        };
        self.load_ak(&key)?;
        Ok(key)
    }

    pub(super) fn load_ak(&mut self, key: &AttestationKey) -> Result<(), TpmError> {
        const DOING: &str = "load its attestation key";
        if let Some(handle) = self.ak.take() {
            tss(DOING, self.context.flush_context(handle.into()))?;
        }
        let parent = tss(DOING, self.ek(key.parent))?;
        let public = tss(DOING, Public::unmarshall(&key.public))?;
        let private = tss(DOING, Private::try_from(key.private.to_vec()))?;
        let loaded = ak::load_ak(&mut self.context, parent, None, private, public);
        self.ak = Some(tss(DOING, loaded)?);
        Ok(())
    }

    pub(super) fn activate(&mut self, credential: &Credential) -> Result<Vec<u8>, TpmError> {
        const DOING: &str = "activate a credential";
        let no_key = TpmError::NoKey { doing: DOING };
        let (Some(ak), Some((_, ek))) = (self.ak, self.ek) else { return Err(no_key) };
        tss(DOING, self.activate_with(ak, ek, credential))
    }

    fn activate_with(
        &mut self,
        ak: KeyHandle,
        ek: KeyHandle,
        credential: &Credential,
    ) -> Result<Vec<u8>, Error> {
        let blob = IdObject::try_from(credential.id_object.to_vec())?;
        let secret = EncryptedSecret::try_from(credential.encrypted_secret.to_vec())?;
        let cipher = SymmetricDefinition::AES_128_CFB;
        let hash = HashingAlgorithm::Sha256;
        let start = |context: &mut Context, kind| {
            let session = context.start_auth_session(None, None, None, kind, cipher, hash)?;
            let session = session
                .ok_or(Error::WrapperError(tss_esapi::WrapperErrorKind::WrongValueFromTpm))?;
            let (attributes, mask) = SessionAttributesBuilder::new().build();
            context.tr_sess_set_attributes(session, attributes, mask)?;
            Ok::<_, Error>(session)
        };
        let auth = start(&mut self.context, SessionType::Hmac)?;
        let policy = start(&mut self.context, SessionType::Policy)?;
        let activate = || {
            // The endorsement key's own policy (EK Credential Profile, B.3.3).
            self.context.execute_with_nullauth_session(|context| {
                context.policy_secret(
                    PolicySession::try_from(policy)?,
                    AuthHandle::Endorsement,
                    Default::default(),
                    Default::default(),
                    Default::default(),
                    None,
                )
            })?;
            self.context.execute_with_sessions((Some(auth), Some(policy), None), |context| {
                context.activate_credential(ak, ek, blob, secret)
            })
        };
        let done = activate();
        for session in [auth, policy] {
            let _ = self.context.flush_context(SessionHandle::from(session).into());
        }
        Ok(done?.value().to_vec())
    }

    pub(super) fn quote(&mut self, nonce: &[u8], selection: &Selection) -> Result<Quote, TpmError> {
        const DOING: &str = "quote its PCRs";
        let ak = self.ak.ok_or(TpmError::NoKey { doing: DOING })?;
        let nonce = tss(DOING, Data::try_from(nonce.to_vec()))?;
        let list = tss(DOING, list(selection))?;
        for _ in 0..TRIES {
            let quoted = self.context.execute_with_nullauth_session(|context| {
                context.quote(ak, nonce.clone(), SignatureScheme::Null, list.clone())
            });
            let (attest, signature) = tss(DOING, quoted)?;
            let attest = tss(DOING, attest.marshall())?;
            let signature = tss(DOING, signature.marshall())?;
            let pcrs = self.read(selection)?;
            let parsed = Attest::parse(&attest).map_err(|_| TpmError::Answer("quote"))?;
            let value = |bank, index| pcrs.get(&bank)?.get(&index).copied();
            let own = |hash| parsed.selection.digest(hash, value);
            // The scheme's hash is not known here; the digest's length tells it.
            let hash = Algorithm::ALL.iter().find(|hash| hash.len() == parsed.pcr_digest.len());
            let same = hash.and_then(|hash| own(*hash));
            if same.is_some_and(|digest| digest.as_bytes() == parsed.pcr_digest) {
                return Ok(Quote { attest, signature, pcrs });
            }
        }
        Err(TpmError::Restless(TRIES))
    }

    pub(super) fn read(&mut self, selection: &Selection) -> Result<Pcrs, TpmError> {
        const DOING: &str = "read its PCRs";
        let list = tss(DOING, list(selection))?;
        let data = tss(
            DOING,
            self.context.execute_without_session(|context| pcr::read_all(context, list)),
        )?;
        let mut pcrs = Pcrs::new();
        for (bank, indices) in &selection.0 {
            let read = data.pcr_bank(hashing(*bank)).ok_or(TpmError::Answer("bank"))?;
            for index in indices {
                let slot = PcrSlot::try_from(1 << index).map_err(|_| TpmError::Answer("PCR"))?;
                let value = read.get_digest(slot).ok_or(TpmError::Answer("PCR"))?;
                let digest = Digest::new(*bank, value.value()).ok_or(TpmError::Answer("digest"))?;
                pcrs.entry(*bank).or_default().insert(*index, digest);
            }
        }
        Ok(pcrs)
    }

    pub(super) fn extend(&mut self, index: u32, events: &[Digest]) -> Result<(), TpmError> {
        const DOING: &str = "extend a PCR";
        let mut values = DigestValues::new();
        for event in events {
            let bytes = event.as_bytes().to_vec();
            let digest = tss(DOING, tss_esapi::structures::Digest::try_from(bytes))?;
            values.set(hashing(event.algorithm()), digest);
        }
        // An ESYS_TR below 32 is the PCR of that number (ESAPI specification, 7).
        let handle = tss(DOING, PcrHandle::try_from(index))?;
        tss(
            DOING,
            self.context
                .execute_with_nullauth_session(|context| context.pcr_extend(handle, values)),
        )
    }
}

const fn hashing(algorithm: Algorithm) -> HashingAlgorithm {
    match algorithm {
        Algorithm::Sha1 => HashingAlgorithm::Sha1,
        Algorithm::Sha256 => HashingAlgorithm::Sha256,
        Algorithm::Sha384 => HashingAlgorithm::Sha384,
        Algorithm::Sha512 => HashingAlgorithm::Sha512,
    }
}

fn list(selection: &Selection) -> Result<PcrSelectionList, Error> {
    let mut list = PcrSelectionList::builder();
    for (bank, indices) in &selection.0 {
        let slots = indices.iter().map(|index| PcrSlot::try_from(1u32.wrapping_shl(*index)));
        list = list.with_selection(hashing(*bank), &slots.collect::<Result<Vec<_>, _>>()?);
    }
    list.build()
}
