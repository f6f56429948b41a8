//! The calls of containerd's gRPC API that a container's life takes, by the field numbers
//! of its `api/services/*/v1/*.proto`: `ctr` itself takes longer than most of what is
//! measured, and makes two calls at a time where a test needs one.

#![allow(missing_docs, reason = "messages and fields are named as in containerd's api")]

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result};
use http::uri::PathAndQuery;
use prost::Message;
use tonic::client::Grpc;
use tonic::transport::{Channel, Endpoint};
use tonic_prost::ProstCodec;

/// No call takes longer, or it hangs.
const LIMIT: Duration = Duration::from_secs(60);

macro_rules! messages {
    ($($(#[$doc:meta])* $name:ident { $($(#[$attribute:meta])* $field:ident: $ty:ty,)* })+) => {$(
        $(#[$doc])*
        #[derive(Clone, PartialEq, Message)]
        pub struct $name { $($(#[$attribute])* pub $field: $ty,)* }
    )+};
}

messages! {
    Empty {}
    Any {
        #[prost(string, tag = "1")] type_url: String,
        #[prost(bytes = "vec", tag = "2")] value: Vec<u8>,
    }
    Runtime {
        #[prost(string, tag = "1")] name: String,
        #[prost(message, optional, tag = "2")] options: Option<Any>,
    }
    Descriptor {
        #[prost(string, tag = "1")] media_type: String,
        #[prost(string, tag = "2")] digest: String,
        #[prost(int64, tag = "3")] size: i64,
    }
    /// One whole blob; of a stream of such, it is the only one.
    WriteContent {
        #[prost(int32, tag = "1")] action: i32,
        #[prost(string, tag = "2")] reference: String,
        #[prost(int64, tag = "3")] total: i64,
        #[prost(string, tag = "4")] expected: String,
        #[prost(bytes = "vec", tag = "6")] data: Vec<u8>,
        #[prost(btree_map = "string, string", tag = "7")] labels: BTreeMap<String, String>,
    }
    ApplyDiff {
        #[prost(message, optional, tag = "1")] diff: Option<Descriptor>,
        #[prost(message, repeated, tag = "2")] mounts: Vec<Mount>,
    }
    /// What was unpacked, as a tar.
    Applied { #[prost(message, optional, tag = "1")] applied: Option<Descriptor>, }
    /// `runtimeoptions.v1.Options`.
    RuntimeOptions {
        #[prost(string, tag = "1")] type_url: String,
        #[prost(string, tag = "2")] config_path: String,
    }
    Container {
        #[prost(string, tag = "1")] id: String,
        #[prost(btree_map = "string, string", tag = "2")] labels: BTreeMap<String, String>,
        #[prost(string, tag = "3")] image: String,
        #[prost(message, optional, tag = "4")] runtime: Option<Runtime>,
        #[prost(message, optional, tag = "5")] spec: Option<Any>,
        #[prost(string, tag = "6")] snapshotter: String,
        #[prost(string, tag = "7")] snapshot_key: String,
    }
    OneContainer { #[prost(message, optional, tag = "1")] container: Option<Container>, }
    Named { #[prost(string, tag = "1")] name: String, }
    Snapshot {
        #[prost(string, tag = "1")] snapshotter: String,
        #[prost(string, tag = "2")] key: String,
        /// Of Prepare only.
        #[prost(string, tag = "3")] parent: String,
    }
    Mount {
        #[prost(string, tag = "1")] kind: String,
        #[prost(string, tag = "2")] source: String,
        #[prost(string, tag = "3")] target: String,
        #[prost(string, repeated, tag = "4")] options: Vec<String>,
    }
    Mounts { #[prost(message, repeated, tag = "1")] mounts: Vec<Mount>, }
    SnapshotInfo { #[prost(string, tag = "2")] parent: String, }
    OneSnapshot { #[prost(message, optional, tag = "1")] info: Option<SnapshotInfo>, }
    CreateTask {
        #[prost(string, tag = "1")] container: String,
        #[prost(message, repeated, tag = "3")] rootfs: Vec<Mount>,
        #[prost(message, optional, tag = "9")] options: Option<Any>,
    }
    /// The requests of Start, Wait and DeleteProcess, whose exec may be empty.
    Process {
        #[prost(string, tag = "1")] container: String,
        #[prost(string, tag = "2")] exec: String,
    }
    ExecProcess {
        #[prost(string, tag = "1")] container: String,
        #[prost(message, optional, tag = "6")] spec: Option<Any>,
        #[prost(string, tag = "7")] exec: String,
    }
    KillTask {
        #[prost(string, tag = "1")] container: String,
        #[prost(string, tag = "2")] exec: String,
        #[prost(uint32, tag = "3")] signal: u32,
    }
}

/// A connection to one containerd, in one of its namespaces.
#[derive(Debug)]
pub struct Client {
    runtime: tokio::runtime::Runtime,
    grpc: Grpc<Channel>,
    namespace: String,
}

impl Client {
    /// # Errors
    /// When nobody listens there.
    pub fn connect(socket: &Path, namespace: &str) -> Result<Self> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let endpoint = Endpoint::from_shared(format!("unix://{}", socket.display()))?;
        let channel = runtime.block_on(endpoint.timeout(LIMIT).connect())?;
        Ok(Self { runtime, grpc: Grpc::new(channel), namespace: namespace.to_owned() })
    }

    /// `call` is such as `tasks.v1.Tasks/Create`.
    ///
    /// # Errors
    /// What containerd answers, or that it does not.
    pub fn call<A, B>(&mut self, call: &str, request: A) -> Result<B>
    where
        A: Message + 'static,
        B: Message + Default + 'static,
    {
        let path = PathAndQuery::try_from(format!("/containerd.services.{call}"))?;
        let mut request = tonic::Request::new(request);
        request.metadata_mut().insert("containerd-namespace", self.namespace.parse()?);
        let grpc = &mut self.grpc;
        self.runtime
            .block_on(async {
                grpc.ready().await?;
                let codec = ProstCodec::<A, B>::default();
                Ok::<_, anyhow::Error>(grpc.unary(request, path, codec).await?.into_inner())
            })
            .with_context(|| call.to_owned())
    }
}
