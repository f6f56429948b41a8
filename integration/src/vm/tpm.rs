//! The guests' TPMs: swtpm, and who is said to have made them.

use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::{Context, Result};
use tempfile::TempDir;

use crate::output::Output;

/// A maker of TPMs: a root and an issuer of its own, which vouch for the endorsement keys of
/// the TPMs that it makes.
#[derive(Debug)]
pub struct Maker {
    folder: TempDir,
}

impl Maker {
    /// One that has made nothing yet. Its certificates are there with its first TPM.
    ///
    /// # Errors
    /// When its folder cannot be made.
    pub fn new() -> Result<Self> {
        let folder = tempfile::tempdir()?;
        let f = folder.path().display();
        fs::create_dir(folder.path().join("ca"))?;
        let write = |name, text: String| fs::write(folder.path().join(name), text);
        write(
            "setup.conf",
            format!(
                "create_certs_tool = /usr/bin/swtpm_localca\n\
                 create_certs_tool_config = {f}/localca.conf\n\
                 create_certs_tool_options = {f}/localca.options\n"
            ),
        )?;
        write(
            "localca.conf",
            format!(
                "statedir = {f}/ca\nsigningkey = {f}/ca/key.pem\nissuercert = {f}/ca/issuer.pem\n\
                 certserial = {f}/ca/serial\n"
            ),
        )?;
        write(
            "localca.options",
            "--platform-manufacturer lacre\n--platform-version 1\n--platform-model test\n".into(),
        )?;
        Ok(Self { folder })
    }

    /// Its root's certificate, PEM.
    ///
    /// # Errors
    /// When it has made no TPM yet.
    pub fn root(&self) -> Result<String> {
        self.certificate("swtpm-localca-rootca-cert.pem")
    }

    /// The certificate of what signs for its TPMs, and stands below its root, PEM.
    ///
    /// # Errors
    /// When it has made no TPM yet.
    pub fn issuer(&self) -> Result<String> {
        self.certificate("issuer.pem")
    }

    fn certificate(&self, name: &str) -> Result<String> {
        let path = self.folder.path().join("ca").join(name);
        fs::read_to_string(&path).with_context(|| format!("reading {}", path.display()))
    }

    /// Makes a TPM, whose state is in `state`, a folder that is there.
    ///
    /// # Errors
    /// When it cannot be made.
    pub fn make(&self, state: &Path) -> Result<()> {
        let f = self.folder.path().display();
        let mut command = Command::new("swtpm_setup");
        command
            .args(["--tpm2", "--create-ek-cert", "--pcr-banks", "sha1,sha256"])
            .arg("--tpmstate")
            .arg(state)
            .args(["--config", &format!("{f}/setup.conf"), "--logfile", &format!("{f}/log")])
            .stdin(Stdio::null());
        let said = Output::of(&mut command)
            .context("starting swtpm_setup, which integration/vm/prepare.sh installs")?;
        let log = || fs::read_to_string(self.folder.path().join("log")).unwrap_or_default();
        said.ok().map(drop).with_context(|| format!("making a TPM: {}", log()))
    }
}

/// Starts a TPM that ends with its machine, in the machine's folder: a new one, of that maker
/// or of nobody. `--daemon` returns once its socket is there.
pub(crate) fn start(folder: &Path, maker: Option<&Maker>) -> Result<()> {
    let f = folder.display();
    let state = folder.join("tpm");
    fs::create_dir(&state)?;
    maker.map_or(Ok(()), |maker| maker.make(&state))?;
    let mut command = Command::new("swtpm");
    command
        .args(["socket", "--tpm2", "--daemon", "--terminate"])
        .args(["--pid", &format!("file={f}/swtpm.pid")])
        .args(["--tpmstate", &format!("dir={f}/tpm")])
        .args(["--ctrl", &format!("type=unixio,path={f}/tpm.sock")])
        .args(["--log", &format!("file={f}/swtpm.log")])
        .stdin(Stdio::null());
    let said = Output::of(&mut command)
        .context("starting swtpm, which integration/vm/prepare.sh installs")?;
    said.ok().map(drop).context("starting the guest's TPM")
}
