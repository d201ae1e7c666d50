//! What can be wrong with a data folder, in words that an operator can act on: which file, which offset, what was seen.

use thiserror::Error;

use super::disk::DiskError;
use crate::ids::Zxid;

/// Why storage cannot give back, or go on with, what it holds.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
pub enum StorageError {
    /// The device or the file system failed.
    #[error(transparent)]
    Disk(#[from] DiskError),
    /// Bytes that were durable are not what was written. Nothing was cut or changed.
    #[error("{file} is damaged at offset {offset}: {what}")]
    Damaged {
        /// File name within the data folder.
        file: String,
        /// Byte offset of the first thing that is wrong.
        offset: u64,
        /// What was found.
        what: String,
    },
    /// A file that must be there is not.
    #[error("{file} is missing (offset {offset}): {what}")]
    Missing {
        /// File name within the data folder.
        file: String,
        /// The offset within it up to which, or from which, it is known to be needed.
        offset: u64,
        /// Why it is known to have been there.
        what: String,
    },
    /// The files are sound, but do not fit together.
    #[error("{file} does not belong here (offset {offset}): {what}")]
    Foreign {
        /// File name within the data folder.
        file: String,
        /// Byte offset of the field that says so.
        offset: u64,
        /// What was found and what was expected.
        what: String,
    },
    /// A transaction of the log cannot be applied to the state before it.
    #[error("{file}: transaction {zxid} at offset {offset} cannot be applied: {what}")]
    Unusable {
        /// File name within the data folder.
        file: String,
        /// Byte offset of the record.
        offset: u64,
        /// Its zxid.
        zxid: Zxid,
        /// Why.
        what: String,
    },
}

impl StorageError {
    pub(crate) fn damaged(file: impl Into<String>, offset: u64, what: impl Into<String>) -> Self {
        Self::Damaged { file: file.into(), offset, what: what.into() }
    }

    /// The file that it is about.
    pub fn file(&self) -> &str {
        match self {
            Self::Disk(DiskError::Full { file } | DiskError::NotFound { file } | DiskError::Failed { file, .. })
            | Self::Damaged { file, .. }
            | Self::Missing { file, .. }
            | Self::Foreign { file, .. }
            | Self::Unusable { file, .. } => file,
        }
    }
}
