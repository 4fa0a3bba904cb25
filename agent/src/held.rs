//! Requests that came while the guest was sealed: they begin when it is not any more, and do not fail for it.

use crate::agent::{Agent, Stream};
use crate::protocol::*;

/// A stream that has not begun.
pub struct Held {
    op: u8,
    request: Vec<u8>,
    /// What the host sent for it already; within the credit that every stream begins with.
    input: Vec<u8>,
    input_ended: bool,
    credit: [u32; 2],
}

impl Held {
    fn new(op: u8, request: &[u8]) -> Held {
        Held { op, request: request.to_vec(), input: Vec::new(), input_ended: false, credit: [0; 2] }
    }

    /// False when it is more than the host may send.
    pub fn deliver(&mut self, bytes: &[u8]) -> bool {
        if self.input.len() + bytes.len() > INITIAL_CREDIT as usize {
            return false;
        }
        self.input.extend_from_slice(bytes);
        true
    }
    pub fn deliver_end(&mut self) {
        self.input_ended = true;
    }
    pub fn add_credit(&mut self, channel: u8, bytes: u32) {
        if let Some(credit) = self.credit.get_mut(usize::from(channel)) {
            *credit = credit.saturating_add(bytes);
        }
    }
}

/// Whether an operation is served while the guest is sealed: those that end the seal, and those that need no process and
/// no writable file.
pub fn is_served_sealed(op: u8) -> bool {
    matches!(op, OP_PING | OP_FREEZE | OP_THAW | OP_RENEW | OP_CLOCK | OP_ENTROPY | OP_USAGE | OP_SHUTDOWN)
}

impl Agent {
    pub fn hold(&mut self, stream: u32, op: u8, request: &[u8]) {
        self.streams.insert(stream, Stream::Held(Box::new(Held::new(op, request))));
        self.any_held = true;
    }

    /// Begins what was held, in the order in which it came.
    pub fn release_held(&mut self) {
        if !self.any_held || self.guest.freezer.is_sealed() {
            return;
        }
        self.any_held = false;
        let held = |(id, stream): (&u32, &Stream)| matches!(stream, Stream::Held(_)).then_some(*id);
        let ids: Vec<u32> = self.streams.iter().filter_map(held).collect();
        for id in ids {
            if let Some(Stream::Held(held)) = self.streams.remove(&id) {
                self.open(id, held.op, &held.request);
                for (channel, bytes) in (0u8..).zip(held.credit) {
                    if bytes > 0 {
                        self.on_window(id, channel, bytes);
                    }
                }
                for bytes in held.input.chunks(MAX_PAYLOAD) {
                    // Within the credit of any stream: it was counted when it came.
                    let _ = self.on_data(id, bytes);
                }
                if held.input_ended {
                    self.on_eof(id);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_more_is_kept_than_a_stream_begins_with() {
        let mut held = Held::new(OP_WRITE_FILE, b"");
        let credit = INITIAL_CREDIT as usize;
        assert!(held.deliver(&vec![0; credit - 1]));
        assert!(!held.deliver(&[0; 2]));
        assert!(held.deliver(&[0]));
        assert_eq!(held.input.len(), credit);
    }

    #[test]
    fn credit_is_kept_for_channels_that_there_are() {
        let mut held = Held::new(OP_READ_FILE, b"");
        for (channel, bytes) in [(0, 5), (1, u32::MAX), (1, 1), (2, 9)] {
            held.add_credit(channel, bytes);
        }
        assert_eq!(held.credit, [5, u32::MAX]);
    }
}
