//! Judging a segment's bytes: pure functions over a slice, which never panic, whatever the bytes are.
//!
//! Where a frame is not sound, the question is whether it is a *torn tail* (the last write before a power cut, which nobody
//! was told about: it may be cut) or *rot* (bytes that were durable and have changed: never cut). A tail is torn only if
//! everything about it fits a write that stopped half-way:
//!
//! - each of its sectors is what its CRC says or all zero, as it was before; and at least one is all zero;
//! - behind it there is nothing but zeros: the next frame is only written once this one is durable;
//! - no later segment continues from behind it, and no durable marker lies behind it (the callers in [`super::read`] look
//!   at that, since it takes more than this segment).
//!
//! Frames flagged [`FLAG_UNSYNCED`] were acknowledged before they were durable; of these a power cut may lose any, so
//! among them a hole is a torn tail too (and how much was lost is told).

use super::format::{
    FLAG_UNSYNCED, FRAME_HEADER_LEN, FrameHeader, FrameLayout, KIND_BASE, KIND_RECORDS, Position, RECORD_HEADER_LEN,
    SECTOR_LEN, SEGMENT_HEADER_LEN, frame_field, get_u32, get_u64, is_zero, record_crc, record_field,
};
use crate::ids::Zxid;
use crate::storage::disk::BLOCK_LEN;

/// A record of the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Record<'a> {
    /// Byte offset in the segment.
    pub offset: u64,
    /// Its zxid.
    pub zxid: Zxid,
    /// The transaction's bytes.
    pub payload: &'a [u8],
}

/// A frame found sound in every respect.
#[derive(Clone, Copy, Debug)]
pub struct Frame<'a> {
    /// Its header.
    pub header: FrameHeader,
    /// Byte offset in the segment.
    pub offset: u64,
    /// The place behind it.
    pub after: Position,
    records: &'a [u8],
}

impl<'a> Frame<'a> {
    /// Its records, in order.
    pub fn records(&self) -> Records<'a> {
        Records::new(self.records, self.offset as usize + FRAME_HEADER_LEN)
    }
}

/// The records of a frame.
#[derive(Clone, Debug)]
pub struct Records<'a> {
    bytes: &'a [u8],
    offset: u64,
}

impl<'a> Records<'a> {
    /// The records that stand in `bytes`, which begin at `offset` of their segment.
    pub(crate) fn new(bytes: &'a [u8], offset: usize) -> Self {
        Self { bytes, offset: offset as u64 }
    }
}

impl<'a> Iterator for Records<'a> {
    type Item = Record<'a>;

    fn next(&mut self) -> Option<Record<'a>> {
        let header = self.bytes.get(..RECORD_HEADER_LEN)?;
        let len = RECORD_HEADER_LEN.checked_add(get_u32(header, record_field::LEN) as usize)?;
        let payload = self.bytes.get(RECORD_HEADER_LEN..len)?;
        let record = Record { offset: self.offset, zxid: Zxid(get_u64(header, record_field::ZXID) as i64), payload };
        self.bytes = &self.bytes[len..];
        self.offset += len as u64;
        Some(record)
    }
}

/// What stands at a place where a frame may stand.
#[derive(Clone, Debug)]
pub enum FrameCheck<'a> {
    /// A frame that continues the log.
    Good(Frame<'a>),
    /// The first sector is all zero: the log ends here, or the first sector of its last write did not arrive.
    Blank,
    /// A frame that continues the log and of which some sectors did not arrive.
    Torn {
        /// Offset behind it, had it arrived.
        end: u64,
        /// Offset of the first sector that did not.
        hole: u64,
        /// It was acknowledged without a sync.
        unsynced: bool,
    },
    /// Neither what was meant nor what was before.
    Bad {
        /// Byte offset in the segment.
        offset: u64,
        /// What was found.
        what: String,
    },
}

/// Looks at the frame at `at` of a segment, which is to continue the log `log_id` from `before`.
pub fn check_frame(segment: &[u8], at: usize, log_id: u64, before: Position) -> FrameCheck<'_> {
    check_frame_within(segment, 0, at, log_id, before)
}

/// As [`check_frame`], of a piece of the segment that begins at `base` and has all of the frame, or all that the segment has.
pub(super) fn check_frame_within(
    piece: &[u8],
    base: usize,
    at: usize,
    log_id: u64,
    before: Position,
) -> FrameCheck<'_> {
    let bad = |offset: usize, what: String| FrameCheck::Bad { offset: offset as u64, what };
    let rest = at.checked_sub(base).and_then(|start| piece.get(start..)).unwrap_or_default();
    let Some(sector) = rest.get(..SECTOR_LEN) else {
        return bad(at, "the file ends where a frame may stand".to_owned());
    };
    if is_zero(sector) {
        return FrameCheck::Blank;
    }
    let Some(header) = FrameHeader::decode(sector) else {
        return bad(at, "a frame header that does not match its CRC".to_owned());
    };
    if let Err((field, what)) = header_fits(&header, at, log_id, before) {
        return bad(at + field, what);
    }
    let layout = FrameLayout::of(header.records_len as usize);
    let Some(frame) = rest.get(..layout.len) else {
        return bad(at, format!("a frame of {} bytes, longer than the rest of the file", layout.len));
    };
    match check_sectors(frame, layout) {
        Ok(None) => {}
        Ok(Some(hole)) => {
            return FrameCheck::Torn {
                end: (at + layout.len) as u64,
                hole: (at + hole) as u64,
                unsynced: header.flags & FLAG_UNSYNCED != 0,
            };
        }
        Err(offset) => return bad(at + offset, "a sector that does not match its CRC".to_owned()),
    }
    let records = &frame[FRAME_HEADER_LEN..FRAME_HEADER_LEN + header.records_len as usize];
    if let Err((offset, what)) = check_records(&header, records) {
        return bad(at + FRAME_HEADER_LEN + offset, what);
    }
    let after = Position {
        sequence: before.sequence,
        offset: (at + layout.len) as u64,
        chain: header.chain_after,
        zxid: header.zxid_last,
    };
    FrameCheck::Good(Frame { header, offset: at as u64, after, records })
}

/// Whether a frame header with a sound CRC belongs at this place of this log; else the field that says no.
fn header_fits(header: &FrameHeader, at: usize, log_id: u64, before: Position) -> Result<(), (usize, String)> {
    use frame_field::*;
    if header.log_id != log_id {
        return Err((LOG_ID, format!("a frame of another log ({:016x}, this one is {log_id:016x})", header.log_id)));
    }
    if header.sequence != before.sequence {
        let (found, expected) = (header.sequence, before.sequence);
        return Err((SEQUENCE, format!("a frame of segment {found:x}, this one is {expected:x}")));
    }
    if header.block as usize != at / BLOCK_LEN || !at.is_multiple_of(BLOCK_LEN) {
        return Err((BLOCK, format!("a frame of block {}, this is block {}", header.block, at / BLOCK_LEN)));
    }
    if header.chain_before != before.chain || header.zxid_before != before.zxid {
        let (found, expected) = (header.zxid_before, before.zxid);
        return Err((CHAIN_BEFORE, format!("a frame that follows {found}, the log before it ends with {expected}")));
    }
    if !matches!(header.kind, KIND_RECORDS | KIND_BASE) {
        return Err((KIND, format!("a frame of kind {}, which this release does not know", header.kind)));
    }
    if header.len() != FrameLayout::of(header.records_len as usize).len {
        return Err((BLOCKS, "a frame whose lengths contradict each other".to_owned()));
    }
    Ok(())
}

/// Compares each sector with its CRC. The first hole (an all-zero sector that should not be) or, as an error, the first
/// sector that is neither. Offsets are within the frame.
fn check_sectors(frame: &[u8], layout: FrameLayout) -> Result<Option<usize>, usize> {
    let crc_at = match layout.table {
        None => frame_field::TABLE,
        Some((start, len)) => {
            let table = &frame[start..start + len];
            if get_u32(frame, frame_field::TABLE) != crc32fast::hash(table) {
                // Without its table the frame cannot be judged sector by sector; a hole in the table says torn.
                let hole = table.chunks(SECTOR_LEN).position(is_zero);
                return hole.map(|index| Some(start + index * SECTOR_LEN)).ok_or(start);
            }
            start
        }
    };
    let mut hole = None;
    for (index, offset) in layout.covered().enumerate() {
        let sector = &frame[offset..offset + SECTOR_LEN];
        if crc32fast::hash(sector) != get_u32(frame, crc_at + index * 4) {
            if !is_zero(sector) {
                return Err(offset);
            }
            hole = hole.or(Some(offset));
        }
    }
    Ok(hole)
}

/// Walks the records' chain and zxids against the header. Offsets are within the records.
fn check_records(header: &FrameHeader, bytes: &[u8]) -> Result<(), (usize, String)> {
    let (mut chain, mut zxid, mut records, mut at) = (header.chain_before, header.zxid_before, 0u32, 0usize);
    while at < bytes.len() {
        let Some(record) = bytes.get(at..).and_then(|rest| {
            let len = RECORD_HEADER_LEN.checked_add(get_u32(rest.get(..4)?, 0) as usize)?;
            rest.get(..len)
        }) else {
            return Err((at, "a record that is longer than its frame".to_owned()));
        };
        chain = record_crc(chain, record);
        if chain != get_u32(record, record_field::CRC) {
            return Err((at, "a record that does not continue the chain".to_owned()));
        }
        let next = Zxid(get_u64(record, record_field::ZXID) as i64);
        if next <= zxid || (records == 0 && next != header.zxid_first) {
            return Err((at, format!("a record {next} behind {zxid}")));
        }
        zxid = next;
        records += 1;
        at += record.len();
    }
    let is_base = header.kind == KIND_BASE && header.zxid_first == header.zxid_before;
    if (records == 0) != is_base || records != header.records || chain != header.chain_after || zxid != header.zxid_last
    {
        return Err((0, "records that are not those of the frame header".to_owned()));
    }
    Ok(())
}

/// What lies behind the last sound frame of the last segment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Tail {
    /// Zeros to the end of the file: the log ends here and can go on here.
    Clean,
    /// A write that did not arrive in full. It may be cut; the log goes on in a new segment.
    Torn {
        /// Offset of the first byte that differs from what was meant.
        offset: u64,
        /// Bytes, up to the last one that is not zero, that are cut.
        len: u64,
    },
}

/// Judges what stands at `at`, where no sound frame stands, in the last segment of the log; the offset and words of what is
/// wrong if it is rot.
pub fn check_tail(segment: &[u8], at: usize, log_id: u64, before: Position) -> Result<Tail, (u64, String)> {
    // A segment that is full to the last block has no tail.
    if at == segment.len() {
        return Ok(Tail::Clean);
    }
    let rest = segment.get(at..).unwrap_or_default();
    let used = match rest.chunks(SECTOR_LEN).rposition(|sector| !is_zero(sector)) {
        Some(last) => at + (last + 1) * SECTOR_LEN,
        None => at,
    };
    let (end, offset, unsynced) = match check_frame(segment, at, log_id, before) {
        FrameCheck::Good(_) => return Err((at as u64, "a sound frame, not a tail".to_owned())),
        FrameCheck::Bad { offset, what } => return Err((offset, what)),
        FrameCheck::Blank if used == at => return Ok(Tail::Clean),
        FrameCheck::Blank => (usize::MAX, at as u64, false),
        FrameCheck::Torn { end, hole, unsynced } => (end as usize, hole, unsynced),
    };
    let frames = frames_behind(segment, at, log_id, before.sequence);
    match frames {
        Behind::Synced(behind) => {
            return Err((offset, format!("a frame that is not sound, with a good one behind it at offset {behind}")));
        }
        Behind::Unsynced => {}
        Behind::Nothing if used <= end || unsynced => {}
        Behind::Nothing => {
            return Err((offset, format!("a frame that is not sound, with bytes behind it up to offset {used}")));
        }
    }
    Ok(Tail::Torn { offset, len: (used as u64).saturating_sub(at as u64) })
}

/// What a segment holds that has no header: it lies ahead of the log, prepared with zeros; or the write that was to open
/// it did not arrive in full. `before` is the end of the log.
pub fn check_unopened(segment: &[u8], sequence: u64, log_id: u64, before: Position) -> Result<Tail, (u64, String)> {
    if is_zero(segment) {
        return Ok(Tail::Clean);
    }
    let no_header = "bytes in a segment that has no header";
    let Some(first) = segment.get(..SEGMENT_HEADER_LEN) else { return Err((0, no_header.to_owned())) };
    if !is_zero(first) {
        // The header is one sector: it arrives whole or not at all, and nothing else is written to its block.
        return Err((0, "a segment header that is neither whole nor zero".to_owned()));
    }
    let start = Position { sequence, ..before };
    let at = SEGMENT_HEADER_LEN;
    match check_frame(segment, at, log_id, start) {
        FrameCheck::Good(frame) => {
            // The header's sector alone is missing. Nothing may stand behind this first frame.
            let rest = segment.get(frame.after.offset as usize..).unwrap_or_default();
            if let Behind::Synced(behind) = frames_behind(segment, at, log_id, sequence) {
                return Err((0, format!("no segment header, but a good frame at offset {behind}")));
            }
            if !is_zero(rest) && frame.header.flags & FLAG_UNSYNCED == 0 {
                return Err((0, format!("no segment header, but bytes behind offset {}", frame.after.offset)));
            }
            Ok(Tail::Torn { offset: 0, len: frame.after.offset })
        }
        _ => match check_tail(segment, at, log_id, start)? {
            Tail::Clean => Ok(Tail::Clean),
            Tail::Torn { len, .. } => Ok(Tail::Torn { offset: 0, len: at as u64 + len }),
        },
    }
}

/// Sound frame headers of this segment behind a place.
enum Behind {
    Nothing,
    /// All of them acknowledged without a sync.
    Unsynced,
    /// One was durable before it was acknowledged: its offset.
    Synced(u64),
}

fn frames_behind(segment: &[u8], at: usize, log_id: u64, sequence: u64) -> Behind {
    let mut behind = Behind::Nothing;
    for (index, block) in segment.chunks_exact(BLOCK_LEN).enumerate().skip(at / BLOCK_LEN + 1) {
        // The log id is random and on no wire, so that no client can put such a header into its data.
        let Some(header) = FrameHeader::decode(block) else { continue };
        if header.log_id == log_id && header.sequence == sequence && header.block as usize == index {
            if header.flags & FLAG_UNSYNCED == 0 {
                return Behind::Synced((index * BLOCK_LEN) as u64);
            }
            behind = Behind::Unsynced;
        }
    }
    behind
}

#[cfg(test)]
mod tests {
    use super::super::batch::BatchBuilder;
    use super::*;

    const LOG: u64 = 0x1234;

    /// A segment of `frames` frames with one record each; its bytes and the places between them.
    fn segment(record_lens: &[usize], unsynced: bool) -> (Vec<u8>, Vec<Position>) {
        let mut bytes = vec![0; SEGMENT_HEADER_LEN];
        let mut at = Position { sequence: 1, offset: SEGMENT_HEADER_LEN as u64, ..Position::start(LOG, Zxid::ZERO) };
        let mut places = vec![at];
        for (index, &len) in record_lens.iter().enumerate() {
            let mut builder = BatchBuilder::new();
            builder.push(Zxid(index as i64 + 1), &vec![0x5a; len]);
            let (block, after) = builder.finish().expect("one record").seal(LOG, at, unsynced);
            bytes.extend_from_slice(block.bytes());
            at = after;
            places.push(at);
        }
        bytes.resize(bytes.len() + (1 << 20), 0);
        (bytes, places)
    }

    fn tail(bytes: &[u8], at: Position) -> Result<Tail, (u64, String)> {
        check_tail(bytes, at.offset as usize, LOG, at)
    }

    #[test]
    fn zeros_behind_the_last_frame_are_a_clean_end() {
        let (bytes, places) = segment(&[100, 20_000], false);
        assert_eq!(tail(&bytes, places[2]), Ok(Tail::Clean));
    }

    #[test]
    fn any_missing_sectors_of_the_last_frame_are_a_torn_tail() {
        for len in [100, 20_000, 100_000] {
            let (bytes, places) = segment(&[100, len], false);
            let (start, end) = (places[1].offset as usize, places[2].offset as usize);
            for hole in (start..end).step_by(SECTOR_LEN) {
                let mut torn = bytes.clone();
                torn[hole..hole + SECTOR_LEN].fill(0);
                if torn == bytes {
                    continue;
                }
                assert!(matches!(tail(&torn, places[1]), Ok(Tail::Torn { .. })), "hole at {hole} of {len}");
            }
        }
    }

    #[test]
    fn any_flipped_bit_of_the_last_frame_is_rot() {
        for len in [100, 100_000] {
            let (bytes, places) = segment(&[100, len], false);
            for offset in (places[1].offset as usize..places[2].offset as usize).step_by(129) {
                let mut rotten = bytes.clone();
                rotten[offset] ^= 4;
                let check = check_frame(&rotten, places[1].offset as usize, LOG, places[1]);
                assert!(!matches!(check, FrameCheck::Good(_)), "byte {offset} of {len}");
                assert!(tail(&rotten, places[1]).is_err(), "byte {offset} of {len}");
            }
        }
    }

    #[test]
    fn a_hole_with_a_good_frame_behind_it_is_rot() {
        let (mut bytes, places) = segment(&[100, 100, 100], false);
        let start = places[1].offset as usize;
        bytes[start..start + BLOCK_LEN].fill(0);
        let (offset, what) = tail(&bytes, places[1]).expect_err("rot");
        assert_eq!(offset, places[1].offset);
        assert!(what.contains(&format!("offset {}", places[2].offset)), "{what}");
    }

    #[test]
    fn a_hole_among_unsynced_frames_is_a_torn_tail() {
        let (mut bytes, places) = segment(&[100, 100, 100], true);
        let start = places[1].offset as usize;
        bytes[start..start + BLOCK_LEN].fill(0);
        assert!(matches!(tail(&bytes, places[1]), Ok(Tail::Torn { .. })));
    }

    #[test]
    fn bytes_beyond_a_torn_frame_are_rot() {
        let (mut bytes, places) = segment(&[100, 2000], false);
        let hole = places[1].offset as usize + SECTOR_LEN;
        bytes[hole..hole + SECTOR_LEN].fill(0);
        assert!(matches!(tail(&bytes, places[1]), Ok(Tail::Torn { .. })));
        let last = bytes.len() - 1;
        bytes[last] = 1;
        assert!(tail(&bytes, places[1]).is_err());
    }

    #[test]
    fn a_frame_from_elsewhere_is_rot() {
        let (bytes, places) = segment(&[100, 100, 100], false);
        let (one, two, three) = (places[0].offset as usize, places[1].offset as usize, places[2].offset as usize);
        let mut swapped = bytes.clone();
        swapped.copy_within(two..three, one);
        assert!(matches!(check_frame(&swapped, one, LOG, places[0]), FrameCheck::Bad { .. }));
        assert!(matches!(check_frame(&bytes, one, LOG + 1, places[0]), FrameCheck::Bad { .. }));
        let other = Position { chain: places[0].chain ^ 1, ..places[0] };
        assert!(matches!(check_frame(&bytes, one, LOG, other), FrameCheck::Bad { .. }));
    }

    #[test]
    fn an_opening_write_without_its_header_is_torn_but_with_a_second_frame_it_is_rot() {
        let before = Position::start(LOG, Zxid::ZERO);
        let (bytes, _) = segment(&[100], false);
        assert!(matches!(check_unopened(&bytes, 1, LOG, before), Ok(Tail::Torn { .. })));
        let (bytes, _) = segment(&[100, 100], false);
        assert!(check_unopened(&bytes, 1, LOG, before).is_err());
        assert_eq!(check_unopened(&vec![0; 1 << 16], 1, LOG, before), Ok(Tail::Clean));
    }
}
