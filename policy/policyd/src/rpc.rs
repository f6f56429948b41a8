//! What every call of every service needs.

use lacre_proto::Peer;
use tokio::sync::{Semaphore, SemaphorePermit};
use ttrpc::Code;

/// The error that a call ends with.
pub(crate) fn status(code: Code, message: impl ToString) -> ttrpc::Error {
    ttrpc::Error::RpcStatus(ttrpc::get_status(code, message.to_string()))
}

/// Leave to do one call more on a connection that may do so many at a time.
pub(crate) fn permit(calls: &Semaphore, most: usize) -> ttrpc::Result<SemaphorePermit<'_>> {
    calls
        .try_acquire()
        .map_err(|_| status(Code::RESOURCE_EXHAUSTED, format!("more than {most} calls at a time")))
}

/// Whether it is root or the server's own user, over the server's unix socket. Others there are
/// nodes, as those that come by TLS.
pub(crate) fn is_administrator(peer: &Peer) -> bool {
    let own = rustix::process::geteuid().as_raw();
    matches!(peer, Peer::Unix { uid, .. } if *uid == 0 || *uid == own)
}

/// Leave for what only who administers the server may do.
pub(crate) fn administers(peer: &Peer) -> ttrpc::Result<()> {
    match is_administrator(peer) {
        true => Ok(()),
        false => Err(status(
            Code::PERMISSION_DENIED,
            "only over the server's unix socket, by root or the server's own user",
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_user_who_may_connect_is_a_node_and_no_administrator() {
        let unix = |uid| is_administrator(&Peer::Unix { uid, pid: None });
        let own = rustix::process::geteuid().as_raw();
        assert!(unix(0) && unix(own));
        assert!(!unix(own + 1000));
        let tls = Peer::Tls { name: "a".to_owned(), from: String::new() };
        assert!(!is_administrator(&tls) && administers(&tls).is_err());
    }
}
