//! What the inner shim's `start` answers, in the forms of all containerds.

use crate::wire::{fields, replace_bytes};

/// What the inner shim's `start` printed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    form: Form,
    /// Where the inner shim listens.
    pub address: String,
    /// The version of the Task API that it speaks.
    pub version: u32,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Form {
    Plain,
    Json(serde_json::Map<String, serde_json::Value>),
    Result(Vec<u8>),
}

/// Why an answer can't be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum AnswerError {
    /// It is none that is known.
    #[error(
        "the inner shim's answer to start is neither an address, nor JSON, nor protobuf: {0:?}"
    )]
    Unknown(String),
    /// It speaks gRPC, which lacre can't wrap.
    #[error("the inner shim speaks {0}; lacre wraps shims that speak ttrpc")]
    Protocol(String),
    /// It listens where lacre can't reach.
    #[error(
        "the inner shim listens at {0:?}; lacre wraps shims that listen on a unix socket with a path"
    )]
    Address(String),
}

/// Numbers in `BootstrapResult`.
mod result {
    pub(super) const VERSION: u32 = 1;
    pub(super) const ADDRESS: u32 = 2;
    pub(super) const PROTOCOL: u32 = 3;
}

impl Answer {
    /// Reads it.
    ///
    /// # Errors
    /// When it is none that is known, or names what lacre can't wrap.
    pub fn decode(bytes: &[u8]) -> Result<Self, AnswerError> {
        let unknown = || {
            let shown = &bytes[..bytes.len().min(200)];
            AnswerError::Unknown(lacre_types::escape(shown))
        };
        let text = std::str::from_utf8(bytes).map(str::trim).unwrap_or_default();
        let (answer, protocol) = if text.starts_with('{') {
            let map: serde_json::Map<_, _> = serde_json::from_str(text).map_err(|_| unknown())?;
            let field = |name| map.get(name).and_then(|value| value.as_str()).unwrap_or_default();
            let (address, protocol) = (field("address").to_owned(), field("protocol").to_owned());
            let version = map.get("version").and_then(serde_json::Value::as_u64).unwrap_or(0);
            let version = u32::try_from(version).map_err(|_| unknown())?;
            (Self { form: Form::Json(map), address, version }, protocol)
        } else if is_address(text) {
            // A bare address is what a shim of version 2 answers.
            (Self { form: Form::Plain, address: text.to_owned(), version: 2 }, String::new())
        } else {
            let mut answer =
                Self { form: Form::Result(bytes.to_vec()), address: String::new(), version: 0 };
            let mut protocol = String::new();
            for field in fields(bytes) {
                let field = field.map_err(|_| unknown())?;
                match field.number {
                    result::VERSION => answer.version = field.uint32().map_err(|_| unknown())?,
                    result::ADDRESS => answer.address = field.text().map_err(|_| unknown())?.into(),
                    result::PROTOCOL => protocol = field.text().map_err(|_| unknown())?.into(),
                    _ => {}
                }
            }
            if answer.address.is_empty() {
                return Err(unknown());
            }
            (answer, protocol)
        };
        if !matches!(protocol.as_str(), "" | "ttrpc") {
            return Err(AnswerError::Protocol(protocol));
        }
        answer.socket()?;
        Ok(answer)
    }

    /// The path of the inner shim's socket.
    ///
    /// # Errors
    /// When it has none.
    pub fn socket(&self) -> Result<&std::path::Path, AnswerError> {
        let path = self.address.strip_prefix("unix://").unwrap_or(&self.address);
        if path.starts_with('/') && !path.contains('\0') {
            Ok(std::path::Path::new(path))
        } else {
            Err(AnswerError::Address(self.address.clone()))
        }
    }

    /// The same answer, with another address.
    #[must_use]
    pub fn with_address(&self, address: &str) -> Vec<u8> {
        match &self.form {
            Form::Plain => address.as_bytes().to_vec(),
            Form::Json(map) => {
                let mut map = map.clone();
                map.insert("address".to_owned(), address.into());
                serde_json::Value::Object(map).to_string().into_bytes()
            }
            Form::Result(raw) => {
                replace_bytes(raw, result::ADDRESS, Some(address.as_bytes())).unwrap_or_default()
            }
        }
    }
}

fn is_address(text: &str) -> bool {
    let scheme = text.split_once("://").map(|(scheme, _)| scheme);
    let scheme = scheme.is_some_and(|s| !s.is_empty() && s.bytes().all(|b| b.is_ascii_lowercase()));
    (scheme || text.starts_with('/')) && !text.contains(|c: char| c.is_control() || c == ' ')
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::{put_bytes, put_text, put_uint};
    use proptest::prelude::*;

    const INNER: &str = "unix:///run/containerd/s/0a";
    const OURS: &str = "unix:///run/lacre/s/1b";

    fn answered(bytes: &[u8]) -> Vec<u8> {
        let answer = Answer::decode(bytes).unwrap();
        assert_eq!(answer.address, INNER);
        answer.with_address(OURS)
    }

    #[test]
    fn a_bare_address_stays_bare() {
        assert_eq!(answered(INNER.as_bytes()), OURS.as_bytes());
        assert_eq!(answered(format!("{INNER}\n").as_bytes()), OURS.as_bytes());
        assert_eq!(Answer::decode(INNER.as_bytes()).unwrap().version, 2);
    }

    #[test]
    fn json_keeps_its_other_fields() {
        let bytes = format!(r#"{{"version":3,"address":"{INNER}","protocol":"ttrpc","new":[1]}}"#);
        let out: serde_json::Value = serde_json::from_slice(&answered(bytes.as_bytes())).unwrap();
        let expected =
            serde_json::json!({"version": 3, "address": OURS, "protocol": "ttrpc", "new": [1]});
        assert_eq!(out, expected);
        assert_eq!(Answer::decode(bytes.as_bytes()).unwrap().version, 3);
    }

    fn bootstrap_result(address: &str) -> Vec<u8> {
        let mut bytes = Vec::new();
        put_uint(&mut bytes, 1, 3);
        put_text(&mut bytes, 2, address);
        put_text(&mut bytes, 3, "ttrpc");
        put_bytes(&mut bytes, 5, b"metadata");
        bytes
    }

    #[test]
    fn protobuf_keeps_its_other_fields() {
        assert_eq!(answered(&bootstrap_result(INNER)), bootstrap_result(OURS));
    }

    #[test]
    fn what_cannot_be_wrapped_is_refused() {
        let grpc = br#"{"version":3,"address":"unix:///a","protocol":"grpc"}"#;
        assert_eq!(Answer::decode(grpc), Err(AnswerError::Protocol("grpc".into())));
        for address in ["vsock://3:1", "unix://@x", "unix://rel"] {
            assert!(matches!(Answer::decode(address.as_bytes()), Err(AnswerError::Address(_))));
        }
        for text in ["", "panic: x", "warning: a\nunix:///b", "{", "{}"] {
            assert!(Answer::decode(text.as_bytes()).is_err(), "{text}");
        }
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_panic(bytes: Vec<u8>) {
            let _ = Answer::decode(&bytes).map(|answer| answer.with_address(OURS));
        }
    }
}
