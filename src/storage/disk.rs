//! The only seam between storage and the world: one data folder, seen as a flat set of files made of 4 KiB blocks. (On the
//! machine it may be two, the log's and the snapshots': [`is_beside_snapshots`] says which file stands where.)
//!
//! `rt` implements it with io_uring and O_DIRECT, the tests with a simulated disk that loses, tears and rots what was not
//! synced. Most calls that change names or read are rare and wait for their end; writes, and what takes long, are
//! handed over with [`Disk::submit`] or [`Disk::submit_names`] and come back through [`Disk::wait`], so that the log, a snapshot
//! and the preparation of the next segment can be on their way at the same time.
//!
//! What an implementation promises: a [`Completion`] of a write with `durable: true`, or of a sync, says that the bytes
//! survive a power cut; before that, any subset of the 512-byte sectors of an unsynced write may be on the medium after
//! one. `rename` and `remove` survive only after [`Disk::sync_directory`]. Nothing is promised about order between
//! writes that are under way together.

use std::fmt;
use std::time::Duration;

use thiserror::Error;

/// Every offset, length and buffer of a write is a multiple of this, and buffers are aligned to it (O_DIRECT).
pub const BLOCK_LEN: usize = 4096;

/// An open file, as its disk numbers it. Numbers are not used again after `close`.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct FileId(pub u32);

/// What the world did to an operation.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum DiskError {
    /// No room (ENOSPC, EDQUOT). The only failure of a write after which storage may go on.
    #[error("{file}: no space left on the device")]
    Full {
        /// File name within the data folder.
        file: String,
    },
    /// The file is not there.
    #[error("{file}: no such file")]
    NotFound {
        /// File name within the data folder.
        file: String,
    },
    /// Any other failure. After a failed write or sync nothing that was under way may be believed.
    #[error("{operation} of {file} at offset {offset} failed: {message}")]
    Failed {
        /// "write", "sync", "read", "rename" ...
        operation: &'static str,
        /// File name within the data folder.
        file: String,
        /// Byte offset, 0 where it has no meaning.
        offset: u64,
        /// The system's words.
        message: String,
    },
}

/// A file of the data folder.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FileEntry {
    /// Name within the folder, no path.
    pub name: String,
    /// Length in bytes.
    pub len: u64,
}

/// What to do in the background.
#[derive(Debug)]
pub enum Operation {
    /// Write `block` at `offset`. `durable`: complete only when it would survive a power cut.
    Write {
        /// Byte offset, a multiple of [`BLOCK_LEN`].
        offset: u64,
        /// The bytes; its whole length is written. Comes back with the completion.
        block: BlockBuf,
        /// Write and sync as one (linked fdatasync, or DSYNC: the disk's choice).
        durable: bool,
    },
    /// Make everything written to the file so far durable.
    Sync,
    /// Give these blocks of a file that nobody reads any more back to the file system; they are its last. Done or not, as that can.
    Free {
        /// Byte offset, a multiple of [`BLOCK_LEN`].
        offset: u64,
        /// So many bytes, to the end of the file or of what is left of it.
        len: u64,
    },
    /// Fill `block` from `offset`; what lies behind the end of the file reads as zeros.
    Read {
        /// Byte offset, a multiple of [`BLOCK_LEN`].
        offset: u64,
        /// Where to; its whole length is read. Comes back with the completion.
        block: BlockBuf,
    },
}

/// What to do with the names of the folder in the background: what is long can take a file system tens of milliseconds to give up.
#[derive(Debug, PartialEq, Eq)]
pub enum NameOperation {
    /// As [`Disk::remove`].
    Remove(String),
    /// As [`Disk::sync_directory`], for the changes of names that are complete when it is handed over.
    Sync,
}

/// A finished [`Operation`] or [`NameOperation`].
pub struct Completion {
    /// As given to [`Disk::submit`] or [`Disk::submit_names`].
    pub token: u64,
    /// The buffer of a write, for use again, or of a read.
    pub block: Option<BlockBuf>,
    /// How it ended. A short write is an error.
    pub result: Result<(), DiskError>,
    /// How long it took.
    pub took: Took,
}

/// How long the parts of a write took, as far as the disk tells them apart: for the operator, nothing depends on it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Took {
    /// From the hand-over to written; `None` if that is not known apart from the sync.
    pub write: Option<Duration>,
    /// From written to durable, or from the hand-over where the two are one; `None` if nothing was synced.
    pub sync: Option<Duration>,
}

/// Whether a file belongs beside the snapshots (`dataDir`): snapshots and what the server promised. All others are the log's
/// (`dataLogDir`), and stand in the same folder unless the operator named two.
pub fn is_beside_snapshots(name: &str) -> bool {
    name.starts_with("snapshot.") || super::epochs::is_epoch_file(name)
}

/// One data folder. Owned by one thread; see the module's page for what is promised.
pub trait Disk: Send {
    /// All regular files of the folder, in no particular order.
    fn list(&mut self) -> Result<Vec<FileEntry>, DiskError>;
    /// Makes a new file of `len` bytes with its blocks reserved (fallocate), reading as zeros. Fails if it exists;
    /// leaves nothing behind if there is no room.
    fn create(&mut self, name: &str, len: u64) -> Result<FileId, DiskError>;
    /// Opens an existing file for reading and writing.
    fn open(&mut self, name: &str) -> Result<FileId, DiskError>;
    /// Length in bytes.
    fn len(&mut self, file: FileId) -> Result<u64, DiskError>;
    /// Cuts the file to `len` bytes, durably.
    fn truncate(&mut self, file: FileId, len: u64) -> Result<(), DiskError>;
    /// Closes; nothing may be under way on it.
    fn close(&mut self, file: FileId);
    /// Reads into `buffer` from `offset` (any alignment) until it is full or the file ends; the bytes read.
    fn read(&mut self, file: FileId, offset: u64, buffer: &mut [u8]) -> Result<usize, DiskError>;
    /// Renames within the folder, replacing what was there.
    fn rename(&mut self, source: &str, target: &str) -> Result<(), DiskError>;
    /// Removes; open files stay usable until closed.
    fn remove(&mut self, name: &str) -> Result<(), DiskError>;
    /// Makes names durable.
    fn sync_directory(&mut self) -> Result<(), DiskError>;
    /// Hands an operation over; it ends with a [`Completion`] from [`Disk::wait`]. At most [`UNDER_WAY_MAX`] at once.
    fn submit(&mut self, file: FileId, operation: Operation, token: u64) -> Result<(), DiskError>;
    /// The same with an operation on names; both are counted together.
    fn submit_names(&mut self, operation: NameOperation, token: u64) -> Result<(), DiskError>;
    /// Collects finished operations into `done`. With `block`, returns only when there is one, or the disk's doorbell was
    /// rung (the shell's way to say that there is new work), or nothing is under way and there is no doorbell.
    fn wait(&mut self, block: bool, done: &mut Vec<Completion>) -> Result<(), DiskError>;
    /// Sleeps for a short time, unless an operation has finished or the doorbell is rung, which is left for [`Disk::wait`] to find: for
    /// work that should not have the device, or the core, to itself. A disk without a clock does not.
    fn pause(&mut self, limit: Duration) {
        let _ = limit;
    }
}

/// Most operations that may be under way at once; more is a mistake of the caller.
pub const UNDER_WAY_MAX: usize = 32;

/// A zeroed heap buffer, aligned to [`BLOCK_LEN`], whose length is a multiple of it: what O_DIRECT asks for.
///
/// Zeroed, so that no old heap content ever reaches the disk.
pub struct BlockBuf {
    blocks: Vec<Block>,
}

/// The unit of allocation that carries the alignment.
#[derive(Clone, Copy, bytemuck::Zeroable, bytemuck::Pod)]
#[repr(C, align(4096))]
struct Block([u8; BLOCK_LEN]);

const _: () = assert!(size_of::<Block>() == BLOCK_LEN && align_of::<Block>() == BLOCK_LEN);

impl BlockBuf {
    /// A zeroed buffer of `len` bytes.
    ///
    /// # Panics
    /// If `len` is not a multiple of [`BLOCK_LEN`].
    pub fn zeroed(len: usize) -> Self {
        assert!(len.is_multiple_of(BLOCK_LEN), "a block buffer of {len} bytes");
        Self { blocks: vec![Block([0; BLOCK_LEN]); len / BLOCK_LEN] }
    }

    /// Its bytes.
    pub fn bytes(&self) -> &[u8] {
        bytemuck::cast_slice(&self.blocks)
    }

    /// Its bytes, to fill.
    pub fn bytes_mut(&mut self) -> &mut [u8] {
        bytemuck::cast_slice_mut(&mut self.blocks)
    }

    /// Length in bytes.
    pub fn len(&self) -> usize {
        self.blocks.len() * BLOCK_LEN
    }

    /// Whether it holds no block.
    pub fn is_empty(&self) -> bool {
        self.blocks.is_empty()
    }

    /// Sets the length, keeping what is there; new blocks are zeroed.
    ///
    /// # Panics
    /// If `len` is not a multiple of [`BLOCK_LEN`].
    pub fn resize(&mut self, len: usize) {
        assert!(len.is_multiple_of(BLOCK_LEN), "a block buffer of {len} bytes");
        self.blocks.resize(len / BLOCK_LEN, Block([0; BLOCK_LEN]));
    }

    /// Room for this many bytes without a new allocation.
    pub fn capacity(&self) -> usize {
        self.blocks.capacity() * BLOCK_LEN
    }
}

impl fmt::Debug for BlockBuf {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "BlockBuf({} bytes)", self.len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn buffers_are_zeroed_and_aligned() {
        let mut buffer = BlockBuf::zeroed(3 * BLOCK_LEN);
        assert_eq!(buffer.bytes().as_ptr().align_offset(BLOCK_LEN), 0);
        assert!(buffer.bytes().iter().all(|&byte| byte == 0));
        buffer.bytes_mut().fill(7);
        buffer.resize(BLOCK_LEN);
        buffer.resize(2 * BLOCK_LEN);
        assert!(buffer.bytes()[BLOCK_LEN..].iter().all(|&byte| byte == 0), "a grown buffer shows no old bytes");
    }
}
