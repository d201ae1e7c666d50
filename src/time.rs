//! Time as plain numbers, so that no core can read a clock: the shells read it and hand it in.
//!
//! Two kinds that must not be mixed: [`Instant`] only ever goes forward and measures waits; [`WallTime`] is what stands in a
//! znode's `ctime` and `mtime`, and may jump.

use std::ops::{Add, Sub};
use std::time::Duration;

/// Microseconds on a monotonic clock whose start means nothing.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Debug)]
#[repr(transparent)]
pub struct Instant(pub u64);

impl Instant {
    /// How long after `earlier` this is; zero if it is not after it.
    pub const fn since(self, earlier: Self) -> Duration {
        Duration::from_micros(self.0.saturating_sub(earlier.0))
    }

    /// Whole milliseconds since the clock's start.
    pub const fn as_millis(self) -> u64 {
        self.0 / 1000
    }
}

impl Add<Duration> for Instant {
    type Output = Self;

    fn add(self, wait: Duration) -> Self {
        Self(self.0.saturating_add(u64::try_from(wait.as_micros()).unwrap_or(u64::MAX)))
    }
}

impl Sub<Duration> for Instant {
    type Output = Self;

    fn sub(self, wait: Duration) -> Self {
        Self(self.0.saturating_sub(u64::try_from(wait.as_micros()).unwrap_or(u64::MAX)))
    }
}

/// Milliseconds since 1970, as ZooKeeper stamps them.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Debug)]
#[repr(transparent)]
pub struct WallTime(pub i64);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn instants_measure_waits() {
        let start = Instant(1_000);
        let later = start + Duration::from_millis(2);
        assert_eq!(later.since(start), Duration::from_millis(2));
        assert_eq!(start.since(later), Duration::ZERO);
        assert_eq!((later - Duration::from_secs(9)), Instant(0));
    }
}
