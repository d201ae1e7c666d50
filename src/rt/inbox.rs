//! An inbox: a bounded queue into one thread, and the bell that wakes it. How everything travels between cores.
//!
//! Many senders (tasks of other executors, plain threads), one receiver, which takes all that is there in one go. A sender
//! rings only if the receiver said that it is about to wait, so a batch costs one wake-up, and a busy receiver none.
//!
//! The receiver belongs to whoever first waits with it: a task of an executor ([`Receiver::recv_many`]), a plain thread
//! ([`Receiver::recv_many_blocking`]), or a thread that sleeps in a ring ([`Receiver::attach_doorbell`]).
//!
//! A full inbox pushes back: [`Sender::try_send`] returns the message, [`Sender::send`] waits as a task,
//! [`Sender::send_blocking`] as a thread. Waiting tasks are woken together when the receiver has taken something.
//!
//! An inbox ends when either end is gone, or when a sender closes it ([`Sender::close`]): a receiver that was lost in a panic may
//! never be dropped.

use std::future::poll_fn;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::task::{Context, Poll};
use std::thread::{self, Thread};
use std::time::Duration;

use thiserror::Error;

use crate::rt::bell::Bell;
use crate::rt::executor::{Local, ring_for_room};

/// All senders are gone, or one has closed the inbox, and the queue is empty.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
#[error("nothing more comes into the inbox")]
pub struct Closed;

/// Why a message was not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TrySendError<T> {
    /// No room now.
    Full(T),
    /// The receiver is gone, or the inbox was closed.
    Closed(T),
}

/// The receiver is gone, or the inbox was closed; the message comes back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SendError<T>(pub T);

/// How often a thread that waits for room looks whether the inbox was closed.
const CLOSED_LOOK: Duration = Duration::from_millis(50);

/// A new inbox with room for `capacity` messages.
pub fn channel<T: Send>(capacity: usize) -> (Sender<T>, Receiver<T>) {
    assert!(capacity > 0, "an inbox without room");
    let (sender, receiver) = flume::bounded(capacity);
    let shared = Arc::new(Shared {
        waiting: AtomicBool::new(false),
        owner: OnceLock::new(),
        senders: AtomicUsize::new(1),
        room_wanted: AtomicBool::new(false),
        room: Mutex::default(),
        closed: AtomicBool::new(false),
    });
    (
        Sender { queue: Some(sender), shared: Arc::clone(&shared) },
        Receiver { queue: Some(receiver), shared, slot: None },
    )
}

/// What both ends know beside the queue.
struct Shared {
    /// The receiver found nothing and is about to wait: whoever sends next wakes it. Set before the receiver's last look
    /// into the queue; the queue's own lock makes one of the two see the other.
    waiting: AtomicBool,
    owner: OnceLock<Owner>,
    senders: AtomicUsize,
    /// Some executor waits for room. Set before its last try, like `waiting`.
    room_wanted: AtomicBool,
    room: Mutex<Vec<Arc<Bell>>>,
    /// Nothing more is taken.
    closed: AtomicBool,
}

/// Whom to wake.
enum Owner {
    Slot { bell: Arc<Bell>, slot: u32 },
    Thread(Thread),
}

impl Shared {
    fn wake_receiver(&self) {
        if self.waiting.load(Ordering::SeqCst) && self.waiting.swap(false, Ordering::SeqCst) {
            match self.owner.get() {
                Some(Owner::Slot { bell, slot }) => match Local::try_current() {
                    // Both ends on one executor: no bell, no system call.
                    Some(local) if Arc::ptr_eq(bell, local.bell()) => local.wake_slot(*slot),
                    _ => bell.wake(*slot),
                },
                Some(Owner::Thread(thread)) => thread.unpark(),
                None => panic!("an inbox is waited on by nobody"),
            }
        }
    }

    fn wake_senders(&self) {
        if self.room_wanted.load(Ordering::SeqCst) && self.room_wanted.swap(false, Ordering::SeqCst) {
            for bell in self.room().drain(..) {
                ring_for_room(&bell);
            }
        }
    }

    /// The bells of executors with tasks that wait for room. Nothing panics while it is held.
    fn room(&self) -> MutexGuard<'_, Vec<Arc<Bell>>> {
        self.room.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The sending end.
pub struct Sender<T> {
    /// Always there, except while it is dropped.
    queue: Option<flume::Sender<T>>,
    shared: Arc<Shared>,
}

impl<T: Send> Sender<T> {
    /// Sends if there is room.
    pub fn try_send(&self, message: T) -> Result<(), TrySendError<T>> {
        self.put(message).inspect(|()| self.wake())
    }

    /// The same, and wakes nobody.
    fn put(&self, message: T) -> Result<(), TrySendError<T>> {
        if self.shared.closed.load(Ordering::SeqCst) {
            return Err(TrySendError::Closed(message));
        }
        self.queue().try_send(message).map_err(|error| match error {
            flume::TrySendError::Full(message) => TrySendError::Full(message),
            flume::TrySendError::Disconnected(message) => TrySendError::Closed(message),
        })
    }

    /// Sends, waiting for room: for tasks of an executor. Tasks that wait are not served in order.
    pub async fn send(&self, message: T) -> Result<(), SendError<T>> {
        let mut message = Some(message);
        poll_fn(|cx| {
            // Say that room is wanted, then try once more: room made in between is not missed.
            for last_try in [false, true] {
                let Some(unsent) = message.take() else { panic!("a send was polled after its end") };
                match self.try_send(unsent) {
                    Ok(()) => return Poll::Ready(Ok(())),
                    Err(TrySendError::Closed(unsent)) => return Poll::Ready(Err(SendError(unsent))),
                    Err(TrySendError::Full(unsent)) => message = Some(unsent),
                }
                if !last_try {
                    self.want_room(cx);
                    // It may sleep on what was sent without waking it.
                    self.wake();
                }
            }
            Poll::Pending
        })
        .await
    }

    /// Sends like [`Sender::send`], but lets a receiver that sleeps sleep on until [`Sender::wake`] is called, which must be soon; one
    /// that is awake takes the message as it would any other. To wake a core that sleeps costs the waker 20 us on a virtual machine:
    /// where a client waits for an answer and nobody waits for this message, the answer goes first.
    pub async fn send_without_waking(&self, message: T) -> Result<(), SendError<T>> {
        match self.put(message) {
            Ok(()) => Ok(()),
            Err(TrySendError::Closed(message)) => Err(SendError(message)),
            // Room is made by a receiver that is awake.
            Err(TrySendError::Full(message)) => self.send(message).await,
        }
    }

    /// Wakes the receiver if it sleeps.
    pub fn wake(&self) {
        self.shared.wake_receiver();
    }

    /// Sends, waiting for room: for plain threads. On an executor it would stop every task.
    pub fn send_blocking(&self, message: T) -> Result<(), SendError<T>> {
        debug_assert!(Local::try_current().is_none(), "a blocking send on an executor");
        let mut message = message;
        while !self.shared.closed.load(Ordering::SeqCst) {
            match self.queue().send_timeout(message, CLOSED_LOOK) {
                Ok(()) => {
                    self.shared.wake_receiver();
                    return Ok(());
                }
                Err(flume::SendTimeoutError::Timeout(unsent)) => message = unsent,
                Err(flume::SendTimeoutError::Disconnected(unsent)) => return Err(SendError(unsent)),
            }
        }
        Err(SendError(message))
    }

    /// Ends the inbox for everybody: nothing more is taken, who waits for room gets his message back, and the receiver is told
    /// the end behind what has been sent before.
    pub fn close(&self) {
        self.shared.closed.store(true, Ordering::SeqCst);
        self.shared.wake_senders();
        self.shared.wake_receiver();
    }

    /// Whether the receiver is gone, or the inbox was closed.
    pub fn is_closed(&self) -> bool {
        self.shared.closed.load(Ordering::SeqCst) || self.queue().is_disconnected()
    }

    /// Messages in the queue.
    pub fn len(&self) -> usize {
        self.queue().len()
    }

    /// Whether no message is in the queue.
    pub fn is_empty(&self) -> bool {
        self.queue().is_empty()
    }

    fn want_room(&self, cx: &Context<'_>) {
        let local = Local::current();
        local.wait_for_room(cx.waker());
        let mut room = self.shared.room();
        if !room.iter().any(|bell| Arc::ptr_eq(bell, local.bell())) {
            room.push(Arc::clone(local.bell()));
        }
        self.shared.room_wanted.store(true, Ordering::SeqCst);
    }
}

impl<T> Sender<T> {
    fn queue(&self) -> &flume::Sender<T> {
        self.queue.as_ref().expect("a sender has its queue until it is dropped")
    }
}

impl<T> Clone for Sender<T> {
    fn clone(&self) -> Self {
        self.shared.senders.fetch_add(1, Ordering::SeqCst);
        Self { queue: self.queue.clone(), shared: Arc::clone(&self.shared) }
    }
}

impl<T> Drop for Sender<T> {
    fn drop(&mut self) {
        // First the queue, so that a receiver woken by the last sender finds it disconnected.
        drop(self.queue.take());
        if self.shared.senders.fetch_sub(1, Ordering::SeqCst) == 1 {
            self.shared.wake_receiver();
        }
    }
}

/// The receiving end.
pub struct Receiver<T> {
    /// Always there, except while it is dropped.
    queue: Option<flume::Receiver<T>>,
    shared: Arc<Shared>,
    /// On the executor's bell, once bound to one.
    slot: Option<u32>,
}

impl<T: Send> Receiver<T> {
    /// Waits for at least one message, then takes all that are there, up to `max`; how many.
    ///
    /// Safe to cancel: messages are taken only in the step that returns them.
    pub async fn recv_many(&mut self, out: &mut Vec<T>, max: usize) -> Result<usize, Closed> {
        poll_fn(|cx| self.poll_recv_many(cx, out, max)).await
    }

    /// [`Receiver::recv_many`] for whoever waits for several things.
    ///
    /// # Panics
    /// Outside an executor, or on another one than before.
    pub fn poll_recv_many(&mut self, cx: &Context<'_>, out: &mut Vec<T>, max: usize) -> Poll<Result<usize, Closed>> {
        match self.try_recv_many(out, max) {
            Ok(0) => {}
            taken => return Poll::Ready(taken),
        }
        self.wait_on_executor(cx);
        self.shared.waiting.store(true, Ordering::SeqCst);
        match self.take(out, max) {
            Ok(0) => Poll::Pending,
            taken => {
                self.shared.waiting.store(false, Ordering::SeqCst);
                Poll::Ready(taken)
            }
        }
    }

    /// Takes what is there, up to `max`, without waiting; how many, which may be none.
    ///
    /// With a doorbell attached, whatever is sent after this call rings it: a receiver that got fewer than `max` may sleep in
    /// its ring.
    pub fn try_recv_many(&mut self, out: &mut Vec<T>, max: usize) -> Result<usize, Closed> {
        if self.slot.is_none() && matches!(self.shared.owner.get(), Some(Owner::Slot { .. })) {
            self.shared.waiting.store(true, Ordering::SeqCst);
        }
        self.take(out, max)
    }

    /// Takes one message without waiting.
    pub fn try_recv(&mut self) -> Result<Option<T>, Closed> {
        let mut out = Vec::with_capacity(1);
        self.try_recv_many(&mut out, 1)?;
        Ok(out.pop())
    }

    /// [`Receiver::recv_many`] for a plain thread, which sleeps at most `limit`: 0 when that has passed.
    ///
    /// # Panics
    /// On another thread than before.
    pub fn recv_many_blocking(
        &mut self,
        out: &mut Vec<T>,
        max: usize,
        limit: Option<Duration>,
    ) -> Result<usize, Closed> {
        match self.shared.owner.get_or_init(|| Owner::Thread(thread::current())) {
            Owner::Thread(owner) if owner.id() == thread::current().id() => {}
            _ => panic!("an inbox is waited on by a second owner"),
        }
        let mut parked_out = false;
        loop {
            self.shared.waiting.store(true, Ordering::SeqCst);
            let taken = self.take(out, max);
            if taken != Ok(0) || parked_out {
                self.shared.waiting.store(false, Ordering::SeqCst);
                return taken;
            }
            match limit {
                None => thread::park(),
                // May end early without a message: the caller's limit is an upper bound.
                Some(limit) => {
                    thread::park_timeout(limit);
                    parked_out = true;
                }
            }
        }
    }

    /// From now on a message rings `bell`, for a thread that sleeps in a ring. The thread takes with
    /// [`Receiver::try_recv_many`].
    ///
    /// # Panics
    /// If the inbox is bound already.
    pub fn attach_doorbell(&mut self, bell: &Doorbell) {
        let owner = Owner::Slot { bell: Arc::clone(&bell.0), slot: DOORBELL_SLOT };
        assert!(self.shared.owner.set(owner).is_ok(), "an inbox is attached twice");
        self.shared.waiting.store(true, Ordering::SeqCst);
        // What was sent before rang nobody.
        bell.0.wake(DOORBELL_SLOT);
    }

    /// Messages in the queue.
    pub fn len(&self) -> usize {
        self.queue().len()
    }

    /// Whether no message is in the queue.
    pub fn is_empty(&self) -> bool {
        self.queue().is_empty()
    }

    fn take(&mut self, out: &mut Vec<T>, max: usize) -> Result<usize, Closed> {
        assert!(max > 0, "a receiver that takes nothing");
        let before = out.len();
        while out.len() - before < max {
            let is_over = match self.queue().try_recv() {
                Ok(message) => {
                    out.push(message);
                    continue;
                }
                Err(flume::TryRecvError::Empty) => self.shared.closed.load(Ordering::SeqCst),
                Err(flume::TryRecvError::Disconnected) => true,
            };
            if is_over && out.len() == before {
                return Err(Closed);
            }
            if is_over {
                // The end may have come before `waiting` was set and rung nobody: a receiver that now sleeps in its ring would
                // never hear of it.
                self.shared.wake_receiver();
            }
            break;
        }
        let taken = out.len() - before;
        if taken > 0 {
            self.shared.wake_senders();
        }
        Ok(taken)
    }

    fn wait_on_executor(&mut self, cx: &Context<'_>) {
        let local = Local::current();
        let slot = *self.slot.get_or_insert_with(|| {
            let slot = local.take_slot();
            let owner = Owner::Slot { bell: Arc::clone(local.bell()), slot };
            assert!(self.shared.owner.set(owner).is_ok(), "an inbox is waited on by a second owner");
            slot
        });
        match self.shared.owner.get() {
            Some(Owner::Slot { bell, .. }) if Arc::ptr_eq(bell, local.bell()) => local.wait_on(slot, cx.waker()),
            _ => panic!("an inbox moved to another executor"),
        }
    }
}

impl<T> Receiver<T> {
    fn queue(&self) -> &flume::Receiver<T> {
        self.queue.as_ref().expect("a receiver has its queue until it is dropped")
    }
}

impl<T> Drop for Receiver<T> {
    fn drop(&mut self) {
        // First the queue, so that senders woken here find it disconnected.
        drop(self.queue.take());
        self.shared.wake_senders();
        // On another thread than its own, the executor is ending or was left behind: its slots go with it.
        if let (Some(Owner::Slot { bell, slot }), Some(local), Some(_)) =
            (self.shared.owner.get(), Local::try_current(), self.slot)
            && Arc::ptr_eq(bell, local.bell())
        {
            local.free_slot(*slot);
        }
    }
}

/// The one slot of a ring's bell.
const DOORBELL_SLOT: u32 = 0;

/// A ring's doorbell, as inboxes see it ([`Receiver::attach_doorbell`]). Cloned freely; rung from any thread.
#[derive(Clone)]
pub struct Doorbell(pub(crate) Arc<Bell>);

impl Doorbell {
    /// Wakes the owner though nothing was sent.
    pub fn ring(&self) {
        self.0.wake(DOORBELL_SLOT);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rt::executor::{Options, spawn, spawn_local, yield_now};

    /// What lies there unannounced is announced at the latest when someone waits for room behind it.
    #[test]
    fn a_full_inbox_of_unannounced_messages_is_taken() {
        let (sender, mut receiver) = channel(2);
        let (to_main, from_executor) = std::sync::mpsc::channel();
        let receiving = spawn("receives", None, Options::default(), move || async move {
            let mut taken = Vec::new();
            while receiver.recv_many(&mut taken, 8).await.is_ok() {
                to_main.send(taken.len()).expect("somebody listens");
            }
        })
        .expect("starts");
        let sending = spawn("sends", None, Options::default(), move || async move {
            while !sender.shared.waiting.load(Ordering::SeqCst) {
                yield_now().await;
            }
            sender.send_without_waking(1).await.expect("room");
            sender.send_without_waking(2).await.expect("room");
            sender.send(3).await.expect("taken in the end");
            sender.send_without_waking(4).await.expect("taken");
        })
        .expect("starts");
        sending.join().expect("ends well");
        receiving.join().expect("ends well");
        assert_eq!(from_executor.iter().last(), Some(4), "all were taken");
    }

    #[test]
    fn an_executor_receives_from_a_thread_in_order() {
        const MESSAGES: u64 = 20_000;
        let (sender, mut receiver) = channel(16);
        let handle = spawn("receives", None, Options::default(), move || async move {
            let mut batch = Vec::new();
            let mut next = 0;
            while receiver.recv_many(&mut batch, 8).await.is_ok() {
                assert!(batch.len() <= 8);
                for message in batch.drain(..) {
                    assert_eq!(message, next);
                    next += 1;
                }
            }
            assert_eq!(next, MESSAGES);
        })
        .expect("starts");
        for message in 0..MESSAGES {
            sender.send_blocking(message).expect("the receiver lives");
        }
        drop(sender);
        handle.join().expect("all arrived");
    }

    #[test]
    fn tasks_of_one_executor_wake_each_other_without_the_bell() {
        const ROUNDS: u64 = 20_000;
        let handle = spawn("alone", None, Options::default(), || async {
            let (ask, mut asked) = channel::<u64>(1);
            let (answer, mut answered) = channel(1);
            spawn_local(async move {
                let mut batch = Vec::new();
                while asked.recv_many(&mut batch, 8).await.is_ok() {
                    for question in batch.drain(..) {
                        answer.send(question + 1).await.expect("the asker lives");
                    }
                }
            });
            let mut batch = Vec::new();
            for number in 0..ROUNDS {
                ask.send(number).await.expect("the answerer lives");
                assert_eq!(answered.recv_many(&mut batch, 8).await, Ok(1));
                assert_eq!(batch.pop(), Some(number + 1));
            }
        })
        .expect("starts");
        handle.join().expect("ends well");
    }

    #[test]
    fn a_full_inbox_makes_tasks_wait_and_wakes_them() {
        const TASKS: u64 = 10;
        const MESSAGES: u64 = 500;
        let (sender, mut receiver) = channel(2);
        let handle = spawn("sends", None, Options::default(), move || async move {
            let (done, mut finished) = channel(TASKS as usize);
            for task in 0..TASKS {
                let (sender, done) = (sender.clone(), done.clone());
                spawn_local(async move {
                    for message in 0..MESSAGES {
                        sender.send((task, message)).await.expect("the receiver lives");
                    }
                    drop(done);
                });
            }
            drop((sender, done));
            assert_eq!(finished.recv_many(&mut Vec::<()>::new(), 1).await, Err(Closed));
        })
        .expect("starts");
        let mut next = [0; TASKS as usize];
        let mut batch = Vec::new();
        while receiver.recv_many_blocking(&mut batch, 100, None).is_ok() {
            for (task, message) in batch.drain(..) {
                assert_eq!(message, next[task as usize], "a task's messages stay in order");
                next[task as usize] += 1;
            }
        }
        assert!(next.iter().all(|&count| count == MESSAGES));
        handle.join().expect("all sent");
    }

    #[test]
    fn a_full_inbox_returns_the_message_and_a_closed_one_too() {
        let (sender, mut receiver) = channel(1);
        assert_eq!(sender.try_send(1), Ok(()));
        assert_eq!(sender.try_send(2), Err(TrySendError::Full(2)));
        assert_eq!(receiver.try_recv(), Ok(Some(1)));
        assert_eq!(receiver.try_recv(), Ok(None));
        drop(receiver);
        assert_eq!(sender.try_send(3), Err(TrySendError::Closed(3)));
        assert_eq!(sender.send_blocking(4), Err(SendError(4)));
        assert!(sender.is_closed());
    }

    #[test]
    fn a_closed_inbox_ends_both_sides() {
        let (sender, receiver) = channel(1);
        sender.try_send(0).expect("room for one");
        let (task, thread) = (sender.clone(), sender.clone());
        let waits = spawn("waits", None, Options::default(), move || async move {
            assert_eq!(task.send(1).await, Err(SendError(1)));
        })
        .expect("starts");
        let blocks = thread::spawn(move || thread.send_blocking(2));
        sender.close();
        waits.join().expect("freed");
        assert_eq!(blocks.join().expect("freed"), Err(SendError(2)));
        assert!(sender.is_closed());
        assert_eq!(sender.try_send(3), Err(TrySendError::Closed(3)));
        let reads = spawn("reads", None, Options::default(), move || async move {
            let (mut receiver, mut out) = (receiver, Vec::new());
            assert_eq!(receiver.recv_many(&mut out, 8).await, Ok(1), "what was sent before arrives");
            assert_eq!(receiver.recv_many(&mut out, 8).await, Err(Closed));
        });
        reads.expect("starts").join().expect("told the end");
    }

    #[test]
    fn closing_wakes_a_receiver_that_waits() {
        let (sender, mut receiver) = channel::<u8>(1);
        let reads = spawn("reads", None, Options::default(), move || async move {
            assert_eq!(receiver.recv_many(&mut Vec::new(), 8).await, Err(Closed));
        });
        sender.close();
        reads.expect("starts").join().expect("told the end");
    }

    #[test]
    fn a_dropped_receiver_frees_waiting_senders() {
        let (sender, receiver) = channel(1);
        sender.try_send(0).expect("room for one");
        spawn("waits", None, Options::default(), move || async move {
            spawn_local(async move {
                yield_now().await;
                drop(receiver);
            });
            assert_eq!(sender.send(1).await, Err(SendError(1)));
        })
        .expect("starts")
        .join()
        .expect("freed");
    }

    #[test]
    fn an_attached_doorbell_rings_for_what_was_sent_before_and_after() {
        let bell = Bell::for_ring().expect("an eventfd");
        let (sender, mut receiver) = channel(10);
        sender.try_send(1).expect("room");
        receiver.attach_doorbell(&Doorbell(Arc::clone(&bell)));
        assert!(!bell.arm(), "rung for the first");
        bell.take();
        let mut batch = Vec::new();
        assert_eq!(receiver.try_recv_many(&mut batch, 10), Ok(1));
        assert!(bell.arm());
        sender.try_send(2).expect("room");
        assert_ne!(bell.take(), 0, "rung for the second");
    }
}
