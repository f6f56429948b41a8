//! The policy file.

use std::path::Path;

use lacre_policy::{Errors, Policy};

use crate::reloaded_file::Content;

/// A policy file, read.
#[derive(Debug)]
pub struct PolicyFile {
    /// The policy.
    pub policy: Policy,
    /// What the loader warned of.
    pub warnings: Vec<String>,
    /// The file as it is.
    pub text: Vec<u8>,
}

impl Content for PolicyFile {
    const WHAT: &'static str = "policy";
    type Error = Errors;

    fn parse(file: &Path, text: &[u8]) -> Result<Self, Errors> {
        let (policy, warnings) = Policy::parse(&file.display().to_string(), text)?;
        let warnings = warnings.iter().map(ToString::to_string).collect();
        Ok(Self { policy, warnings, text: text.to_vec() })
    }
}
