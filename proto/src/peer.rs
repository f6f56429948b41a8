//! Who is at the other end of a connection.

use std::fmt;

use rustls::pki_types::CertificateDer;

/// Who is at the other end, as the kernel or TLS vouches for it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Peer {
    /// A process of this machine, by `SO_PEERCRED`.
    Unix {
        /// Its user id when it connected.
        uid: u32,
        /// Its process id when it connected.
        pid: Option<i32>,
    },
    /// Who holds the key of a certificate that our CA signed.
    Tls {
        /// The certificate's first subjectAltName: a URI before a DNS name.
        name: String,
        /// The address it came from; only shown.
        from: String,
    },
}

/// Why a certificate does not say who its holder is.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PeerError {
    /// It cannot be read.
    #[error("the peer's certificate cannot be read")]
    Certificate(#[source] webpki::Error),
    /// There is none, or none that is a URI or a DNS name.
    #[error(
        "the peer's certificate has no subjectAltName of type URI or DNS, which is what a node \
         is known by: issue it with one, such as URI:spiffe://example.org/node/NAME"
    )]
    Nameless,
}

impl Peer {
    /// What belongs to this peer and to no other is kept under this name: `uid:0`, or the
    /// certificate's name, which a renewed certificate keeps.
    #[must_use]
    pub fn principal(&self) -> String {
        match self {
            Self::Unix { uid, .. } => format!("uid:{uid}"),
            Self::Tls { name, .. } => format!("tls:{name}"),
        }
    }

    /// The holder of a verified certificate.
    ///
    /// # Errors
    /// When it names nobody.
    pub fn from_certificate(der: &CertificateDer<'_>, from: String) -> Result<Self, PeerError> {
        let certificate = webpki::EndEntityCert::try_from(der).map_err(PeerError::Certificate)?;
        let name = certificate.valid_uri_names().next().or(certificate.valid_dns_names().next());
        match name {
            Some(name) => Ok(Self::Tls { name: name.to_owned(), from }),
            None => Err(PeerError::Nameless),
        }
    }
}

impl fmt::Display for Peer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unix { uid, pid: Some(pid) } => write!(f, "uid {uid}, process {pid}"),
            Self::Unix { uid, pid: None } => write!(f, "uid {uid}"),
            Self::Tls { name, from } => write!(f, "{name} from {from}"),
        }
    }
}
