//! What becomes of the containers of a node whose log was tampered with.

use std::fs;
use std::path::PathBuf;
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

use lacre_integration::images::busybox_image;
use lacre_integration::paths::binaries;
use lacre_integration::{Containerd, Runtime, Version};

const POLICY: &str = "Actions:\n  LOG_TAMPERED:\n    Default: \"KILL\"\n";

/// This node, as the server keeps it after such a verdict (docs/attestation.md).
const UNTRUSTED: &str = r#"{"version":1,"principal":"uid:0","known":{"node":"n","ekName":"AQ==",
    "akName":"Ag==","enrolled":1000,"trust":"untrusted"},"since":1000,"tampered":true,
    "findings":[{"name":"LOG_EDITED","says":"line 7 of the host's list was edited"}]}"#;

struct Policyd {
    child: Child,
    socket: PathBuf,
}

impl Policyd {
    fn start(daemon: &Containerd) -> anyhow::Result<Self> {
        let folder = daemon.node().folder();
        let socket = folder.join("run/lacre/policyd.sock");
        let mut command = daemon.node().command(binaries().join("lacre-policyd"));
        command.args(["--listen", "unix:///run/lacre/policyd.sock"]);
        for (flag, file) in
            [("--policy", "policy.yaml"), ("--attest", "attest.yaml"), ("--state", "policyd")]
        {
            command.arg(flag).arg(folder.join(file));
        }
        let log = fs::File::create(folder.join("policyd.log"))?;
        let child = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(log).spawn()?;
        let policyd = Self { child, socket };
        let until = Instant::now() + Duration::from_secs(30);
        while std::os::unix::net::UnixStream::connect(&policyd.socket).is_err() {
            assert!(Instant::now() < until, "{:?}", fs::read_to_string(folder.join("policyd.log")));
            std::thread::sleep(Duration::from_millis(10));
        }
        Ok(policyd)
    }
}

impl Drop for Policyd {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        let _ = fs::remove_file(&self.socket);
    }
}

#[test]
fn they_are_done_with_as_the_policy_says() -> anyhow::Result<()> {
    let lacre = "mode: enforce\nserver: unix:///run/lacre/policyd.sock\n";
    Containerd::builder(Version::V2_1).lacre(lacre).start()?.check(|daemon| {
        let folder = daemon.node().folder().to_owned();
        fs::create_dir_all(folder.join("run/lacre"))?;
        fs::write(folder.join("policy.yaml"), POLICY)?;
        fs::write(folder.join("attest.yaml"), "endorsementKeys: [000b00]\n")?;
        let policyd = Policyd::start(daemon)?;
        let image = busybox_image()?;
        daemon.import(&image)?;
        daemon.spawn(Runtime::Lacre, &image, "web", &["sleep", "1000"])?;
        assert_eq!(daemon.status("web")?.as_deref(), Some("RUNNING"));

        drop(policyd);
        fs::write(folder.join("policyd/nodes/this.json"), UNTRUSTED)?;
        let _policyd = Policyd::start(daemon)?;
        daemon.await_status("web", Some("STOPPED"))?;
        let done = r#""record":"outcome","action":"KILL","result":"done""#;
        let until = Instant::now() + Duration::from_secs(30);
        while !fs::read_to_string(folder.join("lacre/violations.jsonl"))?.contains(done) {
            assert!(Instant::now() < until, "no record of it");
            std::thread::sleep(Duration::from_millis(10));
        }
        daemon.remove("web")?;
        Ok(())
    })
}
