//! One run: safety under faults, then progress once they are over, then the same state everywhere.

use std::cell::{Cell, RefCell};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Once;

use zoo_server::ids::Zxid;
use zoo_server::replica::message::Standing;

use crate::ledger::Ledger;
use crate::linear;
use crate::network::server_id;
use crate::plan::Plan;
use crate::world::{Figures, World};

/// How long it may take, virtually, until clients get on once a quorum is healed.
const PROGRESS_WITHIN: u64 = 60_000_000;
/// What every client has to get done by then.
const PROGRESS_WRITES: u64 = 3;
/// The same where some disks are full: so much that the room which their logs have laid by is not enough.
const PROGRESS_WRITES_FULL: u64 = 60;

/// A snapshot may be lost with a leader's office, or to a full disk, some times one behind the other.
const LOGS_MAX: u64 = 3;
const LOGS_BESIDES: u64 = 60;

pub struct Outcome {
    pub violation: Option<String>,
    pub hash: u64,
    pub figures: Figures,
}

thread_local! {
    /// The words of the last panic of this thread.
    static PANIC: RefCell<String> = const { RefCell::new(String::new()) };
}

/// A server that panics is a finding, to be told with its seed rather than printed at once.
fn catch_panics() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let usual = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |info| {
            PANIC.set(info.to_string());
            if !IS_RUNNING.get() {
                usual(info);
            }
        }));
    });
}

thread_local! {
    static IS_RUNNING: Cell<bool> = const { Cell::new(false) };
}

/// Runs what the plan says.
pub fn run(plan: Plan) -> Outcome {
    catch_panics();
    IS_RUNNING.set(true);
    let mut world = World::new(plan);
    let result = catch_unwind(AssertUnwindSafe(|| phases(&mut world)));
    IS_RUNNING.set(false);
    if result.is_err() {
        let panic = PANIC.with_borrow_mut(std::mem::take);
        world.violation = Some(format!("a panic: {panic}"));
    }
    world.figures.simulated = world.now;
    world.figures.committed = world.ledger.entries.len() as u64;
    for client in &world.clients {
        world.figures.writes += client.writes_done;
        world.figures.requests += client.requests_done;
        world.figures.sessions_lost += client.sessions_lost;
    }
    Outcome { violation: world.violation, hash: world.hash, figures: world.figures }
}

fn phases(world: &mut World) {
    // Safety under faults.
    let faulty_for = world.plan.faulty_for;
    world.run_until(faulty_for, |_| false);
    if world.violation.is_some() {
        return;
    }
    // Progress with a quorum, in half of the runs with no more than that.
    let is_member = |server: &usize| world.ledger.configuration().is_participant(server_id(*server));
    let mut quorum: Vec<usize> = (0..world.servers.len()).filter(is_member).collect();
    let majority = quorum.len() / 2 + 1;
    if world.random.one_in(2) && world.is_agreed() {
        while quorum.len() > majority {
            quorum.remove(world.random.index(quorum.len()));
        }
    }
    if !world.is_agreed() {
        // Who does not know what holds may need servers that are no members any more.
        quorum = (0..world.servers.len()).collect();
    }
    // Those that the others can do without may be there with full disks, one of which may lead.
    let mut full = Vec::new();
    if world.plan.keeps_full && world.is_agreed() {
        let leader = world.servers.iter().position(|server| server.standing() == Some(Standing::Leading));
        full.extend(leader.filter(|leader| quorum.contains(leader) && world.random.one_in(2)));
        while full.len() < quorum.len() - majority {
            let server = quorum[world.random.index(quorum.len())];
            if !full.contains(&server) {
                full.push(server);
            }
        }
        full.truncate(quorum.len() - majority);
    }
    world.trace(|| format!("healed: {quorum:?}, but for the full disks of {full:?}"));
    world.heal(&quorum, &full);
    let writes = if full.is_empty() { PROGRESS_WRITES } else { PROGRESS_WRITES_FULL };
    let with_room: Vec<usize> = quorum.iter().copied().filter(|server| !full.contains(server)).collect();
    must_progress(world, "with a quorum", writes, |world| !asks_for_more(world, &with_room));
    let all: Vec<usize> = (0..world.servers.len()).collect();
    world.trace(|| "healed: all".to_owned());
    world.heal(&all, &[]);
    must_progress(world, "with all servers", PROGRESS_WRITES, |_| true);
    must_agree(world);
    for client in 0..world.clients.len() {
        // What is still under way has an unknown outcome.
        let World { clients, history, .. } = &mut *world;
        clients[client].lost(history);
    }
    match linear::judge(&world.history) {
        Ok(judged) => (world.figures.linear, world.figures.undecided) = (judged.calls, judged.undecided),
        Err(violation) => world.check(Err(violation)),
    }
}

/// Whether others than these servers are needed, too: for the configuration that clients have come to meanwhile (seed 823332), or for
/// one that is proposed. A client may have asked for it just before the others went down: from then on nothing is committed, and
/// nobody is elected, without a quorum of both (seed 122282).
fn asks_for_more(world: &World, servers: &[usize]) -> bool {
    let is_enough = |configuration| Ledger::is_quorum(configuration, servers.iter().copied());
    !is_enough(world.ledger.configuration())
        || servers.iter().any(|server| match &world.servers[*server].configurations {
            Some((_, Some(proposed))) => !is_enough(proposed),
            _ => false,
        })
}

fn must_progress(world: &mut World, what: &str, writes: u64, is_owed: impl Fn(&World) -> bool) {
    if world.violation.is_some() {
        return;
    }
    let goals: Vec<u64> = world.clients.iter().map(|client| client.writes_done + writes).collect();
    world.clients.iter_mut().for_each(|client| client.is_steady = true);
    let is_done = world.run_until(PROGRESS_WITHIN, |world| {
        world.clients.iter().zip(&goals).all(|(client, goal)| client.writes_done >= *goal)
    });
    if !is_done && is_owed(world) {
        let standings: Vec<_> = world.servers.iter().map(crate::server::Server::standing).collect();
        let done: Vec<u64> =
            world.clients.iter().zip(&goals).map(|(client, goal)| goal.saturating_sub(client.writes_done)).collect();
        world.check(Err(format!("no progress {what}: servers {standings:?}, writes missing {done:?}")));
    }
}

/// Without new requests all servers come to the same state, which is that of the model.
fn must_agree(world: &mut World) {
    if world.violation.is_some() {
        return;
    }
    world.clients.iter_mut().for_each(|client| client.is_retired = true);
    // Who was sent the leader's state stands at the start of its epoch, and so long as nothing is written in it nothing is missing
    // (seed 10361).
    let is_at_end = |zxid: Zxid, last: Zxid| zxid == last || zxid.counter() == 0 && zxid > last;
    let is_settled = |world: &World| {
        world.clients.iter().all(|client| client.is_quiet() || !client.is_open())
            && world.servers.iter().all(|server| {
                server.is_serving()
                    && server.process.as_ref().is_some_and(|process| {
                        process.replica.is_drained()
                            && process.shards.iter().all(|shard| is_at_end(shard.version.zxid(), world.ledger.last()))
                    })
            })
    };
    if !world.run_until(PROGRESS_WITHIN, is_settled) {
        let at: Vec<_> = world
            .servers
            .iter()
            .map(|server| server.process.as_ref().map(|process| process.shards[0].version.zxid()))
            .collect();
        return world
            .check(Err(format!("servers do not come to one state: {at:?}, {} is committed", world.ledger.last())));
    }
    for server in 0..world.servers.len() {
        let Some(process) = &world.servers[server].process else { continue };
        // Whoever it follows: a log without snapshots could never be purged, and would take ever longer to read.
        let (logged, usual) = (process.logged_since_snapshot, world.plan.snapshot_txns_max);
        // What a leader sends a newcomer of its history comes at once, and the snapshot behind it with the next write.
        let besides = LOGS_BESIDES + world.plan.history_max as u64;
        let version = process.shards[0].version.clone();
        if logged > LOGS_MAX * usual + besides {
            world.check(Err(format!(
                "server {server} has logged {logged} records without a snapshot, {usual} are usual"
            )));
        }
        let verdict = world.ledger.compare_tree(server, &version);
        world.check(verdict);
        // Ephemerals of the dead are gone, those of the living are there: the model says so znode by znode, and here it is said
        // the other way round.
        for session in version.ephemeral_sessions() {
            if !world.ledger.model.is_live(session) {
                world.check(Err(format!("server {server} has ephemerals of session {session}, which is dead")));
            }
        }
    }
}
