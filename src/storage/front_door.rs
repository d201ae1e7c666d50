//! A durable tree in one process: the storage room's front door.
//!
//! [`Storage`] is the log core, the tree and recovery put together, driven by the thread that calls: every change is durable
//! when its call returns, and the next [`Storage::over`] the same folder finds all of it. It is what a program embeds
//! that wants ZooKeeper's data model without a server; the server itself drives the same parts from its own threads.

use std::collections::BTreeMap;

use thiserror::Error;

use super::core::{self, Command, LogCore, Report};
use super::disk::{Completion, Disk, DiskError};
use super::error::StorageError;
use super::image::ImageSource;
use super::log::BatchBuilder;
use super::recovery::{self, Recovered};
use crate::ids::{SessionId, Zxid};
use crate::time::WallTime;
use crate::tree::{self, Tree};
use crate::wire::acl::AclList;
use crate::wire::error_code::ErrorCode;
use crate::wire::op::OpCode;
use crate::wire::stat::Stat;
use crate::wire::txn::{CreateKind, CreateTxn, SubTxn, Txn, TxnDigest, TxnHeader, TxnRecord};

/// How a [`Storage`] is to be.
#[derive(Clone, Debug)]
pub struct StorageOptions {
    /// How the log core writes.
    pub core: core::Options,
    /// How the tree is to be.
    pub tree: tree::Options,
    /// A snapshot is taken after so many changes (`snapCount`); 0: only when asked for.
    pub snapshot_every: u64,
    /// Names the log if it begins now. Must be drawn at random: it is how bytes from another log are told apart.
    pub log_id: u64,
}

impl StorageOptions {
    /// The defaults, with this log id.
    pub fn new(log_id: u64) -> Self {
        let (core, tree) = (core::Options::default(), tree::Options::default());
        Self { core, tree, snapshot_every: 100_000, log_id }
    }
}

/// Why an operation was refused. Nothing has changed, unless it is [`OperationError::Failed`].
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum OperationError {
    /// There is no such znode, or for a creation no parent.
    #[error("no znode at {0}")]
    NoNode(String),
    /// The znode exists.
    #[error("{0} exists")]
    NodeExists(String),
    /// The znode has children.
    #[error("{0} has children")]
    NotEmpty(String),
    /// The writer has not seen the present version.
    #[error("version {given} is not the successor of {present}")]
    BadVersion {
        /// The znode's version.
        present: i32,
        /// What was given.
        given: i32,
    },
    /// Not an absolute path as ZooKeeper wants them, or one that is the server's own.
    #[error("{0:?} is not a path that can be changed")]
    BadPath(String),
    /// Path and data are more than a record may hold.
    #[error("{len} bytes, at most {len_max} are allowed")]
    TooLong {
        /// Bytes of the transaction.
        len: usize,
        /// The bound.
        len_max: usize,
    },
    /// The device is full. Reads go on; writes do when there is room.
    #[error("no space left on the device")]
    Full,
    /// The device failed. What was not acknowledged before may or may not be there when the folder is opened again; this
    /// storage has ended.
    #[error(transparent)]
    Failed(#[from] StorageError),
}

impl From<DiskError> for OperationError {
    fn from(error: DiskError) -> Self {
        Self::Failed(error.into())
    }
}

/// A durable tree in one process.
///
/// ```
/// use zoo_server::storage::sim_disk::SimDisk;
/// use zoo_server::storage::{OperationError, Storage, StorageOptions};
/// use zoo_server::time::WallTime;
///
/// // A disk in memory stands for the folder here.
/// let disk = SimDisk::new(1);
/// let open = |disk: &SimDisk| {
///     Storage::over(Box::new(disk.clone()), StorageOptions::new(0x5eed), Box::new(|| WallTime(0)))
/// };
///
/// let mut storage = open(&disk)?;
/// storage.create("/app", b"one", 1)?;
/// storage.set("/app", b"two", 2)?;
/// let stale = storage.set("/app", b"other", 2);
/// assert_eq!(stale, Err(OperationError::BadVersion { present: 2, given: 2 }));
/// drop(storage);
///
/// let storage = open(&disk)?;
/// let (data, stat) = storage.get("/app")?;
/// assert_eq!((data, stat.version), (&b"two"[..], 2));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct Storage {
    disk: Box<dyn Disk>,
    core: LogCore,
    tree: Tree,
    sessions: BTreeMap<SessionId, i32>,
    clock: Box<dyn FnMut() -> WallTime + Send>,
    snapshot_every: u64,
    since_snapshot: u64,
    /// Sum of what was admitted, against `admit_through`.
    admitted: u64,
    admit_through: u64,
    full: bool,
    durable: Zxid,
    failed: Option<StorageError>,
    record: Vec<u8>,
    done: Vec<Completion>,
}

impl Storage {
    /// Opens the folder behind `disk`, recovering what is there; an empty one becomes a new tree. `clock` stamps changes.
    ///
    /// # Errors
    /// If anything that was acknowledged is missing or damaged, with the file and the offset.
    pub fn over(
        mut disk: Box<dyn Disk>,
        options: StorageOptions,
        clock: Box<dyn FnMut() -> WallTime + Send>,
    ) -> Result<Self, StorageError> {
        let how = recovery::Options { tree: options.tree, ..recovery::Options::default() };
        let Recovered { tree, sessions, tail, transactions, .. } = recovery::recover(disk.as_mut(), &how, &mut |_| {})?;
        let core = LogCore::open(disk.as_mut(), options.core, &tail, options.log_id)?;
        Ok(Self {
            durable: tail.end.zxid,
            disk,
            core,
            tree,
            sessions,
            clock,
            snapshot_every: options.snapshot_every,
            since_snapshot: transactions,
            admitted: 0,
            admit_through: 0,
            full: false,
            failed: None,
            record: Vec::new(),
            done: Vec::new(),
        })
    }

    /// The newest data and stat of a znode.
    ///
    /// # Errors
    /// [`OperationError::NoNode`].
    pub fn get(&self, path: &str) -> Result<(&[u8], Stat), OperationError> {
        match self.tree.view().znode(path) {
            Some(znode) => Ok((znode.data().unwrap_or_default(), znode.stat())),
            None => Err(OperationError::NoNode(path.to_owned())),
        }
    }

    /// The names of a znode's children, sorted.
    ///
    /// # Errors
    /// [`OperationError::NoNode`].
    pub fn children(&self, path: &str) -> Result<Vec<&str>, OperationError> {
        let znode = self.tree.view().znode(path).ok_or_else(|| OperationError::NoNode(path.to_owned()))?;
        let mut names: Vec<&str> = znode.children().collect();
        names.sort_unstable();
        Ok(names)
    }

    /// Creates a znode that has `version` from the start; its parent must exist.
    ///
    /// # Errors
    /// [`OperationError`]; durable only if there is none.
    pub fn create(&mut self, path: &str, data: &[u8], version: i32) -> Result<Stat, OperationError> {
        let parent = check_path(path)?;
        let view = self.tree.view();
        let parent = view.znode(parent).ok_or_else(|| OperationError::NoNode(parent.to_owned()))?;
        if view.znode(path).is_some() {
            return Err(OperationError::NodeExists(path.to_owned()));
        }
        let create = Txn::Create(CreateTxn {
            path: path.into(),
            data: Some(data),
            acl: AclList::OPEN,
            kind: CreateKind::Persistent,
            parent_cversion: parent.persisted().cversion.wrapping_add(1),
        });
        if version == 0 {
            self.change(OpCode::CREATE, create)?;
        } else {
            // A creation begins at 0; what sets it to another version has to be one transaction with it.
            let set = Txn::SetData { path: path.into(), data: Some(data), version };
            let subs = vec![SubTxn { op: OpCode::CREATE, txn: create }, SubTxn { op: OpCode::SET_DATA, txn: set }];
            self.change(OpCode::MULTI, Txn::Multi(subs))?;
        }
        self.get(path).map(|(_, stat)| stat)
    }

    /// Replaces a znode's data. `version` is the new version: it must be the present one's successor, so that a writer that
    /// has not seen the present data is refused.
    ///
    /// # Errors
    /// [`OperationError`]; durable only if there is none.
    pub fn set(&mut self, path: &str, data: &[u8], version: i32) -> Result<Stat, OperationError> {
        check_path(path)?;
        let (_, stat) = self.get(path)?;
        let present = stat.version;
        if version != present.wrapping_add(1) {
            return Err(OperationError::BadVersion { present, given: version });
        }
        self.change(OpCode::SET_DATA, Txn::SetData { path: path.into(), data: Some(data), version })?;
        self.get(path).map(|(_, stat)| stat)
    }

    /// Deletes a znode that has no children.
    ///
    /// # Errors
    /// [`OperationError`]; durable only if there is none.
    pub fn delete(&mut self, path: &str) -> Result<(), OperationError> {
        check_path(path)?;
        let (_, stat) = self.get(path)?;
        if stat.num_children > 0 {
            return Err(OperationError::NotEmpty(path.to_owned()));
        }
        self.change(OpCode::DELETE, Txn::Delete { path: path.into() })
    }

    /// The last durable transaction.
    pub fn last_zxid(&self) -> Zxid {
        self.durable
    }

    /// Takes a snapshot now, unless one is under way; it is complete when this returns.
    ///
    /// # Errors
    /// [`OperationError::Failed`]. Without room for it the snapshot is given up, which harms nothing.
    pub fn snapshot(&mut self) -> Result<(), OperationError> {
        self.begin_snapshot();
        self.drive(|storage| !storage.core.is_snapshotting())
    }

    /// Finishes what is under way and marks the log as complete. Dropping a storage instead loses nothing either, but
    /// leaves this mark out.
    ///
    /// # Errors
    /// [`OperationError::Failed`].
    pub fn close(mut self) -> Result<(), OperationError> {
        self.core.handle(Command::Close);
        self.drive(|storage| storage.core.has_ended())
    }

    /// Makes a transaction: first certain of its room, then of the disk. The tree is changed in between, for its digest is
    /// part of the record; if the disk fails then, this storage has ended anyway.
    fn change(&mut self, op: OpCode, txn: Txn<'_>) -> Result<(), OperationError> {
        if let Some(error) = &self.failed {
            return Err(error.clone().into());
        }
        let zxid = self.tree.view().zxid().next();
        let header = TxnHeader { session: SessionId::NONE, cxid: 0, zxid, time: (self.clock)(), op };
        let digest = self.tree.options().digest_enabled.then_some(TxnDigest { version: TxnDigest::VERSION, tree: 0 });
        let mut record = TxnRecord { header, txn, digest };
        self.record.clear();
        record.encode(&mut self.record);
        let (len, len_max) = (self.record.len(), self.core.options().record_len_max);
        if len > len_max {
            return Err(OperationError::TooLong { len, len_max });
        }
        self.admit(len)?;
        let applied = self.tree.apply(&record.header, &record.txn, &mut Vec::new());
        assert!(applied.err == ErrorCode::OK, "{op} of {zxid} was checked and came to {:?}", applied.err);
        if let Some(digest) = &mut record.digest {
            digest.tree = self.tree.view().digest();
            self.record.clear();
            record.encode(&mut self.record);
        }
        let mut batch = self.core.take_spare_buffer().map_or_else(BatchBuilder::new, BatchBuilder::reuse);
        batch.push(zxid, &self.record);
        let batch = batch.finish().expect("one record was pushed");
        self.admitted += batch.cost();
        self.core.handle(Command::Append(batch));
        self.drive(|storage| storage.durable >= zxid)?;
        self.since_snapshot += 1;
        if self.snapshot_every > 0 && self.since_snapshot >= self.snapshot_every {
            self.begin_snapshot();
        }
        Ok(())
    }

    fn begin_snapshot(&mut self) {
        if !self.core.is_snapshotting() && self.failed.is_none() {
            self.since_snapshot = 0;
            let sessions = self.sessions.iter().map(|(&session, &timeout_ms)| (session, timeout_ms)).collect();
            let source = ImageSource::new(self.tree.cut(), sessions);
            self.core.handle(Command::Snapshot(Box::new(source)));
        }
    }

    /// Waits until there is certainly room for a record of so many bytes.
    fn admit(&mut self, len: usize) -> Result<(), OperationError> {
        let cost = super::log::format::batch_cost(len + super::log::format::RECORD_HEADER_LEN);
        if self.full {
            // Room may have come back since.
            self.full = false;
            self.core.handle(Command::Tick);
        }
        let wanted = self.admitted + cost;
        self.drive(|storage| storage.admit_through >= wanted || storage.full)?;
        if self.admit_through >= wanted { Ok(()) } else { Err(OperationError::Full) }
    }

    /// Runs the core until `done`.
    fn drive(&mut self, done: impl Fn(&Self) -> bool) -> Result<(), OperationError> {
        loop {
            let again = self.core.step(self.disk.as_mut());
            while let Some(report) = self.core.poll_report() {
                self.take_report(report);
            }
            if let Some(error) = &self.failed {
                return Err(error.clone().into());
            }
            if done(self) {
                return Ok(());
            }
            self.disk.wait(!again, &mut self.done)?;
            for completion in self.done.drain(..) {
                self.core.complete(completion);
            }
        }
    }

    fn take_report(&mut self, report: Report) {
        match report {
            Report::Durable { through, .. } => self.durable = through,
            Report::Room { admit_through, full } => (self.admit_through, self.full) = (admit_through, full),
            Report::Failed(error) => self.failed = Some(error),
            // The rest tells of snapshots and files, or answers what is never asked here.
            _ => {}
        }
    }
}

/// The path's parent, if it is an absolute path of a znode that programs may change (`PathUtils.validatePath`).
fn check_path(path: &str) -> Result<&str, OperationError> {
    let bad = || OperationError::BadPath(path.to_owned());
    let names = path.strip_prefix('/').ok_or_else(bad)?;
    let forbidden = |c: char| matches!(c, '\0'..='\u{1f}' | '\u{7f}'..='\u{9f}' | '\u{f000}'..='\u{f8ff}' | '\u{fff0}'..='\u{ffff}');
    if names.split('/').any(|name| matches!(name, "" | "." | "..") || name.contains(forbidden)) {
        return Err(bad());
    }
    if path == "/zookeeper" || path.starts_with("/zookeeper/") {
        return Err(bad());
    }
    let slash = path.rfind('/').ok_or_else(bad)?;
    Ok(if slash == 0 { "/" } else { &path[..slash] })
}

#[cfg(test)]
mod tests {
    use super::super::sim_disk::SimDisk;
    use super::*;

    fn options() -> StorageOptions {
        let core = core::Options {
            segment_len: 64 << 10,
            record_len_max: 4 << 10,
            snapshots_retained: 2,
            ..core::Options::default()
        };
        StorageOptions { core, snapshot_every: 20, ..StorageOptions::new(7) }
    }

    fn open(disk: &SimDisk) -> Storage {
        let mut time = 0;
        let clock = move || {
            time += 1;
            WallTime(time)
        };
        Storage::over(Box::new(disk.clone()), options(), Box::new(clock)).expect("a sound folder")
    }

    #[test]
    fn everything_is_there_after_any_number_of_openings() {
        let mut disk = SimDisk::new(5);
        let mut version = 1;
        open(&disk).create("/a", b"0", version).expect("a new znode");
        for round in 0..12 {
            let mut storage = open(&disk);
            for step in 0..9 {
                version += 1;
                let data = format!("{round}.{step}");
                storage.set("/a", data.as_bytes(), version).expect("the successor");
                storage.create(&format!("/a/{round}-{step}"), b"child", 0).expect("a new child");
            }
            storage.delete(&format!("/a/{round}-0")).expect("no children");
            if round % 3 == 0 {
                storage.close().expect("no fault");
                disk = disk.restart();
            } else {
                drop(storage);
                disk = disk.crash_image(round);
            }
            let storage = open(&disk);
            let (data, stat) = storage.get("/a").expect("it was created");
            assert_eq!((data, stat.version), (format!("{round}.8").as_bytes(), version));
            assert_eq!(storage.children("/a").expect("it exists").len(), 8 * (round as usize + 1));
        }
        assert!(disk.files().keys().any(|name| name.starts_with("snapshot.")), "snapshots were taken");
    }

    #[test]
    fn what_cannot_be_is_refused() {
        let mut storage = open(&SimDisk::new(1));
        storage.create("/a", b"", 0).expect("a new znode");
        storage.create("/a/b", b"", 3).expect("a new znode");
        let path = |path: &str| path.to_owned();
        assert_eq!(storage.create("/a", b"", 0), Err(OperationError::NodeExists(path("/a"))));
        assert_eq!(storage.create("/x/y", b"", 0), Err(OperationError::NoNode(path("/x"))));
        assert_eq!(storage.delete("/a"), Err(OperationError::NotEmpty(path("/a"))));
        assert_eq!(storage.set("/a/b", b"", 5), Err(OperationError::BadVersion { present: 3, given: 5 }));
        assert_eq!(storage.delete("/x"), Err(OperationError::NoNode(path("/x"))));
        for bad in ["", "a", "/", "/a/", "/a//b", "/./a", "/zookeeper/config", "/a\0"] {
            assert_eq!(storage.create(bad, b"", 0), Err(OperationError::BadPath(path(bad))));
        }
        assert!(matches!(storage.create("/long", &[0; 5000], 0), Err(OperationError::TooLong { .. })));
    }

    #[test]
    fn a_full_device_refuses_writes_and_goes_on_when_there_is_room() {
        let disk = SimDisk::new(1);
        disk.set_capacity(Some(200 << 10));
        let mut storage = open(&disk);
        let mut created = 0;
        let refused = loop {
            match storage.create(&format!("/n{created}"), &[1; 3000], 0) {
                Ok(_) => created += 1,
                Err(error) => break error,
            }
        };
        assert_eq!(refused, OperationError::Full);
        assert!(created > 5);
        assert!(storage.get("/n0").is_ok(), "reads go on");
        disk.set_capacity(None);
        storage.create("/more", &[1; 3000], 0).expect("there is room again");
        drop(storage);
        let storage = open(&disk.crash_image(3));
        assert_eq!(storage.children("/").expect("the root").len(), created + 2);
    }

    #[test]
    fn a_failed_disk_ends_it() {
        let disk = SimDisk::new(1);
        let mut storage = open(&disk);
        storage.create("/a", b"", 0).expect("a new znode");
        disk.fail_sync(1);
        assert!(matches!(storage.create("/b", b"", 0), Err(OperationError::Failed(_))));
        assert!(matches!(storage.create("/c", b"", 0), Err(OperationError::Failed(_))));
        assert!(open(&disk.restart()).get("/a").is_ok());
    }
}
