//! When to write a snapshot: after `snapCount` transactions or so many bytes of log, as ZooKeeper does, each halved and
//! randomised upwards so that the members of an ensemble do not all write theirs at once (Apache's
//! `SyncRequestProcessor.shouldSnapshot`).

/// Counts what was logged since the last snapshot.
#[derive(Debug)]
pub(super) struct SnapshotTrigger {
    txns_max: u64,
    bytes_max: u64,
    txns: u64,
    bytes: u64,
    txns_at: u64,
    bytes_at: u64,
    random: u64,
}

impl SnapshotTrigger {
    /// Fires after between half of and all of `txns_max` transactions or `bytes_max` bytes (0: no limit in bytes).
    pub(super) fn new(txns_max: u64, bytes_max: u64, seed: u64) -> Self {
        let mut trigger = Self { txns_max, bytes_max, txns: 0, bytes: 0, txns_at: 0, bytes_at: 0, random: seed | 1 };
        trigger.reset();
        trigger
    }

    /// Counts transactions.
    pub(super) fn logged(&mut self, txns: u64, bytes: u64) {
        self.txns += txns;
        self.bytes += bytes;
    }

    /// Whether it is time.
    pub(super) fn is_due(&self) -> bool {
        self.txns > self.txns_at || (self.bytes_max > 0 && self.bytes > self.bytes_at)
    }

    /// It is time, whatever was counted: the snapshot that was begun last will not be written.
    pub(super) fn fire(&mut self) {
        self.txns = self.txns_at + 1;
    }

    /// Begins to count anew.
    pub(super) fn reset(&mut self) {
        self.txns = 0;
        self.bytes = 0;
        self.txns_at = self.txns_max / 2 + self.draw(self.txns_max / 2);
        self.bytes_at = self.bytes_max / 2 + self.draw(self.bytes_max / 2);
    }

    /// A number below `bound` (0 if that is 0), by xorshift: only the spread matters.
    fn draw(&mut self, bound: u64) -> u64 {
        self.random ^= self.random << 13;
        self.random ^= self.random >> 7;
        self.random ^= self.random << 17;
        self.random.checked_rem(bound).unwrap_or(0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fires_between_half_and_all() {
        for seed in 0..100 {
            let mut trigger = SnapshotTrigger::new(1000, 0, seed);
            trigger.logged(499, 1 << 40);
            assert!(!trigger.is_due(), "never before half, and bytes do not count without a limit");
            trigger.logged(502, 0);
            assert!(trigger.is_due(), "always after all");
            trigger.reset();
            assert!(!trigger.is_due());
        }
        let mut trigger = SnapshotTrigger::new(1000, 4096, 7);
        trigger.logged(1, 4097);
        assert!(trigger.is_due(), "bytes count where there is a limit");
    }
}
