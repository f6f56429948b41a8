//! Directories that a layer implies by what is in them: containerd looks for each in the
//! layers beneath, for its mode and owner, and refuses the layer where it can't look.

use lacre_types::escape;

use super::paths::{Found, Names, root_path};
use crate::layer::{Layer, Node};

impl Names for Layer {
    fn get(&self, path: &[u8]) -> Result<Found<'_>, String> {
        let at = self.nodes.binary_search_by(|(own, _)| (**own).cmp(path));
        Ok(match at.ok().and_then(|at| self.nodes.get(at)) {
            None => Found::Nothing,
            Some((_, Node::Dir { .. })) => Found::Directory,
            Some((_, Node::Symlink(target))) => Found::Link(target),
            Some((_, Node::File(_) | Node::Whiteout | Node::Other)) => Found::Other,
        })
    }
}

/// Whether each layer can be unpacked upon those before it, from the bottom up: otherwise its
/// index, and why not.
pub(crate) fn check_implied(layers: &[Layer]) -> Result<(), (usize, String)> {
    for (index, layer) in layers.iter().enumerate() {
        for path in &layer.implied {
            look(path, &layers[..index]).map_err(|why| {
                (index, format!("the layers beneath have no place for {}: {why}", escape(path)))
            })?;
        }
    }
    Ok(())
}

fn look(path: &[u8], beneath: &[Layer]) -> Result<(), String> {
    for layer in beneath.iter().rev() {
        let place = root_path(path, layer)?;
        if layer.lstat(&place)? != Found::Nothing {
            break;
        }
    }
    Ok(())
}
