//! A guard's side of its watchdog.

use std::convert::Infallible;
use std::env;
use std::io;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use lacre_measure::fanotify::Groups;
use lacre_types::chain;
use rustix::net::{
    AddressFamily, SocketAddrUnix, SocketFlags, SocketType, connect, socket_with, sockopt,
};
use slog::{Logger, warn};
use tokio::io::Interest;
use tokio::net::UnixStream;
use tokio::sync::watch;
use tokio::time::{sleep, timeout};

use super::link::{self, ARGUMENT, Word, socket};
use crate::node::guard_state::{Keep, Noted};
use crate::node::process::Process;
use crate::node::run_dir::{self, Place};

/// Between two tries to have a watchdog.
const AGAIN: Duration = Duration::from_millis(200);
/// How long a watchdog that was started may take to listen, and how often it is looked for.
const COMING: (u32, Duration) = (100, Duration::from_millis(20));
/// A watchdog asks every few seconds. One that has not for so long hangs, and another takes
/// its place.
const SILENCE: Duration = Duration::from_secs(60);
/// How long one that is killed may take to go.
const GOING: Duration = Duration::from_secs(1);

/// Why a guard has no watchdog.
#[derive(Debug, thiserror::Error)]
enum Without {
    /// It has said so: another try would come to the same, until something changes there.
    #[error("the watchdog can't have this guard: {0}")]
    Refused(String),
    /// It said nothing for long.
    #[error("the watchdog hung, and was killed")]
    Hung,
    /// It let go of the connection, and has said nothing.
    #[error("the watchdog has gone")]
    Gone,
    /// It could not tell whose guard it has lost.
    #[error("noting down anew what this guard has: {0}")]
    Unkept(String),
    /// It can't be reached, or started.
    #[error("reaching the watchdog")]
    Io(#[from] io::Error),
}

/// The watchdog, as a guard knows it.
#[derive(Debug)]
pub(crate) struct Watchdog {
    /// What is handed over; one message at a time, so that the last one that is sent is the
    /// last that is true.
    link: Mutex<Option<Arc<UnixStream>>>,
    groups: Groups,
    /// Or why it has not.
    has_us: watch::Sender<Result<(), String>>,
}

impl Watchdog {
    /// None yet; `groups` are what this guard asks by.
    pub(crate) fn new(groups: Groups) -> Arc<Self> {
        let has_us = watch::Sender::new(Err("it has not answered yet".to_owned()));
        let own = Arc::new(Self { link: Mutex::default(), groups, has_us });
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

    /// Whether it has this guard, in so long at most; or why not.
    pub(crate) async fn has_us(&self, limit: Duration) -> Result<(), String> {
        let mut has_us = self.has_us.subscribe();
        // The sender is ours.
        match timeout(limit, has_us.wait_for(Result::is_ok)).await {
            Ok(_) => Ok(()),
            Err(_) => self.has_us.borrow().clone(),
        }
    }

    /// Whether it has it now.
    pub(crate) fn has_us_now(&self) -> bool {
        self.has_us.borrow().is_ok()
    }

    /// Has a watchdog, for as long as this runs. What this guard has noted down may have gone
    /// together with the last one: `keep` notes it down anew.
    pub(crate) async fn keep(&self, place: &Place, keep: Keep, log: &Logger) {
        let (mut told, mut refused) = (false, false);
        loop {
            let Err(without) = self.session(place, refused, &keep).await;
            self.link.lock().unwrap_or_else(PoisonError::into_inner).take();
            refused = matches!(without, Without::Refused(_));
            let had = self.has_us.send_replace(Err(chain(&without))).is_ok();
            if had || !told {
                warn!(log, "without a watchdog"; "error" => chain(&without));
                told = true;
            }
            sleep(AGAIN).await;
        }
    }

    /// One connection. After a refusal nothing is taken for granted until the watchdog asks, which
    /// it does of those that it has.
    async fn session(
        &self,
        place: &Place,
        refused: bool,
        keep: &Keep,
    ) -> Result<Infallible, Without> {
        let link = Arc::new(reach(place.run()).await?);
        if !matches!(place.noted(), Noted::State(_)) {
            keep().map_err(Without::Unkept)?;
        }
        link::introduce(&*link, place.socket())?;
        *self.link.lock().unwrap_or_else(PoisonError::into_inner) = Some(Arc::clone(&link));
        self.hand_over();
        if !refused {
            drop(self.has_us.send_replace(Ok(())));
        }
        loop {
            let Ok(asked) = timeout(SILENCE, link.readable()).await else {
                let hangs = sockopt::socket_peercred(&*link).map_err(io::Error::from)?;
                let hangs = u32::try_from(hangs.pid.as_raw_nonzero().get()).ok();
                if let Some(hangs) = hangs.and_then(Process::by_pid) {
                    let _ = hangs.kill(GOING);
                }
                return Err(Without::Hung);
            };
            asked?;
            match link.try_io(Interest::READABLE, || link::receive(&*link)) {
                Ok(Some(Word::Ask)) => {
                    self.has_us.send_if_modified(|has| std::mem::replace(has, Ok(())).is_err());
                    link::answer(&*link, !self.groups.stand_still())?;
                }
                Ok(Some(Word::Refused(why))) => return Err(Without::Refused(why)),
                Ok(Some(_)) => {}
                Ok(None) => return Err(Without::Gone),
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
                Err(error) => return Err(error.into()),
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
    // Somebody may have removed it, with all that was in it.
    run_dir::make(run).map_err(io::Error::other)?;
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
