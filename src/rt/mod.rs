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
//! | [`resolver`] | host names into addresses, off the executor |
//! | [`ring`] | the data folder on io_uring and O_DIRECT, for the log thread |
//! | [`faulty`] | a disk that fails on purpose |
//! | [`selftest`], [`limits`] | what the machine lets us do |
//! | [`interrupts`] | the core that a disk interrupts |
//! | [`poller`] | epoll over plain sockets, for the load generator |
//! | [`clock`], [`signal`] | the time; SIGTERM and its like |

mod bell;
pub mod clock;
pub mod executor;
pub mod faulty;
pub mod inbox;
pub mod interrupts;
pub mod limits;
pub mod listener;
pub mod poller;
pub mod process;
pub mod resolver;
pub mod ring;
pub mod selftest;
pub mod signal;
pub mod socket;
