//! Two daemons of a node that have containers of one namespace and one id.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::process::{Child, Stdio};

use anyhow::{Context, Result, ensure};
use lacre_integration::fault::shims;
use lacre_integration::images::busybox_image;
use lacre_integration::output::{Output, wait_for};
use lacre_integration::process::alive;
use lacre_integration::{Runtime, Version};

use crate::field::{Field, SOON, TRIES, Tries};

/// Another containerd on a node, with everything of its own but the kernel.
struct Second<'a> {
    field: &'a Field,
    child: Child,
}

impl<'a> Second<'a> {
    fn start(field: &'a Field) -> Result<Self> {
        let folder = field.daemon.node().folder().display().to_string();
        let mut config = fs::read_to_string(format!("{folder}/config.toml"))?;
        for name in ["root", "state", "containerd.sock", "opt"] {
            let (from, to) = (format!("{folder}/{name}\""), format!("{folder}/second-{name}\""));
            config = config.replace(&from, &to);
        }
        fs::write(format!("{folder}/second.toml"), config)?;
        let lacre = fs::read_to_string(format!("{folder}/lacre/config.yaml"))?;
        // runc refuses a second container of one id only within one root of its own.
        let lacre = format!("{lacre}inner: {{options: {{Root: {folder}/second-runc}}}}\n");
        fs::write(format!("{folder}/second.yaml"), lacre)?;
        let mut command = field.daemon.command("containerd");
        command.arg("--config").arg(format!("{folder}/second.toml"));
        command.env("LACRE_CONFIG", format!("{folder}/second.yaml")).env("TMPDIR", &folder);
        let log = fs::File::create(format!("{folder}/second.log"))?;
        let child = command.stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log).spawn()?;
        let second = Self { field, child };
        wait_for("the second containerd", SOON, || {
            Ok(second.ctr(&["version"]).is_ok().then_some(()))
        })?;
        let image = folder + "/second.tar";
        busybox_image()?.write(std::path::Path::new(&image))?;
        second.ctr(&["images", "import", &image])?;
        Ok(second)
    }

    /// A container of the same namespace and id as another's.
    fn run(&self, id: &str) -> Result<String> {
        let cgroup = format!("/{}/second", self.field.daemon.node().tag());
        let how = ["run", "--detach", "--null-io", "--cgroup", &cgroup, "--runtime"];
        let image = busybox_image()?;
        let what = [Runtime::Lacre.name(), image.name(), id, "sh", "-c", TRIES];
        self.ctr(&[&how[..], &what[..]].concat())
    }

    fn ctr(&self, arguments: &[&str]) -> Result<String> {
        let mut command = self.field.daemon.command("ctr");
        command.arg("-a").arg(self.field.daemon.node().folder().join("second-containerd.sock"));
        command.args(["-n", self.field.daemon.namespace()]).args(arguments);
        Output::of(command.stdin(Stdio::null()))?.ok()
    }
}

impl Drop for Second<'_> {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Two containers of one namespace and one id, under two daemons of a node: each is guarded as
/// long as it lives, whatever becomes of the other.
#[test]
fn equal_ids_under_two_daemons_are_two_containers() -> Result<()> {
    let mut field = Field::new(Version::V2_1)?;
    field.start("same")?;
    let second = Second::start(&field)?;
    for _ in 0..3 {
        second.run("same")?;
        field.tries_more(5)?;
        let listed = second.ctr(&["tasks", "ls"])?;
        let pid = listed
            .lines()
            .find_map(|line| line.strip_prefix("same")?.split_whitespace().next()?.parse().ok());
        let pid: i32 = pid.context("it runs")?;
        assert_ne!(pid, field.init);
        Tries(pid).more(5)?;
        second.ctr(&["tasks", "rm", "-f", "same"])?;
        second.ctr(&["containers", "rm", "same"])?;
        field.tries_more(10)?;
        assert!(alive(field.init));
    }
    drop(second);
    field.daemon.remove("same")
}

/// The one's start fails after its inner shim has started: what it takes back is its own.
#[test]
fn a_start_that_fails_ends_no_shim_of_another_daemons() -> Result<()> {
    let mut field = Field::new(Version::V2_1)?;
    field.start("same")?;
    let before = shims(field.daemon.node(), "same");
    let second = Second::start(&field)?;
    let folder = field.daemon.node().folder().to_owned();
    // A run directory that others may write in is not used, which is known once there is a
    // socket to be named.
    let open = folder.join("open");
    fs::create_dir(&open)?;
    fs::set_permissions(&open, fs::Permissions::from_mode(0o777))?;
    let yaml = folder.join("second.yaml");
    let run = format!("run: {}\n", open.display());
    fs::write(&yaml, fs::read_to_string(&yaml)?.replace("run: /run/lacre\n", &run))?;
    let refused = second.run("same").err().context("it started")?;
    ensure!(format!("{refused:#}").contains("others own it or may write"), "{refused:#}");
    field.tries_more(10)?;
    ensure!(alive(field.init), "an innocent container was ended");
    ensure!(shims(field.daemon.node(), "same") == before, "an innocent shim was ended");
    ensure!(field.daemon.status("same")?.as_deref() == Some("RUNNING"));
    second.ctr(&["containers", "rm", "same"])?;
    drop(second);
    field.daemon.remove("same")
}
