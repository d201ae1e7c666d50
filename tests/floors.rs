//! The house rules as a test: a room uses rooms on lower floors only, and what could make the cores unrepeatable (clocks,
//! files, sockets, randomly seeded maps) appears only in the rooms that are listed for it.

use std::fs;
use std::path::{Path, PathBuf};

/// Room and floor. A room may name rooms on lower floors only.
const FLOORS: &[(&str, u8)] = &[
    ("ids", 0),
    ("time", 0),
    ("wire", 1),
    ("tree", 2),
    ("session", 2),
    ("watch", 2),
    ("quorum", 2),
    ("latency", 2),
    ("storage", 3),
    ("pipeline", 3),
    ("election", 3),
    ("zab", 3),
    ("replica", 4),
    ("admin", 4),
    ("rt", 4),
    ("tls", 4),
    ("server", 5),
    ("config", 6),
    // The command line stands on the configuration that it reads.
    ("cli", 7),
];

/// Words that may appear only in the rooms listed: this keeps the cores replayable from a seed.
const CONFINED: &[(&str, &[&str])] = &[
    ("glommio::", &["rt"]),
    ("io_uring::", &["rt"]),
    ("std::net::Tcp", &["rt", "cli"]),
    ("std::fs", &["rt", "cli", "config"]),
    // Recovery decodes on several threads and joins them in order: the outcome does not depend on their timing.
    ("std::thread", &["rt", "server", "cli", "storage"]),
    ("std::env", &["rt", "cli", "config", "main"]),
    ("Instant::now", &["rt", "cli"]),
    ("SystemTime", &["rt", "cli"]),
    ("HashMap::new", &["rt", "server", "cli"]),
    ("HashSet::new", &["rt", "server", "cli"]),
    ("RandomState", &["rt"]),
    ("rand::", &[]),
];

/// Rooms (or files) that may hold `unsafe`, each block with its proof (clippy asks for it).
const UNSAFE: &[&str] = &["rt", "tree/map"];

/// The product's part of a source file: everything before its unit tests, without comments.
fn product_lines(text: &str) -> Vec<(usize, String)> {
    let mut lines = Vec::new();
    for (number, line) in text.lines().enumerate() {
        if line.trim_start().starts_with("#[cfg(test)]") {
            break;
        }
        let code = line.split("//").next().unwrap_or_default();
        if !code.trim().is_empty() {
            lines.push((number + 1, code.to_owned()));
        }
    }
    lines
}

fn sources(folder: &Path, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).expect("the source folder can be read") {
        let path = entry.expect("an entry of the source folder").path();
        if path.is_dir() {
            sources(&path, found);
        } else if path.extension().is_some_and(|extension| extension == "rs")
            && path.file_stem().is_none_or(|stem| stem != "tests")
        {
            found.push(path);
        }
    }
}

/// Every source file with its room and its path below `src`.
fn house() -> Vec<(String, String, String)> {
    let src = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut files = Vec::new();
    sources(&src, &mut files);
    files.sort();
    files
        .into_iter()
        .map(|path| {
            let below = path.strip_prefix(&src).expect("found below src").to_string_lossy().into_owned();
            let room = below.split('/').next().expect("a path has a first part").trim_end_matches(".rs").to_owned();
            (room, below, fs::read_to_string(&path).expect("a source file can be read"))
        })
        .collect()
}

#[test]
fn rooms_use_lower_floors_only() {
    let floor = |room: &str| FLOORS.iter().find(|(name, _)| *name == room).map(|(_, floor)| *floor);
    let mut faults = Vec::new();
    let mut files_seen = 0;
    for (room, below, text) in house() {
        if room == "lib" || room == "main" {
            continue;
        }
        files_seen += 1;
        let own = floor(&room).unwrap_or_else(|| panic!("{below}: a room that is on no floor: {room}"));
        for (number, line) in product_lines(&text) {
            for (other, other_floor) in FLOORS {
                let names_it =
                    line.contains(&format!("crate::{other}::")) || line.contains(&format!("crate::{other};"));
                if *other != room && names_it && *other_floor >= own {
                    faults.push(format!("{below}:{number}: {room} (floor {own}) names {other} (floor {other_floor})"));
                }
            }
        }
    }
    assert!(files_seen > 20, "only {files_seen} source files were found");
    assert!(faults.is_empty(), "\n{}", faults.join("\n"));
}

#[test]
fn what_breaks_replay_stays_in_its_rooms() {
    let mut faults = Vec::new();
    for (room, below, text) in house() {
        for (number, line) in product_lines(&text) {
            for (word, rooms) in CONFINED {
                if line.contains(word) && !rooms.contains(&room.as_str()) {
                    faults.push(format!("{below}:{number}: `{word}` in {room}; it may appear in {rooms:?}"));
                }
            }
        }
    }
    assert!(faults.is_empty(), "\n{}", faults.join("\n"));
}

#[test]
fn unsafe_stays_in_its_rooms() {
    let mut faults = Vec::new();
    for (_, below, text) in house() {
        for (number, line) in product_lines(&text) {
            let is_code = line.contains("unsafe {") || line.contains("unsafe fn") || line.contains("unsafe impl");
            if is_code && !UNSAFE.iter().any(|place| below.starts_with(place)) {
                faults.push(format!("{below}:{number}: unsafe"));
            }
        }
    }
    assert!(faults.is_empty(), "\n{}", faults.join("\n"));
}

#[test]
fn files_are_of_readable_length() {
    // The main state machines attract mass; a file that grows past this wants another room.
    const LINES_MAX: usize = 900;
    let long: Vec<_> = house()
        .into_iter()
        .map(|(_, below, text)| (below, text.lines().count()))
        .filter(|(_, lines)| *lines > LINES_MAX)
        .collect();
    assert!(long.is_empty(), "{long:?}");
}
