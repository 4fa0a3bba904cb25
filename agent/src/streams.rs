//! What goes to and from running commands: output, input, credit, signals.

use crate::agent::{token, Agent, Source, TURN};
use crate::failure::EAGAIN;
use crate::protocol::*;
use crate::sys;
use crate::tlv::Fields;
use std::os::unix::io::AsRawFd;

/// Grants of stdin credit are collected up to this.
const GRANT: u32 = INITIAL_CREDIT / 4;

impl Agent {
    pub fn output_readable(&mut self, key: u32, channel: usize) {
        if let Some(command) = self.commands.get_mut(&key) {
            command.outputs[channel].readable = true;
            self.pump(key, channel);
            self.settle(key);
        }
    }

    /// Moves what can be moved, and looks whether the command is over.
    pub fn pump_command(&mut self, key: u32) {
        self.pump(key, 0);
        self.pump(key, 1);
        self.settle(key);
    }

    /// Moves output: to the host while it grants credit, to what is retained while no host is there, else away.
    pub fn pump(&mut self, key: u32, channel: usize) {
        let command = match self.commands.get_mut(&key) {
            // Output of a program goes out after the word that it runs.
            Some(command) if command.launch.is_none() => command,
            _ => return,
        };
        let mut moved = 0;
        let output = &mut command.outputs[channel];
        output.withheld = false;
        loop {
            let has_more = !output.backlog.is_empty() || (output.readable && output.fd.is_some());
            if !has_more {
                break;
            }
            if moved >= TURN {
                self.ready.push(key);
                break;
            }
            let mut limit = self.scratch.len();
            let to_host = if command.cancelled { None } else { command.attachment.as_mut() };
            if let Some(attachment) = &to_host {
                limit = limit.min(attachment.credit[channel] as usize);
                if limit == 0 {
                    output.withheld = true;
                    command.quiet_since = self.now;
                    break;
                }
                if self.outbox.is_full() {
                    self.stalled = true;
                    output.withheld = true;
                    command.quiet_since = self.now;
                    break;
                }
            }
            let count;
            let from_backlog = !output.backlog.is_empty() && to_host.is_some();
            if from_backlog {
                count = output.backlog.len().min(limit);
                self.scratch[..count].copy_from_slice(&output.backlog[..count]);
                output.backlog.drain(..count);
            } else {
                let fd = match &output.fd {
                    Some(fd) if output.readable => fd.as_raw_fd(),
                    _ => break,
                };
                count = match sys::read(fd, &mut self.scratch[..limit]) {
                    // A terminal whose last user has gone answers EIO.
                    Ok(0) => 0,
                    Ok(count) => count,
                    Err(error) if sys::errno_of(&error) == EAGAIN => {
                        output.readable = false;
                        break;
                    }
                    Err(_) => 0,
                };
                if count == 0 {
                    output.fd = None;
                    output.readable = false;
                    break;
                }
                command.quiet_since = self.now;
            }
            moved += count;
            let bytes = &self.scratch[..count];
            if let (Some(recent), false) = (&mut output.recent, from_backlog) {
                recent.push(bytes);
            }
            if let Some(attachment) = to_host.filter(|_| command.over_at.is_none() || from_backlog) {
                attachment.credit[channel] -= count as u32;
                self.outbox.push(FRAME_DATA, channel as u8, attachment.stream, bytes);
            } else if !command.cancelled && command.over_at.is_none() && output.recent.is_none() {
                output.retained.push(bytes);
            }
        }
    }

    pub fn pump_stdin(&mut self, key: u32) {
        let command = match self.commands.get_mut(&key) {
            Some(command) => command,
            None => return,
        };
        let watch = command.pump_input();
        if let Some(attachment) = &mut command.attachment {
            if attachment.owed >= GRANT {
                let grant = std::mem::take(&mut attachment.owed);
                attachment.allowance += grant;
                self.outbox.push(FRAME_WINDOW, CHANNEL_MAIN, attachment.stream, &grant.to_le_bytes());
            }
        }
        if let Some(fd) = watch {
            let (events, token) = (sys::EPOLLOUT | sys::EPOLLET, token(Source::Stdin, key));
            if sys::epoll_add(self.epoll.as_raw_fd(), fd, events, token).is_err() {
                // Nothing would say when there is room again; the command sees the end of its input instead.
                command.input = None;
            }
        }
    }

    pub fn command_window(&mut self, key: u32, channel: u8, bytes: u32) {
        if let Some(command) = self.commands.get_mut(&key) {
            if let Some(attachment) = &mut command.attachment {
                if let Some(credit) = attachment.credit.get_mut(usize::from(channel)) {
                    *credit = credit.saturating_add(bytes);
                }
            }
            self.pump_command(key);
        }
    }

    pub fn command_control(&mut self, key: u32, control: u8, fields: &Fields) {
        let command = match self.commands.get_mut(&key) {
            Some(command) => command,
            None => return,
        };
        match control {
            CONTROL_SIGNAL => {
                if let (Ok(Some(signal)), Some(tree)) = (fields.u32(TAG_SIGNAL), &command.tree) {
                    if sys::is_signal(signal) {
                        tree.signal(signal as i32);
                    }
                }
            }
            CONTROL_RESIZE => {
                if let (Ok(Some((rows, columns))), Some(fd), true) =
                    (fields.pty(TAG_PTY), &command.outputs[0].fd, command.terminal)
                {
                    let _ = sys::set_window(fd, rows, columns);
                }
            }
            _ => {}
        }
    }
}
