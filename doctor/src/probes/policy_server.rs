//! The policy server, and the certificates for it.

use std::os::unix::fs::MetadataExt as _;
use std::path::Path;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use lacre_proto::policy::StatusRequest;
use lacre_proto::service::PolicyServiceClient;
use lacre_proto::{Address, CallError, ConnectError, Connector, TlsFiles};
use lacre_shim::config;
use lacre_types::{chain, escape};
use x509_parser::pem::Pem;

use super::limit::is_forbidden;
use crate::facts::{Certificate, Expiry, Seen, Server, Tls};

/// What the shim would connect to.
pub(super) fn address(server: &config::Server) -> String {
    match server {
        config::Server::Unix(path) => format!("unix://{}", path.display()),
        config::Server::Tls(host) => format!("tls://{host}"),
    }
}

fn files(tls: &config::Tls) -> TlsFiles {
    TlsFiles { cert: tls.cert.clone(), key: tls.key.clone(), ca: tls.ca.clone() }
}

/// Asks the server which policy it has, as this node.
pub(super) fn look(server: &config::Server, tls: Option<&config::Tls>, limit: Duration) -> Server {
    let address = address(server);
    if let Some(why) = tls.and_then(forbidden) {
        return Server {
            address,
            answer: Seen::Unseen(why),
            error: None,
            tls: tls.map(certificates),
        };
    }
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let asked = match runtime {
        Ok(runtime) => {
            let asked = runtime.block_on(ask(&address, tls.map(files), limit));
            // A name that is still being looked up is waited for by nobody.
            runtime.shutdown_background();
            asked
        }
        Err(error) => Err(Why::Failed(error.to_string())),
    };
    let (answer, error) = match asked {
        Ok((version, error)) => (Seen::Seen(Ok(version)), error),
        Err(Why::Failed(why)) => (Seen::Seen(Err(why)), None),
        Err(Why::Forbidden(why)) => (Seen::Unseen(why), None),
    };
    Server { address, answer, error, tls: tls.map(certificates) }
}

/// Why the server was not asked.
enum Why {
    Failed(String),
    /// It is who looks that may not.
    Forbidden(String),
}

/// The file of those that are needed that can't be looked at by who looks.
fn forbidden(tls: &config::Tls) -> Option<String> {
    [&tls.ca, &tls.cert, &tls.key].into_iter().find_map(|path| {
        let error = std::fs::File::open(path).err().filter(is_forbidden)?;
        Some(format!("{}: {error}", path.display()))
    })
}

async fn ask(
    address: &str,
    tls: Option<TlsFiles>,
    limit: Duration,
) -> Result<(String, Option<String>), Why> {
    let told = |error: &dyn std::error::Error| Why::Failed(chain(error).to_string());
    let address: Address = address.parse().map_err(|error| told(&error))?;
    let connector = Connector::new(address, tls).map_err(|error| told(&error))?;
    let client = connector.connect(limit).await.map_err(|error| match &error {
        ConnectError::Io { source, .. } if is_forbidden(source) => {
            Why::Forbidden(chain(&error).to_string())
        }
        _ => told(&error),
    })?;
    let client = PolicyServiceClient::new(client);
    let within = ttrpc::context::with_duration(limit);
    let status = client.status(within, &StatusRequest::default()).await;
    match status.map_err(CallError::call("say which policy it has")) {
        Ok(status) => {
            let error = Some(escape(status.error.as_bytes())).filter(|text| !text.is_empty());
            Ok((escape(status.version.as_bytes()), error))
        }
        // It has answered.
        Err(error) if error.is_refusal() => Ok((String::new(), Some(chain(&error).to_string()))),
        Err(error) => Err(told(&error)),
    }
}

pub(super) fn certificates(tls: &config::Tls) -> Tls {
    let usable = match forbidden(tls) {
        Some(why) => Seen::Unseen(why),
        None => {
            let client = files(tls).client();
            Seen::Seen(client.map(drop).map_err(|error| chain(&error).to_string()))
        }
    };
    let certificate = |what, file: &Path| Certificate {
        file: file.to_owned(),
        what,
        expiry: match expiry(file) {
            Ok(expiry) => Seen::Seen(expiry),
            Err(why) => Seen::Unseen(why),
        },
    };
    let certificates =
        vec![certificate("the CA's", &tls.ca), certificate("this node's", &tls.cert)];
    let exposed = tls.key.metadata().is_ok_and(|found| found.mode() & 0o077 != 0);
    Tls { usable, certificates, exposed_key: exposed.then(|| tls.key.clone()) }
}

/// When the first certificate of a file ends that does.
pub(super) fn expiry(file: &Path) -> Result<Expiry, String> {
    let text = std::fs::read(file).map_err(|error| format!("{}: {error}", file.display()))?;
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
    expiry_of(&text, i64::try_from(now).unwrap_or(i64::MAX))
        .map_err(|why| format!("{}: {why}", file.display()))
}

/// Seconds of a day.
const DAY: i64 = 86_400;

fn expiry_of(text: &[u8], now: i64) -> Result<Expiry, String> {
    let mut all = Vec::new();
    for pem in Pem::iter_from_buffer(text) {
        let pem = pem.map_err(|error| format!("no PEM: {error}"))?;
        if pem.label != "CERTIFICATE" {
            continue;
        }
        let certificate = pem.parse_x509().map_err(|error| format!("no certificate: {error}"))?;
        let validity = certificate.validity();
        all.push((validity.not_before.timestamp(), validity.not_after.timestamp()));
    }
    let begins = all.iter().map(|(begins, _)| *begins).max().ok_or("no certificate in it")?;
    let ends = all.iter().map(|(_, ends)| *ends).min().unwrap_or(begins);
    Ok(if ends < now {
        Expiry::Ended((now - ends) / DAY)
    } else if begins > now {
        Expiry::Begins((begins - now) / DAY)
    } else {
        Expiry::Left((ends - now) / DAY)
    })
}
