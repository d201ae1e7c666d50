//! The log thread's loop around the product's own log core and ring, on a real folder, with batches that make frames of exactly
//! one length: what `fio-profiles/run` lays beside fio's writes of that length.
//!
//! The loop is that of `server/log_thread.rs` (take, step, wait, complete, report) with the replica's part in the same thread:
//! the next batch is put together while a frame is on its way to the disk, as it is in a server under load, and waits in the
//! core's queue when the frame is durable. With nothing handed over ahead it is the loop of a lone writer, who waits for his
//! answer before he writes again.

use std::fs;
use std::path::Path;
use std::thread;
use std::time::{Duration, Instant};

use zoo_server::ids::Zxid;
use zoo_server::rt::ring::{self, Durability, Ring};
use zoo_server::storage::core::{Command, LogCore, Options, Report};
use zoo_server::storage::disk::{BLOCK_LEN, Completion, Disk, FileId};
use zoo_server::storage::log::format::{FRAME_HEADER_LEN, FrameLayout, RECORD_HEADER_LEN, segment_name};
use zoo_server::storage::log::{Batch, BatchBuilder};
use zoo_server::storage::recovery;
use zoo_server::storage::snapshot::{SnapshotInfo, SnapshotSource};

/// Names the log of a bench.
const LOG_ID: u64 = 0x0be7_c410;
/// Payload of a record: a setData of 100 bytes in a log of Apache's records, header and digest included.
const PAYLOAD_LEN: usize = 184;
/// Frames before anything is measured: enough for the segments in use and ahead to be written with zeros.
pub(crate) const WARM_UP_FRAMES: usize = 192;

/// No completion for so long: nothing is under way.
const SETTLED_AFTER: Duration = Duration::from_millis(300);

/// A log in a folder.
pub(crate) struct Log {
    disk: Ring,
    core: LogCore,
    zxid: Zxid,
    /// Frames handed over and not yet durable, oldest first: each one's last zxid.
    under_way: Vec<Zxid>,
    completions: Vec<Completion>,
    snapshots_done: usize,
    oldest: u64,
    payload: Vec<u8>,
}

impl Log {
    /// Begins a log in a folder that is empty or new.
    pub(crate) fn begin(folder: &Path, durability: Option<Durability>, options: Options) -> Self {
        fs::create_dir_all(folder).expect("the bench's folder can be made");
        let how = ring::Options { durability, ..ring::Options::default() };
        let mut disk = Ring::open(folder, &how).expect("the bench's folder can be written to");
        assert!(disk.is_direct(), "{} refuses O_DIRECT: choose a folder on a real file system", folder.display());
        let recovered =
            recovery::recover(&mut disk, &recovery::Options::default(), &mut |_| {}).expect("a sound folder");
        let zxid = recovered.tail.end.zxid;
        let core = LogCore::open(&mut disk, options, &recovered.tail, LOG_ID).expect("the log can begin");
        Self {
            disk,
            core,
            zxid,
            under_way: Vec::new(),
            completions: Vec::new(),
            snapshots_done: 0,
            oldest: 1,
            payload: vec![0x5a; 1 << 20],
        }
    }

    /// How its writes are made durable.
    pub(crate) fn durability(&self) -> Durability {
        self.disk.durability()
    }

    /// Records that make a frame of exactly this length: of [`PAYLOAD_LEN`], and a longer one at the end.
    pub(crate) fn batch_of_frame(&mut self, frame_len: usize) -> Batch {
        let records_len = records_len_of(frame_len);
        let mut builder = self.builder();
        let mut rest = records_len;
        while rest > 0 {
            let whole = RECORD_HEADER_LEN + PAYLOAD_LEN;
            let len = if rest >= 2 * whole { whole } else { rest };
            self.zxid = Zxid(self.zxid.0 + 1);
            builder.push(self.zxid, &self.payload[..len - RECORD_HEADER_LEN]);
            rest -= len;
        }
        builder.finish().expect("at least one record")
    }

    /// So many records of [`PAYLOAD_LEN`].
    pub(crate) fn batch_of_records(&mut self, records: usize) -> Batch {
        let mut builder = self.builder();
        for _ in 0..records {
            self.zxid = Zxid(self.zxid.0 + 1);
            builder.push(self.zxid, &self.payload[..PAYLOAD_LEN]);
        }
        builder.finish().expect("at least one record")
    }

    fn builder(&mut self) -> BatchBuilder {
        self.core.take_spare_buffer().map_or_else(BatchBuilder::new, BatchBuilder::reuse)
    }

    /// Hands a batch to the core; the disk has it when this returns, unless another frame is under way. It may be durable already.
    pub(crate) fn append(&mut self, batch: Batch) {
        self.under_way.push(batch.last());
        self.core.handle(Command::Append(batch));
        self.step();
    }

    /// Batches that were handed over and are not durable.
    pub(crate) fn pending(&self) -> usize {
        self.under_way.len()
    }

    /// Waits until fewer batches are pending, if any are.
    pub(crate) fn wait(&mut self) {
        let before = self.pending();
        while before > 0 && self.pending() == before {
            self.disk.wait(true, &mut self.completions).expect("the disk works");
            for completion in self.completions.drain(..) {
                self.core.complete(completion);
            }
            self.report();
            self.step();
        }
    }

    /// Lets the core write its segments with zeros, until it has nothing more to do.
    pub(crate) fn settle(&mut self) {
        let mut quiet_since = Instant::now();
        while quiet_since.elapsed() < SETTLED_AFTER {
            self.step();
            self.disk.wait(false, &mut self.completions).expect("the disk works");
            if !self.completions.is_empty() {
                quiet_since = Instant::now();
            }
            for completion in self.completions.drain(..) {
                self.core.complete(completion);
            }
            thread::sleep(Duration::from_micros(50));
        }
    }

    fn step(&mut self) {
        while self.core.step(&mut self.disk) {
            self.report();
            // As the log thread does between steps: what is complete meanwhile is not kept waiting.
            self.disk.wait(false, &mut self.completions).expect("the disk works");
            for completion in self.completions.drain(..) {
                self.core.complete(completion);
            }
        }
        self.report();
    }

    fn report(&mut self) {
        while let Some(report) = self.core.poll_report() {
            match report {
                Report::Durable { through } => self.under_way.retain(|&last| last > through),
                Report::SnapshotDone(_) => self.snapshots_done += 1,
                Report::Room { full, .. } => assert!(!full, "the disk is full"),
                Report::SnapshotFailed { error, .. } | Report::Failed(error) => panic!("the log failed: {error}"),
                _ => {}
            }
        }
    }

    /// Removes segments that are long behind, so that the bench needs little room: all but the newest three.
    pub(crate) fn remove_old(&mut self) {
        while let Ok(Some(_)) = self.exists(self.oldest + 3) {
            let _ = self.disk.remove(&segment_name(self.oldest));
            self.oldest += 1;
        }
    }

    fn exists(&mut self, sequence: u64) -> Result<Option<()>, ()> {
        let name = segment_name(sequence);
        let entries = self.disk.list().map_err(drop)?;
        Ok(entries.iter().any(|entry| entry.name == name).then_some(()))
    }

    /// Starts a snapshot of so many bytes, made of nothing.
    pub(crate) fn start_snapshot(&mut self, len: u64) {
        let info = SnapshotInfo {
            zxid: self.zxid,
            digest_version: 2,
            digest: 1,
            sessions: 0,
            acls: 0,
            znodes: len.div_ceil(FILLER.len() as u64),
        };
        self.core.handle(Command::Snapshot(Box::new(Filler { info, left: info.znodes })));
        self.step();
    }

    pub(crate) fn is_snapshotting(&self) -> bool {
        self.core.is_snapshotting()
    }

    pub(crate) fn snapshots_done(&self) -> usize {
        self.snapshots_done
    }

    /// Reads a file of this name from its beginning to its end through the disk, as recovery does; its length.
    pub(crate) fn read_whole(&mut self, name: &str, into: &mut Vec<u8>) -> usize {
        let file: FileId = self.disk.open(name).expect("the segment is there");
        let len = self.disk.len(file).expect("it has a length") as usize;
        into.resize(len, 0);
        let read = self.disk.read(file, 0, into).expect("it can be read");
        self.disk.close(file);
        assert_eq!(read, len, "{name} was not read whole");
        len
    }
}

/// A record of a snapshot: bytes without meaning, which only recovery would miss.
const FILLER: [u8; 200] = [0x3c; 200];

struct Filler {
    info: SnapshotInfo,
    left: u64,
}

impl SnapshotSource for Filler {
    fn info(&self) -> SnapshotInfo {
        self.info
    }

    fn fill(&mut self, out: &mut Vec<u8>, budget: usize) -> u32 {
        let mut count = 0;
        while self.left > 0 && out.len() < budget {
            out.extend_from_slice(&FILLER);
            self.left -= 1;
            count += 1;
        }
        count
    }
}

/// The most bytes of records in a frame of this length.
pub(crate) fn records_len_of(frame_len: usize) -> usize {
    assert!(frame_len.is_multiple_of(BLOCK_LEN), "a frame of {frame_len} bytes");
    // Layouts are close to the records' length, but for the table of the sectors' CRCs.
    let (mut low, mut high) = (1, frame_len - FRAME_HEADER_LEN);
    while low < high {
        let middle = (low + high).div_ceil(2);
        if FrameLayout::of(middle).len <= frame_len { low = middle } else { high = middle - 1 }
    }
    assert_eq!(FrameLayout::of(low).len, frame_len, "no records fill a frame of {frame_len} bytes");
    low
}

/// What [`measure`] saw.
pub(crate) struct Measured {
    pub(crate) frames: usize,
    pub(crate) took: Duration,
    /// From one frame's durability to the next one's, sorted.
    pub(crate) gaps: Vec<Duration>,
}

/// What to append, and how.
#[derive(Clone, Copy)]
pub(crate) struct Plan {
    /// Bytes of a frame.
    pub(crate) frame_len: usize,
    /// How many batches are handed over before the one before them is durable.
    pub(crate) ahead: usize,
    /// Frames before anything is measured.
    pub(crate) warm_up: usize,
    /// How long then.
    pub(crate) time: Duration,
    /// At most so many frames.
    pub(crate) frames_max: usize,
    /// Length of the snapshots that are written beside it, one behind the other.
    pub(crate) snapshots: Option<u64>,
}

/// Appends frames of one length, each as soon as the one before is durable.
///
/// To put a batch together is the replica's work, on its own core: where batches are handed over ahead its time counts only if the
/// disk is busy meanwhile, and then delays nothing. It counts where a lone writer is played.
pub(crate) fn measure(log: &mut Log, plan: Plan) -> Measured {
    let Plan { frame_len, ahead, warm_up, time, frames_max, snapshots } = plan;
    let mut gaps = Vec::with_capacity(1 << 16);
    let mut took = Duration::ZERO;
    let mut last = Instant::now();
    let mut round = 0;
    while took < time && round < frames_max || round <= warm_up {
        if let Some(len) = snapshots
            && round >= warm_up
            && !log.is_snapshotting()
        {
            log.start_snapshot(len);
        }
        let before = log.pending();
        let mut handed_over = 0;
        if before <= ahead {
            let start = Instant::now();
            let batch = log.batch_of_frame(frame_len);
            if ahead > 0 && before == 0 {
                last += start.elapsed();
            }
            log.append(batch);
            handed_over = 1;
        } else {
            log.wait();
        }
        for _ in log.pending()..before + handed_over {
            let now = Instant::now();
            let gap = now - last;
            last = now;
            round += 1;
            if round > warm_up {
                gaps.push(gap);
                took += gap;
            }
            if frame_len * round % (256 << 20) < frame_len {
                log.remove_old();
                last = Instant::now();
            }
        }
    }
    while log.pending() > 0 {
        log.wait();
    }
    let frames = gaps.len();
    gaps.sort_unstable();
    Measured { frames, took, gaps }
}
