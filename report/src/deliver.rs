use lacre_proto::policy::{Report, ReportRequest};
use lacre_proto::service::PolicyServiceClient;
use lacre_proto::{CallError, within};

use crate::counters::count;
use crate::message::Answer;
use crate::note::Note;
use crate::reader::SpoolReader;
use crate::reporter::Shared;
use crate::session::SessionError;

/// The bytes of one batch: small, for it is held in memory twice.
const BATCH_BYTES: usize = 256 * 1024;

/// What is delivered.
pub(crate) struct Source<'a> {
    /// The stream.
    pub(crate) stream: &'a str,
    /// The last number that is there.
    pub(crate) last: u64,
    /// How many of them at most. None: a question, how far the server has it.
    pub(crate) most: usize,
    /// Whether answers are for this process.
    pub(crate) own: bool,
}

/// What a batch has come to.
pub(crate) struct Sent {
    /// The number up to which the server has everything.
    pub(crate) acknowledged: u64,
    /// How many records were in the batch and are there now.
    pub(crate) records: u64,
}

/// Sends one batch, and moves the reader to where the server is.
pub(crate) async fn deliver(
    shared: &Shared,
    service: &PolicyServiceClient,
    reader: &mut SpoolReader,
    source: &Source<'_>,
) -> Result<Sent, SessionError> {
    let batch = reader.batch(source.last, source.most, BATCH_BYTES)?;
    let sent = batch.records.len() as u64;
    let reports = batch.records.into_iter().map(|record| Report { record, ..Report::default() });
    let request = ReportRequest {
        stream: source.stream.to_owned(),
        first: batch.first,
        oldest: batch.oldest,
        reports: reports.collect(),
        node: shared.config.node.clone(),
        ..ReportRequest::default()
    };
    let answer =
        service.report(within(), &request).await.map_err(CallError::call("take a report"))?;
    let acknowledged = answer.acknowledged;
    let sent_last = batch.first + sent - 1;
    let protocol = SessionError::Protocol { acknowledged, sent: sent_last };
    // It may know more than this batch: one that was sent before its answer was lost.
    if acknowledged > source.last.min(u64::MAX - 1) {
        return Err(protocol);
    }
    // It may know less: its log was lost. Then from there, which must be elsewhere than here.
    if acknowledged < sent_last && acknowledged + 1 == batch.first && sent > 0 {
        return Err(protocol);
    }
    let records = acknowledged.saturating_sub(batch.first - 1).min(sent);
    count(&shared.counting.delivered, records);
    reader.seek(acknowledged + 1);
    if source.own {
        answer.answers.into_iter().for_each(|said| hand_over(shared, said));
    }
    Ok(Sent { acknowledged, records })
}

/// The server's word on a container, for the shim.
pub(crate) fn hand_over(shared: &Shared, said: lacre_proto::policy::Answer) {
    if said.tampered_since > 0 {
        shared.events.tampered(&said.container_id, said.tampered_since);
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
