//! Why the server does not do what a node, or who administers, asks of attestation.

/// The most nodes.
pub(super) const NODES: usize = 16_384;

/// Why something is not done.
#[derive(Debug, thiserror::Error)]
pub(super) enum Refused {
    #[error("no node is called {0}: `lacre node list` has their names")]
    Unknown(String),
    #[error("more than one node is called {0}: name its principal")]
    Ambiguous(String),
    #[error(
        "this node is enrolled with another TPM: if that is right, let the server forget it \
         (`lacre node forget`)"
    )]
    OtherTpm,
    #[error(
        "the inventory has another TPM for {0}, or none: it enrols with the endorsement key that \
         stands there (`inventory`; `lacre-attestd keys` tells a TPM's)"
    )]
    NotItsTpm(String),
    #[error("this TPM is enrolled as {0}: one TPM is one node")]
    OtherNode(String),
    #[error(
        "somebody must look at what {0} showed first (`lacre node list --json`), and say what it \
         was: `lacre node acknowledge {0} --reason TEXT`"
    )]
    Incident(String),
    #[error("{0} has shown nothing that somebody must look at")]
    NoIncident(String),
    #[error("a reason says what it was, in at most 1024 characters")]
    NoReason,
    #[error("there are {NODES} nodes already")]
    Full,
    #[error("no evidence is wanted now: ask first")]
    Unasked,
    #[error("the evidence can't be read: {0}")]
    Malformed(lacre_attest::evidence::EvidenceError),
    #[error("the node's state can't be written down")]
    Disk,
}
