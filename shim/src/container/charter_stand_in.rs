//! What is known of a container whose charter can't be read, or is gone: its name, by the list
//! of its guard or by the name beside the charter, and its bundle. It is ended as one that must
//! not run unguarded, since nobody can say that it may.

use std::path::{Path, PathBuf};

use lacre_types::Mode;

use super::bundle;
use super::charter::{About, Body, Charter, Head};
use super::charters::{Charters, Entry, Named};
use super::generation::Generation;
use super::init::has_root;
use super::processes::Processes;
use crate::config::Config;
use crate::guard::identity::RootFs;
use crate::guard::sources;
use crate::node::cgroup::Members;
use crate::node::guard_state::{Container, Noted, State};
use crate::node::pid_namespace::PidNamespace;
use crate::node::process::Process;
use crate::node::run_dir::Place;

/// The charters of the containers of that guard, whatever became of the files; of a container
/// that an older lacre had there is none. Looks, and changes nothing.
pub(crate) fn charters_of(place: &Place, noted: &Noted) -> Vec<Charter> {
    all(place, noted).into_iter().filter_map(Found::charter).collect()
}

/// Notes down what was found of the containers of that guard, for who comes when their processes
/// have gone: nobody could tell one that was killed from one that is accounted for then. To be
/// called before anybody is killed.
pub(crate) fn note_down(place: &Place) {
    all(place, &place.noted()).iter().for_each(|found| found.note_down(place));
}

/// One container's, noted down; `None` when it is accounted for.
pub(crate) fn charter_of(
    place: &Place,
    container: &Container,
    config: &dyn Fn() -> Config,
) -> Option<Charter> {
    let found = one(place, container, config)?;
    found.note_down(place);
    found.charter()
}

fn all(place: &Place, noted: &Noted) -> Vec<Found> {
    let config = || guards_config(noted.state());
    let entries = Charters::of(place).of_place(place).into_iter();
    let mut all: Vec<_> = entries
        .map(|entry| match entry {
            Entry::Whole(charter) => Found::Charter(*charter),
            Entry::Damaged(named) => stand_in(place, named, None, &config),
        })
        .collect();
    for container in noted.state().into_iter().flat_map(|state| &state.containers) {
        let is_its = |found: &Found| Some(found.generation()) == container.generation.as_ref();
        if !all.iter().any(is_its) {
            all.extend(one(place, container, &config));
        }
    }
    all
}

fn one(place: &Place, container: &Container, config: &dyn Fn() -> Config) -> Option<Found> {
    let Container { id, bundle, generation } = container;
    let generation = generation.clone()?;
    let gone = match Charters::of(place).read(&generation) {
        Ok(Some(charter)) => return Some(Found::Charter(charter)),
        Ok(None) => true,
        Err(_) => false,
    };
    let named = Named { generation, bundle: bundle.clone(), gone };
    Some(stand_in(place, named, Some(id), config))
}

/// What was found of a container.
#[derive(Debug, PartialEq, Eq)]
enum Found {
    /// A charter, or what stands in for one that can't be read.
    Charter(Charter),
    /// What stands in for one that is gone.
    StandIn(Charter),
    /// Nothing of it is left but a name.
    Accounted(Generation),
}

impl Found {
    fn charter(self) -> Option<Charter> {
        match self {
            Self::Charter(charter) | Self::StandIn(charter) => Some(charter),
            Self::Accounted(_) => None,
        }
    }

    const fn generation(&self) -> &Generation {
        match self {
            Self::Charter(charter) | Self::StandIn(charter) => &charter.head.generation,
            Self::Accounted(generation) => generation,
        }
    }

    fn note_down(&self, place: &Place) {
        let charters = Charters::of(place);
        let is_gone = || matches!(charters.read(self.generation()), Ok(None));
        match self {
            Self::StandIn(charter) if is_gone() => drop(charters.write(charter)),
            Self::Accounted(generation) if is_gone() => charters.remove_name(generation, place),
            _ => {}
        }
    }
}

/// By the guard's own configuration, else by the one that this process finds.
fn guards_config(state: Option<&State>) -> Config {
    let terms = state.and_then(|state| state.terms.as_ref());
    let named = terms.and_then(|terms| Config::load(&terms.config, true).ok());
    named.unwrap_or_else(Config::of_this_process)
}

/// What stands in for a charter. Where that is gone and no process is left, all is accounted
/// for.
fn stand_in(
    place: &Place,
    Named { generation, bundle, gone }: Named,
    id: Option<&str>,
    config: &dyn Fn() -> Config,
) -> Found {
    let name = |path: Option<&Path>| {
        let name = path.and_then(|path| path.file_name()).unwrap_or_default();
        name.to_string_lossy().into_owned()
    };
    // The daemon's folder for the containers of a namespace.
    let (namespace, own) = (name(bundle.parent()), name(Some(&bundle)));
    let id = id.map_or(own, str::to_owned);
    let mut head = Head::new(generation, &namespace, &id, &bundle, place.socket());
    // Whose id has come again has nothing in the bundle that has come with it.
    let is_its = !bundle::is_anothers(&bundle, &head.generation, place.socket());
    let root = is_its.then(|| RootFs::mounted(&bundle));
    if let Some(root) = &root
        && let Some(init) = bundle::init_pid(&bundle).and_then(Process::by_pid)
        && (has_root(init.pid, &root.path) || is_first_of(place, &bundle, init))
    {
        head.init = Some(init);
        // Another container may be in its cgroup.
        head.pid_namespace = PidNamespace::of(init.pid);
    }
    if gone && Processes::of(&head, Mode::Enforce).left().is_ok_and(|left| left.is_empty()) {
        // Another who stands in for the guard writes one before anybody is killed, and tells of the
        // end by it.
        match Charters::of(place).read(&head.generation) {
            Ok(Some(charter)) => return Found::Charter(charter),
            Ok(None) => return Found::Accounted(head.generation),
            Err(_) => {}
        }
    }
    let config = config();
    let about = root.map(|root| {
        let layers = root.layers.unwrap_or_default();
        About {
            identity: serde_json::Value::Null,
            policy: serde_json::Value::Null,
            root: root.path,
            upper: layers.upper,
            lower: layers.lower,
            manifest: None,
            sources: sources::named(&config).to_vec(),
        }
    });
    let (mode, containerd) = (Mode::Enforce, PathBuf::new());
    let lacre = env!("CARGO_PKG_VERSION").to_owned();
    let inner_sockets = Vec::new();
    let body = Some(Body { lacre, containerd, inner_sockets, config, mode, about });
    let charter = Charter { head, body };
    if gone { Found::StandIn(charter) } else { Found::Charter(charter) }
}

/// Whether the process that runc has noted down is the container's first though it changed its
/// root since: it is in the container's cgroup, the first of its pid namespace, and no other
/// container's.
fn is_first_of(place: &Place, bundle: &Path, init: Process) -> bool {
    let is_anothers = |(_, entry): &(Place, Entry)| matches!(entry, Entry::Whole(it) if it.head.init == Some(init));
    let is_within =
        || Members::of(Some(bundle), "").processes().is_ok_and(|within| within.contains(&init));
    matches!(PidNamespace::of(init.pid), Some(PidNamespace::Own(_)))
        && is_within()
        && !Charters::of(place).all().iter().any(is_anothers)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::node::cgroup::tests::InCgroup;

    struct Rig {
        dir: tempfile::TempDir,
        place: Place,
        charters: Charters,
        bundle: PathBuf,
    }

    fn rig() -> Rig {
        let dir = tempfile::tempdir().unwrap();
        let place = Place::at(dir.path().join("s/0a"));
        let charters = Charters::of(&place);
        std::fs::create_dir_all(charters.folder()).unwrap();
        let bundle = dir.path().join("bundle");
        Rig { dir, place, charters, bundle }
    }

    /// Who stands in for the guard too has written a charter, and then killed: it tells of the end
    /// by that charter.
    #[test]
    fn a_charter_that_another_has_written_meanwhile_is_not_taken_from_it() {
        let Rig { dir: _dir, place, charters, bundle } = rig();
        let generation = Generation::draw().unwrap();
        let head = Head::new(generation.clone(), "n", "c", &bundle, place.socket());
        let charter = Charter { head, body: None };
        charters.write(&charter).unwrap();
        // As it was found a moment ago.
        let named = Named { generation: generation.clone(), bundle, gone: true };
        let found = stand_in(&place, named.clone(), None, &Config::default);
        assert_eq!(found, Found::Charter(charter.clone()));
        Found::Accounted(generation.clone()).note_down(&place);
        assert_eq!(charters.read(&generation).unwrap(), Some(charter));
        charters.remove(&generation, &place);
        let found = stand_in(&place, named, None, &Config::default);
        assert_eq!(found, Found::Accounted(generation));
    }

    /// Its id came again, in a bundle of the same path, while its name was left.
    #[test]
    fn a_later_container_in_the_same_bundle_is_none_of_it_and_to_look_changes_nothing() {
        let Rig { dir: _dir, place, charters, bundle } = rig();
        let [old, new] = [Generation::draw().unwrap(), Generation::draw().unwrap()];
        let head = Head::new(old.clone(), "n", "c", &bundle, place.socket());
        charters.begin(&Charter { head, body: None }).unwrap();

        let mut init = std::process::Command::new("sleep").arg("1000").spawn().unwrap();
        let cgroup = InCgroup::new("later", init.id());
        std::fs::create_dir(&bundle).unwrap();
        let spec = serde_json::json!({
            "root": {"path": "/"}, "linux": {"cgroupsPath": cgroup.path()},
        });
        std::fs::write(bundle.join("config.json"), spec.to_string()).unwrap();
        std::fs::write(bundle.join("init.pid"), init.id().to_string()).unwrap();
        bundle::note_create(&bundle, &new).unwrap();

        let json = charters.folder().join(format!("{old}.json"));
        let names = || std::fs::read_dir(charters.folder()).unwrap().count();
        for damage in ["torn", "gone"] {
            match damage {
                "torn" => std::fs::write(&json, "{").unwrap(),
                _ => std::fs::remove_file(&json).unwrap(),
            }
            let before = names();
            let found = charters_of(&place, &place.noted());
            assert_eq!(names(), before, "{damage}: a look");
            assert_eq!(found.len(), usize::from(damage == "torn"), "{damage}");
            for charter in &found {
                assert_eq!(charter.head.init, None);
                let processes = Processes::of(&charter.head, Mode::Enforce);
                assert_eq!(processes.left().unwrap(), []);
                processes.kill();
            }
        }
        note_down(&place);
        assert_eq!(names(), 0, "the name has gone");
        assert!(init.try_wait().unwrap().is_none());

        // The very one, of which nothing is noted down any more, is stood in for.
        let head = Head::new(new.clone(), "n", "c", &bundle, place.socket());
        charters.begin(&Charter { head, body: None }).unwrap();
        std::fs::remove_file(charters.folder().join(format!("{new}.json"))).unwrap();
        let found = charters_of(&place, &place.noted());
        assert_eq!((found.len(), names()), (1, 1));
        assert_eq!(found[0].head.init, Process::by_pid(init.id()));
        note_down(&place);
        assert_eq!(charters.read(&new).unwrap().as_ref(), Some(&found[0]));
        init.kill().unwrap();
        init.wait().unwrap();
    }
}
