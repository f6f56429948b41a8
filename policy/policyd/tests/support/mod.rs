//! What the tests of the server share: certificates, a real server process, its ledger.
#![allow(dead_code, unused_imports, reason = "each test file uses a part of it")]

mod daemon;
mod ear;
mod fleet;

use std::ops::{Deref, DerefMut};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant, SystemTime};

use lacre_proto::{Address, Connector, TlsFiles};
use lacre_report::{Became, Origin, Record, Verdict};
use lacre_types::{
    Action, CanonicalPath, Content, Digest, Event, Measurement, Mode, Process, Source, Violation,
    ViolationKind,
};
use rcgen::{
    BasicConstraints, CertificateParams, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, SanType,
};
use ttrpc::r#async::Client;

pub(crate) use daemon::Daemon;
pub(crate) use ear::{Quiet, Said, container, reporter};
pub(crate) use fleet::{Ears, Heard, Shims};

pub(crate) const LONG: Duration = Duration::from_secs(60);

pub(crate) struct Ca {
    issuer: Issuer<'static, KeyPair>,
    pem: String,
}

impl Ca {
    pub(crate) fn new(name: &str) -> Self {
        let mut params = CertificateParams::new([]).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.distinguished_name.push(rcgen::DnType::CommonName, name);
        let key = KeyPair::generate().unwrap();
        let pem = params.self_signed(&key).unwrap().pem();
        Self { issuer: Issuer::new(params, key), pem }
    }

    /// A certificate with that name; `days` from now it ends, or has ended.
    pub(crate) fn issue(
        &self,
        dir: &Path,
        file: &str,
        name: SanType,
        days: i64,
        trust: &Self,
    ) -> TlsFiles {
        let mut params = CertificateParams::new([]).unwrap();
        params.subject_alt_names.push(name);
        let day = |days: i64| {
            let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap().as_secs();
            rcgen::date_time_ymd(1970, 1, 1)
                + Duration::from_secs(now.saturating_add_signed(days * 86_400))
        };
        params.not_before = day(days.min(0) - 10);
        params.not_after = day(days);
        params.extended_key_usages =
            vec![ExtendedKeyUsagePurpose::ClientAuth, ExtendedKeyUsagePurpose::ServerAuth];
        let key = KeyPair::generate().unwrap();
        let pem = params.signed_by(&key, &self.issuer).unwrap().pem();
        let path = |extension: &str| dir.join(file).with_extension(extension);
        std::fs::write(path("pem"), pem).unwrap();
        std::fs::write(path("key"), key.serialize_pem()).unwrap();
        std::fs::write(path("ca"), &trust.pem).unwrap();
        TlsFiles { cert: path("pem"), key: path("key"), ca: path("ca") }
    }

    pub(crate) fn server(&self, dir: &Path) -> TlsFiles {
        self.issue(dir, "server", SanType::IpAddress([127, 0, 0, 1].into()), 30, self)
    }

    pub(crate) fn node(&self, dir: &Path, name: &str) -> TlsFiles {
        let uri = format!("spiffe://example.org/node/{name}");
        self.issue(dir, name, SanType::URI(uri.try_into().unwrap()), 30, self)
    }
}

pub(crate) fn free_port() -> u16 {
    std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

/// The flags that name these files; that of the CA is another on each side.
pub(crate) fn flags(files: &TlsFiles, ca: &str) -> Vec<String> {
    let named = [("--cert", &files.cert), ("--key", &files.key), (ca, &files.ca)];
    let flags = named.map(|(flag, file)| [flag.to_owned(), file.display().to_string()]);
    flags.concat()
}

/// Says something over a connection of its own.
pub(crate) fn over<T>(to: &Connector, say: impl AsyncFnOnce(Client) -> T) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async { say(to.connect(LONG).await.unwrap()).await })
}

pub(crate) fn within() -> ttrpc::context::Context {
    ttrpc::context::with_duration(LONG)
}

/// A real server process.
pub(crate) struct Policyd {
    dir: PathBuf,
    daemon: Daemon,
}

impl Policyd {
    pub(crate) fn start(dir: &Path, args: &[String]) -> Self {
        Self::start_in(dir, args, &[])
    }

    pub(crate) fn start_in(
        dir: &Path,
        args: &[String],
        environment: &[(&'static str, String)],
    ) -> Self {
        let policy = dir.join("policy.yaml");
        if !policy.exists() {
            std::fs::write(&policy, policy_text("SKIP")).unwrap();
        }
        let mut command = Command::new(env!("CARGO_BIN_EXE_lacre-policyd"));
        command.arg("--policy").arg(&policy).arg("--state").arg(dir.join("state")).args(args);
        // Nodes of these tests come back at once.
        if args.iter().all(|arg| arg != "--hold-settle") {
            command.args(["--hold-settle", "2"]);
        }
        command.envs(environment.iter().cloned());
        let this = Self { dir: dir.to_owned(), daemon: Daemon::spawn(command) };
        this.wait_for("\"serving\"");
        this
    }

    pub(crate) fn unix(dir: &Path) -> (Self, Connector) {
        let address = format!("unix://{}", dir.join("policyd.sock").display());
        let this = Self::start(dir, &["--listen".into(), address.clone()]);
        (this, Connector::new(address.parse().unwrap(), None).unwrap())
    }

    pub(crate) fn tls(dir: &Path, ca: &Ca, node: &TlsFiles) -> (Self, Connector) {
        let (address, args) = tls(dir, ca);
        let this = Self::start(dir, &args);
        (this, Connector::new(address, Some(node.clone())).unwrap())
    }

    pub(crate) fn restart(&mut self) {
        self.start_again();
        self.wait_for("\"serving\"");
    }

    /// `lacre node` of this build, over the server's unix socket.
    pub(crate) fn lacre(&self, args: &[&str]) -> std::process::Output {
        let program = Path::new(env!("CARGO_BIN_EXE_lacre-policyd")).with_file_name("lacre");
        assert!(program.exists(), "lacre is not built: cargo build --workspace");
        let socket = format!("unix://{}", self.dir.join("policyd.sock").display());
        Command::new(program).arg("node").args(args).env("LACRE_SERVER", socket).output().unwrap()
    }

    /// The orders that it holds, and those that were approved.
    pub(crate) fn orders(&self) -> Vec<serde_json::Value> {
        let listed = self.lacre(&["orders", "--json"]);
        serde_json::from_slice(&listed.stdout).unwrap_or_else(|error| panic!("{error}: {listed:?}"))
    }

    pub(crate) fn ledger(&self) -> Vec<Line> {
        ledger(&self.dir.join("state"))
    }
}

impl Deref for Policyd {
    type Target = Daemon;

    fn deref(&self) -> &Daemon {
        &self.daemon
    }
}

impl DerefMut for Policyd {
    fn deref_mut(&mut self) -> &mut Daemon {
        &mut self.daemon
    }
}

/// A TLS address, and the flags for a server to listen there.
pub(crate) fn tls(dir: &Path, ca: &Ca) -> (Address, Vec<String>) {
    let address = format!("tls://127.0.0.1:{}", free_port());
    let mut args = vec!["--listen".to_owned(), address.clone()];
    args.extend(flags(&ca.server(dir), "--client-ca"));
    (address.parse().unwrap(), args)
}

pub(crate) fn policy_text(default: &str) -> String {
    format!("Actions:\n  ENTRY_NOT_FOUND:\n    Default: \"{default}\"\n")
}

/// A record's line of the ledger.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Line {
    pub(crate) stream: String,
    pub(crate) seq: u64,
    pub(crate) owner: String,
    pub(crate) path: String,
    pub(crate) trust: Option<String>,
}

/// The records in a ledger, in their order.
pub(crate) fn ledger(state: &Path) -> Vec<Line> {
    let mut files: Vec<_> =
        std::fs::read_dir(state).unwrap().map(|file| file.unwrap().path()).collect();
    files.retain(|file| file.extension().is_some_and(|extension| extension == "jsonl"));
    files.sort();
    let mut records = Vec::new();
    for file in files {
        let text = std::fs::read_to_string(file).unwrap();
        // The last line may be half-written at this moment.
        let whole = text.rfind('\n').map_or(0, |at| at + 1);
        for line in text[..whole].lines() {
            let line: serde_json::Value = serde_json::from_str(line).unwrap();
            if let (Some(seq), Some(record)) = (line["seq"].as_u64(), line.get("record")) {
                records.push(Line {
                    stream: line["stream"].as_str().unwrap().to_owned(),
                    seq,
                    owner: line["owner"].as_str().unwrap().to_owned(),
                    path: record["path"].as_str().unwrap_or_default().to_owned(),
                    trust: line["nodeTrust"].as_str().map(str::to_owned),
                });
            }
        }
    }
    records
}

/// Waits until it is so. For states that nobody tells of.
pub(crate) fn until(what: &str, mut is_so: impl FnMut() -> bool) {
    let end = Instant::now() + LONG;
    while !is_so() {
        assert!(Instant::now() < end, "{what}: not within {LONG:?}");
        std::thread::sleep(Duration::from_millis(5));
    }
}

pub(crate) fn record(container: &str, path: &str, action: Action) -> Record {
    let origin = Origin {
        container_id: container.into(),
        namespace: "test".into(),
        image_name: "ubuntu:18.04".into(),
        node: "node".into(),
        ..Origin::default()
    };
    let violation = Violation {
        kind: ViolationKind::EntryNotFound,
        measurement: Measurement {
            source: Source::Fanotify,
            event: Event::Exec,
            path: Some(CanonicalPath::new(path).unwrap()),
            content: Content::Digest(Digest::sha256([7; 32])),
            process: Process { pid: 42, uid: Some(0) },
            time: SystemTime::now(),
        },
        expected: None,
    };
    let verdict = Verdict {
        mode: Mode::Enforce,
        action,
        became: Became::Denied,
        rule: Some("a rule".into()),
        file_kind: None,
        layer: None,
    };
    Record::new(&origin, &violation, &verdict)
}
