//! The command line, whole and valid before anything is opened.

use std::path::PathBuf;
use std::time::Duration;

use clap::builder::{OsStringValueParser, TypedValueParser as _};
use clap::{Args as ClapArgs, Parser, Subcommand};
use lacre_attest::expect::Hex;
use lacre_attest::pcr::{self, ListPcr};
use lacre_proto::{Address, TlsFiles};
use lacre_types::Algorithm;

/// The node's attestation agent: shows a verifier what this node ran, signed by its TPM.
#[derive(Debug, Clone, Parser)]
#[command(name = "lacre-attestd", version)]
pub struct Args {
    /// Where the TPM and the lists are.
    #[command(flatten)]
    pub node: NodeArgs,
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// Where the TPM and the lists are.
#[derive(Debug, Clone, ClapArgs)]
pub struct NodeArgs {
    /// The TPM: device:/dev/tpmrm0 or swtpm:host=HOST,port=PORT
    #[arg(long, env = "LACRE_TCTI", default_value = "device:/dev/tpmrm0")]
    pub tcti: String,

    /// How many seconds the TPM may take for one answer
    #[arg(long, value_name = "SECONDS", env = "LACRE_TPM_DEADLINE", default_value_t = 15,
          value_parser = clap::value_parser!(u64).range(1..=600))]
    pub deadline: u64,

    /// Where the attestation key is kept; only this TPM can load it
    #[arg(
        long,
        value_name = "DIR",
        env = "LACRE_ATTESTD_STATE",
        default_value = "/var/lib/lacre/attestd"
    )]
    pub state: PathBuf,

    /// IMA's directory in securityfs
    #[arg(long, value_name = "DIR", env = "LACRE_IMA", default_value = "/sys/kernel/security/ima")]
    pub ima: PathBuf,

    /// Files in which others keep what they export of the host's list and have the kernel delete,
    /// in the order of its lines (repeatable)
    #[arg(long, value_name = "FILE", env = "LACRE_IMA_EXPORTED", value_delimiter = ',')]
    pub ima_exported: Vec<PathBuf>,

    /// The firmware's event log
    #[arg(
        long,
        value_name = "FILE",
        env = "LACRE_BOOT_LOG",
        default_value = "/sys/kernel/security/tpm0/binary_bios_measurements"
    )]
    pub boot_log: PathBuf,

    /// Where the secrets of this node's containers are
    #[arg(
        long,
        value_name = "DIR",
        env = "LACRE_SECRETS",
        default_value = "/var/lib/lacre/secrets"
    )]
    pub secrets: PathBuf,

    /// Where shims keep the lists of containers that the kernel keeps none of; empty: they
    /// keep none
    #[arg(long, value_name = "DIR", env = "LACRE_EVIDENCE", default_value = "/run/lacre/evidence",
          value_parser = OsStringValueParser::new().map(PathBuf::from))]
    pub evidence: PathBuf,

    /// The PCR that those lists are anchored in, 12 to 15: one that nothing extends beside them
    /// once the node's programs run. The server must expect them there (`anchors`)
    #[arg(long, value_name = "PCR", env = "LACRE_SHIM_PCR", default_value = "15",
          value_parser = shim_pcr)]
    pub shim_pcr: ListPcr,

    /// Certificates between the TPM's and its maker's root, PEM or DER (repeatable)
    #[arg(long, value_name = "FILE", env = "LACRE_EK_CHAIN", value_delimiter = ',')]
    pub ek_chain: Vec<PathBuf>,

    /// The node's name; by default its host's
    #[arg(long, env = "LACRE_NODE")]
    pub name: Option<String>,
}

/// A PCR that shims' lists may be in.
fn shim_pcr(text: &str) -> Result<ListPcr, String> {
    let index = text.parse().map_err(|_| "expected a number".to_owned())?;
    ListPcr::for_shims(index).ok_or_else(|| match pcr::owner(index) {
        Some(owner) if index < pcr::COUNT => {
            format!("PCR {index} is {owner}; choose one of 12 to 15")
        }
        _ => format!("there is no PCR {index}; choose one of 12 to 15"),
    })
}

impl NodeArgs {
    /// How long the TPM may take for one answer.
    #[must_use]
    pub const fn deadline(&self) -> Duration {
        Duration::from_secs(self.deadline)
    }
}

/// What to do.
#[derive(Debug, Clone, Subcommand)]
pub enum Command {
    /// Answer the policy server's challenges until it is told to end
    Serve(Server),
    /// Print evidence over a nonce, as JSON
    Quote {
        /// What the quote is to be over
        #[arg(long, value_name = "HEX")]
        nonce: Hex,
        /// The PCRs of it; by default 0 to 10, 12, and that of shims' lists
        #[arg(long, value_name = "PCR", value_delimiter = ',',
              value_parser = clap::value_parser!(u32).range(0..24))]
        pcrs: Vec<u32>,
        /// Their bank
        #[arg(long, value_name = "ALGORITHM", default_value_t = Algorithm::Sha256)]
        bank: Algorithm,
        /// Print the containers' secrets, too, on a line of their own after the evidence
        #[arg(long)]
        with_secrets: bool,
    },
    /// Print the names of the TPM's keys: for `endorsementKeys` and `attestationKey`
    Keys,
}

/// The way to the policy server.
#[derive(Debug, Clone, ClapArgs)]
pub struct Server {
    /// The policy server: unix:///PATH or tls://HOST:PORT
    #[arg(
        long,
        value_name = "ADDRESS",
        env = "LACRE_SERVER",
        default_value = "unix:///run/lacre/policyd.sock"
    )]
    pub server: Address,
    /// This node's certificate (PEM)
    #[arg(long, value_name = "FILE", env = "LACRE_CERT", requires_all = ["key", "ca"])]
    pub cert: Option<PathBuf>,
    /// The key of this node's certificate (PEM)
    #[arg(long, value_name = "FILE", env = "LACRE_KEY")]
    pub key: Option<PathBuf>,
    /// The CA of the server's certificate (PEM)
    #[arg(long, value_name = "FILE", env = "LACRE_CA")]
    pub ca: Option<PathBuf>,
}

impl Server {
    /// The certificates, if there are all of them.
    #[must_use]
    pub fn tls(&self) -> Option<TlsFiles> {
        let (cert, key, ca) = (self.cert.clone()?, self.key.clone()?, self.ca.clone()?);
        Some(TlsFiles { cert, key, ca })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_whole() {
        use clap::CommandFactory as _;
        Args::command().debug_assert();
        let args = Args::try_parse_from(["lacre-attestd", "quote", "--nonce", "00ff"]).unwrap();
        let Command::Quote { nonce, pcrs, bank, with_secrets } = args.command else {
            panic!("{args:?}")
        };
        assert_eq!((nonce.0, pcrs.len()), (vec![0, 255], 0));
        assert_eq!((bank, with_secrets), (Algorithm::Sha256, false));
        let none = Args::try_parse_from(["lacre-attestd", "--evidence", "", "keys"]).unwrap();
        assert_eq!(none.node.evidence, PathBuf::new(), "shims keep none");
        let other = Args::try_parse_from(["lacre-attestd", "--shim-pcr", "14", "keys"]).unwrap();
        assert_eq!(other.node.shim_pcr.index(), 14);
        for index in ["0", "10", "11", "16", "20", "23", "24", "x"] {
            let args = ["lacre-attestd", "--shim-pcr", index, "keys"];
            assert!(Args::try_parse_from(args).is_err(), "{index}");
        }
        for wrong in [&["serve", "--cert", "a"][..], &["quote", "--nonce", "0"], &["quote"], &[]] {
            let args = ["lacre-attestd"].iter().chain(wrong);
            assert!(Args::try_parse_from(args).is_err(), "{wrong:?}");
        }
    }
}
