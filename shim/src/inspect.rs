//! What a node's guards are and have, for who looks from outside. Nothing here changes anything
//! but [`release`].

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use lacre_executor::Frozen as ByWhom;

use crate::config::Config;
use crate::container::charter::{Body, Charter, Head, boot};
use crate::container::charters::{Charters, Entry};
pub use crate::container::telling::{
    BaselineTold, Frozen, PolicyOrigin, Released, Releaser, ServerLink, Telling, Told,
};
use crate::container::{orders, releasing};
use crate::guard::{Operator, policy};
use crate::node::guard_state::{Container, Noted, State};
use crate::node::process::Process;
use crate::node::run_dir::Place;

/// Guards that are asked at a time.
const AT_ONCE: usize = 16;
/// What a guard has to undo what there is and to look whether it is done again.
const RELEASING: Duration = Duration::from_secs(20);

/// What a guard says when it is asked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Answer {
    /// This.
    Told(Telling),
    /// It is of an older build, which tells nothing.
    Older,
    /// It does not answer, and why.
    Silent(String),
    /// It has died.
    Dead,
}

/// One guard.
#[derive(Debug)]
pub struct GuardSeen {
    /// Where it is.
    pub place: Place,
    /// What it noted down, where that can be read.
    pub state: Option<State>,
    /// What it says.
    pub answer: Answer,
}

/// One container of which something is written down.
#[derive(Debug)]
pub struct ContainerSeen {
    /// Its namespace; empty where nobody knows.
    pub namespace: String,
    /// Its id.
    pub id: String,
    /// Which of those that had this id.
    pub generation: String,
    /// Its charter; none where that can't be read.
    pub charter: Option<(Head, Option<Body>)>,
    /// What its guard tells of it.
    pub told: Option<Told>,
    /// Whether its first process lives; none where it is not known.
    pub lives: Option<bool>,
    /// Which of the guards is its own.
    pub guard: usize,
}

/// What a run directory has.
#[derive(Debug, Default)]
pub struct Seen {
    /// The guards.
    pub guards: Vec<GuardSeen>,
    /// Their containers.
    pub containers: Vec<ContainerSeen>,
}

/// Looks at all that there is beneath `run`, and asks each guard, none for longer than `limit`.
///
/// # Errors
/// When the directory can't be read. One that is not there has nothing.
pub fn look(run: &Path, limit: Duration) -> io::Result<Seen> {
    for folder in ["s", "containers"] {
        match fs::read_dir(run.join(folder)) {
            Ok(_) => {}
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(error),
        }
    }
    let entries = Charters::below(run).all();
    let mut places = Place::all_below(run);
    for (place, _) in &entries {
        if !places.contains(place) {
            places.push(place.clone());
        }
    }
    places.sort_by(|a, b| a.socket().cmp(b.socket()));
    let guards = ask_all(&places, limit);
    let mut containers = Vec::new();
    for (place, entry) in entries {
        let Some(guard) = guards.iter().position(|guard| guard.place == place) else { continue };
        containers.extend(container(entry, guard, &guards[guard]));
    }
    containers.sort_by(|a, b| (&a.namespace, &a.id).cmp(&(&b.namespace, &b.id)));
    Ok(Seen { guards, containers })
}

/// The version of a policy file of these bytes, as the policy server numbers its own.
#[must_use]
pub fn policy_version(text: &[u8]) -> String {
    policy::version(text)
}

/// What a container's guard tells of it, with its rules.
#[must_use]
pub fn whole(seen: &Seen, container: &ContainerSeen) -> Option<Told> {
    let place = &seen.guards.get(container.guard)?.place;
    let generation = container.generation.clone().try_into().ok()?;
    let told = orders::tell(&place.control(), Some(&generation), RELEASING).ok()??;
    told.containers.into_iter().next()
}

fn ask_all(places: &[Place], limit: Duration) -> Vec<GuardSeen> {
    let mut guards = Vec::with_capacity(places.len());
    for some in places.chunks(AT_ONCE) {
        std::thread::scope(|scope| {
            let asked: Vec<_> =
                some.iter().map(|place| scope.spawn(move || ask(place, limit))).collect();
            guards.extend(asked.into_iter().zip(some).map(|(asked, place)| {
                asked.join().unwrap_or_else(|_| GuardSeen {
                    place: place.clone(),
                    state: None,
                    answer: Answer::Silent("asking it failed".to_owned()),
                })
            }));
        });
    }
    guards
}

fn ask(place: &Place, limit: Duration) -> GuardSeen {
    let noted = place.noted();
    let living = match &noted {
        Noted::State(state) => state.guard.is_alive(),
        Noted::Nothing | Noted::Unreadable(_) => place.listener().is_some(),
    };
    let answer = if living {
        match orders::tell(&place.control(), None, limit) {
            Ok(Some(told)) => Answer::Told(told),
            Ok(None) => Answer::Older,
            Err(error) => Answer::Silent(match error.kind() {
                io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut => {
                    format!("no answer within {limit:?}")
                }
                _ => error.to_string(),
            }),
        }
    } else {
        Answer::Dead
    };
    let state = match noted {
        Noted::State(state) => Some(state),
        Noted::Nothing | Noted::Unreadable(_) => None,
    };
    GuardSeen { place: place.clone(), state, answer }
}

fn container(entry: Entry, index: usize, guard: &GuardSeen) -> Option<ContainerSeen> {
    let told_of = |generation: &str| match &guard.answer {
        Answer::Told(told) => told.containers.iter().find(|one| one.generation == generation),
        Answer::Older | Answer::Silent(_) | Answer::Dead => None,
    };
    match entry {
        Entry::Whole(charter) => {
            let Charter { head, body } = *charter;
            // What was in the kernel went with its boot.
            if head.boot != boot() {
                return None;
            }
            Some(ContainerSeen {
                namespace: head.namespace.clone(),
                id: head.id.clone(),
                generation: head.generation.to_string(),
                told: told_of(head.generation.as_str()).cloned(),
                lives: head.init.map(Process::is_alive),
                charter: Some((head, body)),
                guard: index,
            })
        }
        // Of one that is gone, all is accounted for.
        Entry::Damaged(named) => {
            let listed = guard.state.iter().flat_map(|state| &state.containers);
            let mut listed = listed
                .filter(|one: &&Container| one.generation.as_ref() == Some(&named.generation));
            let id = listed.next().map(|one| one.id.clone());
            if named.gone && id.is_none() {
                return None;
            }
            let by_bundle = || named.bundle.file_name().map(|it| it.to_string_lossy().into_owned());
            Some(ContainerSeen {
                namespace: String::new(),
                id: id.or_else(by_bundle).unwrap_or_default(),
                told: told_of(named.generation.as_str()).cloned(),
                generation: named.generation.to_string(),
                charter: None,
                lives: None,
                guard: index,
            })
        }
    }
}

impl ContainerSeen {
    /// What is written down of how it is guarded.
    #[must_use]
    pub fn body(&self) -> Option<&Body> {
        self.charter.as_ref()?.1.as_ref()
    }

    /// Who has it frozen: as its guard says, else as far as its freezer tells.
    #[must_use]
    pub fn frozen(&self, run: &Path) -> Option<Frozen> {
        if let Some(told) = self.told.as_ref().filter(|told| told.guarded) {
            return Some(told.frozen);
        }
        let init = self.charter.as_ref()?.0.init.filter(|init| init.is_alive())?;
        match lacre_executor::frozen(run, &self.generation, init.pid)? {
            ByWhom::No => Some(Frozen::No),
            ByWhom::ByLacre | ByWhom::ByBoth => Some(Frozen::Lacre),
            ByWhom::ByOthers => Some(Frozen::Other),
        }
    }

    /// Whether its network is cut.
    #[must_use]
    pub fn isolated(&self, run: &Path) -> bool {
        lacre_executor::is_isolated(run, &self.generation)
    }
}

/// Why a container is not released.
#[derive(Debug, thiserror::Error)]
pub enum ReleaseError {
    /// Its guard does not answer.
    #[error("its guard at {} does not answer", .0.display())]
    Silent(PathBuf, #[source] io::Error),
    /// Its guard refuses.
    #[error("{0}")]
    Refused(String),
    /// Nobody knows which process is its first.
    #[error("its guard has died, and its first process is not known or has ended")]
    NoInit,
    /// It is done, and not on record.
    #[error("it is done ({0}), and can't be put on record; see to the disk of the record file")]
    NotRecorded(String),
}

/// Undoes PAUSE and ISOLATE of a container: by its guard, or, where that has died or is of an older
/// build, by what is written down. It is put on record with who asked, and why.
///
/// # Errors
/// When nobody can do it.
pub fn release(
    run: &Path,
    seen: &Seen,
    container: &ContainerSeen,
    reason: &str,
) -> Result<Released, ReleaseError> {
    let guard = seen.guards.get(container.guard);
    if let Some(guard) = guard
        && matches!(guard.answer, Answer::Told(_) | Answer::Silent(_))
    {
        let releaser =
            Releaser { generation: container.generation.clone(), reason: reason.to_owned() };
        let control = guard.place.control();
        let said = orders::release(&control, &releaser, RELEASING)
            .map_err(|error| ReleaseError::Silent(guard.place.socket().to_owned(), error))?;
        return said.map_err(ReleaseError::Refused);
    }
    let (head, body) = container.charter.as_ref().ok_or(ReleaseError::NoInit)?;
    let init = head.init.filter(|init| init.is_alive()).ok_or(ReleaseError::NoInit)?;
    let done = lacre_executor::release_without_guard(run, &container.generation, init.pid);
    let by = Operator {
        uid: rustix::process::getuid().as_raw(),
        login: orders::login("self"),
        reason: reason.to_owned(),
    };
    let config = body.as_ref().map(|body| body.config.clone());
    let config = config.unwrap_or_else(Config::of_this_process);
    if !releasing::put_on_record(&config, (&head.namespace, &head.id), &by, &done) {
        let undone: Vec<_> = done.undone.iter().map(|action| action.as_str()).collect();
        return Err(ReleaseError::NotRecorded(undone.join(", ")));
    }
    Ok(releasing::told(done))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::container::generation::Generation;
    use std::io::{BufRead as _, BufReader, Write as _};
    use std::os::unix::net::UnixListener;

    /// A guard that says that to whatever it is asked, and a container of it.
    fn rig(says: Option<&'static str>) -> (tempfile::TempDir, Seen) {
        let dir = tempfile::tempdir().unwrap();
        for folder in ["s", "containers"] {
            fs::create_dir(dir.path().join(folder)).unwrap();
        }
        let place = Place::at(dir.path().join("s/0a"));
        let own = Process::own().unwrap();
        let state = State {
            guard: own,
            inner: None,
            inner_is_others: false,
            terms: None,
            inner_sockets: vec![],
            containers: vec![],
        };
        place.keep(&state).unwrap();
        let listener = UnixListener::bind(place.control()).unwrap();
        std::thread::spawn(move || {
            let Some(says) = says else { return std::thread::park() };
            for stream in listener.incoming() {
                let mut stream = stream.unwrap();
                let mut line = String::new();
                BufReader::new(&stream).read_line(&mut line).unwrap();
                writeln!(stream, "{says}").unwrap();
            }
        });
        let generation = Generation::draw().unwrap();
        let mut head = Head::new(generation, "n", "c", Path::new("/b"), place.socket());
        head.init = Some(own);
        let config = Config::parse("mode: enforce").unwrap();
        let charter = Charter::begin(head, Path::new("/run/c.sock"), &config);
        Charters::below(dir.path()).begin(&charter).unwrap();
        let seen = look(dir.path(), Duration::from_millis(200)).unwrap();
        (dir, seen)
    }

    #[test]
    fn a_guard_of_an_older_build_is_shown_by_what_is_written_down() {
        let (_dir, seen) = rig(Some("not an order: end GENERATION, keep"));
        assert_eq!(seen.guards[0].answer, Answer::Older);
        let one = &seen.containers[0];
        assert_eq!((&*one.namespace, &*one.id, one.lives), ("n", "c", Some(true)));
        assert_eq!(one.body().map(|body| body.mode), Some(lacre_types::Mode::Enforce));
        assert!(one.told.is_none());
    }

    #[test]
    fn a_later_guards_words_are_read_as_far_as_they_are_known() {
        let (_dir, seen) = rig(Some(r#"{"version":9,"watched":true,"news":[1],"containers":[]}"#));
        let Answer::Told(told) = &seen.guards[0].answer else { panic!("{:?}", seen.guards) };
        assert!(told.version == 9 && told.watched);
    }

    #[test]
    fn a_guard_that_says_nothing_is_not_waited_for() {
        let (_dir, seen) = rig(None);
        assert!(matches!(&seen.guards[0].answer, Answer::Silent(why) if why.contains("200ms")));
        assert_eq!(seen.containers.len(), 1);
    }

    #[test]
    fn nothing_is_there_where_nothing_is_and_what_is_damaged_is_told() {
        let dir = tempfile::tempdir().unwrap();
        let none = look(&dir.path().join("none"), Duration::from_secs(1)).unwrap();
        assert!(none.guards.is_empty() && none.containers.is_empty());
        let (dir, seen) = rig(Some("busy"));
        let generation = seen.containers[0].generation.clone();
        let path = dir.path().join("containers").join(generation).with_extension("json");
        fs::write(path, "{\"head\"").unwrap();
        let seen = look(dir.path(), Duration::from_secs(1)).unwrap();
        assert!(seen.containers[0].charter.is_none() && seen.containers[0].id == "b");
    }
}
