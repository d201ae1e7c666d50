//! The one task that takes new connections and deals them out to the shards, the one with the fewest first.
//!
//! Not a listener per shard: the kernel would deal by hash, and a hundred sessions can land very unevenly.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::rc::Rc;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use crate::rt::executor::sleep;
use crate::rt::inbox::Sender;
use crate::rt::listener::Listener;

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

/// How many connections may be there at once; 0: no limit.
#[derive(Clone, Copy, Debug)]
pub(super) struct Limits {
    /// From one address (`maxClientCnxns`).
    pub(super) per_address: u32,
    /// In all (`maxCnxns`).
    pub(super) total: u32,
}

/// Accepts until the server stops.
pub(super) async fn run(
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
