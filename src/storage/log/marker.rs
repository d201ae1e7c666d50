//! The durable marker: "the log is durable up to here", beside the log, in a file of its own.
//!
//! While writes go on, each frame proves that those before it were durable. When the log goes idle, the last frame has no
//! such witness, and damage to it could pass for a torn tail; so the log core then writes a marker. It stands in its own
//! file, so that a missing last segment is noticed as well. The file has two blocks, written in turn, so that the newest
//! marker is never written over. Losing the file loses nothing but this witness.
//!
//! ```text
//! offset size
//!      0    8  magic "zoomarkr"
//!      8    4  format version
//!     12    4  slot: 0 or 1
//!     16    8  log id
//!     24    8  counter: how many markers were written before this one
//!     32    8  sequence of the segment in which the log ends
//!     40    8  offset there
//!     48    8  zxid of the last record
//!     56    4  chain: its CRC
//!     60    4  CRC32 of bytes 0..60
//! ```

use super::format::{FORMAT_VERSION, Position, SEQUENCE_MAX, get_u32, get_u64, is_zero, put_u32, put_u64};
use crate::ids::Zxid;
use crate::storage::disk::{BLOCK_LEN, BlockBuf};
use crate::storage::error::StorageError;

/// Name of the file.
pub const MARKER_NAME: &str = "log.marker";
/// Length of the file: two slots of one block.
pub const MARKER_LEN: usize = 2 * BLOCK_LEN;

const MAGIC_WORD: &[u8; 8] = b"zoomarkr";
const MAGIC: usize = 0;
const VERSION: usize = MAGIC + 8;
const SLOT: usize = VERSION + 4;
const LOG_ID: usize = SLOT + 4;
const COUNTER: usize = LOG_ID + 8;
const SEQUENCE: usize = COUNTER + 8;
const END: usize = SEQUENCE + 8;
const ZXID: usize = END + 8;
const CHAIN: usize = ZXID + 8;
const CRC: usize = CHAIN + 4;
const LEN: usize = CRC + 4;
const _: () = assert!(LEN == 64 && LEN <= super::format::SECTOR_LEN);

/// A promise that the log is durable up to a place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Marker {
    /// Which log.
    pub log_id: u64,
    /// How many markers were written before.
    pub counter: u64,
    /// How far the log is durable.
    pub through: Position,
}

impl Marker {
    /// Byte offset of its slot in the file.
    pub fn offset(&self) -> u64 {
        (self.counter % 2) * BLOCK_LEN as u64
    }

    /// Its block, to be written at [`Self::offset`].
    pub fn encode(&self, block: &mut BlockBuf) {
        block.resize(BLOCK_LEN);
        let bytes = block.bytes_mut();
        bytes.fill(0);
        bytes[MAGIC..VERSION].copy_from_slice(MAGIC_WORD);
        put_u32(bytes, VERSION, FORMAT_VERSION);
        put_u32(bytes, SLOT, (self.counter % 2) as u32);
        put_u64(bytes, LOG_ID, self.log_id);
        put_u64(bytes, COUNTER, self.counter);
        put_u64(bytes, SEQUENCE, self.through.sequence);
        put_u64(bytes, END, self.through.offset);
        put_u64(bytes, ZXID, self.through.zxid.0 as u64);
        put_u32(bytes, CHAIN, self.through.chain);
        let crc = crc32fast::hash(&bytes[..CRC]);
        put_u32(bytes, CRC, crc);
    }

    /// The markers in the file's bytes. A slot that is still zero is no marker.
    ///
    /// A slot is written as one sector, so that no power cut leaves a damaged one: it is rot, and what it promised is
    /// unknown. That is told apart from "no marker", since a log whose tail looks torn cannot be believed then.
    pub fn read(file: &[u8]) -> Markers {
        let mut markers = Markers { newest: None, damaged: None };
        for slot in 0..2 {
            let at = slot * BLOCK_LEN;
            let bytes = file.get(at..).unwrap_or_default();
            let bytes = &bytes[..bytes.len().min(BLOCK_LEN)];
            if is_zero(bytes) && bytes.len() == BLOCK_LEN {
                continue;
            }
            let Some(marker) = Self::decode(bytes, slot) else {
                let what = "a marker that does not match its CRC or its slot";
                markers.damaged = Some(StorageError::damaged(MARKER_NAME, at as u64, what));
                continue;
            };
            if markers.newest.is_none_or(|other: Self| marker.counter > other.counter) {
                markers.newest = Some(marker);
            }
        }
        markers
    }

    fn decode(bytes: &[u8], slot: usize) -> Option<Self> {
        let sound = bytes.len() == BLOCK_LEN
            && &bytes[MAGIC..VERSION] == MAGIC_WORD
            && get_u32(bytes, CRC) == crc32fast::hash(&bytes[..CRC])
            && get_u32(bytes, VERSION) == FORMAT_VERSION
            && get_u32(bytes, SLOT) as usize == slot
            && get_u64(bytes, COUNTER) % 2 == slot as u64
            && get_u64(bytes, COUNTER) <= SEQUENCE_MAX
            && is_zero(&bytes[LEN..]);
        sound.then(|| Self {
            log_id: get_u64(bytes, LOG_ID),
            counter: get_u64(bytes, COUNTER),
            through: Position {
                sequence: get_u64(bytes, SEQUENCE),
                offset: get_u64(bytes, END),
                chain: get_u32(bytes, CHAIN),
                zxid: Zxid(get_u64(bytes, ZXID) as i64),
            },
        })
    }
}

/// What the marker file says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Markers {
    /// The newest sound marker.
    pub newest: Option<Marker>,
    /// A slot that is damaged.
    pub damaged: Option<StorageError>,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn marker(counter: u64) -> Marker {
        Marker { log_id: 5, counter, through: Position { sequence: 2, offset: 8192, chain: 3, zxid: Zxid(9) } }
    }

    fn file(markers: &[Marker]) -> Vec<u8> {
        let mut file = vec![0; MARKER_LEN];
        for marker in markers {
            let mut block = BlockBuf::zeroed(BLOCK_LEN);
            marker.encode(&mut block);
            let at = marker.offset() as usize;
            file[at..at + BLOCK_LEN].copy_from_slice(block.bytes());
        }
        file
    }

    #[test]
    fn the_newest_of_two_is_read() {
        assert_eq!(Marker::read(&file(&[])), Markers { newest: None, damaged: None });
        assert_eq!(Marker::read(&file(&[marker(0)])).newest, Some(marker(0)));
        assert_eq!(Marker::read(&file(&[marker(0), marker(1), marker(2)])).newest, Some(marker(2)));
    }

    #[test]
    fn a_counter_that_has_no_next_is_not_believed() {
        let markers = Marker::read(&file(&[marker(4), marker(u64::MAX)]));
        assert_eq!(markers.newest, Some(marker(4)));
        assert!(markers.damaged.is_some());
    }

    #[test]
    fn a_flipped_bit_is_noticed() {
        let whole = file(&[marker(0), marker(1)]);
        for bit in 0..LEN * 8 {
            let mut file = whole.clone();
            file[bit / 8] ^= 1 << (bit % 8);
            let markers = Marker::read(&file);
            assert!(markers.damaged.is_some(), "bit {bit}");
            assert_eq!(markers.newest, Some(marker(1)), "bit {bit}");
        }
    }
}
