//! Where servers are found, and where this one listens to them. Names are looked up whenever they are used.

use std::fmt;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use super::PeerOptions;
use crate::quorum::{HostPort, Member, PeerAddress};
use crate::rt::clock;
use crate::rt::executor::timeout;
use crate::rt::listener::Listener;
use crate::rt::resolver::{self, Resolver};
use crate::rt::socket::Stream;

/// Connects to the first address of `host` that answers, within `limit`, look-up included.
pub(super) async fn connect(resolver: &Resolver, host: &HostPort, limit: Duration) -> io::Result<Stream> {
    let begun = clock::now();
    let addresses = match timeout(limit, resolver.resolve(&host.host)).await {
        Some(addresses) => addresses?,
        None => return Err(io::Error::new(io::ErrorKind::TimedOut, "its name could not be looked up in time")),
    };
    let mut last = io::Error::from(io::ErrorKind::TimedOut);
    let count = addresses.len() as u32;
    for (index, address) in addresses.into_iter().enumerate() {
        let left = limit.saturating_sub(clock::now().since(begun)) / (count - index as u32);
        if left.is_zero() {
            break;
        }
        match Stream::connect(SocketAddr::new(address, host.port), left).await {
            Ok(stream) => return Ok(stream),
            Err(error) => last = error,
        }
    }
    Err(last)
}

/// Where to listen: an address of ours, or a port on all of them.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum Bind {
    Host(HostPort),
    All(u16),
}

impl fmt::Display for Bind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Host(host) => host.fmt(f),
            Self::All(port) => write!(f, "*:{port}"),
        }
    }
}

impl Bind {
    /// What to try, one after the other.
    pub(super) async fn resolve(&self, resolver: &Resolver) -> io::Result<Vec<SocketAddr>> {
        match self {
            Self::Host(host) => {
                let addresses = resolver.resolve(&host.host).await?;
                Ok(addresses.into_iter().map(|address| SocketAddr::new(address, host.port)).collect())
            }
            Self::All(port) => Ok(all(*port)),
        }
    }

    /// Opens it: at the first of its addresses that is ours and free.
    pub(super) async fn listen(&self, resolver: &Resolver, backlog: u32) -> io::Result<Listener> {
        let mut last = io::Error::other("no address");
        for address in self.resolve(resolver).await? {
            match Listener::bind(address, backlog) {
                Ok(listener) => return Ok(listener),
                Err(error) => last = io::Error::other(error),
            }
        }
        Err(last)
    }

    /// The same for a thread that may wait.
    pub(super) fn resolve_blocking(&self) -> io::Result<Vec<SocketAddr>> {
        match self {
            Self::Host(host) => {
                let addresses = resolver::lookup_blocking(&host.host)?;
                Ok(addresses.into_iter().map(|address| SocketAddr::new(address, host.port)).collect())
            }
            Self::All(port) => Ok(all(*port)),
        }
    }
}

/// IPv6 takes IPv4 as well, where there is IPv6.
fn all(port: u16) -> Vec<SocketAddr> {
    [IpAddr::V6(Ipv6Addr::UNSPECIFIED), IpAddr::V4(Ipv4Addr::UNSPECIFIED)]
        .map(|address| SocketAddr::new(address, port))
        .to_vec()
}

/// Where learners of `own`, this server, are listened to.
pub(super) fn quorum_binds(options: &PeerOptions, own: Option<&Member>) -> Vec<Bind> {
    binds(options, own, |address| &address.quorum)
}

/// Where votes are listened to.
pub(super) fn election_binds(options: &PeerOptions, own: Option<&Member>) -> Vec<Bind> {
    binds(options, own, |address| &address.election)
}

fn binds(options: &PeerOptions, own: Option<&Member>, of: impl Fn(&PeerAddress) -> &HostPort) -> Vec<Bind> {
    let mut ports = Vec::new();
    let mut binds = Vec::new();
    for address in own.into_iter().flat_map(|own| &own.addresses).map(of) {
        if !options.listen_on_all {
            binds.push(Bind::Host(address.clone()));
        } else if !ports.contains(&address.port) {
            ports.push(address.port);
            binds.push(Bind::All(address.port));
        }
    }
    binds
}
