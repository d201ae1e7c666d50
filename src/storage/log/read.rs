//! Walking the log of a folder: which segments there are, what they hold from a zxid on, where the log ends and why.
//!
//! Reading changes nothing, so that a tool can look at a folder that a server has open, and a server that refuses to start
//! leaves the evidence as it is. What has to be put right before the log goes on is listed in [`LogTail`] and done by
//! [`super::super::core::LogCore::open`].
//!
//! The segments are read from the newest downwards as far as they follow each other without a gap. What lies below a gap
//! is of no use and of no harm as long as recovery need not go there (a purge that a power cut interrupted leaves such);
//! if it must, the gap is the error.
//!
//! Segments that a cut or a replaced log has made void (see [`super::format`]) are passed over, and are listed in
//! [`LogTail::stale`] to be removed.

use bytes::Bytes;

use super::format::{
    FRAME_HEADER_LEN, FrameHeader, FrameLayout, Position, SECTOR_LEN, SEGMENT_HEADER_LEN, SEGMENT_LEN_MAX,
    SegmentHeader, is_zero, segment_name, segment_sequence,
};
use super::marker::{MARKER_LEN, MARKER_NAME, Marker, Markers};
use super::scan::{FrameCheck, Record, Records, Tail, check_frame, check_frame_within, check_tail, check_unopened};
use crate::ids::Zxid;
use crate::storage::disk::{BLOCK_LEN, Disk, DiskError, FileEntry, FileId};
use crate::storage::epochs::Epochs;
use crate::storage::error::StorageError;

/// A segment in use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SegmentInfo {
    /// Its header.
    pub header: SegmentHeader,
    /// Length of the file as it is.
    pub len: u64,
}

/// The segments of a folder and what their headers and the marker say.
#[derive(Clone, Debug)]
pub struct LogIndex {
    /// Which log; nothing if no segment was ever in use.
    pub log_id: Option<u64>,
    /// Segments in use, in order, each following the one before.
    pub segments: Vec<SegmentInfo>,
    /// Why the row does not reach further back, if there are or must be older segments.
    pub below: Option<StorageError>,
    /// Files of segments behind the last one in use, in order.
    pub unopened: Vec<(u64, u64)>,
    /// Segments that are void: the log was cut before them, or replaced.
    pub void: Vec<u64>,
    /// What the marker file says.
    pub markers: Markers,
}

/// Where the log ends, and what has to be done before it can go on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogTail {
    /// Which log; nothing if none was begun.
    pub log_id: Option<u64>,
    /// Behind the last record. With nothing in the log, only `zxid` means something: the zxid that recovery began from.
    pub end: Position,
    /// Whether the log can go on in the segment in which it ends. Otherwise it goes on in a new one.
    pub goes_on: bool,
    /// A torn tail that is to be left behind.
    pub cut: Option<Cut>,
    /// Segments in use that follow each other, oldest first: sequence and the zxid before the first record.
    pub segments: Vec<(u64, Zxid)>,
    /// A segment that was prepared ahead and is still all zero.
    pub prepared: Option<(u64, u64)>,
    /// Files to remove: torn before they were in use, or void.
    pub stale: Vec<String>,
    /// The snapshot with which the log begins still has the name under which it was written.
    pub installed: Option<Zxid>,
    /// Epochs that the files do not hold as they should.
    pub epochs_unsaved: Option<Epochs>,
    /// What the next marker's counter has to be.
    pub marker_counter: u64,
    /// Oddities that harm nothing, for the server's log.
    pub notes: Vec<String>,
}

/// The unacknowledged end of a write that a power cut interrupted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cut {
    /// File name.
    pub file: String,
    /// Where it begins.
    pub offset: u64,
    /// Bytes up to the last one that is not zero.
    pub len: u64,
}

impl LogIndex {
    /// Looks at all segments' headers and the marker.
    ///
    /// # Errors
    /// If the newest segment's header is neither whole nor zero, or the disk fails.
    pub fn read(disk: &mut dyn Disk) -> Result<Self, StorageError> {
        let entries = disk.list()?;
        let markers = read_markers(disk, &entries)?;
        let mut files: Vec<(u64, u64)> =
            entries.iter().filter_map(|entry| Some((segment_sequence(&entry.name)?, entry.len))).collect();
        files.sort_unstable_by(|a, b| b.cmp(a));
        let mut unopened = Vec::new();
        let mut segments: Vec<SegmentInfo> = Vec::new();
        let mut below = None;
        let mut void = Vec::new();
        for (sequence, len) in files {
            let name = segment_name(sequence);
            if let Some(above) = segments.last() {
                let expected = above.header.previous.sequence;
                // Only a cut makes a segment continue one that is not the next below; only a replaced log begins anew.
                if sequence > expected {
                    void.push(sequence);
                    continue;
                }
                if sequence != expected {
                    below = Some(missing_below(&above.header));
                    break;
                }
            }
            let block = read_range(disk, &name, 0, BLOCK_LEN)?;
            if segments.is_empty() && is_zero(&block[..block.len().min(SECTOR_LEN)]) {
                unopened.push((sequence, len));
                continue;
            }
            let problem = match SegmentHeader::decode(&block) {
                Err((offset, what)) => StorageError::damaged(&name, offset, what),
                Ok(header) => match header_belongs(&name, sequence, len, &header, segments.last()) {
                    Ok(()) => {
                        segments.push(SegmentInfo { header, len });
                        continue;
                    }
                    Err(problem) => problem,
                },
            };
            if segments.is_empty() {
                return Err(problem);
            }
            below = Some(problem);
            break;
        }
        segments.reverse();
        unopened.reverse();
        if below.is_none() {
            below = segments
                .first()
                .filter(|first| first.header.previous.sequence != 0)
                .map(|first| missing_below(&first.header));
        }
        let log_id = segments.last().map(|segment| segment.header.log_id);
        Ok(Self { log_id, segments, below, unopened, void, markers })
    }

    /// The records' bytes of each frame of a segment, up to `through`; one copy each.
    pub(crate) fn frames(
        &self,
        disk: &mut dyn Disk,
        info: &SegmentInfo,
        through: Position,
    ) -> Result<Vec<Bytes>, StorageError> {
        let name = segment_name(info.header.sequence);
        let bytes = read_range(disk, &name, 0, through.offset.min(info.len) as usize)?;
        let mut at =
            Position { sequence: info.header.sequence, offset: SEGMENT_HEADER_LEN as u64, ..info.header.previous };
        let mut frames = Vec::new();
        while at.offset < through.offset {
            let FrameCheck::Good(frame) = check_frame(&bytes, at.offset as usize, info.header.log_id, at) else {
                return Err(StorageError::damaged(name, at.offset, "no sound frame, where one stood before"));
            };
            let start = at.offset as usize + FRAME_HEADER_LEN;
            frames.push(Bytes::copy_from_slice(&bytes[start..start + frame.header.records_len as usize]));
            at = frame.after;
        }
        Ok(frames)
    }

    /// The zxid of the snapshot that replaced everything before the log, which begins with it and is the only one that counts.
    pub fn replaced_by(&self) -> Option<Zxid> {
        let first = &self.segments.first()?.header;
        (first.previous.sequence == 0 && first.sequence > 1).then_some(first.previous.zxid)
    }

    /// The zxid from which on (exclusive) the segments hold everything; nothing if there are none.
    pub fn reaches_back_to(&self) -> Option<Zxid> {
        self.segments.first().map(|segment| segment.header.previous.zxid)
    }

    /// Begins to read the records behind `from`.
    ///
    /// # Errors
    /// If the log does not reach back to `from`.
    pub fn replay(&self, from: Zxid) -> Result<Replay<'_>, StorageError> {
        let start = self.segments.iter().rposition(|segment| segment.header.previous.zxid <= from);
        let at = match (start, self.segments.first()) {
            (Some(start), _) => self.segments[start].header.previous,
            (None, None) => Position { sequence: 0, offset: 0, chain: 0, zxid: from },
            (None, Some(first)) => {
                return Err(self.below.clone().unwrap_or_else(|| StorageError::Missing {
                    file: segment_name(first.header.sequence),
                    offset: 0,
                    what: format!("the log begins behind {}, needed from {from}", first.header.previous.zxid),
                }));
            }
        };
        Ok(Replay {
            index: self,
            next: start.unwrap_or(0),
            at,
            open: None,
            from,
            tail: None,
            unborn: None,
            spare: Vec::new(),
        })
    }
}

/// Judges what lies behind the last sound frame of the last segment, of which `rest` was read already.
fn judge_tail(
    disk: &mut dyn Disk,
    name: &str,
    info: &SegmentInfo,
    at: Position,
    rest: &[u8],
) -> Result<Tail, StorageError> {
    // The usual case, without all of it in memory: whole blocks of zeros to the end.
    if is_zero(rest) && is_zero_from(disk, name, at.offset + rest.len() as u64, info.len)? {
        return Ok(Tail::Clean);
    }
    let bytes = read_range(disk, name, 0, info.len as usize)?;
    check_tail(&bytes, at.offset as usize, info.header.log_id, at)
        .map_err(|(offset, what)| StorageError::damaged(name, offset, what))
}

/// What a segment's header says must agree with its name, its length and the segment that follows it.
fn header_belongs(
    name: &str,
    sequence: u64,
    len: u64,
    header: &SegmentHeader,
    above: Option<&SegmentInfo>,
) -> Result<(), StorageError> {
    use super::format::segment_field as field;
    let foreign =
        |offset: usize, what: String| Err(StorageError::Foreign { file: name.to_owned(), offset: offset as u64, what });
    if header.sequence != sequence {
        return foreign(field::SEQUENCE, format!("its header is that of segment {}", segment_name(header.sequence)));
    }
    if let Some(above) = above
        && above.header.log_id != header.log_id
    {
        let (found, expected) = (header.log_id, above.header.log_id);
        return foreign(field::LOG_ID, format!("it is of log {found:016x}, the newest segment of {expected:016x}"));
    }
    let lengths_fit = header.segment_len <= SEGMENT_LEN_MAX
        && header.segment_len.is_multiple_of(BLOCK_LEN as u64)
        && header.previous.sequence < sequence
        && header.previous.offset <= SEGMENT_LEN_MAX;
    if !lengths_fit {
        return foreign(field::SEGMENT_LEN, "its header says impossible things".to_owned());
    }
    if len != header.segment_len {
        let what = format!("the file has {len} bytes, its header says {}", header.segment_len);
        return Err(StorageError::damaged(name, len.min(header.segment_len), what));
    }
    Ok(())
}

fn missing_below(header: &SegmentHeader) -> StorageError {
    StorageError::Missing {
        file: segment_name(header.previous.sequence),
        offset: header.previous.offset,
        what: format!("{} continues it from {} on", segment_name(header.sequence), header.previous.zxid),
    }
}

fn read_markers(disk: &mut dyn Disk, entries: &[FileEntry]) -> Result<Markers, StorageError> {
    match entries.iter().find(|entry| entry.name == MARKER_NAME) {
        // A file of no length was created by a server that was stopped before it wrote to it.
        Some(entry) if entry.len > 0 => Ok(Marker::read(&read_range(disk, MARKER_NAME, 0, MARKER_LEN)?)),
        _ => Ok(Markers { newest: None, damaged: None }),
    }
}

/// Reads up to `len` bytes of a file from `offset`; fewer if it ends before.
pub(crate) fn read_range(disk: &mut dyn Disk, name: &str, offset: u64, len: usize) -> Result<Vec<u8>, StorageError> {
    let file = disk.open(name)?;
    let mut bytes = vec![0; len];
    let result = read_full(disk, file, offset, &mut bytes);
    disk.close(file);
    bytes.truncate(result?);
    Ok(bytes)
}

/// Reads until the buffer is full or the file ends.
pub(crate) fn read_full(disk: &mut dyn Disk, file: FileId, offset: u64, buffer: &mut [u8]) -> Result<usize, DiskError> {
    let mut done = 0;
    while done < buffer.len() {
        let read = disk.read(file, offset + done as u64, &mut buffer[done..])?;
        if read == 0 {
            break;
        }
        done += read;
    }
    Ok(done)
}

/// Whether a file holds nothing but zeros from an offset up to `end`, or to its own end before.
fn is_zero_from(disk: &mut dyn Disk, name: &str, offset: u64, end: u64) -> Result<bool, StorageError> {
    let file = disk.open(name)?;
    let mut bytes = vec![0; PIECE_LEN.min(usize::try_from(end.saturating_sub(offset)).unwrap_or(usize::MAX))];
    let mut at = offset;
    let result = loop {
        let len = bytes.len().min(usize::try_from(end.saturating_sub(at)).unwrap_or(usize::MAX));
        match read_full(disk, file, at, &mut bytes[..len]) {
            Ok(0) => break Ok(true),
            Ok(read) if !is_zero(&bytes[..read]) => break Ok(false),
            Ok(read) => at += read as u64,
            Err(error) => break Err(error.into()),
        }
    };
    disk.close(file);
    result
}

/// How much of a segment is read at a time.
const PIECE_LEN: usize = 1 << 20;
/// So many pieces' memory is kept for those to come, of those that are no longer than twice [`PIECE_LEN`].
const SPARE_PIECES_MAX: usize = 8;

/// Reads the log segment by segment, or in smaller pieces.
///
/// Each call of [`Self::next_segment`] or [`Self::next_piece`] reads and judges as much; what it gives back owns its bytes, so
/// that it can be decoded on another thread. When there are no more, [`Self::finish`] tells where the log ends.
#[derive(Debug)]
pub struct Replay<'a> {
    index: &'a LogIndex,
    next: usize,
    at: Position,
    /// The next segment, if some of it was read.
    open: Option<OpenSegment>,
    from: Zxid,
    /// What lies behind the last sound frame of the last segment.
    tail: Option<Tail>,
    /// The newest segment has a header and no frame: the write that was to open it did not arrive in full.
    unborn: Option<u64>,
    /// Of pieces that nobody needs any more, for the next.
    spare: Vec<Vec<u8>>,
}

/// A segment of which some pieces were read.
#[derive(Debug)]
struct OpenSegment {
    /// Behind the last frame that was judged.
    at: Position,
    /// What was read from there on.
    ahead: Vec<u8>,
}

/// The sound records of one segment, or of a piece of it.
#[derive(Debug)]
pub struct ReplaySegment {
    /// File name.
    pub name: String,
    /// Bytes of records, frame by frame: where they stand in the segment and how long they are.
    frames: Vec<(usize, usize)>,
    bytes: Vec<u8>,
    /// Where the bytes begin in the segment.
    base: usize,
    from: Zxid,
}

impl ReplaySegment {
    /// The records behind the zxid that the replay was to begin from, in order.
    pub fn records(&self) -> impl Iterator<Item = Record<'_>> {
        self.frames
            .iter()
            .flat_map(|&(at, len)| Records::new(&self.bytes[at - self.base..at - self.base + len], at))
            .filter(|record| record.zxid > self.from)
    }

    /// Bytes of records in it.
    pub fn records_len(&self) -> usize {
        self.frames.iter().map(|&(_, len)| len).sum()
    }

    /// Adds the piece that follows.
    fn append(&mut self, other: Self) {
        self.bytes.truncate(other.base - self.base);
        self.bytes.extend_from_slice(&other.bytes);
        self.frames.extend(other.frames);
    }
}

impl Replay<'_> {
    /// How many segments are still to be read.
    pub fn remaining(&self) -> usize {
        self.index.segments.len() - self.next
    }

    /// The next segment, or what is left of one that was begun; nothing behind the last.
    ///
    /// # Errors
    /// [`StorageError::Damaged`] where a frame is not sound although the log is known to go on behind it.
    pub fn next_segment(&mut self, disk: &mut dyn Disk) -> Result<Option<ReplaySegment>, StorageError> {
        let Some(mut segment) = self.next_piece(disk)? else { return Ok(None) };
        while self.open.is_some()
            && let Some(piece) = self.next_piece(disk)?
        {
            segment.append(piece);
        }
        Ok(Some(segment))
    }

    /// Takes a piece back that nobody needs any more: its memory is used for the next.
    pub fn recycle(&mut self, piece: ReplaySegment) {
        if self.spare.len() < SPARE_PIECES_MAX && piece.bytes.capacity() <= 2 * PIECE_LEN {
            self.spare.push(piece.bytes);
        }
    }

    /// The next piece of a segment, of one frame at least; nothing behind the last. The last piece of a segment may be empty.
    ///
    /// # Errors
    /// As those of [`Self::next_segment`].
    pub fn next_piece(&mut self, disk: &mut dyn Disk) -> Result<Option<ReplaySegment>, StorageError> {
        let Some(info) = self.index.segments.get(self.next) else { return Ok(None) };
        let header = &info.header;
        let name = segment_name(header.sequence);
        if header.previous != self.at {
            return Err(StorageError::Foreign {
                file: name,
                offset: super::format::segment_field::ZXID_BEFORE as u64,
                what: format!("it continues {:?}, but the log before it ends at {:?}", header.previous, self.at),
            });
        }
        let link = self.index.segments.get(self.next + 1).map(|above| above.header.previous);
        let read_len = link.map_or(info.len, |link| link.offset.min(info.len));
        let is_first = self.open.is_none();
        let OpenSegment { mut at, ahead } = self.open.take().unwrap_or_else(|| OpenSegment {
            at: Position { sequence: header.sequence, offset: SEGMENT_HEADER_LEN as u64, ..header.previous },
            ahead: Vec::new(),
        });
        let mut bytes = self.spare.pop().unwrap_or_default();
        bytes.clear();
        bytes.extend_from_slice(&ahead);
        let base = at.offset as usize;
        self.read_on(disk, &name, base, &mut bytes, PIECE_LEN, read_len)?;
        let mut frames = Vec::new();
        let mut is_end = false;
        while !is_end && at.offset < read_len {
            let start = at.offset as usize - base;
            let wanted = FrameHeader::decode(&bytes[start.min(bytes.len())..])
                .map_or(SECTOR_LEN, |header| FrameLayout::of(header.records_len as usize).len);
            if start + wanted > bytes.len() && ((base + bytes.len()) as u64) < read_len {
                if !frames.is_empty() {
                    break;
                }
                self.read_on(disk, &name, base, &mut bytes, start + wanted, read_len)?;
                continue;
            }
            match check_frame_within(&bytes, base, at.offset as usize, header.log_id, at) {
                FrameCheck::Good(frame) => {
                    frames.push((at.offset as usize + FRAME_HEADER_LEN, frame.header.records_len as usize));
                    at = frame.after;
                }
                _ if link.is_none() => is_end = true,
                FrameCheck::Bad { offset, what } => return Err(StorageError::damaged(name, offset, what)),
                FrameCheck::Blank | FrameCheck::Torn { .. } => {
                    let what = format!("a frame did not arrive, but the log goes on in {}", self.following_name());
                    return Err(StorageError::damaged(name, at.offset, what));
                }
            }
        }
        if is_first
            && !frames.is_empty()
            && let Some(frame) = FrameHeader::decode(&bytes)
            && frame.zxid_first != header.zxid_first
        {
            let offset = super::format::segment_field::ZXID_FIRST as u64;
            return Err(StorageError::damaged(name, offset, "its first record is not the one that its header names"));
        }
        let rest = bytes.get(at.offset as usize - base..).unwrap_or_default();
        if !is_end && at.offset < read_len {
            self.open = Some(OpenSegment { at, ahead: rest.to_vec() });
            return Ok(Some(ReplaySegment { name, frames, bytes, base, from: self.from }));
        }
        let tail = match link {
            Some(_) => None,
            None => Some(judge_tail(disk, &name, info, at, rest)?),
        };
        if is_first && frames.is_empty() {
            if tail.is_none() {
                return Err(StorageError::damaged(name, at.offset, "a segment without a frame"));
            }
            // The header is written together with the first frame, but each of their sectors arrives by itself. So this
            // segment was never in use; the log ends where its header says.
            self.unborn = Some(header.sequence);
            self.next += 1;
            return Ok(None);
        }
        if let Some(link) = link
            && link != at
        {
            let what = format!("the log ends here at {at:?}, but {} continues {link:?}", self.following_name());
            return Err(StorageError::damaged(name, at.offset, what));
        }
        self.at = at;
        self.next += 1;
        self.tail = tail;
        Ok(Some(ReplaySegment { name, frames, bytes, base, from: self.from }))
    }

    /// Reads on behind the bytes, which begin at `base`, until they are `len`, or reach `end`.
    fn read_on(
        &self,
        disk: &mut dyn Disk,
        name: &str,
        base: usize,
        bytes: &mut Vec<u8>,
        len: usize,
        end: u64,
    ) -> Result<(), StorageError> {
        let have = bytes.len();
        let len = len.min(usize::try_from(end.saturating_sub(base as u64)).unwrap_or(usize::MAX));
        if len <= have {
            return Ok(());
        }
        bytes.resize(len, 0);
        let file = disk.open(name)?;
        let read = read_full(disk, file, (base + have) as u64, &mut bytes[have..]);
        disk.close(file);
        let found = have + read?;
        if found < len {
            let found = (base + found) as u64;
            return Err(StorageError::damaged(name, found, format!("the file ends at {found} instead of {end}")));
        }
        Ok(())
    }

    fn following_name(&self) -> String {
        self.index.segments.get(self.next + 1).map_or_else(String::new, |above| segment_name(above.header.sequence))
    }

    /// Where the log ends; reads what lies behind.
    ///
    /// # Errors
    /// [`StorageError::Damaged`] or [`StorageError::Missing`] if what is there is less than what is known to have been
    /// durable, or something that no power cut leaves behind.
    ///
    /// # Panics
    /// If there are segments that were not read.
    pub fn finish(self, disk: &mut dyn Disk) -> Result<LogTail, StorageError> {
        assert!(self.remaining() == 0, "the log's end was asked for before its last segment was read");
        let index = self.index;
        let mut tail = LogTail {
            log_id: index.log_id,
            end: self.at,
            goes_on: false,
            cut: None,
            segments: index.segments.iter().map(|info| (info.header.sequence, info.header.previous.zxid)).collect(),
            prepared: None,
            stale: index.void.iter().map(|&sequence| segment_name(sequence)).collect(),
            installed: None,
            epochs_unsaved: None,
            marker_counter: index.markers.newest.map_or(0, |marker| marker.counter + 1),
            notes: Vec::new(),
        };
        match self.tail {
            Some(Tail::Clean) => tail.goes_on = true,
            Some(Tail::Torn { offset, len }) => {
                tail.cut = Some(Cut { file: segment_name(self.at.sequence), offset, len });
            }
            None => {}
        }
        if let Some(sequence) = self.unborn {
            let file = segment_name(sequence);
            tail.segments.retain(|&(other, _)| other != sequence);
            tail.cut = Some(Cut { file: file.clone(), offset: 0, len: SEGMENT_HEADER_LEN as u64 });
            tail.stale.push(file);
        }
        self.look_ahead(disk, &mut tail)?;
        self.check_marker(&mut tail)?;
        if tail.end.zxid < self.from && !index.segments.is_empty() {
            return Err(StorageError::Missing {
                file: segment_name(self.at.sequence),
                offset: self.at.offset,
                what: format!("the log ends with {}, but there is a snapshot at {}", self.at.zxid, self.from),
            });
        }
        Ok(tail)
    }

    /// Looks at the segments behind the last one in use.
    fn look_ahead(&self, disk: &mut dyn Disk, tail: &mut LogTail) -> Result<(), StorageError> {
        let first = self.unborn.unwrap_or(self.at.sequence) + 1;
        for (expected, &(sequence, len)) in (first..).zip(&self.index.unopened) {
            let name = segment_name(sequence);
            if sequence != expected {
                let what = format!("{name} was prepared behind it");
                return Err(StorageError::Missing { file: segment_name(expected), offset: 0, what });
            }
            if sequence > self.at.sequence + 1 {
                // The core prepares the next segment only when the one before it is durably in use.
                let what = format!("no sound frame, but {name} was prepared behind it");
                return Err(StorageError::damaged(segment_name(expected - 1), 0, what));
            }
            if is_zero_from(disk, &name, 0, len.min(SEGMENT_LEN_MAX))? {
                tail.prepared = Some((sequence, len));
                continue;
            }
            let bytes = read_range(disk, &name, 0, len.min(SEGMENT_LEN_MAX) as usize)?;
            // Without any segment in use, the log's id is what the first frame says; the start of the chain confirms it.
            let log_id = self
                .index
                .log_id
                .or_else(|| self.index.markers.newest.map(|marker| marker.log_id))
                .or_else(|| FrameHeader::decode(bytes.get(SEGMENT_HEADER_LEN..)?).map(|header| header.log_id));
            let before = match self.index.log_id {
                Some(_) => self.at,
                None => Position::start(log_id.unwrap_or(0), self.at.zxid),
            };
            match check_unopened(&bytes, sequence, log_id.unwrap_or(0), before) {
                Err((offset, what)) => return Err(StorageError::damaged(name, offset, what)),
                Ok(Tail::Clean) => tail.prepared = Some((sequence, len)),
                Ok(Tail::Torn { offset, len }) => {
                    // There may be a torn tail before it: one that was left behind when this segment was opened.
                    tail.cut = Some(Cut { file: name.clone(), offset, len });
                    tail.stale.push(name);
                }
            }
        }
        Ok(())
    }

    /// The log must reach as far as the marker says.
    fn check_marker(&self, tail: &mut LogTail) -> Result<(), StorageError> {
        if let Some(damaged) = &self.index.markers.damaged {
            if tail.cut.is_some() {
                // The marker that could tell rot from a torn tail is itself gone.
                return Err(damaged.clone());
            }
            tail.notes.push(format!("{damaged}; the log ends cleanly, so it is not needed and will be written anew"));
        }
        let Some(marker) = self.index.markers.newest else { return Ok(()) };
        let through = marker.through;
        let foreign = |what: String| Err(StorageError::Foreign { file: MARKER_NAME.to_owned(), offset: 0, what });
        if let Some(log_id) = self.index.log_id
            && log_id != marker.log_id
        {
            if self.index.replaced_by().is_some() {
                // The power went between the new log and the end of the old one's marker.
                tail.stale.push(MARKER_NAME.to_owned());
                return Ok(());
            }
            return foreign(format!("it is of log {:016x}, the segments of {log_id:016x}", marker.log_id));
        }
        let end = self.at;
        let file = segment_name(through.sequence);
        let known = format!("{MARKER_NAME} says that the log was durable through {}", through.zxid);
        if through.sequence > end.sequence {
            let there = self.index.unopened.iter().any(|&(sequence, _)| sequence == through.sequence);
            return Err(if there {
                StorageError::damaged(file, 0, format!("no segment header; {known}"))
            } else {
                StorageError::Missing { file, offset: through.offset, what: known }
            });
        }
        if through.sequence == end.sequence && through.offset > end.offset {
            return Err(StorageError::damaged(file, end.offset, format!("the log ends here; {known}")));
        }
        if through.sequence == end.sequence && through.offset == end.offset && through != end {
            return foreign(format!("it says {through:?}, the log ends at {end:?}"));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::storage::sim_disk::SimDisk;

    #[test]
    fn a_link_behind_the_end_of_any_segment_is_not_believed() {
        for (offset, is_good) in [(0, true), (SEGMENT_LEN_MAX, true), (SEGMENT_LEN_MAX + 1, false), (u64::MAX, false)] {
            let previous = Position { offset, ..Position::start(7, Zxid::ZERO) };
            let header = SegmentHeader { log_id: 7, sequence: 1, segment_len: 16 << 10, zxid_first: Zxid(1), previous };
            let mut bytes = vec![0; 16 << 10];
            header.encode(&mut bytes[..BLOCK_LEN]);
            let mut disk = SimDisk::with_files([(segment_name(1), bytes)]);
            assert_eq!(LogIndex::read(&mut disk).is_ok(), is_good, "offset {offset}");
        }
    }
}
