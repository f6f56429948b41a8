//! A daemon of the tests, and what it logs.

use std::io::{BufRead as _, BufReader};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::Instant;

use super::LONG;

/// Killed when it is dropped.
pub(crate) struct Daemon {
    command: Command,
    child: Child,
    lines: Receiver<String>,
}

impl Daemon {
    pub(crate) fn spawn(mut command: Command) -> Self {
        let (child, lines) = start(&mut command);
        Self { command, child, lines }
    }

    /// Waits for the next line of the log that holds this.
    pub(crate) fn wait_for(&self, text: &str) -> String {
        let (end, mut seen) = (Instant::now() + LONG, Vec::new());
        while let Some(left) = end.checked_duration_since(Instant::now()) {
            match self.lines.recv_timeout(left) {
                Ok(line) if line.contains(text) => return line,
                Ok(line) => seen.push(line),
                Err(_) => break,
            }
        }
        panic!("no line with {text}; there are {seen:#?}");
    }

    /// SIGKILL, and nothing of it is left.
    pub(crate) fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// The same command once more.
    pub(crate) fn start_again(&mut self) {
        (self.child, self.lines) = start(&mut self.command);
    }

    pub(crate) fn signal(&self, signal: rustix::process::Signal) {
        let pid = rustix::process::Pid::from_child(&self.child);
        rustix::process::kill_process(pid, signal).unwrap();
    }

    pub(crate) fn wait(&mut self) -> ExitStatus {
        self.child.wait().unwrap()
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn start(command: &mut Command) -> (Child, Receiver<String>) {
    let mut child = command.stderr(Stdio::piped()).spawn().unwrap();
    let (sender, lines) = channel();
    let stderr = BufReader::new(child.stderr.take().unwrap());
    std::thread::spawn(move || {
        stderr.lines().map_while(Result::ok).all(|line| sender.send(line).is_ok())
    });
    (child, lines)
}
