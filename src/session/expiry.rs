//! Expiry in buckets of one tick (Apache's `ExpiryQueue`): a timeout is rounded up to the end of its bucket, which is a grace of
//! up to a tick, and sessions expire a bucket at a time.
//!
//! A touch does not move a session between buckets: the session notes its new bucket and stays filed where it is; when that
//! bucket comes up, it is filed anew. Only an earlier expiry files it at once and leaves a stale entry behind, which is known by
//! the session's own note of where it is filed.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::ids::SessionId;
use crate::time::Instant;

/// Bucket number `n` ends, and its sessions expire, at `n` ticks on the monotonic clock.
#[derive(Clone, Debug)]
pub(super) struct ExpiryQueue {
    tick_ms: u64,
    buckets: BTreeMap<u64, Vec<SessionId>>,
}

impl ExpiryQueue {
    pub(super) fn new(tick_ms: u32) -> Self {
        assert!(tick_ms > 0, "tickTime must be positive: the options are checked before a Sessions is made");
        Self { tick_ms: u64::from(tick_ms), buckets: BTreeMap::new() }
    }

    /// The bucket of what expires `timeout_ms` after `now` (Apache's `roundToNextInterval`): always the next end, even for a
    /// time that falls on one.
    pub(super) fn bucket(&self, now: Instant, timeout_ms: i32) -> u64 {
        now.as_millis().saturating_add_signed(i64::from(timeout_ms)) / self.tick_ms + 1
    }

    /// The end of a bucket.
    pub(super) fn instant(&self, bucket: u64) -> Instant {
        Instant(bucket.saturating_mul(self.tick_ms).saturating_mul(1000))
    }

    pub(super) fn file(&mut self, id: SessionId, bucket: u64) {
        self.buckets.entry(bucket).or_default().push(id);
    }

    /// Lets a session expire in `bucket`, be it earlier or later than before.
    pub(super) fn reschedule(&mut self, id: SessionId, expires: &mut u64, filed: &mut u64, bucket: u64) {
        *expires = bucket;
        if bucket < *filed {
            *filed = bucket;
            self.file(id, bucket);
        }
    }

    /// Takes everybody out.
    pub(super) fn clear(&mut self) {
        self.buckets.clear();
    }

    /// Takes the first bucket that has ended by `now`.
    pub(super) fn pop_due(&mut self, now: Instant) -> Option<(u64, Vec<SessionId>)> {
        let first = self.buckets.first_entry()?;
        if first.key().saturating_mul(self.tick_ms) > now.as_millis() {
            return None;
        }
        Some(first.remove_entry())
    }

    pub(super) fn next_due(&self) -> Option<Instant> {
        self.buckets.first_key_value().map(|(bucket, _)| self.instant(*bucket))
    }

    pub(super) const fn tick(&self) -> Duration {
        Duration::from_millis(self.tick_ms)
    }
}
