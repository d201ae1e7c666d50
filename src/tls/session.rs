//! One connection's TLS: records that came become plaintext, plaintext becomes records that go.
//!
//! Bounds: rustls holds one record, or one message of a handshake, at most 64 KiB, that has not come completely; everything else
//! is handed on at once. A caller seals no more than it can send soon.

use std::io::{Read, Write};

use rustls::ServerConnection;

use super::acceptor::Acceptor;
use super::certificate::Certificate;

/// The first byte of a connection that begins with a TLS handshake (RFC 8446, 5.1: the type of a record). No four-letter word
/// begins with it, nor does a ZooKeeper handshake, whose first bytes are its length.
pub const TLS_HANDSHAKE: u8 = 0x16;

/// One connection. See the module's page.
#[derive(Debug)]
pub struct Session(ServerConnection);

/// What the other end's bytes brought besides plaintext.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Taken {
    /// More may come.
    Open,
    /// The other end has said that no more comes.
    Ended,
}

impl Session {
    /// Awaits a client's first bytes.
    pub fn new(acceptor: &Acceptor) -> Self {
        let mut connection = ServerConnection::new(acceptor.config())
            .unwrap_or_else(|error| panic!("a configuration that was accepted cannot be used: {error}"));
        // The caller bounds what it seals.
        connection.set_buffer_limit(None);
        Self(connection)
    }

    /// Whether the handshake goes on still.
    pub fn is_handshaking(&self) -> bool {
        self.0.is_handshaking()
    }

    /// Takes what has come from the socket; what it holds is appended to `opened`. Behind an error [`Session::unsent`] tells the
    /// other end of it, and nothing more can be done.
    ///
    /// # Errors
    /// In words for the operator.
    pub fn take(&mut self, mut sealed: &[u8], opened: &mut Vec<u8>) -> Result<Taken, String> {
        while !sealed.is_empty() {
            let len = self.0.read_tls(&mut sealed).map_err(|error| error.to_string())?;
            let state = self.0.process_new_packets().map_err(|error| error.to_string())?;
            let before = opened.len();
            opened.resize(before + state.plaintext_bytes_to_read(), 0);
            self.0.reader().read_exact(&mut opened[before..]).map_err(|error| error.to_string())?;
            if state.peer_has_closed() || len == 0 {
                return Ok(Taken::Ended);
            }
        }
        Ok(Taken::Open)
    }

    /// Appends the records of `plain` to `sealed`, behind what the protocol itself has to say.
    pub fn seal(&mut self, plain: &[u8], sealed: &mut Vec<u8>) {
        self.0.writer().write_all(plain).expect("rustls takes all plaintext when no limit is set");
        self.unsent(sealed);
    }

    /// Whether the protocol itself has something to say.
    pub fn wants_to_say(&self) -> bool {
        self.0.wants_write()
    }

    /// Appends what the protocol itself has to say: its part of the handshake, an alert.
    pub fn unsent(&mut self, sealed: &mut Vec<u8>) {
        while self.0.wants_write() {
            self.0.write_tls(sealed).expect("a vector takes everything");
        }
    }

    /// Says that nothing more comes.
    pub fn end(&mut self, sealed: &mut Vec<u8>) {
        self.0.send_close_notify();
        self.unsent(sealed);
    }

    /// Whose the client's certificate is (RFC 2253), which was verified in the handshake; none if it showed none.
    pub fn client(&self) -> Option<String> {
        let certificate = self.0.peer_certificates()?.first()?;
        Certificate::parse(certificate).ok()?.subject_text().ok()
    }
}
