//! The guard's process: one for each inner shim, from `start` until the inner shim has ended
//! and no process of its containers is left.

use std::io::{self, PipeWriter, Write as _};
use std::os::unix::net;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use lacre_measure::fanotify::Groups;
use lacre_types::chain;
use rustix::stdio::{dup2_stderr, dup2_stdin, dup2_stdout};
use slog::{Logger, error, info, o, warn};
use tokio::io::AsyncReadExt as _;
use tokio::net::{UnixListener, UnixStream};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::time::timeout;

use crate::arguments::Args;
use crate::config::Config;
use crate::container::charters::Charters;
use crate::container::{orders, orphan};
use crate::guard::{self, Exempt, GuardError};
use crate::inner::client::Inner;
use crate::inner::program::debug_socket;
pub(crate) use crate::inner::sockets::remove_dead;
use crate::node::events::Events;
use crate::node::guard_state::{Keep, State, Terms};
use crate::node::json_file::FileError;
use crate::node::logging::to_bundle;
use crate::node::memory::Rest;
use crate::node::open_files;
use crate::node::process::{self, Process};
use crate::node::run_dir::Place;
use crate::relay::{Common, Connections, Containers, Listed, Proxy};
use crate::watchdog::Watchdog;

/// What `serve` says to `start` when it is ready; anything else is why it is not.
pub const READY: &str = "ready\n";

/// Answers that are under way when the inner shim ends; a connection gives them half of it.
const LAST_ANSWERS: Duration = Duration::from_secs(2);
/// What the guard has for its end ([`guard::Guard::shutdown`]).
const LAST_WORK: Duration = Duration::from_secs(2);

/// Why the guard does not come up.
#[derive(Debug, thiserror::Error)]
enum ServeError {
    #[error("taking over the socket and becoming a daemon")]
    Daemon(#[source] io::Error),
    #[error("connecting to the inner shim at {}", .0.display())]
    Inner(PathBuf, #[source] io::Error),
    #[error("noting down who serves")]
    RunDir(#[from] FileError),
    #[error("making the guard")]
    Guard(#[from] GuardError),
}

/// What `start` has found out for the guard.
#[derive(Debug)]
pub struct Charge {
    /// Its place.
    pub place: Place,
    /// What listens there.
    pub listener: net::UnixListener,
    /// The bundle that the inner shim was started for.
    pub bundle: PathBuf,
    /// How this node guards.
    pub config: Config,
    /// Why the inner shim is not what the node lists, if it is not.
    pub doubt: Option<String>,
    /// The inner shim, if it is known.
    pub inner: Option<Process>,
    /// Its socket.
    pub inner_socket: PathBuf,
    /// When `start` ran its `start`, in clock ticks after boot.
    pub asked: u64,
    /// How it guards.
    pub terms: Terms,
    /// The version of the Task API that it speaks.
    pub version: u32,
    /// containerd's socket for events.
    pub ttrpc_address: Option<PathBuf>,
    /// Where `start` waits for [`READY`].
    pub start: PipeWriter,
}

/// Serves; returns when the inner shim has ended.
#[must_use]
pub fn main(args: &Args, charge: Charge) -> ExitCode {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let result = runtime.map_err(ServeError::Daemon).and_then(|runtime| {
        let result = runtime.block_on(serve(args, charge));
        // Threads that a guard left behind must not keep the process.
        runtime.shutdown_background();
        result
    });
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // Standard error is the pipe to `start` until the guard is ready.
            let _ = write!(io::stderr(), "{}", chain(&error));
            ExitCode::FAILURE
        }
    }
}

async fn serve(args: &Args, charge: Charge) -> Result<(), ServeError> {
    let Charge { place, listener, bundle, config, inner_socket, version, .. } = charge;
    become_daemon(charge.start).map_err(ServeError::Daemon)?;
    let _ignored = ignore_signals().map_err(ServeError::Daemon)?;
    listener.set_nonblocking(true).map_err(ServeError::Daemon)?;
    let listener = UnixListener::from_std(listener).map_err(ServeError::Daemon)?;
    let log = to_bundle(&bundle, args.debug).new(o!("id" => args.id.clone()));
    tell_of_panics(&log);
    open_files::raise();
    if let Err(error) = process::give_way_to_parent() {
        warn!(log, "adjusting the score for the out-of-memory killer"; "error" => error.to_string());
    }
    let lifeline = UnixStream::connect(&inner_socket)
        .await
        .map_err(|error| ServeError::Inner(inner_socket.clone(), error))?;
    let inner = Inner::new(inner_socket.clone(), version, &args.namespace);
    let state = State {
        terms: Some(charge.terms),
        ..state(&inner, charge.inner, &inner_socket, args, &log).await?
    };
    let was_there = state.inner.is_some_and(|inner| inner.began < charge.asked);
    if was_there {
        warn!(
            log,
            "the inner shim was there before lacre, and may have containers that nobody guards"
        );
    }
    let state = State { inner_is_others: was_there, ..state };
    let inner_sockets = state.own_inner_sockets().to_vec();
    // For life: who finds it free knows that this process has gone.
    let _alive = place.hold()?;
    let orders = place.listen_for_orders()?;
    orders.set_nonblocking(true).map_err(ServeError::Daemon)?;
    let orders = UnixListener::from_std(orders).map_err(ServeError::Daemon)?;
    let config = Arc::new(config);
    let (shim, charters) = (state.inner, Charters::of(&place));
    let common = Common {
        namespace: args.namespace.clone(),
        containerd: args.address.clone(),
        config: Arc::clone(&config),
    };
    let watched = place.clone();
    let containers = Arc::new(Containers::new(place, state, common)?);
    let inner_config = config.inner.clone();
    let exempt = Exempt::by_config(&config, &args.namespace, &bundle).is_some();
    let listed = (!exempt).then(|| Listed::new(&config, &args.namespace, charge.doubt, &log));
    let watchdog = Watchdog::new(Groups::new());
    let context = guard::Context {
        config,
        namespace: args.namespace.clone(),
        id: args.id.clone(),
        bundle,
        containerd: args.address.clone(),
        inner: inner.clone(),
        shim,
        watchdog: Arc::clone(&watchdog),
        charters,
        events: events(charge.ttrpc_address, &args.namespace, &log),
        log: log.clone(),
    };
    let guard = guard::compose(context).await?;
    let proxy = Arc::new(Proxy {
        guard: Arc::clone(&guard),
        inner_socket: inner_socket.clone(),
        inner: inner.clone(),
        inner_config,
        listed,
        containers: Arc::clone(&containers),
        rest: Rest::default(),
        log: log.clone(),
    });
    report_ready().map_err(ServeError::Daemon)?;
    info!(log, "guarding"; "inner" => inner_socket.display().to_string());

    let keeper = Arc::clone(&containers);
    let keep: Keep = Arc::new(move || keeper.keep());
    let (kept, its_log, notes) = (Arc::clone(&watchdog), log.clone(), Arc::clone(&keep));
    tokio::spawn(async move { kept.keep(&watched, notes, &its_log).await });
    tokio::spawn(orders::serve(orders, Arc::clone(&guard), keep, log.clone()));
    let open = Connections::default();
    tokio::select! {
        () = Arc::clone(&proxy).serve(&listener, &open) => {}
        () = ended(lifeline) => {}
        () = proxy.rest.whenever_quiet(lacre_sys::resident::let_go) => {}
        () = async {
            tokio::select! {
                () = orphan::forgotten(&args.address, &open) => {}
                () = orphan::empty(version, &containers) => {}
            }
            orphan::end(&args.id, &containers, &guard, &inner, &log).await;
            // The inner shim's end is ours.
            std::future::pending().await
        } => {}
    }
    // First of all, before containerd is back to start another container of this name. Those
    // who are connected see the end of their own connections.
    drop(listener);
    containers.unlist();
    inner_sockets.iter().for_each(|socket| remove_dead(socket));
    let _ = timeout(LAST_ANSWERS, open.ended()).await;
    // What it leaves running stays guarded, until containerd or nobody has it any more.
    guard.inner_gone().await;
    containers.leave();
    if timeout(LAST_WORK, guard.shutdown()).await.is_err() {
        warn!(log, "the guard did not end in time");
    }
    Ok(())
}

/// Standard error leads nowhere.
fn tell_of_panics(log: &Logger) {
    let log = log.clone();
    std::panic::set_hook(Box::new(
        move |panic| error!(log, "a fault of lacre"; "panic" => panic.to_string()),
    ));
}

/// A guard does not leave while its containers live: it ends with the inner shim, which
/// does heed these signals.
fn ignore_signals() -> io::Result<[Signal; 3]> {
    Ok([
        signal(SignalKind::terminate())?,
        signal(SignalKind::interrupt())?,
        signal(SignalKind::hangup())?,
    ])
}

/// No controlling terminal, no signals meant for containerd's group, and no stream of its
/// own: containerd waits for the end of that of `start`.
fn become_daemon(start: PipeWriter) -> io::Result<()> {
    rustix::process::setsid()?;
    // `ps` would go on to say `start`; where it can't be changed, that is all.
    let _ = lacre_sys::title::set_last_argument("serve");
    std::env::set_current_dir("/")?;
    dup2_stdin(std::fs::File::open("/dev/null")?)?;
    dup2_stdout(&start)?;
    dup2_stderr(&start)?;
    Ok(())
}

fn report_ready() -> io::Result<()> {
    let mut stdout = io::stdout();
    stdout.write_all(READY.as_bytes())?;
    stdout.flush()?;
    let null = std::fs::OpenOptions::new().read(true).write(true).open("/dev/null")?;
    dup2_stdout(&null)?;
    dup2_stderr(&null)?;
    Ok(())
}

async fn state(
    inner: &Inner,
    shim: Option<Process>,
    socket: &Path,
    args: &Args,
    log: &Logger,
) -> Result<State, ServeError> {
    let unknown = || ServeError::Daemon(io::Error::other("/proc does not show this process"));
    let guard = Process::own().ok_or_else(unknown)?;
    let mut others = shim.map(|shim| process::listens_on(shim.pid)).unwrap_or_default();
    let shim = match shim {
        Some(shim) if others.iter().any(|other| other == socket) => Some(shim),
        // It can't answer before it is up.
        _ => match inner.shim_pid(&args.id).await {
            Ok(pid) => {
                others = process::listens_on(pid);
                Process::by_pid(pid)
            }
            Err(error) => {
                warn!(log, "the inner shim does not say who it is"; "error" => chain(&error));
                None
            }
        },
    };
    let mut inner_sockets = vec![socket.to_owned()];
    let debug = debug_socket(socket, &args.address, &args.namespace, &args.id);
    for socket in others.into_iter().chain(debug) {
        if !inner_sockets.contains(&socket) {
            inner_sockets.push(socket);
        }
    }
    Ok(State {
        guard,
        inner: shim,
        inner_is_others: false,
        terms: None,
        inner_sockets,
        containers: Vec::new(),
    })
}

/// containerd's socket for events: said to `start`, or (its `start` puts it there) in the
/// environment.
fn events(told: Option<PathBuf>, namespace: &str, log: &Logger) -> Events {
    let environment = || std::env::var_os("TTRPC_ADDRESS").map(PathBuf::from);
    let socket = told.or_else(environment).filter(|path| !path.as_os_str().is_empty());
    Events::to_containerd(socket, namespace, log.clone())
}

/// Returns when the other end has closed: nothing is ever sent over this connection.
async fn ended(mut lifeline: UnixStream) {
    let mut byte = [0];
    while matches!(lifeline.read(&mut byte).await, Ok(1..)) {}
}

/// Removes what is ours, and the inner shim's sockets: it removes only the one that the
/// bundle's `address` names, which is ours (containerd 1.x), and none when it was killed.
pub(crate) fn clear(place: &Place, inner_sockets: &[PathBuf]) {
    place.clear();
    inner_sockets.iter().for_each(|socket| remove_dead(socket));
}
