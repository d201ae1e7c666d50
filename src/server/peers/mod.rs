//! What this server says to the others of its ensemble, and hears of them: all of it on the replica's executor, beside the shell
//! that runs the replica.
//!
//! | file | idea |
//! |---|---|
//! | `votes` | the election port: votes, to and from everybody |
//! | `links` | the quorum port: learners, while this server leads |
//! | `leader` | the connection to the leader, while another one leads |
//! | `outbox` | what is to be sent over one connection |
//! | `events` | what came in and waits for the replica |
//! | `address` | names and ports |
//!
//! Bytes go through as they are: the cores below cut and understand them. No read has a time limit here, either: who was silent for
//! too long is for the replica to say, whose time is the same in the simulator.

mod address;
mod events;
mod leader;
mod links;
mod outbox;
#[cfg(test)]
mod tests;
mod votes;

use std::collections::VecDeque;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::thread;
use std::time::Duration;

pub(super) use outbox::Body;

use super::options::PeerOptions;
use crate::ids::ServerId;
use crate::replica::Event;
use crate::replica::event::{DialId, LinkId};
use crate::rt::listener::{BindError, Listener};
use crate::rt::resolver::Resolver;
use events::Events;
use leader::Leader;
use links::Links;
use votes::Votes;

/// Connections to the election port that may wait to be accepted.
const ELECTION_BACKLOG: u32 = 128;

/// Between two attempts to open the election port.
const BIND_PAUSE: Duration = Duration::from_secs(1);

/// See the module's page.
pub(super) struct Peers {
    events: Rc<Events>,
    votes: Rc<Votes>,
    links: Rc<Links>,
    leader: Rc<Leader>,
}

impl Peers {
    /// For the executor that this is called on, with the election port that [`open_election_port`] opened.
    pub(super) fn start(options: PeerOptions, election_port: Vec<Listener>) -> Self {
        let options = Rc::new(options);
        let (resolver, events) = (Resolver::new(), Rc::new(Events::default()));
        Self {
            votes: Votes::start(options.clone(), resolver.clone(), events.clone(), election_port),
            links: Links::new(options.clone(), resolver.clone(), events.clone()),
            leader: Leader::new(options, resolver, events.clone()),
            events,
        }
    }

    /// Ready when [`Peers::take`] has something.
    pub(super) fn poll_ready(&self, cx: &Context<'_>) -> Poll<()> {
        self.events.poll_ready(cx)
    }

    /// What happened since the last time.
    pub(super) fn take(&self) -> VecDeque<Event> {
        self.events.take()
    }

    /// [`Action::Notify`](crate::replica::Action::Notify).
    pub(super) fn notify(&self, to: ServerId, bytes: Arc<[u8]>) {
        self.votes.notify(to, bytes);
    }

    /// [`Action::Listen`](crate::replica::Action::Listen).
    pub(super) fn listen(&self, open: bool) {
        self.links.listen(open);
    }

    /// [`Action::ToLink`](crate::replica::Action::ToLink).
    pub(super) fn to_link(&self, link: LinkId, bytes: Vec<u8>) {
        self.links.send(link, bytes);
    }

    /// [`Action::SnapshotToLink`](crate::replica::Action::SnapshotToLink).
    pub(super) fn body_to_link(&self, link: LinkId, body: Body) {
        self.links.send_body(link, body);
    }

    /// [`Action::CloseLink`](crate::replica::Action::CloseLink).
    pub(super) fn close_link(&self, link: LinkId) {
        self.links.close(link);
    }

    /// [`Action::Dial`](crate::replica::Action::Dial).
    pub(super) fn dial(&self, dial: DialId, leader: ServerId) {
        self.leader.dial(dial, leader);
    }

    /// [`Action::ToLeader`](crate::replica::Action::ToLeader).
    pub(super) fn to_leader(&self, dial: DialId, bytes: Vec<u8>) {
        self.leader.send(dial, bytes);
    }

    /// [`Action::HangUp`](crate::replica::Action::HangUp).
    pub(super) fn hang_up(&self, dial: DialId) {
        self.leader.hang_up(dial);
    }

    /// What was said in this turn leaves.
    pub(super) fn flush(&self) {
        self.links.flush();
        self.leader.flush();
    }
}

/// Opens the election port, trying as often as the options say: in a container a server's own name may not be known yet. For a
/// thread that may wait.
pub(super) fn open_election_port(options: &PeerOptions) -> Result<Vec<Listener>, BindError> {
    address::election_binds(options).iter().map(|bind| open(bind, options.bind_tries_max)).collect()
}

fn open(bind: &address::Bind, tries_max: u32) -> Result<Listener, BindError> {
    let mut tries = 0;
    loop {
        let mut last = BindError::Name { name: format!("{bind}"), source: std::io::ErrorKind::NotFound.into() };
        match bind.resolve_blocking() {
            Ok(addresses) => {
                for address in addresses {
                    match Listener::bind(address, ELECTION_BACKLOG) {
                        Ok(listener) => return Ok(listener),
                        Err(error) => last = error,
                    }
                }
            }
            Err(source) => last = BindError::Name { name: format!("{bind}"), source },
        }
        tries += 1;
        if tries_max > 0 && tries >= tries_max {
            return Err(last);
        }
        tracing::warn!(error = %last, "the election port cannot be opened yet");
        thread::sleep(BIND_PAUSE);
    }
}
