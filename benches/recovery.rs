//! How fast a folder comes back: from the log, and from a snapshot, at 100 thousand and at a million znodes of 100 bytes, with the
//! product's ring on the real file system.
//!
//! ```sh
//! cargo bench --bench recovery
//! ```

mod parts;

use std::path::Path;
use std::time::Duration;

use criterion::{BenchmarkId, Criterion, SamplingMode, Throughput};
use zoo_server::rt::ring::{self, Ring};
use zoo_server::storage::core::{Command, LogCore, Options, Report};
use zoo_server::storage::disk::Disk;
use zoo_server::storage::image::ImageSource;
use zoo_server::storage::log::BatchBuilder;
use zoo_server::storage::recovery;
use zoo_server::tree::{self, Tree};
use zoo_server::wire::txn::TxnRecord;

/// Records of a group commit.
const BATCH: usize = 5_000;

/// Waits until everything is durable and no snapshot is under way.
fn settle(core: &mut LogCore, disk: &mut Ring, is_done: impl Fn(&Report) -> bool) {
    let mut done = Vec::new();
    loop {
        let again = core.step(disk);
        while let Some(report) = core.poll_report() {
            assert!(!matches!(report, Report::Failed(_) | Report::SnapshotFailed { .. }), "{report:?}");
            if is_done(&report) {
                return;
            }
        }
        disk.wait(!again, &mut done).expect("the disk works");
        done.drain(..).for_each(|completion| core.complete(completion));
    }
}

/// A folder with so many znodes, in the log or in a snapshot with an empty log behind it.
fn fill(folder: &Path, znodes: usize, snapshot: bool) {
    let mut disk = Ring::open(folder, &ring::Options::default()).expect("the folder opens");
    let recovered = recovery::recover(&mut disk, &recovery::Options::default(), &mut |_| {}).expect("an empty folder");
    let mut core = LogCore::open(&mut disk, Options::default(), &recovered.tail, 1).expect("the log begins");
    let mut tree = Tree::new(tree::Options::default());
    let (mut builder, mut records, mut bytes) = (BatchBuilder::new(), 0, Vec::new());
    let mut changes = Vec::new();
    let mut append = |core: &mut LogCore, builder: &mut BatchBuilder| {
        let batch = std::mem::take(builder).finish().expect("records");
        let last = batch.last();
        core.handle(Command::Append(batch));
        settle(core, &mut disk, |report| *report == Report::Durable { through: last });
    };
    parts::creations(znodes, |header, txn| {
        if snapshot {
            tree.apply(header, txn, &mut changes);
            changes.clear();
        }
        // A snapshot's log may begin behind it, but never end before it: its last record stands in both.
        if !snapshot || header.zxid.0 > znodes as i64 {
            bytes.clear();
            TxnRecord { header: *header, txn: txn.clone(), digest: None }.encode(&mut bytes);
            builder.push(header.zxid, &bytes);
            records += 1;
            if records % BATCH == 0 {
                append(&mut core, &mut builder);
            }
        }
    });
    if !builder.is_empty() {
        append(&mut core, &mut builder);
    }
    if snapshot {
        core.handle(Command::Snapshot(Box::new(ImageSource::new(tree.cut(), Vec::new()))));
        settle(&mut core, &mut disk, |report| matches!(report, Report::SnapshotDone(_)));
    }
    core.handle(Command::Close);
    settle(&mut core, &mut disk, |report| *report == Report::Closed);
}

fn main() {
    let mut criterion = Criterion::default().configure_from_args();
    let mut group = criterion.benchmark_group("recovery");
    group.warm_up_time(Duration::from_millis(100)).measurement_time(Duration::from_secs(5)).sample_size(10);
    group.sampling_mode(SamplingMode::Flat);
    let scratch = tempfile::tempdir_in(concat!(env!("CARGO_MANIFEST_DIR"), "/target")).expect("a scratch folder");
    // As a trial, whatever the build: does it run at all.
    let is_trial = std::env::args().any(|argument| argument == "--test");
    for znodes in if is_trial { [1_000, 10_000] } else { [100_000, 1_000_000] } {
        for (name, snapshot) in [("from the log", false), ("from a snapshot", true)] {
            let folder = scratch.path().join(format!("{znodes}-{snapshot}"));
            let mut is_filled = false;
            group.throughput(Throughput::Elements(znodes as u64));
            group.bench_with_input(BenchmarkId::new(name, znodes), &znodes, |bencher, &znodes| {
                if !std::mem::replace(&mut is_filled, true) {
                    fill(&folder, znodes, snapshot);
                }
                let mut disk = Ring::open(&folder, &ring::Options::default()).expect("the folder opens");
                bencher.iter(|| {
                    let recovered = recovery::recover(&mut disk, &recovery::Options::default(), &mut |_| {});
                    let recovered = recovered.expect("a sound folder");
                    assert!(recovered.tree.view().node_count() > znodes, "znodes are missing");
                    recovered
                });
            });
        }
    }
    group.finish();
    criterion.final_summary();
}
