//! A containerd that is nobody on the node: in a user namespace of its own, under a user other
//! than root. There lacre may mark no file system and load no program, so that audit says that
//! nobody watches, and enforce starts nothing.

use std::env;
use std::ffi::OsString;
use std::fs;
use std::io::Write as _;
use std::os::unix::fs::chown;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use lacre_integration::images::busybox_image;
use lacre_integration::output::{Output, wait_for};
use lacre_integration::{Containerd, Runtime, Version};

const SOON: Duration = Duration::from_secs(60);
/// Nobody else's, and not root.
const USER: u32 = 64_123;

/// As many as a container's own devices want (devpts has group 5).
const GROUPS: u32 = 10;

/// Shows folders elsewhere (pairs of from and to, up to `--`), and becomes the command.
const SHOW: &str = "set -e; while [ \"$1\" != -- ]; do mount --bind \"$1\" \"$2\"; shift 2; done; \
    shift; exec \"$@\"";

/// Once it is told who it is, makes what is `/run` for the namespace alone, and becomes the
/// daemon.
const DAEMON: &str = "read -r _ && mount -t tmpfs tmpfs /run && exec containerd --config \"$0\"";

/// Such a containerd, with everything of its own but the kernel.
struct Rootless<'a> {
    outer: &'a Containerd,
    folder: PathBuf,
    /// Where its programs are, to it, for `env`.
    set_path: OsString,
    child: Child,
}

impl<'a> Rootless<'a> {
    fn start(outer: &'a Containerd, lacre: &str) -> Result<Self> {
        let own = outer.node().folder();
        let folder = own.join("rootless");
        fs::create_dir(&folder)?;
        let (from, to) = (own.display().to_string(), folder.display().to_string());
        let mut config = fs::read_to_string(own.join("config.toml"))?;
        for name in ["root", "state", "containerd.sock", "opt"] {
            config = config.replace(&format!("{from}/{name}\""), &format!("{to}/{name}\""));
        }
        fs::write(folder.join("config.toml"), config)?;
        let lacre = format!(
            "{lacre}run: /run/lacre\nstate: {to}/lacre\nrecords: {to}/lacre/violations.jsonl\n"
        );
        fs::write(folder.join("lacre.yaml"), lacre)?;
        for entry in ["", "config.toml", "lacre.yaml"] {
            chown(folder.join(entry), Some(USER), Some(USER))?;
        }
        let mut command = outer.command("unshare");
        let user = USER.to_string();
        // The programs may lie in root's own folder, where this user may not go.
        let programs = search_path(&command).context("its search path")?;
        let mut path = Vec::new();
        command.args(["--mount", "sh", "-c", SHOW, "show"]);
        for (number, from) in env::split_paths(&programs).filter(|from| from.is_dir()).enumerate() {
            let to = folder.join(format!("path/{number}"));
            fs::create_dir_all(&to)?;
            command.arg(from).arg(&to);
            path.push(to);
        }
        let mut set_path = OsString::from("PATH=");
        set_path.push(env::join_paths(path)?);
        command.args(["--", "env"]).arg(&set_path).args([
            "setpriv",
            "--reuid",
            &user,
            "--regid",
            &user,
            "--clear-groups",
            "--",
        ]);
        command.args(["unshare", "--user", "--mount", "--net", "--cgroup"]);
        command.args(["sh", "-c", DAEMON]).arg(folder.join("config.toml"));
        command.env("LACRE_CONFIG", folder.join("lacre.yaml")).env("TMPDIR", &folder);
        let log = fs::File::create(folder.join("log"))?;
        command.stdin(Stdio::piped()).stdout(log.try_clone()?).stderr(log);
        let mut rootless = Self { outer, folder, set_path, child: command.spawn()? };
        rootless.maps()?;
        let up = wait_for("a rootless containerd", SOON, || {
            Ok((rootless.ctr(&["version"])?.code == 0).then_some(()))
        });
        up.with_context(|| rootless.log())?;
        Ok(rootless)
    }

    /// Tells it who it is, once it has its namespace: root there, and nobody here.
    fn maps(&mut self) -> Result<()> {
        let of = |pid: u32| fs::read_link(format!("/proc/{pid}/ns/user"));
        let (pid, here) = (self.child.id(), of(std::process::id())?);
        wait_for("a user namespace", SOON, || Ok((of(pid)? != here).then_some(())))?;
        fs::write(format!("/proc/{pid}/uid_map"), format!("0 {USER} 1\n"))?;
        fs::write(format!("/proc/{pid}/gid_map"), format!("0 {USER} {GROUPS}\n"))?;
        self.child.stdin.take().context("its input")?.write_all(b"go\n")?;
        Ok(())
    }

    fn ctr(&self, arguments: &[&str]) -> Result<Output> {
        // As a user of it would: in the same namespaces.
        let pid = self.child.id();
        let mut command = self.outer.command("nsenter");
        command.args(["--target", &pid.to_string(), "--user", "--mount", "--net"]);
        command.args(["--", "env"]).arg(&self.set_path).args(["ctr", "-a"]);
        command.arg(self.folder.join("containerd.sock")).args(arguments);
        Output::of(command.stdin(Stdio::null()))
    }

    fn run(&self, runtime: Runtime, id: &str) -> Result<Output> {
        let image = busybox_image()?;
        // It has no cgroup of its own to give.
        let mut how = vec![
            "run",
            "--rm",
            "--null-io",
            "--cgroup",
            "",
            "--cpu-shares",
            "0",
            "--runtime",
            runtime.name(),
        ];
        how.extend([image.name(), id, "true"]);
        self.ctr(&how)
    }

    fn import(&self) -> Result<()> {
        let file = self.folder.join("image.tar");
        busybox_image()?.write(&file)?;
        self.ctr(&["images", "import", path(&file)])?.ok()?;
        Ok(())
    }

    fn records(&self) -> String {
        fs::read_to_string(self.folder.join("lacre/violations.jsonl")).unwrap_or_default()
    }

    fn log(&self) -> String {
        fs::read_to_string(self.folder.join("log")).unwrap_or_default()
    }
}

impl Drop for Rootless<'_> {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn search_path(command: &Command) -> Option<OsString> {
    let mut all = command.get_envs();
    all.find_map(|(name, value)| if name == "PATH" { value.map(OsString::from) } else { None })
}

fn path(path: &Path) -> &str {
    path.to_str().unwrap_or_default()
}

#[test]
fn audit_says_that_nobody_watches_and_enforce_starts_nothing() -> Result<()> {
    for mode in ["audit", "enforce"] {
        let outer = Containerd::start(Version::V2_1)?;
        let rootless = Rootless::start(&outer, &format!("mode: {mode}\n"))?;
        rootless.import()?;
        // What runc itself can't do here lacre need not.
        let control = rootless.run(Runtime::Runc, "control")?;
        ensure!(control.code == 0, "runc: {}\n{}", control.stderr, rootless.log());
        let ran = rootless.run(Runtime::Lacre, "guarded")?;
        let said = format!("{}\n{}\n{}", ran.stderr, rootless.log(), rootless.records());
        if mode == "audit" {
            ensure!(ran.code == 0, "{said}");
            ensure!(rootless.records().contains("SOURCE_LOST"), "{said}");
        } else {
            ensure!(ran.code != 0, "{said}");
            ensure!(ran.stderr.contains("it can't be guarded"), "{said}");
        }
    }
    Ok(())
}
