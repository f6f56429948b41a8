//! What was allowed a moment ago, and what the kernel will open because of it.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use super::code;
use super::event_file::State;
use super::requester::base;

/// How many are remembered: programs that start at the same moment.
const KEPT: usize = 16;
/// How long: an exec that was allowed opens its interpreter at once, unless it waits
/// for a slow disk.
const FRESH: Duration = Duration::from_secs(1);

/// Interpreters and loaders that were announced by what is executed.
#[derive(Default)]
pub(super) struct Interpreters(VecDeque<(u32, Vec<u8>, Instant)>);

impl Interpreters {
    /// That this process executes a file with this head.
    pub(super) fn announce(&mut self, pid: u32, head: &[u8]) {
        let Some(path) = code::interpreter(head) else { return };
        if self.0.len() >= KEPT {
            self.0.pop_front();
        }
        self.0.push_back((pid, base(path).to_vec(), Instant::now()));
    }

    /// Whether the file that this process executes is the interpreter of the one before.
    /// The announced name may be a symbolic link; a loader keeps its kind of name.
    pub(super) fn is_one(&mut self, pid: u32, path: &[u8]) -> bool {
        let Some(at) = self.0.iter().position(|(of, ..)| *of == pid) else { return false };
        let Some((_, announced, since)) = self.0.remove(at) else { return false };
        let name = base(path);
        let loader = |name: &[u8]| name.starts_with(b"ld-") || name.starts_with(b"ld.so");
        let shell = |name: &[u8]| name.ends_with(b"sh") || name == b"busybox";
        since.elapsed() < FRESH
            && (announced == name
                || loader(&announced) && loader(name)
                || shell(&announced) && shell(name)
                // python3 → python3.11
                || name.starts_with(&announced))
    }
}

/// Files that were just let be executed: with every open asked about, the kernel asks a
/// second time for the same open.
#[derive(Default)]
pub(super) struct Ran(VecDeque<(u32, State)>);

impl Ran {
    pub(super) fn note(&mut self, pid: u32, state: State) {
        if self.0.len() >= KEPT {
            self.0.pop_front();
        }
        self.0.push_back((pid, state));
    }

    /// Whether this is the second question about it; there is no third.
    pub(super) fn take(&mut self, pid: u32, state: &State) -> bool {
        let at = self.0.iter().position(|(of, ran)| *of == pid && ran == state);
        at.is_some_and(|at| self.0.remove(at).is_some())
    }
}
