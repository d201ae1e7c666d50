//! What the server counts and measures, under Apache's names.
//!
//! Each thread keeps [`Figures`] of its own and nobody waits for anybody: for an answer they are merged. Latencies are taken
//! in microseconds and told in milliseconds, as Apache tells them; those of operations and stages are
//! [`crate::latency`]'s.

pub use crate::latency::Tally;
use crate::latency::{Histogram, Milestone, names};

names! {
    /// What only ever grows (until `srst`).
    Counter {
        /// Bytes of requests read.
        BytesReceived = "bytes_received_count",
        /// Bytes of answers and events written.
        ResponseBytes = "response_bytes",
        /// Bytes of events written.
        WatchBytes = "watch_bytes",
        /// Connections that asked for a session.
        ConnectionRequests = "connection_request_count",
        /// Connections refused because of a limit.
        ConnectionsRejected = "connection_rejected",
        /// Connections that the server closed.
        ConnectionsDropped = "connection_drop_count",
        /// Sessions that came back on a new connection.
        ConnectionsRevalidated = "connection_revalidate_count",
        /// Connections closed because they asked for no session in time.
        SessionlessConnectionsExpired = "sessionless_connections_expired",
        /// Sessions that expired.
        StaleSessionsExpired = "stale_sessions_expired",
        /// Requests longer than `jute.maxbuffer`.
        LargeRequestsRejected = "large_requests_rejected",
        /// Transactions sent to the log.
        SyncProcessorQueued = "sync_processor_request_queued",
        /// Syncs of the log that took longer than `fsync.warningthresholdms`.
        SlowSyncs = "fsync_threshold_exceed_count",
        /// Digests that did not agree with a transaction's.
        DigestMismatches = "digest_mismatches_count",
        /// Connections closed because too many TLS handshakes went on.
        TlsHandshakesExceeded = "tls_handshake_exceeded",
        /// TLS handshakes that ended badly.
        UnsuccessfulHandshakes = "unsuccessful_handshake",
        /// Failures that end the server.
        UnrecoverableErrors = "unrecoverable_error_count",
        /// Snapshots that could not be written.
        SnapshotErrors = "snapshot_error_count",
    }
}

names! {
    /// What has a size each time, told as average, least, most, count and sum.
    Measure {
        /// One sync of the log, microseconds.
        SyncTime = "fsynctime",
        /// One snapshot, microseconds.
        SnapshotTime = "snapshottime",
        /// Recovery at start, microseconds.
        DbInitTime = "dbinittime",
        /// Loading the snapshot at start, microseconds.
        StartupSnapshotLoadTime = "startup_snap_load_time",
        /// Replaying the log at start, microseconds.
        StartupTxnsLoadTime = "startup_txns_load_time",
        /// Transactions replayed at start.
        StartupTxnsLoaded = "startup_txns_loaded",
        /// Transactions in one sync.
        SyncBatchSize = "sync_processor_batch_size",
        /// Transactions that waited for the log when one was added.
        SyncQueueSize = "sync_processor_queue_size",
        /// Watches fired by one NodeCreated.
        NodeCreatedWatches = "node_created_watch_count",
        /// Watches fired by one NodeDeleted.
        NodeDeletedWatches = "node_deleted_watch_count",
        /// Watches fired by one NodeDataChanged.
        NodeChangedWatches = "node_changed_watch_count",
        /// Watches fired by one NodeChildrenChanged.
        NodeChildrenWatches = "node_children_watch_count",
        /// From the begin of an election to the moment when this server knew who is to lead, microseconds.
        ElectionTime = "election_time",
        /// From the begin of an election to the moment when this server served again, microseconds.
        UnavailableTime = "unavailable_time",
    }
}

impl Measure {
    /// Whether it is taken in microseconds (and told in milliseconds).
    pub const fn is_time(self) -> bool {
        matches!(
            self,
            Self::SyncTime
                | Self::SnapshotTime
                | Self::DbInitTime
                | Self::StartupSnapshotLoadTime
                | Self::StartupTxnsLoadTime
                | Self::ElectionTime
                | Self::UnavailableTime
        )
    }
}

names! {
    /// Latencies, microseconds, told with percentiles besides.
    Latency {
        /// A read, from its arrival to its answer.
        Read = "readlatency",
        /// A write, from its arrival to its answer.
        Update = "updatelatency",
        /// See [`Milestone::Proposed`].
        Proposed = Milestone::Proposed.name(),
        /// See [`Milestone::Acknowledged`].
        Acknowledged = Milestone::Acknowledged.name(),
        /// See [`Milestone::Committed`].
        Committed = Milestone::Committed.name(),
        /// See [`Milestone::CommitHeard`].
        CommitHeard = Milestone::CommitHeard.name(),
        /// See [`Milestone::Applied`].
        Applied = Milestone::Applied.name(),
    }
}

impl Latency {
    /// The latency that tells of a milestone.
    pub const fn of(milestone: Milestone) -> Self {
        match milestone {
            Milestone::Proposed => Self::Proposed,
            Milestone::Acknowledged => Self::Acknowledged,
            Milestone::Committed => Self::Committed,
            Milestone::CommitHeard => Self::CommitHeard,
            Milestone::Applied => Self::Applied,
        }
    }
}

/// Figures of one thread, or of several merged.
///
/// A figure exists once somebody has declared or recorded it; one that nobody takes is not told, because a zero that nobody
/// counted would be a lie.
#[derive(Clone, Debug, Default)]
pub struct Figures {
    counters: [Option<u64>; Counter::ALL.len()],
    measures: [Option<Tally>; Measure::ALL.len()],
    latencies: [Option<Histogram>; Latency::ALL.len()],
}

impl Figures {
    /// Figures in which these stand, at nothing yet.
    pub fn of(counters: &[Counter], measures: &[Measure], latencies: &[Latency]) -> Self {
        let mut figures = Self::default();
        counters.iter().for_each(|&counter| figures.counters[counter as usize] = Some(0));
        measures.iter().for_each(|&measure| figures.measures[measure as usize] = Some(Tally::default()));
        latencies.iter().for_each(|&latency| figures.latencies[latency as usize] = Some(Histogram::default()));
        figures
    }

    /// Adds to a counter.
    pub fn add(&mut self, counter: Counter, count: u64) {
        *self.counters[counter as usize].get_or_insert_default() += count;
    }

    /// Records a measured value (microseconds where it is a time).
    pub fn record(&mut self, measure: Measure, value: u64) {
        self.measures[measure as usize].get_or_insert_default().record(value);
    }

    /// Adds what was recorded of a latency.
    pub fn add_latency(&mut self, latency: Latency, values: &Histogram) {
        self.latencies[latency as usize].get_or_insert_default().merge(values);
    }

    /// Adds another's figures.
    pub fn merge(&mut self, other: &Self) {
        for (mine, others) in self.counters.iter_mut().zip(&other.counters) {
            if let Some(others) = others {
                *mine.get_or_insert_default() += others;
            }
        }
        for (mine, others) in self.measures.iter_mut().zip(&other.measures) {
            if let Some(others) = others {
                mine.get_or_insert_default().merge(others);
            }
        }
        for (mine, others) in self.latencies.iter_mut().zip(&other.latencies) {
            if let Some(others) = others {
                mine.get_or_insert_default().merge(others);
            }
        }
    }

    /// Forgets all values (`srst`), not which figures there are.
    pub fn reset(&mut self) {
        self.counters.iter_mut().flatten().for_each(|count| *count = 0);
        self.measures.iter_mut().flatten().for_each(|tally| *tally = Tally::default());
        self.latencies.iter_mut().flatten().for_each(Histogram::reset);
    }

    /// A counter's value, if anybody counts it.
    pub fn counter(&self, counter: Counter) -> Option<u64> {
        self.counters[counter as usize]
    }

    /// A measure's values, if anybody takes it.
    pub fn measure(&self, measure: Measure) -> Option<&Tally> {
        self.measures[measure as usize].as_ref()
    }

    /// A latency's values, microseconds, if anybody takes it.
    pub fn latency(&self, latency: Latency) -> Option<&Histogram> {
        self.latencies[latency as usize].as_ref()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn threads_figures_merge() {
        let (mut one, mut other) = (Figures::default(), Figures::default());
        one.add(Counter::WatchBytes, 2);
        other.add(Counter::WatchBytes, 3);
        one.record(Measure::SyncTime, 100);
        other.record(Measure::SyncTime, 300);
        let mut reads = Histogram::default();
        for us in 1..=100 {
            reads.record_us(us * 1000, 1);
        }
        one.add_latency(Latency::Read, &reads);
        one.merge(&other);
        assert_eq!(one.counter(Counter::WatchBytes), Some(5));
        let told = |tally: &Tally| (tally.count, tally.sum, tally.min(), tally.max());
        assert_eq!(one.measure(Measure::SyncTime).map(told), Some((2, 400, 100, 300)));
        let p95 = one.latency(Latency::Read).map(|reads| reads.quantile(0.95));
        assert!(p95.is_some_and(|p95| (94_000..=97_000).contains(&p95)), "{p95:?}");
        one.reset();
        assert_eq!(one.counter(Counter::WatchBytes), Some(0), "it is still counted");
        assert_eq!(one.measure(Measure::SyncTime), Some(&Tally::default()));
        assert_eq!(one.latency(Latency::Read).map(|reads| reads.quantile(0.99)), Some(0));
    }

    #[test]
    fn what_nobody_takes_is_not_there() {
        let mut figures = Figures::of(&[Counter::WatchBytes], &[Measure::SyncTime], &[Latency::Read]);
        figures.merge(&Figures::default());
        assert_eq!((figures.counter(Counter::WatchBytes), figures.counter(Counter::ResponseBytes)), (Some(0), None));
        assert!(figures.measure(Measure::SyncTime).is_some() && figures.measure(Measure::DbInitTime).is_none());
        assert!(figures.latency(Latency::Read).is_some() && figures.latency(Latency::Update).is_none());
    }
}
