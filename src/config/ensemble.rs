//! The members of an ensemble as zoo.cfg names them: `server.N`, `group.N`, `weight.N`, `version`.
//!
//! The types and the form of a `server.N` are the room `quorum`'s; here the lines are read, so that an error can say which
//! line and key it is about. `group.N = a:b:c` and `weight.N = w` make the quorums hierarchical: then every participant is
//! in exactly one group. Sources: `QuorumPeer.QuorumServer`, `QuorumMaj`, `QuorumHierarchical`.

use std::collections::BTreeMap;

use super::error::{ConfigError, ErrorKind, Place};
use crate::ids::ServerId;
use crate::quorum::{MEMBERS_MAX, Member, Membership, QuorumError, QuorumErrorKind, Quorums};

/// One line that describes the ensemble.
#[derive(Clone, Debug)]
pub(super) struct MemberLine {
    pub(super) key: String,
    pub(super) value: String,
    pub(super) place: Place,
}

/// What is wrong with a member or with the whole, without its place.
fn refused(error: QuorumError) -> ConfigError {
    let kind = match error.kind {
        QuorumErrorKind::Conflict | QuorumErrorKind::NoVoter => ErrorKind::Conflict,
        QuorumErrorKind::Form | QuorumErrorKind::Number => ErrorKind::Value,
    };
    ConfigError::new(kind, error.problem, error.advice)
}

/// Reads the lines whose keys begin with `server.`, `group`, `weight`, or are `version`.
pub(super) fn parse(lines: &[MemberLine], multi_address: bool) -> Result<Membership, ConfigError> {
    let mut members = BTreeMap::new();
    let mut groups = BTreeMap::new();
    let mut weights = BTreeMap::new();
    let mut hierarchical = false;
    let mut version = 0;
    for line in lines {
        let refuse = |error: ConfigError| error.key(&line.key).at(Some(line.place.clone()));
        if line.key.starts_with("server.") {
            let id = ServerId(number_of(&line.key).map_err(refuse)?);
            let member = Member::parse(id, &line.value, multi_address).map_err(|error| refuse(refused(error)))?;
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
    let quorums = if hierarchical { Quorums::Hierarchical { groups, weights } } else { Quorums::Majority };
    Membership::new(members, quorums, version).map_err(refused)
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

    fn read(text: &str) -> Result<Membership, ConfigError> {
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
        parse(&lines, text.contains("multi"))
    }

    /// The forms of a line are tested in `quorum::member`; here, that the error names the line.
    #[test]
    fn a_server_line_that_is_wrong_is_named() {
        for (text, kind, words) in [
            ("server.1=zk1:2888", ErrorKind::Value, "zoo.cfg:1: server.1: \"zk1:2888\" does not have the form"),
            (
                "server.1=zk1:2888:2888",
                ErrorKind::Conflict,
                "zoo.cfg:1: server.1: quorum port and election port are both",
            ),
            ("server.1=a:1:2\nserver.2=a:1:2|b:1:2", ErrorKind::Conflict, "zoo.cfg:2: server.2: more than one address"),
        ] {
            let error = read(text).unwrap_err();
            assert!(error.to_string().contains(words) && error.kind == kind, "{text:?}: {error}");
        }
    }

    #[test]
    fn majority_and_hierarchy() {
        let three = read("server.1=a:1:2\nserver.2=b:1:2\nserver.3=c:1:2:observer\nversion=10000000a").unwrap();
        assert_eq!((three.participants().count(), three.observers().count(), three.version), (2, 1, 0x1_0000_000a));
        assert_eq!(three.quorums, Quorums::Majority);

        let groups = read("server.1=a:1:2\nserver.2=b:1:2\ngroup.1=1:2\nweight.2=3").unwrap();
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
            let error = read(text).unwrap_err();
            assert!(error.to_string().contains(words), "{text:?}: {error}");
        }
    }
}
