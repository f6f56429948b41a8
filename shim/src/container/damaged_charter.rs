//! What is known of a container whose charter is there and can't be read: its name, by the list
//! of its guard, and that file's own. It is ended as one that must not run unguarded, since
//! nobody can say that it may.

use std::path::PathBuf;

use lacre_types::Mode;

use super::charter::{About, Body, Charter, Charters, Head};
use crate::config::Config;
use crate::guard::identity::RootFs;
use crate::guard::sources;
use crate::node::run_dir::{Container, Place, State};

/// The charters of the containers of that guard; of one that an older lacre had there is none.
/// Without its state, those that say that they are its.
pub(crate) fn charters_of(place: &Place, state: Option<&State>) -> Vec<Charter> {
    let charters = Charters::of(place);
    let Some(state) = state else {
        let mut all = charters.all();
        all.retain(|charter| charter.head.guard == place.socket());
        return all;
    };
    let config = || {
        let terms = state.terms.as_ref()?;
        Config::load(&terms.config, true).ok()
    };
    let all = state.containers.iter();
    all.filter_map(|container| charter_of(place, container, &config)).collect()
}

/// One container's; `None` when it is gone, and so accounted for.
pub(crate) fn charter_of(
    place: &Place,
    container: &Container,
    config: &dyn Fn() -> Option<Config>,
) -> Option<Charter> {
    let generation = container.generation.as_ref()?;
    Charters::of(place).read(generation).unwrap_or_else(|_| {
        let Container { id, bundle, .. } = container;
        // The daemon's folder for the containers of a namespace.
        let namespace = bundle.parent().and_then(|folder| folder.file_name());
        let namespace = namespace.unwrap_or_default().to_string_lossy();
        let head = Head::new(generation.clone(), &namespace, id, bundle, place.socket());
        let config = config().unwrap_or_default();
        let root = RootFs::mounted(bundle);
        let layers = root.layers.unwrap_or_default();
        let about = About {
            identity: serde_json::Value::Null,
            policy: serde_json::Value::Null,
            root: root.path,
            upper: layers.upper,
            lower: layers.lower,
            sources: sources::named(&config).to_vec(),
        };
        let (mode, containerd) = (Mode::Enforce, PathBuf::new());
        let lacre = env!("CARGO_PKG_VERSION").to_owned();
        let body = Some(Body { lacre, containerd, config, mode, about: Some(about) });
        Some(Charter { head, body })
    })
}
