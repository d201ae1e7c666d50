//! What `cargo bench` times and `benches/counts` counts works: each of the parts (`benches/parts`) does each of its works a few
//! times here, with the checks that they have of their own. The benches are not run by `tests/run`, and stopped working unnoticed once.

#[path = "../benches/parts/mod.rs"]
mod parts;

use parts::reads::{Reads, Watches};
use parts::writes::Writes;
use parts::zab::Ensemble;
use zoo_server::watch::WatchKind;
use zoo_server::wire::op::OpCode;

const ZNODES: usize = 2_000;
const TURNS: usize = 100;

#[test]
fn reads_answer() {
    for op in [OpCode::GET_DATA, OpCode::EXISTS] {
        let mut reads = Reads::new(op, ZNODES, TURNS);
        (0..TURNS).for_each(|_| assert!(reads.answer_one() > 0, "{op:?} has no answer"));
    }
}

#[test]
fn watches_fire() {
    for kind in [WatchKind::Data, WatchKind::Persistent, WatchKind::PersistentRecursive] {
        let mut watches = Watches::new(kind, ZNODES, 1);
        (0..TURNS).for_each(|_| watches.fire_and_renew());
        assert!(watches.fire(0) > 0, "{kind:?} is silent");
    }
}

#[test]
fn writes_are_committed() {
    for batch in [1, 32] {
        let mut writes = Writes::new(ZNODES);
        for _ in 0..TURNS {
            let frames = writes.requests(batch);
            writes.commit(&frames);
        }
        let (appends, _) = writes.appends();
        assert!(appends > 0, "nothing came to the log");
    }
}

#[test]
fn proposals_are_committed() {
    for batch in [1, 32] {
        let mut ensemble = Ensemble::new();
        (0..TURNS).for_each(|_| ensemble.commit(batch));
        assert!(ensemble.traffic.packets >= (TURNS * batch) as u64, "{:?}", ensemble.traffic);
    }
}
