//! What a client learns about a znode besides its data.

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
        let mut bytes = [0; Self::LEN];
        let mut at = 0;
        let mut put = |value: &[u8]| {
            bytes[at..at + value.len()].copy_from_slice(value);
            at += value.len();
        };
        put(&self.czxid.0.to_be_bytes());
        put(&self.mzxid.0.to_be_bytes());
        put(&self.ctime.0.to_be_bytes());
        put(&self.mtime.0.to_be_bytes());
        put(&self.version.to_be_bytes());
        put(&self.cversion.to_be_bytes());
        put(&self.aversion.to_be_bytes());
        put(&self.ephemeral_owner.0.to_be_bytes());
        put(&self.data_length.to_be_bytes());
        put(&self.num_children.to_be_bytes());
        put(&self.pzxid.0.to_be_bytes());
        out.put_bytes(&bytes);
    }

    /// Reads it.
    pub fn decode(reader: &mut Reader<'_>) -> Result<Self, DecodeError> {
        Ok(Self {
            czxid: Zxid(reader.i64()?),
            mzxid: Zxid(reader.i64()?),
            ctime: WallTime(reader.i64()?),
            mtime: WallTime(reader.i64()?),
            version: reader.i32()?,
            cversion: reader.i32()?,
            aversion: reader.i32()?,
            ephemeral_owner: SessionId(reader.i64()?),
            data_length: reader.i32()?,
            num_children: reader.i32()?,
            pzxid: Zxid(reader.i64()?),
        })
    }
}

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
