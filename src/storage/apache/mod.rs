//! Apache's own formats, as far as they travel between the members of an ensemble: the body of a snapshot.
//!
//! Behind a SNAP packet a leader sends its whole state (`SerializeUtils.serializeSnapshot`): no header, no checksum, no digest
//! and no zxid (that stands in the packet), and then a word to say that it was all (`LearnerHandler`):
//!
//! ```text
//! i32 sessions, each: i64 id, i32 timeout in ms
//! i32 lists, each:    i64 number, vector of entries (i32 permissions, ustring scheme, ustring id)
//! znodes, parents before their children, each:
//!     ustring path ("" is the root)
//!     buffer data (-1: null), i64 number of its list (-1: open to all)
//!     i64 czxid, mzxid, ctime, mtime, i32 version, cversion, aversion, i64 ephemeral owner, pzxid
//! ustring "/"
//! ustring "BenWasHere"
//! ```
//!
//! A file `snapshot.<zxid>` of Apache holds the same up to the "/", between a header and a checksum.
//!
//! Ours are exact: the state right behind the packet's zxid. Apache's are not, since its leader changes the tree while it writes
//! it: there may be later changes in it. All of those are sent again as transactions, and what they do twice they do once:
//! see [`SnapReader`] for the two cases in which that needs help.

mod read;
mod write;

pub use read::{Limits, Pushed, SnapError, SnapReader};
pub use write::SnapWriter;

/// The end of the znodes.
const END_OF_ZNODES: &str = "/";
/// What a leader sends behind its snapshot.
const SIGNATURE: &str = "BenWasHere";
/// The number of the list that allows everything, which is in no table.
const OPEN_LIST: i64 = -1;
/// Bytes of a znode behind its data: number of its list, and the stat.
const ZNODE_TAIL_LEN: usize = 8 + 4 * 8 + 3 * 4 + 2 * 8;
const _: () = assert!(ZNODE_TAIL_LEN == 68);
