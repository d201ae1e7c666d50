//! How fast a million znodes come back from a snapshot and from the log, alone and with threads. A measurement, not a test:
//! `cargo test --release --test recovery_speed -- --ignored --nocapture`.

use std::time::Instant;

use zoo_server::ids::{SessionId, Zxid};
use zoo_server::storage::core::{Command, LogCore, Options, Report};
use zoo_server::storage::disk::Disk;
use zoo_server::storage::image::ImageSource;
use zoo_server::storage::log::BatchBuilder;
use zoo_server::storage::recovery::{self, Recovered};
use zoo_server::storage::sim_disk::SimDisk;
use zoo_server::storage::snapshot::snapshot_name;
use zoo_server::time::WallTime;
use zoo_server::tree::Tree;
use zoo_server::wire::acl::AclList;
use zoo_server::wire::op::OpCode;
use zoo_server::wire::txn::{CreateKind, CreateTxn, Txn, TxnHeader, TxnRecord};

const ZNODES: i64 = 1_000_000;

fn settle(core: &mut LogCore, disk: &mut SimDisk) {
    let mut done = Vec::new();
    loop {
        let again = core.step(disk);
        while let Some(report) = core.poll_report() {
            assert!(!matches!(report, Report::Failed(_) | Report::SnapshotFailed { .. }), "{report:?}");
        }
        disk.wait(true, &mut done).expect("no fault");
        if done.is_empty() && !again {
            return;
        }
        done.drain(..).for_each(|completion| core.complete(completion));
    }
}

fn recover(disk: &SimDisk, threads: usize, what: &str) -> Recovered {
    let options = recovery::Options { threads, ..recovery::Options::default() };
    let start = Instant::now();
    let recovered = recovery::recover(&mut disk.clone(), &options, &mut |_| {}).expect("a sound folder");
    println!("{what}, {threads} threads beside: {:?}", start.elapsed());
    assert_eq!(recovered.tree.view().zxid(), Zxid(ZNODES));
    recovered
}

fn append(core: &mut LogCore, disk: &mut SimDisk, tree: &mut Tree) {
    let data = [7; 100];
    let mut builder = BatchBuilder::new();
    let mut bytes = Vec::new();
    for number in 1..=ZNODES {
        let path = match number % 1000 {
            1 => format!("/dir-{}", number / 1000),
            _ => format!("/dir-{}/node-{number}", (number - 1) / 1000),
        };
        let parent_cversion = if number % 1000 == 1 { number / 1000 + 1 } else { (number - 1) % 1000 } as i32;
        let kind = CreateKind::Persistent;
        let txn =
            Txn::Create(CreateTxn { path: path.into(), data: Some(&data), acl: AclList::OPEN, kind, parent_cversion });
        let zxid = Zxid(number);
        let header = TxnHeader { session: SessionId(1), cxid: 0, zxid, time: WallTime(number), op: OpCode::CREATE };
        tree.apply(&header, &txn, &mut Vec::new());
        bytes.clear();
        TxnRecord { header, txn, digest: None }.encode(&mut bytes);
        builder.push(zxid, &bytes);
        if number % 500 == 0 {
            let full = std::mem::take(&mut builder);
            core.handle(Command::Append(full.finish().expect("some records")));
            settle(core, disk);
        }
    }
}

#[test]
#[ignore = "a measurement"]
fn a_million_znodes_come_back() {
    let mut disk = SimDisk::new(1);
    let recovered = recovery::recover(&mut disk.clone(), &recovery::Options::default(), &mut |_| {});
    let Recovered { mut tree, tail, .. } = recovered.expect("an empty folder");
    let mut core = LogCore::open(&mut disk, Options::default(), &tail, 1).expect("no fault");
    let start = Instant::now();
    append(&mut core, &mut disk, &mut tree);
    println!("applied and appended: {:?}, {} MiB of files", start.elapsed(), disk.used() >> 20);
    recover(&disk, 0, "from the log");
    recover(&disk, 1, "from the log");
    let start = Instant::now();
    core.handle(Command::Snapshot(Box::new(ImageSource::new(tree.cut(), Vec::new()))));
    settle(&mut core, &mut disk);
    println!("snapshot written and checked: {:?}", start.elapsed());
    let len = disk.files()[&snapshot_name(Zxid(ZNODES))].len();
    println!("snapshot: {} MiB", len >> 20);
    for threads in [0, 1, 2] {
        let recovered = recover(&disk, threads, "from the snapshot");
        assert_eq!(recovered.tree.view().digest(), tree.view().digest());
    }
}
