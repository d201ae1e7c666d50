//! Who the other servers are, as far as this one knows: by the configuration that holds, or by one that is proposed. Both
//! change while it runs.

use std::cell::RefCell;
use std::sync::Arc;

use super::PeerOptions;
use crate::ids::ServerId;
use crate::quorum::{Member, Membership};

/// See the file's page.
pub(super) struct View {
    known: RefCell<Known>,
}

struct Known {
    committed: Arc<Membership>,
    last_seen: Option<Arc<Membership>>,
    /// This server as it was named last: one that was removed is still to be found.
    own: Option<Member>,
}

impl View {
    /// What the server begins with.
    pub(super) fn new(options: &PeerOptions) -> Self {
        let own = options.membership.members.get(&options.my_id).cloned();
        Self { known: RefCell::new(Known { committed: options.membership.clone(), last_seen: None, own }) }
    }

    /// The configurations are these from now on.
    pub(super) fn configure(&self, my_id: ServerId, committed: Arc<Membership>, last_seen: Option<Arc<Membership>>) {
        let mut known = self.known.borrow_mut();
        if let Some(own) = committed.members.get(&my_id) {
            known.own = Some(own.clone());
        }
        (known.committed, known.last_seen) = (committed, last_seen);
    }

    /// A member; where the two configurations differ, as the one that holds says.
    pub(super) fn member(&self, id: ServerId) -> Option<Member> {
        let known = self.known.borrow();
        let newer = || known.last_seen.as_ref().and_then(|newer| newer.members.get(&id));
        known.committed.members.get(&id).or_else(newer).cloned()
    }

    /// Whether one of the configurations names it.
    pub(super) fn is_member(&self, id: ServerId) -> bool {
        let known = self.known.borrow();
        let is_in = |membership: &Arc<Membership>| membership.members.contains_key(&id);
        is_in(&known.committed) || known.last_seen.as_ref().is_some_and(is_in)
    }

    /// All members of both.
    pub(super) fn members(&self) -> Vec<ServerId> {
        let known = self.known.borrow();
        let newer = known.last_seen.iter().flat_map(|newer| newer.members.keys());
        known.committed.members.keys().chain(newer).copied().collect()
    }

    /// This server.
    pub(super) fn own(&self) -> Option<Member> {
        self.known.borrow().own.clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_configurations_count_and_a_removed_server_knows_itself() {
        let members = |text: &str| Arc::new(Membership::parse_text(text).unwrap());
        let first = members("server.1=a:1:2\nserver.2=b:1:2");
        let view = View::new(&PeerOptions::new(ServerId(1), first.clone()));
        view.configure(ServerId(1), first, Some(members("server.2=x:1:2\nserver.3=c:1:2\nversion=5")));
        assert_eq!(view.member(ServerId(2)).unwrap().addresses[0].quorum.host, "b", "what holds counts first");
        assert!(view.is_member(ServerId(3)) && !view.is_member(ServerId(4)));
        // Removed, it keeps its place; named elsewhere, it moves.
        view.configure(ServerId(1), members("server.2=x:1:2\nserver.3=c:1:2\nversion=5"), None);
        assert_eq!(view.own().unwrap().addresses[0].quorum.host, "a");
        assert!(!view.is_member(ServerId(1)));
        view.configure(ServerId(1), members("server.1=a:1:9\nserver.2=x:1:2\nversion=6"), None);
        assert_eq!(view.own().unwrap().addresses[0].election.port, 9);
    }
}
