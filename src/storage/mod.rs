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
//! | [`core`] | the one that writes: appends, segments, snapshots, purging, as a state machine over a disk |
//! | [`sim_disk`] | a disk in memory that loses, tears, fills and rots, for tests and the simulator |

pub mod core;
pub mod disk;
pub mod error;
pub mod log;
pub mod sim_disk;
pub mod snapshot;

pub use error::StorageError;
