//! The one connection of this server to its leader.
//!
//! As `Learner.connectToLeader`: each address of the leader is tried, with a pause in between and within a budget, and the first
//! connection that stands is taken. A leader that was just elected may need a moment to open its port, so being refused is no
//! reason to look for another at once. Nor is it one to sit out Apache's whole pause: the first are short, as nobody is served
//! meanwhile; five times the whole pause is waited before the leader is given up.
//!
//! A dial that was hung up, or followed by another, never speaks again.

use std::cell::RefCell;
use std::io;
use std::rc::Rc;
use std::time::Duration;

use super::PeerOptions;
use super::address;
use super::events::Events;
use super::outbox::Outbox;
use super::view::View;
use crate::ids::ServerId;
use crate::replica::Event;
use crate::replica::event::DialId;
use crate::rt::clock;
use crate::rt::executor::{sleep, spawn_local};
use crate::rt::resolver::Resolver;
use crate::rt::socket::Stream;

/// How often the whole pause is waited.
const WHOLE_PAUSES: u32 = 5;

/// The first pause; each is twice the one before, up to the whole one.
const PAUSE_MIN: Duration = Duration::from_millis(1);

/// See the file's page.
pub(super) struct Leader {
    options: Rc<PeerOptions>,
    view: Rc<View>,
    resolver: Rc<Resolver>,
    events: Rc<Events>,
    dial: RefCell<Option<Dial>>,
}

struct Dial {
    id: DialId,
    connection: Option<(Rc<Stream>, Rc<Outbox>)>,
}

impl Leader {
    pub(super) fn new(
        options: Rc<PeerOptions>,
        view: Rc<View>,
        resolver: Rc<Resolver>,
        events: Rc<Events>,
    ) -> Rc<Self> {
        Rc::new(Self { options, view, resolver, events, dial: RefCell::default() })
    }

    /// Connects to `leader`, and tells how that went.
    pub(super) fn dial(self: &Rc<Self>, id: DialId, leader: ServerId) {
        let before = self.dial.borrow().as_ref().map(|dial| dial.id);
        if let Some(before) = before {
            self.hang_up(before);
        }
        *self.dial.borrow_mut() = Some(Dial { id, connection: None });
        let this = self.clone();
        spawn_local(async move { this.run(id, leader).await });
    }

    /// Ends the connection; nothing of it is heard any more.
    pub(super) fn hang_up(&self, id: DialId) {
        let mut dial = self.dial.borrow_mut();
        if dial.as_ref().is_none_or(|dial| dial.id != id) {
            return;
        }
        if let Some((_, outbox)) = dial.take().and_then(|dial| dial.connection) {
            outbox.end();
            outbox.flush();
        }
        self.events.forget_dial(id);
    }

    /// Sends with the next flush.
    pub(super) fn send(&self, id: DialId, bytes: Vec<u8>) {
        let dial = self.dial.borrow();
        let Some((_, outbox)) = self.connection(&dial, id) else { return };
        if outbox.push(bytes).is_err() {
            tracing::warn!("the leader takes too little of what it is sent: cut off");
            drop(dial);
            self.lost(id);
        }
    }

    /// What was pushed leaves.
    pub(super) fn flush(&self) {
        if let Some(Dial { connection: Some((_, outbox)), .. }) = &*self.dial.borrow() {
            outbox.flush();
        }
    }

    fn connection<'a>(&self, dial: &'a Option<Dial>, id: DialId) -> Option<&'a (Rc<Stream>, Rc<Outbox>)> {
        dial.as_ref().filter(|dial| dial.id == id)?.connection.as_ref()
    }

    fn is_current(&self, id: DialId) -> bool {
        self.dial.borrow().as_ref().is_some_and(|dial| dial.id == id)
    }

    async fn run(self: Rc<Self>, id: DialId, leader: ServerId) {
        let stream = match self.connect(id, leader).await {
            Ok(stream) => Rc::new(stream),
            Err(error) => {
                if self.is_current(id) {
                    tracing::warn!(leader = leader.0, %error, "the leader cannot be reached");
                    self.lost(id);
                }
                return;
            }
        };
        {
            let mut dial = self.dial.borrow_mut();
            let Some(dial) = dial.as_mut().filter(|dial| dial.id == id) else { return };
            let outbox = Outbox::new(stream.clone(), self.options.link_bytes_max);
            dial.connection = Some((stream.clone(), outbox));
        }
        tracing::debug!(leader = leader.0, address = %stream.peer(), "connected to the leader");
        self.events.push(Event::LeaderConnected(id));
        loop {
            let mut bytes = Vec::new();
            let read = stream.read(&mut bytes).await;
            if !self.is_current(id) {
                return;
            }
            match read {
                Ok(1..) => {
                    self.events.push(Event::LeaderBytes(id, bytes));
                    self.events.taken().await;
                }
                ended => {
                    tracing::debug!(leader = leader.0, error = ?ended.err(), "the connection to the leader has ended");
                    self.lost(id);
                    return;
                }
            }
        }
    }

    /// The dial ended without our asking.
    fn lost(&self, id: DialId) {
        let mut dial = self.dial.borrow_mut();
        if dial.as_ref().is_none_or(|dial| dial.id != id) {
            return;
        }
        if let Some((stream, _)) = dial.take().and_then(|dial| dial.connection) {
            stream.shutdown();
        }
        self.events.push(Event::LeaderLost(id));
    }

    /// Names are looked up anew at each try: the leader may have moved.
    async fn connect(&self, id: DialId, leader: ServerId) -> io::Result<Stream> {
        let Some(member) = self.view.member(leader) else {
            return Err(io::Error::new(io::ErrorKind::NotFound, format!("no server.{} is configured", leader.0)));
        };
        let begun = clock::now();
        let mut last = None;
        let whole = self.options.dial_pause;
        let (mut pause, mut whole_pauses) = (PAUSE_MIN.min(whole), 0);
        while whole_pauses < WHOLE_PAUSES {
            for address in &member.addresses {
                let left = self.options.dial_budget.saturating_sub(clock::now().since(begun));
                if left.is_zero() || !self.is_current(id) {
                    return Err(last.unwrap_or_else(|| io::ErrorKind::TimedOut.into()));
                }
                // An address that answers nothing leaves the others their share.
                let share = if member.addresses.len() > 1 { left.min(self.options.connect_timeout) } else { left };
                match address::connect(&self.resolver, &address.quorum, share).await {
                    Ok(stream) => return Ok(stream),
                    Err(error) => {
                        tracing::debug!(leader = leader.0, address = %address.quorum, %error, "no connection to the leader yet");
                        last = Some(error);
                    }
                }
            }
            sleep(pause).await;
            whole_pauses += u32::from(pause == whole);
            pause = (pause * 2).min(whole);
        }
        Err(last.unwrap_or_else(|| io::ErrorKind::TimedOut.into()))
    }
}
