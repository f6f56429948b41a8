//! All that can be wrong with a file of expectations, and with what it names.

use std::io;
use std::path::PathBuf;

use lacre_types::Digest;

use lacre_policy::ImagesError;
use lacre_types::escape;

use crate::tpm2::EkError;

/// Why expectations can't be used.
#[derive(Debug, thiserror::Error)]
pub enum ExpectError {
    /// A file can't be read.
    #[error("cannot read {}", escape(.0.as_os_str().as_encoded_bytes()))]
    Read(PathBuf, #[source] io::Error),
    /// The file itself is of another form.
    #[error("{} is not as docs/attestation.md says", escape(.0.as_os_str().as_encoded_bytes()))]
    Form(PathBuf, #[source] serde_yaml::Error),
    /// A baseline can't be used.
    #[error("the baseline {} can't be used; generate it again", escape(.0.as_os_str().as_encoded_bytes()))]
    Baseline(PathBuf, #[source] Box<dyn std::error::Error + Send + Sync>),
    /// A secret is none.
    #[error("{} is not 64 hex digits", escape(.0.as_os_str().as_encoded_bytes()))]
    Secret(PathBuf),
    /// A file holds something else than certificates.
    #[error("taking certificates from {}", escape(.0.as_os_str().as_encoded_bytes()))]
    Certificate(PathBuf, #[source] CertificateError),
    /// The makers' certificates can't be used.
    #[error("in `makers`")]
    Makers(#[source] EkError),
    /// There is no such PCR.
    #[error("there is no PCR {0}")]
    Pcr(u32),
    /// A PCR that can be set back vouches for nothing.
    #[error(
        "PCR {0} can be set back while the node runs, so that nothing that it holds is proof: choose one of 0 to 15"
    )]
    Resettable(u32),
    /// A PCR that is another's.
    #[error("in `anchors`: PCR {pcr} is {owner}; shims' lists are in one of 12 to 15")]
    Owned {
        /// Which PCR.
        pcr: u32,
        /// Whose it is.
        owner: &'static str,
    },
    /// Two kinds of lists in one PCR.
    #[error("in `anchors`: PCR {0} is another list's already, and each list needs one of its own")]
    SharedPcr(u32),
    /// A waiver without its reason.
    #[error("in `waive`: {0} needs a `reason` that says why")]
    NoReason(String),
    /// The value at a list's beginning is of another bank.
    #[error("in `anchors`: `start` is a value of the SHA-256 bank, and {0} is none")]
    Start(Digest),
    /// A program's path is none.
    #[error("{0} is no program's path")]
    Program(String),
    /// The images' names can't be told apart, or are none.
    #[error("in `images`")]
    Images(#[source] ImagesError),
}

/// Why a file's certificates can't be taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum CertificateError {
    /// It is of neither form.
    #[error(
        "it is neither PEM, -----BEGIN CERTIFICATE-----, nor DER; convert it (`openssl x509`, `openssl pkcs7 -print_certs`)"
    )]
    Neither,
    /// A block has no end.
    #[error(
        "the file ends within a certificate: copy it again, to the line -----END CERTIFICATE-----"
    )]
    Cut,
    /// The line that begins a block is not whole.
    #[error(
        "a block begins with less than a whole line; a certificate's is -----BEGIN CERTIFICATE-----"
    )]
    Begin,
    /// What is in a block is no base64.
    #[error(
        "what is between -----BEGIN CERTIFICATE----- and -----END CERTIFICATE----- is not base64: copy it again"
    )]
    Damaged,
    /// Not every block is a certificate.
    #[error(
        "{others} of its {blocks} PEM blocks is no certificate; keep only those that have -----BEGIN CERTIFICATE----- \
         at the beginning of a line and -----END CERTIFICATE----- at the beginning of another (`openssl x509` writes them so)"
    )]
    Others {
        /// How many are not.
        others: usize,
        /// How many there are.
        blocks: usize,
    },
}
