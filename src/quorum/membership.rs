//! One configuration of the ensemble: its members, how they decide, and its version; to Apache's text and back.
//!
//! The text is what Apache calls `QuorumVerifier.toString`: it is in every notification, in NEWLEADER and in the znode
//! `/zookeeper/config`. A member of an ensemble with the same lines writes the same bytes. Invariants of a [`Membership`]
//! that was read here or by `config`: at least one participant, at most [`MEMBERS_MAX`] members, and in a hierarchy a group
//! and a weight for every participant. Sources: `QuorumMaj`, `QuorumHierarchical`, `QuorumPeerConfig.parseDynamicConfig`.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;

use super::arithmetic::Quorums;
use super::java_order::java_order;
use super::member::{Member, QuorumError, QuorumErrorKind, java_split};
use crate::ids::ServerId;

/// Most members that a configuration may name. Server ids above 254 collide in session ids, so more could not be served.
pub const MEMBERS_MAX: usize = 255;

/// Longest text of a configuration that is read, in bytes: a frame of the election port has no room for a longer one.
pub const TEXT_MAX: usize = 512 * 1024;

/// All members, and which sets of them decide.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Membership {
    /// By id.
    pub members: BTreeMap<ServerId, Member>,
    /// How quorums are counted.
    pub quorums: Quorums,
    /// The configuration's version (the zxid of the reconfig that made it), 0 for one that was never changed.
    pub version: i64,
}

impl Membership {
    /// Puts together what was read; gives the weight 1 to participants of a hierarchy that have none.
    ///
    /// # Errors
    /// If there are too many members, or a participant of a hierarchy has no group.
    pub fn new(members: BTreeMap<ServerId, Member>, mut quorums: Quorums, version: i64) -> Result<Self, QuorumError> {
        if members.len() > MEMBERS_MAX {
            return Err(QuorumError::form(format!("more than {MEMBERS_MAX} servers"), "an ensemble cannot be larger"));
        }
        if let Quorums::Hierarchical { groups, weights } = &mut quorums {
            for member in members.values().filter(|member| member.is_participant()) {
                if !groups.contains_key(&member.id) {
                    return Err(QuorumError::conflict(
                        format!("server {} is not in a group", member.id.0),
                        "with group or weight lines every participant needs a group: add it to a group.N line",
                    ));
                }
                weights.entry(member.id).or_insert(1);
            }
        }
        Ok(Self { members, quorums, version })
    }

    /// The members that vote, by id.
    pub fn participants(&self) -> impl Iterator<Item = &Member> {
        self.members.values().filter(|member| member.is_participant())
    }

    /// The members that only follow, by id.
    pub fn observers(&self) -> impl Iterator<Item = &Member> {
        self.members.values().filter(|member| !member.is_participant())
    }

    /// Whether `id` is a member that votes.
    pub fn is_participant(&self, id: ServerId) -> bool {
        self.members.get(&id).is_some_and(Member::is_participant)
    }

    /// The weight of a server in an election: 0 may never lead.
    pub fn weight(&self, id: ServerId) -> i64 {
        self.quorums.weight(id)
    }

    /// Whether these servers decide; those that do not vote are not counted.
    pub fn contains_quorum(&self, acks: impl IntoIterator<Item = ServerId>) -> bool {
        let voters: BTreeSet<_> = self.participants().map(|member| member.id).collect();
        self.quorums.contains_quorum(&voters, acks)
    }

    /// The same members with the same roles, addresses and quorums; versions may differ.
    pub fn same_members(&self, other: &Self) -> bool {
        self.members == other.members && self.quorums == other.quorums
    }

    /// Apache's text of it: a line for each member, group and weight, then `version=` in hexadecimal without a line end.
    pub fn to_text(&self) -> String {
        let mut text = String::new();
        for id in java_order(self.members.keys().map(|id| id.0)) {
            writeln!(text, "server.{id}={}", self.members[&ServerId(id)]).expect("a String takes everything");
        }
        if let Quorums::Hierarchical { groups, weights } = &self.quorums {
            let mut lists = BTreeMap::<i64, Vec<String>>::new();
            for id in java_order(groups.keys().map(|id| id.0)) {
                lists.entry(groups[&ServerId(id)]).or_default().push(id.to_string());
            }
            for group in java_order(lists.keys().copied()) {
                writeln!(text, "group.{group}={}", lists[&group].join(":")).expect("a String takes everything");
            }
            for id in java_order(weights.keys().map(|id| id.0)) {
                writeln!(text, "weight.{id}={}", weights[&ServerId(id)]).expect("a String takes everything");
            }
        }
        write!(text, "version={:x}", self.version).expect("a String takes everything");
        text
    }

    /// Reads Apache's text: lines of `key=value` (blanks around and `:` for `=` as in a Properties file), comments allowed.
    ///
    /// # Errors
    /// If a line is not one of those that make a configuration, or they contradict each other, or nobody votes.
    pub fn parse_text(text: &str) -> Result<Self, QuorumError> {
        if text.len() > TEXT_MAX {
            return Err(QuorumError::form(format!("a configuration of {} bytes", text.len()), "send a shorter one"));
        }
        let mut lines = BTreeMap::new();
        for line in text.split(['\n', '\r']) {
            let line = line.trim_start_matches([' ', '\t', '\x0c']);
            if line.is_empty() || line.starts_with(['#', '!']) {
                continue;
            }
            let end = line.find(['=', ':', ' ', '\t', '\x0c']).unwrap_or(line.len());
            let (key, rest) = line.split_at(end);
            let rest = rest.trim_start_matches([' ', '\t', '\x0c']);
            let value = rest.strip_prefix(['=', ':']).unwrap_or(rest);
            // As in a Properties file the last line of a key counts.
            lines.insert(key, value.trim());
        }
        let mut members = BTreeMap::new();
        let mut groups = BTreeMap::new();
        let mut weights = BTreeMap::new();
        let mut hierarchical = false;
        let mut version = 0;
        for (key, value) in lines {
            if key.starts_with("server.") {
                let id = ServerId(number_of(key)?);
                members.insert(id, Member::parse(id, value, true)?);
            } else if key.starts_with("group") {
                hierarchical = true;
                let group = number_of(key)?;
                for word in java_split(value, ':') {
                    let id = ServerId(number(word)?);
                    if groups.insert(id, group).is_some() {
                        return Err(QuorumError::conflict(
                            format!("server {} is in more than one group", id.0),
                            "name each server in one group",
                        ));
                    }
                }
            } else if key.starts_with("weight") {
                hierarchical = true;
                weights.insert(ServerId(number_of(key)?), number(value)?);
            } else if key == "version" {
                version = i64::from_str_radix(value, 16).map_err(|_| {
                    QuorumError::form(
                        format!("\"{value}\" is not a hexadecimal number"),
                        "give the version as reconfig wrote it",
                    )
                })?;
            } else {
                return Err(QuorumError::form(
                    format!("\"{key}\" says nothing about members"),
                    "only server.N, group.N, weight.N and version make a configuration",
                ));
            }
        }
        let quorums = if hierarchical { Quorums::Hierarchical { groups, weights } } else { Quorums::Majority };
        let membership = Self::new(members, quorums, version)?;
        if membership.participants().next().is_none() {
            return Err(QuorumError::new(QuorumErrorKind::NoVoter, "nobody votes", "name at least one participant"));
        }
        Ok(membership)
    }
}

/// The number after the first dot of `server.N`.
fn number_of(key: &str) -> Result<i64, QuorumError> {
    number(key.split_once('.').map_or(key, |(_, number)| number))
}

fn number(text: &str) -> Result<i64, QuorumError> {
    text.trim().parse().map_err(|_| {
        let problem = format!("\"{text}\" is not a number");
        QuorumError::new(QuorumErrorKind::Number, problem, "give a server's or group's number")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Lines as they were given to Apache's `QuorumMaj` and `QuorumHierarchical` (zookeeper.jar 3.8.0, Java 17), and their
    /// `toString`.
    const JAVA: &[(&str, &str)] = &[
        (
            "server.1=127.0.0.1:2888:3888\nserver.2=127.0.0.1:2889:3889\nserver.3=127.0.0.1:2890:3890:observer",
            "server.1=127.0.0.1:2888:3888:participant\nserver.2=127.0.0.1:2889:3889:participant\nserver.3=127.0.0.1:2890:3890:observer\nversion=0",
        ),
        (
            "server.1=localhost:2888:3888;2181\nserver.2=[::1]:2889:3889:participant;[::]:2182\nserver.3=zk3.invalid:2890:3890:observer;zk3.invalid:2183\nversion=10000000a",
            "server.1=localhost:2888:3888:participant;0.0.0.0:2181\nserver.2=[0:0:0:0:0:0:0:1]:2889:3889:participant;[0:0:0:0:0:0:0:0]:2182\nserver.3=zk3.invalid:2890:3890:observer;zk3.invalid:2183\nversion=10000000a",
        ),
        (
            "server.2=a:1:2\nserver.3=b:1:2\nserver.17=c:1:2\nserver.100=d:1:2\nversion=7fffffffffffffff",
            "server.17=c:1:2:participant\nserver.2=a:1:2:participant\nserver.3=b:1:2:participant\nserver.100=d:1:2:participant\nversion=7fffffffffffffff",
        ),
        (
            "server.1=b:1:2:observer|a:3:4:observer;2181\nserver.2=c:1:2\nserver.3=d:1:2",
            "server.1=a:3:4|b:1:2:observer;0.0.0.0:2181\nserver.2=c:1:2:participant\nserver.3=d:1:2:participant\nversion=0",
        ),
        (
            "server.1=a:1:2\nserver.2=b:1:2\nserver.3=c:1:2\nserver.4=d:1:2:observer\ngroup.1=1:2\ngroup.20=3\nweight.2=3\nweight.3=0\nversion=ff",
            "server.1=a:1:2:participant\nserver.2=b:1:2:participant\nserver.3=c:1:2:participant\nserver.4=d:1:2:observer\ngroup.1=1:2\ngroup.20=3\nweight.1=1\nweight.2=3\nweight.3=0\nversion=ff",
        ),
        (
            "server.1=a:1:2\nserver.2=b:1:2\nserver.4=d:1:2:observer\ngroup.1=1:2:4\nweight.4=2",
            "server.1=a:1:2:participant\nserver.2=b:1:2:participant\nserver.4=d:1:2:observer\ngroup.1=1:2:4\nweight.1=1\nweight.2=1\nweight.4=2\nversion=0",
        ),
        (
            "server.1=[2001:DB8::1]:1:2;[::ffff:1.2.3.4]:5\nserver.2=[fe80::1%1]:1:2\nserver.3=0.0.0.0:1:2;0.0.0.0:9",
            "server.1=[2001:db8:0:0:0:0:0:1]:1:2:participant;1.2.3.4:5\nserver.2=[fe80:0:0:0:0:0:0:1%1]:1:2:participant\nserver.3=0.0.0.0:1:2:participant;0.0.0.0:9\nversion=0",
        ),
        (
            "server.1=h1:1:2\nserver.2=h2:1:2\nserver.3=h3:1:2\nserver.4=h4:1:2\nserver.5=h5:1:2\nserver.6=h6:1:2\nserver.7=h7:1:2\nserver.8=h8:1:2\nserver.9=h9:1:2\nserver.10=h10:1:2\nserver.11=h11:1:2\nserver.12=h12:1:2\nserver.30=x:1:2",
            "server.1=h1:1:2:participant\nserver.2=h2:1:2:participant\nserver.3=h3:1:2:participant\nserver.4=h4:1:2:participant\nserver.5=h5:1:2:participant\nserver.6=h6:1:2:participant\nserver.7=h7:1:2:participant\nserver.8=h8:1:2:participant\nserver.9=h9:1:2:participant\nserver.10=h10:1:2:participant\nserver.11=h11:1:2:participant\nserver.12=h12:1:2:participant\nserver.30=x:1:2:participant\nversion=0",
        ),
    ];

    #[test]
    fn the_text_is_apaches_byte_for_byte() {
        for (lines, text) in JAVA {
            let membership = Membership::parse_text(lines).unwrap();
            assert_eq!(&membership.to_text(), text);
            let again = Membership::parse_text(text).unwrap();
            assert_eq!(&again.to_text(), text);
            assert_eq!(again.version, membership.version);
        }
    }

    #[test]
    fn a_secure_client_address_is_kept() {
        // The form of 3.9's QuorumServer.toString; 3.8 does not know it.
        let lines = "server.1=a:1:2;;2281\nserver.2=b:1:2;2181;h:2281";
        let text =
            "server.1=a:1:2:participant;;0.0.0.0:2281\nserver.2=b:1:2:participant;0.0.0.0:2181;h:2281\nversion=0";
        assert_eq!(Membership::parse_text(lines).unwrap().to_text(), text);
        assert_eq!(Membership::parse_text(text).unwrap().to_text(), text);
    }

    #[test]
    fn roles_weights_and_quorums() {
        let text = "# a comment\r\nserver.1: a:1:2\n  server.2 =b:1:2\nserver.3=c:1:2:observer\nversion=10000000a";
        let three = Membership::parse_text(text).unwrap();
        assert_eq!((three.participants().count(), three.observers().count(), three.version), (2, 1, 0x1_0000_000a));
        assert!(three.is_participant(ServerId(1)) && !three.is_participant(ServerId(3)));
        assert!(!three.is_participant(ServerId(9)));
        assert!(three.contains_quorum([1, 2].map(ServerId)));
        assert!(!three.contains_quorum([1, 3].map(ServerId)));
        assert!(three.same_members(&Membership { version: 7, ..three.clone() }));

        let groups = Membership::parse_text("server.1=a:1:2\nserver.2=b:1:2\ngroup.1=1:2\nweight.2=3").unwrap();
        assert_eq!((groups.weight(ServerId(1)), groups.weight(ServerId(2))), (1, 3));
        assert!(groups.contains_quorum([ServerId(2)]));
        assert!(!groups.contains_quorum([ServerId(1)]));
    }

    #[test]
    fn a_text_that_is_wrong_says_why() {
        let many: String = (0..=MEMBERS_MAX).map(|id| format!("server.{id}=a:1:2\n")).collect();
        for (text, words) in [
            ("server.1=a:1:2\nserver.2=b:1:2\ngroup.1=1", "server 2 is not in a group"),
            ("server.1=a:1:2\ngroup.1=1\ngroup.2=1", "server 1 is in more than one group"),
            ("server.one=a:1:2", "\"one\" is not a number"),
            ("server.1=a:1:2\ngroup=1", "\"group\" is not a number"),
            ("server.1=a:1:2\nversion=x", "not a hexadecimal number"),
            ("server.1=a:1:2\ntickTime=2000", "\"tickTime\" says nothing about members"),
            ("server.1=a:1:2:observer", "nobody votes"),
            ("", "nobody votes"),
            (&many, "more than 255 servers"),
        ] {
            let error = Membership::parse_text(text).unwrap_err();
            assert!(error.to_string().contains(words), "{text:?}: {error}");
        }
    }
}
