//! epoll for one thread that holds many plain sockets, with waits counted in nanoseconds: what the load generator stands on.
//!
//! Edge-triggered: a socket is told of when something new has come, so whoever is told reads until less comes than was asked
//! for, and writes until the socket takes no more. Waits use `epoll_pwait2` (Linux 5.11), because a wait in milliseconds is too
//! coarse for requests that are due every few microseconds.

use std::io;
use std::net::{SocketAddr, TcpStream};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::time::Duration;

use socket2::{Domain, Protocol, Socket, Type};

/// Events taken with one call; what does not fit comes with the next.
const EVENTS_MAX: usize = 1024;

/// Sockets under watch. A socket leaves when it is closed.
#[derive(Debug)]
pub struct Poller {
    epoll: OwnedFd,
    events: Vec<libc::epoll_event>,
}

/// What is new with one socket.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Ready {
    /// The number under which it was added.
    pub token: usize,
    /// Bytes have come, or the end, or an error.
    pub readable: bool,
    /// It takes bytes again, or its connection was made, or it failed.
    pub writable: bool,
    /// The other side has ended the connection, or it broke: there may be bytes before that.
    pub ended: bool,
}

impl Poller {
    /// With no sockets.
    pub fn new() -> io::Result<Self> {
        // SAFETY: takes no pointers.
        let fd = unsafe { libc::epoll_create1(libc::EPOLL_CLOEXEC) };
        if fd < 0 {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: the descriptor was made just now, and nobody else has it.
        Ok(Self { epoll: unsafe { OwnedFd::from_raw_fd(fd) }, events: Vec::with_capacity(EVENTS_MAX) })
    }

    /// Watches a socket until it is closed.
    pub fn add(&self, socket: &impl AsRawFd, token: usize) -> io::Result<()> {
        let interest = libc::EPOLLIN | libc::EPOLLOUT | libc::EPOLLRDHUP | libc::EPOLLET;
        let mut event = libc::epoll_event { events: interest.cast_unsigned(), u64: token as u64 };
        // SAFETY: both descriptors are open while they are borrowed, and the event is only read.
        let result =
            unsafe { libc::epoll_ctl(self.epoll.as_raw_fd(), libc::EPOLL_CTL_ADD, socket.as_raw_fd(), &raw mut event) };
        if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
    }

    /// Waits until something is new, at most this long; how many sockets have news, to be asked for with [`Poller::ready`].
    pub fn wait(&mut self, at_most: Duration) -> io::Result<usize> {
        let timeout = libc::timespec {
            tv_sec: libc::time_t::try_from(at_most.as_secs()).unwrap_or(libc::time_t::MAX),
            tv_nsec: at_most.subsec_nanos().into(),
        };
        self.events.clear();
        // SAFETY: the vector has room for EVENTS_MAX events, the kernel writes at most so many; the timespec is only read; no
        // signal mask is given.
        let count = unsafe {
            libc::syscall(
                libc::SYS_epoll_pwait2,
                self.epoll.as_raw_fd(),
                self.events.as_mut_ptr(),
                EVENTS_MAX as libc::c_int,
                &raw const timeout,
                std::ptr::null::<libc::sigset_t>(),
                0_usize,
            )
        };
        let Ok(count) = usize::try_from(count) else {
            let error = io::Error::last_os_error();
            return if error.kind() == io::ErrorKind::Interrupted { Ok(0) } else { Err(error) };
        };
        // SAFETY: the kernel has filled in `count` events, at most EVENTS_MAX.
        unsafe { self.events.set_len(count) };
        Ok(count)
    }

    /// One of what the last wait found.
    ///
    /// # Panics
    /// If it found fewer.
    pub fn ready(&self, at: usize) -> Ready {
        let event = self.events[at];
        let any = |bits: libc::c_int| event.events & bits.cast_unsigned() != 0;
        let broken = libc::EPOLLERR | libc::EPOLLHUP;
        Ready {
            token: event.u64 as usize,
            readable: any(libc::EPOLLIN | libc::EPOLLRDHUP | broken),
            writable: any(libc::EPOLLOUT | broken),
            ended: any(libc::EPOLLRDHUP | broken),
        }
    }
}

/// Lets this thread's waits end when they should, not up to 50 µs later, which is the kernel's default slack.
pub fn wake_sharply() {
    // SAFETY: takes numbers only. Should it fail, waits are less sharp and nothing else.
    unsafe { libc::prctl(libc::PR_SET_TIMERSLACK, 1_u64, 0, 0, 0) };
}

/// Starts to connect and does not wait: the socket becomes writable when it is connected or has failed (`take_error` tells).
///
/// It closes abruptly: a generator that opens many thousand connections a minute would otherwise leave each port waiting.
pub fn connect(address: SocketAddr) -> io::Result<TcpStream> {
    let kind = Type::STREAM.nonblocking().cloexec();
    let socket = Socket::new(Domain::for_address(address), kind, Some(Protocol::TCP))?;
    socket.set_nodelay(true)?;
    socket.set_linger(Some(Duration::ZERO))?;
    match socket.connect(&address.into()) {
        Ok(()) => {}
        Err(error) if error.raw_os_error() == Some(libc::EINPROGRESS) => {}
        Err(error) => return Err(error),
    }
    Ok(socket.into())
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};
    use std::net::TcpListener;

    use super::*;

    const PATIENCE: Duration = Duration::from_secs(10);

    #[test]
    fn a_connection_from_start_to_end() {
        let listener = TcpListener::bind("127.0.0.1:0").expect("listens");
        let mut poller = Poller::new().expect("an epoll");
        let mut stream = connect(listener.local_addr().expect("known")).expect("begun");
        poller.add(&stream, 7).expect("watched");
        let (mut other, _) = listener.accept().expect("accepted");
        assert_eq!(poller.wait(PATIENCE).expect("waits"), 1);
        assert_eq!(poller.ready(0), Ready { token: 7, readable: false, writable: true, ended: false });
        assert!(stream.take_error().expect("asked").is_none());

        assert_eq!(poller.wait(Duration::from_nanos(1)).expect("waits"), 0, "told of once");
        other.write_all(b"hello").expect("written");
        assert_eq!(poller.wait(PATIENCE).expect("waits"), 1);
        assert!(poller.ready(0).readable && !poller.ready(0).ended);
        let mut bytes = [0; 10];
        assert_eq!(stream.read(&mut bytes).expect("read"), 5);

        drop(other);
        assert_eq!(poller.wait(PATIENCE).expect("waits"), 1);
        assert!(poller.ready(0).ended);
        assert_eq!(stream.read(&mut bytes).expect("read"), 0);
        drop(stream);
        assert_eq!(poller.wait(Duration::ZERO).expect("waits"), 0, "gone when closed");
    }

    #[test]
    fn nobody_listens() {
        // A port that was free a moment ago.
        let address = TcpListener::bind("127.0.0.1:0").expect("listens").local_addr().expect("known");
        let refused = match connect(address) {
            Err(error) => error,
            Ok(stream) => {
                let mut poller = Poller::new().expect("an epoll");
                poller.add(&stream, 0).expect("watched");
                assert_eq!(poller.wait(PATIENCE).expect("waits"), 1);
                stream.take_error().expect("asked").expect("it failed")
            }
        };
        assert_eq!(refused.kind(), io::ErrorKind::ConnectionRefused);
    }
}
