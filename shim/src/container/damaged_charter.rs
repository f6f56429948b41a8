//! What is known of a container whose charter can't be read, or is gone: its name, by the list
//! of its guard or by the name beside the charter, and its bundle. It is ended as one that must
//! not run unguarded, since nobody can say that it may.

use std::path::{Path, PathBuf};

use lacre_types::Mode;

use super::bundle;
use super::charter::{About, Body, Charter, Head};
use super::charters::{Charters, Entry, Named};
use super::init::has_root;
use super::processes::Processes;
use crate::config::Config;
use crate::guard::identity::RootFs;
use crate::guard::sources;
use crate::node::guard_state::{Container, Noted, State};
use crate::node::pid_namespace::PidNamespace;
use crate::node::process::Process;
use crate::node::run_dir::Place;

/// The charters of the containers of that guard, whatever became of the files; of a container
/// that an older lacre had there is none.
pub(crate) fn charters_of(place: &Place, noted: &Noted) -> Vec<Charter> {
    let config = || guards_config(noted.state());
    let entries = Charters::of(place).of_place(place).into_iter();
    let mut all: Vec<_> = entries
        .filter_map(|entry| match entry {
            Entry::Whole(charter) => Some(*charter),
            Entry::Damaged(named) => stand_in(place, named, None, &config),
        })
        .collect();
    for container in noted.state().into_iter().flat_map(|state| &state.containers) {
        let is_its =
            |charter: &Charter| Some(&charter.head.generation) == container.generation.as_ref();
        if !all.iter().any(is_its) {
            all.extend(charter_of(place, container, &config));
        }
    }
    all
}

/// One container's; `None` when it is accounted for.
pub(crate) fn charter_of(
    place: &Place,
    container: &Container,
    config: &dyn Fn() -> Config,
) -> Option<Charter> {
    let Container { id, bundle, generation } = container;
    let generation = generation.clone()?;
    let gone = match Charters::of(place).read(&generation) {
        Ok(Some(charter)) => return Some(charter),
        Ok(None) => true,
        Err(_) => false,
    };
    stand_in(place, Named { generation, bundle: bundle.clone(), gone }, Some(id), config)
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
) -> Option<Charter> {
    let name = |path: Option<&Path>| {
        let name = path.and_then(|path| path.file_name()).unwrap_or_default();
        name.to_string_lossy().into_owned()
    };
    // The daemon's folder for the containers of a namespace.
    let (namespace, own) = (name(bundle.parent()), name(Some(&bundle)));
    let id = id.map_or(own, str::to_owned);
    let mut head = Head::new(generation, &namespace, &id, &bundle, place.socket());
    let root = RootFs::mounted(&bundle);
    let init = bundle::init_pid(&bundle).and_then(Process::by_pid);
    if let Some(init) = init.filter(|init| has_root(init.pid, &root.path)) {
        head.init = Some(init);
        // Another container may be in its cgroup.
        head.pid_namespace = PidNamespace::of(init.pid);
    }
    if gone && Processes::of(&head, Mode::Enforce).left().is_ok_and(|left| left.is_empty()) {
        let charters = Charters::of(place);
        // Another who stands in for the guard writes one before anybody is killed, and tells of the
        // end by it.
        match charters.read(&head.generation) {
            Ok(Some(charter)) => return Some(charter),
            Ok(None) => {
                charters.remove_name(&head.generation, place);
                return None;
            }
            Err(_) => {}
        }
    }
    let config = config();
    let layers = root.layers.unwrap_or_default();
    let about = About {
        identity: serde_json::Value::Null,
        policy: serde_json::Value::Null,
        root: root.path,
        upper: layers.upper,
        lower: layers.lower,
        manifest: None,
        sources: sources::named(&config).to_vec(),
    };
    let (mode, containerd) = (Mode::Enforce, PathBuf::new());
    let lacre = env!("CARGO_PKG_VERSION").to_owned();
    let (about, inner_sockets) = (Some(about), Vec::new());
    let body = Some(Body { lacre, containerd, inner_sockets, config, mode, about });
    let charter = Charter { head, body };
    if gone {
        // Once its processes have gone nobody could tell it from one that is accounted for.
        let _ = Charters::of(place).write(&charter);
    }
    Some(charter)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::container::generation::Generation;

    /// Who stands in for the guard too has written a charter, and then killed: it tells of the end
    /// by that charter.
    #[test]
    fn a_charter_that_another_has_written_meanwhile_is_not_taken_from_it() {
        let dir = tempfile::tempdir().unwrap();
        let place = Place::at(dir.path().join("s/0a"));
        let charters = Charters::of(&place);
        std::fs::create_dir_all(charters.folder()).unwrap();
        let generation = Generation::draw().unwrap();
        let bundle = dir.path().join("bundle");
        let head = Head::new(generation.clone(), "n", "c", &bundle, place.socket());
        let charter = Charter { head, body: None };
        charters.write(&charter).unwrap();
        // As it was found a moment ago.
        let named = Named { generation: generation.clone(), bundle, gone: true };
        assert_eq!(stand_in(&place, named.clone(), None, &Config::default), Some(charter.clone()));
        assert_eq!(charters.read(&generation).unwrap(), Some(charter));
        charters.remove(&generation, &place);
        assert_eq!(stand_in(&place, named, None, &Config::default), None);
    }
}
