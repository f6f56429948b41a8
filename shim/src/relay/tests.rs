//! The relay between a client and an inner shim that does as each test says.

mod rig;

use std::sync::Arc;

use tokio::net::UnixStream;

use self::rig::{Peer, Rig, TASK, Told, call, calling, create_in, of_init, pid};
use crate::bootstrap::options;
use crate::container::bundle;
use crate::guard::Guard;
use crate::messages::{
    Any, CreateTaskRequest, ExecProcessRequest, Message as _, ProcessId, StateResponse, Status,
    number,
};
use crate::ttrpc::{self, Call, Code, FRAME_MAX, Header, Kind, Request, response};
use crate::wire::{put_bytes, put_text, put_uint};

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

    let process = of_init("web");
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
    let process = of_init("web");
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
    let refused = call(&client, "Start", &of_init("web")).await.unwrap_err();
    assert_eq!(refused.code, Code::FailedPrecondition as u32);
    assert_eq!(refused.message, "lacre: no baseline; generate one");
    let process = ProcessId { id: "web".into(), exec_id: "e".into() };
    let mut exec = ExecProcessRequest::from(&process).write_to_bytes().unwrap();
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
    let process = of_init("web");
    assert_eq!(call(&client, "Pause", &process).await, Ok(Vec::new()));
    let refused = call(&client, "Resume", &process).await.unwrap_err();
    assert_eq!(refused.code, Code::PermissionDenied as u32);
    let mut running = Vec::new();
    put_text(&mut running, 2, "/bundle");
    put_uint(&mut running, number::STATE_STATUS, 2);
    put_text(&mut running, 99, "kept");
    let told = calling(&client, "State", process);
    let (_passing, mut inner) = rig.accept_both().await;
    inner.answer("State", &running).await;
    let told = told.await.unwrap().unwrap();
    assert_eq!(StateResponse::parse_from_bytes(&told).unwrap().status, Status::PAUSED.into());
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
    let started = calling(&client, "Start", of_init("web"));
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
    assert_eq!(CreateTaskRequest::parse_from_bytes(request.payload).unwrap().bundle, rig.bundle());
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
    let mut starts: Vec<_> = (0..65).map(|_| calling(&client, "Start", of_init("web"))).collect();
    let refused = starts.pop().unwrap().await.unwrap().unwrap_err();
    assert_eq!(refused.code, Code::ResourceExhausted as u32);
    let killed = calling(&client, "Kill", of_init("web"));
    inner.answer("Kill", b"").await;
    killed.await.unwrap().unwrap();
}
