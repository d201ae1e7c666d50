//! Reading a snapshot frame by frame. Each frame is judged as it is read and owns its bytes, so that several threads can
//! decode them.

use super::format::{FrameKind, SnapshotInfo, SnapshotJudge, field, snapshot_name};
use crate::ids::Zxid;
use crate::storage::disk::{BLOCK_LEN, Disk, FileId};
use crate::storage::error::StorageError;
use crate::storage::log::read::read_full;

/// How much is read ahead at a time.
const READ_LEN: usize = 256 << 10;
/// The same for those who read beside other work.
const FEED_LEN: usize = 64 << 10;

/// A frame with records.
#[derive(Debug)]
pub struct SnapshotFrame {
    /// Byte offset in the file.
    pub offset: u64,
    /// How many records.
    pub records: u32,
    /// Where they stand in `bytes`.
    payload_len: usize,
    bytes: Vec<u8>,
}

impl SnapshotFrame {
    /// The records' bytes.
    pub fn payload(&self) -> &[u8] {
        &self.bytes[field::PAYLOAD..field::PAYLOAD + self.payload_len]
    }
}

/// Reads one snapshot. Closing it is the caller's: [`Self::close`].
#[derive(Debug)]
pub struct SnapshotReader {
    name: String,
    file: FileId,
    judge: SnapshotJudge,
    /// Bytes read and not yet judged; they begin at the judge's offset.
    ahead: Vec<u8>,
    /// How many of them were judged already.
    used: usize,
}

impl SnapshotReader {
    /// Opens the snapshot of the version at `zxid` and reads its header.
    ///
    /// # Errors
    /// [`StorageError::Damaged`] if the header is not sound.
    pub fn open(disk: &mut dyn Disk, zxid: Zxid) -> Result<Self, StorageError> {
        Self::open_named(disk, &snapshot_name(zxid), zxid)
    }

    /// As [`Self::open`], of a file that has another name.
    pub(crate) fn open_named(disk: &mut dyn Disk, name: &str, zxid: Zxid) -> Result<Self, StorageError> {
        let file = disk.open(name)?;
        let mut reader = Self::of_file(name.to_owned(), file, zxid);
        match reader.next_frame_of_any_kind(disk) {
            Ok(_) => Ok(reader),
            Err(problem) => {
                reader.close(disk);
                Err(problem)
            }
        }
    }

    /// For a file that is already open, header not yet read.
    pub(crate) fn of_file(name: String, file: FileId, zxid: Zxid) -> Self {
        Self { name, file, judge: SnapshotJudge::new(zxid), ahead: Vec::new(), used: 0 }
    }

    /// What the header says.
    pub fn info(&self) -> SnapshotInfo {
        self.judge.info()
    }

    /// Which log it was taken of.
    pub fn log_id(&self) -> Option<u64> {
        self.judge.log_id()
    }

    /// File name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Bytes judged so far.
    pub fn offset(&self) -> u64 {
        self.judge.offset()
    }

    /// Whether everything was read and found sound.
    pub fn is_complete(&self) -> bool {
        self.judge.is_complete()
    }

    /// The next frame with records; nothing behind the last, and then the snapshot is known to be whole.
    ///
    /// # Errors
    /// [`StorageError::Damaged`] at the first thing that is not as it was written.
    pub fn next_frame(&mut self, disk: &mut dyn Disk) -> Result<Option<SnapshotFrame>, StorageError> {
        if self.judge.is_complete() {
            return Ok(None);
        }
        let (kind, frame) = self.next_frame_of_any_kind(disk)?;
        if kind == FrameKind::Records {
            return Ok(Some(frame));
        }
        let mut byte = [0];
        if self.used < self.ahead.len() || read_full(disk, self.file, self.judge.offset(), &mut byte)? != 0 {
            return Err(StorageError::damaged(&self.name, self.judge.offset(), "bytes behind the footer"));
        }
        Ok(None)
    }

    /// What has to be read before the next frame can be judged, of a file of this length: where, and how much, in whole blocks.
    /// Nothing if it is here, or if the file ends. For those who must not wait for the disk in a read: they bring the bytes with
    /// [`Self::feed`].
    ///
    /// # Errors
    /// [`StorageError::Damaged`] if no frame begins there.
    pub(crate) fn wants(&self, file_len: u64) -> Result<Option<(u64, usize)>, StorageError> {
        let ahead = &self.ahead[self.used..];
        let len = match ahead.len() {
            0 => BLOCK_LEN,
            _ => self.judge.frame_len(ahead).map_err(|what| StorageError::damaged(&self.name, self.offset(), what))?,
        };
        let at = self.offset() + ahead.len() as u64;
        let left = usize::try_from(file_len.saturating_sub(at)).unwrap_or(usize::MAX).next_multiple_of(BLOCK_LEN);
        let lacking = len.saturating_sub(ahead.len());
        Ok((!self.is_complete() && lacking > 0 && left > 0).then(|| (at, lacking.max(FEED_LEN).min(left))))
    }

    /// Takes the bytes that it wanted.
    pub(crate) fn feed(&mut self, bytes: &[u8]) {
        self.ahead.drain(..self.used);
        self.used = 0;
        self.ahead.extend_from_slice(bytes);
    }

    /// Reads on by one frame, whatever it is.
    pub(crate) fn next_frame_or_header(&mut self, disk: &mut dyn Disk) -> Result<(), StorageError> {
        if self.judge.offset() == 0 {
            self.next_frame_of_any_kind(disk).map(|_| ())
        } else {
            self.next_frame(disk).map(|_| ())
        }
    }

    fn next_frame_of_any_kind(&mut self, disk: &mut dyn Disk) -> Result<(FrameKind, SnapshotFrame), StorageError> {
        let offset = self.judge.offset();
        self.read_ahead(disk, BLOCK_LEN)?;
        let len = self
            .judge
            .frame_len(&self.ahead[self.used..])
            .map_err(|what| StorageError::damaged(&self.name, offset, what))?;
        self.read_ahead(disk, len)?;
        let end = (self.used + len).min(self.ahead.len());
        let bytes = self.ahead[self.used..end].to_vec();
        let info =
            self.judge.frame(&bytes).map_err(|(offset, what)| StorageError::damaged(&self.name, offset, what))?;
        self.used = end;
        Ok((info.kind, SnapshotFrame { offset, records: info.records, payload_len: info.payload_len, bytes }))
    }

    /// Makes at least `len` bytes available, unless the file ends before.
    fn read_ahead(&mut self, disk: &mut dyn Disk, len: usize) -> Result<(), StorageError> {
        if self.ahead.len() - self.used >= len {
            return Ok(());
        }
        self.ahead.drain(..self.used);
        self.used = 0;
        let have = self.ahead.len();
        // No more than the file holds: a length out of a damaged frame must not make us reserve it, nor a small file a slice.
        let left = disk.len(self.file)?.saturating_sub(self.judge.offset());
        let want = len.max(READ_LEN).min(usize::try_from(left).unwrap_or(usize::MAX)).max(have);
        self.ahead.resize(want, 0);
        let read = read_full(disk, self.file, self.judge.offset() + have as u64, &mut self.ahead[have..])?;
        self.ahead.truncate(have + read);
        Ok(())
    }

    /// Closes the file.
    pub fn close(self, disk: &mut dyn Disk) {
        disk.close(self.file);
    }
}
