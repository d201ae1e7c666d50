//! The data folders: where ours lie, which server's they are (`myid`), and whether it is safe to start on them.
//!
//! Our files have a format of their own, so they lie in `zoo-1` beside Apache's `version-2`, and either server may come back
//! to its own. Where Apache has data and we have none, starting would serve an empty tree in place of the operator's: that
//! is refused.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use super::error::{ConfigError, ErrorKind, Place};
use crate::storage::log::segment_sequence;
use crate::storage::snapshot::format::snapshot_zxid;

/// The folder of our files, in `dataDir` and `dataLogDir`.
pub const FOLDER: &str = "zoo-1";

/// The folder of Apache's.
const APACHE_FOLDER: &str = "version-2";

/// The file with which an operator says that an empty server is a new one.
const INITIALIZE: &str = "initialize";

/// The file beside the snapshots that says that there is a log, wherever it lies.
const LOG_EXPECTED: &str = "has-log";

/// The folder of our files in `dir`.
pub fn folder(dir: &Path) -> PathBuf {
    dir.join(FOLDER)
}

/// The server's number from `myid`, whose first line it is; `None` if there is no such file (one server needs none).
pub(super) fn read_my_id(data_dir: &Path) -> Result<Option<i64>, ConfigError> {
    let path = data_dir.join("myid");
    let text = match fs::read(&path) {
        Ok(bytes) => String::from_utf8_lossy(&bytes).into_owned(),
        // That `dataDir` is no folder is said when it is made.
        Err(error)
            if matches!(
                error.kind(),
                io::ErrorKind::NotFound | io::ErrorKind::IsADirectory | io::ErrorKind::NotADirectory
            ) =>
        {
            return Ok(None);
        }
        Err(error) => {
            return Err(ConfigError::new(
                ErrorKind::Unreadable,
                format!("cannot be read: {error}"),
                "let the server's user read it",
            )
            .at(Some(Place::File(path))));
        }
    };
    let line = text.lines().next().unwrap_or_default().trim();
    line.parse().map(Some).map_err(|_| {
        ConfigError::new(
            ErrorKind::Value,
            format!("\"{line}\" is not a server's number"),
            "write the N of this server's server.N line into it, and nothing else",
        )
        .at(Some(Place::File(path)))
    })
}

/// Makes our folders where they are missing and returns them: snapshots', log's.
///
/// Refuses where Apache has data and we have none, and, without `autocreate`, where `dataDir` or `dataLogDir` is missing.
pub fn prepare(data_dir: &Path, data_log_dir: &Path, autocreate: bool) -> Result<(PathBuf, PathBuf), ConfigError> {
    let (data, log) = (folder(data_dir), folder(data_log_dir));
    if !data.exists() && !log.exists() {
        for dir in [data_dir, data_log_dir] {
            if let Some(file) = apache_data(&dir.join(APACHE_FOLDER)) {
                return Err(ConfigError::new(
                    ErrorKind::ApacheData,
                    "holds the data of an Apache ZooKeeper server, which this server does not read in place",
                    format!(
                        "name another dataDir to begin with an empty tree. To take the data over it has to be imported, which \
                         is not built yet: {} stays as it is until then",
                        dir.join(APACHE_FOLDER).display()
                    ),
                )
                .at(Some(Place::File(file))));
            }
        }
    }
    for dir in [data_dir, data_log_dir] {
        if !autocreate && !dir.is_dir() {
            return Err(ConfigError::new(
                ErrorKind::DataFolder,
                "is not a folder, and zookeeper.datadir.autocreate=false forbids to make it",
                "mount or make it, or name another dataDir",
            )
            .at(Some(Place::File(dir.to_owned()))));
        }
    }
    for dir in [&data, &log] {
        fs::create_dir_all(dir).map_err(|error| {
            ConfigError::new(
                ErrorKind::DataFolder,
                format!("cannot be made: {error}"),
                "let the server's user write there, or name another dataDir",
            )
            .at(Some(Place::File(dir.clone())))
        })?;
    }
    Ok((data, log))
}

/// Takes the file `initialize` in `dataDir` away; whether there was one. With it an operator says that what is missing is not lost:
/// for [`check_log`] and [`check_voter`], at this start only (so does Apache's `FileTxnSnapLog`, at every start).
pub fn take_initialize(data_dir: &Path) -> Result<bool, ConfigError> {
    let marker = data_dir.join(INITIALIZE);
    match fs::remove_file(&marker) {
        Ok(()) => Ok(true),
        Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => Ok(false),
        Err(error) => {
            let problem = format!("cannot be removed: {error}");
            Err(ConfigError::new(ErrorKind::DataFolder, problem, "let the server's user remove it")
                .at(Some(Place::File(marker))))
        }
    }
}

/// Whether a member that has no data may vote: the operator says so ([`take_initialize`]), or by leaving `db.autocreate` at true.
/// Where neither is so, a voter without data is one that lost them, and its vote could elect a leader that has lost what others
/// were promised (ZOOKEEPER-2325): that is refused. To be called behind [`prepare`].
///
/// Apache's server would wait for a leader elected by the others, and take its data from it; here the operator says so.
pub fn check_voter(
    data_dir: &Path,
    data_log_dir: &Path,
    is_marked: bool,
    db_autocreate: bool,
) -> Result<(), ConfigError> {
    let has_data = |dir: &Path| !names(dir).is_empty();
    if is_marked || db_autocreate || has_data(data_dir) || has_data(data_log_dir) {
        return Ok(());
    }
    let marker = data_dir.join(INITIALIZE);
    Err(ConfigError::new(
        ErrorKind::DataFolder,
        "is empty, and db.autocreate=false: a server that has lost its data must not vote",
        format!("if it is new, or the others have all the data, make the file {} and start again", marker.display()),
    )
    .at(Some(Place::File(folder(data_dir)))))
}

/// Whether the log is there, if there ever was one. A `dataLogDir` that is not mounted is an empty folder: a server that started
/// on it would come back with the state of its newest snapshot, or with none, and as a voter elect others that have as little.
///
/// A log that is used is never without a segment: purging leaves the one in use, and whatever replaces or cuts the log makes the
/// new segment before the old ones go. So snapshots alone were put there by hand, or the log is lost, and the operator says
/// which ([`take_initialize`]). To be called behind [`prepare`].
pub fn check_log(data_dir: &Path, data_log_dir: &Path, is_marked: bool) -> Result<(), ConfigError> {
    let expected = folder(data_dir).join(LOG_EXPECTED);
    // Segments beside the snapshots that should be elsewhere are refused with better advice when the disk is opened.
    if is_marked || has_segment(data_log_dir) || has_segment(data_dir) {
        return Ok(());
    }
    let has_snapshot = names(data_dir).iter().any(|name| snapshot_zxid(name).is_some());
    if !has_snapshot && !expected.exists() {
        return Ok(());
    }
    Err(ConfigError::new(
        ErrorKind::DataFolder,
        format!("holds no log, and {} says that there was one", folder(data_dir).display()),
        format!(
            "look whether dataLogDir is the right one and mounted; if it is gone for good or a snapshot was put there by hand, \
             make the file {} and start again",
            data_dir.join(INITIALIZE).display()
        ),
    )
    .at(Some(Place::File(folder(data_log_dir)))))
}

/// Leaves beside the snapshots that there is a log, for [`check_log`]: to be called when the server has its log, as the name may not
/// promise one that was never made. That it cannot be left is no reason not to serve.
pub fn expect_log(data_dir: &Path, data_log_dir: &Path) {
    let expected = folder(data_dir).join(LOG_EXPECTED);
    if has_segment(data_log_dir)
        && !expected.exists()
        && let Err(error) = fs::write(&expected, "")
    {
        tracing::warn!(file = %expected.display(), %error, "cannot be written: a log that is not mounted may go unnoticed");
    }
}

/// The names of our files in `dir`.
fn names(dir: &Path) -> Vec<String> {
    let entries = fs::read_dir(folder(dir)).into_iter().flatten().flatten();
    entries.map(|entry| entry.file_name().to_string_lossy().into_owned()).collect()
}

fn has_segment(dir: &Path) -> bool {
    names(dir).iter().any(|name| segment_sequence(name).is_some())
}

/// A snapshot or log of Apache's in `folder`, if there is one.
fn apache_data(folder: &Path) -> Option<PathBuf> {
    let entries = fs::read_dir(folder).ok()?;
    entries.flatten().map(|entry| entry.path()).find(|path| {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        name.starts_with("snapshot.") || name.starts_with("log.")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn our_folders_are_made_and_found_again() {
        let dir = tempfile::tempdir().unwrap();
        let (data, log) = (dir.path().join("a/data"), dir.path().join("log"));
        assert_eq!(prepare(&data, &data, false).unwrap_err().kind, ErrorKind::DataFolder);
        let folders = prepare(&data, &log, true).unwrap();
        assert_eq!(folders, (data.join("zoo-1"), log.join("zoo-1")));
        assert!(folders.0.is_dir() && folders.1.is_dir());
        assert_eq!(prepare(&data, &log, false).unwrap(), folders);
    }

    /// 3056, 3644, 3781: an upgrade must not begin with an empty tree where there are data that it does not read.
    #[test]
    fn apaches_data_is_not_passed_over() {
        let dir = tempfile::tempdir().unwrap();
        let apache = dir.path().join("version-2");
        fs::create_dir(&apache).unwrap();
        fs::write(apache.join("currentEpoch"), "1").unwrap();
        assert_eq!(apache_data(&apache), None, "no data yet");
        fs::write(apache.join("log.1"), "ZKLG").unwrap();
        let error = prepare(dir.path(), dir.path(), true).unwrap_err();
        assert_eq!(error.kind, ErrorKind::ApacheData);
        assert!(error.to_string().contains("version-2/log.1: holds the data of an Apache"), "{error}");
        assert!(!dir.path().join(FOLDER).exists(), "nothing is made before the refusal");

        let elsewhere = tempfile::tempdir().unwrap();
        assert_eq!(
            prepare(elsewhere.path(), dir.path(), true).unwrap_err().kind,
            ErrorKind::ApacheData,
            "dataLogDir too"
        );

        fs::create_dir(dir.path().join(FOLDER)).unwrap();
        prepare(dir.path(), dir.path(), true).expect("with data of our own, Apache's is history");
    }

    /// 2325, for a folder of the log's own that is not mounted.
    #[test]
    fn a_server_whose_log_is_gone_is_not_started() {
        let (data, log) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let check = |is_marked| check_log(data.path(), log.path(), is_marked);
        prepare(data.path(), log.path(), true).unwrap();
        check(false).expect("a new server");
        expect_log(data.path(), log.path());
        check(false).expect("one that failed before it had a log");
        let segment = log.path().join("zoo-1/log.0000000000000001");
        fs::write(&segment, "").unwrap();
        check(false).expect("its log is there");
        expect_log(data.path(), log.path());
        fs::rename(&segment, log.path().join("elsewhere")).unwrap();
        for _ in 0..2 {
            let error = check(false).unwrap_err();
            assert_eq!(error.kind, ErrorKind::DataFolder);
            assert!(error.to_string().contains("zoo-1: holds no log"), "{error}");
        }
        check(true).expect("the operator says that it is gone for good");
        fs::rename(log.path().join("elsewhere"), &segment).unwrap();
        check(false).expect("mounted again");
    }

    #[test]
    fn a_snapshot_without_a_log_is_the_operators_word_away_from_being_served() {
        let dir = tempfile::tempdir().unwrap();
        let check = |is_marked| check_log(dir.path(), dir.path(), is_marked);
        prepare(dir.path(), dir.path(), true).unwrap();
        fs::write(dir.path().join("zoo-1/snapshot.0000000100000005"), "").unwrap();
        check(false).expect_err("a snapshot is written of a log");
        check(true).expect("it was put there by hand");
        fs::write(dir.path().join("zoo-1/log.0000000000000007"), "").unwrap();
        check(false).expect("a log whose older segments were purged");
        let log = tempfile::tempdir().unwrap();
        prepare(dir.path(), log.path(), true).unwrap();
        check_log(dir.path(), log.path(), false)
            .expect("dataLogDir is new: opening the disk says where the segments have to go");
    }

    #[test]
    fn the_operators_word_holds_once() {
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(take_initialize(dir.path()), Ok(false));
        assert_eq!(take_initialize(&dir.path().join("missing")), Ok(false));
        fs::write(dir.path().join("initialize"), "").unwrap();
        assert_eq!(take_initialize(dir.path()), Ok(true));
        assert_eq!(take_initialize(dir.path()), Ok(false));
    }

    #[test]
    fn zookeeper_2325_a_voter_that_lost_its_data_is_not_started() {
        let dir = tempfile::tempdir().unwrap();
        let check = |is_marked, autocreate| check_voter(dir.path(), dir.path(), is_marked, autocreate);
        prepare(dir.path(), dir.path(), true).unwrap();
        check(false, true).expect("by default an empty server votes");
        let error = check(false, false).unwrap_err();
        assert_eq!(error.kind, ErrorKind::DataFolder);
        assert!(error.to_string().contains("must not vote"), "{error}");
        check(true, false).expect("the operator says that it is new");
        fs::write(dir.path().join("zoo-1/log"), "").unwrap();
        check(false, false).expect("it has data");
    }

    #[test]
    fn my_id() {
        let dir = tempfile::tempdir().unwrap();
        assert_eq!(read_my_id(dir.path()), Ok(None));
        fs::write(dir.path().join("myid"), "3\n").unwrap();
        assert_eq!(read_my_id(dir.path()), Ok(Some(3)));
        fs::write(dir.path().join("myid"), "three\n").unwrap();
        let error = read_my_id(dir.path()).unwrap_err().to_string();
        assert!(error.contains("myid: \"three\" is not a server's number"), "{error}");
    }
}
