use std::sync::Arc;
use std::time::SystemTime;

use lacre_attest::container::OVERFLOW;
use lacre_attest::ima::Entry;
use lacre_types::{CanonicalPath, Content, Event, Listing, Measurement, Process, Source};

use crate::{Judge, Known};

/// Turns lines into measurements.
pub(super) struct Lines {
    known: Arc<dyn Known>,
}

impl Lines {
    pub(super) fn new(known: Arc<dyn Known>) -> Self {
        Self { known }
    }

    /// What a line tells; `None` when it tells that lines are missing.
    pub(super) fn measurement(&self, entry: &Entry<'_>, judge: &dyn Judge) -> Option<Measurement> {
        let name = entry.name().unwrap_or_default();
        if name == OVERFLOW {
            return None;
        }
        let content = content(entry);
        // Neither memfd:… nor what an unlinked file is called is a path.
        let path = CanonicalPath::new(name).ok().filter(|_| name.starts_with(b"/"));
        let event = if name.starts_with(b"memfd:") { Event::Memfd } else { Event::Exec };
        let content = if event == Event::Memfd { Content::Fileless } else { content };
        let told = Measurement {
            source: Source::ContainerIma,
            event,
            path,
            content,
            process: Process::default(),
            time: SystemTime::now(),
        };
        Some(self.with_spaces(name, told, judge))
    }

    /// The kernel writes `_` for each space of a name (`ima_write_template_field_data`). Where
    /// the baseline has no such name, one of its own that reads the same may be meant: if it
    /// lists these very bytes.
    fn with_spaces(&self, name: &[u8], told: Measurement, judge: &dyn Judge) -> Measurement {
        let Some(path) = told.path.as_ref().filter(|_| name.contains(&b'_')) else { return told };
        if self.known.listed(path) != Listing::No {
            return told;
        }
        let reads_the_same = |known: &[u8]| {
            known.len() == name.len()
                && known.iter().zip(name).all(|(own, told)| {
                    own == told || (*own, *told) == (b' ', b'_')
                })
        };
        self.known
            .named(&reads_the_same)
            .into_iter()
            .filter_map(|(name, _)| CanonicalPath::new(&name).ok())
            .map(|path| Measurement { path: Some(path), ..told.clone() })
            .find(|measurement| judge.settled(measurement))
            .unwrap_or(told)
    }
}

fn content(entry: &Entry<'_>) -> Content {
    if entry.is_violation() {
        return Content::Unread("it was written to while it was measured".to_owned());
    }
    match entry.file_digest() {
        Some(digest) => Content::Digest(digest),
        None => Content::Unread("the line has no digest of an algorithm that is known".to_owned()),
    }
}
