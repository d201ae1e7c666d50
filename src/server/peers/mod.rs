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
//! | `view` | who the others are at present |
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
mod view;
mod votes;

use std::collections::VecDeque;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::thread;
use std::time::Duration;

pub(super) use events::Signal;
pub(super) use outbox::Body;

use super::options::PeerOptions;
use crate::ids::ServerId;
use crate::quorum::Membership;
use crate::replica::Event;
use crate::replica::event::{DialId, LinkId};
use crate::rt::listener::{BindError, Listener};
use crate::rt::resolver::Resolver;
use events::Events;
use leader::Leader;
use links::Links;
use view::View;
use votes::Votes;

/// Between two attempts to open the election port.
const BIND_PAUSE: Duration = Duration::from_secs(1);

/// See the module's page.
pub(super) struct Peers {
    my_id: ServerId,
    view: Rc<View>,
    events: Rc<Events>,
    votes: Rc<Votes>,
    links: Rc<Links>,
    leader: Rc<Leader>,
}

impl Peers {
    /// For the executor that this is called on, with the election port that [`open_election_port`] opened.
    pub(super) fn start(options: PeerOptions, election_port: Vec<Listener>) -> Self {
        let (options, view) = (Rc::new(options.clone()), Rc::new(View::new(&options)));
        let (resolver, events) = (Resolver::new(), Rc::new(Events::default()));
        Self {
            my_id: options.my_id,
            votes: Votes::start(options.clone(), view.clone(), resolver.clone(), events.clone(), election_port),
            links: Links::new(options.clone(), view.clone(), resolver.clone(), events.clone()),
            leader: Leader::new(options, view.clone(), resolver, events.clone()),
            view,
            events,
        }
    }

    /// [`Action::Configure`](crate::replica::Action::Configure), as far as the others are concerned. A quorum port at another
    /// place is opened there when the replica next wants one: who moves does not lead on.
    pub(super) fn configure(&self, committed: Arc<Membership>, last_seen: Option<Arc<Membership>>) {
        self.view.configure(self.my_id, committed, last_seen);
        self.votes.configured();
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
    let own = options.membership.members.get(&options.my_id);
    address::election_binds(options, own).iter().map(|bind| open(bind, options.bind_tries_max)).collect()
}

fn open(bind: &address::Bind, tries_max: u32) -> Result<Listener, BindError> {
    let mut tries = 0;
    loop {
        let mut last = BindError::Name { name: format!("{bind}"), source: std::io::ErrorKind::NotFound.into() };
        match bind.resolve_blocking() {
            Ok(addresses) => {
                for address in addresses {
                    match Listener::bind(address, votes::BACKLOG) {
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
