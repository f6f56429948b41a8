use std::time::SystemTime;

use lacre_attest::container::OVERFLOW;
use lacre_attest::ima::Entry;
use lacre_types::{CanonicalPath, Content, Event, Measurement, Process, Source};

/// What a line tells; `None` when it tells that lines are missing.
///
/// The kernel writes `_` for each space of a name (`ima_write_template_field_data`), so a
/// file with a space in its name is told under one that no baseline has.
pub(super) fn measurement(entry: &Entry<'_>, time: SystemTime) -> Option<Measurement> {
    let name = entry.name().unwrap_or_default();
    if name == OVERFLOW {
        return None;
    }
    let (event, content) = if name.starts_with(b"memfd:") {
        (Event::Memfd, Content::Fileless)
    } else {
        (Event::Exec, content(entry))
    };
    let path = CanonicalPath::new(name).ok().filter(|_| name.starts_with(b"/"));
    let process = Process::default();
    Some(Measurement { source: Source::ContainerIma, event, path, content, process, time })
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

#[cfg(test)]
mod tests {
    use super::*;
    use lacre_attest::ima::{Form, Stream};
    use lacre_types::Algorithm;

    fn told(line: &str) -> Option<Measurement> {
        let mut told = None;
        let mut stream = Stream::new(Form::Ascii, Algorithm::Sha1);
        stream
            .feed(line.as_bytes(), |_, entry| {
                told = Some(measurement(entry, SystemTime::UNIX_EPOCH));
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
        let program = told(&line('a', 'b', "/usr/bin/env")).unwrap();
        assert_eq!(program.path, CanonicalPath::new("/usr/bin/env").ok());
        assert_eq!(program.digest().unwrap().to_string(), format!("sha256:{}", "b".repeat(64)));
    }

    #[test]
    fn what_was_written_to_meanwhile_was_not_read() {
        let violation = told(&line('0', '0', "/usr/bin/env")).unwrap();
        assert!(matches!(violation.content, Content::Unread(_)), "{violation:?}");
    }

    #[test]
    fn memory_is_no_file_and_has_no_path() {
        let memory = told(&line('a', 'b', "memfd:x")).unwrap();
        assert_eq!((memory.event, memory.content), (Event::Memfd, Content::Fileless));
        assert_eq!(memory.path, None);
    }

    #[test]
    fn missing_lines_are_no_measurement() {
        assert_eq!(told(&line('0', '0', "ima_container_overflow")), None);
    }
}
