//! What a baseline answers about a path: the file, and the layer that it came in.

use std::fmt;

use lacre_types::{CanonicalPath, Digest};

use crate::baseline::{Baseline, Entry};
use crate::linked_path::LinkedPath;

/// What the baseline has under a path.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Lookup<'a> {
    /// This file.
    Found(Entry<'a>),
    /// No file that may run.
    Missing,
}

/// A layer of an image.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LayerName {
    /// Its place, counted from the bottom.
    pub index: u16,
    /// Its diff ID; lower directories don't tell theirs.
    pub diff_id: Option<Digest>,
}

impl fmt::Display for LayerName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.diff_id {
            Some(diff_id) => diff_id.fmt(f),
            None => self.index.fmt(f),
        }
    }
}

impl Baseline {
    /// The layer that the file came from which the image has under that path. `None` where
    /// there is no such file, or nothing tells: a root file system has no layers.
    #[must_use]
    pub fn layer_of(&self, path: &CanonicalPath) -> Option<LayerName> {
        let provenance = self.provenance().ok()??;
        let index = provenance.layer_of(self.resolve(path)?)?;
        let diff_id = provenance.layers().nth(index.into())?;
        Some(LayerName { index, diff_id })
    }

    /// What the image has under that path, through the image's own symbolic links
    /// (`/bin/sh` → `/usr/bin/dash`), never the host's.
    #[must_use]
    pub fn entry(&self, path: &CanonicalPath) -> Lookup<'_> {
        self.resolve(path).and_then(|index| self.get(index)).map_or(Lookup::Missing, Lookup::Found)
    }

    /// The place of the file that a path leads to.
    pub(crate) fn resolve(&self, path: &CanonicalPath) -> Option<usize> {
        // No part of a file's own path is a link, so an exact match needs no walk.
        self.position(path.as_bytes()).or_else(|| self.position(&self.follow(path)?))
    }

    /// The path with every link followed; `None` when a link leads nowhere that a process
    /// could name, or when there is none.
    fn follow(&self, path: &CanonicalPath) -> Option<Vec<u8>> {
        let mut linked = LinkedPath::new(path.as_bytes());
        while let Some(place) = linked.step().ok()? {
            if let Some(target) = self.target(place) {
                linked.follow(target.into()).ok()?;
            }
        }
        linked.went_through_links().then(|| linked.into_place())
    }
}
