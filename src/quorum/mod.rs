//! Who the members of the ensemble are, and which sets of them decide.
//!
//! [`Membership`] is one configuration: what `server.N`, `group.N` and `weight.N` say, with a version. It is what Apache's
//! source calls a QuorumVerifier: election, broadcast and the znode `/zookeeper/config` all mean the same object, so it
//! lives below them. Its text form crosses the wire (notifications, NEWLEADER, the data of the config znode); the reading of
//! zoo.cfg with its error texts stays with `config`.
//!
//! - `member`: one `server.N`.
//! - `arithmetic`: which sets are quorums; pure numbers, nothing else.
//! - `membership`: all members, to text and back.
//! - `change`: what a request to reconfigure makes of them.
//! - `java_order`: the order in which Java lists the members, which the text has to follow.

mod arithmetic;
mod change;
mod java_order;
mod member;
mod membership;

pub use arithmetic::Quorums;
pub use change::{Change, ChangeRefused, ChangeRules};
pub use member::{HostPort, Member, PeerAddress, PeerType, QuorumError, QuorumErrorKind};
pub use membership::{MEMBERS_MAX, Membership, TEXT_MAX};
