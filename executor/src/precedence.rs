//! In which order a container's actions happen. Pure.

use std::collections::BTreeSet;

use lacre_types::Action;

/// What becomes of an action that was just asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Arrival {
    /// There is nothing for the executor to do: SKIP, DENY.
    Nothing,
    /// This one was done before, and covers it.
    Covered(Action),
    /// The same is running or waiting; both get its outcome.
    Joined,
    /// It waits for its turn.
    Queued,
    /// It waits for its turn, and what runs is to be broken off at once.
    Overtakes,
}

/// The actions of one container: at most one of each kind waits, and one runs.
#[derive(Debug, Default)]
pub(crate) struct Order {
    queued: BTreeSet<Action>,
    running: Option<Action>,
    /// The worst that has ended the container.
    ended: Option<Action>,
}

impl Order {
    pub(crate) fn arrive(&mut self, action: Action) -> Arrival {
        if matches!(action, Action::Skip | Action::Deny) {
            return Arrival::Nothing;
        }
        if let Some(ended) = self.ended
            && (action <= ended || !action.ends())
        {
            return Arrival::Covered(ended);
        }
        if self.running == Some(action) || !self.queued.insert(action) {
            return Arrival::Joined;
        }
        match self.running {
            Some(running) if running.ends() && running < action => Arrival::Overtakes,
            _ => Arrival::Queued,
        }
    }

    /// The next to run: the worst. Those that the end of the container made pointless come
    /// out of [`Self::covered`].
    pub(crate) fn next(&mut self) -> Option<Action> {
        if self.running.is_none() {
            self.running = self.queued.pop_last();
            return self.running;
        }
        None
    }

    /// What ran is over. `ended`: whether it has ended the container.
    pub(crate) fn finished(&mut self, ended: bool) {
        let running = self.running.take();
        if ended {
            self.ended = self.ended.max(running);
        }
    }

    /// Takes out those that wait and are covered, with what covers them.
    pub(crate) fn covered(&mut self) -> Vec<(Action, Action)> {
        let Some(ended) = self.ended else { return Vec::new() };
        let (covered, rest) =
            self.queued.iter().copied().partition(|&action| action <= ended || !action.ends());
        self.queued = rest;
        let covered: BTreeSet<_> = covered;
        covered.into_iter().map(|action| (action, ended)).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn kill_overtakes_the_grace_of_stop() {
        let mut order = Order::default();
        assert_eq!(order.arrive(Action::Stop), Arrival::Queued);
        assert_eq!(order.next(), Some(Action::Stop));
        assert_eq!(order.arrive(Action::Stop), Arrival::Joined);
        assert_eq!(order.arrive(Action::Kill), Arrival::Overtakes);
        order.finished(false);
        assert_eq!(order.next(), Some(Action::Kill));
        order.finished(true);
        assert_eq!(order.arrive(Action::Pause), Arrival::Covered(Action::Kill));
        assert_eq!(order.arrive(Action::Stop), Arrival::Covered(Action::Kill));
        assert_eq!(order.arrive(Action::Delete), Arrival::Queued);
    }

    #[test]
    fn pausing_and_isolating_both_happen() {
        let mut order = Order::default();
        order.arrive(Action::Isolate);
        assert_eq!(order.next(), Some(Action::Isolate));
        order.finished(false);
        assert_eq!(order.arrive(Action::Pause), Arrival::Queued);
        assert_eq!(order.next(), Some(Action::Pause));
        assert_eq!(order.arrive(Action::Kill), Arrival::Queued);
    }

    fn actions() -> impl Strategy<Value = Option<Action>> {
        proptest::option::weighted(0.6, proptest::sample::select(Action::ALL))
    }

    proptest! {
        /// `Some`: asked for; `None`: what runs ends, and the next begins.
        #[test]
        fn each_is_answered_and_the_worst_comes_first(steps in proptest::collection::vec(actions(), 0..60)) {
            let mut order = Order::default();
            let mut waiting = BTreeSet::new();
            let mut running: Option<Action> = None;
            let mut ended: Option<Action> = None;
            for step in steps.into_iter().chain([None; 20]) {
                match step {
                    Some(action) => match order.arrive(action) {
                        Arrival::Nothing => prop_assert!(action <= Action::Deny),
                        Arrival::Covered(by) => prop_assert!(Some(by) == ended),
                        Arrival::Joined => {
                            prop_assert!(running == Some(action) || waiting.contains(&action));
                        }
                        Arrival::Queued => prop_assert!(waiting.insert(action)),
                        Arrival::Overtakes => {
                            prop_assert!(running.is_some_and(|r| r.ends() && r < action));
                            prop_assert!(waiting.insert(action));
                        }
                    },
                    None => {
                        if let Some(over) = running.take() {
                            order.finished(over.ends());
                            if over.ends() {
                                ended = ended.max(Some(over));
                            }
                            for (covered, by) in order.covered() {
                                prop_assert!(Some(by) == ended);
                                prop_assert!(waiting.remove(&covered));
                            }
                        }
                        running = order.next();
                        if let Some(next) = running {
                            prop_assert!(waiting.remove(&next));
                            prop_assert!(waiting.iter().all(|other| *other < next), "the worst first");
                            prop_assert!(ended.is_none() || next.ends(), "no pause of the dead");
                        }
                    }
                }
            }
            prop_assert!(waiting.is_empty() && running.is_none(), "all answered");
        }
    }
}
