//! From where on a node evidence is gathered.

use std::path::PathBuf;

use super::journal::Journal;

/// Where a node's lists are.
#[derive(Debug, Clone)]
pub struct Places {
    /// IMA's folder in securityfs.
    pub ima: PathBuf,
    /// What others have exported of the host's list, and had the kernel delete, in the order of
    /// its lines (`CONFIG_IMA_STAGING`).
    pub exported: Vec<PathBuf>,
    /// Where this agent keeps the host's list, of a kernel that may delete lines; on a file system
    /// that a reboot empties.
    pub copy: Option<PathBuf>,
    /// The firmware's event log.
    pub boot_log: PathBuf,
    /// The journal of the lists that shims keep.
    pub journal: Option<Journal>,
    /// The folder of the kernel's lists that have ended ([`crate::container::final_list`]).
    pub ended: Option<PathBuf>,
}

impl Default for Places {
    fn default() -> Self {
        Self {
            ima: "/sys/kernel/security/ima".into(),
            exported: Vec::new(),
            copy: None,
            boot_log: "/sys/kernel/security/tpm0/binary_bios_measurements".into(),
            journal: None,
            ended: None,
        }
    }
}
