//! A node: a TPM that is simulated, lists as a kernel leaves them, and the real agent.

use std::collections::BTreeMap;
use std::fs;
use std::ops::Deref;
use std::path::{Path, PathBuf};
use std::process::Command;

use lacre_attest::container::{Key, Recorded, Recorder, Secret, Tagged};
use lacre_attest::ima::write;
use lacre_attest::pcr;
use lacre_attest::tpm::AttestationKey;
use lacre_proto::attest::PollRequest;
use lacre_types::{Algorithm, Digest};
use serde_json::Value;
use tempfile::TempDir;

use crate::common::Swtpm;
use crate::support::Daemon;

/// A program of this build.
pub(crate) fn program(name: &str) -> PathBuf {
    let path = Path::new(env!("CARGO_BIN_EXE_lacre-policyd")).with_file_name(name);
    assert!(path.exists(), "{} is not built: cargo build --workspace", path.display());
    path
}

/// A node with a TPM, the host's list, and a kernel that keeps lists of containers.
pub(crate) struct Node {
    dir: TempDir,
    pub(crate) swtpm: Swtpm,
    host: u64,
    recorder: Option<Recorder>,
    containers: BTreeMap<String, Recorded>,
}

impl Node {
    pub(crate) fn new() -> Self {
        Self::of(Swtpm::new())
    }

    pub(crate) fn of(swtpm: Swtpm) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let (recorder, containers) = (None, BTreeMap::new());
        let mut node = Self { dir, swtpm, host: 0, recorder, containers };
        node.boot();
        node
    }

    /// One whose kernel has no IMA: there is no list, and nothing is extended.
    pub(crate) fn without_ima() -> Self {
        let (dir, swtpm) = (tempfile::tempdir().unwrap(), Swtpm::new());
        Self { dir, swtpm, host: 0, recorder: None, containers: BTreeMap::new() }
    }

    pub(crate) fn at(&self, path: &str) -> PathBuf {
        self.dir.path().join(path)
    }

    /// What a boot leaves: lists begin anew.
    pub(crate) fn boot(&mut self) {
        let _ = fs::remove_dir_all(self.at("ima"));
        fs::create_dir_all(self.at("ima")).unwrap();
        fs::create_dir_all(self.at("secrets")).unwrap();
        fs::write(self.list(), "").unwrap();
        (self.host, self.recorder) = (0, None);
        self.containers.clear();
        self.measure("/usr/bin/containerd");
    }

    pub(crate) fn list(&self) -> PathBuf {
        self.at("ima/binary_runtime_measurements")
    }

    fn extend(&self, index: u32, events: Vec<Digest>) {
        self.swtpm.open().extend(index, events).unwrap();
    }

    /// What the kernel does when something runs on the host.
    pub(crate) fn measure(&mut self, name: &str) {
        let data = write::ima_ng(&Digest::sha256([1; 32]), name.as_bytes());
        let logged = pcr::hash(Algorithm::Sha1, &[&data]);
        let entry = write::binary(10, logged.as_bytes(), b"ima-ng", &data);
        fs::write(self.list(), [fs::read(self.list()).unwrap(), entry].concat()).unwrap();
        self.host += 1;
        fs::write(self.at("ima/runtime_measurements_count"), self.host.to_string()).unwrap();
        self.extend(10, vec![pcr::hash(Algorithm::Sha256, &[&data])]);
    }

    /// What the kernel does when a container is made and runs something.
    pub(crate) fn run(&mut self, id: &str, name: &str) {
        self.run_all(&[id], &[name.to_owned()]);
    }

    /// The same for many, in one batch.
    pub(crate) fn run_all(&mut self, ids: &[&str], names: &[String]) {
        let mut events: Vec<Tagged> = Vec::new();
        for id in ids {
            events.extend(self.lines(id, names));
        }
        let folder = self.at("ima/containers");
        let batch = self.recorder.as_mut().unwrap().batch(&events);
        let text = fs::read_to_string(folder.join("aggregate")).unwrap() + &batch.text;
        fs::write(folder.join("aggregate"), text).unwrap();
        self.extend(12, vec![batch.digest(Algorithm::Sha256)]);
    }

    fn lines(&mut self, id: &str, names: &[String]) -> Vec<Tagged> {
        let folder = self.at("ima/containers");
        let own = folder.join(id);
        let mut events: Vec<Tagged> = Vec::new();
        if self.recorder.is_none() {
            fs::create_dir_all(&folder).unwrap();
            let (recorder, first) = Recorder::begin(12, [0; 32]);
            fs::write(folder.join("aggregate"), &first.text).unwrap();
            self.extend(12, vec![first.digest(Algorithm::Sha256)]);
            self.recorder = Some(recorder);
        }
        if !self.containers.contains_key(id) {
            let (secret, seq) = ([7; 32], self.containers.len() as u64 + 1);
            let (list, made) = Recorded::create(Key::new(&Secret::new(secret), seq, id), 12);
            events.push(made);
            self.containers.insert(id.to_owned(), list);
            fs::create_dir_all(&own).unwrap();
            fs::write(own.join("info"), format!("seq {seq}\n")).unwrap();
            fs::write(own.join("binary_runtime_measurements_sha256"), "").unwrap();
            fs::write(self.at("secrets").join(id), "07".repeat(32)).unwrap();
        }
        let list = self.containers.get_mut(id).unwrap();
        let path = own.join("binary_runtime_measurements_sha256");
        let mut text = fs::read(&path).unwrap();
        for name in names {
            let (entry, event) = list.file(&Digest::sha256([2; 32]), name.as_bytes());
            text.extend(entry);
            events.push(event);
        }
        fs::write(&path, text).unwrap();
        fs::write(own.join("runtime_measurements_count"), list.lines().to_string()).unwrap();
        events
    }

    pub(crate) fn environment(&self) -> [(&'static str, String); 9] {
        let path = |path: &str| self.at(path).display().to_string();
        let [_, issuer] = self.swtpm.authorities();
        fs::write(self.at("issuer.der"), issuer).unwrap();
        [
            ("LACRE_TCTI", self.swtpm.tcti()),
            ("LACRE_ATTESTD_STATE", path("attestd")),
            ("LACRE_IMA", path("ima")),
            ("LACRE_BOOT_LOG", path("none")),
            ("LACRE_SECRETS", path("secrets")),
            ("LACRE_EVIDENCE", path("evidence")),
            ("LACRE_EK_CHAIN", path("issuer.der")),
            ("LACRE_NODE", "node-1".to_owned()),
            ("LACRE_TPM_DEADLINE", "60".to_owned()),
        ]
    }

    pub(crate) fn agent(&self, args: &[String], more: &[(&'static str, String)]) -> Agent {
        self.agent_by(Command::new(program("lacre-attestd")), args, more)
    }

    /// The same by a command to which the agent's arguments are added.
    pub(crate) fn agent_by(
        &self,
        mut command: Command,
        args: &[String],
        more: &[(&'static str, String)],
    ) -> Agent {
        command.arg("serve").args(args).envs(self.environment()).envs(more.iter().cloned());
        Agent(Daemon::spawn(command))
    }

    /// What its agent asks when it has just started.
    pub(crate) fn first_poll(&self) -> PollRequest {
        let key = fs::read(self.at("attestd/key.json")).unwrap();
        let key: AttestationKey = serde_json::from_slice(&key).unwrap();
        PollRequest { first: true, ak: key.public.to_vec(), ..PollRequest::default() }
    }

    pub(crate) fn quote(&self, args: &[&str]) -> Vec<u8> {
        let mut command = Command::new(program("lacre-attestd"));
        let quoted = command.arg("quote").args(args).envs(self.environment()).output().unwrap();
        assert!(quoted.status.success(), "{quoted:?}");
        quoted.stdout
    }
}

/// The node's agent.
pub(crate) struct Agent(Daemon);

impl Agent {
    /// What the server thinks of the node when it has next seen evidence.
    pub(crate) fn state(&self) -> String {
        let line: Value = serde_json::from_str(&self.wait_for("\"attested\"")).unwrap();
        line["state"].as_str().unwrap().to_owned()
    }
}

impl Deref for Agent {
    type Target = Daemon;

    fn deref(&self) -> &Daemon {
        &self.0
    }
}
