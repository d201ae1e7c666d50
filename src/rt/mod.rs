//! The runtime: the only room that names glommio and io_uring, and the only one that reads a clock.
//!
//! Everything above sees tasks, inboxes, sockets, a disk and the time, never the library below, so that replacing either
//! library is one room's work.
//!
//! | file | idea |
//! |---|---|
//! | [`executor`] | one glommio executor on a named thread; tasks, sleep, yield |
//! | `bell` | how another thread wakes an executor, without glommio's own foreign wakers |
//! | [`inbox`] | a bounded queue and a doorbell: batches between threads, one wake-up a batch |
//! | [`listener`], [`socket`] | TCP: sockets that cost nothing while idle |

mod bell;
pub mod executor;
pub mod inbox;
pub mod listener;
pub mod selftest;
pub mod socket;
