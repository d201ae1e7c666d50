//! The two clocks, read here and nowhere else. A reading costs some tens of nanoseconds: take one a turn, not one a request.

use std::sync::OnceLock;
use std::time::{SystemTime, UNIX_EPOCH};

use crate::time::{Instant, WallTime};

/// Now, on the monotonic clock, in microseconds since this process first asked. Never goes back, on no thread.
pub fn now() -> Instant {
    static START: OnceLock<std::time::Instant> = OnceLock::new();
    let passed = START.get_or_init(std::time::Instant::now).elapsed();
    Instant(u64::try_from(passed.as_micros()).unwrap_or(u64::MAX))
}

/// Now, as the world counts. May jump either way; 0 if it is before 1970.
pub fn wall() -> WallTime {
    let passed = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    WallTime(i64::try_from(passed.as_millis()).unwrap_or(i64::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clocks_go_forward() {
        let (start, wall_start) = (now(), wall());
        while now() == start {}
        assert!(now() > start);
        assert!(wall_start.0 > 1_700_000_000_000, "the machine's clock is set");
    }
}
