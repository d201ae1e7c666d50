//! Where the ensemble's configurations are kept when they change while the server runs: beside zoo.cfg, as Apache's server does,
//! so that either of the two can start from what the other one left.
//!
//! | file | holds |
//! |---|---|
//! | `zoo.cfg` | everything that does not change, and `dynamicConfigFile=` with the path of the next |
//! | `zoo.cfg.dynamic.<version>` | the configuration that holds: `server.N`, `group.N`, `weight.N`; the version, in hexadecimal, is in its name |
//! | `zoo.cfg.dynamic.next` | a newer one that is proposed, with its version; gone when it holds |
//! | `zoo.cfg.bak` | zoo.cfg as it was at the last start with the members in it |
//!
//! zoo.cfg is changed when the first configuration holds that came at runtime: the lines of members go, and those of the client
//! port if the configuration names it. Otherwise than Apache's server, this one keeps all other lines as they are, comments
//! included. Each file is written beside its place, synced, and moved there. Sources: `QuorumPeerConfig.writeDynamicConfig`,
//! `editStaticConfig`, `backupOldConfig`.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use super::error::Place;
use super::properties;
use crate::ids::ServerId;
use crate::quorum::Membership;
use crate::server::options::ConfigStore;

/// The files of one server.
#[derive(Debug)]
pub(super) struct DynamicFiles {
    /// zoo.cfg.
    static_file: PathBuf,
    my_id: ServerId,
    saved: Mutex<Saved>,
}

/// Versions of what the files hold.
#[derive(Debug)]
struct Saved {
    committed: i64,
    last_seen: Option<i64>,
}

/// The name of one of the files beside zoo.cfg.
fn beside(static_file: &Path, suffix: &str) -> PathBuf {
    let mut name = static_file.as_os_str().to_owned();
    name.push(suffix);
    name.into()
}

/// Where a configuration is that is proposed.
pub(super) fn next_file(static_file: &Path) -> PathBuf {
    beside(static_file, ".dynamic.next")
}

impl DynamicFiles {
    /// For a server that begins with these configurations.
    pub(super) fn new(
        static_file: PathBuf,
        my_id: ServerId,
        committed: &Membership,
        last_seen: Option<&Membership>,
    ) -> Self {
        let last_seen = last_seen.map(|last_seen| last_seen.version);
        Self { static_file, my_id, saved: Mutex::new(Saved { committed: committed.version, last_seen }) }
    }

    fn save_last_seen(&self, last_seen: Option<&Membership>) -> Result<(), String> {
        let file = next_file(&self.static_file);
        match last_seen {
            Some(membership) => write(&file, lines_of(membership, true).as_bytes()),
            None => match fs::remove_file(&file) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => {
                    Err(format!("{}: cannot be removed: {error}", file.display()))
                }
                _ => Ok(()),
            },
        }
    }

    fn save_committed(&self, membership: &Membership) -> Result<(), String> {
        let file = beside(&self.static_file, &format!(".dynamic.{:x}", membership.version));
        write(&file, lines_of(membership, false).as_bytes())?;
        let own = membership.members.get(&self.my_id);
        let erase = Erase {
            client: own.is_some_and(|own| own.client.is_some()),
            secure_client: own.is_some_and(|own| own.secure_client.is_some()),
        };
        let place = Place::File(self.static_file.clone());
        let bytes = fs::read(&self.static_file).map_err(|error| format!("{place}: cannot be read: {error}"))?;
        let dynamic = fs::canonicalize(&file).map_err(|error| format!("{}: {error}", file.display()))?;
        let edited = edit_static(&bytes, &dynamic, erase).map_err(|error| format!("{place}: {error}"))?;
        write(&self.static_file, &edited)
    }
}

impl ConfigStore for DynamicFiles {
    fn save(&self, committed: &Membership, last_seen: Option<&Membership>) -> Result<(), String> {
        let mut saved = self.saved.lock().unwrap_or_else(PoisonError::into_inner);
        // What is proposed comes first: if this ends between the two, both are known at the next start.
        let version = last_seen.map(|last_seen| last_seen.version);
        if version.is_some() && version != saved.last_seen {
            self.save_last_seen(last_seen)?;
            saved.last_seen = version;
        }
        if committed.version > saved.committed {
            self.save_committed(committed)?;
            saved.committed = committed.version;
        }
        if version.is_none() {
            self.save_last_seen(None)?;
            saved.last_seen = None;
        }
        Ok(())
    }
}

/// Which lines about clients go from zoo.cfg, because the configuration says it.
#[derive(Clone, Copy)]
struct Erase {
    client: bool,
    secure_client: bool,
}

impl Erase {
    fn erases(self, key: &str) -> bool {
        ["server.", "group", "weight", "dynamicConfigFile", "peerType"].iter().any(|prefix| key.starts_with(prefix))
            && !matches!(key, "server.principal" | "server.realm")
            || self.client && matches!(key, "clientPort" | "clientPortAddress")
            || self.secure_client && matches!(key, "secureClientPort" | "secureClientPortAddress")
    }
}

/// zoo.cfg without its members, and with the path of the file that has them.
fn edit_static(bytes: &[u8], dynamic: &Path, erase: Erase) -> Result<Vec<u8>, properties::MalformedEscape> {
    let mut lines = natural_lines(bytes);
    for entry in properties::parse(bytes)? {
        if erase.erases(entry.key.trim()) {
            for line in lines.iter_mut().take(entry.last_line).skip(entry.line - 1) {
                *line = &[];
            }
        }
    }
    let mut edited = lines.concat();
    if !edited.is_empty() && !edited.ends_with(b"\n") && !edited.ends_with(b"\r") {
        edited.push(b'\n');
    }
    edited.extend_from_slice(format!("dynamicConfigFile={}\n", escaped(&dynamic.to_string_lossy())).as_bytes());
    Ok(edited)
}

/// The lines of a file with their ends.
fn natural_lines(mut bytes: &[u8]) -> Vec<&[u8]> {
    let mut lines = Vec::new();
    while let Some(end) = bytes.iter().position(|&byte| byte == b'\n' || byte == b'\r') {
        let len = end + if bytes[end..].starts_with(b"\r\n") { 2 } else { 1 };
        lines.push(&bytes[..len]);
        bytes = &bytes[len..];
    }
    if !bytes.is_empty() {
        lines.push(bytes);
    }
    lines
}

/// A configuration as Apache writes it into a file: sorted as texts, the version only where it is not in the name.
fn lines_of(membership: &Membership, with_version: bool) -> String {
    let text = membership.to_text();
    let mut lines: Vec<String> =
        text.lines().filter(|line| with_version || !line.starts_with("version=")).map(escaped).collect();
    lines.sort_unstable();
    lines.join("\n")
}

/// As the value of a Properties file.
fn escaped(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    let mut units = [0; 2];
    for letter in text.chars() {
        match letter {
            '\\' => escaped.push_str("\\\\"),
            ' '..='~' => escaped.push(letter),
            other => other.encode_utf16(&mut units).iter().for_each(|unit| escaped.push_str(&format!("\\u{unit:04x}"))),
        }
    }
    escaped
}

/// Replaces a file as a whole, durably. A link stays one, and permissions stay what they are.
fn write(file: &Path, bytes: &[u8]) -> Result<(), String> {
    let problem = |what: &str, error: io::Error| format!("{}: cannot be {what}: {error}", file.display());
    let real = fs::canonicalize(file).unwrap_or_else(|_| file.to_owned());
    let beside = beside(&real, ".tmp");
    let mut written = File::create(&beside).map_err(|error| problem("written", error))?;
    if let Ok(about) = fs::metadata(&real) {
        written.set_permissions(about.permissions()).map_err(|error| problem("written", error))?;
    }
    written.write_all(bytes).and_then(|()| written.sync_all()).map_err(|error| problem("written", error))?;
    fs::rename(&beside, &real).map_err(|error| problem("replaced", error))?;
    let folder = real.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or_else(|| Path::new("."));
    File::open(folder).and_then(|folder| folder.sync_all()).map_err(|error| problem("synced", error))
}

/// Keeps zoo.cfg as it is, before a reconfiguration takes its members out.
pub(super) fn back_up(static_file: &Path) -> Result<(), String> {
    let bytes = fs::read(static_file).map_err(|error| format!("{}: cannot be read: {error}", static_file.display()))?;
    write(&beside(static_file, ".bak"), &bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    const CFG: &str = "# the ensemble\ntickTime=2000\r\nclientPort=2181\nserver.1=a:1:2;2181\nserver.2=b:\\\n  1:2;2181\n\
                       # kept\npeerType=participant\n  group.1=1:2\nserver.principal=x\nclientPortAddress=0.0.0.0\n\
                       secureClientPort=2281\ninitLimit=5";

    fn membership(text: &str) -> Membership {
        Membership::parse_text(text).unwrap()
    }

    #[test]
    fn the_members_leave_zoo_cfg_and_everything_else_stays() {
        let all = Erase { client: true, secure_client: false };
        let edited = edit_static(CFG.as_bytes(), Path::new("/etc/zoo.cfg.dynamic.5"), all).unwrap();
        assert_eq!(
            String::from_utf8(edited.clone()).unwrap(),
            "# the ensemble\ntickTime=2000\r\n# kept\nserver.principal=x\nsecureClientPort=2281\ninitLimit=5\n\
             dynamicConfigFile=/etc/zoo.cfg.dynamic.5\n"
        );
        // The next time only the path is another one.
        let again = edit_static(&edited, Path::new("/etc/ä\\zoo.cfg.dynamic.6"), all).unwrap();
        let again = String::from_utf8(again).unwrap();
        assert!(again.ends_with("initLimit=5\ndynamicConfigFile=/etc/\\u00e4\\\\zoo.cfg.dynamic.6\n"), "{again}");
        let none = Erase { client: false, secure_client: true };
        let edited = String::from_utf8(edit_static(CFG.as_bytes(), Path::new("/d"), none).unwrap()).unwrap();
        assert!(edited.contains("clientPort=2181\n") && !edited.contains("secureClientPort"), "{edited}");
    }

    #[test]
    fn files_come_and_go_as_configurations_do() {
        let folder = tempfile::tempdir().unwrap();
        let cfg = folder.path().join("zoo.cfg");
        fs::write(&cfg, CFG).unwrap();
        let first = membership("server.1=a:1:2;2181\nserver.2=b:1:2;2181");
        let second = membership("server.10=j:1:2;9\nserver.1=a:1:2;2181\nserver.2=b:1:2;2181\nversion=100000000");
        let files = DynamicFiles::new(cfg.clone(), ServerId(1), &first, None);
        let read = |name: &str| fs::read_to_string(folder.path().join(name)).ok();

        files.save(&first, Some(&second)).unwrap();
        let next = "server.10=j:1:2:participant;0.0.0.0:9\nserver.1=a:1:2:participant;0.0.0.0:2181\n\
                    server.2=b:1:2:participant;0.0.0.0:2181\nversion=100000000";
        assert_eq!(read("zoo.cfg.dynamic.next").as_deref(), Some(next));
        assert_eq!(read("zoo.cfg").as_deref(), Some(CFG), "nothing holds yet");

        files.save(&second, None).unwrap();
        assert_eq!(read("zoo.cfg.dynamic.next"), None);
        assert_eq!(read("zoo.cfg.dynamic.100000000").unwrap() + "\nversion=100000000", next);
        let place = fs::canonicalize(folder.path()).unwrap().join("zoo.cfg.dynamic.100000000");
        assert!(read("zoo.cfg").unwrap().ends_with(&format!("dynamicConfigFile={}\n", place.display())));

        // One that is given up leaves nothing behind.
        files.save(&second, Some(&Membership { version: 0x1_0000_0007, ..second.clone() })).unwrap();
        assert!(read("zoo.cfg.dynamic.next").unwrap().ends_with("version=100000007"));
        files.save(&second, None).unwrap();
        assert_eq!(read("zoo.cfg.dynamic.next"), None);
        let names: Vec<_> = fs::read_dir(folder.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        assert!(names.iter().all(|name| !name.to_string_lossy().ends_with(".tmp")), "{names:?}");
    }

    #[test]
    fn what_cannot_be_written_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let cfg = folder.path().join("missing").join("zoo.cfg");
        let first = membership("server.1=a:1:2;2181\nserver.2=b:1:2;2181");
        let files = DynamicFiles::new(cfg, ServerId(1), &first, None);
        let error = files.save(&Membership { version: 7, ..first.clone() }, None).unwrap_err();
        assert!(error.contains("zoo.cfg.dynamic.7: cannot be written"), "{error}");
        assert!(files.save(&first, Some(&Membership { version: 7, ..first.clone() })).is_err());
    }

    #[test]
    fn a_link_stays_one() {
        let folder = tempfile::tempdir().unwrap();
        let (real, link) = (folder.path().join("real.cfg"), folder.path().join("zoo.cfg"));
        fs::write(&real, "a=b\n").unwrap();
        std::os::unix::fs::symlink(&real, &link).unwrap();
        back_up(&link).unwrap();
        assert_eq!(fs::read_to_string(folder.path().join("zoo.cfg.bak")).unwrap(), "a=b\n");
        write(&link, b"c=d\n").unwrap();
        assert!(fs::symlink_metadata(&link).unwrap().is_symlink());
        assert_eq!(fs::read_to_string(&real).unwrap(), "c=d\n");
    }
}
