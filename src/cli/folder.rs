//! A data folder as the inspecting commands see it: read, never changed, never locked, so that they may look at the folder of
//! a running server. What such a server is just writing may then look torn.

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use crate::config;
use crate::ids::Zxid;
use crate::storage::disk::{Completion, Disk, DiskError, FileEntry, FileId, NameOperation, Operation};
use crate::storage::dump;

/// What an inspecting command was pointed at.
pub(super) struct Target {
    pub(super) folder: PathBuf,
    /// The one file to look at; `None`: all of its kind.
    pub(super) file: Option<String>,
}

impl Target {
    /// `path` may be a file, its folder, or a `dataDir` that holds the folder.
    pub(super) fn new(path: &Path) -> Result<Self, String> {
        let failed = |error: io::Error| format!("{}: {error}", path.display());
        if fs::metadata(path).map_err(failed)?.is_file() {
            let parent =
                path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or_else(|| Path::new("."));
            let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
            return Ok(Self { folder: parent.to_owned(), file: Some(name) });
        }
        let inner = config::folder(path);
        let folder = if inner.is_dir() { inner } else { path.to_owned() };
        Ok(Self { folder, file: None })
    }

    /// The segments to look at.
    pub(super) fn segments(&self, disk: &mut dyn Disk) -> Result<Vec<u64>, String> {
        let all = dump::segments(disk).map_err(|error| error.to_string())?;
        self.chosen(all, crate::storage::log::format::segment_name, "log segment")
    }

    /// The snapshots to look at.
    pub(super) fn snapshots(&self, disk: &mut dyn Disk) -> Result<Vec<Zxid>, String> {
        let all = dump::snapshots(disk).map_err(|error| error.to_string())?;
        self.chosen(all, crate::storage::snapshot::snapshot_name, "snapshot")
    }

    fn chosen<T: Copy>(&self, mut all: Vec<T>, name: impl Fn(T) -> String, what: &str) -> Result<Vec<T>, String> {
        if let Some(file) = &self.file {
            all.retain(|&one| name(one) == *file);
        }
        if all.is_empty() {
            let file = self.file.as_ref().map(|file| format!("/{file}")).unwrap_or_default();
            return Err(format!("{}{file}: no {what} of this server", self.folder.display()));
        }
        Ok(all)
    }
}

/// A folder that can only be read.
pub(super) struct ReadOnlyFolder {
    folder: PathBuf,
    open: Vec<Option<(String, File)>>,
}

impl ReadOnlyFolder {
    pub(super) fn new(folder: &Path) -> Self {
        Self { folder: folder.to_owned(), open: Vec::new() }
    }

    fn file(&self, file: FileId) -> (&str, &File) {
        let (name, open) = self.open[file.0 as usize].as_ref().expect("a file that is open");
        (name, open)
    }
}

fn failed(operation: &'static str, file: &str, offset: u64, error: &io::Error) -> DiskError {
    if error.kind() == io::ErrorKind::NotFound {
        return DiskError::NotFound { file: file.to_owned() };
    }
    DiskError::Failed { operation, file: file.to_owned(), offset, message: error.to_string() }
}

fn refused(operation: &'static str, file: &str) -> DiskError {
    let message = "this command changes nothing".to_owned();
    DiskError::Failed { operation, file: file.to_owned(), offset: 0, message }
}

impl Disk for ReadOnlyFolder {
    fn list(&mut self) -> Result<Vec<FileEntry>, DiskError> {
        let of_folder = |error: io::Error| failed("listing", &self.folder.display().to_string(), 0, &error);
        let mut entries = Vec::new();
        for entry in fs::read_dir(&self.folder).map_err(of_folder)? {
            let entry = entry.map_err(of_folder)?;
            match entry.metadata() {
                Ok(metadata) if metadata.is_file() => {
                    entries.push(FileEntry {
                        name: entry.file_name().to_string_lossy().into_owned(),
                        len: metadata.len(),
                    });
                }
                // A running server may have removed it meanwhile.
                Ok(_) | Err(_) => {}
            }
        }
        Ok(entries)
    }

    fn create(&mut self, name: &str, _len: u64) -> Result<FileId, DiskError> {
        Err(refused("creation", name))
    }

    fn open(&mut self, name: &str) -> Result<FileId, DiskError> {
        let file = File::open(self.folder.join(name)).map_err(|error| failed("open", name, 0, &error))?;
        let id = FileId(u32::try_from(self.open.len()).expect("fewer files than numbers"));
        self.open.push(Some((name.to_owned(), file)));
        Ok(id)
    }

    fn len(&mut self, file: FileId) -> Result<u64, DiskError> {
        let (name, file) = self.file(file);
        file.metadata().map(|metadata| metadata.len()).map_err(|error| failed("stat", name, 0, &error))
    }

    fn truncate(&mut self, file: FileId, _len: u64) -> Result<(), DiskError> {
        Err(refused("truncation", self.file(file).0))
    }

    fn close(&mut self, file: FileId) {
        self.open[file.0 as usize] = None;
    }

    fn read(&mut self, file: FileId, offset: u64, buffer: &mut [u8]) -> Result<usize, DiskError> {
        let (name, file) = self.file(file);
        let mut done = 0;
        while done < buffer.len() {
            match file.read_at(&mut buffer[done..], offset + done as u64) {
                Ok(0) => break,
                Ok(read) => done += read,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(failed("read", name, offset + done as u64, &error)),
            }
        }
        Ok(done)
    }

    fn rename(&mut self, source: &str, _target: &str) -> Result<(), DiskError> {
        Err(refused("renaming", source))
    }

    fn remove(&mut self, name: &str) -> Result<(), DiskError> {
        Err(refused("removal", name))
    }

    fn sync_directory(&mut self) -> Result<(), DiskError> {
        Err(refused("sync", "."))
    }

    fn submit(&mut self, file: FileId, _operation: Operation, _token: u64) -> Result<(), DiskError> {
        Err(refused("write", self.file(file).0))
    }

    fn submit_names(&mut self, operation: NameOperation, _token: u64) -> Result<(), DiskError> {
        match operation {
            NameOperation::Remove(name) => Err(refused("remove", &name)),
            NameOperation::Sync => Err(refused("sync", ".")),
        }
    }

    fn wait(&mut self, _block: bool, _done: &mut Vec<Completion>) -> Result<(), DiskError> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn targets() {
        let dir = tempfile::tempdir().expect("a folder");
        let inner = dir.path().join("zoo-1");
        fs::create_dir(&inner).expect("made");
        fs::write(inner.join("log.0000000000000001"), "x").expect("written");
        let by_data_dir = Target::new(dir.path()).expect("a folder");
        assert_eq!((by_data_dir.folder.as_path(), by_data_dir.file), (inner.as_path(), None));
        let by_file = Target::new(&inner.join("log.0000000000000001")).expect("a file");
        assert_eq!(
            (by_file.folder.as_path(), by_file.file.as_deref()),
            (inner.as_path(), Some("log.0000000000000001"))
        );
        let mut disk = ReadOnlyFolder::new(&inner);
        let target = Target { folder: inner.clone(), file: None };
        assert_eq!(target.segments(&mut disk), Ok(vec![1]));
        assert!(target.snapshots(&mut disk).unwrap_err().ends_with("zoo-1: no snapshot of this server"));
        assert!(Target::new(&dir.path().join("nothing")).is_err());
    }

    #[test]
    fn reads_and_refuses_to_write() {
        let dir = tempfile::tempdir().expect("a folder");
        fs::write(dir.path().join("a"), "hello").expect("written");
        let mut disk = ReadOnlyFolder::new(dir.path());
        let file = disk.open("a").expect("opened");
        assert_eq!(disk.len(file), Ok(5));
        let mut buffer = [0; 8];
        assert_eq!(disk.read(file, 1, &mut buffer), Ok(4));
        assert_eq!(&buffer[..4], b"ello");
        assert!(disk.truncate(file, 0).is_err() && disk.remove("a").is_err() && disk.create("b", 1).is_err());
        disk.close(file);
        assert_eq!(disk.open("b"), Err(DiskError::NotFound { file: "b".to_owned() }));
        assert_eq!(fs::read(dir.path().join("a")).expect("still there"), b"hello");
    }
}
