//! The watch table: a watch left, an event for those who hear of it, a watch removed; one-shot, persistent and recursive.
//!
//! ```sh
//! cargo bench --bench watch
//! ```

mod parts;

use std::time::Duration;

use criterion::{BenchmarkId, Criterion, Throughput};
use zoo_server::watch::{WatchKind, Watcher, WatcherType};

use parts::reads::Watches;

const KINDS: [(WatchKind, &str); 3] = [
    (WatchKind::Data, "one-shot"),
    (WatchKind::Persistent, "persistent"),
    (WatchKind::PersistentRecursive, "recursive"),
];
/// Paths that are watched.
const PATHS: usize = 100_000;

fn main() {
    let mut criterion = Criterion::default().configure_from_args();
    for (kind, name) in KINDS {
        let mut group = criterion.benchmark_group(format!("watch/{name}"));
        group.warm_up_time(Duration::from_millis(300)).measurement_time(Duration::from_secs(1)).sample_size(20);
        group.throughput(Throughput::Elements(1));

        // A client that leaves a watch and takes it away again, among others.
        let mut watches = Watches::new(kind, PATHS, 1);
        let other = Watcher(7);
        group.bench_function("add and remove", |bencher| {
            bencher.iter(|| {
                let at = watches.next();
                let path = watches.path(at).to_owned();
                watches.table.add(&path, kind, other);
                assert!(watches.table.remove(&path, WatcherType::Any, other), "the watch was not there");
            });
        });
        for watchers in [1, 100] {
            let mut watches = Watches::new(kind, PATHS / watchers, watchers);
            group.throughput(Throughput::Elements(watchers as u64));
            // One-shot watches are spent, and left again: that is what they cost.
            group.bench_with_input(BenchmarkId::new("fire", watchers), &watchers, |bencher, _| {
                bencher.iter(|| watches.fire_and_renew());
            });
        }
        group.finish();
    }
    let mut group = criterion.benchmark_group("watch");
    group.warm_up_time(Duration::from_millis(300)).measurement_time(Duration::from_secs(1)).sample_size(20);
    // A client that goes and leaves a thousand watches behind; it comes back in between.
    group.throughput(Throughput::Elements(1000));
    let mut watches = Watches::new(WatchKind::Data, 1000, 1);
    group.bench_function("a client with 1000 watches comes and goes", |bencher| {
        bencher.iter(|| {
            watches.table.drop_watcher(Watcher(0));
            (0..1000).for_each(|at| watches.add_at(at));
        });
    });
    group.finish();
    criterion.final_summary();
}
