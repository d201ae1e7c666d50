//! The server: shards, the replica's executor, the log's thread, and how they are started and stopped. Nearly all of our
//! asynchronous code is here, and no decision about data: those are the cores' below.
//!
//! | file | idea |
//! |---|---|
//! | [`node`] | starting and stopping a whole server |
//! | `shard/` | one executor's share of the clients |
//! | `acceptor` | new connections, dealt out |
//! | `replica_shell` | the executor that runs the replica |
//! | `peers/` | the other servers of the ensemble, on the replica's executor |
//! | `log_thread` | the thread that owns the disk |
//! | [`embedded`] | [`ZookeeperServer`], a server inside a program |

mod acceptor;
pub mod embedded;
mod log_thread;
pub mod node;
pub mod options;
mod peers;
mod replica_shell;
mod shard;
mod storage_folder;
#[cfg(test)]
mod tests;

pub use embedded::ZookeeperServer;
