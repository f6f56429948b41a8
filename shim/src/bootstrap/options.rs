//! Runtime options: lacre's own are taken out, the inner shim's are put in.
//!
//! containerd hands any runtime but runc's a `runtimeoptions.v1.Options`, which runc's shim
//! refuses (`type with url … not found`). A client that sets an option of the task itself
//! (`--no-pivot`, `--uidmap`, a user namespace by CRI) sends its own message in place of
//! that; clients of 1.6 and 1.7 send the one of containerd 1.0 (see [`super::legacy`]).

use std::collections::BTreeMap;
use std::path::PathBuf;

use lacre_policy::nearest;

pub use super::legacy::RUNC;

use super::legacy;
use crate::config::{self, RuncValue};
use crate::messages::Any;
use crate::wire::{WireError, fields, put_bytes, put_text, put_uint};

/// What containerd hands a runtime that it does not know.
pub const GENERIC: &str = "runtimeoptions.v1.Options";

/// lacre's part of the runtime options.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Own {
    /// The configuration file that they name.
    pub config_path: Option<PathBuf>,
    /// Options of runc that the runtime's section in containerd's configuration sets, when
    /// it names no file (`ConfigBody`).
    pub runc: BTreeMap<String, RuncValue>,
}

/// Why runtime options are not taken.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum OptionsError {
    /// They are not what their type says.
    #[error("the runtime options are not a message of their type")]
    Message(#[from] WireError),
    /// Their inline text is not what lacre reads.
    #[error(
        "line {line} of the runtime options in containerd's configuration: {what}; lacre takes \
         ConfigPath, or options of runc"
    )]
    Body {
        /// The line.
        line: usize,
        /// What is wrong.
        what: String,
    },
    /// containerd does not say with which options the container was made.
    #[error(
        "the client set options for this task in place of the runtime's, and the record of \
         container {id} does not tell which configuration those name: {why}"
    )]
    Record {
        /// The container.
        id: String,
        /// Why not.
        why: String,
    },
}

/// Reads lacre's part of the options; nothing when they are another shim's.
///
/// # Errors
/// When they are lacre's, and wrong.
pub fn own(options: &Any) -> Result<Own, OptionsError> {
    let mut own = Own::default();
    if options.type_name() != GENERIC {
        return Ok(own);
    }
    for field in fields(&options.value) {
        let field = field?;
        match field.number {
            2 if !field.bytes()?.is_empty() => own.config_path = Some(field.text()?.into()),
            3 => own.runc = toml(field.text()?)?,
            _ => {}
        }
    }
    Ok(own)
}

/// Whether they are runc's, of today or of containerd 1.0: what clients set for a task.
#[must_use]
pub fn are_runcs(given: &Any) -> bool {
    [RUNC, legacy::CREATE].contains(&given.type_name())
}

/// The options to hand to the inner shim instead of `given`; `None` for none. What a client
/// set holds over what the node's configuration says, field by field.
///
/// # Errors
/// When `given` is lacre's, and wrong.
pub fn for_inner(given: Option<&Any>, inner: &config::Inner) -> Result<Option<Any>, OptionsError> {
    let translated = given.map(legacy::translated).transpose()?;
    let given = translated.as_ref();
    let (set_by_client, own) = match given {
        Some(any) if any.type_name() == GENERIC => (None, own(any)?),
        Some(any) => (Some(any), Own::default()),
        None => (None, Own::default()),
    };
    if let Some(path) = &inner.config {
        if set_by_client.is_some() {
            return Ok(given.cloned());
        }
        let mut value = Vec::new();
        put_text(&mut value, 2, &path.to_string_lossy());
        return Ok(Some(Any { type_url: GENERIC.to_owned(), value }));
    }
    let mut runc = inner.options.clone();
    runc.extend(own.runc);
    let body = |what| OptionsError::Body { line: 1, what };
    let mut value = encode_runc(&runc).map_err(body)?;
    match set_by_client {
        // Of a field that comes twice, the last holds: the client's go before ours.
        Some(any) if any.type_name() == RUNC => value.extend_from_slice(&any.value),
        Some(other) => return Ok(Some(other.clone())),
        None if value.is_empty() => return Ok(None),
        None => {}
    }
    Ok(Some(Any { type_url: RUNC.to_owned(), value }))
}

/// What a field of runc's options holds.
#[derive(Debug, Clone, Copy)]
pub(crate) enum RuncKind {
    Bool,
    Number,
    Text,
}

/// The field of runc's options that names its program.
const BINARY_NAME: u32 = 6;

/// containerd's api/types/runc/options/oci.proto, with the names that its configuration
/// has for the fields. `CriuPath` is reserved since 2.0; older shims still read it.
pub(crate) const RUNC_FIELDS: [(&str, u32, RuncKind); 13] = [
    ("NoPivotRoot", 1, RuncKind::Bool),
    ("NoNewKeyring", 2, RuncKind::Bool),
    ("ShimCgroup", 3, RuncKind::Text),
    ("IoUid", 4, RuncKind::Number),
    ("IoGid", 5, RuncKind::Number),
    ("BinaryName", BINARY_NAME, RuncKind::Text),
    ("Root", 7, RuncKind::Text),
    ("CriuPath", 8, RuncKind::Text),
    ("SystemdCgroup", 9, RuncKind::Bool),
    ("CriuImagePath", 10, RuncKind::Text),
    ("CriuWorkPath", 11, RuncKind::Text),
    ("TaskApiAddress", 12, RuncKind::Text),
    ("TaskApiVersion", 13, RuncKind::Number),
];

/// Which program runc's options name for runc; `None`: they name none, or are another's.
///
/// # Errors
/// When they are not read to their end: the inner shim may read on, and the last name holds.
pub fn binary_name(options: &Any) -> Result<Option<String>, WireError> {
    let mut name = None;
    if options.type_name() != RUNC {
        return Ok(name);
    }
    for field in fields(&options.value) {
        let field = field?;
        if field.number == BINARY_NAME {
            name = Some(field.text()?.to_owned());
        }
    }
    Ok(name.filter(|name| !name.is_empty()))
}

/// runc's options as a message.
fn encode_runc(options: &BTreeMap<String, RuncValue>) -> Result<Vec<u8>, String> {
    let mut out = Vec::new();
    for (name, value) in options {
        let Some((_, number, kind)) = RUNC_FIELDS.iter().find(|(known, ..)| known == name) else {
            let meant = nearest(name, &RUNC_FIELDS.map(|(known, ..)| known))
                .map_or(String::new(), |word| format!("; did you mean `{word}`?"));
            return Err(format!("`{name}` is not an option of runc's shim{meant}"));
        };
        match (kind, value) {
            (RuncKind::Bool, RuncValue::Bool(value)) => {
                put_uint(&mut out, *number, u64::from(*value))
            }
            (RuncKind::Number, RuncValue::Number(value)) => {
                put_uint(&mut out, *number, u64::from(*value));
            }
            (RuncKind::Text, RuncValue::Text(value)) => put_text(&mut out, *number, value),
            (kind, _) => {
                let expected = match kind {
                    RuncKind::Bool => "true or false",
                    RuncKind::Number => "a number",
                    RuncKind::Text => "a text",
                };
                return Err(format!("`{name}` must be {expected}"));
            }
        }
    }
    Ok(out)
}

/// The flat `Key = value` lines that containerd makes of a section of its configuration.
fn toml(text: &str) -> Result<BTreeMap<String, RuncValue>, OptionsError> {
    let mut options = BTreeMap::new();
    for (at, line) in text.lines().enumerate() {
        let line = line.trim();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let wrong = |what: &str| OptionsError::Body { line: at + 1, what: what.to_owned() };
        let (key, value) = line.split_once('=').ok_or_else(|| wrong("expected KEY = VALUE"))?;
        let (key, value) = (key.trim(), value.trim());
        let quoted = |quote| value.strip_prefix(quote)?.strip_suffix(quote);
        let value = match value {
            "true" => RuncValue::Bool(true),
            "false" => RuncValue::Bool(false),
            _ => match (quoted('"').filter(|text| !text.contains('\\')), quoted('\'')) {
                (Some(text), _) | (_, Some(text)) => RuncValue::Text(text.to_owned()),
                _ => value.parse().map(RuncValue::Number).map_err(|_| {
                    wrong("expected true, false, a number or a quoted text without escapes")
                })?,
            },
        };
        // The fields of the generic options themselves are written out with the rest.
        if matches!((key, &value), ("TypeUrl" | "ConfigPath" | "ConfigBody", RuncValue::Text(text)) if text.is_empty())
        {
            continue;
        }
        options.insert(key.to_owned(), value);
    }
    encode_runc(&options).map_err(|what| OptionsError::Body { line: 1, what })?;
    Ok(options)
}

/// Options in field `number` of a message that `start` reads: replaced by the inner shim's.
pub(crate) fn put(message: &mut Vec<u8>, number: u32, options: Option<&Any>) {
    if let Some(any) = options {
        put_bytes(message, number, &any.encode());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn generic(path: &str, body: &str) -> Any {
        let mut value = Vec::new();
        put_text(&mut value, 2, path);
        put_text(&mut value, 3, body);
        Any { type_url: GENERIC.to_owned(), value }
    }

    fn inner(name: &str, value: RuncValue) -> config::Inner {
        config::Inner { options: [(name.to_owned(), value)].into(), ..Default::default() }
    }

    #[test]
    fn ours_are_taken_out_and_the_inner_shims_put_in() {
        let given = generic("/etc/lacre/x.yaml", "");
        assert_eq!(own(&given).unwrap().config_path, Some("/etc/lacre/x.yaml".into()));
        assert_eq!(for_inner(Some(&given), &config::Inner::default()), Ok(None));
        let set = inner("SystemdCgroup", RuncValue::Bool(true));
        let expected = Any { type_url: RUNC.to_owned(), value: vec![9 << 3, 1] };
        assert_eq!(for_inner(Some(&given), &set), Ok(Some(expected.clone())));
        assert_eq!(for_inner(None, &set), Ok(Some(expected)));
        assert_eq!(for_inner(None, &config::Inner::default()), Ok(None));
    }

    #[test]
    fn a_section_of_containerds_configuration_reaches_runc() {
        let body = "  BinaryName = \"/usr/bin/crun\"\n  SystemdCgroup = true\n  IoUid = 7\n";
        let any = for_inner(Some(&generic("", body)), &config::Inner::default()).unwrap().unwrap();
        let mut expected = Vec::new();
        put_text(&mut expected, 6, "/usr/bin/crun");
        put_uint(&mut expected, 4, 7);
        put_uint(&mut expected, 9, 1);
        assert_eq!(any.type_url, RUNC);
        assert_eq!(any.value.len(), expected.len());
        assert!(
            for_inner(Some(&generic("", "SystemdCgrup = true")), &config::Inner::default())
                .is_err()
        );
        assert!(for_inner(Some(&generic("", "[x]")), &config::Inner::default()).is_err());
    }

    #[test]
    fn what_a_client_sets_for_runc_holds() {
        let mut value = Vec::new();
        put_text(&mut value, 6, "theirs");
        let given = Any { type_url: RUNC.to_owned(), value };
        let ours = inner("BinaryName", RuncValue::Text("ours".to_owned()));
        let any = for_inner(Some(&given), &ours).unwrap().unwrap();
        let last = fields(&any.value).map(Result::unwrap).filter(|f| f.number == 6).last();
        assert_eq!(last.unwrap().bytes(), Ok(&b"theirs"[..]));
    }

    /// The inner shim's own decoder passes over a group, and over what else it does not know.
    #[test]
    fn a_program_behind_what_is_not_read_is_not_overlooked() {
        let mut value = Vec::new();
        put_text(&mut value, 6, "runc");
        for unread in [&[99 << 3 & 0x7f | 0x83, 6, 0xfc, 6][..], &[6 << 3, 1], &[0x32, 1, 0xff]] {
            let mut value = [&value[..], unread].concat();
            put_text(&mut value, 6, "/bin/not-runc");
            let named = binary_name(&Any { type_url: RUNC.to_owned(), value });
            assert!(named.is_err(), "{named:?}");
        }
        let named = binary_name(&Any { type_url: RUNC.to_owned(), value });
        assert_eq!(named, Ok(Some("runc".to_owned())));
    }

    #[test]
    fn another_shims_pass() {
        let given = Any { type_url: "io.containerd.runsc.v1.options".to_owned(), value: vec![1] };
        assert_eq!(for_inner(Some(&given), &config::Inner::default()), Ok(Some(given)));
    }

    proptest! {
        #[test]
        fn no_options_make_it_panic(value: Vec<u8>, body in "[A-Za-z=\"'\n ]{0,60}") {
            let _ = own(&Any { type_url: GENERIC.to_owned(), value });
            let _ = own(&generic("", &body));
        }
    }
}
