//! Where a helper process records: what the configuration says of that, as the shim had it.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::config::{Config, Server, Tls};

#[derive(Debug, Serialize, Deserialize)]
struct Teller {
    records: PathBuf,
    state: PathBuf,
    server: Option<Where>,
    /// The server's CA, this node's certificate, its key.
    tls: Option<[PathBuf; 3]>,
}

#[derive(Debug, Serialize, Deserialize)]
enum Where {
    Unix(PathBuf),
    Tls(String),
}

/// What the helper needs to know, for its request.
pub(super) fn teller(config: &Config) -> String {
    let server = config.server.as_ref().map(|server| match server {
        Server::Unix(path) => Where::Unix(path.clone()),
        Server::Tls(host) => Where::Tls(host.clone()),
    });
    let tls = config.tls.as_ref().map(|tls| [tls.ca.clone(), tls.cert.clone(), tls.key.clone()]);
    let teller =
        Teller { records: config.records.clone(), state: config.state.clone(), server, tls };
    // A path that is no UTF-8 is none that a YAML file can name.
    serde_json::to_string(&teller).unwrap_or_default()
}

/// The configuration, as far as [`teller`] told of it; `None`: it did not.
pub(super) fn config(teller: &str) -> Option<Config> {
    let teller: Teller = serde_json::from_str(teller).ok()?;
    Some(Config {
        records: teller.records,
        state: teller.state,
        server: teller.server.map(|server| match server {
            Where::Unix(path) => Server::Unix(path),
            Where::Tls(host) => Server::Tls(host),
        }),
        tls: teller.tls.map(|[ca, cert, key]| Tls { ca, cert, key }),
        ..Config::default()
    })
}
