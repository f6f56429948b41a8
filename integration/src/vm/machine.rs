//! QEMU and swtpm, their folder, and their end.

use std::fs;
use std::os::fd::AsFd as _;
use std::os::unix::net::{UnixListener, UnixStream};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Error, Result, anyhow, bail, ensure};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use super::kernel::Boot;
use super::tpm::Maker;
use super::{disk, tpm};

/// From QEMU's start to its connection to the control port, which it makes before it runs.
const START: Duration = Duration::from_secs(60);
/// Between two looks at whether QEMU has ended before it connected.
const LOOK: Duration = Duration::from_millis(200);
/// Of the console, in a failure.
const TAIL: usize = 60;

/// What SSE gives is worth a quarter of the time that AVX costs an emulator. One processor:
/// with two, one Debian boot in three panicked while it patched its own code.
const QEMU: &str = "qemu-system-x86_64 -machine q35 -accel tcg \
    -cpu qemu64,+ssse3,+sse4.1,+sse4.2,+popcnt,+rdrand -smp 1 -m 1024 \
    -nodefaults -display none";

/// Ends what runs in a folder, and removes it, once its input closes, however the test ends.
/// A pid whose command line does not name the folder is no longer of it.
const LEASH: &str = r#"cat >/dev/null
for pid in $(cat "$1"/*.pid 2>/dev/null); do
    grep -qs "$1" "/proc/$pid/cmdline" && kill -9 "$pid"
done
rm -rf "$1""#;

/// A machine that runs, or ran.
#[derive(Debug)]
pub(crate) struct Machine {
    qemu: Child,
    listener: UnixListener,
    /// Last: it removes the folder.
    place: Place,
}

impl Machine {
    /// Starts a TPM, of that maker or of nobody, and a machine that has it.
    pub(crate) fn start(root: &Path, boot: &Boot, maker: Option<&Maker>) -> Result<Self> {
        let place = Place::new()?;
        let folder = &place.folder;
        tpm::start(folder, maker)?;
        disk::of_programs(folder)?;
        let listener = UnixListener::bind(folder.join("control.sock"))?;
        let f = folder.display();
        let mut words = QEMU.split_whitespace();
        let mut command = Command::new(words.next().unwrap_or_default());
        command.args(words).arg("-kernel").arg(&boot.image);
        if let Some(initrd) = &boot.initrd {
            command.arg("-initrd").arg(initrd);
        }
        if !boot.reboots {
            command.arg("-no-reboot");
        }
        if boot.counting {
            command.args(["-icount", "shift=0"]);
        }
        let disk = "format=raw,if=virtio,cache=unsafe";
        let log = fs::File::create(folder.join("qemu.log"))?;
        command
            .args(["-append", &boot.arguments])
            .args(["-pidfile", &format!("{f}/qemu.pid")])
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
        Ok(Self { qemu, listener, place })
    }

    /// QEMU's connection to the guest's control port.
    pub(crate) fn control(&mut self) -> Result<UnixStream> {
        let begun = Instant::now();
        loop {
            let mut fds = [PollFd::new(self.listener.as_fd(), PollFlags::POLLIN)];
            if poll(&mut fds, PollTimeout::try_from(LOOK)?)? == 1 {
                return Ok(self.listener.accept()?.0);
            }
            if let Some(status) = self.qemu.try_wait()? {
                bail!("QEMU did not start: {status}");
            }
            ensure!(begun.elapsed() < START, "QEMU does not start");
        }
    }

    /// Ends its TPM under it.
    pub(crate) fn end_tpm(&self) -> Result<()> {
        let pid = self.place.text("swtpm.pid");
        let pid = pid.trim().parse().with_context(|| format!("swtpm's pid is {pid:?}"))?;
        Ok(kill(Pid::from_raw(pid), Signal::SIGKILL)?)
    }

    /// Ends it, and adds to `error` what it has left.
    pub(crate) fn failed(&mut self, error: Error) -> Error {
        let _ = self.qemu.kill();
        let _ = self.qemu.wait();
        let console = self.console();
        let at = |line: &str| line.find("Kernel panic").map(|at| line[at..].to_owned());
        let error = match console.lines().find_map(at) {
            Some(panic) => error.context(format!("the guest's kernel has panicked: {panic}")),
            None => error,
        };
        anyhow!("{error:#}\n{}{}", self.place.text("qemu.log"), self.tail())
    }

    /// Whether its kernel panicked with none of its processes at work.
    pub(crate) fn panicked_idle(&self) -> bool {
        let console = self.console();
        console.contains("Kernel panic") && console.contains("Comm: swapper/0")
    }

    /// The end of its console.
    pub(crate) fn tail(&self) -> String {
        let console = self.console();
        let lines: Vec<_> = console.lines().collect();
        let last = lines[lines.len().saturating_sub(TAIL)..].join("\n");
        format!("the end of the guest's console:\n{last}")
    }

    /// All that the guest has printed.
    pub(crate) fn console(&self) -> String {
        self.place.text("console")
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        let _ = self.qemu.kill();
        let _ = self.qemu.wait();
    }
}

/// A folder that is removed, and whose programs are ended, when it is dropped or this
/// process dies.
#[derive(Debug)]
struct Place {
    folder: PathBuf,
    leash: Child,
}

impl Place {
    fn new() -> Result<Self> {
        let folder = tempfile::Builder::new().prefix("lacre-vm-").tempdir()?;
        let leash = Command::new("sh")
            .args(["-c", LEASH, "sh"])
            .arg(folder.path())
            .stdin(Stdio::piped())
            // An interrupt from the terminal ends the test, and not what tidies up after it.
            .process_group(0)
            .spawn()
            .context("starting sh")?;
        Ok(Self { folder: folder.keep(), leash })
    }

    fn text(&self, name: &str) -> String {
        let bytes = fs::read(self.folder.join(name)).unwrap_or_default();
        String::from_utf8_lossy(&bytes).into_owned()
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        drop(self.leash.stdin.take());
        let _ = self.leash.wait();
    }
}
