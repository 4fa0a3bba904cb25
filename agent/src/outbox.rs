//! What goes to the host: one queue of bytes that every thread may add frames to, and the descriptor it drains into.
//!
//! Each stream is bounded by its credit, but a thousand streams together are not, so senders also wait (workers) or
//! come back later (the loop) while more than `FULL` bytes are queued.

use crate::failure::EAGAIN;
use crate::frame;
use crate::locks::lock;
use crate::sys;
use std::os::unix::io::RawFd;
use std::sync::{Condvar, Mutex};

/// From this many queued bytes on, no more output is taken in.
pub const FULL: usize = 1 << 20;

/// The stream of a command that no host asked for: its frames are made like any, and go nowhere.
pub const NOBODY: u32 = u32::MAX;

/// What the loop always waits for on the port.
pub const PORT_EVENTS: u32 = sys::EPOLLIN | sys::EPOLLRDHUP | sys::EPOLLET;

pub struct Outbox {
    state: Mutex<State>,
    room: Condvar,
}

struct State {
    /// Where bytes go, or -1 while no host is there.
    port: RawFd,
    epoll: RawFd,
    token: u64,
    /// Counts connections: frames of a stream of an earlier one must not reach the next, which reuses the ids.
    epoch: u64,
    queue: Vec<u8>,
    sent: usize,
    /// The port took no more; the loop is told when it does again.
    blocked: bool,
}

impl Outbox {
    pub fn new(epoll: RawFd, token: u64) -> Self {
        Outbox {
            state: Mutex::new(State {
                port: -1,
                epoll,
                token,
                epoch: 0,
                queue: Vec::new(),
                sent: 0,
                blocked: false,
            }),
            room: Condvar::new(),
        }
    }

    /// Drops what is queued and invalidates all earlier streams. Answers the new epoch.
    pub fn begin_epoch(&self) -> u64 {
        let mut state = lock(&self.state);
        state.epoch += 1;
        state.queue = Vec::new();
        state.sent = 0;
        self.room.notify_all();
        state.epoch
    }

    pub fn set_port(&self, port: RawFd) {
        let mut state = lock(&self.state);
        state.port = port;
        state.blocked = false;
        state.queue = Vec::new();
        state.sent = 0;
        self.room.notify_all();
    }

    /// Queues a frame of the loop's; `flush` sends it.
    pub fn push(&self, kind: u8, flag: u8, stream: u32, payload: &[u8]) {
        let mut state = lock(&self.state);
        if state.port >= 0 {
            let before = state.queue.len();
            frame::encode(&mut state.queue, kind, flag, stream, payload);
            if stream == NOBODY {
                state.queue.truncate(before);
            }
        }
    }

    /// Queues frames of a worker's stream and sends what the port takes. False when the stream's epoch is over.
    pub fn send(&self, epoch: u64, stream: u32, frames: &[(u8, u8, &[u8])]) -> bool {
        let mut state = lock(&self.state);
        if state.epoch != epoch || state.port < 0 {
            return false;
        }
        for &(kind, flag, payload) in frames {
            frame::encode(&mut state.queue, kind, flag, stream, payload);
        }
        self.drain(&mut state);
        true
    }

    /// Sends a frame that was made in place, without another copy where the port takes it at once. False as of [`send`].
    ///
    /// [`send`]: Outbox::send
    pub fn send_whole(&self, epoch: u64, frame: &[u8]) -> bool {
        let mut state = lock(&self.state);
        if state.epoch != epoch || state.port < 0 {
            return false;
        }
        self.drain(&mut state);
        let sent = if state.pending() == 0 && !state.blocked { state.write(frame) } else { 0 };
        state.queue.extend_from_slice(&frame[sent..]);
        true
    }

    /// As much as the port takes now.
    pub fn flush(&self) {
        let mut state = lock(&self.state);
        self.drain(&mut state);
    }

    /// The port takes bytes again.
    pub fn unblocked(&self) {
        let mut state = lock(&self.state);
        if state.blocked {
            state.blocked = false;
            state.watch_port(PORT_EVENTS);
            self.drain(&mut state);
        }
    }

    pub fn is_full(&self) -> bool {
        lock(&self.state).pending() >= FULL
    }
    pub fn pending(&self) -> usize {
        lock(&self.state).pending()
    }
    pub fn is_empty(&self) -> bool {
        lock(&self.state).pending() == 0
    }

    /// Waits until there is room, or `given_up` says to stop.
    pub fn wait_for_room(&self, given_up: impl Fn() -> bool) {
        let mut state = lock(&self.state);
        while state.pending() >= FULL && !given_up() {
            state = self.room.wait(state).unwrap_or_else(|poisoned| poisoned.into_inner());
        }
    }

    /// Makes waiting workers look again whether they are given up.
    pub fn wake_waiting(&self) {
        let _state = lock(&self.state);
        self.room.notify_all();
    }

    fn drain(&self, state: &mut State) {
        if state.port < 0 || state.blocked || state.pending() == 0 {
            return;
        }
        let was_full = state.pending() >= FULL;
        let queue = std::mem::take(&mut state.queue);
        state.sent += state.write(&queue[state.sent..]);
        state.queue = queue;
        if state.sent == state.queue.len() {
            state.queue.clear();
            state.queue.shrink_to(64 * 1024);
            state.sent = 0;
        } else if state.sent > state.queue.len() / 2 {
            let sent = state.sent;
            state.queue.drain(..sent);
            state.sent = 0;
        }
        if was_full && state.pending() < FULL {
            self.room.notify_all();
        }
    }
}

impl State {
    /// Writes to the port what it takes, and watches it when that is not all. Answers how much has gone.
    fn write(&mut self, bytes: &[u8]) -> usize {
        let mut sent = 0;
        while sent < bytes.len() {
            match sys::write(self.port, &bytes[sent..]) {
                Ok(count) if count > 0 => sent += count,
                // A full virtio queue may also be told as nothing written.
                Ok(_) => {
                    self.wait_for_port();
                    break;
                }
                Err(error) if sys::errno_of(&error) == EAGAIN => {
                    self.wait_for_port();
                    break;
                }
                // The host's end has gone; the loop learns it by reading. What is queued has no reader.
                Err(_) => return bytes.len(),
            }
        }
        sent
    }
    fn wait_for_port(&mut self) {
        self.blocked = true;
        self.watch_port(PORT_EVENTS | sys::EPOLLOUT);
    }
    fn watch_port(&self, events: u32) {
        // Fails only for a connection that is being replaced, which is registered anew.
        let _ = sys::epoll_change(self.epoll, self.port, events, self.token);
    }
    fn pending(&self) -> usize {
        self.queue.len() - self.sent
    }
}
