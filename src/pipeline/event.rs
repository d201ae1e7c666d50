//! From a change of the tree to the clients that hear of it.

use super::{acl, auth};
use crate::tree::{self, Change};
use crate::watch::{Tables, WatchTable, Watcher};
use crate::wire::acl::{Id, Perms};

/// Calls `hear` for each watcher that waits for `change`, and takes the one-shot watches among theirs away. Whether a client is
/// then told is for [`may_hear`] to say.
pub fn fire(watches: &mut WatchTable, change: &Change, hear: impl FnMut(Watcher)) {
    let tables = match change.tables {
        tree::Tables::Data => Tables::Data,
        tree::Tables::Child => Tables::Child,
        tree::Tables::DataThenChild => Tables::DataThenChild,
    };
    watches.fire(change.event, &change.path, tables, hear);
}

/// Whether a client of these identities may hear of a change: only who may read the znode (CVE-2024-23944). Its watch is spent
/// either way.
pub fn may_hear(change: &Change, identities: &[Id<'_>], options: &auth::Options) -> bool {
    acl::check(&change.acl, Perms::READ, identities, options).is_ok()
}
