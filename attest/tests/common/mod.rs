//! A TPM simulator of each test's own, made with certificates by a CA of its own.
#![allow(
    clippy::expect_used,
    clippy::unwrap_used,
    dead_code,
    reason = "what fails here fails the test"
)]

use std::fs;
use std::io::{Read as _, Write as _};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock};
use std::thread::sleep;
use std::time::{Duration, Instant};

use lacre_attest::tpm::Tpm;
use tempfile::TempDir;

pub(crate) const DEADLINE: Duration = Duration::from_secs(60);

/// A running swtpm.
#[derive(Debug)]
pub(crate) struct Swtpm {
    state: TempDir,
    child: Child,
    port: u16,
    template: &'static Template,
}

/// The state of a new TPM, and the certificates of who made it.
#[derive(Debug)]
pub(crate) struct Template {
    dir: TempDir,
}

impl Template {
    fn make() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let at = |name: &str| dir.path().join(name).display().to_string();
        fs::create_dir(at("state")).unwrap();
        fs::create_dir(at("ca")).unwrap();
        fs::write(
            at("setup.conf"),
            format!(
                "create_certs_tool = /usr/bin/swtpm_localca\n\
                 create_certs_tool_config = {}\ncreate_certs_tool_options = {}\n",
                at("localca.conf"),
                at("localca.options")
            ),
        )
        .unwrap();
        fs::write(
            at("localca.conf"),
            format!(
                "statedir = {0}\nsigningkey = {0}/key.pem\nissuercert = {0}/issuer.pem\n\
                 certserial = {0}/serial\n",
                at("ca")
            ),
        )
        .unwrap();
        fs::write(
            at("localca.options"),
            "--platform-manufacturer lacre\n--platform-version 1\n--platform-model test\n",
        )
        .unwrap();
        let made = Command::new("swtpm_setup")
            .args(["--tpm2", "--create-ek-cert", "--pcr-banks", "sha1,sha256,sha384"])
            .args(["--tpmstate", &at("state"), "--config", &at("setup.conf")])
            .args(["--logfile", &at("log")])
            .output()
            .expect("swtpm_setup is installed by `make setup`");
        let log = fs::read_to_string(at("log")).unwrap_or_default();
        assert!(made.status.success(), "swtpm_setup: {made:?}\n{log}");
        Self { dir }
    }

    /// The root and the issuer, DER.
    pub(crate) fn authorities(&self) -> [Vec<u8>; 2] {
        let der = |name| from_pem(&self.dir.path().join("ca").join(name));
        [der("swtpm-localca-rootca-cert.pem"), der("issuer.pem")]
    }
}

fn from_pem(path: &Path) -> Vec<u8> {
    use rustls_pki_types::{CertificateDer, pem::PemObject as _};
    CertificateDer::from_pem_slice(&fs::read(path).unwrap()).unwrap().to_vec()
}

/// Making a TPM takes seconds: two for all tests, each test has a copy.
fn template(number: usize) -> &'static Template {
    static MADE: [OnceLock<Template>; 2] = [OnceLock::new(), OnceLock::new()];
    MADE[number].get_or_init(Template::make)
}

impl Swtpm {
    pub(crate) fn new() -> Self {
        Self::of(template(0))
    }

    /// Another TPM, of another maker.
    pub(crate) fn other() -> Self {
        Self::of(template(1))
    }

    fn of(template: &'static Template) -> Self {
        let state = tempfile::tempdir().unwrap();
        for file in fs::read_dir(template.dir.path().join("state")).unwrap() {
            let file = file.unwrap().path();
            fs::copy(&file, state.path().join(file.file_name().unwrap())).unwrap();
        }
        let (child, port) = start(state.path());
        Self { state, child, port, template }
    }

    pub(crate) fn authorities(&self) -> [Vec<u8>; 2] {
        self.template.authorities()
    }

    pub(crate) fn tcti(&self) -> String {
        format!("swtpm:host=127.0.0.1,port={}", self.port)
    }

    pub(crate) fn open(&self) -> Tpm {
        Tpm::open(&self.tcti(), DEADLINE).unwrap()
    }

    pub(crate) fn port(&self) -> u16 {
        self.port
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Pulls the plug.
    pub(crate) fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// Starts it again, as a reboot does.
    pub(crate) fn restart(&mut self) {
        self.kill();
        (self.child, self.port) = start(self.state.path());
    }

    /// Starts it again where others look for it.
    pub(crate) fn restart_at_same_port(&mut self) {
        self.child = start_at(self.state.path(), self.port).unwrap();
    }
}

impl Drop for Swtpm {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// libtss2 finds the control channel at the port after the TPM's, so two in a row are
/// needed, which nobody can reserve: tried until swtpm has both.
fn start(state: &Path) -> (Child, u16) {
    static NEXT: Mutex<u16> = Mutex::new(0);
    for _ in 0..100 {
        let port = {
            let mut next = NEXT.lock().unwrap();
            *next += 2;
            // Below the range that the kernel hands out (ip_local_port_range).
            10_000 + u16::try_from(std::process::id() % 9_000).unwrap() * 2 + *next
        };
        if let Some(child) = start_at(state, port) {
            return (child, port);
        }
    }
    panic!("swtpm does not start");
}

fn start_at(state: &Path, port: u16) -> Option<Child> {
    let state: PathBuf = state.canonicalize().unwrap();
    let mut child = Command::new("swtpm")
        .args(["socket", "--tpm2", "--flags", "not-need-init,startup-clear"])
        .arg("--tpmstate")
        .arg(format!("dir={}", state.display()))
        .arg("--server")
        .arg(format!("type=tcp,port={port},bindaddr=127.0.0.1"))
        .arg("--ctrl")
        .arg(format!("type=tcp,port={},bindaddr=127.0.0.1", port + 1))
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .expect("swtpm is installed by `make setup`");
    let until = Instant::now() + DEADLINE;
    while Instant::now() < until && child.try_wait().unwrap().is_none() {
        // swtpm tells nobody when it listens, and takes one who asks for its client.
        if listens(port) && listens(port + 1) && child.try_wait().unwrap().is_none() {
            return Some(child);
        }
        sleep(Duration::from_millis(5));
    }
    let _ = child.kill();
    let _ = child.wait();
    None
}

/// Whether somebody listens on that port of the loopback (`proc_net_tcp.rst`: the local
/// address, then the remote one, then the state; 0A is LISTEN).
fn listens(port: u16) -> bool {
    let local = format!(":{port:04X}");
    fs::read_to_string("/proc/net/tcp").unwrap().lines().any(|line| {
        let mut words = line.split_whitespace().skip(1);
        words.next().is_some_and(|own| own.ends_with(&local)) && words.nth(1) == Some("0A")
    })
}

/// Stands before a TPM and holds each of its answers back for that long.
#[derive(Debug)]
pub(crate) struct Slow {
    port: u16,
    delay: Arc<AtomicU64>,
}

impl Slow {
    pub(crate) fn before(swtpm: &Swtpm) -> Self {
        let delay = Arc::new(AtomicU64::new(0));
        for _ in 0..100 {
            let data = TcpListener::bind(("127.0.0.1", 0)).unwrap();
            let port = data.local_addr().unwrap().port();
            let Ok(control) = TcpListener::bind(("127.0.0.1", port + 1)) else { continue };
            relay(data, swtpm.port, Arc::clone(&delay));
            relay(control, swtpm.port + 1, Arc::default());
            return Self { port, delay };
        }
        panic!("no two ports in a row");
    }

    pub(crate) fn tcti(&self) -> String {
        format!("swtpm:host=127.0.0.1,port={}", self.port)
    }

    pub(crate) fn by(&self, delay: Duration) {
        self.delay.store(delay.as_millis().try_into().unwrap(), Ordering::Relaxed);
    }
}

/// Relays one connection after the other, until the test ends.
fn relay(listener: TcpListener, to: u16, delay: Arc<AtomicU64>) {
    std::thread::spawn(move || {
        while let Ok((client, _)) = listener.accept() {
            let Ok(server) = TcpStream::connect(("127.0.0.1", to)) else { return };
            let (mut asks, mut asked) = (client.try_clone().unwrap(), server.try_clone().unwrap());
            std::thread::spawn(move || {
                let _ = std::io::copy(&mut asks, &mut asked);
                let _ = asked.shutdown(Shutdown::Both);
            });
            let (mut server, mut client) = (server, client);
            let mut answer = [0; 4096];
            while let Ok(len @ 1..) = server.read(&mut answer) {
                sleep(Duration::from_millis(delay.load(Ordering::Relaxed)));
                if client.write_all(&answer[..len]).is_err() {
                    break;
                }
            }
        }
    });
}
