//! A folder of the storage as a short input, so that mutation hits what matters: blocks are stored without the zeros at
//! their ends, and checksums are made right again where the input asks for it, since no mutation guesses them.
//!
//! ```text
//! input:  u8 flags | blocks
//! block:  u16 (bit 15: the file ends here, no zeros behind; bits 0-12: bytes that follow, 4096 at most) | bytes
//! ```
//!
//! A block that begins with a segment's header begins a segment, one with a marker the marker file, one with a snapshot's
//! header frame a snapshot; each takes its name from what it says of itself, as a careless operator might name it.

use std::collections::BTreeMap;

use zoo_server::ids::Zxid;
use zoo_server::storage::disk::BLOCK_LEN;
use zoo_server::storage::log::format::{
    FRAME_HEADER_LEN, FrameLayout, RECORD_HEADER_LEN, frame_field, record_crc, record_field, seal_sectors,
    segment_field, segment_name,
};
use zoo_server::storage::log::marker::MARKER_NAME;
use zoo_server::storage::snapshot::format::field;
use zoo_server::storage::snapshot::snapshot_name;

/// Headers get the checksums of what stands in them.
pub const MEND_HEADERS: u8 = 1;
/// Records and sectors do as well, and places and lengths that follow from others.
pub const MEND_ALL: u8 = 2;
/// The rest of the input is the bytes as they are.
pub const RAW: u8 = 4;

const ENDS: u16 = 1 << 15;
const LEN_MASK: u16 = 0x1fff;
/// No more than this is made of an input.
const BYTES_MAX: usize = 64 << 10;

const SEGMENT_MAGIC: &[u8] = b"zoosegmt";
const MARKER_MAGIC: &[u8] = b"zoomarkr";
const FRAME_MAGIC: &[u8] = b"zfrm";
const SNAPSHOT_MAGIC: &[u8] = b"zsnp";

/// The files that an input stands for.
pub fn folder(input: &[u8]) -> BTreeMap<String, Vec<u8>> {
    let Some((&flags, rest)) = input.split_first() else { return BTreeMap::new() };
    let mut files = split(if flags & RAW != 0 { rest.to_vec() } else { expand(rest) });
    for (name, bytes) in &mut files {
        if flags & (MEND_HEADERS | MEND_ALL) != 0 {
            let all = flags & MEND_ALL != 0;
            match name {
                name if name.starts_with("snapshot.") => mend_snapshot(bytes, all),
                name if name == MARKER_NAME => mend_marker(bytes),
                _ => mend_segment(bytes, all),
            }
        }
    }
    files.into_iter().collect()
}

/// An input that stands for these files.
pub fn input<'a>(flags: u8, files: impl IntoIterator<Item = &'a Vec<u8>>) -> Vec<u8> {
    let mut input = vec![flags];
    for bytes in files {
        for block in bytes.chunks(BLOCK_LEN) {
            let is_whole = block.len() == BLOCK_LEN;
            let used = block.iter().rposition(|&byte| byte != 0).map_or(0, |last| last + 1);
            let used = if is_whole { used } else { block.len() };
            let head = u16::try_from(used).expect("a block") | if is_whole { 0 } else { ENDS };
            input.extend_from_slice(&head.to_be_bytes());
            input.extend_from_slice(&block[..used]);
        }
    }
    input
}

fn expand(mut rest: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::new();
    while let Some((head, tail)) = rest.split_first_chunk::<2>()
        && bytes.len() < BYTES_MAX
    {
        let head = u16::from_be_bytes(*head);
        let len = usize::from(head & LEN_MASK).min(BLOCK_LEN).min(tail.len());
        let (block, tail) = tail.split_at(len);
        bytes.extend_from_slice(block);
        if head & ENDS == 0 {
            bytes.resize(bytes.len().next_multiple_of(BLOCK_LEN), 0);
            if len == 0 {
                bytes.resize(bytes.len() + BLOCK_LEN, 0);
            }
        }
        rest = tail;
    }
    bytes
}

/// Cuts bytes where a block begins a file, and names the files.
fn split(bytes: Vec<u8>) -> Vec<(String, Vec<u8>)> {
    let mut files: Vec<(String, Vec<u8>)> = Vec::new();
    for block in bytes.chunks(BLOCK_LEN) {
        match name_of(block) {
            Some(name) => files.push((name, block.to_vec())),
            None => match files.last_mut() {
                Some((_, file)) => file.extend_from_slice(block),
                None => files.push((segment_name(1), block.to_vec())),
            },
        }
    }
    files
}

fn name_of(block: &[u8]) -> Option<String> {
    if block.starts_with(SEGMENT_MAGIC) {
        return Some(segment_name(number(block, segment_field::SEQUENCE, 8)));
    }
    if block.starts_with(MARKER_MAGIC) && block.get(15) == Some(&0) {
        return Some(MARKER_NAME.to_owned());
    }
    let is_first = block.starts_with(SNAPSHOT_MAGIC) && number(block, field::KIND, 4) == 1;
    is_first.then(|| snapshot_name(Zxid((number(block, field::ZXID, 8) & (u64::MAX >> 1)).cast_signed())))
}

/// A number of so many bytes; what lies behind the end counts as zero.
fn number(bytes: &[u8], at: usize, len: usize) -> u64 {
    (at..at + len).fold(0, |number, at| number << 8 | u64::from(bytes.get(at).copied().unwrap_or(0)))
}

fn put(bytes: &mut [u8], at: usize, number: u64, len: usize) {
    if let Some(place) = bytes.get_mut(at..at + len) {
        place.copy_from_slice(&number.to_be_bytes()[8 - len..]);
    }
}

fn put_crc(bytes: &mut [u8], at: usize, from: usize, to: usize) {
    if let Some(covered) = bytes.get(from..to) {
        let crc = crc32fast::hash(covered);
        put(bytes, at, u64::from(crc), 4);
    }
}

fn mend_marker(bytes: &mut [u8]) {
    for slot in bytes.chunks_mut(BLOCK_LEN) {
        put_crc(slot, 60, 0, 60);
    }
}

fn mend_segment(bytes: &mut [u8], all: bool) {
    if all && bytes.starts_with(SEGMENT_MAGIC) {
        put(bytes, segment_field::SEGMENT_LEN, bytes.len() as u64, 8);
    }
    put_crc(bytes, segment_field::CRC, 0, segment_field::CRC);
    let mut chain = number(bytes, segment_field::CHAIN_BEFORE, 4) as u32;
    let mut at = BLOCK_LEN;
    while at < bytes.len() {
        let frame = &mut bytes[at..];
        let mut len = BLOCK_LEN;
        if frame.starts_with(FRAME_MAGIC) {
            let records_len = number(frame, frame_field::RECORDS_LEN, 4) as usize;
            let layout = FrameLayout::of(records_len);
            if all && layout.len <= frame.len() {
                len = layout.len;
                let frame = &mut frame[..len];
                put(frame, frame_field::CHAIN_BEFORE, u64::from(chain), 4);
                chain = mend_records(&mut frame[FRAME_HEADER_LEN..FRAME_HEADER_LEN + records_len], chain);
                put(frame, frame_field::CHAIN_AFTER, u64::from(chain), 4);
                seal_sectors(frame, layout, &[]);
            } else {
                put_crc(frame, frame_field::CRC, frame_field::LOG_ID, FRAME_HEADER_LEN);
            }
        }
        at += len;
    }
}

fn mend_records(mut records: &mut [u8], mut chain: u32) -> u32 {
    while records.len() >= RECORD_HEADER_LEN {
        let len = RECORD_HEADER_LEN.saturating_add(number(records, record_field::LEN, 4) as usize);
        if len > records.len() {
            break;
        }
        let (record, rest) = records.split_at_mut(len);
        chain = record_crc(chain, record);
        put(record, record_field::CRC, u64::from(chain), 4);
        records = rest;
    }
    chain
}

fn mend_snapshot(bytes: &mut [u8], all: bool) {
    let mut chain = crc32fast::Hasher::new();
    let (mut at, mut index) = (0, 0);
    while at < bytes.len() {
        let blocks = number(&bytes[at..], field::BLOCKS, 4) as usize;
        let len = blocks.clamp(1, (bytes.len() - at).div_ceil(BLOCK_LEN)).saturating_mul(BLOCK_LEN);
        let len = len.min(bytes.len() - at);
        let frame = &mut bytes[at..at + len];
        if frame.starts_with(SNAPSHOT_MAGIC) {
            if all {
                put(frame, field::OFFSET, at as u64, 8);
                put(frame, field::NUMBER, index, 4);
                put(frame, field::CHAIN, u64::from(chain.clone().finalize()), 4);
            }
            put_crc(frame, field::CRC, field::LOG_ID, len);
        }
        chain.update(&(number(frame, field::CRC, 4) as u32).to_be_bytes());
        at += len;
        index += 1;
    }
}
