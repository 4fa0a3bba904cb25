//! How commands end: by themselves, at their deadline, given up by the host; and what becomes of the rest of them.

use crate::agent::Agent;
use crate::command::{Command, Ending};
use crate::failure::Failure;
use crate::protocol::*;
use crate::sys::{self, Reaped};
use crate::timers::Timer;
use crate::tlv::Tlvs;
use std::time::Instant;

/// Children reaped before others get their turn.
const REAP_TURN: usize = 32;

impl Agent {
    /// Takes in children that have ended, ours and orphans. True when there may be more: a fork bomb leaves orphans
    /// faster than they can be reaped, and must not keep the loop from its other work.
    pub fn reap(&mut self) -> bool {
        let mut ended = Vec::new();
        self.childless = false;
        while ended.len() < REAP_TURN {
            match sys::reap() {
                Reaped::Child(pid, status) => ended.push((pid, status)),
                Reaped::AllAlive => break,
                Reaped::NoChildren => {
                    self.childless = true;
                    break;
                }
            }
        }
        let reaped = ended.len();
        for (pid, status) in ended {
            if let Some(key) = self.by_pid.remove(&pid) {
                self.now = Instant::now();
                if let Some(command) = self.commands.get_mut(&key) {
                    command.exit = Some((status, self.now.saturating_duration_since(command.started_at)));
                    command.quiet_since = self.now;
                }
                self.look_at_launch(key);
                self.settle(key);
            }
        }
        let ending = |c: &&Command| matches!(c.ending, Ending::Killing | Ending::Terminating { .. });
        let keys: Vec<u32> = self.commands.values().filter(ending).map(|c| c.key).collect();
        for key in keys {
            self.settle(key);
        }
        if self.commands.values().any(|command| command.over_at.is_some()) {
            self.maintain_later();
        }
        self.childless = false;
        reaped == REAP_TURN
    }

    /// RESET: the command ends with everything of it; a detached one is only let go.
    pub fn give_up_command(&mut self, key: u32) {
        if let Some(command) = self.commands.get_mut(&key) {
            if command.detached.is_some() && command.not_started.is_none() && command.launch.is_none() {
                self.detach(key, Failure::cancelled());
            } else {
                command.cancelled = true;
                command.kill();
                self.settle(key);
            }
        }
    }

    /// The stream went away without a word (SYNC, or a closed port).
    pub fn drop_command(&mut self, key: u32, _stream: u32) {
        if let Some(command) = self.commands.get_mut(&key) {
            if command.detached.is_some() {
                command.keep_backlog();
            } else {
                command.cancelled = true;
                command.kill();
            }
            command.attachment = None;
            self.pump_command(key);
        }
    }

    pub fn command_timer(&mut self, key: u32) {
        if let Some(command) = self.commands.get_mut(&key) {
            if command.wake_at.map_or(false, |at| at <= self.now) {
                command.wake_at = None;
            }
            self.look_at_launch(key);
            self.settle(key);
        }
    }

    /// Brings a command as far towards its end as it can come now.
    pub fn settle(&mut self, key: u32) {
        let now = self.now;
        let command = match self.commands.get_mut(&key) {
            Some(command) => command,
            None => return,
        };
        let may_time_out = command.over_at.is_none() && (command.exit.is_none() || command.keep);
        let is_late = command.deadline.map_or(false, |at| at <= now);
        if may_time_out && is_late && command.ending == Ending::No {
            command.timed_out = true;
            command.terminate(now);
        }
        match command.ending {
            Ending::Terminating { kill_at } if kill_at <= now => command.kill(),
            Ending::Terminating { .. } if command.exit.is_some() && !command.is_alive() => {
                command.ending = Ending::Gone;
            }
            // Again and again, until nobody is left.
            Ending::Killing => command.kill(),
            // Orphans come to us; where there is nobody else's child either, there is no need to ask its cgroup.
            Ending::No if command.exit.is_some() && self.childless && !command.must_die() => {
                command.ending = Ending::Gone;
            }
            Ending::No if command.exit.is_some() && (!command.keep || command.cancelled) => command.kill(),
            _ => {}
        }
        if command.ending == Ending::Gone && command.exit.is_some() && command.over_at.is_none() {
            // What the pipes still hold, then they are closed, also when somebody outside the command has their ends.
            for channel in 0..2 {
                if let Some(command) = self.commands.get_mut(&key) {
                    command.outputs[channel].readable = true;
                    self.pump(key, channel);
                }
            }
        }
        self.finish_if_over(key);
        self.schedule(key);
    }

    fn finish_if_over(&mut self, key: u32) {
        let now = self.now;
        let command = match self.commands.get_mut(&key) {
            Some(command) => command,
            None => return,
        };
        if command.over_at.is_none() {
            if command.exit.is_none() {
                return;
            }
            let gone = command.ending == Ending::Gone;
            if command.cancelled {
                if gone {
                    self.remove_command(key);
                }
                return;
            }
            let waiting = command.outputs.iter().any(|o| o.withheld || (o.readable && o.fd.is_some()));
            let over = if gone {
                !waiting
            } else {
                let quiet = now.saturating_duration_since(command.quiet_since) >= command.drain;
                command.keep
                    && command.ending == Ending::No
                    && (command.outputs_closed() || (quiet && !waiting))
            };
            if !over {
                return;
            }
            if gone {
                for output in &mut command.outputs {
                    output.fd = None;
                }
                command.input = None;
            }
        }
        // Retained output goes before the end; an attachment may still owe credit for it.
        if command.outputs.iter().any(|output| command.attachment.is_some() && !output.backlog.is_empty()) {
            return;
        }
        if command.over_at.is_none() {
            command.over_at = Some(now);
            if command.detached.is_some() {
                self.prune_ends();
            }
        }
        let command = match self.commands.get_mut(&key) {
            Some(command) => command,
            None => return,
        };
        if let Some(mut attachment) = command.attachment.take() {
            let stream = attachment.stream;
            for channel in 0..2u8 {
                if !std::mem::replace(&mut attachment.ended[usize::from(channel)], true) {
                    self.outbox.push(FRAME_EOF, channel, stream, b"");
                }
            }
            let tlvs = command.exit_tlvs(Tlvs::new());
            self.streams.remove(&stream);
            self.outbox.push(FRAME_RESULT, 0, stream, tlvs.as_slice());
        }
        if let Some(hook) = command.hook.take() {
            hook.end(Ok(command.hook_end()));
        }
        if command.ending == Ending::Gone {
            if let Some(tree) = command.tree.take() {
                self.kits.retire(tree);
                self.refill_due = true;
                self.maintain_later();
            }
        }
        if let Some(command) = self.commands.get(&key) {
            if command.detached.is_none() && command.tree.is_none() {
                self.commands.remove(&key);
            }
        }
    }

    /// A command that was given up or never ran, and of which nothing is left.
    fn remove_command(&mut self, key: u32) {
        if let Some(mut command) = self.commands.remove(&key) {
            let why = command.not_started.take().unwrap_or_else(Failure::cancelled);
            if let Some(attachment) = command.attachment.take() {
                self.streams.remove(&attachment.stream);
                self.answer(attachment.stream, Err(why.clone()));
            }
            if let Some(hook) = command.hook.take() {
                hook.end(Err(why));
            }
            if let Some(tree) = command.tree.take() {
                self.kits.retire(tree);
                self.maintain_later();
            }
        }
    }

    fn schedule(&mut self, key: u32) {
        let now = self.now;
        if let Some(command) = self.commands.get_mut(&key) {
            // EOF is told as soon as it is known, not only with the result.
            if let (Some(attachment), true) = (&mut command.attachment, command.launch.is_none()) {
                for channel in 0..2 {
                    let output = &command.outputs[channel];
                    let open = output.fd.is_some() || !output.backlog.is_empty();
                    if !open && !command.cancelled && !std::mem::replace(&mut attachment.ended[channel], true)
                    {
                        self.outbox.push(FRAME_EOF, channel as u8, attachment.stream, b"");
                    }
                }
            }
            if let Some(at) = command.next_wake(now) {
                if command.wake_at.map_or(true, |set| at < set || set <= now) {
                    command.wake_at = Some(at);
                    self.timers.set(at, Timer::Command(key));
                }
            }
        }
    }

    /// Commands that are over while processes of theirs live on (`keep`): forgets those that have gone since.
    pub fn look_after_leftovers(&mut self) {
        let over = |c: &&Command| c.over_at.is_some() && c.tree.is_some();
        let keys: Vec<u32> = self.commands.values().filter(over).map(|c| c.key).collect();
        for key in keys {
            if let Some(command) = self.commands.get_mut(&key) {
                if command.is_alive() {
                    continue;
                }
                command.ending = Ending::Gone;
                for output in &mut command.outputs {
                    output.fd = None;
                }
                command.input = None;
                let tree = command.tree.take();
                if command.detached.is_none() {
                    self.commands.remove(&key);
                }
                if let Some(tree) = tree {
                    self.kits.retire(tree);
                }
            }
        }
    }
}
