use std::cell::RefCell;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use lacre_proto::policy::{CloseStreamRequest, WatchRequest};
use lacre_proto::service::PolicyServiceClient;
use lacre_proto::{Backoff, ConnectError, MAX_BATCH, WATCH};
use tokio::sync::watch;
use tokio::time::{Instant, sleep, sleep_until};
use ttrpc::context::{Context, with_duration};

use crate::adopt::{Delivered, Orphan, adopt};
use crate::counters::count;
use crate::deliver::{Source, deliver};
use crate::note::Note;
use crate::reader::SpoolReader;
use crate::reporter::Shared;
use crate::spool::SpoolError;

mod register;

/// How long a call may take. The server answers when the records are on its disk.
const CALL: Duration = Duration::from_secs(30);

/// How long making a connection may take.
const CONNECT: Duration = Duration::from_secs(10);

/// How often dead spools are looked for.
const LOOK: Duration = Duration::from_secs(60);

/// The first and the longest wait before the next connection.
const BACKOFF: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(30));

/// Why a connection to the policy server ended, or never was.
#[derive(Debug, thiserror::Error)]
pub enum SessionError {
    /// There is none.
    #[error("reaching the policy server")]
    Connect(#[source] ConnectError),
    /// A call failed.
    #[error("asking the policy server to {doing}")]
    Call {
        /// What was asked for.
        doing: &'static str,
        /// What went wrong.
        #[source]
        source: ttrpc::Error,
    },
    /// It acknowledges what it was never sent, or refuses what it asks for.
    #[error("the policy server acknowledges {acknowledged}, and {sent} was sent")]
    Protocol {
        /// The number that it acknowledges.
        acknowledged: u64,
        /// The last number that it was sent.
        sent: u64,
    },
    /// The spool cannot be read.
    #[error("reading the spool")]
    Spool(#[from] SpoolError),
}

impl SessionError {
    pub(crate) const fn call(doing: &'static str) -> impl FnOnce(ttrpc::Error) -> Self {
        move |source| Self::Call { doing, source }
    }

    /// Whether the server answered, and said no: the connection stands.
    fn is_refusal(&self) -> bool {
        matches!(self, Self::Call { source: ttrpc::Error::RpcStatus(_), .. })
    }
}

pub(crate) fn within() -> Context {
    with_duration(CALL)
}

/// Starts the thread that talks to the server.
pub(crate) fn start(shared: Arc<Shared>) -> std::io::Result<JoinHandle<()>> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    std::thread::Builder::new().name("lacre-report".to_owned()).stack_size(512 * 1024).spawn(
        move || {
            let spool = shared.with_spool(|spool| spool.dir().to_owned());
            let reader = spool.and_then(|dir| SpoolReader::open(&dir).ok());
            let mut session = Session::new(&shared, reader);
            runtime.block_on(until_stopped(shared.stop.subscribe(), session.supervise()));
        },
    )
}

/// Delivers dead spools and returns.
pub(crate) fn orphans(shared: &Shared) -> std::io::Result<Delivered> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let mut session = Session::new(shared, None);
    runtime.block_on(until_stopped(shared.stop.subscribe(), session.supervise()));
    Ok(session.delivered)
}

/// Runs it to its end, or to the time by which everything is to stop.
async fn until_stopped(
    mut stop: watch::Receiver<Option<std::time::Instant>>,
    work: impl Future<Output = ()>,
) {
    let deadline = async {
        let at = stop.wait_for(Option::is_some).await.ok().and_then(|at| *at);
        sleep_until(at.map_or_else(Instant::now, Instant::from_std)).await;
    };
    tokio::select! {
        () = work => {}
        () = deadline => {}
    }
}

struct Session<'a> {
    shared: &'a Shared,
    own: Option<SpoolReader>,
    orphans: Vec<Orphan>,
    look: Instant,
    delivered: Delivered,
    /// The version that the server said it has.
    version: RefCell<String>,
    /// The registration and the server's version that each container's answer was acted upon
    /// for: a connection that comes again says the same again.
    answered: RefCell<BTreeMap<(String, String), (u64, String)>>,
}

impl<'a> Session<'a> {
    fn new(shared: &'a Shared, own: Option<SpoolReader>) -> Self {
        Self {
            shared,
            own,
            orphans: Vec::new(),
            look: Instant::now(),
            delivered: Delivered::default(),
            version: RefCell::default(),
            answered: RefCell::default(),
        }
    }

    fn stopping(&self) -> bool {
        self.shared.stop.borrow().is_some()
    }

    /// Connects, works, and connects again, until it is told to stop.
    async fn supervise(&mut self) {
        let Some(connector) = &self.shared.config.server else { return };
        let mut backoff = Backoff::new(BACKOFF.0, BACKOFF.1);
        let mut stop = self.shared.stop.subscribe();
        let mut told = false;
        loop {
            let error = match connector.connect(CONNECT).await {
                Ok(client) => {
                    count(&self.shared.counting.connected, 1);
                    self.shared.events.note(Note::Connected(connector.address().clone()));
                    told = false;
                    let began = Instant::now();
                    match self.session(&PolicyServiceClient::new(client)).await {
                        Ok(()) => return,
                        Err(error) => {
                            if began.elapsed() > BACKOFF.1 {
                                backoff.reset();
                            }
                            error
                        }
                    }
                }
                Err(error) => SessionError::Connect(error),
            };
            count(&self.shared.counting.disconnected, 1);
            if !std::mem::replace(&mut told, true) {
                self.shared.events.note(Note::Disconnected(error));
            }
            // Whoever adopts the spool has the time that a process on its way out has not.
            if self.stopping() {
                return;
            }
            tokio::select! {
                () = sleep(backoff.wait()) => {}
                _ = stop.wait_for(Option::is_some) => {}
            }
        }
    }

    /// Works on one connection. Returns when everything is delivered and it is to stop.
    async fn session(&mut self, service: &PolicyServiceClient) -> Result<(), SessionError> {
        self.version.replace(String::new());
        let shared = self.shared;
        let version = std::mem::take(&mut self.version);
        let done = tokio::select! {
            error = watch_policy(shared, service, &version) => Err(error),
            done = self.work(service, &version) => done,
        };
        self.version = version;
        done
    }

    async fn work(
        &mut self,
        service: &PolicyServiceClient,
        version: &RefCell<String>,
    ) -> Result<(), SessionError> {
        let mut told = BTreeMap::new();
        let mut stop = self.shared.stop.subscribe();
        loop {
            let server = version.borrow().clone();
            self.register(service, &server, &mut told).await?;
            if self.send_own(service).await? {
                continue;
            }
            if self.look <= Instant::now() && self.orphans.is_empty() {
                let config = &self.shared.config;
                self.orphans = adopt(&config.spools(), &config.node, &*self.shared.events);
                self.look = Instant::now() + LOOK;
            }
            if self.send_orphan(service).await? {
                continue;
            }
            if self.stopping() {
                return self.close_own(service).await;
            }
            tokio::select! {
                () = self.shared.wake.notified() => {}
                _ = stop.changed() => {}
                () = sleep_until(self.look) => {}
            }
        }
    }

    /// Sends a batch of the own spool, if there is something in it.
    async fn send_own(&mut self, service: &PolicyServiceClient) -> Result<bool, SessionError> {
        let Some(reader) = &mut self.own else { return Ok(false) };
        let state = self.shared.with_spool(|spool| {
            let unsent = spool.last() >= reader.next();
            unsent.then(|| (spool.last(), spool.stream().clone(), spool.take_unsynced()))
        });
        let Some(Some((last, stream, unsynced))) = state else { return Ok(false) };
        // A power cut must not take back a number that the server has.
        for file in unsynced {
            file.sync_data().map_err(|source| SpoolError::Io {
                doing: "syncing",
                path: self.shared.config.spools(),
                source,
            })?;
        }
        let source = Source { stream: &stream, last, most: MAX_BATCH, own: true };
        let sent = deliver(self.shared, service, reader, &source).await?;
        self.shared.with_spool(|spool| spool.acknowledge(sent.acknowledged));
        Ok(true)
    }

    /// Sends a batch of a dead spool, if there is one, and removes it when it was the last.
    async fn send_orphan(&mut self, service: &PolicyServiceClient) -> Result<bool, SessionError> {
        let Some(orphan) = self.orphans.last_mut() else { return Ok(false) };
        // First a question: its writer may have died after the server had everything.
        let asking = !std::mem::replace(&mut orphan.asked, true);
        let most = if asking { 0 } else { MAX_BATCH };
        let source = Source { stream: &orphan.stream, last: u64::MAX, most, own: false };
        let sent = match deliver(self.shared, service, &mut orphan.reader, &source).await {
            Ok(sent) => sent.records,
            Err(error) if error.is_refusal() => {
                let stream = self.orphans.pop().map(|orphan| orphan.stream).unwrap_or_default();
                self.shared.events.note(Note::Stuck(stream, error));
                return Ok(true);
            }
            Err(error) => return Err(error),
        };
        orphan.records += sent;
        if asking || sent > 0 {
            return Ok(true);
        }
        let request =
            CloseStreamRequest { stream: orphan.stream.clone(), ..CloseStreamRequest::default() };
        service
            .close_stream(within(), &request)
            .await
            .map_err(SessionError::call("close a stream"))?;
        if let Some(orphan) = self.orphans.pop() {
            let (stream, records) = (orphan.stream.clone(), orphan.records);
            self.delivered.streams += 1;
            self.delivered.records += records;
            match orphan.remove() {
                Ok(()) => self.shared.events.note(Note::Adopted { stream, records }),
                Err(error) => self.shared.events.note(Note::Stuck(stream, error.into())),
            }
        }
        Ok(true)
    }

    async fn close_own(&self, service: &PolicyServiceClient) -> Result<(), SessionError> {
        let stream = self.shared.with_spool(|spool| {
            (spool.is_done() && spool.last() > 0).then(|| spool.stream().to_string())
        });
        if let Some(Some(stream)) = stream {
            let request = CloseStreamRequest { stream, ..CloseStreamRequest::default() };
            service
                .close_stream(within(), &request)
                .await
                .map_err(SessionError::call("close a stream"))?;
        }
        Ok(())
    }
}

/// Keeps a question open that the server answers when the policy changes.
async fn watch_policy(
    shared: &Shared,
    service: &PolicyServiceClient,
    version: &RefCell<String>,
) -> SessionError {
    loop {
        let asked = Instant::now();
        let request = WatchRequest { version: version.borrow().clone(), ..WatchRequest::default() };
        let answer = service.watch(with_duration(WATCH + CONNECT), &request).await;
        match answer {
            Ok(answer) if answer.version != request.version => {
                version.replace(answer.version);
                shared.wake.notify_one();
            }
            // A server that does not hold the answer back is not asked without end.
            Ok(_) => sleep_until(asked + Duration::from_secs(1)).await,
            Err(source) => return SessionError::Call { doing: "tell of policy changes", source },
        }
    }
}
