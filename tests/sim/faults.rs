//! What strikes the servers, and how it ends.
//!
//! One thing is beyond the model: a disk rots or is wiped only while the others hold everything that was ever committed, as an
//! operator has to make sure of. A protocol that trusts disks cannot bear more.

use zoo_server::storage::sim_disk::SimDisk;

use crate::ledger::Ledger;
use crate::network::{Machine, server_id};
use crate::plan::Fault;
use crate::server::Crash;
use crate::world::{Due, Mend, World};

impl World {
    /// The next fault strikes.
    pub fn strike(&mut self) {
        if !self.is_faulty {
            return;
        }
        let next = self.random.below(2 * self.plan.fault_every);
        self.at(next, Due::Fault);
        if self.plan.faults.is_empty() {
            return;
        }
        let fault = self.plan.faults[self.random.index(self.plan.faults.len())];
        let victim = self.random.index(self.servers.len());
        self.trace(|| format!("fault: {fault:?}, victim {victim}"));
        self.figures.faults += 1;
        match fault {
            Fault::Kill => self.crash(victim, Crash::Kill),
            Fault::PowerCut => self.crash(victim, Crash::PowerCut),
            Fault::CrashAtStep => {
                let crash = if self.random.one_in(2) { Crash::Kill } else { Crash::PowerCut };
                let steps = self.random.below(60) as u32;
                self.servers[victim].crash_after = Some((steps, crash));
            }
            Fault::PowerCutOfAll => {
                (0..self.servers.len()).for_each(|server| self.crash(server, Crash::PowerCut));
            }
            Fault::Pause => {
                let tick = u64::from(self.plan.tick_ms) * 1000;
                let long = if self.random.one_in(2) { tick } else { 30 * tick };
                self.servers[victim].paused_until = self.now + self.random.below(long);
            }
            Fault::Partition => {
                let group: Vec<bool> = self.servers.iter().map(|_| self.random.one_in(2)).collect();
                let long = self.random.between(100_000, 5_000_000);
                for from in 0..group.len() {
                    for to in 0..group.len() {
                        if group[from] != group[to] {
                            self.block(from, to, long);
                        }
                    }
                }
            }
            Fault::OneWay => {
                let other = self.random.index(self.servers.len() + self.clients.len());
                let long = self.random.between(100_000, 5_000_000);
                let (from, to) = if self.random.one_in(2) { (victim, other) } else { (other, victim) };
                if from != to {
                    self.block(from, to, long);
                }
            }
            Fault::CutStream => {
                let streams: Vec<u64> = self.network.streams.keys().copied().collect();
                if !streams.is_empty() {
                    let stream = streams[self.random.index(streams.len())];
                    self.cut(stream);
                }
            }
            Fault::SlowDisk => {
                self.servers[victim].disk_slowness = 1 << self.random.below(9);
                let long = self.random.between(100_000, 4_000_000);
                self.at(long, Due::Mend(Mend::FastDisk { server: victim }));
            }
            Fault::FailedDisk => {
                let nth = 1 + self.random.below(20);
                if self.random.one_in(2) {
                    self.servers[victim].device.fail_sync(nth);
                } else {
                    self.servers[victim].device.fail_write(nth);
                }
            }
            Fault::FullDisk => {
                let device = &self.servers[victim].device;
                device.set_capacity(Some(device.used() + self.random.below(64 << 10)));
                let long = self.random.between(200_000, 4_000_000);
                self.at(long, Due::Mend(Mend::EmptyDisk { server: victim }));
            }
            Fault::Rot if self.plan.is_ensemble() => {
                // Its machine stays off for so long that the others go on without it.
                self.servers[victim].is_kept_down = true;
                self.crash(victim, Crash::PowerCut);
                let long = self.random.between(1_000_000, 4_000_000);
                self.at(long, Due::Mend(Mend::Rot { server: victim }));
            }
            Fault::Rot => {}
            Fault::WallJump => {
                self.servers[victim].clock.wall_shift_ms += self.random.below(120_000) as i64 - 60_000;
            }
        }
    }

    fn block(&mut self, from: Machine, to: Machine, long: u64) {
        self.network.blocked.insert((from, to));
        self.at(long, Due::Mend(Mend::Unblock { from, to }));
    }

    pub fn mend(&mut self, mend: Mend) {
        match mend {
            Mend::Unblock { from, to } => {
                self.network.blocked.remove(&(from, to));
            }
            Mend::Rot { server } => {
                if self.is_faulty {
                    self.rot(server);
                    self.servers[server].is_kept_down = false;
                    self.start_later(server);
                }
            }
            Mend::FastDisk { server } => self.servers[server].disk_slowness = 1,
            Mend::EmptyDisk { server } if self.is_faulty => self.servers[server].device.set_capacity(None),
            Mend::EmptyDisk { .. } => {}
        }
    }

    /// Whether all that was ever committed, and all that this server's log holds, is on the disks of a quorum of others.
    fn is_dispensable(&self, server: usize) -> bool {
        let Some(own) = self.ledger.truths.get(server) else { return false };
        let newest = own.last().max(self.ledger.last());
        let holders = (0..self.servers.len()).filter(|other| {
            let truth = &self.ledger.truths[*other];
            *other != server && truth.durable >= newest && self.servers[*other].is_serving()
        });
        let configuration = self.ledger.configuration();
        let is_voter = configuration.is_participant(server_id(server));
        self.servers[server].process.is_none()
            && self.now >= self.servers[server].down_since + 1_000_000
            && self.is_agreed()
            && (!is_voter || Ledger::is_quorum(configuration, holders))
    }

    /// Whether all servers go by one configuration, and none is proposed.
    pub fn is_agreed(&self) -> bool {
        !self.plan.reconfigures
            || self.servers.iter().all(|server| {
                server.configurations.as_ref().is_some_and(|(committed, last_seen)| {
                    committed.version == self.ledger.configuration().version && last_seen.is_none()
                })
            })
    }

    /// Some bits of a file change while the server is down.
    fn rot(&mut self, server: usize) {
        if self.servers[server].is_rotten || !self.is_dispensable(server) {
            return;
        }
        let device: &SimDisk = &self.servers[server].device;
        let names: Vec<String> =
            device.files().into_iter().filter(|(_, bytes)| !bytes.is_empty()).map(|(name, _)| name).collect();
        if names.is_empty() {
            return;
        }
        let name = &names[self.random.index(names.len())];
        let (at, bit) = (self.random.next(), self.random.below(8));
        device.damage(name, |bytes| {
            // Where there is something, rather than in the zeros behind it.
            let used = bytes.iter().rposition(|byte| *byte != 0).map_or(bytes.len(), |last| last + 1);
            bytes[(at % used as u64) as usize] ^= 1 << bit;
        });
        self.trace(|| format!("{name} of server {server} rots"));
        self.servers[server].is_rotten = true;
    }

    /// No fault strikes any more, and those that have are over, for these servers, but that the disks of some are full and stay so;
    /// the others stay down.
    pub fn heal(&mut self, servers: &[usize], full: &[usize]) {
        self.is_faulty = false;
        self.network.blocked.clear();
        for server in 0..self.servers.len() {
            let is_healed = servers.contains(&server);
            let own = &mut self.servers[server];
            own.crash_after = None;
            own.is_kept_down = !is_healed;
            own.disk_slowness = 1;
            own.device.set_capacity(full.contains(&server).then(|| own.device.used()));
            own.device.fail_write(u64::MAX / 2);
            own.device.fail_sync(u64::MAX / 2);
            own.paused_until = own.paused_until.min(self.now);
            if is_healed {
                self.start_later(server);
            } else {
                self.crash(server, Crash::PowerCut);
            }
        }
    }
}
