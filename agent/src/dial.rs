//! Connections to `127.0.0.1` in the guest, in the loop: bytes go both ways, each way ends by itself.

use crate::agent::{Agent, Source, Stream, TURN};
use crate::failure::{Failure, EAGAIN};
use crate::protocol::*;
use crate::sys;
use crate::tlv::{Fields, Tlvs};
use std::os::unix::io::{AsRawFd, OwnedFd};

pub struct Dial {
    socket: OwnedFd,
    port: u16,
    connected: bool,
    readable: bool,
    credit: u32,
    allowance: u32,
    owed: u32,
    pending: Vec<u8>,
    /// The host has sent its last byte; and the socket was told.
    host_ended: bool,
    host_end_told: bool,
    /// The socket has given its last byte.
    guest_ended: bool,
}

impl Dial {
    pub fn deliver(&mut self, bytes: &[u8]) -> bool {
        if bytes.len() > self.allowance as usize {
            return false;
        }
        self.allowance -= bytes.len() as u32;
        if self.host_end_told {
            self.owed += bytes.len() as u32;
        } else {
            self.pending.extend_from_slice(bytes);
        }
        true
    }
    pub fn deliver_end(&mut self) {
        self.host_ended = true;
    }
    pub fn add_credit(&mut self, bytes: u32) {
        self.credit = self.credit.saturating_add(bytes);
    }
}

impl Drop for Dial {
    fn drop(&mut self) {
        // A child that is between clone and exec holds a copy; the other side must not wait for it.
        sys::shutdown_both(&self.socket);
    }
}

impl Agent {
    pub fn dial(&mut self, stream: u32, fields: &Fields) -> Result<(), Failure> {
        let port = fields.u16(TAG_PORT)?.ok_or_else(|| Failure::invalid("PORT is missing"))?;
        if port == 0 {
            return Err(Failure::invalid("PORT must be 1 to 65535"));
        }
        let refused = |error| Failure::system("GuestFile", format!("127.0.0.1:{port}"), &error);
        let socket = sys::socket(sys::AF_INET, sys::SOCK_STREAM | sys::SOCK_NONBLOCK).map_err(refused)?;
        sys::connect_loopback(&socket, port).map_err(refused)?;
        let events = sys::EPOLLIN | sys::EPOLLOUT | sys::EPOLLRDHUP;
        self.watch(socket.as_raw_fd(), events, Source::Dial, stream).map_err(refused)?;
        let dial = Dial {
            socket,
            port,
            connected: false,
            readable: false,
            credit: INITIAL_CREDIT,
            allowance: INITIAL_CREDIT,
            owed: 0,
            pending: Vec::new(),
            host_ended: false,
            host_end_told: false,
            guest_ended: false,
        };
        self.streams.insert(stream, Stream::Dial(Box::new(dial)));
        Ok(())
    }

    pub fn dial_event(&mut self, stream: u32, flags: u32) {
        let dial = match self.streams.get_mut(&stream) {
            Some(Stream::Dial(dial)) => dial,
            _ => return,
        };
        if !dial.connected {
            if flags & (sys::EPOLLOUT | sys::EPOLLERR | sys::EPOLLHUP) == 0 {
                return;
            }
            if let Err(error) = sys::socket_error(&dial.socket) {
                let what = format!("127.0.0.1:{}", dial.port);
                self.streams.remove(&stream);
                self.answer(stream, Err(Failure::system("GuestFile", what, &error)));
                return;
            }
            dial.connected = true;
            self.outbox.push(FRAME_OPENED, 0, stream, b"");
        }
        if flags & !sys::EPOLLOUT != 0 {
            dial.readable = true;
        }
        self.pump_dial(stream);
    }

    pub fn pump_dial(&mut self, stream: u32) {
        let dial = match self.streams.get_mut(&stream) {
            Some(Stream::Dial(dial)) if dial.connected => dial,
            _ => return,
        };
        let fd = dial.socket.as_raw_fd();
        let mut broken = None;

        let mut done = 0;
        while done < dial.pending.len() {
            match sys::write(fd, &dial.pending[done..]) {
                Ok(count) => done += count,
                Err(error) if sys::errno_of(&error) == EAGAIN => break,
                Err(error) => {
                    broken = Some(error);
                    break;
                }
            }
        }
        dial.pending.drain(..done);
        dial.owed += done as u32;
        if dial.owed >= INITIAL_CREDIT / 4 {
            let grant = std::mem::take(&mut dial.owed);
            dial.allowance += grant;
            self.outbox.push(FRAME_WINDOW, CHANNEL_MAIN, stream, &grant.to_le_bytes());
        }
        if dial.host_ended && dial.pending.is_empty() && !dial.host_end_told {
            dial.host_end_told = true;
            sys::shutdown_write(&dial.socket);
        }

        let mut moved = 0;
        while dial.readable && !dial.guest_ended && broken.is_none() && dial.credit > 0 {
            if self.outbox.is_full() {
                self.stalled = true;
                break;
            }
            if moved >= TURN {
                self.ready_dials.push(stream);
                break;
            }
            let limit = self.scratch.len().min(dial.credit as usize);
            match sys::read(fd, &mut self.scratch[..limit]) {
                Ok(0) => {
                    dial.guest_ended = true;
                    self.outbox.push(FRAME_EOF, CHANNEL_MAIN, stream, b"");
                }
                Ok(count) => {
                    moved += count;
                    dial.credit -= count as u32;
                    self.outbox.push(FRAME_DATA, CHANNEL_MAIN, stream, &self.scratch[..count]);
                }
                Err(error) if sys::errno_of(&error) == EAGAIN => dial.readable = false,
                Err(error) => broken = Some(error),
            }
        }

        if let Some(error) = broken {
            let what = format!("127.0.0.1:{}", dial.port);
            self.streams.remove(&stream);
            self.answer(stream, Err(Failure::system("GuestFile", what, &error)));
        } else if dial.host_end_told && dial.guest_ended {
            self.streams.remove(&stream);
            self.answer(stream, Ok(Tlvs::new()));
        }
    }
}
