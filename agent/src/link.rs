//! A worker's end of a stream: it sends and receives with back-pressure, and learns when the host has given up.

use crate::failure::Failure;
use crate::frame::{self, HEADER, TRAILER};
use crate::locks::lock;
use crate::outbox::Outbox;
use crate::protocol::*;
use crate::sys;
use crate::tlv::Tlvs;
use std::collections::VecDeque;
use std::io;
use std::os::unix::io::{AsRawFd, OwnedFd, RawFd};
use std::sync::{Arc, Condvar, Mutex};

/// The largest payload sent at once: virtio-console takes at most 32 KiB a write.
const CHUNK: usize = 32 * 1024 - 20;

pub struct Link {
    pub stream: u32,
    epoch: u64,
    outbox: Arc<Outbox>,
    state: Mutex<State>,
    changed: Condvar,
    /// The loop's eventfd: it hears of the end of streams it waits for.
    wake_loop: RawFd,
}

struct State {
    credit: u32,
    incoming: VecDeque<Vec<u8>>,
    /// What the host may still send.
    allowance: u32,
    /// Received and consumed, but not yet granted again.
    owed: u32,
    end_of_input: bool,
    given_up: bool,
    ended: bool,
    /// Written to when the host gives up, for a worker that waits in poll.
    alarm: Option<Arc<OwnedFd>>,
}

impl Link {
    pub fn new(stream: u32, epoch: u64, outbox: Arc<Outbox>, wake_loop: RawFd) -> Link {
        Link {
            stream,
            epoch,
            outbox,
            wake_loop,
            state: Mutex::new(State {
                credit: INITIAL_CREDIT,
                incoming: VecDeque::new(),
                allowance: INITIAL_CREDIT,
                owed: 0,
                end_of_input: false,
                given_up: false,
                ended: false,
                alarm: None,
            }),
            changed: Condvar::new(),
        }
    }

    // The loop's side.

    /// Takes in bytes from the host; false when it exceeded its credit.
    pub fn deliver(&self, bytes: &[u8]) -> bool {
        let mut state = lock(&self.state);
        if bytes.len() > state.allowance as usize {
            return false;
        }
        state.allowance -= bytes.len() as u32;
        if !state.ended && !state.given_up && !bytes.is_empty() {
            // Many small frames must not cost more memory than their bytes.
            match state.incoming.back_mut() {
                Some(last) if last.len() + bytes.len() <= CHUNK => last.extend_from_slice(bytes),
                _ => state.incoming.push_back(bytes.to_vec()),
            }
            self.changed.notify_all();
        }
        true
    }
    pub fn deliver_end(&self) {
        lock(&self.state).end_of_input = true;
        self.changed.notify_all();
    }
    pub fn add_credit(&self, bytes: u32) {
        let mut state = lock(&self.state);
        state.credit = state.credit.saturating_add(bytes);
        self.changed.notify_all();
    }
    pub fn give_up(&self) {
        let alarm = {
            let mut state = lock(&self.state);
            state.given_up = true;
            state.incoming.clear();
            self.changed.notify_all();
            state.alarm.clone()
        };
        if let Some(alarm) = alarm {
            sys::notify(alarm.as_raw_fd());
        }
        self.outbox.wake_waiting();
    }
    pub fn has_ended(&self) -> bool {
        lock(&self.state).ended
    }

    // The worker's side.

    /// Which connection the stream belongs to.
    pub fn epoch(&self) -> u64 {
        self.epoch
    }
    /// Has the loop look at what it waits for.
    pub fn wake_loop(&self) {
        sys::notify(self.wake_loop);
    }
    pub fn is_given_up(&self) -> bool {
        lock(&self.state).given_up
    }
    pub fn check(&self) -> Result<(), Failure> {
        if self.is_given_up() {
            Err(Failure::cancelled())
        } else {
            Ok(())
        }
    }
    /// An eventfd that becomes readable when the host gives up.
    pub fn alarm(&self) -> io::Result<Arc<OwnedFd>> {
        let alarm = Arc::new(sys::eventfd()?);
        let mut state = lock(&self.state);
        if state.given_up {
            sys::notify(alarm.as_raw_fd());
        }
        state.alarm = Some(alarm.clone());
        Ok(alarm)
    }

    pub fn opened(&self, tlvs: &Tlvs) {
        self.outbox.send(self.epoch, self.stream, &[(FRAME_OPENED, 0, tlvs.as_slice())]);
    }

    /// Sends bytes on the main channel, as fast as the host grants credit.
    pub fn send(&self, mut bytes: &[u8]) -> Result<(), Failure> {
        while !bytes.is_empty() {
            let granted = self.take_credit(bytes.len())?;
            let frame = [(FRAME_DATA, CHANNEL_MAIN, &bytes[..granted])];
            if !self.outbox.send(self.epoch, self.stream, &frame) {
                return Err(Failure::cancelled());
            }
            bytes = &bytes[granted..];
        }
        Ok(())
    }
    /// As [`send`], for bytes that stand between [`HEADER`] and [`TRAILER`] bytes of no value. They are not copied; what is left of
    /// the buffer afterwards has no value either.
    ///
    /// [`send`]: Link::send
    pub fn send_in_place(&self, buffer: &mut [u8]) -> Result<(), Failure> {
        let total = buffer.len() - HEADER - TRAILER;
        let mut at = 0;
        while at < total {
            let granted = self.take_credit(total - at)?;
            // The header takes the place of what was sent before, the trailer for a while that of what comes next.
            let frame = &mut buffer[at..at + HEADER + granted + TRAILER];
            let mut next = [0; TRAILER];
            next.copy_from_slice(&frame[HEADER + granted..]);
            frame::wrap(frame, FRAME_DATA, CHANNEL_MAIN, self.stream);
            if !self.outbox.send_whole(self.epoch, frame) {
                return Err(Failure::cancelled());
            }
            frame[HEADER + granted..].copy_from_slice(&next);
            at += granted;
        }
        Ok(())
    }

    /// Waits until something may be sent. Answers how much of `wanted`, within one frame.
    fn take_credit(&self, wanted: usize) -> Result<usize, Failure> {
        let granted = {
            let mut state = lock(&self.state);
            while state.credit == 0 && !state.given_up {
                state = self.changed.wait(state).unwrap_or_else(|poisoned| poisoned.into_inner());
            }
            if state.given_up {
                return Err(Failure::cancelled());
            }
            let granted = wanted.min(CHUNK).min(state.credit as usize);
            state.credit -= granted as u32;
            granted
        };
        self.outbox.wait_for_room(|| self.is_given_up());
        Ok(granted)
    }

    pub fn send_end(&self) {
        self.outbox.send(self.epoch, self.stream, &[(FRAME_EOF, CHANNEL_MAIN, b"")]);
    }

    /// The next bytes from the host; `None` at their end.
    pub fn receive(&self) -> Result<Option<Vec<u8>>, Failure> {
        let (bytes, grant) = {
            let mut state = lock(&self.state);
            loop {
                if state.given_up {
                    return Err(Failure::cancelled());
                }
                if let Some(bytes) = state.incoming.pop_front() {
                    state.owed += bytes.len() as u32;
                    let grant = state.owed;
                    if grant < INITIAL_CREDIT / 4 {
                        break (bytes, 0);
                    }
                    state.owed = 0;
                    state.allowance += grant;
                    break (bytes, grant);
                }
                if state.end_of_input {
                    return Ok(None);
                }
                state = self.changed.wait(state).unwrap_or_else(|poisoned| poisoned.into_inner());
            }
        };
        if grant > 0 {
            let window = [(FRAME_WINDOW, CHANNEL_MAIN, &grant.to_le_bytes()[..])];
            self.outbox.send(self.epoch, self.stream, &window);
        }
        Ok(Some(bytes))
    }

    /// Ends the stream with its last frame. A second end is nothing: the first one told the host.
    pub fn end(&self, outcome: Result<Tlvs, Failure>) {
        let awaited = {
            let mut state = lock(&self.state);
            if std::mem::replace(&mut state.ended, true) {
                return;
            }
            state.incoming.clear();
            state.given_up
        };
        let (kind, tlvs) = match outcome {
            Ok(tlvs) => (FRAME_RESULT, tlvs),
            Err(failure) => (FRAME_ERROR, failure.tlvs()),
        };
        self.outbox.send(self.epoch, self.stream, &[(kind, 0, tlvs.as_slice())]);
        if awaited {
            self.wake_loop();
        }
    }
}
