//! The texts.
//!
//! Sources: the classes of `org.apache.zookeeper.server.command`, `ServerStats`, `ServerCnxn.dumpConnectionInfo`,
//! `ExpiryQueue.dump`, `DataTree.dumpEphemerals`, `WatchManager`, `ZooKeeperServer.dumpConf` and `dumpMonitorValues`. Shapes
//! were compared byte by byte with a running server. Where Java's order is that of a hash table, ours is sorted.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::{Display, Write};

use super::figures::{Counter, Latency, Measure, Tally};
use super::java;
use super::status::{ConnectionStatus, Mode, ResponseBytes, Status};
use super::version::full_version;
use super::word::Word;
use crate::ids::SessionId;
use crate::latency::{Histogram, Stage};
use crate::wire::op::OpCode;

/// Which costly parts of a [`Status`] a word looks at. `server`, `about` and `trace_mask` are always to be filled.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Needs {
    /// `connections`.
    pub connections: bool,
    /// `sessions`.
    pub sessions: bool,
    /// `watches`.
    pub watches: bool,
    /// `monitor`.
    pub monitor: bool,
    /// `data_dir_bytes` and `log_dir_bytes`.
    pub dir_bytes: bool,
    /// `memory`.
    pub memory: bool,
    /// `digests`.
    pub digests: bool,
}

/// What has to be gathered for `word`.
pub fn needs(word: Word) -> Needs {
    let nothing = Needs::default();
    match word {
        Word::Conf | Word::Dirs => Needs { dir_bytes: true, ..nothing },
        Word::Cons | Word::Stat => Needs { connections: true, ..nothing },
        Word::Dump => Needs { connections: true, sessions: true, ..nothing },
        Word::Envi => Needs { memory: true, ..nothing },
        Word::Hash => Needs { digests: true, ..nothing },
        Word::Mntr => Needs { monitor: true, ..nothing },
        Word::Wchc | Word::Wchp | Word::Wchs => Needs { watches: true, ..nothing },
        Word::Crst
        | Word::Gtmk
        | Word::Isro
        | Word::Ruok
        | Word::Srst
        | Word::Srvr
        | Word::Stmk
        | Word::TelnetClose => nothing,
    }
}

/// The answer to a word that the whitelist does not have. The connection is closed behind it.
pub fn answer_not_allowed(word: Word) -> String {
    format!("{} is not executed because it is not in the whitelist.\n", word.name())
}

/// The answer of a server that is not serving (yet, or any more); `trace_mask` as in [`Status`].
pub fn answer_not_serving(word: Word, status: &Status) -> String {
    const NOT_SERVING: &str = "This ZooKeeper instance is not currently serving requests";
    match word {
        Word::Ruok | Word::Envi | Word::Gtmk | Word::Stmk | Word::TelnetClose => answer(word, status),
        Word::Isro => "null".to_owned(),
        Word::Hash => NOT_SERVING.to_owned(),
        _ => format!("{NOT_SERVING}\n"),
    }
}

/// The answer of a server that is serving. The connection is closed behind it.
pub fn answer(word: Word, status: &Status) -> String {
    let mut text = String::new();
    let out = &mut text;
    match word {
        Word::Conf => conf(out, status),
        Word::Cons => {
            for connection in &status.connections {
                connection_line(out, connection, true);
            }
            out.push('\n');
        }
        Word::Crst => out.push_str("Connection stats reset.\n"),
        Word::Dirs => {
            line(out, "datadir_size: ", status.data_dir_bytes);
            line(out, "logdir_size: ", status.log_dir_bytes);
        }
        Word::Dump => dump(out, status),
        Word::Envi => envi(out, status),
        Word::Gtmk | Word::Stmk => put(out, format_args!("{}", status.trace_mask)),
        Word::Hash => {
            for (zxid, digest) in &status.digests {
                // Java prints the digest as a signed number.
                put(out, format_args!("{:x}: {}\n", zxid.0, digest.cast_signed()));
            }
        }
        Word::Isro => out.push_str(if status.server.mode == Mode::ReadOnly { "ro" } else { "rw" }),
        Word::Mntr => mntr(out, status),
        Word::Ruok => out.push_str("imok"),
        Word::Srst => out.push_str("Server stats reset.\n"),
        Word::Srvr => srvr(out, status, false),
        Word::Stat => srvr(out, status, true),
        Word::TelnetClose => {}
        Word::Wchc => {
            for (session, paths) in &status.watches {
                group(out, format_args!("{session}"), paths);
            }
            out.push('\n');
        }
        Word::Wchp => {
            for (path, sessions) in by_path(&status.watches) {
                group(out, format_args!("{path}"), &sessions);
            }
            out.push('\n');
        }
        Word::Wchs => {
            let paths = by_path(&status.watches).len();
            let watches: usize = status.watches.values().map(BTreeSet::len).sum();
            put(out, format_args!("{} connections watching {paths} paths\n", status.watches.len()));
            put(out, format_args!("Total watches:{watches}\n"));
        }
    }
    text
}

/// Appends; a `String` refuses nothing.
fn put(out: &mut String, text: std::fmt::Arguments<'_>) {
    out.write_fmt(text).expect("a String takes everything");
}

fn line(out: &mut String, name: &str, value: impl Display) {
    put(out, format_args!("{name}{value}\n"));
}

/// A heading and its members, each behind a tab.
fn group<T: Display>(out: &mut String, heading: std::fmt::Arguments<'_>, members: impl IntoIterator<Item = T>) {
    put(out, format_args!("{heading}\n"));
    for member in members {
        put(out, format_args!("\t{member}\n"));
    }
}

fn by_path(watches: &BTreeMap<SessionId, BTreeSet<String>>) -> BTreeMap<&str, BTreeSet<SessionId>> {
    let mut paths: BTreeMap<&str, BTreeSet<SessionId>> = BTreeMap::new();
    for (&session, watched) in watches {
        for path in watched {
            paths.entry(path).or_default().insert(session);
        }
    }
    paths
}

fn conf(out: &mut String, status: &Status) {
    let conf = &status.about.conf;
    line(out, "clientPort=", status.server.client_port);
    line(out, "secureClientPort=", conf.secure_client_port);
    line(out, "dataDir=", &conf.data_dir);
    line(out, "dataDirSize=", status.data_dir_bytes);
    line(out, "dataLogDir=", &conf.data_log_dir);
    line(out, "dataLogSize=", status.log_dir_bytes);
    line(out, "tickTime=", conf.tick_ms);
    line(out, "maxClientCnxns=", conf.cnxns_per_address_max);
    line(out, "minSessionTimeout=", conf.timeout_min_ms);
    line(out, "maxSessionTimeout=", conf.timeout_max_ms);
    line(out, "clientPortListenBacklog=", conf.listen_backlog);
    line(out, "serverId=", conf.server_id);
    if let Some(member) = &conf.member {
        line(out, "initLimit=", member.init_limit);
        line(out, "syncLimit=", member.sync_limit);
        line(out, "electionAlg=", 3);
        line(out, "electionPort=", member.election_port);
        line(out, "quorumPort=", member.quorum_port);
        line(out, "peerType=", u8::from(member.is_observer));
        // No line end behind the configuration, as in Apache's server.
        put(out, format_args!("membership: \n{}", member.membership));
    }
}

fn connection_line(out: &mut String, connection: &ConnectionStatus, full: bool) {
    // Java's interest set: 1 to read, 4 to write.
    let interest = u8::from(connection.reading) + 4 * u8::from(connection.writing);
    put(
        out,
        format_args!(
            " {}[{interest:x}](queued={},recved={},sent={}",
            java::address(connection.peer),
            connection.queued,
            connection.received,
            connection.sent
        ),
    );
    if let Some(session) = connection.session.as_ref().filter(|_| full) {
        put(
            out,
            format_args!(
                ",sid={},lop={},est={},to={}",
                session.id,
                session.last_op.map_or("NA", operation_name),
                session.established.0,
                session.timeout_ms
            ),
        );
        if let Some(cxid) = session.last_cxid.filter(|&cxid| cxid >= 0) {
            put(out, format_args!(",lcxid=0x{cxid:x}"));
        }
        let average = session.latency.sum.checked_div(session.latency.count).unwrap_or(0);
        put(
            out,
            format_args!(
                ",lzxid={},lresp={},llat={},minlat={},avglat={},maxlat={}",
                session.last_zxid,
                session.last_response_ms,
                session.last_latency_us / 1000,
                session.latency.min() / 1000,
                average / 1000,
                session.latency.max() / 1000
            ),
        );
    }
    out.push_str(")\n");
}

/// The name of a connection's last operation (`lop`), as `FinalRequestProcessor` gives it.
fn operation_name(op: OpCode) -> &'static str {
    match op {
        OpCode::PING => "PING",
        OpCode::CREATE_SESSION => "SESS",
        OpCode::CLOSE_SESSION => "CLOS",
        OpCode::MULTI => "MULT",
        OpCode::MULTI_READ => "MLTR",
        OpCode::CREATE | OpCode::CREATE2 | OpCode::CREATE_TTL | OpCode::CREATE_CONTAINER => "CREA",
        OpCode::DELETE | OpCode::DELETE_CONTAINER => "DELE",
        OpCode::SET_DATA => "SETD",
        OpCode::RECONFIG => "RECO",
        OpCode::SET_ACL => "SETA",
        OpCode::SYNC => "SYNC",
        OpCode::CHECK => "CHEC",
        OpCode::EXISTS => "EXIS",
        OpCode::GET_DATA => "GETD",
        OpCode::SET_WATCHES => "SETW",
        OpCode::SET_WATCHES2 => "STW2",
        OpCode::ADD_WATCH => "ADDW",
        OpCode::GET_ACL => "GETA",
        OpCode::GET_CHILDREN | OpCode::GET_CHILDREN2 => "GETC",
        OpCode::GET_ALL_CHILDREN_NUMBER => "GETACN",
        OpCode::CHECK_WATCHES => "CHKW",
        OpCode::REMOVE_WATCHES => "REMW",
        OpCode::WHO_AM_I => "HOMI",
        OpCode::GET_EPHEMERALS => "GETE",
        _ => "NA",
    }
}

fn dump(out: &mut String, status: &Status) {
    let sessions = &status.sessions;
    out.push_str("SessionTracker dump:\n");
    if let Some(learner) = status.ensemble.as_ref().filter(|ensemble| ensemble.leader.is_none()) {
        // Only the leader watches over sessions.
        put(out, format_args!("Global Sessions({}):\n", learner.global_sessions.len()));
        for (session, timeout_ms) in &learner.global_sessions {
            put(out, format_args!("{session}\t{timeout_ms}ms\n"));
        }
    } else {
        let count: usize = sessions.expiring.values().map(BTreeSet::len).sum();
        put(out, format_args!("Session Sets ({})/({count}):\n", sessions.expiring.len()));
        for (&time, ids) in &sessions.expiring {
            group(out, format_args!("{} expire at {}:", ids.len(), java::date(time)), ids);
        }
    }
    out.push_str("ephemeral nodes dump:\n");
    put(out, format_args!("Sessions with Ephemerals ({}):\n", sessions.ephemerals.len()));
    for (session, paths) in &sessions.ephemerals {
        group(out, format_args!("{session}:"), paths);
    }
    out.push_str("Connections dump:\n");
    let mut expiring: BTreeMap<_, Vec<String>> = BTreeMap::new();
    for connection in &status.connections {
        if let Some(expires) = connection.expires {
            let session = connection.session.as_ref().map_or(SessionId::NONE, |session| session.id);
            let text = format!("ip: {} sessionId: {session}", java::address(connection.peer));
            expiring.entry(expires).or_default().push(text);
        }
    }
    let count: usize = expiring.values().map(Vec::len).sum();
    put(out, format_args!("Connections Sets ({})/({count}):\n", expiring.len()));
    for (time, connections) in expiring {
        group(out, format_args!("{} expire at {}:", connections.len(), java::date(time)), &connections);
    }
}

fn envi(out: &mut String, status: &Status) {
    let environment = &status.about.environment;
    out.push_str("Environment:\n");
    line(out, "zookeeper.version=", full_version());
    for (name, value) in [
        ("host.name=", &environment.host_name),
        ("os.name=", &environment.os_name),
        ("os.arch=", &environment.os_arch),
        ("os.version=", &environment.os_version),
        ("user.name=", &environment.user_name),
        ("user.home=", &environment.user_home),
        ("user.dir=", &environment.user_dir),
    ] {
        if let Some(value) = value {
            line(out, name, value);
        }
    }
    if let Some(memory) = status.memory {
        line(out, "os.memory.free=", format_args!("{}MB", memory.free_mb));
        line(out, "os.memory.max=", format_args!("{}MB", memory.max_mb));
        line(out, "os.memory.total=", format_args!("{}MB", memory.total_mb));
    }
}

fn srvr(out: &mut String, status: &Status, with_clients: bool) {
    let server = &status.server;
    line(out, "Zookeeper version: ", full_version());
    if server.mode == Mode::ReadOnly {
        out.push_str("READ-ONLY mode; serving only read-only clients\n");
    }
    if with_clients {
        out.push_str("Clients:\n");
        for connection in &status.connections {
            connection_line(out, connection, false);
        }
        out.push('\n');
    }
    let latency = &server.latency;
    let (min, max) = (latency.min() / 1000, latency.max() / 1000);
    put(out, format_args!("Latency min/avg/max: {min}/{}/{max}\n", average_ms(latency)));
    line(out, "Received: ", server.packets_received);
    line(out, "Sent: ", server.packets_sent);
    line(out, "Connections: ", server.connections);
    line(out, "Outstanding: ", server.outstanding);
    line(out, "Zxid: ", server.zxid);
    line(out, "Mode: ", server.mode.name());
    line(out, "Node count: ", server.node_count);
    if let Some(leader) = status.ensemble.as_ref().and_then(|ensemble| ensemble.leader) {
        let [last, min, max] = leader.proposal_sizes();
        put(out, format_args!("Proposal sizes last/min/max: {last}/{min}/{max}\n"));
    }
}

/// The average of microseconds, in milliseconds.
fn average_ms(tally: &Tally) -> String {
    java::average(tally.sum, tally.count.saturating_mul(1000))
}

fn mntr(out: &mut String, status: &Status) {
    let (server, monitor) = (&status.server, &status.monitor);
    let mut tell = |name: &str, value: &dyn Display| put(out, format_args!("zk_{name}\t{value}\n"));
    tell("version", &full_version());
    tell("server_state", &server.mode.name());
    if let Some(ensemble) = &status.ensemble {
        if let Some(doing) = server.mode.peer_state() {
            tell("peer_state", &doing);
        }
        tell("quorum_size", &ensemble.quorum_size);
        if let Some(master) = ensemble.observer_master {
            tell("observer_master_id", &master);
        }
        tell("looking_count", &ensemble.elections);
        tell("commit_count", &ensemble.commits);
        if let Some(leader) = ensemble.leader {
            tell("learners", &leader.learners);
            tell("synced_followers", &leader.synced_followers);
            tell("synced_non_voting_followers", &0);
            tell("synced_observers", &leader.synced_observers);
            tell("pending_syncs", &leader.pending_syncs);
            tell("leader_uptime", &leader.uptime_ms);
            let [last, min, max] = leader.proposal_sizes();
            tell("last_proposal_size", &last);
            tell("min_proposal_size", &min);
            tell("max_proposal_size", &max);
            // Ours: Apache's nearest is the length of a queue.
            for (learner, lag) in &ensemble.lags {
                tell(&format!("{learner}_learner_lag"), lag);
            }
        }
    }
    tell("uptime", &monitor.uptime_ms);
    tell("avg_latency", &average_ms(&server.latency));
    tell("max_latency", &(server.latency.max() / 1000));
    tell("min_latency", &(server.latency.min() / 1000));
    tell("packets_received", &server.packets_received);
    tell("packets_sent", &server.packets_sent);
    tell("num_alive_connections", &server.connections);
    tell("outstanding_requests", &server.outstanding);
    tell("znode_count", &server.node_count);
    tell("watch_count", &monitor.watches);
    tell("ephemerals_count", &monitor.ephemerals);
    tell("approximate_data_size", &monitor.approximate_data_bytes);
    tell("global_sessions", &monitor.global_sessions);
    tell("local_sessions", &monitor.local_sessions);
    tell("auth_failed_count", &monitor.auth_failed);
    // Before the first answer, -1 as in `BufferStats`.
    let size = |size: fn(&ResponseBytes) -> u64| monitor.response_bytes.as_ref().map_or(-1, |bytes| size(bytes) as i64);
    tell("last_client_response_size", &size(|bytes| bytes.last));
    tell("max_client_response_size", &size(|bytes| bytes.max));
    tell("min_client_response_size", &size(|bytes| bytes.min));
    if let Some(files) = monitor.open_files {
        tell("open_file_descriptor_count", &files);
    }
    if let Some(files) = monitor.open_files_max {
        tell("max_file_descriptor_count", &files);
    }
    let figures = &monitor.figures;
    for &counter in Counter::ALL {
        if let Some(count) = figures.counter(counter) {
            tell(counter.name(), &count);
        }
    }
    for &measure in Measure::ALL {
        if let Some(tally) = figures.measure(measure) {
            summary(out, measure.name(), tally, if measure.is_time() { 1000 } else { 1 });
        }
    }
    for &latency in Latency::ALL {
        let Some(values) = figures.latency(latency) else { continue };
        summary(out, latency.name(), values.tally(), 1000);
        for (name, quantile) in [("p50", 0.5), ("p95", 0.95), ("p99", 0.99), ("p999", 0.999)] {
            let ms = (values.quantile(quantile) + 500) / 1000;
            put(out, format_args!("zk_{name}_{}\t{ms}\n", latency.name()));
        }
    }
    for &stage in Stage::ALL {
        microseconds(out, format_args!("stage_{}", stage.name()), monitor.stages.get(stage));
    }
    for (name, values) in monitor.operations.iter() {
        microseconds(out, format_args!("op_{name}_latency"), Some(values));
    }
}

/// The six lines of a latency of ours.
fn microseconds(out: &mut String, name: std::fmt::Arguments<'_>, values: Option<&Histogram>) {
    let tally = values.map_or_else(Tally::default, |values| *values.tally());
    put(out, format_args!("zk_{name}_avg\t{}\n", java::average(tally.sum, tally.count)));
    for (quantile_name, quantile) in [("p50", 0.5), ("p99", 0.99), ("p999", 0.999)] {
        let us = values.map_or(0, |values| values.quantile(quantile));
        put(out, format_args!("zk_{name}_{quantile_name}\t{us}\n"));
    }
    put(out, format_args!("zk_{name}_max\t{}\n", tally.max()));
    put(out, format_args!("zk_{name}_cnt\t{}\n", tally.count));
}

/// The five lines of a summary, its values divided by `unit`.
fn summary(out: &mut String, name: &str, tally: &Tally, unit: u64) {
    put(out, format_args!("zk_avg_{name}\t{}\n", java::average(tally.sum, tally.count.saturating_mul(unit))));
    put(out, format_args!("zk_min_{name}\t{}\n", tally.min() / unit));
    put(out, format_args!("zk_max_{name}\t{}\n", tally.max() / unit));
    put(out, format_args!("zk_cnt_{name}\t{}\n", tally.count));
    put(out, format_args!("zk_sum_{name}\t{}\n", tally.sum / unit));
}

#[cfg(test)]
mod tests;
