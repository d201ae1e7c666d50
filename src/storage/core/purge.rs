//! What may be removed behind a snapshot, and how it goes: in pieces, beside everything else.
//!
//! To give up a file of a hundred megabytes at once takes a file system tens of milliseconds, and where it tells the device what is
//! free (`discard`) the device, too, in which it does nothing else: every client waits so long. So first the names go, all
//! together and durably, which is what the purge promises: a file under a name of its own means nothing to recovery, and what a crash
//! leaves of it the next start removes. Then its blocks go back, some at a time, from the end, each time with a sync, as a
//! journal would tell the device of all of them at once otherwise; and then the rest of it.

use std::collections::VecDeque;

use super::{Background, LogCore, Report};
use crate::storage::disk::{Disk, DiskError, FileId, NameOperation, Operation};
use crate::storage::log::format::{segment_name, segment_sequence};
use crate::storage::snapshot::format::{snapshot_name, snapshot_zxid};

/// So much of a file goes at a time.
const CUT_LEN: u64 = 1 << 20;
/// Turns of the log core, frames among them, between two pieces: some ten milliseconds.
const TURNS_BETWEEN: u32 = 64;

const SUFFIX: &str = ".purged";

/// Whether a file has been purged, and is only to be removed.
pub(super) fn is_purged(name: &str) -> bool {
    name.strip_suffix(SUFFIX).is_some_and(|name| snapshot_zxid(name).is_some() || segment_sequence(name).is_some())
}

/// Files on their way out.
#[derive(Default)]
pub(super) struct Purge {
    /// To be purged.
    chosen: Vec<String>,
    /// Segments below a gap, left by a purge that was interrupted; they go with the next one.
    orphans: Vec<String>,
    /// Renamed; the names are not durable yet.
    renamed: Vec<String>,
    /// Their blocks go next.
    dying: VecDeque<String>,
    /// The first of them, and what is left of it.
    cutting: Option<(FileId, u64)>,
    /// A piece went, and is to be synced.
    is_cut: bool,
    turns: u32,
}

impl Purge {
    /// A start that has found these orphans.
    pub(super) fn behind(orphans: Vec<String>) -> Self {
        Self { orphans, ..Self::default() }
    }
}

impl LogCore {
    /// Snapshots beyond those retained, and the segments that none of those retained needs (ZooKeeper's PurgeTxnLog).
    ///
    /// With fewer snapshots than are to be retained, the beginning of the log counts as one of them: then it stays whole,
    /// so that there is always more than one way back.
    pub(super) fn choose_purge(&mut self) {
        let retained = self.options.snapshots_retained;
        if retained == 0 || self.snapshots.len() < retained {
            return;
        }
        let surplus = self.snapshots.len() - retained;
        let chosen = &mut self.purge.chosen;
        chosen.extend(self.snapshots.drain(..surplus).map(snapshot_name));
        let oldest = self.snapshots[0];
        chosen.append(&mut self.purge.orphans);
        // A segment is needed unless the one behind it begins at or before the oldest snapshot.
        while let [(sequence, _), (_, base), ..] = self.segments[..]
            && base <= oldest
        {
            chosen.push(segment_name(sequence));
            self.segments.remove(0);
        }
    }

    /// Whether files are on their way out: there is work even if nothing is asked for.
    pub fn is_purging(&self) -> bool {
        let Purge { chosen, renamed, dying, .. } = &self.purge;
        !(chosen.is_empty() && renamed.is_empty() && dying.is_empty())
    }

    /// The next step of it. Whether an operation was started.
    pub(super) fn do_purge(&mut self, disk: &mut dyn Disk) -> Result<bool, DiskError> {
        if !self.purge.chosen.is_empty() {
            for name in std::mem::take(&mut self.purge.chosen) {
                match disk.rename(&name, &format!("{name}{SUFFIX}")) {
                    Ok(()) => {}
                    // No room, not even for a name: there will be when it is gone.
                    Err(DiskError::Full { .. }) => disk.remove(&name)?,
                    // An operator was faster.
                    Err(DiskError::NotFound { .. }) => continue,
                    Err(error) => return Err(error),
                }
                self.purge.renamed.push(name);
            }
            self.submit_names(disk, NameOperation::Sync, Background::PurgeNames)?;
            return Ok(true);
        }
        let Some(name) = self.purge.dying.front() else { return Ok(false) };
        self.purge.turns += 1;
        // On a full disk somebody waits for it.
        if self.purge.turns < TURNS_BETWEEN && !self.full {
            return Ok(false);
        }
        let name = name.clone();
        let Some((file, len)) = self.purge.cutting else {
            match disk.open(&name) {
                Ok(file) => self.purge.cutting = Some((file, disk.len(file)?)),
                Err(DiskError::NotFound { .. }) => drop(self.purge.dying.pop_front()),
                Err(error) => return Err(error),
            }
            return Ok(false);
        };
        if self.purge.is_cut {
            self.submit_background(disk, file, Operation::Sync, Background::PurgeSync)?;
            return Ok(true);
        }
        self.purge.turns = 0;
        if len <= CUT_LEN {
            disk.close(file);
            self.purge.cutting = None;
            self.submit_names(disk, NameOperation::Remove(name), Background::PurgeRemove)?;
            return Ok(true);
        }
        let offset = (len - 1) / CUT_LEN * CUT_LEN;
        let operation = Operation::Free { offset, len: len - offset };
        self.submit_background(disk, file, operation, Background::PurgeCut { left: offset })?;
        Ok(true)
    }

    /// The names are gone for good.
    pub(super) fn complete_purge_names(&mut self) {
        let files = std::mem::take(&mut self.purge.renamed);
        self.purge.dying.extend(files.iter().map(|name| format!("{name}{SUFFIX}")));
        self.reports.push_back(Report::Purged { files });
    }

    /// What is left is shorter, as far as the file system can do that; if not, all of it goes at the end.
    pub(super) fn complete_purge_cut(&mut self, left: u64) {
        if let Some((_, len)) = &mut self.purge.cutting {
            (*len, self.purge.is_cut) = (left, true);
        }
    }

    pub(super) fn complete_purge_sync(&mut self) {
        self.purge.is_cut = false;
        self.retry_full = true;
    }

    pub(super) fn complete_purge_remove(&mut self, result: Result<(), DiskError>) {
        match result {
            Ok(()) | Err(DiskError::NotFound { .. }) => {
                self.purge.dying.pop_front();
                self.retry_full = true;
            }
            Err(error) => self.fail(error),
        }
    }

    /// Whoever opens the folder next finds what is left.
    pub(super) fn stop_purging(&mut self, disk: &mut dyn Disk) {
        if let Some((file, _)) = self.purge.cutting.take() {
            disk.close(file);
        }
    }
}
