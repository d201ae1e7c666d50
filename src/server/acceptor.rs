//! The tasks that take new connections, one for each port, and deal them out to the shards, the one with the fewest first; and the
//! task that opens another port where a reconfiguration names one ([`Doorman`]).
//!
//! Not a listener per shard: the kernel would deal by hash, and a hundred sessions can land very unevenly.

use std::collections::BTreeMap;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::rc::Rc;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures_lite::future::or;

use crate::quorum::HostPort;
use crate::rt::executor::{sleep, spawn_local, timeout};
use crate::rt::inbox::{Receiver, Sender};
use crate::rt::listener::Listener;
use crate::rt::resolver::Resolver;

use super::peers::Signal;
use super::shard::{Door, SharedCounts, ToShardInbox};

/// How long to wait after a failed accept, which is nearly always "too many open files".
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);

/// Connections by client address. Touched when a connection begins and ends, never by a request.
#[derive(Debug, Default)]
pub(super) struct PerAddress {
    /// Each port counts for itself, as in Apache's server.
    counts: Mutex<BTreeMap<(IpAddr, bool), u32>>,
}

impl PerAddress {
    /// Counts one more, unless `max` (0: no limit) are there already.
    fn enter(&self, address: IpAddr, door: Door, max: u32) -> bool {
        let mut counts = self.counts.lock().unwrap_or_else(PoisonError::into_inner);
        let count = counts.entry((address, door == Door::Secure)).or_insert(0);
        if max > 0 && *count >= max {
            return false;
        }
        *count += 1;
        true
    }

    /// Counts one less.
    pub(super) fn leave(&self, address: IpAddr, door: Door) {
        let key = (address, door == Door::Secure);
        let mut counts = self.counts.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(count) = counts.get_mut(&key) {
            *count -= 1;
            if *count == 0 {
                counts.remove(&key);
            }
        }
    }
}

/// How long to wait until a port is tried again that could not be opened.
const BIND_PAUSE: Duration = Duration::from_secs(1);

/// With nothing to open it only listens.
const LONG: Duration = Duration::from_secs(24 * 60 * 60);

/// Where clients are to find this server, as its own line in the configuration says; what it does not say stays.
#[derive(Clone, Debug)]
pub(super) struct ClientPlaces {
    /// Without TLS.
    pub(super) client: Option<HostPort>,
    /// With TLS.
    pub(super) secure_client: Option<HostPort>,
}

/// Looks after the ports for clients: opens another one, and closes the one before. Connections stay, as with Apache's server.
pub(super) struct Doorman {
    limits: Limits,
    backlog: u32,
    shared: Arc<SharedCounts>,
    shards: Vec<Sender<ToShardInbox>>,
    resolver: Rc<Resolver>,
    open: Vec<OpenDoor>,
}

struct OpenDoor {
    door: Door,
    address: SocketAddr,
    close: Rc<Signal>,
}

impl Doorman {
    pub(super) fn new(
        limits: Limits,
        backlog: u32,
        shared: Arc<SharedCounts>,
        shards: Vec<Sender<ToShardInbox>>,
    ) -> Self {
        Self { limits, backlog, shared, shards, resolver: Resolver::new(), open: Vec::new() }
    }

    /// Takes connections at this port.
    pub(super) fn open(&mut self, listener: Listener, door: Door) {
        let (address, close) = (listener.local_addr(), Rc::new(Signal::default()));
        self.open.push(OpenDoor { door, address, close: close.clone() });
        let (shared, shards, limits) = (self.shared.clone(), self.shards.clone(), self.limits);
        spawn_local(async move { or(run((Rc::new(listener), door), limits, shared, shards), close.wait()).await });
    }

    /// Goes where it is told to, until nobody tells any more. What cannot be opened is tried again until something else is wanted.
    pub(super) async fn stay(mut self, mut places: Receiver<ClientPlaces>) {
        let (mut client, mut secure_client) = (None, None);
        let mut told = Vec::new();
        let mut is_reported = false;
        loop {
            let waits = client.is_some() || secure_client.is_some();
            let pause = if waits { BIND_PAUSE } else { LONG };
            if matches!(timeout(pause, places.recv_many(&mut told, 1)).await, Some(Err(_))) {
                return;
            }
            for places in told.drain(..) {
                client = places.client.or(client);
                secure_client = places.secure_client.or(secure_client);
                is_reported = false;
            }
            for (wanted, is_secure) in [(&mut client, false), (&mut secure_client, true)] {
                let Some(place) = wanted else { continue };
                match self.move_to(place, is_secure).await {
                    Ok(()) => *wanted = None,
                    Err(error) if is_reported => tracing::debug!(%place, error, "the new port is still not open"),
                    Err(error) => {
                        tracing::error!(%place, error, "the new port for clients cannot be opened: tried again");
                        is_reported = true;
                    }
                }
            }
        }
    }

    /// Only a door that is there moves: one with TLS needs more than a port.
    async fn move_to(&mut self, place: &HostPort, is_secure: bool) -> Result<(), String> {
        let Some(index) = self.open.iter().position(|open| (open.door == Door::Secure) == is_secure) else {
            tracing::warn!(%place, "the configuration names a port that this server's zoo.cfg does not set up: not opened");
            return Ok(());
        };
        let before = &self.open[index];
        let addresses = self.addresses(place).await.map_err(|error| error.to_string())?;
        if addresses.iter().any(|address| is_same(*address, before.address)) {
            return Ok(());
        }
        if place.port == before.address.port() {
            // The two would exclude each other.
            before.close.set();
        }
        let mut last = "it has no address".to_owned();
        for address in addresses {
            match Listener::bind(address, self.backlog) {
                Ok(listener) => {
                    let OpenDoor { door, close, address } = self.open.swap_remove(index);
                    close.set();
                    tracing::info!(from = %address, to = %listener.local_addr(), "clients find this server at another port");
                    if !is_secure {
                        self.shared.client_port.store(listener.local_addr().port(), Ordering::Relaxed);
                    }
                    self.open(listener, door);
                    return Ok(());
                }
                Err(error) => last = error.to_string(),
            }
        }
        Err(last)
    }

    /// All addresses are the IPv6 one where there is any, which takes IPv4 too.
    async fn addresses(&self, place: &HostPort) -> io::Result<Vec<SocketAddr>> {
        if place.is_wildcard() {
            let all = [IpAddr::V6(Ipv6Addr::UNSPECIFIED), IpAddr::V4(Ipv4Addr::UNSPECIFIED)];
            return Ok(all.map(|address| SocketAddr::new(address, place.port)).to_vec());
        }
        let addresses = self.resolver.resolve(&place.host).await?;
        Ok(addresses.into_iter().map(|address| SocketAddr::new(address, place.port)).collect())
    }
}

/// Whether who connects to one of these finds the other; all addresses are all, whatever their family.
fn is_same(one: SocketAddr, other: SocketAddr) -> bool {
    one.port() == other.port() && (one.ip() == other.ip() || one.ip().is_unspecified() && other.ip().is_unspecified())
}

/// How many connections may be there at once; 0: no limit.
#[derive(Clone, Copy, Debug)]
pub(super) struct Limits {
    /// From one address (`maxClientCnxns`).
    pub(super) per_address: u32,
    /// In all (`maxCnxns`).
    pub(super) total: u32,
}

/// Accepts until the server stops.
async fn run(
    (listener, door): (Rc<Listener>, Door),
    limits: Limits,
    shared: Arc<SharedCounts>,
    shards: Vec<Sender<ToShardInbox>>,
) {
    loop {
        let accepted = match listener.accept().await {
            Ok(accepted) => accepted,
            Err(error) => {
                tracing::warn!(%error, "a connection could not be accepted");
                sleep(ACCEPT_PAUSE).await;
                continue;
            }
        };
        if shared.is_stopping.load(Ordering::Relaxed) {
            return;
        }
        let address = accepted.peer.ip();
        if limits.total > 0 && shared.connections() >= u64::from(limits.total) {
            tracing::warn!(%address, max = limits.total, "too many connections (maxCnxns): closed");
            shared.rejected.fetch_add(1, Ordering::Relaxed);
            continue;
        }
        if !shared.per_address.enter(address, door, limits.per_address) {
            tracing::warn!(%address, max = limits.per_address, "too many connections from one address (maxClientCnxns): closed");
            shared.rejected.fetch_add(1, Ordering::Relaxed);
            continue;
        }
        let shard = shared.least_loaded();
        shared.entered(shard);
        if shards[shard].send(ToShardInbox::Accepted(accepted, door)).await.is_err() {
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_port_on_all_addresses_is_one_port() {
        let address = |text: &str| text.parse().expect("an address");
        assert!(is_same(address("[::]:1"), address("0.0.0.0:1")));
        assert!(is_same(address("127.0.0.1:1"), address("127.0.0.1:1")));
        assert!(!is_same(address("127.0.0.1:1"), address("0.0.0.0:1")));
        assert!(!is_same(address("127.0.0.1:1"), address("127.0.0.1:2")));
    }

    #[test]
    fn an_address_has_its_limit() {
        let addresses = PerAddress::default();
        let address = "127.0.0.1".parse().expect("an address");
        assert!(addresses.enter(address, Door::Plain, 2) && addresses.enter(address, Door::Plain, 2));
        assert!(!addresses.enter(address, Door::Plain, 2));
        assert!(addresses.enter(address, Door::Secure, 2), "another port");
        addresses.leave(address, Door::Plain);
        assert!(addresses.enter(address, Door::Plain, 2));
        assert!(addresses.enter(address, Door::Plain, 0), "0 is no limit");
    }
}
