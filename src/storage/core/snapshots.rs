//! Snapshots in slices.
//!
//! A snapshot is written under a temporary name, synced, read back and checked frame by frame, and only then renamed: what
//! carries a snapshot's name was whole on the medium once. It is not published before the log is durable up to its zxid,
//! so that the log always reaches at least as far as any snapshot. Removing old files ([`super::purge`]) follows a checked
//! snapshot and nothing else (ZOOKEEPER-3231 counted broken ones and removed the only good one).
//!
//! A snapshot from the leader is written in the same way; when it is sound, [`super::cut`] puts it in the place of everything.

use super::{Background, LogCore, Report};
use crate::ids::Zxid;
use crate::storage::disk::{BlockBuf, Disk, DiskError, FileId, NameOperation, Operation};
use crate::storage::error::StorageError;
use crate::storage::snapshot::format::{SnapshotInfo, SnapshotWriter, installed_name, snapshot_name, temporary_name};
use crate::storage::snapshot::{SNAPSHOT_SLICE_LEN, SnapshotDone, SnapshotReader, SnapshotSource};

/// Written bytes are synced this often, so that the last sync has little left to do where writes go through a cache.
const SYNC_EVERY: u64 = 8 << 20;

/// The snapshot under way.
pub(super) struct SnapshotJob {
    source: Box<dyn SnapshotSource>,
    /// The name under which it is written.
    name: String,
    /// It is to replace everything, with this log behind it.
    install: Option<u64>,
    info: SnapshotInfo,
    file: FileId,
    writer: SnapshotWriter,
    stage: Stage,
    unsynced: u64,
    /// The records of the slice being put together.
    payload: Vec<u8>,
    /// The buffer of the last slice.
    block: Option<BlockBuf>,
    failure: Option<DiskError>,
}

impl SnapshotJob {
    pub(super) fn is_install(&self) -> bool {
        self.install.is_some()
    }

    fn failed(&self, error: StorageError) -> Report {
        failed(self.info.zxid, self.install, error)
    }
}

fn failed(zxid: Zxid, install: Option<u64>, error: StorageError) -> Report {
    match install {
        None => Report::SnapshotFailed { zxid, error },
        Some(_) => Report::InstallFailed { zxid, error },
    }
}

/// A snapshot's life.
enum Stage {
    /// Nothing is written.
    Header,
    /// Records are being written.
    Records,
    /// The footer is written; the last sync is due.
    Sync,
    /// It is being read back.
    Check(Box<SnapshotReader>),
    /// It is sound, and waits for the log to be durable as far.
    Publish,
}

impl LogCore {
    /// The next slice of snapshot work. Whether there is more that needs no completion.
    pub(super) fn do_snapshot(&mut self, disk: &mut dyn Disk) -> Result<bool, StorageError> {
        if let Some(source) = self.snapshot_waiting.take() {
            self.begin_snapshot(disk, source, None)?;
        }
        let Some(mut job) = self.snapshot.take() else { return Ok(false) };
        if let Some(error) = job.failure.take() {
            self.snapshot = Some(job);
            self.abandon_snapshot(disk, error.into())?;
            return Ok(true);
        }
        let work = self.snapshot_slice(disk, &mut job);
        match work {
            Ok(Work::Done) => {
                let Some(log_id) = job.install else {
                    return self.publish(disk, job);
                };
                disk.close(job.file);
                disk.sync_directory()?;
                self.do_replace(disk, job.info.zxid, log_id)?;
                Ok(true)
            }
            Ok(work) => {
                self.snapshot = Some(job);
                Ok(matches!(work, Work::Again))
            }
            Err(StorageError::Disk(error)) if !matches!(error, DiskError::Full { .. }) => Err(error.into()),
            Err(error) => {
                self.snapshot = Some(job);
                self.abandon_snapshot(disk, error)?;
                Ok(true)
            }
        }
    }

    pub(super) fn begin_snapshot(
        &mut self,
        disk: &mut dyn Disk,
        source: Box<dyn SnapshotSource>,
        install: Option<u64>,
    ) -> Result<(), DiskError> {
        let info = source.info();
        let name = if install.is_some() { installed_name(info.zxid) } else { temporary_name(info.zxid) };
        let file = match disk.create(&name, 0) {
            Ok(file) => file,
            Err(error @ DiskError::Full { .. }) => {
                self.reports.push_back(failed(info.zxid, install, error.into()));
                return Ok(());
            }
            Err(error) => return Err(error),
        };
        self.snapshot = Some(SnapshotJob {
            source,
            name,
            install,
            info,
            file,
            writer: SnapshotWriter::new(install.unwrap_or(self.log_id), info),
            stage: Stage::Header,
            unsynced: 0,
            payload: Vec::with_capacity(SNAPSHOT_SLICE_LEN * 2),
            block: None,
            failure: None,
        });
        Ok(())
    }

    fn snapshot_slice(&mut self, disk: &mut dyn Disk, job: &mut SnapshotJob) -> Result<Work, StorageError> {
        if job.unsynced >= SYNC_EVERY {
            job.unsynced = 0;
            self.submit_background(disk, job.file, Operation::Sync, Background::SnapshotSync)?;
            return Ok(Work::UnderWay);
        }
        match &mut job.stage {
            Stage::Header | Stage::Records => {
                let mut block = job.block.take().unwrap_or_else(|| BlockBuf::zeroed(0));
                let offset = job.writer.offset();
                if matches!(job.stage, Stage::Header) {
                    job.writer.header(&mut block);
                    job.stage = Stage::Records;
                } else {
                    job.payload.clear();
                    let count = job.source.fill(&mut job.payload, SNAPSHOT_SLICE_LEN);
                    if count > 0 {
                        job.writer.records_frame(&job.payload, count, &mut block);
                    } else {
                        job.writer.footer(&mut block);
                        job.stage = Stage::Sync;
                    }
                }
                job.unsynced += block.len() as u64;
                let operation = Operation::Write { offset, block, durable: false };
                self.submit_background(disk, job.file, operation, Background::SnapshotWrite)?;
                Ok(Work::UnderWay)
            }
            Stage::Sync => {
                let name = job.name.clone();
                job.stage = Stage::Check(Box::new(SnapshotReader::of_file(name, job.file, job.info.zxid)));
                self.submit_background(disk, job.file, Operation::Sync, Background::SnapshotSync)?;
                Ok(Work::UnderWay)
            }
            Stage::Check(reader) => {
                if let Some((offset, len)) = reader.wants(job.writer.offset())? {
                    let mut block = job.block.take().unwrap_or_else(|| BlockBuf::zeroed(0));
                    block.resize(len);
                    let operation = Operation::Read { offset, block };
                    self.submit_background(disk, job.file, operation, Background::SnapshotRead)?;
                    return Ok(Work::UnderWay);
                }
                self.slices = self.slices.saturating_sub(1);
                reader.next_frame_or_header(disk)?;
                if reader.is_complete() {
                    if reader.info() != job.info || reader.offset() != job.writer.offset() {
                        let what = "what was read back is not what was written";
                        return Err(StorageError::damaged(reader.name(), 0, what));
                    }
                    job.stage = Stage::Publish;
                }
                Ok(Work::Again)
            }
            Stage::Publish if job.install.is_some() => Ok(Work::Done),
            Stage::Publish if self.durable.zxid < job.info.zxid => Ok(Work::UnderWay),
            Stage::Publish => Ok(if self.sync_log(disk, job.info.zxid)? { Work::UnderWay } else { Work::Done }),
        }
    }

    /// Bytes of the snapshot are back for the check.
    pub(super) fn complete_snapshot_read(&mut self, block: Option<BlockBuf>, result: Result<(), DiskError>) {
        let (Some(job), Some(block)) = (&mut self.snapshot, block) else { return };
        match (result, &mut job.stage) {
            (Ok(()), Stage::Check(reader)) => reader.feed(block.bytes()),
            (Ok(()), _) => panic!("a snapshot was read before its check"),
            (Err(error), _) => return self.fail(error),
        }
        job.block = Some(block);
    }

    pub(super) fn complete_snapshot(&mut self, block: Option<BlockBuf>, result: Result<(), DiskError>) {
        let Some(job) = &mut self.snapshot else { return };
        job.block = block.or_else(|| job.block.take());
        match result {
            Ok(()) => {}
            Err(error @ DiskError::Full { .. }) => job.failure = Some(error),
            Err(error) => self.fail(error),
        }
    }

    /// Gives it its name. Whether there is more that needs no completion.
    fn publish(&mut self, disk: &mut dyn Disk, job: SnapshotJob) -> Result<bool, StorageError> {
        let zxid = job.info.zxid;
        match disk.rename(&job.name, &snapshot_name(zxid)) {
            Ok(()) => disk.close(job.file),
            // Not even for a name.
            Err(error @ DiskError::Full { .. }) => {
                self.snapshot = Some(job);
                self.abandon_snapshot(disk, error.into())?;
                return Ok(true);
            }
            Err(error) => return Err(error.into()),
        }
        let done = SnapshotDone { zxid, len: job.writer.offset(), records: job.writer.records() };
        self.submit_names(disk, NameOperation::Sync, Background::Publish(done))?;
        Ok(false)
    }

    /// The snapshot's name is durable.
    pub(super) fn complete_publish(&mut self, done: SnapshotDone) {
        if !self.snapshots.contains(&done.zxid) {
            self.snapshots.push(done.zxid);
            self.snapshots.sort_unstable();
        }
        self.reports.push_back(Report::SnapshotDone(done));
        self.choose_purge();
    }

    fn abandon_snapshot(&mut self, disk: &mut dyn Disk, error: StorageError) -> Result<(), DiskError> {
        let Some(job) = self.snapshot.take() else { return Ok(()) };
        disk.close(job.file);
        disk.remove(&job.name)?;
        self.reports.push_back(job.failed(error));
        Ok(())
    }

    /// Gives up whatever is under way, without a report: the core is closing, or what it copies goes.
    pub(super) fn give_up_snapshot(&mut self, disk: &mut dyn Disk) -> Result<(), DiskError> {
        self.snapshot_waiting = None;
        if let Some(job) = self.snapshot.take() {
            disk.close(job.file);
            disk.remove(&job.name)?;
        }
        Ok(())
    }

    /// Zxids of the snapshots that are there, rising.
    pub fn snapshots(&self) -> &[Zxid] {
        &self.snapshots
    }
}

/// How a slice of work ended.
enum Work {
    /// An operation is under way, or something else has to come first.
    UnderWay,
    /// The next slice can follow at once.
    Again,
    /// The snapshot can be published.
    Done,
}
