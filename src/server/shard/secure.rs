//! TLS on a connection: the handshake before anything else, then records between the socket and the rest of the shard.
//!
//! What is said to a client collects as plaintext in its `out`, whether it is secured or not. Of a secured one, a piece at a time
//! is sealed when the socket can take it, so that what waits for a slow client is counted as on any other connection.
//!
//! Bounds: so many handshakes at once and so long for each ([`TlsOptions`]), counted over all
//! shards; [`SEAL_MAX`] bytes sealed ahead; what rustls holds of a client's bytes is one record, or one message of a handshake
//! of at most 64 KiB.

use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use crate::admin::figures::Counter;
use crate::pipeline::auth;
use crate::rt::clock;
use crate::rt::executor::timeout;
use crate::rt::socket::Stream;
use crate::server::options::TlsOptions;
use crate::tls::session::Taken;
use crate::tls::{Session, TLS_HANDSHAKE};

use super::{Door, Shard, SharedCounts};

/// Bytes of answers that are sealed at once.
pub(super) const SEAL_MAX: usize = 256 << 10;

/// A connection's TLS, and the records that the socket has not taken yet. While there are some a writer task is at work.
#[derive(Debug)]
pub(super) struct Secured {
    session: Box<Session>,
    sealed: Vec<u8>,
}

impl Secured {
    /// What the socket gets next: the rest of what was sealed, or the records of a piece of `plain`, which is taken out.
    pub(super) fn unsent(&mut self, plain: &mut Vec<u8>) -> &mut Vec<u8> {
        if self.sealed.is_empty() {
            if plain.len() <= SEAL_MAX {
                self.session.seal(plain, &mut self.sealed);
                plain.clear();
            } else {
                self.session.seal(&plain[..SEAL_MAX], &mut self.sealed);
                plain.drain(..SEAL_MAX);
            }
        }
        &mut self.sealed
    }

    /// Whether there is something to send besides answers.
    pub(super) fn wants_to_say(&self) -> bool {
        !self.sealed.is_empty() || self.session.wants_to_say()
    }

    /// The records that tell the client that nothing more comes.
    pub(super) fn last_records(&mut self) -> Vec<u8> {
        let mut records = std::mem::take(&mut self.sealed);
        self.session.end(&mut records);
        records
    }
}

/// One handshake's place among those that go on at once.
struct Place(Arc<SharedCounts>);

impl Place {
    /// None if all are taken.
    fn take(shared: &Arc<SharedCounts>, max: u32) -> Option<Self> {
        let place = Self(shared.clone());
        // Gives it back if it is one too many.
        (shared.handshakes.fetch_add(1, Ordering::Relaxed) < u64::from(max)).then_some(place)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.0.handshakes.fetch_sub(1, Ordering::Relaxed);
    }
}

/// How a connection began.
enum Beginning {
    /// With a handshake that ended well.
    Secured(Box<Session>),
    /// Without one, on a port that takes both.
    Plain,
}

impl Shard {
    /// Has the TLS handshake with a new connection of a port that takes TLS; what came behind it, or instead of it where that is
    /// allowed, is in `bytes` afterwards. Whether the connection is to be served.
    pub(super) async fn begin(&self, slot: u32, stream: &Rc<Stream>, door: Door, bytes: &mut Vec<u8>) -> bool {
        let tls = self.options.tls.as_ref().expect("a door with TLS is opened only where there is TLS");
        let Some(_place) = Place::take(&self.shared, tls.handshakes_max) else {
            tracing::warn!(peer = %stream.peer(), max = tls.handshakes_max, "too many TLS handshakes at once: closed");
            self.count(Counter::TlsHandshakesExceeded);
            return false;
        };
        let outcome = timeout(tls.handshake_timeout, self.shake_hands(tls, stream, door, bytes)).await;
        let session = match outcome {
            Some(Ok(Beginning::Plain)) => return true,
            Some(Ok(Beginning::Secured(session))) => session,
            failed => {
                let problem = match failed {
                    Some(Err(problem)) => problem,
                    _ => "it took too long".to_owned(),
                };
                tracing::warn!(peer = %stream.peer(), problem, "no TLS handshake came about: closed");
                self.count(Counter::UnsuccessfulHandshakes);
                self.state.borrow_mut().stats.auth_failed += 1;
                return false;
            }
        };
        let state = &mut *self.state.borrow_mut();
        let Some(connection) = state.connections.get_mut(slot) else {
            return false;
        };
        if let Some(subject) = session.client() {
            tracing::debug!(peer = %connection.peer, subject, "a client with a certificate");
            connection.add_identities(auth::x509_identities(&subject, &self.options.auth));
        }
        connection.heard = clock::now();
        connection.tls = Some(Box::new(Secured { session, sealed: Vec::new() }));
        true
    }

    async fn shake_hands(
        &self,
        tls: &TlsOptions,
        stream: &Rc<Stream>,
        door: Door,
        bytes: &mut Vec<u8>,
    ) -> Result<Beginning, String> {
        let mut session = None;
        let mut records = Vec::new();
        loop {
            records.clear();
            match stream.read(&mut records).await {
                Ok(0) => return Err("the client has ended the connection".to_owned()),
                Ok(len) => self.state.borrow_mut().stats.figures.add(Counter::BytesReceived, len as u64),
                Err(error) => return Err(error.to_string()),
            }
            if session.is_none() && records[0] != TLS_HANDSHAKE {
                if door == Door::Either {
                    *bytes = records;
                    return Ok(Beginning::Plain);
                }
                return Err("what the client has sent is no TLS".to_owned());
            }
            let own = session.get_or_insert_with(|| Box::new(Session::new(&tls.acceptor)));
            let taken = own.take(&records, bytes);
            // What is said last after an error tells the client what was wrong.
            records.clear();
            own.unsent(&mut records);
            if !records.is_empty() {
                stream.write_all(&records).await.map_err(|error| error.to_string())?;
            }
            if taken? == Taken::Ended {
                return Err("the client has ended the connection".to_owned());
            }
            if !own.is_handshaking() {
                return Ok(Beginning::Secured(session.expect("it was put there above")));
            }
        }
    }

    /// Takes records that have come from a secured connection; how many bytes of plaintext they brought, or none at the end.
    pub(super) fn open_records(&self, slot: u32, records: &[u8], bytes: &mut Vec<u8>) -> Option<usize> {
        let state = &mut *self.state.borrow_mut();
        let connection = state.connections.get_mut(slot)?;
        let secured = connection.tls.as_mut().expect("a secured connection keeps its session");
        let before = bytes.len();
        let taken = secured.session.take(records, bytes);
        if secured.session.wants_to_say() {
            super::State::mark_dirty(connection, &mut state.dirty);
        }
        match taken {
            Ok(Taken::Open) => Some(bytes.len() - before),
            Ok(Taken::Ended) if bytes.len() > before => Some(bytes.len() - before),
            Ok(Taken::Ended) => None,
            Err(problem) => {
                tracing::debug!(peer = %connection.peer, problem, "TLS failed: closed");
                None
            }
        }
    }

    fn count(&self, counter: Counter) {
        self.state.borrow_mut().stats.figures.add(counter, 1);
    }
}
