//! Elections of 3, 5 and 7 servers in a world of delays, losses and restarts, each run from one seed.
//!
//! Fault model of the first phase: a notification is lost, or late by up to half a second, which puts the messages of different
//! peers out of order (those of one peer stay in order, as TCP keeps them); links are cut for a while; servers crash and come
//! back with what was durable; the first server may come back with its data gone. In the second phase all of it ends.
//!
//! Broadcast is reduced to what an election needs of it: a leader that does not have a quorum of followers within
//! [`PATIENCE_MS`] goes back to looking, a follower whose leader does not lead likewise; a leader with a quorum is established in
//! a new epoch, and those that follow take over its history and that epoch. A follower with a newer history than the leader's is
//! refused, as in ZAB.
//!
//! Checked: histories of established leaders never go back (what a quorum had is kept); in the end exactly one server leads,
//! all others follow it, and in worlds without a leader before its history is the best of those that voted for it.

use super::*;
use crate::election::ElectionAction;

const MS: u64 = 1000;
/// The faults end here.
const FAULTS_MS: u64 = 20_000;
/// Everything has to be well by then: the longest pause between two notifications is a minute.
const END_MS: u64 = 150_000;
const PATIENCE_MS: u64 = 1_500;
/// More steps than any run takes: a machine whose timer stands still is found out.
const STEPS_MAX: u64 = 1_000_000;
/// How often a server looks whether its leader still leads.
const STEP_MS: u64 = 20;

/// xorshift64*.
struct Dice(u64);

impl Dice {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        (self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 11) % bound
    }

    fn chance(&mut self, percent: u64) -> bool {
        self.below(100) < percent
    }
}

struct Server {
    id: ServerId,
    election: Election,
    up: bool,
    /// Durable: what it has, and the epoch of it.
    zxid: Zxid,
    epoch: Epoch,
    /// The outcome it acts on, since when, and whether the leader is established.
    outcome: Option<(Outcome, u64)>,
    established: bool,
    /// How often it was elected or found a leader; and that of the leader when it joined it: a leader that was elected again
    /// has lost its connections.
    term: u64,
    joined: u64,
    back_at: u64,
}

struct Message {
    at: u64,
    number: u64,
    from: usize,
    to: usize,
    bytes: Vec<u8>,
}

struct World {
    now: u64,
    dice: Dice,
    membership: Arc<Membership>,
    servers: Vec<Server>,
    messages: Vec<Message>,
    sent: u64,
    /// When the last message of each pair arrives: order within a pair.
    last: BTreeMap<(usize, usize), u64>,
    /// Cut until.
    cut: BTreeMap<(usize, usize), u64>,
    /// The newest history that a quorum has had.
    kept: (Epoch, Zxid),
    elections: u64,
    steps: u64,
    trace: u64,
}

impl World {
    fn new(seed: u64, voters: i64, observers: i64) -> Self {
        let mut dice = Dice(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1);
        let line = |id: i64| {
            let role = if id > voters { ":observer" } else { "" };
            format!("server.{id}=h{id}:1:2{role}\n")
        };
        let membership =
            Arc::new(Membership::parse_text(&(1..=voters + observers).map(line).collect::<String>()).unwrap());
        let hints = dice.chance(50);
        let servers = (1..=voters + observers)
            .map(|id| {
                let id = ServerId(id);
                let options = Options { decide_early: hints, ..Options::new(id, Arc::clone(&membership)) };
                Server {
                    id,
                    election: Election::new(options),
                    up: false,
                    zxid: Zxid::new(Epoch(1), dice.below(4) as u32 + 1),
                    epoch: Epoch(1),
                    outcome: None,
                    established: false,
                    term: 0,
                    joined: 0,
                    back_at: dice.below(2_000),
                }
            })
            .collect();
        Self {
            now: 0,
            dice,
            membership,
            servers,
            messages: Vec::new(),
            sent: 0,
            last: BTreeMap::new(),
            cut: BTreeMap::new(),
            kept: (Epoch(0), Zxid(0)),
            elections: 0,
            steps: 0,
            trace: 0xcbf2_9ce4_8422_2325,
        }
    }

    fn note(&mut self, what: u64) {
        self.trace = (self.trace ^ what ^ self.now.rotate_left(17)).wrapping_mul(0x0100_0000_01b3);
    }

    fn faulty(&self) -> bool {
        self.now < FAULTS_MS
    }

    fn instant(&self) -> Instant {
        Instant(self.now * MS)
    }

    fn is_cut(&self, one: usize, other: usize) -> bool {
        self.cut.get(&(one, other)).is_some_and(|until| self.now < *until)
    }

    fn post(&mut self, from: usize, to: usize, notification: &Notification) {
        let lost = self.is_cut(from, to) || (self.faulty() && self.dice.chance(15));
        let delay = 1 + if self.faulty() && self.dice.chance(10) { self.dice.below(500) } else { self.dice.below(20) };
        if lost {
            return;
        }
        let at = (self.now + delay).max(self.last.get(&(from, to)).copied().unwrap_or(0));
        self.last.insert((from, to), at);
        self.sent += 1;
        let mut bytes = Vec::new();
        notification.encode(&mut bytes);
        self.messages.push(Message { at, number: self.sent, from, to, bytes });
    }

    /// Takes what an election wants done.
    fn perform(&mut self, place: usize) {
        self.servers[place].election.turn_ended();
        while let Some(action) = self.servers[place].election.poll() {
            match action {
                ElectionAction::Send { to, notification } => {
                    self.post(place, to.0 as usize - 1, &notification);
                }
                ElectionAction::Elected(outcome) => {
                    self.note(outcome.leader.0 as u64 * 31 + place as u64);
                    self.elections += 1;
                    assert!(outcome.role != ServerState::Looking && outcome.leader.0 > 0);
                    assert!(self.membership.contains_quorum(outcome.supporters.iter().copied()), "{outcome:?}");
                    self.servers[place].outcome = Some((outcome, self.now));
                    self.servers[place].established = false;
                    self.servers[place].term += 1;
                }
                ElectionAction::VoterLooking(_) => {}
                ElectionAction::MembershipSeen(seen) => panic!("nobody changed the configuration: {seen:?}"),
            }
        }
    }

    fn look(&mut self, place: usize) {
        let now = self.instant();
        let server = &mut self.servers[place];
        (server.outcome, server.established) = (None, false);
        server.election.start(now, server.zxid, server.epoch);
        self.perform(place);
    }

    /// Crashes and cuts, and what comes back.
    fn happen(&mut self) {
        for place in 0..self.servers.len() {
            if !self.servers[place].up && self.now >= self.servers[place].back_at {
                let options = self.servers[place].election.options.clone();
                self.servers[place].election = Election::new(options);
                self.servers[place].up = true;
                self.look(place);
            } else if self.servers[place].up && self.faulty() && self.dice.below(10_000) < 15 {
                self.note(0xdead + place as u64);
                self.servers[place].up = false;
                self.servers[place].outcome = None;
                self.servers[place].established = false;
                self.servers[place].back_at = self.now + self.dice.below(4_000);
                self.messages.retain(|message| message.from != place && message.to != place);
                self.hint(place, false);
            }
        }
        if self.faulty() && self.dice.below(1_000) < 5 {
            let (one, other) = (self.dice.below(self.servers.len() as u64), self.dice.below(self.servers.len() as u64));
            let until = (self.now + self.dice.below(5_000)).min(FAULTS_MS);
            self.cut.insert((one as usize, other as usize), until);
            if self.dice.chance(70) {
                self.cut.insert((other as usize, one as usize), until);
            }
        }
    }

    /// Some of the connection managers notice that a server is gone or back; wrongly now and then, as the world is.
    fn hint(&mut self, place: usize, is_there: bool) {
        let (now, id) = (self.instant(), self.servers[place].id);
        for other in (0..self.servers.len()).filter(|other| *other != place) {
            if self.servers[other].up && self.dice.chance(60) {
                if is_there {
                    self.servers[other].election.connected(now, id);
                } else {
                    self.servers[other].election.disconnected(now, id);
                }
                self.perform(other);
            }
        }
    }

    /// The reduced broadcast.
    fn act_on_outcomes(&mut self) {
        let mut followers = BTreeMap::<usize, BTreeSet<ServerId>>::new();
        for place in 0..self.servers.len() {
            let Some((outcome, since)) = self.servers[place].outcome.clone() else { continue };
            let leader = outcome.leader.0 as usize - 1;
            let leads = self.servers[leader].up
                && self.servers[leader].outcome.as_ref().is_some_and(|(it, _)| it.role == ServerState::Leading);
            let reachable = leader == place || !(self.is_cut(place, leader) || self.is_cut(leader, place));
            let data = |server: &Server| (server.epoch, server.zxid);
            let refused = data(&self.servers[place]) > data(&self.servers[leader]);
            let torn = self.servers[place].established && self.servers[place].joined != self.servers[leader].term;
            if torn {
                self.note(0xf1 + place as u64);
                self.look(place);
            } else if leads && reachable && !refused {
                followers.entry(leader).or_default().insert(ServerId(place as i64 + 1));
            } else if self.now - since > PATIENCE_MS || (leads && refused) {
                self.note(0xf0 + place as u64);
                self.look(place);
            }
        }
        for (leader, set) in followers {
            let Some((_, since)) = self.servers[leader].outcome else { continue };
            if !self.membership.contains_quorum(set.iter().copied()) {
                if self.now - since > PATIENCE_MS {
                    self.note(0xf00 + leader as u64);
                    self.look(leader);
                }
                continue;
            }
            let server = &self.servers[leader];
            if !server.established {
                let history = (server.epoch, server.zxid);
                assert!(history >= self.kept, "{:?} leads with {history:?} behind {:?}", server.id, self.kept);
                let epoch = Epoch(self.servers.iter().map(|it| it.epoch.0).max().unwrap_or(0) + 1);
                self.servers[leader].epoch = epoch;
                self.servers[leader].zxid = Zxid::new(epoch, 1);
                self.kept = (epoch, Zxid::new(epoch, 1));
                self.note(u64::from(epoch.0) << 20);
            }
            let (epoch, zxid, now) = (self.servers[leader].epoch, self.servers[leader].zxid, self.instant());
            let term = self.servers[leader].term;
            for id in set {
                let follower = &mut self.servers[id.0 as usize - 1];
                if !follower.established {
                    follower.established = true;
                    follower.joined = term;
                    (follower.epoch, follower.zxid) = (epoch, zxid);
                    follower.election.established(now, epoch);
                }
            }
        }
    }

    fn step(&mut self) {
        self.steps += 1;
        assert!(self.steps < STEPS_MAX, "time stands still at {} ms", self.now);
        // To the next thing that happens: a message, a timer, or the next look at the world.
        let next_step = (self.now / STEP_MS + 1) * STEP_MS;
        let next_message = self.messages.iter().map(|message| message.at).min().unwrap_or(u64::MAX);
        let timers = self.servers.iter().filter(|server| server.up).filter_map(|server| server.election.timer());
        let next_timer = timers.map(|at| at.as_millis()).min().unwrap_or(u64::MAX);
        self.now = next_step.min(next_message).min(next_timer).max(self.now);
        let due = |message: &Message, now| message.at <= now;
        while let Some(place) = (0..self.messages.len())
            .filter(|place| due(&self.messages[*place], self.now))
            .min_by_key(|place| (self.messages[*place].at, self.messages[*place].number))
        {
            let message = self.messages.swap_remove(place);
            if self.servers[message.to].up {
                let notification = Notification::decode(&message.bytes).unwrap();
                self.note(message.number);
                let (now, from) = (self.instant(), self.servers[message.from].id);
                self.servers[message.to].election.handle(now, from, &notification);
                self.perform(message.to);
            }
        }
        for place in 0..self.servers.len() {
            if self.servers[place].up {
                let now = self.instant();
                self.servers[place].election.tick(now);
                self.perform(place);
            }
        }
        if self.now == next_step {
            self.happen();
            self.act_on_outcomes();
            if self.now == FAULTS_MS {
                for place in 0..self.servers.len() {
                    self.hint(place, true);
                }
            }
        }
    }

    /// One leader, and all others with it.
    fn is_well(&self) -> bool {
        let mut leaders = self.servers.iter().filter(|it| it.election.state() == ServerState::Leading);
        let (Some(leader), None) = (leaders.next(), leaders.next()) else { return false };
        self.servers.iter().all(|it| it.up && it.established && it.election.vote().leader == leader.id)
    }

    fn run(seed: u64, voters: i64, observers: i64) -> Self {
        let mut world = Self::new(seed, voters, observers);
        while world.now < END_MS && !(world.now > FAULTS_MS + 1_000 && world.is_well()) {
            world.step();
        }
        assert!(
            world.is_well(),
            "seed {seed}, {voters} voters: not well after {} s: {:?}",
            world.now / 1000,
            world.servers.iter().map(|it| (it.id.0, it.election.state(), it.election.vote())).collect::<Vec<_>>()
        );
        world
    }
}

#[test]
fn in_the_end_one_leads_and_nothing_kept_is_lost() {
    let (mut elections, mut longest) = (0, 0);
    for seed in 1..=150 {
        let (voters, observers) = [(3, 0), (5, 1), (7, 0), (3, 2)][seed as usize % 4];
        let world = World::run(seed, voters, observers);
        elections += world.elections;
        longest = longest.max(world.now - FAULTS_MS);
    }
    // The faults have to have been worth the name.
    assert!(elections > 150 * 6, "only {elections} elections");
    println!("{elections} elections, well again at the latest {longest} ms after the last fault");
}

#[test]
fn the_same_seed_is_the_same_run() {
    for seed in [1, 2, 3, 77] {
        let runs = [World::run(seed, 5, 1), World::run(seed, 5, 1)];
        assert_eq!((runs[0].trace, runs[0].now, runs[0].sent), (runs[1].trace, runs[1].now, runs[1].sent));
    }
    assert_ne!(World::run(1, 5, 0).trace, World::run(2, 5, 0).trace);
}

/// Without faults the first election gives the best history of all that took part in it.
#[test]
fn the_winner_is_the_best_of_its_quorum() {
    for seed in 1..=200 {
        for voters in [3, 5, 7] {
            let mut world = World::new(seed, voters, 0);
            world.now = FAULTS_MS;
            for server in &mut world.servers {
                server.back_at += FAULTS_MS;
            }
            let rank = |server: &Server| (server.epoch, server.zxid, server.id);
            let ranks: Vec<_> = world.servers.iter().map(rank).collect();
            while !world.servers.iter().any(|it| it.established) && world.now < END_MS {
                world.step();
            }
            let leader = world.servers.iter().find(|it| it.election.state() == ServerState::Leading);
            let leader = leader.unwrap_or_else(|| panic!("seed {seed}: nobody leads"));
            let (outcome, _) = leader.outcome.as_ref().unwrap();
            let rank_of = |id: &ServerId| ranks[id.0 as usize - 1];
            for supporter in &outcome.supporters {
                assert!(rank_of(supporter) <= rank_of(&leader.id), "seed {seed}, {voters} voters: {outcome:?}");
            }
        }
    }
}
