//! The programs and maps, as they were built.

use std::io;

use libbpf_rs::{ErrorKind, Object, ObjectBuilder};

use super::failure::unavailable;
use crate::SourceError;

/// Built by build.rs.
const OBJECT: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/exec_trace.bpf.o"));

/// The program that looks at the file behind each page.
pub(super) const FETCH: &str = "lacre_fetch";

/// Loads everything. Nothing is attached, and all of it goes with the object.
pub(super) fn load(fetch: bool) -> Result<Object, SourceError> {
    let loading = |why: libbpf_rs::Error| match why.kind() {
        ErrorKind::PermissionDenied => unavailable(
            "CAP_BPF and CAP_PERFMON in the first user namespace".to_owned(),
            Some(io::Error::other(why)),
        ),
        _ => unavailable(
            "BPF with BTF (CONFIG_DEBUG_INFO_BTF, Linux 5.17 or newer)".to_owned(),
            Some(io::Error::other(why)),
        ),
    };
    // libbpf would write to the standard error of whoever loads it.
    libbpf_rs::set_print(None);
    let mut builder = ObjectBuilder::default();
    let mut open = builder.open_memory(OBJECT).map_err(loading)?;
    for mut program in open.progs_mut() {
        if program.name() == FETCH {
            program.set_autoload(fetch);
        }
    }
    open.load().map_err(loading)
}
