//! Segments ahead of need: reserved, made durable as files, then written with zeros, so that appending to them changes no
//! metadata.
//!
//! A segment may be used as soon as its blocks are reserved and its name is durable; the zeros only make it faster
//! (170 µs against 125 µs for a 4 KiB append here), so appends never wait for them. Zeros are written in slices ahead of
//! the log's end and never where a frame stands or is under way.
//!
//! What they save is the same for every frame, about 100 µs (`fio-profiles`), and what they cost is a second write of every
//! byte, 500 µs for 1 MiB. So where frames are long, none are written until the log is idle again ([`ZEROS_PAY_BELOW`]).

use std::mem;

use super::{Background, LogCore};
use crate::storage::disk::{BlockBuf, Disk, DiskError, FileId, Operation};
use crate::storage::log::format::{Position, SEGMENT_HEADER_LEN, segment_name};

/// How many zeros are written at a time.
pub(super) const ZERO_SLICE_LEN: u64 = 1 << 20;
/// How far ahead of the log's end zeros begin: frames that come meanwhile need not wait for them.
const ZERO_MARGIN: u64 = 4 << 20;

/// From frames of this length on, to write zeros ahead takes longer than it saves.
pub(super) const ZEROS_PAY_BELOW: usize = 256 << 10;

/// An open segment.
pub(super) struct Segment {
    pub(super) file: FileId,
    pub(super) sequence: u64,
    pub(super) len: u64,
    /// Zeros were written up to here; `len` when there is nothing left to write.
    zeroed: u64,
    /// The zeros were synced, or none are to be written.
    settled: bool,
    /// The write with its header is durable.
    pub(super) opened: bool,
}

impl Segment {
    /// A segment of the run before, in which no zeros need to be written; `opened`: in use, not prepared only.
    pub(super) fn found(file: FileId, sequence: u64, len: u64, opened: bool) -> Self {
        Self { file, sequence, len, zeroed: len, settled: true, opened }
    }
}

/// A segment that is full: nothing is appended to it any more.
#[derive(Clone, Copy)]
pub(super) struct Retired {
    pub(super) file: FileId,
    /// All of it survives a power cut.
    pub(super) synced: bool,
}

/// The segment that comes next.
pub(super) enum Next {
    /// Not there.
    Absent,
    /// Reserved; its sync is under way.
    Syncing(Segment),
    /// Synced; the directory's sync is due.
    Synced(Segment),
    /// May be used.
    Ready(Segment),
}

impl LogCore {
    /// Whether zeros are just being written where the next frame, of at most `frame_len`, may come to stand.
    pub(super) fn zeros_in_the_way(&self, frame_len: usize) -> bool {
        match (&self.background, &self.current) {
            (Some(Background::Zero { sequence, start, .. }), Some(current)) if *sequence == current.sequence => {
                *start < self.end.offset + frame_len as u64
            }
            _ => false,
        }
    }

    /// Goes on in the next segment, if it is ready.
    pub(super) fn roll(&mut self) -> bool {
        let Next::Ready(next) = &self.next else { return false };
        if matches!(&self.background, Some(Background::Zero { sequence, .. }) if *sequence == next.sequence) {
            return false;
        }
        let Next::Ready(segment) = mem::replace(&mut self.next, Next::Absent) else { return false };
        assert!(self.end == self.durable, "a segment was left with a frame under way");
        self.end = Position { sequence: segment.sequence, offset: SEGMENT_HEADER_LEN as u64, ..self.end };
        if let Some(full) = self.current.replace(segment) {
            self.retired.push(Retired { file: full.file, synced: self.options.force_sync });
        }
        true
    }

    /// Reserves the next segment if there is none. Whether an operation was started.
    pub(super) fn do_reserve(&mut self, disk: &mut dyn Disk) -> Result<bool, DiskError> {
        // The one before must be durably in use: recovery takes a segment behind an unused one for a loss.
        let opened = self.current.as_ref().is_none_or(|current| current.opened);
        let may = self.retry_full && opened;
        if self.retry_full && !opened && matches!(self.next, Next::Absent) {
            // With `forceSync=no` nobody has waited for its sync.
            let begun = self.current.as_ref().is_some_and(|current| current.sequence == self.durable.sequence);
            return if begun { self.sync_log(disk, self.durable.zxid) } else { Ok(false) };
        }
        match mem::replace(&mut self.next, Next::Absent) {
            Next::Absent if may => {}
            Next::Synced(segment) => {
                disk.sync_directory()?;
                self.next = Next::Ready(segment);
                self.full = false;
                return Ok(false);
            }
            other => {
                self.next = other;
                return Ok(false);
            }
        }
        let sequence = self.current.as_ref().map_or(self.end.sequence, |current| current.sequence) + 1;
        let len = self.options.segment_len;
        let file = match disk.create(&segment_name(sequence), len) {
            Ok(file) => file,
            Err(DiskError::Full { .. }) => {
                self.full = true;
                self.retry_full = false;
                // Told after every attempt, so that whoever asked with a tick gets an answer.
                self.tell_room = true;
                return Ok(false);
            }
            Err(error) => return Err(error),
        };
        self.next = Next::Syncing(Segment { file, sequence, len, zeroed: 0, settled: false, opened: false });
        self.submit_background(disk, file, Operation::Sync, Background::Reserve)?;
        Ok(true)
    }

    pub(super) fn complete_reserve(&mut self) {
        // The directory is synced with the next step, which has the disk at hand.
        self.next = match mem::replace(&mut self.next, Next::Absent) {
            Next::Syncing(segment) => Next::Synced(segment),
            other => other,
        };
    }

    /// Writes a slice of zeros. Whether an operation was started.
    pub(super) fn do_zero(&mut self, disk: &mut dyn Disk) -> Result<bool, DiskError> {
        let end = self.end;
        let segment = match (&mut self.current, &mut self.next) {
            (Some(current), _) if !current.settled => current,
            (_, Next::Ready(next)) if !next.settled => next,
            _ => return Ok(false),
        };
        let used = if segment.sequence == end.sequence { end.offset + ZERO_MARGIN } else { 0 };
        let (file, sequence, start) = (segment.file, segment.sequence, segment.zeroed.max(used));
        if start >= segment.len {
            segment.zeroed = segment.len;
            let background = Background::ZeroSync { sequence };
            self.submit_background(disk, file, Operation::Sync, background)?;
            return Ok(true);
        }
        let len = ZERO_SLICE_LEN.min(segment.len - start);
        let mut block = self.zeros.take().unwrap_or_else(|| BlockBuf::zeroed(len as usize));
        block.resize(len as usize);
        let background = Background::Zero { sequence, start, end: start + len };
        let operation = Operation::Write { offset: start, block, durable: false };
        self.submit_background(disk, file, operation, background)?;
        Ok(true)
    }

    pub(super) fn complete_zero(&mut self, sequence: u64, end: u64, result: Result<(), DiskError>) {
        let segment = self.segment_mut(sequence);
        match (result, segment) {
            (Ok(()), Some(segment)) => segment.zeroed = end,
            (Ok(()), None) => {}
            // A file system that copies on write may run out of room here; what is reserved stays as it is.
            (Err(DiskError::Full { .. }), Some(segment)) => segment.settled = true,
            (Err(DiskError::Full { .. }), None) => {}
            (Err(error), _) => self.fail(error),
        }
    }

    pub(super) fn complete_zero_sync(&mut self, sequence: u64) {
        if let Some(segment) = self.segment_mut(sequence) {
            segment.settled = true;
        }
    }

    fn segment_mut(&mut self, sequence: u64) -> Option<&mut Segment> {
        let next = match &mut self.next {
            Next::Ready(next) => Some(next),
            _ => None,
        };
        self.current.iter_mut().chain(next).find(|segment| segment.sequence == sequence)
    }

    /// Closes full segments, syncing them first if they were written without. Whether an operation was started.
    pub(super) fn do_retired(&mut self, disk: &mut dyn Disk) -> Result<bool, DiskError> {
        while let Some(&Retired { file, synced }) = self.retired.first() {
            if !synced {
                self.submit_background(disk, file, Operation::Sync, Background::RetiredSync)?;
                return Ok(true);
            }
            disk.close(file);
            self.retired.remove(0);
        }
        Ok(false)
    }

    pub(super) fn complete_retired(&mut self) {
        if let Some(segment) = self.retired.first_mut() {
            segment.synced = true;
        }
    }
}
