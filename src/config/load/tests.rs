use std::cell::RefCell;
use std::collections::BTreeSet;
use std::fs;

use tempfile::TempDir;

use super::*;
use crate::admin::word::Word;

thread_local! {
    /// The keys that the last successful `assemble` of this thread asked for.
    pub(super) static READ: RefCell<BTreeSet<&'static str>> = const { RefCell::new(BTreeSet::new()) };
}

/// A folder with a zoo.cfg in it; `DIR` in the text stands for the folder.
struct Zoo {
    dir: TempDir,
}

impl Zoo {
    fn new(text: &str) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let text = text.replace("DIR", &dir.path().display().to_string());
        fs::write(dir.path().join("zoo.cfg"), text).unwrap();
        Self { dir }
    }

    fn file(self, name: &str, text: &str) -> Self {
        fs::write(self.dir.path().join(name), text).unwrap();
        self
    }

    fn load_with(&self, overrides: &[(&str, &str)]) -> Result<Config, ConfigError> {
        let overrides: Vec<_> = overrides.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
        let machine = Machine::with_cores([0, 1, 2, 3]);
        load(&Source::File(self.dir.path().join("zoo.cfg")), &overrides, &machine)
    }

    fn load(&self) -> Result<Config, ConfigError> {
        self.load_with(&[])
    }

    /// The error, with the folder's name taken out.
    fn error(&self) -> String {
        self.load().unwrap_err().to_string().replace(&format!("{}/", self.dir.path().display()), "")
    }
}

/// A configuration of one server with these lines besides.
fn with(lines: &str) -> Zoo {
    Zoo::new(&format!("dataDir=DIR/data\nclientPort=2181\n{lines}\n"))
}

fn notices(config: &Config) -> String {
    config.notices.lines().join("\n")
}

#[test]
fn nothing_said() {
    let config = load(&Source::Default, &[], &Machine::with_cores([0, 1])).unwrap();
    assert_eq!(config.client.listen.unwrap().to_string(), "127.0.0.1:2181");
    assert_eq!(config.storage.data_dir, std::env::current_dir().unwrap().join("data"));
    assert_eq!(config.client.cnxns_per_address_max, Some(60));
    assert_eq!(notices(&config), "");
}

#[test]
fn apaches_sample_file() {
    let config = Zoo::new(
        "# The number of milliseconds of each tick\ntickTime=2000\ninitLimit=10\nsyncLimit=5\ndataDir=DIR/data\n\
         clientPort=2181\n#maxClientCnxns=60\n",
    )
    .load()
    .unwrap();
    assert_eq!(
        config.session,
        SessionConfig { tick_ms: 2000, timeout_min_ms: 4000, timeout_max_ms: 40_000, read_only_mode: false }
    );
    assert_eq!(config.client.listen, Some(Listen { host: None, port: 2181 }));
    assert_eq!(config.quorum, None);
    assert_eq!(notices(&config), "", "nothing to complain about");
}

#[test]
fn defaults() {
    let config = with("").load().unwrap();
    let Config { client, session, access, tree, storage, cores, my_id, .. } = config;
    assert_eq!(session.tick_ms, 3000);
    assert_eq!((session.timeout_min_ms, session.timeout_max_ms), (6000, 60_000));
    assert_eq!((client.listen_backlog, client.cnxns_per_address_max, client.cnxns_max), (None, Some(60), None));
    assert_eq!((client.request_len_max, client.sessionless_timeout_ms), (1_048_575, 10_000));
    assert!(client.four_letter_words.allows(Word::Srvr));
    assert!(!client.four_letter_words.allows(Word::Stat));
    assert_eq!(
        access,
        AccessConfig {
            enforced_schemes: BTreeSet::new(),
            skip_acl: false,
            digest_enabled: true,
            digest_algorithm: DigestAlgorithm::Sha1,
            super_digest: None,
        }
    );
    assert_eq!(
        tree,
        TreeConfig {
            extended_types: false,
            emulate_353: false,
            reconfig_enabled: false,
            enforce_quota: false,
            digest_enabled: true,
            close_session_txn: true,
            container_check_interval_ms: 60_000,
            container_removals_per_minute: 10_000,
            container_never_used_ms: None,
        }
    );
    assert_eq!(storage.data_log_dir, storage.data_dir);
    assert_eq!((storage.autocreate, storage.force_sync, storage.sync_warning_ms), (true, true, 1000));
    assert_eq!((storage.snap_count, storage.snap_log_bytes), (100_000, Some(4 << 30)));
    assert_eq!(storage.segment_bytes, 64 << 20);
    assert_eq!(storage.autopurge, Autopurge { retain: 3, when: PurgeWhen::AfterSnapshot });
    assert_eq!(cores, Cores { shards: vec![1, 2, 3], replica: 0, log: 0, spin_us: 0 });
    assert_eq!(my_id, None);
}

#[test]
fn every_acting_key_acts() {
    let zoo = with(
        "dataLogDir=DIR/log\ntickTime=100\nminSessionTimeout=300\nmaxSessionTimeout=-1\nmaxClientCnxns=7\n\
         clientPortListenBacklog=9\nmaxCnxns=8\nnio.sessionlessCnxnTimeout=500\n\
         jute.maxbuffer=0x1000\n4lw.commands.whitelist=stat, ruok\nskipACL=yes\n\
         DigestAuthenticationProvider.enabled=false\n\
         DigestAuthenticationProvider.digestAlg=sha-256\nDigestAuthenticationProvider.superDigest=super:xyz=\n\
         extendedTypesEnabled=true\nemulate353TTLNodes=true\nreconfigEnabled=true\nenforceQuota=true\ndigest.enabled=false\ncloseSessionTxn.enabled=false\n\
         znode.container.checkIntervalMs=11\nznode.container.maxPerMinute=12\n\
         zookeeper.znode.container.maxNeverUsedIntervalMs=13\ndatadir.autocreate=false\nforceSync=no\nfsync.warningthresholdms=14\n\
         snapCount=15\nsnapSizeLimitInKb=16\npreAllocSize=128\ntxnLogSizeLimitInKb=1700\n\
         autopurge.snapRetainCount=5\nautopurge.purgeInterval=2\nreadonlymode.enabled=true\nzoo.shards=2\n\
         zoo.shard.cores=2-3\nzoo.replica.core=1\nzoo.log.core=0\nzoo.spin=5\n\
         enforce.auth.enabled=true\nenforce.auth.schemes=digest, ip",
    );
    let Config { client, session, access, tree, storage, cores, .. } = zoo.load().unwrap();
    assert_eq!(
        session,
        SessionConfig { tick_ms: 100, timeout_min_ms: 300, timeout_max_ms: 2000, read_only_mode: true }
    );
    assert_eq!((client.listen_backlog, client.cnxns_per_address_max, client.cnxns_max), (Some(9), Some(7), Some(8)));
    assert_eq!((client.request_len_max, client.sessionless_timeout_ms), (4096, 500));
    assert_eq!(client.four_letter_words, Whitelist::parse(Some("stat,ruok,isro"), false));
    assert_eq!(
        access,
        AccessConfig {
            enforced_schemes: BTreeSet::from(["digest".to_owned(), "ip".to_owned()]),
            skip_acl: true,
            digest_enabled: false,
            digest_algorithm: DigestAlgorithm::Sha256,
            super_digest: Some(Secret("super:xyz=".to_owned())),
        }
    );
    assert!(!format!("{access:?}").contains("xyz"));
    assert_eq!(
        tree,
        TreeConfig {
            extended_types: true,
            emulate_353: true,
            reconfig_enabled: true,
            enforce_quota: true,
            digest_enabled: false,
            close_session_txn: false,
            container_check_interval_ms: 11,
            container_removals_per_minute: 12,
            container_never_used_ms: Some(13),
        }
    );
    assert_eq!(
        storage,
        StorageConfig {
            data_dir: zoo.dir.path().join("data"),
            data_log_dir: zoo.dir.path().join("log"),
            autocreate: false,
            force_sync: false,
            sync_warning_ms: 14,
            snap_count: 15,
            snap_log_bytes: Some(16 << 10),
            segment_bytes: 128 << 10,
            autopurge: Autopurge { retain: 5, when: PurgeWhen::EveryMs(7_200_000) },
        }
    );
    assert_eq!(cores, Cores { shards: vec![2, 3], replica: 1, log: 0, spin_us: 5 });
}

#[test]
fn the_list_of_acting_keys_is_the_truth() {
    with("dynamicConfigFile=DIR/members.0").file("members.0", "").load().unwrap();
    let read: Vec<_> = READ.with(|read| read.borrow().iter().copied().collect());
    let mut listed = keys::ACTS.to_vec();
    listed.sort_unstable();
    assert_eq!(read, listed);
}

#[test]
fn a_file_of_an_editor_on_windows() {
    let config = Zoo::new("\u{feff}dataDir=DIR\r\nclientPort=7\r\n# x\r\ntickTime = 500 \r\n").load().unwrap();
    assert_eq!((config.client.listen.unwrap().port, config.session.tick_ms), (7, 500));
    assert_eq!(notices(&config), "");
}

#[test]
fn errors_say_where_and_what() {
    for (text, words) in [
        ("clientPort=2181", "zoo.cfg: dataDir: is not set; say where the data is to lie: dataDir=/var/lib/zoo"),
        ("dataDir=DIR", "zoo.cfg: clientPort: is not set, so that nothing could connect; say where"),
        ("dataDir=DIR\nsecureClientPort=2281", "zoo.cfg:2: secureClientPort: TLS needs a private key"),
        ("dataDir=DIR\nclientPort=x", "zoo.cfg:2: clientPort: \"x\" is not a whole number; give a TCP port"),
        ("dataDir=DIR\nclientPort=65536", "zoo.cfg:2: clientPort: 65536 is not a TCP port"),
        ("dataDir=DIR\nclientPortAddress=::1", "zoo.cfg:2: clientPortAddress: is set but clientPort is not"),
        ("dataDir=DIR\nclientPort=1\nclientPortAddress=300.1.1.1", "\"300.1.1.1\" is not an address"),
        ("dataDir=DIR\nclientPort=1\ntickTime=0", "zoo.cfg:3: tickTime: 0 is not a length of time"),
        ("dataDir=DIR\nclientPort=1\ntickTime=-5", "-5 is not a length of time"),
        (
            "dataDir=DIR\nclientPort=1\nminSessionTimeout=9\nmaxSessionTimeout=8",
            "zoo.cfg:3: minSessionTimeout: minSessionTimeout (9 ms) is larger than maxSessionTimeout (8 ms)",
        ),
        (
            "dataDir=DIR\nclientPort=1\ntickTime=2000\nmaxSessionTimeout=3000",
            "zoo.cfg:4: maxSessionTimeout: minSessionTimeout (4000 ms) is larger than maxSessionTimeout (3000 ms)",
        ),
        ("dataDir=DIR\nclientPort=1\nelectionAlg=0", "zoo.cfg:3: electionAlg: 0 is not supported"),
        ("dataDir=DIR\nclientPort=1\npeerType=voter", "zoo.cfg:3: peerType: \"voter\" is not a role"),
        ("dataDir=DIR\nclientPort=1\nreconfigEnabled=yes", "\"yes\" is neither true nor false"),
        ("dataDir=DIR\nclientPort=1\nautopurge.purgeInterval=", "autopurge.purgeInterval: \"\" is not an interval"),
        ("dataDir=DIR\nclientPort=1\nx=\\uZZZZ", "zoo.cfg:3: a \\u that is not followed by four"),
        ("dataDir=DIR\nclientPort=1\njute.maxbuffer=0", "jute.maxbuffer: 0 bytes are too few"),
        ("dataDir=DIR\nclientPort=1\nDigestAuthenticationProvider.digestAlg=MD5", "\"MD5\" is not a digest"),
        ("dataDir=DIR\nclientPort=1\nzoo.shards=0", "zoo.cfg:3: zoo.shards: 0 is not within 1 and 256"),
        ("dataDir=DIR\nclientPort=1\nzoo.shard.cores=a", "zoo.cfg:3: zoo.shard.cores: \"a\" is not a list of cores"),
        ("dataDir=DIR\nclientPort=1\nzoo.log.core=7", "zoo.cfg:3: zoo.log.core: this process may not run on core 7"),
        (
            "dataDir=DIR\nclientPort=1\nenforce.auth.enabled=true",
            "zoo.cfg:3: enforce.auth.enabled: is true while enforce.auth.schemes is not set",
        ),
        (
            "dataDir=DIR\nclientPort=1\nenforce.auth.enabled=true\nenforce.auth.schemes=digest,sasl",
            "zoo.cfg:4: enforce.auth.schemes: this server does not have the authentication scheme \"sasl\"",
        ),
        (
            "dataDir=DIR\nclientPort=1\nsessionRequireClientSASLAuth=true",
            "zoo.cfg:3: sessionRequireClientSASLAuth: SASL is not set up",
        ),
        ("dataDir=DIR\nclientPort=1\nquorum.auth.serverRequireSasl=true", "while quorum.auth.enableSasl is not"),
    ] {
        let error = Zoo::new(text).error();
        assert!(error.contains(words), "{text:?}: {error}");
    }
    let error = load(&Source::File("/nowhere/zoo.cfg".into()), &[], &Machine::with_cores([0])).unwrap_err();
    assert_eq!(error.kind, ErrorKind::Unreadable);
    assert!(error.to_string().starts_with("/nowhere/zoo.cfg: cannot be read:"), "{error}");
}

#[test]
fn the_last_value_counts_and_the_command_line_most() {
    let zoo = with("snapCount=5\nzookeeper.snapCount=6\n");
    assert_eq!(zoo.load().unwrap().storage.snap_count, 6);
    let config = zoo.load_with(&[("snapCount", "7"), ("zookeeper.clientPort", "9")]).unwrap();
    assert_eq!((config.storage.snap_count, config.client.listen.unwrap().port), (7, 9));
    let error = zoo.load_with(&[("tickTime", "x")]).unwrap_err();
    assert_eq!(error.place, Some(Place::CommandLine));
}

#[test]
fn adjustments_are_apaches() {
    let config =
        with("autopurge.snapRetainCount=1\nautopurge.purgeInterval=0\nsnapCount=1\nmaxCnxns=-4\nmaxClientCnxns=0\nforceSync=NO")
            .load()
            .unwrap();
    assert_eq!(config.storage.autopurge, Autopurge { retain: 3, when: PurgeWhen::Never });
    assert_eq!(config.storage.snap_count, 2);
    assert_eq!((config.client.cnxns_max, config.client.cnxns_per_address_max), (None, None));
    assert!(config.storage.force_sync, "only a plain no turns it off");
    let notices = notices(&config);
    assert!(notices.contains("zoo.cfg:3: autopurge.snapRetainCount: at least 3 snapshots"), "{notices}");
    assert!(notices.contains("zoo.cfg:5: snapCount: must be 2 or more"), "{notices}");
    let segment = |lines: &str| with(lines).load().unwrap().storage.segment_bytes;
    assert_eq!(segment("preAllocSize=100\ntxnLogSizeLimitInKb=80"), 80 << 10);
    assert_eq!(segment("preAllocSize=100\ntxnLogSizeLimitInKb=8"), 64 << 10);
    assert_eq!(segment("preAllocSize=-1"), 64 << 10);
    assert_eq!(segment("preAllocSize=99999999"), 1 << 30);
}

#[test]
fn keys_without_effect_are_named_once() {
    let config = with(
        "admin.enableServer=false\nadmin.serverPort=9090\nleaderServes=yes\ncommitLogCount=5\nflushDelay=1\n\
         snapcount=5\naudit.enable=true\nforceSync=no\nsslQuorum=true\nmetricsProvider.httpPort=7000",
    )
    .load()
    .unwrap();
    let lines: Vec<_> = config.notices.lines().iter().map(|line| line.rsplit('/').next().unwrap().to_owned()).collect();
    assert_eq!(
        lines,
        [
            "zoo.cfg:10: forceSync: writes are acknowledged before they are durable: a power failure loses acknowledged \
             writes",
            "asks for protection that this server does not give: audit.enable",
            "without effect, not built yet: admin.serverPort, metricsProvider.httpPort",
            "without effect on a single server: commitLogCount, leaderServes, sslQuorum",
            "without effect, tunes a part that this server does not have: flushDelay",
            "without effect, not a known key: snapcount",
        ]
    );
    assert!(config.notices.is_unprotected());
}

#[test]
fn one_server_line_is_one_server() {
    let zoo = Zoo::new("dataDir=DIR\nserver.1=localhost:2888:3888;127.0.0.1:2345\n").file("myid", "1\n");
    let config = zoo.load().unwrap();
    assert_eq!(config.quorum, None);
    assert_eq!(config.my_id, Some(1));
    assert_eq!(config.client.listen.unwrap().to_string(), "127.0.0.1:2345");
    assert!(notices(&config).contains("server.1: the only participant: it serves alone"));

    let both = |lines: &str| {
        Zoo::new(&format!("dataDir=DIR\nserver.1=localhost:2888:3888;2345\n{lines}")).file("myid", "1").load()
    };
    assert_eq!(both("clientPort=2345").unwrap().client.listen.unwrap().to_string(), "*:2345");
    let error = both("clientPort=2346").unwrap_err();
    assert_eq!(error.kind, ErrorKind::Conflict);
    assert!(error.to_string().contains("*:2345 differs from *:2346"), "{error}");
    // Without myid the line is nobody's.
    assert!(Zoo::new("dataDir=DIR\nserver.1=localhost:2888:3888;2345").load().is_err());
}

const THREE: &str = "server.1=a:2888:3888\nserver.2=b:2888:3888\nserver.3=c:2888:3888:observer\n";

#[test]
fn an_ensemble_is_read_whole() {
    let zoo = with(&format!("initLimit=10\nsyncLimit=5\nlocalSessionsEnabled=true\npeerType=observer\n{THREE}"));
    fs::create_dir(zoo.dir.path().join("data")).unwrap();
    assert!(zoo.error().contains("an ensemble needs the file myid"), "{}", zoo.error());
    let zoo = zoo.file("data/myid", "2");
    let config = zoo.load().unwrap();
    let quorum = config.quorum.as_ref().unwrap();
    assert_eq!((quorum.my_id, quorum.init_limit, quorum.sync_limit), (2, 10, 5));
    assert_eq!((quorum.ensemble.participants().count(), quorum.ensemble.observers().count()), (2, 1));
    assert!(quorum.local_sessions);
    assert_eq!(quorum.peer_type, PeerType::Participant);
    assert!(notices(&config).contains("peerType: this server's server.N line says otherwise"));
    assert_eq!((quorum.connect_timeout_ms, quorum.handshake_timeout_ms, quorum.bind_tries_max), (5000, 15_000, 3));
    assert_eq!((quorum.notification_min_ms, quorum.notification_max_ms, quorum.dial_pause_ms), (200, 60_000, 100));
    assert_eq!((quorum.leader_serves, quorum.listen_on_all, quorum.db_autocreate), (true, false, true));
    assert_eq!((quorum.epoch_wait_max_ms, quorum.history_len), (None, 500));
}

/// An ensemble's zoo.cfg with `lines`, of the server with this number.
fn member(my_id: &str, lines: &str) -> Zoo {
    let zoo = with(&format!("initLimit=10\nsyncLimit=5\n{THREE}{lines}"));
    fs::create_dir(zoo.dir.path().join("data")).unwrap();
    zoo.file("data/myid", my_id)
}

#[test]
fn the_keys_of_an_ensemble_act() {
    let lines = "cnxTimeout=7\nquorumCnxnTimeoutMs=8\nelectionPortBindRetry=0\nfastleader.minNotificationInterval=9\n\
                 zookeeper.fastleader.maxNotificationInterval=10\nleaderServes=no\nquorumListenOnAllIPs=true\n\
                 leaderConnectDelayDuringRetryMs=11\nleader.maxTimeToWaitForEpoch=12\ncommitLogCount=5000\n\
                 db.autocreate=false\nmultiAddress.enabled=true\nconnectToLearnerMasterLimit=13\n";
    let config = member("3", lines).load().unwrap();
    assert_eq!(notices(&config), "");
    let quorum = config.quorum.unwrap();
    assert_eq!((quorum.connect_timeout_ms, quorum.handshake_timeout_ms, quorum.bind_tries_max), (7, 8, 0));
    assert_eq!((quorum.notification_min_ms, quorum.notification_max_ms, quorum.dial_pause_ms), (9, 10, 11));
    assert_eq!((quorum.leader_serves, quorum.listen_on_all, quorum.db_autocreate), (false, true, false));
    assert_eq!((quorum.epoch_wait_max_ms, quorum.history_len), (Some(12), 5000));
    assert_eq!((quorum.multi_address, quorum.connect_to_learner_master_limit), (true, 13));
    assert_eq!(quorum.peer_type, PeerType::Observer);

    let alone = with("leaderServes=no\ncnxTimeout=7").load().unwrap();
    assert!(
        notices(&alone).contains("without effect on a single server: cnxTimeout, leaderServes"),
        "{}",
        notices(&alone)
    );
}

#[test]
fn an_ensemble_that_would_be_served_wrongly_is_not_served() {
    for (my_id, lines, words) in [
        ("4", "", "no server.N line is this server's: myid says 4"),
        ("1", "sslQuorum=true", "sslQuorum: is not built yet, and without it everyone"),
        ("1", "quorum.auth.enableSasl=true", "quorum.auth.enableSasl: is not built yet"),
        ("1", "oraclePath=/o", "oraclePath: is not built"),
        ("1", "electionAlg=1", "1 is not supported"),
    ] {
        let error = member(my_id, lines).error();
        assert!(error.contains(words), "{lines:?}: {error}");
    }
}

#[test]
fn what_is_no_ensemble() {
    for (lines, words) in [
        (THREE, "an ensemble needs initLimit"),
        ("initLimit=1\nserver.1=a:1:2\nserver.2=b:1:2", "an ensemble needs syncLimit"),
        ("server.1=a:1:2\nserver.2=b:1:2:observer", "observers without a quorum"),
        ("server.1=a:1:2:observer", "observers without a quorum"),
        ("standaloneEnabled=false", "standaloneEnabled=false without a participant"),
        ("standaloneEnabled=false\nserver.1=a:1:2", "an ensemble needs initLimit"),
        ("server.1=a:1", "zoo.cfg:3: server.1: \"a:1\" does not have the form"),
    ] {
        let error = with(lines).error();
        assert!(error.contains(words), "{lines:?}: {error}");
    }
}

#[test]
fn a_dynamic_configuration_file() {
    let zoo =
        Zoo::new("dataDir=DIR\nclientPort=2181\ninitLimit=1\nsyncLimit=1\ndynamicConfigFile=DIR/zoo.cfg.dynamic.1a\n")
            .file("myid", "1")
            .file("zoo.cfg.dynamic.1a", "server.1=a:1:2;2181\nserver.2=b:1:2;2181\n");
    let quorum = zoo.load().unwrap().quorum.unwrap();
    assert_eq!((quorum.ensemble.version, quorum.ensemble.members.len()), (0x1a, 2));

    let zoo = zoo.file("zoo.cfg.dynamic.1a", "server.1=a:1:2\ntickTime=5");
    assert!(zoo.error().contains("zoo.cfg.dynamic.1a:2: tickTime: does not belong"), "{}", zoo.error());
    let zoo = zoo.file("zoo.cfg.dynamic.1a", "version=5");
    assert!(zoo.error().contains("version: does not belong"), "{}", zoo.error());
    let both = with("server.1=a:1:2\ndynamicConfigFile=DIR/nothing");
    assert!(both.error().contains("zoo.cfg:3: server.1: stands beside dynamicConfigFile"), "{}", both.error());
    let missing = with("dynamicConfigFile=DIR/nothing");
    assert!(missing.error().contains("nothing: cannot be read"), "{}", missing.error());
}

#[test]
fn apaches_four_arguments() {
    let source =
        Source::Arguments { port: 2222, data_dir: "/somewhere".into(), tick_ms: Some(500), max_client_cnxns: None };
    let config = load(&source, &[], &Machine::with_cores([0])).unwrap();
    assert_eq!(config.client.listen, Some(Listen { host: None, port: 2222 }));
    assert_eq!((config.session.tick_ms, config.client.cnxns_per_address_max), (500, None));
    assert_eq!(config.storage.data_dir, PathBuf::from("/somewhere"));
}

#[test]
fn addresses() {
    let listen = |address: &str| {
        with(&format!("clientPortAddress={address}")).load().unwrap().client.listen.unwrap().to_string()
    };
    assert_eq!(listen("0.0.0.0"), "*:2181");
    assert_eq!(listen("::"), "*:2181");
    assert_eq!(listen("::1"), "[::1]:2181");
    assert_eq!(listen("[::1]"), "[::1]:2181");
    assert_eq!(listen("localhost"), "127.0.0.1:2181");
}

#[test]
fn letters_beyond_ascii_are_latin_1_and_said_to_be() {
    let config = with("dataLogDir=DIR/l\u{f6}g").load().unwrap();
    assert!(config.storage.data_log_dir.ends_with("l\u{c3}\u{b6}g"));
    assert!(notices(&config).contains("read as ISO-8859-1"));
}
