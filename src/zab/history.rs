//! The last committed records, kept in memory so that a learner that was away for a moment gets only what it missed (Apache's
//! `ZKDatabase.committedLog`).
//!
//! Invariants: records are contiguous ([`follows`]); `base` is the zxid right before the first of them, so that everything
//! after `base` is here; `last_processed` is what the tree holds, equal to the last record or the start of a later epoch.
//! A gap, which a correct history never has, empties the ring: a DIFF never spreads a hole (ZOOKEEPER-4925, 4352).

use std::collections::VecDeque;

use bytes::Bytes;

use super::follows;
use crate::ids::{Epoch, Zxid};

/// How much is kept.
#[derive(Clone, Copy, Debug)]
pub struct HistoryOptions {
    /// Most bytes of records.
    pub bytes_max: usize,
    /// Most records.
    pub count_max: usize,
    /// So many are kept even if they are more than `bytes_max` (Apache keeps 500 of any size).
    pub count_min: usize,
}

impl Default for HistoryOptions {
    fn default() -> Self {
        Self { bytes_max: 64 << 20, count_max: 100_000, count_min: 500 }
    }
}

/// The ring of committed records.
#[derive(Clone, Debug)]
pub struct History {
    options: HistoryOptions,
    records: VecDeque<(Zxid, Bytes)>,
    bytes: usize,
    base: Zxid,
    last_processed: Zxid,
}

impl History {
    /// Without records; the tree is at `last_processed`.
    pub fn new(options: HistoryOptions, last_processed: Zxid) -> Self {
        Self { options, records: VecDeque::new(), bytes: 0, base: last_processed, last_processed }
    }

    /// From what recovery read: the tree was at `base` before the first of `records`, in order.
    pub fn recovered(options: HistoryOptions, base: Zxid, records: impl IntoIterator<Item = (Zxid, Bytes)>) -> Self {
        let mut history = Self::new(options, base);
        for (zxid, record) in records {
            history.push(zxid, record);
        }
        history
    }

    /// A record that is committed and was applied to the tree.
    ///
    /// # Panics
    /// If it is not later than what was pushed before: then it was applied twice.
    pub fn push(&mut self, zxid: Zxid, record: Bytes) {
        assert!(
            zxid > self.last_processed,
            "record {zxid} was pushed into a history that is already at {}",
            self.last_processed
        );
        if follows(self.last_record(), zxid) {
            self.bytes += record.len();
            self.records.push_back((zxid, record));
        } else {
            self.records.clear();
            self.bytes = 0;
            self.base = zxid;
        }
        self.last_processed = zxid;
        while self.records.len() > self.options.count_max
            || (self.bytes > self.options.bytes_max && self.records.len() > self.options.count_min)
        {
            let (zxid, record) = self.records.pop_front().expect("more records than a bound");
            self.bytes -= record.len();
            self.base = zxid;
        }
    }

    /// A leader of `epoch` is established: what the tree holds is now the start of that epoch, as Apache's servers say too.
    pub fn epoch_started(&mut self, epoch: Epoch) {
        self.last_processed = self.last_processed.max(Zxid::new(epoch, 0));
    }

    /// Everything was replaced by a snapshot at `zxid`.
    pub fn reset(&mut self, zxid: Zxid) {
        *self = Self::new(self.options, zxid);
    }

    /// The log was cut behind `to`.
    pub fn truncate(&mut self, to: Zxid) {
        if to < self.base {
            return self.reset(to);
        }
        while self.records.back().is_some_and(|(zxid, _)| *zxid > to) {
            let (_, record) = self.records.pop_back().expect("it has a last record");
            self.bytes -= record.len();
        }
        self.last_processed = self.last_processed.min(to);
    }

    /// What the tree holds.
    pub const fn last_processed(&self) -> Zxid {
        self.last_processed
    }

    /// The zxid right before the first record: whoever holds exactly this needs the records and nothing else.
    pub const fn base(&self) -> Zxid {
        self.base
    }

    /// The last record's zxid, or `base` if there is none.
    pub fn last_record(&self) -> Zxid {
        self.records.back().map_or(self.base, |(zxid, _)| *zxid)
    }

    /// Whether there is no record.
    pub fn is_empty(&self) -> bool {
        self.records.is_empty()
    }

    /// How many records there are.
    pub fn len(&self) -> usize {
        self.records.len()
    }

    /// How many bytes they take.
    pub const fn bytes(&self) -> usize {
        self.bytes
    }

    /// Whether there is a record with this zxid.
    pub fn contains(&self, zxid: Zxid) -> bool {
        self.records.binary_search_by_key(&zxid, |(zxid, _)| *zxid).is_ok()
    }

    /// The records after `zxid`, in order.
    pub fn after(&self, zxid: Zxid) -> impl Iterator<Item = &(Zxid, Bytes)> {
        self.records.range(self.records.partition_point(|(other, _)| *other <= zxid)..)
    }

    /// The last record before `zxid`, or `base`.
    pub(super) fn before(&self, zxid: Zxid) -> Zxid {
        match self.records.partition_point(|(other, _)| *other < zxid) {
            0 => self.base,
            index => self.records[index - 1].0,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn zxid(epoch: u32, counter: u32) -> Zxid {
        Zxid::new(Epoch(epoch), counter)
    }

    fn small(count_max: usize, bytes_max: usize, count_min: usize) -> History {
        History::new(HistoryOptions { bytes_max, count_max, count_min }, zxid(1, 4))
    }

    fn zxids(history: &History) -> Vec<Zxid> {
        history.after(Zxid::ZERO).map(|(zxid, _)| *zxid).collect()
    }

    #[test]
    fn it_is_bounded_by_count_and_by_bytes_but_keeps_the_least() {
        let mut history = small(3, 1000, 1);
        for counter in 5..=9 {
            history.push(zxid(1, counter), Bytes::from(vec![0; 10]));
        }
        assert_eq!(zxids(&history), [zxid(1, 7), zxid(1, 8), zxid(1, 9)]);
        assert_eq!((history.base(), history.bytes(), history.len()), (zxid(1, 6), 30, 3));

        let mut history = small(100, 25, 2);
        for counter in 5..=9 {
            history.push(zxid(1, counter), Bytes::from(vec![0; 20]));
        }
        assert_eq!(zxids(&history), [zxid(1, 8), zxid(1, 9)]);
    }

    #[test]
    fn zk4925_a_gap_empties_it() {
        let mut history = small(100, 1000, 1);
        history.push(zxid(1, 5), Bytes::new());
        history.push(zxid(1, 7), Bytes::new());
        assert!(history.is_empty());
        assert_eq!((history.base(), history.last_processed()), (zxid(1, 7), zxid(1, 7)));
        history.push(zxid(3, 1), Bytes::new());
        assert_eq!(zxids(&history), [zxid(3, 1)]);
        // An epoch that does not begin with 1 is a gap too.
        history.push(zxid(4, 2), Bytes::new());
        assert!(history.is_empty());
    }

    #[test]
    #[should_panic(expected = "already at 0x100000005")]
    fn a_record_is_pushed_once() {
        let mut history = small(100, 1000, 1);
        history.push(zxid(1, 5), Bytes::new());
        history.push(zxid(1, 5), Bytes::new());
    }

    #[test]
    fn truncation_and_epochs() {
        let mut history = small(100, 1000, 1);
        for counter in 5..=9 {
            history.push(zxid(1, counter), Bytes::from_static(b"12"));
        }
        history.truncate(zxid(1, 7));
        assert_eq!((history.last_record(), history.last_processed(), history.bytes()), (zxid(1, 7), zxid(1, 7), 6));
        history.epoch_started(Epoch(2));
        assert_eq!((history.last_record(), history.last_processed()), (zxid(1, 7), zxid(2, 0)));
        history.push(zxid(2, 1), Bytes::new());
        assert_eq!(history.before(zxid(2, 1)), zxid(1, 7));
        assert_eq!(history.before(zxid(1, 5)), zxid(1, 4));
        assert!(history.contains(zxid(1, 6)) && !history.contains(zxid(1, 8)));
        history.truncate(zxid(1, 2));
        assert_eq!((history.is_empty(), history.base()), (true, zxid(1, 2)));
    }
}
