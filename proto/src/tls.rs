//! TLS on both sides from PEM files.

use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError, RwLock};

use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::WebPkiClientVerifier;
use rustls::{ClientConfig, RootCertStore, ServerConfig};

/// The three PEM files that each side of a TLS connection has.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TlsFiles {
    /// Our certificate, and those between it and the CA.
    pub cert: PathBuf,
    /// Its key.
    pub key: PathBuf,
    /// The CA that signs the other side's certificate.
    pub ca: PathBuf,
}

/// Why TLS cannot be set up.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// A file is missing, or is not PEM.
    #[error("reading {what} from {}", .file.display())]
    Pem {
        /// What was expected in it.
        what: &'static str,
        /// The file.
        file: PathBuf,
        /// Why it cannot be read.
        #[source]
        source: rustls::pki_types::pem::Error,
    },
    /// The file has no certificate in it.
    #[error("{} has no certificate in it; expected PEM, -----BEGIN CERTIFICATE-----", .0.display())]
    Empty(PathBuf),
    /// A certificate cannot be used as a CA.
    #[error("taking {} as a CA", .0.display())]
    Ca(PathBuf, #[source] rustls::Error),
    /// The verifier of the client's certificate cannot be built.
    #[error("verifying clients by {}", .0.display())]
    Verifier(PathBuf, #[source] rustls::server::VerifierBuilderError),
    /// Certificate and key do not go together.
    #[error("using {} with the key {}", .cert.display(), .key.display())]
    Pair {
        /// The certificate.
        cert: PathBuf,
        /// The key.
        key: PathBuf,
        /// What is wrong.
        #[source]
        source: rustls::Error,
    },
}

impl TlsFiles {
    /// The client's side: TLS 1.3, the server verified by the CA and its name.
    ///
    /// # Errors
    /// When a file cannot be read or used.
    pub fn client(&self) -> Result<Arc<ClientConfig>, TlsError> {
        let (chain, key) = self.identity()?;
        let config = ClientConfig::builder_with_provider(provider())
            .with_protocol_versions(&[&rustls::version::TLS13])
            .map_err(|source| self.pair(source))?
            .with_root_certificates(roots(&self.ca)?)
            .with_client_auth_cert(chain, key)
            .map_err(|source| self.pair(source))?;
        Ok(Arc::new(config))
    }

    /// The server's side: TLS 1.3, a client certificate required. No session is resumed,
    /// so that every connection shows its certificate anew.
    ///
    /// # Errors
    /// When a file cannot be read or used.
    pub fn server(&self) -> Result<Arc<ServerConfig>, TlsError> {
        let (chain, key) = self.identity()?;
        let verifier =
            WebPkiClientVerifier::builder_with_provider(Arc::new(roots(&self.ca)?), provider())
                .build()
                .map_err(|source| TlsError::Verifier(self.ca.clone(), source))?;
        let mut config = ServerConfig::builder_with_provider(provider())
            .with_protocol_versions(&[&rustls::version::TLS13])
            .map_err(|source| self.pair(source))?
            .with_client_cert_verifier(verifier)
            .with_single_cert(chain, key)
            .map_err(|source| self.pair(source))?;
        config.send_tls13_tickets = 0;
        config.session_storage = Arc::new(rustls::server::NoServerSessionStorage {});
        Ok(Arc::new(config))
    }

    fn identity(&self) -> Result<(Vec<CertificateDer<'static>>, PrivateKeyDer<'static>), TlsError> {
        let chain = certificates(&self.cert)?;
        let key = PrivateKeyDer::from_pem_file(&self.key).map_err(|source| TlsError::Pem {
            what: "a private key",
            file: self.key.clone(),
            source,
        })?;
        Ok((chain, key))
    }

    fn pair(&self, source: rustls::Error) -> TlsError {
        TlsError::Pair { cert: self.cert.clone(), key: self.key.clone(), source }
    }
}

/// A server's TLS, whose files can be read again while it serves.
#[derive(Debug)]
pub struct ServerTls {
    files: TlsFiles,
    current: RwLock<Arc<ServerConfig>>,
}

impl ServerTls {
    /// Reads the files.
    ///
    /// # Errors
    /// When a file cannot be read or used.
    pub fn load(files: TlsFiles) -> Result<Self, TlsError> {
        let current = RwLock::new(files.server()?);
        Ok(Self { files, current })
    }

    /// Reads the files again; connections that stand are not touched.
    ///
    /// # Errors
    /// When a file cannot be read or used. What was loaded before stays in use.
    pub fn reload(&self) -> Result<(), TlsError> {
        let fresh = self.files.server()?;
        *self.current.write().unwrap_or_else(PoisonError::into_inner) = fresh;
        Ok(())
    }

    pub(crate) fn acceptor(&self) -> tokio_rustls::TlsAcceptor {
        Arc::clone(&self.current.read().unwrap_or_else(PoisonError::into_inner)).into()
    }
}

fn provider() -> Arc<rustls::crypto::CryptoProvider> {
    Arc::new(rustls::crypto::ring::default_provider())
}

fn certificates(file: &Path) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let pem = |source| TlsError::Pem { what: "certificates", file: file.to_owned(), source };
    let chain: Vec<_> =
        CertificateDer::pem_file_iter(file).map_err(pem)?.collect::<Result<_, _>>().map_err(pem)?;
    if chain.is_empty() { Err(TlsError::Empty(file.to_owned())) } else { Ok(chain) }
}

fn roots(file: &Path) -> Result<RootCertStore, TlsError> {
    let mut roots = RootCertStore::empty();
    for certificate in certificates(file)? {
        roots.add(certificate).map_err(|source| TlsError::Ca(file.to_owned(), source))?;
    }
    Ok(roots)
}
