//! Faults put in by hand ([`Sabotage`]), all of them around the product: what a shell, a disk or a network would do wrong.
//!
//! - ACK before sync: the replica is told that its log is durable when it hands it over.
//! - currentEpoch before history: while a member synchronises, what it logs is said to be durable and reaches the disk a while
//!   later; its epochs reach the disk at once.
//! - commit without quorum: with each batch of a leader, acknowledgements of its followers are forged.
//! - skipped TRUNC: the replica gets the state at the cut, and the log on the disk stays as it is.
//! - a lost ephemeral: one member is told of one path less than a session's end removes.
//! - an event behind the answer: shards tell watchers last (see [`crate::shard`]).

use zoo_server::ids::Zxid;
use zoo_server::replica::event::{Event, LinkId, Reloaded};
use zoo_server::replica::message::Standing;
use zoo_server::storage::StorageError;
use zoo_server::storage::core::{Command, LogCore, Report};
use zoo_server::storage::disk::Disk;
use zoo_server::storage::log::Batch;
use zoo_server::storage::recovery;
use zoo_server::storage::sim_disk::SimDisk;
use zoo_server::wire::quorum::{PacketReader, PacketType, QuorumPacket};
use zoo_server::wire::txn::{Txn, TxnRecord};

use crate::plan::Sabotage;
use crate::world::{Due, World};

impl World {
    pub fn sabotages(&self, sabotage: Sabotage) -> bool {
        self.plan.sabotage == Some(sabotage)
    }

    /// A batch of a member that synchronises reaches the disk later than is said.
    pub fn withhold(&mut self, server: usize, batch: Batch) {
        let life = self.servers[server].life;
        let last = batch.last();
        let Some(process) = self.process(server) else { return };
        process.withheld.push(batch);
        let delay = self.random.between(200_000, 3_000_000);
        self.at(delay, Due::Release { server, life });
        self.tell_replica(server, Event::LogDurable(last));
    }

    pub fn release(&mut self, server: usize) {
        let Some(process) = self.process(server) else { return };
        for batch in std::mem::take(&mut process.withheld) {
            self.command(server, Command::Append(batch));
        }
    }

    /// Its followers are said to have acknowledged what the leader has just logged.
    pub fn forge_acks(&mut self, server: usize, zxids: &[Zxid]) {
        let Some(process) = self.process(server) else { return };
        let mut acks = Vec::new();
        zxids.iter().for_each(|zxid| QuorumPacket::new(PacketType::ACK, *zxid).encode(&mut acks));
        let links: Vec<(LinkId, u64)> = process.links.iter().map(|(link, stream)| (*link, *stream)).collect();
        for (link, stream) in links {
            let learner = self.network.streams.get(&stream).map(|stream| stream.machines[0]);
            let follows = learner.and_then(|learner| self.servers[learner].standing()) == Some(Standing::Following);
            if follows {
                self.tell_replica(server, Event::LinkBytes(link, acks.clone()));
            }
        }
    }

    /// The state at the cut, from a copy of the disk.
    pub fn pretend_truncation(&mut self, server: usize, to: Zxid) {
        let options = self.recovery_options();
        let storage = self.storage_options();
        let Some(process) = self.process(server) else { return };
        let mut copy = process.disk.restart();
        match truncated(&mut copy, storage, &options, to) {
            Ok(Some(reloaded)) => {
                self.trace(|| format!("server {server} does not truncate its log to {to}"));
                self.tell_replica(server, Event::Truncated(Box::new(reloaded)));
            }
            Ok(None) | Err(_) => {
                self.ledger.truths[server].truncating = Some(to);
                self.command(server, Command::Truncate { to });
            }
        }
    }

    /// What a learner hears of its leader: one ephemeral less than there is.
    pub fn tampered(&self, server: usize, bytes: Vec<u8>) -> Vec<u8> {
        let victim = self.plan.seed as usize % self.servers.len();
        if !self.sabotages(Sabotage::LostEphemeral) || server != victim {
            return bytes;
        }
        let mut reader = PacketReader::new(1 << 20);
        reader.push(&bytes);
        let mut out = Vec::new();
        while let Ok(Some(packet)) = reader.next_packet() {
            let shorter = packet.data.as_deref().filter(|_| is_record(packet.kind)).and_then(one_path_less);
            let data = shorter.map(Into::into).or_else(|| packet.data.clone());
            QuorumPacket { data, ..packet }.encode(&mut out);
        }
        // A state is no packet, and stays as it is.
        if out.len() <= bytes.len() && reader.take_rest().is_empty() { out } else { bytes }
    }
}

fn is_record(kind: PacketType) -> bool {
    kind == PacketType::PROPOSAL || kind == PacketType::INFORM
}

fn one_path_less(data: &[u8]) -> Option<Vec<u8>> {
    let mut record = TxnRecord::decode(data).ok()?;
    let Txn::CloseSession { paths: Some(paths) } = &mut record.txn else { return None };
    paths.pop()?;
    let mut bytes = Vec::new();
    record.encode(&mut bytes);
    Some(bytes)
}

fn truncated(
    disk: &mut SimDisk,
    storage: zoo_server::storage::core::Options,
    options: &recovery::Options,
    to: Zxid,
) -> Result<Option<Reloaded>, StorageError> {
    let recovered = recovery::recover(disk, options, &mut |_| {})?;
    let mut core = LogCore::open(disk, storage, &recovered.tail, 1)?;
    core.handle(Command::Truncate { to });
    let mut done = Vec::new();
    // A cut takes a handful of operations.
    for _ in 0..10_000 {
        while core.step(disk) {}
        while let Some(report) = core.poll_report() {
            match report {
                Report::Truncated { .. } => {
                    let (_, recovered) = recovery::reload(core, disk, options, &mut |_| {})?;
                    return Ok(Some(Reloaded { tree: recovered.tree, sessions: recovered.sessions }));
                }
                Report::TruncateImpossible { .. } | Report::Failed(_) => return Ok(None),
                _ => {}
            }
        }
        disk.wait(true, &mut done)?;
        done.drain(..).for_each(|completion| core.complete(completion));
    }
    Ok(None)
}
