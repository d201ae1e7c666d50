//! Who leads: ZooKeeper's FastLeaderElection as a machine without I/O.
//!
//! Every server that looks for a leader tells all voters its candidate, takes over a better one when it hears of it, and is
//! done when a quorum has the same. Better is the one with the newer history, so whatever a quorum has acknowledged is known to
//! the winner. An election is only a proposal: two servers may believe for a while that they lead, and broadcast (`zab`)
//! lets at most one of them be heard by a quorum.
//!
//! - `vote`: a vote, which of two is better, which of two say the same.
//! - `machine`: [`Election`], rounds and the way out of them.
//!
//! Which connection between two servers stays, and what waits for it, is the business of the sockets (`server::peers`).

mod machine;
mod vote;

pub use machine::{Election, ElectionAction, Options, Outcome};
pub use vote::Vote;
