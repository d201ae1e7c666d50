//! The log core: the only one that writes to the data folder, as a state machine over a [`Disk`].
//!
//! It is told what to do with [`LogCore::handle`], works with [`LogCore::step`] and [`LogCore::complete`], and says what became of
//! it through [`LogCore::poll_report`]. Its shell is a pinned thread that loops:
//!
//! ```text
//! take commands ──▶ handle ──▶ step (again while it says so) ──▶ disk.wait ──▶ complete ──▶ poll_report ──▶ out
//! ```
//!
//! Group commit has no timer: one frame is under way at a time, and what arrives meanwhile makes up the next, which is merged,
//! chained and its sectors' CRCs taken while the disk is busy: a durable frame is followed by the next one at once. Beside the
//! frame at most one background operation is under way: a new segment being reserved and written with zeros, a slice of
//! a snapshot, a piece of what is purged, a marker. While the log is busy each frame lets one such slice pass, so that no append ever waits for more.
//!
//! Room is granted, not hoped for. [`Report::Room`] tells up to which total cost batches may be admitted, counted from the
//! start; what was admitted has its blocks reserved on the device. So a full disk is known before a transaction is
//! accepted, never after. If the device cannot give the next segment, the report says so, and every tick tries again.
//!
//! A failed write or sync is final: [`Report::Failed`] is the last word, and nothing is acknowledged behind it. What was
//! under way may or may not be on the medium (a sync that failed once says nothing when it succeeds later), so the
//! only way on is to start anew and read what is there.
//!
//! Acknowledged blocks are never written again, which is why a torn write can only harm what nobody was told about.

mod cut;
mod purge;
mod segments;
mod snapshots;
#[cfg(test)]
mod tests;
mod words;

use std::collections::VecDeque;
use std::mem;

use self::purge::{Purge, is_purged};
use self::segments::{Next, Retired, Segment, ZEROS_PAY_BELOW};
use self::snapshots::SnapshotJob;
pub use self::words::{Command, Options, RECORD_LEN_MAX, Report};
use super::disk::{BLOCK_LEN, BlockBuf, Completion, Disk, DiskError, FileId, NameOperation, Operation, Took};
use super::epochs::{self, Epochs};
use super::error::StorageError;
use super::log::format::{
    FrameLayout, NEW_NAME, Position, RECORD_HEADER_LEN, SEGMENT_HEADER_LEN, SegmentHeader, segment_name,
    segment_sequence,
};
use super::log::marker::{MARKER_LEN, MARKER_NAME, Marker};
use super::log::{Batch, LogTail};
use super::snapshot::format::{installed_name, installed_zxid, is_temporary, snapshot_name, snapshot_zxid};
use super::snapshot::{SnapshotDone, SnapshotSource};
use crate::ids::{Epoch, Zxid};

/// Batches that collect behind a busy disk are merged up to this many bytes of records into one frame.
pub const MERGE_LEN_MAX: usize = 1 << 20;
/// Most buffers that are kept for use again; more are freed.
pub const SPARE_BUFFERS_MAX: usize = 8;
/// Longer buffers are not kept.
const SPARE_BUFFER_LEN_MAX: usize = MERGE_LEN_MAX * 2;

const TOKEN_APPEND: u64 = 1;
const TOKEN_BACKGROUND: u64 = 2;

/// See the module's page.
pub struct LogCore {
    options: Options,
    log_id: u64,

    queue: VecDeque<Batch>,
    append: Option<Append>,
    /// Behind everything that was submitted.
    end: Position,
    /// Behind everything that was reported as durable.
    durable: Position,
    /// Behind everything that survives a power cut: `durable`, unless it runs without `force_sync`.
    synced: Position,
    current: Option<Segment>,
    next: Next,
    /// Frames are so short that writing zeros ahead of them is worth it.
    zeros_pay: bool,
    /// Segments that are full. They are closed when nothing is under way on them, synced first if they must be.
    retired: Vec<Retired>,
    /// Segments in use, oldest first, with the zxid before their first record.
    segments: Vec<(u64, Zxid)>,

    background: Option<Background>,
    /// How many slices may still pass before the next frame.
    slices: u32,

    consumed: u64,
    room_told: (u64, bool),
    tell_room: bool,
    full: bool,
    retry_full: bool,

    marker_file: Option<FileId>,
    marker_exists: bool,
    marker_counter: u64,
    marked: Position,
    /// A marker is due for the log through here, or further.
    mark_now: Option<Zxid>,
    appended_since_tick: bool,

    /// What waits for everything that was appended before, and through which zxid that is.
    controls: VecDeque<(Zxid, Control)>,

    snapshot_waiting: Option<Box<dyn SnapshotSource>>,
    snapshot: Option<SnapshotJob>,
    /// Zxids of the snapshots in the folder, rising.
    snapshots: Vec<Zxid>,
    purge: Purge,

    reports: VecDeque<Report>,
    spare: Vec<BlockBuf>,
    zeros: Option<BlockBuf>,
    closing: bool,
    ended: bool,
}

/// A command that is carried out when nothing is under way.
enum Control {
    Truncate { to: Zxid },
    SaveEpochs { accepted: Option<Epoch>, current: Option<Epoch> },
    Install { source: Box<dyn SnapshotSource>, log_id: u64 },
}

/// The frame under way.
struct Append {
    after: Position,
    /// It opens its segment: the header block goes with it.
    opening: bool,
}

/// The background operation under way.
enum Background {
    /// Zeros into a segment ahead of its use.
    Zero {
        sequence: u64,
        start: u64,
        end: u64,
    },
    /// The sync behind the last zeros.
    ZeroSync {
        sequence: u64,
    },
    /// The sync that makes a new segment's length durable.
    Reserve,
    /// A full segment that was written without syncs.
    RetiredSync,
    /// The current segment, written without syncs, through this place.
    LogSync(Position),
    Marker(Marker),
    SnapshotWrite,
    SnapshotSync,
    SnapshotRead,
    /// The name of a snapshot that is complete.
    Publish(SnapshotDone),
    /// Those that are not needed any more have other names.
    PurgeNames,
    /// A piece of one goes.
    PurgeCut {
        left: u64,
    },
    PurgeSync,
    PurgeRemove,
}

impl LogCore {
    /// Takes over a folder in which recovery has found `tail` and nothing wrong. `log_id` names the log if it is to begin
    /// now, and must be drawn at random then.
    ///
    /// Everything that recovery has read is durable when this returns, so that it may be served; half-made files of the
    /// run before are gone.
    ///
    /// # Errors
    /// As the disk's.
    pub fn open(disk: &mut dyn Disk, options: Options, tail: &LogTail, log_id: u64) -> Result<Self, StorageError> {
        // The names that recovery has read may not be durable: what is void by them must not go before they are.
        disk.sync_directory()?;
        let options = options.checked();
        let log_id = tail.log_id.unwrap_or(log_id);
        let end = match tail.log_id {
            Some(_) => tail.end,
            None => Position::start(log_id, tail.end.zxid),
        };
        let mut snapshots = Vec::new();
        let mut marker_exists = false;
        let mut orphans = Vec::new();
        let oldest = tail.segments.first().map_or(0, |&(sequence, _)| sequence);
        for entry in disk.list()? {
            let installed = installed_zxid(&entry.name);
            if installed.is_some() && installed == tail.installed {
                // The power went between the new log and this snapshot's name.
                continue;
            }
            let half_made = is_temporary(&entry.name)
                || is_purged(&entry.name)
                || installed.is_some()
                || entry.name == NEW_NAME
                || tail.stale.contains(&entry.name)
                || (entry.name == MARKER_NAME && entry.len != MARKER_LEN as u64);
            if half_made {
                disk.remove(&entry.name)?;
            } else {
                snapshots.extend(snapshot_zxid(&entry.name));
                marker_exists |= entry.name == MARKER_NAME;
                let orphan = segment_sequence(&entry.name).is_some_and(|sequence| sequence < oldest);
                orphans.extend(orphan.then_some(entry.name));
            }
        }
        if let Some(zxid) = tail.installed {
            // Only now: a void snapshot of the old log may have had its name.
            disk.rename(&installed_name(zxid), &snapshot_name(zxid))?;
            snapshots.push(zxid);
        }
        if let Some(Epochs { accepted, current }) = tail.epochs_unsaved {
            match epochs::save(disk, Some(accepted), Some(current)) {
                // Without room for them there is none for more history either; the next start comes to the same.
                Ok(()) | Err(StorageError::Disk(DiskError::Full { .. })) => {}
                Err(error) => return Err(error),
            }
        }
        snapshots.sort_unstable();
        let mut next = Next::Absent;
        if let Some((sequence, len)) = tail.prepared {
            let name = segment_name(sequence);
            if len == options.segment_len {
                let segment = Segment::found(disk.open(&name)?, sequence, len, false);
                sync_now(disk, segment.file)?;
                next = Next::Ready(segment);
            } else {
                disk.remove(&name)?;
            }
        }
        // A killed process may leave bytes that were written but not yet synced; recovery has believed them. The segment
        // before the last was synced when the last was opened, unless it ran without `force_sync`.
        let mut current = None;
        for &(sequence, _) in tail.segments.iter().rev().take(2) {
            let file = disk.open(&segment_name(sequence))?;
            sync_now(disk, file)?;
            if sequence == end.sequence && tail.goes_on {
                current = Some(Segment::found(file, sequence, disk.len(file)?, true));
            } else {
                disk.close(file);
            }
        }
        disk.sync_directory()?;
        let marked = Position { zxid: Zxid::ZERO, ..Position::start(log_id, Zxid::ZERO) };
        let mut core = Self {
            options,
            log_id,
            queue: VecDeque::new(),
            append: None,
            end,
            durable: end,
            synced: end,
            current,
            next,
            zeros_pay: true,
            retired: Vec::new(),
            segments: tail.segments.clone(),
            background: None,
            slices: 0,
            consumed: 0,
            room_told: (0, false),
            tell_room: true,
            full: false,
            retry_full: true,
            marker_file: None,
            marker_exists,
            marker_counter: tail.marker_counter,
            marked,
            mark_now: None,
            appended_since_tick: false,
            controls: VecDeque::new(),
            snapshot_waiting: None,
            snapshot: None,
            snapshots,
            purge: Purge::behind(orphans),
            reports: VecDeque::new(),
            spare: Vec::new(),
            zeros: None,
            closing: false,
            ended: false,
        };
        core.report_room();
        Ok(core)
    }

    /// Which log this is.
    pub fn log_id(&self) -> u64 {
        self.log_id
    }

    /// Everything up to here was reported as durable.
    pub fn durable(&self) -> Zxid {
        self.durable.zxid
    }

    /// What it was opened with, lengths checked.
    pub fn options(&self) -> &Options {
        &self.options
    }

    /// Whether it has ended: closed or failed.
    pub fn has_ended(&self) -> bool {
        self.ended
    }

    /// Whether a snapshot is being written or waits.
    pub fn is_snapshotting(&self) -> bool {
        self.snapshot.is_some() || self.snapshot_waiting.is_some()
    }

    /// A buffer that was written before, for [`super::log::BatchBuilder::reuse`].
    pub fn take_spare_buffer(&mut self) -> Option<BlockBuf> {
        self.spare.pop()
    }

    /// Takes a command. Work begins with the next [`Self::step`].
    ///
    /// # Panics
    /// If batches do not follow each other, a record is longer than the options allow, or something is appended behind
    /// [`Command::Close`].
    pub fn handle(&mut self, command: Command) {
        if self.ended {
            return;
        }
        match command {
            Command::Append(batch) => self.handle_append(batch),
            Command::Snapshot(source) => self.handle_snapshot(source),
            Command::Truncate { to } => self.handle_control(Control::Truncate { to }),
            Command::SaveEpochs { accepted, current } => self.handle_control(Control::SaveEpochs { accepted, current }),
            Command::Install { source, log_id } => self.handle_control(Control::Install { source, log_id }),
            Command::Tick => self.handle_tick(),
            Command::Close => self.closing = true,
        }
    }

    fn handle_append(&mut self, batch: Batch) {
        assert!(!self.closing, "batch {} appended behind a close", batch.first());
        assert!(!self.is_rebuilding(), "batch {} appended while the log is cut or replaced", batch.first());
        let last = self.queue.back().map_or(self.end.zxid, Batch::last);
        assert!(batch.first() > last, "batch {} appended behind {last}", batch.first());
        let longest = batch.record_len_max();
        let longest_allowed = self.options.record_len_max + RECORD_HEADER_LEN;
        assert!(longest <= longest_allowed, "a record of {longest} bytes, at most {longest_allowed} are allowed");
        self.queue.push_back(batch);
    }

    fn handle_snapshot(&mut self, source: Box<dyn SnapshotSource>) {
        assert!(!self.is_snapshotting(), "a snapshot was asked for while another is under way");
        self.snapshot_waiting = Some(source);
    }

    fn handle_control(&mut self, control: Control) {
        assert!(!self.closing, "a command behind a close");
        assert!(!self.is_rebuilding(), "a command while the log is cut or replaced");
        let last = self.queue.back().map_or(self.end.zxid, Batch::last);
        self.controls.push_back((last, control));
    }

    /// Whether the log is to be cut or replaced.
    fn is_rebuilding(&self) -> bool {
        let waits = |(_, control): &(Zxid, Control)| !matches!(control, Control::SaveEpochs { .. });
        self.controls.iter().any(waits) || self.snapshot.as_ref().is_some_and(SnapshotJob::is_install)
    }

    fn handle_tick(&mut self) {
        self.retry_full = true;
        let idle = !self.appended_since_tick && self.is_quiet();
        if idle && self.durable.zxid > self.marked.zxid {
            self.mark_now = Some(self.durable.zxid);
        }
        self.zeros_pay |= idle;
        self.appended_since_tick = false;
    }

    /// Nothing to append and nothing being appended.
    pub fn is_quiet(&self) -> bool {
        self.append.is_none() && self.queue.is_empty()
    }

    /// Hands to the disk what can be handed over. Whether to call it again before waiting: there is work that needs no
    /// completion.
    pub fn step(&mut self, disk: &mut dyn Disk) -> bool {
        if self.ended {
            return false;
        }
        match self.try_step(disk) {
            Ok(again) => again && !self.ended,
            Err(error) => {
                self.fail(error);
                false
            }
        }
    }

    fn try_step(&mut self, disk: &mut dyn Disk) -> Result<bool, StorageError> {
        if self.submit_append(disk)? {
            // It may be complete already, and somebody waits for it: only then come slices of other work.
            self.report_room();
            return Ok(true);
        }
        let mut again = false;
        if self.background.is_none() {
            again = self.do_background(disk)?;
            // A segment that became ready lets waiting batches go.
            again |= self.submit_append(disk)?;
        }
        self.report_room();
        Ok(again)
    }

    /// Takes a finished operation back.
    pub fn complete(&mut self, completion: Completion) {
        let Completion { token, block, result, took } = completion;
        if self.ended {
            return;
        }
        match token {
            TOKEN_APPEND => {
                self.keep_buffer(block);
                self.complete_append(result, took);
            }
            TOKEN_BACKGROUND => self.complete_background(block, result),
            _ => panic!("a completion with token {token}, which the log core never used"),
        }
    }

    /// The next thing to tell.
    pub fn poll_report(&mut self) -> Option<Report> {
        self.reports.pop_front()
    }

    fn fail(&mut self, error: impl Into<StorageError>) {
        let error = error.into();
        self.ended = true;
        self.queue.clear();
        self.controls.clear();
        self.snapshot = None;
        self.snapshot_waiting = None;
        self.reports.push_back(Report::Failed(error));
    }

    fn keep_buffer(&mut self, block: Option<BlockBuf>) {
        if let Some(block) = block
            && self.spare.len() < SPARE_BUFFERS_MAX
            && block.len() <= SPARE_BUFFER_LEN_MAX
        {
            self.spare.push(block);
        }
    }

    // --- appending ---

    /// Whether a frame is on its way that was not before.
    fn submit_append(&mut self, disk: &mut dyn Disk) -> Result<bool, DiskError> {
        let Some(front) = self.queue.front() else { return Ok(false) };
        let frame_len = front.frame_len().max(FrameLayout::of(MERGE_LEN_MAX).len);
        // What waits for the records before it goes before those behind it.
        let held = self.controls.front().is_some_and(|&(after, _)| self.end.zxid >= after);
        let rest = self.current.as_ref().map_or(0, |segment| segment.len - self.end.offset);
        if held || self.append.is_some() || self.zeros_in_the_way(frame_len) {
            self.prepare_frame(rest);
            return Ok(false);
        }
        let (batch, opening) = match self.take_frame(rest) {
            Some(batch) => (batch, false),
            None => {
                if !self.roll() {
                    return Ok(false);
                }
                let room = self.current.as_ref().map_or(0, |segment| segment.len - self.end.offset);
                let batch = self.take_frame(room).expect("an empty segment has room for any frame");
                (batch, true)
            }
        };
        self.consumed += batch.cost();
        let segment = self.current.as_ref().expect("a frame was taken for a segment");
        let (file, segment_len) = (segment.file, segment.len);
        let before = self.end;
        let first = batch.first();
        let (mut block, after) = batch.seal(self.log_id, before, !self.options.force_sync);
        self.zeros_pay = block.len() < ZEROS_PAY_BELOW;
        let mut offset = before.offset;
        if opening {
            let previous = self.durable;
            let header = SegmentHeader {
                log_id: self.log_id,
                sequence: before.sequence,
                segment_len,
                zxid_first: first,
                previous,
            };
            block = with_header(&header, &block);
            offset = 0;
            self.segments.push((before.sequence, previous.zxid));
        }
        assert!(after.offset <= segment_len, "a frame ends at {} of {segment_len}", after.offset);
        let operation = Operation::Write { offset, block, durable: self.options.force_sync };
        disk.submit(file, operation, TOKEN_APPEND)?;
        self.append = Some(Append { after, opening });
        self.end = after;
        self.slices = 1;
        self.appended_since_tick = true;
        Ok(true)
    }

    /// The next frame's records: the first batch with those behind it as far as they fit, or as much of it as fits.
    /// Nothing if not even one record does.
    fn take_frame(&mut self, room: u64) -> Option<Batch> {
        let front = self.queue.front_mut()?;
        if front.frame_len() > room as usize {
            return front.split_front(room as usize);
        }
        self.merge_into_front(room);
        self.queue.pop_front()
    }

    /// Does ahead what the next frame's turn would have to wait for, if the frame will stand behind the one before.
    fn prepare_frame(&mut self, room: u64) {
        if self.queue.front().is_some_and(|front| front.frame_len() <= room as usize) {
            self.merge_into_front(room);
            self.queue[0].prepare(self.end.chain);
        }
    }

    /// Merges into the first batch, which fits into `room`, those behind it as far as they fit.
    fn merge_into_front(&mut self, room: u64) {
        while let (Some(front), Some(next)) = (self.queue.front(), self.queue.get(1)) {
            let merged = front.records_len() + next.records_len();
            if merged > MERGE_LEN_MAX || FrameLayout::of(merged).len > room as usize {
                break;
            }
            let Some(next) = self.queue.remove(1) else { break };
            self.queue[0].merge(&next);
            self.keep_buffer(Some(next.into_buffer()));
        }
    }

    fn complete_append(&mut self, result: Result<(), DiskError>, took: Took) {
        let append = self.append.take().expect("a frame completed that was not under way");
        if let Err(error) = result {
            return self.fail(error);
        }
        if append.opening
            && let Some(segment) = &mut self.current
        {
            // Without syncs it is not durably in use yet.
            segment.opened = self.options.force_sync;
        }
        self.durable = append.after;
        if self.options.force_sync {
            self.synced = self.durable;
        }
        self.reports.push_back(Report::Durable { through: self.durable.zxid, took });
    }

    // --- room ---

    /// What can be appended for certain, and tells it if it has changed enough to matter.
    fn report_room(&mut self) {
        let rest = self.current.as_ref().map(|segment| segment.len - self.end.offset);
        let ahead = match &self.next {
            Next::Ready(segment) => Some(segment.len - SEGMENT_HEADER_LEN as u64),
            _ => None,
        };
        let room = match (rest, ahead) {
            (Some(rest), Some(ahead)) => (rest + ahead).saturating_sub(self.options.waste_max()),
            (Some(room), None) | (None, Some(room)) => room,
            (None, None) => 0,
        };
        let admit_through = self.consumed + room;
        let (told, full_told) = self.room_told;
        let grown = admit_through >= told + self.options.segment_len / 16;
        let asked = mem::take(&mut self.tell_room);
        if grown || self.full != full_told || asked {
            let admit_through = admit_through.max(told);
            self.room_told = (admit_through, self.full);
            self.reports.push_back(Report::Room { admit_through, full: self.full });
        }
    }

    // --- background ---

    /// Whether a slice of background work may go now: at once if the log is quiet, else one a frame.
    fn slice_allowed(&self) -> bool {
        self.slices > 0 || self.is_quiet() || (self.append.is_none() && !matches!(self.next, Next::Ready(_)))
    }

    fn submit_background(
        &mut self,
        disk: &mut dyn Disk,
        file: FileId,
        operation: Operation,
        background: Background,
    ) -> Result<(), DiskError> {
        assert!(self.background.is_none(), "two background operations at once");
        disk.submit(file, operation, TOKEN_BACKGROUND)?;
        self.slices = self.slices.saturating_sub(1);
        self.background = Some(background);
        Ok(())
    }

    fn submit_names(
        &mut self,
        disk: &mut dyn Disk,
        operation: NameOperation,
        background: Background,
    ) -> Result<(), DiskError> {
        assert!(self.background.is_none(), "two background operations at once");
        disk.submit_names(operation, TOKEN_BACKGROUND)?;
        self.slices = self.slices.saturating_sub(1);
        self.background = Some(background);
        Ok(())
    }

    /// Starts the most urgent background work. Whether there is more that needs no completion.
    fn do_background(&mut self, disk: &mut dyn Disk) -> Result<bool, StorageError> {
        if let Some(&(after, _)) = self.controls.front()
            && self.append.is_none()
            && self.durable.zxid >= after
        {
            return self.do_control(disk);
        }
        if self.closing && self.is_quiet() {
            return Ok(self.do_close(disk)?);
        }
        if self.do_marker(disk)? || self.do_retired(disk)? || self.do_reserve(disk)? {
            return Ok(false);
        }
        if self.closing || !self.slice_allowed() {
            return Ok(false);
        }
        if self.zeros_pay && self.do_zero(disk)? {
            return Ok(false);
        }
        if self.do_purge(disk)? {
            return Ok(false);
        }
        let again = self.do_snapshot(disk)?;
        // Turns are what a purge waits for.
        let is_turn = self.background.is_none() && self.snapshot.is_none() && self.is_purging();
        Ok(again || is_turn)
    }

    fn complete_background(&mut self, block: Option<BlockBuf>, result: Result<(), DiskError>) {
        let background = self.background.take().expect("a background operation completed that was not under way");
        match background {
            Background::Zero { sequence, end, .. } => {
                self.zeros = block;
                self.complete_zero(sequence, end, result);
            }
            Background::SnapshotWrite | Background::SnapshotSync => {
                self.complete_snapshot(block, result);
            }
            Background::SnapshotRead => self.complete_snapshot_read(block, result),
            Background::PurgeRemove => self.complete_purge_remove(result),
            _ if result.is_err() => self.fail(result.expect_err("checked")),
            Background::ZeroSync { sequence } => self.complete_zero_sync(sequence),
            Background::Reserve => self.complete_reserve(),
            Background::RetiredSync => self.complete_retired(),
            Background::LogSync(through) => {
                self.synced = through;
                if let Some(segment) = self.current.as_mut().filter(|segment| segment.sequence == through.sequence) {
                    segment.opened = true;
                }
            }
            Background::Marker(marker) => {
                self.keep_buffer(block);
                self.marked = marker.through;
            }
            Background::Publish(done) => self.complete_publish(done),
            Background::PurgeNames => self.complete_purge_names(),
            Background::PurgeCut { left } => self.complete_purge_cut(left),
            Background::PurgeSync => self.complete_purge_sync(),
        }
    }

    /// Carries out the first of the controls. Whether there is more that needs no completion.
    fn do_control(&mut self, disk: &mut dyn Disk) -> Result<bool, StorageError> {
        if self.sync_log(disk, self.durable.zxid)? {
            return Ok(false);
        }
        match self.controls.pop_front() {
            Some((_, Control::Truncate { to })) => self.do_truncate(disk, to)?,
            Some((_, Control::SaveEpochs { accepted, current })) => {
                self.reports.push_back(match epochs::save(disk, accepted, current) {
                    Ok(()) => Report::EpochsSaved,
                    Err(error @ StorageError::Disk(DiskError::Full { .. })) => Report::EpochsFailed { error },
                    Err(error) => return Err(error),
                });
            }
            Some((_, Control::Install { source, log_id })) => {
                self.give_up_snapshot(disk)?;
                self.begin_snapshot(disk, source, Some(log_id))?;
            }
            None => {}
        }
        Ok(true)
    }

    /// Makes the log durable, if it is not so through this zxid. Whether an operation was started for it.
    ///
    /// Not through its end: while the load goes on, that would never be reached.
    fn sync_log(&mut self, disk: &mut dyn Disk, through: Zxid) -> Result<bool, DiskError> {
        if self.synced == self.durable || self.synced.zxid >= through {
            return Ok(false);
        }
        if self.do_retired(disk)? {
            return Ok(true);
        }
        let Some(segment) = &self.current else {
            self.synced = self.durable;
            return Ok(false);
        };
        let file = segment.file;
        self.submit_background(disk, file, Operation::Sync, Background::LogSync(self.durable))?;
        Ok(true)
    }

    /// Writes a marker if one is due. Whether an operation was started.
    fn do_marker(&mut self, disk: &mut dyn Disk) -> Result<bool, DiskError> {
        let Some(through) = self.mark_now else { return Ok(false) };
        if self.sync_log(disk, through)? {
            return Ok(true);
        }
        self.mark_now = None;
        if self.synced.zxid <= self.marked.zxid || self.synced.sequence == 0 {
            return Ok(false);
        }
        let file = match self.marker_file {
            Some(file) => file,
            None => {
                let file = if self.marker_exists {
                    disk.open(MARKER_NAME)?
                } else {
                    match disk.create(MARKER_NAME, MARKER_LEN as u64) {
                        Ok(file) => file,
                        // It is a witness only: without room the log goes on without it.
                        Err(DiskError::Full { .. }) => return Ok(false),
                        Err(error) => return Err(error),
                    }
                };
                if !self.marker_exists {
                    disk.sync_directory()?;
                }
                self.marker_exists = true;
                self.marker_file = Some(file);
                file
            }
        };
        let marker = Marker { log_id: self.log_id, counter: self.marker_counter, through: self.synced };
        self.marker_counter += 1;
        let mut block = self.spare.pop().unwrap_or_else(|| BlockBuf::zeroed(BLOCK_LEN));
        marker.encode(&mut block);
        let operation = Operation::Write { offset: marker.offset(), block, durable: true };
        self.submit_background(disk, file, operation, Background::Marker(marker))?;
        Ok(true)
    }

    fn do_close(&mut self, disk: &mut dyn Disk) -> Result<bool, DiskError> {
        self.give_up_snapshot(disk)?;
        if self.durable.zxid > self.marked.zxid {
            self.mark_now = Some(self.durable.zxid);
        }
        if self.do_marker(disk)? {
            return Ok(false);
        }
        self.close_files(disk);
        self.ended = true;
        self.reports.push_back(Report::Closed);
        Ok(false)
    }

    /// Closes all files; nothing is under way on them.
    fn close_files(&mut self, disk: &mut dyn Disk) {
        let next = match mem::replace(&mut self.next, Next::Absent) {
            Next::Syncing(segment) | Next::Synced(segment) | Next::Ready(segment) => Some(segment),
            Next::Absent => None,
        };
        self.stop_purging(disk);
        let segments = self.current.take().into_iter().chain(next).map(|segment| segment.file);
        for file in self.retired.drain(..).map(|retired| retired.file).chain(segments).chain(self.marker_file.take()) {
            disk.close(file);
        }
    }

    /// Waits for what is under way and lets go of the folder, so that it can be opened anew. What was appended and is not yet
    /// durable may or may not be found then.
    ///
    /// # Errors
    /// As the disk's.
    pub(super) fn release(mut self, disk: &mut dyn Disk) -> Result<(), StorageError> {
        let mut done = Vec::new();
        while self.append.is_some() || self.background.is_some() {
            disk.wait(true, &mut done)?;
            done.drain(..).for_each(|completion| self.complete(completion));
            if let Some(Report::Failed(error)) = self.reports.back() {
                return Err(error.clone());
            }
        }
        self.give_up_snapshot(disk)?;
        self.close_files(disk);
        Ok(())
    }
}

/// The segment's header block and its first frame as one buffer.
fn with_header(header: &SegmentHeader, frame: &BlockBuf) -> BlockBuf {
    let mut block = BlockBuf::zeroed(SEGMENT_HEADER_LEN + frame.len());
    header.encode(&mut block.bytes_mut()[..SEGMENT_HEADER_LEN]);
    block.bytes_mut()[SEGMENT_HEADER_LEN..].copy_from_slice(frame.bytes());
    block
}

/// Syncs a file and waits for it; nothing else is under way.
fn sync_now(disk: &mut dyn Disk, file: FileId) -> Result<(), DiskError> {
    perform_now(disk, file, Operation::Sync)
}

/// Does something and waits for it; nothing else is under way.
pub(super) fn perform_now(disk: &mut dyn Disk, file: FileId, operation: Operation) -> Result<(), DiskError> {
    disk.submit(file, operation, TOKEN_BACKGROUND)?;
    let mut done = Vec::new();
    while done.is_empty() {
        disk.wait(true, &mut done)?;
    }
    done.pop().map_or(Ok(()), |completion| completion.result)
}
