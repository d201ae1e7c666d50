//! A TCP listener whose accepted connections are plain descriptors, so that one executor accepts and others serve.
//!
//! Not glommio's: that one sets SO_REUSEPORT, under which a second server on the same port starts without complaint, and can
//! lose a connection when a wait is dropped.

use std::future::poll_fn;
use std::io;
use std::net::{Shutdown, SocketAddr};
use std::os::fd::{AsFd, AsRawFd, FromRawFd, IntoRawFd, OwnedFd};
use std::pin::Pin;

use futures_lite::AsyncRead;
use glommio::net::TcpStream;
use socket2::{Domain, Protocol, Socket, Type};
use thiserror::Error;

use crate::rt::socket;

/// Why a port could not be opened.
#[derive(Debug, Error)]
pub enum BindError {
    /// Somebody listens there.
    #[error("{addr}: address already in use; another server, or a second copy of this one, listens there")]
    InUse {
        /// The address asked for.
        addr: SocketAddr,
    },
    /// Ports below 1024 and the like.
    #[error("{addr}: this user may not listen there")]
    Forbidden {
        /// The address asked for.
        addr: SocketAddr,
    },
    /// The address is not one of this machine's.
    #[error("{addr}: no such address on this machine")]
    NoSuchAddress {
        /// The address asked for.
        addr: SocketAddr,
    },
    /// It has no address at present.
    #[error("{name}: cannot listen: {source}")]
    Name {
        /// The name and port asked for.
        name: String,
        /// The system's words.
        source: io::Error,
    },
    /// Anything else.
    #[error("{addr}: cannot listen: {source}")]
    Other {
        /// The address asked for.
        addr: SocketAddr,
        /// The system's words.
        source: io::Error,
    },
}

/// A connection that no executor has yet. Closed when dropped.
#[derive(Debug)]
pub struct Accepted {
    pub(crate) fd: OwnedFd,
    /// The other end; an IPv4 address that came in over an IPv6 socket is shown as IPv4.
    pub peer: SocketAddr,
}

/// An open port.
#[derive(Debug)]
pub struct Listener {
    socket: Socket,
    addr: SocketAddr,
}

impl Listener {
    /// Opens `addr` (port 0: a free one) with a queue of `backlog` connections that wait to be accepted. Needs no executor.
    ///
    /// The unspecified IPv6 address takes IPv4 as well, as Java's does.
    pub fn bind(addr: SocketAddr, backlog: u32) -> Result<Self, BindError> {
        Self::try_bind(addr, backlog).map_err(|source| match source.kind() {
            io::ErrorKind::AddrInUse => BindError::InUse { addr },
            io::ErrorKind::PermissionDenied => BindError::Forbidden { addr },
            io::ErrorKind::AddrNotAvailable => BindError::NoSuchAddress { addr },
            _ => BindError::Other { addr, source },
        })
    }

    fn try_bind(addr: SocketAddr, backlog: u32) -> io::Result<Self> {
        let socket = Socket::new(Domain::for_address(addr), Type::STREAM.nonblocking().cloexec(), Some(Protocol::TCP))?;
        // REUSEADDR: a restart need not wait for old connections to leave TIME_WAIT. Two listeners still exclude each other.
        socket.set_reuse_address(true)?;
        if addr.is_ipv6() {
            socket.set_only_v6(!addr.ip().is_unspecified())?;
        }
        socket.bind(&addr.into())?;
        socket.listen(i32::try_from(backlog).unwrap_or(i32::MAX))?;
        let addr = socket.local_addr()?.as_socket().unwrap_or(addr);
        Ok(Self { socket, addr })
    }

    /// Where it listens, with the port that was chosen.
    pub fn local_addr(&self) -> SocketAddr {
        self.addr
    }

    /// The next connection. Waiting may be dropped: nothing is lost.
    ///
    /// Errors are those of the machine (no more descriptors): wait a little and try again. Connections that went away before
    /// they were accepted are passed over.
    pub async fn accept(&self) -> io::Result<Accepted> {
        socket::opened(self.socket.as_raw_fd());
        loop {
            match self.try_accept() {
                Ok(accepted) => return Ok(accepted),
                Err(error) => match error.raw_os_error() {
                    Some(libc::EAGAIN) => readable(self.socket.as_fd().try_clone_to_owned()?).await,
                    // accept(2): errors of the new connection, to be treated like EAGAIN.
                    Some(
                        libc::ECONNABORTED
                        | libc::EINTR
                        | libc::EPROTO
                        | libc::ENETDOWN
                        | libc::ENOPROTOOPT
                        | libc::EHOSTDOWN
                        | libc::ENONET
                        | libc::EHOSTUNREACH
                        | libc::ENETUNREACH,
                    ) => {}
                    _ => return Err(error),
                },
            }
        }
    }

    /// A connection that waits already, or `WouldBlock`.
    pub fn try_accept(&self) -> io::Result<Accepted> {
        // Closed on exec from birth. Left blocking: every read and write of ours says MSG_DONTWAIT.
        let (socket, peer) = self.socket.accept()?;
        let peer = peer.as_socket().ok_or_else(|| io::Error::other("a peer without an address"))?;
        let peer = SocketAddr::new(peer.ip().to_canonical(), peer.port());
        Ok(Accepted { fd: socket.into(), peer })
    }
}

/// The port is free at once: a poll that is still in the ring keeps the file alive, and with it the port, until the ring has let
/// go of it.
impl Drop for Listener {
    fn drop(&mut self) {
        // Connections that wait are reset, as they would be.
        let _ = self.socket.shutdown(Shutdown::Both);
        socket::closing(self.socket.as_raw_fd());
    }
}

/// Waits until `fd`, which is no connected socket, can be read (for a listener: accepted from).
///
/// glommio has no such call in public, but its stream arms a poll the moment that it adopts a descriptor, and tries to
/// receive only when that is done; on a listener that fails, which tells as much. `fd` is closed with the stream.
async fn readable(fd: OwnedFd) {
    // SAFETY: the descriptor is open and nobody else's; the stream is its only owner from here on.
    let mut stream = unsafe { TcpStream::from_raw_fd(fd.into_raw_fd()) };
    let mut none = [0; 1];
    let _ = poll_fn(|cx| Pin::new(&mut stream).poll_read(cx, &mut none)).await;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_port_is_opened_once() {
        let first = Listener::bind("127.0.0.1:0".parse().expect("an address"), 16).expect("a free port");
        let second = Listener::bind(first.local_addr(), 16).expect_err("taken");
        assert!(matches!(second, BindError::InUse { .. }), "{second}");
        assert!(second.to_string().contains("address already in use"), "{second}");
        let taken = first.local_addr();
        drop(first);
        Listener::bind(taken, 16).expect("free again");
    }
}
