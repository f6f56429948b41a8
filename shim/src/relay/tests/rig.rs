//! A relay between a client and an inner shim of the test's, with a guard that does as it is told.

use std::path::PathBuf;
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use tokio::net::unix::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::Notify;

use crate::config::{self, RuncValue};
use crate::container::generation::Generation;
use crate::container::telling::{Released, Telling};
use crate::guard::{Created, Guard, Handling, NoGuard, Operator, Permit, Refusal};
use crate::inner::client::Inner;
use crate::messages::{
    Any, CreateTaskRequest, ExecProcessRequest, KillRequest, Message as _, OfProcess as _,
    ProcessId, StartRequest, Status,
};
use crate::node::guard_state;
use crate::node::memory::Rest;
use crate::node::process::Process;
use crate::node::run_dir::Place;
use crate::relay::{Common, Connections, Containers, Proxy};
use crate::ttrpc::{self, Call, Client, FrameReader, Header, Kind, Request, response, write_frame};
use crate::wire::{put_bytes, put_text, put_uint};

pub(super) const TASK: &str = "containerd.task.v2.Task";

/// A guard that does as it is told, and remembers what it was asked.
pub(super) struct Told {
    pub(super) permits: NoGuard,
    pub(super) asked: Mutex<Vec<String>>,
    pub(super) prepare: Notify,
    pub(super) refuse: bool,
    pub(super) generation: Mutex<Option<Generation>>,
}

impl Told {
    pub(super) fn new(refuse: bool) -> Arc<Self> {
        Arc::new(Self {
            permits: NoGuard::for_tests(),
            asked: Mutex::default(),
            prepare: Notify::new(),
            refuse,
            generation: Mutex::default(),
        })
    }

    pub(super) fn note(&self, what: String) {
        self.asked.lock().unwrap().push(what);
    }

    pub(super) fn asked(&self) -> Vec<String> {
        self.asked.lock().unwrap().clone()
    }
}

#[async_trait]
impl Guard for Told {
    async fn create(&self, request: CreateTaskRequest, mut created: Created) {
        self.note(format!("create {} {}", request.id, request.bundle));
        *self.generation.lock().unwrap() = Some(created.charter.head.generation.clone());
        // The process that has the number 42 on this machine may be none.
        let pid = created.named().await.map(|_| 42);
        self.prepare.notified().await;
        self.note(format!("created {pid:?}"));
    }

    async fn start(&self, process: &ProcessId) -> Result<Permit, Refusal> {
        self.note(format!("start {process}"));
        if self.refuse {
            return Err(Refusal::not_ready("no baseline; generate one"));
        }
        self.permits.start(process).await
    }

    async fn started(&self, process: &ProcessId, pid: u32) {
        self.note(format!("started {process} {pid}"));
    }

    async fn exec(&self, request: &ExecProcessRequest) -> Result<(), Refusal> {
        let spec = String::from_utf8_lossy(&request.spec.value);
        self.note(format!("exec {} {spec}", request.process()));
        if self.refuse { Err(Refusal::denied("it is frozen")) } else { Ok(()) }
    }

    async fn end(&self, generation: &Generation) {
        let known = self.generation.lock().unwrap().as_ref() == Some(generation);
        self.note(format!("end {known}"));
    }

    async fn pause(&self, _: &str) -> Handling {
        Handling::Done
    }

    async fn resume(&self, _: &str) -> Handling {
        Handling::Refuse(Refusal::denied("it is to be looked at"))
    }

    async fn kill(&self, request: &KillRequest) -> Handling {
        self.note(format!("kill {} {}", request.process(), request.signal));
        Handling::Forward
    }

    fn status(&self, _: &ProcessId, _: Status) -> Status {
        Status::PAUSED
    }

    fn tell(&self, only: Option<&Generation>) -> Telling {
        self.permits.tell(only)
    }

    async fn release(&self, of: &Generation, by: Operator) -> Result<Released, Refusal> {
        self.permits.release(of, by).await
    }

    async fn inner_gone(&self) {}

    async fn shutdown(&self) {}
}

/// A request that is about a container's init.
pub(super) fn of_init(id: &str) -> Vec<u8> {
    StartRequest::from(&ProcessId::init(id)).write_to_bytes().unwrap()
}

/// The proxy between a socket and an inner shim that the test plays.
pub(super) struct Rig {
    pub(super) dir: tempfile::TempDir,
    pub(super) inner: UnixListener,
    pub(super) containers: Arc<Containers>,
}

impl Rig {
    pub(super) fn new(guard: Arc<dyn Guard>) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let inner_socket = dir.path().join("inner");
        for folder in ["s", "containers"] {
            std::fs::create_dir(dir.path().join(folder)).unwrap();
        }
        let inner = UnixListener::bind(&inner_socket).unwrap();
        let place = Place::at(dir.path().join("s/0a"));
        let state = guard_state::State {
            guard: Process::own().unwrap(),
            inner: None,
            inner_is_others: false,
            terms: None,
            inner_sockets: vec![inner_socket.clone()],
            containers: Vec::new(),
        };
        let listener = UnixListener::from_std({
            let listener = place.listen().unwrap().unwrap();
            listener.set_nonblocking(true).unwrap();
            listener
        })
        .unwrap();
        let common =
            Common { namespace: "n".into(), containerd: "/c".into(), config: Arc::default() };
        let containers = Arc::new(Containers::new(place, state, common).unwrap());
        let proxy = Proxy {
            guard,
            inner: Inner::new(inner_socket.clone(), 2, "n"),
            inner_socket,
            listed: None,
            inner_config: config::Inner {
                options: [("SystemdCgroup".to_owned(), RuncValue::Bool(true))].into(),
                ..Default::default()
            },
            containers: Arc::clone(&containers),
            rest: Rest::default(),
            log: slog::Logger::root(slog::Discard, slog::o!()),
        };
        tokio::spawn(async move {
            Arc::new(proxy).serve(&listener, &Connections::default()).await;
        });
        Self { dir, inner, containers }
    }

    pub(super) fn socket(&self) -> PathBuf {
        self.dir.path().join("s/0a")
    }

    pub(super) fn bundle(&self) -> String {
        self.dir.path().display().to_string()
    }

    /// The message of a Create.
    pub(super) fn create(&self, id: &str, options: Option<&Any>) -> Vec<u8> {
        create_in(&self.bundle(), id, options)
    }

    pub(super) async fn client(&self) -> Arc<Client> {
        Arc::new(Client::connect(&self.socket(), Vec::new()).await.unwrap())
    }

    pub(super) async fn accept(&self) -> Peer {
        Peer::new(self.inner.accept().await.unwrap().0)
    }

    /// The connection that frames pass over, and the one for the calls that are read.
    pub(super) async fn accept_both(&self) -> (Peer, Peer) {
        (self.accept().await, self.accept().await)
    }

    pub(super) fn noted(&self) -> Vec<String> {
        let state = Place::at(self.socket()).noted().state().cloned().unwrap();
        state.containers.into_iter().map(|container| container.id).collect()
    }
}

/// One end of a connection, frame by frame.
pub(super) struct Peer {
    pub(super) from: FrameReader<OwnedReadHalf>,
    pub(super) to: OwnedWriteHalf,
    pub(super) last: u32,
}

impl Peer {
    pub(super) fn new(stream: UnixStream) -> Self {
        let (from, to) = stream.into_split();
        Self { from: FrameReader::new(from), to, last: 0 }
    }

    pub(super) async fn take(&mut self) -> (Header, Vec<u8>) {
        let header = self.from.header().await.unwrap().expect("a frame");
        let mut payload = Vec::new();
        self.from.payload(header, &mut payload).await.unwrap();
        (header, payload)
    }

    pub(super) async fn is_closed(&mut self) -> bool {
        matches!(self.from.header().await, Ok(None) | Err(_))
    }

    pub(super) async fn send(&mut self, header: Header, payload: &[u8]) {
        write_frame(&mut self.to, header, payload).await.unwrap();
    }

    /// Answers the next call, which must be `method`, and gives its message.
    pub(super) async fn answer(&mut self, method: &str, message: &[u8]) -> Vec<u8> {
        let (header, payload) = self.take().await;
        let request = Request::decode(&payload).unwrap();
        assert_eq!(String::from_utf8_lossy(request.method), method);
        assert!(header.stream > self.last, "Go's server refuses this");
        self.last = header.stream;
        self.send(Header { kind: Kind::Response, ..header }, &response::success(message)).await;
        request.payload.to_vec()
    }
}

pub(super) async fn call(
    client: &Arc<Client>,
    method: &str,
    payload: &[u8],
) -> Result<Vec<u8>, ttrpc::Status> {
    let call = Call { service: TASK, method, payload };
    client.call(call, None).await.map_err(|error| error.status().expect("a status").clone())
}

/// Makes the call while the test goes on.
pub(super) fn calling(
    client: &Arc<Client>,
    method: &'static str,
    payload: Vec<u8>,
) -> tokio::task::JoinHandle<Result<Vec<u8>, ttrpc::Status>> {
    let client = Arc::clone(client);
    tokio::spawn(async move { call(&client, method, &payload).await })
}

pub(super) fn pid(pid: u64) -> Vec<u8> {
    let mut message = Vec::new();
    put_uint(&mut message, 1, pid);
    message
}

pub(super) fn create_in(bundle: &str, id: &str, options: Option<&Any>) -> Vec<u8> {
    let mut message = Vec::new();
    put_text(&mut message, 1, id);
    put_text(&mut message, 2, bundle);
    if let Some(any) = options {
        put_bytes(&mut message, 10, &any.encode());
    }
    put_text(&mut message, 77, "from the future");
    message
}
