//! Code directories of a policy that comes from a server while the container runs.

use std::fs;
use std::path::PathBuf;
use std::process::{Child, Stdio};

use anyhow::{Context, Result};
use lacre_integration::images::debian_image;
use lacre_integration::output::wait_for;
use lacre_integration::paths::binaries;
use lacre_integration::{Containerd, Runtime, Version};

use crate::field::SOON;

/// The policy server of this node, until it is dropped.
struct Policyd(Child, PathBuf, PathBuf);

impl Policyd {
    fn start(daemon: &Containerd, policy: &str) -> Result<Self> {
        let folder = daemon.node().folder();
        let file = folder.join("policy.yaml");
        fs::write(&file, policy)?;
        fs::create_dir_all(folder.join("run/lacre"))?;
        let mut command = daemon.node().command(binaries().join("lacre-policyd"));
        command.args(["--listen", "unix:///run/lacre/policyd.sock"]);
        command.arg("--policy").arg(&file).arg("--state").arg(folder.join("policyd"));
        let log = fs::File::create(folder.join("policyd.log"))?;
        let child = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(log).spawn()?;
        Ok(Self(child, file, folder.join("run/lacre/policyd.sock")))
    }
}

impl Drop for Policyd {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
        let _ = fs::remove_file(&self.2);
    }
}

/// First none, then one, then none again: what is opened in between is judged.
#[test]
fn a_policy_that_comes_later_declares_and_takes_back() -> Result<()> {
    let lacre = "mode: enforce\nserver: unix:///run/lacre/policyd.sock\n";
    let daemon = Containerd::builder(Version::V2_1).lacre(lacre).start()?;
    let image = debian_image()?;
    daemon.import(&image)?;
    daemon.spawn(Runtime::Lacre, &image, "later", &["sleep", "100000"])?;
    let bash = |script: &str| daemon.exec("later", &["bash", "-c", script]);
    bash("mkdir -p /srv/app /data; for d in /srv/app /data; do echo echo ran >$d/notes; done")?
        .ok()?;
    let sources = |path: &str| -> Result<bool> {
        Ok(bash(&format!(". {path}/notes"))?.stdout.contains("ran"))
    };
    let becomes = |ran: bool| {
        wait_for(format!("what is sourced runs: {ran}"), SOON, || {
            Ok((sources("/srv/app")? == ran).then_some(()))
        })
        .with_context(|| format!("{} {:#?}", daemon.log(), daemon.records()))
    };
    becomes(true)?;
    let policyd = Policyd::start(&daemon, "CodeDirectories: {Default: [/srv/app]}\nActions: {}\n")?;
    becomes(false)?;
    assert!(sources("/data")?);
    let told = daemon.violations()?;
    assert!(
        told.iter().any(|it| it["path"] == "/srv/app/notes" && it["outcome"] == "denied"),
        "{told:#?}"
    );
    // Another file in its place, as editors write.
    let fresh = policyd.1.with_extension("new");
    fs::write(&fresh, "CodeDirectories: {Default: [/data]}\nActions: {}\n")?;
    fs::rename(&fresh, &policyd.1)?;
    becomes(true)?;
    assert!(!sources("/data")?);
    daemon.remove("later")?;
    daemon.forget_client_fifos()
}
