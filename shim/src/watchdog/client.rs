//! A guard's side of its watchdog.

use std::env;
use std::io;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use lacre_measure::fanotify::Groups;
use rustix::net::{
    AddressFamily, SocketAddrUnix, SocketFlags, SocketType, connect, socket_with, sockopt,
};
use slog::{Logger, warn};
use tokio::io::Interest;
use tokio::net::UnixStream;
use tokio::sync::watch;
use tokio::time::{sleep, timeout};

use super::link::{self, ARGUMENT, Word, socket};
use crate::node::process::Process;
use crate::node::run_dir::Place;

/// Between two tries to have a watchdog.
const AGAIN: Duration = Duration::from_millis(200);
/// How long a watchdog that was started may take to listen, and how often it is looked for.
const COMING: (u32, Duration) = (100, Duration::from_millis(20));
/// A watchdog asks every few seconds. One that has not for so long hangs, and another takes
/// its place.
const SILENCE: Duration = Duration::from_secs(60);
/// How long one that is killed may take to go.
const GOING: Duration = Duration::from_secs(1);

/// The watchdog, as a guard knows it.
#[derive(Debug)]
pub(crate) struct Watchdog {
    /// What is handed over; one message at a time, so that the last one that is sent is the
    /// last that is true.
    link: Mutex<Option<Arc<UnixStream>>>,
    groups: Groups,
    has_us: watch::Sender<bool>,
}

impl Watchdog {
    /// None yet; `groups` are what this guard asks by.
    pub(crate) fn new(groups: Groups) -> Arc<Self> {
        let own =
            Arc::new(Self { link: Mutex::default(), groups, has_us: watch::Sender::default() });
        let watchdog = Arc::downgrade(&own);
        own.groups.on_change(move || {
            if let Some(watchdog) = watchdog.upgrade() {
                watchdog.hand_over();
            }
        });
        own
    }

    /// The groups that this guard asks by.
    pub(crate) const fn groups(&self) -> &Groups {
        &self.groups
    }

    /// Whether it has this guard, in so long at most.
    pub(crate) async fn has_us(&self, limit: Duration) -> bool {
        let mut has_us = self.has_us.subscribe();
        // The sender is ours.
        timeout(limit, has_us.wait_for(|has| *has)).await.is_ok()
    }

    /// Whether it has it now.
    pub(crate) fn has_us_now(&self) -> bool {
        *self.has_us.borrow()
    }

    /// Has a watchdog, for as long as this runs.
    pub(crate) async fn keep(&self, place: &Place, log: &Logger) {
        let mut told = false;
        loop {
            let ended = self.session(place).await;
            self.link.lock().unwrap_or_else(PoisonError::into_inner).take();
            let had = self.has_us.send_replace(false);
            if let Err(error) = ended
                && (had || !told)
            {
                warn!(log, "without a watchdog"; "error" => error.to_string());
                told = true;
            }
            sleep(AGAIN).await;
        }
    }

    async fn session(&self, place: &Place) -> io::Result<()> {
        let link = Arc::new(reach(place.run()).await?);
        link::introduce(&*link, place.socket())?;
        *self.link.lock().unwrap_or_else(PoisonError::into_inner) = Some(Arc::clone(&link));
        self.hand_over();
        self.has_us.send_replace(true);
        loop {
            let Ok(asked) = timeout(SILENCE, link.readable()).await else {
                let hangs = sockopt::socket_peercred(&*link)?.pid.as_raw_nonzero().get();
                if let Some(hangs) = u32::try_from(hangs).ok().and_then(Process::by_pid) {
                    let _ = hangs.kill(GOING);
                }
                return Err(io::Error::other("the watchdog hung, and was killed"));
            };
            asked?;
            match link.try_io(Interest::READABLE, || link::receive(&*link)) {
                Ok(Some(Word::Ask)) => link::answer(&*link, !self.groups.stand_still())?,
                Ok(Some(_)) => {}
                Ok(None) => return Err(io::Error::other("the watchdog has gone")),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(error) => return Err(error),
            }
        }
    }

    fn hand_over(&self) {
        let link = self.link.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(link) = link.as_ref() else { return };
        let handed = self.groups.copies().and_then(|groups| link::hand_over(&**link, &groups));
        if handed.is_err() {
            // It has gone, or lags: what it holds may be wrong. Another connection puts it right.
            let _ = rustix::net::shutdown(&**link, rustix::net::Shutdown::Both);
        }
    }
}

/// A connection to the watchdog of that run directory, which is started if it is not there.
async fn reach(run: &Path) -> io::Result<UnixStream> {
    if let Ok(link) = dial(run) {
        return Ok(link);
    }
    let folder = run.to_owned();
    let started = tokio::task::spawn_blocking(move || start(&folder)).await?;
    for _ in 0..COMING.0 {
        if let Ok(link) = dial(run) {
            return Ok(link);
        }
        sleep(COMING.1).await;
    }
    started.and_then(|()| dial(run))
}

fn dial(run: &Path) -> io::Result<UnixStream> {
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let link = socket_with(AddressFamily::UNIX, SocketType::SEQPACKET, flags, None)?;
    connect(&link, &SocketAddrUnix::new(socket(run))?)?;
    // Whole messages, of which the type knows nothing, nor needs to.
    UnixStream::from_std(link.into())
}

/// Starts one, and returns when it listens.
fn start(run: &Path) -> io::Result<()> {
    let program = PathBuf::from("/proc/self/exe");
    let status = Command::new(program)
        .arg0(env::args_os().next().unwrap_or_default())
        .arg(ARGUMENT)
        .arg(run)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .current_dir("/")
        .status()?;
    if status.success() { Ok(()) } else { Err(io::Error::other(format!("it ended: {status}"))) }
}
