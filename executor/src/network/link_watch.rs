//! Keeps a cut network cut: a link that is plugged in or switched on later goes off again.

use std::io;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use rustix::event::{PollFd, PollFlags, poll};
use rustix::net::{RecvFlags, recv};

use crate::container::Held;
use crate::network::isolate::{IsolateError, isolate_except};
use crate::network::state::{recall, remember};

/// The kernel's messages are not looked at, only that there are some.
const BUFFER: usize = 8 << 10;

/// A stack for two dumps and a page of JSON.
const STACK: usize = 256 << 10;

/// Watches, on a thread, until the container ends or its ISOLATE is undone. `socket` was
/// there before the links were looked at.
pub(crate) fn watch(held: &Arc<Held>, socket: OwnedFd) -> Result<(), IsolateError> {
    if held.watched.swap(true, Ordering::AcqRel) {
        return Ok(());
    }
    let start = || {
        let watching = Arc::clone(held);
        let thread = std::thread::Builder::new().name("lacre-cut".into()).stack_size(STACK);
        let thread = thread.spawn(move || {
            while next(&watching, &socket).unwrap_or(false) && again(&watching) {}
            watching.watched.store(false, Ordering::Release);
        });
        thread.map(drop).map_err(|source| IsolateError::Failed {
            doing: "starting a thread that watches the links".into(),
            source,
        })
    };
    let started = start();
    if started.is_err() {
        held.watched.store(false, Ordering::Release);
    }
    started
}

/// Waits for a change; false when the container has ended.
fn next(held: &Held, socket: &OwnedFd) -> io::Result<bool> {
    let mut fds =
        [PollFd::new(socket, PollFlags::IN), PollFd::new(held.target.init().fd(), PollFlags::IN)];
    loop {
        match poll(&mut fds, None) {
            Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(error.into()),
            Ok(_) => break,
        }
    }
    if !fds[1].revents().is_empty() {
        return Ok(false);
    }
    let mut buffer = [0; BUFFER];
    loop {
        match recv(socket, &mut buffer[..], RecvFlags::TRUNC) {
            // Lost messages are changes like others.
            Ok(_) | Err(rustix::io::Errno::NOBUFS | rustix::io::Errno::INTR) => {}
            Err(rustix::io::Errno::AGAIN) => return Ok(true),
            Err(error) => return Err(error.into()),
        }
    }
}

/// Cuts what came; false when nothing is to be cut any more.
fn again(held: &Held) -> bool {
    let (run, generation) = (&held.settings.run, &held.container.generation);
    let Ok(known) = recall(run, generation) else { return false };
    // Whose end on the node is on again was switched on there, by who may.
    let except: Vec<_> =
        known.links.iter().filter(|link| link.peer.is_some()).map(|link| link.index).collect();
    let alive = || !held.target.init().ended().unwrap_or(false);
    match isolate_except(held.target.init().pid(), &except, alive) {
        Ok(cut) if cut.links.is_empty() => true,
        Ok(cut) => remember(run, generation, cut).is_ok(),
        Err(IsolateError::Ended) => false,
        // It fights: the next change is under way already.
        Err(_) => true,
    }
}
