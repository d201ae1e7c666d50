//! One version of the tree as the body of Apache's snapshot, in slices.

use std::sync::Arc;

use super::{END_OF_ZNODES, OPEN_LIST, SIGNATURE};
use crate::ids::SessionId;
use crate::tree::{AclEntry, AclId, Descent, Version, Znode};
use crate::wire::jute::Put;

/// Gives out a version and the sessions that belong to it as Apache's learners read them. It holds the version, and nothing
/// else of size: a slice is put together when it is asked for.
pub struct SnapWriter {
    sessions: std::vec::IntoIter<(SessionId, i32)>,
    lists: std::vec::IntoIter<(AclId, Arc<AclEntry>)>,
    znodes: Descent,
    stage: Stage,
    /// Whether "BenWasHere" ends it.
    is_signed: bool,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Stage {
    SessionCount,
    Sessions,
    ListCount,
    Lists,
    Znodes,
    End,
    Done,
}

impl SnapWriter {
    /// As it follows a SNAP packet with the version's zxid; the sessions with their timeouts in ms as they were right behind
    /// that zxid.
    pub fn new(version: Version, sessions: Vec<(SessionId, i32)>) -> Self {
        Self { is_signed: true, ..Self::unsigned(version, sessions) }
    }

    /// As it stands in a file, without the signature.
    pub fn unsigned(version: Version, sessions: Vec<(SessionId, i32)>) -> Self {
        let lists: Vec<(AclId, Arc<AclEntry>)> = version.acls().map(|(id, entry)| (id, Arc::clone(entry))).collect();
        Self {
            sessions: sessions.into_iter(),
            lists: lists.into_iter(),
            znodes: Descent::new(version),
            stage: Stage::SessionCount,
            is_signed: false,
        }
    }

    /// Appends the next bytes to `out` until it holds `budget`, or there are no more; a record is never split, so it may hold
    /// more by one. True as long as there are more.
    pub fn fill(&mut self, out: &mut Vec<u8>, budget: usize) -> bool {
        while self.stage != Stage::Done && out.len() < budget {
            self.stage = match self.stage {
                Stage::SessionCount => {
                    out.put_len(self.sessions.len());
                    Stage::Sessions
                }
                Stage::Sessions => match self.sessions.next() {
                    Some((session, timeout_ms)) => {
                        out.put_i64(session.0);
                        out.put_i32(timeout_ms);
                        Stage::Sessions
                    }
                    None => Stage::ListCount,
                },
                Stage::ListCount => {
                    out.put_len(self.lists.len());
                    Stage::Lists
                }
                Stage::Lists => match self.lists.next() {
                    Some((id, entry)) => {
                        out.put_i64(number_of(id));
                        entry.list.encode(out);
                        Stage::Lists
                    }
                    None => Stage::Znodes,
                },
                Stage::Znodes => {
                    let is_all = self.znodes.visit(|znode| {
                        put_znode(out, znode);
                        out.len() < budget
                    });
                    if is_all { Stage::End } else { Stage::Znodes }
                }
                Stage::End => {
                    out.put_ustring(END_OF_ZNODES);
                    if self.is_signed {
                        out.put_ustring(SIGNATURE);
                    }
                    Stage::Done
                }
                Stage::Done => Stage::Done,
            };
        }
        self.stage != Stage::Done
    }
}

/// Apache numbers its lists from 1.
fn number_of(id: AclId) -> i64 {
    if id == AclId::OPEN { OPEN_LIST } else { i64::from(id.0) + 1 }
}

fn put_znode(out: &mut Vec<u8>, znode: &Znode) {
    let path: &str = znode.path();
    out.put_ustring(if path == "/" { "" } else { path });
    out.put_buffer(znode.data());
    out.put_i64(number_of(znode.acl_id()));
    let stat = znode.persisted();
    out.put_i64(stat.czxid.0);
    out.put_i64(stat.mzxid.0);
    out.put_i64(stat.ctime.0);
    out.put_i64(stat.mtime.0);
    out.put_i32(stat.version);
    out.put_i32(stat.cversion);
    out.put_i32(stat.aversion);
    out.put_i64(stat.ephemeral_owner);
    out.put_i64(stat.pzxid.0);
}
