//! One connection of the host after the other: what ends with each, and how both sides get in step again.

use super::{Agent, Stream};
use crate::frame::Decoder;
use crate::protocol::FRAME_SYNC_ACK;
use crate::timers::Timer;
use std::time::Duration;

/// How long SYNC waits for what it ended: processes that the kernel will not let go, a write on a frozen file system.
const SYNC_PATIENCE: Duration = Duration::from_millis(1500);
/// In a sealed guest what it ended executes nothing more, and what cannot go before the disk is thawed does not go sooner.
const SEALED_SYNC_PATIENCE: Duration = Duration::from_millis(100);
/// How long the host's side must stay closed to count as closed.
const PORT_DOUBT: Duration = Duration::from_millis(50);

impl Agent {
    /// Which connection this is, counted.
    pub fn epoch(&self) -> u64 {
        self.epoch
    }

    pub(super) fn on_sync(&mut self, payload: &[u8]) {
        self.drop_streams();
        self.last_stream = 0;
        let nonce = payload.get(..16).unwrap_or(&[0; 16]).to_vec();
        // The host repeats SYNC until it is answered; that must not prolong the wait.
        let patience = if self.guest.freezer.is_sealed() { SEALED_SYNC_PATIENCE } else { SYNC_PATIENCE };
        let until = self.pending_sync.as_ref().map_or(self.now + patience, |(_, until)| *until);
        self.pending_sync = Some((nonce, until));
        self.timers.set(until, Timer::Sync);
        self.try_sync();
    }

    /// Answers SYNC once what it ended has ended.
    pub(super) fn try_sync(&mut self) {
        let over = match &self.pending_sync {
            None => return,
            Some((_, until)) => *until <= self.now,
        };
        self.dropped_links.retain(|link| !link.has_ended());
        let dying = self.commands.values().any(|command| command.cancelled);
        if !over && (dying || !self.dropped_links.is_empty()) {
            return;
        }
        if let Some((nonce, _)) = self.pending_sync.take() {
            let hello = self.guest.hello();
            let mut payload = nonce;
            payload.extend_from_slice(hello.as_slice());
            self.outbox.push(FRAME_SYNC_ACK, 0, 0, &payload);
        }
    }

    /// The port says that the host's side is closed. The kernel tells of closing and opening apart from the bytes, and
    /// late: this may be the end of the last connection, with the SYNC of the next one already answered.
    pub(super) fn doubt_port(&mut self) {
        if !std::mem::replace(&mut self.port_in_doubt, true) {
            self.timers.set(self.now + PORT_DOUBT, Timer::Port);
        }
    }

    /// The host's end went away. What is not detached ends with it.
    pub(super) fn host_gone(&mut self, decoder: &mut Decoder) {
        decoder.reset();
        self.pending_sync = None;
        self.drop_streams();
    }

    pub(super) fn drop_streams(&mut self) {
        self.epoch = self.outbox.begin_epoch();
        for (stream, what) in std::mem::take(&mut self.streams) {
            match what {
                Stream::Job(link) => {
                    link.give_up();
                    self.give_up_hook(stream);
                    self.dropped_links.push(link);
                }
                Stream::Dial(_) | Stream::Held(_) => {}
                Stream::Command(key) => self.drop_command(key, stream),
            }
        }
        self.dropped_links.retain(|link| !link.has_ended());
    }
}
