//! The thread that talks to the server: connecting, delivering, registering, again and again.

use std::cell::RefCell;
use std::sync::Arc;
use std::time::Duration;

use lacre_proto::policy::{CloseStreamRequest, WatchRequest};
use lacre_proto::service::PolicyServiceClient;
use lacre_proto::{Backoff, CONNECT, CallError, WATCH, within};
use lacre_types::chain;
use tokio::sync::watch;
use tokio::time::{Instant, sleep, sleep_until};
use ttrpc::context::with_duration;

use crate::counters::count;
use crate::delivery::deliver;
use crate::files::Files;
use crate::log_note::Note;
use crate::registration::Registrations;
use crate::reporter_state::Shared;
use crate::session_error::SessionError;
use crate::spool::orphans::adopt;
use crate::thread_end::Ending;

/// How long until reports that the server would not take are offered again.
const REFUSED: Duration = Duration::from_secs(5);

/// How often dead spools are looked for.
const LOOK: Duration = Duration::from_secs(60);

/// The first and the longest wait before the next connection.
const BACKOFF: (Duration, Duration) = (Duration::from_millis(100), Duration::from_secs(30));

/// What [`deliver_orphans`](crate::deliver_orphans) did.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Delivered {
    /// Spools that were delivered and removed.
    pub streams: u64,
    /// The records that were in them and that the server had not.
    pub records: u64,
    /// Dead spools that are still there.
    pub left: u64,
}

/// Starts the thread that talks to the server.
pub(crate) fn start(shared: Arc<Shared>) -> std::io::Result<Ending> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    Ending::spawn("lacre-report", 512 * 1024, move || {
        let mut session = Session::new(&shared);
        runtime.block_on(until_stopped(shared.stop.subscribe(), session.supervise()));
    })
}

/// Delivers dead spools and returns.
pub(crate) fn orphans(shared: &Shared) -> std::io::Result<Delivered> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let mut session = Session::new(shared);
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
    look: Instant,
    delivered: Delivered,
    /// The version that the server said it has.
    version: RefCell<String>,
    /// Whether it was told that the server takes no reports of this node.
    refused: bool,
}

impl<'a> Session<'a> {
    fn new(shared: &'a Shared) -> Self {
        Self {
            shared,
            look: Instant::now(),
            delivered: Delivered::default(),
            version: RefCell::default(),
            refused: false,
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
                    self.shared.link.set(true, None);
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
                Err(error) => CallError::Connect(error).into(),
            };
            count(&self.shared.counting.disconnected, 1);
            self.shared.link.set(false, Some(chain(&error)));
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
        let mut registrations = Registrations::default();
        let mut stop = self.shared.stop.subscribe();
        loop {
            let server = version.borrow().clone();
            registrations.renew(self.shared, service, &server).await?;
            if self.send_own(service).await? {
                continue;
            }
            if self.look <= Instant::now() {
                self.look_for_orphans().await;
                self.look = Instant::now() + LOOK;
            }
            if self.send_orphan(service).await? {
                continue;
            }
            if self.stopping() {
                return self.close_own(service).await;
            }
            let again = self.refused.then(|| Instant::now() + REFUSED);
            tokio::select! {
                () = self.shared.wake.notified() => {}
                _ = stop.changed() => {}
                () = sleep_until(again.map_or(self.look, |again| again.min(self.look))) => {}
            }
        }
    }

    async fn look_for_orphans(&self) {
        let (config, events) = (self.shared.config.clone(), Arc::clone(&self.shared.events));
        let looking = self.shared.on_disk(move |files| {
            if files.orphans.is_empty() {
                files.orphans = adopt(&config.spools(), &config.node, &*events);
            }
        });
        // A disk's thread that has ended has no use for them.
        let _ = looking.await;
    }

    /// Sends a batch of the own spool, if there is something in it.
    async fn send_own(&mut self, service: &PolicyServiceClient) -> Result<bool, SessionError> {
        let batch = self.shared.on_disk(Files::own_batch).await.transpose()?.flatten();
        let Some(batch) = batch else { return Ok(false) };
        let stream = Arc::clone(&batch.stream);
        match deliver(self.shared, service, batch, true).await {
            Ok(sent) => {
                self.refused = false;
                self.shared.on_disk(move |files| files.acknowledged(sent.acknowledged)).await;
                Ok(true)
            }
            // It takes none of this node for now; they wait.
            Err(error) if error.is_refusal() => {
                if !std::mem::replace(&mut self.refused, true) {
                    self.shared.events.note(Note::Stuck(stream.to_string(), error));
                }
                Ok(false)
            }
            Err(error) => Err(error),
        }
    }

    /// Sends a batch of a dead spool, if there is one, and removes it when it was the last.
    async fn send_orphan(&mut self, service: &PolicyServiceClient) -> Result<bool, SessionError> {
        let batch = self.shared.on_disk(Files::orphan_batch).await.transpose()?.flatten();
        let Some(batch) = batch else { return Ok(false) };
        let (stream, asking) = (batch.stream.to_string(), batch.asking);
        let sent = match deliver(self.shared, service, batch, false).await {
            Ok(sent) => sent,
            Err(error) if error.is_refusal() => {
                self.shared.on_disk(|files| drop(files.orphans.pop())).await;
                self.shared.events.note(Note::Stuck(stream, error));
                return Ok(true);
            }
            Err(error) => return Err(error),
        };
        let last = !asking && sent.records == 0;
        self.shared
            .on_disk(move |files| {
                if let Some(orphan) = files.orphans.last_mut() {
                    orphan.reader.seek(sent.acknowledged + 1);
                    orphan.records += sent.records;
                }
            })
            .await;
        if !last {
            return Ok(true);
        }
        let request =
            CloseStreamRequest { stream: stream.clone(), ..CloseStreamRequest::default() };
        service
            .close_stream(within(), &request)
            .await
            .map_err(CallError::call("close a stream"))?;
        let removed = self.shared.on_disk(|files| {
            let orphan = files.orphans.pop()?;
            Some((orphan.records, orphan.remove()))
        });
        if let Some(Some((records, removed))) = removed.await {
            self.delivered.streams += 1;
            self.delivered.records += records;
            match removed {
                Ok(()) => self.shared.events.note(Note::Adopted { stream, records }),
                Err(error) => self.shared.events.note(Note::Stuck(stream, error.into())),
            }
        }
        Ok(true)
    }

    async fn close_own(&self, service: &PolicyServiceClient) -> Result<(), SessionError> {
        let stream = self.shared.on_disk(|files| files.finished_stream()).await.flatten();
        if let Some(stream) = stream {
            let request =
                CloseStreamRequest { stream: stream.to_string(), ..CloseStreamRequest::default() };
            service
                .close_stream(within(), &request)
                .await
                .map_err(CallError::call("close a stream"))?;
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
            Err(error) => return CallError::call("tell of policy changes")(error).into(),
        }
    }
}
