//! What comes from the host: frames, each to the stream that it is for.

use super::{token, Agent, Source, Stream, TURN};
use crate::failure::Failure;
use crate::frame::{Decoded, Decoder, Frame};
use crate::outbox;
use crate::protocol::*;
use crate::sys;
use crate::tlv::Fields;
use crate::transport::{Received, Transport};
use std::os::unix::io::AsRawFd;
use std::panic::{catch_unwind, AssertUnwindSafe};

impl Agent {
    /// Reads what the host sent, within a turn. True when there may be more.
    pub(super) fn take_input(&mut self, transport: &mut Transport, decoder: &mut Decoder) -> bool {
        let mut taken = 0;
        while taken < TURN {
            // A host that sends requests and reads no answers is not read any further.
            if self.outbox.pending() > 4 * outbox::FULL {
                self.stalled = true;
                self.input_paused = true;
                return false;
            }
            match transport.receive(decoder.space()) {
                Received::Bytes(count) => {
                    taken += count;
                    decoder.filled(count);
                    self.take_frames(decoder);
                    // Answers are on their way while the next read finds nothing.
                    self.outbox.flush();
                }
                Received::Nothing => return false,
                Received::Doubt => {
                    self.doubt_port();
                    return false;
                }
                Received::Gone => {
                    self.host_gone(decoder);
                    self.outbox.set_port(transport.port());
                }
                Received::Connected => {
                    self.outbox.set_port(transport.port());
                    let added = sys::epoll_add(
                        self.epoll.as_raw_fd(),
                        transport.port(),
                        outbox::PORT_EVENTS,
                        token(Source::Port, 0),
                    );
                    if let Err(error) = added {
                        self.guest.log(&format!("cannot watch the port: {error}"));
                    }
                }
            }
        }
        true
    }

    fn take_frames(&mut self, decoder: &mut Decoder) {
        loop {
            let handled = match decoder.next_frame() {
                Decoded::More => return,
                Decoded::Bad(why) => Err(why),
                Decoded::Frame(frame) => {
                    let outcome = catch_unwind(AssertUnwindSafe(|| self.on_frame(frame)));
                    outcome.unwrap_or(Err("the handling of a frame panicked"))
                }
            };
            if let Err(why) = handled {
                self.guest.log(&format!("bad frame: {why}"));
                decoder.hunt();
            }
        }
    }

    fn on_frame(&mut self, frame: Frame<'_>) -> Result<(), &'static str> {
        match frame.kind {
            FRAME_SYNC => self.on_sync(frame.payload),
            FRAME_OPEN => {
                if frame.stream <= self.last_stream || frame.stream == outbox::NOBODY {
                    return Err("a stream id was used again");
                }
                self.last_stream = frame.stream;
                self.open(frame.stream, frame.flag, frame.payload);
            }
            FRAME_DATA if frame.flag == CHANNEL_MAIN => return self.on_data(frame.stream, frame.payload),
            FRAME_EOF if frame.flag == CHANNEL_MAIN => self.on_eof(frame.stream),
            FRAME_WINDOW => {
                let bytes = <[u8; 4]>::try_from(frame.payload).map_err(|_| "malformed WINDOW")?;
                self.on_window(frame.stream, frame.flag, u32::from_le_bytes(bytes));
            }
            FRAME_CONTROL => self.on_control(frame.stream, frame.flag, frame.payload),
            FRAME_RESET => self.on_reset(frame.stream),
            // Channels that the host has no use for.
            _ => {}
        }
        Ok(())
    }

    pub fn on_data(&mut self, stream: u32, payload: &[u8]) -> Result<(), &'static str> {
        let beyond = Err("data beyond credit");
        match self.streams.get_mut(&stream) {
            None => Ok(()),
            Some(Stream::Job(link)) => {
                if link.deliver(payload) {
                    Ok(())
                } else {
                    beyond
                }
            }
            Some(Stream::Dial(dial)) => {
                if !dial.deliver(payload) {
                    return beyond;
                }
                self.pump_dial(stream);
                Ok(())
            }
            Some(Stream::Held(held)) => {
                if held.deliver(payload) {
                    Ok(())
                } else {
                    beyond
                }
            }
            Some(Stream::Command(key)) => {
                let key = *key;
                if let Some(command) = self.commands.get_mut(&key) {
                    if let Some(attachment) = &mut command.attachment {
                        if payload.len() > attachment.allowance as usize {
                            return beyond;
                        }
                        attachment.allowance -= payload.len() as u32;
                    }
                    command.feed(payload);
                    self.pump_stdin(key);
                }
                Ok(())
            }
        }
    }

    pub fn on_eof(&mut self, stream: u32) {
        match self.streams.get_mut(&stream) {
            None => {}
            Some(Stream::Job(link)) => link.deliver_end(),
            Some(Stream::Dial(dial)) => {
                dial.deliver_end();
                self.pump_dial(stream);
            }
            Some(Stream::Held(held)) => held.deliver_end(),
            Some(Stream::Command(key)) => {
                let key = *key;
                if let Some(command) = self.commands.get_mut(&key) {
                    command.end_input();
                    self.pump_stdin(key);
                }
            }
        }
    }

    pub fn on_window(&mut self, stream: u32, channel: u8, bytes: u32) {
        match self.streams.get_mut(&stream) {
            None => {}
            Some(Stream::Job(link)) => link.add_credit(bytes),
            Some(Stream::Dial(dial)) => {
                dial.add_credit(bytes);
                self.pump_dial(stream);
            }
            Some(Stream::Held(held)) => held.add_credit(channel, bytes),
            Some(Stream::Command(key)) => {
                let key = *key;
                self.command_window(key, channel, bytes);
            }
        }
    }

    fn on_control(&mut self, stream: u32, control: u8, payload: &[u8]) {
        if let (Some(Stream::Command(key)), Ok(fields)) = (self.streams.get(&stream), Fields::parse(payload))
        {
            let key = *key;
            self.command_control(key, control, &fields);
        }
    }

    fn on_reset(&mut self, stream: u32) {
        match self.streams.get(&stream) {
            None => {}
            Some(Stream::Job(link)) => {
                link.give_up();
                self.give_up_hook(stream);
            }
            Some(Stream::Command(key)) => {
                let key = *key;
                self.give_up_command(key);
            }
            Some(Stream::Dial(_) | Stream::Held(_)) => {
                self.streams.remove(&stream);
                self.answer(stream, Err(Failure::cancelled()));
            }
        }
    }
}
