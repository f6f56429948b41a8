//! Hooks of the kernel that no source of this release uses, and that say what a node could do.

use std::io;

use libbpf_rs::{ErrorKind, ObjectBuilder, ProgramMut};

/// Built by build.rs.
const OBJECT: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/hooks.bpf.o"));

/// A kind of BPF program.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Hook {
    /// At a hook of the Linux security modules (`CONFIG_BPF_LSM`).
    Lsm,
    /// At the entry of a kernel function, by a trampoline.
    Trampoline,
}

impl Hook {
    const fn program(self) -> &'static str {
        match self {
            Self::Lsm => "lacre_lsm",
            Self::Trampoline => "lacre_trampoline",
        }
    }
}

/// Whether the kernel takes a program of that kind. One that does nothing is loaded for the
/// question; that of a trampoline is attached for a moment too, to a function that nobody calls.
///
/// # Errors
/// What the kernel said.
pub fn offered(hook: Hook) -> io::Result<()> {
    // libbpf would write to the standard error of whoever loads it.
    libbpf_rs::set_print(None);
    let mut builder = ObjectBuilder::default();
    let mut open = builder.open_memory(OBJECT).map_err(told)?;
    for mut program in open.progs_mut() {
        let wanted = program.name() == hook.program();
        program.set_autoload(wanted);
    }
    let object = open.load().map_err(told)?;
    let mut programs = object.progs_mut();
    match (hook, programs.find(|program| program.name() == hook.program())) {
        (_, None) => Err(io::Error::other("its program is not there")),
        (Hook::Lsm, Some(_)) => Ok(()),
        (Hook::Trampoline, Some(program)) => attach(&program),
    }
}

/// Some processors' kernels load such a program and can't attach it.
fn attach(program: &ProgramMut<'_>) -> io::Result<()> {
    program.attach().map(drop).map_err(told)
}

fn told(why: libbpf_rs::Error) -> io::Error {
    match why.kind() {
        ErrorKind::PermissionDenied => io::Error::new(io::ErrorKind::PermissionDenied, why),
        _ => io::Error::other(why),
    }
}
