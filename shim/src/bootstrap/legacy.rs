//! The options that clients of containerd 1.6 and 1.7 send to a runtime that is not called
//! `io.containerd.runc…`: messages of containerd 1.0 (`runtime/linux/runctypes/runc.proto`),
//! which runc's shim of today refuses. Each field goes where its successor has it
//! (`api/types/runc/options/oci.proto`); those without one were for a daemon that is gone.

use crate::messages::Any;
use crate::wire::{WireError, fields, put_bytes, put_uint};

/// What runc's shim of today takes.
pub const RUNC: &str = "containerd.runc.v1.Options";
/// A task's options.
pub(super) const CREATE: &str = "containerd.linux.runc.CreateOptions";
/// A checkpoint's options.
const CHECKPOINT: &str = "containerd.linux.runc.CheckpointOptions";
/// Their successor.
const RUNC_CHECKPOINT: &str = "containerd.runc.v1.CheckpointOptions";

/// Old number, new number.
type Renumbered = &'static [(u32, u32)];

/// `no_pivot_root`, `no_new_keyring`, `shim_cgroup`, `io_uid`, `io_gid`, `criu_work_path`,
/// `criu_image_path`.
const CREATE_FIELDS: Renumbered = &[(1, 1), (8, 2), (9, 3), (10, 4), (11, 5), (12, 11), (13, 10)];
/// `exit`, `open_tcp`, `external_unix_sockets`, `terminal`, `file_locks`,
/// `empty_namespaces`, `cgroups_mode`, `work_path`, `image_path`.
const CHECKPOINT_FIELDS: Renumbered =
    &[(1, 1), (2, 2), (3, 3), (4, 4), (5, 5), (6, 6), (7, 7), (8, 9), (9, 8)];

/// The same options in the message of today; those of another type as they came.
///
/// # Errors
/// When they are not what their type says.
pub fn translated(given: &Any) -> Result<Any, WireError> {
    let (type_url, numbers) = match given.type_name() {
        CREATE => (RUNC, CREATE_FIELDS),
        CHECKPOINT => (RUNC_CHECKPOINT, CHECKPOINT_FIELDS),
        _ => return Ok(given.clone()),
    };
    let mut value = Vec::with_capacity(given.value.len());
    for field in fields(&given.value) {
        let field = field?;
        let Some((_, number)) = numbers.iter().find(|(old, _)| *old == field.number) else {
            continue;
        };
        match field.value {
            crate::wire::Value::Varint(varint) => put_uint(&mut value, *number, varint),
            crate::wire::Value::Bytes(bytes) => put_bytes(&mut value, *number, bytes),
            _ => return Err(WireError::Type(field.number)),
        }
    }
    Ok(Any { type_url: type_url.to_owned(), value })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::put_text;
    use proptest::prelude::*;

    fn of(type_url: &str, value: Vec<u8>) -> Any {
        Any { type_url: type_url.to_owned(), value }
    }

    #[test]
    fn a_tasks_options_keep_their_meaning() {
        let mut old = Vec::new();
        put_uint(&mut old, 1, 1);
        put_uint(&mut old, 2, 1);
        put_text(&mut old, 7, "soft");
        put_uint(&mut old, 8, 1);
        put_text(&mut old, 9, "/cgroup");
        put_uint(&mut old, 10, 1000);
        put_uint(&mut old, 11, 1001);
        put_text(&mut old, 12, "/work");
        put_text(&mut old, 13, "/image");
        let mut new = Vec::new();
        put_uint(&mut new, 1, 1);
        put_uint(&mut new, 2, 1);
        put_text(&mut new, 3, "/cgroup");
        put_uint(&mut new, 4, 1000);
        put_uint(&mut new, 5, 1001);
        put_text(&mut new, 11, "/work");
        put_text(&mut new, 10, "/image");
        assert_eq!(translated(&of(CREATE, old.clone())), Ok(of(RUNC, new.clone())));
        // A type may come with a host before it.
        let hosted = format!("types.containerd.io/{CREATE}");
        assert_eq!(translated(&of(&hosted, old)), Ok(of(RUNC, new)));
    }

    #[test]
    fn a_checkpoints_paths_change_places() {
        let mut old = Vec::new();
        put_uint(&mut old, 1, 1);
        put_text(&mut old, 6, "network");
        put_text(&mut old, 6, "ipc");
        put_text(&mut old, 8, "/work");
        put_text(&mut old, 9, "/image");
        let mut new = Vec::new();
        put_uint(&mut new, 1, 1);
        put_text(&mut new, 6, "network");
        put_text(&mut new, 6, "ipc");
        put_text(&mut new, 9, "/work");
        put_text(&mut new, 8, "/image");
        assert_eq!(translated(&of(CHECKPOINT, old)), Ok(of(RUNC_CHECKPOINT, new)));
    }

    #[test]
    fn others_stay_as_they_are() {
        for name in [RUNC, RUNC_CHECKPOINT, "runtimeoptions.v1.Options", "io.containerd.runsc"] {
            let given = of(name, vec![8, 1]);
            assert_eq!(translated(&given), Ok(given));
        }
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_panic(value: Vec<u8>) {
            let _ = translated(&of(CREATE, value.clone()));
            let _ = translated(&of(CHECKPOINT, value));
        }
    }
}
