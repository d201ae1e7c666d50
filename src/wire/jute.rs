//! Jute, the encoding of all of ZooKeeper's records: big-endian numbers, and strings, buffers and vectors with a 32-bit length
//! before them, of which -1 means null (Apache's `BinaryInputArchive`, `BinaryOutputArchive`).

use std::borrow::Cow;

use thiserror::Error;

/// Why bytes are not the record they should be.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Error)]
pub enum DecodeError {
    /// The record goes on behind the last byte.
    #[error("the record ends too early")]
    UnexpectedEnd,
    /// A length below -1.
    #[error("unreasonable length {0}")]
    BadLength(i32),
    /// Null where a path has to be.
    #[error("null where a path has to be")]
    NullPath,
    /// Null where the id of an access control list's entry has to be.
    #[error("null where an id has to be")]
    NullId,
    /// A number that names no kind of record.
    #[error("no such record type: {0}")]
    BadType(i32),
}

/// Reads one record after the other from a slice, and borrows from it.
#[derive(Clone, Copy, Debug)]
pub struct Reader<'a> {
    rest: &'a [u8],
}

impl<'a> Reader<'a> {
    /// Reads from the start of `bytes`.
    pub const fn new(bytes: &'a [u8]) -> Self {
        Self { rest: bytes }
    }

    /// What has not been read.
    pub const fn rest(&self) -> &'a [u8] {
        self.rest
    }

    /// Whether everything has been read.
    pub const fn is_empty(&self) -> bool {
        self.rest.is_empty()
    }

    /// The next `len` bytes.
    pub fn bytes(&mut self, len: usize) -> Result<&'a [u8], DecodeError> {
        let (head, tail) = self.rest.split_at_checked(len).ok_or(DecodeError::UnexpectedEnd)?;
        self.rest = tail;
        Ok(head)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], DecodeError> {
        let (head, tail) = self.rest.split_first_chunk::<N>().ok_or(DecodeError::UnexpectedEnd)?;
        self.rest = tail;
        Ok(*head)
    }

    /// A byte.
    pub fn u8(&mut self) -> Result<u8, DecodeError> {
        self.array::<1>().map(|[byte]| byte)
    }

    /// A boolean: any byte but zero is true.
    pub fn bool(&mut self) -> Result<bool, DecodeError> {
        self.u8().map(|byte| byte != 0)
    }

    /// A 32-bit number.
    pub fn i32(&mut self) -> Result<i32, DecodeError> {
        self.array().map(i32::from_be_bytes)
    }

    /// A 64-bit number.
    pub fn i64(&mut self) -> Result<i64, DecodeError> {
        self.array().map(i64::from_be_bytes)
    }

    /// A buffer; `None` is null.
    pub fn buffer(&mut self) -> Result<Option<&'a [u8]>, DecodeError> {
        match self.i32()? {
            -1 => Ok(None),
            len => self.bytes(usize::try_from(len).map_err(|_| DecodeError::BadLength(len))?).map(Some),
        }
    }

    /// A string; `None` is null. Invalid UTF-8 becomes U+FFFD, as in Java.
    pub fn ustring_opt(&mut self) -> Result<Option<Cow<'a, str>>, DecodeError> {
        Ok(self.buffer()?.map(String::from_utf8_lossy))
    }

    /// A string where null means the same as empty.
    pub fn ustring(&mut self) -> Result<Cow<'a, str>, DecodeError> {
        Ok(self.ustring_opt()?.unwrap_or_default())
    }

    /// A path, where null is an error: Java stumbles over it while it handles the request.
    pub fn path(&mut self) -> Result<Cow<'a, str>, DecodeError> {
        self.ustring_opt()?.ok_or(DecodeError::NullPath)
    }

    /// The count of a vector; `None` is null. Negative counts read as empty. The count is not to be trusted for an allocation.
    pub fn count(&mut self) -> Result<Option<usize>, DecodeError> {
        Ok(match self.i32()? {
            -1 => None,
            count => Some(usize::try_from(count).unwrap_or(0)),
        })
    }

    /// A vector of paths, where null, the vector's or a path's, is an error as in [`Reader::path`].
    pub fn paths(&mut self) -> Result<Vec<Cow<'a, str>>, DecodeError> {
        let count = self.count()?.ok_or(DecodeError::NullPath)?;
        let mut paths = Vec::with_capacity(count.min(self.rest.len() / 4));
        for _ in 0..count {
            paths.push(self.path()?);
        }
        Ok(paths)
    }

    /// A vector of strings; null reads as empty.
    pub fn ustrings(&mut self) -> Result<Vec<Cow<'a, str>>, DecodeError> {
        let count = self.count()?.unwrap_or(0);
        // Each string takes four bytes at least, which bounds what a lying count can make us allocate.
        let mut strings = Vec::with_capacity(count.min(self.rest.len() / 4));
        for _ in 0..count {
            strings.push(self.ustring()?);
        }
        Ok(strings)
    }
}

/// Appends jute to a byte vector.
pub trait Put {
    /// A byte.
    fn put_u8(&mut self, value: u8);
    /// A boolean.
    fn put_bool(&mut self, value: bool) {
        self.put_u8(u8::from(value));
    }
    /// Bytes as they are, with no length.
    fn put_bytes(&mut self, bytes: &[u8]);
    /// A 32-bit number.
    fn put_i32(&mut self, value: i32) {
        self.put_bytes(&value.to_be_bytes());
    }
    /// A 64-bit number.
    fn put_i64(&mut self, value: i64) {
        self.put_bytes(&value.to_be_bytes());
    }
    /// A length or count.
    ///
    /// # Panics
    /// At 2 GiB: frames are bounded far below.
    fn put_len(&mut self, len: usize) {
        self.put_i32(i32::try_from(len).expect("a jute length is far below 2 GiB: frames are bounded"));
    }
    /// A buffer; `None` is null.
    fn put_buffer(&mut self, buffer: Option<&[u8]>) {
        match buffer {
            None => self.put_i32(-1),
            Some(bytes) => {
                self.put_len(bytes.len());
                self.put_bytes(bytes);
            }
        }
    }
    /// A string.
    fn put_ustring(&mut self, string: &str) {
        self.put_len(string.len());
        self.put_bytes(string.as_bytes());
    }
}

impl Put for Vec<u8> {
    fn put_u8(&mut self, value: u8) {
        self.push(value);
    }

    fn put_bytes(&mut self, bytes: &[u8]) {
        self.extend_from_slice(bytes);
    }
}

/// Appends a frame: four bytes of length, then what `fill` appends.
pub fn put_frame(out: &mut Vec<u8>, fill: impl FnOnce(&mut Vec<u8>)) {
    let start = out.len();
    out.put_i32(0);
    fill(out);
    let len = i32::try_from(out.len() - start - 4).expect("a frame is far below 2 GiB");
    out[start..start + 4].copy_from_slice(&len.to_be_bytes());
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_and_strings_go_there_and_back() {
        let mut out = Vec::new();
        out.put_i32(-2);
        out.put_i64(i64::MIN);
        out.put_bool(true);
        out.put_ustring("/a");
        out.put_buffer(None);
        out.put_buffer(Some(&[]));
        let mut reader = Reader::new(&out);
        assert_eq!(reader.i32(), Ok(-2));
        assert_eq!(reader.i64(), Ok(i64::MIN));
        assert_eq!(reader.bool(), Ok(true));
        assert_eq!(reader.ustring().as_deref(), Ok("/a"));
        assert_eq!(reader.buffer(), Ok(None));
        assert_eq!(reader.buffer(), Ok(Some(&[][..])));
        assert!(reader.is_empty());
        assert_eq!(reader.u8(), Err(DecodeError::UnexpectedEnd));
    }

    #[test]
    fn absurd_lengths_are_errors_and_allocate_nothing() {
        assert_eq!(Reader::new(&i32::MAX.to_be_bytes()).buffer(), Err(DecodeError::UnexpectedEnd));
        assert_eq!(Reader::new(&(-2_i32).to_be_bytes()).buffer(), Err(DecodeError::BadLength(-2)));
        assert_eq!(Reader::new(&i32::MAX.to_be_bytes()).ustrings(), Err(DecodeError::UnexpectedEnd));
        assert_eq!(Reader::new(&(-7_i32).to_be_bytes()).ustrings(), Ok(vec![]));
    }

    #[test]
    fn invalid_utf8_reads_as_java_reads_it() {
        let mut out = Vec::new();
        out.put_buffer(Some(b"/a\xff"));
        assert_eq!(Reader::new(&out).ustring().as_deref(), Ok("/a\u{fffd}"));
    }
}
