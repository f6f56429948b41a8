//! A server that attests, and what `lacre node` says of it.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::mpsc::Receiver;

use lacre_proto::attest::AttestationClient;
use lacre_proto::{Address, Connector, TlsFiles};
use lacre_report::{Config, Reporter};
use serde_json::Value;
use tempfile::TempDir;

use crate::node::{Agent, Node, program};
use crate::support::{self, Ca, Policyd, Said, container, flags, over};

/// Who keeps lists on a simulated node.
pub(crate) const ANCHORS: &str = "anchors: {kernel: 12, shim: 15}";

/// What can't be known of a simulated node.
pub(crate) const WAIVED: &str =
    "boot-aggregate, boot-log, kernel, host-programs, container-baseline";

/// Asks a server over a connection of its own.
pub(crate) fn asking<T>(to: &Connector, ask: impl AsyncFnOnce(AttestationClient) -> T) -> T {
    over(to, async |client| ask(AttestationClient::new(client)).await)
}

/// A server that attests.
pub(crate) struct Server {
    dir: TempDir,
    pub(crate) policyd: Policyd,
    pub(crate) socket: Address,
    tls: Option<(Address, TlsFiles)>,
}

impl Server {
    pub(crate) fn start(node: &Node, config: &str, tls: bool) -> Self {
        Self::start_with(node, config, tls, &[])
    }

    /// By the unix socket, in that environment.
    pub(crate) fn under(node: &Node, config: &str, environment: &[(&'static str, String)]) -> Self {
        Self::start_with(node, config, false, environment)
    }

    fn start_with(
        node: &Node,
        config: &str,
        tls: bool,
        environment: &[(&'static str, String)],
    ) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let [root, _] = node.swtpm.authorities();
        fs::write(dir.path().join("maker.der"), root).unwrap();
        let expect = format!("expect: {{{ANCHORS}, waive: [{WAIVED}]}}\n{config}");
        expects(dir.path(), &expect);
        let policy = "Actions:\n  LOG_TAMPERED:\n    Default: \"PAUSE\"\n";
        fs::write(dir.path().join("policy.yaml"), policy).unwrap();
        let at = |file: &str| dir.path().join(file).display().to_string();
        let socket = format!("unix://{}", at("policyd.sock"));
        let mut args = vec!["--attest".to_owned(), at("attest.yaml")];
        args.extend(["--listen".to_owned(), socket.clone()]);
        let tls = tls.then(|| {
            let ca = Ca::new("ca");
            let (address, more) = support::tls(dir.path(), &ca);
            args.extend(more);
            (address, ca.node(dir.path(), "a"))
        });
        let policyd = Policyd::start_in(dir.path(), &args, environment);
        Self { dir, policyd, socket: socket.parse().unwrap(), tls }
    }

    /// What is expected from now on, beside the makers of TPMs.
    pub(crate) fn expects(&self, config: &str) {
        expects(self.dir.path(), config);
    }

    pub(crate) fn at(&self, file: &str) -> PathBuf {
        self.dir.path().join(file)
    }

    pub(crate) fn args(&self) -> Vec<String> {
        let Some((address, files)) = &self.tls else { return self.local() };
        [vec!["--server".to_owned(), address.to_string()], flags(files, "--ca")].concat()
    }

    /// Over TLS, as its node.
    pub(crate) fn over_tls(&self) -> Connector {
        let (address, files) = self.tls.clone().unwrap();
        Connector::new(address, Some(files)).unwrap()
    }

    /// By the unix socket, whether there is TLS or not.
    pub(crate) fn local(&self) -> Vec<String> {
        vec!["--server".to_owned(), self.socket.to_string()]
    }

    pub(crate) fn lacre(&self, args: &[&str]) -> Output {
        let mut command = Command::new(program("lacre"));
        command.arg("node").args(args).env("LACRE_SERVER", self.socket.to_string());
        command.output().unwrap()
    }

    /// The only node, as `lacre node list` has it, and how that ends.
    pub(crate) fn node(&self) -> (Value, Option<i32>) {
        let listed = self.lacre(&["list", "--json"]);
        let mut nodes: Vec<Value> = serde_json::from_slice(&listed.stdout).unwrap();
        nodes.retain(|node| node["state"] != "unenrolled");
        (nodes.pop().unwrap_or_default(), listed.status.code())
    }

    pub(crate) fn state(&self) -> String {
        self.node().0["state"].as_str().unwrap_or("none").to_owned()
    }

    pub(crate) fn findings(&self) -> Vec<String> {
        let (node, _) = self.node();
        let findings = node["findings"].as_array().unwrap().iter();
        findings.map(|found| found["finding"].as_str().unwrap().to_owned()).collect()
    }

    /// Starts a node's agent, and waits until the node is trusted.
    pub(crate) fn trusted(&self, node: &Node) -> Agent {
        let agent = node.agent(&self.args(), &[]);
        assert_eq!(agent.state(), "trusted", "{:?}", self.node());
        agent
    }

    /// Wants evidence, and waits for the verdict.
    pub(crate) fn attest(&self, agent: &Agent) -> String {
        let asked = self.lacre(&["attest", "node-1"]);
        assert!(asked.status.success(), "{asked:?}");
        agent.state()
    }

    pub(crate) fn connector(&self) -> Connector {
        Connector::new(self.socket.clone(), None).unwrap()
    }

    /// The paths that were reported, each with the trust that it came with.
    pub(crate) fn trusts(&self) -> Vec<(String, String)> {
        let lines = self.policyd.ledger().into_iter();
        lines.filter_map(|line| Some((line.path, line.trust?))).collect()
    }

    pub(crate) fn reporter(&self) -> (Reporter, Receiver<Said>) {
        let mut config = Config::new("node-1", self.dir.path().join("reporter"));
        config.server = Some(self.connector());
        let (reporter, said) = support::reporter(config);
        assert!(reporter.register(container()));
        (reporter, said)
    }
}

/// Whole or not at all, as who deploys it should.
fn expects(dir: &Path, config: &str) {
    let text = format!("makers: [maker.der]\n{config}");
    fs::write(dir.join("attest.fresh"), text).unwrap();
    fs::rename(dir.join("attest.fresh"), dir.join("attest.yaml")).unwrap();
}
