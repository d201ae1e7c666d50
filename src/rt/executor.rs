//! One glommio executor on a thread of its own, and what its tasks may do: spawn, sleep, give way, be woken from outside.
//!
//! glommio 0.9.0 is treated as a guest (its quirks are in its source, `executor/mod.rs` and `sys/uring.rs`):
//!
//! - It can park with tasks ready to run when its preemption timer completes at the wrong moment. So the timer is long,
//!   every task is in the one default queue, and a ticker bounds what a lost wake-up could still cost.
//! - Its own wakers may be sent to other threads but are slow there, and were a source of bugs: nothing here uses them. Other
//!   threads ring the executor's bell (`bell.rs`), which a task hears on a socket like any other.
//! - It looks at its rings only when no task is ready. A task with much to do must [`yield_now`], which goes through the
//!   ring; a mere "pending once" would keep the sockets waiting.
//! - Its first sleep stalls for tens of milliseconds (membarrier registration): paid in [`spawn`] before it returns.
//! - Dropping an executor does not drop its tasks: at the end every task made with [`spawn_local`] is cancelled and dropped
//!   here, so that sockets are closed.
//!
//! A panic in a task ends the executor's thread; [`JoinHandle::join`] reports it. What the other tasks held is lost, not dropped:
//! their connections are shut down all the same, and whoever depends on the executor is told by an [`Alarm`]. The server's
//! binary ends on any panic.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::fmt;
use std::future::{Future, poll_fn};
use std::io;
use std::mem::ManuallyDrop;
use std::os::fd::{FromRawFd, IntoRawFd};
use std::pin::Pin;
use std::rc::Rc;
use std::sync::{Arc, mpsc};
use std::task::{Poll, Waker};
use std::thread;
use std::time::Duration;

use futures_lite::AsyncReadExt;
use futures_lite::future::FutureExt;
use glommio::net::UnixStream;
use glommio::{LocalExecutorBuilder, Placement, PoolPlacement};
use socket2::Socket;
use thiserror::Error;

use crate::rt::bell::{Bell, SLOTS_MAX};
use crate::rt::limits;
use crate::rt::selftest::{UringError, check_io_uring};
use crate::rt::socket;

/// Choices for one executor. The defaults suit everything.
#[derive(Clone, Debug)]
pub struct Options {
    /// Look at the rings for this long before sleeping. Costs a whole core; only where one is free, and only with a core to
    /// pin to.
    pub spin: Duration,
    /// How long a turn may last before glommio interrupts the queue. Long: see the file's page.
    pub preempt: Duration,
    /// The ticker's period: the most that a wake-up lost by glommio can cost.
    pub tick: Duration,
    /// Entries of each ring. Above the completions of one turn, or glommio cuts turns short.
    pub ring_depth: usize,
    /// Bytes that glommio locks for I/O buffers, three times. Sockets use none: the least it takes.
    pub io_memory: usize,
    /// How long a turn on a contended core may be ([`limits::take_short_turns`]); the shorter, the sooner it runs once woken.
    pub turn: Duration,
    /// Raised if the executor ends by a panic.
    pub alarm: Option<Alarm>,
}

/// What is done when a thread ends by a panic: tells those who would wait for it.
#[derive(Clone)]
pub struct Alarm(Arc<dyn Fn() + Send + Sync>);

impl Alarm {
    /// `raise` is called on the thread that panicked. It must neither block nor panic itself.
    pub fn new(raise: impl Fn() + Send + Sync + 'static) -> Self {
        Self(Arc::new(raise))
    }

    /// Raises it if this thread panics before the guard is dropped.
    pub fn guard(&self) -> AlarmGuard {
        AlarmGuard(self.clone())
    }
}

impl fmt::Debug for Alarm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Alarm")
    }
}

/// See [`Alarm::guard`].
#[derive(Debug)]
pub struct AlarmGuard(Alarm);

impl Drop for AlarmGuard {
    fn drop(&mut self) {
        if thread::panicking() {
            (self.0.0)();
        }
    }
}

/// Shuts the thread's connections down if it panics: nobody else would, and their other ends would wait.
struct ShutAll;

impl Drop for ShutAll {
    fn drop(&mut self) {
        if thread::panicking() {
            socket::shut_all();
        }
    }
}

impl Default for Options {
    fn default() -> Self {
        Self {
            spin: Duration::ZERO,
            preempt: Duration::from_secs(10),
            tick: Duration::from_millis(50),
            ring_depth: 4096,
            io_memory: 64 * 1024,
            alarm: None,
            turn: Duration::from_micros(300),
        }
    }
}

/// Why an executor did not start.
#[derive(Debug, Error)]
pub enum StartError {
    /// No io_uring.
    #[error(transparent)]
    Uring(#[from] UringError),
    /// The core cannot be used.
    #[error("{name}: cannot run on core {core}: {message}")]
    Core {
        /// Name of the executor.
        name: String,
        /// The core asked for.
        core: usize,
        /// The system's words.
        message: String,
    },
    /// Locked memory.
    #[error("{name}: at least 512 KiB of locked memory are needed, the limit is {limit} bytes: raise it (ulimit -l)")]
    LockedMemory {
        /// Name of the executor.
        name: String,
        /// RLIMIT_MEMLOCK.
        limit: u64,
    },
    /// Anything else: no thread, no descriptors.
    #[error("{name}: cannot start: {message}")]
    Other {
        /// Name of the executor.
        name: String,
        /// The system's words.
        message: String,
    },
}

/// The executor's future or one of its tasks panicked.
#[derive(Debug, Error, PartialEq, Eq)]
#[error("the thread {name} panicked")]
pub struct Panicked {
    /// Name of the executor.
    pub name: String,
}

/// A running executor. Dropping it lets the executor run on.
#[derive(Debug)]
pub struct JoinHandle {
    name: String,
    thread: thread::JoinHandle<()>,
}

impl JoinHandle {
    /// Waits until the executor's future is done and its tasks are dropped.
    pub fn join(self) -> Result<(), Panicked> {
        self.thread.join().map_err(|_| Panicked { name: self.name })
    }

    /// Whether the thread has ended.
    pub fn is_finished(&self) -> bool {
        self.thread.is_finished()
    }
}

/// Runs the future that `make` returns on a new executor, on a thread called `name`, pinned to `core` if given. Returns when
/// the executor is up (its rings made, its first sleep done) and `make` is about to be called.
///
/// When the future is done, all tasks of the executor are cancelled and dropped, and the thread ends.
pub fn spawn<F, M>(name: &str, core: Option<usize>, options: Options, make: M) -> Result<JoinHandle, StartError>
where
    M: FnOnce() -> F + Send + 'static,
    F: Future<Output = ()> + 'static,
{
    check_io_uring()?;
    let other = |error: io::Error| StartError::Other { name: name.to_owned(), message: error.to_string() };
    let (bell, ear) = Bell::for_executor().map_err(other)?;
    let (report, started) = mpsc::sync_channel(1);
    let executor_name = name.to_owned();
    let thread = thread::Builder::new()
        .name(name.to_owned())
        .spawn(move || {
            // The last thing that happens: connections end when the alarm was raised, so that whoever sees them end knows why.
            let _shut = ShutAll;
            let _guard = options.alarm.as_ref().map(Alarm::guard);
            let executor = match build(&executor_name, core, &options) {
                Ok(executor) => executor,
                Err(error) => {
                    let _ = report.send(Err(error));
                    return;
                }
            };
            limits::take_short_turns(options.turn);
            executor.run(async move {
                glommio::timer::sleep(Duration::from_millis(1)).await;
                let local = Local::install(bell);
                let hear = spawn_raw(answer_bell(Rc::clone(&local), adopt(ear)));
                let tick = spawn_raw(keep_ticking(options.tick));
                drop(local);
                let _ = report.send(Ok(()));
                make().await;
                drop_all_tasks().await;
                tick.cancel().await;
                hear.cancel().await;
                // A last turn: what the dropped tasks left in the rings is cancelled before the rings go.
                glommio::timer::sleep(Duration::from_millis(1)).await;
                Local::uninstall();
            });
        })
        .map_err(other)?;
    match started.recv() {
        Ok(Ok(())) => Ok(JoinHandle { name: name.to_owned(), thread }),
        Ok(Err(error)) => Err(error),
        Err(_) => Err(StartError::Other { name: name.to_owned(), message: "its thread panicked at start".to_owned() }),
    }
}

fn build(name: &str, core: Option<usize>, options: &Options) -> Result<glommio::LocalExecutor, StartError> {
    let placement = core.map_or(Placement::Unbound, Placement::Fixed);
    let built = LocalExecutorBuilder::new(placement)
        .name(name)
        .spin_before_park(options.spin)
        .preempt_timer(options.preempt)
        .ring_depth(options.ring_depth)
        .io_memory(options.io_memory)
        .blocking_thread_pool_placement(PoolPlacement::Unbound(1))
        .make();
    built.map_err(|error| match (error, core) {
        (glommio::GlommioError::ReactorError(glommio::ReactorErrorKind::MemLockLimit(limit, _)), _) => {
            StartError::LockedMemory { name: name.to_owned(), limit }
        }
        // The same on its way through glommio's conversion to io::Error, which keeps the words only.
        (glommio::GlommioError::IoError(error), _) if error.to_string().starts_with("MemLockLimit") => {
            let limit = limits::locked_memory().map_or(0, |limit| limit.soft);
            StartError::LockedMemory { name: name.to_owned(), limit }
        }
        (error @ glommio::GlommioError::BuilderError(_), Some(core)) => {
            StartError::Core { name: name.to_owned(), core, message: error.to_string() }
        }
        (error, Some(core)) if is_einval(&error) => {
            StartError::Core { name: name.to_owned(), core, message: error.to_string() }
        }
        (error, _) => StartError::Other { name: name.to_owned(), message: error.to_string() },
    })
}

/// sched_setaffinity refuses a core outside the cpuset with EINVAL.
fn is_einval(error: &glommio::GlommioError<()>) -> bool {
    matches!(error, glommio::GlommioError::IoError(error) if error.raw_os_error() == Some(libc::EINVAL))
}

/// A detached task on this executor. It runs in a later step of this turn, never within this call, and is dropped when it
/// ends or when the executor's future ends.
///
/// # Panics
/// Outside an executor.
pub fn spawn_local(future: impl Future<Output = ()> + 'static) {
    let local = Local::current();
    let number = local.next_task.get();
    local.next_task.set(number + 1);
    let registry = Rc::downgrade(&local);
    let task = spawn_raw(async move {
        future.await;
        // Detached, not dropped: dropping would cancel the task that runs this.
        if let Some(task) = registry.upgrade().and_then(|local| local.tasks.borrow_mut().remove(&number)) {
            drop(task.detach());
        }
    });
    local.tasks.borrow_mut().insert(number, task);
}

/// How many tasks made with [`spawn_local`] are alive on this executor.
pub fn tasks_alive() -> usize {
    Local::current().tasks.borrow().len()
}

/// Waits. Precise to some tens of microseconds on an idle executor; rounds up under load.
pub async fn sleep(duration: Duration) {
    glommio::timer::sleep(duration).await;
}

/// Lets every other ready task run and the rings be looked at, then goes on. A few microseconds: the executor rings its own
/// bell, because only an answer from the ring makes glommio look at it.
pub async fn yield_now() {
    let local = Local::current();
    let turn = local.turn.get();
    poll_fn(|cx| {
        if local.turn.get() != turn {
            return Poll::Ready(());
        }
        add_waker(&mut local.yielding.borrow_mut(), cx.waker());
        local.bell.wake(YIELD_SLOT);
        Poll::Pending
    })
    .await;
}

/// The future's output, or `None` after `limit`.
pub async fn timeout<T>(limit: Duration, future: impl Future<Output = T>) -> Option<T> {
    async { Some(future.await) }
        .or(async {
            sleep(limit).await;
            None
        })
        .await
}

/// Schedules without running: [`glommio::spawn_local`] would run the task inside the caller, under its borrows.
fn spawn_raw(future: impl Future<Output = ()> + 'static) -> glommio::Task<()> {
    let queue = glommio::executor().current_task_queue();
    let future: Pin<Box<dyn Future<Output = ()>>> = Box::pin(future);
    glommio::spawn_local_into(future, queue).unwrap_or_else(|error| panic!("the current queue is gone: {error}"))
}

/// The slot on which everybody waits who waits for room in a full inbox.
const ROOM_SLOT: u32 = 0;
/// The slot on which everybody waits who gave way.
const YIELD_SLOT: u32 = 1;
const SLOTS_RESERVED: u64 = 1 << ROOM_SLOT | 1 << YIELD_SLOT;

thread_local! {
    /// `ManuallyDrop`: after a panic the reactor is gone when thread locals are dropped, and glommio's handles would abort.
    static LOCAL: RefCell<Option<ManuallyDrop<Rc<Local>>>> = const { RefCell::new(None) };
}

/// What belongs to the executor of this thread.
pub(crate) struct Local {
    bell: Arc<Bell>,
    slots: RefCell<Slots>,
    room: RefCell<Vec<Waker>>,
    yielding: RefCell<Vec<Waker>>,
    /// Counts the answers to [`YIELD_SLOT`].
    turn: Cell<u64>,
    tasks: RefCell<BTreeMap<u64, glommio::Task<()>>>,
    next_task: Cell<u64>,
}

/// Who waits on which slot of the bell.
struct Slots {
    taken: u64,
    wakers: [Option<Waker>; SLOTS_MAX as usize],
}

impl Local {
    fn install(bell: Arc<Bell>) -> Rc<Self> {
        let local = Rc::new(Self {
            bell,
            slots: RefCell::new(Slots { taken: SLOTS_RESERVED, wakers: [const { None }; SLOTS_MAX as usize] }),
            room: RefCell::default(),
            yielding: RefCell::default(),
            turn: Cell::new(0),
            tasks: RefCell::default(),
            next_task: Cell::new(0),
        });
        LOCAL.with_borrow_mut(|slot| *slot = Some(ManuallyDrop::new(Rc::clone(&local))));
        local
    }

    fn uninstall() {
        let local = LOCAL.with_borrow_mut(Option::take);
        drop(local.map(ManuallyDrop::into_inner));
    }

    /// This thread's.
    ///
    /// # Panics
    /// Outside an executor.
    pub(crate) fn current() -> Rc<Self> {
        Self::try_current().expect("not on a thread of rt::executor")
    }

    pub(crate) fn try_current() -> Option<Rc<Self>> {
        LOCAL.with_borrow(|local| local.as_deref().map(Rc::clone))
    }

    pub(crate) fn bell(&self) -> &Arc<Bell> {
        &self.bell
    }

    /// A slot of the bell for one inbox.
    ///
    /// # Panics
    /// If all are taken: an executor has a handful of inboxes.
    pub(crate) fn take_slot(&self) -> u32 {
        let mut slots = self.slots.borrow_mut();
        let slot = slots.taken.trailing_ones();
        assert!(slot < SLOTS_MAX, "more than {SLOTS_MAX} inboxes on one executor");
        slots.taken |= 1 << slot;
        slot
    }

    pub(crate) fn free_slot(&self, slot: u32) {
        let mut slots = self.slots.borrow_mut();
        slots.taken &= !(1 << slot);
        slots.wakers[slot as usize] = None;
    }

    /// `waker` is woken when the slot is rung.
    pub(crate) fn wait_on(&self, slot: u32, waker: &Waker) {
        let place = &mut self.slots.borrow_mut().wakers[slot as usize];
        if !place.as_ref().is_some_and(|known| known.will_wake(waker)) {
            *place = Some(waker.clone());
        }
    }

    /// Wakes who waits on the slot, from this executor itself.
    pub(crate) fn wake_slot(&self, slot: u32) {
        if let Some(waker) = &self.slots.borrow().wakers[slot as usize] {
            waker.wake_by_ref();
        }
    }

    /// `waker` is woken when some inbox that was full has room.
    pub(crate) fn wait_for_room(&self, waker: &Waker) {
        add_waker(&mut self.room.borrow_mut(), waker);
    }

    /// Wakes the tasks whose slots were rung.
    fn answer(&self) {
        let mut rung = self.bell.take();
        if rung & 1 << ROOM_SLOT != 0 {
            self.room.borrow_mut().drain(..).for_each(Waker::wake);
        }
        if rung & 1 << YIELD_SLOT != 0 {
            self.turn.set(self.turn.get() + 1);
            self.yielding.borrow_mut().drain(..).for_each(Waker::wake);
        }
        rung &= !SLOTS_RESERVED;
        let slots = self.slots.borrow();
        while rung != 0 {
            let slot = rung.trailing_zeros();
            rung &= rung - 1;
            if let Some(waker) = &slots.wakers[slot as usize] {
                waker.wake_by_ref();
            }
        }
    }
}

fn add_waker(wakers: &mut Vec<Waker>, waker: &Waker) {
    if !wakers.iter().any(|known| known.will_wake(waker)) {
        wakers.push(waker.clone());
    }
}

/// Rings the slot on which an executor waits for room.
pub(crate) fn ring_for_room(bell: &Bell) {
    bell.wake(ROOM_SLOT);
}

async fn answer_bell(local: Rc<Local>, mut ear: UnixStream) {
    // The bell is never dropped before this task, so the read has no other end than bytes.
    let mut heard = [0; 64];
    loop {
        local.answer();
        if !local.bell.arm() {
            continue;
        }
        match ear.read(&mut heard).await {
            Ok(0) | Err(_) => panic!("an executor's bell is broken"),
            Ok(_) => local.bell.disarm(),
        }
    }
}

async fn keep_ticking(period: Duration) {
    loop {
        glommio::timer::sleep(period).await;
    }
}

async fn drop_all_tasks() {
    // A task's destructor may spawn: until none is left.
    loop {
        let tasks = std::mem::take(&mut *Local::current().tasks.borrow_mut());
        if tasks.is_empty() {
            return;
        }
        for task in tasks.into_values() {
            task.cancel().await;
        }
    }
}

fn adopt(socket: Socket) -> UnixStream {
    // SAFETY: the descriptor is open and nobody else's; the stream is its only owner from here on.
    unsafe { UnixStream::from_raw_fd(socket.into_raw_fd()) }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;

    #[test]
    fn a_future_runs_on_a_named_thread_and_its_tasks_are_dropped_at_the_end() {
        struct Counted(Arc<AtomicUsize>);
        impl Drop for Counted {
            fn drop(&mut self) {
                self.0.fetch_add(1, Ordering::SeqCst);
            }
        }
        let dropped = Arc::new(AtomicUsize::new(0));
        let counted = Arc::clone(&dropped);
        let handle = spawn("named", None, Options::default(), move || async move {
            assert_eq!(thread::current().name(), Some("named"));
            for _ in 0..10 {
                let token = Counted(Arc::clone(&counted));
                spawn_local(async move {
                    sleep(Duration::from_secs(3600)).await;
                    drop(token);
                });
            }
            spawn_local(async {});
            yield_now().await;
            assert_eq!(tasks_alive(), 10, "a finished task is forgotten");
        })
        .expect("starts");
        handle.join().expect("ends well");
        assert_eq!(dropped.load(Ordering::SeqCst), 10);
    }

    #[test]
    fn a_core_that_does_not_exist_is_an_error() {
        let error = spawn("nowhere", Some(100_000), Options::default(), || async {}).expect_err("no such core");
        assert!(error.to_string().contains("core 100000"), "{error}");
    }

    #[test]
    fn a_panic_is_reported_by_join() {
        let handle = spawn("panics", None, Options::default(), || async {
            spawn_local(async { panic!("on purpose") });
            sleep(Duration::from_secs(3600)).await;
        })
        .expect("starts");
        assert_eq!(handle.join(), Err(Panicked { name: "panics".to_owned() }));
    }

    #[test]
    fn yielding_lets_the_rings_be_looked_at() {
        let handle = spawn("yields", None, Options::default(), || async {
            let done = Rc::new(Cell::new(false));
            let seen = Rc::clone(&done);
            spawn_local(async move {
                sleep(Duration::from_millis(1)).await;
                seen.set(true);
            });
            while !done.get() {
                yield_now().await;
            }
        })
        .expect("starts");
        handle.join().expect("ends well");
    }

    #[test]
    fn a_timeout_ends_a_wait() {
        spawn("late", None, Options::default(), || async {
            assert_eq!(timeout(Duration::from_millis(2), std::future::pending::<()>()).await, None);
            assert_eq!(timeout(Duration::from_secs(3600), async { 7 }).await, Some(7));
        })
        .expect("starts")
        .join()
        .expect("ends well");
    }
}
