//! The way back: the newest good snapshot, then the log behind it.
//!
//! A damaged snapshot is passed over only if an older one (or the beginning of the log) and the log from there on
//! hold everything; otherwise its damage is the error. Nothing in the folder is changed here.
//!
//! Where it pays, work is spread: threads decode a snapshot's znodes while another reads and checks the file; when all are
//! there, two build the tree of them ([`Loader::finish_load_by`]); and the log is read and checked ahead of the thread that
//! applies it.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::thread;

use bytes::Bytes;

use super::core::LogCore;
use super::disk::Disk;
use super::epochs::{self, Epochs};
use super::error::StorageError;
use super::image::{ImageError, ImageRecord, ImageRecords, ListNumbers, RecordKind, decode_znodes, kind_of};
use super::log::format::Position;
use super::log::scan::Records;
use super::log::{LogIndex, LogTail, ReplaySegment};
use super::snapshot::format::{field, installed_zxid, snapshot_zxid};
use super::snapshot::{SnapshotFrame, SnapshotReader};
use crate::ids::{SessionId, Zxid};
use crate::tree::{self, Change, Loader, Part, Tree};
use crate::wire::txn::{Txn, TxnDigest, TxnRecord};

/// Frames of a snapshot, or pieces of the log, that are read ahead of decoding at most.
const FRAMES_AHEAD_MAX: usize = 32;
const PIECES_AHEAD_MAX: usize = 4;

/// How to recover.
#[derive(Clone, Debug)]
pub struct Options {
    /// How the tree is to be.
    pub tree: tree::Options,
    /// Threads that decode beside the one that calls; 0: it does all by itself.
    pub threads: usize,
    /// Whether the server is a member of an ensemble: then its epoch files count.
    pub is_member: bool,
    /// How many of the last records are given back at most, and how many bytes of payload they may have.
    pub history_records_max: usize,
    /// See `history_records_max`.
    pub history_bytes_max: usize,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            tree: tree::Options::default(),
            threads: 1,
            is_member: false,
            history_records_max: 0,
            history_bytes_max: 0,
        }
    }
}

/// How far recovery is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Progress {
    /// Reading the snapshot of this version.
    Snapshot {
        /// Which.
        zxid: Zxid,
        /// Bytes read.
        read: u64,
        /// Bytes in all.
        len: u64,
    },
    /// Applying the log.
    Log {
        /// The last transaction applied.
        zxid: Zxid,
        /// Transactions applied.
        transactions: u64,
        /// Segments that are not yet read to their end.
        segments_left: usize,
    },
}

/// What was found.
pub struct Recovered {
    /// The newest state.
    pub tree: Tree,
    /// The sessions of that state and their timeouts in ms.
    pub sessions: BTreeMap<SessionId, i32>,
    /// Where the log ends; for [`super::core::LogCore::open`].
    pub tail: LogTail,
    /// The snapshot it began from.
    pub snapshot: Option<Zxid>,
    /// Newer snapshots that were damaged and whose contents came from the log instead.
    pub passed_over: Vec<StorageError>,
    /// Transactions applied from the log.
    pub transactions: u64,
    /// Transactions after which the tree's digest was not the one in the log, and the first of them. Apache only counts
    /// these, too (`digest_mismatches_count`).
    pub digest_mismatches: (u64, Option<Zxid>),
    /// What the server promised; without files, and where they are not asked for, the epoch of the last zxid.
    pub epochs: Epochs,
    /// The last records of the log, oldest first, as many as the options ask for and the log has.
    pub history: Vec<(Zxid, Bytes)>,
}

/// Brings back what the folder holds. Changes nothing.
///
/// `progress` is called now and then from the calling thread; it may look at a clock.
///
/// # Errors
/// If anything that was ever acknowledged would be missing: which file, at which offset, and what was found there.
pub fn recover(
    disk: &mut dyn Disk,
    options: &Options,
    progress: &mut dyn FnMut(Progress),
) -> Result<Recovered, StorageError> {
    let index = LogIndex::read(disk)?;
    let Candidates { snapshots, installed, void } = candidates(disk, &index)?;
    let newest = snapshots.first().map(|(zxid, _)| *zxid);
    let mut passed_over = Vec::new();
    let mut start = None;
    for (zxid, name) in &snapshots {
        // An older snapshot is of no use where the log does not reach back to it; the newer one's damage is the error.
        if !passed_over.is_empty() && index.replay(*zxid).is_err() {
            break;
        }
        match load_snapshot(disk, name, *zxid, index.log_id, options, progress) {
            Ok(loaded) => {
                start = Some(loaded);
                break;
            }
            Err(StorageError::Disk(error)) => return Err(error.into()),
            Err(damage) => passed_over.push(damage),
        }
    }
    let start = match start {
        Some(start) => start,
        None => {
            let whole = index.reaches_back_to().is_none_or(|zxid| zxid == Zxid::ZERO);
            if let Some(damage) = passed_over.first().filter(|_| !whole) {
                return Err(damage.clone());
            }
            Start { tree: Tree::new(options.tree), sessions: BTreeMap::new(), zxid: Zxid::ZERO, log_id: None }
        }
    };
    let snapshot = start.log_id.is_some().then_some(start.zxid);
    let mut applied = Applied::new(start.tree, start.sessions);
    let mut tail = replay(disk, &index, start.zxid, options, &mut applied, progress)?;
    if let Some(newest) = newest
        && tail.end.zxid < newest
    {
        // The log ends before a snapshot that could not be read.
        return Err(passed_over.swap_remove(0));
    }
    if let (None, Some(log_id)) = (tail.log_id, start.log_id) {
        // A snapshot alone, as an operator may have restored it: its log goes on from there.
        tail.log_id = Some(log_id);
        tail.end = Position::start(log_id, start.zxid);
    }
    tail.installed = installed;
    tail.stale.extend(void);
    let history = read_history(disk, &index, &tail, options)?;
    let epochs = if options.is_member {
        let found = epochs::read(disk, tail.end.zxid)?;
        tail.epochs_unsaved = found.is_unsaved.then_some(found.epochs);
        found.epochs
    } else {
        Epochs { accepted: tail.end.zxid.epoch(), current: tail.end.zxid.epoch() }
    };
    let Applied { tree, sessions, transactions, digest_mismatches, .. } = applied;
    Ok(Recovered { tree, sessions, tail, snapshot, passed_over, transactions, digest_mismatches, epochs, history })
}

/// Lets go of the folder, brings back what it holds now, and opens it again: how the state at a cut is had
/// ([`super::core::Report::Truncated`]). Room is counted from the start again.
///
/// # Errors
/// As [`recover`]'s and [`LogCore::open`]'s. The folder has no owner then.
pub fn reload(
    core: LogCore,
    disk: &mut dyn Disk,
    options: &Options,
    progress: &mut dyn FnMut(Progress),
) -> Result<(LogCore, Recovered), StorageError> {
    let (how, log_id) = (core.options().clone(), core.log_id());
    core.release(disk)?;
    let recovered = recover(disk, options, progress)?;
    let core = LogCore::open(disk, how, &recovered.tail, log_id)?;
    Ok((core, recovered))
}

/// The snapshots from which the log may go on.
struct Candidates {
    /// Newest first, with their file names.
    snapshots: Vec<(Zxid, String)>,
    /// One of them, if it does not have its own name yet.
    installed: Option<Zxid>,
    /// Those of a log that was replaced.
    void: Vec<String>,
}

fn candidates(disk: &mut dyn Disk, index: &LogIndex) -> Result<Candidates, StorageError> {
    let mut found = Candidates { snapshots: Vec::new(), installed: None, void: Vec::new() };
    let names: Vec<String> = disk.list()?.into_iter().map(|entry| entry.name).collect();
    let own = index.replaced_by().and(index.log_id);
    for name in &names {
        if let (Some(zxid), Some(own)) = (installed_zxid(name), own)
            && snapshot_log(disk, name, zxid)? == Some(own)
        {
            found.snapshots.push((zxid, name.clone()));
            found.installed = Some(zxid);
        }
    }
    for name in names {
        let Some(zxid) = snapshot_zxid(&name) else { continue };
        // One whose header cannot be read counts as this log's: its damage must not be passed over in silence.
        let is_void = match own {
            Some(own) => snapshot_log(disk, &name, zxid)?.is_some_and(|log_id| log_id != own),
            None => false,
        };
        if is_void {
            found.void.push(name);
        } else {
            found.snapshots.push((zxid, name));
        }
    }
    found.snapshots.sort_by(|(a, _), (b, _)| b.cmp(a));
    Ok(found)
}

/// Which log a snapshot is of; nothing if its header is not sound.
fn snapshot_log(disk: &mut dyn Disk, name: &str, zxid: Zxid) -> Result<Option<u64>, StorageError> {
    match SnapshotReader::open_named(disk, name, zxid) {
        Ok(reader) => {
            let log_id = reader.log_id();
            reader.close(disk);
            Ok(log_id)
        }
        Err(StorageError::Disk(error)) => Err(error.into()),
        Err(_) => Ok(None),
    }
}

/// The last records of the log, as far as the options want them and the segments reach: read backwards, segment by segment.
fn read_history(
    disk: &mut dyn Disk,
    index: &LogIndex,
    tail: &LogTail,
    options: &Options,
) -> Result<Vec<(Zxid, Bytes)>, StorageError> {
    let mut newest_first: Vec<(Zxid, Bytes)> = Vec::new();
    let mut left = options.history_bytes_max;
    let mut end = Some(tail.end);
    for info in index.segments.iter().rev() {
        // The segment in which the log ends may not be the last one with a header: that may be one that was never in use.
        let Some(through) = end.filter(|end| end.sequence == info.header.sequence) else { continue };
        end = Some(info.header.previous);
        if newest_first.len() >= options.history_records_max || left == 0 {
            break;
        }
        let frames = index.frames(disk, info, through)?;
        for records in frames.iter().rev() {
            let mut of_frame: Vec<(Zxid, Bytes)> =
                Records::new(records, 0).map(|record| (record.zxid, records.slice_ref(record.payload))).collect();
            while newest_first.len() < options.history_records_max
                && let Some((zxid, payload)) = of_frame.pop()
            {
                let Some(rest) = left.checked_sub(payload.len()) else {
                    left = 0;
                    break;
                };
                left = rest;
                newest_first.push((zxid, payload));
            }
            if left == 0 {
                break;
            }
        }
    }
    newest_first.reverse();
    Ok(newest_first)
}

/// What the log is applied to.
struct Start {
    tree: Tree,
    sessions: BTreeMap<SessionId, i32>,
    zxid: Zxid,
    /// The log of the snapshot it came from.
    log_id: Option<u64>,
}

fn load_snapshot(
    disk: &mut dyn Disk,
    name: &str,
    zxid: Zxid,
    log_id: Option<u64>,
    options: &Options,
    progress: &mut dyn FnMut(Progress),
) -> Result<Start, StorageError> {
    let len = disk.list()?.iter().find(|entry| entry.name == name).map_or(0, |entry| entry.len);
    let mut reader = SnapshotReader::open_named(disk, name, zxid)?;
    let result = match (log_id, reader.log_id()) {
        (Some(expected), Some(found)) if expected != found => Err(StorageError::Foreign {
            file: name.to_owned(),
            offset: field::LOG_ID as u64,
            what: format!("it is of log {found:016x}, the segments of {expected:016x}"),
        }),
        _ => load_frames(disk, &mut reader, options, &mut |read| progress(Progress::Snapshot { zxid, read, len })),
    };
    let log_id = reader.log_id();
    reader.close(disk);
    result.map(|(tree, sessions)| Start { tree, sessions, zxid, log_id })
}

fn load_frames(
    disk: &mut dyn Disk,
    reader: &mut SnapshotReader,
    options: &Options,
    progress: &mut dyn FnMut(u64),
) -> Result<(Tree, BTreeMap<SessionId, i32>), StorageError> {
    let name = reader.name().to_owned();
    let info = reader.info();
    let mut load = Load {
        name: &name,
        loader: Loader::new(options.tree),
        sessions: BTreeMap::new(),
        lists: Arc::default(),
        kind: RecordKind::Sessions,
        counts: [0; 3],
    };
    // What the header says is not yet confirmed by a footer: no more is reserved than the file could hold.
    let znodes = usize::try_from(info.znodes).unwrap_or(0).min(1 << 22);
    let new_part = |loader: &Loader| {
        let mut part = loader.part();
        part.reserve(znodes / options.threads.max(1));
        part
    };
    if options.threads == 0 {
        let mut part = new_part(&load.loader);
        while let Some(frame) = reader.next_frame(disk)? {
            progress(reader.offset());
            if !load.take_small(&frame)? {
                decode_znodes(frame.payload(), &load.lists, &mut part)
                    .map_err(|problem| load.damaged(frame.offset, problem))?;
            }
            reader.recycle(frame);
        }
        load.insert(part)?;
    } else {
        // The first in the file of what the threads found wrong.
        let decoded = thread::scope(|scope| {
            let (frames_in, frames) = flume::bounded::<(SnapshotFrame, Arc<ListNumbers>)>(FRAMES_AHEAD_MAX);
            // Never more than were under way: a frame comes back for each that went in.
            let (used_in, used) = flume::unbounded::<SnapshotFrame>();
            let decoders: Vec<_> = (0..options.threads)
                .map(|_| {
                    let (frames, used_in, part) = (frames.clone(), used_in.clone(), new_part(&load.loader));
                    scope.spawn(move || decode_frames(&frames, &used_in, part))
                })
                .collect();
            drop((frames, used_in));
            // Closes the channel to the threads whatever happens, so that they end.
            let frames_in = frames_in;
            while let Some(frame) = reader.next_frame(disk)? {
                progress(reader.offset());
                if load.take_small(&frame)? {
                    continue;
                }
                // If all of them have met something that they cannot decode, they tell of it below.
                if frames_in.send((frame, Arc::clone(&load.lists))).is_err() {
                    break;
                }
                used.try_iter().for_each(|frame| reader.recycle(frame));
            }
            drop(frames_in);
            let ends = decoders.into_iter().map(|decoder| match decoder.join() {
                Ok(part) => part,
                Err(panic) => std::panic::resume_unwind(panic),
            });
            Ok::<Vec<Decoded>, StorageError>(ends.collect())
        })?;
        let mut problems = Vec::new();
        for end in decoded {
            match end {
                Ok(part) => load.insert(part)?,
                Err(problem) => problems.push(problem),
            }
        }
        if let Some((offset, problem)) = problems.into_iter().min_by_key(|(offset, _)| *offset) {
            return Err(load.damaged(offset, problem));
        }
    }
    if load.counts != [info.sessions, info.acls, info.znodes] {
        return Err(StorageError::damaged(&name, 0, "the header's counts are not those of the records"));
    }
    let Load { loader, sessions, .. } = load;
    let tree = match options.threads {
        0 => loader.finish_load(info.zxid),
        _ => loader.finish_load_by(info.zxid, &|one, other| {
            thread::scope(|scope| {
                scope.spawn(other);
                one();
            });
        }),
    };
    let tree = tree.map_err(|error| StorageError::damaged(&name, 0, error.to_string()))?;
    let comparable = options.tree.digest_enabled && info.digest_version == TxnDigest::VERSION as u32;
    if comparable && tree.view().digest() != info.digest {
        let (found, expected) = (tree.view().digest(), info.digest);
        let what = format!("the tree's digest is {found:x}, the snapshot says {expected:x}");
        return Err(StorageError::damaged(&name, reader.offset(), what));
    }
    Ok((tree, sessions))
}

/// The znodes that a thread decoded, or the offset of the frame that it could not decode, and what was wrong.
type Decoded = Result<Part, (u64, ImageError)>;

/// Decodes frames of znodes as long as some come, and gives each back for its room.
fn decode_frames(
    frames: &flume::Receiver<(SnapshotFrame, Arc<ListNumbers>)>,
    used: &flume::Sender<SnapshotFrame>,
    mut part: Part,
) -> Decoded {
    for (frame, lists) in frames {
        decode_znodes(frame.payload(), &lists, &mut part).map_err(|problem| (frame.offset, problem))?;
        // The reader may have met damage and left.
        let _ = used.send(frame);
    }
    Ok(part)
}

/// A tree that is being loaded.
struct Load<'a> {
    name: &'a str,
    loader: Loader,
    sessions: BTreeMap<SessionId, i32>,
    lists: Arc<ListNumbers>,
    kind: RecordKind,
    /// Sessions, lists, znodes.
    counts: [u64; 3],
}

impl Load<'_> {
    fn damaged(&self, offset: u64, (at, what): ImageError) -> StorageError {
        StorageError::damaged(self.name, offset + (field::PAYLOAD + at) as u64, what)
    }

    /// Takes a frame of sessions or lists; false if it is one of znodes.
    fn take_small(&mut self, frame: &SnapshotFrame) -> Result<bool, StorageError> {
        let error = |load: &Self, error| load.damaged(frame.offset, error);
        let Some(kind) = kind_of(frame.payload()).map_err(|problem| error(self, problem))? else { return Ok(true) };
        if kind < self.kind {
            return Err(error(self, (0, "records out of order")));
        }
        self.kind = kind;
        if kind == RecordKind::Znodes {
            return Ok(false);
        }
        for record in ImageRecords::new(frame.payload()) {
            match record.map_err(|problem| error(self, problem))? {
                ImageRecord::Session { session, timeout_ms } => {
                    self.sessions.insert(session, timeout_ms);
                    self.counts[0] += 1;
                }
                ImageRecord::List { number, list } => {
                    let id = self.loader.insert_acl(&list);
                    Arc::make_mut(&mut self.lists).insert(number, id);
                    self.counts[1] += 1;
                }
                ImageRecord::Znode { .. } => {
                    return Err(error(self, (0, "records of several kinds in one frame")));
                }
            }
        }
        Ok(true)
    }

    fn insert(&mut self, part: Part) -> Result<(), StorageError> {
        self.counts[2] += part.len() as u64;
        self.loader.insert_part(part).map_err(|problem| StorageError::damaged(self.name, 0, problem.to_string()))
    }
}

/// The state as the log is applied to it.
struct Applied {
    tree: Tree,
    sessions: BTreeMap<SessionId, i32>,
    transactions: u64,
    digest_mismatches: (u64, Option<Zxid>),
    changes: Vec<Change>,
}

impl Applied {
    fn new(tree: Tree, sessions: BTreeMap<SessionId, i32>) -> Self {
        Self { tree, sessions, transactions: 0, digest_mismatches: (0, None), changes: Vec::new() }
    }

    fn segment(&mut self, segment: &ReplaySegment) -> Result<(), StorageError> {
        for record in segment.records() {
            let unusable = |what: String| StorageError::Unusable {
                file: segment.name.clone(),
                offset: record.offset,
                zxid: record.zxid,
                what,
            };
            let txn = TxnRecord::decode(record.payload).map_err(|error| unusable(error.to_string()))?;
            if txn.header.zxid != record.zxid {
                return Err(unusable(format!("its header says {}", txn.header.zxid)));
            }
            self.transaction(&txn);
        }
        Ok(())
    }

    fn transaction(&mut self, record: &TxnRecord<'_>) {
        self.changes.clear();
        self.tree.apply(&record.header, &record.txn, &mut self.changes);
        match record.txn {
            Txn::CreateSession { timeout_ms } => {
                self.sessions.insert(record.header.session, timeout_ms);
            }
            Txn::CloseSession { .. } => {
                self.sessions.remove(&record.header.session);
            }
            _ => {}
        }
        self.transactions += 1;
        if let Some(digest) = record.digest
            && digest.version == TxnDigest::VERSION
            && self.tree.options().digest_enabled
            && digest.tree != self.tree.view().digest()
        {
            let (count, first) = self.digest_mismatches;
            self.digest_mismatches = (count + 1, first.or(Some(record.header.zxid)));
        }
    }
}

fn replay(
    disk: &mut dyn Disk,
    index: &LogIndex,
    from: Zxid,
    options: &Options,
    applied: &mut Applied,
    progress: &mut dyn FnMut(Progress),
) -> Result<LogTail, StorageError> {
    let mut replay = index.replay(from)?;
    let mut apply = |piece: &ReplaySegment, segments_left: usize| {
        applied.segment(piece)?;
        let zxid = applied.tree.view().zxid();
        progress(Progress::Log { zxid, transactions: applied.transactions, segments_left });
        Ok::<(), StorageError>(())
    };
    if options.threads == 0 {
        while let Some(piece) = replay.next_piece(disk)? {
            apply(&piece, replay.remaining())?;
            replay.recycle(piece);
        }
        return replay.finish(disk);
    }
    thread::scope(|scope| {
        let (pieces_in, pieces) = flume::bounded::<(ReplaySegment, usize)>(PIECES_AHEAD_MAX);
        // Never more than were under way, as above.
        let (used_in, used) = flume::unbounded::<ReplaySegment>();
        let reading = scope.spawn(move || {
            while let Some(piece) = replay.next_piece(disk)? {
                if pieces_in.send((piece, replay.remaining())).is_err() {
                    // The other side has met a record that it cannot use, and tells of it.
                    return Ok(None);
                }
                used.try_iter().for_each(|piece| replay.recycle(piece));
            }
            drop(pieces_in);
            replay.finish(disk).map(Some)
        });
        let mut result = Ok(());
        for (piece, left) in &pieces {
            result = apply(&piece, left);
            if result.is_err() {
                break;
            }
            // The reader may have met damage and left.
            let _ = used_in.send(piece);
        }
        drop(pieces);
        let tail = match reading.join() {
            Ok(tail) => tail,
            Err(panic) => std::panic::resume_unwind(panic),
        };
        // Damage met while reading ahead lies behind what could not be applied.
        result?;
        Ok(tail?.expect("the whole log was read, or one of the two sides failed"))
    })
}

#[cfg(test)]
mod tests {
    use super::super::core::{self, Command, LogCore};
    use super::super::image::ImageSource;
    use super::super::log::BatchBuilder;
    use super::super::sim_disk::SimDisk;
    use super::super::snapshot::snapshot_name;
    use super::*;
    use crate::ids::Epoch;
    use crate::time::WallTime;
    use crate::tree::View;
    use crate::wire::acl::{Acl, AclList, Id, Perms};
    use crate::wire::error_code::ErrorCode;
    use crate::wire::op::OpCode;
    use crate::wire::txn::{CreateKind, CreateTxn, TxnHeader};

    fn settle(core: &mut LogCore, disk: &mut SimDisk) {
        let mut done = Vec::new();
        loop {
            let again = core.step(disk);
            while core.poll_report().is_some() {}
            disk.wait(true, &mut done).expect("no fault");
            if done.is_empty() && !again {
                return;
            }
            done.drain(..).for_each(|completion| core.complete(completion));
        }
    }

    /// Everything that a client could see.
    fn contents(view: &View) -> Vec<String> {
        let mut lines: Vec<String> = view
            .iter()
            .map(|znode| {
                let (acl, children) = (&view.acl(znode.acl_id()).entries, znode.num_children());
                format!("{} {:?} {acl:?} {:?} {children}", znode.path(), znode.data(), znode.persisted())
            })
            .collect();
        lines.sort_unstable();
        lines
    }

    #[test]
    fn every_kind_of_znode_comes_back_from_a_snapshot_and_from_the_log() {
        let mut disk = SimDisk::new(3);
        let empty = recover(&mut disk.clone(), &Options::default(), &mut |_| {}).expect("an empty folder");
        let Recovered { mut tree, tail, .. } = empty;
        let mut core = LogCore::open(&mut disk, core::Options::default(), &tail, 9).expect("no fault");
        let mut zxid = Zxid::ZERO;
        let reader = Acl { perms: Perms(1), id: Id::new("digest", "reader:secret") };
        let lists = [AclList::OPEN, AclList::READ_ONLY, AclList::from_entries([reader].iter())];
        let kinds = [CreateKind::Persistent, CreateKind::Ephemeral, CreateKind::Container, CreateKind::Ttl(60_000)];
        let mut sessions = BTreeMap::new();
        for round in 0..3_i32 {
            let mut builder = BatchBuilder::new();
            let mut log = |op, session, txn: Txn<'_>, tree: &mut Tree| {
                zxid = zxid.next();
                let header = TxnHeader { session: SessionId(session), cxid: 1, zxid, time: WallTime(zxid.0), op };
                tree.apply(&header, &txn, &mut Vec::new());
                let digest = Some(TxnDigest { version: TxnDigest::VERSION, tree: tree.view().digest() });
                let mut bytes = Vec::new();
                TxnRecord { header, txn, digest }.encode(&mut bytes);
                builder.push(zxid, &bytes);
            };
            for session in 1..4 {
                let session = i64::from(round * 10 + session);
                log(OpCode::CREATE_SESSION, session, Txn::CreateSession { timeout_ms: 4000 }, &mut tree);
                sessions.insert(SessionId(session), 4000);
            }
            for number in 0..400_usize {
                let kind = kinds[number % 4];
                let op = match kind {
                    CreateKind::Container => OpCode::CREATE_CONTAINER,
                    CreateKind::Ttl(_) => OpCode::CREATE_TTL,
                    _ => OpCode::CREATE,
                };
                let data = vec![number as u8; number % 300];
                let create = CreateTxn {
                    path: format!("/r{round}-{number}").into(),
                    data: (number % 7 > 0).then_some(&data),
                    acl: lists[number % 3].borrowed(),
                    kind,
                    parent_cversion: round * 400 + number as i32 + 1,
                };
                log(op, i64::from(round * 10 + 2), Txn::Create(create), &mut tree);
            }
            let gone = i64::from(round * 10 + 1);
            log(OpCode::CLOSE_SESSION, gone, Txn::CloseSession { paths: Some(Vec::new()) }, &mut tree);
            sessions.remove(&SessionId(gone));
            core.handle(Command::Append(builder.finish().expect("some records")));
            if round == 1 {
                let sessions = sessions.iter().map(|(&session, &timeout_ms)| (session, timeout_ms)).collect();
                core.handle(Command::Snapshot(Box::new(ImageSource::new(tree.cut(), sessions))));
            }
            settle(&mut core, &mut disk);
        }
        let snapshot = core.snapshots()[0];
        for threads in [0, 1, 3] {
            let how = Options { threads, ..Options::default() };
            let from_snapshot = recover(&mut disk.clone(), &how, &mut |_| {}).expect("a sound folder");
            assert_eq!(from_snapshot.snapshot, Some(snapshot));
            let logged = SimDisk::with_files(disk.files());
            logged.lose(&snapshot_name(snapshot));
            let from_log = recover(&mut logged.clone(), &how, &mut |_| {}).expect("the whole log is there");
            assert_eq!(from_log.snapshot, None);
            for recovered in [from_snapshot, from_log] {
                assert_eq!(recovered.tree.view().zxid(), zxid);
                assert_eq!(recovered.digest_mismatches, (0, None));
                assert_eq!(recovered.sessions, sessions);
                assert_eq!(contents(recovered.tree.view()), contents(tree.view()));
            }
        }
    }

    /// 4643: what a leader sends to a new member is no epoch that this member has taken part in.
    #[test]
    fn a_new_member_that_stops_within_its_first_history_is_in_no_epoch_yet() {
        let mut disk = SimDisk::new(3);
        let how = Options { is_member: true, history_records_max: 2, history_bytes_max: 1000, ..Options::default() };
        let empty = recover(&mut disk.clone(), &how, &mut |_| {}).expect("an empty folder");
        let mut core = LogCore::open(&mut disk, core::Options::default(), &empty.tail, 9).expect("no fault");
        core.handle(Command::SaveEpochs { accepted: Some(Epoch(5)), current: None });
        let mut builder = BatchBuilder::new();
        let mut records = Vec::new();
        for counter in 1..4 {
            let zxid = Zxid::new(Epoch(5), counter);
            let header = TxnHeader { session: SessionId(1), cxid: 1, zxid, time: WallTime(1), op: OpCode::ERROR };
            let mut bytes = Vec::new();
            TxnRecord { header, txn: Txn::Error { err: ErrorCode::NO_NODE }, digest: None }.encode(&mut bytes);
            builder.push(zxid, &bytes);
            records.push((zxid, Bytes::from(bytes)));
        }
        core.handle(Command::Append(builder.finish().expect("some records")));
        settle(&mut core, &mut disk);
        let recovered = recover(&mut disk.crash_image(4), &how, &mut |_| {}).expect("sound");
        assert_eq!(recovered.epochs, Epochs { accepted: Epoch(5), current: Epoch(0) });
        assert_eq!(recovered.history, records[1..]);
        let all = Options { history_records_max: 100, ..how };
        assert_eq!(recover(&mut disk, &all, &mut |_| {}).expect("sound").history, records);
        let few = Options { history_bytes_max: records[0].1.len() * 2 - 1, ..all };
        assert_eq!(recover(&mut disk, &few, &mut |_| {}).expect("sound").history, records[2..]);
        // A server alone takes part in no epoch, and leaves no files.
        let mut disk = SimDisk::new(3);
        let empty = recover(&mut disk.clone(), &Options::default(), &mut |_| {}).expect("an empty folder");
        LogCore::open(&mut disk, core::Options::default(), &empty.tail, 9).expect("no fault");
        assert!(disk.files().is_empty());
    }

    /// A znode of its own, at the next zxid.
    fn create(tree: &mut Tree, path: &str) -> (Zxid, Vec<u8>) {
        let zxid = tree.view().zxid().next();
        let header = TxnHeader { session: SessionId(1), cxid: 1, zxid, time: WallTime(zxid.0), op: OpCode::CREATE };
        let acl = AclList::OPEN;
        let kind = CreateKind::Persistent;
        let create =
            CreateTxn { path: path.into(), data: Some(b"data"), acl: acl.borrowed(), kind, parent_cversion: 1 };
        let txn = Txn::Create(create);
        tree.apply(&header, &txn, &mut Vec::new());
        let mut bytes = Vec::new();
        TxnRecord { header, txn, digest: None }.encode(&mut bytes);
        (zxid, bytes)
    }

    /// What a leader's state has taken the place of may have snapshots that are newer than it. They are void as soon as the new log
    /// is there, though the power may go before they do.
    #[test]
    fn snapshots_of_a_replaced_log_are_void() {
        let how = core::Options { segment_len: 64 << 10, record_len_max: 6000, ..core::Options::default() };
        let mut old = SimDisk::new(3);
        let Recovered { mut tree, tail, .. } =
            recover(&mut old.clone(), &Options::default(), &mut |_| {}).expect("an empty folder");
        let mut core = LogCore::open(&mut old, how.clone(), &tail, 9).expect("no fault");
        for number in 1..=3 {
            let (zxid, record) = create(&mut tree, &format!("/old-{number}"));
            let mut builder = BatchBuilder::new();
            builder.push(zxid, &record);
            core.handle(Command::Append(builder.finish().expect("a record")));
            settle(&mut core, &mut old);
            core.handle(Command::Snapshot(Box::new(ImageSource::new(tree.cut(), Vec::new()))));
            settle(&mut core, &mut old);
        }
        assert_eq!(core.snapshots(), [Zxid(1), Zxid(2), Zxid(3)]);
        let mut others = Tree::new(tree::Options::default());
        create(&mut others, "/new-1");
        create(&mut others, "/new-2");
        let mut with_void = 0;
        for operations in 0.. {
            let mut disk = old.restart();
            let Recovered { tail, .. } = recover(&mut disk.clone(), &Options::default(), &mut |_| {}).expect("sound");
            let mut core = LogCore::open(&mut disk, how.clone(), &tail, 9).expect("no fault");
            settle(&mut core, &mut disk);
            disk.cut_power_after(disk.operations() + operations);
            let source = Box::new(ImageSource::new(others.cut(), Vec::new()));
            core.handle(Command::Install { source, log_id: 10 });
            settle(&mut core, &mut disk);
            for seed in 0..20 {
                let mut image = disk.crash_image(seed);
                let found = recover(&mut image.clone(), &Options::default(), &mut |_| {})
                    .unwrap_or_else(|error| panic!("power off behind {operations} operations, image {seed}: {error}"));
                if found.tail.log_id == Some(9) {
                    assert_eq!(contents(found.tree.view()), contents(tree.view()));
                    continue;
                }
                assert_eq!(contents(found.tree.view()), contents(others.view()));
                let has_old = |disk: &SimDisk| disk.files().contains_key(&snapshot_name(Zxid(3)));
                with_void += u32::from(has_old(&image));
                let mut core = LogCore::open(&mut image, how.clone(), &found.tail, 11).expect("no fault");
                settle(&mut core, &mut image);
                assert!(!has_old(&image), "they go when the folder is opened");
                assert_eq!(core.snapshots(), [Zxid(2)]);
            }
            if !disk.is_cut() {
                break;
            }
        }
        assert!(with_void > 20, "{with_void} images had both logs' snapshots");
    }

    #[test]
    fn a_record_that_is_no_transaction_is_named() {
        let mut disk = SimDisk::new(3);
        let empty = recover(&mut disk.clone(), &Options::default(), &mut |_| {}).expect("an empty folder");
        let mut core = LogCore::open(&mut disk, core::Options::default(), &empty.tail, 9).expect("no fault");
        let mut builder = BatchBuilder::new();
        builder.push(Zxid(1), b"not a transaction");
        core.handle(Command::Append(builder.finish().expect("one record")));
        settle(&mut core, &mut disk);
        let error = recover(&mut disk, &Options::default(), &mut |_| {}).err().expect("it cannot be applied");
        assert!(matches!(error, StorageError::Unusable { zxid: Zxid(1), offset: 4608, .. }), "{error}");
    }
}
