//! Latencies by operation.

use std::time::Duration;

use super::histogram::{Histogram, Tally};
use super::table::Table;
use crate::wire::op::OpCode;

/// How Apache's server counts an operation.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Kind {
    /// In `readlatency`: whatever makes no transaction, `sync` and `ping` among it.
    Read,
    /// In `updatelatency`: what makes a transaction, refused or not.
    Update,
}

impl Kind {
    /// Of an operation.
    pub const fn of(op: OpCode) -> Self {
        match op {
            OpCode::CREATE
            | OpCode::CREATE2
            | OpCode::CREATE_CONTAINER
            | OpCode::CREATE_TTL
            | OpCode::DELETE
            | OpCode::DELETE_CONTAINER
            | OpCode::SET_DATA
            | OpCode::SET_ACL
            | OpCode::MULTI
            | OpCode::CHECK
            | OpCode::RECONFIG
            | OpCode::CREATE_SESSION
            | OpCode::CLOSE_SESSION => Self::Update,
            _ => Self::Read,
        }
    }
}

/// Places of histograms: the operations of a client, and the last for numbers that mean nothing.
const PLACES: usize = 34;
const UNKNOWN: usize = PLACES - 1;

/// Where an operation's histogram is.
const fn place(op: OpCode) -> usize {
    match op.0 {
        number @ 0..=22 => number as usize,
        number @ 100..=107 => number as usize - 77,
        -10 => 31,
        -11 => 32,
        _ => UNKNOWN,
    }
}

/// The operation whose histogram is there; `None` for [`UNKNOWN`].
const fn at_place(place: usize) -> Option<OpCode> {
    match place {
        0..=22 => Some(OpCode(place as i32)),
        23..=30 => Some(OpCode(place as i32 + 77)),
        31 => Some(OpCode::CREATE_SESSION),
        32 => Some(OpCode::CLOSE_SESSION),
        _ => None,
    }
}

/// The operations' latencies as one shard saw them, or several merged.
#[derive(Clone, Debug, Default)]
pub struct Operations(Table<PLACES>);

impl Operations {
    /// Adds what `count` requests of this operation took, each.
    pub fn record_n(&mut self, op: OpCode, took: Duration, count: u64) {
        self.0.record_n(place(op), took, count);
    }

    /// Adds another's values.
    pub fn merge(&mut self, other: &Self) {
        self.0.merge(&other.0);
    }

    /// Forgets all values.
    pub fn reset(&mut self) {
        self.0.reset();
    }

    /// Each operation that occurred, under the name that Apache gives it.
    pub fn iter(&self) -> impl Iterator<Item = (&'static str, &Histogram)> {
        self.0.filled().map(|(place, histogram)| {
            let name = at_place(place).and_then(OpCode::name).unwrap_or("unknown");
            (name, histogram)
        })
    }

    /// All of a kind together.
    pub fn of_kind(&self, kind: Kind) -> Histogram {
        let mut merged = Histogram::default();
        for (place, histogram) in self.0.filled() {
            if at_place(place).map_or(Kind::Read, Kind::of) == kind {
                merged.merge(histogram);
            }
        }
        merged
    }

    /// Count, sum, least and most of all together, microseconds.
    pub fn tally(&self) -> Tally {
        let mut tally = Tally::default();
        self.0.filled().for_each(|(_, histogram)| tally.merge(histogram.tally()));
        tally
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const US: fn(u64) -> Duration = Duration::from_micros;

    #[test]
    fn every_operation_of_a_client_has_its_place() {
        for op in (-20..200).map(OpCode).filter(|op| *op != OpCode::ERROR) {
            let mut operations = Operations::default();
            operations.record_n(op, US(1), 1);
            let names: Vec<_> = operations.iter().map(|(name, _)| name).collect();
            assert_eq!(names, [op.name().unwrap_or("unknown")], "{}", op.0);
        }
        let mut operations = Operations::default();
        operations.record_n(OpCode(4711), US(1), 1);
        assert_eq!(operations.iter().next().map(|(name, _)| name), Some("unknown"));
    }

    #[test]
    fn kinds_are_all_operations() {
        let mut operations = Operations::default();
        operations.record_n(OpCode::GET_DATA, US(10), 3);
        operations.record_n(OpCode::SYNC, US(30), 1);
        operations.record_n(OpCode::CREATE, US(500), 2);
        operations.record_n(OpCode::DELETE, US(700), 0);
        let mut other = Operations::default();
        other.record_n(OpCode::CREATE, US(100), 1);
        operations.merge(&other);
        let tallies = [Kind::Read, Kind::Update].map(|kind| *operations.of_kind(kind).tally());
        assert_eq!(tallies.map(|tally| (tally.count, tally.sum, tally.max())), [(4, 60, 30), (3, 1_100, 500)]);
        let all = operations.tally();
        assert_eq!((all.count, all.sum, all.min(), all.max()), (7, 1_160, 10, 500));
        operations.reset();
        assert_eq!(operations.iter().count(), 0, "what has not occurred since is not told");
        assert_eq!(operations.tally(), Tally::default());
    }
}
