//! The log on a real folder: the product's own log core and ring.
//!
//! ```sh
//! cargo bench --bench log                                   # criterion: a group commit by the number of records in it
//! cargo bench --bench log -- append --frame 65536 --seconds 2 --folder /var/tmp/x    # one figure, as a line of JSON
//! cargo bench --bench log -- read --folder /var/tmp/x
//! ```
//!
//! `fio-profiles/run` calls the latter two, in turn with fio.

mod drive;

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use clap::{Parser, Subcommand, ValueEnum};
use criterion::{BenchmarkId, Criterion, Throughput};
use zoo_server::rt::interrupts::core_of_disk;
use zoo_server::rt::limits::spawn_thread;
use zoo_server::rt::ring::Durability;
use zoo_server::storage::core::Options;
use zoo_server::storage::log::segment_name;

use drive::{Log, Measured, Plan, WARM_UP_FRAMES, measure};

#[derive(Parser)]
struct Args {
    #[command(subcommand)]
    work: Work,
    /// Passed by cargo; without meaning here.
    #[arg(long, hide = true, global = true)]
    bench: bool,
}

#[derive(Subcommand)]
enum Work {
    /// Appends frames of one length as fast as they become durable.
    Append {
        /// An empty or new folder; left as it is.
        #[arg(long)]
        folder: PathBuf,
        /// Bytes of a frame, a multiple of 4096.
        #[arg(long, default_value_t = 4096)]
        frame: usize,
        /// How long, after a warm-up.
        #[arg(long, default_value_t = 2.0)]
        seconds: f64,
        /// How many batches wait in the core's queue while a frame is under way: 0 is a lone writer.
        #[arg(long, default_value_t = 1)]
        ahead: usize,
        /// How writes are made durable, if not as suits the device.
        #[arg(long)]
        form: Option<Form>,
        /// Length of a segment, bytes.
        #[arg(long, default_value_t = Options::default().segment_len)]
        segment: u64,
        /// Append to segments that were written with zeros before, and end before the first is full.
        #[arg(long)]
        prepared: bool,
        /// Write snapshots of so many MiB meanwhile, one behind the other.
        #[arg(long)]
        snapshot_mib: Option<u64>,
    },
    /// Reads a segment as recovery does, again and again.
    Read {
        /// An empty or new folder; left as it is.
        #[arg(long)]
        folder: PathBuf,
        /// How long.
        #[arg(long, default_value_t = 2.0)]
        seconds: f64,
    },
}

#[derive(Clone, Copy, ValueEnum)]
enum Form {
    /// RWF_DSYNC on the write.
    Dsync,
    /// The write, then fdatasync.
    Fdatasync,
}

fn main() {
    let arguments: Vec<String> = std::env::args().collect();
    if !arguments.iter().any(|argument| argument == "append" || argument == "read" || argument == "help") {
        return criterion();
    }
    let work = Args::parse().work;
    let (Work::Append { folder, .. } | Work::Read { folder, .. }) = &work;
    // Where the server has its log thread: on the core that the disk interrupts, if it is only one. Elsewhere each completion has
    // to wake another core, and the kernel lets a thread of real-time priority stay where it began.
    let core = core_of_disk(folder);
    spawn_thread("zoo-log", core, move || run(work)).expect("a thread can begin").join().expect("it ends");
}

fn run(work: Work) {
    match work {
        Work::Append { folder, frame, seconds, ahead, form, segment, prepared, snapshot_mib } => {
            let form = form.map(|form| match form {
                Form::Dsync => Durability::WriteThrough,
                Form::Fdatasync => Durability::WriteThenSync,
            });
            let mut log = Log::begin(&folder, form, Options { segment_len: segment, ..Options::default() });
            let mut plan = Plan {
                frame_len: frame,
                ahead,
                warm_up: WARM_UP_FRAMES,
                time: Duration::from_secs_f64(seconds),
                frames_max: usize::MAX,
                snapshots: snapshot_mib.map(|mib| mib << 20),
            };
            if prepared {
                let first = log.batch_of_records(1);
                log.append(first);
                log.wait();
                log.settle();
                plan.warm_up = 16;
                // With the second segment in use, a third would be prepared.
                plan.frames_max = (segment as usize - (1 << 20)) / frame;
            }
            let measured = measure(&mut log, plan);
            print(&log, frame, &measured);
        }
        Work::Read { folder, seconds } => read(&folder, Duration::from_secs_f64(seconds)),
    }
}

fn print(log: &Log, frame: usize, measured: &Measured) {
    let Measured { frames, took, gaps } = measured;
    let rate = *frames as f64 / took.as_secs_f64();
    let at = |share: f64| gaps[((gaps.len() - 1) as f64 * share) as usize].as_secs_f64() * 1e6;
    let json = serde_json::json!({
        "frame": frame,
        "durability": format!("{:?}", log.durability()),
        "frames": frames,
        "seconds": took.as_secs_f64(),
        "frames_per_second": rate,
        "bytes_per_second": rate * frame as f64,
        "records_share": drive::records_len_of(frame) as f64 / frame as f64,
        "us_p50": at(0.5),
        "us_p99": at(0.99),
        "snapshots": log.snapshots_done(),
    });
    println!("{json}");
}

fn read(folder: &Path, time: Duration) {
    let mut log = Log::begin(folder, None, Options::default());
    // More than a segment's worth, so that the first is full.
    let plan = Plan {
        frame_len: 1 << 20,
        ahead: 1,
        warm_up: 100,
        time: Duration::ZERO,
        frames_max: usize::MAX,
        snapshots: None,
    };
    measure(&mut log, plan);
    let (mut buffer, mut bytes) = (Vec::new(), 0);
    let first = (1..).map(segment_name).find(|name| folder.join(name).exists()).expect("a segment is there");
    log.read_whole(&first, &mut buffer);
    let start = Instant::now();
    while start.elapsed() < time {
        bytes += log.read_whole(&first, &mut buffer);
    }
    let rate = bytes as f64 / start.elapsed().as_secs_f64();
    println!("{}", serde_json::json!({ "bytes_per_second": rate, "bytes": bytes }));
}

/// Group commits of so many records each, one at a time, each until it is durable.
fn criterion() {
    let mut criterion = Criterion::default().configure_from_args();
    let mut group = criterion.benchmark_group("log/group_commit");
    group.warm_up_time(Duration::from_millis(500)).measurement_time(Duration::from_secs(2)).sample_size(10);
    let scratch = tempfile::tempdir_in(concat!(env!("CARGO_MANIFEST_DIR"), "/target")).expect("a scratch folder");
    for records in [1, 10, 100, 1_000, 5_000] {
        let mut log = Log::begin(&scratch.path().join(records.to_string()), None, Options::default());
        for _ in 0..WARM_UP_FRAMES {
            let batch = log.batch_of_records(records);
            log.append(batch);
            log.wait();
        }
        let mut commits = 0;
        group.throughput(Throughput::Elements(records as u64));
        group.bench_with_input(BenchmarkId::from_parameter(records), &records, |bencher, &records| {
            bencher.iter(|| {
                let batch = log.batch_of_records(records);
                log.append(batch);
                log.wait();
                commits += 1;
                if commits % 64 == 0 {
                    log.remove_old();
                }
            });
        });
    }
    group.finish();
}
