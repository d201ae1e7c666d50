//! Buffers on their way to the log: filled by the replica, sealed by the log core, written as they are.
//!
//! The replica pushes records into a [`BatchBuilder`], which lays them out at the place where they will stand in the frame:
//! that is the only copy on the way to the disk, unless batches that collected behind a busy disk are merged. Lengths and
//! zxids are written at once; CRCs, chain and frame header depend on what stands before, which only the log core knows
//! when the frame before is on its way: `Batch::prepare` does as much of it as can be done while more may still be merged in,
//! `Batch::seal` the rest. So a batch can be built anywhere, built batches can be merged or split at record boundaries, and
//! the passes over the bytes (200 us for 1 MiB here) are done while the disk writes the frame before.

use super::format::{
    FLAG_UNSYNCED, FRAME_HEADER_LEN, FrameHeader, FrameLayout, KIND_BASE, KIND_RECORDS, Position, RECORD_HEADER_LEN,
    SECTOR_LEN, batch_cost, get_u32, get_u64, put_u32, record_crc, record_field, seal_sectors,
};
use crate::ids::Zxid;
use crate::storage::disk::{BLOCK_LEN, BlockBuf};

/// Records with rising zxids, laid out for the log but not yet chained to it.
#[derive(Debug)]
pub struct Batch {
    block: BlockBuf,
    /// Where the records end; they begin at [`FRAME_HEADER_LEN`].
    end: usize,
    records: u32,
    record_len_max: usize,
    first: Zxid,
    last: Zxid,
    cost: u64,
    prepared: Prepared,
}

/// What [`Batch::seal`] need not do any more. As long as records are only added behind, it holds.
#[derive(Debug, Default)]
struct Prepared {
    /// The chain before the first record.
    chain_before: u32,
    /// The chain behind the records up to `end`.
    chain: u32,
    /// Records up to here carry their CRCs; 0 if none does.
    end: usize,
    /// CRCs of the sectors from the first record on that lie wholly before `end`.
    sectors: Vec<u32>,
}

impl Batch {
    /// Zxid of the first record.
    pub fn first(&self) -> Zxid {
        self.first
    }

    /// Zxid of the last record.
    pub fn last(&self) -> Zxid {
        self.last
    }

    /// How many records.
    pub fn records(&self) -> u32 {
        self.records
    }

    /// Bytes of records, their headers included.
    pub fn records_len(&self) -> usize {
        self.end - FRAME_HEADER_LEN
    }

    /// The longest record in it, header included.
    pub fn record_len_max(&self) -> usize {
        self.record_len_max
    }

    /// What it counts against the room that the log core grants, in bytes. Never less than what it takes on the disk.
    pub fn cost(&self) -> u64 {
        self.cost
    }

    /// Its records, in order: their zxids and what they hold.
    pub fn iter(&self) -> impl Iterator<Item = (Zxid, &[u8])> {
        let bytes = &self.block.bytes()[..self.end];
        let mut at = FRAME_HEADER_LEN;
        std::iter::from_fn(move || {
            let record = bytes.get(at..).filter(|rest| !rest.is_empty())?;
            let len = RECORD_HEADER_LEN + get_u32(record, record_field::LEN) as usize;
            at += len;
            Some((Zxid(get_u64(record, record_field::ZXID) as i64), &record[RECORD_HEADER_LEN..len]))
        })
    }

    /// Length of the frame that holds it alone.
    pub(crate) fn frame_len(&self) -> usize {
        FrameLayout::of(self.records_len()).len
    }

    /// Its buffer, for use again.
    pub(crate) fn into_buffer(self) -> BlockBuf {
        self.block
    }

    /// Takes the records of `other`, which follow.
    pub(crate) fn merge(&mut self, other: &Self) {
        assert!(other.first > self.last, "batch {} merged behind {}", other.first, self.last);
        let end = self.end + other.records_len();
        reserve(&mut self.block, end);
        self.block.bytes_mut()[self.end..end].copy_from_slice(&other.block.bytes()[FRAME_HEADER_LEN..other.end]);
        self.end = end;
        self.records += other.records;
        self.record_len_max = self.record_len_max.max(other.record_len_max);
        self.last = other.last;
        self.cost += other.cost;
    }

    /// Splits off as many records from the front as fit into a frame of `frame_len`; nothing if not even one does.
    /// The parts' costs add up to the whole's.
    pub(crate) fn split_front(&mut self, frame_len: usize) -> Option<Self> {
        let bytes = self.block.bytes();
        let mut front = BatchBuilder::new();
        let mut at = FRAME_HEADER_LEN;
        while at < self.end {
            let len = RECORD_HEADER_LEN + get_u32(bytes, at + record_field::LEN) as usize;
            if FrameLayout::of(at + len - FRAME_HEADER_LEN).len > frame_len {
                break;
            }
            let zxid = Zxid(get_u64(bytes, at + record_field::ZXID) as i64);
            front.push(zxid, &bytes[at + RECORD_HEADER_LEN..at + len]);
            at += len;
        }
        let mut front = front.finish()?;
        let mut back = BatchBuilder::new();
        while at < self.end {
            let len = RECORD_HEADER_LEN + get_u32(bytes, at + record_field::LEN) as usize;
            let zxid = Zxid(get_u64(bytes, at + record_field::ZXID) as i64);
            back.push(zxid, &bytes[at + RECORD_HEADER_LEN..at + len]);
            at += len;
        }
        let mut back = back.finish().expect("a batch that fits is not split");
        front.cost = front.cost.min(self.cost);
        back.cost = self.cost - front.cost;
        *self = back;
        Some(front)
    }

    /// Chains the records to one whose CRC is `chain_before`, and takes the CRCs of the sectors that are complete: what
    /// [`Self::seal`] does not have to do then. More records may be merged in behind.
    pub(crate) fn prepare(&mut self, chain_before: u32) {
        let Prepared { chain_before: known, chain, end, sectors } = &mut self.prepared;
        if *end == 0 || *known != chain_before {
            (*known, *chain, *end) = (chain_before, chain_before, FRAME_HEADER_LEN);
            sectors.clear();
        }
        let bytes = self.block.bytes_mut();
        while *end < self.end {
            let len = RECORD_HEADER_LEN + get_u32(bytes, *end + record_field::LEN) as usize;
            *chain = record_crc(*chain, &bytes[*end..*end + len]);
            put_u32(bytes, *end + record_field::CRC, *chain);
            *end += len;
        }
        let known = FRAME_HEADER_LEN + sectors.len() * SECTOR_LEN;
        sectors.extend(bytes[known..*end].chunks_exact(SECTOR_LEN).map(crc32fast::hash));
    }

    /// Chains the records behind `before` and completes the frame; gives back its bytes and the place behind it.
    ///
    /// `before` is where the frame will be written, and the state of the chain there.
    pub(crate) fn seal(mut self, log_id: u64, before: Position, unsynced: bool) -> (BlockBuf, Position) {
        assert!(self.first > before.zxid, "batch {} appended behind {}", self.first, before.zxid);
        self.prepare(before.chain);
        let Prepared { chain, end, sectors, .. } = self.prepared;
        assert_eq!(end, self.end, "the chain ends where the records do");
        let layout = FrameLayout::of(end - FRAME_HEADER_LEN);
        reserve(&mut self.block, layout.len);
        self.block.resize(layout.len);
        let frame = self.block.bytes_mut();
        frame[end..].fill(0);
        let header = FrameHeader {
            log_id,
            sequence: before.sequence,
            block: (before.offset / BLOCK_LEN as u64) as u32,
            blocks: (layout.len / BLOCK_LEN) as u32,
            records_len: (end - FRAME_HEADER_LEN) as u32,
            records: self.records,
            chain_before: before.chain,
            chain_after: chain,
            zxid_before: before.zxid,
            zxid_first: self.first,
            zxid_last: self.last,
            flags: if unsynced { FLAG_UNSYNCED } else { 0 },
            kind: KIND_RECORDS,
        };
        header.encode(frame);
        seal_sectors(frame, layout, &sectors);
        let after =
            Position { offset: before.offset + layout.len as u64, chain, zxid: self.last, sequence: before.sequence };
        (self.block, after)
    }
}

/// A frame without records: the log goes on behind `before`. Its bytes and the place behind it.
pub(crate) fn base_frame(log_id: u64, before: Position) -> (BlockBuf, Position) {
    let layout = FrameLayout::of(0);
    let mut block = BlockBuf::zeroed(layout.len);
    let header = FrameHeader {
        log_id,
        sequence: before.sequence,
        block: (before.offset / BLOCK_LEN as u64) as u32,
        blocks: (layout.len / BLOCK_LEN) as u32,
        records_len: 0,
        records: 0,
        chain_before: before.chain,
        chain_after: before.chain,
        zxid_before: before.zxid,
        zxid_first: before.zxid,
        zxid_last: before.zxid,
        flags: 0,
        kind: KIND_BASE,
    };
    header.encode(block.bytes_mut());
    seal_sectors(block.bytes_mut(), layout, &[]);
    (block, Position { offset: before.offset + layout.len as u64, ..before })
}

/// Fills a [`Batch`].
#[derive(Debug)]
pub struct BatchBuilder {
    block: BlockBuf,
    end: usize,
    records: u32,
    record_len_max: usize,
    first: Zxid,
    last: Zxid,
}

impl Default for BatchBuilder {
    fn default() -> Self {
        Self::new()
    }
}

impl BatchBuilder {
    /// An empty batch.
    pub fn new() -> Self {
        Self::reuse(BlockBuf::zeroed(BLOCK_LEN))
    }

    /// An empty batch in a buffer that was used before (see [`super::super::core::LogCore::take_spare_buffer`]).
    pub fn reuse(mut block: BlockBuf) -> Self {
        if block.is_empty() {
            block.resize(BLOCK_LEN);
        }
        let (first, last) = (Zxid::ZERO, Zxid::ZERO);
        Self { block, end: FRAME_HEADER_LEN, records: 0, record_len_max: 0, first, last }
    }

    /// Adds a record.
    ///
    /// # Panics
    /// If `zxid` is not above the one before, or the record is beyond 4 GiB.
    pub fn push(&mut self, zxid: Zxid, payload: &[u8]) {
        self.push_with(zxid, |record| record.put(payload));
    }

    /// Adds a record whose payload `write` puts together in place.
    ///
    /// # Panics
    /// As [`Self::push`].
    pub fn push_with(&mut self, zxid: Zxid, write: impl FnOnce(&mut RecordWriter<'_>)) {
        assert!(zxid > self.last, "record {zxid} pushed behind {}", self.last);
        let start = self.end;
        reserve(&mut self.block, start + RECORD_HEADER_LEN);
        let header = &mut self.block.bytes_mut()[start..start + RECORD_HEADER_LEN];
        header.fill(0);
        header[record_field::ZXID..].copy_from_slice(&zxid.0.to_be_bytes());
        self.end += RECORD_HEADER_LEN;
        write(&mut RecordWriter { block: &mut self.block, end: &mut self.end });
        let len = self.end - start;
        let payload_len = u32::try_from(len - RECORD_HEADER_LEN).expect("a record of more than 4 GiB");
        put_u32(self.block.bytes_mut(), start + record_field::LEN, payload_len);
        if self.records == 0 {
            self.first = zxid;
        }
        self.last = zxid;
        self.records += 1;
        self.record_len_max = self.record_len_max.max(len);
    }

    /// Zxid of the first record, if any was pushed.
    pub fn first(&self) -> Option<Zxid> {
        (self.records > 0).then_some(self.first)
    }

    /// Whether nothing was pushed.
    pub fn is_empty(&self) -> bool {
        self.records == 0
    }

    /// Bytes of records so far, their headers included.
    pub fn len(&self) -> usize {
        self.end - FRAME_HEADER_LEN
    }

    /// What the batch would cost if it were finished now.
    pub fn cost(&self) -> u64 {
        self.cost_with(0)
    }

    /// What it would cost with so many bytes of records more, [their headers](RECORD_HEADER_LEN) included.
    pub fn cost_with(&self, records_len: usize) -> u64 {
        batch_cost(self.len() + records_len)
    }

    /// The batch; nothing if it is empty.
    pub fn finish(self) -> Option<Batch> {
        if self.records == 0 {
            return None;
        }
        let cost = self.cost();
        let Self { block, end, records, record_len_max, first, last } = self;
        Some(Batch { block, end, records, record_len_max, first, last, cost, prepared: Prepared::default() })
    }
}

/// Puts bytes behind each other into the record that is being pushed.
#[derive(Debug)]
pub struct RecordWriter<'a> {
    block: &'a mut BlockBuf,
    end: &'a mut usize,
}

impl RecordWriter<'_> {
    /// Adds bytes.
    pub fn put(&mut self, bytes: &[u8]) {
        let end = *self.end + bytes.len();
        reserve(self.block, end);
        self.block.bytes_mut()[*self.end..end].copy_from_slice(bytes);
        *self.end = end;
    }
}

/// Makes the buffer hold at least `len` bytes.
fn reserve(block: &mut BlockBuf, len: usize) {
    if block.len() < len {
        // Doubling, so that pushing many records costs a logarithmic number of moves.
        block.resize(len.max(block.len() * 2).next_multiple_of(BLOCK_LEN));
    }
}

#[cfg(test)]
mod tests {
    use super::super::scan::{FrameCheck, check_frame};
    use super::*;

    fn batch(records: &[(i64, usize)]) -> Batch {
        let mut builder = BatchBuilder::new();
        for &(zxid, len) in records {
            builder.push(Zxid(zxid), &vec![zxid as u8; len]);
        }
        builder.finish().expect("not empty")
    }

    fn unseal(batch: Batch) -> Vec<(Zxid, Vec<u8>)> {
        let before = Position { sequence: 1, offset: 4096, chain: 5, zxid: Zxid::ZERO };
        let (block, after) = batch.seal(7, before, false);
        let mut segment = vec![0; 4096];
        segment.extend_from_slice(block.bytes());
        let FrameCheck::Good(frame) = check_frame(&segment, 4096, 7, before) else { panic!("a sealed frame is sound") };
        assert_eq!(frame.after, after);
        frame.records().map(|record| (record.zxid, record.payload.to_vec())).collect()
    }

    #[test]
    fn merged_batches_hold_all_records_in_order() {
        let mut whole = batch(&[(1, 10), (2, 0)]);
        whole.merge(&batch(&[(3, 70_000)]));
        let records = unseal(whole);
        assert_eq!(
            records.iter().map(|(zxid, bytes)| (zxid.0, bytes.len())).collect::<Vec<_>>(),
            [(1, 10), (2, 0), (3, 70_000)]
        );
    }

    #[test]
    fn prepared_ahead_or_not_a_frame_is_the_same() {
        let parts: [&[(i64, usize)]; 5] =
            [&[(1, 10), (2, 0)], &[(3, 470)], &[(4, 70_000)], &[(5, 512 - 16)], &[(6, 1)]];
        let before = Position { sequence: 1, offset: 4096, chain: 5, zxid: Zxid::ZERO };
        let merged = |mut prepare: Box<dyn FnMut(&mut Batch)>| {
            let mut whole = batch(parts[0]);
            for part in &parts[1..] {
                prepare(&mut whole);
                whole.merge(&batch(part));
            }
            prepare(&mut whole);
            whole.seal(7, before, false)
        };
        let (plain, end) = merged(Box::new(|_| {}));
        let mut turn = 0;
        for prepare in [
            Box::new(|batch: &mut Batch| batch.prepare(5)) as Box<dyn FnMut(&mut Batch)>,
            // Now and then, as time allows.
            Box::new(move |batch| {
                turn += 1;
                if turn % 2 == 1 {
                    batch.prepare(5);
                }
            }),
            // For a place where it does not come to stand.
            Box::new(|batch| batch.prepare(99)),
        ] {
            let (block, after) = merged(prepare);
            assert!(block.bytes() == plain.bytes() && after == end, "the frame differs");
        }
        let mut split = batch(&[(1, 3000), (2, 3000), (3, 3000)]);
        split.prepare(5);
        let front = split.split_front(2 * BLOCK_LEN).expect("two records fit");
        assert_eq!(unseal(front).len(), 2);
    }

    #[test]
    fn a_batch_splits_at_a_record() {
        let mut back = batch(&[(1, 3000), (2, 3000), (3, 3000)]);
        let cost = back.cost();
        assert!(back.split_front(0).is_none());
        let front = back.split_front(2 * BLOCK_LEN).expect("two records fit into two blocks");
        assert_eq!((front.last(), back.first()), (Zxid(2), Zxid(3)));
        assert_eq!(front.cost() + back.cost(), cost);
        assert_eq!(unseal(front).len() + unseal(back).len(), 3);
    }

    #[test]
    fn a_used_buffer_leaves_no_trace() {
        let mut dirty = BlockBuf::zeroed(2 * BLOCK_LEN);
        dirty.bytes_mut().fill(0xee);
        let mut builder = BatchBuilder::reuse(dirty);
        builder.push(Zxid(1), b"abc");
        let before = Position::start(7, Zxid::ZERO);
        let (block, _) = builder.finish().expect("one record").seal(7, before, false);
        assert!(block.bytes()[FRAME_HEADER_LEN + RECORD_HEADER_LEN + 3..].iter().all(|&byte| byte == 0));
    }

    #[test]
    #[should_panic(expected = "pushed behind")]
    fn zxids_rise() {
        batch(&[(2, 1), (2, 1)]);
    }
}
