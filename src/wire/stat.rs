//! What a client learns about a znode besides its data.

use zerocopy::byteorder::{BE, I32, I64};
use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout, Unaligned};

use super::jute::{DecodeError, Put, Reader};
use crate::ids::{SessionId, Zxid};
use crate::time::WallTime;

/// A znode's numbers, as clients see them (`org.apache.zookeeper.data.Stat`).
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Stat {
    /// The transaction that created it.
    pub czxid: Zxid,
    /// The transaction that last changed its data.
    pub mzxid: Zxid,
    /// When it was created.
    pub ctime: WallTime,
    /// When its data last changed.
    pub mtime: WallTime,
    /// Changes of its data.
    pub version: i32,
    /// Changes of its children, creations and deletions alike.
    pub cversion: i32,
    /// Changes of its access control list.
    pub aversion: i32,
    /// The session that an ephemeral znode lives and dies with; none for all others.
    pub ephemeral_owner: SessionId,
    /// Bytes of data.
    pub data_length: i32,
    /// Children.
    pub num_children: i32,
    /// The transaction that last added or removed a child.
    pub pzxid: Zxid,
}

impl Stat {
    /// Its length on the wire.
    pub const LEN: usize = 68;

    /// Appends it.
    pub fn encode(&self, out: &mut Vec<u8>) {
        let wire = StatWire {
            czxid: self.czxid.0.into(),
            mzxid: self.mzxid.0.into(),
            ctime: self.ctime.0.into(),
            mtime: self.mtime.0.into(),
            version: self.version.into(),
            cversion: self.cversion.into(),
            aversion: self.aversion.into(),
            ephemeral_owner: self.ephemeral_owner.0.into(),
            data_length: self.data_length.into(),
            num_children: self.num_children.into(),
            pzxid: self.pzxid.0.into(),
        };
        out.put_bytes(wire.as_bytes());
    }

    /// Reads it.
    pub fn decode(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        let wire = StatWire::ref_from_bytes(reader.bytes(Self::LEN)?).map_err(|_| DecodeError::UnexpectedEnd)?;
        Ok(Self {
            czxid: Zxid(wire.czxid.get()),
            mzxid: Zxid(wire.mzxid.get()),
            ctime: WallTime(wire.ctime.get()),
            mtime: WallTime(wire.mtime.get()),
            version: wire.version.get(),
            cversion: wire.cversion.get(),
            aversion: wire.aversion.get(),
            ephemeral_owner: SessionId(wire.ephemeral_owner.get()),
            data_length: wire.data_length.get(),
            num_children: wire.num_children.get(),
            pzxid: Zxid(wire.pzxid.get()),
        })
    }
}

/// Its bytes, in their order.
#[derive(FromBytes, IntoBytes, Immutable, KnownLayout, Unaligned)]
#[repr(C)]
struct StatWire {
    czxid: I64<BE>,
    mzxid: I64<BE>,
    ctime: I64<BE>,
    mtime: I64<BE>,
    version: I32<BE>,
    cversion: I32<BE>,
    aversion: I32<BE>,
    ephemeral_owner: I64<BE>,
    data_length: I32<BE>,
    num_children: I32<BE>,
    pzxid: I64<BE>,
}

const _: () = assert!(size_of::<StatWire>() == Stat::LEN);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stat_is_68_bytes_and_comes_back() {
        let stat = Stat {
            czxid: Zxid(1),
            mzxid: Zxid(2),
            ctime: WallTime(3),
            mtime: WallTime(4),
            version: 5,
            cversion: 6,
            aversion: 7,
            ephemeral_owner: SessionId(8),
            data_length: 9,
            num_children: 10,
            pzxid: Zxid(11),
        };
        let mut out = Vec::new();
        stat.encode(&mut out);
        assert_eq!(out.len(), Stat::LEN);
        assert_eq!(Stat::decode(&mut Reader::new(&out)), Ok(stat));
    }
}
