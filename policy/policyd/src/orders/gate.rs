//! The gate that all orders go through.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use slog::{Logger, error, info, warn};
use tokio::sync::watch;

use super::kept::{Kept, KeptFile, Opened, Touched};
use super::order::{Approved, Order, Reply, What};
use super::policies::Policies;
use super::window::{Limits, Target, Window};
use crate::clock::{Moment, seconds, wall};
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

/// What all orders go through.
#[derive(Debug)]
pub struct Gate {
    limits: Limits,
    file: KeptFile,
    pub(super) policies: Policies,
    state: Mutex<State>,
    /// Changes when an order is held, approved, or over.
    pub(crate) changed: watch::Sender<u64>,
    pub(super) log: Logger,
}

#[derive(Debug, Default)]
pub(super) struct State {
    pub(super) kept: Kept,
    window: Window,
    /// Until when orders are gathered.
    settles: Option<Instant>,
    gathered: BTreeMap<What, (BTreeSet<Target>, Vec<Reply>)>,
    /// Whose orders waited for that, and were few enough.
    pub(super) settled: BTreeSet<String>,
    /// Until when nothing passes, in seconds since the machine was started: what was done before
    /// is not known.
    shut: u64,
    pub(super) unsaved: bool,
    pub(super) said: Option<Instant>,
}

impl State {
    /// What was answered is approved as it was seen, and not what comes after it.
    fn order(&mut self, what: &What) -> Option<&mut Order> {
        let is_closed =
            |order: &Order| matches!(what, What::Answers { .. }) && order.approved.is_some();
        self.kept.orders.iter_mut().find(|order| order.what == *what && !is_closed(order))
    }

    fn exceeds(&self, targets: &BTreeSet<Target>, nodes: usize, limits: &Limits) -> bool {
        seconds() < self.shut || self.window.exceeds(targets, nodes, limits)
    }

    fn take_over(&mut self, is_over: impl Fn(&Order) -> bool) -> Vec<Order> {
        let (over, orders) = std::mem::take(&mut self.kept.orders).into_iter().partition(is_over);
        self.kept.orders = orders;
        over
    }
}

impl Gate {
    /// Reads what was kept in that folder.
    ///
    /// # Errors
    /// When it can't be read, or a later release wrote it.
    pub fn open(dir: &Path, limits: Limits, log: Logger) -> Result<Self, OpenError> {
        let read = |error| OpenError::Read(dir.to_owned(), error);
        let policies = Policies::open(dir.join("policies")).map_err(read)?;
        let Opened { file, kept, damaged } = KeptFile::open(dir)?;
        let mut state = State::default();
        if let Some((aside, why)) = damaged {
            error!(log, "what is known of orders is damaged and was put aside: for a while, every \
                order waits for an operator"; "file" => %aside.display(),
                "error" => lacre_types::chain(&why));
            state.shut = seconds().saturating_add(limits.window.as_secs());
        }
        // Whoever was here before the last end comes back within that.
        state.settles = kept.as_ref().map(|_| Instant::now() + limits.settle);
        let mut kept = kept.unwrap_or_default();
        let touched = std::mem::take(&mut kept.touched).into_iter();
        let now = Moment::now();
        let at = |at: Moment| (at.boot == now.boot).then_some(at.seconds);
        state.window = Window::of(touched.map(|kept| (kept.target, at(kept.at))), now.seconds);
        state.kept = kept;
        let gate = Self {
            limits,
            file,
            policies,
            state: Mutex::new(state),
            changed: watch::Sender::new(0),
            log,
        };
        gate.save(&mut gate.state());
        Ok(gate)
    }

    pub(super) fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn tell(&self) {
        self.changed.send_modify(|count| *count = count.wrapping_add(1));
    }

    /// Whether that may be done to these containers, of so many nodes.
    pub fn may(&self, what: &What, targets: BTreeSet<Target>, nodes: usize) -> Leave {
        self.ask(what, targets, Vec::new(), nodes)
    }

    /// Whether a report may be answered so. What is held comes later, if somebody approves it.
    pub fn may_reply(&self, reply: Reply, nodes: usize) -> Leave {
        let what = What::Answers { principal: reply.target.principal.clone() };
        self.ask(&what, BTreeSet::from([reply.target.clone()]), vec![reply], nodes)
    }

    fn ask(
        &self,
        what: &What,
        mut targets: BTreeSet<Target>,
        replies: Vec<Reply>,
        nodes: usize,
    ) -> Leave {
        let mut state = self.state();
        state.window.forget(seconds(), &self.limits);
        if let Some(order) = state.order(what) {
            if order.approved.is_some() {
                return Leave::Go;
            }
            let id = order.id;
            let more = order.add(targets);
            let taken = replies.into_iter().all(|reply| order.reply(reply));
            // Who asks comes again after a restart: a disk need not follow each.
            state.unsaved |= more;
            if !taken {
                warn!(self.log, "too many answers wait for an operator; one is not given";
                    "order" => id);
            }
            return Leave::Held(id);
        }
        targets.retain(|target| !state.window.has(target));
        if targets.is_empty() {
            return Leave::Go;
        }
        if state.settles.is_some() {
            let gathered = state.gathered.entry(what.clone()).or_default();
            gathered.0.extend(targets);
            gathered.1.extend(replies);
            return Leave::Wait;
        }
        let leave = self.weigh(&mut state, what, targets, replies, nodes);
        self.save(&mut state);
        leave
    }

    /// Decides about an order that nothing is known of yet.
    fn weigh(
        &self,
        state: &mut State,
        what: &What,
        targets: BTreeSet<Target>,
        replies: Vec<Reply>,
        nodes: usize,
    ) -> Leave {
        if !state.exceeds(&targets, nodes, &self.limits) {
            state.window.touch(targets, seconds());
            return Leave::Go;
        }
        state.kept.last += 1;
        let (id, approved) = (state.kept.last, None);
        let mut order = Order {
            id,
            what: what.clone(),
            since: wall(),
            targets: BTreeSet::new(),
            replies: Vec::new(),
            approved,
        };
        order.add(targets);
        for reply in replies {
            order.reply(reply);
        }
        self.say(&order, "an order is HELD until an operator approves it");
        state.kept.orders.push(order);
        self.tell();
        Leave::Held(id)
    }

    pub(super) fn say(&self, order: &Order, what: &str) {
        let shown = order.show();
        error!(self.log, "{}", what; "order" => order.id, "what" => &shown.what,
            "nodes" => shown.node_count, "containers" => shown.containers, "since" => &shown.since,
            "do" => format!("lacre node approve {} --reason TEXT", order.id));
    }

    /// Nodes have come back: what was gathered is weighed, each order whole.
    pub fn settle(&self, nodes: impl Fn() -> usize) {
        {
            let mut state = self.state();
            if state.settles.is_none_or(|at| at > Instant::now()) {
                return;
            }
            state.settles = None;
            state.window.forget(seconds(), &self.limits);
            for (what, (targets, replies)) in std::mem::take(&mut state.gathered) {
                let principals: Vec<_> =
                    targets.iter().map(|target| target.principal.clone()).collect();
                let leave =
                    self.weigh(&mut state, &what, targets.clone(), replies.clone(), nodes());
                if leave != Leave::Go {
                    continue;
                }
                state.settled.extend(principals);
                if !replies.is_empty() {
                    state.kept.last += 1;
                    let reason = "few enough".to_owned();
                    let approved = Approved { at: wall(), by: "the server".to_owned(), reason };
                    let (id, since) = (state.kept.last, wall());
                    let approved = Some(approved);
                    state.kept.orders.push(Order { id, what, since, targets, replies, approved });
                }
            }
            self.save(&mut state);
        }
        self.tell();
    }

    /// When [`Self::settle`] is to be called, if it is.
    #[must_use]
    pub fn settles(&self) -> Option<Instant> {
        self.state().settles
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
        if count > 0 {
            self.save(state);
        }
        count
    }

    /// What can't be written down holds in memory.
    pub(super) fn save(&self, state: &mut State) {
        let boot = Moment::now().boot;
        let touched = state.window.iter().map(|(target, seconds)| Touched {
            target: target.clone(),
            at: Moment { boot: boot.clone(), seconds },
        });
        state.kept.touched = touched.collect();
        let saved = self.file.write(&state.kept);
        state.unsaved = saved.is_err();
        if let Err(error) = saved {
            error!(self.log, "what is known of orders can't be written down"; "error" => %error);
        }
    }
}
