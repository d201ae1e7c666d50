//! TLS for clients, as bytes in and bytes out: rustls does the protocol, and this room what ZooKeeper adds to it.
//!
//! | page | idea |
//! |---|---|
//! | [`acceptor`] | the operator's wishes into what every handshake needs |
//! | [`session`] | one connection: records in, plaintext out, and back |
//! | [`trust`] | which clients' certificates are believed, as in Java |
//! | [`certificate`] | what has to be read out of a certificate; its subject as text (RFC 2253) |
//! | [`der`] | the encoding beneath |
//!
//! No sockets, no files: `server` moves the bytes, `config` reads the key stores.

pub mod acceptor;
pub mod certificate;
pub mod der;
pub mod session;
pub mod trust;

pub use acceptor::{Acceptor, ClientAuth, Identity, Protocol, TlsError};
pub use session::{Session, TLS_HANDSHAKE};

#[cfg(test)]
mod tests;
