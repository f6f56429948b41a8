//! The gate that all orders go through.

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use slog::{Logger, error, info, warn};
use tokio::sync::watch;

use super::order::{Order, Reply, What};
use super::order_file::{Kept, KeptFile, Opened, Touched};
use super::policies::Policies;
use super::window::{Excess, Limits, Target, Window};
use crate::clock::{Moment, seconds};
use crate::state_file::OpenError;

/// Whether an order is to be done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Leave {
    /// It is.
    Go,
    /// Not until an operator approves the order of this number.
    Held(u64),
    /// Not yet: nodes are still coming back to a server that has just started.
    Wait,
}

/// What all orders go through. What it says holds at once, and over a restart once it is
/// [saved](Self::save).
#[derive(Debug)]
pub struct Gate {
    pub(super) limits: Limits,
    file: KeptFile,
    pub(super) policies: Policies,
    state: Mutex<State>,
    /// Held while the file is written, so that the last to be written is the newest.
    writing: Mutex<()>,
    /// How many of the changes are on disk.
    written: AtomicU64,
    /// Changes when an order is held, approved, or over.
    pub(crate) changed: watch::Sender<u64>,
    pub(super) log: Logger,
}

#[derive(Debug, Default)]
pub(super) struct State {
    pub(super) kept: Kept,
    pub(super) window: Window,
    /// Until when orders are gathered.
    pub(super) settles: Option<Instant>,
    /// Whose orders waited for that, and were few enough.
    pub(super) settled: BTreeSet<String>,
    /// How often what is kept has changed.
    pub(super) changes: u64,
    pub(super) said: Option<Instant>,
}

impl State {
    /// The order about that of one node. What was answered is approved as it was seen, and not
    /// what comes after it.
    fn about(&mut self, what: &What, principal: &str) -> Option<&mut Order> {
        let alone = what.of(principal);
        let is_it = |order: &Order| {
            let closed = matches!(what, What::Answers { .. }) && order.approved.is_some();
            (order.what == *what || order.what == alone) && !closed
        };
        let orders = &mut self.kept.orders;
        let approved = orders.iter().position(|order| is_it(order) && order.approved.is_some());
        let at = approved.or_else(|| orders.iter().position(is_it))?;
        orders.get_mut(at)
    }

    pub(super) fn take_over(&mut self, is_over: impl Fn(&Order) -> bool) -> Vec<Order> {
        let (over, orders) = std::mem::take(&mut self.kept.orders).into_iter().partition(is_over);
        self.kept.orders = orders;
        over
    }

    fn excess(&self, targets: &BTreeSet<Target>, nodes: usize, limits: &Limits) -> Excess {
        match self.kept.shut {
            Some(_) => Excess::Whole,
            None => self.window.excess(targets, nodes, limits),
        }
    }

    /// Forgets what is longer ago than counts.
    pub(super) fn pass(&mut self, limits: &Limits) {
        let now = seconds();
        self.window.forget(now, limits);
        let over = |at: &Moment| now.saturating_sub(at.seconds) >= limits.window.as_secs();
        if self.kept.shut.as_ref().is_some_and(over) {
            self.kept.shut = None;
            self.changes += 1;
        }
    }
}

impl Gate {
    /// Reads what was kept in that folder.
    ///
    /// # Errors
    /// When it can't be read, or a later release wrote it.
    pub fn open(dir: &Path, limits: Limits, log: Logger) -> Result<Self, OpenError> {
        let read = |error| OpenError::Read(dir.to_owned(), error);
        let Opened { file, kept, damaged } = KeptFile::open(dir)?;
        let policies = Policies::open(dir.join("policies")).map_err(read)?;
        let (mut state, now) = (State::default(), Moment::now());
        // Whoever was here before the last end comes back within that.
        state.settles = kept.as_ref().map(|_| Instant::now() + limits.settle);
        let mut kept = kept.unwrap_or_default();
        if let Some((aside, why)) = damaged {
            error!(log, "what is known of orders is damaged and was put aside: for a while, every \
                order waits for an operator"; "file" => %aside.display(),
                "error" => lacre_types::chain(&why));
            kept.shut = Some(now.clone());
        }
        // What was before the machine was last started was nobody knows how long ago.
        kept.shut = kept.shut.map(|at| if at.boot == now.boot { at } else { now.clone() });
        let touched = std::mem::take(&mut kept.touched).into_iter();
        let at = |at: Moment| (at.boot == now.boot).then_some(at.seconds);
        state.window = Window::of(touched.map(|kept| (kept.target, at(kept.at))), now.seconds);
        state.kept = kept;
        state.changes = 1;
        let gate = Self {
            limits,
            file,
            policies,
            state: Mutex::new(state),
            writing: Mutex::default(),
            written: AtomicU64::new(0),
            changed: watch::Sender::new(0),
            log,
        };
        gate.save_or_say();
        Ok(gate)
    }

    pub(super) fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn tell(&self) {
        self.changed.send_modify(|count| *count = count.wrapping_add(1));
    }

    /// Whether that may be done to these containers, of so many nodes. Of several nodes: whether
    /// all of it may.
    pub fn may(&self, what: &What, targets: BTreeSet<Target>, nodes: usize) -> Leave {
        self.ask(what, targets, None, nodes)
    }

    /// Whether a report may be answered so. What is held comes later, if somebody approves it.
    pub fn may_reply(&self, reply: Reply, nodes: usize) -> Leave {
        let what = What::Answers { principal: reply.target.principal.clone() };
        self.ask(&what, BTreeSet::from([reply.target.clone()]), Some(reply), nodes)
    }

    fn ask(
        &self,
        what: &What,
        targets: BTreeSet<Target>,
        reply: Option<Reply>,
        nodes: usize,
    ) -> Leave {
        let mut state = self.state();
        state.pass(&self.limits);
        let (mut leave, mut fresh) = (Leave::Go, Order::new(0, what.clone()));
        if targets.is_empty()
            && let Some(order) = state.about(what, what.principal().unwrap_or_default())
            && order.approved.is_none()
        {
            leave = Leave::Held(order.id);
        }
        for target in targets {
            match state.about(what, &target.principal) {
                Some(order) if order.approved.is_some() => {}
                Some(order) => {
                    let was_full = order.is_full;
                    let mut changed = order.add(target);
                    if let Some(reply) = reply.clone() {
                        changed |= order.reply(reply);
                    }
                    if order.is_full && !was_full {
                        warn!(self.log, "an order is about more than is remembered: the answers \
                            beyond it are not given"; "order" => order.id);
                    }
                    leave = Leave::Held(order.id);
                    state.changes += u64::from(changed);
                }
                None => {
                    fresh.add(target);
                    if let Some(reply) = reply.clone() {
                        fresh.reply(reply);
                    }
                }
            }
        }
        if fresh.targets.is_empty() {
            return leave;
        }
        if state.settles.is_some() {
            state.gather(fresh);
            return Leave::Wait;
        }
        match self.weigh(&mut state, fresh, nodes) {
            (_, Leave::Go) => leave,
            (_, other) => other,
        }
    }

    /// Decides about what there is no order for yet, and gives what of it is to be done: of several
    /// nodes, what one alone has too much of waits.
    pub(super) fn weigh(&self, state: &mut State, order: Order, nodes: usize) -> (Order, Leave) {
        let excess = match order.is_full {
            // Who has more than is remembered has too much.
            true => Excess::Whole,
            false => state.excess(&order.targets, nodes, &self.limits),
        };
        let mut done = Order::new(0, order.what.clone());
        let alone = match excess {
            Excess::Whole => return (done, self.hold(state, order)),
            Excess::Of(alone) => alone,
        };
        let mut held: BTreeMap<String, Order> = BTreeMap::new();
        for target in order.targets {
            if alone.contains(&target.principal) {
                let of_one = held.entry(target.principal.clone());
                of_one.or_insert_with_key(|node| Order::new(0, done.what.of(node))).add(target);
            } else {
                done.add(target);
            }
        }
        for reply in order.replies {
            held.get_mut(&reply.target.principal).unwrap_or(&mut done).reply(reply);
        }
        let touched = state.window.touch(done.targets.clone(), seconds());
        state.changes += u64::from(touched);
        let mut leave = Leave::Go;
        for order in held.into_values() {
            leave = self.hold(state, order);
        }
        (done, leave)
    }

    /// From now on it waits for an operator.
    fn hold(&self, state: &mut State, mut order: Order) -> Leave {
        // What waited of single nodes is a part of it.
        if matches!(order.what, What::Policy { principal: None, .. }) {
            let is_part = |part: &Order| {
                let of = part.what.principal().map(|principal| order.what.of(principal));
                part.approved.is_none() && of.is_some_and(|of| of == part.what)
            };
            for part in state.take_over(is_part) {
                info!(self.log, "an order is a part of another now"; "order" => part.id);
                for target in part.targets {
                    order.add(target);
                }
            }
        }
        state.kept.last += 1;
        order.id = state.kept.last;
        let id = order.id;
        self.say(&order, "an order is HELD until an operator approves it");
        state.kept.orders.push(order);
        state.changes += 1;
        self.tell();
        Leave::Held(id)
    }

    pub(super) fn say(&self, order: &Order, what: &str) {
        let shown = order.show();
        error!(self.log, "{}", what; "order" => order.id, "what" => &shown.what,
            "nodes" => shown.node_count, "containers" => shown.containers, "since" => &shown.since,
            "do" => format!("lacre node approve {} --reason TEXT", order.id));
    }

    pub(super) fn bury(&self, state: &mut State, is_over: impl Fn(&Order) -> bool) -> usize {
        let over = state.take_over(is_over);
        let count = over.len();
        for order in over {
            if order.approved.is_none() {
                info!(self.log, "an order is withdrawn"; "order" => order.id,
                    "what" => order.what.to_string());
            }
            state.kept.bury(order);
        }
        state.changes += count as u64;
        count
    }

    /// Whether all that it said outlasts a restart.
    #[must_use]
    pub fn is_saved(&self) -> bool {
        self.written.load(Ordering::Acquire) >= self.state().changes
    }

    /// Writes down what is not yet. Who comes while another writes has its share of the next.
    ///
    /// # Errors
    /// When the disk refuses. What was said holds in memory all the same.
    pub fn save(&self) -> io::Result<()> {
        let wanted = self.state().changes;
        if self.written.load(Ordering::Acquire) >= wanted {
            return Ok(());
        }
        let _writing = self.writing.lock().unwrap_or_else(PoisonError::into_inner);
        if self.written.load(Ordering::Acquire) >= wanted {
            return Ok(());
        }
        let (text, changes) = {
            let mut state = self.state();
            let boot = Moment::now().boot;
            let touched = state.window.iter().map(|(target, seconds)| Touched {
                target: target.clone(),
                at: Moment { boot: boot.clone(), seconds },
            });
            state.kept.touched = touched.collect();
            (serde_json::to_vec(&state.kept)?, state.changes)
        };
        self.file.write(&text)?;
        self.written.store(changes, Ordering::Release);
        Ok(())
    }

    /// The same, for who is not to tell of it. Whether it is written down.
    pub fn save_or_say(&self) -> bool {
        let saved = self.save();
        if let Err(error) = &saved {
            error!(self.log, "what is known of orders can't be written down"; "error" => %error);
        }
        saved.is_ok()
    }
}
