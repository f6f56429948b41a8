//! How each action is done: first by the kernel, then, for what that can't, by the inner shim or a
//! helper.

use std::io;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use lacre_types::{Action, chain};
use rustix::event::{EventfdFlags, PollFd, PollFlags, Timespec, eventfd, poll};
use rustix::process::Signal;
use tokio::sync::oneshot;

use crate::container::Held;
use crate::freeze_arbiter::Frozen;
use crate::freezer::FreezeError;
use crate::helper::{self, Request};
use crate::manager::Manager;
use crate::network::isolate::{IsolateError, changes, isolate_except};
use crate::network::{link_watch, state};
use crate::outcome::{Became, Outcome};
use crate::pause_mark;
use crate::request::Asked;
use crate::runtime::{RuntimeError, State};

/// How long the inner shim is asked for what the kernel could not do.
const INNER: Duration = Duration::from_secs(2);

/// The stack of a thread that does one blocking thing; none recurses deeply.
const STACK: usize = 256 << 10;

/// Does it. Dropping it breaks off what waits; what the kernel was told stays told.
pub(crate) async fn perform(held: Arc<Held>, action: Action, asked: Asked) -> Became {
    match action {
        Action::Skip | Action::Deny => (true, String::new()).into(),
        Action::Pause => at_once(move || pause(&held, asked.was_frozen)).await.into(),
        Action::Isolate => at_once(move || isolate(&held)).await.into(),
        Action::Stop => stop(held).await.into(),
        Action::Kill => kill(held).await.into(),
        Action::Restart if held.container.manager != Manager::Containerd => {
            let (done, detail) = kill(Arc::clone(&held)).await;
            let then = match held.container.manager {
                Manager::Kubelet => "the kubelet makes a new one, by the pod's restart policy",
                _ => "whether it comes back is for dockerd's restart policy, from the same layer",
            };
            (done, format!("{detail}; {then}")).into()
        }
        Action::Restart | Action::Delete => {
            // The helper kills too, but later, and through containerd.
            let (done, detail) = kill(Arc::clone(&held)).await;
            let by = Arc::clone(&held);
            let helped = blocking(move || by_helper(&by, action, asked.cause)).await;
            if done {
                return helped;
            }
            // That containerd knows of nothing does not mean that nothing is left.
            let (ended, again) = kill(held).await;
            let detail = format!("{detail}; {}; {again}", helped.detail);
            // What the helper put on record was not all.
            Became { done: helped.done && ended, detail, recorded: false, overtaken_by: None }
        }
    }
}

/// Runs it on a thread of its own: a runtime that shuts down does not wait for that.
async fn blocking<T>(work: impl FnOnce() -> T + Send + 'static) -> T
where
    T: From<(bool, String)> + Send + 'static,
{
    let (tell, told) = oneshot::channel();
    let thread = std::thread::Builder::new().name("lacre-act".into()).stack_size(STACK);
    let started = thread.spawn(move || {
        // Broken off: nobody listens.
        let _ = tell.send(work());
    });
    match started {
        Ok(_) => told.await.unwrap_or_else(|_| (false, "the action panicked".to_owned()).into()),
        Err(error) => (false, format!("no thread to act on: {error}")).into(),
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
    let freezer = match held.arbiter.freezer() {
        Ok(freezer) => freezer,
        Err(error) => return (false, chain(error)),
    };
    match held.arbiter.freeze(&freezer) {
        Ok(()) => {
            let detail = if was { "was frozen already" } else { "frozen" };
            mark(held);
            match thaw_after_its_end(held) {
                Ok(()) => (true, detail.into()),
                Err(error) => {
                    (true, format!("{detail}; once it is killed, its freezer stays: {error}"))
                }
            }
        }
        Err(error @ FreezeError::Gone(_)) => (true, error.to_string()),
        Err(error) if held.target.init().ended().unwrap_or(false) => (true, chain(&error)),
        Err(error) => (false, chain(&error)),
    }
}

/// Notes down that it is lacre's to thaw, for who would when this process has gone.
fn mark(held: &Held) {
    let (run, generation) = (&held.settings.run, &held.container.generation);
    if held.arbiter.frozen() == Frozen::ByLacre {
        // Without it, it is let alone by then, as what another froze.
        let _ = pause_mark::put(run, generation);
    }
}

/// Who is frozen can still be killed, by the node or its memory's end; its freezer must not
/// outlast it.
fn thaw_after_its_end(held: &Held) -> io::Result<()> {
    if held.end_awaited.swap(true, Ordering::AcqRel) {
        return Ok(());
    }
    let (target, arbiter) = (Arc::clone(&held.target), Arc::clone(&held.arbiter));
    let thread = std::thread::Builder::new().name("lacre-held".into()).stack_size(STACK);
    let started = thread.spawn(move || {
        while !target.init().wait(Duration::from_secs(3600)).unwrap_or(true) {}
        arbiter.end_and_thaw();
    });
    if started.is_err() {
        held.end_awaited.store(false, Ordering::Release);
    }
    started.map(drop)
}

/// A client's Resume. Where it was a client who paused first, its inner shim calls the
/// container paused, and is the one to thaw it.
pub(crate) async fn resume(held: Arc<Held>) -> Result<bool, FreezeError> {
    let mut by_inner = false;
    if held.arbiter.is_client_paused() && !held.arbiter.is_ending() {
        let inner = async {
            Ok::<_, RuntimeError>(match held.runtime.state().await? {
                State::Paused => held.runtime.resume().await.map(|()| true)?,
                _ => false,
            })
        };
        // One that hangs or refuses does not keep it from running: the kernel thaws it too.
        by_inner = matches!(tokio::time::timeout(INNER, inner).await, Ok(Ok(true)));
    }
    let (tell, told) = oneshot::channel();
    let thread = std::thread::Builder::new().name("lacre-thaw".into()).stack_size(STACK);
    let path = held.arbiter.freezer().map(|freezer| freezer.path().to_owned()).unwrap_or_default();
    let failed = |source| FreezeError::Io { doing: "starting a thread to thaw", path, source };
    let started = thread.spawn(move || {
        let thawed = held.arbiter.thaw();
        let _ = pause_mark::remove(&held.settings.run, &held.container.generation);
        drop(tell.send(thawed));
    });
    match started {
        Ok(_) => match told.await {
            Ok(thawed) => thawed.map(|was| was || by_inner),
            Err(_) => Err(failed(io::Error::other("it panicked"))),
        },
        Err(error) => Err(failed(error)),
    }
}

fn isolate(held: &Arc<Held>) -> (bool, String) {
    let init = held.target.init();
    let alive = || !init.ended().unwrap_or(false);
    // Before it is looked what there is: a link that comes in between is told of.
    let changes = changes(init.pid());
    let cut = match isolate_except(init.pid(), &[], alive) {
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
    match state::remember(&held.settings.run, &held.container.generation, cut) {
        Ok(()) => {
            if let Err(error) = changes.and_then(|changes| link_watch::watch(held, changes)) {
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
    if held.arbiter.freezer().is_ok_and(|freezer| !freezer.is_free().unwrap_or(true)) {
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
    held.target.init().signal(Signal::TERM)?;
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
        let mut fds = [
            PollFd::new(held.target.init().fd(), PollFlags::IN),
            PollFd::new(cancel, PollFlags::IN),
        ];
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
        at_once(move || directly(&held)).await
    };
    if by_kernel.0 {
        return by_kernel;
    }
    // What the kernel could not do, or not vouch for, the inner shim may. Not all of it where
    // others may be in its cgroup: runc kills whoever is there.
    let all = held.target.look().is_alone();
    let inner = async {
        held.runtime.kill(9, all).await?;
        Ok::<_, RuntimeError>((held.runtime.pids().await?, held.runtime.state().await?))
    };
    let why = match tokio::time::timeout(INNER, inner).await {
        Ok(Ok((pids, State::Stopped))) if pids.is_empty() => {
            return (true, "killed, by the inner shim".into());
        }
        Ok(Ok(_)) => return blocking(move || directly(&held)).await,
        Ok(Err(error)) => chain(&error),
        Err(_) => "it hangs".into(),
    };
    (false, format!("{}; the inner shim: {why}", by_kernel.1))
}

fn directly(held: &Held) -> (bool, String) {
    let killed = crate::kill::kill(&held.target, Some(&held.arbiter));
    let mut detail = if killed.left.is_empty() && killed.untold.is_empty() {
        "killed".to_owned()
    } else if killed.left.is_empty() {
        format!(
            "killed; processes {:?} of its cgroup can't be told from another container's and were left alone: give each container a cgroup of its own",
            killed.untold
        )
    } else {
        format!("SIGKILL sent, processes {:?} do not end", killed.left)
    };
    for trouble in &killed.trouble {
        detail.push_str(&format!("; {trouble}"));
    }
    match held.target.cgroup() {
        // Only the init is known to be dead.
        Err(error) if !held.target.is_told_apart() => {
            (false, format!("the init is dead; others may live: {}", chain(error)))
        }
        _ => (killed.left.is_empty() && killed.untold.is_empty(), detail),
    }
}

fn by_helper(held: &Held, action: Action, cause: String) -> Became {
    let asked = Request::new(action, &held.container, &held.settings, cause);
    match asked.and_then(|request| helper::run(&held.settings.helper, &request)) {
        Ok(Outcome { done, detail, recorded, .. }) => {
            Became { done, detail, recorded, overtaken_by: None }
        }
        Err(error) => (false, format!("killed; the helper for the rest: {}", chain(&error))).into(),
    }
}
