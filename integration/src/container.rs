//! What a person does with one container, through `ctr`.

use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result};

use crate::daemon::{Containerd, Runtime};
use crate::image::Image;
use crate::output::{Output, wait_for};
use crate::runtime::writes_to_files;

/// For a task to reach a state on a busy machine.
const SOON: Duration = Duration::from_secs(60);

impl Containerd {
    /// A `ctr run` with `options`, to be given its streams and started.
    #[must_use]
    pub fn run_command(
        &self,
        runtime: Runtime,
        options: &[&str],
        image: &Image,
        id: &str,
        arguments: &[&str],
    ) -> Command {
        let mut command = self.ctr_command(self.namespace());
        command
            .args(["run", "--runtime", runtime.name()])
            .args(options)
            .args([image.name(), id])
            .args(arguments);
        command
    }

    /// Runs a container to its end, and removes it.
    ///
    /// # Errors
    /// When `ctr` cannot be started.
    pub fn run(
        &self,
        runtime: Runtime,
        image: &Image,
        id: &str,
        arguments: &[&str],
    ) -> Result<Output> {
        Output::of(&mut self.run_command(runtime, &["--rm"], image, id, arguments))
    }

    /// Starts a container in the background; what it prints goes to [`Self::printed`].
    ///
    /// # Errors
    /// When it does not start.
    pub fn spawn(
        &self,
        runtime: Runtime,
        image: &Image,
        id: &str,
        arguments: &[&str],
    ) -> Result<()> {
        self.spawn_with(runtime, &[], image, id, arguments)
    }

    /// As [`Self::spawn`], with more options for `ctr run`.
    ///
    /// # Errors
    /// When it does not start.
    pub fn spawn_with(
        &self,
        runtime: Runtime,
        options: &[&str],
        image: &Image,
        id: &str,
        arguments: &[&str],
    ) -> Result<()> {
        let uri = format!("file://{}", self.printed_path(id));
        let mut all = vec!["--detach"];
        let to_file = ["--log-uri", &uri];
        all.extend(if writes_to_files() { &to_file[..] } else { &["--null-io"] });
        all.extend(options);
        let output = Output::of(&mut self.run_command(runtime, &all, image, id, arguments))?;
        output.ok().map(drop).with_context(|| format!("starting {id}"))
    }

    fn printed_path(&self, id: &str) -> String {
        self.node().folder().join(format!("{id}.out")).display().to_string()
    }

    /// What a container of [`Self::spawn`] has printed so far, both streams; nothing where the
    /// shim does not write it ([`writes_to_files`]).
    #[must_use]
    pub fn printed(&self, id: &str) -> String {
        std::fs::read(self.printed_path(id))
            .map(|bytes| String::from_utf8_lossy(&bytes).into_owned())
            .unwrap_or_default()
    }

    /// Runs a command in a running container.
    ///
    /// # Errors
    /// When `ctr` cannot be started.
    pub fn exec(&self, id: &str, arguments: &[&str]) -> Result<Output> {
        use std::sync::atomic::{AtomicU32, Ordering};
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let exec = format!("exec-{}", COUNT.fetch_add(1, Ordering::Relaxed));
        let mut all = vec!["tasks", "exec", "--exec-id", &exec, id];
        all.extend(arguments);
        self.ctr(&all)
    }

    /// Has a running container run a program that did not come with its image, and waits for
    /// nothing: the container may be ended by it.
    ///
    /// # Errors
    /// When `ctr` cannot be started.
    pub fn violate(&self, id: &str) -> Result<()> {
        use std::sync::atomic::{AtomicU32, Ordering};
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let exec = format!("bad-{}", COUNT.fetch_add(1, Ordering::Relaxed));
        let folder = self.node().folder();
        let log = format!("file://{}", folder.join(&exec).display());
        let fifos = folder.join("fifo").display().to_string();
        // Without FIFOs, where the shim can do so: whoever waits for a container that is ended
        // leaves its own behind.
        let [flag, place] =
            if writes_to_files() { ["--log-uri", &log] } else { ["--fifo-dir", &fifos] };
        let script = "cp /bin/busybox /tmp/x; /tmp/x true";
        let how = ["tasks", "exec", "--detach", flag, place, "--exec-id", &exec, id];
        self.ctr(&[&how[..], &["sh", "-c", script]].concat()).map(drop)
    }

    /// What a command prints that must succeed and prints something.
    ///
    /// `ctr` now and then loses the output of a very short command, so one that said
    /// nothing is asked again.
    ///
    /// # Errors
    /// When it fails, or still says nothing.
    pub fn exec_prints(&self, id: &str, arguments: &[&str]) -> Result<String> {
        wait_for(format!("{arguments:?} printing"), SOON, || {
            let said = self.exec(id, arguments)?.ok()?;
            Ok((!said.is_empty()).then_some(said))
        })
    }

    /// The state of a task as containerd tells it (`RUNNING`, `PAUSED`, `STOPPED`), if
    /// there is one.
    ///
    /// # Errors
    /// When the daemon does not answer.
    pub fn status(&self, id: &str) -> Result<Option<String>> {
        Ok(self.task(id)?.map(|(_, status)| status))
    }

    /// The process id of a container's init, if there is a task.
    ///
    /// # Errors
    /// When the daemon does not answer.
    pub fn task_pid(&self, id: &str) -> Result<Option<i32>> {
        Ok(self.task(id)?.map(|(pid, _)| pid))
    }

    fn task(&self, id: &str) -> Result<Option<(i32, String)>> {
        let list = self.ctr(&["tasks", "ls"])?.ok()?;
        Ok(list.lines().find_map(|line| {
            let mut fields = line.split_whitespace();
            let (name, pid, status) = (fields.next()?, fields.next()?, fields.next()?);
            (name == id).then_some((pid.parse().ok()?, status.to_owned()))
        }))
    }

    /// Waits until a task is in the state `wanted` (`None`: until there is no task).
    ///
    /// # Errors
    /// When it does not get there.
    pub fn await_status(&self, id: &str, wanted: Option<&str>) -> Result<()> {
        wait_for(format!("{id} being {wanted:?}"), SOON, || {
            Ok((self.status(id)?.as_deref() == wanted).then_some(()))
        })
    }

    /// Freezes a container.
    ///
    /// # Errors
    /// When containerd refuses.
    pub fn pause(&self, id: &str) -> Result<()> {
        self.ctr(&["tasks", "pause", id])?.ok().map(drop)
    }

    /// Thaws a container.
    ///
    /// # Errors
    /// When containerd refuses.
    pub fn resume(&self, id: &str) -> Result<()> {
        self.ctr(&["tasks", "resume", id])?.ok().map(drop)
    }

    /// Sends a signal (`SIGKILL`) to a container's init.
    ///
    /// # Errors
    /// When containerd refuses.
    pub fn signal(&self, id: &str, signal: &str) -> Result<()> {
        self.ctr(&["tasks", "kill", "--signal", signal, id])?.ok().map(drop)
    }

    /// Ends and removes a container and its snapshot, whatever their state.
    ///
    /// # Errors
    /// When containerd refuses to remove it.
    pub fn remove(&self, id: &str) -> Result<()> {
        self.ctr(&["tasks", "rm", "--force", id])?;
        self.ctr(&["containers", "rm", id])?.ok().map(drop)
    }

    /// Follows containerd's events, all of them, from now on.
    ///
    /// # Errors
    /// When `ctr` cannot be started.
    pub fn events(&self) -> Result<Events> {
        let file = tempfile::NamedTempFile::new_in(self.node().folder())?;
        let child = self
            .ctr_command(self.namespace())
            .arg("events")
            .stdout(file.reopen()?)
            .stderr(Stdio::null())
            .spawn()?;
        let events = Events { child, file };
        // Subscribed is what we are once an event of our own making has come back.
        let mut round = 0;
        wait_for("the event stream", SOON, || {
            round += 1;
            let label = format!("round={round}");
            self.ctr(&["namespaces", "label", self.namespace(), &label])?;
            Ok((!events.text()?.is_empty()).then_some(()))
        })?;
        Ok(events)
    }
}

/// A running `ctr events`.
#[derive(Debug)]
pub struct Events {
    child: Child,
    file: tempfile::NamedTempFile,
}

impl Events {
    /// All that came so far.
    ///
    /// # Errors
    /// When the file cannot be read.
    pub fn text(&self) -> Result<String> {
        Ok(String::from_utf8_lossy(&std::fs::read(self.file.path())?).into_owned())
    }

    /// Waits for a line in which all of `words` occur.
    ///
    /// # Errors
    /// When none comes; the error holds what did.
    pub fn expect(&self, words: &[&str]) -> Result<String> {
        let found = wait_for(format!("an event with {words:?}"), SOON, || {
            let text = self.text()?;
            Ok(text.lines().find(|line| words.iter().all(|w| line.contains(w))).map(String::from))
        });
        found.with_context(|| self.text().unwrap_or_default())
    }
}

impl Drop for Events {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
