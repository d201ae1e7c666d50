//! What an operator can do about a server that does not start.

use std::fmt::Display;
use std::io;

use super::run::{Failure, folders};
use super::{EXIT_DATA, EXIT_FAILED};
use crate::config::Config;
use crate::rt::listener::BindError;
use crate::rt::ring::OpenError;
use crate::server::node::StartError;
use crate::storage::StorageError;
use crate::storage::disk::DiskError;

/// What is said about it, and the code to end with.
pub(super) fn start_failed(error: &StartError, config: &Config) -> Failure {
    let (code, place, advice) = match error {
        StartError::Bind(error) => (EXIT_FAILED, None, Some(bind(error).to_owned())),
        // These name the folder themselves.
        StartError::Folder(error) => (EXIT_DATA, None, folder(error).map(str::to_owned)),
        StartError::Storage(error) => (EXIT_DATA, Some(folders(config)), Some(storage(error, config))),
        StartError::Executor(_) | StartError::Thread(_) => (EXIT_FAILED, None, None),
    };
    Failure::new(code, error, place.as_ref().map(|place| place as &dyn Display), advice.as_deref())
}

fn bind(error: &BindError) -> &'static str {
    match error {
        BindError::InUse { .. } => {
            "stop what listens there, or set another port (clientPort, secureClientPort, or those of server.N)"
        }
        BindError::Forbidden { .. } => {
            "set a port from 1024 up, or let the server's user listen below (CAP_NET_BIND_SERVICE)"
        }
        BindError::NoSuchAddress { .. } => "name an address of this machine, or 0.0.0.0 for all of them",
        BindError::Name { .. } => "name an address of this machine, or one that its resolver knows",
        BindError::Other { .. } => "set another address or port",
    }
}

fn folder(error: &OpenError) -> Option<&'static str> {
    match error {
        OpenError::Locked { .. } => Some("end that server, or name another dataDir (and dataLogDir)"),
        OpenError::Folder { source, .. } => Some(match source.kind() {
            io::ErrorKind::PermissionDenied => {
                "let the server's user read and write the folder and every file in it (chown -R)"
            }
            io::ErrorKind::ReadOnlyFilesystem => "mount the file system so that it can be written to",
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => "make room",
            _ => "see to it that the server's user can read and write there; the kernel's log (dmesg) may say more",
        }),
        OpenError::Rotten { .. } => Some("replace the disk, or name another dataDir (and dataLogDir)"),
        // What to do is part of what they say.
        OpenError::Uring(_) | OpenError::Misplaced { .. } => None,
    }
}

fn storage(error: &StorageError, config: &Config) -> String {
    match error {
        StorageError::Disk(DiskError::Full { .. }) => return "make room on the disk".to_owned(),
        StorageError::Disk(_) => return "see what the kernel's log (dmesg) says of the disk".to_owned(),
        StorageError::Damaged { .. }
        | StorageError::Missing { .. }
        | StorageError::Foreign { .. }
        | StorageError::Unusable { .. } => {}
    }
    let (log, snapshots) = (config.storage.data_log_dir.display(), config.storage.data_dir.display());
    let mut text = format!(
        "nothing was changed; `zoo-server log verify {log}` and `zoo-server snapshot verify {snapshots}` show what is whole. "
    );
    text += match &config.quorum {
        None => "Bring the folder back from a copy",
        Some(_) => "Move the folder away: an empty server gets everything from the others, if they are a quorum",
    };
    if !config.storage.force_sync {
        text += ". With forceSync=no a power failure does this: what is behind the damage had been acknowledged, and is lost";
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Machine, Source, load};

    #[test]
    fn what_to_do_depends_on_what_is_there() {
        let config = |more: &[(&str, &str)]| {
            let settings = [("dataDir", "/d")];
            let settings = settings.iter().chain(more);
            let settings: Vec<_> = settings.map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
            load(&Source::Default, &settings, &Machine::with_cores([0])).unwrap()
        };
        let damaged = StorageError::damaged("log.0000000000000001", 8192, "its checksum is wrong");
        let text = storage(&damaged, &config(&[]));
        assert!(text.contains("zoo-server log verify /d`") && text.contains("from a copy"), "{text}");
        assert!(!text.contains("forceSync"), "{text}");
        let text = storage(&damaged, &config(&[("forceSync", "no")]));
        assert!(text.contains("With forceSync=no a power failure does this"), "{text}");
        let full = StorageError::Disk(DiskError::Full { file: "log.0000000000000001".to_owned() });
        assert_eq!(storage(&full, &config(&[])), "make room on the disk");
    }
}
