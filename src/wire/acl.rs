//! Access control lists, kept as the bytes that travel.
//!
//! Nearly every znode of an installation has one of a handful of lists, and a list passes from the request through the
//! transaction into the log unchanged. So a list is its own encoding: comparing, interning and copying need no decoding and no
//! allocation; only a check that has to look inside iterates.

use std::borrow::Cow;
use std::fmt;

use super::jute::{DecodeError, Put, Reader};

/// What an entry allows (Apache's `ZooDefs.Perms`), a set of bits.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
#[repr(transparent)]
pub struct Perms(pub i32);

impl Perms {
    /// Read the data and list the children.
    pub const READ: Self = Self(1);
    /// Set the data.
    pub const WRITE: Self = Self(2);
    /// Create children.
    pub const CREATE: Self = Self(4);
    /// Delete children.
    pub const DELETE: Self = Self(8);
    /// Set the access control list.
    pub const ADMIN: Self = Self(16);
    /// All of them.
    pub const ALL: Self = Self(31);

    /// Whether any bit of `wanted` is in it, which is how ZooKeeper tests.
    pub const fn intersects(self, wanted: Self) -> bool {
        self.0 & wanted.0 != 0
    }
}

/// Who: a scheme and an id in it (`org.apache.zookeeper.data.Id`).
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Id<'a> {
    /// "world", "digest", "ip", "auth", "super", "x509", "sasl" ...
    pub scheme: Cow<'a, str>,
    /// In the form that the scheme asks for.
    pub id: Cow<'a, str>,
}

impl<'a> Id<'a> {
    /// From two strings.
    pub fn new(scheme: impl Into<Cow<'a, str>>, id: impl Into<Cow<'a, str>>) -> Self {
        Self { scheme: scheme.into(), id: id.into() }
    }

    /// Everybody.
    pub const fn anyone() -> Id<'static> {
        Id { scheme: Cow::Borrowed("world"), id: Cow::Borrowed("anyone") }
    }

    /// With strings of its own.
    pub fn into_owned(self) -> Id<'static> {
        Id { scheme: Cow::Owned(self.scheme.into_owned()), id: Cow::Owned(self.id.into_owned()) }
    }

    /// Reads it.
    pub fn decode(reader: &mut Reader<'a>) -> Result<Self, DecodeError> {
        Ok(Self { scheme: reader.ustring()?, id: reader.ustring()? })
    }

    /// Appends it.
    pub fn encode(&self, out: &mut Vec<u8>) {
        out.put_ustring(&self.scheme);
        out.put_ustring(&self.id);
    }
}

/// An entry of a list.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
pub struct Acl<'a> {
    /// What is allowed.
    pub perms: Perms,
    /// To whom.
    pub id: Id<'a>,
}

impl<'a> Acl<'a> {
    /// Reads it. A null id in a scheme that looks at ids is an error: Java stumbles over it while it checks the list.
    pub fn decode(reader: &mut Reader<'a>) -> Result<Self, DecodeError> {
        let perms = Perms(reader.i32()?);
        let scheme = reader.ustring()?;
        let id = match (&*scheme, reader.ustring_opt()?) {
            ("world" | "digest" | "ip", None) => return Err(DecodeError::NullId),
            (_, id) => id.unwrap_or_default(),
        };
        Ok(Self { perms, id: Id { scheme, id } })
    }

    /// Appends it.
    pub fn encode(&self, out: &mut Vec<u8>) {
        out.put_i32(self.perms.0);
        self.id.encode(out);
    }
}

/// A list of entries, as the bytes of its jute vector. Well formed by construction.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct AclList<'a>(Cow<'a, [u8]>);

impl<'a> AclList<'a> {
    /// `world:anyone` may do everything: what nearly every client sends.
    pub const OPEN: AclList<'static> =
        AclList(Cow::Borrowed(b"\x00\x00\x00\x01\x00\x00\x00\x1f\x00\x00\x00\x05world\x00\x00\x00\x06anyone"));
    /// `world:anyone` may read.
    pub const READ_ONLY: AclList<'static> =
        AclList(Cow::Borrowed(b"\x00\x00\x00\x01\x00\x00\x00\x01\x00\x00\x00\x05world\x00\x00\x00\x06anyone"));

    /// From entries.
    pub fn from_entries<'b>(entries: impl ExactSizeIterator<Item = &'b Acl<'b>>) -> AclList<'static> {
        let mut out = Vec::with_capacity(64);
        out.put_len(entries.len());
        entries.for_each(|entry| entry.encode(&mut out));
        AclList(Cow::Owned(out))
    }

    /// Reads it; checks that every entry is whole. Invalid UTF-8 is replaced, as in Java, so that what is stored is text.
    pub fn decode(reader: &mut Reader<'a>) -> Result<Self, DecodeError> {
        let start = reader.rest();
        let mut is_text = true;
        for _ in 0..reader.count()?.unwrap_or(0) {
            let entry = Acl::decode(reader)?;
            is_text &= matches!((&entry.id.scheme, &entry.id.id), (Cow::Borrowed(_), Cow::Borrowed(_)));
        }
        let bytes = &start[..start.len() - reader.rest().len()];
        if is_text {
            return Ok(Self(Cow::Borrowed(bytes)));
        }
        let raw = AclList(Cow::Borrowed(bytes));
        let entries: Vec<Acl<'_>> = raw.iter().collect();
        Ok(AclList::from_entries(entries.iter()))
    }

    /// Appends it.
    pub fn encode(&self, out: &mut Vec<u8>) {
        out.put_bytes(&self.0);
    }

    /// The encoding.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// Whether it has no entry (null counts as none).
    pub fn is_empty(&self) -> bool {
        self.iter().next().is_none()
    }

    /// Whether it is the null vector.
    pub fn is_null(&self) -> bool {
        self.0.starts_with(&(-1_i32).to_be_bytes())
    }

    /// Its entries.
    pub fn iter(&self) -> impl Iterator<Item = Acl<'_>> {
        let mut reader = Reader::new(&self.0);
        let count = reader.count().ok().flatten().unwrap_or(0);
        (0..count).map(move |_| Acl::decode(&mut reader).expect("an AclList is checked when it is made"))
    }

    /// The same list, borrowed.
    pub fn borrowed(&self) -> AclList<'_> {
        AclList(Cow::Borrowed(&self.0))
    }

    /// With bytes of its own.
    pub fn into_owned(self) -> AclList<'static> {
        AclList(Cow::Owned(self.0.into_owned()))
    }
}

impl fmt::Debug for AclList<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.iter()).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_open_list_is_what_clients_send() {
        let entries = [Acl { perms: Perms::ALL, id: Id::anyone() }];
        assert_eq!(AclList::from_entries(entries.iter()), AclList::OPEN);
        assert_eq!(AclList::OPEN.iter().collect::<Vec<_>>(), entries);
        assert!(!AclList::OPEN.is_empty());
    }

    #[test]
    fn a_list_ends_where_its_entries_end() {
        let mut out = Vec::new();
        AclList::OPEN.encode(&mut out);
        out.push(9);
        let mut reader = Reader::new(&out);
        assert_eq!(AclList::decode(&mut reader), Ok(AclList::OPEN));
        assert_eq!(reader.rest(), [9]);
        for cut in 0..AclList::OPEN.as_bytes().len() {
            assert!(AclList::decode(&mut Reader::new(&out[..cut])).is_err(), "cut at {cut}");
        }
    }

    #[test]
    fn null_and_absurd_counts_are_empty_lists() {
        for count in [-1_i32, -5, 0] {
            let bytes = count.to_be_bytes();
            let list = AclList::decode(&mut Reader::new(&bytes)).expect("a count alone is a list");
            assert!(list.is_empty());
            assert_eq!(list.is_null(), count == -1);
        }
        assert!(AclList::decode(&mut Reader::new(&i32::MAX.to_be_bytes())).is_err());
    }
}
