//! On the file system beside the build: this is about O_DIRECT, which a tmpfs may refuse.

use std::thread;

use super::*;
use crate::rt::inbox;

fn folder() -> tempfile::TempDir {
    // Beside the build, not in /tmp: that may be a tmpfs, and this is about O_DIRECT.
    tempfile::tempdir_in(env!("CARGO_MANIFEST_DIR").to_owned() + "/target").expect("a scratch folder")
}

fn open(folder: &Path) -> Ring {
    Ring::open(folder, &Options::default()).expect("opens")
}

fn block(byte: u8, len: usize) -> BlockBuf {
    let mut block = BlockBuf::zeroed(len);
    block.bytes_mut().fill(byte);
    block
}

fn wait_for(ring: &mut Ring, count: usize) -> Vec<Completion> {
    let mut done = Vec::new();
    while done.len() < count {
        ring.wait(true, &mut done).expect("waits");
    }
    done
}

fn write_and_read_back(ring: &mut Ring) {
    let durability = ring.durability();
    let file = ring.create("log", 64 * 4096).expect("created");
    assert_eq!(ring.len(file).expect("a length"), 64 * 4096);
    for at in 0..UNDER_WAY_MAX as u64 {
        let operation = Operation::Write { offset: at * 4096, block: block(at as u8 + 1, 4096), durable: at % 2 == 0 };
        ring.submit(file, operation, at).expect("submitted");
    }
    let mut tokens: Vec<u64> = wait_for(ring, UNDER_WAY_MAX)
        .into_iter()
        .map(|completion| {
            completion.result.expect("written");
            let Took { write, sync } = completion.took;
            match (completion.token % 2 == 0, durability) {
                (false, _) => assert!(write.is_some() && sync.is_none(), "written, and not synced"),
                (true, Durability::WriteThrough) => assert!(write.is_none() && sync.is_some(), "both at once"),
                (true, Durability::WriteThenSync) => assert!(write.is_some() && sync.is_some(), "one by one"),
            }
            assert_eq!(completion.block.expect("the block comes back").bytes()[0], completion.token as u8 + 1);
            completion.token
        })
        .collect();
    tokens.sort_unstable();
    assert_eq!(tokens, (0..UNDER_WAY_MAX as u64).collect::<Vec<_>>());
    ring.submit(file, Operation::Sync, 99).expect("submitted");
    let done = wait_for(ring, 1);
    assert!(done[0].token == 99 && done[0].block.is_none() && done[0].result.is_ok());
    ring.sync_directory().expect("synced");

    // Any alignment, across blocks, and over the end.
    let mut bytes = vec![0; 4097];
    assert_eq!(ring.read(file, 4095, &mut bytes).expect("read"), 4097);
    assert_eq!((bytes[0], bytes[1], bytes[4096]), (1, 2, 2));
    assert_eq!(ring.read(file, 64 * 4096 - 7, &mut bytes).expect("read"), 7);
    assert_eq!(ring.read(file, 1 << 40, &mut bytes).expect("read"), 0);
    let mut all = vec![9; 64 * 4096];
    assert_eq!(ring.read(file, 0, &mut all).expect("read"), all.len());
    assert!(all[UNDER_WAY_MAX * 4096..].iter().all(|&byte| byte == 0), "reserved blocks read as zeros");

    ring.truncate(file, 5000).expect("cut");
    assert_eq!(ring.len(file).expect("a length"), 5000);
    assert_eq!(ring.read(file, 4096, &mut bytes).expect("read"), 904);
    ring.close(file);
    ring.rename("log", "old").expect("renamed");
    assert_eq!(ring.list().expect("listed"), [FileEntry { name: "old".to_owned(), len: 5000 }]);
    assert_eq!(ring.open("log").expect_err("gone"), DiskError::NotFound { file: "log".to_owned() });
    let again = ring.open("old").expect("opens");
    ring.remove("old").expect("removed");
    assert_eq!(ring.read(again, 0, &mut bytes[..1]).expect("open files stay usable"), 1);
    ring.close(again);
    assert!(ring.list().expect("listed").is_empty());
}

#[test]
fn writes_reads_and_names_with_direct_io() {
    let folder = folder();
    let mut ring = open(folder.path());
    write_and_read_back(&mut ring);
}

#[test]
fn writes_are_made_durable_in_either_way() {
    for durability in [Durability::WriteThrough, Durability::WriteThenSync] {
        let folder = folder();
        let options = Options { durability: Some(durability), ..Options::default() };
        write_and_read_back(&mut Ring::open(folder.path(), &options).expect("opens"));
    }
}

#[test]
fn writes_reads_and_names_without_direct_io() {
    let folder = folder();
    let mut ring = Ring::open(folder.path(), &Options { direct: false, ..Options::default() }).expect("opens");
    assert!(!ring.is_direct());
    write_and_read_back(&mut ring);
}

#[test]
fn snapshots_stand_in_their_own_folder_if_they_have_one() {
    let (log, data) = (folder(), folder());
    let options = Options { snapshot_folder: Some(data.path().to_owned()), ..Options::default() };
    let names = ["log.0000000000000001", "snapshot.0000000000000005", "currentEpoch", "log.marker"];
    {
        let mut ring = Ring::open(log.path(), &options).expect("opens");
        for name in names {
            let file = ring.create(&format!("{name}.tmp"), 4096).expect("created");
            ring.write_now(file, block(7, 4096)).expect("written");
            ring.close(file);
            ring.rename(&format!("{name}.tmp"), name).expect("renamed");
        }
        ring.sync_directory().expect("synced");
        let mut listed: Vec<String> = ring.list().expect("listed").into_iter().map(|entry| entry.name).collect();
        listed.sort();
        assert_eq!(listed, ["currentEpoch", "log.0000000000000001", "log.marker", "snapshot.0000000000000005"]);
        let file = ring.open("snapshot.0000000000000005").expect("opens");
        let mut bytes = [0; 9];
        assert_eq!((ring.read(file, 7, &mut bytes).expect("read"), bytes), (9, [7; 9]));
    }
    for (name, is_beside) in names.into_iter().zip([false, true, true, false]) {
        assert_eq!(data.path().join(name).exists(), is_beside, "{name}");
        assert_eq!(log.path().join(name).exists(), !is_beside, "{name}");
    }
    // Both are locked.
    let both = Ring::open(log.path(), &options).expect("opens");
    assert!(matches!(Ring::open(data.path(), &Options::default()), Err(OpenError::Locked { .. })));
    drop(both);
    // One folder by two names is one.
    let twice = Options { snapshot_folder: Some(log.path().join(".")), ..Options::default() };
    assert_eq!(Ring::open(log.path(), &twice).expect("opens").places.len(), 1);
    // What the operator left in the wrong one is not passed over.
    let error =
        Ring::open(data.path(), &Options { snapshot_folder: Some(log.path().to_owned()), ..Options::default() });
    let error = error.err().expect("refused").to_string();
    assert!(error.contains("snapshot.0000000000000005") && error.contains("dataDir"), "{error}");
}

#[test]
fn files_go_and_names_are_synced_in_the_background_in_both_folders() {
    let (log, data) = (folder(), folder());
    let options = Options { snapshot_folder: Some(data.path().to_owned()), ..Options::default() };
    let mut ring = Ring::open(log.path(), &options).expect("opens");
    let finish = |ring: &mut Ring, operation| {
        ring.submit_names(operation, 7).expect("submitted");
        let mut done = Vec::new();
        while done.is_empty() {
            ring.wait(true, &mut done).expect("waits");
        }
        assert_eq!((done.len(), done[0].token, done[0].block.is_none()), (1, 7, true));
        done.remove(0).result
    };
    let names = ["log.0000000000000001", "snapshot.0000000000000005"];
    for name in names {
        let file = ring.create(name, 4096).expect("created");
        ring.close(file);
    }
    assert_eq!(ring.places.iter().map(|place| place.is_changed).collect::<Vec<_>>(), [true; 2]);
    finish(&mut ring, NameOperation::Sync).expect("synced");
    assert_eq!(ring.places.iter().map(|place| place.is_changed).collect::<Vec<_>>(), [false; 2]);
    finish(&mut ring, NameOperation::Sync).expect("nothing to do");
    for name in names {
        finish(&mut ring, NameOperation::Remove(name.to_owned())).expect("removed");
        let gone = finish(&mut ring, NameOperation::Remove(name.to_owned()));
        assert_eq!(gone, Err(DiskError::NotFound { file: name.to_owned() }));
    }
    assert!(ring.list().expect("listed").is_empty());
    assert_eq!(ring.places.iter().map(|place| place.is_changed).collect::<Vec<_>>(), [true; 2]);
    // Dropped with one under way, it waits for that.
    ring.submit_names(NameOperation::Sync, 8).expect("submitted");
}

#[test]
fn both_ways_of_durability_write_the_same() {
    for durability in [Durability::WriteThrough, Durability::WriteThenSync] {
        let folder = folder();
        let options = Options { durability: Some(durability), ..Options::default() };
        let mut ring = Ring::open(folder.path(), &options).expect("opens");
        assert_eq!(ring.durability(), durability);
        write_and_read_back(&mut ring);
    }
}

#[test]
fn an_unknown_device_is_synced() {
    // Anonymous devices (overlay, btrfs, tmpfs) are not in sysfs.
    assert_eq!(Durability::of_device(libc::makedev(0, 12_345)), Durability::WriteThenSync);
}

#[test]
fn a_folder_has_one_owner_and_the_error_names_it() {
    let folder = folder();
    let first = open(folder.path());
    let error = Ring::open(folder.path(), &Options::default()).err().expect("locked").to_string();
    assert!(error.contains(&format!("process {}", std::process::id())), "{error}");
    drop(first);
    open(folder.path());
}

#[test]
fn a_folder_that_cannot_be_made_is_an_error() {
    let folder = folder();
    fs::write(folder.path().join("file"), "").expect("written");
    let error = Ring::open(&folder.path().join("file/data"), &Options::default()).err().expect("refused");
    assert!(matches!(error, OpenError::Folder { .. }), "{error}");
}

#[test]
fn a_file_is_created_once_and_leaves_nothing_if_it_does_not_fit() {
    let folder = folder();
    let mut ring = open(folder.path());
    ring.create("a", 4096).expect("created");
    assert!(matches!(ring.create("a", 4096), Err(DiskError::Failed { operation: "create", .. })));
    let error = ring.create("b", 1 << 50).expect_err("no disk is that big");
    assert!(matches!(error, DiskError::Full { .. } | DiskError::Failed { operation: "reserve", .. }), "{error}");
    assert_eq!(ring.list().expect("listed").len(), 1);
}

#[test]
fn the_doorbell_ends_a_wait_for_a_message() {
    let folder = folder();
    let mut ring = open(folder.path());
    let (sender, mut receiver) = inbox::channel(4);
    receiver.attach_doorbell(&ring.doorbell());
    let feeder = thread::spawn(move || {
        for message in 0..1000 {
            sender.send_blocking(message).expect("the receiver lives");
        }
    });
    let (mut batch, mut done) = (Vec::new(), Vec::new());
    while receiver.try_recv_many(&mut batch, 10).is_ok() {
        if !batch.len().is_multiple_of(10) || receiver.is_empty() {
            ring.wait(true, &mut done).expect("waits");
        }
    }
    assert_eq!(batch, (0..1000).collect::<Vec<_>>());
    assert!(done.is_empty());
    feeder.join().expect("sent");
}

#[test]
fn a_spinning_wait_sleeps_in_the_end() {
    let folder = folder();
    let options = Options { spin: Duration::from_micros(200), ..Options::default() };
    let mut ring = Ring::open(folder.path(), &options).expect("opens");
    let bell = ring.doorbell();
    let ringer = thread::spawn(move || {
        thread::sleep(Duration::from_millis(20));
        bell.ring();
    });
    ring.wait(true, &mut Vec::new()).expect("waits");
    ringer.join().expect("rang");
}

#[test]
fn no_room_is_told_from_other_failures() {
    for errno in [libc::ENOSPC, libc::EDQUOT] {
        let error = disk_error("write", "log", 4096, &io::Error::from_raw_os_error(errno));
        assert_eq!(error, DiskError::Full { file: "log".to_owned() });
    }
    let error = disk_error("write", "log", 4096, &io::Error::from_raw_os_error(libc::EIO)).to_string();
    assert!(error.contains("log") && error.contains("4096"), "{error}");
    // What a ring's worker threads end with that may not be started.
    let error = disk_error("sync", "log", 0, &io::Error::from_raw_os_error(libc::ECANCELED)).to_string();
    assert!(error.contains("limits of threads"), "{error}");
}

#[test]
fn a_write_that_fails_names_file_and_offset() {
    let folder = folder();
    let mut ring = open(folder.path());
    let file = ring.create("log", 4096).expect("created");
    // Over the largest offset that a file may have.
    let offset = i64::MAX as u64 & !0xFFF;
    ring.submit(file, Operation::Write { offset, block: block(1, 4096), durable: true }, 5).expect("submitted");
    let done = wait_for(&mut ring, 1);
    match &done[0].result {
        Err(DiskError::Failed { operation: "write", file, offset: at, .. }) => {
            assert_eq!((file.as_str(), *at), ("log", offset));
        }
        other => panic!("{other:?}"),
    }
}
