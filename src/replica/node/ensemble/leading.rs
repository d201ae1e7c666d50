//! The server leads: its pipeline decides, its peers are sent what it decides while its own log takes it, and what a quorum has is
//! published.

use std::collections::BTreeMap;

use bytes::Bytes;

use super::{Ensemble, Role};
use crate::ids::{SessionId, Zxid};
use crate::pipeline::Sink;
use crate::replica::event::{Action, LinkId, Now};
use crate::replica::message::Standing;
use crate::replica::node::Replica;
use crate::session::Owner;
use crate::time::Instant;
use crate::wire::quorum::{PacketReader, QuorumPacket};
use crate::zab::{Leader, LeaderAction, ForwardedRequest};

/// Marks the owner of a session that lives on a learner; no shard has this number ([`ConnectionId`]'s top byte) while there is
/// room for fewer than 256 of them.
///
/// [`ConnectionId`]: crate::replica::message::ConnectionId
const LINK_OWNER: u64 = 0xff << 56;

/// What a leader keeps.
pub(in crate::replica) struct Leading {
    pub(in crate::replica) zab: Leader,
    links: BTreeMap<LinkId, Link>,
    pub(in crate::replica) is_established: bool,
    pub(in crate::replica) since: Instant,
}

/// The connection of a learner.
#[derive(Default)]
struct Link {
    reader: PacketReader,
    /// What goes out at the end of the turn.
    out: Vec<u8>,
}

impl Leading {
    pub(super) fn new(zab: Leader, now: Instant) -> Self {
        Self { zab, links: BTreeMap::new(), is_established: false, since: now }
    }
}

/// As the sessions know a learner's connection.
fn owner_of(link: LinkId) -> Owner {
    Owner(LINK_OWNER | u64::from(link.0))
}

impl Replica {
    /// Whether it decides itself: alone, or as a leader in office.
    pub(in crate::replica) fn is_deciding(&self) -> bool {
        match self.ensemble.as_deref() {
            None => true,
            Some(Ensemble { role: Role::Leading(leading), .. }) => leading.is_established,
            Some(_) => false,
        }
    }

    fn leading(&mut self) -> Option<&mut Leading> {
        match self.ensemble.as_deref_mut() {
            Some(Ensemble { role: Role::Leading(leading), .. }) => Some(leading),
            _ => None,
        }
    }

    /// Sends records to the peers, before anything has come of those before.
    pub(in crate::replica) fn propose(&mut self, now: Now, records: Vec<u8>, ends: &[(Zxid, usize)]) {
        let Some(leading) = self.leading() else { return };
        let records = Bytes::from(records);
        let mut start = 0;
        for &(zxid, end) in ends {
            leading.zab.propose(now.instant, zxid, records.slice(start..end));
            start = end;
        }
    }

    pub(in crate::replica) fn handle_link_opened(&mut self, now: Now, link: LinkId) {
        match self.leading() {
            Some(leading) => {
                leading.links.insert(link, Link::default());
                leading.zab.link_opened(now.instant, link);
            }
            None => self.actions.push_back(Action::CloseLink(link)),
        }
    }

    pub(in crate::replica) fn handle_link_bytes(&mut self, now: Now, link: LinkId, bytes: &[u8]) {
        if let Some(leading) = self.leading().filter(|leading| leading.links.contains_key(&link)) {
            leading.links.get_mut(&link).expect("it was there just now").reader.push(bytes);
            loop {
                let Some(Ensemble { role: Role::Leading(leading), history, .. }) = self.ensemble.as_deref_mut() else {
                    return;
                };
                let Some(entry) = leading.links.get_mut(&link) else { return };
                match entry.reader.next() {
                    Ok(Some(packet)) => leading.zab.packet(now.instant, link, packet, history),
                    Ok(None) => break,
                    Err(error) => {
                        tracing::warn!(?link, %error, "a learner sent what is no packet: closed");
                        self.close_link(now, link);
                        break;
                    }
                }
                // What a packet brought is done before the next one: a request is answered in the state that it found.
                self.drive_leader(now);
            }
        }
    }

    fn close_link(&mut self, now: Now, link: LinkId) {
        self.actions.push_back(Action::CloseLink(link));
        self.handle_link_closed(now, link);
    }

    pub(in crate::replica) fn handle_link_closed(&mut self, now: Now, link: LinkId) {
        if let Some(leading) = self.leading()
            && leading.links.remove(&link).is_some()
        {
            leading.zab.link_closed(now.instant, link);
        }
    }

    /// Does what the leader's machine says, until it has nothing more to say.
    pub(super) fn drive_leader(&mut self, now: Now) {
        while let Some(Ensemble { role: Role::Leading(leading), .. }) = self.ensemble.as_deref_mut()
            && let Some(action) = leading.zab.poll()
        {
            match action {
                LeaderAction::SaveEpochs { accepted, current } => self.save_epochs(accepted, current),
                LeaderAction::Send { link, packet } => leading.send(link, &packet),
                LeaderAction::SendSnapshot { link } => self.send_snapshot(link),
                LeaderAction::Close { link, why } => {
                    tracing::info!(?link, why, "the connection of a learner is closed");
                    self.flush_link(link);
                    self.close_link(now, link);
                }
                LeaderAction::Established { epoch } => self.establish(now, epoch),
                LeaderAction::Commit { zxid, record } => self.committed(zxid, record),
                LeaderAction::Request(link, request) => self.handle_forwarded(now, link, request),
                LeaderAction::Revalidate { link, session, timeout_ms } => {
                    let valid = self.pipeline.revalidate(now.instant, session, timeout_ms, owner_of(link));
                    if let Some(leading) = self.leading() {
                        leading.zab.revalidated(link, session, valid);
                    }
                }
                LeaderAction::Touch { sessions, .. } => {
                    for (session, _) in sessions {
                        self.pipeline.sessions_mut().touch(session, now.instant);
                    }
                }
                LeaderAction::StepDown { why } => self.stand_down(now, &why),
            }
        }
    }

    fn establish(&mut self, now: Now, epoch: crate::ids::Epoch) {
        self.pipeline.begin_epoch(epoch);
        self.pipeline.lead(now.instant);
        let leading = self.leading().expect("only a leader is established");
        leading.is_established = true;
        let ensemble = self.ensemble.as_deref_mut().expect("a leader has an ensemble");
        ensemble.election.established(now.instant, epoch);
        ensemble.commits = 0;
        tracing::info!(epoch = epoch.0, zxid = %self.published, "this server leads");
        self.stand(Standing::Leading);
    }

    /// A quorum has this record.
    fn committed(&mut self, zxid: Zxid, record: Bytes) {
        let ensemble = self.ensemble.as_deref_mut().expect("a leader has an ensemble");
        ensemble.history.push(zxid, record);
        ensemble.commits += 1;
        self.pipeline.sessions_mut().committed(zxid);
        self.handle_committed(zxid);
    }

    fn send_snapshot(&mut self, link: LinkId) {
        self.flush_link(link);
        let version = self.published_version.clone();
        let sessions = self.pipeline.sessions().at(version.zxid());
        self.actions.push_back(Action::SnapshotToLink { link, version, sessions });
    }

    /// A learner's client wants something.
    fn handle_forwarded(&mut self, now: Now, link: LinkId, request: ForwardedRequest) {
        let frame_start = self.open.frames.len();
        let mut sink = Sink { log: &mut self.record, reply: &mut self.open.frames, changes: &mut self.open.changes };
        let done = self.pipeline.process_forwarded(now.wall, now.instant, &request, owner_of(link), &mut sink);
        self.open.frames.truncate(frame_start);
        if done.logged {
            self.booked(done.zxid);
        }
    }

    fn flush_link(&mut self, link: LinkId) {
        if let Some(leading) = self.leading()
            && let Some(entry) = leading.links.get_mut(&link)
            && !entry.out.is_empty()
        {
            let bytes = std::mem::take(&mut entry.out);
            self.actions.push_back(Action::ToLink(link, bytes));
        }
    }

    /// What has collected for the learners goes out, one write each.
    pub(super) fn flush_links(&mut self) {
        if let Some(Ensemble { role: Role::Leading(leading), .. }) = self.ensemble.as_deref_mut() {
            for (&link, entry) in &mut leading.links {
                if !entry.out.is_empty() {
                    self.actions.push_back(Action::ToLink(link, std::mem::take(&mut entry.out)));
                }
            }
        }
    }
}

impl Leading {
    fn send(&mut self, link: LinkId, packet: &QuorumPacket) {
        if let Some(entry) = self.links.get_mut(&link) {
            packet.encode(&mut entry.out);
        }
    }
}

/// Sessions with their timeouts, as a snapshot has them.
pub(in crate::replica) type SessionList = Vec<(SessionId, i32)>;
