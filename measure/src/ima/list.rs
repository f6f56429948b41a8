//! The files in which the kernel shows its list, and how long it is.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt as _;
use std::path::Path;

use lacre_types::Source;

use crate::SourceError;

/// The kernel's list.
#[derive(Debug)]
pub(super) struct List {
    pub(super) file: File,
    count: File,
}

impl List {
    pub(super) fn open(folder: &Path) -> Result<Self, SourceError> {
        // One that another program is about to cut is free again in a moment.
        let open = |name: &str| lacre_attest::ima::open(&folder.join(name));
        let opened = open("binary_runtime_measurements")
            .and_then(|file| Ok(Self { file, count: open("runtime_measurements_count")? }));
        opened.map_err(|why| SourceError::Unavailable {
            source_name: Source::Ima,
            needs: "a kernel with IMA (CONFIG_IMA), and securityfs mounted".to_owned(),
            source: Some(why),
        })
    }

    /// How many lines it has.
    pub(super) fn count(&self) -> io::Result<u64> {
        number(&self.count)
    }
}

/// What a file of one number says now.
pub(crate) fn number(file: &File) -> io::Result<u64> {
    let mut text = [0; 32];
    let read = file.read_at(&mut text, 0)?;
    let number = std::str::from_utf8(&text[..read]).ok().and_then(|text| text.trim().parse().ok());
    number.ok_or_else(|| io::Error::new(io::ErrorKind::InvalidData, "the count is no number"))
}

/// Whether the node measures what is executed: its list then has more than the boot's line.
pub(crate) fn measures(source_name: Source, lines: io::Result<u64>) -> Result<(), SourceError> {
    match lines {
        Ok(0 | 1) => Err(SourceError::Unavailable {
            source_name,
            needs: "an IMA policy that measures what is executed (docs/sources.md)".to_owned(),
            source: None,
        }),
        Ok(_) => Ok(()),
        Err(source) => Err(SourceError::Failed {
            source_name,
            doing: "reading how long the node's list is".to_owned(),
            source,
        }),
    }
}
