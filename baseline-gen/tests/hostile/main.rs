//! Trees, tars and blobs made to harm: each gives a clear error or a right answer.
#![allow(clippy::unwrap_used, reason = "what fails here fails the test")]

mod blobs;
#[path = "../common/mod.rs"]
mod common;
mod damage;
mod piles;
mod tars;
mod trees;
mod writers;

use std::path::Path;

use common::{Pack, layout};
use lacre_baseline::{Baseline, Error, NoProgress, Options, Reference, from_oci};
use tar::EntryType;

pub(crate) fn text(error: &Error) -> String {
    let mut text = error.to_string();
    let mut cause: &dyn std::error::Error = error;
    while let Some(source) = cause.source() {
        text = format!("{text}: {source}");
        cause = source;
    }
    text
}

pub(crate) fn read(dir: &Path) -> Result<Baseline, Error> {
    from_oci(dir, &Reference::default(), None, &Options::default(), &NoProgress)
}

pub(crate) fn paths(baseline: &Baseline) -> Vec<String> {
    baseline.verify().unwrap();
    baseline.files().map(|entry| lacre_types::escape(entry.unwrap().path)).collect()
}

/// A member whose name and link are taken as they are.
pub(crate) fn member(kind: EntryType, name: &[u8], link: &[u8], content: &[u8]) -> Vec<u8> {
    let mut header = tar::Header::new_gnu();
    header.as_mut_bytes()[..name.len()].copy_from_slice(name);
    header.as_mut_bytes()[157..157 + link.len()].copy_from_slice(link);
    header.set_entry_type(kind);
    header.set_mode(0o755);
    header.set_size(content.len() as u64);
    header.set_cksum();
    let mut bytes = header.as_bytes().to_vec();
    bytes.extend_from_slice(content);
    bytes.resize(bytes.len().next_multiple_of(512), 0);
    bytes
}

pub(crate) fn file(name: &[u8]) -> Vec<u8> {
    member(EntryType::Regular, name, b"", b"#!/bin/sh\n")
}

pub(crate) fn pax(records: &[(&str, &[u8])]) -> Vec<u8> {
    let mut content = Vec::new();
    for (key, value) in records {
        let rest = key.len() + value.len() + 3;
        let len = (1..).find(|digits| (rest + digits).to_string().len() == *digits).unwrap() + rest;
        content.extend_from_slice(format!("{len} {key}=").as_bytes());
        content.extend_from_slice(value);
        content.push(b'\n');
    }
    member(EntryType::XHeader, b"pax", b"", &content)
}

pub(crate) fn of_tar(members: &[Vec<u8>]) -> Result<Baseline, Error> {
    let temp = tempfile::tempdir().unwrap();
    let mut tar = members.concat();
    tar.extend_from_slice(&[0; 1024]);
    layout(temp.path(), &[(tar, Pack::Plain)]);
    read(temp.path())
}
