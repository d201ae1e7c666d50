//! The numbers that name things: transactions, epochs, sessions, servers.
//!
//! Each is a type of its own, so that a session id can never be handed over where a zxid is meant. They are plain
//! copies of the 64-bit numbers that ZooKeeper puts on the wire; the arithmetic that has a meaning is here, and no other.

use std::fmt;

/// A transaction's number: the epoch of the leader that proposed it in the high 32 bits, a counter in the low ones.
///
/// Ordered as ZooKeeper orders them (as signed numbers; epochs stay far below 2^31). `Zxid::ZERO` is "nothing yet".
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
#[repr(transparent)]
pub struct Zxid(pub i64);

impl Zxid {
    /// Before the first transaction.
    pub const ZERO: Self = Self(0);
    /// Later than every transaction.
    pub const MAX: Self = Self(i64::MAX);
    /// The last counter of an epoch: after it the leader must step down (ZOOKEEPER-1277).
    pub const COUNTER_MAX: u32 = u32::MAX;

    /// The zxid of `counter` in `epoch`.
    pub const fn new(epoch: Epoch, counter: u32) -> Self {
        Self(((epoch.0 as i64) << 32) | counter as i64)
    }

    /// The epoch in which it was proposed.
    pub const fn epoch(self) -> Epoch {
        Epoch((self.0 >> 32) as u32)
    }

    /// Its place within the epoch; 0 is the epoch's start and names no transaction.
    pub const fn counter(self) -> u32 {
        self.0 as u32
    }

    /// The next zxid of the same epoch.
    ///
    /// # Panics
    /// At the end of the epoch: the caller has to begin a new epoch before that.
    #[must_use]
    pub fn next(self) -> Self {
        assert!(self.counter() != Self::COUNTER_MAX, "zxid counter rolled over within epoch {}", self.epoch().0);
        Self(self.0 + 1)
    }
}

impl fmt::Debug for Zxid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "0x{:x}", self.0)
    }
}

/// Prints as ZooKeeper's operators know it: hexadecimal with `0x` before it.
impl fmt::Display for Zxid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "0x{:x}", self.0)
    }
}

/// A leader's term of office.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Debug)]
#[repr(transparent)]
pub struct Epoch(pub u32);

/// A client's session. The top byte is the id of the server that created it.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
#[repr(transparent)]
pub struct SessionId(pub i64);

impl SessionId {
    /// "No session yet": what a client sends to get a new one, and what a refused one is answered with.
    pub const NONE: Self = Self(0);
}

impl fmt::Debug for SessionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "0x{:x}", self.0)
    }
}

impl fmt::Display for SessionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "0x{:x}", self.0)
    }
}

/// A server's number in its ensemble (`myid`).
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Debug)]
#[repr(transparent)]
pub struct ServerId(pub i64);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn zxid_is_epoch_then_counter() {
        let zxid = Zxid::new(Epoch(3), 7);
        assert_eq!(zxid.0, 0x3_0000_0007);
        assert_eq!(zxid.epoch(), Epoch(3));
        assert_eq!(zxid.counter(), 7);
        assert_eq!(zxid.next().counter(), 8);
        assert_eq!(zxid.to_string(), "0x300000007");
    }

    #[test]
    #[should_panic(expected = "rolled over")]
    fn zxid_never_runs_into_the_next_epoch() {
        let _ = Zxid::new(Epoch(1), Zxid::COUNTER_MAX).next();
    }
}
