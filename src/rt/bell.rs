//! A doorbell: how one thread tells another, which may be asleep in its ring, that there is something to look at.
//!
//! A bell has [`SLOTS_MAX`] slots, one for each thing that its owner may wait for, kept as bits of one word. To wake a slot
//! is to set its bit and, only if the owner said that it is about to sleep (`armed`), to write to a file descriptor that the
//! owner's ring watches. The owner arms, looks at the bits once more, and only then sleeps:
//!
//! ```text
//!   owner                         anyone
//!   armed = true                  bits |= slot
//!   bits != 0 ? do not sleep      armed ? { armed = false; write to the descriptor }
//!   sleep until the descriptor
//! ```
//!
//! Both sides write first and read second, all sequentially consistent, so at least one of them sees the other: no wake-up
//! is lost, and a burst costs one system call. A ring too many is harmless: the owner wakes, finds nothing, sleeps again.

use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use socket2::{Domain, Socket, Type};

/// Slots of one bell.
pub(crate) const SLOTS_MAX: u32 = u64::BITS;

/// The end that is rung, shared by everybody who may ring it.
pub(crate) struct Bell {
    bits: AtomicU64,
    armed: AtomicBool,
    button: Button,
}

/// What is written to when the owner sleeps.
enum Button {
    /// One end of a socket pair: glommio reads the other as it reads any socket.
    Socket(Socket),
    /// An eventfd, polled by a ring of ours.
    Event(OwnedFd),
}

impl Bell {
    /// A bell for an executor, and the end of the pair on which the executor hears it.
    pub(crate) fn for_executor() -> io::Result<(Arc<Self>, Socket)> {
        let (button, ear) = Socket::pair(Domain::UNIX, Type::STREAM, None)?;
        button.set_nonblocking(true)?;
        Ok((Arc::new(Self::new(Button::Socket(button))), ear))
    }

    /// A bell for a thread with its own ring.
    pub(crate) fn for_ring() -> io::Result<Arc<Self>> {
        // SAFETY: eventfd takes no pointer; a descriptor that is not negative is new and ours alone.
        let button = unsafe {
            let fd = libc::eventfd(0, libc::EFD_CLOEXEC | libc::EFD_NONBLOCK);
            if fd < 0 {
                return Err(io::Error::last_os_error());
            }
            OwnedFd::from_raw_fd(fd)
        };
        Ok(Arc::new(Self::new(Button::Event(button))))
    }

    fn new(button: Button) -> Self {
        Self { bits: AtomicU64::new(0), armed: AtomicBool::new(false), button }
    }

    /// Tells the owner to look at `slot`.
    pub(crate) fn wake(&self, slot: u32) {
        assert!(slot < SLOTS_MAX, "slot {slot} of a bell");
        self.bits.fetch_or(1 << slot, Ordering::SeqCst);
        if self.armed.load(Ordering::SeqCst) && self.armed.swap(false, Ordering::SeqCst) {
            self.press();
        }
    }

    /// Owner: about to sleep. False if there is something to look at, and then it must not.
    pub(crate) fn arm(&self) -> bool {
        self.armed.store(true, Ordering::SeqCst);
        if self.bits.load(Ordering::SeqCst) == 0 {
            return true;
        }
        self.disarm();
        false
    }

    /// Owner: awake again.
    pub(crate) fn disarm(&self) {
        self.armed.store(false, Ordering::SeqCst);
    }

    /// Owner: the slots to look at, cleared.
    pub(crate) fn take(&self) -> u64 {
        if self.bits.load(Ordering::SeqCst) == 0 { 0 } else { self.bits.swap(0, Ordering::SeqCst) }
    }

    /// Owner: the descriptor that becomes readable (an eventfd's; a pair is read at its other end).
    pub(crate) fn event_fd(&self) -> i32 {
        match &self.button {
            Button::Event(fd) => fd.as_raw_fd(),
            Button::Socket(_) => panic!("an executor's bell has no eventfd"),
        }
    }

    /// Owner: makes the eventfd silent again.
    pub(crate) fn silence(&self) {
        let mut count = [0_u8; 8];
        // SAFETY: `count` is 8 writable bytes, which is what a read of an eventfd asks for. A failure (EAGAIN: it was silent
        // already) changes nothing.
        unsafe { libc::read(self.event_fd(), count.as_mut_ptr().cast(), count.len()) };
    }

    /// Writes to the button. Every failure means that the owner needs no waking: the buffer is full, so it is readable
    /// already, or the owner is gone.
    fn press(&self) {
        match &self.button {
            Button::Socket(socket) => {
                let _ = socket.send_with_flags(&[1], libc::MSG_NOSIGNAL | libc::MSG_DONTWAIT);
            }
            Button::Event(fd) => {
                // An eventfd counts in the machine's own byte order.
                let one: [u8; 8] = bytemuck::cast(1_u64);
                // SAFETY: `one` is 8 readable bytes, which is what a write to an eventfd asks for.
                unsafe { libc::write(fd.as_raw_fd(), one.as_ptr().cast(), one.len()) };
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wake_before_arming_forbids_sleep_and_one_after_rings() {
        let (bell, ear) = Bell::for_executor().expect("a socket pair");
        ear.set_nonblocking(true).expect("non-blocking");
        bell.wake(3);
        assert!(!bell.arm(), "something is waiting");
        assert_eq!(bell.take(), 1 << 3);
        let mut bytes = [std::mem::MaybeUninit::uninit(); 8];
        assert!(ear.recv(&mut bytes).is_err(), "an owner that is awake is not rung");

        assert!(bell.arm());
        bell.wake(0);
        bell.wake(63);
        assert_eq!(ear.recv(&mut bytes).expect("rung"), 1, "rung once for two wakes");
        assert_eq!(bell.take(), 1 | 1 << 63);
        assert_eq!(bell.take(), 0);
    }

    #[test]
    fn an_eventfd_bell_falls_silent() {
        let bell = Bell::for_ring().expect("an eventfd");
        assert!(bell.arm());
        bell.wake(0);
        let mut poll = libc::pollfd { fd: bell.event_fd(), events: libc::POLLIN, revents: 0 };
        // SAFETY: one valid pollfd.
        assert_eq!(unsafe { libc::poll(&raw mut poll, 1, 0) }, 1);
        bell.silence();
        // SAFETY: one valid pollfd.
        assert_eq!(unsafe { libc::poll(&raw mut poll, 1, 0) }, 0);
    }
}
