//! What is asked of a shim.

use super::any::Any;
use crate::wire::{WireError, fields, put_text, put_uint};

/// `containerd.types.Mount`.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Mount {
    /// `overlay`, `bind`…
    pub kind: String,
    /// What is mounted.
    pub source: String,
    /// Where, within the root.
    pub target: String,
    /// Its options, `lowerdir=…` among them.
    pub options: Vec<String>,
}

impl Mount {
    fn decode(bytes: &[u8]) -> Result<Self, WireError> {
        let mut mount = Self::default();
        for field in fields(bytes) {
            let field = field?;
            match field.number {
                1 => mount.kind = field.text()?.to_owned(),
                2 => mount.source = field.text()?.to_owned(),
                3 => mount.target = field.text()?.to_owned(),
                4 => mount.options.push(field.text()?.to_owned()),
                _ => {}
            }
        }
        Ok(mount)
    }
}

/// `CreateTaskRequest`.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct CreateRequest {
    /// The container.
    pub id: String,
    /// Its bundle, which holds `config.json`.
    pub bundle: String,
    /// What the inner shim mounts on `rootfs` in the bundle; empty when whoever asks has
    /// mounted the root already (Docker).
    pub rootfs: Vec<Mount>,
    /// Where its standard input comes from.
    pub stdin: String,
    /// Where its standard output goes.
    pub stdout: String,
    /// Where its standard error goes.
    pub stderr: String,
    /// The checkpoint that it is restored from, or empty.
    pub checkpoint: String,
    /// The runtime options, as the caller gave them.
    pub options: Option<Any>,
}

/// The field of [`CreateRequest`] that holds its options.
pub(crate) const CREATE_OPTIONS: u32 = 10;

impl CreateRequest {
    /// # Errors
    /// When it is not such a message.
    pub fn decode(bytes: &[u8]) -> Result<Self, WireError> {
        let mut request = Self::default();
        for field in fields(bytes) {
            let field = field?;
            match field.number {
                1 => request.id = field.text()?.to_owned(),
                2 => request.bundle = field.text()?.to_owned(),
                3 => request.rootfs.push(Mount::decode(field.bytes()?)?),
                5 => request.stdin = field.text()?.to_owned(),
                6 => request.stdout = field.text()?.to_owned(),
                7 => request.stderr = field.text()?.to_owned(),
                8 => request.checkpoint = field.text()?.to_owned(),
                _ => {}
            }
        }
        request.options = Any::embedded(bytes, CREATE_OPTIONS)?;
        Ok(request)
    }
}

/// The field of `CheckpointTaskRequest` that holds its options.
pub(crate) const CHECKPOINT_OPTIONS: u32 = 3;

/// The options of a `CheckpointTaskRequest`, as the caller gave them.
///
/// # Errors
/// When it is not such a message.
pub(crate) fn checkpoint_options(request: &[u8]) -> Result<Option<Any>, WireError> {
    Any::embedded(request, CHECKPOINT_OPTIONS)
}

/// A process of a container: the init, or one that came by exec. `StartRequest`,
/// `DeleteRequest`, `StateRequest` and `WaitRequest` are this.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
pub struct ProcessId {
    /// The container.
    pub id: String,
    /// The exec, or empty for the container's init.
    pub exec_id: String,
}

impl ProcessId {
    /// The init of a container.
    #[must_use]
    pub fn init(id: impl Into<String>) -> Self {
        Self { id: id.into(), exec_id: String::new() }
    }

    /// Whether it is the container's init.
    #[must_use]
    pub fn is_init(&self) -> bool {
        self.exec_id.is_empty()
    }

    /// # Errors
    /// When it is not such a message.
    pub fn decode(bytes: &[u8]) -> Result<Self, WireError> {
        let mut process = Self::default();
        for field in fields(bytes) {
            let field = field?;
            match field.number {
                1 => process.id = field.text()?.to_owned(),
                2 => process.exec_id = field.text()?.to_owned(),
                _ => {}
            }
        }
        Ok(process)
    }

    /// As bytes.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Vec::new();
        put_text(&mut out, 1, &self.id);
        put_text(&mut out, 2, &self.exec_id);
        out
    }
}

impl std::fmt::Display for ProcessId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.id)?;
        if self.is_init() { Ok(()) } else { write!(f, " (exec {})", self.exec_id) }
    }
}

/// `ExecProcessRequest`.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ExecRequest {
    /// What it will be.
    pub process: ProcessId,
    /// The type of `spec`: `types.containerd.io/opencontainers/runtime-spec/1/Process`.
    pub spec_type: String,
    /// The OCI process, JSON.
    pub spec: Vec<u8>,
}

impl ExecRequest {
    /// # Errors
    /// When it is not such a message.
    pub fn decode(bytes: &[u8]) -> Result<Self, WireError> {
        let mut request = Self { process: ProcessId::decode(bytes)?, ..Self::default() };
        if let Some(any) = Any::embedded(bytes, 7)? {
            (request.spec_type, request.spec) = (any.type_url, any.value);
        }
        Ok(request)
    }
}

/// `KillRequest`.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct KillRequest {
    /// Which process.
    pub process: ProcessId,
    /// The signal's number.
    pub signal: u32,
    /// Every process of the container.
    pub all: bool,
}

impl KillRequest {
    /// # Errors
    /// When it is not such a message.
    pub fn decode(bytes: &[u8]) -> Result<Self, WireError> {
        let mut request = Self { process: ProcessId::decode(bytes)?, ..Self::default() };
        for field in fields(bytes) {
            let field = field?;
            match field.number {
                3 => request.signal = field.uint32()?,
                4 => request.all = field.uint()? != 0,
                _ => {}
            }
        }
        Ok(request)
    }

    /// As bytes.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let mut out = self.process.encode();
        put_uint(&mut out, 3, u64::from(self.signal));
        put_uint(&mut out, 4, u64::from(self.all));
        out
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::put_bytes;
    use proptest::prelude::*;

    #[test]
    fn a_create_request_reads_as_containerd_writes_it() {
        let mut mount = Vec::new();
        put_text(&mut mount, 1, "overlay");
        put_text(&mut mount, 2, "overlay");
        put_text(&mut mount, 4, "upperdir=/u");
        put_text(&mut mount, 4, "lowerdir=/a:/b");
        let mut bytes = Vec::new();
        put_text(&mut bytes, 1, "web");
        put_text(&mut bytes, 2, "/run/b");
        put_bytes(&mut bytes, 3, &mount);
        put_uint(&mut bytes, 4, 1);
        put_text(&mut bytes, 99, "from the future");
        let request = CreateRequest::decode(&bytes).unwrap();
        assert_eq!((request.id.as_str(), request.bundle.as_str()), ("web", "/run/b"));
        assert_eq!(request.rootfs[0].options, ["upperdir=/u", "lowerdir=/a:/b"]);
        assert_eq!(request.options, None);
    }

    /// `CreateTaskRequest` and `Any`, as a decoder of the protocol's own reads them
    /// (containerd's api/runtime/task/v2/shim.proto).
    mod reference {
        #[derive(Clone, PartialEq, prost::Message)]
        pub(super) struct Any {
            #[prost(string, tag = "1")]
            pub(super) type_url: String,
            #[prost(bytes = "vec", tag = "2")]
            pub(super) value: Vec<u8>,
        }

        #[derive(Clone, PartialEq, prost::Message)]
        pub(super) struct Create {
            #[prost(string, tag = "1")]
            pub(super) id: String,
            #[prost(string, tag = "2")]
            pub(super) bundle: String,
            #[prost(string, tag = "8")]
            pub(super) checkpoint: String,
            #[prost(message, optional, tag = "10")]
            pub(super) options: Option<Any>,
        }
    }

    /// A field of a request: its number, and a text or the fields of a message.
    type Part = (u32, Vec<(u32, String)>);

    fn parts() -> impl Strategy<Value = Vec<Part>> {
        let inner = proptest::collection::vec((1u32..4, "[a-c]{0,3}"), 0..4);
        let number = proptest::sample::select(vec![1u32, 2, 8, 10, 10, 10, 12]);
        proptest::collection::vec((number, inner), 0..8)
    }

    fn bytes_of(parts: &[Part]) -> Vec<u8> {
        let mut out = Vec::new();
        for (number, inner) in parts {
            let mut value = Vec::new();
            for (number, text) in inner {
                match number {
                    3 => put_uint(&mut value, 3, 7),
                    number => put_bytes(&mut value, *number, text.as_bytes()),
                }
            }
            if *number != CREATE_OPTIONS {
                value = inner.iter().flat_map(|(_, text)| text.bytes()).collect();
            }
            put_bytes(&mut out, *number, &value);
        }
        out
    }

    proptest! {
        #[test]
        fn a_request_reads_as_it_does_for_whom_it_is_handed_to(parts in parts()) {
            use prost::Message as _;
            let bytes = bytes_of(&parts);
            let theirs = reference::Create::decode(&bytes[..]).unwrap();
            let ours = CreateRequest::decode(&bytes).unwrap();
            prop_assert_eq!((ours.id, ours.bundle, ours.checkpoint),
                (theirs.id, theirs.bundle, theirs.checkpoint));
            prop_assert_eq!(ours.options,
                theirs.options.map(|any| Any { type_url: any.type_url, value: any.value }));
        }
    }

    #[test]
    fn options_in_pieces_are_read_whole() {
        let mut program = Vec::new();
        put_text(&mut program, 6, "/bin/not-runc");
        let first = Any { type_url: "runtimeoptions.v1.Options".to_owned(), value: program };
        let rest = Any { type_url: "containerd.runc.v1.Options".to_owned(), value: Vec::new() };
        let mut bytes = Vec::new();
        put_bytes(&mut bytes, CREATE_OPTIONS, &first.encode());
        put_bytes(&mut bytes, CREATE_OPTIONS, &rest.encode());
        let whole = Some(Any { value: first.value, ..rest });
        assert_eq!(CreateRequest::decode(&bytes).unwrap().options, whole);
        let mut of_checkpoint = Vec::new();
        for piece in fields(&bytes) {
            put_bytes(&mut of_checkpoint, CHECKPOINT_OPTIONS, piece.unwrap().bytes().unwrap());
        }
        assert_eq!(checkpoint_options(&of_checkpoint), Ok(whole));
    }

    #[test]
    fn a_kill_reads_back() {
        let kill = KillRequest { process: ProcessId::init("a"), signal: 9, all: true };
        assert_eq!(KillRequest::decode(&kill.encode()), Ok(kill));
    }
}
