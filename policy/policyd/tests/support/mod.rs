//! What the tests of the server share: certificates, a real server process, its ledger.
#![allow(dead_code, reason = "each test file uses a part of it")]

use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
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

/// A real server process.
pub(crate) struct Policyd {
    pub(crate) dir: PathBuf,
    pub(crate) args: Vec<String>,
    child: Child,
    pub(crate) lines: Receiver<String>,
}

impl Policyd {
    pub(crate) fn start(dir: &Path, args: &[String]) -> Self {
        let (child, lines) = spawn(dir, args);
        let this = Self { dir: dir.to_owned(), args: args.to_vec(), child, lines };
        this.wait_for("\"serving\"");
        this
    }

    pub(crate) fn unix(dir: &Path) -> (Self, Connector) {
        let address = format!("unix://{}", dir.join("policyd.sock").display());
        let this = Self::start(dir, &["--listen".into(), address.clone()]);
        (this, Connector::new(address.parse().unwrap(), None).unwrap())
    }

    pub(crate) fn tls(dir: &Path, ca: &Ca, node: &TlsFiles) -> (Self, Connector) {
        let server = ca.server(dir);
        let address = format!("tls://127.0.0.1:{}", free_port());
        let mut args = vec!["--listen".to_owned(), address.clone()];
        for (flag, file) in
            [("--cert", &server.cert), ("--key", &server.key), ("--client-ca", &server.ca)]
        {
            args.extend([flag.to_owned(), file.display().to_string()]);
        }
        let this = Self::start(dir, &args);
        let address: Address = address.parse().unwrap();
        (this, Connector::new(address, Some(node.clone())).unwrap())
    }

    /// Waits for a line of the log that holds this.
    pub(crate) fn wait_for(&self, text: &str) -> String {
        let until = Instant::now() + LONG;
        let mut seen = Vec::new();
        while let Some(left) = until.checked_duration_since(Instant::now()) {
            match self.lines.recv_timeout(left) {
                Ok(line) if line.contains(text) => return line,
                Ok(line) => seen.push(line),
                Err(_) => break,
            }
        }
        panic!("no line with {text}; there are {seen:#?}");
    }

    /// SIGKILL, and nothing of it is left.
    pub(crate) fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    pub(crate) fn restart(&mut self) {
        (self.child, self.lines) = spawn(&self.dir, &self.args);
        self.wait_for("\"serving\"");
    }

    pub(crate) fn signal(&self, signal: rustix::process::Signal) {
        let pid = rustix::process::Pid::from_child(&self.child);
        rustix::process::kill_process(pid, signal).unwrap();
    }

    pub(crate) fn wait(&mut self) -> std::process::ExitStatus {
        self.child.wait().unwrap()
    }

    pub(crate) fn ledger(&self) -> Vec<Line> {
        ledger(&self.dir.join("state"))
    }
}

impl Drop for Policyd {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn spawn(dir: &Path, args: &[String]) -> (Child, Receiver<String>) {
    let policy = dir.join("policy.yaml");
    if !policy.exists() {
        std::fs::write(&policy, policy_text("SKIP")).unwrap();
    }
    let mut child = Command::new(env!("CARGO_BIN_EXE_lacre-policyd"))
        .arg("--policy")
        .arg(&policy)
        .arg("--state")
        .arg(dir.join("state"))
        .args(args)
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let (sender, lines) = channel();
    let stderr = BufReader::new(child.stderr.take().unwrap());
    std::thread::spawn(move || {
        for line in stderr.lines().map_while(Result::ok) {
            if sender.send(line).is_err() {
                break;
            }
        }
    });
    (child, lines)
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
