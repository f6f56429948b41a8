//! Why the source can't be had.

use std::io;

use lacre_types::Source;

use crate::SourceError;

pub(super) fn failed(doing: String, source: impl Into<io::Error>) -> SourceError {
    SourceError::Failed { source_name: Source::ExecTrace, doing, source: source.into() }
}

pub(super) fn bpf_failed(doing: String, why: libbpf_rs::Error) -> SourceError {
    failed(doing, io::Error::other(why))
}

pub(super) fn unavailable(needs: String, source: Option<io::Error>) -> SourceError {
    SourceError::Unavailable { source_name: Source::ExecTrace, needs, source }
}
