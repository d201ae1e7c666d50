//! Four-letter words: what a shard can answer alone it answers at once; for the others it asks the replica, which asks every
//! shard and hands all the parts back. What has to be read from files is read before that, on a thread of its own: a shard
//! waits for no disk.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::Ordering;
use std::sync::{Arc, PoisonError};
use std::time::Duration;

use crate::admin::figures::{Counter, Figures, Latency, Tally};
use crate::admin::status::{
    ConnectionSession, ConnectionStatus, EnsembleStatus, LeaderStatus, MemoryStatus, Mode, MonitorStatus,
    ResponseBytes, ServerStatus, SessionStatus, Status,
};
use crate::admin::{self, Word};
use crate::ids::{ServerId, SessionId, Zxid};
use crate::replica::message::{
    Ask, ConnectionId, EnsembleReport, Gathered, Part, Question, ReplicaReport, ShardItem, Standing,
};
use crate::rt::{clock, limits, process};
use crate::server::options::{About, ShardOptions};
use crate::time::{Instant, WallTime};

use super::connection::{Connection, Queued, Stage};
use super::{SharedCounts, State, ToShardInbox};

/// What a shard counts since the server started, or `srst`.
#[derive(Clone, Debug)]
pub(super) struct ShardStats {
    pub(super) figures: Figures,
    pub(super) latency: Tally,
    pub(super) packets_received: u64,
    pub(super) packets_sent: u64,
    pub(super) auth_failed: u64,
    pub(super) response_bytes: Option<ResponseBytes>,
}

impl Default for ShardStats {
    fn default() -> Self {
        let counters = [
            Counter::BytesReceived,
            Counter::ResponseBytes,
            Counter::WatchBytes,
            Counter::ConnectionRequests,
            Counter::ConnectionsRejected,
            Counter::ConnectionsDropped,
            Counter::SessionlessConnectionsExpired,
            Counter::LargeRequestsRejected,
        ];
        Self {
            figures: Figures::of(&counters, &[], &[Latency::Read, Latency::Update]),
            latency: Tally::default(),
            packets_received: 0,
            packets_sent: 0,
            auth_failed: 0,
            response_bytes: None,
        }
    }
}

/// A shard's part of an answer.
#[derive(Debug)]
struct ShardPart {
    stats: ShardStats,
    outstanding: u64,
    watches: u64,
    connections: Vec<ConnectionStatus>,
    watched: BTreeMap<SessionId, BTreeSet<String>>,
}

/// Words that wait for their parts at once on one shard; more are turned away.
const ASKED_MAX: usize = 64;

/// A word that waits for what it tells.
#[derive(Debug)]
pub(super) struct Asked {
    connection: ConnectionId,
    word: Word,
    facts: Facts,
}

impl Asked {
    /// Whether this connection asks.
    pub(super) fn is_of(&self, connection: ConnectionId) -> bool {
        self.connection == connection
    }
}

/// What is read from files.
#[derive(Clone, Copy, Debug, Default)]
pub(in crate::server) struct Facts {
    memory: Option<MemoryStatus>,
    data_dir_bytes: u64,
    log_dir_bytes: u64,
    open_files: Option<u64>,
}

impl Facts {
    /// Whether a word tells any.
    fn are_needed(word: Word) -> bool {
        let needs = admin::needs(word);
        needs.memory || needs.dir_bytes || needs.monitor
    }

    /// Reads those that a word tells. Takes as long as the files do.
    fn read(word: Word, about: &About) -> Self {
        let needs = admin::needs(word);
        let memory = |(resident, most): (u64, u64)| MemoryStatus {
            free_mb: most.saturating_sub(resident) >> 20,
            max_mb: most >> 20,
            total_mb: resident >> 20,
        };
        let bytes = |folder| if needs.dir_bytes { process::folder_bytes(folder) } else { 0 };
        Self {
            memory: if needs.memory { process::memory().map(memory) } else { None },
            data_dir_bytes: bytes(&about.data_folder),
            log_dir_bytes: bytes(&about.log_folder),
            open_files: if needs.monitor { process::open_files() } else { None },
        }
    }
}

impl State {
    /// A four-letter word has come from the connection in `slot`.
    pub(super) fn word(
        &mut self,
        options: &ShardOptions,
        shared: &SharedCounts,
        shard: u8,
        slot: u32,
        word: Word,
        argument: &[u8],
    ) {
        self.stats.packets_received += 1;
        if !options.words.allows(word) {
            self.say(slot, &admin::answer_not_allowed(word));
            return;
        }
        if word == Word::Stmk
            && let Ok(mask) = argument.try_into()
        {
            shared.trace_mask.store(i64::from_be_bytes(mask), Ordering::Relaxed);
        }
        let id = self.connections.get_mut(slot).expect("a connection that is read from is there").id;
        let is_told = self.serves(options) || word == Word::Envi;
        if !is_told || !Facts::are_needed(word) {
            self.word_with(options, shared, shard, Asked { connection: id, word, facts: Facts::default() });
            return;
        }
        let Some(ticket) = self.wait_for_parts(Asked { connection: id, word, facts: Facts::default() }) else {
            return;
        };
        let (about, inbox) = (options.about.clone(), self.inbox.clone());
        let started = limits::spawn_thread("zoo-facts", None, move || {
            // A shard that has ended wants no answer.
            let _ = inbox.send_blocking(ToShardInbox::Facts(ticket, Facts::read(word, &about)));
        });
        if let Err(error) = started {
            tracing::warn!(%error, word = word.name(), "a four-letter word is not answered");
            self.asked.remove(&ticket);
            self.say(slot, "");
        }
    }

    /// What a word tells of files has been read.
    pub(super) fn hear_facts(
        &mut self,
        options: &ShardOptions,
        shared: &SharedCounts,
        shard: u8,
        ticket: u32,
        facts: Facts,
    ) {
        if let Some(asked) = self.asked.remove(&ticket)
            && self.connection(asked.connection).is_some()
        {
            self.word_with(options, shared, shard, Asked { facts, ..asked });
        }
    }

    /// Answers a word, or asks those who know the rest of the answer.
    fn word_with(&mut self, options: &ShardOptions, shared: &SharedCounts, shard: u8, asked: Asked) {
        let Asked { connection: ConnectionId { slot, .. }, word, facts } = asked;
        if !self.serves(options) {
            let status = self.status_of_one(&options.about, shared, word, &facts);
            self.say(slot, &admin::answer_not_serving(word, &status));
            return;
        }
        let question = match word {
            Word::Ruok
            | Word::Isro
            | Word::Gtmk
            | Word::Stmk
            | Word::Envi
            | Word::Conf
            | Word::Dirs
            | Word::TelnetClose => {
                let status = self.status_of_one(&options.about, shared, word, &facts);
                self.say(slot, &admin::answer(word, &status));
                return;
            }
            Word::Srvr | Word::Mntr | Word::Hash => Question::Stats,
            Word::Stat | Word::Cons => Question::Connections,
            Word::Dump => Question::Sessions,
            Word::Wchs | Word::Wchc | Word::Wchp => Question::Watches,
            Word::Srst => Question::ResetStats,
            Word::Crst => Question::ResetConnections,
        };
        if let Some(ticket) = self.wait_for_parts(asked) {
            self.outgoing.items.push(ShardItem::Ask(Ask { shard, ticket, question }));
        }
    }

    /// Lets a word wait; its ticket, unless too many wait already.
    fn wait_for_parts(&mut self, asked: Asked) -> Option<u32> {
        if self.asked.len() >= ASKED_MAX {
            self.say(asked.connection.slot, "");
            return None;
        }
        let ticket = self.next_ticket;
        self.next_ticket = self.next_ticket.wrapping_add(1);
        let connection = self.connection(asked.connection).expect("a connection that asks is there");
        connection.stage = Stage::Word;
        self.asked.insert(ticket, asked);
        Some(ticket)
    }

    /// This shard's part of an answer.
    pub(super) fn part(&mut self, options: &ShardOptions, question: Question) -> Part {
        match question {
            Question::ResetStats => self.stats = ShardStats::default(),
            Question::ResetConnections => {
                self.connections.iter_mut().for_each(|(_, connection)| connection.stats = Default::default());
            }
            Question::Stats | Question::Connections | Question::Sessions | Question::Watches => {}
        }
        let (now, wall) = (clock::now(), clock::wall());
        let wall_of = |instant: Instant| WallTime(wall.0 + instant.since(now).as_millis() as i64);
        let with_connections = matches!(question, Question::Connections | Question::Sessions);
        let connections = if with_connections {
            self.connections
                .iter()
                .map(|(_, connection)| connection_status(connection, options.sessionless_timeout, wall_of))
                .collect()
        } else {
            Vec::new()
        };
        let mut watched: BTreeMap<SessionId, BTreeSet<String>> = BTreeMap::new();
        if question == Question::Watches {
            for (watcher, paths) in self.watches.by_watcher() {
                if let Some(connection) = self.connections.get_mut(watcher.0) {
                    watched.entry(connection.session).or_default().extend(paths.into_iter().map(str::to_owned));
                }
            }
        }
        Part(Arc::new(ShardPart {
            stats: self.stats.clone(),
            outstanding: self.connections.iter().map(|(_, connection)| connection.queue().len() as u64).sum(),
            watches: self.watches.len() as u64,
            connections,
            watched,
        }))
    }

    /// All parts are there: the word is answered.
    pub(super) fn answer_word(&mut self, options: &ShardOptions, shared: &SharedCounts, ask: Ask, gathered: &Gathered) {
        let Some(Asked { connection: id, word, facts }) = self.asked.remove(&ask.ticket) else {
            return;
        };
        if self.connection(id).is_none() {
            return;
        }
        let mut status = self.status_of_one(&options.about, shared, word, &facts);
        let mut stats = ShardStats::default();
        for part in &gathered.parts {
            if let Some(figures) = part.0.downcast_ref::<Figures>() {
                stats.figures.merge(figures);
                continue;
            }
            let part = part.0.downcast_ref::<ShardPart>().expect("a part is a shard's, or the replica's figures");
            stats.figures.merge(&part.stats.figures);
            stats.latency.merge(&part.stats.latency);
            stats.packets_received += part.stats.packets_received;
            stats.packets_sent += part.stats.packets_sent;
            stats.auth_failed += part.stats.auth_failed;
            stats.response_bytes = ResponseBytes::merge(stats.response_bytes, part.stats.response_bytes);
            status.server.outstanding += part.outstanding;
            status.monitor.watches += part.watches;
            status.connections.extend(part.connections.iter().cloned());
            for (session, paths) in &part.watched {
                status.watches.entry(*session).or_default().extend(paths.iter().cloned());
            }
        }
        status.server.latency = stats.latency;
        status.server.packets_received = stats.packets_received;
        status.server.packets_sent = stats.packets_sent;
        stats.figures.add(Counter::ConnectionsRejected, shared.rejected.load(Ordering::Relaxed));
        status.monitor.figures = stats.figures;
        status.monitor.response_bytes = stats.response_bytes;
        status.monitor.auth_failed = stats.auth_failed;
        status.monitor.global_sessions = gathered.replica.session_count;
        status.digests = gathered.replica.digests.clone();
        // It may lead or follow another by now; the word tells of one moment.
        if let Some(ensemble) = &gathered.replica.ensemble {
            status.server.mode = mode(ensemble.standing);
            if ensemble.standing == Standing::Leading {
                // A leader stands at the start of its epoch before its first transaction, as Apache's does.
                status.server.zxid = status.server.zxid.max(Zxid::new(ensemble.epoch, 0));
            }
            status.ensemble = Some(ensemble_status(ensemble, &gathered.replica, self.since));
        }
        if word == Word::Dump {
            status.sessions = self.session_status(gathered);
        }
        self.say(id.slot, &admin::answer(word, &status));
    }

    /// What this shard knows of the server without asking, beside what it read.
    fn status_of_one(&self, about: &About, shared: &SharedCounts, word: Word, facts: &Facts) -> Status {
        let mut status = Status {
            server: ServerStatus {
                mode: mode(self.standing),
                client_port: match shared.client_port.load(Ordering::Relaxed) {
                    0 => about.client_port,
                    moved => moved,
                },
                connections: shared.connections(),
                zxid: self.version.zxid(),
                node_count: self.version.node_count() as u64,
                ..ServerStatus::default()
            },
            about: told(about, shared),
            trace_mask: shared.trace_mask.load(Ordering::Relaxed),
            memory: facts.memory,
            data_dir_bytes: facts.data_dir_bytes,
            log_dir_bytes: facts.log_dir_bytes,
            ..Status::default()
        };
        if admin::needs(word).monitor {
            status.monitor = MonitorStatus {
                ephemerals: self.version.ephemeral_count() as u64,
                approximate_data_bytes: self.version.approximate_data_size(),
                uptime_ms: clock::now().since(about.started).as_millis() as u64,
                open_files: facts.open_files,
                open_files_max: limits::open_files().ok().map(|limit| limit.soft),
                ..MonitorStatus::default()
            };
        }
        status
    }

    fn session_status(&self, gathered: &Gathered) -> SessionStatus {
        let wall = clock::wall();
        let mut status = SessionStatus::default();
        for session in &gathered.replica.sessions {
            let at = WallTime(wall.0 + session.expires_in_ms as i64);
            status.expiring.entry(at).or_default().insert(session.session);
        }
        for session in self.version.ephemeral_sessions() {
            let paths = self.version.ephemerals(session).map(str::to_owned).collect();
            status.ephemerals.insert(session, paths);
        }
        status
    }

    /// Says the last words to a connection.
    fn say(&mut self, slot: u32, text: &str) {
        if let Some(connection) = self.connections.get_mut(slot) {
            connection.out.extend_from_slice(text.as_bytes());
            connection.stage = Stage::Ending;
            connection.wake_reader();
            Self::mark_dirty(connection, &mut self.dirty);
        }
    }
}

fn mode(standing: Standing) -> Mode {
    match standing {
        Standing::Standalone => Mode::Standalone,
        Standing::Leading => Mode::Leader,
        Standing::Following => Mode::Follower,
        Standing::Observing => Mode::Observer,
        // Who is looking answers no word that tells its mode.
        Standing::ReadOnly | Standing::Looking => Mode::ReadOnly,
    }
}

/// What does not change while the server runs, except for what a reconfiguration changes.
fn told(about: &About, shared: &SharedCounts) -> admin::status::About {
    let mut told = about.told.clone();
    let configuration = shared.configuration.lock().unwrap_or_else(PoisonError::into_inner).clone();
    if let (Some(member), Some(configuration)) = (&mut told.conf.member, configuration) {
        member.membership = configuration.to_text();
        if let Some(own) = configuration.members.get(&ServerId(told.conf.server_id)) {
            member.is_observer = !own.is_participant();
            if let Some(address) = own.addresses.first() {
                (member.quorum_port, member.election_port) = (address.quorum.port, address.election.port);
            }
        }
    }
    told
}

/// `since`: when this server began to do what it does.
fn ensemble_status(ensemble: &EnsembleReport, replica: &ReplicaReport, since: Instant) -> EnsembleStatus {
    let synced = |is_observer: bool| {
        ensemble.learners.iter().filter(|learner| learner.is_synced && learner.is_observer == is_observer).count()
            as u64
    };
    let leader = (ensemble.standing == Standing::Leading).then(|| LeaderStatus {
        learners: ensemble.learners.len() as u64,
        synced_followers: synced(false),
        synced_observers: synced(true),
        pending_syncs: ensemble.pending_syncs,
        uptime_ms: clock::now().since(since).as_millis() as u64,
        proposal_size: Some(replica.proposal_size).filter(|sizes| *sizes != [0; 3]),
    });
    EnsembleStatus {
        quorum_size: ensemble.voters,
        observer_master: ensemble.leader.filter(|_| ensemble.standing == Standing::Observing).map(|leader| leader.0),
        elections: ensemble.elections,
        commits: ensemble.commits,
        global_sessions: replica.sessions.iter().map(|session| (session.session, session.timeout_ms)).collect(),
        leader,
        lags: ensemble.learners.iter().map(|learner| (learner.server.0, learner.lag)).collect(),
    }
}

fn connection_status(
    connection: &Connection,
    sessionless_timeout: Duration,
    wall_of: impl Fn(Instant) -> WallTime,
) -> ConnectionStatus {
    let stats = &connection.stats;
    let session = (connection.session != SessionId::NONE).then(|| ConnectionSession {
        id: connection.session,
        last_op: stats.last_op,
        established: connection.since,
        timeout_ms: connection.timeout_ms.unsigned_abs(),
        last_cxid: (stats.last_xid >= 0 && stats.answered > 0).then_some(stats.last_xid),
        last_zxid: stats.last_zxid,
        last_response_ms: stats.last_answer.unwrap_or_default().as_millis(),
        last_latency_us: stats.latency_last_us,
        latency: stats.latency,
    });
    let timeout = match connection.session {
        SessionId::NONE => sessionless_timeout,
        _ => Duration::from_millis(u64::from(connection.timeout_ms.unsigned_abs())),
    };
    ConnectionStatus {
        peer: connection.peer,
        reading: !connection.is_paused(),
        writing: connection.is_writing,
        queued: connection
            .queue()
            .iter()
            .filter(|queued| matches!(queued, Queued::Write { .. } | Queued::Read { .. }))
            .count() as u64,
        received: stats.received,
        sent: stats.sent,
        expires: Some(wall_of(connection.heard + timeout)),
        session,
    }
}
