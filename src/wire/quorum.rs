//! The packets between a leader and its learners (Apache's `QuorumPacket`, `LearnerInfo`; the types stand in `Leader`).
//!
//! The stream is raw jute without outer frames: a packet ends where its last field ends. [`PacketReader`] takes bytes as the
//! socket gives them and returns whole packets; it trusts no length in them, holds no more than one packet of the largest
//! allowed size plus what was pushed, and allocates for bytes that have come, never for bytes that were announced. The data of
//! a packet is a slice of what was read: a proposal goes from here to the log and into the tree without a copy.
//!
//! Behind a packet of type SNAP follows the body of a snapshot, which is no packet: the caller takes what was read of it with
//! [`PacketReader::take_rest`] and feeds the reader again with what is left behind the snapshot's end.

use std::fmt;

use bytes::{Buf, Bytes, BytesMut};

use super::acl::Id;
use super::jute::{DecodeError, Put, Reader};
use super::op::OpCode;
use crate::ids::{ServerId, SessionId, Zxid};

/// Most identities that a forwarded request may carry; more is an error, as no client has that many.
pub const IDENTITIES_MAX: usize = 1024;

/// Most bytes of all identities of a packet together.
pub const IDENTITIES_BYTES_MAX: usize = 1 << 20;

/// Our protocol: ZAB 1.0 with LEADERINFO and ACKEPOCH. Learners and leaders below it are refused.
pub const PROTOCOL_VERSION: i32 = 0x10000;

/// What a packet is for.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(transparent)]
pub struct PacketType(pub i32);

macro_rules! packet_types {
    ($($(#[$doc:meta])* $name:ident = $value:literal;)*) => {
        impl PacketType {
            $($(#[$doc])* pub const $name: Self = Self($value);)*

            /// Its name in Apache's `Leader`, or `None` for a number that has none.
            pub const fn name(self) -> Option<&'static str> {
                match self.0 {
                    $($value => Some(stringify!($name)),)*
                    _ => None,
                }
            }
        }
    };
}

packet_types! {
    /// Learner to leader: a client's request.
    REQUEST = 1;
    /// Leader to follower: a transaction that is not yet committed.
    PROPOSAL = 2;
    /// Learner to leader: everything up to this zxid is durable here.
    ACK = 3;
    /// Leader to follower: the proposal is committed.
    COMMIT = 4;
    /// Both ways: still here; the reply carries the sessions that clients touched.
    PING = 5;
    /// Both ways: is this session alive?
    REVALIDATE = 6;
    /// Leader to learner: what its oldest pending sync waited for has been sent.
    SYNC = 7;
    /// Leader to observer: a committed transaction.
    INFORM = 8;
    /// Leader to follower: the proposal, a new configuration, is committed and holds.
    COMMITANDACTIVATE = 9;
    /// Leader to learner: the history of the new epoch ends here.
    NEWLEADER = 10;
    /// Follower to leader: who it is; the first packet of all.
    FOLLOWERINFO = 11;
    /// Leader to learner: a quorum follows, clients may be served.
    UPTODATE = 12;
    /// Leader to learner: the missing transactions follow.
    DIFF = 13;
    /// Leader to learner: cut the log behind this zxid.
    TRUNC = 14;
    /// Leader to learner: a whole snapshot follows.
    SNAP = 15;
    /// Observer to leader: who it is; the first packet of all.
    OBSERVERINFO = 16;
    /// Leader to learner: the new epoch.
    LEADERINFO = 17;
    /// Learner to leader: the epoch is accepted; how far the learner's own history goes.
    ACKEPOCH = 18;
    /// Leader to observer: a committed new configuration, which holds.
    INFORMANDACTIVATE = 19;
}

impl fmt::Debug for PacketType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.name() {
            Some(name) => f.write_str(name),
            None => write!(f, "UNKNOWN{}", self.0),
        }
    }
}

/// What peers tell each other.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct QuorumPacket {
    /// What it is for.
    pub kind: PacketType,
    /// Its meaning depends on the type; -1 where there is none.
    pub zxid: Zxid,
    /// `None` is null on the wire.
    pub data: Option<Bytes>,
    /// Who the client of a REQUEST is; `None` is null on the wire.
    pub authinfo: Option<Vec<Id<'static>>>,
}

impl QuorumPacket {
    /// Without data.
    pub const fn new(kind: PacketType, zxid: Zxid) -> Self {
        Self { kind, zxid, data: None, authinfo: None }
    }

    /// With data.
    pub const fn with_data(kind: PacketType, zxid: Zxid, data: Bytes) -> Self {
        Self { kind, zxid, data: Some(data), authinfo: None }
    }

    /// How many bytes it takes on the wire.
    pub fn encoded_len(&self) -> usize {
        let ids = self.authinfo.iter().flatten().map(|id| 8 + id.scheme.len() + id.id.len()).sum::<usize>();
        20 + self.data.as_ref().map_or(0, Bytes::len) + ids
    }

    /// Appends it.
    pub fn encode(&self, out: &mut Vec<u8>) {
        out.reserve(self.encoded_len());
        out.put_i32(self.kind.0);
        out.put_i64(self.zxid.0);
        out.put_buffer(self.data.as_deref());
        match &self.authinfo {
            None => out.put_i32(-1),
            Some(ids) => {
                out.put_len(ids.len());
                ids.iter().for_each(|id| id.encode(out));
            }
        }
    }

    /// The data, or why it is not what its type needs.
    pub fn body(&self) -> Result<&Bytes, DecodeError> {
        self.data.as_ref().ok_or(DecodeError::UnexpectedEnd)
    }
}

/// Who a learner is (`LearnerInfo`).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct LearnerInfo {
    /// Its `myid`; `None` if it did not say (Apache then gives it a negative number).
    pub server: Option<ServerId>,
    /// Its protocol; 1 if it did not say.
    pub protocol: i32,
    /// The version of its configuration; 0 if it did not say.
    pub config_version: i64,
}

impl LearnerInfo {
    /// Reads what servers of all ages send: nothing, 8, 12 or 20 bytes. What stands behind is ignored.
    pub fn decode(data: Option<&[u8]>) -> Self {
        let mut reader = Reader::new(data.unwrap_or_default());
        let server = reader.i64().ok().map(ServerId);
        Self { server, protocol: reader.i32().unwrap_or(1), config_version: reader.i64().unwrap_or(0) }
    }

    /// In its full form.
    pub fn to_bytes(server: ServerId, config_version: i64) -> Bytes {
        let mut out = Vec::with_capacity(20);
        out.put_i64(server.0);
        out.put_i32(PROTOCOL_VERSION);
        out.put_i64(config_version);
        out.into()
    }
}

/// The data of REQUEST: a client's request as a learner sends it on.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ForwardedRequest {
    /// Whose it is.
    pub session: SessionId,
    /// The client's number for it.
    pub cxid: i32,
    /// What it asks for.
    pub op: OpCode,
    /// The request's record as the client sent it.
    pub body: Bytes,
}

impl ForwardedRequest {
    /// Reads it.
    pub fn decode(data: &Bytes) -> Result<Self, DecodeError> {
        let mut reader = Reader::new(data);
        let (session, cxid, op) = (SessionId(reader.i64()?), reader.i32()?, OpCode(reader.i32()?));
        Ok(Self { session, cxid, op, body: data.slice(data.len() - reader.rest().len()..) })
    }

    /// As the data of a packet.
    pub fn to_bytes(&self) -> Bytes {
        let mut out = Vec::with_capacity(16 + self.body.len());
        out.put_i64(self.session.0);
        out.put_i32(self.cxid);
        out.put_i32(self.op.0);
        out.put_bytes(&self.body);
        out.into()
    }
}

/// The data of a reply to PING: sessions whose clients were heard, each with its timeout in milliseconds.
pub fn touches_to_bytes(touches: &[(SessionId, i32)]) -> Bytes {
    let mut out = Vec::with_capacity(12 * touches.len());
    for (session, timeout_ms) in touches {
        out.put_i64(session.0);
        out.put_i32(*timeout_ms);
    }
    out.into()
}

/// Reads what [`touches_to_bytes`] wrote; half an entry at the end is an error.
pub fn decode_touches(data: &[u8]) -> Result<Vec<(SessionId, i32)>, DecodeError> {
    let mut touches = Vec::with_capacity(data.len() / 12);
    let mut reader = Reader::new(data);
    while !reader.is_empty() {
        touches.push((SessionId(reader.i64()?), reader.i32()?));
    }
    Ok(touches)
}

/// The data of the learner's REVALIDATE: a session and the timeout its client asked for, in milliseconds.
pub fn revalidate_to_bytes(session: SessionId, timeout_ms: i32) -> Bytes {
    touches_to_bytes(&[(session, timeout_ms)])
}

/// Reads the learner's REVALIDATE.
pub fn decode_revalidate(data: &[u8]) -> Result<(SessionId, i32), DecodeError> {
    let mut reader = Reader::new(data);
    Ok((SessionId(reader.i64()?), reader.i32()?))
}

/// The data of the leader's answer to REVALIDATE.
pub fn revalidated_to_bytes(session: SessionId, valid: bool) -> Bytes {
    let mut out = Vec::with_capacity(9);
    out.put_i64(session.0);
    out.put_bool(valid);
    out.into()
}

/// Reads the leader's answer to REVALIDATE.
pub fn decode_revalidated(data: &[u8]) -> Result<(SessionId, bool), DecodeError> {
    let mut reader = Reader::new(data);
    Ok((SessionId(reader.i64()?), reader.bool()?))
}

/// Bytes in, packets out. After an error the stream has no meaning any more: close the link.
#[derive(Debug)]
pub struct PacketReader {
    unread: BytesMut,
    /// No packet can be whole before this many bytes are there: spares reading the same start again.
    needed: usize,
    data_max: usize,
}

/// The fields before the data.
const HEAD: usize = 16;

impl PacketReader {
    /// Packets with more than `data_max` bytes of data are refused; Apache's bound is `jute.maxbuffer` plus
    /// `zookeeper.jute.maxbuffer.extrasize` (together 2 MiB unless set).
    pub fn new(data_max: usize) -> Self {
        Self { unread: BytesMut::new(), needed: HEAD + 4, data_max }
    }

    /// Takes bytes as they came from the peer. The caller takes the packets out before it pushes more, which bounds what is
    /// held here.
    pub fn push(&mut self, bytes: &[u8]) {
        self.unread.extend_from_slice(bytes);
    }

    /// How many bytes are held that belong to no whole packet.
    pub fn unread_len(&self) -> usize {
        self.unread.len()
    }

    /// Everything behind the last packet, for a reader of snapshots. Feed it what is left behind the snapshot again.
    pub fn take_rest(&mut self) -> Bytes {
        self.needed = HEAD + 4;
        self.unread.split().freeze()
    }

    /// The next packet; `None` until more bytes come.
    ///
    /// # Errors
    /// If no packet can begin with these bytes: a negative or too great length, or too many identities.
    pub fn next_packet(&mut self) -> Result<Option<QuorumPacket>, DecodeError> {
        if self.unread.len() < self.needed {
            return Ok(None);
        }
        let mut reader = Reader::new(&self.unread);
        let (kind, zxid, len) = (PacketType(reader.i32()?), Zxid(reader.i64()?), reader.i32()?);
        let data_len = match len {
            -1 => None,
            len => {
                Some(usize::try_from(len).ok().filter(|len| *len <= self.data_max).ok_or(DecodeError::BadLength(len))?)
            }
        };
        let data_end = HEAD + data_len.unwrap_or(0);
        if self.unread.len() < data_end + 4 {
            self.needed = data_end + 4;
            return Ok(None);
        }
        let mut reader = Reader::new(&self.unread[data_end..]);
        let authinfo = match reader.i32()? {
            -1 => None,
            count => match Self::identities(count, &mut reader) {
                Ok(ids) => Some(ids),
                Err(DecodeError::UnexpectedEnd) if self.unread.len() - data_end <= IDENTITIES_BYTES_MAX => {
                    self.needed = self.unread.len() + 1;
                    return Ok(None);
                }
                Err(DecodeError::UnexpectedEnd) => return Err(DecodeError::BadLength(count)),
                Err(error) => return Err(error),
            },
        };
        let total = self.unread.len() - reader.rest().len();
        let mut packet = self.unread.split_to(total);
        self.needed = HEAD + 4;
        let data = data_len.map(|len| {
            packet.advance(HEAD);
            packet.truncate(len);
            packet.freeze()
        });
        Ok(Some(QuorumPacket { kind, zxid, data, authinfo }))
    }

    fn identities(count: i32, reader: &mut Reader<'_>) -> Result<Vec<Id<'static>>, DecodeError> {
        // Java reads a negative count as an empty vector.
        let count = usize::try_from(count).unwrap_or(0);
        if count > IDENTITIES_MAX {
            return Err(DecodeError::BadLength(i32::try_from(count).unwrap_or(i32::MAX)));
        }
        // Ids take eight bytes at least, which bounds what a lying count can make us allocate.
        let mut ids = Vec::with_capacity(count.min(reader.rest().len() / 8));
        for _ in 0..count {
            ids.push(Id::decode(reader)?.into_owned());
        }
        Ok(ids)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample() -> Vec<QuorumPacket> {
        vec![
            QuorumPacket::new(PacketType::PING, Zxid(7)),
            QuorumPacket::with_data(PacketType::PROPOSAL, Zxid(0x1_0000_0001), Bytes::from_static(b"abc")),
            QuorumPacket::with_data(PacketType::NEWLEADER, Zxid(0x1_0000_0000), Bytes::new()),
            QuorumPacket {
                kind: PacketType::REQUEST,
                zxid: Zxid(-1),
                data: Some(Bytes::from_static(b"0123456789abcdef/path")),
                authinfo: Some(vec![Id::new("ip", "127.0.0.1"), Id::new("digest", "bob:x")]),
            },
            QuorumPacket { kind: PacketType(99), zxid: Zxid(-1), data: None, authinfo: Some(vec![]) },
        ]
    }

    fn encoded(packets: &[QuorumPacket]) -> Vec<u8> {
        let mut out = Vec::new();
        for packet in packets {
            let before = out.len();
            packet.encode(&mut out);
            assert_eq!(out.len() - before, packet.encoded_len());
        }
        out
    }

    #[test]
    fn packets_go_there_and_back_however_the_bytes_are_cut() {
        let packets = sample();
        let bytes = encoded(&packets);
        for piece in [1, 2, 3, 7, 19, bytes.len()] {
            let mut reader = PacketReader::new(1 << 20);
            let mut read = Vec::new();
            for chunk in bytes.chunks(piece) {
                reader.push(chunk);
                while let Some(packet) = reader.next_packet().unwrap() {
                    read.push(packet);
                }
            }
            assert_eq!(read, packets, "in pieces of {piece}");
            assert_eq!(reader.unread_len(), 0);
        }
    }

    #[test]
    fn the_bytes_are_apaches() {
        // QuorumPacket(Leader.PING, 7, null, null) through BinaryOutputArchive.
        assert_eq!(encoded(&sample()[..1]), b"\0\0\0\x05\0\0\0\0\0\0\0\x07\xff\xff\xff\xff\xff\xff\xff\xff");
        let info = LearnerInfo::to_bytes(ServerId(3), 0x1_0000_000a);
        assert_eq!(&info[..], b"\0\0\0\0\0\0\0\x03\0\x01\0\0\0\0\0\x01\0\0\0\x0a");
    }

    #[test]
    fn hostile_lengths_are_errors_and_allocate_nothing() {
        let head = |len: i32| {
            let mut out = Vec::new();
            out.put_i32(2);
            out.put_i64(1);
            out.put_i32(len);
            out.put_i32(-1);
            out
        };
        for (len, wanted) in [(-2, -2), (i32::MIN, i32::MIN), (i32::MAX, i32::MAX), (1 << 20, 1 << 20)] {
            let mut reader = PacketReader::new((1 << 20) - 1);
            reader.push(&head(len));
            assert_eq!(reader.next_packet(), Err(DecodeError::BadLength(wanted)));
        }
        // An allowed length reserves nothing until the bytes come.
        let mut reader = PacketReader::new(usize::MAX);
        reader.push(&head(i32::MAX));
        assert_eq!(reader.next_packet(), Ok(None));
        assert!(reader.unread.capacity() < 1 << 16);
    }

    #[test]
    fn hostile_identities_are_errors() {
        let with_count = |count: i32, rest: &[u8]| {
            let mut reader = PacketReader::new(100);
            let mut out = Vec::new();
            out.put_i32(1);
            out.put_i64(1);
            out.put_i32(-1);
            out.put_i32(count);
            out.put_bytes(rest);
            reader.push(&out);
            reader
        };
        let too_many = i32::try_from(IDENTITIES_MAX).unwrap() + 1;
        assert_eq!(with_count(too_many, &[]).next_packet(), Err(DecodeError::BadLength(too_many)));
        assert_eq!(with_count(1, &(-9_i32).to_be_bytes()).next_packet(), Err(DecodeError::BadLength(-9)));
        // One that is announced too long is refused as soon as more than all identities may take has come.
        let mut reader = with_count(1, &i32::MAX.to_be_bytes());
        assert_eq!(reader.next_packet(), Ok(None));
        reader.push(&vec![0; IDENTITIES_BYTES_MAX]);
        assert_eq!(reader.next_packet(), Err(DecodeError::BadLength(1)));
        // A negative count is an empty vector, as in Java.
        let packet = with_count(-5, &[]).next_packet().unwrap().unwrap();
        assert_eq!(packet.authinfo, Some(vec![]));
    }

    #[test]
    fn a_snapshot_is_taken_out_raw() {
        let mut reader = PacketReader::new(100);
        let mut bytes = encoded(&[QuorumPacket::new(PacketType::SNAP, Zxid(9))]);
        bytes.extend_from_slice(b"body of a snapshot");
        reader.push(&bytes);
        assert_eq!(reader.next_packet().unwrap().unwrap().kind, PacketType::SNAP);
        assert_eq!(&reader.take_rest()[..], b"body of a snapshot");
        reader.push(&encoded(&sample()[..1]));
        assert_eq!(reader.next_packet().unwrap().as_ref(), sample().first());
    }

    #[test]
    fn learner_info_of_all_ages() {
        let full = LearnerInfo::to_bytes(ServerId(3), 5);
        let read = |len: usize| LearnerInfo::decode(Some(&full[..len]));
        assert_eq!(read(20), LearnerInfo { server: Some(ServerId(3)), protocol: 0x10000, config_version: 5 });
        assert_eq!(read(12), LearnerInfo { server: Some(ServerId(3)), protocol: 0x10000, config_version: 0 });
        assert_eq!(read(8), LearnerInfo { server: Some(ServerId(3)), protocol: 1, config_version: 0 });
        assert_eq!(read(0), LearnerInfo { server: None, protocol: 1, config_version: 0 });
        assert_eq!(LearnerInfo::decode(None), read(0));
    }

    #[test]
    fn bodies_go_there_and_back_and_short_ones_are_errors() {
        let request =
            ForwardedRequest { session: SessionId(9), cxid: 4, op: OpCode::CREATE, body: Bytes::from_static(b"/a") };
        assert_eq!(ForwardedRequest::decode(&request.to_bytes()), Ok(request.clone()));
        assert!(ForwardedRequest::decode(&request.to_bytes().slice(..15)).is_err());

        let touches = [(SessionId(1), 4000), (SessionId(-2), 30_000)];
        assert_eq!(decode_touches(&touches_to_bytes(&touches)).as_deref(), Ok(&touches[..]));
        assert!(decode_touches(&touches_to_bytes(&touches)[..13]).is_err());

        assert_eq!(decode_revalidate(&revalidate_to_bytes(SessionId(5), 7)), Ok((SessionId(5), 7)));
        assert_eq!(decode_revalidated(&revalidated_to_bytes(SessionId(5), true)), Ok((SessionId(5), true)));
        assert!(decode_revalidated(&[0; 8]).is_err());
    }
}
