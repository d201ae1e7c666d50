//! The data folder of a server: opened, locked, tested, and its contents brought back.

use std::time::Duration;

use bytes::Bytes;

use crate::ids::{SessionId, Zxid};
use crate::rt::clock;
use crate::rt::faulty::FaultyDisk;
use crate::rt::inbox::Doorbell;
use crate::rt::ring::{self, OpenError, Ring};
use crate::storage::StorageError;
use crate::storage::core::LogCore;
use crate::storage::disk::Disk;
use crate::storage::epochs::Epochs;
use crate::storage::recovery::{self, Progress};
use crate::tree::Tree;

use super::options::Options;

/// Recovery that takes longer than this tells how far it is.
const PROGRESS_AFTER: Duration = Duration::from_secs(1);

/// An open folder.
pub(super) struct Folder {
    pub(super) disk: Box<dyn Disk>,
    pub(super) doorbell: Doorbell,
    pub(super) is_direct: bool,
}

/// What was in it.
pub(super) struct Recovered {
    pub(super) tree: Tree,
    pub(super) sessions: Vec<(SessionId, i32)>,
    pub(super) core: LogCore,
    pub(super) epochs: Epochs,
    pub(super) history: Vec<(Zxid, Bytes)>,
}

/// Opens and locks the folder.
pub(super) fn open(options: &Options) -> Result<Folder, OpenError> {
    let how = ring::Options { snapshot_folder: Some(options.snapshot_folder.clone()), ..ring::Options::default() };
    let ring = Ring::open(&options.log_folder, &how)?;
    let is_direct = ring.is_direct();
    if !is_direct {
        tracing::warn!(
            folder = %options.log_folder.display(),
            "the file system refuses O_DIRECT: files go through the page cache, as durable but slower"
        );
    }
    let doorbell = ring.doorbell();
    let disk: Box<dyn Disk> = match options.fault {
        Some(fault) => Box::new(FaultyDisk::new(ring, fault)),
        None => Box::new(ring),
    };
    Ok(Folder { disk, doorbell, is_direct })
}

/// How a folder is recovered, at the start and behind a cut.
pub(super) fn how_to_recover(options: &Options) -> recovery::Options {
    let (history_records_max, history_bytes_max) = options
        .ensemble
        .as_ref()
        .map_or((0, 0), |ensemble| (ensemble.replica.history.count_max, ensemble.replica.history.bytes_max));
    recovery::Options {
        tree: options.tree,
        threads: options.recovery_threads,
        is_member: options.ensemble.is_some(),
        history_records_max,
        history_bytes_max,
    }
}

/// Brings back what the folder holds, and makes it ready to be written to.
pub(super) fn recover(folder: &mut Folder, options: &Options) -> Result<Recovered, StorageError> {
    let start = clock::now();
    let mut told = start;
    let recovered = recovery::recover(&mut *folder.disk, &how_to_recover(options), &mut |progress| {
        let now = clock::now();
        if now.since(told) >= PROGRESS_AFTER {
            told = now;
            tell(progress);
        }
    })?;
    for damage in &recovered.passed_over {
        tracing::error!(%damage, "a snapshot is damaged: an older one and the log held all of it");
    }
    if let Some(cut) = &recovered.tail.cut {
        let (file, offset, bytes) = (&cut.file, cut.offset, cut.len);
        tracing::warn!(file, offset, bytes, "the log's last write was torn before it was acknowledged: cut");
    }
    for note in &recovered.tail.notes {
        tracing::info!(note, "the log");
    }
    if let (mismatches @ 1.., Some(first)) = recovered.digest_mismatches {
        tracing::error!(mismatches, %first, "the tree's digest is not the one in the log");
    }
    tracing::info!(
        zxid = %recovered.tree.view().zxid(),
        znodes = recovered.tree.view().node_count(),
        sessions = recovered.sessions.len(),
        took_ms = clock::now().since(start).as_millis() as u64,
        "recovered"
    );
    let core = LogCore::open(&mut *folder.disk, options.storage.clone(), &recovered.tail, options.log_id)?;
    Ok(Recovered {
        tree: recovered.tree,
        sessions: recovered.sessions.into_iter().collect(),
        core,
        epochs: recovered.epochs,
        history: recovered.history,
    })
}

fn tell(progress: Progress) {
    match progress {
        Progress::Snapshot { zxid, read, len } => {
            let percent = (read * 100).checked_div(len).unwrap_or(100);
            tracing::warn!(snapshot = %zxid, percent, "recovering");
        }
        Progress::Log { zxid, transactions, segments_left } => {
            tracing::warn!(%zxid, transactions, segments_left, "recovering");
        }
    }
}
