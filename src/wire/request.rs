//! The bodies of requests, borrowed from their frame.
//!
//! A null path is an error; a null buffer stays null, because a znode may hold it.

use std::borrow::Cow;

use super::acl::AclList;
use super::jute::{DecodeError, Put, Reader};
use super::op::OpCode;
use crate::ids::Zxid;

/// `create`, `create2`, `createContainer` and `createTTL`, whose records differ only in the last field.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct CreateRequest<'a> {
    /// Where; a sequential one gets its number behind it.
    pub path: Cow<'a, str>,
    /// What it holds.
    pub data: Option<&'a [u8]>,
    /// Who may do what with it.
    pub acl: AclList<'a>,
    /// Apache's `CreateMode` by number.
    pub flags: i32,
    /// Milliseconds without change until a TTL znode may go; -1 for all others.
    pub ttl_ms: i64,
}

impl<'a> CreateRequest<'a> {
    /// Reads the record that goes with `op`.
    pub fn decode(op: OpCode, reader: &mut Reader<'a>) -> Result<Self, DecodeError> {
        Ok(Self {
            path: reader.path()?,
            data: reader.buffer()?,
            acl: AclList::decode(reader)?,
            flags: reader.i32()?,
            ttl_ms: if op == OpCode::CREATE_TTL { reader.i64()? } else { -1 },
        })
    }

    /// Appends the record that goes with `op`.
    pub fn encode(&self, op: OpCode, out: &mut Vec<u8>) {
        out.put_ustring(&self.path);
        out.put_buffer(self.data);
        self.acl.encode(out);
        out.put_i32(self.flags);
        if op == OpCode::CREATE_TTL {
            out.put_i64(self.ttl_ms);
        }
    }
}

/// `delete` and `check`: a path and the version it must have (-1: any).
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct PathVersionRequest<'a> {
    /// Which znode.
    pub path: Cow<'a, str>,
    /// Its expected version, or -1.
    pub version: i32,
}

impl<'a> PathVersionRequest<'a> {
    /// Reads it.
    pub fn decode(reader: &mut Reader<'a>) -> Result<Self, DecodeError> {
        Ok(Self { path: reader.path()?, version: reader.i32()? })
    }

    /// Appends it.
    pub fn encode(&self, out: &mut Vec<u8>) {
        out.put_ustring(&self.path);
        out.put_i32(self.version);
    }
}

/// `setData`.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct SetDataRequest<'a> {
    /// Which znode.
    pub path: Cow<'a, str>,
    /// What it shall hold.
    pub data: Option<&'a [u8]>,
    /// Its expected version, or -1.
    pub version: i32,
}

impl<'a> SetDataRequest<'a> {
    /// Reads it.
    pub fn decode(reader: &mut Reader<'a>) -> Result<Self, DecodeError> {
        Ok(Self { path: reader.path()?, data: reader.buffer()?, version: reader.i32()? })
    }

    /// Appends it.
    pub fn encode(&self, out: &mut Vec<u8>) {
        out.put_ustring(&self.path);
        out.put_buffer(self.data);
        out.put_i32(self.version);
    }
}

/// `setACL`.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct SetAclRequest<'a> {
    /// Which znode.
    pub path: Cow<'a, str>,
    /// Its new list.
    pub acl: AclList<'a>,
    /// Its expected aversion, or -1.
    pub version: i32,
}

impl<'a> SetAclRequest<'a> {
    /// Reads it.
    pub fn decode(reader: &mut Reader<'a>) -> Result<Self, DecodeError> {
        Ok(Self { path: reader.path()?, acl: AclList::decode(reader)?, version: reader.i32()? })
    }

    /// Appends it.
    pub fn encode(&self, out: &mut Vec<u8>) {
        out.put_ustring(&self.path);
        self.acl.encode(out);
        out.put_i32(self.version);
    }
}

/// `exists`, `getData`, `getChildren` and `getChildren2`: a path and whether to leave a watch.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct PathWatchRequest<'a> {
    /// Which znode.
    pub path: Cow<'a, str>,
    /// Whether to leave a one-shot watch.
    pub watch: bool,
}

impl<'a> PathWatchRequest<'a> {
    /// Reads it.
    pub fn decode(reader: &mut Reader<'a>) -> Result<Self, DecodeError> {
        Ok(Self { path: reader.path()?, watch: reader.bool()? })
    }

    /// Appends it.
    pub fn encode(&self, out: &mut Vec<u8>) {
        out.put_ustring(&self.path);
        out.put_bool(self.watch);
    }
}

/// `getACL`, `sync`, `getAllChildrenNumber`, `getEphemerals` and the internal `deleteContainer`: a path alone.
/// `None` is null, which `getEphemerals` takes for "all".
pub fn decode_path<'a>(reader: &mut Reader<'a>) -> Result<Option<Cow<'a, str>>, DecodeError> {
    reader.ustring_opt()
}

/// `addWatch` (its mode), `checkWatches` and `removeWatches` (their watcher type): a path and a number.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct PathKindRequest<'a> {
    /// Which znode.
    pub path: Cow<'a, str>,
    /// Apache's `AddWatchMode` or `WatcherType` by number.
    pub kind: i32,
}

impl<'a> PathKindRequest<'a> {
    /// Reads it.
    pub fn decode(reader: &mut Reader<'a>) -> Result<Self, DecodeError> {
        Ok(Self { path: reader.path()?, kind: reader.i32()? })
    }

    /// Appends it.
    pub fn encode(&self, out: &mut Vec<u8>) {
        out.put_ustring(&self.path);
        out.put_i32(self.kind);
    }
}

/// `setWatches` and `setWatches2`: the watches of a client that comes back.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct SetWatchesRequest<'a> {
    /// What the client has seen: watches on what is newer fire at once.
    pub relative_zxid: Zxid,
    /// Data watches.
    pub data: Vec<Cow<'a, str>>,
    /// Watches for znodes that did not exist.
    pub exist: Vec<Cow<'a, str>>,
    /// Child watches.
    pub child: Vec<Cow<'a, str>>,
    /// Persistent watches (`setWatches2`).
    pub persistent: Vec<Cow<'a, str>>,
    /// Persistent recursive watches (`setWatches2`).
    pub persistent_recursive: Vec<Cow<'a, str>>,
}

impl<'a> SetWatchesRequest<'a> {
    /// Reads the record that goes with `op`.
    pub fn decode(op: OpCode, reader: &mut Reader<'a>) -> Result<Self, DecodeError> {
        let with_persistent = op == OpCode::SET_WATCHES2;
        Ok(Self {
            relative_zxid: Zxid(reader.i64()?),
            data: reader.paths()?,
            exist: reader.paths()?,
            child: reader.paths()?,
            persistent: if with_persistent { reader.paths()? } else { Vec::new() },
            persistent_recursive: if with_persistent { reader.paths()? } else { Vec::new() },
        })
    }

    /// Appends it as `setWatches2`.
    pub fn encode(&self, out: &mut Vec<u8>) {
        out.put_i64(self.relative_zxid.0);
        for paths in [&self.data, &self.exist, &self.child, &self.persistent, &self.persistent_recursive] {
            out.put_len(paths.len());
            paths.iter().for_each(|path| out.put_ustring(path));
        }
    }
}

/// `reconfig`. A text that is null is not given; one that is empty is.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ReconfigRequest<'a> {
    /// `server.N=...` of those that join or change, separated by commas.
    pub joining: Option<Cow<'a, str>>,
    /// Numbers of those that leave, separated by commas.
    pub leaving: Option<Cow<'a, str>>,
    /// All members from now on, a line each or separated by commas; then the two before do not count.
    pub members: Option<Cow<'a, str>>,
    /// The version that the present configuration has to have; -1: any.
    pub from_version: i64,
}

impl<'a> ReconfigRequest<'a> {
    /// Reads it.
    pub fn decode(reader: &mut Reader<'a>) -> Result<Self, DecodeError> {
        Ok(Self {
            joining: reader.ustring_opt()?,
            leaving: reader.ustring_opt()?,
            members: reader.ustring_opt()?,
            from_version: reader.i64()?,
        })
    }

    /// Appends it.
    pub fn encode(&self, out: &mut Vec<u8>) {
        for text in [&self.joining, &self.leaving, &self.members] {
            out.put_buffer(text.as_ref().map(|text| text.as_bytes()));
        }
        out.put_i64(self.from_version);
    }
}

/// `auth`.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct AuthRequest<'a> {
    /// Unused.
    pub kind: i32,
    /// "digest" ...
    pub scheme: Cow<'a, str>,
    /// The credentials; null proves nothing.
    pub auth: Option<&'a [u8]>,
}

impl<'a> AuthRequest<'a> {
    /// Reads it.
    pub fn decode(reader: &mut Reader<'a>) -> Result<Self, DecodeError> {
        Ok(Self { kind: reader.i32()?, scheme: reader.ustring()?, auth: reader.buffer()? })
    }

    /// Appends it.
    pub fn encode(&self, out: &mut Vec<u8>) {
        out.put_i32(self.kind);
        out.put_ustring(&self.scheme);
        out.put_buffer(self.auth);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn create_has_a_ttl_only_where_it_should() {
        for op in [OpCode::CREATE, OpCode::CREATE2, OpCode::CREATE_CONTAINER, OpCode::CREATE_TTL] {
            let request = CreateRequest {
                path: "/a".into(),
                data: Some(b"x"),
                acl: AclList::OPEN,
                flags: 5,
                ttl_ms: if op == OpCode::CREATE_TTL { 77 } else { -1 },
            };
            let mut out = Vec::new();
            request.encode(op, &mut out);
            let mut reader = Reader::new(&out);
            assert_eq!(CreateRequest::decode(op, &mut reader), Ok(request));
            assert!(reader.is_empty());
        }
    }

    #[test]
    fn reconfig_comes_back() {
        let request = ReconfigRequest {
            joining: Some("server.4=a:1:2;3".into()),
            leaving: None,
            members: Some("".into()),
            from_version: 0x1_0000_000a,
        };
        let mut out = Vec::new();
        request.encode(&mut out);
        assert_eq!(ReconfigRequest::decode(&mut Reader::new(&out)), Ok(request));
    }

    #[test]
    fn set_watches_come_back() {
        let request = SetWatchesRequest {
            relative_zxid: Zxid(3),
            data: vec!["/a".into()],
            exist: vec![],
            child: vec!["/b".into(), "/c".into()],
            persistent: vec!["/d".into()],
            persistent_recursive: vec!["/e".into()],
        };
        let mut out = Vec::new();
        request.encode(&mut out);
        assert_eq!(SetWatchesRequest::decode(OpCode::SET_WATCHES2, &mut Reader::new(&out)), Ok(request));
    }
}
