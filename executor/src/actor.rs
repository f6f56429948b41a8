//! The order in which one container's actions are done, and who is answered when.

use std::collections::BTreeMap;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;

use lacre_types::Action;
use tokio::sync::mpsc;

use crate::actions::perform;
use crate::container::Held;
use crate::outcome::Became;
use crate::precedence::{Arrival, Order};
use crate::request::{Request, Waiter};

/// How many callers wait for one action. Actions of a kind are done together, so more than
/// this are violations of one burst; those beyond are told that it is being done.
const WAITERS: usize = 256;

type Running = Pin<Box<dyn Future<Output = Became> + Send>>;

/// Does a container's actions one after the other, and answers who waits for them.
pub(crate) struct Actor {
    held: Arc<Held>,
    order: Order,
    waiting: BTreeMap<Action, Vec<Waiter>>,
    running: Option<(Action, Running)>,
}

impl Actor {
    pub(crate) fn new(held: Arc<Held>) -> Self {
        Self { held, order: Order::default(), waiting: BTreeMap::new(), running: None }
    }

    pub(crate) async fn run(mut self, mut inbox: mpsc::Receiver<Request>) {
        let mut open = true;
        while open || self.running.is_some() {
            let finished = tokio::select! {
                biased;
                request = inbox.recv(), if open => {
                    match request {
                        Some(Request(action, waiter)) => self.arrive(action, waiter),
                        None => open = false,
                    }
                    None
                }
                done = finish(&mut self.running) => Some(done),
            };
            if let Some((action, became)) = finished {
                self.running = None;
                self.order.finished(became.done && action.ends());
                self.answer_as(action, became);
                for (action, by) in self.order.covered() {
                    self.answer(action, true, &covered(by));
                }
            }
            if self.running.is_none()
                && let Some(action) = self.order.next()
            {
                let first = self.waiting.get(&action).and_then(|waiters| waiters.first());
                let asked = first.map(|waiter| waiter.asked.clone()).unwrap_or_default();
                let running = perform(Arc::clone(&self.held), action, asked);
                self.running = Some((action, Box::pin(running)));
            }
        }
    }

    fn arrive(&mut self, action: Action, waiter: Waiter) {
        let arrival = self.order.arrive(action);
        let others = self.waiting.entry(action).or_default();
        if arrival == Arrival::Joined && others.len() >= WAITERS {
            let done_for_others = "it is being done for others before this one".to_owned();
            waiter.tell(action, (false, done_for_others).into());
            return;
        }
        others.push(waiter);
        match arrival {
            Arrival::Nothing => {
                self.answer(action, true, "nothing for the executor to do");
            }
            Arrival::Covered(by) => self.answer(action, true, &covered(by)),
            Arrival::Joined | Arrival::Queued => {}
            Arrival::Overtakes => {
                if let Some((running, _)) = self.running.take() {
                    self.order.finished(false);
                    let detail = format!("overtaken by {action}");
                    let overtaken_by = Some(action);
                    let became = Became { done: false, detail, recorded: false, overtaken_by };
                    self.answer_as(running, became);
                }
            }
        }
    }

    fn answer(&mut self, action: Action, done: bool, detail: &str) {
        self.answer_as(action, (done, detail.to_owned()).into());
    }

    fn answer_as(&mut self, action: Action, mut became: Became) {
        for waiter in self.waiting.remove(&action).unwrap_or_default() {
            waiter.tell(action, became.clone());
            // On record is the outcome for the first, for whom it was done.
            became.recorded = false;
        }
    }
}

fn covered(by: Action) -> String {
    format!("the container has ended: {by} was done before")
}

async fn finish(running: &mut Option<(Action, Running)>) -> (Action, Became) {
    match running {
        Some((action, running)) => (*action, running.await),
        None => std::future::pending().await,
    }
}
