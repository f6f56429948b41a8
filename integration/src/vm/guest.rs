//! A machine that runs.

use std::io::{BufReader, Write as _};
use std::os::unix::net::UnixStream;
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

use anyhow::{Context, Error, Result, anyhow, bail, ensure};
use serde::de::DeserializeOwned;

use super::kernel::{Boot, Kernel};
use super::machine::Machine;
use super::rootfs;
use super::tpm::Maker;
use super::wire::{self, Answer, Hello, Request};

/// From QEMU's start to the agent's first word: 10 s of one core, and more where a host has
/// other things to do.
const BOOT: Duration = Duration::from_secs(300);
/// Debian's own kernel is booted so often at most: emulated, it has panicked in its first second,
/// before there was anything of ours. The patched one's panics are told at once.
const BOOTS: u32 = 3;
/// No request takes longer, or the guest hangs: the slowest take 15 s of one core, and have
/// taken 180 s on a host with 80 busy processes.
const ANSWER: Duration = Duration::from_secs(600);

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
        Self::start(kernel, &boot, None, limit)
    }

    /// As [`Self::boot`], with a clock that counts instructions, one a nanosecond: what is
    /// timed there is not the host's doing.
    ///
    /// # Errors
    /// As [`Self::boot`].
    pub fn boot_counting(kernel: Kernel) -> Result<Self> {
        let boot = Boot { counting: true, ..kernel.boot()? };
        Self::start(kernel, &boot, None, BOOT)
    }

    /// As [`Self::boot`], with a TPM of that maker, and such that it can be rebooted.
    ///
    /// # Errors
    /// As [`Self::boot`].
    pub fn boot_made_by(kernel: Kernel, maker: &Maker) -> Result<Self> {
        let boot = Boot { reboots: true, ..kernel.boot()? };
        Self::start(kernel, &boot, Some(maker), BOOT)
    }

    fn start(kernel: Kernel, boot: &Boot, maker: Option<&Maker>, limit: Duration) -> Result<Self> {
        let root = rootfs::prepare()?;
        let mut tries = 0;
        loop {
            let mut machine = Machine::start(&root, boot, maker)?;
            let control = machine.control().and_then(|stream| hello(stream, limit));
            let error = match control {
                Ok((control, hello)) => {
                    return Ok(Self { kernel, hello, machine, control, ended: None });
                }
                Err(error) => error,
            };
            tries += 1;
            let error = machine.failed(error);
            if tries == BOOTS || kernel == Kernel::Patched || !machine.panicked_idle() {
                return Err(error).with_context(|| format!("booting {kernel}"));
            }
            eprintln!("{kernel} panicked as it booted; it is booted again: {error:#}");
        }
    }

    /// What it said when it was up.
    #[must_use]
    pub fn hello(&self) -> &Hello {
        &self.hello
    }

    /// Reboots it, as with its reset button: what was on its disk is there, and the TPM is the
    /// same. Only one that [can be](Self::boot_made_by) rebooted comes back.
    ///
    /// # Errors
    /// As [`Self::ask`].
    pub fn reboot(&mut self) -> Result<()> {
        self.ask::<()>(&Request::Reboot)?;
        let again = said_hello(&mut self.control, BOOT);
        self.hello = again
            .map_err(|error| self.failed(error))
            .with_context(|| format!("rebooting {}", self.kernel))?;
        Ok(())
    }

    /// Takes its TPM away for good, as one that breaks.
    ///
    /// # Errors
    /// When it had none any more.
    pub fn break_tpm(&mut self) -> Result<()> {
        self.machine.end_tpm()
    }

    fn failed(&mut self, error: Error) -> Error {
        let error = self.machine.failed(error);
        self.ended = Some(format!("{error:#}").lines().next().unwrap_or_default().into());
        error
    }

    /// Asks the agent for something.
    ///
    /// # Errors
    /// When the agent could not do it; when the guest did not answer in time, panicked or
    /// ended, which ends it for all tests, and is told with the end of its console.
    pub fn ask<T: DeserializeOwned>(&mut self, request: &Request) -> Result<T> {
        let kernel = self.kernel;
        let about = || format!("{kernel}: {request:?}");
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
            Err(error) => Err(self.failed(error)).with_context(about),
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
        self.ask(&Request::Run { script: script.into(), containerd: None, config: None })
    }

    /// What a script of the shell prints, whose `ctr` talks to containerd 1.6, and whose
    /// containers lacre guards with that configuration.
    ///
    /// # Errors
    /// As [`Self::ask`].
    pub fn run_with(&mut self, config: &str, script: &str) -> Result<String> {
        self.ask(&Request::Run {
            script: script.into(),
            containerd: Some(crate::Version::V1_6.name().to_owned()),
            config: Some(config.into()),
        })
    }

    /// The records of a container, once one of them has that word in it.
    ///
    /// # Errors
    /// As [`Self::ask`]; when none comes.
    pub fn violation(&mut self, id: &str, word: &str) -> Result<Vec<serde_json::Value>> {
        self.ask(&Request::Violation { id: id.into(), word: word.into() })
    }

    /// All that its kernel and its agent have printed.
    #[must_use]
    pub fn console(&self) -> String {
        self.machine.console()
    }
}

fn hello(stream: UnixStream, limit: Duration) -> Result<(BufReader<UnixStream>, Hello)> {
    let mut control = BufReader::new(stream);
    let hello = said_hello(&mut control, limit)?;
    Ok((control, hello))
}

fn said_hello(control: &mut BufReader<UnixStream>, limit: Duration) -> Result<Hello> {
    let hello: Hello = next(control, limit).context("waiting for the agent's first word")?;
    ensure!(
        hello.tpm,
        "the guest's kernel found no TPM, which it looks for no longer than 2 s: is this \
         machine busy with something else?"
    );
    Ok(hello)
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
