//! The messages of the Task API and of containerd's events, as `containerd-shim-protos` generates
//! them of `containerd.task.v3`, whose fields v2 numbers alike; and runtime options, which are read
//! and edited where they stand.

pub use containerd_shim_protos::api::{
    ConnectRequest, ConnectResponse, CreateTaskRequest, CreateTaskResponse, DeleteRequest,
    DeleteResponse, ExecProcessRequest, ForwardRequest, KillRequest, Mount, PauseRequest,
    PidsRequest, PidsResponse, ResumeRequest, ShutdownRequest, StartRequest, StartResponse,
    StateRequest, StateResponse, Status, WaitRequest, WaitResponse,
};
pub use containerd_shim_protos::events::container::ContainerUpdate;
pub use containerd_shim_protos::events::task::{TaskPaused, TaskResumed};
pub use containerd_shim_protos::protobuf::{self, Message};
pub use containerd_shim_protos::shim::event::Envelope;

mod any;
mod process;

pub use any::Any;
pub use process::{OfProcess, ProcessId};

/// The fields of requests that hold options, and of `StateResponse` that holds the status: what
/// lacre replaces. Options are read by [`Any::embedded`] alone: of a message in pieces the generated
/// types keep the last, and whom it is handed to puts them together.
pub(crate) mod number {
    pub(crate) const CREATE_OPTIONS: u32 = 10;
    pub(crate) const CHECKPOINT_OPTIONS: u32 = 3;
    pub(crate) const STATE_STATUS: u32 = 4;
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::{put_bytes, put_text, put_uint};

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
        let request = CreateTaskRequest::parse_from_bytes(&bytes).unwrap();
        assert_eq!((request.id.as_str(), request.bundle.as_str()), ("web", "/run/b"));
        assert_eq!(request.rootfs[0].options, ["upperdir=/u", "lowerdir=/a:/b"]);
        assert!(request.options.is_none());
    }

    /// The inner shim puts together what comes in pieces, and so must who looks first: the
    /// generated type keeps the last piece alone.
    #[test]
    fn options_in_pieces_are_read_whole() {
        let mut program = Vec::new();
        put_text(&mut program, 6, "/bin/not-runc");
        let first = Any { type_url: "runtimeoptions.v1.Options".to_owned(), value: program };
        let rest = Any { type_url: "containerd.runc.v1.Options".to_owned(), value: Vec::new() };
        let whole = Any { value: first.value.clone(), ..rest.clone() };
        for number in [number::CREATE_OPTIONS, number::CHECKPOINT_OPTIONS] {
            let mut bytes = Vec::new();
            put_bytes(&mut bytes, number, &first.encode());
            put_bytes(&mut bytes, number, &rest.encode());
            assert_eq!(Any::embedded(&bytes, number), Ok(Some(whole.clone())));
        }
    }

    #[test]
    fn a_status_of_the_future_stays_what_it_is() {
        let mut bytes = Vec::new();
        put_uint(&mut bytes, number::STATE_STATUS, 77);
        let state = StateResponse::parse_from_bytes(&bytes).unwrap();
        assert_eq!(state.status.enum_value(), Err(77));
    }
}
