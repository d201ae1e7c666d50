//! ZAB with three replicas in one process: proposals a second through the leader and both followers, everything encoded and decoded,
//! without network, disks and clocks; and what a proposal sends.
//!
//! ```sh
//! cargo bench --bench zab
//! ```

mod parts;

use std::time::Duration;

use criterion::{BenchmarkId, Criterion, Throughput};

use parts::zab::{Ensemble, record};

fn main() {
    for batch in [1, 32] {
        let mut ensemble = Ensemble::new();
        let rounds = 100;
        (0..rounds).for_each(|_| ensemble.commit(batch));
        let proposals = (rounds * batch) as f64;
        let (packets, bytes) = (ensemble.traffic.packets as f64, ensemble.traffic.bytes as f64);
        println!(
            "zab: {batch} proposals at a time: {:.2} packets and {:.0} bytes a proposal, all links together \
             (a record has {} bytes)",
            packets / proposals,
            bytes / proposals,
            record().len()
        );
    }
    let mut criterion = Criterion::default().configure_from_args();
    let mut group = criterion.benchmark_group("zab/three replicas");
    group.warm_up_time(Duration::from_millis(300)).measurement_time(Duration::from_secs(1)).sample_size(20);
    for batch in [1, 8, 64] {
        let mut ensemble = Ensemble::new();
        group.throughput(Throughput::Elements(batch as u64));
        group.bench_with_input(BenchmarkId::new("proposals at a time", batch), &batch, |bencher, &batch| {
            bencher.iter(|| ensemble.commit(batch));
        });
    }
    group.finish();
    criterion.final_summary();
}
