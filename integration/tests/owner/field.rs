//! A daemon, and a container that tries what did not come with its image.

use std::ffi::OsString;
use std::fs;
use std::os::unix::ffi::OsStringExt as _;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use lacre_integration::fault::{Victim, find, kill};
use lacre_integration::images::busybox_image;
use lacre_integration::output::wait_for;
use lacre_integration::process::{Process, alive};
use lacre_integration::{Containerd, Runtime, Version};
use lacre_types::mountinfo;
use nix::sys::signal::Signal;

/// Longer than a container takes to go, on a busy machine.
pub(crate) const SOON: Duration = Duration::from_secs(60);

/// Tries what did not come with the image, again and again, and says each time how often it
/// has tried; what ran says so itself.
pub(crate) const TRIES: &str = "cp /bin/busybox /tmp/busybox; n=0; while :; do n=$((n+1)); echo $n >/tmp/n.new; \
                     mv /tmp/n.new /tmp/tried; /tmp/busybox touch /tmp/ran; usleep 20000; done";

/// Who dies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Who {
    Containerd,
    Inner,
    Lacre,
}

/// A container that does [`TRIES`], by its first process.
pub(crate) struct Tries(pub(crate) i32);

impl Tries {
    pub(crate) fn file(&self, name: &str) -> Option<String> {
        fs::read_to_string(format!("/proc/{}/root/tmp/{name}", self.0)).ok()
    }

    pub(crate) fn count(&self) -> u64 {
        self.file("tried").and_then(|text| text.trim().parse().ok()).unwrap_or_default()
    }

    /// It has ended, or has tried so often more, in vain.
    pub(crate) fn more(&self, times: u64) -> Result<()> {
        let before = self.count();
        wait_for("tries", SOON, || {
            Ok((!alive(self.0) || self.count() >= before + times).then_some(()))
        })?;
        if alive(self.0) && self.file("ran").is_some() {
            bail!("what did not come with the image has run");
        }
        Ok(())
    }
}

pub(crate) struct Field {
    pub(crate) daemon: Containerd,
    pub(crate) init: i32,
    /// Where the container's own files are, also when it has ended.
    upper: PathBuf,
}

impl Field {
    pub(crate) fn new(version: Version) -> Result<Self> {
        Self::with(version, "mode: enforce\n")
    }

    pub(crate) fn with(version: Version, lacre: &str) -> Result<Self> {
        let daemon = Containerd::builder(version).lacre(lacre).start()?;
        daemon.import(&busybox_image()?)?;
        Ok(Self { daemon, init: 0, upper: PathBuf::new() })
    }

    pub(crate) fn start(&mut self, id: &str) -> Result<()> {
        self.runs(id, TRIES)?;
        self.tries_more(3)
    }

    pub(crate) fn runs(&mut self, id: &str, script: &str) -> Result<()> {
        self.daemon.spawn(Runtime::Lacre, &busybox_image()?, id, &["sh", "-c", script])?;
        self.init = self.daemon.task_pid(id)?.context("it runs")?;
        let mounts = mountinfo::parse(&fs::read(format!("/proc/{}/mountinfo", self.init))?)?;
        let options = mounts.into_iter().flat_map(|mount| mount.options);
        let mut upper = options.filter_map(|one| Some(one.strip_prefix(b"upperdir=")?.to_vec()));
        self.upper = OsString::from_vec(upper.next().context("an overlay")?).into();
        Ok(())
    }

    pub(crate) fn tries_more(&self, times: u64) -> Result<()> {
        Tries(self.init).more(times)
    }

    pub(crate) fn dies(&mut self, who: Who, id: &str) -> Result<()> {
        match who {
            Who::Containerd => self.daemon.down(Signal::SIGKILL),
            // Where another's death has ended it already, there is none.
            Who::Inner => self.kills(Victim::Inner, id),
            Who::Lacre => self.kills(Victim::Lacre, id),
        }
    }

    pub(crate) fn kills(&self, victim: Victim, id: &str) -> Result<()> {
        // `find` asks nobody but the kernel for a shim.
        if find(&self.daemon, victim, id).is_some() {
            kill(&self.daemon, victim, id)?;
        }
        Ok(())
    }

    /// containerd is back, if it was away, and the container's end is told; nothing is left.
    pub(crate) fn ends(&mut self, id: &str) -> Result<()> {
        self.daemon.up()?;
        wait_for("the container's end", SOON, || {
            self.tries_more(0)?;
            Ok((!alive(self.init)).then_some(()))
        })?;
        self.never_ran()?;
        self.daemon.remove(id)
    }

    /// What did not come with the image never ran, up to the container's last moment.
    pub(crate) fn never_ran(&self) -> Result<()> {
        if self.upper.join("tmp/ran").exists() {
            bail!("what did not come with the image has run");
        }
        Ok(())
    }

    /// How often it has tried.
    pub(crate) fn tries(&self) -> u64 {
        Tries(self.init).count()
    }

    /// What lacre keeps for its run: a guard's place, a charter. Not the watchdog's own.
    pub(crate) fn kept(&self) -> Vec<String> {
        let run = self.daemon.node().folder().join("run/lacre");
        let names = |folder: &str| fs::read_dir(run.join(folder)).into_iter().flatten().flatten();
        let all = names("s").chain(names("containers"));
        all.map(|entry| entry.file_name().to_string_lossy().into_owned()).collect()
    }

    /// Cuts off whatever file of JSON is there in a folder of the run directory.
    pub(crate) fn damages(&self, folder: &str) -> Result<()> {
        let folder = self.daemon.node().folder().join("run/lacre").join(folder);
        let mut files = 0;
        for entry in fs::read_dir(folder)? {
            let path = entry?.path();
            if path.extension().is_some_and(|kind| kind == "json") {
                fs::OpenOptions::new().write(true).open(path)?.set_len(20)?;
                files += 1;
            }
        }
        anyhow::ensure!(files == 1, "{files} files");
        Ok(())
    }

    /// Nothing of the dead guard is left but what is containerd's.
    pub(crate) fn is_taken_out(&self) -> Result<()> {
        wait_for("what a dead guard left", SOON, || Ok(self.kept().is_empty().then_some(())))
    }

    /// The watchdog's process.
    pub(crate) fn watchdog(&self) -> Option<Process> {
        let mut all = self.daemon.node().processes().into_iter();
        all.find(|process| process.arguments.iter().any(|word| word == "--watchdog"))
    }

    /// Waits until the container's first process has ended; nothing foreign has run in it.
    pub(crate) fn has_ended(&self) -> Result<()> {
        wait_for("the container's end", SOON, || {
            self.tries_more(0)?;
            Ok((!alive(self.init)).then_some(()))
        })?;
        self.never_ran()
    }

    /// That a container's guard has died, or hung, is on record once.
    pub(crate) fn is_told(&self, id: &str, how: &str) -> Result<()> {
        let told = || -> Result<usize> {
            let all = self.daemon.records()?.into_iter();
            let its = all.filter(|record| record.to_string().contains(&format!("\"{id}\"")));
            Ok(its.filter(|record| record.to_string().contains(how)).count())
        };
        wait_for(format!("a record that lacre {how}"), SOON, || Ok((told()? > 0).then_some(())))
            .with_context(|| format!("{:?}", self.daemon.records()))?;
        match told()? {
            1 => Ok(()),
            times => bail!("{id}: told {times} times that lacre {how}"),
        }
    }
}
