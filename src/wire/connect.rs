//! The handshake that opens a session, outside the header scheme (`ConnectRequest`, `ConnectResponse`).

use super::jute::{DecodeError, Put, Reader};
use crate::ids::{SessionId, Zxid};

/// A session's password.
pub type Password = [u8; PASSWORD_LEN];

/// Bytes of a password.
pub const PASSWORD_LEN: usize = 16;

/// The first frame of a connection.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ConnectRequest<'a> {
    /// Always 0 so far.
    pub protocol_version: i32,
    /// The newest state that the client has seen: a server behind it must refuse.
    pub last_zxid_seen: Zxid,
    /// The session timeout it asks for, in milliseconds.
    pub timeout_ms: i32,
    /// The session to go on with; [`SessionId::NONE`] for a new one.
    pub session: SessionId,
    /// Its password. Any length may come; only the right 16 bytes are right.
    pub password: &'a [u8],
    /// Whether a read-only server will do. `None` from old clients, which must be answered without the byte
    /// (ZOOKEEPER-4814).
    pub read_only: Option<bool>,
}

impl<'a> ConnectRequest<'a> {
    /// Reads it.
    pub fn decode(reader: &mut Reader<'a>) -> Result<Self, DecodeError> {
        Ok(Self {
            protocol_version: reader.i32()?,
            last_zxid_seen: Zxid(reader.i64()?),
            timeout_ms: reader.i32()?,
            session: SessionId(reader.i64()?),
            password: reader.buffer()?.unwrap_or_default(),
            read_only: if reader.is_empty() { None } else { Some(reader.bool()?) },
        })
    }

    /// Appends it.
    pub fn encode(&self, out: &mut Vec<u8>) {
        out.put_i32(self.protocol_version);
        out.put_i64(self.last_zxid_seen.0);
        out.put_i32(self.timeout_ms);
        out.put_i64(self.session.0);
        out.put_buffer(Some(self.password));
        if let Some(read_only) = self.read_only {
            out.put_bool(read_only);
        }
    }
}

/// Its answer. A timeout of 0 with no session refuses: the session is gone or the password wrong.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ConnectResponse {
    /// Always 0 so far.
    pub protocol_version: i32,
    /// The session timeout granted, in milliseconds.
    pub timeout_ms: i32,
    /// The session.
    pub session: SessionId,
    /// Its password.
    pub password: Password,
    /// Whether this server is read-only; the byte is left out for clients that did not send theirs.
    pub read_only: Option<bool>,
}

impl ConnectResponse {
    /// Reads it.
    pub fn decode(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        Ok(Self {
            protocol_version: reader.i32()?,
            timeout_ms: reader.i32()?,
            session: SessionId(reader.i64()?),
            password: {
                let bytes = reader.buffer()?.unwrap_or_default();
                bytes.try_into().map_err(|_| DecodeError::BadLength(i32::try_from(bytes.len()).unwrap_or(i32::MAX)))?
            },
            read_only: if reader.is_empty() { None } else { Some(reader.bool()?) },
        })
    }

    /// Appends it.
    pub fn encode(&self, out: &mut Vec<u8>) {
        out.put_i32(self.protocol_version);
        out.put_i32(self.timeout_ms);
        out.put_i64(self.session.0);
        out.put_buffer(Some(&self.password));
        if let Some(read_only) = self.read_only {
            out.put_bool(read_only);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_read_only_byte_is_optional() {
        for read_only in [None, Some(false), Some(true)] {
            let request = ConnectRequest {
                protocol_version: 0,
                last_zxid_seen: Zxid(5),
                timeout_ms: 10_000,
                session: SessionId(7),
                password: &[1; PASSWORD_LEN],
                read_only,
            };
            let mut out = Vec::new();
            request.encode(&mut out);
            assert_eq!(out.len(), 44 + usize::from(read_only.is_some()));
            assert_eq!(ConnectRequest::decode(&mut Reader::new(&out)), Ok(request));
            let response = ConnectResponse {
                protocol_version: 0,
                timeout_ms: 0,
                session: SessionId::NONE,
                password: [0; PASSWORD_LEN],
                read_only,
            };
            out.clear();
            response.encode(&mut out);
            assert_eq!(ConnectResponse::decode(&mut Reader::new(&out)), Ok(response));
        }
    }
}
