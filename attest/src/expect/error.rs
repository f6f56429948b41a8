use std::io;
use std::path::PathBuf;

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
    /// A certificate is none.
    #[error("{} is no certificate", escape(.0.as_os_str().as_encoded_bytes()))]
    Certificate(PathBuf),
    /// The makers' certificates can't be used.
    #[error("in `makers`")]
    Makers(#[source] EkError),
    /// There is no such PCR.
    #[error("there is no PCR {0}")]
    Pcr(u32),
    /// A program's path is none.
    #[error("{0} is no program's path")]
    Program(String),
    /// The images' names can't be told apart, or are none.
    #[error("in `images`")]
    Images(#[source] ImagesError),
}
