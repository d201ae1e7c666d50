//! What is to be sent over one connection, in order: packets, snapshots between them, and the end behind all.
//!
//! What a turn brings is collected and leaves with one system call; only what the kernel does not take at once, and snapshots,
//! need a task. The queue is bounded in bytes: a peer that takes less than it is sent is cut off, and synchronises anew when it
//! comes back, which costs it less than we would pay for its memory.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::io::ErrorKind;
use std::rc::Rc;
use std::time::Duration;

use super::events::Signal;
use crate::rt::clock;
use crate::rt::executor::{spawn_local, timeout, yield_now};
use crate::rt::socket::Stream;

/// Packets are put together up to this many bytes for one system call.
const WRITE_BYTES: usize = 1 << 20;

/// Packets up to this size are copied together; a larger one is a write of its own.
const JOIN_BYTES_MAX: usize = 64 << 10;

/// While a stream leaves, its progress is told so often at most.
const PROGRESS_PAUSE: Duration = Duration::from_millis(100);

/// How long the other end may take to take what was sent before the end.
const LINGER: Duration = Duration::from_secs(5);

/// A stream of bytes that is made while it is sent: appends some, and says whether there is more.
pub(in crate::server) type Body = Box<dyn FnMut(&mut Vec<u8>) -> bool>;

enum Item {
    Bytes(Vec<u8>),
    Body(Body),
    End,
}

/// See the file's page.
pub(super) struct Outbox {
    stream: Rc<Stream>,
    queue: RefCell<VecDeque<Item>>,
    queue_bytes: Cell<usize>,
    queue_bytes_max: usize,
    /// A task sends; it takes what comes behind.
    is_writing: Cell<bool>,
    is_ending: Cell<bool>,
    ended: Signal,
    on_progress: RefCell<Option<Box<dyn Fn()>>>,
}

/// The queue is too long.
#[derive(Debug)]
pub(super) struct Overflow;

impl Outbox {
    pub(super) fn new(stream: Rc<Stream>, queue_bytes_max: usize) -> Rc<Self> {
        Rc::new(Self {
            stream,
            queue: RefCell::default(),
            queue_bytes: Cell::new(0),
            queue_bytes_max,
            is_writing: Cell::new(false),
            is_ending: Cell::new(false),
            ended: Signal::default(),
            on_progress: RefCell::default(),
        })
    }

    /// `tell` is called while streams leave: when the other end has taken more of one, but no more often than [`PROGRESS_PAUSE`].
    pub(super) fn on_progress(&self, tell: impl Fn() + 'static) {
        self.on_progress.replace(Some(Box::new(tell)));
    }

    /// Sends with the next [`Outbox::flush`].
    pub(super) fn push(&self, bytes: Vec<u8>) -> Result<(), Overflow> {
        if bytes.is_empty() || self.is_ending.get() {
            return Ok(());
        }
        let queued = self.queue_bytes.get() + bytes.len();
        if queued > self.queue_bytes_max {
            return Err(Overflow);
        }
        self.queue_bytes.set(queued);
        self.queue.borrow_mut().push_back(Item::Bytes(bytes));
        Ok(())
    }

    /// Sends a stream behind what was sent before.
    pub(super) fn push_body(&self, body: Body) {
        if !self.is_ending.get() {
            self.queue.borrow_mut().push_back(Item::Body(body));
        }
    }

    /// Ends the connection behind what was sent, or when the other end does not take it.
    pub(super) fn end(self: &Rc<Self>) {
        if self.is_ending.replace(true) {
            return;
        }
        self.queue.borrow_mut().push_back(Item::End);
        let outbox = self.clone();
        spawn_local(async move {
            let _ = timeout(LINGER, outbox.ended.wait()).await;
            outbox.stream.shutdown();
        });
    }

    /// Sends what was pushed: with one system call if the kernel takes it and nothing else is under way.
    pub(super) fn flush(self: &Rc<Self>) {
        if self.is_writing.get() || self.queue.borrow().is_empty() {
            return;
        }
        // At most so often: what goes out of a turn must not keep the turn from ending.
        for _ in 0..4 {
            let Some(bytes) = self.next_bytes() else { break };
            let written = match self.stream.try_write(&bytes) {
                Ok(written) => written,
                Err(error) if error.kind() == ErrorKind::WouldBlock => 0,
                Err(_) => {
                    // The reader sees it, too, and tells.
                    self.stream.shutdown();
                    return;
                }
            };
            self.queue_bytes.set(self.queue_bytes.get() - written);
            if written < bytes.len() {
                self.queue.borrow_mut().push_front(Item::Bytes(bytes[written..].to_vec()));
                break;
            }
        }
        if !self.queue.borrow().is_empty() {
            self.is_writing.set(true);
            let outbox = self.clone();
            spawn_local(async move { outbox.write().await });
        }
    }

    /// Bytes at the head of the queue, put together; `None` if something else is there. They still count.
    fn next_bytes(&self) -> Option<Vec<u8>> {
        let mut queue = self.queue.borrow_mut();
        let Some(Item::Bytes(bytes)) = queue.front_mut() else { return None };
        let mut bytes = std::mem::take(bytes);
        queue.pop_front();
        while let Some(Item::Bytes(more)) = queue.front()
            && more.len() <= JOIN_BYTES_MAX
            && bytes.len() + more.len() <= WRITE_BYTES
        {
            bytes.extend_from_slice(more);
            queue.pop_front();
        }
        Some(bytes)
    }

    /// Sends until the queue is empty or the connection ends.
    async fn write(self: Rc<Self>) {
        let mut slice = Vec::new();
        let mut told = clock::now();
        loop {
            if let Some(bytes) = self.next_bytes() {
                let sent = self.stream.write_all(&bytes).await;
                self.queue_bytes.set(self.queue_bytes.get() - bytes.len());
                if sent.is_err() {
                    break;
                }
                continue;
            }
            let item = self.queue.borrow_mut().pop_front();
            match item {
                None => {
                    self.is_writing.set(false);
                    return;
                }
                Some(Item::Body(mut body)) => loop {
                    slice.clear();
                    let is_more = body(&mut slice);
                    if self.stream.write_all(&slice).await.is_err() {
                        self.give_up();
                        return;
                    }
                    let now = clock::now();
                    if now.since(told) >= PROGRESS_PAUSE || !is_more {
                        told = now;
                        if let Some(tell) = &*self.on_progress.borrow() {
                            tell();
                        }
                    }
                    if !is_more {
                        break;
                    }
                    // The kernel may have taken it at once: the votes and the other learners have their turn.
                    yield_now().await;
                },
                Some(Item::End) => break,
                Some(Item::Bytes(_)) => panic!("bytes at the head of the queue are taken before"),
            }
        }
        self.give_up();
    }

    /// The end, whatever it is that ended it: what is queued will not be sent. `is_writing` stays, so nothing else is.
    fn give_up(&self) {
        self.queue.borrow_mut().clear();
        self.queue_bytes.set(0);
        self.is_ending.set(true);
        self.stream.shutdown();
        self.ended.set();
    }
}
