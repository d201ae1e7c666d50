//! Whether a write stays within the quota above it (Apache's `ZooKeeperServer.checkQuota`).

use crate::tree::View;
use crate::tree::quota::{StatsTrack, limits_path, stats_path};
use crate::wire::error_code::ErrorCode;

/// A quota that a write goes beyond.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Exceeded {
    /// The znode that has the quota.
    pub subject: String,
    /// Whether it is of bytes, otherwise of znodes.
    pub is_bytes: bool,
    /// Whether the write is refused for it; a soft one is only to be noted.
    pub is_hard: bool,
    /// What the write would lead to.
    pub usage: i64,
    /// What is allowed.
    pub limit: i64,
}

/// Checks that `count` znodes and `bytes` of data more at `path` are within the quota; what exceeds it goes to `note`.
///
/// The quota counts what the tree holds: operations before this one in the same multi do not, as in Apache.
///
/// # Errors
/// QUOTA_EXCEEDED, for a hard quota.
pub(super) fn check(
    view: &View,
    path: &str,
    count: i64,
    bytes: i64,
    mut note: impl FnMut(Exceeded),
) -> Result<(), ErrorCode> {
    let Some(subject) = view.quota_for(path) else { return Ok(()) };
    // Clients may delete either znode of a quota, or write nonsense there: then there is no limit.
    let Some(limits) = view.znode(&limits_path(subject)) else { return Ok(()) };
    let limits = StatsTrack::parse(limits.data().unwrap_or_default());
    let limit = |soft: Option<i64>, hard: Option<i64>| {
        let set = |limit: &i64| *limit > -1;
        hard.filter(set).map(|limit| (limit, true)).or_else(|| soft.filter(set).map(|limit| (limit, false)))
    };
    let of_count = limit(limits.count, limits.count_hard_limit).filter(|_| count != 0);
    let of_bytes = limit(limits.bytes, limits.byte_hard_limit).filter(|_| bytes != 0);
    if of_count.is_none() && of_bytes.is_none() {
        return Ok(());
    }
    let Some(usage) = view.znode(&stats_path(subject)) else { return Ok(()) };
    let usage = StatsTrack::parse(usage.data().unwrap_or_default());
    for (limit, used, more, is_bytes) in [(of_count, usage.count, count, false), (of_bytes, usage.bytes, bytes, true)] {
        let Some((limit, is_hard)) = limit else { continue };
        let usage = used.unwrap_or(-1).wrapping_add(more);
        if usage > limit {
            note(Exceeded { subject: subject.to_owned(), is_bytes, is_hard, usage, limit });
            if is_hard {
                return Err(ErrorCode::QUOTA_EXCEEDED);
            }
        }
    }
    Ok(())
}
