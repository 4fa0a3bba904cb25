//! Where the host is: a virtio-serial port in a VM, or (for tests on a host) a listening Unix socket.

use crate::failure::EAGAIN;
use crate::outbox::PORT_EVENTS;
use crate::sys;
use std::io;
use std::os::unix::io::{AsRawFd, OwnedFd, RawFd};
use std::os::unix::net::UnixListener;

pub enum Transport {
    Virtio {
        port: OwnedFd,
        /// The host's side is closed, as far as we know. A port that nobody has opened yet counts as new, not as left.
        gone: bool,
    },
    /// One connection at a time, as QEMU's socket has it; others wait in the backlog.
    Socket { listener: UnixListener, connection: Option<OwnedFd> },
}

pub enum Received {
    Bytes(usize),
    Nothing,
    /// The host's side seems closed; see `has_hung_up` in a while.
    Doubt,
    /// The host's side has closed.
    Gone,
    /// A host has come; its port is `port()`.
    Connected,
}

impl Transport {
    pub fn register(&self, epoll: RawFd) -> io::Result<()> {
        use crate::agent::{token, Source};
        match self {
            Transport::Virtio { port, .. } => {
                sys::epoll_add(epoll, port.as_raw_fd(), PORT_EVENTS, token(Source::Port, 0))
            }
            Transport::Socket { listener, .. } => {
                listener.set_nonblocking(true)?;
                let events = sys::EPOLLIN | sys::EPOLLET;
                sys::epoll_add(epoll, listener.as_raw_fd(), events, token(Source::Listener, 0))
            }
        }
    }

    /// -1 while there is none.
    pub fn port(&self) -> RawFd {
        match self {
            Transport::Virtio { port, .. } => port.as_raw_fd(),
            Transport::Socket { connection, .. } => connection.as_ref().map_or(-1, |fd| fd.as_raw_fd()),
        }
    }

    /// Whether the host's side is closed now, when that is news. A socket tells by reading instead.
    pub fn has_hung_up(&mut self) -> bool {
        match self {
            Transport::Virtio { port, gone } => {
                let is_closed = sys::is_hung_up(port.as_raw_fd());
                is_closed && !std::mem::replace(gone, true)
            }
            Transport::Socket { .. } => false,
        }
    }

    pub fn receive(&mut self, buffer: &mut [u8]) -> Received {
        match self {
            Transport::Virtio { port, gone } => match sys::read(port.as_raw_fd(), buffer) {
                Ok(0) if *gone => Received::Nothing,
                Ok(0) => Received::Doubt,
                Ok(count) => {
                    *gone = false;
                    Received::Bytes(count)
                }
                Err(_) => Received::Nothing,
            },
            Transport::Socket { listener, connection: connection @ None } => match listener.accept() {
                Ok((stream, _)) => {
                    let fd = OwnedFd::from(stream);
                    if sys::set_nonblocking(&fd).is_err() {
                        return Received::Nothing;
                    }
                    *connection = Some(fd);
                    Received::Connected
                }
                Err(_) => Received::Nothing,
            },
            Transport::Socket { connection, .. } => {
                let fd = connection.as_ref().map_or(-1, |fd| fd.as_raw_fd());
                match sys::read(fd, buffer) {
                    Ok(count) if count > 0 => Received::Bytes(count),
                    Err(error) if sys::errno_of(&error) == EAGAIN => Received::Nothing,
                    _ => {
                        *connection = None;
                        Received::Gone
                    }
                }
            }
        }
    }
}
