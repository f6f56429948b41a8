//! The class of each attack: what `lacre doctor` foretells is foretold of classes.

use lacre_doctor::Class;

/// Each class, and the attacks that are of it.
pub(crate) const CLASSES: &[(Class, &[&str])] = &[
    (
        Class::Program,
        &[
            "A01", "A02", "A03", "A04a", "A04b", "A21", "A22", "A23a", "A23b", "A36a", "A36b",
            "A36c", "A36d", "A36e", "A36f", "A39", "A40", "A45a", "A45b", "A45c", "A48b",
        ],
    ),
    (Class::ProgramElsewhere, &["A32", "A48a"]),
    (Class::Memfd, &["A05"]),
    (Class::Library, &["A11a", "A11b", "A13"]),
    (Class::LibraryAtOpen, &["A11c", "A11d"]),
    (Class::MappedByHand, &["A11e"]),
    (Class::Memory, &["A11f", "A11g"]),
    (
        Class::Script,
        &[
            "A14a", "A14b", "A14c", "A14e", "A14f", "A14g", "A14h", "A14i", "A14j", "A14k", "A14l",
            "A14m", "A14n", "A14o", "A14p", "A14q", "A14r", "A14s", "A14t", "A14v", "A14zb",
            "A14zl", "A14zm", "A14zo", "A14zr", "A14zs", "A14zt",
        ],
    ),
    (Class::ScriptOfCopy, &["A14zn"]),
    (Class::ScriptElsewhere, &["A14u", "A14zp", "A45d", "A45e"]),
    (
        Class::ScriptAtOpen,
        &["A14w", "A14x", "A14y", "A14z", "A14zf", "A14zg", "A14zh", "A14zi", "A14zj", "A14zk"],
    ),
    (Class::Unmarked, &["A14d", "A14zc", "A14zd", "A14ze", "A14zu"]),
    (Class::ModuleElsewhere, &["A14za", "A14zq"]),
];

/// Attacks whose file is not in `/tmp`, which the column *code directories* declares. Others of
/// their class are refused there, and these are not. (Programs and mounts of one's own lie
/// elsewhere too; for them no directory is asked about.)
pub(crate) const OUTSIDE_TMP: &[&str] = &["A14zi"];

/// The class of the attack with that number.
pub(crate) fn class_of(id: &str) -> Class {
    let found = CLASSES.iter().find(|(_, ids)| ids.contains(&id));
    found.unwrap_or_else(|| panic!("{id} has no class: name one in {}", file!())).0
}
