//! Connections: the services that a connection gets, and what is logged of connections.

use std::collections::HashMap;
use std::sync::Arc;

use lacre_proto::attest::create_attestation;
use lacre_proto::service::create_policy_service;
use lacre_proto::{Host, Notice, Peer};
use lacre_types::chain;
use slog::{error, info, warn};
use ttrpc::r#async::Service;

use crate::attest::service::AttestSession;
use crate::server::Server;
use crate::session::Session;

/// The server, as connections find it.
#[derive(Debug)]
pub struct Connections(pub Arc<Server>);

impl Host for Connections {
    fn services(&self, peer: &Peer) -> HashMap<String, Service> {
        let session = Session::new(Arc::clone(&self.0), peer.clone());
        let attest = AttestSession::new(Arc::clone(&self.0), peer.clone());
        let mut services = create_policy_service(Arc::new(session));
        services.extend(create_attestation(Arc::new(attest)));
        services
    }

    fn notice(&self, notice: Notice) {
        let Some(held) = self.0.limit.pass() else { return };
        let log = self.0.log.new(slog::o!("held" => held));
        match notice {
            Notice::Opened(peer) => info!(log, "connected"; "peer" => %peer),
            Notice::Closed(peer) => info!(log, "disconnected"; "peer" => %peer),
            Notice::Full(what) => warn!(log, "refused: too many"; "what" => what),
            Notice::Handshake(from, error) => {
                warn!(log, "refused: TLS handshake failed"; "from" => from, "error" => chain(&error));
            }
            Notice::Stalled(from) => {
                warn!(log, "refused: no TLS handshake in time"; "from" => from)
            }
            Notice::Nameless(from, error) => {
                warn!(log, "refused"; "from" => from, "error" => chain(&error));
            }
            Notice::User(peer) => {
                warn!(log, "refused: this user may not connect (--allow-uid)"; "peer" => %peer);
            }
            Notice::Accept(error) => error!(log, "accepting"; "error" => chain(&error)),
        }
    }
}
