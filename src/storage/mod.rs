//! What survives a power cut: the log, the snapshots, and how a server finds its way back from them.
//!
//! A transaction is a zxid and bytes to the log; nothing here knows what it means, except [`image`] and [`recovery`],
//! which turn files back into a tree.
//!
//! | part | |
//! |---|---|
//! | [`disk`] | the seam to the world: one folder of files made of blocks |
//! | [`log`] | the log's format, how it is written into buffers and how it is read and judged |
//! | [`snapshot`] | the format of an exact copy of one version |
//! | [`image`] | what the records of a snapshot say |
//! | [`recovery`] | newest good snapshot, then the log |
//! | [`epochs`] | what a member of an ensemble promised |
//! | [`core`] | the one that writes: appends, segments, snapshots, purging, as a state machine over a disk |
//! | [`front_door`] | a durable tree in one process: the front door |
//! | [`apache`] | the body of Apache's snapshots, as a leader sends it to a learner |
//! | [`dump`] | what the files hold, for the operator's tools |
//! | [`sim_disk`] | a disk in memory that loses, tears, fills and rots, for tests and the simulator |

pub mod apache;
pub mod core;
pub mod disk;
pub mod dump;
pub mod epochs;
pub mod error;
pub mod front_door;
pub mod image;
pub mod log;
pub mod recovery;
pub mod sim_disk;
pub mod snapshot;

pub use core::{LogCore, Options};
pub use epochs::Epochs;
pub use error::StorageError;
pub use front_door::{OperationError, Storage, StorageOptions};
pub use recovery::{Recovered, reload};
