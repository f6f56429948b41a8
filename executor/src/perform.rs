use std::io;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use lacre_types::{Action, chain};
use rustix::event::{EventfdFlags, PollFd, PollFlags, Timespec, eventfd, poll};
use rustix::process::Signal;
use tokio::sync::oneshot;

use crate::actor::{Asked, Held};
use crate::detached::{self, Request};
use crate::freezer::{FreezeError, Freezer};
use crate::isolate::{IsolateError, isolate_except};
use crate::manager::Manager;
use crate::runtime::{RuntimeError, State};

/// How long the inner shim is asked for what the kernel could not do.
const INNER: Duration = Duration::from_secs(2);

/// The stack of a thread that does one blocking thing; none recurses deeply.
const STACK: usize = 256 << 10;

/// Does it. Dropping it breaks off what waits; what the kernel was told stays told.
pub(crate) async fn perform(held: Arc<Held>, action: Action, asked: Asked) -> (bool, String) {
    match action {
        Action::Skip | Action::Deny => (true, String::new()),
        Action::Pause => at_once(move || pause(&held, asked.was_frozen)).await,
        Action::Isolate => at_once(move || isolate(&held)).await,
        Action::Stop => stop(held).await,
        Action::Kill => kill(held).await,
        Action::Restart if held.container.manager != Manager::Containerd => {
            let (done, detail) = kill(Arc::clone(&held)).await;
            let then = match held.container.manager {
                Manager::Kubelet => "the kubelet makes a new one, by the pod's restart policy",
                _ => "whether it comes back is for dockerd's restart policy, from the same layer",
            };
            (done, format!("{detail}; {then}"))
        }
        Action::Restart | Action::Delete => {
            // The helper kills too, but later, and through containerd.
            let (done, detail) = kill(Arc::clone(&held)).await;
            let (helped, said) = blocking(move || detached(&held, action, asked.cause)).await;
            let said = if done { said } else { format!("{detail}; {said}") };
            (helped, said)
        }
    }
}

/// Runs it on a thread of its own: a runtime that shuts down does not wait for that.
async fn blocking(work: impl FnOnce() -> (bool, String) + Send + 'static) -> (bool, String) {
    let (tell, told) = oneshot::channel();
    let thread = std::thread::Builder::new().name("lacre-act".into()).stack_size(STACK);
    let started = thread.spawn(move || {
        // Broken off: nobody listens.
        let _ = tell.send(work());
    });
    match started {
        Ok(_) => told.await.unwrap_or_else(|_| (false, "the action panicked".into())),
        Err(error) => (false, format!("no thread to act on: {error}")),
    }
}

/// The same, ahead of others on a busy node: not for what starts a process, which would
/// inherit that.
async fn at_once(work: impl FnOnce() -> (bool, String) + Send + 'static) -> (bool, String) {
    blocking(move || {
        let thread = rustix::thread::gettid();
        // Without CAP_SYS_NICE it is as quick as any other.
        let _ = rustix::process::setpriority_process(Some(thread), -20);
        work()
    })
    .await
}

fn pause(held: &Held, was: bool) -> (bool, String) {
    let cgroup = match &held.cgroup {
        Ok(cgroup) => cgroup,
        Err(error) => return (false, chain(error)),
    };
    let freezer = Freezer::new(Arc::clone(cgroup));
    match freezer.freeze() {
        Ok(()) => {
            held.paused.store(true, Ordering::Release);
            (true, if was { "was frozen already" } else { "frozen" }.into())
        }
        Err(error @ FreezeError::Gone(_)) => (true, error.to_string()),
        Err(error) => (false, chain(&error)),
    }
}

fn isolate(held: &Arc<Held>) -> (bool, String) {
    let alive = || !held.init.ended().unwrap_or(false);
    let cut = match isolate_except(held.init.pid(), &[], alive) {
        Ok(cut) => cut,
        Err(error @ IsolateError::Ended) => return (true, error.to_string()),
        Err(error) if !alive() => return (true, chain(&error)),
        Err(error) => return (false, chain(&error)),
    };
    let names: Vec<_> = cut.links.iter().map(|link| link.name.as_str()).collect();
    let mut detail = if names.is_empty() {
        "nothing to cut: only loopback is on".into()
    } else {
        format!("cut {}", names.join(", "))
    };
    if cut.weak {
        detail.push_str(
            "; a process with CAP_NET_ADMIN in the container can switch it on for a moment, since no end of it is on the node",
        );
    }
    let crate::Container { namespace, id, .. } = &held.container;
    match crate::undo::remember(&held.settings.run, namespace, id, cut) {
        Ok(()) => {
            if let Err(error) = crate::watch::watch(held) {
                detail.push_str(&format!("; links that come later are not cut: {}", chain(&error)));
            }
        }
        Err(error) => {
            detail.push_str(&format!("; what it takes to undo it is not kept: {}", chain(&error)));
        }
    }
    (true, detail)
}

async fn stop(held: Arc<Held>) -> (bool, String) {
    let frozen = held
        .cgroup
        .as_ref()
        .is_ok_and(|cgroup| Freezer::new(Arc::clone(cgroup)).is_asked().unwrap_or(false));
    if frozen {
        let (done, detail) = kill(held).await;
        return (done, format!("frozen, so SIGTERM could not be heard; {detail}"));
    }
    let start = Instant::now();
    let heard = match term(&held).await {
        Ok(ended) => ended,
        Err(error) => {
            let (done, detail) = kill(held).await;
            return (done, format!("SIGTERM: {error}; {detail}"));
        }
    };
    let waited = start.elapsed();
    // Also after a good end: with the host's pid namespace, others live on.
    let (done, detail) = kill(held).await;
    if heard {
        (done, format!("ended {waited:.0?} after SIGTERM"))
    } else {
        (done, format!("SIGTERM was not heeded within {waited:.0?}; {detail}"))
    }
}

/// SIGTERM, and waiting for the end; says whether it came within the grace period.
async fn term(held: &Arc<Held>) -> io::Result<bool> {
    held.init.signal(Signal::TERM)?;
    let cancel = Arc::new(eventfd(0, EventfdFlags::CLOEXEC)?);
    let _cancelled_when_dropped = Cancel(Arc::clone(&cancel));
    let holder = Arc::clone(held);
    let (tell, told) = oneshot::channel();
    std::thread::Builder::new().name("lacre-grace".into()).stack_size(STACK).spawn(move || {
        let ended = ends_within(&holder, &cancel, holder.settings.grace);
        let _ = tell.send(ended);
    })?;
    // A runtime whose processes are not the kernel's to see tells of their end itself; one
    // that can't tell leaves it to the kernel.
    let by_inner = async {
        if held.runtime.wait_exit().await.is_err() {
            std::future::pending::<()>().await;
        }
    };
    tokio::select! {
        ended = told => ended.unwrap_or(Ok(false)),
        () = by_inner => Ok(true),
    }
}

struct Cancel(Arc<OwnedFd>);

impl Drop for Cancel {
    fn drop(&mut self) {
        let _ = rustix::io::write(&*self.0, &1_u64.to_ne_bytes());
    }
}

fn ends_within(held: &Held, cancel: &OwnedFd, grace: Duration) -> io::Result<bool> {
    let deadline = Instant::now() + grace;
    loop {
        let left = deadline.saturating_duration_since(Instant::now());
        let timeout = Timespec {
            tv_sec: left.as_secs().try_into().unwrap_or(i64::MAX),
            tv_nsec: left.subsec_nanos().into(),
        };
        let mut fds =
            [PollFd::new(held.init.fd(), PollFlags::IN), PollFd::new(cancel, PollFlags::IN)];
        match poll(&mut fds, Some(&timeout)) {
            Ok(_) => return Ok(fds[0].revents().contains(PollFlags::IN)),
            Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
    }
}

async fn kill(held: Arc<Held>) -> (bool, String) {
    let by_kernel = {
        let held = Arc::clone(&held);
        at_once(move || directly(&held, &[])).await
    };
    if by_kernel.0 {
        return by_kernel;
    }
    // What the kernel could not do, or not vouch for, the inner shim may.
    let inner = async {
        held.runtime.kill(9, true).await?;
        Ok::<_, RuntimeError>((held.runtime.pids().await?, held.runtime.state().await?))
    };
    let why = match tokio::time::timeout(INNER, inner).await {
        Ok(Ok((pids, State::Stopped))) if pids.is_empty() => {
            return (true, "killed, by the inner shim".into());
        }
        Ok(Ok((pids, _))) => return blocking(move || directly(&held, &pids)).await,
        Ok(Err(error)) => chain(&error),
        Err(_) => "it hangs".into(),
    };
    (false, format!("{}; the inner shim: {why}", by_kernel.1))
}

fn directly(held: &Held, known: &[u32]) -> (bool, String) {
    let killed = crate::kill::kill(held.cgroup.as_ref().ok(), &held.init, known);
    let trouble = killed.trouble.join("; ");
    if !killed.left.is_empty() {
        let left = &killed.left;
        return (false, format!("SIGKILL sent, processes {left:?} do not end; {trouble}"));
    }
    let detail = match (&held.cgroup, trouble.is_empty()) {
        (Err(error), _) if !held.init.alone() => {
            // Only the init is known to be dead.
            return (false, format!("the init is dead; others may live: {}", chain(error)));
        }
        (_, true) => "killed".into(),
        (_, false) => format!("killed; {trouble}"),
    };
    (true, detail)
}

fn detached(held: &Held, action: Action, cause: String) -> (bool, String) {
    let crate::Container { namespace, id, address, .. } = &held.container;
    let ask = || {
        let run = held.settings.run.clone();
        let outcome = Request::outcome_path(&run, namespace, id)?;
        let request = Request {
            action,
            address: address.clone(),
            namespace: namespace.clone(),
            container: id.clone(),
            cause,
            backoff: held.settings.backoff,
            run,
            outcome,
        };
        let mut child = detached::spawn(&held.settings.helper, &request)?;
        let program = &held.settings.helper.program;
        child.wait().map_err(detached::failed("waiting for", program))?;
        request.take_outcome()
    };
    match ask() {
        Ok(outcome) => (outcome.done, outcome.detail),
        Err(error) => (false, format!("killed; the helper for the rest: {}", chain(&error))),
    }
}
