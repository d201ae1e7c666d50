//! The world of one run: virtual time, what is due in it, and all that lives there. Nothing in it knows real time, threads, files or
//! chance other than the seed's, and everything that is walked through is ordered: so the same seed gives the same run, which the
//! hash over all events shows.

use std::collections::BTreeMap;

use zoo_server::ids::{Epoch, ServerId};
use zoo_server::replica::event::{DialId, Event};

use crate::client::{Client, Link, Sight, Wish};
use crate::ledger::Ledger;
use crate::linear::Call;
use crate::network::{End, Life, Machine, Network, Piece, StreamId};
use crate::plan::Plan;
use crate::random::{Random, mix};
use crate::server::{Clock, Server};

/// What is due at some moment.
#[derive(Clone, Debug)]
pub enum Due {
    Start {
        server: usize,
    },
    Replica {
        server: usize,
        life: Life,
    },
    Log {
        server: usize,
        life: Life,
    },
    Disk {
        server: usize,
        life: Life,
    },
    Shard {
        server: usize,
        life: Life,
        shard: usize,
    },
    Tick {
        server: usize,
        life: Life,
    },
    ShardTick {
        server: usize,
        life: Life,
    },
    /// The newest vote on its way from one to another arrives.
    Vote {
        from: usize,
        to: usize,
    },
    Dial {
        server: usize,
        life: Life,
        dial: DialId,
        target: ServerId,
        attempt: u32,
    },
    /// A piece from this side of a stream arrives at the other.
    Piece {
        stream: StreamId,
        side: usize,
    },
    /// This side of a stream learns that it is over.
    Closed {
        stream: StreamId,
        side: usize,
    },
    Client {
        client: usize,
    },
    /// The next fault.
    Fault,
    /// A fault is over.
    Mend(Mend),
    /// What was withheld goes on ([`crate::sabotage`]).
    Release {
        server: usize,
        life: Life,
    },
}

#[derive(Clone, Copy, Debug)]
pub enum Mend {
    Unblock {
        from: Machine,
        to: Machine,
    },
    FastDisk {
        server: usize,
    },
    EmptyDisk {
        server: usize,
    },
    /// A server that is down may rot, and is started.
    Rot {
        server: usize,
    },
}

impl Due {
    /// Whose process it happens to, and in which life.
    fn process(&self, network: &Network) -> Option<(usize, Life)> {
        match *self {
            Self::Replica { server, life }
            | Self::Log { server, life }
            | Self::Disk { server, life }
            | Self::Shard { server, life, .. }
            | Self::Tick { server, life }
            | Self::ShardTick { server, life }
            | Self::Release { server, life }
            | Self::Dial { server, life, .. } => Some((server, life)),
            Self::Piece { stream, side } => network.streams.get(&stream)?.ends[1 - side].server(),
            Self::Closed { stream, side } => network.streams.get(&stream)?.ends[side].server(),
            _ => None,
        }
    }

    fn code(&self) -> u64 {
        match *self {
            Self::Start { server } => server as u64,
            Self::Replica { server, .. } => 100 + server as u64,
            Self::Log { server, .. } => 200 + server as u64,
            Self::Disk { server, .. } => 300 + server as u64,
            Self::Shard { server, shard, .. } => 400 + 10 * server as u64 + shard as u64,
            Self::Tick { server, .. } => 500 + server as u64,
            Self::ShardTick { server, .. } => 600 + server as u64,
            Self::Vote { from, to } => 700 + 10 * from as u64 + to as u64,
            Self::Dial { server, .. } => 800 + server as u64,
            Self::Piece { stream, side } => 10_000 + 2 * stream + side as u64,
            Self::Closed { stream, side } => 1_000_000 + 2 * stream + side as u64,
            Self::Client { client } => 900 + client as u64,
            Self::Fault => 1000,
            Self::Mend(_) => 1001,
            Self::Release { server, .. } => 1100 + server as u64,
        }
    }
}

/// What a run was, for the summary.
#[derive(Clone, Copy, Debug, Default)]
pub struct Figures {
    pub events: u64,
    pub crashes: u64,
    pub faults: u64,
    pub disk_failures: u64,
    pub snapshots: u64,
    pub wiped: u64,
    pub truncations: u64,
    pub installs: u64,
    /// Leaders that were established.
    pub elections: u64,
    pub committed: u64,
    pub writes: u64,
    pub requests: u64,
    pub sessions_lost: u64,
    /// Configurations that came to hold, beside the first.
    pub reconfigured: u64,
    /// Requests in the search for a linear order, and znodes for which it took too long.
    pub linear: u64,
    pub undecided: u64,
    /// Virtual microseconds.
    pub simulated: u64,
}

impl Figures {
    pub fn add(&mut self, other: &Self) {
        self.events += other.events;
        self.crashes += other.crashes;
        self.faults += other.faults;
        self.disk_failures += other.disk_failures;
        self.snapshots += other.snapshots;
        self.wiped += other.wiped;
        self.truncations += other.truncations;
        self.installs += other.installs;
        self.elections += other.elections;
        self.committed += other.committed;
        self.writes += other.writes;
        self.requests += other.requests;
        self.sessions_lost += other.sessions_lost;
        self.reconfigured += other.reconfigured;
        self.linear += other.linear;
        self.undecided += other.undecided;
        self.simulated += other.simulated;
    }
}

pub struct World {
    pub plan: Plan,
    /// True time, microseconds.
    pub now: u64,
    moment: u64,
    queue: BTreeMap<(u64, u64), Due>,
    pub random: Random,
    pub servers: Vec<Server>,
    pub network: Network,
    pub clients: Vec<Client>,
    pub ledger: Ledger,
    pub history: Vec<Call>,
    pub hash: u64,
    pub violation: Option<String>,
    pub figures: Figures,
    /// Faults strike.
    pub is_faulty: bool,
    /// Who has led an epoch, in which life.
    pub leaders: BTreeMap<Epoch, (usize, Life)>,
}

/// So many things happen at one moment at the very most; beyond it some timer is always due, and time would never pass.
const STEPS_AT_ONCE_MAX: u32 = 1_000_000;

impl World {
    pub fn new(plan: Plan) -> Self {
        let mut random = Random::new(plan.seed ^ 0x5151);
        let servers = (0..plan.servers()).map(|_| {
            let clock = Clock {
                rate_ppm: random.below(2 * plan.clock_rate_ppm + 1) as i64 - plan.clock_rate_ppm as i64,
                wall_shift_ms: random.below(600_000) as i64 - 300_000,
            };
            Server::new(random.next(), clock)
        });
        let servers: Vec<Server> = servers.collect();
        let clients: Vec<Client> = (0..plan.clients).map(|number| Client::new(number, &mut random)).collect();
        let mut ledger = Ledger::new(plan.servers(), crate::ensemble::first_membership(&plan));
        ledger.checks_quorum = plan.checks_disks;
        let mut world = Self {
            now: 0,
            moment: 0,
            queue: BTreeMap::new(),
            servers,
            network: Network::default(),
            clients,
            ledger,
            history: Vec::new(),
            hash: plan.seed,
            violation: None,
            figures: Figures::default(),
            is_faulty: true,
            leaders: BTreeMap::new(),
            random,
            plan,
        };
        world.remember();
        for server in 0..world.servers.len() {
            let delay = world.random.below(100_000);
            world.servers[server].is_starting = true;
            world.at(delay, Due::Start { server });
        }
        for client in 0..world.clients.len() {
            let delay = world.random.below(300_000);
            world.at(delay, Due::Client { client });
        }
        let first = world.random.below(2 * world.plan.fault_every);
        world.at(first, Due::Fault);
        world
    }

    /// Something is due so many microseconds from now.
    pub fn at(&mut self, delay: u64, due: Due) {
        self.moment += 1;
        self.queue.insert((self.now + delay, self.moment), due);
    }

    pub fn check(&mut self, verdict: Result<(), String>) {
        if let Err(violation) = verdict
            && self.violation.is_none()
        {
            self.trace(|| format!("VIOLATION {violation}"));
            self.violation = Some(violation);
        }
    }

    /// One more word for the hash.
    pub fn note(&mut self, kind: u64, what: u64) {
        self.hash = mix(self.hash ^ mix(kind) ^ what);
    }

    pub fn trace(&self, what: impl FnOnce() -> String) {
        if self.plan.trace {
            println!("{:>12.6} {}", self.now as f64 / 1e6, what());
        }
    }

    /// Lets time pass until it is so, or so many microseconds have passed, or something is wrong. Whether it is so.
    pub fn run_until(&mut self, bound: u64, mut is_so: impl FnMut(&Self) -> bool) -> bool {
        let end = self.now + bound;
        let mut look = self.now;
        let (mut moment, mut steps) = (self.now, 0);
        while self.violation.is_none() {
            steps = if self.now > moment { 0 } else { steps + 1 };
            moment = self.now;
            if steps > STEPS_AT_ONCE_MAX {
                self.check(Err(format!("time stands still: more than {STEPS_AT_ONCE_MAX} things at one moment")));
            }
            if self.now >= look {
                if is_so(self) {
                    return true;
                }
                look = self.now + 20_000;
            }
            if !self.step(end) {
                return is_so(self);
            }
        }
        false
    }

    /// The next thing that is due until `end`. False if there is none.
    fn step(&mut self, end: u64) -> bool {
        let Some(entry) = self.queue.first_entry().filter(|entry| entry.key().0 <= end) else {
            self.now = end;
            return false;
        };
        let ((at, moment), due) = entry.remove_entry();
        self.now = at;
        if let Some((server, life)) = due.process(&self.network) {
            let own = &self.servers[server];
            if own.paused_until > self.now && own.process.is_some() && own.life == life {
                self.queue.insert((own.paused_until, moment), due);
                return true;
            }
            let is_own_turn = !matches!(due, Due::Piece { .. } | Due::Closed { .. });
            if is_own_turn && (own.process.is_none() || own.life != life) {
                return true;
            }
        }
        self.figures.events += 1;
        self.note(self.now, due.code());
        self.happen(due);
        true
    }

    fn happen(&mut self, due: Due) {
        match due {
            Due::Start { server } => self.start(server),
            Due::Replica { server, .. } => self.replica_turn(server),
            Due::Log { server, .. } => self.log_turn(server),
            Due::Disk { server, .. } => self.disk_turn(server),
            Due::Shard { server, shard, .. } => self.shard_turn(server, shard),
            Due::Tick { server, .. } => self.tick(server),
            Due::ShardTick { server, .. } => self.shard_tick(server),
            Due::Vote { from, to } => self.vote_arrives(from, to),
            Due::Dial { server, dial, target, attempt, .. } => self.dial(server, dial, target, attempt),
            Due::Piece { stream, side } => self.piece_arrives(stream, side),
            Due::Closed { stream, side } => self.closed(stream, side),
            Due::Client { client } => self.client_turn(client),
            Due::Fault => self.strike(),
            Due::Mend(mend) => self.mend(mend),
            Due::Release { server, .. } => self.release(server),
        }
    }

    // --- the network ---

    /// How long a message takes.
    pub fn latency(&mut self) -> u64 {
        let usual = self.plan.latency;
        let latency = self.random.between(usual / 2 + 1, usual * 2 + 2);
        if self.random.per_mille(self.plan.slow_per_mille) { latency + self.random.below(300_000) } else { latency }
    }

    /// Bytes from one side of a stream to the other.
    pub fn send(&mut self, stream: StreamId, side: usize, bytes: Vec<u8>) {
        let Some(own) = self.network.streams.get(&stream).filter(|own| own.is_open[side]) else { return };
        if own.is_dead {
            // The other end is gone, and now we hear of it.
            let delay = self.latency();
            return self.at(delay, Due::Closed { stream, side });
        }
        // What is changed by hand on its way has to be whole packets.
        let is_cut = self.plan.sabotage.is_none() && !own.ends.iter().any(|end| matches!(end, End::Client(_)));
        let mut rest = &bytes[..];
        while is_cut && rest.len() > 1 && self.random.one_in(3) {
            let (front, back) = rest.split_at(1 + self.random.index(rest.len() - 1));
            self.push_piece(stream, side, Piece::Bytes(front.to_vec()));
            rest = back;
        }
        let rest = rest.to_vec();
        self.push_piece(stream, side, Piece::Bytes(rest));
    }

    fn push_piece(&mut self, stream: StreamId, side: usize, piece: Piece) {
        let (latency, now) = (self.latency(), self.now);
        let Some(own) = self.network.streams.get_mut(&stream) else { return };
        let pipe = &mut own.pipes[side];
        pipe.last = pipe.last.max(now + latency);
        pipe.pieces.push_back(piece);
        let delay = pipe.last - now;
        self.at(delay, Due::Piece { stream, side });
    }

    /// A side ends a stream behind what it has sent. It hears nothing more.
    pub fn close(&mut self, stream: StreamId, side: usize) {
        let Some(own) = self.network.streams.get_mut(&stream).filter(|own| own.is_open[side]) else { return };
        own.is_open[side] = false;
        if own.is_open[1 - side] {
            self.push_piece(stream, side, Piece::Fin);
        }
        self.network.tidy(stream);
    }

    /// A side is gone without a word.
    pub fn vanish(&mut self, stream: StreamId, side: usize) {
        let Some(own) = self.network.streams.get_mut(&stream) else { return };
        own.is_open[side] = false;
        own.pipes[side].pieces.clear();
        self.network.tidy(stream);
    }

    /// A stream is cut in the middle; each side hears of it some time, or when it sends.
    pub fn cut(&mut self, stream: StreamId) {
        let Some(own) = self.network.streams.get_mut(&stream) else { return };
        own.is_dead = true;
        own.pipes.iter_mut().for_each(|pipe| pipe.pieces.clear());
        let is_open = own.is_open;
        for (side, is_open) in is_open.into_iter().enumerate() {
            if is_open && !self.random.one_in(3) {
                let delay = self.random.below(200_000);
                self.at(delay, Due::Closed { stream, side });
            }
        }
    }

    fn piece_arrives(&mut self, stream: StreamId, side: usize) {
        let Some(own) = self.network.streams.get(&stream) else { return };
        let (from, to) = (own.machines[side], own.machines[1 - side]);
        if own.pipes[side].pieces.is_empty() {
            return;
        }
        let is_powered = self.servers.get(to).is_none_or(|server| server.is_powered);
        if self.network.is_blocked(from, to) || !is_powered {
            let again = self.random.between(10_000, 200_000);
            return self.at(again, Due::Piece { stream, side });
        }
        let own = self.network.streams.get_mut(&stream).expect("it was there just now");
        let Some(piece) = own.pipes[side].pieces.pop_front() else { return };
        if !own.is_open[1 - side] {
            // Nobody is there: the sender is told so.
            own.pipes[side].pieces.clear();
            if own.is_open[side] {
                let delay = self.latency();
                self.at(delay, Due::Closed { stream, side });
            }
            return;
        }
        let end = own.ends[1 - side];
        match piece {
            Piece::Fin => self.closed(stream, 1 - side),
            Piece::Bytes(bytes) => self.deliver(stream, end, bytes),
        }
    }

    fn deliver(&mut self, stream: StreamId, end: End, bytes: Vec<u8>) {
        match end {
            End::Client(client) => self.client_hears(client, stream, &bytes),
            End::Shard { server, shard, .. } => {
                let now = self.servers[server].clock.now(self.now).instant;
                if let Some(process) = self.process(server) {
                    process.shards[shard].frame(stream, &bytes, now);
                    self.end_shard_turn(server, shard);
                }
            }
            End::Leader { server, link, .. } => self.tell_replica(server, Event::LinkBytes(link, bytes)),
            End::Learner { server, dial, .. } => {
                let bytes = self.tampered(server, bytes);
                self.tell_replica(server, Event::LeaderBytes(dial, bytes));
            }
        }
    }

    /// A side learns that the stream is over.
    fn closed(&mut self, stream: StreamId, side: usize) {
        let Some(own) = self.network.streams.get_mut(&stream).filter(|own| own.is_open[side]) else { return };
        own.is_open[side] = false;
        own.pipes[side].pieces.clear();
        let end = own.ends[side];
        // What the other side still sends meets nobody, which tells it.
        self.network.tidy(stream);
        match end {
            End::Client(client) => {
                let own = &mut self.clients[client];
                if own.link == Link::Open(stream) || matches!(own.link, Link::Connecting(id, _) if id == stream) {
                    own.lost(&mut self.history);
                }
            }
            End::Shard { server, shard, .. } => {
                if let Some(process) = self.process(server) {
                    process.shards[shard].closed(stream);
                    self.end_shard_turn(server, shard);
                }
            }
            End::Leader { server, link, .. } => {
                if self.process(server).is_some_and(|process| process.links.remove(&link).is_some()) {
                    self.tell_replica(server, Event::LinkClosed(link));
                }
            }
            End::Learner { server, dial, .. } => {
                if self.process(server).is_some_and(|process| process.dials.remove(&dial).is_some()) {
                    self.tell_replica(server, Event::LeaderLost(dial));
                }
            }
        }
    }

    // --- clients ---

    fn client_turn(&mut self, client: usize) {
        let wishes = self.with_client(client, |own, sight| own.turn(sight));
        self.grant(client, wishes);
        let think = self.plan.think;
        let delay = self.random.between(think / 4 + 1, think * 2 + 2);
        self.at(delay, Due::Client { client });
    }

    fn with_client<T>(&mut self, client: usize, act: impl FnOnce(&mut Client, &mut Sight<'_>) -> T) -> T {
        self.moment += 1;
        let mut sight = Sight {
            now: self.now,
            moment: self.moment,
            random: &mut self.random,
            ledger: &mut self.ledger,
            history: &mut self.history,
            pipelined: self.plan.pipelined,
            is_alone: !self.plan.is_ensemble(),
            reconfigures: self.plan.reconfigures.then_some(self.servers.len() as u64),
            trace: self.plan.trace,
        };
        act(&mut self.clients[client], &mut sight)
    }

    fn client_hears(&mut self, client: usize, stream: StreamId, bytes: &[u8]) {
        let link = self.clients[client].link;
        if link != Link::Open(stream) && !matches!(link, Link::Connecting(own, _) if own == stream) {
            return;
        }
        self.note(client as u64, crate::random::fingerprint(bytes));
        match self.with_client(client, |own, sight| own.received(bytes, sight)) {
            Ok(wishes) => self.grant(client, wishes),
            Err(violation) => {
                let session = self.clients[client].session;
                self.check(Err(format!("client {client}, session {session}: {violation}")));
            }
        }
    }

    fn grant(&mut self, client: usize, wishes: Vec<Wish>) {
        for wish in wishes {
            match (wish, self.clients[client].link) {
                (Wish::Connect, Link::None) => self.connect(client),
                (Wish::Send(frame), Link::Open(stream)) => self.send(stream, 0, frame),
                (Wish::HangUp, Link::Open(stream) | Link::Connecting(stream, _)) => {
                    self.clients[client].lost(&mut self.history);
                    self.close(stream, 0);
                }
                _ => {}
            }
        }
    }

    fn connect(&mut self, client: usize) {
        let server = self.random.index(self.servers.len());
        let (here, there) = (self.servers.len() + client, server);
        let own = &self.servers[server];
        // Whoever is paused still has a kernel that takes connections.
        if own.process.is_none() || !self.network.can_connect(here, there) {
            return;
        }
        let life = own.life;
        let shard = self.random.index(self.plan.shards);
        let stream = self.network.open([End::Client(client), End::Shard { server, life, shard }], [here, there]);
        let now = self.servers[server].clock.now(self.now).instant;
        let process = self.process(server).expect("it was there just now");
        process.shards[shard].accept(stream, now);
        self.trace(|| format!("client {client} connects to {server}"));
        let handshake = self.clients[client].connecting(stream, self.now);
        self.send(stream, 0, handshake);
    }
}
