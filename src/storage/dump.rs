//! What the files hold, as values: for `zoo-server log dump|verify` and `snapshot dump|verify`. Nothing is printed here.
//!
//! A dump goes on where recovery stops: it reports damage as one more item and looks at what lies behind, so that an
//! operator sees how much is there. It changes nothing.

use super::disk::{BLOCK_LEN, Disk};
use super::error::StorageError;
use super::image::{ImageRecord, ImageRecords};
use super::log::format::{
    FrameHeader, Position, SEGMENT_HEADER_LEN, SEGMENT_LEN_MAX, SegmentHeader, is_zero, segment_name, segment_sequence,
};
use super::log::marker::{MARKER_LEN, MARKER_NAME, Marker, Markers};
use super::log::read::read_range;
use super::log::scan::{FrameCheck, Record, Tail, check_frame, check_tail};
use super::snapshot::format::{field, snapshot_zxid};
use super::snapshot::{SnapshotInfo, SnapshotReader};
use crate::ids::Zxid;

/// An item of a segment, in the order in which they stand.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LogItem<'a> {
    /// The segment's header.
    Header(SegmentHeader),
    /// A sound frame begins: one group commit.
    Frame {
        /// Byte offset.
        offset: u64,
        /// What its header says.
        header: FrameHeader,
    },
    /// A sound record of the frame.
    Record(Record<'a>),
    /// Zeros to the end of the file: prepared ahead.
    Unused {
        /// Where they begin.
        offset: u64,
    },
    /// Looks like a write that a power cut interrupted. In the last segment recovery cuts it.
    Torn {
        /// Where it begins.
        offset: u64,
        /// Bytes up to the last that is not zero.
        len: u64,
    },
    /// Not what was written.
    Damaged {
        /// Where.
        offset: u64,
        /// What was found.
        what: String,
    },
}

/// Sequences of the segments in the folder, rising.
///
/// # Errors
/// As the disk's.
pub fn segments(disk: &mut dyn Disk) -> Result<Vec<u64>, StorageError> {
    let mut sequences: Vec<u64> = disk.list()?.iter().filter_map(|entry| segment_sequence(&entry.name)).collect();
    sequences.sort_unstable();
    Ok(sequences)
}

/// Zxids of the snapshots in the folder, rising.
///
/// # Errors
/// As the disk's.
pub fn snapshots(disk: &mut dyn Disk) -> Result<Vec<Zxid>, StorageError> {
    let mut zxids: Vec<Zxid> = disk.list()?.iter().filter_map(|entry| snapshot_zxid(&entry.name)).collect();
    zxids.sort_unstable();
    Ok(zxids)
}

/// What the marker file says; nothing if there is none.
///
/// # Errors
/// As the disk's.
pub fn marker(disk: &mut dyn Disk) -> Result<Option<Markers>, StorageError> {
    if !disk.list()?.iter().any(|entry| entry.name == MARKER_NAME) {
        return Ok(None);
    }
    Ok(Some(Marker::read(&read_range(disk, MARKER_NAME, 0, MARKER_LEN)?)))
}

/// Shows the items of one segment; whether all of it is sound (a torn end counts as sound: it may be one).
///
/// # Errors
/// As the disk's.
pub fn log_segment(
    disk: &mut dyn Disk,
    sequence: u64,
    show: &mut dyn FnMut(LogItem<'_>),
) -> Result<bool, StorageError> {
    let bytes = read_range(disk, &segment_name(sequence), 0, SEGMENT_LEN_MAX as usize)?;
    Ok(scan_segment(&bytes, sequence, show))
}

/// As [`log_segment`], over the bytes of a file. Never panics, whatever they are.
pub fn scan_segment(bytes: &[u8], sequence: u64, show: &mut dyn FnMut(LogItem<'_>)) -> bool {
    if is_zero(bytes) {
        show(LogItem::Unused { offset: 0 });
        return true;
    }
    let (log_id, mut at, mut sound) = match SegmentHeader::decode(bytes) {
        Ok(header) => {
            show(LogItem::Header(header));
            let mut sound = true;
            if header.sequence != sequence || header.segment_len != bytes.len() as u64 {
                let what = format!("the header of segment {:x} of {} bytes", header.sequence, header.segment_len);
                show(LogItem::Damaged { offset: 0, what });
                sound = false;
            }
            (header.log_id, Position { sequence, offset: SEGMENT_HEADER_LEN as u64, ..header.previous }, sound)
        }
        Err((offset, what)) => {
            show(LogItem::Damaged { offset, what: what.to_owned() });
            let Some(at) = next_frame(bytes, 0, sequence, None) else { return false };
            (at.0, at.1, false)
        }
    };
    while at.offset < bytes.len() as u64 {
        let offset = at.offset as usize;
        if let FrameCheck::Good(frame) = check_frame(bytes, offset, log_id, at) {
            show(LogItem::Frame { offset: at.offset, header: frame.header });
            frame.records().for_each(|record| show(LogItem::Record(record)));
            at = frame.after;
            continue;
        }
        match check_tail(bytes, offset, log_id, at) {
            Ok(Tail::Clean) => {
                show(LogItem::Unused { offset: at.offset });
                return sound;
            }
            Ok(Tail::Torn { len, .. }) => {
                show(LogItem::Torn { offset: at.offset, len });
                return sound;
            }
            Err((offset, what)) => show(LogItem::Damaged { offset, what }),
        }
        sound = false;
        let Some((_, behind)) = next_frame(bytes, offset, sequence, Some(log_id)) else { break };
        at = behind;
    }
    sound
}

/// The place of the next block behind `offset` that holds a frame header of this segment, and its log.
fn next_frame(bytes: &[u8], offset: usize, sequence: u64, log_id: Option<u64>) -> Option<(u64, Position)> {
    bytes.chunks_exact(BLOCK_LEN).enumerate().skip(offset / BLOCK_LEN + 1).find_map(|(index, block)| {
        let header = FrameHeader::decode(block)?;
        let fits = header.sequence == sequence
            && header.block as usize == index
            && log_id.is_none_or(|log_id| log_id == header.log_id);
        let offset = (index * BLOCK_LEN) as u64;
        let at = Position { sequence, offset, chain: header.chain_before, zxid: header.zxid_before };
        fits.then_some((header.log_id, at))
    })
}

/// An item of a snapshot, in the order in which they stand.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SnapshotItem<'a> {
    /// Its header.
    Header {
        /// What it says.
        info: SnapshotInfo,
        /// Of which log.
        log_id: u64,
    },
    /// A sound frame begins.
    Frame {
        /// Byte offset.
        offset: u64,
        /// Records in it.
        records: u32,
    },
    /// A record of it.
    Record(ImageRecord<'a>),
    /// The footer was sound as well: the snapshot is whole.
    Whole {
        /// Length of the file.
        len: u64,
    },
    /// Not what was written. Nothing behind it can be relied on.
    Damaged {
        /// Where.
        offset: u64,
        /// What was found.
        what: String,
    },
}

/// Shows the items of one snapshot; whether it is whole.
///
/// # Errors
/// As the disk's.
pub fn snapshot(disk: &mut dyn Disk, zxid: Zxid, show: &mut dyn FnMut(SnapshotItem<'_>)) -> Result<bool, StorageError> {
    let mut reader = match SnapshotReader::open(disk, zxid) {
        Ok(reader) => reader,
        Err(error) => return damaged(error, show),
    };
    show(SnapshotItem::Header { info: reader.info(), log_id: reader.log_id().unwrap_or(0) });
    let result = loop {
        let frame = match reader.next_frame(disk) {
            Ok(Some(frame)) => frame,
            Ok(None) => {
                show(SnapshotItem::Whole { len: reader.offset() });
                break Ok(true);
            }
            Err(error) => break damaged(error, show),
        };
        show(SnapshotItem::Frame { offset: frame.offset, records: frame.records });
        let mut problem = None;
        for record in ImageRecords::new(frame.payload()) {
            match record {
                Ok(record) => show(SnapshotItem::Record(record)),
                Err((at, what)) => problem = Some((frame.offset + (field::PAYLOAD + at) as u64, what.to_owned())),
            }
        }
        if let Some((offset, what)) = problem {
            show(SnapshotItem::Damaged { offset, what });
            break Ok(false);
        }
    };
    reader.close(disk);
    result
}

/// Damage is an item; only a failing disk is an error.
fn damaged(error: StorageError, show: &mut dyn FnMut(SnapshotItem<'_>)) -> Result<bool, StorageError> {
    match error {
        StorageError::Damaged { offset, what, .. } => {
            show(SnapshotItem::Damaged { offset, what });
            Ok(false)
        }
        other => Err(other),
    }
}

/// Reads bytes as a segment and as a snapshot, in every way that a folder's files are read: the entry for fuzzing. The
/// answers do not matter; that there are some does. Gives a number that depends on them all, so that nothing is optimised
/// away.
pub fn fuzz(bytes: &[u8]) -> u64 {
    use super::sim_disk::SimDisk;
    let mut seen = 0_u64;
    let sequence = SegmentHeader::decode(bytes).map_or(1, |header| header.sequence);
    scan_segment(bytes, sequence, &mut |item| {
        seen += match item {
            LogItem::Record(record) => record.payload.len() as u64 + 1,
            LogItem::Damaged { offset, .. } | LogItem::Torn { offset, .. } => offset,
            _ => 1,
        };
    });
    let zxid = match bytes.get(field::ZXID..field::ZXID + 8) {
        Some(zxid) => Zxid(zxid.iter().fold(0, |number, &byte| number << 8 | i64::from(byte))),
        None => Zxid::ZERO,
    };
    let zxid = Zxid(zxid.0 & i64::MAX);
    let snapshot_name = super::snapshot::snapshot_name(zxid);
    let mut disk = SimDisk::with_files([(snapshot_name, bytes.to_vec())]);
    let whole = snapshot(&mut disk, zxid, &mut |item| {
        seen += match item {
            SnapshotItem::Record(_) => 3,
            SnapshotItem::Damaged { offset, .. } => offset,
            _ => 1,
        };
    });
    seen += u64::from(whole.is_ok_and(|whole| whole));
    seen += ImageRecords::new(bytes).filter(Result::is_ok).count() as u64;
    let mut disk = SimDisk::with_files([(segment_name(sequence), bytes.to_vec())]);
    if let Ok(index) = super::log::LogIndex::read(&mut disk)
        && let Ok(mut replay) = index.replay(Zxid::ZERO)
    {
        while let Ok(Some(segment)) = replay.next_segment(&mut disk) {
            seen += segment.records_len() as u64;
        }
        if replay.remaining() == 0 {
            seen += replay.finish(&mut disk).map_or(0, |tail| tail.end.offset);
        }
    }
    seen
}
