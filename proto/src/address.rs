//! Where a server listens, as it is written in configurations.

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

/// Where a policy server is: `unix:///path`, or `tls://host:port`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Address {
    /// A unix socket on this machine.
    Unix(PathBuf),
    /// TCP, always with TLS 1.3 and certificates on both sides.
    Tls {
        /// A DNS name or an IP address; an IPv6 address without its brackets.
        host: String,
        /// The port.
        port: u16,
    },
}

/// Why a text is not an address.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ParseAddressError {
    /// TCP without TLS.
    #[error(
        "`{0}` is TCP without certificates, which is refused: say tls://HOST:PORT and give \
         both sides a certificate, or unix:///PATH for a server on this machine"
    )]
    PlainTcp(String),
    /// Another scheme, or none.
    #[error("`{0}` is not an address; expected unix:///PATH or tls://HOST:PORT")]
    Scheme(String),
    /// A path that does not begin with a slash, ends with one, or holds a NUL.
    #[error("`{0}`: a unix socket has an absolute path, as in unix:///run/lacre/policyd.sock")]
    Path(String),
    /// Longer than the kernel takes.
    #[error("the path of a unix socket has at most 107 bytes (unix(7)); this one has {0}")]
    TooLong(usize),
    /// No port, or not a number from 1 to 65535; or no host.
    #[error("`{0}`: expected tls://HOST:PORT with a port from 1 to 65535")]
    HostPort(String),
}

impl FromStr for Address {
    type Err = ParseAddressError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let shown = || text.chars().take(200).collect::<String>();
        let Some((scheme, rest)) = text.split_once("://") else {
            return Err(ParseAddressError::Scheme(shown()));
        };
        match scheme {
            "unix" => {
                if !rest.starts_with('/') || rest.ends_with('/') || rest.contains('\0') {
                    return Err(ParseAddressError::Path(shown()));
                }
                if rest.len() > 107 {
                    return Err(ParseAddressError::TooLong(rest.len()));
                }
                Ok(Self::Unix(PathBuf::from(rest)))
            }
            "tls" => {
                let bad = || ParseAddressError::HostPort(shown());
                let (host, port) = rest.rsplit_once(':').ok_or_else(bad)?;
                let port = match port.parse() {
                    Ok(port) if port != 0 => port,
                    _ => return Err(bad()),
                };
                let host = match host.strip_prefix('[').and_then(|host| host.strip_suffix(']')) {
                    Some(v6) if v6.parse::<std::net::Ipv6Addr>().is_ok() => v6,
                    Some(_) => return Err(bad()),
                    None if host.contains([':', '/', '[', ']', '@']) => return Err(bad()),
                    None => host,
                };
                if host.is_empty()
                    || host.len() > 253
                    || host.chars().any(|c| !c.is_ascii_graphic())
                {
                    return Err(bad());
                }
                Ok(Self::Tls { host: host.to_owned(), port })
            }
            "tcp" | "http" | "https" => Err(ParseAddressError::PlainTcp(shown())),
            _ => Err(ParseAddressError::Scheme(shown())),
        }
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unix(path) => write!(f, "unix://{}", path.display()),
            Self::Tls { host, port } if host.contains(':') => write!(f, "tls://[{host}]:{port}"),
            Self::Tls { host, port } => write!(f, "tls://{host}:{port}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_two_forms_read_back() {
        for text in
            ["unix:///run/lacre/policyd.sock", "tls://policy.example:50051", "tls://[::1]:1"]
        {
            assert_eq!(text.parse::<Address>().unwrap().to_string(), text);
        }
    }

    #[test]
    fn plain_tcp_is_refused_with_what_to_do() {
        let error = "tcp://1.2.3.4:50051".parse::<Address>().unwrap_err();
        assert!(matches!(error, ParseAddressError::PlainTcp(_)));
        assert!(error.to_string().contains("tls://HOST:PORT"));
    }

    #[test]
    fn slips_are_refused() {
        for text in [
            "",
            "policy:50051",
            "unix://run/x",
            "unix:///",
            "tls://a",
            "tls://:1",
            "tls://a:0",
            "tls://a:65536",
            "tls://::1:50051",
            "tls://a b:1",
            "ftp://a:1",
        ] {
            assert!(text.parse::<Address>().is_err(), "{text}");
        }
        let long = format!("unix:///{}", "x".repeat(107));
        assert_eq!(long.parse::<Address>(), Err(ParseAddressError::TooLong(108)));
    }
}
