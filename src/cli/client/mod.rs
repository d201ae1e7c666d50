//! A small blocking ZooKeeper client, for the shell and for tools.
//!
//! One background thread owns the connection's life: it connects to one host of the list after the other, opens the session
//! or goes on with it, reads answers and events, and pings. Callers encode their request, write it themselves and wait for
//! the answer:
//!
//! ```text
//!   caller ── frame ──▶ socket ──▶ server          Link: the socket's writing half, one writer at a time
//!   caller ◀─ answer ── thread ◀── server          State: what waits for an answer, watches, the session
//! ```
//!
//! What holds:
//! - Requests go out in the order in which they were numbered, and answers come back in that order; anything else from a
//!   server is a broken connection.
//! - An event is handed to the listener before any answer that the server sent behind it is handed to its caller.
//! - When a connection ends, every request that was on its way ends with `ConnectionLoss`: it may or may not have happened.
//!   Requests made while there is no connection wait for the present round over the host list.
//! - A session that expired stays expired; the caller has to make a new client.
//! - On a new connection to the same session, identities and watches are sent again before anything else.
//!
//! [`pipeline`] is the other way to speak: raw frames, many at once, no thread, for those who generate load.

mod connection;
mod error;
mod frames;
mod hosts;
mod ops;
mod path;
pub mod pipeline;
mod reply;
mod watches;

#[cfg(test)]
mod tests;

pub use connection::{Client, ConnectionState, Event, Listener, Options, Ticket};
pub use error::Error;
pub use frames::{FRAME_LEN_MAX, FrameReader};
pub use hosts::{ConnectString, HostPort};
pub use ops::{AddWatchMode, CreateMode, TTL_MS_MAX, WatcherType};
pub use path::validate as validate_path;
pub use reply::MultiOutcome;
