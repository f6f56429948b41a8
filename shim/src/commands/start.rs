//! `start`: runs the inner shim's `start`, puts a guard before it, and answers in its words.

use std::env;
use std::fs;
use std::io::{self, PipeReader, Read as _, Write as _};
use std::os::unix::fs::MetadataExt as _;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{Duration, Instant};

use lacre_sys::fork::{Forked, fork};
use lacre_sys::inherited::Inherited;
use lacre_sys::whole_file;
use lacre_types::{Mode, chain};
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use slog::Logger;

use crate::arguments::{Args, ArgsError};
use crate::bootstrap::options::OptionsError;
use crate::bootstrap::{Answer, AnswerError, Input};
use crate::commands::serve::{self, Charge, READY};
use crate::commands::stdin;
use crate::config::{Config, ConfigError};
use crate::container::bundle::Bundle;
use crate::container::orders::{self, Kept};
use crate::guard::{Exempt, record_refusal};
use crate::inner::program::{self, InnerError, Output};
use crate::node::guard_state::{Noted, Terms};
use crate::node::json_file::FileError;
use crate::node::process::{self, Process};
use crate::node::program_list::UnlistedError;
use crate::node::run_dir::Place;
use crate::wire::WireError;

/// What containerd may write on standard input, in bytes: its own limit.
const INPUT_MAX: u64 = 10 << 20;
/// How long the guard has to come up; containerd itself gives `start` longer.
const COMING_UP: Duration = Duration::from_secs(20);
/// How long another `start` of the same pod may take between making the socket and
/// listening on it: two system calls.
const LISTENING: Duration = Duration::from_secs(2);
/// How long a killed process may take to go.
const GOING: Duration = Duration::from_secs(5);

/// Why nothing was started.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The bundle can't be told.
    #[error("finding out the current directory, which containerd makes the bundle")]
    Bundle(#[source] io::Error),
    /// Standard input can't be read.
    #[error("reading what containerd writes on standard input")]
    Input(#[source] io::Error),
    /// It names no container.
    #[error(transparent)]
    Arguments(#[from] ArgsError),
    /// Standard input is not what containerd writes.
    #[error("what containerd wrote on standard input is no message")]
    Message(#[from] WireError),
    /// The runtime options are wrong.
    #[error(transparent)]
    Options(#[from] OptionsError),
    /// The configuration is wrong.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// The inner shim is not what the node lists.
    #[error(transparent)]
    Unlisted(#[from] UnlistedError),
    /// The inner shim does not run.
    #[error(transparent)]
    Inner(#[from] InnerError),
    /// The inner shim failed; what it printed is its own.
    #[error("the inner shim's start failed")]
    Failed(Box<Output>),
    /// The inner shim's answer can't be used.
    #[error(transparent)]
    Answer(#[from] AnswerError),
    /// The run directory can't be used.
    #[error(transparent)]
    RunDir(#[from] FileError),
    /// The guard of the pod has died.
    #[error(
        "nobody serves {}: the guard of this pod has died; remove the pod and create it anew",
        .0.display()
    )]
    Orphaned(PathBuf),
    /// Its guard can't note down whom it has.
    #[error(
        "the guard of this pod can't note down which containers it has, so that one that joins \
         could not be ended if lacre is killed: {0}"
    )]
    Unkept(String),
    /// It would be guarded by another configuration than its own, and a milder one.
    #[error(
        "another container of its group came first, and its shim guards by {}, which is milder \
         than {}; start it in a group of its own, or by the same configuration",
        .its.display(), .own.display()
    )]
    Milder {
        /// Which it was to be guarded by.
        own: PathBuf,
        /// Which it would be guarded by.
        its: PathBuf,
    },
    /// The guard can't be started.
    #[error("starting the guard")]
    Spawn(#[source] io::Error),
    /// The guard did not come up.
    #[error("the guard did not come up: {0}")]
    Guard(String),
    /// The bundle's address file can't be written.
    #[error("writing the guard's address into {}", .0.display())]
    Address(PathBuf, #[source] io::Error),
}

/// What `start` has become.
#[derive(Debug)]
pub enum Started {
    /// What is to be printed.
    Answer(Vec<u8>),
    /// This process is the guard that was left behind, and has ended.
    Guarded(ExitCode),
}

/// Starts. When it fails, nothing is left.
///
/// # Errors
/// When the container can't be guarded, or the inner shim does not start.
pub fn run(args: &Args, inherited: Inherited) -> Result<Started, StartError> {
    let bundle = env::current_dir().map_err(StartError::Bundle)?;
    let input = stdin::read(INPUT_MAX).map_err(StartError::Input)?;
    let input = Input::decode(input, &args.namespace, &args.id)?;
    let args = &input.arguments(args)?;
    args.check_container("start")?;
    let own = input.own_or_recorded(args)?;
    let (path, mut config) = Config::find(own.config_path)?;
    // For the Create too, which may carry nothing but what a client set.
    config.inner.options.extend(own.runc);
    let program =
        program::find(&config.inner.shim, env::var_os("PATH").as_deref(), &args.publish_binary)?;
    let doubt = doubt(&config, &program, args, &bundle)?;
    // Before there is anything to clean up: `delete` is told nothing but the bundle.
    let mut note = Bundle { inner: program.clone(), socket: None };
    note.write(&bundle)?;

    let stdin = input.for_inner(&config.inner)?;
    let arguments = env::args_os().skip(1);
    process::adopt_orphans();
    let asked = process::ticks();
    let output = program::Run::spawn(&program, arguments, &bundle, &stdin)?.finish()?;
    if !output.status.success() {
        return Err(StartError::Failed(Box::new(output)));
    }
    let answer = Answer::decode(&output.stdout);
    let socket = answer.as_ref().ok().and_then(|answer| answer.socket().ok()).map(Path::to_owned);
    let started = answer.map_err(StartError::from).and_then(|answer| {
        let place = Place::of(&config.run, answer.socket()?)?;
        note.socket = Some(place.socket().to_owned());
        note.write(&bundle)?;
        let ttrpc_address = input.ttrpc_address().map(PathBuf::from);
        let found = Found { path, config, doubt, ttrpc_address, asked };
        match guard(args, &place, &answer, found, &bundle, inherited)? {
            Some(ended) => return Ok(Started::Guarded(ended)),
            None => point_to(&bundle.join("address"), &place)?,
        }
        Ok(Started::Answer(answer.with_address(&place.address())))
    });
    if started.is_err() {
        end_own(&program, args, socket.as_deref());
    }
    started
}

/// What is known before the inner shim answers.
struct Found {
    path: PathBuf,
    config: Config,
    doubt: Option<String>,
    ttrpc_address: Option<PathBuf>,
    /// When the inner shim's `start` was run.
    asked: u64,
}

/// Why the inner shim is not what the node lists, where audit runs it all the same.
fn doubt(
    config: &Config,
    program: &Path,
    args: &Args,
    bundle: &Path,
) -> Result<Option<String>, StartError> {
    if Exempt::by_config(config, &args.namespace, bundle).is_some() {
        return Ok(None);
    }
    match config.programs().check(program) {
        Err(error) if config.mode == Mode::Enforce => {
            // Nobody guards it yet. What comes of that is on the log, which containerd shows.
            let log = Logger::root(slog::Discard, slog::o!());
            record_refusal(config, &args.namespace, &args.id, &chain(&error), &log);
            Err(error.into())
        }
        Err(error) => Ok(Some(chain(&error))),
        Ok(_) => Ok(None),
    }
}

/// Sees to it that somebody serves the place; in the process that does, once it has ended,
/// how.
fn guard(
    args: &Args,
    place: &Place,
    answer: &Answer,
    found: Found,
    bundle: &Path,
    inherited: Inherited,
) -> Result<Option<ExitCode>, StartError> {
    // What can fail comes before there is a socket to be removed.
    let inner_socket = answer.socket()?.to_owned();
    let (mut pipe, start) = io::pipe().map_err(StartError::Spawn)?;
    let exempt = Exempt::by_config(&found.config, &args.namespace, bundle).is_some();
    let mode = (!exempt).then_some(found.config.mode);
    let terms = Terms { config: found.path, mode };
    let Some(listener) = place.listen()? else { return join(place, &terms).map(|()| None) };
    let charge = Charge {
        place: place.clone(),
        listener,
        bundle: bundle.to_owned(),
        config: found.config,
        doubt: found.doubt,
        inner: process::only_child(),
        inner_socket,
        asked: found.asked,
        terms,
        version: answer.version,
        ttrpc_address: found.ttrpc_address,
        start,
    };
    let guard = match fork() {
        Ok(Forked::Child) => {
            drop(pipe);
            inherited.close();
            return Ok(Some(serve::main(args, charge)));
        }
        Ok(Forked::Parent(pid)) => Process::by_pid(pid),
        Err(error) => {
            place.clear();
            return Err(StartError::Spawn(error));
        }
    };
    // The guard's are its own now; the pipe ends when it lets go of it.
    drop(charge);
    let came_up = match listen_to(&mut pipe) {
        Ok(said) if said == READY => Ok(None),
        Ok(said) => Err(StartError::Guard(said)),
        Err(error) => Err(StartError::Spawn(error)),
    };
    if came_up.is_err() {
        let _ = guard.is_some_and(|guard| guard.kill(GOING));
        place.clear();
    }
    came_up
}

/// Another `start` has made the guard: that of the pod's first container.
fn join(place: &Place, terms: &Terms) -> Result<(), StartError> {
    let until = Instant::now() + LISTENING;
    while UnixStream::connect(place.socket()).is_err() {
        if Instant::now() > until {
            return Err(StartError::Orphaned(place.socket().to_owned()));
        }
        std::thread::sleep(Duration::from_millis(5));
    }
    let until = Instant::now() + COMING_UP;
    // It writes down who it is before it answers anybody.
    let state = loop {
        match place.noted() {
            Noted::State(state) => break state,
            // The guard, which lives, says it anew.
            Noted::Unreadable(error) => match orders::keep(&place.control(), LISTENING) {
                Kept::Done if Instant::now() <= until => {}
                Kept::Refused(why) => return Err(StartError::Unkept(why)),
                Kept::Done | Kept::Silent => return Err(error.into()),
            },
            Noted::Nothing if Instant::now() > until => {
                return Err(StartError::Orphaned(place.socket().to_owned()));
            }
            Noted::Nothing => std::thread::sleep(Duration::from_millis(5)),
        }
    };
    match state.terms {
        Some(its) if !its.hold_for(terms) => {
            Err(StartError::Milder { own: terms.config.clone(), its: its.config })
        }
        _ => Ok(()),
    }
}

/// All that the guard says until it closes the pipe.
fn listen_to(pipe: &mut PipeReader) -> io::Result<String> {
    let until = Instant::now() + COMING_UP;
    let (mut said, mut chunk) = (Vec::new(), [0; 512]);
    loop {
        let left = until.saturating_duration_since(Instant::now());
        let limit = Timespec {
            tv_sec: i64::try_from(left.as_secs()).unwrap_or(0),
            tv_nsec: left.subsec_nanos().into(),
        };
        let mut fds = [PollFd::new(&*pipe, PollFlags::IN)];
        match poll(&mut fds, Some(&limit)) {
            Ok(0) => return Err(io::Error::new(io::ErrorKind::TimedOut, "it says nothing")),
            Err(rustix::io::Errno::INTR) => continue,
            other => other?,
        };
        match pipe.read(&mut chunk)? {
            0 => return Ok(String::from_utf8_lossy(&said).into_owned()),
            count if said.len() < 4096 => said.extend_from_slice(&chunk[..count]),
            _ => {}
        }
    }
}

/// containerd 1.x reads the address of a shim back from here when it is restarted; the
/// inner shim has written its own.
fn point_to(file: &Path, place: &Place) -> Result<(), StartError> {
    let failed = |error| StartError::Address(file.to_owned(), error);
    if !file.try_exists().map_err(failed)? {
        return Ok(());
    }
    let mode = fs::metadata(file).map_err(failed)?.mode() & 0o777;
    whole_file::put(file, mode, |file| file.write_all(place.address().as_bytes())).map_err(failed)
}

/// Ends the inner shim that this very `start` started; that of a pod, which an earlier one
/// started, goes by another id.
fn end_own(program: &Path, args: &Args, socket: Option<&Path>) {
    for process in process::find(program, &args.namespace, &args.id, &args.address) {
        let _ = process.kill(GOING);
    }
    // With the shim gone, nobody else would.
    if let Some(socket) = socket {
        serve::remove_dead(socket);
        let debug = program::debug_socket(socket, &args.address, &args.namespace, &args.id);
        debug.iter().for_each(|socket| serve::remove_dead(socket));
    }
}
