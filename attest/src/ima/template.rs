//! The templates: which fields an entry has, in which order.

/// The fields of the built-in templates, and of those that carry a container
/// (`ima_template.c`; the last three: Bravi and Sisinni 2022, Huawei's IMA namespaces).
const BUILT_IN: &[(&str, &str)] = &[
    ("ima", "d|n"),
    ("ima-ng", "d-ng|n-ng"),
    ("ima-sig", "d-ng|n-ng|sig"),
    ("ima-ngv2", "d-ngv2|n-ng"),
    ("ima-sigv2", "d-ngv2|n-ng|sig"),
    ("ima-buf", "d-ng|n-ng|buf"),
    ("ima-modsig", "d-ng|n-ng|sig|d-modsig|modsig"),
    ("evm-sig", "d-ng|n-ng|evmsig|xattrnames|xattrlengths|xattrvalues|iuid|igid|imode"),
    ("ima-dep-cgn", "dep|cgn|d-ng|n-ng"),
    ("ima-cgpath", "dep|cg-path|d-ng|n-ng"),
    ("ima-ns", "d-ng|n-ng|ns"),
];

/// How a field is written (`enum data_formats`, `ima_template_lib.c`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Shape {
    /// 20 bytes; in text, hex.
    Sha1,
    /// `ALGORITHM:`, NUL, bytes; in text, `ALGORITHM:HEX`.
    Digest,
    /// Text that ends in NUL.
    Text,
    /// Bytes; in text, hex.
    Hex,
    /// A number of so many bytes; in text, decimal.
    Number(usize),
    /// Known by name only: its text cannot be turned back into bytes.
    Opaque,
}

const FIELDS: &[(&str, Shape)] = &[
    ("d", Shape::Sha1),
    ("n", Shape::Text),
    ("d-ng", Shape::Digest),
    ("d-ngv2", Shape::Digest),
    ("d-modsig", Shape::Digest),
    ("n-ng", Shape::Text),
    ("sig", Shape::Hex),
    ("modsig", Shape::Hex),
    ("buf", Shape::Hex),
    ("evmsig", Shape::Hex),
    ("xattrnames", Shape::Text),
    ("xattrlengths", Shape::Hex),
    ("xattrvalues", Shape::Hex),
    ("iuid", Shape::Number(4)),
    ("igid", Shape::Number(4)),
    ("imode", Shape::Number(2)),
    ("dep", Shape::Text),
    ("cgn", Shape::Text),
    ("cg-path", Shape::Text),
    ("ns", Shape::Opaque),
];

pub(super) fn shape(field: &str) -> Option<Shape> {
    FIELDS.iter().find(|(id, _)| *id == field).map(|(_, shape)| *shape)
}

pub(super) fn is_built_in(name: &[u8]) -> bool {
    BUILT_IN.iter().any(|(built_in, _)| built_in.as_bytes() == name)
}

/// The field ids of a template, separated by `|`: a built-in name's, or the name itself
/// where it is a description (`ima_template_fmt=`), which the kernel prints for a name.
pub(super) fn format(name: &[u8]) -> Option<&str> {
    if let Some((_, format)) = BUILT_IN.iter().find(|(built_in, _)| built_in.as_bytes() == name) {
        return Some(format);
    }
    let name = std::str::from_utf8(name).ok()?;
    name.split('|').all(|field| shape(field).is_some()).then_some(name)
}
