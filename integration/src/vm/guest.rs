//! A machine that runs.

use std::fs;
use std::io::{BufReader, Write as _};
use std::os::fd::AsFd as _;
use std::os::unix::net::{UnixListener, UnixStream};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context, Error, Result, anyhow, bail, ensure};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use serde::de::DeserializeOwned;

use super::kernel::Kernel;
use super::wire::{self, Answer, Hello, Request};
use super::{disk, rootfs};
use crate::output::Output;

/// From QEMU's start to the agent's first word: 10 to 20 s on two idle cores.
const BOOT: Duration = Duration::from_secs(180);
/// No request takes longer, or the guest hangs: the slowest take 15 s on two idle cores.
const ANSWER: Duration = Duration::from_secs(180);
/// Between two looks at whether QEMU has ended before it connected.
const LOOK: Duration = Duration::from_millis(200);
/// Of the console, in a failure.
const TAIL: usize = 60;

/// What SSE gives is worth a quarter of the time that AVX costs an emulator. One processor:
/// with two, one Debian boot in three panicked in the emulator's static-key patching.
const MACHINE: [&str; 12] = [
    "-machine",
    "pc",
    "-accel",
    "tcg",
    "-cpu",
    "qemu64,+ssse3,+sse4.1,+sse4.2,+popcnt,+rdrand",
    "-smp",
    "1",
    "-m",
    "1024",
    "-nodefaults",
    "-no-reboot",
];

/// Ends a machine and its TPM, and removes their folder, once its input closes, however the
/// test ends. A pid whose command line does not name the folder is no longer theirs.
const LEASH: &str = r#"cat >/dev/null
for pid in "$1" $(cat "$2/swtpm.pid" 2>/dev/null); do
    grep -qs "$2" "/proc/$pid/cmdline" && kill -9 "$pid"
done
rm -rf "$2""#;

/// A kernel under QEMU, with a TPM of its own, and the agent that does what tests ask.
#[derive(Debug)]
pub struct Guest {
    kernel: Kernel,
    hello: Hello,
    machine: Machine,
    control: BufReader<UnixStream>,
    /// Why it was ended.
    ended: Option<String>,
}

/// The guest of `kernel` that this process's tests share; the first that asks boots it.
///
/// # Errors
/// When it did not boot, be it long ago.
pub fn shared(kernel: Kernel) -> Result<MutexGuard<'static, Guest>> {
    static GUESTS: [OnceLock<Result<Mutex<Guest>, String>>; 3] = [const { OnceLock::new() }; 3];
    let guest = GUESTS[kernel as usize]
        .get_or_init(|| Guest::boot(kernel).map(Mutex::new).map_err(|error| format!("{error:#}")));
    match guest {
        Ok(guest) => Ok(guest.lock().unwrap_or_else(PoisonError::into_inner)),
        Err(why) => Err(anyhow!("{why}")),
    }
}

impl Guest {
    /// Boots one, and returns when its agent answers.
    ///
    /// # Errors
    /// When something that it takes is missing, or it does not come up; the error then holds
    /// the end of its console.
    pub fn boot(kernel: Kernel) -> Result<Self> {
        Self::boot_with(kernel, "", BOOT)
    }

    /// As [`Self::boot`], with more arguments for the kernel, and another limit.
    ///
    /// # Errors
    /// As [`Self::boot`].
    pub fn boot_with(kernel: Kernel, arguments: &str, limit: Duration) -> Result<Self> {
        let mut boot = kernel.boot()?;
        boot.arguments = format!("{} {arguments}", boot.arguments);
        let root = rootfs::prepare()?;
        let (mut machine, listener) = Machine::start(&root, &boot)?;
        let control = machine.accept(&listener).and_then(|stream| hello(stream, limit));
        let (control, hello) = control
            .map_err(|error| machine.failed(error))
            .with_context(|| format!("booting {kernel}"))?;
        Ok(Self { kernel, hello, machine, control, ended: None })
    }

    /// What it said when it was up.
    #[must_use]
    pub fn hello(&self) -> &Hello {
        &self.hello
    }

    /// Asks the agent for something.
    ///
    /// # Errors
    /// When the agent could not do it; when the guest did not answer in time, panicked or
    /// ended, which ends it for all tests, and is told with the end of its console.
    pub fn ask<T: DeserializeOwned>(&mut self, request: &Request) -> Result<T> {
        let about = || format!("{}: {request:?}", self.kernel);
        if let Some(why) = &self.ended {
            bail!("{}: the guest is gone since an earlier request: {why}", about());
        }
        let answer = self
            .control
            .get_mut()
            .write_all(&wire::line(request)?)
            .map_err(Error::from)
            .and_then(|()| next::<Answer>(&mut self.control, ANSWER));
        match answer {
            Ok(Answer::Done(value)) => serde_json::from_value(value).with_context(about),
            Ok(Answer::Failed(why)) => {
                Err(anyhow!("{why}\n{}", self.machine.tail())).with_context(about)
            }
            Err(error) => {
                let error = self.machine.failed(error);
                self.ended = Some(format!("{error:#}").lines().next().unwrap_or_default().into());
                Err(error).with_context(about)
            }
        }
    }

    /// The bytes of one of its files.
    ///
    /// # Errors
    /// As [`Self::ask`].
    pub fn read(&mut self, path: &str) -> Result<Vec<u8>> {
        let hex: String = self.ask(&Request::Read { path: path.into() })?;
        wire::unhex(&hex).with_context(|| format!("the bytes of {path}"))
    }

    /// One of its files, as text.
    ///
    /// # Errors
    /// As [`Self::ask`].
    pub fn text(&mut self, path: &str) -> Result<String> {
        String::from_utf8(self.read(path)?).with_context(|| format!("the text of {path}"))
    }

    /// What a script of the shell prints; it must succeed.
    ///
    /// # Errors
    /// As [`Self::ask`].
    pub fn run(&mut self, script: &str) -> Result<String> {
        self.ask(&Request::Run { script: script.into(), containerd: None })
    }

    /// All that its kernel and its agent have printed.
    #[must_use]
    pub fn console(&self) -> String {
        self.machine.console()
    }
}

fn hello(stream: UnixStream, limit: Duration) -> Result<(BufReader<UnixStream>, Hello)> {
    let mut control = BufReader::new(stream);
    let hello = next(&mut control, limit).context("waiting for the agent's first word")?;
    Ok((control, hello))
}

/// The next message, within `limit`.
fn next<T: DeserializeOwned>(control: &mut BufReader<UnixStream>, limit: Duration) -> Result<T> {
    control.get_ref().set_read_timeout(Some(limit))?;
    match wire::read(control) {
        Ok(Some(message)) => Ok(message),
        Ok(None) => bail!("the guest has ended"),
        Err(error) => match error.downcast_ref::<std::io::Error>().map(std::io::Error::kind) {
            Some(std::io::ErrorKind::WouldBlock) => {
                bail!("the guest hangs: no answer in {limit:?}")
            }
            _ => Err(error),
        },
    }
}

/// QEMU and swtpm, and the folder with their sockets and logs.
#[derive(Debug)]
struct Machine {
    qemu: Child,
    folder: PathBuf,
    /// Its input is the leash.
    leash: Child,
}

impl Machine {
    fn start(root: &Path, boot: &super::kernel::Boot) -> Result<(Self, UnixListener)> {
        // Removed by the leash, which outlives a test that is killed.
        let folder = tempfile::Builder::new().prefix("lacre-vm-").tempdir()?.keep();
        let started = Self::start_in(&folder, root, boot);
        if started.is_err() {
            let _ = fs::remove_dir_all(&folder);
        }
        started
    }

    fn start_in(
        folder: &Path,
        root: &Path,
        boot: &super::kernel::Boot,
    ) -> Result<(Self, UnixListener)> {
        start_tpm(folder)?;
        disk::of_programs(folder)?;
        let listener = UnixListener::bind(folder.join("control.sock"))?;
        let f = folder.display();
        let log = fs::File::create(folder.join("qemu.log"))?;
        let mut command = Command::new("qemu-system-x86_64");
        command.args(MACHINE).args(["-display", "none", "-kernel"]).arg(&boot.image);
        if let Some(initrd) = &boot.initrd {
            command.arg("-initrd").arg(initrd);
        }
        let disk = "format=raw,if=virtio,cache=unsafe";
        command
            .args(["-append", &boot.arguments])
            .args(["-serial", &format!("file:{f}/console")])
            .args(["-drive", &format!("file={},{disk},snapshot=on", root.display())])
            .args(["-drive", &format!("file={f}/lacre.ext4,{disk},readonly=on")])
            .args(["-device", "virtio-serial"])
            .args(["-chardev", &format!("socket,id=control,path={f}/control.sock")])
            .args(["-device", "virtserialport,chardev=control,name=lacre"])
            .args(["-chardev", &format!("socket,id=tpm,path={f}/tpm.sock")])
            .args(["-tpmdev", "emulator,id=tpm,chardev=tpm", "-device", "tpm-tis,tpmdev=tpm"])
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            .process_group(0);
        let qemu = command
            .spawn()
            .context("starting qemu-system-x86_64, which integration/vm/prepare.sh installs")?;
        let leash = Command::new("sh")
            .args(["-c", LEASH, "sh", &qemu.id().to_string()])
            .arg(folder)
            .stdin(Stdio::piped())
            // An interrupt from the terminal ends the test, and the leash tidies up.
            .process_group(0)
            .spawn()
            .context("starting sh")?;
        Ok((Self { qemu, folder: folder.to_owned(), leash }, listener))
    }

    /// QEMU's connection to the guest's control port, made while QEMU starts.
    fn accept(&mut self, listener: &UnixListener) -> Result<UnixStream> {
        let begun = Instant::now();
        loop {
            let mut fds = [PollFd::new(listener.as_fd(), PollFlags::POLLIN)];
            if poll(&mut fds, PollTimeout::try_from(LOOK)?)? == 1 {
                return Ok(listener.accept()?.0);
            }
            if let Some(status) = self.qemu.try_wait()? {
                bail!("QEMU did not start: {status}: {}", self.file("qemu.log"));
            }
            ensure!(begun.elapsed() < BOOT, "QEMU does not start");
        }
    }

    /// Ends it, and adds to `error` what it has left.
    fn failed(&mut self, error: Error) -> Error {
        let _ = self.qemu.kill();
        let _ = self.qemu.wait();
        let console = self.console();
        let at = |line: &str| line.find("Kernel panic").map(|at| line[at..].to_owned());
        let panic = console.lines().find_map(at);
        let error = match panic {
            Some(panic) => error.context(format!("the guest's kernel has panicked: {panic}")),
            None => error,
        };
        anyhow!("{error:#}\n{}{}", self.file("qemu.log"), self.tail())
    }

    fn tail(&self) -> String {
        let console = self.console();
        let lines: Vec<_> = console.lines().collect();
        let last = lines[lines.len().saturating_sub(TAIL)..].join("\n");
        format!("the end of the guest's console:\n{last}")
    }

    fn console(&self) -> String {
        self.file("console")
    }

    fn file(&self, name: &str) -> String {
        let bytes = fs::read(self.folder.join(name)).unwrap_or_default();
        String::from_utf8_lossy(&bytes).into_owned()
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        let _ = self.qemu.kill();
        let _ = self.qemu.wait();
        drop(self.leash.stdin.take());
        let _ = self.leash.wait();
    }
}

/// A fresh TPM 2.0 that ends with its machine. `--daemon` returns once its socket is there.
fn start_tpm(folder: &Path) -> Result<()> {
    let f = folder.display();
    fs::create_dir(folder.join("tpm"))?;
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
