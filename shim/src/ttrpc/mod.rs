//! ttrpc (github.com/containerd/ttrpc, PROTOCOL.md): frames, requests, and a small client.

mod client;
mod frame;
mod request;
mod status;

pub use client::{CallError, Client, Raw};
pub use frame::{FLAG_NONE, FRAME_MAX, FrameError, FrameReader, Header, Kind, write_frame};
pub use request::{Call, Metadata, Request, response};
pub use status::{Code, Status};
