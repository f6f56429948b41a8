//! An inner shim that refuses, dies, hangs or lies, call by call: what it did not do is told
//! in its own words, what it began does not run on unguarded, and nothing of it is left.

use std::fs;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use lacre_integration::fault::shims;
use lacre_integration::images::busybox_image;
use lacre_integration::output::{Output, wait_for};
use lacre_integration::paths::failing_shim;
use lacre_integration::process::{Process, alive};
use lacre_integration::{Containerd, Runtime, Version};
use nix::sys::signal::Signal;

const SOON: Duration = Duration::from_secs(60);

/// Both Task APIs, each by the shim that is made for it.
const VERSIONS: [(Version, &str); 3] = [
    (Version::V1_6, "containerd-shim-faulty-v2"),
    (Version::V1_7, "containerd-shim-faulty-v2"),
    (Version::V2_1, "containerd-shim-faulty-v3"),
];

/// Tries what did not come with the image, again and again; what ran says so itself.
const TRIES: &str = "cp /bin/busybox /tmp/x; echo up; while :; do /tmp/x touch /tmp/ran; \
                     echo tried >>/tmp/tried; usleep 20000; done";

struct Field {
    daemon: Containerd,
    faults: tempfile::TempDir,
}

impl Field {
    fn new((version, shim): (Version, &str), lacre: &str) -> Result<Self> {
        let faults = tempfile::tempdir()?;
        let inner = failing_shim(shim)?;
        let lacre = format!("{lacre}inner: {{shim: {}}}\n", inner.display());
        let file = faults.path().join("faults").display().to_string();
        let daemon = Containerd::builder(version).lacre(&lacre).env("LACRE_TEST_FAULTS", &file);
        let daemon = daemon.start()?;
        daemon.import(&busybox_image()?)?;
        Ok(Self { daemon, faults })
    }

    fn enforcing(version: (Version, &str)) -> Result<Self> {
        Self::new(version, "mode: enforce\n")
    }

    /// What goes wrong from now on: a line for each call, none for good order.
    fn faults(&self, lines: &str) -> Result<()> {
        let (file, new) = (self.faults.path().join("faults"), self.faults.path().join("new"));
        fs::write(&new, lines)?;
        fs::rename(new, file)?;
        let _ = fs::remove_file(self.faults.path().join("faults.met"));
        Ok(())
    }

    /// The inner shim has met a fault.
    fn is_met(&self, line: &str) -> Result<()> {
        wait_for(format!("{line:?} in the inner shim"), SOON, || {
            let met = fs::read_to_string(self.faults.path().join("faults.met"));
            Ok(met.unwrap_or_default().lines().any(|met| met == line).then_some(()))
        })
    }

    fn client_command(&self, id: &str) -> Result<Command> {
        let run = ["-d", "--null-io"];
        let script = ["sh", "-c", TRIES];
        Ok(self.daemon.run_command(Runtime::Lacre, &run, &busybox_image()?, id, &script))
    }

    fn try_start(&self, id: &str) -> Result<Output> {
        Output::of(&mut self.client_command(id)?)
    }

    fn start(&self, id: &str) -> Result<Guarded> {
        self.try_start(id)?.ok().with_context(|| format!("starting {id}"))?;
        let guarded = Guarded(self.daemon.task_pid(id)?.context("it runs")?);
        guarded.tries()?;
        Ok(guarded)
    }

    /// A client that would wait longer than the test.
    fn client(&self, mut command: Command) -> Result<Client> {
        Ok(Client(command.stdout(Stdio::null()).stderr(Stdio::null()).spawn()?))
    }

    /// No process is left that would run on, and no shim.
    fn is_gone(&self, id: &str) -> Result<()> {
        let node = self.daemon.node();
        wait_for(format!("the end of {id}"), SOON, || {
            let runs = |process: &Process| process.arguments.iter().any(|word| word == TRIES);
            let init = node.processes().iter().any(runs);
            Ok((!init && shims(node, id).is_empty()).then_some(()))
        })
        .with_context(|| format!("{:?}", node.processes()))
    }

    fn bundle(&self, id: &str) -> PathBuf {
        let bundles = self.daemon.node().folder().join("state/io.containerd.runtime.v2.task");
        bundles.join(self.daemon.namespace()).join(id)
    }

    /// Kills the inner shim.
    fn inner_dies(&self, id: &str) {
        for shim in shims(self.daemon.node(), id) {
            if !shim.name().contains("lacre") {
                shim.signal(Signal::SIGKILL);
            }
        }
    }

    /// What a `delete` that did nothing has left, as it would without lacre: runc's state, the
    /// mounted root, the bundle.
    fn does_the_inner_shims_part(&self, id: &str) -> Result<()> {
        let (namespace, bundle) = (self.daemon.namespace(), self.bundle(id));
        let bundle = bundle.display();
        let script = format!(
            "runc --root /run/containerd/runc/{namespace} delete --force {id}
             ! mountpoint -q {bundle}/rootfs || umount {bundle}/rootfs
             rm -rf {bundle}"
        );
        let mut command = self.daemon.command("sh");
        Output::of(command.args(["-c", &script]).stdin(Stdio::null()))?.ok().map(drop)
    }

    /// What a client that gave up leaves of its own.
    fn forget(&self, id: &str) -> Result<()> {
        self.daemon.ctr(&["tasks", "rm", "--force", id])?;
        self.daemon.ctr(&["containers", "rm", id])?;
        Ok(())
    }
}

/// A client that is given up with the test.
struct Client(Child);

impl Drop for Client {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// A container's first process, that does [`TRIES`].
#[derive(Clone, Copy)]
struct Guarded(i32);

impl Guarded {
    fn file(self, name: &str) -> Option<String> {
        fs::read_to_string(format!("/proc/{}/root/tmp/{name}", self.0)).ok()
    }

    /// It tries on, or has ended; what it tries has not run.
    fn tries(self) -> Result<()> {
        let count = || self.file("tried").map_or(0, |text| text.len());
        let before = count();
        wait_for("tries", SOON, || Ok((!alive(self.0) || count() > before + 12).then_some(())))?;
        ensure!(self.file("ran").is_none(), "what did not come with the image has run");
        Ok(())
    }
}

fn each(test: impl Fn((Version, &str)) -> Result<()>) -> Result<()> {
    for version in VERSIONS {
        test(version).with_context(|| format!("under {:?}", version.0))?;
    }
    Ok(())
}

/// The control: without a fault they are shims as others are.
#[test]
fn without_a_fault_a_container_lives_and_ends() -> Result<()> {
    each(|version| {
        Field::enforcing(version)?.daemon.check(|daemon| {
            let image = busybox_image()?;
            ensure!(daemon.run(Runtime::Lacre, &image, "says", &["echo", "x"])?.ok()? == "x\n");
            ensure!(daemon.run(Runtime::Lacre, &image, "ends", &["sh", "-c", "exit 7"])?.code == 7);
            daemon.spawn(Runtime::Lacre, &image, "runs", &["sleep", "1000"])?;
            ensure!(daemon.exec_prints("runs", &["echo", "y"])? == "y\n");
            daemon.pause("runs")?;
            daemon.await_status("runs", Some("PAUSED"))?;
            daemon.resume("runs")?;
            daemon.signal("runs", "SIGKILL")?;
            daemon.await_status("runs", Some("STOPPED"))?;
            daemon.remove("runs")
        })
    })
}

/// The client reads the inner shim's own words, and the same id can be used again.
#[test]
fn what_the_inner_shim_refuses_is_refused_in_its_words() -> Result<()> {
    each(|version| {
        let field = Field::enforcing(version)?;
        for call in ["start", "Create", "Start"] {
            field.faults(&format!("{call} fails\n"))?;
            let said = field.try_start("refused")?;
            let words = format!("{call} fails, as it was told");
            ensure!(said.code != 0 && said.stderr.contains(&words), "{call}: {said:?}");
            field.faults("")?;
            field.forget("refused")?;
            field.is_gone("refused")?;
        }
        let guarded = field.start("refused")?;
        for (call, verb) in [("Pause", "pause"), ("Kill", "kill")] {
            field.faults(&format!("{call} fails\n"))?;
            let said = field.daemon.ctr(&["tasks", verb, "refused"])?;
            let words = format!("{call} fails, as it was told");
            ensure!(said.code != 0 && said.stderr.contains(&words), "{call}: {said:?}");
            guarded.tries()?;
        }
        field.faults("")?;
        field.daemon.remove("refused")
    })
}

/// It dies before it did what it was asked, or after, and before it could say so.
#[test]
fn what_a_dying_inner_shim_began_is_ended() -> Result<()> {
    each(|version| {
        let field = Field::enforcing(version)?;
        for call in ["Create", "Start", "Kill", "Delete"] {
            for fault in ["dies", "dies-after"] {
                // containerd may yet be busy with the end of the one before.
                let (line, id) = (format!("{call} {fault}"), format!("{call}-{fault}"));
                if matches!(call, "Create" | "Start") {
                    field.faults(&line)?;
                    let said = field.try_start(&id)?;
                    ensure!(said.code != 0, "{line}: {said:?}");
                } else {
                    let guarded = field.start(&id)?;
                    field.faults(&line)?;
                    field.daemon.ctr(&["tasks", "rm", "--force", &id])?;
                    guarded.tries().with_context(|| line.clone())?;
                }
                field.is_met(&line)?;
                field.faults("")?;
                field.forget(&id)?;
                field.is_gone(&id).context(line)?;
            }
        }
        Ok(())
    })
}

/// The process that it names is not the container's: in enforce nothing is started, in audit
/// that is on record.
#[test]
fn another_process_than_the_containers_is_not_guarded_for_it() -> Result<()> {
    each(|version| {
        let field = Field::enforcing(version)?;
        field.faults("Create lies\n")?;
        let said = field.try_start("strange")?;
        ensure!(said.code != 0 && said.stderr.contains("is not proven"), "{said:?}");
        field.faults("")?;
        field.forget("strange")?;
        field.is_gone("strange")?;
        drop(field);

        let field = Field::new(version, "mode: audit\n")?;
        field.faults("Create lies\n")?;
        field.try_start("strange")?.ok()?;
        field.faults("")?;
        wait_for("a record", SOON, || {
            let lost = |record: &serde_json::Value| record["notificate"] == "SOURCE_LOST";
            Ok(field.daemon.violations()?.iter().any(lost).then_some(()))
        })?;
        field.daemon.remove("strange")
    })
}

/// Who waits for a call that hangs can be killed, and what the call was for is taken out; until
/// then the other calls are answered.
#[test]
fn a_call_that_hangs_holds_no_other_up() -> Result<()> {
    each(|version| {
        let field = Field::enforcing(version)?;
        let guarded = field.start("held")?;
        field.faults("Pause hangs\n")?;
        let mut pause = field.daemon.ctr_command(field.daemon.namespace());
        pause.args(["tasks", "pause", "held"]);
        let client = field.client(pause)?;
        field.is_met("Pause hangs")?;
        guarded.tries()?;
        ensure!(field.daemon.status("held")?.as_deref() == Some("RUNNING"));
        drop(client);
        field.daemon.remove("held")?;
        field.is_gone("held")?;

        for call in ["Create", "Start"] {
            field.faults(&format!("{call} hangs\n"))?;
            let client = field.client(field.client_command("held")?)?;
            field.is_met(&format!("{call} hangs"))?;
            // A shim that hangs is killed, by whoever looks after the node.
            field.inner_dies("held");
            drop(client);
            field.faults("")?;
            field.forget("held")?;
            field.is_gone("held").context(call)?;
        }
        Ok(())
    })
}

/// It says that it has killed, that the container has ended, that it is deleted; it runs on, and
/// so it is guarded, though nobody knows of it any longer.
#[test]
fn a_container_that_the_inner_shim_says_is_gone_is_guarded_on() -> Result<()> {
    each(|version| {
        let field = Field::enforcing(version)?;
        let guarded = field.start("denied")?;
        field.faults(
            "Kill lies\nWait lies\nDelete lies\nState lies\nShutdown lies\ndelete lies\n",
        )?;
        field.daemon.ctr(&["tasks", "rm", "--force", "denied"])?;
        field.is_met("Delete lies")?;
        for _ in 0..5 {
            guarded.tries()?;
        }
        field.faults("")?;
        field.forget("denied")?;
        if let Some(init) = Process::by_pid(guarded.0) {
            init.signal(Signal::SIGKILL);
        }
        field.inner_dies("denied");
        field.is_gone("denied")?;
        field.does_the_inner_shims_part("denied")
    })
}

/// What the policy says is done by the kernel, and not by a shim's leave.
#[test]
fn a_kill_needs_no_inner_shim() -> Result<()> {
    each(|version| {
        let policy = tempfile::NamedTempFile::new()?;
        fs::write(policy.path(), "Actions: {ENTRY_NOT_FOUND: {Default: KILL}}\n")?;
        let lacre = format!("mode: enforce\npolicy: {}\n", policy.path().display());
        let field = Field::new(version, &lacre)?;
        field.faults("Kill lies\nPause lies\nPids fails\n")?;
        // It may have ended before the client has its answer.
        field.try_start("kills")?;
        wait_for("its end", SOON, || {
            let runs = |process: &Process| process.arguments.iter().any(|word| word == TRIES);
            Ok((!field.daemon.node().processes().iter().any(runs)).then_some(()))
        })?;
        wait_for("its record", SOON, || {
            let done = |entry: &serde_json::Value| {
                entry["record"] == "outcome"
                    && entry["action"] == "KILL"
                    && entry["result"] == "done"
            };
            Ok(field.daemon.records()?.iter().any(done).then_some(()))
        })?;
        field.faults("")?;
        field.daemon.remove("kills")
    })
}

/// The inner shim died, and its `delete` does not do what it is called for: containerd is told,
/// the container is ended, and what lacre has to take out it takes out.
#[test]
fn a_delete_that_fails_hangs_or_dies_leaves_nothing_unguarded() -> Result<()> {
    each(|version| {
        let field = Field::enforcing(version)?;
        for fault in ["fails", "lies", "dies", "dies-after", "hangs"] {
            let guarded = field.start(fault)?;
            field.faults(&format!("delete {fault}\n"))?;
            field.inner_dies(fault);
            field.is_met(&format!("delete {fault}"))?;
            guarded.tries().with_context(|| fault.to_owned())?;
            field.forget(fault)?;
            field.is_gone(fault).with_context(|| fault.to_owned())?;
            let run = field.daemon.node().folder().join("run/lacre");
            wait_for("lacre's own going", SOON, || {
                let left = ["s", "containers"].map(|name| fs::read_dir(run.join(name)));
                Ok(left.into_iter().flatten().all(|mut all| all.next().is_none()).then_some(()))
            })
            .with_context(|| fault.to_owned())?;
            field.faults("")?;
            if fault == "hangs" {
                // containerd kills that one, and another finishes it.
                let bundle = field.bundle(fault);
                wait_for("its bundle going", SOON, || Ok((!bundle.exists()).then_some(())))?;
            } else {
                field.does_the_inner_shims_part(fault)?;
            }
        }
        Ok(())
    })
}
