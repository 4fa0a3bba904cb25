//! Detached commands: those that go on without a client, and can be attached to.

use crate::agent::{Agent, Stream};
use crate::command::{Attachment, Command};
use crate::failure::Failure;
use crate::protocol::*;
use crate::tlv::{Fields, Tlvs};
use std::time::{Duration, Instant};

/// Detached commands that run at once: each may hold 256 KiB of output in the agent.
const MAX_DETACHED: usize = 256;
/// Ends of detached commands that are kept, and for how long.
const KEPT_ENDS: usize = 64;
const KEPT_FOR: Duration = Duration::from_secs(3600);

impl Agent {
    pub fn admit_detached(&mut self, id: &str) -> Result<(), Failure> {
        self.prune_ends();
        let same = |command: &&Command| command.detached.as_deref() == Some(id);
        if let Some(command) = self.commands.values().find(same) {
            if command.over_at.is_none() {
                return Err(Failure::invalid(format!("DETACHED_ID {id} is in use by a running command")));
            }
            // A new command takes over the id of one that has ended.
            let key = command.key;
            self.let_go_of_end(key);
        }
        let running = self.commands.values().filter(|c| c.detached.is_some() && c.over_at.is_none());
        if running.count() >= MAX_DETACHED {
            return Err(Failure::new("AtCapacity", format!("{MAX_DETACHED} detached commands are running")));
        }
        Ok(())
    }

    /// Ends the stream of a detached command, which goes on.
    pub fn detach(&mut self, key: u32, why: Failure) {
        if let Some(command) = self.commands.get_mut(&key) {
            command.keep_backlog();
            if let Some(attachment) = command.attachment.take() {
                self.streams.remove(&attachment.stream);
                self.answer(attachment.stream, Err(why));
            }
            self.pump_command(key);
        }
    }

    pub fn attach(&mut self, stream: u32, fields: &Fields) -> Result<(), Failure> {
        self.prune_ends();
        let id = fields.require_text(TAG_DETACHED_ID)?;
        let same = |command: &&Command| command.detached.as_deref() == Some(id) && !command.cancelled;
        let key = match self.commands.values().find(same) {
            Some(command) => command.key,
            None => return Err(Failure::new("CommandNotFound", format!("no detached command {id:?}"))),
        };
        self.detach(key, Failure::new("Cancelled", "another client attached"));
        if let Some(command) = self.commands.get_mut(&key) {
            let tlvs = Tlvs::new().u32(TAG_PID, command.pid as u32);
            for output in &mut command.outputs {
                output.backlog = match &output.recent {
                    Some(recent) => recent.replay(),
                    None => output.retained.take(),
                };
            }
            command.attachment = Some(Attachment::new(stream));
            if command.launch.is_none() {
                self.outbox.push(FRAME_OPENED, 0, stream, tlvs.as_slice());
            }
            self.streams.insert(stream, Stream::Command(key));
            self.pump_command(key);
        }
        Ok(())
    }

    pub fn list_detached(&mut self, stream: u32) {
        self.prune_ends();
        self.outbox.push(FRAME_OPENED, 0, stream, b"");
        for command in self.commands.values().filter(|command| !command.cancelled) {
            if let Some(id) = &command.detached {
                let running = command.over_at.is_none();
                let mut tlvs = Tlvs::new()
                    .bytes(TAG_DETACHED_ID, id.as_bytes())
                    .u32(TAG_PID, command.pid as u32)
                    .u8(TAG_RUNNING, u8::from(running));
                if !running {
                    tlvs = command.exit_tlvs(tlvs);
                }
                self.outbox.push(FRAME_DATA, CHANNEL_MAIN, stream, &tlvs.record());
            }
        }
        self.outbox.push(FRAME_EOF, CHANNEL_MAIN, stream, b"");
        self.answer(stream, Ok(Tlvs::new()));
    }

    /// Drops the ends of detached commands that are too old or too many.
    pub fn prune_ends(&mut self) {
        let now = self.now;
        let mut ends: Vec<(Instant, u32)> = self
            .commands
            .values()
            .filter(|command| command.detached.is_some() && command.attachment.is_none())
            .filter_map(|command| command.over_at.map(|at| (at, command.key)))
            .collect();
        ends.sort_unstable();
        let surplus = ends.len().saturating_sub(KEPT_ENDS);
        for (index, (at, key)) in ends.into_iter().enumerate() {
            if index < surplus || now.saturating_duration_since(at) >= KEPT_FOR {
                self.let_go_of_end(key);
            }
        }
    }

    /// Forgets a detached command that has ended; processes it left behind go on.
    fn let_go_of_end(&mut self, key: u32) {
        if let Some(command) = self.commands.get_mut(&key) {
            command.detached = None;
            for output in &mut command.outputs {
                output.backlog = Vec::new();
                output.retained.take();
                output.recent = None;
            }
            if command.tree.is_none() {
                self.commands.remove(&key);
            }
        }
    }
}

impl Command {
    /// What was to be sent to a client that left is retained for the next.
    pub fn keep_backlog(&mut self) {
        for output in &mut self.outputs {
            let backlog = std::mem::take(&mut output.backlog);
            if output.recent.is_none() {
                output.retained.push(&backlog);
            }
        }
    }
}
