//! A server and the nodes that it has.

use std::path::Path;

use lacre_proto::Connector;
use lacre_types::Action;

use crate::support::{Ca, Heard, Policyd, Shims, tls, until};

/// A server with a unix socket for who administers, and TLS for nodes.
pub(crate) struct Fleet {
    pub(crate) dir: tempfile::TempDir,
    ca: Ca,
    address: lacre_proto::Address,
    pub(crate) policyd: Policyd,
}

impl Fleet {
    pub(crate) fn start(policy: &str, args: &[&str]) -> Self {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("policy.yaml"), policy).unwrap();
        let ca = Ca::new("ca");
        let (address, mut all) = tls(dir.path(), &ca);
        let socket = format!("unix://{}", dir.path().join("policyd.sock").display());
        all.extend(["--listen".to_owned(), socket]);
        all.extend(args.iter().map(|arg| (*arg).to_owned()));
        let policyd = Policyd::start(dir.path(), &all);
        Self { dir, ca, address, policyd }
    }

    pub(crate) fn to(&self, node: &str) -> Connector {
        let files = self.ca.node(self.dir.path(), node);
        Connector::new(self.address.clone(), Some(files)).unwrap()
    }

    /// The shims of a node with so many containers, which have their policy.
    pub(crate) fn node(&self, name: &str, containers: usize) -> Shims {
        let shims = Shims::start(self.dir.path(), name, &self.to(name));
        shims.run(0, containers);
        let has = |n| !shims.ears.of(&format!("c{n}")).is_empty();
        until("registered", || (0..containers).all(has));
        shims
    }

    pub(crate) fn policy(&self, text: &str) {
        replace(self.dir.path(), text);
    }

    pub(crate) fn approve(&self, order: &str) {
        let done = self.policyd.lacre(&["approve", order, "--reason", "we want that"]);
        assert!(done.status.success(), "{done:?}");
    }
}

fn replace(dir: &Path, text: &str) {
    std::fs::write(dir.join("fresh"), text).unwrap();
    std::fs::rename(dir.join("fresh"), dir.join("policy.yaml")).unwrap();
}

pub(crate) const fn policy(action: Action) -> Heard {
    Heard::Policy(action)
}
