//! Reading a configuration from its source, in Apache's order of checks.
//!
//! Sources: `QuorumPeerConfig.parseProperties` and `parseDynamicConfig`, `ServerConfig.parse`, `ZooKeeperServerMain`, and the
//! classes that read the system properties.

use std::collections::BTreeSet;
use std::fs;
use std::net::{IpAddr, SocketAddr, ToSocketAddrs};
use std::path::{Path, PathBuf};

use super::cores::{self, CoreSettings};
use super::ensemble::MemberLine;
use super::jvm_flags;
use super::security;
use super::settings::{Setting, Settings, canonical, parse_interval};
use super::*;
use crate::ids::ServerId;
use crate::quorum::HostPort;

/// Where the configuration comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Source {
    /// Nothing was said: 127.0.0.1:2181, data in `./data`.
    Default,
    /// A zoo.cfg.
    File(PathBuf),
    /// The four arguments of Apache's `ZooKeeperServerMain`.
    Arguments {
        /// Client port, on all interfaces.
        port: u16,
        /// `dataDir`.
        data_dir: PathBuf,
        /// `tickTime`.
        tick_ms: Option<i32>,
        /// `maxClientCnxns`; no limit if it is not given, as in Apache's server.
        max_client_cnxns: Option<i32>,
    },
}

/// What has to be known about the machine.
#[derive(Clone, Debug)]
pub struct Machine {
    /// The cores this process may run on, ascending, at least one.
    pub cores: Vec<usize>,
    /// The core to which the interrupts of a folder's disk come, if there is one such core.
    pub core_of_disk: fn(&Path) -> Option<usize>,
}

impl Machine {
    /// A machine with these cores, each of them as near to every disk.
    pub fn with_cores(cores: impl Into<Vec<usize>>) -> Self {
        Self { cores: cores.into(), core_of_disk: |_| None }
    }
}

/// The client port if there is no file.
const PORT_DEFAULT: &str = "2181";

/// What some editors begin a file of UTF-8 with.
const BYTE_ORDER_MARK: &[u8] = b"\xef\xbb\xbf";

/// The data folder if there is no file.
const DATA_DIR_DEFAULT: &str = "data";

/// Reads the source, then `overrides` (`key`, `value`; from the command line), which count more.
pub fn load(source: &Source, overrides: &[(String, String)], machine: &Machine) -> Result<Config, ConfigError> {
    load_with_flags(source, "", overrides, machine)
}

/// As [`load()`], with the flags that a Java server would get ([`JVM_FLAGS_VARIABLES`]): the system properties among them count,
/// but less than the source, as in Apache's server.
pub fn load_with_flags(
    source: &Source,
    jvm_flags: &str,
    overrides: &[(String, String)],
    machine: &Machine,
) -> Result<Config, ConfigError> {
    let mut settings = Settings::default();
    for (key, value) in jvm_flags::settings(jvm_flags) {
        settings.add(key, value, Place::Environment);
    }
    let mut member_lines = Vec::new();
    read_source(source, &mut settings, &mut member_lines)?;
    for (key, value) in overrides {
        if is_member_key(key) {
            member_lines.push(MemberLine { key: key.clone(), value: value.clone(), place: Place::CommandLine });
        }
        settings.add(key, value, Place::CommandLine);
    }
    let file = match source {
        Source::File(path) => Some(path.as_path()),
        Source::Default | Source::Arguments { .. } => None,
    };
    assemble(settings, member_lines, file, machine)
}

fn read_source(
    source: &Source,
    settings: &mut Settings,
    member_lines: &mut Vec<MemberLine>,
) -> Result<(), ConfigError> {
    let mut add = |key: &str, value: &str| settings.add(key, value, Place::CommandLine);
    match source {
        Source::Default => {
            add("dataDir", DATA_DIR_DEFAULT);
            add("clientPort", PORT_DEFAULT);
            add("clientPortAddress", "127.0.0.1");
        }
        Source::Arguments { port, data_dir, tick_ms, max_client_cnxns } => {
            add("clientPort", &port.to_string());
            add("dataDir", &data_dir.to_string_lossy());
            add("maxClientCnxns", &max_client_cnxns.unwrap_or(0).to_string());
            if let Some(tick_ms) = tick_ms {
                add("tickTime", &tick_ms.to_string());
            }
        }
        Source::File(path) => {
            settings.file = Some(Place::File(path.clone()));
            let (entries, is_ascii) = read_properties(path)?;
            if !is_ascii {
                settings.notices.push(Notice {
                    kind: NoticeKind::Adjusted,
                    key: "encoding".to_owned(),
                    place: Some(Place::File(path.clone())),
                    text:
                        "holds letters beyond ASCII, which are read as ISO-8859-1, as Java does; \\uXXXX is unambiguous"
                            .to_owned(),
                });
            }
            for entry in &entries {
                let place = Place::Line { file: path.clone(), line: entry.line };
                if is_member_key(&entry.key) {
                    member_lines.push(MemberLine {
                        key: entry.key.trim().to_owned(),
                        value: entry.value.trim().to_owned(),
                        place: place.clone(),
                    });
                }
                settings.add(&entry.key, &entry.value, place);
            }
        }
    }
    Ok(())
}

/// Whether a line describes the ensemble. `server.principal` and `server.realm` are Kerberos settings.
fn is_member_key(key: &str) -> bool {
    let key = key.trim();
    (key.starts_with("server.") && key != "server.principal" && key != "server.realm")
        || key.starts_with("group")
        || key.starts_with("weight")
        || key == "version"
}

fn read_properties(path: &Path) -> Result<(Vec<properties::Entry>, bool), ConfigError> {
    let place = Some(Place::File(path.to_owned()));
    let bytes = fs::read(path).map_err(|error| {
        let problem = format!("cannot be read: {error}");
        ConfigError::new(ErrorKind::Unreadable, problem, "name an existing zoo.cfg that the server's user may read")
            .at(place)
    })?;
    // Editors on Windows put it there, and Java would take it for the begin of the first key.
    let text = bytes.strip_prefix(BYTE_ORDER_MARK).unwrap_or(&bytes);
    let entries = properties::parse(text).map_err(|error| {
        let place = Place::Line { file: path.to_owned(), line: error.line };
        ConfigError::new(ErrorKind::Syntax, error.to_string(), "write \\\\ for a backslash").at(Some(place))
    })?;
    Ok((entries, text.is_ascii()))
}

fn assemble(
    mut settings: Settings,
    lines: Vec<MemberLine>,
    file: Option<&Path>,
    machine: &Machine,
) -> Result<Config, ConfigError> {
    let lines = member_lines(&mut settings, lines)?;
    let storage = storage(&mut settings)?;
    let (static_listen, secure_listen) = listen(&mut settings)?;
    let session = session(&mut settings)?;
    let my_id = data_dir::read_my_id(&storage.data_dir)?;
    let (quorum, own_address) = quorum(&mut settings, &lines, file, my_id, session.tick_ms)?;
    let listen = match own_address {
        Some((own, line)) => Some(client_address(&own, static_listen, &line)?),
        None => static_listen,
    };
    if listen.is_none() && secure_listen.is_none() {
        return Err(no_port(&settings));
    }
    let client = client(&mut settings, listen, session.read_only_mode)?;
    let security = security::load(&mut settings, secure_listen)?;
    let access = access(&mut settings, &security)?;
    let tree = tree(&mut settings)?;
    let cores = cores(&mut settings, machine, &storage.data_log_dir)?;
    if tree.extended_types && my_id.is_some_and(|id| id > 254) {
        return Err(ConfigError::new(
            ErrorKind::Conflict,
            format!("the server's number {} does not go with extendedTypesEnabled=true", my_id.unwrap_or_default()),
            "give it a number up to 254 in myid",
        ));
    }
    settings.notice_keys_without_effect();
    #[cfg(test)]
    tests::READ.with(|read| read.borrow_mut().clone_from(settings.read()));
    let notices = Notices(settings.notices);
    Ok(Config { client, session, access, security, tree, storage, cores, my_id, quorum, notices })
}

/// The lines that describe the ensemble: the file's own, or those of its `dynamicConfigFile`.
fn member_lines(settings: &mut Settings, mut lines: Vec<MemberLine>) -> Result<Vec<MemberLine>, ConfigError> {
    // The last of several equal keys counts.
    let mut last: Vec<MemberLine> = Vec::new();
    for line in lines.drain(..) {
        last.retain(|earlier| earlier.key != line.key);
        last.push(line);
    }
    settings.text("version");
    let Some(dynamic) = settings.text("dynamicConfigFile") else { return Ok(last) };
    if let Some(line) = last.iter().find(|line| line.key != "version") {
        return Err(ConfigError::new(
            ErrorKind::Conflict,
            "stands beside dynamicConfigFile",
            format!("move it into {}", dynamic.value),
        )
        .key(&line.key)
        .at(Some(line.place.clone())));
    }
    let path = PathBuf::from(&dynamic.value);
    let (entries, _) = read_properties(&path)?;
    let mut lines = Vec::new();
    for entry in entries {
        let place = Place::Line { file: path.clone(), line: entry.line };
        let key = entry.key.trim().to_owned();
        if !is_member_key(&key) || key == "version" {
            return Err(ConfigError::new(
                ErrorKind::Value,
                "does not belong into a dynamic configuration file",
                "keep server.N, group.N and weight.N there, and everything else in zoo.cfg",
            )
            .key(key)
            .at(Some(place)));
        }
        lines.retain(|earlier: &MemberLine| earlier.key != key);
        lines.push(MemberLine { key, value: entry.value.trim().to_owned(), place });
    }
    // The version stands at the end of the file's name, in hexadecimal.
    if let Some((_, version)) = dynamic.value.rsplit_once('.')
        && i64::from_str_radix(version, 16).is_ok()
    {
        let place = Place::File(path);
        lines.push(MemberLine { key: "version".to_owned(), value: version.to_owned(), place });
    }
    Ok(lines)
}

/// The schemes of which a client must have one (`AuthenticationHelper`); empty if everyone is let in. A setting that this
/// server could not keep is an error: to go on would let in whom the operator wants to keep out.
fn enforced_schemes(settings: &mut Settings, security: &SecurityConfig) -> Result<BTreeSet<String>, ConfigError> {
    let unprotected = |setting: &Setting, problem: String, advice: &str| {
        ConfigError::new(ErrorKind::Unprotected, problem, advice).key(&setting.key).at(Some(setting.place.clone()))
    };
    if settings.flag("sessionRequireClientSASLAuth", false) {
        let setting = settings.text("sessionRequireClientSASLAuth").expect("it was just read as true");
        if !security.sasl_scheme || security.sasl_users.is_none() {
            let problem = "SASL is not set up, so that nobody would be let in".to_owned();
            let advice = "set authProvider.1=org.apache.zookeeper.server.auth.SASLAuthenticationProvider and \
                          java.security.auth.login.config";
            return Err(unprotected(&setting, problem, advice));
        }
        return Ok(BTreeSet::from(["sasl".to_owned()]));
    }
    let schemes = settings.text("enforce.auth.schemes");
    if !settings.flag("enforce.auth.enabled", false) {
        return Ok(BTreeSet::new());
    }
    let enabled = settings.text("enforce.auth.enabled").expect("it was just read as true");
    let Some(schemes) = schemes else {
        return Err(ConfigError::new(
            ErrorKind::Conflict,
            "is true while enforce.auth.schemes is not set",
            "say which schemes count, e.g. enforce.auth.schemes=digest",
        )
        .key(&enabled.key)
        .at(Some(enabled.place)));
    };
    let names: BTreeSet<_> = schemes.value.split(',').map(|name| name.trim().to_owned()).collect();
    let is_there = |name: &str| match name {
        "digest" | "ip" => true,
        "sasl" => security.sasl_scheme,
        "x509" => security.x509_scheme,
        _ => false,
    };
    if let Some(stranger) = names.iter().find(|name| !is_there(name)) {
        let problem = format!("this server does not have the authentication scheme \"{stranger}\"");
        return Err(unprotected(&schemes, problem, "name digest, ip, or sasl or x509 with their authProvider.N"));
    }
    Ok(names)
}

fn storage(settings: &mut Settings) -> Result<StorageConfig, ConfigError> {
    let Some(data_dir) = settings.text("dataDir") else {
        return Err(ConfigError::new(
            ErrorKind::Missing,
            "is not set",
            "say where the data is to lie: dataDir=/var/lib/zoo",
        )
        .key("dataDir")
        .at(settings.file.clone()));
    };
    let data_log_dir = settings.text("dataLogDir").unwrap_or_else(|| data_dir.clone());
    let retain = settings.int("autopurge.snapRetainCount", "give a number of snapshots, at least 3")?;
    let mut autopurge = Autopurge { retain: 3, when: PurgeWhen::AfterSnapshot };
    if let Some(retain) = retain {
        autopurge.retain = u32::try_from(retain).unwrap_or_default().max(3);
        if retain < 3 {
            let setting = settings.text("autopurge.snapRetainCount").expect("it was just read");
            settings.adjusted(&setting, "at least 3 snapshots are kept: 3 counts");
        }
    }
    if let Some(setting) = settings.text("autopurge.purgeInterval") {
        let Some(interval) = parse_interval(&setting.value, 3_600_000) else {
            return Err(setting.refuse(
                format!("\"{}\" is not an interval", setting.value),
                "give hours, or a number with s, m, h or d; 0 turns purging off",
            ));
        };
        autopurge.when = match u64::try_from(interval) {
            Ok(interval) if interval > 0 => PurgeWhen::EveryMs(interval),
            _ => PurgeWhen::Never,
        };
    }
    let force_sync = settings.text("forceSync").is_none_or(|setting| setting.value != "no");
    if !force_sync {
        let setting = settings.text("forceSync").expect("it was just read");
        settings.notice(
            NoticeKind::Unprotected,
            &setting,
            "writes are acknowledged before they are durable: a power failure loses acknowledged writes",
        );
    }
    let mut snap_count = settings.lenient_int("snapCount", 100_000);
    if snap_count < 2 {
        let setting = settings.text("snapCount").expect("its default is not below 2");
        settings.adjusted(&setting, "must be 2 or more: 2 counts");
        snap_count = 2;
    }
    let kib =
        |number: i64| u64::try_from(number).ok().filter(|&number| number > 0).map(|number| number.saturating_mul(1024));
    Ok(StorageConfig {
        data_dir: absolute(&data_dir)?,
        data_log_dir: absolute(&data_log_dir)?,
        autocreate: settings.flag("datadir.autocreate", true),
        force_sync,
        sync_warning_ms: u64::try_from(settings.lenient_long("fsync.warningthresholdms", 1000)).unwrap_or(0),
        snap_count: snap_count.unsigned_abs(),
        snap_log_bytes: kib(settings.lenient_long("snapSizeLimitInKb", 4_194_304)),
        segment_bytes: segment_bytes(settings),
        autopurge,
    })
}

/// The size of a log segment. Apache's files grow from `preAllocSize` up to `txnLogSizeLimitInKb`; ours do not grow.
fn segment_bytes(settings: &mut Settings) -> u64 {
    const KIB_MIN: i64 = 64;
    const KIB_MAX: i64 = 1 << 20;
    let mut kib = settings.lenient_long("preAllocSize", 65_536);
    let limit = settings.lenient_long("txnLogSizeLimitInKb", -1);
    let mut key = "preAllocSize";
    if (1..kib).contains(&limit) {
        (kib, key) = (limit, "txnLogSizeLimitInKb");
    }
    if !(KIB_MIN..=KIB_MAX).contains(&kib) {
        kib = kib.clamp(KIB_MIN, KIB_MAX);
        let setting = settings.text(key).expect("the default is within bounds");
        settings.adjusted(&setting, format!("a log segment has {KIB_MIN} to {KIB_MAX} KiB: {kib} counts"));
    }
    kib.unsigned_abs() * 1024
}

fn absolute(setting: &Setting) -> Result<PathBuf, ConfigError> {
    std::path::absolute(&setting.value)
        .map_err(|error| setting.refuse(format!("\"{}\" is no folder: {error}", setting.value), "name a folder"))
}

/// `clientPort` and `clientPortAddress`, and the pair for TLS.
fn listen(settings: &mut Settings) -> Result<(Option<Listen>, Option<Listen>), ConfigError> {
    let pair = |settings: &mut Settings, port: &'static str, address: &'static str| {
        let number = settings.int(port, "give a TCP port, e.g. 2181")?;
        let host = settings.text(address);
        let Some(number) = number else {
            return match host {
                None => Ok(None),
                Some(host) => Err(ConfigError::new(
                    ErrorKind::Conflict,
                    format!("is set but {port} is not"),
                    format!("set {port} too"),
                )
                .key(address)
                .at(Some(host.place))),
            };
        };
        let port = u16::try_from(number).map_err(|_| {
            let setting = settings.text(port).expect("it was just read");
            setting.refuse(format!("{number} is not a TCP port"), "give a number from 0 to 65535")
        })?;
        let host = match host {
            None => None,
            Some(host) => resolve(&host.value)
                .map_err(|problem| host.refuse(problem, "give an address of this machine, or 0.0.0.0 for all"))?,
        };
        Ok(Some(Listen { host, port }))
    };
    let plain = pair(settings, "clientPort", "clientPortAddress")?;
    Ok((plain, pair(settings, "secureClientPort", "secureClientPortAddress")?))
}

fn no_port(settings: &Settings) -> ConfigError {
    let advice = "say where clients connect: clientPort=2181";
    ConfigError::new(ErrorKind::Missing, "is not set, so that nothing could connect", advice)
        .key("clientPort")
        .at(settings.file.clone())
}

/// The address of `host`, IPv4 first as in Java; `None` for all interfaces.
fn resolve(host: &str) -> Result<Option<IpAddr>, String> {
    let host = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
    let addresses: Vec<IpAddr> = (host, 0)
        .to_socket_addrs()
        .map_err(|error| format!("\"{host}\" is not an address: {error}"))?
        .map(|address: SocketAddr| address.ip())
        .collect();
    let first = addresses.iter().find(|address| address.is_ipv4()).or_else(|| addresses.first());
    match first {
        None => Err(format!("\"{host}\" has no address")),
        Some(address) if address.is_unspecified() => Ok(None),
        Some(&address) => Ok(Some(address)),
    }
}

/// The client address of this server's own line, which must not contradict the one of zoo.cfg.
fn client_address(own: &HostPort, from_static: Option<Listen>, line: &MemberLine) -> Result<Listen, ConfigError> {
    let refuse = |kind, problem: String, advice: &str| {
        ConfigError::new(kind, problem, advice).key(&line.key).at(Some(line.place.clone()))
    };
    let host = resolve(&own.host)
        .map_err(|problem| refuse(ErrorKind::Value, problem, "give an address of this machine, or 0.0.0.0 for all"))?;
    let listen = Listen { host, port: own.port };
    if let Some(other) = from_static
        && if other.host.is_some() { other != listen } else { other.port != listen.port }
    {
        let problem = format!("its client address {listen} differs from {other} of clientPort and clientPortAddress");
        return Err(refuse(ErrorKind::Conflict, problem, "remove one of the two"));
    }
    Ok(listen)
}

fn session(settings: &mut Settings) -> Result<SessionConfig, ConfigError> {
    let tick = settings.int("tickTime", "give milliseconds, e.g. 2000")?.unwrap_or(3000);
    if tick <= 0 {
        let setting = settings.text("tickTime").expect("its default is positive");
        return Err(setting.refuse(format!("{tick} is not a length of time"), "give milliseconds, e.g. 2000"));
    }
    let advice = "give milliseconds, or -1 for a multiple of tickTime";
    let ticks = |number: i32| i64::from(tick) * i64::from(number);
    let bound = |value: Option<i32>, default: i64| match value {
        None | Some(-1) => default,
        Some(value) => i64::from(value),
    };
    let min = bound(settings.int("minSessionTimeout", advice)?, ticks(2));
    let max = bound(settings.int("maxSessionTimeout", advice)?, ticks(20));
    if min > max {
        let key = if settings.text("minSessionTimeout").is_some() { "minSessionTimeout" } else { "maxSessionTimeout" };
        let setting = settings.text(key);
        return Err(ConfigError::new(
            ErrorKind::Conflict,
            format!("minSessionTimeout ({min} ms) is larger than maxSessionTimeout ({max} ms)"),
            "set both so that the first is not the larger; by default they are 2 and 20 ticks",
        )
        .key(key)
        .at(setting.map(|setting| setting.place)));
    }
    let milliseconds = |value: i64| {
        let millis = u32::try_from(value.max(0)).ok().filter(|&value| value <= i32::MAX.unsigned_abs());
        millis.ok_or_else(|| ConfigError::new(ErrorKind::Value, "a session timeout beyond 24 days", "lower tickTime"))
    };
    Ok(SessionConfig {
        tick_ms: tick.unsigned_abs(),
        timeout_min_ms: milliseconds(min)?,
        timeout_max_ms: milliseconds(max)?,
        read_only_mode: settings.flag("readonlymode.enabled", false),
    })
}

/// The ensemble, if the lines describe one that is to be served as one, and the client address of this server's own line.
#[allow(clippy::type_complexity, reason = "two results of one reading, named where they are taken apart")]
fn quorum(
    settings: &mut Settings,
    lines: &[MemberLine],
    file: Option<&Path>,
    my_id: Option<i64>,
    tick_ms: u32,
) -> Result<(Option<QuorumConfig>, Option<(HostPort, MemberLine)>), ConfigError> {
    let tick_ms = u64::from(tick_ms);
    let multi_address = settings.flag("multiAddress.enabled", false);
    let ensemble = ensemble::parse(lines, multi_address)?;
    let standalone_enabled = settings.boolean("standaloneEnabled", true)?;
    if let Some(3) | None = settings.int("electionAlg", "only 3 is supported: remove the line")? {
    } else {
        let setting = settings.text("electionAlg").expect("it was just read");
        return Err(setting.refuse(format!("{} is not supported", setting.value), "only 3 is: remove the line"));
    }
    let stated_role = match settings.text("peerType") {
        None => PeerType::Participant,
        Some(setting) => PeerType::parse(&setting.value).ok_or_else(|| {
            setting.refuse(format!("\"{}\" is not a role", setting.value), "write participant or observer")
        })?,
    };
    let init_limit = settings.int("initLimit", "give a number of ticks, e.g. 10")?.unwrap_or(0);
    let sync_limit = settings.int("syncLimit", "give a number of ticks, e.g. 5")?.unwrap_or(0);
    let connect_limit = settings.int("connectToLearnerMasterLimit", "give a number of ticks")?.unwrap_or(0);
    let local_sessions = settings.boolean("localSessionsEnabled", false)?;
    let local_sessions_upgrading = settings.boolean("localSessionsUpgradingEnabled", false)?;
    let oracle = settings.text("oraclePath");
    check_quorum_sasl(settings)?;
    let listen_on_all = settings.boolean("quorumListenOnAllIPs", false)?;
    let ssl_quorum = settings.boolean("sslQuorum", false)?;
    let natural = |number: i32, default: u32| u32::try_from(number).unwrap_or(default);
    let positive = |number: i32, default: u32| u32::try_from(number).ok().filter(|&it| it > 0).unwrap_or(default);
    let bind_tries_max = natural(settings.lenient_int("electionPortBindRetry", 3), 3);
    let connect_timeout_ms = positive(settings.lenient_int("cnxTimeout", 5000), 5000);
    let handshake_ms = settings.lenient_int("quorumCnxnTimeoutMs", -1);
    let dial_pause_ms = natural(settings.lenient_int("leaderConnectDelayDuringRetryMs", 100), 100);
    let notification_min_ms = positive(settings.lenient_int("fastleader.minNotificationInterval", 200), 200);
    let notification_max_ms = positive(settings.lenient_int("fastleader.maxNotificationInterval", 60_000), 60_000);
    let epoch_wait_max_ms = u32::try_from(settings.lenient_int("leader.maxTimeToWaitForEpoch", -1)).ok();
    let leader_serves = settings.text("leaderServes").is_none_or(|setting| setting.value != "no");
    let history_len = positive(settings.lenient_int("commitLogCount", 500), 500).max(500);
    let force_snapshot_sync = settings.flag("forceSnapshotSync", false);
    let db_autocreate = settings.flag("db.autocreate", true);

    let invalid = |problem: &str, advice: &str| {
        let place = lines.first().map(|line| line.place.clone());
        Err(ConfigError::new(ErrorKind::Conflict, problem, advice).at(place))
    };
    let (participants, observers) = (ensemble.participants().count(), ensemble.observers().count());
    if participants == 0 && !standalone_enabled {
        return invalid(
            "standaloneEnabled=false without a participant",
            "add server.N lines, or remove standaloneEnabled=false to serve alone",
        );
    }
    if participants <= 1 && standalone_enabled && observers > 0 {
        return invalid("observers without a quorum of participants", "add participants as server.N lines");
    }
    let own = my_id.and_then(|id| ensemble.members.get(&ServerId(id)));
    let own_address = own.and_then(|member| {
        let line = lines.iter().find(|line| line.key == format!("server.{}", member.id.0))?;
        Some((member.client.clone()?, line.clone()))
    });
    if participants == 0 || (participants == 1 && standalone_enabled) {
        if let Some(line) = lines.iter().find(|line| line.key.starts_with("server.")) {
            settings.notices.push(Notice {
                kind: NoticeKind::Different,
                key: line.key.clone(),
                place: Some(line.place.clone()),
                text: "the only participant: it serves alone, as in Apache's server".to_owned(),
            });
        }
        for key in ENSEMBLE_KEYS {
            if let Some(setting) = settings.text(key).filter(|setting| !setting.value.eq_ignore_ascii_case("false")) {
                settings.notice(NoticeKind::EnsembleOnly, &setting, "");
            }
        }
        return Ok((None, own_address));
    }
    for (key, value) in [("initLimit", init_limit), ("syncLimit", sync_limit)] {
        if value <= 0 {
            return invalid(&format!("an ensemble needs {key}"), &format!("set {key} to a number of ticks, e.g. 10"));
        }
    }
    let Some(my_id) = my_id else {
        return invalid(
            "an ensemble needs the file myid in dataDir",
            "write the N of this server's server.N line into it",
        );
    };
    let Some(own) = own else {
        return invalid(
            &format!("no server.N line is this server's: myid says {my_id}"),
            "add its line on all servers, or correct the file myid in dataDir",
        );
    };
    check_unprotected_quorum(settings, ssl_quorum)?;
    if let Some(setting) = oracle {
        let problem = "is not built: two servers without it are no more available than one";
        return Err(ConfigError::new(
            ErrorKind::Ensemble,
            problem,
            "remove the line, and give the ensemble a third server",
        )
        .key(&setting.key)
        .at(Some(setting.place)));
    }
    let peer_type = own.peer_type;
    if peer_type != stated_role
        && let Some(setting) = settings.text("peerType")
    {
        settings.adjusted(&setting, "this server's server.N line says otherwise and counts");
    }
    let ticks = |number: i32| u32::try_from(number).unwrap_or_default();
    let config_files = config_files(settings, lines, file);
    let last_seen = match &config_files {
        ConfigFiles::Dynamic(file) if settings.boolean("reconfigEnabled", false)? => {
            last_seen(file, multi_address)?.filter(|last_seen| last_seen.version > ensemble.version)
        }
        _ => None,
    };
    let quorum = QuorumConfig {
        ensemble,
        last_seen,
        standalone_enabled,
        config_files,
        my_id,
        init_limit: ticks(init_limit),
        sync_limit: ticks(sync_limit),
        connect_to_learner_master_limit: ticks(connect_limit),
        peer_type,
        local_sessions,
        local_sessions_upgrading,
        listen_on_all,
        multi_address,
        bind_tries_max,
        connect_timeout_ms,
        handshake_timeout_ms: match u64::try_from(handshake_ms) {
            Ok(ms) if ms > 0 => ms,
            _ => tick_ms.saturating_mul(u64::from(ticks(sync_limit))),
        },
        dial_pause_ms,
        notification_min_ms,
        notification_max_ms: notification_max_ms.max(notification_min_ms),
        epoch_wait_max_ms,
        leader_serves,
        history_len,
        force_snapshot_sync,
        db_autocreate,
    };
    Ok((Some(quorum), own_address))
}

/// Where members are kept that change at runtime. What the command line says of them would come again at the next start, and
/// contradict that.
fn config_files(settings: &mut Settings, lines: &[MemberLine], file: Option<&Path>) -> ConfigFiles {
    let is_said_elsewhere = lines.iter().any(|line| matches!(line.place, Place::CommandLine | Place::Environment));
    match (file.map(Path::to_owned), settings.text("dynamicConfigFile")) {
        (Some(file), None) if !is_said_elsewhere => ConfigFiles::Static(file),
        (Some(file), Some(dynamic)) if !matches!(dynamic.place, Place::CommandLine | Place::Environment) => {
            ConfigFiles::Dynamic(file)
        }
        _ => ConfigFiles::None,
    }
}

/// The configuration that was proposed when the server ended, if there was one.
fn last_seen(static_file: &Path, multi_address: bool) -> Result<Option<Membership>, ConfigError> {
    let path = dynamic::next_file(static_file);
    if !path.exists() {
        return Ok(None);
    }
    let (entries, _) = read_properties(&path)?;
    let lines: Vec<_> = entries
        .into_iter()
        .map(|entry| MemberLine {
            key: entry.key.trim().to_owned(),
            value: entry.value.trim().to_owned(),
            place: Place::Line { file: path.clone(), line: entry.line },
        })
        .filter(|line| is_member_key(&line.key))
        .collect();
    ensemble::parse(&lines, multi_address).map(Some)
}

/// Keys that act in an ensemble, and are worth a word where there is none.
const ENSEMBLE_KEYS: &[&str] = &[
    "cnxTimeout",
    "commitLogCount",
    "db.autocreate",
    "electionPortBindRetry",
    "fastleader.maxNotificationInterval",
    "fastleader.minNotificationInterval",
    "forceSnapshotSync",
    "leader.maxTimeToWaitForEpoch",
    "leaderConnectDelayDuringRetryMs",
    "leaderServes",
    "localSessionsEnabled",
    "localSessionsUpgradingEnabled",
    "oraclePath",
    "quorumCnxnTimeoutMs",
    "quorumListenOnAllIPs",
    "sslQuorum",
];

/// Without TLS and SASL between servers, whoever reaches their ports is one of them: where they are asked for, to go on without
/// would let in whom the operator wants to keep out.
fn check_unprotected_quorum(settings: &mut Settings, ssl_quorum: bool) -> Result<(), ConfigError> {
    let key = if ssl_quorum {
        "sslQuorum"
    } else if settings.boolean("quorum.auth.enableSasl", false)? {
        "quorum.auth.enableSasl"
    } else {
        return Ok(());
    };
    let setting = settings.text(key).expect("it was just read as true");
    Err(ConfigError::new(
        ErrorKind::Unprotected,
        "is not built yet, and without it everyone who reaches the ports between the servers would be one of them",
        "remove it on all servers only if nobody else reaches these ports",
    )
    .key(&setting.key)
    .at(Some(setting.place)))
}

/// The three contradictions that Apache refuses.
fn check_quorum_sasl(settings: &mut Settings) -> Result<(), ConfigError> {
    let enabled = settings.boolean("quorum.auth.enableSasl", false)?;
    let server = settings.boolean("quorum.auth.serverRequireSasl", false)?;
    let learner = settings.boolean("quorum.auth.learnerRequireSasl", false)?;
    let (key, without) = match (enabled, server, learner) {
        (false, true, _) => ("quorum.auth.serverRequireSasl", "quorum.auth.enableSasl"),
        (false, _, true) => ("quorum.auth.learnerRequireSasl", "quorum.auth.enableSasl"),
        (true, true, false) => ("quorum.auth.serverRequireSasl", "quorum.auth.learnerRequireSasl"),
        _ => return Ok(()),
    };
    let setting = settings.text(key).expect("it was just read as true");
    Err(ConfigError::new(ErrorKind::Conflict, format!("is true while {without} is not"), format!("set {without}=true"))
        .key(key)
        .at(Some(setting.place)))
}

fn client(settings: &mut Settings, listen: Option<Listen>, read_only_mode: bool) -> Result<ClientConfig, ConfigError> {
    let backlog = settings.int("clientPortListenBacklog", "give a number of connections, or -1 for the default")?;
    let per_address = settings.int("maxClientCnxns", "give a number of connections, or 0 for no limit")?.unwrap_or(60);
    let cnxns_max = settings.lenient_int("maxCnxns", 0);
    let limit = |number: i32| u32::try_from(number).ok().filter(|&number| number > 0);
    let request_len = settings.lenient_int("jute.maxbuffer", 0xf_ffff);
    let request_len_max = u32::try_from(request_len).ok().filter(|&len| len >= 64).ok_or_else(|| {
        let setting = settings.text("jute.maxbuffer").expect("its default is large enough");
        setting.refuse(format!("{request_len} bytes are too few for any request"), "give bytes; the default is 0xfffff")
    })?;
    if let Some(setting) = settings.text("jute.maxbuffer")
        && !matches!(setting.place, Place::CommandLine | Place::Environment)
    {
        let text = "acts in this file; Apache's server reads it as a Java system property only";
        settings.notice(NoticeKind::Different, &setting, text);
    }
    let sessionless = settings.lenient_int("nio.sessionlessCnxnTimeout", 10_000);
    let words = settings.text("4lw.commands.whitelist").map(|setting| setting.value);
    Ok(ClientConfig {
        listen,
        listen_backlog: backlog.and_then(limit),
        cnxns_per_address_max: limit(per_address),
        cnxns_max: limit(cnxns_max),
        sessionless_timeout_ms: limit(sessionless).unwrap_or(10_000),
        request_len_max,
        four_letter_words: Whitelist::parse(words.as_deref(), read_only_mode),
    })
}

fn access(settings: &mut Settings, security: &SecurityConfig) -> Result<AccessConfig, ConfigError> {
    let digest_algorithm = match settings.text("DigestAuthenticationProvider.digestAlg") {
        None => DigestAlgorithm::default(),
        Some(setting) => match setting.value.to_ascii_uppercase().as_str() {
            "SHA" | "SHA1" | "SHA-1" => DigestAlgorithm::Sha1,
            "SHA224" | "SHA-224" => DigestAlgorithm::Sha224,
            "SHA256" | "SHA-256" => DigestAlgorithm::Sha256,
            "SHA384" | "SHA-384" => DigestAlgorithm::Sha384,
            "SHA512" | "SHA-512" => DigestAlgorithm::Sha512,
            _ => {
                return Err(setting.refuse(
                    format!("\"{}\" is not a digest that this server knows", setting.value),
                    "use SHA1, SHA-224, SHA-256, SHA-384 or SHA-512",
                ));
            }
        },
    };
    let skip_acl = settings.text("skipACL");
    let access = AccessConfig {
        enforced_schemes: enforced_schemes(settings, security)?,
        skip_acl: skip_acl.as_ref().is_some_and(|setting| setting.value == "yes"),
        digest_enabled: settings.flag("DigestAuthenticationProvider.enabled", true),
        digest_algorithm,
        super_digest: settings
            .text("DigestAuthenticationProvider.superDigest")
            .map(|setting| Secret(setting.value))
            .filter(|digest| !digest.0.is_empty()),
    };
    if let Some(setting) = skip_acl.filter(|_| access.skip_acl) {
        settings.notice(
            NoticeKind::Unprotected,
            &setting,
            "no access control list is checked: everyone may do everything",
        );
    }
    Ok(access)
}

fn tree(settings: &mut Settings) -> Result<TreeConfig, ConfigError> {
    let positive =
        |number: i32, default: u32| u32::try_from(number).ok().filter(|&number| number > 0).unwrap_or(default);
    let never_used = settings.lenient_long("znode.container.maxNeverUsedIntervalMs", 0);
    Ok(TreeConfig {
        extended_types: settings.flag("extendedTypesEnabled", false),
        emulate_353: settings.flag("emulate353TTLNodes", false),
        reconfig_enabled: settings.boolean("reconfigEnabled", false)?,
        enforce_quota: settings.flag("enforceQuota", false),
        digest_enabled: settings.flag("digest.enabled", true),
        close_session_txn: settings.flag("closeSessionTxn.enabled", true),
        container_check_interval_ms: positive(settings.lenient_int("znode.container.checkIntervalMs", 60_000), 60_000),
        container_removals_per_minute: positive(settings.lenient_int("znode.container.maxPerMinute", 10_000), 10_000),
        container_never_used_ms: u64::try_from(never_used).ok().filter(|&interval| interval > 0),
    })
}

fn cores(settings: &mut Settings, machine: &Machine, log_folder: &Path) -> Result<Cores, ConfigError> {
    let within = |settings: &mut Settings, key: &'static str, least: usize, most: usize, advice: &str| {
        let Some(number) = settings.int(key, advice)? else { return Ok(None) };
        match usize::try_from(number).ok().filter(|number| (least..=most).contains(number)) {
            Some(number) => Ok(Some(number)),
            None => {
                let setting = settings.text(key).expect("it was just read");
                Err(setting.refuse(format!("{number} is not within {least} and {most}"), advice))
            }
        }
    };
    let core = "give the number of a core, as taskset counts them";
    let core_settings = CoreSettings {
        shards: within(settings, "zoo.shards", 1, SHARDS_MAX, "give a number of shards")?,
        shard_cores: match settings.text("zoo.shard.cores") {
            None => None,
            Some(setting) => Some(cores::parse_list(&setting.value).ok_or_else(|| {
                setting.refuse(format!("\"{}\" is not a list of cores", setting.value), "write it as 2-7,9")
            })?),
        },
        replica: within(settings, "zoo.replica.core", 0, 4095, core)?,
        log: within(settings, "zoo.log.core", 0, 4095, core)?,
        spin_us: within(settings, "zoo.spin", 0, SPIN_US_MAX as usize, "give microseconds; 0 never spins")?
            .map(|spin| u32::try_from(spin).expect("checked against SPIN_US_MAX")),
    };
    Cores::lay_out(&machine.cores, (machine.core_of_disk)(log_folder), &core_settings).map_err(|error| {
        let place = settings
            .iter()
            .find(|(key, _)| error.key.as_deref().map(canonical) == Some(*key))
            .map(|(_, setting)| setting.place.clone());
        error.at(place)
    })
}

#[cfg(test)]
mod tests;
