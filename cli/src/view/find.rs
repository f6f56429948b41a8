//! Which container is meant.

use lacre_shim::inspect::ContainerSeen;

use super::look::View;
use super::names::named;
use super::row::Row;
use crate::exit::Usage;

/// A row for each container.
pub(crate) fn rows(view: &View) -> Vec<Row> {
    view.seen.containers.iter().map(|one| Row::of(view, one)).collect()
}

/// The container whose id begins so, or whose name is that; `namespace/id` chooses the
/// namespace.
pub(crate) fn find<'a>(
    view: &'a View,
    id: &str,
    namespace: Option<&str>,
) -> anyhow::Result<&'a ContainerSeen> {
    let (namespace, id) = match (namespace, id.split_once('/')) {
        (None, Some((namespace, id))) => (Some(namespace), id),
        _ => (namespace, id),
    };
    if id.is_empty() {
        return Err(Usage("an empty id names no container".to_owned()).into());
    }
    let mut here: Vec<_> = view.seen.containers.iter().collect();
    here.retain(|one| namespace.is_none_or(|namespace| one.namespace == namespace));
    let name = |one: &ContainerSeen| Row::of(view, one).name;
    let pick = |fits: &dyn Fn(&ContainerSeen) -> bool| -> Vec<&ContainerSeen> {
        here.iter().copied().filter(|one| fits(one)).collect()
    };
    // A whole id stands before one that begins so, and that before a name.
    let mut found = pick(&|one| one.id == id);
    if found.is_empty() {
        found = pick(&|one| one.id.starts_with(id));
    }
    if found.is_empty() {
        found = pick(&|one| name(one) == id);
    }
    match &found[..] {
        [one] => Ok(one),
        [] => anyhow::bail!(
            "no guarded container {} on this node; `lacre ps` lists them",
            lacre_types::escape(id.as_bytes())
        ),
        several => {
            let all: Vec<_> = several.iter().map(|one| named(one)).collect();
            let all = all.join(", ");
            Err(Usage(format!("`{id}` is ambiguous: {all}; say more of the id, or --namespace"))
                .into())
        }
    }
}
