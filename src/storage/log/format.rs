//! The log's bytes. Everything is big endian.
//!
//! A log is a row of segment files `log.<sequence, 16 hex digits>`. A segment is made of 4 KiB blocks: block 0 is its
//! header, then come frames, one for each group commit, then zeros. A frame is written once, as whole blocks, in one
//! write (the first frame of a segment together with the header), and only one write is under way at a time. So a power
//! cut can tear only the last frame, which nobody was told about.
//!
//! ```text
//! segment:  | header | frame | frame      | frame | 0 0 0 0 0 ...
//! block:      0        1       2            5       6
//!
//! frame:    | frame header | records ...            | table? | 0 |
//!             one sector     contiguous               sectors  to the block's end
//! ```
//!
//! The device writes sectors of 512 bytes whole or not at all. That is why both headers fit into one sector, and why a
//! frame carries a CRC for each of its other sectors: after a power cut each sector of the last frame is either what was
//! meant or the zeros from before, and anything else is rot. Up to [`TABLE_INLINE_MAX`] CRCs stand in the frame header;
//! more stand in a table of their own behind the records, whose CRC is the first of the header's.
//!
//! Segment header (block 0; the rest of the block is zero):
//!
//! ```text
//! offset size
//!      0    8  magic "zoosegmt"
//!      8    4  format version
//!     12    4  length of a block, 4096
//!     16    8  log id: drawn at random when the log began
//!     24    8  sequence of this segment
//!     32    8  length of this segment, bytes
//!     40    8  zxid of its first record
//!     48    8  zxid of the last record before it
//!     56    8  sequence of the segment before it (0: none)
//!     64    8  offset at which the log ended in that one
//!     72    4  chain there: the CRC of the last record before this segment
//!     76    4  CRC32 of bytes 0..76
//! ```
//!
//! Frame header (the first sector of the frame):
//!
//! ```text
//! offset size
//!      0    4  magic "zfrm"
//!      4    4  CRC32 of bytes 8..512
//!      8    8  log id
//!     16    8  sequence of the segment
//!     24    4  number of the frame's first block in the segment
//!     28    4  blocks in the frame
//!     32    4  bytes of records
//!     36    4  records
//!     40    4  chain before the first record
//!     44    4  chain after the last
//!     48    8  zxid before the first record
//!     56    8  zxid of the first record
//!     64    8  zxid of the last record
//!     72    4  flags: 1 = acknowledged without a sync (forceSync=no)
//!     76    4  kind: 1 = records, 2 = base
//!     80  432  CRC32 of each other sector, in order; or the CRC32 of the table alone
//! ```
//!
//! Record:
//!
//! ```text
//! offset size
//!      0    4  bytes of payload
//!      4    4  CRC32 of the length, the zxid and the payload, started from the CRC of the record before (the chain)
//!      8    8  zxid
//!     16       payload
//! ```
//!
//! A base frame holds no record. It is the first of a segment with which the log begins, or goes on, at a place that no record
//! follows yet: behind a snapshot that replaced everything, and where the log was cut. Such a segment is written under the
//! name [`NEW_NAME`], made durable, and then renamed: it is there as a whole or not at all. Where its header says that the
//! log before it ended in an older segment than the one before it in number, the log was cut there, and all segments in
//! between are void, as are the records behind that place. Where it says that there is none before it although its number
//! is above 1, a snapshot of its log has replaced everything before it.
//!
//! The chain starts from the CRC32 of the log id. It ties each record to all before it, so that a record, a block or a
//! file from elsewhere does not fit even if it is sound in itself.

use std::fmt;

use crate::ids::Zxid;
use crate::storage::disk::BLOCK_LEN;

/// What a device writes whole or not at all.
pub const SECTOR_LEN: usize = 512;

const SEGMENT_MAGIC: &[u8; 8] = b"zoosegmt";
const FRAME_MAGIC: &[u8; 4] = b"zfrm";
/// The version written into segment headers.
pub const FORMAT_VERSION: u32 = 1;

/// Where a segment header's fields stand.
pub mod segment_field {
    /// Magic.
    pub const MAGIC: usize = 0;
    /// Format version.
    pub const VERSION: usize = MAGIC + 8;
    /// Length of a block.
    pub const BLOCK: usize = VERSION + 4;
    /// Log id.
    pub const LOG_ID: usize = BLOCK + 4;
    /// Sequence of this segment.
    pub const SEQUENCE: usize = LOG_ID + 8;
    /// Length of this segment.
    pub const SEGMENT_LEN: usize = SEQUENCE + 8;
    /// Zxid of its first record.
    pub const ZXID_FIRST: usize = SEGMENT_LEN + 8;
    /// Zxid before it.
    pub const ZXID_BEFORE: usize = ZXID_FIRST + 8;
    /// Sequence of the segment before it.
    pub const PREVIOUS_SEQUENCE: usize = ZXID_BEFORE + 8;
    /// Where the log ended in that one.
    pub const PREVIOUS_END: usize = PREVIOUS_SEQUENCE + 8;
    /// Chain there.
    pub const CHAIN_BEFORE: usize = PREVIOUS_END + 8;
    /// CRC of the bytes before it.
    pub const CRC: usize = CHAIN_BEFORE + 4;
    /// All of it.
    pub const LEN: usize = CRC + 4;
}

/// Where a frame header's fields stand.
pub mod frame_field {
    /// Magic.
    pub const MAGIC: usize = 0;
    /// CRC of the sector behind it.
    pub const CRC: usize = MAGIC + 4;
    /// Log id.
    pub const LOG_ID: usize = CRC + 4;
    /// Sequence of the segment.
    pub const SEQUENCE: usize = LOG_ID + 8;
    /// Number of the first block.
    pub const BLOCK: usize = SEQUENCE + 8;
    /// Blocks in the frame.
    pub const BLOCKS: usize = BLOCK + 4;
    /// Bytes of records.
    pub const RECORDS_LEN: usize = BLOCKS + 4;
    /// Records.
    pub const RECORDS: usize = RECORDS_LEN + 4;
    /// Chain before.
    pub const CHAIN_BEFORE: usize = RECORDS + 4;
    /// Chain after.
    pub const CHAIN_AFTER: usize = CHAIN_BEFORE + 4;
    /// Zxid before.
    pub const ZXID_BEFORE: usize = CHAIN_AFTER + 4;
    /// First zxid.
    pub const ZXID_FIRST: usize = ZXID_BEFORE + 8;
    /// Last zxid.
    pub const ZXID_LAST: usize = ZXID_FIRST + 8;
    /// Flags.
    pub const FLAGS: usize = ZXID_LAST + 8;
    /// Kind.
    pub const KIND: usize = FLAGS + 4;
    /// CRCs of the other sectors.
    pub const TABLE: usize = KIND + 4;
}

/// Where a record's fields stand.
pub mod record_field {
    /// Bytes of payload.
    pub const LEN: usize = 0;
    /// Chained CRC.
    pub const CRC: usize = LEN + 4;
    /// Zxid.
    pub const ZXID: usize = CRC + 4;
    /// The payload.
    pub const PAYLOAD: usize = ZXID + 8;
}

/// Bytes of a frame before its records.
pub const FRAME_HEADER_LEN: usize = SECTOR_LEN;
/// Bytes of a record before its payload.
pub const RECORD_HEADER_LEN: usize = record_field::PAYLOAD;
/// The segment's header block; the first frame stands behind it.
pub const SEGMENT_HEADER_LEN: usize = BLOCK_LEN;
/// How many sector CRCs fit into the frame header.
pub const TABLE_INLINE_MAX: usize = (SECTOR_LEN - frame_field::TABLE) / 4;
/// Longest segment: block numbers and lengths have to fit their fields, and recovery holds one segment in memory.
pub const SEGMENT_LEN_MAX: u64 = 1 << 30;

/// The frame was acknowledged without a sync (forceSync=no).
pub const FLAG_UNSYNCED: u32 = 1;
/// The frame holds records.
pub const KIND_RECORDS: u32 = 1;
/// The frame holds no record, and says from where the log goes on. Other kinds are for later formats.
pub const KIND_BASE: u32 = 2;

/// The name under which a segment is written with which a cut log goes on, or a replaced one begins anew.
pub const NEW_NAME: &str = "log.new";

/// Stands in the unused part of a table, so that a table sector that reads all zero is one that was not written.
const TABLE_FILL: u8 = 0xff;
const SECTORS_A_BLOCK: usize = BLOCK_LEN / SECTOR_LEN;

const _: () = assert!(BLOCK_LEN.is_multiple_of(SECTOR_LEN));
const _: () = assert!(segment_field::LEN == 80 && segment_field::LEN <= SECTOR_LEN);
const _: () = assert!(frame_field::TABLE == 80 && TABLE_INLINE_MAX == 108);
const _: () = assert!(RECORD_HEADER_LEN == 16);
const _: () = assert!(SEGMENT_LEN_MAX / (BLOCK_LEN as u64) <= u32::MAX as u64);

/// No log comes to a greater number of a segment or a marker: what claims one is not believed, so that the next number can
/// always be taken.
pub const SEQUENCE_MAX: u64 = u64::MAX >> 1;

/// Name of the segment with this sequence.
pub fn segment_name(sequence: u64) -> String {
    format!("log.{sequence:016x}")
}

/// The sequence in a segment's name; nothing if the name is not a segment's (also beyond [`SEQUENCE_MAX`]).
pub fn segment_sequence(name: &str) -> Option<u64> {
    let digits = name.strip_prefix("log.")?;
    let plain = digits.len() == 16 && digits.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
    let sequence = if plain { u64::from_str_radix(digits, 16).ok() } else { None };
    sequence.filter(|&sequence| sequence <= SEQUENCE_MAX)
}

/// A place between two records: what a chain of records continues from.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Position {
    /// Sequence of the segment; 0 before the first.
    pub sequence: u64,
    /// Byte offset in it, a multiple of the block.
    pub offset: u64,
    /// CRC of the last record before.
    pub chain: u32,
    /// Zxid of the last record before.
    pub zxid: Zxid,
}

impl Position {
    /// Before the first record of a log whose history up to `base` is held elsewhere (a snapshot) or empty.
    pub fn start(log_id: u64, base: Zxid) -> Self {
        Self { sequence: 0, offset: 0, chain: crc32fast::hash(&log_id.to_be_bytes()), zxid: base }
    }
}

impl fmt::Debug for Position {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:x}:{} after {} (chain {:08x})", self.sequence, self.offset, self.zxid, self.chain)
    }
}

/// A segment's header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SegmentHeader {
    /// Which log.
    pub log_id: u64,
    /// Which segment.
    pub sequence: u64,
    /// Length of the file.
    pub segment_len: u64,
    /// Zxid of its first record.
    pub zxid_first: Zxid,
    /// Where the log ended before it: the link to the segment before.
    pub previous: Position,
}

impl SegmentHeader {
    /// Writes it into the first block of a segment. The block must be zero.
    pub fn encode(&self, block: &mut [u8]) {
        use segment_field::*;
        block[MAGIC..VERSION].copy_from_slice(SEGMENT_MAGIC);
        put_u32(block, VERSION, FORMAT_VERSION);
        put_u32(block, BLOCK, BLOCK_LEN as u32);
        put_u64(block, LOG_ID, self.log_id);
        put_u64(block, SEQUENCE, self.sequence);
        put_u64(block, SEGMENT_LEN, self.segment_len);
        put_u64(block, ZXID_FIRST, self.zxid_first.0 as u64);
        put_u64(block, ZXID_BEFORE, self.previous.zxid.0 as u64);
        put_u64(block, PREVIOUS_SEQUENCE, self.previous.sequence);
        put_u64(block, PREVIOUS_END, self.previous.offset);
        put_u32(block, CHAIN_BEFORE, self.previous.chain);
        let crc = crc32fast::hash(&block[..CRC]);
        put_u32(block, CRC, crc);
    }

    /// Reads it from the first block of a segment; what is wrong, and at which offset, if it is not one.
    pub fn decode(block: &[u8]) -> Result<Self, (u64, &'static str)> {
        use segment_field::*;
        if block.len() < BLOCK_LEN {
            return Err((block.len() as u64, "the file ends within its header"));
        }
        if &block[MAGIC..VERSION] != SEGMENT_MAGIC {
            return Err((MAGIC as u64, "no segment header here"));
        }
        if get_u32(block, CRC) != crc32fast::hash(&block[..CRC]) {
            return Err((CRC as u64, "the segment header does not match its CRC"));
        }
        if get_u32(block, VERSION) != FORMAT_VERSION || get_u32(block, BLOCK) as usize != BLOCK_LEN {
            return Err((VERSION as u64, "a format version that this release does not know"));
        }
        if let Some(stray) = block[LEN..BLOCK_LEN].iter().position(|&byte| byte != 0) {
            return Err(((LEN + stray) as u64, "bytes behind the segment header that are not zero"));
        }
        Ok(Self {
            log_id: get_u64(block, LOG_ID),
            sequence: get_u64(block, SEQUENCE),
            segment_len: get_u64(block, SEGMENT_LEN),
            zxid_first: Zxid(get_u64(block, ZXID_FIRST) as i64),
            previous: Position {
                sequence: get_u64(block, PREVIOUS_SEQUENCE),
                offset: get_u64(block, PREVIOUS_END),
                chain: get_u32(block, CHAIN_BEFORE),
                zxid: Zxid(get_u64(block, ZXID_BEFORE) as i64),
            },
        })
    }
}

/// A frame's header without its CRCs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FrameHeader {
    /// Which log.
    pub log_id: u64,
    /// Which segment.
    pub sequence: u64,
    /// Number of its first block in the segment.
    pub block: u32,
    /// Its length in blocks.
    pub blocks: u32,
    /// Bytes of records.
    pub records_len: u32,
    /// Records.
    pub records: u32,
    /// Chain before its first record.
    pub chain_before: u32,
    /// Chain after its last.
    pub chain_after: u32,
    /// Zxid before its first record.
    pub zxid_before: Zxid,
    /// Zxid of its first record.
    pub zxid_first: Zxid,
    /// Zxid of its last record.
    pub zxid_last: Zxid,
    /// See [`FLAG_UNSYNCED`].
    pub flags: u32,
    /// See [`KIND_RECORDS`].
    pub kind: u32,
}

impl FrameHeader {
    /// Writes the fields, without the CRCs: [`seal_sectors`] adds them when the frame is complete.
    pub fn encode(&self, frame: &mut [u8]) {
        use frame_field::*;
        frame[..FRAME_HEADER_LEN].fill(0);
        frame[MAGIC..CRC].copy_from_slice(FRAME_MAGIC);
        put_u64(frame, LOG_ID, self.log_id);
        put_u64(frame, SEQUENCE, self.sequence);
        put_u32(frame, BLOCK, self.block);
        put_u32(frame, BLOCKS, self.blocks);
        put_u32(frame, RECORDS_LEN, self.records_len);
        put_u32(frame, RECORDS, self.records);
        put_u32(frame, CHAIN_BEFORE, self.chain_before);
        put_u32(frame, CHAIN_AFTER, self.chain_after);
        put_u64(frame, ZXID_BEFORE, self.zxid_before.0 as u64);
        put_u64(frame, ZXID_FIRST, self.zxid_first.0 as u64);
        put_u64(frame, ZXID_LAST, self.zxid_last.0 as u64);
        put_u32(frame, FLAGS, self.flags);
        put_u32(frame, KIND, self.kind);
    }

    /// Reads a header from the first sector of a frame; nothing unless the sector is one and matches its CRC.
    pub fn decode(sector: &[u8]) -> Option<Self> {
        use frame_field::*;
        let sector = sector.get(..SECTOR_LEN)?;
        if &sector[MAGIC..CRC] != FRAME_MAGIC || get_u32(sector, CRC) != crc32fast::hash(&sector[LOG_ID..]) {
            return None;
        }
        Some(Self {
            log_id: get_u64(sector, LOG_ID),
            sequence: get_u64(sector, SEQUENCE),
            block: get_u32(sector, BLOCK),
            blocks: get_u32(sector, BLOCKS),
            records_len: get_u32(sector, RECORDS_LEN),
            records: get_u32(sector, RECORDS),
            chain_before: get_u32(sector, CHAIN_BEFORE),
            chain_after: get_u32(sector, CHAIN_AFTER),
            zxid_before: Zxid(get_u64(sector, ZXID_BEFORE) as i64),
            zxid_first: Zxid(get_u64(sector, ZXID_FIRST) as i64),
            zxid_last: Zxid(get_u64(sector, ZXID_LAST) as i64),
            flags: get_u32(sector, FLAGS),
            kind: get_u32(sector, KIND),
        })
    }

    /// Length of the frame in bytes.
    pub fn len(&self) -> usize {
        self.blocks as usize * BLOCK_LEN
    }

    /// Whether it says that it has no block, which no sound header does.
    pub fn is_empty(&self) -> bool {
        self.blocks == 0
    }
}

/// How a frame with this many bytes of records is laid out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FrameLayout {
    /// Length of the frame in bytes, a multiple of the block.
    pub len: usize,
    /// Sectors that have a CRC of their own in the table: all but the header and the table itself.
    pub sectors: usize,
    /// Where the table stands and its length, both in bytes; nothing if the CRCs stand in the header.
    pub table: Option<(usize, usize)>,
}

impl FrameLayout {
    /// The layout for `records_len` bytes of records.
    pub fn of(records_len: usize) -> Self {
        let blocks = (FRAME_HEADER_LEN + records_len).div_ceil(BLOCK_LEN);
        let sectors = blocks * SECTORS_A_BLOCK - 1;
        if sectors <= TABLE_INLINE_MAX {
            return Self { len: blocks * BLOCK_LEN, sectors, table: None };
        }
        // The table stands in whole sectors behind the records and covers every other sector, those behind it included.
        let table_start = (FRAME_HEADER_LEN + records_len).next_multiple_of(SECTOR_LEN);
        let mut table_sectors = 1;
        loop {
            let len = (table_start + table_sectors * SECTOR_LEN).next_multiple_of(BLOCK_LEN);
            let sectors = len / SECTOR_LEN - 1 - table_sectors;
            if sectors * 4 <= table_sectors * SECTOR_LEN {
                return Self { len, sectors, table: Some((table_start, table_sectors * SECTOR_LEN)) };
            }
            table_sectors = (sectors * 4).div_ceil(SECTOR_LEN).max(table_sectors + 1);
        }
    }

    /// Byte offsets of the covered sectors, in the order of their CRCs.
    pub fn covered(&self) -> impl Iterator<Item = usize> + use<> {
        let (table_start, table_len) = self.table.unwrap_or((self.len, 0));
        (SECTOR_LEN..self.len)
            .step_by(SECTOR_LEN)
            .filter(move |&offset| offset < table_start || offset >= table_start + table_len)
    }
}

/// An upper bound for what a batch of `records_len` bytes takes in the log, alone or merged with others.
///
/// The sum over batches is never less than the length of the frame that holds them all: each bears a header, the CRCs of
/// its sectors and its own rounding.
pub fn batch_cost(records_len: usize) -> u64 {
    let bytes = 2 * SECTOR_LEN + records_len + records_len.div_ceil(SECTOR_LEN) * 4 + 64;
    bytes.next_multiple_of(BLOCK_LEN) as u64
}

/// Fills in the CRCs of a frame whose header fields, records and padding are in place. `known`: those of the first sectors
/// behind the header, where they were taken before.
pub fn seal_sectors(frame: &mut [u8], layout: FrameLayout, known: &[u32]) {
    use frame_field::*;
    debug_assert_eq!(frame.len(), layout.len);
    let (table, len) = match layout.table {
        None => (TABLE, 0),
        Some((start, len)) => {
            frame[start..start + len].fill(TABLE_FILL);
            (start, len)
        }
    };
    for (index, offset) in layout.covered().enumerate() {
        let crc = match known.get(index) {
            Some(&crc) => crc,
            None => crc32fast::hash(&frame[offset..offset + SECTOR_LEN]),
        };
        put_u32(frame, table + index * 4, crc);
    }
    if layout.table.is_some() {
        let crc = crc32fast::hash(&frame[table..table + len]);
        put_u32(frame, TABLE, crc);
    }
    let crc = crc32fast::hash(&frame[LOG_ID..SECTOR_LEN]);
    put_u32(frame, CRC, crc);
}

/// The CRC of a record that follows one whose CRC is `chain`. `record` is the whole record, header included.
pub fn record_crc(chain: u32, record: &[u8]) -> u32 {
    let mut hasher = crc32fast::Hasher::new_with_initial(chain);
    hasher.update(&record[record_field::LEN..record_field::CRC]);
    hasher.update(&record[record_field::ZXID..]);
    hasher.finalize()
}

/// The big-endian number at `offset`.
pub(crate) fn get_u32(bytes: &[u8], offset: usize) -> u32 {
    let mut number = [0; 4];
    number.copy_from_slice(&bytes[offset..offset + 4]);
    u32::from_be_bytes(number)
}

/// The big-endian number at `offset`.
pub(crate) fn get_u64(bytes: &[u8], offset: usize) -> u64 {
    let mut number = [0; 8];
    number.copy_from_slice(&bytes[offset..offset + 8]);
    u64::from_be_bytes(number)
}

pub(crate) fn put_u32(bytes: &mut [u8], offset: usize, number: u32) {
    bytes[offset..offset + 4].copy_from_slice(&number.to_be_bytes());
}

pub(crate) fn put_u64(bytes: &mut [u8], offset: usize, number: u64) {
    bytes[offset..offset + 8].copy_from_slice(&number.to_be_bytes());
}

/// Whether all bytes are zero.
pub(crate) fn is_zero(bytes: &[u8]) -> bool {
    static ZEROS: [u8; BLOCK_LEN] = [0; BLOCK_LEN];
    bytes.chunks(BLOCK_LEN).all(|chunk| chunk == &ZEROS[..chunk.len()])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn layouts_hold_their_records_and_cover_every_sector_once() {
        for records_len in (0..600_000).step_by(37).chain([7_000_000, 16 << 20]) {
            let layout = FrameLayout::of(records_len);
            assert!(layout.len.is_multiple_of(BLOCK_LEN), "{records_len}: {layout:?}");
            let table_len = layout.table.map_or(0, |(_, len)| len);
            assert!(FRAME_HEADER_LEN + records_len + table_len <= layout.len, "{records_len}: {layout:?}");
            assert_eq!(layout.covered().count(), layout.sectors, "{records_len}");
            assert_eq!((layout.sectors + 1) * SECTOR_LEN + table_len, layout.len, "{records_len}");
            match layout.table {
                None => assert!(layout.sectors <= TABLE_INLINE_MAX),
                Some((_, len)) => assert!(layout.sectors * 4 <= len),
            }
        }
    }

    #[test]
    fn costs_cover_any_merging() {
        for parts in [&[1usize, 1, 1][..], &[50_000, 50_000], &[3_000; 200], &[100, 900_000, 4], &[54_000, 30], &[0]] {
            let merged = FrameLayout::of(parts.iter().sum()).len as u64;
            let costs: u64 = parts.iter().map(|&part| batch_cost(part)).sum();
            assert!(merged <= costs, "{parts:?}: {merged} > {costs}");
        }
        for len in (0..400_000).step_by(61) {
            assert!(FrameLayout::of(len).len as u64 <= batch_cost(len), "{len}");
        }
    }

    #[test]
    fn segment_names_are_exact() {
        assert_eq!(segment_name(0x1f), "log.000000000000001f");
        assert_eq!(segment_sequence("log.000000000000001f"), Some(0x1f));
        for other in [
            "log.marker",
            "log.1f",
            "log.000000000000001F",
            "log.+00000000000001f",
            "log.ffffffffffffffff",
            "snapshot.1",
        ] {
            assert_eq!(segment_sequence(other), None, "{other}");
        }
    }

    #[test]
    fn a_segment_header_comes_back() {
        let header = SegmentHeader {
            log_id: 0xfeed,
            sequence: 9,
            segment_len: 1 << 26,
            zxid_first: Zxid(0x3_0000_0001),
            previous: Position { sequence: 8, offset: 8192, chain: 77, zxid: Zxid(0x2_0000_0005) },
        };
        let mut block = vec![0; BLOCK_LEN];
        header.encode(&mut block);
        assert_eq!(SegmentHeader::decode(&block), Ok(header));
        for bit in 0..segment_field::LEN * 8 {
            block[bit / 8] ^= 1 << (bit % 8);
            assert!(SegmentHeader::decode(&block).is_err(), "bit {bit}");
            block[bit / 8] ^= 1 << (bit % 8);
        }
    }
}
