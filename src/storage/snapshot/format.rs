//! A snapshot's bytes. Everything is big endian.
//!
//! The file `snapshot.<zxid, 16 hex digits>` is a row of frames, each a number of whole 4 KiB blocks: one header, frames
//! with records, one footer, and nothing behind it. It is written under a temporary name (`.tmp` at the end), synced, read
//! back and checked, and then renamed: a file under its own name is complete, and every fault in it is rot.
//!
//! ```text
//! offset size
//!      0    4  magic "zsnp"
//!      4    4  CRC32 of the rest of the frame, to the end of its last block
//!      8    8  log id
//!     16    8  zxid of the version
//!     24    8  offset of the frame in the file
//!     32    4  number of the frame in the file
//!     36    4  kind: 1 header, 2 records, 3 footer
//!     40    4  blocks in the frame
//!     44    4  bytes of payload
//!     48    4  records in the payload
//!     52    4  CRC32 over the CRCs of all frames before this one
//!     56       payload, zeros to the end of the block
//! ```
//!
//! Payload of the header and of the footer (the footer's counts are what was really written):
//!
//! ```text
//!      0    4  format version
//!      4    4  version of the digest
//!      8    8  sessions
//!     16    8  access control lists
//!     24    8  znodes
//!     32    8  digest of the tree
//!     40    8  records in all
//! ```
//!
//! A record never spans two frames, so that frames can be decoded on several threads.

use crate::ids::Zxid;
use crate::storage::disk::{BLOCK_LEN, BlockBuf};
use crate::storage::log::format::{get_u32, get_u64, is_zero, put_u32, put_u64};

const MAGIC_WORD: &[u8; 4] = b"zsnp";
/// The version written into headers.
pub const FORMAT_VERSION: u32 = 1;

/// Where a frame's fields stand.
pub mod field {
    /// Magic.
    pub const MAGIC: usize = 0;
    /// CRC of the rest.
    pub const CRC: usize = MAGIC + 4;
    /// Log id.
    pub const LOG_ID: usize = CRC + 4;
    /// Zxid of the version.
    pub const ZXID: usize = LOG_ID + 8;
    /// Offset in the file.
    pub const OFFSET: usize = ZXID + 8;
    /// Number of the frame.
    pub const NUMBER: usize = OFFSET + 8;
    /// Kind.
    pub const KIND: usize = NUMBER + 4;
    /// Blocks.
    pub const BLOCKS: usize = KIND + 4;
    /// Bytes of payload.
    pub const PAYLOAD_LEN: usize = BLOCKS + 4;
    /// Records.
    pub const RECORDS: usize = PAYLOAD_LEN + 4;
    /// CRC over the CRCs before.
    pub const CHAIN: usize = RECORDS + 4;
    /// The payload.
    pub const PAYLOAD: usize = CHAIN + 4;
}

const INFO_LEN: usize = 48;
/// Longest frame that a reader believes in: beyond any record that a server accepts.
pub const FRAME_LEN_MAX: usize = 1 << 30;

const _: () = assert!(field::PAYLOAD == 56 && field::PAYLOAD + INFO_LEN <= BLOCK_LEN);

/// Name of the snapshot of the version at this zxid.
pub fn snapshot_name(zxid: Zxid) -> String {
    format!("snapshot.{:016x}", zxid.0)
}

/// Name under which it is written.
pub fn temporary_name(zxid: Zxid) -> String {
    format!("{}.tmp", snapshot_name(zxid))
}

/// Name of a snapshot of this zxid that is to replace all that is there: complete, but of no meaning until the log that begins
/// with it is there.
pub fn installed_name(zxid: Zxid) -> String {
    format!("{}.install", snapshot_name(zxid))
}

/// The zxid in such a name.
pub fn installed_zxid(name: &str) -> Option<Zxid> {
    name.strip_suffix(".install").and_then(snapshot_zxid)
}

/// Whether a name is that of a snapshot that was never finished.
pub fn is_temporary(name: &str) -> bool {
    name.strip_suffix(".tmp").is_some_and(|name| snapshot_zxid(name).is_some())
}

/// The zxid in a snapshot's name; nothing if the name is not a snapshot's.
pub fn snapshot_zxid(name: &str) -> Option<Zxid> {
    let digits = name.strip_prefix("snapshot.")?;
    let plain = digits.len() == 16 && digits.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
    if plain { i64::from_str_radix(digits, 16).ok().map(Zxid) } else { None }
}

/// What a frame is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum FrameKind {
    /// The first.
    Header = 1,
    /// Holds records.
    Records = 2,
    /// The last.
    Footer = 3,
}

/// What a snapshot holds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SnapshotInfo {
    /// The version's zxid: the last transaction whose effect is in it.
    pub zxid: Zxid,
    /// Which digest (reference 1.16).
    pub digest_version: u32,
    /// Digest of the tree.
    pub digest: u64,
    /// Sessions.
    pub sessions: u64,
    /// Access control lists.
    pub acls: u64,
    /// Znodes.
    pub znodes: u64,
}

/// Lays out a snapshot's frames one behind the other.
#[derive(Debug)]
pub struct SnapshotWriter {
    log_id: u64,
    info: SnapshotInfo,
    offset: u64,
    number: u32,
    records: u64,
    chain: crc32fast::Hasher,
}

impl SnapshotWriter {
    /// A writer of nothing yet.
    pub fn new(log_id: u64, info: SnapshotInfo) -> Self {
        Self { log_id, info, offset: 0, number: 0, records: 0, chain: crc32fast::Hasher::new() }
    }

    /// Where the next frame goes.
    pub fn offset(&self) -> u64 {
        self.offset
    }

    /// Records so far.
    pub fn records(&self) -> u64 {
        self.records
    }

    /// The header frame, which comes first.
    pub fn header(&mut self, block: &mut BlockBuf) {
        assert_eq!(self.number, 0, "a snapshot's header is its first frame");
        let payload = self.info_payload();
        self.frame(FrameKind::Header, &payload, 0, block);
    }

    /// A frame with `count` whole records.
    pub fn records_frame(&mut self, payload: &[u8], count: u32, block: &mut BlockBuf) {
        self.records += u64::from(count);
        self.frame(FrameKind::Records, payload, count, block);
    }

    /// The footer, which comes last.
    pub fn footer(&mut self, block: &mut BlockBuf) {
        let payload = self.info_payload();
        self.frame(FrameKind::Footer, &payload, 0, block);
    }

    fn info_payload(&self) -> [u8; INFO_LEN] {
        let mut payload = [0; INFO_LEN];
        put_u32(&mut payload, 0, FORMAT_VERSION);
        put_u32(&mut payload, 4, self.info.digest_version);
        put_u64(&mut payload, 8, self.info.sessions);
        put_u64(&mut payload, 16, self.info.acls);
        put_u64(&mut payload, 24, self.info.znodes);
        put_u64(&mut payload, 32, self.info.digest);
        put_u64(&mut payload, 40, self.records);
        payload
    }

    fn frame(&mut self, kind: FrameKind, payload: &[u8], records: u32, block: &mut BlockBuf) {
        use field::*;
        let len = (PAYLOAD + payload.len()).next_multiple_of(BLOCK_LEN);
        block.resize(len);
        let bytes = block.bytes_mut();
        bytes[..PAYLOAD].fill(0);
        bytes[MAGIC..CRC].copy_from_slice(MAGIC_WORD);
        put_u64(bytes, LOG_ID, self.log_id);
        put_u64(bytes, ZXID, self.info.zxid.0 as u64);
        put_u64(bytes, OFFSET, self.offset);
        put_u32(bytes, NUMBER, self.number);
        put_u32(bytes, KIND, kind as u32);
        put_u32(bytes, BLOCKS, (len / BLOCK_LEN) as u32);
        put_u32(bytes, PAYLOAD_LEN, payload.len() as u32);
        put_u32(bytes, RECORDS, records);
        put_u32(bytes, CHAIN, self.chain.clone().finalize());
        bytes[PAYLOAD..PAYLOAD + payload.len()].copy_from_slice(payload);
        bytes[PAYLOAD + payload.len()..].fill(0);
        let crc = crc32fast::hash(&bytes[LOG_ID..]);
        put_u32(bytes, CRC, crc);
        self.chain.update(&crc.to_be_bytes());
        self.number += 1;
        self.offset += len as u64;
    }
}

/// A frame found sound in itself and in its place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FrameInfo {
    /// What it is.
    pub kind: FrameKind,
    /// Its length in bytes.
    pub len: usize,
    /// Bytes of payload, which begin at [`field::PAYLOAD`].
    pub payload_len: usize,
    /// Records in the payload.
    pub records: u32,
}

/// Follows a snapshot's frames and judges them: identity, place, order, totals.
#[derive(Clone, Debug)]
pub struct SnapshotJudge {
    zxid: Zxid,
    log_id: Option<u64>,
    offset: u64,
    number: u32,
    records: u64,
    chain: crc32fast::Hasher,
    info: SnapshotInfo,
    ended: bool,
}

impl SnapshotJudge {
    /// For a file whose name says `zxid`. Nothing outside says which log it is of, so the first frame does.
    pub fn new(zxid: Zxid) -> Self {
        let info = SnapshotInfo { zxid, ..SnapshotInfo::default() };
        let chain = crc32fast::Hasher::new();
        Self { zxid, log_id: None, offset: 0, number: 0, records: 0, chain, info, ended: false }
    }

    /// Where the next frame stands.
    pub fn offset(&self) -> u64 {
        self.offset
    }

    /// What the header said; only the zxid before it was read.
    pub fn info(&self) -> SnapshotInfo {
        self.info
    }

    /// Which log it is of, once the header was read.
    pub fn log_id(&self) -> Option<u64> {
        self.log_id
    }

    /// Records so far.
    pub fn records(&self) -> u64 {
        self.records
    }

    /// Whether the footer was read.
    pub fn is_complete(&self) -> bool {
        self.ended
    }

    /// How long the next frame is, from its first bytes; what is wrong if that cannot be a frame's length.
    pub fn frame_len(&self, start: &[u8]) -> Result<usize, &'static str> {
        use field::*;
        let Some(start) = start.get(..PAYLOAD) else { return Err("the file ends before its footer") };
        if &start[MAGIC..CRC] != MAGIC_WORD {
            return Err("no frame of a snapshot here");
        }
        let len = get_u32(start, BLOCKS) as usize * BLOCK_LEN;
        if len == 0 || len > FRAME_LEN_MAX {
            return Err("a frame of impossible length");
        }
        Ok(len)
    }

    /// Judges the next frame, given whole.
    pub fn frame(&mut self, frame: &[u8]) -> Result<FrameInfo, (u64, &'static str)> {
        use field::*;
        let at = |field: usize| self.offset + field as u64;
        if self.ended {
            return Err((self.offset, "bytes behind the footer"));
        }
        let len = self.frame_len(frame).map_err(|what| (self.offset, what))?;
        if frame.len() != len {
            return Err((self.offset + frame.len() as u64, "the file ends within a frame"));
        }
        let crc = get_u32(frame, CRC);
        if crc != crc32fast::hash(&frame[LOG_ID..]) {
            return Err((self.offset, "a frame that does not match its CRC"));
        }
        if get_u64(frame, ZXID) as i64 != self.zxid.0 {
            return Err((at(ZXID), "a frame of another snapshot"));
        }
        if self.log_id.is_some_and(|log_id| log_id != get_u64(frame, LOG_ID)) {
            return Err((at(LOG_ID), "a frame of another log's snapshot"));
        }
        if get_u64(frame, OFFSET) != self.offset || get_u32(frame, NUMBER) != self.number {
            return Err((at(OFFSET), "a frame from another place"));
        }
        if get_u32(frame, CHAIN) != self.chain.clone().finalize() {
            return Err((at(CHAIN), "a frame that does not continue those before it"));
        }
        let payload_len = get_u32(frame, PAYLOAD_LEN) as usize;
        let Some(padding) = PAYLOAD.checked_add(payload_len).and_then(|end| frame.get(end..)) else {
            return Err((at(PAYLOAD_LEN), "a payload longer than its frame"));
        };
        if padding.len() >= BLOCK_LEN || !is_zero(padding) {
            return Err((at(PAYLOAD_LEN), "a payload shorter than its frame"));
        }
        let kind = match (get_u32(frame, KIND), self.number) {
            (1, 0) => FrameKind::Header,
            (2, 1..) => FrameKind::Records,
            (3, 1..) => FrameKind::Footer,
            _ => return Err((at(KIND), "a frame of unknown kind, or out of order")),
        };
        let records = get_u32(frame, RECORDS);
        if kind != FrameKind::Records {
            self.judge_info(kind, &frame[PAYLOAD..PAYLOAD + payload_len])
                .map_err(|what| (self.offset + PAYLOAD as u64, what))?;
        }
        self.log_id = Some(get_u64(frame, LOG_ID));
        self.chain.update(&crc.to_be_bytes());
        self.records += u64::from(records);
        self.number += 1;
        self.offset += len as u64;
        self.ended = kind == FrameKind::Footer;
        Ok(FrameInfo { kind, len, payload_len, records })
    }

    fn judge_info(&mut self, kind: FrameKind, payload: &[u8]) -> Result<(), &'static str> {
        if payload.len() != INFO_LEN {
            return Err("a header or footer of the wrong length");
        }
        if get_u32(payload, 0) != FORMAT_VERSION {
            return Err("a format version that this release does not know");
        }
        let info = SnapshotInfo {
            zxid: self.zxid,
            digest_version: get_u32(payload, 4),
            sessions: get_u64(payload, 8),
            acls: get_u64(payload, 16),
            znodes: get_u64(payload, 24),
            digest: get_u64(payload, 32),
        };
        if kind == FrameKind::Header {
            self.info = info;
        } else if info != self.info || get_u64(payload, 40) != self.records {
            return Err("a footer that does not agree with what stands before it");
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn snapshot(frames: u32) -> Vec<u8> {
        let info = SnapshotInfo { zxid: Zxid(5), digest: 9, znodes: 3, ..SnapshotInfo::default() };
        let mut writer = SnapshotWriter::new(1, info);
        let mut block = BlockBuf::zeroed(0);
        let mut bytes = Vec::new();
        writer.header(&mut block);
        bytes.extend_from_slice(block.bytes());
        for index in 0..frames {
            writer.records_frame(&vec![index as u8; 5000], 2, &mut block);
            bytes.extend_from_slice(block.bytes());
        }
        writer.footer(&mut block);
        bytes.extend_from_slice(block.bytes());
        bytes
    }

    fn judge(mut bytes: &[u8]) -> Result<u64, (u64, &'static str)> {
        let mut judge = SnapshotJudge::new(Zxid(5));
        while !bytes.is_empty() {
            let len = judge.frame_len(bytes).map_err(|what| (judge.offset(), what))?.min(bytes.len());
            judge.frame(&bytes[..len])?;
            bytes = &bytes[len..];
        }
        if judge.is_complete() { Ok(judge.records()) } else { Err((judge.offset(), "no footer")) }
    }

    #[test]
    fn a_whole_snapshot_is_sound() {
        assert_eq!(judge(&snapshot(3)), Ok(6));
        assert_eq!(judge(&snapshot(0)), Ok(0));
    }

    #[test]
    fn every_flipped_bit_swapped_frame_and_cut_is_noticed() {
        let bytes = snapshot(3);
        for offset in (0..bytes.len()).step_by(61).chain(0..64).chain(4096..4160) {
            let mut rotten = bytes.clone();
            rotten[offset] ^= 16;
            assert!(judge(&rotten).is_err(), "byte {offset}");
        }
        for cut in (0..bytes.len()).step_by(512) {
            assert!(judge(&bytes[..cut]).is_err(), "cut at {cut}");
        }
        let (one, two) = (4096..4096 + 8192, 4096 + 8192..4096 + 16384);
        let mut swapped = bytes.clone();
        swapped[one.clone()].copy_from_slice(&bytes[two.clone()]);
        swapped[two].copy_from_slice(&bytes[one]);
        assert!(judge(&swapped).is_err());
    }

    #[test]
    fn names_are_exact() {
        assert_eq!(snapshot_zxid(&snapshot_name(Zxid(0x1_0000_0002))), Some(Zxid(0x1_0000_0002)));
        assert!(is_temporary(&temporary_name(Zxid(3))));
        assert_eq!(snapshot_zxid(&temporary_name(Zxid(3))), None);
        assert_eq!(snapshot_zxid("snapshot.ffffffffffffffff"), None);
    }
}
