//! What a shard counts. Plain numbers on the shard's own core; they are put together only when somebody asks.

use std::time::Duration;

use hdrhistogram::Histogram;

/// Latencies above this are counted as this.
const LATENCY_MAX_US: u64 = 60_000_000;

/// See the file's page.
#[derive(Clone, Debug)]
pub(super) struct ShardStats {
    pub(super) packets_received: u64,
    pub(super) packets_sent: u64,
    pub(super) bytes_received: u64,
    pub(super) bytes_sent: u64,
    pub(super) events_sent: u64,
    /// Microseconds from the read of a request to its answer.
    pub(super) reads: Histogram<u64>,
    /// The same for writes.
    pub(super) writes: Histogram<u64>,
}

impl Default for ShardStats {
    fn default() -> Self {
        let histogram = || {
            Histogram::new_with_bounds(1, LATENCY_MAX_US, 3).expect("the bounds of the histogram are constant and valid")
        };
        Self {
            packets_received: 0,
            packets_sent: 0,
            bytes_received: 0,
            bytes_sent: 0,
            events_sent: 0,
            reads: histogram(),
            writes: histogram(),
        }
    }
}

impl ShardStats {
    /// Counts an answered read.
    pub(super) fn read_latency(&mut self, latency: Duration) {
        self.reads.saturating_record(micros(latency));
    }

    /// Counts an answered write.
    pub(super) fn write_latency(&mut self, latency: Duration) {
        self.writes.saturating_record(micros(latency));
    }

    /// Forgets all (`srst`).
    pub(super) fn reset(&mut self) {
        self.packets_received = 0;
        self.packets_sent = 0;
        self.bytes_received = 0;
        self.bytes_sent = 0;
        self.events_sent = 0;
        self.reads.reset();
        self.writes.reset();
    }

    /// Adds another shard's.
    pub(super) fn add(&mut self, other: &Self) {
        self.packets_received += other.packets_received;
        self.packets_sent += other.packets_sent;
        self.bytes_received += other.bytes_received;
        self.bytes_sent += other.bytes_sent;
        self.events_sent += other.events_sent;
        self.reads.add(&other.reads).expect("all shards' histograms have the same bounds");
        self.writes.add(&other.writes).expect("all shards' histograms have the same bounds");
    }
}

/// Whole microseconds, at least one: the histogram has no zero.
fn micros(latency: Duration) -> u64 {
    u64::try_from(latency.as_micros()).unwrap_or(u64::MAX).clamp(1, LATENCY_MAX_US)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shards_add_up_and_forget() {
        let (mut one, mut two) = (ShardStats::default(), ShardStats::default());
        one.packets_received = 3;
        one.read_latency(Duration::from_micros(40));
        two.packets_received = 4;
        two.read_latency(Duration::from_secs(1000));
        two.write_latency(Duration::ZERO);
        one.add(&two);
        assert_eq!((one.packets_received, one.reads.len(), one.writes.len()), (7, 2, 1));
        one.reset();
        assert_eq!((one.packets_received, one.reads.len(), one.writes.len()), (0, 0, 0));
    }
}
