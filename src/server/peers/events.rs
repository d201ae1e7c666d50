//! What sockets tell the replica on the same executor: a queue that the shell empties each turn.
//!
//! Whoever reads a socket tells what it brought and then waits until that is taken. So each socket has at most one read's worth
//! in the queue, the replica's pace is the socket's pace, and no peer can fill our memory.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::future::poll_fn;
use std::task::{Context, Poll, Waker};

use crate::replica::Event;
use crate::replica::event::{DialId, LinkId};

/// See the file's page.
#[derive(Default)]
pub(super) struct Events {
    queue: RefCell<VecDeque<Event>>,
    taker: RefCell<Option<Waker>>,
    /// Counts how often the queue was emptied.
    turn: Cell<u64>,
    waiting: RefCell<Vec<Waker>>,
}

impl Events {
    /// Something happened.
    pub(super) fn push(&self, event: Event) {
        self.queue.borrow_mut().push_back(event);
        if let Some(taker) = self.taker.borrow_mut().take() {
            taker.wake();
        }
    }

    /// Waits until all that was pushed is taken.
    pub(super) async fn taken(&self) {
        let turn = self.turn.get();
        poll_fn(|cx| {
            if self.turn.get() != turn || self.queue.borrow().is_empty() {
                return Poll::Ready(());
            }
            let mut waiting = self.waiting.borrow_mut();
            if !waiting.iter().any(|waker| waker.will_wake(cx.waker())) {
                waiting.push(cx.waker().clone());
            }
            Poll::Pending
        })
        .await;
    }

    /// Ready when there is something to take.
    pub(super) fn poll_ready(&self, cx: &Context<'_>) -> Poll<()> {
        if !self.queue.borrow().is_empty() {
            return Poll::Ready(());
        }
        *self.taker.borrow_mut() = Some(cx.waker().clone());
        Poll::Pending
    }

    /// Takes all.
    pub(super) fn take(&self) -> VecDeque<Event> {
        self.turn.set(self.turn.get() + 1);
        self.waiting.borrow_mut().drain(..).for_each(Waker::wake);
        std::mem::take(&mut *self.queue.borrow_mut())
    }

    /// What waits of these links was said before they were given up, and is not heard any more.
    pub(super) fn forget_links(&self, is_given_up: impl Fn(LinkId) -> bool) {
        self.queue.borrow_mut().retain(|event| match event {
            Event::LinkOpened(link)
            | Event::LinkBytes(link, _)
            | Event::LinkProgress(link)
            | Event::LinkClosed(link) => !is_given_up(*link),
            _ => true,
        });
    }

    /// What waits of this dial was said before it was given up, and is not heard any more.
    pub(super) fn forget_dial(&self, dial: DialId) {
        self.queue.borrow_mut().retain(|event| match event {
            Event::LeaderConnected(of) | Event::LeaderBytes(of, _) | Event::LeaderLost(of) => *of != dial,
            _ => true,
        });
    }
}

/// One task tells another that there is something to look at. Told before it waits, it does not wait.
#[derive(Default)]
pub(in crate::server) struct Signal {
    is_set: Cell<bool>,
    waker: RefCell<Option<Waker>>,
}

impl Signal {
    /// Tells.
    pub(in crate::server) fn set(&self) {
        self.is_set.set(true);
        if let Some(waker) = self.waker.borrow_mut().take() {
            waker.wake();
        }
    }

    /// Waits to be told.
    pub(in crate::server) async fn wait(&self) {
        poll_fn(|cx| {
            if self.is_set.replace(false) {
                return Poll::Ready(());
            }
            *self.waker.borrow_mut() = Some(cx.waker().clone());
            Poll::Pending
        })
        .await;
    }
}
