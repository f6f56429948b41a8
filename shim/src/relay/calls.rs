//! The calls that are read: what is done before one is handed on, and with its answer.

use std::sync::Arc;

use slog::{debug, info};

use super::connection::{Connection, RequestFrame};
use super::method::Method;
use crate::bootstrap::{legacy, options};
use crate::container::init::Candidate;
use crate::guard::{Created, Handling, Permit, Refusal};
use crate::messages::{
    Any, CreateTaskRequest, CreateTaskResponse, DeleteRequest, ExecProcessRequest, KillRequest,
    Message, OfProcess as _, PauseRequest, ProcessId, ResumeRequest, StartRequest, StartResponse,
    StateRequest, StateResponse, number, protobuf,
};
use crate::ttrpc::{Code, Raw, Request, response};
use crate::wire::{WireError, replace_bytes, replace_uint};

/// Why a call was not handed on, or its answer not.
enum Stop {
    /// The client is told this.
    Refused(Refusal),
    /// The connection has ended, and nobody can be told.
    Ended,
}

impl From<Refusal> for Stop {
    fn from(refusal: Refusal) -> Self {
        Self::Refused(refusal)
    }
}

impl From<WireError> for Stop {
    fn from(error: WireError) -> Self {
        Self::not_of_the_protocol(&error)
    }
}

impl From<protobuf::Error> for Stop {
    fn from(error: protobuf::Error) -> Self {
        Self::not_of_the_protocol(&error)
    }
}

impl Stop {
    fn not_of_the_protocol(error: &dyn std::error::Error) -> Self {
        let message = format!("the request is not what the protocol says: {error}");
        Self::Refused(Refusal::new(Code::InvalidArgument, &message))
    }
}

pub(super) async fn handle(connection: Arc<Connection>, method: Method, frame: RequestFrame) {
    let header = frame.header;
    let outcome = match method {
        Method::Create => create(&connection, frame).await,
        Method::Start => start(&connection, frame).await,
        Method::Exec => exec(&connection, frame).await,
        Method::Delete => delete(&connection, frame).await,
        Method::State => state(&connection, frame).await,
        Method::Checkpoint => checkpoint(&connection, frame).await,
        Method::Kill | Method::Pause | Method::Resume => steer(&connection, method, frame).await,
    };
    match outcome {
        // Gone clients are seen by whoever reads from them.
        Ok(Some(answer)) => drop(connection.answer(header, &answer).await),
        Ok(None) => drop(connection.reply(header, Ok(b"")).await),
        Err(Stop::Refused(refusal)) => {
            info!(connection.proxy.log, "refusing a call";
                "method" => method.name(), "why" => refusal.to_string());
            let _ = connection.reply(header, Err(&refusal.into_status())).await;
        }
        Err(Stop::Ended) => debug!(connection.proxy.log, "a connection ended within a call"),
    }
}

/// The inner shim's answer, or `None` where lacre has answered for it.
type Outcome = Result<Option<Raw>, Stop>;

async fn ask(connection: &Connection, method: Method, frame: &RequestFrame) -> Result<Raw, Stop> {
    connection.ask(method, frame).await.ok_or(Stop::Ended)
}

/// The message of a call.
fn read<M: Message>(frame: &RequestFrame) -> Result<M, Stop> {
    Ok(M::parse_from_bytes(Request::decode(&frame.payload)?.payload)?)
}

/// The message of a successful answer.
fn succeeded(answer: &Raw) -> Option<&[u8]> {
    response::decode(&answer.payload).ok()?.ok()
}

async fn create(connection: &Connection, mut frame: RequestFrame) -> Outcome {
    let proxy = &connection.proxy;
    let request = Request::decode(&frame.payload)?;
    let create = CreateTaskRequest::parse_from_bytes(request.payload)?;
    let given = Any::embedded(request.payload, number::CREATE_OPTIONS)?;
    let options = options::for_inner(given.as_ref(), &proxy.inner_config)
        .map_err(|error| Refusal::new(Code::InvalidArgument, &error.to_string()))?;
    let (runtime, doubts) = match &proxy.listed {
        Some(listed) => {
            let runtime = listed.runtime(options.as_ref())?;
            let doubts = listed.doubts(&create.id, runtime.clone(), &proxy.log).await?;
            (runtime, doubts)
        }
        None => (None, Vec::new()),
    };
    if options != given {
        let options = options.map(|any| any.encode());
        let message = replace_bytes(request.payload, number::CREATE_OPTIONS, options.as_deref())?;
        frame.payload = request.with_payload(&message)?;
    }
    let id = create.id.clone();
    let (prepared, charter) =
        proxy.containers.begin(&proxy.inner, &id, create.bundle.as_ref()).await?;
    let generation = charter.head.generation.clone();
    let (named, created) = Created::pair(charter, doubts, runtime);
    let guard = Arc::clone(&proxy.guard);
    let prepares = prepared.clone();
    tokio::spawn(async move {
        guard.create(create, created).await;
        drop(prepares);
    });
    let answer = ask(connection, Method::Create, &frame).await?;
    drop(prepared);
    match succeeded(&answer) {
        Some(message) => {
            let pid = CreateTaskResponse::parse_from_bytes(message)?.pid;
            // Held here and now, before anything is waited for. A guard that gave up
            // meanwhile does not wait for it.
            let _ = named.send(Candidate::hold(pid));
        }
        None => {
            drop(named);
            proxy.containers.end(&id, &generation);
        }
    }
    Ok(Some(answer))
}

async fn start(connection: &Connection, frame: RequestFrame) -> Outcome {
    let proxy = &connection.proxy;
    let process = read::<StartRequest>(&frame)?.process();
    proxy.containers.prepared(&process.id).await;
    let permit = proxy.guard.start(&process).await?;
    let answer = forward_start(connection, &frame, &process, permit).await?;
    if let Some(message) = succeeded(&answer) {
        let pid = StartResponse::parse_from_bytes(message)?.pid;
        proxy.guard.started(&process, pid).await;
        if process.is_init() {
            proxy.rest.after_this();
        }
    }
    Ok(Some(answer))
}

/// The only place that hands a `Start` on.
async fn forward_start(
    connection: &Connection,
    frame: &RequestFrame,
    process: &ProcessId,
    permit: Permit,
) -> Result<Raw, Stop> {
    if permit.process() != process {
        let message = format!("the guard gave leave to start {}, not {process}", permit.process());
        return Err(Refusal::new(Code::Internal, &message).into());
    }
    ask(connection, Method::Start, frame).await
}

async fn exec(connection: &Connection, frame: RequestFrame) -> Outcome {
    let request = read::<ExecProcessRequest>(&frame)?;
    connection.proxy.guard.exec(&request).await?;
    ask(connection, Method::Exec, &frame).await.map(Some)
}

async fn delete(connection: &Connection, frame: RequestFrame) -> Outcome {
    let proxy = &connection.proxy;
    let process = read::<DeleteRequest>(&frame)?.process();
    // Before the inner shim is asked: after that, the id may be another's.
    let generation = proxy.containers.generation(&process.id);
    let answer = ask(connection, Method::Delete, &frame).await?;
    if succeeded(&answer).is_some()
        && process.is_init()
        && let Some(generation) = generation
    {
        proxy.guard.end(&generation).await;
        proxy.containers.deleted(&process.id, &generation);
    }
    Ok(Some(answer))
}

async fn state(connection: &Connection, frame: RequestFrame) -> Outcome {
    let process = read::<StateRequest>(&frame)?.process();
    let mut answer = ask(connection, Method::State, &frame).await?;
    let Some(message) = succeeded(&answer) else { return Ok(Some(answer)) };
    // One that came after this was built is handed on.
    let Ok(status) = StateResponse::parse_from_bytes(message)?.status.enum_value() else {
        return Ok(Some(answer));
    };
    let told = connection.proxy.guard.status(&process, status);
    if told != status {
        let message = replace_uint(message, number::STATE_STATUS, told as u64)?;
        answer.payload = response::with_payload(&answer.payload, &message)?;
    }
    Ok(Some(answer))
}

/// Clients of 1.x send options that no shim of today reads.
async fn checkpoint(connection: &Connection, mut frame: RequestFrame) -> Outcome {
    let request = Request::decode(&frame.payload)?;
    if let Some(options) = Any::embedded(request.payload, number::CHECKPOINT_OPTIONS)? {
        let translated = legacy::translated(&options)?;
        if translated != options {
            let options = translated.encode();
            let message =
                replace_bytes(request.payload, number::CHECKPOINT_OPTIONS, Some(&options))?;
            frame.payload = request.with_payload(&message)?;
        }
    }
    ask(connection, Method::Checkpoint, &frame).await.map(Some)
}

async fn steer(connection: &Connection, method: Method, frame: RequestFrame) -> Outcome {
    let guard = &connection.proxy.guard;
    let handling = match method {
        Method::Pause => guard.pause(&read::<PauseRequest>(&frame)?.id).await,
        Method::Resume => guard.resume(&read::<ResumeRequest>(&frame)?.id).await,
        _ => guard.kill(&read::<KillRequest>(&frame)?).await,
    };
    match handling {
        Handling::Forward => ask(connection, method, &frame).await.map(Some),
        Handling::Done => Ok(None),
        Handling::Refuse(refusal) => Err(refusal.into()),
    }
}
