//! The server leads: its pipeline decides, its peers are sent what it decides while its own log takes it, and what a quorum has is
//! published.

use std::collections::{BTreeMap, VecDeque};

use bytes::Bytes;

use super::{Ensemble, Role};
use crate::ids::{Epoch, SessionId, Zxid};
use crate::pipeline::{Request, Sink};
use crate::replica::event::{Action, LinkId, Now};
use crate::replica::message::Standing;
use crate::replica::node::{Origin, Replica, Stalled};
use crate::session::Owner;
use crate::time::Instant;
use crate::tree::Version;
use crate::wire::acl::Id;
use crate::wire::header::Xid;
use crate::wire::op::OpCode;
use crate::wire::quorum::{ForwardedRequest, PacketReader};
use crate::zab::{Leader, LeaderAction};

/// Bytes that a connection may bring before it has said who it is in one packet of some thirty: whoever connects to the quorum
/// port holds so much of our memory, and no more.
const GREETING_BYTES_MAX: usize = 64 << 10;

/// What a leader keeps.
pub(in crate::replica) struct Leading {
    pub(in crate::replica) zab: Leader,
    links: BTreeMap<LinkId, Link>,
    pub(in crate::replica) is_established: bool,
    /// The ensemble was reconfigured and another server leads: it waits until all have gone there.
    pub(in crate::replica) is_retiring: bool,
    pub(in crate::replica) since: Instant,
    /// Records that were proposed and are not committed, in order.
    proposed: VecDeque<(Zxid, Bytes)>,
    /// The newest version that is committed: what learners are sent.
    pub(in crate::replica) committed_version: Version,
}

/// The connection of a learner.
struct Link {
    reader: PacketReader,
    /// Its first packet has come.
    has_greeted: bool,
    /// What goes out at the end of the turn.
    out: Vec<u8>,
}

/// A request of a learner's client.
#[derive(Debug)]
pub(in crate::replica) struct LearnerRequest {
    pub(in crate::replica) request: ForwardedRequest,
    pub(in crate::replica) identities: Vec<Id<'static>>,
    /// The learner's link; or [`Owner::MOVED`], if the session had moved when this came.
    pub(in crate::replica) owner: Owner,
}

impl LearnerRequest {
    /// As the pipeline takes it.
    fn request(&self) -> Request<'_> {
        Request {
            session: self.request.session,
            xid: Xid(self.request.cxid),
            op: self.request.op,
            body: &self.request.body,
            identities: &self.identities,
            owner: self.owner,
        }
    }

    /// What it takes in memory, about.
    pub(in crate::replica) fn len(&self) -> usize {
        let identities = self.identities.iter().map(|id| 64 + id.scheme.len() + id.id.len());
        128 + self.request.body.len() + identities.sum::<usize>()
    }
}

/// Sessions with their timeouts, as a snapshot has them.
pub(in crate::replica) type SessionList = Vec<(SessionId, i32)>;

impl Leading {
    pub(super) fn new(zab: Leader, committed_version: Version, now: Instant) -> Self {
        Self {
            zab,
            links: BTreeMap::new(),
            is_established: false,
            is_retiring: false,
            since: now,
            proposed: VecDeque::new(),
            committed_version,
        }
    }

    /// Takes out what was proposed and not committed.
    pub(super) fn take_proposed(&mut self) -> VecDeque<(Zxid, Bytes)> {
        std::mem::take(&mut self.proposed)
    }
}

impl Replica {
    /// Whether it decides itself: alone, or as a leader in office.
    pub(in crate::replica) fn is_deciding(&self) -> bool {
        match self.ensemble.as_deref() {
            None => true,
            Some(Ensemble { role: Role::Leading(leading), .. }) => leading.is_established && !leading.is_retiring,
            Some(_) => false,
        }
    }

    /// The first zxid of the epoch that this server serves in: whatever clients saw before it, this server has.
    pub(in crate::replica) fn epoch_start(&self) -> Zxid {
        match self.ensemble.as_deref() {
            Some(ensemble) if self.is_deciding() || self.is_forwarding() => Zxid::new(ensemble.epoch, 0),
            _ => Zxid::ZERO,
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
        for (index, &(zxid, end)) in ends.iter().enumerate() {
            let record = records.slice(start..end);
            leading.proposed.push_back((zxid, record.clone()));
            leading.zab.propose(now.instant, zxid, record, index + 1 == ends.len());
            start = end;
        }
    }

    pub(in crate::replica) fn handle_link_opened(&mut self, now: Now, link: LinkId) {
        let packet_bytes_max = self.packet_bytes_max();
        match self.leading() {
            Some(leading) => {
                let reader = PacketReader::new(packet_bytes_max);
                leading.links.insert(link, Link { reader, has_greeted: false, out: Vec::new() });
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
                match entry.reader.next_packet() {
                    Ok(Some(packet)) => {
                        entry.has_greeted = true;
                        leading.zab.packet(now.instant, link, packet, history);
                    }
                    Ok(None) if !entry.has_greeted && entry.reader.unread_len() > GREETING_BYTES_MAX => {
                        tracing::warn!(?link, "a first packet without end at the quorum port: closed");
                        self.close_link(link);
                        break;
                    }
                    Ok(None) => break,
                    Err(error) => {
                        tracing::warn!(?link, %error, "a learner sent what is no packet: closed");
                        self.close_link(link);
                        break;
                    }
                }
                // What a packet brought is done before the next one: a request is answered in the state that it found.
                while let Some(leading) = self.leading()
                    && let Some(action) = leading.zab.poll_between()
                {
                    self.do_leader(now, action);
                }
            }
        }
    }

    fn close_link(&mut self, link: LinkId) {
        self.flush_link(link);
        self.actions.push_back(Action::CloseLink(link));
        self.handle_link_closed(link);
    }

    /// A state is still on its way to a learner: it is not late.
    pub(in crate::replica) fn handle_link_progress(&mut self, now: Now, link: LinkId) {
        if let Some(leading) = self.leading() {
            leading.zab.snapshot_progress(now.instant, link);
        }
    }

    pub(in crate::replica) fn handle_link_closed(&mut self, link: LinkId) {
        if let Some(leading) = self.leading()
            && leading.links.remove(&link).is_some()
        {
            leading.zab.link_closed(link);
            self.stalled.forget_link(link);
        }
    }

    /// Does what the leader's machine says, until it has nothing more to say.
    pub(super) fn drive_leader(&mut self, now: Now) {
        while let Some(leading) = self.leading()
            && let Some(action) = leading.zab.poll()
        {
            self.do_leader(now, action);
        }
    }

    fn do_leader(&mut self, now: Now, action: LeaderAction) {
        match action {
            LeaderAction::SaveEpochs { accepted, current } => self.save_epochs(accepted, current),
            LeaderAction::Send { link, packet } => {
                if let Some(entry) = self.leading().and_then(|leading| leading.links.get_mut(&link)) {
                    packet.encode(&mut entry.out);
                }
            }
            LeaderAction::SendSnapshot { link, zxid } => self.send_snapshot(link, zxid),
            LeaderAction::Close { link, why } => {
                tracing::info!(?link, why, "the connection of a learner is closed");
                self.close_link(link);
            }
            LeaderAction::Established { epoch } => self.establish(now, epoch),
            LeaderAction::Commit { through } => self.committed(through),
            LeaderAction::Activate { membership, designated } => self.activate_as_leader(now, membership, designated),
            LeaderAction::Request { link, request, identities } => {
                let owner = Owner::learner(link.0);
                self.handle_forwarded(now, link, LearnerRequest { request, identities, owner });
            }
            LeaderAction::Revalidate { link, session, timeout_ms } => {
                let owner = Owner::learner(link.0);
                let is_valid = self.pipeline.revalidate(now.instant, session, timeout_ms, owner);
                if is_valid {
                    self.stalled.moved(session, owner);
                }
                if let Some(leading) = self.leading() {
                    leading.zab.revalidated(link, session, is_valid);
                }
            }
            LeaderAction::Touch { sessions, .. } => {
                for (session, timeout_ms) in sessions {
                    self.pipeline.sessions_mut().touch_for(session, timeout_ms, now.instant);
                }
            }
            LeaderAction::SyncDone => self.sync_confirmed(),
            LeaderAction::StepDown { why } => self.stand_down(now, &why),
        }
    }

    fn establish(&mut self, now: Now, epoch: Epoch) {
        self.pipeline.begin_epoch(epoch, now.instant);
        self.show_config(now);
        self.publish_head();
        let committed_version = self.published_version.clone();
        let ensemble = self.ensemble.as_deref_mut().expect("a leader has an ensemble");
        let Role::Leading(leading) = &mut ensemble.role else { unreachable!("only a leader is established") };
        leading.is_established = true;
        leading.committed_version = committed_version;
        ensemble.election.established(now.instant, epoch);
        ensemble.history.epoch_started(epoch);
        ensemble.epoch = epoch;
        ensemble.commits = 0;
        ensemble.fruitless = 0;
        ensemble.unserved = 0;
        ensemble.full_disk.served();
        self.stats.proposal_size = [0; 3];
        tracing::info!(epoch = epoch.0, zxid = %self.published, "this server leads");
        self.stand(Standing::Leading);
    }

    /// A quorum has everything through this record.
    fn committed(&mut self, through: Zxid) {
        let ensemble = self.ensemble.as_deref_mut().expect("a leader has an ensemble");
        let Role::Leading(leading) = &mut ensemble.role else { unreachable!("only a leader commits") };
        while let Some((zxid, record)) = leading.proposed.pop_front_if(|(zxid, _)| *zxid <= through) {
            ensemble.history.push(zxid, record);
            ensemble.commits += 1;
        }
        let newest = self.in_flight.iter().take_while(|batch| batch.last.is_none_or(|last| last <= through)).last();
        if let Some(segment) = newest.and_then(|batch| batch.segments.last()) {
            leading.committed_version = segment.version.clone();
        }
        self.pipeline.committed(through);
        self.handle_committed(through);
    }

    fn send_snapshot(&mut self, link: LinkId, zxid: Zxid) {
        self.flush_link(link);
        let Some(leading) = self.leading() else { return };
        let version = leading.committed_version.clone();
        let at = version.zxid();
        assert!(
            at == zxid || (zxid.counter() == 0 && at < zxid),
            "a learner is to get the state at {zxid}, and what is committed is the state at {at}"
        );
        let sessions = self.pipeline.sessions_at(at);
        self.actions.push_back(Action::SnapshotToLink { link, version, sessions });
    }

    /// A `sync` of a client of this server's is answered when a quorum has confirmed behind it that this server leads.
    pub(in crate::replica) fn confirm_sync(&mut self) {
        let last = self.pipeline.zxid();
        if let Some(leading) = self.leading() {
            leading.zab.sync_request(None, last);
            self.open.unconfirmed_syncs += 1;
        }
    }

    fn sync_confirmed(&mut self) {
        let in_flight = self.in_flight.iter_mut().map(|batch| &mut batch.unconfirmed_syncs);
        let oldest = in_flight.chain([&mut self.open.unconfirmed_syncs]).find(|syncs| **syncs > 0);
        *oldest.expect("a sync is confirmed that waits") -= 1;
        self.publish_ready();
    }

    /// A learner's client wants something.
    fn handle_forwarded(&mut self, now: Now, link: LinkId, mut request: LearnerRequest) {
        if !self.stalled.holds_up(Origin::Learner(link)) && self.has_room_for_forwarded(&request) {
            self.process_forwarded(now, link, &request);
            return;
        }
        // While it waits its client may come back to this learner, and the link own the session again: what the client asked for before
        // it left must not come behind what it asked for elsewhere (seed 196353).
        let owner = self.pipeline.sessions().owner(request.request.session);
        if owner.is_some_and(|owner| owner != request.owner) {
            request.owner = Owner::MOVED;
        }
        self.stalled.push(Stalled::Forwarded(link, request));
        if self.stalled.is_too_much() {
            tracing::warn!(?link, "its requests that wait for room in the log are too many: closed");
            self.close_link(link);
        }
    }

    /// As for a shard's item; but its client has to be answered by a transaction, so on a full disk it waits for room for that.
    pub(in crate::replica) fn has_room_for_forwarded(&self, learner: &LearnerRequest) -> bool {
        !self.is_deciding() || self.has_room_for_write(&learner.request())
    }

    pub(in crate::replica) fn process_forwarded(&mut self, now: Now, link: LinkId, learner: &LearnerRequest) {
        if !self.may_decide(now) {
            return;
        }
        if learner.request.op == OpCode::SYNC {
            let last = self.pipeline.zxid();
            if let Some(leading) = self.leading() {
                leading.zab.sync_request(Some(link), last);
            }
            return;
        }
        let request = learner.request();
        self.show_quorum(request.op);
        let frame_start = self.open.frames.len();
        let mut sink = Sink { log: &mut self.record, reply: &mut self.open.frames, changes: &mut self.open.changes };
        let done = self.pipeline.process_forwarded(now.wall, now.instant, &request, &mut sink);
        self.open.frames.truncate(frame_start);
        if done.logged {
            self.booked(done.zxid);
        }
        self.launch_reconfiguration(now);
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
    pub(in crate::replica) fn flush_links(&mut self) {
        if let Some(Ensemble { role: Role::Leading(leading), .. }) = self.ensemble.as_deref_mut() {
            for (&link, entry) in &mut leading.links {
                if !entry.out.is_empty() {
                    self.actions.push_back(Action::ToLink(link, std::mem::take(&mut entry.out)));
                }
            }
        }
    }
}
