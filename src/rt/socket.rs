//! A TCP connection within one executor. While it is idle it owns a pending poll in the ring and no buffer.
//!
//! Reading waits for the poll, then receives into a scratch buffer that all connections of the executor share, so a read
//! takes as many requests as have arrived. Writing tries the system call first and arms a poll only if the kernel's buffer is
//! full. Reading and writing are independent: a task that waits for requests does not keep another from answering.
//!
//! glommio's own stream does the polling: it calls recv(2) first, and after a partial read arms the next poll at once, so a
//! read costs one system call and one entry in a submission that is made anyway.

use std::cell::{Cell, RefCell};
use std::collections::BTreeSet;
use std::future::poll_fn;
use std::io;
use std::net::{Shutdown, SocketAddr};
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, IntoRawFd, RawFd};
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use futures_lite::{AsyncRead, AsyncWrite};
use glommio::net::TcpStream;
use socket2::{SockRef, TcpKeepalive};

use crate::rt::listener::Accepted;

/// The most that one read takes from the kernel.
pub const READ_MAX: usize = 256 * 1024;

thread_local! {
    /// Where the executor's connections receive. Borrowed only within one poll.
    static SCRATCH: RefCell<Box<[u8]>> = RefCell::new(vec![0; READ_MAX].into_boxed_slice());

    /// The sockets of this thread's executor, for [`shut_all`].
    static OPEN: RefCell<BTreeSet<RawFd>> = const { RefCell::new(BTreeSet::new()) };
}

/// A socket of this thread's is open.
pub(super) fn opened(fd: RawFd) {
    OPEN.with_borrow_mut(|open| open.insert(fd));
}

/// It is about to be closed. Destructors may run when the thread's own are done.
pub(super) fn closing(fd: RawFd) {
    let _ = OPEN.try_with(|open| open.borrow_mut().remove(&fd));
}

/// Shuts down every socket of this thread's: after a panic, when the tasks that own them are lost and will never drop them.
pub(super) fn shut_all() {
    for fd in OPEN.take() {
        // SAFETY: its owner says so before it closes the descriptor, so this one is open.
        unsafe { libc::shutdown(fd, libc::SHUT_RDWR) };
    }
}

/// A connection. Shared within its executor by `Rc`: at most one task reads and one writes at a time.
///
/// Dropping it shuts the connection down first: a poll that is still in the ring keeps the file alive, and with it the
/// connection, until the ring has let go of it.
#[derive(Debug)]
pub struct Stream {
    stream: RefCell<TcpStream>,
    peer: SocketAddr,
    reading: Cell<bool>,
    writing: Cell<bool>,
}

impl Stream {
    /// Takes over a connection on this executor; small answers are sent at once (TCP_NODELAY).
    ///
    /// # Panics
    /// Outside an executor.
    pub fn adopt(accepted: Accepted) -> Self {
        // A connection that was reset already refuses the option: the first read will say so.
        let _ = SockRef::from(&accepted.fd).set_nodelay(true);
        opened(accepted.fd.as_raw_fd());
        // SAFETY: the descriptor is open and nobody else's; the stream is its only owner from here on.
        let stream = unsafe { TcpStream::from_raw_fd(accepted.fd.into_raw_fd()) };
        Self { stream: RefCell::new(stream), peer: accepted.peer, reading: Cell::new(false), writing: Cell::new(false) }
    }

    /// Connects to `peer`, for at most `limit`.
    pub async fn connect(peer: SocketAddr, limit: Duration) -> io::Result<Self> {
        let stream = TcpStream::connect_timeout(peer, limit).await.map_err(io::Error::from)?;
        // Where nobody listens, Linux may choose the very port that is dialled as ours, and connect us with ourselves; the
        // server that is to listen there could not start.
        // SAFETY: the stream owns the descriptor and lives as long as the borrow.
        let own = SockRef::from(&unsafe { BorrowedFd::borrow_raw(stream.as_raw_fd()) }).local_addr()?;
        if own.as_socket() == Some(peer) {
            return Err(io::ErrorKind::ConnectionRefused.into());
        }
        // As for an accepted one.
        let _ = stream.set_nodelay(true);
        opened(stream.as_raw_fd());
        Ok(Self { stream: RefCell::new(stream), peer, reading: Cell::new(false), writing: Cell::new(false) })
    }

    /// Has the kernel find out when the other end is gone without a word: after `limit` with nothing acknowledged, whether
    /// something was sent or, with probes every quarter of it, not. A process that is stopped still acknowledges.
    pub fn watch_peer(&self, limit: Duration) {
        let probe = (limit / 4).max(Duration::from_secs(1));
        let fd = self.fd();
        let socket = SockRef::from(&fd);
        // A connection that was reset already refuses them: the first read will say so.
        let _ = socket.set_tcp_keepalive(&TcpKeepalive::new().with_time(probe).with_interval(probe).with_retries(3));
        let _ = socket.set_tcp_user_timeout(Some(limit));
    }

    /// The other end.
    pub fn peer(&self) -> SocketAddr {
        self.peer
    }

    /// Whether a task waits for bytes.
    pub fn is_being_read(&self) -> bool {
        self.reading.get()
    }

    /// Waits for bytes and appends what has arrived, at most [`READ_MAX`], to `out`; how many, 0 at the end.
    ///
    /// Safe to cancel.
    ///
    /// # Panics
    /// If another task reads.
    pub async fn read(&self, out: &mut Vec<u8>) -> io::Result<usize> {
        let _one = Exclusive::claim(&self.reading, "two tasks read from one connection");
        poll_fn(|cx| {
            SCRATCH.with_borrow_mut(|scratch| {
                let read = self.poll_read(cx, scratch);
                if let Poll::Ready(Ok(len)) = read {
                    out.extend_from_slice(&scratch[..len]);
                }
                read
            })
        })
        .await
    }

    /// Like [`Stream::read`], into a buffer of the caller's.
    pub async fn read_into(&self, buffer: &mut [u8]) -> io::Result<usize> {
        let _one = Exclusive::claim(&self.reading, "two tasks read from one connection");
        poll_fn(|cx| self.poll_read(cx, buffer)).await
    }

    /// Writes what the kernel takes now; `WouldBlock` if that is nothing.
    pub fn try_write(&self, bytes: &[u8]) -> io::Result<usize> {
        SockRef::from(&self.fd()).send_with_flags(bytes, libc::MSG_DONTWAIT | libc::MSG_NOSIGNAL)
    }

    /// Writes what the kernel takes, waiting until that is something.
    ///
    /// # Panics
    /// If another task writes, or with nothing to write.
    pub async fn write(&self, bytes: &[u8]) -> io::Result<usize> {
        assert!(!bytes.is_empty(), "a write of nothing");
        let _one = Exclusive::claim(&self.writing, "two tasks write to one connection");
        poll_fn(|cx| Pin::new(&mut *self.stream.borrow_mut()).poll_write(cx, bytes)).await
    }

    /// Writes it all, waiting as often as need be.
    pub async fn write_all(&self, mut bytes: &[u8]) -> io::Result<()> {
        while !bytes.is_empty() {
            let written = self.write(bytes).await?;
            bytes = &bytes[written..];
        }
        Ok(())
    }

    /// Ends both directions: a task that waits on this connection wakes, and the other end sees the end after what was
    /// written so far.
    pub fn shutdown(&self) {
        // The other end may be gone already.
        let _ = SockRef::from(&self.fd()).shutdown(Shutdown::Both);
    }

    /// Ends our direction only: the other end sees the end after what was written, and may still send.
    pub fn shutdown_write(&self) {
        let _ = SockRef::from(&self.fd()).shutdown(Shutdown::Write);
    }

    /// Ends the other direction only: a task that waits for bytes of this connection wakes to its end.
    pub fn shutdown_read(&self) {
        let _ = SockRef::from(&self.fd()).shutdown(Shutdown::Read);
    }

    fn poll_read(&self, cx: &mut Context<'_>, buffer: &mut [u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut *self.stream.borrow_mut()).poll_read(cx, buffer)
    }

    fn fd(&self) -> BorrowedFd<'_> {
        let fd = self.stream.borrow().as_raw_fd();
        // SAFETY: the stream owns the descriptor and lives as long as `self`, which is borrowed for as long as the result.
        unsafe { BorrowedFd::borrow_raw(fd) }
    }
}

impl Drop for Stream {
    fn drop(&mut self) {
        self.shutdown();
        closing(self.stream.get_mut().as_raw_fd());
    }
}

/// Claims one direction for one task, until dropped.
struct Exclusive<'a>(&'a Cell<bool>);

impl<'a> Exclusive<'a> {
    fn claim(taken: &'a Cell<bool>, complaint: &str) -> Self {
        assert!(!taken.replace(true), "{complaint}");
        Self(taken)
    }
}

impl Drop for Exclusive<'_> {
    fn drop(&mut self) {
        self.0.set(false);
    }
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};
    use std::rc::Rc;

    use super::*;
    use crate::rt::executor::{Options, spawn, spawn_local, yield_now};
    use crate::rt::listener::Listener;

    fn listen() -> Listener {
        Listener::bind("127.0.0.1:0".parse().expect("an address"), 16).expect("a free port")
    }

    #[test]
    fn an_echo_of_more_than_the_buffers_hold() {
        const LEN: usize = 8 << 20;
        let listener = listen();
        let addr = listener.local_addr();
        let server = spawn("echo", None, Options::default(), move || async move {
            let stream = Rc::new(Stream::adopt(listener.accept().await.expect("a connection")));
            assert!(stream.peer().ip().is_loopback());
            let mut bytes = Vec::new();
            while bytes.len() < LEN {
                assert_ne!(stream.read(&mut bytes).await.expect("bytes"), 0);
            }
            stream.write_all(&bytes).await.expect("written");
        })
        .expect("starts");
        let mut client = std::net::TcpStream::connect(addr).expect("connects");
        let sent: Vec<u8> = (0..LEN).map(|at| (at % 251) as u8).collect();
        client.write_all(&sent).expect("written");
        let mut echoed = Vec::new();
        client.read_to_end(&mut echoed).expect("the echo, then the end");
        assert!(echoed == sent);
        server.join().expect("ends well");
    }

    #[test]
    fn a_waiting_reader_hinders_no_writer_and_shutdown_wakes_it() {
        let listener = listen();
        let addr = listener.local_addr();
        let server = spawn("halves", None, Options::default(), move || async move {
            let stream = Rc::new(Stream::adopt(listener.accept().await.expect("a connection")));
            let ended = Rc::new(Cell::new(false));
            let (reader, seen) = (Rc::clone(&stream), Rc::clone(&ended));
            spawn_local(async move {
                assert_eq!(reader.read(&mut Vec::new()).await.expect("the end"), 0);
                seen.set(true);
            });
            yield_now().await;
            assert_eq!(stream.try_write(b"hello").expect("room"), 5);
            stream.write_all(b" there").await.expect("room");
            stream.shutdown();
            while !ended.get() {
                yield_now().await;
            }
        })
        .expect("starts");
        let mut client = std::net::TcpStream::connect(addr).expect("connects");
        let mut heard = String::new();
        client.read_to_string(&mut heard).expect("all of it");
        assert_eq!(heard, "hello there");
        server.join().expect("ends well");
    }

    #[test]
    fn streams_connect_to_each_other_and_not_to_a_closed_port() {
        let limit = Duration::from_secs(20);
        let server = spawn("pair", None, Options::default(), move || async move {
            let listener = listen();
            let addr = listener.local_addr();
            let client = Stream::connect(addr, limit).await.expect("connects");
            let server = Stream::adopt(listener.accept().await.expect("a connection"));
            client.write_all(b"hello").await.expect("written");
            let mut heard = Vec::new();
            server.read(&mut heard).await.expect("heard");
            assert_eq!(heard, b"hello");
            drop((server, listener));
            assert_eq!(client.read(&mut heard).await.expect("the end"), 0);
            let refused = Stream::connect(addr, limit).await.expect_err("nobody listens");
            assert_eq!(refused.kind(), io::ErrorKind::ConnectionRefused);
        })
        .expect("starts");
        server.join().expect("ends well");
    }

    #[test]
    fn a_full_kernel_buffer_would_block() {
        let listener = listen();
        let addr = listener.local_addr();
        let client = std::net::TcpStream::connect(addr).expect("connects");
        let server = spawn("full", None, Options::default(), move || async move {
            let stream = Stream::adopt(listener.accept().await.expect("a connection"));
            let block = vec![0; 1 << 20];
            let refused = loop {
                if let Err(error) = stream.try_write(&block) {
                    break error;
                }
            };
            assert_eq!(refused.kind(), io::ErrorKind::WouldBlock);
        })
        .expect("starts");
        server.join().expect("ends well");
        drop(client);
    }
}
