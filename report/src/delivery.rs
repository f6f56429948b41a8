//! One batch of records to the server, and its answers on their way back.

use lacre_proto::policy::{Report, ReportRequest};
use lacre_proto::service::PolicyServiceClient;
use lacre_proto::{CallError, within};

use crate::counters::count;
use crate::files::Outgoing;
use crate::log_note::Note;
use crate::notification::{Answer, Held};
use crate::reporter_state::Shared;
use crate::session_error::SessionError;

/// What a batch has come to.
pub(crate) struct Sent {
    /// The number up to which the server has everything.
    pub(crate) acknowledged: u64,
    /// How many records were in the batch and are there now.
    pub(crate) records: u64,
}

/// Sends one batch; `own`: its answers are for this process.
pub(crate) async fn deliver(
    shared: &Shared,
    service: &PolicyServiceClient,
    Outgoing { stream, last, batch, .. }: Outgoing,
    own: bool,
) -> Result<Sent, SessionError> {
    let sent = batch.records.len() as u64;
    let reports = batch.records.into_iter().map(|record| Report { record, ..Report::default() });
    let request = ReportRequest {
        stream: stream.to_string(),
        first: batch.first,
        oldest: batch.oldest,
        reports: reports.collect(),
        node: shared.config.node.clone(),
        adopted: !own,
        ..ReportRequest::default()
    };
    let answer =
        service.report(within(), &request).await.map_err(CallError::call("take a report"))?;
    let acknowledged = answer.acknowledged;
    let sent_last = batch.first + sent - 1;
    let protocol = SessionError::Protocol { acknowledged, sent: sent_last };
    // It may know more than this batch: one that was sent before its answer was lost.
    if acknowledged > last.min(u64::MAX - 1) {
        return Err(protocol);
    }
    // It may know less: its log was lost. Then from there, which must be elsewhere than here.
    if acknowledged < sent_last && acknowledged + 1 == batch.first && sent > 0 {
        return Err(protocol);
    }
    let records = acknowledged.saturating_sub(batch.first - 1).min(sent);
    count(&shared.counting.delivered, records);
    if own {
        answer.answers.into_iter().for_each(|said| hand_over(shared, said));
    }
    Ok(Sent { acknowledged, records })
}

/// The server's word on a container, for the shim.
pub(crate) fn hand_over(shared: &Shared, said: lacre_proto::policy::Answer) {
    if said.tampered_since > 0 {
        shared.events.tampered(&said.container_id, said.tampered_since);
    }
    if said.held > 0 && shared.is_news(None, &said.container_id, said.held) {
        let why = format!("an answer to a report, by {}", said.rule);
        let held = Held { order: said.held, action: said.action.clone(), why };
        shared.events.held(&said.container_id, &held);
    }
    match said.action.parse() {
        Ok(action) => {
            let answer = Answer { container_id: said.container_id, action };
            shared.events.answer(said.number, &answer, said.overrules, &said.rule);
        }
        Err(_) => {
            shared.events.note(Note::Unreadable { number: said.number, action: said.action });
        }
    }
}
