//! A container that a v1 freezer holds half-way: FREEZING, and for ever.
//!
//! A thread in execve waits for the other threads of its process to end, which they, frozen,
//! do not; and it is itself no task that could be frozen (fs/exec.c, `de_thread`).

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, ensure};

use crate::daemon::{Containerd, Runtime};
use crate::image::Image;
use crate::output::wait_for;
use crate::process::Process;

/// A thread that is not the first one of its process executes another program, when told.
const EXECUTES: &str = "
import os, threading
def execute():
    open('/told').read()
    os.execlp('sleep', 'sleep', '1000')
os.mkfifo('/told')
thread = threading.Thread(target=execute)
thread.start()
thread.join()
";

/// Where it sleeps then, whether the compiler has one function in the other or not.
const IN_EXEC: [&str; 2] = ["de_thread", "begin_new_exec"];

/// For what is a matter of milliseconds on a quiet machine.
const SOON: Duration = Duration::from_secs(20);

/// Such a container.
#[derive(Debug)]
pub struct Held {
    init: i32,
    cgroup: PathBuf,
}

impl Held {
    /// Starts one, of an image with Python, that is not held yet; `None` where no v1 freezer
    /// is mounted.
    ///
    /// # Errors
    /// When it does not start.
    pub fn start(
        daemon: &Containerd,
        runtime: Runtime,
        image: &Image,
        id: &str,
    ) -> Result<Option<Self>> {
        daemon.spawn(runtime, image, id, &["python3", "-c", EXECUTES])?;
        let init = daemon.task_pid(id)?.context("it runs")?;
        let cgroups = Process::by_pid(init).context("it runs")?.cgroups();
        let path = cgroups.lines().find_map(|line| Some(line.split_once(":freezer:/")?.1));
        let root = Path::new("/sys/fs/cgroup/freezer");
        Ok(path.map(|path| Self { init, cgroup: root.join(path) }))
    }

    /// Its first process.
    #[must_use]
    pub fn init(&self) -> i32 {
        self.init
    }

    /// Freezes the first thread, has the second execute, and then freezes the container.
    ///
    /// # Errors
    /// When it is not FREEZING then.
    pub fn hold(&self, daemon: &Containerd, id: &str) -> Result<()> {
        let inner = self.cgroup.join("inner");
        let first = self.init.to_string();
        fs::create_dir(&inner)?;
        let second = wait_for("the second thread", SOON, || {
            let tasks = fs::read_dir(format!("/proc/{first}/task"))?.flatten();
            Ok(tasks.map(|task| task.path()).find(|task| !task.ends_with(&first)))
        })?;
        fs::write(inner.join("tasks"), &first)?;
        fs::write(inner.join("freezer.state"), "FROZEN")?;
        daemon.exec(id, &["sh", "-c", "echo > /told"])?.ok()?;
        wait_for("its exec", SOON, || {
            // Not any sleep: on its way there it waits for other things, too.
            let waits = fs::read_to_string(second.join("wchan"))?;
            Ok(IN_EXEC.contains(&waits.as_str()).then_some(()))
        })?;
        fs::write(self.cgroup.join("freezer.state"), "FROZEN")?;
        // From here on it is the container's own freezer that holds the first thread.
        fs::write(inner.join("freezer.state"), "THAWED")?;
        let state = self.state()?;
        ensure!(state == "FREEZING", "it is {state}");
        Ok(())
    }

    /// THAWED, FREEZING or FROZEN.
    ///
    /// # Errors
    /// When the cgroup is gone.
    pub fn state(&self) -> Result<String> {
        Ok(fs::read_to_string(self.cgroup.join("freezer.state"))?.trim_end().into())
    }
}
