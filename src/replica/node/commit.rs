//! From a record to what clients may see: the open batch, the log, the publication.

use super::*;
use crate::storage::log::Batch;

impl Replica {
    /// Takes the record that the pipeline has just written into the open batch.
    pub(super) fn booked(&mut self, zxid: Zxid) {
        let len = self.record.len() as u64;
        self.open.log.push(zxid, &self.record);
        if self.ensemble.is_some() {
            self.open.proposals.extend_from_slice(&self.record);
            self.open.proposal_ends.push((zxid, self.open.proposals.len()));
        }
        self.record.clear();
        self.open.last = Some(zxid);
        self.open.records += 1;
        self.open.segment_has_records = true;
        self.stats.txn_count += 1;
        let [last, min, max] = &mut self.stats.proposal_size;
        *last = len;
        *min = if *min == 0 { len } else { len.min(*min) };
        *max = len.max(*max);
    }

    pub(super) fn end_segment(&mut self) {
        let version = if self.open.segment_has_records { self.pipeline.cut() } else { self.newest_version() };
        self.open.end_segment(version);
        self.segment_number += 1;
    }

    /// The newest version that was cut.
    pub(super) fn newest_version(&self) -> Version {
        let in_open = self.open.closed.last();
        let in_flight = self.in_flight.back().and_then(|batch| batch.segments.last());
        in_open.or(in_flight).map_or(&self.published_version, |segment| &segment.version).clone()
    }

    /// Closes the open batch, hands its records to the log, and, on a leader, to the peers at the same time.
    pub(super) fn launch(&mut self, now: Now) {
        self.end_segment();
        let batch = std::mem::replace(&mut self.open, OpenBatch::new(self.options.shards));
        if let (Some(zxid), Some(membership)) = (batch.last, batch.reconfiguration) {
            self.propose_configuration(now, zxid, membership);
        }
        if let Some(records) = batch.log.finish() {
            self.append(records, batch.records);
        }
        let newest = batch.closed.last().expect("a segment was ended just now").version.zxid();
        // A learner's records reach its log by another way, and its state grows by what is committed of them: it writes
        // snapshots all the same, or its log would never become shorter. The sessions have to be of the version's moment.
        let is_served = self.is_deciding() || self.is_forwarding();
        let is_due = is_served && newest == self.pipeline.view().zxid() && self.is_snapshot_due();
        let snapshot_sessions = is_due.then(|| self.pipeline.sessions().iter().collect());
        let (last, unconfirmed_syncs) = (batch.last, batch.unconfirmed_syncs);
        self.in_flight.push_back(InFlight { last, segments: batch.closed, snapshot_sessions, unconfirmed_syncs });
        self.propose(now, batch.proposals, &batch.proposal_ends);
    }

    /// Hands records to the log; there is room for them.
    pub(super) fn append(&mut self, batch: Batch, records: u64) {
        let log_bytes = batch.cost();
        self.trigger.logged(records, log_bytes);
        self.stats.batch_count += 1;
        self.log_given += log_bytes;
        if let Some(ensemble) = &mut self.ensemble {
            ensemble.log_end = batch.last();
        }
        self.actions.push_back(Action::Append(batch));
    }

    /// Whether a snapshot has to be begun with the version that is cut now; it counts as begun then.
    fn is_snapshot_due(&mut self) -> bool {
        let is_due = self.trigger.is_due() && !self.snapshot_running;
        if is_due {
            self.snapshot_running = true;
            self.trigger.reset();
        }
        is_due
    }

    /// Everything through this is decided: durable on a server that stands alone, and on a quorum of an ensemble.
    pub(super) fn handle_committed(&mut self, through: Zxid) {
        for batch in &mut self.in_flight {
            match batch.last {
                None => {}
                Some(last) if last <= through => batch.last = None,
                Some(_) => break,
            }
        }
        self.publish_ready();
    }

    /// Publishes the batches, from the oldest on, that wait for nothing any longer.
    pub(super) fn publish_ready(&mut self) {
        let mut segments = Vec::new();
        while self.in_flight.front().is_some_and(|batch| batch.last.is_none() && batch.unconfirmed_syncs == 0) {
            let batch = self.in_flight.pop_front().expect("there is a front");
            let newest = &batch.segments.last().expect("every batch has a segment").version;
            assert!(newest.zxid() >= self.published, "a published version is never older than the one before");
            self.published = newest.zxid();
            self.published_version = newest.clone();
            if let Some(sessions) = batch.snapshot_sessions {
                self.snapshot_waiting = Some((newest.clone(), sessions));
            }
            if segments.is_empty() {
                segments = batch.segments;
            } else {
                segments.extend(batch.segments);
            }
        }
        if segments.is_empty() {
            return;
        }
        let published = Arc::new(Published { segments });
        for shard in 0..self.options.shards {
            self.actions.push_back(Action::ToShard(shard, ToShard::Published(published.clone())));
        }
        self.begin_snapshot();
    }

    /// Begins the snapshot that waits, if the log is durable through it: recovery would find the log's end before the snapshot
    /// otherwise. Only in an ensemble it may not be: there the others can decide before this server's own disk.
    pub(super) fn begin_snapshot(&mut self) {
        let durable = self.ensemble.as_ref().map(|ensemble| ensemble.log_durable);
        let is_covered = |(version, _): &mut (Version, Vec<(SessionId, i32)>)| {
            durable.is_none_or(|durable| version.zxid() <= durable)
        };
        if let Some((version, sessions)) = self.snapshot_waiting.take_if(is_covered) {
            self.actions.push_back(Action::Snapshot { version, sessions });
        }
    }
}
