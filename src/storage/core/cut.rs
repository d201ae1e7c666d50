//! The two operations that take something away from the log: a cut behind a record, and a snapshot that replaces everything.
//!
//! Both end with one rename. A segment that says from where the log goes on (see [`crate::storage::log::format`]) is written
//! under [`NEW_NAME`], made durable, and renamed to the number behind the last segment's. Before that rename is durable the
//! folder holds the whole old log, behind it the whole new one; what the new one has made void is passed over by recovery
//! and only then removed. Nothing that was acknowledged is ever written over.
//!
//! What has to be so before the rename: for a cut, no snapshot is left that is newer than the cut, since it would bring back
//! what was cut; and an older one (or the beginning of the log) must hold what lies before. For a replaced log, its snapshot
//! is durable, under a name of its own ([`installed_name`]) that harms the old log's snapshots as little as they harm it.

use std::mem;

use super::segments::{Next, Segment};
use super::{LogCore, Report};
use crate::ids::Zxid;
use crate::storage::disk::{BlockBuf, Disk, DiskError, FileId, Operation};
use crate::storage::error::StorageError;
use crate::storage::log::batch::base_frame;
use crate::storage::log::format::{
    NEW_NAME, Position, SEGMENT_HEADER_LEN, SEGMENT_LEN_MAX, SegmentHeader, segment_name, segment_sequence,
};
use crate::storage::log::marker::MARKER_NAME;
use crate::storage::log::read::read_range;
use crate::storage::log::scan::{Frame, FrameCheck, check_frame};
use crate::storage::log::{BatchBuilder, LogIndex, LogTail, Replay};
use crate::storage::snapshot::SnapshotReader;
use crate::storage::snapshot::format::{installed_name, snapshot_name, snapshot_zxid};

/// What a cut would do.
pub(super) enum Plan {
    /// It can be done: [`Cut::perform`].
    Cut(Cut),
    /// Nothing lies behind the place.
    Nothing,
    /// What lies before the place is not here.
    Impossible(StorageError),
}

/// A cut that can be done.
pub(super) struct Cut {
    to: Zxid,
    log_id: u64,
    /// Of the segment with which the log goes on.
    sequence: u64,
    kept: Kept,
}

/// Finds out what it takes to cut the log of a folder behind the last record whose zxid is not above `to`. Changes nothing.
///
/// # Errors
/// As the disk's, and if the log is not what was written.
pub(super) fn plan(disk: &mut dyn Disk, to: Zxid) -> Result<Plan, StorageError> {
    let index = LogIndex::read(disk)?;
    let Some(last) = index.segments.last() else { return Ok(Plan::Nothing) };
    let log_id = last.header.log_id;
    let replay = index.replay(last.header.previous.zxid)?;
    let end = finish(disk, replay)?.end;
    if to >= end.zxid {
        return Ok(Plan::Nothing);
    }
    if let Some(problem) = missing_before(disk, &index, to)? {
        return Ok(Plan::Impossible(problem));
    }
    let kept = keep(disk, &index, log_id, to)?;
    Ok(Plan::Cut(Cut { to, log_id, sequence: end.sequence + 1, kept }))
}

impl Cut {
    /// Cuts. Nothing is under way on any file, and all of the log is durable. `new_len`: the length of the segment with which
    /// it goes on.
    ///
    /// # Errors
    /// As the disk's. The log is then either cut or as before.
    pub(super) fn perform(self, disk: &mut dyn Disk, new_len: u64) -> Result<LogTail, StorageError> {
        let Self { to, log_id, sequence, kept: Kept { link, records } } = self;
        let mut newer: Vec<String> = Vec::new();
        for entry in disk.list()? {
            newer.extend(snapshot_zxid(&entry.name).filter(|&zxid| zxid > to).map(|_| entry.name));
        }
        if !newer.is_empty() {
            newer.iter().try_for_each(|name| remove(disk, name))?;
            disk.sync_directory()?;
        }
        begin_segment(disk, sequence, new_len, log_id, link, records)?;
        disk.sync_directory()?;
        // From here on the log is cut.
        for entry in disk.list()? {
            if segment_sequence(&entry.name).is_some_and(|other| other > link.sequence && other != sequence) {
                remove(disk, &entry.name)?;
            }
        }
        disk.sync_directory()?;
        let index = LogIndex::read(disk)?;
        let replay = index.replay(link.zxid)?;
        finish(disk, replay)
    }
}

/// Begins the log `log_id` behind the snapshot of `zxid`, which is durable under its [`installed_name`], and makes everything
/// before void. Nothing is under way on any file.
///
/// # Errors
/// As the disk's. The folder then holds either all that was before, or the snapshot and the new log, with which the next start
/// goes on.
pub(super) fn replace(disk: &mut dyn Disk, zxid: Zxid, log_id: u64, new_len: u64) -> Result<Replaced, StorageError> {
    let last = disk.list()?.iter().filter_map(|entry| segment_sequence(&entry.name)).max();
    // A number above 1 tells a log that replaced another from one that began in an empty folder.
    let sequence = last.unwrap_or(0).max(1) + 1;
    match begin_segment(disk, sequence, new_len, log_id, Position::start(log_id, zxid), None) {
        Err(StorageError::Disk(error @ DiskError::Full { .. })) => return Ok(Replaced::NoRoom(error)),
        begun => begun?,
    }
    // From here on only the snapshot and the new log count: without room for what follows (a directory may need some) there is no
    // way back.
    disk.sync_directory()?;
    disk.rename(&installed_name(zxid), &snapshot_name(zxid))?;
    for entry in disk.list()? {
        let void = segment_sequence(&entry.name).is_some_and(|other| other != sequence)
            || snapshot_zxid(&entry.name).is_some_and(|other| other != zxid)
            || entry.name == MARKER_NAME;
        if void {
            remove(disk, &entry.name)?;
        }
    }
    disk.sync_directory()?;
    let index = LogIndex::read(disk)?;
    let replay = index.replay(zxid)?;
    Ok(Replaced::By(finish(disk, replay)?))
}

/// What came of replacing a log.
pub(super) enum Replaced {
    /// The new log.
    By(LogTail),
    /// There was no room for it, and all is as before.
    NoRoom(DiskError),
}

/// Reads to the log's end.
fn finish(disk: &mut dyn Disk, mut replay: Replay<'_>) -> Result<LogTail, StorageError> {
    while replay.remaining() > 0 {
        replay.next_segment(disk)?;
    }
    replay.finish(disk)
}

/// Why what lies before `to` cannot be had from this folder; nothing if it can.
fn missing_before(disk: &mut dyn Disk, index: &LogIndex, to: Zxid) -> Result<Option<StorageError>, StorageError> {
    let reach = index.reaches_back_to().unwrap_or(Zxid::ZERO);
    let mut problem = None;
    let mut older: Vec<Zxid> = disk.list()?.iter().filter_map(|entry| snapshot_zxid(&entry.name)).collect();
    older.retain(|zxid| (reach..=to).contains(zxid));
    older.sort_unstable();
    // The newest first: it is the one that recovery will take.
    for zxid in older.into_iter().rev() {
        match check_snapshot(disk, zxid) {
            Ok(()) => return Ok(None),
            Err(StorageError::Disk(error)) => return Err(error.into()),
            Err(damage) => problem = problem.or(Some(damage)),
        }
    }
    if reach == Zxid::ZERO && to >= reach {
        return Ok(None);
    }
    let missing = || StorageError::Missing {
        file: segment_name(index.segments.first().map_or(0, |first| first.header.sequence)),
        offset: 0,
        what: format!("the log begins behind {reach}, and no snapshot from there to {to} is here"),
    };
    Ok(Some(problem.unwrap_or_else(missing)))
}

/// Reads a snapshot to its end.
fn check_snapshot(disk: &mut dyn Disk, zxid: Zxid) -> Result<(), StorageError> {
    let mut reader = SnapshotReader::open(disk, zxid)?;
    let result = loop {
        match reader.next_frame(disk) {
            Ok(Some(_)) => {}
            Ok(None) => break Ok(()),
            Err(problem) => break Err(problem),
        }
    };
    reader.close(disk);
    result
}

/// What stays of the log.
struct Kept {
    /// Where the old segments are left: between two frames.
    link: Position,
    /// The records behind it that stay, of a frame of which others go.
    records: Option<BatchBuilder>,
}

fn keep(disk: &mut dyn Disk, index: &LogIndex, log_id: u64, to: Zxid) -> Result<Kept, StorageError> {
    let at = index.segments.iter().rposition(|segment| segment.header.previous.zxid <= to);
    let Some(at) = at else { unreachable_before(index, to) };
    let header = &index.segments[at].header;
    if header.previous.zxid == to {
        return Ok(Kept { link: header.previous, records: None });
    }
    let name = segment_name(header.sequence);
    let bytes = read_range(disk, &name, 0, SEGMENT_LEN_MAX as usize)?;
    let mut link = Position { sequence: header.sequence, offset: SEGMENT_HEADER_LEN as u64, ..header.previous };
    loop {
        let frame = match check_frame(&bytes, link.offset as usize, log_id, link) {
            FrameCheck::Good(frame) => frame,
            FrameCheck::Bad { offset, what } => return Err(StorageError::damaged(name, offset, what)),
            FrameCheck::Blank | FrameCheck::Torn { .. } => {
                let what = format!("the log ends here, before {to}");
                return Err(StorageError::damaged(name, link.offset, what));
            }
        };
        if frame.header.zxid_last > to {
            // If nothing of the segment stays, it is left as if it had never been begun.
            let is_first = link.offset == SEGMENT_HEADER_LEN as u64;
            let records = front_of(&frame, to);
            let link = if is_first { header.previous } else { link };
            return Ok(Kept { link, records });
        }
        link = frame.after;
    }
}

fn unreachable_before(index: &LogIndex, to: Zxid) -> ! {
    panic!("the log is to be cut behind {to}, but begins behind {:?}: that was checked before", index.reaches_back_to())
}

/// The records up to `to`; nothing if there are none.
fn front_of(frame: &Frame<'_>, to: Zxid) -> Option<BatchBuilder> {
    let mut front = BatchBuilder::new();
    frame.records().take_while(|record| record.zxid <= to).for_each(|record| front.push(record.zxid, record.payload));
    (!front.is_empty()).then_some(front)
}

/// Makes a segment that continues `link` with these records or none, and puts it in its place in one step, which the next sync of
/// the folder makes durable. Without room for it nothing has changed.
fn begin_segment(
    disk: &mut dyn Disk,
    sequence: u64,
    len: u64,
    log_id: u64,
    link: Position,
    records: Option<BatchBuilder>,
) -> Result<(), StorageError> {
    let before = Position { sequence, offset: SEGMENT_HEADER_LEN as u64, ..link };
    let zxid_first = records.as_ref().and_then(BatchBuilder::first).unwrap_or(link.zxid);
    let (frame, _) = match records.and_then(BatchBuilder::finish) {
        Some(batch) => batch.seal(log_id, before, false),
        None => base_frame(log_id, before),
    };
    let name = segment_name(sequence);
    // The segment that was prepared for this number makes room for it. A power cut may leave either, or none.
    remove(disk, &name)?;
    disk.sync_directory()?;
    let mut len = len;
    let file = match disk.create(NEW_NAME, len) {
        // A short segment is better than none: the log goes on in the next, once there is room for it.
        Err(DiskError::Full { .. }) => {
            len = (SEGMENT_HEADER_LEN + frame.len()) as u64;
            disk.create(NEW_NAME, len)?
        }
        created => created?,
    };
    let header = SegmentHeader { log_id, sequence, segment_len: len, zxid_first, previous: link };
    let block = super::with_header(&header, &frame);
    let written = write_now(disk, file, block).and_then(|()| super::sync_now(disk, file));
    disk.close(file);
    if let Err(error) = written {
        if matches!(error, DiskError::Full { .. }) {
            remove(disk, NEW_NAME)?;
        }
        return Err(error.into());
    }
    disk.rename(NEW_NAME, &name)?;
    Ok(())
}

fn write_now(disk: &mut dyn Disk, file: FileId, block: BlockBuf) -> Result<(), DiskError> {
    super::perform_now(disk, file, Operation::Write { offset: 0, block, durable: true })
}

/// Removes a file if it is there.
fn remove(disk: &mut dyn Disk, name: &str) -> Result<(), DiskError> {
    match disk.remove(name) {
        Ok(()) | Err(DiskError::NotFound { .. }) => Ok(()),
        Err(error) => Err(error),
    }
}

impl LogCore {
    /// Cuts the log, goes on behind the cut, and tells.
    pub(super) fn do_truncate(&mut self, disk: &mut dyn Disk, to: Zxid) -> Result<(), StorageError> {
        self.give_up_snapshot(disk)?;
        match plan(disk, to)? {
            Plan::Cut(cut) => {
                self.let_go(disk)?;
                let tail = cut.perform(disk, self.options.segment_len)?;
                self.go_on(disk, &tail)?;
                self.count_anew();
                self.reports.push_back(Report::Truncated { through: tail.end.zxid });
            }
            Plan::Nothing => {
                self.count_anew();
                self.reports.push_back(Report::Truncated { through: self.durable.zxid });
            }
            Plan::Impossible(error) => self.reports.push_back(Report::TruncateImpossible { to, error }),
        }
        Ok(())
    }

    /// Begins the new log behind a snapshot that is durable under its [`installed_name`], and tells.
    pub(super) fn do_replace(&mut self, disk: &mut dyn Disk, zxid: Zxid, log_id: u64) -> Result<(), StorageError> {
        self.let_go(disk)?;
        match replace(disk, zxid, log_id, self.options.segment_len)? {
            Replaced::By(tail) => {
                self.go_on(disk, &tail)?;
                self.count_anew();
                self.reports.push_back(Report::Installed { zxid });
                Ok(())
            }
            Replaced::NoRoom(error) => {
                // The old log is whole, and was only let go of.
                remove(disk, &installed_name(zxid))?;
                let index = LogIndex::read(disk)?;
                let replay = index.replay(self.segments.last().map_or(self.end.zxid, |&(_, base)| base))?;
                let mut tail = finish(disk, replay)?;
                if tail.log_id.is_none() {
                    (tail.log_id, tail.end) = (Some(self.log_id), self.end);
                }
                self.go_on(disk, &tail)?;
                self.reports.push_back(Report::InstallFailed { zxid, error: error.into() });
                Ok(())
            }
        }
    }

    /// Closes all files, and removes the segment that was prepared ahead: its number and its room may be needed. Nothing is
    /// under way.
    fn let_go(&mut self, disk: &mut dyn Disk) -> Result<(), StorageError> {
        let next = match mem::replace(&mut self.next, Next::Absent) {
            Next::Syncing(segment) | Next::Synced(segment) | Next::Ready(segment) => Some(segment),
            Next::Absent => None,
        };
        if let Some(Segment { file, sequence, .. }) = next {
            disk.close(file);
            remove(disk, &segment_name(sequence))?;
            disk.sync_directory()?;
        }
        self.close_files(disk);
        Ok(())
    }

    /// Goes on with what [`Self::let_go`] left, or with what became of it, as if the folder had just been opened.
    fn go_on(&mut self, disk: &mut dyn Disk, tail: &LogTail) -> Result<(), StorageError> {
        let fresh = Self::open(disk, self.options.clone(), tail, self.log_id)?;
        let old = mem::replace(self, fresh);
        let durable = self.durable.zxid;
        self.reports = old.reports;
        self.consumed = old.consumed;
        self.controls = old.controls;
        self.controls.iter_mut().for_each(|(after, _)| *after = durable.min(*after));
        self.closing = old.closing;
        self.spare = old.spare;
        self.zeros = old.zeros;
        self.room_told = (0, false);
        self.mark_now = Some(self.durable.zxid);
        Ok(())
    }

    /// Costs and room count from the start again, for a caller who forgets what he gave before. Nothing of that is left: he
    /// waits for the report behind which this is so.
    fn count_anew(&mut self) {
        self.consumed = 0;
        self.room_told = (0, false);
        self.tell_room = true;
    }
}
