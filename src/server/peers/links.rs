//! The quorum port: the connections of learners to this server while it leads.
//!
//! The port is open only while the replica wants it, as in Apache's server: a learner that dials a server which does not lead is
//! refused at once and looks again. What comes in goes to the replica as it came; what goes out waits in an [`Outbox`].
//!
//! After [`Links::close`] and [`Links::listen`]`(false)` nothing of those links is heard any more; a connection that ends otherwise is
//! told as [`Event::LinkClosed`], once.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::rc::Rc;
use std::time::Duration;

use futures_lite::future::or;

use super::PeerOptions;
use super::address::{self, Bind};
use super::events::{Events, Signal};
use super::outbox::{Body, Outbox};
use super::view::View;
use crate::replica::Event;
use crate::replica::event::LinkId;
use crate::rt::executor::{sleep, spawn_local};
use crate::rt::resolver::Resolver;
use crate::rt::socket::Stream;

/// Connections at once; the next one is closed. An ensemble has at most 255 members, and a learner that comes back may do so before
/// its old connection is seen to have ended.
const LINKS_MAX: usize = 512;

/// Connections that wait to be accepted.
const BACKLOG: u32 = 128;

/// Between two attempts to open the port, and after a failed accept.
const RETRY: Duration = Duration::from_millis(50);

/// See the file's page.
pub(super) struct Links {
    options: Rc<PeerOptions>,
    view: Rc<View>,
    resolver: Rc<Resolver>,
    events: Rc<Events>,
    links: RefCell<BTreeMap<LinkId, Link>>,
    next: Cell<u32>,
    /// Links with something to flush.
    dirty: RefCell<Vec<LinkId>>,
    /// Told when the port is to be closed; one for each address while it is open.
    ports: RefCell<Vec<Rc<Signal>>>,
    is_open: Cell<bool>,
}

struct Link {
    stream: Rc<Stream>,
    outbox: Rc<Outbox>,
}

impl Links {
    pub(super) fn new(
        options: Rc<PeerOptions>,
        view: Rc<View>,
        resolver: Rc<Resolver>,
        events: Rc<Events>,
    ) -> Rc<Self> {
        Rc::new(Self {
            options,
            view,
            resolver,
            events,
            links: RefCell::default(),
            next: Cell::new(1),
            dirty: RefCell::default(),
            ports: RefCell::default(),
            is_open: Cell::new(false),
        })
    }

    /// Opens the port, or closes it and every link.
    pub(super) fn listen(self: &Rc<Self>, open: bool) {
        if self.is_open.replace(open) == open {
            return;
        }
        if open {
            for address in address::quorum_binds(&self.options, self.view.own().as_ref()) {
                let (links, close) = (self.clone(), Rc::new(Signal::default()));
                self.ports.borrow_mut().push(close.clone());
                spawn_local(async move { or(links.accept(address), close.wait()).await });
            }
        } else {
            self.ports.borrow_mut().drain(..).for_each(|close| close.set());
            for link in std::mem::take(&mut *self.links.borrow_mut()).into_values() {
                link.stream.shutdown();
            }
            self.events.forget_links(|_| true);
        }
    }

    /// Accepts until the port is to be closed.
    async fn accept(self: Rc<Self>, bind: Bind) {
        let mut is_told = false;
        let listener = loop {
            match bind.listen(&self.resolver, BACKLOG).await {
                Ok(listener) => break listener,
                Err(error) if is_told => tracing::debug!(%error, "the quorum port is still not open"),
                Err(error) => {
                    tracing::error!(%error, "the quorum port cannot be opened: no server can follow this one");
                    is_told = true;
                }
            }
            sleep(RETRY).await;
        };
        tracing::debug!(address = %listener.local_addr(), "the quorum port is open");
        loop {
            match listener.accept().await {
                Ok(accepted) if self.links.borrow().len() >= LINKS_MAX => {
                    tracing::warn!(peer = %accepted.peer, "more than {LINKS_MAX} learners: closed");
                }
                Ok(accepted) => self.opened(Rc::new(Stream::adopt(accepted))),
                Err(error) => {
                    tracing::warn!(%error, "a learner could not be accepted");
                    sleep(RETRY).await;
                }
            }
        }
    }

    fn opened(self: &Rc<Self>, stream: Rc<Stream>) {
        let id = LinkId(self.next.get());
        self.next.set(id.0.wrapping_add(1));
        tracing::debug!(link = id.0, peer = %stream.peer(), "a learner has connected");
        let outbox = Outbox::new(stream.clone(), self.options.link_bytes_max);
        let links = Rc::downgrade(self);
        outbox.on_progress(move || {
            if let Some(links) = links.upgrade().filter(|links| links.links.borrow().contains_key(&id)) {
                links.events.push(Event::LinkProgress(id));
            }
        });
        self.links.borrow_mut().insert(id, Link { stream: stream.clone(), outbox });
        self.events.push(Event::LinkOpened(id));
        let links = self.clone();
        spawn_local(async move { links.read(id, stream).await });
    }

    /// Hands over what a learner sends, at the replica's pace.
    async fn read(self: Rc<Self>, id: LinkId, stream: Rc<Stream>) {
        loop {
            let mut bytes = Vec::new();
            let read = stream.read(&mut bytes).await;
            if !self.links.borrow().contains_key(&id) {
                return;
            }
            match read {
                Ok(1..) => {
                    self.events.push(Event::LinkBytes(id, bytes));
                    self.events.taken().await;
                }
                ended => {
                    tracing::debug!(link = id.0, peer = %stream.peer(), error = ?ended.err(), "the learner's connection has ended");
                    self.lost(id);
                    return;
                }
            }
        }
    }

    /// A link ended without our asking.
    fn lost(&self, id: LinkId) {
        if let Some(link) = self.links.borrow_mut().remove(&id) {
            link.stream.shutdown();
            self.events.push(Event::LinkClosed(id));
        }
    }

    /// Sends behind what was sent before, with the next flush.
    pub(super) fn send(&self, id: LinkId, bytes: Vec<u8>) {
        let links = self.links.borrow();
        // One that is gone has been told of, or is about to be.
        let Some(link) = links.get(&id) else { return };
        if link.outbox.push(bytes).is_err() {
            let (peer, max) = (link.stream.peer(), self.options.link_bytes_max);
            tracing::warn!(link = id.0, %peer, max, "a learner takes too little of what it is sent: cut off");
            drop(links);
            self.lost(id);
            return;
        }
        self.dirty.borrow_mut().push(id);
    }

    /// Sends a stream behind what was sent before, with the next flush.
    pub(super) fn send_body(&self, id: LinkId, body: Body) {
        if let Some(link) = self.links.borrow().get(&id) {
            link.outbox.push_body(body);
            self.dirty.borrow_mut().push(id);
        }
    }

    /// Ends a link behind what was sent.
    pub(super) fn close(&self, id: LinkId) {
        if let Some(link) = self.links.borrow_mut().remove(&id) {
            link.outbox.end();
            link.outbox.flush();
            self.events.forget_links(|link| link == id);
        }
    }

    /// What was pushed leaves.
    pub(super) fn flush(&self) {
        let mut dirty = self.dirty.borrow_mut();
        dirty.sort_unstable();
        dirty.dedup();
        let links = self.links.borrow();
        for id in dirty.drain(..) {
            if let Some(link) = links.get(&id) {
                link.outbox.flush();
            }
        }
    }
}
