//! Which containers and TTL znodes may go (Apache's `ContainerManager.getCandidates`).

use std::sync::Arc;

use crate::time::WallTime;
use crate::tree::View;

/// The paths to give to [`Pipeline::delete_container`](super::Pipeline::delete_container), in order: containers that once had children and
/// have none, or that never had any for longer than `max_never_used_ms` (0: those may stay for ever); and znodes without
/// children that have not changed for longer than their TTL.
pub(super) fn candidates(view: &View, now: WallTime, max_never_used_ms: i64) -> Vec<Arc<str>> {
    let elapsed = |mtime: WallTime| now.0.saturating_sub(mtime.0);
    let containers = view.containers().filter(|path| {
        view.znode(path).is_some_and(|znode| {
            let stat = znode.persisted();
            znode.num_children() == 0
                && (stat.cversion > 0 || (max_never_used_ms != 0 && elapsed(stat.mtime) > max_never_used_ms))
        })
    });
    let ttls = view.ttls().filter(|path| {
        view.znode(path).is_some_and(|znode| {
            znode.num_children() == 0
                && znode.ttl_ms().is_some_and(|ttl_ms| ttl_ms != 0 && elapsed(znode.persisted().mtime) > ttl_ms)
        })
    });
    let mut paths: Vec<Arc<str>> = containers.chain(ttls).cloned().collect();
    paths.sort_unstable();
    paths
}
