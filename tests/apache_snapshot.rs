//! What we send behind a SNAP packet, read by Apache's own classes as its learner reads it (`tests/apache_snapshot/Snap.java`).
//!
//! Where there is no Java compiler or no `zookeeper.jar` the fixture, which those classes made, is all there is: its tests are
//! `storage::apache`'s.

use std::fs;
use std::path::Path;
use std::process::Command;

use zoo_server::ids::Zxid;
use zoo_server::storage::apache::{Limits, SnapReader, SnapWriter};
use zoo_server::tree;
use zoo_server::tree::ephemeral_type::OwnerOptions;

#[test]
fn apache_reads_what_we_write() {
    let is_there = |command: &str| Command::new(command).arg("-version").output().is_ok();
    if !is_there("javac") || !is_there("java") || !Path::new("/usr/share/java/zookeeper.jar").exists() {
        println!("skipped: no Java, or no Apache ZooKeeper");
        return;
    }
    let here = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/apache_snapshot");
    let body = fs::read(here.join("apache.body")).expect("the fixture");
    let owners = OwnerOptions { extended_types: true, ..OwnerOptions::default() };
    let options = tree::Options { owners, ..tree::Options::default() };
    let mut reader = SnapReader::new(options, Zxid(0x1_0000_004a), Limits::default());
    reader.push(&body).expect("Apache wrote it");
    let (mut tree, sessions) = reader.finish().expect("it is complete");

    let scratch = tempfile::tempdir().expect("a folder");
    let mut ours = Vec::new();
    while SnapWriter::new(tree.cut(), sessions.clone().into_iter().collect()).fill(&mut ours, usize::MAX) {}
    assert_ne!(ours, body, "the order of the znodes is our own");
    let (written, text) = (scratch.path().join("body"), scratch.path().join("text"));
    fs::write(&written, &ours).expect("written");
    let run = Command::new(here.join("run")).arg("read").arg(&written).arg(&text).output().expect("it runs");
    assert!(run.status.success(), "Apache refuses it: {}", String::from_utf8_lossy(&run.stdout));
    let expected = fs::read_to_string(here.join("apache.txt")).expect("the fixture");
    assert_eq!(fs::read_to_string(&text).expect("written"), expected);
}
