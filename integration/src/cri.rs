//! What a kubelet asks of containerd: the few calls and fields of CRI's `runtime.v1` that
//! the tests need, by hand.

use std::collections::HashMap;
use std::path::Path;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use anyhow::{Context, Result};
use http::uri::PathAndQuery;
use prost::Message;
use tonic::client::Grpc;
use tonic::transport::{Channel, Endpoint};
use tonic_prost::ProstCodec;

use crate::image::Image;
use crate::output::wait_for;
use crate::runtime::Runtime;

/// The containerd namespace of everything that CRI makes.
pub const NAMESPACE: &str = "k8s.io";

/// Every call's limit.
const LIMIT: Duration = Duration::from_secs(60);

#[derive(Clone, PartialEq, Message)]
struct Metadata {
    #[prost(string, tag = "1")]
    name: String,
    #[prost(string, tag = "2")]
    uid: String,
    #[prost(string, tag = "3")]
    namespace: String,
}

#[derive(Clone, PartialEq, Message)]
struct LinuxPod {
    #[prost(string, tag = "1")]
    cgroup_parent: String,
}

#[derive(Clone, PartialEq, Message)]
struct PodConfig {
    #[prost(message, optional, tag = "1")]
    metadata: Option<Metadata>,
    #[prost(string, tag = "2")]
    hostname: String,
    #[prost(map = "string, string", tag = "6")]
    labels: HashMap<String, String>,
    #[prost(map = "string, string", tag = "7")]
    annotations: HashMap<String, String>,
    #[prost(message, optional, tag = "8")]
    linux: Option<LinuxPod>,
}

#[derive(Clone, PartialEq, Message)]
struct RunPod {
    #[prost(message, optional, tag = "1")]
    config: Option<PodConfig>,
    #[prost(string, tag = "2")]
    runtime_handler: String,
}

/// `{1: id}`: the request of Stop-, RemovePodSandbox, Start-, RemoveContainer, and the
/// answer of RunPodSandbox and CreateContainer.
#[derive(Clone, PartialEq, Message)]
struct Id {
    #[prost(string, tag = "1")]
    id: String,
}

#[derive(Clone, PartialEq, Message)]
struct ContainerName {
    #[prost(string, tag = "1")]
    name: String,
}

#[derive(Clone, PartialEq, Message)]
struct ContainerConfig {
    #[prost(message, optional, tag = "1")]
    metadata: Option<ContainerName>,
    /// ImageSpec: `{1: image}`.
    #[prost(message, optional, tag = "2")]
    image: Option<Id>,
    #[prost(string, repeated, tag = "3")]
    command: Vec<String>,
}

#[derive(Clone, PartialEq, Message)]
struct Create {
    #[prost(string, tag = "1")]
    pod: String,
    #[prost(message, optional, tag = "2")]
    config: Option<ContainerConfig>,
    #[prost(message, optional, tag = "3")]
    pod_config: Option<PodConfig>,
}

#[derive(Clone, PartialEq, Message)]
struct StopRequest {
    #[prost(string, tag = "1")]
    id: String,
    #[prost(int64, tag = "2")]
    timeout: i64,
}

#[derive(Clone, PartialEq, Message)]
struct Exec {
    #[prost(string, tag = "1")]
    id: String,
    #[prost(string, repeated, tag = "2")]
    command: Vec<String>,
    #[prost(int64, tag = "3")]
    timeout: i64,
}

/// What ExecSync answers.
#[derive(Clone, PartialEq, Message)]
pub struct ExecResult {
    /// Standard output.
    #[prost(bytes = "vec", tag = "1")]
    pub stdout: Vec<u8>,
    /// Standard error.
    #[prost(bytes = "vec", tag = "2")]
    pub stderr: Vec<u8>,
    /// The exit code.
    #[prost(int32, tag = "3")]
    pub exit_code: i32,
}

#[derive(Clone, PartialEq, Message)]
struct StatusResponse {
    #[prost(message, optional, tag = "1")]
    status: Option<ContainerStatus>,
}

/// What ContainerStatus answers.
#[derive(Clone, PartialEq, Message)]
pub struct ContainerStatus {
    /// Created, running, exited or unknown.
    #[prost(enumeration = "State", tag = "3")]
    pub state: i32,
    /// The exit code, once it has exited.
    #[prost(int32, tag = "7")]
    pub exit_code: i32,
    /// A word on why it ended.
    #[prost(string, tag = "10")]
    pub reason: String,
}

/// The state of a container.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, prost::Enumeration)]
#[repr(i32)]
pub enum State {
    /// Not started yet.
    Created = 0,
    /// Running.
    Running = 1,
    /// Ended.
    Exited = 2,
    /// containerd cannot tell.
    Unknown = 3,
}

#[derive(Clone, PartialEq, Message)]
struct PodList {
    #[prost(message, repeated, tag = "1")]
    items: Vec<Id>,
}

#[derive(Clone, PartialEq, Message)]
struct Empty {}

/// A pod that runs.
#[derive(Debug, Clone)]
pub struct Pod {
    /// The sandbox's id, and its container's.
    pub id: String,
    config: PodConfig,
}

/// A client of one containerd.
#[derive(Debug)]
pub struct Cri {
    runtime: tokio::runtime::Runtime,
    grpc: Grpc<Channel>,
    cgroup: String,
}

impl Cri {
    /// Connects to containerd's `socket`; the pods' cgroups are put beneath `/cgroup`.
    ///
    /// # Errors
    /// When nothing listens there.
    pub fn connect(socket: &Path, cgroup: &str) -> Result<Self> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let endpoint = Endpoint::from_shared(format!("unix://{}", socket.display()))?;
        let channel = runtime.block_on(endpoint.timeout(LIMIT).connect())?;
        let cgroup = format!("/{cgroup}");
        let mut cri = Self { runtime, grpc: Grpc::new(channel), cgroup };
        // The socket answers a while before CRI has read its state back.
        let mut last = None;
        wait_for("CRI answering", LIMIT, || match cri.pods() {
            Ok(_) => Ok(Some(())),
            Err(error) => {
                last = Some(error);
                Ok(None)
            }
        })
        .with_context(|| format!("{last:?}"))?;
        Ok(cri)
    }

    fn pods(&mut self) -> Result<Vec<String>> {
        let list: PodList = self.call("ListPodSandbox", Empty {})?;
        Ok(list.items.into_iter().map(|pod| pod.id).collect())
    }

    /// Removes every pod.
    ///
    /// # Errors
    /// As containerd says.
    pub fn clear(&mut self) -> Result<()> {
        self.pods()?.iter().try_for_each(|id| self.remove_sandbox(id))
    }

    fn call<A, B>(&mut self, method: &str, request: A) -> Result<B>
    where
        A: Message + 'static,
        B: Message + Default + 'static,
    {
        let path = PathAndQuery::try_from(format!("/runtime.v1.RuntimeService/{method}"))?;
        let grpc = &mut self.grpc;
        self.runtime
            .block_on(async {
                grpc.ready().await?;
                let request = tonic::Request::new(request);
                let codec = ProstCodec::<A, B>::default();
                Ok::<_, anyhow::Error>(grpc.unary(request, path, codec).await?.into_inner())
            })
            .context(method.to_owned())
    }

    /// RunPodSandbox, with the handler of `runtime`.
    ///
    /// # Errors
    /// As containerd says.
    pub fn run_pod(&mut self, runtime: Runtime, name: &str) -> Result<Pod> {
        self.run_pod_with(runtime, name, &[])
    }

    /// As [`Self::run_pod`], with annotations.
    ///
    /// # Errors
    /// As containerd says.
    pub fn run_pod_with(
        &mut self,
        runtime: Runtime,
        name: &str,
        annotations: &[(&str, &str)],
    ) -> Result<Pod> {
        self.run_pod_labelled(runtime, name, &[], annotations)
    }

    /// As [`Self::run_pod_with`], with labels.
    ///
    /// # Errors
    /// As containerd says.
    pub fn run_pod_labelled(
        &mut self,
        runtime: Runtime,
        name: &str,
        labels: &[(&str, &str)],
        annotations: &[(&str, &str)],
    ) -> Result<Pod> {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let uid = format!("uid-{}", COUNT.fetch_add(1, Ordering::Relaxed));
        let map = |pairs: &[(&str, &str)]| {
            pairs.iter().map(|(k, v)| ((*k).into(), (*v).into())).collect()
        };
        let (labels, annotations) = (map(labels), map(annotations));
        let config = PodConfig {
            metadata: Some(Metadata { name: name.into(), uid, namespace: "tests".into() }),
            hostname: name.into(),
            labels,
            annotations,
            linux: Some(LinuxPod { cgroup_parent: self.cgroup.clone() }),
        };
        let request =
            RunPod { config: Some(config.clone()), runtime_handler: runtime.handler().into() };
        let Id { id } = self.call("RunPodSandbox", request)?;
        Ok(Pod { id, config })
    }

    /// CreateContainer: its id.
    ///
    /// # Errors
    /// As containerd says.
    pub fn create(
        &mut self,
        pod: &Pod,
        name: &str,
        image: &Image,
        command: &[&str],
    ) -> Result<String> {
        let config = ContainerConfig {
            metadata: Some(ContainerName { name: name.into() }),
            image: Some(Id { id: image.name().into() }),
            command: command.iter().map(ToString::to_string).collect(),
        };
        let request = Create {
            pod: pod.id.clone(),
            config: Some(config),
            pod_config: Some(pod.config.clone()),
        };
        Ok(self.call::<_, Id>("CreateContainer", request)?.id)
    }

    /// StartContainer.
    ///
    /// # Errors
    /// As containerd says.
    pub fn start(&mut self, id: &str) -> Result<()> {
        self.call::<_, Empty>("StartContainer", Id { id: id.into() }).map(drop)
    }

    /// ExecSync.
    ///
    /// # Errors
    /// As containerd says; the command's own failure is in the answer.
    pub fn exec(&mut self, id: &str, command: &[&str]) -> Result<ExecResult> {
        let command = command.iter().map(ToString::to_string).collect();
        self.call("ExecSync", Exec { id: id.into(), command, timeout: 30 })
    }

    /// ContainerStatus.
    ///
    /// # Errors
    /// As containerd says.
    pub fn status(&mut self, id: &str) -> Result<ContainerStatus> {
        let answer: StatusResponse = self.call("ContainerStatus", Id { id: id.into() })?;
        answer.status.context("no status in the answer")
    }

    /// StopContainer, at once.
    ///
    /// # Errors
    /// As containerd says.
    pub fn stop(&mut self, id: &str) -> Result<()> {
        self.call::<_, Empty>("StopContainer", StopRequest { id: id.into(), timeout: 0 }).map(drop)
    }

    /// RemoveContainer.
    ///
    /// # Errors
    /// As containerd says.
    pub fn remove(&mut self, id: &str) -> Result<()> {
        self.call::<_, Empty>("RemoveContainer", Id { id: id.into() }).map(drop)
    }

    /// StopPodSandbox and RemovePodSandbox: its containers go with it.
    ///
    /// # Errors
    /// As containerd says.
    pub fn remove_pod(&mut self, pod: &Pod) -> Result<()> {
        self.remove_sandbox(&pod.id)
    }

    fn remove_sandbox(&mut self, id: &str) -> Result<()> {
        self.call::<_, Empty>("StopPodSandbox", Id { id: id.into() })?;
        self.call::<_, Empty>("RemovePodSandbox", Id { id: id.into() }).map(drop)
    }
}
