use super::*;
use proptest::prelude::*;

const EVENTS: [Event; 13] = [
    Event::Prepared(Prepared::NotCreated),
    Event::Prepared(Prepared::Guarded),
    Event::Prepared(Prepared::Blind),
    Event::Prepared(Prepared::Refused),
    Event::StartAsked,
    Event::StartAsked,
    Event::Tightened,
    Event::TightenFailed,
    Event::InnerGone,
    Event::EndAsked,
    Event::AwayTooLong,
    Event::ProcessesGone,
    Event::Settled,
];

fn after(mode: Mode, events: &[Event]) -> (Machine, Vec<Effect>) {
    let mut machine = Machine::new(mode);
    let effects = events.iter().map(|event| machine.step(*event)).last();
    (machine, effects.unwrap_or_default())
}

/// A row of the table: what the last event does, and where it leads.
#[track_caller]
fn row(mode: Mode, events: &[Event], effects: &[Effect], state: State) {
    let (machine, did) = after(mode, events);
    assert_eq!((did.as_slice(), machine.state()), (effects, state), "{mode:?} {events:?}");
}

const GUARDED: Event = Event::Prepared(Prepared::Guarded);
const BLIND: Event = Event::Prepared(Prepared::Blind);
const REFUSED: Event = Event::Prepared(Prepared::Refused);

#[test]
fn a_life_in_good_order() {
    use Effect::{Erase, Kill, Permit, Settle, Watch};
    let life = [GUARDED, Event::StartAsked, Event::EndAsked, Event::ProcessesGone, Event::Settled];
    for mode in [Mode::Audit, Mode::Enforce] {
        row(mode, &life[..1], &[], State::Guarded);
        row(mode, &life[..2], &[Permit], State::Running { guarded: true });
        row(mode, &life[..3], &[Kill, Watch], State::Ending { guarded: true });
        row(mode, &life[..4], &[Settle], State::Settling);
        row(mode, &life, &[Erase], State::Ended);
    }
}

/// Its inner shim went before it could start, and then somebody asks for its end.
#[test]
fn what_waits_for_its_own_end_is_killed_when_it_is_to_end() {
    for prepared in [BLIND, REFUSED] {
        let ends = [prepared, Event::InnerGone, Event::EndAsked];
        for mode in [Mode::Audit, Mode::Enforce] {
            row(mode, &ends[..2], &[Effect::Watch], State::Ending { guarded: false });
            row(mode, &ends, &[Effect::Kill], State::Ending { guarded: false });
        }
    }
}

#[test]
fn what_cannot_be_guarded_runs_in_audit_and_does_not_start_in_enforce() {
    use Effect::{Permit, Refuse};
    let starts = [BLIND, Event::StartAsked];
    row(Mode::Audit, &starts, &[Permit], State::Running { guarded: false });
    row(Mode::Enforce, &starts, &[Refuse], State::Refused);
    let refused = [REFUSED, Event::StartAsked];
    row(Mode::Audit, &refused, &[Refuse], State::Refused);
    // The policy comes between the two.
    let late = [BLIND, Event::Tightened, Event::StartAsked];
    row(Mode::Audit, &late, &[Refuse], State::Refused);
    let early = [Event::Tightened, BLIND, Event::StartAsked];
    row(Mode::Audit, &early, &[Refuse], State::Refused);
}

#[test]
fn a_policy_that_comes_late_tightens_what_runs() {
    use Effect::{Kill, Tighten, Watch};
    let guarded = [GUARDED, Event::StartAsked, Event::Tightened];
    row(Mode::Audit, &guarded, &[Tighten], State::Running { guarded: true });
    row(Mode::Enforce, &guarded, &[], State::Running { guarded: true });
    let twice = [GUARDED, Event::StartAsked, Event::Tightened, Event::Tightened];
    row(Mode::Audit, &twice, &[], State::Running { guarded: true });
    let blind = [BLIND, Event::StartAsked, Event::Tightened];
    row(Mode::Audit, &blind, &[Kill, Watch], State::Ending { guarded: false });
    let failed = [GUARDED, Event::StartAsked, Event::Tightened, Event::TightenFailed];
    row(Mode::Audit, &failed, &[Kill, Watch], State::Ending { guarded: true });
}

#[test]
fn the_inner_shims_death_leaves_the_guard_until_the_last_process_has_gone() {
    use Effect::{Clock, Kill, Settle, Watch};
    let dies = [GUARDED, Event::StartAsked, Event::InnerGone, Event::ProcessesGone];
    for mode in [Mode::Audit, Mode::Enforce] {
        row(mode, &dies[..3], &[Watch, Clock], State::Running { guarded: true });
        row(mode, &dies, &[Settle], State::Settling);
    }
    // Nobody else comes to end it.
    let away = [GUARDED, Event::StartAsked, Event::InnerGone, Event::AwayTooLong];
    row(Mode::Enforce, &away, &[Kill], State::Ending { guarded: true });
    row(Mode::Audit, &away, &[], State::Running { guarded: true });
    // It waits for a Start that can't come, and is not forgotten.
    let waits = [GUARDED, Event::InnerGone, Event::StartAsked];
    row(Mode::Enforce, &waits, &[Effect::Refuse], State::Guarded);
    let creating = [Event::InnerGone, GUARDED];
    row(Mode::Enforce, &creating, &[Watch, Clock], State::Guarded);
}

#[test]
fn a_delete_within_the_preparation_comes_after_it() {
    use Effect::{Kill, Watch};
    row(Mode::Audit, &[Event::EndAsked], &[], State::Creating);
    let both = [Event::EndAsked, GUARDED];
    row(Mode::Audit, &both, &[Kill, Watch], State::Ending { guarded: true });
    let never = [Event::EndAsked, Event::Prepared(Prepared::NotCreated)];
    row(Mode::Audit, &never, &[Effect::Settle], State::Settling);
}

#[test]
fn a_wall_stands_until_somebody_has_seen_that_nobody_is_left() {
    // Nobody was asked to look.
    let early = [GUARDED, Event::StartAsked, Event::ProcessesGone];
    row(Mode::Enforce, &early, &[], State::Running { guarded: true });
}

/// The world that the effects act on, as far as the promises speak of it.
#[derive(Debug, Default)]
struct World {
    armed: bool,
    /// A process of it may be executing what is in its image.
    runs: bool,
    killed: bool,
    watched: bool,
    erased: bool,
}

proptest! {
    #[test]
    fn no_unguarded_container_runs_in_enforce_and_none_that_runs_is_forgotten(
        enforce: bool,
        picks in proptest::collection::vec(0..EVENTS.len(), 0..24),
    ) {
        let mut mode = if enforce { Mode::Enforce } else { Mode::Audit };
        let mut machine = Machine::new(mode);
        let mut world = World::default();
        let mut inner = true;
        let mut prepared = false;
        for pick in picks {
            let event = EVENTS[pick];
            // What can't be told: it is told once, or only while it is so.
            match event {
                Event::Prepared(what) => {
                    if std::mem::replace(&mut prepared, true) { continue }
                    world.armed = what == Prepared::Guarded;
                }
                Event::Tightened => mode = Mode::Enforce,
                Event::TightenFailed if mode == Mode::Audit => continue,
                Event::InnerGone => inner = false,
                Event::ProcessesGone if !world.watched => continue,
                Event::ProcessesGone => world.runs = false,
                Event::AwayTooLong if inner => continue,
                _ => {}
            }
            for effect in machine.step(event) {
                match effect {
                    Effect::Permit => {
                        prop_assert!(inner, "there is nobody to start it");
                        prop_assert!(world.armed || mode == Mode::Audit);
                        world.runs = true;
                    }
                    Effect::Kill => world.killed = true,
                    Effect::Watch => world.watched = true,
                    Effect::Settle => {
                        prop_assert!(!world.runs, "disarmed while it runs");
                        world.armed = false;
                    }
                    Effect::Erase => world.erased = true,
                    Effect::Refuse | Effect::Tighten | Effect::Clock => {}
                }
            }
            let unguarded = world.runs && !world.armed && mode == Mode::Enforce;
            prop_assert!(!unguarded || world.killed, "{machine:?} {world:?}");
            prop_assert!(!(world.runs && world.erased), "{machine:?} {world:?}");
            let alone = world.runs && !inner;
            prop_assert!(!alone || world.watched, "nobody waits for its end: {machine:?}");
        }
        // From wherever that led, its end can come.
        if prepared {
            machine.step(Event::EndAsked);
            machine.step(Event::ProcessesGone);
            machine.step(Event::Settled);
            prop_assert_eq!(machine.state(), State::Ended);
        }
    }
}
