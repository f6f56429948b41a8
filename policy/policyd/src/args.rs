//! The command line, whole and valid before anything is opened.

use std::path::PathBuf;
use std::time::Duration;

use clap::Parser;
use lacre_proto::{Address, TlsFiles};

use crate::orders::Limits;

/// Where nodes of this machine connect when no `--listen` is given.
const UNIX: &str = "unix:///run/lacre/policyd.sock";

/// The policy server of lacre: hands every node its part of the policy, and keeps what
/// the nodes report.
#[derive(Debug, Clone, Parser)]
#[command(name = "lacre-policyd", version)]
pub struct Args {
    /// The policy file. Read again when it changes, and on SIGHUP.
    #[arg(
        long,
        value_name = "FILE",
        env = "LACRE_POLICY",
        default_value = "/etc/lacre/policy.yaml"
    )]
    pub policy: PathBuf,

    /// Where to listen: unix:///PATH or tls://HOST:PORT. May be given more than once.
    ///
    /// Without it: unix:///run/lacre/policyd.sock, and, when there are certificates,
    /// tls://0.0.0.0:PORT with the policy's PORT, or 50051.
    #[arg(long, value_name = "ADDRESS", value_delimiter = ',', env = "LACRE_LISTEN")]
    pub listen: Vec<Address>,

    /// The server's certificate (PEM), with those between it and its CA.
    #[arg(long, value_name = "FILE", env = "LACRE_CERT")]
    pub cert: Option<PathBuf>,

    /// The key of the server's certificate (PEM).
    #[arg(long, value_name = "FILE", env = "LACRE_KEY")]
    pub key: Option<PathBuf>,

    /// The CA that signs the nodes' certificates (PEM).
    #[arg(long, value_name = "FILE", env = "LACRE_CLIENT_CA")]
    pub client_ca: Option<PathBuf>,

    /// How nodes are attested (docs/attestation.md). Read again when it changes, and on SIGHUP.
    /// Without it, none are.
    #[arg(long, value_name = "FILE", env = "LACRE_ATTEST")]
    pub attest: Option<PathBuf>,

    /// Where reports are kept, and what is known of nodes.
    #[arg(long, value_name = "DIR", env = "LACRE_STATE", default_value = "/var/lib/lacre/policyd")]
    pub state: PathBuf,

    /// Users besides root and the server's own who may connect to the unix socket.
    #[arg(long, value_name = "UID", value_delimiter = ',')]
    pub allow_uid: Vec<u32>,

    /// The size, in MiB, from which on a file of reports is closed and the next begun.
    #[arg(long, value_name = "MIB", default_value_t = 64)]
    pub segment: u64,

    /// From how many containers on, within `--hold-window`, what would make nodes act on them
    /// waits for an operator (`lacre node orders`).
    #[arg(long, value_name = "COUNT", default_value_t = 20,
        value_parser = clap::value_parser!(u64).range(1..))]
    pub hold_containers: u64,

    /// Above how many percent of the nodes it waits, if they are `--hold-nodes` at least.
    #[arg(long, value_name = "PERCENT", default_value_t = 2,
        value_parser = clap::value_parser!(u64).range(0..=100))]
    pub hold_percent: u64,

    /// Below so many nodes their percentage does not count.
    #[arg(long, value_name = "COUNT", default_value_t = 5,
        value_parser = clap::value_parser!(u64).range(1..))]
    pub hold_nodes: u64,

    /// For how many seconds what was done counts.
    #[arg(long, value_name = "SECONDS", default_value_t = 600,
        value_parser = clap::value_parser!(u64).range(1..=86_400))]
    pub hold_window: u64,

    /// For how many seconds after a restart such orders are gathered, until nodes have come back.
    #[arg(long, value_name = "SECONDS", default_value_t = 30,
        value_parser = clap::value_parser!(u64).range(0..=3600))]
    pub hold_settle: u64,

    /// Read everything, say what is wrong, and end.
    #[arg(long)]
    pub check: bool,
}

/// Why a command line cannot be followed.
#[derive(Debug, thiserror::Error)]
pub enum ArgsError {
    /// TLS with only a part of what it needs.
    #[error("TLS needs --cert, --key and --client-ca, all three; {0} is missing")]
    Incomplete(&'static str),
    /// A TLS address without certificates.
    #[error(
        "{0} needs certificates on both sides, and there are none: give --cert, --key and \
         --client-ca (docs/policy-server.md shows how to make them), or listen on unix:///PATH"
    )]
    NoCertificates(Address),
}

impl Args {
    /// The certificates, if there are all of them.
    ///
    /// # Errors
    /// When there are only some, or none and an address needs them.
    pub fn tls(&self) -> Result<Option<TlsFiles>, ArgsError> {
        let files = match (&self.cert, &self.key, &self.client_ca) {
            (Some(cert), Some(key), Some(ca)) => {
                Some(TlsFiles { cert: cert.clone(), key: key.clone(), ca: ca.clone() })
            }
            (None, None, None) => None,
            (None, ..) => return Err(ArgsError::Incomplete("--cert")),
            (_, None, _) => return Err(ArgsError::Incomplete("--key")),
            (.., None) => return Err(ArgsError::Incomplete("--client-ca")),
        };
        let tls = self.listen.iter().find(|address| matches!(address, Address::Tls { .. }));
        match (files, tls) {
            (None, Some(address)) => Err(ArgsError::NoCertificates(address.clone())),
            (files, _) => Ok(files),
        }
    }

    /// From when on an order waits for an operator.
    #[must_use]
    pub fn limits(&self) -> Limits {
        let count = |count: u64| usize::try_from(count).unwrap_or(usize::MAX);
        Limits {
            percent: self.hold_percent,
            least: count(self.hold_nodes),
            containers: count(self.hold_containers),
            window: Duration::from_secs(self.hold_window),
            settle: Duration::from_secs(self.hold_settle),
        }
    }

    /// Where to listen, once the policy's PORT is known. With certificates there is a TLS
    /// address; without `--listen`, a unix socket as well.
    #[must_use]
    pub fn addresses(&self, tls: bool, port: Option<u16>) -> Vec<Address> {
        let mut addresses = self.listen.clone();
        if addresses.is_empty() {
            addresses.extend(UNIX.parse::<Address>());
        }
        if tls && !addresses.iter().any(|address| matches!(address, Address::Tls { .. })) {
            addresses.push(Address::Tls { host: "0.0.0.0".into(), port: port.unwrap_or(50051) });
        }
        addresses
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn args(line: &str) -> Args {
        Args::try_parse_from(line.split(' ')).unwrap()
    }

    #[test]
    fn tcp_without_certificates_is_refused_with_what_to_do() {
        let error = args("policyd --listen tls://0.0.0.0:1").tls().unwrap_err();
        assert!(error.to_string().contains("--client-ca"));
        let error = args("policyd --cert a --key b").tls().unwrap_err();
        assert!(matches!(error, ArgsError::Incomplete("--client-ca")));
        let error = Args::try_parse_from(["policyd", "--listen", "tcp://0.0.0.0:1"]).unwrap_err();
        assert!(error.to_string().contains("TCP without certificates"), "{error}");
    }

    #[test]
    fn the_policys_port_is_the_tls_port_when_no_other_is_given() {
        let shown = |args: &Args, tls, port| {
            args.addresses(tls, port).iter().map(Address::to_string).collect::<Vec<_>>()
        };
        let plain = args("policyd");
        assert_eq!(shown(&plain, false, Some(7)), [UNIX]);
        assert_eq!(shown(&plain, true, Some(7)), [UNIX, "tls://0.0.0.0:7"]);
        assert_eq!(shown(&plain, true, None), [UNIX, "tls://0.0.0.0:50051"]);
        let own = args("policyd --listen tls://a:1 --listen unix:///s");
        assert_eq!(shown(&own, true, Some(7)), ["tls://a:1", "unix:///s"]);
    }
}
