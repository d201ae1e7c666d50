//! The members of an ensemble as zoo.cfg names them: `server.N`, `group.N`, `weight.N`.
//!
//! `server.N = host:quorumPort:electionPort[:participant|observer][|host2:...][;[clientHost:]clientPort][;[host:]securePort]`
//! with IPv6 hosts in brackets. `group.N = a:b:c` and `weight.N = w` make the quorums hierarchical: then every participant
//! is in exactly one group. Host names are kept as names: they are resolved when a connection is made, as an address may
//! move. Sources: `QuorumPeer.QuorumServer`, `QuorumMaj`, `QuorumHierarchical`, `ConfigUtils.getHostAndPort`.

use std::collections::BTreeMap;
use std::fmt;

use super::error::{ConfigError, ErrorKind, Place};
use crate::ids::ServerId;

/// Most members that a configuration may name. Server ids above 254 collide in session ids, so more could not be served.
pub const MEMBERS_MAX: usize = 255;

/// A host as it was written, without brackets, and a port.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct HostPort {
    /// Name or address.
    pub host: String,
    /// TCP port.
    pub port: u16,
}

/// As in zoo.cfg: an IPv6 host in brackets.
impl fmt::Display for HostPort {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.host.contains(':') {
            write!(f, "[{}]:{}", self.host, self.port)
        } else {
            write!(f, "{}:{}", self.host, self.port)
        }
    }
}

/// Whether a member votes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum PeerType {
    /// It votes and may lead.
    #[default]
    Participant,
    /// It follows without a vote.
    Observer,
}

impl PeerType {
    /// `participant` or `observer`, in any case.
    pub(super) fn parse(text: &str) -> Option<Self> {
        match text.trim().to_lowercase().as_str() {
            "participant" => Some(Self::Participant),
            "observer" => Some(Self::Observer),
            _ => None,
        }
    }
}

/// One address of a member.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PeerAddress {
    /// Where followers connect to the leader.
    pub quorum: HostPort,
    /// Where votes are exchanged.
    pub election: HostPort,
}

/// One `server.N`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Member {
    /// Its N.
    pub id: ServerId,
    /// Its addresses, more than one only with `multiAddress.enabled`.
    pub addresses: Vec<PeerAddress>,
    /// Its role.
    pub peer_type: PeerType,
    /// Where clients connect, if it says so itself; host `0.0.0.0` if it names a port only.
    pub client: Option<HostPort>,
    /// Where clients connect with TLS.
    pub secure_client: Option<HostPort>,
}

/// How quorums are counted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Quorums {
    /// More than half of the participants.
    Majority,
    /// More than half of the groups, each with more than half of its weight.
    Hierarchical {
        /// Group of each server.
        groups: BTreeMap<ServerId, i64>,
        /// Weight of each server, 1 if none is given.
        weights: BTreeMap<ServerId, i64>,
    },
}

/// All members.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ensemble {
    /// By id.
    pub members: BTreeMap<ServerId, Member>,
    /// How quorums are counted.
    pub quorums: Quorums,
    /// The configuration's version (a zxid), 0 if none is given.
    pub version: i64,
}

/// One line that describes the ensemble.
#[derive(Clone, Debug)]
pub(super) struct MemberLine {
    pub(super) key: String,
    pub(super) value: String,
    pub(super) place: Place,
}

impl Ensemble {
    /// Reads the lines whose keys begin with `server.`, `group`, `weight`, or are `version`.
    pub(super) fn parse(lines: &[MemberLine], multi_address: bool) -> Result<Self, ConfigError> {
        let mut members = BTreeMap::new();
        let mut groups = BTreeMap::new();
        let mut weights = BTreeMap::new();
        let mut hierarchical = false;
        let mut version = 0;
        for line in lines {
            let refuse = |error: ConfigError| error.key(&line.key).at(Some(line.place.clone()));
            if line.key.starts_with("server.") {
                let id = ServerId(number_of(&line.key).map_err(refuse)?);
                let member = Member::parse(id, &line.value, multi_address).map_err(refuse)?;
                members.insert(id, member);
                if members.len() > MEMBERS_MAX {
                    return Err(refuse(ConfigError::new(
                        ErrorKind::Value,
                        format!("more than {MEMBERS_MAX} servers"),
                        "an ensemble cannot be larger",
                    )));
                }
            } else if line.key.starts_with("group") {
                hierarchical = true;
                let group = number_of(&line.key).map_err(refuse)?;
                for text in java_split(&line.value, ':') {
                    let id = ServerId(parse_number(text).map_err(refuse)?);
                    if groups.insert(id, group).is_some() {
                        return Err(refuse(ConfigError::new(
                            ErrorKind::Conflict,
                            format!("server {} is in more than one group", id.0),
                            "name each server in one group",
                        )));
                    }
                }
            } else if line.key.starts_with("weight") {
                hierarchical = true;
                let id = ServerId(number_of(&line.key).map_err(refuse)?);
                weights.insert(id, parse_number(&line.value).map_err(refuse)?);
            } else {
                version = i64::from_str_radix(&line.value, 16).map_err(|_| {
                    refuse(ConfigError::new(
                        ErrorKind::Value,
                        format!("\"{}\" is not a hexadecimal number", line.value),
                        "give the version as reconfig wrote it",
                    ))
                })?;
            }
        }
        let quorums = if hierarchical {
            for member in members.values().filter(|member: &&Member| member.peer_type == PeerType::Participant) {
                if !groups.contains_key(&member.id) {
                    return Err(ConfigError::new(
                        ErrorKind::Conflict,
                        format!("server {} is not in a group", member.id.0),
                        "with group or weight lines every participant needs a group: add it to a group.N line",
                    ));
                }
                weights.entry(member.id).or_insert(1);
            }
            Quorums::Hierarchical { groups, weights }
        } else {
            Quorums::Majority
        };
        Ok(Self { members, quorums, version })
    }

    /// How many members vote.
    pub fn participants(&self) -> usize {
        self.members.values().filter(|member| member.peer_type == PeerType::Participant).count()
    }

    /// How many members only follow.
    pub fn observers(&self) -> usize {
        self.members.len() - self.participants()
    }
}

/// The number after the first dot of `server.N`.
fn number_of(key: &str) -> Result<i64, ConfigError> {
    parse_number(key.split_once('.').map_or(key, |(_, number)| number))
}

fn parse_number(text: &str) -> Result<i64, ConfigError> {
    text.trim().parse().map_err(|_| {
        ConfigError::new(ErrorKind::Value, format!("\"{text}\" is not a number"), "give a server's or group's number")
    })
}

const FORM: &str =
    "write host:quorumPort:electionPort[:participant|observer][;[clientHost:]clientPort], an IPv6 host in brackets";

impl Member {
    fn parse(id: ServerId, text: &str, multi_address: bool) -> Result<Self, ConfigError> {
        let form = |problem: String| ConfigError::new(ErrorKind::Value, problem, FORM);
        let parts = java_split(text, ';');
        let servers = java_split(parts.first().copied().unwrap_or_default(), '|');
        if servers.len() > 1 && !multi_address {
            return Err(ConfigError::new(
                ErrorKind::Conflict,
                "more than one address for a server, while multiAddress.enabled is false",
                "name one address, or set multiAddress.enabled=true on all servers",
            ));
        }
        let mut addresses = Vec::new();
        let mut peer_type = None;
        for server in servers {
            let words = host_and_port(server).map_err(form)?;
            if words.len() < 3 || words.len() > 4 {
                return Err(form(format!("\"{server}\" does not have the form of a server's address")));
            }
            let quorum = HostPort { host: words[0].to_owned(), port: port(words[1]).map_err(form)? };
            let election = HostPort { host: words[0].to_owned(), port: port(words[2]).map_err(form)? };
            if quorum.port == election.port {
                return Err(ConfigError::new(
                    ErrorKind::Conflict,
                    format!("quorum port and election port are both {}", quorum.port),
                    "give the election a port of its own",
                ));
            }
            addresses.push(PeerAddress { quorum, election });
            if let Some(word) = words.get(3) {
                let role = PeerType::parse(word)
                    .ok_or_else(|| form(format!("\"{word}\" is neither participant nor observer")))?;
                if *peer_type.get_or_insert(role) != role {
                    return Err(ConfigError::new(
                        ErrorKind::Conflict,
                        "the addresses of one server differ in their role",
                        "make it participant or observer in all of them",
                    ));
                }
            }
        }
        let client_address = |part: Option<&&str>| match part {
            None | Some(&"") => Ok(None),
            Some(part) => {
                let words = host_and_port(part).map_err(form)?;
                match words.as_slice() {
                    [word] => Ok(Some(HostPort { host: "0.0.0.0".to_owned(), port: port(word).map_err(form)? })),
                    [host, word] => Ok(Some(HostPort { host: (*host).to_owned(), port: port(word).map_err(form)? })),
                    _ => Err(form(format!("\"{part}\" does not have the form of a client address"))),
                }
            }
        };
        Ok(Self {
            id,
            addresses,
            peer_type: peer_type.unwrap_or_default(),
            client: client_address(parts.get(1))?,
            secure_client: client_address(parts.get(2))?,
        })
    }
}

fn port(text: &str) -> Result<u16, String> {
    text.trim().parse().map_err(|_| format!("\"{text}\" is not a port"))
}

/// Splits at colons, an IPv6 host in brackets being one word.
fn host_and_port(text: &str) -> Result<Vec<&str>, String> {
    let text = text.trim();
    let Some(inner) = text.strip_prefix('[') else {
        return Ok(java_split(text, ':'));
    };
    let (host, rest) = inner.split_once(']').ok_or_else(|| format!("\"{text}\" has no ']' for its '['"))?;
    let Some(ports) = rest.strip_prefix(':') else {
        return if rest.is_empty() { Ok(vec![host]) } else { Err(format!("\"{text}\" has no ':' after its ']'")) };
    };
    if ports.is_empty() {
        return Err(format!("\"{text}\" has no port after its ':'"));
    }
    let mut words = vec![host];
    words.extend(java_split(ports, ':'));
    Ok(words)
}

/// `String.split` of Java: empty strings at the end are dropped.
fn java_split(text: &str, separator: char) -> Vec<&str> {
    let mut words: Vec<_> = text.split(separator).collect();
    while words.len() > 1 && words.last().is_some_and(|word| word.is_empty()) {
        words.pop();
    }
    words
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<Ensemble, ConfigError> {
        let lines: Vec<_> = text
            .lines()
            .enumerate()
            .filter_map(|(index, line)| {
                let (key, value) = line.trim().split_once('=')?;
                Some(MemberLine {
                    key: key.to_owned(),
                    value: value.to_owned(),
                    place: Place::Line { file: "zoo.cfg".into(), line: index + 1 },
                })
            })
            .collect();
        Ensemble::parse(&lines, text.contains("multi"))
    }

    fn member(value: &str) -> Result<Member, ConfigError> {
        Member::parse(ServerId(1), value, false)
    }

    fn host(host: &str, port: u16) -> HostPort {
        HostPort { host: host.to_owned(), port }
    }

    #[test]
    fn a_server_line_in_all_its_forms() {
        let plain = member("zk1:2888:3888").unwrap();
        assert_eq!(plain.addresses, [PeerAddress { quorum: host("zk1", 2888), election: host("zk1", 3888) }]);
        assert_eq!((plain.peer_type, plain.client), (PeerType::Participant, None));

        let full = member("zk1:2888:3888:Observer;10.0.0.1:2181;[::1]:2281").unwrap();
        assert_eq!(full.peer_type, PeerType::Observer);
        assert_eq!(full.client, Some(host("10.0.0.1", 2181)));
        assert_eq!(full.secure_client, Some(host("::1", 2281)));

        let v6 = member("[2001:db8::1]:2888:3888:participant;2181").unwrap();
        assert_eq!(v6.addresses[0].election, host("2001:db8::1", 3888));
        assert_eq!(v6.client, Some(host("0.0.0.0", 2181)));
        assert_eq!(v6.addresses[0].quorum.to_string(), "[2001:db8::1]:2888");

        assert_eq!(member("zk1:2888:3888;;2281").unwrap().secure_client, Some(host("0.0.0.0", 2281)));
        assert_eq!(member("zk1:2888:3888;").unwrap().client, None);
    }

    #[test]
    fn a_server_line_that_is_wrong_says_why() {
        for (value, words) in [
            ("zk1:2888", "form of a server's address"),
            ("zk1", "form of a server's address"),
            ("", "form of a server's address"),
            ("zk1:2888:3888:voter", "neither participant nor observer"),
            ("zk1:2888:2888", "both 2888"),
            ("zk1:x:3888", "\"x\" is not a port"),
            ("zk1:2888:70000", "\"70000\" is not a port"),
            ("[::1:2888:3888", "no ']'"),
            ("[::1]:", "no port after"),
            ("zk1:2888:3888;a:b:c", "form of a client address"),
            ("zk1:2888:3888|zk2:2888:3888", "multiAddress.enabled"),
        ] {
            let error = member(value).unwrap_err();
            assert!(error.to_string().contains(words), "{value:?}: {error}");
        }
    }

    #[test]
    fn several_addresses() {
        let value = "zk1:2888:3888:observer|zk2:2889:3889;2181";
        let member = Member::parse(ServerId(1), value, true).unwrap();
        assert_eq!(member.addresses.len(), 2);
        assert_eq!((member.peer_type, member.client), (PeerType::Observer, Some(host("0.0.0.0", 2181))));
        let mixed = Member::parse(ServerId(1), "a:1:2:observer|b:1:2:participant", true).unwrap_err();
        assert!(mixed.to_string().contains("differ in their role"));
    }

    #[test]
    fn majority_and_hierarchy() {
        let three = parse("server.1=a:1:2\nserver.2=b:1:2\nserver.3=c:1:2:observer\nversion=10000000a").unwrap();
        assert_eq!((three.participants(), three.observers(), three.version), (2, 1, 0x1_0000_000a));
        assert_eq!(three.quorums, Quorums::Majority);

        let groups = parse("server.1=a:1:2\nserver.2=b:1:2\ngroup.1=1:2\nweight.2=3").unwrap();
        let Quorums::Hierarchical { groups, weights } = groups.quorums else { panic!("not hierarchical") };
        assert_eq!(groups, BTreeMap::from([(ServerId(1), 1), (ServerId(2), 1)]));
        assert_eq!(weights, BTreeMap::from([(ServerId(1), 1), (ServerId(2), 3)]));

        for (text, words) in [
            ("server.1=a:1:2\nserver.2=b:1:2\ngroup.1=1", "server 2 is not in a group"),
            ("server.1=a:1:2\ngroup.1=1\ngroup.2=1", "zoo.cfg:3: group.2: server 1 is in more than one group"),
            ("server.one=a:1:2", "zoo.cfg:1: server.one: \"one\" is not a number"),
            ("server.1=a:1:2\ngroup=1", "zoo.cfg:2: group: \"group\" is not a number"),
            ("version=x", "not a hexadecimal number"),
        ] {
            let error = parse(text).unwrap_err();
            assert!(error.to_string().contains(words), "{text:?}: {error}");
        }
    }
}
