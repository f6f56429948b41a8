//! A dockerd of one's own, on top of containerd 2.1.

use std::fs::{self, File};
use std::path::PathBuf;
use std::process::{Child, Stdio};
use std::time::Duration;

use anyhow::{Context, Result};
use nix::sys::signal::Signal;

use crate::daemon::{Builder, Containerd, Runtime, Version, tail};
use crate::image::Image;
use crate::output::{Output, wait_for};
use crate::paths::cached;
use crate::process::Process;

/// The containerd namespace of everything that docker makes.
pub const NAMESPACE: &str = "moby";

const READY: Duration = Duration::from_secs(60);

/// A dockerd and its containerd, in one [`crate::Node`].
#[derive(Debug)]
pub struct Dockerd {
    child: Option<Child>,
    containerd: Containerd,
}

impl Dockerd {
    /// Starts both with the defaults.
    ///
    /// # Errors
    /// When one does not come up; the error holds the end of its log.
    pub fn start() -> Result<Self> {
        Self::start_on(Containerd::builder(Version::V2_1))
    }

    /// Starts dockerd on the containerd that `builder` gives.
    ///
    /// # Errors
    /// As [`Self::start`].
    pub fn start_on(builder: Builder) -> Result<Self> {
        Self::start_with(builder, &[])
    }

    /// As [`Self::start_on`], with more options for dockerd.
    ///
    /// # Errors
    /// As [`Self::start`].
    pub fn start_with(builder: Builder, options: &[&str]) -> Result<Self> {
        Self::start_over(builder.start()?, options)
    }

    /// As [`Self::start_with`], on a containerd that runs.
    ///
    /// # Errors
    /// As [`Self::start`].
    pub fn start_over(containerd: Containerd, options: &[&str]) -> Result<Self> {
        let folder = containerd.node().folder().to_owned();
        let home = folder.join("docker");
        fs::create_dir(&home)?;
        let log = File::create(home.join("log"))?;
        let child = containerd
            .command(cached("daemons/docker")?.join("usr/sbin/dockerd"))
            .args(["--userland-proxy=false", "--iptables=false", "--ip6tables=false"])
            .args(["--bip", "10.98.0.1/24", "--add-runtime", "lacre=io.containerd.lacre.v1"])
            .arg("--containerd")
            .arg(containerd.socket())
            .arg(format!("--cgroup-parent=/{}", containerd.node().tag()))
            .arg("--data-root")
            .arg(home.join("data"))
            .arg("--exec-root")
            .arg(home.join("exec"))
            .arg("--pidfile")
            .arg(home.join("pid"))
            .arg("--host")
            .arg(format!("unix://{}", home.join("sock").display()))
            .args(options)
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            .spawn()
            .context("starting dockerd")?;
        let mut docker = Self { child: Some(child), containerd };
        wait_for("dockerd answering", READY, || {
            Ok((docker.docker(&["version"])?.code == 0).then_some(()))
        })
        .with_context(|| tail(&docker.log()))?;
        // What dockerd itself holds open (its own mounts and networks) is no leak.
        docker.containerd.rebase();
        Ok(docker)
    }

    /// The containerd beneath.
    #[must_use]
    pub fn containerd(&self) -> &Containerd {
        &self.containerd
    }

    /// The absolute path of the API's socket.
    #[must_use]
    pub fn socket(&self) -> PathBuf {
        self.containerd.node().folder().join("docker/sock")
    }

    /// dockerd's log so far.
    #[must_use]
    pub fn log(&self) -> String {
        fs::read_to_string(self.containerd.node().folder().join("docker/log")).unwrap_or_default()
    }

    /// Runs `docker` with these arguments.
    ///
    /// # Errors
    /// When it cannot be started; its own failure is in the output.
    pub fn docker(&self, arguments: &[&str]) -> Result<Output> {
        let mut command = self.containerd.command(cached("daemons/docker")?.join("usr/bin/docker"));
        command
            .env("DOCKER_CONFIG", self.containerd.node().folder().join("docker"))
            .arg("--host")
            .arg(format!("unix://{}", self.socket().display()))
            .args(arguments)
            .stdin(Stdio::null());
        Output::of(&mut command)
    }

    /// `docker load`: the image with its layers.
    ///
    /// # Errors
    /// When it cannot be made or loaded.
    pub fn load(&self, image: &Image) -> Result<()> {
        let file = tempfile::NamedTempFile::new_in(self.containerd.node().folder())?;
        image.write(file.path())?;
        self.docker(&["load", "--input", &file.path().display().to_string()])?.ok().map(drop)
    }

    /// `docker import`: the lowest layer alone as an image, under the same name.
    ///
    /// # Errors
    /// When it cannot be made or imported.
    pub fn import(&self, image: &Image) -> Result<()> {
        let file = tempfile::NamedTempFile::new_in(self.containerd.node().folder())?;
        fs::write(file.path(), image.lowest_tar()?)?;
        self.docker(&["import", &file.path().display().to_string(), image.name()])?.ok().map(drop)
    }

    /// `docker run` with `options`, to the container's end.
    ///
    /// # Errors
    /// When `docker` cannot be started.
    pub fn run(
        &self,
        runtime: Runtime,
        options: &[&str],
        image: &Image,
        arguments: &[&str],
    ) -> Result<Output> {
        let mut all = vec!["run", "--runtime", runtime.name()];
        all.extend(options);
        // An imported image has no entry point, a loaded one has: the tests name their own.
        all.extend(["--entrypoint", arguments.first().copied().unwrap_or("/bin/sh")]);
        all.push(image.name());
        all.extend(arguments.iter().skip(1));
        self.docker(&all)
    }

    /// `docker inspect`'s word for the state of a container (`running`, `paused`…).
    ///
    /// # Errors
    /// When there is no such container.
    pub fn status(&self, name: &str) -> Result<String> {
        let said = self.docker(&["inspect", "--format", "{{.State.Status}}", name])?.ok()?;
        Ok(said.trim().to_owned())
    }

    fn stop(&mut self) -> Result<()> {
        let ids = self.docker(&["ps", "-aq"])?.ok()?;
        for id in ids.lines() {
            self.docker(&["rm", "-f", id])?.ok()?;
        }
        let Some(mut child) = self.child.take() else { return Ok(()) };
        if let Some(process) = i32::try_from(child.id()).ok().and_then(Process::by_pid) {
            process.signal(Signal::SIGTERM);
        }
        wait_for("dockerd going", READY, || Ok(child.try_wait()?.map(drop)))
    }
}

impl Drop for Dockerd {
    fn drop(&mut self) {
        let stopped = self.stop();
        if std::thread::panicking() {
            eprintln!("{}", tail(&self.log()));
        } else if let Err(error) = stopped {
            panic!("stopping docker: {error:#}\n{}", tail(&self.log()));
        }
    }
}
