//! The connect string: `host:port,host:port/chroot` (Apache's `ConnectStringParser`).

use std::fmt;

use super::error::Error;
use super::path;

/// The port where ZooKeeper listens when none is said.
const PORT_DEFAULT: u16 = 2181;

/// A server to try.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct HostPort {
    /// A name or an address, without brackets.
    pub host: String,
    /// Its client port.
    pub port: u16,
}

impl fmt::Display for HostPort {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.host.contains(':') {
            write!(f, "[{}]:{}", self.host, self.port)
        } else {
            write!(f, "{}:{}", self.host, self.port)
        }
    }
}

/// Where to connect, and below which znode the client lives.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct ConnectString {
    /// At least one.
    pub hosts: Vec<HostPort>,
    /// The path put before all of the client's paths; empty for none.
    pub chroot: String,
}

impl ConnectString {
    /// Reads one.
    pub fn parse(text: &str) -> Result<Self, Error> {
        let (hosts, chroot) = text.find('/').map_or((text, ""), |at| text.split_at(at));
        let chroot = if chroot == "/" { "" } else { chroot };
        if !chroot.is_empty() {
            path::validate(chroot)?;
        }
        let hosts: Vec<HostPort> = hosts
            .split(',')
            .map(str::trim)
            .filter(|host| !host.is_empty())
            .map(parse_host)
            .collect::<Result<_, _>>()?;
        if hosts.is_empty() {
            return Err(Error::ConnectString("A HostProvider may not be empty!".to_owned()));
        }
        Ok(Self { hosts, chroot: chroot.to_owned() })
    }
}

fn parse_host(text: &str) -> Result<HostPort, Error> {
    let bad = || Error::ConnectString(format!("not a host and a port: {text}"));
    let (host, port) = match text.strip_prefix('[') {
        Some(rest) => {
            let (host, rest) = rest.split_once(']').ok_or_else(bad)?;
            (host, if rest.is_empty() { None } else { Some(rest.strip_prefix(':').ok_or_else(bad)?) })
        }
        // More than one colon and no brackets is a bare IPv6 address.
        None if text.matches(':').count() > 1 => (text, None),
        None => text.split_once(':').map_or((text, None), |(host, port)| (host, Some(port))),
    };
    let port = port.map_or(Ok(PORT_DEFAULT), |port| port.parse().map_err(|_| bad()))?;
    if host.is_empty() { Err(bad()) } else { Ok(HostPort { host: host.to_owned(), port }) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn host(host: &str, port: u16) -> HostPort {
        HostPort { host: host.to_owned(), port }
    }

    #[test]
    fn hosts_ports_and_chroot() {
        let parsed = ConnectString::parse("a:1, b,[::1]:3,fe80::1/app/x").expect("a good connect string");
        assert_eq!(parsed.hosts, [host("a", 1), host("b", 2181), host("::1", 3), host("fe80::1", 2181)]);
        assert_eq!(parsed.chroot, "/app/x");
        assert_eq!(parsed.hosts[2].to_string(), "[::1]:3");
        assert_eq!(ConnectString::parse("a:1/").expect("root is no chroot").chroot, "");
    }

    #[test]
    fn bad_ones_are_refused() {
        for text in ["", ",", "a:x", "a:99999", ":1", "[::1", "a:1/b/", "a:1//b"] {
            assert!(ConnectString::parse(text).is_err(), "{text}");
        }
    }
}
