//! What a TPM 2.0 says and signs, as bytes (TCG TPM 2.0 Library, Part 2), and the checks
//! that need no TPM: signatures, names, PCR digests, credentials.

mod algorithm;
mod attest;
mod certificate;
mod credential;
mod der;
mod ek;
mod key;
mod keys;
mod oaep;
mod reader;
mod signature;
mod spki;

pub use algorithm::id_of;
pub use attest::{Attest, Clock, Selection};
pub use credential::{Credential, CredentialError, make_credential};
pub use ek::{ChainError, EkError, EkRoots, verify_ek, without_padding};
pub use keys::{Public, Unsuitable, ak_suitable};
pub use reader::Malformed;
pub use signature::{SignatureError, verify};
