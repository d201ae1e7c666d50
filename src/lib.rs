//! `zoo_server`: a coordination server that every ZooKeeper client can use unchanged.
//!
//! The crate is a house of rooms on floors; a room uses rooms on lower floors only, and rooms on one floor meet on
//! the floor above (`tests/floors.rs` holds this):
//!
//! | floor | rooms | |
//! |---|---|---|
//! | 7 | [`cli`] | the command line, the shell, the load generator, the dump tools |
//! | 6 | [`config`] | the operator's words into the options of the rooms |
//! | 5 | [`server`] | shards, connections, the log thread; the embedding API |
//! | 4 | [`replica`], [`admin`], [`rt`], [`tls`] | the node as one state machine; answers as text; glommio and io_uring; TLS |
//! | 3 | [`storage`], [`pipeline`], [`election`], [`zab`] | log, snapshots, recovery; a request into a transaction; votes; broadcast |
//! | 2 | [`tree`], [`session`], [`watch`], [`quorum`] | what a transaction changes; who decides |
//! | 1 | [`wire`] | every byte that crosses a boundary |
//! | 0 | [`ids`], [`time`] | zxid, session and server ids; instants as plain numbers |

pub mod admin;
pub mod cli;
pub mod config;
pub mod election;
pub mod ids;
pub mod pipeline;
pub mod quorum;
pub mod replica;
pub mod rt;
pub mod server;
pub mod session;
pub mod storage;
pub mod time;
pub mod tls;
pub mod tree;
pub mod watch;
pub mod wire;
pub mod zab;
