//! The digest of a tree (Apache's `DigestCalculator` and `AdHash`): a CRC32 for each znode, and their wrapping sum.
//!
//! A znode's CRC runs over its path, its data and its numbers, in this order, so the CRC of path and data can be kept: a
//! change of the numbers, such as a parent's when a child comes or goes, then costs 60 bytes whatever the size of the data.
//! Znodes below `/zookeeper` are left out, because quotas change there on each server by itself; `/zookeeper` is not.

use std::collections::VecDeque;

use crc32fast::Hasher;

use super::znode::StatPersisted;
use crate::ids::Zxid;

/// Every so many zxids a sample of the digest is kept (`DataTree.DIGEST_LOG_INTERVAL`).
pub const HISTORY_INTERVAL: i64 = 128;
/// So many samples are kept; the oldest is dropped for the next (`DataTree.DIGEST_LOG_LIMIT`).
pub const HISTORY_MAX: usize = 1024;

/// Whether a znode is left out of the digest.
pub(super) fn is_excluded(path: &str) -> bool {
    path.starts_with("/zookeeper/")
}

/// The CRC over path and data, which [`node_digest`] continues. The root counts as "".
pub(super) fn prefix_crc(path: &str, data: Option<&[u8]>) -> u32 {
    let mut hasher = Hasher::new();
    if path != "/" {
        hasher.update(path.as_bytes());
    }
    hasher.update(data.unwrap_or_default());
    hasher.finalize()
}

/// A znode's digest from the CRC over its path and data.
pub(super) fn node_digest(prefix_crc: u32, stat: &StatPersisted) -> u32 {
    let mut bytes = [0; 60];
    let (longs, rest) = bytes.split_at_mut(40);
    let numbers = [stat.czxid.0, stat.mzxid.0, stat.pzxid.0, stat.ctime.0, stat.mtime.0];
    for (slot, number) in longs.chunks_exact_mut(8).zip(numbers) {
        slot.copy_from_slice(&number.to_be_bytes());
    }
    let (ints, owner) = rest.split_at_mut(12);
    for (slot, number) in ints.chunks_exact_mut(4).zip([stat.version, stat.cversion, stat.aversion]) {
        slot.copy_from_slice(&number.to_be_bytes());
    }
    owner.copy_from_slice(&stat.ephemeral_owner.to_be_bytes());
    let mut hasher = Hasher::new_with_initial(prefix_crc);
    hasher.update(&bytes);
    hasher.finalize()
}

/// The digest of a tree right behind a transaction.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct ZxidDigest {
    /// The transaction.
    pub zxid: Zxid,
    /// The sum over all znodes.
    pub digest: u64,
}

/// Samples of the digest, for operators to compare servers by (the word `hash`).
#[derive(Default)]
pub(super) struct History(VecDeque<ZxidDigest>);

impl History {
    /// Keeps the digest if its turn has come.
    pub(super) fn note(&mut self, zxid: Zxid, digest: u64) {
        if zxid.0 % HISTORY_INTERVAL == 0 {
            if self.0.len() == HISTORY_MAX {
                self.0.pop_front();
            }
            self.0.push_back(ZxidDigest { zxid, digest });
        }
    }

    /// Forgets what came behind a transaction.
    pub(super) fn rewind(&mut self, to: Zxid) {
        while self.0.back().is_some_and(|sample| sample.zxid > to) {
            self.0.pop_back();
        }
    }

    /// From the oldest on.
    pub(super) fn iter(&self) -> impl Iterator<Item = ZxidDigest> {
        self.0.iter().copied()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::time::WallTime;

    #[test]
    fn the_parts_make_the_whole() {
        let stat = StatPersisted {
            czxid: Zxid(1),
            mzxid: Zxid(2),
            ctime: WallTime(4),
            mtime: WallTime(5),
            version: 6,
            cversion: 7,
            aversion: 8,
            ephemeral_owner: -9,
            pzxid: Zxid(3),
        };
        let mut all = b"/adata".to_vec();
        for number in 1..=5_i64 {
            all.extend(number.to_be_bytes());
        }
        for number in 6..=8_i32 {
            all.extend(number.to_be_bytes());
        }
        all.extend((-9_i64).to_be_bytes());
        assert_eq!(node_digest(prefix_crc("/a", Some(b"data")), &stat), crc32fast::hash(&all));
        assert_eq!(prefix_crc("/", None), 0, "the root counts as the empty path");
        assert!(is_excluded("/zookeeper/config") && !is_excluded("/zookeeper") && !is_excluded("/zookeeper2"));
    }

    #[test]
    fn the_history_keeps_the_last_samples() {
        let mut history = History::default();
        for zxid in 1..=(HISTORY_MAX as i64 + 2) * HISTORY_INTERVAL {
            history.note(Zxid(zxid), zxid.cast_unsigned());
        }
        assert_eq!(history.iter().count(), HISTORY_MAX);
        assert_eq!(history.iter().next(), Some(ZxidDigest { zxid: Zxid(3 * 128), digest: 3 * 128 }));
        history.rewind(Zxid(4 * 128 + 5));
        assert_eq!(history.iter().last(), Some(ZxidDigest { zxid: Zxid(4 * 128), digest: 4 * 128 }));
    }
}
