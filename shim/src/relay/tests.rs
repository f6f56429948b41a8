use std::path::PathBuf;
use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use tokio::net::unix::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::Notify;

use super::{Common, Connections, Containers, Proxy};
use crate::bootstrap::options;
use crate::config::{self, RuncValue};
use crate::container::bundle;
use crate::container::generation::Generation;
use crate::guard::{Created, Guard, Handling, NoGuard, Permit, Refusal};
use crate::inner::client::Inner;
use crate::messages::{Any, CreateRequest, ExecRequest, KillRequest, ProcessId, STATE_STATUS};
use crate::messages::{State, Status};
use crate::node::memory::Rest;
use crate::node::process::Process;
use crate::node::run_dir::{self, Place};
use crate::ttrpc::{self, Call, Client, Code, FRAME_MAX, FrameReader, Header, Kind, Request};
use crate::ttrpc::{response, write_frame};
use crate::wire::{put_bytes, put_text, put_uint};

const TASK: &str = "containerd.task.v2.Task";

/// A guard that does as it is told, and remembers what it was asked.
struct Told {
    permits: NoGuard,
    asked: Mutex<Vec<String>>,
    prepare: Notify,
    refuse: bool,
    generation: Mutex<Option<Generation>>,
}

impl Told {
    fn new(refuse: bool) -> Arc<Self> {
        Arc::new(Self {
            permits: NoGuard::for_tests(),
            asked: Mutex::default(),
            prepare: Notify::new(),
            refuse,
            generation: Mutex::default(),
        })
    }

    fn note(&self, what: String) {
        self.asked.lock().unwrap().push(what);
    }

    fn asked(&self) -> Vec<String> {
        self.asked.lock().unwrap().clone()
    }
}

#[async_trait]
impl Guard for Told {
    async fn create(&self, request: CreateRequest, mut created: Created) {
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

    async fn exec(&self, request: &ExecRequest) -> Result<(), Refusal> {
        self.note(format!("exec {} {}", request.process, String::from_utf8_lossy(&request.spec)));
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
        self.note(format!("kill {} {}", request.process, request.signal));
        Handling::Forward
    }

    fn status(&self, _: &ProcessId, _: Status) -> Status {
        Status::Paused
    }

    async fn inner_gone(&self) {}

    async fn shutdown(&self) {}
}

/// The proxy between a socket and an inner shim that the test plays.
struct Rig {
    dir: tempfile::TempDir,
    inner: UnixListener,
    containers: Arc<Containers>,
}

impl Rig {
    fn new(guard: Arc<dyn Guard>) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let inner_socket = dir.path().join("inner");
        for folder in ["s", "containers"] {
            std::fs::create_dir(dir.path().join(folder)).unwrap();
        }
        let inner = UnixListener::bind(&inner_socket).unwrap();
        let place = Place::at(dir.path().join("s/0a"));
        let state = run_dir::State {
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

    fn socket(&self) -> PathBuf {
        self.dir.path().join("s/0a")
    }

    fn bundle(&self) -> String {
        self.dir.path().display().to_string()
    }

    /// The message of a Create.
    fn create(&self, id: &str, options: Option<&Any>) -> Vec<u8> {
        create_in(&self.bundle(), id, options)
    }

    async fn client(&self) -> Arc<Client> {
        Arc::new(Client::connect(&self.socket(), Vec::new()).await.unwrap())
    }

    async fn accept(&self) -> Peer {
        Peer::new(self.inner.accept().await.unwrap().0)
    }

    /// The connection that frames pass over, and the one for the calls that are read.
    async fn accept_both(&self) -> (Peer, Peer) {
        (self.accept().await, self.accept().await)
    }

    fn noted(&self) -> Vec<String> {
        let state = Place::at(self.socket()).state().unwrap().unwrap();
        state.containers.into_iter().map(|container| container.id).collect()
    }
}

/// One end of a connection, frame by frame.
struct Peer {
    from: FrameReader<OwnedReadHalf>,
    to: OwnedWriteHalf,
    last: u32,
}

impl Peer {
    fn new(stream: UnixStream) -> Self {
        let (from, to) = stream.into_split();
        Self { from: FrameReader::new(from), to, last: 0 }
    }

    async fn take(&mut self) -> (Header, Vec<u8>) {
        let header = self.from.header().await.unwrap().expect("a frame");
        let mut payload = Vec::new();
        self.from.payload(header, &mut payload).await.unwrap();
        (header, payload)
    }

    async fn is_closed(&mut self) -> bool {
        matches!(self.from.header().await, Ok(None) | Err(_))
    }

    async fn send(&mut self, header: Header, payload: &[u8]) {
        write_frame(&mut self.to, header, payload).await.unwrap();
    }

    /// Answers the next call, which must be `method`, and gives its message.
    async fn answer(&mut self, method: &str, message: &[u8]) -> Vec<u8> {
        let (header, payload) = self.take().await;
        let request = Request::decode(&payload).unwrap();
        assert_eq!(String::from_utf8_lossy(request.method), method);
        assert!(header.stream > self.last, "Go's server refuses this");
        self.last = header.stream;
        self.send(Header { kind: Kind::Response, ..header }, &response::success(message)).await;
        request.payload.to_vec()
    }
}

async fn call(
    client: &Arc<Client>,
    method: &str,
    payload: &[u8],
) -> Result<Vec<u8>, ttrpc::Status> {
    let call = Call { service: TASK, method, payload };
    client.call(call, None).await.map_err(|error| error.status().expect("a status").clone())
}

/// Makes the call while the test goes on.
fn calling(
    client: &Arc<Client>,
    method: &'static str,
    payload: Vec<u8>,
) -> tokio::task::JoinHandle<Result<Vec<u8>, ttrpc::Status>> {
    let client = Arc::clone(client);
    tokio::spawn(async move { call(&client, method, &payload).await })
}

fn pid(pid: u64) -> Vec<u8> {
    let mut message = Vec::new();
    put_uint(&mut message, 1, pid);
    message
}

fn create_in(bundle: &str, id: &str, options: Option<&Any>) -> Vec<u8> {
    let mut message = Vec::new();
    put_text(&mut message, 1, id);
    put_text(&mut message, 2, bundle);
    if let Some(any) = options {
        put_bytes(&mut message, 10, &any.encode());
    }
    put_text(&mut message, 77, "from the future");
    message
}

#[tokio::test]
async fn frames_pass_as_they_came() {
    let rig = Rig::new(Told::new(false));
    let mut client = Peer::new(UnixStream::connect(rig.socket()).await.unwrap());
    let mut inner = rig.accept().await;
    let unknown = Call { service: "org.example.v9.Other", method: "Start", payload: b"x" };
    let metadata = [("key".to_owned(), "value".to_owned())];
    let mut payload = unknown.encode_for_tests(7, &metadata);
    put_text(&mut payload, 88, "unknown to everybody");
    let big = vec![7; FRAME_MAX as usize];
    for (kind, flags, payload) in [
        (Kind::Request, 0, &payload),
        (Kind::Request, 2, &payload),
        (Kind::Data, 4, &big),
        (Kind::Data, 0xff, &Vec::new()),
        (Kind::Other(9), 0, &payload),
    ] {
        let header = Header { length: payload.len() as u32, stream: 5, kind, flags };
        let both = async { tokio::join!(client.send(header, payload), inner.take()).1 };
        assert!(both.await == (header, payload.clone()), "to the inner shim: {header:?}");
        let both = async { tokio::join!(inner.send(header, payload), client.take()).1 };
        assert!(both.await == (header, payload.clone()), "to the client: {header:?}");
    }
}

#[tokio::test]
async fn options_are_translated_and_nothing_else() {
    let rig = Rig::new(Told::new(false));
    let client = rig.client().await;
    let ours = Any { type_url: options::GENERIC.to_owned(), value: Vec::new() };
    let created = calling(&client, "Create", rig.create("web", Some(&ours)));
    let (_passing, mut inner) = rig.accept_both().await;
    let got = inner.answer("Create", &pid(42)).await;
    let runc = Any { type_url: options::RUNC.to_owned(), value: vec![9 << 3, 1] };
    assert_eq!(got, rig.create("web", Some(&runc)));
    assert_eq!(created.await.unwrap(), Ok(pid(42)));
}

#[tokio::test]
async fn start_waits_for_the_guard_and_other_calls_do_not() {
    let guard = Told::new(false);
    let rig = Rig::new(Arc::clone(&guard) as Arc<dyn Guard>);
    let client = rig.client().await;
    let created = calling(&client, "Create", rig.create("web", None));
    let (_passing, mut inner) = rig.accept_both().await;
    inner.answer("Create", &pid(42)).await;
    created.await.unwrap().unwrap();
    assert_eq!(rig.noted(), ["web"]);

    let process = ProcessId::init("web").encode();
    let started = calling(&client, "Start", process.clone());
    let mut kill = process.clone();
    put_uint(&mut kill, 3, 9);
    let killed = calling(&client, "Kill", kill);
    inner.answer("Kill", b"").await;
    killed.await.unwrap().unwrap();
    assert!(!started.is_finished());
    let create = format!("create web {}", rig.bundle());
    assert_eq!(guard.asked(), [create.as_str(), "kill web 9"]);

    guard.prepare.notify_one();
    inner.answer("Start", &pid(42)).await;
    assert_eq!(started.await.unwrap(), Ok(pid(42)));
    let deleted = calling(&client, "Delete", process);
    inner.answer("Delete", b"").await;
    deleted.await.unwrap().unwrap();
    let expected = ["created Some(42)", "start web", "started web 42", "end true"];
    assert_eq!(guard.asked()[2..], expected);
    assert!(rig.noted().is_empty());
}

/// What Go's server demands (ttrpc 1.2): `StreamID cannot be re-used and must increment`.
#[tokio::test]
async fn numbers_of_streams_only_grow_also_when_a_call_is_held_back() {
    let guard = Told::new(false);
    let rig = Rig::new(Arc::clone(&guard) as Arc<dyn Guard>);
    let mut client = Peer::new(UnixStream::connect(rig.socket()).await.unwrap());
    let process = ProcessId::init("web").encode();
    let order = [("Create", 1), ("Start", 3), ("Wait", 5), ("State", 7), ("Stats", 9)];
    for (method, stream) in order {
        let payload = if method == "Create" { rig.create("web", None) } else { process.clone() };
        let call = Call { service: TASK, method, payload: &payload };
        let header = Header { length: 0, stream, kind: Kind::Request, flags: 0 };
        client.send(header, &call.encode_for_tests(0, &[])).await;
    }
    let (mut passing, mut inner) = rig.accept_both().await;
    assert_eq!(passing.take().await.0.stream, 5);
    assert_eq!(passing.take().await.0.stream, 9);
    inner.answer("Create", &pid(42)).await;
    inner.answer("State", b"").await;
    guard.prepare.notify_one();
    inner.answer("Start", &pid(42)).await;
    let mut answered = Vec::new();
    for _ in 0..3 {
        answered.push(client.take().await.0.stream);
    }
    assert_eq!(answered, [1, 7, 3]);
}

#[tokio::test]
async fn a_refused_start_never_reaches_the_inner_shim() {
    let guard = Told::new(true);
    guard.prepare.notify_one();
    let rig = Rig::new(guard);
    let client = rig.client().await;
    let refused = call(&client, "Start", &ProcessId::init("web").encode()).await.unwrap_err();
    assert_eq!(refused.code, Code::FailedPrecondition as u32);
    assert_eq!(refused.message, "lacre: no baseline; generate one");
    let mut exec = ProcessId { id: "web".into(), exec_id: "e".into() }.encode();
    let spec = Any { type_url: "t".into(), value: b"{}".to_vec() };
    put_bytes(&mut exec, 7, &spec.encode());
    let refused = call(&client, "Exec", &exec).await.unwrap_err();
    assert_eq!(refused.code, Code::PermissionDenied as u32);
    // The first thing that the inner shim hears of is what comes after.
    let stats = calling(&client, "Stats", Vec::new());
    rig.accept().await.answer("Stats", b"").await;
    stats.await.unwrap().unwrap();
}

#[tokio::test]
async fn the_guard_may_answer_and_colour_the_state() {
    let rig = Rig::new(Told::new(false));
    let client = rig.client().await;
    let process = ProcessId::init("web").encode();
    assert_eq!(call(&client, "Pause", &process).await, Ok(Vec::new()));
    let refused = call(&client, "Resume", &process).await.unwrap_err();
    assert_eq!(refused.code, Code::PermissionDenied as u32);
    let mut running = Vec::new();
    put_text(&mut running, 2, "/bundle");
    put_uint(&mut running, STATE_STATUS, 2);
    put_text(&mut running, 99, "kept");
    let told = calling(&client, "State", process);
    let (_passing, mut inner) = rig.accept_both().await;
    inner.answer("State", &running).await;
    let told = told.await.unwrap().unwrap();
    assert_eq!(State::decode(&told).unwrap().status, Status::Paused);
    assert!(told.ends_with(b"kept"));
}

#[tokio::test]
async fn what_cannot_be_read_is_not_forwarded() {
    let rig = Rig::new(Told::new(false));
    let mut client = Peer::new(UnixStream::connect(rig.socket()).await.unwrap());
    let header = Header { length: 0, stream: 1, kind: Kind::Request, flags: 0 };
    client.send(header, b"\xff\xff\xff").await;
    let (_, answer) = client.take().await;
    let status = response::decode(&answer).unwrap().unwrap_err();
    assert_eq!(status.code, Code::InvalidArgument as u32);

    // Longer than a frame may be: answered, skipped, and the connection goes on.
    let long = Header { length: FRAME_MAX + 1, stream: 3, ..header };
    let sending = async {
        use tokio::io::AsyncWriteExt as _;
        client.to.write_all(&long.encode()).await.unwrap();
        client.to.write_all(&vec![0; FRAME_MAX as usize + 1]).await.unwrap();
    };
    sending.await;
    let (header, answer) = client.take().await;
    assert_eq!(header.stream, 3);
    let status = response::decode(&answer).unwrap().unwrap_err();
    assert_eq!(status.code, Code::ResourceExhausted as u32);
    let stats = Call { service: TASK, method: "Stats", payload: b"" }.encode_for_tests(0, &[]);
    let header = Header { length: stats.len() as u32, stream: 5, kind: Kind::Request, flags: 0 };
    client.send(header, &stats).await;
    assert_eq!(rig.accept().await.take().await, (header, stats));
}

#[tokio::test]
async fn the_end_of_either_side_ends_the_other() {
    let rig = Rig::new(Told::new(false));
    let mut client = Peer::new(UnixStream::connect(rig.socket()).await.unwrap());
    drop(rig.accept().await);
    assert!(client.is_closed().await);
    let client = UnixStream::connect(rig.socket()).await.unwrap();
    let mut inner = rig.accept().await;
    drop(client);
    assert!(inner.is_closed().await);
}

#[tokio::test]
async fn preparing_outlives_the_connection() {
    let guard = Told::new(false);
    let rig = Rig::new(Arc::clone(&guard) as Arc<dyn Guard>);
    let client = rig.client().await;
    let created = calling(&client, "Create", rig.create("web", None));
    let (passing, mut inner) = rig.accept_both().await;
    inner.answer("Create", &pid(42)).await;
    created.await.unwrap().unwrap();
    drop((client, passing, inner));

    let client = rig.client().await;
    let _passing = rig.accept().await;
    let started = calling(&client, "Start", ProcessId::init("web").encode());
    guard.prepare.notify_one();
    rig.accept().await.answer("Start", &pid(42)).await;
    started.await.unwrap().unwrap();
    assert_eq!(guard.asked()[1..3], ["created Some(42)", "start web"]);
}

#[tokio::test]
async fn a_create_that_fails_leaves_no_container() {
    let guard = Told::new(false);
    guard.prepare.notify_one();
    let rig = Rig::new(Arc::clone(&guard) as Arc<dyn Guard>);
    let client = rig.client().await;
    let created = calling(&client, "Create", rig.create("web", None));
    let (_passing, mut inner) = rig.accept_both().await;
    let (header, _) = inner.take().await;
    let status = ttrpc::Status::new(Code::Internal, "runc says no");
    inner.send(Header { kind: Kind::Response, ..header }, &response::failure(&status)).await;
    assert_eq!(created.await.unwrap(), Err(status));
    assert!(rig.noted().is_empty());
    rig.containers.prepared("web").await;
    while guard.asked().len() < 2 {
        tokio::task::yield_now().await;
    }
    assert_eq!(guard.asked()[1], "created None");
}

/// While the inner shim creates a container it knows nothing of it yet: another of that id would
/// take its place here, and nobody would own it.
#[tokio::test]
async fn a_second_create_while_the_first_is_under_way_is_refused() {
    let rig = Rig::new(Told::new(false));
    let (client, other) = (rig.client().await, rig.client().await);
    let (_passing, _others) = rig.accept_both().await;
    let first = calling(&client, "Create", rig.create("web", None));
    let mut inner = rig.accept().await;
    let (header, _) = inner.take().await;
    let generation = rig.containers.generation("web");
    let second = calling(&other, "Create", rig.create("web", None));
    tokio::select! {
        refused = second => {
            assert_eq!(refused.unwrap().unwrap_err().code, Code::AlreadyExists as u32);
        }
        _ = rig.accept() => panic!("the inner shim is asked"),
    }
    assert_eq!(rig.containers.generation("web"), generation);
    assert_eq!(rig.noted(), ["web"]);
    inner.send(Header { kind: Kind::Response, ..header }, &response::success(&pid(42))).await;
    first.await.unwrap().unwrap();
}

/// What a `delete` later trusts: without the note, the inner shim never heard of it.
#[tokio::test]
async fn a_create_is_noted_down_before_the_inner_shim_hears_of_it() {
    let rig = Rig::new(Told::new(false));
    let client = rig.client().await;
    assert!(bundle::never_created(rig.dir.path()));
    let nowhere = create_in("/nonexistent", "web", None);
    let refused = call(&client, "Create", &nowhere).await.unwrap_err();
    assert_eq!(refused.code, Code::Internal as u32);
    assert!(refused.message.contains("/nonexistent/lacre.created"), "{}", refused.message);
    assert!(rig.noted().is_empty());

    // The first Create that comes is the second.
    let created = calling(&client, "Create", rig.create("web", None));
    let (_passing, mut inner) = rig.accept_both().await;
    let (header, payload) = inner.take().await;
    let request = Request::decode(&payload).unwrap();
    assert_eq!(CreateRequest::decode(request.payload).unwrap().bundle, rig.bundle());
    assert!(!bundle::never_created(rig.dir.path()));
    let status = ttrpc::Status::new(Code::Internal, "half-way");
    inner.send(Header { kind: Kind::Response, ..header }, &response::failure(&status)).await;
    created.await.unwrap().unwrap_err();
    assert!(!bundle::never_created(rig.dir.path()), "there may be half of it");
}

#[tokio::test]
async fn too_many_calls_at_once_are_refused_and_a_kill_is_not() {
    let guard = Told::new(false);
    let rig = Rig::new(Arc::clone(&guard) as Arc<dyn Guard>);
    let client = rig.client().await;
    let created = calling(&client, "Create", rig.create("web", None));
    let (_passing, mut inner) = rig.accept_both().await;
    inner.answer("Create", &pid(1)).await;
    created.await.unwrap().unwrap();
    // The guard prepares for ever: each Start waits.
    let mut starts: Vec<_> =
        (0..65).map(|_| calling(&client, "Start", ProcessId::init("web").encode())).collect();
    let refused = starts.pop().unwrap().await.unwrap().unwrap_err();
    assert_eq!(refused.code, Code::ResourceExhausted as u32);
    let killed = calling(&client, "Kill", ProcessId::init("web").encode());
    inner.answer("Kill", b"").await;
    killed.await.unwrap().unwrap();
}
