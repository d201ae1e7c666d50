//! What a request to reconfigure makes of a configuration: members that join and leave, or all members anew.
//!
//! Pure text work, with the checks of `PrepRequestProcessor` in their order and with its two kinds of refusal: arguments that
//! are wrong, and numbers at which Apache's parser throws what nobody catches (answered as a request that cannot be read).
//! Whether the moment, the client and the servers allow the change is the business of the rooms above.

use std::net::IpAddr;

use super::arithmetic::Quorums;
use super::member::{HostPort, Member, QuorumErrorKind};
use super::membership::Membership;
use crate::ids::ServerId;

/// A change that is asked for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Change<'a> {
    /// These are all members from now on: lines as of a configuration, or separated by commas.
    All(&'a str),
    /// Some come or change their role or addresses, some go.
    Some {
        /// `server.N=...`, separated by commas; each with a client address.
        joining: Option<&'a str>,
        /// Numbers, separated by commas. Those that are no members are passed over.
        leaving: Option<&'a str>,
    },
}

/// What every configuration of this ensemble has to keep to.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct ChangeRules {
    /// `standaloneEnabled`: an ensemble cannot shrink to one voter, as a server alone is no ensemble then.
    pub standalone_enabled: bool,
    /// `multiAddress.enabled`.
    pub multi_address: bool,
}

/// Why it makes none.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum ChangeRefused {
    /// What is asked for is no configuration, or none that may be.
    Arguments(String),
    /// A number is none.
    Number(String),
}

impl Membership {
    /// The configuration that `change` makes of this one; it has `version`.
    ///
    /// # Errors
    /// If there is none.
    pub fn changed(&self, change: &Change<'_>, version: i64, rules: ChangeRules) -> Result<Self, ChangeRefused> {
        let changed = match *change {
            Change::All(text) => Self::all_anew(text)?,
            Change::Some { joining, leaving } => self.with_some_changed(joining, leaving, rules)?,
        };
        if !rules.multi_address && changed.members.values().any(|member| member.addresses.len() > 1) {
            return Err(arguments("more than one address for a server, while multiAddress.enabled is false"));
        }
        let least = if rules.standalone_enabled { 2 } else { 1 };
        if changed.participants().count() < least {
            return Err(arguments(format!("fewer than {least} servers would vote")));
        }
        Ok(Self { version, ..changed })
    }

    fn all_anew(text: &str) -> Result<Self, ChangeRefused> {
        let text = text.replace(',', "\n");
        Self::parse_text(&text).map_err(|error| match error.kind {
            QuorumErrorKind::Number => ChangeRefused::Number(error.problem),
            // Observers without voters fail in Apache's parser, nobody at all behind it.
            QuorumErrorKind::NoVoter if text.contains("server.") => ChangeRefused::Number(error.problem),
            _ => ChangeRefused::Arguments(error.problem),
        })
    }

    fn with_some_changed(
        &self,
        joining: Option<&str>,
        leaving: Option<&str>,
        rules: ChangeRules,
    ) -> Result<Self, ChangeRefused> {
        if self.quorums != Quorums::Majority {
            return Err(arguments("servers cannot join or leave groups: name all members"));
        }
        let mut members = self.members.clone();
        for word in words(leaving.unwrap_or_default(), ',') {
            members.remove(&ServerId(number(word)?));
        }
        for word in words(joining.unwrap_or_default(), ',') {
            let [key, value] = *words(word, '=').collect::<Vec<_>>() else {
                return Err(arguments(format!("\"{word}\" is not of the form server.N=...")));
            };
            let id = ServerId(number(key.rsplit_once('.').map_or(key, |(_, number)| number))?);
            let member = Member::parse(id, value, rules.multi_address)
                .map_err(|error| ChangeRefused::Arguments(error.problem))?;
            if member.client.is_none() && member.secure_client.is_none() {
                return Err(arguments(format!("server.{} joins without a client port", id.0)));
            }
            if let Some(other) = members.values().find(|other| other.id != id && shares_address(&member, other)) {
                return Err(arguments(format!("server.{} and server.{} have an address in common", id.0, other.id.0)));
            }
            members.insert(id, member);
        }
        Self::new(members, Quorums::Majority, self.version).map_err(|error| ChangeRefused::Arguments(error.problem))
    }
}

fn arguments(problem: impl Into<String>) -> ChangeRefused {
    ChangeRefused::Arguments(problem.into())
}

/// As `StringUtils.split` of Apache: trimmed, and none of them empty.
fn words(text: &str, separator: char) -> impl Iterator<Item = &str> {
    text.split(separator).map(str::trim).filter(|word| !word.is_empty())
}

fn number(text: &str) -> Result<i64, ChangeRefused> {
    text.parse().map_err(|_| ChangeRefused::Number(format!("\"{text}\" is not a number")))
}

/// Whether two members name one address, of whatever port of theirs. Wildcards and the loopback do not count, as Apache has it:
/// several servers on one machine are for tests.
fn shares_address(one: &Member, other: &Member) -> bool {
    let mine: Vec<_> = own_addresses(one).collect();
    own_addresses(other).any(|address| mine.contains(&address))
}

fn own_addresses(member: &Member) -> impl Iterator<Item = (String, u16)> {
    let peers = member.addresses.iter().flat_map(|address| [&address.quorum, &address.election]);
    peers
        .chain(&member.client)
        .chain(&member.secure_client)
        .filter(|address| !is_special(address))
        .map(|address| (address.java_host().to_lowercase(), address.port))
}

fn is_special(address: &HostPort) -> bool {
    let is_loopback = match address.host.parse::<IpAddr>() {
        Ok(address) => address.to_canonical().is_loopback(),
        Err(_) => address.host.eq_ignore_ascii_case("localhost"),
    };
    is_loopback || address.is_wildcard()
}

#[cfg(test)]
mod tests {
    use super::*;

    const RULES: ChangeRules = ChangeRules { standalone_enabled: true, multi_address: false };

    fn three() -> Membership {
        let text = "server.1=a:1:2;3\nserver.2=b:1:2;3\nserver.3=c:1:2;3\nversion=100000000";
        Membership::parse_text(text).unwrap()
    }

    fn some(joining: &str, leaving: &str) -> Result<String, ChangeRefused> {
        let change = Change::Some { joining: Some(joining), leaving: Some(leaving) };
        three().changed(&change, 0x1_0000_0005, RULES).map(|changed| changed.to_text())
    }

    fn all(text: &str) -> Result<String, ChangeRefused> {
        three().changed(&Change::All(text), 7, RULES).map(|changed| changed.to_text())
    }

    #[test]
    fn some_join_and_some_leave() {
        let one_more = "server.1=a:1:2:participant;0.0.0.0:3\nserver.3=c:1:2:participant;0.0.0.0:3\n\
                        server.4=d:1:2:observer;0.0.0.0:9\nversion=100000005";
        assert_eq!(some("server.4=d:1:2:observer;9", "2").unwrap(), one_more);
        // Who is a member already changes; who leaves and joins is changed; numbers of nobody are passed over.
        let changed = some(" server.2 = b:1:2:observer;3 ,, ", "2,77,").unwrap();
        assert!(changed.contains("server.2=b:1:2:observer;0.0.0.0:3\n"), "{changed}");
        // Nothing at all is a change, too: a new version.
        assert!(some("", "").unwrap().ends_with("server.3=c:1:2:participant;0.0.0.0:3\nversion=100000005"));
        // The key's last part counts, whatever stands before it.
        assert!(some("x.4=d:1:2;9", "").unwrap().contains("server.4=d:1:2:participant"));
    }

    #[test]
    fn all_are_named_anew() {
        let text = "server.7=x:1:2\nserver.8=y:1:2,server.9=z:1:2:observer";
        let members = "server.7=x:1:2:participant\nserver.8=y:1:2:participant\nserver.9=z:1:2:observer\nversion=7";
        assert_eq!(all(text).unwrap(), members);
        assert!(
            all("server.1=a:1:2,server.2=b:1:2,group.1=1:2,weight.1=2").unwrap().contains("group.1=1:2\nweight.1=2")
        );
        assert_eq!(all("server.1=a:1:2\nserver.2=b:1:2\nversion=99").unwrap().lines().last(), Some("version=7"));
    }

    #[test]
    fn what_is_no_configuration_is_refused_as_apache_does() {
        let is_argument = |made: Result<String, ChangeRefused>, words: &str| {
            assert!(matches!(&made, Err(ChangeRefused::Arguments(why)) if why.contains(words)), "{made:?}");
        };
        is_argument(some("some thing", ""), "not of the form");
        is_argument(some("server.4=d:1:2=x;9", ""), "not of the form");
        is_argument(some("server.4=d:1:2", ""), "without a client port");
        is_argument(some("server.4=d:1;9", ""), "does not have the form");
        is_argument(some("server.4=d:1:2|e:1:2;9", ""), "more than one address");
        is_argument(some("", "1,2"), "fewer than 2");
        is_argument(some("server.1=a:1:2:observer;3,server.2=b:1:2:observer;3", ""), "fewer than 2");
        is_argument(all(""), "nobody votes");
        is_argument(all("server.1=a:1:2"), "fewer than 2");
        is_argument(all("server.1=a:1:2,tickTime=3"), "says nothing about members");
        for made in
            [some("server.x=d:1:2;9", ""), some("", "one"), all("server.x=a:1:2"), all("server.1=a:1:2:observer")]
        {
            assert!(matches!(made, Err(ChangeRefused::Number(_))), "{made:?}");
        }
        let groups = Membership::parse_text("server.1=a:1:2\nserver.2=b:1:2\ngroup.1=1:2").unwrap();
        let change = Change::Some { joining: None, leaving: Some("2") };
        assert!(matches!(groups.changed(&change, 1, RULES), Err(ChangeRefused::Arguments(_))));
        // Without standaloneEnabled one voter is an ensemble.
        let rules = ChangeRules { standalone_enabled: false, ..RULES };
        assert!(three().changed(&Change::Some { joining: None, leaving: Some("1,2") }, 1, rules).is_ok());
        assert!(three().changed(&Change::Some { joining: None, leaving: Some("1,2,3") }, 1, rules).is_err());
    }

    #[test]
    fn two_members_do_not_share_an_address() {
        let refused = |joining: &str| matches!(some(joining, ""), Err(ChangeRefused::Arguments(why)) if why.contains("in common"));
        assert!(refused("server.4=a:1:9;8"));
        assert!(refused("server.4=A:9:2;8"));
        assert!(refused("server.4=d:5:6;b:1"));
        assert!(!refused("server.4=d:1:2;3"), "a wildcard is no address");
        assert!(!refused("server.1=a:1:2;4"), "its own are its own");
        let local = Membership::parse_text("server.1=localhost:1:2;127.0.0.1:3\nserver.2=127.0.0.1:1:2").unwrap();
        let change = Change::Some { joining: Some("server.3=localhost:1:2;127.0.0.1:3"), leaving: None };
        assert!(local.changed(&change, 1, RULES).is_ok());
    }
}
