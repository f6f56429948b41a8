//! The other end of `payload/agent.c`.

use std::io::{BufRead as _, BufReader, Write as _};
use std::os::fd::AsFd as _;
use std::os::unix::net::{UnixListener, UnixStream};
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

/// No workload takes longer, or it hangs.
const LIMIT: Duration = Duration::from_secs(120);

/// A process in a container that does what it is asked.
#[derive(Debug)]
pub(crate) struct Agent {
    stream: BufReader<UnixStream>,
}

impl Agent {
    /// Waits until it says that it is ready.
    pub(crate) fn accept(listener: &UnixListener) -> Result<Self> {
        let mut fds = [PollFd::new(listener.as_fd(), PollFlags::POLLIN)];
        ensure!(poll(&mut fds, PollTimeout::try_from(LIMIT)?)? == 1, "it does not run");
        let (stream, _) = listener.accept()?;
        stream.set_read_timeout(Some(LIMIT))?;
        let mut agent = Self { stream: BufReader::new(stream) };
        let said = agent.line()?;
        ensure!(said == "ready", "it says {said:?}");
        Ok(agent)
    }

    fn line(&mut self) -> Result<String> {
        let mut line = String::new();
        let got = self.stream.read_line(&mut line)?;
        ensure!(got > 0, "it has ended");
        Ok(line.trim_end().to_owned())
    }

    /// Asks, without waiting for the answer.
    pub(crate) fn tell(&mut self, order: &str) -> Result<()> {
        Ok(self.stream.get_mut().write_all(format!("{order}\n").as_bytes())?)
    }

    /// The numbers of the next answer.
    pub(crate) fn answer(&mut self) -> Result<Vec<f64>> {
        let line = self.line()?;
        match line.split_once(' ').unwrap_or((&line, "")) {
            ("ok", numbers) => Ok(numbers.split(' ').filter_map(|n| n.parse().ok()).collect()),
            _ => bail!("{line}"),
        }
    }

    /// Asks, and waits.
    pub(crate) fn ask(&mut self, order: &str) -> Result<Vec<f64>> {
        self.tell(order)?;
        self.answer().with_context(|| format!("the order `{order}`"))
    }

    /// Asks for one number.
    pub(crate) fn ask_one(&mut self, order: &str) -> Result<f64> {
        self.ask(order)?.first().copied().with_context(|| format!("`{order}`: no number"))
    }
}
