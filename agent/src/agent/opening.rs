//! Opening a stream: whether it may be now, and what serves it.

use super::{Agent, Stream};
use crate::failure::Failure;
use crate::held::is_served_sealed;
use crate::link::Link;
use crate::protocol::*;
use crate::tlv::{Fields, Tlvs};
use std::os::unix::io::AsRawFd;
use std::panic::{catch_unwind, AssertUnwindSafe};
use std::sync::Arc;

impl Agent {
    pub fn open(&mut self, stream: u32, op: u8, payload: &[u8]) {
        if self.streams.len() >= MAX_STREAMS {
            self.forget_ended_jobs();
        }
        if let Err(failure) = self.try_open(stream, op, payload) {
            self.streams.remove(&stream);
            self.answer(stream, Err(failure));
        }
    }

    fn try_open(&mut self, stream: u32, op: u8, payload: &[u8]) -> Result<(), Failure> {
        if self.streams.len() >= MAX_STREAMS {
            let message = format!("{MAX_STREAMS} streams are open already");
            return Err(Failure::new("AtCapacity", message));
        }
        let before_setup =
            matches!(op, OP_PING | OP_SETUP | OP_CLOCK | OP_ENTROPY | OP_USAGE | OP_SHUTDOWN | OP_REHEARSE);
        if !before_setup && (OP_PING..=OP_REHEARSE).contains(&op) && !self.guest.is_ready() {
            return Err(Failure::new("GuestUnreachable", "the guest is not set up yet"));
        }
        if self.shutting_down.is_some() && op != OP_PING {
            return Err(Failure::new("GuestUnreachable", "the guest is shutting down"));
        }
        if self.guest.freezer.is_sealed() && !is_served_sealed(op) {
            self.hold(stream, op, payload);
            return Ok(());
        }
        let fields = Fields::parse(payload)?;
        match op {
            OP_PING => self.answer(stream, Ok(Tlvs::new())),
            OP_EXEC => return self.exec(stream, &fields),
            OP_ATTACH => return self.attach(stream, &fields),
            OP_LIST_DETACHED => self.list_detached(stream),
            OP_DIAL => return self.dial(stream, &fields),
            OP_SHUTDOWN => return self.shut_down(stream, &fields),
            _ => match crate::operations::find(op) {
                Some(operation) => return self.start_job(stream, fields, operation),
                None => {
                    let message = format!("this agent does not know operation {op}");
                    return Err(Failure::new("Unsupported", message));
                }
            },
        }
        Ok(())
    }

    fn start_job(
        &mut self,
        stream: u32,
        fields: Fields,
        operation: crate::operations::Operation,
    ) -> Result<(), Failure> {
        let link = Link::new(stream, self.epoch, self.outbox.clone(), self.wake.as_raw_fd());
        let link = Arc::new(link);
        self.streams.insert(stream, Stream::Job(link.clone()));
        let guest = self.guest.clone();
        let started = self.pool.run(move || {
            let outcome = catch_unwind(AssertUnwindSafe(|| operation(&guest, &link, &fields)));
            let defect = || Failure::new("Internal", "the agent's worker panicked");
            link.end(outcome.unwrap_or_else(|_| Err(defect())));
        });
        // Ended jobs cost a map entry each; they are dropped a few dozen at a time.
        if self.streams.len() % 64 == 0 {
            self.forget_ended_jobs();
        }
        if started {
            Ok(())
        } else {
            Err(Failure::new("AtCapacity", "the guest has no room for another thread"))
        }
    }

    /// Whether the host still waits for a worker's stream.
    pub fn is_wanted(&self, epoch: u64, stream: u32) -> bool {
        let job = self.streams.get(&stream);
        epoch == self.epoch && matches!(job, Some(Stream::Job(link)) if !link.is_given_up())
    }

    fn forget_ended_jobs(&mut self) {
        self.streams.retain(|_, stream| !matches!(stream, Stream::Job(link) if link.has_ended()));
    }

    /// The end of a stream that needed no worker.
    pub fn answer(&self, stream: u32, outcome: Result<Tlvs, Failure>) {
        match outcome {
            Ok(tlvs) => self.outbox.push(FRAME_RESULT, 0, stream, tlvs.as_slice()),
            Err(failure) => self.outbox.push(FRAME_ERROR, 0, stream, failure.tlvs().as_slice()),
        }
    }
}
