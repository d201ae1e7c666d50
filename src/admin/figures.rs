//! What the server counts and measures, under Apache's names.
//!
//! Each thread keeps [`Figures`] of its own and nobody waits for anybody: for an answer they are merged. Latencies are taken
//! in microseconds and told in milliseconds, as Apache tells them.

use hdrhistogram::Histogram;

macro_rules! names {
    ($(#[$meta:meta])* $kind:ident { $($(#[$doc:meta])* $variant:ident = $name:literal,)* }) => {
        $(#[$meta])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum $kind { $($(#[$doc])* $variant,)* }

        impl $kind {
            /// All of them, in the order in which they are told.
            pub const ALL: &'static [Self] = &[$(Self::$variant,)*];

            /// Apache's name, without `zk_`.
            pub const fn name(self) -> &'static str {
                match self { $(Self::$variant => $name,)* }
            }
        }
    };
}

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
        /// Digests that did not agree with a transaction's.
        DigestMismatches = "digest_mismatches_count",
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
        /// A write, from its zxid to the moment when a shard shows it.
        Propagation = "propagation_latency",
    }
}

/// Count, sum, least and most of some values.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Tally {
    /// How many.
    pub count: u64,
    /// Together; stays at the end of its range rather than wrap.
    pub sum: u64,
    min: u64,
    max: u64,
}

impl Default for Tally {
    fn default() -> Self {
        Self { count: 0, sum: 0, min: u64::MAX, max: 0 }
    }
}

impl Tally {
    /// Adds a value.
    pub fn record(&mut self, value: u64) {
        self.count += 1;
        self.sum = self.sum.saturating_add(value);
        self.min = self.min.min(value);
        self.max = self.max.max(value);
    }

    /// Adds another's values.
    pub fn merge(&mut self, other: &Self) {
        self.count += other.count;
        self.sum = self.sum.saturating_add(other.sum);
        self.min = self.min.min(other.min);
        self.max = self.max.max(other.max);
    }

    /// The least, 0 of none.
    pub fn min(&self) -> u64 {
        if self.count == 0 { 0 } else { self.min }
    }

    /// The most, 0 of none.
    pub fn max(&self) -> u64 {
        self.max
    }
}

/// Longest latency that is told apart, an hour in microseconds; longer ones count as this.
const LATENCY_US_MAX: u64 = 3_600_000_000;

/// Figures of one thread, or of several merged.
#[derive(Clone, Debug)]
pub struct Figures {
    counters: [u64; Counter::ALL.len()],
    measures: [Tally; Measure::ALL.len()],
    latencies: [(Tally, Histogram<u64>); Latency::ALL.len()],
}

impl Default for Figures {
    fn default() -> Self {
        let histogram = || Histogram::new_with_bounds(1, LATENCY_US_MAX, 2).expect("bounds that are far enough apart");
        Self {
            counters: [0; Counter::ALL.len()],
            measures: [Tally::default(); Measure::ALL.len()],
            latencies: std::array::from_fn(|_| (Tally::default(), histogram())),
        }
    }
}

impl Figures {
    /// Adds to a counter.
    pub fn add(&mut self, counter: Counter, count: u64) {
        self.counters[counter as usize] += count;
    }

    /// Records a measured value (microseconds where it is a time).
    pub fn record(&mut self, measure: Measure, value: u64) {
        self.measures[measure as usize].record(value);
    }

    /// Records a latency in microseconds.
    pub fn record_latency(&mut self, latency: Latency, us: u64) {
        let (tally, histogram) = &mut self.latencies[latency as usize];
        tally.record(us);
        histogram.saturating_record(us);
    }

    /// Adds another's figures.
    pub fn merge(&mut self, other: &Self) {
        for (mine, others) in self.counters.iter_mut().zip(&other.counters) {
            *mine += others;
        }
        for (mine, others) in self.measures.iter_mut().zip(&other.measures) {
            mine.merge(others);
        }
        for (mine, others) in self.latencies.iter_mut().zip(&other.latencies) {
            mine.0.merge(&others.0);
            mine.1.add(&others.1).expect("histograms of equal bounds");
        }
    }

    /// Forgets everything (`srst`).
    pub fn reset(&mut self) {
        self.counters.fill(0);
        self.measures.fill(Tally::default());
        for (tally, histogram) in &mut self.latencies {
            *tally = Tally::default();
            histogram.reset();
        }
    }

    /// A counter's value.
    pub fn counter(&self, counter: Counter) -> u64 {
        self.counters[counter as usize]
    }

    /// A measure's values.
    pub fn measure(&self, measure: Measure) -> &Tally {
        &self.measures[measure as usize]
    }

    /// A latency's values, microseconds.
    pub fn latency(&self, latency: Latency) -> &Tally {
        &self.latencies[latency as usize].0
    }

    /// The value that `quantile` of a latency's values do not exceed, microseconds; 0 of none.
    pub fn quantile(&self, latency: Latency, quantile: f64) -> u64 {
        self.latencies[latency as usize].1.value_at_quantile(quantile)
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
        for us in 1..=100 {
            one.record_latency(Latency::Read, us * 1000);
        }
        one.merge(&other);
        assert_eq!(one.counter(Counter::WatchBytes), 5);
        assert_eq!(*one.measure(Measure::SyncTime), Tally { count: 2, sum: 400, min: 100, max: 300 });
        let p95 = one.quantile(Latency::Read, 0.95);
        assert!((94_000..=97_000).contains(&p95), "{p95}");
        one.record_latency(Latency::Read, u64::MAX);
        one.reset();
        assert_eq!(one.counter(Counter::WatchBytes), 0);
        assert_eq!((one.measure(Measure::SyncTime).min(), one.measure(Measure::SyncTime).max()), (0, 0));
        assert_eq!(one.quantile(Latency::Read, 0.99), 0);
    }
}
