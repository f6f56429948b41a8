//! A container under a real daemon, and an executor beside it.

#![allow(dead_code, reason = "each test file uses its part")]

use std::io::stdin;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Result;
use lacre_executor::{
    Container, Executor, Helper, Later, Manager, Runtime, RuntimeError, Settings, State,
};
use lacre_integration::images::busybox_image;
use lacre_integration::{Containerd, Image, Runtime as Shim, Version};

/// An inner shim that hangs: what is tested must do without.
#[derive(Debug)]
pub(crate) struct Hangs;

impl Runtime for Hangs {
    fn kill(&self, _: u32, _: bool) -> Later<'_, ()> {
        Box::pin(std::future::pending())
    }
    fn pids(&self) -> Later<'_, Vec<u32>> {
        Box::pin(std::future::pending())
    }
    fn state(&self) -> Later<'_, State> {
        Box::pin(std::future::pending())
    }
    fn resume(&self) -> Later<'_, ()> {
        Box::pin(std::future::pending())
    }
    fn wait_exit(&self) -> Later<'_, ()> {
        Box::pin(async { Err(RuntimeError { doing: "waiting for the end".into(), source: None }) })
    }
}

/// A daemon with an image.
pub(crate) struct Host {
    pub(crate) daemon: Containerd,
    pub(crate) image: Image,
}

impl Host {
    pub(crate) fn start(version: Version) -> Result<Self> {
        let daemon = Containerd::start(version)?;
        let image = busybox_image()?;
        daemon.import(&image)?;
        Ok(Self { daemon, image })
    }

    pub(crate) fn settings(&self) -> Settings {
        Settings {
            grace: Duration::from_millis(600),
            run: self.daemon.node().folder().join("lacre-run"),
            helper: helper(),
            ..Settings::default()
        }
    }

    /// Runs a shell script as a container.
    pub(crate) fn run(&self, id: &str, options: &[&str], script: &str) -> Result<()> {
        self.daemon.spawn_with(Shim::Runc, options, &self.image, id, &["sh", "-c", script])
    }

    /// The same without a pid namespace: `ctr` has no option for that, so with a spec and a
    /// root of its own.
    pub(crate) fn run_in_host_pids(&self, id: &str, script: &str) -> Result<()> {
        let folder = self.daemon.node().folder();
        let root = folder.join("root");
        std::fs::create_dir_all(root.join("bin"))?;
        for applet in ["sh", "setsid", "sleep"] {
            let busybox = lacre_integration::paths::cached("tools/bin/busybox")?;
            std::fs::copy(busybox, root.join("bin").join(applet))?;
        }
        let mut spec: serde_json::Value =
            serde_json::from_str(&self.daemon.ctr(&["oci", "spec"])?.ok()?)?;
        spec["root"] = serde_json::json!({"path": root});
        spec["process"]["args"] = serde_json::json!(["sh", "-c", script]);
        spec["process"]["env"] = serde_json::json!(["PATH=/bin"]);
        spec["process"]["terminal"] = false.into();
        spec["linux"]["cgroupsPath"] = format!("/{}/{id}", self.daemon.namespace()).into();
        if let Some(all) = spec["linux"]["namespaces"].as_array_mut() {
            all.retain(|namespace| namespace["type"] != "pid");
        }
        let file = folder.join("spec.json");
        std::fs::write(&file, spec.to_string())?;
        let file = file.display().to_string();
        self.daemon.ctr(&["run", "--detach", "--null-io", "--config", &file, id])?.ok()?;
        Ok(())
    }

    pub(crate) fn pid(&self, id: &str) -> Result<u32> {
        Ok(self.daemon.task_pid(id)?.unwrap().try_into()?)
    }

    /// The executor of a container that runs.
    pub(crate) fn guard(&self, id: &str) -> Result<Executor> {
        self.guard_with(id, self.settings(), Manager::Containerd)
    }

    pub(crate) fn guard_with(
        &self,
        id: &str,
        settings: Settings,
        manager: Manager,
    ) -> Result<Executor> {
        let container = Container {
            namespace: self.daemon.namespace().into(),
            id: id.into(),
            generation: "a1".into(),
            init_pid: self.pid(id)?,
            address: self.daemon.socket().display().to_string(),
            manager,
        };
        Ok(Executor::start(container, settings, Arc::new(Hangs))?)
    }

    /// How far a container that counts has come.
    pub(crate) fn count(&self, id: &str) -> usize {
        self.daemon.printed(id).lines().count()
    }
}

/// A cgroup that containers are put beneath, or into: removed everywhere in the end.
pub(crate) struct Group(pub(crate) String);

impl Group {
    pub(crate) fn new(name: &str) -> Self {
        Self(format!("/lacre-executor-{}-{name}", std::process::id()))
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        let Ok(hierarchies) = std::fs::read_dir("/sys/fs/cgroup") else { return };
        for hierarchy in hierarchies.flatten() {
            let group = hierarchy.path().join(&self.0[1..]);
            for beneath in std::fs::read_dir(&group).into_iter().flatten().flatten() {
                let _ = std::fs::remove_dir(beneath.path());
            }
            let _ = std::fs::remove_dir(group);
        }
    }
}

/// Counts as fast as a shell can, in two processes.
pub(crate) const COUNTS: &str =
    "(while :; do echo a; done) & while :; do echo b; usleep 1000; done";

/// This very test program, made to run only the test `helper`.
pub(crate) fn helper() -> Helper {
    let own = std::env::current_exe().unwrap().display().to_string();
    Helper {
        program: "/usr/bin/env".into(),
        args: ["LACRE_TEST_HELPER=1", &own, "--exact", "helper", "--"].map(String::from).into(),
    }
}

/// The body of the test `helper`.
pub(crate) fn act_as_helper() {
    if std::env::var_os("LACRE_TEST_HELPER").is_some() {
        let _ = lacre_executor::detached_main(stdin(), |_, _| false);
    }
}

pub(crate) fn runtime() -> tokio::runtime::Runtime {
    // As the shim's: one thread.
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap()
}

/// Whether a process still runs (a zombie does not).
pub(crate) fn runs(pid: u32) -> bool {
    i32::try_from(pid).is_ok_and(lacre_integration::process::alive)
}
