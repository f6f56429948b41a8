//! What a reporter has on a disk: the record file, the spool, those of dead shims.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use lacre_proto::MAX_BATCH;

use crate::config::Config;
use crate::counters::{Counting, count};
use crate::events::Events;
use crate::fair_shares::Owner;
use crate::folding::Number;
use crate::gap::GapReason;
use crate::log_note::Note;
use crate::queued_line::Line;
use crate::record_file::{RETRY, RecordFile};
use crate::spool::orphans::Orphan;
use crate::spool::reader::{Batch, SpoolReader};
use crate::spool::{Spool, SpoolError, io};
use crate::unwritten_lines::Unwritten;

/// How long records wait for a spool that cannot be made before they go into the record file
/// without a number. What the spool does not get is told in it when it can be made.
const PATIENCE: Duration = Duration::from_secs(10);

/// The bytes of one batch: small, for it is held in memory twice.
const BATCH_BYTES: usize = 256 * 1024;

/// What is on the disk. All of it waits for the disk, so that its thread alone has it.
pub(crate) struct Files {
    config: Config,
    /// The stream that numbers its lines.
    stream: Arc<str>,
    /// Whether there is anything to write, or only what others left.
    own: bool,
    file: Option<RecordFile>,
    spool: Option<Spool>,
    reader: Option<SpoolReader>,
    /// Until when the records wait for it, and when it is tried again.
    spool_wait: (Instant, Instant),
    /// What the spool does not have, for as long as there is none.
    unspooled: BTreeMap<Owner, u64>,
    failing: bool,
    /// The last number, where there is no server.
    number: u64,
    /// What other processes left unwritten is still to be looked for.
    looks_for_unwritten: bool,
    pub(crate) orphans: Vec<Orphan>,
}

/// Records on their way to the server.
pub(crate) struct Outgoing {
    pub(crate) stream: Arc<str>,
    /// The last number that there is.
    pub(crate) last: u64,
    pub(crate) batch: Batch,
    /// Nothing but the question how far the server is.
    pub(crate) asking: bool,
}

impl Files {
    /// Nothing is opened yet. With `own`, there is a spool of its own when there is a server.
    pub(crate) fn new(config: &Config, stream: &Arc<str>, own: bool) -> Self {
        let file = config.records.as_ref().filter(|_| own);
        let file = file.map(|path| RecordFile::new(path, config.rotation, &config.node));
        let now = Instant::now();
        Self {
            config: config.clone(),
            stream: Arc::clone(stream),
            own,
            file,
            spool: None,
            reader: None,
            spool_wait: (now + PATIENCE, now),
            unspooled: BTreeMap::new(),
            failing: false,
            number: 0,
            looks_for_unwritten: true,
            orphans: Vec::new(),
        }
    }

    fn awaits_spool(&self) -> bool {
        self.own && self.config.server.is_some() && self.spool.is_none()
    }

    /// Whether lines are to stay where they are for now.
    pub(crate) fn takes_none(&self, now: Instant) -> bool {
        // Where there is no spool, the file is all that there is: nothing is taken that it
        // could not hold.
        let full = self.spool.is_none() && self.file.as_ref().is_some_and(RecordFile::is_full);
        full || self.awaits_spool() && now < self.spool_wait.0
    }

    /// When what the disk refused is to be tried again.
    pub(crate) fn retry(&self) -> Option<Instant> {
        let file = self.file.as_ref().and_then(RecordFile::retry);
        let spool = self.awaits_spool().then_some(self.spool_wait.1);
        [file, spool].into_iter().flatten().min()
    }

    /// Numbers a line, and hands it to the record file. `false`: it has not got the number by
    /// which the server would know it.
    pub(crate) fn put(
        &mut self,
        line: &mut Line,
        counting: &Counting,
        events: &dyn Events,
    ) -> bool {
        let Line { owner, entry, number, of, uses } = line;
        if let Some(of) = of.as_ref().and_then(Number::get) {
            entry.answers(of);
        }
        let mut given = None;
        if let Some(spool) = &mut self.spool {
            match spool.append_for(entry, *uses) {
                Ok(number) => {
                    self.failing = false;
                    count(&counting.spooled, 1);
                    given = Some(number);
                }
                Err(error) => {
                    count(&counting.spool_lost, 1);
                    if !std::mem::replace(&mut self.failing, true) {
                        events.note(Note::NotSpooled(error));
                    }
                }
            }
        } else if self.config.server.is_some() {
            entry.number(Some(&self.stream), None);
            count(&counting.spool_lost, 1);
            *self.unspooled.entry(owner.clone()).or_default() += *uses;
        } else {
            self.number += 1;
            entry.number(Some(&self.stream), Some(self.number));
            given = Some(self.number);
        }
        if let (Some(number), Some(given)) = (number, given) {
            number.set(given);
        }
        if let Some(file) = &mut self.file
            && !file.push(owner.clone(), entry, *uses)
        {
            count(&counting.write_lost, 1);
        }
        given.is_some()
    }

    /// Writes to the record file what it was handed, unless it has just refused.
    pub(crate) fn write(&mut self, counting: &Counting, events: &dyn Events) {
        if let Some(file) = &mut self.file {
            file.write(counting, events);
        }
        self.write_others();
    }

    /// Once, as soon as the record file takes what is this process's own.
    fn write_others(&mut self) {
        let unwritten = self.unwritten();
        if let (Some(file), Some(unwritten)) = (&mut self.file, unwritten)
            && file.is_clean()
            && std::mem::take(&mut self.looks_for_unwritten)
        {
            unwritten.take(|lines| file.append(lines));
        }
    }

    fn unwritten(&self) -> Option<Unwritten> {
        let records = self.config.records.as_ref()?;
        Some(Unwritten::below(&self.config.state, records))
    }

    /// Makes the spool where it is to be and is not. Says whether it is there from now on.
    pub(crate) fn make_spool(&mut self, now: Instant, events: &dyn Events) -> bool {
        if !self.awaits_spool() || now < self.spool_wait.1 {
            return false;
        }
        let (config, stream) = (&self.config, Arc::clone(&self.stream));
        let made = Spool::named(&config.spools(), stream, config.spool_limit, &config.node);
        match made.and_then(|spool| Ok((SpoolReader::open(spool.dir())?, spool))) {
            Ok((reader, mut spool)) => {
                for (owner, uses) in std::mem::take(&mut self.unspooled) {
                    spool.lose(owner, uses, GapReason::SpoolFailed);
                }
                (self.reader, self.spool, self.failing) = (Some(reader), Some(spool), false);
                true
            }
            Err(error) => {
                self.spool_wait.1 = now + RETRY;
                if !std::mem::replace(&mut self.failing, true) {
                    events.note(Note::NoSpool(error));
                }
                false
            }
        }
    }

    /// Nothing waits for the disk to take it.
    pub(crate) fn is_clean(&self) -> bool {
        self.file.as_ref().is_none_or(RecordFile::is_clean)
    }

    /// The next records of the own spool, synced: a power cut must not take back a number
    /// that the server has.
    pub(crate) fn own_batch(&mut self) -> Result<Option<Outgoing>, SpoolError> {
        let (Some(spool), Some(reader)) = (&mut self.spool, &mut self.reader) else {
            return Ok(None);
        };
        if spool.last() < reader.next() {
            return Ok(None);
        }
        for file in spool.take_unsynced() {
            file.sync_data().map_err(io("syncing", spool.dir()))?;
        }
        let (last, stream) = (spool.last(), Arc::clone(spool.stream()));
        let batch = reader.batch(last, MAX_BATCH, BATCH_BYTES)?;
        Ok(Some(Outgoing { stream, last, batch, asking: false }))
    }

    /// The server has everything of the own spool up to that number.
    pub(crate) fn acknowledged(&mut self, number: u64) {
        if let (Some(spool), Some(reader)) = (&mut self.spool, &mut self.reader) {
            reader.seek(number + 1);
            spool.acknowledge(number);
        }
    }

    /// The own stream, if everything of it was acknowledged and there is something in it.
    pub(crate) fn finished_stream(&self) -> Option<Arc<str>> {
        let done = self.spool.as_ref().filter(|spool| spool.is_done() && spool.last() > 0);
        done.map(|spool| Arc::clone(spool.stream()))
    }

    /// The next records of a dead spool. First a question: its writer may have died after the
    /// server had everything.
    pub(crate) fn orphan_batch(&mut self) -> Result<Option<Outgoing>, SpoolError> {
        let Some(orphan) = self.orphans.last_mut() else { return Ok(None) };
        let asking = !std::mem::replace(&mut orphan.asked, true);
        let most = if asking { 0 } else { MAX_BATCH };
        let batch = orphan.reader.batch(u64::MAX, most, BATCH_BYTES)?;
        Ok(Some(Outgoing { stream: orphan.stream.as_str().into(), last: u64::MAX, batch, asking }))
    }

    fn keep_unwritten(&mut self, counting: &Counting, events: &dyn Events) {
        let unwritten = self.unwritten();
        let (Some(file), Some(unwritten)) = (&mut self.file, unwritten) else { return };
        if file.is_clean() || !self.config.keeps_unwritten {
            return;
        }
        let (lines, number) = file.unwritten();
        let kept = unwritten.keep(&self.stream, &lines);
        if kept.is_err() {
            count(&counting.write_lost, number);
        }
        events.note(Note::Unwritten(number, kept.err()));
    }

    /// Writes what waits, and removes a spool that was delivered.
    pub(crate) fn end(mut self, counting: &Counting, events: &dyn Events) {
        if let Some(spool) = &mut self.spool {
            spool.close_gaps(true);
        }
        if let Some(file) = &mut self.file {
            file.finish(counting, events);
        }
        self.keep_unwritten(counting, events);
        if let Some(spool) = self.spool.take().filter(Spool::is_done) {
            // Should it stay, it is adopted, found delivered, and removed then.
            let _ = spool.remove();
        }
    }
}
