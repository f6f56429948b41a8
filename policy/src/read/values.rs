//! Single values of the file.

use lacre_types::{Jit, Reports};

use crate::diagnostic::excerpt;
use crate::yaml::{Node, Reader};

pub(super) fn port(reader: &mut Reader<'_>, node: &Node) -> Option<u16> {
    let text = reader.text(node, "a TCP port such as \"50051\"")?;
    match number(text) {
        Some(port) if port != 0 => Some(port),
        _ => {
            reader
                .error(node.span, format!("`{}` is not a TCP port", excerpt(text)))
                .expected("expected a number from 1 to 65535");
            None
        }
    }
}

pub(super) fn attempts(reader: &mut Reader<'_>, node: &Node) -> Option<u32> {
    let text = reader.text(node, "a number of restarts")?;
    let attempts = number(text).filter(|attempts| *attempts > 0);
    if attempts.is_none() {
        reader
            .error(node.span, format!("`{}` is not a number of restarts", excerpt(text)))
            .expected("expected a number from 1")
            .help("leave `Attempts` out to have no limit");
    }
    attempts
}

pub(super) fn jit(reader: &mut Reader<'_>, node: &Node) -> Option<Jit> {
    reader.word(node, "what JIT takes", &[])
}

pub(super) fn reports(reader: &mut Reader<'_>, node: &Node) -> Option<Reports> {
    reader.word(node, "what Report takes", &[])
}

/// Digits alone; `parse` by itself takes a `+` too.
fn number<T: std::str::FromStr>(text: &str) -> Option<T> {
    text.bytes().all(|byte| byte.is_ascii_digit()).then(|| text.parse().ok()).flatten()
}
