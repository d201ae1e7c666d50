//! One member of an ensemble: the value of `server.N`.
//!
//! `host:quorumPort:electionPort[:participant|observer][|host2:...][;[clientHost:]clientPort][;[host:]securePort]` with IPv6
//! hosts in brackets. Host names are kept as names: they are resolved when a connection is made, as an address may move.
//! Sources: `QuorumPeer.QuorumServer`, `ConfigUtils.getHostAndPort`.

use std::fmt;
use std::net::Ipv6Addr;

use thiserror::Error;

use crate::ids::ServerId;
use crate::wire::election::is_wildcard;

/// What is wrong with the description of a member or of a configuration, and what to do about it.
#[derive(Clone, Debug, Error, PartialEq, Eq)]
#[error("{problem}; {advice}")]
pub struct QuorumError {
    /// What kind of mistake it is.
    pub kind: QuorumErrorKind,
    /// What is wrong.
    pub problem: String,
    /// What to do about it.
    pub advice: String,
}

/// Kinds of mistakes, as far as somebody tells them apart.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum QuorumErrorKind {
    /// A statement is not well formed.
    Form,
    /// Two statements contradict each other.
    Conflict,
    /// The number of a server, group or weight is none: Apache's server throws another exception there.
    Number,
    /// Nobody votes.
    NoVoter,
}

impl QuorumError {
    pub(super) fn new(kind: QuorumErrorKind, problem: impl Into<String>, advice: impl Into<String>) -> Self {
        Self { kind, problem: problem.into(), advice: advice.into() }
    }

    pub(super) fn form(problem: impl Into<String>, advice: impl Into<String>) -> Self {
        Self::new(QuorumErrorKind::Form, problem, advice)
    }

    pub(super) fn conflict(problem: impl Into<String>, advice: impl Into<String>) -> Self {
        Self::new(QuorumErrorKind::Conflict, problem, advice)
    }
}

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

impl HostPort {
    /// The host as Java's `InetSocketAddress.getHostString` gives it: a name as written, an address in Java's form (IPv6
    /// with all eight groups), without brackets.
    pub fn java_host(&self) -> String {
        let (address, zone) = match self.host.find('%') {
            Some(at) => self.host.split_at(at),
            None => (self.host.as_str(), ""),
        };
        match address.parse::<Ipv6Addr>() {
            Err(_) => self.host.clone(),
            Ok(address) => match address.to_ipv4_mapped() {
                Some(mapped) => mapped.to_string(),
                None => address.segments().map(|group| format!("{group:x}")).join(":") + zone,
            },
        }
    }

    /// As Apache writes it into texts and handshakes (`NetUtils.formatInetAddr`).
    pub fn java_text(&self) -> String {
        Self { host: self.java_host(), port: self.port }.to_string()
    }

    /// Whether it names every address of a machine instead of one.
    pub fn is_wildcard(&self) -> bool {
        is_wildcard(&self.host)
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
    pub fn parse(text: &str) -> Option<Self> {
        match text.trim().to_lowercase().as_str() {
            "participant" => Some(Self::Participant),
            "observer" => Some(Self::Observer),
            _ => None,
        }
    }
}

impl fmt::Display for PeerType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Participant => "participant",
            Self::Observer => "observer",
        })
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
    /// Its addresses, more than one only with `multiAddress.enabled`. Never empty.
    pub addresses: Vec<PeerAddress>,
    /// Its role.
    pub peer_type: PeerType,
    /// Where clients connect, if it says so itself; host `0.0.0.0` if it names a port only.
    pub client: Option<HostPort>,
    /// Where clients connect with TLS.
    pub secure_client: Option<HostPort>,
}

const FORM: &str =
    "write host:quorumPort:electionPort[:participant|observer][;[clientHost:]clientPort], an IPv6 host in brackets";

impl Member {
    /// Reads the value of `server.<id>`.
    ///
    /// # Errors
    /// If it does not have the form above, or names several addresses while `multi_address` is false.
    pub fn parse(id: ServerId, text: &str, multi_address: bool) -> Result<Self, QuorumError> {
        let form = |problem: String| QuorumError::form(problem, FORM);
        let parts = java_split(text, ';');
        let servers = java_split(parts.first().copied().unwrap_or_default(), '|');
        if servers.len() > 1 && !multi_address {
            return Err(QuorumError::conflict(
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
                return Err(QuorumError::conflict(
                    format!("quorum port and election port are both {}", quorum.port),
                    "give the election a port of its own",
                ));
            }
            addresses.push(PeerAddress { quorum, election });
            if let Some(word) = words.get(3) {
                let role = PeerType::parse(word)
                    .ok_or_else(|| form(format!("\"{word}\" is neither participant nor observer")))?;
                if *peer_type.get_or_insert(role) != role {
                    return Err(QuorumError::conflict(
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

    /// Whether it votes.
    pub fn is_participant(&self) -> bool {
        self.peer_type == PeerType::Participant
    }
}

/// The value of `server.N` as `QuorumServer.toString` writes it: addresses sorted by host, the role always said.
impl fmt::Display for Member {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut addresses: Vec<_> = self
            .addresses
            .iter()
            .map(|address| (address.quorum.java_host(), address.quorum.port, address.election.port))
            .collect();
        addresses.sort_by(|one, other| one.0.cmp(&other.0));
        for (index, (host, quorum, election)) in addresses.into_iter().enumerate() {
            let separator = if index == 0 { "" } else { "|" };
            write!(f, "{separator}{}:{election}", HostPort { host, port: quorum })?;
        }
        write!(f, ":{}", self.peer_type)?;
        if let Some(client) = &self.client {
            write!(f, ";{}", client.java_text())?;
        }
        if let Some(secure) = &self.secure_client {
            let missing = if self.client.is_none() { ";" } else { "" };
            write!(f, "{missing};{}", secure.java_text())?;
        }
        Ok(())
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
pub(super) fn java_split(text: &str, separator: char) -> Vec<&str> {
    let mut words: Vec<_> = text.split(separator).collect();
    while words.len() > 1 && words.last().is_some_and(|word| word.is_empty()) {
        words.pop();
    }
    words
}

#[cfg(test)]
mod tests {
    use super::*;

    fn member(value: &str) -> Result<Member, QuorumError> {
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
}
