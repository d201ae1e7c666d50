//! Quotas: which znodes have one, and the text in which limits and usage are kept (Apache's `Quotas`, `StatsTrack` and
//! `PathTrie`).
//!
//! The quota of `/a` is the two znodes `/zookeeper/quota/a/zookeeper_limits` and `.../zookeeper_stats`. The tree keeps the
//! usage of the deepest quota above each change by writing the data of the second one, without touching its stat.

use std::borrow::Cow;
use std::collections::BTreeSet;
use std::fmt::{self, Write as _};
use std::sync::Arc;

/// Below it are all quotas.
pub const QUOTA_ROOT: &str = "/zookeeper/quota";
/// The name of a znode that holds limits.
pub const LIMITS_NAME: &str = "zookeeper_limits";
/// The name of a znode that holds usage.
pub const STATS_NAME: &str = "zookeeper_stats";

/// Where the limits of a znode's quota are.
pub fn limits_path(path: &str) -> String {
    format!("{QUOTA_ROOT}{path}/{LIMITS_NAME}")
}

/// Where the usage of a znode's quota is.
pub fn stats_path(path: &str) -> String {
    format!("{QUOTA_ROOT}{path}/{STATS_NAME}")
}

/// The znode whose quota is kept below `quota_path`. None where no quota can be: not below [`QUOTA_ROOT`], or it itself.
pub(super) fn quota_subject(quota_path: &str) -> Option<&str> {
    quota_path.strip_prefix(QUOTA_ROOT).filter(|path| path.starts_with('/'))
}

/// Limits or usage: numbers by name. A number that is not there is -1: no limit.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct StatsTrack<'a> {
    /// `count`: znodes, the subject itself included (soft as a limit).
    pub count: Option<i64>,
    /// `bytes`: of data (soft as a limit).
    pub bytes: Option<i64>,
    /// `countHardLimit`.
    pub count_hard_limit: Option<i64>,
    /// `byteHardLimit`.
    pub byte_hard_limit: Option<i64>,
    /// What else was there, kept as it was.
    others: Vec<(Cow<'a, str>, i64)>,
}

impl<'a> StatsTrack<'a> {
    /// Of a number of znodes and bytes.
    pub fn of_usage(count: i64, bytes: i64) -> Self {
        Self { count: Some(count), bytes: Some(bytes), ..Self::default() }
    }

    /// Reads `count=4,bytes=5=;countHardLimit=10;byteHardLimit=10`. What is no such pair, over which Apache stumbles, is
    /// left out: clients may write anything there.
    pub fn parse(data: &'a [u8]) -> Self {
        let mut track = Self::default();
        let Ok(text) = std::str::from_utf8(data) else { return track };
        for pair in text.split([',', ';']) {
            let mut parts = pair.split('=');
            let (Some(name), Some(value)) = (parts.next(), parts.next()) else { continue };
            let Ok(value) = (if value.is_empty() { Ok(-1) } else { value.parse() }) else { continue };
            match name {
                "count" => track.count = Some(value),
                "bytes" => track.bytes = Some(value),
                "countHardLimit" => track.count_hard_limit = Some(value),
                "byteHardLimit" => track.byte_hard_limit = Some(value),
                "" => {}
                name => match track.others.iter_mut().find(|(known, _)| known == name) {
                    Some((_, known)) => *known = value,
                    None => track.others.push((name.into(), value)),
                },
            }
        }
        track
    }

    /// Counts a change in.
    pub(super) fn add(&mut self, count: i64, bytes: i64) {
        self.count = Some(self.count.unwrap_or(-1).wrapping_add(count));
        self.bytes = Some(self.bytes.unwrap_or(-1).wrapping_add(bytes));
    }
}

/// In the order and with the seemingly spurious `=` that parsers of ZooKeeper 3.4 need.
impl fmt::Display for StatsTrack<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "count={},bytes={}", self.count.unwrap_or(-1), self.bytes.unwrap_or(-1))?;
        let hard = [("byteHardLimit", self.byte_hard_limit), ("countHardLimit", self.count_hard_limit)];
        let mut rest: Vec<(&str, i64)> = hard.into_iter().filter_map(|(name, value)| Some((name, value?))).collect();
        rest.extend(self.others.iter().map(|(name, value)| (&**name, *value)));
        rest.sort_unstable();
        if !rest.is_empty() {
            f.write_char('=')?;
        }
        rest.iter().try_for_each(|(name, value)| write!(f, ";{name}={value}"))
    }
}

/// The znodes that have a quota. A version that still shows the set makes the writer copy it: quotas are few.
#[derive(Clone, Default)]
pub(super) struct Quotas(Arc<BTreeSet<Box<str>>>);

impl Quotas {
    pub(super) fn insert(&mut self, subject: &str) {
        if !self.0.contains(subject) {
            Arc::make_mut(&mut self.0).insert(subject.into());
        }
    }

    pub(super) fn remove(&mut self, subject: &str) {
        if self.0.contains(subject) {
            Arc::make_mut(&mut self.0).remove(subject);
        }
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &str> {
        self.0.iter().map(|subject| &**subject)
    }

    /// The deepest znode with a quota at `path` or above it.
    pub(super) fn find<'a>(&self, path: &'a str) -> Option<&'a str> {
        if self.0.is_empty() {
            return None;
        }
        let mut prefix = path;
        while !prefix.is_empty() {
            if self.0.contains(prefix) {
                return Some(prefix);
            }
            prefix = &prefix[..prefix.rfind('/')?];
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn usage_is_written_as_apache_writes_it() {
        assert_eq!(StatsTrack::of_usage(4, 5).to_string(), "count=4,bytes=5");
        let text = "count=4,bytes=5=;byteHardLimit=10;countHardLimit=9;zebra=1";
        let mut track = StatsTrack::parse(text.as_bytes());
        assert_eq!(track.to_string(), text);
        assert_eq!((track.count_hard_limit, track.byte_hard_limit), (Some(9), Some(10)));
        track.add(1, -7);
        assert_eq!(track.to_string(), "count=5,bytes=-2=;byteHardLimit=10;countHardLimit=9;zebra=1");
        let mut empty = StatsTrack::parse(b"");
        assert_eq!(empty, StatsTrack::default());
        empty.add(1, 2);
        assert_eq!(empty.to_string(), "count=0,bytes=1", "what is not there counts from -1, as in Apache");
    }

    #[test]
    fn nonsense_is_left_out() {
        for data in [&b"\xff"[..], b",;,", b"count", b"count=x", b"=5", b"count=99999999999999999999"] {
            assert_eq!(StatsTrack::parse(data), StatsTrack::default(), "{data:?}");
        }
        assert_eq!(StatsTrack::parse(b"count=,bytes=3").bytes, Some(3));
    }

    #[test]
    fn the_deepest_quota_counts() {
        let mut quotas = Quotas::default();
        assert_eq!(quotas.find("/a/b/c"), None);
        quotas.insert("/a");
        quotas.insert("/a/b");
        let older = quotas.clone();
        assert_eq!(quotas.find("/a/b/c"), Some("/a/b"));
        assert_eq!(quotas.find("/a/b"), Some("/a/b"));
        assert_eq!(quotas.find("/a/bb"), Some("/a"));
        assert_eq!(quotas.find("/aa"), None);
        assert_eq!(quotas.find("/"), None);
        quotas.remove("/a/b");
        assert_eq!(quotas.find("/a/b/c"), Some("/a"));
        assert_eq!(older.find("/a/b/c"), Some("/a/b"));
    }

    #[test]
    fn a_quota_has_a_subject() {
        assert_eq!(quota_subject("/zookeeper/quota/a/b"), Some("/a/b"));
        assert_eq!(quota_subject("/zookeeper/quota"), None);
        assert_eq!(quota_subject("/zookeeper/quotas/a"), None);
        assert_eq!(limits_path("/a"), "/zookeeper/quota/a/zookeeper_limits");
        assert_eq!(stats_path("/a"), "/zookeeper/quota/a/zookeeper_stats");
    }
}
