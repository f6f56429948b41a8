//! What a line of a measurement list tells, and what it can't.

use std::time::SystemTime;

use lacre_attest::ima::Entry;
use lacre_types::{CanonicalPath, Content, Digest, Event, Measurement, Process, Source};

use crate::{Known, Listing};

/// How many underscores of a name are taken for spaces, at most: 255 names are then tried.
const MAX_SPACES: usize = 8;

/// What a line tells. It tells neither who ran the file nor whether it was executed or
/// mapped.
pub(crate) fn measurement(
    entry: &Entry<'_>,
    source: Source,
    known: &dyn Known,
    time: SystemTime,
) -> Measurement {
    let name = entry.name().unwrap_or_default();
    let (event, content) = if name.starts_with(b"memfd:") {
        (Event::Memfd, Content::Fileless)
    } else {
        (Event::Exec, content(entry))
    };
    let path = match (CanonicalPath::new(name).ok(), &content) {
        (Some(path), Content::Digest(digest)) => Some(spaced(path, digest, known)),
        (path, _) => path,
    };
    Measurement { source, event, path, content, process: Process::default(), time }
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

/// The kernel writes `_` for each space of a name, in both forms of the list
/// (`ima_write_template_field_data`). A name that the image lacks is that of the image's
/// file with spaces only if the bytes are that file's, too.
fn spaced(path: CanonicalPath, digest: &Digest, known: &dyn Known) -> CanonicalPath {
    let bytes = path.as_bytes();
    let scores: Vec<usize> = (0..bytes.len()).filter(|at| bytes[*at] == b'_').collect();
    if scores.is_empty() || scores.len() > MAX_SPACES || known.listed(&path) != Listing::No {
        return path;
    }
    let names = (1..1usize << scores.len()).filter_map(|spaces| {
        let mut name = bytes.to_vec();
        let taken = scores.iter().enumerate().filter(|(bit, _)| spaces >> bit & 1 == 1);
        taken.for_each(|(_, at)| name[*at] = b' ');
        CanonicalPath::new(name).ok()
    });
    let is_it =
        |name: &CanonicalPath| known.by_path(name).is_some_and(|file| file.digest == *digest);
    let found = { names }.find(is_it);
    found.unwrap_or(path)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::KnownFile;
    use lacre_attest::ima::{Form, Stream};
    use lacre_types::{Algorithm, FileId};

    /// Has `/opt/my tool_x`, `/opt/a b` and `/opt/a_b`, with one content.
    struct Image;

    impl Known for Image {
        fn by_path(&self, path: &CanonicalPath) -> Option<KnownFile> {
            let names: [&[u8]; 3] = [b"/opt/my tool_x", b"/opt/a b", b"/opt/a_b"];
            let id = FileId { dev: 0, ino: 0, ctime_sec: 0, ctime_nsec: 0 };
            let digest = Digest::sha256([0xcc; 32]);
            names.contains(&path.as_bytes()).then_some(KnownFile { id, size: 1, digest })
        }

        fn listed(&self, path: &CanonicalPath) -> Listing {
            self.by_path(path).map_or(Listing::No, |file| Listing::Yes(Some(file.size)))
        }

        fn by_inode(&self, _: u32, _: u64) -> Option<(CanonicalPath, KnownFile)> {
            None
        }

        fn allowed(&self) -> Box<dyn Iterator<Item = FileId> + '_> {
            Box::new(std::iter::empty())
        }
    }

    fn told(line: &str) -> Measurement {
        let mut told = None;
        let mut stream = Stream::new(Form::Ascii, Algorithm::Sha1);
        stream
            .feed(line.as_bytes(), |_, entry| {
                let time = SystemTime::UNIX_EPOCH;
                told = Some(measurement(entry, Source::Ima, &Image, time));
            })
            .unwrap();
        told.unwrap()
    }

    fn line(template: char, file: char, name: &str) -> String {
        let (template, file) = (template.to_string().repeat(40), file.to_string().repeat(64));
        format!("12 {template} ima-ng sha256:{file} {name}\n")
    }

    #[test]
    fn a_program_is_told_by_path_and_digest() {
        let program = told(&line('a', 'b', "/usr/bin/env"));
        assert_eq!(program.path, CanonicalPath::new("/usr/bin/env").ok());
        assert_eq!(program.digest().unwrap().to_string(), format!("sha256:{}", "b".repeat(64)));
    }

    #[test]
    fn what_was_written_to_meanwhile_was_not_read() {
        let violation = told(&line('0', '0', "/usr/bin/env"));
        assert!(matches!(violation.content, Content::Unread(_)), "{violation:?}");
    }

    #[test]
    fn memory_is_no_file_and_has_no_path() {
        let memory = told(&line('a', 'b', "memfd:x"));
        assert_eq!((memory.event, memory.content), (Event::Memfd, Content::Fileless));
        assert_eq!(memory.path, None);
    }

    #[test]
    fn a_space_that_the_kernel_wrote_as_an_underscore_is_one_again() {
        let its_own = told(&line('a', 'c', "/opt/my_tool_x"));
        assert_eq!(its_own.path, CanonicalPath::new("/opt/my tool_x").ok());
        let other = told(&line('a', 'd', "/opt/my_tool_x"));
        assert_eq!(other.path, CanonicalPath::new("/opt/my_tool_x").ok(), "other bytes");
        let listed = told(&line('a', 'c', "/opt/a_b"));
        assert_eq!(listed.path, CanonicalPath::new("/opt/a_b").ok(), "the image has that name");
    }

    #[test]
    fn many_underscores_cost_no_more() {
        let name = format!("/opt/{}", "_".repeat(200));
        assert_eq!(told(&line('a', 'c', &name)).path, CanonicalPath::new(&name).ok());
    }
}
