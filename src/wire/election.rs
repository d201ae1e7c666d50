//! The bytes of the election port: the handshake of its connections, their frames, and the notification in each frame.
//!
//! Dialer: [`Hello`], then frames both ways; whether the connection may stay is decided by the two server ids
//! (`server::peers`). Everything read here came from a socket: any bytes give a value or an error, lengths are
//! checked before anything is allocated. Lenient exactly where Apache's server is, as its older versions are still on the
//! other side during an upgrade: a bare server id for a handshake (3.4), notifications of 28 and 40 bytes, bytes behind the
//! end. Sources: `QuorumCnxManager` (`InitialMessage.parse`, `RecvWorker`), `FastLeaderElection` (`Messenger.WorkerReceiver`,
//! `buildMsg`).

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use thiserror::Error;

use super::jute::{DecodeError, Put, Reader};
use crate::ids::{ServerId, Zxid};

/// Handshake with one address; what everyone since 3.5.0 understands.
pub const HELLO_V1: i64 = -65536;
/// Handshake with several addresses; 3.6.0 and later, and sent only with `multiAddress.enabled` (ZOOKEEPER-3720).
pub const HELLO_V2: i64 = -65535;
/// Most bytes of the addresses in a handshake.
pub const HELLO_ADDRESSES_MAX: usize = 2048;
/// Longest payload of a frame.
pub const FRAME_MAX: usize = 512 * 1024;
/// What an observer without an id of its own sends as its server id.
pub const ANONYMOUS_OBSERVER: ServerId = ServerId(i64::MAX);
/// The version of notifications that are written here.
pub const NOTIFICATION_VERSION: i32 = 2;

/// Why bytes of the election port are not what they should be; the connection is of no use any more, except after
/// a bad [`Notification`], which is only dropped.
#[derive(Clone, PartialEq, Eq, Debug, Error)]
pub enum ElectionDecodeError {
    /// A negative first number that is no version of the handshake.
    #[error("unknown version {0} of the handshake")]
    HelloVersion(i64),
    /// The addresses of a handshake have an impossible length.
    #[error("addresses of {0} bytes in a handshake; 1 to {HELLO_ADDRESSES_MAX} are allowed")]
    AddressesLength(i32),
    /// An address is not `host:port`.
    #[error("\"{0}\" is not an address of the form host:port")]
    Address(String),
    /// A frame has an impossible length.
    #[error("a frame of {0} bytes; 1 to {FRAME_MAX} are allowed")]
    FrameLength(i32),
    /// A notification is shorter than its version is.
    #[error("a notification of {0} bytes is too short")]
    Short(usize),
    /// The configuration in a notification has an impossible length.
    #[error("a configuration of {0} bytes in a notification")]
    ConfigLength(i32),
    /// The number names no state of a server.
    #[error("no such state of a server: {0}")]
    State(i32),
}

/// Whether a host, without brackets, names every address of a machine: `0.0.0.0`, `::` in any spelling.
pub fn is_wildcard(host: &str) -> bool {
    host.parse::<IpAddr>().is_ok_and(|address| match address {
        IpAddr::V4(address) => address == Ipv4Addr::UNSPECIFIED,
        IpAddr::V6(address) => {
            address == Ipv6Addr::UNSPECIFIED || address.to_ipv4_mapped() == Some(Ipv4Addr::UNSPECIFIED)
        }
    })
}

/// Which form a handshake has.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum HelloForm {
    /// The bare server id of 3.4; read only.
    BareId,
    /// One address.
    V1,
    /// Several addresses.
    V2,
}

/// Who dialled, and where it can be dialled back.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Hello {
    /// Its form.
    pub form: HelloForm,
    /// The dialer.
    pub server: ServerId,
    /// Its election addresses, hosts without brackets. When read: without wildcards, so it can be empty, which means that
    /// the configuration has to know the address.
    pub addresses: Vec<(String, u16)>,
}

impl Hello {
    /// Reads a handshake from the start of `bytes`: it and its length, or `None` if there are too few bytes so far. The bytes
    /// behind it are frames (or, with quorum SASL, the authentication).
    ///
    /// # Errors
    /// If it is none. An incomplete one that can only become an error is an error at once.
    pub fn read(bytes: &[u8]) -> Result<Option<(Self, usize)>, ElectionDecodeError> {
        let mut reader = Reader::new(bytes);
        let Ok(version) = reader.i64() else { return Ok(None) };
        let form = match version {
            HELLO_V1 => HelloForm::V1,
            HELLO_V2 => HelloForm::V2,
            0.. => {
                let hello = Self { form: HelloForm::BareId, server: ServerId(version), addresses: Vec::new() };
                return Ok(Some((hello, 8)));
            }
            _ => return Err(ElectionDecodeError::HelloVersion(version)),
        };
        let (Ok(server), Ok(length)) = (reader.i64(), reader.i32()) else { return Ok(None) };
        let len = usize::try_from(length)
            .ok()
            .filter(|len| (1..=HELLO_ADDRESSES_MAX).contains(len))
            .ok_or(ElectionDecodeError::AddressesLength(length))?;
        let Ok(text) = reader.bytes(len) else { return Ok(None) };
        let text = String::from_utf8_lossy(text);
        let mut addresses = Vec::new();
        // As Java's split: what is empty at the end does not count, what is empty elsewhere is a bad address.
        for word in text.trim_end_matches('|').split('|') {
            let (host, port) = host_and_port(word).ok_or_else(|| ElectionDecodeError::Address(word.to_owned()))?;
            if !is_wildcard(host) {
                addresses.push((host.to_owned(), port));
            }
        }
        Ok(Some((Self { form, server: ServerId(server), addresses }, bytes.len() - reader.rest().len())))
    }

    /// Appends it; a V1 or a bare id holds only what it has room for.
    ///
    /// # Panics
    /// Without an address, or with addresses longer than a handshake can be: the configuration's reader sees to that.
    pub fn encode(&self, out: &mut Vec<u8>) {
        let version = match self.form {
            HelloForm::BareId => return out.put_i64(self.server.0),
            HelloForm::V1 => HELLO_V1,
            HelloForm::V2 => HELLO_V2,
        };
        let shown = if self.form == HelloForm::V1 { 1 } else { self.addresses.len() };
        let words: Vec<_> = self
            .addresses
            .iter()
            .take(shown)
            .map(|(host, port)| if host.contains(':') { format!("[{host}]:{port}") } else { format!("{host}:{port}") })
            .collect();
        let text = words.join("|");
        assert!((1..=HELLO_ADDRESSES_MAX).contains(&text.len()), "a handshake with addresses of {} bytes", text.len());
        out.put_i64(version);
        out.put_i64(self.server.0);
        out.put_buffer(Some(text.as_bytes()));
    }
}

/// `host:port`, an IPv6 host in brackets (`ConfigUtils.getHostAndPort`).
fn host_and_port(word: &str) -> Option<(&str, u16)> {
    let (host, port) = match word.strip_prefix('[') {
        Some(inner) => inner.split_once("]:")?,
        None => word.split_once(':')?,
    };
    // `parse` refuses a second colon.
    Some((host, port.parse().ok()?)).filter(|(host, _)| !host.is_empty())
}

/// The payload of the first frame in `bytes` and the length of the whole frame, or `None` if it is not complete.
///
/// # Errors
/// If its length is impossible: then the connection has to be closed.
pub fn read_frame(bytes: &[u8]) -> Result<Option<(&[u8], usize)>, ElectionDecodeError> {
    let mut reader = Reader::new(bytes);
    let Ok(length) = reader.i32() else { return Ok(None) };
    let len = usize::try_from(length)
        .ok()
        .filter(|len| (1..=FRAME_MAX).contains(len))
        .ok_or(ElectionDecodeError::FrameLength(length))?;
    Ok(reader.bytes(len).ok().map(|payload| (payload, 4 + len)))
}

/// Appends `payload` as a frame.
///
/// # Panics
/// If it is empty or longer than a frame can be.
pub fn put_frame(payload: &[u8], out: &mut Vec<u8>) {
    assert!((1..=FRAME_MAX).contains(&payload.len()), "a frame of {} bytes", payload.len());
    out.put_buffer(Some(payload));
}

/// What a server is doing, as notifications say it.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum ServerState {
    /// It looks for a leader.
    Looking,
    /// It follows with a vote.
    Following,
    /// It leads.
    Leading,
    /// It follows without a vote.
    Observing,
}

impl ServerState {
    const fn number(self) -> i32 {
        match self {
            Self::Looking => 0,
            Self::Following => 1,
            Self::Leading => 2,
            Self::Observing => 3,
        }
    }

    const fn of(number: i32) -> Option<Self> {
        match number {
            0 => Some(Self::Looking),
            1 => Some(Self::Following),
            2 => Some(Self::Leading),
            3 => Some(Self::Observing),
            _ => None,
        }
    }
}

/// A vote on its way: who the sender wants to lead, or knows to lead.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Notification {
    /// The sender's state.
    pub state: ServerState,
    /// Its candidate or leader; `i64::MIN` from an observer that looks.
    pub leader: ServerId,
    /// The last zxid in that server's log; -1 says that it lost its data and must not be believed.
    pub zxid: Zxid,
    /// The sender's round of elections.
    pub election_epoch: i64,
    /// The epoch of the candidate's history, or of the established leader.
    pub peer_epoch: i64,
    /// The version of the format; 0 if there was none.
    pub version: i32,
    /// The text of the sender's configuration (`quorum::Membership::parse_text`); `None` from version 1 and before.
    pub config: Option<String>,
}

impl Notification {
    /// Reads the payload of a frame.
    ///
    /// | bytes | from | |
    /// |---|---|---|
    /// | 28 | up to 3.3 | no peer epoch: it is the one of the zxid; version 0 |
    /// | 36 | 3.4.0 to 3.4.5 | an error, as for Apache's server since 3.5: it has no version where one is looked for |
    /// | 40 | 3.4.6 to 3.4.14 | version 1, which counts as 0 |
    /// | 44 + n | 3.5.0 and later | version 2 with a configuration; bytes behind it are ignored |
    ///
    /// # Errors
    /// If it is none of these. Apache's server drops such a message and keeps the connection.
    pub fn decode(payload: &[u8]) -> Result<Self, ElectionDecodeError> {
        const WITHOUT_PEER_EPOCH: usize = 28;
        const WITHOUT_VERSION: usize = 40;
        let short = |_: DecodeError| ElectionDecodeError::Short(payload.len());
        if payload.len() < WITHOUT_PEER_EPOCH {
            return Err(ElectionDecodeError::Short(payload.len()));
        }
        let mut reader = Reader::new(payload);
        let state = reader.i32().map_err(short)?;
        let leader = ServerId(reader.i64().map_err(short)?);
        let zxid = Zxid(reader.i64().map_err(short)?);
        let election_epoch = reader.i64().map_err(short)?;
        let (mut peer_epoch, mut version, mut config) = (zxid.0 >> 32, 0, None);
        if payload.len() != WITHOUT_PEER_EPOCH {
            peer_epoch = reader.i64().map_err(short)?;
            if payload.len() != WITHOUT_VERSION {
                version = reader.i32().map_err(short)?;
            }
        }
        if version > 1 {
            let length = reader.i32().map_err(short)?;
            let len = usize::try_from(length).map_err(|_| ElectionDecodeError::ConfigLength(length))?;
            let text = reader.bytes(len).map_err(|_| ElectionDecodeError::ConfigLength(length))?;
            // Always UTF-8 (ZOOKEEPER-4787): the platform's charset would garble host names between machines.
            config = Some(String::from_utf8_lossy(text).into_owned());
        }
        // Last, so that a short message is called short whatever its state is.
        let state = ServerState::of(state).ok_or(ElectionDecodeError::State(state))?;
        Ok(Self { state, leader, zxid, election_epoch, peer_epoch, version, config })
    }

    /// Appends its payload in version [`NOTIFICATION_VERSION`], whatever its own version is.
    pub fn encode(&self, out: &mut Vec<u8>) {
        out.put_i32(self.state.number());
        out.put_i64(self.leader.0);
        out.put_i64(self.zxid.0);
        out.put_i64(self.election_epoch);
        out.put_i64(self.peer_epoch);
        out.put_i32(NOTIFICATION_VERSION);
        out.put_buffer(Some(self.config.as_deref().unwrap_or_default().as_bytes()));
    }
}

#[cfg(test)]
#[path = "election/tests.rs"]
mod tests;
